//! Which addresses were observed in an hour or a day, and how often: sorted, each once, packed like the rows of the queue.
//!
//! Kept packed, an address takes six bytes or so an hour, and the distinct addresses of a day are the union of its hours.

use std::net::IpAddr;

use crate::pack::{Entry, Packer, unpack};

/// Microseconds of an hour.
pub const HOUR: i64 = 3_600_000_000;
/// Microseconds of a day.
pub const DAY: i64 = 24 * HOUR;

/// When the hour or day (`width`) of a moment begins, UTC, in PostgreSQL's microseconds.
///
/// ```
/// use enrich::activity::{DAY, HOUR, beginning};
/// assert_eq!(beginning(HOUR + 1, HOUR), HOUR);
/// assert_eq!(beginning(-1, DAY), -DAY);
/// ```
#[must_use]
pub fn beginning(moment: i64, width: i64) -> i64 {
    moment.div_euclid(width).saturating_mul(width)
}

/// Places in groups of at most `most` addresses together, or of one that has more; each with how many it has.
///
/// ```
/// use enrich::activity::groups;
/// assert_eq!(groups(&[(1, 4), (2, 3), (3, 9), (4, 0)], 7), [(vec![1, 2], 7), (vec![3], 9), (vec![4], 0)]);
/// ```
#[must_use]
pub fn groups(sizes: &[(i32, i64)], most: i64) -> Vec<(Vec<i32>, i64)> {
    let mut groups: Vec<(Vec<i32>, i64)> = Vec::new();
    for (place, size) in sizes {
        match groups.last_mut() {
            Some((places, sum)) if *sum + size <= most => {
                places.push(*place);
                *sum += size;
            }
            _ => groups.push((vec![*place], *size)),
        }
    }
    groups
}

/// Addresses in order, each once, with how often it was observed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed(Vec<(IpAddr, i64)>);

impl Observed {
    /// Of addresses in any order, with repetitions.
    #[must_use]
    pub fn of(mut entries: Vec<(IpAddr, i64)>) -> Observed {
        // This finds what is in order already, such as the parts of a union.
        entries.sort();
        entries.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 = kept.1.saturating_add(next.1);
            }
            same
        });
        Observed(entries)
    }

    /// Of packed parts; `kept` says under which address one is kept. Whether all of them could be read.
    pub fn unpacked<'a>(
        parts: impl IntoIterator<Item = &'a [u8]>,
        kept: impl Fn(IpAddr) -> IpAddr,
    ) -> (Observed, bool) {
        let (mut entries, mut whole) = (Vec::new(), true);
        for part in parts {
            let mut found = unpack(part);
            entries.extend(found.by_ref().map(|entry| (kept(entry.ip), entry.count)));
            whole &= !found.is_broken();
        }
        (Observed::of(entries), whole)
    }

    /// The union of several.
    #[must_use]
    pub fn union<'a>(all: impl IntoIterator<Item = &'a Observed>) -> Observed {
        Observed::of(all.into_iter().flat_map(|one| one.0.iter().copied()).collect())
    }

    /// Packed, in parts of at most `limit` bytes, each with the number of its addresses.
    #[must_use]
    pub fn packed(&self, limit: usize) -> Vec<(u32, Vec<u8>)> {
        let mut parts = Vec::new();
        let mut packer = Packer::new(0, limit);
        for (ip, count) in &self.0 {
            if !packer.has_room(limit) {
                parts.push((packer.entries(), packer.bytes().to_vec()));
                packer.clear();
            }
            packer.push(&Entry { ip: *ip, count: *count, first: 0, last: 0 });
        }
        if packer.entries() > 0 {
            parts.push((packer.entries(), packer.bytes().to_vec()));
        }
        parts
    }

    /// The addresses, in order, and how often each was observed.
    #[must_use]
    pub fn entries(&self) -> &[(IpAddr, i64)] {
        &self.0
    }

    /// How many addresses there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const LIMIT: usize = 200;

    fn bytes(parts: &[(u32, Vec<u8>)]) -> impl Iterator<Item = &[u8]> {
        parts.iter().map(|(_, bytes)| &bytes[..])
    }

    #[test]
    fn what_is_damaged_is_said() {
        let parts = Observed::of(vec![("8.8.8.8".parse().unwrap(), 300)]).packed(LIMIT);
        let cut = &parts[0].1[..parts[0].1.len() - 1];
        assert_eq!(Observed::unpacked([cut], |ip| ip), (Observed::default(), false));
    }

    proptest! {
        #[test]
        fn packing_and_union_lose_nothing(hours in prop::collection::vec(prop::collection::vec((any::<u8>(), 1..9i64), 0..60), 0..5)) {
            let ip = |last: u8| IpAddr::from([10, 0, 0, last]);
            let mut wanted: BTreeMap<IpAddr, i64> = BTreeMap::new();
            let mut packed = Vec::new();
            for hour in &hours {
                let entries: Vec<_> = hour.iter().map(|(last, count)| (ip(*last), *count)).collect();
                entries.iter().for_each(|(ip, count)| *wanted.entry(*ip).or_default() += count);
                let parts = Observed::of(entries).packed(LIMIT);
                prop_assert!(parts.iter().all(|(count, bytes)| bytes.len() <= LIMIT && *count > 0));
                let (read, whole) = Observed::unpacked(bytes(&parts), |ip| ip);
                prop_assert!(whole);
                packed.push(read);
            }
            let all = Observed::union(&packed);
            prop_assert_eq!(all.entries().to_vec(), wanted.into_iter().collect::<Vec<_>>());
        }
    }
}
