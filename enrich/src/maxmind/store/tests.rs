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
        self.store.import(&self.source(), &[Edition::new(NAME).unwrap()], false, &|| ()).unwrap()
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
