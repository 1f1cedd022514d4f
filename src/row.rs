//! From a record to the composite `ip_enrichment`, without a detour: a tuple is formed from stack values in one go.

use enrich::record::{Enrichment, Status};
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use crate::datum::Scratch;
use crate::inet::Inet;

/// Columns of `ip_enrichment`.
pub const COLUMNS: usize = 24;

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
        let datum = text.map(|text| match crate::call::server_text(text) {
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
