//! The worker's maintenance: it counts the inventory, and the addresses of every AS.
//!
//! PostgreSQL's own count of written rows shows whether anything changed, for all writers: the worker, its helpers, a
//! restore, or a user. The counts are made again from the inventory instead of being updated: an absorb would have to
//! write a row an AS each second, and no crash, no deletion by hand and no job that runs twice can make them wrong.
//! Counting reads the whole table, so the longer it takes, the less often it is done; and a large one has its own
//! process ([`super::counter`]), so that nothing waits for it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pgrx::pg_sys;

use crate::ingest::restore;
use crate::inventory::{activity_count, asn, count, heap};
use crate::pg::catalog::Schema;
use crate::pg::citus;
use crate::pg::process;
use crate::pg::process::{Handle, Registration};
use crate::pg::tx;
use crate::shared;
use crate::shared::Database;
use crate::shared::trouble::Work;
use crate::shared::watched;

/// Blocks of an inventory whose count is left to a process of its own: 32 MB, some tens of milliseconds.
const LARGE: u32 = 4096;
/// Shortest time between two counts.
const SHORTEST: Duration = Duration::from_secs(2);
/// How often to check for writes.
const LOOK: Duration = Duration::from_secs(5);
/// A count takes at most this part of the time,
const PART: u32 = 50;
/// and days and hours this one, since they are to be seconds old, as a rule;
const PART_OF_HOURS: u32 = 4;
/// unless that takes so long that it would be this old. A backfill of years has many hours to count, once.
const LONGEST: Duration = Duration::from_secs(600);
/// Passes over hours that are to be counted, of some hundred each, behind one count of the inventory.
pub const MOST_PASSES: u32 = 100;
/// How often it is looked, without any write, whether a day is over or has become too old.
const ROUND: Duration = Duration::from_secs(3600);

/// When to count next.
pub struct Maintenance {
    database: pg_sys::Oid,
    slot: &'static Database,
    changed: bool,
    /// When it was last counted for the time alone.
    round: Option<Instant>,
    /// When writes were last checked.
    looked: Option<Instant>,
    not_before: Option<Instant>,
    /// The counter at work, and since when.
    counter: Option<(Handle, Instant)>,
}

impl Maintenance {
    /// For the worker of a database.
    pub fn new(database: pg_sys::Oid, slot: &'static Database) -> Maintenance {
        Maintenance {
            database,
            slot,
            changed: false,
            round: Some(Instant::now()),
            looked: None,
            not_before: None,
            counter: None,
        }
    }

    /// The inventory was written.
    pub fn note(&mut self) {
        self.changed = true;
    }

    /// Counts, if anything changed and enough time has passed.
    pub fn turn(&mut self) {
        if let Some((counter, began)) = &self.counter {
            if !counter.stopped() {
                return;
            }
            let began = *began;
            self.counter = None;
            self.counted(began, self.slot.counted.load(Ordering::Acquire));
        }
        if self.round.is_none_or(|at| at.elapsed() >= ROUND) {
            self.round = Some(Instant::now());
            self.changed = true;
        }
        if !self.changed && self.looked.is_none_or(|at| at.elapsed() >= LOOK) {
            self.looked = Some(Instant::now());
            let differs = |schema: Schema| {
                if !heap::is_everywhere(&schema) {
                    return asn::counted_changes(&schema) != Some(asn::changes(&schema));
                }
                // The coordinator counts for all.
                citus::is_coordinator()
                    && (count::changes(&schema).is_some_and(|changes| asn::counted_changes(&schema) != Some(changes))
                        || activity_count::is_due(&schema))
            };
            self.changed = tx::run(|| Schema::hold().is_some_and(differs)).unwrap_or(true);
        }
        if !self.changed || self.not_before.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let began = Instant::now();
        if self.slot.living_counter().is_some() {
            // That of a worker before this one; what changed since is not in it.
            self.not_before = Some(began + SHORTEST);
            return;
        }
        // Later writes may be too late for this count.
        self.changed = false;
        let is_large = |schema: Schema| {
            is_mine(&schema).then(|| heap::is_everywhere(&schema) || schema.blocks(c"ip_inventory") > LARGE)
        };
        let large = match tx::run(|| Schema::hold().map(is_large)) {
            Ok(Some(None)) => return,
            found => found.ok().flatten().flatten(),
        };
        if large.unwrap_or(false)
            && let Some(counter) = self.start()
        {
            self.counter = Some((counter, began));
            return;
        }
        self.counted(began, count(1));
    }

    /// `None`: no process is free, and the worker counts.
    fn start(&self) -> Option<Handle> {
        self.slot.counted.store(false, Ordering::Release);
        let counter = Registration {
            kind: c"asn_inventory counter",
            function: c"asn_inventory_counter_main",
            argument: pg_sys::Datum::from(self.database),
            in_recovery: false,
            restart: None,
            notify: process::my_pid(),
        };
        counter.start()
    }

    fn counted(&mut self, began: Instant, done: bool) {
        self.changed |= !done;
        let inventory = Duration::from_millis(self.slot.count_took.load(Ordering::Relaxed).into());
        let rest = began.elapsed().saturating_sub(inventory);
        let pause = SHORTEST.max(inventory * PART).max(rest * PART_OF_HOURS);
        self.not_before = Some(Instant::now() + pause.min(LONGEST));
    }

    /// How long there is nothing to do.
    pub fn patience(&self) -> Duration {
        match self.not_before {
            // The end of the counter wakes the worker.
            _ if self.counter.is_some() => Duration::MAX,
            Some(at) if self.changed => at.saturating_duration_since(Instant::now()),
            _ => self.looked.map_or(Duration::ZERO, |at| LOOK.saturating_sub(at.elapsed())),
        }
    }
}

/// Whether this node counts: of a cluster, the coordinator does.
fn is_mine(schema: &Schema) -> bool {
    !heap::is_everywhere(schema) || citus::is_coordinator()
}

/// Counts, with so many passes over hours at most. False: it has to be done again.
pub fn count(passes: u32) -> bool {
    process::busy("counting the inventory");
    // The reported statistics include this process's writes.
    process::hand_in();
    let began = Instant::now();
    let result = watched::run(Work::Count, || {
        let counted = Schema::hold()
            .filter(is_mine)
            .map(|schema| if heap::is_everywhere(&schema) { count::recount(&schema) } else { asn::recount(&schema) });
        restore::give_way();
        counted
    });
    if let Err(failure) = &result
        && watched::is_news(Work::Count, failure)
    {
        pgrx::log!("asn_inventory: the inventory could not be counted: {}", failure.message);
    }
    if let Some(slot) = shared::here() {
        slot.count_took.store(began.elapsed().as_millis().try_into().unwrap_or(u32::MAX), Ordering::Relaxed);
    }
    result.is_ok() && (0..passes).map_while(|_| count_activity()).any(|more| !more)
}

/// Counts what was observed by the hour: some hundred hours. Whether more is left; `None`: it failed.
fn count_activity() -> Option<bool> {
    let recount = || {
        let more = Schema::hold().filter(is_mine).is_some_and(|schema| activity_count::recount(&schema));
        restore::give_way();
        more
    };
    match watched::run(Work::Activity, recount) {
        Ok(more) => Some(more),
        Err(failure) => {
            if watched::is_news(Work::Activity, &failure) {
                pgrx::log!("asn_inventory: activity could not be counted: {}", failure.message);
            }
            None
        }
    }
}
