//! The progress of jobs, for waiting sessions and views: progress lines, `enrichment_jobs` (for the view
//! `enrichment_progress`), and `cancel_enrichment_job`.

use std::sync::atomic::Ordering;

use pgrx::IntoDatum;
use pgrx::pg_sys::{self, Datum};

use crate::pg::call;
use crate::pg::call::{Call, Rows};
use crate::pg::time;
use crate::shared;
use crate::shared::{Job, kind, state};
use crate::sql_function;

sql_function!(
    /// `cancel_enrichment_job(job_id bigint) → bool`: whether there was such a job.
    cancel_enrichment_job,
    pg_finfo_cancel_enrichment_job,
    |call: Call| {
        let id = call.get::<i64>(0);
        let job = running().find(|job| Some(job.id.load(Ordering::Acquire)) == id);
        if let Some(job) = job {
            job.cancel.store(true, Ordering::Release);
            if let Some(worker) = shared::my_worker() {
                shared::wake(worker);
            }
        }
        call.give(job.is_some().into_datum())
    }
);

sql_function!(
    /// `enrichment_jobs() → setof (…)`: the rows of `enrichment_progress`.
    enrichment_jobs,
    pg_finfo_enrichment_jobs,
    |call: Call| {
        let mut rows = Rows::begin(call);
        for job in running() {
            let done = job.counts.read();
            let started = job.started_at.load(Ordering::Relaxed);
            let word = match job.state.load(Ordering::Acquire) {
                state::SUBMITTED => "submitted",
                state::RUNNING if job.cancel.load(Ordering::Relaxed) => "cancelling",
                state::RUNNING => "running",
                _ => "ended",
            };
            let helpers = job.helpers.iter().filter(|pid| pid.load(Ordering::Relaxed) != 0).count() as i32;
            rows.row(|| vec![
                job.id.load(Ordering::Relaxed).into_datum(),
                Some(call::text(kind::name(job.kind.load(Ordering::Relaxed)))),
                Some(call::text(word)),
                pg_sys::Oid::from(job.role.load(Ordering::Relaxed)).into_datum(),
                Some(Datum::from(started)),
                helpers.into_datum(),
                (job.total.load(Ordering::Relaxed) as i64).into_datum(),
                (done.processed as i64).into_datum(),
                (done.enriched as i64).into_datum(),
                (done.errors as i64).into_datum(),
                (time::now() - started).into_datum(),
            ]);
        }
        call.null()
    }
);

/// The jobs of this database.
pub fn running() -> impl Iterator<Item = &'static Job> {
    let database = shared::my_database().to_u32();
    let jobs = shared::shared().map(|shared| &shared.jobs[..]).unwrap_or_default();
    jobs.iter().filter(move |job| {
        job.database.load(Ordering::Acquire) == database && job.state.load(Ordering::Acquire) >= state::SUBMITTED
    })
}

/// `backfill  45%  450000/1000000  [00:12<00:15, 36,204 IPs/s]`
pub fn progress(job: &Job) -> String {
    let (done, total) = (job.counts.read().processed, job.total.load(Ordering::Relaxed));
    let seconds = (time::now() - job.started_at.load(Ordering::Relaxed)) as f64 / 1e6;
    let rate = if seconds > 0.0 { done as f64 / seconds } else { 0.0 };
    let percent = (done * 100).checked_div(total).unwrap_or(0).min(100);
    let left = if rate > 0.0 { clock(total.saturating_sub(done) as f64 / rate) } else { "--:--".to_owned() };
    let kind = kind::name(job.kind.load(Ordering::Relaxed));
    format!("{kind} {percent:>3}%  {done}/{total}  [{}<{left}, {} IPs/s]", clock(seconds), thousands(rate as u64))
}

fn clock(seconds: f64) -> String {
    let seconds = seconds as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes:02}:{seconds:02}") }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
