//! The time of an event as its text or number says it.

use chrono::{NaiveDate, NaiveDateTime};

use super::EPOCH;

/// The longest text that is looked at: `2026-11-28T10:11:12.123456789+02:00` has 35 bytes.
const LONGEST: usize = 64;

/// From here on a number counts milliseconds since 1970, microseconds, nanoseconds: seconds reach the year 5138 before.
const MILLISECONDS: f64 = 1e11;
const MICROSECONDS: f64 = 1e14;
const NANOSECONDS: f64 = 1e17;

/// A time, in PostgreSQL's microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// A moment.
    Moment(i64),
    /// A date and time of day without an offset, as if it were UTC.
    Local(i64),
}

/// Reads ISO 8601 (`2026-11-28T10:11:12.5+02:00`, with a blank for the `T`, an offset as `Z`, `+02`, `+0200`, `+02:00` or
/// none, the date alone; or without dashes and colons, `20261128T101112.5Z`), or seconds since 1970, with a fraction or without; also in milliseconds, microseconds and
/// nanoseconds, told by their size. `None` for everything else.
///
/// ```
/// use enrich::moment::{EPOCH, Spoken, spoken};
/// assert_eq!(spoken(b"1970-01-01T00:00:01Z"), Some(Spoken::Moment(EPOCH + 1_000_000)));
/// assert_eq!(spoken(b"1.5"), Some(Spoken::Moment(EPOCH + 1_500_000)));
/// assert_eq!(spoken(b"1970-01-01 00:00:01"), Some(Spoken::Local(EPOCH + 1_000_000)));
/// assert_eq!(spoken(b"yesterday"), None);
/// ```
pub fn spoken(text: &[u8]) -> Option<Spoken> {
    let text = text.trim_ascii();
    if text.is_empty() || text.len() > LONGEST {
        return None;
    }
    match text.get(4) {
        Some(b'-') if are_digits(&text[..4]) => iso(text, false),
        // Without a time of day it would be a number.
        Some(_) if matches!(text.get(8), Some(b'T' | b't')) && are_digits(&text[..8]) => iso(text, true),
        _ => number(text).map(Spoken::Moment),
    }
}

/// A number of seconds, milliseconds, microseconds or nanoseconds since 1970. `None` where that is no moment.
pub fn since_1970(number: f64) -> Option<i64> {
    let micros = match number.abs() {
        size if !size.is_finite() => return None,
        size if size < MILLISECONDS => number * 1e6,
        size if size < MICROSECONDS => number * 1e3,
        size if size < NANOSECONDS => number,
        _ => number / 1e3,
    };
    // A float holds whole microseconds of these years, give or take one.
    (micros.abs() < 9e18).then(|| EPOCH.checked_add(micros.round() as i64))?
}

/// The same of a text, to the microsecond: a float would lose some of seconds with a fraction.
fn number(text: &[u8]) -> Option<i64> {
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b""[..]),
    };
    let is_plain = |digits: &[u8]| digits.iter().all(u8::is_ascii_digit);
    let digits = whole.strip_prefix(b"-").unwrap_or(whole);
    if digits.is_empty() || !is_plain(digits) || !is_plain(fraction) {
        // Also `1.7e9`, which some write.
        let text = str::from_utf8(text).ok()?;
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        return is_number.then(|| text.parse().ok().and_then(since_1970))?;
    }
    let seconds: i64 = str::from_utf8(whole).ok()?.parse().ok()?;
    if !are_seconds(seconds) {
        return since_1970(str::from_utf8(text).ok()?.parse().ok()?);
    }
    in_seconds(seconds, micros(fraction) * if whole.starts_with(b"-") { -1 } else { 1 })
}

/// Whether a number counts seconds, by its size.
pub(super) fn are_seconds(number: i64) -> bool {
    (number.unsigned_abs() as f64) < MILLISECONDS
}

/// Seconds since 1970, and microseconds on top.
pub(super) fn in_seconds(seconds: i64, micros: i64) -> Option<i64> {
    EPOCH.checked_add(seconds.checked_mul(1_000_000)?.checked_add(micros)?)
}

