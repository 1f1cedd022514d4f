//! Obstacles of a backfill: locked rows, rows that cannot be written, no files, no worker, no free processes, too many
//! jobs.

use crate::backfill_support::*;
use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(cluster_of_many)
}

fn backfill(arguments: &str) -> String {
    format!("SELECT {NUMBERS} FROM backfill_inventory({arguments})")
}

/// What a job in a session of its own counts that ends within so many seconds.
fn within(cluster: &Cluster, db: &str, seconds: u32, arguments: &str) -> String {
    Call::start(cluster, db, &format!("SET statement_timeout = '{seconds}s'; {}", backfill(arguments))).line()
}

/// A cluster with room for the launcher and one worker, and none for helpers.
fn without_helpers() -> Cluster {
    Cluster::builder()
        .conf("max_logical_replication_workers", "0")
        .conf("max_worker_processes", "2")
        .conf("asn_inventory.absorb_interval", "50ms")
        .start()
}

/// The files of lists of addresses.
fn lists(cluster: &Cluster) -> Vec<PathBuf> {
    let jobs = cluster.data_dir().join("asn_inventory/jobs");
    fs::read_dir(jobs).expect("the directory").map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn a_locked_row_is_skipped_and_enriched_by_a_later_call() {
    let (cluster, db) = (cluster(), database(cluster(), "held_row"));
    bare(cluster, db, "8.8.8.0", 250);
    let mut idle = cluster.connect(db);
    query(&mut idle, "BEGIN; UPDATE ip_inventory SET observation_count = 0 WHERE ip_address = '8.8.8.77'")
        .expect("a lock");
    assert_eq!(cluster.lines(db, &backfill("")), ["249|249|0|249|0|0|0|0|1"]);
    assert_eq!(cluster.lines(db, "SELECT outcome, errors FROM enrichment_run"), ["done|1"]);
    assert_eq!(cluster.lines(db, "SELECT ip_address FROM ip_inventory WHERE maxmind_ts IS NULL"), ["8.8.8.77"]);
    query(&mut idle, "COMMIT").expect("no deadlock");
    assert_eq!(cluster.lines(db, &backfill("")), ["1|1|0|1|0|0|0|0|0"]);
    assert_eq!(cluster.lines(db, WRONG), [""; 0]);
    assert_eq!(cluster.value(db, "SELECT observation_count FROM ip_inventory WHERE ip_address = '8.8.8.77'"), "0");
}

#[test]
fn a_row_unlocked_during_the_job_is_enriched_by_it() {
    let (cluster, db) = (cluster(), database(cluster(), "let_go"));
    bare(cluster, db, "8.8.8.0", 250);
    let mut holder = cluster.connect(db);
    query(&mut holder, "BEGIN; UPDATE ip_inventory SET observation_count = 7 WHERE ip_address = '8.8.8.77'")
        .expect("a lock");
    let call = Call::start(cluster, db, &backfill(""));
    cluster.wait_value(db, ENRICHED, "249");
    query(&mut holder, "COMMIT").expect("committed");
    assert_eq!(call.line(), "250|250|0|250|0|0|0|0|0");
    assert_eq!(cluster.lines(db, WRONG), [""; 0]);
}

#[test]
fn rows_that_cannot_be_written_are_counted_and_the_rest_is_enriched() {
    let (cluster, db) = (cluster(), database(cluster(), "poison"));
    bare(cluster, db, "8.8.8.0", 250);
    cluster.sql(
        db,
        "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE 'this row is poison' USING ERRCODE = 'P0001'; END $$;
         CREATE TRIGGER poison BEFORE UPDATE ON ip_inventory FOR EACH ROW
             WHEN (NEW.ip_address IN ('8.8.8.8', '8.8.8.9', '8.8.8.200')) EXECUTE FUNCTION poison();
         ALTER TABLE ip_inventory ENABLE ALWAYS TRIGGER poison",
    );
    assert_eq!(within(cluster, db, 30, "batch_size => 100"), "250|247|0|247|0|0|0|0|3");
    assert_eq!(cluster.value(db, "SELECT outcome FROM enrichment_run"), "done");
    assert_eq!(
        cluster.lines(db, "SELECT ip_address FROM ip_inventory WHERE maxmind_ts IS NULL ORDER BY 1"),
        ["8.8.8.8", "8.8.8.9", "8.8.8.200"]
    );
    cluster
        .wait_log("8.8.8.200 cannot be written to ip_inventory; the rest of its batch was written: this row is poison");
    // The same by a list, of which nothing else is due.
    assert_eq!(within(cluster, db, 30, "ips => '{8.8.8.7,8.8.8.8}'"), "2|0|1|0|0|0|0|0|1");
    cluster.sql(db, "DROP TRIGGER poison ON ip_inventory");
    assert_eq!(cluster.lines(db, &backfill("")), ["3|3|0|3|0|0|0|0|0"]);
    assert_eq!(cluster.lines(db, WRONG), [""; 0]);
}

/// They have the lowest addresses, which come first, and are more than one transaction tries.
#[test]
fn many_rows_that_cannot_be_written_keep_no_others_back() {
    let (cluster, db) = (cluster(), database(cluster(), "many_poisoned"));
    bare(cluster, db, "34.64.0.0", 1600);
    let check = "ALTER TABLE ip_inventory ADD CONSTRAINT refused
        CHECK (maxmind_ts IS NULL OR ip_address < '34.64.0.0' OR ip_address >= '34.64.0.0'::inet + 1500)";
    cluster.sql(db, check);
    assert_eq!(within(cluster, db, 60, ""), "1600|100|0|100|0|0|0|0|1500");
    assert_eq!(cluster.value(db, "SELECT outcome FROM enrichment_run"), "done");
    assert_eq!(cluster.value(db, ENRICHED), "100");
    // Of a list, one that cannot even be added.
    let list = "ips => '{8.8.8.8,8.8.8.9,34.64.255.1}'";
    cluster.sql(db, "ALTER TABLE ip_inventory ADD CONSTRAINT not_new CHECK (ip_address <> '8.8.8.8')");
    assert_eq!(within(cluster, db, 60, list), "3|2|0|2|0|0|0|0|1");
    assert_eq!(cluster.value(db, "SELECT count(*) FROM ip_inventory WHERE ip_address = '8.8.8.9'"), "1");
    cluster.sql(db, "ALTER TABLE ip_inventory DROP CONSTRAINT refused, DROP CONSTRAINT not_new");
    assert_eq!(cluster.lines(db, &backfill("")), ["1500|1500|0|1500|0|0|0|0|0"]);
    assert_eq!(cluster.lines(db, WRONG), [""; 0]);
}

#[test]
fn many_locked_rows_keep_no_others_back() {
    let (cluster, db) = (cluster(), database(cluster(), "many_held"));
    bare(cluster, db, "8.8.8.0", 250);
    let mut holder = cluster.connect(db);
    query(&mut holder, "BEGIN; SELECT ip_address FROM ip_inventory WHERE ip_address < '8.8.8.40' FOR UPDATE")
        .expect("locks");
    assert_eq!(cluster.lines(db, &backfill("")), ["210|210|0|210|0|0|0|0|40"]);
    query(&mut holder, "COMMIT").expect("let go");
    assert_eq!(cluster.lines(db, &backfill("")), ["40|40|0|40|0|0|0|0|0"]);
    assert_eq!(cluster.lines(db, WRONG), [""; 0]);
}

#[test]
fn a_caller_may_hold_row_locks_itself() {
    let (cluster, db) = (cluster(), database(cluster(), "own_rows"));
    bare(cluster, db, "8.8.8.0", 50);
    // Other sessions cannot write the rows that this transaction holds or added yet.
    let call = Call::start(
        cluster,
        db,
        &format!(
            "BEGIN; UPDATE ip_inventory SET observation_count = 9 WHERE ip_address = '8.8.8.1';
             INSERT INTO ip_inventory (ip_address, first_seen_at, observation_count) VALUES ('1.1.1.1', now(), 1);
             {}; COMMIT",
            backfill("")
        ),
    );
    assert_eq!(call.line(), "49|49|0|49|0|0|0|0|1");
    assert_eq!(cluster.lines(db, &backfill("")), ["2|2|0|2|0|0|0|0|0"]);
    assert_eq!(cluster.lines(db, WRONG), [""; 0]);
}

#[test]
fn a_long_transaction_that_attaches_a_table_blocks_no_job() {
    let (cluster, db) = (cluster(), database(cluster(), "attaching"));
    bare(cluster, db, "8.8.8.0", 50);
    let mut attaching = cluster.connect(db);
    let attach = "CREATE TABLE event (src inet); BEGIN; SELECT attach_ip_source('event', '{src}')";
    query(&mut attaching, attach).expect("attached");
    assert_eq!(cluster.lines(db, &backfill("")), ["50|50|0|50|0|0|0|0|0"]);
    cluster.sql(db, "SELECT enrich_ip('81.2.69.142')");
    cluster.wait_value(db, "SELECT city FROM ip_inventory WHERE ip_address = '81.2.69.142'", "London");
    // Nor itself.
    let own = query(&mut attaching, &backfill("ips => '{8.8.8.0,1.1.1.1}'")).expect("a summary");
    let own: Vec<String> = own[0].iter().flatten().cloned().collect();
    assert_eq!(own.join("|"), "2|1|1|1|0|0|0|0|0");
    query(&mut attaching, "COMMIT").expect("committed");
    assert_eq!(cluster.lines(db, "SELECT outcome FROM enrichment_run"), ["done", "done"]);
    cluster.sql(db, "DROP EXTENSION asn_inventory");
    assert_eq!(cluster.value(db, "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'event'::regclass"), "0");
}

#[test]
fn backfill_fails_without_files_and_runs_in_the_worker_without_helpers() {
    let cluster = without_helpers();
    let db = "postgres";
    cluster.sql(db, "CREATE EXTENSION asn_inventory");
    cluster.wait_value(db, "SELECT worker FROM enrichment_status", "running");
    bare(&cluster, db, "8.8.8.0", 256);
    let refused = cluster.fails(db, "SELECT backfill_inventory()");
    assert_eq!(refused.code, "55000", "{refused:?}");
    assert_eq!(refused.message, "there is nothing to enrich from");
    assert_eq!(refused.detail, "No mmdb file is installed.");
    assert!(refused.hint.contains("asn_inventory.maxmind_dir"), "{refused:?}");
    assert_eq!(cluster.value(db, "SELECT count(*) FROM enrichment_progress"), "0");

    fixtures::small(&cluster.maxmind_dir());
    cluster.wait_value(db, "SELECT count(*) FROM mmdb_editions() WHERE generation IS NOT NULL", "2");
    let gate = Gate::shut(&cluster, db, "NEW.ip_address = '8.8.8.100'");
    let call = Call::start(&cluster, db, &backfill("commit_interval => 50"));
    let running = "SELECT state || helpers FROM enrichment_progress";
    cluster.wait_value(db, running, "running0");
    assert!(cluster.pids_of(HELPER).is_empty());
    gate.open();
    assert_eq!(call.line(), "256|256|0|256|0|0|0|0|0");
    assert_eq!(cluster.lines(db, WRONG), [""; 0]);
    // And it still absorbs between the pieces, and afterwards.
    cluster.sql(db, "SELECT enrich_ip('81.2.69.142', '30s')");
    assert_eq!(cluster.value(db, "SELECT city FROM ip_inventory WHERE ip_address = '81.2.69.142'"), "London");
}

#[test]
fn a_worker_without_helpers_does_its_other_work_while_a_table_is_locked() {
    let cluster = without_helpers();
    let db = "postgres";
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql(db, "CREATE EXTENSION asn_inventory");
    cluster.wait_walked(db);
    bare(&cluster, db, "8.8.8.0", 256);
    cluster.sql(db, "CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')");
    let gate = Gate::shut(&cluster, db, "NEW.ip_address = '8.8.8.100'");
    let call = Call::start(&cluster, db, &backfill("commit_interval => 50"));
    Gate::wait_for(&cluster, db, WORKER);
    let mut holder = gate.open_to_locker(&cluster, db);
    // The queue is read, though nothing can be written yet.
    cluster.sql(db, "INSERT INTO events VALUES ('8.8.4.4')");
    cluster.wait_value(db, "SELECT max(attempts) > 0 FROM ip_observation", "t");
    query(&mut holder, "COMMIT").expect("let go");
    assert_eq!(call.line(), "256|256|0|256|0|0|0|0|0");
    cluster.wait_value(db, "SELECT count(*) FROM ip_inventory WHERE ip_address = '8.8.4.4'", "1");
    assert_eq!(cluster.lines(db, WRONG), [""; 0]);
}

#[test]
fn without_a_worker_the_error_names_the_setting() {
    let cluster = Cluster::builder().preload(false).start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql("postgres", "CREATE EXTENSION asn_inventory");
    for call in ["SELECT backfill_inventory()", "SELECT backfill_inventory(wait => false)"] {
        let refused = cluster.fails("postgres", call);
        assert_eq!(refused.code, "55000", "{refused:?}");
        assert_eq!(refused.message, "the asn_inventory worker is not running");
        assert!(refused.hint.contains("shared_preload_libraries = 'asn_inventory'"), "{refused:?}");
    }
    assert_eq!(cluster.value("postgres", "SELECT cancel_enrichment_job(1)"), "f");
    assert_eq!(cluster.value("postgres", "SELECT count(*) FROM enrichment_progress"), "0");
}

#[test]
fn more_jobs_than_fit_are_refused_until_one_ends() {
    let cluster = cluster_of_many();
    let db = database(&cluster, "many_jobs");
    bare(&cluster, db, "8.8.8.0", 100);
    // A worker that does nothing meanwhile.
    let worker = cluster.value(db, "SELECT worker_pid FROM enrichment_status");
    let signal = |name: &str| assert!(Command::new("kill").args([name, &worker]).status().expect("kill").success());
    signal("-STOP");
    for _ in 0..12 {
        cluster.sql(db, "SELECT backfill_inventory(wait => false, workers => 1)");
    }
    let refused = cluster.fails(db, "SELECT backfill_inventory()");
    assert_eq!(refused.code, "53400", "{refused:?}");
    assert!(refused.detail.contains("16") && refused.detail.contains("12 in one database"), "{refused:?}");
    assert!(refused.hint.contains("enrichment_progress"), "{refused:?}");
    assert_eq!(cluster.value(db, "SELECT count(*) FROM enrichment_progress"), "12");
    // One database leaves room for the others.
    let other = database(&cluster, "other_jobs");
    bare(&cluster, other, "8.8.8.0", 10);
    assert_eq!(cluster.lines(other, &backfill("")), ["10|10|0|10|0|0|0|0|0"]);
    signal("-CONT");
    cluster.wait_value(db, "SELECT count(*) FROM enrichment_progress", "0");
    assert_eq!(
        cluster.lines(db, "SELECT count(*), sum(processed), sum(errors) FROM enrichment_run WHERE outcome = 'done'"),
        ["12|100|0"]
    );
    assert_eq!(cluster.lines(db, &backfill("")), ["0|0|0|0|0|0|0|0|0"]);
    assert_eq!(cluster.lines(db, WRONG), [""; 0]);
}

#[test]
fn a_list_that_cannot_be_written_whole_leaves_no_file() {
    let cluster = Cluster::builder().start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql("postgres", "CREATE EXTENSION asn_inventory");
    cluster.wait_value("postgres", "SELECT worker FROM enrichment_status", "running");
    let mut session = cluster.connect("postgres");
    let pid = query(&mut session, "SELECT pg_backend_pid()").expect("a number")[0][0].clone().unwrap_or_default();
    // It must let a segment of WAL pass, so the list is longer than that.
    cluster.limit_file_size(pid.parse().expect("a number"), Some(17 << 20));
    let addresses = "SELECT array_agg('100.100.100.0'::inet + n) FROM generate_series(1, 1200000) n";
    let failed =
        query(&mut session, &format!("SELECT backfill_inventory(ips => ({addresses}))")).expect_err("no space");
    assert!(failed.message.starts_with("could not write the list of addresses: "), "{failed:?}");
    assert_eq!(lists(&cluster), Vec::<PathBuf>::new());
}

#[test]
fn a_list_that_is_lost_in_the_middle_fails_the_job() {
    let (cluster, db) = (cluster(), database(cluster(), "lost_list"));
    bare(cluster, db, "8.8.8.0", 3);
    let mut holder = cluster.connect(db);
    query(&mut holder, "BEGIN; UPDATE ip_inventory SET observation_count = 0 WHERE ip_address = '8.8.8.1'")
        .expect("a lock");
    let call = Call::start(cluster, db, &backfill("ips => '{8.8.8.0,8.8.8.1,8.8.8.2}'"));
    cluster.wait_value(db, ENRICHED, "2");
    let list = format!("{}-1.ips", cluster.value(db, "SELECT oid FROM pg_database WHERE datname = current_database()"));
    fs::remove_file(cluster.data_dir().join("asn_inventory/jobs").join(list)).expect("removed");
    // The next passes begin with it.
    let failed = call.end().expect_err("a job without its list");
    assert_eq!((failed.code.as_str(), failed.message.as_str()), ("38000", "job 1 failed"));
    assert_eq!(cluster.lines(db, "SELECT outcome, processed, cache_hits FROM enrichment_run"), ["failed|2|0"]);
    let detail = cluster.value(db, "SELECT detail FROM enrichment_run");
    assert!(detail.ends_with(": could not read the list of job 1: No such file or directory (os error 2)"), "{detail}");
    query(&mut holder, "COMMIT").expect("committed");
    assert_eq!(cluster.lines(db, &backfill("")), ["1|1|0|1|0|0|0|0|0"]);
}

#[test]
fn jobs_of_a_dropped_database_keep_no_slot_and_no_list() {
    let cluster = cluster_of_many();
    let dropped = database(&cluster, "dropped_jobs");
    bare(&cluster, dropped, "8.8.8.0", 12);
    let _gate = Gate::shut(&cluster, dropped, "true");
    for n in 0..12 {
        cluster.sql(dropped, &format!("SELECT {}", waiting(n)));
    }
    cluster.wait_value(dropped, "SELECT count(*) FROM enrichment_progress WHERE helpers = 1", "12");
    // As if a crash had left the draft of a list.
    fs::write(lists(&cluster)[0].with_extension("tmp"), "").expect("a draft");
    cluster.sql("postgres", "DROP DATABASE dropped_jobs WITH (FORCE)");
    // As many again fit in another database.
    let db = database(&cluster, "next_jobs");
    bare(&cluster, db, "8.8.8.0", 12);
    let gate = Gate::shut(&cluster, db, "true");
    for n in 0..12 {
        cluster.sql(db, &format!("SELECT {}", waiting(n)));
    }
    cluster.wait_value(db, "SELECT count(*) FROM enrichment_progress WHERE helpers = 1", "12");
    gate.open();
    cluster.wait_value(db, "SELECT count(*) FROM enrichment_run WHERE outcome = 'done' AND processed = 1", "12");
    assert_eq!(lists(&cluster), Vec::<PathBuf>::new());
}

/// A job of one address, for which nobody waits.
fn waiting(n: u32) -> String {
    format!("backfill_inventory(ips => '{{8.8.8.{n}}}', workers => 1, wait => false)")
}
