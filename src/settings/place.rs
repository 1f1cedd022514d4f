//! Where the extension keeps files of its own.

use std::path::PathBuf;

use super::server;

/// The directory of the lists' own files, beside that of the operator's.
pub fn lists() -> PathBuf {
    directory().join("lists_imported")
}

/// The private directory under the data directory: manifest, generations, the default drop directory.
pub fn directory() -> PathBuf {
    server::data_directory().join("asn_inventory")
}
