//! Team Cymru in the worker: who is asked about, how, and what becomes of the answers.
//!
//! One campaign at a time: rows are claimed, those in a known network are answered from `cymru_prefix`, and the rest
//! goes through [`Rounds`], which asks about few and settles many. Many questions at once are one bulk session, few are
//! DNS queries. Where bulk does not work, DNS does its work at its own pace; single whois queries are never sent.
//!
//! This file claims and takes what comes; [`ask`] asks, [`write`] writes it down, [`show`] tells people how the source stands.

mod ask;
mod show;
mod write;

pub use self::write::by_reason;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use enrich::address::effective;
use enrich::cymru::dns::{SILENT, UNKNOWN_ZONE};
use enrich::cymru::rounds::Rounds;
use enrich::cymru::{AsName, Origin};
use enrich::failure::Failure;
use enrich::fetcher::Request;
use enrich::retry::{Breaker, BreakerState};

use self::show::{count, heard, missed};
use super::interest::{Interests, Source};
use super::names::Names;
use super::{in_schema, watched};
use crate::inventory::cymru as store;
use crate::inventory::cymru::{Answer, Claim, Prefix, Which};
use crate::inventory::store::{Lifetimes, NEVER_ASK, SWITCHED_OFF};
use crate::pg::{time, tx};
use crate::settings::Network as Settings;
use crate::shared::source::way;
use crate::shared::trouble::Work;

/// Rows of one claim.
const CLAIM: usize = 50_000;
/// Team Cymru's side of the worker.
#[derive(Default)]
pub struct Cymru {
    rounds: Rounds,
    /// Rows that stand for another, effective address: 6to4, IPv4-mapped and the like.
    wrapped: HashMap<IpAddr, Vec<IpAddr>>,
    seen: HashMap<IpAddr, u64>,
    dns: Breaker,
    bulk: Breaker,
    dns_out: HashSet<IpAddr>,
    bulk_out: bool,
    /// Bulk sessions that failed in a row, and when the next may start.
    strikes: u32,
    bulk_at: Option<Instant>,
    /// When the next small session may start, where one is wanted, and when the last one did.
    small_at: Option<Instant>,
    small_began: Option<Instant>,
    /// Addresses that DNS was silent about, with their rows: for a small session. The rows say that it failed.
    silent: Vec<(Claim, Vec<IpAddr>)>,
    /// A small session is out, and which of its addresses are such.
    small_out: Option<HashSet<IpAddr>>,
    /// When the last round was asked.
    asked_at: Option<Instant>,
    /// When the source last answered, whichever way, and when it last did not (Unix microseconds).
    answered_at: Option<i64>,
    missed_at: Option<i64>,
    names: Names,
    /// To be written: answers by row, by network, names, failures, rows not to ask about.
    ready: Vec<(IpAddr, Answer)>,
    prefixes: Vec<Prefix>,
    bulk_names: Vec<(u32, String)>,
    failed: Vec<(IpAddr, String)>,
    skipped: Vec<(IpAddr, &'static str)>,
    write_at: Option<Instant>,
    /// Rows that can't be written, and until when they are left alone.
    held: HashMap<IpAddr, Instant>,
    /// The resolver was found not to know the service. Once is enough: what was written since is confirmed.
    unknown: bool,
    /// That is news.
    doubted: bool,
    /// The log knows that bulk sessions do the work of DNS.
    told: bool,
    /// Stale rows are to be looked for.
    stale: bool,
    /// The last claim was cut at its limit.
    more: bool,
    written: bool,
}

impl Cymru {
    /// The schedule says so.
    pub fn look_for_stale(&mut self) {
        self.stale = true;
    }

    /// Whether something is there to be written.
    pub fn is_unwritten(&self) -> bool {
        !(self.ready.is_empty() && self.failed.is_empty() && self.skipped.is_empty())
    }

    /// Whether rows were written since this was last asked.
    pub fn take_written(&mut self) -> bool {
        std::mem::take(&mut self.written)
    }

    /// Whether it has turned out that the resolver does not know the service: what it said before to have no route is not
    /// to be believed either.
    pub fn take_doubted(&mut self) -> bool {
        std::mem::take(&mut self.doubted)
    }

    /// Whether a campaign is under way.
    fn is_busy(&self) -> bool {
        !self.rounds.is_empty()
            || self.bulk_out
            || !self.dns_out.is_empty()
            || self.is_unwritten()
            || self.names.holds_answers()
    }

