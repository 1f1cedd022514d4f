//! The worker and the network: what is due is claimed, asked, and written, and no transaction is open in between.
//!
//! ```text
//! claim (a transaction) → rounds, queue (memory) → fetcher (its own thread) → outcomes → write (a transaction)
//! ```
//!
//! What is in flight stands nowhere but in memory: a worker that is killed leaves rows that are due, and the next one
//! asks again. Only what GreyNoise may cost is written down before it is sent.
//!
//! | file | what |
//! |---|---|
//! | [`cymru`] | origins of addresses: rounds, DNS or bulk, answers by network |
//! | [`names`] | names of AS |
//! | [`greynoise`] | verdicts, the ledger of the quota |
//! | [`interest`] | who waits for an address: jobs, sessions |
//! | [`key`] | keys that settings refer to |
//! | [`recheck`] | answers that are in doubt, made due again |

pub mod ask;
pub mod cymru;
pub mod greynoise;
pub mod interest;
pub mod key;
pub mod names;
pub mod recheck;
pub mod secrets;

use std::io::Read;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use enrich::cymru::resolv_conf;
use enrich::fetcher::gate::{Gate, Leave};
use enrich::fetcher::{Config, Fetcher, Finished, Outcome, Request};
use enrich::schedule::Schedule;
use pgrx::pg_sys;

use self::cymru::{Cymru, Session};
use self::greynoise::GreyNoise;
use self::interest::{Interests, Source};
use self::recheck::Recheck;
use crate::inventory::cymru::Which;
use crate::inventory::distrust::Doubt;
use crate::inventory::store;
use crate::inventory::store::Lifetimes;
use crate::pg::catalog::Schema;
use crate::pg::process;
use crate::pg::{time, tx};
use crate::settings;
use crate::settings::Network as Settings;
use crate::shared;
use crate::shared::latency;
use crate::shared::question::Ticket;
use crate::shared::trouble::Work;
use crate::shared::watched;

/// How often what is due is looked for when nobody said that anything is.
const POLL: Duration = Duration::from_secs(5);
/// Rows that are made due again at a time, after a setting changed.
const UNSKIP: usize = 10_000;

/// Everything of the worker that has to do with the network.
pub struct Network {
    database: pg_sys::Oid,
    settings: Settings,
    reloads: u64,
    fetcher: Option<Fetcher>,
    bell: Option<UnixStream>,
    cymru: Cymru,
    greynoise: GreyNoise,
    interests: Interests,
    /// When what is due is looked for next.
    look_at: Option<Instant>,
    /// Sources whose skipped rows are to be looked through, after a setting changed.
    unskip: Vec<&'static str>,
    /// Answers that are in doubt.
    recheck: Recheck,
    /// Rows were made due by that.
    rechecked: bool,
    /// The worker does nothing for now.
    resting: bool,
    /// When stale rows are looked for next (Unix microseconds).
    refresh_at: Option<i64>,
}

impl Network {
    /// Nothing runs yet: the thread starts with the first question.
    pub fn new(database: pg_sys::Oid) -> Network {
        let settings = settings::network();
        let mut network = Network {
            database,
            reloads: process::reloads(),
            fetcher: None,
            bell: None,
            cymru: Cymru::default(),
            greynoise: GreyNoise::default(),
            interests: Interests::default(),
            look_at: None,
            // What was skipped under settings that may have changed while no worker was there.
            unskip: vec!["cymru", "greynoise"],
            recheck: Recheck::new(),
            rechecked: false,
            resting: false,
            refresh_at: None,
            settings,
        };
        network.plan_refresh();
        network.greynoise.resolve_key(&network.settings);
        ask::take_over(database);
        network
    }

