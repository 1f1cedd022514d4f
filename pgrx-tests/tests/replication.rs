//! Logical replication between two servers that both have the extension: each worker keeps its own tables, and
//! replicated rows stop no subscription.

use asn_inventory_tests::prelude::*;

const DB: &str = "events";

/// A server with the extension, and a table of events that is attached.
fn server() -> Cluster {
    let cluster = Cluster::builder()
        .conf("asn_inventory.absorb_interval", "20ms")
        .conf("wal_level", "logical")
        .conf("max_worker_processes", "30")
        .conf("wal_retrieve_retry_interval", "100ms")
        .start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql("postgres", &format!("CREATE DATABASE {DB}"));
    cluster.sql(
        DB,
        "CREATE EXTENSION asn_inventory; CREATE TABLE e (id int PRIMARY KEY, ip inet);
         SELECT attach_ip_source('e', '{ip}')",
    );
    cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    cluster
}

fn subscribe(subscriber: &Cluster, publisher: &Cluster) {
    let host = publisher.socket_dir().to_string_lossy();
    subscriber.sql(
        DB,
        &format!("CREATE SUBSCRIPTION s CONNECTION 'host={host} port=5432 user=postgres dbname={DB}' PUBLICATION p"),
    );
    subscriber.wait_value(DB, "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'", "0");
}

/// Waits until the subscriber has all that the publisher has committed by now.
fn catch_up(subscriber: &Cluster, publisher: &Cluster) {
    // The worker's commits do not wait for the disk: inserted rows may not be written yet.
    let written = publisher.value(DB, "SELECT pg_current_wal_insert_lsn()");
    publisher.wait_value(DB, &format!("SELECT bool_and(replay_lsn >= '{written}') FROM pg_stat_replication"), "t");
    subscriber.wait_value(DB, "SELECT count(*) FROM ip_observation", "0");
}

fn absorbed(cluster: &Cluster, observations: &str) {
    cluster.wait_value(DB, "SELECT sum(observations) FROM ip_source", observations);
    cluster.wait_value(DB, "SELECT count(*) FROM ip_observation", "0");
}

const COUNTS: &str = "SELECT host(ip_address), observation_count FROM ip_inventory ORDER BY ip_address";

#[test]
fn everything_is_published_and_nothing_is_counted_twice() {
    let (publisher, subscriber) = (server(), server());
    // Both know this address already, and both have counted, asked and walked for themselves.
    for cluster in [&publisher, &subscriber] {
        cluster.sql(DB, "INSERT INTO ip_inventory (ip_address, observation_count) VALUES ('9.9.9.9', 0)");
        assert_eq!(cluster.value(DB, "SELECT processed FROM backfill_inventory()"), "1");
        cluster.wait_value(DB, "SELECT count(*) > 0 FROM inventory_count", "t");
    }
    publisher.sql(DB, "CREATE PUBLICATION p FOR ALL TABLES");
    subscribe(&subscriber, &publisher);
    publisher.sql(DB, "INSERT INTO e VALUES (1, '8.8.8.8'), (2, '8.8.8.8')");
    publisher.sql(DB, "INSERT INTO e SELECT i, inet '34.64.0.0' + i FROM generate_series(10, 999) i");
    absorbed(&publisher, "992");
    catch_up(&subscriber, &publisher);
    assert_eq!(subscriber.value(DB, "SELECT count(*) FROM e"), "992");
    let (ours, theirs) = (publisher.lines(DB, COUNTS), subscriber.lines(DB, COUNTS));
    assert_eq!(ours.len(), 992);
    assert_eq!(theirs, ours, "rows of the inventory come, and nothing adds to them");
    assert_eq!(subscriber.lines(DB, "SELECT observations, rows_seen FROM ip_source"), ["0|0"]);
    assert_eq!(subscriber.value(DB, "SELECT count(*) FROM inventory_count"), "1");
    assert_eq!(subscriber.value(DB, "SELECT count(*) FROM enrichment_run WHERE kind = 'backfill'"), "1");
    // Rows inserted there directly are counted there, beside the stream.
    subscriber.sql(DB, "INSERT INTO e VALUES (-1, '8.8.8.8'), (-2, '1.1.1.1')");
    absorbed(&subscriber, "2");
    publisher.sql(DB, "INSERT INTO e VALUES (3, '1.1.1.1'), (4, '1.1.1.2')");
    absorbed(&publisher, "994");
    catch_up(&subscriber, &publisher);
    assert_eq!(
        subscriber.lines(DB, &format!("SELECT * FROM ({COUNTS}) c WHERE host LIKE '1.1.1.%' OR host = '8.8.8.8'")),
        ["1.1.1.1|1", "1.1.1.2|1", "8.8.8.8|3"],
        "a row that is there already is left as it is"
    );
    assert_eq!(subscriber.value(DB, "SELECT count(*) FROM e"), "996", "the stream goes on");
    assert!(!subscriber.log().contains("duplicate key"), "{}", subscriber.log_tail());
}

#[test]
fn a_late_publisher_stops_nothing() {
    let (publisher, subscriber) = (server(), server());
    for cluster in [&publisher, &subscriber] {
        cluster.sql(DB, "INSERT INTO e VALUES (1, '8.8.8.8'), (2, '1.1.1.1')");
        absorbed(cluster, "2");
        cluster.sql(DB, "TRUNCATE e; SELECT backfill_inventory(ips => '{8.8.4.4}')");
    }
    publisher.sql(DB, "CREATE PUBLICATION p FOR ALL TABLES");
    subscribe(&subscriber, &publisher);
    publisher.sql(DB, "INSERT INTO e VALUES (3, '8.8.4.4')");
    absorbed(&publisher, "3");
    publisher.wait_value(DB, "SELECT count(*) FROM ip_inventory", "3");
    catch_up(&subscriber, &publisher);
    assert_eq!(subscriber.value(DB, "SELECT count(*) FROM e"), "1");
    assert_eq!(subscriber.lines(DB, "SELECT tbl, observations FROM ip_source"), ["e|2"]);
    assert!(!subscriber.log().contains("duplicate key"), "{}", subscriber.log_tail());
}

#[test]
fn the_documented_publication_has_no_table_of_the_extension() {
    let (publisher, subscriber) = (server(), server());
    let documented = include_str!("../../docs/operations.md");
    let start = documented.find("SELECT format('CREATE PUBLICATION").expect("the documented command");
    let command = &documented[start..start + documented[start..].find(";\n").expect("its end")];
    let publication = publisher.value(DB, command);
    publisher.sql(DB, &publication);
    assert_eq!(publisher.lines(DB, "SELECT tablename FROM pg_publication_tables"), ["e"], "{publication}");
    subscribe(&subscriber, &publisher);
    publisher.sql(DB, "INSERT INTO e VALUES (1, '8.8.8.8')");
    absorbed(&publisher, "1");
    catch_up(&subscriber, &publisher);
    assert_eq!(subscriber.lines(DB, "SELECT id FROM e"), ["1"]);
    assert_eq!(subscriber.lines(DB, COUNTS), [""; 0]);
}
