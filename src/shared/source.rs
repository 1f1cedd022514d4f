//! How a source stands, in shared memory: the worker shows it, the view `source_status` reads it.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use enrich::campaign::standing::{Standing, WayStanding};
use enrich::failure::Failure;
use enrich::quota::Ledger;
use enrich::source::Source;

use super::words::Words;

/// States of a source.
pub mod state {
    use enrich::campaign::standing::State;

    /// No worker has shown anything yet.
    pub const UNKNOWN: u32 = 0;
    /// Asked when anything is due.
    pub const OK: u32 = State::Ok as u32;
    /// Switched off.
    pub const OFF: u32 = State::Off as u32;
    /// Waits for a key.
    pub const NO_KEY: u32 = State::NoKey as u32;
    /// Out of quota.
    pub const QUOTA: u32 = State::Quota as u32;
    /// The circuit breaker is open, or half open.
    pub const FAILING: u32 = State::Failing as u32;
    /// The key was refused.
    pub const REFUSED: u32 = State::Refused as u32;
    /// Another node of the cluster asks it.
    pub const ELSEWHERE: u32 = State::Refused as u32 + 1;

    /// The word for people.
    pub fn name(state: u32) -> &'static str {
        match state {
            OK => "ok",
            OFF => "off",
            NO_KEY => "no key",
            QUOTA => "quota",
            FAILING => "failing",
            REFUSED => "refused",
            ELSEWHERE => "elsewhere",
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
    /// What other databases of the server have spent of its quota in this window.
    pub elsewhere: AtomicU64,
    /// When the window of its ledger began, as the worker has it (timestamptz); 0: it has not read one.
    window_start: AtomicI64,
    /// Spent in that window.
    used: AtomicU64,
    /// Closed by the source until then (timestamptz); 0: it is not.
    closed_until: AtomicI64,
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
        self.spent(None, 0);
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

    /// Shows what the worker has spent of its quota, and what other databases of the server have.
    pub fn spent(&self, ledger: Option<Ledger>, elsewhere: u64) {
        let moment = |us: Option<i64>| us.map_or(0, crate::pg::time::from_unix_us);
        self.elsewhere.store(elsewhere, Ordering::Relaxed);
        self.used.store(ledger.map_or(0, |ledger| ledger.used), Ordering::Relaxed);
        self.closed_until.store(moment(ledger.and_then(|ledger| ledger.closed_until)), Ordering::Relaxed);
        self.window_start.store(moment(ledger.map(|ledger| ledger.window_start)), Ordering::Relaxed);
    }

    /// The worker's ledger: when its window began, what is spent in it, and until when it is closed (timestamptz; 0: it is not).
    pub fn ledger(&self) -> Option<(i64, u64, i64)> {
        let window_start = self.window_start.load(Ordering::Relaxed);
        let rest = (self.used.load(Ordering::Relaxed), self.closed_until.load(Ordering::Relaxed));
        (window_start != 0).then_some((window_start, rest.0, rest.1))
    }

    /// Shows how it stands.
    pub fn stand(&self, standing: &Standing) {
        self.state.store(standing.state as u32, Ordering::Relaxed);
        self.in_flight.store(standing.in_flight as u32, Ordering::Relaxed);
        self.retry_at.store(standing.retry_at.map_or(0, crate::pg::time::from_unix_us), Ordering::Relaxed);
    }
}

/// Where one source is shown. MaxMind, which needs no network, is not.
pub fn of(shown: &[Shown], source: Source) -> Option<&Shown> {
    shown.get(source.index().checked_sub(Source::NETWORK[0].index())?)
}

/// The ways to Team Cymru.
pub mod way {
    use enrich::campaign::standing::Way as CymruWay;

    /// Their names, in the order of their numbers.
    pub const NAMES: [&str; 2] = [CymruWay::Dns.as_str(), CymruWay::Bulk.as_str()];
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

    /// Shows how it stands.
    pub fn stand(&self, standing: &WayStanding) {
        let retry_at = standing.retry_at.filter(|_| standing.failing);
        self.failing.store(standing.failing.into(), Ordering::Relaxed);
        self.retry_at.store(retry_at.map_or(0, crate::pg::time::from_unix_us), Ordering::Relaxed);
    }

    /// Keeps why it failed.
    pub fn note(&self, reason: &str) {
        self.error.write(reason);
    }

    /// Forgets everything; for a slot that is given back.
    pub fn clear(&self) {
        self.stand(&WayStanding { failing: false, retry_at: None });
        self.note("");
    }
}
