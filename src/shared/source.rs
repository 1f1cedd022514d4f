//! How a source stands, in shared memory: the worker shows it, the view `source_status` reads it.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use enrich::failure::Failure;

use super::words::Words;

/// States of a source.
pub mod state {
    /// No worker has shown anything yet.
    pub const UNKNOWN: u32 = 0;
    /// Asked when anything is due.
    pub const OK: u32 = 1;
    /// Switched off.
    pub const OFF: u32 = 2;
    /// Waits for a key.
    pub const NO_KEY: u32 = 3;
    /// Out of quota.
    pub const QUOTA: u32 = 4;
    /// The circuit breaker is open, or half open.
    pub const FAILING: u32 = 5;
    /// The key was refused.
    pub const REFUSED: u32 = 6;

    /// The word for people.
    pub fn name(state: u32) -> &'static str {
        match state {
            OK => "ok",
            OFF => "off",
            NO_KEY => "no key",
            QUOTA => "quota",
            FAILING => "failing",
            REFUSED => "refused",
            _ => "unknown",
        }
    }
}

/// One source of one database. Written by its worker alone.
#[repr(C)]
pub struct Shown {
    /// See [`state`].
    pub state: AtomicU32,
    /// Questions without an outcome yet.
    pub in_flight: AtomicU32,
    /// Outcomes since the server started, and those that were failures.
    pub requests: AtomicU64,
    /// See above.
    pub errors: AtomicU64,
    /// Timestamptz; 0: never.
    pub succeeded_at: AtomicI64,
    /// Timestamptz; 0: never.
    pub failed_at: AtomicI64,
    /// Not asked before this (timestamptz); 0: nothing keeps it.
    pub retry_at: AtomicI64,
    /// Why it last failed.
    error: Words,
}

impl Shown {
    /// The last error, where there was one.
    pub fn error(&self) -> Option<String> {
        self.error.read()
    }

    /// Forgets everything; for a slot that is given back.
    pub fn clear(&self) {
        self.requests.store(0, Ordering::Relaxed);
        self.errors.store(0, Ordering::Relaxed);
        self.error.write("");
        for moment in [&self.succeeded_at, &self.failed_at, &self.retry_at] {
            moment.store(0, Ordering::Relaxed);
        }
        self.state.store(state::UNKNOWN, Ordering::Relaxed);
        self.in_flight.store(0, Ordering::Relaxed);
    }

    /// Counts an outcome, at a time (timestamptz).
    pub fn outcome(&self, failure: Option<&Failure>, now: i64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        match failure {
            None => self.succeeded_at.store(now, Ordering::Relaxed),
            Some(failure) => {
                self.errors.fetch_add(1, Ordering::Relaxed);
                self.failed_at.store(now, Ordering::Relaxed);
                self.error.write(&failure.reason);
            }
        }
    }

    /// Shows how it stands.
    pub fn stand(&self, state: u32, in_flight: usize, retry_at: Option<i64>) {
        self.state.store(state, Ordering::Relaxed);
        self.in_flight.store(in_flight as u32, Ordering::Relaxed);
        self.retry_at.store(retry_at.map_or(0, crate::pg::time::from_unix_us), Ordering::Relaxed);
    }
}

/// The ways to Team Cymru.
pub mod way {
    /// Questions over DNS.
    pub const DNS: usize = 0;
    /// Bulk whois sessions.
    pub const BULK: usize = 1;
    /// Their names, in this order.
    pub const NAMES: [&str; 2] = ["dns", "bulk"];
}

/// How one way to a source stands. Written by the worker alone.
#[repr(C)]
pub struct Way {
    /// Nothing goes this way until it is tried again.
    failing: AtomicU32,
    /// Timestamptz; 0: nothing keeps it.
    retry_at: AtomicI64,
    error: Words,
}

impl Way {
    /// Whether it fails, when it is tried again (timestamptz; 0: any time), and why it last failed.
    pub fn read(&self) -> (bool, i64, Option<String>) {
        let failing = self.failing.load(Ordering::Relaxed) != 0;
        (failing, self.retry_at.load(Ordering::Relaxed), self.error.read())
    }

    /// Shows how it stands; the retry time in Unix microseconds.
    pub fn stand(&self, failing: bool, retry_at: Option<i64>) {
        self.failing.store(failing.into(), Ordering::Relaxed);
        self.retry_at.store(retry_at.filter(|_| failing).map_or(0, crate::pg::time::from_unix_us), Ordering::Relaxed);
    }

    /// Keeps why it failed.
    pub fn note(&self, reason: &str) {
        self.error.write(reason);
    }

    /// Forgets everything; for a slot that is given back.
    pub fn clear(&self) {
        self.stand(false, None);
        self.note("");
    }
}
