//! How a source stands, in shared memory: the worker shows it, the view `source_status` reads it.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use enrich::failure::Failure;

/// Bytes of the last error that are kept.
const ERROR_BYTES: usize = 256;

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
    /// Odd while the error is being written.
    version: AtomicU32,
    error: [AtomicU64; ERROR_BYTES / 8],
}

impl Shown {
    /// The last error, where there was one.
    pub fn error(&self) -> Option<String> {
        for _ in 0..100 {
            let before = self.version.load(Ordering::Acquire);
            let bytes: Vec<u8> = self.error.iter().flat_map(|w| w.load(Ordering::Acquire).to_ne_bytes()).collect();
            if before.is_multiple_of(2) && self.version.load(Ordering::Acquire) == before {
                let len = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
                let text = String::from_utf8_lossy(&bytes[..len]).into_owned();
                return (!text.is_empty()).then_some(text);
            }
        }
        None
    }

    fn set_error(&self, text: &str) {
        let mut bytes = [0; ERROR_BYTES];
        let mut len = text.len().min(ERROR_BYTES - 1);
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        self.version.fetch_add(1, Ordering::AcqRel);
        for (word, bytes) in self.error.iter().zip(bytes.chunks_exact(8)) {
            word.store(u64::from_ne_bytes(bytes.try_into().unwrap_or_default()), Ordering::Release);
        }
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// Forgets everything; for a slot that is given back.
    pub fn clear(&self) {
        for word in [&self.requests, &self.errors].into_iter().chain(&self.error) {
            word.store(0, Ordering::Relaxed);
        }
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
                self.set_error(&failure.reason);
            }
        }
    }

    /// Shows how it stands.
    pub fn stand(&self, state: u32, in_flight: usize, retry_at: Option<i64>) {
        self.state.store(state, Ordering::Relaxed);
        self.in_flight.store(in_flight as u32, Ordering::Relaxed);
        self.retry_at.store(retry_at.map_or(0, crate::time::from_unix_us), Ordering::Relaxed);
    }
}
