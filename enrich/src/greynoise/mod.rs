//! GreyNoise Community: is this address a known scanner, or a known benign service?
//!
//! `GET {url}/v3/community/{ip}`, IPv4 only, one address a question. [`Client`] asks, [`parse`] interprets the answer;
//! neither waits, retries or counts: the rate, the quota and the breaker come before them.

mod client;
mod instant;
mod limits;
mod reply;

pub use client::Client;
pub use limits::MAX_RETRY_AFTER;
pub use reply::{MAX_BODY, parse};

use crate::time::Micros;

/// GreyNoise's answer about one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It knows the address.
    Seen(Scanner),
    /// It does not: an answer too, which counts against the quota and is kept.
    NotSeen,
}

/// A known address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scanner {
    /// Seen scanning the internet.
    pub noise: bool,
    /// Belongs to a common business service ("rule it out").
    pub riot: bool,
    /// `benign`, `malicious` or `unknown`.
    pub classification: Option<String>,
    /// Whose it is, where that is known.
    pub name: Option<String>,
    /// When it was seen last. A date alone means its midnight, UTC.
    pub last_seen: Option<Micros>,
}
