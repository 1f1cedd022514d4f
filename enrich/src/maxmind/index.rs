//! The flat index: what import derives from a database so that a look-up need not walk and decode.
//!
//! A tree walk costs 0.3–0.5 µs on random addresses and decoding a City record 1.5–2 µs more; every backend would
//! pay the decodes again in a cache of its own. The index does both once, at import, into a file that all backends
//! map: IPv4 space as sorted ranges, 65,536 buckets (one a /16) of 16-bit starts, and every distinct record
//! already reduced to the fields we serve. IPv6 still walks the tree and finds its record by data offset.
//!
//! Layout, little-endian, sections in this order:
//!
//! | section | element | count |
//! |---|---|---|
//! | header | 16 × u64: magic, fields, ranges, records, blob bytes, database bytes, language (2), networks with a field, with a place, with an origin, with traits, bytes of shared texts, 0 … | 1 |
//! | buckets | u32: first range of this /16 | 65,537 |
//! | records' data offsets in the database, ascending | u32 | records |
//! | those records' positions in the blob | u32, [`Position`] | records |
//! | ranges' record and prefix length | u32: position << 6 \| prefix; 0: no data | ranges |
//! | ranges' start | u16: low 16 bits | ranges |
//! | blob | records, each at a multiple of 8 bytes | |
//! | shared texts | regions and time zones, which many records have: a length byte and the text | |
//!
//! A look-up on random addresses is a handful of cache misses and little else, so a range carries its record's
//! position itself instead of an ordinal into another table. In versions 1 and 2 the header has half the length, a
//! kind in place of the fields, and a record is a place or an origin.
//!
//! Of several files, the ranges are laid over each other in the [`overlay`](super::overlay).

mod before;
mod build;
pub(super) mod format;

use std::net::IpAddr;
use std::ops::Range;

use ipnetwork::IpNetwork;

use self::before::Before;
pub use self::build::{IndexError, build};
use self::format::{BUCKETS, Bytes, HEADER, HEADER_BEFORE, MAGIC, MAGICS_BEFORE, UNIT};
pub use self::format::{OriginRef, PlaceRef, Position, RecordRef, TraitsRef, VERSION};
use super::ahead;
use super::language::{self, Language};
use super::role::{Fields, Holds};

/// Bytes that most records are shorter than.
const USUAL: usize = 96;

/// A bucket's ranges: the low halves of where they begin, and the words of what they hold.
pub(super) type Ranges<'a> = (&'a [[u8; 2]], &'a [[u8; 4]]);

/// Where the sections of an index stand; the bytes stay with their owner (the mapping).
#[derive(Debug)]
pub struct Index {
    buckets: Range<usize>,
    offsets: Range<usize>,
    positions: Range<usize>,
    words: Range<usize>,
    starts: Range<usize>,
    blob: Range<usize>,
    shared: Range<usize>,
    /// What its records are, in an index of an earlier version.
    before: Option<Before>,
    holds: Holds,
    language: Option<Language>,
}

