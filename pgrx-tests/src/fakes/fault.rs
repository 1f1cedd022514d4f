//! The faults of each service, for which addresses and how often. Faults are set and cleared while the services run,
//! and several can hold at once: delays add up, and of the others the earliest one strikes.

use super::log::Service;
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// DNS's fault instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DnsFault {
    /// No answer at all; over TCP the connection stays open.
    Drop,
    /// No answer over UDP, the right one over TCP: as some firewalls have it.
    DropUdp,
    /// The right answer, so many milliseconds later.
    Delay(u64),
    /// SERVFAIL.
    Servfail,
    /// REFUSED.
    Refused,
    /// NXDOMAIN for every name, in the service's own form: with its SOA record.
    Nxdomain,
    /// NXDOMAIN to everything, and no SOA record or another zone's: a resolver that does not know the service.
    Sinkhole,
    /// The right answer, but without the SOA record that a negative one has: as some resolvers of hosts give it.
    NoSoa,
    /// An empty answer with the TC bit over UDP, the right one over TCP.
    Truncate,
    /// A TXT record that is someone's mail policy.
    ForeignTxt,
    /// Bytes that are not a DNS message, after the right id.
    Garbage,
}

/// The whois service's fault instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhoisFault {
    /// The port is closed for all, until it is cleared.
    Refuse,
    /// The connection is reset after so many bytes of the answer.
    Reset(usize),
    /// The connection ends in the middle of the row that follows so many whole ones.
    Cut(usize),
    /// Bytes of no meaning.
    Garbage,
    /// The right answer, one byte every so many milliseconds.
    SlowLoris(u64),
    /// The connection stays open, and nothing comes.
    Silent,
    /// The one line `Invalid | Response`.
    Invalid,
    /// The right rows, between rows without a question.
    Unasked,
    /// Names of 300,000 letters.
    LongNames,
    /// Control characters, escape sequences and invalid UTF-8 in names.
    ControlNames,
    /// NULs in names.
    NulNames,
    /// The right answer, so many milliseconds later.
    Delay(u64),
}

/// GreyNoise's fault instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GreyNoiseFault {
    /// The port is closed for all, until it is cleared.
    Refuse,
    /// A status, with a body and a `Retry-After` where they are given.
    Status {
        /// The HTTP status.
        status: u16,
        /// The body; `None`: without one.
        #[serde(default)]
        body: Option<String>,
        /// Seconds, or an HTTP date.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// 200 with a page for people, as a captive portal gives it.
    Html200,
    /// 200 with two megabytes of JSON.
    #[serde(rename = "body_2mb")]
    Body2Mb,
    /// The right answer, one byte every so many milliseconds.
    SlowLoris(u64),
    /// The connection is reset after so many bytes of the answer.
    Reset(usize),
    /// A certificate for another host. `within` cannot restrict it: it strikes before anything is asked.
    WrongName,
    /// The connection stays open, and nothing comes.
    Hang,
    /// The right answer, so many milliseconds later.
    Delay(u64),
    /// A `last_seen` that is not a date.
    BadLastSeen,
    /// 200 with the address and nothing else.
    OnlyIp,
}

/// A fault of one of the services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Of DNS.
    Dns(DnsFault),
    /// Of whois.
    Whois(WhoisFault),
    /// Of GreyNoise.
    Greynoise(GreyNoiseFault),
}

/// A fault, and the requests that it strikes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The fault.
    pub kind: Kind,
    /// It strikes so many requests and is over then; `None`: it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// It strikes requests about these addresses (a bulk session: about any of them); `None`: about all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<IpNetwork>,
}

impl Fault {
    /// For the next `requests` only.
    #[must_use]
    pub fn next(self, requests: u64) -> Fault {
        Fault { next: Some(requests), ..self }
    }

    /// For addresses in `network` only.
    ///
    /// # Panics
    /// When `network` is none.
    #[must_use]
    pub fn within(self, network: &str) -> Fault {
        Fault { within: Some(network.parse().unwrap_or_else(|e| panic!("{network}: {e}"))), ..self }
    }

    fn concerns(&self, ips: &[IpAddr]) -> bool {
        self.next != Some(0) && self.within.is_none_or(|within| ips.iter().any(|&ip| within.contains(ip)))
    }

    /// Whether it is over.
    fn is_spent(&self) -> bool {
        self.next == Some(0)
    }
}

impl From<DnsFault> for Fault {
    fn from(fault: DnsFault) -> Fault {
        Fault { kind: Kind::Dns(fault), next: None, within: None }
    }
}

impl From<WhoisFault> for Fault {
    fn from(fault: WhoisFault) -> Fault {
        Fault { kind: Kind::Whois(fault), next: None, within: None }
    }
}

impl From<GreyNoiseFault> for Fault {
    fn from(fault: GreyNoiseFault) -> Fault {
        Fault { kind: Kind::Greynoise(fault), next: None, within: None }
    }
}

impl Kind {
    /// Whose fault it is.
    #[must_use]
    pub fn service(&self) -> Service {
        match self {
            Kind::Dns(_) => Service::Dns,
            Kind::Whois(_) => Service::Whois,
            Kind::Greynoise(_) => Service::Greynoise,
        }
    }

    fn delay(&self) -> Option<Duration> {
        match self {
            Kind::Dns(DnsFault::Delay(ms))
            | Kind::Whois(WhoisFault::Delay(ms))
            | Kind::Greynoise(GreyNoiseFault::Delay(ms)) => Some(Duration::from_millis(*ms)),
            _ => None,
        }
    }

