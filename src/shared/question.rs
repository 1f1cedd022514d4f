//! One question of a session that waits, in shared memory, and its owner at each time.

use crate::pg::process::running;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use enrich::campaign::ticket::Slot;

/// Questions that can wait at a time.
pub const QUESTIONS: usize = 128;

/// One question. The asking session writes its fields, until it asks; the [`Slot`] names the owner.
#[repr(C)]
pub struct Question {
    /// Whose it is.
    pub slot: Slot,
    /// Whose database.
    pub database: AtomicU32,
    /// The waiting process.
    pub waiter: AtomicI32,
    ipv4: AtomicU32,
    high: AtomicU64,
    low: AtomicU64,
}

impl Question {
    /// Whether the session that waited has died.
    pub fn waiter_is_gone(&self) -> bool {
        running(&self.waiter).is_none()
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