impl Index {
    /// Reads the header of `bytes` and checks that every section lies inside.
    ///
    /// `None` if this is not an index of that database: of a version that it cannot read, cut short, or of a file of
    /// another size.
    pub fn open(bytes: &[u8], database_bytes: u64) -> Option<Index> {
        let word =
            |i: usize| -> Option<u64> { Some(u64::from_le_bytes(bytes.get(i * 8..i * 8 + 8)?.try_into().ok()?)) };
        let before = match (word(0)?, word(1)?) {
            (MAGIC, _) => None,
            (magic, 1) if MAGICS_BEFORE.contains(&magic) => Some(Before::Place),
            (magic, 2) if MAGICS_BEFORE.contains(&magic) => Some(Before::Origin),
            _ => return None,
        };
        if word(5)? != database_bytes {
            return None;
        }
        let (holds, language) = match before {
            None => {
                let code = bytes.get(48..48 + language::MAX)?;
                let code = code.split(|byte| *byte == 0).next().and_then(|code| std::str::from_utf8(code).ok())?;
                let fields = Fields::of_bits(word(1)?);
                let holds =
                    Holds { fields, networks: word(8)?, places: word(9)?, origins: word(10)?, traits: word(11)? };
                (holds, Some(Language::new(code).ok()?))
            }
            Some(before) => (Holds { fields: before.fields(), ..Holds::default() }, None),
        };
        let (ranges, records, blob) = (word(2)? as usize, word(3)? as usize, word(4)? as usize);
        // What the earlier versions have there are other things.
        let shared = if before.is_none() { usize::try_from(word(12)?).ok()? } else { 0 };
        let mut at = if before.is_none() { HEADER } else { HEADER_BEFORE };
        let mut section = |len: Option<usize>| -> Option<Range<usize>> {
            let start = at;
            at = start.checked_add(len?)?;
            (at <= bytes.len()).then_some(start..at)
        };
        Some(Index {
            buckets: section(Some((BUCKETS + 1) * 4))?,
            offsets: section(records.checked_mul(4))?,
            positions: section(records.checked_mul(4))?,
            words: section(ranges.checked_mul(4))?,
            starts: section(ranges.checked_mul(2))?,
            blob: section(Some(blob))?,
            shared: section(Some(shared))?,
            before,
            holds,
            language,
        })
    }

    /// Whether it was built by an earlier version, which read less, or some fields otherwise.
    pub fn is_outdated(&self) -> bool {
        self.language.is_none()
    }

    /// What its records hold. An index of an earlier version has no counts, and all fields of a place or of an origin.
    pub fn holds(&self) -> Holds {
        self.holds
    }

    /// The language of its names; `None` in an index of an earlier version: English.
    pub fn language(&self) -> Option<&Language> {
        self.language.as_ref()
    }

    /// The record of an IPv4 address and the prefix length of the network it stands in.
    #[inline]
    pub fn find_v4(&self, bytes: &[u8], ip: u32) -> Option<(Position, u8)> {
        let buckets = bytes.get(self.buckets.clone())?;
        let bucket = (ip >> 16) as usize;
        let (from, to) = (u32_at(buckets, bucket)? as usize, u32_at(buckets, bucket + 1)? as usize);
        let starts = bytes.get(self.starts.clone())?.get(from * 2..to * 2)?;
        let words = bytes.get(self.words.clone())?.get(from * 4..to * 4)?;
        ahead::fetch(starts);
        ahead::fetch(words);
        let base = held_by(starts.as_chunks().0, (ip & 0xffff) as u16);
        let word = u32_at(words, base)?;
        (word != 0).then_some((Position(word >> 6), (word & 63) as u8))
    }

    /// The record that stands at `offset` of the database's data section: how IPv6 gets from a walk to a record.
    pub fn find_offset(&self, bytes: &[u8], offset: u32) -> Option<Position> {
        let offsets = bytes.get(self.offsets.clone())?;
        let (mut low, mut high) = (0, offsets.len() / 4);
        while low < high {
            let middle = (low + high) / 2;
            match u32_at(offsets, middle)?.cmp(&offset) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return u32_at(bytes.get(self.positions.clone())?, middle).map(Position),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Asks for the lines of memory of a record that will be read.
    #[inline]
    pub fn fetch(&self, bytes: &[u8], position: Position) {
        let start = self.blob.start + (position.0 as usize).saturating_sub(1) * UNIT;
        ahead::fetch(bytes.get(start..start + USUAL).unwrap_or_default());
    }

    /// A record; `None` where it says nothing.
    #[inline]
    pub fn record<'a>(&self, bytes: &'a [u8], position: Position) -> Option<RecordRef<'a>> {
        if self.before.is_some() {
            return self.record_before(bytes, position);
        }
        Some(self.bytes_at(bytes, position)?.record())
    }

