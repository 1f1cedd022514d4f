//! What closes GreyNoise for its quota, and opens it again: our own ledger, what a 429 says, and a reload.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use enrich::quota::Ledger;
use pgrx::pg_sys;

use super::GreyNoise;
use crate::inventory::greynoise as store;
use crate::network::{in_schema, part_in_schema};
use crate::pg::time;
use crate::settings::Network as Settings;
use crate::shared::trouble::Work;

/// So many rows that wait for the quota are kept in mind.
const WAITING: usize = 10_000;
/// How often the log says at most that the quota is spent.
const SAID: Duration = Duration::from_secs(600);

/// How the source is closed, beside what the ledger says.
#[derive(Default)]
pub(super) struct Closure {
    /// How often in a row it said that its quota is spent, and not for how long.
    closures: u32,
    /// When what it asked for is over, by a clock that does not jump.
    open_at: Option<Instant>,
    /// When that was last written into the log.
    said_at: Option<Instant>,
    /// Somebody wants it to be asked again now.
    reopen: bool,
    /// Rows that were told to wait for the quota. To look for them in the table would mean to read all that is due.
    waiting: HashSet<IpAddr>,
}

impl Closure {
    /// It is open.
    pub fn answered(&mut self) {
        self.closures = 0;
    }

    /// Rows that were told to wait.
    pub fn note_waiting(&mut self, ips: &[IpAddr]) {
        self.waiting.extend(ips.iter().take(WAITING.saturating_sub(self.waiting.len())));
    }
}

impl GreyNoise {
    /// Settings were read again: a source that is closed for its quota is asked again now, once, and what waits for it
    /// is due.
    pub fn reopen(&mut self) {
        self.closure.reopen = true;
        self.closure.closures = 0;
    }

    fn reopen_now(&mut self) {
        let Some(mut ledger) = self.ledger() else { return };
        let was_closed = ledger.reopen();
        let waiting: Vec<IpAddr> = self.closure.waiting.iter().copied().collect();
        let done = in_schema(Work::Ledger, |schema| {
            // A reload that takes this worker away should not cost a question.
            if was_closed && is_served() {
                store::keep_ledger(schema, &ledger);
                store::reopen(schema, &waiting);
            }
        });
        match done {
            Ok(()) => {
                // As it was written down, or left alone.
                self.ledger = None;
                self.closure.reopen = false;
                if was_closed {
                    self.closure.waiting.clear();
                }
                self.proven &= !was_closed;
                self.more = true;
            }
            // Somebody holds a row: the next turn tries again.
            Err(failure) if failure.is_lock() => {}
            Err(failure) => {
                pgrx::log!(
                    "asn_inventory: rows that wait for GreyNoise's quota could not be made due: {}",
                    failure.message
                );
                self.closure.reopen = false;
            }
        }
    }

    /// Opens it again where somebody wants it, or where what it asked for is over by a clock that does not jump: the wall
    /// clock may have been set back since.
    pub(super) fn reopen_if_due(&mut self) {
        if self.closure.open_at.is_some_and(|at| Instant::now() >= at) {
            self.closure.open_at = None;
            self.closure.reopen = true;
        }
        if self.closure.reopen {
            self.reopen_now();
        }
    }

    /// It says that its quota is spent.
    pub(super) fn close(&mut self, retry_after: Option<Duration>, settings: &Settings, now: i64) {
        // One question finds out whether it is open again.
        self.proven = false;
        if let Some(mut ledger) = self.ledger() {
            let (window, before) = (settings.greynoise_window, ledger.closed_until);
            ledger.close(retry_after, self.closure.closures, now, window);
            if retry_after.is_none() && ledger.closed_until != before {
                self.closure.closures = self.closure.closures.saturating_add(1);
            }
            let closed_for = ledger.closed_until.and_then(|until| u64::try_from(until.saturating_sub(now)).ok());
            self.closure.open_at = closed_for.and_then(|us| Instant::now().checked_add(Duration::from_micros(us)));
            self.ledger = Some(ledger);
            // Not written down, it is learned again.
            let _ = in_schema(Work::Ledger, |schema| store::keep_ledger(schema, &ledger));
            self.say_closed(&ledger, settings, now);
        }
    }

    pub(super) fn ledger(&mut self) -> Option<Ledger> {
        if self.ledger.is_none() {
            self.ledger = part_in_schema(Work::Ledger, |schema| Some(store::ledger(schema))).ok().flatten();
        }
        self.ledger
    }

    pub(super) fn left(&mut self, settings: &Settings, now: i64) -> u64 {
        self.ledger().map_or(0, |ledger| ledger.left(settings.greynoise_quota, now, settings.greynoise_window))
    }

    /// A limit of a minute may close it every minute: that is worth a line now and then.
    fn say_closed(&mut self, ledger: &Ledger, settings: &Settings, now: i64) {
        if self.closure.said_at.is_some_and(|at| at.elapsed() < SAID) {
            return;
        }
        self.closure.said_at = Some(Instant::now());
        pgrx::log!(
            "asn_inventory: GreyNoise says that its quota is spent; asking again after {}, or at a reload of the settings",
            time::text(ledger.open_at(settings.greynoise_quota, now, settings.greynoise_window))
        );
    }
}

/// Whether the launcher keeps a worker for this database, as things are set. In a transaction.
fn is_served() -> bool {
    let named = crate::settings::snapshot().databases;
    // SAFETY: looks a name up in the catalog; it is copied.
    named.is_empty()
        || unsafe {
            let name = pg_sys::get_database_name(pg_sys::MyDatabaseId);
            !name.is_null() && named.iter().any(|of| of.as_bytes() == std::ffi::CStr::from_ptr(name).to_bytes())
        }
}
