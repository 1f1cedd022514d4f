//! The addresses of one statement: how often each was seen, first and last, and how many values were none.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use pgrx::pg_sys;

use super::group::{Groups, Number};
use super::unread;
use crate::inventory::seen::Seen;
use crate::pg::{memory, tx};

/// Addresses for which a session keeps memory between statements: about 2 MB. Giving it back and faulting it in again
/// costs a loader with batches of 10,000 rows as much as reading the addresses.
const KEPT: usize = 30_000;

/// An address of one sensor in one hour. As large as an address alone beside [`Seen`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The address.
    pub ip: IpAddr,
    /// Its group: see [`Groups`].
    pub group: Number,
}

/// Addresses and counts.
#[derive(Default)]
pub struct Tally {
    /// By address and group. The hash is seeded: who chooses the addresses of events must not choose where they collide.
    pub addresses: HashMap<Key, Seen, RandomState>,
    /// What tells observations of one address apart.
    pub groups: Groups,
    /// Values that are not a host address.
    pub unparsable: i64,
    /// The first of them, how it begins in the server's encoding, and why it is none.
    pub unread: Option<(Vec<u8>, String)>,
}

impl Tally {
    /// Counts one address at one time.
    #[inline]
    pub fn observe(&mut self, ip: IpAddr, at: i64) {
        let seen = Seen { count: 1, first: at, last: at };
        let key = Key { ip, group: self.groups.at(at) };
        self.addresses.entry(key).and_modify(|known| known.add(seen)).or_insert(seen);
    }

    /// Counts a value that is not a host address, and keeps the first. Calls nothing of PostgreSQL's: see
    /// [`crate::pg::raw`].
    #[cold]
    pub fn unreadable(&mut self, value: &[u8], reason: impl ToString) {
        self.unparsable += 1;
        self.unread.get_or_insert_with(|| (unread::beginning(value).to_vec(), reason.to_string()));
    }

    /// Adds another tally. The larger of the two is kept, and the smaller one goes into it.
    pub fn add(&mut self, mut other: Tally) {
        if other.addresses.len() > self.addresses.len() {
            std::mem::swap(&mut self.addresses, &mut other.addresses);
            std::mem::swap(&mut self.groups, &mut other.groups);
        }
        for (Key { ip, group }, seen) in other.addresses {
            let key = Key { ip, group: self.groups.adopt(&other.groups, group, seen.first) };
            self.addresses.entry(key).and_modify(|known| known.add(seen)).or_insert(seen);
        }
        self.unparsable += other.unparsable;
        self.unread = self.unread.take().or(other.unread);
    }

    /// Forgets everything, and keeps the memory for the next statement unless that is a lot.
    pub fn clear(&mut self) {
        self.unparsable = 0;
        self.unread = None;
        self.groups.clear();
        if self.is_large() {
            self.addresses = HashMap::default();
        } else {
            self.addresses.clear();
        }
    }

    /// How many entries it holds.
    pub fn size(&self) -> usize {
        self.addresses.len() + self.groups.len()
    }

    /// So many entries that they should go to the queue.
    pub fn is_full(&self, most: usize) -> bool {
        self.size() >= most
    }

    /// It holds more memory than a session keeps.
    pub fn is_large(&self) -> bool {
        self.addresses.capacity() > KEPT
    }

    /// Nothing was seen at all.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.unparsable == 0
    }
}

thread_local! {
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    static LARGE: Cell<bool> = const { Cell::new(false) };
}

/// Gives a large statement's memory back to the system, once the transaction is over and PostgreSQL has freed its part,
/// the transition table, as well. The C library keeps freed memory for itself otherwise: for a session that may be idle
/// until tomorrow.
pub fn give_back_at_end() {
    LARGE.set(true);
    if !REGISTERED.replace(true) {
        tx::at_events(at_transaction_end);
    }
}

fn at_transaction_end(event: pg_sys::XactEvent::Type) {
    if tx::ends(event) && LARGE.replace(false) {
        memory::trim();
    }
}
