//! A full disk: during the download, and during the import. The previous files stay in use, no file is left behind, and
//! with free space all succeeds.
//!
//! No disk is filled: a limit on the size of files (RLIMIT_FSIZE; PostgreSQL ignores its signal) makes writes fail in
//! the middle, as a full disk does, and needs no privilege. It must let a segment of WAL pass, so the files are larger.

use crate::download_support::*;
use asn_inventory_tests::mmdb::MmdbWriter;
use std::fs;
use std::time::{Duration, Instant};

/// More than a segment of WAL.
const LIMIT: u64 = 17 << 20;
const TOO_LARGE: &str = "File too large (os error 27)";

/// Of so many letters, a text hardly compresses: an archive is over the limit as well.
const MANY_LETTERS: u8 = 95;
/// Of so many, an archive is below it.
const FEW_LETTERS: u8 = 3;

/// An ASN file of some 30 MB.
fn large(days_ago: u64, letters: u8) -> MmdbWriter {
    let mut state = days_ago + 1;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b' ' + (state >> 33) as u8 % letters)
    };
    let mut asn = fixtures::small_asn(fixtures::days_ago(days_ago));
    // A longer name than this would be refused.
    for part in 0..60 {
        let name: String = (0..500_000).map(|_| noise()).collect();
        let record = json!({ "autonomous_system_number": 64500 + part, "autonomous_system_organization": name });
        asn.add(&format!("11.0.{part}.0/24"), record);
    }
    asn
}

#[test]
fn without_space_for_a_download_the_old_files_answer_and_no_draft_remains() {
    let site = Site::start();
    let worker: u32 = site.cluster.value(DB, "SELECT worker_pid FROM enrichment_status").parse().unwrap();
    site.maxmind.offer_file(large(5, MANY_LETTERS), "GeoLite2-ASN", 5);
    site.cluster.limit_file_size(worker, Some(LIMIT));
    let said = site.update();
    assert_eq!(said, format!("failed|GeoLite2-City: up to date; GeoLite2-ASN: {TOO_LARGE}"));
    assert_eq!(site.warnings(TOO_LARGE), 1);
    site.assert_answers();
    site.assert_tidy();
    site.assert_state_tidy();
    // It is not tried again at once.
    let downloads = site.maxmind.downloads();
    assert!(site.update().contains("the last download failed"));
    assert_eq!(site.maxmind.downloads(), downloads);
    // There is space for the archive, but not for its content.
    site.maxmind.offer_file(large(5, FEW_LETTERS), "GeoLite2-ASN", 5);
    assert_eq!(site.update_forced(), format!("failed|GeoLite2-City: downloaded; GeoLite2-ASN: {TOO_LARGE}"));
    site.assert_answers();
    site.assert_tidy();
    site.assert_state_tidy();

    site.cluster.limit_file_size(worker, None);
    assert_eq!(site.update_forced(), BOTH_DOWNLOADED);
    site.cluster.wait_value(DB, "SELECT ip_asn('11.0.59.1')", "64559");
    site.assert_answers();
    site.assert_tidy();
    site.assert_state_tidy();
}

#[test]
fn without_space_for_an_import_the_old_files_answer_and_the_new_ones_wait() {
    let site = Site::start();
    let launcher = site.cluster.pid_of("asn_inventory launcher").expect("a launcher");
    site.cluster.limit_file_size(launcher, Some(LIMIT));
    site.maxmind.offer_file(large(5, MANY_LETTERS), "GeoLite2-ASN", 5);
    assert_eq!(site.update(), "done|GeoLite2-City: up to date; GeoLite2-ASN: downloaded");
    site.cluster.wait_log(TOO_LARGE);
    let failed = Instant::now();
    site.assert_answers();
    site.assert_tidy();
    site.assert_state_tidy();
    // The disk is not filled again in every turn of the launcher; each new database takes at least one turn.
    let written =
        || fs::metadata(site.cluster.data_dir().join("asn_inventory/generations")).unwrap().modified().unwrap();
    let before = written();
    for db in ["first", "second"] {
        site.cluster.sql(DB, &format!("CREATE DATABASE {db}"));
        site.cluster.sql(db, "CREATE EXTENSION asn_inventory");
        site.cluster.wait_value(db, "SELECT worker FROM enrichment_status", "running");
    }
    if failed.elapsed() < Duration::from_secs(20) {
        assert_eq!(written(), before, "tried again at once");
    }
    // A restart does not change that, but removes the limit: the file there needs no second download.
    let downloads = site.maxmind.downloads();
    assert_eq!(
        site.update(),
        "done|GeoLite2-City: up to date; GeoLite2-ASN: the newest was downloaded before, and not installed yet"
    );
    site.cluster.limit_file_size(launcher, None);
    site.cluster.wait_value(DB, "SELECT ip_asn('11.0.59.1')", "64559");
    assert_eq!(site.maxmind.downloads(), downloads);
    site.assert_answers();
    site.assert_tidy();
    site.assert_state_tidy();
}

/// An ASN file of some 2 MB whose index is larger than the limit: in the file, all records share a name.
fn of_a_large_index(days_ago: u64) -> MmdbWriter {
    let mut asn = fixtures::small_asn(fixtures::days_ago(days_ago));
    let name = "x".repeat(250);
    for number in 0..90_000_u32 {
        let network = std::net::Ipv4Addr::from((12 << 24) + (number << 8));
        let record =
            json!({ "autonomous_system_number": 100_000 + number, "autonomous_system_organization": name.clone() });
        asn.add(&format!("{network}/24"), record);
    }
    asn
}

#[test]
fn without_space_for_an_index_a_file_is_not_refused_and_comes_later() {
    let site = Site::start();
    let launcher = site.cluster.pid_of("asn_inventory launcher").expect("a launcher");
    site.cluster.limit_file_size(launcher, Some(LIMIT));
    site.maxmind.offer_file(of_a_large_index(5), "GeoLite2-ASN", 5);
    assert_eq!(site.update(), "done|GeoLite2-City: up to date; GeoLite2-ASN: downloaded");
    site.cluster.wait_log(TOO_LARGE);
    site.assert_answers();
    site.assert_state_tidy();
    assert_eq!(site.cluster.value(DB, "SELECT count(refused) FROM mmdb_editions()"), "0");
    let finding = "SELECT detail LIKE '%File too large%' FROM enrichment_doctor() WHERE check_name = 'mmdb import'";
    assert_eq!(site.cluster.value(DB, finding), "t");
    site.cluster.limit_file_size(launcher, None);
    site.cluster.wait_value(DB, "SELECT ip_asn('12.0.59.1')", "100059");
    site.assert_answers();
    site.assert_tidy();
    site.assert_state_tidy();
}

#[test]
fn an_unwritable_ledger_stops_only_downloads() {
    let site = Site::start();
    site.maxmind.offer(5);
    let ledger = site.cluster.data_dir().join("asn_inventory/downloads.tmp");
    // A directory in place of its draft stops all users, root too.
    fs::create_dir(&ledger).unwrap();
    let before = site.maxmind.downloads();
    let said = site.update();
    assert!(said.starts_with("failed|") && said.contains("downloads.json"), "{said}");
    assert_eq!(site.warnings("mmdb files cannot be updated: "), 1);
    assert_eq!(site.maxmind.downloads(), before, "nobody would know of it");
    site.assert_answers();
    fs::remove_dir(&ledger).unwrap();
    assert_eq!(site.update(), BOTH_DOWNLOADED);
    site.wait_build(5);
    site.assert_tidy();
    site.assert_state_tidy();
}
