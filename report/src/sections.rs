//! The sections of the page: each a card with a plot, a sentence about it, and a small table.

use crate::countries;
use crate::data::{AGES, Named, Report, Source};
use crate::escape::{NAME, html, plain};
use crate::figures::{ago, percent, thousands, time};
use crate::plots::bars::{Bar, bars};
use crate::plots::canvas::Ink;
use crate::plots::columns::columns;
use crate::plots::density;
use crate::plots::map::map;
use crate::plots::stack::{Part, Stack, stacks};
use crate::plots::timeline::timeline;

/// Bars of a plot; tables have as many rows.
const TOP: usize = 10;

/// All of them, in the page's order.
pub fn all(report: &Report) -> String {
    let sections = [
        over_time(report),
        origins(report),
        networks(report),
        nations(report),
        coverage(report),
        scanners(report),
        named(&report.flags, "Flags", "flags", "What the files say of addresses: one may have several"),
        named(&report.lists, "Lists of networks", "lists", "Addresses that your lists hold: one may be in several"),
        freshness(report),
        standing(report, ""),
    ];
    format!("<div class=\"cards\">\n{}</div>\n", sections.concat())
}

fn card(class: &str, title: &str, sub: &str, body: &str) -> String {
    format!("<section class=\"card {class}\">\n<h2>{title}</h2>\n<p class=\"sub\">{sub}</p>\n{body}</section>\n")
}

/// A table; the first column is a row's head, columns from `numbers` on are figures. Cells are HTML.
fn table(heads: &[&str], numbers: usize, rows: impl Iterator<Item = Vec<String>>) -> String {
    let class = |column: usize| if column >= numbers { " class=\"n\"" } else { "" };
    let heads: Vec<String> =
        heads.iter().enumerate().map(|(i, head)| format!("<th scope=\"col\"{}>{head}</th>", class(i))).collect();
    let rows: Vec<String> = rows
        .map(|cells| {
            let cells = cells.iter().enumerate().map(|(i, cell)| match i {
                0 => format!("<th scope=\"row\">{cell}</th>"),
                _ => format!("<td{}>{cell}</td>", class(i)),
            });
            format!("<tr>{}</tr>\n", cells.collect::<String>())
        })
        .collect();
    format!("<table>\n<thead><tr>{}</tr></thead>\n<tbody>\n{}</tbody>\n</table>\n", heads.concat(), rows.concat())
}

/// A text from outside as a cell, kept from turning its neighbours round.
fn cell(text: &str) -> String {
    if text.trim().is_empty() { "–".into() } else { format!("<bdi>{}</bdi>", html(text, NAME)) }
}

fn details(summary: &str, body: &str) -> String {
    format!("<details><summary>{summary}</summary>\n{body}</details>\n")
}

fn over_time(report: &Report) -> String {
    let line = &report.timeline;
    if line.step == 0 || line.new.is_empty() {
        return card("full", "Over time", "No address has a time of observation in the last ten years.", "");
    }
    let bucket = match line.step {
        3_600 => "hour",
        86_400 => "day",
        604_800 => "week",
        _ => "30 days",
    };
    let outside = match line.outside {
        0 => String::new(),
        1 => "<p class=\"note\">1 address has a time outside of what is shown.</p>\n".into(),
        n => format!("<p class=\"note\">{} addresses have a time outside of what is shown.</p>\n", thousands(n)),
    };
    let body = format!(
        "<h3>New addresses</h3>\n{}<h3>Observations{}</h3>\n{}{}{outside}",
        timeline("new", &format!("New addresses per {bucket}"), line, &line.new, Ink::Accent),
        if line.is_exact { "" } else { ", at the time when their address was last seen" },
        timeline("observed", &format!("Observations per {bucket}"), line, &line.observed, Ink::Second),
        rest(report)
    );
    card("full", "Over time", &format!("Per {bucket}, by the times of the events"), &body)
}

/// By how much the observations that are drawn differ from the inventory's.
fn rest(report: &Report) -> String {
    let (line, all) = (&report.timeline, thousands(report.totals.observations));
    let note = match (line.uncounted, line.gone) {
        (0, 0) => return String::new(),
        (0, 1) => "1 observation is drawn that the inventory does not have any more.".to_owned(),
        (0, n) => format!("{} observations are drawn that the inventory does not have any more.", thousands(n)),
        (1, _) => format!("1 of {all} observations is not drawn: it is in no day that is counted and kept."),
        (n, _) => {
            let n = thousands(n);
            format!("{n} of {all} observations are not drawn: they are in no day that is counted and kept.")
        }
    };
    format!("<p class=\"note\">{note}</p>\n")
}

