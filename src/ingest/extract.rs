//! From a column's datum to addresses. Every value of an event is counted, and none stops the loop.
#![allow(unsafe_code, reason = "reads values by the types of their columns")]

use std::borrow::Cow;
use std::ffi::CString;

use enrich::address::parse_host;
use enrich::json::{self, Value};
use enrich::selector::Selector;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::tally::Tally;
use super::unread::Unread;
use crate::pg::call::texts;
use crate::pg::datum::array_elements;
use crate::pg::encoding::{from_server, server_text};
use crate::pg::inet::Inet;
use crate::pg::raw;
use crate::pg::raw::Found;

/// How to read addresses out of values of one column.
pub struct Extractor {
    /// The column's number, from 1.
    pub attribute: i16,
    shape: Shape,
}

enum Shape {
    Inet,
    Text,
    InetArray,
    TextArray,
    /// A value in a jsonb at a path in the server's encoding, which is also the argument of the function that gets it
    /// as text: a text[].
    Jsonb(Vec<Vec<u8>>, Kept),
    /// A value in a json at a path. PostgreSQL's own function would raise errors on some contents: see [`json`].
    Json(Vec<String>),
    /// The same where the path has letters that are others in the server's encoding: the json is read as UTF-8.
    ForeignJson(Vec<String>),
}

/// Why a selector does not fit a table.
pub enum Misfit {
    /// No such column.
    NoColumn,
    /// A type that holds no addresses.
    WrongType(String),
    /// A path into a column that is not JSON.
    NotJson(String),
    /// A JSON column without a path.
    NoPath,
}

impl Extractor {
    /// The extractor of `selector` on rows of `desc`.
    ///
    /// # Safety
    /// `desc` must be a valid descriptor.
    pub unsafe fn new(selector: &Selector, desc: pg_sys::TupleDesc) -> Result<Extractor, Misfit> {
        let attribute = column(desc, &selector.column).ok_or(Misfit::NoColumn)?;
        // SAFETY: the attribute was just found in this descriptor; type names come from the catalog.
        let (base, name) = unsafe {
            let oid = pg_sys::SPI_gettypeid(desc, i32::from(attribute));
            let name = move || from_server(std::ffi::CStr::from_ptr(pg_sys::format_type_be(oid)).to_bytes());
            (pg_sys::getBaseType(oid), name)
        };
        let path = !selector.path.is_empty();
        let shape = match base {
            pg_sys::JSONBOID if path => {
                let keys = selector.path.iter().map(|key| server_text(key).into_owned());
                Shape::Jsonb(keys.collect(), path_datum(&selector.path))
            }
            pg_sys::JSONOID if selector.path.iter().any(|key| matches!(server_text(key), Cow::Owned(_))) => {
                Shape::ForeignJson(selector.path.clone())
            }
            pg_sys::JSONOID if path => Shape::Json(selector.path.clone()),
            pg_sys::JSONBOID | pg_sys::JSONOID => return Err(Misfit::NoPath),
            _ if path => return Err(Misfit::NotJson(name())),
            pg_sys::INETOID | pg_sys::CIDROID => Shape::Inet,
            pg_sys::TEXTOID | pg_sys::VARCHAROID | pg_sys::BPCHAROID => Shape::Text,
            pg_sys::INETARRAYOID | pg_sys::CIDRARRAYOID => Shape::InetArray,
            pg_sys::TEXTARRAYOID | pg_sys::VARCHARARRAYOID | pg_sys::BPCHARARRAYOID => Shape::TextArray,
            _ => return Err(Misfit::WrongType(name())),
        };
        Ok(Extractor { attribute, shape })
    }

    /// Counts the addresses of one non-null value, as of time `at`. Pallocs in the current context.
    ///
    /// # Safety
    /// `datum` must be a value of the extractor's column.
    pub unsafe fn tally(&self, datum: Datum, at: i64, tally: &mut Tally) {
        // SAFETY: the shape was chosen by the column's type.
        unsafe {
            match &self.shape {
                Shape::Inet => observe_inet(Inet::read(datum), at, tally),
                Shape::Text => observe_text(bytes(datum), at, tally),
                Shape::InetArray => {
                    for inet in Inet::read_array(datum) {
                        observe_inet(inet, at, tally);
                    }
                }
                Shape::TextArray => {
                    for element in array_elements(datum, pg_sys::TEXTOID) {
                        observe_text(bytes(element), at, tally);
                    }
                }
                Shape::Jsonb(_, path) => {
                    let arguments = [Some(datum), Some(path.datum())];
                    if let Some(text) = pgrx::direct_function_call_as_datum(pg_sys::jsonb_extract_path_text, &arguments)
                    {
                        observe_json_text(bytes(text), at, tally);
                    }
                }
                Shape::ForeignJson(path) => {
                    let text = from_server(bytes(datum));
                    if let Some(found) = json::at_path(text.as_bytes(), path) {
                        observe_json(found, at, tally);
                    }
                }
                Shape::Json(path) => {
                    if let Some(found) = json::at_path(bytes(datum), path) {
                        observe_json(found, at, tally);
                    }
                }
            }
        }
    }

