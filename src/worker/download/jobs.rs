//! The jobs of updates, in their slots of shared memory: a session submits one, and a turn of the schedules is one.

use std::sync::atomic::Ordering;

use pgrx::pg_sys;

use super::installing::Ending;
use crate::jobs::run::{finish, release};
use crate::shared;
use crate::shared::{Job, kind, outcome, state};

/// Those of a database.
pub struct Jobs {
    database: u32,
}

impl Jobs {
    /// For the worker of a database.
    pub fn of(database: pg_sys::Oid) -> Jobs {
        Jobs { database: database.to_u32() }
    }

    /// One that waits for its update.
    pub fn submitted(&self) -> Option<&'static Job> {
        self.that_are(state::SUBMITTED).next()
    }

    /// Ends those that were cancelled before they began.
    pub fn end_cancelled(&self) {
        let is_cancelled = |job: &&Job| job.cancel.load(Ordering::Acquire);
        self.that_are(state::SUBMITTED).filter(is_cancelled).for_each(|job| finish(job, outcome::CANCELLED, None));
    }

    /// Whether the one that runs is to end: at once, since a server may send for half an hour.
    pub fn are_cancelled(&self) -> bool {
        self.that_are(state::RUNNING).any(|job| job.cancel.load(Ordering::Acquire))
    }

    /// Ends those of a worker that ended in the middle: their files are in place or removed.
    pub fn end_orphaned(&self) {
        for job in self.that_are(state::RUNNING) {
            end(job, (outcome::FAILED, Some("the worker ended in the middle of it".to_owned())));
        }
    }

    /// Ends those that run.
    pub fn end_running(&self, ending: &Ending) {
        self.that_are(state::RUNNING).for_each(|job| end(job, ending.clone()));
    }

    /// Turns that have nothing to say leave no trace.
    pub fn release_running(&self) {
        self.that_are(state::RUNNING).for_each(release);
    }

    fn that_are(&self, wanted: u32) -> impl Iterator<Item = &'static Job> + use<> {
        let database = self.database;
        let jobs = shared::shared().map(|shared| &shared.jobs[..]).unwrap_or_default();
        jobs.iter().filter(move |job| {
            // The state first: whoever fills in a slot for another kind of job sets it last.
            job.state.load(Ordering::Acquire) == wanted
                && job.database.load(Ordering::Acquire) == database
                && job.kind.load(Ordering::Relaxed) == kind::UPDATE
        })
    }
}

/// Ends one. Where it was cancelled meanwhile it ends as that, whatever came of it: that is in its detail.
pub fn end(job: &Job, (how, detail): Ending) {
    let how = if job.cancel.load(Ordering::Acquire) { outcome::CANCELLED } else { how };
    finish(job, how, detail);
}