fn origins(report: &Report) -> String {
    let how = if density::is_dense(&report.places) {
        let steps: Vec<String> = density::steps(&report.places).into_iter().map(thousands).collect();
        format!("The darker a field of two by two degrees, the more are in it: from {} on.", steps.join(", "))
    } else {
        "The area of a dot shows how many addresses are near it.".to_owned()
    };
    let (located, all) = (thousands(report.located), thousands(report.totals.addresses));
    let sub = format!("{located} of {all} addresses have a place. {how}");
    let cities = table(
        &["City", "Country", "Addresses", "Observations"],
        2,
        report.cities.iter().take(TOP).map(|city| {
            vec![cell(&city.name), cell(&city.country), thousands(city.addresses), thousands(city.observations)]
        }),
    );
    let more =
        if report.cities.is_empty() { String::new() } else { details("Cities with the most addresses", &cities) };
    let body = format!("{}{more}", map("map", "Where the addresses are", &report.places));
    card("full", "Where they come from", &sub, &body)
}

fn networks(report: &Report) -> String {
    let title = "Top networks";
    if report.asns.is_empty() {
        let why =
            if report.totals.with_asn > 0 { "The worker has not counted them yet." } else { "No ASN is known yet." };
        return card("", title, why, "");
    }
    let top = || report.asns.iter().take(TOP);
    let named = |org: &str| if org.trim().is_empty() { String::new() } else { format!("  {}", plain(org, NAME)) };
    let plot: Vec<Bar> = top()
        .map(|asn| Bar { label: format!("AS{}{}", asn.number, named(&asn.org)), value: asn.observations })
        .collect();
    let rows = top().map(|asn| {
        vec![
            format!("<span class=\"whole\">AS{}</span>", asn.number),
            cell(&asn.org),
            thousands(asn.addresses),
            thousands(asn.observations),
        ]
    });
    let body = format!(
        "{}{}",
        bars("asns-plot", "Observations by network", &plot),
        details("As a table", &table(&["AS", "Organization", "Addresses", "Observations"], 2, rows))
    );
    card("", title, "Autonomous systems by observations", &body)
}

fn nations(report: &Report) -> String {
    let title = "Top countries";
    if report.countries.is_empty() {
        return card("", title, "No country is known yet.", "");
    }
    let plot: Vec<Bar> = report
        .countries
        .iter()
        .take(TOP)
        .map(|country| Bar { label: plain(countries::name(&country.code), NAME), value: country.observations })
        .collect();
    let rows = report.countries.iter().take(TOP).map(|country| {
        vec![
            cell(countries::name(&country.code)),
            thousands(country.addresses),
            percent(country.addresses, report.totals.addresses),
            thousands(country.observations),
        ]
    });
    let body = format!(
        "{}{}",
        bars("countries-plot", "Observations by country", &plot),
        details("As a table", &table(&["Country", "Addresses", "Share", "Observations"], 1, rows))
    );
    card("", title, "Countries by observations", &body)
}

fn coverage(report: &Report) -> String {
    let stack = |source: &Source| {
        let c = source.coverage;
        let part = |name, value, ink| Part { name, value, ink };
        Stack {
            label: source.name.clone(),
            note: format!("{} found", percent(c.found, report.totals.addresses)),
            parts: vec![
                part("found", c.found, Ink::Found),
                part("not found", c.not_found, Ink::NotFound),
                part("pending", c.pending, Ink::Pending),
                part("failed", c.failed, Ink::Failed),
                part("out of quota", c.quota, Ink::Quota),
                part("unavailable", c.unavailable, Ink::Unavailable),
                part("skipped", c.skipped, Ink::Skipped),
            ],
        }
    };
    let plot: Vec<Stack> = report.sources.iter().map(stack).collect();
    // A row for every status that occurs, a column for every source.
    let kinds = plot.first().map_or(0, |stack| stack.parts.len());
    let rows = (0..kinds).filter(|kind| plot.iter().any(|stack| stack.parts[*kind].value > 0)).map(|kind| {
        let figures = plot.iter().map(|stack| thousands(stack.parts[kind].value));
        std::iter::once(plot[0].parts[kind].name.to_owned()).chain(figures).collect()
    });
    let names: Vec<String> = report.sources.iter().map(|source| html(&source.name, NAME)).collect();
    let heads: Vec<&str> = std::iter::once("Addresses").chain(names.iter().map(String::as_str)).collect();
    let body = format!(
        "{}<h3>In figures</h3>\n{}",
        stacks("coverage-plot", "Addresses by status at each source", &plot),
        table(&heads, 1, rows)
    );
    card("", "Coverage by source", "Every source has a status of its own for every address", &body)
}