    /// One turn of the worker's loop: takes what came, writes it, asks what is next. Never waits.
    pub fn turn(&mut self) {
        self.reload();
        if self.take_outcomes() {
            self.look_now();
        }
        let lifetimes = Lifetimes::now();
        self.cymru.write(&lifetimes, &mut self.interests);
        self.greynoise.write(&self.settings, &mut self.interests);
        if !self.unskip.is_empty() {
            self.make_due_again();
        }
        if self.cymru.take_doubted() {
            self.recheck.doubt(Doubt::NoRoute);
        }
        if self.recheck.is_busy() && self.recheck.turn() {
            self.rechecked = true;
            self.look_now();
        }
        let now = time::now_unix_us();
        if self.refresh_at.is_some_and(|at| now >= at) {
            self.plan_refresh();
            self.cymru.look_for_stale();
            self.greynoise.look_for_stale();
            self.look_now();
        }
        let looking = self.look_at.is_none_or(|at| Instant::now() >= at);
        if looking {
            self.look_at = Some(Instant::now() + POLL);
        }
        self.cymru.claim(&self.settings, &lifetimes, looking, &mut self.interests);
        self.greynoise.claim(&self.settings, &lifetimes, looking, &mut self.interests);
        let mut requests = self.cymru.ask(&self.settings, now);
        requests.extend(self.greynoise.ask(&self.settings, &mut self.interests));
        self.submit(requests);
        self.cymru.show(self.database, &self.settings, now);
        self.greynoise.show(self.database, &self.settings, now);
    }

    /// Something new may be due: the inventory was written.
    pub fn look_now(&mut self) {
        self.look_at = None;
    }

    /// Somebody asked about these without waiting: what is stale of them is asked for.
    pub fn asked_about(&mut self, ips: &[IpAddr]) {
        if ips.is_empty() {
            return;
        }
        let which = Which::DueOf(ips);
        if self.settings.cymru {
            self.cymru.claim_these(which, false, &mut self.interests, None);
        }
        if self.greynoise.is_on(&self.settings) {
            self.greynoise.claim_these(which, &mut self.interests, None);
        }
    }

    /// Whether rows were written since this was last asked.
    pub fn take_written(&mut self) -> bool {
        self.cymru.take_written() | std::mem::take(&mut self.rechecked)
    }

