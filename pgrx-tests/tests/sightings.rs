//! Who saw an address: by table and sensor, exactly, and bounded in size.

use crate::ingest_support::{Db, run};
use asn_inventory_tests::prelude::*;

fn sightings(db: &Db) -> Vec<String> {
    db.settle();
    db.lines("SELECT host(ip_address), tbl, sensor, observations FROM ip_sightings ORDER BY ip_address, tbl COLLATE \"C\", sensor")
}

/// Everything that was observed stands in the sightings as well.
fn agree(db: &Db) {
    db.settle();
    let differing = db.lines(
        "SELECT i.ip_address, i.observation_count, s.n, i.first_seen_at, s.first, i.last_seen_at, s.last FROM ip_inventory i
         FULL JOIN (SELECT ip_address, sum(observation_count) AS n, min(first_seen_at) AS first, max(last_seen_at) AS last
                    FROM ip_sighting GROUP BY 1) s USING (ip_address)
         WHERE (i.observation_count, i.first_seen_at, i.last_seen_at) IS DISTINCT FROM (s.n, s.first, s.last)",
    );
    assert_eq!(differing, [""; 0]);
}

#[test]
fn every_table_and_sensor_counts_for_itself() {
    for method in ["trigger", "row"] {
        let db = Db::new();
        db.sql(&format!(
            "CREATE TABLE a (ip inet, hp text); CREATE TABLE b (p jsonb); CREATE TABLE c (ip inet);
             SELECT attach_ip_source('a', '{{ip}}', method => '{method}', sensor => 'hp');
             SELECT attach_ip_source('b', '{{p->>ip}}', method => '{method}', sensor => 'p->>sensor');
             SELECT attach_ip_source('c', '{{ip}}', method => '{method}');
             INSERT INTO a VALUES ('8.8.8.8', 'x'), ('8.8.8.8', 'y'), ('8.8.8.8', 'x'), ('1.1.1.1', NULL);
             INSERT INTO b VALUES ('{{\"ip\":\"8.8.8.8\",\"sensor\":\"x\"}}'), ('{{\"ip\":\"1.1.1.1\"}}'),
                 ('{{\"ip\":\"1.1.1.1\",\"sensor\":7}}'), ('{{\"ip\":\"1.1.1.1\",\"sensor\":null}}');
             INSERT INTO c VALUES ('8.8.8.8')"
        ));
        let wanted = [
            "1.1.1.1|a||1",
            "1.1.1.1|b||2",
            "1.1.1.1|b|7|1",
            "8.8.8.8|a|x|2",
            "8.8.8.8|a|y|1",
            "8.8.8.8|b|x|1",
            "8.8.8.8|c||1",
        ];
        assert_eq!(sightings(&db), wanted, "{method}");
        agree(&db);
        assert_eq!(
            db.lines("SELECT tbl, sensor, addresses, observations, left_out FROM ip_sensors"),
            ["a||1|1|0", "a|x|1|2|0", "a|y|1|1|0", "b||1|2|0", "b|7|1|1|0", "b|x|1|1|0", "c||1|1|0"]
        );
        assert_eq!(db.lines("SELECT tbl, sensor FROM ip_source ORDER BY 1"), ["a|hp", "b|p->>sensor", "c|"]);
    }
}