fn freshness(report: &Report) -> String {
    let classes: Vec<&str> = AGES.iter().map(|(_, name)| *name).collect();
    let rows: Vec<(String, Vec<u64>)> =
        report.sources.iter().map(|source| (source.name.clone(), source.ages.to_vec())).collect();
    card(
        "",
        "Freshness",
        "Answers by their age",
        &columns("freshness-plot", "Answers by age at each source", &classes, &rows),
    )
}

fn scanners(report: &Report) -> String {
    let s = report.scanners;
    if s.asked() == 0 {
        return card("", "Scanners", "GreyNoise has not answered for any address yet.", "");
    }
    let part = |name, value, ink| Part { name, value, ink };
    let plot = [Stack {
        label: format!("{} addresses", thousands(s.asked())),
        note: format!("{} scan", percent(s.scanning(), s.asked())),
        parts: vec![
            part("malicious", s.malicious, Ink::Failed),
            part("unknown intent", s.unknown, Ink::Pending),
            part("benign", s.benign, Ink::Benign),
            part("business service (RIOT)", s.riot, Ink::Found),
            part("not seen", s.not_seen, Ink::Skipped),
        ],
    }];
    let rows = plot[0]
        .parts
        .iter()
        .map(|part| vec![part.name.to_owned(), thousands(part.value), percent(part.value, s.asked())]);
    let body = format!(
        "{}<h3>In figures</h3>\n{}",
        stacks("scanners-plot", "Addresses by what GreyNoise says", &plot),
        table(&["GreyNoise says", "Addresses", "Share"], 1, rows)
    );
    card("", "Scanners", "Of the addresses that GreyNoise answered for", &body)
}

/// Flags or lists; nothing where there are none: most have no file of that kind.
fn named(all: &[Named], title: &str, id: &str, sub: &str) -> String {
    if all.is_empty() {
        return String::new();
    }
    let plot: Vec<Bar> =
        all.iter().take(TOP).map(|one| Bar { label: plain(&one.name, NAME), value: one.addresses }).collect();
    let rows = all.iter().map(|one| vec![cell(&one.name), thousands(one.addresses), thousands(one.observations)]);
    let body = format!(
        "{}{}",
        bars(&format!("{id}-plot"), &format!("Addresses by {id}"), &plot),
        details("As a table", &table(&["Name", "Addresses", "Observations"], 1, rows))
    );
    card("", title, sub, &body)
}

/// The states of the sources, and the rest of a quota.
pub fn standing(report: &Report, class: &str) -> String {
    let mood = |state: &str| match state {
        "ok" => "good",
        "off" | "elsewhere" | "unknown" | "no key" => "",
        "quota" => "warn",
        _ => "bad",
    };
    let rows = report.sources.iter().map(|source| {
        let built = source.oldest_build.map(|at| format!(", built {}", ago(at, report.made_at)));
        let success = source.last_success_at.map_or_else(|| "–".into(), |at| ago(at, report.made_at));
        vec![
            html(&source.name, NAME),
            format!("<span class=\"whole {}\">{}</span>", mood(&source.state), html(&source.state, 30)),
            format!("{success}{}", built.unwrap_or_default()),
        ]
    });
    let sources = table(&["Source", "State", "Last success"], 9, rows);
    let quotas: Vec<Stack> = report
        .sources
        .iter()
        .filter_map(|source| {
            let quota = source.quota.as_ref()?;
            let left = quota.limit.saturating_sub(quota.used);
            Some(Stack {
                label: format!("{}, this {}", source.name, plain(&quota.window, 10)),
                note: format!("{} of {}", thousands(quota.used), thousands(quota.limit)),
                parts: vec![
                    Part { name: "used", value: quota.used, ink: Ink::Quota },
                    Part { name: "left", value: left, ink: Ink::Skipped },
                ],
            })
        })
        .collect();
    let resets = report.sources.iter().filter_map(|source| source.quota.as_ref()?.reset_at).min();
    let reset = resets.map_or_else(String::new, |at| {
        format!("<p class=\"note\">More from {} on.</p>\n", time(at, "%d %b %Y, %H:%M"))
    });
    let quota = if quotas.is_empty() {
        String::new()
    } else {
        format!("<h3>Quota</h3>\n{}{reset}", stacks("quota-plot", "Requests spent of the quota", &quotas))
    };
    let body = format!(
        "{sources}{quota}<p class=\"note\">Why a source is not well: <code>SELECT * FROM source_status</code></p>\n"
    );
    card(class, "Sources", "How each stands now", &body)
}
