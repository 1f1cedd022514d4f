//! One value of a row as a text: a column, or what a path leads to in JSON. For what is compared with a text, or kept as
//! one.
#![allow(unsafe_code, reason = "reads values by the types of their columns")]

use std::ffi::{CStr, CString};
use std::io::Write;

use enrich::json;
use enrich::json::Value;
use enrich::selector::Selector;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::extract::{column, is_text};
use super::jsonb_path::{JsonbPath, json_text};
use super::unread::Unread;
use crate::pg::datum::text_bytes;
use crate::pg::encoding::{from_server, server_text};
use crate::pg::inet::Inet;
use crate::pg::raw;
use crate::pg::raw::Found;

/// The bytes of PostgreSQL's type name, with its NUL.
const NAME: usize = pg_sys::NAMEDATALEN as usize;

/// Where the value stands, and how it is read.
pub struct Scalar {
    attribute: i16,
    shape: Shape,
}

enum Shape {
    Text,
    /// Padded with blanks, which do not count.
    Padded,
    Bool,
    /// An integer of so many bytes.
    Integer(u8),
    Uuid,
    Inet,
    /// Up to 63 bytes and NUL, in place.
    Name,
    /// A label, by its number in the catalog; of that type.
    Enum(pg_sys::Oid),
    Jsonb(JsonbPath, Vec<String>),
    Json(Vec<String>),
}

/// Why a value cannot be read: the column, and its type where that is the reason.
pub enum NoScalar {
    /// No such column.
    NoColumn(String),
    /// A type that is not read, or no JSON where there is a path.
    WrongType(String, String),
    /// A JSON column without a path.
    NoPath(String),
}

/// What reading inside a guard gives.
pub enum Guarded<R> {
    /// The value.
    Read(R),
    /// There is none, or it is null in JSON.
    Nothing,
    /// It must be read outside.
    Other,
}

impl Scalar {
    /// The value that a selector without `*` names, in rows of `desc`.
    ///
    /// # Safety
    /// `desc` must be a valid descriptor.
    pub unsafe fn new(selector: &Selector, desc: pg_sys::TupleDesc) -> Result<Scalar, NoScalar> {
        let name = &selector.column;
        let attribute = column(desc, name).ok_or_else(|| NoScalar::NoColumn(name.clone()))?;
        // SAFETY: the attribute was just found in this descriptor.
        let base = unsafe { pg_sys::getBaseType(pg_sys::SPI_gettypeid(desc, i32::from(attribute))) };
        // SAFETY: as above.
        let wrong = || NoScalar::WrongType(name.clone(), unsafe { type_name(desc, attribute) });
        let path = selector.keys().unwrap_or_default();
        let shape = match base {
            pg_sys::JSONBOID | pg_sys::JSONOID if path.is_empty() => return Err(NoScalar::NoPath(name.clone())),
            pg_sys::JSONBOID => Shape::Jsonb(JsonbPath::new(&path), path),
            pg_sys::JSONOID => Shape::Json(path),
            _ if !path.is_empty() => return Err(wrong()),
            pg_sys::BPCHAROID => Shape::Padded,
            base if is_text(base) => Shape::Text,
            pg_sys::BOOLOID => Shape::Bool,
            pg_sys::INT2OID => Shape::Integer(2),
            pg_sys::INT4OID => Shape::Integer(4),
            pg_sys::INT8OID => Shape::Integer(8),
            pg_sys::UUIDOID => Shape::Uuid,
            pg_sys::INETOID => Shape::Inet,
            pg_sys::NAMEOID => Shape::Name,
            // SAFETY: a catalog look-up that tolerates absence.
            base if unsafe { pg_sys::get_typtype(base) } as u8 == pg_sys::TYPTYPE_ENUM => Shape::Enum(base),
            _ => return Err(wrong()),
        };
        Ok(Scalar { attribute, shape })
    }

    /// The column's number, from 1.
    pub fn attribute(&self) -> i16 {
        self.attribute
    }

