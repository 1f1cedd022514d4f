//! IPv4-mapped addresses: one row with the IPv4 address, for new observations and for rows of before.

use asn_inventory_tests::prelude::*;

const DB: &str = "postgres";

fn start() -> Cluster {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    cluster
}

const COUNTS: &str =
    "SELECT string_agg(host(ip_address) || '|' || observation_count, ' ' ORDER BY ip_address) FROM ip_inventory";

#[test]
fn new_observations_of_both_forms_count_on_one_row() {
    let cluster = start();
    cluster.sql(
        DB,
        "CREATE TABLE e (ip inet, at timestamptz);
         INSERT INTO e VALUES ('::ffff:8.8.8.8', '2024-01-01Z'), ('8.8.8.8', '2024-01-02Z');
         SELECT attach_ip_source('e', '{ip}', 'at'); SELECT populate_ip_inventory('e');
         INSERT INTO e SELECT '::ffff:1.1.1.1', '2024-01-03Z' FROM generate_series(1, 100);
         INSERT INTO e SELECT ('::ffff:1.1.2.' || n)::inet, '2024-01-03Z' FROM generate_series(1, 40) n;
         INSERT INTO e VALUES ('1.1.1.1', '2024-01-04Z'), ('::ffff:8.8.8.8', '2024-01-05Z'), ('2002:808:808::', '2024-01-05Z'), ('::8.8.8.8', '2024-01-05Z')",
    );
    cluster.wait_value(DB, "SELECT sum(observation_count) FROM ip_inventory", "146");
    assert_eq!(
        cluster.lines(
            DB,
            "SELECT host(ip_address), observation_count, first_seen_at, last_seen_at FROM ip_inventory
                           WHERE NOT ip_address <<= '1.1.2.0/24' ORDER BY ip_address"
        ),
        [
            "1.1.1.1|101|2024-01-03 00:00:00+00|2024-01-04 00:00:00+00",
            "8.8.8.8|3|2024-01-01 00:00:00+00|2024-01-05 00:00:00+00",
            "::8.8.8.8|1|2024-01-05 00:00:00+00|2024-01-05 00:00:00+00",
            "2002:808:808::|1|2024-01-05 00:00:00+00|2024-01-05 00:00:00+00",
        ]
    );
    // Functions mean the same row, and a question makes no other.
    assert_eq!(cluster.value(DB, "SELECT (enrich_ip('::ffff:8.8.8.8')).ip"), "8.8.8.8");
    assert_eq!(cluster.value(DB, "SELECT ip_asn_at('::ffff:8.8.8.8', now())"), "15169");
    assert_eq!(
        cluster.value(DB, "SELECT detail FROM ip_story('::ffff:8.8.8.8') WHERE event = 'last seen'"),
        "observed 3 times"
    );
    cluster.sql(DB, "SELECT enrich_ip('::ffff:81.2.69.142'); SELECT backfill_inventory(ips => '{::ffff:81.2.69.143}')");
    cluster.wait_value(DB, "SELECT count(*) FROM ip_inventory WHERE ip_address <<= '81.2.69.0/24'", "2");
    for (range, rows) in [("::ffff:8.8.8.8", 1), ("::ffff:1.1.2.9/120", 40), ("::ffff:0.0.0.0/95", 0)] {
        let refreshed = format!("SELECT processed FROM refresh_range('{range}', 'maxmind')");
        assert_eq!(cluster.value(DB, &refreshed), rows.to_string(), "{range}");
    }
    // One table's share is taken back from that row.
    assert_eq!(cluster.value(DB, "SELECT forget_ip_source('e')"), "146");
    assert_eq!(cluster.value(DB, "SELECT sum(observation_count) FROM ip_inventory"), "0");
}

