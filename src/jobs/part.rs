//! Writing answers into rows of which the places are known, in one transaction of a job or of a walk, and what came of it.

use std::net::IpAddr;

use crate::files::maxmind;
use crate::inventory::batch;
use crate::inventory::batch::{Halving, Outcome};
use crate::inventory::due::Place;
use crate::inventory::store::{Tallied, Writer};
use crate::pg::catalog::Schema;
use crate::pg::time;
use crate::pg::tx::Failure;
use crate::shared::watched;

/// Writes of one transaction that fail on a lock, after which rows are not looked for any more that are free: each has
/// waited. What is left is for the next pass.
pub(super) const PATIENCE: u32 = 64;

/// The result of one transaction. Of the rows that were not written, only those of this transaction are kept.
pub struct Part {
    stale_before: i64,
    walks: bool,
    halving: Halving,
    /// The rows written.
    pub tallied: Tallied,
    /// How many rows another session held, or moved.
    locked: u64,
    /// Where these rows are; of a batch in which some moved, all. Only of a walk.
    held: Vec<Place>,
    /// Rows that were not tried: too many others were held, or could not be written.
    left: Vec<Place>,
    /// Rows that cannot be written.
    pub broken: Vec<IpAddr>,
    /// The first of them, and why.
    pub why: Option<(IpAddr, Failure)>,
}

impl Part {
    /// Nothing yet; `stale_before` (timestamptz): answers from before this are due. `backward`: see [`Halving::backward`].
    pub fn of(stale_before: i64, backward: bool) -> Part {
        let halving = Halving::new("asn_inventory backfill", PATIENCE).backward(backward);
        Part {
            stale_before,
            walks: false,
            halving,
            tallied: Tallied::default(),
            locked: 0,
            held: Vec::new(),
            left: Vec::new(),
            broken: Vec::new(),
            why: None,
        }
    }

    /// Of a walk: a row that differs must be written, independent of its time.
    pub fn of_walk(backward: bool) -> Part {
        Part { walks: true, ..Part::of(i64::MAX, backward) }
    }

    /// How many rows cannot be written.
    pub fn errors(&self) -> u64 {
        self.broken.len() as u64
    }

    /// How many rows another session held or moved, or were left because of such rows.
    pub fn unwritten(&self) -> u64 {
        self.locked + self.left.len() as u64
    }

    /// Where these rows are.
    pub fn unwritten_places(&self) -> impl Iterator<Item = &Place> {
        self.held.iter().chain(&self.left)
    }

    /// Whether there is nothing that was not written.
    pub fn is_whole(&self) -> bool {
        self.unwritten() == 0 && self.broken.is_empty()
    }

    /// Rows that were left because others cannot be written: without those they can be tried at once.
    pub fn take_untried(&mut self) -> Vec<Place> {
        if self.halving.is_out_of_faults() { std::mem::take(&mut self.left) } else { Vec::new() }
    }

    /// Writes a batch, without the rows that cannot be written. The log gets one line for each batch.
    pub fn write(&mut self, schema: &Schema, rows: &[Place]) {
        let before = (self.errors(), self.unwritten());
        let Part { stale_before, walks, halving, tallied, locked, held, left, broken, .. } = self;
        // The first of those that cannot be written, and why.
        let mut refused: Option<(IpAddr, Failure)> = None;
        let mut write = |rows: &[Place]| {
            let writer = Writer::new(schema);
            let mut writer = if *walks { writer.with_lists_alone() } else { writer };
            maxmind::with(|databases| writer.update_at(databases, rows, *stale_before, time::now()))
        };
        let mut hold = |rows: &[Place], count: u64| {
            *locked += count;
            if *walks && count > 0 {
                held.extend_from_slice(rows);
            }
        };
        halving.write(rows, &batch::hurry, &mut write, &mut |outcome| match outcome {
            Outcome::Written(rows, written) => {
                tallied.add(&written);
                // Those that moved meanwhile: the next pass sees where they are, and whether they are due still.
                hold(rows, (rows.len() as u64).saturating_sub(written.written));
            }
            Outcome::Refused(row, failure) if failure.is_lock() => hold(std::slice::from_ref(row), 1),
            Outcome::Refused((ip, _), failure) => {
                broken.push(*ip);
                refused.get_or_insert((*ip, failure));
            }
            Outcome::Left(rows) => left.extend_from_slice(rows),
        });
        if let Some((ip, failure)) = refused {
            say_broken(ip, &failure, self.errors() - before.0, self.unwritten() == before.1);
            self.why.get_or_insert((ip, failure));
        }
    }
}

/// Logs that so many rows of a batch cannot be written, and this one is the first; `whole`: the others were.
pub(super) fn say_broken(ip: IpAddr, failure: &Failure, count: u64, whole: bool) {
    let why = watched::why(failure, count.saturating_sub(1) as usize);
    if whole {
        pgrx::log!("asn_inventory: {ip} cannot be written to ip_inventory; the rest of its batch was written: {why}");
    } else {
        pgrx::log!("asn_inventory: {ip} cannot be written to ip_inventory: {why}");
    }
}
