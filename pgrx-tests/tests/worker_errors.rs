//! The worker's failures show at once in all places: in the view, by the doctor, in the metrics and in the log, with
//! the failed work. They disappear when the same work succeeds, and nothing is lost.
//!
//! No disk is filled: a trigger raises what PostgreSQL raises there.

use crate::backfill_support::{DUE, Gate, HELPER, bare, cluster_of_many, database, ended_job, running_job};
use crate::promtool_support::Page;
use asn_inventory_tests::prelude::*;
use postgres::Client;
use std::sync::OnceLock;

const DB: &str = "postgres";

/// PostgreSQL's error for a full disk.
const FULL: &str = "could not extend file \"base/5/16400\": No space left on device";

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(cluster_of_many)
}

/// Has writes of a table fail as on a full disk, until [`room`] is made.
fn full(cluster: &Cluster, db: &str, table: &str, condition: &str) {
    cluster.sql(
        db,
        &format!(
            "CREATE FUNCTION full_{table}() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE EXCEPTION USING MESSAGE = '{FULL}', ERRCODE = '53100'; END $$;
             CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW WHEN ({condition})
                 EXECUTE FUNCTION full_{table}();
             ALTER TABLE {table} ENABLE ALWAYS TRIGGER full_disk"
        ),
    );
}

fn room(cluster: &Cluster, db: &str, table: &str) {
    cluster.sql(db, &format!("DROP FUNCTION full_{table} CASCADE"));
}

const LAST_ERROR: &str = "SELECT last_error FROM enrichment_status";
const HEALTHY: &str = "SELECT level FROM enrichment_doctor() WHERE check_name = 'worker errors'";

fn wait_healthy(cluster: &Cluster, db: &str) {
    cluster.wait_value(db, "SELECT last_error IS NULL AND last_error_at IS NULL FROM enrichment_status", "t");
    assert_eq!(cluster.value(db, HEALTHY), "ok");
}

#[test]
fn a_full_disk_is_reported_at_once_blames_no_address_and_loses_nothing() {
    let cluster = cluster();
    let db = database(cluster, "full_disk");
    cluster.sql(db, "CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')");
    wait_healthy(cluster, db);
    full(cluster, db, "ip_inventory", "NEW.ip_address = '9.0.9.9'");
    cluster.sql(db, "INSERT INTO events SELECT '9.0.0.0'::inet + n FROM generate_series(0, 24999) n");
    cluster.wait_value(db, LAST_ERROR, &format!("absorbing observations: {FULL}"));
    let since = "SELECT last_error_at > now() - interval '1 minute' FROM enrichment_status";
    assert_eq!(cluster.value(db, since), "t");
    let doctor =
        "SELECT level, detail LIKE 'The worker fails at absorbing observations, since %: could not extend file %.',
        remedy LIKE 'df -h %' FROM enrichment_doctor() WHERE check_name = 'worker errors'";
    assert_eq!(cluster.lines(db, doctor), ["error|t|t"]);
    let page = Page::of(cluster, db);
    assert_eq!(page.value("worker_failing", &[("work", "absorb")]), Some(1.0));
    assert_eq!(page.value("worker_failing", &[("work", "count")]), Some(0.0));
    assert!(page.value("worker_errors_total", &[("work", "absorb")]).is_some_and(|errors| errors >= 1.0));
    // It goes on failing, and goes on being shown.
    let failures = |page: &Page| page.value("worker_errors_total", &[("work", "absorb")]) >= Some(3.0);
    wait_for("more failures", || Page::of(cluster, db), failures);
    assert_eq!(cluster.value(db, LAST_ERROR), format!("absorbing observations: {FULL}"));
    let log = cluster.log();
    assert!(log.contains("observations could not be absorbed, trying again: could not extend file"));
    assert!(!log.contains("9.0."), "no address is to blame: {}", cluster.log_tail());
    // All of it waits, as it was queued.
    assert_eq!(cluster.value(db, "SELECT count(*) FROM ip_inventory"), "0");
    let waits = "SELECT sum(addresses), max(attempts), count(retry_at) FROM ip_observation";
    assert_eq!(cluster.lines(db, waits), ["25000|0|0"]);
    assert_eq!(cluster.value(db, "SELECT queued FROM enrichment_status"), "25000");

    room(cluster, db, "ip_inventory");
    cluster.wait_value(db, "SELECT count(*) || '/' || sum(observation_count) FROM ip_inventory", "25000/25000");
    wait_healthy(cluster, db);
    assert_eq!(cluster.value(db, "SELECT observations FROM ip_source"), "25000");
    assert_eq!(Page::of(cluster, db).value("worker_failing", &[("work", "absorb")]), Some(0.0));
}

