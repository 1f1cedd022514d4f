//! The settings as PostgreSQL shows and keeps them: defaults, bounds, units, and the rights to see and change them. The
//! effect and precedence of `asn_inventory.enabled` are in `ingest_enabled.rs`.

use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;
use std::sync::OnceLock;

const DB: &str = "postgres";

/// Preloaded, so that every session has the settings; the directory that the harness gives is put back to the default.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster =
            Cluster::builder().conf("asn_inventory.maxmind_dir", "").conf("asn_inventory.cymru", "on").start();
        cluster.sql(DB, "CREATE EXTENSION asn_inventory; CREATE ROLE ordinary LOGIN; CREATE ROLE looser LOGIN");
        cluster
    })
}

fn lines(sql: &str) -> Vec<String> {
    cluster().lines(DB, sql)
}

#[test]
fn every_setting_has_its_default_bounds_unit_and_place() {
    let shown = "SELECT substr(name, 15), vartype, boot_val, setting = boot_val, unit, min_val, max_val, context
                 FROM pg_settings WHERE name LIKE 'asn\\_inventory.%' ORDER BY name";
    assert_eq!(
        lines(shown),
        [
            "absorb_interval|integer|1000|t|ms|10|3600000|sighup",
            "activity_hours|integer|20160|t|min|0|2147483647|sighup",
            "activity_retention|integer|576000|t|min|0|2147483647|sighup",
            "copy_work_mem|integer|65536|t|kB|0|2097151|sighup",
            "cymru|bool|on|t||||sighup",
            "cymru_bulk_min|integer|50|t||1|2147483647|sighup",
            "cymru_dns_servers|string||t||||sighup",
            "cymru_negative_ttl|integer|1440|t|min|1|5256000|sighup",
            "cymru_rate|integer|100|t||1|10000|sighup",
            "cymru_timeout|integer|5000|t|ms|10|120000|sighup",
            "cymru_ttl|integer|129600|t|min|1|5256000|sighup",
            "cymru_whois|string|whois.cymru.com:43|t||||sighup",
            "databases|string||t||||sighup",
            "enabled|bool|on|t||||user",
            "enabled_by_superuser_only|bool|off|t||||sighup",
            "event_time_ahead|integer|1440|t|min|0|2147483647|sighup",
            "event_time_back|integer|5256000|t|min|1|2147483647|sighup",
            "fold_ipv4_mapped|bool|on|t||||sighup",
            "greynoise|enum|auto|t||||sighup",
            "greynoise_api_key|string|env:GREYNOISE_API_KEY|t||||sighup",
            "greynoise_quota|integer|10000|t||0|2147483647|sighup",
            "greynoise_quota_window|enum|day|t||||sighup",
            "greynoise_rate|integer|10|t||1|1000|sighup",
            "greynoise_timeout|integer|10000|t|ms|10|120000|sighup",
            "greynoise_ttl|integer|10080|t|min|1|5256000|sighup",
            "greynoise_url|string|https://api.greynoise.io|t||||sighup",
            "https_proxy|string||t||||sighup",
            "https_proxy_credentials|string||t||||sighup",
            "list_flags|string||t||||sighup",
            "lists_dir|string||t||||sighup",
            "maxmind_account_id|string||t||||sighup",
            "maxmind_dir|string||t||||sighup",
            "maxmind_editions|string|GeoLite2-City,GeoLite2-ASN|t||||sighup",
            "maxmind_license_key|string|env:MAXMIND_LICENSE_KEY|t||||sighup",
            "maxmind_max_age|integer|20160|t|min|60|35791394|sighup",
            "maxmind_update_schedule|string|17 5 * * 3,6|t||||sighup",
            "maxmind_url|string|https://download.maxmind.com|t||||sighup",
            "maxmind_walk|bool|on|t||||sighup",
            "mmdb_language|string|en|t||||sighup",
            "mmdb_sources|string||t||||sighup",
            "network_node|enum|auto|t||||sighup",
            "never_ask|string||t||||sighup",
            "no_proxy|string||t||||sighup",
            "refresh_schedule|string|*/10 * * * *|t||||sighup",
            "run_retention|integer|129600|t|min|0|2147483647|sighup",
            "secret_commands|string||t||||sighup",
            "secret_environment|string|MAXMIND_*,GREYNOISE_*|t||||sighup",
            "secret_file_owners|string||t||||sighup",
            "share_mmdb_files|enum|auto|t||||sighup",
            "sightings_max_size|integer|2048|t|MB|0|16777216|sighup",
            "tls_ca_file|string||t||||sighup",
            "workers|integer|4|t||1|64|sighup",
        ]
    );
    assert_eq!(lines("SHOW asn_inventory.absorb_interval"), ["1s"]);
    assert_eq!(lines("SHOW asn_inventory.maxmind_max_age"), ["14d"]);
}

