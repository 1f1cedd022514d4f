//! A backfill while it runs: what its caller and others see of it, how it is held to its parameters, and every way to
//! end it early.

use crate::backfill_support::*;
use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;
use std::sync::OnceLock;

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(cluster_of_many)
}

fn number(cluster: &Cluster, db: &str, sql: &str) -> u64 {
    let value = cluster.value(db, sql);
    value.parse().unwrap_or_else(|_| panic!("{sql} gives {value:?}"))
}

#[test]
fn progress_is_reported_every_second_and_visible_to_other_sessions() {
    let (cluster, db) = (cluster(), database(cluster(), "progress"));
    bare(cluster, db, "171.224.0.0", 20_000);
    let gate = Gate::shut(cluster, db, "NEW.ip_address = '171.224.39.16'"); // the 10,001st
    let call = Call::start(
        cluster,
        db,
        &format!("SELECT {NUMBERS} FROM backfill_inventory(workers => 1, commit_interval => 500)"),
    );
    let id = running_job(cluster, db);
    let halfway = |least: u64| number(cluster, db, "SELECT processed FROM enrichment_progress") >= least;
    wait_until("the gate to be reached", || halfway(9000));
    let told = wait_for("three progress lines", || call.notices.all(), |lines| lines.len() >= 3);
    let shown =
        "SELECT job_id, kind, state, requested_by, helpers, total, processed < total, enriched = processed, errors,
        percent = round(100.0 * processed / total, 1), percent BETWEEN 40 AND 50, ips_per_second > 0, remaining > '0 s',
        started_at BETWEEN now() - interval '1 min' AND now() FROM enrichment_progress";
    assert_eq!(cluster.lines(db, shown), [format!("{id}|backfill|running|postgres|1|20000|t|t|0|t|t|t|t|t")]);
    gate.open();
    let notices = call.notices.clone();
    assert_eq!(call.line(), "20000|20000|0|20000|0|0|0|0|0");
    // backfill  45%  450000/1000000  [00:12<00:15, 36,204 IPs/s]
    let shape = r"^INFO: backfill [ 1-9]?[ 0-9]\d%  \d+/20000  \[\d\d:\d\d<(\d\d:\d\d|--:--|\d+:\d\d:\d\d), \d{1,3}(,\d{3})* IPs/s\]$";
    for line in &told {
        let fits = cluster.value(db, &format!("SELECT $told${line}$told$ ~ $shape${shape}$shape$"));
        assert_eq!(fits, "t", "{line:?}");
    }
    assert!(told[2].contains("backfill  4") && told[2].contains("%  9"), "{told:?}");
    let seconds = |line: &str| line.split('[').nth(1).map(|rest| rest[..5].to_string());
    assert!(seconds(&told[0]) < seconds(&told[2]), "{told:?}");
    assert!(notices.all().iter().all(|line| line.starts_with("INFO: backfill ")), "{:?}", notices.all());
    assert_eq!(cluster.value(db, "SELECT count(*) FROM enrichment_progress"), "0");
}

#[test]
fn a_quick_job_reports_no_progress() {
    let (cluster, db) = (cluster(), database(cluster(), "quick"));
    bare(cluster, db, "8.8.8.0", 10);
    let call = Call::start(cluster, db, "SELECT processed FROM backfill_inventory()");
    let notices = call.notices.clone();
    assert_eq!(call.line(), "10");
    assert_eq!(notices.all(), [""; 0]);
}

