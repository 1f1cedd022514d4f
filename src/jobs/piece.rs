//! One piece of a job: read due rows, look up, write. Helpers take pieces from a shared cursor, so none waits for a
//! slow one.
//!
//! Without a list, a piece is a range of blocks of the inventory: every row is read once, in the order of the disk, and
//! written by its place without asking the index. With a list, it is a range of the list.

use std::borrow::Cow;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use enrich::roster::Roster;
use pgrx::PgSqlErrorCode;

use super::end::dropping;
use super::list;
use super::part::{PATIENCE, Part, say_broken};
use crate::files::maxmind;
use crate::inventory::batch::{Halving, Outcome};
use crate::inventory::due::Place;
use crate::inventory::seen::Seen;
use crate::inventory::store::{Tallied, Writer};
use crate::inventory::{batch, due, known};
use crate::pg::catalog::Schema;
use crate::pg::process;
use crate::pg::tx::Failure;
use crate::pg::{time, tx};
use crate::shared::trouble::Work;
use crate::shared::watched;
use crate::shared::{Done, Job, state};

/// Bare rows of one block, about; turns rows of a transaction into blocks of a piece.
const ROWS_PER_BLOCK: u64 = 64;
/// The pause while another session holds the whole table.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether there may be more to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// A piece was done.
    More,
    /// Another session holds the whole table: the piece is kept, for the next turn but for a pause. Only of the worker itself.
    Held,
    /// None is left, the job was cancelled, or the next one would fail as well.
    Done,
}

/// Takes pieces of one job.
pub struct Pieces {
    job: &'static Job,
    list: Option<Roster>,
    /// The job has a list, and it could not be opened.
    is_listless: bool,
    /// This process has other duties, and must not wait for a table.
    is_worker: bool,
    /// A piece that was taken, from where to where, and not before when it is tried again.
    kept: Option<(u64, u64, Instant)>,
}

impl Pieces {
    /// Of `job`, in this process. Where its list cannot be read, none is taken: the pass is not done then.
    pub fn new(job: &'static Job) -> Pieces {
        let listed = job.listed.load(Ordering::Acquire);
        let list = if listed && !is_over(job) { open(job) } else { None };
        Pieces { job, is_listless: listed && list.is_none(), list, is_worker: false, kept: None }
    }

    /// The same in the worker, which does them itself where there is no process for a helper.
    pub fn of_worker(job: &'static Job) -> Pieces {
        Pieces { is_worker: true, ..Pieces::new(job) }
    }

    /// Takes one piece and does it.
    pub fn turn(&mut self) -> Turn {
        let job = self.job;
        if is_over(job) || self.is_listless {
            return Turn::Done;
        }
        if self.kept.is_some_and(|(.., at)| Instant::now() < at) {
            return Turn::Held;
        }
        let was_kept = self.kept.is_some();
        let Some((from, to)) = self.kept.take().map(|(from, to, _)| (from, to)).or_else(|| self.take()) else {
            return Turn::Done;
        };
        let mut first = job.passes.load(Ordering::Relaxed) <= 1 && !was_kept;
        let (result, left) = loop {
            // A piece that is tried again meets the same rows again: those of its last attempt count.
            let mut left = Left::default();
            let result = match &self.list {
                Some(list) => self.addresses(list, from, to).and_then(|ips| self.listed(&ips, first, &mut left)),
                None => self.blocks(from, to, &mut left),
            };
            first = false;
            if !result.as_ref().is_err_and(|failure| self.waits_for(failure)) {
                break (result, left);
            }
            if self.is_worker {
                self.kept = Some((from, to, Instant::now() + PAUSE));
                return Turn::Held;
            }
            self.pause();
        };
        job.counts.add(&Done { processed: left.errors, errors: left.errors, ..Done::default() });
        job.locked.fetch_add(left.locked, Ordering::Relaxed);
        match result {
            Ok(()) => {
                job.open.fetch_sub(1, Ordering::AcqRel);
                watched::unlocked(Work::Job);
            }
            Err(_) if job.cancel.load(Ordering::Acquire) => {}
            Err(failure) => {
                note(job, &failure);
                // The next piece would fare no better; the next pass begins with this one.
                if !failure.may_be_of_a_row() {
                    return Turn::Done;
                }
            }
        }
        Turn::More
    }

