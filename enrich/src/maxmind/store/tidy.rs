//! What an import leaves behind, and the manifest that says what is to stay.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::{BROKEN, REPLACED, Store, StoreError, at, sync_dir};
use crate::durable;
use crate::maxmind::manifest::Manifest;

/// Digits of a process's number, at most.
const MOST_DIGITS: usize = 10;

impl Store {
    pub(in crate::maxmind) fn write_manifest(&self, manifest: &Manifest) -> Result<(), StoreError> {
        self.put_manifest(manifest, false)
    }

    /// Replaces the manifest; a damaged one is set aside in the same moment. Without any, the next import would take all
    /// generations for litter.
    pub(super) fn put_manifest(&self, manifest: &Manifest, is_damaged: bool) -> Result<(), StoreError> {
        let path = self.manifest_path();
        let tmp = self.root.join("current.json.tmp");
        let _litter = durable::RemoveOnDrop(&tmp);
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&tmp)?;
            serde_json::to_writer_pretty(&mut file, manifest)?;
            file.sync_all()?;
            if is_damaged {
                durable::set_aside(&path, &self.root.join(BROKEN))?;
            }
            fs::rename(&tmp, &path)
        };
        write().map_err(at(&path))?;
        sync_dir(&self.root)
    }

    /// Lets what an import leaves behind be removed at its end.
    pub(super) fn sweep(&self) -> Sweep<'_> {
        Sweep(self)
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

/// Removes, when an import ends in any way, the generations that the manifest does not name. Without one that can be read,
/// none is: it may be the only copy of its file.
pub(super) struct Sweep<'a>(&'a Store);

impl Drop for Sweep<'_> {
    fn drop(&mut self) {
        if let Ok(manifest) = self.0.manifest() {
            self.0.remove_unreferenced(&manifest);
        }
    }
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
