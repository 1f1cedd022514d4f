//! The views and ip_story on an inventory that was made by hand, and on one that the sources filled.

use crate::network_support::*;
use asn_inventory_tests::prelude::*;

const EVENTS: &str =
    "SELECT event, source, regexp_replace(detail, 'as counted (last|at .* UTC)', 'as counted then') FROM ip_story";

/// A cluster without network sources, with files, and rows of a known kind.
fn by_hand() -> Cluster {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "1h").start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.wait_walked(DB);
    cluster.sql(
        DB,
        "INSERT INTO asn_inventory (asn_number, asn_org, country_code, first_seen_at, last_seen_at, ip_count, observation_count)
         VALUES (64500, 'OLD BIG', 'DE', now() - interval '400 days', now(), 3, 75),
                (64501, 'NEW SMALL', NULL, now() - interval '6 days', now() - interval '5 days', 2, 20),
                (64502, 'NEWER', 'FR', now() - interval '1 day', now(), 1, 5),
                (64503, 'LEFT', 'US', now() - interval '1 day', now(), 0, 0);
         INSERT INTO ip_inventory (ip_address, first_seen_at, last_seen_at, observation_count, asn_number, asn_org, ip_class,
             country_code, country_source, scanner_noise, scanner_riot, scanner_classification, scanner_name, scanner_ts,
             greynoise_status)
         VALUES ('9.0.0.1', '2026-03-01 23:30Z', '2026-03-05Z', 40, 64500, 'OLD BIG', 'public', 'DE', 'maxmind',
                     true, false, 'malicious', 'unknown', '2026-03-02Z', 'found'),
                ('9.0.0.2', '2026-03-01 00:10Z', '2026-03-01 00:10Z', 5, 64500, 'OLD BIG', 'public', 'DE', 'cymru',
                     true, false, NULL, NULL, '2026-03-02Z', 'found'),
                ('9.0.0.3', '2026-03-02 00:00Z', '2026-03-02Z', 30, 64500, 'OLD BIG', 'public', NULL, NULL,
                     true, false, 'benign', 'Survey', '2026-03-02Z', 'found'),
                ('9.0.0.4', '2026-03-02 12:00Z', '2026-03-03Z', 15, 64501, 'NEW SMALL', 'public', 'FR', 'maxmind',
                     false, true, 'benign', 'Mail Service', '2026-03-02Z', 'found'),
                ('9.0.0.5', now() - interval '6 days', now(), 5, 64501, 'NEW SMALL', 'public', 'FR', 'maxmind',
                     false, false, NULL, NULL, '2026-03-02Z', 'not_found'),
                ('9.0.0.6', now() - interval '1 hour', now(), 5, 64502, 'NEWER', 'public', 'FR', 'maxmind',
                     NULL, NULL, NULL, NULL, NULL, 'pending'),
                ('9.0.0.7', now(), now(), 0, NULL, NULL, 'public', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'pending')",
    );
    cluster
}

#[test]
fn views_return_existing_data() {
    let cluster = by_hand();
    let lines = |sql: &str| cluster.lines(DB, sql);
    assert_eq!(
        lines("SELECT asn_number, asn_org, country_code, addresses, observations, share_percent FROM top_networks"),
        ["64500|OLD BIG|DE|3|75|75.00", "64501|NEW SMALL||2|20|20.00", "64502|NEWER|FR|1|5|5.00"],
        "most observed first; one that has no address any more is none of them"
    );
    assert_eq!(
        lines("SELECT asn_number, asn_org, addresses, observations FROM new_networks"),
        ["64502|NEWER|1|5", "64501|NEW SMALL|2|20"]
    );
    assert_eq!(
        lines("SELECT host(ip_address), observations, asn_org, country_code FROM new_addresses"),
        ["9.0.0.6|5|NEWER|FR", "9.0.0.5|5|NEW SMALL|FR"],
        "one that was only asked about was not seen"
    );
    // The day is UTC's, in every session's zone.
    let days = "SET timezone = 'Pacific/Auckland';
                SELECT day, country_code, new_addresses, observations_since, by_registration FROM new_addresses_by_day
                WHERE day < '2026-04-01'";
    let mut session = cluster.connect(DB);
    let rows = asn_inventory_tests::cluster::query(&mut session, days).expect("days");
    let rows: Vec<String> = rows
        .iter()
        .map(|row| row.iter().map(|field| field.as_deref().unwrap_or("")).collect::<Vec<_>>().join("|"))
        .collect();
    assert_eq!(rows, ["2026-03-02|FR|1|15|0", "2026-03-02||1|30|0", "2026-03-01|DE|2|45|1"]);
    assert_eq!(
        lines("SELECT host(ip_address), scanner_name, classification, asn_number, observations FROM known_scanners"),
        ["9.0.0.1||malicious|64500|40", "9.0.0.2||unknown|64500|5"]
    );
    assert_eq!(
        lines("SELECT host(ip_address), service_name, scans, business_service FROM benign_services"),
        ["9.0.0.3|Survey|t|f", "9.0.0.4|Mail Service|f|t"]
    );
    assert_eq!(
        lines("SELECT asn_number, asn_org, asked, scanners, malicious, benign, addresses FROM scanner_networks"),
        ["64500|OLD BIG|3|3|1|1|3"],
        "none of 64501 scans"
    );
}

