//! Snapshots of now, where that of the statement is older, and what a snapshot shows.

use pgrx::pg_sys;

use super::session;

/// Runs queries that must see commits during the wait for a lock, and the changes of this command: the snapshot of the
/// statement is older.
pub fn with_latest_snapshot<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: popped below; after an error, the (sub)transaction's abort pops it.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot()) };
    let result = f();
    // SAFETY: see above.
    unsafe { pg_sys::PopActiveSnapshot() };
    result
}

/// The transactions that a snapshot shows; ids are full ones.
pub struct Shown {
    /// None from this one on is shown.
    end: u64,
    /// Those before that ran.
    running: Vec<u64>,
    /// The transaction that looks.
    own: Option<u64>,
}

impl Shown {
    /// Those of the active snapshot; `None` without one.
    pub fn now() -> Option<Shown> {
        // SAFETY: the active snapshot stays while it is read here; it is an MVCC snapshot, whose array has `xcnt` ids.
        unsafe {
            if !pg_sys::ActiveSnapshotSet() {
                return None;
            }
            let snapshot = pg_sys::GetActiveSnapshot();
            let next = session::next_transaction();
            // None of a snapshot's ids is above the next one, or two billions below it.
            let full = |id: pg_sys::TransactionId| next - u64::from((next as u32).wrapping_sub(id.into_inner()));
            let running = (0..(*snapshot).xcnt as usize).map(|at| full(*(*snapshot).xip.add(at))).collect();
            Some(Shown { end: full((*snapshot).xmax), running, own: session::transaction_if_any() })
        }
    }

    /// Whether everything is shown that transactions from the one to the other, both included, have done.
    pub fn shows(&self, first: u64, last: u64) -> bool {
        let is_own = first == last && self.own == Some(last);
        is_own || last < self.end && !self.running.iter().any(|id| (first..=last).contains(id))
    }
}
