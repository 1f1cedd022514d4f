//! A path into jsonb, in the two forms that reading it takes.
#![allow(unsafe_code, reason = "hands datums to PostgreSQL's functions")]

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use crate::pg::call::texts;
use crate::pg::datum::text_bytes;
use crate::pg::encoding::{from_server, server_text};
use crate::pg::raw;
use crate::pg::raw::Found;

/// The keys up to a value.
pub struct JsonbPath {
    /// In the server's encoding.
    keys: Vec<Vec<u8>>,
    /// The same as a text[], for PostgreSQL's own functions.
    argument: Kept,
}

impl JsonbPath {
    /// The path of these keys.
    pub fn new(keys: &[String]) -> JsonbPath {
        let datum = texts(keys);
        // SAFETY: an array just made.
        let argument = Kept::new(unsafe { pgrx::varlena::varlena_to_byte_slice(datum.cast_mut_ptr()) });
        JsonbPath { keys: keys.iter().map(|key| server_text(key).into_owned()).collect(), argument }
    }

    /// The value as text, which is a string's content; `None`: there is none, or it is null. Pallocs.
    ///
    /// # Safety
    /// `datum` must be a jsonb; the bytes live as long as the current context.
    pub unsafe fn text<'a>(&self, datum: Datum) -> Option<&'a [u8]> {
        // SAFETY: see above.
        if unsafe { is_huge(datum) } {
            return None;
        }
        let arguments = [Some(datum), Some(self.argument.datum())];
        // SAFETY: see above; the result is a text.
        unsafe {
            let text = pgrx::direct_function_call_as_datum(pg_sys::jsonb_extract_path_text, &arguments)?;
            Some(text_bytes(text))
        }
    }

    /// The value as JSON in UTF-8. Pallocs.
    ///
    /// # Safety
    /// `datum` must be a jsonb.
    pub unsafe fn json(&self, datum: Datum) -> Option<String> {
        // SAFETY: see above.
        if unsafe { is_huge(datum) } {
            return None;
        }
        let arguments = [Some(datum), Some(self.argument.datum())];
        // SAFETY: see above; the result is a jsonb.
        unsafe {
            let value = pgrx::direct_function_call_as_datum(pg_sys::jsonb_extract_path, &arguments)?;
            let text = pgrx::direct_function_call::<&std::ffi::CStr>(pg_sys::jsonb_out, &[Some(value)]);
            text.map(|text| from_server(text.to_bytes()))
        }
    }

    /// The value, inside a guard (see [`raw`]).
    ///
    /// # Safety
    /// As [`raw::jsonb_at`].
    pub unsafe fn in_guard<'a>(&self, datum: Datum) -> Found<'a> {
        // SAFETY: see above.
        unsafe { raw::jsonb_at(datum, &self.keys) }
    }
}

/// Bytes of a jsonb whose text may be longer than PostgreSQL can hold: a control character takes six bytes there, and the
/// error would fail the insert.
const HUGE: usize = 128 << 20;
/// Bytes of one that is turned into text to find out why it holds no address.
const LARGE: usize = 1 << 20;

/// Whether it can't be turned into text. Such a value is unreadable.
///
/// # Safety
/// `datum` must be a varlena.
pub unsafe fn is_huge(datum: Datum) -> bool {
    // SAFETY: see above.
    unsafe { pg_sys::toast_raw_datum_size(datum) > HUGE }
}

/// A jsonb as JSON in UTF-8; `None`: it is too large for that to be worth it.
///
/// # Safety
/// `datum` must be a jsonb.
pub unsafe fn json_text(datum: Datum) -> Option<String> {
    // SAFETY: see above.
    if unsafe { pg_sys::toast_raw_datum_size(datum) } > LARGE {
        return None;
    }
    // SAFETY: see above.
    let text = unsafe { pgrx::direct_function_call::<&std::ffi::CStr>(pg_sys::jsonb_out, &[Some(datum)]) };
    text.map(|text| from_server(text.to_bytes()))
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
