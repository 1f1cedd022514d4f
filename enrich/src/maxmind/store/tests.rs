use std::time::Duration;

use super::super::generation::INDEX;
use super::super::sample::{MOST_DOUBLINGS, Sample};
use super::super::tree::TreeError;
use super::*;

const NAME: &str = "GeoLite2-ASN";

/// An operator's directory, and a store.
struct Place {
    dir: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("operator")).unwrap();
        let store = Store::new(dir.path().join("store"));
        Place { dir, store }
    }

    /// With a file of AS 1 that is imported.
    fn filled() -> Place {
        let place = Place::new();
        place.put(&Sample::asn(1).file());
        place.installed();
        place
    }

    fn source(&self) -> PathBuf {
        self.dir.path().join("operator")
    }

    fn file(&self) -> PathBuf {
        self.source().join(format!("{NAME}.mmdb"))
    }

    /// Writes the operator's file, as if that was a minute ago.
    fn put(&self, bytes: &[u8]) {
        fs::write(self.file(), bytes).unwrap();
        let file = File::options().append(true).open(self.file()).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
    }

    fn import(&self) -> Imported {
        self.import_with(false, &|| ()).unwrap()
    }

    fn import_with(&self, force: bool, breathe: &dyn Fn()) -> Result<Imported, StoreError> {
        self.store.import(&self.source(), &[Edition::new(NAME).unwrap()], force, breathe)
    }

    /// A look between two pieces of work after which no index can be written.
    fn bars_the_index(&self) -> impl Fn() {
        let tmp = self.store.generations().join(format!("tmp-{}", std::process::id()));
        move || drop(fs::create_dir(tmp.join(INDEX)))
    }

    fn generations(&self) -> Vec<String> {
        let entries = fs::read_dir(self.store.generations()).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// An import that must change what answers.
    fn installed(&self) {
        let imported = self.import();
        assert!(imported.failures.is_empty(), "{imported:?}");
        assert!(matches!(&imported.outcomes[..], [(_, Outcome::Installed(_))]), "{imported:?}");
    }

    /// An import that must fail; with what.
    fn fails(&self) -> String {
        let imported = self.import();
        let [failure] = &imported.failures[..] else { panic!("{imported:?}") };
        assert!(imported.outcomes.is_empty() && !imported.changed, "{imported:?}");
        failure.to_string()
    }

    fn refused(&self) -> String {
        match self.import().outcomes.remove(0).1 {
            Outcome::Refused(refusal) => refusal.reason,
            other => panic!("{other:?}"),
        }
    }

    fn current(&self) -> PathBuf {
        let info = self.store.manifest().unwrap().editions[NAME].current.clone().unwrap();
        self.store.directory(&info)
    }

    /// A byte of the record that is kept is another one, so that it cannot be decoded, and the index is gone.
    fn spoil(&self) {
        self.spoil_record();
        fs::remove_file(self.current().join(INDEX)).unwrap();
    }

    fn spoil_record(&self) {
        let path = self.current().join(DATABASE);
        let mut bytes = fs::read(&path).unwrap();
        spoil(&mut bytes);
        fs::write(path, bytes).unwrap();
    }

    fn has_news(&self) -> bool {
        let manifest = self.store.manifest().unwrap();
        self.store.has_news(&self.source(), &[Edition::new(NAME).unwrap()], &manifest)
    }

    fn asn(&self) -> Option<u32> {
        let (_, databases, troubles) = self.store.open(&[Edition::new(NAME).unwrap()]).unwrap();
        assert_eq!(troubles, []);
        databases.asn("8.8.8.8".parse().unwrap())
    }
}

/// The length of the record's first key is more than the file has.
fn spoil(bytes: &mut [u8]) {
    let key = b"autonomous_system_number";
    let at = bytes.windows(key.len()).position(|bytes| bytes == key).unwrap();
    bytes[at - 1] = 2 << 5 | 31;
}

