//! Large statements put their addresses into the queue by the hundred; the results must be the same.

use crate::ingest_support::*;
use asn_inventory_tests::prelude::*;

/// A cluster without a worker: queued rows stay until they are absorbed by hand.
fn resting() -> Cluster {
    let cluster = Cluster::builder().preload(false).start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql(
        "postgres",
        "CREATE EXTENSION asn_inventory; CREATE TABLE event (ip inet, at timestamptz);
         SELECT attach_ip_source('event', '{ip}', 'at')",
    );
    cluster
}

/// Addresses of both families, seen 1 to 3 times over 40 days.
const EVENTS: &str = "SELECT CASE WHEN g % 5 = 0 THEN '2001:db8::'::inet + g ELSE '45.0.0.0'::inet + g END,
        timestamptz '2026-01-01 00:00+00' + (g * 7919 % 1000) * interval '1 hour' + repeats * interval '90 seconds'
    FROM generate_series(1, 5000) g, generate_series(0, g % 3) repeats";

#[test]
fn packed_rows_equal_single_rows() {
    let cluster = resting();
    let db = "postgres";
    cluster.sql(
        db,
        &format!(
            "INSERT INTO event {EVENTS}; INSERT INTO event VALUES (NULL, NULL), ('8.8.8.8', '2026-02-03 00:00+00')"
        ),
    );
    let rows = "SELECT count(*) < 60, count(packed) > 10, sum(addresses), sum(seen), bool_and(pg_column_size(packed) < 2000) FROM ip_observation";
    assert_eq!(cluster.lines(db, rows), ["t|t|5001|10002|t"]);
    let difference = "WITH queued AS (
            SELECT address, seen, first_seen, last_seen FROM ip_observation WHERE address IS NOT NULL
            UNION ALL SELECT u.* FROM ip_observation o, unpack_observations(o.packed) u),
        exact AS (SELECT ip, count(*), min(at), max(at) FROM event WHERE ip IS NOT NULL GROUP BY ip)
        SELECT count(*) FROM ((TABLE queued EXCEPT TABLE exact) UNION ALL (TABLE exact EXCEPT TABLE queued)) d";
    assert_eq!(cluster.value(db, difference), "0");
    let spans = "SELECT bool_and(o.first_seen = u.first AND o.last_seen = u.last AND o.seen = u.seen AND o.addresses = u.n)
        FROM ip_observation o, LATERAL (SELECT min(first_seen) AS first, max(last_seen) AS last, sum(seen) AS seen, count(*) AS n
            FROM unpack_observations(o.packed)) u WHERE o.packed IS NOT NULL";
    assert_eq!(cluster.value(db, spans), "t");

    // By hand, a queue row at a time.
    let mut absorbed = 0;
    while cluster.value(db, "SELECT absorb_observations(1)") == "1" {
        absorbed += 1;
    }
    assert!((10..60).contains(&absorbed), "{absorbed}");
    let inventory = "SELECT count(*) FROM (
            SELECT ip_address, observation_count, first_seen_at, last_seen_at FROM ip_inventory
            EXCEPT SELECT ip, count(*), min(at), max(at) FROM event WHERE ip IS NOT NULL GROUP BY ip) d";
    assert_eq!(cluster.lines(db, &format!("SELECT (SELECT count(*) FROM ip_inventory), ({inventory})")), ["5001|0"]);
    assert_eq!(cluster.value(db, "SELECT observations || '|' || unparsable FROM ip_source"), "10002|0");
}

#[test]
fn an_unwritable_address_does_not_delay_others_in_its_pack() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}');
         ALTER TABLE ip_inventory ADD CONSTRAINT poisoned CHECK (ip_address <> '45.0.0.77');
         INSERT INTO events SELECT '45.0.0.0'::inet + g FROM generate_series(1, 200) g",
    );
    db.wait("SELECT count(*) FROM ip_inventory", "199");
    db.wait("SELECT string_agg(host(address) || ' ' || seen || ' ' || addresses || ' ' || (packed IS NULL), ',') FROM ip_observation", "45.0.0.77 1 1 true");
    db.sql("ALTER TABLE ip_inventory DROP CONSTRAINT poisoned; UPDATE ip_observation SET retry_at = now()");
    db.wait("SELECT count(*) || '|' || sum(observation_count) FROM ip_inventory", "200|200");
}

#[test]
fn populate_finds_packed_addresses_in_the_queue() {
    let cluster = resting();
    let db = "postgres";
    // They came through the trigger and stand in the queue alone: populate must not count them once more.
    cluster.sql(db, &format!("INSERT INTO event {EVENTS}; SELECT populate_ip_inventory('event')"));
    cluster.sql(db, "SELECT absorb_observations()");
    assert_eq!(cluster.value(db, "SELECT count(*) || '|' || sum(observation_count) FROM ip_inventory"), "5000|10001");
}

#[test]
fn invalid_packed_bytes_are_refused() {
    let cluster = resting();
    for bytes in ["\\x00", "\\x01", "\\x010000000000000000ff", "\\x01000000000000000001"] {
        let refused = cluster.fails("postgres", &format!("SELECT * FROM unpack_observations('{bytes}')"));
        assert_eq!(
            (refused.code.as_str(), refused.message.as_str()),
            ("22023", "invalid packed observations"),
            "{bytes}"
        );
    }
    // The second: the marks of ip_activity.
    for none in ["\\x010000000000000000", "\\x"] {
        assert_eq!(cluster.value("postgres", &format!("SELECT count(*) FROM unpack_observations('{none}')")), "0");
    }
}
