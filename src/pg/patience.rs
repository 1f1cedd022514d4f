//! Waiting for a lock, with a limit.
//!
//! A session that requests a strong lock is in the queue before all later requests for a weak one, and PostgreSQL
//! queues a request before it checks further rights. A loader, or a statement that makes a partition, must not wait
//! behind it without bound. Nor may it be waiting that fails it: where the statement or the transaction has a time limit of
//! PostgreSQL's, half of what is left of that is the most.

use std::ffi::c_int;
use std::time::{Duration, Instant};

use pgrx::pg_sys;

use super::time;

/// The first pause between two attempts; it doubles up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_micros(200);
const LONGEST: Duration = Duration::from_millis(10);

/// PostgreSQL's numbers of time limits, the same in all its versions. pgrx has no bindings of them.
const STATEMENT_TIMEOUT: c_int = 3;
/// There is `transaction_timeout` from PostgreSQL 17 on.
#[cfg(not(any(feature = "pg15", feature = "pg16")))]
const TRANSACTION_TIMEOUT: c_int = 8;
#[cfg(any(feature = "pg15", feature = "pg16"))]
const LIMITS: [c_int; 1] = [STATEMENT_TIMEOUT];
#[cfg(not(any(feature = "pg15", feature = "pg16")))]
const LIMITS: [c_int; 2] = [STATEMENT_TIMEOUT, TRANSACTION_TIMEOUT];

unsafe extern "C" {
    // They read an array of this backend, and cannot raise: no guard.
    fn get_timeout_active(limit: c_int) -> bool;
    fn get_timeout_finish_time(limit: c_int) -> pg_sys::TimestampTz;
}

/// Locks a relation until the transaction ends; false when that takes longer than `patience`, or than a time limit leaves
/// room for. Interruptible.
pub fn lock(relation: pg_sys::Oid, mode: u32, patience: Duration) -> bool {
    // SAFETY: asks for the lock and comes back at once.
    until(|| bounded(patience), || unsafe { pg_sys::ConditionalLockRelationOid(relation, mode as i32) })
}

/// The same for the extension: a holder keeps it from being dropped.
pub fn hold_extension(patience: Duration) -> bool {
    let Some(extension) = crate::pg::catalog::extension() else { return false };
    let (class, mode) = (pg_sys::ExtensionRelationId, pg_sys::AccessShareLock as i32);
    // SAFETY: as above.
    until(|| bounded(patience), || unsafe { pg_sys::ConditionalLockDatabaseObject(class, extension, 0, mode) })
}

/// Leaves the way to others for so long. Interruptible.
pub fn rest(time: Duration) {
    until(|| time, || false);
}

/// No longer than half of what is left until a time limit ends the statement.
fn bounded(patience: Duration) -> Duration {
    LIMITS.into_iter().fold(patience, |patience, limit| {
        // SAFETY: see above.
        let ends = unsafe { get_timeout_active(limit).then(|| get_timeout_finish_time(limit)) };
        ends.map_or(patience, |ends| {
            let left = u64::try_from(ends.saturating_sub(time::now())).unwrap_or(0);
            patience.min(Duration::from_micros(left / 2))
        })
    })
}

/// Tries until it succeeds; false when that takes too long. `patience` is asked only if the first attempt fails.
fn until(patience: impl Fn() -> Duration, attempt: impl Fn() -> bool) -> bool {
    let mut end = None;
    let mut pause = SHORTEST;
    while !attempt() {
        let end = *end.get_or_insert_with(|| Instant::now() + patience());
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        pgrx::check_for_interrupts!();
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST);
    }
    true
}
