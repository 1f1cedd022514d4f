//! Reading without keeping the locks of what was read: for a session that goes on to wait for somebody who may need them, or
//! who waits behind another session that does.

use std::panic::AssertUnwindSafe;

use pgrx::pg_sys;
use pgrx::prelude::*;

/// Runs `f`, which only reads, in a subtransaction that is rolled back: the locks of what it has read are given back at once,
/// and not when the caller's transaction ends. An error goes on.
pub fn glance<T>(f: impl FnOnce() -> T) -> T {
    in_subtransaction(f, |_| false)
}

/// The same where `f` comes back with an `Err`. Where it succeeds, what it has locked stays locked.
pub fn unless_in_vain<T, E>(f: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    in_subtransaction(f, Result::is_ok)
}

fn in_subtransaction<T>(f: impl FnOnce() -> T, is_kept: impl FnOnce(&T) -> bool) -> T {
    // SAFETY: as in `tx::attempt`.
    let (context, owner) = unsafe {
        let kept = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(kept.0);
        kept
    };
    let (mut slot, mut is_over) = (None, false);
    let error = PgTryBuilder::new(AssertUnwindSafe(|| {
        let value = f();
        if is_kept(&value) {
            // SAFETY: ends the subtransaction begun above.
            unsafe { pg_sys::ReleaseCurrentSubTransaction() };
            is_over = true;
        }
        slot = Some(value);
        None
    }))
    .catch_others(Some)
    .execute();
    // SAFETY: ends the subtransaction begun above; see `tx::attempt`.
    unsafe {
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        if !is_over {
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
    }
    match (error, slot) {
        (None, Some(value)) => value,
        (Some(error), _) => error.rethrow(),
        (None, None) => unreachable!("a subtransaction that ended well has a value"),
    }
}
