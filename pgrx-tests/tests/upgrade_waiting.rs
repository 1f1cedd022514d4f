//! The library of today in a database that still has the functions of 0.1.0: all of them work, until the update.

use crate::ingest_support::Db;
use crate::upgrade_support::{assert_counted_exactly, old_database};

/// What a user asks, and the answer.
const ANSWERS: [(&str, &str); 20] = [
    ("SELECT ip_class('10.0.0.1')", "private"),
    ("SELECT asn_org FROM lookup_ip('8.8.8.8')", "Google LLC"),
    ("SELECT ip_asn('8.8.8.8')", "15169"),
    ("SELECT ip_asn_org('8.8.8.8')", "Google LLC"),
    ("SELECT ip_country('81.2.69.142')", "GB"),
    ("SELECT ip_city('81.2.69.142')", "London"),
    ("SELECT mmdb_record('GeoLite2-ASN', '8.8.8.8')->>'autonomous_system_number'", "15169"),
    ("SELECT count(*) FROM mmdb_editions() WHERE build_time IS NOT NULL", "2"),
    ("SELECT import_mmdb_files()", "0"),
    ("SELECT city FROM enrich_ip('51.68.0.1')", "Roubaix"),
    ("SELECT city FROM enrich_ip('3.120.0.9', '10 s')", "Frankfurt am Main"),
    ("SELECT count(*) > 0 FROM ip_story('8.8.8.8')", "t"),
    ("SELECT ip_asn_at('8.8.8.8', now())", "15169"),
    ("SELECT worker FROM enrichment_status", "running"),
    ("SELECT state FROM source_status WHERE source = 'maxmind'", "ok"),
    ("SELECT count(*) > 0 FROM top_networks", "t"),
    ("SELECT count(*) > 0 FROM countries_by_day", "t"),
    ("SELECT inventory_report() LIKE '<!DOCTYPE html>%'", "t"),
    ("SELECT prometheus_metrics() LIKE '%asn_inventory%'", "t"),
    ("SELECT purge_expired_maxmind()", "0"),
];

fn counted(db: &Db, address: &str, times: u32) {
    db.wait(&format!("SELECT observation_count FROM ip_inventory WHERE ip_address = '{address}'"), &times.to_string());
}

#[test]
fn the_functions_of_before_answer_and_observe() {
    let db = old_database();
    db.sql("INSERT INTO events VALUES (1, '8.8.8.8'), (1, '8.8.8.8')");
    counted(&db, "8.8.8.8", 2);
    // The worker counts networks when it comes to it.
    for (ask, answer) in ANSWERS {
        db.wait(ask, answer);
    }
    // Attached by the function with three arguments; rows from before, a partition that comes later, by hand.
    db.sql(
        "CREATE TABLE parts (id int, at timestamptz, src text) PARTITION BY RANGE (id);
         CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
         INSERT INTO parts VALUES (1, '2026-01-01Z', '1.1.1.1');
         SELECT attach_ip_source('parts', ARRAY['src'], 'at')",
    );
    assert_eq!(db.value("SELECT populate_ip_inventory('parts')"), "1");
    db.sql(
        "CREATE TABLE part_2 PARTITION OF parts FOR VALUES FROM (100) TO (200);
         INSERT INTO parts VALUES (2, '2026-01-02Z', '1.1.1.1'), (101, '2026-01-03Z', '1.1.1.1'), (3, now(), 'nonsense');
         INSERT INTO part_2 VALUES (102, '2026-01-04Z', '1.1.1.1')",
    );
    db.sql("SELECT absorb_observations()");
    counted(&db, "1.1.1.1", 4);
    assert_eq!(
        db.lines("SELECT observations, unparsable FROM ip_source WHERE tbl = 'parts'::regclass"),
        ["4|1"],
        "a table that was attached before the update"
    );
    db.sql("SELECT detach_ip_source('parts')");
    db.sql("INSERT INTO parts VALUES (4, now(), '1.1.1.1')");
    db.settle();
    counted(&db, "1.1.1.1", 4);
    db.sql("ALTER EXTENSION asn_inventory UPDATE");
    db.sql("INSERT INTO events VALUES (1, '8.8.8.8')");
    db.sql("DELETE FROM ip_inventory WHERE ip_address IN ('1.1.1.1', '51.68.0.1', '3.120.0.9')");
    assert_counted_exactly(&db);
}

#[test]
fn the_jobs_of_before_are_done() {
    let db = old_database();
    let jobs = [
        ("SELECT processed, enriched FROM backfill_inventory()", "200|200"),
        ("SELECT processed, enriched FROM backfill_inventory(ips => ARRAY['8.8.8.8', '1.1.1.1']::inet[])", "2|2"),
        ("SELECT processed FROM refresh_range('51.15.0.0/24')", "200"),
        ("SELECT processed FROM refresh_range('51.15.0.1', 'maxmind')", "1"),
        ("SELECT processed FROM refresh_stale('maxmind')", "0"),
    ];
    db.sql("INSERT INTO ip_inventory (ip_address) SELECT '51.15.0.0'::inet + i FROM generate_series(1, 200) i");
    for (job, done) in jobs {
        assert_eq!(db.lines(job), [done], "{job}");
    }
    let told =
        db.lines("SELECT kind, outcome FROM enrichment_run WHERE kind IN ('backfill', 'refresh') ORDER BY job_id");
    assert_eq!(told, ["backfill|done", "backfill|done", "refresh|done", "refresh|done", "refresh|done"]);
    // Without a wait, by number; and one without a key ends, with the reason.
    let job = db.value("SELECT job_id FROM refresh_range('51.15.0.0/24', 'maxmind', false)");
    db.wait(&format!("SELECT outcome FROM enrichment_run WHERE job_id = {job}"), "done");
    assert_eq!(db.value(&format!("SELECT cancel_enrichment_job({job})")), "f");
    let job = db.value("SELECT update_maxmind()");
    db.wait(&format!("SELECT outcome FROM enrichment_run WHERE job_id = {job}"), "failed");
    let why = db.value(&format!("SELECT detail FROM enrichment_run WHERE job_id = {job}"));
    assert!(why.contains("key"), "{why}");
}

#[test]
fn the_doctor_of_before_says_that_the_update_is_to_be_run() {
    let db = old_database();
    let said = "SELECT level, detail, remedy FROM enrichment_doctor() WHERE check_name = 'version'";
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        db.lines(said),
        [format!("error|The extension is 0.1.0, the library {version}.|ALTER EXTENSION asn_inventory UPDATE;")]
    );
    // It is a remedy as it stands.
    db.sql(&db.value("SELECT remedy FROM enrichment_doctor() WHERE check_name = 'version'"));
    assert_eq!(db.lines(said), ["ok||"]);
    assert_eq!(db.value("SELECT count(*) FROM enrichment_doctor() WHERE level = 'error'"), "0");
}
