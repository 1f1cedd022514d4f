//! Errors as users see them: lower case, the right SQLSTATE, DETAIL for the reason, HINT for the cure.

use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// Keeps Rust's backtraces from clients and from the log, in every environment of the server: pgrx appends the
/// backtrace of each error to its DETAIL, with paths of the machine that built this. Called once, when the library is
/// loaded.
///
/// The standard library reads the environment at the first backtrace only: so one is requested here while the
/// environment says no.
pub fn without_backtraces() {
    const VARIABLE: &str = "RUST_LIB_BACKTRACE";
    let before = std::env::var_os(VARIABLE);
    // SAFETY: the library is being loaded, and no thread of ours runs yet; a server's process has no other.
    unsafe { std::env::set_var(VARIABLE, "0") };
    drop(std::backtrace::Backtrace::capture());
    // SAFETY: see above.
    unsafe {
        match before {
            Some(value) => std::env::set_var(VARIABLE, value),
            None => std::env::remove_var(VARIABLE),
        }
    }
    // On the main thread pgrx's hook notes where a panic came from, and a guard reports it. On another it would also call
    // Rust's own, which has an idea of backtraces to itself.
    let main = std::thread::current().id();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() == main {
            hook(info);
            return;
        }
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        let place = info.location().map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
        eprintln!("asn_inventory: a thread panicked: {}{place}", text.replace(['\n', '\r'], " "));
    }));
}

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

/// A value that cannot be: 22023.
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
