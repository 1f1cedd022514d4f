//! Memory of PostgreSQL's that is given back at once.

use std::sync::atomic::{AtomicPtr, Ordering};

use pgrx::{PgMemoryContexts, pg_sys};

/// Runs `f` with its own memory context of that name. Its palloced memory is freed when this returns: `f` returns plain
/// values.
pub fn within<R>(name: &'static str, f: impl FnOnce() -> R) -> R {
    let context = PgMemoryContexts::new(name);
    // SAFETY: the context lives until the end of this function, and the one before is current again by then. After an
    // error, the catching code restores its own context.
    unsafe {
        let old = pg_sys::MemoryContextSwitchTo(context.value());
        let result = f();
        pg_sys::MemoryContextSwitchTo(old);
        result
    }
}

static REUSED: AtomicPtr<pg_sys::MemoryContextData> = AtomicPtr::new(std::ptr::null_mut());

/// The current memory, for as long as one row is read: a context that the session keeps. Not to be entered twice.
pub struct Reused(pg_sys::MemoryContext);

impl Reused {
    /// Makes it the current one.
    #[inline]
    pub fn enter() -> Reused {
        if REUSED.load(Ordering::Relaxed).is_null() {
            Reused::create();
        }
        // SAFETY: the context lives as long as the session. After an error, the catching code restores its own.
        unsafe {
            let outer = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = REUSED.load(Ordering::Relaxed);
            Reused(outer)
        }
    }

    #[cold]
    fn create() {
        // SAFETY: a context of the session.
        let context = unsafe {
            pg_sys::AllocSetContextCreateInternal(
                pg_sys::TopMemoryContext,
                c"asn_inventory row".as_ptr(),
                pg_sys::ALLOCSET_SMALL_MINSIZE as usize,
                pg_sys::ALLOCSET_SMALL_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            )
        };
        REUSED.store(context, Ordering::Relaxed);
    }

    /// Restores the one before, and frees what was allocated.
    #[inline]
    pub fn leave(self) {
        // SAFETY: see above; a context that nothing was allocated from says so.
        unsafe {
            pg_sys::CurrentMemoryContext = self.0;
            let context = REUSED.load(Ordering::Relaxed);
            if !(*context).isReset {
                pg_sys::MemoryContextReset(context);
            }
        }
    }
}

/// Gives free memory of Rust's back to the system.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: touches only free memory.
    unsafe {
        libc::malloc_trim(0);
    }
}
