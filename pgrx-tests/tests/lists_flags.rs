//! The flags that lists stand for: in look-ups, in the rows of the inventory, and counted for an AS.

use crate::lists_support::*;
use asn_inventory_tests::prelude::*;
use std::fs;

const FLAGS: &str = "SELECT string_agg(host(ip_address) || '=' || coalesce(flags::text, '-'), ' ' ORDER BY ip_address) FROM ip_inventory";
const LOOK_UP: &str = "SELECT coalesce((lookup_ip('81.2.69.142')).flags::text, '-') || coalesce((lookup_ip('10.1.1.1')).flags::text, '-')";
const SAID: &str = "SELECT concat_ws(': ', level, detail) FROM enrichment_doctor() WHERE check_name = 'list flags'";

#[test]
fn addresses_of_a_list_have_its_flags_beside_those_of_files() {
    let cluster = Cluster::builder()
        .conf("asn_inventory.absorb_interval", "50ms")
        .conf("asn_inventory.maxmind_editions", "GeoLite2-ASN,kinds=flags")
        .start();
    let mut asn = MmdbWriter::new("GeoLite2-ASN", fixtures::days_ago(1));
    asn.add("81.2.69.0/24", json!({ "autonomous_system_number": 64500, "autonomous_system_organization": "Cloud" }));
    asn.write(&cluster.maxmind_dir().join("GeoLite2-ASN.mmdb")).expect("a file");
    let mut kinds = MmdbWriter::new("kinds", fixtures::days_ago(1));
    kinds.add("81.2.69.142/32", json!({ "is_anonymous_vpn": true }));
    kinds.write(&cluster.maxmind_dir().join("kinds.mmdb")).expect("a file");
    let dir = default_dir(&cluster);
    put(&dir, "cloud.txt", "81.2.69.128/25\n");
    put(&dir, "office.txt", "10.0.0.0/8\n");
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.wait_value(DB, "SELECT count(*) FROM mmdb_editions() WHERE generation IS NOT NULL", "2");
    cluster.wait_walked(DB);
    wait_lists(&cluster, "10.1.1.1", "{office}");
    cluster.sql(
        DB,
        "CREATE TABLE events (ip inet); SELECT attach_ip_source('events', ARRAY['ip']);
         INSERT INTO events VALUES ('81.2.69.142'), ('81.2.69.143'), ('81.2.69.1'), ('10.1.1.1')",
    );
    cluster.wait_value(DB, FLAGS, "10.1.1.1=- 81.2.69.1=- 81.2.69.142={vpn} 81.2.69.143=-");
    let mut open = cluster.connect(DB);
    let mut ask = || -> String { open.query_one(LOOK_UP, &[]).expect("an answer").get(0) };
    assert_eq!(ask(), "{vpn}-");
    // Open sessions follow the setting, and rows do by a walk.
    let counted = "SELECT flags FROM asn_inventory WHERE asn_number = 64500";
    for (setting, looked_up, stored, of_as) in [
        (
            "cloud=hosting, office=business, cloud=anycast",
            "{vpn,hosting,anycast}{business}",
            "10.1.1.1={business} 81.2.69.1=- 81.2.69.142={vpn,hosting,anycast} 81.2.69.143={hosting,anycast}",
            "{anycast,hosting}",
        ),
        (
            "cloud=hosting",
            "{vpn,hosting}-",
            "10.1.1.1=- 81.2.69.1=- 81.2.69.142={vpn,hosting} 81.2.69.143={hosting}",
            "{hosting}",
        ),
        ("", "{vpn}-", "10.1.1.1=- 81.2.69.1=- 81.2.69.142={vpn} 81.2.69.143=-", ""),
        ("cloud=vpn", "{vpn}-", "10.1.1.1=- 81.2.69.1=- 81.2.69.142={vpn} 81.2.69.143={vpn}", "{vpn}"),
    ] {
        cluster.set("asn_inventory.list_flags", setting);
        wait_until(&format!("an open session answers by {setting:?}"), || ask() == looked_up);
        cluster.wait_value(DB, FLAGS, stored);
        cluster.wait_value(DB, counted, of_as);
    }
    assert_eq!(cluster.value(DB, "SELECT (enrich_ip('81.2.69.143')).flags"), "{vpn}");
    // The flags of a list follow its entries.
    put(&dir, "cloud.txt", "81.2.69.0/26\n");
    cluster.wait_value(DB, FLAGS, "10.1.1.1=- 81.2.69.1={vpn} 81.2.69.142={vpn} 81.2.69.143=-");
    assert_eq!(cluster.value(DB, "SELECT count(*) FROM ip_asn_history"), "0", "no other column was touched");
}

#[test]
fn flags_of_lists_are_followed_where_there_is_no_file() {
    let cluster = Cluster::builder()
        .conf("asn_inventory.absorb_interval", "50ms")
        .conf("asn_inventory.list_flags", "tor=tor")
        .start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    let dir = default_dir(&cluster);
    put(&dir, "tor.txt", "81.2.69.142\n10.0.0.0/8\n8.8.8.8\n");
    wait_lists(&cluster, "81.2.69.142", "{tor}");
    // One that a file answered which is gone since: its flags may be the file's.
    cluster.sql(
        DB,
        "INSERT INTO ip_inventory (ip_address, ip_class, maxmind_status, maxmind_ts, flags)
         VALUES ('8.8.8.8', 'public', 'found', now(), '{vpn}');
         CREATE TABLE events (ip inet); SELECT attach_ip_source('events', ARRAY['ip']);
         INSERT INTO events VALUES ('81.2.69.142'), ('10.1.1.1')",
    );
    cluster.wait_value(DB, FLAGS, "8.8.8.8={vpn} 10.1.1.1={tor} 81.2.69.142={tor}");
    cluster.set("asn_inventory.list_flags", "tor=anonymous");
    cluster.wait_value(DB, FLAGS, "8.8.8.8={vpn} 10.1.1.1={anonymous} 81.2.69.142={anonymous}");
    fs::remove_file(dir.join("tor.txt")).expect("removed");
    cluster.wait_value(DB, FLAGS, "8.8.8.8={vpn} 10.1.1.1=- 81.2.69.142=-");
}

#[test]
fn the_doctor_names_lists_that_are_none() {
    let cluster = Cluster::builder().conf("asn_inventory.list_flags", "aws=hosting,tor-exit=tor").start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    let dir = default_dir(&cluster);
    put(&dir, "aws.txt", "81.2.69.142\n");
    put(&dir, "tor-exits.txt", "81.2.69.143\n");
    let typing_error = "warning: asn_inventory.list_flags names lists that are not installed: tor-exit.";
    cluster.wait_value(DB, SAID, typing_error);
    cluster.set("asn_inventory.list_flags", "aws=hosting,tor-exits=tor");
    cluster.wait_value(DB, SAID, "ok");
}
