//! The manifest: which generation of each edition answers, and what was refused. Plain data, kept as JSON.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A file written less than this ago may still be growing: it is looked at again on the next round.
const SETTLED: Duration = Duration::from_secs(1);

/// Which generations answer. Kept as JSON so that an operator can read it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Grows with every change: two manifests of one serial are the same.
    pub serial: u64,
    /// By edition's name.
    pub editions: BTreeMap<String, EditionState>,
}

/// What is known of one edition.
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
}

/// One generation, as the manifest describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GenerationInfo {
    /// Name of its directory under `generations/`.
    pub directory: String,
    /// The database's own type, `GeoLite2-City`.
    pub database_type: String,
    /// Unix seconds: the age of the data, whatever the file's date says.
    pub build_epoch: u64,
    /// Nodes of the search tree.
    pub node_count: u32,
    /// Bytes of the database.
    pub size: u64,
    /// Of the database, in hexadecimal.
    pub sha256: String,
    /// Unix microseconds: answers older than this are stale.
    pub installed_at: i64,
}

/// Identity of a file without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    inode: u64,
    pub(super) size: u64,
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
}

impl Signature {
    /// The signature of the file now; `None` when there is none.
    ///
    /// # Errors
    /// When the file exists but can't be asked about.
    pub fn of(path: &Path) -> io::Result<Option<Signature>> {
        let ns = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        match fs::metadata(path) {
            Ok(m) if m.is_file() => Ok(Some(Signature {
                inode: m.ino(),
                size: m.size(),
                modified_ns: ns(m.mtime(), m.mtime_nsec()),
                changed_ns: ns(m.ctime(), m.ctime_nsec()),
            })),
            Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    pub(super) fn settled(&self, now: SystemTime) -> bool {
        let modified = UNIX_EPOCH + Duration::from_nanos(u64::try_from(self.modified_ns).unwrap_or(0));
        // A date in the future is a clock's fault, not a sign of writing.
        now.duration_since(modified).map_or(true, |age| age >= SETTLED)
    }
}

/// Now, as the manifest counts.
pub(super) fn now_us() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}
