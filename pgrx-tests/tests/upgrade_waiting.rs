//! The library of today in a database that still has the functions of a released version: all of them work, until the update.

use crate::ingest_support::{Db, run};
use crate::upgrade_support::{VERSIONS, assert_counted_exactly, old_database};

/// What a user asks, and the answer.
const ANSWERS: [(&str, &str); 19] = [
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
    ("SELECT inventory_report() LIKE '<!DOCTYPE html>%'", "t"),
    ("SELECT prometheus_metrics() LIKE '%asn_inventory%'", "t"),
    ("SELECT purge_expired_maxmind()", "0"),
];

fn counted(db: &Db, address: &str, times: u32) {
    db.wait(&format!("SELECT observation_count FROM ip_inventory WHERE ip_address = '{address}'"), &times.to_string());
}

#[test]
fn the_functions_of_before_answer_and_observe() {
    for (version, days) in VERSIONS.into_iter().zip(["countries_by_day", "new_addresses_by_day"]) {
        answer_and_observe(version, days);
    }
}

/// `days` is the view of new addresses by day.
fn answer_and_observe(version: &str, days: &str) {
    let db = old_database(version);
    db.sql("INSERT INTO events VALUES (1, '8.8.8.8'), (1, '8.8.8.8')");
    counted(&db, "8.8.8.8", 2);
    // The worker counts networks when it comes to it.
    for (ask, answer) in ANSWERS {
        db.wait(ask, answer);
    }
    db.wait(&format!("SELECT count(*) > 0 FROM {days}"), "t");
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
    VERSIONS.into_iter().for_each(jobs_are_done);
}

fn jobs_are_done(version: &str) {
    let db = old_database(version);
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
    for before in VERSIONS {
        let db = old_database(before);
        let said = "SELECT level, detail, remedy FROM enrichment_doctor() WHERE check_name = 'version'";
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            db.lines(said),
            [format!("error|The extension is {before}, the library {version}.|ALTER EXTENSION asn_inventory UPDATE;")]
        );
        // It is a remedy as it stands.
        db.sql(&db.value("SELECT remedy FROM enrichment_doctor() WHERE check_name = 'version'"));
        assert_eq!(db.lines(said), ["ok||"]);
        assert_eq!(db.value("SELECT count(*) FROM enrichment_doctor() WHERE level = 'error'"), "0");
    }
}

