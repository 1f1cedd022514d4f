//! The worker of a database on a standby: it installs the mmdb files of the primary, until the standby is promoted.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::receive::Receive;
use crate::pg::process;
use crate::shared::Database;

/// How often it is looked whether the server was promoted.
const LOOK: Duration = Duration::from_secs(1);

/// Works until the server is a primary; the launcher starts a worker that does everything then.
pub fn run(slot: &'static Database) {
    if slot.living_receiver().is_some() {
        return;
    }
    process::vacate_at_exit(&slot.receiver);
    slot.receiver.store(process::my_pid(), Ordering::Release);
    let mut receive = Receive::default();
    while process::in_recovery() {
        process::serve_interrupts();
        receive.turn();
        process::idle();
        // A promotion sets no latch.
        process::wait(receive.patience().min(LOOK));
    }
}
