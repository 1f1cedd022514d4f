//! Absorbing survives: the worker or the whole server may die in the middle, and every committed event is counted once.

use crate::crash_support::{assert_counted_once, cluster, load, wait_for_worker};
use asn_inventory_tests::prelude::*;
use std::thread;

const BUSY: &str = "SELECT pid FROM pg_stat_activity
    WHERE backend_type = 'asn_inventory worker' AND state = 'active' AND query = 'absorbing observations'";
const WRITTEN: &str = "SELECT pg_relation_size('ip_inventory')";

/// A queue that takes the worker a while: addresses that nothing else inserts, committed as one batch.
fn enqueue(cluster: &Cluster, batch: u32, rows: u32) {
    cluster.sql(
        "postgres",
        &format!(
            "INSERT INTO events SELECT -{batch}, '34.68.0.0'::inet + {batch} * {rows}::bigint + i
             FROM generate_series(1, {rows}) i"
        ),
    );
}

/// The worker, seen while it absorbs and after the inventory's file has grown under it: some of its writes are done,
/// none is committed.
fn worker_in_the_middle(cluster: &Cluster) -> u32 {
    let mut client = cluster.client();
    let mut ask = |sql: &str| {
        let rows = asn_inventory_tests::cluster::query(&mut client, sql).expect("an answer");
        let first = rows.into_iter().flatten().next().flatten();
        first.and_then(|value| value.parse::<u64>().ok())
    };
    let before = ask(WRITTEN);
    let seen = wait_for(
        "the worker to be in the middle of an absorb",
        || (ask(WRITTEN) > before).then(|| ask(BUSY)).flatten(),
        Option::is_some,
    );
    u32::try_from(seen.unwrap_or_default()).expect("a pid")
}

#[test]
fn a_killed_worker_loses_and_repeats_nothing() {
    let cluster = cluster();
    let (batches, rows, big) = (150, 400, 60_000);
    thread::scope(|scope| {
        let cluster = &cluster;
        for loader in 0..2 {
            scope.spawn(move || load(cluster, loader * batches, (loader + 1) * batches, rows));
        }
        for round in 1..=3 {
            wait_for_worker(cluster);
            enqueue(cluster, round, big);
            cluster.kill9(worker_in_the_middle(cluster));
            wait_until("the crash to be noticed", || {
                cluster.log().matches("all server processes terminated").count() >= round as usize
            });
            cluster.wait_ready();
        }
    });
    assert_counted_once(&cluster, u64::from(2 * batches * rows + 3 * big));
}

#[test]
fn an_immediate_shutdown_loses_and_repeats_nothing() {
    let cluster = cluster();
    let (batches, rows, big) = (100, 400, 60_000);
    thread::scope(|scope| {
        let cluster = &cluster;
        for loader in 0..2 {
            scope.spawn(move || load(cluster, loader * batches, (loader + 1) * batches, rows));
        }
        for round in 1..=2 {
            wait_for_worker(cluster);
            enqueue(cluster, round, big);
            worker_in_the_middle(cluster);
            cluster.stop_immediate();
            cluster.start();
        }
    });
    assert_counted_once(&cluster, u64::from(2 * batches * rows + 2 * big));
}

#[test]
fn a_terminated_worker_comes_back_and_goes_on() {
    let cluster = cluster();
    let (rows, big) = (400, 60_000);
    for round in 1..=3 {
        let worker = wait_for_worker(&cluster);
        enqueue(&cluster, round, big);
        let busy = worker_in_the_middle(&cluster);
        assert_eq!(busy, worker);
        cluster.sql("postgres", &format!("SELECT pg_terminate_backend({worker})"));
        load(&cluster, round * 10, (round + 1) * 10, rows);
        wait_until("another worker", || wait_for_worker(&cluster) != worker);
    }
    assert_counted_once(&cluster, u64::from(30 * rows + 3 * big));
    assert_eq!(cluster.pids_of("asn_inventory worker").len(), 1);
    assert!(!cluster.log().contains("ERROR:"), "{}", cluster.log_tail());
}
