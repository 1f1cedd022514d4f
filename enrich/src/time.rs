//! Points in time as plain numbers: what PostgreSQL, files and services all can be translated to.

use std::time::Duration;

use chrono::{NaiveDate, NaiveTime};

/// Microseconds since the Unix epoch, UTC.
pub type Micros = i64;

/// One second in [`Micros`].
pub const SECOND: Micros = 1_000_000;

/// One day in [`Micros`]; UTC days have no other length.
pub const DAY: Micros = 86_400 * SECOND;

/// `at`, and `later` on top. Stops at the end of time instead of wrapping into the past.
pub fn after(at: Micros, later: Duration) -> Micros {
    at.saturating_add(Micros::try_from(later.as_micros()).unwrap_or(Micros::MAX))
}

/// How long it is from `from` until `until`; nothing once it has passed.
pub fn until(from: Micros, until: Micros) -> Duration {
    Duration::from_micros(u64::try_from(until.saturating_sub(from)).unwrap_or(0))
}

/// The first moment of a day, UTC.
pub fn midnight(day: NaiveDate) -> Micros {
    day.and_time(NaiveTime::MIN).and_utc().timestamp_micros()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_utc() {
        let day = NaiveDate::from_ymd_opt(1970, 1, 2).unwrap();
        assert_eq!(midnight(day), DAY);
    }

    #[test]
    fn nothing_wraps_around() {
        assert_eq!(after(Micros::MAX - 1, Duration::MAX), Micros::MAX);
        assert_eq!(after(SECOND, Duration::from_millis(1500)), 2_500_000);
        assert_eq!(until(DAY, SECOND), Duration::ZERO);
        assert_eq!(until(0, 3 * SECOND), Duration::from_secs(3));
        assert_eq!(until(Micros::MIN, Micros::MAX), Duration::from_micros(Micros::MAX as u64));
    }
}
