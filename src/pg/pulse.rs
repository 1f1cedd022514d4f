//! That a process works, told by itself in shared memory.
#![allow(unsafe_code, reason = "a place in shared memory, which outlives the process")]

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, Ordering};

use super::time;

/// Where this process shows that it works; null: nobody looks.
static PULSE: AtomicPtr<AtomicI64> = AtomicPtr::new(std::ptr::null_mut());

/// Where it shows whether it is within a step of its work, which may take longer than a wait; null: as above.
static WORKS: AtomicPtr<AtomicBool> = AtomicPtr::new(std::ptr::null_mut());

/// From now on this process shows in places of shared memory when it last did anything (timestamptz), and whether it works
/// or waits.
pub fn show_life_in(place: &'static AtomicI64, works: &'static AtomicBool) {
    // Before anybody can take the last sign of the process before for its own.
    works.store(true, Ordering::Relaxed);
    WORKS.store(std::ptr::from_ref(works).cast_mut(), Ordering::Release);
    PULSE.store(std::ptr::from_ref(place).cast_mut(), Ordering::Release);
    beat();
}

/// Shows that this process works, if it is one that does: with each turn, transaction and statement, and in long scans, so
/// that honest work is not taken for a process that stands still.
pub fn beat() {
    // SAFETY: null, or a place that lives as long as the server.
    if let Some(place) = unsafe { PULSE.load(Ordering::Acquire).as_ref() } {
        place.store(time::now(), Ordering::Relaxed);
    }
}

/// Runs `wait`, in which this process waits for something to do.
pub fn resting(wait: impl FnOnce()) {
    // What came before the wait took as long as it may.
    beat();
    work(false);
    wait();
    beat();
    work(true);
}

fn work(works: bool) {
    // SAFETY: null, or a place that lives as long as the server.
    if let Some(place) = unsafe { WORKS.load(Ordering::Acquire).as_ref() } {
        place.store(works, Ordering::Relaxed);
    }
}
