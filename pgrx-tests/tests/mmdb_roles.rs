//! Files of other vendors, through SQL: what they answer, what `mmdb_editions()` says of them, and what is refused.

use asn_inventory_tests::prelude::*;

const DB: &str = "postgres";

fn put(cluster: &Cluster, name: &str, database_type: &str, networks: &[(&str, serde_json::Value)]) {
    let mut writer = MmdbWriter::new(database_type, fixtures::days_ago(1));
    for (network, record) in networks {
        writer.add(network, record.clone());
    }
    writer.write(&cluster.maxmind_dir().join(format!("{name}.mmdb"))).expect("a file");
}

fn set(cluster: &Cluster, setting: &str, value: &str) {
    cluster.sql(DB, &format!("ALTER SYSTEM SET asn_inventory.{setting} = '{value}'"));
    cluster.sql(DB, "SELECT pg_reload_conf()");
}

const RECORD: &str = "SELECT concat_ws(' ', asn_number, asn_org, country_code, city, network, maxmind_status)
                      FROM lookup_ip('8.8.8.8')";
const STORED: &str = "SELECT concat_ws(' ', asn_number, asn_org, country_code, city, network, maxmind_status)
                      FROM ip_inventory WHERE ip_address = '8.8.8.8'";

#[test]
fn one_file_answers_all_and_the_next_ones_what_it_lacks() {
    let cluster = Cluster::builder()
        .conf("asn_inventory.maxmind_editions", "dbip-location-isp,GeoLite2-ASN")
        .conf("asn_inventory.absorb_interval", "50ms")
        .conf("asn_inventory.cymru", "off")
        .start();
    let place = json!({ "country": { "iso_code": "FR" }, "city": { "names": { "en": "Paris", "de": "Paris (de)" } } });
    let mut whole = place.clone();
    whole["traits"] = json!({ "autonomous_system_number": 64500, "autonomous_system_organization": "Net" });
    let networks = [("8.8.8.0/24", whole), ("9.0.0.0/8", place)];
    put(&cluster, "dbip-location-isp", "DBIP-Location-ISP (compat=Enterprise)", &networks);
    put(
        &cluster,
        "GeoLite2-ASN",
        "GeoLite2-ASN",
        &[
            ("8.0.0.0/8", json!({ "autonomous_system_number": 64600, "autonomous_system_organization": "Other" })),
            ("9.9.0.0/16", json!({ "autonomous_system_number": 64601 })),
            ("10.0.0.0/8", json!({ "autonomous_system_number": 64602 })),
        ],
    );
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.wait_value(DB, "SELECT count(*) FROM mmdb_editions() WHERE generation IS NOT NULL", "2");
    assert_eq!(cluster.value(DB, RECORD), "64500 Net FR Paris 8.8.8.0/24 found");
    let other = "SELECT concat_ws(' ', asn_number, country_code, city, network) FROM lookup_ip('9.9.9.9')";
    assert_eq!(cluster.value(DB, other), "64601 FR Paris 9.9.0.0/16");
    assert_eq!(
        cluster.lines(DB, "SELECT edition, fields::text, networks FROM mmdb_editions() ORDER BY edition"),
        ["GeoLite2-ASN|{asn_number,asn_org}|3", "dbip-location-isp|{asn_number,asn_org,country_code,city}|2"]
    );
    cluster.sql(DB, "INSERT INTO ip_inventory (ip_address) VALUES ('8.8.8.8')");
    cluster.sql(DB, "SELECT backfill_inventory()");
    assert_eq!(cluster.value(DB, STORED), "64500 Net FR Paris 8.8.8.0/24 found");
    // The order of the list, a role and a language reach open sessions, and the inventory by a walk.
    let mut open = cluster.connect(DB);
    let mut ask = || -> String { open.query_one(RECORD, &[]).expect("an answer").get(0) };
    for (setting, value, wanted) in [
        ("maxmind_editions", "GeoLite2-ASN,dbip-location-isp", "64600 Other FR Paris 8.0.0.0/8 found"),
        ("maxmind_editions", "dbip-location-isp=origin,GeoLite2-ASN", "64500 Net 8.8.8.0/24 found"),
        ("maxmind_editions", "dbip-location-isp=place,GeoLite2-ASN", "64600 Other FR Paris 8.0.0.0/8 found"),
        ("mmdb_language", "de", "64600 Other FR Paris (de) 8.0.0.0/8 found"),
        ("maxmind_editions", "dbip-location-isp", "64500 Net FR Paris (de) 8.8.8.0/24 found"),
    ] {
        set(&cluster, setting, value);
        wait_until(&format!("an open session answers by {value}"), || ask() == wanted);
        cluster.wait_value(DB, RECORD, wanted);
        cluster.wait_value(DB, STORED, wanted);
        assert_eq!(
            cluster.value(DB, "SELECT ip_country('8.8.8.8') IS NULL"),
            if value.contains("=origin") { "t" } else { "f" }
        );
    }
    assert_eq!(
        cluster.value(DB, "SELECT count(*) FROM enrichment_doctor() WHERE check_name ~ 'mmdb' AND level <> 'ok'"),
        "0"
    );
    set(&cluster, "maxmind_editions", "dbip-location-isp=origin");
    cluster.wait_value(
        DB,
        "SELECT string_agg(concat_ws(' ', edition, fields, networks), ' ') FROM mmdb_editions()",
        "dbip-location-isp {asn_number,asn_org} 1",
    );
}

