//! The requests to the network thread, and its outcomes.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::gate::Gate;
use crate::cymru::{AsName, Origin};
use crate::failure::Failure;
use crate::greynoise::Verdict;
use crate::quota::shared::Account;
use crate::secrets::{Resolver, Secret};
use crate::source::Source;

/// Where the sources are, and how fast they may be asked.
#[derive(Debug)]
pub struct Config {
    /// Name servers; empty: the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// Where the system's are listed.
    pub resolv_conf: PathBuf,
    /// The bulk whois service, `host:port`.
    pub whois: String,
    /// DNS queries a second, repeats included.
    pub cymru_rate: u32,
    /// For one DNS query, and between two pieces of a whois reply.
    pub cymru_timeout: Duration,
    /// Base URL.
    pub greynoise_url: String,
    /// API key, where there is one.
    pub greynoise_key: Option<Secret>,
    /// HTTPS requests a second, repeats included.
    pub greynoise_rate: u32,
    /// HTTPS requests at the same time. Counts from the start of the thread.
    pub greynoise_at_once: usize,
    /// For one HTTPS request.
    pub greynoise_timeout: Duration,
    /// Further trusted certificates (PEM), beside the system's.
    pub tls_ca_file: Option<PathBuf>,
    /// How a proxy's credentials are looked up, and which proxy is wanted.
    pub resolver: Resolver,
    /// The allowed requests.
    pub gate: Gate,
    /// The wait before the first of three repeats; each next one is twice as long. One second, except in tests.
    pub retry_base: Duration,
}

impl Config {
    /// The account at GreyNoise that its questions go to.
    pub fn account(&self) -> Account {
        Account::of(&self.greynoise_url, self.greynoise_key.as_ref().map(Secret::mark).as_ref())
    }
}

/// One question. Addresses are effective ones, of public classes: private ones are never sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The AS that announce it, over DNS.
    Origin(IpAddr),
    /// The AS that announce them, in one whois session.
    Bulk(Vec<IpAddr>),
    /// Whose AS it is, over DNS.
    AsName(u32),
    /// Whether GreyNoise knows it.
    Scanner(Ipv4Addr),
}

/// The outcome of one [`Request`]. Each gets exactly one, in any order.
#[derive(Debug)]
pub enum Outcome {
    /// Of [`Request::Origin`].
    Origin {
        /// As requested.
        ip: IpAddr,
        /// The answer.
        result: Result<Origin, Failure>,
    },
    /// Of [`Request::Bulk`].
    Bulk {
        /// As requested.
        asked: Vec<IpAddr>,
        /// Each address that was answered, once, in the order asked.
        answers: Vec<(IpAddr, Origin)>,
        /// Addresses that were not sent: the settings no longer allow it.
        withheld: Vec<IpAddr>,
        /// An answer of which more may have been to come: see [`Reply::doubtful`](crate::cymru::bulk::Reply::doubtful).
        doubtful: Option<(IpAddr, Origin)>,
        /// Why the others have no answer. `None` where the reply was complete: then the service passed over them.
        failure: Option<Failure>,
    },
    /// Of [`Request::AsName`].
    AsName {
        /// As requested.
        asn: u32,
        /// The answer; `None`: the service does not know it.
        result: Result<Option<AsName>, Failure>,
    },
    /// Of [`Request::Scanner`].
    Scanner {
        /// As requested.
        ip: Ipv4Addr,
        /// The answer.
        result: Result<Verdict, Failure>,
    },
}

impl Outcome {
    /// Whose it is.
    pub fn source(&self) -> Source {
        match self {
            Outcome::Scanner { .. } => Source::GreyNoise,
            _ => Source::Cymru,
        }
    }

    /// The outcome of a request that could not be asked.
    pub(super) fn failed(request: Request, failure: Failure) -> Outcome {
        match request {
            Request::Origin(ip) => Outcome::Origin { ip, result: Err(failure) },
            Request::Bulk(asked) => {
                let (answers, withheld) = (Vec::new(), Vec::new());
                Outcome::Bulk { asked, answers, withheld, doubtful: None, failure: Some(failure) }
            }
            Request::AsName(asn) => Outcome::AsName { asn, result: Err(failure) },
            Request::Scanner(ip) => Outcome::Scanner { ip, result: Err(failure) },
        }
    }
}

/// An outcome, and how long it took.
#[derive(Debug)]
pub struct Finished {
    /// The outcome of the request.
    pub outcome: Outcome,
    /// How long its last attempt took, from when it was sent, without the wait for its turn. `None`: nothing was sent.
    pub took: Option<Duration>,
}

/// A message to the network thread.
pub(super) enum Message {
    Ask(Request),
    Reconfigure(Box<Config>),
    Stop,
}

/// The outcomes, and how the owner is notified.
pub(super) struct Outcomes {
    pub(super) queue: Mutex<VecDeque<Finished>>,
    /// Submitted, and not yet taken as an outcome.
    pub(super) in_flight: AtomicUsize,
    pub(super) notify: Box<dyn Fn() + Send + Sync>,
}

impl Outcomes {
    pub(super) fn push(&self, outcome: Outcome, took: Option<Duration>) {
        self.queue.lock().push_back(Finished { outcome, took });
        (self.notify)();
    }
}
