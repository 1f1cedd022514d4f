//! Common code of the ingest tests: one cluster, one database for each test, and readers of the outcome.

use asn_inventory_tests::cluster::{Notices, query};
use asn_inventory_tests::prelude::*;
use postgres::Client;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The cluster of the ingest tests, with the small mmdb files and a worker that absorbs all the time.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(start)
}

fn start() -> Cluster {
    let cluster = Cluster::builder()
        .conf("asn_inventory.absorb_interval", "20ms")
        .conf("max_worker_processes", "60")
        .conf("max_prepared_transactions", "5")
        .start();
    fixtures::small(&cluster.maxmind_dir());
    cluster
}

/// The doctor's check of indexes, for [`Db::complaints`] and [`Db::remedies`].
pub const INDEXES: [&str; 1] = ["observer indexes"];

/// A database of one test's own, with the extension.
pub struct Db {
    pub cluster: &'static Cluster,
    pub name: String,
}

/// A server has room for the workers of some sixty databases, and each costs the others time.
impl Drop for Db {
    fn drop(&mut self) {
        // Where a test left a prepared transaction behind, it stays.
        let _ = self.cluster.try_sql("postgres", &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

impl Db {
    /// In the cluster of these tests.
    pub fn new() -> Db {
        Db::on(cluster())
    }

    fn on(cluster: &'static Cluster) -> Db {
        let db = Db::bare(cluster);
        db.sql("CREATE EXTENSION asn_inventory");
        db.wait("SELECT worker FROM enrichment_status", "running");
        db
    }

    /// Without the extension, in any cluster.
    pub fn bare(cluster: &'static Cluster) -> Db {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        cluster.sql("postgres", &format!("CREATE DATABASE {name}"));
        Db { cluster, name }
    }

    pub fn sql(&self, sql: &str) {
        self.cluster.sql(&self.name, sql);
    }

    pub fn value(&self, sql: &str) -> String {
        self.cluster.value(&self.name, sql)
    }

    pub fn lines(&self, sql: &str) -> Vec<String> {
        self.cluster.lines(&self.name, sql)
    }

    pub fn fails(&self, sql: &str) -> SqlFailure {
        self.cluster.fails(&self.name, sql)
    }

    pub fn wait(&self, sql: &str, wanted: &str) {
        self.cluster.wait_value(&self.name, sql, wanted);
    }

    pub fn connect(&self) -> Client {
        self.cluster.connect(&self.name)
    }

    pub fn connect_as(&self, user: &str) -> Client {
        self.cluster.connect_as(user, &self.name)
    }

    pub fn connect_with_notices(&self) -> (Client, Notices) {
        self.cluster.connect_with_notices(&self.name)
    }

    /// Waits until everything that was queued by now is absorbed.
    pub fn settle(&self) {
        self.wait("SELECT count(*) FROM ip_observation", "0");
    }

    /// `address|count` of every row of the inventory, in address order, once everything is absorbed.
    pub fn counts(&self) -> Vec<String> {
        self.settle();
        self.lines("SELECT host(ip_address), observation_count FROM ip_inventory ORDER BY ip_address")
    }

    /// `table|observations|unparsable` of every attached table, once everything is absorbed.
    pub fn sources(&self) -> Vec<String> {
        self.settle();
        self.lines("SELECT tbl, observations, unparsable FROM ip_source ORDER BY tbl::text COLLATE \"C\"")
    }

    /// `level: detail` of what the doctor finds fault with in these checks.
    pub fn complaints(&self, checks: &[&str]) -> Vec<String> {
        let faults = faults(checks);
        self.lines(&format!("SELECT level || ': ' || detail {faults} ORDER BY 1"))
    }

    /// The remedies of [`Db::complaints`], as one script.
    pub fn remedies(&self, checks: &[&str]) -> String {
        self.value(&format!("SELECT string_agg(remedy, ' ' ORDER BY detail) {}", faults(checks)))
    }
}

fn faults(checks: &[&str]) -> String {
    format!("FROM enrichment_doctor() WHERE check_name = ANY ('{{{}}}') AND level <> 'ok'", checks.join(","))
}

/// The first column of the first row, in an open session.
pub fn value(client: &mut Client, sql: &str) -> String {
    let rows = query(client, sql).unwrap_or_else(|failure| panic!("{sql}\nfailed: {failure:?}"));
    rows.into_iter().flatten().next().flatten().unwrap_or_default()
}

/// Runs statements in an open session, which must succeed.
pub fn run(client: &mut Client, sql: &str) {
    query(client, sql).unwrap_or_else(|failure| panic!("{sql}\nfailed: {failure:?}"));
}

/// Runs what must be refused, in an open session.
pub fn refused(client: &mut Client, sql: &str) -> SqlFailure {
    match query(client, sql) {
        Ok(rows) => panic!("{sql}\nis not refused: {rows:?}"),
        Err(failure) => failure,
    }
}
