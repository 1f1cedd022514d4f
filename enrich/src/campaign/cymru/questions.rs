//! The next questions to Team Cymru, and their way: DNS for few, a bulk session for many, a small session from time to
//! time if DNS does not answer.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use super::super::effect::Effect;
use super::super::given::{BULK_NEVER, Given};
use super::state::Cymru;
use crate::fetcher::{MAX_DNS, Request};
use crate::retry::BreakerState;

/// Addresses of one bulk session.
pub(super) const BULK: usize = 5_000;
/// How long a round waits for its last answers.
const LAG: Duration = Duration::from_secs(2);
/// How long what DNS does not answer is gathered for one small bulk session, and how far apart those are at least: the
/// service bans who opens a session for every address.
pub(super) const GATHER: Duration = Duration::from_secs(5);
pub(super) const APART: Duration = Duration::from_secs(60);

impl Cymru {
    /// The next questions.
    pub fn ask(&mut self, given: &Given<'_>, out: &mut Vec<Effect>) {
        if !given.settings.cymru {
            self.heed(given);
            return;
        }
        let mut requests = self.ask_names(given);
        requests.extend(self.small_session(given));
        self.ask_round(given, &mut requests);
        if !requests.is_empty() {
            out.push(Effect::Ask(requests));
        }
    }

    fn ask_round(&mut self, given: &Given<'_>, requests: &mut Vec<Request>) {
        if self.rounds.is_empty() {
            return;
        }
        let (now, settings) = (given.now.wall, given.settings);
        let bulk_state = self.bulk.state(now);
        let bulk_open = bulk_state != BreakerState::Open && self.rounds.len() >= settings.bulk_min;
        // A round is asked at once and ends before the next begins: its answers settle some of the rest, and addresses
        // that came singly would all go to DNS, one by one. A slow question delays the others only briefly.
        let asked_now = self.asked_at.is_some_and(|at| given.now.steady.saturating_sub(at) < LAG);
        let lagging = asked_now && self.rounds.outstanding() > 0;
        if bulk_open && (self.bulk_out || self.bulk_is_paused(given) || lagging) {
            return;
        }
        let dns_state = self.dns.state(now);
        if bulk_open && self.bulk.admits(now) {
            let asked = self.rounds.next(BULK);
            // Only what goes by bulk may use up the one try of a half-open breaker.
            if asked.len() >= settings.bulk_min {
                self.bulk.sent(now);
                self.asked_at = Some(given.now.steady);
                self.bulk_out = true;
                requests.push(Request::Bulk(asked));
                return;
            }
            if dns_state == BreakerState::Closed {
                self.asked_at = Some(given.now.steady);
                self.by_dns(asked, requests);
                return;
            }
            asked.into_iter().for_each(|ip| self.again(ip));
        }
        match dns_state {
            BreakerState::Closed => {
                let asked = self.rounds.next(MAX_DNS.saturating_sub(self.dns_out.len()));
                self.by_dns(asked, requests);
            }
            BreakerState::HalfOpen if self.dns_out.is_empty() && self.dns.admits(now) => {
                let asked = self.rounds.next(1);
                // All may be out in a bulk session: only what is asked may use up the one try.
                if !asked.is_empty() {
                    self.dns.sent(now);
                    self.by_dns(asked, requests);
                }
            }
            BreakerState::Open if self.dns_out.is_empty() && !self.bulk_out && !self.small_sessions(given) => {
                // No source can be asked: the rows stay due, and waiting sessions are told.
                for ip in self.rounds.drain() {
                    let rows = self.settled(ip);
                    self.failed.extend(rows.map(|row| (row, String::new())));
                }
            }
            _ => {}
        }
    }

    /// Names are asked about over DNS only. While that is left alone, no answer waits for one.
    fn ask_names(&mut self, given: &Given<'_>) -> Vec<Request> {
        let now = given.now.wall;
        match self.dns.state(now) {
            BreakerState::Closed => self.names.ask(usize::MAX),
            BreakerState::HalfOpen if self.rounds.is_empty() && self.names.wants() && self.dns.admits(now) => {
                let asked = self.names.ask(1);
                // As below: what is out already is not asked again.
                if !asked.is_empty() {
                    self.dns.sent(now);
                }
                asked
            }
            _ => {
                let nameless = self.names.release();
                self.ready.extend(nameless);
                Vec::new()
            }
        }
    }

    /// Whether too few addresses for a bulk session may go into one if DNS does not answer.
    fn small_sessions(&self, given: &Given<'_>) -> bool {
        // A minimum out of reach means: no bulk sessions.
        given.settings.bulk_min < BULK_NEVER && self.bulk.state(given.now.wall) != BreakerState::Open
    }

    fn bulk_is_paused(&self, given: &Given<'_>) -> bool {
        self.bulk_at.is_some_and(|at| given.now.steady < at)
    }

    /// Where DNS does not answer, one session now and then for all that is due, however little that is.
    fn small_session(&mut self, given: &Given<'_>) -> Option<Request> {
        let (now, steady) = (given.now.wall, given.now.steady);
        let stuck = self.dns.state(now) == BreakerState::Open && !self.rounds.is_empty();
        if !self.small_sessions(given) || !stuck && self.silent.is_empty() {
            (self.small_at, self.silent) = (None, Vec::new());
            return None;
        }
        let earliest = steady + GATHER;
        let apart = self.small_began.map_or(earliest, |began| began + APART);
        let at = *self.small_at.get_or_insert(earliest.max(apart));
        let early = steady < at || self.bulk_is_paused(given);
        if early || self.bulk_out || !self.dns_out.is_empty() || !self.bulk.admits(now) {
            return None;
        }
        self.small_at = None;
        let silent = std::mem::take(&mut self.silent);
        let noted: HashSet<IpAddr> = silent.iter().map(|(row, _)| row.ip).collect();
        for (row, rows) in silent {
            self.seen.insert(row.ip, row.seen);
            self.rounds.add([(row.ip, row.seen)]);
            for other in rows.into_iter().filter(|other| *other != row.ip) {
                let others = self.wrapped.entry(row.ip).or_default();
                if !others.contains(&other) {
                    others.push(other);
                }
            }
        }
        let asked = self.rounds.next(BULK);
        if asked.is_empty() {
            return None;
        }
        self.bulk.sent(now);
        self.small_began = Some(steady);
        self.small_out = Some(noted);
        self.bulk_out = true;
        Some(Request::Bulk(asked))
    }

    fn by_dns(&mut self, asked: Vec<IpAddr>, requests: &mut Vec<Request>) {
        for ip in asked {
            self.dns_out.insert(ip);
            requests.push(Request::Origin(ip));
        }
    }

    /// A question that could not be handed over.
    pub fn lose(&mut self, request: &Request) {
        match request {
            Request::Origin(ip) => {
                self.dns_out.remove(ip);
                self.again(*ip);
            }
            Request::Bulk(ips) => {
                self.bulk_out = false;
                ips.iter().for_each(|ip| self.again(*ip));
            }
            Request::AsName(asn) => self.names.lose(*asn),
            Request::Scanner(_) => {}
        }
    }
}
