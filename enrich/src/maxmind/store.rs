//! Generations on disk: import, refusal, and the manifest that says which one is in use.
//!
//! ```text
//! <root>/current.json                  which generation of each edition answers, what was refused and why
//! <root>/import.lock                   one importer at a time, whichever process it is
//! <root>/generations/<edition>-<hash>/ the database and its index; immutable, named by content
//! <root>/overlays/<hash>.idx           one index of all of them, named by what it is made of
//! ```
//!
//! The manifest is replaced by rename, after the generation it names is synced: a kill at any point leaves the old
//! answer and at worst a `tmp-*` directory, which the next import removes.

mod outcome;
mod read;
mod tidy;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;

pub(crate) use self::outcome::lock;
pub use self::outcome::{Imported, Outcome, StoreError};
pub(crate) use self::read::read_manifest;
use super::databases::Databases;
use super::edition::Edition;
use super::generation::{DATABASE, Generation, OpenError};
use super::head::Head;
use super::index::IndexError;
use super::intake::{CopyError, MAX_DATABASE_BYTES, Source, Unfit, check, is_same, judge, reindex};
use super::language::Language;
pub use super::manifest::{EditionState, GenerationInfo, Manifest, Refusal, Signature};
use super::manifest::{MAX_REASON, now_us};
use super::overlay::Overlay;
use crate::durable::{OnDrop, RemoveDirOnDrop};
use crate::text::clean;

const MANIFEST: &str = "current.json";
/// The damaged manifest before this one.
const BROKEN: &str = "current.json.broken";
/// How the name ends that a damaged generation has until it is removed.
const REPLACED: &str = "-replaced";

/// The directory of one server's generations.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    language: Language,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError + '_ {
    move |error| StoreError::Io { path: path.to_owned(), error }
}

/// Editions whose newest generation cannot be opened, and why.
pub type Troubles = Vec<(Edition, String)>;

impl Store {
    /// The store under `root`, which need not exist yet. Names are indexed in English.
    pub fn new(root: PathBuf) -> Store {
        Store { root, language: Language::default() }
    }

    /// The same with names in a language, where files have it. A generation in another one gets a new index.
    #[must_use]
    pub fn in_language(self, language: Language) -> Store {
        Store { language, ..self }
    }

    /// The directory of everything.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The language of names.
    pub(super) fn language(&self) -> &Language {
        &self.language
    }

    /// The path of the manifest: a process without shared memory watches its changes.
    pub fn manifest_path(&self) -> PathBuf {
        self.root.join(MANIFEST)
    }

    /// The manifest; empty when nothing was ever imported.
    ///
    /// # Errors
    /// [`StoreError::Io`] when it exists but cannot be read, [`StoreError::Damaged`] when it cannot be understood.
    pub fn manifest(&self) -> Result<Manifest, StoreError> {
        read_manifest(self.manifest_path()).map(Manifest::cleaned)
    }

    /// Maps the generations in the manifest, for the editions in use. A generation that cannot be opened falls back to
    /// the one before; the second value tells which editions did and why.
    ///
    /// # Errors
    /// [`StoreError`] when the manifest cannot be read.
    pub fn open(&self, editions: &[Edition]) -> Result<(Manifest, Databases, Troubles), StoreError> {
        let manifest = self.manifest()?;
        let mut troubles = Vec::new();
        let mut generations = Vec::new();
        let mut installed_at = None;
        let clean = |error: OpenError| clean(&error.to_string(), MAX_REASON).into_owned();
        for edition in editions {
            let Some(state) = manifest.editions.get(edition.name()) else { continue };
            for info in state.current.iter().chain(&state.previous) {
                match self.generation(info, edition) {
                    Ok(generation) => {
                        generations.push(generation);
                        installed_at = installed_at.max(Some(info.installed_at));
                        break;
                    }
                    Err(error) => troubles.push((edition.clone(), format!("{}: {}", info.directory, clean(error)))),
                }
            }
        }
        // Another list of editions lets other files answer, as a newer file does.
        let listed = manifest.listed.as_ref().map(|listed| listed.since);
        let installed_at = installed_at.map(|at: i64| at.max(listed.unwrap_or(at)));
        let overlay = self.overlay(&generations).and_then(|path| Overlay::open(&path));
        Ok((manifest, Databases::new(generations, overlay, installed_at), troubles))
    }

    fn generations(&self) -> PathBuf {
        self.root.join("generations")
    }

    /// Maps a generation.
    pub(super) fn generation(&self, info: &GenerationInfo, edition: &Edition) -> Result<Generation, OpenError> {
        Ok(Generation::open(&self.directory(info), edition.clone())?.mended(info.mends))
    }

    pub(super) fn directory(&self, info: &GenerationInfo) -> PathBuf {
        self.generations().join(&info.directory)
    }

