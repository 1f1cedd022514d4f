//! Lists on disk: import, refusal, and the manifest that says what answers.
//!
//! ```text
//! <root>/current.json           the lists, what was refused and why
//! <root>/import.lock            one importer at a time, whichever process it is
//! <root>/files/<name>-<hash>    the ranges of one list; immutable, named by content
//! <root>/files/index-<hash>     the index of all lists; the same
//! ```
//!
//! The manifest is replaced by rename, after the files that it names are synced: a kill at any point leaves the old
//! answer and at worst files that the next import removes. A damaged manifest is set aside, and made anew of the
//! operator's files.

mod files;
mod indexed;
mod source;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::directory::{Scan, scan};
use super::index::Index;
use super::manifest::{ListInfo, ListState, Manifest, Refusal};
use super::open::Lists;
use crate::durable::{self, OnDrop};
use crate::maxmind::manifest::Signature;
use crate::maxmind::map::map;
use crate::maxmind::store::{StoreError, lock, read_manifest};

const MANIFEST: &str = "current.json";
/// The damaged manifest before this one.
const BROKEN: &str = "current.json.broken";

/// The directory of one server's lists.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// The result of one import.
#[derive(Debug, Default)]
pub struct Imported {
    /// What happened, by the name of a list or of a file.
    pub outcomes: Vec<(String, Outcome)>,
    /// Why files could not be read. That may pass: they are not refused, and their entries of before stay in use.
    pub failures: Vec<StoreError>,
    /// Whether anything changed: processes with open lists should look.
    pub changed: bool,
}

/// What happened to one list.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It answers from now on, or with other entries.
    Installed(ListInfo),
    /// Its file was refused; entries of before stay in use.
    Refused(Refusal),
    /// Its file is gone, and so is the list.
    Removed,
    /// Its entries of before can be read no more, and its file gives none.
    Lost,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError + '_ {
    move |error| StoreError::Io { path: path.to_owned(), error }
}

/// Why a list is not brought up to date.
enum Fault {
    /// Its file could not be read: the others go on.
    File(StoreError),
    /// The store could not be written.
    Store(StoreError),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        Fault::Store(error)
    }
}

impl Store {
    /// The store under `root`, which need not exist yet.
    pub fn new(root: PathBuf) -> Store {
        Store { root }
    }

    /// The path of the manifest: a process without shared memory watches its changes.
    pub fn manifest_path(&self) -> PathBuf {
        self.root.join(MANIFEST)
    }

    fn files(&self) -> PathBuf {
        self.root.join("files")
    }

    /// The manifest; empty when nothing was ever imported.
    ///
    /// # Errors
    /// [`StoreError::Io`] when it exists but cannot be read, [`StoreError::Damaged`] when it cannot be understood.
    pub fn manifest(&self) -> Result<Manifest, StoreError> {
        read_manifest(self.manifest_path())
    }

    /// Maps the index in the manifest.
    ///
    /// # Errors
    /// [`StoreError`] when one of the two cannot be read.
    pub fn open(&self) -> Result<(Manifest, Lists), StoreError> {
        let manifest = self.manifest()?;
        let lists = match &manifest.index {
            None => Lists::default(),
            Some(info) => {
                let path = self.files().join(&info.file);
                let bytes = map(&path).map_err(at(&path))?;
                Lists::new(bytes, &info.label(), info.installed_at).ok_or_else(|| StoreError::Damaged {
                    path,
                    error: io::Error::new(io::ErrorKind::InvalidData, "not an index of lists"),
                })?
            }
        };
        Ok((manifest, lists))
    }

    /// Whether an import would have something to do: a look at the files' dates, and whether the index is still there.
    /// False where the directory cannot be read: lists stay as they are then.
    pub fn has_news(&self, dir: &Path, manifest: &Manifest) -> bool {
        self.scan(dir, manifest).is_ok_and(|found| self.is_news(&found, dir, manifest, |_| true))
    }

    /// Whether an import of the files that were found would have something to do; of new files, those that are `due` count.
    fn is_news(&self, found: &Scan, dir: &Path, manifest: &Manifest, due: impl Fn(&Signature) -> bool) -> bool {
        let is_known = |(name, (file, signature)): (&String, &(String, Result<Signature, String>))| {
            let is_of = |state: &ListState| state.is_of(signature, &dir.join(file), || manifest.room_for(name));
            manifest.lists.get(name).is_some_and(|state| state.file == *file && is_of(state))
        };
        let is_due = |signature: &Result<Signature, String>| signature.as_ref().map_or(true, &due);
        let rejects = manifest.rejected.iter().map(|(file, refusal)| (file, &refusal.reason));
        manifest.lists.keys().any(|name| !found.lists.contains_key(name))
            || found.lists.iter().any(|list| is_due(&list.1.1) && !is_known(list))
            || !found.rejected.iter().eq(rejects)
            || manifest.index.as_ref().is_some_and(|info| !self.is_index(&info.file))
    }