/// A fraction of a second; digits behind the sixth are dropped.
fn micros(fraction: &[u8]) -> i64 {
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(6);
    digits.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'))
}

/// `is_basic`: without dashes and colons (ISO 8601's basic format).
fn iso(text: &[u8], is_basic: bool) -> Option<Spoken> {
    let mut rest = text;
    let mark = |rest: &mut &[u8], byte| if is_basic { Some(()) } else { take(rest, byte) };
    let date = NaiveDate::from_ymd_opt(
        two_digits(&mut rest)?.checked_mul(100)? as i32 + two_digits(&mut rest)? as i32,
        {
            mark(&mut rest, b'-')?;
            two_digits(&mut rest)?
        },
        {
            mark(&mut rest, b'-')?;
            two_digits(&mut rest)?
        },
    )?;
    let (mut hour, mut minute, mut second, mut fraction) = (0, 0, 0, &b""[..]);
    let is_dated = rest.is_empty();
    if !is_dated {
        let (separator, tail) = rest.split_first()?;
        if !matches!(separator, b'T' | b't' | b' ') {
            return None;
        }
        rest = tail;
        hour = two_digits(&mut rest)?;
        mark(&mut rest, b':')?;
        minute = two_digits(&mut rest)?;
        let has_second =
            if is_basic { rest.first().is_some_and(u8::is_ascii_digit) } else { take(&mut rest, b':').is_some() };
        if has_second {
            second = two_digits(&mut rest)?;
            if take(&mut rest, b'.').or_else(|| take(&mut rest, b',')).is_some() {
                let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                (fraction, rest) = rest.split_at(digits);
                (1..=9).contains(&digits).then_some(())?;
            }
        }
    }
    // A leap second is the first moment of the next minute, and 24:00 that of the next day, as PostgreSQL has it.
    let leap = u32::from(second == 60);
    let day = u32::from((hour, minute, second, micros(fraction)) == (24, 0, 0, 0));
    let at = NaiveDateTime::new(date, chrono::NaiveTime::from_hms_opt(hour - 24 * day, minute, second - leap)?);
    let later = i64::from(leap + 86_400 * day) * 1_000_000;
    let local = EPOCH.checked_add(at.and_utc().timestamp_micros())? + later + micros(fraction);
    match offset(rest)? {
        None => Some(Spoken::Local(local)),
        Some(minutes) => Some(Spoken::Moment(local.checked_sub(minutes * 60_000_000)?)),
    }
}

/// Minutes east of UTC; `Some(None)`: there is no offset.
fn offset(text: &[u8]) -> Option<Option<i64>> {
    let mut rest = text.trim_ascii_start();
    let sign = match rest.first() {
        None => return Some(None),
        Some(b'Z' | b'z') if rest.len() == 1 => return Some(Some(0)),
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return None,
    };
    rest = &rest[1..];
    let hours = two_digits(&mut rest)?;
    let minutes = if rest.is_empty() {
        0
    } else {
        take(&mut rest, b':');
        two_digits(&mut rest)?
    };
    let fits = rest.is_empty() && hours <= 18 && minutes < 60;
    fits.then(|| Some(sign * i64::from(hours * 60 + minutes)))
}

fn are_digits(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_digit)
}

fn two_digits(rest: &mut &[u8]) -> Option<u32> {
    let (digits, tail) = rest.split_at_checked(2)?;
    *rest = tail;
    digits.iter().all(u8::is_ascii_digit).then(|| u32::from(digits[0] - b'0') * 10 + u32::from(digits[1] - b'0'))
}

