use std::time::{Duration, SystemTime};

use super::files::DRAFT;
use super::source::parse;
use super::*;
use crate::lists::{ListFlags, Room, Unread};

struct Place {
    dir: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("lists")).unwrap();
        let store = Store::new(dir.path().join("store"));
        Place { dir, store }
    }

    fn lists(&self) -> PathBuf {
        self.dir.path().join("lists")
    }

    /// Writes a file that is old enough to be taken.
    fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        self.put_at(name, content, SystemTime::now() - Duration::from_secs(60));
    }

    fn put_at(&self, name: &str, content: impl AsRef<[u8]>, modified: SystemTime) {
        let path = self.lists().join(name);
        fs::write(&path, content).unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    }

    fn import(&self) -> Imported {
        let manifest = self.store.manifest().unwrap_or_default();
        let news = self.store.has_news(&self.lists(), &manifest);
        let imported = self.store.import(&self.lists(), &|| ()).unwrap();
        assert!(news || !imported.changed, "a change that a look did not see");
        imported
    }

    fn names(&self, ip: &str) -> Option<Vec<String>> {
        let (_, lists) = self.store.open().unwrap();
        let holders = lists.find(ip.parse().unwrap())?;
        Some(lists.names(holders).into_iter().map(str::to_owned).collect())
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.store.files()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn state(&self, list: &str) -> ListState {
        self.store.manifest().unwrap().lists[list].clone()
    }
}

#[test]
fn an_address_has_the_flags_of_all_its_lists() {
    let place = Place::new();
    place.put("cloud.txt", "1.1.1.0/24\n2002:909:909::/48\n");
    place.put("six.txt", "2002:909:909::/64\n");
    place.put("tor.txt", "1.1.1.1\n9.9.9.9\n");
    place.import();
    let open = |flags: &str| place.store.open().unwrap().1.meaning(&ListFlags::parse(flags).unwrap());
    let plain = open("");
    let lists = open("tor=tor, cloud=hosting, gone=vpn, cloud=anycast");
    for (ip, flags, names) in [
        ("1.1.1.1", "tor hosting anycast", 2),
        ("1.1.1.2", "hosting anycast", 1),
        ("1.1.2.1", "", 0),
        ("9.9.9.9", "tor", 1),
        // It stands for 9.9.9.9.
        ("2002:909:909::1", "tor hosting anycast", 3),
        ("2002:909:909:1::1", "tor hosting anycast", 2),
        ("::1", "", 0),
    ] {
        let held = |lists: &Lists| {
            let held = lists.held(ip.parse().unwrap());
            (held.flags().names().collect::<Vec<_>>().join(" "), held.names().len())
        };
        assert_eq!(held(&lists), (flags.to_owned(), names), "{ip}");
        assert_eq!(held(&plain), (String::new(), names), "{ip}");
    }
    // Lists that say nothing else of any address have the same name.
    assert_eq!(lists.name(), format!("{} cloud=hosting+anycast tor=tor", plain.name()));
    assert_eq!(open("gone=vpn").name(), plain.name());
    assert_eq!(Lists::default().meaning(&ListFlags::parse("tor=tor").unwrap()).name(), "");
}

