//! Where the extension keeps files of its own.

use std::path::PathBuf;

use pgrx::pg_sys;

/// The private directory under the data directory: manifest, generations, the default drop directory.
pub fn directory() -> PathBuf {
    // SAFETY: the server sets DataDir before it loads any library.
    let data = unsafe { std::ffi::CStr::from_ptr(pg_sys::DataDir) };
    PathBuf::from(std::ffi::OsString::from(data.to_string_lossy().into_owned())).join("asn_inventory")
}
