//! The cascade: which source is asked about an address, and how their answers are merged. Pure functions.
//!
//! Special-purpose addresses stop before the first source. Team Cymru is asked only where MaxMind knows no ASN.
//! GreyNoise is asked independently of the others (IPv4 only).

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::address::{classify, effective};
use crate::maxmind::Databases;
use crate::record::{Enrichment, Status};
use crate::source::Source;

/// The addresses that network sources may be asked about. The default is all.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Team Cymru is switched on.
    pub cymru: bool,
    /// GreyNoise is not switched off.
    pub greynoise: bool,
    /// Networks whose addresses are never sent to a source.
    pub never_ask: Vec<IpNetwork>,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { cymru: true, greynoise: true, never_ask: Vec::new() }
    }
}

impl Policy {
    /// Whether `ip` must not be sent: neither as it is written nor as its effective address.
    pub fn is_secret(&self, ip: IpAddr) -> bool {
        is_secret(&self.never_ask, ip)
    }
}

/// Whether `ip` is in one of the networks whose addresses are never sent: as it is written, or as its effective
/// address.
pub fn is_secret(never_ask: &[IpNetwork], ip: IpAddr) -> bool {
    let inside = |ip| never_ask.iter().any(|network| network.contains(ip));
    !never_ask.is_empty() && (inside(ip) || inside(effective(ip)))
}

/// The offline answer about `ip`: its class, the lists that hold it with the flags that they stand for, and MaxMind's answer.
/// A private network may be in a list as well. The network sources are outside the question (`None`).
pub fn offline(ip: IpAddr, databases: &Databases) -> Enrichment<'_> {
    let class = classify(ip);
    let lists = databases.lists().held(ip);
    let mut record = Enrichment {
        ip,
        class,
        network: None,
        asn_number: None,
        asn_org: None,
        asn_source: None,
        country_code: None,
        country_source: None,
        region: None,
        city: None,
        latitude: None,
        longitude: None,
        accuracy_radius_km: None,
        time_zone: None,
        registered_country_code: None,
        flags: lists.flags(),
        connection_type: None,
        lists,
        maxmind_status: Status::Skipped,
        cymru_status: None,
        greynoise_status: None,
    };
    if !class.is_public() {
        return record;
    }
    if databases.is_empty() {
        record.maxmind_status = Status::Unavailable;
        return record;
    }
    let answer = databases.answer(ip);
    record.maxmind_status = if answer.network.is_some() { Status::Found } else { Status::NotFound };
    record.network = answer.network;
    if let Some(origin) = answer.origin {
        record.asn_number = origin.asn;
        record.asn_org = origin.org;
        record.asn_source = origin.asn.map(|_| Source::MaxMind);
    }
    if let Some(place) = answer.place {
        record.country_code = place.country_code;
        record.country_source = place.country_code.map(|_| Source::MaxMind);
        record.region = place.region;
        record.city = place.city;
        record.latitude = place.latitude;
        record.longitude = place.longitude;
        record.accuracy_radius_km = place.accuracy_radius_km;
        record.time_zone = place.time_zone;
        record.registered_country_code = place.registered_country_code;
    }
    if let Some(traits) = answer.traits {
        record.flags = record.flags | traits.flags;
        record.connection_type = traits.connection_type;
    }
    record
}

/// The record a new row of the inventory starts with: the offline answer, and which network source is due.
pub fn first_record<'a>(ip: IpAddr, databases: &'a Databases, policy: &Policy) -> Enrichment<'a> {
    let mut record = offline(ip, databases);
    let open = record.class.is_public() && !policy.is_secret(ip);
    let due = |wanted: bool| Some(if open && wanted { Status::Pending } else { Status::Skipped });
    record.cymru_status = due(policy.cymru && record.asn_number.is_none());
    record.greynoise_status = due(policy.greynoise && effective(ip).is_ipv4());
    record
}
