//! GreyNoise in the worker: the most observed addresses first, as far as the quota goes.
//!
//! What a question may cost is written into the ledger, and is on disk, before it is sent: a server that is killed has
//! at worst counted a question that it never asked. What closes the source for its quota, and opens it again, stands in
//! [`closing`].

mod closing;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use enrich::address::effective;
use enrich::failure::{Failure, FailureKind};
use enrich::fetcher::Request;
use enrich::fetcher::gate::Leave;
use enrich::greynoise::Verdict;
use enrich::quota::Ledger;
use enrich::retry::{Breaker, BreakerState};
use enrich::secrets::{Mark, Secret};
use pgrx::pg_sys;

use self::closing::Closure;
use super::cymru::{by_reason, is_secret};
use super::interest::{End, Interests, Source};
use super::key::Key;
use super::{POLL, in_schema, part_in_schema, say_refused, watched, write_or_halve};
use crate::inventory::cymru::{Claim, Which};
use crate::inventory::greynoise as store;
use crate::inventory::store::{Lifetimes, NEVER_ASK, SWITCHED_OFF};
use crate::pg::time;
use crate::pg::tx::Failure as Failed;
use crate::settings::{Network as Settings, Switch};
use crate::shared;
use crate::shared::source::{Shown, state};
use crate::shared::trouble::Work;

/// Rows of one claim.
const CLAIM: usize = 1_000;
/// Questions in flight.
const IN_FLIGHT: usize = 8;
/// How long a row that can't be written is left alone: each new question about it would cost quota.
const HELD: Duration = Duration::from_secs(3600);

/// GreyNoise's side of the worker.
#[derive(Default)]
pub struct GreyNoise {
    key: Key,
    /// The key has been accepted; until then one question at a time is sent.
    proven: bool,
    queue: VecDeque<Ipv4Addr>,
    queued: HashSet<Ipv4Addr>,
    /// Rows that stand for another, effective address.
    wrapped: HashMap<Ipv4Addr, Vec<IpAddr>>,
    /// What is asked, and with which key.
    out: HashMap<Ipv4Addr, Option<Mark>>,
    ledger: Option<Ledger>,
    closure: Closure,
    breaker: Breaker,
    ready: Vec<(IpAddr, Verdict)>,
    failed: Vec<(IpAddr, String)>,
    skipped: Vec<(IpAddr, String)>,
    /// Rows that the quota did not reach.
    spent: Vec<IpAddr>,
    /// Rows whose question could not be sent, or came to nothing: they stay as they are.
    dropped: Vec<IpAddr>,
    write_at: Option<Instant>,
    held: HashMap<IpAddr, Instant>,
    stale: bool,
    more: bool,
}

impl GreyNoise {
    /// Reads the key anew. One that was refused is tried again.
    pub fn resolve_key(&mut self, settings: &Settings) {
        if settings.greynoise == Switch::off {
            self.key.forget();
        } else {
            self.key.resolve("greynoise_api_key", &settings.greynoise_key, settings.resolver());
        }
        self.proven = false;
    }

    /// Whether a key has come, or turned out not to.
    pub fn take_key(&mut self) -> bool {
        let before = self.key.mark();
        let over = self.key.take();
        if self.key.mark() != before {
            self.proven = false;
        }
        over
    }

    /// Whether the key is being resolved, or will be before anybody would look by himself.
    pub fn awaits_key(&self) -> bool {
        self.key.is_soon(POLL)
    }

    /// The key, for the network thread.
    pub fn key(&self) -> Option<Secret> {
        self.key.value().cloned()
    }

    /// Whether it may be asked.
    pub fn is_on(&self, settings: &Settings) -> bool {
        match settings.greynoise {
            Switch::off => false,
            // Without a key only once it is known that there is none.
            Switch::on => !self.key.is_coming() || self.key.value().is_some(),
            Switch::auto => self.key.value().is_some(),
        }
    }

    /// The schedule says so.
    pub fn look_for_stale(&mut self) {
        self.stale = true;
    }

