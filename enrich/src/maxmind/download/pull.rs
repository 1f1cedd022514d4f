//! One file of a source beside MaxMind's: asked for with what is known of the last one, so that an unchanged file costs a
//! question and nothing else.

use std::path::Path;

use chrono::{DateTime, NaiveDate};
use serde::{Deserialize, Serialize};
use ureq::Body;
use ureq::http::{Response, Uri};
use zeroize::Zeroizing;

use super::cancel::Cancel;
use super::draft;
use super::error::DownloadError;
use super::fetch::{Place, hex, read_sum_of, store, unpacked};
use super::fingerprint::Fingerprint;
use super::http::{Client, Condition, Method, Origin, Way, basic, is_page};
use super::limits::Limits;
use super::site::Site;
use super::template::User;
use crate::maxmind::manifest::Signature;
use crate::proxy::Proxy;
use crate::secrets::{Reference, Secret, SecretError};
use crate::time::Micros;

/// Longer ones are not kept: an unchanged file is downloaded then.
const MAX_VALIDATOR: usize = 256;

/// What is known of the file that a source gave last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Of the whole URL.
    url: Fingerprint,
    etag: Option<String>,
    last_modified: Option<String>,
    /// Of what was downloaded, in hexadecimal.
    sha256: String,
    /// The file that came of it.
    file: Signature,
}

/// How sources are reached.
pub struct Reach<'a> {
    /// The value of a reference in a URL.
    pub key: &'a dyn Fn(&Reference) -> Result<Secret, SecretError>,
    /// The value of a reference before the host.
    pub credentials: &'a dyn Fn(&Reference) -> Result<Secret, SecretError>,
    /// Further trusted certificates (PEM).
    pub ca_file: Option<&'a Path>,
    /// The way out, where it leads through one.
    pub proxy: Option<&'a Proxy>,
    /// How much, and how long.
    pub limits: &'a Limits,
    /// Ends it.
    pub cancel: &'a Cancel,
}

/// What came.
#[derive(Debug)]
pub enum Pulled {
    /// Nothing: it is the file of last time.
    Unchanged(Known),
    /// The file, in its place.
    File(Known),
}

impl Site {
    /// Fetches the file of `now`, unless it is the one that is `known`. The result is `to_dir/<edition>.mmdb`, as for
    /// MaxMind's, or `to_dir/<list>.list`.
    ///
    /// # Errors
    /// [`DownloadError`].
    pub fn pull(
        &self,
        reach: &Reach,
        now: Micros,
        known: Option<&Known>,
        to_dir: &Path,
    ) -> Result<Pulled, DownloadError> {
        let today = DateTime::from_timestamp_micros(now).unwrap_or_default().date_naive();
        let to = Place { dir: to_dir, name: self.name(), kind: self.kind() };
        let place = to.path();
        draft::check(&place)?;
        // A file that was removed or replaced is fetched again.
        let present = Signature::of(&place).ok().flatten();
        let known = known.filter(|known| present.as_ref() == Some(&known.file));
        let dates = self.url.dates(today);
        // A store says 403 of a file that is not there to those who may not list it. With a secret it may be about that.
        let is_open = self.url.references().next().is_none();
        let is_absent = |error: &DownloadError| match error {
            DownloadError::Http(404 | 410) | DownloadError::NoSum(_) => true,
            DownloadError::Forbidden | DownloadError::Http(403) => is_open,
            _ => false,
        };
        let mut tried = Err(DownloadError::Http(404));
        for date in dates {
            tried = self.pull_of(reach, date, known, &to);
            // This month's is not there yet.
            if !tried.as_ref().is_err_and(is_absent) {
                break;
            }
        }
        tried.map_err(DownloadError::of_site)
    }

    /// A mark of what the source is asked with; without those references that do not resolve.
    pub fn credentials(&self, secret: &dyn Fn(&Reference) -> Result<Secret, SecretError>) -> Fingerprint {
        let found: Vec<_> =
            self.url.references().map(|reference| secret(reference).ok().map(|key| key.mark())).collect();
        let marks = found.iter().map(|mark| mark.as_ref().map_or(&[][..], |mark| mark.bytes()));
        let parts: Vec<&[u8]> = [self.mark().as_bytes()].into_iter().chain(marks).collect();
        Fingerprint::over(&parts)
    }

