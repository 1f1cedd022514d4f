//! Loaders that survive the server: in spite of lost connections, each batch is committed exactly once. And the
//! expected state of the inventory.

// Each test file uses a part of this.
use asn_inventory_tests::prelude::*;
use postgres::Client;
use std::time::{Duration, Instant};

/// Sessions that may be cut at any time; a batch is known by its number.
const TABLES: &str = "CREATE EXTENSION asn_inventory;
    CREATE TABLE batches (batch int PRIMARY KEY);
    CREATE TABLE events (batch int, src_ip inet);
    SELECT attach_ip_source('events', ARRAY['src_ip']);";

/// A cluster whose worker absorbs as soon as anything is there.
pub fn cluster() -> Cluster {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "10ms").start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql("postgres", TABLES);
    wait_for_worker(&cluster);
    cluster
}

/// Waits until the database `postgres` has its worker, and returns its process id.
pub fn wait_for_worker(cluster: &Cluster) -> u32 {
    wait_for_worker_in(cluster, "postgres")
}

/// The same for any database.
pub fn wait_for_worker_in(cluster: &Cluster, database: &str) -> u32 {
    let worker = "SELECT worker_pid FROM enrichment_status";
    let pid = || cluster.value(database, worker).parse::<u32>().ok();
    wait_for("a worker", pid, Option::is_some).expect("a pid")
}

/// Commits batches `from..to` of `rows` rows; half of the addresses are met again and again. A cut connection is opened
/// again, and uncommitted batches are sent again.
pub fn load(cluster: &Cluster, from: u32, to: u32, rows: u32) {
    let mut client: Option<Client> = None;
    let started = Instant::now();
    for batch in from..to {
        let sql = format!(
            "INSERT INTO batches VALUES ({batch});
             INSERT INTO events SELECT {batch}, '34.64.0.0'::inet + CASE WHEN i % 2 = 0 THEN i ELSE {batch}::bigint * {rows} + i END
             FROM generate_series(1, {rows}) i"
        );
        loop {
            assert!(started.elapsed() < Duration::from_secs(120), "loading takes too long");
            let Some(open) = &mut client else {
                client = cluster.try_connect("postgres").ok();
                if client.is_none() {
                    std::thread::sleep(Duration::from_millis(10));
                }
                continue;
            };
            match open.batch_execute(&sql) {
                Ok(()) => break,
                // The batch was committed, and only the answer was lost.
                Err(error) if error.code().is_some_and(|code| code.code() == "23505") => break,
                Err(_) => client = None,
            }
        }
    }
}

/// Waits until everything is absorbed, then holds the inventory against the events, address by address.
pub fn assert_counted_once(cluster: &Cluster, events: u64) {
    cluster.wait_value("postgres", "SELECT count(*) FROM ip_observation", "0");
    let value = |sql: &str| cluster.value("postgres", sql);
    assert_eq!(value("SELECT count(*) FROM events"), events.to_string());
    assert_eq!(
        cluster.lines(
            "postgres",
            "SELECT e.src_ip, e.n, i.observation_count FROM ip_inventory i
             FULL JOIN (SELECT src_ip, count(*) AS n FROM events GROUP BY 1) e ON e.src_ip = i.ip_address
             WHERE e.n IS DISTINCT FROM i.observation_count LIMIT 10",
        ),
        [""; 0],
        "counted wrongly: address, events, counted"
    );
    assert_eq!(value("SELECT observations FROM ip_source"), events.to_string());
    assert_eq!(
        value(
            "SELECT count(*) FROM ip_inventory i FULL JOIN (SELECT ip_address, sum(observation_count) AS n FROM ip_sighting GROUP BY 1) s USING (ip_address)
             WHERE s.n IS DISTINCT FROM i.observation_count"
        ),
        "0",
        "addresses whose sightings differ from their count"
    );
    let by_hour = "SELECT sum(u.seen) FROM ip_activity a, unpack_observations(a.packed) u WHERE a.addresses > 0";
    assert_eq!(value(by_hour), events.to_string(), "observations in hours and days");
    assert_eq!(value("SELECT count(*) FROM ip_inventory WHERE maxmind_status <> 'found'"), "0");
}
