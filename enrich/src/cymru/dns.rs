//! Questions over DNS: one TXT record set an address or AS. For few questions; many go into one
//! [`bulk`](super::bulk) session.
//!
//! Here is one attempt at one question, over UDP, and over TCP where the answer was too long for UDP or an earlier
//! question over UDP got none. Repeats
//! and the pace are the caller's: only then does one attempt cost one query, and a limit of so many queries a
//! second keep its word. Answers are not cached: they go into a table that lasts longer.

use parking_lot::Mutex;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::tcp::TcpClientStream;
use hickory_resolver::net::udp::UdpClientStream;
use hickory_resolver::net::xfer::{DnsExchange, DnsHandle, FirstAnswer};
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::{DnsRequestOptions, DnsResponse, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{ConnectionProvider, NameServerPool, PoolContext, TlsConfig};
use tokio::time::Instant;

use super::{AsName, Origin, grammar, names};
use crate::failure::Failure;

#[cfg(test)]
mod tests;

/// How many TXT records of one answer are looked at. One address has a few.
const MAX_RECORDS: usize = 64;

/// How many queries may share one TCP connection at a time. More than anyone has in flight: a full connection
/// would count as a failed server.
const MAX_SHARED: usize = 1024;

/// Said of a name server that answers "no such name" and has never heard of the service: one of a network that is closed
/// to the outside, or that invents its answers.
pub const UNKNOWN_ZONE: &str = "the resolver does not know origin.asn.cymru.com";

/// Said of a name server that does not say anything.
pub const SILENT: &str = "the DNS server did not answer in time";

/// An address that is always announced: who does not know that does not know the service.
const PROBE: IpAddr = IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8));
/// How long it counts that a server knows the service, and that it does not.
const KNOWS: Duration = Duration::from_secs(5);
const KNOWS_NOT: Duration = Duration::from_secs(1);
/// How long a server whose datagrams got lost is asked over TCP, before datagrams are tried again.
const BY_STREAM: Duration = Duration::from_secs(600);

/// How long a server that does not take EDNS is asked without it, before it is tried again.
const PLAIN: Duration = Duration::from_secs(600);

/// The name servers that are asked. One is asked until it fails, then the next one.
pub struct Resolver {
    servers: Vec<Server>,
    current: AtomicUsize,
    timeout: Duration,
}

impl Resolver {
    /// Asks `servers`. No attempt takes longer than `timeout`, TCP included.
    ///
    /// # Errors
    /// A transient failure where there are none: the system may have some later.
    pub fn new(servers: &[SocketAddr], timeout: Duration) -> Result<Resolver, Failure> {
        let servers =
            servers.iter().map(|server| Server::new(*server, timeout)).collect::<Result<Vec<_>, Failure>>()?;
        if servers.is_empty() {
            return Err(Failure::transient("the system has no usable DNS servers"));
        }
        Ok(Resolver { servers, current: AtomicUsize::new(0), timeout })
    }

    /// The servers, in order.
    pub fn servers(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(|server| server.address).collect()
    }

    /// The AS that announce `ip`: an effective address, of a public class.
    ///
    /// # Errors
    /// Every failure is transient: a time limit, an error code, a reply that does not parse, TXT records of another
    /// service, or a server that does not know the service. None of these means that the address is not announced.
    pub async fn origin(&self, ip: IpAddr) -> Result<Origin, Failure> {
        self.counted(async |attempt| match attempt.txt(&names::origin(ip)).await? {
            None => Ok(Origin::NotAnnounced),
            Some(records) => grammar::origin(ip, records.iter().map(Vec::as_slice)).ok_or_else(foreign),
        })
        .await
    }

    /// Whose `asn` is; `None` where the service does not know it.
    ///
    /// # Errors
    /// As for [`origin`](Resolver::origin).
    pub async fn as_name(&self, asn: u32) -> Result<Option<AsName>, Failure> {
        self.counted(async |attempt| match attempt.txt(&names::autonomous_system(asn)).await? {
            None => Ok(None),
            Some(records) => {
                records.iter().find_map(|record| grammar::as_name(asn, record)).map(Some).ok_or_else(foreign)
            }
        })
        .await
    }

