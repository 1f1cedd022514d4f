//! Memory of PostgreSQL's that is given back at once.

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

/// Gives free memory of Rust's back to the system.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: touches only free memory.
    unsafe {
        libc::malloc_trim(0);
    }
}