#[test]
fn sensors_of_every_type_are_read_by_trigger_and_populate() {
    for (kind, value, sensor) in [
        ("text", "'hp-é'", "hp-é"),
        ("char(8)", "'hp'", "hp"),
        ("int", "-7", "-7"),
        ("bigint", "9223372036854775807", "9223372036854775807"),
        ("boolean", "true", "true"),
        ("uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("inet", "'10.0.0.1'", "10.0.0.1"),
        ("text", "repeat('ab', 200)", &("ab".repeat(48) + "a…")),
        ("text", "E'a\\n\\x01b'", "a b"),
        ("json", "$${\"s\":\"a\\u0000b\"}$$", "ab"),
    ] {
        for method in ["trigger", "populate"] {
            let db = Db::new();
            db.sql(&format!("CREATE TABLE e (ip inet, s {kind})"));
            let row = format!("INSERT INTO e VALUES ('8.8.8.8', {value})");
            let path = if kind == "json" { "s->>s" } else { "s" };
            let attach = format!("SELECT attach_ip_source('e', '{{ip}}', sensor => '{path}')");
            if method == "trigger" {
                db.sql(&format!("{attach}; {row}"));
            } else {
                db.sql(&format!("{row}; {attach}; SELECT populate_ip_inventory('e')"));
            }
            assert_eq!(sightings(&db), [format!("8.8.8.8|e|{sensor}|1")], "{kind} {value} {method}");
        }
    }
}

#[test]
fn many_events_of_many_sensors_in_one_statement_are_exact() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (ip inet, hp text, at timestamptz);
         SELECT attach_ip_source('e', '{ip}', observed_at => 'at', sensor => 'hp');
         INSERT INTO e SELECT inet '34.64.0.0' + i % 700, 'hp-' || i % 11,
                timestamptz '2026-01-01Z' + i % 500 * interval '17 min' FROM generate_series(1, 60000) i",
    );
    agree(&db);
    let differing = db.lines(
        "SELECT * FROM (SELECT ip, hp, count(*) AS n, min(at) AS first, max(at) AS last FROM e GROUP BY 1, 2) e
         FULL JOIN (SELECT ip_address, sensor, observations, first_seen_at, last_seen_at FROM ip_sightings) s
             ON (e.ip, e.hp, e.n, e.first, e.last) = (s.ip_address, s.sensor, s.observations, s.first_seen_at, s.last_seen_at)
         WHERE e.ip IS NULL OR s.ip_address IS NULL LIMIT 3",
    );
    assert_eq!(differing, [""; 0]);
}

#[test]
fn what_is_no_address_makes_no_place() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (ip text, hp text); SELECT attach_ip_source('e', '{ip}', sensor => 'hp');
         INSERT INTO e VALUES ('n/a', 'a'), (NULL, 'b'), ('', 'c'), ('8.8.8.8', 'd')",
    );
    db.sql("INSERT INTO e VALUES ('n/a', 'a'), (NULL, NULL)");
    db.wait("SELECT unparsable FROM ip_source", "2");
    assert_eq!(
        db.lines("SELECT sensor, observations, first_seen_at > now() - interval '1 hour' FROM ip_sensors"),
        ["d|1|t"]
    );
    assert_eq!(db.value("SELECT count(*) FROM ip_activity WHERE source_id > 0"), "1");
}

#[test]
fn partitions_count_for_the_table_and_transactions_keep_their_word() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (ip inet, hp text) PARTITION BY LIST (hp); CREATE TABLE e_a PARTITION OF e FOR VALUES IN ('a');
         SELECT attach_ip_source('e', '{ip}', sensor => 'hp'); CREATE TABLE e_b PARTITION OF e FOR VALUES IN ('b')",
    );
    let mut session = db.connect();
    run(&mut session, "BEGIN; INSERT INTO e VALUES ('8.8.8.8', 'a'), ('8.8.8.8', 'b'); ROLLBACK");
    run(&mut session, "INSERT INTO e VALUES ('8.8.8.8', 'a'); INSERT INTO e_b VALUES ('8.8.8.8', 'b')");
    run(&mut session, "BEGIN; SAVEPOINT s; INSERT INTO e_b VALUES ('8.8.8.8', 'b'); ROLLBACK TO s; COMMIT");
    assert_eq!(sightings(&db), ["8.8.8.8|e|a|1", "8.8.8.8|e|b|1"]);
    db.sql("INSERT INTO e VALUES ('::ffff:8.8.8.8', 'a')");
    assert_eq!(sightings(&db), ["8.8.8.8|e|a|2", "8.8.8.8|e|b|1"]);
    agree(&db);
}

