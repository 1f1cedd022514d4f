//! Numbers of AS in the order in which they came, each once.

use std::collections::{BTreeMap, HashMap};

/// A queue without repeats.
#[derive(Debug, Default)]
pub struct Numbers {
    order: BTreeMap<u64, u32>,
    /// The place of each in the order.
    places: HashMap<u32, u64>,
    next: u64,
}

impl Numbers {
    /// Appends a number, if it is not there.
    pub fn push(&mut self, asn: u32) {
        if !self.contains(asn) {
            self.places.insert(asn, self.next);
            self.order.insert(self.next, asn);
            self.next += 1;
        }
    }

    /// The first one, taken out.
    pub fn pop(&mut self) -> Option<u32> {
        let (_, asn) = self.order.pop_first()?;
        self.places.remove(&asn);
        Some(asn)
    }

    /// Takes a number out. False: it is not there.
    pub fn remove(&mut self, asn: u32) -> bool {
        self.places.remove(&asn).is_some_and(|place| self.order.remove(&place).is_some())
    }

    /// Whether a number is there.
    pub fn contains(&self, asn: u32) -> bool {
        self.places.contains_key(&asn)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'_> {
        self.order.values().copied()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        *self = Numbers::default();
    }
}
