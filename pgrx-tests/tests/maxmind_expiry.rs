//! The conditions of the files' licence: the attribution line, a warning of old builds, and removal of old answers.

use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;

const DB: &str = "postgres";

fn cluster(days_old: u64) -> Cluster {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "50ms").start();
    fixtures::small_built_at(&cluster.maxmind_dir(), fixtures::days_ago(days_old));
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.wait_walked(DB);
    cluster.sql(DB, "INSERT INTO ip_inventory (ip_address, observation_count) VALUES ('8.8.8.8', 7), ('81.2.69.142', 1), ('10.0.0.1', 2), ('34.64.0.1', 3)");
    cluster.sql(DB, "SELECT backfill_inventory()");
    cluster
}

#[test]
fn an_outdated_build_is_reported_and_its_answers_are_cleared_until_a_newer_one_is_installed() {
    let cluster = cluster(40);
    // One that is old is enough.
    let city = fixtures::small_city(fixtures::days_ago(1));
    city.write(&cluster.maxmind_dir().join("GeoLite2-City.mmdb")).expect("a file");
    cluster.wait_value(DB, "SELECT count(*) FROM mmdb_editions() WHERE build_time > now() - interval '3 days'", "1");
    let walked = "SELECT array_agg(generation) <@ (SELECT generations FROM maxmind_walk) FROM mmdb_editions()";
    cluster.wait_value(DB, walked, "t");
    assert_eq!(cluster.value(DB, "SELECT state FROM source_status WHERE source = 'maxmind'"), "outdated");
    // Answers of other sources do not belong to the build, and open questions to them can be asked now.
    cluster.sql(
        DB,
        "UPDATE ip_inventory SET network = '81.2.64.0/20', asn_number = 64500, asn_org = 'By Cymru', asn_source = 'cymru',
            country_code = 'IE', country_source = 'cymru', cymru_status = 'found'
         WHERE ip_address = '81.2.69.142';
         UPDATE ip_inventory SET cymru_status = 'skipped', cymru_detail = NULL WHERE ip_address = '8.8.8.8';
         UPDATE ip_inventory SET cymru_status = 'skipped', cymru_detail = 'why' WHERE ip_address = '34.64.0.1'",
    );
    let named = "SELECT string_agg(asn_number || ' ' || asn_org, ', ' ORDER BY asn_number) FROM asn_inventory";
    cluster.wait_value(DB, named, "15169 Google LLC, 64500 By Cymru, 396982 Google LLC");
    for age in ["41 days", "-1 day"] {
        assert_eq!(cluster.value(DB, &format!("SELECT purge_expired_maxmind('{age}')")), "0");
    }
    assert_eq!(cluster.value(DB, "SELECT purge_expired_maxmind()"), "3");
    assert_eq!(
        cluster.lines(
            DB,
            "SELECT ip_address, observation_count, network, asn_number, asn_org, asn_source, country_code,
                    country_source, maxmind_status, cymru_status, enrichment_ts IS NOT NULL
             FROM ip_inventory WHERE ip_class = 'public' ORDER BY ip_address"
        ),
        [
            "8.8.8.8|7|||||||unavailable|pending|f",
            "34.64.0.1|3|||||||unavailable|skipped|f",
            "81.2.69.142|1|81.2.64.0/20|64500|By Cymru|cymru|IE|cymru|unavailable|found|t",
        ]
    );
    // Nor does the name come back by way of the AS, which is known for ever.
    assert_eq!(cluster.value(DB, named), "64500 By Cymru");
    let then = "SELECT asn_number, asn_org FROM ip_network_at('8.8.8.8', now() - interval '1 day')";
    assert_eq!(cluster.lines(DB, then), ["15169|"]);
    assert_eq!(cluster.value(DB, "SELECT purge_expired_maxmind()"), "0");
    assert_eq!(cluster.value(DB, named), "64500 By Cymru", "again and again");
    // Only the build has these.
    let places = "SELECT count(*) FROM ip_inventory WHERE num_nonnulls(region, city, latitude, longitude,
        accuracy_radius_km, time_zone, maxmind_ts) > 0 AND ip_class = 'public'";
    assert_eq!(cluster.value(DB, places), "0");
    assert_eq!(cluster.value(DB, "SELECT maxmind_status FROM ip_inventory WHERE ip_address = '10.0.0.1'"), "skipped");

    fixtures::small_built_at(&cluster.maxmind_dir(), fixtures::days_ago(1));
    cluster.wait_value(DB, "SELECT state FROM source_status WHERE source = 'maxmind'", "ok");
    cluster.wait_value(DB, "SELECT asn_number FROM ip_inventory WHERE ip_address = '8.8.8.8'", "15169");
    cluster.wait_value(DB, "SELECT asn_org FROM asn_inventory WHERE asn_number = 15169", "Google LLC");
    assert_eq!(cluster.value(DB, "SELECT purge_expired_maxmind()"), "0", "what the newer build said");
}

#[test]
fn rows_not_confirmed_by_a_present_build_or_a_walk_expire() {
    let cluster = cluster(1);
    let age = "UPDATE ip_inventory SET maxmind_ts = now() - interval '31 days' WHERE ip_address = ";
    cluster.sql(DB, &format!("{age} '8.8.8.8'"));
    assert_eq!(cluster.value(DB, "SELECT purge_expired_maxmind()"), "0");
    // A walk that compared with one of the two only.
    cluster.sql(DB, "UPDATE maxmind_walk SET generations = generations[1:1]");
    assert_eq!(cluster.value(DB, "SELECT purge_expired_maxmind()"), "1");
    assert_eq!(cluster.value(DB, "SELECT asn_number IS NULL FROM ip_inventory WHERE ip_address = '8.8.8.8'"), "t");
    // As in a database that was restored, or whose walks are off.
    cluster.sql(DB, &format!("{age} '34.64.0.1'; DELETE FROM maxmind_walk"));
    assert_eq!(cluster.value(DB, "SELECT purge_expired_maxmind()"), "1");
    assert_eq!(cluster.value(DB, "SELECT asn_number IS NULL FROM ip_inventory WHERE ip_address = '34.64.0.1'"), "t");
}

