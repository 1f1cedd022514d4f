//! Every range of the IANA special-purpose registries, both families, through SQL: its class at both ends and just
//! outside, and that no source is asked about addresses that are not globally reachable, though the files know all of
//! them.
//!
//! PostgreSQL's own cidr operators say what is inside what: the longest range around an address counts.

use asn_inventory_tests::prelude::*;
use std::sync::OnceLock;

const DB: &str = "postgres";

/// The IPv4 Special-Purpose Address Registry (2025-10), complete; multicast; and the rest of the Internet.
const V4: &[(&str, &str)] = &[
    ("0.0.0.0/0", "public"),
    ("0.0.0.0/8", "this_network"),
    ("0.0.0.0/32", "unspecified"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "cgnat"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link_local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "ietf_protocol"),
    ("192.0.0.0/29", "ietf_protocol"),
    ("192.0.0.8/32", "ietf_protocol"),
    ("192.0.0.9/32", "public"),
    ("192.0.0.10/32", "public"),
    ("192.0.0.170/32", "ietf_protocol"),
    ("192.0.0.171/32", "ietf_protocol"),
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", "public"),
    ("192.52.193.0/24", "public"),
    ("192.88.99.0/24", "reserved"),
    ("192.88.99.2/32", "reserved"),
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", "public"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("255.255.255.255/32", "broadcast"),
];

/// The IPv6 Special-Purpose Address Registry (2025-10), complete; then what the address space registry and RFC 4291
/// add. `embeds`: the class is that of the IPv4 address inside.
const V6: &[(&str, &str)] = &[
    ("::1/128", "loopback"),
    ("::/128", "unspecified"),
    ("::ffff:0:0/96", "embeds"),
    ("64:ff9b::/96", "embeds"),
    ("64:ff9b:1::/48", "private"),
    ("100::/64", "discard_only"),
    ("100:0:0:1::/64", "ietf_protocol"),
    ("2001::/23", "ietf_protocol"),
    ("2001::/32", "embeds"),
    ("2001:1::1/128", "public"),
    ("2001:1::2/128", "public"),
    ("2001:1::3/128", "public"),
    ("2001:2::/48", "benchmarking"),
    ("2001:3::/32", "public"),
    ("2001:4:112::/48", "public"),
    ("2001:10::/28", "reserved"),
    ("2001:20::/28", "public"),
    ("2001:30::/28", "public"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "embeds"),
    ("2620:4f:8000::/48", "public"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "ietf_protocol"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link_local"),
    ("::/0", "reserved"),
    ("2000::/3", "public"),
    ("fec0::/10", "reserved"),
    ("ff00::/8", "multicast"),
];

/// `edge(ip, class)`: the ends of every range and its neighbours, and each IPv4 one in its four IPv6 disguises.
/// `class` is what the registries say; null: an address that disguises one which is no edge.
const EDGES: &str = "
    CREATE FUNCTION expected(ip inet) RETURNS text LANGUAGE sql AS
        'SELECT class FROM registry WHERE range >>= ip ORDER BY masklen(range) DESC LIMIT 1';
    CREATE TABLE edge AS
    WITH ends AS (
        SELECT host(network(range))::inet AS first, host(broadcast(range))::inet AS last FROM registry),
    plain AS (
        SELECT first AS ip FROM ends UNION SELECT last FROM ends
        UNION SELECT first - 1 FROM ends WHERE first NOT IN ('0.0.0.0', '::')
        UNION SELECT last + 1 FROM ends
              WHERE last NOT IN ('255.255.255.255', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff')),
    numbered AS (SELECT ip, ip - '0.0.0.0' AS n FROM plain WHERE family(ip) = 4),
    halves AS (SELECT *, to_hex(n >> 16) AS high, to_hex(n & 65535) AS low,
                      to_hex((~n >> 16) & 65535) AS not_high, to_hex(~n & 65535) AS not_low FROM numbered)
    SELECT ip, nullif(expected(ip), 'embeds') AS class FROM plain
    UNION ALL SELECT inet '::ffff:0.0.0.0' + n, expected(ip) FROM halves
    UNION ALL SELECT inet '64:ff9b::' + n, expected(ip) FROM halves
    UNION ALL SELECT ('2002:' || high || ':' || low || ':1:2:3:4:5')::inet, expected(ip) FROM halves
    UNION ALL SELECT ('2001:0:4136:e378:8000:63bf:' || not_high || ':' || not_low)::inet, expected(ip) FROM halves;
    DELETE FROM edge WHERE class IS NULL";

/// One cluster with files that know every address there is, public or not.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        // Each edge as a row of its own.
        let options = Cluster::builder().conf("asn_inventory.fold_ipv4_mapped", "off");
        let cluster = options.conf("asn_inventory.absorb_interval", "50ms").start();
        let everything =
            ["0.0.0.0/1", "128.0.0.0/1", "1::/16", "64::/10", "100::/8", "2000::/3", "4000::/2", "8000::/1"];
        let (built, dir) = (fixtures::days_ago(1), cluster.maxmind_dir());
        let mut city = MmdbWriter::new("GeoLite2-City", built);
        let mut asn = MmdbWriter::new("GeoLite2-ASN", built);
        for network in everything {
            city.add(network, json!({ "country": { "iso_code": "ZW" }, "city": { "names": { "en": "Everywhere" } } }));
            asn.add(network, json!({ "autonomous_system_number": 64_500, "autonomous_system_organization": "All" }));
        }
        city.write(&dir.join("GeoLite2-City.mmdb")).expect("a City file");
        asn.write(&dir.join("GeoLite2-ASN.mmdb")).expect("an ASN file");
        cluster.sql(DB, "CREATE EXTENSION asn_inventory; CREATE TABLE registry (range cidr PRIMARY KEY, class text)");
        for (range, class) in V4.iter().chain(V6) {
            cluster.sql(DB, &format!("INSERT INTO registry VALUES ('{range}', '{class}')"));
        }
        cluster.sql(DB, EDGES);
        cluster
    })
}

