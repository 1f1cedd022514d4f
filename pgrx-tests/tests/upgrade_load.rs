//! ALTER EXTENSION UPDATE while loaders and a job are at work: nobody fails, and each address counts exactly once.

use crate::ingest_support::Db;
use crate::upgrade_support::*;
use std::thread;
use std::time::Duration;

/// Rows for a job that lasts longer than an update.
const DUE: u32 = 60_000;

#[test]
fn an_update_under_load_loses_nothing_and_counts_nothing_twice() {
    for before in VERSIONS {
        let db = in_time(|| updated_under_load(before));
        assert_eq!(version(&db), env!("CARGO_PKG_VERSION"));
        assert_counted_exactly(&db);
        assert_eq!(unobserved(&db), "0");
        assert_eq!(db.lines("SELECT outcome FROM enrichment_run WHERE kind = 'backfill'"), ["done"]);
        assert_eq!(db.value("SELECT count(*) FROM ip_inventory WHERE maxmind_status = 'pending'"), "0");
    }
}

/// A database that was updated from a version beside loaders and a job, and how long that took.
fn updated_under_load(before: &str) -> (Db, Duration) {
    let db = old_database(before);
    db.sql(&format!(
        "INSERT INTO ip_inventory (ip_address, observation_count) SELECT '51.15.0.0'::inet + i, 0 FROM generate_series(1, {DUE}) i"
    ));
    let load = Load::default();
    let took = thread::scope(|scope| {
        let _ends = EndsLoad(&load);
        load.start(scope, &db);
        let job = scope.spawn(|| {
            db.cluster.try_sql(&db.name, "SELECT processed, errors FROM backfill_inventory(commit_interval => 200)")
        });
        db.wait("SELECT coalesce(max(processed), 0) > 1000 FROM enrichment_progress", "t");
        load.wait_for_more(20);
        let took = timed(|| update(&db));
        eprintln!("from {before}: ALTER EXTENSION took {} ms under load", took.as_millis());
        load.wait_for_more(20);
        load.end();
        let done = job.join().expect("no panic").expect("a job that goes on during the update");
        assert_eq!(done, [[Some(DUE.to_string()), Some("0".to_owned())]]);
        took
    });
    (db, took)
}

#[test]
fn a_refresh_goes_on_during_an_update() {
    let db = old_database("0.2.0");
    db.sql("INSERT INTO ip_inventory (ip_address) SELECT '51.15.0.0'::inet + i FROM generate_series(1, 20000) i");
    thread::scope(|scope| {
        let job = scope.spawn(|| db.value("SELECT processed FROM refresh_range('51.15.0.0/16')"));
        db.wait("SELECT count(*) FROM enrichment_progress", "1");
        update(&db);
        assert_eq!(job.join().expect("no panic"), "20000");
    });
    assert_eq!(version(&db), env!("CARGO_PKG_VERSION"));
    assert_eq!(db.lines("SELECT outcome FROM enrichment_run WHERE kind = 'refresh'"), ["done"]);
}
