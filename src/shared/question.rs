//! One question of a session that waits, in shared memory, and who owns it when.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use pgrx::pg_sys;

/// Questions that can wait at a time.
pub const QUESTIONS: usize = 128;

/// Nobody's.
pub const FREE: u64 = 0;
/// Its owner writes the address.
pub const FILLING: u64 = 1;
/// The worker may take it.
pub const ASKED: u64 = 2;
/// The worker is at it.
pub const TAKEN: u64 = 3;
/// Everything is written.
pub const ANSWERED: u64 = 4;
/// Bits of a state; above them stands the ticket.
pub const STATE: u64 = 7;

/// One of a session's questions, among all that ever had its slot: an answer that comes late must not be taken for that
/// to the question which has the slot by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub slot: usize,
    /// The slot's word, without its state.
    pub number: u64,
}

/// One question. Owned by the asking session except in the states `ASKED` and `TAKEN`, when the worker may answer.
#[repr(C)]
pub struct Question {
    /// State and ticket in one word, so that no state changes hands unseen. The ticket is another one with every owner.
    pub word: AtomicU64,
    /// Whose database.
    pub database: AtomicU32,
    /// The waiting process.
    pub waiter: AtomicI32,
    ipv4: AtomicU32,
    high: AtomicU64,
    low: AtomicU64,
}

impl Question {
    /// Goes on to another state, if all is still as it was seen. Returns the new word.
    pub fn advance(&self, seen: u64, state: u64) -> Option<u64> {
        let next = seen & !STATE | state;
        self.word.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Relaxed).is_ok().then_some(next)
    }

    /// Takes a slot that has no owner, or whose owner is gone: with a new ticket. Returns the word.
    pub fn claim(&self) -> Option<u64> {
        let seen = self.word.load(Ordering::Acquire);
        if seen & STATE != FREE && !self.is_orphan(seen & STATE) {
            return None;
        }
        let next = (seen & !STATE).wrapping_add(STATE + 1) | FILLING;
        self.word.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Relaxed).is_ok().then_some(next)
    }

    /// Whether the session that waited has died.
    pub fn is_orphan(&self, state: u64) -> bool {
        let pid = self.waiter.load(Ordering::Relaxed);
        // SAFETY: asks the process array.
        state >= ASKED && unsafe { pg_sys::BackendPidGetProc(pid).is_null() }
    }

    /// Writes the address.
    pub fn put(&self, ip: IpAddr) {
        let bits = match ip {
            IpAddr::V4(v4) => u128::from(u32::from(v4)),
            IpAddr::V6(v6) => v6.into(),
        };
        self.ipv4.store(ip.is_ipv4().into(), Ordering::Relaxed);
        self.high.store((bits >> 64) as u64, Ordering::Relaxed);
        self.low.store(bits as u64, Ordering::Relaxed);
    }

    /// Reads it.
    pub fn ip(&self) -> IpAddr {
        let (high, low) = (self.high.load(Ordering::Relaxed), self.low.load(Ordering::Relaxed));
        if self.ipv4.load(Ordering::Relaxed) != 0 {
            IpAddr::V4((low as u32).into())
        } else {
            IpAddr::V6(Ipv6Addr::from(u128::from(high) << 64 | u128::from(low)))
        }
    }
}
