//! A generation that comes from another server of the same data: the primary of a standby, the coordinator of a cluster.
//!
//! That server has judged the file, so it is installed here even where it is older than the one in use: all servers are to
//! answer alike. It is installed once: what counts is when it was offered, so that of two offers the later one stays. A file
//! that the operator of this server puts into its directory afterwards is imported as ever.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};

use super::edition::Edition;
use super::generation::DATABASE;
use super::intake::hexadecimal;
pub use super::manifest::Offer;
use super::manifest::{GenerationInfo, Received, now_us};
use super::store::{Outcome, Store, StoreError};
pub use crate::durable::fill;

/// How far the other server's clock may be ahead.
const AHEAD: Duration = Duration::from_secs(86_400);

impl Store {
    /// Whether a file that is offered is to be taken: it is the first one, and not older than what is here, or it was offered
    /// later than the last one; or it is the one that should answer and is gone. What is not taken is noted, so that it is
    /// not asked about again.
    ///
    /// # Errors
    /// [`StoreError`] when the manifest cannot be read or written, or another process imports.
    pub fn wants(&self, edition: &Edition, offer: &Offer) -> Result<bool, StoreError> {
        let state = self.manifest()?.editions.remove(edition.name()).unwrap_or_default();
        let current = state.current.as_ref();
        if current.is_some_and(|info| info.sha256 == offer.sha256) && self.is_gone(edition, &state) {
            return Ok(true);
        }
        let answers = current.is_some_and(|info| info.sha256 == offer.sha256);
        // One that claims to be of the future is no reason to refuse what the other server answers from.
        let is_newer_than_offered = |info: &GenerationInfo| info.built_us() / 1_000_000 > offer.build_epoch;
        let is_older = current.is_some_and(|info| info.is_honest() && is_newer_than_offered(info));
        // Of a clock that was ahead: an offer of today would never be later.
        let is_of_the_future = |last: &&Received| last.offered_at > now_us() + AHEAD.as_micros() as i64;
        let wanted = match &state.received {
            Some(last) if last.offered_at == offer.offered_at && last.sha256 == offer.sha256 => return Ok(false),
            Some(last) if offer.offered_at <= last.offered_at && !is_of_the_future(&last) => return Ok(false),
            Some(_) => !answers,
            None => !answers && !is_older,
        };
        if !wanted {
            self.note_received(edition, offer)?;
        }
        Ok(wanted)
    }

    /// Begins to put a file together from its parts. Nobody else imports until that is dropped.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when another process imports; [`StoreError::Io`] when it cannot be written.
    pub fn draft(&self, edition: &Edition) -> Result<Draft, StoreError> {
        let lock = self.lock()?;
        let dir = self.root().join("received");
        let path = dir.join(edition.file_name());
        let begin = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
            OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path)
        };
        match begin() {
            Ok(file) => Ok(Draft { path, file, digest: Digest::default(), _lock: lock }),
            Err(error) => Err(StoreError::Io { path, error }),
        }
    }

    fn note_received(&self, edition: &Edition, offer: &Offer) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        let mut manifest = self.manifest()?;
        if let Some(state) = manifest.editions.get_mut(edition.name()) {
            state.received = Some(Received::of(offer));
            manifest.serial += 1;
            self.write_manifest(&manifest, false)?;
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
    digest: Digest,
    _lock: File,
}

impl Draft {
    /// Adds a part.
    ///
    /// # Errors
    /// [`StoreError::Io`] when it cannot be written.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.digest.add(bytes);
        self.file.write_all(bytes).map_err(|error| StoreError::Io { path: self.path.clone(), error })
    }

    /// Installs the whole file. `None`: it is not the one that was offered, because that changed meanwhile. One that is refused
    /// changes nothing. `breathe` is called between pieces of the work, and may leave it by unwinding.
    ///
    /// # Errors
    /// As with [`Store::import`].
    pub fn install(
        self,
        store: &Store,
        edition: &Edition,
        offer: &Offer,
        breathe: &dyn Fn(),
    ) -> Result<Option<Outcome>, StoreError> {
        if self.digest.hexadecimal() != offer.sha256 {
            return Ok(None);
        }
        // It is whole, and must not count as one that is still being written.
        let built = UNIX_EPOCH + Duration::from_secs(u64::try_from(offer.build_epoch).unwrap_or(0));
        let at = |error| StoreError::Io { path: self.path.clone(), error };
        self.file.set_modified(built).map_err(at)?;
        let mut manifest = store.manifest()?;
        store.remove_unreferenced(&manifest);
        let before = manifest.editions.get(edition.name()).cloned().unwrap_or_default();
        let mut state = before.clone();
        // What is known of the operator's file stays known, or it would be taken for a new one.
        (state.seen, state.refused) = (None, None);
        let mut outcome = store.import_one(&self.path, edition, &mut state, true, breathe)?;
        if let Outcome::Refused(_) = outcome {
            return Ok(Some(outcome));
        }
        if state.current.as_ref().is_none_or(|info| info.sha256 != offer.sha256) {
            return Err(at(io::Error::new(io::ErrorKind::NotFound, "it was taken away or changed")));
        }
        (state.seen, state.refused) = (before.seen, before.refused);
        state.received = Some(Received::of(offer));
        if let Outcome::Installed(info) = &mut outcome {
            // As late as possible, as with an import.
            info.installed_at = now_us();
            state.current = Some(info.clone());
        }
        manifest.editions.insert(edition.name().to_owned(), state);
        manifest.serial += 1;
        store.write_manifest(&manifest, false)?;
        store.remove_unreferenced(&manifest);
        Ok(Some(outcome))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The SHA-256 of what comes in parts.
#[derive(Clone, Debug, Default)]
pub struct Digest(Sha256);

impl Digest {
    /// Adds a part.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Of all so far.
    #[must_use]
    pub fn hexadecimal(&self) -> String {
        hexadecimal(&self.0.clone().finalize())
    }
}
