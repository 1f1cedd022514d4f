//! The worker's side of jobs: from submitted to ended, in passes. After a pass, rows that another session held or that
//! moved are searched again, a bounded number of times.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::end::{dropping, release_ended, waited_for};
pub use super::end::{finish, release};
use super::piece::{Pieces, Turn};
use super::{by_source, list};
use crate::files::maxmind;
use crate::inventory::{due, heap, known};
use crate::network::Network;
use crate::pg::catalog::Schema;
use crate::pg::process::{Handle, Registration, busy, my_pid, running};
use crate::pg::tx;
use crate::settings;
use crate::shared;
use crate::shared::trouble::Work;
use crate::shared::watched;
use crate::shared::{Done, Job, kind, outcome, sources, state};

/// Passes that may have no result, a second apart: another session holds the rows, or helpers are ended.
const IDLE_PASSES: u32 = 5;

/// The jobs of one database.
pub struct Runner {
    database: pg_sys::Oid,
    active: HashMap<usize, Active>,
}

struct Active {
    helpers: Vec<Handle>,
    /// The worker's own, where no helper could be started.
    own: Option<Pieces>,
    written_before: u64,
    idle_passes: u32,
    next_pass: Option<Instant>,
    /// MaxMind is through, and the network sources are being asked.
    asking: Option<by_source::Asking>,
}

impl Runner {
    /// For the worker of `database`. Jobs of a worker that ended are taken over.
    pub fn new(database: pg_sys::Oid) -> Runner {
        let runner = Runner { database, active: HashMap::new() };
        for (_, job) in runner.mine() {
            let _ = job.state.compare_exchange(state::RUNNING, state::SUBMITTED, Ordering::AcqRel, Ordering::Relaxed);
        }
        list::sweep();
        runner
    }

    fn mine(&self) -> impl Iterator<Item = (usize, &'static Job)> + use<> {
        let database = self.database.to_u32();
        let jobs = shared::shared().map(|shared| &shared.jobs[..]).unwrap_or_default();
        // Updates of files are the downloader's, and the walk is a thing of its own.
        jobs.iter().enumerate().filter(move |(_, job)| {
            job.database.load(Ordering::Acquire) == database
                && matches!(job.kind.load(Ordering::Relaxed), kind::BACKFILL | kind::REFRESH)
        })
    }

    /// Whether a job is under way, or waits for helpers that the worker before this one started.
    pub fn is_busy(&self) -> bool {
        self.mine().next().is_some()
    }

    /// Does the next steps of the jobs. True: this process itself has a piece to do next, and should not wait. While
    /// the inventory is being walked, a refresh of rows stale at MaxMind has nothing to add: it waits for the rest.
    pub fn turn(&mut self, network: &mut Network, walking: bool) -> bool {
        let mut working = false;
        for (slot, job) in self.mine() {
            match job.state.load(Ordering::Acquire) {
                // Helpers of a worker that ended do the pieces they have, and take no more.
                state::SUBMITTED if has_helpers(job) => {}
                state::SUBMITTED if walking && looks_for_stale(job) && !job.cancel.load(Ordering::Acquire) => {}
                state::SUBMITTED => self.start(slot, job, network),
                state::RUNNING => working |= self.go_on(slot, job, network),
                state::ENDED if !waited_for(job) => release_ended(job),
                _ => {}
            }
        }
        working
    }

    fn start(&mut self, slot: usize, job: &'static Job, network: &mut Network) {
        // One that was cancelled before it began, or while no worker had it, asks about nothing more.
        if job.cancel.load(Ordering::Acquire) {
            return finish(job, outcome::CANCELLED, None);
        }
        busy(&format!("starting job {}", job.id.load(Ordering::Relaxed)));
        if looks_for_stale(job) {
            let _ = tx::run(|| job.stale_before.store(maxmind::with(maxmind::stale_before), Ordering::Relaxed));
        }
        let measured = tx::run(|| if job.asks_the_network() { by_source::measure(job) } else { measure(job) });
        match measured {
            // The extension is gone.
            Ok(None) => return finish(job, outcome::CANCELLED, None),
            Ok(Some(0)) => return finish(job, outcome::DONE, None),
            Ok(Some(end)) => job.end.store(end, Ordering::Release),
            Err(_) if dropping() || job.cancel.load(Ordering::Acquire) => return finish(job, outcome::CANCELLED, None),
            // Another session holds the table: it stays submitted, and is tried again soon.
            Err(failure) if failure.is_lock() => return,
            Err(failure) => {
                watched::failed(Work::Job, &failure);
                return finish(job, outcome::FAILED, Some(failure.message));
            }
        }
        job.cursor.store(0, Ordering::Release);
        job.state.store(state::RUNNING, Ordering::Release);
        let mut active =
            Active { helpers: Vec::new(), own: None, written_before: 0, idle_passes: 0, next_pass: None, asking: None };
        if job.sources.load(Ordering::Relaxed) & sources::MAXMIND != 0 {
            active.start_pass(slot, job);
            self.active.insert(slot, active);
        } else {
            self.active.insert(slot, active);
            self.ask(slot, job, network);
        }
    }

