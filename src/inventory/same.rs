//! Whether a row of the inventory says what MaxMind says now: below SQL, so that a walk over all rows costs little more
//! than reading them. It has to agree with what a new answer does to a row (`assignments` in [`super`]).

use enrich::record::{Enrichment, Status};
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use crate::pg::inet::Inet;
use crate::pg::shape;

/// The columns that are compared.
const COLUMNS: [shape::Column; 15] = [
    (c"ip_address", pg_sys::INETOID),
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
    (c"maxmind_status", pg_sys::TEXTOID),
];

/// Reads rows of one description; its buffers are used again and again.
pub struct Stored {
    desc: pg_sys::TupleDesc,
    at: [usize; COLUMNS.len()],
    values: Vec<Datum>,
    nulls: Vec<bool>,
}

impl Stored {
    /// For rows described by `desc`. `None` when a column is missing, or of another type.
    ///
    /// # Safety
    /// `desc` must describe `ip_inventory` and outlive this.
    pub unsafe fn new(desc: pg_sys::TupleDesc) -> Option<Stored> {
        let mut at = [0; COLUMNS.len()];
        for (at, (name, kind)) in at.iter_mut().zip(COLUMNS) {
            // SAFETY: a valid descriptor.
            *at = unsafe { shape::find(desc, name, kind) }? - 1;
        }
        // SAFETY: as above.
        let natts = unsafe { (*desc).natts as usize };
        Some(Stored { desc, at, values: vec![Datum::null(); natts], nulls: vec![true; natts] })
    }

    /// Takes a row up.
    ///
    /// # Safety
    /// `tuple` must be one of the described, and stay where it is while this is asked about it.
    pub unsafe fn read(&mut self, tuple: pg_sys::HeapTuple) {
        // SAFETY: as many places as columns.
        unsafe {
            pg_sys::heap_deform_tuple(tuple, self.desc, self.values.as_mut_ptr(), self.nulls.as_mut_ptr());
        }
    }

    fn value(&self, column: usize) -> Option<Datum> {
        let at = self.at[column];
        (!self.nulls[at]).then(|| self.values[at])
    }

    fn text(&self, column: usize) -> Option<&[u8]> {
        // SAFETY: these columns are of type text; the row that was read is in place.
        self.value(column).map(|datum| unsafe { crate::pg::datum::text_bytes(datum) })
    }

    fn inet(&self, column: usize) -> Option<Inet> {
        // SAFETY: these columns are of type inet and cidr.
        self.value(column).map(|datum| unsafe { Inet::read(datum) })
    }

    /// The row's address.
    pub fn address(&self) -> Option<std::net::IpAddr> {
        self.inet(0).map(|inet| inet.ip)
    }

    /// Whether MaxMind was never asked: a row that somebody inserted by hand, which is a backfill's to answer.
    pub fn was_never_asked(&self) -> bool {
        self.text(14) == Some(Status::Pending.as_str().as_bytes())
    }

    /// Whether writing `record` would change nothing.
    pub fn says(&self, record: &Enrichment<'_>) -> bool {
        let text = |column, said: Option<&str>| match (self.text(column), said) {
            (None, None) => true,
            (Some(stored), Some(said)) => {
                let said = crate::pg::encoding::server_text(said);
                stored == &said[..said.len().min(enrich::text::MAX_TEXT)]
            }
            _ => false,
        };
        let float =
            |column, said: Option<f64>| self.value(column).map(|datum| f64::from_bits(datum.value() as u64)) == said;
        let from_cymru = |column| self.text(column) == Some(b"cymru");
        let origin = || {
            (record.asn_number.is_none() && from_cymru(5))
                || (self.value(3).map(|asn| asn.value() as i64) == record.asn_number.map(i64::from)
                    && self.inet(2) == record.network.map(Inet::from)
                    && text(4, record.asn_org)
                    && text(5, record.asn_source.map(|source| source.as_str())))
        };
        let country = || {
            (record.country_code.is_none() && from_cymru(7))
                || (text(6, record.country_code) && text(7, record.country_source.map(|source| source.as_str())))
        };
        text(14, Some(record.maxmind_status.as_str()))
            && text(1, Some(record.class.as_str()))
            && origin()
            && country()
            && text(8, record.region)
            && text(9, record.city)
            && float(10, record.latitude)
            && float(11, record.longitude)
            && self.value(12).map(|km| km.value() as i32) == record.accuracy_radius_km.map(i32::from)
            && text(13, record.time_zone)
    }
}