#[test]
fn flat_files_answer_and_one_without_a_known_field_is_refused() {
    let list = "ipinfo_lite,iptoasn-country,Custom-Thing,my-file=origin,my-flags=other";
    let cluster = Cluster::builder().conf("asn_inventory.maxmind_editions", list).start();
    let lite = json!({ "as_domain": "example.com", "as_name": "Net", "asn": "AS64500", "continent": "Europe",
                       "continent_code": "EU", "country": "Germany", "country_code": "DE" });
    put(
        &cluster,
        "ipinfo_lite",
        "ipinfo generic_bundle_lite.mmdb",
        &[("8.8.8.0/24", lite), ("2001:db9::/32", json!({ "asn": "AS7" }))],
    );
    put(&cluster, "iptoasn-country", "iptoasn-country", &[("9.0.0.0/8", json!({ "country_code": "NL" }))]);
    put(&cluster, "Custom-Thing", "Custom-Thing", &[("9.0.0.0/8", json!({ "tag": "x", "country": "Netherlands" }))]);
    put(
        &cluster,
        "my-file",
        "Custom-Thing",
        &[("9.0.0.0/8", json!({ "asn": 64501, "name": "Mine", "country_code": "FR" }))],
    );
    put(&cluster, "my-flags", "Custom-Thing", &[("9.0.0.0/8", json!({ "asn": 64502, "vpn": true }))]);
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.wait_value(DB, "SELECT count(*) FROM mmdb_editions() WHERE generation IS NOT NULL", "4");
    assert_eq!(cluster.value(DB, RECORD), "64500 Net DE 8.8.8.0/24 found");
    let at =
        |ip: &str| format!("SELECT concat_ws(' ', asn_number, asn_org, country_code, network) FROM lookup_ip('{ip}')");
    assert_eq!(cluster.value(DB, &at("9.1.2.3")), "64501 Mine NL 9.0.0.0/8");
    assert_eq!(cluster.value(DB, &at("2001:db9::1")), "7 2001:db9::/32");
    assert_eq!(cluster.value(DB, "SELECT mmdb_record('my-flags', '9.1.2.3') ->> 'vpn'"), "true");
    assert_eq!(
        cluster.lines(
            DB,
            "SELECT edition, fields::text, networks, refused FROM mmdb_editions() ORDER BY edition COLLATE \"C\""
        ),
        [
            "Custom-Thing|||no record has a place, an ASN or a flag in the expected fields; for whole records only, list it as <name>=other",
            "ipinfo_lite|{asn_number,asn_org,country_code}|2|",
            "iptoasn-country|{country_code}|1|",
            "my-file|{asn_number,asn_org}|1|",
            "my-flags|{}|0|",
        ]
    );
    // As the reason says.
    set(&cluster, "maxmind_editions", &list.replace("Custom-Thing", "Custom-Thing=other"));
    cluster.wait_value(DB, "SELECT mmdb_record('Custom-Thing', '9.1.2.3') ->> 'tag'", "x");
    assert_eq!(cluster.value(DB, "SELECT count(*) FROM mmdb_editions() WHERE refused IS NOT NULL"), "0");
}

