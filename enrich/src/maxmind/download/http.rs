//! Requests and redirects: who gets to see the key.
//!
//! MaxMind answers with a redirect to an object store. It is followed by hand, because the key must stay with the
//! origin (scheme, host and port) that it was given for. Neither the URLs nor their targets are ever told: the older
//! form holds the key, and a target holds a signature that is as good as one.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::utf8_percent_encode;
use ureq::http::{HeaderMap, HeaderValue, Response, Uri};
use ureq::{Agent, Body};
use zeroize::Zeroizing;

use super::error::DownloadError;
use super::source::{Limits, Source, Suffix, is_page};
use crate::maxmind::edition::Edition;
use crate::time::{http_date, retry_after};
use crate::url::UNRESERVED;
use crate::{tls, url};

const MAX_REDIRECTS: usize = 3;

/// MaxMind's limits last at most a day; longer times of a header are cut.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// How it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Head,
    Get,
}

/// A source that can be asked, until its deadline.
pub(super) struct Client<'a> {
    source: &'a Source,
    base: String,
    origin: Origin,
    authorization: Option<HeaderValue>,
    agent: Agent,
    deadline: Instant,
}

/// Whom a key was given for; the scheme is always `https`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    host: String,
    port: u16,
}

impl Origin {
    /// `None` where the URL is not `https`, or brings a user of its own.
    fn of(url: &Uri) -> Option<Origin> {
        let authority = url.authority().filter(|a| !a.as_str().contains('@') && !a.host().is_empty())?;
        let https = url.scheme_str() == Some("https");
        https.then(|| Origin { host: authority.host().to_ascii_lowercase(), port: authority.port_u16().unwrap_or(443) })
    }
}

impl<'a> Client<'a> {
    pub(super) fn new(source: &'a Source) -> Result<Client<'a>, DownloadError> {
        let refused = |why: &str| DownloadError::Setting(why.to_owned());
        let base = url::base(&source.base_url).map_err(|why| refused(&format!("maxmind_url: {why}")))?;
        let origin = base.parse().ok().as_ref().and_then(Origin::of);
        let origin = origin.ok_or_else(|| refused("maxmind_url is not a URL"))?;
        let authorization = match &source.account_id {
            None => None,
            Some(id) if id.is_empty() || id.contains(':') || id.chars().any(char::is_control) => {
                return Err(refused("maxmind_account_id is not an account number"));
            }
            Some(id) => Some(basic(id, source.license_key.expose())?),
        };
        let limits = &source.limits;
        let agent =
            tls::agent(limits.total, &tls::ca_file(source.ca_file.as_deref())).map_err(|e| refused(&e.reason))?;
        let agent = agent.timeout_connect(Some(limits.connect)).timeout_per_read(Some(limits.idle)).build().into();
        Ok(Client { source, base, origin, authorization, agent, deadline: Instant::now() + limits.total })
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.source.limits
    }

    /// The answer to one question, wherever it was redirected to; its status is 200.
    pub(super) fn ask(
        &self,
        method: Method,
        edition: &Edition,
        suffix: Suffix,
    ) -> Result<Response<Body>, DownloadError> {
        let mut url: Uri = self
            .url(edition, suffix)
            .parse()
            .map_err(|_| DownloadError::Setting("maxmind_url is too long".to_owned()))?;
        for _ in 0..=MAX_REDIRECTS {
            let at_home = Origin::of(&url).as_ref() == Some(&self.origin);
            let answer = self.send(method, &url, at_home)?;
            match answer.status().as_u16() {
                200 => return Ok(answer),
                301 | 302 | 303 | 307 | 308 => url = target(&url, answer.headers())?,
                304 => return Err(DownloadError::NotModified),
                status @ (401 | 403 | 404 | 429) if is_page(&answer) => {
                    return Err(DownloadError::Intercepted(status));
                }
                // A store's answer about a signature is not about the key.
                401 if at_home => return Err(DownloadError::Unauthorized),
                403 if at_home => return Err(DownloadError::Forbidden),
                429 if at_home => return Err(DownloadError::DailyLimit { retry_after: wait_asked(answer.headers()) }),
                status => return Err(DownloadError::Http(status)),
            }
        }
        Err(DownloadError::Redirect("too often"))
    }

    fn send(&self, method: Method, url: &Uri, at_home: bool) -> Result<Response<Body>, DownloadError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(DownloadError::TooSlow);
        }
        let request = match method {
            Method::Head => self.agent.head(url),
            Method::Get => self.agent.get(url),
        };
        let mut request = request.config().timeout_global(Some(left)).build();
        if let Some(authorization) = self.authorization.as_ref().filter(|_| at_home) {
            request = request.header("Authorization", authorization);
        }
        request.call().map_err(|e| DownloadError::of(&e))
    }

    /// Wiped after use: it may hold the key.
    fn url(&self, edition: &Edition, suffix: Suffix) -> Zeroizing<String> {
        let (base, edition, suffix) = (&self.base, edition.name(), suffix.as_str());
        Zeroizing::new(match self.authorization {
            Some(_) => format!("{base}/geoip/databases/{edition}/download?suffix={suffix}"),
            None => {
                let key = escape(self.source.license_key.expose());
                format!("{base}/app/geoip_download?edition_id={edition}&license_key={}&suffix={suffix}", *key)
            }
        })
    }
}

