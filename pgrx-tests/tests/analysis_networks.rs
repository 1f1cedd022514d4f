//! The inventory against networks, and networks of the past, in sets.

use crate::ingest_support::Db;

fn filled() -> Db {
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}');
         INSERT INTO e SELECT inet '10.0.0.0' + i FROM generate_series(0, 19999) i;
         INSERT INTO e VALUES ('9.255.255.255'), ('10.1.0.0'), ('2001:db8::1'), ('2001:db8:1::'), ('::ffff:10.0.0.1')",
    );
    db.settle();
    db.sql("ANALYZE ip_inventory");
    db
}

#[test]
fn addresses_of_networks_are_found_by_index_and_each_once() {
    let db = filled();
    let count = |networks: &str| db.value(&format!("SELECT count(*) FROM ip_addresses_in('{networks}')"));
    for (networks, addresses) in [
        ("{10.0.0.0/24}", "256"),
        ("{10.0.0.0/24,10.0.0.0/24}", "256"),
        ("{10.0.0.0/25,10.0.0.0/24,10.0.0.7/32,10.0.1.0/24}", "512"),
        ("{10.0.0.0/16}", "20000"),
        ("{0.0.0.0/0}", "20002"),
        ("{::/0}", "2"),
        ("{0.0.0.0/0,::/0,10.0.0.0/8}", "20004"),
        ("{2001:db8::/48}", "1"),
        ("{::ffff:10.0.0.0/120}", "256"),
        ("{192.0.2.0/24,NULL}", "0"),
        ("{}", "0"),
    ] {
        assert_eq!(count(networks), addresses, "{networks}");
    }
    let read = db.lines(
        "BEGIN; SELECT count(*) FROM ip_addresses_in('{10.0.0.0/24,10.0.7.0/28}');
         SELECT seq_scan, idx_scan > 0 FROM pg_stat_xact_user_tables WHERE relname = 'ip_inventory'; COMMIT",
    );
    assert_eq!(read, ["272", "0|t"]);
    // A column of somebody's own does not stand in the way.
    db.sql("ALTER TABLE ip_inventory ADD COLUMN note text DEFAULT 'mine'");
    assert_eq!(
        db.lines("SELECT host(ip_address), note FROM ip_addresses_in('{10.0.0.7/32}') WHERE observation_count > 0"),
        ["10.0.0.7|mine"]
    );
    // What people write first finds nothing, and says nothing.
    assert_eq!(
        db.value("SELECT count(*) FROM ip_inventory WHERE ip_address BETWEEN network(cidr '10.0.0.0/24') AND broadcast(cidr '10.0.0.0/24')"),
        "0"
    );
}

#[test]
fn a_table_of_networks_joins_by_index() {
    let db = filled();
    db.sql(
        "CREATE TABLE allowed (network cidr, name text); ANALYZE allowed;
         INSERT INTO allowed SELECT set_masklen(inet '10.0.0.0' + i * 16, 28)::cidr, 'net ' || i FROM generate_series(0, 99) i",
    );
    let join = "SELECT count(*), count(DISTINCT n.name) FROM allowed n JOIN ip_inventory i ON i.ip_address >= n.network AND i.ip_address <= ip_last(n.network)";
    assert_eq!(db.lines(join), ["1600|100"]);
    assert_eq!(
        db.value("SELECT count(*) FROM allowed n JOIN ip_inventory i ON i.ip_address <<= n.network"),
        "1600",
        "the slow form agrees"
    );
    let plan = db.lines(&format!("EXPLAIN (COSTS off) {join}")).join("\n");
    assert!(plan.contains("ip_inventory_pkey"), "{plan}");
}

