//! Arguments of statements, made of Rust values. By-reference ones are palloced in the current memory context.

use std::net::IpAddr;

use pgrx::pg_sys::Datum;
use pgrx::{IntoDatum, pg_sys};

use super::inet::Inet;

/// An argument: its type and value.
pub type Argument = (pg_sys::Oid, Option<Datum>);

/// Host addresses, as inet[].
pub fn addresses<'a>(ips: impl IntoIterator<Item = &'a IpAddr>) -> Argument {
    let ips: Vec<Inet> = ips.into_iter().map(|ip| Inet::host(*ip)).collect();
    (pg_sys::INETARRAYOID, ips.into_datum())
}

/// An address.
pub fn inet(inet: Inet) -> Argument {
    (pg_sys::INETOID, inet.into_datum())
}

/// A text, in the server's encoding.
pub fn text(text: &str) -> Argument {
    (pg_sys::TEXTOID, Some(super::call::text(text)))
}

/// A text, or null.
pub fn maybe_text(of: Option<&str>) -> Argument {
    (pg_sys::TEXTOID, of.map(super::call::text))
}

/// A batch, as a text that the SQL casts to json.
pub fn json(value: &serde_json::Value) -> Argument {
    text(&value.to_string())
}

/// True or false.
pub fn boolean(value: bool) -> Argument {
    (pg_sys::BOOLOID, value.into_datum())
}

/// A big integer.
pub fn bigint(value: i64) -> Argument {
    (pg_sys::INT8OID, value.into_datum())
}

/// A relation, role or other object.
pub fn oid(oid: pg_sys::Oid) -> Argument {
    (pg_sys::OIDOID, oid.into_datum())
}

/// A moment (timestamptz).
pub fn moment(at: i64) -> Argument {
    (pg_sys::TIMESTAMPTZOID, Some(Datum::from(at)))
}

/// A moment (timestamptz), or null.
pub fn maybe_moment(at: Option<i64>) -> Argument {
    (pg_sys::TIMESTAMPTZOID, at.map(Datum::from))
}

/// Big integers, as bigint[].
pub fn bigints(values: Vec<i64>) -> Argument {
    (pg_sys::INT8ARRAYOID, values.into_datum())
}

/// Moments, as timestamptz[].
pub fn moments(values: impl Iterator<Item = i64>) -> Argument {
    (pg_sys::TIMESTAMPTZARRAYOID, Some(words(values, pg_sys::TIMESTAMPTZOID)))
}

/// Values of eight bytes, as an array of their type.
pub fn words(values: impl Iterator<Item = i64>, kind: pg_sys::Oid) -> Datum {
    let mut datums: Vec<Datum> = values.map(Datum::from).collect();
    // SAFETY: 8-byte values passed by value.
    Datum::from(unsafe { pg_sys::construct_array(datums.as_mut_ptr(), datums.len() as i32, kind, 8, true, b'd' as _) })
}

/// Bytes, as bytea[].
pub fn byteas(values: Vec<Vec<u8>>) -> Argument {
    (pg_sys::BYTEAARRAYOID, values.into_datum())
}

/// Texts, as text[].
pub fn texts(texts: &[String]) -> Argument {
    (pg_sys::TEXTARRAYOID, Some(super::call::texts(texts)))
}

/// Integers, as integer[].
pub fn integers(values: Vec<i32>) -> Argument {
    (pg_sys::INT4ARRAYOID, values.into_datum())
}

/// Relations, as oid[].
pub fn oids(oids: &[pg_sys::Oid]) -> Argument {
    (pg_sys::OIDARRAYOID, oids.to_vec().into_datum())
}

/// Relations, as regclass[].
pub fn regclasses(tables: &[pg_sys::Oid]) -> Argument {
    let mut elements: Vec<Datum> = tables.iter().map(|table| Datum::from(*table)).collect();
    // SAFETY: copies the elements, which are passed by value, four bytes each.
    let array = unsafe {
        let align = b'i' as std::ffi::c_char;
        pg_sys::construct_array(elements.as_mut_ptr(), elements.len() as i32, pg_sys::REGCLASSOID, 4, true, align)
    };
    (pg_sys::REGCLASSARRAYOID, Some(Datum::from(array)))
}

/// Microseconds as an interval.
pub fn interval(us: i64) -> Argument {
    // SAFETY: room for one interval, filled in right here.
    let interval = unsafe {
        let interval = pg_sys::palloc(size_of::<pg_sys::Interval>()).cast::<pg_sys::Interval>();
        interval.write(pg_sys::Interval { time: us, day: 0, month: 0 });
        interval
    };
    (pg_sys::INTERVALOID, Some(Datum::from(interval)))
}
