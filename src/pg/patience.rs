//! Waiting for a lock, with a limit.
//!
//! A session that requests a strong lock is in the queue before all later requests for a weak one, and PostgreSQL
//! queues a request before it checks further rights. A loader, or a statement that makes a partition, must not wait
//! behind it without bound.

use std::time::{Duration, Instant};

use pgrx::pg_sys;

/// The first pause between two attempts; it doubles up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_micros(200);
const LONGEST: Duration = Duration::from_millis(10);

/// Locks a relation until the transaction ends; false when that takes longer than `patience`. Interruptible.
pub fn lock(relation: pg_sys::Oid, mode: u32, patience: Duration) -> bool {
    // SAFETY: asks for the lock and comes back at once.
    until(patience, || unsafe { pg_sys::ConditionalLockRelationOid(relation, mode as i32) })
}

/// The same for the extension: a holder keeps it from being dropped.
pub fn hold_extension(patience: Duration) -> bool {
    let Some(extension) = crate::pg::catalog::extension() else { return false };
    let (class, mode) = (pg_sys::ExtensionRelationId, pg_sys::AccessShareLock as i32);
    // SAFETY: as above.
    until(patience, || unsafe { pg_sys::ConditionalLockDatabaseObject(class, extension, 0, mode) })
}

/// Leaves the way to others for so long. Interruptible.
pub fn rest(time: Duration) {
    until(time, || false);
}

/// Tries until it succeeds; false when that takes too long.
fn until(patience: Duration, attempt: impl Fn() -> bool) -> bool {
    let mut end = None;
    let mut pause = SHORTEST;
    while !attempt() {
        let end = *end.get_or_insert_with(|| Instant::now() + patience);
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
