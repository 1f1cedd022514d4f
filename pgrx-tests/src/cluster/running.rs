//! The servers that run now, each ended by its own id.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Servers that run now, for the end of the process.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Sends `signal` to one process.
pub fn kill(pid: u32, signal: i32) {
    let Ok(pid) = i32::try_from(pid) else { return };
    assert!(pid > 1, "no process of ours has the id {pid}");
    // SAFETY: kill takes two integers; a process that is gone is an error that does not matter.
    unsafe { libc::kill(pid, signal) };
}

pub(super) fn running() -> std::sync::MutexGuard<'static, BTreeSet<u32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends every server that still runs, and waits for each.
pub fn end_all() {
    let pids = std::mem::take(&mut *running());
    for &pid in &pids {
        kill(pid, libc::SIGQUIT);
    }
    for &pid in &pids {
        let Ok(pid) = i32::try_from(pid) else {
            continue;
        };
        // SAFETY: waitpid on a child of ours; a null status is allowed.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    }
}