#[test]
fn the_country_and_the_organization_of_a_day_are_kept() {
    let db = Db::new();
    db.sql("CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}'); INSERT INTO e VALUES ('81.2.69.142'), ('10.0.0.1')");
    db.settle();
    // No walk under way writes over what is written by hand.
    db.wait("SELECT count(*) FROM maxmind_walk WHERE generations <> '{}'", "1");
    db.sql(
        "UPDATE ip_inventory SET asn_number = 64500, asn_org = 'Before', country_code = 'GB' WHERE ip_address = '81.2.69.142';
         DELETE FROM ip_asn_history",
    );
    let at = "SELECT concat_ws(' ', asn_number, asn_org, country_code) FROM ip_network_at('81.2.69.142', now() - interval '1 hour')";
    assert_eq!(db.value(at), "64500 Before GB");
    // The country alone, then the name, then the AS and the country; each is one row at most.
    for change in [
        "country_code = 'FR'",
        "asn_org = 'Renamed'",
        "asn_number = 64501, asn_org = 'After', country_code = NULL",
        "country_code = 'DE'",
    ] {
        db.sql(&format!("UPDATE ip_inventory SET {change} WHERE ip_address = '81.2.69.142'"));
    }
    db.sql("UPDATE ip_inventory SET country_code = 'US' WHERE ip_address = '10.0.0.1'");
    assert_eq!(
        db.lines("SELECT host(ip_address), old_asn, old_org, old_country_code, new_asn FROM ip_asn_history ORDER BY changed_at"),
        ["81.2.69.142|64500|Before|GB|64500", "81.2.69.142|64500|Renamed|FR|64501"]
    );
    assert_eq!(db.value(at), "64500 Before GB");
    assert_eq!(
        db.value("SELECT concat_ws(' ', asn_number, asn_org, country_code) FROM ip_network_at('81.2.69.142', now())"),
        "64501 After DE"
    );
    assert_eq!(db.lines("SELECT old_asn, new_asn FROM asn_changes"), ["64500|64501"]);
    // What was not kept before 0.3.0 is what is known now; what was kept is not, where nothing was known.
    db.sql(
        "INSERT INTO ip_asn_history VALUES ('10.0.0.2', now() - interval '1 day', 1, 'maxmind', 2, 'maxmind');
         INSERT INTO ip_asn_history VALUES ('10.0.0.3', now() - interval '1 day', 1, 'maxmind', 2, 'maxmind', NULL, 'One', 'FR');
         INSERT INTO ip_inventory (ip_address, asn_number, asn_org, country_code) VALUES ('10.0.0.2', 1, 'One', 'DE'), ('10.0.0.3', 1, 'One', 'DE')",
    );
    let then = "SELECT host(ip), n.country_code FROM unnest('{10.0.0.2,10.0.0.3}'::inet[]) ip, ip_network_at(ip, now() - interval '2 days') n";
    assert_eq!(db.lines(then), ["10.0.0.2|DE", "10.0.0.3|"]);
    let story = "SELECT detail FROM ip_story('81.2.69.142') WHERE event IN ('country changed', 'network changed') ORDER BY at, event";
    assert_eq!(
        db.lines(story),
        ["from GB to FR", "from FR to none: no source knows it any more", "from AS64500 to AS64501"]
    );
    // The licence of the files: what they said goes, and who had an address stays. Nobody knows the country of then any more.
    db.sql(
        "UPDATE ip_asn_history SET changed_at = now() - interval '60 days' WHERE ip_address = '81.2.69.142';
         SELECT purge_expired_maxmind()",
    );
    assert_eq!(
        db.lines("SELECT old_asn, old_org, old_country_code, new_country_code FROM ip_asn_history WHERE ip_address = '81.2.69.142' ORDER BY old_asn, new_asn"),
        ["64500|||", "64500|||"]
    );
    assert_eq!(
        db.value(
            "SELECT coalesce(country_code, 'unknown') FROM ip_network_at('81.2.69.142', now() - interval '61 days')"
        ),
        "unknown"
    );
    assert_eq!(db.value("SELECT country_code FROM ip_network_at('10.0.0.3', now() - interval '30 hours')"), "");
    // Of a purge itself nothing is kept either.
    db.sql("UPDATE ip_inventory SET asn_source = 'maxmind', maxmind_status = 'found', maxmind_ts = now() WHERE ip_address = '81.2.69.142'; SELECT purge_expired_maxmind('0')");
    assert_eq!(
        db.lines("SELECT old_asn, old_org, old_country_code FROM ip_asn_history WHERE ip_address = '81.2.69.142' AND new_asn IS NULL"),
        ["64501||"]
    );
}

