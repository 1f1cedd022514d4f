//! The time of an event as an event says it, which may be anything.

mod numeric;
mod spoken;

use std::time::Duration;

pub use numeric::numeric;
pub use spoken::{Spoken, since_1970, spoken};

/// 1970-01-01 UTC in microseconds from 2000-01-01 UTC, which is how PostgreSQL counts.
pub const EPOCH: i64 = -946_684_800_000_000;

/// Which times of events are believed. An address that was last seen in the year 294276 would count as new for ever, and
/// one that was first seen in antiquity never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The earliest, in PostgreSQL's microseconds.
    pub first: i64,
    /// The latest.
    pub last: i64,
}

impl Bounds {
    /// Those around the time of a statement. Nothing is older than 1970, whatever is allowed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use enrich::moment::{Bounds, EPOCH};
    /// let bounds = Bounds::around(1_000_000, Duration::from_secs(1), Duration::from_secs(2));
    /// assert_eq!((bounds.first, bounds.last), (-1_000_000, 2_000_000));
    /// assert!(bounds.has(0) && !bounds.has(2_000_001));
    /// assert_eq!(Bounds::around(0, Duration::ZERO, Duration::MAX).first, EPOCH);
    /// ```
    #[must_use]
    pub fn around(now: i64, ahead: Duration, back: Duration) -> Bounds {
        let us = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Bounds { first: now.saturating_sub(us(back)).max(EPOCH), last: now.saturating_add(us(ahead)) }
    }

    /// Whether a time is believed.
    #[inline]
    #[must_use]
    pub fn has(&self, moment: i64) -> bool {
        self.first <= moment && moment <= self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_older_than_1970_and_clocks_do_not_overflow() {
        let bounds = Bounds::around(0, Duration::ZERO, Duration::from_secs(u64::MAX));
        assert_eq!(bounds, Bounds { first: EPOCH, last: 0 });
        let end = Bounds::around(i64::MAX, Duration::MAX, Duration::ZERO);
        assert_eq!(end, Bounds { first: i64::MAX, last: i64::MAX });
        assert!(end.has(i64::MAX) && !end.has(i64::MAX - 1));
    }
}
