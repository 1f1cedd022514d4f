//! Reading without keeping the locks of what was read: for a session that goes on to wait for somebody who may need them, or
//! who waits behind another session that does.

use std::panic::AssertUnwindSafe;

use pgrx::pg_sys;
use pgrx::prelude::*;

/// Runs `f`, which only reads, in a subtransaction that is rolled back: the locks of what it has read are given back at once,
/// and not when the caller's transaction ends. An error goes on.
pub fn glance<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: as in `tx::attempt`.
    let (context, owner) = unsafe {
        let kept = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(kept.0);
        kept
    };
    let mut slot = None;
    let error = PgTryBuilder::new(AssertUnwindSafe(|| {
        slot = Some(f());
        None
    }))
    .catch_others(Some)
    .execute();
    // SAFETY: ends the subtransaction begun above; see `tx::attempt`.
    unsafe {
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        pg_sys::RollbackAndReleaseCurrentSubTransaction();
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
    }
    match (error, slot) {
        (None, Some(value)) => value,
        (Some(error), _) => error.rethrow(),
        (None, None) => unreachable!("a subtransaction that ended well has a value"),
    }
}
