//! Tables of each kind that Citus keeps, through what an operator does with them: counted, forgotten and counted again, looked at
//! by the doctor of every node, and the extension dropped.

use crate::citus_support::{DB, Nodes, distributed, node};
use crate::roles;
use asn_inventory_tests::cluster::query;
use asn_inventory_tests::needs;
use asn_inventory_tests::prelude::*;
use asn_inventory_tests::queries;

/// What docs/roles.md has a session on a worker begin with.
const HERE: &str = "SET citus.enable_ddl_propagation = off; SET citus.enable_create_role_propagation = off;";

/// A reference table and one that Citus knows on the coordinator alone, both attached.
fn whole_tables(nodes: &Nodes) {
    nodes.sql("CREATE TABLE r (src inet); SELECT create_reference_table('r')");
    nodes.sql("CREATE TABLE l (src inet); SELECT citus_add_local_table_to_metadata('l')");
    nodes.sql("SELECT attach_ip_source('r', '{src}')");
    nodes.sql("SELECT attach_ip_source('l', '{src}')");
}

/// What a node's doctor says of triggers and indexes: the findings and their remedies.
fn said(node: &Cluster) -> Vec<String> {
    let text = "SELECT detail || ' => ' || coalesce(remedy, '') FROM enrichment_doctor()
                WHERE check_name IN ('triggers', 'observer indexes', 'unobserved') AND level <> 'ok' ORDER BY 1";
    node.lines(DB, text)
}

#[test]
fn rows_of_reference_and_local_tables_are_counted_again_after_they_were_forgotten() {
    if !needs::has("citus", "rows_of_reference_and_local_tables_are_counted_again_after_they_were_forgotten") {
        return;
    }
    let nodes = Nodes::start();
    whole_tables(&nodes);
    for (table, network) in [("r", "34.64.0.0"), ("l", "34.65.0.0")] {
        nodes.sql(&format!("INSERT INTO {table} SELECT '{network}'::inet + g FROM generate_series(1, 30) g"));
    }
    nodes.counted(60);
    for table in ["r", "l"] {
        assert_eq!(nodes.first().value(DB, &format!("SELECT forget_ip_source('{table}')")), "30", "{table}");
        nodes.sql(&format!("SELECT attach_ip_source('{table}', '{{src}}')"));
        let populate = format!("SELECT populate_ip_inventory('{table}')");
        assert_eq!(nodes.first().value(DB, &populate), "30", "{table}");
        assert_eq!(nodes.first().value(DB, &populate), "0", "{table} again");
    }
    nodes.counted(60);
    nodes.sql("INSERT INTO r VALUES ('34.66.0.1'); INSERT INTO l VALUES ('34.66.0.1')");
    nodes.counted(62);
}

#[test]
fn an_inventory_that_is_distributed_is_not_dropped_and_leaves_nothing_once_it_is_not() {
    if !needs::has("citus", "an_inventory_that_is_distributed_is_not_dropped_and_leaves_nothing_once_it_is_not") {
        return;
    }
    let nodes = Nodes::start();
    distributed(&nodes, "e");
    whole_tables(&nodes);
    nodes.sql("SELECT asn_inventory_distribute()");
    nodes.sql("INSERT INTO e SELECT '34.64.0.0'::inet + g FROM generate_series(1, 100) g");
    nodes.first().wait_value(DB, "SELECT count(*) FROM ip_inventory", "100");
    for drop in ["DROP EXTENSION asn_inventory CASCADE", "DROP EXTENSION IF EXISTS asn_inventory"] {
        let refused = nodes.first().fails(DB, drop);
        let message = "cannot drop asn_inventory: its inventory is distributed";
        assert_eq!((refused.code.as_str(), refused.message.as_str()), ("55000", message));
        assert!(refused.hint.contains("public.asn_inventory_undistribute()"), "{refused:?}");
    }
    // Another extension goes as ever.
    nodes.sql("DROP EXTENSION IF EXISTS pg_trgm");
    for table in ["e", "r", "l"] {
        nodes.sql(&format!("SELECT detach_ip_source('{table}')"));
    }
    nodes.sql("SELECT asn_inventory_undistribute()");
    nodes.sql("DROP EXTENSION asn_inventory");
    let left = "SET citus.override_table_visibility = off;
                SELECT count(*) FROM pg_class WHERE relname ~ '^(ip_inventory|ip_sighting|ip_activity|ip_asn_history|asn_inventory)'";
    for node in &nodes.0 {
        assert_eq!(node.value(DB, left), "0");
    }
}

