//! The functions for users: populate_ip_inventory counts earlier rows, once, and absorb_observations does the worker's
//! work without a worker.

use crate::ingest_support::{Db, run, value};
use asn_inventory_tests::prelude::*;
use std::thread;

#[test]
fn earlier_rows_are_counted_once_and_later_rows_not_again() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (ip text, at date);
         INSERT INTO events VALUES ('46.148.112.1', '2025-01-01'), ('46.148.112.1', '2025-01-03'), ('46.148.112.2', '2025-01-02'),
                                   ('garbage', '2025-01-01'), ('', NULL), (NULL, NULL);
         SELECT attach_ip_source('events', '{ip}', 'at');",
    );
    db.sql("INSERT INTO events VALUES ('46.148.112.1', '2025-02-01'), ('46.148.112.3', '2025-02-01')");
    assert_eq!(db.counts(), ["46.148.112.1|1", "46.148.112.3|1"]);
    assert_eq!(db.value("SELECT populate_ip_inventory('events')"), "3");
    let expected = ["46.148.112.1|3", "46.148.112.2|1", "46.148.112.3|1"];
    assert_eq!(db.counts(), expected);
    assert_eq!(db.sources(), ["events|5|1"]);
    assert_eq!(
        db.value("SELECT first_seen_at || ' ' || last_seen_at FROM ip_inventory WHERE ip_address = '46.148.112.1'"),
        "2025-01-01 00:00:00+00 2025-02-01 00:00:00+00"
    );
    // Again, and in another session: nothing changes.
    assert_eq!(db.value("SELECT populate_ip_inventory('events')"), "0");
    db.sql("INSERT INTO events VALUES ('46.148.112.1', '2025-03-01')");
    assert_eq!(db.value("SELECT populate_ip_inventory('events')"), "0");
    assert_eq!(db.counts(), ["46.148.112.1|4", "46.148.112.2|1", "46.148.112.3|1"]);
    assert_eq!(db.value("SELECT populated_at IS NOT NULL FROM ip_source"), "t");
}

#[test]
fn a_rolled_back_populate_has_no_effect() {
    let db = Db::new();
    db.sql("CREATE TABLE events (ip inet); INSERT INTO events VALUES ('46.148.113.1'); SELECT attach_ip_source('events', '{ip}')");
    db.sql("BEGIN; SELECT populate_ip_inventory('events'); ROLLBACK");
    assert_eq!(db.counts(), [""; 0]);
    assert_eq!(db.value("SELECT populate_ip_inventory('events')"), "1");
    assert_eq!(db.counts(), ["46.148.113.1|1"]);
}

#[test]
fn rows_of_the_attaching_transaction_count_once_too() {
    let db = Db::new();
    // Before and after, in savepoints and out of them, the way migration scripts do it.
    db.sql(
        "BEGIN;
         CREATE TABLE events (ip inet);
         INSERT INTO events VALUES ('46.148.114.1');
         SAVEPOINT a; INSERT INTO events VALUES ('46.148.114.2'); RELEASE a;
         SAVEPOINT b; INSERT INTO events VALUES ('46.148.114.9'); ROLLBACK TO b;
         SELECT attach_ip_source('events', '{ip}');
         INSERT INTO events VALUES ('46.148.114.3');
         SAVEPOINT c; INSERT INTO events VALUES ('46.148.114.4'); RELEASE c;
         COMMIT",
    );
    db.sql("INSERT INTO events VALUES ('46.148.114.5')");
    assert_eq!(db.counts(), ["46.148.114.3|1", "46.148.114.4|1", "46.148.114.5|1"]);
    assert_eq!(db.value("SELECT populate_ip_inventory('events')"), "2");
    let expected: Vec<String> = (1..6).map(|n| format!("46.148.114.{n}|1")).collect();
    assert_eq!(db.counts(), expected);

    // Attached first: everything has met the trigger.
    db.sql("BEGIN; CREATE TABLE later (ip inet); SELECT attach_ip_source('later', '{ip}'); INSERT INTO later VALUES ('46.148.114.6'); COMMIT");
    assert_eq!(db.value("SELECT populate_ip_inventory('later')"), "0");
    assert_eq!(db.counts().last().expect("a row"), "46.148.114.6|1");
}

