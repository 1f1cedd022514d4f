//! The merged record of one address: what each source says, and how each one stands.

use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::address::AddressClass;
use crate::lists::Held;
use crate::maxmind::Flags;
pub use crate::source::Source;

/// How one source stands towards one address. Kept per source: one shared state would make an address look fresh
/// at a source that was never asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not asked yet, or due again.
    Pending,
    /// Asked, and it knows the address.
    Found,
    /// Asked, and it does not know the address: an answer too.
    NotFound,
    /// Could not be asked, or did not answer: tried again later. No answer.
    Failed,
    /// Its quota was spent: asked again when there is more.
    Quota,
    /// Will not be asked: the address is special-purpose or not to be told, another source already answered the
    /// question, or this one is switched off.
    Skipped,
    /// Could not be asked: no installed edition can answer.
    Unavailable,
}

impl Status {
    /// The word that stands in the tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Found => "found",
            Status::NotFound => "not_found",
            Status::Failed => "failed",
            Status::Quota => "quota",
            Status::Skipped => "skipped",
            Status::Unavailable => "unavailable",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Everything known of one address, by the columns of the SQL type `ip_enrichment`. Text borrows from the sources.
#[derive(Clone, Copy, Debug)]
pub struct Enrichment<'a> {
    /// As it was asked, not unwrapped.
    pub ip: IpAddr,
    /// Class of the effective address.
    pub class: AddressClass,
    /// The network that the ASN (or, without one, the place) stands for.
    pub network: Option<IpNetwork>,
    /// Origin AS.
    pub asn_number: Option<u32>,
    /// Its organization.
    pub asn_org: Option<&'a str>,
    /// Which source said so.
    pub asn_source: Option<Source>,
    /// ISO 3166-1 alpha-2.
    pub country_code: Option<&'a str>,
    /// Which source said so.
    pub country_source: Option<Source>,
    /// First subdivision.
    pub region: Option<&'a str>,
    /// City.
    pub city: Option<&'a str>,
    /// Degrees.
    pub latitude: Option<f64>,
    /// Degrees.
    pub longitude: Option<f64>,
    /// Kilometres.
    pub accuracy_radius_km: Option<u16>,
    /// IANA time zone name.
    pub time_zone: Option<&'a str>,
    /// Where the network is registered: ISO 3166-1 alpha-2.
    pub registered_country_code: Option<&'a str>,
    /// What the address is known as.
    pub flags: Flags,
    /// How it is connected, in the vendor's words.
    pub connection_type: Option<&'a str>,
    /// The operator's lists of networks that hold it.
    pub lists: Held<'a>,
    /// How MaxMind stands.
    pub maxmind_status: Status,
    /// How Team Cymru stands; `None` where it is outside the question (offline look-ups).
    pub cymru_status: Option<Status>,
    /// How GreyNoise stands; `None` where it is outside the question.
    pub greynoise_status: Option<Status>,
}
