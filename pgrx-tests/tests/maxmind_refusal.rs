//! Each kind of bad file is refused with its cause, and the previous file stays in use.

use crate::maxmind_support::*;
use asn_inventory_tests::prelude::*;
use enrich::maxmind::store::{GenerationInfo, Outcome};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The file there now is refused for `cause`, once; the old generation answers, and the file is not read again.
fn refused_for(site: &Site, name: &str, cause: &str) {
    let (before, disk) = (site.state(name), site.on_disk());
    let reason = site.refused(name);
    assert!(reason.contains(cause), "\"{reason}\" should say \"{cause}\"");
    assert!(!reason.contains('\n') && reason.len() < 300, "{reason}");
    let state = site.state(name);
    assert_eq!(state.refused.as_ref().map(|r| &r.reason), Some(&reason));
    assert_eq!((&state.current, &state.previous), (&before.current, &before.previous));
    assert_eq!(site.on_disk(), disk, "a refused file leaves nothing behind");
    let serial = site.serial();
    assert!(!site.has_news(name));
    assert_eq!(site.import(name), Outcome::Unchanged);
    assert_eq!((site.serial(), site.state(name).refused), (serial, state.refused));
}

fn answers_go_on(site: &Site) {
    let databases = site.open();
    assert_eq!(asn(&databases, fixtures::GOOGLE_DNS), Some(15169));
    assert_eq!(country(&databases, fixtures::LONDON).as_deref(), Some("GB"));
}

#[test]
fn a_truncated_file_is_refused_wherever_it_is_cut() {
    let site = Site::small("refusal_truncated");
    let whole = site.bytes(ASN);
    let metadata = whole.len() - 250;
    for length in [0, 1, 100, whole.len() / 4, whole.len() / 2, metadata, whole.len() - 1] {
        site.put_bytes(ASN, &whole[..length]);
        let reason = site.refused(ASN);
        assert!(reason.contains("metadata") || reason.contains("offset"), "{length}: {reason}");
        answers_go_on(&site);
    }
    refused_again_only_when_changed(&site);
}

fn refused_again_only_when_changed(site: &Site) {
    let serial = site.serial();
    assert_eq!(site.import(ASN), Outcome::Unchanged);
    assert_eq!(site.serial(), serial);
    site.put_bytes(ASN, b"still no database");
    site.refused(ASN);
    assert_eq!(site.serial(), serial + 1);
}

/// As a copy leaves it that lost blocks in the middle: the metadata at the end is whole.
#[test]
fn a_file_with_a_hole_is_refused() {
    let site = Site::small("refusal_hole");
    let whole = site.bytes(CITY);
    let mut cut = whole.clone();
    cut.drain(500..1500);
    let mut zeros = whole.clone();
    zeros[500..1500].fill(0);
    let mut noise = whole.clone();
    noise[100..2000].fill(0xa5);
    for bytes in [cut, zeros, noise] {
        site.put_bytes(CITY, &bytes);
        refused_for(&site, CITY, "database");
        answers_go_on(&site);
    }
}

/// A file that the cascade does not read still serves whole records.
#[test]
fn damage_outside_the_search_paths_is_refused() {
    let site = Site::small("refusal_unmet");
    let tree = |info: &GenerationInfo, bits: usize| info.node_count as usize * bits / 4;
    let info = site.state(ASN).current.expect("a generation");
    let mut bytes = site.bytes(ASN);
    bytes[tree(&info, 24) + 3] = 1;
    site.put_bytes(ASN, &bytes);
    refused_for(&site, ASN, "unexpected byte in data separator");

    let other = "GeoIP2-Anonymous-IP";
    let record = |hoster: &str| json!({ "hoster": hoster, "is_anonymous": true });
    let file = MmdbWriter::new(other, 1).insert("8.8.8.0/24", record("one"));
    site.put(other, file.insert("9.9.9.0/24", record("two")).record_size(24));
    let info = site.installed(other);
    let mut bytes = site.bytes(other);
    let data = tree(&info, 24) + 16;
    bytes[data + 2..data + 12].fill(0xff);
    site.put_bytes(other, &bytes);
    refused_for(&site, other, "offset");
}

#[test]
fn garbage_and_empty_files_are_refused() {
    let site = Site::small("refusal_garbage");
    let mut random = Random(5);
    let noise: Vec<u8> = (0..100_000).map(|_| random.next() as u8).collect();
    let html = b"<html><title>401 Unauthorized</title></html>";
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03";
    let none = "could not find MaxMind DB metadata";
    for (bytes, cause) in
        [(&b""[..], none), (&noise, none), (html, none), (gzip, none), (b"\xab\xcd\xefMaxMind.com", "no metadata")]
    {
        site.put_bytes(ASN, bytes);
        refused_for(&site, ASN, cause);
        answers_go_on(&site);
    }
}