    /// Starts the next campaign, if none is under way and anything is due.
    pub fn claim(&mut self, settings: &Settings, lifetimes: &Lifetimes, looking: bool, interests: &mut Interests) {
        if self.is_busy() || !(looking || self.more) {
            return;
        }
        self.more = false;
        self.wrapped.clear();
        self.seen.clear();
        let now = Instant::now();
        self.held.retain(|_, until| *until > now);
        if settings.cymru && self.is_closed(time::now_unix_us()) {
            return;
        }
        let stale = &mut self.stale;
        let claimed = in_schema(Work::CymruClaim, |schema| {
            let due = store::claim(schema, Which::Due, lifetimes, CLAIM);
            let old = if due.is_empty() && *stale && settings.cymru {
                store::claim(schema, Which::Stale, lifetimes, CLAIM)
            } else {
                Vec::new()
            };
            *stale &= !old.is_empty() || !due.is_empty();
            let asked: Vec<IpAddr> = due.iter().map(|claim| effective(claim.ip)).collect();
            let known = if settings.cymru && !asked.is_empty() { store::known(schema, &asked) } else { Vec::new() };
            (due, old, known)
        });
        let Some((due, old, known)) = said(claimed) else { return };
        self.more = due.len() == CLAIM || old.len() == CLAIM;
        let known: HashMap<IpAddr, Answer> = known.into_iter().collect();
        for claim in due.into_iter().chain(old) {
            if self.held.contains_key(&claim.ip) {
                continue;
            }
            if !settings.cymru {
                self.skipped.push((claim.ip, SWITCHED_OFF));
            } else if is_secret(settings, claim.ip) {
                self.skipped.push((claim.ip, NEVER_ASK));
            } else if let Some(answer) = known.get(&effective(claim.ip)) {
                self.answered(claim.ip, answer.clone());
            } else {
                self.add(claim);
            }
            interests.expect(claim.ip, Source::Cymru, None);
        }
    }

    /// Claims what a job or a session asks for, whatever campaign is under way. With `anew`, known networks count for
    /// nothing.
    pub fn claim_these(&mut self, which: Which<'_>, anew: bool, interests: &mut Interests, job: Option<usize>) {
        let settings = crate::settings::network();
        let claimed = in_schema(Work::CymruClaim, |schema| {
            let due = store::claim(schema, which, &Lifetimes::now(), usize::MAX >> 1);
            let asked: Vec<IpAddr> = due.iter().map(|claim| effective(claim.ip)).collect();
            let known = if anew || asked.is_empty() { Vec::new() } else { store::known(schema, &asked) };
            (due, known)
        });
        let Some((due, known)) = said(claimed) else { return };
        let known: HashMap<IpAddr, Answer> = known.into_iter().collect();
        for claim in due {
            interests.expect(claim.ip, Source::Cymru, job);
            if !settings.cymru {
                self.skipped.push((claim.ip, SWITCHED_OFF));
            } else if is_secret(&settings, claim.ip) {
                self.skipped.push((claim.ip, NEVER_ASK));
            } else if let Some(answer) = known.get(&effective(claim.ip)) {
                self.answered(claim.ip, answer.clone());
            } else {
                self.add(claim);
            }
        }
    }

    fn add(&mut self, claim: Claim) {
        let ip = effective(claim.ip);
        if ip != claim.ip {
            let rows = self.wrapped.entry(ip).or_default();
            if !rows.contains(&claim.ip) {
                rows.push(claim.ip);
            }
        }
        self.seen.insert(ip, claim.seen);
        self.rounds.add([(ip, claim.seen)]);
    }

    /// The rows that an effective address stands for, once it is through: nothing else is kept of it, or a long job would
    /// fill the memory. One that the inventory does not have is written to no row.
    fn settled(&mut self, ip: IpAddr) -> impl Iterator<Item = IpAddr> + use<> {
        self.seen.remove(&ip);
        std::iter::once(ip).chain(self.wrapped.remove(&ip).unwrap_or_default())
    }

    fn answered(&mut self, row: IpAddr, answer: Answer) {
        self.ready.extend(self.names.complete(row, answer));
    }

    /// Neither way is open.
    fn is_closed(&self, now: i64) -> bool {
        self.dns.state(now) == BreakerState::Open && self.bulk.state(now) == BreakerState::Open
    }

