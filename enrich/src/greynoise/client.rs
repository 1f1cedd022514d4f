//! Asks GreyNoise over HTTPS.

use std::fmt;
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ureq::Agent;
use ureq::http::header::ACCEPT;
use ureq::http::{HeaderValue, Uri};

use super::{MAX_BODY, Verdict, parse};
use crate::failure::{Failure, FailureKind};
use crate::proxy::{Proxy, sent};
use crate::secrets::Secret;
use crate::time::Micros;
use crate::{tls, url};

#[cfg(test)]
mod tests;

/// A client of one service with one key. Blocks while it asks: for a thread that may. Clones share connections.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    /// Scheme, host and path before `/v3/…`, without a slash at the end.
    base: String,
    /// Marked as sensitive, so that no library on the way shows it.
    key: Option<HeaderValue>,
    proxy: Option<Proxy>,
}

impl Client {
    /// A client of the service at `url` (`https`, no query, no credentials) that asks with `key`, if there is one.
    /// `timeout` spans a whole question, from the name of the host to the last byte. `ca_file` holds further trusted
    /// certificates; the way may lead through `proxy`.
    ///
    /// # Errors
    /// `Permanent` if one of these cannot work. No reason shows the URL or the key.
    pub fn new(
        url: &str,
        key: Option<&Secret>,
        timeout: Duration,
        ca_file: Option<&Path>,
        proxy: Option<Proxy>,
    ) -> Result<Client, Failure> {
        let base = base(url)?;
        let key = key.map(header).transpose()?;
        let agent = tls::open(tls::agent(timeout, &tls::ca_file(ca_file))?, proxy.as_ref());
        Ok(Client { agent, base, key, proxy })
    }

    /// Asks for one address.
    ///
    /// # Errors
    /// As [`parse`] says; `Transient` also where no answer came, and `Unsent` where the question did not leave.
    pub fn ask(&self, ip: Ipv4Addr) -> Result<Verdict, Failure> {
        let url: Uri = format!("{}/v3/community/{ip}", self.base)
            .parse()
            .map_err(|_| Failure::unsent("greynoise_url is too long"))?;
        let failed = |error: &ureq::Error| tls::failure_at(error, &url, self.proxy.as_ref());
        let mut request = self.agent.get(&url);
        request = request.header(ACCEPT, "application/json");
        if let Some(key) = &self.key {
            request = request.header("key", key);
        }
        let (response, is_sent) = sent::watched(|| request.call());
        let response = response.map_err(|error| match failed(&error) {
            failure if is_sent => failure,
            failure => Failure { kind: FailureKind::Unsent, ..failure },
        })?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        // One byte more than is allowed, to see that there is more; the rest is not read, and the connection is closed.
        let mut body = Vec::new();
        let mut reader = response.into_body().into_reader().take(MAX_BODY as u64 + 1);
        reader.read_to_end(&mut body).map_err(|error| failed(&error.into()))?;
        parse(ip, status, |name| headers.get(name)?.to_str().ok(), &body, now())
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base).field("key", &self.key).finish_non_exhaustive()
    }
}

fn base(text: &str) -> Result<String, Failure> {
    url::base(text).map_err(|why| permanent(&format!("greynoise_url: {why}")))
}

fn header(key: &Secret) -> Result<HeaderValue, Failure> {
    let text = key.expose();
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(permanent("the GreyNoise key is empty or has invalid characters"));
    }
    let mut value =
        HeaderValue::from_str(text).map_err(|_| permanent("the GreyNoise key cannot be sent in an HTTP header"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The clock is read where the answer arrives: only dates in headers count from it.
fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX)
}

fn permanent(reason: &str) -> Failure {
    Failure { kind: FailureKind::Permanent, reason: reason.to_owned() }
}