#[test]
fn one_tables_share_is_taken_back_whatever_happened_to_its_rows() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (src inet, dst inet, at timestamptz); CREATE TABLE others (ip inet, at timestamptz);
         SELECT attach_ip_source('others', '{ip}', 'at'); SELECT attach_ip_source('e', '{dst}');
         INSERT INTO others VALUES ('8.8.8.8', '2026-01-02Z'), ('8.8.8.8', '2026-01-03Z');
         INSERT INTO e VALUES ('1.1.1.1', '8.8.8.8', '2026-01-01Z'), ('1.1.1.1', '9.9.9.9', '2026-01-01Z')",
    );
    agree(&db);
    // Attached otherwise, deleted and changed: neither stands in the way.
    db.sql("SELECT attach_ip_source('e', '{src}'); DELETE FROM e WHERE dst = '9.9.9.9'; UPDATE e SET dst = '7.7.7.7'");
    assert_eq!(db.value("SELECT forget_ip_source('e')"), "2");
    assert_eq!(db.lines("SELECT host(ip_address), observation_count FROM ip_inventory"), ["8.8.8.8|2"]);
    assert_eq!(
        db.value("SELECT first_seen_at || ' ' || last_seen_at FROM ip_inventory"),
        "2026-01-02 00:00:00+00 2026-01-03 00:00:00+00",
        "the other table's times are left"
    );
    db.sql("SELECT attach_ip_source('e', '{src}', 'at'); SELECT populate_ip_inventory('e')");
    assert_eq!(sightings(&db), ["1.1.1.1|e||1", "8.8.8.8|others||2"]);
    agree(&db);
}

#[test]
fn what_was_added_before_a_detach_stays() {
    let db = Db::new();
    db.sql("CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}'); INSERT INTO e VALUES ('8.8.8.8'), ('8.8.8.8'), ('1.1.1.1')");
    db.settle();
    db.sql("SELECT detach_ip_source('e'); SELECT attach_ip_source('e', '{ip}'); INSERT INTO e VALUES ('8.8.8.8'), ('9.9.9.9')");
    assert_eq!(sightings(&db), ["1.1.1.1|public.e||1", "8.8.8.8|e||1", "8.8.8.8|public.e||2", "9.9.9.9|e||1"]);
    assert_eq!(db.value("SELECT forget_ip_source('e')"), "2");
    assert_eq!(db.counts(), ["1.1.1.1|1", "8.8.8.8|2"]);
    assert_eq!(sightings(&db), ["1.1.1.1|public.e||1", "8.8.8.8|public.e||2"]);
    agree(&db);
}

#[test]
fn tables_that_are_gone_or_temporary_keep_no_number() {
    let db = Db::new();
    db.sql("CREATE TABLE gone (ip inet); SELECT attach_ip_source('gone', '{ip}'); INSERT INTO gone VALUES ('8.8.8.8')");
    db.settle();
    let mut session = db.connect();
    run(
        &mut session,
        "CREATE TEMP TABLE mine (ip inet); SELECT attach_ip_source('mine', '{ip}'); INSERT INTO mine VALUES ('8.8.8.8')",
    );
    db.settle();
    // Other sessions see a commit a moment before they are told that a table is gone.
    db.sql("DROP TABLE gone");
    db.sql("CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}'); INSERT INTO e VALUES ('8.8.8.8')");
    assert_eq!(sightings(&db), ["8.8.8.8|(no table)||1", "8.8.8.8|e||1", "8.8.8.8|public.gone||1"]);
    assert_eq!(db.value("SELECT count(*) FROM ip_sighting_source WHERE tbl IS NOT NULL"), "1");
    agree(&db);
}

#[test]
fn what_somebody_inserts_by_hand_meanwhile_is_added_to() {
    let db = Db::new();
    db.sql("CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}'); INSERT INTO e VALUES ('1.1.1.1')");
    db.settle();
    let mut other = db.connect();
    run(
        &mut other,
        "BEGIN; INSERT INTO ip_sighting SELECT '8.8.8.8', id, now(), now(), 5 FROM ip_sighting_source WHERE tbl = 'e'::regclass",
    );
    db.sql(
        "INSERT INTO e SELECT '34.64.0.0'::inet + i FROM generate_series(1, 1500) i
         UNION ALL VALUES (inet '8.8.8.8'), ('8.8.8.8'), ('1.1.1.1')",
    );
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'asn_inventory worker'
                 AND wait_event_type = 'Lock' AND datname = current_database()";
    db.wait(waits, "t");
    run(&mut other, "COMMIT");
    db.settle();
    assert_eq!(
        db.lines("SELECT host(ip_address), observation_count FROM ip_sighting WHERE ip_address <<= ANY ('{8.8.8.8,1.1.1.1}'::inet[]) ORDER BY 1"),
        ["1.1.1.1|2", "8.8.8.8|7"]
    );
    assert_eq!(db.lines("SELECT count(*), sum(observation_count) FROM ip_sighting"), ["1502|1509"]);
    assert_eq!(db.value("SELECT sum(observation_count) FROM ip_inventory"), "1504", "each event once");
}

