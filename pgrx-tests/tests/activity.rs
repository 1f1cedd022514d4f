//! When addresses were seen: by hour and day of the events' own times, whatever order they come in.

use crate::ingest_support::{Db, run};
use asn_inventory_tests::prelude::*;
use asn_inventory_tests::wait::wait_out_midnight;

/// Everything is absorbed and counted.
fn counted(db: &Db) {
    db.settle();
    db.wait("SELECT count(*) FROM ip_activity WHERE NOT counted AND source_id >= 0", "0");
}

/// Counts that differ from those that the events themselves give; `e` has the columns `ip` and `at`.
const DIFFERING: &str = "
    WITH event AS MATERIALIZED (SELECT e.ip, e.at, i.country_code, i.asn_number, i.flags, i.lists FROM e JOIN ip_inventory i ON i.ip_address = e.ip),
    bucket AS (SELECT w.by_day, date_trunc(CASE WHEN w.by_day THEN 'day' ELSE 'hour' END, at, 'UTC') AS bucket, event.*
               FROM event, (VALUES (true), (false)) w(by_day)),
    wanted AS (
        SELECT by_day, bucket, 'all' AS kind, '' AS value, count(DISTINCT ip) AS a, count(*) AS o FROM bucket GROUP BY 1, 2
        UNION ALL SELECT by_day, bucket, 'country', coalesce(country_code, ''), count(DISTINCT ip), count(*) FROM bucket GROUP BY 1, 2, 4
        UNION ALL SELECT by_day, bucket, 'asn', coalesce(asn_number::text, ''), count(DISTINCT ip), count(*) FROM bucket GROUP BY 1, 2, 4
        UNION ALL SELECT by_day, bucket, 'flag', f, count(DISTINCT ip), count(*) FROM bucket, unnest(flags) f GROUP BY 1, 2, 4
        UNION ALL SELECT by_day, bucket, 'list', l, count(DISTINCT ip), count(*) FROM bucket, unnest(lists) l GROUP BY 1, 2, 4)
    SELECT w.*, c.* FROM wanted w FULL JOIN ip_activity_count c
        ON (c.by_day, c.bucket, c.kind, c.value, c.addresses, c.observations) = (w.by_day, w.bucket, w.kind, w.value, w.a, w.o)
    WHERE w.bucket IS NULL OR c.bucket IS NULL LIMIT 3";

#[test]
fn hours_and_days_count_what_the_events_say_in_any_order() {
    let db = Db::new();
    db.sql("CREATE TABLE e (ip inet, at timestamptz); SELECT attach_ip_source('e', '{ip}', 'at')");
    // Many addresses over many hours, a wave of old ones on one night, and late events.
    for text in [
        "INSERT INTO e SELECT inet '81.2.69.0' + (i % 200), date_trunc('day', now()) - interval '3 days' + i % 4000 * interval '1 min' FROM generate_series(1, 9000) i",
        "INSERT INTO e SELECT inet '81.2.69.0' + (i % 50), date_trunc('day', now()) - interval '1 hour' FROM generate_series(1, 700) i",
        "INSERT INTO e SELECT inet '34.64.0.0' + i, date_trunc('day', now()) - interval '2 days' + i * interval '1 sec' FROM generate_series(1, 3000) i",
        "INSERT INTO e VALUES ('8.8.8.8', now()), ('2001:db8::1', now()), ('10.0.0.1', now())",
    ] {
        db.sql(text);
        counted(&db);
        db.wait(&format!("SELECT count(*) FROM ({DIFFERING}) d"), "0");
    }
    assert_eq!(
        db.value("SELECT count(*) > 60 FROM ip_activity_count WHERE NOT by_day AND kind = 'all'"),
        "t",
        "the test is about many hours"
    );
    assert_eq!(
        db.lines(
            "SELECT (SELECT sum(observations) FROM countries_by_day), (SELECT sum(observations) FROM networks_by_day),
                    (SELECT sum(observations) FROM activity_by_day WHERE kind = 'all'), (SELECT sum(observations) FROM activity_by_hour WHERE kind = 'all'), count(*)
             FROM e"
        ),
        ["12703|12703|12703|12703|12703"]
    );
    // The report draws them when they came, not when their address was last seen.
    db.wait("SELECT inventory_report() LIKE '%<h3>Observations</h3>%'", "t");
    // Counting again finds the same, and merged rows are few.
    assert_eq!(db.value("SELECT bool_and(counted) FROM ip_activity WHERE source_id > 0"), "t");
    // One table's share goes.
    db.sql(
        "CREATE TABLE other (ip inet); SELECT attach_ip_source('other', '{ip}'); INSERT INTO other VALUES ('8.8.8.8')",
    );
    counted(&db);
    db.sql("SELECT forget_ip_source('e')");
    db.wait("SELECT sum(observations) || ' ' || count(*) FROM activity_by_day WHERE kind = 'all'", "1 1");
    db.wait("SELECT sum(observations) || ' ' || count(*) FROM activity_by_hour WHERE kind = 'all'", "1 1");
}

