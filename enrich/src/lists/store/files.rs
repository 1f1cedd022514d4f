//! Files that are named by their content: written, verified, and removed when nothing names them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use sha2::{Digest, Sha256};

use super::{Store, StoreError, at};
use crate::blocks::Blocks;
use crate::durable::{RemoveOnDrop, fill};
use crate::lists::index::BuildError;
use crate::lists::manifest::ListInfo;
use crate::lists::ranges::Ranges;
use crate::maxmind::map::map;

/// A file in the making.
pub(super) const DRAFT: &str = "draft";
/// Bytes that are read and verified between two looks at `breathe`.
const PIECE: usize = 4 << 20;

impl Store {
    /// Writes a file whose name ends with a hash of its content, and says that name.
    pub(super) fn write(
        &self,
        beginning: &str,
        breathe: &dyn Fn(),
        content: impl FnOnce(&mut Blocks<Hashed>) -> Result<(), BuildError>,
    ) -> Result<String, StoreError> {
        let files = self.files();
        let draft = files.join(DRAFT);
        // It must not keep the last of a full disk, nor outlive a process that is told to stop.
        let _litter = RemoveOnDrop(&draft);
        let written = || -> io::Result<String> {
            let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&draft)?;
            let mut out = Blocks::new(Hashed { file, hash: Sha256::new() });
            content(&mut out).map_err(|error| match error {
                BuildError::Io(error) => error,
                error => io::Error::other(error.to_string()),
            })?;
            let Hashed { file, hash } = out.finish()?;
            breathe();
            file.sync_all()?;
            let name = format!("{beginning}{}", short(&hash));
            fs::rename(&draft, files.join(&name))?;
            File::open(&files)?.sync_all()?;
            Ok(name)
        };
        written().map_err(at(&draft))
    }

    /// Whether the ranges of a list are there. What cannot be read at the moment is not lost.
    pub(super) fn has_ranges(&self, info: &ListInfo, breathe: &dyn Fn()) -> Result<bool, StoreError> {
        let is_one = || map(&self.files().join(&info.ranges)).is_ok_and(|bytes| Ranges::open(&bytes).is_some());
        Ok(self.is_whole(&info.ranges, breathe)? && is_one())
    }

    /// Whether a file is there, with the content that gave it its name. It is read, not mapped: what a disk cannot give is an
    /// error then, and no SIGBUS.
    pub(super) fn is_whole(&self, file: &str, breathe: &dyn Fn()) -> Result<bool, StoreError> {
        let path = self.files().join(file);
        let verified = || -> io::Result<bool> {
            let (mut source, mut hash, mut piece) = (File::open(&path)?, Sha256::new(), vec![0; PIECE]);
            loop {
                breathe();
                match fill(&mut source, &mut piece)? {
                    0 => return Ok(file.ends_with(&short(&hash))),
                    read => hash.update(&piece[..read]),
                }
            }
        };
        match verified() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            verified => verified.map_err(at(&path)),
        }
    }

    /// Removes files that the manifest does not name; a process that has one mapped keeps it. Only called under the lock.
    pub(super) fn sweep(&self) {
        let Ok(manifest) = self.manifest() else { return };
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

/// A file, and the hash of what was written to it.
pub(super) struct Hashed {
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

/// A hash as it stands in names.
pub(super) fn short(hash: &Sha256) -> String {
    hash.clone().finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
