//! The campaign's state of Team Cymru.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use super::super::batch::{NEVER_ASK, Reasons, SWITCHED_OFF, is_by_setting};
use super::super::claim::Target;
use super::super::given::{BULK_NEVER, Given};
use super::super::locked::Locked;
use super::names::Names;
use crate::cymru::answer::{Answer, Prefix};
use crate::cymru::rounds::Rounds;
use crate::retry::{Breaker, BreakerState};

/// Team Cymru's side of the campaign.
#[derive(Debug, Default)]
pub struct Cymru {
    pub(super) rounds: Rounds,
    /// Rows that stand for another, effective address: 6to4, IPv4-mapped and the like.
    pub(super) wrapped: HashMap<IpAddr, Vec<IpAddr>>,
    pub(super) seen: HashMap<IpAddr, u64>,
    pub(super) dns: Breaker,
    pub(super) bulk: Breaker,
    pub(super) dns_out: HashSet<IpAddr>,
    pub(super) bulk_out: bool,
    /// Bulk sessions that failed in a row, and when the next may start.
    pub(super) strikes: u32,
    pub(super) bulk_at: Option<Duration>,
    /// When the next small session may start, where one is wanted, and when the last one did.
    pub(super) small_at: Option<Duration>,
    pub(super) small_began: Option<Duration>,
    /// Addresses that DNS was silent about, with their rows: for a small session. The rows say that it failed.
    pub(super) silent: Vec<(Target, Vec<IpAddr>)>,
    /// A small session is out, and which of its addresses are such.
    pub(super) small_out: Option<HashSet<IpAddr>>,
    /// Addresses whose last answer of a bulk session may not have been all: they are asked about once more.
    pub(super) doubted: HashSet<IpAddr>,
    /// When the last round was asked.
    pub(super) asked_at: Option<Duration>,
    /// When the source last answered, whichever way, and when it last did not, by the steady clock.
    pub(super) answered_at: Option<Duration>,
    pub(super) missed_at: Option<Duration>,
    pub(super) names: Names,
    /// To be written: answers by row, by network, names, failures, rows not to ask about.
    pub(super) ready: Vec<(IpAddr, Answer)>,
    pub(super) prefixes: Vec<Prefix>,
    pub(super) bulk_names: Vec<(u32, String)>,
    pub(super) failed: Reasons,
    pub(super) skipped: Reasons,
    pub(super) write_at: Option<Duration>,
    /// What waits for rows that other sessions hold.
    pub(super) locked: Locked<Answer>,
    /// Rows that cannot be written, and until when they are left alone.
    pub(super) held: HashMap<IpAddr, Duration>,
    /// The resolver was found not to know the service. Once is enough: later writes are confirmed.
    pub(super) unknown: bool,
    /// The log knows that bulk sessions do the work of DNS.
    pub(super) told: bool,
    /// Old answers are to be looked for.
    pub(super) stale: bool,
    /// The last claim was cut at its limit.
    pub(super) more: bool,
    /// A claim of the campaign's own is out.
    pub(super) claiming: bool,
    /// A batch is being written, or names are being looked for, for one.
    pub(super) writing: bool,
}

impl Cymru {
    /// The schedule says so.
    pub fn look_for_stale(&mut self) {
        self.stale = true;
    }

    /// Whether something is there to be written, or names are to be looked for in the table.
    pub fn is_unwritten(&self) -> bool {
        !(self.ready.is_empty() && self.failed.is_empty() && self.skipped.is_empty())
            || self.names.unknown().next().is_some()
    }

    /// How long it is until something is tried again whose row another session holds; `None`: nothing is held. After a
    /// write that failed nothing is written for a while.
    pub fn tries_again_in(&self, now: Duration) -> Option<Duration> {
        let pause = self.write_at.map_or(Duration::ZERO, |at| at.saturating_sub(now));
        self.locked.due_in(now).map(|wait| wait.max(pause))
    }

