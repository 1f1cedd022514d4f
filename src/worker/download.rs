//! Fetching newer files, MaxMind's and those of other sources, and lists of networks: by schedule, and when `update_maxmind` asks. A thread does
//! it; the launcher imports the files in their directories, as it does with a file that a user puts there. The key stands in
//! [`license_key`], the times in [`times`], the jobs in [`jobs`], the results in words in [`lines`].

mod installing;
mod jobs;
mod license_key;
mod lines;
mod times;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use enrich::maxmind::Edition;
use enrich::maxmind::download::{Cancel, DownloadError, Fingerprint, Kind, Site, Source};
use enrich::maxmind::update::{Done, MaxMind, Told, Update, UpdateError};
use pgrx::pg_sys;

use self::installing::{Ending, Installing};
use self::jobs::{Jobs, end};
use self::license_key::{LicenseKey, Spent};
use self::lines::closes;
use self::times::{Times, Turn, later, wanted};
use crate::files::maxmind;
use crate::jobs::submit;
use crate::pg::catalog::Schema;
use crate::pg::process;
use crate::pg::tx;
use crate::settings;
use crate::shared;
use crate::shared::{Job, kind, outcome, state};

/// How late a failure is tried again at the latest, where it is the key that cannot be had.
const LATEST: Duration = Duration::from_secs(6 * 3600);
/// The same where it is a setting, a secret in a URL, the disk or another update: to look again costs no server anything.
const UNREADY_LATEST: Duration = Duration::from_secs(3600);
/// How long turns may meet another update until that is a failure.
const MOST_BUSY: Duration = Duration::from_secs(3600);

type Outcome = Result<Vec<Told>, UpdateError>;

/// The worker's downloads.
pub struct Download {
    jobs: Jobs,
    key: LicenseKey,
    /// Keys that could not be had by schedule, in a row.
    keyless: u32,
    /// Updates that failed before anybody was asked, in a row: a proxy's password, a file of certificates, a full disk.
    unready: u32,
    /// Since when all turns met another update.
    busy_since: Option<Instant>,
    /// Settings were read since such a failure.
    corrected: bool,
    reloads: u64,
    times: Times,
    running: Option<Running>,
    installing: Option<Installing>,
}

/// A thread at work.
struct Running {
    coming: Receiver<Outcome>,
    /// Ends it, if its job is cancelled.
    cancel: Arc<Cancel>,
    forced: bool,
    /// Of the schedules; `None`: a user asked for it.
    turn: Option<Turn>,
    /// The settings that it began with.
    reloads: u64,
    /// It was told that they may be better now.
    corrected: bool,
    /// The sources that are asked; MaxMind's server, or a mirror of it, for all others.
    sites: Vec<Site>,
    maxmind: String,
}

impl Running {
    fn site(&self, told: &Told) -> Option<&Site> {
        self.sites.iter().find(|site| (site.kind(), site.name()) == (told.kind, &told.name))
    }

    /// Whether it has a schedule of its own, and its next time from that and from the ledger.
    fn is_own(&self, told: &Told) -> bool {
        self.site(told).is_some_and(|site| site.every().is_some())
    }
}

impl Download {
    /// For the worker of a database.
    pub fn new(database: pg_sys::Oid) -> Download {
        let mut download = Download {
            jobs: Jobs::of(database),
            key: LicenseKey::default(),
            keyless: 0,
            unready: 0,
            busy_since: None,
            corrected: false,
            reloads: process::reloads(),
            times: Times::default(),
            running: None,
            installing: None,
        };
        download.configure();
        download
    }

    fn configure(&mut self) {
        self.key.configure();
        self.times.configure();
    }

    /// What kept everybody from being asked may have been corrected: that does not wait as long as it failed.
    fn look_again(&mut self) {
        let (unready, keyless) = (std::mem::take(&mut self.unready) > 0, std::mem::take(&mut self.keyless) > 0);
        if unready || keyless || self.busy_since.is_some() {
            self.corrected |= unready;
            self.times.try_soon(unready);
        }
    }

    /// One turn of the worker's loop. Where the server is switched off nothing is done by schedule; what users ask for is done
    /// all the same, as with other jobs.
    pub fn turn(&mut self, by_schedule: bool) {
        if process::reloads() != self.reloads {
            self.reloads = process::reloads();
            self.configure();
            self.look_again();
        }
        if self.times.were_set_back() {
            self.look_again();
        }
        if !by_schedule {
            self.busy_since = None;
        }
        self.key.turn();
        if let Some(running) = &self.running
            && self.jobs.are_cancelled()
        {
            running.cancel.cancel();
        }
        self.take_outcome();
        self.install();
        self.jobs.end_cancelled();
        if self.running.is_some() || self.installing.is_some() {
            return;
        }
        // Before another one begins: its result is not theirs.
        self.jobs.end_orphaned();
        if self.key.is_coming() {
            return;
        }
        if let Some(job) = self.jobs.submitted() {
            if self.key.is_looked_up() {
                self.start_for(job);
            }
            return;
        }
        match self.times.turn().filter(|_| by_schedule) {
            // Turns of some sources need no key.
            Some(Turn::All) if !self.key.is_looked_up() => {}
            Some(turn) => {
                self.times.plan_after(turn);
                self.start_by_schedule(turn);
            }
            None => self.key.forget(),
        }
    }