#[test]
fn rows_of_before_are_merged_with_their_history_and_the_later_answer() {
    let cluster = start();
    cluster.set("asn_inventory.fold_ipv4_mapped", "off");
    cluster.sql(
        DB,
        "CREATE TABLE e (ip inet, at timestamptz); SELECT attach_ip_source('e', '{ip}', 'at');
         INSERT INTO e VALUES ('::ffff:8.8.8.8', '2024-01-01Z'), ('8.8.8.8', '2024-01-02Z'), ('::ffff:1.1.1.1', '2024-01-03Z');
         INSERT INTO e SELECT ('::ffff:20.0.0.0'::inet + n), '2024-01-03Z' FROM generate_series(1, 1200) n",
    );
    cluster.wait_value(DB, "SELECT count(*) FROM ip_inventory", "1203");
    cluster.sql(
        DB,
        "UPDATE ip_inventory SET scanner_ts = now(), scanner_name = 'mapped', greynoise_status = 'found' WHERE ip_address = '::ffff:8.8.8.8';
         INSERT INTO ip_asn_history VALUES ('::ffff:8.8.8.8', '2024-01-01', 64500, 'maxmind', 15169, 'maxmind');
         ALTER TABLE ip_inventory ADD COLUMN note text, ADD COLUMN id bigserial UNIQUE, ADD COLUMN uid bigint GENERATED ALWAYS AS IDENTITY; UPDATE ip_inventory SET note = 'kept' WHERE ip_address = '::ffff:1.1.1.1'",
    );
    cluster.set("asn_inventory.fold_ipv4_mapped", "on");
    cluster.wait_value(DB, "SELECT count(*) FROM ip_inventory WHERE family(ip_address) = 6", "0");
    assert_eq!(
        cluster.lines(DB, "SELECT host(ip_address), observation_count, first_seen_at, scanner_name, greynoise_status, asn_number, note
                           FROM ip_inventory WHERE ip_address IN ('8.8.8.8', '1.1.1.1') ORDER BY ip_address"),
        [
            "1.1.1.1|1|2024-01-03 00:00:00+00||pending|13335|kept",
            "8.8.8.8|2|2024-01-01 00:00:00+00|mapped|found|15169|",
        ]
    );
    assert_eq!(cluster.value(DB, "SELECT sum(observation_count) || ' ' || count(*) FROM ip_inventory"), "1203 1202");
    assert_eq!(cluster.lines(DB, "SELECT host(ip_address), old_asn FROM ip_asn_history"), ["8.8.8.8|64500"]);
    // One that somebody writes by hand is merged as well, and the counts follow.
    cluster.sql(DB, "INSERT INTO ip_inventory (ip_address, observation_count) VALUES ('::ffff:8.8.8.8', 5)");
    cluster.wait_value(DB, "SELECT observation_count FROM ip_inventory WHERE ip_address = '8.8.8.8'", "7");
    cluster.wait_value(DB, "SELECT addresses FROM enrichment_status", "1202");
    assert_eq!(cluster.value(DB, "SELECT count(*) FROM worker_errors()"), "0");
}

/// Until a session loads the library, it has the setting as it was written.
#[test]
fn functions_in_sql_know_every_spelling_of_off() {
    let cluster = Cluster::builder().preload(false).conf("asn_inventory.fold_ipv4_mapped", "No").start();
    cluster.sql(
        DB,
        "CREATE EXTENSION asn_inventory;
         INSERT INTO ip_inventory (ip_address, asn_number) VALUES ('8.8.8.8', 4), ('::ffff:8.8.8.8', 6)",
    );
    for asked in [
        "ip_asn_at('::ffff:8.8.8.8', now())",
        "asn_number FROM ip_network_at('::ffff:8.8.8.8', now())",
        "asn_number FROM ip_addresses_in('{::ffff:8.8.8.8/128}')",
    ] {
        assert_eq!(cluster.value(DB, &format!("SELECT {asked}")), "6", "{asked}");
        let folded = format!("SET asn_inventory.fold_ipv4_mapped = 'yes'; SELECT {asked}");
        assert_eq!(cluster.value(DB, &folded), "4", "{asked}");
    }
}

#[test]
fn a_row_that_a_foreign_key_may_name_stays_with_count_0() {
    let cluster = start();
    cluster.set("asn_inventory.fold_ipv4_mapped", "off");
    cluster.sql(
        DB,
        "CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}');
         INSERT INTO e VALUES ('::ffff:8.8.8.8'), ('8.8.8.8'), ('::ffff:1.1.1.1')",
    );
    cluster.wait_value(DB, COUNTS, "8.8.8.8|1 ::ffff:1.1.1.1|1 ::ffff:8.8.8.8|1");
    cluster.sql(DB, "CREATE TABLE mine (ip inet REFERENCES ip_inventory); INSERT INTO mine VALUES ('::ffff:8.8.8.8')");
    cluster.set("asn_inventory.fold_ipv4_mapped", "on");
    let merged = "1.1.1.1|1 8.8.8.8|2 ::ffff:1.1.1.1|0 ::ffff:8.8.8.8|0";
    cluster.wait_value(DB, COUNTS, merged);
    cluster.sql(DB, "INSERT INTO e VALUES ('::ffff:8.8.8.8')");
    cluster.wait_value(DB, COUNTS, "1.1.1.1|1 8.8.8.8|3 ::ffff:1.1.1.1|0 ::ffff:8.8.8.8|0");
    // Its sightings follow, and are taken back.
    let sightings =
        "SELECT string_agg(host(ip_address) || '|' || observation_count, ' ' ORDER BY ip_address) FROM ip_sighting";
    cluster.wait_value(DB, sightings, "1.1.1.1|1 8.8.8.8|3");
    assert_eq!(cluster.value(DB, "SELECT forget_ip_source('e')"), "4");
    assert_eq!(cluster.value(DB, "SELECT sum(observation_count) FROM ip_inventory"), "0");
}

#[test]
fn a_locked_row_is_merged_once_it_is_free_and_nothing_is_lost() {
    let cluster = start();
    cluster.set("asn_inventory.fold_ipv4_mapped", "off");
    cluster.sql(
        DB,
        "CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}'); INSERT INTO e VALUES ('::ffff:8.8.8.8'), ('8.8.8.8')",
    );
    cluster.wait_value(DB, COUNTS, "8.8.8.8|1 ::ffff:8.8.8.8|1");
    let mut holder = cluster.connect(DB);
    holder.batch_execute("BEGIN; SELECT * FROM ip_inventory WHERE ip_address = '8.8.8.8' FOR UPDATE").expect("a lock");
    cluster.set("asn_inventory.fold_ipv4_mapped", "on");
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'asn_inventory worker' AND wait_event_type = 'Lock'";
    cluster.wait_value(DB, waits, "1");
    // It does not wait for long, and the rest goes on.
    cluster.sql(DB, "INSERT INTO e VALUES ('::ffff:1.1.1.1')");
    cluster.wait_value(DB, COUNTS, "1.1.1.1|1 8.8.8.8|1 ::ffff:8.8.8.8|1");
    holder.batch_execute("COMMIT").expect("the end");
    cluster.wait_value(DB, COUNTS, "1.1.1.1|1 8.8.8.8|2");
    cluster.wait_value(DB, "SELECT count(*) FROM worker_errors()", "0");
}