    /// Whether another session holds a whole table, and the piece waits for it, with pauses in which it can be ended.
    fn waits_for(&self, failure: &Failure) -> bool {
        let cancel = &self.job.cancel;
        if !failure.is_lock() || cancel.load(Ordering::Acquire) {
            return false;
        }
        // Shown once it has lasted.
        watched::failed(Work::Job, failure);
        // DROP EXTENSION may wait for the session that waits for this job: one of them must give way.
        if dropping() {
            cancel.store(true, Ordering::Release);
        }
        !cancel.load(Ordering::Acquire)
    }

    /// Waits before the piece is tried again, unless the job is cancelled. Waiting for a lock may have set the latch.
    fn pause(&self) {
        let until = Instant::now() + PAUSE;
        while Instant::now() < until && !self.job.cancel.load(Ordering::Acquire) {
            process::wait(PAUSE);
        }
    }

    /// Takes the next piece: from where to where.
    fn take(&self) -> Option<(u64, u64)> {
        let job = self.job;
        let rows = u64::from(job.commit_interval.load(Ordering::Relaxed)).max(1);
        let step = if self.list.is_some() { rows } else { (rows / ROWS_PER_BLOCK).max(1) };
        let from = job.cursor.fetch_add(step, Ordering::AcqRel);
        let to = (from + step).min(job.end.load(Ordering::Acquire));
        if from >= to {
            return None;
        }
        job.open.fetch_add(1, Ordering::AcqRel);
        Some((from, to))
    }

    fn stale_before(&self) -> i64 {
        self.job.stale_before.load(Ordering::Relaxed)
    }

    fn blocks(&self, from: u64, to: u64, left: &mut Left) -> Result<(), Failure> {
        let mut due = tx::run(|| {
            let Some(schema) = Schema::hold() else { return Vec::new() };
            due::places_in_blocks(&schema, self.stale_before(), from, to)
        })?;
        due.sort_unstable_by_key(|(ip, _)| *ip);
        self.write_all(&due, left)
    }

    /// A piece of the list: it may be as long as the inventory, so each reads no more than that.
    fn addresses(&self, list: &Roster, from: u64, to: u64) -> Result<Vec<IpAddr>, Failure> {
        list.read(from, to).map_err(|error| unreadable(self.job, &error))
    }

    fn listed(&self, ips: &[IpAddr], first: bool, left: &mut Left) -> Result<(), Failure> {
        let mut added = Added::default();
        let due = tx::run(|| {
            let Some(schema) = Schema::hold() else { return Vec::new() };
            if self.job.adds.load(Ordering::Relaxed) {
                added = add_unknown(&schema, ips);
            }
            due::places_of(&schema, self.stale_before(), ips)
        })?;
        let counts = &self.job.counts;
        if self.job.asks_the_network() {
            return self.write_all(&due, left);
        }
        let Added { tallied, left: refused } = added;
        counts.add(&Done { processed: tallied.written, ..Done::default() });
        left.errors += refused.errors;
        left.locked += refused.locked;
        self.count(&tallied);
        // A later pass meets the rows of an earlier one; rows that no pass met are counted at the end.
        if first {
            let met = tallied.written + refused.errors + refused.locked + due.len() as u64;
            let fresh = (ips.len() as u64).saturating_sub(met);
            counts.add(&Done { processed: fresh, cache_hits: fresh, ..Done::default() });
        }
        self.write_all(&due, left)
    }

