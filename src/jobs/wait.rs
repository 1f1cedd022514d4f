//! Waiting for a job: inside its own call, and by `wait_for_job`, which holds back no vacuum.
//!
//! A function is called by a statement, and a statement holds a snapshot until it ends: dead rows that are newer stay
//! in every table of the database for as long. Code inside the statement cannot release it. A procedure that is called
//! by itself can: it commits, and waits without a snapshot.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::progress::{progress, running};
use crate::inventory::runs;
use crate::pg::call::Call;
use crate::pg::catalog::Schema;
use crate::pg::errors::{not_ready, raise};
use crate::pg::process;
use crate::pg::tx;
use crate::pg::tx::Settings;
use crate::shared;
use crate::shared::{Job, state};
use crate::sql_function;

/// How long a caller goes on waiting while no worker is there: it may be on its way back.
const WORKER_GONE: Duration = Duration::from_secs(15);
/// How long a function waits before its notice about vacuum.
const LONG: Duration = Duration::from_secs(20);

/// Waits for the end, interruptibly, and says once a second how far it is.
pub fn wait(job: &Job) {
    let id = job.id.load(Ordering::Acquire);
    let started = Instant::now();
    let mut told = false;
    until(
        job,
        || job.state.load(Ordering::Acquire) == state::ENDED,
        || {
            if !told && started.elapsed() > LONG {
                told = true;
                say_that_it_holds_back_vacuum(id);
            }
        },
    );
}

fn say_that_it_holds_back_vacuum(id: i64) {
    pgrx::pg_sys::panic::ErrorReport::new(
        PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
        format!("while this statement waits for job {id}, vacuum cannot remove dead rows in this database"),
        "asn_inventory",
    )
    .set_hint("For long jobs: call it with wait => false, and CALL wait_for_job() with the number that it returns.")
    .report(PgLogLevel::NOTICE);
}

/// Waits until `ended`, interruptibly; says once a second how far the job is, and calls `every_second`.
fn until(job: &Job, ended: impl Fn() -> bool, mut every_second: impl FnMut()) {
    let mut said = Instant::now();
    let mut gone: Option<Instant> = None;
    while !ended() {
        process::pause(Duration::from_millis(100));
        pgrx::check_for_interrupts!();
        if said.elapsed() >= Duration::from_secs(1) {
            said = Instant::now();
            // A client that is gone shows when it is written to: then the next look at interrupts ends this session.
            pgrx::info!("{}", progress(job));
            every_second();
        }
        if shared::my_worker().is_some() {
            gone = None;
        } else if gone.get_or_insert_with(Instant::now).elapsed() > WORKER_GONE {
            shared::require_worker();
        }
    }
}

sql_function!(
    /// `wait_for_job(job_id bigint)`, a procedure: returns when the job has ended, and raises where it has failed.
    wait_for_job,
    pg_finfo_wait_for_job,
    |call: Call| {
        let Some(id) = call.get::<i64>(0) else { return call.null() };
        let schema = Schema::of(call);
        let is_it = |job: &&Job| job.id.load(Ordering::Acquire) == id;
        if let Some(job) = running().find(is_it) {
            if !tx::commit_procedure(call) {
                not_ready(
                    "wait_for_job() cannot run inside a transaction block or function",
                    "It would hold back vacuum in the whole database for as long as the job runs.",
                    "Call it by itself: CALL wait_for_job(…). Elsewhere look at enrichment_progress.",
                );
            }
            // The slot may be another job's before this one looks again.
            until(job, || job.state.load(Ordering::Acquire) == state::ENDED || !running().any(|job| is_it(&job)), || {});
        }
        report(&schema, id);
        call.null()
    }
);

/// Raises where the job has failed, or where there never was one.
fn report(schema: &Schema, id: i64) {
    // A procedure with a SET of its own could not end its transaction: so the path is pinned here.
    let _pinned = Settings::with_pinned_path();
    let Some((outcome, detail)) = runs::outcome(schema, id) else {
        raise(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!("job {id} does not exist"),
            "",
            "enrichment_progress shows those that run, enrichment_run those that ended.",
        );
    };
    if outcome.as_deref() == Some("failed") {
        raise(
            PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION,
            format!("job {id} failed"),
            &detail.unwrap_or_default(),
            "",
        );
    }
}
