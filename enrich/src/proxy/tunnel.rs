//! Connections of an agent: directly, or through a proxy's CONNECT.
//!
//! The HTTP library has a proxy of its own. It waits anew for each piece of the proxy's answer, so that a proxy that
//! drips holds a download for days, and its errors do not tell the proxy from the target. Here the whole way to the
//! target has the time of one connection, and an error names the proxy.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    ConnectionDetails, Connector, NextTimeout, RustlsConnector, TcpConnector, Transport,
};
use ureq::{Agent, Error};

use super::pace::{Pace, Paced};
use super::sent::Watched;
use super::{Place, Proxy};

/// An answer to CONNECT has a few lines.
const MAX_ANSWER: usize = 16 << 10;

/// The proxy gave no tunnel. Its text has nothing of the request but its host and port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProxyError {
    /// It cannot be reached at all.
    #[error("the proxy {proxy} cannot be reached: {why}")]
    Unreachable { proxy: String, why: String },
    /// 407.
    #[error("the proxy {proxy} does not accept the credentials of {place} (407), asked for {target}")]
    Credentials { proxy: String, target: String, place: Place },
    /// 407, and there are none.
    #[error(
        "the proxy {proxy} wants credentials (407), and asn_inventory.https_proxy_credentials is not set, asked for {target}"
    )]
    NoCredentials { proxy: String, target: String },
    /// Any other status that is not a success.
    #[error("the proxy {proxy} answers with status {status}, asked for {target}")]
    Status { proxy: String, target: String, status: u16 },
    /// Neither a success nor a refusal.
    #[error("the proxy {proxy} does not answer as a proxy does, asked for {target}")]
    NotHttp { proxy: String, target: String },
    /// It hangs up.
    #[error("the proxy {proxy} closed the connection, asked for {target}")]
    Closed { proxy: String, target: String },
    /// It says nothing, or too slowly.
    #[error("the proxy {proxy} did not answer in time, asked for {target}")]
    Silent { proxy: String, target: String },
}

/// An agent that connects as `proxy` says, to servers that must send as fast as `pace` says.
pub(crate) fn agent(config: Config, proxy: Option<Proxy>, pace: Option<Pace>) -> Agent {
    let proxy = proxy.map(Arc::new);
    let connector = Tunnel(proxy.clone()).chain(Paced(pace)).chain(RustlsConnector::default()).chain(Watched);
    Agent::with_parts(config, connector, Names(proxy, DefaultResolver::default()))
}

/// Whether a URL's host is asked through the proxy.
fn is_for(proxy: &Option<Arc<Proxy>>, uri: &Uri) -> bool {
    let (Some(proxy), Some(host)) = (proxy, uri.host()) else { return false };
    proxy.is_for(host, port(uri))
}

fn port(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 })
}

/// Names are resolved by the proxy where there is one: inside a company often nobody else can.
#[derive(Debug)]
struct Names(Option<Arc<Proxy>>, DefaultResolver);

impl Resolver for Names {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        if is_for(&self.0, uri) {
            return Ok(self.empty());
        }
        let found = self.1.resolve(uri, config, timeout)?;
        if uri.scheme_str() != Some("http") {
            return Ok(found);
        }
        // Plain HTTP is for this machine alone, whatever its name resolves to.
        let mut here = self.empty();
        found.iter().filter(|address| address.ip().is_loopback()).for_each(|address| here.push(*address));
        if here.is_empty() { Err(Error::HostNotFound) } else { Ok(here) }
    }
}

#[derive(Debug)]
struct Tunnel(Option<Arc<Proxy>>);

