//! A dump of a database of a released version, restored where only this version is: `CREATE EXTENSION` in a dump names no version. Rows,
//! counts and attached tables come along, and work goes on.

use crate::ingest_support::Db;
use crate::upgrade_support::{VERSIONS, old_database, old_database_on, start};
use asn_inventory_tests::prelude::*;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The user's data, table by table, as both versions have it.
const DATA: [&str; 9] = [
    "SELECT ip_address, first_seen_at, last_seen_at, observation_count, asn_number, asn_org, asn_source, city, maxmind_status,
         maxmind_ts, cymru_status, greynoise_status FROM ip_inventory ORDER BY 1",
    "SELECT tbl, ip_columns, observed_at, attached_at, attached_by, observations, unparsable, last_observed_at, populated_at
     FROM ip_source ORDER BY tbl::text",
    "SELECT address, seen, first_seen, last_seen, source FROM ip_observation ORDER BY 1, 2",
    "SELECT ip_address, changed_at, old_asn, old_source, new_asn, new_source FROM ip_asn_history",
    "SELECT asn_number, asn_org, registry, allocated FROM asn_inventory ORDER BY 1",
    "SELECT prefix, announced, origins, country_code, registry, answered_at FROM cymru_prefix ORDER BY 1",
    "SELECT source, window_start, used FROM source_quota",
    "SELECT job_id, kind, requested_by, outcome, processed FROM enrichment_run ORDER BY 1",
    "SELECT tgrelid::regclass, tgname, tgfoid::regproc FROM pg_trigger WHERE NOT tgisinternal AND tgname = 'asn_inventory_observe'
     ORDER BY tgrelid::regclass::text",
];

/// A database of one of [`VERSIONS`] with rows in every table, the queue included: those wait for their next attempt.
fn original(version: &str) -> &'static Db {
    static ORIGINALS: [(OnceLock<Cluster>, OnceLock<Db>); 2] = [const { (OnceLock::new(), OnceLock::new()) }; 2];
    let at = VERSIONS.iter().position(|released| *released == version).expect("a released version");
    let (cluster, db) = &ORIGINALS[at];
    db.get_or_init(|| {
        let db = old_database_on(cluster.get_or_init(start), version);
        db.sql(
            "CREATE TABLE parts (id int, src text) PARTITION BY RANGE (id);
             CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
             SELECT attach_ip_source('parts', ARRAY['src']);
             INSERT INTO events SELECT 1, '45.155.205.0'::inet + i FROM generate_series(1, 50) i, generate_series(1, 2);
             INSERT INTO parts VALUES (1, '1.1.1.1'), (2, 'nonsense'), (3, '45.155.205.1');
             INSERT INTO ip_inventory (ip_address) VALUES ('51.68.0.1')",
        );
        db.settle();
        assert_eq!(db.value("SELECT processed FROM backfill_inventory()"), "1");
        db.sql(
            "UPDATE ip_inventory SET asn_number = 64500 WHERE ip_address = '1.1.1.1';
             INSERT INTO asn_inventory (asn_number, asn_org, registry, allocated) VALUES (64511, 'Kept', 'arin', '2001-01-01');
             INSERT INTO cymru_prefix VALUES ('218.92.0.0/24', '218.92.0.0/17', '{4134,4812}', 'CN', 'apnic', NULL, '2026-01-01', '2036-01-01');
             INSERT INTO source_quota VALUES ('greynoise', '2026-01-01', 7, NULL);
             INSERT INTO ip_observation (address, seen, first_seen, last_seen, source, attempts, retry_at)
             VALUES ('9.9.9.9', 2, '2026-01-06Z', '2026-01-07Z', 'events', 1, now() + interval '10 minutes')",
        );
        // From here on nothing changes.
        db.cluster.stop_worker(&db.name);
        for sql in DATA {
            assert!(!db.lines(sql).is_empty(), "nothing to dump: {sql}");
        }
        db
    })
}

const DB: &str = "restored";

