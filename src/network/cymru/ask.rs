//! What to ask Team Cymru now, and which way: DNS for few, a bulk session for many, a small session now and then where DNS
//! does not answer.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use enrich::fetcher::Request;
use enrich::retry::BreakerState;

use super::Cymru;
use crate::settings::Network as Settings;

/// Addresses of one bulk session.
pub(super) const BULK: usize = 5_000;
/// DNS questions in flight.
const DNS: usize = 64;
/// How long a round waits for its last answers.
const LAG: Duration = Duration::from_secs(2);
/// How long what DNS does not answer is gathered for one small bulk session, and how far apart those are at least: the
/// service bans who opens a session for every address.
const GATHER: Duration = Duration::from_secs(5);
const APART: Duration = Duration::from_secs(60);

impl Cymru {
    /// What to ask now.
    pub fn ask(&mut self, settings: &Settings, now: i64) -> Vec<Request> {
        if !settings.cymru {
            self.heed(settings);
            return Vec::new();
        }
        let mut requests = self.ask_names(now);
        requests.extend(self.small_session(settings, now));
        if self.rounds.is_empty() {
            return requests;
        }
        let bulk_state = self.bulk.state(now);
        let paused = self.bulk_at.is_some_and(|at| Instant::now() < at);
        let bulk_open = bulk_state != BreakerState::Open && self.rounds.len() >= settings.bulk_min;
        // A round is asked at once and ends before the next begins: its answers settle some of what is left, and what
        // came in by ones and twos would all go to DNS, one by one. A question that lags holds nobody up for long.
        let lagging = self.asked_at.is_some_and(|at| at.elapsed() < LAG) && self.rounds.outstanding() > 0;
        if bulk_open && (self.bulk_out || paused || lagging) {
            return requests;
        }
        let dns_state = self.dns.state(now);
        if bulk_open && self.bulk.admits(now) {
            let asked = self.rounds.next(BULK);
            // Only what goes by bulk may use up the one try of a half-open breaker.
            if asked.len() >= settings.bulk_min && self.bulk.allows(now) {
                self.asked_at = Some(Instant::now());
                self.bulk_out = true;
                requests.push(Request::Bulk(asked));
                return requests;
            }
            if dns_state == BreakerState::Closed {
                self.asked_at = Some(Instant::now());
                self.by_dns(asked, &mut requests);
                return requests;
            }
            asked.into_iter().for_each(|ip| self.again(ip));
        }
        match dns_state {
            BreakerState::Closed => {
                let asked = self.rounds.next(DNS.saturating_sub(self.dns_out.len()));
                self.by_dns(asked, &mut requests);
            }
            BreakerState::HalfOpen if self.dns_out.is_empty() && self.dns.allows(now) => {
                let asked = self.rounds.next(1);
                self.by_dns(asked, &mut requests);
            }
            BreakerState::Open if self.dns_out.is_empty() && !self.bulk_out && !self.small_sessions(settings, now) => {
                // Nobody can be asked: the rows stay due, and who waits is told so.
                for ip in self.rounds.drain() {
                    let rows = self.settled(ip);
                    self.failed.extend(rows.map(|row| (row, String::new())));
                }
            }
            _ => {}
        }
        requests
    }

    /// Names are asked about over DNS only. While that is left alone, no answer waits for one.
    fn ask_names(&mut self, now: i64) -> Vec<Request> {
        match self.dns.state(now) {
            BreakerState::Closed => self.names.ask(usize::MAX),
            BreakerState::HalfOpen if self.rounds.is_empty() && self.names.wants() && self.dns.allows(now) => {
                self.names.ask(1)
            }
            _ => {
                let nameless = self.names.release();
                self.ready.extend(nameless);
                Vec::new()
            }
        }
    }

    /// Whether what is too little for a bulk session may go into one where DNS does not answer.
    fn small_sessions(&self, settings: &Settings, now: i64) -> bool {
        // Who has set the minimum out of reach does without.
        settings.bulk_min < i32::MAX as usize && self.bulk.state(now) != BreakerState::Open
    }

    /// Where DNS does not answer, one session now and then for all that is due, however little that is.
    fn small_session(&mut self, settings: &Settings, now: i64) -> Option<Request> {
        let stuck = self.dns.state(now) == BreakerState::Open && !self.rounds.is_empty();
        if !self.small_sessions(settings, now) || !stuck && self.silent.is_empty() {
            (self.small_at, self.silent) = (None, Vec::new());
            return None;
        }
        let earliest = Instant::now() + GATHER;
        let apart = self.small_began.map_or(earliest, |began| began + APART);
        let at = *self.small_at.get_or_insert(earliest.max(apart));
        let early = Instant::now() < at || self.bulk_at.is_some_and(|at| Instant::now() < at);
        if early || self.bulk_out || !self.dns_out.is_empty() || !self.bulk.admits(now) {
            return None;
        }
        self.small_at = None;
        let silent = std::mem::take(&mut self.silent);
        let noted: HashSet<IpAddr> = silent.iter().map(|(claim, _)| claim.ip).collect();
        for (claim, rows) in silent {
            self.seen.insert(claim.ip, claim.seen);
            self.rounds.add([(claim.ip, claim.seen)]);
            for row in rows.into_iter().filter(|row| *row != claim.ip) {
                let others = self.wrapped.entry(claim.ip).or_default();
                if !others.contains(&row) {
                    others.push(row);
                }
            }
        }
        let asked = self.rounds.next(BULK);
        if asked.is_empty() || !self.bulk.allows(now) {
            asked.into_iter().for_each(|ip| self.again(ip));
            return None;
        }
        self.small_began = Some(Instant::now());
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
}
