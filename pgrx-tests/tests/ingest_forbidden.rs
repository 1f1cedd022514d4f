//! `asn_inventory.enabled_by_superuser_only`: no role can hide events by switching observation off; and statements that
//! were not observed are noted by table.

use crate::ingest_support::{refused, run, value};
use asn_inventory_tests::prelude::*;
use postgres::Client;

const OFF: &str = "SET asn_inventory.enabled = off";

/// With an attached table `events` that the role `loader` may fill.
fn ready() -> Cluster {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").start();
    cluster.sql(
        "postgres",
        "CREATE EXTENSION asn_inventory; CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}');
         CREATE ROLE loader LOGIN; GRANT INSERT ON events TO loader",
    );
    cluster.wait_value("postgres", "SELECT worker FROM enrichment_status", "running");
    cluster
}

fn insert(session: &mut Client, ip: &str) {
    run(session, &format!("INSERT INTO events VALUES ('{ip}')"));
}

/// Sets it, and waits until an open session has heard of it.
fn forbid(cluster: &Cluster, session: &mut Client, to: &str) {
    cluster.set("asn_inventory.enabled_by_superuser_only", to);
    wait_until("the reload", || value(session, "SHOW asn_inventory.enabled_by_superuser_only") == to);
}

fn seen(cluster: &Cluster) -> Vec<String> {
    cluster.wait_value("postgres", "SELECT count(*) FROM ip_observation", "0");
    cluster.lines("postgres", "SELECT host(ip_address) FROM ip_inventory ORDER BY ip_address")
}

#[test]
fn only_superusers_may_switch_it_if_the_server_requires_it() {
    let cluster = ready();
    cluster.sql(
        "postgres",
        "CREATE ROLE quiet LOGIN; GRANT INSERT ON events TO quiet; ALTER ROLE quiet SET asn_inventory.enabled = off",
    );
    let mut early = cluster.connect_as("loader", "postgres");
    run(&mut early, OFF);
    insert(&mut early, "36.97.0.1");
    forbid(&cluster, &mut early, "on");
    // A session that had switched it off before is observed from now on; it may still switch it on.
    insert(&mut early, "36.97.0.2");
    run(&mut early, "SET asn_inventory.enabled = on; RESET asn_inventory.enabled");
    let mut loader = cluster.connect_as("loader", "postgres");
    for statement in [
        OFF,
        "SET LOCAL asn_inventory.enabled = off",
        "SELECT set_config('asn_inventory.enabled', 'off', false)",
        "ALTER ROLE loader SET asn_inventory.enabled = off",
        "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET asn_inventory.enabled = off AS 'SELECT 1'",
    ] {
        let failure = refused(&mut loader, statement);
        assert_eq!(failure.code, "42501", "{statement}: {failure:?}");
        assert!(failure.detail.contains("only superusers"), "{statement}: {failure:?}");
    }
    insert(&mut loader, "36.97.0.3");
    // Values of a role, or of its connection, are accepted and ignored.
    insert(&mut cluster.connect_as("quiet", "postgres"), "36.97.0.4");
    let mut options = cluster
        .config("postgres")
        .user("loader")
        .options("-c asn_inventory.enabled=off")
        .connect(postgres::NoTls)
        .expect("let in");
    insert(&mut options, "36.97.0.5");
    // A superuser may, also in a loader's name.
    let mut superuser = cluster.client();
    run(&mut superuser, &format!("{OFF}; SET ROLE loader"));
    insert(&mut superuser, "36.97.0.6");
    assert_eq!(seen(&cluster), ["36.97.0.2", "36.97.0.3", "36.97.0.4", "36.97.0.5"]);
    // Without it, everything is as before.
    forbid(&cluster, &mut loader, "off");
    run(&mut loader, OFF);
    insert(&mut loader, "36.97.0.7");
    assert_eq!(seen(&cluster).len(), 4);
}

#[test]
fn a_parallel_query_works_in_a_session_that_had_it_off() {
    let cluster = ready();
    cluster.sql("postgres", "CREATE TABLE large AS SELECT i FROM generate_series(1, 200000) i; ANALYZE large; GRANT SELECT ON large TO loader");
    let mut session = cluster.connect_as("loader", "postgres");
    run(
        &mut session,
        &format!(
            "{OFF}; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0"
        ),
    );
    forbid(&cluster, &mut session, "on");
    assert_eq!(value(&mut session, "SELECT count(*) FROM large"), "200000");
}

#[test]
fn a_statement_that_was_not_observed_is_noted_by_table() {
    let cluster = ready();
    let mut loader = cluster.connect_as("loader", "postgres");
    // Nothing is absorbed meanwhile.
    let mut holder = cluster.client();
    cluster.set("asn_inventory.absorb_interval", "1h");
    run(&mut holder, "SELECT absorb_observations()");
    run(&mut loader, OFF);
    insert(&mut loader, "36.98.0.1");
    insert(&mut loader, "36.98.0.2");
    let notes = "SELECT source, seen, addresses, count(*) FROM ip_observation WHERE address IS NULL AND packed IS NULL GROUP BY 1, 2, 3";
    assert_eq!(cluster.lines("postgres", notes), ["events|0|0|2"]);
    run(&mut holder, "SELECT absorb_observations()");
    assert_eq!(cluster.value("postgres", "SELECT count(*) FROM ip_inventory"), "0");
    let counted = "SELECT observations, unparsable, unobserved, last_observed_at IS NULL FROM ip_source";
    assert_eq!(cluster.lines("postgres", counted), ["0|0|2|t"]);
}
