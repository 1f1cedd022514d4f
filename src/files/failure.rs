//! Errors of a store of files, for PostgreSQL and for shared memory.

use std::io::ErrorKind;

use enrich::maxmind::store::StoreError;
use pgrx::PgSqlErrorCode;

use crate::settings;

/// The SQLSTATE that PostgreSQL gives to such an error of a file.
pub fn sqlstate(error: &StoreError) -> PgSqlErrorCode {
    match error {
        StoreError::Busy => PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
        StoreError::Damaged { .. } => PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
        StoreError::Io { error, .. } => match error.kind() {
            ErrorKind::PermissionDenied => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                PgSqlErrorCode::ERRCODE_DISK_FULL
            }
            _ => PgSqlErrorCode::ERRCODE_IO_ERROR,
        },
    }
}

/// The error with the path below the data directory: shared memory has room for the beginning of a text, and the place of
/// the data directory is not for all roles.
pub fn brief(error: &StoreError) -> String {
    let home = settings::place::directory();
    let data = format!("{}/", home.parent().unwrap_or(&home).display());
    enrich::text::clean(&error.to_string().replace(&data, ""), 250).into_owned()
}
