//! What was asked: a log of requests, and how often each address was asked about.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

/// How many requests the log keeps of each service; the counts go on.
const KEPT: usize = 100_000;
/// How much of a question's text the log keeps, in characters.
const KEPT_TEXT: usize = 300;

/// One of the three.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// Team Cymru's DNS.
    Dns,
    /// Team Cymru's bulk whois.
    Whois,
    /// GreyNoise.
    Greynoise,
}

/// How a request came.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// A datagram.
    Udp,
    /// A plain connection.
    Tcp,
    /// A connection by TLS.
    Tls,
}

/// What a request was about.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// An address: DNS and GreyNoise.
    Address(IpAddr),
    /// `AS<n>`: DNS.
    AsName(u32),
    /// A bulk session and how many addresses it had: whois.
    Bulk(usize),
    /// A whois query outside of a bulk session, which gets callers null-routed.
    Single,
    /// What no sound client asks: a name or a path of another form, a record type other than TXT.
    Malformed,
}

/// One request.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Asked {
    /// Of whom.
    pub service: Service,
    /// What it was about.
    pub question: Question,
    /// The name, the path, or the first line.
    pub text: String,
    /// Its arrival, in microseconds since 1970.
    pub at: i64,
    /// How it came.
    pub transport: Transport,
    /// Whether a `key` header came with it. The key itself is kept nowhere.
    pub key: bool,
    /// What it met: the fault, `NXDOMAIN`, a status, a number of rows.
    pub answer: String,
}

/// A service's requests in numbers.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Counts {
    /// Connections accepted (none for UDP, nor for DNS by TCP).
    pub connections: u64,
    /// Queries, bulk sessions, HTTP requests.
    pub requests: u64,
    /// Addresses asked about, each time they were.
    pub addresses: u64,
    /// Different addresses asked about.
    pub distinct_addresses: u64,
}

/// What one service was asked.
#[derive(Debug, Default)]
struct Book {
    connections: u64,
    requests: u64,
    entries: Vec<Asked>,
    addresses: HashMap<IpAddr, u64>,
}

/// The log.
#[derive(Debug, Default)]
pub struct Log {
    books: HashMap<Service, Book>,
}

impl Log {
    /// Notes a request and the addresses it was about.
    pub fn note(&mut self, mut asked: Asked, addresses: &[IpAddr]) {
        let book = self.books.entry(asked.service).or_default();
        book.requests += 1;
        for &ip in addresses {
            *book.addresses.entry(ip).or_default() += 1;
        }
        if book.entries.len() < KEPT {
            if let Some((end, _)) = asked.text.char_indices().nth(KEPT_TEXT) {
                asked.text.truncate(end);
            }
            book.entries.push(asked);
        }
    }

    /// Notes a connection.
    pub fn note_connection(&mut self, service: Service) {
        self.books.entry(service).or_default().connections += 1;
    }

    /// The requests to one service, the oldest first.
    pub fn entries(&self, service: Service) -> Vec<Asked> {
        self.books.get(&service).map(|book| book.entries.clone()).unwrap_or_default()
    }

    /// How much one service was asked.
    pub fn counts(&self, service: Service) -> Counts {
        self.books.get(&service).map_or_else(Counts::default, |book| Counts {
            connections: book.connections,
            requests: book.requests,
            addresses: book.addresses.values().sum(),
            distinct_addresses: book.addresses.len() as u64,
        })
    }

    /// How often one service was asked about `ip`.
    pub fn times(&self, service: Service, ip: IpAddr) -> u64 {
        self.books.get(&service).and_then(|book| book.addresses.get(&ip)).copied().unwrap_or_default()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.books.clear();
    }
}

/// Microseconds since 1970.
pub fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX)
}