#[test]
fn a_day_is_counted_however_much_waits_before_it() {
    wait_out_midnight();
    let db = Db::new();
    db.sql("CREATE TABLE e (ip inet, at timestamptz); SELECT attach_ip_source('e', '{ip}', 'at')");
    // What counting a day that was not over leaves, and more hours before it than one round takes.
    db.sql(
        "BEGIN;
         INSERT INTO ip_activity (bucket, source_id, addresses, packed) VALUES (date_trunc('day', now(), 'UTC') - interval '2 days', -1, 0, '');
         INSERT INTO e SELECT '8.8.8.8', date_trunc('day', now(), 'UTC') - interval '3 days' - i * interval '1 hour' FROM generate_series(1, 600) i;
         INSERT INTO e SELECT '8.8.8.8', date_trunc('day', now(), 'UTC') - interval '36 hours';
         COMMIT",
    );
    counted(&db);
    let day =
        "SELECT observations FROM activity_by_day WHERE kind = 'all' AND day = (now() AT TIME ZONE 'UTC')::date - 2";
    db.wait(day, "1");
}

#[test]
fn old_hours_become_days_and_old_days_go() {
    wait_out_midnight();
    let cluster = Cluster::builder()
        .conf("asn_inventory.absorb_interval", "20ms")
        .conf("asn_inventory.activity_hours", "2d")
        .conf("asn_inventory.activity_retention", "10d")
        .start();
    let db = "postgres";
    cluster.sql(
        db,
        "CREATE EXTENSION asn_inventory; CREATE TABLE e (ip inet, at timestamptz); SELECT attach_ip_source('e', '{ip}', 'at');
         INSERT INTO e SELECT inet '81.2.69.0' + (i % 20), date_trunc('day', now()) - d * interval '1 day' + i % 24 * interval '1 hour'
             FROM generate_series(1, 200) i, unnest(ARRAY[1, 5, 9, 30]) d",
    );
    let days = "SELECT string_agg(current_date - day || ':' || addresses || ':' || observations, ' ' ORDER BY day) FROM activity_by_day WHERE kind = 'all'";
    cluster.wait_value(db, days, "9:20:200 5:20:200 1:20:200");
    let kept = "SELECT string_agg(DISTINCT (extract(day FROM date_trunc('day', now()) - date_trunc('day', bucket)))::int || CASE WHEN by_day THEN ' days' ELSE ' hours' END, ', ')
                FROM ip_activity WHERE counted";
    cluster.wait_value(db, kept, "1 hours, 5 days, 9 days");
    cluster.wait_value(
        db,
        "SELECT count(DISTINCT date_trunc('day', hour)) || ' ' || count(*) FROM activity_by_hour WHERE kind = 'all'",
        "1 24",
    );
    // A late event of a day whose hours are gone: one address of these, and a new one.
    cluster.sql(
        db,
        "INSERT INTO e SELECT ip::inet, date_trunc('day', now()) - interval '5 days' + interval '3 hours' FROM unnest(ARRAY['81.2.69.1', '8.8.8.8']) ip",
    );
    cluster.wait_value(db, days, "9:20:200 5:21:202 1:20:200");
    // Days that are too old are dropped.
    cluster.set("asn_inventory.activity_retention", "3d");
    cluster.sql(db, "INSERT INTO e VALUES ('8.8.8.8', now() - interval '1 day')");
    cluster.wait_value(db, days, "1:21:201");
    cluster.wait_value(db, "SELECT min(bucket) > now() - interval '5 days' FROM ip_activity", "t");
}

