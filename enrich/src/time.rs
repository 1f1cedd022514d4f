//! Points in time as plain numbers: what PostgreSQL, files and services all can be translated to.

use std::time::{Duration, UNIX_EPOCH};

use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat};

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

/// A moment as a text that PostgreSQL reads, whatever its settings (ISO 8601). `None`: no calendar reaches so far.
pub fn iso(at: Micros) -> Option<String> {
    DateTime::from_timestamp_micros(at).map(|at| at.to_rfc3339_opts(SecondsFormat::Micros, true))
}

/// A date of HTTP, in one of the three forms that a recipient must know (RFC 9110, 5.6.7).
pub fn http_date(text: &str) -> Option<Micros> {
    let at = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Micros::try_from(at.as_micros()).ok()
}

/// The wait of `Retry-After` (RFC 9110, 10.2.3): seconds, or a date, which counts from `now`. Too many digits mean a long
/// wait. Zero, a date in the past and invalid text are ignored: who refuses now does not want to be asked at once, and the
/// clocks may differ.
pub fn retry_after(value: &str, now: impl FnOnce() -> Option<Micros>) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return some_wait(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let at = http_date(value)?;
    some_wait(until(now()?, at))
}

fn some_wait(wait: Duration) -> Option<Duration> {
    Some(wait).filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_in_iso_8601_keeps_its_microseconds() {
        assert_eq!(iso(784_111_777_000_042).as_deref(), Some("1994-11-06T08:49:37.000042Z"));
        assert_eq!(iso(i64::MAX), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_nothing_else() {
        // 1994-11-06 08:49:37 UTC, a Sunday: the date that RFC 9110 shows.
        const NOW: Micros = 784_111_777_000_000;
        let asked = |value| retry_after(value, || Some(NOW));
        for (value, seconds) in [
            ("120", 120),
            (" 60 ", 60),
            ("99999999999999999999", u64::MAX),
            ("Sun, 06 Nov 1994 08:50:37 GMT", 60),
            ("Sunday, 06-Nov-94 08:50:37 GMT", 60),
            ("Sun Nov  6 08:50:37 1994", 60),
        ] {
            assert_eq!(asked(value), Some(Duration::from_secs(seconds)), "{value}");
        }
        for now in ["0", " 00 ", "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:07 GMT"] {
            assert_eq!(asked(now), None, "{now}: no time to wait is no answer of who refuses");
        }
        for garbage in ["", "soon", "-1", "1.5", "Sun, 06 Nov 1994", "06 Nov 1994 08:50:37 GMT"] {
            assert_eq!(asked(garbage), None, "{garbage}");
        }
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:37 GMT", || None), None);
    }

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
