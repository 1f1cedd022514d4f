//! Answers of Team Cymru that are no longer trusted: their rows are made due again, a piece of the inventory at a time,
//! and keep their values until the new answer is there.
//!
//! The tables hold the whole state. Version 0.1.0 kept answers for whole announced prefixes; as long as one of those is
//! in `cymru_prefix`, its answers are in the inventory, too. They are deleted last, so a worker that is killed in
//! between starts again.
//!
//! Rows that other sessions hold are passed over, and come in the next pass, which goes through their pieces alone: one
//! row that is held for hours must not have the whole inventory read again and again. Rows that cannot be written are
//! tried again after an hour.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use std::vec::IntoIter;

use pgrx::PgSqlErrorCode;

use super::tables::{BATCH, Kept, part_in_schema};
use crate::inventory::distrust::Doubt;
use crate::inventory::{distrust, heap};
use crate::pg::catalog::Schema;
use crate::pg::{time, tx};
use crate::shared::trouble::Work;
use crate::shared::watched;

/// Blocks of one piece: some ten thousand rows.
const PIECE: u32 = 256;
/// Where Citus distributes the inventory, blocks of each shard.
const PIECE_OF_SHARDS: u32 = 16;
/// The first pause after rows were held, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// The pause after rows could not be written, or not be looked for.
const AGAIN: Duration = Duration::from_secs(3600);

/// The steps, in order: due rows must not be answered from doubtful answers, and the mark that there are any is removed
/// last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It is not known yet whether there is anything from 0.1.0.
    Look,
    /// Networks without a route are forgotten.
    Unrouted,
    /// Rows of the inventory are made due.
    Rows,
    /// Answers for wide networks, which are not used, are deleted.
    Wide,
}

/// A search, and how far it is.
#[derive(Debug)]
struct Walk {
    doubt: Doubt,
    /// Answers from before this (timestamptz) are meant.
    before: i64,
    phase: Phase,
    /// Rows that this pass made due. One that was updated meanwhile may have moved to a block that was passed, so the
    /// last pass is one that goes through everything and finds nothing.
    found: u64,
    /// Where the pieces begin in which others held rows in this pass.
    held: Vec<u32>,
    /// This pass goes through these pieces alone, which are those of the one before.
    again: Option<IntoIter<u32>>,
    /// Rows that cannot be written: they are passed over until all others are through.
    broken: HashSet<IpAddr>,
    /// Something was left in this pass or in the one before.
    leaves: bool,
    /// Where the next piece begins, and where the table ended when the pass began; of shards, that is not known.
    next: u32,
    end: Option<u32>,
    /// When it goes on, and the pause after the next lock.
    at: Instant,
    pause: Duration,
}

/// What came of a piece.
#[derive(Default)]
struct Piece {
    /// Rows that were made due.
    rows: u64,
    /// Others hold rows in it.
    held: bool,
    /// Where the next one begins, and where the table ended; nothing: the pass is through.
    next: Option<(u32, Option<u32>)>,
}

/// Makes rows due again.
#[derive(Debug)]
pub struct Recheck {
    /// Searches, the first of which goes on that does not pause.
    walks: Vec<Walk>,
}

impl Recheck {
    /// For a worker that begins.
    pub fn new() -> Recheck {
        Recheck { walks: vec![Walk::new(Doubt::OlderVersion, Phase::Look)] }
    }

    /// Whether there is anything to do now.
    pub fn is_busy(&self) -> bool {
        let now = Instant::now();
        self.walks.iter().any(|walk| walk.at <= now)
    }

    /// Answers are in doubt from now on. A search that has not come to the rows yet begins again.
    pub fn doubt(&mut self, doubt: Doubt) {
        let is_young = |walk: &&mut Walk| walk.doubt == doubt && walk.phase == Phase::Unrouted;
        if let Some(walk) = self.walks.iter_mut().find(is_young) {
            walk.begin_again();
            return;
        }
        say(doubt);
        self.walks.push(Walk::new(doubt, Phase::Unrouted));
    }

    /// One piece. True: rows were made due.
    pub fn turn(&mut self) -> bool {
        let now = Instant::now();
        let Some(at) = self.walks.iter().position(|walk| walk.at <= now) else { return false };
        let walk = &mut self.walks[at];
        match walk.piece() {
            Ok((rows, more)) => {
                if !more {
                    self.walks.remove(at);
                }
                // What one of them has left is shown until it is done.
                if !self.walks.iter().any(|walk| walk.leaves) {
                    watched::succeeded(Work::Recheck);
                }
                rows > 0
            }
            // Another session holds the table.
            Err(failure) if failure.is_lock() => {
                walk.wait();
                false
            }
            Err(failure) => {
                if watched::is_news(Work::Recheck, &failure) {
                    pgrx::log!(
                        "asn_inventory: older answers of Team Cymru could not be made due again: {}",
                        failure.message
                    );
                }
                walk.leaves = true;
                walk.at = Instant::now() + AGAIN;
                false
            }
        }
    }
}

