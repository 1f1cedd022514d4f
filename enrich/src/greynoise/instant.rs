//! Times as the service writes them.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

use crate::time::Micros;

/// A date, or a timestamp with or without a zone, from 1970 to 9999: beyond that it is a mistake, and not all of it fits
/// into a `timestamptz`.
pub(super) fn instant(raw: &str) -> Option<Micros> {
    let raw = raw.trim();
    let timestamp = || DateTime::parse_from_rfc3339(raw).ok().map(|t| t.timestamp_micros());
    let without_zone = || {
        let parsed = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
            .iter()
            .find_map(|format| NaiveDateTime::parse_from_str(raw, format).ok());
        parsed.map(|t| t.and_utc().timestamp_micros())
    };
    let date = || {
        let date = NaiveDate::parse_from_str(raw, "%Y-%m-%d").ok()?;
        Some(date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros())
    };
    let micros = date().or_else(timestamp).or_else(without_zone)?;
    (0..YEAR_10000).contains(&micros).then_some(micros)
}

const YEAR_10000: Micros = 253_402_300_800_000_000;