/// Hours are merged for good: with more of them kept, what comes late is not all of its hour.
#[test]
fn a_day_whose_hours_are_gone_gets_none_again() {
    wait_out_midnight();
    let cluster = Cluster::builder()
        .conf("asn_inventory.absorb_interval", "20ms")
        .conf("asn_inventory.activity_hours", "2d")
        .start();
    let db = "postgres";
    cluster.sql(
        db,
        "CREATE EXTENSION asn_inventory; CREATE TABLE e (ip inet, at timestamptz); SELECT attach_ip_source('e', '{ip}', 'at');
         INSERT INTO e SELECT inet '81.2.69.0' + (i % 50), date_trunc('day', now()) - interval '5 days' + interval '10 hours' + i * interval '1 sec'
             FROM generate_series(1, 500) i",
    );
    let event = |ip: &str, days: u32, hour: u32| {
        let at = format!("date_trunc('day', now()) - interval '{days} days' + interval '{hour} hours'");
        cluster.sql(db, &format!("INSERT INTO e VALUES ('{ip}', {at})"));
    };
    let counts = |of: &str, view: &str| {
        format!(
            "SELECT coalesce(string_agg(current_date - {of}::date || ':' || addresses || ':' || observations, ' ' ORDER BY {of}), '')
             FROM {view} WHERE kind = 'all' AND {of} >= current_date - 5"
        )
    };
    let (days, hours) = (counts("day", "activity_by_day"), counts("hour", "activity_by_hour"));
    cluster.wait_value(db, &days, "5:50:500");
    cluster.wait_value(db, "SELECT bool_and(by_day AND counted) FROM ip_activity WHERE source_id > 0", "t");
    // From then on, more hours are kept, as soon as the worker knows.
    cluster.set("asn_inventory.activity_hours", "14d");
    let mut earlier = 6..=13;
    wait_until("hours of earlier days", || {
        let day = earlier.next().expect("a day of which hours are kept");
        event("9.9.9.9", day, 3);
        let counted = |view: &str, of: &str| {
            format!("SELECT count(*) FROM {view} WHERE kind = 'all' AND {of}::date = current_date - {day}")
        };
        cluster.wait_value(db, &counted("activity_by_day", "day"), "1");
        cluster.value(db, &counted("activity_by_hour", "hour")) == "1"
    });
    for (ip, hour, wanted) in [("8.8.8.8", 10, "5:51:501"), ("81.2.69.1", 10, "5:51:502"), ("8.8.8.8", 15, "5:51:503")]
    {
        event(ip, 5, hour);
        cluster.wait_value(db, &days, wanted);
        assert_eq!(cluster.value(db, &hours), "", "the rest of these hours is known by the day alone");
    }
    // What a node of a cluster had merged may come to a day that has its hours.
    event("8.8.8.8", 4, 20);
    cluster.wait_value(db, &hours, "4:1:1");
    cluster.sql(
        db,
        "INSERT INTO ip_activity (bucket, by_day, source_id, addresses, packed)
         SELECT bucket - interval '20 hours', true, source_id, addresses, packed FROM ip_activity
         WHERE source_id > 0 AND bucket = current_date - interval '4 days' + interval '20 hours'",
    );
    event("8.8.8.8", 0, 0);
    cluster.wait_value(db, &days, "5:51:503 4:1:2 0:1:1");
    assert_eq!(cluster.value(db, &hours), "0:1:1");
    // What came late is merged as well, once.
    cluster.set("asn_inventory.activity_hours", "2d");
    let left =
        "SELECT count(*) FROM ip_activity WHERE NOT by_day AND source_id > 0 AND bucket < now() - interval '4 days'";
    wait_until("days without their hours", || {
        event("8.8.8.8", 0, 0);
        cluster.value(db, left) == "0"
    });
    event("1.1.1.1", 5, 11);
    let old_days = format!("{days} AND day < current_date");
    cluster.wait_value(db, &old_days, "5:52:504 4:1:2");
}

