//! Databases come and go, are renamed and copied, while their worker is busy; who gets a worker; the launcher.

use crate::crash_support::wait_for_worker_in;
use asn_inventory_tests::prelude::*;
use std::thread;

const WORKER: &str = "asn_inventory worker";
const LAUNCHER: &str = "asn_inventory launcher";

fn cluster() -> Cluster {
    let cluster =
        Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").conf("max_worker_processes", "24").start();
    fixtures::small(&cluster.maxmind_dir());
    cluster
}

fn database(cluster: &Cluster, name: &str) {
    cluster.sql("postgres", &format!("CREATE DATABASE {name}"));
    cluster.sql(
        name,
        "CREATE EXTENSION asn_inventory; CREATE TABLE events (ip inet); SELECT attach_ip_source('events', ARRAY['ip'])",
    );
}

fn workers(cluster: &Cluster) -> Vec<String> {
    let sql = format!("SELECT datname FROM pg_stat_activity WHERE backend_type = '{WORKER}' ORDER BY 1");
    cluster.lines("postgres", &sql)
}

/// Has events inserted and waits until the worker is at them.
fn make_busy(cluster: &Cluster, name: &str) {
    wait_for_worker_in(cluster, name);
    cluster.sql(name, "INSERT INTO events SELECT '34.64.0.0'::inet + i FROM generate_series(1, 100000) i");
    let busy = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = '{WORKER}' AND datname = '{name}'
         AND query = 'absorbing observations' AND state = 'active'"
    );
    cluster.wait_value("postgres", &busy, "1");
}

fn absorbs(cluster: &Cluster, name: &str, address: &str, city: &str) {
    cluster.sql(name, &format!("INSERT INTO events VALUES ('{address}')"));
    cluster.wait_value(name, &format!("SELECT city FROM ip_inventory WHERE ip_address = '{address}'"), city);
}

#[test]
fn a_database_can_be_dropped_renamed_and_copied_while_its_worker_is_busy() {
    let cluster = cluster();
    database(&cluster, "dropped");
    make_busy(&cluster, "dropped");
    cluster.sql("postgres", "DROP DATABASE dropped");
    assert!(cluster.try_connect("dropped").is_err());

    database(&cluster, "model");
    make_busy(&cluster, "model");
    cluster.sql("postgres", "ALTER DATABASE model RENAME TO renamed");
    absorbs(&cluster, "renamed", "81.2.69.142", "London");
    cluster.wait_value("renamed", "SELECT count(*) FROM ip_inventory", "100001");

    make_busy(&cluster, "renamed");
    cluster.sql("postgres", "CREATE DATABASE copied TEMPLATE renamed");
    absorbs(&cluster, "copied", "51.68.0.1", "Roubaix");
    absorbs(&cluster, "renamed", "51.68.0.2", "Roubaix");
    // The copy took the queue with it; each absorbs its own.
    for name in ["copied", "renamed"] {
        cluster.wait_value(name, "SELECT count(*) FROM ip_observation", "0");
        let twice = "SELECT count(*) FROM ip_inventory WHERE ip_address << '34.64.0.0/12' AND observation_count = 2";
        assert_eq!(cluster.value(name, twice), "100000");
    }
    assert_eq!(workers(&cluster), ["copied", "renamed"]);

    let job = "SELECT backfill_inventory(commit_interval => 500)";
    cluster.sql(
        "copied",
        "INSERT INTO ip_inventory (ip_address) SELECT '20.64.0.0'::inet + i FROM generate_series(1, 50000) i",
    );
    cluster.sql("copied", &job.replace("500", "500, wait => false"));
    cluster.wait_value("copied", "SELECT helpers > 0 FROM enrichment_progress", "t");
    cluster.sql("postgres", "DROP DATABASE copied");
    assert_eq!(workers(&cluster), ["renamed"]);
    assert_eq!(cluster.pids_of("asn_inventory backfill"), [0; 0]);
    assert!(!cluster.log().contains("PANIC"), "{}", cluster.log_tail());
}

#[test]
fn a_database_can_be_dropped_right_after_its_creation() {
    let cluster = cluster();
    for round in 0..12 {
        let name = format!("short_{round}");
        database(&cluster, &name);
        if round % 2 == 0 {
            cluster.sql(&name, "INSERT INTO events VALUES ('8.8.8.8')");
        }
        cluster.sql("postgres", &format!("DROP DATABASE {name}"));
    }
    wait_until("no worker of a dropped database", || workers(&cluster).is_empty());
}

#[test]
fn a_refused_drop_gives_the_worker_back() {
    let cluster = cluster();
    database(&cluster, "in_use");
    wait_for_worker_in(&cluster, "in_use");
    let _session = cluster.connect("in_use");
    assert_eq!(cluster.fails("postgres", "DROP DATABASE in_use").code, "55006");
    absorbs(&cluster, "in_use", "81.2.69.142", "London");
    cluster.sql("postgres", "CREATE ROLE nobody LOGIN");
    let before = wait_for_worker_in(&cluster, "in_use");
    let mut nobody = cluster.connect_as("nobody", "postgres");
    assert!(nobody.batch_execute("DROP DATABASE in_use").is_err());
    assert_eq!(wait_for_worker_in(&cluster, "in_use"), before, "who may not drop ended the worker");
}

