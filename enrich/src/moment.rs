//! The time of an event as an event says it, which may be anything.

mod spoken;

pub use spoken::{Spoken, since_1970, spoken};

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// 1970-01-01 UTC in microseconds from 2000-01-01 UTC, which is how PostgreSQL counts.
pub const EPOCH: i64 = -946_684_800_000_000;

/// The time of an event, in PostgreSQL's microseconds, as it is kept. An address that was last seen in the year 294276
/// would count as new for ever, and one that was first seen in antiquity never: more than a day ahead of `now`, the time
/// of the statement, becomes `now`; before 1970 becomes 1970. A day, since clocks and time zones of senders are wrong.
///
/// ```
/// use enrich::moment::{EPOCH, plausible};
/// assert_eq!(plausible(5, 10), 5);
/// assert_eq!(plausible(i64::MAX, 10), 10);
/// assert_eq!(plausible(i64::MIN, 10), EPOCH);
/// ```
#[inline]
#[must_use]
pub fn plausible(moment: i64, now: i64) -> i64 {
    if moment > now.saturating_add(DAY) { now } else { moment.max(EPOCH) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ahead_is_believed_and_no_more() {
        let now = 800_000_000_000_000;
        assert_eq!(plausible(now + DAY, now), now + DAY);
        assert_eq!(plausible(now + DAY + 1, now), now);
    }

    #[test]
    fn nothing_is_older_than_1970() {
        assert_eq!(plausible(EPOCH, 0), EPOCH);
        assert_eq!(plausible(EPOCH - 1, 0), EPOCH);
    }

    #[test]
    fn a_clock_at_its_end_does_not_overflow() {
        assert_eq!(plausible(i64::MAX, i64::MAX), i64::MAX);
    }
}
