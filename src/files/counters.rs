//! Counting look-ups. A session keeps its own counts and reports them from time to time, and at the end of every
//! transaction: so the server's counters are exact after each transaction, and a look-up costs only one more addition.
//! Some look-ups are timed.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::Instant;

use pgrx::pg_sys;

use crate::pg::tx;
use crate::shared;
use crate::shared::{Database, latency};

/// From one look-up that is timed to the next; so many are held back at most.
const EVERY: u32 = 256;

/// Counted by this process and not handed in.
struct Local {
    /// Look-ups until one is timed.
    left: Cell<u32>,
    /// `left` at the last report: its decrease is the number of look-ups since then.
    handed_in: Cell<u32>,
    hits: Cell<u32>,
    misses: Cell<u32>,
    registered: Cell<bool>,
}

thread_local! {
    static LOCAL: Local = const {
        Local {
            left: Cell::new(0),
            handed_in: Cell::new(0),
            hits: Cell::new(0),
            misses: Cell::new(0),
            registered: Cell::new(false),
        }
    };
}

/// Runs a look-up of one address in MaxMind's files, and counts it.
#[inline(always)]
pub fn lookup<R>(f: impl FnOnce() -> R) -> R {
    let began = LOCAL.with(|local| match local.left.get().checked_sub(1) {
        Some(left) => {
            local.left.set(left);
            None
        }
        None => next_series(local),
    });
    let result = f();
    if let Some(began) = began {
        note(began);
    }
    result
}

/// A series is through: hands it in. When the present look-up began, if it is timed: not the first one of a process,
/// which opens the files.
#[cold]
fn next_series(local: &Local) -> Option<Instant> {
    let first = !local.registered.get();
    register(local);
    hand_in(local);
    local.handed_in.set(EVERY);
    local.left.set(EVERY - 1);
    (!first).then(Instant::now)
}

#[cold]
fn note(began: Instant) {
    if let Some(slot) = slot() {
        slot.latency[latency::MAXMIND].record(began.elapsed());
    }
}

/// Counts an `enrich_ip` that was answered from the inventory, or was not.
pub fn cache(hit: bool) {
    LOCAL.with(|local| {
        let counter = if hit { &local.hits } else { &local.misses };
        counter.set(counter.get().wrapping_add(1));
        register(local);
    });
}

fn slot() -> Option<&'static Database> {
    shared::here()
}

fn register(local: &Local) {
    if !local.registered.replace(true) {
        tx::at_events(at_transaction_end);
    }
}

fn hand_in(local: &Local) {
    let left = local.left.get();
    let lookups = local.handed_in.replace(left) - left;
    let (hits, misses) = (local.hits.take(), local.misses.take());
    if lookups | hits | misses == 0 {
        return;
    }
    let Some(slot) = slot() else { return };
    for (counter, count) in [(&slot.lookups, lookups), (&slot.cache_hits, hits), (&slot.cache_misses, misses)] {
        if count > 0 {
            counter.fetch_add(count.into(), Ordering::Relaxed);
        }
    }
}

fn at_transaction_end(event: pg_sys::XactEvent::Type) {
    if tx::ends(event) {
        LOCAL.with(hand_in);
    }
}
