//! The origin of editions, the requests to it, and the limits of one download.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, NaiveDate};
use ureq::Body;
use ureq::http::Response;

use crate::secrets::Secret;
use crate::time::Micros;

/// The origin of editions, and the credentials. `{:?}` does not show the key.
#[derive(Clone, Debug)]
pub struct Source {
    /// `https://host[:port][/prefix]`.
    pub base_url: String,
    /// With an account the key goes into a header; without one, into the URL of the older service.
    pub account_id: Option<String>,
    /// The account's licence key.
    pub license_key: Secret,
    /// Further trusted certificates (PEM).
    pub ca_file: Option<PathBuf>,
    /// How much, and how long.
    pub limits: Limits,
}

/// The limits of one download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the archive.
    pub compressed: u64,
    /// Bytes of everything in it.
    pub expanded: u64,
    /// Expanded to compressed; a database's archive stays below 5. Small archives may always expand to 1 MB.
    pub ratio: u64,
    /// Until a connection stands.
    pub connect: Duration,
    /// Without a byte.
    pub idle: Duration,
    /// For everything that one edition needs.
    pub total: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            compressed: 200_000_000,
            expanded: 1_000_000_000,
            ratio: 100,
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            total: Duration::from_secs(15 * 60),
        }
    }
}

/// The server's build, without fetching it. Either may be unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remote {
    /// When the archive changed last.
    pub last_modified: Option<Micros>,
    /// The day in the archive's name.
    pub build_date: Option<NaiveDate>,
}

impl Remote {
    pub(super) fn of(answer: &Response<Body>) -> Remote {
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        Remote {
            last_modified: header("last-modified")
                .and_then(|text| DateTime::parse_from_rfc2822(text).ok())
                .map(|at| at.timestamp_micros()),
            build_date: header("content-disposition").and_then(build_date),
        }
    }
}

/// The requests for an edition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suffix {
    Archive,
    Sum,
}

impl Suffix {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Suffix::Archive => "tar.gz",
            Suffix::Sum => "tar.gz.sha256",
        }
    }
}

/// The day in `attachment; filename=GeoLite2-City_20240102.tar.gz`.
pub(super) fn build_date(disposition: &str) -> Option<NaiveDate> {
    disposition.split('_').skip(1).find_map(|rest| NaiveDate::parse_from_str(rest.get(..8)?, "%Y%m%d").ok())
}

/// A portal's answer in place of the server's.
pub(super) fn is_page(answer: &Response<Body>) -> bool {
    answer.body().mime_type().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"))
}
