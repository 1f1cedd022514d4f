//! The limits of one download.

use std::time::Duration;

/// The limits of one download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the archive.
    pub compressed: u64,
    /// Bytes of everything in it.
    pub expanded: u64,
    /// Expanded to compressed; a database's archive stays below 10. Small archives may always expand to 1 MB.
    pub ratio: u64,
    /// Until a connection stands.
    pub connect: Duration,
    /// Without a byte.
    pub idle: Duration,
    /// Bytes that come at least in each [`window`](Limits::window) of waiting.
    pub least: u64,
    /// See [`least`](Limits::least): long enough for a line that stalls for a while.
    pub window: Duration,
    /// For everything that one edition needs.
    pub total: Duration,
}

impl Limits {
    /// For files of anybody: many come unpacked, and full ones are larger than MaxMind's.
    pub fn of_sites() -> Limits {
        let total = Duration::from_secs(30 * 60);
        Limits { compressed: 1_000_000_000, expanded: 2_000_000_000, total, ..Limits::default() }
    }

    /// How many bytes may come out of so many.
    pub(super) fn most(&self, compressed: u64) -> u64 {
        self.expanded.min(self.ratio.saturating_mul(compressed).max(SMALL))
    }
}

/// An archive may always expand to this size: an empty one is mostly zeros.
const SMALL: u64 = 1 << 20;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            compressed: 200_000_000,
            expanded: 1_000_000_000,
            ratio: 100,
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            // 1 kB a second.
            least: 60_000,
            window: Duration::from_secs(60),
            total: Duration::from_secs(15 * 60),
        }
    }
}
