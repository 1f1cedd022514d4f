//! Generations on disk: what an import installs, keeps, removes and leaves alone.

use crate::maxmind_support::*;
use asn_inventory_tests::prelude::*;
use enrich::maxmind::store::{Outcome, StoreError};
use enrich::maxmind::{Edition, Store};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[test]
fn an_import_of_no_files_is_not_an_error() {
    let site = Site::new("store_nothing");
    assert!(site.open().is_empty());
    assert_eq!(site.serial(), 0);
    assert!(!site.has_news(ASN));
    // Neither is an empty directory of the operator's, or none at all.
    assert_eq!(site.import(CITY), Outcome::Unchanged);
    fs::remove_dir(&site.source).expect("removed");
    assert_eq!(site.import(CITY), Outcome::Unchanged);
    assert_eq!(site.serial(), 0);
}

#[test]
fn an_import_returns_the_installed_generation() {
    let site = Site::new("store_install");
    site.put(ASN, fixtures::small_asn(1_790_000_000));
    assert!(site.has_news(ASN));
    let info = site.installed(ASN);
    assert!(!site.has_news(ASN));
    let bytes = site.bytes(ASN);
    assert_eq!((info.database_type.as_str(), info.build_epoch), (ASN, 1_790_000_000));
    assert_eq!(info.size, bytes.len() as u64);
    assert!(info.node_count > 100);
    assert_eq!(info.directory, format!("{ASN}-{}", &info.sha256[..16]));
    assert_eq!((info.sha256.len(), site.serial()), (64, 1));
    assert_eq!(site.open().installed_at(), Some(info.installed_at));
    let state = site.state(ASN);
    assert_eq!((state.current, state.previous, state.refused), (Some(info), None, None));
    // A copy, not the operator's file itself.
    assert_eq!(fs::read(site.current(ASN).join("database.mmdb")).expect("a copy"), bytes);
    assert_eq!(asn(&site.open(), "8.8.8.8"), Some(15169));
}

#[test]
fn the_same_file_again_changes_nothing() {
    let site = Site::small("store_same");
    let both = |force| {
        let imported = unless_busy(|| site.store.import(&site.source, &editions(), force, &|| ()));
        imported.expect("an import").outcomes
    };
    both(false);
    let (serial, disk, generation) = (site.serial(), site.on_disk(), site.current(ASN));
    let written = |path: &Path| fs::metadata(path).expect("a file").modified().expect("a date");
    let dates = (written(&generation), written(&site.store.manifest_path()));
    for _ in 0..3 {
        let manifest = site.store.manifest().expect("a manifest");
        assert!(!site.store.has_news(&site.source, &editions(), &manifest));
        // Forced: only a refused file is looked at again.
        for force in [false, true] {
            assert!(both(force).iter().all(|(_, outcome)| *outcome == Outcome::Unchanged));
        }
    }
    assert_eq!((site.serial(), site.on_disk()), (serial, disk));
    assert_eq!((written(&generation), written(&site.store.manifest_path())), dates);
}

#[test]
fn the_same_content_under_a_new_date_installs_nothing() {
    let site = Site::small("store_touched");
    let (info, disk) = (site.state(ASN).current, site.on_disk());
    site.put_bytes(ASN, &site.bytes(ASN));
    assert!(site.has_news(ASN));
    assert_eq!(site.import(ASN), Outcome::Unchanged);
    assert!(!site.has_news(ASN));
    assert_eq!((site.state(ASN).current, site.on_disk()), (info, disk));
    assert!(site.state(ASN).previous.is_none());
}

#[test]
fn a_newer_file_answers_and_the_previous_one_is_kept() {
    let site = Site::new("store_newer");
    site.put(ASN, asn_file(1, 0));
    let first = site.installed(ASN);
    site.put(ASN, asn_file(2, 0));
    assert!(site.has_news(ASN));
    assert_eq!(asn(&site.open(), "8.8.8.8"), Some(1));
    let second = site.installed(ASN);
    assert_eq!(asn(&site.open(), "8.8.8.8"), Some(2));
    assert_ne!(first.directory, second.directory);
    assert!(first.installed_at < second.installed_at);
    assert_eq!(site.open().installed_at(), Some(second.installed_at));
    let state = site.state(ASN);
    assert_eq!((state.previous.as_ref(), state.current.as_ref()), (Some(&first), Some(&second)));
    assert_eq!(site.serial(), 2);
    let mut both = vec![first.directory, second.directory];
    both.sort();
    assert_eq!(site.on_disk(), both);
}

