//! A Citus cluster of three servers: events are observed where their shards are, and nothing that Citus does fails by us.

use crate::citus_support::{DB, Nodes, node};
use crate::roles;
use asn_inventory_tests::cluster::query;
use asn_inventory_tests::needs;

const PARTITIONED: &str = "CREATE TABLE e (at timestamptz, src inet) PARTITION BY RANGE (at);
     CREATE TABLE e1 PARTITION OF e FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')";
const NEXT: &str = "CREATE TABLE e2 PARTITION OF e FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')";

fn rows(table: &str, month: u32) -> String {
    format!("INSERT INTO {table} SELECT '2026-0{month}-05', '34.64.0.0'::inet + i % 50 FROM generate_series(1, 100) i")
}

#[test]
fn a_distributed_table_is_observed_on_its_nodes_and_gets_new_partitions() {
    if !needs::has("citus", "a_distributed_table_is_observed_on_its_nodes_and_gets_new_partitions") {
        return;
    }
    let nodes = Nodes::start();
    nodes.sql(PARTITIONED);
    nodes.sql("SELECT create_distributed_table('e', 'src')");
    // Citus's switch for triggers is not needed.
    nodes.sql("SELECT attach_ip_source('e', '{src}', 'at')");
    nodes.sql(NEXT);
    nodes.sql(&rows("e", 1));
    nodes.sql(&rows("e", 2));
    nodes.counted(200);
    // By the name of the new partition, rows pass by until the doctor's remedy is run.
    let doctor = "FROM enrichment_doctor() WHERE check_name = 'triggers' AND level <> 'ok'";
    assert!(nodes.first().value(DB, &format!("SELECT detail {doctor}")).contains("e2 by name"));
    let remedy = nodes.first().value(DB, &format!("SELECT remedy {doctor}"));
    nodes.sql(&remedy);
    assert_eq!(nodes.first().lines(DB, &format!("SELECT detail {doctor}")), [""; 0]);
    nodes.sql(&rows("e2", 2));
    nodes.counted(300);
    // Shards move, with their triggers.
    let hosts: Vec<String> = nodes.0[1..].iter().map(|node| node.socket_dir().to_string_lossy().into_owned()).collect();
    nodes.sql(&format!(
        "SELECT citus_move_shard_placement(min(shardid), '{0}', 5432, '{1}', 5432, 'block_writes')
         FROM pg_dist_shard_placement WHERE nodename = '{0}'
             AND shardid IN (SELECT shardid FROM pg_dist_shard WHERE logicalrelid = 'e'::regclass)",
        hosts[0], hosts[1]
    ));
    nodes.sql(&rows("e", 1));
    nodes.sql(&rows("e2", 2));
    nodes.counted(500);
    for call in ["populate_ip_inventory('e')", "forget_ip_source('e')"] {
        let refused = nodes.first().fails(DB, &format!("SELECT {call}"));
        assert_eq!((refused.code.as_str(), refused.message.contains("is distributed")), ("0A000", true), "{refused:?}");
    }
    // Each node says of the table, by its name, what was inserted there.
    let sources: i64 = (nodes.0.iter())
        .flat_map(|node| node.lines(DB, "SELECT observations FROM ip_source WHERE tbl = 'e'::regclass"))
        .map(|sum| sum.parse::<i64>().expect("a number"))
        .sum();
    assert_eq!(sources, 500);
    nodes.sql("SELECT detach_ip_source('e')");
    assert_eq!(nodes.0[1].value(DB, "SELECT count(*) FROM ip_source"), "0");
    let places = "SELECT tbl IS NULL, name FROM ip_sighting_source";
    for node in &nodes.0[1..] {
        assert_eq!(node.lines(DB, places), ["t|public.e"], "what it added there stays, and it is no place any more");
    }
    nodes.sql(&rows("e", 1));
    nodes.counted(500);
}

/// Each node makes this by itself.
const HERE: &str = "SET citus.enable_ddl_propagation = off; SET citus.enable_create_role_propagation = off";

/// A table that the role `otto` owns, in shards on both workers.
fn otto_has(nodes: &Nodes, table: &str) {
    nodes.sql(&format!("CREATE TABLE {table} (src inet); ALTER TABLE {table} OWNER TO otto"));
    nodes.sql(&format!("SELECT create_distributed_table('{table}', 'src')"));
}

