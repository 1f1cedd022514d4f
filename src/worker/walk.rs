//! After a newer build or other lists of networks are installed, or another list of editions lets other files answer, the
//! worker walks the inventory: it looks every address up again and writes only the rows whose answer changed. A build in
//! which one address in a hundred changed costs a hundredth of a table in dead rows, and a build without changes costs none.
//!
//! It goes in pieces of some thousand rows between the worker's other duties, so that nothing waits for it. Pieces have
//! a snapshot each, and a row that is updated during the walk may move from unread blocks to read ones; so at the end
//! one scan under one snapshot compares all rows written since the walk began. Only then the walk is recorded, and rows
//! that kept their time count as fresh (`maxmind::stale_before`). After a kill it starts again.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pgrx::pg_sys;

use crate::files::maxmind;
use crate::inventory::due::Place;
use crate::inventory::heap;
use crate::inventory::walk as rows;
use crate::inventory::walk::Which;
use crate::jobs::piece::Part;
use crate::jobs::run::{finish, release};
use crate::jobs::submit;
use crate::pg::catalog::Schema;
use crate::pg::citus;
use crate::pg::process;
use crate::pg::process::busy;
use crate::pg::tx::Failure;
use crate::pg::{time, tx};
use crate::settings;
use crate::shared;
use crate::shared::trouble::Work;
use crate::shared::watched;
use crate::shared::{Database, Done, Job, kind, outcome};

/// Blocks of a piece: some tens of milliseconds.
const PIECE: u32 = 512;
/// Rows of one write.
const BATCH: usize = 2000;
/// Pauses while another session holds rows, or the table.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How often it is looked for shards that have come to this node, where there is Citus.
const SHARDS: Duration = Duration::from_secs(10);

/// How often it is looked for ALTER EXTENSION, where that is still to come.
const UPDATE: Duration = Duration::from_secs(20);

/// The worker's walk through its inventory.
pub struct Walk {
    slot: &'static Database,
    /// Counters of generations, of lists and of reloads, as of when it was last seen to that there is nothing to do.
    checked: Option<Stamp>,
    /// When to look again: shards come and go without a sign.
    look_at: Option<Instant>,
    current: Option<Current>,
    /// The walk for these was cancelled; the next build starts another.
    given_up: Vec<String>,
}

/// What a look at the files was made of.
type Stamp = (Option<u64>, Option<u64>, u64);

/// One walk.
struct Current {
    generations: Vec<String>,
    installed_at: i64,
    /// Whether there is a file: lists alone say of no stored answer that it is out of date.
    has_files: bool,
    job: Option<&'static Job>,
    next: u32,
    end: u32,
    /// Blocks that are still to be compared: from `next` on, and around to where it began.
    left: u32,
    oldest: pg_sys::TransactionId,
    /// The shards of this node, and the files of the tables, when it began.
    shards: Vec<i64>,
    files: Vec<u32>,
    /// Rows that another session held when they were to be written.
    again: HashSet<IpAddr>,
    pause: Duration,
    not_before: Option<Instant>,
}

/// The result of a look at the files and the table.
enum Found {
    Nothing,
    UnderWay(i64),
    /// When what answers was installed, if there is a file.
    Walked(Option<i64>),
    Due(Box<Current>),
}

impl Walk {
    /// For the worker of a database.
    pub fn new(database: pg_sys::Oid, slot: &'static Database) -> Walk {
        slot.walked.store(0, Ordering::Release);
        // The walk of a worker that ended in the middle: it starts again.
        for job in shared::shared().iter().flat_map(|shared| &shared.jobs) {
            if job.database.load(Ordering::Acquire) == database.to_u32()
                && job.kind.load(Ordering::Relaxed) == kind::WALK
            {
                release(job);
            }
        }
        Walk { slot, checked: None, look_at: None, current: None, given_up: Vec::new() }
    }

    /// Whether one is under way.
    pub fn is_running(&self) -> bool {
        self.current.is_some()
    }

    /// A dump brings rows that nobody has compared: what is known of the others says nothing of them. A walk under way compares
    /// them at its end, as all that was written since it began. False: it could not be written down.
    pub fn begin_anew(&mut self) -> bool {
        self.checked = None;
        self.slot.walked.store(0, Ordering::Release);
        let forget = |schema: Schema| {
            // Where nothing was ever compared, there is nothing to compare with, or it is compared anyway.
            if rows::was_ever_walked(&schema) {
                rows::forget_walked(&schema, false);
            }
        };
        tx::run(|| Schema::hold().map(forget)).is_ok()
    }