    /// Asks the current server, and goes over to the next one if that fails.
    async fn counted<T>(&self, ask: impl AsyncFnOnce(&Attempt) -> Result<T, Failure>) -> Result<T, Failure> {
        let current = self.current.load(Ordering::Relaxed);
        let attempt = Attempt { server: &self.servers[current % self.servers.len()], under_way: Mutex::new(None) };
        let answer = tokio::time::timeout(self.timeout, ask(&attempt)).await.unwrap_or_else(|_| {
            attempt.ran_out();
            Err(failure(&NetError::Timeout))
        });
        if answer.is_err() {
            self.move_on(current);
        }
        answer
    }

    /// Only from the server that failed: of many questions that fail together, one moves on.
    fn move_on(&self, failed: usize) {
        let next = failed.wrapping_add(1) % self.servers.len();
        let _ = self.current.compare_exchange(failed, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// A server's records under a name.
enum Found {
    /// TXT records, each with its strings joined.
    Records(Vec<Vec<u8>>),
    /// No such name, or no TXT record: in the service's own words.
    Nothing,
    /// The same, in whose words it does not say.
    SaidNothing,
}

/// One name server.
struct Server {
    address: SocketAddr,
    /// Over UDP, and over TCP where an answer is too long for it.
    datagrams: NameServerPool<OneDatagram>,
    /// Over TCP alone.
    streams: NameServerPool<OneDatagram>,
    /// Until when it is asked over TCP: its datagrams got lost.
    by_stream: Mutex<Option<Instant>>,
    /// Until when it is asked without EDNS: it did not take a question with it.
    plain: Mutex<Option<Instant>>,
    /// When it was last found out whether it knows the service, and whether it does.
    probed: tokio::sync::Mutex<Option<(Instant, bool)>>,
}

impl Server {
    fn new(server: SocketAddr, timeout: Duration) -> Result<Server, Failure> {
        let mut options = ResolverOpts::default();
        options.timeout = timeout;
        options.num_concurrent_reqs = 1;
        options.max_active_requests = MAX_SHARED;
        let pool = |protocols: &[ProtocolConfig]| {
            let tls = TlsConfig::new().map_err(|error| failure(&error))?;
            let context = Arc::new(PoolContext::new(options.clone(), tls));
            let provider = OneDatagram { runtime: TokioRuntimeProvider::default(), server };
            Ok::<_, Failure>(NameServerPool::from_config([name_server(server, protocols)], context, provider))
        };
        Ok(Server {
            address: server,
            datagrams: pool(&[ProtocolConfig::Udp, ProtocolConfig::Tcp])?,
            streams: pool(&[ProtocolConfig::Tcp])?,
            by_stream: Mutex::new(None),
            plain: Mutex::new(None),
            probed: tokio::sync::Mutex::new(None),
        })
    }

    /// One question on one way; without EDNS where the server does not know that (RFC 6891, 7). To learn that costs one
    /// more question now and then, whatever comes of it: the pace counts attempts.
    async fn ask(&self, way: Way, name: &Name) -> Result<DnsResponse, NetError> {
        let pool = match way {
            Way::Datagrams => &self.datagrams,
            Way::Stream => &self.streams,
        };
        if is_before(&self.plain) {
            return one_lookup(pool, name, false).await;
        }
        let answer = one_lookup(pool, name, true).await;
        if !is_format_error(&answer) {
            return answer;
        }
        *self.plain.lock() = Some(Instant::now() + PLAIN);
        one_lookup(pool, name, false).await
    }

    /// The other way is tried next: other than this one, since many questions may end in the same silence.
    fn was_silent(&self, way: Way) {
        self.set_by_stream(match way {
            Way::Datagrams => Some(Instant::now() + BY_STREAM),
            Way::Stream => None,
        });
    }

    fn is_by_stream(&self) -> bool {
        is_before(&self.by_stream)
    }

    fn set_by_stream(&self, until: Option<Instant>) {
        *self.by_stream.lock() = until;
    }
}

fn is_before(until: &Mutex<Option<Instant>>) -> bool {
    until.lock().is_some_and(|until| Instant::now() < until)
}

/// How a question goes to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Over UDP, and over TCP where an answer is too long for it.
    Datagrams,
    /// Over TCP alone.
    Stream,
}

/// One attempt at one server.
struct Attempt<'a> {
    server: &'a Server,
    /// The way of the question that has no answer yet.
    under_way: Mutex<Option<Way>>,
}

impl Attempt<'_> {
    /// The TXT records of a name; `None` where the name, or a TXT record of it, does not exist. That counts from a server
    /// that knows the service: else everything would seem not to exist.
    async fn txt(&self, name: &str) -> Result<Option<Vec<Vec<u8>>>, Failure> {
        match self.lookup(name).await? {
            Found::Records(records) => Ok(Some(records)),
            Found::Nothing => Ok(None),
            Found::SaidNothing if self.knows_the_service(Instant::now()).await? => Ok(None),
            Found::SaidNothing => Err(Failure::transient(UNKNOWN_ZONE)),
        }
    }