    fn is_busy(&self) -> bool {
        let asking = !self.queue.is_empty() || !self.out.is_empty();
        asking
            || !self.ready.is_empty()
            || !self.failed.is_empty()
            || !self.skipped.is_empty()
            || !self.spent.is_empty()
    }

    /// Claims what is due, as much as may be asked.
    pub fn claim(&mut self, settings: &Settings, lifetimes: &Lifetimes, looking: bool, interests: &mut Interests) {
        self.reopen_if_due();
        if self.is_busy() || self.key.is_coming() || !(looking || self.more) {
            return;
        }
        self.more = false;
        self.wrapped.clear();
        let off = settings.greynoise == Switch::off;
        let now = Instant::now();
        self.held.retain(|_, until| *until > now);
        let unix = time::now_unix_us();
        if !off {
            if !self.is_on(settings) || self.key.is_refused() || self.breaker.state(unix) == BreakerState::Open {
                return;
            }
            if self.left(settings, unix) == 0 {
                return;
            }
        }
        let stale = &mut self.stale;
        let claimed = in_schema(Work::GreynoiseClaim, |schema| {
            let due = store::claim(schema, Which::Due, lifetimes, CLAIM);
            if !due.is_empty() || !*stale || off {
                return due;
            }
            let old = store::claim(schema, Which::Stale, lifetimes, CLAIM);
            *stale = !old.is_empty();
            old
        });
        let Some(claimed) = said(claimed) else { return };
        self.more = claimed.len() == CLAIM;
        for claim in claimed {
            if off {
                self.skipped.push((claim.ip, SWITCHED_OFF.to_owned()));
            } else {
                self.add(settings, claim, false);
            }
            interests.expect(claim.ip, Source::GreyNoise, None);
        }
    }

    /// Claims what a job or a session asks for; it goes before everything else.
    pub fn claim_these(&mut self, which: Which<'_>, interests: &mut Interests, job: Option<usize>) {
        let settings = crate::settings::network();
        let claimed =
            in_schema(Work::GreynoiseClaim, |schema| store::claim(schema, which, &Lifetimes::now(), usize::MAX >> 1));
        // The most observed last, since each goes to the front.
        for claim in said(claimed).unwrap_or_default().into_iter().rev() {
            interests.expect(claim.ip, Source::GreyNoise, job);
            self.add(&settings, claim, true);
        }
    }

    /// The settings changed: who waits for a question is looked at again. What is with the network thread is looked at
    /// there, right before it is sent.
    pub fn heed(&mut self, settings: &Settings) {
        let queue = std::mem::take(&mut self.queue);
        for ip in queue {
            let secret = self.rows(ip).any(|row| is_secret(settings, row));
            if settings.greynoise == Switch::off || secret {
                self.queued.remove(&ip);
                self.withhold(ip, settings);
            } else {
                self.queue.push_back(ip);
            }
        }
    }

    /// Addresses with questions out, or about to be, that are told to nobody because of how they were written.
    pub fn hidden(&self, settings: &Settings) -> Vec<IpAddr> {
        let hidden = |(ip, rows): (&Ipv4Addr, &Vec<IpAddr>)| {
            rows.iter().any(|row| is_secret(settings, *row)).then_some(IpAddr::V4(*ip))
        };
        if settings.never_ask.is_empty() { Vec::new() } else { self.wrapped.iter().filter_map(hidden).collect() }
    }

    /// Whether a question that waits may be sent: while a key is on its way, the one of before may be gone.
    pub fn leave(&self, settings: &Settings) -> Leave {
        match settings.greynoise {
            Switch::off => Leave::No,
            _ if self.key.is_coming() => Leave::Wait,
            _ if self.is_on(settings) => Leave::Yes,
            _ => Leave::No,
        }
    }

