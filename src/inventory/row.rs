//! From a record to the composite `ip_enrichment`, without a detour: a tuple is formed from stack values in one go.

use enrich::record::{Enrichment, Status};
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use crate::pg::inet::Inet;
use crate::pg::scratch::Scratch;
use crate::pg::shape;

/// Columns of `ip_enrichment`: how many.
pub const COLUMNS: usize = 24;

/// Columns of `ip_enrichment`.
const SHAPE: [shape::Column; COLUMNS] = [
    (c"ip", pg_sys::INETOID),
    (c"ip_class", pg_sys::TEXTOID),
    (c"network", pg_sys::CIDROID),
    (c"asn_number", pg_sys::INT8OID),
    (c"asn_org", pg_sys::TEXTOID),
    (c"asn_source", pg_sys::TEXTOID),
    (c"country_code", pg_sys::TEXTOID),
    (c"country_source", pg_sys::TEXTOID),
    (c"region", pg_sys::TEXTOID),
    (c"city", pg_sys::TEXTOID),
    (c"latitude", pg_sys::FLOAT8OID),
    (c"longitude", pg_sys::FLOAT8OID),
    (c"accuracy_radius_km", pg_sys::INT4OID),
    (c"time_zone", pg_sys::TEXTOID),
    (c"scanner_noise", pg_sys::BOOLOID),
    (c"scanner_riot", pg_sys::BOOLOID),
    (c"scanner_classification", pg_sys::TEXTOID),
    (c"scanner_name", pg_sys::TEXTOID),
    (c"scanner_last_seen", pg_sys::TIMESTAMPTZOID),
    (c"maxmind_status", pg_sys::TEXTOID),
    (c"cymru_status", pg_sys::TEXTOID),
    (c"greynoise_status", pg_sys::TEXTOID),
    (c"enrichment_ts", pg_sys::TIMESTAMPTZOID),
    (c"scanner_ts", pg_sys::TIMESTAMPTZOID),
];

/// The column of `ip_inventory` and its type that a column of `ip_enrichment` is read from.
pub fn source(column: usize) -> shape::Column {
    let (name, kind) = SHAPE[column];
    (if column == 0 { c"ip_address" } else { name }, kind)
}

/// Refuses a type that is not the one this library knows.
///
/// # Safety
/// `desc` must be a valid descriptor.
pub unsafe fn check(desc: pg_sys::TupleDesc) {
    // SAFETY: see above.
    if unsafe { (*desc).natts as usize != COLUMNS || !shape::describes(desc, &SHAPE) } {
        crate::pg::errors::not_ready(
            "type ip_enrichment is not as this library knows it",
            "The library and the extension's version differ, or somebody altered the type.",
            "Run ALTER EXTENSION asn_inventory UPDATE.",
        );
    }
}

/// The values of one `ip_enrichment`, with the buffer in which the by-reference ones stand.
pub struct Row {
    values: [Datum; COLUMNS],
    nulls: [bool; COLUMNS],
    scratch: Scratch,
}

impl Row {
    /// A row of nulls, to be filled again and again.
    pub const fn new() -> Row {
        Row { values: [Datum::null(); COLUMNS], nulls: [true; COLUMNS], scratch: Scratch::new() }
    }

    fn set(&mut self, column: usize, value: Option<Datum>) {
        self.nulls[column] = value.is_none();
        self.values[column] = value.unwrap_or(Datum::null());
    }

    fn text(&mut self, column: usize, text: Option<&str>) {
        let datum = text.map(|text| match crate::pg::encoding::server_text(text) {
            std::borrow::Cow::Borrowed(_) => self.scratch.text(text.as_bytes()),
            std::borrow::Cow::Owned(bytes) => self.scratch.text(&bytes),
        });
        self.set(column, datum);
    }

    /// Fills the row. `now` is the time of the answer (timestamptz).
    pub fn fill(&mut self, record: &Enrichment<'_>, now: i64) {
        self.scratch.clear();
        let ip = self.scratch.inet(Inet::host(record.ip));
        self.set(0, Some(ip));
        self.text(1, Some(record.class.as_str()));
        let network = record.network.map(|network| self.scratch.inet(network.into()));
        self.set(2, network);
        self.set(3, record.asn_number.map(|asn| Datum::from(i64::from(asn))));
        self.text(4, record.asn_org);
        self.text(5, record.asn_source.map(|s| s.as_str()));
        self.text(6, record.country_code);
        self.text(7, record.country_source.map(|s| s.as_str()));
        self.text(8, record.region);
        self.text(9, record.city);
        self.set(10, record.latitude.map(float8));
        self.set(11, record.longitude.map(float8));
        self.set(12, record.accuracy_radius_km.map(|km| Datum::from(i32::from(km))));
        self.text(13, record.time_zone);
        // 14 to 18, the scanner's fields, are GreyNoise's alone and stay null here.
        self.text(19, Some(record.maxmind_status.as_str()));
        self.text(20, record.cymru_status.map(Status::as_str));
        self.text(21, record.greynoise_status.map(Status::as_str));
        let answered = !matches!(record.maxmind_status, Status::Unavailable | Status::Pending);
        self.set(22, answered.then(|| Datum::from(now)));
    }

    /// The tuple of what was filled in, palloced in the current context.
    ///
    /// # Safety
    /// `desc` must describe `ip_enrichment`, blessed.
    pub unsafe fn form(&mut self, desc: pg_sys::TupleDesc) -> Datum {
        // SAFETY: as many values as columns, by the caller's word; forming copies all of them.
        unsafe {
            let tuple = pg_sys::heap_form_tuple(desc, self.values.as_mut_ptr(), self.nulls.as_mut_ptr());
            Datum::from((*tuple).t_data)
        }
    }
}

fn float8(value: f64) -> Datum {
    Datum::from(value.to_bits())
}