#[test]
fn files_become_lists_and_go_with_their_files() {
    let place = Place::new();
    assert!(!place.store.has_news(&place.lists(), &Manifest::default()));
    assert_eq!(place.names("1.1.1.1"), None);
    place.put("tor.txt", "1.1.1.1\n");
    place.put("aws.json", r#"["1.1.1.0/24"]"#);
    let imported = place.import();
    assert!(imported.changed && imported.outcomes.iter().all(|(_, outcome)| matches!(outcome, Outcome::Installed(_))));
    assert_eq!(place.names("1.1.1.1").unwrap(), ["aws", "tor"]);
    assert_eq!(place.names("2.2.2.2").unwrap(), [""; 0]);
    // Nothing new: the same files.
    let imported = place.import();
    assert!(!imported.changed && imported.outcomes.is_empty());
    fs::remove_file(place.lists().join("tor.txt")).unwrap();
    assert_eq!(place.import().outcomes, [("tor".to_owned(), Outcome::Removed)]);
    assert_eq!(place.names("1.1.1.1").unwrap(), ["aws"]);
    fs::remove_file(place.lists().join("aws.json")).unwrap();
    place.import();
    assert_eq!(place.names("1.1.1.1"), None);
    assert_eq!(fs::read_dir(place.store.files()).unwrap().count(), 0, "no file is left");
}

#[test]
fn a_refused_file_leaves_its_entries_of_before() {
    let place = Place::new();
    place.put("tor.txt", "1.1.1.1\n");
    place.put("b.txt", "<html>");
    place.import();
    assert_eq!(place.names("1.1.1.1").unwrap(), ["tor"]);
    assert!(place.state("b").current.is_none() && place.state("b").refused.is_some());
    place.put("tor.txt", "<html>sorry</html>\n");
    let outcomes = place.import().outcomes;
    assert!(
        matches!(&outcomes[..], [(name, Outcome::Refused(refusal))] if name == "tor" && refusal.reason.contains("line 1"))
    );
    assert_eq!(place.names("1.1.1.1").unwrap(), ["tor"]);
    assert!(!place.import().changed, "it is not read again");
    // Another list changes: the index is built of the entries of before.
    place.put("b.txt", "1.1.1.1\n");
    place.import();
    assert_eq!(place.names("1.1.1.1").unwrap(), ["b", "tor"]);
    place.put("tor.txt", "2.2.2.2\n");
    place.import();
    assert_eq!(place.names("1.1.1.1").unwrap(), ["b"]);
    assert_eq!(place.state("tor").refused, None);
}

#[test]
fn a_file_that_was_just_written_is_looked_at_later() {
    let place = Place::new();
    place.put_at("tor.txt", "1.1.1.1\n", SystemTime::now() + Duration::from_secs(0));
    assert!(place.store.has_news(&place.lists(), &Manifest::default()));
    assert!(!place.import().changed);
    assert_eq!(place.names("1.1.1.1"), None);
    assert!(place.store.has_news(&place.lists(), &Manifest::default()), "it is still to be looked at");
    place.put("tor.txt", "1.1.1.1\n");
    place.import();
    assert_eq!(place.names("1.1.1.1").unwrap(), ["tor"]);
    // Nor are the copies of others read for it. Where it has rested before the import looks, once more.
    let reads = std::cell::Cell::new(0);
    let import = || {
        reads.set(0);
        place.put_at("b.txt", "2.2.2.2\n", SystemTime::now());
        place.store.import(&place.lists(), &|| reads.set(reads.get() + 1)).unwrap().changed
    };
    while import() {}
    assert_eq!(reads.get(), 0);
    place.put("c.txt", "1.1.1.1\n");
    assert!(import() && reads.get() > 0);
    assert_eq!(place.names("1.1.1.1").unwrap(), ["c", "tor"]);
}

#[test]
fn a_copy_that_the_disk_cannot_give_is_an_error_and_not_lost() {
    let place = Place::new();
    place.put("tor.txt", "1.1.1.1\n");
    place.import();
    let whole = |file: &str| place.store.is_whole(file, &|| ());
    let ranges = place.state("tor").current.unwrap().ranges;
    assert!(whole(&ranges).unwrap());
    // Its first page cannot be read by anybody.
    std::os::unix::fs::symlink("/proc/self/mem", place.store.files().join("bad")).unwrap();
    assert!(matches!(whole("bad"), Err(StoreError::Io { .. })));
    assert!(!whole("none").unwrap());
    File::options().write(true).open(place.store.files().join(&ranges)).unwrap().set_len(0).unwrap();
    assert!(!whole(&ranges).unwrap());
}

#[test]
fn the_same_content_again_changes_no_answer() {
    let place = Place::new();
    place.put("tor.txt", "1.1.1.1\n");
    place.import();
    let before = place.store.manifest().unwrap();
    place.put("tor.txt", "# another date\n1.1.1.1\n");
    let imported = place.import();
    let after = place.store.manifest().unwrap();
    assert!(imported.changed && imported.outcomes.is_empty());
    assert_eq!(after.index, before.index);
    assert_eq!(
        after.lists["tor"].current.as_ref().map(|info| info.installed_at),
        before.lists["tor"].current.as_ref().map(|info| info.installed_at)
    );
}

#[test]
fn a_list_knows_the_entries_before_it_by_name() {
    let place = Place::new();
    let names = |content: &str| {
        place.put("tor.txt", content);
        place.import();
        place.state("tor").current.map(|info| (info.ranges, info.previous)).unwrap()
    };
    let first = names("1.1.1.1\n");
    assert_eq!(first.1, None);
    let second = names("2.2.2.2\n");
    assert_eq!(second.1, Some(first.0));
    assert_eq!(names("# another date\n2.2.2.2\n"), second);
}

#[test]
fn a_directory_that_is_gone_leaves_all_lists() {
    let place = Place::new();
    place.put("tor.txt", "1.1.1.1\n");
    place.import();
    let away = place.dir.path().join("away");
    fs::rename(place.lists(), &away).unwrap();
    assert!(!place.store.has_news(&place.lists(), &place.store.manifest().unwrap()));
    assert!(matches!(place.store.import(&place.lists(), &|| ()), Err(StoreError::Io { .. })));
    assert_eq!(place.names("1.1.1.1").unwrap(), ["tor"]);
    assert!(matches!(place.store.import(&place.store.files(), &|| ()), Err(StoreError::Io { .. })), "its own files");
}

#[test]
fn what_is_lost_or_damaged_is_made_again() {
    let place = Place::new();
    place.put("tor.txt", "1.1.1.1\n");
    place.put("b.txt", "1.1.0.0/16\n");
    place.import();
    let manifest = place.store.manifest().unwrap();
    let index = place.store.files().join(&manifest.index.as_ref().unwrap().file);
    let ranges = place.store.files().join(&manifest.lists["tor"].current.as_ref().unwrap().ranges);
    fs::write(&index, "oops").unwrap();
    place.import();
    assert_eq!(place.names("1.1.1.1").unwrap(), ["b", "tor"]);
    fs::remove_file(&ranges).unwrap();
    fs::remove_file(place.store.files().join(&place.store.manifest().unwrap().index.unwrap().file)).unwrap();
    place.import();
    assert_eq!(place.names("1.1.1.1").unwrap(), ["b", "tor"]);
    fs::write(&ranges, "oops").unwrap();
    place.put("c.txt", "1.1.1.0/24\n");
    place.import();
    assert_eq!(place.names("1.1.1.1").unwrap(), ["b", "c", "tor"]);
    fs::write(place.store.manifest_path(), "{").unwrap();
    assert!(place.store.open().is_err());
    place.import();
    assert_eq!(place.names("1.1.1.1").unwrap(), ["b", "c", "tor"]);
    assert!(place.store.root.join(BROKEN).exists());
}

#[test]
fn a_list_that_is_lost_for_good_does_not_bar_the_others() {
    let place = Place::new();
    place.put("tor.txt", "1.1.1.1\n");
    place.put("b.txt", "1.1.0.0/16\n");
    place.import();
    let ranges = |list| place.store.files().join(place.state(list).current.unwrap().ranges);
    // Its file is refused: as long as the index is whole, the entries of before are in it.
    fs::write(ranges("tor"), "oops").unwrap();
    place.put("tor.txt", "<html>");
    assert!(matches!(&place.import().outcomes[..], [(name, Outcome::Refused(_))] if name == "tor"));
    assert_eq!(place.names("1.1.1.1").unwrap(), ["b", "tor"]);
    assert!(!place.import().changed);
    place.put("c.txt", "1.1.1.0/24\n");
    let outcomes = place.import().outcomes;
    assert!(
        matches!(&outcomes[..], [(c, Outcome::Installed(_)), (tor, Outcome::Lost)] if c == "c" && tor == "tor"),
        "{outcomes:?}"
    );
    assert_eq!(place.names("1.1.1.1").unwrap(), ["b", "c"]);
    assert!(place.state("tor").current.is_none() && place.state("tor").refused.is_some());
    assert!(!place.import().changed, "it is not read again");
    // Its file is being written: it is a new list then.
    fs::remove_file(ranges("b")).unwrap();
    place.put_at("b.txt", "2.2.2.2\n", SystemTime::now());
    place.put("c.txt", "1.1.0.0/16\n");
    assert!(place.import().outcomes.iter().any(|(name, outcome)| name == "b" && *outcome == Outcome::Lost));
    assert_eq!(place.names("1.1.1.1").unwrap(), ["c"]);
    // Good files bring both back, and without any list that answers there is no index.
    place.put("b.txt", "1.1.1.1\n");
    place.put("tor.txt", "1.1.1.1\n");
    place.import();
    assert_eq!(place.names("1.1.1.1").unwrap(), ["b", "c", "tor"]);
    for list in ["b", "c", "tor"] {
        fs::remove_file(ranges(list)).unwrap();
        place.put(&format!("{list}.txt"), "<html>");
    }
    fs::remove_file(place.store.files().join(place.store.manifest().unwrap().index.unwrap().file)).unwrap();
    place.import();
    assert_eq!(place.names("1.1.1.1"), None);
}

#[test]
fn an_import_that_is_left_changes_nothing() {
    let place = Place::new();
    place.put("tor.txt", "1.1.1.1\n");
    place.import();
    place.put("tor.txt", "2.2.2.2\n".repeat(10_000));
    let left = std::panic::catch_unwind(|| place.store.import(&place.lists(), &|| panic!("told to stop")));
    assert!(left.is_err());
    assert_eq!(place.names("1.1.1.1").unwrap(), ["tor"]);
    place.import();
    assert_eq!(place.names("2.2.2.2").unwrap(), ["tor"]);
}

#[test]
fn one_process_imports_at_a_time() {
    let place = Place::new();
    let _lock = place.store.lock().unwrap();
    assert!(matches!(place.store.import(&place.lists(), &|| ()), Err(StoreError::Busy)));
}

#[test]
fn an_import_that_fails_or_is_stopped_leaves_no_file() {
    let place = Place::new();
    place.put("tor.txt", "1.1.1.1\n");
    place.import();
    let before = place.files();
    place.put("b.txt", "2.2.2.0/24\n");
    // The ranges of the new list are there, and then the index cannot be written.
    let draft = place.store.files().join(DRAFT);
    let is_made = || place.files().iter().any(|name| name.starts_with("b-"));
    let bar = || {
        if is_made() {
            drop(fs::create_dir(&draft))
        }
    };
    // Borders enough for a look in the middle of the index.
    place.put("c.txt", (0..40_000).map(|n| format!("10.{}.{}.1\n", n >> 8 & 255, n & 255)).collect::<String>());
    assert!(matches!(place.store.import(&place.lists(), &bar), Err(StoreError::Io { .. })));
    let _ = fs::remove_dir(&draft);
    assert_eq!(place.files().len(), before.len(), "{:?}", place.files());
    let stop = || assert!(!is_made(), "told to stop");
    let left = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| place.store.import(&place.lists(), &stop)));
    assert!(left.is_err());
    assert_eq!(place.files().len(), before.len(), "{:?}", place.files());
    assert_eq!(place.names("1.1.1.1").unwrap(), ["tor"]);
    place.import();
    assert_eq!(place.names("2.2.2.2").unwrap(), ["b"]);
}

