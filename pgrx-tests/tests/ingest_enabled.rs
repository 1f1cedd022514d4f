//! The feature flag: who wins (session, role and database settings, then the server's environment, then
//! postgresql.conf, then on), and that off costs and queues nothing.

use crate::ingest_support::{run, value};
use asn_inventory_tests::cluster::Builder;
use asn_inventory_tests::prelude::*;

const SHOW: &str = "SHOW asn_inventory.enabled";

fn build() -> Builder {
    Cluster::builder().conf("asn_inventory.absorb_interval", "20ms")
}

/// With an attached table `events` in the database `postgres`.
fn ready(cluster: &Cluster) {
    cluster.sql(
        "postgres",
        "CREATE EXTENSION asn_inventory; CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')",
    );
    cluster.wait_value("postgres", "SELECT worker FROM enrichment_status", "running");
}

/// The flag as a new session of the role has it.
fn flag(cluster: &Cluster, role: &str) -> String {
    value(&mut cluster.connect_as(role, "postgres"), SHOW)
}

#[test]
fn session_role_and_database_settings_take_precedence() {
    for (environment, file) in [("off", "off"), ("on", "off"), ("off", "on"), ("", "off"), ("", "")] {
        let mut builder = build();
        if !environment.is_empty() {
            builder = builder.env("ENABLE_ASN_INVENTORY", environment);
        }
        if !file.is_empty() {
            builder = builder.conf("asn_inventory.enabled", file);
        }
        let cluster = builder.start();
        cluster.sql("postgres", "CREATE EXTENSION asn_inventory; CREATE ROLE loader LOGIN; CREATE ROLE other LOGIN");
        let base = match (environment, file) {
            ("", "") => "on",
            ("", file) => file,
            (environment, _) => environment,
        };
        let opposite = if base == "on" { "off" } else { "on" };
        let what = format!("environment {environment:?}, postgresql.conf {file:?}");
        assert_eq!(flag(&cluster, "loader"), base, "{what}");
        // Each stronger level turns it, one after the other.
        for (statement, undo, others) in [
            (
                "ALTER DATABASE postgres SET asn_inventory.enabled = ",
                "ALTER DATABASE postgres RESET asn_inventory.enabled",
                opposite,
            ),
            ("ALTER ROLE loader SET asn_inventory.enabled = ", "ALTER ROLE loader RESET asn_inventory.enabled", base),
            (
                "ALTER ROLE loader IN DATABASE postgres SET asn_inventory.enabled = ",
                "ALTER ROLE loader IN DATABASE postgres RESET asn_inventory.enabled",
                base,
            ),
            ("ALTER ROLE ALL SET asn_inventory.enabled = ", "ALTER ROLE ALL RESET asn_inventory.enabled", opposite),
        ] {
            cluster.sql("postgres", &format!("{statement}{opposite}"));
            assert_eq!(flag(&cluster, "loader"), opposite, "{statement} with {what}");
            assert_eq!(flag(&cluster, "other"), others, "{statement} with {what}");
            cluster.sql("postgres", undo);
            assert_eq!(flag(&cluster, "loader"), base, "{undo} with {what}");
        }
        let mut session = cluster.connect_as("loader", "postgres");
        run(&mut session, &format!("SET asn_inventory.enabled = {opposite}"));
        assert_eq!(value(&mut session, SHOW), opposite, "SET with {what}");
        // A reload does not change the session's value or the environment's.
        cluster.set("asn_inventory.enabled", base);
        assert_eq!(value(&mut session, SHOW), opposite, "a session's own after a reload, with {what}");
        run(&mut session, "RESET asn_inventory.enabled");
        assert_eq!(value(&mut session, SHOW), base, "RESET with {what}");
        cluster.set("asn_inventory.enabled", opposite);
        let after = if environment.is_empty() { opposite } else { base };
        assert_eq!(flag(&cluster, "loader"), after, "postgresql.conf changed, with {what}");
    }
}

#[test]
fn without_preload_the_same_order_holds() {
    let cluster = Cluster::builder().preload(false).env("ENABLE_ASN_INVENTORY", "off").start();
    cluster.sql("postgres", "CREATE EXTENSION asn_inventory; CREATE ROLE loader LOGIN; CREATE ROLE other LOGIN");
    cluster.sql("postgres", "ALTER ROLE loader SET asn_inventory.enabled = on");
    let load = "SELECT ip_class('8.8.8.8')";
    for (role, expected) in [("loader", "on"), ("other", "off")] {
        let mut session = cluster.connect_as(role, "postgres");
        run(&mut session, load);
        assert_eq!(value(&mut session, SHOW), expected, "{role}");
    }
}

#[test]
fn a_value_of_the_environment_that_is_neither_on_nor_off_is_ignored_with_a_warning() {
    let cluster = build().env("ENABLE_ASN_INVENTORY", "maybe").conf("asn_inventory.enabled", "off").start();
    cluster.wait_log("ENABLE_ASN_INVENTORY is \"maybe\", which is neither on nor off, and is ignored");
    assert_eq!(cluster.value("postgres", SHOW), "off");
    drop(cluster);
    for (spelling, expected) in [(" TRUE ", "on"), ("0", "off"), ("No", "off"), ("1", "on")] {
        let opposite = if expected == "on" { "off" } else { "on" };
        let cluster =
            Cluster::builder().env("ENABLE_ASN_INVENTORY", spelling).conf("asn_inventory.enabled", opposite).start();
        assert_eq!(cluster.value("postgres", SHOW), expected, "{spelling:?}");
        assert!(!cluster.log().contains("neither on nor off"), "{spelling:?}");
    }
}

