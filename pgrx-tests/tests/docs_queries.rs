//! Every query of `docs/queries.md` runs, and those that should find something do.

use crate::ingest_support::Db;
use asn_inventory_tests::queries;
use serde_json::Value;

/// The queries of the dashboard over SQL, with Grafana's macros as Grafana expands them: times as literals.
fn panels(db: &Db, days: u32) -> Vec<(String, String)> {
    let file = include_str!("../../docs/monitoring/addresses.json");
    let dashboard: Value = serde_json::from_str(file).expect("JSON");
    let time = |of: &str| {
        db.value(&format!(
            "SELECT quote_literal(to_char(({of}) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'))"
        ))
    };
    let (from, to) = (time(&format!("now() - interval '{days} days'")), time("now()"));
    let panels = dashboard["panels"].as_array().expect("panels").clone();
    panels
        .iter()
        .map(|panel| {
            let sql = panel["targets"][0]["rawSql"].as_str().expect("SQL");
            let sql = sql.replace("$__timeFilter(changed_at)", &format!("changed_at BETWEEN {from} AND {to}"));
            let sql = sql.replace("$__timeFrom()", &from).replace("$__timeTo()", &to);
            (panel["title"].as_str().expect("title").to_owned(), sql)
        })
        .collect()
}

#[test]
fn every_query_of_the_page_runs_and_finds_what_it_asks_for() {
    let db = Db::new();
    let all = queries::all();
    assert!(all.len() >= 20, "{}", all.len());
    for query in all.iter().filter(|query| query.is_setup()) {
        db.sql(&query.sql);
    }
    db.sql(
        "INSERT INTO allowed VALUES ('10.0.0.0/25', 'office');
         INSERT INTO events SELECT now() - n * interval '10 min', CASE WHEN n % 4 = 0 THEN inet '10.0.0.1' ELSE '81.2.69.142'::inet + n % 3 END,
                'hp-' || n % 2, CASE WHEN n % 2 = 0 THEN 'login.failed' ELSE 'connect' END, '{\"src_ip\":\"81.2.69.142:22\"}'
         FROM generate_series(1, 900) n;
         INSERT INTO events SELECT now(), '8.8.8.8', 'hp-1', 'connect', NULL FROM generate_series(1, 20);
         INSERT INTO events VALUES (now(), '8.8.8.8', NULL, 'connect', NULL), (now() - interval '30 days', '10.0.0.1', 'hp-0', 'connect', NULL)",
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
    for query in all.iter().filter(|query| !query.is_setup()) {
        let rows = db.lines(&query.sql);
        if !query.sql.starts_with("CREATE INDEX") && !query.sql.starts_with("REFRESH") {
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
    assert_eq!(db.value("SELECT sum(observations) FROM mart.countries"), db.value("SELECT count(*) FROM events"));
    // As the role that the page of roles makes for dashboards.
    db.sql("CREATE ROLE panel_reader; GRANT SELECT ON ip_activity_count, ip_sighting_source, asn_inventory, ip_asn_history, new_networks, asn_changes TO panel_reader; GRANT EXECUTE ON FUNCTION top_networks TO panel_reader");
    // All days of the shorter time have their hours; the longer one begins before these.
    for days in [10, 40] {
        let panels = panels(&db, days);
        assert!(panels.len() >= 7);
        for (title, sql) in panels {
            assert!(!sql.contains("$__"), "{title}: {sql}");
            let rows = db.lines(&format!("SET ROLE panel_reader; {sql}"));
            // No file of flags and no list is installed here: there is the row of a day alone.
            assert_eq!(rows.is_empty(), days == 10 && title == "Flags and lists", "{title}:\n{sql}");
            if ["Observations", "Countries"].contains(&title.as_str()) {
                let drawn = format!(
                    "SELECT sum(observations), bool_and(time = date_trunc('day', time, 'UTC')), min(time) < now() - interval '29 days' FROM ({sql}) p"
                );
                let of_days = if days == 40 { "922|t|t" } else { "921|f|f" };
                assert_eq!(db.lines(&drawn), [of_days], "{title}:\n{sql}");
            }
        }
    }
    db.sql("DROP OWNED BY panel_reader; DROP ROLE panel_reader");
}
