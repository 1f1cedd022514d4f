//! The addresses of one statement: how often each was seen, first and last, and how many values were none.

use std::cell::Cell;
use std::net::IpAddr;

use pgrx::pg_sys;

use super::addresses::{Addresses, Key};
use super::group::Groups;
use super::unread;
use super::unread::{OF_TIME, Unread};
use crate::inventory::seen::Seen;
use crate::pg::{memory, tx};

/// Addresses for which a session keeps memory between statements: about 2 MB. Giving it back and faulting it in again
/// costs a loader with batches of 10,000 rows as much as reading the addresses.
const KEPT: usize = 32_768;

/// Observations that wait to be counted together: about 256 kB of them. Between two rows a loader touches so much memory
/// that the place of each count has left the processor's cache: one by one, they take four times as long.
const RECENT: usize = 8_192;
/// Those of a tally that is put aside.
const FEW: usize = 16;

/// Addresses and counts.
#[derive(Default)]
pub struct Tally {
    /// The last observations, each with its time.
    recent: Vec<(Key, i64)>,
    /// Those before, by address and group.
    addresses: Addresses,
    /// What tells observations of one address apart.
    pub groups: Groups,
    /// Values that are not a host address, and times that could not be read.
    pub unparsable: i64,
    /// The time of an event was read.
    pub has_time: bool,
    /// The first of them, how it begins in the server's encoding, and why it is none.
    pub unread: Option<(Vec<u8>, String)>,
    /// Why rows name no sensor, once many do not, and a value that should name one.
    pub nameless: Option<Unread>,
}

impl Tally {
    /// Counts one address at one time.
    #[inline]
    pub fn observe(&mut self, ip: IpAddr, at: i64) {
        if self.recent.len() >= RECENT {
            self.count();
        }
        let group = self.groups.at(at);
        self.recent.push((Key { ip, group }, at));
    }

    #[cold]
    fn count(&mut self) {
        for (key, at) in self.recent.drain(..) {
            self.addresses.add(key, Seen { count: 1, first: at, last: at });
        }
    }

    /// All that was observed, by address and group.
    pub fn addresses(&mut self) -> &mut Addresses {
        self.count();
        &mut self.addresses
    }

    /// The same, and the groups.
    pub fn counted(&mut self) -> (&Addresses, &Groups) {
        self.count();
        (&self.addresses, &self.groups)
    }

    /// Forgets what of it does not meet a condition on the address, and values that are none.
    pub fn only(mut self, is_kept: impl Fn(&IpAddr) -> bool) -> Tally {
        self.addresses().retain(|key| is_kept(&key.ip));
        Tally { addresses: self.addresses, groups: self.groups, ..Tally::default() }
    }

    /// Counts a value that is not a host address, and keeps the first. Calls nothing of PostgreSQL's: see
    /// [`crate::pg::raw`].
    #[cold]
    pub fn unreadable(&mut self, value: &[u8], reason: impl ToString) {
        self.unparsable += 1;
        self.unread.get_or_insert_with(|| (unread::beginning(value).to_vec(), reason.to_string()));
    }

    /// No time could be read, where there should have been one.
    pub fn lacks_time(&self) -> bool {
        !self.has_time && self.unread.as_ref().is_some_and(|(_, reason)| reason.starts_with(OF_TIME))
    }

    /// Adds another tally. The larger of the two is kept, and the smaller one goes into it.
    pub fn add(&mut self, mut other: Tally) {
        if other.addresses().len() > self.addresses().len() {
            std::mem::swap(&mut self.addresses, &mut other.addresses);
            std::mem::swap(&mut self.groups, &mut other.groups);
        }
        for (Key { ip, group }, seen) in other.addresses {
            let key = Key { ip, group: self.groups.adopt(&other.groups, group, seen.first) };
            self.addresses.add(key, seen);
        }
        self.unparsable += other.unparsable;
        self.has_time |= other.has_time;
        self.unread = self.unread.take().or(other.unread);
        self.nameless = self.nameless.take().or(other.nameless);
    }

    /// Forgets everything, and keeps the memory for the next statement unless that is a lot.
    pub fn clear(&mut self) {
        self.unparsable = 0;
        self.has_time = false;
        self.unread = None;
        self.nameless = None;
        self.groups.clear();
        self.recent.clear();
        if self.is_large() {
            self.addresses = Addresses::default();
        } else {
            self.addresses.clear();
        }
    }

    /// How many entries it holds; more while some are not counted.
    pub fn size(&self) -> usize {
        self.recent.len() + self.addresses.len() + self.groups.len()
    }

    /// So many entries that they should go to the queue.
    #[inline]
    pub fn is_full(&mut self, most: usize) -> bool {
        if self.size() >= most {
            self.count();
        }
        self.size() >= most
    }

    /// Counts all, and keeps no memory for more: it is put aside, maybe one of a thousand.
    pub fn put_aside(&mut self) {
        self.count();
        self.recent.shrink_to(FEW);
    }

    /// It holds more memory than a session keeps.
    pub fn is_large(&self) -> bool {
        self.addresses.capacity() > KEPT
    }

    /// Nothing was seen at all.
    pub fn is_empty(&self) -> bool {
        self.recent.is_empty() && self.addresses.is_empty() && self.unparsable == 0
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