impl Connector for Tunnel {
    type Out = Box<dyn Transport>;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<Box<dyn Transport>>, Error> {
        let Some(proxy) = self.0.as_ref().filter(|_| is_for(&self.0, details.uri)) else {
            return Ok(tcp(details)?.map(|transport| Box::new(transport) as Box<dyn Transport>));
        };
        let clock = Clock { begun: Instant::now(), given: details.timeout };
        let unreachable = |error: Error| {
            let why = match error {
                Error::HostNotFound => "host not found".to_owned(),
                Error::Timeout(_) => "no answer in time".to_owned(),
                Error::Io(e) => e.to_string(),
                _ => "the connection failed".to_owned(),
            };
            other(ProxyError::Unreachable { proxy: proxy.name(), why })
        };
        let at: Uri = format!("http://{}", proxy.name()).parse().map_err(|_| Error::HostNotFound)?;
        // Not by our own resolver, which keeps plain HTTP on this machine.
        let addrs = DefaultResolver::default().resolve(&at, details.config, clock.left()).map_err(unreachable)?;
        let to_proxy = ConnectionDetails {
            uri: &at,
            addrs,
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: (details.current_time)(),
            timeout: clock.left(),
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        let Some(mut transport) = tcp(&to_proxy).map_err(unreachable)? else { return Ok(None) };
        let host = details.uri.host().unwrap_or_default();
        let target = format!("{host}:{}", port(details.uri));
        open(&mut transport, proxy, &target, &clock).map_err(other)?;
        Ok(Some(Box::new(transport)))
    }
}

fn tcp(details: &ConnectionDetails) -> Result<Option<impl Transport + use<>>, Error> {
    Connector::<()>::connect(&TcpConnector::default(), details, None)
}

fn other(error: ProxyError) -> Error {
    Error::Other(Box::new(error))
}

/// The time of one connection, for all of its steps together.
struct Clock {
    begun: Instant,
    given: NextTimeout,
}

impl Clock {
    fn left(&self) -> NextTimeout {
        if self.given.after.is_not_happening() {
            return self.given;
        }
        let left = self.given.after.saturating_sub(self.begun.elapsed());
        NextTimeout { after: left.into(), ..self.given }
    }

    fn is_over(&self) -> bool {
        !self.given.after.is_not_happening() && self.begun.elapsed() >= *self.given.after
    }
}

/// Asks for a tunnel, and reads the answer up to its empty line: what follows is the target's.
fn open(transport: &mut impl Transport, proxy: &Proxy, target: &str, clock: &Clock) -> Result<(), ProxyError> {
    let (name, target) = (proxy.name(), target.to_owned());
    let lost = |error: Error| match error {
        Error::Timeout(_) => ProxyError::Silent { proxy: name.clone(), target: target.clone() },
        _ => ProxyError::Closed { proxy: name.clone(), target: target.clone() },
    };
    let mut output = transport.buffers().output();
    let room = output.len();
    let agent = concat!("asn_inventory/", env!("CARGO_PKG_VERSION"));
    let mut written = write!(output, "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {agent}\r\n");
    if let Some(authorization) = &proxy.authorization {
        written = written.and_then(|()| write!(output, "Proxy-Authorization: {}\r\n", *authorization.0));
    }
    written = written.and_then(|()| write!(output, "\r\n"));
    let amount = room - output.len();
    written.map_err(|e| lost(e.into()))?;
    let sent = transport.transmit_output(amount, clock.left()).map_err(lost);
    // It may have held a password.
    transport.buffers().output()[..amount].fill(0);
    sent?;
    loop {
        if clock.is_over() {
            return Err(ProxyError::Silent { proxy: name, target });
        }
        let more = transport.await_input(clock.left()).map_err(lost)?;
        let input = transport.buffers().input();
        if let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") {
            let status = status(&input[..end]);
            transport.buffers().input_consume(end + 4);
            return match status {
                Some(200..=299) => Ok(()),
                Some(407) => Err(match &proxy.authorization {
                    Some(authorization) => ProxyError::Credentials { proxy: name, target, place: authorization.1 },
                    None => ProxyError::NoCredentials { proxy: name, target },
                }),
                Some(status) => Err(ProxyError::Status { proxy: name, target, status }),
                None => Err(ProxyError::NotHttp { proxy: name, target }),
            };
        }
        let speaks_http = b"HTTP/1.".iter().zip(input).all(|(wanted, found)| wanted == found);
        if !speaks_http || input.len() > MAX_ANSWER {
            return Err(ProxyError::NotHttp { proxy: name, target });
        }
        if !more {
            return Err(ProxyError::Closed { proxy: name, target });
        }
    }
}

fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?;
    line.split(' ').nth(1)?.parse().ok()
}

/// Which proxy an error is to be told with: the one that the host is asked through.
pub(crate) fn through(proxy: Option<&Proxy>, uri: &Uri) -> Option<String> {
    let proxy = proxy?;
    let host = uri.host()?;
    proxy.is_for(host, port(uri)).then(|| proxy.name())
}
