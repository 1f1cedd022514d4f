//! From a record to the composite `ip_enrichment`, without a detour: its bytes are written in the order of the columns.
#![allow(unsafe_code, reason = "forms composites")]

use std::cell::UnsafeCell;

use enrich::record::{Enrichment, Status};
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::columns;
use super::columns::Column;
use crate::pg::call::text_array;
use crate::pg::composite::{Composite, Kind};
use crate::pg::encoding::Texts;
use crate::pg::inet::Inet;
use crate::pg::shape;

thread_local! {
    // One buffer a backend; a row is formed without a call that could come back here.
    static BUFFER: UnsafeCell<Composite> = const { UnsafeCell::new(Composite::new()) };
}

/// The type, whose descriptor lives in the current context. Refuses one that this library does not know: it knows its own,
/// and the one of the version before, until that is updated.
///
/// # Safety
/// `desc` must be a valid descriptor, blessed.
pub unsafe fn kind(desc: pg_sys::TupleDesc) -> Kind {
    let given = Column::ALL.map(Column::given);
    // SAFETY: see above.
    unsafe {
        let count = (*desc).natts as usize;
        if ![columns::COUNT, columns::COUNT_BEFORE].contains(&count) || !shape::describes(desc, &given[..count]) {
            crate::pg::errors::not_ready(
                "type \"ip_enrichment\" does not match this library",
                "The library and the extension's version differ, or somebody altered the type.",
                "Run ALTER EXTENSION asn_inventory UPDATE.",
            );
        }
        Kind::new(desc)
    }
}

/// The `ip_enrichment` of a record, palloced in the current context. `now` is the time of the answer (timestamptz).
pub fn form(kind: &Kind, record: &Enrichment<'_>, now: i64) -> Datum {
    // SAFETY: one thread; a row that an error left unfinished is begun anew.
    let row = BUFFER.with(|row| unsafe { &mut *row.get() });
    row.begin(kind);
    fill(row, record, now);
    row.finish()
}

/// Fills a row that was begun.
fn fill(row: &mut Composite, record: &Enrichment<'_>, now: i64) {
    let texts = Texts::new();
    let text = |row: &mut Composite, column: Column, text: Option<&str>| {
        if let Some(text) = text {
            row.text(column as usize, &texts.of(text));
        }
    };
    // Plain ASCII, as it is in every encoding.
    let word = |row: &mut Composite, column: Column, word: &'static str| row.text(column as usize, word.as_bytes());
    row.inet(Column::Ip as usize, Inet::host(record.ip));
    word(row, Column::IpClass, record.class.as_str());
    if let Some(network) = record.network {
        row.inet(Column::Network as usize, network.into());
    }
    if let Some(asn) = record.asn_number {
        row.int8(Column::AsnNumber as usize, asn.into());
    }
    text(row, Column::AsnOrg, record.asn_org);
    if let Some(source) = record.asn_source {
        word(row, Column::AsnSource, source.as_str());
    }
    text(row, Column::CountryCode, record.country_code);
    if let Some(source) = record.country_source {
        word(row, Column::CountrySource, source.as_str());
    }
    text(row, Column::Region, record.region);
    text(row, Column::City, record.city);
    if let Some(degrees) = record.latitude {
        row.float8(Column::Latitude as usize, degrees);
    }
    if let Some(degrees) = record.longitude {
        row.float8(Column::Longitude as usize, degrees);
    }
    if let Some(km) = record.accuracy_radius_km {
        row.int4(Column::AccuracyRadiusKm as usize, km.into());
    }
    text(row, Column::TimeZone, record.time_zone);
    // The scanner's fields are GreyNoise's alone and stay null here.
    word(row, Column::MaxMindStatus, record.maxmind_status.as_str());
    if let Some(status) = record.cymru_status {
        word(row, Column::CymruStatus, status.as_str());
    }
    if let Some(status) = record.greynoise_status {
        word(row, Column::GreyNoiseStatus, status.as_str());
    }
    if !matches!(record.maxmind_status, Status::Unavailable | Status::Pending) {
        row.int8(Column::EnrichmentTs as usize, now);
    }
    text(row, Column::RegisteredCountryCode, record.registered_country_code);
    array(row, Column::Flags, record.flags.names());
    text(row, Column::ConnectionType, record.connection_type);
    array(row, Column::Lists, record.lists.names().into_iter());
}

fn array<'a>(row: &mut Composite, column: Column, texts: impl Iterator<Item = &'a str>) {
    let mut texts = texts.peekable();
    if texts.peek().is_some() {
        // SAFETY: the array has just been made.
        unsafe { row.array(column as usize, text_array(texts)) };
    }
}
