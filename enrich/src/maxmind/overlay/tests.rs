use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use super::*;
use crate::maxmind::edition::Edition;
use crate::maxmind::sample::Sample;
use crate::maxmind::store::{Imported, Outcome, Store};

/// Two files that answer the same address, and their store.
struct Place {
    dir: tempfile::TempDir,
    store: Store,
    editions: Vec<Edition>,
}

impl Place {
    fn filled() -> Place {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("operator")).unwrap();
        let store = Store::new(dir.path().join("store"));
        let place = Place { dir, store, editions: Edition::list("first,second").unwrap() };
        place.put("first", 1);
        place.put("second", 2);
        assert_eq!(place.import().outcomes.len(), 2);
        place
    }

    /// Writes the operator's file, as if that was a minute ago.
    fn put(&self, edition: &str, asn: u32) {
        let path = self.dir.path().join("operator").join(format!("{edition}.mmdb"));
        fs::write(&path, Sample::asn(asn).file()).unwrap();
        let file = File::options().append(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
    }

    fn import(&self) -> Imported {
        let imported = self.store.import(&self.dir.path().join("operator"), &self.editions, false, &|| ()).unwrap();
        assert!(imported.failures.is_empty(), "{imported:?}");
        imported
    }

    /// The path of the one overlay.
    fn overlay(&self) -> PathBuf {
        let mut entries = fs::read_dir(self.store.root().join(OVERLAYS)).unwrap();
        let path = entries.next().unwrap().unwrap().path();
        assert!(entries.next().is_none(), "others are removed");
        path
    }

    /// The AS of an address by the overlay, and what tells the files apart.
    fn answers(&self) -> (Option<u32>, String) {
        let (_, databases, troubles) = self.store.open(&self.editions).unwrap();
        assert!(troubles.is_empty() && databases.has_overlay());
        let answer = databases.answer("8.8.8.8".parse().unwrap());
        (answer.origin.and_then(|origin| origin.asn), databases.answering())
    }

    fn has_news(&self) -> bool {
        self.store.has_news(&self.dir.path().join("operator"), &self.editions, &self.store.manifest().unwrap())
    }
}

#[test]
fn a_damaged_overlay_is_made_anew_when_the_files_are_put_again() {
    let place = Place::filled();
    let (sound, path) = (fs::read(place.overlay()).unwrap(), place.overlay());
    // The first edition has nothing there any more. A bucket has one start, padding, and two words.
    let mut damaged = sound.clone();
    let word = HEADER + (BUCKETS + 1) * 4 + 0x0808 * 12 + 4;
    damaged[word..word + 4].fill(0);
    fs::write(&path, &damaged).unwrap();
    let (wrong, told) = place.answers();
    assert_eq!((wrong, place.has_news()), (Some(2), false));
    // A new file of one edition alone, of the same content.
    place.put("second", 2);
    let imported = place.import();
    let installed = imported.outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Installed(_))).count();
    assert_eq!((installed, imported.changed), (2, true));
    let (right, now) = place.answers();
    assert_eq!((right, fs::read(place.overlay()).unwrap() == sound), (Some(1), true));
    // Rows have answers of the damaged one: they are looked at again.
    assert_ne!(now, told);
    assert!(!place.has_news());
    // A sound one is left alone.
    place.put("second", 2);
    assert!(place.import().outcomes.iter().all(|(_, outcome)| *outcome == Outcome::Unchanged));
    assert_eq!(place.answers(), (Some(1), now));
}

#[test]
fn an_overlay_that_could_not_be_compared_is_compared_with_the_next_import() {
    let place = Place::filled();
    let sound = fs::read(place.overlay()).unwrap();
    let word = HEADER + (BUCKETS + 1) * 4 + 0x0808 * 12 + 4;
    let mut damaged = sound.clone();
    damaged[word..word + 4].fill(0);
    fs::write(place.overlay(), &damaged).unwrap();
    place.put("second", 2);
    // Nothing can be written there.
    let draft = place.store.root().join(OVERLAYS).join("draft");
    fs::create_dir(&draft).unwrap();
    let serial = place.store.manifest().unwrap().serial;
    for _ in 0..2 {
        let imported = place.store.import(&place.dir.path().join("operator"), &place.editions, false, &|| ()).unwrap();
        assert_eq!((imported.failures.len(), imported.changed), (1, false));
        assert!(place.has_news());
    }
    assert_eq!(place.store.manifest().unwrap().serial, serial);
    fs::remove_dir(draft).unwrap();
    place.import();
    assert_eq!((place.answers().0, fs::read(place.overlay()).unwrap() == sound), (Some(1), true));
    assert!(!place.has_news());
}