    fn withhold(&mut self, ip: Ipv4Addr, settings: &Settings) {
        for row in self.rows(ip) {
            if settings.greynoise == Switch::off {
                self.skipped.push((row, SWITCHED_OFF.to_owned()));
            } else if is_secret(settings, row) {
                self.skipped.push((row, NEVER_ASK.to_owned()));
            } else {
                // No key any more, or it shares its question with one that may not be told: it stays due.
                self.dropped.push(row);
            }
        }
    }

    /// A question that the network thread did not send: what it was to cost is given back.
    fn withheld(&mut self, ip: Ipv4Addr, settings: &Settings, now: i64) {
        self.withhold(ip, settings);
        if let Some(mut ledger) = self.ledger() {
            ledger.give_back(1, now, settings.greynoise_window);
            self.ledger = Some(ledger);
            // Not written down, a question less is asked.
            let _ = in_schema(Work::Ledger, |schema| store::keep_ledger(schema, &ledger));
        }
    }

    fn add(&mut self, settings: &Settings, claim: Claim, first: bool) {
        let IpAddr::V4(ip) = effective(claim.ip) else {
            self.skipped.push((claim.ip, "it knows IPv4 only".to_owned()));
            return;
        };
        if settings.greynoise == Switch::off {
            self.skipped.push((claim.ip, SWITCHED_OFF.to_owned()));
            return;
        }
        if is_secret(settings, claim.ip) {
            self.skipped.push((claim.ip, NEVER_ASK.to_owned()));
            return;
        }
        if self.held.contains_key(&claim.ip) {
            self.dropped.push(claim.ip);
            return;
        }
        if IpAddr::V4(ip) != claim.ip {
            let rows = self.wrapped.entry(ip).or_default();
            if !rows.contains(&claim.ip) {
                rows.push(claim.ip);
            }
        }
        if !self.out.contains_key(&ip) && self.queued.insert(ip) {
            if first { self.queue.push_front(ip) } else { self.queue.push_back(ip) }
        }
    }

    fn rows(&self, ip: Ipv4Addr) -> impl Iterator<Item = IpAddr> + use<> {
        std::iter::once(IpAddr::V4(ip)).chain(self.wrapped.get(&ip).cloned().unwrap_or_default())
    }

    fn empty_queue(&mut self) -> Vec<IpAddr> {
        self.queued.clear();
        let ips: Vec<Ipv4Addr> = self.queue.drain(..).collect();
        ips.into_iter().flat_map(|ip| self.rows(ip)).collect()
    }

    /// What to ask now. Nothing leaves before the ledger that pays for it is on disk.
    pub fn ask(&mut self, settings: &Settings, interests: &mut Interests) -> Vec<Request> {
        for ip in std::mem::take(&mut self.dropped) {
            interests.settle(ip, Source::GreyNoise, End::Failed);
        }
        // Not with the key of before, while the new one is on its way: it may be the one that was refused.
        if self.queue.is_empty() || self.key.is_coming() {
            return Vec::new();
        }
        let now = time::now_unix_us();
        if !self.is_on(settings) || self.key.is_refused() {
            let end = if self.key.is_refused() { End::Failed } else { End::Skipped };
            self.empty_queue().into_iter().for_each(|ip| interests.settle(ip, Source::GreyNoise, end));
            return Vec::new();
        }
        let most = if self.proven { IN_FLIGHT } else { 1 };
        let room = match self.breaker.state(now) {
            BreakerState::Closed => most.saturating_sub(self.out.len()),
            BreakerState::HalfOpen => usize::from(self.out.is_empty() && self.breaker.allows(now)),
            BreakerState::Open => {
                if self.out.is_empty() {
                    self.empty_queue().into_iter().for_each(|ip| interests.settle(ip, Source::GreyNoise, End::Failed));
                }
                return Vec::new();
            }
        };
        let wanted = room.min(self.queue.len()) as u64;
        if wanted == 0 {
            return Vec::new();
        }
        let Some(mut ledger) = self.ledger() else { return Vec::new() };
        let granted = ledger.take(wanted, settings.greynoise_quota, now, settings.greynoise_window);
        if granted == 0 {
            // Who waits for one of these is told; the others stay due, in silence.
            let waiting = self.empty_queue().into_iter().filter(|ip| interests.waits_for(*ip));
            self.spent.extend(waiting.collect::<Vec<_>>());
            return Vec::new();
        }
        if let Err(failure) = in_schema(Work::Ledger, |schema| store::keep_ledger(schema, &ledger)) {
            if watched::is_news(Work::Ledger, &failure) {
                pgrx::log!(
                    "asn_inventory: the quota's ledger can't be written, GreyNoise is not asked: {}",
                    failure.message
                );
            }
            return Vec::new();
        }
        self.ledger = Some(ledger);
        let asked: Vec<Ipv4Addr> = self.queue.drain(..granted as usize).collect();
        let mark = self.key.mark();
        asked
            .into_iter()
            .map(|ip| {
                self.queued.remove(&ip);
                self.out.insert(ip, mark);
                Request::Scanner(ip)
            })
            .collect()
    }

