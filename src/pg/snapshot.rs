//! Snapshots of now, where that of the statement is older.

use pgrx::pg_sys;

/// Runs queries that must see commits during the wait for a lock, and the changes of this command: the snapshot of the
/// statement is older.
pub fn with_latest_snapshot<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: popped below; after an error, the (sub)transaction's abort pops it.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot()) };
    let result = f();
    // SAFETY: see above.
    unsafe { pg_sys::PopActiveSnapshot() };
    result
}
