//! Common code of the doctor's tests: a cluster, a database for each test, the doctor's findings, and running its
//! remedies.

use asn_inventory_tests::prelude::*;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

pub const TROUBLE: &str = "SELECT check_name, level FROM enrichment_doctor() WHERE level <> 'ok' ORDER BY 1, 2";

/// With the small files, and a worker that absorbs all the time. Autovacuum would mend some faults by itself.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster = Cluster::builder()
            .conf("asn_inventory.absorb_interval", "20ms")
            .conf("autovacuum_naptime", "1h")
            .conf("max_worker_processes", "60")
            .conf("max_prepared_transactions", "5")
            .conf("wal_level", "logical")
            .start();
        fixtures::small(&cluster.maxmind_dir());
        cluster
    })
}

/// A database with the extension.
pub struct Patient {
    pub cluster: &'static Cluster,
    pub db: String,
}

impl Patient {
    /// In the shared cluster, with nothing wrong.
    pub fn new() -> Patient {
        Patient::in_cluster(cluster())
    }

    pub fn in_cluster(cluster: &'static Cluster) -> Patient {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let db = format!("patient_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        cluster.sql("postgres", &format!("CREATE DATABASE {db}"));
        let patient = Patient { cluster, db };
        patient.sql("CREATE EXTENSION asn_inventory");
        patient.wait("SELECT worker FROM enrichment_status", "running");
        patient.wait("SELECT count(*) FROM mmdb_editions() WHERE generation IS NOT NULL", "2");
        patient
    }

    pub fn sql(&self, sql: &str) {
        self.cluster.sql(&self.db, sql);
    }

    pub fn value(&self, sql: &str) -> String {
        self.cluster.value(&self.db, sql)
    }

    pub fn lines(&self, sql: &str) -> Vec<String> {
        self.cluster.lines(&self.db, sql)
    }

    pub fn wait(&self, sql: &str, wanted: &str) {
        self.cluster.wait_value(&self.db, sql, wanted);
    }

    /// The checks that are not ok, `check|level` each.
    pub fn trouble(&self) -> Vec<String> {
        self.lines(TROUBLE)
    }

    /// The doctor's findings of a check that is not ok, a line each: `level|detail`.
    pub fn said(&self, check: &str) -> String {
        self.lines(&format!(
            "SELECT level, detail FROM enrichment_doctor() WHERE check_name = '{check}' AND level <> 'ok'"
        ))
        .join("\n")
    }

    /// Its remedy for a check.
    pub fn remedy(&self, check: &str) -> String {
        self.value(&format!(
            "SELECT string_agg(remedy, E'\\n') FROM enrichment_doctor() WHERE check_name = '{check}' AND level <> 'ok'"
        ))
    }

    /// Runs the doctor's remedy as psql does: a statement at a time, and without the comment.
    pub fn take_remedy(&self, check: &str) {
        for line in self.remedy(check).lines() {
            let commands = line.split(" -- ").next().unwrap_or_default();
            for command in commands.split(';').filter(|command| !command.trim().is_empty()) {
                self.sql(command);
            }
        }
    }

    /// Makes a fault, expects only its finding, runs the remedy, and expects no finding again.
    pub fn suffer(&self, fault: &str, check: &str, said: &str) {
        assert_eq!(self.trouble(), [""; 0], "before {fault}");
        self.sql(fault);
        let found = self.said(check);
        assert!(found.contains(said), "after {fault}: {found:?} has no {said:?}");
        let level = found.split('|').next().unwrap_or_default();
        assert_eq!(self.trouble(), [format!("{check}|{level}")], "after {fault}");
        let remedy = self.remedy(check);
        self.take_remedy(check);
        assert_eq!(self.trouble(), [""; 0], "after {fault} and {remedy}: {}", self.said(check));
    }

    /// A row that is inserted into `table` by name is observed.
    pub fn sees(&self, table: &str, address: &str) {
        self.sql(&format!("INSERT INTO {table} (ip) VALUES ('{address}')"));
        self.wait(&format!("SELECT observation_count FROM ip_inventory WHERE ip_address = '{address}'"), "1");
    }
}
