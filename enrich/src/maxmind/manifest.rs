//! The manifest: which generation of each edition is in use, and the refused files. Plain data, kept as JSON.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::edition::{Edition, Kind};
use super::index::VERSION;
use super::role::{Fields, Holds, Role};
use crate::text::{MAX_TEXT, clean};

/// A file written less than this ago may still be growing: it is looked at again on the next round.
const SETTLED: Duration = Duration::from_secs(1);

/// The latest build time that is told, in Unix seconds, in the year 9999: PostgreSQL has no date for whatever stands in a
/// file.
const LATEST_BUILD: u64 = 253_370_764_800;

/// How far a build time may be ahead of this server's clock, in seconds.
const BUILT_AHEAD: i64 = 86_400;

/// Longest reason for a refusal, in bytes.
pub(crate) const MAX_REASON: usize = 400;

/// Which generations answer. Kept as JSON so that an operator can read it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Grows with every change: two manifests of one serial are the same.
    pub serial: u64,
    /// By edition's name.
    pub editions: BTreeMap<String, EditionState>,
    /// The list of editions in use, as the last importer had it.
    #[serde(default)]
    pub listed: Option<Listed>,
}

/// The list of editions in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its entries, in order of preference.
    pub editions: Vec<String>,
    /// Unix microseconds: since then, by this list, the files that answer do. Answers from before it are stale; 0: no
    /// change of the list is known.
    pub since: i64,
}

impl Listed {
    /// Whether it is this list.
    pub(super) fn is(&self, editions: &[Edition]) -> bool {
        self.editions.iter().map(String::as_str).eq(editions.iter().map(Edition::spelled))
    }

    fn parsed(&self) -> Vec<Edition> {
        self.editions.iter().filter_map(|entry| Edition::entry(entry).ok()).collect()
    }
}

impl Manifest {
    /// Takes note of the list of editions in use. False: it is the one that was noted.
    pub(super) fn note_list(&mut self, editions: &[Edition]) -> bool {
        if self.listed.as_ref().is_some_and(|listed| listed.is(editions)) {
            return false;
        }
        let since = self.listed.as_ref().map_or(0, |before| {
            let same = self.answering(&before.parsed()) == self.answering(editions);
            if same { before.since } else { now_us() }
        });
        let editions = editions.iter().map(Edition::spelled).collect();
        self.listed = Some(Listed { editions, since });
        true
    }

    /// Texts that an earlier version kept as files had them, fit to be shown.
    pub(super) fn cleaned(mut self) -> Manifest {
        for state in self.editions.values_mut() {
            for info in state.current.iter_mut().chain(&mut state.previous) {
                info.database_type = clean(&info.database_type, MAX_TEXT).into_owned();
            }
            if let Some(refusal) = &mut state.refused {
                refusal.reason = clean(&refusal.reason, MAX_REASON).into_owned();
            }
        }
        self
    }

    /// Which generations answer by a list of editions, in their order: where, whose, and of what kind.
    pub(super) fn answering(&self, editions: &[Edition]) -> [Vec<&str>; 3] {
        [Fields::PLACE, Fields::ORIGIN, Fields::TRAITS].map(|fields| {
            let current = |edition: &Edition| self.editions.get(edition.name())?.current.as_ref();
            let known = editions.iter().filter_map(|edition| Some((edition, current(edition)?)));
            let answers = known.filter(|(edition, info)| info.holds(edition.role()).fields.meets(fields));
            answers.map(|(_, info)| info.directory.as_str()).collect()
        })
    }
}

/// The data of one edition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EditionState {
    /// The generation that answers.
    pub current: Option<GenerationInfo>,
    /// The one before, kept as a fallback.
    pub previous: Option<GenerationInfo>,
    /// The operator's file as it was when it was last looked at; unchanged files are not read again.
    pub seen: Option<Signature>,
    /// Why the file last looked at was not taken; `None` when it was.
    pub refused: Option<Refusal>,
    /// The last file that another server of the same data offered, and that was taken or needed no taking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<Received>,
}

/// A file, as another server offers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// Unix seconds.
    pub build_epoch: i64,
    /// Unix microseconds, by the clock of the server that offers it.
    pub offered_at: i64,
}

/// A file that another server offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// In hexadecimal.
    pub sha256: String,
    /// Unix microseconds, by that server's clock.
    pub offered_at: i64,
}

impl Received {
    pub(super) fn of(offer: &Offer) -> Received {
        Received { sha256: offer.sha256.clone(), offered_at: offer.offered_at }
    }
}

/// One generation, as the manifest describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GenerationInfo {
    /// Name of its directory under `generations/`.
    pub directory: String,
    /// The database's own type, `GeoLite2-City`, cleaned.
    pub database_type: String,
    /// Unix seconds: the age of the data, not the file's date.
    pub build_epoch: u64,
    /// Nodes of the search tree.
    pub node_count: u32,
    /// Bytes of the database.
    pub size: u64,
    /// Of the database, in hexadecimal.
    pub sha256: String,
    /// Unix microseconds: answers older than this are stale.
    pub installed_at: i64,
    /// What its records hold; `None` until an index of this version is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<Holds>,
    /// How often its files were damaged, answered so, and were made anew: what was answered before has to be looked at again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mends: u32,
}

