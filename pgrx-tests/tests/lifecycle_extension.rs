//! The extension comes and goes: created twice, in two databases, in any schema, dropped while it is busy.

use crate::crash_support::wait_for_worker_in;
use asn_inventory_tests::prelude::*;
use std::sync::OnceLock;
use std::thread;

const WORKER: &str = "asn_inventory worker";
const WORKER_LOG: &str = " asn_inventory worker : ";
const HELPER_LOG: &str = " asn_inventory backfill : ";

/// One cluster; each test has databases of its own.
fn shared() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster =
            Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").conf("max_worker_processes", "24").start();
        fixtures::small(&cluster.maxmind_dir());
        cluster
    })
}

fn database(name: &str, sql: &str) -> &'static Cluster {
    let cluster = shared();
    cluster.sql("postgres", &format!("CREATE DATABASE {name}"));
    cluster.sql(name, sql);
    cluster
}

/// Log lines about a database, or about our processes (which it names without their databases).
fn complaints(cluster: &Cluster, database: &str) -> Vec<String> {
    let of = [format!(" {database}: "), " asn_inventory launcher : ".into(), WORKER_LOG.into(), HELPER_LOG.into()];
    let bad = ["ERROR:", "WARNING:", "FATAL:", "PANIC:", "asn_inventory: "];
    // The error of a job whose extension is dropped does not count as a storm.
    let usual = ["asn_inventory: installed ", "terminating background worker \"asn_inventory"];
    // The first job may be the worker's own.
    let is_of_a_job = |line: &str| line.contains("ERROR:  job ") && line.ends_with(" was cancelled");
    let any = |line: &str, words: &[&str]| words.iter().any(|word| line.contains(word));
    let log = cluster.log();
    let lines = log.lines().filter(|line| of.iter().any(|of| line.contains(of)));
    lines.filter(|line| any(line, &bad) && !any(line, &usual) && !is_of_a_job(line)).map(String::from).collect()
}

#[test]
fn creating_the_extension_twice_is_the_usual_error() {
    let cluster = database("twice", "CREATE EXTENSION asn_inventory");
    let refused = cluster.fails("twice", "CREATE EXTENSION asn_inventory");
    assert_eq!(refused.code, "42710");
    assert_eq!(refused.message, "extension \"asn_inventory\" already exists");
    cluster.sql("twice", "CREATE EXTENSION IF NOT EXISTS asn_inventory");
}

#[test]
fn two_databases_have_separate_inventories() {
    let cluster = shared();
    for (name, address) in [("here", "8.8.8.8"), ("there", "1.1.1.1")] {
        database(
            name,
            "CREATE EXTENSION asn_inventory; CREATE TABLE events (ip inet);
             SELECT attach_ip_source('events', ARRAY['ip'])",
        );
        cluster.sql(name, &format!("INSERT INTO events VALUES ('{address}'), ('{address}')"));
    }
    let inventory =
        "SELECT string_agg(host(ip_address) || ' ' || observation_count || ' ' || asn_org, ',') FROM ip_inventory";
    cluster.wait_value("here", inventory, "8.8.8.8 2 Google LLC");
    cluster.wait_value("there", inventory, "1.1.1.1 2 Cloudflare, Inc.");
    let workers = "SELECT count(*) FROM pg_stat_activity
                   WHERE backend_type = 'asn_inventory worker' AND datname IN ('here', 'there')";
    assert_eq!(cluster.value("postgres", workers), "2");
}