#[test]
fn every_setting_has_its_own_description() {
    // Words of four letters and more that are not those of the name.
    let silent = "SELECT name, short_desc, extra_desc FROM pg_settings WHERE name LIKE 'asn\\_inventory.%' AND
        (coalesce(extra_desc, '') = '' OR short_desc !~ '\\.$' OR
         (SELECT count(DISTINCT word) FROM regexp_split_to_table(lower(short_desc), '[^a-z]+') AS word
          WHERE length(word) > 3 AND word NOT IN (SELECT regexp_split_to_table(name, '[._]'))) < 3)";
    assert_eq!(lines(silent), [""; 0]);
}

#[test]
fn values_out_of_bounds_are_refused_and_units_understood() {
    // Its own: the others read what this one changes.
    let cluster = Cluster::builder().start();
    for (name, values) in [
        ("absorb_interval", ["'9ms'", "0", "-1", "'2h'", "'soon'"].as_slice()),
        ("workers", &["0", "65", "-4", "'many'"]),
        ("maxmind_max_age", &["'59min'", "0", "'-1d'"]),
        ("enabled", &["'perhaps'", "2"]),
        ("cymru_dns_servers", &["'resolver.example'", "'192.0.2.1:0x35'"]),
        (
            "cymru_whois",
            &["'whois.example'", "':43'", "'whois://whois.example:43'", "'whois.example:43/x'", "'::1:43'"],
        ),
        ("cymru_rate", &["0", "10001"]),
        ("cymru_ttl", &["'30s'", "'-1d'"]),
        ("greynoise", &["'maybe'"]),
        ("greynoise_quota", &["-1"]),
        ("greynoise_quota_window", &["'month'"]),
        (
            "greynoise_url",
            &["'http://api.example'", "'ftp://x'", "'https://a@api.example'", "'https://api.example/?a'"],
        ),
        ("maxmind_url", &["'https://host/#f'", "'https://host:0'", "'https://'"]),
        ("refresh_schedule", &["'every day'", "'61 * * * *'", "'* * * *'"]),
        ("never_ask", &["'192.0.2.0/33'", "'home'"]),
        ("list_flags", &["'aws'", "'aws=cloud'", "'a b=tor'", "'../aws=hosting'"]),
        ("secret_commands", &["'op=op'", "'rm=/bin/rm'"]),
        ("secret_file_owners", &["'postgres'", "'-1'"]),
        ("https_proxy", &["'https://proxy:3128'", "'proxy'", "'http://a:b@proxy:1'", "'socks5://proxy:1'"]),
        ("https_proxy_credentials", &["'user:password'", "'env:'"]),
        ("no_proxy", &["'a/b'", "'https://host'"]),
        ("mmdb_sources", &["'a'", "'a=http://host/x'", "'a=https://a:b@host/x'", "'a=https://h/x,a=https://h/y'"]),
    ] {
        for value in values {
            let refused = cluster.fails(DB, &format!("ALTER SYSTEM SET asn_inventory.{name} = {value}"));
            assert_eq!(refused.code, "22023", "{name} = {value}: {refused:?}");
            assert!(
                refused.message.contains(name) || refused.message.contains(value.trim_matches('\'')),
                "{refused:?}"
            );
        }
    }
    cluster.set("asn_inventory.maxmind_max_age", "3d");
    cluster.set("asn_inventory.absorb_interval", "2min");
    let read = "SELECT setting FROM pg_settings WHERE name IN ('asn_inventory.maxmind_max_age', 'asn_inventory.absorb_interval')";
    assert_eq!(cluster.lines(DB, &format!("{read} ORDER BY name")), ["120000", "4320"]);
    cluster.set("asn_inventory.maxmind_max_age", "14d");
    cluster.set("asn_inventory.absorb_interval", "1s");
}

