//! A row of the queue, `ip_observation`: its columns, and how it is written and read below SQL.
#![allow(unsafe_code, reason = "forms and reads tuples")]

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::unread::Unread;
use crate::inventory::seen::Seen;
use crate::pg::datum::text_bytes;
use crate::pg::encoding::{from_server, server_text};
use crate::pg::inet::Inet;
use crate::pg::scratch::Scratch;
use crate::pg::{raw, shape};

/// Columns of `ip_observation`.
pub const COLUMNS: [shape::Column; 12] = [
    (c"address", pg_sys::INETOID),
    (c"seen", pg_sys::INT8OID),
    (c"first_seen", pg_sys::TIMESTAMPTZOID),
    (c"last_seen", pg_sys::TIMESTAMPTZOID),
    (c"source", pg_sys::REGCLASSOID),
    (c"attempts", pg_sys::INT4OID),
    (c"retry_at", pg_sys::TIMESTAMPTZOID),
    (c"addresses", pg_sys::INT4OID),
    (c"packed", pg_sys::BYTEAOID),
    (c"rows", pg_sys::INT8OID),
    (c"sample", pg_sys::TEXTOID),
    (c"reason", pg_sys::TEXTOID),
];
/// How many of them there are until the extension is updated from 0.1.0.
pub const OLD_COLUMNS: usize = 9;
/// Columns that the table may have in all. PostgreSQL keeps the place of a dropped column for ever, so a table to which
/// somebody added a column never gets its old shape back: such columns are left null.
pub const MAX_COLUMNS: usize = 32;

/// Whether `relation` is the queue as the extension made it, in this version or the one before, up to columns that were
/// added since and may be null.
///
/// # Safety
/// `relation` must be open.
pub unsafe fn is_queue(relation: pg_sys::Relation) -> bool {
    // SAFETY: see above.
    unsafe {
        let is_current = shape::begins_with(relation, &COLUMNS) && (*(*relation).rd_att).natts as usize <= MAX_COLUMNS;
        is_current || shape::is(relation, &COLUMNS[..OLD_COLUMNS])
    }
}

/// Where the column `sensor` stands (from 0), which is not there until the extension is updated to 0.3.0; behind columns
/// that somebody added.
///
/// # Safety
/// `desc` must be that of a relation that [`is_queue`].
pub unsafe fn sensor_column(desc: pg_sys::TupleDesc) -> Option<usize> {
    // SAFETY: see above.
    unsafe { shape::find(desc, c"sensor", pg_sys::TEXTOID) }.map(|number| number - 1).filter(|at| *at < MAX_COLUMNS)
}

/// The number (from 1) of the column with the table that a row counts for.
pub fn source_column() -> std::ffi::c_int {
    at::SOURCE as std::ffi::c_int + 1
}

/// A row that is put back after a failure: the number of failures, and the time of the next try (timestamptz).
#[derive(Clone, Copy)]
pub struct Retry {
    /// Failures so far.
    pub attempts: i32,
    /// Left alone until then.
    pub at: i64,
}

/// A row of the queue, without its origin.
pub struct Row {
    /// Null: many are packed, or the row counts values that are not an address.
    pub inet: Option<Inet>,
    /// How often, first and last.
    pub seen: Seen,
    /// How many addresses it stands for.
    pub addresses: u32,
    /// Empty: one address, or none.
    pub packed: Vec<u8>,
    /// Rows of the table that were read for this one and those that follow.
    pub rows: i64,
    /// The beginning of a value that could not be read, and why, in the server's encoding.
    pub sample: Option<Vec<u8>>,
    /// See above.
    pub reason: Option<Vec<u8>>,
    /// The sensor that saw it, in the server's encoding; `None`: none is named.
    pub sensor: Option<Vec<u8>>,
}

