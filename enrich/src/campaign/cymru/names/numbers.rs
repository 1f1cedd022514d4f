//! Numbers of AS in the order in which they came, each once.

use std::collections::{HashSet, VecDeque};

/// A queue without repeats.
#[derive(Debug, Default)]
pub struct Numbers {
    order: VecDeque<u32>,
    held: HashSet<u32>,
}

impl Numbers {
    /// Appends a number, if it is not there.
    pub fn push(&mut self, asn: u32) {
        if self.held.insert(asn) {
            self.order.push_back(asn);
        }
    }

    /// The first one, taken out.
    pub fn pop(&mut self) -> Option<u32> {
        let asn = self.order.pop_front()?;
        self.held.remove(&asn);
        Some(asn)
    }

    /// Takes a number out. False: it is not there.
    pub fn remove(&mut self, asn: u32) -> bool {
        let was_held = self.held.remove(&asn);
        if was_held {
            self.order.retain(|other| *other != asn);
        }
        was_held
    }

    /// Whether a number is there.
    pub fn contains(&self, asn: u32) -> bool {
        self.held.contains(&asn)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'_> {
        self.order.iter().copied()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        (self.order, self.held) = Default::default();
    }
}