    /// Begins to ask the network sources.
    fn ask(&mut self, slot: usize, job: &Job, network: &mut Network) {
        if let Some(active) = self.active.get_mut(&slot) {
            active.asking = Some(by_source::start(slot, job, network));
        }
    }

    fn end_asking(&mut self, slot: usize, job: &Job, network: &mut Network, how: u32, detail: Option<String>) {
        network.end_job(slot);
        self.active.remove(&slot);
        finish(job, how, detail);
    }

    fn go_on(&mut self, slot: usize, job: &'static Job, network: &mut Network) -> bool {
        let Some(active) = self.active.get_mut(&slot) else { return false };
        if let Some(asking) = &mut active.asking {
            let asked = by_source::go_on(slot, job, network, asking);
            let sorting = asking.is_sorting();
            let cancelled = job.cancel.load(Ordering::Acquire);
            match asked {
                Ok(true) => self.end_asking(slot, job, network, outcome::DONE, None),
                _ if cancelled => self.end_asking(slot, job, network, outcome::CANCELLED, None),
                Err(reason) => self.end_asking(slot, job, network, outcome::FAILED, Some(reason)),
                Ok(false) => return sorting,
            }
            return false;
        }
        if let Some(pieces) = &mut active.own {
            busy(&job_title(job));
            match pieces.turn() {
                Turn::More => return true,
                Turn::Held => return false,
                Turn::Done => active.own = None,
            }
        }
        if !active.helpers.iter().all(Handle::stopped) {
            return false;
        }
        active.helpers.clear();
        if job.cancel.load(Ordering::Acquire) {
            self.active.remove(&slot);
            finish(job, outcome::CANCELLED, None);
        } else if active.needs_pass(job) {
            if active.next_pass.is_none_or(|at| Instant::now() >= at) {
                active.next_pass = None;
                active.start_pass(slot, job);
            }
        } else if job.asks_the_network() && !unfinished(job) {
            self.ask(slot, job, network);
        } else {
            self.active.remove(&slot);
            // Rows that are still locked count as not done.
            let locked = job.locked.load(Ordering::Relaxed);
            job.counts.add(&Done { errors: locked, ..Done::default() });
            if unfinished(job) {
                let why = last_failure(job).unwrap_or_else(|| "the server's log says why".to_owned());
                finish(
                    job,
                    outcome::FAILED,
                    Some(format!("helpers failed or were ended before they were done: {why}")),
                );
                return false;
            }
            if job.listed.load(Ordering::Relaxed) {
                let fresh = job.total.load(Ordering::Relaxed).saturating_sub(written(job) + locked);
                job.counts.add(&Done { processed: fresh, cache_hits: fresh, ..Done::default() });
            }
            finish(job, outcome::DONE, None);
        }
        false
    }
}

/// Whether this is about what went stale at MaxMind, and not about all that it names.
fn looks_for_stale(job: &Job) -> bool {
    job.kind.load(Ordering::Relaxed) == kind::REFRESH
        && job.sources.load(Ordering::Relaxed) & (sources::MAXMIND | sources::ANEW) == sources::MAXMIND
}

/// A job as `pg_stat_activity` shows it.
pub fn job_title(job: &Job) -> String {
    format!("{}: job {}", kind::name(job.kind.load(Ordering::Relaxed)), job.id.load(Ordering::Relaxed))
}

/// Whether a process is at work on this job.
fn has_helpers(job: &Job) -> bool {
    job.helpers.iter().any(|helper| running(helper).is_some())
}

/// Whether pieces of this pass were not taken, or taken and not done.
fn unfinished(job: &Job) -> bool {
    job.open.load(Ordering::Acquire) > 0 || job.cursor.load(Ordering::Acquire) < job.end.load(Ordering::Acquire)
}

