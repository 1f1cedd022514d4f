//! The decisions about network sources: which one is asked, when, in which rounds, within which quota, and for which
//! waiters. Events in, effects out: this code knows no table, socket or clock.
//!
//! ```text
//! event ──▶ Campaign::turn ──▶ effects ──▶ the caller, with tables and a network thread
//!   ▲                                          │
//!   └──── result (claimed, written, answered) ─┘
//! ```
//!
//! The caller carries effects out in order, returns each result as an event, and decides nothing. Results may come at
//! once or later, in any order, with other events in between.
//!
//! Open questions are kept only here: after a kill their rows are still due, and the next campaign asks again. Only the
//! cost of a question to GreyNoise is written down before it is sent.
//!
//! | file | what |
//! |---|---|
//! | [`event`], [`effect`] | events and effects |
//! | [`given`] | time, settings, the state of the key |
//! | [`claim`], [`batch`] | rows that are looked for, rows that are written |
//! | [`locked`] | rows that other sessions hold |
//! | [`unskip`] | rows that a setting kept from being asked about |
//! | [`secret`] | networks that are never sent, for statements |
//! | [`cymru`] | origins of addresses: rounds, DNS or bulk, names of AS |
//! | [`greynoise`] | verdicts, the ledger of the quota |
//! | [`interest`] | waiters of an address: jobs, sessions |
//! | [`ticket`] | the slot through which a session waits |
//! | [`standing`] | the state of a source, for people |

pub mod batch;
pub mod claim;
pub mod cymru;
pub mod effect;
pub mod event;
#[cfg(test)]
mod fake;
pub mod given;
pub mod greynoise;
pub mod interest;
pub mod locked;
pub mod secret;
pub mod standing;
#[cfg(test)]
mod tests;
pub mod ticket;
pub mod unskip;

use std::collections::HashSet;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use self::claim::{Asker, Claim, Found, Rows};
use self::cymru::{Cymru, Session};
use self::effect::Effect;
use self::event::{Event, Step};
use self::given::{Given, Settings, Switch};
use self::greynoise::GreyNoise;
use self::interest::{End, Interests, Progress};
use self::standing::{Standing, Way, WayStanding};
use self::ticket::Ticket;
use self::unskip::Unskip;
use crate::fetcher::gate::{Gate, Leave};
use crate::fetcher::{Outcome, Request};
use crate::quota::Ledger;
use crate::schedule::Schedule;
use crate::source::{Source, SourceSet};
use crate::time::Micros;

/// How often to look for due rows without a signal.
pub const POLL: Duration = Duration::from_secs(5);
/// How soon to come back while there is work that needs no answer.
const SOON: Duration = Duration::from_millis(200);

/// All of it.
#[derive(Debug)]
pub struct Campaign {
    cymru: Cymru,
    greynoise: GreyNoise,
    interests: Interests,
    /// When to look for due rows next, by the steady clock; `None`: now.
    look_at: Option<Duration>,
    unskip: Unskip,
    /// The worker does nothing for now.
    resting: bool,
    /// Addresses that the network thread was last told to keep back because of how they were written.
    hidden: HashSet<IpAddr>,
    /// When old answers are looked for next.
    refresh_at: Option<Micros>,
    /// The wall clock when that was last compared with it.
    looked_at_clock: Micros,
}

impl Default for Campaign {
    fn default() -> Campaign {
        Campaign {
            cymru: Cymru::default(),
            greynoise: GreyNoise::default(),
            interests: Interests::default(),
            look_at: None,
            unskip: Unskip::default(),
            resting: false,
            hidden: HashSet::new(),
            refresh_at: None,
            looked_at_clock: Micros::MIN,
        }
    }
}

impl Campaign {
    /// Takes an event, and returns its effects.
    #[must_use = "what is not done is waited for"]
    pub fn turn(&mut self, event: Event, given: &Given<'_>) -> Vec<Effect> {
        let mut out = Vec::new();
        self.take(event, given, &mut out);
        out.extend(self.interests.answered().into_iter().map(Effect::Wake));
        out
    }