#[test]
fn other_sessions_see_committed_rows_and_batches_have_the_requested_size() {
    let (cluster, db) = (cluster(), database(cluster(), "intervals"));
    bare(cluster, db, "8.8.8.0", 250);
    cluster.sql(
        db,
        "CREATE TABLE public.write (rows bigint, xid xid8);
         CREATE FUNCTION count_rows() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO public.write SELECT count(*), pg_current_xact_id() FROM written; RETURN NULL; END $$;
         CREATE TRIGGER count_rows AFTER UPDATE ON ip_inventory REFERENCING NEW TABLE AS written
             FOR EACH STATEMENT EXECUTE FUNCTION count_rows();
         ALTER TABLE ip_inventory ENABLE ALWAYS TRIGGER count_rows",
    );
    let gate = Gate::shut(cluster, db, "NEW.ip_address = '8.8.8.45'");
    let call = Call::start(
        cluster,
        db,
        &format!("SELECT {NUMBERS} FROM backfill_inventory(batch_size => 7, commit_interval => 20, workers => 1)"),
    );
    // Transactions of 20 rows in address order: two are through, the third is held.
    cluster.wait_value(db, ENRICHED, "40");
    cluster.wait_value(db, "SELECT processed FROM enrichment_progress", "40");
    assert_eq!(cluster.value(db, "SELECT max(ip_address) FROM ip_inventory WHERE maxmind_ts IS NOT NULL"), "8.8.8.39");
    gate.open();
    assert_eq!(call.line(), "250|250|0|250|0|0|0|0|0");
    let largest = "SELECT max(rows), (SELECT max(sum) FROM (SELECT sum(rows) FROM public.write GROUP BY xid) AS t)
                   FROM public.write";
    assert_eq!(cluster.lines(db, largest), ["7|20"]);
}

#[test]
fn the_number_of_helpers_is_the_requested_one_within_the_limit() {
    let (cluster, db) = (cluster(), database(cluster(), "helpers"));
    bare(cluster, db, "171.224.0.0", 2000);
    let gate = Gate::shut(cluster, db, "true");
    let of_this = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = '{HELPER}' AND datname = current_database()
             AND query LIKE 'backfill: job %'"
    );
    for (asked, come) in [("workers => 1", "1"), ("workers => 3", "3"), ("workers => 8", "4"), ("", "4")] {
        let commas = if asked.is_empty() { "" } else { ", " };
        cluster.sql(db, &format!("SELECT backfill_inventory(wait => false, commit_interval => 50{commas}{asked})"));
        cluster.wait_value(db, &of_this, come);
        let id = running_job(cluster, db);
        cluster.wait_value(db, "SELECT helpers FROM enrichment_progress", come);
        assert_eq!(cluster.value(db, &format!("SELECT cancel_enrichment_job({id})")), "t");
        assert_eq!(cluster.value(db, "SELECT state FROM enrichment_progress"), "cancelling");
        // Each of them is in the middle of a transaction, which a cancel does not cut.
        let held = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = ";
        assert_eq!(cluster.lines(db, &format!("{held}'{HELPER}'")).len().to_string(), come, "{asked}");
        cluster.sql(db, &format!("SELECT pg_terminate_backend(pid) FROM ({held}'{HELPER}') AS t"));
        assert_eq!(ended_job(cluster, db), "cancelled");
    }
    gate.open();
    assert_eq!(cluster.value(db, "SELECT processed FROM backfill_inventory()"), "2000");
    assert_eq!(cluster.lines(db, WRONG), [""; 0]);
}

/// A database with 200 bare rows and a caller whose job has committed some of them, and is held at another.
fn held<'a>(cluster: &Cluster, name: &'a str, before: &str) -> (&'a str, Gate, Call) {
    let db = database(cluster, name);
    bare(cluster, db, "8.8.8.0", 200);
    let gate = Gate::shut(cluster, db, "NEW.ip_address = '8.8.8.105'");
    let sql = format!(
        "{before} SELECT {NUMBERS} FROM backfill_inventory(commit_interval => 50, batch_size => 10, workers => 1)"
    );
    let call = Call::start(cluster, db, &sql);
    wait_until("some rows to be committed", || number(cluster, db, ENRICHED) >= 50);
    running_job(cluster, db);
    (db, gate, call)
}