#[test]
fn by_hand_the_same_error_is_raised_and_the_queue_stays() {
    let cluster = cluster();
    let db = database(cluster, "full_by_hand");
    cluster.sql(db, "CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')");
    full(cluster, db, "ip_inventory", "true");
    cluster.sql(db, "INSERT INTO events VALUES ('8.8.8.8'), ('1.1.1.1')");
    let refused = wait_for(
        "a turn of one's own",
        || cluster.try_sql(db, "SET lock_timeout = '10s'; SELECT absorb_observations()"),
        Result::is_err,
    );
    assert_eq!(refused.expect_err("refused").code, "53100");
    assert_eq!(cluster.value(db, "SELECT sum(seen) FROM ip_observation"), "2");
    room(cluster, db, "ip_inventory");
    cluster.wait_value(db, "SELECT sum(observation_count) FROM ip_inventory", "2");
}

#[test]
fn an_unwritable_address_is_reported_until_it_is_written() {
    let cluster = cluster();
    let db = database(cluster, "one_address");
    cluster.sql(
        db,
        "CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}');
         ALTER TABLE ip_inventory ADD CONSTRAINT poisoned CHECK (ip_address NOT IN ('45.155.12.66', '45.155.12.67'));
         INSERT INTO events SELECT inet '45.155.12.0' + n FROM generate_series(1, 200) n",
    );
    cluster.wait_value(db, "SELECT count(*) FROM ip_inventory", "198");
    let said = wait_for("the last error", || cluster.value(db, LAST_ERROR), |said| !said.is_empty());
    assert!(
        said.starts_with("writing single addresses to ip_inventory: 45.155.12.66: new row for relation")
            && said.ends_with("; 1 more cannot be either"),
        "{said}"
    );
    assert_eq!(cluster.value(db, HEALTHY), "warning");
    // It waits all the while, whatever else is absorbed; not for the worker, which keeps up.
    let waits = "SELECT queued = 2 AND queue_age IS NULL FROM enrichment_status";
    cluster.wait_value(db, waits, "t");
    // A pause dated by a clock that was ten years ahead is none: it is tried again now.
    cluster.sql(db, "UPDATE ip_observation SET retry_at = now() + interval '10 years'");
    cluster.wait_value(db, "SELECT max(retry_at) < now() + interval '15 minutes' FROM ip_observation", "t");
    // Success of other work does not clear it.
    cluster.sql(db, "INSERT INTO events VALUES ('8.8.8.8')");
    cluster.wait_value(db, "SELECT count(*) FROM ip_inventory", "199");
    assert!(cluster.value(db, LAST_ERROR).starts_with("writing single addresses"));
    cluster.sql(db, "ALTER TABLE ip_inventory DROP CONSTRAINT poisoned; UPDATE ip_observation SET retry_at = now()");
    cluster.wait_value(db, "SELECT count(*) FROM ip_inventory", "201");
    wait_healthy(cluster, db);
}

