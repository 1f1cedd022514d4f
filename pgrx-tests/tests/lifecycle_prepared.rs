//! The extension is created and dropped by prepared transactions: changes that were invisible at PREPARE are seen at
//! COMMIT PREPARED, at once, with nothing queued.

use crate::crash_support::wait_for_worker_in;
use asn_inventory_tests::prelude::*;

const RUNS: &str = "SELECT worker FROM _worker_status()";

fn cluster() -> Cluster {
    let cluster =
        Cluster::builder().conf("max_prepared_transactions", "5").conf("asn_inventory.absorb_interval", "20ms").start();
    fixtures::small(&cluster.maxmind_dir());
    cluster
}

/// The worker that was started for a look has ended: the extension is still unknown.
fn wait_for_nobody(cluster: &Cluster) {
    let log = |cluster: &Cluster| cluster.pids_of("asn_inventory worker").len();
    wait_until("the end of all looks", || log(cluster) == 0);
}

#[test]
fn an_extension_of_a_prepared_transaction_gets_its_worker_at_the_commit() {
    let cluster = cluster();
    cluster.sql("postgres", "CREATE DATABASE prepared");
    cluster.sql("prepared", "BEGIN; CREATE EXTENSION asn_inventory; PREPARE TRANSACTION 'made'");
    wait_for_nobody(&cluster);
    cluster.sql("prepared", "COMMIT PREPARED 'made'");
    cluster.wait_value("prepared", RUNS, "running");

    // The same across a restart, after which the prepared transaction is forgotten.
    cluster.sql("postgres", "CREATE DATABASE kept");
    cluster.sql("kept", "BEGIN; CREATE EXTENSION asn_inventory; PREPARE TRANSACTION 'kept'");
    cluster.restart();
    wait_for_worker_in(&cluster, "prepared");
    wait_until("one worker", || cluster.pids_of("asn_inventory worker").len() == 1);
    cluster.sql("kept", "COMMIT PREPARED 'kept'");
    cluster.wait_value("kept", RUNS, "running");
}

#[test]
fn rollback_prepared_leaves_no_worker_and_existing_workers_stay() {
    let cluster = cluster();
    cluster.sql("postgres", "CREATE DATABASE undone");
    cluster.sql("undone", "BEGIN; CREATE EXTENSION asn_inventory; PREPARE TRANSACTION 'undone'");
    cluster.sql("undone", "ROLLBACK PREPARED 'undone'");
    wait_for_nobody(&cluster);
    // Prepared transactions of a database without the extension start no worker.
    let started = |cluster: &Cluster| cluster.log().matches("worker process: asn_inventory worker").count();
    cluster.sql("undone", "CREATE TABLE t (n int); BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'plain'");
    let before = started(&cluster);
    cluster.sql("undone", "COMMIT PREPARED 'plain'");
    assert_eq!(cluster.value("undone", "SELECT count(*) FROM t"), "1");
    assert_eq!(started(&cluster), before);

    // A drop that is prepared and rolled back, and one that is committed.
    cluster.sql(
        "undone",
        "CREATE EXTENSION asn_inventory; CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')",
    );
    cluster.wait_value("undone", RUNS, "running");
    let pid = cluster.value("undone", "SELECT worker_pid FROM _worker_status()");
    cluster.sql("undone", "BEGIN; DROP EXTENSION asn_inventory; PREPARE TRANSACTION 'drop'");
    cluster.sql("undone", "ROLLBACK PREPARED 'drop'");
    cluster.sql("undone", "INSERT INTO events VALUES ('81.2.69.142')");
    cluster.wait_value("undone", "SELECT city FROM ip_inventory", "London");
    assert_eq!(cluster.value("undone", "SELECT worker_pid FROM _worker_status()"), pid);
    cluster.sql("undone", "BEGIN; DROP EXTENSION asn_inventory; PREPARE TRANSACTION 'drop'");
    cluster.sql("undone", "COMMIT PREPARED 'drop'");
    wait_for_nobody(&cluster);
    cluster.sql("undone", "CREATE EXTENSION asn_inventory");
    cluster.wait_value("undone", RUNS, "running");
}

#[test]
fn rows_queued_by_a_prepared_transaction_are_absorbed_at_its_commit() {
    let cluster = cluster();
    cluster.sql("postgres", "CREATE DATABASE queue");
    cluster.sql(
        "queue",
        "CREATE EXTENSION asn_inventory; CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')",
    );
    cluster.wait_walked("queue");
    // Attached and filled by one invisible transaction.
    cluster.sql("queue", "BEGIN; CREATE TABLE more (ip inet); SELECT attach_ip_source('more', '{ip}'); INSERT INTO more VALUES ('8.8.8.8'); PREPARE TRANSACTION 'more'");
    cluster.sql("queue", "INSERT INTO events VALUES ('1.1.1.1')");
    cluster.wait_value("queue", "SELECT count(*) FROM ip_inventory", "1");
    cluster.sql("queue", "COMMIT PREPARED 'more'");
    cluster.wait_value("queue", "SELECT count(*) FROM ip_inventory", "2");
}
