//! What the owner of a distributed table does with it later: undistributed, altered, distributed again. Its rows count once,
//! and its counts stay its own.

use crate::citus_support::{DB, Nodes, distributed, node};
use asn_inventory_tests::needs;
use std::sync::atomic::{AtomicBool, Ordering};

/// Citus refuses tables with triggers without it.
const SWITCH: &str = "SET citus.enable_unsafe_triggers = on";
const AGAIN: &str = "SELECT create_distributed_table('e', 'src')";

fn insert(nodes: &Nodes, table: &str, count: u32) {
    nodes.sql(&format!("INSERT INTO {table} SELECT '34.64.0.0'::inet + g FROM generate_series(1, {count}) g"));
}

/// Waits until the inventories have counted so much, and the table's own counts, of all nodes, say the same.
fn both_count(nodes: &Nodes, table: &str, wanted: i64) {
    nodes.counted(wanted);
    let of_table = format!("SELECT observations FROM cluster_ip_source WHERE name = 'public.{table}'");
    nodes.first().wait_value(DB, &of_table, &wanted.to_string());
}

/// With the coordinator's own shards too, if it is to have some.
fn distributed_again(shards_on_coordinator: bool) {
    let nodes = Nodes::start();
    if shards_on_coordinator {
        let host = nodes.first().socket_dir().to_string_lossy().into_owned();
        nodes.sql(&format!("SELECT citus_set_node_property('{host}', 5432, 'shouldhaveshards', true)"));
    }
    distributed(&nodes, "e");
    insert(&nodes, "e", 300);
    both_count(&nodes, "e", 300);
    nodes.sql("SELECT undistribute_table('e')");
    both_count(&nodes, "e", 300);
    insert(&nodes, "e", 10);
    both_count(&nodes, "e", 310);
    // Citus makes the shards with the table's trigger, and copies the rows into them.
    nodes.sql(&format!("{SWITCH}; {AGAIN}"));
    both_count(&nodes, "e", 310);
    insert(&nodes, "e", 20);
    both_count(&nodes, "e", 330);
    nodes.sql(&format!("{SWITCH}; SELECT alter_distributed_table('e', shard_count => 4)"));
    both_count(&nodes, "e", 330);
    insert(&nodes, "e", 30);
    both_count(&nodes, "e", 360);
    // Detached for the time, it can be distributed without Citus's switch. The nodes hear of it while it is distributed, and begin
    // with 0.
    nodes.sql("SELECT detach_ip_source('e')");
    nodes.sql("SELECT undistribute_table('e')");
    nodes.sql("SELECT create_distributed_table('e', 'src')");
    nodes.sql("SELECT attach_ip_source('e', '{src}')");
    nodes.counted(360);
    insert(&nodes, "e", 40);
    nodes.counted(400);
    nodes.first().wait_value(DB, "SELECT observations FROM cluster_ip_source WHERE name = 'public.e'", "40");
    // In one transaction it could not be told which rows are new.
    let refused = nodes.first().fails(
        DB,
        "BEGIN; CREATE TABLE once (src inet); SELECT create_distributed_table('once', 'src');
         SELECT attach_ip_source('once', '{src}'); COMMIT",
    );
    assert_eq!(
        (refused.code.as_str(), refused.message.as_str()),
        ("55000", "table \"once\" was distributed in this transaction")
    );
}

#[test]
fn a_table_that_is_distributed_again_is_not_counted_again() {
    if needs::has("citus", "a_table_that_is_distributed_again_is_not_counted_again") {
        distributed_again(false);
    }
}

#[test]
fn with_shards_on_the_coordinator_it_is_not_counted_again_either() {
    if needs::has("citus", "with_shards_on_the_coordinator_it_is_not_counted_again_either") {
        distributed_again(true);
    }
}

#[test]
fn a_reference_table_that_is_made_again_is_not_counted_again() {
    if !needs::has("citus", "a_reference_table_that_is_made_again_is_not_counted_again") {
        return;
    }
    let nodes = Nodes::start();
    nodes.sql("CREATE TABLE r (src inet); SELECT create_reference_table('r')");
    nodes.sql("SELECT attach_ip_source('r', '{src}')");
    insert(&nodes, "r", 60);
    both_count(&nodes, "r", 60);
    nodes.sql("SELECT undistribute_table('r')");
    nodes.sql(&format!("{SWITCH}; SELECT create_reference_table('r')"));
    both_count(&nodes, "r", 60);
    insert(&nodes, "r", 40);
    both_count(&nodes, "r", 100);
}

#[test]
fn partitions_observed_row_by_row_are_not_counted_again() {
    if !needs::has("citus", "partitions_observed_row_by_row_are_not_counted_again") {
        return;
    }
    let nodes = Nodes::start();
    nodes.sql(
        "CREATE TABLE e (src inet, at date) PARTITION BY RANGE (at);
         CREATE TABLE e1 PARTITION OF e FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
         SELECT create_distributed_table('e', 'src')",
    );
    nodes.sql("SELECT attach_ip_source('e', '{src}', method => 'row')");
    let rows = |table: &str, month: u32| {
        format!("INSERT INTO {table} SELECT '34.64.0.0'::inet + g, '2026-0{month}-05' FROM generate_series(1, 100) g")
    };
    nodes.sql(&rows("e", 1));
    nodes.counted(100);
    nodes.sql("SELECT undistribute_table('e')");
    nodes.sql(&format!("{SWITCH}; {AGAIN}"));
    nodes.counted(100);
    // A partition that is made and filled in one transaction is new.
    nodes.sql(&format!(
        "BEGIN; CREATE TABLE e2 PARTITION OF e FOR VALUES FROM ('2026-02-01') TO ('2026-03-01'); {}; {}; COMMIT",
        rows("e2", 2),
        rows("e", 2)
    ));
    nodes.counted(300);
}

