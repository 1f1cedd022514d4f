//! The log of the fakes: the requests in order, and the number of questions about each address.

use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

/// The log keeps the latest requests only; the counters count all.
const KEPT: usize = 200_000;

/// One of the faked services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// Team Cymru by DNS.
    Dns,
    /// Team Cymru by whois.
    Whois,
    /// GreyNoise.
    Greynoise,
}

/// The transport of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// A datagram.
    Udp,
    /// A plain connection.
    Tcp,
    /// An encrypted connection.
    Tls,
}

/// A request, as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The service.
    pub service: Service,
    /// DNS: the name. Whois: `bulk`, or `single` and the query. GreyNoise: method and path.
    pub what: String,
    /// The transport.
    pub via: Via,
    /// How many addresses it was about: of a bulk session, its lines that are addresses.
    pub addresses: usize,
    /// Whether it was malformed.
    pub malformed: bool,
    /// Whether a `key` header came; its value is kept nowhere.
    pub key: bool,
    /// Milliseconds since the fakes were started.
    pub at_ms: u64,
}

/// How much a service was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests: DNS messages, whois sessions, HTTP requests.
    pub requests: u64,
    /// Distinct addresses that they were about.
    pub distinct: u64,
    /// Addresses that they were about, repetitions counted.
    pub addresses: u64,
}

/// The log and the counters.
#[derive(Debug)]
pub struct Log {
    start: Instant,
    kept: VecDeque<Asked>,
    requests: HashMap<Service, u64>,
    times: HashMap<Service, HashMap<IpAddr, u64>>,
}

impl Default for Log {
    fn default() -> Self {
        Log { start: Instant::now(), kept: VecDeque::new(), requests: HashMap::new(), times: HashMap::new() }
    }
}

impl Log {
    /// Takes a request down; it was about `ips`. `asked.addresses` and `asked.at_ms` are filled in here.
    pub fn add(&mut self, mut asked: Asked, ips: &[IpAddr]) {
        *self.requests.entry(asked.service).or_default() += 1;
        let times = self.times.entry(asked.service).or_default();
        for &ip in ips {
            *times.entry(ip).or_default() += 1;
        }
        asked.addresses = ips.len();
        asked.at_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(asked);
    }

    /// The requests to a service, the earliest first.
    #[must_use]
    pub fn asked(&self, service: Service) -> Vec<Asked> {
        self.kept.iter().filter(|asked| asked.service == service).cloned().collect()
    }

    /// How much a service was asked.
    #[must_use]
    pub fn counts(&self, service: Service) -> Counts {
        let times = self.times.get(&service);
        Counts {
            requests: self.requests.get(&service).copied().unwrap_or(0),
            distinct: times.map_or(0, |times| times.len() as u64),
            addresses: times.map_or(0, |times| times.values().sum()),
        }
    }

    /// How often a service was asked about an address.
    #[must_use]
    pub fn times(&self, service: Service, ip: IpAddr) -> u64 {
        self.times.get(&service).and_then(|times| times.get(&ip)).copied().unwrap_or(0)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Log { start: self.start, ..Log::default() };
    }
}
