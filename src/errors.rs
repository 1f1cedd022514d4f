//! Errors as users see them: lower case, the right SQLSTATE, DETAIL for the reason, HINT for the cure.

use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// Raises an error; does not return.
#[track_caller]
pub fn raise(code: PgSqlErrorCode, message: impl Into<String>, detail: &str, hint: &str) -> ! {
    let mut report = ErrorReport::new(code, message.into(), "asn_inventory");
    if !detail.is_empty() {
        report = report.set_detail(detail);
    }
    if !hint.is_empty() {
        report = report.set_hint(hint);
    }
    report.report(PgLogLevel::ERROR);
    // ERROR unwinds out of report(); this line only tells the compiler so.
    unreachable!()
}

/// A value that can't be: 22023.
#[track_caller]
pub fn bad_value(message: impl Into<String>, detail: &str, hint: &str) -> ! {
    raise(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message, detail, hint)
}

/// The server is not in the state that this needs: 55000.
#[track_caller]
pub fn not_ready(message: impl Into<String>, detail: &str, hint: &str) -> ! {
    raise(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message, detail, hint)
}

/// Refuses what writes, in a read-only transaction or on a standby: 25006. For what goes below SQL, or takes locks first.
pub fn refuse_read_only(function: &std::ffi::CStr) {
    // SAFETY: a NUL-terminated name for the message; the error is raised as usual.
    unsafe { pgrx::pg_sys::PreventCommandIfReadOnly(function.as_ptr()) };
}

/// A warning with all its parts.
pub fn warn(message: impl Into<String>, detail: &str, hint: &str) {
    let mut report = ErrorReport::new(PgSqlErrorCode::ERRCODE_WARNING, message.into(), "asn_inventory");
    if !detail.is_empty() {
        report = report.set_detail(detail);
    }
    if !hint.is_empty() {
        report = report.set_hint(hint);
    }
    report.report(PgLogLevel::WARNING);
}
