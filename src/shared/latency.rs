//! How long a source takes to answer, in shared memory: buckets that any process adds to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use enrich::latency::{BUCKETS, bucket};
use enrich::source::Source;

/// Sources whose answers are timed, by their numbers.
pub const SOURCES: [&str; 3] = [Source::MaxMind.as_str(), Source::Cymru.as_str(), Source::GreyNoise.as_str()];
/// A place in it.
pub const MAXMIND: usize = Source::MaxMind.index();

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

    /// The count of each bucket, and the sum.
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
