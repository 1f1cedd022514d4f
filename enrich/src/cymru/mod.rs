//! Team Cymru's IP to ASN service: which AS announces an address, and whose that AS is.
//!
//! ```text
//! addresses → rounds (which to ask now) → dns or bulk → grammar → Origin → rounds (whom that settles)
//! ```
//!
//! One answer stands for the /24 (IPv6: /48) of its address, so [`rounds`] asks about one address of each.
//! Few questions go over [`dns`], many in one [`bulk`] session; both come back through one [`grammar`].
//!
//! Callers pass *effective* addresses (see [`effective`](crate::address::effective)): the service is asked
//! about 8.8.8.8, not about `::ffff:8.8.8.8`, and answers in those words too.

use chrono::NaiveDate;
use ipnetwork::IpNetwork;

pub mod answer;
pub mod bulk;
pub mod dns;
#[cfg(test)]
pub(crate) mod fake;
pub mod grammar;
pub mod names;
pub mod resolv_conf;
pub mod rounds;

/// One announced prefix around the address asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The prefix, of the family of the address asked, containing it, never of length 0. The address's own
    /// /32 or /128 where the service named none.
    pub prefix: IpNetwork,
    /// The AS that announce it: at least one, the first one named first, none twice. Never 0.
    pub origins: Vec<u32>,
    /// Country of the registration, ISO 3166-1 alpha-2: not a location.
    pub country: Option<String>,
    /// Regional registry, as the service spells it (`arin`, `ripencc`).
    pub registry: Option<String>,
    /// When the registry allocated the block.
    pub allocated: Option<NaiveDate>,
    /// Name of the first origin AS. Only bulk sessions say it.
    pub as_name: Option<String>,
}

/// The service's answer about one address. If it could not be asked, that is a [`Failure`](crate::failure::Failure).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The prefixes around the address, longest first. Never empty.
    Announced(Vec<Announcement>),
    /// The address is not announced: an answer too.
    NotAnnounced,
}

impl Origin {
    /// The announcement that covers the address best. `None`: it is not announced.
    pub fn longest(&self) -> Option<&Announcement> {
        match self {
            Origin::Announced(announcements) => announcements.iter().max_by_key(|known| known.prefix.prefix()),
            Origin::NotAnnounced => None,
        }
    }
}

/// The service's answer about one AS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsName {
    /// The AS asked about.
    pub asn: u32,
    /// Country of the registration.
    pub country: Option<String>,
    /// Regional registry.
    pub registry: Option<String>,
    /// When the registry assigned the number.
    pub allocated: Option<NaiveDate>,
    /// Its name, often `HANDLE - Organization, CC`.
    pub name: Option<String>,
}
