//! The campaign's state of GreyNoise.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::super::batch::{NEVER_ASK, Reasons, SWITCHED_OFF, is_by_setting};
use super::super::given::{Given, Switch};
use super::super::locked::Locked;
use super::super::standing::{Standing, State};
use super::closure::Closure;
use crate::fetcher::gate::Leave;
use crate::greynoise::Verdict;
use crate::quota::Ledger;
use crate::quota::shared::Account;
use crate::retry::{Breaker, BreakerState};
use crate::time::Micros;

/// What has paid for a question: the account, which it goes to, and the window of its quota.
#[derive(Clone, Debug, Default)]
pub(super) struct Paid {
    pub account: Option<Account>,
    pub window: Micros,
}

/// GreyNoise's side of the campaign.
#[derive(Debug, Default)]
pub struct GreyNoise {
    /// The key has been accepted; until then one question at a time is sent.
    pub(super) proven: bool,
    pub(super) queue: VecDeque<Ipv4Addr>,
    pub(super) queued: HashSet<Ipv4Addr>,
    /// Rows that stand for another, effective address.
    pub(super) wrapped: HashMap<Ipv4Addr, Vec<IpAddr>>,
    /// The open questions.
    pub(super) out: HashMap<Ipv4Addr, Paid>,
    /// Whose ledger it is: of the last key that was there.
    pub(super) account: Option<Account>,
    /// As it is written down, or about to be: questions that are being paid for count already.
    pub(super) ledger: Option<Ledger>,
    /// It could not be read or written, and is left alone until then, by the steady clock: each try may have waited.
    pub(super) ledger_at: Option<Duration>,
    pub(super) closure: Closure,
    pub(super) breaker: Breaker,
    pub(super) ready: Vec<(IpAddr, Verdict)>,
    pub(super) failed: Reasons,
    pub(super) skipped: Reasons,
    /// Rows that the quota did not reach.
    pub(super) spent: Vec<IpAddr>,
    /// Rows whose question could not be sent, or failed: they stay as they are.
    pub(super) dropped: Vec<IpAddr>,
    pub(super) write_at: Option<Duration>,
    /// What waits for rows that other sessions hold.
    pub(super) locked: Locked<Verdict>,
    /// Rows that take no answer, and until when they are left alone: each new question about one would cost quota.
    pub(super) held: HashMap<IpAddr, Duration>,
    /// Old answers are to be looked for.
    pub(super) stale: bool,
    /// The last claim was cut at its limit.
    pub(super) more: bool,
    /// A claim of the campaign's own is out.
    pub(super) claiming: bool,
    /// A batch is being written.
    pub(super) writing: bool,
    /// The ledger is being written, to pay for questions.
    pub(super) paying: Option<Paid>,
    /// Questions that are to be given back once the ledger is read, and the window that paid for them.
    pub(super) owed: Option<(Micros, u64)>,
}

impl GreyNoise {
    /// Whether it may be asked.
    pub fn is_on(&self, given: &Given<'_>) -> bool {
        match given.settings.greynoise {
            Switch::Off => false,
            // Without a key only once it is known that there is none.
            Switch::On => given.key.mark.is_some() || !(given.key.coming || given.key.unreadable),
            Switch::Auto => given.key.mark.is_some(),
        }
    }

    /// Another key, or another server, is another account: what was spent with the one before is not its spending, and how
    /// long that is closed is not its closure. A key that is on its way, or not to be had for a while, is not another one.
    pub(super) fn look_at_account(&mut self, given: &Given<'_>) {
        if !self.is_on(given) || given.key.coming {
            return;
        }
        let account = given.account();
        if self.account.as_ref() == Some(&account) {
            return;
        }
        let is_another = self.account.replace(account).is_some();
        (self.ledger, self.ledger_at, self.owed) = (None, None, None);
        self.closure.forget();
        if is_another {
            self.proven = false;
            self.closure.reopen();
        }
    }

    /// Whether a question was paid for by the account that one of now would go to.
    pub(super) fn is_of_now(paid: &Paid, given: &Given<'_>) -> bool {
        paid.account.as_ref() == Some(&given.account())
    }

    /// Whether a question that waits may be sent: while a key is on its way, the one of before may be gone.
    pub fn leave(&self, given: &Given<'_>) -> Leave {
        match given.settings.greynoise {
            Switch::Off => Leave::No,
            _ if given.key.coming => Leave::Wait,
            _ if self.is_on(given) => Leave::Yes,
            _ => Leave::No,
        }
    }

