//! Whole records through SQL: `mmdb_record`, `mmdb_networks`, `mmdb_editions`; and the results of all look-ups while
//! nothing, or only a part, is installed.

use asn_inventory_tests::prelude::*;
use serde_json::Value;
use std::sync::OnceLock;

const DB: &str = "postgres";

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let editions = "GeoLite2-City,GeoLite2-ASN,Our-Hosts=other,Not-There";
        let cluster = Cluster::builder().conf("asn_inventory.maxmind_editions", editions).start();
        fixtures::small(&cluster.maxmind_dir());
        let hosts = MmdbWriter::new("Our-Hosts", fixtures::days_ago(1))
            .insert("192.168.1.0/24", json!({ "name": "printer", "tags": ["a", "b"], "up": true, "weight": 7 }))
            .insert("2001:db8:1::/48", json!({ "name": "lab" }));
        hosts.write(&cluster.maxmind_dir().join("Our-Hosts.mmdb")).expect("a file");
        cluster.sql(DB, "CREATE EXTENSION asn_inventory");
        cluster
    })
}

fn value(sql: &str) -> String {
    cluster().value(DB, sql)
}

fn lines(sql: &str) -> Vec<String> {
    cluster().lines(DB, sql)
}

fn record(edition: &str, ip: &str) -> Value {
    let text = value(&format!("SELECT mmdb_record('{edition}', '{ip}')"));
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

#[test]
fn a_record_is_returned_whole() {
    assert_eq!(
        record("GeoLite2-ASN", fixtures::GOOGLE_DNS),
        json!({ "autonomous_system_number": 15169, "autonomous_system_organization": "Google LLC" })
    );
    let london = record("GeoLite2-City", fixtures::LONDON);
    assert_eq!(london["city"]["names"]["de"], "London");
    assert_eq!(london["country"]["iso_code"], "GB");
    assert_eq!(london["subdivisions"][0]["names"]["en"], "England");
    assert_eq!(london["location"]["latitude"], 51.5142);
    assert_eq!(record("GeoLite2-City", fixtures::CONTINENT_ONLY)["continent"]["code"], "EU");
    let odd = record("GeoLite2-City", fixtures::WRONG_TYPES);
    assert_eq!(odd["city"]["names"], json!(["Amsterdam", "Mokum"]));
    assert_eq!(odd["location"]["accuracy_radius"], -5);
    assert_eq!(value("SELECT jsonb_typeof(mmdb_record('GeoLite2-City', '8.8.8.8'))"), "object");
}

#[test]
fn a_record_is_unchanged_except_for_values_that_jsonb_cannot_hold() {
    let long = format!(
        "SELECT length(mmdb_record('GeoLite2-ASN', '{}') ->> 'autonomous_system_organization')",
        fixtures::LONG_ORG
    );
    assert_eq!(value(&long), "300000");
    let control = record("GeoLite2-ASN", fixtures::CONTROL_ORG);
    assert_eq!(control["autonomous_system_organization"], "EvilCorp\u{7}\n\u{1b}[31mRed");
    assert_eq!(record("GeoLite2-ASN", fixtures::LARGE_ASN)["autonomous_system_number"], 4_200_000_001_u32);
}

#[test]
fn every_edition_answers_private_addresses_too() {
    assert_eq!(
        record("Our-Hosts", "192.168.1.77"),
        json!({ "name": "printer", "tags": ["a", "b"], "up": true, "weight": 7 })
    );
    assert_eq!(record("Our-Hosts", "2001:db8:1::5")["name"], "lab");
    // It answers neither whose nor where: the cascade does not use it.
    assert_eq!(value("SELECT (lookup_ip('192.168.1.77')).maxmind_status"), "skipped");
}

#[test]
fn a_missing_record_is_null() {
    for arguments in [
        "'GeoLite2-City', '198.51.99.1'",
        "'GeoLite2-ASN', '81.2.69.142'",
        "'Our-Hosts', '8.8.8.8'",
        "'GeoLite2-City', NULL",
        "NULL, '8.8.8.8'",
        "NULL, NULL",
    ] {
        assert_eq!(value(&format!("SELECT mmdb_record({arguments}) IS NULL")), "t", "{arguments}");
    }
}

#[test]
fn netmasks_and_embedded_addresses_are_read_as_in_lookup_ip() {
    let plain = record("GeoLite2-ASN", "8.8.8.8");
    for ip in ["8.8.8.8/16", "::ffff:8.8.8.8", "2002:808:808::", "64:ff9b::808:808"] {
        assert_eq!(record("GeoLite2-ASN", ip), plain, "{ip}");
    }
}

#[test]
fn a_missing_edition_is_refused_with_the_list_of_installed_ones() {
    let long = "x".repeat(100_000);
    for name in
        ["Not-There", "GeoIP2-ISP", "", " ", "../x", "/etc/passwd", "geolite2-city", "a''b", "GeoLite2-City\n", &long]
    {
        for call in
            [format!("SELECT mmdb_record('{name}', '8.8.8.8')"), format!("SELECT * FROM mmdb_networks('{name}')")]
        {
            let refused = cluster().fails(DB, &call);
            assert_eq!(refused.code, "22023", "{refused:?}");
            let shown: String = name.replace("''", "'").chars().take(64).collect();
            assert_eq!(refused.message, format!("mmdb edition \"{shown}\" is not installed"));
            assert_eq!(refused.detail, "Installed: GeoLite2-City, GeoLite2-ASN, Our-Hosts.");
            assert!(refused.hint.contains("asn_inventory.maxmind_editions"), "{refused:?}");
        }
    }
}

#[test]
fn networks_are_listed_with_their_records_for_all_or_a_range() {
    let within = |edition: &str, range: &str| {
        lines(&format!("SELECT network FROM mmdb_networks('{edition}', '{range}') ORDER BY network"))
    };
    assert_eq!(within("GeoLite2-ASN", "8.0.0.0/8"), ["8.8.8.0/24"]);
    assert_eq!(within("GeoLite2-ASN", "8.8.8.0/24"), ["8.8.8.0/24"]);
    assert_eq!(within("GeoLite2-City", "5.0.0.0/8"), ["5.160.0.0/16", "5.188.206.0/24"]);
    assert_eq!(within("GeoLite2-City", "2001:4860::/28"), ["2001:4860::/32"]);
    assert_eq!(within("GeoLite2-City", "2a02::/16"), ["2a02:4780::/32", "2a02:c200::/24"]);
    assert_eq!(within("GeoLite2-City", "198.51.99.0/24"), [""; 0]);
    assert_eq!(within("GeoLite2-City", "2001:db8::/32"), [""; 0]);
    let all = "SELECT count(*), count(DISTINCT network), count(*) FILTER (WHERE family(network) = 6),
                      count(*) FILTER (WHERE record IS NULL),
                      count(*) FILTER (WHERE record IS DISTINCT FROM mmdb_record('GeoLite2-City', network))
               FROM mmdb_networks('GeoLite2-City')";
    assert_eq!(lines(all), ["57|57|5|0|0"]);
    let halves = "SELECT (SELECT count(*) FROM mmdb_networks('GeoLite2-City', '0.0.0.0/0')),
                         (SELECT count(*) FROM mmdb_networks('GeoLite2-City', NULL))";
    assert_eq!(lines(halves), ["52|57"]);
    assert_eq!(
        lines("SELECT network, record ->> 'name' FROM mmdb_networks('Our-Hosts') ORDER BY network"),
        ["192.168.1.0/24|printer", "2001:db8:1::/48|lab"]
    );
}

#[test]
fn a_range_inside_a_network_finds_that_network() {
    for range in ["8.8.8.8", "8.8.8.128/25", "8.8.8.8/24", "8.8.8.8/32"] {
        let found = lines(&format!(
            "SELECT network, record ->> 'autonomous_system_number' FROM mmdb_networks('GeoLite2-ASN', '{range}')"
        ));
        assert_eq!(found, ["8.8.8.0/24|15169"], "{range}");
    }
    let host = "SELECT network FROM mmdb_networks('GeoLite2-ASN', '2001:4860:4860::8888')";
    assert_eq!(lines(host), ["2001:4860::/32"]);
}

#[test]
fn networks_join_and_stop_early() {
    let joined = "SELECT a.record ->> 'autonomous_system_number', c.record -> 'country' ->> 'iso_code'
        FROM mmdb_networks('GeoLite2-ASN', '61.0.0.0/8') a JOIN mmdb_networks('GeoLite2-City') c USING (network)";
    assert_eq!(lines(joined), ["4134|CN"]);
    assert_eq!(lines("SELECT 1 FROM mmdb_networks('GeoLite2-City') LIMIT 2"), ["1", "1"]);
    assert_eq!(lines("SELECT count(*) FROM mmdb_networks(NULL)"), ["0"]);
}

#[test]
fn mmdb_editions_lists_installed_files_and_their_age() {
    let size = |edition: &str| {
        let file = cluster().maxmind_dir().join(format!("{edition}.mmdb"));
        std::fs::metadata(file).expect("a file").len()
    };
    let told = "SELECT edition, database_type, build_time IN (current_date - 1, current_date - 2), nodes > 100, size,
                       generation ~ ('^' || edition || '-[0-9a-f]{16}$'),
                       installed_at BETWEEN pg_postmaster_start_time() AND now(), refused, refused_at
                FROM mmdb_editions() WHERE edition LIKE 'Geo%' ORDER BY edition";
    // The first look may import them, later than its own beginning.
    lines("SELECT FROM mmdb_editions()");
    assert_eq!(
        lines(told),
        [
            format!("GeoLite2-ASN|GeoLite2-ASN|t|t|{}|t|t||", size("GeoLite2-ASN")),
            format!("GeoLite2-City|GeoLite2-City|t|t|{}|t|t||", size("GeoLite2-City")),
        ]
    );
    assert_eq!(value("SELECT count(*) FROM mmdb_editions() WHERE generation IS NOT NULL"), "3");
}

#[test]
fn with_nothing_installed_answers_are_unavailable_and_one_warning_says_why() {
    let cluster = Cluster::builder().preload(false).start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    let (mut client, notices) = cluster.connect_with_notices(DB);
    let statuses = "SELECT string_agg((lookup_ip(ip)).maxmind_status, ' ' ORDER BY ip)
                    FROM (VALUES (inet '8.8.8.8'), ('10.0.0.1'), ('2001:4860::1')) AS asked(ip)";
    let mut ask = |sql: &str| -> Option<String> { client.query_one(sql, &[]).expect("an answer").get(0) };
    for _ in 0..3 {
        assert_eq!(ask(statuses).as_deref(), Some("unavailable skipped unavailable"));
        assert_eq!(ask("SELECT ip_country('8.8.8.8')"), None);
        assert_eq!(ask("SELECT (lookup_ip('8.8.8.8')).enrichment_ts::text"), None);
        assert_eq!(ask("SELECT ip_class('8.8.8.8')").as_deref(), Some("public"));
    }
    let heard = notices.all();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].starts_with("WARNING: no mmdb file is installed"), "{heard:?}");
    let refused = cluster.fails(DB, "SELECT mmdb_record('GeoLite2-City', '8.8.8.8')");
    assert_eq!((refused.code.as_str(), refused.detail.as_str()), ("22023", "No edition is installed."));

    // One edition alone answers its part, in the session that had none.
    let asn = cluster.maxmind_dir().join("GeoLite2-ASN.mmdb.part");
    fixtures::small_asn(fixtures::days_ago(1)).write(&asn).expect("a file");
    std::fs::rename(&asn, cluster.maxmind_dir().join("GeoLite2-ASN.mmdb")).expect("renamed");
    wait_until("the session to see the new file", || ask(statuses).as_deref() == Some("found skipped found"));
    assert_eq!(ask("SELECT ip_asn('8.8.8.8')::text").as_deref(), Some("15169"));
    assert_eq!(ask("SELECT ip_country('8.8.8.8')"), None);
    assert_eq!(ask("SELECT (lookup_ip('81.2.69.142')).maxmind_status").as_deref(), Some("not_found"));
    let refused = cluster.fails(DB, "SELECT mmdb_record('GeoLite2-City', '8.8.8.8')");
    assert_eq!(refused.detail, "Installed: GeoLite2-ASN.");
}