#[test]
fn generations_older_than_the_one_before_are_removed() {
    let site = Site::new("store_removal");
    let mut directories = Vec::new();
    for number in 1..=4 {
        site.put(ASN, asn_file(number, 0));
        directories.push(site.installed(ASN).directory);
    }
    let mut kept = directories.split_off(2);
    kept.sort();
    assert_eq!(site.on_disk(), kept);
}

#[test]
fn an_operator_can_go_back_to_an_older_file() {
    let site = Site::new("store_back");
    for number in [1, 2, 1, 3, 2] {
        site.put(ASN, asn_file(number, 0));
        site.installed(ASN);
        assert_eq!(asn(&site.open(), "8.8.8.8"), Some(number));
    }
    assert_eq!(site.on_disk().len(), 2);
}

/// A kill in the middle of a removal leaves a directory that is no longer whole.
#[test]
fn a_half_removed_generation_does_not_count_as_whole() {
    let site = Site::new("store_half_removed");
    let mut first = None;
    for number in [1, 2, 3] {
        site.put(ASN, asn_file(number, 0));
        let directory = site.installed(ASN).directory;
        first.get_or_insert(directory);
    }
    let half = site.generations().join(first.expect("a generation"));
    assert!(!half.exists());
    fs::create_dir(&half).expect("a directory");
    fs::write(half.join("flat-6.idx"), "").expect("a file");
    site.put(ASN, asn_file(1, 0));
    site.installed(ASN);
    assert_eq!(asn(&site.open(), "8.8.8.8"), Some(1));
}

#[test]
fn a_removed_file_leaves_its_generation_in_use() {
    let site = Site::small("store_gone");
    let (serial, disk) = (site.serial(), site.on_disk());
    fs::remove_file(site.file(ASN)).expect("removed");
    assert!(!site.has_news(ASN));
    assert_eq!(site.import(ASN), Outcome::Unchanged);
    fs::remove_dir_all(&site.source).expect("removed");
    assert_eq!(site.import(ASN), Outcome::Unchanged);
    assert_eq!(asn(&site.open(), "8.8.8.8"), Some(15169));
    assert_eq!((site.serial(), site.on_disk()), (serial, disk));
}

/// A copy that is still under way would be refused as truncated, and the answer delayed to the next change.
#[test]
fn a_file_written_just_now_waits_while_another_one_answers() {
    let site = Site::new("store_unsettled");
    site.put(ASN, asn_file(1, 0));
    // The first file ever is taken at once: nothing better could answer meanwhile.
    freshen(&site.file(ASN));
    site.installed(ASN);
    // A machine that sleeps for a second between two lines here sees a settled file: it gets another chance.
    let (number, before) = (2..12)
        .find_map(|number| {
            asn_file(number, 0).write(&site.file(ASN)).expect("written");
            let before = (site.serial(), site.current(ASN));
            freshen(&site.file(ASN));
            (site.import(ASN) == Outcome::Unsettled).then_some((number, before))
        })
        .expect("a quick import");
    assert!(site.has_news(ASN));
    assert_eq!((site.serial(), site.current(ASN)), before);
    age(&site.file(ASN));
    site.installed(ASN);
    assert_eq!(asn(&site.open(), "8.8.8.8"), Some(number));
}

#[test]
fn a_file_from_the_future_is_imported() {
    let site = Site::new("store_future");
    site.put(ASN, asn_file(1, 0));
    site.installed(ASN);
    site.put(ASN, asn_file(2, 0));
    let file = File::options().append(true).open(site.file(ASN)).expect("a file");
    let tomorrow = std::time::SystemTime::now() + std::time::Duration::from_secs(86_400);
    file.set_modified(tomorrow).expect("a date");
    site.installed(ASN);
    assert!(!site.has_news(ASN));
}

/// A bit that falls over on the disk: the files can be opened still, and answer wrongly.
#[test]
fn a_damaged_copy_answers_rightly_again_when_the_file_is_put_again() {
    let site = Site::small("store_heals");
    let both = || {
        let imported = unless_busy(|| site.store.import(&site.source, &editions(), false, &|| ()));
        imported.expect("an import").outcomes
    };
    both();
    assert!(site.open().has_overlay());
    let path = site.current(ASN).join("flat-6.idx");
    let sound = fs::read(&path).expect("an index");
    let mut damaged = sound.clone();
    let number = 15169_u32.to_le_bytes();
    let at = damaged.windows(4).rposition(|bytes| bytes == number).expect("the number of an AS");
    damaged[at] ^= 1;
    fs::write(&path, &damaged).expect("written");
    let (serial, told) = (site.serial(), site.open().answering());
    assert_eq!(asn(&site.open(), "8.8.8.8"), Some(15168));
    site.put_bytes(ASN, &site.bytes(ASN));
    assert!(site.has_news(ASN));
    let outcomes = both();
    assert!(outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Installed(_))), "{outcomes:?}");
    assert_eq!((fs::read(&path).expect("an index") == sound, site.serial()), (true, serial + 1));
    let open = site.open();
    assert_eq!((asn(&open, "8.8.8.8"), open.has_overlay()), (Some(15169), true));
    // The worker compares rows again.
    assert_ne!(open.answering(), told);
    assert!(!site.store.has_news(&site.source, &editions(), &site.store.manifest().expect("a manifest")));
}