    fn start_for(&mut self, job: &Job) {
        job.state.store(state::RUNNING, Ordering::Release);
        let forced = job.sources.load(Ordering::Relaxed) & shared::sources::ANEW != 0;
        if let Err(ending) = self.start(forced, None) {
            end(job, ending);
        }
    }

    /// A job like any other, so that its result is where people look. A server without a key and without other sources
    /// has nothing to do, and reports nothing.
    fn start_by_schedule(&mut self, turn: Turn) {
        if settings::downloads().sites.is_empty() && self.key.is_not_wanted() {
            self.busy_since = None;
            return;
        }
        let job = tx::run(|| Schema::hold().and_then(|schema| submit::own(&schema, kind::UPDATE, 0)));
        if let (Turn::Own, Ok(Some(job))) = (turn, &job) {
            job.sources.store(shared::sources::OWN, Ordering::Relaxed);
        }
        let keyless = turn == Turn::All && self.key.is_missing();
        if let Err(ending) = self.start(false, Some(turn)) {
            self.busy_since = None;
            if let Ok(Some(job)) = job {
                end(job, ending);
            }
        }
        if turn == Turn::All {
            self.keyless = if keyless { self.keyless.saturating_add(1) } else { 0 };
        }
        // The server that holds the key may be back long before the schedule's next turn.
        if keyless {
            self.times.try_again(later(self.keyless, LATEST));
        }
    }

    /// How long there is nothing to do.
    pub fn patience(&self) -> Duration {
        let busy = self.running.is_some() || self.installing.is_some() || self.key.is_busy();
        if busy { Duration::from_millis(100) } else { Duration::MAX }
    }

    /// Begins an update: of what a user wants, or of what is due at a turn of the schedules. Where nobody can be asked, the end
    /// of its job: a user learns from it that nothing is downloaded. Without a key and other sources, which is as the server
    /// was set up, status and metrics leave that out.
    fn start(&mut self, forced: bool, turn: Option<Turn>) -> Result<(), Ending> {
        let (downloads, network, files) = (settings::downloads(), settings::network(), settings::snapshot());
        let (sites, host) = (downloads.sites.clone(), enrich::url::host_of(&downloads.url).to_owned());
        let ca_file = network.tls_ca_file.clone();
        // MaxMind's server is not asked at a turn of sources with their own schedules.
        let spent = (turn != Some(Turn::Own)).then(|| self.key.spend());
        let maxmind = match spent {
            Some(Spent::Key(key)) => {
                let account_id = (!downloads.account_id.is_empty()).then_some(downloads.account_id);
                let credentials = Fingerprint::of(&downloads.url, account_id.as_deref(), &key);
                let source = Source {
                    base_url: downloads.url,
                    account_id,
                    license_key: key,
                    ca_file: ca_file.clone(),
                    proxy: None,
                    limits: Default::default(),
                    cancel: Arc::default(),
                };
                MaxMind::Asked(Box::new(source), credentials)
            }
            Some(Spent::Missing(why) | Spent::NotWanted(why)) if sites.is_empty() => {
                return Err((outcome::FAILED, Some(why)));
            }
            Some(Spent::Missing(why)) => MaxMind::Keyless(why),
            Some(Spent::NotWanted(_)) | None => MaxMind::Unwanted,
        };
        let manifest = maxmind::store().manifest().unwrap_or_default();
        let built = |edition: &Edition| {
            let info = manifest.editions.get(edition.name()).and_then(|of| of.current.as_ref());
            // One of the future would be newer than all that the server will ever have.
            info.filter(|info| info.is_honest()).map(|info| info.built_us())
        };
        let cancel = Arc::<Cancel>::default();
        let (editions, lists) = wanted(turn, files.maxmind_editions, &sites);
        let update = Update {
            maxmind,
            sites: sites.clone(),
            resolver: network.resolver(),
            ca_file,
            editions: editions.into_iter().map(|edition| (edition.clone(), built(&edition))).collect(),
            lists,
            to_dir: files.maxmind_dir,
            lists_dir: settings::lists_dir(),
            state_dir: settings::place::directory(),
            forced,
            scheduled: turn.is_some(),
            corrected: self.corrected,
            cancel: Arc::clone(&cancel),
        };
        let (sender, coming) = channel();
        let work = move || drop(sender.send(update.run(unix_now)));
        let thread = std::thread::Builder::new().name("asn download".to_owned());
        if let Err(error) = process::with_signals_blocked(|| thread.spawn(work)) {
            self.note_unready(turn);
            return Err((outcome::FAILED, Some(format!("a thread cannot be started: {error}"))));
        }
        let corrected = std::mem::take(&mut self.corrected);
        let (reloads, maxmind) = (self.reloads, host);
        self.running = Some(Running { coming, cancel, forced, turn, reloads, corrected, sites, maxmind });
        Ok(())
    }