    /// Addresses with open or coming questions that must not be sent because of their original form.
    pub fn hidden(&self, given: &Given<'_>) -> Vec<IpAddr> {
        let hidden = |(ip, rows): (&Ipv4Addr, &Vec<IpAddr>)| {
            rows.iter().any(|row| given.settings.is_secret(*row)).then_some(IpAddr::V4(*ip))
        };
        if given.settings.never_ask.is_empty() { Vec::new() } else { self.wrapped.iter().filter_map(hidden).collect() }
    }

    /// Another key, or the same one again: it must be tested.
    pub fn doubt_key(&mut self) {
        self.proven = false;
    }

    /// The schedule says so.
    pub fn look_for_stale(&mut self) {
        self.stale = true;
    }

    /// How long it is until something is tried again, the ledger or what waits for a row that another session holds; `None`:
    /// nothing is. After a write that failed nothing is written for a while.
    pub fn tries_again_in(&self, now: Duration) -> Option<Duration> {
        let until = |at: Duration| at.saturating_sub(now);
        let pause = self.write_at.map_or(Duration::ZERO, until);
        let held = self.locked.due_in(now).map(|wait| wait.max(pause));
        held.into_iter().chain(self.ledger_at.map(until)).min()
    }

    /// Whether anything of it is under way, but for rows that others hold.
    pub fn is_busy(&self) -> bool {
        !self.queue.is_empty()
            || !self.out.is_empty()
            || !self.ready.is_empty()
            || !self.failed.is_empty()
            || !self.skipped.is_empty()
            || !self.spent.is_empty()
            || self.claiming
            || self.writing
    }

    /// The settings changed: addresses that wait for a question are checked again. Requests in the network thread are
    /// checked there, right before they are sent.
    pub fn heed(&mut self, given: &Given<'_>) {
        let queue = std::mem::take(&mut self.queue);
        for ip in queue {
            let secret = self.rows(ip).any(|row| given.settings.is_secret(row));
            if given.settings.greynoise == Switch::Off || secret {
                self.queued.remove(&ip);
                self.withhold(ip, given);
            } else {
                self.queue.push_back(ip);
            }
        }
        // Not written yet, and no longer valid: a write now could not be undone.
        let settings = given.settings;
        let undone =
            |row, why: &str| is_by_setting(why) && settings.greynoise != Switch::Off && !settings.is_secret(row);
        self.locked.forget_skips(undone);
        self.dropped.extend(self.skipped.extract_if(.., |(row, why)| undone(*row, why)).map(|(row, _)| row));
    }

    /// The rows of an address that was not asked about.
    pub(super) fn withhold(&mut self, ip: Ipv4Addr, given: &Given<'_>) {
        for row in self.rows(ip) {
            if given.settings.greynoise == Switch::Off {
                self.skipped.push((row, SWITCHED_OFF.to_owned()));
            } else if given.settings.is_secret(row) {
                self.skipped.push((row, NEVER_ASK.to_owned()));
            } else {
                // No key now, or it shares its question with an address that must not be sent: it stays due.
                self.dropped.push(row);
            }
        }
    }

    /// The rows of an effective address. An address that is not in the inventory is not written.
    pub(super) fn rows(&self, ip: Ipv4Addr) -> impl Iterator<Item = IpAddr> + use<> {
        std::iter::once(IpAddr::V4(ip)).chain(self.wrapped.get(&ip).cloned().unwrap_or_default())
    }

    /// How it stands.
    pub fn standing(&self, given: &Given<'_>) -> Standing {
        let (settings, now) = (given.settings, given.now.wall);
        let open_at = self.ledger.map(|l| l.open_at(settings.greynoise_quota, now, settings.greynoise_window));
        let (state, retry_at) = if settings.greynoise == Switch::Off {
            (State::Off, None)
        } else if !self.is_on(given) {
            (State::NoKey, None)
        } else if given.key.refused {
            (State::Refused, None)
        } else if open_at.is_some_and(|at| at > now) {
            (State::Quota, open_at)
        } else if self.breaker.state(now) != BreakerState::Closed {
            (State::Failing, self.breaker.retry_at())
        } else {
            (State::Ok, None)
        };
        Standing { state, in_flight: self.out.len(), retry_at }
    }
}