#[test]
fn at_its_limit_known_rows_count_on_and_the_rest_is_said() {
    let cluster = Cluster::builder()
        .conf("asn_inventory.absorb_interval", "20ms")
        .conf("asn_inventory.sightings_max_size", "1MB")
        .start();
    let db = "postgres";
    let sql = |text: &str| {
        cluster.sql(db, text);
        cluster.wait_value(db, "SELECT count(*) FROM ip_observation", "0");
    };
    sql("CREATE EXTENSION asn_inventory; CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}')");
    sql("INSERT INTO e SELECT inet '34.64.0.0' + i FROM generate_series(0, 29999) i");
    assert_eq!(
        cluster.value(db, "SELECT count(*) FROM ip_sighting"),
        "20000",
        "two batches, the second within the limit"
    );
    sql("INSERT INTO e SELECT inet '34.64.0.0' + i FROM generate_series(0, 29999) i");
    assert_eq!(
        cluster.lines(db, "SELECT addresses, observations, left_out FROM ip_sensors"),
        ["20000|40000|20000"],
        "exact, or counted as left out"
    );
    assert_eq!(cluster.value(db, "SELECT sum(observation_count) FROM ip_inventory"), "60000");
    // Now the rows are read.
    assert_eq!(cluster.value(db, "SELECT forget_ip_source('e')"), "60000");
    assert_eq!(cluster.value(db, "SELECT count(*) FROM ip_sighting"), "0");
    cluster.set("asn_inventory.sightings_max_size", "0");
    sql("SELECT attach_ip_source('e', '{ip}'); INSERT INTO e VALUES ('9.9.9.9')");
    assert_eq!(cluster.lines(db, "SELECT (SELECT count(*) FROM ip_sighting), count(*) FROM ip_inventory"), ["0|1"]);
}

#[test]
fn rows_that_nothing_is_added_to_any_more_are_named() {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").start();
    let db = "postgres";
    let sql = |text: &str| {
        cluster.sql(db, text);
        cluster.wait_value(db, "SELECT count(*) FROM ip_observation", "0");
    };
    sql(
        "CREATE EXTENSION asn_inventory; CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}'); INSERT INTO e VALUES ('9.9.9.9')",
    );
    let level = "SELECT level FROM enrichment_doctor() WHERE check_name = 'sightings'";
    assert_eq!(cluster.lines(db, level), ["ok"]);
    cluster.set("asn_inventory.sightings_max_size", "0");
    sql("INSERT INTO e VALUES ('9.9.9.9'), ('9.9.9.9')");
    assert_eq!(cluster.value(db, "SELECT observation_count FROM ip_inventory"), "3");
    assert_eq!(cluster.lines(db, "SELECT observations, left_out FROM ip_sensors"), ["1|0"], "as before");
    cluster.wait_value(db, level, "warning");
    let remedy = cluster.value(db, "SELECT remedy FROM enrichment_doctor() WHERE check_name = 'sightings'");
    assert!(remedy.starts_with("TRUNCATE public.ip_sighting;"), "{remedy}");
    cluster.sql(db, &remedy);
    assert_eq!(cluster.lines(db, level), ["ok"]);
    // The rows of the table are read then.
    assert_eq!(cluster.value(db, "SELECT forget_ip_source('e')"), "3");
}

