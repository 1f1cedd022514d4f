//! Questions over DNS: one TXT record set an address or AS. For few questions; many go into one
//! [`bulk`](super::bulk) session.
//!
//! Here is one attempt at one question, over UDP, and over TCP where the answer was too long for UDP. Repeats
//! and the pace are the caller's: only then does one attempt cost one query, and a limit of so many queries a
//! second keep its word. Answers are not cached: they go into a table that lasts longer.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::udp::UdpClientStream;
use hickory_resolver::net::xfer::{DnsExchange, DnsHandle, FirstAnswer};
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::{DnsRequestOptions, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{ConnectionProvider, NameServerPool, PoolContext, TlsConfig};

use super::{AsName, Origin, grammar, names};
use crate::failure::Failure;

#[cfg(test)]
mod tests;

/// How many TXT records of one answer are looked at. One address has a few.
const MAX_RECORDS: usize = 64;

/// How many queries may share one TCP connection at a time. More than anyone has in flight: a full connection
/// would count as a failed server.
const MAX_SHARED: usize = 1024;

/// The name servers that are asked. One is asked until it fails, then the next one.
pub struct Resolver {
    servers: Vec<NameServerPool<OneDatagram>>,
    current: AtomicUsize,
    timeout: Duration,
}

impl Resolver {
    /// Asks `servers`, or those of the system where there are none. No attempt takes longer than `timeout`, TCP
    /// included.
    ///
    /// # Errors
    /// A transient failure where the system has no usable name servers: it may have some later.
    pub fn new(servers: &[SocketAddr], timeout: Duration) -> Result<Resolver, Failure> {
        let servers: Vec<NameServerConfig> = if servers.is_empty() {
            let unusable = |error| Failure::transient(format!("the system has no usable DNS servers: {error}"));
            read_system_conf().map_err(unusable)?.0.name_servers
        } else {
            servers.iter().map(|server| name_server(*server)).collect()
        };
        let mut options = ResolverOpts::default();
        options.timeout = timeout;
        options.num_concurrent_reqs = 1;
        options.max_active_requests = MAX_SHARED;
        let pool = |server| {
            let tls = TlsConfig::new().map_err(|error| failure(&error))?;
            let context = Arc::new(PoolContext::new(options.clone(), tls));
            let provider = OneDatagram(TokioRuntimeProvider::default());
            Ok(NameServerPool::from_config([server], context, provider))
        };
        let servers = servers.into_iter().map(pool).collect::<Result<Vec<_>, Failure>>()?;
        if servers.is_empty() {
            return Err(Failure::transient("the system has no usable DNS servers"));
        }
        Ok(Resolver { servers, current: AtomicUsize::new(0), timeout })
    }

    /// Who announces `ip`: an effective address, of a public class.
    ///
    /// # Errors
    /// Every failure is transient: a time limit, an error code, a reply that does not parse, or TXT records that
    /// are somebody else's. None of these means that nobody announces the address.
    pub async fn origin(&self, ip: IpAddr) -> Result<Origin, Failure> {
        self.counted(async |server| match txt(server, &names::origin(ip)).await? {
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
        self.counted(async |server| match txt(server, &names::autonomous_system(asn)).await? {
            None => Ok(None),
            Some(records) => {
                records.iter().find_map(|record| grammar::as_name(asn, record)).map(Some).ok_or_else(foreign)
            }
        })
        .await
    }

    /// Asks the current server, and goes over to the next one if that fails.
    async fn counted<T>(
        &self,
        ask: impl AsyncFnOnce(&NameServerPool<OneDatagram>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let current = self.current.load(Ordering::Relaxed);
        let answer = tokio::time::timeout(self.timeout, ask(&self.servers[current % self.servers.len()]))
            .await
            .unwrap_or_else(|_| Err(failure(&NetError::Timeout)));
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

/// The TXT records of a name, each with its strings joined; `None` where the name, or a TXT record of it, does
/// not exist.
async fn txt(server: &NameServerPool<OneDatagram>, name: &str) -> Result<Option<Vec<Vec<u8>>>, Failure> {
    let name = Name::from_ascii(name).map_err(|error| Failure::permanent(format!("no DNS name: {error}")))?;
    let mut options = DnsRequestOptions::default();
    options.use_edns = true;
    options.recursion_desired = true;
    let query = Query::query(name.clone(), RecordType::TXT);
    match server.lookup(query, options).first_answer().await {
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
            if records.is_empty() { Err(foreign()) } else { Ok(Some(records)) }
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) if is_negative(&none, &name) => Ok(None),
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

fn foreign() -> Failure {
    Failure::transient("the DNS answer is not one of this service")
}

fn failure(error: &NetError) -> Failure {
    Failure::transient(match error {
        NetError::Timeout => "the DNS server did not answer in time".to_owned(),
        NetError::Dns(DnsError::ResponseCode(code)) => format!("the DNS server answered {code}"),
        NetError::Dns(DnsError::NoRecordsFound(_)) => "the DNS server knows only other servers".to_owned(),
        other => format!("DNS: {other}"),
    })
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let connections = [ProtocolConfig::Udp, ProtocolConfig::Tcp].map(|protocol| {
        let mut connection = ConnectionConfig::new(protocol);
        connection.port = server.port();
        connection
    });
    NameServerConfig::new(server.ip(), true, connections.into())
}

/// Opens connections that send one datagram a query. The library's own would send up to two more, a third of a
/// second apart, to a server that is slow or down, whatever the pace was set to.
#[derive(Clone)]
struct OneDatagram(TokioRuntimeProvider);

impl ConnectionProvider for OneDatagram {
    type Conn = DnsExchange<TokioRuntimeProvider>;
    type FutureConn = Pin<Box<dyn Future<Output = Result<Self::Conn, NetError>> + Send + 'static>>;
    type RuntimeProvider = TokioRuntimeProvider;

    fn new_connection(
        &self,
        ip: IpAddr,
        config: &ConnectionConfig,
        cx: &PoolContext,
    ) -> Result<Self::FutureConn, NetError> {
        if config.protocol != ProtocolConfig::Udp {
            return self.0.new_connection(ip, config, cx);
        }
        let exchange = UdpClientStream::builder(SocketAddr::new(ip, config.port), self.0.clone())
            .with_timeout(Some(cx.options.timeout))
            .with_max_retries(1)
            .exchange();
        Ok(Box::pin(std::future::ready(Ok(exchange))))
    }

    fn runtime_provider(&self) -> &TokioRuntimeProvider {
        &self.0
    }
}
