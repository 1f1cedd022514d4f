//! Statements of a database whose rows were not observed, because the queue could not be had in time: by table, until its rows
//! are brought in. The gap of one table must not be forgotten for that of another.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

/// Tables that are told apart; of further ones, the last.
const TABLES: usize = 8;

/// Those of one database. All-zero: there is none.
#[repr(C)]
pub struct Unobserved {
    /// Statements since the server started.
    total: AtomicU64,
    gaps: [Gap; TABLES],
}

/// What is missing of one table.
#[repr(C)]
struct Gap {
    /// 0: free.
    table: AtomicU32,
    statements: AtomicU64,
    /// When the last one was (timestamptz).
    at: AtomicI64,
}

/// What is missing of all tables, and the last of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Missing {
    /// Statements.
    pub statements: u64,
    /// The table of the last one.
    pub table: u32,
    /// When that was (timestamptz).
    pub at: i64,
}

impl Unobserved {
    /// Counts a statement on a table, at a time (timestamptz).
    pub fn count(&self, table: u32, now: i64) {
        self.total.fetch_add(1, Ordering::Relaxed);
        let gap = self.gap_of(table);
        gap.statements.fetch_add(1, Ordering::Relaxed);
        gap.at.fetch_max(now, Ordering::Relaxed);
    }

    fn gap_of(&self, table: u32) -> &Gap {
        let (last, first) = (&self.gaps[TABLES - 1], &self.gaps[..TABLES - 1]);
        let is_its = |gap: &&Gap| {
            let free = gap.table.compare_exchange(0, table, Ordering::AcqRel, Ordering::Acquire);
            free.map_or_else(|of| of == table, |_| true)
        };
        first.iter().find(is_its).unwrap_or_else(|| {
            last.table.store(table, Ordering::Release);
            last
        })
    }

    /// The rows that a table had at a time (timestamptz) are brought in.
    pub fn mend(&self, table: u32, at: i64) {
        let is_mended = |gap: &&Gap| gap.table.load(Ordering::Acquire) == table && gap.at.load(Ordering::Relaxed) <= at;
        self.gaps.iter().filter(is_mended).for_each(Gap::clear);
    }

    /// What is missing of the tables that are still there.
    pub fn missing(&self, is_there: impl Fn(u32) -> bool) -> Missing {
        let mut missing = Missing::default();
        for gap in &self.gaps {
            let (table, statements) = (gap.table.load(Ordering::Acquire), gap.statements.load(Ordering::Relaxed));
            if table == 0 || statements == 0 || !is_there(table) {
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
        self.gaps.iter().for_each(Gap::clear);
    }
}

impl Gap {
    fn clear(&self) {
        self.statements.store(0, Ordering::Relaxed);
        self.at.store(0, Ordering::Relaxed);
        self.table.store(0, Ordering::Release);
    }
}
