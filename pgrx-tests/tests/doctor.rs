//! `enrichment_doctor()`: nothing but ok where all is well, each fault by its name, and a remedy that mends it.

use asn_inventory_tests::prelude::*;

const DB: &str = "postgres";
const TROUBLE: &str = "SELECT check_name, level FROM enrichment_doctor() WHERE level <> 'ok' ORDER BY 1";

fn cluster() -> Cluster {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "50ms").start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql(
        DB,
        "CREATE EXTENSION asn_inventory; CREATE TABLE event (ip inet); SELECT attach_ip_source('event', '{ip}')",
    );
    cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    cluster.wait_value(DB, "SELECT count(*) FROM mmdb_editions() WHERE generation IS NOT NULL", "2");
    cluster
}

fn remedy(cluster: &Cluster, check: &str) -> String {
    cluster.value(DB, &format!("SELECT remedy FROM enrichment_doctor() WHERE check_name = '{check}' AND level <> 'ok'"))
}

#[test]
fn a_healthy_server_is_nothing_but_ok_and_each_check_is_named_once() {
    let cluster = cluster();
    assert_eq!(cluster.lines(DB, TROUBLE), [""; 0]);
    assert_eq!(
        cluster.value(DB, "SELECT count(*) = count(DISTINCT check_name) AND count(*) >= 20 FROM enrichment_doctor()"),
        "t"
    );
    assert_eq!(
        cluster.value(DB, "SELECT count(*) FROM enrichment_doctor() WHERE (detail IS NOT NULL AND check_name NOT LIKE 'key %') OR remedy IS NOT NULL"),
        "0"
    );
}

#[test]
fn a_fault_is_named_and_its_remedy_mends_it() {
    let cluster = cluster();
    for (check, level, fault) in [
        (
            "triggers",
            "error",
            "DO $$ BEGIN EXECUTE (SELECT format('ALTER TABLE event DISABLE TRIGGER %I', tgname) FROM pg_trigger WHERE tgrelid = 'event'::regclass LIMIT 1); END $$",
        ),
        ("autovacuum", "warning", "ALTER TABLE ip_inventory SET (autovacuum_enabled = off)"),
        ("grants", "warning", "GRANT INSERT ON ip_inventory TO PUBLIC"),
        ("index", "warning", "UPDATE pg_class SET reltuples = 2000000 WHERE oid = 'event'::regclass"),
    ] {
        cluster.sql(DB, fault);
        assert_eq!(cluster.lines(DB, TROUBLE), [format!("{check}|{level}")], "after {fault}");
        cluster.sql(DB, &remedy(&cluster, check));
        assert_eq!(cluster.lines(DB, TROUBLE), [""; 0], "after the remedy for {check}");
    }
    cluster.set("asn_inventory.enabled", "off");
    assert_eq!(cluster.lines(DB, TROUBLE), ["enabled|warning"]);
    cluster.set("asn_inventory.enabled", "on");
    assert_eq!(cluster.lines(DB, TROUBLE), [""; 0]);
}

#[test]
fn files_that_are_missing_outdated_refused_or_of_one_kind_are_named() {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "50ms").start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    assert_eq!(cluster.lines(DB, TROUBLE), ["mmdb files|error"]);
    let old = fixtures::days_ago(40);
    fixtures::small_asn(old).write(&cluster.maxmind_dir().join("GeoLite2-ASN.mmdb")).expect("a file");
    cluster.wait_value(DB, "SELECT count(*) FROM mmdb_editions() WHERE generation IS NOT NULL", "1");
    assert_eq!(cluster.lines(DB, TROUBLE), ["mmdb age|warning", "mmdb editions|warning"]);
    std::fs::write(cluster.maxmind_dir().join("GeoLite2-City.mmdb"), "no database").expect("a file");
    cluster.wait_value(DB, "SELECT count(*) FROM mmdb_editions() WHERE refused IS NOT NULL", "1");
    assert_eq!(cluster.lines(DB, TROUBLE), ["mmdb age|warning", "mmdb editions|warning", "mmdb refused|warning"]);
    // Without a key, there is nothing to update from: the job's reason stands here, too.
    cluster.sql(DB, "SELECT update_maxmind()");
    cluster.wait_value(DB, "SELECT outcome FROM enrichment_run WHERE kind = 'update'", "failed");
    let said = "SELECT detail LIKE '%asn_inventory.maxmind_license_key%' FROM enrichment_doctor() WHERE check_name = 'maxmind downloads'";
    assert_eq!(cluster.value(DB, said), "t");
}

#[test]
fn a_server_without_preload_is_told_so() {
    let cluster = Cluster::builder().preload(false).start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    let found = cluster.lines(DB, "SELECT ip_asn('8.8.8.8') IS NOT NULL");
    assert_eq!(found, ["t"]);
    assert_eq!(cluster.lines(DB, TROUBLE), ["preload|error"]);
    assert!(remedy(&cluster, "preload").contains("shared_preload_libraries = asn_inventory"));
}