/// The target of a redirect. It is resolved against `from` in the forms that servers use: a whole URL, one without its
/// scheme, or a path.
fn target(from: &Uri, headers: &HeaderMap) -> Result<Uri, DownloadError> {
    let nowhere = DownloadError::Redirect("to nowhere");
    let Some(location) = headers.get("location").and_then(|value| value.to_str().ok()) else { return Err(nowhere) };
    let location = location.trim();
    let location = location.split_once('#').map_or(location, |(url, _)| url);
    let url = if location.starts_with("//") {
        format!("https:{location}")
    } else if location.starts_with('/') {
        format!("https://{}{location}", from.authority().map_or("", |a| a.as_str()))
    } else {
        location.to_owned()
    };
    let url: Uri = url.parse().map_err(|_| nowhere)?;
    match (url.scheme_str(), Origin::of(&url)) {
        (Some("https"), Some(_)) => Ok(url),
        _ => Err(DownloadError::Redirect("to an address that is not plain https://")),
    }
}

/// A date counts from the server's own `Date`, so that no clock of ours matters.
fn wait_asked(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let wait = retry_after(text("retry-after")?, || http_date(text("date")?))?;
    Some(wait.min(MAX_RETRY_AFTER))
}

/// RFC 7617; marked so that it is not printed.
fn basic(user: &str, password: &str) -> Result<HeaderValue, DownloadError> {
    let pair = Zeroizing::new(format!("{user}:{password}"));
    let value = Zeroizing::new(format!("Basic {}", *base64(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&value)
        .map_err(|_| DownloadError::Setting("the credentials cannot be sent in an HTTP header".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// With room from the start: a text that grows leaves copies of itself behind.
fn base64(bytes: &[u8]) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(bytes.len().div_ceil(3) * 4));
    STANDARD.encode_string(bytes, &mut out);
    out
}

/// For a value in a query.
fn escape(value: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(value.len() * 3));
    out.extend(utf8_percent_encode(value, UNRESERVED));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_str(v).unwrap())).collect()
    }

    #[test]
    fn credentials_are_encoded_as_the_standard_says() {
        for (plain, encoded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(*base64(plain.as_bytes()), encoded);
        }
        let value = basic("12", "key").unwrap();
        assert_eq!(value.to_str().unwrap(), "Basic MTI6a2V5");
        assert!(!format!("{value:?}").contains("MTI6"));
        assert_eq!(*escape("a b&c=d/ä"), "a%20b%26c%3Dd%2F%C3%A4");
    }

    #[test]
    fn a_redirect_leads_only_to_https() {
        let from: Uri = "https://a.example:8443/x?y".parse().unwrap();
        let to = |location: &str| target(&from, &headers(&[("location", location)])).map(|url| url.to_string()).ok();
        assert_eq!(to("https://b.example/z?s=1#f").as_deref(), Some("https://b.example/z?s=1"));
        assert_eq!(to("/z").as_deref(), Some("https://a.example:8443/z"));
        assert_eq!(to("//b.example/z").as_deref(), Some("https://b.example/z"));
        for location in [
            "http://b.example/",
            "ftp://b.example/",
            "file:///etc/passwd",
            "z",
            "",
            "https://u:p@b.example/",
            "https://",
        ] {
            assert_eq!(to(location), None, "{location}");
        }
        assert!(target(&from, &HeaderMap::new()).is_err());
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let of = |url: &str| Origin::of(&url.parse().unwrap());
        assert_eq!(of("https://a.example/x"), of("https://A.example:443/y"));
        assert_ne!(of("https://a.example"), of("https://a.example:8443"));
        assert_ne!(of("https://a.example"), of("https://b.a.example"));
        assert_eq!(of("http://a.example"), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_by_the_servers_clock() {
        let of = |pairs: &[(&'static str, &str)]| wait_asked(&headers(pairs));
        let date = ("date", "Wed, 21 Oct 2015 07:28:00 GMT");
        assert_eq!(of(&[("retry-after", "120")]), Some(Duration::from_secs(120)));
        assert_eq!(of(&[("retry-after", "99999999999")]), Some(MAX_RETRY_AFTER));
        assert_eq!(of(&[date, ("retry-after", "Wed, 21 Oct 2015 07:29:00 GMT")]), Some(Duration::from_secs(60)));
        assert_eq!(of(&[date, ("retry-after", "Wed, 21 Oct 2015 07:00:00 GMT")]), Some(Duration::ZERO));
        assert_eq!(of(&[("retry-after", "Wed, 21 Oct 2015 07:29:00 GMT")]), None);
        assert_eq!(of(&[("retry-after", "soon")]), None);
        assert_eq!(of(&[]), None);
    }
}
