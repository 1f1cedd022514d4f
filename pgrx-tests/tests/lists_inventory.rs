//! The lists in the rows of the inventory: born with them, walked after a change, and shown by views.

use crate::lists_support::*;
use asn_inventory_tests::prelude::*;
use std::fs;

const LISTS: &str = "SELECT string_agg(host(ip_address) || '=' || coalesce(lists::text, '-'), ' ' ORDER BY ip_address) FROM ip_inventory";

#[test]
fn rows_have_the_lists_and_follow_them() {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "50ms").start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.wait_walked(DB);
    let dir = default_dir(&cluster);
    put(&dir, "tor.txt", "81.2.69.142\n10.0.0.0/8\n");
    wait_lists(&cluster, "81.2.69.142", "{tor}");
    assert_eq!(
        cluster.lines(DB, "SELECT (l).lists, (l).city FROM lookup_ip('81.2.69.142') l UNION ALL SELECT (l).lists, (l).maxmind_status FROM lookup_ip('10.1.1.1') l UNION ALL SELECT (l).lists, (l).maxmind_status FROM lookup_ip('8.8.8.8') l"),
        ["{tor}|London", "{tor}|skipped", "|found"]
    );
    cluster.sql(
        DB,
        "CREATE TABLE events (ip inet); SELECT attach_ip_source('events', ARRAY['ip']);
         INSERT INTO events VALUES ('81.2.69.142'), ('10.1.1.1'), ('8.8.8.8'), ('8.8.8.8')",
    );
    cluster.wait_value(DB, LISTS, "8.8.8.8=- 10.1.1.1={tor} 81.2.69.142={tor}");
    assert_eq!(cluster.value(DB, "SELECT (enrich_ip('81.2.69.142')).lists"), "{tor}");
    // A walk after another list, and after its end.
    put(&dir, "dns.txt", "8.8.8.0/24\n81.2.0.0/16\n");
    cluster.wait_value(DB, LISTS, "8.8.8.8={dns} 10.1.1.1={tor} 81.2.69.142={dns,tor}");
    assert_eq!(cluster.lines(DB, "SELECT list, addresses, observations FROM top_lists"), ["dns|2|3", "tor|2|2"]);
    let story = cluster.lines(DB, "SELECT event, detail FROM ip_story('81.2.69.142') WHERE event = 'in lists'");
    assert_eq!(story, ["in lists|dns, tor"]);
    assert_eq!(cluster.value(DB, "SELECT count(*) FROM ip_story('9.9.9.9') WHERE event = 'in lists'"), "0");
    fs::remove_file(dir.join("tor.txt")).expect("removed");
    cluster.wait_value(DB, LISTS, "8.8.8.8={dns} 10.1.1.1=- 81.2.69.142={dns}");
    fs::remove_file(dir.join("dns.txt")).expect("removed");
    cluster.wait_value(DB, LISTS, "8.8.8.8=- 10.1.1.1=- 81.2.69.142=-");
    assert_eq!(cluster.value(DB, "SELECT count(*) FROM ip_asn_history"), "0", "no other column was touched");
}

#[test]
fn populate_and_backfill_fill_them() {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "50ms").start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.wait_walked(DB);
    put(&default_dir(&cluster), "tor.txt", "81.2.69.142\n");
    wait_lists(&cluster, "81.2.69.142", "{tor}");
    cluster.sql(
        DB,
        "CREATE TABLE events (ip inet); INSERT INTO events VALUES ('81.2.69.142'), ('8.8.8.8');
         SELECT attach_ip_source('events', ARRAY['ip']); SELECT populate_ip_inventory('events');
         INSERT INTO ip_inventory (ip_address) VALUES ('81.2.69.143')",
    );
    cluster.sql(DB, "SELECT backfill_inventory()");
    cluster.wait_value(DB, LISTS, "8.8.8.8=- 81.2.69.142={tor} 81.2.69.143=-");
    // Off: rows stay as they are, until they are asked for.
    cluster.set("asn_inventory.maxmind_walk", "off");
    put(&default_dir(&cluster), "all.txt", "81.2.69.0/24\n");
    wait_lists(&cluster, "81.2.69.142", "{all,tor}");
    assert_eq!(cluster.value(DB, "SELECT (enrich_ip('81.2.69.142')).lists"), "{all,tor}", "the row is stale");
    cluster.sql(DB, "SELECT refresh_stale('maxmind')");
    cluster.wait_value(DB, LISTS, "8.8.8.8=- 81.2.69.142={all,tor} 81.2.69.143={all}");
}

