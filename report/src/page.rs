//! The page around the sections: head, headline figures, foot, and the text for an empty inventory.

use crate::data::Report;
use crate::escape::html;
use crate::figures::{ago, percent, thousands, time};
use crate::{sections, style};

/// Nothing may be loaded and nothing may run, for any content of the page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The whole page.
pub fn page(report: &Report) -> String {
    let database = html(&report.database, 63);
    let made = time(report.made_at, "%d %B %Y, %H:%M UTC");
    let body = if report.totals.addresses == 0 { empty(report) } else { sections::all(report) };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n\
         <title>Address inventory of {database}</title>\n<style>\n{}</style>\n</head>\n<body>\n\
         <header>\n<h1>Address inventory of <bdi>{database}</bdi></h1>\n<p class=\"sub\">Made on {made}</p>\n</header>\n\
         <main>\n{}{body}</main>\n<footer>\n<p>asn_inventory {} on PostgreSQL {}. All times are UTC. \
         Land: Natural Earth.</p>\n</footer>\n</body>\n</html>\n",
        style::sheet(),
        headline(report),
        html(&report.extension_version, 20),
        html(&report.server_version, 40),
    )
}

struct Figure {
    id: &'static str,
    name: &'static str,
    value: String,
    class: &'static str,
    more: String,
}

fn headline(report: &Report) -> String {
    let (totals, scanners) = (&report.totals, &report.scanners);
    let figure = |id, name, value: String, more: String| Figure { id, name, value, class: "", more };
    let figures = [
        figure("addresses", "Addresses", thousands(totals.addresses), format!("{} public", thousands(totals.public))),
        figure(
            "observations",
            "Observations",
            thousands(totals.observations),
            format!("from {} table{}", thousands(totals.tables), if totals.tables == 1 { "" } else { "s" }),
        ),
        figure(
            "enriched",
            "Enriched",
            percent(totals.enriched, totals.public),
            format!("{} of the public addresses", thousands(totals.enriched)),
        ),
        figure(
            "asns",
            "Networks (ASNs)",
            thousands(totals.asns),
            format!("{} addresses have one", thousands(totals.with_asn)),
        ),
        figure("countries", "Countries", thousands(totals.countries), "or territories".into()),
        figure(
            "scanners",
            "Scanners",
            percent(scanners.scanning(), scanners.asked()),
            format!(
                "{} of {} that GreyNoise answered for",
                thousands(scanners.scanning()),
                thousands(scanners.asked())
            ),
        ),
        figure("queued", "Queue", thousands(report.worker.queued), "rows wait for the worker".into()),
        worker(report),
    ];
    let tiles: Vec<String> = figures
        .iter()
        .map(|f| {
            let size = match f.value.chars().count() {
                ..=9 => "",
                10..=12 => "long",
                _ => "longer",
            };
            format!(
                "<div class=\"figure\"><dt>{}</dt><dd class=\"value {size} {}\" id=\"{}\">{}</dd><dd class=\"more\">{}</dd></div>\n",
                f.name, f.class, f.id, f.value, f.more
            )
        })
        .collect();
    format!("<dl class=\"figures\">\n{}</dl>\n", tiles.concat())
}

fn worker(report: &Report) -> Figure {
    let worker = &report.worker;
    let looked = worker.last_absorb_at.map(|at| format!("last looked {}", ago(at, report.made_at)));
    let (class, more) = match worker.state.as_str() {
        _ if !worker.enabled => ("warn", "asn_inventory.enabled is off".into()),
        "running" => ("good", looked.unwrap_or_else(|| "has not looked yet".into())),
        "standby" => ("", "the primary's worker does the work".into()),
        "not preloaded" => ("bad", "not in shared_preload_libraries".into()),
        _ => ("bad", "see the server's log".into()),
    };
    Figure { id: "worker", name: "Worker", value: html(&worker.state, 30), class, more }
}

/// The next steps if there is nothing to show.
fn empty(report: &Report) -> String {
    let attached = if report.totals.tables == 0 {
        "<li>Attach a table whose rows hold addresses:\n<pre>SELECT attach_ip_source('events', ARRAY['src_ip']);</pre></li>\n"
    } else {
        "<li>A table is attached already: addresses in new rows come in by themselves.</li>\n"
    };
    let cards = format!(
        "<section class=\"card full\">\n<h2>Nothing yet</h2>\n<p>The inventory holds no address. It fills as rows with addresses are inserted into attached tables.</p>\n<ol>\n\
         {attached}<li>Insert rows, or count those that are there already:\n<pre>SELECT populate_ip_inventory('events');</pre></li>\n\
         <li>Make this page again a few seconds later:\n<pre>psql -Atc 'SELECT inventory_report()' &gt; report.html</pre></li>\n</ol>\n\
         <p class=\"note\">If addresses do not appear, look at the worker above, at <code>SELECT * FROM enrichment_status</code>, and at the server's log.</p>\n</section>\n",
    );
    format!("<div class=\"cards\">\n{cards}{}</div>\n", sections::standing(report, "full"))
}
