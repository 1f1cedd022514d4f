//! `attach_ip_source(…, method => 'row')`: every row by itself, counted once the transaction commits.

use asn_inventory_tests::needs;
use asn_inventory_tests::prelude::*;

use crate::ingest_support::{Db, refused, run, value};

const ATTACHED: &str = "CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}', method => 'row')";

#[test]
fn rows_count_when_their_transaction_commits() {
    let db = Db::new();
    db.sql(ATTACHED);
    let mut session = db.connect();
    run(&mut session, "BEGIN; INSERT INTO e VALUES ('8.8.8.8'), ('8.8.8.8'), (NULL); INSERT INTO e VALUES ('1.1.1.1')");
    assert_eq!(value(&mut session, "SELECT count(*) FROM ip_observation"), "0", "one append, at the commit");
    run(&mut session, "COMMIT; BEGIN; INSERT INTO e VALUES ('9.9.9.9'); ROLLBACK");
    assert_eq!(db.counts(), ["1.1.1.1|1", "8.8.8.8|2"]);
    assert_eq!(db.sources(), ["e|3|0"]);
    assert_eq!(db.value("SELECT rows_seen || ' ' || method FROM ip_source"), "4 row");
    // A conflict does not count as an inserted row, and neither does an update.
    db.sql("CREATE UNIQUE INDEX ON e (ip) WHERE ip = '1.1.1.1'");
    db.sql(
        "INSERT INTO e VALUES ('1.1.1.1'), ('7.7.7.7') ON CONFLICT DO NOTHING;
         INSERT INTO e VALUES ('1.1.1.1') ON CONFLICT (ip) WHERE ip = '1.1.1.1' DO UPDATE SET ip = EXCLUDED.ip",
    );
    assert_eq!(db.counts(), ["1.1.1.1|1", "7.7.7.7|1", "8.8.8.8|2"]);
}

#[test]
fn rollback_to_a_savepoint_removes_its_rows() {
    let db = Db::new();
    db.sql(ATTACHED);
    db.sql(
        "BEGIN; INSERT INTO e VALUES ('3.120.1.1');
         SAVEPOINT a; INSERT INTO e VALUES ('3.120.1.2'); SAVEPOINT b; INSERT INTO e VALUES ('3.120.1.3');
         RELEASE b; INSERT INTO e VALUES ('3.120.1.3'); SAVEPOINT c; INSERT INTO e VALUES ('3.120.1.4'); ROLLBACK TO c;
         INSERT INTO e VALUES ('3.120.1.5'); ROLLBACK TO a; INSERT INTO e VALUES ('3.120.1.6'); COMMIT",
    );
    assert_eq!(db.counts(), ["3.120.1.1|1", "3.120.1.6|1"]);
    db.sql(
        "DO $$ BEGIN
             FOR i IN 1..300 LOOP
                 BEGIN
                     INSERT INTO e VALUES ('3.120.2.1');
                     IF i % 3 = 0 THEN RAISE EXCEPTION 'no'; END IF;
                 EXCEPTION WHEN raise_exception THEN INSERT INTO e VALUES ('3.120.2.2');
                 END;
             END LOOP;
         END $$",
    );
    assert_eq!(db.counts(), ["3.120.1.1|1", "3.120.1.6|1", "3.120.2.1|200", "3.120.2.2|100"]);
}

#[test]
fn a_prepared_transaction_counts_when_it_commits() {
    let db = Db::new();
    db.sql(ATTACHED);
    db.sql("BEGIN; INSERT INTO e VALUES ('3.120.3.1'); PREPARE TRANSACTION 'row_kept'");
    db.sql("BEGIN; INSERT INTO e VALUES ('3.120.3.2'); PREPARE TRANSACTION 'row_dropped'");
    db.sql("INSERT INTO e VALUES ('3.120.3.3')");
    assert_eq!(db.counts(), ["3.120.3.3|1"]);
    db.sql("ROLLBACK PREPARED 'row_dropped'");
    db.sql("COMMIT PREPARED 'row_kept'");
    assert_eq!(db.counts(), ["3.120.3.1|1", "3.120.3.3|1"]);
}

