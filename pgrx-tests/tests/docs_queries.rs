//! Every query of `docs/queries.md` runs, and those that should find something do.

use crate::ingest_support::Db;
use asn_inventory_tests::queries;
use serde_json::Value;

/// The queries of the dashboard over SQL, with Grafana's macros as Grafana expands them.
fn panels() -> Vec<(String, String)> {
    let file = include_str!("../../docs/monitoring/addresses.json");
    let dashboard: Value = serde_json::from_str(file).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").clone();
    panels
        .iter()
        .map(|panel| {
            let mut sql = panel["targets"][0]["rawSql"].as_str().expect("SQL").to_owned();
            for (column, between) in [("hour", "hour"), ("changed_at", "changed_at")] {
                let filter = format!(
                    "{between} BETWEEN (now() - interval '20 days')::text::timestamptz AND now()::text::timestamptz"
                );
                sql = sql.replace(&format!("$__timeFilter({column})"), &filter);
            }
            let sql = sql.replace("$__timeFrom()", "(now() - interval '20 days')::text::timestamptz");
            (panel["title"].as_str().expect("title").to_owned(), sql.replace("$__timeTo()", "now()::text::timestamptz"))
        })
        .collect()
}

#[test]
fn every_query_of_the_page_runs_and_finds_what_it_asks_for() {
    let db = Db::new();
    let all = queries::all();
    assert!(all.len() >= 20, "{}", all.len());
    let is_made =
        |sql: &str| sql.starts_with("CREATE TABLE") || sql.starts_with("SET ") || sql.contains("attach_ip_source");
    for query in all.iter().filter(|query| is_made(&query.sql)) {
        db.sql(&query.sql);
    }
    db.sql(
        "INSERT INTO allowed VALUES ('10.0.0.0/25', 'office');
         INSERT INTO events SELECT now() - n * interval '10 min', CASE WHEN n % 4 = 0 THEN inet '10.0.0.1' ELSE '81.2.69.142'::inet + n % 3 END,
                'hp-' || n % 2, CASE WHEN n % 2 = 0 THEN 'login.failed' ELSE 'connect' END, '{\"src_ip\":\"81.2.69.142:22\"}'
         FROM generate_series(1, 900) n;
         INSERT INTO events SELECT now(), '8.8.8.8', 'hp-1', 'connect', NULL FROM generate_series(1, 20);
         INSERT INTO events VALUES (now(), '8.8.8.8', NULL, 'connect', NULL)",
    );
    db.settle();
    db.wait("SELECT count(*) FROM ip_activity WHERE NOT counted AND source_id >= 0", "0");
    db.wait("SELECT count(*) > 0 FROM asn_inventory WHERE ip_count > 0", "t");
    db.sql(
        "UPDATE ip_inventory SET asn_number = 64999, scanner_classification = 'malicious' WHERE ip_address = '8.8.8.8'",
    );
    db.wait("SELECT count(*) FROM asn_inventory WHERE asn_number = 64999", "1");
    // No file of flags is installed here.
    db.sql("INSERT INTO ip_activity_count VALUES (true, 'flag', date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC', 'eyeball', 1, 20)");
    for query in all.iter().filter(|query| !is_made(&query.sql)) {
        let rows = db.lines(&query.sql);
        if !query.sql.starts_with("CREATE INDEX") {
            assert!(!rows.is_empty(), "{} finds nothing:\n{}", query.heading, query.sql);
        }
        // What belongs to no network takes no place, and rows without a sensor are no sensor.
        let is_right = |row: &String| match query.heading.split('.').next() {
            Some("1") => row.split('|').nth(1) != Some(""),
            Some("3") => !row.starts_with("8.8.8.8|"),
            Some("5") if query.sql.starts_with("SELECT value") => row == "eyeball|20",
            _ => true,
        };
        assert!(rows.iter().all(is_right), "{}:\n{}\n{rows:?}", query.heading, query.sql);
        if query.heading.starts_with("8.") {
            assert!(rows.iter().any(|row| row.starts_with("8.8.8.8|hp-1|20|")), "{rows:?}");
        }
    }
    let panels = panels();
    assert!(panels.len() >= 7);
    // As the role that the page of roles makes for dashboards.
    db.sql("CREATE ROLE panel_reader; GRANT SELECT ON ip_activity_count, ip_sighting_source, asn_inventory, ip_asn_history, activity_by_hour, new_networks, asn_changes TO panel_reader; GRANT EXECUTE ON FUNCTION top_networks TO panel_reader");
    for (title, sql) in panels {
        assert!(!sql.contains("$__"), "{title}: {sql}");
        let rows = db.lines(&format!("SET ROLE panel_reader; {sql}"));
        // No file of flags and no list is installed here.
        assert_eq!(rows.is_empty(), title == "Flags and lists by hour", "{title}:\n{sql}");
    }
    db.sql("DROP OWNED BY panel_reader; DROP ROLE panel_reader");
}