    /// Questions that could not be sent.
    pub fn lose(&mut self, requests: &[Request]) {
        for request in requests {
            if let Request::Scanner(ip) = request {
                self.out.remove(ip);
                self.dropped.extend(self.rows(*ip));
            }
        }
    }

    /// What became of a question.
    pub fn outcome(&mut self, ip: Ipv4Addr, result: Result<Verdict, Failure>, settings: &Settings, now: i64) {
        let asked_with = self.out.remove(&ip).unwrap_or_default();
        if result.as_ref().is_err_and(Failure::is_withheld) {
            self.withheld(ip, settings, now);
            return;
        }
        let rows = self.rows(ip);
        if let Some(shown) = shown(shared::my_database()) {
            shown.outcome(result.as_ref().err(), time::from_unix_us(now));
        }
        let failure = match result {
            Ok(verdict) => {
                self.breaker.success();
                self.proven = true;
                self.closure.answered();
                self.ready.extend(rows.map(|row| (row, verdict.clone())));
                return;
            }
            Err(failure) => failure,
        };
        match failure.kind {
            FailureKind::Transient => {
                self.breaker.failure(now);
                self.failed.extend(rows.map(|row| (row, failure.reason.clone())));
            }
            FailureKind::Unauthorized => {
                // What is said of a key that was replaced meanwhile says nothing of the new one.
                if asked_with == self.key.mark() {
                    if !self.key.is_refused() {
                        pgrx::warning!(
                            "asn_inventory: GreyNoise refuses the key ({}); it is off until there is another one: \
                             asn_inventory.greynoise_api_key is read again at a reload, when its file changes, and every five minutes",
                            failure.reason
                        );
                    }
                    self.key.refuse();
                }
                self.dropped.extend(rows);
            }
            FailureKind::Quota { retry_after } => {
                self.close(retry_after, settings, now);
                self.spent.extend(rows);
            }
            // Handled before.
            FailureKind::Withheld => {}
            FailureKind::Permanent => self.skipped.extend(rows.map(|row| (row, failure.reason.clone()))),
        }
    }