#[test]
fn a_transaction_with_more_addresses_than_fit_in_memory_counts_each_once() {
    let db = Db::new();
    db.sql(ATTACHED);
    let many = |first: &str| format!("INSERT INTO e SELECT '{first}'::inet + i FROM generate_series(0, 149999) i");
    db.sql(&format!(
        "BEGIN; {}; SAVEPOINT a; {}; ROLLBACK TO a; {}; COMMIT",
        many("64.0.0.0"),
        many("65.0.0.0"),
        many("64.0.0.0")
    ));
    db.settle();
    let all =
        "SELECT count(*), sum(observation_count), min(observation_count), max(observation_count) FROM ip_inventory";
    assert_eq!(db.lines(all), ["150000|300000|2|2"]);
}

#[test]
fn partitions_inherit_the_row_trigger_from_postgresql() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE root (n int, ip inet) PARTITION BY RANGE (n);
         CREATE TABLE p1 PARTITION OF root FOR VALUES FROM (0) TO (10);
         SELECT attach_ip_source('root', '{ip}', method => 'row');
         CREATE TABLE p2 PARTITION OF root FOR VALUES FROM (10) TO (20);
         CREATE TABLE p3 (n int, ip inet); INSERT INTO p3 VALUES (25, '3.120.4.3');
         ALTER TABLE root ATTACH PARTITION p3 FOR VALUES FROM (20) TO (30)",
    );
    db.sql("INSERT INTO root VALUES (1, '3.120.4.1'), (11, '3.120.4.2'), (21, '3.120.4.2'); INSERT INTO p2 VALUES (12, '3.120.4.2')");
    assert_eq!(db.counts(), ["3.120.4.1|1", "3.120.4.2|3"]);
    assert_eq!(db.sources(), ["root|4|0"]);
    assert_eq!(db.value("SELECT populate_ip_inventory('root')"), "1", "what p3 had");
    assert_eq!(db.value("SELECT populate_ip_inventory('root')"), "0");
    assert_eq!(db.complaints(&["triggers"]), [""; 0]);
    // Another method, and back, and off: nothing is left of the one before.
    db.sql("SELECT attach_ip_source('root', '{ip}')");
    db.sql("INSERT INTO root VALUES (1, '3.120.4.1')");
    db.sql("SELECT attach_ip_source('root', '{ip}', method => 'row'); INSERT INTO p1 VALUES (1, '3.120.4.1')");
    assert_eq!(db.counts(), ["3.120.4.1|3", "3.120.4.2|3", "3.120.4.3|1"]);
    db.sql("SELECT detach_ip_source('root')");
    assert_eq!(db.value("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'asn_inventory_observe%'"), "0");
}

#[test]
fn a_foreign_partition_is_allowed_with_method_row() {
    if !needs::has("postgres_fdw", "a_foreign_partition_is_allowed_with_method_row") {
        return;
    }
    let db = Db::new();
    db.sql(&format!(
        "CREATE EXTENSION postgres_fdw; CREATE TABLE there (n int, ip inet);
         CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{}', port '5432', dbname '{}');
         CREATE USER MAPPING FOR CURRENT_USER SERVER here;
         CREATE TABLE root (n int, ip inet) PARTITION BY LIST (n);
         CREATE TABLE local PARTITION OF root FOR VALUES IN (1);
         CREATE FOREIGN TABLE far PARTITION OF root FOR VALUES IN (2) SERVER here OPTIONS (table_name 'there')",
        db.cluster.socket_dir().display(),
        db.name
    ));
    let refused = db.fails("SELECT attach_ip_source('root', '{ip}')");
    assert!(refused.hint.contains("method => 'row'"), "{refused:?}");
    db.sql("SELECT attach_ip_source('root', '{ip}', method => 'row')");
    db.sql("INSERT INTO root VALUES (1, '3.120.5.1'), (2, '3.120.5.2')");
    assert_eq!(db.value("SELECT count(*) FROM root"), "2");
    assert_eq!(db.counts(), ["3.120.5.1|1", "3.120.5.2|1"]);
}

#[test]
fn children_that_come_later_are_observed_the_same_way() {
    let db = Db::new();
    db.sql("CREATE TABLE parent (ip inet); SELECT attach_ip_source('parent', '{ip}', method => 'row'); CREATE TABLE child () INHERITS (parent)");
    db.sql("INSERT INTO child VALUES ('3.120.6.1'); INSERT INTO parent VALUES ('3.120.6.1')");
    assert_eq!(db.counts(), ["3.120.6.1|2"]);
    let triggers =
        "SELECT tgrelid::regclass, tgtype, tgenabled FROM pg_trigger WHERE tgname = 'asn_inventory_observe' ORDER BY 1";
    assert_eq!(db.lines(triggers), ["parent|5|A", "child|5|A"]);
}

