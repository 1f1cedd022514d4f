//! The statements of `docs/first-hour.md` run in the page's order and find what it shows.

use asn_inventory_tests::prelude::*;
use asn_inventory_tests::queries;

const PAGE: &str = include_str!("../../docs/first-hour.md");
/// As the page names it.
const DB: &str = "soc";

/// The statements in the page's running text. One that ends with an underscore is there for psql to complete.
fn in_text() -> impl Iterator<Item = &'static str> {
    let text = PAGE.split("```").step_by(2);
    let code = text.flat_map(|part| part.split('`').skip(1).step_by(2));
    code.filter(|code| (code.starts_with("SELECT ") || code.starts_with("DROP ")) && !code.ends_with('_'))
}

/// The first columns of the rows that the page shows below this one's name.
fn shown(column: &str, columns: usize) -> Vec<String> {
    let table = PAGE.lines().skip_while(|line| !line.trim_start().starts_with(&format!("{column} "))).skip(2);
    table.take_while(|line| !line.starts_with('(')).map(|line| first_of(line, columns)).collect()
}

fn first_of(line: &str, columns: usize) -> String {
    line.split('|').take(columns).map(str::trim).collect::<Vec<_>>().join("|")
}

#[test]
fn the_statements_of_the_first_hour_run_and_find_what_the_page_shows() {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql("postgres", &format!("CREATE DATABASE {DB}"));
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    cluster.wait_value(DB, "SELECT count(*) FROM mmdb_editions() WHERE build_time IS NOT NULL", "2");
    let statements = queries::of(PAGE);
    assert!(statements.len() >= 10, "{statements:#?}");
    for queries::Query { sql, .. } in statements {
        if sql.contains("FROM ip_inventory") {
            // The page's "a second or two later".
            cluster.wait_value(DB, "SELECT count(*) || ' ' || sum(observation_count) FROM ip_inventory", "4 5");
        }
        let rows = cluster.lines(DB, &sql);
        if sql.contains("FROM ip_inventory") {
            // Without the organizations, which are the demo's.
            let found: Vec<String> = rows.iter().map(|row| first_of(row, 5)).collect();
            assert_eq!(found, shown("ip_address", 5));
        } else if sql.contains("enrichment_doctor") {
            assert!(rows.iter().all(|row| !row.starts_with("error|")), "{rows:#?}");
        } else if sql.contains("enrichment_status") {
            assert!(rows[0].starts_with("t|running|0|"), "{rows:#?}");
        } else if sql.contains("mmdb_editions") {
            assert!(rows.len() == 2 && rows.iter().all(|row| row.ends_with('|')), "{rows:#?}");
        }
    }
    cluster.wait_value(DB, "SELECT count(*) > 0 FROM top_networks", "t");
    assert!(in_text().count() >= 5, "{:#?}", in_text().collect::<Vec<_>>());
    for sql in in_text() {
        let rows = cluster.lines(DB, sql);
        assert_eq!(rows.is_empty(), sql.starts_with("DROP "), "{sql}: {rows:#?}");
    }
    assert_eq!(cluster.value(DB, "SELECT count(*) FROM events"), "5", "your events stay");
}
