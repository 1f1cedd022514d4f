//! What an import of files does between two pieces of its work.

use crate::pg::pulse;
use crate::shared;

/// A server that is told to stop does not wait for a large file; and whoever watches the launcher, or a worker, sees that it is
/// alive.
pub fn breathe() {
    pgrx::check_for_interrupts!();
    pulse::beat();
    if let Some(shared) = shared::shared() {
        shared.launcher.beat();
    }
}