    fn take(&mut self, event: Event, given: &Given<'_>, out: &mut Vec<Effect>) {
        match event {
            Event::Started => {
                self.plan_refresh(given);
                self.read_key(given, out);
            }
            Event::Rested => {
                if !std::mem::replace(&mut self.resting, true) {
                    self.reconfigure(given, out);
                }
            }
            Event::Resumed => {
                if std::mem::take(&mut self.resting) {
                    self.reconfigure(given, out);
                    self.look_at = None;
                }
            }
            Event::Reloaded { before } => self.reloaded(&before, given, out),
            Event::KeyRead { other } => {
                if other {
                    self.greynoise.doubt_key();
                }
                self.reconfigure(given, out);
                self.look_at = None;
            }
            Event::Turn(Step::Write) => {
                self.cymru.write(given, out);
                self.greynoise.write(given, out);
            }
            Event::Turn(Step::Prepare) => self.prepare(given, out),
            Event::Turn(Step::Claim) => {
                let looking = self.look_at.is_none_or(|at| given.now.steady >= at);
                if looking {
                    self.look_at = Some(given.now.steady + POLL);
                }
                self.cymru.claim(looking, given, out);
                self.greynoise.claim(looking, given, out);
            }
            Event::Turn(Step::Ask) => {
                // The reason to hide an address may be gone: otherwise it would be withheld without end.
                if !self.hidden.is_empty() && self.hidden(given) != self.hidden {
                    self.reconfigure(given, out);
                }
                self.cymru.ask(given, out);
                self.greynoise.ask(given, &mut self.interests, out);
            }
            Event::MadeDue => self.look_at = None,
            Event::AskedAbout(ips) if ips.is_empty() => {}
            Event::AskedAbout(ips) => {
                let rows = Rows::DueOf(ips.into());
                self.claim_these(self.sources_on(given), &rows, false, Asker::Passer, out);
            }
            Event::Questions(questions) => self.questions(questions, given, out),
            Event::JobStarted(job) => self.interests.add_job(job),
            Event::JobAsks { job, ips, sources, since } => {
                let ips: Rc<[IpAddr]> = ips.into();
                let rows = match since {
                    Some(since) => Rows::All(ips, since),
                    None => Rows::OutdatedOf(ips),
                };
                self.claim_these(sources, &rows, since.is_some(), Asker::Job(job), out);
            }
            Event::JobEnded(job) => self.interests.remove_job(job),
            Event::Outcome(outcome) => self.outcome(outcome, given, out),
            Event::Lost(requests) => self.lost(&requests, given, out),
            Event::Claimed(claim, found) => self.claimed(&claim, found, given, out),
            Event::NamesFound(asked, found) => self.cymru.names_found(&asked, found, given, out),
            Event::CymruWritten(batch, written) => self.cymru.written(batch, written, given, &mut self.interests, out),
            Event::GreyNoiseWritten(batch, written) => {
                self.greynoise.written(batch, written, given, &mut self.interests, out);
            }
            Event::LedgerRead(account, ledger) => self.greynoise.ledger_read(&account, ledger, given, out),
            Event::LedgerKept { pays, refused } => self.greynoise.ledger_kept(pays, refused, given, out),
            Event::Reopened(refused) => self.greynoise.reopened(refused, given, out),
            Event::Unskipped(source, result) => {
                if self.unskip.ended(source, result, given, out) {
                    self.look_at = None;
                }
            }
        }
    }

    fn reloaded(&mut self, before: &Settings, given: &Given<'_>, out: &mut Vec<Effect>) {
        let now = given.settings;
        let told = before.never_ask != now.never_ask;
        if told || (now.cymru && !before.cymru) {
            self.unskip.begin(Source::Cymru);
        }
        if told || (before.greynoise == Switch::Off && now.greynoise != Switch::Off) {
            self.unskip.begin(Source::GreyNoise);
        }
        if before.refresh_schedule != now.refresh_schedule {
            self.plan_refresh(given);
        }
        // A new key may stand where the reference has always pointed to.
        self.read_key(given, out);
        self.greynoise.reopen();
        if before.greynoise_window != now.greynoise_window {
            self.greynoise.forget_ledger();
        }
        // Before all other effects: requests in the network thread are sent next.
        self.reconfigure(given, out);
        self.cymru.heed(given);
        self.greynoise.heed(given);
        self.look_at = None;
    }