/// After a job that was held and cancelled: committed rows stay, the rest is for another call.
fn cancelled_and_kept(cluster: &Cluster, db: &str) {
    assert_eq!(ended_job(cluster, db), "cancelled");
    let done = number(cluster, db, ENRICHED);
    assert!((50..200).contains(&done), "{done}");
    assert_eq!(
        cluster.lines(db, &format!("SELECT kind, outcome, {NUMBERS} FROM enrichment_run")),
        [format!("backfill|cancelled|{done}|{done}|0|{done}|0|0|0|0|0")]
    );
    let rest = 200 - done;
    assert_eq!(
        cluster.lines(db, &format!("SELECT {NUMBERS} FROM backfill_inventory()")),
        [format!("{rest}|{rest}|0|{rest}|0|0|0|0|0")]
    );
    assert_eq!(cluster.lines(db, WRONG), [""; 0]);
}

#[test]
fn a_job_is_cancelled_from_another_session() {
    let (db, gate, call) = held(cluster(), "cancel_job", "");
    let cluster = cluster();
    let id = running_job(cluster, db);
    assert_eq!(cluster.value(db, &format!("SELECT cancel_enrichment_job({id})")), "t");
    assert_eq!(cluster.value(db, "SELECT state FROM enrichment_progress"), "cancelling");
    gate.open();
    let (numbers, done) = (call.line(), number(cluster, db, ENRICHED));
    assert_eq!(numbers, format!("{done}|{done}|0|{done}|0|0|0|0|0"), "the caller gets a summary of what was done");
    assert_eq!(cluster.value(db, &format!("SELECT cancel_enrichment_job({id})")), "f", "it is over");
    cancelled_and_kept(cluster, db);
    for none in ["0", "-1", "9223372036854775807"] {
        assert_eq!(cluster.value(db, &format!("SELECT cancel_enrichment_job({none})")), "f");
    }
    assert_eq!(cluster.value(db, "SELECT cancel_enrichment_job(NULL) IS NULL"), "t");
}

#[test]
fn ctrl_c_cancels_the_job() {
    let (db, gate, call) = held(cluster(), "ctrl_c", "");
    call.cancel();
    let failure = call.end().expect_err("cancelled");
    assert_eq!(failure.code, "57014", "{failure:?}");
    cluster().wait_value(db, "SELECT state FROM enrichment_progress", "cancelling");
    gate.open();
    cancelled_and_kept(cluster(), db);
}

#[test]
fn a_statement_timeout_cancels_the_job() {
    let (db, gate, call) = held(cluster(), "timeout", "SET statement_timeout = '2s';");
    let failure = call.end().expect_err("timed out");
    assert_eq!(failure.code, "57014", "{failure:?}");
    gate.open();
    cancelled_and_kept(cluster(), db);
}

#[test]
fn terminating_the_caller_cancels_the_job() {
    let (db, gate, call) = held(cluster(), "terminated", "");
    let cluster = cluster();
    cluster.sql(db, &format!("SELECT pg_terminate_backend({})", call.pid));
    call.end().expect_err("terminated");
    cluster.wait_value(db, "SELECT state FROM enrichment_progress", "cancelling");
    gate.open();
    cancelled_and_kept(cluster, db);
}

#[test]
fn a_lost_client_cancels_the_job() {
    let (cluster, db) = (cluster(), database(cluster(), "disconnected"));
    bare(cluster, db, "8.8.8.0", 200);
    let gate = Gate::shut(cluster, db, "NEW.ip_address = '8.8.8.105'");
    let mut client = cluster
        .tool("psql")
        .args([
            "-X",
            "-d",
            db,
            "-c",
            "SELECT backfill_inventory(commit_interval => 50, batch_size => 10, workers => 1)",
        ])
        .spawn()
        .expect("psql");
    wait_until("some rows to be committed", || number(cluster, db, ENRICHED) >= 50);
    running_job(cluster, db);
    client.kill().expect("killed");
    client.wait().expect("gone");
    // The next progress line meets a closed connection.
    let sessions =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT backfill_inventory%' AND state = 'active'";
    cluster.wait_value(db, sessions, "0");
    cluster.wait_value(db, "SELECT state FROM enrichment_progress", "cancelling");
    gate.open();
    cancelled_and_kept(cluster, db);
}