    /// Whether an import would have something to do: a look at the files' dates, whether the generations are still
    /// there, and whether they are of the list of now.
    pub fn has_news(&self, source: &Path, editions: &[Edition], manifest: &Manifest) -> bool {
        if !manifest.editions.is_empty() && manifest.listed.as_ref().is_none_or(|listed| !listed.is(editions)) {
            return true;
        }
        if self.wants_overlay(editions, manifest) {
            return true;
        }
        editions.iter().any(|edition| {
            let state = manifest.editions.get(edition.name());
            if state.is_some_and(|state| self.wants_index(edition, state)) {
                return true;
            }
            let file = source.join(edition.file_name());
            match Signature::of(&file) {
                Ok(Some(now)) => {
                    state.and_then(|state| state.seen.as_ref()) != Some(&now)
                        || state.is_some_and(|state| {
                            self.lost(edition, state)
                                || is_judged_anew(edition, state)
                                || is_open_to_us_now(&file, state)
                        })
                }
                _ => false,
            }
        })
    }

    /// Whether the generation that should answer was deleted or damaged, while the operator's file it was copied from
    /// (the last one looked at was not refused) can bring it back.
    fn lost(&self, edition: &Edition, state: &EditionState) -> bool {
        state.refused.is_none() && self.is_gone(edition, state)
    }

    /// Whether the generation that should answer cannot be opened.
    pub(super) fn is_gone(&self, edition: &Edition, state: &EditionState) -> bool {
        let gone = |info| Generation::open(&self.directory(info), edition.clone()).is_err();
        state.current.as_ref().is_some_and(gone)
    }

    /// Whether the generation that should answer has a whole database, and no index of this version in the language.
    fn wants_index(&self, edition: &Edition, state: &EditionState) -> bool {
        let opened = |info| Generation::open(&self.directory(info), edition.clone());
        match state.current.as_ref().map(opened) {
            Some(Ok(generation)) => {
                let is_counted = state.current.as_ref().is_some_and(|info| info.holds.is_some());
                generation.language() != Some(&self.language) || !is_counted
            }
            Some(Err(error)) => matches!(error, OpenError::Index),
            None => false,
        }
    }