    /// A text as PostgreSQL writes such a value, in the server's encoding; `None`: no value of the column's type is it.
    pub fn written(&self, text: &str) -> Option<Vec<u8>> {
        match self.shape {
            Shape::Bool => enrich::condition::boolean(text).map(|is| is.to_string().into_bytes()),
            Shape::Integer(_) => text.trim().parse().ok().map(|number: i64| number.to_string().into_bytes()),
            Shape::Padded => Some(server_text(text.trim_end_matches(' ')).into_owned()),
            Shape::Uuid => enrich::condition::uuid(text).map(|bytes| hyphenated(&bytes, &mut [0; 36]).to_vec()),
            Shape::Inet => text.trim().parse().ok().map(|ip: std::net::IpAddr| ip.to_string().into_bytes()),
            Shape::Name => Some(server_text(text).into_owned()).filter(|name| name.len() < NAME),
            Shape::Enum(kind) => Some(server_text(text).into_owned()).filter(|label| has_label(kind, label)),
            _ => Some(server_text(text).into_owned()),
        }
    }

    /// Reads a value that is not null; `None`: there is none at the path. Pallocs in the current context.
    ///
    /// # Safety
    /// `datum` must be a value of the column.
    pub unsafe fn read<R>(&self, datum: Datum, then: impl FnOnce(&[u8]) -> R) -> Option<R> {
        // SAFETY: the shape was chosen by the column's type.
        unsafe {
            match &self.shape {
                Shape::Jsonb(path, _) => path.text(datum).map(then),
                Shape::Json(path) => {
                    // Keys and contents in UTF-8.
                    let json = from_server(text_bytes(datum));
                    match json::at_path(json.as_bytes(), path).map(|found| (found, json::value(found))) {
                        None | Some((_, Value::Null)) => None,
                        Some((_, Value::Text(text))) => Some(then(&server_text(&String::from_utf8_lossy(&text)))),
                        Some((found, _)) => Some(then(&server_text(&String::from_utf8_lossy(found)))),
                    }
                }
                Shape::Text => Some(then(text_bytes(datum))),
                Shape::Padded => Some(then(unpadded(text_bytes(datum)))),
                Shape::Enum(_) => label(datum).map(|label| then(&label)),
                _ => match self.read_in_guard(datum, then) {
                    Guarded::Read(read) => Some(read),
                    _ => None,
                },
            }
        }
    }

    /// Why a value that may be null says nothing, where it does not. Outside of a guard, and rarely: a large JSON is turned into text.
    ///
    /// # Safety
    /// `datum` must be a value of the column.
    pub unsafe fn why_nothing(&self, datum: Option<Datum>) -> Unread {
        let Some(datum) = datum else { return Unread::new(None, "null") };
        let (json, path) = match &self.shape {
            // SAFETY: the shape was chosen by the column's type.
            Shape::Jsonb(_, path) => (unsafe { json_text(datum) }, path),
            // SAFETY: as above.
            Shape::Json(path) => (Some(from_server(unsafe { text_bytes(datum) })), path),
            _ => return Unread::new(None, "an empty text"),
        };
        match json {
            Some(json) => Unread::new(Some(&server_text(&json)), &enrich::miss::why(json.as_bytes(), path)),
            None => Unread::new(None, "nothing in a large JSON value"),
        }
    }