/// A cluster without network sources, with files, in which events are observed with their own time.
fn by_events() -> Cluster {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql(
        DB,
        "CREATE EXTENSION asn_inventory; CREATE TABLE event (ip inet, at timestamptz);
         SELECT attach_ip_source('event', '{ip}', 'at')",
    );
    cluster.wait_walked(DB);
    cluster
}

#[test]
fn a_network_is_new_when_it_is_observed_not_when_it_is_asked_about() {
    let cluster = by_events();
    cluster.sql(DB, "SELECT enrich_ip('8.8.8.8')");
    cluster.wait_value(DB, "SELECT addresses || '|' || observations FROM top_networks", "1|0");
    assert_eq!(cluster.lines(DB, "SELECT asn_number, first_seen_at FROM new_networks"), Vec::<String>::new());
    // The event is older than the question.
    cluster.sql(DB, "INSERT INTO event VALUES ('8.8.8.8', now() - interval '2 days')");
    cluster.wait_value(DB, "SELECT observations FROM top_networks", "1");
    let since =
        "SELECT asn_number, now() - first_seen_at > '47 hours', now() - last_seen_at > '47 hours' FROM new_networks";
    assert_eq!(cluster.lines(DB, since), ["15169|t|t"]);
}

#[test]
fn a_network_is_counted_again_only_after_a_change() {
    let cluster = by_events();
    cluster.sql(DB, "INSERT INTO event VALUES ('8.8.8.8', now()), ('8.8.8.9', now() - interval '2 days')");
    cluster.wait_value(DB, "SELECT ip_count FROM asn_inventory", "2");
    // Its latest observation was one of an address that is gone.
    cluster
        .sql(DB, "DELETE FROM ip_inventory WHERE ip_address = '8.8.8.8'; INSERT INTO event VALUES ('10.0.0.1', now())");
    cluster.wait_value(DB, "SELECT ip_count FROM asn_inventory", "1");
    let counted = cluster.value(DB, "SELECT counted_at FROM asn_inventory");
    cluster.sql(DB, "INSERT INTO event VALUES ('10.0.0.2', now())");
    cluster.wait_value(DB, "SELECT addresses FROM inventory_count", "3");
    assert_eq!(cluster.value(DB, "SELECT counted_at FROM asn_inventory"), counted);
    assert_eq!(cluster.value(DB, "SELECT now() - last_seen_at < '1 day' FROM asn_inventory"), "t");
}

#[test]
fn asn_changes_show_both_names() {
    let cluster = by_hand();
    cluster.sql(
        DB,
        "INSERT INTO ip_asn_history VALUES
             ('9.0.0.1', '2026-03-02Z', 64503, 'cymru', 64501, 'maxmind'),
             ('9.0.0.1', '2026-03-04Z', 64501, 'maxmind', 64500, 'maxmind'),
             ('9.0.0.9', '2026-03-03Z', 64999, NULL, NULL, NULL)",
    );
    assert_eq!(
        cluster.lines(DB, "SELECT host(ip_address), changed_at, old_asn, old_org, old_source, new_asn, new_org, new_source FROM asn_changes"),
        [
            "9.0.0.1|2026-03-04 00:00:00+00|64501|NEW SMALL|maxmind|64500|OLD BIG|maxmind",
            "9.0.0.9|2026-03-03 00:00:00+00|64999|||||",
            "9.0.0.1|2026-03-02 00:00:00+00|64503|LEFT|cymru|64501|NEW SMALL|maxmind",
        ]
    );
    assert_eq!(
        cluster.lines(DB, "SELECT at, event, source, detail FROM ip_story('9.0.0.1') WHERE at < '2026-04-01'"),
        [
            "2026-03-01 23:30:00+00|first seen||",
            "2026-03-01 23:30:00+00|network then|cymru|AS64503 LEFT",
            "2026-03-02 00:00:00+00|network changed|maxmind|from AS64503 LEFT to AS64501 NEW SMALL",
            "2026-03-02 00:00:00+00|found|greynoise|scans the internet, malicious",
            "2026-03-04 00:00:00+00|network changed|maxmind|from AS64501 NEW SMALL to AS64500 OLD BIG",
            "2026-03-05 00:00:00+00|last seen||observed 40 times",
        ]
    );
    // The row was deleted, its history was not.
    assert_eq!(
        cluster.lines(DB, &format!("{EVENTS}('9.0.0.9') WHERE at IS NOT NULL")),
        ["network then||AS64999", "network changed||from AS64999 to none: no source knows it any more"]
    );
}