#[test]
fn networks_of_some_days_are_ranked_by_what_happened_then() {
    wait_out_midnight();
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (ip inet, at timestamptz); SELECT attach_ip_source('e', '{ip}', 'at');
         INSERT INTO e SELECT '8.8.8.8', now() - interval '20 days' FROM generate_series(1, 50);
         INSERT INTO e SELECT '8.8.8.8', now() - interval '1 day';
         INSERT INTO e SELECT '1.1.1.1', now() - interval '1 day' FROM generate_series(1, 3);
         INSERT INTO e SELECT '10.0.0.1', now() - interval '1 day' FROM generate_series(1, 9)",
    );
    counted(&db);
    db.wait("SELECT count(*) FROM networks_by_day", "4");
    // What belongs to no network is neither one of them nor a part of the total, as in the view.
    assert_eq!(db.value("SELECT sum(observations) FROM networks_by_day WHERE asn_number IS NULL"), "9");
    let top = |arguments: &str| {
        db.lines(&format!(
            "SELECT asn_number = ip_asn('1.1.1.1'), observations, share_percent, most_addresses_a_day, days FROM top_networks({arguments})"
        ))
    };
    assert_eq!(top("current_date - 2"), ["t|3|75.00|1|1", "f|1|25.00|1|1"]);
    assert_eq!(top("current_date - 30"), ["f|51|94.44|1|2", "t|3|5.56|1|1"]);
    assert_eq!(top("current_date - 30, current_date - 10"), ["f|50|100.00|1|1"]);
    assert_eq!(top("now() - interval '2 days'"), ["t|3|75.00|1|1", "f|1|25.00|1|1"]);
    // A date is that day, however it is written and in every zone; a time is the day in UTC.
    let day = db.value("SELECT ((now() - interval '1 day') AT TIME ZONE 'UTC')::date");
    for zone in ["UTC", "Pacific/Auckland", "America/Los_Angeles"] {
        for days in [
            format!("'{day}', '{day}'"),
            format!("date '{day}', date '{day}'"),
            format!("'{day}T00:30:00Z', '{day}T23:30:00Z'"),
            "now() - interval '1 day', now() - interval '1 day'".to_owned(),
        ] {
            let found = db.lines(&format!(
                "SET timezone = '{zone}'; SELECT observations, first_day, last_day FROM top_networks({days})"
            ));
            assert_eq!(found, [format!("3|{day}|{day}"), format!("1|{day}|{day}")], "{zone}: {days}");
        }
    }
}

#[test]
fn without_hours_none_is_shown_and_without_days_neither() {
    wait_out_midnight();
    let cluster = Cluster::builder()
        .conf("asn_inventory.absorb_interval", "20ms")
        .conf("asn_inventory.activity_hours", "0")
        .start();
    let db = "postgres";
    let days =
        "SELECT coalesce(string_agg(observations::text, ' ' ORDER BY day), '') FROM activity_by_day WHERE kind = 'all'";
    cluster.sql(
        db,
        "CREATE EXTENSION asn_inventory; CREATE TABLE e (ip inet, at timestamptz); SELECT attach_ip_source('e', '{ip}', 'at');
         INSERT INTO e SELECT '8.8.8.8', now() - d * interval '1 day' FROM generate_series(0, 1) d",
    );
    cluster.wait_value(db, days, "1 1");
    assert_eq!(cluster.value(db, "SELECT count(*) FROM activity_by_hour"), "0");
    // The report draws days then, however short the time is.
    let page = "SELECT inventory_report() LIKE ALL (ARRAY['%<h3>Observations</h3>%', '%Observations per day%'])";
    assert_eq!(cluster.value(db, page), "t");
    cluster.sql(db, "INSERT INTO e VALUES ('8.8.8.8', now())");
    cluster.wait_value(db, days, "1 2");
    // What was kept goes with the next count.
    cluster.set("asn_inventory.activity_hours", "14d");
    cluster.sql(db, "INSERT INTO e VALUES ('8.8.8.8', now())");
    cluster.wait_value(db, "SELECT count(*) > 0 FROM activity_by_hour", "t");
    cluster.set("asn_inventory.activity_hours", "0");
    cluster.sql(db, "INSERT INTO e VALUES ('8.8.8.8', now())");
    cluster.wait_value(db, "SELECT count(*) FROM activity_by_hour", "0");
    cluster.wait_value(db, days, "1 4");
    cluster.set("asn_inventory.activity_retention", "0");
    cluster.sql(db, "INSERT INTO e VALUES ('8.8.8.8', now())");
    cluster.wait_value(db, "SELECT (SELECT count(*) FROM ip_activity) + (SELECT count(*) FROM ip_activity_count)", "0");
}

#[test]
fn a_network_that_takes_over_known_addresses_is_new() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (ip inet, at timestamptz); SELECT attach_ip_source('e', '{ip}', 'at');
         INSERT INTO e VALUES ('8.8.8.8', now() - interval '90 days')",
    );
    db.settle();
    db.wait("SELECT count(*) FROM asn_inventory WHERE ip_count = 1", "1");
    assert_eq!(
        db.value("SELECT count(*) FROM new_networks"),
        "0",
        "what is old is not new because it was loaded today"
    );
    db.sql("UPDATE ip_inventory SET asn_number = 64999, asn_org = 'Thief'");
    db.wait("SELECT asn_number || ' ' || (since > now() - interval '1 hour') FROM new_networks", "64999 true");
    // A new one that was loaded at the same time is as new as its events are.
    db.sql("INSERT INTO e VALUES ('1.1.1.1', now() - interval '3 days'), ('81.2.69.142', now())");
    db.wait(
        "SELECT string_agg((asn_number = 64999) || ' ' || (since = CASE asn_number WHEN 64999 THEN known_since ELSE first_seen_at END), ', ') FROM (SELECT * FROM new_networks) n",
        "true true, false true",
    );
}

