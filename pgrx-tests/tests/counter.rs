//! A large inventory is counted by a process of its own, for which nothing waits.

use asn_inventory_tests::prelude::*;

const DB: &str = "large";
const COUNTER: &str = "asn_inventory counter";

fn cluster() -> Cluster {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "50ms").start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql("postgres", &format!("CREATE DATABASE {DB}"));
    cluster.sql(
        DB,
        "CREATE EXTENSION asn_inventory; CREATE TABLE event (ip inet); SELECT attach_ip_source('event', '{ip}')",
    );
    cluster.wait_walked(DB);
    cluster.wait_value(DB, "SELECT addresses FROM enrichment_status", "0");
    cluster
}

/// An inventory so large that a process of its own counts it, for as long as the session that it gives back lives.
fn large_inventory(cluster: &Cluster) -> postgres::Client {
    let holder = cluster.hold_up(DB, "BEFORE INSERT", "inventory_count", "FOR EACH ROW");
    // Few rows, and much air between them.
    cluster.sql(
        DB,
        "ALTER TABLE ip_inventory SET (fillfactor = 10);
         INSERT INTO ip_inventory (ip_address, ip_class) SELECT '44.0.0.0'::inet + g, 'public' FROM generate_series(1, 40000) g",
    );
    assert_eq!(cluster.value(DB, "SELECT pg_relation_size('ip_inventory') > 32 * 1024 * 1024"), "t");
    holder
}

#[test]
fn a_large_inventory_is_counted_while_the_worker_goes_on() {
    let cluster = cluster();
    let holder = large_inventory(&cluster);
    cluster.sql(DB, "INSERT INTO event VALUES ('8.8.8.8')");
    wait_until("a counter", || cluster.pids_of(COUNTER).len() == 1);
    // New addresses are enriched, and no second counter runs.
    for ip in ["1.1.1.1", "81.2.69.142"] {
        cluster.sql(DB, &format!("INSERT INTO event VALUES ('{ip}')"));
        cluster.wait_value(DB, &format!("SELECT count(*) FROM ip_inventory WHERE ip_address = '{ip}'"), "1");
    }
    assert_eq!(cluster.value(DB, "SELECT (enrich_ip('8.8.8.9', '60s')).asn_number"), "15169");
    assert_eq!(cluster.pids_of(COUNTER).len(), 1);
    assert_eq!(cluster.value(DB, "SELECT addresses FROM enrichment_status"), "0");
    drop(holder);
    // Rows that came during the count are in the next one.
    cluster.wait_value(DB, "SELECT addresses FROM enrichment_status", "40004");
    assert_eq!(cluster.value(DB, "SELECT count(*) FROM inventory_count"), "1");
    cluster.wait_value(DB, "SELECT sum(ip_count) FROM asn_inventory", "3");
    wait_until("the end of the counter", || cluster.pids_of(COUNTER).is_empty());
}

#[test]
fn a_terminated_counter_is_replaced() {
    let cluster = cluster();
    let holder = large_inventory(&cluster);
    cluster.sql(DB, "INSERT INTO event VALUES ('8.8.8.8')");
    wait_until("a counter", || cluster.pids_of(COUNTER).len() == 1);
    let first = cluster.pids_of(COUNTER);
    cluster.sql(DB, &format!("SELECT pg_terminate_backend({})", first[0]));
    let second = wait_for("another", || cluster.pids_of(COUNTER), |pids| pids.len() == 1 && *pids != first);
    // A worker that was ended leaves its counter behind; the next one does not count beside it.
    cluster.sql(DB, "SELECT pg_terminate_backend(worker_pid) FROM enrichment_status");
    for ip in ["1.1.1.1", "1.1.1.2", "1.1.1.3"] {
        cluster.sql(DB, &format!("INSERT INTO event VALUES ('{ip}')"));
        cluster.wait_value(DB, &format!("SELECT count(*) FROM ip_inventory WHERE ip_address = '{ip}'"), "1");
    }
    assert_eq!(cluster.pids_of(COUNTER), second);
    // It does not prevent DROP DATABASE either.
    cluster.sql("postgres", &format!("DROP DATABASE {DB}"));
    drop(holder);
}