#[test]
fn a_symbolic_link_counts_as_the_file_it_names() {
    let site = Site::new("store_link");
    for (name, number) in [("a.mmdb", 1), ("b.mmdb", 2)] {
        let target = site.source.join(name);
        asn_file(number, 0).write(&target).expect("written");
        age(&target);
        let _ = fs::remove_file(site.file(ASN));
        std::os::unix::fs::symlink(&target, site.file(ASN)).expect("a link");
        assert!(site.has_news(ASN));
        site.installed(ASN);
        assert_eq!(asn(&site.open(), "8.8.8.8"), Some(number));
    }
}

#[test]
fn remains_of_a_killed_import_are_removed() {
    let site = Site::small("store_litter");
    let disk = site.on_disk();
    for litter in ["tmp-1", "tmp-4194304", "GeoLite2-ASN-0123456789abcdef"] {
        let litter = site.generations().join(litter);
        fs::create_dir(&litter).expect("a directory");
        fs::write(litter.join("database.mmdb"), "half").expect("a file");
    }
    // Of this very process's number, too: numbers come back.
    let own = site.generations().join(format!("tmp-{}", std::process::id()));
    fs::create_dir(&own).expect("a directory");
    fs::write(own.join("database.mmdb"), "half").expect("a file");
    site.put(ASN, fixtures::small_asn(2));
    site.installed(ASN);
    let left = site.on_disk();
    assert!(left.iter().all(|name| !name.starts_with("tmp-")), "{left:?}");
    assert_eq!(left.len(), disk.len() + 1);
    // Without news, the next import sweeps as well.
    fs::create_dir(site.generations().join("tmp-7")).expect("a directory");
    assert_eq!(site.import(ASN), Outcome::Unchanged);
    assert_eq!(site.on_disk(), left);
}

#[test]
fn a_second_importer_is_refused() {
    let site = Site::small("store_busy");
    let lock = File::options().append(true).open(site.root.join("import.lock")).expect("the lock's file");
    lock.lock().expect("the lock");
    site.put(ASN, fixtures::small_asn(2));
    let serial = site.serial();
    let told = site.store.import(&site.source, &editions(), false, &|| ());
    assert!(matches!(told, Err(StoreError::Busy)), "{told:?}");
    assert_eq!(site.serial(), serial);
    // Look-ups never wait for an importer.
    assert_eq!(asn(&site.open(), "8.8.8.8"), Some(15169));
    drop(lock);
    site.installed(ASN);
}

#[test]
fn a_manifest_that_cannot_be_read_is_named() {
    let site = Site::small("store_bad_manifest");
    let manifest = site.store.manifest_path();
    let sound = fs::read(&manifest).expect("a manifest");
    for bad in [&b""[..], b"{", b"[]", b"\xff\xfe", &sound[..sound.len() / 2]] {
        fs::write(&manifest, bad).expect("written");
        let errors = [
            site.store.manifest().map(|_| ()),
            site.store.open(&editions()).map(|_| ()),
            site.store.import(&site.source, &editions(), false, &|| ()).map(|_| ()),
        ];
        for error in errors {
            let text = error.expect_err("an error").to_string();
            assert!(text.contains("current.json\": ") && !text.contains('\n'), "{text}");
        }
        // The existing files are not removed for it.
        assert_eq!(site.on_disk().len(), 2);
    }
    fs::write(&manifest, sound).expect("written");
    assert_eq!(asn(&site.open(), "8.8.8.8"), Some(15169));
}