#[test]
fn an_address_that_a_session_holds_for_long_is_reported_until_it_is_written() {
    let cluster = cluster();
    let db = database(cluster, "one_held");
    cluster.sql(db, "CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}'); INSERT INTO events VALUES ('8.8.8.8')");
    cluster.wait_value(db, "SELECT count(*) FROM ip_inventory", "1");
    let mut holder = cluster.connect(db);
    holder.batch_execute("BEGIN; SELECT FROM ip_inventory FOR UPDATE").expect("held");
    let pid = holder.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get::<_, i32>(0);
    cluster.sql(db, "INSERT INTO events VALUES ('8.8.8.8')");
    cluster.wait_value(db, "SELECT queued || '|' || (queue_age IS NULL)::text FROM enrichment_status", "1|true");
    assert_eq!(cluster.value(db, LAST_ERROR), "", "a short lock is none of our failures");
    // As if it had been tried for a minute.
    let tried = "UPDATE ip_observation SET attempts = 5, retry_at = now() WHERE attempts BETWEEN 1 AND 4";
    let said = wait_for(
        "the last error",
        || {
            cluster.sql(db, tried);
            cluster.value(db, LAST_ERROR)
        },
        |said| !said.is_empty(),
    );
    assert!(said.starts_with("writing single addresses to ip_inventory: 8.8.8.8: "), "{said}");
    assert!(cluster.log().contains("a lock keeps the worker from writing single addresses to ip_inventory: 8.8.8.8: "));
    // A reader, such as a dump, keeps nobody from writing.
    let mut reader = cluster.connect(db);
    reader.batch_execute("BEGIN; SELECT count(*) FROM ip_inventory").expect("read");
    let reading = reader.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get::<_, i32>(0);
    let remedy = "SELECT level || '|' || remedy FROM enrichment_doctor() WHERE check_name = 'worker errors'";
    let remedy = cluster.value(db, remedy);
    let holders = remedy.strip_prefix("warning|").and_then(|remedy| remedy.split("  --").next()).expect("a query");
    let holders = cluster.lines(db, holders);
    assert!(holders.iter().any(|line| line.starts_with(&format!("{pid}|"))), "{pid} of {holders:?}");
    assert!(!holders.iter().any(|line| line.starts_with(&format!("{reading}|"))), "{reading} in {holders:?}");
    drop(reader);
    holder.batch_execute("COMMIT").expect("released");
    cluster.sql(db, "UPDATE ip_observation SET retry_at = now()");
    cluster.wait_value(db, "SELECT observation_count FROM ip_inventory", "2");
    wait_healthy(cluster, db);
}

#[test]
fn a_job_that_is_given_up_is_no_work_that_fails() {
    let cluster = cluster();
    let db = database(cluster, "given_up");
    bare(cluster, db, "8.8.4.0", 2000);
    full(cluster, db, "ip_inventory", "NEW.maxmind_ts IS NOT NULL");
    cluster.sql(db, "SELECT backfill_inventory(wait => false, commit_interval => 100)");
    cluster.wait_value(db, "SELECT outcome FROM enrichment_run ORDER BY job_id DESC LIMIT 1", "failed");
    assert_eq!(cluster.value(db, LAST_ERROR), format!("a backfill or refresh: {FULL}"));
    room(cluster, db, "ip_inventory");
    let gate = Gate::shut(cluster, db, "true");
    cluster.sql(db, "SELECT backfill_inventory(wait => false, commit_interval => 100)");
    let job = running_job(cluster, db);
    assert_eq!(cluster.value(db, &format!("SELECT cancel_enrichment_job({job})")), "t");
    gate.open();
    assert_eq!(ended_job(cluster, db), "cancelled");
    wait_healthy(cluster, db);
}

#[test]
fn work_that_is_switched_off_does_not_fail() {
    let cluster = Cluster::builder().conf("asn_inventory.fold_ipv4_mapped", "off").start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory; INSERT INTO ip_inventory (ip_address) VALUES ('::ffff:8.8.8.8')");
    full(&cluster, DB, "ip_inventory", "true");
    cluster.set("asn_inventory.fold_ipv4_mapped", "on");
    cluster.wait_value(DB, LAST_ERROR, &format!("merging rows of IPv4-mapped addresses: {FULL}"));
    cluster.set("asn_inventory.fold_ipv4_mapped", "off");
    wait_healthy(&cluster, DB);
}

#[test]
fn a_source_that_is_switched_off_has_no_work_that_fails() {
    use crate::network_support::*;
    let world = World::start();
    world.attach_events();
    full(&world.cluster, DB, "source_quota", "true");
    world.ingest(&["45.1.0.1"]);
    world.wait(LAST_ERROR, &format!("keeping the ledger of GreyNoise's quota: {FULL}"));
    world.cluster.set("asn_inventory.greynoise", "off");
    wait_healthy(&world.cluster, DB);
}