#[test]
fn a_worker_whose_first_start_fails_is_started_again() {
    let cluster = Cluster::builder()
        .conf("asn_inventory.absorb_interval", "20ms")
        .conf("asn_inventory.databases", "none")
        .conf("lock_timeout", "100ms")
        .start();
    fixtures::small(&cluster.maxmind_dir());
    database(&cluster, "held");
    // After a start nobody has said that the extension is there.
    cluster.stop_fast();
    cluster.start();
    let mut holder = cluster.connect("postgres");
    holder.batch_execute("BEGIN; ALTER DATABASE held RENAME TO other").expect("renamed");
    cluster.set("asn_inventory.databases", "");
    wait_until("a worker that cannot connect", || {
        cluster.log().lines().any(|line| line.contains(WORKER) && line.contains("lock timeout"))
    });
    holder.batch_execute("ROLLBACK").expect("as before");
    wait_for_worker_in(&cluster, "held");
}

#[test]
fn only_named_databases_get_a_worker_and_a_reload_changes_which() {
    let cluster = Cluster::builder()
        .conf("asn_inventory.absorb_interval", "20ms")
        .conf("asn_inventory.databases", "one, not_there")
        .start();
    fixtures::small(&cluster.maxmind_dir());
    for name in ["one", "two"] {
        database(&cluster, name);
        cluster.sql(name, "INSERT INTO events VALUES ('8.8.8.8')");
    }
    let inventory = "SELECT count(*) FROM ip_inventory";
    cluster.wait_value("one", inventory, "1");
    assert_eq!(workers(&cluster), ["one"]);
    let refused = cluster.fails("two", "SELECT backfill_inventory()");
    assert_eq!(
        (refused.code.as_str(), refused.hint.contains("asn_inventory.databases")),
        ("55000", true),
        "{refused:?}"
    );
    assert_eq!(cluster.value("two", "SELECT worker FROM enrichment_status"), "not running");

    cluster.set("asn_inventory.databases", "two");
    cluster.wait_value("two", inventory, "1");
    wait_until("only the worker of two", || workers(&cluster) == ["two"]);
    cluster.sql("one", "INSERT INTO events VALUES ('1.1.1.1')");
    cluster.set("asn_inventory.databases", "");
    cluster.wait_value("one", inventory, "2");
    wait_until("both workers", || workers(&cluster) == ["one", "two"]);
}

#[test]
fn too_few_worker_processes_are_logged_and_other_databases_work() {
    let cluster = Cluster::builder()
        .conf("asn_inventory.absorb_interval", "20ms")
        .conf("max_worker_processes", "4")
        .conf("max_logical_replication_workers", "0")
        .start();
    fixtures::small(&cluster.maxmind_dir());
    let names = ["one", "two", "three", "four", "five"];
    for name in names {
        database(&cluster, name);
        cluster.sql(name, "INSERT INTO events VALUES ('8.8.8.8')");
    }
    cluster.wait_log("no free slot in max_worker_processes");
    let count = || {
        let served = |name: &&&str| cluster.value(name, "SELECT count(*) FROM ip_inventory") == "1";
        names.iter().filter(served).count()
    };
    let served = wait_for("three databases served", count, |count| *count == 3);
    assert_eq!(served, workers(&cluster).len());
    // Where no worker is, inserts are as quick, and are absorbed by hand.
    let left: Vec<&str> = names.into_iter().filter(|name| !workers(&cluster).contains(&(*name).to_string())).collect();
    assert_eq!(cluster.value(left[0], "SELECT absorb_observations()"), "1");
    // A place that becomes free is taken.
    let gone = workers(&cluster)[0].clone();
    cluster.sql("postgres", &format!("DROP DATABASE {gone}"));
    wait_until("another database to be served", || workers(&cluster).len() == 3 && !workers(&cluster).contains(&gone));
    let backfill = "SELECT processed FROM backfill_inventory(ips => '{1.1.1.1}')";
    assert_eq!(cluster.value(&workers(&cluster)[0], backfill), "1", "a job without a helper is the worker's own");
}

#[test]
fn a_terminated_launcher_comes_back_and_finds_its_workers() {
    let cluster = cluster();
    database(&cluster, "served");
    let worker = wait_for_worker_in(&cluster, "served");
    let launcher = cluster.pid_of(LAUNCHER).expect("a launcher");
    cluster.sql("postgres", &format!("SELECT pg_terminate_backend({launcher})"));
    wait_until("another launcher", || cluster.pid_of(LAUNCHER).is_some_and(|pid| pid != launcher));
    // A database made now is served: the launcher has looked around.
    database(&cluster, "later");
    wait_for_worker_in(&cluster, "later");
    assert_eq!(workers(&cluster), ["later", "served"], "one worker a database");
    assert_eq!(wait_for_worker_in(&cluster, "served"), worker);
    cluster.sql("postgres", &format!("SELECT pg_terminate_backend({worker})"));
    wait_until("another worker", || wait_for_worker_in(&cluster, "served") != worker);
    absorbs(&cluster, "served", "81.2.69.142", "London");
    assert_eq!(workers(&cluster), ["later", "served"]);
    cluster.sql("postgres", "DROP DATABASE served");
}

#[test]
fn many_databases_absorb_at_the_same_time() {
    let cluster = cluster();
    let names: Vec<String> = (1..=6).map(|n| format!("db{n}")).collect();
    thread::scope(|scope| {
        for name in &names {
            database(&cluster, name);
            let cluster = &cluster;
            scope.spawn(move || {
                for round in 0..20 {
                    cluster.sql(
                        name,
                        &format!(
                            "INSERT INTO events SELECT '34.64.0.0'::inet + i + {round} FROM generate_series(1, 500) i"
                        ),
                    );
                }
            });
        }
    });
    for name in &names {
        cluster.wait_value(name, "SELECT sum(observation_count) || ' ' || count(*) FROM ip_inventory", "10000 519");
    }
}