/// What 0.1.0 did not have: rows observed one by one, a time zone, a partition that brought rows, and packed rows in the queue
/// with what could not be read. Then a share is taken back of which the sightings know a part only.
#[test]
fn what_0_2_0_has_of_its_own_goes_on_after_the_update() {
    let db = old_database("0.2.0");
    db.sql(
        "CREATE TABLE by_row (ip inet); SELECT attach_ip_source('by_row', ARRAY['ip'], method => 'row');
         CREATE TABLE zoned (at timestamp, ip text); SELECT attach_ip_source('zoned', ARRAY['ip'], 'at@Asia/Tokyo');
         CREATE TABLE parts (id int, ip inet) PARTITION BY RANGE (id); SELECT attach_ip_source('parts', ARRAY['ip'])",
    );
    db.sql("CREATE TABLE part_1 (id int, ip inet); INSERT INTO part_1 VALUES (1, '45.155.1.1'), (2, '45.155.1.2')");
    db.sql("ALTER TABLE parts ATTACH PARTITION part_1 FOR VALUES FROM (0) TO (100)");
    db.sql("INSERT INTO by_row VALUES ('45.155.2.1'); INSERT INTO zoned VALUES ('2026-01-01 09:00', '45.155.3.1')");
    db.settle();
    // Queued with the columns of before, and left alone until the update is done.
    run(
        &mut db.connect(),
        "BEGIN; INSERT INTO zoned SELECT '2026-01-02 09:00', CASE i WHEN 0 THEN 'nonsense' ELSE host('45.156.0.0'::inet + i) END
                FROM generate_series(0, 1000) i;
         UPDATE ip_observation SET retry_at = now() + interval '5 minutes'; COMMIT",
    );
    let queued = "SELECT count(packed) > 0, count(sample), count(reason) FROM ip_observation";
    assert_eq!(db.lines(queued), ["t|1|1"]);
    assert_eq!(db.lines("SELECT tbl FROM ip_source_part"), ["part_1"]);
    db.sql("ALTER EXTENSION asn_inventory UPDATE");
    assert_eq!(db.lines(queued), ["t|1|1"]);
    db.sql("UPDATE ip_observation SET retry_at = now(); INSERT INTO zoned VALUES ('2026-01-03 09:00', '45.156.0.1')");
    // A trigger that fires always still does.
    run(&mut db.connect(), "SET session_replication_role = replica; INSERT INTO by_row VALUES ('45.155.2.1')");
    assert_eq!(db.value("SELECT populate_ip_inventory('part_1')"), "2");
    db.settle();
    assert_eq!(
        db.lines("SELECT tbl, observations, unparsable, unreadable_sample, method FROM ip_source ORDER BY tbl::text"),
        ["by_row|2|0||row", "events|0|0||trigger", "parts|2|0||trigger", "zoned|1002|1|nonsense|trigger"]
    );
    let times =
        "SELECT ip_address, observation_count, first_seen_at AT TIME ZONE 'UTC', last_seen_at AT TIME ZONE 'UTC'
                 FROM ip_inventory WHERE ip_address IN ('45.155.3.1', '45.156.0.1', '45.156.0.2') ORDER BY 1";
    assert_eq!(
        db.lines(times),
        [
            "45.155.3.1|1|2026-01-01 00:00:00|2026-01-01 00:00:00",
            "45.156.0.1|2|2026-01-02 00:00:00|2026-01-03 00:00:00",
            "45.156.0.2|1|2026-01-02 00:00:00|2026-01-02 00:00:00",
        ]
    );
    assert_eq!(db.value("SELECT forget_ip_source('zoned')"), "1002");
    db.settle();
    assert_eq!(
        db.lines("SELECT ip_address, observation_count FROM ip_inventory ORDER BY 1"),
        ["45.155.1.1|1", "45.155.1.2|1", "45.155.2.1|2"]
    );
}

/// A function in standard SQL keeps what it calls. It would hold up the update, and go on under the name of before after it.
#[test]
fn a_function_on_attach_ip_source_is_kept_as_it_was() {
    let db = old_database("0.2.0");
    db.sql(
        "CREATE ROLE attacher; GRANT EXECUTE ON FUNCTION attach_ip_source TO attacher;
         CREATE FUNCTION attach_one(tbl regclass) RETURNS void LANGUAGE sql
             BEGIN ATOMIC SELECT attach_ip_source(tbl, ARRAY['ip'], NULL, 'trigger'); END",
    );
    db.sql("ALTER EXTENSION asn_inventory UPDATE");
    db.sql("CREATE TABLE late (ip inet); SELECT attach_one('late'); INSERT INTO late VALUES ('8.8.8.8')");
    counted(&db, "8.8.8.8", 1);
    db.sql("CREATE TABLE later (ip inet); SELECT attach_ip_source('later', ARRAY['ip'])");
    let members = "SELECT p.proname, has_function_privilege('attacher', p.oid, 'EXECUTE'), d.objid IS NOT NULL
                   FROM pg_proc p LEFT JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
                   WHERE p.proname ~ '^attach_ip_source' ORDER BY 1";
    assert_eq!(db.lines(members), ["attach_ip_source|t|t", "attach_ip_source_of_0_2_0|t|f"]);
    db.sql(
        "DROP FUNCTION attach_one; DROP FUNCTION attach_ip_source_of_0_2_0; DROP OWNED BY attacher; DROP ROLE attacher",
    );
}
