//! The index of all lists: which of them hold an address, found in one search.
//!
//! The ranges of all lists are overlaid into disjoint ones, each with the number of a *set of lists*; a set stands in the
//! file once. IPv4 is sorted ranges in 65,536 buckets (one a /16) of 16-bit starts, IPv6 sorted ranges.
//!
//! Layout, little-endian, sections in this order:
//!
//! | section | element | count |
//! |---|---|---|
//! | header | 8 × u64: magic, lists, sets, members of all sets, IPv4 ranges, IPv6 ranges, bytes of names, 0 | 1 |
//! | buckets | u32: first range of this /16 | 65,537 |
//! | IPv4 ranges, a bucket after the other: their starts, then their sets | u16: low 16 bits, u32 | IPv4 ranges |
//! | every 256th of the next section | u128 | IPv6 ranges / 256, rounded up |
//! | starts of the IPv6 ranges | u128 | IPv6 ranges |
//! | sets of the IPv6 ranges | u32 | IPv6 ranges |
//! | where a set's members begin | u32 | sets + 1 |
//! | members: a list's number, ascending | u32 | members |
//! | where a list's name begins | u32 | lists + 1 |
//! | names, in ascending order | bytes | |
//!
//! Set 0 is the empty one. A look-up waits for memory and for little else: so what belongs to a bucket stands together. The
//! first IPv6 range starts at `::`. Without every 256th start by itself, the first half of a search would touch a page a
//! step.

mod build;
mod format;

use std::net::IpAddr;
use std::ops::Range;

pub use self::build::{BuildError, build};
use self::format::{BUCKETS, HEADER, MAGIC, RANGE, SAMPLE};
use crate::address::effective;

/// Where the sections of an index stand; the bytes stay with their owner (the mapping).
#[derive(Debug)]
pub struct Index {
    buckets: Range<usize>,
    ranges_v4: Range<usize>,
    samples_v6: Range<usize>,
    starts_v6: Range<usize>,
    sets_v6: Range<usize>,
    members_from: Range<usize>,
    members: Range<usize>,
    names_from: Range<usize>,
    names: Range<usize>,
}

/// The lists that hold an address, by the numbers of sets: that of the address, and that of the IPv4 address that it
/// stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Holders(pub u32, pub u32);

impl Holders {
    /// Whether no list holds it.
    pub fn is_empty(self) -> bool {
        self == Holders::default()
    }
}

impl Index {
    /// Reads the header of `bytes` and checks that every section lies inside. `None`: cut short, or another file.
    pub fn open(bytes: &[u8]) -> Option<Index> {
        let word = |i: usize| -> Option<usize> {
            usize::try_from(u64::from_le_bytes(bytes.get(i * 8..i * 8 + 8)?.try_into().ok()?)).ok()
        };
        if word(0)? as u64 != MAGIC {
            return None;
        }
        let (lists, sets, members, v4, v6, names) = (word(1)?, word(2)?, word(3)?, word(4)?, word(5)?, word(6)?);
        let mut at = HEADER;
        let mut section = |count: usize, size: usize| -> Option<Range<usize>> {
            let start = at;
            at = start.checked_add(count.checked_mul(size)?)?;
            (at <= bytes.len()).then_some(start..at)
        };
        Some(Index {
            buckets: section(BUCKETS + 1, 4)?,
            ranges_v4: section(v4, RANGE)?,
            samples_v6: section(v6.div_ceil(SAMPLE), 16)?,
            starts_v6: section(v6, 16)?,
            sets_v6: section(v6, 4)?,
            members_from: section(sets.checked_add(1)?, 4)?,
            members: section(members, 4)?,
            names_from: section(lists.checked_add(1)?, 4)?,
            names: section(names, 1)?,
        })
    }

    /// Which lists hold `ip`. An IPv6 address that stands for an IPv4 one (see [`effective`]) is held by the lists of both.
    #[inline]
    pub fn find(&self, bytes: &[u8], ip: IpAddr) -> Holders {
        match ip {
            IpAddr::V4(v4) => Holders(self.find_v4(bytes, v4.into()).unwrap_or(0), 0),
            IpAddr::V6(v6) => {
                let own = self.find_v6(bytes, v6.to_bits()).unwrap_or(0);
                let IpAddr::V4(v4) = effective(ip) else { return Holders(own, 0) };
                match (own, self.find_v4(bytes, v4.into()).unwrap_or(0)) {
                    (0, of_v4) => Holders(of_v4, 0),
                    (own, of_v4) if own == of_v4 => Holders(own, 0),
                    both => Holders(both.0, both.1),
                }
            }
        }
    }