#[test]
fn a_list_that_had_too_little_room_is_looked_at_again_when_there_is_more() {
    let place = Place::new();
    place.put("a.txt", "1.1.1.1\n");
    place.put("b.txt", "2.2.2.2\n3.3.3.3\n");
    place.import();
    // As if the other list had nearly all entries.
    let mut manifest = place.store.manifest().unwrap();
    let nearly_all = |manifest: &mut Manifest, entries| {
        manifest.lists.get_mut("a").unwrap().current.as_mut().unwrap().entries = [entries, 0];
        fs::write(place.store.manifest_path(), serde_json::to_vec(manifest).unwrap()).unwrap();
    };
    nearly_all(&mut manifest, 20_000_000 - 1);
    place.put("b.txt", "4.4.4.4\n5.5.5.5\n");
    let outcomes = place.import().outcomes;
    assert!(
        matches!(&outcomes[..], [(b, Outcome::Refused(why))] if b == "b" && why.reason.starts_with("more than 1 entries")),
        "{outcomes:?}"
    );
    let news = || place.store.has_news(&place.lists(), &place.store.manifest().unwrap());
    assert!(!news() && !place.import().changed);
    // Less room still.
    nearly_all(&mut place.store.manifest().unwrap(), 20_000_000);
    assert!(!news());
    fs::remove_file(place.lists().join("a.txt")).unwrap();
    place.import();
    if news() {
        place.import();
    }
    assert_eq!(place.names("4.4.4.4").unwrap(), ["b"]);
    assert_eq!((place.state("b").refused, news()), (None, false));
}

