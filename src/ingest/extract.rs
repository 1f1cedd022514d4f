//! From a column's datum to addresses. Every value of an event is counted, and none stops the loop.
#![allow(unsafe_code, reason = "reads values by the types of their columns")]

use std::borrow::Cow;
use std::ffi::CString;

use enrich::json;
use enrich::selector::{Reading, Selector};
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::found::Finder;
use super::jsonb_path::{JsonbPath, is_huge, json_text};
use super::tally::Tally;
use super::unread::Unread;
use crate::pg::catalog::extension_of;
use crate::pg::datum::{array_elements, text_bytes};
use crate::pg::encoding::{from_server, server_text};
use crate::pg::inet::Inet;
use crate::pg::raw;
use crate::pg::raw::Found;

/// How to read addresses out of values of one column.
pub struct Extractor {
    /// The column's number, from 1.
    pub attribute: i16,
    shape: Shape,
    reading: Reading,
}

enum Shape {
    Inet,
    Text,
    InetArray,
    TextArray,
    /// A value in a jsonb at a path.
    Jsonb(JsonbPath, Vec<String>),
    /// Values in a jsonb at a path through each element of arrays: the part before the first of them, which PostgreSQL
    /// finds, and all parts.
    JsonbEach(JsonbPath, Vec<Vec<String>>),
    /// Values in a json at a path, in parts between each element of arrays. PostgreSQL's own function would raise errors
    /// on some contents: see [`json`].
    Json(Vec<Vec<String>>),
    /// The same where the path has letters that are others in the server's encoding: the json is read as UTF-8.
    ForeignJson(Vec<Vec<String>>),
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
    /// A list or a free text in a column of addresses.
    NotText(String),
}

impl Extractor {
    /// The extractor of `selector` on rows of `desc`.
    ///
    /// # Safety
    /// `desc` must be a valid descriptor.
    pub unsafe fn new(selector: &Selector, desc: pg_sys::TupleDesc) -> Result<Extractor, Misfit> {
        let attribute = column(desc, &selector.column).ok_or(Misfit::NoColumn)?;
        // SAFETY: the attribute was just found in this descriptor; type names come from the catalog.
        let (base, element, name) = unsafe {
            let oid = pg_sys::SPI_gettypeid(desc, i32::from(attribute));
            let name = move || from_server(std::ffi::CStr::from_ptr(pg_sys::format_type_be(oid)).to_bytes());
            let base = pg_sys::getBaseType(oid);
            let element = pg_sys::get_element_type(base);
            let is_array = element != pg_sys::InvalidOid;
            (base, if is_array { pg_sys::getBaseType(element) } else { element }, name)
        };
        let reading = selector.reading;
        let parts = selector.parts();
        // A whole JSON value holds no address, but free text.
        let is_path = parts.len() > 1 || !selector.path.is_empty();
        let shape = match base {
            pg_sys::JSONBOID | pg_sys::JSONOID if !is_path && reading != Reading::Text => return Err(Misfit::NoPath),
            pg_sys::JSONBOID if parts.len() > 1 => Shape::JsonbEach(JsonbPath::new(&parts[0]), parts),
            pg_sys::JSONBOID => Shape::Jsonb(JsonbPath::new(&parts[0]), parts.into_iter().flatten().collect()),
            pg_sys::JSONOID if parts.iter().flatten().any(|key| matches!(server_text(key), Cow::Owned(_))) => {
                Shape::ForeignJson(parts)
            }
            pg_sys::JSONOID => Shape::Json(parts),
            _ if is_path => return Err(Misfit::NotJson(name())),
            base if is_text(base) => Shape::Text,
            _ if is_text(element) => Shape::TextArray,
            base if is_inet(base) || is_inet(element) => match reading {
                Reading::Address if is_inet(base) => Shape::Inet,
                Reading::Address => Shape::InetArray,
                _ => return Err(Misfit::NotText(name())),
            },
            _ => return Err(Misfit::WrongType(name())),
        };
        Ok(Extractor { attribute, shape, reading })
    }

    /// Whether [`Extractor::tally_in_guard`] calls nothing of PostgreSQL's that could raise an error.
    ///
    /// # Safety
    /// `datum` must be a value of the extractor's column.
    #[inline]
    pub unsafe fn is_bare(&self, datum: Datum) -> bool {
        // SAFETY: the shape was chosen by the column's type.
        unsafe {
            match self.shape {
                Shape::Inet => true,
                Shape::Text => raw::is_plain(datum),
                Shape::Jsonb(..) => raw::is_flat(datum),
                _ => false,
            }
        }
    }