    /// Writes what came.
    pub fn write(&mut self, settings: &Settings, interests: &mut Interests) {
        let idle = self.ready.is_empty() && self.failed.is_empty() && self.skipped.is_empty() && self.spent.is_empty();
        if idle || self.write_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.write_at = None;
        let now = time::now_unix_us();
        let until = self.ledger().map_or(now, |l| l.open_at(settings.greynoise_quota, now, settings.greynoise_window));
        let (ready, failed) = (std::mem::take(&mut self.ready), std::mem::take(&mut self.failed));
        let (skipped, spent) = (std::mem::take(&mut self.skipped), std::mem::take(&mut self.spent));
        let mut locked: Vec<(IpAddr, Verdict)> = Vec::new();
        let mut broken: Vec<(IpAddr, Failed)> = Vec::new();
        let written = part_in_schema(Work::GreynoiseWrite, |schema| {
            let mut write = |rows: &[(IpAddr, Verdict)]| {
                let _ = store::write(schema, rows);
            };
            write_or_halve(&ready, &mut write, &mut |(ip, verdict), failure| {
                if failure.is_lock() {
                    locked.push((*ip, verdict.clone()));
                } else {
                    broken.push((*ip, failure.clone()));
                }
            });
            for (reason, ips) in by_reason(&failed) {
                write_or_halve(&ips, &mut |part| store::fail(schema, part, reason), &mut |_, _| {});
            }
            for (reason, ips) in by_reason(&skipped) {
                write_or_halve(&ips, &mut |part| store::skip(schema, part, reason), &mut |_, _| {});
            }
            let mut note = |part: &[IpAddr]| store::out_of_quota(schema, part, time::from_unix_us(until));
            write_or_halve(&spent, &mut note, &mut |_, _| {});
        });
        if let Err(failure) = written {
            if watched::is_news(Work::GreynoiseWrite, &failure) {
                pgrx::log!(
                    "asn_inventory: answers of GreyNoise could not be written, trying again: {}",
                    failure.message
                );
            }
            self.write_at = Some(Instant::now() + Duration::from_secs(1));
            self.ready.extend(ready);
            self.failed.extend(failed);
            self.skipped.extend(skipped);
            self.spent.extend(spent);
            return;
        }
        let unwritten: HashSet<IpAddr> =
            locked.iter().map(|(ip, _)| *ip).chain(broken.iter().map(|(ip, _)| *ip)).collect();
        for (ip, verdict) in ready.iter().filter(|(ip, _)| !unwritten.contains(ip)) {
            let end = match verdict {
                Verdict::Seen(scanner) => End::Found(scanner.noise),
                Verdict::NotSeen => End::NotFound,
            };
            interests.settle(*ip, Source::GreyNoise, end);
        }
        say_refused(Work::GreynoiseWrite, &broken);
        for (ip, _) in broken {
            self.held.insert(ip, Instant::now() + HELD);
            interests.settle(ip, Source::GreyNoise, End::Failed);
        }
        failed.iter().for_each(|(ip, _)| interests.settle(*ip, Source::GreyNoise, End::Failed));
        skipped.iter().for_each(|(ip, _)| interests.settle(*ip, Source::GreyNoise, End::Skipped));
        spent.iter().for_each(|ip| interests.settle(*ip, Source::GreyNoise, End::Skipped));
        self.closure.note_waiting(&spent);
        if self.held.is_empty() {
            watched::succeeded(Work::GreynoiseWrite);
        }
        if !locked.is_empty() {
            self.write_at = Some(Instant::now() + Duration::from_secs(1));
            self.ready.extend(locked);
        }
    }

    /// Shows how the source stands.
    pub fn show(&mut self, database: pg_sys::Oid, settings: &Settings, now: i64) {
        let open_at = self.ledger.map(|l| l.open_at(settings.greynoise_quota, now, settings.greynoise_window));
        let Some(shown) = shown(database) else { return };
        let failing = self.breaker.state(now) != BreakerState::Closed;
        let (state, retry_at) = if settings.greynoise == Switch::off {
            (state::OFF, None)
        } else if !self.is_on(settings) {
            (state::NO_KEY, None)
        } else if self.key.is_refused() {
            (state::REFUSED, None)
        } else if open_at.is_some_and(|at| at > now) {
            (state::QUOTA, open_at)
        } else if failing {
            (state::FAILING, self.breaker.retry_at())
        } else {
            (state::OK, None)
        };
        shown.stand(state, self.out.len(), retry_at);
    }
}

/// What was claimed; the log is told why nothing was.
fn said<T>(claimed: Result<T, Failed>) -> Option<T> {
    if let Err(failure) = &claimed
        && watched::is_news(Work::GreynoiseClaim, failure)
    {
        pgrx::log!("asn_inventory: what GreyNoise is to be asked could not be read, trying again: {}", failure.message);
    }
    claimed.ok()
}

fn shown(database: pg_sys::Oid) -> Option<&'static Shown> {
    Some(&shared::shared()?.database(database)?.sources[1])
}