    /// Does a piece. True: there is another to do.
    pub fn turn(&mut self) -> bool {
        let stamp = (shared::generation(), shared::lists(), process::reloads());
        if self.checked != Some(stamp) || self.look_at.is_some_and(|at| Instant::now() >= at) {
            self.look(stamp);
        }
        let Some(current) = &mut self.current else { return false };
        if current.job.is_some_and(|job| job.cancel.load(Ordering::Acquire)) {
            self.given_up = std::mem::take(&mut current.generations);
            self.end(outcome::CANCELLED, None);
            watched::succeeded(Work::Walk);
            return false;
        }
        if current.not_before.is_some_and(|at| Instant::now() < at) {
            return false;
        }
        let stepped = current.step();
        match &stepped {
            Ok(_) => watched::succeeded(Work::Walk),
            Err(failure) => watched::failed(Work::Walk, failure),
        }
        match stepped {
            Ok(true) => {
                if current.has_files {
                    self.slot.walked.store(current.installed_at, Ordering::Release);
                }
                self.end(outcome::DONE, None);
                false
            }
            Ok(false) => current.not_before.is_none(),
            // The extension is being dropped, or another session holds the whole table.
            Err(failure) => {
                if watched::is_news(Work::Walk, &failure) {
                    pgrx::log!("asn_inventory: the walk after a newer build is held up: {}", failure.message);
                }
                current.rest();
                false
            }
        }
    }

    /// How long there is nothing to do.
    pub fn patience(&self) -> Duration {
        let at = self.current.as_ref().and_then(|current| current.not_before);
        let until = |at: Instant| at.saturating_duration_since(Instant::now());
        [at, self.look_at].into_iter().flatten().map(until).min().unwrap_or(Duration::MAX)
    }

    fn end(&mut self, how: u32, detail: Option<&str>) {
        if let Some(job) = self.current.take().and_then(|current| current.job) {
            job.total.store(job.counts.read().processed, Ordering::Relaxed);
            finish(job, how, detail.map(str::to_owned));
        }
    }

    /// Sees whether files answer that the inventory was not compared with.
    fn look(&mut self, stamp: Stamp) {
        if !settings::maxmind_walk() {
            self.end(outcome::CANCELLED, Some("asn_inventory.maxmind_walk was switched off"));
            watched::succeeded(Work::Walk);
            // Newer files are still opened, for the next answers.
            let _ = tx::run(maxmind::manifest);
            self.checked = Some(stamp);
            return;
        }
        let under_way = self.current.as_ref().map(|current| current.generations.clone());
        let before = self.current.as_ref().map(|current| (current.next, current.job));
        let given_up = self.given_up.clone();
        let (mut is_in_cluster, mut is_of_before) = (false, false);
        let found = tx::run(|| {
            let Some(schema) = Schema::hold() else { return Found::Nothing };
            is_in_cluster = citus::is_here();
            is_of_before = !rows::is_of_now(&schema);
            let Some((generations, installed_at, has_files)) = maxmind::with(|databases| {
                let generations = rows::answering(databases, &schema)?;
                Some((generations, databases.installed_at(), !databases.is_empty()))
            }) else {
                return Found::Nothing;
            };
            let has_anything = installed_at.is_some();
            let installed_at = time::from_unix_us(installed_at.unwrap_or_default());
            let walked_at = has_files.then_some(installed_at);
            // The last one names the answering editions: an order that changes no answer is not a change.
            let same = |known: &[String]| known.last() == generations.last();
            if stands_in(&generations) || same(&given_up) {
                return Found::Nothing;
            }
            if under_way.as_deref().is_some_and(same) {
                return Found::UnderWay(installed_at);
            }
            let walked = rows::walked(&schema);
            // Files that are gone for a moment leave rows as they are, and the record of who answered them; and where neither
            // files nor lists ever were, rows have nothing of them.
            let has_same_lists = || match (walked.last(), generations.last()) {
                (Some(then), Some(now)) => rows::lists_of(then) == rows::lists_of(now),
                _ => false,
            };
            if same(&walked)
                || !has_files && has_same_lists()
                || !has_anything && under_way.is_none() && !rows::was_ever_walked(&schema)
            {
                return Found::Walked(walked_at);
            }
            let end = heap::blocks(&schema);
            if end == 0 {
                rows::note_walked(&schema, &generations, installed_at, &heap::shards(&schema));
                return Found::Walked(walked_at);
            }
            rows::forget_walked(&schema, has_files);
            Found::Due(Box::new(Current {
                generations,
                installed_at,
                has_files,
                job: match before {
                    Some((_, job)) => job,
                    None => submit::own(&schema, kind::WALK, rows::estimate(&schema)),
                },
                // Other files again before the end: it goes on from where it is, and around. From the beginning again and
                // again, the end would never be reached where lists change faster than a walk.
                next: before.map_or(0, |(next, _)| next % end),
                end,
                left: end,
                oldest: rows::oldest_writer(),
                shards: heap::shards(&schema),
                files: heap::files(&schema),
                again: HashSet::new(),
                pause: PAUSES.0,
                not_before: None,
            }))
        });
        self.look_at = match (is_in_cluster, is_of_before) {
            (true, _) => Some(Instant::now() + SHARDS),
            (_, true) => Some(Instant::now() + UPDATE),
            _ => None,
        };
        match found {
            Ok(Found::Nothing) => watched::succeeded(Work::Walk),
            // We read a new list of editions before the launcher wrote down since when it counts.
            Ok(Found::UnderWay(installed_at)) => {
                if let Some(current) = &mut self.current {
                    current.installed_at = installed_at;
                }
            }
            Ok(Found::Walked(installed_at)) => {
                self.end(outcome::CANCELLED, Some("the files that were walked before answer again"));
                if let Some(installed_at) = installed_at {
                    self.slot.walked.store(installed_at, Ordering::Release);
                }
                watched::succeeded(Work::Walk);
            }
            Ok(Found::Due(current)) => self.current = Some(*current),
            Err(failure) => {
                watched::failed(Work::Walk, &failure);
                if watched::is_news(Work::Walk, &failure) {
                    pgrx::log!("asn_inventory: the walk after a newer build is held up: {}", failure.message);
                }
                return;
            }
        }
        self.checked = Some(stamp);
    }
}

