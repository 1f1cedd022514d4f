//! What goes wrong, for whom, and how often.
//!
//! Of several faults that fit a request, delays add up, and of the others the one that was set last counts.

use super::log::{Question, Service};
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// How the DNS service fails.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DnsFault {
    /// No reply.
    Drop,
    /// No reply to the first so many queries of each name; then the answer.
    DropFirst(u32),
    /// The answer, so many milliseconds later.
    Delay(u64),
    /// SERVFAIL.
    Servfail,
    /// REFUSED.
    Refused,
    /// NXDOMAIN, announced or not.
    Nxdomain,
    /// On UDP an empty reply with TC set; on TCP the answer.
    Truncate,
    /// TXT records of somebody else: `v=spf1 …`.
    ForeignTxt,
    /// On UDP the query's id and then noise; on TCP a record that is cut inside.
    Garbage,
}

/// How the bulk whois fails.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WhoisFault {
    /// Nobody listens: connections are refused. Holds until it is cleared, for everybody.
    Refuse,
    /// A reset after so many bytes of the answer; 0: as soon as the query was read.
    Reset(usize),
    /// The answer ends in the middle of the row after so many whole ones.
    Cut(usize),
    /// Noise, line breaks and NULs among it.
    Garbage,
    /// The answer, a byte every so many milliseconds.
    SlowLoris(u64),
    /// No answer; the connection stays open.
    Hang,
    /// `Invalid | Response`.
    Invalid,
    /// Right rows, and rows of addresses that nobody asked for among them.
    Unasked,
    /// The first row that fits has a name of 300,000 letters.
    LongName,
    /// Rows that fit have names with NUL, control characters and broken UTF-8.
    ControlName,
    /// No failure: a line with the heads of the columns stands before the rows.
    Header,
    /// The answer, so many milliseconds later.
    Delay(u64),
}

/// How GreyNoise fails.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GreyNoiseFault {
    /// This status, and what comes with it.
    Status {
        /// The status.
        status: u16,
        /// The body; empty by default.
        #[serde(default)]
        body: String,
        /// `Retry-After`: seconds or a date.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// 200 with a page of HTML, as a captive portal's.
    Html200,
    /// 200 with two megabytes of sound JSON.
    Body2mb,
    /// The answer, a byte every so many milliseconds.
    SlowLoris(u64),
    /// A reset in place of an answer.
    Reset,
    /// The answer ends in the middle of its body.
    Cut,
    /// The server's certificate is another host's. Counted in connections, for everybody; kept connections
    /// are closed when it is set.
    WrongName,
    /// No answer; the connection stays open.
    Hang,
    /// The answer, so many milliseconds later.
    Delay(u64),
    /// `last_seen` is no date.
    BadLastSeen,
    /// `{"ip":"…"}` and nothing else.
    IpOnly,
}

/// A fault of one of the services.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Of Team Cymru's DNS.
    Dns(DnsFault),
    /// Of Team Cymru's bulk whois.
    Whois(WhoisFault),
    /// Of GreyNoise.
    Greynoise(GreyNoiseFault),
}

impl FaultKind {
    /// Whose fault it is.
    pub fn service(&self) -> Service {
        match self {
            FaultKind::Dns(_) => Service::Dns,
            FaultKind::Whois(_) => Service::Whois,
            FaultKind::Greynoise(_) => Service::Greynoise,
        }
    }

    fn delay(&self) -> Option<Duration> {
        match self {
            FaultKind::Dns(DnsFault::Delay(ms))
            | FaultKind::Whois(WhoisFault::Delay(ms))
            | FaultKind::Greynoise(GreyNoiseFault::Delay(ms)) => Some(Duration::from_millis(*ms)),
            _ => None,
        }
    }

    /// Whether it strikes before a request is read.
    fn before_requests(&self) -> bool {
        matches!(self, FaultKind::Whois(WhoisFault::Refuse) | FaultKind::Greynoise(GreyNoiseFault::WrongName))
    }
}

/// Which requests a fault is for.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All of the service.
    #[default]
    Everything,
    /// Those about addresses in a prefix; a bulk session that has such an address.
    Within(IpNetwork),
    /// Those about any address.
    Addresses,
    /// The DNS queries for the name of any ASN.
    AsNames,
    /// The DNS queries for the name of this ASN.
    Asn(u32),
}

impl Scope {
    /// Whether the fault is for what happens to `ip`.
    pub fn has(&self, ip: IpAddr) -> bool {
        match self {
            Scope::Everything | Scope::Addresses => true,
            Scope::Within(prefix) => prefix.contains(ip),
            Scope::AsNames | Scope::Asn(_) => false,
        }
    }

    fn fits(&self, question: &Question, addresses: &[IpAddr]) -> bool {
        match self {
            Scope::Everything => true,
            Scope::AsNames => matches!(question, Question::AsName(_)),
            Scope::Asn(asn) => *question == Question::AsName(*asn),
            Scope::Within(_) | Scope::Addresses => addresses.iter().any(|&ip| self.has(ip)),
        }
    }
}

