//! One walk: its pieces, and the rows that could not be written.
//!
//! Rows that other sessions hold are passed over, and come in the next pass, which goes through their pieces alone. When
//! none is left, one scan under one snapshot compares what was written since the walk began, wherever it lies now. Rows that
//! cannot be written are passed over until all others are through. The walk is not recorded then: they are tried again after
//! an hour, and until they are written, that shows.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use pgrx::{PgSqlErrorCode, pg_sys};

use crate::inventory::due::Place;
use crate::inventory::heap;
use crate::inventory::walk as rows;
use crate::inventory::walk::Which;
use crate::jobs::part::Part;
use crate::pg::catalog::Schema;
use crate::pg::process::busy;
use crate::pg::tx;
use crate::pg::tx::Failure;
use crate::shared::trouble::Work;
use crate::shared::watched;
use crate::shared::{Done, Job};

/// Blocks of a piece: some tens of milliseconds.
const PIECE: u32 = 512;
/// Rows of one write.
const BATCH: usize = 2000;
/// Pauses while another session holds rows, or the table.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The pause after which rows that could not be written are tried again.
const AGAIN: Duration = Duration::from_secs(3600);
/// Rows that cannot be written, of which so many are remembered, and those of one piece more: some megabytes. Where there are
/// more, everything is walked again to try them.
const MOST_BROKEN: usize = 100_000;

/// What came of a step.
pub enum Step {
    /// There is more to do, at once unless there is a pause.
    More,
    /// All is written but what cannot be.
    Through,
    /// All is written, and this is written down.
    Recorded,
}

/// One walk.
pub struct Current {
    pub generations: Vec<String>,
    pub installed_at: i64,
    /// Whether there is a file: lists alone say of no stored answer that it is out of date.
    pub has_files: bool,
    pub job: Option<&'static Job>,
    /// The next block.
    pub next: u32,
    end: u32,
    /// Blocks that are still to be compared: from `next` on, and around to where it began.
    left: u32,
    oldest: pg_sys::TransactionId,
    /// The shards of this node, and the files of the tables, when it began.
    shards: Vec<i64>,
    files: Vec<u32>,
    /// Where the pieces begin in which rows were not written that another session held, or moved.
    held: BTreeSet<u32>,
    /// Those of the pass before, which are gone through now.
    again: Vec<u32>,
    /// Of a batch with a lock in it, the second half comes first: every other pass.
    backward: bool,
    /// The last piece has rows that were not tried, since too many others cannot be written: it comes once more.
    goes_on: bool,
    /// Rows that cannot be written.
    broken: HashSet<IpAddr>,
    /// There were more than are remembered.
    is_overflown: bool,
    /// Those of an hour ago: the last scan compares them whenever they were written.
    retried: HashSet<IpAddr>,
    /// Why one of them cannot be written, and whether that was shown.
    why: Option<Failure>,
    is_shown: bool,
    /// Rows were written in this pass; and the pass before came to nothing but locks, which was not told yet.
    has_written: bool,
    is_kept: bool,
    /// All others are through.
    is_through: bool,
    pause: Duration,
    pub not_before: Option<Instant>,
}

impl Current {
    /// For these generations, installed then, of which at least one is a file's; from a block on, around the end.
    pub fn new(
        schema: &Schema,
        generations: Vec<String>,
        (installed_at, has_files): (i64, bool),
        job: Option<&'static Job>,
        (next, end): (u32, u32),
    ) -> Current {
        Current {
            generations,
            installed_at,
            has_files,
            job,
            next,
            end,
            left: end,
            oldest: rows::oldest_writer(),
            shards: heap::shards(schema),
            files: heap::files(schema),
            held: BTreeSet::new(),
            again: Vec::new(),
            backward: false,
            goes_on: false,
            broken: HashSet::new(),
            is_overflown: false,
            retried: HashSet::new(),
            why: None,
            is_shown: false,
            has_written: false,
            is_kept: false,
            is_through: false,
            pause: PAUSES.0,
            not_before: None,
        }
    }

    /// Whether all rows are through, but for those that cannot be written.
    pub fn is_through(&self) -> bool {
        self.is_through
    }

    /// Rows that could not be written are tried now: somebody may have changed what they met.
    pub fn hurry(&mut self) {
        if self.is_through {
            self.not_before = None;
        }
    }

    /// The next piece, or the last scan.
    pub fn step(&mut self) -> Result<Step, Failure> {
        self.not_before = None;
        if std::mem::take(&mut self.is_through) {
            self.try_again();
        }
        let percent = u64::from(self.end - self.left) * 100 / u64::from(self.end.max(1));
        busy(&format!("walking ip_inventory after a newer build, {percent} %"));
        if self.left > 0 {
            let count = PIECE.min(self.end - self.next).min(self.left);
            self.piece(self.next, count, true)?;
            if !self.goes_on {
                self.next = (self.next + count) % self.end;
                self.left -= count;
            }
            return Ok(Step::More);
        }
        if let Some(first) = self.again.last().copied() {
            self.piece(first, PIECE, false)?;
            if !self.goes_on {
                self.again.pop();
            }
            return Ok(Step::More);
        }
        if !self.held.is_empty() {
            self.again = std::mem::take(&mut self.held).into_iter().rev().collect();
            self.backward = !self.backward;
            self.is_kept = !std::mem::take(&mut self.has_written);
            self.rest();
            return Ok(Step::More);
        }
        // Where not all are remembered, everything is compared again in any case.
        if self.is_overflown {
            return Ok(self.through());
        }
        let (mut part, compared) = self.compare(&Which::Since(self.oldest, &self.retried, &self.files), true)?;
        self.retried.clear();
        // Rows compared again were counted before.
        self.note(&mut part, compared, 0, false);
        // None is left that cannot be written, whatever others hold.
        if self.broken.is_empty() && self.why.take().is_some() {
            watched::succeeded(Work::Walk);
        }
        // Whoever held a row may have moved it: another scan follows.
        self.held.extend(part.unwritten_places().map(|(_, place)| block(place) / PIECE * PIECE));
        if !self.held.is_empty() {
            return Ok(Step::More);
        }
        Ok(if self.broken.is_empty() { Step::Recorded } else { self.through() })
    }

