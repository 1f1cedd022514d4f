//! How an import ends, and the lock that keeps imports apart.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::maxmind::edition::Edition;
use crate::maxmind::manifest::{GenerationInfo, Refusal};

/// The result of one import.
#[derive(Debug)]
pub struct Imported {
    /// By edition, without those in `failures`.
    pub outcomes: Vec<(Edition, Outcome)>,
    /// Why editions could not be imported: the store could not be written. Their previous files stay in use.
    pub failures: Vec<StoreError>,
    /// Whether anything changed: processes with open files should look.
    pub changed: bool,
}

/// The result of one import for one edition.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The file is the one that was seen last time, or there is none.
    Unchanged,
    /// The file is still being written; look again.
    Unsettled,
    /// A new generation answers from now on, or one with a new index.
    Installed(GenerationInfo),
    /// The file was refused; what answered before goes on.
    Refused(Refusal),
}

/// Why an import could not run, or could not import an edition. The previous files stay in use.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process is importing.
    #[error("another process is importing")]
    Busy,
    /// The store itself cannot be read or written.
    #[error("\"{path}\": {error}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The manifest can be read, and is not one. A forced import sets it aside.
    #[error("\"{path}\": damaged: {error}")]
    Damaged {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Takes the lock of the store in a directory, until the file is dropped: one importer at a time, whichever process it is.
///
/// # Errors
/// [`StoreError::Busy`] when another process has it; [`StoreError::Io`] when it cannot be opened.
pub(crate) fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join("import.lock");
    let at = |error| StoreError::Io { path: path.clone(), error };
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(at)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Busy),
        Err(TryLockError::Error(error)) => Err(at(error)),
    }
}
