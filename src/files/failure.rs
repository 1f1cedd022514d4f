//! Errors of a store of files, for PostgreSQL and for shared memory.

use std::io::ErrorKind;
use std::time::Duration;

use enrich::maxmind::store::StoreError;
use pgrx::PgSqlErrorCode;

use crate::settings;
use crate::shared::trouble::Trouble;

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

/// For how long one process may import before others say that it is in their way. Full-size files take seconds.
const HELD: Duration = Duration::from_secs(300);

/// Notes how an import ended. That another process imports is a failure only when it does so for long: it may have been
/// stopped, or wait for a disk that does not answer.
pub fn note(import: &Trouble, error: Option<&StoreError>) {
    match error {
        Some(error @ StoreError::Busy) if import.kept() > HELD => {
            let message = format!("{error} for over {} minutes", HELD.as_secs() / 60);
            import.failed(sqlstate(error) as i32, &message);
        }
        Some(StoreError::Busy) => {}
        Some(error) => {
            import.not_kept();
            import.failed(sqlstate(error) as i32, &brief(error));
        }
        None => import.succeeded(),
    }
}

/// The error with the path below the data directory: shared memory has room for the beginning of a text, and the place of
/// the data directory is not for all roles.
pub fn brief(error: &StoreError) -> String {
    let home = settings::place::directory();
    let data = format!("{}/", home.parent().unwrap_or(&home).display());
    enrich::text::clean(&error.to_string().replace(&data, ""), 250).into_owned()
}
