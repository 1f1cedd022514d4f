//! Figures follow changes by all writers, and the time of jobs grows with their rows, under any statistics of the
//! planner.

use crate::backfill_support::{DUE, WRONG, bare, cluster_of_many, database};
use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;
use std::sync::OnceLock;

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(cluster_of_many)
}

#[test]
fn counts_include_writes_of_helpers_and_by_hand() {
    let cluster = cluster();
    let db = database(cluster, "by_hand");
    let counted = "SELECT addresses || '/' || coalesce(enriched, 0) FROM enrichment_status";
    bare(cluster, db, "8.8.4.0", 2000);
    cluster.wait_value(db, counted, "2000/0");
    cluster.sql(db, "SELECT backfill_inventory()");
    let enriched =
        cluster.value(db, "SELECT count(*) FROM ip_inventory WHERE asn_number IS NOT NULL OR country_code IS NOT NULL");
    cluster.wait_value(db, counted, &format!("2000/{enriched}"));
    cluster.wait_value(
        db,
        "SELECT sum(ip_count) = (SELECT count(asn_number) FROM ip_inventory) FROM asn_inventory",
        "t",
    );
    cluster.sql(db, "DELETE FROM ip_inventory WHERE ip_address < '8.8.5.0'");
    cluster.wait_value(db, "SELECT addresses FROM enrichment_status", "1744");
    cluster.sql(db, "UPDATE ip_inventory SET observation_count = 10");
    cluster.wait_value(db, "SELECT observations FROM inventory_count", "17440");
    // A session that PostgreSQL's statistics do not count is followed as well, whatever fires for it, and not before it
    // commits.
    let mut uncounted = cluster.connect(db);
    let mut written = |sql: &str| uncounted.batch_execute(sql).expect(sql);
    written("SET track_counts = off; BEGIN; DELETE FROM ip_inventory WHERE ip_address < '8.8.6.0'");
    written("SAVEPOINT one; DELETE FROM ip_inventory WHERE ip_address < '8.8.7.0'; ROLLBACK TO one; COMMIT");
    cluster.wait_value(db, "SELECT addresses FROM enrichment_status", "1488");
    written("SET session_replication_role = replica; UPDATE ip_inventory SET observation_count = 1");
    cluster.wait_value(db, "SELECT observations FROM inventory_count", "1488");
    written("TRUNCATE ip_inventory");
    cluster.wait_value(db, counted, "0/0");
    // An unchanged inventory is not counted again: meanwhile another database's count runs.
    let at = cluster.value(db, "SELECT counted_at FROM inventory_count");
    let other = database(cluster, "by_hand_beside");
    for count in 1..=2 {
        bare(cluster, other, &format!("8.9.{count}.0"), 10);
        cluster.wait_value(other, "SELECT addresses FROM enrichment_status", &(10 * count).to_string());
    }
    assert_eq!(cluster.value(db, "SELECT counted_at FROM inventory_count"), at);
}

#[test]
fn a_publication_of_all_tables_does_not_stop_counts_or_the_walk() {
    let cluster = cluster();
    cluster.sql("postgres", "CREATE DATABASE published");
    cluster.sql("published", "CREATE PUBLICATION everything FOR ALL TABLES; CREATE EXTENSION asn_inventory");
    cluster.wait_walked("published");
    cluster.sql("published", "CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}'); INSERT INTO events VALUES ('8.8.8.8'), ('1.1.1.1')");
    cluster.wait_value("published", "SELECT addresses FROM enrichment_status", "2");
    cluster.sql(
        "published",
        "DELETE FROM maxmind_walk; UPDATE ip_inventory SET asn_number = 1; DELETE FROM ip_asn_history",
    );
    cluster.sql("published", "INSERT INTO events VALUES ('8.8.4.4')");
    cluster.wait_value("published", "SELECT addresses FROM enrichment_status", "3");
    let without = "SELECT count(*) FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.deptype = 'e' AND d.classid = 'pg_class'::regclass
        WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'asn_inventory') AND c.relkind = 'r' AND c.relname <> 'ip_observation'
          AND c.relreplident <> 'f' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)";
    assert_eq!(cluster.value("published", without), "0", "every table that is updated or deleted from has an identity");
}

