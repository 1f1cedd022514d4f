//! The state of all nodes of a Citus cluster, asked on any of them. A plain server is the only node.

use crate::citus_support::{DB, Nodes, distributed};
use asn_inventory_tests::needs;
use asn_inventory_tests::prelude::*;

#[test]
fn a_plain_server_answers_for_itself() {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").start();
    fixtures::small(&cluster.maxmind_dir());
    let db = "postgres";
    cluster.sql(db, "CREATE EXTENSION asn_inventory; CREATE SCHEMA \"My\"; CREATE TABLE \"My\".e (src inet)");
    cluster
        .sql(db, "SELECT attach_ip_source('\"My\".e', '{src}'); INSERT INTO \"My\".e VALUES ('8.8.8.8'), ('9.9.9.9')");
    cluster.wait_value(
        db,
        "SELECT observations FROM cluster_ip_source WHERE name = '\"My\".e' AND nodes_missing = 0",
        "2",
    );
    let state =
        "SELECT node, is_coordinator, is_here, enabled, worker, observations, failure IS NULL FROM cluster_status";
    assert_eq!(cluster.lines(db, state), ["local|t|t|t|running|2|t"]);
    let same = "SELECT (c.absorbed, c.queued, c.queue_age) IS NOT DISTINCT FROM (s.absorbed, s.queued, s.queue_age)
                    AND c.mmdb_ages = s.mmdb_ages AND c.oldest_build = s.oldest_build
                FROM cluster_status c, enrichment_status s";
    assert_eq!(cluster.lines(db, same), ["t"]);
    assert_eq!(
        cluster.lines(db, "SELECT node, source, state, failure IS NULL FROM cluster_source_status ORDER BY source"),
        cluster.lines(db, "SELECT 'local', source, state, true FROM source_status ORDER BY source")
    );
    assert_eq!(cluster.value(db, "SELECT count(*) FROM cluster_progress"), "0");
    assert_eq!(cluster.value(db, "SELECT processed FROM backfill_inventory(ips => '{1.1.1.1}')"), "1");
    let runs = "SELECT node, processed, outcome, parameters ->> 'workers' FROM cluster_run WHERE kind = 'backfill'";
    assert_eq!(cluster.lines(db, runs), ["local|1|done|4"]);
    let refused = cluster.fails(db, "SELECT * FROM _every_node('passwords')");
    assert_eq!((refused.code.as_str(), refused.message.as_str()), ("22023", "nodes cannot be asked for \"passwords\""));
}

#[test]
fn each_node_answers_for_all_and_says_which_one_does_not() {
    if !needs::has("citus", "each_node_answers_for_all_and_says_which_one_does_not") {
        return;
    }
    let nodes = Nodes::start();
    nodes.sql("SELECT asn_inventory_distribute()");
    distributed(&nodes, "e");
    nodes.sql("CREATE TABLE mine (src inet); SELECT attach_ip_source('mine', '{src}')");
    nodes.sql("INSERT INTO e SELECT '34.64.0.0'::inet + g FROM generate_series(1, 300) g");
    nodes.sql("INSERT INTO ip_inventory (ip_address) SELECT '8.8.0.0'::inet + g FROM generate_series(1, 200) g");
    assert_eq!(nodes.first().value(DB, "SELECT errors FROM backfill_inventory()"), "0");
    for (at, node) in nodes.0.iter().enumerate() {
        node.wait_value(DB, "SELECT observations FROM cluster_ip_source WHERE name = 'public.e'", "300");
        let state = "SELECT is_coordinator, is_here, worker, failure IS NULL FROM cluster_status";
        let row =
            |n: usize| format!("{}|{}|running|t", if n == 0 { 't' } else { 'f' }, if n == at { 't' } else { 'f' });
        let mut wanted: Vec<String> = (0..3).map(row).collect();
        let mut found = node.lines(DB, state);
        assert_eq!(found[0], wanted[0], "the coordinator comes first");
        wanted.sort();
        found.sort();
        assert_eq!(found, wanted);
        let runs = "SELECT count(DISTINCT node) || '/' || sum(processed) FROM cluster_run WHERE kind = 'backfill'";
        assert_eq!(node.value(DB, runs), "3/200");
        assert_eq!(node.value(DB, "SELECT count(*) FROM cluster_source_status"), "9");
        // One node asks; that the others do not is neither off there nor without a worker, and they have no quota.
        let asks = "SELECT count(*), count(quota), count(quota_left) FROM source_status WHERE state = 'elsewhere'";
        let wanted = if at == 0 { "0|0|0" } else { "2|0|0" };
        wait_for("who asks", || node.lines(DB, asks), |found| *found == [wanted]);
        let quotas = "SELECT count(quota) FROM cluster_source_status";
        node.wait_value(DB, quotas, "1");
    }
    // One does not answer: the others do, and their queues are seen to wait.
    let gone = nodes.0[2].socket_dir().to_string_lossy().into_owned();
    nodes.0[2].stop_fast();
    nodes.sql("INSERT INTO mine SELECT '34.65.0.0'::inet + g FROM generate_series(1, 500) g");
    let waits =
        "SELECT count(*) FROM cluster_status WHERE is_coordinator AND queued = 500 AND queue_age > interval '1 s'
                     AND last_error IS NOT NULL";
    nodes.0[1].wait_value(DB, waits, "1");
    let missing = format!("SELECT node = '{gone}:5432', worker IS NULL FROM cluster_status WHERE failure IS NOT NULL");
    assert_eq!(nodes.0[1].lines(DB, &missing), ["t|t"]);
    for (view, wanted) in [("cluster_source_status", "1"), ("cluster_run", "1"), ("cluster_progress", "1")] {
        let sql = format!("SELECT count(*) FROM {view} WHERE failure IS NOT NULL");
        assert_eq!(nodes.first().value(DB, &sql), wanted, "{view}");
    }
    let partial = "SELECT observations < 300, nodes_missing FROM cluster_ip_source WHERE name = 'public.e'";
    assert_eq!(nodes.first().lines(DB, partial), ["t|1"]);
    nodes.0[2].start();
    nodes.first().wait_value(DB, "SELECT sum(queued) FROM cluster_status", "0");
    assert_eq!(nodes.first().value(DB, "SELECT count(*) FROM ip_inventory"), "1000");
}