#[test]
fn unreadable_and_unobserved_rows_are_counted() {
    let db = Db::new();
    db.sql("CREATE TABLE e (payload jsonb); SELECT attach_ip_source('e', '{payload->>Src_IP}', method => 'row')");
    db.sql("INSERT INTO e SELECT '{\"src_ip\": \"8.8.8.8\"}' FROM generate_series(1, 3)");
    db.wait(
        "SELECT rows_seen || ' ' || observations || ' ' || unreadable_reason FROM ip_source",
        "3 0 payload->>Src_IP: no key \"Src_IP\"; the keys are: src_ip",
    );
    db.sql("INSERT INTO e VALUES ('{\"Src_IP\": \"nonsense\"}')");
    db.wait("SELECT unparsable || ' ' || unreadable_sample FROM ip_source", "1 nonsense");
    db.sql("SET asn_inventory.enabled = off; INSERT INTO e VALUES ('{\"Src_IP\": \"8.8.8.8\"}'), ('{\"Src_IP\": \"8.8.8.8\"}')");
    db.wait("SELECT unobserved FROM ip_source", "1");
    assert_eq!(db.counts(), [""; 0]);
}

#[test]
fn the_doctor_names_a_trigger_that_a_subscription_does_not_fire() {
    let db = Db::new();
    db.sql(ATTACHED);
    db.sql("ALTER TABLE e ENABLE TRIGGER asn_inventory_observe");
    let said = "SELECT detail FROM enrichment_doctor() WHERE check_name = 'triggers'";
    assert!(db.value(said).contains("does not fire for rows from a subscription"), "{}", db.value(said));
    let remedy = db.value("SELECT remedy FROM enrichment_doctor() WHERE check_name = 'triggers'");
    db.sql(&remedy);
    assert_eq!(db.value("SELECT tgenabled FROM pg_trigger WHERE tgname = 'asn_inventory_observe'"), "A");
    let mut session = db.connect();
    let refused = refused(&mut session, "SELECT attach_ip_source('e', '{ip}', method => 'rows')");
    assert_eq!((refused.code.as_str(), refused.message.as_str()), ("22023", "unknown method \"rows\""));
}

#[test]
fn populate_in_the_same_transaction_counts_rows_once() {
    let db = Db::new();
    db.sql(ATTACHED);
    db.sql("BEGIN; INSERT INTO e VALUES ('9.9.9.9'); SELECT populate_ip_inventory('e'); COMMIT");
    assert_eq!(db.counts(), ["9.9.9.9|1"]);
    let mut session = db.connect();
    run(&mut session, "BEGIN; INSERT INTO e VALUES ('9.9.9.8'); SAVEPOINT a");
    assert_eq!(refused(&mut session, "SELECT populate_ip_inventory('e')").code, "55000");
    run(&mut session, "ROLLBACK");
    db.sql("BEGIN; INSERT INTO e VALUES ('9.9.9.7'); SELECT forget_ip_source('e'); COMMIT");
    assert_eq!(db.counts(), [""; 0]);
}

/// Ended where it waits for the queue, in the middle of a statement, a session leaves nothing behind.
#[test]
fn a_session_terminated_while_counting_releases_its_locks() {
    let db = Db::new();
    db.sql(ATTACHED);
    let (mut holder, mut loader) = (db.connect(), db.connect());
    let pid = value(&mut loader, "SELECT pg_backend_pid()");
    run(&mut holder, "BEGIN; LOCK TABLE ip_observation IN ACCESS EXCLUSIVE MODE");
    let load = std::thread::spawn(move || {
        asn_inventory_tests::cluster::query(
            &mut loader,
            "INSERT INTO e SELECT '64.0.0.0'::inet + i FROM generate_series(1, 250000) i",
        )
    });
    db.wait(&format!("SELECT count(*) FROM pg_locks WHERE pid = {pid} AND relation = 'e'::regclass"), "1");
    db.sql(&format!("SELECT pg_terminate_backend({pid}, 10000)"));
    assert!(load.join().expect("no panic").is_err());
    run(&mut holder, "ROLLBACK");
    db.wait(&format!("SELECT count(*) FROM pg_locks WHERE pid = {pid}"), "0");
    db.sql("SET lock_timeout = '2s'; LOCK TABLE e IN ACCESS EXCLUSIVE MODE; INSERT INTO e VALUES ('8.8.8.8')");
    assert_eq!(db.counts(), ["8.8.8.8|1"]);
}

