//! The stored parts of an answer: for the addresses that it settles, and for its network.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::rounds::scope;
use super::{Announcement, Origin};
use crate::time::Micros;

/// The stored parts of an answer that covers an address.
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
    /// When it was given, where it comes from the answers that are kept by network; `None`: just now. Dated by its use, it
    /// would stay valid twice as long.
    pub answered_at: Option<Micros>,
}

impl Answer {
    /// Of an announcement, or of none.
    pub fn of(announcement: Option<&Announcement>) -> Answer {
        Answer {
            asn: announcement.and_then(|a| a.origins.first().copied()),
            network: announcement.map(|a| a.prefix),
            country: announcement.and_then(|a| a.country.clone()),
            org: announcement.and_then(|a| a.as_name.clone()),
            answered_at: None,
        }
    }
}

/// What is stored of an AS that Team Cymru was asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredName {
    /// Its number.
    pub asn: u32,
    /// Its name; `None`: Team Cymru gave none.
    pub name: Option<String>,
    /// It was asked about not too long ago.
    pub is_fresh: bool,
}

/// One network and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The addresses that the answer stands for.
    pub scope: IpNetwork,
    /// Its content; `None`: no AS announces them.
    pub announcement: Option<Announcement>,
}

impl Prefix {
    /// The network that an answer about `ip` stands for.
    pub fn of(ip: IpAddr, origin: &Origin) -> Prefix {
        let longest = origin.longest();
        Prefix { scope: scope(longest.map(|known| known.prefix), ip), announcement: longest.cloned() }
    }
}
