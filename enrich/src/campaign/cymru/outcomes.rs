//! The result of a question to Team Cymru.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use super::super::claim::Target;
use super::super::effect::{Effect, News};
use super::super::given::Given;
use super::super::standing::Way;
use super::questions::BULK;
use super::state::Cymru;
use crate::cymru::answer::{Answer, Prefix};
use crate::cymru::dns::{SILENT, UNKNOWN_ZONE};
use crate::cymru::{AsName, Origin};
use crate::failure::Failure;
use crate::retry::{Breaker, BreakerState};
use crate::source::Source;
use crate::time::Micros;

/// The result of a bulk session.
#[derive(Debug)]
pub struct Session {
    /// The addresses to ask about.
    pub asked: Vec<IpAddr>,
    /// The answers.
    pub answers: Vec<(IpAddr, Origin)>,
    /// The addresses that were not asked about.
    pub withheld: Vec<IpAddr>,
    /// An answer of which more may have been to come.
    pub doubtful: Option<(IpAddr, Origin)>,
    /// Why the others have no answer.
    pub failure: Option<Failure>,
}

impl Cymru {
    /// A question that the network thread did not send.
    fn withheld(&mut self, ip: IpAddr, given: &Given<'_>) {
        self.rounds.fail(ip);
        self.withhold(ip, given);
    }

    /// An answer over DNS.
    pub fn origin(&mut self, ip: IpAddr, result: Result<Origin, Failure>, given: &Given<'_>, out: &mut Vec<Effect>) {
        self.dns_out.remove(&ip);
        if result.as_ref().is_err_and(Failure::is_withheld) {
            self.withheld(ip, given);
            return;
        }
        let now = given.now.wall;
        self.count(result.as_ref().err(), result.is_ok(), given, out);
        match result {
            Ok(origin) => {
                self.told = false;
                heard(&mut self.dns, Way::Dns, now, out);
                self.take(ip, &origin);
            }
            Err(failure) => {
                if failure.reason == UNKNOWN_ZONE && !std::mem::replace(&mut self.unknown, true) {
                    out.push(Effect::Doubt);
                }
                missed(&mut self.dns, Way::Dns, &failure.reason, now, out);
                let seen = self.seen.get(&ip).copied().unwrap_or(0);
                self.rounds.fail(ip);
                let rows: Vec<IpAddr> = self.settled(ip).collect();
                self.failed.extend(rows.iter().map(|row| (*row, failure.reason.clone())));
                if failure.reason == SILENT && self.silent.len() < BULK {
                    self.silent.push((Target { ip, seen }, rows));
                }
            }
        }
    }

    /// Counts an outcome, and keeps when the source last answered, and when it did not.
    fn count(&mut self, failure: Option<&Failure>, answered: bool, given: &Given<'_>, out: &mut Vec<Effect>) {
        out.push(Effect::Count { source: Source::Cymru, failure: failure.cloned() });
        *(if answered { &mut self.answered_at } else { &mut self.missed_at }) = Some(given.now.steady);
    }