#[test]
fn networks_of_the_past_come_in_sets_and_agree_with_one_by_one() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (ip inet, at timestamptz); SELECT attach_ip_source('e', '{ip}');
         INSERT INTO e SELECT ip::inet, now() + d * interval '1 day' FROM unnest(ARRAY['8.8.8.8', '81.2.69.142', '1.1.1.1']) ip, generate_series(-2, 2) d",
    );
    db.settle();
    // No walk under way writes over what is written by hand.
    db.wait("SELECT count(*) FROM maxmind_walk WHERE generations <> '{}'", "1");
    db.wait("SELECT count(*) > 1 FROM asn_inventory WHERE ip_count > 0", "t");
    db.sql(
        "UPDATE ip_inventory SET asn_number = 64999, asn_org = 'Later', country_code = 'ZZ' WHERE ip_address = '8.8.8.8';
         UPDATE ip_asn_history SET changed_at = now() - interval '36 hours'",
    );
    db.wait("SELECT count(*) FROM asn_inventory WHERE asn_number = 64999", "1");
    let differing =
        "SELECT count(*) FROM e, ip_network_at(e.ip, e.at) n WHERE n.asn_number IS DISTINCT FROM ip_asn_at(e.ip, e.at)";
    assert_eq!(db.value(differing), "0");
    assert_eq!(
        db.lines("SELECT n.asn_number = 64999, n.asn_org = 'Later', n.country_code FROM e, ip_network_at(e.ip, e.at) n WHERE e.ip = '8.8.8.8' ORDER BY e.at"),
        ["f|f|US", "t|t|ZZ", "t|t|ZZ", "t|t|ZZ", "t|t|ZZ"]
    );
    assert_eq!(
        db.lines("SELECT asn_number, asn_org FROM ip_network_at('192.0.2.1', now())"),
        ["|"],
        "unknown: a row of nulls"
    );
    // A netmask does not count, and without a time there is no answer.
    for address in ["::ffff:8.8.8.8", "8.8.8.8/24", "::ffff:8.8.8.8/120", "::ffff:8.8.8.8/64"] {
        assert_eq!(
            db.lines(&format!(
                "SELECT ip_asn_at('{address}', now()), n.asn_number FROM ip_network_at('{address}', now()) n
                 UNION ALL SELECT ip_asn_at('{address}', NULL), n.asn_number FROM ip_network_at('{address}', NULL) n"
            )),
            ["64999|64999", "|"],
            "{address}"
        );
        let story = format!("SELECT count(*) FROM ip_story('{address}') WHERE event = 'first seen'");
        assert_eq!(db.value(&story), "1", "{address}");
    }
    assert_eq!(db.lines("SELECT * FROM ip_network_at('8.8.8.8', NULL), ip_network_at(NULL, now()) o"), ["|||||"]);
    db.sql("ANALYZE");
    let plan = db.lines("EXPLAIN (COSTS off) SELECT * FROM e, ip_network_at(e.ip, e.at) n").join("\n");
    assert!(!plan.contains("Function Scan"), "it stands in the query itself: {plan}");
}

/// What people build on the views stands in the way of a DROP EXTENSION that would take it along.
#[test]
fn dropping_the_extension_says_what_would_go() {
    let db = Db::new();
    db.sql(
        "CREATE SCHEMA mart; CREATE MATERIALIZED VIEW mart.countries AS SELECT * FROM countries_by_day;
         CREATE VIEW mart.seen AS SELECT s.*, n.asn_org FROM ip_sightings s, ip_network_at(s.ip_address, s.last_seen_at) n;
         CREATE TABLE mart.events (payload jsonb, src inet GENERATED ALWAYS AS (ip_parse(payload, 'src')) STORED);
         CREATE INDEX peers ON mart.events (ip_parse(payload, 'peer'));
         CREATE TABLE mart.notes (known ip_enrichment, ip inet REFERENCES ip_inventory)",
    );
    let refused = db.fails("DROP EXTENSION asn_inventory");
    assert_eq!(refused.code, "2BP01");
    for named in [
        "materialized view mart.countries",
        "view mart.seen",
        "column src of table mart.events",
        "index mart.peers",
        "column known of table mart.notes",
        "constraint notes_ip_fkey on table mart.notes",
    ] {
        assert!(refused.detail.contains(named), "{named}: {refused:?}");
    }
    db.sql("REFRESH MATERIALIZED VIEW mart.countries");
}