#[test]
fn a_subscriber_counts_replicated_rows() {
    subscriber_counts("SELECT attach_ip_source('e', '{ip}', method => 'row')");
}

#[test]
fn a_subscriber_counts_replicated_rows_by_index() {
    subscriber_counts("CREATE INDEX ON e USING ip_observer (ip) WITH (replica = true)");
}

/// A subscription's initial copy, its stream, spooled transactions, and restarts of the apply worker.
fn subscriber_counts(attach: &str) {
    let server = |more: &str| {
        let cluster = Cluster::builder()
            .conf("asn_inventory.absorb_interval", "20ms")
            .conf("wal_level", "logical")
            .conf("logical_decoding_work_mem", "64kB")
            .conf("wal_retrieve_retry_interval", "100ms")
            .start();
        fixtures::small(&cluster.maxmind_dir());
        cluster.sql("postgres", &format!("CREATE TABLE e (id int PRIMARY KEY, ip inet); {more}"));
        cluster
    };
    let publisher = server(
        "INSERT INTO e SELECT i, inet '34.64.0.0' + i % 100 FROM generate_series(1, 1000) i; CREATE PUBLICATION p FOR TABLE e",
    );
    let subscriber = server(&format!("CREATE EXTENSION asn_inventory; {attach}"));
    let host = publisher.socket_dir().to_string_lossy();
    subscriber.sql(
        "postgres",
        &format!("CREATE SUBSCRIPTION s CONNECTION 'host={host} port=5432 user=postgres dbname=postgres' PUBLICATION p WITH (streaming = on)"),
    );
    let counted = |rows: u32| {
        subscriber.wait_value("postgres", "SELECT count(*) FROM e", &rows.to_string());
        subscriber.wait_value(
            "postgres",
            "SELECT coalesce(sum(observation_count), 0) FROM ip_inventory",
            &rows.to_string(),
        );
        assert_eq!(subscriber.value("postgres", "SELECT count(*) FROM ip_observation"), "0");
    };
    counted(1000);
    publisher.sql("postgres", "INSERT INTO e VALUES (1001, '8.8.8.8'); UPDATE e SET ip = '9.9.9.9' WHERE id = 5; UPDATE e SET id = -1 WHERE id = 6");
    counted(1001);
    // More than the publisher decodes in memory: streamed while it is open, with subtransactions that end either way.
    publisher.sql(
        "postgres",
        "BEGIN; INSERT INTO e SELECT i, inet '34.65.0.0' + i % 100 FROM generate_series(2001, 4000) i;
         SAVEPOINT a; INSERT INTO e SELECT i, inet '34.66.0.0' + i % 100 FROM generate_series(4001, 6000) i; ROLLBACK TO a;
         SAVEPOINT b; INSERT INTO e SELECT i, inet '34.67.0.0' + i % 100 FROM generate_series(6001, 8000) i; COMMIT",
    );
    publisher.wait_value("postgres", "SELECT stream_txns > 0 FROM pg_stat_replication_slots", "t");
    counted(5001);
    for round in 0..5 {
        let first = 10_000 + round * 1000;
        publisher.sql(
            "postgres",
            &format!(
                "INSERT INTO e SELECT i, inet '34.68.0.0' + i % 100 FROM generate_series({first}, {first} + 999) i"
            ),
        );
        subscriber.sql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_subscription WHERE pid IS NOT NULL");
    }
    counted(10_001);
    assert_eq!(subscriber.value("postgres", "SELECT observations FROM ip_source"), "10001");
    // Attached with the other method, the doctor says that it is not observed, with the remedy.
    let doctor = "SELECT remedy FROM enrichment_doctor() WHERE check_name = 'triggers' AND detail LIKE '%a subscription brings%'";
    assert_eq!(subscriber.value("postgres", &doctor.replace("remedy", "count(*)")), "0");
    subscriber.sql("postgres", "SELECT attach_ip_source('e', '{ip}')");
    let remedy = subscriber.value("postgres", doctor);
    assert!(!remedy.is_empty());
    publisher.sql("postgres", "INSERT INTO e VALUES (20000, '8.8.8.8')");
    subscriber.wait_value("postgres", "SELECT count(*) FROM e", "10002");
    subscriber.sql("postgres", &remedy);
    publisher.sql("postgres", "INSERT INTO e VALUES (20001, '34.70.0.1')");
    subscriber.wait_value("postgres", "SELECT observation_count FROM ip_inventory WHERE ip_address = '34.70.0.1'", "1");
}
