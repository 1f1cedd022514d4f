//! How long a source takes to answer, in shared memory: buckets that any process adds to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use enrich::latency::{BUCKETS, bucket};

/// Sources whose answers are timed, in the order of [`super::Database::latency`].
pub const SOURCES: [&str; 3] = ["maxmind", "cymru", "greynoise"];
/// Places in it.
pub const MAXMIND: usize = 0;
/// See above.
pub const CYMRU: usize = 1;
/// See above.
pub const GREYNOISE: usize = 2;

/// The buckets of [`enrich::latency`], and the sum of all times. All-zero: nothing was timed.
#[repr(C)]
pub struct Latency {
    sum_ns: AtomicU64,
    counts: [AtomicU64; BUCKETS],
}

impl Latency {
    /// Counts one answer.
    pub fn record(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
        self.counts[bucket(took)].fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted in each bucket, and the sum.
    pub fn read(&self) -> ([u64; BUCKETS], Duration) {
        let counts = std::array::from_fn(|at| self.counts[at].load(Ordering::Relaxed));
        (counts, Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed)))
    }

    /// Forgets everything; for a slot that is given back.
    pub fn clear(&self) {
        self.sum_ns.store(0, Ordering::Relaxed);
        self.counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }
}
