//! The network side of the worker: settings, the network thread, and the campaign that decides.

use std::collections::VecDeque;
use std::io::Read;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use enrich::campaign::event::{Event, Step};
use enrich::campaign::given::{self, GREYNOISE_AT_ONCE, Given, Now};
use enrich::campaign::interest::{End, Progress};
use enrich::campaign::standing::{Way, WayStanding};
use enrich::campaign::ticket::Ticket;
use enrich::campaign::{Campaign, POLL};
use enrich::cymru::resolv_conf;
use enrich::fetcher::{Config, Fetcher, Finished};
use enrich::quota::Ledger;
use enrich::source::{Source, SourceSet};
use pgrx::pg_sys;

use super::key::Key;
use super::recheck::Recheck;
use super::share::Share;
use super::tables;
use crate::pg::process;
use crate::pg::{time, tx};
use crate::settings;
use crate::settings::{Network as Settings, Switch};
use crate::shared;
use crate::shared::Database;
use crate::shared::source as shown;

/// Everything of the worker that has to do with the network.
pub struct Network {
    pub(super) database: pg_sys::Oid,
    pub(super) settings: Settings,
    /// The settings of the sources.
    pub(super) rules: Rc<given::Settings>,
    /// The other databases' spending of GreyNoise's quota in this window.
    others: u64,
    pub(super) reloads: u64,
    /// Where the steady clock begins.
    pub(super) started: Instant,
    pub(super) campaign: Campaign,
    pub(super) key: Key,
    /// Of GreyNoise's quota.
    pub(super) share: Share,
    pub(super) fetcher: Option<Fetcher>,
    pub(super) bell: Option<UnixStream>,
    /// The quota's ledger could not be written when that was last tried.
    pub(super) ledger_unwritten: bool,
    /// Answers that are in doubt.
    pub(super) recheck: Recheck,
    /// Rows were written, or made due.
    pub(super) written: bool,
    /// Another node of the cluster asks.
    elsewhere: bool,
    /// Why rows that a job asks about could not be looked for.
    pub(super) unclaimed: Option<tx::Failure>,
}

impl Network {
    /// Nothing runs yet: the thread starts with the first question.
    pub fn new(database: pg_sys::Oid) -> Network {
        let settings = settings::network();
        let mut network = Network {
            database,
            rules: Rc::new(rules(&settings, 0)),
            share: Share::new(database),
            others: 0,
            settings,
            reloads: process::reloads(),
            started: Instant::now(),
            campaign: Campaign::default(),
            key: Key::default(),
            fetcher: None,
            bell: None,
            ledger_unwritten: false,
            recheck: Recheck::new(),
            written: false,
            elsewhere: false,
            unclaimed: None,
        };
        // What the worker before had read, it may not be any more.
        if let Some(slot) = network.slot() {
            slot.sources.iter().for_each(|shown| shown.spent(None, 0));
        }
        network.happened(Event::Started);
        network.give_up();
        network
    }

    /// One turn of the worker's loop: takes results, writes them, asks the next questions. Never waits.
    pub fn turn(&mut self) {
        self.reload();
        self.look_at_share();
        self.happened(Event::Resumed);
        self.take_outcomes();
        self.happened(Event::Turn(Step::Write));
        if self.recheck.is_busy() && self.recheck.turn() {
            self.written = true;
            self.happened(Event::MadeDue);
        }
        for step in [Step::Prepare, Step::Claim, Step::Ask] {
            self.happened(Event::Turn(step));
        }
        self.show();
    }

    /// Something new may be due: the inventory was written.
    pub fn look_now(&mut self) {
        self.happened(Event::MadeDue);
    }

    /// A session asked about these without waiting: stale ones are asked about again.
    pub fn asked_about(&mut self, ips: &[IpAddr]) {
        self.happened_by_settings_of_now(Event::AskedAbout(ips.to_vec()));
    }

    /// Whether rows were written since this was last asked.
    pub fn take_written(&mut self) -> bool {
        std::mem::take(&mut self.written)
    }

