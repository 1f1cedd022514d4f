//! The slot of one database: data of the launcher and the backends.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use enrich::heartbeat::{Heartbeat, Standing};

use super::{checks, latency, restorers, source, trouble, unobserved, words};
use crate::pg::{process, time};

/// Databases that can be served at a time.
pub const DATABASES: usize = 64;

/// The launcher's and the backends' data of one database. A slot is taken by setting `oid` from 0, and only the
/// launcher gives it back.
#[repr(C)]
pub struct Database {
    /// 0: free.
    pub oid: AtomicU32,
    /// Process id of its worker; 0: none runs. Set by the worker itself, cleared by the launcher.
    pub worker: AtomicI32,
    /// When the worker last showed that it works (timestamptz): in each turn, and with each step of its work.
    pub beat_at: AtomicI64,
    /// The worker is at work and does not just wait: a step of it may take long.
    pub works: AtomicBool,
    /// Process id of the one that installs the primary's mmdb files on a standby; 0: none does. Set and cleared by that process.
    pub receiver: AtomicI32,
    /// Process id of the one that counts a large inventory; 0: none does. Set and cleared by that process.
    pub counter: AtomicI32,
    /// The last process that counted came to its end.
    pub counted: AtomicBool,
    /// How long the last count of the inventory took, without days and hours (ms).
    pub count_took: AtomicU32,
    /// The extension may be there: a worker should look.
    pub wanted: AtomicBool,
    /// The process started last has seen whether the extension is there.
    pub looked: AtomicBool,
    /// Its tables of mmdb files cannot be used: another database has the copy for other servers.
    pub shares_no_files: AtomicBool,
    /// The database is about to be dropped or renamed: no worker until this time (timestamptz).
    pub banned_until: AtomicI64,
    /// Observations were committed since the worker last began to absorb.
    pub pending: AtomicBool,
    /// Since when observations wait that the worker has not begun to absorb (timestamptz); 0: none do.
    pub waiting_since: AtomicI64,
    /// When the worker last finished absorbing (timestamptz); 0: never.
    pub absorbed_at: AtomicI64,
    /// Since when another session has held a lock that absorbing needs (timestamptz); 0: none. Written by the worker.
    pub held_since: AtomicI64,
    /// When the inventory was last written by a session of which PostgreSQL's statistics count no rows (timestamptz); 0:
    /// it was not.
    pub uncounted_at: AtomicI64,
    /// The sessions that restore a dump of the extension's tables: the worker waits for them.
    pub restorers: restorers::Restorers,
    /// Which files the worker answers from: [`enrich::maxmind::Databases::answering`]. Written by the worker.
    pub answering: words::Words,
    /// Queued addresses absorbed since the server started.
    pub absorbed: AtomicU64,
    /// The inventory has the answers of the files that were installed until then (timestamptz), independent of the
    /// times of its rows: it was walked. Written by the worker.
    pub walked: AtomicI64,
    /// Statements whose rows were not observed, because the queue could not be had in time.
    pub unobserved: unobserved::Unobserved,
    /// How Team Cymru and GreyNoise stand.
    pub sources: [source::Shown; 2],
    /// How the ways to Team Cymru stand, by their numbers.
    pub ways: [source::Way; 2],
    /// Whether the references of keys resolve.
    pub checks: checks::Checks,
    /// The failures of its processes.
    pub troubles: trouble::Troubles,
    /// Addresses looked up in MaxMind's files since the server started.
    pub lookups: AtomicU64,
    /// Calls of `enrich_ip` that were answered from the inventory, and those that were not.
    pub cache_hits: AtomicU64,
    /// See above.
    pub cache_misses: AtomicU64,
    /// How long the sources take.
    pub latency: [latency::Latency; latency::SOURCES.len()],
}

impl Database {
    /// The process id of its worker, if that runs.
    pub fn living_worker(&self) -> Option<c_int> {
        process::running(&self.worker)
    }

    /// Since when its worker, which runs, has done nothing (timestamptz): it is stopped, or waits for a file system that does
    /// not answer.
    pub fn worker_hangs_since(&self) -> Option<i64> {
        let runs = self.living_worker().is_some();
        let shown = self.beat_at.load(Ordering::Relaxed);
        let silent = Duration::from_micros(u64::try_from(time::now() - shown).unwrap_or(0));
        // A step of work may take as long as a piece of an import.
        let beat = Heartbeat { runs, imports: self.works.load(Ordering::Relaxed), silent };
        (runs && beat.standing() == Standing::Hangs).then_some(shown)
    }

    /// The process id of its receiver, if that runs.
    pub fn living_receiver(&self) -> Option<c_int> {
        process::running(&self.receiver)
    }

    /// The process id of its counter, if that runs.
    pub fn living_counter(&self) -> Option<c_int> {
        process::running(&self.counter)
    }

    /// Whether a worker must keep out of it now.
    pub fn is_banned(&self) -> bool {
        self.banned_until.load(Ordering::Acquire) > crate::pg::time::now()
    }

    /// Observations wait from now on, unless some do already.
    pub fn note_waiting(&self) {
        if self.waiting_since.load(Ordering::Relaxed) == 0 {
            let now = crate::pg::time::now();
            let _ = self.waiting_since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Rows that waited since then still wait.
    pub fn still_waiting(&self, since: i64) {
        if since != 0 {
            let earlier = |at: i64| (at == 0 || at > since).then_some(since);
            let _ = self.waiting_since.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earlier);
        }
    }

    /// Whether a worker should look: somebody said so, or queued something while the last worker was about to leave.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire) || self.pending.load(Ordering::Acquire)
    }

    /// Gives the slot back. Only the launcher does. True: somebody wanted a worker at that moment, and has to be heard.
    pub fn release(&self) -> bool {
        let asked = self.wanted.swap(false, Ordering::AcqRel) | self.pending.swap(false, Ordering::AcqRel);
        self.worker.store(0, Ordering::Relaxed);
        self.beat_at.store(0, Ordering::Relaxed);
        self.works.store(false, Ordering::Relaxed);
        self.receiver.store(0, Ordering::Relaxed);
        self.counter.store(0, Ordering::Relaxed);
        self.looked.store(false, Ordering::Relaxed);
        self.shares_no_files.store(false, Ordering::Relaxed);
        self.banned_until.store(0, Ordering::Relaxed);
        self.absorbed_at.store(0, Ordering::Relaxed);
        self.walked.store(0, Ordering::Relaxed);
        self.held_since.store(0, Ordering::Relaxed);
        self.uncounted_at.store(0, Ordering::Relaxed);
        self.restorers.clear();
        self.answering.write("");
        self.absorbed.store(0, Ordering::Relaxed);
        self.unobserved.clear();
        self.sources.iter().for_each(|shown| shown.clear());
        self.ways.iter().for_each(|way| way.clear());
        self.checks.clear();
        self.troubles.clear();
        self.waiting_since.store(0, Ordering::Relaxed);
        for counter in [&self.lookups, &self.cache_hits, &self.cache_misses] {
            counter.store(0, Ordering::Relaxed);
        }
        self.latency.iter().for_each(|latency| latency.clear());
        self.oid.store(0, Ordering::SeqCst);
        // One who found the slot before that may have written into it since. Another database that takes it at once is
        // looked at once too often.
        asked || self.is_wanted()
    }
}