    /// Why a value holds no address, where it is known that it holds none. Outside of a guard, and rarely: a large JSON is
    /// turned into text.
    ///
    /// # Safety
    /// `datum` must be a value of the extractor's column.
    pub unsafe fn why_nothing(&self, datum: Datum) -> Unread {
        // SAFETY: the shape was chosen by the column's type.
        unsafe {
            match &self.shape {
                Shape::Inet | Shape::Text => Unread::new(None, "an empty text"),
                Shape::InetArray | Shape::TextArray => Unread::new(None, "an array without an address"),
                Shape::Jsonb(keys, _) => {
                    let keys: Vec<String> = keys.iter().map(|key| from_server(key)).collect();
                    match pgrx::direct_function_call::<&std::ffi::CStr>(pg_sys::jsonb_out, &[Some(datum)]) {
                        Some(text) => why_no_key(text.to_bytes(), &keys),
                        None => Unread::new(None, "no JSON"),
                    }
                }
                Shape::Json(path) | Shape::ForeignJson(path) => why_no_key(bytes(datum), path),
            }
        }
    }

    /// The same inside a guard (see [`raw`]), for the values that most events hold. False: nothing was counted, and
    /// [`Extractor::tally`] must be asked outside.
    ///
    /// # Safety
    /// `datum` must be a value of the extractor's column.
    #[inline]
    pub unsafe fn tally_in_guard(&self, datum: Datum, at: i64, tally: &mut Tally) -> bool {
        // SAFETY: the shape was chosen by the column's type.
        unsafe {
            match &self.shape {
                Shape::Inet => observe_inet(Inet::read(datum), at, tally),
                Shape::Text => observe_text(raw::bytes(datum), at, tally),
                Shape::Jsonb(path, _) => match raw::jsonb_at(datum, path) {
                    Found::Nothing => {}
                    Found::Text(text) if json::is_array(text) => return false,
                    Found::Text(text) => observe_text(text, at, tally),
                    Found::Other => return false,
                },
                Shape::InetArray | Shape::TextArray | Shape::Json(_) | Shape::ForeignJson(_) => return false,
            }
        }
        true
    }
}

/// The bytes of a text-like datum.
///
/// # Safety
/// `datum` must be a varlena; the bytes live as long as it, or as the current context.
unsafe fn bytes<'a>(datum: Datum) -> &'a [u8] {
    // SAFETY: see above.
    unsafe { pgrx::varlena::varlena_to_byte_slice(pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr())) }
}

/// The number of the live column of that name.
pub fn column(desc: pg_sys::TupleDesc, name: &str) -> Option<i16> {
    let name = CString::new(server_text(name)).ok()?;
    // SAFETY: a valid descriptor and a NUL-terminated name; system columns come back negative.
    let number = unsafe { pg_sys::SPI_fnumber(desc, name.as_ptr()) };
    i16::try_from(number).ok().filter(|n| *n > 0)
}

fn observe_inet(inet: Inet, at: i64, tally: &mut Tally) {
    if inet.is_network() {
        tally.unreadable(format!("{}/{}", inet.ip, inet.bits).as_bytes(), "a network, not a host address");
    } else {
        tally.observe(inet.ip, at);
    }
}

fn observe_text(text: &[u8], at: i64, tally: &mut Tally) {
    match parse_host(text) {
        Ok(Some(ip)) => tally.observe(ip, at),
        Ok(None) => {}
        Err(error) => tally.unreadable(text, error),
    }
}

/// A JSON value: a string, or an array of strings.
fn observe_json(found: &[u8], at: i64, tally: &mut Tally) {
    match json::value(found) {
        Value::Null => {}
        Value::Text(text) => observe_json_text(&text, at, tally),
        Value::Array(elements) => {
            for element in elements {
                match json::value(element) {
                    Value::Null => {}
                    Value::Text(text) => observe_text(&text, at, tally),
                    _ => tally.unreadable(element, "an element of an array that is no text"),
                }
            }
        }
        Value::Other => tally.unreadable(found, "a value that is no text"),
    }
}

/// A JSON value as PostgreSQL makes it text, which is a string's content. (`[2001:db8::1]` starts like an array and is
/// none.)
fn observe_json_text(text: &[u8], at: i64, tally: &mut Tally) {
    if json::is_array(text) {
        observe_json(text, at, tally);
    } else {
        observe_text(text, at, tally);
    }
}

/// Why a path into a JSON text in the server's encoding finds no address.
fn why_no_key(text: &[u8], path: &[String]) -> Unread {
    let json = from_server(text);
    Unread::new(Some(text), &enrich::miss::why(json.as_bytes(), path))
}

fn path_datum(path: &[String]) -> Kept {
    let datum = texts(path);
    // SAFETY: an array just made.
    Kept::new(unsafe { pgrx::varlena::varlena_to_byte_slice(datum.cast_mut_ptr()) })
}

/// A varlena in memory of our own: it outlives statements, and goes with its owner.
struct Kept(Vec<u64>);

impl Kept {
    fn new(data: &[u8]) -> Kept {
        let len = data.len() + 4;
        let mut words = vec![0u64; len.div_ceil(8)];
        // SAFETY: the words hold `len` bytes: a 4-byte header, then the data.
        unsafe {
            let start = words.as_mut_ptr().cast::<u8>();
            pgrx::varlena::set_varsize_4b(start.cast(), len as i32);
            start.add(4).copy_from_nonoverlapping(data.as_ptr(), data.len());
        }
        Kept(words)
    }

    fn datum(&self) -> Datum {
        Datum::from(self.0.as_ptr())
    }
}
