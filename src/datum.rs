//! Small datums built by hand: short text headers, and a scratch buffer that holds them while a tuple is formed.

use pgrx::pg_sys;

use crate::inet::{Inet, MAX_BYTES};

/// The 1-byte varlena header of a value of `len` bytes, header included (at most 127).
#[cfg(target_endian = "little")]
pub const fn short_header(len: usize) -> u8 {
    ((len as u8) << 1) | 1
}

/// The 1-byte varlena header of a value of `len` bytes, header included (at most 127).
#[cfg(target_endian = "big")]
pub const fn short_header(len: usize) -> u8 {
    len as u8 | 0x80
}

/// Room for the by-reference values of one record: seven texts of at most 255 bytes, three words, two inets.
const SCRATCH: usize = 2560;
/// Longest bytea: with an inet there is room for both.
pub const MAX_BYTEA: usize = 2400;

/// Holds varlena values for the time in which a tuple is formed from them. Reused from row to row: no palloc.
#[repr(align(8))]
pub struct Scratch {
    bytes: [u8; SCRATCH],
    used: usize,
}

impl Scratch {
    /// An empty buffer.
    pub const fn new() -> Scratch {
        Scratch { bytes: [0; SCRATCH], used: 0 }
    }

    /// Forgets all values; their datums must not be used any more.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// The next `len` bytes, and the datum that points to them.
    #[inline]
    fn take(&mut self, len: usize) -> (&mut [u8], pg_sys::Datum) {
        let start = self.used.min(SCRATCH - len);
        self.used = (start + len).next_multiple_of(4);
        let bytes = &mut self.bytes[start..start + len];
        let datum = pg_sys::Datum::from(bytes.as_ptr());
        (bytes, datum)
    }

    /// A text datum. Values of the sources are at most 255 bytes long; a longer one is cut.
    #[inline]
    pub fn text(&mut self, text: &[u8]) -> pg_sys::Datum {
        let text = &text[..text.len().min(enrich::text::MAX_TEXT)];
        if text.len() < 127 {
            let (bytes, datum) = self.take(text.len() + 1);
            bytes[0] = short_header(text.len() + 1);
            bytes[1..].copy_from_slice(text);
            datum
        } else {
            self.long(text)
        }
    }

    /// A bytea datum; of at most [`MAX_BYTEA`] bytes, what is longer is cut.
    pub fn bytea(&mut self, bytes: &[u8]) -> pg_sys::Datum {
        self.long(&bytes[..bytes.len().min(MAX_BYTEA)])
    }

    /// A varlena with a header of four bytes.
    fn long(&mut self, value: &[u8]) -> pg_sys::Datum {
        let (bytes, datum) = self.take(value.len() + 4);
        // SAFETY: writes the first four of these bytes, which are aligned to four.
        unsafe { pgrx::varlena::set_varsize_4b(bytes.as_mut_ptr().cast(), (value.len() + 4) as i32) };
        bytes[4..].copy_from_slice(value);
        datum
    }

    /// An inet or cidr datum.
    #[inline]
    pub fn inet(&mut self, inet: Inet) -> pg_sys::Datum {
        let mut value = [0; MAX_BYTES];
        let len = inet.write_short(&mut value);
        let (bytes, datum) = self.take(len);
        bytes.copy_from_slice(&value[..len]);
        datum
    }
}

/// The bytes of a text datum. One that stands apart or compressed is brought in, palloced.
///
/// # Safety
/// `datum` must be a valid text, and what it points to must outlive the result.
pub unsafe fn text_bytes<'a>(datum: pg_sys::Datum) -> &'a [u8] {
    // SAFETY: see above.
    unsafe {
        let varlena = datum.cast_mut_ptr::<pg_sys::varlena>();
        let plain = if pgrx::varlena::varatt_is_1b_e(varlena) || pgrx::varlena::varatt_is_4b_c(varlena) {
            pg_sys::pg_detoast_datum_packed(varlena)
        } else {
            varlena
        };
        pgrx::varlena::varlena_to_byte_slice(plain)
    }
}

/// The elements of an array that are not null.
///
/// # Safety
/// `datum` must be an array of a variable-length type that aligns like inet and text.
pub unsafe fn array_elements(datum: pg_sys::Datum, element: pg_sys::Oid) -> Vec<pg_sys::Datum> {
    // SAFETY: see above.
    unsafe { elements(datum, element) }.into_iter().flatten().collect()
}

/// The elements of a text[], as UTF-8 whatever the server's encoding is.
///
/// # Safety
/// `datum` must be a text[].
pub unsafe fn texts(datum: pg_sys::Datum) -> Vec<Option<String>> {
    // SAFETY: see above.
    unsafe {
        let text = |datum| crate::call::from_server(text_bytes(datum));
        elements(datum, pg_sys::TEXTOID).into_iter().map(|element| element.map(text)).collect()
    }
}

/// # Safety
/// As `array_elements`.
unsafe fn elements(datum: pg_sys::Datum, element: pg_sys::Oid) -> Vec<Option<pg_sys::Datum>> {
    let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
    // SAFETY: see above; deconstruct_array fills the three.
    unsafe {
        let array = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
        pg_sys::deconstruct_array(array, element, -1, false, b'i' as _, &mut values, &mut nulls, &mut count);
        (0..count as usize).map(|i| (!*nulls.add(i)).then(|| *values.add(i))).collect()
    }
}