    #[inline]
    fn find_v4(&self, bytes: &[u8], ip: u32) -> Option<u32> {
        let buckets = bytes.get(self.buckets.clone())?;
        let bucket = (ip >> 16) as usize;
        let (from, to) = (u32_at(buckets, bucket)? as usize, u32_at(buckets, bucket + 1)? as usize);
        let ranges = bytes.get(self.ranges_v4.clone())?.get(from * RANGE..to * RANGE)?;
        let (starts, sets) = ranges.split_at((to - from) * 2);
        let low = (ip & 0xffff) as u16;
        // The last range that starts at or below the address; a bucket's first always starts at 0. Halving without
        // branches: the direction of each step on random addresses is a coin toss to the predictor.
        let (mut base, mut size) = (0, starts.len() / 2);
        while size > 1 {
            let half = size / 2;
            let middle = u16::from_le_bytes([starts[(base + half) * 2], starts[(base + half) * 2 + 1]]);
            base = if middle <= low { base + half } else { base };
            size -= half;
        }
        u32_at(sets, base)
    }

    #[inline]
    fn find_v6(&self, bytes: &[u8], ip: u128) -> Option<u32> {
        let block = last_at_or_below(bytes.get(self.samples_v6.clone())?, ip)? * SAMPLE;
        let starts = bytes.get(self.starts_v6.clone())?;
        let block_end = starts.len().min((block + SAMPLE) * 16);
        let base = block + last_at_or_below(starts.get(block * 16..block_end)?, ip)?;
        u32_at(bytes.get(self.sets_v6.clone())?, base)
    }

    /// How many sets of lists there are, the empty one among them.
    pub fn sets(&self) -> usize {
        (self.members_from.len() / 4).saturating_sub(1)
    }

    /// All lists, in ascending order: their numbers are their places.
    pub fn all_names<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = &'a str> {
        (0..).map_while(|list| self.name(bytes, list))
    }

    /// The names of the lists, in ascending order.
    pub fn names<'a>(&self, bytes: &'a [u8], holders: Holders) -> Vec<&'a str> {
        let mut members: Vec<u32> = self.members(bytes, holders.0).collect();
        if holders.1 != 0 {
            members.extend(self.members(bytes, holders.1));
            members.sort_unstable();
            members.dedup();
        }
        members.into_iter().filter_map(|list| self.name(bytes, list)).collect()
    }

    /// The numbers of a set's lists, ascending.
    pub fn members<'a>(&self, bytes: &'a [u8], set: u32) -> impl Iterator<Item = u32> + 'a {
        let part = || {
            let from = bytes.get(self.members_from.clone())?;
            let (from, to) = (u32_at(from, set as usize)? as usize, u32_at(from, set as usize + 1)? as usize);
            bytes.get(self.members.clone())?.get(from * 4..to * 4)
        };
        part().unwrap_or_default().chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap_or_default()))
    }

    fn name<'a>(&self, bytes: &'a [u8], list: u32) -> Option<&'a str> {
        let from = bytes.get(self.names_from.clone())?;
        let (from, to) = (u32_at(from, list as usize)? as usize, u32_at(from, list as usize + 1)? as usize);
        std::str::from_utf8(bytes.get(self.names.clone())?.get(from..to)?).ok()
    }
}

/// The place of the last of these ascending u128 that is at or below `ip`; 0 if none is.
#[inline]
fn last_at_or_below(starts: &[u8], ip: u128) -> Option<usize> {
    let start = |at: usize| starts.get(at * 16..at * 16 + 16).and_then(|start| start.try_into().ok());
    let (mut base, mut size) = (0, starts.len() / 16);
    while size > 1 {
        let half = size / 2;
        base = if u128::from_le_bytes(start(base + half)?) <= ip { base + half } else { base };
        size -= half;
    }
    Some(base)
}

#[inline]
fn u32_at(words: &[u8], at: usize) -> Option<u32> {
    let bytes = words.get(at * 4..at * 4 + 4)?;
    Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

#[cfg(test)]
mod tests;
