//! The processes that restore a dump of the extension's tables into a database: the worker leaves those alone until they
//! are through.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering};

/// Processes that are remembered: one for each table that a dump has rows of. `pg_restore -j` may use as many.
const PLACES: usize = 12;

/// Stands in a place while it is being filled.
const TAKING: i32 = -1;

/// The processes of one database. All-zero: there is none.
#[repr(C)]
pub struct Restorers {
    places: [Restorer; PLACES],
    /// One came since the worker last asked.
    came: AtomicBool,
}

#[repr(C)]
struct Restorer {
    /// Process id; 0: free.
    pid: AtomicI32,
    /// When it last began to load a table (timestamptz). A process that started later is another one.
    at: AtomicI64,
}

impl Restorers {
    /// This process begins to load a table now. Where more than there is room for do so, the oldest makes room.
    pub fn note(&self, pid: i32, now: i64) {
        let take = |place: &&Restorer, of: i32| {
            place.pid.compare_exchange(of, TAKING, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let find = |of: i32| self.places.iter().find(|place| take(place, of));
        let oldest = || {
            let place = self.places.iter().min_by_key(|place| place.at.load(Ordering::Relaxed));
            place.filter(|place| take(place, place.pid.load(Ordering::Relaxed)))
        };
        if let Some(place) = find(pid).or_else(|| find(0)).or_else(oldest) {
            place.at.store(now, Ordering::Relaxed);
            place.pid.store(pid, Ordering::Release);
        }
        self.came.store(true, Ordering::Release);
    }

    /// Whether one came since this was last asked.
    pub fn take_news(&self) -> bool {
        self.came.swap(false, Ordering::AcqRel)
    }

    /// What was news goes on being it.
    pub fn are_news(&self) {
        self.came.store(true, Ordering::Release);
    }

    /// The process ids, each with the time at which it last began to load a table (timestamptz).
    pub fn all(&self) -> Vec<(i32, i64)> {
        let entry = |place: &Restorer| (place.pid.load(Ordering::Acquire), place.at.load(Ordering::Relaxed));
        self.places.iter().map(entry).filter(|(pid, _)| *pid > 0).collect()
    }

    /// Forgets a process, unless it has begun to load another table since `at`.
    pub fn forget(&self, pid: i32, at: i64) {
        for place in &self.places {
            if place.pid.compare_exchange(pid, TAKING, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                let renewed = place.at.load(Ordering::Relaxed) != at;
                place.pid.store(if renewed { pid } else { 0 }, Ordering::Release);
            }
        }
    }

    /// Forgets all; for a slot that is given back.
    pub fn clear(&self) {
        for place in &self.places {
            place.pid.store(0, Ordering::Release);
        }
        self.came.store(false, Ordering::Release);
    }
}