#[test]
fn wait_for_job_holds_back_no_vacuum() {
    let (cluster, db) = (cluster(), database(cluster(), "no_snapshot"));
    bare(cluster, db, "8.8.8.0", 200);
    let gate = Gate::shut(cluster, db, "NEW.ip_address = '8.8.8.105'");
    let id =
        cluster.value(db, "SELECT job_id FROM backfill_inventory(commit_interval => 50, workers => 1, wait => false)");
    let call = Call::start(cluster, db, &format!("CALL wait_for_job({id})"));
    wait_for("progress lines", || call.notices.all(), |lines| lines.len() >= 2);
    let horizon =
        |pid: &str| format!("SELECT coalesce(backend_xmin::text, 'none') FROM pg_stat_activity WHERE pid = {pid}");
    assert_eq!(cluster.value(db, &horizon(&call.pid)), "none");
    // To stop waiting is not to stop the job.
    call.cancel();
    assert_eq!(call.end().expect_err("cancelled").code, "57014");
    assert_eq!(cluster.value(db, "SELECT state FROM enrichment_progress"), "running");
    let call = Call::start(cluster, db, &format!("CALL wait_for_job({id})"));
    gate.open();
    call.end().expect("ended");
    assert_eq!(cluster.lines(db, "SELECT job_id, outcome, processed FROM enrichment_run"), [format!("{id}|done|200")]);
    // It has ended already; and no operator of the caller's is used in the owner's name.
    cluster.sql(
        db,
        "CREATE SCHEMA evil; CREATE FUNCTION evil.equal(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS
             $$ BEGIN RAISE 'used'; END $$;
         CREATE OPERATOR evil.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.equal)",
    );
    let mut session = cluster.connect(db);
    query(&mut session, "SET search_path = evil, pg_catalog, public").expect("set");
    query(&mut session, &format!("CALL public.wait_for_job({id})")).expect("as it is");
    assert_eq!(cluster.fails(db, "CALL wait_for_job(4711)").message, "job 4711 does not exist");
}

#[test]
fn wait_for_job_is_refused_where_it_would_hold_a_snapshot() {
    let (cluster, db) = (cluster(), database(cluster(), "in_a_block"));
    bare(cluster, db, "8.8.8.0", 200);
    let gate = Gate::shut(cluster, db, "NEW.ip_address = '8.8.8.105'");
    let id = cluster.value(db, "SELECT job_id FROM backfill_inventory(workers => 1, wait => false)");
    let refused = cluster.fails(db, &format!("BEGIN; CALL wait_for_job({id}); COMMIT"));
    assert_eq!(refused.message, "wait_for_job() cannot run inside a transaction block or function");
    assert_eq!((refused.code.as_str(), refused.hint.contains("CALL wait_for_job")), ("55000", true));
    gate.open();
    assert_eq!(ended_job(cluster, db), "done");
}

#[test]
fn a_long_wait_inside_a_statement_warns_about_vacuum() {
    let (db, gate, call) = held(cluster(), "long_wait", "");
    let horizon = format!("SELECT backend_xmin IS NOT NULL FROM pg_stat_activity WHERE pid = {}", call.pid);
    assert_eq!(cluster().value(db, &horizon), "t", "a statement holds its snapshot");
    let told = |lines: &Vec<String>| lines.iter().any(|line| line.starts_with("NOTICE: while this statement waits"));
    wait_for("the notice", || call.notices.all(), told);
    gate.open();
    let notices = call.notices.clone();
    assert_eq!(call.line(), "200|200|0|200|0|0|0|0|0");
    assert_eq!(notices.all().iter().filter(|line| line.starts_with("NOTICE")).count(), 1, "once");
}