/// Everything, with the extension in a schema that no search_path names.
fn works_in_schema(name: &str, schema: &str) {
    let cluster = database(
        name,
        &format!(
            "CREATE SCHEMA {schema}; CREATE EXTENSION asn_inventory SCHEMA {schema};
             CREATE TABLE events (ip inet, payload jsonb); CREATE TABLE parts (ip inet) PARTITION BY HASH (ip);
             INSERT INTO events VALUES ('1.1.1.1');
             SELECT {schema}.attach_ip_source('events', ARRAY['ip', 'payload->>src_ip']);
             SELECT {schema}.attach_ip_source('parts', ARRAY['ip']);
             CREATE TABLE part PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0);"
        ),
    );
    cluster.sql(
        name,
        "INSERT INTO events VALUES ('8.8.8.8', '{\"src_ip\": \"81.2.69.142\"}');
         INSERT INTO part VALUES ('45.155.205.86')",
    );
    let inventory = format!(
        "SELECT string_agg(host(ip_address) || ' ' || country_code || ' ' || observation_count, ',' ORDER BY ip_address)
         FROM {schema}.ip_inventory"
    );
    cluster.wait_value(name, &inventory, "8.8.8.8 US 1,45.155.205.86 RU 1,81.2.69.142 GB 1");
    assert_eq!(cluster.value(name, &format!("SELECT {schema}.populate_ip_inventory('events')")), "1");
    cluster.wait_value(name, &inventory, "1.1.1.1 AU 1,8.8.8.8 US 1,45.155.205.86 RU 1,81.2.69.142 GB 1");

    let bare = format!("INSERT INTO {schema}.ip_inventory (ip_address) VALUES ('51.15.0.1'), ('51.68.0.1')");
    cluster.sql(name, &bare);
    assert_eq!(cluster.lines(name, &format!("SELECT processed, enriched FROM {schema}.backfill_inventory()")), ["2|2"]);
    let one = |sql: &str| cluster.value(name, &sql.replace("$s", schema));
    assert_eq!(one("SELECT (e).city FROM $s.enrich_ip('51.68.0.1') e"), "Roubaix");
    assert_eq!(one("SELECT (e).city FROM $s.enrich_ip('3.120.0.9', '10 s') e"), "Frankfurt am Main");
    assert_eq!(one("SELECT observation_count FROM $s.ip_inventory WHERE ip_address = '3.120.0.9'"), "0");
    assert_eq!(one("SELECT $s.ip_country('126.0.0.1') || $s.ip_class('10.0.0.1')"), "JPprivate");
    assert_eq!(one("SELECT worker || observations FROM $s.enrichment_status"), "running4");
    assert_eq!(one("SELECT count(*) FROM $s.enrichment_progress"), "0");
    assert_eq!(one("SELECT outcome FROM $s.enrichment_run"), "done");
    assert_eq!(one("SELECT count(*) FROM $s.mmdb_editions()"), "2");
    cluster.sql(name, "INSERT INTO events VALUES ('3.120.0.9')");
    assert!(one("SELECT $s.absorb_observations()").parse::<u64>().is_ok());
    cluster.wait_value(name, &format!("SELECT sum(observation_count) FROM {schema}.ip_inventory"), "7");
    cluster.sql(name, &format!("SELECT {schema}.detach_ip_source('events')"));
    cluster.sql(name, "INSERT INTO events VALUES ('3.120.0.9')");
    cluster.sql(name, "DROP EXTENSION asn_inventory");
    cluster.sql(name, "INSERT INTO part VALUES ('45.155.205.86')");
    assert_eq!(complaints(cluster, name), [""; 0]);
}

#[test]
fn another_schema_needs_no_search_path() {
    works_in_schema("other_schema", "inv");
}

#[test]
fn a_schema_may_have_an_odd_name() {
    // Not quotes: PostgreSQL refuses them in the schema of an extension whose script names its objects by it.
    works_in_schema("odd_schema", "\"it is odd Größe; -\"");
}

const EVENTS: &str = "CREATE EXTENSION asn_inventory;
    CREATE TABLE events (ip inet); CREATE TABLE parts (ip inet) PARTITION BY HASH (ip);
    CREATE TABLE part PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0);
    SELECT attach_ip_source('events', ARRAY['ip']); SELECT attach_ip_source('parts', ARRAY['ip']);";

/// After DROP EXTENSION: nothing left, and everything as good as new.
fn gone_and_back(cluster: &Cluster, name: &str) {
    for (what, sql) in [
        ("triggers", "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal"),
        ("functions", "SELECT count(*) FROM pg_proc WHERE probin LIKE '%asn_inventory%'"),
        ("relations", "SELECT count(*) FROM pg_class WHERE relname IN ('ip_inventory', 'ip_observation', 'ip_source')"),
    ] {
        assert_eq!(cluster.value(name, sql), "0", "{what} left behind");
    }
    cluster.sql(name, "INSERT INTO events VALUES ('8.8.8.8'); INSERT INTO parts VALUES ('8.8.8.8')");
    let workers = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'asn_inventory %' AND datname = '{name}'"
    );
    cluster.wait_value("postgres", &workers, "0");
    cluster.sql(name, "CREATE EXTENSION asn_inventory; SELECT attach_ip_source('events', ARRAY['ip'])");
    cluster.sql(name, "INSERT INTO events VALUES ('81.2.69.142')");
    cluster.wait_value(name, "SELECT string_agg(city, ',') FROM ip_inventory", "London");
    assert_eq!(complaints(cluster, name), [""; 0]);
}

