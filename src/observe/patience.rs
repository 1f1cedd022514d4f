//! Waiting for a lock, but not for ever.
//!
//! Whoever asks for a strong lock stands in line before everybody who asks for a weak one later, and PostgreSQL lets
//! people into that line before it looks at their rights. A loader, or a statement that makes a partition, must not stand
//! behind them without bound.

use std::time::{Duration, Instant};

use pgrx::pg_sys;

/// The first pause between two attempts; it doubles up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_micros(200);
const LONGEST: Duration = Duration::from_millis(10);

/// Locks a relation until the transaction ends; false when that takes longer than `patience`. Interruptible.
pub fn lock(relation: pg_sys::Oid, mode: u32, patience: Duration) -> bool {
    let mut until = None;
    let mut pause = SHORTEST;
    loop {
        // SAFETY: asks for the lock and comes back at once.
        if unsafe { pg_sys::ConditionalLockRelationOid(relation, mode as i32) } {
            return true;
        }
        let until = *until.get_or_insert_with(|| Instant::now() + patience);
        if Instant::now() >= until {
            return false;
        }
        pgrx::check_for_interrupts!();
        std::thread::sleep(pause.min(until.saturating_duration_since(Instant::now())));
        pause = (pause * 2).min(LONGEST);
    }
}