    fn pull_of(
        &self,
        reach: &Reach,
        date: NaiveDate,
        known: Option<&Known>,
        to: &Place,
    ) -> Result<Pulled, DownloadError> {
        let text = self.url.url(date, "", &mut |reference| (reach.key)(reference))?;
        let mark = Fingerprint::over(&[text.as_bytes()]);
        let url = parsed(&text)?;
        let client = self.client(reach, &url)?;
        let expected = match self.has_sum {
            true => Some(self.sum(&client, reach, date)?),
            false => None,
        };
        if let (Some(expected), Some(known)) = (&expected, known)
            && hex(expected) == known.sha256
        {
            return Ok(Pulled::Unchanged(known.clone()));
        }
        let same = known.filter(|known| known.url == mark);
        let answer = match client.ask(Method::Get, url, &conditions(same)) {
            Err(DownloadError::NotModified) => {
                return same.cloned().map(Pulled::Unchanged).ok_or(DownloadError::NotModified);
            }
            answer => answer?,
        };
        let validator = |name: &str| {
            let value = answer.headers().get(name).and_then(|value| value.to_str().ok());
            value.filter(|value| value.len() <= MAX_VALIDATOR).map(str::to_owned)
        };
        let (etag, last_modified) = (validator("etag"), validator("last-modified"));
        // A server that does not know conditions tells at least what it has: the rest is not read.
        if let Some(same) = same
            && (etag.is_some() || last_modified.is_some())
            && (&etag, &last_modified) == (&same.etag, &same.last_modified)
        {
            return Ok(Pulled::Unchanged(same.clone()));
        }
        let mut packed = draft::Draft::create_in(to.dir, to.name)?;
        let (sum, bytes) = store(answer, client.limits(), &mut packed)?;
        if expected.is_some_and(|expected| expected != sum) {
            return Err(DownloadError::HashMismatch);
        }
        let sha256 = hex(&sum);
        if let Some(known) = known.filter(|known| known.sha256 == sha256) {
            // The file of last time under a new URL, or from a server that tells nothing about it.
            return Ok(Pulled::Unchanged(Known { url: mark, etag, last_modified, ..known.clone() }));
        }
        let (_, file) = unpacked(packed, bytes, client.limits(), to, true)?;
        Ok(Pulled::File(Known { url: mark, etag, last_modified, sha256, file }))
    }

    fn client(&self, reach: &Reach, url: &Uri) -> Result<Client, DownloadError> {
        let home = Origin::of(url).ok_or_else(not_a_url)?;
        let authorization = match self.url.user() {
            None => None,
            Some(User::Both(both)) => Some((reach.credentials)(both)?),
            Some(User::Named(name, password)) => {
                let password = (reach.credentials)(password)?;
                Some(Secret::new(format!("{name}:{}", password.expose())))
            }
        };
        let authorization = authorization.map(|pair| basic(pair.expose())).transpose()?;
        let way = Way { ca_file: reach.ca_file, proxy: reach.proxy, limits: reach.limits, cancel: reach.cancel };
        Client::open(home, authorization, &way, false)
    }

    /// The sum that stands beside the file.
    fn sum(&self, client: &Client, reach: &Reach, date: NaiveDate) -> Result<[u8; 32], DownloadError> {
        let text = self.url.url(date, ".sha256", &mut |reference| (reach.key)(reference))?;
        let answer = client.ask(Method::Get, parsed(&text)?, &[]).map_err(|error| match error {
            // The file may well be there: a 404 alone would be taken for that of the file.
            DownloadError::Http(status @ (404 | 410)) => DownloadError::NoSum(status),
            error => error,
        })?;
        not_a_page(&answer)?;
        read_sum_of(answer)
    }
}

fn parsed(url: &Zeroizing<String>) -> Result<Uri, DownloadError> {
    url.parse().map_err(|_| not_a_url())
}

fn not_a_url() -> DownloadError {
    DownloadError::Setting("the URL is not understood: a secret in it may be too long".to_owned())
}

fn conditions(known: Option<&Known>) -> Vec<Condition<'_>> {
    let Some(known) = known else { return Vec::new() };
    let etag = known.etag.as_deref().map(|value| ("If-None-Match", value));
    let last_modified = known.last_modified.as_deref().map(|value| ("If-Modified-Since", value));
    etag.into_iter().chain(last_modified).collect()
}

fn not_a_page(answer: &Response<Body>) -> Result<(), DownloadError> {
    if is_page(answer) { Err(DownloadError::Page) } else { Ok(()) }
}
