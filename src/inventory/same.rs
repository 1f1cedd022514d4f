//! Whether a row of the inventory has MaxMind's present answer: below SQL, so that a walk over all rows costs little
//! more than reading them. It must agree with the assignments of a new answer to a row (`assignments` in [`super`]).
#![allow(unsafe_code, reason = "reads tuples")]

use enrich::record::{Enrichment, Status};
use enrich::source::Source;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::columns;
use super::columns::Column;
use crate::pg::inet::Inet;
use crate::pg::shape;

/// Reads rows of one description; its buffers are used again and again.
pub struct Stored {
    desc: pg_sys::TupleDesc,
    /// Where a column stands; of those that are not compared, nowhere.
    at: [Option<usize>; columns::COUNT],
    values: Vec<Datum>,
    nulls: Vec<bool>,
}

/// How MaxMind stands where no file has answered: flags are those of lists.
pub const UNANSWERED: [Status; 2] = [Status::Unavailable, Status::Skipped];

impl Stored {
    /// For rows described by `desc`. `None` when a column is missing, or of another type.
    ///
    /// # Safety
    /// `desc` must describe `ip_inventory` and outlive this.
    pub unsafe fn new(desc: pg_sys::TupleDesc) -> Option<Stored> {
        let mut at = [None; columns::COUNT];
        for column in Column::ALL {
            if column == Column::Ip || column.is_of_maxmind() {
                let (name, kind) = column.stored();
                // SAFETY: a valid descriptor.
                let found = unsafe { shape::find(desc, name, kind) };
                // An inventory of the version before lacks the last ones, until it is updated.
                if found.is_none() && (column as usize) < columns::COUNT_BEFORE {
                    return None;
                }
                at[column as usize] = found.map(|number| number - 1);
            }
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

    fn value(&self, column: Column) -> Option<Datum> {
        let at = self.at[column as usize]?;
        (!self.nulls[at]).then(|| self.values[at])
    }

    fn text(&self, column: Column) -> Option<&[u8]> {
        // SAFETY: these columns are of type text; the row that was read is in place.
        self.value(column).map(|datum| unsafe { crate::pg::datum::text_bytes(datum) })
    }

    /// Whether a column of texts holds just these; one that is not there says nothing else.
    fn holds<'a>(&self, column: Column, mut said: impl Iterator<Item = &'a str>) -> bool {
        if self.at[column as usize].is_none() {
            return true;
        }
        match self.value(column) {
            None => said.next().is_none(),
            Some(datum) => {
                // SAFETY: a column of type text[].
                let stored = unsafe { crate::pg::datum::texts(datum) };
                stored.into_iter().eq(said.map(|text| Some(text.to_owned())))
            }
        }
    }

    fn inet(&self, column: Column) -> Option<Inet> {
        // SAFETY: these columns are of type inet and cidr.
        self.value(column).map(|datum| unsafe { Inet::read(datum) })
    }

    /// The row's address.
    pub fn address(&self) -> Option<std::net::IpAddr> {
        self.inet(Column::Ip).map(|inet| inet.ip)
    }

    /// Whether MaxMind was never asked: a row that was inserted by hand, which a backfill answers.
    pub fn was_never_asked(&self) -> bool {
        self.text(Column::MaxMindStatus) == Some(Status::Pending.as_str().as_bytes())
    }

    /// Whether it has the lists of `record`, and their flags, unless a file has answered once: then flags may be the file's.
    pub fn has_lists_of(&self, record: &Enrichment<'_>) -> bool {
        let status = self.text(Column::MaxMindStatus);
        let is_of_lists = UNANSWERED.iter().any(|word| status == Some(word.as_str().as_bytes()));
        self.holds(Column::Lists, record.lists.names().into_iter())
            && (!is_of_lists || self.holds(Column::Flags, record.flags.names()))
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
        let later = |column, said| self.at[column as usize].is_none() || text(column, said);
        let float =
            |column, said: Option<f64>| self.value(column).map(|datum| f64::from_bits(datum.value() as u64)) == said;
        let from_cymru = |column| self.text(column) == Some(Source::Cymru.as_str().as_bytes());
        let origin = || {
            (record.asn_number.is_none() && from_cymru(Column::AsnSource))
                || (self.value(Column::AsnNumber).map(|asn| asn.value() as i64) == record.asn_number.map(i64::from)
                    && self.inet(Column::Network) == record.network.map(Inet::from)
                    && text(Column::AsnOrg, record.asn_org)
                    && text(Column::AsnSource, record.asn_source.map(|source| source.as_str())))
        };
        let country = || {
            (record.country_code.is_none() && from_cymru(Column::CountrySource))
                || (text(Column::CountryCode, record.country_code)
                    && text(Column::CountrySource, record.country_source.map(|source| source.as_str())))
        };
        text(Column::MaxMindStatus, Some(record.maxmind_status.as_str()))
            && text(Column::IpClass, Some(record.class.as_str()))
            && origin()
            && country()
            && text(Column::Region, record.region)
            && text(Column::City, record.city)
            && float(Column::Latitude, record.latitude)
            && float(Column::Longitude, record.longitude)
            && self.value(Column::AccuracyRadiusKm).map(|km| km.value() as i32)
                == record.accuracy_radius_km.map(i32::from)
            && text(Column::TimeZone, record.time_zone)
            && later(Column::RegisteredCountryCode, record.registered_country_code)
            && later(Column::ConnectionType, record.connection_type)
            && self.holds(Column::Flags, record.flags.names())
            && self.has_lists_of(record)
    }
}
