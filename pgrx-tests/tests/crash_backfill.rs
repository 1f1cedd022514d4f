//! Backfill survives: the worker, a helper or the whole server may die in the middle, and another call completes it.

use crate::crash_support::wait_for_worker;
use asn_inventory_tests::prelude::*;
use std::fs;
use std::thread;

const ROWS: u64 = 120_000;
const WORKER: &str = "asn_inventory worker";
const HELPER: &str = "asn_inventory backfill";
const ENRICHED: &str = "SELECT count(*) FROM ip_inventory WHERE maxmind_status = 'found' AND maxmind_ts IS NOT NULL
    AND asn_number = 396982 AND city = 'Council Bluffs' AND observation_count = 3";

/// A cluster with bare rows, which count as not enriched.
fn cluster() -> Cluster {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "50ms").start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql("postgres", "CREATE EXTENSION asn_inventory");
    cluster.wait_walked("postgres");
    cluster.sql(
        "postgres",
        &format!(
            "INSERT INTO ip_inventory (ip_address, first_seen_at, observation_count)
             SELECT '34.64.0.0'::inet + i, '2026-01-01', 3 FROM generate_series(1, {ROWS}) i"
        ),
    );
    wait_for_worker(&cluster);
    cluster
}

/// Waits until the running job has committed some of its work.
fn wait_for_the_middle(cluster: &Cluster) {
    wait_until("a job to be under way", || {
        let processed = cluster.value("postgres", "SELECT processed FROM enrichment_progress");
        processed.parse::<u64>().is_ok_and(|processed| processed > 5_000)
    });
}

fn process(cluster: &Cluster, kind: &str) -> u32 {
    wait_for(kind, || cluster.pid_of(kind), Option::is_some).unwrap_or_default()
}

/// Files in the directory of job lists.
fn lists(cluster: &Cluster) -> Vec<String> {
    let directory = cluster.data_dir().join("asn_inventory/jobs");
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Kills one process in the middle of `job`, and has the whole inventory completed by another call.
fn killed_and_completed(kind: &str, job: &str) {
    let cluster = cluster();
    thread::scope(|scope| {
        let caller = scope.spawn(|| cluster.try_sql("postgres", job));
        wait_for_the_middle(&cluster);
        if job.contains("max_ips") {
            assert_eq!(lists(&cluster).len(), 1, "a list beside the job");
        }
        cluster.kill9(process(&cluster, kind));
        let cut = caller.join().expect("no panic");
        assert!(cut.is_err(), "the caller's session survived a crash: {cut:?}");
    });
    cluster.wait_ready();
    wait_for_worker(&cluster);
    wait_until("an empty directory of lists", || lists(&cluster).is_empty());
    assert_eq!(cluster.value("postgres", "SELECT count(*) FROM enrichment_progress"), "0");

    let done: u64 = cluster.value("postgres", ENRICHED).parse().expect("a number");
    assert!(0 < done && done < ROWS, "{done} of {ROWS} rows were done: that was not the middle");
    cluster.sql(
        "postgres",
        "CREATE TABLE before AS SELECT ip_address, maxmind_ts, ctid AS place
                             FROM ip_inventory WHERE maxmind_ts IS NOT NULL",
    );
    assert_eq!(
        cluster.lines("postgres", "SELECT processed, enriched, maxmind_asn, errors FROM backfill_inventory()"),
        [format!("{0}|{0}|{0}|0", ROWS - done)]
    );
    assert_eq!(cluster.value("postgres", ENRICHED), ROWS.to_string());
    assert_eq!(cluster.value("postgres", "SELECT count(*) FROM ip_inventory"), ROWS.to_string());
    let untouched = "SELECT count(*) FROM before b JOIN ip_inventory i USING (ip_address)
                     WHERE i.maxmind_ts = b.maxmind_ts AND i.ctid = b.place";
    assert_eq!(cluster.value("postgres", untouched), done.to_string(), "rows that were done were written again");
    assert_eq!(lists(&cluster), [""; 0]);
}

#[test]
fn a_killed_worker_leaves_a_job_that_another_call_completes() {
    killed_and_completed(WORKER, "SELECT backfill_inventory(commit_interval => 1000, workers => 2)");
}

#[test]
fn a_killed_helper_leaves_a_job_that_another_call_completes() {
    killed_and_completed(HELPER, "SELECT backfill_inventory(commit_interval => 1000, workers => 2)");
}

#[test]
fn a_crash_leaves_no_list_of_addresses() {
    killed_and_completed(
        HELPER,
        &format!("SELECT backfill_inventory(commit_interval => 1000, workers => 2, max_ips => {})", ROWS - 1),
    );
}

/// Terminates processes of `kind` in the middle of a job, which goes on by itself.
fn terminated_and_done(kind: &str, job: &str, when: impl Fn(&Cluster)) {
    let cluster = cluster();
    thread::scope(|scope| {
        let caller = scope.spawn(|| cluster.try_sql("postgres", job));
        when(&cluster);
        let ended = cluster.value(
            "postgres",
            &format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = '{kind}'"),
        );
        assert_ne!(ended, "0", "no {kind} was there");
        let summary = caller.join().expect("no panic");
        assert!(summary.is_ok(), "the job failed: {summary:?}");
    });
    assert_eq!(cluster.value("postgres", ENRICHED), ROWS.to_string());
    assert_eq!(
        cluster.lines(
            "postgres",
            "SELECT outcome, processed, enriched, errors FROM enrichment_run WHERE kind = 'backfill'"
        ),
        [format!("done|{ROWS}|{ROWS}|0")]
    );
    wait_for_worker(&cluster);
    cluster.wait_value("postgres", "SELECT count(*) FROM enrichment_progress", "0");
    assert_eq!(lists(&cluster), [""; 0]);
    assert_eq!(cluster.pids_of(WORKER).len(), 1);
}

#[test]
fn a_job_outlives_its_helpers() {
    let job = "SELECT backfill_inventory(commit_interval => 1000, workers => 2)";
    terminated_and_done(HELPER, job, wait_for_the_middle);
}

#[test]
fn a_job_outlives_its_only_helper_even_before_it_did_anything() {
    let job = format!("SELECT backfill_inventory(batch_size => 100000, commit_interval => {ROWS}, workers => 1)");
    terminated_and_done(HELPER, &job, |cluster| {
        process(cluster, HELPER);
    });
}

#[test]
fn a_job_outlives_its_worker() {
    let job = "SELECT backfill_inventory(commit_interval => 1000, workers => 2)";
    terminated_and_done(WORKER, job, wait_for_the_middle);
}

#[test]
fn a_listed_job_outlives_worker_and_helpers() {
    let job = format!("SELECT backfill_inventory(commit_interval => 1000, workers => 2, max_ips => {ROWS})");
    terminated_and_done("asn_inventory worker' OR backend_type = 'asn_inventory backfill", &job, wait_for_the_middle);
}