#[test]
fn a_role_or_a_language_that_is_none_is_refused_with_the_reason() {
    let cluster = Cluster::builder().start();
    cluster.sql(DB, "LOAD 'asn_inventory'");
    for (setting, value, why) in [
        (
            "maxmind_editions",
            "my-file=asn",
            "\"asn\" is not the role of a file: place, origin, flags, any (or both) or other",
        ),
        ("maxmind_editions", "a=origin,a", "\"a\" is in the list twice, with different roles"),
        ("mmdb_language", "en,de", "A language is a code such as en, de or pt-BR: 2 to 16 letters, digits and \"-\"."),
        ("mmdb_language", "xx_bad", "A language is a code such as en, de or pt-BR: 2 to 16 letters, digits and \"-\"."),
        ("mmdb_language", "", "A language is a code such as en, de or pt-BR: 2 to 16 letters, digits and \"-\"."),
    ] {
        let refused = cluster.fails(DB, &format!("ALTER SYSTEM SET asn_inventory.{setting} = '{value}'"));
        assert_eq!((refused.code.as_str(), refused.detail.as_str()), ("22023", why), "{value}");
    }
    cluster.sql(DB, "ALTER SYSTEM SET asn_inventory.maxmind_editions = 'my-file = Origin , GeoLite2-ASN=any'");
    for code in ["pt-BR", "zh-CN"] {
        cluster.sql(DB, &format!("ALTER SYSTEM SET asn_inventory.mmdb_language = '{code}'"));
    }
}

#[test]
fn flags_reach_the_inventory_and_follow_their_file() {
    let cluster = Cluster::builder()
        .conf("asn_inventory.maxmind_editions", "places,GeoIP2-Anonymous-IP,connections")
        .conf("asn_inventory.absorb_interval", "50ms")
        .conf("asn_inventory.cymru", "off")
        .start();
    let place = json!({ "country": { "iso_code": "FR" }, "registered_country": { "iso_code": "US" } });
    put(&cluster, "places", "GeoIP2-Country", &[("8.8.0.0/16", place)]);
    let flags = |tor: bool| [("8.8.8.0/24", json!({ "is_anonymous": true, "is_tor_exit_node": tor }))];
    put(&cluster, "GeoIP2-Anonymous-IP", "GeoIP2-Anonymous-IP", &flags(true));
    put(&cluster, "connections", "GeoIP2-Connection-Type", &[("8.0.0.0/8", json!({ "connection_type": "Cellular" }))]);
    cluster.sql(DB, "CREATE EXTENSION asn_inventory; CREATE TABLE events (src_ip inet)");
    cluster.sql(DB, "SELECT attach_ip_source('events', ARRAY['src_ip'])");
    cluster.wait_value(DB, "SELECT count(*) FROM mmdb_editions() WHERE generation IS NOT NULL", "3");
    let of = |from: &str| {
        format!(
            "SELECT concat_ws(' ', country_code, registered_country_code, flags, connection_type, network) FROM {from}"
        )
    };
    let (answer, stored) = (of("lookup_ip('8.8.8.8')"), of("ip_inventory WHERE ip_address = '8.8.8.8'"));
    let whole = "FR US {anonymous,tor} Cellular 8.8.0.0/16";
    cluster.wait_value(DB, &answer, whole);
    assert_eq!(cluster.value(DB, &of("lookup_ip('8.9.9.9')")), "Cellular 8.0.0.0/8");
    assert_eq!(cluster.value(DB, "SELECT flags IS NULL AND lists IS NULL FROM lookup_ip('8.9.9.9')"), "t");
    cluster.sql(DB, "INSERT INTO events VALUES ('8.8.8.8'), ('8.9.9.9'), ('1.1.1.1')");
    cluster.wait_value(DB, "SELECT count(*) FROM ip_inventory", "3");
    assert_eq!(cluster.value(DB, &stored), whole);
    assert_eq!(cluster.value(DB, &of("enrich_ip('8.8.8.8')")), whole);
    assert_eq!(
        cluster.value(DB, "SELECT string_agg(host(ip_address), ' ') FROM ip_inventory WHERE 'tor' = ANY (flags)"),
        "8.8.8.8"
    );
    let page = cluster.value(DB, "SELECT inventory_report()");
    assert!(
        page.contains("<h2>Flags</h2>") && page.contains("anonymous") && !page.contains("<h2>Lists of networks</h2>")
    );
    // A newer file: rows whose flags differ are written by the walk, others are left alone.
    let others = "SELECT xmin FROM ip_inventory WHERE ip_address = '8.9.9.9'";
    let before = cluster.value(DB, others);
    put(&cluster, "GeoIP2-Anonymous-IP", "GeoIP2-Anonymous-IP", &flags(false));
    cluster.wait_value(DB, &stored, "FR US {anonymous} Cellular 8.8.0.0/16");
    assert_eq!(cluster.value(DB, others), before);
    // In another role it says nothing.
    set(&cluster, "maxmind_editions", "places,GeoIP2-Anonymous-IP=other");
    cluster.wait_value(DB, &stored, "FR US 8.8.0.0/16");
    // Where none may answer, the warning does not say that none is installed.
    set(&cluster, "maxmind_editions", "places=other,GeoIP2-Anonymous-IP=other");
    cluster.wait_value(DB, "SELECT maxmind_status FROM lookup_ip('8.8.8.8')", "unavailable");
    let (mut client, notices) = cluster.connect_with_notices(DB);
    client.query_one("SELECT ip_country('8.8.8.8')", &[]).expect("an answer");
    let heard = notices.all();
    assert!(heard.len() == 1 && heard[0].starts_with("WARNING: no installed mmdb file answers"), "{heard:?}");
}