    /// As [`Scalar::read`], inside a guard (see [`raw`]).
    ///
    /// # Safety
    /// As [`Scalar::read`].
    #[inline]
    pub unsafe fn read_in_guard<R>(&self, datum: Datum, then: impl FnOnce(&[u8]) -> R) -> Guarded<R> {
        // SAFETY: the shape was chosen by the column's type.
        unsafe {
            Guarded::Read(match &self.shape {
                Shape::Text => then(raw::bytes(datum)),
                Shape::Padded => then(unpadded(raw::bytes(datum))),
                Shape::Bool => then(if datum.value() & 0xff != 0 { b"true" } else { b"false" }),
                Shape::Integer(width) => then(decimal(integer(datum, *width), &mut [0; 20])),
                Shape::Uuid => then(hyphenated(&*datum.cast_mut_ptr::<[u8; 16]>(), &mut [0; 36])),
                Shape::Inet => then(spelled(Inet::read(datum), &mut [0; 64])),
                Shape::Name => then(CStr::from_ptr(datum.cast_mut_ptr::<std::ffi::c_char>()).to_bytes()),
                Shape::Jsonb(path, _) => match path.in_guard(datum) {
                    Found::Nothing => return Guarded::Nothing,
                    Found::Text(text) => then(text),
                    Found::Other => return Guarded::Other,
                },
                // A label is looked up in the catalog.
                Shape::Json(_) | Shape::Enum(_) => return Guarded::Other,
            })
        }
    }
}

/// The name of a column's type.
///
/// # Safety
/// `desc` must be a valid descriptor with that column.
pub unsafe fn type_name(desc: pg_sys::TupleDesc, attribute: i16) -> String {
    // SAFETY: type names come from the catalog.
    unsafe {
        let oid = pg_sys::SPI_gettypeid(desc, i32::from(attribute));
        from_server(CStr::from_ptr(pg_sys::format_type_be(oid)).to_bytes())
    }
}

/// Whether an enum has a label, given in the server's encoding.
fn has_label(kind: pg_sys::Oid, label: &[u8]) -> bool {
    let Some(label) = CString::new(label).ok().filter(|label| label.count_bytes() < NAME) else { return false };
    // SAFETY: a catalog look-up; the text outlives it.
    unsafe {
        pg_sys::SearchSysCacheExists(
            pg_sys::SysCacheIdentifier::ENUMTYPOIDNAME as i32,
            pg_sys::Datum::from(kind),
            pg_sys::Datum::from(label.as_ptr()),
            pg_sys::Datum::null(),
            pg_sys::Datum::null(),
        )
    }
}

/// The label of an enum's value, in the server's encoding; `None`: the catalog has none.
///
/// # Safety
/// `datum` must be a value of an enum.
unsafe fn label(datum: Datum) -> Option<Vec<u8>> {
    // SAFETY: a catalog look-up; the tuple is released after its label was copied.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::ENUMOID as i32, datum);
        if tuple.is_null() {
            return None;
        }
        let row = &*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_enum>(tuple);
        let label = CStr::from_ptr(row.enumlabel.data.as_ptr()).to_bytes().to_vec();
        pg_sys::ReleaseSysCache(tuple);
        Some(label)
    }
}

/// Without the blanks that a char(n) is filled up with.
fn unpadded(text: &[u8]) -> &[u8] {
    &text[..text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1)]
}

fn integer(datum: Datum, width: u8) -> i64 {
    match width {
        2 => i64::from(datum.value() as i16),
        4 => i64::from(datum.value() as i32),
        _ => datum.value() as i64,
    }
}

/// An integer as PostgreSQL writes it, without memory of its own.
fn decimal(number: i64, digits: &mut [u8; 20]) -> &[u8] {
    let mut left = number.unsigned_abs();
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    &digits[at..]
}

/// A uuid as PostgreSQL writes it.
fn hyphenated<'a>(uuid: &[u8; 16], text: &'a mut [u8; 36]) -> &'a [u8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut at = 0;
    for (place, byte) in uuid.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text[at] = b'-';
            at += 1;
        }
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 15)];
        at += 2;
    }
    text
}

/// An address as Rust spells it, as PostgreSQL does but for the dotted end of some IPv6 addresses.
fn spelled(inet: Inet, text: &mut [u8; 64]) -> &[u8] {
    let mut rest = &mut text[..];
    // An address and its length have less than 64 bytes.
    let _ = if inet.is_network() { write!(rest, "{}/{}", inet.ip, inet.bits) } else { write!(rest, "{}", inet.ip) };
    let left = rest.len();
    &text[..64 - left]
}