#[test]
fn a_network_that_had_addresses_before_known_ones_moved_to_it_is_not_new() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (ip inet, at timestamptz); SELECT attach_ip_source('e', '{ip}', 'at');
         INSERT INTO e VALUES ('8.8.8.8', now() - interval '90 days'), ('1.1.1.1', now() - interval '90 days')",
    );
    db.settle();
    // No walk under way writes over what is written by hand.
    db.wait("SELECT count(*) FROM maxmind_walk WHERE generations <> '{}'", "1");
    db.wait("SELECT count(*) FROM asn_inventory WHERE ip_count = 1", "2");
    db.sql("UPDATE ip_inventory SET asn_number = 13335 WHERE ip_address = '8.8.8.8'");
    db.wait("SELECT ip_count FROM asn_inventory WHERE asn_number = 13335", "2");
    assert_eq!(db.lines("SELECT asn_number, since FROM new_networks"), [""; 0]);
}

/// The transaction of a count that waits is older than what it counts in the end.
#[test]
fn a_network_that_takes_over_known_addresses_while_a_count_waits_is_new() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (ip inet, at timestamptz); SELECT attach_ip_source('e', '{ip}', 'at');
         CREATE TABLE f (ip inet); SELECT attach_ip_source('f', '{ip}');
         INSERT INTO e VALUES ('8.8.8.8', now() - interval '90 days')",
    );
    db.settle();
    db.wait("SELECT count(*) FROM maxmind_walk WHERE generations <> '{}'", "1");
    db.wait("SELECT count(*) FROM asn_inventory WHERE ip_count = 1", "1");
    let mut session = db.connect();
    run(&mut session, "BEGIN; SELECT forget_ip_source('f')");
    db.sql("INSERT INTO ip_inventory (ip_address) VALUES ('10.0.0.1')");
    // There are other databases in this cluster.
    let waits = "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'object' AND objsubid = 4 AND NOT granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    db.wait(waits, "t");
    db.sql("UPDATE ip_inventory SET asn_number = 64999, asn_org = 'Thief' WHERE ip_address = '8.8.8.8'");
    run(&mut session, "COMMIT");
    db.wait("SELECT count(*) FROM asn_inventory WHERE asn_number = 64999", "1");
    assert_eq!(db.lines("SELECT asn_number FROM new_networks"), ["64999"]);
}

#[test]
fn a_network_that_was_withdrawn_and_taken_over_has_changed_hands() {
    let db = Db::new();
    db.sql("CREATE TABLE e (ip inet, at timestamptz); SELECT attach_ip_source('e', '{ip}', 'at'); INSERT INTO e VALUES ('8.8.8.8', now() - interval '90 days'), ('10.0.0.1', now())");
    db.settle();
    // No walk under way writes over what is written by hand.
    db.wait("SELECT count(*) FROM maxmind_walk WHERE generations <> '{}'", "1");
    db.wait("SELECT count(*) FROM asn_inventory WHERE asn_number = 15169 AND ip_count = 1", "1");
    let becomes = |ip: &str, asn: &str, org: &str| {
        db.sql(&format!("UPDATE ip_inventory SET asn_number = {asn}, asn_org = {org} WHERE ip_address = '{ip}'"));
    };
    becomes("8.8.8.8", "NULL", "NULL");
    let between = db.value("SELECT clock_timestamp()");
    becomes("8.8.8.8", "64999", "'Thief'");
    // What never had one has a first answer.
    becomes("10.0.0.1", "64998", "'First'");
    assert_eq!(
        db.lines("SELECT host(ip_address), old_asn, new_asn FROM asn_changes ORDER BY changed_at"),
        ["8.8.8.8|15169|", "8.8.8.8||64999"]
    );
    assert_eq!(
        db.lines(&format!(
            "SELECT ip_asn_at('8.8.8.8', now() - interval '1 day'), ip_asn_at('8.8.8.8', '{between}'), ip_asn_at('8.8.8.8', now()),
                    n.asn_number, n.asn_org FROM ip_network_at('8.8.8.8', '{between}') n"
        )),
        ["15169||64999||"]
    );
    db.wait("SELECT count(*) FROM new_networks WHERE asn_number = 64999", "1");
    assert_eq!(
        db.lines("SELECT detail FROM ip_story('8.8.8.8') WHERE event = 'network changed' ORDER BY at"),
        ["from AS15169 Google LLC to none: no source knows it any more", "from none to AS64999 Thief"]
    );
    // Once more, and of a day that is counted later.
    becomes("8.8.8.8", "NULL", "NULL");
    becomes("8.8.8.8", "15169", "'Google LLC'");
    assert_eq!(db.value("SELECT count(*) FROM asn_changes"), "4");
    db.sql(
        "UPDATE ip_asn_history SET changed_at = now() - interval '10 days' WHERE old_asn = 15169;
            UPDATE ip_asn_history SET changed_at = now() - interval '5 days' WHERE old_asn IS NULL AND new_asn = 64999;
            INSERT INTO e VALUES ('8.8.8.8', now() - interval '7 days'), ('8.8.8.8', now() - interval '2 days')",
    );
    counted(&db);
    db.wait(
        "SELECT string_agg(coalesce(asn_number::text, '-'), ' ' ORDER BY day) FROM networks_by_day
         WHERE day BETWEEN (now() AT TIME ZONE 'UTC')::date - 8 AND (now() AT TIME ZONE 'UTC')::date - 1",
        "- 64999",
    );
}

