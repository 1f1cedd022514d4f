//! Requests and redirects: who gets to see the key.
//!
//! MaxMind answers with a redirect to an object store. It is followed by hand, because the key must stay with the
//! origin (scheme, host and port) that it was given for. Neither the URLs nor their targets are ever told: they may hold
//! a key, and a target holds a signature that is as good as one.

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::utf8_percent_encode;
use ureq::http::{HeaderMap, HeaderValue, Response, Uri};
use ureq::{Agent, Body};
use zeroize::Zeroizing;

use super::cancel::Cancel;
use super::error::DownloadError;
use super::limits::Limits;
use crate::proxy::Proxy;
use crate::proxy::pace::Pace;
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

/// A server that can be asked, until its deadline.
pub(super) struct Client {
    home: Origin,
    authorization: Option<HeaderValue>,
    agent: Agent,
    proxy: Option<Proxy>,
    limits: Limits,
    /// Whether a refusal with a web page is from another system: the server itself gives none.
    gives_no_pages: bool,
    deadline: Instant,
}

/// Whom a key was given for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// `http`, which only this machine may have.
    plain: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// `None` where the URL is neither `https` nor `http` on this machine, or brings a user of its own.
    pub(super) fn of(url: &Uri) -> Option<Origin> {
        let authority = url.authority().filter(|a| !a.as_str().contains('@') && !a.host().is_empty())?;
        let plain = match url.scheme_str() {
            Some("https") => false,
            Some("http") if url::is_loopback(authority.host()) => true,
            _ => return None,
        };
        let port = authority.port_u16().unwrap_or(if plain { 80 } else { 443 });
        Some(Origin { plain, host: authority.host().to_ascii_lowercase(), port })
    }
}

/// How a server is reached.
pub(super) struct Way<'a> {
    pub(super) ca_file: Option<&'a Path>,
    pub(super) proxy: Option<&'a Proxy>,
    pub(super) limits: &'a Limits,
    pub(super) cancel: &'a Cancel,
}

/// A header of a request that asks for news only.
pub(super) type Condition<'a> = (&'static str, &'a str);