    /// The settings changed: whoever waits for a question is looked at again. What is with the network thread is looked
    /// at there, right before it is sent.
    pub fn heed(&mut self, settings: &Settings) {
        if !settings.cymru {
            let nameless = self.names.release();
            self.ready.extend(nameless);
            self.names.forget();
        }
        self.silent.retain(|(_, rows)| settings.cymru && !rows.iter().any(|row| is_secret(settings, *row)));
        let wrapped = &self.wrapped;
        let unwanted = |ip: IpAddr| {
            let mut rows = std::iter::once(&ip).chain(wrapped.get(&ip).into_iter().flatten());
            !settings.cymru || rows.any(|row| is_secret(settings, *row))
        };
        for ip in self.rounds.remove(unwanted) {
            self.withhold(ip, settings);
        }
    }

    /// Addresses with questions out, or about to be, that are told to nobody because of how they were written.
    pub fn hidden(&self, settings: &Settings) -> Vec<IpAddr> {
        let hidden =
            |(ip, rows): (&IpAddr, &Vec<IpAddr>)| rows.iter().any(|row| is_secret(settings, *row)).then_some(*ip);
        if settings.never_ask.is_empty() { Vec::new() } else { self.wrapped.iter().filter_map(hidden).collect() }
    }

    /// What becomes of the rows of an address that was not asked about, and is in no round any more.
    fn withhold(&mut self, ip: IpAddr, settings: &Settings) {
        for row in self.settled(ip) {
            if !settings.cymru {
                self.skipped.push((row, SWITCHED_OFF));
            } else if is_secret(settings, row) {
                self.skipped.push((row, NEVER_ASK));
            } else {
                // It shares its question with one that may not be told, or may be told by now: it stays due.
                self.failed.push((row, String::new()));
            }
        }
    }

    /// A question that the network thread did not send.
    fn withheld(&mut self, ip: IpAddr, settings: &Settings) {
        self.rounds.fail(ip);
        self.withhold(ip, settings);
    }

