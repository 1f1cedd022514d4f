//! Reading the manifest of a store, of mmdb files or of lists.

use std::path::PathBuf;
use std::{fs, io};

use serde::de::DeserializeOwned;

use super::outcome::StoreError;

/// The manifest of a store; empty when none was ever written.
///
/// # Errors
/// [`StoreError::Io`] when it exists but cannot be read, [`StoreError::Damaged`] when it cannot be understood.
pub(crate) fn read_manifest<M: Default + DeserializeOwned>(path: PathBuf) -> Result<M, StoreError> {
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| StoreError::Damaged { path, error: error.into() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(M::default()),
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => Err(StoreError::Damaged { path, error }),
        Err(error) => Err(StoreError::Io { path, error }),
    }
}