    /// Imports new files from the operator's directory `source`. Editions are independent: a refused one leaves the
    /// others, and its own older generation, unchanged. All imported files come into use at the same moment: the files
    /// of one release belong together. `force` imports a file that is much smaller or older, and sets a damaged manifest
    /// aside: a new one is made of the operator's files and, where there is none of an edition, of its generation on
    /// disk. `breathe` is called between pieces of the work, and may leave it by unwinding.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when another process imports; [`StoreError::Io`] when the manifest cannot be read or written,
    /// which is then what it was; [`StoreError::Damaged`] when it is damaged and `force` is off.
    pub fn import(
        &self,
        source: &Path,
        editions: &[Edition],
        force: bool,
        breathe: &dyn Fn(),
    ) -> Result<Imported, StoreError> {
        let _lock = self.lock()?;
        let (mut manifest, damaged) = match self.manifest() {
            Err(StoreError::Damaged { .. }) if force => (Manifest::default(), true),
            other => (other?, false),
        };
        // Litter of imports that were killed, and of removals: half a directory must not pass for a generation. Without a
        // manifest no generation is known, and one of them may be the only copy of its file.
        if !damaged {
            self.remove_unreferenced(&manifest);
        }
        self.remove_drafts();
        let _sweep = OnDrop(|| self.sweep());
        let (mut outcomes, mut failures) = (Vec::new(), Vec::new());
        let known = manifest.editions.clone();
        let (mut changed, mut put_again) = (damaged, false);
        for edition in editions {
            let before = manifest.editions.get(edition.name()).cloned().unwrap_or_default();
            let mut state = before.clone();
            let mut file = source.join(edition.file_name());
            if damaged && !file.exists() {
                file = self.left_over(edition).unwrap_or(file);
            }
            match self.import_one(&file, edition, &mut state, force, breathe) {
                Ok(outcome) => {
                    if state != before {
                        put_again |= outcome == Outcome::Unchanged;
                        manifest.editions.insert(edition.name().to_owned(), state);
                    }
                    outcomes.push((edition.clone(), outcome));
                }
                Err(error) => failures.push(error),
            }
        }
        if !manifest.editions.is_empty() {
            changed |= manifest.note_list(editions);
        }
        if damaged {
            // On a full disk everything stays as it is: the next attempt finds what this one found.
            if let Some(error) = failures.pop() {
                return Err(error);
            }
        }
        let healed = match put_again {
            true => self.heal_overlay(editions, &mut manifest, &mut outcomes, breathe),
            false => Ok(()),
        };
        if healed.is_err() {
            // On a full disk: what was put again is not seen yet, and the next import tries once more.
            for (edition, _) in outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Unchanged) {
                if let Some(state) = manifest.editions.get_mut(edition.name()) {
                    state.seen = known.get(edition.name()).and_then(|known| known.seen.clone());
                }
            }
        }
        changed |= manifest.editions != known;
        // Before the manifest: whoever opens what it names finds the overlay. Without one, answers are the same.
        match healed.and_then(|()| self.make_overlay(editions, &manifest, breathe)) {
            Ok(made) => changed |= made,
            Err(error) => failures.push(error),
        }
        if changed {
            // As late as possible: answers from the old files after this would count as fresh.
            let now = now_us();
            for (edition, outcome) in &mut outcomes {
                if let (Outcome::Installed(info), Some(state)) = (outcome, manifest.editions.get_mut(edition.name())) {
                    info.installed_at = now;
                    state.current = Some(info.clone());
                }
            }
            manifest.serial += 1;
            self.write_manifest(&manifest, damaged)?;
        }
        Ok(Imported { outcomes, failures, changed })
    }

    /// The database of an edition's newest generation on disk, for which no manifest speaks.
    fn left_over(&self, edition: &Edition) -> Option<PathBuf> {
        let is_of = |name: &str| {
            let hash = name.strip_prefix(edition.name()).and_then(|rest| rest.strip_prefix('-'));
            hash.is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
        };
        let entries = fs::read_dir(self.generations()).ok()?.flatten();
        let files = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_of));
        let files = files.map(|entry| entry.path().join(DATABASE));
        files.filter_map(|file| Some((fs::metadata(&file).ok()?.modified().ok()?, file))).max().map(|(_, file)| file)
    }

    pub(super) fn lock(&self) -> Result<File, StoreError> {
        make_private_dir(&self.root)?;
        make_private_dir(&self.generations())?;
        lock(&self.root)
    }

    pub(super) fn import_one(
        &self,
        file: &Path,
        edition: &Edition,
        state: &mut EditionState,
        force: bool,
        breathe: &dyn Fn(),
    ) -> Result<Outcome, StoreError> {
        // From the database that is kept: the operator's file may be gone, or another one by now.
        let unchanged = match self.reindex(edition, state, breathe) {
            Ok(Some(info)) => Ok(Outcome::Installed(info)),
            Ok(None) => Ok(Outcome::Unchanged),
            Err(IndexError::Io(error)) => return Err(self.of_current(state, error)),
            Err(error) => Err(self.of_current(state, io::Error::other(error.to_string()))),
        };
        // What is kept cannot be indexed, today or ever: as if it were lost, the operator's file is to take its place.
        let is_spoilt = unchanged.is_err();
        let signature = match Signature::of(file) {
            Ok(Some(signature)) => signature,
            // A removed file changes nothing: the imported copy stays in use.
            Ok(None) => return unchanged,
            Err(error) => return Ok(refuse(edition, state, None, error.to_string())),
        };
        let is_lost = self.lost(edition, state) || (is_spoilt && state.refused.is_none());
        let again = (force && state.refused.is_some())
            || is_judged_anew(edition, state)
            || is_open_to_us_now(file, state)
            || is_lost;
        if state.seen.as_ref() == Some(&signature) && !again {
            return unchanged;
        }
        if state.current.is_some() && !signature.settled(SystemTime::now()) {
            return Ok(Outcome::Unsettled);
        }
        if signature.size > MAX_DATABASE_BYTES {
            let reason = format!("a database of {} bytes is too large", signature.size);
            return Ok(refuse(edition, state, Some(signature), reason));
        }
        let source = match Source::open(file) {
            Ok(source) => source,
            Err(error) => match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    return Ok(refuse(edition, state, Some(signature), error.to_string()));
                }
                // It was removed or replaced since the first look.
                io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => return Ok(Outcome::Unsettled),
                _ => return Err(of_file(edition, error)),
            },
        };
        // The file was replaced since the first look: the new one has not been checked.
        if source.signature != signature {
            return Ok(Outcome::Unsettled);
        }
        let worth = |head: Head| judge(&head, edition, state.current.as_ref(), force);
        match source.head().and_then(|head| Ok(worth(head)?)) {
            Ok(()) => {}
            Err(Unfit::File(reason)) => return Ok(refuse(edition, state, Some(signature), reason)),
            // It was cut short since the first look.
            Err(Unfit::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Outcome::Unsettled),
            Err(Unfit::Io(error)) => return Err(of_file(edition, error)),
        }

        let tmp = self.workshop();
        let _litter = RemoveDirOnDrop(&tmp);
        make_private_dir(&tmp)?;
        let sha256 = match source.copy(&tmp.join(DATABASE), breathe) {
            Ok(sha256) => sha256,
            Err(CopyError::Source(error)) => return Err(of_file(edition, error)),
            Err(CopyError::Target(error)) => return Err(at(&tmp)(error)),
        };
        if !source.is_unchanged() {
            return Ok(Outcome::Unsettled);
        }
        let mut info = match check(&tmp, (edition, &self.language), state.current.as_ref(), sha256, force, breathe) {
            Ok(info) => info,
            Err(Unfit::File(reason)) => return Ok(refuse(edition, state, Some(signature), reason)),
            Err(Unfit::Io(error)) => return Err(at(&tmp)(error)),
        };
        state.seen = Some(signature);
        state.refused = None;
        let target = self.directory(&info);
        let current = state.current.as_ref().filter(|current| current.directory == info.directory);
        let same = current.is_some();
        let whole = is_same(&target, &tmp, breathe).map_err(at(&tmp))?;
        if same && whole {
            return Ok(Outcome::Unchanged);
        }
        if let Some(current) = current {
            // Damaged, it has answered as long as it could be opened.
            let has_answered = Generation::open(&target, edition.clone()).is_ok();
            info.mends = current.mends.saturating_add(has_answered.into());
        }
        if !whole {
            sync_dir(&tmp)?;
            self.replace(&target, &tmp)?;
        }
        let before = state.current.replace(info.clone());
        if !same {
            state.previous = before;
        }
        Ok(Outcome::Installed(info))
    }

    /// A generation that is whole, in place of one that is not, or of none.
    fn replace(&self, target: &Path, whole: &Path) -> Result<(), StoreError> {
        let mut replaced = whole.as_os_str().to_owned();
        replaced.push(REPLACED);
        let replaced = PathBuf::from(replaced);
        let _litter = RemoveDirOnDrop(&replaced);
        // Removed only afterwards: sessions that look meanwhile find one of the two.
        if target.exists() {
            fs::rename(target, &replaced).map_err(at(target))?;
        }
        if let Err(error) = fs::rename(whole, target) {
            let _ = fs::rename(&replaced, target);
            return Err(at(target)(error));
        }
        sync_dir(&self.generations())
    }

    /// A new index for the generation that answers, where it wants one.
    fn reindex(
        &self,
        edition: &Edition,
        state: &mut EditionState,
        breathe: &dyn Fn(),
    ) -> Result<Option<GenerationInfo>, IndexError> {
        if !self.wants_index(edition, state) {
            return Ok(None);
        }
        let Some(info) = &mut state.current else { return Ok(None) };
        let dir = self.directory(info);
        let holds = reindex(&dir, &self.language, breathe)?;
        File::open(&dir).and_then(|dir| dir.sync_all())?;
        info.holds = Some(holds);
        // It may say something else from now on.
        info.installed_at = now_us();
        Ok(Some(info.clone()))
    }

    /// An error of the generation that answers.
    fn of_current(&self, state: &EditionState, error: io::Error) -> StoreError {
        let path = state.current.as_ref().map_or_else(|| self.generations(), |info| self.directory(info));
        StoreError::Io { path, error }
    }
}