#[test]
fn every_row_is_reached_though_lists_change_faster_than_a_walk() {
    let cluster = Cluster::builder().start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.wait_walked(DB);
    let dir = default_dir(&cluster);
    put(&dir, "all.txt", "0.0.0.0/0\n");
    wait_lists(&cluster, "9.9.9.9", "{all}");
    cluster.wait_walked(DB);
    // As if they had been answered before there was a list.
    cluster.sql(
        DB,
        "INSERT INTO ip_inventory (ip_address, ip_class, maxmind_status, maxmind_ts, enrichment_ts, cymru_status, greynoise_status)
         SELECT '9.0.0.0'::inet + i, 'public', 'not_found', now(), now(), 'skipped', 'skipped' FROM generate_series(1, 300000) i",
    );
    let unreached = "SELECT count(*) FROM ip_inventory WHERE lists IS NULL";
    let mut changes = 0;
    while cluster.value(DB, unreached) != "0" {
        changes += 1;
        assert!(changes < 60, "{} rows are still without a list", cluster.value(DB, unreached));
        put(&dir, "churn.txt", format!("1.1.{changes}.0/24\n"));
        wait_lists(&cluster, &format!("1.1.{changes}.1"), "{all,churn}");
    }
    // One walk to the end, whatever came in between.
    cluster.wait_walked(DB);
    assert_eq!(cluster.value(DB, unreached), "0");
    assert_eq!(cluster.value(DB, "SELECT count(*) FROM enrichment_run WHERE kind = 'walk' AND outcome <> 'done'"), "0");
}

#[test]
fn lists_alone_are_followed_where_there_is_no_file() {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "50ms").start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    let dir = default_dir(&cluster);
    put(&dir, "tor.txt", "81.2.69.142\n10.0.0.0/8\n");
    wait_lists(&cluster, "81.2.69.142", "{tor}");
    // One that a file answered which is gone since.
    cluster.sql(
        DB,
        "INSERT INTO ip_inventory (ip_address, ip_class, maxmind_status, maxmind_ts, city)
         VALUES ('8.8.8.8', 'public', 'found', now(), 'Kept');
         CREATE TABLE events (ip inet); SELECT attach_ip_source('events', ARRAY['ip']);
         INSERT INTO events VALUES ('81.2.69.142'), ('10.1.1.1'), ('81.2.69.143')",
    );
    cluster.wait_value(DB, LISTS, "8.8.8.8=- 10.1.1.1={tor} 81.2.69.142={tor} 81.2.69.143=-");
    put(&dir, "net.txt", "81.2.0.0/16\n8.0.0.0/8\n");
    fs::remove_file(dir.join("tor.txt")).expect("removed");
    cluster.wait_value(DB, LISTS, "8.8.8.8={net} 10.1.1.1=- 81.2.69.142={net} 81.2.69.143={net}");
    let row = "SELECT city, maxmind_status FROM ip_inventory WHERE ip_address = '8.8.8.8'";
    assert_eq!(cluster.lines(DB, row), ["Kept|found"]);
    // What users wrote stays, and so does what a purge left.
    cluster.sql(
        DB,
        "UPDATE ip_inventory SET asn_number = 64500, asn_org = 'Mine' WHERE ip_address = '81.2.69.142';
         INSERT INTO ip_inventory (ip_address, ip_class, maxmind_status, flags) VALUES ('81.2.69.144', 'public', 'unavailable', '{vpn}')",
    );
    put(&dir, "net.txt", "81.2.69.142/31\n");
    cluster.wait_value(DB, LISTS, "8.8.8.8=- 10.1.1.1=- 81.2.69.142={net} 81.2.69.143={net} 81.2.69.144=-");
    let done = "SELECT count(*) FROM enrichment_progress WHERE kind = 'walk'";
    cluster.wait_value(DB, done, "0");
    cluster.wait_value(DB, "SELECT count(*) FROM maxmind_walk WHERE generations <> '{}'", "1");
    assert_eq!(cluster.value(DB, "SELECT asn_org FROM ip_inventory WHERE ip_address = '81.2.69.142'"), "Mine");
    assert_eq!(
        cluster.value(DB, "SELECT city FROM enrich_ip('8.8.8.8')"),
        "Kept",
        "no list makes an answer out of date"
    );
    // The last one goes, rows come, and it is there again.
    fs::remove_file(dir.join("net.txt")).expect("removed");
    cluster.wait_value(DB, LISTS, "8.8.8.8=- 10.1.1.1=- 81.2.69.142=- 81.2.69.143=- 81.2.69.144=-");
    cluster.sql(DB, "UPDATE ip_inventory SET asn_number = NULL, asn_org = NULL; DELETE FROM ip_inventory WHERE ip_address = '81.2.69.144'");
    put(&dir, "net.txt", "81.2.0.0/16\n8.0.0.0/8\n");
    cluster.wait_value(DB, LISTS, "8.8.8.8={net} 10.1.1.1=- 81.2.69.142={net} 81.2.69.143={net}");
    // A file that comes answers all of them.
    fixtures::small(&cluster.maxmind_dir());
    cluster.wait_value(DB, LISTS, "8.8.8.8={net} 10.1.1.1=- 81.2.69.142={net} 81.2.69.143={net}");
    cluster.wait_value(DB, "SELECT city FROM ip_inventory WHERE ip_address = '81.2.69.142'", "London");
}
