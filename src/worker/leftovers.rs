//! Merging what this node had for itself before the inventory was distributed: see [`crate::inventory::leftovers`].

use std::time::{Duration, Instant};

use crate::ingest::absorb;
use crate::inventory::leftovers;
use crate::pg::catalog::Schema;
use crate::pg::{citus, process};
use crate::shared::trouble::Work;
use crate::shared::watched;

/// How often it is looked whether anything is left, and how long after a failure.
const LOOK: Duration = Duration::from_secs(10);

/// When to look next.
#[derive(Default)]
pub struct Leftovers {
    look_at: Option<Instant>,
}

impl Leftovers {
    /// One batch. True: there may be another.
    pub fn turn(&mut self) -> bool {
        if self.look_at.is_some_and(|at| Instant::now() < at) {
            return false;
        }
        // None: somebody else absorbs, and nothing is known of the leftovers.
        let merged = watched::part(Work::Merge, || {
            let Some(schema) = Schema::hold().filter(|_| citus::is_here()) else { return Some(false) };
            if !leftovers::may_be(&schema) {
                return Some(false);
            }
            if !absorb::lock(false) {
                return None;
            }
            process::busy("merging this node's own inventory");
            Some(leftovers::merge(&schema))
        });
        if let Ok(Some(_)) = merged {
            watched::succeeded(Work::Merge);
        }
        if let Err(failure) = &merged
            && watched::is_news(Work::Merge, failure)
        {
            pgrx::log!("asn_inventory: this node's own inventory could not be merged: {}", failure.message);
        }
        let more = merged.ok().flatten().unwrap_or(false);
        self.look_at = (!more).then(|| Instant::now() + LOOK);
        more
    }

    /// How long there is nothing to do.
    pub fn patience(&self) -> Duration {
        self.look_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()))
    }
}