/// Whether a file was refused by another version or for another role: it may be taken now.
fn is_judged_anew(edition: &Edition, state: &EditionState) -> bool {
    state.refused.as_ref().is_some_and(|refusal| refusal.is_by_another(edition))
}

/// Whether the last file was refused since the server must not open it, and it may now. A role's new group, or another rule of
/// the system, changes nothing of the file itself.
fn is_open_to_us_now(file: &Path, state: &EditionState) -> bool {
    state.refused.as_ref().is_some_and(|refusal| is_denial(&refusal.reason)) && Source::open(file).is_ok()
}

/// Whether a reason is the system's word for a missing right, in any language.
pub(crate) fn is_denial(reason: &str) -> bool {
    [Errno::EACCES, Errno::EPERM].iter().any(|denial| reason.ends_with(&format!("(os error {})", *denial as i32)))
}

/// The operator's file could not be read: it may be another time. Its directory is not for all roles.
fn of_file(edition: &Edition, error: io::Error) -> StoreError {
    StoreError::Io { path: edition.file_name().into(), error }
}

fn refuse(edition: &Edition, state: &mut EditionState, seen: Option<Signature>, reason: String) -> Outcome {
    // It may quote the file.
    let reason = clean(&reason, MAX_REASON).into_owned();
    let refusal = Refusal { reason, at: now_us(), by: Refusal::judge(edition) };
    // The same error again is not a change: the manifest must not get a new serial every second.
    if seen.is_none() && state.refused.as_ref().is_some_and(|r| r.reason == refusal.reason) {
        return Outcome::Unchanged;
    }
    // Without a signature: when the trouble has passed, the file must be looked at, even the one that was seen before.
    state.seen = seen;
    state.refused = Some(refusal.clone());
    Outcome::Refused(refusal)
}

fn make_private_dir(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path))
}

fn sync_dir(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(at(path))
}

#[cfg(test)]
mod tests;
