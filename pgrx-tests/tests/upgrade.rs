//! Updates from older versions: the same catalog as a fresh install, the data as it was, and work that goes on. The
//! scripts of older versions stand in `sql/install` and are in no package.

use crate::upgrade_support::VERSIONS;
use crate::upgrade_support::catalog::assert_as_fresh;
use asn_inventory_tests::prelude::*;
use std::sync::OnceLock;

/// One cluster a test program, with the small files.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster =
            Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").conf("max_worker_processes", "40").start();
        fixtures::small(&cluster.maxmind_dir());
        cluster
    })
}

/// A database as this version leaves it: rows in every table, attached tables of two kinds, ended jobs, grants.
fn old_database(name: &str, version: &str) {
    let cluster = cluster();
    cluster.sql("postgres", &format!("CREATE DATABASE {name}"));
    cluster.sql(name, &format!("CREATE EXTENSION asn_inventory VERSION '{version}'"));
    cluster.sql(
        name,
        "CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz, src inet);
         CREATE TABLE parts (id int, src text) PARTITION BY RANGE (id);
         CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
         INSERT INTO events (at, src) VALUES ('2026-01-01', '162.142.125.1');
         SELECT attach_ip_source('events', ARRAY['src'], 'at');
         SELECT attach_ip_source('parts', ARRAY['src']);
         SELECT populate_ip_inventory('events');
         INSERT INTO events (at, src) VALUES ('2026-01-02', '8.8.8.8'), ('2026-01-03', '8.8.8.8'), ('2026-01-04', '81.2.69.142');
         INSERT INTO parts VALUES (1, '1.1.1.1'), (2, 'nonsense');
         INSERT INTO ip_inventory (ip_address) VALUES ('51.68.0.1')",
    );
    cluster.wait_value(name, "SELECT sum(observations) FROM ip_source", "5");
    assert_eq!(cluster.value(name, "SELECT processed FROM backfill_inventory()"), "1");
    cluster.sql(
        name,
        "UPDATE ip_inventory SET asn_number = 64500 WHERE ip_address = '1.1.1.1';
         INSERT INTO asn_inventory (asn_number, asn_org, registry, allocated) VALUES (64511, 'Kept', 'arin', '2001-01-01');
         INSERT INTO cymru_prefix VALUES ('218.92.0.0/24', '218.92.0.0/17', '{4134,4812}', 'CN', 'apnic', NULL, '2026-01-01', '2036-01-01');
         INSERT INTO source_quota VALUES ('greynoise', '2026-01-01', 7, NULL)",
    );
    assert_eq!(cluster.value(name, "SELECT count(*) FROM ip_asn_history"), "1");
    assert_eq!(cluster.value(name, "SELECT count(*) FROM enrichment_run WHERE kind = 'backfill'"), "1");
}

/// The user's data, table by table.
const DATA: [&str; 7] = [
    "SELECT ip_address, first_seen_at, last_seen_at, observation_count, asn_number, asn_org, asn_source, city, maxmind_status,
         maxmind_ts, cymru_status, greynoise_status FROM ip_inventory ORDER BY 1",
    "SELECT tbl, ip_columns, observed_at, attached_at, attached_by, observations, unparsable, last_observed_at, populated_at,
         attached_snapshot, attached_on FROM ip_source ORDER BY 1",
    "SELECT ip_address, changed_at, old_asn, old_source, new_asn, new_source FROM ip_asn_history",
    "SELECT asn_number, registry, allocated FROM asn_inventory ORDER BY 1",
    "SELECT prefix, announced, origins, country_code, registry, answered_at FROM cymru_prefix ORDER BY 1",
    "SELECT source, window_start, used FROM source_quota",
    "SELECT job_id, kind, requested_by, outcome, processed FROM enrichment_run WHERE kind = 'backfill' ORDER BY 1",
];

#[test]
fn an_updated_database_has_the_catalog_of_a_fresh_one() {
    let cluster = cluster();
    for (version, name) in VERSIONS.into_iter().zip(["updated_1", "updated_2"]) {
        old_database(name, version);
        let data = || DATA.map(|sql| cluster.lines(name, sql));
        let before = data();
        cluster.sql(name, "ALTER EXTENSION asn_inventory UPDATE");
        assert_eq!(data(), before);
        assert_as_fresh(cluster, name);
    }
}

