//! Archives that mean harm, with the right sum: nothing is written outside the directory, nothing stays of them, and
//! what answered before goes on.

use crate::download_support::*;
use asn_inventory_tests::fakes::archives::{EntryType, bomb, pack};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const CITY: &str = "GeoLite2-City";

/// The City file of five days ago, in which London is in France.
fn newer() -> Vec<u8> {
    let file = asn_inventory_tests::cluster::private_dir().join("newer");
    let city = fixtures::small_city(fixtures::days_ago(5));
    city.insert("81.2.69.142/31", json!({ "country": { "iso_code": "FR" } })).write(&file).unwrap();
    fs::read(file).unwrap()
}

/// An archive that is refused for this reason.
#[track_caller]
fn refused(site: &Site, archive: Vec<u8>, why: &str) {
    site.maxmind.offer_archive(archive, CITY, 5);
    let said = site.update_forced();
    let host = site.maxmind.host();
    assert_eq!(said, format!("failed|GeoLite2-City: {why} ({host}); GeoLite2-ASN: downloaded"));
    assert!(site.warnings(&format!("download of GeoLite2-City: {why}")) > 0, "not in the log: {why}");
    site.assert_answers();
    site.assert_tidy();
    site.assert_state_tidy();
}

#[test]
fn an_archive_without_a_valid_database_is_refused() {
    let site = Site::start();
    let database = newer();
    let not_regular = "the archive is refused: its database is not a regular file";
    let target = site.cluster.data_dir().join("PG_VERSION").display().to_string();
    for (kind, bytes) in [
        (EntryType::Symlink, target.as_bytes()),
        (EntryType::Link, target.as_bytes()),
        (EntryType::Char, b""),
        (EntryType::Block, b""),
        (EntryType::Fifo, b""),
        (EntryType::Directory, b""),
    ] {
        refused(&site, pack(&[("x/GeoLite2-City.mmdb", kind, bytes)]), not_regular);
    }
    refused(
        &site,
        pack(&[("x/COPYRIGHT.txt", EntryType::Regular, &database)]),
        "the archive is refused: it holds no database",
    );
    // Which of two is meant would be the archive's choice.
    let two =
        [("x/GeoLite2-City.mmdb", EntryType::Regular, &*database), ("y/other.mmdb", EntryType::Regular, &database)];
    refused(&site, pack(&two), "the archive is refused: it holds more than one database");
    refused(&site, pack(&[]), "the archive is refused: it holds no database");
    refused(&site, b"\x1f\x8b but no gzip".to_vec(), "not an archive: it is broken");
    let mut half = pack(&[("x/GeoLite2-City.mmdb", EntryType::Regular, &database)]);
    half.truncate(half.len() / 2);
    refused(&site, half, "not an archive: it is broken");
    // The day's downloads last for it all, and for a sound one.
    site.maxmind.offer_archive(pack(&[("GeoLite2-City.mmdb", EntryType::Regular, &database)]), CITY, 5);
    assert_eq!(site.update_forced(), BOTH_DOWNLOADED);
    site.cluster.wait_value(DB, "SELECT ip_country('81.2.69.142')", "FR");
    site.assert_tidy();
}

#[test]
fn paths_and_links_in_an_archive_are_not_followed() {
    let site = Site::start();
    let (database, maxmind_dir) = (newer(), site.cluster.maxmind_dir());
    let root = maxmind_dir.parent().unwrap();
    // Above the directory, into another by its full path, and through a link that the archive brings along.
    let data = site.cluster.data_dir().display().to_string();
    let absolute = format!("{data}/evil.mmdb");
    assert!(absolute.len() < 100, "too long for a header: {absolute}");
    let archives = [
        pack(&[("../../evil.mmdb", EntryType::Regular, &database)]),
        pack(&[("../evil.txt", EntryType::Regular, b"evil"), (&absolute, EntryType::Regular, &database)]),
        pack(&[
            ("x", EntryType::Symlink, data.as_bytes()),
            ("x/evil.txt", EntryType::Regular, b"evil"),
            ("x/evil.mmdb", EntryType::Regular, &database),
        ]),
    ];
    for (round, archive) in archives.into_iter().enumerate() {
        // Back to what was there, so that each has something to do.
        site.maxmind.offer(10);
        assert_eq!(site.update_forced(), BOTH_DOWNLOADED);
        site.cluster.wait_value(DB, "SELECT ip_country('81.2.69.142')", "GB");
        // Only the bytes count, and they go where they belong.
        site.maxmind.offer_archive(archive, CITY, 5);
        assert_eq!(site.update_forced(), BOTH_DOWNLOADED, "round {round}");
        site.cluster.wait_value(DB, "SELECT ip_country('81.2.69.142')", "FR");
        site.assert_tidy();
        site.assert_state_tidy();
        let evil = |paths: &[String]| paths.iter().filter(|path| path.contains("evil")).cloned().collect::<Vec<_>>();
        assert_eq!(evil(&listing(root)), [""; 0], "round {round}");
        assert_eq!(evil(&listing(root.parent().unwrap())), [""; 0], "round {round}");
    }
}

/// All that stands under a directory.
fn listing(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        found.push(entry.path().display().to_string());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(listing(&entry.path()));
        }
    }
    found
}

#[test]
fn a_decompression_bomb_fills_neither_memory_nor_disk() {
    const MB: u64 = 1 << 20;
    let site = Site::start();
    let archive = bomb("x/GeoLite2-City.mmdb", 256 * MB);
    assert!((archive.len() as u64) < 2 * MB, "{} bytes are no bomb", archive.len());
    // Something of the kind goes through: the limit is one of expansion.
    let most = 100 * archive.len() as u64;
    assert!(most < 200 * MB, "{most}");
    let worker: u32 = site.cluster.value(DB, "SELECT worker_pid FROM enrichment_status").parse().unwrap();
    let memory = || {
        let status = fs::read_to_string(format!("/proc/{worker}/status")).expect("a worker");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).expect("kilobytes") << 10
    };
    let before = memory();
    let (stop, largest) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let entries = fs::read_dir(site.cluster.maxmind_dir()).expect("maxmind_dir").flatten();
                let sizes = entries.filter_map(|entry| Some(entry.metadata().ok()?.len()));
                largest.fetch_max(sizes.max().unwrap_or(0), Ordering::Relaxed);
                std::thread::yield_now();
            }
        });
        let _stop = StopOnDrop(&stop);
        refused(&site, archive, "the content of the archive is too large");
    });
    let (peak, largest) = (memory(), largest.into_inner());
    assert!(peak < before + 64 * MB, "memory went from {before} to {peak}");
    assert!(largest > 0 && largest <= most, "{largest} bytes on the disk");
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
