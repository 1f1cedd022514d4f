//! Writing many rows at a time if one of them may fail: a batch is written in a subtransaction; if that fails and a row
//! may be the cause, it is halved until only the row that cannot be written is left. An error without a guilty row,
//! such as a full disk, is raised: a half would fail as well.
//!
//! Rows of a Citus cluster are taken apart by shard first. While a transaction of the coordinator has written to several shards
//! in one statement, Citus keeps every other statement on several of these out, whatever rows it is of: halves would meet that
//! lock again and again, until hardly more than a row is left. A statement on a single shard waits for rows alone.

use std::collections::HashMap;
use std::net::IpAddr;

use super::heap;
use crate::pg::argument;
use crate::pg::catalog::Schema;
use crate::pg::citus;
use crate::pg::memory;
use crate::pg::session;
use crate::pg::sql::Sql;
use crate::pg::tx;
use crate::pg::tx::{Failure, Settings};

/// Writes of one transaction that fail for another reason than a lock, after which the rest is left. They do not wait, but
/// each costs a subtransaction.
const MOST_FAULTS: u32 = 1000;

/// The result of a part of a batch.
pub enum Outcome<'a, T, R> {
    /// Written; the writer's result.
    Written(&'a [T], R),
    /// A row that cannot be written, or that another session holds.
    Refused(&'a T, Failure),
    /// Not tried: too many writes had failed before.
    Left(&'a [T]),
}

/// Halves batches. Failures are counted over all batches that one of these writes.
pub struct Halving {
    /// Writes that failed on a lock: each has waited.
    waits: u32,
    /// After so many, no batch is halved any more for a lock; after twice as many, the rest is left.
    most: u32,
    /// Writes that failed for another reason.
    faults: u32,
    /// Of a batch with a lock in it, the second half comes first.
    backward: bool,
    /// Of the memory that a write takes, for those who look for memory that was not given back.
    memory: &'static str,
}

impl Halving {
    /// Takes a batch apart for locks until `most` writes have failed on one. Batches behind are still tried, but as a whole.
    pub fn new(memory: &'static str, most: u32) -> Halving {
        Halving { waits: 0, most, faults: 0, backward: false, memory }
    }

    /// With `backward`, what is behind locked rows is written before these are looked for: whoever tries again and again does
    /// so every other time, and no row waits for others in front of it.
    pub fn backward(self, backward: bool) -> Halving {
        Halving { backward, ..self }
    }

    /// Whether rows were left because of others that cannot be written. Without those, more can be done at once.
    pub fn is_out_of_faults(&self) -> bool {
        self.faults >= MOST_FAULTS
    }

    /// Writes a batch, and reports the result of each part. `hurry` is called when a batch is halved: the first wait
    /// for a lock was long, and short waits are enough to find the locked row.
    pub fn write<T, R>(
        &mut self,
        rows: &[T],
        hurry: &impl Fn(),
        write: &mut impl FnMut(&[T]) -> R,
        tell: &mut impl FnMut(Outcome<'_, T, R>),
    ) {
        self.write_apart(rows, &|_| Vec::new(), hurry, write, tell);
    }

    /// The same for rows that a lock may be in the way of together, and not in parts: `apart` gives these, or none or one where
    /// there is nothing to take apart.
    pub fn write_apart<T, R>(
        &mut self,
        rows: &[T],
        apart: &impl Fn(&[T]) -> Vec<Vec<T>>,
        hurry: &impl Fn(),
        write: &mut impl FnMut(&[T]) -> R,
        tell: &mut impl FnMut(Outcome<'_, T, R>),
    ) {
        if rows.is_empty() {
            return;
        }
        // A server that gives out no transaction ids any more says so with an error that may be a row's as well. It is
        // raised here, and no row is blamed.
        session::transaction();
        self.write_part(rows, false, apart, hurry, write, tell);
    }

    /// The same for a batch, or a part of one; `locked`: a lock was in the way of what it is a half of.
    fn write_part<T, R>(
        &mut self,
        rows: &[T],
        locked: bool,
        apart: &impl Fn(&[T]) -> Vec<Vec<T>>,
        hurry: &impl Fn(),
        write: &mut impl FnMut(&[T]) -> R,
        tell: &mut impl FnMut(Outcome<'_, T, R>),
    ) {
        if rows.is_empty() {
            return;
        }
        let most = if locked { self.most } else { self.most.saturating_mul(2) };
        if self.waits >= most || self.faults >= MOST_FAULTS {
            tell(Outcome::Left(rows));
            return;
        }
        match self.attempt(rows, write) {
            Ok(result) => tell(Outcome::Written(rows, result)),
            Err(failure) => self.take_apart(rows, failure, apart, hurry, write, tell),
        }
    }

    /// Writes rows as a whole. A failure that no row is the cause of is raised.
    fn attempt<T, R>(&mut self, rows: &[T], write: &mut impl FnMut(&[T]) -> R) -> Result<R, Failure> {
        let failure = match tx::attempt(|| memory::within(self.memory, || write(rows))) {
            Ok(result) => return Ok(result),
            Err(failure) if !failure.may_be_of_a_row() => failure.raise(),
            Err(failure) => failure,
        };
        *(if failure.is_lock() { &mut self.waits } else { &mut self.faults }) += 1;
        Err(failure)
    }

    /// Writes rows in parts that could not be written as a whole.
    fn take_apart<T, R>(
        &mut self,
        rows: &[T],
        failure: Failure,
        apart: &impl Fn(&[T]) -> Vec<Vec<T>>,
        hurry: &impl Fn(),
        write: &mut impl FnMut(&[T]) -> R,
        tell: &mut impl FnMut(Outcome<'_, T, R>),
    ) {
        let is_lock = failure.is_lock();
        if let [row] = rows {
            tell(Outcome::Refused(row, failure));
            return;
        }
        hurry();
        let parts = if is_lock { apart(rows) } else { Vec::new() };
        if parts.len() > 1 {
            // Each as a whole first: what nobody holds does not wait for the others.
            let mut held = Vec::new();
            for part in &parts {
                match self.attempt(part, write) {
                    Ok(result) => tell(Outcome::Written(part, result)),
                    Err(failure) => held.push((part, failure)),
                }
            }
            for (part, failure) in held {
                if part.len() > 1 && self.waits >= self.most {
                    tell(Outcome::Left(part));
                } else {
                    self.take_apart(part, failure, apart, hurry, write, tell);
                }
            }
            return;
        }
        let (left, right) = rows.split_at(rows.len() / 2);
        let halves = if is_lock && self.backward { [right, left] } else { [left, right] };
        for half in halves {
            self.write_part(half, is_lock, apart, hurry, write, tell);
        }
    }
}

/// The rows of each shard, where Citus distributes the inventory, in the order of the first ones; else none.
pub fn by_shard<T: Clone>(schema: &Schema, rows: &[T], ip: impl Fn(&T) -> IpAddr) -> Vec<Vec<T>> {
    if !heap::is_everywhere(schema) {
        return Vec::new();
    }
    let ips: Vec<IpAddr> = rows.iter().map(ip).collect();
    let sql = Sql::on(schema, c"ip_inventory");
    let found = sql.query(
        "SELECT pg_catalog.get_shard_id_for_distribution_column($1::regclass, a.ip)
         FROM pg_catalog.unnest($2) WITH ORDINALITY AS a(ip, place) ORDER BY a.place",
        &[argument::oid(schema.relation(c"ip_inventory")), argument::addresses(&ips)],
    );
    let (mut parts, mut places): (Vec<Vec<T>>, HashMap<Option<i64>, usize>) = Default::default();
    for (row, place) in rows.iter().zip(0..found.len()) {
        let part = *places.entry(found.get(place, 1)).or_insert(parts.len());
        if part == parts.len() {
            parts.push(Vec::new());
        }
        parts[part].push(row.clone());
    }
    parts
}

/// For transactions of our own: waits for locks are short until it ends, on other nodes too.
pub fn hurry() {
    if citus::is_here() {
        citus::bound_waits(&Settings::begin(), c"200ms");
    }
    tx::set_local(c"lock_timeout", c"20ms");
}