impl Active {
    fn start_pass(&mut self, slot: usize, job: &'static Job) {
        // Rows that could not be written are tried again, and counted again.
        job.counts.forget_errors();
        self.written_before = written(job);
        job.locked.store(0, Ordering::Relaxed);
        job.open.store(0, Ordering::Relaxed);
        job.passes.fetch_add(1, Ordering::Relaxed);
        // A row that another session held may have moved behind the end of the previous pass.
        if !job.listed.load(Ordering::Relaxed)
            && let Ok(Some(blocks)) = watched::part(Work::Job, blocks)
        {
            job.end.store(blocks, Ordering::Release);
        }
        job.cursor.store(0, Ordering::Release);
        let wanted = (job.workers.load(Ordering::Relaxed) as usize).min(settings::workers());
        for _ in 0..wanted {
            let helper = Registration {
                kind: c"asn_inventory backfill",
                function: c"asn_inventory_helper_main",
                argument: Datum::from(slot),
                in_recovery: false,
                restart: None,
                notify: my_pid(),
            };
            match helper.start() {
                Some(handle) => self.helpers.push(handle),
                None => break,
            }
        }
        if self.helpers.is_empty() {
            self.own = Some(Pieces::of_worker(job));
        }
    }

    /// Whether something that can be done may be left.
    fn needs_pass(&mut self, job: &Job) -> bool {
        if self.next_pass.is_some() {
            return true;
        }
        // Rows that cannot be written do not count as progress: they stay due.
        let progress = written(job) - job.counts.read().errors > self.written_before;
        let left = job.locked.load(Ordering::Relaxed) > 0 || unfinished(job);
        if left && !progress {
            self.idle_passes += 1;
            self.next_pass = Some(Instant::now() + Duration::from_secs(1));
            return self.idle_passes < IDLE_PASSES;
        }
        if left || job.listed.load(Ordering::Relaxed) {
            return left;
        }
        progress
            && watched::part(Work::Job, || any_due(job)).unwrap_or_else(|_| {
                self.idle_passes += 1;
                self.next_pass = Some(Instant::now() + Duration::from_secs(1));
                self.idle_passes < IDLE_PASSES
            })
    }
}

/// The failure of a piece of this job.
fn last_failure(job: &Job) -> Option<String> {
    let slot = shared::here()?;
    let failing = slot.troubles.of(Work::Job).failing()?;
    (failing.at >= job.started_at.load(Ordering::Relaxed)).then_some(failing.message)
}

fn written(job: &Job) -> u64 {
    job.counts.read().processed
}

/// Counts the due rows, and returns the end of the cursor: a number of blocks, or of listed addresses; `None`: the extension
/// is gone.
fn measure(job: &Job) -> Option<u64> {
    let schema = Schema::hold()?;
    tx::read_everything();
    let stale_before = job.stale_before.load(Ordering::Relaxed);
    let max_ips = job.max_ips.load(Ordering::Relaxed);
    let id = job.id.load(Ordering::Relaxed);
    if job.listed.load(Ordering::Relaxed) {
        let mut total = list::of_start(job, list::total);
        if max_ips > 0 && total > max_ips {
            let ips = list::of_start(job, list::read);
            total = list::write_list(id, &known::most_observed(&schema, &ips, max_ips));
        }
        job.total.store(total, Ordering::Relaxed);
        return Some(total);
    }
    if max_ips > 0 {
        let targets = due::claim_at_maxmind(&schema, stale_before, max_ips as usize);
        let ips: Vec<IpAddr> = targets.into_iter().map(|target| target.ip).collect();
        let total = list::write_list(id, &ips);
        job.total.store(total, Ordering::Relaxed);
        job.listed.store(true, Ordering::Release);
        return Some(total);
    }
    let (total, blocks) = due::count_at_maxmind(&schema, stale_before);
    // A job that was taken over has done some already.
    job.total.store(total + written(job) - job.counts.read().errors, Ordering::Relaxed);
    Some(if total == 0 { 0 } else { blocks })
}

/// Blocks of the inventory on this node now.
fn blocks() -> Option<u64> {
    Schema::hold().map(|schema| heap::blocks(&schema).into())
}

/// Whether a row is due still.
fn any_due(job: &Job) -> bool {
    let Some(schema) = Schema::hold() else { return false };
    due::any_at_maxmind(&schema, job.stale_before.load(Ordering::Relaxed))
}