fn lines(sql: &str) -> Vec<String> {
    cluster().lines(DB, sql)
}

#[test]
fn every_range_has_its_class_up_to_both_ends_and_not_beyond() {
    let edges: usize = cluster().value(DB, "SELECT count(DISTINCT ip) FROM edge").parse().expect("a number");
    assert!(edges > 350, "only {edges} addresses");
    let wrong = "SELECT ip, class, ip_class(ip) FROM edge WHERE class IS DISTINCT FROM ip_class(ip) ORDER BY ip";
    assert_eq!(lines(wrong), [""; 0]);
    // The expectations themselves cover every class that the registries have a range for.
    assert_eq!(
        lines("SELECT DISTINCT class FROM edge ORDER BY class"),
        [
            "benchmarking",
            "broadcast",
            "cgnat",
            "discard_only",
            "documentation",
            "ietf_protocol",
            "link_local",
            "loopback",
            "multicast",
            "private",
            "public",
            "reserved",
            "this_network",
            "unspecified",
        ]
    );
}

#[test]
fn look_ups_skip_non_public_addresses_that_the_files_know() {
    let leaks = "SELECT e.ip, l.* FROM edge e, lookup_ip(e.ip) l WHERE class <> 'public'
        AND (l.ip_class <> e.class OR l.maxmind_status <> 'skipped'
             OR num_nonnulls(l.network, l.asn_number, l.asn_org, l.asn_source, l.country_code, l.country_source,
                             l.city, l.cymru_status, l.greynoise_status) > 0
             OR num_nonnulls(ip_asn(e.ip), ip_asn_org(e.ip), ip_country(e.ip), ip_city(e.ip)) > 0)";
    assert_eq!(lines(leaks), [""; 0]);
    let unanswered = "SELECT e.ip, l.* FROM edge e, lookup_ip(e.ip) l WHERE class = 'public'
        AND (l.maxmind_status, l.asn_number, l.country_code, l.city)
            IS DISTINCT FROM ('found', 64500::bigint, 'ZW', 'Everywhere')";
    assert_eq!(lines(unanswered), [""; 0]);
}

#[test]
fn ingest_asks_no_source_about_non_public_addresses() {
    cluster().sql(
        DB,
        "CREATE TABLE event (src inet); SELECT attach_ip_source('event', '{src}');
         INSERT INTO event SELECT ip FROM edge",
    );
    cluster().wait_value(
        DB,
        "SELECT count(*) FROM (SELECT ip FROM edge EXCEPT SELECT ip_address FROM ip_inventory) AS missing",
        "0",
    );
    let asked = "SELECT DISTINCT e.ip, i.maxmind_status, i.cymru_status, i.greynoise_status
        FROM edge e JOIN ip_inventory i ON i.ip_address = e.ip WHERE e.class <> 'public'
        AND (i.ip_class, i.maxmind_status, i.cymru_status, i.greynoise_status)
            IS DISTINCT FROM (e.class, 'skipped', 'skipped', 'skipped')";
    assert_eq!(lines(asked), [""; 0]);
    assert_eq!(
        lines(
            "SELECT count(*) FROM edge JOIN ip_inventory ON ip_address = ip WHERE class <> 'public' AND asn_number IS NOT NULL"
        ),
        ["0"]
    );
    // GreyNoise knows IPv4 only, so it is due where the address is or stands for one; Cymru not, MaxMind has the ASN.
    let public = "SELECT DISTINCT family(i.ip_address) = 4 OR e.ip <<= ANY ('{::ffff:0:0/96,64:ff9b::/96,2002::/16,2001::/32}'::inet[]),
            i.maxmind_status, i.cymru_status, i.greynoise_status
        FROM edge e JOIN ip_inventory i ON i.ip_address = e.ip WHERE e.class = 'public' ORDER BY 1";
    assert_eq!(lines(public), ["f|found|skipped|skipped", "t|found|skipped|pending"]);
}
