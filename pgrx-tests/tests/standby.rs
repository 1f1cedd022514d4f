//! A hot standby answers and writes nothing; promoted, it works as a primary does.

use asn_inventory_tests::cluster::Builder;
use asn_inventory_tests::mmdb::synthetic::Plan;
use asn_inventory_tests::prelude::*;

const DB: &str = "postgres";
/// The extension's processes.
const OURS: &str = "SELECT string_agg(DISTINCT backend_type, ',' ORDER BY backend_type) FROM pg_stat_activity
    WHERE backend_type LIKE 'asn_inventory%'";
/// Those of a standby: they install files, and no more.
const INSTALL: &str = "asn_inventory launcher,asn_inventory worker";

fn pair() -> (Cluster, Cluster) {
    pair_of(Cluster::builder())
}

fn pair_of(primary: Builder) -> (Cluster, Cluster) {
    let primary = primary.conf("asn_inventory.absorb_interval", "20ms").start();
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
    standby.wait_value(DB, OURS, INSTALL);
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
    standby.wait_value(DB, OURS, INSTALL);
}

/// A City file of today whose answer for one address is this name.
fn install(cluster: &Cluster, city: &str) {
    let newer = cluster.maxmind_dir().join("new");
    std::fs::create_dir_all(&newer).expect("a directory");
    fixtures::small_city(fixtures::days_ago(0))
        .insert("81.2.69.142/32", json!({"city": {"names": {"en": city}}, "country": {"iso_code": "GB"}}))
        .write(&newer.join("GeoLite2-City.mmdb"))
        .expect("a file");
    cluster.install_mmdb(&newer);
}

const CITY: &str = "SELECT ip_city('81.2.69.142')";
const ELSEWHERE: &str = "SELECT string_agg(level || ' ' || coalesce(remedy, ''), ',') FROM enrichment_doctor()
    WHERE check_name = 'mmdb elsewhere'";

#[test]
fn files_of_the_primary_reach_its_standbys_by_themselves() {
    let (primary, standby) = pair();
    install(&primary, "Shared");
    standby.wait_value(DB, CITY, "Shared");
    // In the midst of it, and after it.
    install(&primary, "Shared again");
    primary.wait_value(DB, CITY, "Shared again");
    standby.stop_immediate();
    standby.start();
    standby.wait_value(DB, CITY, "Shared again");
    let second = primary.standby();
    second.wait_value(DB, CITY, "Shared again");
    for server in [&primary, &standby, &second] {
        assert_eq!(server.value(DB, ELSEWHERE), "ok ");
    }
    // Promoted, it shares its own files in turn.
    standby.promote();
    install(&standby, "Promoted");
    standby.wait_value(DB, CITY, "Promoted");
    let third = standby.standby();
    install(&standby, "After the promotion");
    third.wait_value(DB, CITY, "After the promotion");
    assert_eq!(primary.value(DB, CITY), "Shared again");
}

#[test]
fn a_file_that_cannot_be_read_keeps_no_other_from_travelling() {
    let primary = Cluster::builder().start();
    fixtures::small(&primary.maxmind_dir());
    primary.sql(DB, "CREATE EXTENSION asn_inventory");
    primary.wait_value(DB, "SELECT count(*) FROM mmdb_editions() WHERE build_time IS NOT NULL", "2");
    let generations = primary.data_dir().join("asn_inventory/generations");
    // Without the operator's file, nothing brings it back.
    std::fs::remove_file(primary.maxmind_dir().join("GeoLite2-City.mmdb")).expect("removed");
    let entries = std::fs::read_dir(&generations).expect("the store").flatten();
    let city = entries.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("GeoLite2-City"));
    std::fs::remove_dir_all(city.expect("a generation")).expect("removed");
    let _standby = primary.standby();
    primary.wait_value(DB, "SELECT string_agg(edition, ',') FROM mmdb_shared", "GeoLite2-ASN");
    primary.wait_value(
        DB,
        "SELECT string_agg(work, ',') FROM worker_errors()",
        "sharing mmdb files with other servers",
    );
}