impl Row {
    /// One address, or a count of values that are not an address.
    pub fn plain(inet: Option<Inet>, seen: Seen) -> Row {
        Row { inet, seen, addresses: 1, packed: Vec::new(), rows: 0, sample: None, reason: None, sensor: None }
    }

    /// The same, with a value that could not be read.
    pub fn with(mut self, unread: Option<&Unread>) -> Row {
        let bytes = |text: &str| server_text(text).into_owned();
        self.sample = unread.and_then(|unread| unread.sample.as_deref()).map(bytes);
        self.reason = unread.map(|unread| bytes(&unread.reason));
        self
    }

    /// The same, seen by a sensor; by none if the name is empty.
    pub fn by(mut self, sensor: &[u8]) -> Row {
        self.sensor = (!sensor.is_empty()).then(|| sensor.to_vec());
        self
    }

    /// No address, not seen, count 0.
    pub fn silent(now: i64) -> Row {
        Row { addresses: 0, ..Row::plain(None, Seen { count: 0, first: now, last: now }) }
    }
}

/// The tuple of a row; `sensor_at` is what [`sensor_column`] gives.
///
/// # Safety
/// `desc` must be that of `ip_observation`, and the caller be inside a guard (see [`raw`]).
pub unsafe fn form(
    desc: pg_sys::TupleDesc,
    scratch: &mut Scratch,
    row: &Row,
    source: Option<pg_sys::Oid>,
    retry: Option<Retry>,
    sensor_at: Option<usize>,
) -> pg_sys::HeapTuple {
    scratch.clear();
    let (inet, seen, packed) = (row.inet, row.seen, !row.packed.is_empty());
    let (sample, reason) = (row.sample.as_deref(), row.reason.as_deref());
    let known = [
        inet.map_or(Datum::null(), |inet| scratch.inet(inet)),
        Datum::from(seen.count),
        Datum::from(seen.first),
        Datum::from(seen.last),
        Datum::from(source.unwrap_or(pg_sys::InvalidOid)),
        Datum::from(retry.map_or(0, |r| r.attempts)),
        Datum::from(retry.map_or(0, |r| r.at)),
        Datum::from(row.addresses),
        if packed { scratch.bytea(&row.packed) } else { Datum::null() },
        Datum::from(row.rows),
        sample.map_or(Datum::null(), |sample| scratch.text(sample)),
        reason.map_or(Datum::null(), |reason| scratch.text(reason)),
    ];
    let known_nulls = [
        inet.is_none(),
        false,
        false,
        false,
        source.is_none(),
        false,
        retry.is_none(),
        false,
        !packed,
        row.rows == 0,
        sample.is_none(),
        reason.is_none(),
    ];
    let (mut values, mut nulls) = ([Datum::null(); MAX_COLUMNS], [true; MAX_COLUMNS]);
    values[..COLUMNS.len()].copy_from_slice(&known);
    nulls[..COLUMNS.len()].copy_from_slice(&known_nulls);
    if let (Some(at), Some(sensor)) = (sensor_at, &row.sensor) {
        (values[at], nulls[at]) = (scratch.text(sensor), false);
    }
    // SAFETY: at least as many values as columns; forming copies them.
    unsafe { raw::heap_form_tuple(desc, values.as_mut_ptr(), nulls.as_mut_ptr()) }
}

/// Places of columns.
mod at {
    pub const ADDRESS: usize = 0;
    pub const SEEN: usize = 1;
    pub const FIRST_SEEN: usize = 2;
    pub const LAST_SEEN: usize = 3;
    pub const SOURCE: usize = 4;
    pub const ATTEMPTS: usize = 5;
    pub const RETRY_AT: usize = 6;
    pub const ADDRESSES: usize = 7;
    pub const PACKED: usize = 8;
    pub const ROWS: usize = 9;
    pub const SAMPLE: usize = 10;
    pub const REASON: usize = 11;
}

