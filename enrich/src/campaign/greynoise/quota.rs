//! The ledger: reading it, closing GreyNoise for its quota, and opening it again: by our own count, a 429, or a reload.

use std::time::Duration;

use super::super::batch::{NotDue, Refusal};
use super::super::effect::{Effect, News};
use super::super::given::Given;
use super::closure::Opening;
use super::state::{GreyNoise, Paid};
use crate::quota::Ledger;
use crate::quota::shared::Account;

/// How often the log says at most that the quota is spent.
const SAID: Duration = Duration::from_secs(600);
/// When rows that others hold are made due once more, and what failed for another reason.
const HELD: Duration = Duration::from_secs(10);
/// When rows that cannot be written are made due once more, if no reload comes before.
const BROKEN: Duration = Duration::from_secs(3600);
/// How long the ledger is left alone after it could not be read or written. Another database that holds the file of all of
/// them costs the worker half a second at each try.
const AGAIN: Duration = Duration::from_secs(2);

impl GreyNoise {
    /// Settings were read again: a source that is closed for its quota is asked again now, once, and rows that wait for
    /// it are due.
    pub fn reopen(&mut self) {
        self.closure.reopen();
        self.closure.closures = 0;
    }

    /// The window has another length now: the ledger is read again, since the file knows how long the one before was.
    pub fn forget_ledger(&mut self) {
        (self.ledger, self.ledger_at) = (None, None);
    }

    /// The ledger, once it was read.
    pub fn ledger(&self) -> Option<Ledger> {
        self.ledger
    }

    /// Loads the ledger of the account, if needed. Opens it again after a request, or when the source's pause is over by the
    /// steady clock: the wall clock may have been set back since.
    pub fn open(&mut self, given: &Given<'_>, out: &mut Vec<Effect>) {
        self.look_at_account(given);
        let now = given.now.steady;
        if self.closure.open_at.is_some_and(|at| now >= at) {
            self.closure.open_at = None;
            self.closure.reopen();
        }
        self.ledger_at = self.ledger_at.filter(|at| now < *at);
        if self.closure.reading || self.closure.reopening.is_some() {
            return;
        }
        let Some(account) = self.account.clone() else { return };
        let is_time = now >= self.closure.again_at;
        match self.ledger {
            None if self.ledger_at.is_none() && (self.closure.reopen || self.owed.is_some() || self.is_on(given)) => {
                self.closure.reading = true;
                out.push(Effect::ReadLedger(account));
            }
            Some(_) if self.closure.reopen && is_time && !self.closure.looked => {
                self.closure.looked = true;
                self.look_into_ledger(given, out);
            }
            Some(mut ledger) if self.closure.reopen && is_time => {
                // Rows were told to wait, and there is quota now: that of another key, or more of it.
                let is_more = self.left(given) > 0 && !self.closure.waiting.is_empty();
                if ledger.reopen() || is_more {
                    self.closure.reopening = Some(Opening::Quota);
                    out.push(Effect::Reopen { account, ledger, waiting: self.closure.all_waiting() });
                } else {
                    // What failed of an opening is wanted no more: nothing is to be opened.
                    self.closure.reopen = false;
                    self.closure.broken = false;
                    if self.closure.is_through() {
                        out.push(Effect::AllReopened);
                    }
                }
            }
            Some(ledger) if !self.closure.held.is_empty() && is_time => {
                self.closure.reopening = Some(Opening::Held);
                out.push(Effect::Reopen { account, ledger, waiting: self.closure.held.clone() });
            }
            _ => {}
        }
    }

    /// It is read again: it may have been changed by hand.
    fn look_into_ledger(&mut self, given: &Given<'_>, out: &mut Vec<Effect>) {
        self.ledger = None;
        self.more = true;
        self.open(given, out);
    }

    /// The ledger of an account was read.
    pub fn ledger_read(&mut self, account: &Account, ledger: Option<Ledger>, given: &Given<'_>, out: &mut Vec<Effect>) {
        self.closure.reading = false;
        if self.account.as_ref() != Some(account) {
            return;
        }
        self.ledger = ledger;
        if ledger.is_none() {
            self.ledger_at = Some(given.now.steady + AGAIN);
            return;
        }
        if let Some((window, n)) = self.owed.take() {
            self.give_back(n, &Paid { account: Some(account.clone()), window }, given, out);
        }
        self.open(given, out);
    }

