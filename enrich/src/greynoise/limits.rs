//! How long a service that says 429 wants to be left alone, as far as its headers tell.

use std::time::Duration;

use super::instant::instant;
use crate::time::{Micros, http_date, retry_after};

#[cfg(test)]
mod tests;

/// The longest wait that a server can ask for; a longer one is cut to this.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(32 * 86_400);

/// When a limit is lifted, by services that give no `Retry-After`. No standard has these, and each is seen.
const RESETS: [&str; 4] = ["ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset", "x-ratelimit-reset-after"];

/// A number from here on is a time, and not a span: seconds since 1970, in the year 2001.
const EPOCHS: u64 = 1_000_000_000;

/// The wait that the headers of an answer request. `Retry-After` comes first, because it is meant for us; of several
/// limits, headers name the one that was hit.
pub(super) fn wait<'a>(header: impl Fn(&str) -> Option<&'a str>, now: Micros) -> Option<Duration> {
    let asked = header("retry-after").and_then(|value| retry_after(value, || Some(now)));
    let reset = || RESETS.iter().find_map(|name| reset(header(name)?, now));
    let wait = asked.or_else(reset).or_else(|| structured(header("ratelimit")?, now))?;
    Some(wait.min(MAX_RETRY_AFTER))
}

/// Of a reset: seconds, seconds or milliseconds since 1970, or a date. One in the past says nothing: the clocks differ.
fn reset(value: &str, now: Micros) -> Option<Duration> {
    let value = value.trim();
    let whole = value.split_once('.').map_or(value, |(whole, rest)| if digits(rest).is_some() { whole } else { value });
    let at = match digits(whole) {
        Some(seconds) if seconds < EPOCHS => return Some(Duration::from_secs(seconds)).filter(|wait| !wait.is_zero()),
        Some(seconds) if seconds < EPOCHS * 1000 => i64::try_from(seconds).ok()?.checked_mul(1_000_000)?,
        Some(millis) => i64::try_from(millis).ok()?.checked_mul(1000)?,
        None => http_date(value).or_else(|| instant(value))?,
    };
    until(at, now)
}

/// Of `RateLimit: "default";r=0;t=30` and of its older form, `limit=10, remaining=0, reset=30`. Of several limits, the one
/// of which nothing is left; if none says so, the longest.
fn structured(value: &str, now: Micros) -> Option<Duration> {
    let mut in_quotes = false;
    // A name in quotes may have any characters.
    let bare = value.chars().filter(|c| {
        in_quotes ^= *c == '"';
        !in_quotes
    });
    let bare: String = bare.collect();
    let limits = bare.split(',').filter_map(|limit| {
        let parts = limit.split(';').filter_map(|part| part.trim().split_once('='));
        let (mut is_hit, mut wait) = (false, None);
        for (name, value) in parts {
            match name {
                "r" => is_hit = value.bytes().all(|digit| digit == b'0'),
                "t" | "reset" => wait = reset(value, now),
                _ => {}
            }
        }
        Some((is_hit, wait?))
    });
    limits.max().map(|(_, wait)| wait)
}

/// More digits than fit are a long wait, not garbage.
fn digits(text: &str) -> Option<u64> {
    let all = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    all.then(|| text.parse().unwrap_or(u64::MAX))
}

fn until(at: Micros, now: Micros) -> Option<Duration> {
    let wait = u64::try_from(at.saturating_sub(now)).ok()?;
    Some(Duration::from_micros(wait)).filter(|wait| !wait.is_zero())
}