#[test]
fn a_generation_that_cannot_be_indexed_is_imported_again_from_the_operators_file() {
    let place = Place::filled();
    place.spoil();
    assert!(place.has_news());
    place.installed();
    assert_eq!(place.asn(), Some(1));
    assert!(!place.has_news());
    // With an index in another language it can be opened still.
    let place = Place { store: place.store.clone().in_language(Language::new("de").unwrap()), ..place };
    place.spoil_record();
    assert!(place.has_news());
    place.installed();
    assert_eq!(place.asn(), Some(1));
    assert!(!place.has_news());
}

#[test]
fn a_generation_that_cannot_be_indexed_does_not_bar_new_files() {
    let place = Place::filled();
    place.spoil();
    fs::remove_file(place.file()).unwrap();
    let told = place.fails();
    assert!(told.contains(&place.current().display().to_string()), "{told}");
    // Each time anew: there is nothing that could take its place.
    assert_eq!(place.fails(), told);
    // Neither does a file that is refused, which is looked at once.
    let mut bytes = Sample::asn(2).file();
    spoil(&mut bytes);
    place.put(&bytes);
    place.refused();
    assert_eq!(place.fails(), told);
    place.put(&Sample { build_epoch: 2, ..Sample::asn(2) }.file());
    place.installed();
    assert_eq!(place.asn(), Some(2));
    assert!(!place.has_news());
}

#[test]
fn a_file_that_is_no_tree_is_refused_and_what_answered_goes_on() {
    let place = Place::filled();
    place.put(&Sample { build_epoch: 2, ..Sample::aliases(MOST_DOUBLINGS) }.file());
    assert_eq!(place.refused(), TreeError::Crowded.to_string());
    assert_eq!(place.asn(), Some(1));
    assert!(!place.has_news());
    // One that is in use already, from a version that did not look.
    fs::write(place.current().join(DATABASE), Sample::aliases(MOST_DOUBLINGS).file()).unwrap();
    fs::remove_file(place.current().join(INDEX)).unwrap();
    assert!(place.fails().ends_with(&TreeError::Crowded.to_string()));
}

#[test]
fn an_index_that_cannot_be_written_is_no_fault_of_the_file() {
    let place = Place::filled();
    place.put(&Sample { build_epoch: 2, ..Sample::asn(2) }.file());
    let (before, disk) = (place.store.manifest().unwrap(), place.generations());
    let imported = place.import_with(false, &place.bars_the_index()).unwrap();
    assert!(matches!(&imported.failures[..], [StoreError::Io { .. }]) && !imported.changed, "{imported:?}");
    assert_eq!((place.store.manifest().unwrap(), place.generations(), place.asn()), (before, disk, Some(1)));
    // The same file, when there is room.
    assert!(place.has_news());
    place.installed();
    assert_eq!(place.asn(), Some(2));
}

#[test]
fn a_missing_right_is_known_in_any_language() {
    for denial in [Errno::EACCES, Errno::EPERM] {
        assert!(is_denial(&io::Error::from(denial).to_string()));
    }
    assert!(is_denial("Keine Berechtigung (os error 13)"));
    for reason in ["Input/output error (os error 5)", "the database is empty", "x (os error 113)"] {
        assert!(!is_denial(reason), "{reason}");
    }
}

