//! The addresses of one statement: how often each was seen, first and last, and how many values were none.

use std::collections::HashMap;
use std::net::IpAddr;

/// One address in a tally.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// How often; 0: asked about, not observed.
    pub count: i64,
    /// Earliest event (timestamptz).
    pub first: i64,
    /// Latest event (timestamptz).
    pub last: i64,
}

impl Seen {
    /// Adds another observation, or many. That somebody asked is no observation: its time says nothing beside one.
    pub fn add(&mut self, other: Seen) {
        match (self.count, other.count) {
            (0, 1..) => *self = other,
            (1.., 0) => {}
            _ => {
                self.count = self.count.saturating_add(other.count);
                self.first = self.first.min(other.first);
                self.last = self.last.max(other.last);
            }
        }
    }
}

/// Addresses and counts.
#[derive(Default)]
pub struct Tally {
    /// By address.
    pub addresses: HashMap<IpAddr, Seen>,
    /// Values that were no host address.
    pub unparsable: i64,
}

impl Tally {
    /// Counts one address at one time.
    #[inline]
    pub fn observe(&mut self, ip: IpAddr, at: i64) {
        let seen = Seen { count: 1, first: at, last: at };
        self.addresses.entry(ip).and_modify(|known| known.add(seen)).or_insert(seen);
    }

    /// Nothing was seen at all.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.unparsable == 0
    }
}
