//! The runbook is for a bad night: every statement on it runs as it stands.

use asn_inventory_tests::prelude::*;

/// The statements of a page: its SQL blocks, and statements in backquotes.
fn statements(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, part) in page.split("```").enumerate() {
        match part.strip_prefix("sql\n") {
            Some(block) if at % 2 == 1 => found.extend(block.split(";\n").map(str::to_owned)),
            _ => found.extend(
                part.split('`')
                    .skip(1)
                    .step_by(2)
                    .filter(|code| code.starts_with("SELECT ") || code.starts_with("ALTER "))
                    .map(str::to_owned),
            ),
        }
    }
    found.retain(|statement| !statement.trim().is_empty());
    found
}

#[test]
fn every_statement_of_the_runbook_runs() {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "50ms").start();
    fixtures::small(&cluster.maxmind_dir());
    let db = "postgres";
    cluster.sql(
        db,
        "CREATE EXTENSION asn_inventory; CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}');
         INSERT INTO events VALUES ('203.0.113.9')",
    );
    cluster.wait_walked(db);
    cluster.wait_value(db, "SELECT count(*) FROM ip_inventory", "1");
    let page = include_str!("../../docs/runbook.md");
    let statements = statements(page);
    assert!(statements.len() >= 12, "{statements:#?}");
    for statement in statements {
        // The reader fills in the number of a job, and no outside service is asked here.
        let statement = statement.replace("(job_id)", "(0)").replace("refresh_stale('all'", "refresh_stale('maxmind'");
        for one in statement.split("; ") {
            match cluster.try_sql(db, one) {
                Ok(_) => {}
                // By then the page has switched Team Cymru off.
                Err(failure) => assert_eq!(failure.message, "Team Cymru is switched off", "{one}: {failure:?}"),
            }
        }
    }
    assert_eq!(cluster.value(db, "SHOW asn_inventory.enabled"), "off", "the reload took effect");
}