#[test]
fn a_forced_import_sets_a_damaged_manifest_aside_and_loses_no_file() {
    let site = Site::small("store_damaged");
    let (manifest, broken) = (site.store.manifest_path(), site.root.join("current.json.broken"));
    let generations = site.on_disk();
    let import = |force| site.store.import(&site.source, &editions(), force, &|| ());
    let news = || site.store.has_news(&site.source, &editions(), &site.store.manifest().expect("a manifest"));
    // Of one edition the operator's file is gone, and the generation is the only copy.
    fs::remove_file(site.source.join(format!("{CITY}.mmdb"))).expect("removed");
    for damaged in [&b"{"[..], b""] {
        fs::write(&manifest, damaged).expect("written");
        assert!(matches!(import(false), Err(StoreError::Damaged { .. })));
        assert!(!broken.exists() || fs::read(&broken).expect("kept") != damaged);
        let outcomes = import(true).expect("an import").outcomes;
        assert!(outcomes.iter().all(|(_, outcome)| matches!(outcome, Outcome::Installed(_))), "{outcomes:?}");
        assert_eq!(fs::read(&broken).expect("kept"), damaged);
        assert_eq!(site.on_disk(), generations);
        assert_eq!(asn(&site.open(), "8.8.8.8"), Some(15169));
        assert!(!news());
    }
    // A file that comes back is looked at again, and is the same.
    let copy = fs::read(site.current(CITY).join("database.mmdb")).expect("a copy");
    fs::write(site.source.join(format!("{CITY}.mmdb")), copy).expect("written");
    assert!(news());

    // What cannot be read for another reason is not damaged, and stays.
    fs::remove_file(&manifest).expect("removed");
    std::os::unix::fs::symlink("current.json", &manifest).expect("a loop");
    assert!(matches!(import(true), Err(StoreError::Io { .. })));
    assert!(fs::symlink_metadata(&manifest).expect("there").is_symlink());
    // A directory in its place is.
    fs::remove_file(&manifest).expect("removed");
    fs::remove_file(&broken).expect("removed");
    fs::create_dir(&manifest).expect("a directory");
    import(true).expect("an import");
    assert!(broken.is_dir() && manifest.is_file());
}

#[test]
fn a_store_that_cannot_be_written_is_an_error_that_names_it() {
    let site = Site::new("store_unwritable");
    site.put(ASN, asn_file(1, 0));
    fs::write(site.root.parent().expect("a parent"), "a file where a directory should be").expect("written");
    let error = site.store.import(&site.source, &editions(), false, &|| ()).expect_err("an error");
    assert!(error.to_string().contains("asn_inventory"), "{error}");
}

#[test]
fn only_the_servers_user_may_read_the_store() {
    let site = Site::small("store_modes");
    site.put(ASN, fixtures::small_asn(2));
    site.installed(ASN);
    for round in 0..2 {
        let mut seen = 0;
        let mut todo = vec![site.root.clone()];
        while let Some(path) = todo.pop() {
            let metadata = fs::metadata(&path).expect("a file");
            let wanted = if metadata.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(metadata.permissions().mode() & 0o777, wanted, "{}", path.display());
            if metadata.is_dir() {
                todo.extend(fs::read_dir(&path).expect("a directory").map(|e| e.expect("an entry").path()));
            }
            seen += 1;
        }
        // The root, the manifest, the lock, generations/ and three of them with two files each; later overlays/ and one.
        assert_eq!(seen, [4 + 3 * 3, 4 + 3 * 3 + 2][round]);
        unless_busy(|| site.store.import(&site.source, &editions(), false, &|| ())).expect("an import");
    }
}

#[test]
fn an_editions_name_cannot_leave_the_directories() {
    for name in ["../GeoLite2-ASN", "/etc/passwd", "a/../../b", "..", ".", ".x", "a\\b", "a\0", "a b", "é", ""] {
        assert!(Edition::new(name).is_err(), "{name:?}");
    }
    assert!(Edition::list("GeoLite2-ASN,../x").is_err());
    assert!(Edition::new(&"x".repeat(65)).is_err());
    // Names at the limit of the allowed form stay in their directory, also after the next import.
    let site = Site::new("store_names");
    for name in ["a..b", "tmp-asn", "-asn", &"asn".repeat(21)] {
        site.put(name, asn_file(1, 0));
        let info = site.installed(name);
        assert_eq!(site.generations().join(&info.directory).parent(), Some(site.generations().as_path()));
        assert_eq!(site.import(name), Outcome::Unchanged);
        let (_, databases, troubles) = site.store.open(&[edition(name)]).expect("a manifest");
        assert_eq!((troubles, asn(&databases, "8.8.8.8")), (vec![], Some(1)), "{name}");
    }
}

#[test]
fn several_stores_share_nothing() {
    let (one, two) = (Site::small("store_one"), Site::new("store_two"));
    let other = Store::new(two.root.clone());
    assert!(other.open(&editions()).expect("a manifest").1.is_empty());
    assert_eq!(asn(&one.open(), "8.8.8.8"), Some(15169));
}