    /// The descriptor that becomes readable when an outcome came.
    pub fn bell(&self) -> Option<i32> {
        self.bell.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// How long there is nothing to do, unless the bell rings.
    pub fn patience(&self) -> Duration {
        let others = self.recheck.is_busy() || self.key.is_soon(POLL);
        self.campaign.patience(others, &self.given())
    }

    /// A job begins; [`ask_for_job`](Network::ask_for_job) names its addresses.
    pub fn start_job(&mut self, slot: usize) {
        self.happened(Event::JobStarted(slot));
    }

    /// Sees to it that sources are asked about further addresses of a job: all that they may be asked about and that were
    /// not answered since a moment (timestamptz), or only those whose answer is missing or old.
    ///
    /// # Errors
    /// Why their rows could not be looked for. Then the job waits for none of them.
    pub fn ask_for_job(
        &mut self,
        slot: usize,
        ips: &[IpAddr],
        sources: SourceSet,
        since: Option<i64>,
    ) -> Result<(), tx::Failure> {
        self.unclaimed = None;
        let since = since.map(time::to_unix_us);
        self.happened_by_settings_of_now(Event::JobAsks { job: slot, ips: ips.to_vec(), sources, since });
        let Some(failure) = self.unclaimed.take() else { return Ok(()) };
        self.campaign.take_back(slot, ips);
        Err(failure)
    }

    /// Whether it is unknown if GreyNoise may be asked: a worker that has just begun reads its key. Looks whether it has
    /// come: a worker that rests takes no turn.
    pub fn awaits_key(&mut self) -> bool {
        self.reload();
        let key = self.key.standing();
        key.coming && key.mark.is_none()
    }

    /// What a source has said already about an address that a job waits for.
    pub fn note_answer(&mut self, slot: usize, ip: IpAddr, source: Source, end: End) {
        self.campaign.note_answer(slot, ip, source, end);
    }

    /// Addresses of a job that are not settled.
    pub fn left_of_job(&self, slot: usize) -> u64 {
        self.campaign.left_of_job(slot)
    }

    /// Whether a job waits for an address.
    pub fn asks_for(&self, slot: usize, ip: IpAddr) -> bool {
        self.campaign.job_waits_for(slot, ip)
    }

    /// The results of a job's addresses since the last call, and whether it has none left.
    pub fn job_progress(&mut self, slot: usize) -> (Progress, bool) {
        self.campaign.job_progress(slot)
    }

    /// Forgets a job: its addresses are asked about all the same, if they are due.
    pub fn end_job(&mut self, slot: usize) {
        self.happened(Event::JobEnded(slot));
    }

    /// Another node asks about the addresses of this inventory, or no longer does.
    pub fn is_asked_elsewhere(&mut self, elsewhere: bool) {
        if elsewhere && !self.elsewhere {
            Source::NETWORK.into_iter().for_each(tables::give_up);
            tables::give_up_rows();
        }
        self.elsewhere = elsewhere;
    }

    /// Whether another node asks. It comes to what is due by itself.
    pub fn elsewhere(&self) -> bool {
        self.elsewhere
    }

    /// Asks about addresses that sessions wait for. Those for which nothing is due are answered at once.
    pub fn questions(&mut self, questions: Vec<(IpAddr, Ticket)>) {
        self.happened_by_settings_of_now(Event::Questions(questions));
    }

    /// The sources that may be asked at all.
    pub fn sources_on(&self) -> SourceSet {
        self.campaign.sources_on(&self.given())
    }

    /// The worker rests: requests in the network thread wait there, and nothing leaves the server.
    pub fn rest(&mut self) {
        self.happened(Event::Rested);
        self.silence_bell();
        if self.elsewhere {
            self.show_elsewhere();
        } else {
            // A key that has come is a key, whether it is used or not. Others go on spending, and windows end.
            self.reload();
            self.look_at_share();
            self.show();
        }
    }

    /// The spending of other databases of the server is not available to this one. Switched off it spends nothing itself, and
    /// has no key by which theirs could be found.
    fn look_at_share(&mut self) {
        let others = if self.settings.greynoise == Switch::off {
            0
        } else {
            let (url, window) = (&self.settings.greynoise_url, self.settings.greynoise_window);
            self.share.point(url, self.key.mark().as_ref(), window);
            self.share.by_others(self.now().wall)
        };
        if others != self.others {
            self.others = others;
            self.rules = Rc::new(rules(&self.settings, others));
        }
    }

    fn reload(&mut self) {
        let reloads = process::reloads();
        let mut is_news = reloads != self.reloads;
        if is_news {
            self.reloads = reloads;
            self.settings = settings::network();
            let before = std::mem::replace(&mut self.rules, Rc::new(rules(&self.settings, self.others)));
            self.happened(Event::Reloaded { before: Box::new((*before).clone()) });
        }
        // Not before the settings are those of now.
        let before = self.key.mark();
        if self.key.take() {
            let other = self.key.mark() != before;
            self.happened(Event::KeyRead { other });
            is_news = true;
        }
        if is_news {
            self.give_up();
        }
    }

    /// Work at sources that may not be asked does not fail. While a key is being read, that is not known.
    fn give_up(&self) {
        if !self.key.is_coming() {
            let on = self.sources_on();
            Source::NETWORK.into_iter().filter(|source| !on.contains(*source)).for_each(tables::give_up);
        }
    }

    /// Tells the campaign what happened, and does what follows from it.
    fn happened(&mut self, event: Event) {
        let rules = Rc::clone(&self.rules);
        self.happened_by(event, &rules);
    }

    /// As [`happened`](Network::happened), for events between two turns: a reload may have come before them.
    fn happened_by_settings_of_now(&mut self, event: Event) {
        let rules = if process::reloads() == self.reloads {
            Rc::clone(&self.rules)
        } else {
            Rc::new(rules(&settings::network(), self.others))
        };
        self.happened_by(event, &rules);
    }

    fn happened_by(&mut self, event: Event, rules: &given::Settings) {
        let mut effects = VecDeque::new();
        let mut next = Some(event);
        loop {
            if let Some(event) = next.take() {
                let given = Given { now: self.now(), settings: rules, key: self.key.standing() };
                effects.extend(self.campaign.turn(event, &given));
            }
            let Some(effect) = effects.pop_front() else { return };
            next = self.carry_out(effect);
        }
    }

    fn now(&self) -> Now {
        Now { wall: time::now_unix_us(), steady: self.started.elapsed() }
    }

    fn given(&self) -> Given<'_> {
        Given { now: self.now(), settings: &self.rules, key: self.key.standing() }
    }

