//! Who saw an address, and when, where the nodes of a Citus cluster share one inventory.

use crate::citus_support::{DB, Nodes, distributed};
use asn_inventory_tests::needs;
use asn_inventory_tests::prelude::*;

/// Every place with what it saw.
const SENSORS: &str = "SELECT concat_ws(' ', tbl, nullif(sensor, ''), addresses, observations) FROM ip_sensors WHERE addresses > 0 ORDER BY 1";
/// Sums of what is kept of who saw an address, and of the days.
const SUMS: &str = "SELECT (SELECT coalesce(sum(observation_count), 0) FROM ip_inventory) || ' '
    || (SELECT coalesce(sum(observations), 0) FROM ip_sightings) || ' '
    || (SELECT coalesce(sum(observations), 0) FROM activity_by_day WHERE kind = 'all') || ' '
    || (SELECT coalesce(sum(addresses), 0) FROM activity_by_day WHERE kind = 'all')";

fn nodes() -> Nodes {
    let nodes = Nodes::start();
    nodes.sql("CREATE TABLE e (src inet, sensor text); SELECT create_distributed_table('e', 'sensor')");
    nodes.sql("SELECT attach_ip_source('e', '{src}', sensor => 'sensor')");
    nodes
}

/// Each of 100 addresses is seen by each of three sensors, whose rows lie on both workers.
fn insert(node: &Cluster) {
    node.sql(
        DB,
        "INSERT INTO e SELECT '34.64.0.0'::inet + g, 'trap-' || s FROM generate_series(1, 100) g, generate_series(1, 3) s",
    );
}

fn each_sees(nodes: &Nodes, query: &str, wanted: &[&str]) {
    for node in &nodes.0 {
        wait_for("the same answer from every node", || node.lines(DB, query), |found| found == wanted);
    }
}

#[test]
fn who_saw_an_address_is_kept_once_for_all_nodes() {
    if !needs::has("citus", "who_saw_an_address_is_kept_once_for_all_nodes") {
        return;
    }
    let nodes = nodes();
    nodes.sql("CREATE TABLE mine (src inet); SELECT attach_ip_source('mine', '{src}')");
    // What a node has of its own comes along, under the cluster's number, whatever number it has there.
    nodes.0[2].sql(DB, "CREATE TABLE theirs (src inet)");
    nodes.0[2].sql(DB, "SELECT attach_ip_source('theirs', '{src}'); INSERT INTO theirs VALUES ('34.64.0.1')");
    nodes.counted(1);
    insert(nodes.first());
    nodes.sql("INSERT INTO mine SELECT '34.64.0.0'::inet + g FROM generate_series(1, 10) g");
    nodes.counted(311);
    nodes.sql("SELECT asn_inventory_distribute()");
    let seen = [
        "public.e trap-1 100 100",
        "public.e trap-2 100 100",
        "public.e trap-3 100 100",
        "public.mine 10 10",
        "public.theirs (node 2) 1 1",
    ];
    each_sees(&nodes, SENSORS, &seen);
    each_sees(&nodes, SUMS, &["311 311 311 100"]);
    // All nodes go on with the same places, each as the first of them that is seen there.
    for node in &nodes.0 {
        insert(node);
        node.sql(DB, "INSERT INTO e VALUES ('34.64.0.1', 'trap-4')");
    }
    nodes.sql("INSERT INTO mine VALUES ('34.64.0.1')");
    nodes.0[2].sql(DB, "INSERT INTO theirs VALUES ('34.64.0.1')");
    each_sees(&nodes, SUMS, &["1216 1216 1216 100"]);
    let seen = [
        "public.e trap-1 100 400",
        "public.e trap-2 100 400",
        "public.e trap-3 100 400",
        "public.e trap-4 1 3",
        "public.mine 10 11",
        "public.theirs (node 2) 1 2",
    ];
    each_sees(&nodes, SENSORS, &seen);
    let several =
        "SELECT count(*) FROM (SELECT ip_address FROM ip_sightings GROUP BY 1 HAVING count(DISTINCT sensor) > 2) s";
    each_sees(&nodes, several, &["100"]);
    let story = "SELECT count(*) FROM ip_story('34.64.0.1') WHERE event = 'seen by'";
    each_sees(&nodes, story, &["6"]);
    each_sees(&nodes, "SELECT observations FROM countries_by_day", &["1216"]);
    for node in &nodes.0 {
        let bad = "SELECT check_name || ': ' || detail FROM enrichment_doctor() WHERE level = 'error'";
        assert_eq!(node.lines(DB, bad), [""; 0]);
        for whole in [
            "inventory_report()",
            "new_networks",
            "asn_changes",
            "known_scanners",
            "networks_by_day",
            "activity_by_hour",
        ] {
            node.sql(DB, &format!("SELECT * FROM {whole}"));
        }
    }
    // Detached and attached again, it is another place.
    nodes.sql("SELECT detach_ip_source('mine')");
    nodes.sql("SELECT attach_ip_source('mine', '{src}')");
    nodes.sql("INSERT INTO mine VALUES ('34.64.0.1')");
    each_sees(&nodes, SENSORS, &[&seen[..4], &["public.mine 1 1"], &seen[4..]].concat());
    // Back on one node, the places are those of its tables again.
    nodes.sql("SELECT asn_inventory_undistribute()");
    let sums = ["1217 1217 1217 100"];
    wait_for("all on one node", || nodes.first().lines(DB, SUMS), |found| *found == sums);
    nodes.sql("INSERT INTO mine VALUES ('34.64.0.1')");
    let mine = "SELECT tbl::text || ' ' || attached FROM ip_sighting_source WHERE name = 'public.mine' AND attached";
    nodes.first().wait_value(DB, "SELECT sum(observations) FROM ip_sensors WHERE tbl = 'mine'", "2");
    assert_eq!(nodes.first().lines(DB, mine), ["mine true"]);
    nodes.sql("SELECT asn_inventory_distribute()");
    each_sees(&nodes, SUMS, &["1218 1218 1218 100"]);
}