#[test]
fn an_operators_own_table_is_counted_and_detached_on_every_node() {
    if !needs::has("citus", "an_operators_own_table_is_counted_and_detached_on_every_node") {
        return;
    }
    let nodes = Nodes::start();
    let sets = roles::blocks();
    for node in &nodes.0 {
        let (reader, operator) = (&sets[0], &sets[1]);
        node.sql(DB, &format!("{HERE}; {reader} {operator} CREATE ROLE otto LOGIN IN ROLE soc_operator"));
    }
    otto_has(&nodes, "e");
    let mut otto = nodes.first().connect_as("otto", DB);
    query(&mut otto, "SELECT attach_ip_source('e', '{src}')").expect("its own table");
    for node in &nodes.0 {
        node.sql(DB, "INSERT INTO e SELECT '34.64.0.0'::inet + g FROM generate_series(1, 100) g");
    }
    nodes.counted(300);
    let of_table = "SELECT observations FROM cluster_ip_source WHERE name = 'public.e' AND nodes = 3";
    nodes.first().wait_value(DB, of_table, "300");
    let note = "SELECT ip_columns, method, attached_by FROM ip_source WHERE attached_as = 'public.e'";
    for node in &nodes.0 {
        assert_eq!(node.lines(DB, note), ["{src}|trigger|otto"]);
    }
    query(&mut otto, "SELECT detach_ip_source('e')").expect("its own table");
    for node in &nodes.0 {
        assert_eq!(node.value(DB, "SELECT count(*) FROM ip_source"), "0");
    }
    // All that can be said of a table arrives.
    nodes.sql(r#"CREATE TABLE "Odd 'name" (src inet, doc jsonb); ALTER TABLE "Odd 'name" OWNER TO otto"#);
    nodes.sql(r#"SELECT create_distributed_table('"Odd ''name"', 'src')"#);
    let whole = r#"SELECT attach_ip_source('"Odd ''name"', '{src,doc->>ip}', 'doc->>at@Europe/Berlin', 'row', 'doc->>kind = login', 'doc->>sensor')"#;
    query(&mut otto, whole).expect("its own table");
    let note = "SELECT ip_columns, observed_at, observed_path, observed_zone, only_where, sensor, method, attached_as FROM ip_source";
    let first = nodes.first().lines(DB, note);
    assert_eq!(first.len(), 1);
    for node in &nodes.0[1..] {
        assert_eq!(node.lines(DB, note), first);
    }
    // On a worker it is for the table's owner, as attaching is.
    nodes.0[1].sql(DB, &format!("{HERE}; CREATE ROLE anna LOGIN IN ROLE soc_operator"));
    let call = "SELECT _note_source('public.e', '{src}', NULL, NULL, NULL, NULL, NULL, 'trigger')";
    let refused = query(&mut nodes.0[1].connect_as("anna", DB), call).expect_err("somebody else's table");
    assert_eq!((refused.code.as_str(), refused.message.as_str()), ("42501", "must be owner of table \"e\""));
}

#[test]
fn operators_of_a_workers_database_do_not_run_where_a_table_is_attached() {
    if !needs::has("citus", "operators_of_a_workers_database_do_not_run_where_a_table_is_attached") {
        return;
    }
    let nodes = Nodes::start();
    nodes.sql("CREATE TABLE e (src inet); SELECT create_distributed_table('e', 'src')");
    let traps: String = [("regclass", "regclass"), ("oid", "regclass"), ("name", "text"), ("name", "name")]
        .map(|(a, b)| {
            format!(
                "CREATE FUNCTION trap.lie({a}, {b}) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
                 CREATE OPERATOR trap.= (LEFTARG = {a}, RIGHTARG = {b}, FUNCTION = trap.lie);"
            )
        })
        .concat();
    for worker in &nodes.0[1..] {
        worker.sql(
            DB,
            &format!(
                "{HERE}; CREATE SCHEMA trap; {traps} ALTER DATABASE {DB} SET search_path = trap, pg_catalog, public"
            ),
        );
    }
    nodes.sql("SELECT attach_ip_source('e', '{src}')");
    for worker in &nodes.0[1..] {
        assert_eq!(worker.lines(DB, "SELECT attached_as FROM ip_source"), ["public.e"]);
    }
    nodes.sql("SELECT detach_ip_source('e')");
    for worker in &nodes.0[1..] {
        assert_eq!(worker.value(DB, "SELECT count(*) FROM ip_source"), "0");
    }
    nodes.first().wait_value(DB, "SELECT count(*) FROM cluster_status WHERE failure IS NULL", "3");
}

#[test]
fn a_node_that_cannot_be_told_of_a_table_is_named_with_what_to_do() {
    if !needs::has("citus", "a_node_that_cannot_be_told_of_a_table_is_named_with_what_to_do") {
        return;
    }
    let nodes = Nodes::start();
    for node in &nodes.0 {
        let granted = "GRANT EXECUTE ON FUNCTION attach_ip_source, detach_ip_source, observe_addresses TO otto";
        node.sql(DB, &format!("{HERE}; CREATE ROLE otto LOGIN; {granted}"));
    }
    let grant = format!("{HERE}; GRANT EXECUTE ON FUNCTION _note_source TO otto");
    nodes.0[1].sql(DB, &grant);
    otto_has(&nodes, "e");
    let said = |sql: &str| {
        let output = nodes.first().psql(DB, sql);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    };
    let noted = || {
        let count = "SELECT count(*) FROM ip_source WHERE attached_as = 'public.e'";
        [nodes.0[1].value(DB, count), nodes.0[2].value(DB, count)].concat()
    };
    let attach = "SET ROLE otto; SELECT attach_ip_source('e', '{src}')";
    let (does_not, still) =
        ("does not count the rows of public.e in its ip_source", "still has public.e in its ip_source");
    let warned = said(attach);
    assert_eq!(warned.matches(does_not).count(), 1, "{warned}");
    assert!(
        warned.contains("Run GRANT EXECUTE ON FUNCTION public._note_source TO otto there, and attach the table again."),
        "{warned}"
    );
    assert_eq!(noted(), "10");
    nodes.0[2].sql(DB, &grant);
    let warned = said(attach);
    assert!(!warned.contains("WARNING"), "{warned}");
    assert_eq!(noted(), "11");
    // A worker whose extension is older.
    let away =
        "ALTER EXTENSION asn_inventory DROP FUNCTION _note_source(text, text[], text, text, text, text, text, text);
                DROP FUNCTION _note_source";
    nodes.0[2].sql(DB, &format!("{HERE}; {away}"));
    let warned = said("SELECT detach_ip_source('e')");
    assert_eq!(warned.matches(still).count(), 1, "{warned}");
    assert!(
        warned.contains("Run ALTER EXTENSION asn_inventory UPDATE there, and attach the table and detach it again."),
        "{warned}"
    );
    assert_eq!(noted(), "01");
    // What somebody makes in its place does not run.
    nodes.0[2].sql(
        DB,
        &format!(
            "{HERE}; CREATE TABLE ran (at timestamptz DEFAULT now());
             CREATE FUNCTION _note_source(text, text[], text, text, text, text, text, text) RETURNS void LANGUAGE sql AS 'INSERT INTO ran DEFAULT VALUES'"
        ),
    );
    let warned = said("SELECT attach_ip_source('e', '{src}')");
    assert_eq!(warned.matches(does_not).count(), 2, "{warned}");
    assert!(warned.contains("does not belong to the extension"), "{warned}");
    assert_eq!((nodes.0[2].value(DB, "SELECT count(*) FROM ran"), noted()), ("0".into(), "01".into()));
}

#[test]
fn with_method_row_new_partitions_are_observed() {
    if !needs::has("citus", "with_method_row_new_partitions_are_observed") {
        return;
    }
    let nodes = Nodes::start();
    nodes.sql(PARTITIONED);
    nodes.sql("SELECT create_distributed_table('e', 'src')");
    nodes.sql("SELECT attach_ip_source('e', '{src}', 'at', method => 'row')");
    nodes.sql(NEXT);
    for (table, month) in [("e", 1), ("e", 2), ("e1", 1), ("e2", 2)] {
        nodes.sql(&rows(table, month));
    }
    nodes.counted(400);
    nodes.sql("BEGIN; INSERT INTO e VALUES ('2026-01-05', '34.64.0.1'), ('2026-02-05', '34.64.0.9'); ROLLBACK");
    nodes.counted(400);
}

#[test]
fn with_method_index_new_partitions_are_observed_and_moves_count_nothing() {
    if !needs::has("citus", "with_method_index_new_partitions_are_observed_and_moves_count_nothing") {
        return;
    }
    let nodes = Nodes::start();
    nodes.sql(PARTITIONED);
    nodes.sql("INSERT INTO e VALUES ('2026-01-05', '34.64.0.1')");
    nodes.sql("SELECT create_distributed_table('e', 'src')");
    nodes.sql("SELECT attach_ip_source('e', '{src}', 'at', method => 'index')");
    nodes.sql(NEXT);
    for (table, month) in [("e", 1), ("e", 2), ("e1", 1), ("e2", 2)] {
        nodes.sql(&rows(table, month));
    }
    nodes.counted(400);
    nodes.sql("BEGIN; INSERT INTO e VALUES ('2026-01-05', '34.64.0.1'), ('2026-02-05', '34.64.0.9'); ROLLBACK");
    let hosts: Vec<String> = nodes.0[1..].iter().map(|node| node.socket_dir().to_string_lossy().into_owned()).collect();
    for table in ["e", "e1", "e2"] {
        nodes.sql(&format!("ALTER TABLE {table} REPLICA IDENTITY FULL"));
    }
    for mode in ["block_writes", "force_logical"] {
        let (from, to) = if mode == "block_writes" { (&hosts[0], &hosts[1]) } else { (&hosts[1], &hosts[0]) };
        nodes.sql(&format!(
            "SELECT citus_move_shard_placement(min(shardid), '{from}', 5432, '{to}', 5432, '{mode}')
             FROM pg_dist_shard_placement WHERE nodename = '{from}' AND shardid IN (SELECT shardid FROM pg_dist_shard WHERE logicalrelid = 'e'::regclass)"
        ));
    }
    nodes.sql(&rows("e", 1));
    nodes.sql(&rows("e2", 2));
    nodes.counted(600);
    let doctor = "SELECT detail FROM enrichment_doctor() WHERE check_name = 'observer indexes' AND level <> 'ok'";
    assert_eq!(nodes.first().lines(DB, doctor), [""; 0]);
    nodes.sql("SELECT detach_ip_source('e')");
    nodes.sql(&rows("e", 1));
    nodes.counted(600);
    // Made by hand, and the table distributed afterwards: a table with an index can be.
    nodes.sql("CREATE TABLE f (id int, src inet); CREATE INDEX ON f USING ip_observer (src); INSERT INTO f VALUES (1, '34.65.0.1')");
    nodes.sql("SELECT create_distributed_table('f', 'id')");
    nodes.counted(601);
}

#[test]
fn a_reference_table_is_counted_once_and_other_tables_are_unaffected() {
    if !needs::has("citus", "a_reference_table_is_counted_once_and_other_tables_are_unaffected") {
        return;
    }
    let nodes = Nodes::start();
    nodes.sql("CREATE TABLE r (id int PRIMARY KEY, src inet); SELECT create_reference_table('r')");
    // Each node has all of its rows, and one of them counts.
    nodes.sql("SELECT attach_ip_source('r', '{src}')");
    nodes.sql("INSERT INTO r SELECT i, '34.66.0.0'::inet + i FROM generate_series(1, 60) i");
    nodes.0[1].sql(DB, "INSERT INTO r SELECT 60 + i, '34.66.0.0'::inet + i FROM generate_series(1, 40) i");
    nodes.counted(100);
    assert_eq!(nodes.first().value(DB, "SELECT observations FROM ip_source WHERE tbl = 'r'::regclass"), "100");
    let places = "SELECT tbl, sensor FROM ip_sighting_source";
    assert_eq!(nodes.first().lines(DB, places), ["r|"], "a shard's sightings are its table's");
    nodes.sql("SELECT detach_ip_source('r')");
    nodes.sql("INSERT INTO r VALUES (1000, '34.66.9.9'); TRUNCATE ip_inventory");
    // Citus does not manage a local table and its partitions.
    nodes.sql(&format!("{PARTITIONED}; SELECT attach_ip_source('e', '{{src}}', 'at'); {NEXT}"));
    nodes.sql(&rows("e", 2));
    nodes.sql(&rows("e2", 2));
    nodes.counted(200);
    let refused = nodes.first().fails(DB, "SELECT create_distributed_table('e', 'src')");
    assert!(refused.message.contains("triggers"), "Citus says what is in the way: {refused:?}");
    nodes.sql("SELECT detach_ip_source('e')");
    nodes.sql("SELECT create_distributed_table('e', 'src')");
    nodes.sql("SELECT attach_ip_source('e', '{src}', 'at')");
    nodes.sql(&rows("e2", 2));
    nodes.counted(300);
}

#[test]
fn a_database_with_a_process_of_citus_can_be_dropped() {
    if !needs::has("citus", "a_database_with_a_process_of_citus_can_be_dropped") {
        return;
    }
    let node = node(&[]);
    node.sql(DB, "CREATE EXTENSION asn_inventory");
    node.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    let daemons =
        format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{DB}' AND backend_type ILIKE 'citus%'");
    node.wait_value("postgres", &daemons, "1");
    node.sql("postgres", &format!("DROP DATABASE {DB}"));
    assert!(node.try_connect(DB).is_err());
}
