//! ALTER EXTENSION UPDATE beside a transaction that stays open: loaders do not wait behind it, it waits with a limit, and
//! a refusal leaves everything as it was.

use crate::ingest_support::{Db, refused, run};
use crate::upgrade_support::*;
use asn_inventory_tests::prelude::*;
use std::thread;
use std::time::Duration;

/// Longer than a loader waits for the queue before it goes on without it.
const LONG: &str = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'ALTER EXTENSION%' AND state = 'active'
    AND clock_timestamp() - query_start > interval '3 s' AND datname = current_database()";

/// Has the update from a version wait for `hold`, an open transaction, while loaders go on; then lets it through.
fn update_beside(hold: &str, before: &str) {
    let db = in_time(|| updated_beside(hold, before));
    assert_eq!(version(&db), env!("CARGO_PKG_VERSION"));
    assert_counted_exactly(&db);
    assert_eq!(unobserved(&db), "0");
}

/// The database, and how long the update took once nobody held it up.
fn updated_beside(hold: &str, before: &str) -> (Db, Duration) {
    let db = old_database(before);
    let load = Load::default();
    let mut holder = db.connect();
    run(&mut holder, &format!("BEGIN; {hold}"));
    let took = thread::scope(|scope| {
        let _ends = EndsLoad(&load);
        load.start(scope, &db);
        let update = scope.spawn(|| update(&db));
        db.wait(LONG, "1");
        load.wait_for_more(20);
        assert_eq!(version(&db), before);
        let took = timed(|| {
            run(&mut holder, "COMMIT");
            update.join().expect("an update that ends");
        });
        load.wait_for_more(20);
        load.end();
        took
    });
    (db, took)
}

#[test]
fn a_loader_in_an_open_transaction_costs_no_observation() {
    for before in VERSIONS {
        update_beside("INSERT INTO events VALUES (9, '8.8.8.8')", before);
    }
}

#[test]
fn a_monitor_in_an_open_transaction_costs_no_observation() {
    update_beside("SELECT * FROM enrichment_status; SELECT * FROM ip_source", "0.2.0");
}

#[test]
fn an_update_that_waits_too_long_is_refused_and_changes_nothing() {
    let db: Db = old_database("0.2.0");
    let mut holder = db.connect();
    run(&mut holder, "BEGIN; INSERT INTO events VALUES (9, '8.8.8.8')");
    let pid = crate::ingest_support::value(&mut holder, "SELECT pg_backend_pid()");
    let mut session = db.connect();
    run(&mut session, "SET lock_timeout = '1500ms'");
    let told = refused(&mut session, "ALTER EXTENSION asn_inventory UPDATE");
    assert_eq!(told.code, "55P03", "{told:?}");
    assert_eq!(told.message, "cannot update asn_inventory: other sessions used its tables for 1.5 s");
    assert_eq!(told.detail, format!("ip_observation is held by process {pid}."));
    assert!(told.hint.contains("Nothing was changed."), "{told:?}");
    assert_eq!(version(&db), "0.2.0");
    run(&mut holder, "COMMIT");
    assert_counted_exactly(&db);
    run(&mut session, "ALTER EXTENSION asn_inventory UPDATE");
    db.sql("INSERT INTO events VALUES (9, '8.8.8.8')");
    assert_counted_exactly(&db);
    assert_eq!(unobserved(&db), "0");
}

/// Autovacuum of a large inventory takes long, and gives way to an update as to any ALTER TABLE.
#[test]
fn autovacuum_gives_way_to_an_update() {
    let cluster = Cluster::builder().conf("autovacuum_naptime", "1s").conf("asn_inventory.databases", "none").start();
    let db = "postgres";
    cluster.sql(
        db,
        "CREATE EXTENSION asn_inventory VERSION '0.1.0';
         ALTER TABLE ip_inventory SET (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1,
             autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0);
         INSERT INTO ip_inventory (ip_address) SELECT '51.15.0.0'::inet + i FROM generate_series(1, 20000) i",
    );
    cluster.sql(db, "UPDATE ip_inventory SET observation_count = 2");
    let vacuum = "SELECT count(*) FROM pg_stat_progress_vacuum WHERE relid = 'ip_inventory'::regclass";
    cluster.wait_value(db, vacuum, "1");
    cluster.sql(db, "ALTER EXTENSION asn_inventory UPDATE");
    assert!(cluster.log().contains("canceling autovacuum task"), "{}", cluster.log_tail());
}

/// The script of a later version, in a server that was not restarted since its files came.
#[test]
fn a_script_for_a_later_library_is_refused() {
    let db = Db::bare(crate::upgrade_support::cluster());
    db.sql(
        "CREATE EXTENSION asn_inventory;
         CREATE FUNCTION hold_still(altered text[], version text) RETURNS void LANGUAGE c AS 'asn_inventory', 'hold_still'",
    );
    let mut session = db.connect();
    run(&mut session, "SELECT hold_still('{}', '0.2.0')");
    let found = refused(&mut session, "SELECT hold_still('{}', '99.0.0')");
    assert_eq!(found.code, "55000", "{found:?}");
    assert_eq!(found.message, "cannot update asn_inventory: the library of an older version is running");
}
