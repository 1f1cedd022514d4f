//! pg_dump and restore keep what the user owns: inventory, counts, queue, attached tables, ended jobs.

use asn_inventory_tests::prelude::*;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const DB: &str = "honeypot";
/// Rows of the tables below, each an event.
const EVENTS: u64 = 3 + 2 + 40;
const INVENTORY: &str =
    "SELECT ip_address, first_seen_at, last_seen_at, observation_count, asn_number, asn_org, city, maxmind_ts
    FROM ip_inventory ORDER BY ip_address";
const QUEUE: &str = "SELECT address, seen, first_seen, last_seen, source FROM ip_observation ORDER BY address, seen";
const SOURCES: &str =
    "SELECT tbl, ip_columns, observed_at, attached_at, attached_by, observations, unparsable, populated_at
    FROM ip_source ORDER BY tbl::text";
const RUNS: &str = "SELECT * FROM enrichment_run ORDER BY job_id";
const HISTORY: &str = "SELECT * FROM ip_asn_history ORDER BY ip_address";
const SYSTEMS: &str = "SELECT * FROM asn_inventory ORDER BY asn_number";
const PREFIXES: &str = "SELECT * FROM cymru_prefix ORDER BY prefix";
const LEDGER: &str = "SELECT * FROM source_quota";
const TRIGGERS: &str = "SELECT tgrelid::regclass, tgname, tgfoid::regproc FROM pg_trigger WHERE NOT tgisinternal ORDER BY tgrelid::regclass::text, tgname";

/// A cluster with a busy past: tables of three kinds, one not populated, jobs, and a queue that is not absorbed.
fn original() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").start();
        fixtures::small(&cluster.maxmind_dir());
        cluster.sql("postgres", &format!("CREATE DATABASE {DB}"));
        // Tables of no meaning, so that OIDs differ from those of the restored database.
        cluster.sql(DB, "CREATE TABLE a (n int PRIMARY KEY, t text); DROP TABLE a; CREATE TABLE b (n int, t text); DROP TABLE b");
        cluster.sql(
            DB,
            "CREATE EXTENSION asn_inventory; CREATE SCHEMA logs;
             CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz, src inet);
             CREATE TABLE logs.parts (id int, src text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
             CREATE TABLE logs.part_1 PARTITION OF logs.parts FOR VALUES FROM (0) TO (100);
             CREATE TABLE logs.part_2 PARTITION OF logs.parts FOR VALUES FROM (100) TO (200);
             CREATE INDEX ON logs.parts (src);
             CREATE TABLE late (payload jsonb);
             INSERT INTO late VALUES ('{\"ip\": \"162.142.125.1\"}');
             SELECT attach_ip_source('events', ARRAY['src'], 'at');
             SELECT attach_ip_source('logs.parts', ARRAY['src']);
             SELECT attach_ip_source('late', ARRAY['payload->>ip']);
             SELECT populate_ip_inventory('events');
             INSERT INTO events (at, src) VALUES ('2026-01-02', '8.8.8.8'), ('2026-01-03', '8.8.8.8'), (now(), '81.2.69.142');
             INSERT INTO logs.parts VALUES (1, '1.1.1.1'), (150, '8.8.8.8'), (2, 'nonsense');
             INSERT INTO ip_inventory (ip_address) VALUES ('51.68.0.1')",
        );
        cluster.wait_value(DB, "SELECT sum(observations) FROM ip_source", "5");
        assert_eq!(cluster.value(DB, "SELECT processed FROM backfill_inventory()"), "1");
        assert_eq!(cluster.value(DB, "SELECT processed FROM backfill_inventory()"), "0");
        cluster.stop_worker(DB);
        cluster.sql(
            DB,
            "UPDATE ip_inventory SET asn_number = 64500 WHERE ip_address = '1.1.1.1';
             INSERT INTO asn_inventory (asn_number, asn_org, registry, allocated) VALUES (64511, 'Kept', 'arin', '2001-01-01');
             INSERT INTO cymru_prefix VALUES ('218.92.0.0/24', '218.92.0.0/17', '{4134,4812}', 'CN', 'apnic', NULL, now(), now());
             INSERT INTO source_quota VALUES ('greynoise', now(), 7, now());
             INSERT INTO events (at, src) SELECT '2026-02-01', '64.227.0.0'::inet + i FROM generate_series(1, 20) i;
             INSERT INTO logs.parts SELECT 110 + i, '8.8.8.8' FROM generate_series(1, 20) i",
        );
        cluster
    })
}

