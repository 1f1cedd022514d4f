//! The overlay: one table of the IPv4 ranges of all editions of the list, made when a file or the list changes, so that a
//! look-up is one bucket and one search, whatever number of files the answer is put together from.
//!
//! Searching two indexes waits for memory twice. Here the ranges of all indexes are cut at each other's borders, and each
//! carries the position of its record in every edition. The records stay where they are: merged ones would be ten times
//! as many, since nearly every range of a full City file meets another origin. IPv6 is asked of each edition.
//!
//! Layout, little-endian:
//!
//! | section | element | count |
//! |---|---|---|
//! | header | 8 × u64: magic, editions, halves, 0 … | 1 |
//! | buckets | u32: first half (two bytes) of this /16 | 65,537 |
//! | ranges | a bucket's starts (u16: low 16 bits), a half of padding where their number is odd, then for each start a word for each edition (u32: position << 6 \| prefix; 0: no data) | 65,536 |
//!
//! The starts and words of a bucket stand together: a search touches one page.

mod build;
mod stored;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use sha2::{Digest, Sha256};

use super::ahead;
use super::index::format::BUCKETS;
use super::index::{VERSION, held_by, u32_at};
use super::intake::hexadecimal;
use super::language::Language;
use super::map::map;
use super::role::Role;

const MAGIC: u64 = u64::from_le_bytes(*b"asn_ovl2");
const HEADER: usize = 64;
/// Editions of one overlay: with more, each range would be larger than the search that it saves.
const MAX_EDITIONS: usize = 8;
/// The directory of overlays, under the store.
const OVERLAYS: &str = "overlays";

/// A mapped overlay.
pub struct Overlay {
    file: Mmap,
    editions: usize,
    buckets: Range<usize>,
    ranges: Range<usize>,
}

impl Overlay {
    /// The path of the overlay of these generations, given by name and role in the order of the list: whoever has them
    /// open finds it, or finds none.
    pub(super) fn path<'a>(
        root: &Path,
        language: &Language,
        generations: impl Iterator<Item = (&'a str, Option<Role>)>,
    ) -> PathBuf {
        let mut hash = Sha256::new();
        hash.update(format!("{VERSION} {language}"));
        for (name, role) in generations {
            hash.update(format!("\n{name}={}", role.unwrap_or_default()));
        }
        root.join(OVERLAYS).join(format!("{}.idx", &hexadecimal(&hash.finalize())[..16]))
    }

    /// Maps one. `None`: there is none, or not a whole one of this version.
    pub(super) fn open(path: &Path) -> Option<Overlay> {
        let file = map(path).ok()?;
        let word = |at: usize| -> Option<usize> {
            let bytes = file.get(at * 8..at * 8 + 8)?;
            usize::try_from(u64::from_le_bytes(bytes.try_into().ok()?)).ok()
        };
        if word(0)? as u64 != MAGIC {
            return None;
        }
        let (editions, halves) = (word(1)?, word(2)?);
        let buckets = HEADER..HEADER + (BUCKETS + 1) * 4;
        let ranges = buckets.end..buckets.end.checked_add(halves.checked_mul(2)?)?;
        let fits = ranges.end == file.len() && (1..=MAX_EDITIONS).contains(&editions);
        fits.then_some(Overlay { file, editions, buckets, ranges })
    }

    /// Of how many editions it is.
    pub(super) fn editions(&self) -> usize {
        self.editions
    }

    /// What each edition has for an IPv4 address: a word for each, in their order.
    #[inline]
    pub(super) fn find(&self, ip: u32) -> Option<&[[u8; 4]]> {
        let buckets = self.file.get(self.buckets.clone())?;
        let bucket = (ip >> 16) as usize;
        let (from, to) = (u32_at(buckets, bucket)? as usize, u32_at(buckets, bucket + 1)? as usize);
        let ranges = self.file.get(self.ranges.clone())?.get(from * 2..to * 2)?;
        ahead::fetch(ranges);
        // A start and the words make a range; one half is left where the number of starts is odd.
        let count = ranges.len() / (2 + 4 * self.editions);
        let starts = ranges.get(..count * 2)?;
        let base = held_by(starts.as_chunks().0, (ip & 0xffff) as u16);
        let words = ranges.get(count.next_multiple_of(2) * 2..)?.as_chunks().0;
        words.get(base * self.editions..(base + 1) * self.editions)
    }
}