fn run(command: &mut Command) {
    let output = command.output().expect("a program that starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !said.contains("error"), "{command:?}\n{said}");
}

fn dump(db: &Db, format: &str, name: &str) -> PathBuf {
    let file = db.cluster.maxmind_dir().join(name);
    run(db.cluster.tool("pg_dump").args(["-d", &db.name, "-F", format, "-f"]).arg(&file));
    file
}

/// Another server, whose worker waits until it is told to look.
fn target() -> Cluster {
    let builder = Cluster::builder().conf("asn_inventory.absorb_interval", "20ms");
    let cluster = builder.conf("asn_inventory.databases", "none").start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql("postgres", &format!("CREATE DATABASE {DB}"));
    cluster
}

/// Holds the restored database against the original, then has it work on.
fn is_the_same_and_goes_on(restored: &Cluster, original: &Db) {
    let value = |sql: &str| restored.value(DB, sql);
    assert_eq!(value("SELECT extversion FROM pg_extension WHERE extname = 'asn_inventory'"), env!("CARGO_PKG_VERSION"));
    for sql in DATA {
        assert_eq!(restored.lines(DB, sql), original.lines(sql), "{sql}");
    }
    restored.set("asn_inventory.databases", "");
    restored.sql(DB, "INSERT INTO events VALUES (2, '45.155.205.1'); INSERT INTO parts VALUES (4, '1.1.1.1')");
    let part = "CREATE TABLE part_2 PARTITION OF parts FOR VALUES FROM (100) TO (200); INSERT INTO part_2 VALUES (101, '8.8.8.8')";
    restored.sql(DB, part);
    // What was queued before the dump is absorbed when its time comes.
    restored.sql(DB, "UPDATE ip_observation SET retry_at = now()");
    for (address, times) in
        [("45.155.205.1", "4"), ("45.155.205.2", "2"), ("1.1.1.1", "2"), ("8.8.8.8", "1"), ("9.9.9.9", "2")]
    {
        let counted = format!("SELECT observation_count FROM ip_inventory WHERE ip_address = '{address}'");
        restored.wait_value(DB, &counted, times);
    }
    // 106 events, two that were queued by hand, and a row that was.
    assert_eq!(value("SELECT sum(observation_count) FROM ip_inventory"), "108");
    restored.wait_value(DB, "SELECT count(*) FROM ip_observation", "0");
    let counted = "SELECT tbl, observations, unparsable FROM ip_source ORDER BY tbl::text";
    assert_eq!(restored.lines(DB, counted), ["events|103|0", "parts|4|1"]);
    assert_eq!(value("SELECT populate_ip_inventory('events')"), "0");
    // Numbers of jobs go on, and so does the history: the files here say something else about 1.1.1.1.
    let before: u64 = original.value("SELECT max(job_id) FROM enrichment_run").parse().expect("a number");
    let job: u64 = value("SELECT job_id FROM refresh_range('1.1.1.1', 'maxmind')").parse().expect("a number");
    assert!(job > before, "{job} > {before}");
    restored.wait_value(DB, "SELECT count(*) FROM ip_asn_history", "2");
    let errors = "SELECT check_name, detail FROM enrichment_doctor() WHERE level = 'error'";
    assert_eq!(restored.lines(DB, errors), [""; 0]);
}

#[test]
fn a_plain_dump_of_before_is_restored() {
    let (db, restored) = (original("0.1.0"), target());
    let file = dump(db, "p", "before.sql");
    run(restored.tool("psql").args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", DB, "-f"]).arg(&file));
    is_the_same_and_goes_on(&restored, db);
}

#[test]
fn a_custom_dump_of_before_is_restored() {
    let (db, restored) = (original("0.2.0"), target());
    let file = dump(db, "c", "before.dump");
    run(restored.tool("pg_restore").args(["--exit-on-error", "-d", DB]).arg(&file));
    is_the_same_and_goes_on(&restored, db);
}

#[test]
fn a_dump_of_before_is_restored_by_several_processes() {
    let (db, restored) = (original("0.1.0"), target());
    let file = dump(db, "d", "before.dir");
    run(restored.tool("pg_restore").args(["--exit-on-error", "-j", "3", "-d", DB]).arg(&file));
    is_the_same_and_goes_on(&restored, db);
}

/// Rights on functions and a view that have other names now, or other arguments, are all that a dump of before cannot bring: the
/// page of operations says which, and that they are given again.
#[test]
fn grants_on_old_names_are_all_that_is_missing() {
    grants_fail(
        "0.1.0",
        "GRANT SELECT ON ip_inventory, enrichment_status, countries_by_day TO {role};
         GRANT EXECUTE ON FUNCTION worker_status, mmdb_files, lookup_ip TO {role}",
        &["function public.mmdb_files() does not exist", "function public.worker_status() does not exist"],
    );
    grants_fail(
        "0.2.0",
        "GRANT SELECT ON ip_inventory, enrichment_status, new_addresses_by_day TO {role};
         GRANT EXECUTE ON FUNCTION _worker_status, mmdb_editions, attach_ip_source, detach_ip_source TO {role}",
        &["function public.attach_ip_source(regclass, text[], name, text) does not exist"],
    );
}

fn grants_fail(version: &str, grants: &str, told: &[&str]) {
    let db = original(version);
    let role = format!("reader_of_{}", db.name);
    let cluster = db.cluster;
    cluster.sql("postgres", &format!("CREATE DATABASE granted TEMPLATE {}", db.name));
    cluster.sql("granted", &format!("CREATE ROLE {role}; {}", grants.replace("{role}", &role)));
    let file = cluster.maxmind_dir().join("granted.dump");
    run(cluster.tool("pg_dump").args(["-d", "granted", "-F", "c", "-f"]).arg(&file));
    let restored = target();
    restored.sql("postgres", &format!("CREATE ROLE {role}"));
    let output = restored.tool("pg_restore").args(["-d", DB]).arg(&file).output().expect("pg_restore");
    let said = String::from_utf8_lossy(&output.stderr);
    let errors: Vec<&str> = said.lines().filter_map(|line| line.split("ERROR:  ").nth(1)).collect();
    assert_eq!(errors, told, "{said}");
    let may = format!(
        "SELECT has_table_privilege('{role}', 'ip_inventory', 'SELECT'), has_table_privilege('{role}', 'enrichment_status', 'SELECT')"
    );
    assert_eq!(restored.lines(DB, &may), ["t|t"]);
    for sql in DATA {
        assert_eq!(restored.lines(DB, sql), db.lines(sql), "{sql}");
    }
}

/// 0.1.0 dumps temporary tables as well, by a name that no other session has. The page of operations says what to delete before.
#[test]
fn temporary_tables_are_taken_out_by_hand_before_a_dump_of_before() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md")).expect("the page");
    let remedies: Vec<&str> = page.split('`').filter(|code| code.starts_with("DELETE FROM ip_")).collect();
    assert_eq!(remedies.len(), 2, "{remedies:?}");
    let db = old_database("0.1.0");
    let mut session = db.connect();
    let temporary = "CREATE TEMP TABLE mine (ip inet); SELECT attach_ip_source('pg_temp.mine', '{ip}')";
    crate::ingest_support::run(&mut session, temporary);
    db.sql(
        "INSERT INTO events VALUES (1, '8.8.8.8'); CREATE TABLE gone (ip inet); SELECT attach_ip_source('gone', '{ip}');
         DROP TABLE gone",
    );
    db.settle();
    let file = db.cluster.maxmind_dir().join("temporary.dump");
    let dump = || run(db.cluster.tool("pg_dump").args(["-d", &db.name, "-F", "c", "-f"]).arg(&file));
    dump();
    let restored = target();
    let restore = || restored.tool("pg_restore").args(["--exit-on-error", "-d", DB]).arg(&file).output();
    let said = restore().expect("pg_restore").stderr;
    assert!(String::from_utf8_lossy(&said).contains("does not exist"), "{}", String::from_utf8_lossy(&said));
    for remedy in remedies {
        db.sql(remedy);
    }
    dump();
    restored.sql("postgres", &format!("DROP DATABASE {DB}"));
    restored.sql("postgres", &format!("CREATE DATABASE {DB}"));
    assert!(restore().expect("pg_restore").status.success());
    assert_eq!(restored.lines(DB, "SELECT tbl, observations FROM ip_source"), ["events|1"]);
}