    pub(super) fn slot(&self) -> Option<&'static Database> {
        shared::shared()?.database(self.database)
    }

    /// Shows how the sources stand.
    fn show(&self) {
        let Some(slot) = self.slot() else { return };
        let given = self.given();
        for source in Source::NETWORK {
            if let Some(shown) = shown::of(&slot.sources, source) {
                shown.stand(&self.campaign.standing(source, &given));
            }
        }
        self.show_ledger(self.campaign.ledger());
        for way in Way::ALL {
            slot.ways[way.index()].stand(&self.campaign.way_standing(way, &given));
        }
    }

    /// Shows what is spent of GreyNoise's quota.
    pub(super) fn show_ledger(&self, ledger: Option<Ledger>) {
        if let Some(shown) = self.slot().and_then(|slot| shown::of(&slot.sources, Source::GreyNoise)) {
            shown.spent(ledger, self.others);
        }
    }

    /// Another node asks: what this one showed before holds no longer, and that it may be off here says nothing.
    fn show_elsewhere(&self) {
        let Some(slot) = self.slot() else { return };
        for shown in &slot.sources {
            shown.state.store(shown::state::ELSEWHERE, Ordering::Relaxed);
            shown.spent(None, 0);
            shown.in_flight.store(0, Ordering::Relaxed);
            shown.retry_at.store(0, Ordering::Relaxed);
        }
        for way in &slot.ways {
            way.stand(&WayStanding { failing: false, retry_at: None });
        }
    }

    fn config(&self) -> Config {
        let s = &self.settings;
        Config {
            dns_servers: s.dns_servers.clone(),
            resolv_conf: resolv_conf::PATH.into(),
            whois: s.whois.clone(),
            cymru_rate: s.cymru_rate,
            cymru_timeout: s.cymru_timeout,
            greynoise_url: s.greynoise_url.clone(),
            greynoise_key: self.key.value().cloned(),
            greynoise_rate: s.greynoise_rate,
            greynoise_at_once: self.rules.greynoise_at_once,
            greynoise_timeout: s.greynoise_timeout,
            tls_ca_file: s.tls_ca_file.clone(),
            resolver: s.resolver(),
            gate: self.campaign.gate(&self.given()),
            retry_base: Duration::from_secs(1),
        }
    }

    pub(super) fn reconfigure(&self) {
        if let Some(fetcher) = &self.fetcher {
            fetcher.reconfigure(self.config());
        }
    }

    /// Starts the thread, with every signal blocked: it and all its own threads inherit that, and so signals keep
    /// arriving here.
    pub(super) fn start(&mut self) -> std::io::Result<()> {
        let (bell, clapper) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        clapper.set_nonblocking(true)?;
        let ring = Box::new(move || {
            // A full pipe rings already.
            let _ = std::io::Write::write(&mut &clapper, &[1]);
        });
        let config = self.config();
        let fetcher = process::with_signals_blocked(|| Fetcher::start(config, ring))?;
        self.fetcher = Some(fetcher);
        self.bell = Some(bell);
        Ok(())
    }

    /// It is heard. Left ringing, it would end each wait at once, also while the worker rests and takes no outcome.
    fn silence_bell(&mut self) {
        if let Some(bell) = &mut self.bell {
            let mut rings = [0; 256];
            while matches!(bell.read(&mut rings), Ok(n) if n == rings.len()) {}
        }
    }

    fn take_outcomes(&mut self) {
        self.silence_bell();
        while let Some(Finished { outcome, took }) = self.fetcher.as_ref().and_then(Fetcher::outcome) {
            if let (Some(slot), Some(took)) = (self.slot(), took) {
                slot.latency[outcome.source().index()].record(took);
            }
            self.happened(Event::Outcome(outcome));
        }
    }
}

/// The settings of the sources, their times and limits; `others`: the other databases' spending of GreyNoise's quota.
fn rules(settings: &Settings, others: u64) -> given::Settings {
    given::Settings {
        cymru: settings.cymru,
        bulk_min: settings.bulk_min,
        greynoise: match settings.greynoise {
            Switch::off => given::Switch::Off,
            Switch::on => given::Switch::On,
            Switch::auto => given::Switch::Auto,
        },
        greynoise_url: settings.greynoise_url.clone(),
        greynoise_at_once: GREYNOISE_AT_ONCE,
        greynoise_quota: settings.greynoise_quota.saturating_sub(others),
        greynoise_window: settings.greynoise_window,
        refresh_schedule: settings.refresh_schedule.clone(),
        never_ask: settings.never_ask.clone(),
    }
}
