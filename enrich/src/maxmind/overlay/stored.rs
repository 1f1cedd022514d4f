//! Overlays on disk: made under the lock of an import, found by whoever has the same generations open.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::build::build;
use super::{OVERLAYS, Overlay};
use crate::blocks::Blocks;
use crate::durable::RemoveOnDrop;
use crate::maxmind::edition::Edition;
use crate::maxmind::generation::Generation;
use crate::maxmind::index::IndexError;
use crate::maxmind::intake::is_same_file;
use crate::maxmind::manifest::Manifest;
use crate::maxmind::store::{Outcome, Store, StoreError};

/// An overlay in the making.
const DRAFT: &str = "draft";

impl Store {
    /// Where the overlay of open generations is, if it is made; `None` where fewer than two answer, or one of them has an
    /// index of an earlier version or in another language, and will get a new one.
    pub(in crate::maxmind) fn overlay(&self, generations: &[Generation]) -> Option<PathBuf> {
        let answering = || generations.iter().filter(|generation| !generation.fields().is_empty());
        if answering().count() < 2 || answering().any(|generation| generation.language() != Some(self.language())) {
            return None;
        }
        let named = answering().map(|generation| (generation.label(), generation.edition().role()));
        Some(Overlay::path(self.root(), self.language(), named))
    }

    /// Whether the generations that should answer have no overlay yet.
    pub(in crate::maxmind) fn wants_overlay(&self, editions: &[Edition], manifest: &Manifest) -> bool {
        self.overlay(&self.current(editions, manifest)).is_some_and(|path| !is_settled(&path))
    }

    /// Makes the overlay of the generations that will answer by a manifest, and removes all others: whoever has one of
    /// them mapped keeps it. False: there was nothing to make.
    ///
    /// # Errors
    /// [`StoreError::Io`] when it cannot be written.
    pub(in crate::maxmind) fn make_overlay(
        &self,
        editions: &[Edition],
        manifest: &Manifest,
        breathe: &dyn Fn(),
    ) -> Result<bool, StoreError> {
        let generations = self.current(editions, manifest);
        let Some(path) = self.overlay(&generations) else {
            remove_others(&self.root().join(OVERLAYS), None);
            return Ok(false);
        };
        let wanted = !is_settled(&path);
        if wanted {
            let at = |error| StoreError::Io { path: path.clone(), error };
            put(&path, &generations, breathe).map_err(at)?;
        }
        remove_others(&self.root().join(OVERLAYS), Some(&path));
        Ok(wanted)
    }

    /// Compares the overlay with what is made of the same generations now. One that can be opened may be damaged still, and
    /// has answered: as if its generations had been damaged, each that is unchanged is one made anew, and so is the overlay.
    ///
    /// # Errors
    /// [`StoreError::Io`] when it cannot be compared.
    pub(in crate::maxmind) fn heal_overlay(
        &self,
        editions: &[Edition],
        manifest: &mut Manifest,
        outcomes: &mut [(Edition, Outcome)],
        breathe: &dyn Fn(),
    ) -> Result<(), StoreError> {
        let generations = self.current(editions, manifest);
        let Some(path) = self.overlay(&generations).filter(|path| Overlay::open(path).is_some()) else { return Ok(()) };
        let draft = path.with_file_name(DRAFT);
        let _litter = RemoveOnDrop(&draft);
        let is_same = write(&draft, &generations, breathe).and_then(|()| is_same_file(&path, &draft, breathe));
        if is_same.map_err(|error| StoreError::Io { path: path.clone(), error })? {
            return Ok(());
        }
        for (edition, outcome) in outcomes.iter_mut().filter(|(_, outcome)| *outcome == Outcome::Unchanged) {
            if let Some(info) = manifest.editions.get_mut(edition.name()).and_then(|state| state.current.as_mut()) {
                info.mends = info.mends.saturating_add(1);
                *outcome = Outcome::Installed(info.clone());
            }
        }
        Ok(())
    }

    fn current(&self, editions: &[Edition], manifest: &Manifest) -> Vec<Generation> {
        let current = editions.iter().filter_map(|edition| {
            let info = manifest.editions.get(edition.name())?.current.as_ref()?;
            self.generation(info, edition).ok()
        });
        current.collect()
    }
}

/// Whether there is a whole one, or one that says that none can be made.
fn is_settled(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.len() == 0) || Overlay::open(path).is_some()
}

fn put(path: &Path, generations: &[Generation], breathe: &dyn Fn()) -> io::Result<()> {
    let Some(dir) = path.parent() else { return Ok(()) };
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let draft = dir.join(DRAFT);
    let _litter = RemoveOnDrop(&draft);
    write(&draft, generations, breathe)?;
    fs::rename(&draft, path)?;
    fs::File::open(dir)?.sync_all()
}

/// Where there are too many ranges or records for an overlay, an empty file says so: it is not tried again, and answers are
/// put together at each look-up.
fn write(draft: &Path, generations: &[Generation], breathe: &dyn Fn()) -> io::Result<()> {
    let _ = fs::remove_file(draft);
    let open = || OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(draft);
    let mut out = Blocks::new(open()?);
    match build(generations.iter(), &mut out, breathe) {
        Ok(()) => out.finish().and_then(|file| file.sync_all()),
        Err(IndexError::Io(error)) => Err(error),
        Err(_) => open().map(|_| ()),
    }
}

fn remove_others(dir: &Path, kept: Option<&Path>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten().filter(|entry| Some(entry.path().as_path()) != kept) {
        let _ = fs::remove_file(entry.path());
    }
}