/// Whether an older generation answers for one that cannot be opened: its answers are not what changed.
fn stands_in(open: &[String]) -> bool {
    let manifest = maxmind::manifest();
    settings::snapshot().maxmind_editions.iter().any(|edition| {
        let current = manifest.editions.get(edition.name()).and_then(|state| state.current.as_ref());
        current.is_some_and(|current| !open.contains(&current.directory))
    })
}

impl Current {
    /// One piece. True: the walk is through and written down.
    fn step(&mut self) -> Result<bool, Failure> {
        self.not_before = None;
        let percent = u64::from(self.end - self.left) * 100 / u64::from(self.end.max(1));
        busy(&format!("walking ip_inventory after a newer build, {percent} %"));
        if self.left > 0 {
            let count = PIECE.min(self.end - self.next).min(self.left);
            let held = self.compare(&Which::Blocks(self.next, count), false)?;
            self.again.extend(held);
            self.next = (self.next + count) % self.end;
            self.left -= count;
            return Ok(false);
        }
        let again = std::mem::take(&mut self.again);
        let held = self.compare(&Which::Since(self.oldest, &again, &self.files), true);
        let held = match held {
            Ok(held) => held,
            Err(failure) => {
                self.again = again;
                return Err(failure);
            }
        };
        if held.is_empty() {
            return Ok(true);
        }
        self.again.extend(held);
        self.rest();
        Ok(false)
    }

    fn rest(&mut self) {
        self.not_before = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(PAUSES.1);
    }

    /// Compares and writes; returns the rows to write that another session holds. `last`: if none is held, the walk is
    /// recorded in the same transaction.
    fn compare(&self, which: &Which<'_>, last: bool) -> Result<Vec<IpAddr>, Failure> {
        let mut part = Part::of_walk();
        let mut held = Vec::new();
        let compared = tx::run(|| {
            let Some(schema) = Schema::hold() else { return 0 };
            let compared = rows::compare(&schema, which, BATCH, |found: &mut Vec<Place>| {
                found.sort_unstable_by_key(|(ip, _)| *ip);
                let before = part.locked;
                part.write(&schema, found);
                if part.locked > before {
                    held.extend(found.iter().map(|(ip, _)| *ip));
                }
            });
            if last && held.is_empty() {
                rows::note_walked(&schema, &self.generations, self.installed_at, &self.shards);
            }
            compared
        })?;
        if let Some(job) = self.job {
            let tallied = &part.tallied;
            // Rows compared again at the end were counted before.
            let looked = if last { 0 } else { compared };
            job.counts.add(&Done {
                processed: looked,
                cache_hits: looked.saturating_sub(tallied.written + part.errors),
                enriched: tallied.written.saturating_sub(tallied.not_found + tallied.skipped),
                maxmind_asn: tallied.with_asn,
                not_found: tallied.not_found,
                skipped: tallied.skipped,
                errors: part.errors,
                ..Done::default()
            });
        }
        Ok(held)
    }
}