    /// Whether it strikes a connection, before anything is asked.
    fn is_of_connections(&self) -> bool {
        matches!(
            self,
            Kind::Whois(WhoisFault::Refuse)
                | Kind::Greynoise(GreyNoiseFault::Refuse)
                | Kind::Greynoise(GreyNoiseFault::WrongName)
        )
    }
}

/// The faults that hold now, in the order in which they were set.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Sets one more.
    ///
    /// # Errors
    /// When it is restricted in a way that it cannot be.
    pub fn set(&mut self, fault: Fault) -> Result<(), String> {
        let refuses = matches!(fault.kind, Kind::Whois(WhoisFault::Refuse) | Kind::Greynoise(GreyNoiseFault::Refuse));
        if refuses && fault.next.is_some() {
            return Err("a closed port cannot count who finds it closed".into());
        }
        if fault.kind.is_of_connections() && fault.within.is_some() {
            return Err("this fault strikes before an address is known".into());
        }
        self.0.push(fault);
        Ok(())
    }

    /// Ends all faults of a service, or of all services.
    pub fn clear(&mut self, service: Option<Service>) {
        self.0.retain(|fault| service.is_some_and(|service| fault.kind.service() != service));
    }

    /// The fault of a request about `ips`, and its delay. Counts as one strike of each.
    pub fn strike(&mut self, service: Service, ips: &[IpAddr]) -> (Duration, Option<Fault>) {
        let (mut delay, mut struck) = (Duration::ZERO, None);
        for fault in &mut self.0 {
            if fault.kind.service() != service || fault.kind.is_of_connections() || !fault.concerns(ips) {
                continue;
            }
            match fault.kind.delay() {
                Some(more) => delay += more,
                None if struck.is_none() => struck = Some(fault.clone()),
                None => continue,
            }
            fault.next = fault.next.map(|left| left - 1);
        }
        self.0.retain(|fault| !fault.is_spent());
        (delay, struck)
    }

    /// Whether a fault waits for the service's new connections.
    #[must_use]
    pub fn strikes_connections(&self, service: Service) -> bool {
        self.0.iter().any(|fault| fault.kind.service() == service && fault.kind.is_of_connections())
    }

    /// Whether the service's port is closed.
    #[must_use]
    pub fn refuses(&self, service: Service) -> bool {
        self.0.iter().any(|fault| {
            fault.kind.service() == service
                && matches!(fault.kind, Kind::Whois(WhoisFault::Refuse) | Kind::Greynoise(GreyNoiseFault::Refuse))
        })
    }

    /// Whether the next TLS connection is shown the certificate of another host. Counts as a strike.
    pub fn strike_certificate(&mut self) -> bool {
        let wrong_name =
            |fault: &&mut Fault| fault.kind == Kind::Greynoise(GreyNoiseFault::WrongName) && !fault.is_spent();
        let Some(fault) = self.0.iter_mut().find(wrong_name) else {
            return false;
        };
        fault.next = fault.next.map(|left| left - 1);
        self.0.retain(|fault| !fault.is_spent());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_whom_it_is_for_and_as_often_as_it_says() {
        let mut faults = Faults::default();
        faults.set(Fault::from(DnsFault::Servfail).next(2).within("10.0.0.0/8")).unwrap();
        let inside = ["10.1.1.1".parse().unwrap()];
        let outside = ["11.1.1.1".parse().unwrap()];
        assert_eq!(faults.strike(Service::Dns, &outside).1, None);
        assert_eq!(faults.strike(Service::Whois, &inside).1, None);
        for _ in 0..2 {
            assert_eq!(faults.strike(Service::Dns, &inside).1.unwrap().kind, Kind::Dns(DnsFault::Servfail));
        }
        assert_eq!(faults.strike(Service::Dns, &inside).1, None);
    }

    #[test]
    fn delays_add_up_and_the_earliest_fault_strikes() {
        let mut faults = Faults::default();
        faults.set(DnsFault::Delay(5).into()).unwrap();
        faults.set(DnsFault::Refused.into()).unwrap();
        faults.set(Fault::from(DnsFault::Drop).next(1)).unwrap();
        faults.set(DnsFault::Delay(7).into()).unwrap();
        for _ in 0..2 {
            let (delay, fault) = faults.strike(Service::Dns, &[]);
            assert_eq!(delay, Duration::from_millis(12));
            assert_eq!(fault.unwrap().kind, Kind::Dns(DnsFault::Refused));
        }
        faults.clear(Some(Service::Dns));
        assert_eq!(faults.strike(Service::Dns, &[]), (Duration::ZERO, None));
    }

    #[test]
    fn faults_read_as_the_control_port_is_told_them() {
        let fault: Fault = serde_json::from_str(
            r#"{"kind": {"greynoise": {"status": {"status": 429, "retry_after": "60"}}}, "next": 1}"#,
        )
        .unwrap();
        let expected = GreyNoiseFault::Status { status: 429, body: None, retry_after: Some("60".into()) };
        assert_eq!(fault, Fault::from(expected).next(1));
        let fault: Fault = serde_json::from_str(r#"{"kind": {"greynoise": "body_2mb"}}"#).unwrap();
        assert_eq!(fault, GreyNoiseFault::Body2Mb.into());
    }
}
