//! The ranges of one list on disk, sorted and disjoint: an index of all lists is built from these files, so a list whose
//! file was refused or cannot be read stays in it.
//!
//! Little-endian: magic, number of IPv4 ranges, number of IPv6 ranges; first and last address of each range.

use std::io::{self, Write};

use super::parsed::Parsed;

const MAGIC: u64 = u64::from_le_bytes(*b"asn_rng1");
const HEADER: usize = 24;
const V4: usize = 8;
const V6: usize = 32;

/// Writes the ranges of a file that was read.
pub fn write(parsed: &Parsed, out: &mut impl Write) -> io::Result<()> {
    for word in [MAGIC, parsed.v4.len() as u64, parsed.v6.len() as u64] {
        out.write_all(&word.to_le_bytes())?;
    }
    for (first, last) in &parsed.v4 {
        out.write_all(&(u64::from(*last) << 32 | u64::from(*first)).to_le_bytes())?;
    }
    for (first, last) in &parsed.v6 {
        out.write_all(&first.to_le_bytes())?;
        out.write_all(&last.to_le_bytes())?;
    }
    Ok(())
}

/// The ranges in the bytes of such a file.
#[derive(Clone, Copy, Debug)]
pub struct Ranges<'a> {
    v4: &'a [u8],
    v6: &'a [u8],
}

impl<'a> Ranges<'a> {
    /// `None`: cut short, or another file.
    pub fn open(bytes: &'a [u8]) -> Option<Ranges<'a>> {
        let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let (v4, v6) = (usize::try_from(word(8)?).ok()?, usize::try_from(word(16)?).ok()?);
        let middle = HEADER.checked_add(v4.checked_mul(V4)?)?;
        let end = middle.checked_add(v6.checked_mul(V6)?)?;
        (word(0)? == MAGIC && end == bytes.len()).then(|| Ranges { v4: &bytes[HEADER..middle], v6: &bytes[middle..] })
    }

    /// Those of IPv4, ascending.
    pub fn v4(self) -> impl Iterator<Item = (u32, u32)> + 'a {
        self.v4.chunks_exact(V4).map(|pair| {
            let word = u64::from_le_bytes(pair.try_into().unwrap_or_default());
            (word as u32, (word >> 32) as u32)
        })
    }

    /// Those of IPv6, ascending.
    pub fn v6(self) -> impl Iterator<Item = (u128, u128)> + 'a {
        self.v6.chunks_exact(V6).map(|pair| {
            let word = |at: usize| u128::from_le_bytes(pair[at..at + 16].try_into().unwrap_or_default());
            (word(0), word(16))
        })
    }
}