    fn is_index(&self, file: &str) -> bool {
        map(&self.files().join(file)).is_ok_and(|bytes| Index::open(&bytes).is_some())
    }

    fn scan(&self, dir: &Path, manifest: &Manifest) -> io::Result<Scan> {
        // The files of the store would become lists.
        if let (Ok(dir), Ok(own)) = (fs::canonicalize(dir), fs::canonicalize(&self.root))
            && dir.starts_with(own)
        {
            return Err(io::Error::other("this directory is the server's own: choose another one for lists"));
        }
        scan(dir, |list| manifest.lists.get(list).map(|state| state.file.as_str()))
    }

    /// Imports new files from the operator's directory. A refused one leaves the others, and its own entries of before,
    /// unchanged. All changes come into use at the same moment. `breathe` is called between pieces of the work, and may
    /// leave it by unwinding.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when another process imports; [`StoreError::Io`] when the operator's directory cannot be read,
    /// or the store cannot be written. Everything is then what it was.
    pub fn import(&self, dir: &Path, breathe: &dyn Fn()) -> Result<Imported, StoreError> {
        let _lock = self.lock()?;
        let (before, damaged) = match self.manifest() {
            Err(StoreError::Damaged { .. }) => (Manifest::default(), true),
            other => (other?, false),
        };
        let found = self.scan(dir, &before).map_err(at(dir))?;
        // While a file is being written there is an import each second, which would read all copies for nothing.
        let is_settled = |signature: &Signature| signature.settled(SystemTime::now());
        if self.is_news(&found, dir, &before, |_| true) && !damaged && !self.is_news(&found, dir, &before, is_settled) {
            return Ok(Imported::default());
        }
        // What an import that was killed has left would be missed on a full disk.
        self.sweep();
        // However this ends.
        let _sweep = OnDrop(|| self.sweep());
        let mut manifest = before.clone();
        let (mut outcomes, mut failures) = (Vec::new(), Vec::new());
        manifest.lists.retain(|name, state| {
            let stays = found.lists.contains_key(name);
            if !stays && state.current.is_some() {
                outcomes.push((name.clone(), Outcome::Removed));
            }
            stays
        });
        for (name, (file, signature)) in found.lists {
            let mut state = manifest.lists.get(&name).cloned().unwrap_or_default();
            if state.file != file {
                (state.file, state.seen) = (file, None);
            }
            let room = manifest.room_for(&name);
            let outcome = match self.import_one(dir, &name, signature, &mut state, room, breathe) {
                Ok(outcome) => outcome,
                Err(Fault::Store(error)) => return Err(error),
                Err(Fault::File(error)) => {
                    failures.push(error);
                    None
                }
            };
            outcomes.extend(outcome.map(|outcome| (name.clone(), outcome)));
            if state.seen.is_some() || state.refused.is_some() || state.current.is_some() {
                manifest.lists.insert(name, state);
            }
        }
        let mut rejected = std::mem::take(&mut manifest.rejected);
        for (file, reason) in found.rejected {
            let known = rejected.remove(&file).filter(|refusal| refusal.reason == reason);
            let refusal = known.unwrap_or_else(|| {
                let refusal = Refusal::new(&reason);
                outcomes.push((file.clone(), Outcome::Refused(refusal.clone())));
                refusal
            });
            manifest.rejected.insert(file, refusal);
        }
        let lost = self.index(&mut manifest, breathe)?;
        outcomes.extend(lost.into_iter().map(|name| (name, Outcome::Lost)));
        let changed = manifest != before || damaged;
        if changed {
            manifest.serial += 1;
            let bytes = serde_json::to_vec_pretty(&manifest).map_err(|error| at(&self.root)(error.into()))?;
            let path = self.manifest_path();
            let broken = self.root.join(BROKEN);
            durable::replace(&path, &bytes, damaged.then_some(&*broken)).map_err(at(&path))?;
        }
        Ok(Imported { outcomes, failures, changed })
    }

    fn lock(&self) -> Result<File, StoreError> {
        let files = self.files();
        DirBuilder::new().recursive(true).mode(0o700).create(&files).map_err(at(&files))?;
        lock(&self.root)
    }
}

#[cfg(test)]
mod tests;