#[test]
fn a_backfill_ends_under_any_statistics() {
    let cluster = cluster();
    let db = database(cluster, "misled");
    bare(cluster, db, "11.0.0.0", 1000);
    assert_eq!(cluster.value(db, "SELECT processed FROM backfill_inventory()"), "1000");
    // All rows are answered, says this, and the table is small.
    cluster.sql(db, "ANALYZE ip_inventory; ALTER TABLE ip_inventory SET (autovacuum_enabled = off)");
    bare(cluster, db, "11.1.0.0", 200_000);
    let job = cluster.value(db, "SELECT job_id FROM backfill_inventory(wait => false)");
    cluster.wait_value(db, &format!("SELECT outcome FROM enrichment_run WHERE job_id = {job}"), "done");
    assert_eq!(cluster.value(db, DUE), "0");
    assert_eq!(cluster.lines(db, WRONG), [""; 0]);
    // The same for a refresh and for an absorb of as many.
    cluster.sql(
        db,
        "CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}');
                     INSERT INTO events SELECT '11.1.0.0'::inet + n FROM generate_series(0, 199999) n",
    );
    cluster.wait_value(db, "SELECT count(*) FROM ip_observation", "0");
    let job = cluster.value(db, "SELECT job_id FROM refresh_range('11.1.0.0/17', 'maxmind', wait => false)");
    cluster.wait_value(db, &format!("SELECT outcome FROM enrichment_run WHERE job_id = {job}"), "done");
}

#[test]
fn a_session_that_blocks_the_worker_is_named_and_no_work_counts_as_done() {
    let cluster = cluster();
    let db = database(cluster, "held");
    cluster.sql(db, "CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}'); INSERT INTO events VALUES ('8.8.8.8')");
    cluster.wait_value(db, "SELECT count(*) FROM ip_inventory", "1");
    let mut holder = cluster.connect(db);
    let pid = query(&mut holder, "BEGIN; SELECT absorb_observations(0); SELECT pg_backend_pid()").expect("held");
    let pid = pid.last().and_then(|row| row[0].clone()).expect("a pid");
    cluster.sql(db, "INSERT INTO events VALUES ('1.1.1.1')");
    let named = "SELECT remedy FROM enrichment_doctor() WHERE check_name = 'locks' AND level = 'warning'";
    cluster.wait_value(db, named, &format!("SELECT pg_terminate_backend({pid});"));
    let stands = "SELECT last_absorb_at FROM enrichment_status";
    let before = cluster.value(db, stands);
    cluster.wait_value(db, "SELECT queue_age > interval '6 seconds' FROM enrichment_status", "t");
    assert_eq!(cluster.value(db, stands), before, "nothing was absorbed");
    // The remedy mends it.
    cluster.sql(db, &cluster.value(db, named));
    cluster.wait_value(db, "SELECT count(*) FROM ip_inventory", "2");
    assert_eq!(cluster.value(db, "SELECT level FROM enrichment_doctor() WHERE check_name = 'locks'"), "ok");

    // A role without rights drops the extension, behind an open attach: it waits for a lock, and all others wait behind
    // it.
    cluster.sql("postgres", "CREATE ROLE anybody LOGIN");
    let mut attacher = cluster.connect(db);
    query(&mut attacher, "BEGIN; CREATE TABLE more (ip inet); SELECT attach_ip_source('more', '{ip}')")
        .expect("attached");
    let mut anybody = cluster.connect_as("anybody", db);
    let dropper = query(&mut anybody, "SELECT pg_backend_pid()").expect("a pid")[0][0].clone().expect("a pid");
    let dropping =
        std::thread::spawn(move || query(&mut anybody, "DROP EXTENSION asn_inventory").expect_err("refused or ended"));
    cluster.wait_value(
        db,
        &format!("{named} AND detail LIKE 'Process {dropper} %'"),
        &format!("SELECT pg_terminate_backend({dropper});"),
    );
    query(&mut attacher, "COMMIT").expect("committed");
    assert_eq!(dropping.join().expect("ended").code, "42501");
    cluster.sql(db, "INSERT INTO more VALUES ('81.2.69.142')");
    cluster.wait_value(db, "SELECT count(*) FROM ip_inventory", "3");
}

