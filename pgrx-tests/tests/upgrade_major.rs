//! Servers that pg_upgrade starts. All of an upgrade to another major is in `make test-upgrade`.

use asn_inventory_tests::prelude::*;
use std::process::Output;

/// pg_ctl's server, ended with the test.
struct Upgrading<'a>(&'a Cluster);

impl Upgrading<'_> {
    fn pg_ctl(&self, arguments: &[&str]) -> Output {
        let mut command = self.0.tool("pg_ctl");
        command.arg("-D").arg(self.0.data_dir()).arg("-l").arg(self.0.maxmind_dir().join("log")).args(["-w", "-s"]);
        command.args(arguments).output().expect("pg_ctl")
    }
}

impl Drop for Upgrading<'_> {
    fn drop(&mut self) {
        let _ = self.pg_ctl(&["-m", "immediate", "stop"]);
    }
}

/// pg_upgrade notes the next transaction number of the old server, starts it, and copies its files: a worker that absorbs the
/// queue meanwhile would write under numbers that are given out again. 0.2.0 began without this, and it did.
#[test]
fn nothing_of_the_extension_writes_in_a_server_of_pg_upgrade() {
    let cluster = Cluster::builder().conf("asn_inventory.databases", "none").start();
    cluster.sql(
        "postgres",
        "CREATE EXTENSION asn_inventory; CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}');
         INSERT INTO events VALUES ('8.8.8.8')",
    );
    cluster.set("asn_inventory.databases", "");
    cluster.stop_fast();
    let upgrading = Upgrading(&cluster);
    let started = upgrading.pg_ctl(&["-o", "-b", "start"]);
    assert!(started.status.success(), "{started:?}");
    let ours = "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'asn_inventory%'";
    assert_eq!(cluster.value("postgres", ours), "0");
    assert_eq!(cluster.value("postgres", "SELECT ip_class('10.0.0.1')"), "private");
    assert_eq!(cluster.value("postgres", "SELECT count(*) FROM ip_observation"), "1");
    assert!(upgrading.pg_ctl(&["-m", "fast", "stop"]).status.success());
    let log = std::fs::read_to_string(cluster.maxmind_dir().join("log")).expect("its log");
    assert!(!log.contains("] asn_inventory "), "{log}");
    // The ordinary server goes on where it was.
    cluster.start();
    cluster.wait_value("postgres", "SELECT count(*) FROM ip_inventory", "1");
}
