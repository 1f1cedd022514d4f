//! Answers of Team Cymru that are no longer trusted: their rows are made due again, a piece of the inventory at a time,
//! and keep their values until the new answer is there.
//!
//! The tables hold the whole state. Version 0.1.0 kept answers for whole announced prefixes; as long as one of those is
//! in `cymru_prefix`, its answers are in the inventory, too. They are deleted last, so a worker that is killed in
//! between starts again.

use super::tables::{in_schema, part_in_schema};
use crate::inventory::distrust;
use crate::inventory::distrust::Doubt;
use crate::pg::{time, tx};
use crate::shared::trouble::Work;

/// Blocks of one piece: some ten thousand rows.
const PIECE: u32 = 256;

/// The steps, in order: due rows must not be answered from doubtful answers, and the mark that there are any is removed
/// last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Networks without a route are forgotten.
    Unrouted,
    /// Rows of the inventory are made due.
    Rows,
    /// Answers for wide networks, which are not used, are deleted.
    Wide,
}

/// The part that is being searched.
#[derive(Debug)]
struct Walk {
    doubt: Doubt,
    /// Answers from before this (timestamptz) are meant.
    before: i64,
    phase: Phase,
    /// Rows that this pass made due. One that was updated meanwhile may have moved to a block that was passed, so the
    /// last pass is one that finds nothing.
    found: u64,
    /// Where the next piece begins, and where the table ended.
    next: u32,
    end: Option<u32>,
}

/// Makes rows due again.
#[derive(Debug)]
pub struct Recheck {
    /// It is not known yet whether there is anything from 0.1.0.
    looked: bool,
    walk: Option<Walk>,
    /// The part that is searched after that.
    next: Option<Doubt>,
}

impl Recheck {
    /// For a worker that begins.
    pub fn new() -> Recheck {
        Recheck { looked: false, walk: None, next: None }
    }

    /// Whether there is anything to do.
    pub fn is_busy(&self) -> bool {
        !self.looked || self.walk.is_some() || self.next.is_some()
    }

    /// Answers are in doubt from now on. One that is looked through already is not looked through twice.
    pub fn doubt(&mut self, doubt: Doubt) {
        if !self.walk.as_ref().is_some_and(|walk| walk.doubt == doubt && walk.phase == Phase::Unrouted) {
            self.next = Some(doubt);
        }
    }

    /// One piece. True: rows were made due.
    pub fn turn(&mut self) -> bool {
        if !self.looked {
            match part_in_schema(Work::Recheck, distrust::is_from_older_version) {
                Ok(true) => self.walk = Some(Walk::new(Doubt::OlderVersion)),
                Ok(false) => {}
                Err(_) => return false,
            }
            self.looked = true;
        }
        if self.walk.is_none() {
            self.walk = self.next.take().map(Walk::new);
        }
        let Some(walk) = &mut self.walk else { return false };
        match walk.piece() {
            Ok((rows, more)) => {
                if !more {
                    self.walk = None;
                }
                rows > 0
            }
            // Another session holds a row: the next turn tries again.
            Err(failure) if failure.is_lock() => false,
            Err(failure) => {
                pgrx::log!(
                    "asn_inventory: older answers of Team Cymru could not be made due again: {}",
                    failure.message
                );
                self.walk = None;
                false
            }
        }
    }
}

impl Walk {
    fn new(doubt: Doubt) -> Walk {
        pgrx::log!("asn_inventory: {} are asked about again", doubt.what());
        Walk { doubt, before: time::now(), phase: Phase::Unrouted, found: 0, next: 0, end: None }
    }

    /// How many rows of the inventory it made due, and whether there is more to look through.
    fn piece(&mut self) -> Result<(u64, bool), tx::Failure> {
        let (doubt, before, phase, next) = (self.doubt, self.before, self.phase, self.next);
        let known = self.end;
        let (end, rows) = in_schema(Work::Recheck, |schema| {
            let table = if phase == Phase::Rows { c"ip_inventory" } else { c"cymru_prefix" };
            let end = known.unwrap_or_else(|| schema.blocks(table));
            let rows = match phase {
                Phase::Rows => distrust::make_due(schema, doubt, before, next, PIECE),
                _ => {
                    distrust::forget_networks(schema, phase == Phase::Wide, before, next, PIECE);
                    0
                }
            };
            (end, rows)
        })?;
        (self.end, self.next) = (Some(end), next.saturating_add(PIECE));
        self.found += rows;
        if self.next < end {
            return Ok((rows, true));
        }
        let following = match phase {
            Phase::Unrouted => Some(Phase::Rows),
            Phase::Rows if self.found > 0 => Some(Phase::Rows),
            Phase::Rows if doubt == Doubt::OlderVersion => Some(Phase::Wide),
            Phase::Rows | Phase::Wide => None,
        };
        (self.phase, self.found, self.next, self.end) = (following.unwrap_or(phase), 0, 0, None);
        Ok((rows, following.is_some()))
    }
}