    /// Counts the addresses of one non-null value, as of time `at`. Pallocs in the current context.
    ///
    /// # Safety
    /// `datum` must be a value of the extractor's column.
    pub unsafe fn tally(&self, datum: Datum, at: i64, tally: &mut Tally) {
        // SAFETY: the shape was chosen by the column's type.
        unsafe {
            match &self.shape {
                Shape::Inet => return observe_inet(Inet::read(datum), at, tally),
                Shape::InetArray => {
                    return Inet::read_array(datum).into_iter().for_each(|inet| observe_inet(inet, at, tally));
                }
                _ => {}
            }
            if let (Shape::Jsonb(..) | Shape::JsonbEach(..), true) = (&self.shape, is_huge(datum)) {
                return tally.unreadable(b"", "a JSON value that is too large to be read");
            }
            let mut finder = Finder::new(self.reading, at, tally);
            match &self.shape {
                Shape::Inet | Shape::InetArray => {}
                Shape::Text => finder.text(text_bytes(datum)),
                Shape::TextArray => {
                    let elements = array_elements(datum, pg_sys::TEXTOID);
                    elements.into_iter().for_each(|element| finder.text(text_bytes(element)));
                }
                Shape::Jsonb(path, _) => {
                    if let Some(text) = path.text(datum) {
                        finder.json_as_text(text);
                    }
                }
                Shape::JsonbEach(path, parts) => {
                    if let Some(array) = path.json(datum) {
                        // The first part was followed already.
                        elements(array.as_bytes(), &parts[1..], &mut finder);
                    }
                }
                Shape::ForeignJson(parts) => {
                    let text = from_server(text_bytes(datum));
                    json::each_at(text.as_bytes(), parts, &mut |found| finder.json(found));
                }
                Shape::Json(parts) => json::each_at(text_bytes(datum), parts, &mut |found| finder.json(found)),
            }
        }
    }

    /// Why a value holds no address, where it is known that it holds none. Outside of a guard, and rarely: a large JSON is
    /// turned into text.
    ///
    /// # Safety
    /// `datum` must be a value of the extractor's column.
    pub unsafe fn why_nothing(&self, datum: Datum) -> Unread {
        let why = |text: &[u8], parts: &[Vec<String>]| {
            let json = from_server(text);
            let sample = Some(text).filter(|_| !text.is_empty());
            Unread::new(sample, &enrich::miss::why_each(json.as_bytes(), parts))
        };
        // SAFETY: the shape was chosen by the column's type.
        unsafe {
            match &self.shape {
                Shape::Text if self.reading == Reading::Text => {
                    Unread::new(Some(text_bytes(datum)), "a text without an address")
                }
                Shape::Inet | Shape::Text => Unread::new(None, "an empty text"),
                Shape::InetArray | Shape::TextArray => Unread::new(None, "an array without an address"),
                Shape::Jsonb(_, keys) => match json_text(datum) {
                    Some(json) => why(&server_text(&json), std::slice::from_ref(keys)),
                    None => Unread::new(None, "no address in a large JSON value"),
                },
                Shape::JsonbEach(_, parts) => match json_text(datum) {
                    Some(json) => why(&server_text(&json), parts),
                    None => Unread::new(None, "no address in a large JSON value"),
                },
                Shape::Json(parts) | Shape::ForeignJson(parts) => why(text_bytes(datum), parts),
            }
        }
    }

    /// The same as [`Extractor::tally`] inside a guard (see [`raw`]), for the values that most events hold. False: nothing
    /// was counted, and [`Extractor::tally`] must be asked outside.
    ///
    /// # Safety
    /// `datum` must be a value of the extractor's column.
    #[inline]
    pub unsafe fn tally_in_guard(&self, datum: Datum, at: i64, tally: &mut Tally) -> bool {
        // SAFETY: the shape was chosen by the column's type. Everything owned is made after the last call of PostgreSQL's.
        unsafe {
            match &self.shape {
                Shape::Inet => observe_inet(Inet::read(datum), at, tally),
                Shape::Text => {
                    let text = raw::bytes(datum);
                    Finder::new(self.reading, at, tally).text(text);
                }
                Shape::Jsonb(path, _) => match path.in_guard(datum) {
                    Found::Nothing => {}
                    Found::Text(text) if self.reading != Reading::Text && json::is_array(text) => return false,
                    Found::Text(text) => Finder::new(self.reading, at, tally).text(text),
                    Found::Other => return false,
                },
                _ => return false,
            }
        }
        true
    }
}

/// Counts what each element of an array holds at the parts behind it.
fn elements(array: &[u8], parts: &[Vec<String>], finder: &mut Finder<'_>) {
    if let json::Value::Array(elements) = json::value(array) {
        elements.for_each(|element| json::each_at(element, parts, &mut |found| finder.json(found)));
    }
}

/// Whether values of a type are texts, those of the extension citext too.
pub fn is_text(kind: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-ups that tolerate absence.
    let citext = || unsafe { pg_sys::get_extension_oid(c"citext".as_ptr(), true) };
    matches!(kind, pg_sys::TEXTOID | pg_sys::VARCHAROID | pg_sys::BPCHAROID)
        || extension_of(pg_sys::TypeRelationId, kind).is_some_and(|extension| extension == citext())
            && is_like_text(kind)
}

/// Whether a type is stored as texts are. Whoever made the extension citext, a trusted one, may add types of his own to it, and
/// an enum's value would be taken for an address in memory; only a superuser makes such a base type.
fn is_like_text(kind: pg_sys::Oid) -> bool {
    let (mut length, mut by_value, mut alignment) = (0, false, 0);
    // SAFETY: the type of a column, which stays as long as that.
    let typtype = unsafe {
        pg_sys::get_typlenbyvalalign(kind, &mut length, &mut by_value, &mut alignment);
        pg_sys::get_typtype(kind)
    };
    let is_base = typtype as u8 == pg_sys::TYPTYPE_BASE && (length, by_value, alignment as u8) == (-1, false, b'i');
    // From PostgreSQL 18 on, the array of citext is a member of the extension as well.
    // SAFETY: as above.
    is_base && unsafe { pg_sys::get_element_type(kind) } == pg_sys::InvalidOid
}

fn is_inet(kind: pg_sys::Oid) -> bool {
    matches!(kind, pg_sys::INETOID | pg_sys::CIDROID)
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
