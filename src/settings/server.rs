//! The server functions for settings.
#![allow(unsafe_code, reason = "reads variables of the server, and its catalog")]

use std::path::PathBuf;

use pgrx::pg_sys;

/// The data directory.
pub fn data_directory() -> PathBuf {
    // SAFETY: the server sets DataDir before it loads any library.
    let data = unsafe { std::ffi::CStr::from_ptr(pg_sys::DataDir) };
    PathBuf::from(std::ffi::OsString::from(data.to_string_lossy().into_owned()))
}

/// Whether the present user may read settings that are shown to superusers only.
pub fn may_read_secret_settings() -> bool {
    // SAFETY: looks memberships up in the catalog.
    unsafe { pg_sys::has_privs_of_role(pg_sys::GetUserId(), pg_sys::Oid::from(pg_sys::ROLE_PG_READ_ALL_SETTINGS)) }
}

/// A misspelt setting is refused from here on instead of being kept and doing nothing.
pub fn reserve_names() {
    // SAFETY: copies the name.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"asn_inventory".as_ptr()) }
}
