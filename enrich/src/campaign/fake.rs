//! A world to run campaigns in: an inventory, a ledger, a network thread, all of plain values. Carries effects out as the
//! worker does, or one by one, and looks that nothing is asked that the settings forbid.

mod ledger;
mod rows;
mod thread;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnetwork::IpNetwork;

pub use self::rows::{FakeRow, Status};
use super::batch::Refusal;
use super::claim::{Claim, Found, Rows, Target};
use super::effect::{Effect, News};
use super::event::{Event, Step};
use super::given::{GREYNOISE_AT_ONCE, Given, Key, Now, Settings, Switch};
use super::standing::{Standing, Way};
use super::ticket::Ticket;
use super::{Campaign, POLL, secret};
use crate::cymru::{Announcement, AsName, Origin};
use crate::failure::{Failure, FailureKind};
use crate::fetcher::Request;
use crate::fetcher::gate::Gate;
use crate::greynoise::{Scanner, Verdict};
use crate::quota::shared::Account;
use crate::quota::{Ledger, Window};
use crate::secrets::Secret;
use crate::source::Source;
use crate::time::Micros;

/// The faults.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub ledger: bool,
    /// Rows that wait for the quota cannot be made due, for another reason than a lock.
    pub reopening: bool,
    pub claims: bool,
    pub writes: bool,
    pub names: bool,
    pub locked: Option<IpAddr>,
    /// All rows of a network are locked.
    pub locked_network: Option<IpNetwork>,
    pub broken: Option<IpAddr>,
    pub thread: bool,
}

/// All of it.
pub struct World {
    pub campaign: Campaign,
    pub now: Now,
    pub settings: Settings,
    pub key: Key,
    pub rows: BTreeMap<IpAddr, FakeRow>,
    /// Of the account that the table has; and the file of all accounts.
    pub ledger: Ledger,
    ledger_of: Option<Account>,
    file: BTreeMap<Account, Ledger>,
    pub faults: Faults,
    /// The names could not be read, and not all was written since.
    pub in_trouble: bool,
    /// Effects that are still to be carried out, and results that are still to be told.
    pub effects: VecDeque<Effect>,
    pub results: VecDeque<Event>,
    /// The requests of the network thread, in order.
    pub waiting: Vec<Request>,
    /// Of the network thread, once it runs, with the account that it asks with.
    gate: Option<(Gate, Account)>,
    /// All that was handed over, sent or not; questions to GreyNoise that left, by what has paid for them.
    pub asked: Vec<Request>,
    pub sent: BTreeMap<(Account, Micros), u64>,
    paid: HashMap<Ipv4Addr, (Account, Micros)>,
    last_paid: Option<(Account, Micros)>,
    pub woken: Vec<Ticket>,
    pub news: Vec<News>,
    pub counted: Vec<(Source, Option<Failure>)>,
    pub doubts: usize,
    /// How often no row was left to be made due.
    pub reopened: usize,
}

/// Wednesday, 2025-01-08 12:00 UTC.
pub const NOON: Micros = 1_736_294_400_000_000 + 12 * 3_600_000_000;

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

pub fn ticket(number: u64) -> Ticket {
    Ticket { slot: number as usize, number }
}

pub fn key(name: &str) -> Key {
    Key { mark: Some(Secret::new(name.to_owned()).mark()), ..Key::default() }
}

pub fn seen() -> Verdict {
    Verdict::Seen(Scanner { noise: true, ..Scanner::default() })
}

pub fn quota(retry_after: Option<u64>) -> Failure {
    Failure::new(FailureKind::Quota { retry_after: retry_after.map(Duration::from_secs) }, "429")
}

/// An origin AS with a /24 of its own around the address, with the name of the AS as bulk sessions give it.
pub fn announced(ip: IpAddr, asn: u32, name: Option<&str>) -> Origin {
    let prefix = crate::cymru::rounds::scope(None, ip);
    Origin::Announced(vec![Announcement {
        prefix,
        origins: vec![asn],
        country: None,
        registry: None,
        allocated: None,
        as_name: name.map(str::to_owned),
    }])
}