#[test]
fn words_for_the_kind_of_network_are_flags_of_addresses_and_of_autonomous_systems() {
    let cluster = Cluster::builder()
        .conf("asn_inventory.maxmind_editions", "enterprise,standard_asn")
        .conf("asn_inventory.absorb_interval", "50ms")
        .conf("asn_inventory.cymru", "off")
        .start();
    let of_as = |number: u32, kind: &str| {
        let mut record = json!({ "traits": { "autonomous_system_number": number, "user_type": kind } });
        record["traits"]["autonomous_system_organization"] = "Net".into();
        record
    };
    let networks = |last: &str| {
        [
            ("8.8.0.0/24", of_as(64500, "hosting")),
            ("8.8.1.0/24", of_as(64500, "business")),
            ("9.9.8.0/24", of_as(64501, last)),
            ("9.9.9.0/24", of_as(64501, "residential")),
        ]
    };
    put(&cluster, "enterprise", "GeoIP2-Enterprise", &networks("router"));
    let university = json!({ "asn": "AS64502", "name": "University", "type": "education" });
    put(&cluster, "standard_asn", "ipinfo standard_asn.mmdb", &[("11.0.0.0/8", university)]);
    cluster.sql(DB, "CREATE EXTENSION asn_inventory; CREATE TABLE events (src_ip inet)");
    cluster.sql(DB, "SELECT attach_ip_source('events', ARRAY['src_ip'])");
    cluster.wait_value(DB, "SELECT count(*) FROM mmdb_editions() WHERE 'flags' = ANY (fields)", "2");
    cluster.wait_value(DB, "SELECT flags FROM lookup_ip('8.8.0.1')", "{hosting}");
    cluster.sql(
        DB,
        "INSERT INTO events VALUES ('8.8.0.1'), ('8.8.0.2'), ('8.8.1.1'), ('9.9.8.1'), ('9.9.9.1'), ('11.0.0.1'), ('1.1.1.1')",
    );
    let addresses = "SELECT string_agg(host(ip_address) || coalesce(flags::text, '-'), ' ' ORDER BY ip_address)
                     FROM ip_inventory WHERE ip_address >= '8.8.1.0'";
    cluster.wait_value(DB, addresses, "8.8.1.1{business} 9.9.8.1- 9.9.9.1{eyeball} 11.0.0.1{education}");
    // Half of its addresses are enough.
    let systems =
        "SELECT string_agg(asn_number || coalesce(flags::text, '-'), ' ' ORDER BY asn_number) FROM asn_inventory";
    cluster.wait_value(DB, systems, "64500{hosting} 64501{eyeball} 64502{education}");
    cluster.sql(DB, "INSERT INTO events VALUES ('9.9.8.2'), ('8.8.1.2')");
    cluster.wait_value(DB, systems, "64500{business,hosting} 64501- 64502{education}");
    // A newer file, by the walk; and addresses that are gone.
    put(&cluster, "enterprise", "GeoIP2-Enterprise", &networks("cellular"));
    cluster.wait_value(DB, systems, "64500{business,hosting} 64501{eyeball} 64502{education}");
    cluster.sql(DB, "DELETE FROM ip_inventory WHERE ip_address = '11.0.0.1'");
    cluster.wait_value(DB, systems, "64500{business,hosting} 64501{eyeball} 64502-");
}
