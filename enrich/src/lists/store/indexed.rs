//! The index of all lists that answer.

use std::collections::HashSet;
use std::io;

use sha2::{Digest, Sha256};

use super::files::short;
use super::{Store, StoreError, at};
use crate::lists::index;
use crate::lists::manifest::{IndexInfo, Manifest};
use crate::lists::ranges::Ranges;
use crate::maxmind::manifest::now_us;
use crate::maxmind::map::map;

impl Store {
    /// Makes the index of all lists, if it is not the one in use. A list whose ranges are lost is in the one in use still, and
    /// in no other: it must not keep the others from theirs. Returns the names of those that were left out.
    pub(super) fn index(&self, manifest: &mut Manifest, breathe: &dyn Fn()) -> Result<Vec<String>, StoreError> {
        if self.is_indexed(manifest, breathe) {
            return Ok(Vec::new());
        }
        let lost = self.leave_out_lost(manifest, breathe)?;
        if manifest.answering().next().is_none() {
            manifest.index = None;
        } else if !self.is_indexed(manifest, breathe) {
            // Damaged, it has answered as long as it could be opened.
            let has_answered = manifest.index.as_ref().is_some_and(|info| self.is_index(&info.file));
            let file = self.build_index(manifest, breathe)?;
            let same = manifest.index.as_ref().filter(|info| info.file == file);
            let mends = same.map_or(0, |info| info.mends.saturating_add(has_answered.into()));
            // As late as possible: answers from the index before that are made after this would count as fresh.
            manifest.index = Some(IndexInfo { file, installed_at: now_us(), mends });
        }
        Ok(lost)
    }

    /// Whether the index in use is that of all lists that answer.
    fn is_indexed(&self, manifest: &Manifest, breathe: &dyn Fn()) -> bool {
        let wanted = index_of(manifest);
        let is_whole = |file: &str| self.is_index(file) && self.is_whole(file, breathe).unwrap_or(false);
        manifest.index.as_ref().is_some_and(|info| info.file.starts_with(&wanted) && is_whole(&info.file))
    }

    fn leave_out_lost(&self, manifest: &mut Manifest, breathe: &dyn Fn()) -> Result<Vec<String>, StoreError> {
        let mut gone = HashSet::new();
        for (name, state) in &manifest.lists {
            if let Some(info) = &state.current
                && !self.has_ranges(info, breathe)?
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
}

/// How the name of the index of all lists that answer begins.
fn index_of(manifest: &Manifest) -> String {
    let mut hash = Sha256::new();
    for (name, file) in manifest.answering() {
        hash.update(format!("{name} {file}\n"));
    }
    format!("index-{}-", &short(&hash))
}