    /// The descriptor that becomes readable when an outcome came.
    pub fn bell(&self) -> Option<i32> {
        self.bell.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// How long there is nothing to do, unless the bell rings.
    pub fn patience(&self) -> Duration {
        let until_look = self.look_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
        let busy = self.cymru.is_unwritten()
            || !self.unskip.is_empty()
            || self.recheck.is_busy()
            || self.greynoise.awaits_key();
        if busy { until_look.min(Duration::from_millis(200)) } else { until_look.min(POLL) }
    }

    /// A job begins; [`ask_for_job`](Network::ask_for_job) says what it is about.
    pub fn start_job(&mut self, slot: usize) {
        self.interests.add_job(slot);
    }

    /// Sees to it that sources are asked about further addresses of a job: all that they may be asked about, or only
    /// those whose answer is missing or old.
    pub fn ask_for_job(&mut self, slot: usize, ips: &[IpAddr], sources: &[Source], all: bool) {
        let which = if all { Which::All(ips) } else { Which::OutdatedOf(ips) };
        for source in sources {
            match source {
                Source::Cymru => self.cymru.claim_these(which, all, &mut self.interests, Some(slot)),
                Source::GreyNoise => self.greynoise.claim_these(which, &mut self.interests, Some(slot)),
            }
        }
    }

    /// Addresses of a job that are not settled.
    pub fn left_of_job(&self, slot: usize) -> u64 {
        self.interests.of_job(slot)
    }

    /// Whether a job waits for an address.
    pub fn asks_for(&self, slot: usize, ip: IpAddr) -> bool {
        self.interests.job_waits_for(slot, ip)
    }

    /// What became of a job's addresses since this was last asked, and whether it has none left.
    pub fn job_progress(&mut self, slot: usize) -> (interest::Progress, bool) {
        self.interests.job_progress(slot)
    }

    /// Forgets a job: its addresses are asked about all the same, if they are due.
    pub fn end_job(&mut self, slot: usize) {
        self.interests.remove_job(slot);
    }

    /// Asks about addresses that sessions wait for. Those for which nothing is due are answered at once.
    pub fn questions(&mut self, questions: &[(IpAddr, Ticket)]) {
        let ips: Vec<IpAddr> = questions.iter().map(|(ip, _)| *ip).collect();
        for (ip, question) in questions {
            self.interests.add_question(*ip, *question);
        }
        let which = Which::OutdatedOf(&ips);
        if self.settings.cymru {
            self.cymru.claim_these(which, false, &mut self.interests, None);
        }
        if self.greynoise.is_on(&self.settings) {
            self.greynoise.claim_these(which, &mut self.interests, None);
        }
        for ip in &ips {
            self.interests.settle_if_nothing_is_due(*ip);
        }
    }

    /// Whether a source may be asked at all.
    pub fn is_on(&self, source: Source) -> bool {
        match source {
            Source::Cymru => self.settings.cymru,
            Source::GreyNoise => self.greynoise.is_on(&self.settings),
        }
    }

    fn reload(&mut self) {
        let rested = std::mem::take(&mut self.resting);
        let reloads = process::reloads();
        if reloads != self.reloads {
            self.reloads = reloads;
            let before = std::mem::replace(&mut self.settings, settings::network());
            let now = &self.settings;
            let told = before.never_ask != now.never_ask;
            if told || (now.cymru && !before.cymru) {
                self.unskip.push("cymru");
            }
            if told || (before.greynoise == settings::Switch::off && now.greynoise != before.greynoise) {
                self.unskip.push("greynoise");
            }
            if before.refresh_schedule != now.refresh_schedule {
                self.plan_refresh();
            }
            // A new key may stand where the reference has always pointed to.
            self.greynoise.resolve_key(&self.settings);
            self.greynoise.reopen();
            // The thread first: what is there leaves next.
            self.reconfigure();
            self.cymru.heed(&self.settings);
            self.greynoise.heed(&self.settings);
            self.look_now();
        }
        // Not before the settings are those of now.
        if self.greynoise.take_key() | rested {
            self.reconfigure();
            self.look_now();
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
            greynoise_key: self.greynoise.key(),
            greynoise_rate: s.greynoise_rate,
            greynoise_timeout: s.greynoise_timeout,
            tls_ca_file: s.tls_ca_file.clone(),
            gate: self.gate(),
            retry_base: Duration::from_secs(1),
        }
    }

    /// What may leave the server, as things are set.
    fn gate(&self) -> Gate {
        let s = &self.settings;
        if self.resting {
            return Gate { cymru: Leave::Wait, greynoise: Leave::Wait, ..Gate::default() };
        }
        Gate {
            cymru: if s.cymru { Leave::Yes } else { Leave::No },
            greynoise: self.greynoise.leave(s),
            never_ask: s.never_ask.clone(),
            hidden: self.cymru.hidden(s).into_iter().chain(self.greynoise.hidden(s)).collect(),
        }
    }

    /// The worker rests: what is with the network thread waits there, and nothing leaves.
    pub fn rest(&mut self) {
        if !std::mem::replace(&mut self.resting, true) {
            self.reconfigure();
        }
    }

    fn reconfigure(&self) {
        if let Some(fetcher) = &self.fetcher {
            fetcher.reconfigure(self.config());
        }
    }

    fn submit(&mut self, requests: Vec<Request>) {
        if requests.is_empty() {
            return;
        }
        if self.fetcher.is_none() {
            match self.start() {
                Ok(()) => {}
                Err(error) => {
                    pgrx::warning!("asn_inventory: the network thread can't be started: {error}");
                    self.cymru.lose(&requests);
                    self.greynoise.lose(&requests);
                    return;
                }
            }
        }
        if let Some(fetcher) = &self.fetcher {
            requests.into_iter().for_each(|request| fetcher.submit(request));
        }
    }

    /// Starts the thread, with every signal blocked: it and all its own threads inherit that, and so signals keep
    /// arriving here.
    fn start(&mut self) -> std::io::Result<()> {
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

    /// Takes what came. True: something did.
    fn take_outcomes(&mut self) -> bool {
        if let Some(bell) = &mut self.bell {
            let mut rings = [0; 256];
            while matches!(bell.read(&mut rings), Ok(n) if n == rings.len()) {}
        }
        let mut any = false;
        while let Some(Finished { outcome, took }) = self.fetcher.as_ref().and_then(Fetcher::outcome) {
            any = true;
            let now = time::now_unix_us();
            self.note_latency(&outcome, took);
            match outcome {
                Outcome::Origin { ip, result } => self.cymru.origin(ip, result, &self.settings, now),
                Outcome::Bulk { asked, answers, withheld, failure } => {
                    let session = Session { asked: &asked, answers, withheld, failure };
                    self.cymru.bulk(session, &self.settings, now);
                }
                Outcome::AsName { asn, result } => self.cymru.as_name(asn, result, now),
                Outcome::Scanner { ip, result } => self.greynoise.outcome(ip, result, &self.settings, now),
            }
        }
        any
    }

    fn note_latency(&self, outcome: &Outcome, took: Option<Duration>) {
        let source = match outcome {
            Outcome::Scanner { .. } => latency::GREYNOISE,
            _ => latency::CYMRU,
        };
        let slot = shared::shared().and_then(|shared| shared.database(self.database));
        if let (Some(slot), Some(took)) = (slot, took) {
            slot.latency[source].record(took);
        }
    }

    /// Rows that a setting kept from being asked about are due again; those that it still keeps are skipped anew.
    fn make_due_again(&mut self) {
        let Some(source) = self.unskip.first().copied() else { return };
        let off = match source {
            "cymru" => !self.settings.cymru,
            _ => self.settings.greynoise == settings::Switch::off,
        };
        let result = if off {
            Ok(0)
        } else {
            in_schema(Work::Unskip, |schema| store::unskip(schema, source, UNSKIP, &self.settings.never_ask))
        };
        match result {
            Ok(rows) if rows as usize == UNSKIP => {}
            // Somebody holds a row: the next turn tries again.
            Err(failure) if failure.is_lock() => return,
            Ok(_) => {
                self.unskip.retain(|of| *of != source);
            }
            Err(failure) => {
                pgrx::log!("asn_inventory: skipped rows could not be made due again: {}", failure.message);
                self.unskip.retain(|of| *of != source);
            }
        }
        self.look_now();
    }

    fn plan_refresh(&mut self) {
        let schedule = Schedule::parse(&self.settings.refresh_schedule).ok();
        self.refresh_at = schedule.and_then(|schedule| schedule.next(time::now_unix_us()));
    }

    /// Tells sessions and jobs what they wait for.
    pub fn tell(&mut self) {
        for question in self.interests.answered() {
            ask::done(question);
        }
    }
}

/// Runs `f` on the extension's schema in a transaction of its own, and shows how it went. Nothing, where the extension is
/// gone.
fn in_schema<T: Default>(work: Work, f: impl FnOnce(&Schema) -> T) -> Result<T, tx::Failure> {
    watched::run(work, || Schema::hold().map(|schema| f(&schema)).unwrap_or_default())
}

/// The same for a part of a work: see [`watched::part`].
fn part_in_schema<T: Default>(work: Work, f: impl FnOnce(&Schema) -> T) -> Result<T, tx::Failure> {
    watched::part(work, || Schema::hold().map(|schema| f(&schema)).unwrap_or_default())
}

/// Says which rows can't be written: one line, whatever there is of them.
fn say_refused(work: Work, refused: &[(IpAddr, tx::Failure)]) {
    let Some((ip, failure)) = refused.first() else { return };
    let why = watched::why(failure, refused.len() - 1);
    pgrx::log!("asn_inventory: {ip} can't be written to ip_inventory, the rest of its batch is: {why}");
    watched::failed(work, &tx::Failure { message: format!("{ip}: {why}"), ..failure.clone() });
}

/// Writes a batch within the transaction; where that fails and a row may be to blame, halves it until what can't be
/// written stands alone. Hands those, and why, to `refused`. What is no row's fault fails the transaction.
fn write_or_halve<T>(rows: &[T], write: &mut impl FnMut(&[T]), refused: &mut impl FnMut(&T, &tx::Failure)) {
    if rows.is_empty() {
        return;
    }
    let result = tx::attempt(|| {
        let context = pgrx::PgMemoryContexts::new("asn_inventory network");
        // SAFETY: what the write pallocs is done with when the context goes.
        unsafe {
            let old = pg_sys::MemoryContextSwitchTo(context.value());
            write(rows);
            pg_sys::MemoryContextSwitchTo(old);
        }
    });
    if let Err(failure) = result {
        if !failure.may_be_of_a_row() {
            failure.raise();
        }
        match rows {
            [row] => refused(row, &failure),
            _ => {
                tx::set_local(c"lock_timeout", c"20ms");
                let (left, right) = rows.split_at(rows.len() / 2);
                write_or_halve(left, write, refused);
                write_or_halve(right, write, refused);
            }
        }
    }
}