/// A file's name goes before Team Cymru's while there is the file.
#[test]
fn the_name_of_an_as_after_a_purge_is_team_cymrus_or_none() {
    let cluster = cluster(40);
    cluster.sql(
        DB,
        "UPDATE ip_inventory SET asn_number = 15169, asn_org = 'GOOGLE, US', asn_source = 'cymru', cymru_status = 'found'
         WHERE ip_address = '34.64.0.1';
         INSERT INTO asn_inventory (asn_number, asn_org, registry, details_ts)
         VALUES (64510, 'Unknown to Team Cymru', NULL, now()), (64511, 'By Cymru', 'arin', now())",
    );
    let named = "SELECT asn_number, asn_org FROM asn_inventory WHERE asn_number IN (15169, 64510, 64511) ORDER BY 1";
    wait_for(
        "the names",
        || cluster.lines(DB, named),
        |found| found == &["15169|Google LLC", "64510|Unknown to Team Cymru", "64511|By Cymru"],
    );
    cluster.sql(DB, "SELECT purge_expired_maxmind()");
    assert_eq!(cluster.lines(DB, named), ["15169|GOOGLE, US", "64510|", "64511|By Cymru"]);
}

/// A file of one's own networks may be as old as they are.
#[test]
fn the_age_of_other_files_clears_nothing_unless_they_are_all_there_is() {
    let list = "GeoLite2-City,GeoLite2-ASN,our-nets=origin";
    let cluster = Cluster::builder().conf("asn_inventory.maxmind_editions", list).start();
    let dir = cluster.maxmind_dir();
    fixtures::small_built_at(&dir, fixtures::days_ago(1));
    let ours = json!({ "autonomous_system_number": 64500, "autonomous_system_organization": "Ours" });
    let ours = MmdbWriter::new("Our-Nets", fixtures::days_ago(60)).insert("198.51.99.0/24", ours);
    ours.write(&dir.join("our-nets.mmdb")).expect("a file");
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    let walked =
        "SELECT count(*) = 3 AND array_agg(generation) <@ (SELECT generations FROM maxmind_walk) FROM mmdb_editions()";
    cluster.wait_value(DB, walked, "t");
    cluster.sql(DB, "INSERT INTO ip_inventory (ip_address) VALUES ('8.8.8.8'), ('198.51.99.1')");
    // In a transaction of its own: it sees what is committed.
    cluster.sql(DB, "SELECT backfill_inventory()");
    assert_eq!(cluster.value(DB, "SELECT purge_expired_maxmind()"), "0");
    assert_eq!(
        cluster.lines(DB, "SELECT asn_number, asn_org FROM ip_inventory ORDER BY ip_address"),
        ["15169|Google LLC", "64500|Ours"]
    );
    cluster.set("asn_inventory.maxmind_editions", "our-nets=origin");
    cluster.wait_value(DB, "SELECT count(*) FROM _mmdb_files()", "1");
    assert_eq!(cluster.value(DB, "SELECT purge_expired_maxmind()"), "2");
}

/// A database that was restored on a server without files: the age of its answers is unknown.
#[test]
fn without_a_build_every_maxmind_answer_is_cleared() {
    let cluster = Cluster::builder().start();
    cluster.sql(
        DB,
        "CREATE EXTENSION asn_inventory;
         INSERT INTO ip_inventory (ip_address, city, maxmind_status, maxmind_ts)
         VALUES ('8.8.8.8', 'Restored', 'found', now()), ('8.8.4.4', NULL, 'pending', NULL)",
    );
    assert_eq!(cluster.value(DB, "SELECT purge_expired_maxmind()"), "1");
    assert_eq!(
        cluster.lines(DB, "SELECT ip_address, city, maxmind_status FROM ip_inventory ORDER BY ip_address"),
        ["8.8.4.4||pending", "8.8.8.8||unavailable"]
    );
}

#[test]
fn mmdb_editions_shows_attribution_and_open_processes() {
    let cluster = cluster(1);
    let users = "SELECT max(in_use_by) FROM mmdb_editions()";
    let before: i64 = cluster.value(DB, users).parse().expect("a number");
    let mut sessions: Vec<_> = (0..3).map(|_| cluster.connect(DB)).collect();
    for session in &mut sessions {
        query(session, "SELECT ip_asn('8.8.8.8')").expect("an answer");
    }
    let during: i64 = cluster.value(DB, users).parse().expect("a number");
    assert!(during >= before + 3, "{before}, then {during}");
    // Another server with the same files does not count.
    let other = self::cluster(1);
    assert!(other.value(DB, users).parse::<i64>().is_ok_and(|there| there < during), "{during}");
    drop(sessions);
    wait_until("the sessions to be gone", || {
        cluster.value(DB, users).parse::<i64>().is_ok_and(|now| now <= during - 3)
    });
    assert_eq!(cluster.value(DB, "SELECT bool_and(attribution LIKE '%MaxMind%') FROM mmdb_editions()"), "t");
}