    /// Shows a row that cannot be written for as long as there is one, and rows that others hold once that has lasted.
    pub fn show(&mut self) {
        let is_kept = std::mem::take(&mut self.is_kept);
        match &self.why {
            Some(why) if !self.is_shown => {
                watched::failed(Work::Walk, why);
                self.is_shown = true;
            }
            Some(_) => {}
            None if is_kept => watched::kept(Work::Walk, &held()),
            None if self.left == 0 && !(self.held.is_empty() && self.again.is_empty()) => {}
            None => watched::succeeded(Work::Walk),
        }
    }

    /// Whether more rows cannot be written than it remembers.
    pub fn is_overflown(&self) -> bool {
        self.is_overflown
    }

    /// The shards of this node that it compares.
    pub fn shards(&self) -> &[i64] {
        &self.shards
    }

    /// A step failed as a whole.
    pub fn failed(&mut self) {
        self.is_shown = false;
        self.rest();
    }

    fn rest(&mut self) {
        self.not_before = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(PAUSES.1);
    }

    fn through(&mut self) -> Step {
        self.is_through = true;
        self.not_before = Some(Instant::now() + AGAIN);
        Step::Through
    }

    /// Tries the rows that could not be written.
    fn try_again(&mut self) {
        self.pause = PAUSES.0;
        if std::mem::take(&mut self.is_overflown) {
            self.broken.clear();
            self.left = self.end;
        } else {
            self.retried = std::mem::take(&mut self.broken);
        }
    }

    /// Compares a piece and writes; `first`: for the first time.
    fn piece(&mut self, from: u32, count: u32, first: bool) -> Result<(), Failure> {
        // Those of this piece must be known for as long as it goes on: it would find the same again.
        if !self.goes_on && self.broken.len() >= MOST_BROKEN {
            self.broken.clear();
            self.is_overflown = true;
        }
        let (mut part, compared) = self.compare(&Which::Blocks(from, count), false)?;
        let first = first && !self.goes_on;
        let untried = part.take_untried().len() as u64;
        self.goes_on = untried > 0;
        if part.unwritten() > 0 {
            self.held.insert(from);
        }
        // Counted when they are tried.
        self.note(&mut part, compared, untried, first);
        Ok(())
    }

    /// Compares and writes, without the rows that cannot be written. `last`: if nothing is left, the walk is recorded in the
    /// same transaction.
    fn compare(&self, which: &Which<'_>, last: bool) -> Result<(Part, u64), Failure> {
        let mut part = Part::of_walk(self.backward);
        let compared = tx::run(|| {
            let Some(schema) = Schema::hold() else { return 0 };
            let compared = rows::compare(&schema, which, BATCH, |found: &mut Vec<Place>| {
                found.retain(|(ip, _)| !self.broken.contains(ip));
                found.sort_unstable_by_key(|(ip, _)| *ip);
                part.write(&schema, found);
            });
            if last && self.broken.is_empty() && part.is_whole() {
                rows::note_walked(&schema, &self.generations, self.installed_at, &self.shards);
            }
            compared
        })?;
        Ok((part, compared))
    }

    /// Counts what came of it, and remembers what cannot be written. `untried`: of the rows that were compared, those not tried yet.
    fn note(&mut self, part: &mut Part, compared: u64, untried: u64, first: bool) {
        if let Some(job) = self.job {
            let tallied = &part.tallied;
            let looked = if first { compared } else { 0 };
            job.counts.add(&Done {
                processed: looked,
                cache_hits: looked.saturating_sub(tallied.written + part.errors() + part.unwritten() + untried),
                enriched: tallied.written.saturating_sub(tallied.not_found + tallied.skipped),
                maxmind_asn: tallied.with_asn,
                not_found: tallied.not_found,
                skipped: tallied.skipped,
                errors: part.errors(),
                ..Done::default()
            });
        }
        self.has_written |= part.tallied.written > 0;
        self.broken.extend(part.broken.drain(..));
        if let Some((ip, failure)) = part.why.take() {
            let message = format!("{ip}: {}", watched::why(&failure, self.broken.len().saturating_sub(1)));
            (self.why, self.is_shown) = (Some(Failure { message, ..failure }), false);
        }
    }
}

/// Rows were passed over that others hold.
fn held() -> Failure {
    let message = "other sessions hold rows whose answer has changed".to_owned();
    Failure { code: PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE, message }
}

/// The block of a place.
fn block(place: &pg_sys::ItemPointerData) -> u32 {
    let id = place.ip_blkid;
    u32::from(id.bi_hi) << 16 | u32::from(id.bi_lo)
}
