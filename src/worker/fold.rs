//! Merging rows of IPv4-mapped addresses into those of IPv4: see [`crate::inventory::fold`].

use std::time::{Duration, Instant};

use crate::inventory::fold;
use crate::pg::catalog::Schema;
use crate::pg::process;
use crate::settings;
use crate::shared::trouble::Work;
use crate::shared::watched;

/// How often it is looked whether there are such rows, and how long after a failure.
const LOOK: Duration = Duration::from_secs(10);

/// When to look next.
#[derive(Default)]
pub struct Fold {
    look_at: Option<Instant>,
}

impl Fold {
    /// One batch. True: there may be another.
    pub fn turn(&mut self) -> bool {
        if !settings::fold_ipv4_mapped() {
            // What failed before is not wanted any more.
            watched::succeeded(Work::Fold);
            return false;
        }
        if self.look_at.is_some_and(|at| Instant::now() < at) {
            return false;
        }
        let merged = watched::run(Work::Fold, || {
            Schema::hold().map(|schema| {
                process::busy("merging IPv4-mapped addresses");
                fold::merge(&schema)
            })
        });
        if let Err(failure) = &merged
            && watched::is_news(Work::Fold, failure)
        {
            pgrx::log!("asn_inventory: rows of IPv4-mapped addresses could not be merged: {}", failure.message);
        }
        let more = merged.ok().flatten().is_some_and(fold::may_be_more);
        self.look_at = (!more).then(|| Instant::now() + LOOK);
        more
    }

    /// How long there is nothing to do.
    pub fn patience(&self) -> Duration {
        self.look_at.map_or(LOOK, |at| at.saturating_duration_since(Instant::now()))
    }
}