fn take(rest: &mut &[u8], byte: u8) -> Option<()> {
    *rest = rest.strip_prefix(&[byte])?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-11-28 10:11:12 UTC.
    const AT: i64 = EPOCH + 1_795_860_672_000_000;

    #[test]
    fn the_times_of_the_field_are_read() {
        for (text, at) in [
            // Cowrie, Suricata, Zeek, ECS.
            ("2026-11-28T10:11:12.345678Z", AT + 345_678),
            ("2026-11-28T10:11:12.345678+0000", AT + 345_678),
            ("1795860672.345678", AT + 345_678),
            ("2026-11-28T12:11:12.345+02:00", AT + 345_000),
            ("2026-11-28 08:11:12-02", AT),
            ("2026-11-28t10:11:12,123456789z", AT + 123_456),
            ("2026-11-28T10:11:12 Z", AT),
            ("2026-11-28T10:11Z", AT - 12_000_000),
            ("20261128T101112Z", AT),
            ("20261128t101112.345Z", AT + 345_000),
            ("20261128T121112,5+0200", AT + 500_000),
            ("20261128T1011Z", AT - 12_000_000),
            ("1795860672", AT),
            (" 1795860672 ", AT),
            ("1795860672345", AT + 345_000),
            ("1795860672345678", AT + 345_678),
            ("1795860672345678000", AT + 345_678),
            ("1.795860672e9", AT),
            ("-1.5", EPOCH - 1_500_000),
            ("0", EPOCH),
            ("2016-12-31T23:59:60Z", EPOCH + 1_483_228_800_000_000),
            ("2016-12-31T24:00:00Z", EPOCH + 1_483_228_800_000_000),
            ("2016-12-31 24:00:00.000+00", EPOCH + 1_483_228_800_000_000),
        ] {
            assert_eq!(spoken(text.as_bytes()), Some(Spoken::Moment(at)), "{text}");
        }
        for (text, at) in [
            ("2026-11-28T10:11:12", AT),
            ("2026-11-28 10:11:12.5", AT + 500_000),
            ("2026-11-28", AT - 36_672_000_000),
            ("20261128T101112", AT),
            ("20261128T1011", AT - 12_000_000),
        ] {
            assert_eq!(spoken(text.as_bytes()), Some(Spoken::Local(at)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            " ",
            "now",
            "yesterday",
            "2026",
            "-",
            "+",
            ".",
            "1.2.3",
            "2026-13-01",
            "2026-02-30",
            "2026-11-28T",
            "2026-11-28T25:00:00Z",
            "2026-11-28T24:00:01Z",
            "2026-11-28T24:00:00.1Z",
            "2026-11-28T24:01Z",
            "2026-11-28T10",
            "2026-11-28T10:11:61Z",
            "2026-11-28T10:11:12.",
            "2026-11-28T10:11:12.1234567890Z",
            "2026-11-28T10:11:12+2",
            "2026-11-28T10:11:12+19:00",
            "2026-11-28T10:11:12Zulu",
            "2026-11-28x10:11:12",
            "28/Nov/2026:10:11:12 +0000",
            "nan",
            "inf",
            "1e400",
            "0x10",
            "99999999999999999999999999999",
            "20261128T10Z",
            "20261128T",
            "20261128T10111Z",
            "20261328T101112Z",
            "20261128T10:11:12Z",
            "20261128 101112Z",
            "2026-11-28T-1:00:00Z",
        ] {
            // A year is a number of seconds like any other.
            let expected = if text == "2026" { Some(Spoken::Moment(EPOCH + 2_026_000_000)) } else { None };
            assert_eq!(spoken(text.as_bytes()), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..70), number: f64) {
            let _ = spoken(&text);
            let _ = since_1970(number);
            let _ = spoken(number.to_string().as_bytes());
        }

        #[test]
        fn every_moment_is_read_back(micros in 0i64..4_000_000_000_000_000) {
            let at = chrono::DateTime::from_timestamp_micros(micros).unwrap();
            let expected = Some(Spoken::Moment(EPOCH + micros));
            for format in ["%Y-%m-%dT%H:%M:%S%.6fZ", "%Y%m%dT%H%M%S%.6f%z", "%Y-%m-%d %H:%M:%S%.6f%:z", "%s%.6f"] {
                let text = at.format(format).to_string();
                prop_assert_eq!(spoken(text.as_bytes()), expected, "{}", text);
            }
        }
    }
}
