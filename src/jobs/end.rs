//! The end of a job: its row in `enrichment_run`, its list, its slot.

use std::sync::atomic::Ordering;

use enrich::source::{Source, SourceSet};
use pgrx::pg_sys;

use super::list;
use crate::inventory::runs;
use crate::inventory::runs::Ended;
use crate::pg::catalog::Schema;
use crate::pg::process::running;
use crate::pg::{time, tx};
use crate::settings;
use crate::shared;
use crate::shared::trouble::Work;
use crate::shared::watched;
use crate::shared::{Job, kind, outcome, sources, state};

/// Records the job, and wakes the waiting session.
pub fn finish(job: &Job, how: u32, detail: Option<String>) {
    job.outcome.store(how, Ordering::Relaxed);
    job.ended_at.store(time::now(), Ordering::Relaxed);
    // What was given up is no work that fails, unless another job is at it.
    if is_by_user(job) && (how == outcome::DONE || how == outcome::CANCELLED && is_last(job)) {
        watched::succeeded(Work::Job);
    }
    let recorded = tx::run(|| record(job, how, detail.as_deref()));
    if recorded.is_ok() {
        watched::succeeded(Work::Record);
    }
    if let Err(failure) = recorded
        && !dropping()
    {
        watched::failed(Work::Record, &failure);
        pgrx::log!(
            "asn_inventory: could not record the end of job {}: {}",
            job.id.load(Ordering::Relaxed),
            failure.message
        );
    }
    if let (outcome::FAILED, Some(detail)) = (how, &detail) {
        pgrx::log!("asn_inventory: job {} failed: {detail}", job.id.load(Ordering::Relaxed));
    }
    list::remove(job.id.load(Ordering::Relaxed));
    job.state.store(state::ENDED, Ordering::Release);
    if waited_for(job) {
        shared::wake(job.waiter.load(Ordering::Acquire));
    } else {
        release_ended(job);
    }
}

/// A backfill or refresh: updates of files and the walk are other works.
fn is_by_user(job: &Job) -> bool {
    matches!(job.kind.load(Ordering::Relaxed), kind::BACKFILL | kind::REFRESH)
}

/// Whether no other backfill or refresh of the database is under way.
fn is_last(job: &Job) -> bool {
    let database = job.database.load(Ordering::Acquire);
    let jobs = shared::shared().map(|shared| &shared.jobs[..]).unwrap_or_default();
    !jobs.iter().any(|other| {
        !std::ptr::eq(other, job)
            && matches!(other.state.load(Ordering::Acquire), state::SUBMITTED | state::RUNNING)
            && other.database.load(Ordering::Acquire) == database
            && is_by_user(other)
    })
}

/// Whether the session that waits for a job is still there.
pub(super) fn waited_for(job: &Job) -> bool {
    running(&job.waiter).is_some()
}

/// Gives the slot back, unless its caller has: then another one may be filling it.
pub(super) fn release_ended(job: &Job) {
    if job.state.compare_exchange(state::ENDED, state::FILLING, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
        release(job);
    }
}

/// Gives the slot back.
pub fn release(job: &Job) {
    job.database.store(0, Ordering::Relaxed);
    job.state.store(state::FREE, Ordering::Release);
}

/// Whether an update asks only sources with schedules of their own: how it ends says nothing of MaxMind's.
fn asks_own_schedules(job: &Job) -> bool {
    job.kind.load(Ordering::Relaxed) == kind::UPDATE && job.sources.load(Ordering::Relaxed) & sources::OWN != 0
}

/// The sources of a job by name.
fn names(job: &Job) -> Vec<&'static str> {
    SourceSet::from_bits(job.sources.load(Ordering::Relaxed)).iter().map(Source::as_str).collect()
}

fn record(job: &Job, how: u32, detail: Option<&str>) {
    let Some(schema) = Schema::hold() else { return };
    let name = match how {
        outcome::DONE => "done",
        outcome::CANCELLED => "cancelled",
        _ => "failed",
    };
    let parameters = serde_json::json!({
        "batch_size": job.batch_size.load(Ordering::Relaxed),
        "commit_interval": job.commit_interval.load(Ordering::Relaxed),
        "max_ips": Some(job.max_ips.load(Ordering::Relaxed)).filter(|n| *n > 0),
        "workers": job.workers.load(Ordering::Relaxed),
        "sources": if asks_own_schedules(job) { vec!["own schedules"] } else { names(job) },
    });
    let oldest = settings::run_retention()
        .map(|kept| time::now().saturating_sub(i64::try_from(kept.as_micros()).unwrap_or(i64::MAX)));
    let ended = Ended {
        id: job.id.load(Ordering::Relaxed),
        kind: kind::name(job.kind.load(Ordering::Relaxed)),
        parameters: &parameters,
        role: pg_sys::Oid::from(job.role.load(Ordering::Relaxed)),
        started_at: job.started_at.load(Ordering::Relaxed),
        ended_at: job.ended_at.load(Ordering::Relaxed),
        outcome: name,
        detail,
        done: job.counts.read(),
    };
    runs::record(&schema, &ended, oldest);
}

/// Whether a session is dropping the extension.
pub(super) fn dropping() -> bool {
    tx::run(Schema::is_being_dropped).unwrap_or(false)
}
