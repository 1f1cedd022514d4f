//! The cascade: which source is asked about an address, and how their answers are put together. Pure functions.
//!
//! Special-purpose addresses stop before the first source. Team Cymru is asked only where MaxMind knows no ASN.
//! GreyNoise is a question of its own (IPv4 only), whatever the others found.

use std::net::IpAddr;

use crate::address::{classify, effective};
use crate::maxmind::Databases;
use crate::record::{Enrichment, Source, Status};

/// What can be said of `ip` without the network: its class and MaxMind's answer. The network sources are outside
/// the question (`None`).
pub fn offline(ip: IpAddr, databases: &Databases) -> Enrichment<'_> {
    let class = classify(ip);
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
    record.maxmind_status =
        if answer.place.is_some() || answer.origin.is_some() { Status::Found } else { Status::NotFound };
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
    }
    record
}

/// The record a new row of the inventory starts with: the offline answer, and which network source is due.
pub fn first_record(ip: IpAddr, databases: &Databases) -> Enrichment<'_> {
    let mut record = offline(ip, databases);
    let public = record.class.is_public();
    let due = |wanted: bool| Some(if public && wanted { Status::Pending } else { Status::Skipped });
    record.cymru_status = due(record.asn_number.is_none());
    record.greynoise_status = due(effective(ip).is_ipv4());
    record
}