#[test]
fn the_extension_can_be_dropped_during_absorbing_and_created_again() {
    let name = "dropped_absorbing";
    let cluster = database(name, EVENTS);
    wait_for_worker_in(cluster, name);
    let mut client = cluster.connect(name);
    for table in ["events", "parts"] {
        client
            .batch_execute(&format!(
                "INSERT INTO {table} SELECT '34.64.0.0'::inet + i FROM generate_series(1, 100000) i"
            ))
            .expect("events");
    }
    wait_until("a worker that absorbs", || {
        let busy = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'asn_inventory worker'
                    AND datname = current_database() AND query = 'absorbing observations' AND state = 'active'";
        client.query_one(busy, &[]).expect("an answer").get::<_, i64>(0) == 1
    });
    client.batch_execute("DROP EXTENSION asn_inventory").expect("a drop without cascade");
    gone_and_back(cluster, name);
}

#[test]
fn the_extension_can_be_dropped_during_a_backfill_and_created_again() {
    let name = "dropped_backfilling";
    let cluster = database(name, EVENTS);
    wait_for_worker_in(cluster, name);
    cluster.sql(
        name,
        "INSERT INTO ip_inventory (ip_address) SELECT '34.64.0.0'::inet + i FROM generate_series(1, 100000) i",
    );
    thread::scope(|scope| {
        let caller =
            scope.spawn(|| cluster.try_sql(name, "SELECT processed FROM backfill_inventory(commit_interval => 500)"));
        wait_until("a job to be under way", || {
            let processed = cluster.value(name, "SELECT processed FROM enrichment_progress");
            processed.parse::<u64>().is_ok_and(|processed| processed > 1_000)
        });
        cluster.sql(name, "DROP EXTENSION asn_inventory");
        let told = caller.join().expect("no panic").expect_err("a job without an inventory");
        assert_eq!((told.code.as_str(), told.detail.as_str()), ("55000", "The extension is being dropped."));
    });
    gone_and_back(cluster, name);
}

#[test]
fn the_extension_can_be_dropped_and_created_repeatedly_under_load() {
    let name = "dropped_often";
    let cluster = database(name, "CREATE TABLE events (ip inet)");
    for round in 1..=15 {
        cluster.sql(
            name,
            "CREATE EXTENSION asn_inventory; SELECT attach_ip_source('events', ARRAY['ip']);
             INSERT INTO events SELECT '34.64.0.0'::inet + i FROM generate_series(1, 2000) i",
        );
        if round % 3 == 0 {
            cluster.wait_value(name, "SELECT count(*) FROM ip_inventory", "2000");
        }
        cluster.sql(name, "DROP EXTENSION asn_inventory");
    }
    cluster.sql(name, "CREATE EXTENSION asn_inventory; SELECT attach_ip_source('events', ARRAY['ip'])");
    cluster.sql(name, "INSERT INTO events VALUES ('81.2.69.142')");
    cluster.wait_value(name, "SELECT string_agg(city, ',') FROM ip_inventory", "London");
    let workers =
        format!("SELECT count(*) FROM pg_stat_activity WHERE backend_type = '{WORKER}' AND datname = '{name}'");
    assert_eq!(cluster.value("postgres", &workers), "1");
    assert_eq!(complaints(cluster, name), [""; 0]);
}

#[test]
fn a_worker_that_is_switched_off_leaves_with_the_extension() {
    let cluster = Cluster::builder().conf("asn_inventory.enabled", "off").start();
    cluster.sql("postgres", "CREATE DATABASE off");
    cluster.sql("off", "CREATE EXTENSION asn_inventory");
    wait_for_worker_in(&cluster, "off");
    cluster.sql("off", "DROP EXTENSION asn_inventory");
    wait_until("no worker", || cluster.pids_of(WORKER).is_empty());
    cluster.sql("off", "CREATE EXTENSION asn_inventory");
    wait_for_worker_in(&cluster, "off");
}