#[test]
fn a_workers_doctor_names_what_it_lacks_and_its_remedies_run_on_the_coordinator() {
    if !needs::has("citus", "a_workers_doctor_names_what_it_lacks_and_its_remedies_run_on_the_coordinator") {
        return;
    }
    let nodes = Nodes::start();
    distributed(&nodes, "e");
    whole_tables(&nodes);
    nodes.sql("CREATE TABLE f (src inet); CREATE INDEX ON f USING ip_observer (src)");
    nodes.sql("SELECT create_distributed_table('f', 'src')");
    assert_eq!(said(nodes.first()), [""; 0]);
    let worker = &nodes.0[1];
    // As on a node that was added after the table was attached.
    worker.sql(DB, "DELETE FROM ip_source WHERE attached_as = 'public.e'");
    let found = said(worker);
    assert_eq!(found.len(), 2, "{found:#?}");
    for (finding, table) in found.iter().zip(["public.e", "public.f"]) {
        let (detail, remedy) = finding.split_once(" => ").expect("a remedy");
        assert!(detail.contains(table) && detail.contains("not noted on this node"), "{detail}");
        let (command, place) = remedy.split_once(";  -- ").expect("a place");
        assert!(place.starts_with("on the coordinator"), "{remedy}");
        nodes.sql(command);
    }
    assert_eq!(said(worker), [""; 0]);
    // Rows of a distributed table cannot be counted afterwards; the remedy is none that is refused.
    worker.sql(DB, "UPDATE ip_source SET unobserved = 3 WHERE attached_as = 'public.e'");
    let found = said(worker);
    assert_eq!(found.len(), 1, "{found:#?}");
    let (detail, remedy) = found[0].split_once(" => ").expect("a remedy");
    assert!(detail.contains("3 statements inserted rows into shards here of public.e"), "{detail}");
    worker.sql(DB, remedy);
    assert_eq!(said(worker), [""; 0]);
}

#[test]
fn the_doctor_of_a_node_that_was_just_added_can_look_at_everything() {
    if !needs::has("citus", "the_doctor_of_a_node_that_was_just_added_can_look_at_everything") {
        return;
    }
    let nodes = Nodes::start();
    nodes.sql("SELECT asn_inventory_distribute()");
    let another = node(&[]);
    nodes.add(&another);
    another.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    let closed = "SELECT check_name || ': ' || detail FROM enrichment_doctor() WHERE detail LIKE 'Could not look%'";
    assert_eq!(another.lines(DB, closed), [""; 0]);
}

#[test]
fn the_page_of_roles_runs_on_the_nodes_of_a_distributed_inventory() {
    if !needs::has("citus", "the_page_of_roles_runs_on_the_nodes_of_a_distributed_inventory") {
        return;
    }
    assert!(include_str!("../../docs/roles.md").contains(HERE));
    let nodes = Nodes::start();
    nodes.sql("CREATE TABLE events (src inet); SELECT create_distributed_table('events', 'src')");
    nodes.sql("SELECT asn_inventory_distribute()");
    for block in roles::blocks() {
        nodes.sql(&block);
        let grants: String = block.split_inclusive('\n').filter(|line| !line.starts_with("CREATE ROLE")).collect();
        for worker in &nodes.0[1..] {
            worker.sql(DB, &format!("{HERE} {grants}"));
        }
    }
    nodes.sql("CREATE ROLE otto LOGIN IN ROLE soc_operator");
    nodes.sql("INSERT INTO ip_inventory (ip_address) SELECT '8.8.0.0'::inet + g FROM generate_series(1, 200) g");
    // A backfill of everything has each node do its part, as the caller.
    let mut otto = nodes.first().connect_as("otto", DB);
    let done = query(&mut otto, "SELECT processed || '/' || errors FROM backfill_inventory()").expect("a backfill");
    assert_eq!(done[0][0].as_deref(), Some("200/0"));
    let grants = "SELECT detail FROM enrichment_doctor() WHERE check_name = 'grants' AND level <> 'ok'";
    for node in &nodes.0 {
        assert_eq!(node.lines(DB, grants), [""; 0]);
    }
}