#[test]
fn a_backfill_that_cannot_write_fails_with_the_reason() {
    let cluster = cluster();
    let db = database(cluster, "full_backfill");
    bare(cluster, db, "8.8.4.0", 2000);
    full(cluster, db, "ip_inventory", "NEW.maxmind_ts IS NOT NULL");
    cluster.sql(db, "SELECT backfill_inventory(wait => false, commit_interval => 100)");
    let ended = "SELECT outcome || ': ' || detail FROM enrichment_run ORDER BY job_id DESC LIMIT 1";
    cluster.wait_value(db, ended, &format!("failed: helpers failed or were ended before they were done: {FULL}"));
    assert_eq!(cluster.value(db, LAST_ERROR), format!("a backfill or refresh: {FULL}"));
    assert_eq!(cluster.value(db, HEALTHY), "error");
    assert!(!cluster.log().contains("8.8.4."), "no address is to blame: {}", cluster.log_tail());
    // Absorbing goes well: that is another work.
    cluster.sql(db, "CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}'); DROP TRIGGER full_disk ON ip_inventory; INSERT INTO events VALUES ('1.1.1.1')");
    cluster.wait_value(db, "SELECT count(*) FROM ip_inventory", "2001");
    assert_eq!(cluster.value(db, LAST_ERROR), format!("a backfill or refresh: {FULL}"));
    assert_eq!(cluster.value(db, "SELECT processed || '/' || errors FROM backfill_inventory()"), "2000/0");
    assert_eq!(cluster.value(db, DUE), "0");
    wait_healthy(cluster, db);
}

#[test]
fn a_failed_count_and_a_failed_walk_are_reported() {
    let cluster = cluster();
    let db = database(cluster, "full_count");
    cluster.sql(db, "CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')");
    full(cluster, db, "inventory_count", "true");
    cluster.sql(db, "INSERT INTO events VALUES ('1.1.1.1')");
    cluster.wait_value(db, LAST_ERROR, &format!("counting the inventory: {FULL}"));
    cluster.wait_value(db, "SELECT count(*) FROM ip_inventory", "1");
    room(cluster, db, "inventory_count");
    cluster.wait_value(db, "SELECT addresses FROM inventory_count", "1");
    wait_healthy(cluster, db);

    full(cluster, db, "maxmind_walk", "true");
    cluster.sql(db, "DELETE FROM maxmind_walk");
    cluster.set("asn_inventory.maxmind_max_age", "15d");
    cluster.wait_value(db, LAST_ERROR, &format!("walking the inventory after a newer build: {FULL}"));
    room(cluster, db, "maxmind_walk");
    cluster.wait_value(db, "SELECT count(*) FROM maxmind_walk", "1");
    wait_healthy(cluster, db);
}

#[test]
fn unwritable_answers_are_reported_and_written_later() {
    use crate::network_support::*;
    let world = World::start();
    world.attach_events();
    world.fakes.announce("45.0.0.0/8", &[64500], "FR");
    world.fakes.name(64500, "EXAMPLE");
    full(&world.cluster, DB, "ip_inventory", "NEW.cymru_status = 'found'");
    world.ingest(&["45.1.0.1", "45.1.0.2"]);
    world.wait(LAST_ERROR, &format!("writing answers of Team Cymru: {FULL}"));
    let log = world.cluster.log();
    assert!(!log.contains("45.1.0."), "no address is to blame: {}", world.cluster.log_tail());
    room(&world.cluster, DB, "ip_inventory");
    world.wait_row("45.1.0.1", "cymru_status, greynoise_status", "found|not_found");
    world.wait_row("45.1.0.2", "cymru_status, greynoise_status", "found|not_found");
    wait_healthy(&world.cluster, DB);
}

#[test]
fn each_log_line_names_its_database() {
    let cluster = cluster();
    let databases = ["named one", "named_two"];
    for db in databases {
        cluster.sql("postgres", &format!("CREATE DATABASE \"{db}\""));
        cluster.sql(
            db,
            "CREATE EXTENSION asn_inventory; CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')",
        );
        full(cluster, db, "ip_inventory", "true");
        cluster.sql(db, "INSERT INTO events VALUES ('1.1.1.1')");
    }
    // A line of ours, and one of PostgreSQL's: each is followed by whose it is.
    let of = |log: &str, line: &str, who: &str| {
        let lines: Vec<&str> = log.lines().collect();
        lines.windows(2).any(|two| two[0].contains(line) && two[1].contains(&format!("CONTEXT:  {who}")))
    };
    for db in databases {
        let who = format!("asn_inventory worker of database \"{db}\"");
        let line = "observations could not be absorbed, trying again: could not extend file";
        wait_until(&who, || of(&cluster.log(), line, &who));
        let pid = cluster.value(db, "SELECT worker_pid FROM enrichment_status");
        cluster.sql("postgres", &format!("SELECT pg_terminate_backend({pid})"));
        wait_until("its end", || of(&cluster.log(), "terminating background worker \"asn_inventory worker\"", &who));
    }
    for db in databases {
        room(cluster, db, "ip_inventory");
        cluster.wait_value(db, "SELECT count(*) FROM ip_inventory", "1");
    }
    // Helpers as well.
    let db = databases[0];
    bare(cluster, db, "8.8.4.0", 10);
    full(cluster, db, "ip_inventory", "NEW.maxmind_ts IS NOT NULL");
    cluster.sql(db, "SELECT backfill_inventory(wait => false)");
    let who = "asn_inventory backfill of database \"named one\"";
    wait_until(who, || of(&cluster.log(), "a piece of job", who));
    room(cluster, db, "ip_inventory");
}

