//! After a newer build or other lists of networks are installed, or another list of editions lets other files answer, the
//! worker walks the inventory: it looks every address up again and writes only the rows whose answer changed. A build in
//! which one address in a hundred changed costs a hundredth of a table in dead rows, and a build without changes costs none.
//!
//! It goes in pieces of some thousand rows between the worker's other duties, so that nothing waits for it. Pieces have
//! a snapshot each, and a row that is updated during the walk may move from unread blocks to read ones; so at the end
//! one scan under one snapshot compares all rows written since the walk began. Only then the walk is recorded, and rows
//! that kept their time count as fresh (`maxmind::stale_before`). After a kill it starts again. [`current`] has the pieces,
//! and what becomes of rows that cannot be written.

mod current;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pgrx::pg_sys;

use self::current::{Current, Step};
use crate::files::maxmind;
use crate::inventory::heap;
use crate::inventory::walk as rows;
use crate::jobs::run::{finish, release};
use crate::jobs::submit;
use crate::pg::catalog::Schema;
use crate::pg::citus;
use crate::pg::process;
use crate::pg::{time, tx};
use crate::settings;
use crate::shared;
use crate::shared::trouble::Work;
use crate::shared::watched;
use crate::shared::{Database, Job, kind, outcome};

/// How often it is looked for shards that have come to this node, where there is Citus.
const SHARDS: Duration = Duration::from_secs(10);

/// How often it is looked for ALTER EXTENSION, where that is still to come.
const UPDATE: Duration = Duration::from_secs(20);

/// How often files that could not be opened are tried again.
const REOPEN: Duration = Duration::from_secs(10);

/// The detail of a walk that could not write all rows.
const LEFT: &str = "rows that cannot be written are tried again each hour, and at a reload";

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
    /// One came to its end, and nobody was told yet.
    has_ended: bool,
}

/// What a look at the files was made of.
type Stamp = (Option<u64>, Option<u64>, u64);

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
        Walk { slot, checked: None, look_at: None, current: None, given_up: Vec::new(), has_ended: false }
    }

    /// Whether one is under way. What it could not write when it was through is tried again later, and nobody waits for that.
    pub fn is_running(&self) -> bool {
        self.current.as_ref().is_some_and(|current| !current.is_through())
    }

    /// Whether one has come to its end since this was last asked.
    pub fn take_end(&mut self) -> bool {
        std::mem::take(&mut self.has_ended)
    }

    /// A dump brings rows that nobody has compared: what is known of the others says nothing of them. A walk under way compares
    /// them at its end, as all that was written since it began. False: it could not be written down.
    pub fn begin_anew(&mut self) -> bool {
        self.checked = None;
        if let Some(current) = &mut self.current {
            current.hurry();
        }
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
        match current.step() {
            Ok(Step::Recorded) => {
                watched::succeeded(Work::Walk);
                if current.has_files {
                    self.slot.walked.store(current.installed_at, Ordering::Release);
                }
                self.end(outcome::DONE, None);
                false
            }
            Ok(Step::Through) => {
                current.show();
                // All others are as these files have them: they are not asked for again because of a few.
                if current.has_files && !current.is_overflown() {
                    self.slot.walked.store(current.installed_at, Ordering::Release);
                }
                let job = current.job.take();
                self.end_job(job, outcome::DONE, Some(LEFT));
                false
            }
            Ok(Step::More) => {
                current.show();
                current.not_before.is_none()
            }
            // The extension is being dropped, or another session holds the whole table.
            Err(failure) => {
                watched::failed(Work::Walk, &failure);
                if watched::is_news(Work::Walk, &failure) {
                    pgrx::log!("asn_inventory: the walk after a newer build is held up: {}", failure.message);
                }
                current.failed();
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
        if let Some(current) = self.current.take() {
            self.end_job(current.job, how, detail);
        }
    }

    fn end_job(&mut self, job: Option<&'static Job>, how: u32, detail: Option<&str>) {
        self.has_ended = true;
        if let Some(job) = job {
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
        // A shard that has come since is one that it does not compare.
        let through =
            self.current.as_ref().filter(|current| current.is_through()).map(|current| current.shards().to_vec());
        let reloaded = self.checked.is_some_and(|(.., reloads)| reloads != stamp.2);
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
            let is_new = |shard: &i64| through.as_ref().is_some_and(|known| !known.contains(shard));
            if under_way.as_deref().is_some_and(same) && !heap::shards(&schema).iter().any(is_new) {
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
            let job = before.and_then(|(_, job)| job);
            let job = job.or_else(|| submit::own(&schema, kind::WALK, rows::estimate(&schema)));
            // Other files again before the end: it goes on from where it is, and around. From the beginning again and
            // again, the end would never be reached where lists change faster than a walk.
            let next = before.map_or(0, |(next, _)| next % end);
            let current = Current::new(&schema, generations, (installed_at, has_files), job, (next, end));
            Found::Due(Box::new(current))
        });
        self.look_at = match (is_in_cluster, is_of_before) {
            (true, _) => Some(Instant::now() + SHARDS),
            (_, true) => Some(Instant::now() + UPDATE),
            // What answers changes when they can be opened, and nothing tells.
            _ if maxmind::is_incomplete() => Some(Instant::now() + REOPEN),
            _ => None,
        };
        match found {
            Ok(Found::Nothing) if self.current.is_some() => {}
            Ok(Found::Nothing) => watched::succeeded(Work::Walk),
            // We read a new list of editions before the launcher wrote down since when it counts.
            Ok(Found::UnderWay(installed_at)) => {
                if let Some(current) = &mut self.current {
                    current.installed_at = installed_at;
                    if reloaded {
                        current.hurry();
                    }
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