    fn take_outcome(&mut self) {
        let found = match self.running.as_ref().map(|running| running.coming.try_recv()) {
            Some(Ok(found)) => Some(found),
            Some(Err(TryRecvError::Disconnected)) => None,
            Some(Err(TryRecvError::Empty)) | None => return,
        };
        let Some(running) = self.running.take() else { return };
        self.times.plan_own();
        if !matches!(found, Some(Err(UpdateError::Busy))) {
            self.busy_since = None;
        }
        match found {
            Some(Ok(results)) => self.take_results(&results, &running),
            Some(Err(UpdateError::Busy)) => {
                // Nobody was asked: it is news for the next turn.
                self.corrected |= running.corrected;
                self.meet_another(running.turn);
            }
            Some(Err(error)) => {
                self.corrected |= running.corrected;
                pgrx::warning!("asn_inventory: mmdb files cannot be updated: {error}");
                self.fail(running.turn, error.to_string());
            }
            None => self.fail(running.turn, "the download failed with an internal error (a panic)".to_owned()),
        }
        if running.reloads != self.reloads {
            self.look_again();
        }
    }

    fn take_results(&mut self, results: &[Told], running: &Running) {
        self.put_off(results, running);
        let (ending, fetched) = self.judge(results, running);
        if !fetched.is_empty() {
            shared::wake_launcher();
        }
        if running.forced && !fetched.is_empty() {
            self.installing = Some(Installing::new(fetched, ending));
        } else {
            self.jobs.end_running(&ending);
        }
    }

    /// Another process of this server is at it, and records what comes of it. A turn has nothing to say then, and the job of
    /// a user is no look for newer files: it would hide a failure of before. Only if the other one has no end, that is a
    /// failure.
    fn meet_another(&mut self, turn: Option<Turn>) {
        self.put_off_all(turn, 1);
        let mut how = outcome::CANCELLED;
        if turn.is_some() {
            if self.busy_since.get_or_insert_with(Instant::now).elapsed() < MOST_BUSY {
                return self.jobs.release_running();
            }
            how = outcome::FAILED;
        }
        self.jobs.end_running(&(how, Some(UpdateError::Busy.to_string())));
    }

    /// Nothing was done, for a reason that the next turn meets as well.
    fn fail(&mut self, turn: Option<Turn>, why: String) {
        self.note_unready(turn);
        self.jobs.end_running(&(outcome::FAILED, Some(why)));
    }

    fn note_unready(&mut self, turn: Option<Turn>) {
        self.unready = self.unready.saturating_add(1);
        self.put_off_all(turn, self.unready);
    }

    /// What was to be asked is tried again after so many failures in a row, and not before.
    fn put_off_all(&mut self, turn: Option<Turn>, failures: u32) {
        let at = later(failures, UNREADY_LATEST);
        if turn != Some(Turn::Own) {
            self.times.try_again(at);
        }
        self.times.put_off_own(at);
    }

    /// Files fetched by force: the job ends when they are in use, or refused.
    fn install(&mut self) {
        if let Some(ending) = self.installing.as_mut().and_then(Installing::turn) {
            self.installing = None;
            self.jobs.end_running(&ending);
        }
    }

    /// What failed before anybody was asked may be right again long before the schedule's next turn.
    fn put_off(&mut self, results: &[Told], running: &Running) {
        let is_unready =
            |told: &&Told| matches!(told.done, Done::Failed(DownloadError::Setting(_) | DownloadError::Secret(_), _));
        let unready: Vec<&Told> = results.iter().filter(is_unready).collect();
        if unready.is_empty() {
            self.unready = 0;
            return;
        }
        self.unready = self.unready.saturating_add(1);
        let at = later(self.unready, UNREADY_LATEST);
        let (own, others): (Vec<&Told>, Vec<&Told>) = unready.into_iter().partition(|told| running.is_own(told));
        if !others.is_empty() {
            self.times.try_again(at);
        }
        // The ledger does not know of sources that were not even tried, for want of the proxy.
        if own.iter().any(|told| matches!(told.done, Done::Failed(_, None))) {
            self.times.put_off_own(at);
        }
    }

    /// Returns the result of the job, in its detail one line an edition or list, and those with a new file.
    fn judge(&mut self, results: &[Told], running: &Running) -> (Ending, Vec<(Kind, Edition)>) {
        let (mut lines, mut failed, mut fetched, mut closed) = (Vec::new(), false, Vec::new(), false);
        for told in results {
            let site = running.site(told);
            if site.is_none() && closed && closes(&told.done) {
                failed = true;
                continue;
            }
            closed |= site.is_none() && closes(&told.done);
            let line = lines::line(told, site.map_or(&running.maxmind, Site::host));
            failed |= line.failed;
            if let Some(at) = line.again
                && !running.is_own(told)
            {
                self.times.try_again(at);
            }
            if matches!(told.done, Done::Downloaded) {
                fetched.push((told.kind, told.name.clone()));
            }
            lines.push(line.text);
        }
        ((if failed { outcome::FAILED } else { outcome::DONE }, Some(lines.join("; "))), fetched)
    }
}

/// The clock of the thread: PostgreSQL's is the main thread's alone.
fn unix_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