impl World {
    /// Everything on, no rows, GreyNoise with a key, a worker that has begun.
    pub fn new() -> World {
        let mut world = World {
            campaign: Campaign::default(),
            now: Now { wall: NOON, steady: Duration::ZERO },
            settings: Settings {
                cymru: true,
                bulk_min: 50,
                greynoise: Switch::Auto,
                greynoise_url: "https://api.example".to_owned(),
                greynoise_at_once: GREYNOISE_AT_ONCE,
                greynoise_quota: 100,
                greynoise_window: Window::Day,
                refresh_schedule: String::new(),
                never_ask: Vec::new(),
            },
            key: key("one"),
            rows: BTreeMap::new(),
            ledger: Ledger::default(),
            ledger_of: None,
            file: BTreeMap::new(),
            faults: Faults::default(),
            in_trouble: false,
            effects: VecDeque::new(),
            results: VecDeque::new(),
            waiting: Vec::new(),
            gate: None,
            asked: Vec::new(),
            sent: BTreeMap::new(),
            paid: HashMap::new(),
            last_paid: None,
            woken: Vec::new(),
            news: Vec::new(),
            counted: Vec::new(),
            doubts: 0,
            reopened: 0,
        };
        world.tell(Event::Started);
        world
    }

    /// Only GreyNoise, whose key is proven.
    pub fn greynoise() -> World {
        let mut world = World::new();
        world.settings.cymru = false;
        world.observe("192.88.0.1", 1);
        world.turn();
        world.answer_scanner("192.88.0.1", Ok(seen()));
        world.turn();
        world.asked.clear();
        world
    }

    /// Only Team Cymru.
    pub fn cymru() -> World {
        let mut world = World::new();
        world.settings.greynoise = Switch::Off;
        world
    }