#[test]
fn a_file_of_another_edition_is_refused() {
    let site = Site::small("refusal_edition");
    site.put(CITY, fixtures::small_asn(2));
    refused_for(&site, CITY, "wrong edition: the file holds \"GeoLite2-ASN\"");
    site.put(ASN, fixtures::small_city(2));
    refused_for(&site, ASN, "wrong edition: the file holds \"GeoLite2-City\"");
    answers_go_on(&site);
    // What others hold is told by their records.
    let site = Site::new("refusal_wine");
    site.put(ASN, MmdbWriter::new("Wine-Prices", 1).insert("8.8.8.0/24", json!({})));
    assert_eq!(site.refused(ASN), "wrong edition: the file holds \"Wine-Prices\"");
}

#[test]
fn a_much_smaller_file_is_imported_only_by_force() {
    let site = Site::new("refusal_collapsed");
    site.put(ASN, asn_file(1, 1000));
    let before = site.installed(ASN).node_count;
    site.put(ASN, asn_file(2, 10));
    refused_for(&site, ASN, &format!("the node count fell from {before} to "));
    assert_eq!(asn(&site.open(), "8.8.8.8"), Some(1));
    let forced = site.import_with(ASN, true);
    assert!(matches!(forced, Outcome::Installed(_)), "{forced:?}");
    assert_eq!(asn(&site.open(), "8.8.8.8"), Some(2));
    assert_eq!(site.state(ASN).refused, None);
}

#[test]
fn a_somewhat_smaller_file_is_imported() {
    let site = Site::new("refusal_smaller");
    site.put(ASN, asn_file(1, 1000));
    site.installed(ASN);
    site.put(ASN, asn_file(2, 700));
    site.installed(ASN);
}

#[test]
fn force_imports_no_broken_file() {
    let site = Site::small("refusal_forced");
    let whole = site.bytes(ASN);
    for bytes in [&whole[..whole.len() / 2], b"garbage"] {
        site.put_bytes(ASN, bytes);
        let outcome = site.import_with(ASN, true);
        assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
        answers_go_on(&site);
    }
    site.put(CITY, fixtures::small_asn(2));
    let outcome = site.import_with(CITY, true);
    assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
}

/// Sparse: it takes no room on the disk, and must not be copied to find out.
#[test]
fn a_file_too_large_for_a_database_is_refused_unread() {
    let site = Site::small("refusal_huge");
    let size = (2 << 30) + 1;
    let file = File::create(site.file(ASN)).expect("a file");
    file.set_len(size).expect("a sparse file");
    age(&site.file(ASN));
    refused_for(&site, ASN, &format!("a database of {size} bytes is too large"));
    answers_go_on(&site);
}

#[test]
fn a_path_that_is_not_a_regular_file_is_refused_until_it_is_removed() {
    let site = Site::small("refusal_directory");
    let aside = site.source.join("aside");
    fs::rename(site.file(ASN), &aside).expect("renamed");
    fs::create_dir(site.file(ASN)).expect("a directory");
    refused_for(&site, ASN, "not a regular file");
    answers_go_on(&site);
    // The very file that was there before comes back.
    fs::remove_dir(site.file(ASN)).expect("removed");
    fs::rename(&aside, site.file(ASN)).expect("renamed");
    assert!(site.has_news(ASN));
    assert_eq!(site.import(ASN), Outcome::Unchanged);
    assert_eq!(site.state(ASN).refused, None, "the trouble has passed");
    assert!(!site.has_news(ASN));
    answers_go_on(&site);
}

/// A mount that went away for a while: the file behind it never changed.
#[test]
fn an_error_of_a_path_component_clears_with_it() {
    let mut site = Site::small("refusal_way");
    let (real, way) = (site.source.clone(), site.root.join("way"));
    let lead_to = |target: &Path| {
        let _ = fs::remove_file(&way);
        std::os::unix::fs::symlink(target, &way).expect("a link");
    };
    lead_to(&real);
    site.source = way.clone();
    assert!(!site.has_news(ASN));
    lead_to(&site.store.manifest_path());
    refused_for(&site, ASN, "Not a directory");
    answers_go_on(&site);
    lead_to(&real);
    assert!(site.has_news(ASN));
    assert_eq!(site.import(ASN), Outcome::Unchanged);
    assert_eq!(site.state(ASN).refused, None);
    assert!(!site.has_news(ASN));
}

#[test]
fn an_unreadable_file_is_refused_until_its_permissions_are_put_right() {
    let site = Site::small("refusal_unreadable");
    site.put(ASN, fixtures::small_asn(2));
    let mode = |mode| fs::set_permissions(site.file(ASN), fs::Permissions::from_mode(mode));
    mode(0o000).expect("changed");
    as_ordinary_user(&site, || refused_for(&site, ASN, "Permission denied"));
    answers_go_on(&site);
    // Neither its date nor its content changes with that.
    mode(0o644).expect("changed");
    assert!(site.has_news(ASN));
    as_ordinary_user(&site, || site.installed(ASN));
    assert_eq!(site.state(ASN).refused, None);
}

