//! The processes that restore a dump of the extension's tables into a database: the worker leaves those alone until they
//! are through.

use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};

/// Processes that are remembered: one for each table that a dump has rows of. `pg_restore -j` may use as many.
const PLACES: usize = 12;

/// The processes of one database. All-zero: there is none.
#[repr(C)]
pub struct Restorers([Restorer; PLACES]);

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
        let of = |wanted: i32| self.0.iter().find(|place| place.pid.load(Ordering::Acquire) == wanted);
        let place =
            of(pid).or_else(|| of(0)).or_else(|| self.0.iter().min_by_key(|place| place.at.load(Ordering::Relaxed)));
        if let Some(place) = place {
            place.at.store(now, Ordering::Relaxed);
            place.pid.store(pid, Ordering::Release);
        }
    }

    /// The process ids, each with the time at which it last began to load a table (timestamptz).
    pub fn all(&self) -> Vec<(i32, i64)> {
        let entry = |place: &Restorer| (place.pid.load(Ordering::Acquire), place.at.load(Ordering::Relaxed));
        self.0.iter().map(entry).filter(|(pid, _)| *pid != 0).collect()
    }

    /// Forgets a process, unless it has begun to load another table since `at`.
    pub fn forget(&self, pid: i32, at: i64) {
        for place in &self.0 {
            if place.pid.load(Ordering::Acquire) == pid && place.at.load(Ordering::Relaxed) == at {
                let _ = place.pid.compare_exchange(pid, 0, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
    }

    /// Forgets all; for a slot that is given back.
    pub fn clear(&self) {
        for place in &self.0 {
            place.pid.store(0, Ordering::Release);
        }
    }
}
