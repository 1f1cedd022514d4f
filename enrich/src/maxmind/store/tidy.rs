//! What an import leaves behind, and the manifest that says what is to stay.

use std::fs;
use std::path::PathBuf;

use super::{BROKEN, REPLACED, Store, StoreError, at};
use crate::durable;
use crate::maxmind::manifest::Manifest;

/// Digits of a process's number, at most.
const MOST_DIGITS: usize = 10;

impl Store {
    /// Replaces the manifest; a damaged one is set aside in the same moment. Without any, the next import would take all
    /// generations for litter.
    pub(in crate::maxmind) fn write_manifest(&self, manifest: &Manifest, is_damaged: bool) -> Result<(), StoreError> {
        let (path, broken) = (self.manifest_path(), self.root.join(BROKEN));
        let bytes = serde_json::to_vec_pretty(manifest).map_err(|error| at(&path)(error.into()))?;
        durable::replace(&path, &bytes, is_damaged.then_some(&*broken)).map_err(at(&path))
    }

    /// Removes, when an import ends in any way, the generations that the manifest does not name. Without one that can be
    /// read, none is: it may be the only copy of its file.
    pub(super) fn sweep(&self) {
        if let Ok(manifest) = self.manifest() {
            self.remove_unreferenced(&manifest);
        }
    }

    /// Where an import of this process makes a generation; nothing is there.
    pub(super) fn workshop(&self) -> PathBuf {
        let tmp = self.generations().join(format!("tmp-{}", std::process::id()));
        // Numbers of processes come back, in containers at once.
        let _ = fs::remove_dir_all(&tmp);
        tmp
    }

    /// Removes what processes that were killed had begun to receive or to make. Only called under the lock, when nothing is
    /// received.
    pub(super) fn remove_drafts(&self) {
        // As 0.2.0 called the draft of its manifest.
        let _ = fs::remove_file(self.manifest_path().with_extension("json.tmp"));
        for entry in fs::read_dir(self.root.join("received")).into_iter().flatten().flatten() {
            let _ = fs::remove_file(entry.path());
        }
        for entry in fs::read_dir(self.generations()).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(is_draft) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Unlinks generations that will not be opened again; a process that has one mapped keeps it. Only called under the
    /// lock.
    pub(in crate::maxmind) fn remove_unreferenced(&self, manifest: &Manifest) {
        let states = manifest.editions.values();
        let kept: Vec<&str> =
            states.flat_map(|s| s.current.iter().chain(&s.previous)).map(|info| info.directory.as_str()).collect();
        let Ok(entries) = fs::read_dir(self.generations()) else { return };
        for entry in entries.flatten() {
            if entry.file_name().to_str().is_some_and(|name| !kept.contains(&name)) {
                // Files that cannot be removed now are tried again with the next import.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// Whether a directory is one of [`Store::workshop`], or what that took the place of. A generation's name has a longer end.
fn is_draft(name: &str) -> bool {
    let number = name.strip_prefix("tmp-").map(|rest| rest.strip_suffix(REPLACED).unwrap_or(rest));
    number.is_some_and(|number| {
        (1..=MOST_DIGITS).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_are_told_from_generations() {
        for name in ["tmp-1", "tmp-4194304", "tmp-7-replaced"] {
            assert!(is_draft(name), "{name}");
        }
        // Of editions with such names.
        for name in
            ["tmp-1234567890123456", "tmp-1-0123456789abcdef", "tmp-asn-0123456789abcdef", "tmp-", "tmp--replaced"]
        {
            assert!(!is_draft(name), "{name}");
        }
    }
}