    /// Questions that could not be sent.
    pub fn lose(&mut self, requests: &[Request]) {
        for request in requests {
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

    fn again(&mut self, ip: IpAddr) {
        self.rounds.fail(ip);
        let seen = self.seen.get(&ip).copied().unwrap_or(0);
        self.rounds.add([(ip, seen)]);
    }

    /// An answer over DNS.
    pub fn origin(&mut self, ip: IpAddr, result: Result<Origin, Failure>, settings: &Settings, now: i64) {
        self.dns_out.remove(&ip);
        if result.as_ref().is_err_and(Failure::is_withheld) {
            self.withheld(ip, settings);
            return;
        }
        self.heed_outcome(result.as_ref().err(), now);
        match result {
            Ok(origin) => {
                self.told = false;
                heard(&mut self.dns, "Team Cymru answers", now);
                self.take(ip, &origin);
            }
            Err(failure) => {
                if failure.reason == UNKNOWN_ZONE && !std::mem::replace(&mut self.unknown, true) {
                    self.doubted = true;
                }
                missed(&mut self.dns, way::DNS, "Team Cymru does not answer", &failure.reason, now);
                let seen = self.seen.get(&ip).copied().unwrap_or(0);
                self.rounds.fail(ip);
                let rows: Vec<IpAddr> = self.settled(ip).collect();
                self.failed.extend(rows.iter().map(|row| (*row, failure.reason.clone())));
                if failure.reason == SILENT && self.silent.len() < ask::BULK {
                    self.silent.push((Claim { ip, seen }, rows));
                }
            }
        }
    }

    /// Counts an outcome.
    fn heed_outcome(&mut self, failure: Option<&Failure>, now: i64) {
        count(failure, now);
        self.note_outcome(failure.is_none(), now);
    }

    /// Keeps when the source last answered, and when it did not.
    fn note_outcome(&mut self, answered: bool, now: i64) {
        *(if answered { &mut self.answered_at } else { &mut self.missed_at }) = Some(now);
    }

    /// The answers of a bulk session. Where it broke off, the rest is asked again, later each time; after the last time
    /// over DNS.
    pub fn bulk(&mut self, session: Session<'_>, settings: &Settings, now: i64) {
        let Session { asked, answers, withheld, failure } = session;
        self.bulk_out = false;
        let small = self.small_out.take();
        let mut left: HashSet<IpAddr> = asked.iter().copied().collect();
        for ip in withheld {
            left.remove(&ip);
            self.withheld(ip, settings);
        }
        if left.is_empty() {
            return;
        }
        count(failure.as_ref(), now);
        self.note_outcome(failure.is_none() || !answers.is_empty(), now);
        for (ip, origin) in &answers {
            left.remove(ip);
            if let Origin::Announced(all) = origin {
                for announcement in all {
                    if let (Some(asn), Some(name)) = (announcement.origins.first(), &announcement.as_name) {
                        let waited = self.names.came_along(*asn, name);
                        self.ready.extend(waited);
                        self.bulk_names.push((*asn, name.clone()));
                    }
                }
            }
            self.take(*ip, origin);
        }
        match failure {
            None => {
                heard(&mut self.bulk, "Team Cymru's bulk sessions work", now);
                if self.dns.state(now) != BreakerState::Closed && !std::mem::replace(&mut self.told, true) {
                    pgrx::log!("asn_inventory: Team Cymru answers again, by bulk sessions; its DNS does not");
                }
                self.strikes = 0;
                for ip in left {
                    self.give_up(ip, "the bulk reply passed over the address");
                }
            }
            Some(failure) => {
                if answers.is_empty() {
                    self.strikes += 1;
                    let what = "Team Cymru's bulk sessions fail, its DNS is asked instead";
                    missed(&mut self.bulk, way::BULK, what, &failure.reason, now);
                } else {
                    self.strikes = 1;
                }
                let pause = Duration::from_secs(1 << (self.strikes - 1).min(3));
                self.bulk_at = Some(Instant::now() + pause);
                pgrx::debug1!("asn_inventory: a bulk session with Team Cymru failed: {}", failure.reason);
                for ip in left {
                    if let Some(noted) = &small {
                        // Neither way. What DNS was silent about is noted already.
                        let reason = if noted.contains(&ip) { "" } else { failure.reason.as_str() };
                        self.give_up(ip, reason);
                    } else if self.rounds.contains(ip) {
                        self.again(ip);
                    } else {
                        self.rounds.fail(ip);
                    }
                }
            }
        }
    }

    /// What became of a question about an AS.
    pub fn as_name(&mut self, asn: u32, result: Result<Option<AsName>, Failure>, now: i64) {
        match &result {
            Err(failure) if failure.is_withheld() => {}
            Err(failure) => {
                count(Some(failure), now);
                // A name that is not to be had says nothing of the source; a silence does.
                if failure.reason == SILENT {
                    missed(&mut self.dns, way::DNS, "Team Cymru does not answer", &failure.reason, now);
                }
            }
            Ok(_) => {
                self.heed_outcome(None, now);
                heard(&mut self.dns, "Team Cymru answers", now);
            }
        }
        self.ready.extend(self.names.outcome(asn, result));
    }

    fn take(&mut self, ip: IpAddr, origin: &Origin) {
        self.prefixes.push(store::prefix(ip, origin));
        for (ip, announcement) in self.rounds.answer(ip, origin) {
            for row in self.settled(ip) {
                self.answered(row, Answer::of(announcement));
            }
        }
    }

    fn give_up(&mut self, ip: IpAddr, reason: &str) {
        self.rounds.fail(ip);
        let rows = self.settled(ip);
        self.failed.extend(rows.map(|row| (row, reason.to_owned())));
    }
}

/// What came of a bulk session.
pub struct Session<'a> {
    /// Who was to be asked about.
    pub asked: &'a [IpAddr],
    /// What was answered.
    pub answers: Vec<(IpAddr, Origin)>,
    /// Who was not asked about after all.
    pub withheld: Vec<IpAddr>,
    /// Why the others have no answer.
    pub failure: Option<Failure>,
}

/// Whether an address is told to nobody.
pub fn is_secret(settings: &Settings, ip: IpAddr) -> bool {
    let inside = |ip| settings.never_ask.iter().any(|network| network.contains(ip));
    inside(ip) || inside(effective(ip))
}

/// What was claimed; the log is told why nothing was.
fn said<T>(claimed: Result<T, tx::Failure>) -> Option<T> {
    if let Err(failure) = &claimed
        && watched::is_news(Work::CymruClaim, failure)
    {
        pgrx::log!(
            "asn_inventory: what Team Cymru is to be asked could not be read, trying again: {}",
            failure.message
        );
    }
    claimed.ok()
}