#[test]
fn a_question_about_one_table_of_several_runs_on_every_node() {
    if !needs::has("citus", "a_question_about_one_table_of_several_runs_on_every_node") {
        return;
    }
    let nodes = Nodes::start();
    nodes.sql("CREATE TABLE events (at timestamptz, src_ip inet, sensor text); SELECT create_distributed_table('events', 'src_ip')");
    nodes.sql("SELECT attach_ip_source('events', '{src_ip}', observed_at => 'at', sensor => 'sensor')");
    nodes.sql("SELECT asn_inventory_distribute()");
    nodes.sql("INSERT INTO events SELECT now(), '34.64.0.0'::inet + g, 's' FROM generate_series(1, 100) g");
    nodes.first().wait_value(DB, "SELECT count(*) FROM ip_inventory", "100");
    let of_one = queries::all().into_iter().find(|query| query.sql.contains("unpack_observations")).expect("the query");
    assert!(of_one.heading.starts_with("5."), "{of_one:?}");
    // As the page says of a distributed inventory.
    let sql = of_one.sql.replace("l.tbl = 'events'::regclass", "l.name = 'public.events'");
    assert_ne!(sql, of_one.sql);
    let sum = format!("SELECT coalesce(sum(attempts), 0) FROM ({sql}) q");
    let ranges = "SELECT count(*) FROM unnest('{34.64.0.0/28,192.0.2.0/24}'::cidr[]) n
                  JOIN ip_inventory i ON i.ip_address >= n AND i.ip_address <= ip_last(n)";
    for node in &nodes.0 {
        node.wait_value(DB, &sum, "100");
        assert_eq!(node.value(DB, ranges), "15");
    }
}

#[test]
fn a_job_that_fails_elsewhere_names_the_nodes_and_says_whether_others_did_it() {
    if !needs::has("citus", "a_job_that_fails_elsewhere_names_the_nodes_and_says_whether_others_did_it") {
        return;
    }
    let nodes = Nodes::with(&[("asn_inventory.greynoise".into(), "off".into())]);
    nodes.sql("SELECT asn_inventory_distribute()");
    let name = |node: &Cluster| format!("{}:5432", node.socket_dir().display());
    let failed = |message: &str| message.strip_prefix("the job failed on node ").map(str::to_owned);
    // What the coordinator alone does is done by nobody else.
    let refused = nodes.0[1].fails(DB, "SELECT * FROM refresh_stale('greynoise')");
    assert_eq!((refused.code.as_str(), failed(&refused.message)), ("38000", Some(name(nodes.first()))));
    assert_eq!(refused.detail, "GreyNoise is not asked");
    assert!(refused.hint.contains("the coordinator") && !refused.hint.contains("others"), "{refused:?}");
    nodes.0[2].stop_fast();
    let refused = nodes.first().fails(DB, "SELECT * FROM backfill_inventory()");
    assert_eq!((refused.code.as_str(), failed(&refused.message)), ("38000", Some(name(&nodes.0[2]))));
    assert!(refused.hint.starts_with("On the others the job is done"), "{refused:?}");
    nodes.0[2].start();
    let done = "SELECT errors FROM backfill_inventory()";
    assert_eq!(nodes.first().value(DB, done), "0");
}