    fn reconfigure(&mut self, given: &Given<'_>, out: &mut Vec<Effect>) {
        self.hidden = self.hidden(given);
        out.push(Effect::Reconfigure);
    }

    /// Addresses that must not be sent because of their original form.
    fn hidden(&self, given: &Given<'_>) -> HashSet<IpAddr> {
        self.cymru.hidden(given).into_iter().chain(self.greynoise.hidden(given)).collect()
    }

    /// Reads the key again. A refused one is tried again.
    fn read_key(&mut self, given: &Given<'_>, out: &mut Vec<Effect>) {
        self.greynoise.doubt_key();
        out.push(if given.settings.greynoise == Switch::Off { Effect::ForgetKey } else { Effect::ReadKey });
    }

    fn plan_refresh(&mut self, given: &Given<'_>) {
        let schedule = Schedule::parse(&given.settings.refresh_schedule).ok();
        self.refresh_at = schedule.and_then(|schedule| schedule.next(given.now.wall));
    }

    fn prepare(&mut self, given: &Given<'_>, out: &mut Vec<Effect>) {
        if self.unskip.go_on(given, out) {
            self.look_at = None;
        }
        // A clock that was set back would not come to that time for as long again.
        if std::mem::replace(&mut self.looked_at_clock, given.now.wall) > given.now.wall {
            self.plan_refresh(given);
        }
        if self.refresh_at.is_some_and(|at| given.now.wall >= at) {
            self.plan_refresh(given);
            self.cymru.look_for_stale();
            self.greynoise.look_for_stale();
            self.look_at = None;
        }
        self.greynoise.open(given, out);
    }

    fn outcome(&mut self, outcome: Outcome, given: &Given<'_>, out: &mut Vec<Effect>) {
        self.look_at = None;
        match outcome {
            Outcome::Origin { ip, result } => self.cymru.origin(ip, result, given, out),
            Outcome::Bulk { asked, answers, withheld, doubtful, failure } => {
                self.cymru.bulk(Session { asked, answers, withheld, doubtful, failure }, given, out);
            }
            Outcome::AsName { asn, result } => self.cymru.as_name(asn, result, given, out),
            Outcome::Scanner { ip, result } => self.greynoise.outcome(ip, result, given, out),
        }
    }

    fn lost(&mut self, requests: &[Request], given: &Given<'_>, out: &mut Vec<Effect>) {
        for request in requests {
            match request {
                Request::Scanner(ip) => self.greynoise.lose(*ip, given, out),
                _ => self.cymru.lose(request),
            }
        }
    }

    fn questions(&mut self, questions: Vec<(IpAddr, Ticket)>, given: &Given<'_>, out: &mut Vec<Effect>) {
        let sources = self.sources_on(given);
        let mut ips: Vec<IpAddr> = questions.iter().map(|(ip, _)| *ip).collect();
        ips.sort_unstable();
        ips.dedup();
        for (ip, question) in questions {
            self.interests.add_question(ip, question);
        }
        for ip in &ips {
            sources.iter().for_each(|_| self.interests.await_claim(*ip));
        }
        let ips: Rc<[IpAddr]> = ips.into();
        let rows = Rows::OutdatedOf(Rc::clone(&ips));
        self.claim_these(sources, &rows, false, Asker::Sessions, out);
        if sources.is_empty() {
            ips.iter().for_each(|ip| self.interests.claimed(*ip));
        }
    }

    fn claim_these(&mut self, sources: SourceSet, rows: &Rows, anew: bool, asker: Asker, out: &mut Vec<Effect>) {
        if sources.contains(Source::Cymru) {
            self.cymru.claim_these(rows.clone(), anew, asker, out);
        }
        if sources.contains(Source::GreyNoise) {
            self.greynoise.claim_these(rows.clone(), asker, out);
        }
    }

