//! What the licence of the files asks for: the line to be shown, a warning of old builds, and old answers cleared.

use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;

const DB: &str = "postgres";

fn cluster(days_old: u64) -> Cluster {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "50ms").start();
    fixtures::small_built_at(&cluster.maxmind_dir(), fixtures::days_ago(days_old));
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    cluster.wait_value(DB, "SELECT count(*) FROM mmdb_editions() WHERE generation IS NOT NULL", "2");
    cluster.sql(DB, "INSERT INTO ip_inventory (ip_address, observation_count) VALUES ('8.8.8.8', 7), ('81.2.69.142', 1), ('10.0.0.1', 2)");
    cluster.sql(DB, "SELECT backfill_inventory()");
    cluster
}

#[test]
fn an_outdated_build_is_said_and_what_it_left_is_cleared_until_a_newer_one_answers() {
    let cluster = cluster(40);
    assert_eq!(cluster.value(DB, "SELECT state FROM source_status WHERE source = 'maxmind'"), "outdated");
    // Somebody else's answer is none of the build's.
    cluster.sql(
        DB,
        "UPDATE ip_inventory SET asn_number = 64500, asn_org = 'By Cymru', asn_source = 'cymru', cymru_status = 'found'
         WHERE ip_address = '81.2.69.142'",
    );
    assert_eq!(cluster.value(DB, "SELECT purge_expired_maxmind('41 days')"), "0");
    assert_eq!(cluster.value(DB, "SELECT purge_expired_maxmind()"), "2");
    assert_eq!(
        cluster.lines(
            DB,
            "SELECT ip_address, observation_count, asn_number, country_code, city, latitude, maxmind_status, maxmind_ts
             FROM ip_inventory WHERE ip_class = 'public' ORDER BY ip_address"
        ),
        ["8.8.8.8|7|||||unavailable|", "81.2.69.142|1|64500||||unavailable|"]
    );
    assert_eq!(cluster.value(DB, "SELECT maxmind_status FROM ip_inventory WHERE ip_address = '10.0.0.1'"), "skipped");

    fixtures::small_built_at(&cluster.maxmind_dir(), fixtures::days_ago(1));
    cluster.wait_value(DB, "SELECT state FROM source_status WHERE source = 'maxmind'", "ok");
    cluster.wait_value(DB, "SELECT asn_number FROM ip_inventory WHERE ip_address = '8.8.8.8'", "15169");
    assert_eq!(cluster.value(DB, "SELECT purge_expired_maxmind()"), "0", "what the newer build said");
}

#[test]
fn rows_that_no_build_of_now_confirmed_expire_and_those_that_a_walk_confirmed_do_not() {
    let cluster = cluster(1);
    cluster.sql(DB, "UPDATE ip_inventory SET maxmind_ts = now() - interval '31 days' WHERE ip_address = '8.8.8.8'");
    assert_eq!(cluster.value(DB, "SELECT purge_expired_maxmind()"), "0");
    // As in a database that was restored, or whose walks are off.
    cluster.sql(DB, "DELETE FROM maxmind_walk");
    assert_eq!(cluster.value(DB, "SELECT purge_expired_maxmind()"), "1");
    assert_eq!(cluster.value(DB, "SELECT asn_number IS NULL FROM ip_inventory WHERE ip_address = '8.8.8.8'"), "t");
}

#[test]
fn editions_name_their_licence_and_who_has_them_open() {
    let cluster = cluster(1);
    let users = "SELECT max(in_use_by) FROM mmdb_editions()";
    let before: i64 = cluster.value(DB, users).parse().expect("a number");
    let mut sessions: Vec<_> = (0..3).map(|_| cluster.connect(DB)).collect();
    for session in &mut sessions {
        query(session, "SELECT ip_asn('8.8.8.8')").expect("an answer");
    }
    let during: i64 = cluster.value(DB, users).parse().expect("a number");
    assert!(during >= before + 3, "{before}, then {during}");
    drop(sessions);
    wait_until("the sessions to be gone", || {
        cluster.value(DB, users).parse::<i64>().is_ok_and(|now| now <= during - 3)
    });
    assert_eq!(cluster.value(DB, "SELECT bool_and(attribution LIKE '%MaxMind%') FROM mmdb_editions()"), "t");
}
