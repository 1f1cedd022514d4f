//! A generation that comes from another server of the same data: the primary of a standby, the coordinator of a cluster.
//!
//! That server has judged the file, so it is installed here even where it is older than the one in use: all servers are to
//! answer alike. It is installed once. A file that the operator of this server puts into its directory afterwards is
//! imported as ever.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::edition::Edition;
use super::generation::DATABASE;
use super::manifest::{GenerationInfo, now_us};
use super::store::{Outcome, Store, StoreError};

impl Store {
    /// Whether the file with this SHA-256 was not taken yet, or was and is gone. False as well where the same file was
    /// imported here before, which is noted.
    ///
    /// # Errors
    /// [`StoreError`] when the manifest cannot be read or written, or another process imports.
    pub fn wants(&self, edition: &Edition, sha256: &str) -> Result<bool, StoreError> {
        let state = self.manifest()?.editions.remove(edition.name()).unwrap_or_default();
        let is_whole = state.current.is_some() && !self.is_gone(edition, &state);
        let answers = state.current.as_ref().is_some_and(|info| info.sha256 == sha256);
        let taken = state.received.as_deref() == Some(sha256);
        if answers && is_whole && !taken {
            self.note_received(edition, sha256)?;
        }
        Ok(if answers { !is_whole } else { !taken })
    }

    /// Begins to put a file together from its parts.
    ///
    /// # Errors
    /// [`StoreError::Io`] when it cannot be written.
    pub fn draft(&self, edition: &Edition) -> Result<Draft, StoreError> {
        let dir = self.root().join("received");
        let path = dir.join(edition.file_name());
        let begin = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
            OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path)
        };
        match begin() {
            Ok(file) => Ok(Draft { path, file, digest: Sha256::new() }),
            Err(error) => Err(StoreError::Io { path, error }),
        }
    }

    /// Installs `file`, a private copy of what that server has. One that is refused changes nothing. `breathe` is called between pieces of the work, and may
    /// leave it by unwinding.
    fn receive(&self, file: &Path, edition: &Edition, sha256: &str, breathe: &dyn Fn()) -> Result<Outcome, StoreError> {
        let _lock = self.lock()?;
        let mut manifest = self.manifest()?;
        self.remove_unreferenced(&manifest);
        let before = manifest.editions.get(edition.name()).cloned().unwrap_or_default();
        let mut state = before.clone();
        // What is known of the operator's file stays known, or it would be taken for a new one.
        (state.seen, state.refused) = (None, None);
        let mut outcome = self.import_one(file, edition, &mut state, true, breathe)?;
        if matches!(outcome, Outcome::Unsettled | Outcome::Refused(_)) {
            return Ok(outcome);
        }
        (state.seen, state.refused) = (before.seen, before.refused);
        state.received = Some(sha256.to_owned());
        if let Outcome::Installed(info) = &mut outcome {
            // As late as possible, as with an import.
            info.installed_at = now_us();
            state.current = Some(info.clone());
        }
        manifest.editions.insert(edition.name().to_owned(), state);
        manifest.serial += 1;
        self.write_manifest(&manifest)?;
        self.remove_unreferenced(&manifest);
        Ok(outcome)
    }

    fn note_received(&self, edition: &Edition, sha256: &str) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        let mut manifest = self.manifest()?;
        if let Some(state) = manifest.editions.get_mut(edition.name()) {
            state.received = Some(sha256.to_owned());
            manifest.serial += 1;
            self.write_manifest(&manifest)?;
        }
        Ok(())
    }

    /// The database of the generation that answers, for whoever gives it to other servers; `None`: there is none.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn database(&self, edition: &Edition) -> Result<Option<(GenerationInfo, File)>, StoreError> {
        let Some(info) = self.manifest()?.editions.remove(edition.name()).and_then(|state| state.current) else {
            return Ok(None);
        };
        let path = self.directory(&info).join(DATABASE);
        match File::open(&path) {
            Ok(file) => Ok(Some((info, file))),
            Err(error) => Err(StoreError::Io { path, error }),
        }
    }
}

/// A file that is being put together. It is removed when this is dropped; one that a killed process left is written over.
pub struct Draft {
    path: PathBuf,
    file: File,
    digest: Sha256,
}

impl Draft {
    /// Adds a part.
    ///
    /// # Errors
    /// [`StoreError::Io`] when it cannot be written.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.digest.update(bytes);
        self.file.write_all(bytes).map_err(|error| StoreError::Io { path: self.path.clone(), error })
    }

    /// Installs the whole file. `None`: it is not the one with that SHA-256, because it changed meanwhile. `build_epoch`:
    /// unix seconds. `breathe` is called between pieces of the work, and may leave it by unwinding.
    ///
    /// # Errors
    /// As with [`Store::import`].
    pub fn install(
        self,
        store: &Store,
        edition: &Edition,
        sha256: &str,
        build_epoch: i64,
        breathe: &dyn Fn(),
    ) -> Result<Option<Outcome>, StoreError> {
        let found: String = self.digest.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if found != sha256 {
            return Ok(None);
        }
        // It is whole, and must not count as one that is still being written.
        let built = UNIX_EPOCH + Duration::from_secs(u64::try_from(build_epoch).unwrap_or(0));
        let at = |error| StoreError::Io { path: self.path.clone(), error };
        self.file.set_modified(built).map_err(at)?;
        store.receive(&self.path, edition, sha256, breathe).map(Some)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Reads up to `buffer.len()` bytes, fewer only at the end of the file.
///
/// # Errors
/// When it cannot be read.
pub fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
