//! Rows that a session holds on another node of a Citus cluster: the processes of the extension wait for them no longer than
//! for rows of their own node.

use crate::citus_support::{DB, Nodes};
use asn_inventory_tests::needs;

/// One inventory, and a table of events that lies on the coordinator alone, which has no shards.
fn nodes(conf: &[(String, String)]) -> Nodes {
    let nodes = Nodes::with(conf);
    nodes.sql("SELECT asn_inventory_distribute()");
    nodes.sql("CREATE TABLE mine (src inet); SELECT attach_ip_source('mine', '{src}')");
    nodes
}

#[test]
fn a_row_that_a_session_holds_on_another_node_holds_up_neither_questions_nor_jobs() {
    if !needs::has("citus", "a_row_that_a_session_holds_on_another_node_holds_up_neither_questions_nor_jobs") {
        return;
    }
    let nodes = nodes(&[]);
    let first = nodes.first();
    nodes.sql("INSERT INTO ip_inventory (ip_address) SELECT '34.64.0.0'::inet + g FROM generate_series(1, 20) g");
    let mut holder = first.connect(DB);
    holder.batch_execute("BEGIN; UPDATE ip_inventory SET city = 'Held' WHERE ip_address = '34.64.0.7'").expect("held");
    let seen = |ip: &str| {
        first.sql(DB, &format!("INSERT INTO mine VALUES ('{ip}')"));
        first.wait_value(DB, &format!("SELECT observation_count FROM ip_inventory WHERE ip_address = '{ip}'"), "1");
    };
    // The worker itself writes what a session asks for.
    first.sql(DB, "SELECT enrich_ip('34.64.0.7', '2s')");
    seen("8.8.8.8");
    let job = "SET statement_timeout = '60s'; SELECT errors FROM backfill_inventory(ips => '{34.64.0.7, 34.64.0.8}')";
    assert_eq!(first.value(DB, job), "1");
    let state = "SELECT maxmind_status FROM ip_inventory WHERE ip_address = ";
    assert_eq!(first.value(DB, &format!("{state} '34.64.0.8'")), "found");
    seen("8.8.4.4");
    holder.batch_execute("COMMIT").expect("released");
    assert_eq!(first.value(DB, job), "0");
    assert_eq!(first.value(DB, &format!("{state} '34.64.0.7'")), "found");
    assert_eq!(first.lines(DB, "SELECT work, last_error FROM worker_errors()"), [""; 0]);
}

#[test]
fn a_deadlock_of_several_nodes_is_a_lock_and_no_failure() {
    if !needs::has("citus", "a_deadlock_of_several_nodes_is_a_lock_and_no_failure") {
        return;
    }
    let nodes = nodes(&[("citus.log_distributed_deadlock_detection".into(), "on".into())]);
    let first = nodes.first();
    let events = |count: u32| {
        nodes.sql(&format!("INSERT INTO mine SELECT '34.64.0.0'::inet + g FROM generate_series(1, {count}) g"));
    };
    let all = "SELECT count(*) || '/' || sum(observation_count) FROM ip_inventory";
    events(300);
    first.wait_value(DB, all, "300/300");
    let mut holder = first.connect(DB);
    holder.batch_execute("BEGIN; UPDATE ip_inventory SET city = 'Held' WHERE ip_address = '34.64.0.7'").expect("held");
    events(310);
    first.wait_value(DB, "SELECT count(*) > 0 FROM citus_lock_waits", "t");
    // The worker has written some of these, and waits for that one. Of the two, its transaction is the younger one. Until it ends,
    // an UPDATE of several shards keeps everybody else's of several out, whatever rows they are of.
    let others = "UPDATE ip_inventory SET city = 'Held' WHERE ip_address <= '34.64.0.12' AND ip_address <> '34.64.0.7'";
    holder.batch_execute(others).expect("held");
    assert!(first.log().contains("Cancelling the following backend to resolve distributed deadlock"));
    // It goes on with other rows, one by one.
    first.wait_value(DB, "SELECT count(*) > 0 FROM ip_inventory WHERE observation_count = 2", "t");
    assert!(!first.log().contains("could not be absorbed"), "it is no failure");
    assert_eq!(first.lines(DB, "SELECT work, last_error FROM worker_errors()"), [""; 0]);
    holder.batch_execute("COMMIT").expect("released");
    first.wait_value(DB, all, "310/610");
}

#[test]
fn rows_that_wait_to_be_merged_are_left_alone_once_the_inventory_is_distributed() {
    if !needs::has("citus", "rows_that_wait_to_be_merged_are_left_alone_once_the_inventory_is_distributed") {
        return;
    }
    let nodes = Nodes::with(&[("asn_inventory.fold_ipv4_mapped".into(), "off".into())]);
    let first = nodes.first();
    nodes.sql("CREATE TABLE mine (src inet); SELECT attach_ip_source('mine', '{src}')");
    nodes.sql(
        "INSERT INTO ip_inventory (ip_address) SELECT '::ffff:34.64.0.0'::inet + g FROM generate_series(1, 100) g",
    );
    let mut session = first.connect(DB);
    session.batch_execute("BEGIN; SELECT asn_inventory_distribute()").expect("distributed");
    first.set("asn_inventory.fold_ipv4_mapped", "on");
    // Its first statement waits for that transaction, and goes on with a table that is another one.
    let waits =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%merging IPv4-mapped%' AND wait_event_type = 'Lock'";
    first.wait_value("postgres", waits, "1");
    session.batch_execute("COMMIT").expect("committed");
    // Its next round comes after that one.
    nodes.sql("INSERT INTO mine VALUES ('34.65.0.1')");
    first.wait_value(DB, "SELECT count(*) FROM ip_inventory WHERE ip_address = '34.65.0.1'", "1");
    assert!(!first.log().contains("could not be merged: cannot"), "{}", first.log_tail());
}