fn run(command: &mut Command) {
    let output = command.output().expect("a program that starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !said.contains("error"), "{command:?}\n{said}");
}

/// Holds the restored database against the original, then has it work on.
fn same_and_alive(restored: &Cluster) {
    let original = original();
    let kept = [
        ("inventory", INVENTORY),
        ("queue", QUEUE),
        ("sources", SOURCES),
        ("jobs", RUNS),
        ("triggers", TRIGGERS),
        ("history", HISTORY),
        ("autonomous systems", SYSTEMS),
        ("prefixes", PREFIXES),
        ("ledger", LEDGER),
    ];
    for (what, sql) in kept {
        let there = restored.lines(DB, sql);
        assert!(!there.is_empty(), "no {what}");
        assert_eq!(there, original.lines(DB, sql), "{what}");
    }

    // Now with a worker: the queue is absorbed, and restored rows are not counted again.
    restored.set("asn_inventory.databases", "");
    restored.wait_value(DB, "SELECT queued || worker FROM enrichment_status", "0running");
    assert_eq!(restored.value(DB, "SELECT sum(observation_count) FROM ip_inventory"), (EVENTS + 1).to_string());
    let counted = "SELECT tbl, observations, unparsable FROM ip_source ORDER BY tbl::text";
    assert_eq!(restored.lines(DB, counted), ["events|23|0", "late|0|0", "logs.parts|22|1"]);
    assert_eq!(
        restored.value(
            DB,
            "SELECT count(*) FROM ip_inventory WHERE ip_address << '64.227.0.0/24' AND city LIKE 'Frankfurt%'"
        ),
        "20"
    );

    // Attached tables observe, a new partition too; jobs go on numbering.
    restored.sql(
        DB,
        "INSERT INTO events (at, src) VALUES (now(), '3.120.0.1');
         CREATE TABLE logs.part_3 PARTITION OF logs.parts FOR VALUES FROM (200) TO (300);
         INSERT INTO logs.part_3 VALUES (250, '3.120.0.1'); INSERT INTO logs.part_1 VALUES (50, '3.120.0.1')",
    );
    restored.wait_value(DB, "SELECT observation_count FROM ip_inventory WHERE ip_address = '3.120.0.1'", "3");
    let last: u64 = original.value(DB, "SELECT max(job_id) FROM enrichment_run").parse().expect("a number");
    // Here other files may be installed: the worker's own walk takes a number, too.
    let walked = "SELECT count(*) FROM enrichment_run WHERE kind = 'walk' AND job_id > ";
    restored.wait_value(DB, &format!("{walked} {last}"), "1");
    assert_eq!(restored.value(DB, "SELECT job_id FROM backfill_inventory()"), (last + 2).to_string());

    // Which rows `late` had when it was attached, only the original can tell.
    assert_eq!(restored.value(DB, "SELECT populate_ip_inventory('events')"), "0");
    // Later rows are distinguished from counted ones, for any transaction numbers here.
    restored.sql(DB, "SET asn_inventory.enabled = off; INSERT INTO events (at, src) VALUES (now(), '3.120.0.9')");
    assert_eq!(restored.value(DB, "SELECT populate_ip_inventory('events')"), "1");
    let refused = restored.fails(DB, "SELECT populate_ip_inventory('late')");
    assert_eq!((refused.code.as_str(), refused.detail.contains("restored")), ("55000", true), "{refused:?}");
    assert!(!refused.hint.is_empty());
    // logs.parts was empty when it was attached: so much is known here, too. It takes back what its rows have added.
    assert_eq!(restored.value(DB, "SELECT forget_ip_source('logs.parts')"), "24");
    restored.sql(DB, "DROP EXTENSION asn_inventory");
    assert_eq!(restored.lines(DB, TRIGGERS), [""; 0]);
}

/// Another server, whose worker waits until it is told to look.
fn target() -> Cluster {
    let cluster = Cluster::builder()
        .conf("asn_inventory.absorb_interval", "20ms")
        .conf("asn_inventory.databases", "none")
        .start();
    fixtures::small(&cluster.maxmind_dir());
    // The harness copies one initdb, system identifier and all; real servers differ in that, these in the OID.
    cluster.sql("postgres", "CREATE DATABASE another");
    cluster.sql("postgres", &format!("CREATE DATABASE {DB}"));
    cluster
}

fn dump(format: &str, file: &Path) {
    run(original().tool("pg_dump").args(["-d", DB, "-F", format, "-f"]).arg(file));
}

/// In a directory that belongs to the user whom client programs run as.
fn file(name: &str) -> std::path::PathBuf {
    original().maxmind_dir().join(name)
}

#[test]
fn a_plain_dump_keeps_everything() {
    let (file, target) = (file("plain.sql"), target());
    dump("p", &file);
    run(target.tool("psql").args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", DB, "-f"]).arg(&file));
    same_and_alive(&target);
}

#[test]
fn a_custom_dump_keeps_everything() {
    let (file, target) = (file("custom.dump"), target());
    dump("c", &file);
    run(target.tool("pg_restore").args(["--exit-on-error", "-d", DB]).arg(&file));
    same_and_alive(&target);
}

#[test]
fn a_restore_beside_a_busy_worker_counts_the_same() {
    let (file, target) = (file("busy.dump"), target());
    target.set("asn_inventory.databases", "");
    dump("c", &file);
    run(target.tool("pg_restore").args(["--exit-on-error", "-j", "3", "-d", DB]).arg(&file));
    target.wait_value(DB, "SELECT queued || worker FROM enrichment_status", "0running");
    assert_eq!(target.value(DB, "SELECT sum(observation_count) FROM ip_inventory"), (EVENTS + 1).to_string());
    assert_eq!(target.lines(DB, TRIGGERS), original().lines(DB, TRIGGERS));
}

#[test]
fn rows_that_are_restored_beside_a_worker_get_the_answers_of_its_files() {
    let (source, restored) = (target(), target());
    restored.set("asn_inventory.databases", "");
    restored.sql(DB, "CREATE EXTENSION asn_inventory");
    // Nothing is there yet, and that was compared.
    restored.wait_value(DB, "SELECT count(*) FROM maxmind_walk", "1");
    source.sql(
        DB,
        "CREATE EXTENSION asn_inventory;
         INSERT INTO ip_inventory (ip_address, city, maxmind_status, maxmind_ts)
         VALUES ('81.2.69.142', 'Of other files', 'found', now())",
    );
    let file = source.maxmind_dir().join("rows.dump");
    run(source.tool("pg_dump").args(["-d", DB, "-F", "c", "-f"]).arg(&file));
    run(restored
        .tool("pg_restore")
        .args(["--exit-on-error", "--data-only", "-t", "ip_inventory", "-d", DB])
        .arg(&file));
    restored.wait_value(DB, "SELECT city FROM ip_inventory", "London");
}

#[test]
fn temporary_and_dropped_tables_do_not_break_a_restore() {
    let source = target();
    source.sql(
        DB,
        "CREATE EXTENSION asn_inventory; CREATE TABLE events (ip inet); CREATE TABLE gone (ip inet);
         SELECT attach_ip_source('events', '{ip}'); SELECT attach_ip_source('gone', '{ip}'); INSERT INTO events VALUES ('8.8.8.8')",
    );
    source.sql(DB, "INSERT INTO gone VALUES ('1.1.1.1'); DROP TABLE gone");
    let mut session = source.connect(DB);
    let temporary = "CREATE TEMP TABLE mine (ip inet); SELECT attach_ip_source('pg_temp.mine', '{ip}'); INSERT INTO mine VALUES ('8.8.4.4')";
    asn_inventory_tests::cluster::query(&mut session, temporary).expect("attached");
    let file = source.maxmind_dir().join("temporary.dump");
    run(source.tool("pg_dump").args(["-d", DB, "-F", "c", "-f"]).arg(&file));
    let restored = target();
    run(restored.tool("pg_restore").args(["--exit-on-error", "-d", DB]).arg(&file));
    assert_eq!(restored.lines(DB, "SELECT tbl FROM ip_source"), ["events"]);
    restored.set("asn_inventory.databases", "");
    restored.wait_value(DB, "SELECT string_agg(host(ip_address), ' ') FROM ip_inventory", "8.8.8.8");
    restored.sql(DB, "INSERT INTO events VALUES ('8.8.8.9')");
    restored.wait_value(DB, "SELECT count(*) FROM ip_inventory", "2");
}

#[test]
fn a_restored_queue_waits_for_the_end_of_the_restore() {
    let source = target();
    source.sql(DB, "CREATE EXTENSION asn_inventory; INSERT INTO ip_inventory (ip_address) VALUES ('8.8.8.8')");
    source.sql(
        DB,
        "INSERT INTO ip_observation (address, seen, first_seen, last_seen) VALUES ('8.8.8.8', 5, now(), now())",
    );
    let file = source.maxmind_dir().join("queue.dump");
    run(source.tool("pg_dump").args(["-d", DB, "-F", "c", "-f"]).arg(&file));
    let restored = target();
    restored.set("asn_inventory.databases", "");
    restored.sql(DB, "CREATE EXTENSION asn_inventory");
    restored.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    // As pg_restore -j may do: the queue first, the inventory when it has been in for a while.
    let load = |table: &str| {
        let items = ["--data-only", "--section=data", "-f", "-", "-t", table];
        let output = restored.tool("pg_restore").args(items).arg(&file).output().expect("pg_restore");
        String::from_utf8(output.stdout).expect("a script")
    };
    let (queue, inventory) = (load("ip_observation"), load("ip_inventory"));
    let (input, output) = (Stdio::piped(), Stdio::piped());
    let mut command = restored.tool("psql");
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", DB]).stdin(input).stderr(output);
    let mut session = command.spawn().expect("psql");
    let mut says = session.stdin.take().expect("its input");
    writeln!(says, "{queue}\nBEGIN;").expect("written");
    restored.wait_value(DB, "SELECT count(*) FROM ip_observation", "1");
    let warning =
        "SELECT count(*) FROM enrichment_doctor() WHERE check_name = 'locks' AND detail LIKE '%restores a dump%'";
    restored.wait_value(DB, warning, "1");
    assert_eq!(restored.value(DB, "SELECT count(*) FROM ip_inventory"), "0");
    writeln!(says, "COMMIT;\n{inventory}").expect("written");
    drop(says);
    let ended = session.wait_with_output().expect("its end");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    restored.wait_value(DB, "SELECT observation_count FROM ip_inventory", "6");
    assert_eq!(restored.value(DB, "SELECT count(*) FROM ip_observation"), "0");
}

/// A loading session without reports (`track_activities`) delays the worker for a minute at most; the doctor still
/// answers, and a job can be cancelled.
#[test]
fn a_running_restore_blocks_neither_the_doctor_nor_a_job() {
    let cluster = target();
    cluster.set("asn_inventory.databases", "");
    cluster.sql(DB, "CREATE EXTENSION asn_inventory; CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}')");
    cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    let mut loader = cluster.connect(DB);
    let load = "SET check_function_bodies = off; BEGIN; INSERT INTO ip_inventory (ip_address) VALUES ('3.3.3.9')";
    asn_inventory_tests::cluster::query(&mut loader, load).expect("loaded");
    cluster.sql(DB, "INSERT INTO e VALUES ('8.8.8.8')");
    let doctor =
        "SET statement_timeout = '10s'; SELECT count(*) FROM enrichment_doctor() WHERE detail LIKE '%restores a dump%'";
    let mut session = cluster.connect(DB);
    let mut said = || crate::ingest_support::value(&mut session, doctor);
    wait_until("the doctor names the loader", || said() == "1");
    assert_eq!(cluster.value(DB, "SELECT processed FROM backfill_inventory()"), "0");
    assert_eq!(cluster.value(DB, "SELECT count(*) FROM ip_observation"), "1", "nothing is absorbed meanwhile");
    asn_inventory_tests::cluster::query(&mut loader, "COMMIT").expect("committed");
    cluster.wait_value(DB, "SELECT count(*) FROM ip_observation", "0");
}
