//! A composite value, formed column by column. PostgreSQL's `heap_form_tuple` asks the descriptor about each column, twice;
//! where the types are known, a look-up saves a good part of its time by writing the bytes one after the other.
//!
//! The header is PostgreSQL's own work, copied from a value of nulls: minor releases keep other things in it.
#![allow(unsafe_code, reason = "lays out a tuple")]

use std::mem::offset_of;

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::datum::short_header;
use super::inet::{Inet, MAX_BYTES};

/// Where the bits of the columns stand that are not null.
const BITS: usize = offset_of!(pg_sys::HeapTupleHeaderData, t_bits);
/// The longest varlena with a header of one byte, this byte included.
const SHORT: usize = 127;
/// Bytes of a row that are usual, and more than which are not kept.
const USUAL: usize = 4 << 10;
const KEPT: usize = 64 << 10;

/// A composite type of which values are formed.
#[derive(Clone, Copy)]
pub struct Kind {
    desc: pg_sys::TupleDesc,
    /// A value of nulls: a header, and the bits of its columns.
    blank: *const u8,
    /// Bytes of it.
    size: usize,
}

impl Kind {
    /// Palloced in the current context, where the descriptor must live as well.
    ///
    /// # Safety
    /// `desc` must be blessed.
    pub unsafe fn new(desc: pg_sys::TupleDesc) -> Kind {
        // SAFETY: as many values as columns; the header that is made tells its own size.
        unsafe {
            let columns = (*desc).natts as usize;
            let (mut values, mut nulls) = (vec![Datum::null(); columns], vec![true; columns]);
            let blank = (*pg_sys::heap_form_tuple(desc, values.as_mut_ptr(), nulls.as_mut_ptr())).t_data;
            Kind { desc, blank: blank.cast(), size: usize::from((*blank).t_hoff) }
        }
    }

    /// Its descriptor.
    pub fn desc(&self) -> pg_sys::TupleDesc {
        self.desc
    }

    /// How many columns it has.
    pub fn columns(&self) -> usize {
        // SAFETY: lives as long as this, by the word of whoever made it.
        unsafe { (*self.desc).natts as usize }
    }
}

/// A value under construction. Reused from value to value: its bytes are palloced once, when it is complete.
pub struct Composite {
    /// The tuple from its beginning, header included.
    bytes: Vec<u8>,
    columns: usize,
}

impl Composite {
    /// None yet.
    pub const fn new() -> Composite {
        Composite { bytes: Vec::new(), columns: 0 }
    }

    /// Begins a value, of which all columns are null. Those that are not are to be given in their order.
    pub fn begin(&mut self, kind: &Kind) {
        self.columns = kind.columns();
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        self.bytes.reserve(USUAL);
        // SAFETY: so many bytes of the blank value.
        self.bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(kind.blank, kind.size) });
    }

    /// The next column that is not null, of this alignment. False: the type has no such column.
    #[inline(always)]
    fn column(&mut self, column: usize, align: usize) -> bool {
        if column >= self.columns {
            return false;
        }
        debug_assert!(self.bytes[BITS + column / 8] >> (column % 8) == 0, "columns are given in their order");
        self.bytes[BITS + column / 8] |= 1 << (column % 8);
        let aligned = self.bytes.len().next_multiple_of(align);
        self.bytes.resize(aligned, 0);
        true
    }

    /// An integer.
    #[inline]
    pub fn int4(&mut self, column: usize, value: i32) {
        if self.column(column, 4) {
            self.bytes.extend_from_slice(&value.to_ne_bytes());
        }
    }

    /// A bigint or timestamptz.
    #[inline]
    pub fn int8(&mut self, column: usize, value: i64) {
        if self.column(column, 8) {
            self.bytes.extend_from_slice(&value.to_ne_bytes());
        }
    }

    /// A double precision.
    #[inline]
    pub fn float8(&mut self, column: usize, value: f64) {
        if self.column(column, 8) {
            self.bytes.extend_from_slice(&value.to_ne_bytes());
        }
    }

    /// A text in the server's encoding.
    #[inline]
    pub fn text(&mut self, column: usize, text: &[u8]) {
        if text.len() < SHORT {
            if self.column(column, 1) {
                self.bytes.push(short_header(text.len() + 1));
                self.short(text);
            }
        } else if self.column(column, 4) {
            self.bytes.extend_from_slice(&long_header(text.len() + 4));
            self.bytes.extend_from_slice(text);
        }
    }

    /// Adds bytes, of which there are few as a rule: two copies of a fixed size, which may overlap, instead of a call.
    #[inline(always)]
    fn short(&mut self, bytes: &[u8]) {
        let (start, len) = (self.bytes.len(), bytes.len());
        match (bytes.first_chunk::<16>(), bytes.last_chunk::<16>(), bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
            (Some(first), Some(last), ..) if len <= 32 => {
                self.bytes.extend_from_slice(first);
                self.bytes.truncate(start + len - 16);
                self.bytes.extend_from_slice(last);
            }
            (None, None, Some(first), Some(last)) => {
                self.bytes.extend_from_slice(first);
                self.bytes.truncate(start + len - 8);
                self.bytes.extend_from_slice(last);
            }
            (.., None, None) => bytes.iter().for_each(|byte| self.bytes.push(*byte)),
            _ => self.bytes.extend_from_slice(bytes),
        }
    }

    /// An inet or cidr.
    #[inline]
    pub fn inet(&mut self, column: usize, inet: Inet) {
        if self.column(column, 1) {
            let mut value = [0; MAX_BYTES];
            let len = inet.write_short(&mut value);
            self.bytes.extend_from_slice(&value[..len]);
        }
    }

    /// An array.
    ///
    /// # Safety
    /// `array` must be one that was just made, with a header of four bytes.
    pub unsafe fn array(&mut self, column: usize, array: Datum) {
        if self.column(column, 4) {
            // SAFETY: see above.
            let bytes = unsafe {
                let varlena = array.cast_mut_ptr::<pg_sys::varlena>();
                std::slice::from_raw_parts(varlena.cast::<u8>(), pgrx::varlena::varsize_4b(varlena))
            };
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// The value that was begun, palloced in the current context. Its columns must have been given as their types are.
    pub fn finish(&self) -> Datum {
        let len = self.bytes.len();
        // SAFETY: palloc gives `len` bytes, aligned like a tuple, or does not return; a header is within them.
        unsafe {
            let tuple = pg_sys::palloc(len).cast::<u8>();
            tuple.copy_from_nonoverlapping(self.bytes.as_ptr(), len);
            let header = &mut *tuple.cast::<pg_sys::HeapTupleHeaderData>();
            header.t_choice.t_datum.datum_len_ = i32::from_ne_bytes(long_header(len));
            header.t_infomask |= pg_sys::HEAP_HASVARWIDTH as u16;
            Datum::from(tuple)
        }
    }
}

/// The header of four bytes of a varlena of `len` bytes, header included.
#[inline]
fn long_header(len: usize) -> [u8; 4] {
    let mut header = [0u32; 1];
    // SAFETY: writes four bytes, aligned.
    unsafe { pgrx::varlena::set_varsize_4b(header.as_mut_ptr().cast(), len as i32) };
    header[0].to_ne_bytes()
}