#[test]
fn days_say_what_their_addresses_were_whenever_they_are_counted() {
    wait_out_midnight();
    let cluster =
        Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").conf("asn_inventory.cymru", "off").start();
    let db = "postgres";
    let event = |ip: &str, days: u32| {
        cluster.sql(db, &format!("INSERT INTO e VALUES ('{ip}', now() - interval '{days} days')"));
    };
    cluster.sql(db, "CREATE EXTENSION asn_inventory; CREATE TABLE e (ip inet, at timestamptz); SELECT attach_ip_source('e', '{ip}', 'at')");
    event("8.8.8.8", 5);
    cluster.wait_value(db, "SELECT count(*) FROM ip_inventory", "1");
    let owner = |asn: &str, country: &str| {
        let set = format!(
            "asn_number = {asn}, asn_org = 'AS {asn}', asn_source = 'maxmind', country_code = '{country}', maxmind_status = 'found', maxmind_ts = now()"
        );
        cluster.sql(db, &format!("UPDATE ip_inventory SET {set} WHERE ip_address = '8.8.8.8'"));
    };
    owner("64501", "US");
    event("8.8.8.8", 5);
    let networks = "SELECT string_agg(current_date - day || ':' || asn_number || ':' || observations, ' ' ORDER BY day) FROM networks_by_day WHERE asn_number IS NOT NULL";
    let countries = "SELECT string_agg(current_date - day || ':' || country_code || ':' || observations, ' ' ORDER BY day) FROM countries_by_day WHERE country_code IS NOT NULL";
    cluster.wait_value(db, networks, "5:64501:2");
    owner("64502", "DE");
    event("8.8.8.8", 0);
    cluster.wait_value(db, networks, "5:64501:2 0:64502:1");
    // Late events have the old day counted anew: one of another address, and one of this.
    event("9.9.9.9", 5);
    event("8.8.8.8", 5);
    cluster.wait_value(db, networks, "5:64501:3 0:64502:1");
    cluster.wait_value(db, countries, "5:US:3 0:DE:1");
    assert_eq!(
        cluster.value(db, "SELECT asn_number FROM ip_network_at('8.8.8.8', now() - interval '5 days')"),
        "64501"
    );
    // Nobody knows it any more, and its hours become a day.
    cluster.sql(db, "UPDATE ip_inventory SET asn_number = NULL, asn_org = NULL, asn_source = NULL, country_code = NULL WHERE ip_address = '8.8.8.8'");
    cluster.set("asn_inventory.activity_hours", "1d");
    event("9.9.9.9", 5);
    cluster.wait_value(db, "SELECT count(*) > 0 FROM ip_activity WHERE by_day AND counted AND source_id > 0", "t");
    cluster.wait_value(db, "SELECT observations FROM activity_by_day WHERE kind = 'all' AND day < current_date", "5");
    assert_eq!(cluster.value(db, networks).split(' ').next(), Some("5:64501:3"));
}
