//! Which rows of an attached table are events: see [`enrich::condition`].
#![allow(unsafe_code, reason = "reads values by the types of their columns")]

use enrich::condition::{Condition, Test};
use enrich::json;
use enrich::json::Value;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::extract::{column, is_text};
use super::jsonb_path::JsonbPath;
use crate::pg::datum::text_bytes;
use crate::pg::encoding::{from_server, server_text};
use crate::pg::raw;
use crate::pg::raw::Found;

/// The argument of the trigger that holds the condition begins with this. A selector that does is to be quoted.
pub const PREFIX: &str = "where ";

/// A condition on rows of one table.
pub struct Only {
    tests: Vec<Compared>,
    /// It cannot be read any more, and no row meets it.
    is_broken: bool,
}

/// One comparison.
struct Compared {
    attribute: i16,
    shape: Shape,
    is_one: bool,
    /// In the server's encoding.
    literals: Vec<Vec<u8>>,
}

enum Shape {
    Text,
    /// Padded with blanks, which do not count.
    Padded,
    Bool,
    /// An integer of so many bytes.
    Integer(u8),
    Jsonb(JsonbPath),
    Json(Vec<String>),
}

/// Why a condition does not fit a table: the column, and its type where that is the reason.
pub enum Unfit {
    /// No such column.
    NoColumn(String),
    /// A type whose values are not compared, or no JSON where there is a path.
    WrongType(String, String),
    /// A JSON column without a path.
    NoPath(String),
    /// A text that no value of the column's type has: the column, its type, the text.
    NeverEqual(String, String, String),
}

impl Only {
    /// The condition on rows of `desc`.
    ///
    /// # Safety
    /// `desc` must be a valid descriptor.
    pub unsafe fn new(condition: &Condition, desc: pg_sys::TupleDesc) -> Result<Only, Unfit> {
        // SAFETY: see above.
        let tests = condition.0.iter().map(|test| unsafe { Compared::new(test, desc) }).collect::<Result<_, _>>()?;
        Ok(Only { tests, is_broken: false })
    }

    /// What no row meets.
    pub fn nothing() -> Only {
        Only { tests: Vec::new(), is_broken: true }
    }

    /// Whether a row meets it. `value` reads a column. Pallocs in the current context.
    ///
    /// # Safety
    /// `value` must give the values of a row of the table.
    pub unsafe fn is_met(&self, value: impl Fn(i16) -> Option<Datum>) -> bool {
        // SAFETY: see above.
        let met = |test: &Compared| value(test.attribute).is_some_and(|datum| unsafe { test.is_met(datum) });
        !self.is_broken && self.tests.iter().all(met)
    }

    /// The same inside a guard (see [`raw`]); `None`: [`Only::is_met`] must be asked outside.
    ///
    /// # Safety
    /// As [`Only::is_met`].
    #[inline]
    pub unsafe fn is_met_in_guard(&self, value: impl Fn(i16) -> Option<Datum>) -> Option<bool> {
        for test in &self.tests {
            let Some(datum) = value(test.attribute) else { return Some(false) };
            // SAFETY: see above.
            if !unsafe { test.is_met_in_guard(datum) }? {
                return Some(false);
            }
        }
        Some(!self.is_broken)
    }
}

impl Compared {
    unsafe fn new(test: &Test, desc: pg_sys::TupleDesc) -> Result<Compared, Unfit> {
        let name = &test.value.column;
        let attribute = column(desc, name).ok_or_else(|| Unfit::NoColumn(name.clone()))?;
        // SAFETY: the attribute was just found in this descriptor; type names come from the catalog.
        let (base, kind) = unsafe {
            let oid = pg_sys::SPI_gettypeid(desc, i32::from(attribute));
            let kind = move || from_server(std::ffi::CStr::from_ptr(pg_sys::format_type_be(oid)).to_bytes());
            (pg_sys::getBaseType(oid), kind)
        };
        let path = test.value.keys().unwrap_or_default();
        let shape = match base {
            pg_sys::JSONBOID | pg_sys::JSONOID if path.is_empty() => return Err(Unfit::NoPath(name.clone())),
            pg_sys::JSONBOID => Shape::Jsonb(JsonbPath::new(&path)),
            pg_sys::JSONOID => Shape::Json(path),
            _ if !path.is_empty() => return Err(Unfit::WrongType(name.clone(), kind())),
            pg_sys::BPCHAROID => Shape::Padded,
            base if is_text(base) => Shape::Text,
            pg_sys::BOOLOID => Shape::Bool,
            pg_sys::INT2OID => Shape::Integer(2),
            pg_sys::INT4OID => Shape::Integer(4),
            pg_sys::INT8OID => Shape::Integer(8),
            _ => return Err(Unfit::WrongType(name.clone(), kind())),
        };
        // As PostgreSQL writes it.
        let written = |literal: &String| match shape {
            Shape::Bool => enrich::condition::boolean(literal).map(|is| is.to_string().into_bytes()),
            Shape::Integer(_) => literal.trim().parse().ok().map(|number: i64| number.to_string().into_bytes()),
            Shape::Padded => Some(server_text(literal.trim_end_matches(' ')).into_owned()),
            _ => Some(server_text(literal).into_owned()),
        };
        let never = |literal: &String| Unfit::NeverEqual(name.clone(), kind(), literal.clone());
        let literals = test.literals.iter().map(|literal| written(literal).ok_or_else(|| never(literal)));
        let literals = literals.collect::<Result<_, _>>()?;
        Ok(Compared { attribute, shape, is_one: test.is_one, literals })
    }

    fn is(&self, value: &[u8]) -> bool {
        self.literals.iter().any(|literal| literal == value) == self.is_one
    }

    unsafe fn is_met(&self, datum: Datum) -> bool {
        // SAFETY: the shape was chosen by the column's type.
        unsafe {
            match &self.shape {
                Shape::Jsonb(path) => path.text(datum).is_some_and(|text| self.is(text)),
                Shape::Json(path) => {
                    // Keys and contents in UTF-8.
                    let json = from_server(text_bytes(datum));
                    match json::at_path(json.as_bytes(), path).map(|found| (found, json::value(found))) {
                        None | Some((_, Value::Null)) => false,
                        Some((_, Value::Text(text))) => self.is(&server_text(&String::from_utf8_lossy(&text))),
                        Some((found, _)) => self.is(&server_text(&String::from_utf8_lossy(found))),
                    }
                }
                Shape::Text => self.is(text_bytes(datum)),
                Shape::Padded => self.is(unpadded(text_bytes(datum))),
                Shape::Bool | Shape::Integer(_) => self.is_met_in_guard(datum) == Some(true),
            }
        }
    }

    #[inline]
    unsafe fn is_met_in_guard(&self, datum: Datum) -> Option<bool> {
        // SAFETY: the shape was chosen by the column's type.
        unsafe {
            Some(match &self.shape {
                Shape::Text => self.is(raw::bytes(datum)),
                Shape::Padded => self.is(unpadded(raw::bytes(datum))),
                Shape::Bool => self.is(if datum.value() & 0xff != 0 { b"true" } else { b"false" }),
                Shape::Integer(width) => self.is(decimal(integer(datum, *width), &mut [0; 20])),
                Shape::Jsonb(path) => match path.in_guard(datum) {
                    Found::Nothing => false,
                    Found::Text(text) => self.is(text),
                    Found::Other => return None,
                },
                Shape::Json(_) => return None,
            })
        }
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