    /// The ledger could not be written.
    pub(super) fn unkept(&mut self, given: &Given<'_>) {
        self.ledger_at = Some(given.now.steady + AGAIN);
    }

    /// The quota was opened by hand, if this database is served at all.
    pub fn reopened(&mut self, result: Result<NotDue, Refusal>, given: &Given<'_>, out: &mut Vec<Effect>) {
        let opening = self.closure.reopening.take();
        let before = self.closure.again_at;
        self.closure.again_at = given.now.steady + HELD;
        match result {
            Ok(mut not_due) => {
                // Those that cannot be written were reported, and show until the next opening, which tries them once more.
                let broken = std::mem::take(&mut not_due.broken);
                self.closure.held = not_due.again();
                // An opening of the quota has tried those of before, too.
                let earlier = opening == Some(Opening::Held) && self.closure.broken;
                self.closure.broken = earlier || !broken.is_empty();
                if self.closure.is_through() {
                    out.push(Effect::AllReopened);
                } else if self.closure.broken {
                    let at = given.now.steady + BROKEN;
                    self.closure.open_at = Some(self.closure.open_at.map_or(at, |open_at| open_at.min(at)));
                }
                if opening == Some(Opening::Held) {
                    self.closure.note_waiting(&broken);
                    self.more = true;
                    return;
                }
                self.closure.waiting = broken.into_iter().collect();
                self.closure.reopen = false;
                self.proven = false;
                self.look_into_ledger(given, out);
            }
            // Another session holds the ledger or the table: a later turn tries again.
            Err(refusal) if refusal.lock => {
                if opening == Some(Opening::Quota) {
                    self.closure.again_at = before;
                }
            }
            Err(refusal) => out.push(Effect::Say(News::NotReopened(refusal.message))),
        }
    }

    /// It says that its quota is spent.
    pub(super) fn close(&mut self, retry_after: Option<Duration>, given: &Given<'_>, out: &mut Vec<Effect>) {
        // One question finds out whether it is open again.
        self.proven = false;
        if self.closure.close() {
            out.push(Effect::AllReopened);
        }
        let (Some(ledger), Some(account)) = (&mut self.ledger, self.account.clone()) else { return };
        let (now, settings) = (given.now, given.settings);
        let (window, before) = (settings.greynoise_window, ledger.closed_until);
        ledger.close(retry_after, self.closure.closures, now.wall, window);
        if retry_after.is_none() && ledger.closed_until != before {
            self.closure.closures = self.closure.closures.saturating_add(1);
        }
        let closed_for = ledger.closed_until.and_then(|until| u64::try_from(until.saturating_sub(now.wall)).ok());
        self.closure.open_at = closed_for.and_then(|us| now.steady.checked_add(Duration::from_micros(us)));
        // Not written down, it is learned again.
        out.push(Effect::KeepLedger { account, ledger: *ledger, pays: 0 });
        // A limit of a minute may close it every minute: that is worth a line now and then.
        if self.closure.said_at.is_none_or(|at| now.steady.saturating_sub(at) >= SAID) {
            self.closure.said_at = Some(now.steady);
            let open_at = ledger.open_at(settings.greynoise_quota, now.wall, window);
            out.push(Effect::Say(News::QuotaSpent(open_at)));
        }
    }

    /// The questions were not asked: their cost is given back. If that is not written down, or another account paid it than
    /// that of now, some questions fewer are asked.
    pub(super) fn give_back(&mut self, n: u64, paid: &Paid, given: &Given<'_>, out: &mut Vec<Effect>) {
        let Some(account) = self.account.clone().filter(|account| paid.account.as_ref() == Some(account)) else {
            return;
        };
        if let Some(ledger) = &mut self.ledger {
            ledger.give_back(n, paid.window, given.now.wall, given.settings.greynoise_window);
            out.push(Effect::KeepLedger { account, ledger: *ledger, pays: 0 });
            return;
        }
        // It is being read again. A window that has ended needs nothing back.
        let before = self.owed.filter(|(window, _)| *window == paid.window).map_or(0, |(_, n)| n);
        self.owed = Some((paid.window, before + n));
    }

    /// How many questions may still be asked.
    pub(super) fn left(&self, given: &Given<'_>) -> u64 {
        let settings = given.settings;
        let left = |ledger: Ledger| ledger.left(settings.greynoise_quota, given.now.wall, settings.greynoise_window);
        self.ledger.map_or(0, left)
    }
}