#[test]
fn what_fails_later_takes_back_what_was_written_on_a_single_shard() {
    if !needs::has("citus", "what_fails_later_takes_back_what_was_written_on_a_single_shard") {
        return;
    }
    let nodes = nodes();
    nodes.sql("SELECT asn_inventory_distribute()");
    insert(nodes.first());
    each_sees(&nodes, SUMS, &["300 300 300 100"]);
    // An hour is taken from its shard, and its counts cannot be written.
    let mut holder = nodes.first().connect(DB);
    holder.batch_execute("BEGIN; LOCK TABLE ip_activity_count IN SHARE MODE").expect("a lock");
    insert(nodes.first());
    let waits = "SELECT count(*) FROM pg_locks WHERE relation = 'ip_activity_count'::regclass AND NOT granted";
    nodes.first().wait_value(DB, waits, "1");
    nodes.first().wait_value(DB, waits, "0");
    holder.batch_execute("COMMIT").expect("an end");
    each_sees(&nodes, SUMS, &["600 600 600 100"]);
}

#[test]
fn at_its_limit_a_cluster_counts_on_what_it_knows() {
    if !needs::has("citus", "at_its_limit_a_cluster_counts_on_what_it_knows") {
        return;
    }
    let nodes = Nodes::with(&[("asn_inventory.sightings_max_size".into(), "1MB".into())]);
    distributed(&nodes, "e");
    // The coordinator has no shards to see the size by.
    nodes.sql("CREATE TABLE mine (src inet); SELECT attach_ip_source('mine', '{src}')");
    nodes.sql("SELECT asn_inventory_distribute()");
    let insert = |table: &str| {
        nodes.sql(&format!("INSERT INTO {table} SELECT '34.64.0.0'::inet + g FROM generate_series(1, 60000) g"));
        let queue = "SELECT count(*) FROM ip_observation";
        nodes.0.iter().for_each(|node| node.wait_value(DB, queue, "0"));
    };
    insert("e");
    let known: i64 = nodes.first().value(DB, "SELECT count(*) FROM ip_sighting").parse().expect("a number");
    assert!((1_000..60_000).contains(&known), "{known} addresses");
    insert("e");
    insert("mine");
    let of = |table: &str| {
        let of = format!("SELECT addresses, observations, left_out FROM ip_sensors WHERE tbl = 'public.{table}'");
        nodes.0[1].lines(DB, &of)
    };
    assert_eq!(of("e"), [format!("{known}|{}|{}", 2 * known, 2 * (60_000 - known))]);
    assert_eq!(of("mine"), ["0|0|60000"]);
    assert_eq!(nodes.0[2].value(DB, "SELECT sum(observation_count) FROM ip_inventory"), "180000");
    let said = "SELECT level FROM enrichment_doctor() WHERE check_name = 'sightings'";
    assert_eq!(nodes.first().lines(DB, said), ["warning"]);
}

#[test]
fn a_dump_of_a_cluster_goes_on_counting_on_one_server() {
    if !needs::has("citus", "a_dump_of_a_cluster_goes_on_counting_on_one_server") {
        return;
    }
    let nodes = nodes();
    nodes.sql("CREATE TABLE mine (src inet); SELECT attach_ip_source('mine', '{src}')");
    nodes.sql("SELECT asn_inventory_distribute()");
    insert(nodes.first());
    nodes.sql("INSERT INTO mine VALUES ('34.64.0.1')");
    each_sees(&nodes, SUMS, &["301 301 301 100"]);
    let file = nodes.first().maxmind_dir().join("cluster.dump");
    let tool = |of: &Cluster, name: &str, args: &[&str]| {
        let output = of.tool(name).args(["-d", DB]).args(args).arg(&file).output().expect("it runs");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    };
    tool(nodes.first(), "pg_dump", &["-e", "asn_inventory", "-F", "c", "-f"]);
    // A server of its own, without Citus.
    let single = Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").start();
    single.sql("postgres", &format!("CREATE DATABASE {DB}"));
    tool(&single, "pg_restore", &["--exit-on-error"]);
    let seen = ["public.e trap-1 100 100", "public.e trap-2 100 100", "public.e trap-3 100 100", "public.mine 1 1"];
    assert_eq!(single.lines(DB, SENSORS), seen);
    insert(&single);
    wait_for("old and new rows together", || single.lines(DB, SUMS), |found| found == &["601 601 601 100"]);
    // Its tables are found by their names.
    let seen = ["e trap-1 100 200", "e trap-2 100 200", "e trap-3 100 200", "mine 1 1"];
    assert_eq!(single.lines(DB, SENSORS), seen);
}