#[test]
fn settings_of_a_database_do_not_affect_the_worker() {
    let cluster = cluster();
    let db = database(cluster, "spoilt");
    cluster.sql("postgres", "CREATE ROLE powerless");
    cluster.sql(db, "CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')");
    let is_16 = cluster.value(db, "SELECT current_setting('server_version_num')::int >= 160000") == "t";
    let parallel = if is_16 { "debug_parallel_query = on" } else { "force_parallel_mode = on" };
    for setting in [
        "role = powerless",
        "search_path = nowhere",
        "row_security = off",
        "session_replication_role = origin",
        "statement_timeout = '1ms'",
        "idle_in_transaction_session_timeout = '1ms'",
        "idle_session_timeout = '1ms'",
        "lock_timeout = '1ms'",
        "default_transaction_isolation = serializable",
        "default_transaction_read_only = on",
        "exit_on_error = on",
        "default_transaction_deferrable = on",
        "synchronous_commit = remote_apply",
        "enable_hashjoin = off",
        "enable_nestloop = off",
        "enable_indexscan = off",
        "enable_bitmapscan = off",
        "enable_tidscan = off",
        "enable_sort = off",
        "enable_hashagg = off",
        "random_page_cost = 1000",
        "cpu_tuple_cost = 1000",
        "cpu_operator_cost = 1000",
        "from_collapse_limit = 1",
        "join_collapse_limit = 1",
        "plan_cache_mode = force_generic_plan",
        "jit = on",
        "jit_above_cost = 0",
        parallel,
        "work_mem = '64kB'",
        "hash_mem_multiplier = 1",
        "temp_file_limit = '1kB'",
        "temp_tablespaces = ''",
        "max_stack_depth = '100kB'",
        "DateStyle = 'German, DMY'",
        "IntervalStyle = sql_standard",
        "extra_float_digits = -15",
        "bytea_output = escape",
        "array_nulls = off",
        "quote_all_identifiers = on",
        "transform_null_equals = on",
        "standard_conforming_strings = off",
        "backslash_quote = on",
        "track_counts = off",
        "track_activities = off",
        "client_encoding = latin1",
        "TimeZone = 'Asia/Kathmandu'",
        "lc_messages = 'C'",
        "constraint_exclusion = on",
        "geqo_threshold = 2",
        "asn_inventory.enabled = off",
    ] {
        cluster.sql("postgres", &format!("ALTER DATABASE {db} SET {setting}"));
    }
    let pid = cluster.value(
        "postgres",
        &format!("SELECT pid FROM pg_stat_activity WHERE backend_type = 'asn_inventory worker' AND datname = '{db}'"),
    );
    cluster.sql("postgres", &format!("SELECT pg_terminate_backend({pid})"));
    // A session that is as it was.
    let options = "-c role=none -c search_path=public -c default_transaction_read_only=off -c statement_timeout=0 -c lock_timeout=0 -c idle_session_timeout=0
        -c idle_in_transaction_session_timeout=0 -c asn_inventory.enabled=on -c temp_file_limit=-1 -c max_stack_depth=2MB -c standard_conforming_strings=on";
    let mut session =
        cluster.config(db).options(&options.replace('\n', " ")).connect(postgres::NoTls).expect("a session");
    let mut value = |sql: &str| {
        let rows = query(&mut session, sql).unwrap_or_else(|failure| panic!("{sql}: {failure:?}"));
        rows.into_iter().flatten().next().flatten().unwrap_or_default()
    };
    // A row that cannot be written is an error, and none that ends the worker.
    value("ALTER TABLE ip_inventory ADD CHECK (ip_address <> '6.6.6.6')");
    value("INSERT INTO events VALUES ('8.8.8.8'), ('81.2.69.142'), ('6.6.6.6')");
    wait_until("both addresses", || value("SELECT count(*) FROM ip_inventory WHERE maxmind_status = 'found'") == "2");
    assert_eq!(
        value("SELECT processed || '/' || errors FROM backfill_inventory(ips => '{1.1.1.1, 51.68.0.1}')"),
        "2/0"
    );
    value("UPDATE ip_inventory SET asn_number = 1 WHERE ip_address = '8.8.8.8'");
    assert_eq!(value("SELECT errors FROM refresh_range('8.8.8.8', 'maxmind')"), "0");
    assert_eq!(value("SELECT count(*) FROM ip_asn_history"), "2");
    wait_until("the count", || value("SELECT addresses FROM enrichment_status") == "4");
}

/// PostgreSQL refuses a `max_stack_depth` that the server's own limit leaves no room for.
#[test]
fn a_setting_that_cannot_be_pinned_leaves_the_others_pinned() {
    let cluster = Cluster::builder().stack(2 << 20).conf("asn_inventory.absorb_interval", "50ms").start();
    fixtures::small(&cluster.maxmind_dir());
    let db = database(&cluster, "small_stack");
    cluster.sql(db, "CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')");
    for setting in ["track_counts = off", "track_activities = off"] {
        cluster.sql("postgres", &format!("ALTER DATABASE {db} SET {setting}"));
    }
    let worker = format!("FROM pg_stat_activity WHERE backend_type = 'asn_inventory worker' AND datname = '{db}'");
    let pid = cluster.value("postgres", &format!("SELECT pid {worker}"));
    cluster.sql("postgres", &format!("SELECT pg_terminate_backend({pid})"));
    let shown = format!("SELECT count(*) {worker} AND pid <> {pid} AND state <> 'disabled'");
    cluster.wait_value("postgres", &shown, "1");
    cluster.sql(db, "INSERT INTO events VALUES ('8.8.8.8')");
    cluster.wait_value(db, "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'ip_inventory'", "1");
    assert!(!cluster.log().contains("cannot be pinned"), "{}", cluster.log_tail());
}
