//! A hot standby answers and writes nothing; promoted, it works as a primary does.

use asn_inventory_tests::prelude::*;

const DB: &str = "postgres";
const OURS: &str = "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'asn_inventory%'";

fn pair() -> (Cluster, Cluster) {
    let primary = Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").start();
    fixtures::small(&primary.maxmind_dir());
    primary.sql(
        DB,
        "CREATE EXTENSION asn_inventory; CREATE TABLE events (ip inet); SELECT attach_ip_source('events', ARRAY['ip']);
         INSERT INTO events VALUES ('8.8.8.8'), ('81.2.69.142'), ('8.8.8.8')",
    );
    primary.wait_value(DB, "SELECT sum(observation_count) FROM ip_inventory", "3");
    let standby = primary.standby();
    standby.wait_replay(&primary);
    (primary, standby)
}

#[test]
fn a_standby_answers_and_writes_nothing() {
    let (primary, standby) = pair();
    let value = |sql: &str| standby.value(DB, sql);
    assert_eq!(
        value("SELECT ip_country('81.2.69.142') || ip_asn('8.8.8.8') || ip_class('10.0.0.1')"),
        "GB15169private"
    );
    assert_eq!(value("SELECT (lookup_ip('51.68.0.1')).city"), "Roubaix");
    assert_eq!(value("SELECT mmdb_record('GeoLite2-ASN', '8.8.8.8') ->> 'autonomous_system_number'"), "15169");
    assert_eq!(value("SELECT count(*) > 10 FROM mmdb_networks('GeoLite2-ASN')"), "t");

    // A row of the primary, an unknown address, and one with a wait.
    assert_eq!(value("SELECT (enrich_ip('81.2.69.142')).city"), "London");
    assert_eq!(value("SELECT (enrich_ip('51.68.0.1')).city"), "Roubaix");
    assert_eq!(value("SELECT (e).greynoise_status FROM enrich_ip('51.68.0.1', '2 s') e"), "pending");
    assert_eq!(value("SELECT count(*) FROM ip_observation"), "0");
    primary.wait_value(DB, "SELECT count(*) FROM ip_inventory", "2");

    assert_eq!(value("SELECT worker FROM enrichment_status"), "standby");
    assert_eq!(value("SELECT count(*) FROM enrichment_progress"), "0");
    assert_eq!(value(OURS), "0");
    let refused = standby.fails(DB, "SELECT backfill_inventory()");
    assert_eq!((refused.code.as_str(), refused.hint.as_str()), ("25006", "Run this on the primary."), "{refused:?}");
    for writes in [
        "SELECT absorb_observations()",
        "SELECT attach_ip_source('events', ARRAY['ip'])",
        "SELECT detach_ip_source('events')",
        "SELECT populate_ip_inventory('events')",
    ] {
        assert_eq!(standby.fails(DB, writes).code, "25006", "{writes}");
    }
    assert_eq!(value("SELECT pg_is_in_recovery()"), "t");
    assert!(!standby.log().contains("PANIC") && !standby.log().contains("TRAP"), "{}", standby.log_tail());
}

#[test]
fn a_standby_imports_its_own_files_and_works_once_promoted() {
    let (primary, standby) = pair();
    let mut session = standby.connect(DB);
    let mut city = || session.query_one("SELECT ip_city('81.2.69.142')", &[]).expect("an answer").get::<_, String>(0);
    assert_eq!(city(), "London");
    let newer = standby.maxmind_dir().join("new");
    std::fs::create_dir(&newer).expect("a directory");
    fixtures::small_city(fixtures::days_ago(0))
        .insert("81.2.69.142/32", json!({"city": {"names": {"en": "Stand-by"}}, "country": {"iso_code": "GB"}}))
        .write(&newer.join("GeoLite2-City.mmdb"))
        .expect("a file");
    standby.install_mmdb(&newer);
    wait_until("the standby's own file to answer", || city() == "Stand-by");
    assert_eq!(primary.value(DB, "SELECT ip_city('81.2.69.142')"), "London");
    assert_eq!(standby.value(DB, OURS), "0");

    standby.promote();
    standby.sql(DB, "INSERT INTO events VALUES ('8.8.8.8'), ('51.68.0.1')");
    standby.wait_value(
        DB,
        "SELECT string_agg(host(ip_address) || ' ' || observation_count, ',' ORDER BY ip_address) FROM ip_inventory",
        "8.8.8.8 3,51.68.0.1 1,81.2.69.142 1",
    );
    assert_eq!(standby.value(DB, "SELECT worker FROM enrichment_status"), "running");
    assert_eq!(city(), "Stand-by", "the session of before the promotion");
    standby.sql(DB, "INSERT INTO ip_inventory (ip_address) VALUES ('1.1.1.1')");
    assert_eq!(standby.value(DB, "SELECT processed FROM backfill_inventory()"), "1");
    assert_eq!(standby.value(DB, "SELECT (enrich_ip('3.120.0.1', '10 s')).country_code"), "DE");
    // And files are now the launcher's business.
    fixtures::small_city(fixtures::days_ago(0))
        .insert("81.2.69.142/32", json!({"city": {"names": {"en": "Promoted"}}, "country": {"iso_code": "GB"}}))
        .write(&newer.join("GeoLite2-City.mmdb"))
        .expect("a file");
    standby.install_mmdb(&newer);
    wait_until("the promoted server's file to answer", || city() == "Promoted");
    assert_eq!(primary.value(DB, "SELECT count(*) FROM ip_inventory"), "2");
}

#[test]
fn rows_that_the_primary_absorbs_arrive_at_the_standby() {
    let (primary, standby) = pair();
    primary.sql(DB, "INSERT INTO events SELECT '34.64.0.0'::inet + i FROM generate_series(1, 5000) i");
    primary.wait_value(DB, "SELECT count(*) FROM ip_inventory", "5002");
    standby.wait_replay(&primary);
    standby.wait_value(DB, "SELECT count(*) FROM ip_inventory WHERE asn_number = 396982", "5000");
    assert_eq!(standby.value(DB, "SELECT (enrich_ip('34.64.0.7')).asn_org"), "Google LLC");
    // A standby that is cut and restarted is still a standby.
    standby.stop_immediate();
    standby.start();
    assert_eq!(standby.value(DB, "SELECT ip_city('81.2.69.142')"), "London");
    assert_eq!(standby.value(DB, OURS), "0");
}
