//! What a CREATE INDEX … USING ip_observer says in WITH: where the addresses are, as `attach_ip_source` takes it.
#![allow(unsafe_code, reason = "reads the options of an index, laid out as PostgreSQL does it")]

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::mem::offset_of;

use enrich::condition::Condition;
use enrich::selector::{Origins, Reads, Selector, mistake};
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use pgrx::prelude::*;

use crate::ingest::arguments::Arguments;
use crate::ingest::sensor::Sensor;
use crate::pg::datum;
use crate::pg::encoding::from_server;
use crate::pg::errors::bad_value;
use crate::pg::shape;

/// The options of an index.
#[derive(Debug, Default)]
pub struct Options {
    /// What is read of a row.
    pub arguments: Arguments,
    /// Rows are observed where only replicated ones are written, as in a subscription's worker.
    pub replica: bool,
}

/// As PostgreSQL lays them out: of a text, how far behind the beginning it stands, and 0 where there is none.
#[repr(C)]
struct Stored {
    header: i32,
    selectors: c_int,
    observed_at: c_int,
    only_where: c_int,
    sensor: c_int,
    replica: bool,
}

thread_local! {
    static KIND: Cell<Option<pg_sys::relopt_kind::Type>> = const { Cell::new(None) };
}

/// Defines the options, once a process.
fn kind() -> pg_sys::relopt_kind::Type {
    if let Some(kind) = KIND.get() {
        return kind;
    }
    // SAFETY: names and descriptions are static; checks are called with a C string or null.
    unsafe {
        let kind = pg_sys::add_reloption_kind();
        let lock = pg_sys::AccessExclusiveLock as c_int;
        let text = |name: &CStr, what: &CStr, check| {
            pg_sys::add_string_reloption(kind, name.as_ptr(), what.as_ptr(), std::ptr::null(), check, lock);
        };
        text(c"selectors", c"Columns and JSON paths that hold addresses, as an array.", Some(check_selectors));
        text(c"observed_at", c"Column or JSON path with the time of the event.", None);
        text(c"only_where", c"Condition that a row must meet to be observed.", Some(check_only_where));
        text(c"sensor", c"Column or JSON path that names who saw the event.", Some(check_sensor));
        let what = c"Observes rows that a subscription brings.";
        pg_sys::add_bool_reloption(kind, c"replica".as_ptr(), what.as_ptr(), false, lock);
        KIND.set(Some(kind));
        kind
    }
}

/// For PostgreSQL: reads the WITH of an index.
#[pg_guard]
pub unsafe extern "C-unwind" fn parse(given: Datum, validate: bool) -> *mut pg_sys::bytea {
    let element = |name: &'static CStr, opttype, offset: usize| pg_sys::relopt_parse_elt {
        optname: name.as_ptr(),
        opttype,
        offset: offset as c_int,
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
        isset_offset: 0,
    };
    let text = pg_sys::relopt_type::RELOPT_TYPE_STRING;
    let elements = [
        element(c"selectors", text, offset_of!(Stored, selectors)),
        element(c"observed_at", text, offset_of!(Stored, observed_at)),
        element(c"only_where", text, offset_of!(Stored, only_where)),
        element(c"sensor", text, offset_of!(Stored, sensor)),
        element(c"replica", pg_sys::relopt_type::RELOPT_TYPE_BOOL, offset_of!(Stored, replica)),
    ];
    // SAFETY: the elements describe `Stored`, which begins with the length of the whole.
    unsafe {
        let (size, count) = (size_of::<Stored>(), elements.len() as c_int);
        pg_sys::build_reloptions(given, validate, kind(), size, elements.as_ptr(), count).cast()
    }
}

/// The options of an index. Without selectors, its key columns are read as they are.
///
/// # Safety
/// `index` must be open, and one of this access method.
pub unsafe fn of(index: &pg_sys::RelationData) -> Options {
    // SAFETY: the options in the relation cache are what `parse` returned, or null.
    unsafe {
        let stored = index.rd_options.cast::<Stored>();
        if stored.is_null() {
            return Options { arguments: Arguments { selectors: keys(index), ..Default::default() }, replica: false };
        }
        let text = |offset: c_int| {
            let text = (offset != 0).then(|| CStr::from_ptr(stored.cast::<c_char>().add(offset as usize)));
            text.map(|text| from_server(text.to_bytes())).filter(|text| !text.is_empty())
        };
        let selectors = match (*stored).selectors {
            0 => keys(index),
            offset => list(stored.cast::<c_char>().add(offset as usize)),
        };
        let arguments = Arguments {
            observed_at: text((*stored).observed_at),
            selectors,
            only_where: text((*stored).only_where),
            sensor: text((*stored).sensor),
        };
        Options { arguments, replica: (*stored).replica }
    }
}