/// Root reads everything: as root, runs `f` on a thread that meets the file system as `nobody`.
fn as_ordinary_user<T: Send>(site: &Site, f: impl FnOnce() -> T + Send) -> T {
    const NOBODY: u32 = 65_534;
    let mut todo = vec![site.source.clone(), site.root.parent().expect("a parent").into()];
    while let Some(path) = todo.pop() {
        // Fails for an ordinary user, to whom everything belongs already.
        let _ = std::os::unix::fs::chown(&path, Some(NOBODY), None);
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory");
            todo.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
    }
    let switched = move || {
        // SAFETY: takes a number, and concerns this thread only.
        unsafe { libc::setfsuid(NOBODY) };
        f()
    };
    std::thread::scope(|scope| scope.spawn(switched).join().expect("no panic"))
}

#[test]
fn a_good_file_in_place_of_a_refused_one_installs_and_clears_the_refusal() {
    let site = Site::small("refusal_replaced");
    let good = site.bytes(ASN);
    site.put_bytes(ASN, b"garbage");
    site.refused(ASN);
    site.put(ASN, fixtures::small_asn(2));
    assert!(site.has_news(ASN));
    site.installed(ASN);
    assert_eq!(site.state(ASN).refused, None);
    // The one that answers already clears it as well, without a new generation.
    site.put_bytes(ASN, b"garbage");
    site.refused(ASN);
    let (current, serial) = (site.state(ASN).current, site.serial());
    fixtures::small_asn(2).write(&site.file(ASN)).expect("written");
    age(&site.file(ASN));
    assert_eq!(site.import(ASN), Outcome::Unchanged);
    assert_eq!((site.state(ASN).current, site.state(ASN).refused), (current, None));
    assert_eq!(site.serial(), serial + 1, "others must learn that it is no longer refused");
    assert_ne!(good, site.bytes(ASN));
}

#[test]
fn one_refused_edition_does_not_stop_the_other() {
    for (bad, good) in [(CITY, ASN), (ASN, CITY)] {
        let site = Site::new(&format!("refusal_other_{good}"));
        fixtures::small(&site.source);
        site.put_bytes(bad, b"garbage");
        let outcomes = unless_busy(|| site.store.import(&site.source, &editions(), false, &|| ()));
        for (edition, outcome) in outcomes.expect("an import").outcomes {
            let fits = match outcome {
                Outcome::Refused(_) => edition.name() == bad,
                Outcome::Installed(_) => edition.name() == good,
                _ => false,
            };
            assert!(fits, "{edition}: {outcome:?}");
        }
        let databases = site.open();
        assert_eq!(asn(&databases, "8.8.8.8").is_some(), good == ASN);
        assert_eq!(country(&databases, "8.8.8.8").is_some(), good == CITY);
    }
}

#[test]
fn a_bad_first_file_leaves_nothing_and_blocks_nothing() {
    let site = Site::new("refusal_first");
    site.put_bytes(ASN, b"garbage");
    site.refused(ASN);
    assert!(site.open().is_empty());
    assert!(site.on_disk().is_empty());
    site.put(ASN, fixtures::small_asn(1));
    site.installed(ASN);
    assert_eq!(asn(&site.open(), "8.8.8.8"), Some(15169));
}

/// For every flipped bit, the file is refused or it answers without a panic.
#[test]
fn no_flipped_bit_in_a_file_causes_a_panic_during_import() {
    let site = Site::new("refusal_flips");
    site.put(ASN, asn_file(7, 4));
    let whole = site.bytes(ASN);
    let mut random = Random(23);
    let (mut installed, mut refused) = (0, 0);
    for round in 0..150 {
        let mut bytes = whole.clone();
        // Half of them in the metadata, where a bit changes most.
        let from = if round % 2 == 0 { 0 } else { whole.len() - 250 };
        for _ in 0..1 + random.below(3) {
            let at = from + random.below(whole.len() - from);
            bytes[at] ^= 1 << random.below(8);
        }
        site.put_bytes(ASN, &bytes);
        match site.import_with(ASN, true) {
            Outcome::Refused(_) => refused += 1,
            _ => installed += 1,
        }
        let databases = site.open();
        for ip in [ip("8.8.8.8"), ip("2002:808:808::"), random.v4(), random.v6()] {
            databases.answer(ip);
            for generation in databases.generations() {
                let _ = generation.record(ip);
            }
        }
        for generation in databases.generations() {
            let mut walk = generation.networks(None);
            std::iter::from_fn(|| walk.next(generation)).take(100).for_each(drop);
        }
    }
    assert!(installed > 10 && refused > 10, "{installed} installed, {refused} refused");
}