#[test]
fn an_index_is_enough_on_shards_that_come_later() {
    if !needs::has("citus", "an_index_is_enough_on_shards_that_come_later") {
        return;
    }
    let nodes = Nodes::start();
    // Made by hand, and the table distributed afterwards: a table with an index can be.
    nodes.sql("CREATE TABLE f (id int, src inet); CREATE INDEX ON f USING ip_observer (src); INSERT INTO f VALUES (0, '34.65.0.1')");
    nodes.sql("SELECT create_distributed_table('f', 'id')");
    nodes.sql("INSERT INTO f SELECT g, '34.65.0.0'::inet + g FROM generate_series(1, 100) g");
    nodes.counted(101);
    // A node that was not there when it was attached.
    let another = node(&[]);
    nodes.add(&another);
    another.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    nodes.sql("ALTER TABLE f REPLICA IDENTITY FULL");
    nodes.sql("SELECT rebalance_table_shards('f', shard_transfer_mode => 'block_writes')");
    nodes.sql("INSERT INTO f SELECT g, '34.65.0.0'::inet + g FROM generate_series(101, 200) g");
    let there = "SELECT coalesce(sum(observation_count), 0) > 0 FROM ip_inventory";
    another.wait_value(DB, there, "t");
    another.wait_value(DB, "SELECT count(*) FROM ip_observation", "0");
    let counted: i64 = another.value(DB, "SELECT sum(observation_count) FROM ip_inventory").parse().expect("a number");
    nodes.counted(201 - counted);
}

/// A move that fails must end the writer as well.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn rows_that_citus_moves_beside_a_writer_count_once_by_row() {
    if !needs::has("citus", "rows_that_citus_moves_beside_a_writer_count_once_by_row") {
        return;
    }
    let nodes = Nodes::start();
    nodes.sql("CREATE TABLE e (id bigint PRIMARY KEY, src inet); SELECT create_distributed_table('e', 'id')");
    nodes.sql("SELECT attach_ip_source('e', '{src}', method => 'row')");
    let hosts: Vec<String> = nodes.0[1..].iter().map(|node| node.socket_dir().to_string_lossy().into_owned()).collect();
    let moved = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let done = Done(&moved);
        let writer = scope.spawn(|| {
            let mut rows = 0;
            while !moved.load(Ordering::Acquire) {
                nodes.sql(&format!(
                    "INSERT INTO e SELECT g, '34.64.0.0'::inet + g % 1000 FROM generate_series({}, {}) g",
                    rows + 1,
                    rows + 50
                ));
                rows += 50;
            }
            rows
        });
        for (from, to) in [(&hosts[0], &hosts[1]), (&hosts[1], &hosts[0])] {
            nodes.sql(&format!(
                "SELECT citus_move_shard_placement(min(shardid), '{from}', 5432, '{to}', 5432, 'force_logical')
                 FROM pg_dist_shard_placement WHERE nodename = '{from}' AND shardid IN (SELECT shardid FROM pg_dist_shard WHERE logicalrelid = 'e'::regclass)"
            ));
        }
        drop(done);
        writer.join().expect("a writer")
    });
    assert_eq!(nodes.first().value(DB, "SELECT count(*) FROM e"), written.to_string());
    nodes.counted(written);
}

#[test]
fn a_node_that_asks_no_more_has_no_work_on_due_rows_that_fails() {
    if !needs::has("citus", "a_node_that_asks_no_more_has_no_work_on_due_rows_that_fails") {
        return;
    }
    let nodes = Nodes::start();
    let node = &nodes.0[1];
    node.stop_worker(DB);
    // As version 0.1.0 left it, and it cannot be made due.
    node.sql(
        DB,
        "INSERT INTO ip_inventory (ip_address, observation_count, ip_class, maxmind_status, maxmind_ts, asn_number,
             asn_source, network, cymru_status, cymru_ts, greynoise_status)
         VALUES ('45.1.0.1', 1, 'public', 'not_found', now(), 1, 'cymru', '45.0.0.0/8', 'found', now() - interval '1 hour', 'skipped');
         INSERT INTO cymru_prefix VALUES
             ('45.0.0.0/8', '45.0.0.0/8', '{1}', 'US', 'arin', NULL, now() - interval '1 hour', now() + interval '1 day');
         ALTER TABLE ip_inventory ADD CONSTRAINT poisoned CHECK (cymru_status <> 'pending')",
    );
    node.set("asn_inventory.databases", "");
    let failing = "SELECT string_agg(work, ', ') FROM worker_errors()";
    node.wait_value(DB, failing, "making answers in doubt due again");
    node.set("asn_inventory.network_node", "coordinator");
    node.wait_value(DB, failing, "");
}
