//! MaxMind's server, and the requests to it.

use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate};
use ureq::Body;
use ureq::http::{Response, Uri};
use zeroize::Zeroizing;

use super::cancel::Cancel;
use super::error::DownloadError;
use super::http::{Client, Origin, Way, basic, escape};
use super::limits::Limits;
use crate::maxmind::edition::Edition;
use crate::proxy::Proxy;
use crate::secrets::Secret;
use crate::time::Micros;
use crate::url;

/// MaxMind's server or a mirror of it, and the credentials. `{:?}` does not show the key.
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
    /// The way out, where it leads through one.
    pub proxy: Option<Proxy>,
    /// How much, and how long.
    pub limits: Limits,
    /// Ends it.
    pub cancel: Arc<Cancel>,
}

impl Source {
    pub(super) fn client(&self) -> Result<Client, DownloadError> {
        let refused = |why: &str| DownloadError::Setting(why.to_owned());
        let base = url::base(&self.base_url).map_err(|why| refused(&format!("maxmind_url: {why}")))?;
        let origin = base.parse().ok().as_ref().and_then(Origin::of);
        let origin = origin.ok_or_else(|| refused("maxmind_url is not a URL"))?;
        let authorization = match &self.account_id {
            None => None,
            Some(id) if id.is_empty() || id.contains(':') || id.chars().any(char::is_control) => {
                return Err(refused("maxmind_account_id is not an account number"));
            }
            Some(id) => Some(basic(&Zeroizing::new(format!("{id}:{}", self.license_key.expose())))?),
        };
        let way = Way {
            ca_file: self.ca_file.as_deref(),
            proxy: self.proxy.as_ref(),
            limits: &self.limits,
            cancel: &self.cancel,
        };
        Client::open(origin, authorization, &way, true)
    }

    /// The text is wiped after use: it may hold the key.
    pub(super) fn url(&self, edition: &Edition, suffix: Suffix) -> Result<Uri, DownloadError> {
        let refused = |why: &str| DownloadError::Setting(format!("maxmind_url: {why}"));
        let base = url::base(&self.base_url).map_err(refused)?;
        let (edition, suffix) = (edition.name(), suffix.as_str());
        let url = Zeroizing::new(match self.account_id {
            Some(_) => format!("{base}/geoip/databases/{edition}/download?suffix={suffix}"),
            None => {
                let key = escape(self.license_key.expose());
                format!("{base}/app/geoip_download?edition_id={edition}&license_key={}&suffix={suffix}", *key)
            }
        });
        url.parse().map_err(|_| refused("It is too long."))
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
