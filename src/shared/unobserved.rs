//! Statements of a database whose rows were not observed, because the queue could not be had in time: by table, until its rows
//! are brought in. The gap of one table must not be forgotten for that of another.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use crate::pg::snapshot::Shown;

/// Tables that are told apart.
const TABLES: usize = 8;
/// Stands for the further ones. No table has this OID.
pub const OTHERS: u32 = u32::MAX;

/// Those of one database. All-zero: there is none.
#[repr(C)]
pub struct Unobserved {
    /// Statements since the server started.
    total: AtomicU64,
    gaps: [Gap; TABLES],
    /// What is missing of further tables.
    others: Gap,
}

/// What is missing of one table.
#[repr(C)]
struct Gap {
    /// 0: free. Without statements, another table may take the place.
    table: AtomicU32,
    statements: AtomicU64,
    /// When the last one was (timestamptz).
    at: AtomicI64,
    /// No transaction of them has a lower id; as its complement, so that zero is none.
    first: AtomicU64,
    /// Their highest transaction. (Full ids.) A time would not do: a snapshot does not show what began before it and commits
    /// after it.
    last: AtomicU64,
}

/// What is missing of all tables, and the last of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Missing {
    /// Statements.
    pub statements: u64,
    /// The table of the last one, or [`OTHERS`].
    pub table: u32,
    /// When that was (timestamptz).
    pub at: i64,
}

impl Unobserved {
    /// Counts a statement on a table, of a transaction (its full id), at a time (timestamptz).
    pub fn count(&self, table: u32, transaction: u64, now: i64) {
        self.total.fetch_add(1, Ordering::Relaxed);
        match self.gap_of(table) {
            Some(gap) => {
                gap.count(transaction, now);
                // Another table took the place meanwhile, and a populate of that one would end it.
                if gap.table.load(Ordering::Acquire) != table {
                    self.others.count(transaction, now);
                }
            }
            None => self.others.count(transaction, now),
        }
    }

    fn gap_of(&self, table: u32) -> Option<&Gap> {
        let is_its = |gap: &&Gap| gap.table.load(Ordering::Acquire) == table;
        let take = |gap: &&Gap| {
            let of = gap.table.load(Ordering::Acquire);
            let is_free = of == 0 || gap.statements.load(Ordering::Acquire) == 0;
            let taken = || gap.table.compare_exchange(of, table, Ordering::AcqRel, Ordering::Acquire);
            is_free && taken().map_or_else(|now| now == table, |_| true)
        };
        self.gaps.iter().find(is_its).or_else(|| self.gaps.iter().find(take))
    }

    /// Whether a statement on a table would be counted without its name.
    pub fn has_no_place(&self, table: u32) -> bool {
        let is_taken = |gap: &Gap| {
            let of = gap.table.load(Ordering::Acquire);
            of != 0 && of != table && gap.statements.load(Ordering::Acquire) > 0
        };
        self.gaps.iter().all(is_taken)
    }

    /// The rows of these tables are brought in that a snapshot shows; `None`: nobody wants them.
    pub fn mend(&self, is_its: impl Fn(u32) -> bool, shown: Option<&Shown>) {
        for gap in &self.gaps {
            let table = gap.table.load(Ordering::Acquire);
            if table != 0 && gap.statements.load(Ordering::Acquire) > 0 && is_its(table) {
                gap.mend(shown);
            }
        }
    }

    /// The rows of all attached tables are brought in that a snapshot shows.
    pub fn mend_others(&self, shown: &Shown) {
        self.others.mend(Some(shown));
    }

    /// Whether statements were counted without the name of their table.
    pub fn has_others(&self) -> bool {
        self.others.statements.load(Ordering::Acquire) > 0
    }

    /// What is missing of the tables whose rows somebody wants.
    pub fn missing(&self, is_wanted: impl Fn(u32) -> bool) -> Missing {
        let mut missing = Missing::default();
        let gaps = self.gaps.iter().map(|gap| (gap.table.load(Ordering::Acquire), gap));
        for (table, gap) in gaps.chain([(OTHERS, &self.others)]) {
            let statements = gap.statements.load(Ordering::Acquire);
            if table == 0 || statements == 0 || table != OTHERS && !is_wanted(table) {
                continue;
            }
            missing.statements += statements;
            let at = gap.at.load(Ordering::Relaxed);
            if missing.table == 0 || at >= missing.at {
                (missing.table, missing.at) = (table, at);
            }
        }
        missing
    }

    /// Statements since the server started.
    pub fn total(&self) -> &AtomicU64 {
        &self.total
    }

    /// Forgets everything; for a slot that is given back.
    pub fn clear(&self) {
        self.total.store(0, Ordering::Relaxed);
        self.gaps.iter().chain([&self.others]).for_each(Gap::clear);
    }
}

impl Gap {
    fn count(&self, transaction: u64, now: i64) {
        self.first.fetch_max(!transaction, Ordering::AcqRel);
        self.last.fetch_max(transaction, Ordering::AcqRel);
        self.at.fetch_max(now, Ordering::Relaxed);
        // Afterwards: a mend that sees the statement sees its transaction.
        self.statements.fetch_add(1, Ordering::AcqRel);
        // Again: one that came just before has forgotten it.
        self.first.fetch_max(!transaction, Ordering::AcqRel);
    }

    /// The place stays: a statement that is counted at the same time must not be lost with it.
    fn mend(&self, shown: Option<&Shown>) {
        let statements = self.statements.load(Ordering::Acquire);
        let (first, last) = (self.first.load(Ordering::Acquire), self.last.load(Ordering::Acquire));
        if statements == 0 || shown.is_some_and(|shown| first == 0 || !shown.shows(!first, last)) {
            return;
        }
        // A statement that is counted since then may be missing: it changes one or the other.
        let set = |what: &AtomicU64, from| what.compare_exchange(from, 0, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if set(&self.first, first) && !set(&self.statements, statements) {
            self.first.fetch_max(first, Ordering::AcqRel);
        }
    }

    fn clear(&self) {
        self.statements.store(0, Ordering::Relaxed);
        self.at.store(0, Ordering::Relaxed);
        self.first.store(0, Ordering::Relaxed);
        self.last.store(0, Ordering::Relaxed);
        self.table.store(0, Ordering::Release);
    }
}
