//! Writing many rows at a time if one of them may fail: a batch is written in a subtransaction; if that fails and a row
//! may be the cause, it is halved until only the row that cannot be written is left. An error without a guilty row,
//! such as a full disk, is raised: a half would fail as well.

use crate::pg::citus;
use crate::pg::memory;
use crate::pg::tx;
use crate::pg::tx::{Failure, Settings};

/// The result of a part of a batch.
pub enum Outcome<'a, T, R> {
    /// Written; the writer's result.
    Written(&'a [T], R),
    /// A row that cannot be written, or that another session holds.
    Refused(&'a T, Failure),
    /// Not tried: too many writes had failed before.
    Left(&'a [T]),
}

/// Halves batches. Failures are counted over all batches that one of these writes: each failure may have waited.
pub struct Halving {
    /// Writes that failed.
    failures: u32,
    /// With so many, the rest is left.
    most: u32,
    /// Of the memory that a write takes, for those who look for memory that was not given back.
    memory: &'static str,
}

impl Halving {
    /// Leaves the rest after `most` writes that failed.
    pub fn new(memory: &'static str, most: u32) -> Halving {
        Halving { failures: 0, most, memory }
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
        if rows.is_empty() {
            return;
        }
        if self.failures >= self.most {
            tell(Outcome::Left(rows));
            return;
        }
        let result = tx::attempt(|| memory::within(self.memory, || write(rows)));
        match (result, rows) {
            (Ok(result), _) => tell(Outcome::Written(rows, result)),
            (Err(failure), _) if !failure.may_be_of_a_row() => failure.raise(),
            (Err(failure), [row]) => {
                self.failures += 1;
                tell(Outcome::Refused(row, failure));
            }
            (Err(_), _) => {
                self.failures += 1;
                hurry();
                let (left, right) = rows.split_at(rows.len() / 2);
                self.write(left, hurry, write, tell);
                self.write(right, hurry, write, tell);
            }
        }
    }
}

/// For transactions of our own: waits for locks are short until it ends, on other nodes too.
pub fn hurry() {
    if citus::is_here() {
        citus::bound_waits(&Settings::begin(), c"200ms");
    }
    tx::set_local(c"lock_timeout", c"20ms");
}
