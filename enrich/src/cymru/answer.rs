//! What is kept of an answer: for the addresses it settles, and for the network it stands for.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::rounds::scope;
use super::{Announcement, Origin};

/// What is stored of an answer that covers an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// First origin AS; `None`: no route.
    pub asn: Option<u32>,
    /// Announced prefix.
    pub network: Option<IpNetwork>,
    /// Country of the registration.
    pub country: Option<String>,
    /// Name of the AS, once it is known.
    pub org: Option<String>,
}

impl Answer {
    /// Of an announcement, or of none.
    pub fn of(announcement: Option<&Announcement>) -> Answer {
        Answer {
            asn: announcement.and_then(|a| a.origins.first().copied()),
            network: announcement.map(|a| a.prefix),
            country: announcement.and_then(|a| a.country.clone()),
            org: announcement.and_then(|a| a.as_name.clone()),
        }
    }
}

/// One network and what was answered for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The addresses that the answer stands for.
    pub scope: IpNetwork,
    /// What it says; `None`: nobody announces them.
    pub announcement: Option<Announcement>,
}

impl Prefix {
    /// The network that an answer about `ip` stands for.
    pub fn of(ip: IpAddr, origin: &Origin) -> Prefix {
        let longest = origin.longest();
        Prefix { scope: scope(longest.map(|known| known.prefix), ip), announcement: longest.cloned() }
    }
}
