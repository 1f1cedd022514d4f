//! The next questions to GreyNoise, and their results.

use std::net::{IpAddr, Ipv4Addr};

use super::super::batch::Refusal;
use super::super::effect::{Effect, News};
use super::super::given::Given;
use super::super::interest::{End, Interests};
use super::state::{GreyNoise, Paid};
use crate::failure::{Failure, FailureKind};
use crate::fetcher::Request;
use crate::greynoise::Verdict;
use crate::retry::BreakerState;
use crate::source::Source;

impl GreyNoise {
    /// The next questions. Nothing leaves before the ledger that pays for it is on disk.
    pub fn ask(&mut self, given: &Given<'_>, interests: &mut Interests, out: &mut Vec<Effect>) {
        for ip in std::mem::take(&mut self.dropped) {
            interests.settle(ip, Source::GreyNoise, End::Failed);
        }
        // Not with the key of before, while the new one is on its way: it may be the one that was refused.
        let is_paused = self.ledger_at.is_some_and(|at| given.now.steady < at);
        if self.queue.is_empty() || given.key.coming || self.paying.is_some() || is_paused {
            return;
        }
        let (now, settings) = (given.now.wall, given.settings);
        if !self.is_on(given) || given.key.refused {
            self.settle_queue(if given.key.refused { End::Failed } else { End::Skipped }, interests);
            return;
        }
        // As many again wait with the network thread: so that it stays busy while this is written down.
        let most = if self.proven { 2 * settings.greynoise_at_once } else { 1 };
        let room = match self.breaker.state(now) {
            BreakerState::Closed => most.saturating_sub(self.out.len()),
            BreakerState::HalfOpen => usize::from(self.out.is_empty() && self.breaker.admits(now)),
            BreakerState::Open => {
                if self.out.is_empty() {
                    self.settle_queue(End::Failed, interests);
                }
                return;
            }
        };
        let wanted = room.min(self.queue.len()) as u64;
        let Some(mut ledger) = self.ledger.filter(|_| wanted > 0) else { return };
        // The ledger of another account pays for nothing: the next turn reads the right one.
        let Some(account) = self.account.clone().filter(|account| *account == given.account()) else { return };
        let granted = ledger.take(wanted, settings.greynoise_quota, now, settings.greynoise_window);
        if granted == 0 {
            // Sessions that wait for one of these are told; the others stay due.
            let waiting = self.empty_queue().into_iter().filter(|ip| interests.waits_for(*ip));
            self.spent.extend(waiting);
            return;
        }
        self.ledger = Some(ledger);
        self.paying = Some(Paid { account: Some(account.clone()), window: ledger.window_start });
        out.push(Effect::KeepLedger { account, ledger, pays: granted });
    }

    /// The ledger was written down: the paid questions are asked.
    pub fn ledger_kept(&mut self, pays: u64, refused: Option<Refusal>, given: &Given<'_>, out: &mut Vec<Effect>) {
        if pays == 0 {
            return;
        }
        let paid = self.paying.take().unwrap_or_default();
        if let Some(refusal) = refused {
            if let Some(ledger) = self.ledger.as_mut().filter(|_| self.account == paid.account) {
                ledger.give_back(pays, paid.window, given.now.wall, given.settings.greynoise_window);
            }
            self.unkept(given);
            if !refusal.lock {
                out.push(Effect::Say(News::LedgerUnwritable(refusal.message)));
            }
            return;
        }
        // The settings, and the key, may have changed since.
        let may_ask = self.is_on(given) && !given.key.coming && !given.key.refused && Self::is_of_now(&paid, given);
        let asked = if may_ask { self.queue.len().min(usize::try_from(pays).unwrap_or(usize::MAX)) } else { 0 };
        let asked: Vec<Ipv4Addr> = self.queue.drain(..asked).collect();
        let unused = pays - asked.len() as u64;
        if unused > 0 {
            self.give_back(unused, &paid, given, out);
        }
        for ip in &asked {
            self.queued.remove(ip);
            self.out.insert(*ip, paid.clone());
        }
        if !asked.is_empty() {
            // Only a question that goes out may use up the one try of a half-open breaker.
            self.breaker.sent(given.now.wall);
            out.push(Effect::Ask(asked.into_iter().map(Request::Scanner).collect()));
        }
    }

    fn empty_queue(&mut self) -> Vec<IpAddr> {
        self.queued.clear();
        let ips: Vec<Ipv4Addr> = self.queue.drain(..).collect();
        ips.into_iter().flat_map(|ip| self.rows(ip)).collect()
    }

    fn settle_queue(&mut self, end: End, interests: &mut Interests) {
        self.empty_queue().into_iter().for_each(|ip| interests.settle(ip, Source::GreyNoise, end));
    }

    /// A question that could not be handed over.
    pub fn lose(&mut self, ip: Ipv4Addr, given: &Given<'_>, out: &mut Vec<Effect>) {
        self.dropped.extend(self.rows(ip));
        if let Some(paid) = self.out.remove(&ip) {
            self.give_back(1, &paid, given, out);
        }
    }

    /// The result of a question.
    pub fn outcome(
        &mut self,
        ip: Ipv4Addr,
        result: Result<Verdict, Failure>,
        given: &Given<'_>,
        out: &mut Vec<Effect>,
    ) {
        let paid = self.out.remove(&ip).unwrap_or_default();
        if result.as_ref().is_err_and(Failure::is_withheld) {
            self.withhold(ip, given);
            self.give_back(1, &paid, given, out);
            return;
        }
        if result.as_ref().is_err_and(Failure::is_unsent) {
            // The service has not counted it. A cause that lasts would spend the quota, and hide behind that.
            self.give_back(1, &paid, given, out);
        }
        // An answer about a replaced key says nothing about the new one.
        let is_of_now = Self::is_of_now(&paid, given);
        let rows = self.rows(ip);
        out.push(Effect::Count { source: Source::GreyNoise, failure: result.as_ref().err().cloned() });
        let failure = match result {
            Ok(verdict) => {
                self.breaker.success();
                if is_of_now {
                    self.proven = true;
                    self.closure.answered();
                }
                self.ready.extend(rows.map(|row| (row, verdict.clone())));
                return;
            }
            Err(failure) => failure,
        };
        match failure.kind {
            FailureKind::Transient | FailureKind::Unsent => {
                self.breaker.failure(given.now.wall);
                self.failed.extend(rows.map(|row| (row, failure.reason.clone())));
            }
            FailureKind::Unauthorized => {
                if is_of_now {
                    if !given.key.refused {
                        out.push(Effect::Say(News::KeyRefused(failure.reason)));
                    }
                    out.push(Effect::RefuseKey);
                }
                self.dropped.extend(rows);
            }
            FailureKind::Quota { retry_after } if is_of_now => {
                self.close(retry_after, given, out);
                self.spent.extend(rows);
            }
            FailureKind::Quota { .. } => self.dropped.extend(rows),
            // Handled before.
            FailureKind::Withheld => {}
            FailureKind::Permanent => self.skipped.extend(rows.map(|row| (row, failure.reason.clone()))),
        }
    }
}