#[test]
fn off_queues_nothing_in_its_session_transaction_or_role() {
    let cluster = build().start();
    ready(&cluster);
    cluster.sql(
        "postgres",
        "CREATE ROLE loader LOGIN; GRANT INSERT ON events TO loader; ALTER ROLE loader SET asn_inventory.enabled = off",
    );
    let mut loader = cluster.connect_as("loader", "postgres");
    run(&mut loader, "INSERT INTO events VALUES ('41.33.0.1')");
    let mut session = cluster.client();
    run(&mut session, "BEGIN; SET LOCAL asn_inventory.enabled = off; INSERT INTO events VALUES ('41.33.0.2'); COMMIT");
    run(&mut session, "INSERT INTO events VALUES ('41.33.0.3')");
    run(&mut session, "SET asn_inventory.enabled = off");
    run(&mut session, "INSERT INTO events VALUES ('41.33.0.4')");
    run(&mut session, "RESET asn_inventory.enabled");
    run(&mut loader, "SET asn_inventory.enabled = on; INSERT INTO events VALUES ('41.33.0.5')");
    cluster.wait_value("postgres", "SELECT count(*) FROM ip_observation", "0");
    assert_eq!(
        cluster.lines("postgres", "SELECT host(ip_address), observation_count FROM ip_inventory ORDER BY 1"),
        ["41.33.0.3|1", "41.33.0.5|1"]
    );
    assert_eq!(cluster.value("postgres", "SELECT observations || '|' || unparsable FROM ip_source"), "2|0");
}

#[test]
fn off_takes_no_lock_on_the_queue() {
    let cluster = build().conf("asn_inventory.enabled", "off").start();
    ready(&cluster);
    let mut session = cluster.client();
    run(&mut session, "BEGIN; INSERT INTO events VALUES ('41.33.1.1')");
    let locks = "SELECT count(*) FROM pg_locks WHERE relation = 'ip_observation'::regclass AND pid = pg_backend_pid()";
    assert_eq!(value(&mut session, locks), "0");
    run(&mut session, "SET LOCAL asn_inventory.enabled = on; INSERT INTO events VALUES ('41.33.1.2')");
    assert_eq!(value(&mut session, locks), "1", "on, it takes the lock of any insert");
    run(&mut session, "ROLLBACK; BEGIN; INSERT INTO events VALUES ('41.33.1.1')");
    run(&mut session, "COMMIT");
    assert_eq!(cluster.value("postgres", "SELECT count(*) FROM ip_observation"), "0");
}

#[test]
fn the_worker_is_idle_while_the_flag_is_off_and_resumes_at_a_reload() {
    let cluster = build().start();
    ready(&cluster);
    cluster.set("asn_inventory.enabled", "off");
    cluster.wait_value("postgres", "SELECT enabled FROM enrichment_status", "f");
    // A session may still observe; its queued rows wait for the worker.
    let mut session = cluster.client();
    run(&mut session, "SET asn_inventory.enabled = on");
    // The worker's process has the setting once it has ended the rounds that were under way before the reload.
    wait_until("the worker to rest", || {
        run(&mut session, "INSERT INTO events VALUES ('41.33.2.1')");
        let absorbed = "SELECT absorbed FROM enrichment_status";
        let before = value(&mut session, absorbed);
        run(&mut session, "SELECT pg_sleep(0.3)");
        value(&mut session, absorbed) == before && value(&mut session, "SELECT count(*) > 0 FROM ip_observation") == "t"
    });
    cluster.set("asn_inventory.enabled", "on");
    cluster.wait_value("postgres", "SELECT count(*) FROM ip_observation", "0");
    assert_eq!(
        cluster.value(
            "postgres",
            "SELECT (SELECT count(*) FROM events) = (SELECT sum(observation_count) FROM ip_inventory)"
        ),
        "t"
    );
}

#[test]
fn a_role_setting_of_the_superuser_does_not_affect_the_worker() {
    let cluster = build().start();
    cluster.sql("postgres", "ALTER ROLE postgres SET asn_inventory.enabled = off; CREATE ROLE loader LOGIN");
    ready(&cluster);
    cluster.sql("postgres", "GRANT INSERT ON events TO loader");
    run(&mut cluster.connect_as("loader", "postgres"), "INSERT INTO events VALUES ('41.33.3.1')");
    cluster.wait_value("postgres", "SELECT count(*) FROM ip_inventory", "1");
}

#[test]
fn a_configuration_that_is_not_read_yet_changes_nothing() {
    let cluster = build().start();
    ready(&cluster);
    let mut session = cluster.connect("postgres");
    let unobserved = "SELECT unobserved FROM ip_source";
    // Written and checked, and not reloaded: the server still observes, and notes what this session keeps from it.
    run(&mut session, "ALTER SYSTEM SET asn_inventory.enabled = off");
    assert_eq!(value(&mut session, "SELECT count(*) FROM pg_file_settings WHERE name = 'asn_inventory.enabled'"), "1");
    run(&mut session, "SET asn_inventory.enabled = off");
    run(&mut session, "INSERT INTO events VALUES ('8.8.8.8')");
    cluster.wait_value("postgres", unobserved, "1");
    cluster.reload();
    cluster.wait_value("postgres", SHOW, "off");
    run(&mut session, "INSERT INTO events VALUES ('8.8.8.8')");
    run(&mut session, "SET asn_inventory.enabled = on");
    run(&mut session, "INSERT INTO events VALUES ('8.8.8.8')");
    run(&mut session, "ALTER SYSTEM RESET asn_inventory.enabled");
    cluster.reload();
    cluster.wait_value("postgres", "SELECT sum(observation_count) FROM ip_inventory", "1");
    cluster.wait_value("postgres", unobserved, "1");
}