    /// Whether a permanent name of the service exists. `since`: later results count.
    async fn knows_the_service(&self, since: Instant) -> Result<bool, Failure> {
        let mut probed = self.server.probed.lock().await;
        if let Some((at, knows)) = *probed
            && (at >= since || at.elapsed() < if knows { KNOWS } else { KNOWS_NOT })
        {
            return Ok(knows);
        }
        let at = Instant::now();
        let knows = match self.lookup(&names::origin(PROBE)).await? {
            Found::Nothing => true,
            Found::SaidNothing => false,
            Found::Records(records) => {
                matches!(grammar::origin(PROBE, records.iter().map(Vec::as_slice)), Some(Origin::Announced(_)))
            }
        };
        *probed = Some((at, knows));
        Ok(knows)
    }

    /// One question: over UDP, or, after a silence, over TCP. A firewall may let only one of them through.
    async fn lookup(&self, name: &str) -> Result<Found, Failure> {
        let name = Name::from_ascii(name).map_err(|error| Failure::permanent(format!("not a DNS name: {error}")))?;
        if self.server.is_by_stream() {
            match self.ask(Way::Stream, &name).await {
                // No server listens there: nothing was asked yet.
                Err(NetError::Io(_) | NetError::NoConnections) => self.server.set_by_stream(None),
                answer => return found(answer, &name),
            }
        }
        found(self.ask(Way::Datagrams, &name).await, &name)
    }

    async fn ask(&self, way: Way, name: &Name) -> Result<DnsResponse, NetError> {
        *self.under_way.lock() = Some(way);
        let answer = self.server.ask(way, name).await;
        *self.under_way.lock() = None;
        if matches!(answer, Err(NetError::Timeout)) {
            self.server.was_silent(way);
        }
        answer
    }

    /// The time of the attempt is over. An attempt that waits for another one's answer tells nothing about its own way.
    fn ran_out(&self) {
        if let Some(way) = self.under_way.lock().take() {
            self.server.was_silent(way);
        }
    }
}

async fn one_lookup(pool: &NameServerPool<OneDatagram>, name: &Name, edns: bool) -> Result<DnsResponse, NetError> {
    let mut options = DnsRequestOptions::default();
    options.use_edns = edns;
    options.recursion_desired = true;
    pool.lookup(Query::query(name.clone(), RecordType::TXT), options).first_answer().await
}

fn is_format_error(answer: &Result<DnsResponse, NetError>) -> bool {
    match answer {
        Ok(response) => response.response_code == ResponseCode::FormErr,
        Err(NetError::Dns(DnsError::ResponseCode(code))) => *code == ResponseCode::FormErr,
        Err(_) => false,
    }
}

