//! A buffer that holds small values built by hand while a tuple is formed from them.

use pgrx::pg_sys;

use super::datum::short_header;
use super::inet::{Inet, MAX_BYTES};

/// Room for the by-reference values of one row of the queue or of sightings.
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

    /// A bytea datum; of at most [`MAX_BYTEA`] bytes, a longer one is cut.
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