#[test]
fn rows_of_a_loader_that_was_running_at_attach_are_counted_once() {
    for isolation in ["read committed", "repeatable read", "serializable"] {
        let db = Db::new();
        db.sql("CREATE TABLE events (ip inet) PARTITION BY LIST (ip); CREATE TABLE part PARTITION OF events DEFAULT");
        let mut loader = db.connect();
        run(
            &mut loader,
            "BEGIN; INSERT INTO events VALUES ('46.148.115.1'); SAVEPOINT s; INSERT INTO part VALUES ('46.148.115.2')",
        );
        thread::scope(|scope| {
            let attacher = scope.spawn(|| {
                let mut session = db.connect();
                run(
                    &mut session,
                    &format!("SET default_transaction_isolation = '{isolation}'; SET application_name = attacher"),
                );
                run(&mut session, "SELECT attach_ip_source('events', '{ip}')");
            });
            db.wait("SELECT wait_event_type FROM pg_stat_activity WHERE application_name = 'attacher'", "Lock");
            run(&mut loader, "COMMIT");
            attacher.join().expect("an attached table");
        });
        run(&mut loader, "INSERT INTO events VALUES ('46.148.115.3')");
        assert_eq!(db.counts(), ["46.148.115.3|1"], "{isolation}");
        assert_eq!(db.value("SELECT populate_ip_inventory('events')"), "2", "{isolation}");
        assert_eq!(db.counts(), ["46.148.115.1|1", "46.148.115.2|1", "46.148.115.3|1"], "{isolation}");
    }
}

#[test]
fn populate_is_exact_during_concurrent_loads_and_populates() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (ip inet) PARTITION BY HASH (ip);
         CREATE TABLE part_0 PARTITION OF events FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE part_1 PARTITION OF events FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         INSERT INTO events SELECT inet '46.148.116.0' + n % 200 FROM generate_series(1, 20000) n;
         SELECT attach_ip_source('events', '{ip}');",
    );
    let handed: i64 = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut session = db.connect();
                for _ in 0..40 {
                    run(
                        &mut session,
                        "INSERT INTO events SELECT inet '46.148.116.0' + n FROM generate_series(0, 199) n",
                    );
                }
            });
        }
        let callers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| db.value("SELECT populate_ip_inventory('events')").parse::<i64>().expect("a number"))
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().expect("a caller")).sum()
    });
    assert_eq!(handed, 20_000);
    let counts = db.counts();
    assert_eq!(counts.len(), 200);
    assert!(counts.iter().all(|line| line.ends_with("|180")), "{counts:?}");
    assert_eq!(db.sources(), ["events|36000|0"]);
}