impl Client {
    pub(super) fn open(
        home: Origin,
        authorization: Option<HeaderValue>,
        way: &Way,
        gives_no_pages: bool,
    ) -> Result<Client, DownloadError> {
        let limits = *way.limits;
        let config = tls::agent(limits.total, &tls::ca_file(way.ca_file));
        let config = config.map_err(|e| DownloadError::Setting(e.reason))?.https_only(!home.plain);
        let config = config.timeout_connect(Some(limits.connect)).timeout_per_read(Some(limits.idle));
        let pace = Pace { bytes: limits.least, within: limits.window };
        let (agent, proxy) = (tls::open_paced(config, way.proxy, pace), way.proxy.cloned());
        way.cancel.covers(&agent)?;
        Ok(Client {
            home,
            authorization,
            agent,
            proxy,
            limits,
            gives_no_pages,
            deadline: Instant::now() + limits.total,
        })
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The answer to one question, wherever it was redirected to; its status is 200.
    pub(super) fn ask(
        &self,
        method: Method,
        mut url: Uri,
        conditions: &[Condition],
    ) -> Result<Response<Body>, DownloadError> {
        for _ in 0..=MAX_REDIRECTS {
            let at_home = Origin::of(&url).as_ref() == Some(&self.home);
            let answer = self.send(method, &url, conditions, at_home)?;
            match answer.status().as_u16() {
                200 => return Ok(answer),
                301 | 302 | 303 | 307 | 308 => url = target(&url, answer.headers())?,
                304 => return Err(DownloadError::NotModified),
                status @ (401 | 403 | 404 | 429) if self.gives_no_pages && is_page(&answer) => {
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

    fn send(
        &self,
        method: Method,
        url: &Uri,
        conditions: &[Condition],
        at_home: bool,
    ) -> Result<Response<Body>, DownloadError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(DownloadError::TooSlow);
        }
        let request = match method {
            Method::Head => self.agent.head(url),
            Method::Get => self.agent.get(url),
        };
        let mut request = request.config().timeout_global(Some(left)).build();
        for (name, value) in conditions {
            request = request.header(*name, *value);
        }
        if let Some(authorization) = self.authorization.as_ref().filter(|_| at_home) {
            request = request.header("Authorization", authorization);
        }
        request.call().map_err(|e| DownloadError::at(&e, url, self.proxy.as_ref()))
    }
}

/// The target of a redirect, resolved against `from` where it is relative (RFC 3986, 5.2). It is `https`, or the same server
/// again.
fn target(from: &Uri, headers: &HeaderMap) -> Result<Uri, DownloadError> {
    let nowhere = DownloadError::Redirect("to nowhere");
    let Some(location) = headers.get("location").and_then(|value| value.to_str().ok()) else { return Err(nowhere) };
    let location = location.trim();
    let location = location.split_once('#').map_or(location, |(url, _)| url);
    let (scheme, authority) = (from.scheme_str().unwrap_or("https"), from.authority().map_or("", |a| a.as_str()));
    let url = match location.as_bytes() {
        [] => return Err(nowhere),
        _ if has_scheme(location) => location.to_owned(),
        [b'/', b'/', ..] => format!("{scheme}:{location}"),
        [b'/', ..] => format!("{scheme}://{authority}{}", without_dots(location)),
        [b'?', ..] => format!("{scheme}://{authority}{}{location}", from.path()),
        _ => {
            let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{authority}{}", without_dots(&format!("{folder}/{location}")))
        }
    };
    let url: Uri = url.parse().map_err(|_| nowhere)?;
    match Origin::of(&url) {
        Some(origin) if !origin.plain || Some(&origin) == Origin::of(from).as_ref() => Ok(url),
        _ => Err(DownloadError::Redirect("to an address that is not plain https://")),
    }
}

/// Whether it begins with a scheme, as a whole URL does.
fn has_scheme(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once(':') else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// A path, which begins with a slash, and its query: the path without `.` and `..` (RFC 3986, 5.2.4).
fn without_dots(path: &str) -> String {
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                // What ends with one of them is a folder.
                kept.extend(is_last.then_some(""));
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}{query}", kept.join("/"))
}

/// A date counts from the server's own `Date`, so that no clock of ours matters.
fn wait_asked(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let wait = retry_after(text("retry-after")?, || http_date(text("date")?))?;
    Some(wait.min(MAX_RETRY_AFTER))
}

/// A portal's answer in place of the server's.
pub(super) fn is_page(answer: &Response<Body>) -> bool {
    answer.body().mime_type().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"))
}

/// RFC 7617, of `user:password`; marked so that it is not printed.
pub(super) fn basic(pair: &str) -> Result<HeaderValue, DownloadError> {
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

/// For a value in a path or a query.
pub(super) fn escape(value: &str) -> Zeroizing<String> {
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
        let value = basic("12:key").unwrap();
        assert_eq!(value.to_str().unwrap(), "Basic MTI6a2V5");
        assert!(!format!("{value:?}").contains("MTI6"));
        assert_eq!(*escape("a b&c=d/ä"), "a%20b%26c%3Dd%2F%C3%A4");
    }

    #[test]
    fn a_redirect_leads_only_to_https() {
        let from: Uri = "https://a.example:8443/w/x?y".parse().unwrap();
        let to = |location: &str| target(&from, &headers(&[("location", location)])).map(|url| url.to_string()).ok();
        assert_eq!(to("https://b.example/z?s=1#f").as_deref(), Some("https://b.example/z?s=1"));
        assert_eq!(to("/z").as_deref(), Some("https://a.example:8443/z"));
        assert_eq!(to("//b.example/z").as_deref(), Some("https://b.example/z"));
        for (relative, path) in [
            ("z.mmdb", "/w/z.mmdb"),
            ("z?at=12:30/../x#f", "/w/z?at=12:30/../x"),
            ("?x=1", "/w/x?x=1"),
            ("./z", "/w/z"),
            ("../z", "/z"),
            ("../../../z", "/z"),
            ("/a/./b/../c", "/a/c"),
            ("..", "/"),
            ("a/..", "/w/"),
            (".", "/w/"),
            ("a//b", "/w/a//b"),
        ] {
            assert_eq!(to(relative), Some(format!("https://a.example:8443{path}")), "{relative}");
        }
        for location in [
            "http://b.example/",
            "ftp://b.example/",
            "file:///etc/passwd",
            "mailto:z",
            "",
            "#f",
            "http://localhost/z",
            "http://a.example:8443/z",
            "https://u:p@b.example/",
            "https://",
        ] {
            assert_eq!(to(location), None, "{location}");
        }
        assert!(target(&from, &HeaderMap::new()).is_err());
    }

    #[test]
    fn a_plain_server_of_this_machine_may_lead_to_itself_and_to_https() {
        let from: Uri = "http://localhost:8080/w/x".parse().unwrap();
        let to = |location: &str| target(&from, &headers(&[("location", location)])).map(|url| url.to_string()).ok();
        for location in ["/w/z", "z", "//localhost:8080/w/z", "http://LOCALHOST:8080/w/z"] {
            let found = to(location).unwrap().to_ascii_lowercase();
            assert_eq!(found, "http://localhost:8080/w/z", "{location}");
        }
        assert_eq!(to("https://b.example/z").as_deref(), Some("https://b.example/z"));
        for location in ["http://localhost:9/z", "http://127.0.0.1:8080/z", "http://b.example/z", "//b.example/z"] {
            assert_eq!(to(location), None, "{location}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let of = |url: &str| Origin::of(&url.parse().unwrap());
        assert_eq!(of("https://a.example/x"), of("https://A.example:443/y"));
        assert_ne!(of("https://a.example"), of("https://a.example:8443"));
        assert_ne!(of("https://a.example"), of("https://b.a.example"));
        assert_eq!(of("http://a.example"), None);
        assert_ne!(of("http://localhost"), of("https://localhost:80"));
        assert_eq!(of("https://u@localhost"), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_by_the_servers_clock() {
        let of = |pairs: &[(&'static str, &str)]| wait_asked(&headers(pairs));
        let date = ("date", "Wed, 21 Oct 2015 07:28:00 GMT");
        assert_eq!(of(&[("retry-after", "120")]), Some(Duration::from_secs(120)));
        assert_eq!(of(&[("retry-after", "99999999999")]), Some(MAX_RETRY_AFTER));
        assert_eq!(of(&[date, ("retry-after", "Wed, 21 Oct 2015 07:29:00 GMT")]), Some(Duration::from_secs(60)));
        assert_eq!(of(&[date, ("retry-after", "Wed, 21 Oct 2015 07:00:00 GMT")]), None);
        assert_eq!(of(&[("retry-after", "0")]), None);
        assert_eq!(of(&[("retry-after", "Wed, 21 Oct 2015 07:29:00 GMT")]), None);
        assert_eq!(of(&[("retry-after", "soon")]), None);
        assert_eq!(of(&[]), None);
    }
}
