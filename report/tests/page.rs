//! The page as a reader's browser gets it: well-formed, self-contained, and never more than text where names stand.

use report::{Asn, City, Country, Coverage, Named, Place, Report, Source, Timeline, Totals, Worker};

const NASTY: &str = "</text></svg><script>alert(1)</script>\" onload='x' \u{202e}\u{0}&amp;";

fn full(text: &str) -> Report {
    let source = |name: &str| Source {
        name: name.into(),
        state: text.into(),
        coverage: Coverage { found: 3, not_found: 1, pending: 2, failed: 1, quota: 1, skipped: 1, unavailable: 1 },
        ages: [1, 2, 0, 0, 1, 0],
        last_success_at: Some(1_795_000_000),
        quota: Some(report::Quota { limit: 100, used: 120, window: text.into(), reset_at: None }),
        oldest_build: None,
    };
    Report {
        made_at: 1_795_600_000,
        database: text.into(),
        server_version: text.into(),
        extension_version: text.into(),
        totals: Totals {
            addresses: 10,
            public: 9,
            observations: 1_234,
            enriched: 3,
            with_asn: 3,
            asns: 1,
            countries: 1,
            tables: 1,
        },
        worker: Worker { state: text.into(), enabled: true, queued: 7, last_absorb_at: None },
        timeline: Timeline {
            start: 1_795_564_800,
            step: 86_400,
            new: vec![3, 0, 7],
            observed: vec![1_000, 0, 234],
            is_exact: true,
            uncounted: 0,
            gone: 0,
            outside: 0,
        },
        asns: vec![Asn { number: 64_500, org: text.into(), addresses: 3, observations: 1_000 }],
        countries: vec![Country { code: text.into(), addresses: 3, observations: 1_000 }],
        places: vec![
            Place { latitude: 52.5, longitude: 13.4, addresses: 3 },
            Place { latitude: f64::NAN, longitude: f64::INFINITY, addresses: 3 },
            Place { latitude: 1e300, longitude: -1e300, addresses: 1 },
        ],
        located: 3,
        cities: vec![City { name: text.into(), country: text.into(), addresses: 3, observations: 1_000 }],
        sources: ["MaxMind", "Team Cymru", "GreyNoise"].map(source).to_vec(),
        scanners: report::Scanners { malicious: 1, benign: 1, unknown: 1, riot: 1, not_seen: 1 },
        flags: vec![Named { name: text.into(), addresses: 2, observations: 40 }],
        lists: vec![Named { name: text.into(), addresses: 1, observations: 7 }],
    }
}

/// The page without what HTML writes and XML does not: the doctype, and elements that are never closed.
fn as_xml(page: &str) -> String {
    let page = page.strip_prefix("<!DOCTYPE html>\n").expect("a doctype");
    let mut out = String::new();
    for line in page.lines() {
        let void = line.starts_with("<meta ");
        out.push_str(&if void { format!("{}/>", line.trim_end_matches('>')) } else { line.to_owned() });
        out.push('\n');
    }
    out
}

fn parsed(page: &str) -> roxmltree::Document<'_> {
    roxmltree::Document::parse(page).unwrap_or_else(|error| panic!("{error}: {page}"))
}

#[test]
fn the_page_is_well_formed_and_loads_nothing() {
    for report in [full("plain"), full(NASTY), full(""), Report::default()] {
        let page = report.page();
        assert!(page.is_ascii());
        let xml = as_xml(&page);
        let tree = parsed(&xml);
        let mut ids = std::collections::HashSet::new();
        for node in tree.descendants().filter(roxmltree::Node::is_element) {
            let name = node.tag_name().name();
            assert!(!["script", "img", "link", "iframe", "object", "image", "use", "a"].contains(&name), "<{name}>");
            for attribute in node.attributes() {
                let odd = attribute.name().starts_with("on") || ["href", "src"].contains(&attribute.name());
                assert!(!odd, "{} in <{name}>", attribute.name());
            }
            if let Some(id) = node.attribute("id") {
                assert!(ids.insert(id.to_owned()), "{id} is there twice");
            }
        }
        // Every image has a title and a description, under the ids that it names.
        for svg in tree.descendants().filter(|node| node.has_tag_name("svg")) {
            let named = svg.attribute("aria-labelledby").expect("a label");
            assert_eq!(named.split(' ').filter(|id| ids.contains(*id)).count(), 2, "{named}");
        }
        let html = tree.root_element();
        assert_eq!((html.tag_name().name(), html.attribute("lang")), ("html", Some("en")));
        assert_eq!(tree.descendants().filter(|node| node.has_tag_name("h1")).count(), 1);
    }
}

#[test]
fn hostile_names_make_no_more_elements_than_plain_ones() {
    let count = |text: &str| {
        let page = full(text).page();
        parsed(&as_xml(&page)).descendants().filter(roxmltree::Node::is_element).count()
    };
    assert_eq!(count(NASTY), count("plain"));
    let page = full(NASTY).page();
    assert!(!page.contains("<script") && !page.contains("&#8238;"), "{page}");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
}

#[test]
fn odd_places_stay_on_the_map() {
    let page = full("plain").page();
    let xml = as_xml(&page);
    let tree = parsed(&xml);
    let number = |node: &roxmltree::Node, name: &str| {
        node.attribute(name).and_then(|v| v.parse::<f64>().ok()).expect("a number")
    };
    let circles: Vec<_> = tree.descendants().filter(|node| node.has_tag_name("circle")).collect();
    assert_eq!(circles.len(), 2, "one place is nowhere");
    assert!(circles.iter().all(|circle| (0.0..=2240.0).contains(&number(circle, "cx"))), "{circles:?}");
}

#[test]
fn the_page_says_how_many_observations_the_timeline_lacks() {
    for (is_exact, uncounted, gone, wanted) in [
        (true, 0, 0, ""),
        (false, 0, 0, ""),
        (true, 1, 0, "1 of 1,234 observations is not drawn: it is in no day that is counted and kept."),
        (true, 1_000, 0, "1,000 of 1,234 observations are not drawn: they are in no day that is counted and kept."),
        (true, 0, 1, "1 observation is drawn that the inventory does not have any more."),
        (true, 0, 2_000, "2,000 observations are drawn that the inventory does not have any more."),
    ] {
        let mut report = full("plain");
        report.timeline = Timeline { is_exact, uncounted, gone, ..report.timeline };
        let page = report.page();
        assert_eq!(page.contains("<h3>Observations</h3>"), is_exact);
        assert!(page.contains(wanted), "{wanted}");
        assert_eq!(page.contains("drawn"), !wanted.is_empty(), "{uncounted} {gone}");
    }
}

#[test]
fn an_empty_inventory_says_what_to_do() {
    let page = Report {
        worker: Worker { state: "not preloaded".into(), enabled: true, ..Worker::default() },
        ..Report::default()
    }
    .page();
    assert!(page.contains("Nothing yet") && page.contains("SELECT attach_ip_source("));
    assert!(page.contains("not in shared_preload_libraries"));
    assert!(!page.contains("<svg"), "there is nothing to draw");
}