    /// Whether anything of it is under way, but for rows that others hold.
    pub fn is_busy(&self) -> bool {
        !self.rounds.is_empty()
            || self.bulk_out
            || !self.dns_out.is_empty()
            || self.is_unwritten()
            || self.names.holds_answers()
            || self.claiming
            || self.writing
    }

    /// No way is open. Bulk sessions that are never begun are none.
    pub(super) fn is_closed(&self, given: &Given<'_>) -> bool {
        let is_open = |breaker: &Breaker| breaker.state(given.now.wall) == BreakerState::Open;
        is_open(&self.dns) && (given.settings.bulk_min >= BULK_NEVER || is_open(&self.bulk))
    }

    /// The settings changed: addresses that wait for a question are checked again. Requests in the network thread are
    /// checked there, right before they are sent.
    pub fn heed(&mut self, given: &Given<'_>) {
        let settings = given.settings;
        if !settings.cymru {
            let nameless = self.names.forget();
            self.ready.extend(nameless);
        }
        self.silent.retain(|(_, rows)| settings.cymru && !rows.iter().any(|row| settings.is_secret(*row)));
        let wrapped = &self.wrapped;
        let unwanted = |ip: IpAddr| {
            let mut rows = std::iter::once(&ip).chain(wrapped.get(&ip).into_iter().flatten());
            !settings.cymru || rows.any(|row| settings.is_secret(*row))
        };
        for ip in self.rounds.remove(unwanted) {
            self.withhold(ip, given);
        }
        // Not written yet, and no longer valid: a write now could not be undone.
        let undone =
            |(row, why): &mut (IpAddr, String)| is_by_setting(why) && settings.cymru && !settings.is_secret(*row);
        self.locked.forget_skips(|row, why| is_by_setting(why) && settings.cymru && !settings.is_secret(row));
        let undone: Vec<_> = self.skipped.extract_if(.., undone).collect();
        self.failed.extend(undone.into_iter().map(|(row, _)| (row, String::new())));
    }

    /// Addresses with open or coming questions that must not be sent because of their original form.
    pub fn hidden(&self, given: &Given<'_>) -> Vec<IpAddr> {
        let hidden =
            |(ip, rows): (&IpAddr, &Vec<IpAddr>)| rows.iter().any(|row| given.settings.is_secret(*row)).then_some(*ip);
        if given.settings.never_ask.is_empty() { Vec::new() } else { self.wrapped.iter().filter_map(hidden).collect() }
    }

    /// The rows of an address that was not asked about, and is no longer in a round.
    pub(super) fn withhold(&mut self, ip: IpAddr, given: &Given<'_>) {
        for row in self.settled(ip) {
            if !given.settings.cymru {
                self.skipped.push((row, SWITCHED_OFF.to_owned()));
            } else if given.settings.is_secret(row) {
                self.skipped.push((row, NEVER_ASK.to_owned()));
            } else {
                // It shares its question with one that may not be told, or may be told by now: it stays due.
                self.failed.push((row, String::new()));
            }
        }
    }

    /// The rows of an effective address, once it is done: no other data of it is kept, or a long job would fill the
    /// memory. An address that is not in the inventory is not written.
    pub(super) fn settled(&mut self, ip: IpAddr) -> impl Iterator<Item = IpAddr> + use<> {
        self.seen.remove(&ip);
        self.doubted.remove(&ip);
        std::iter::once(ip).chain(self.wrapped.remove(&ip).unwrap_or_default())
    }

    pub(super) fn answered(&mut self, row: IpAddr, answer: Answer) {
        self.ready.extend(self.names.complete(row, answer));
    }

    pub(super) fn again(&mut self, ip: IpAddr) {
        self.rounds.fail(ip);
        let seen = self.seen.get(&ip).copied().unwrap_or(0);
        self.rounds.add([(ip, seen)]);
    }

    pub(super) fn give_up(&mut self, ip: IpAddr, reason: &str) {
        self.rounds.fail(ip);
        let rows = self.settled(ip);
        self.failed.extend(rows.map(|row| (row, reason.to_owned())));
    }
}