/// What an index reads of a row by these arguments.
///
/// # Safety
/// As [`of`].
pub unsafe fn reads(index: &pg_sys::RelationData, arguments: &Arguments) -> Reads {
    // SAFETY: an index has a row in pg_index, and as many columns as that says.
    let origins = unsafe {
        let form = &*index.rd_index;
        let number = |at: i16| *form.indkey.values.as_ptr().add(at as usize);
        let has_expression = (0..form.indnatts).any(|at| number(at) == 0);
        let expressions = if has_expression { shape::expressions(index) } else { String::new() };
        Origins::new((0..form.indnatts).map(|at| (name(index, at + 1), number(at))), &expressions)
    };
    let Arguments { observed_at, selectors, only_where, sensor } = arguments;
    Reads::new(&origins, selectors, observed_at.as_deref(), only_where.as_deref(), sensor.as_deref())
}

/// The names of the key columns, each as a selector.
///
/// # Safety
/// As [`of`].
unsafe fn keys(index: &pg_sys::RelationData) -> Vec<String> {
    // SAFETY: an index has a row in pg_index, and as many columns as that says.
    unsafe {
        let form = &*index.rd_index;
        let column = |at: i16| *form.indkey.values.as_ptr().add(at as usize);
        // A column that is named twice is read once. The number of an expression is 0.
        let is_again = |at: i16| column(at) != 0 && (0..at).any(|before| column(before) == column(at));
        let keys = (0..form.indnkeyatts).filter(|at| !is_again(*at));
        keys.map(|at| Selector::whole(name(index, at + 1)).to_string()).collect()
    }
}

/// The name of a column of an index, from 1: that of the table's column when the index was made.
///
/// # Safety
/// `index` must be open, and have that column.
pub unsafe fn name(index: &pg_sys::RelationData, number: i16) -> String {
    // SAFETY: see above; names are NUL-terminated.
    unsafe {
        let name = pg_sys::SPI_fname(index.rd_att, number.into());
        from_server(CStr::from_ptr(name).to_bytes())
    }
}

/// The elements of a text[] in its written form.
///
/// # Safety
/// `text` must be NUL-terminated.
unsafe fn list(text: *const c_char) -> Vec<String> {
    // SAFETY: see above; the input function raises an error for what is no array.
    unsafe {
        let array = pg_sys::OidInputFunctionCall(pg_sys::F_ARRAY_IN.into(), text.cast_mut(), pg_sys::TEXTOID, -1);
        datum::texts(array).into_iter().map(Option::unwrap_or_default).collect()
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn check_selectors(text: *const c_char) {
    if text.is_null() {
        return;
    }
    // SAFETY: NUL-terminated, by PostgreSQL's word.
    let selectors = unsafe { list(text) };
    if selectors.is_empty() {
        bad_value("an index that observes needs a column", "selectors is empty.", "Name one: '{src_ip}'.");
    }
    for selector in selectors {
        if let Err(error) = Selector::parse(&selector) {
            bad_value(
                error.to_string(),
                "",
                mistake(&selector).unwrap_or("selectors reads: '{src_ip,payload->>peer}'."),
            );
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn check_only_where(text: *const c_char) {
    // SAFETY: null, or NUL-terminated, by PostgreSQL's word.
    let Some(text) = (unsafe { given(text) }) else { return };
    if let Err(error) = Condition::parse(&text) {
        let form = "It reads: payload->>eventid = cowrie.login.failed and kind not in (a, 'b c').";
        bad_value("only_where is no condition", &format!("In only_where {error}."), form);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn check_sensor(text: *const c_char) {
    // SAFETY: as above.
    let Some(text) = (unsafe { given(text) }) else { return };
    if Sensor::selector(&text).is_none() {
        let hint = mistake(&text).unwrap_or("A sensor is a column, or a path into JSON: payload->>sensor.");
        bad_value(format!("\"{text}\" is no sensor"), "It is no column and no path to one value in JSON.", hint);
    }
}

/// # Safety
/// `text` must be null or NUL-terminated.
unsafe fn given(text: *const c_char) -> Option<String> {
    // SAFETY: see above.
    let text = (!text.is_null()).then(|| unsafe { from_server(CStr::from_ptr(text).to_bytes()) });
    text.filter(|text| !text.is_empty())
}