/// A bit that falls over in a file that can be opened still.
fn flip(path: &Path, word: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.windows(word.len()).rposition(|bytes| bytes == word).unwrap();
    bytes[at + word.len() - 1] ^= 2;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_copy_is_made_anew_when_the_file_is_put_again() {
    let place = Place::new();
    // A number that stands nowhere else.
    let file = Sample::asn(0x0102_0304).file();
    place.put(&file);
    place.installed();
    let names = || {
        let (_, databases, _) = place.store.open(&[Edition::new(NAME).unwrap()]).unwrap();
        databases.answering()
    };
    let (sound, whole) = (names(), place.generations());
    for (damaged, word) in [(INDEX, 0x0102_0304_u32.to_le_bytes()), (DATABASE, 0x0102_0304_u32.to_be_bytes())] {
        let path = place.current().join(damaged);
        let sound_bytes = fs::read(&path).unwrap();
        flip(&path, &word);
        let (before, told) = (place.store.manifest().unwrap(), names());
        place.put(&file);
        place.installed();
        let after = place.store.manifest().unwrap();
        let installed_at = |manifest: &Manifest| manifest.editions[NAME].current.as_ref().unwrap().installed_at;
        assert!(after.serial > before.serial && installed_at(&after) > installed_at(&before));
        assert_eq!((fs::read(&path).unwrap() == sound_bytes, place.asn()), (true, Some(0x0102_0304)), "{damaged}");
        assert_eq!(place.generations(), whole);
        // Rows have answers of the damaged one: they are looked at again.
        assert_ne!(names(), told);
        assert!(!place.has_news());
    }
    assert_ne!(names(), sound);
    // A sound one is left alone.
    let told = names();
    place.put(&file);
    assert!(matches!(&place.import().outcomes[..], [(_, Outcome::Unchanged)]));
    assert_eq!(names(), told);
}

#[test]
fn what_other_processes_left_does_not_stop_a_forced_import() {
    let place = Place::filled();
    fs::write(place.store.manifest_path(), "{").unwrap();
    for pid in [std::process::id(), 1] {
        let litter = place.store.generations().join(format!("tmp-{pid}"));
        fs::create_dir(&litter).unwrap();
        fs::write(litter.join(DATABASE), "half").unwrap();
    }
    let earlier = place.store.root().join("current.json.tmp");
    fs::write(&earlier, "{").unwrap();
    let imported = place.import_with(true, &|| ()).unwrap();
    assert!(matches!(&imported.outcomes[..], [(_, Outcome::Installed(_))]), "{imported:?}");
    assert_eq!((place.generations().len(), place.asn(), earlier.exists()), (1, Some(1), false));
}

#[test]
fn a_damaged_manifest_stays_until_the_new_one_is_written() {
    let place = Place::filled();
    fs::remove_file(place.file()).unwrap();
    fs::write(place.store.manifest_path(), "{").unwrap();
    let disk = place.generations();
    // In the way of the new manifest.
    let draft = place.store.root().join("current.tmp");
    fs::create_dir(&draft).unwrap();
    for _ in 0..2 {
        assert!(matches!(place.import_with(true, &|| ()), Err(StoreError::Io { .. })));
        assert!(matches!(place.store.manifest(), Err(StoreError::Damaged { .. })));
        assert_eq!(place.generations(), disk, "the only copy");
    }
    fs::remove_dir(&draft).unwrap();
    place.import_with(true, &|| ()).unwrap();
    assert_eq!(place.asn(), Some(1));
    assert_eq!(fs::read(place.store.root().join(BROKEN)).unwrap(), b"{");
}

#[test]
fn nothing_is_left_of_an_import_or_of_an_index_that_was_stopped() {
    let place = Place::filled();
    let files = |dir: &Path| fs::read_dir(dir).unwrap().count();
    fs::remove_file(place.current().join(INDEX)).unwrap();
    let stopped = || {
        let breaths = std::cell::Cell::new(0);
        let breathe = || {
            breaths.set(breaths.get() + 1);
            assert!(!place.current().join(format!("{INDEX}.tmp")).exists(), "told to stop");
        };
        place.import_with(false, &breathe)
    };
    let left = std::panic::catch_unwind(std::panic::AssertUnwindSafe(stopped));
    assert!(left.is_err(), "it was not stopped in the middle");
    assert_eq!(files(&place.current()), 1, "the database alone");
    place.installed();
    assert_eq!((files(&place.current()), place.asn()), (2, Some(1)));
}

#[test]
fn a_build_time_beyond_all_dates_keeps_no_file_out() {
    let place = Place::new();
    for (asn, build_epoch) in [(1, 10_000_000_000_000), (2, 1 << 62), (3, i64::MAX as u64), (4, 1)] {
        place.put(&Sample { build_epoch, ..Sample::asn(asn) }.file());
        place.installed();
        assert_eq!(place.asn(), Some(asn));
    }
}
