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

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::OFlag;
use sha2::{Digest, Sha256};

use super::directory::{Scan, scan};
use super::index::{self, BuildError};
use super::manifest::{IndexInfo, ListInfo, ListState, Manifest, Refusal};
use super::open::Lists;
use super::parsed::{Parsed, Room};
use super::ranges::{self, Ranges};
use super::read::{MOST_BYTES, read};
use super::text::Unread;
use crate::durable::{RemoveOnDrop, set_aside};
use crate::maxmind::manifest::{Signature, now_us};
use crate::maxmind::map::map;
use crate::maxmind::store::{StoreError, is_denial, lock};

const MANIFEST: &str = "current.json";
/// The damaged manifest before this one.
const BROKEN: &str = "current.json.broken";
/// A file in the making.
const DRAFT: &str = "draft";

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

fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError + '_ {
    move |error| StoreError::Io { path: path.to_owned(), error }
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
        let path = self.manifest_path();
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| StoreError::Damaged { path, error: e.into() }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Manifest::default()),
            Err(e) => Err(at(&path)(e)),
        }
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
                Lists::new(bytes, &info.file, info.installed_at).ok_or_else(|| StoreError::Damaged {
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
        let Ok(found) = self.scan(dir, manifest) else { return false };
        let is_known = |(name, (file, signature)): (&String, &(String, Result<Signature, String>))| {
            let is_of = |state: &ListState| state.is_of(signature, &dir.join(file), || manifest.room_for(name));
            manifest.lists.get(name).is_some_and(|state| state.file == *file && is_of(state))
        };
        let rejects = manifest.rejected.iter().map(|(file, refusal)| (file, &refusal.reason));
        found.lists.len() != manifest.lists.len()
            || !found.lists.iter().all(is_known)
            || !found.rejected.iter().eq(rejects)
            || manifest.index.as_ref().is_some_and(|info| !self.is_index(&info.file))
    }

    fn is_index(&self, file: &str) -> bool {
        map(&self.files().join(file)).is_ok_and(|bytes| index::Index::open(&bytes).is_some())
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
        if !damaged {
            // What an import that was killed has left would be missed on a full disk.
            self.remove_unreferenced(&before);
        }
        let _sweep = Sweep(self);
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
            if damaged {
                set_aside(&path, &self.root.join(BROKEN)).map_err(at(&path))?;
            }
            crate::durable::replace(&path, &bytes).map_err(at(&path))?;
        }
        Ok(Imported { outcomes, failures, changed })
    }

    fn lock(&self) -> Result<File, StoreError> {
        let files = self.files();
        DirBuilder::new().recursive(true).mode(0o700).create(&files).map_err(at(&files))?;
        lock(&self.root)
    }

    /// Brings one list up to date. `None`: nothing happened.
    fn import_one(
        &self,
        dir: &Path,
        name: &str,
        signature: Result<Signature, String>,
        state: &mut ListState,
        room: Room,
        breathe: &dyn Fn(),
    ) -> Result<Option<Outcome>, Fault> {
        // A file that was refused brings nothing back.
        let is_lost = match &state.current {
            // Whatever is the matter with it, the file makes it anew.
            Some(info) if state.refused.is_none() => !self.is_whole(&info.ranges).unwrap_or(false),
            _ => false,
        };
        let path = dir.join(&state.file);
        if state.is_of(&signature, &path, || room) && !is_lost {
            return Ok(None);
        }
        let signature = match signature {
            Ok(signature) => signature,
            Err(reason) => return Ok(Some(state.refuse(None, &reason))),
        };
        // It may still be growing. It is looked at again in the next round.
        if !signature.settled(SystemTime::now()) {
            return Ok(None);
        }
        let parsed = match parse(&path, &signature, room, breathe) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return Ok(None),
            Err(Unread::Refused(reason)) => return Ok(Some(state.refuse(Some(signature), &reason))),
            Err(Unread::NoRoom(reason)) => {
                let refusal = Refusal::new(&reason).for_room(room);
                (state.seen, state.refused) = (Some(signature), Some(refusal.clone()));
                return Ok(Some(Outcome::Refused(refusal)));
            }
            Err(Unread::Io(error)) => return Err(Fault::File(at(Path::new(&state.file))(error))),
        };
        let ranges = self.write(&format!("{name}-"), breathe, |out| Ok(ranges::write(&parsed, out)?))?;
        let current = state.current.take();
        let same = current.filter(|current| current.ranges == ranges);
        let info = ListInfo {
            ranges,
            entries: parsed.entries,
            addresses_v4: parsed.addresses_v4(),
            warning: parsed.warning(),
            size: signature.size,
            modified_at: signature.modified_us(),
            installed_at: same.as_ref().map_or_else(now_us, |same| same.installed_at),
        };
        *state =
            ListState { file: state.file.clone(), current: Some(info.clone()), seen: Some(signature), refused: None };
        Ok(same.is_none().then_some(Outcome::Installed(info)))
    }

    /// Makes the index of all lists, if it is not the one in use. A list whose ranges are lost is in the one in use still, and
    /// in no other: it must not keep the others from theirs. Returns the names of those that were left out.
    fn index(&self, manifest: &mut Manifest, breathe: &dyn Fn()) -> Result<Vec<String>, StoreError> {
        if self.is_indexed(manifest) {
            return Ok(Vec::new());
        }
        let lost = self.leave_out_lost(manifest)?;
        if manifest.answering().next().is_none() {
            manifest.index = None;
        } else if !self.is_indexed(manifest) {
            let file = self.build_index(manifest, breathe)?;
            // As late as possible: answers from the index before that are made after this would count as fresh.
            manifest.index = Some(IndexInfo { file, installed_at: now_us() });
        }
        Ok(lost)
    }

    /// Whether the index in use is that of all lists that answer.
    fn is_indexed(&self, manifest: &Manifest) -> bool {
        let wanted = index_of(manifest);
        manifest.index.as_ref().is_some_and(|info| info.file.starts_with(&wanted) && self.is_index(&info.file))
    }

    fn leave_out_lost(&self, manifest: &mut Manifest) -> Result<Vec<String>, StoreError> {
        let mut gone = HashSet::new();
        for (name, state) in &manifest.lists {
            if let Some(info) = &state.current
                && !self.is_whole(&info.ranges)?
            {
                gone.insert(name.clone());
            }
        }
        let mut lost = Vec::new();
        manifest.lists.retain(|name, state| {
            if !gone.contains(name) {
                return true;
            }
            lost.push(name.clone());
            state.current = None;
            // A file that was only not looked at, because it is being written, is a new one.
            state.refused.is_some()
        });
        Ok(lost)
    }

    fn build_index(&self, manifest: &Manifest, breathe: &dyn Fn()) -> Result<String, StoreError> {
        let mut maps = Vec::new();
        for (name, file) in manifest.answering() {
            let path = self.files().join(file);
            maps.push((name, map(&path).map_err(at(&path))?, path));
        }
        let mut lists = Vec::new();
        for (name, bytes, path) in &maps {
            let damaged = || io::Error::new(io::ErrorKind::InvalidData, "not the ranges of a list");
            lists.push((*name, Ranges::open(bytes).ok_or_else(damaged).map_err(at(path))?));
        }
        self.write(&index_of(manifest), breathe, |out| index::build(&lists, out, breathe))
    }

    /// Whether the ranges of a list are there. What cannot be read at the moment is not lost.
    fn is_whole(&self, ranges: &str) -> Result<bool, StoreError> {
        let path = self.files().join(ranges);
        match map(&path) {
            Ok(bytes) => Ok(Ranges::open(&bytes).is_some()),
            // An empty file cannot be mapped.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => Ok(false),
            Err(error) => Err(at(&path)(error)),
        }
    }

    /// Writes a file whose name ends with a hash of its content, and says that name.
    fn write(
        &self,
        beginning: &str,
        breathe: &dyn Fn(),
        content: impl FnOnce(&mut BufWriter<Hashed>) -> Result<(), BuildError>,
    ) -> Result<String, StoreError> {
        let files = self.files();
        let draft = files.join(DRAFT);
        // It must not keep the last of a full disk, nor outlive a process that is told to stop.
        let _litter = RemoveOnDrop(&draft);
        let written = || -> io::Result<String> {
            let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&draft)?;
            let mut out = BufWriter::with_capacity(1 << 20, Hashed { file, hash: Sha256::new() });
            content(&mut out).map_err(|error| match error {
                BuildError::Io(error) => error,
                error => io::Error::other(error.to_string()),
            })?;
            let Hashed { file, hash } = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            breathe();
            file.sync_all()?;
            let name = format!("{beginning}{}", &hexadecimal(&hash)[..16]);
            fs::rename(&draft, files.join(&name))?;
            File::open(&files)?.sync_all()?;
            Ok(name)
        };
        written().map_err(at(&draft))
    }

    /// Removes files that will not be opened again; a process that has one mapped keeps it. Only called under the lock.
    fn remove_unreferenced(&self, manifest: &Manifest) {
        let index = manifest.index.as_ref().map(|info| info.file.as_str());
        let kept: Vec<&str> = manifest.answering().map(|(_, file)| file).chain(index).collect();
        let Ok(entries) = fs::read_dir(self.files()) else { return };
        for entry in entries.flatten() {
            if entry.file_name().to_str().is_none_or(|name| !kept.contains(&name)) {
                // Files that cannot be removed now are tried again with the next import.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

impl ListState {
    /// Whether the file was looked at as it is now, and a refusal stands.
    fn is_of(&self, signature: &Result<Signature, String>, path: &Path, room: impl Fn() -> Room) -> bool {
        let is_over = |refusal: &Refusal| {
            refusal.is_by_another()
                || refusal.room.is_some() && refusal.had_less_than(room())
                // A new group of the server's user, say, changes nothing of the file itself.
                || is_denial(&refusal.reason) && open(path).is_ok()
        };
        match signature {
            Ok(signature) => self.seen.as_ref() == Some(signature) && !self.refused.as_ref().is_some_and(is_over),
            Err(reason) => self.refused.as_ref().is_some_and(|refusal| refusal.reason == *reason),
        }
    }

    fn refuse(&mut self, seen: Option<Signature>, reason: &str) -> Outcome {
        let refusal = Refusal::new(reason);
        self.seen = seen;
        self.refused = Some(refusal.clone());
        Outcome::Refused(refusal)
    }
}

/// How the name of the index of all lists that answer begins.
fn index_of(manifest: &Manifest) -> String {
    let mut hash = Sha256::new();
    for (name, file) in manifest.answering() {
        hash.update(format!("{name} {file}\n"));
    }
    format!("index-{}-", &hexadecimal(&hash)[..16])
}

fn open(path: &Path) -> io::Result<File> {
    // If it is replaced by a pipe between two looks, no process waits at its other end.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)
}

/// The entries of the operator's file, or the reason against it; `None`: it changed while it was read.
fn parse(path: &Path, signature: &Signature, room: Room, breathe: &dyn Fn()) -> Result<Option<Parsed>, Unread> {
    if signature.size > MOST_BYTES {
        let reason = format!("a list of {} bytes is too large, {MOST_BYTES} at most", signature.size);
        return Err(Unread::Refused(reason));
    }
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(Unread::Refused(error.to_string()));
        }
        Err(error) => return Err(Unread::Io(error)),
    };
    let is_unchanged = || Signature::of_open(&file).is_ok_and(|now| now == *signature);
    if !is_unchanged() {
        return Ok(None);
    }
    let limited = io::Read::take(&file, MOST_BYTES);
    let parsed = read(&mut BufReader::with_capacity(256 << 10, limited), room, breathe);
    match parsed {
        _ if !is_unchanged() => Ok(None),
        Ok(parsed) => Ok(Some(parsed)),
        Err(unread) => Err(unread),
    }
}

/// Removes, when an import ends in any way, the files that the manifest does not name.
struct Sweep<'a>(&'a Store);

impl Drop for Sweep<'_> {
    fn drop(&mut self) {
        if let Ok(manifest) = self.0.manifest() {
            self.0.remove_unreferenced(&manifest);
        }
    }
}

/// A file, and the hash of what was written to it.
struct Hashed {
    file: File,
    hash: Sha256,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn hexadecimal(hash: &Sha256) -> String {
    hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