    /// The answers of a bulk session. Where it broke off, the rest is asked again, later each time; after the last time
    /// over DNS.
    pub fn bulk(&mut self, session: Session, given: &Given<'_>, out: &mut Vec<Effect>) {
        let Session { asked, answers, withheld, doubtful, failure } = session;
        self.bulk_out = false;
        let small = self.small_out.take();
        let mut left: HashSet<IpAddr> = asked.iter().copied().collect();
        for ip in withheld {
            left.remove(&ip);
            self.withheld(ip, given);
        }
        if left.is_empty() {
            return;
        }
        let now = given.now.wall;
        self.count(failure.as_ref(), failure.is_none() || !answers.is_empty(), given, out);
        for (ip, origin) in &answers {
            left.remove(ip);
            self.take_named(*ip, origin);
        }
        if let Some((ip, origin)) = &doubtful {
            left.remove(ip);
            self.doubt(*ip, origin);
        }
        let Some(failure) = failure else {
            heard(&mut self.bulk, Way::Bulk, now, out);
            if self.dns.state(now) != BreakerState::Closed && !std::mem::replace(&mut self.told, true) {
                out.push(Effect::Say(News::OnlyBulkWorks));
            }
            self.strikes = 0;
            left.into_iter().for_each(|ip| self.give_up(ip, "the bulk reply has no row for the address"));
            return;
        };
        if answers.is_empty() {
            self.strikes += 1;
            missed(&mut self.bulk, Way::Bulk, &failure.reason, now, out);
        } else {
            // A service that answers works, however it ends: one that was left alone is asked again at its usual pace.
            heard(&mut self.bulk, Way::Bulk, now, out);
            self.strikes = 1;
        }
        let pause = Duration::from_secs(1 << (self.strikes - 1).min(3));
        self.bulk_at = Some(given.now.steady + pause);
        out.push(Effect::Say(News::BulkFailed(failure.reason.clone())));
        for ip in left {
            if let Some(noted) = &small {
                // Neither way. Addresses without a DNS answer are noted already.
                let reason = if noted.contains(&ip) { "" } else { failure.reason.as_str() };
                self.give_up(ip, reason);
            } else if self.rounds.contains(ip) {
                self.again(ip);
            } else {
                self.rounds.fail(ip);
            }
        }
    }

    /// The result of a question about an AS.
    pub fn as_name(
        &mut self,
        asn: u32,
        result: Result<Option<AsName>, Failure>,
        given: &Given<'_>,
        out: &mut Vec<Effect>,
    ) {
        let now = given.now.wall;
        match &result {
            Err(failure) if failure.is_withheld() => {}
            Err(failure) => {
                out.push(Effect::Count { source: Source::Cymru, failure: Some(failure.clone()) });
                // A missing name does not mean that the source fails; a missing answer does.
                if failure.reason == SILENT {
                    missed(&mut self.dns, Way::Dns, &failure.reason, now, out);
                }
            }
            Ok(_) => {
                self.count(None, true, given, out);
                heard(&mut self.dns, Way::Dns, now, out);
            }
        }
        self.ready.extend(self.names.outcome(asn, result));
    }

    /// An answer of a bulk session of which more may have been to come: it is asked for again. A session that ends so once
    /// more was not cut, or the address would be asked about for ever.
    fn doubt(&mut self, ip: IpAddr, origin: &Origin) {
        if !self.rounds.contains(ip) {
            // Another answer has settled it.
            self.rounds.fail(ip);
        } else if self.doubted.insert(ip) {
            self.again(ip);
        } else {
            self.take_named(ip, origin);
        }
    }

    /// An answer of a bulk session, which names the networks.
    fn take_named(&mut self, ip: IpAddr, origin: &Origin) {
        if let Origin::Announced(all) = origin {
            for announcement in all {
                if let (Some(asn), Some(name)) = (announcement.origins.first(), &announcement.as_name) {
                    let waited = self.names.came_along(*asn, name);
                    self.ready.extend(waited);
                    self.bulk_names.push((*asn, name.clone()));
                }
            }
        }
        self.take(ip, origin);
    }

    fn take(&mut self, ip: IpAddr, origin: &Origin) {
        self.prefixes.push(Prefix::of(ip, origin));
        for (ip, announcement) in self.rounds.answer(ip, origin) {
            for row in self.settled(ip) {
                self.answered(row, Answer::of(announcement));
            }
        }
    }
}

/// Success; the log learns of it if it knew of a failure.
fn heard(breaker: &mut Breaker, way: Way, now: Micros, out: &mut Vec<Effect>) {
    if breaker.state(now) != BreakerState::Closed {
        out.push(Effect::Say(News::WayWorks(way)));
    }
    breaker.success();
}

/// Failure; the log learns of it when there were so many that nothing is asked for a while, once an outage.
fn missed(breaker: &mut Breaker, way: Way, reason: &str, now: Micros, out: &mut Vec<Effect>) {
    out.push(Effect::NoteWay(way, reason.to_owned()));
    let before = breaker.state(now);
    breaker.failure(now);
    if before == BreakerState::Closed
        && let Some(at) = breaker.retry_at()
    {
        out.push(Effect::Say(News::WayFails(way, reason.to_owned(), at)));
    }
}