#[test]
fn two_concurrent_backfills_process_each_row_once() {
    let (cluster, db) = (cluster(), database(cluster(), "two_at_once"));
    bare(cluster, db, "171.224.0.0", 20_000); // found
    bare(cluster, db, "100.64.0.0", 20_000); // special-purpose
    bare(cluster, db, "198.51.90.0", 2000); // in no file
    let calls = ["batch_size => 100, commit_interval => 900", "batch_size => 1000, commit_interval => 3000"]
        .map(|how| Call::start(cluster, db, &format!("SELECT {NUMBERS} FROM backfill_inventory({how})")));
    let mut sums = [0_u64; 9];
    for call in calls {
        for (sum, field) in sums.iter_mut().zip(call.line().split('|')) {
            *sum += field.parse::<u64>().expect("a number");
        }
    }
    assert_eq!(cluster.lines(db, WRONG), [""; 0]);
    assert_eq!(sums, [42_000, 20_000, 0, 20_000, 0, 0, 2000, 20_000, 0]);
    assert_eq!(cluster.lines(db, "SELECT outcome FROM enrichment_run"), ["done", "done"]);
}

#[test]
fn ingest_goes_on_while_a_backfill_runs() {
    let (cluster, db) = (cluster(), database(cluster(), "with_ingest"));
    bare(cluster, db, "171.224.0.0", 30_000);
    cluster.sql(db, "CREATE TABLE event (src inet); SELECT attach_ip_source('event', '{src}')");
    let seen = "SELECT sum(observation_count) FROM ip_inventory";
    let before = number(cluster, db, seen);
    let call = Call::start(
        cluster,
        db,
        "SELECT processed + errors FROM backfill_inventory(batch_size => 20, commit_interval => 100)",
    );
    running_job(cluster, db);
    let mut client = cluster.connect(db);
    let mut rounds = 0;
    while number(cluster, db, "SELECT count(*) FROM enrichment_progress") > 0 {
        // Rows that the backfill has written, has not yet written, and never heard of.
        let batch = "INSERT INTO event SELECT '171.224.0.0'::inet + n * 31 FROM generate_series(0, 999) AS n
                     UNION ALL SELECT '61.177.172.0'::inet + n FROM generate_series(0, 99) AS n";
        query(&mut client, batch).expect("inserted");
        rounds += 1;
    }
    assert!(rounds > 0);
    call.end().expect("a summary");
    cluster.wait_value(db, seen, &(before + rounds * 1100).to_string());
    cluster.sql(db, "SELECT backfill_inventory()");
    assert_eq!(cluster.lines(db, WRONG), [""; 0]);
    assert_eq!(
        cluster.value(
            db,
            "SELECT count(*) FROM ip_inventory WHERE ip_address <<= '61.177.172.0/24' AND asn_number = 4134"
        ),
        "100"
    );
    assert_eq!(cluster.lines(db, "SELECT outcome, errors FROM enrichment_run ORDER BY job_id"), ["done|0", "done|0"]);
}

/// The sequence's owner may set it back: a number must always mean one job only.
#[test]
fn job_numbers_are_never_reused() {
    let cluster = cluster();
    let db = database(cluster, "numbers_of_jobs");
    let job = || number(cluster, db, "SELECT job_id FROM backfill_inventory(ips => '{51.68.1.1}')");
    let mut numbers = vec![job(), job()];
    for back in ["setval('enrichment_job_id', 1)", "setval('enrichment_job_id', 1, false)"] {
        cluster.sql(db, &format!("SELECT {back}"));
        numbers.push(job());
    }
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    cluster.wait_value(db, "SELECT count(DISTINCT job_id) FROM enrichment_run WHERE kind = 'backfill'", "4");
}
