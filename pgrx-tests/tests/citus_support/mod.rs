//! A Citus cluster of three servers.

use asn_inventory_tests::prelude::*;

/// The database of the cluster.
pub const DB: &str = "events";

/// How others reach a node.
fn host(node: &Cluster) -> String {
    node.socket_dir().to_string_lossy().into_owned()
}

/// A server that may become a node.
pub fn node(conf: &[(String, String)]) -> Cluster {
    let node = conf
        .iter()
        .fold(Cluster::builder(), |builder, (name, value)| builder.conf(name, value))
        .conf("shared_preload_libraries", "citus,asn_inventory")
        .conf("wal_level", "logical")
        .conf("max_worker_processes", "30")
        .conf("max_prepared_transactions", "100")
        .conf("citus.node_conninfo", "sslmode=prefer")
        .conf("citus.shard_count", "8")
        .conf("asn_inventory.absorb_interval", "20ms")
        .start();
    fixtures::small(&node.maxmind_dir());
    node.sql("postgres", &format!("CREATE DATABASE {DB}"));
    node.sql(DB, "CREATE EXTENSION citus");
    node.set("citus.local_hostname", &host(&node));
    node
}

/// A coordinator and two workers. They reach each other by their sockets.
pub struct Nodes(pub [Cluster; 3]);

impl Nodes {
    /// Three nodes with the extension, and nothing distributed.
    pub fn start() -> Nodes {
        Nodes::with(&[])
    }

    /// The same with further settings.
    pub fn with(conf: &[(String, String)]) -> Nodes {
        let nodes = Nodes([(); 3].map(|()| node(conf)));
        nodes.sql(&format!("SELECT citus_set_coordinator_host('{}', 5432)", host(nodes.first())));
        nodes.0[1..].iter().for_each(|worker| nodes.add(worker));
        nodes.sql("CREATE EXTENSION asn_inventory");
        nodes
    }

    /// Makes a node part of the cluster.
    pub fn add(&self, node: &Cluster) {
        self.sql(&format!("SELECT citus_add_node('{}', 5432)", host(node)));
    }

    /// The coordinator.
    pub fn first(&self) -> &Cluster {
        &self.0[0]
    }

    /// On the coordinator.
    pub fn sql(&self, sql: &str) {
        self.first().sql(DB, sql);
    }

    /// Waits until the inventories of all nodes together have counted so much, and nothing is queued.
    pub fn counted(&self, wanted: i64) {
        for node in &self.0 {
            node.wait_value(DB, "SELECT count(*) FROM ip_observation", "0");
        }
        let sum = "SELECT coalesce(sum(observation_count), 0) FROM ip_inventory";
        let counted: i64 = self.0.iter().map(|node| node.value(DB, sum).parse::<i64>().expect("a number")).sum();
        assert_eq!(counted, wanted);
    }
}

/// A distributed table of events, attached in a transaction of its own: before, the other nodes do not see the table.
pub fn distributed(nodes: &Nodes, table: &str) {
    nodes.sql(&format!("CREATE TABLE {table} (src inet); SELECT create_distributed_table('{table}', 'src')"));
    nodes.sql(&format!("SELECT attach_ip_source('{table}', '{{src}}')"));
}