pub(crate) fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Whether a build time, in Unix seconds, can be true. A file with one in the future would keep every honest one out: it is
/// compared with none.
pub(crate) fn is_honest(build_epoch: u64) -> bool {
    let future = now_us() / 1_000_000 + BUILT_AHEAD;
    i64::try_from(build_epoch).is_ok_and(|built| built <= future)
}

impl GenerationInfo {
    /// When it was built, in Unix microseconds, for whatever counts with it: a file may claim any number, and what is beyond
    /// the year 9999 stands for that.
    pub fn built_us(&self) -> i64 {
        // Below 2^58.
        self.build_epoch.min(LATEST_BUILD) as i64 * 1_000_000
    }

    /// Whether its build time can be true, and is worth a comparison.
    pub fn is_honest(&self) -> bool {
        is_honest(self.build_epoch)
    }

    /// What its records hold, as far as its role goes. An index of an earlier version answers what the type says, and
    /// nothing of it is counted.
    pub fn holds(&self, role: Option<Role>) -> Holds {
        let by_type = || match Kind::of(&self.database_type) {
            Kind::Place => Fields::PLACE,
            Kind::Asn => Fields::ORIGIN,
            Kind::Other => Fields::NONE,
        };
        let holds = self.holds.unwrap_or_else(|| Holds { fields: by_type(), ..Holds::default() });
        holds.by(role.unwrap_or_default())
    }
}

/// Identity of a file without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    inode: u64,
    pub(crate) size: u64,
    modified_ns: i128,
    /// A refused file whose permissions are put right changes nothing but this.
    #[serde(default)]
    changed_ns: i128,
}

/// A file that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// One line, lower case.
    pub reason: String,
    /// Unix microseconds.
    pub at: i64,
    /// The version and the role by which it was judged: by others it is looked at again.
    #[serde(default)]
    pub by: String,
}

impl Refusal {
    /// By what this version judges the file of an edition.
    pub(super) fn judge(edition: &Edition) -> String {
        format!("index {VERSION}{}", edition.role().map(|role| format!(", {role}")).unwrap_or_default())
    }

    /// Whether a file of this edition would be judged by something else now.
    pub(super) fn is_by_another(&self, edition: &Edition) -> bool {
        self.by != Refusal::judge(edition)
    }
}

impl Signature {
    /// The signature of the file now; `None` when there is none.
    ///
    /// # Errors
    /// When the file exists but cannot be asked about.
    pub fn of(path: &Path) -> io::Result<Option<Signature>> {
        match fs::metadata(path) {
            Ok(metadata) => Signature::by(&metadata).map(Some),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The signature of an open file, even if its path leads to another one now.
    pub(crate) fn of_open(file: &File) -> io::Result<Signature> {
        Signature::by(&file.metadata()?)
    }

    fn by(m: &Metadata) -> io::Result<Signature> {
        let ns = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        if !m.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Signature {
            inode: m.ino(),
            size: m.size(),
            modified_ns: ns(m.mtime(), m.mtime_nsec()),
            changed_ns: ns(m.ctime(), m.ctime_nsec()),
        })
    }

    /// When it was last written; Unix microseconds.
    pub(crate) fn modified_us(&self) -> i64 {
        i64::try_from(self.modified_ns / 1000).unwrap_or(i64::MAX)
    }

    /// Whether the last write was long enough ago that no more is to be expected.
    pub(crate) fn settled(&self, now: SystemTime) -> bool {
        let modified = UNIX_EPOCH + Duration::from_nanos(u64::try_from(self.modified_ns).unwrap_or(0));
        // A date in the future is a clock's fault, not a sign of writing.
        now.duration_since(modified).map_or(true, |age| age >= SETTLED)
    }
}

/// Now, as the manifest counts.
pub(crate) fn now_us() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(build_epoch: u64) -> GenerationInfo {
        let json = serde_json::json!({
            "directory": "x", "database_type": "x", "build_epoch": build_epoch, "node_count": 1, "size": 1, "sha256": "",
            "installed_at": 0,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_build_time_is_a_date_of_postgresql_whatever_the_file_claims() {
        assert_eq!(built(0).built_us(), 0);
        assert_eq!(built(1_700_000_000).built_us(), 1_700_000_000_000_000);
        for wild in [LATEST_BUILD, LATEST_BUILD + 1, 9_223_372_036_855, 18_000_000_000_000, 1 << 63, u64::MAX] {
            assert_eq!(built(wild).built_us(), 253_370_764_800_000_000, "{wild}");
        }
    }

    #[test]
    fn a_build_time_of_the_future_is_not_honest() {
        let now = u64::try_from(now_us() / 1_000_000).unwrap();
        assert!(built(0).is_honest() && built(now).is_honest() && built(now + 3600).is_honest());
        for ahead in [now + 2 * 86_400, 1 << 63, u64::MAX] {
            assert!(!built(ahead).is_honest(), "{ahead}");
        }
    }
}