#[test]
fn an_unknown_address_gets_an_offline_story() {
    let cluster = by_hand();
    let story = |ip: &str| cluster.lines(DB, &format!("{EVENTS}('{ip}')"));
    let unknown = "unknown||not in ip_inventory; this is what can be said offline";
    assert_eq!(
        story("81.2.69.142"),
        [unknown, "class||public", "found|maxmind|GB, England, London, 81.2.69.142/31"].map(str::to_owned)
    );
    assert_eq!(story("10.1.2.3"), [unknown, "class||private", "skipped|maxmind|"].map(str::to_owned));
    assert_eq!(story("2001:4860:4860::8888")[..2], [unknown, "class||public"].map(str::to_owned));
    assert!(story("2001:4860:4860::8888")[2].contains("AS15169 Google LLC"));
    assert_eq!(story("8.8.8.8/24"), story("8.8.8.8"), "a network counts as its address part");
    assert_eq!(cluster.value(DB, "SELECT count(*) FROM ip_story(NULL)"), "0");
    assert_eq!(cluster.value(DB, "SELECT count(*) FROM ip_inventory"), "7", "nothing was added");
    assert_eq!(cluster.value(DB, "SELECT count(*) FROM ip_observation"), "0", "nothing was asked");

    // A network that it belongs to is known, by a neighbour that Team Cymru was asked about; the narrowest counts.
    cluster.sql(
        DB,
        "INSERT INTO cymru_prefix VALUES
             ('81.0.0.0/8', '81.0.0.0/8', '{64999}', 'NL', 'ripencc', NULL, '2026-03-01Z', '2026-06-01Z'),
             ('81.2.0.0/16', '81.2.0.0/16', '{64500,64501}', 'GB', 'ripencc', '2003-01-17', '2026-03-01Z', '2026-06-01Z'),
             ('9.9.9.0/24', NULL, '{}', NULL, NULL, NULL, '2026-03-01Z', '2026-03-02Z')",
    );
    assert_eq!(
        story("81.2.69.142"),
        [
            "announced|cymru|81.2.0.0/16 by AS64500 and AS64501, GB, ripencc, allocated 2003-01-17, valid until 2026-06-01",
            unknown,
            "class||public",
            "found|maxmind|GB, England, London, 81.2.69.142/31",
            "network||AS64500 OLD BIG; all its addresses here, as counted then: 3, observed 75 times together",
        ]
        .map(str::to_owned)
    );
    assert_eq!(story("9.9.9.9")[0], "announced|cymru|no route for 9.9.9.0/24, valid until 2026-03-02");
}

#[test]
fn failures_and_skipped_sources_have_a_reason() {
    let cluster = by_hand();
    cluster.sql(
        DB,
        "UPDATE ip_inventory SET cymru_status = 'failed', cymru_attempts = 3, cymru_retry_at = now() + interval '1 hour',
             cymru_detail = 'whois: timed out', greynoise_status = 'quota', greynoise_retry_at = now() + interval '2 hours',
             greynoise_detail = 'the quota is spent', maxmind_status = 'not_found', maxmind_ts = now()
         WHERE ip_address = '9.0.0.6';
         UPDATE ip_inventory SET cymru_status = 'found', cymru_ts = '2026-01-01Z', asn_source = 'cymru', network = '9.0.0.0/16',
             cymru_attempts = 1, cymru_retry_at = now() + interval '1 hour', cymru_detail = 'timed out' WHERE ip_address = '9.0.0.2';
         UPDATE ip_inventory SET cymru_status = 'skipped', greynoise_status = 'skipped', maxmind_status = 'skipped',
             ip_class = 'private' WHERE ip_address = '9.0.0.7'",
    );
    let story = |ip: &str| cluster.lines(DB, &format!("{EVENTS}('{ip}')"));
    assert_eq!(
        story("9.0.0.6"),
        [
            "first seen||",
            "last seen||observed 5 times",
            "not found|maxmind|FR",
            "asked again|cymru|3 failed, whois: timed out",
            "asked again|greynoise|the quota is spent",
            "class||public",
            "network||AS64502 NEWER; all its addresses here, as counted then: 1, observed 5 times together",
        ]
    );
    // An older answer stays beside the failure to renew it.
    assert_eq!(
        story("9.0.0.2"),
        [
            "found|cymru|AS64500 OLD BIG, 9.0.0.0/16, DE (registration)",
            "first seen||",
            "last seen||observed 5 times",
            "found|greynoise|scans the internet",
            "asked again|cymru|1 failed, timed out",
            "pending|maxmind|not asked yet",
            "class||public",
            "network||AS64500 OLD BIG; all its addresses here, as counted then: 3, observed 75 times together",
        ]
    );
    assert_eq!(
        story("9.0.0.7"),
        [
            "asked about||never observed",
            "skipped|cymru|nobody is asked about such addresses",
            "skipped|greynoise|nobody is asked about such addresses",
            "skipped|maxmind|nobody is asked about such addresses",
            "class||public",
        ]
    );
}

