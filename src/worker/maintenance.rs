//! What the worker does for order's sake: counts the inventory, and the addresses of every AS.
//!
//! The counts are made anew from the inventory instead of being carried along: an absorb would have to write a row an
//! AS each second, and no crash, no deletion by hand and no job that runs twice can make them wrong. Counting reads the
//! whole table, so the longer it takes, the less often it is done.

use std::time::{Duration, Instant};

use crate::catalog::Schema;
use crate::store::asn;
use crate::tx;

/// Shortest time between two counts.
const SHORTEST: Duration = Duration::from_secs(2);
/// A count takes at most this part of the time.
const PART: u32 = 50;

/// When to count next.
#[derive(Default)]
pub struct Maintenance {
    changed: bool,
    /// Whether it was seen to that there is a count at all.
    begun: bool,
    not_before: Option<Instant>,
}

impl Maintenance {
    /// The inventory was written.
    pub fn note(&mut self) {
        self.changed = true;
    }

    /// Counts, if anything changed and enough time has passed.
    pub fn turn(&mut self) {
        if !self.begun {
            self.begun = true;
            self.changed |= tx::run(|| Schema::hold().is_some_and(|schema| asn::is_uncounted(&schema))).unwrap_or(true);
        }
        if !self.changed || self.not_before.is_some_and(|at| Instant::now() < at) {
            return;
        }
        super::process::busy("counting the inventory");
        let began = Instant::now();
        let result = tx::run(|| Schema::hold().map(|schema| asn::recount(&schema)));
        self.changed = result.is_err();
        if let Err(failure) = result
            && !failure.is_lock()
        {
            pgrx::log!("asn_inventory: the inventory could not be counted: {}", failure.message);
        }
        self.not_before = Some(Instant::now() + SHORTEST.max(began.elapsed() * PART));
    }

    /// How long there is nothing to do.
    pub fn patience(&self) -> Duration {
        match self.not_before {
            Some(at) if self.changed => at.saturating_duration_since(Instant::now()),
            _ => Duration::MAX,
        }
    }
}