/// A fault, for everything and until it is cleared unless it says otherwise.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// How often; without it, until it is cleared.
    #[serde(default)]
    pub times: Option<u32>,
    /// For which requests.
    #[serde(default)]
    pub scope: Scope,
}

impl Fault {
    /// For the next `times` requests that fit.
    #[must_use]
    pub fn next(mut self, times: u32) -> Fault {
        self.times = Some(times);
        self
    }

    /// For these requests only.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Fault {
        self.scope = scope;
        self
    }

    /// For requests about addresses in `prefix`.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn within(self, prefix: &str) -> Fault {
        self.scope(Scope::Within(prefix.parse().unwrap_or_else(|e| panic!("{prefix}: {e}"))))
    }
}

impl From<FaultKind> for Fault {
    fn from(kind: FaultKind) -> Fault {
        Fault { kind, times: None, scope: Scope::Everything }
    }
}

impl From<DnsFault> for Fault {
    fn from(fault: DnsFault) -> Fault {
        FaultKind::Dns(fault).into()
    }
}

impl From<WhoisFault> for Fault {
    fn from(fault: WhoisFault) -> Fault {
        FaultKind::Whois(fault).into()
    }
}

impl From<GreyNoiseFault> for Fault {
    fn from(fault: GreyNoiseFault) -> Fault {
        FaultKind::Greynoise(fault).into()
    }
}

/// What goes wrong with one request.
#[derive(Debug, Default, PartialEq)]
pub struct Trouble {
    /// How long the answer is held back.
    pub delay: Duration,
    /// What happens in its place, and to which of its addresses.
    pub fault: Option<(FaultKind, Scope)>,
}

/// A fault that is set, and how often each name met it.
#[derive(Debug)]
struct Set {
    fault: Fault,
    met: HashMap<String, u32>,
}

/// The faults that are set.
#[derive(Debug, Default)]
pub struct Faults(Vec<Set>);

impl Faults {
    /// Sets one more.
    ///
    /// # Errors
    /// When it cannot be limited in the way it asks for.
    pub fn set(&mut self, fault: Fault) -> Result<(), String> {
        if fault.kind.before_requests() && fault.scope != Scope::Everything {
            return Err("this fault strikes before a request is read, so it is for everything".into());
        }
        if fault.kind == FaultKind::Whois(WhoisFault::Refuse) && fault.times.is_some() {
            return Err("refused connections cannot be counted; reset(0) can".into());
        }
        self.0.push(Set { fault, met: HashMap::new() });
        Ok(())
    }

    /// Clears those of one service, or all.
    pub fn clear(&mut self, service: Option<Service>) {
        self.0.retain(|set| service.is_some_and(|service| service != set.fault.kind.service()));
    }

    /// What a request meets; counts it. `what` tells the requests of [`DnsFault::DropFirst`] apart.
    pub fn meet(&mut self, service: Service, question: &Question, addresses: &[IpAddr], what: &str) -> Trouble {
        let mut trouble = Trouble::default();
        let fits = |set: &Set| {
            let kind = &set.fault.kind;
            kind.service() == service && !kind.before_requests() && set.fault.scope.fits(question, addresses)
        };
        // The last that was set is the first to be looked at.
        for set in self.0.iter_mut().rev().filter(|set| fits(set)) {
            if let Some(delay) = set.fault.kind.delay() {
                trouble.delay += delay;
            } else if trouble.fault.is_some() || !set.strikes(what) {
                continue;
            } else {
                trouble.fault = Some((set.fault.kind.clone(), set.fault.scope));
            }
            set.count();
        }
        self.drop_spent();
        trouble
    }

    /// Whether a connection meets `kind` before it says anything; counts it.
    pub fn meet_connection(&mut self, kind: &FaultKind) -> bool {
        let met = self.0.iter_mut().rev().find(|set| set.fault.kind == *kind);
        let met = met.map(Set::count).is_some();
        self.drop_spent();
        met
    }

    /// Whether `kind` is set.
    pub fn has(&self, kind: &FaultKind) -> bool {
        self.0.iter().any(|set| set.fault.kind == *kind)
    }

    fn drop_spent(&mut self) {
        self.0.retain(|set| set.fault.times != Some(0));
    }
}

impl Set {
    fn count(&mut self) {
        if let Some(times) = &mut self.fault.times {
            *times = times.saturating_sub(1);
        }
    }

    /// Whether it is `what`'s turn.
    fn strikes(&mut self, what: &str) -> bool {
        if self.fault.times == Some(0) {
            return false;
        }
        let FaultKind::Dns(DnsFault::DropFirst(times)) = self.fault.kind else {
            return true;
        };
        let met = self.met.entry(what.to_owned()).or_default();
        *met += 1;
        *met <= times
    }
}