#[test]
fn a_story_shows_the_answers_of_all_sources() {
    let world = World::options().conf("greynoise", "off").start();
    world.fakes.announce("218.92.0.0/17", &[4134, 4812], "CN");
    world.fakes.name(4134, "CHINANET-BACKBONE, CN");
    world.fakes.name(4812, "CHINANET-SH, CN");
    world.observe(&[("218.92.0.1", 1), ("8.8.8.8", 2)]);
    world.wait("SELECT count(*) FROM ip_inventory WHERE asn_number IS NOT NULL AND greynoise_status = 'skipped'", "2");
    world.fakes.withdraw("218.92.0.0/17");
    world.fakes.announce("218.92.0.0/17", &[4812], "CN");
    world.sql("SELECT refresh_range('218.92.0.1', 'cymru')");
    world.wait(
        "SELECT count(*) FROM asn_inventory WHERE asn_number = 4812 AND ip_count = 1 AND asn_org IS NOT NULL",
        "1",
    );
    let until = world.value("SELECT to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') FROM cymru_prefix");
    // When the prefix was written and when the row was is the same transaction's time, or another's: not asserted here.
    let mut told = world.lines(&format!("{EVENTS}('218.92.0.1')"));
    let mut wanted = vec![
        "first seen||observed once".to_owned(),
        "network then|cymru|AS4134 CHINANET-BACKBONE, CN".to_owned(),
        "found|maxmind|CN, Jiangsu, Nanjing".to_owned(),
        format!("announced|cymru|218.92.0.0/17 by AS4812, CN, arin, allocated 2001-01-01, valid until {until}"),
        "network changed|cymru|from AS4134 CHINANET-BACKBONE, CN to AS4812 CHINANET-SH, CN".to_owned(),
        "found|cymru|AS4812 CHINANET-SH, CN, 218.92.0.0/17".to_owned(),
        "skipped|greynoise|the source is switched off".to_owned(),
        "class||public".to_owned(),
        "network||AS4812 CHINANET-SH, CN; all its addresses here, as counted then: 1, observed 1 times together"
            .to_owned(),
    ];
    told.sort();
    wanted.sort();
    assert_eq!(told, wanted);
    assert_eq!(
        world.lines("SELECT host(ip_address), old_asn, old_org, new_asn, new_org FROM asn_changes"),
        ["218.92.0.1|4134|CHINANET-BACKBONE, CN|4812|CHINANET-SH, CN"]
    );
    let sorted =
        "SELECT bool_and(at >= before) FROM (SELECT at, lag(at) OVER () AS before FROM ip_story('218.92.0.1')) s";
    assert_eq!(world.value(sorted), "t");
}

#[test]
fn a_story_is_read_by_index() {
    let cluster = by_hand();
    cluster.sql(
        DB,
        "INSERT INTO ip_inventory (ip_address) SELECT '11.0.0.0'::inet + n FROM generate_series(1, 20000) n;
         INSERT INTO ip_asn_history SELECT '11.0.0.0'::inet + n, now(), 1, 'cymru', 2, 'cymru' FROM generate_series(1, 20000) n;
         INSERT INTO cymru_prefix SELECT set_masklen('11.0.0.0'::cidr + n * 256, 24), NULL, '{}', NULL, NULL, NULL, now(), now()
             FROM generate_series(1, 20000) n;
         ANALYZE",
    );
    let scans = "SELECT sum(seq_scan) FROM pg_stat_user_tables WHERE relname IN ('ip_inventory', 'ip_asn_history', 'cymru_prefix')";
    let mut session = cluster.connect(DB);
    let value =
        |session: &mut _, sql: &str| asn_inventory_tests::cluster::query(session, sql).expect("a value")[0][0].clone();
    let flush = cluster.value(DB, "SELECT to_regproc('pg_stat_force_next_flush') IS NOT NULL") == "t";
    if flush {
        value(&mut session, "SELECT pg_stat_force_next_flush()::text");
    }
    let before = cluster.value(DB, scans);
    value(&mut session, "SELECT count(*) FROM ip_story('11.0.0.77')");
    drop(session);
    let done = "SELECT sum(idx_scan) FROM pg_stat_user_tables WHERE relname = 'ip_asn_history'";
    wait_until("the statistics of the session", || cluster.value(DB, done) != "0");
    assert_eq!(cluster.value(DB, scans), before);
}