#[test]
fn sensors_without_end_are_counted_together() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (ip inet, hp text); SELECT attach_ip_source('e', '{ip}', sensor => 'hp');
         INSERT INTO e SELECT '8.8.8.8', 'hp-' || i FROM generate_series(1, 3000) i",
    );
    db.settle();
    assert_eq!(
        db.lines(
            "SELECT count(*), max(observations) FILTER (WHERE sensor = '(others)'), sum(observations) FROM ip_sightings"
        ),
        ["1001|2000|3000"]
    );
    agree(&db);
}

#[test]
fn a_sensor_that_cannot_be_one_is_refused_with_the_reason() {
    let db = Db::new();
    db.sql("CREATE TABLE e (ip inet, p jsonb, at timestamptz)");
    for (sensor, message, detail) in [
        ("nope", "column \"nope\" of relation \"e\" does not exist", ""),
        ("p", "column \"p\" of \"e\" cannot be used as sensor", "It is JSON, and the path to the sensor is missing."),
        ("at", "column \"at\" of \"e\" cannot be used as sensor", "Its type is timestamp with time zone."),
        ("p->*->>x", "\"p->*->>x\" is no sensor", "It is no column and no path to one value in JSON."),
        ("text(p->>x)", "\"text(p->>x)\" is no sensor", "It is no column and no path to one value in JSON."),
    ] {
        let refused = db.fails(&format!("SELECT attach_ip_source('e', '{{ip}}', sensor => '{sensor}')"));
        assert_eq!((refused.message.as_str(), refused.detail.as_str()), (message, detail), "{sensor}");
        assert!(!refused.hint.is_empty(), "{sensor}");
    }
}

#[test]
fn the_story_of_an_address_says_who_saw_it() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (ip inet, hp text, at timestamptz); SELECT attach_ip_source('e', '{ip}', 'at', sensor => 'hp');
         INSERT INTO e VALUES ('8.8.8.8', 'a', '2026-01-01Z'), ('8.8.8.8', 'b', '2026-01-02Z'), ('8.8.8.8', 'b', '2026-01-03Z')",
    );
    db.settle();
    assert_eq!(
        db.lines("SELECT at, detail FROM ip_story('8.8.8.8') WHERE event = 'seen by'"),
        [
            "2026-01-01 00:00:00+00|public.e, sensor a, once",
            "2026-01-02 00:00:00+00|public.e, sensor b, 2 times, last 2026-01-03 00:00:00 UTC"
        ]
    );
    // A role that reads the inventory alone gets the story without it.
    db.sql("CREATE ROLE reader; GRANT SELECT ON ip_inventory, ip_asn_history, asn_inventory, cymru_prefix TO reader; GRANT EXECUTE ON FUNCTION ip_story(inet) TO reader");
    assert_eq!(
        db.lines(
            "SET ROLE reader; SELECT count(*) FILTER (WHERE event = 'seen by'), count(*) > 3 FROM ip_story('8.8.8.8')"
        ),
        ["0|t"]
    );
}

#[test]
fn places_of_a_restored_cluster_are_those_of_the_tables_of_their_names() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE a (ip inet); SELECT attach_ip_source('a', '{ip}'); INSERT INTO a VALUES ('8.8.8.8');
         CREATE TABLE b (ip inet); SELECT attach_ip_source('b', '{ip}'); INSERT INTO b VALUES ('8.8.8.8')",
    );
    assert_eq!(sightings(&db), ["8.8.8.8|a||1", "8.8.8.8|b||1"]);
    // As the dump of a cluster has them: by name alone, some of tables that other nodes had.
    db.sql("UPDATE ip_sighting_source SET tbl = NULL; UPDATE ip_sighting_source SET name = 'public.b (node 2)' WHERE name = 'public.b'");
    db.sql("INSERT INTO a VALUES ('8.8.8.8'); INSERT INTO b VALUES ('8.8.8.8')");
    assert_eq!(sightings(&db), ["8.8.8.8|a||2", "8.8.8.8|b||1", "8.8.8.8|public.b (node 2)||1"]);
    assert_eq!(
        db.lines("SELECT name, tbl, attached FROM ip_sighting_source ORDER BY id"),
        ["public.a|a|t", "public.b (node 2)||f", "public.b|b|t"]
    );
    agree(&db);
}
