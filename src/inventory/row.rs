//! From a record to the composite `ip_enrichment`, without a detour: a tuple is formed from stack values in one go.
#![allow(unsafe_code, reason = "forms tuples")]

use enrich::record::{Enrichment, Status};
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::columns;
use super::columns::Column;
use crate::pg::inet::Inet;
use crate::pg::scratch::Scratch;
use crate::pg::shape;

/// How many columns the type has. Refuses one that this library does not know: it knows its own, and the one of the version
/// before, until that is updated.
///
/// # Safety
/// `desc` must be a valid descriptor.
pub unsafe fn check(desc: pg_sys::TupleDesc) -> usize {
    let given = Column::ALL.map(Column::given);
    // SAFETY: see above.
    let count = unsafe { (*desc).natts as usize };
    // SAFETY: see above.
    let known =
        [columns::COUNT, columns::COUNT_BEFORE].contains(&count) && unsafe { shape::describes(desc, &given[..count]) };
    if !known {
        crate::pg::errors::not_ready(
            "type \"ip_enrichment\" does not match this library",
            "The library and the extension's version differ, or somebody altered the type.",
            "Run ALTER EXTENSION asn_inventory UPDATE.",
        );
    }
    count
}

/// The values of one `ip_enrichment`, with the buffer in which the by-reference ones stand.
pub struct Row {
    values: [Datum; columns::COUNT],
    nulls: [bool; columns::COUNT],
    scratch: Scratch,
}

impl Row {
    /// A row of nulls, to be filled again and again.
    pub const fn new() -> Row {
        Row { values: [Datum::null(); columns::COUNT], nulls: [true; columns::COUNT], scratch: Scratch::new() }
    }

    fn set(&mut self, column: Column, value: Option<Datum>) {
        self.nulls[column as usize] = value.is_none();
        self.values[column as usize] = value.unwrap_or(Datum::null());
    }

    fn text(&mut self, column: Column, text: Option<&str>) {
        let datum = text.map(|text| match crate::pg::encoding::server_text(text) {
            std::borrow::Cow::Borrowed(_) => self.scratch.text(text.as_bytes()),
            std::borrow::Cow::Owned(bytes) => self.scratch.text(&bytes),
        });
        self.set(column, datum);
    }

    fn texts<'a>(&mut self, column: Column, texts: impl Iterator<Item = &'a str>) {
        let mut texts = texts.peekable();
        let datum = texts.peek().is_some().then(|| crate::pg::call::text_array(texts));
        self.set(column, datum);
    }

    /// Fills the row. `now` is the time of the answer (timestamptz). Arrays are palloced in the current context.
    pub fn fill(&mut self, record: &Enrichment<'_>, now: i64) {
        self.scratch.clear();
        let ip = self.scratch.inet(Inet::host(record.ip));
        self.set(Column::Ip, Some(ip));
        self.text(Column::IpClass, Some(record.class.as_str()));
        let network = record.network.map(|network| self.scratch.inet(network.into()));
        self.set(Column::Network, network);
        self.set(Column::AsnNumber, record.asn_number.map(|asn| Datum::from(i64::from(asn))));
        self.text(Column::AsnOrg, record.asn_org);
        self.text(Column::AsnSource, record.asn_source.map(|s| s.as_str()));
        self.text(Column::CountryCode, record.country_code);
        self.text(Column::CountrySource, record.country_source.map(|s| s.as_str()));
        self.text(Column::Region, record.region);
        self.text(Column::City, record.city);
        self.set(Column::Latitude, record.latitude.map(float8));
        self.set(Column::Longitude, record.longitude.map(float8));
        self.set(Column::AccuracyRadiusKm, record.accuracy_radius_km.map(|km| Datum::from(i32::from(km))));
        self.text(Column::TimeZone, record.time_zone);
        self.text(Column::RegisteredCountryCode, record.registered_country_code);
        self.texts(Column::Flags, record.flags.names());
        self.text(Column::ConnectionType, record.connection_type);
        self.texts(Column::Lists, record.lists.names().into_iter());
        // The scanner's fields are GreyNoise's alone and stay null here.
        self.text(Column::MaxMindStatus, Some(record.maxmind_status.as_str()));
        self.text(Column::CymruStatus, record.cymru_status.map(Status::as_str));
        self.text(Column::GreyNoiseStatus, record.greynoise_status.map(Status::as_str));
        let answered = !matches!(record.maxmind_status, Status::Unavailable | Status::Pending);
        self.set(Column::EnrichmentTs, answered.then(|| Datum::from(now)));
    }

    /// The tuple of the filled values, palloced in the current context.
    ///
    /// # Safety
    /// `desc` must describe `ip_enrichment`, blessed.
    pub unsafe fn form(&mut self, desc: pg_sys::TupleDesc) -> Datum {
        // SAFETY: at least as many values as columns, by the caller's word; forming copies them.
        unsafe {
            let tuple = pg_sys::heap_form_tuple(desc, self.values.as_mut_ptr(), self.nulls.as_mut_ptr());
            Datum::from((*tuple).t_data)
        }
    }
}

fn float8(value: f64) -> Datum {
    Datum::from(value.to_bits())
}