#[test]
fn a_file_that_cannot_be_read_stops_no_other_list_and_is_not_refused() {
    let place = Place::new();
    place.put("tor.txt", "1.1.1.1\n");
    place.import();
    let read = parse(
        Path::new("/proc/self/mem"),
        &Signature::of(Path::new("/proc/self/mem")).unwrap().unwrap(),
        Room::default(),
        &|| (),
    );
    assert!(matches!(read, Err(Unread::Io(_))), "{read:?}");
    // Its first page cannot be read by anybody.
    fs::remove_file(place.lists().join("tor.txt")).unwrap();
    std::os::unix::fs::symlink("/proc/self/mem", place.lists().join("tor.txt")).unwrap();
    place.put("b.txt", "2.2.2.2\n");
    // It is of now, and is left alone until it has rested.
    let began = std::time::Instant::now();
    let imported = loop {
        let imported = place.store.import(&place.lists(), &|| ()).unwrap();
        if !imported.failures.is_empty() {
            break imported;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{imported:?}");
        std::thread::sleep(Duration::from_millis(20));
    };
    let failures: Vec<String> = imported.failures.iter().map(ToString::to_string).collect();
    assert!(matches!(&failures[..], [one] if one.starts_with("\"tor.txt\": ")), "{failures:?}");
    assert_eq!(
        (place.names("1.1.1.1").unwrap(), place.names("2.2.2.2").unwrap()),
        (vec!["tor".to_owned()], vec!["b".to_owned()])
    );
    assert_eq!(place.state("tor").refused, None);
    let manifest = place.store.manifest().unwrap();
    assert!(place.store.has_news(&place.lists(), &manifest), "it is tried again");
    assert!(!place.store.import(&place.lists(), &|| ()).unwrap().changed);
    fs::remove_file(place.lists().join("tor.txt")).unwrap();
    place.put("tor.txt", "3.3.3.3\n");
    place.import();
    assert_eq!(place.names("3.3.3.3").unwrap(), ["tor"]);
}

#[test]
fn a_damaged_manifest_stays_until_the_new_one_is_written() {
    let place = Place::new();
    place.put("tor.txt", "1.1.1.1\n");
    place.import();
    let before = place.files();
    fs::write(place.store.manifest_path(), "{").unwrap();
    let draft = place.store.manifest_path().with_extension("tmp");
    fs::create_dir(&draft).unwrap();
    assert!(matches!(place.store.import(&place.lists(), &|| ()), Err(StoreError::Io { .. })));
    assert!(matches!(place.store.manifest(), Err(StoreError::Damaged { .. })));
    assert_eq!(place.files().len(), before.len());
    fs::remove_dir(&draft).unwrap();
    place.import();
    assert_eq!(place.names("1.1.1.1").unwrap(), ["tor"]);
}

#[test]
fn a_directory_in_the_place_of_the_manifest_is_set_aside() {
    let place = Place::new();
    place.put("tor.txt", "1.1.1.1\n");
    place.import();
    fs::remove_file(place.store.manifest_path()).unwrap();
    fs::create_dir(place.store.manifest_path()).unwrap();
    assert!(matches!(place.store.manifest(), Err(StoreError::Damaged { .. })));
    place.import();
    assert_eq!(place.names("1.1.1.1").unwrap(), ["tor"]);
}

#[test]
fn copies_with_damaged_bytes_are_made_anew_when_any_list_is_imported_and_rows_are_compared_again() {
    let place = Place::new();
    place.put("tor.txt", "1.1.1.1\n");
    place.put("b.txt", "1.1.0.0/16\n");
    place.import();
    let manifest = || place.store.manifest().unwrap();
    let index = || place.store.files().join(&manifest().index.unwrap().file);
    let label = || place.store.open().unwrap().1.name().to_owned();
    // The last bytes: the end of the ranges; that of the last name. Both can be opened still.
    let damage = |file: &Path| {
        let mut bytes = fs::read(file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(file, bytes).unwrap();
    };
    let whole = label();
    let ranges = place.store.files().join(&manifest().lists["tor"].current.as_ref().unwrap().ranges);
    let kept = fs::read(&ranges).unwrap();
    damage(&ranges);
    damage(&index());
    assert_eq!(place.names("1.1.1.1").unwrap(), ["b", "tos"]);
    // The same file again, of another list.
    place.put_at("b.txt", "1.1.0.0/16\n", SystemTime::now() - Duration::from_secs(50));
    assert!(place.import().changed);
    assert_eq!((place.names("1.1.1.1").unwrap(), fs::read(&ranges).unwrap()), (vec!["b".into(), "tor".into()], kept));
    assert_eq!(label(), format!("{whole}+1"));
    assert!(!place.import().changed);
    // One that could not be opened has answered nothing.
    fs::write(index(), "oops").unwrap();
    place.import();
    assert_eq!(label(), format!("{whole}+1"));
    // Damaged ranges get into no index.
    damage(&ranges);
    place.put("c.txt", "1.1.1.0/24\n");
    place.import();
    assert_eq!(place.names("1.1.1.1").unwrap(), ["b", "c", "tor"]);
    // Nor where their file is refused.
    place.put("tor.txt", "<html>");
    damage(&ranges);
    place.import();
    place.put("c.txt", "1.1.0.0/16\n");
    assert!(place.import().outcomes.contains(&("tor".to_owned(), Outcome::Lost)));
    assert_eq!(place.names("1.1.1.1").unwrap(), ["b", "c"]);
}