#[test]
fn a_url_with_credentials_is_refused_with_its_reason_and_not_repeated() {
    let cluster = cluster();
    for name in ["maxmind_url", "greynoise_url"] {
        let statement = format!("ALTER SYSTEM SET asn_inventory.{name} = 'https://me:hunter2@mirror.example/'");
        let refused = cluster.fails(DB, &statement);
        assert_eq!(refused.message, format!("invalid value for parameter \"asn_inventory.{name}\""));
        assert!(refused.detail.contains("user or password"), "{refused:?}");
    }
}

#[test]
fn only_enabled_can_be_set_in_a_session() {
    for (name, value) in [
        ("absorb_interval", "'50ms'"),
        ("databases", "'mine'"),
        ("maxmind_dir", "'/tmp'"),
        ("maxmind_editions", "'GeoLite2-City'"),
        ("maxmind_max_age", "'3d'"),
        ("workers", "2"),
    ] {
        for statement in [
            format!("SET asn_inventory.{name} = {value}"),
            format!("SELECT set_config('asn_inventory.{name}', {value}::text, true)"),
            format!("ALTER ROLE ordinary SET asn_inventory.{name} = {value}"),
            format!("ALTER DATABASE postgres SET asn_inventory.{name} = {value}"),
        ] {
            let refused = cluster().fails(DB, &statement);
            assert_eq!(refused.code, "55P02", "{statement}: {refused:?}");
        }
        let mut startup = cluster().config(DB);
        startup.options(&format!("-c asn_inventory.{name}={}", value.trim_matches('\'')));
        assert!(startup.connect(postgres::NoTls).is_err(), "{name} in a connection's options");
    }
    let mut client = cluster().connect_as("ordinary", DB);
    let set = "SET asn_inventory.enabled = off; SHOW asn_inventory.enabled; RESET asn_inventory.enabled; SHOW asn_inventory.enabled";
    assert_eq!(query(&mut client, set).expect("set"), [[Some("off".to_string())], [Some("on".to_string())]]);
    let refused = query(&mut client, "ALTER SYSTEM SET asn_inventory.enabled = off").expect_err("no superuser");
    assert_eq!(refused.code, "42501");
}

#[test]
fn settings_that_name_files_or_databases_are_hidden_from_ordinary_roles() {
    let mut client = cluster().connect_as("ordinary", DB);
    let visible = "SELECT substr(name, 15) FROM pg_settings WHERE name LIKE 'asn\\_inventory.%' ORDER BY name";
    let rows = query(&mut client, visible).expect("settings");
    let names: Vec<String> = rows.into_iter().flatten().flatten().collect();
    let shown = [
        "absorb_interval",
        "activity_hours",
        "activity_retention",
        "copy_work_mem",
        "cymru",
        "cymru_bulk_min",
        "cymru_negative_ttl",
        "cymru_rate",
        "cymru_timeout",
        "cymru_ttl",
        "enabled",
        "enabled_by_superuser_only",
        "event_time_ahead",
        "event_time_back",
        "fold_ipv4_mapped",
        "greynoise",
        "greynoise_quota",
        "greynoise_quota_window",
        "greynoise_rate",
        "greynoise_timeout",
        "greynoise_ttl",
        "list_flags",
        "maxmind_editions",
        "maxmind_max_age",
        "maxmind_update_schedule",
        "maxmind_walk",
        "mmdb_language",
        "network_node",
        "refresh_schedule",
        "run_retention",
        "share_mmdb_files",
        "sightings_max_size",
        "workers",
    ];
    assert_eq!(names, shown);
    let hidden = [
        "databases",
        "maxmind_dir",
        "maxmind_account_id",
        "maxmind_license_key",
        "maxmind_url",
        "cymru_dns_servers",
        "cymru_whois",
        "greynoise_api_key",
        "greynoise_url",
        "never_ask",
        "secret_commands",
        "secret_environment",
        "tls_ca_file",
    ];
    for name in hidden {
        for statement in
            [format!("SHOW asn_inventory.{name}"), format!("SELECT current_setting('asn_inventory.{name}')")]
        {
            let refused = query(&mut client, &statement).expect_err("hidden");
            assert_eq!(refused.code, "42501", "{statement}: {refused:?}");
        }
    }
    // A role that may read all settings may read these.
    cluster().sql(DB, "GRANT pg_read_all_settings TO looser");
    let mut client = cluster().connect_as("looser", DB);
    assert_eq!(query(&mut client, "SHOW asn_inventory.maxmind_dir").expect("shown"), [[Some(String::new())]]);
}