impl Walk {
    fn new(doubt: Doubt, phase: Phase) -> Walk {
        Walk {
            doubt,
            before: time::now(),
            phase,
            found: 0,
            held: Vec::new(),
            again: None,
            broken: HashSet::new(),
            leaves: false,
            next: 0,
            end: None,
            at: Instant::now(),
            pause: PAUSES.0,
        }
    }

    /// Answers of until now are meant.
    fn begin_again(&mut self) {
        (self.before, self.next, self.end) = (time::now(), 0, None);
        (self.held, self.again) = (Vec::new(), None);
    }

    /// How many rows of the inventory it made due, and whether there is more to look through.
    fn piece(&mut self) -> Result<(u64, bool), tx::Failure> {
        if self.phase == Phase::Look {
            let any = part_in_schema(Work::Recheck, distrust::is_from_older_version)?;
            if any {
                say(self.doubt);
                self.phase = Phase::Unrouted;
            }
            return Ok((0, any));
        }
        let mut kept = Kept::default();
        let piece = part_in_schema(Work::Recheck, |schema| self.look_through(schema, &mut kept))?;
        self.broken.extend(&kept.told(Work::Recheck).broken);
        self.found += piece.rows;
        self.leaves |= piece.held || !self.broken.is_empty();
        if piece.held {
            self.held.push(self.next);
            watched::kept(Work::Recheck, &held());
        }
        let next = match &mut self.again {
            Some(again) => again.next().map(|at| (at, None)),
            None => piece.next,
        };
        (self.next, self.end) = next.unwrap_or_default();
        let more = next.is_some() || self.pass_ended();
        Ok((piece.rows, more))
    }

    fn look_through(&self, schema: &Schema, kept: &mut Kept) -> Piece {
        let is_of_rows = self.phase == Phase::Rows;
        let is_spread = is_of_rows && heap::is_everywhere(schema);
        let blocks = self.next..self.next.saturating_add(if is_spread { PIECE_OF_SHARDS } else { PIECE });
        let mut piece = Piece::default();
        if is_of_rows {
            let find = |free| {
                let mut ips = distrust::doubtful(schema, self.doubt, self.before, &blocks, free);
                ips.retain(|ip| !self.broken.contains(ip));
                ips
            };
            for part in find(!is_spread).chunks(BATCH) {
                pgrx::check_for_interrupts!();
                kept.make_due(schema, part, |part| {
                    piece.rows += distrust::make_due(schema, self.doubt, self.before, part);
                });
            }
            piece.held = find(false).iter().any(|ip| !kept.not_due.broken.contains(ip));
        } else {
            piece.held = !distrust::forget_networks(schema, self.phase == Phase::Wide, self.before, &blocks);
        }
        let table = if is_of_rows { c"ip_inventory" } else { c"cymru_prefix" };
        let end = self.end.or_else(|| (!is_spread).then(|| schema.blocks(table)));
        let goes_on = end.map_or_else(|| distrust::goes_on_at(schema, blocks.end), |end| blocks.end < end);
        piece.next = goes_on.then_some((blocks.end, end));
        piece
    }

    /// What follows a pass: one from the beginning, or through what was held. False: nothing.
    fn pass_ended(&mut self) -> bool {
        let (found, held) = (std::mem::take(&mut self.found), std::mem::take(&mut self.held));
        let was_of_held = self.again.take().is_some();
        if found > 0 {
            self.pause = PAUSES.0;
        }
        if !held.is_empty() {
            let mut again = held.into_iter();
            self.next = again.next().unwrap_or_default();
            self.again = Some(again);
            self.wait();
        } else if was_of_held {
            // Whoever held a row may have moved it.
        } else if found == 0 && !self.broken.is_empty() {
            self.broken.clear();
            self.at = Instant::now() + AGAIN;
        } else if found == 0 {
            self.leaves = false;
            self.phase = match self.phase {
                Phase::Look => Phase::Unrouted,
                Phase::Unrouted => Phase::Rows,
                Phase::Rows if self.doubt == Doubt::OlderVersion => Phase::Wide,
                Phase::Rows | Phase::Wide => return false,
            };
        }
        true
    }

    fn wait(&mut self) {
        self.at = Instant::now() + self.pause;
        self.pause = (2 * self.pause).min(PAUSES.1);
    }
}

fn say(doubt: Doubt) {
    pgrx::log!("asn_inventory: {} are asked about again", doubt.what());
}

/// Rows were passed over, without a wait for them.
fn held() -> tx::Failure {
    let message = "other sessions hold rows with answers in doubt".to_owned();
    tx::Failure { code: PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE, message }
}
