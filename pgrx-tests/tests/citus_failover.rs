//! Who asks the network sources of a Citus cluster: its coordinator, whichever server that is.

use crate::citus_support::{DB, Nodes, distributed};
use crate::network_support::*;
use asn_inventory_tests::needs;
use asn_inventory_tests::prelude::*;

/// Inserts one address in each /24 of a /16, each a question.
fn insert(node: &Cluster, second: u8) {
    node.sql(DB, &format!("INSERT INTO e SELECT '45.{second}.0.1'::inet + 256 * g FROM generate_series(1, 20) g"));
}

/// Waits until so many addresses are answered, and sees that each was asked about once.
fn answered_once(at: &Cluster, fakes: &Fakes, seconds: &[u8]) {
    let known = "SELECT count(*) || '/' || count(*) FILTER (WHERE cymru_status = 'found') FROM ip_inventory";
    let wanted = 20 * seconds.len();
    at.wait_value(DB, known, &format!("{wanted}/{wanted}"));
    for second in seconds {
        for g in 1..=20 {
            let ip = format!("45.{second}.{g}.1");
            assert_eq!(fakes.times(Service::Dns, &ip), 1, "{ip}");
        }
    }
}

#[test]
fn the_server_that_becomes_the_coordinator_asks() {
    if !needs::has("citus", "the_server_that_becomes_the_coordinator_asks") {
        return;
    }
    let fakes = Fakes::start(&asn_inventory_tests::cluster::private_dir());
    fakes.rule("45.0.0.0/8", 16, 64500, "DE");
    let mut conf: Vec<(String, String)> = fakes.settings();
    for (name, value) in [("greynoise", "off"), ("cymru", "on"), ("cymru_bulk_min", "1000")] {
        conf.push((format!("asn_inventory.{name}"), value.to_owned()));
    }
    let nodes = Nodes::with(&conf);
    nodes.sql("SELECT asn_inventory_distribute()");
    distributed(&nodes, "e");
    insert(&nodes.0[1], 1);
    answered_once(&nodes.0[2], &fakes, &[1]);
    // Without the coordinator, rows are counted and wait for their answers.
    let standby = nodes.first().standby();
    standby.wait_replay(nodes.first());
    nodes.first().stop_fast();
    insert(&nodes.0[1], 2);
    nodes.0[1].wait_value(DB, "SELECT count(*) FROM ip_inventory WHERE cymru_status = 'pending'", "20");
    // It comes back, and asks about them.
    nodes.first().start();
    answered_once(&nodes.0[1], &fakes, &[1, 2]);
    standby.wait_replay(nodes.first());
    // It does not come back: its standby takes its place.
    nodes.first().stop_fast();
    insert(&nodes.0[2], 3);
    standby.promote();
    standby.sql(
        DB,
        &format!(
            "SELECT citus_update_node(nodeid, '{}', 5432) FROM pg_dist_node WHERE groupid = 0",
            standby.socket_dir().to_string_lossy()
        ),
    );
    answered_once(&nodes.0[1], &fakes, &[1, 2, 3]);
    // And what is observed through it.
    insert(&standby, 4);
    answered_once(&standby, &fakes, &[1, 2, 3, 4]);
    nodes.0[1].wait_value(DB, "SELECT count(*) FROM cluster_status WHERE is_coordinator AND failure IS NULL", "1");
    assert_eq!(standby.value(DB, "SELECT sum(observation_count) FROM ip_inventory"), "80");
}

#[test]
fn what_a_source_could_not_say_is_noted_in_rows_of_all_shards() {
    if !needs::has("citus", "what_a_source_could_not_say_is_noted_in_rows_of_all_shards") {
        return;
    }
    let fakes = Fakes::start(&asn_inventory_tests::cluster::private_dir());
    fakes.rule("45.0.0.0/8", 16, 64500, "DE");
    // Neither way: by the other one, it would answer.
    fakes.fault(DnsFault::Drop);
    fakes.fault(WhoisFault::Refuse);
    let mut conf: Vec<(String, String)> = fakes.settings();
    for (name, value) in [("greynoise", "off"), ("cymru", "on"), ("cymru_bulk_min", "1000"), ("cymru_timeout", "200ms")]
    {
        conf.push((format!("asn_inventory.{name}"), value.to_owned()));
    }
    let nodes = Nodes::with(&conf);
    nodes.sql("SELECT asn_inventory_distribute()");
    distributed(&nodes, "e");
    // One alone, and some of several shards.
    nodes.first().sql(DB, "INSERT INTO e VALUES ('45.7.0.1')");
    let failed = "SELECT count(*) FROM ip_inventory WHERE cymru_status = 'failed' AND cymru_attempts > 0 AND cymru_retry_at > now() - interval '1 hour'";
    nodes.first().wait_value(DB, failed, "1");
    // No more than would have it paused.
    nodes.0[1].sql(DB, "INSERT INTO e VALUES ('45.8.1.1'), ('45.8.2.1'), ('45.8.3.1')");
    nodes.first().wait_value(DB, failed, "4");
    assert_eq!(nodes.first().lines(DB, "SELECT work, last_error FROM worker_errors()"), [""; 0]);
    fakes.clear_faults();
    nodes.sql("UPDATE ip_inventory SET cymru_retry_at = NULL");
    nodes.first().wait_value(DB, "SELECT count(*) FROM ip_inventory WHERE cymru_status = 'found'", "4");
}