    fn write_all(&self, due: &[Place], left: &mut Left) -> Result<(), Failure> {
        let batch = (self.job.batch_size.load(Ordering::Relaxed) as usize).max(1);
        let commit = (self.job.commit_interval.load(Ordering::Relaxed) as usize).max(1);
        let backward = self.job.passes.load(Ordering::Relaxed).is_multiple_of(2);
        for rows in due.chunks(commit) {
            let mut rows = Cow::Borrowed(rows);
            while !rows.is_empty() {
                if self.job.cancel.load(Ordering::Acquire) {
                    return Ok(());
                }
                let mut part = Part::of(self.stale_before(), backward);
                tx::run(|| {
                    let Some(schema) = Schema::hold() else { return };
                    for batch in rows.chunks(batch) {
                        pgrx::check_for_interrupts!();
                        part.write(&schema, batch);
                    }
                })?;
                // Only committed rows count.
                if !self.job.asks_the_network() {
                    self.job.counts.add(&Done { processed: part.tallied.written, ..Done::default() });
                    left.errors += part.errors();
                }
                self.count(&part.tallied);
                // Without those that cannot be written, fewer each time.
                rows = Cow::Owned(part.take_untried());
                left.locked += part.unwritten();
            }
        }
        Ok(())
    }

    fn count(&self, tallied: &Tallied) {
        let counts = &self.job.counts;
        if self.job.asks_the_network() {
            counts.add(&Done { maxmind_asn: tallied.with_asn, ..Done::default() });
            return;
        }
        let known = tallied.written.saturating_sub(tallied.not_found + tallied.skipped + tallied.unavailable);
        counts.add(&Done {
            enriched: known,
            maxmind_asn: tallied.with_asn,
            not_found: tallied.not_found,
            skipped: tallied.skipped,
            ..Done::default()
        });
    }
}

fn is_over(job: &Job) -> bool {
    job.cancel.load(Ordering::Acquire) || job.state.load(Ordering::Acquire) != state::RUNNING
}

fn open(job: &Job) -> Option<Roster> {
    let id = job.id.load(Ordering::Acquire);
    match list::open(id, Some(job.total.load(Ordering::Acquire))) {
        Ok(list) => Some(list),
        Err(error) => {
            // The end of a job removes its list.
            if !is_over(job) {
                note(job, &unreadable(job, &error));
            }
            None
        }
    }
}

fn unreadable(job: &Job, error: &io::Error) -> Failure {
    let message = list::unreadable(job.id.load(Ordering::Acquire), error);
    Failure { code: PgSqlErrorCode::ERRCODE_IO_ERROR, message }
}

/// Shows why a piece was not done, and logs it.
fn note(job: &Job, failure: &Failure) {
    watched::failed(Work::Job, failure);
    pgrx::log!("asn_inventory: a piece of job {} failed: {}", job.id.load(Ordering::Relaxed), failure.message);
}

/// How many rows of a piece were not written.
#[derive(Default)]
struct Left {
    /// They cannot be.
    errors: u64,
    /// Other sessions kept it from them.
    locked: u64,
}

/// What came of addresses that were to be added.
#[derive(Default)]
struct Added {
    tallied: Tallied,
    left: Left,
}

/// Adds listed addresses that the inventory does not know, as seen 0 times.
fn add_unknown(schema: &Schema, ips: &[IpAddr]) -> Added {
    let known = known::of(schema, ips);
    let mut unknown: Vec<IpAddr> = ips.iter().copied().filter(|ip| !known.contains(ip)).collect();
    unknown.sort_unstable();
    unknown.dedup();
    let now = time::now();
    let rows: Vec<(IpAddr, Seen)> =
        unknown.into_iter().map(|ip| (ip, Seen { count: 0, first: now, last: now })).collect();
    let mut added = Added::default();
    let mut refused: Option<(IpAddr, Failure)> = None;
    let mut write =
        |rows: &[(IpAddr, Seen)]| maxmind::with(|databases| Writer::new(schema).absorb(databases, rows, now));
    let mut halving = Halving::new("asn_inventory backfill", PATIENCE);
    halving.write(&rows, &batch::hurry, &mut write, &mut |outcome| match outcome {
        Outcome::Written(_, written) => added.tallied.add(&written),
        Outcome::Refused(_, failure) if failure.is_lock() => added.left.locked += 1,
        Outcome::Refused((ip, _), failure) => {
            added.left.errors += 1;
            refused.get_or_insert((*ip, failure));
        }
        Outcome::Left(rows) => added.left.locked += rows.len() as u64,
    });
    if let Some((ip, failure)) = &refused {
        say_broken(*ip, failure, added.left.errors, added.left.locked == 0);
    }
    added
}