    pub fn given(&self) -> Given<'_> {
        Given { now: self.now, settings: &self.settings, key: self.key }
    }

    /// The worker is killed, and another begins.
    pub fn kill(&mut self) {
        self.campaign = Campaign::default();
        self.effects.clear();
        self.results.clear();
        self.waiting.clear();
        self.gate = None;
        self.tell(Event::Started);
    }

    /// An address is observed.
    pub fn observe(&mut self, ip: &str, seen: u64) {
        self.add(self::ip(ip), seen);
        self.tell(Event::MadeDue);
    }

    pub fn add(&mut self, ip: IpAddr, seen: u64) {
        let at = Source::NETWORK.map(|source| (source, Status::Due)).into();
        let row = FakeRow { seen: 0, at, ..FakeRow::default() };
        self.rows.entry(ip).or_insert(row).seen += seen;
    }

    pub fn status(&self, ip: &str, source: Source) -> &Status {
        &self.rows[&self::ip(ip)].at[&source]
    }

    pub fn standing(&self, source: Source) -> Standing {
        self.campaign.standing(source, &self.given())
    }

    pub fn is_failing(&self, way: Way) -> bool {
        self.campaign.way_standing(way, &self.given()).failing
    }

    pub fn later(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
    }

    /// Changes the settings.
    pub fn reload(&mut self, change: impl FnOnce(&mut Settings)) {
        self.change_settings(change);
        self.drain();
    }

    /// As [`reload`](World::reload), but its effects wait, except for the requests to the network thread.
    pub fn change_settings(&mut self, change: impl FnOnce(&mut Settings)) {
        let before = Box::new(self.settings.clone());
        change(&mut self.settings);
        self.event(Event::Reloaded { before });
    }

    /// A turn of the worker's loop; everything is done at once.
    pub fn turn(&mut self) {
        self.tell(Event::Resumed);
        Step::ALL.into_iter().for_each(|step| self.tell(Event::Turn(step)));
    }

    /// Turns, until nothing is looked for that is due by now.
    pub fn turns(&mut self, n: usize) {
        for _ in 0..n {
            self.now = self.now.after(POLL);
            self.turn();
        }
    }

    /// Tells an event, and carries out all that follows from it.
    pub fn tell(&mut self, event: Event) {
        self.event(event);
        self.drain();
    }

    pub fn drain(&mut self) {
        loop {
            if let Some(result) = self.results.pop_front() {
                self.event(result);
            } else if !self.carry_out() {
                return;
            }
        }
    }

    /// Sends an event. Its effects wait, except for the requests to the network thread.
    pub fn event(&mut self, event: Event) {
        let settings = self.settings.clone();
        let given = Given { now: self.now, settings: &settings, key: self.key };
        for effect in self.campaign.turn(event, &given) {
            match effect {
                Effect::Reconfigure if self.gate.is_none() => {}
                Effect::Reconfigure => self.gate = Some((self.campaign.gate(&given), given.account())),
                _ => {
                    self.note_paid(&effect);
                    self.effects.push_back(effect);
                }
            }
        }
    }

    /// Carries out the next effect. False: there is none.
    pub fn carry_out(&mut self) -> bool {
        let Some(effect) = self.effects.pop_front() else { return false };
        let lock = || Refusal { lock: true, message: "locked".to_owned() };
        match effect {
            Effect::Claim(claim) => {
                let found = (!self.faults.claims).then(|| self.find(&claim));
                self.results.push_back(Event::Claimed(claim, found));
            }
            Effect::Ask(requests) if self.faults.thread => self.results.push_back(Event::Lost(requests)),
            Effect::Ask(requests) => {
                if self.gate.is_none() {
                    self.gate = Some((self.campaign.gate(&self.given()), self.given().account()));
                }
                self.asked.extend(requests.iter().cloned());
                self.waiting.extend(requests);
            }
            Effect::FindNames(asked) => {
                let found = (!self.faults.names).then(Vec::new);
                self.in_trouble |= found.is_none();
                self.results.push_back(Event::NamesFound(asked, found));
            }
            Effect::WriteCymru(batch) => {
                let written = self.write(Source::Cymru, &batch.ready, &batch.failed, &batch.skipped);
                self.results.push_back(Event::CymruWritten(batch, written));
            }
            Effect::WriteGreyNoise(batch) => {
                let written = self.write(Source::GreyNoise, &batch.ready, &batch.failed, &batch.skipped);
                if written.is_ok() {
                    batch.spent.iter().for_each(|ip| self.set(*ip, Source::GreyNoise, Status::Quota(batch.until)));
                }
                self.results.push_back(Event::GreyNoiseWritten(batch, written));
            }
            Effect::ReadLedger(account) => {
                let read = (!self.faults.ledger).then(|| self.read_ledger(&account));
                self.results.push_back(Event::LedgerRead(account, read));
            }
            Effect::KeepLedger { account, ledger, pays } => {
                let refused = self.faults.ledger.then(lock);
                if refused.is_none() {
                    self.pay(account, ledger, pays);
                }
                self.results.push_back(Event::LedgerKept { pays, refused });
            }
            Effect::Reopen { account, ledger, waiting } => {
                let refused = self.refusal_to_reopen();
                if refused.is_none() {
                    self.keep(&account, ledger);
                }
                let result = refused.map_or_else(|| Ok(self.reopen(waiting)), Err);
                self.results.push_back(Event::Reopened(result));
            }
            Effect::Unskip(source, which) => {
                let result = if self.faults.writes { Err(lock()) } else { Ok(self.unskip(source, which)) };
                self.results.push_back(Event::Unskipped(source, result));
            }
            Effect::Wake(ticket) => self.woken.push(ticket),
            Effect::ReadKey => self.key.refused = false,
            Effect::ForgetKey => self.key = Key::default(),
            Effect::RefuseKey => self.key.refused = true,
            Effect::Doubt => self.doubts += 1,
            Effect::AllWritten(Source::Cymru) => self.in_trouble = false,
            Effect::AllReopened => self.reopened += 1,
            Effect::Count { source, failure } => self.counted.push((source, failure)),
            Effect::Say(news) => self.news.push(news),
            Effect::Reconfigure
            | Effect::RowsChanged
            | Effect::AllWritten(Source::GreyNoise | Source::MaxMind)
            | Effect::AllUnskipped
            | Effect::NoteWay(..) => {}
        }
        true
    }

    fn find(&self, claim: &Claim) -> Found {
        let (source, ips) = (claim.source, claim.rows.ips());
        let secret = secret::forms(&self.settings.never_ask);
        let is_wanted = |(ip, row): &(&IpAddr, &FakeRow)| {
            let (now, listed) = (self.now.wall, ips.contains(ip));
            let left_alone = row.retry_at.get(&source).is_some_and(|at| *at > now);
            let (missing, old) = match &row.at[&source] {
                Status::Due | Status::Failed(_) | Status::Quota(_) => (true, false),
                Status::Old => (false, true),
                Status::Answered => (false, false),
                Status::Skipped(_) => return false,
            };
            match &claim.rows {
                Rows::Due => missing && !left_alone,
                Rows::Stale => old && !left_alone && !secret.iter().any(|network| network.contains(**ip)),
                Rows::DueOf(_) => listed && (missing || old) && !left_alone,
                Rows::OutdatedOf(_) => listed && (missing || old),
                Rows::All(_, since) => listed && row.answered_at.get(&source).is_none_or(|at| at < since),
            }
        };
        let mut rows: Vec<Target> =
            self.rows.iter().filter(is_wanted).map(|(ip, row)| Target { ip: *ip, seen: row.seen }).collect();
        rows.sort_by_key(|row| (std::cmp::Reverse(row.seen), row.ip));
        rows.truncate(claim.limit);
        Found { rows, known: Vec::new() }
    }
}

pub fn as_name(asn: u32) -> AsName {
    AsName { asn, country: None, registry: None, allocated: None, name: Some("EXAMPLE".to_owned()) }
}