#[test]
fn a_misspelt_setting_is_refused() {
    for statement in [
        "SET asn_inventory.enabeld = off",
        "SELECT set_config('asn_inventory.enabeld', 'off', false)",
        "ALTER SYSTEM SET asn_inventory.enabeld = off",
        "ALTER ROLE ordinary SET asn_inventory.enabeld = off",
        "ALTER DATABASE postgres SET asn_inventory.enabeld = off",
    ] {
        let refused = cluster().fails(DB, statement);
        assert!(["42602", "42704"].contains(&refused.code.as_str()), "{statement}: {refused:?}");
        assert!(refused.message.contains("asn_inventory.enabeld"), "{refused:?}");
    }
}

#[test]
fn a_misspelt_setting_in_the_configuration_file_is_warned_of_and_dropped() {
    let cluster = Cluster::builder().conf("asn_inventory.maxmind_direktory", "/tmp").start();
    cluster.wait_log("invalid configuration parameter name \"asn_inventory.maxmind_direktory\", removing it");
    assert_eq!(cluster.fails(DB, "SHOW asn_inventory.maxmind_direktory").code, "42704");
    // Without preload, as soon as a session has the library.
    let cluster = Cluster::builder().preload(false).start();
    let (mut client, notices) = cluster.connect_with_notices(DB);
    query(&mut client, "SET asn_inventory.enabeld = off; LOAD 'asn_inventory'").expect("loaded");
    assert!(notices.all().iter().any(|notice| notice.contains("asn_inventory.enabeld")), "{:?}", notices.all());
    assert!(query(&mut client, "SET asn_inventory.enabeld = off").is_err());
    assert_eq!(query(&mut client, "SHOW asn_inventory.workers").expect("shown"), [[Some("4".to_string())]]);
}

#[test]
fn editions_that_could_leave_their_directory_are_refused_with_the_reason() {
    // Its own: the others read what this one changes.
    let cluster = Cluster::builder().start();
    let long = "x".repeat(65);
    for value in ["../GeoLite2-City", "GeoLite2-City,/etc/passwd", ".hidden", "Geo Lite", "a,b;c", "Größe", &long] {
        let refused = cluster.fails(DB, &format!("ALTER SYSTEM SET asn_inventory.maxmind_editions = '{value}'"));
        assert_eq!(refused.code, "22023", "{value}: {refused:?}");
        assert!(refused.message.contains("asn_inventory.maxmind_editions"), "{refused:?}");
        assert!(refused.detail.contains("is not an edition's name: letters, digits"), "{refused:?}");
    }
    // In the file: the reload says so, and the old value stays.
    cluster.set("asn_inventory.maxmind_editions", "GeoLite2-ASN, GeoIP2-City");
    assert_eq!(cluster.lines(DB, "SHOW asn_inventory.maxmind_editions"), ["GeoLite2-ASN, GeoIP2-City"]);
    cluster.set("asn_inventory.maxmind_editions", "../x");
    cluster.wait_log("invalid value for parameter \"asn_inventory.maxmind_editions\": \"../x\"");
    assert_eq!(cluster.lines(DB, "SHOW asn_inventory.maxmind_editions"), ["GeoLite2-ASN, GeoIP2-City"]);
    cluster.set("asn_inventory.maxmind_editions", "GeoLite2-City,GeoLite2-ASN");
    assert_eq!(cluster.lines(DB, "SHOW asn_inventory.maxmind_editions"), ["GeoLite2-City,GeoLite2-ASN"]);
}