/// A job whose pieces behind the first one another session keeps from the table; when it lets them, the last piece is held by
/// the gate.
fn locked_job(db: &str) -> (Client, Gate) {
    let cluster = cluster();
    bare(cluster, db, "8.8.8.0", 256);
    let gate = Gate::shut(cluster, db, "NEW.ip_address IN ('8.8.8.10', '8.8.8.250')");
    cluster.sql(db, "SELECT backfill_inventory(wait => false, workers => 1, commit_interval => 50)");
    Gate::wait_for(cluster, db, HELPER);
    (gate.open_to_locker(cluster, db), Gate::shut_again(cluster, db))
}

/// A walk of which another session holds the only row that differs.
fn walk_of_held_row(db: &str) -> Client {
    let cluster = cluster();
    bare(cluster, db, "8.8.8.8", 1);
    cluster.sql(db, "SELECT backfill_inventory(); UPDATE ip_inventory SET asn_number = 64500");
    let mut holder = cluster.connect(db);
    holder.batch_execute("BEGIN; SELECT FROM ip_inventory FOR UPDATE").expect("held");
    cluster.sql(db, "DELETE FROM maxmind_walk");
    cluster.reload();
    holder
}

#[test]
fn a_lock_of_more_than_a_minute_is_a_failure_until_it_ends() {
    use crate::network_support::*;
    // All of them in the same minute.
    let (job, walk) = (database(cluster(), "locked_job"), database(cluster(), "held_walk"));
    let ((mut job_holder, gate), mut row_holder) = (locked_job(job), walk_of_held_row(walk));
    let world = World::start();
    let worker = world.value("SELECT worker_pid FROM enrichment_status");
    let mut holder = world.cluster.client();
    holder.batch_execute("BEGIN; LOCK TABLE source_quota, cymru_prefix IN ACCESS EXCLUSIVE MODE").expect("held");
    // A new worker reads both, and then has nothing to write into them.
    world.sql(&format!("SELECT pg_terminate_backend({worker})"));
    let failing = "SELECT string_agg(work, ', ' ORDER BY work) FROM worker_errors()";
    world.wait(failing, "keeping the ledger of GreyNoise's quota, making answers in doubt due again");
    holder.batch_execute("ROLLBACK").expect("released");
    wait_healthy(&world.cluster, DB);

    // However often a job meets it, it is one; and it is over when the next piece is through, whatever becomes of the job.
    let failing = "SELECT count(*) FROM worker_errors() WHERE work = 'a backfill or refresh'";
    let lasting = format!("{failing} AND last_error_at > since + interval '3 seconds'");
    cluster().wait_value(job, &lasting, "1");
    job_holder.batch_execute("ROLLBACK").expect("released");
    Gate::wait_for(cluster(), job, HELPER);
    assert_eq!(cluster().value(job, failing), "0");
    let page = Page::of(cluster(), job);
    assert_eq!(page.value("worker_errors_total", &[("work", "job")]), Some(1.0));
    gate.open();
    assert_eq!(ended_job(cluster(), job), "done");
    assert_eq!(cluster().value(job, DUE), "0");

    let held = "walking the inventory after a newer build: other sessions hold rows whose answer has changed";
    cluster().wait_value(walk, LAST_ERROR, held);
    row_holder.batch_execute("ROLLBACK").expect("released");
    cluster().wait_value(walk, "SELECT asn_number FROM ip_inventory", "15169");
    wait_healthy(cluster(), walk);
}