    #[cold]
    fn record_before<'a>(&self, bytes: &'a [u8], position: Position) -> Option<RecordRef<'a>> {
        let blob = bytes.get(self.blob.clone())?;
        self.before?.record(blob.get((position.0 as usize).checked_sub(1)? * UNIT..)?)
    }

    #[inline]
    fn bytes_at<'a>(&self, bytes: &'a [u8], position: Position) -> Option<Bytes<'a>> {
        Bytes::at(bytes.get(self.blob.clone())?, bytes.get(self.shared.clone())?, position)
    }

    /// Only the number of a record's AS.
    #[inline]
    pub fn asn(&self, bytes: &[u8], position: Position) -> Option<u32> {
        match self.before {
            None => self.bytes_at(bytes, position)?.asn(),
            Some(_) => self.record_before(bytes, position)?.origin?.asn,
        }
    }

    /// Only a record's country.
    #[inline]
    pub fn country_code<'a>(&self, bytes: &'a [u8], position: Position) -> Option<&'a str> {
        match self.before {
            None => self.bytes_at(bytes, position)?.country_code(),
            Some(_) => self.record_before(bytes, position)?.place?.country_code,
        }
    }

    /// The ranges of a bucket.
    pub(super) fn bucket<'a>(&self, bytes: &'a [u8], bucket: usize) -> Option<Ranges<'a>> {
        let buckets = bytes.get(self.buckets.clone())?;
        let (from, to) = (u32_at(buckets, bucket)? as usize, u32_at(buckets, bucket + 1)? as usize);
        let starts = bytes.get(self.starts.clone())?.get(from * 2..to * 2)?;
        let words = bytes.get(self.words.clone())?.get(from * 4..to * 4)?;
        Some((starts.as_chunks().0, words.as_chunks().0))
    }
}

/// Starts that are compared one after the other: those of most buckets, whose lines are under way together.
const COMPARED: usize = 128;

/// The last of a bucket's ranges that starts at or below `low`: the first starts at 0.
///
/// Without branches on what was read: the direction of each step on random addresses is a coin toss to the predictor.
#[inline]
pub(super) fn held_by(starts: &[[u8; 2]], low: u16) -> usize {
    let mut base = 0usize;
    let mut rest = starts;
    while rest.len() > COMPARED {
        let half = rest.len() / 2;
        let (below, above) = rest.split_at(half);
        let after = above.first().is_some_and(|start| u16::from_le_bytes(*start) <= low);
        base += half * usize::from(after);
        rest = if after { above } else { below };
    }
    let at_or_below: u16 = rest.iter().map(|start| u16::from(u16::from_le_bytes(*start) <= low)).sum();
    base + usize::from(at_or_below).saturating_sub(1)
}

#[inline]
pub(super) fn u32_at(words: &[u8], at: usize) -> Option<u32> {
    let bytes = words.get(at * 4..at * 4 + 4)?;
    Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// The network of `prefix` bits around an address.
pub(super) fn network_of(ip: IpAddr, prefix: u8) -> Option<IpNetwork> {
    let network = IpNetwork::new(ip, prefix).ok()?;
    IpNetwork::new(network.network(), prefix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_that_holds_an_address_is_found_in_buckets_of_any_size() {
        for (count, step) in [
            (0, 1),
            (1, 1),
            (2, 40_000),
            (127, 9),
            (128, 500),
            (129, 500),
            (130, 3),
            (257, 255),
            (1_000, 65),
            (65_536, 1),
        ] {
            let starts: Vec<[u8; 2]> = (0..count).map(|at: u32| ((at * step) as u16).to_le_bytes()).collect();
            let borders = (0..count).flat_map(|at| [at * step, at * step + 1, (at * step).saturating_sub(1)]);
            for low in borders.chain([0, 0xffff]).filter_map(|low| u16::try_from(low).ok()) {
                let wanted = starts.partition_point(|start| u16::from_le_bytes(*start) <= low).saturating_sub(1);
                assert_eq!(held_by(&starts, low), wanted, "{count} {low}");
            }
        }
    }
}
