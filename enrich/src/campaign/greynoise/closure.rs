//! How GreyNoise is closed for its quota, in addition to the ledger.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

/// So many rows that wait for the quota are kept in mind.
const WAITING: usize = 10_000;
/// How the source is closed, in addition to the ledger.
#[derive(Debug, Default)]
pub(super) struct Closure {
    /// How often in a row it said that its quota is spent, and not for how long.
    pub(super) closures: u32,
    /// When the pause that it requested is over, by the steady clock.
    pub(super) open_at: Option<Duration>,
    /// When that was last written into the log.
    pub(super) said_at: Option<Duration>,
    /// It should be asked again now.
    pub(super) reopen: bool,
    /// Rows that were told to wait for the quota. To look for them in the table would mean to read all that is due.
    pub(super) waiting: HashSet<IpAddr>,
    /// The ledger is being read.
    pub(super) reading: bool,
    /// It is being opened.
    pub(super) reopening: bool,
}

impl Closure {
    /// It is open.
    pub fn answered(&mut self) {
        self.closures = 0;
    }

    /// Rows that were told to wait.
    pub fn note_waiting(&mut self, ips: &[IpAddr]) {
        self.waiting.extend(ips.iter().take(WAITING.saturating_sub(self.waiting.len())));
    }
}
