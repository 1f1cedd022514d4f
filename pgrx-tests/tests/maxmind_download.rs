//! Downloads end to end, if all succeeds: the fetched files, the times, their way into use, and which host sees the
//! key.

use crate::download_support::*;
use crate::promtool_support::Page;
use std::fs;

#[test]
fn an_update_fetches_only_newer_builds() {
    let site = Site::start_with(&[]);
    site.maxmind.offer(10);
    assert_eq!(site.cluster.value(DB, "SELECT ip_country('81.2.69.142')"), "");
    assert_eq!(site.update(), BOTH_DOWNLOADED);
    site.wait_build(10);
    site.assert_tidy();
    assert_eq!(site.cluster.value(DB, "SELECT state FROM source_status WHERE source = 'maxmind'"), "ok");
    assert_eq!(
        site.cluster.lines(DB, "SELECT requested_by, processed, ended_at >= started_at FROM enrichment_run"),
        ["postgres|0|t"]
    );

    // Nothing newer: only HEAD.
    let before = site.requests();
    assert_eq!(site.update(), BOTH_UP_TO_DATE);
    let asked = site.maxmind.asked().split_off(before);
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked.method == "HEAD"), "{asked:?}");
    assert_eq!(site.maxmind.downloads(), 2);

    // One edition is newer; a session that is open already gets its answers.
    let mut session = site.cluster.connect(DB);
    let mut country = || session.query_one("SELECT ip_country('81.2.69.142')", &[]).unwrap().get::<_, String>(0);
    assert_eq!(country(), "GB");
    let newer = fixtures::small_city(fixtures::days_ago(3));
    let newer = newer.insert("81.2.69.142/31", json!({ "country": { "iso_code": "FR" } }));
    site.maxmind.offer_file(newer, "GeoLite2-City", 3);
    assert_eq!(site.update(), "done|GeoLite2-City: downloaded; GeoLite2-ASN: up to date");
    wait_for("the newer answer", country, |country| country == "FR");
    site.assert_tidy();
}

#[test]
fn force_also_fetches_and_installs_older_builds() {
    let site = Site::start();
    site.maxmind.offer(20);
    assert_eq!(site.update(), BOTH_UP_TO_DATE);
    assert_eq!(site.update_forced(), BOTH_DOWNLOADED);
    site.wait_build(20);
    site.assert_tidy();
    // Refused to ordinary roles, who could use the account up.
    site.cluster.sql(DB, "CREATE ROLE alice LOGIN");
    let mut alice = site.cluster.connect_as("alice", DB);
    let refused = alice.simple_query("SELECT update_maxmind(true)").unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "42501");
}

