//! The ledger: reading it, closing GreyNoise for its quota, and opening it again: by our own count, a 429, or a reload.

use std::time::Duration;

use super::super::batch::{NotDue, Refusal};
use super::super::effect::{Effect, News};
use super::super::given::Given;
use super::closure::Opening;
use super::state::GreyNoise;
use crate::quota::Ledger;
use crate::time::Micros;

/// How often the log says at most that the quota is spent.
const SAID: Duration = Duration::from_secs(600);
/// When rows that others hold are made due once more.
const HELD: Duration = Duration::from_secs(10);

impl GreyNoise {
    /// Settings were read again: a source that is closed for its quota is asked again now, once, and rows that wait for
    /// it are due.
    pub fn reopen(&mut self) {
        self.closure.reopen = true;
        self.closure.closures = 0;
    }

    /// Loads the ledger, if needed. Opens it again after a request, or when the source's pause is over by the steady
    /// clock: the wall clock may have been set back since.
    pub fn open(&mut self, given: &Given<'_>, out: &mut Vec<Effect>) {
        if self.closure.open_at.is_some_and(|at| given.now.steady >= at) {
            self.closure.open_at = None;
            self.closure.reopen = true;
        }
        if self.closure.reading || self.closure.reopening.is_some() {
            return;
        }
        match self.ledger {
            None if self.closure.reopen || self.owed.is_some() || self.is_on(given) => {
                self.closure.reading = true;
                out.push(Effect::ReadLedger);
            }
            Some(mut ledger) if self.closure.reopen => {
                if ledger.reopen() {
                    self.closure.reopening = Some(Opening::Quota);
                    out.push(Effect::Reopen { ledger, waiting: self.closure.all_waiting() });
                } else {
                    self.look_into_ledger(given, out);
                }
            }
            Some(ledger) if !self.closure.held.is_empty() && given.now.steady >= self.closure.held_until => {
                self.closure.reopening = Some(Opening::Held);
                out.push(Effect::Reopen { ledger, waiting: self.closure.held.clone() });
            }
            _ => {}
        }
    }

    /// It is read again: it may have been changed by hand.
    fn look_into_ledger(&mut self, given: &Given<'_>, out: &mut Vec<Effect>) {
        self.ledger = None;
        self.closure.reopen = false;
        self.more = true;
        self.open(given, out);
    }

    /// The ledger was read.
    pub fn ledger_read(&mut self, ledger: Option<Ledger>, given: &Given<'_>, out: &mut Vec<Effect>) {
        self.closure.reading = false;
        self.ledger = ledger;
        if ledger.is_some() {
            if let Some((paid_in, n)) = self.owed.take() {
                self.give_back(n, paid_in, given, out);
            }
            self.open(given, out);
        }
    }

    /// The quota was opened by hand, if this database is served at all.
    pub fn reopened(&mut self, result: Result<NotDue, Refusal>, given: &Given<'_>, out: &mut Vec<Effect>) {
        let opening = self.closure.reopening.take();
        self.closure.held_until = given.now.steady + HELD;
        match result {
            Ok(not_due) => {
                self.closure.held = not_due.again();
                if opening == Some(Opening::Held) {
                    self.more = true;
                    return;
                }
                self.closure.waiting.clear();
                self.proven = false;
                self.look_into_ledger(given, out);
            }
            // Another session holds the ledger or the table: a later turn tries again.
            Err(refusal) if refusal.lock => {}
            Err(refusal) => {
                out.push(Effect::Say(News::NotReopened(refusal.message)));
                match opening {
                    Some(Opening::Held) => self.closure.held.clear(),
                    _ => self.closure.reopen = false,
                }
            }
        }
    }

    /// It says that its quota is spent.
    pub(super) fn close(&mut self, retry_after: Option<Duration>, given: &Given<'_>, out: &mut Vec<Effect>) {
        // One question finds out whether it is open again.
        self.proven = false;
        self.closure.close();
        let Some(ledger) = &mut self.ledger else { return };
        let (now, settings) = (given.now, given.settings);
        let (window, before) = (settings.greynoise_window, ledger.closed_until);
        ledger.close(retry_after, self.closure.closures, now.wall, window);
        if retry_after.is_none() && ledger.closed_until != before {
            self.closure.closures = self.closure.closures.saturating_add(1);
        }
        let closed_for = ledger.closed_until.and_then(|until| u64::try_from(until.saturating_sub(now.wall)).ok());
        self.closure.open_at = closed_for.and_then(|us| now.steady.checked_add(Duration::from_micros(us)));
        // Not written down, it is learned again.
        out.push(Effect::KeepLedger { ledger: *ledger, pays: 0 });
        // A limit of a minute may close it every minute: that is worth a line now and then.
        if self.closure.said_at.is_none_or(|at| now.steady.saturating_sub(at) >= SAID) {
            self.closure.said_at = Some(now.steady);
            let open_at = ledger.open_at(settings.greynoise_quota, now.wall, window);
            out.push(Effect::Say(News::QuotaSpent(open_at)));
        }
    }

    /// The questions were not asked: their cost is given back. If that is not written down, some questions fewer are
    /// asked.
    pub(super) fn give_back(&mut self, n: u64, paid_in: Micros, given: &Given<'_>, out: &mut Vec<Effect>) {
        if let Some(ledger) = &mut self.ledger {
            ledger.give_back(n, paid_in, given.now.wall, given.settings.greynoise_window);
            out.push(Effect::KeepLedger { ledger: *ledger, pays: 0 });
            return;
        }
        // It is being read again. A window that has ended needs nothing back.
        let before = self.owed.filter(|(window, _)| *window == paid_in).map_or(0, |(_, n)| n);
        self.owed = Some((paid_in, before + n));
    }

    /// How many questions may still be asked.
    pub(super) fn left(&self, given: &Given<'_>) -> u64 {
        let settings = given.settings;
        let left = |ledger: Ledger| ledger.left(settings.greynoise_quota, given.now.wall, settings.greynoise_window);
        self.ledger.map_or(0, left)
    }
}