/// A row that was read, as it lies in its tuple. Read into again and again.
pub struct Stored {
    values: [Datum; MAX_COLUMNS],
    nulls: [bool; MAX_COLUMNS],
    sensor_at: Option<usize>,
}

impl Stored {
    /// Nothing yet, of rows of `desc`.
    ///
    /// # Safety
    /// `desc` must be that of a relation that [`is_queue`].
    pub unsafe fn of(desc: pg_sys::TupleDesc) -> Stored {
        // SAFETY: see above.
        let sensor_at = unsafe { sensor_column(desc) };
        Stored { values: [Datum::null(); MAX_COLUMNS], nulls: [true; MAX_COLUMNS], sensor_at }
    }

    /// Takes a row up.
    ///
    /// # Safety
    /// `desc` must be that of a relation that [`is_queue`], `tuple` one of its rows, which must stay where it is while this is
    /// asked about it.
    pub unsafe fn read(&mut self, tuple: pg_sys::HeapTuple, desc: pg_sys::TupleDesc) {
        // SAFETY: at least as many places as columns.
        unsafe { pg_sys::heap_deform_tuple(tuple, desc, self.values.as_mut_ptr(), self.nulls.as_mut_ptr()) };
    }

    fn value(&self, at: usize) -> Option<Datum> {
        (!self.nulls[at]).then(|| self.values[at])
    }

    fn long(&self, at: usize) -> i64 {
        self.values[at].value() as i64
    }

    /// The address, where it is about one; what counts for its table alone has one that stands for none.
    pub fn inet(&self) -> Option<Inet> {
        // SAFETY: of type inet; the row that was read is in place.
        self.value(at::ADDRESS).map(|datum| unsafe { Inet::read(datum) })
    }

    /// How often, first and last.
    pub fn seen(&self) -> Seen {
        Seen { count: self.long(at::SEEN), first: self.long(at::FIRST_SEEN), last: self.long(at::LAST_SEEN) }
    }

    /// The table that it was inserted into.
    pub fn source(&self) -> Option<u32> {
        self.value(at::SOURCE).map(|datum| datum.value() as u32)
    }

    /// How often absorbing it failed.
    pub fn attempts(&self) -> i32 {
        self.values[at::ATTEMPTS].value() as i32
    }

    /// Until when it is to be left alone (timestamptz).
    pub fn retry_at(&self) -> Option<i64> {
        self.value(at::RETRY_AT).map(|datum| datum.value() as i64)
    }

    /// How many addresses it stands for, at least 1.
    pub fn addresses(&self) -> u64 {
        if self.is_packed() { (self.values[at::ADDRESSES].value() as i32).max(1) as u64 } else { 1 }
    }

    /// Whether it has many addresses.
    pub fn is_packed(&self) -> bool {
        !self.nulls[at::PACKED]
    }

    /// Many addresses: see [`enrich::pack`].
    pub fn packed(&self) -> Option<&[u8]> {
        // SAFETY: of type bytea; the row that was read is in place.
        self.value(at::PACKED).map(|datum| unsafe { text_bytes(datum) })
    }

    /// Rows of the table that were read for it and those that follow.
    pub fn rows(&self) -> i64 {
        if self.nulls[at::ROWS] { 0 } else { self.long(at::ROWS) }
    }

    /// The sensor that saw it, in the server's encoding; empty: none is named.
    pub fn sensor(&self) -> &[u8] {
        // SAFETY: of type text; the row that was read is in place.
        self.sensor_at.and_then(|at| self.value(at)).map_or(&[], |datum| unsafe { text_bytes(datum) })
    }

    /// A value that could not be read: how it begins, and why it could not.
    pub fn unread(&self) -> Option<(Option<String>, String)> {
        // SAFETY: of type text; the row that was read is in place.
        let text = |at| self.value(at).map(|datum| from_server(unsafe { text_bytes(datum) }));
        text(at::REASON).map(|reason| (text(at::SAMPLE), reason))
    }
}
