//! The addresses of a tally, each once. What is counted stands in a row, in the order in which it came, and a small table
//! has only the places in it: the table of a batch of COPY stays in the processor's cache, where a map of keys and counts
//! would not.

use std::hash::BuildHasher;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::group::Number;
use crate::inventory::seen::Seen;

/// An address of one sensor in one hour. As large as an address alone beside [`Seen`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The address.
    pub ip: IpAddr,
    /// Its group: see [`Groups`](super::group::Groups).
    pub group: Number,
}

/// Addresses and counts.
#[derive(Default)]
pub struct Addresses {
    entries: Vec<(Key, Seen)>,
    /// Places in `entries`.
    places: HashTable<u32>,
    /// Seeded: who chooses the addresses of events must not choose where they collide.
    seed: RandomState,
}

impl Addresses {
    /// Counts an observation, or many.
    #[inline]
    pub fn add(&mut self, key: Key, seen: Seen) {
        let Addresses { entries, places, seed } = self;
        let hash = hash(seed, &key);
        match places.find(hash, |place| entries[*place as usize].0 == key) {
            Some(place) => entries[*place as usize].1.add(seen),
            None => self.push(key, hash, seen),
        }
    }

    /// Adds a key that is not there.
    fn push(&mut self, key: Key, key_hash: u64, seen: Seen) {
        let Addresses { entries, places, seed } = self;
        // A tally goes to the queue long before it has so many.
        let place = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        entries.push((key, seen));
        places.insert_unique(key_hash, place, |place| hash(seed, &entries[*place as usize].0));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// For how many it has memory.
    pub fn capacity(&self) -> usize {
        self.entries.capacity()
    }

    /// Forgets them, and keeps the memory.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.places.clear();
    }

    /// All, in the order in which they came.
    pub fn iter(&self) -> std::slice::Iter<'_, (Key, Seen)> {
        self.entries.iter()
    }

    /// Keeps those that meet a condition.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&Key) -> bool) {
        let entries = std::mem::take(&mut self.entries);
        self.places.clear();
        for (key, seen) in entries.into_iter().filter(|(key, _)| is_kept(key)) {
            let hash = hash(&self.seed, &key);
            self.push(key, hash, seen);
        }
    }
}

impl IntoIterator for Addresses {
    type Item = (Key, Seen);
    type IntoIter = std::vec::IntoIter<(Key, Seen)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

#[inline]
fn hash(seed: &RandomState, key: &Key) -> u64 {
    match key.ip {
        IpAddr::V4(ip) => seed.hash_one(u64::from(key.group) << 32 | u64::from(ip.to_bits())),
        IpAddr::V6(ip) => seed.hash_one((ip.to_bits(), key.group)),
    }
}