#[test]
fn a_standby_with_other_files_says_so() {
    let (primary, standby) = pair();
    primary.wait_value(DB, "SELECT count(*) FROM mmdb_shared", "2");
    install(&standby, "Of the standby");
    standby.wait_value(DB, CITY, "Of the standby");
    // Not at once: a file may be on its way.
    assert_eq!(standby.value(DB, ELSEWHERE), "ok ");
    primary.sql(DB, "UPDATE mmdb_shared SET shared_at = shared_at - interval '1 hour'");
    let own = "warning SHOW asn_inventory.maxmind_dir;  -- the file came from this directory of this server; put it into that of the primary as well";
    standby.wait_value(DB, ELSEWHERE, own);

    standby.set("asn_inventory.share_mmdb_files", "off");
    install(&primary, "Of the primary");
    primary.wait_value(DB, "SELECT count(*) FROM mmdb_shared WHERE shared_at > now() - interval '30 min'", "1");
    standby.wait_replay(&primary);
    assert_eq!(standby.value(DB, CITY), "Of the standby");
    standby.sql(DB, "ALTER SYSTEM SET asn_inventory.share_mmdb_files = 'auto'");
    standby.sql(DB, "SELECT pg_reload_conf()");
    standby.wait_value(DB, CITY, "Of the primary");
    standby.wait_value(DB, ELSEWHERE, "ok ");
}

#[test]
fn a_standby_takes_no_files_from_a_table_that_others_may_write() {
    let (primary, standby) = pair();
    primary.wait_value(DB, "SELECT count(*) FROM mmdb_shared", "2");
    primary.sql(DB, "CREATE ROLE intruder; ALTER TABLE mmdb_shared_part OWNER TO intruder");
    install(&primary, "Not shared");
    primary.wait_value(DB, CITY, "Not shared");
    // What is written by hand is not taken either.
    primary.sql(
        DB,
        "UPDATE mmdb_shared SET sha256 = encode(sha256('x'), 'hex'), bytes = 1 WHERE edition = 'GeoLite2-City';
         UPDATE mmdb_shared_part SET data = 'x' WHERE edition = 'GeoLite2-City'",
    );
    standby.wait_replay(&primary);
    // It looks every three seconds: its process has gone on for longer than that since the forgery arrived.
    let arrived = standby.value(DB, "SELECT now()");
    let looked = format!(
        "SELECT bool_and(state_change > '{arrived}'::timestamptz + interval '4 s') FROM pg_stat_activity
         WHERE backend_type = 'asn_inventory worker'"
    );
    standby.wait_value(DB, &looked, "t");
    assert_eq!(standby.value(DB, CITY), "London");
    primary.sql(DB, "ALTER TABLE mmdb_shared_part OWNER TO CURRENT_USER");
    standby.wait_value(DB, CITY, "Not shared");
}

const GENERATION: &str = "SELECT generation FROM mmdb_editions() WHERE edition = 'GeoLite2-City'";

#[test]
fn a_file_of_many_parts_reaches_a_standby_of_a_standby() {
    // A backup of a standby needs whole pages in the WAL.
    let (primary, standby) = pair_of(Cluster::builder().conf("full_page_writes", "on"));
    let second = standby.standby();
    let newer = primary.maxmind_dir().join("new");
    std::fs::create_dir_all(&newer).expect("a directory");
    Plan::full_city(7, fixtures::days_ago(0)).smaller(16).write(&newer.join("GeoLite2-City.mmdb")).expect("a file");
    let before = primary.value(DB, GENERATION);
    primary.install_mmdb(&newer);
    wait_until("the new file", || primary.value(DB, GENERATION) != before);
    let now = primary.value(DB, GENERATION);
    for server in [&standby, &second] {
        server.wait_value(DB, GENERATION, &now);
        assert_eq!(server.value(DB, ELSEWHERE), "ok ");
    }
    let parts = "SELECT count(*) > 2 FROM mmdb_shared_part WHERE edition = 'GeoLite2-City'";
    assert_eq!(second.value(DB, parts), "t");
}