#[test]
fn without_a_worker_absorbing_by_hand_works() {
    let cluster = Cluster::builder().preload(false).start();
    fixtures::small(&cluster.maxmind_dir());
    let all = "postgres";
    cluster.sql(
        all,
        "CREATE EXTENSION asn_inventory; CREATE TABLE events (ip text); SELECT attach_ip_source('events', '{ip}');
         INSERT INTO events SELECT '81.2.69.142' FROM generate_series(1, 3);
         INSERT INTO events VALUES ('8.8.8.8'), ('garbage');",
    );
    assert_eq!(cluster.value(all, "SELECT worker FROM enrichment_status"), "not preloaded");
    let queued = "SELECT count(*) FROM ip_observation";
    assert_eq!(cluster.value(all, queued), "3");
    assert_eq!(cluster.value(all, "SELECT absorb_observations(0)"), "0");
    assert_eq!(cluster.value(all, "SELECT absorb_observations(1)"), "1");
    assert_eq!(cluster.value(all, queued), "2");
    assert_eq!(cluster.value(all, "SELECT absorb_observations()"), "2");
    assert_eq!(cluster.value(all, "SELECT absorb_observations()"), "0");
    assert_eq!(
        cluster.lines(all, "SELECT host(ip_address), observation_count, maxmind_status FROM ip_inventory ORDER BY 1"),
        ["8.8.8.8|1|found", "81.2.69.142|3|found"]
    );
    assert_eq!(cluster.value(all, "SELECT observations || '|' || unparsable FROM ip_source"), "4|1");
    // Rolled back, nothing of it happened.
    cluster.sql(all, "INSERT INTO events VALUES ('8.8.8.8')");
    cluster.sql(all, "BEGIN; SELECT absorb_observations(); ROLLBACK");
    assert_eq!(cluster.value(all, queued), "1");
    assert_eq!(cluster.value(all, "SELECT sum(observation_count) FROM ip_inventory"), "4");
    // In a transaction of the caller's own, its settings are its own too.
    let mut session = cluster.client();
    run(&mut session, "BEGIN; SET LOCAL lock_timeout = '7s'; SELECT absorb_observations()");
    assert_eq!(value(&mut session, "SHOW lock_timeout"), "7s");
    run(&mut session, "COMMIT");
    assert_eq!(cluster.value(all, queued), "0");
}

/// A role that may write the queue or the inventory may write any values; no count overflows, and the work goes on.
#[test]
fn counts_end_at_the_largest_that_the_type_holds() {
    let db = Db::new();
    db.sql("CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')");
    let largest = "9223372036854775807";
    for _ in 0..3 {
        db.sql(&format!(
            "INSERT INTO ip_observation (address, seen, first_seen, last_seen, source)
             SELECT a, {largest} - 1, now(), now(), 'events'::regclass
             FROM unnest('{{46.148.119.1, 46.148.119.1, 46.148.119.2}}'::inet[]) a;
             INSERT INTO ip_observation (seen, first_seen, last_seen, source)
             VALUES ({largest}, now(), now(), 'events'), ({largest}, now(), now(), 'events');
             INSERT INTO events VALUES ('46.148.119.2')"
        ));
        db.settle();
    }
    assert_eq!(db.counts(), [format!("46.148.119.1|{largest}"), format!("46.148.119.2|{largest}")]);
    assert_eq!(db.sources(), [format!("events|{largest}|{largest}")]);
    assert_eq!(db.value("SELECT count(*) FROM ip_observation"), "0");
    // Sums of them go on, too.
    db.wait("SELECT observations FROM inventory_count", largest);
    assert!(db.value("SELECT inventory_report()").contains("<html"));
    assert_eq!(db.value("SELECT observations FROM enrichment_status"), largest);
    assert!(db.value("SELECT prometheus_metrics()").contains("asn_inventory_addresses"));
}

#[test]
fn rows_and_statements_end_at_the_largest_count_too() {
    let db = Db::new();
    let largest = "9223372036854775807";
    db.sql(&format!(
        "CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{{ip}}'); UPDATE ip_source SET unobserved = {largest}"
    ));
    for rows in [largest, largest, "-5"] {
        db.sql(&format!(
            "INSERT INTO ip_observation (seen, first_seen, last_seen, source, rows)
             VALUES (0, now(), now(), 'events', {rows}), (0, now(), now(), 'events', NULL)"
        ));
        db.settle();
    }
    assert_eq!(
        db.lines("SELECT rows_seen, rows_since_address, unobserved FROM ip_source"),
        [format!("{largest}|{largest}|{largest}")]
    );
    // What reads them goes on, and so does the counting.
    assert_eq!(db.value("SELECT count(*) FROM enrichment_doctor() WHERE detail LIKE 'Could not look%'"), "0");
    db.sql("INSERT INTO events VALUES ('46.148.119.2')");
    assert_eq!(db.sources(), ["events|1|0"]);
}