fn found(answer: Result<DnsResponse, NetError>, name: &Name) -> Result<Found, Failure> {
    match answer {
        Ok(response) if response.response_code != ResponseCode::NoError => {
            Err(Failure::transient(format!("the DNS server answered {}", response.response_code)))
        }
        Ok(response) => {
            let records: Vec<Vec<u8>> = response
                .answers
                .iter()
                .filter_map(|record| match &record.data {
                    RData::TXT(txt) => Some(txt.txt_data.concat()),
                    _ => None,
                })
                .take(MAX_RECORDS)
                .collect();
            if records.is_empty() { Err(foreign()) } else { Ok(Found::Records(records)) }
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) if is_negative(&none, name) => {
            Ok(if is_of_the_service(&none, name) { Found::Nothing } else { Found::SaidNothing })
        }
        Err(error) => Err(failure(&error)),
    }
}

/// Whether the server says that there is nothing, in answer to the question asked. A server that does not
/// recurse points to other servers instead, which has no answer either and says nothing.
fn is_negative(none: &NoRecords, name: &Name) -> bool {
    let referral = none.ns.is_some() && none.soa.is_none();
    let nothing = match none.response_code {
        ResponseCode::NXDomain => true,
        ResponseCode::NoError => !referral,
        _ => false,
    };
    nothing && none.query.name() == name
}

/// Whether the answer comes with the service's own mark: the SOA record of a zone of its, around the name (RFC 2308). Some
/// resolvers leave it out, those that invent the answer have another one.
fn is_of_the_service(none: &NoRecords, name: &Name) -> bool {
    let own = Name::from_ascii("cymru.com.").unwrap_or_default();
    none.soa.as_ref().is_some_and(|soa| !own.is_root() && own.zone_of(&soa.name) && soa.name.zone_of(name))
}

fn foreign() -> Failure {
    Failure::transient("the DNS answer is not from this service")
}

fn failure(error: &NetError) -> Failure {
    Failure::transient(match error {
        NetError::Timeout => SILENT.to_owned(),
        NetError::Dns(DnsError::ResponseCode(code)) => format!("the DNS server answered {code}"),
        NetError::Dns(DnsError::NoRecordsFound(_)) => "the DNS server knows only other servers".to_owned(),
        other => format!("DNS: {other}"),
    })
}

fn name_server(server: SocketAddr, protocols: &[ProtocolConfig]) -> NameServerConfig {
    let connections = protocols.iter().map(|protocol| {
        let mut connection = ConnectionConfig::new(protocol.clone());
        connection.port = server.port();
        connection
    });
    NameServerConfig::new(server.ip(), true, connections.collect())
}

/// Opens connections that send one datagram a query. The library's own would send up to two more, a third of a second
/// apart, to a server that is slow or down, independent of the configured pace. And it takes an address without its
/// scope: a link-local one leads nowhere then.
#[derive(Clone)]
struct OneDatagram {
    runtime: TokioRuntimeProvider,
    server: SocketAddr,
}

impl ConnectionProvider for OneDatagram {
    type Conn = DnsExchange<TokioRuntimeProvider>;
    type FutureConn = Pin<Box<dyn Future<Output = Result<Self::Conn, NetError>> + Send + 'static>>;
    type RuntimeProvider = TokioRuntimeProvider;

    fn new_connection(
        &self,
        _: IpAddr,
        config: &ConnectionConfig,
        cx: &PoolContext,
    ) -> Result<Self::FutureConn, NetError> {
        let (server, runtime) = (self.server, self.runtime.clone());
        match config.protocol {
            ProtocolConfig::Udp => {
                let exchange = UdpClientStream::builder(server, runtime)
                    .with_timeout(Some(cx.options.timeout))
                    .with_max_retries(1)
                    .exchange();
                Ok(Box::pin(std::future::ready(Ok(exchange))))
            }
            ProtocolConfig::Tcp => {
                let (timeout, most) = (cx.options.timeout, cx.options.max_active_requests);
                Ok(Box::pin(TcpClientStream::exchange(server, config.bind_addr, timeout, Some(most), runtime)))
            }
        }
    }

    fn runtime_provider(&self) -> &TokioRuntimeProvider {
        &self.runtime
    }
}