#[test]
fn the_key_is_sent_only_to_its_host_and_never_logged() {
    let site = Site::start_with(&[("log_min_messages", "debug5"), ("log_statement", "all")]);
    site.maxmind.offer(10);
    assert_eq!(site.update(), BOTH_DOWNLOADED);
    site.wait_build(10);
    let asked = site.maxmind.asked();
    let (home, store): (Vec<_>, Vec<_>) = asked.iter().partition(|asked| asked.host == Host::Accounts);
    assert!(home.iter().all(|asked| asked.with_key && asked.target.starts_with("/geoip/databases/")), "{home:?}");
    assert!(!store.is_empty() && store.iter().all(|asked| !asked.with_key), "{store:?}");

    // Without an account the key is part of the URL.
    site.cluster.set("asn_inventory.maxmind_account_id", "");
    site.maxmind.offer(5);
    assert_eq!(site.update(), BOTH_DOWNLOADED);
    site.wait_build(5);
    let asked = site.maxmind.asked().split_off(asked.len());
    let (home, store): (Vec<_>, Vec<_>) = asked.iter().partition(|asked| asked.host == Host::Accounts);
    assert!(home.iter().all(|asked| asked.with_key && asked.target.starts_with("/app/geoip_download?")), "{home:?}");
    assert!(!store.is_empty() && store.iter().all(|asked| !asked.with_key), "{store:?}");

    // Also when it fails: neither the key nor the URLs that are as good as one.
    site.maxmind.trouble(Trouble::Status(500));
    site.update();
    let log = site.cluster.log();
    for secret in [KEY, "fake%2Fmaxmind", "license_key=", "signature=abc", "MTIzNDU6"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn without_a_key_nothing_is_asked_and_the_job_says_why() {
    let site = Site::start_with(&[("asn_inventory.maxmind_license_key", "env:MAXMIND_LICENSE_KEY")]);
    site.maxmind.offer(10);
    for said in [site.update(), site.update_forced()] {
        assert!(said.starts_with("failed|asn_inventory.maxmind_license_key "), "{said}");
    }
    assert_eq!(site.requests(), 0);
    assert_eq!(site.files(), [""; 0]);

    // The variable that is meant must be one of those that references may read.
    site.cluster.set("asn_inventory.maxmind_license_key", "env:HOME");
    let said = site.update();
    assert!(said.contains("env:HOME") && said.contains("may not be read"), "{said}");
    assert_eq!(site.requests(), 0);
}

/// As a server is set up that is given its files by hand: no look failed, and none follows that could go well.
#[test]
fn without_a_key_that_was_set_no_look_has_failed() {
    let site = Site::start_with(&[("asn_inventory.maxmind_license_key", "")]);
    let why = "asn_inventory.maxmind_license_key is empty: no reference is set";
    let told = "SELECT last_error FROM source_status WHERE source = 'maxmind'";
    let doctor =
        "SELECT level || '|' || coalesce(detail, '') FROM enrichment_doctor() WHERE check_name = 'maxmind downloads'";
    let failed = || Page::of(&site.cluster, DB).value("mmdb_update_failed", &[]);
    // Who asks for one by hand hears it; status and metrics do not.
    assert_eq!(site.update(), format!("failed|{why}"));
    assert_eq!((site.cluster.value(DB, told), failed()), (String::new(), Some(0.0)));
    // Who wants files that are not there learns why there are none.
    assert_eq!(site.cluster.value(DB, doctor), format!("warning|{why}"));

    // A look that failed is a trouble as long as there is a key.
    let reference = format!("file:{}", site.maxmind.key_file().display());
    fs::write(site.maxmind.key_file(), "yesterday's key").unwrap();
    site.cluster.set("asn_inventory.maxmind_license_key", &reference);
    let said = wait_for("a look", || site.update(), |said| said.contains("(401)"));
    assert!(said.starts_with("failed|"), "{said}");
    assert!(site.cluster.value(DB, told).starts_with("update: "));
    assert_eq!(failed(), Some(1.0));
    assert!(site.cluster.value(DB, doctor).contains("(401)"));
    site.cluster.set("asn_inventory.maxmind_license_key", "");
    site.cluster.wait_value(DB, told, "");
    assert_eq!(failed(), Some(0.0));
    assert_eq!(site.cluster.value(DB, doctor), "ok|");
}

#[test]
fn a_key_is_read_for_each_download() {
    let site = Site::start_with(&[]);
    site.maxmind.offer(10);
    fs::write(site.maxmind.key_file(), "yesterday's key").unwrap();
    let said = site.update();
    assert!(said.contains("(401)"), "{said}");
    // The same key is not tried again.
    let before = site.requests();
    assert!(site.update().contains("was refused"));
    assert_eq!(site.requests(), before);
    // Replaced in its place, with no reload of the settings: it is the key that counts.
    fs::write(site.maxmind.key_file(), KEY).unwrap();
    assert_eq!(site.update(), BOTH_DOWNLOADED);
    site.wait_build(10);
}

#[test]
fn an_unresolvable_reference_is_named_by_the_job_and_in_the_log() {
    let site = Site::start_with(&[("asn_inventory.maxmind_license_key", "file:/nonexistent/key")]);
    let why = "asn_inventory.maxmind_license_key cannot be resolved: file:/nonexistent/key: there is no such file";
    site.cluster.wait_log(&format!("{why}; no file is downloaded"));
    assert_eq!(site.update(), format!("failed|{why}"));
}

#[test]
fn editions_are_independent_and_files_of_other_vendors_are_not_requested() {
    let site = Site::start_with(&[("asn_inventory.maxmind_editions", "GeoIP2-City,dbip-city-lite,GeoLite2-ASN")]);
    site.maxmind.offer(10);
    let first = format!(
        "failed|GeoIP2-City: the server answers with status 404 ({}); dbip-city-lite: not MaxMind's, and not asked for; \
         GeoLite2-ASN: ",
        site.maxmind.host()
    );
    assert_eq!(site.update(), format!("{first}downloaded"));
    assert!(site.maxmind.asked().iter().all(|asked| !asked.target.contains("dbip")));
    site.maxmind.offer(5);
    let said = site.update();
    assert!(
        said.starts_with("failed|GeoIP2-City: not asked for: the server has no such edition; tried again at "),
        "{said}"
    );
    assert!(said.ends_with("GeoLite2-ASN: downloaded"), "{said}");
    // The account has it now.
    site.maxmind.offer_file(fixtures::small_city(fixtures::days_ago(5)), "GeoIP2-City", 5);
    let mended =
        "done|GeoIP2-City: downloaded; dbip-city-lite: not MaxMind's, and not asked for; GeoLite2-ASN: downloaded";
    assert_eq!(site.update_forced(), mended);
}

#[test]
fn a_replaced_file_keeps_its_mode_and_a_link_is_not_replaced() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let site = Site::start();
    let city = site.cluster.maxmind_dir().join("GeoLite2-City.mmdb");
    fs::set_permissions(&city, fs::Permissions::from_mode(0o644)).unwrap();
    let asn = site.cluster.maxmind_dir().join("GeoLite2-ASN.mmdb");
    let elsewhere = asn_inventory_tests::cluster::private_dir().join("asn.mmdb");
    fs::rename(&asn, &elsewhere).unwrap();
    symlink(&elsewhere, &asn).unwrap();
    let before = fs::read(&elsewhere).unwrap();
    site.maxmind.offer(5);
    let said = site.update();
    assert!(said.starts_with("failed|GeoLite2-City: downloaded; GeoLite2-ASN: "), "{said}");
    assert!(said.contains("is a symbolic link, which is not replaced"), "{said}");
    assert_eq!(fs::metadata(&city).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!((fs::read_link(&asn).unwrap(), fs::read(&elsewhere).unwrap()), (elsewhere, before));
}
