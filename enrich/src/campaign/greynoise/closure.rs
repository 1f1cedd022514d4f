//! How GreyNoise is closed for its quota, in addition to the ledger.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

/// So many rows that wait for the quota are kept in mind.
const WAITING: usize = 10_000;

/// What is being made due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// All that waits for the quota, which is opened with it.
    Quota,
    /// Rows that others held then.
    Held,
}

/// How the source is closed, in addition to the ledger.
#[derive(Debug, Default)]
pub(super) struct Closure {
    /// How often in a row it said that its quota is spent, and not for how long.
    pub(super) closures: u32,
    /// When the pause that it requested is over, or rows that could not be written are tried again, by the steady clock.
    pub(super) open_at: Option<Duration>,
    /// When that was last written into the log.
    pub(super) said_at: Option<Duration>,
    /// It should be asked again now, and the ledger was read for that.
    pub(super) reopen: bool,
    pub(super) looked: bool,
    /// Rows that were told to wait for the quota. To look for them in the table would mean to read all that is due.
    pub(super) waiting: HashSet<IpAddr>,
    /// The ledger is being read.
    pub(super) reading: bool,
    /// It is being opened.
    pub(super) reopening: Option<Opening>,
    /// Rows that others held when it was opened.
    pub(super) held: Vec<IpAddr>,
    /// Rows could not be written when it was opened: they wait for the next opening.
    pub(super) broken: bool,
    /// When rows that others held, or an opening that failed, are tried again, by the steady clock.
    pub(super) again_at: Duration,
}

impl Closure {
    /// It is open.
    pub fn answered(&mut self) {
        self.closures = 0;
    }

    /// It should be asked again now.
    pub fn reopen(&mut self) {
        (self.reopen, self.looked) = (true, false);
        self.again_at = Duration::ZERO;
    }

    /// Nothing is left that is to be made due now.
    pub fn is_through(&self) -> bool {
        self.held.is_empty() && !self.broken
    }

    /// It is closed again: rows that are still to be made due go on waiting. True: there are some.
    pub fn close(&mut self) -> bool {
        let is_through = self.is_through();
        let held = std::mem::take(&mut self.held);
        self.note_waiting(&held);
        self.broken = false;
        !is_through
    }

    /// What it said of its quota, it said to another account.
    pub fn forget(&mut self) {
        (self.closures, self.open_at) = (0, None);
    }

    /// The rows that wait for it to be opened.
    pub fn all_waiting(&self) -> Vec<IpAddr> {
        self.waiting.iter().chain(&self.held).copied().collect()
    }

    /// Rows that were told to wait.
    pub fn note_waiting(&mut self, ips: &[IpAddr]) {
        self.waiting.extend(ips.iter().take(WAITING.saturating_sub(self.waiting.len())));
    }
}