    fn claimed(&mut self, claim: &Claim, found: Option<Found>, given: &Given<'_>, out: &mut Vec<Effect>) {
        match claim.source {
            Source::GreyNoise => self.greynoise.claimed(claim, found, given, &mut self.interests, out),
            _ => self.cymru.claimed(claim, found, given, &mut self.interests, out),
        }
        if claim.asker == Asker::Sessions {
            claim.rows.ips().iter().for_each(|ip| self.interests.claimed(*ip));
        }
    }

    /// The sources that may be asked at all.
    pub fn sources_on(&self, given: &Given<'_>) -> SourceSet {
        let on = |source: &Source| match source {
            Source::MaxMind => false,
            Source::Cymru => given.settings.cymru,
            Source::GreyNoise => self.greynoise.is_on(given),
        };
        Source::NETWORK.into_iter().filter(on).collect()
    }

    /// The rules for sending.
    pub fn gate(&self, given: &Given<'_>) -> Gate {
        if self.resting {
            return Gate { cymru: Leave::Wait, greynoise: Leave::Wait, ..Gate::default() };
        }
        Gate {
            cymru: if given.settings.cymru { Leave::Yes } else { Leave::No },
            greynoise: self.greynoise.leave(given),
            never_ask: given.settings.never_ask.clone(),
            hidden: self.hidden(given),
        }
    }

    /// How long there is nothing to do, unless something happens. `others`: something else of the network side is under
    /// way.
    pub fn patience(&self, others: bool, given: &Given<'_>) -> Duration {
        if self.resting {
            return POLL;
        }
        let now = given.now.steady;
        let until_look = self.look_at.map_or(Duration::ZERO, |at| at.saturating_sub(now));
        let busy = others || self.cymru.is_unwritten();
        self.tries_again_in(now).fold(until_look.min(if busy { SOON } else { POLL }), Duration::min)
    }

    fn tries_again_in(&self, now: Duration) -> impl Iterator<Item = Duration> {
        let unskip = self.unskip.due_in(now).map(|wait| wait.max(SOON));
        [self.cymru.tries_again_in(now), self.greynoise.tries_again_in(now), unskip].into_iter().flatten()
    }

    /// How a source stands.
    pub fn standing(&self, source: Source, given: &Given<'_>) -> Standing {
        match source {
            Source::GreyNoise => self.greynoise.standing(given),
            _ => self.cymru.standing(given),
        }
    }

    /// The ledger of GreyNoise's quota, once it was read.
    pub fn ledger(&self) -> Option<Ledger> {
        self.greynoise.ledger()
    }

    /// How a way to Team Cymru stands.
    pub fn way_standing(&self, way: Way, given: &Given<'_>) -> WayStanding {
        self.cymru.way_standing(way, given)
    }

    /// Addresses of a job that are not settled.
    pub fn left_of_job(&self, job: usize) -> u64 {
        self.interests.of_job(job)
    }

    /// Whether a job waits for an address.
    pub fn job_waits_for(&self, job: usize, ip: IpAddr) -> bool {
        self.interests.job_waits_for(job, ip)
    }

    /// A job takes addresses back, to name them again later: rows to ask about could not be looked for. Questions that
    /// came of them go on.
    pub fn take_back(&mut self, job: usize, ips: &[IpAddr]) {
        self.interests.take_back(job, ips);
    }

    /// What a source has said already about an address that a job waits for.
    pub fn note_answer(&mut self, job: usize, ip: IpAddr, source: Source, end: End) {
        self.interests.note_answer(job, ip, source, end);
    }

    /// The results of a job's addresses since the last call, and whether it has none left.
    pub fn job_progress(&mut self, job: usize) -> (Progress, bool) {
        self.interests.job_progress(job)
    }

    /// Whether no row is claimed, asked about or being written, and there is no waiter.
    #[cfg(test)]
    fn is_idle(&self) -> bool {
        let idle =
            !self.cymru.is_busy() && !self.greynoise.is_busy() && self.tries_again_in(Duration::ZERO).next().is_none();
        idle && self.interests.is_empty()
    }
}