#[test]
fn an_update_keeps_the_data_and_the_work_goes_on() {
    let cluster = cluster();
    old_database("going_on", "0.1.0");
    let before: Vec<Vec<String>> = DATA.iter().map(|sql| cluster.lines("going_on", sql)).collect();
    // A loader runs all the time, and a reader has the grants of the page of roles.
    cluster.sql(
        "going_on",
        "CREATE ROLE old_reader LOGIN; GRANT SELECT ON ip_inventory, enrichment_status TO old_reader;
         GRANT EXECUTE ON FUNCTION worker_status, mmdb_files, network_sources, source_latency TO old_reader;
         CREATE ROLE old_lister LOGIN; GRANT EXECUTE ON FUNCTION mmdb_networks TO old_lister;
         CREATE ROLE old_admin; GRANT EXECUTE ON FUNCTION attach_ip_source TO old_admin WITH GRANT OPTION;
         GRANT SELECT ON countries_by_day TO old_reader; CREATE VIEW theirs AS SELECT observations FROM countries_by_day;
         CREATE MATERIALIZED VIEW mart AS SELECT n.asn_number, n.observations, c.new_asn
             FROM new_networks n LEFT JOIN asn_changes c ON c.new_asn = n.asn_number LEFT JOIN top_networks t ON t.asn_number = n.asn_number",
    );
    // Queued rows in the old form: left alone until the update is done.
    cluster.sql(
        "going_on",
        "INSERT INTO ip_observation (address, seen, first_seen, last_seen, source, retry_at)
         VALUES ('9.9.9.9', 2, '2026-01-06Z', '2026-01-07Z', 'events', now() + interval '5 s'),
                (NULL, 3, '2026-01-06Z', '2026-01-07Z', 'events', now() + interval '5 s'),
                (NULL, 0, '2026-01-06Z', '2026-01-07Z', 'events', now() + interval '5 s')",
    );
    cluster.sql("going_on", "ALTER EXTENSION asn_inventory UPDATE");
    for (sql, before) in DATA.iter().zip(before) {
        assert_eq!(cluster.lines("going_on", sql), before, "{sql}");
    }
    cluster.sql("going_on", "INSERT INTO events (at, src) VALUES ('2026-01-05', '8.8.8.8'); INSERT INTO parts VALUES (3, '81.2.69.143');
        CREATE TABLE part_2 PARTITION OF parts FOR VALUES FROM (100) TO (200); INSERT INTO part_2 VALUES (101, '81.2.69.144')");
    cluster.wait_value("going_on", "SELECT observation_count FROM ip_inventory WHERE ip_address = '8.8.8.8'", "3");
    cluster.wait_value(
        "going_on",
        "SELECT count(*) FROM ip_inventory WHERE ip_address IN ('81.2.69.143', '81.2.69.144')",
        "2",
    );
    assert_eq!(cluster.value("going_on", "SELECT populate_ip_inventory('events')"), "0");
    // The worker's changes still go into the history.
    cluster.sql("going_on", "UPDATE ip_inventory SET maxmind_ts = '2000-01-01' WHERE ip_address = '1.1.1.1'");
    cluster.sql("going_on", "SELECT refresh_range('1.1.1.1', 'maxmind')");
    cluster.wait_value(
        "going_on",
        "SELECT string_agg(old_asn || '>' || new_asn, ' ' ORDER BY changed_at) FROM ip_asn_history",
        "13335>64500 64500>13335",
    );
    // A function that got another argument: the same roles may call it.
    let may = "SELECT has_function_privilege('old_admin', 'attach_ip_source(regclass, text[], text, text, text, text)', 'EXECUTE WITH GRANT OPTION'),
                      has_function_privilege('old_reader', 'attach_ip_source(regclass, text[], text, text, text, text)', 'EXECUTE')";
    assert_eq!(cluster.lines("going_on", may), ["t|f"]);
    // What attaching calls on the other nodes of a cluster, too.
    let note = "SELECT has_function_privilege('old_admin', p.oid, 'EXECUTE'), has_function_privilege('old_reader', p.oid, 'EXECUTE')
                FROM pg_proc p WHERE p.proname = '_note_source'";
    assert_eq!(cluster.lines("going_on", note), ["t|f"]);
    // Users' grants stay, and are in a dump: the extension's own rights are not.
    let taken = "SELECT count(*) FROM pg_init_privs WHERE initprivs::text LIKE '%old_%'";
    assert_eq!(cluster.value("going_on", taken), "0");
    let mut reader = cluster.connect_as("old_reader", "going_on");
    let seen = asn_inventory_tests::cluster::query(&mut reader, "SELECT worker FROM enrichment_status");
    assert_eq!(seen.expect("a reader of before"), [[Some("running".to_owned())]]);
    // So can who was let call the extension's own functions, by their new names.
    let own = "SELECT has_function_privilege('old_reader', p.oid, 'EXECUTE') FROM pg_proc p
               WHERE proname IN ('_worker_status', '_mmdb_files', '_network_sources', '_source_latency', '_cymru_ways') ORDER BY proname";
    assert_eq!(cluster.lines("going_on", own), ["f", "t", "t", "t", "t"]);
    // Who was let list networks needs another function for it now.
    let networks = "SELECT count(*) > 0 FROM mmdb_networks('GeoLite2-ASN')";
    let seen = asn_inventory_tests::cluster::query(&mut cluster.connect_as("old_lister", "going_on"), networks);
    assert_eq!(seen.expect("the networks"), [[Some("t".to_owned())]]);
    // A view that got another name: grants and dependent views stay.
    let days = "SELECT sum(new_addresses) > 0, sum(observations_since) > 0 FROM new_addresses_by_day";
    let seen = asn_inventory_tests::cluster::query(&mut reader, days);
    assert_eq!(seen.expect("by its new name"), [[Some("t".to_owned()), Some("t".to_owned())]]);
    assert_eq!(cluster.value("going_on", "SELECT sum(observations) > 0 FROM theirs"), "t");
    cluster.sql("going_on", "REFRESH MATERIALIZED VIEW mart");
    cluster.wait_value("going_on", "SELECT observation_count FROM ip_inventory WHERE ip_address = '9.9.9.9'", "2");
    cluster.wait_value(
        "going_on",
        "SELECT observations || ' ' || unparsable || ' ' || unobserved FROM ip_source WHERE tbl = 'events'::regclass",
        "7 3 1",
    );
}

#[test]
fn the_library_serves_a_database_that_is_not_updated_yet() {
    let cluster = cluster();
    old_database("waiting", "0.1.0");
    cluster.sql("waiting", "INSERT INTO events (at, src) VALUES (now(), '8.8.8.8')");
    cluster.wait_value("waiting", "SELECT observation_count FROM ip_inventory WHERE ip_address = '8.8.8.8'", "3");
    cluster.sql("waiting", "SELECT refresh_range('1.1.1.1', 'maxmind')");
    cluster.wait_value("waiting", "SELECT count(*) FROM ip_asn_history", "2");
    assert_eq!(cluster.value("waiting", "SELECT count(*) FROM mmdb_networks('GeoLite2-ASN', '8.8.8.0/24')"), "1");
    assert_eq!(
        cluster.lines("waiting", "SELECT level, remedy FROM enrichment_doctor() WHERE check_name = 'version'"),
        ["error|ALTER EXTENSION asn_inventory UPDATE;"]
    );
    // The doctor calls the extension's own functions by the names that they have here.
    assert_eq!(cluster.value("waiting", "SELECT level FROM enrichment_doctor() WHERE check_name = 'worker'"), "ok");
    assert_eq!(cluster.value("waiting", "SELECT level FROM enrichment_doctor() WHERE check_name = 'dns'"), "ok");
    cluster.sql("waiting", "ALTER EXTENSION asn_inventory UPDATE");
    assert_eq!(cluster.value("waiting", "SELECT level FROM enrichment_doctor() WHERE check_name = 'version'"), "ok");
    // What the tables had no columns for is written by a walk.
    let registered = "SELECT registered_country_code FROM ip_inventory WHERE ip_address = '81.2.69.142'";
    let told = "SELECT (lookup_ip('81.2.69.142')).registered_country_code";
    assert_ne!(cluster.value("waiting", told), "");
    cluster.wait_value("waiting", registered, &cluster.value("waiting", told));
}

/// Whoever may create tables in the extension's schema must not be given what others observe.
#[test]
fn tables_of_others_under_later_names_get_nothing() {
    let cluster = cluster();
    old_database("planted", "0.1.0");
    cluster.sql(
        "planted",
        "CREATE TABLE ip_sighting_source (id int PRIMARY KEY, tbl regclass, name text NOT NULL, sensor text NOT NULL DEFAULT '', attached boolean NOT NULL DEFAULT true,
             first_seen_at timestamptz, last_seen_at timestamptz, left_out bigint NOT NULL DEFAULT 0);
         CREATE TABLE ip_sighting (ip_address inet, source_id int, first_seen_at timestamptz, last_seen_at timestamptz, observation_count bigint, PRIMARY KEY (ip_address, source_id));
         CREATE TABLE ip_activity (bucket timestamptz, by_day boolean DEFAULT false, source_id int, addresses int, packed bytea, counted boolean DEFAULT false)",
    );
    let mut holder = cluster.connect("planted");
    holder.batch_execute("BEGIN; LOCK TABLE ip_sighting").expect("a lock");
    cluster.sql("planted", "INSERT INTO events (at, src) VALUES (now(), '8.8.8.8')");
    cluster.wait_value("planted", "SELECT observation_count FROM ip_inventory WHERE ip_address = '8.8.8.8'", "3");
    holder.batch_execute("COMMIT").expect("the end");
    let kept = "SELECT (SELECT count(*) FROM ip_sighting) + (SELECT count(*) FROM ip_sighting_source) + (SELECT count(*) FROM ip_activity)";
    assert_eq!(cluster.value("planted", kept), "0");
}
