//! Deadlocks of several nodes of a Citus cluster.
#![allow(unsafe_code, reason = "calls Citus")]

/// Whether Citus canceled what runs here to end a deadlock of several nodes. It tells the log alone: what is caught says that
/// a user wanted it. Forgets it: the next cancellation may be a user's. To be asked before the (sub)transaction is rolled
/// back.
pub fn was_canceled() -> bool {
    // In the middle of an error: no catalog is read, and no library loaded. PostgreSQL makes the names of those that are
    // loaded known to all.
    // SAFETY: a function of Citus, if it is loaded; it reads and writes a flag of this backend below a spinlock, and cannot
    // raise.
    unsafe {
        let function = libc::dlsym(libc::RTLD_DEFAULT, c"MyBackendGotCancelledDueToDeadlock".as_ptr());
        if function.is_null() {
            return false;
        }
        let function: unsafe extern "C" fn(bool) -> bool = std::mem::transmute(function);
        function(true)
    }
}
