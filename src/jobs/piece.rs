//! One piece of a job: read due rows, look up, write. Helpers take pieces from a shared cursor, so none waits for a
//! slow one.
//!
//! Without a list, a piece is a range of blocks of the inventory: every row is read once, in the order of the disk, and
//! written by its place without asking the index. With a list, it is a range of the list.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use pgrx::PgSqlErrorCode;

use super::end::dropping;
use super::list;
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
/// Failed writes of one piece, after which the rest is left for the next pass: each may have waited.
const PATIENCE: u32 = 64;

/// Whether there may be more to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// A piece was done.
    More,
    /// None is left, the job was cancelled, or the next one would fail as well.
    Done,
}

/// Takes pieces of one job.
pub struct Pieces {
    job: &'static Job,
    list: Option<Vec<IpAddr>>,
    /// The job has a list, and it was not read.
    is_listless: bool,
}

impl Pieces {
    /// Of `job`, in this process. Where its list cannot be read, none is taken: the pass is not done then.
    pub fn new(job: &'static Job) -> Pieces {
        let listed = job.listed.load(Ordering::Acquire);
        let list = if listed && !is_over(job) { read(job) } else { None };
        Pieces { job, is_listless: listed && list.is_none(), list }
    }

    /// Takes one piece and does it.
    pub fn turn(&mut self) -> Turn {
        let job = self.job;
        if is_over(job) || self.is_listless {
            return Turn::Done;
        }
        let rows = u64::from(job.commit_interval.load(Ordering::Relaxed)).max(1);
        let step = if self.list.is_some() { rows } else { (rows / ROWS_PER_BLOCK).max(1) };
        let from = job.cursor.fetch_add(step, Ordering::AcqRel);
        let to = (from + step).min(job.end.load(Ordering::Acquire));
        if from >= to {
            return Turn::Done;
        }
        job.open.fetch_add(1, Ordering::AcqRel);
        let mut first = job.passes.load(Ordering::Relaxed) <= 1;
        let result = loop {
            let result = match &self.list {
                Some(list) => self.listed(list.get(from as usize..to as usize).unwrap_or_default(), first),
                None => self.blocks(from, to),
            };
            first = false;
            // Another session holds a whole table: this waits for it, with pauses in which it can be ended.
            if !result.as_ref().is_err_and(Failure::is_lock) || job.cancel.load(Ordering::Acquire) {
                break result;
            }
            process::serve_interrupts();
            // DROP EXTENSION may wait for the session that waits for this job: one of them must give way.
            if dropping() {
                job.cancel.store(true, Ordering::Release);
            }
        };
        match result {
            Ok(()) => {
                job.open.fetch_sub(1, Ordering::AcqRel);
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

    fn stale_before(&self) -> i64 {
        self.job.stale_before.load(Ordering::Relaxed)
    }

    fn blocks(&self, from: u64, to: u64) -> Result<(), Failure> {
        let mut due = tx::run(|| {
            let Some(schema) = Schema::hold() else { return Vec::new() };
            due::places_in_blocks(&schema, self.stale_before(), from, to)
        })?;
        due.sort_unstable_by_key(|(ip, _)| *ip);
        self.write_all(&due)
    }

    fn listed(&self, ips: &[IpAddr], first: bool) -> Result<(), Failure> {
        let mut tallied = Tallied::default();
        let due = tx::run(|| {
            let Some(schema) = Schema::hold() else { return Vec::new() };
            if self.job.adds.load(Ordering::Relaxed) {
                tallied = add_unknown(&schema, ips);
            }
            due::places_of(&schema, self.stale_before(), ips)
        })?;
        let counts = &self.job.counts;
        if self.job.asks_the_network() {
            return self.write_all(&due);
        }
        counts.add(&Done { processed: tallied.written, ..Done::default() });
        self.count(&tallied);
        // A later pass meets the rows of an earlier one; rows that no pass met are counted at the end.
        if first {
            let fresh = (ips.len() as u64).saturating_sub(tallied.written + due.len() as u64);
            counts.add(&Done { processed: fresh, cache_hits: fresh, ..Done::default() });
        }
        self.write_all(&due)
    }

    fn write_all(&self, due: &[Place]) -> Result<(), Failure> {
        let batch = (self.job.batch_size.load(Ordering::Relaxed) as usize).max(1);
        let commit = (self.job.commit_interval.load(Ordering::Relaxed) as usize).max(1);
        for rows in due.chunks(commit) {
            if self.job.cancel.load(Ordering::Acquire) {
                return Ok(());
            }
            let mut part = Part::of(self.stale_before());
            tx::run(|| {
                let Some(schema) = Schema::hold() else { return };
                for batch in rows.chunks(batch) {
                    pgrx::check_for_interrupts!();
                    part.write(&schema, batch);
                }
            })?;
            // Only committed rows count.
            if !self.job.asks_the_network() {
                let processed = part.tallied.written + part.errors;
                self.job.counts.add(&Done { processed, errors: part.errors, ..Done::default() });
            }
            self.job.locked.fetch_add(part.locked, Ordering::Relaxed);
            self.count(&part.tallied);
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

fn read(job: &Job) -> Option<Vec<IpAddr>> {
    let id = job.id.load(Ordering::Acquire);
    match list::read(id, Some(job.total.load(Ordering::Acquire))) {
        Ok(list) => Some(list),
        Err(error) => {
            // The end of a job removes its list.
            if !is_over(job) {
                note(job, &Failure { code: PgSqlErrorCode::ERRCODE_IO_ERROR, message: list::unreadable(id, &error) });
            }
            None
        }
    }
}

/// Shows why a piece was not done, and logs it.
fn note(job: &Job, failure: &Failure) {
    watched::failed(Work::Job, failure);
    pgrx::log!("asn_inventory: a piece of job {} failed: {}", job.id.load(Ordering::Relaxed), failure.message);
}

/// Adds listed addresses that the inventory does not know, as seen 0 times.
fn add_unknown(schema: &Schema, ips: &[IpAddr]) -> Tallied {
    let known = known::of(schema, ips);
    let mut unknown: Vec<IpAddr> = ips.iter().copied().filter(|ip| !known.contains(ip)).collect();
    unknown.sort_unstable();
    unknown.dedup();
    let now = time::now();
    let rows: Vec<(IpAddr, Seen)> =
        unknown.into_iter().map(|ip| (ip, Seen { count: 0, first: now, last: now })).collect();
    if rows.is_empty() {
        return Tallied::default();
    }
    maxmind::with(|databases| Writer::new(schema).absorb(databases, &rows, now))
}

/// The result of one transaction.
pub struct Part {
    stale_before: i64,
    walks: bool,
    halving: Halving,
    /// The rows written.
    pub tallied: Tallied,
    /// Rows that another session held, or that moved.
    pub locked: u64,
    /// Rows that cannot be written.
    pub errors: u64,
}

impl Part {
    /// Nothing yet; `stale_before` (timestamptz): answers from before this are due.
    pub fn of(stale_before: i64) -> Part {
        let halving = Halving::new("asn_inventory backfill", PATIENCE);
        Part { stale_before, walks: false, halving, tallied: Tallied::default(), locked: 0, errors: 0 }
    }

    /// Of a walk: a row that differs must be written, independent of its time.
    pub fn of_walk() -> Part {
        Part { walks: true, ..Part::of(i64::MAX) }
    }

    /// Writes a batch, without the rows that cannot be written. The log gets one line for each batch.
    pub fn write(&mut self, schema: &Schema, rows: &[Place]) {
        let Part { stale_before, walks, halving, tallied, locked, errors } = self;
        let before = *errors;
        // The first of those that cannot be written, and why.
        let mut refused: Option<(IpAddr, Failure)> = None;
        let mut write = |rows: &[Place]| {
            let writer = Writer::new(schema);
            let mut writer = if *walks { writer.with_lists_alone() } else { writer };
            maxmind::with(|databases| writer.update_at(databases, rows, *stale_before, time::now()))
        };
        halving.write(rows, &batch::hurry, &mut write, &mut |outcome| match outcome {
            Outcome::Written(rows, written) => {
                tallied.add(&written);
                // Those that moved meanwhile: the next pass sees where they are, and whether they are due still.
                *locked += (rows.len() as u64).saturating_sub(written.written);
            }
            Outcome::Refused(_, failure) if failure.is_lock() => *locked += 1,
            Outcome::Refused((ip, _), failure) => {
                *errors += 1;
                refused.get_or_insert((*ip, failure));
            }
            Outcome::Left(rows) => *locked += rows.len() as u64,
        });
        if let Some((ip, failure)) = refused {
            let why = watched::why(&failure, (*errors - before).saturating_sub(1) as usize);
            pgrx::log!(
                "asn_inventory: {ip} cannot be written to ip_inventory; the rest of its batch was written: {why}"
            );
        }
    }
}
