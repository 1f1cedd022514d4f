//! Slots of shared memory in which jobs stand: found, filled in, and given back however their caller ends.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use super::list;
use super::request::Request;
use crate::pg::catalog::has_database;
use crate::pg::{process, session, time};
use crate::shared;
use crate::shared::{Job, outcome, state};

/// A free slot, if this database does not hold its share of them. Counted again once the slot is taken: of two who take
/// the last one at once, both may be refused, and neither is let through. In a transaction.
pub fn claim() -> Option<&'static Job> {
    let database = shared::my_database().to_u32();
    let jobs = &shared::shared()?.jobs;
    jobs.iter().for_each(free_of_dropped);
    let held = || {
        let mine = |job: &&Job| job.database.load(Ordering::Acquire) == database;
        jobs.iter().filter(mine).filter(|job| job.state.load(Ordering::Acquire) != state::FREE).count()
    };
    if held() >= shared::share(shared::JOBS) {
        return None;
    }
    let job = jobs.iter().find(|job| {
        job.state.compare_exchange(state::FREE, state::FILLING, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    })?;
    job.database.store(database, Ordering::Release);
    if held() > shared::share(shared::JOBS) {
        job.database.store(0, Ordering::Release);
        job.state.store(state::FREE, Ordering::Release);
        return None;
    }
    Some(job)
}

/// Frees the slot of a job whose database was dropped while it ran: no worker comes back there to end it.
fn free_of_dropped(job: &Job) {
    let (database, at) = (job.database.load(Ordering::Acquire), job.state.load(Ordering::Acquire));
    if at < state::SUBMITTED || database == 0 || database == shared::my_database().to_u32() || has_database(database) {
        return;
    }
    if job.state.compare_exchange(at, state::FILLING, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        return;
    }
    // Another session may have freed and given it away in between.
    if job.database.load(Ordering::Acquire) != database {
        job.state.store(at, Ordering::Release);
        return;
    }
    list::remove_in(database, job.id.load(Ordering::Relaxed));
    job.database.store(0, Ordering::Release);
    job.state.store(state::FREE, Ordering::Release);
}

/// Fills in a claimed slot.
pub fn fill(job: &Job, id: i64, request: &Request) {
    let relaxed = Ordering::Relaxed;
    job.id.store(id, relaxed);
    job.role.store(session::user().to_u32(), relaxed);
    job.batch_size.store(request.batch_size, relaxed);
    job.commit_interval.store(request.commit_interval, relaxed);
    job.max_ips.store(request.max_ips, relaxed);
    job.workers.store(request.workers, relaxed);
    job.listed.store(false, relaxed);
    job.adds.store(false, relaxed);
    job.kind.store(request.kind, relaxed);
    job.stale_before.store(request.stale_before, relaxed);
    job.sources.store(request.sources, relaxed);
    job.waiter.store(if request.wait { process::my_pid() } else { 0 }, relaxed);
    job.cancel.store(false, relaxed);
    job.started_at.store(time::now(), relaxed);
    job.ended_at.store(0, relaxed);
    job.outcome.store(outcome::DONE, relaxed);
    for counter in [&job.total, &job.cursor, &job.end, &job.locked] {
        counter.store(0, relaxed);
    }
    job.counts.reset();
    job.passes.store(0, relaxed);
    job.helpers.iter().for_each(|helper| helper.store(0, relaxed));
    job.database.store(shared::my_database().to_u32(), Ordering::Release);
}

/// A job whose caller may still end before it does: by an error, by being terminated, or because its client is gone. Then
/// the slot is given back, or the job cancelled once the worker has it.
pub struct Held {
    job: &'static Job,
}

thread_local! {
    /// The job that this session holds.
    static HELD: Cell<Option<&'static Job>> = const { Cell::new(None) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

impl Held {
    /// Holds a job for as long as this lives.
    pub fn new(job: &'static Job) -> Held {
        HELD.set(Some(job));
        if !REGISTERED.replace(true) {
            // A terminated process ends without unwinding: no value is dropped then.
            process::at_exit(at_exit);
        }
        Held { job }
    }

    /// Lets go of it: it ends as it will.
    pub fn let_go(self) {
        HELD.set(None);
        std::mem::forget(self);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.set(None);
        abandon(self.job);
    }
}

fn at_exit() {
    if let Some(job) = HELD.take() {
        abandon(job);
    }
}

fn abandon(job: &Job) {
    job.cancel.store(true, Ordering::Release);
    job.waiter.store(0, Ordering::Release);
    // Only this process takes it out of this state. Its database goes first: once it is free, another one may have it.
    if job.state.load(Ordering::Acquire) == state::FILLING {
        // A terminated process leaves its draft behind.
        list::remove(job.id.load(Ordering::Relaxed));
        job.database.store(0, Ordering::Release);
        job.state.store(state::FREE, Ordering::Release);
    } else if let Some(worker) = shared::my_worker() {
        shared::wake(worker);
    }
}
