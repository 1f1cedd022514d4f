//! Fetching newer MaxMind files: by schedule, and when `update_maxmind` asks. A thread does it; the launcher imports
//! the files in `maxmind_dir`, as it does with a file that a user puts there. The key stands in [`license_key`].

mod license_key;

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use enrich::maxmind::Edition;
use enrich::maxmind::download::{DownloadError, Fingerprint, Source};
use enrich::maxmind::store::StoreError;
use enrich::maxmind::update::{self, Done, Update, UpdateError};
use enrich::schedule::Schedule;
use pgrx::pg_sys;

use self::license_key::LicenseKey;
use crate::files::maxmind;
use crate::jobs::run::finish;
use crate::jobs::submit;
use crate::pg::catalog::Schema;
use crate::pg::process;
use crate::pg::{time, tx};
use crate::settings;
use crate::shared;
use crate::shared::{Job, kind, outcome, state};

/// How soon a failure is tried again at the earliest.
const SOONEST: Duration = Duration::from_secs(600);
/// And at the latest, where it is the key that cannot be had.
const LATEST: Duration = Duration::from_secs(6 * 3600);
/// How long a forced install waits for another importer, and for files that are still being written.
const INSTALL: Duration = Duration::from_secs(30);

/// Of a job: its outcome and its detail.
type Told = (u32, Option<String>);

type Outcome = Result<Vec<(Edition, Done)>, UpdateError>;

/// The worker's downloads.
pub struct Download {
    database: pg_sys::Oid,
    key: LicenseKey,
    /// Keys that could not be had by schedule, in a row.
    keyless: u32,
    reloads: u64,
    schedule: String,
    /// Unix microseconds.
    next_at: Option<i64>,
    /// When that was planned. A clock that was set back since would put it off for as long.
    planned_at: i64,
    running: Option<(Receiver<Outcome>, bool)>,
    installing: Option<Installing>,
}

/// Files fetched by force, which must be installed before the job ends.
struct Installing {
    fetched: Vec<Edition>,
    told: Told,
    until: Instant,
}

impl Installing {
    fn fails(&mut self, why: &str) {
        let (how, detail) = &mut self.told;
        *how = outcome::FAILED;
        *detail = Some([detail.as_deref().unwrap_or_default(), why].join("; "));
    }
}

impl Download {
    /// For the worker of a database.
    pub fn new(database: pg_sys::Oid) -> Download {
        let mut download = Download {
            database,
            key: LicenseKey::default(),
            keyless: 0,
            reloads: process::reloads(),
            schedule: String::new(),
            next_at: None,
            planned_at: 0,
            running: None,
            installing: None,
        };
        download.configure();
        download
    }

    fn configure(&mut self) {
        self.key.configure();
        let schedule = settings::downloads().schedule;
        if self.schedule != schedule {
            self.schedule = schedule;
            self.plan();
            // A failure before this worker started does not wait for the schedule, either.
            let editions = settings::snapshot().maxmind_editions;
            if let Some(at) = update::again_at(&settings::place::directory(), &editions, time::now_unix_us()) {
                self.try_again(Some(at));
            }
        }
    }

    fn plan(&mut self) {
        let now = time::now_unix_us();
        self.planned_at = now;
        // Servers all over the world must not come at the same second. Where in the span of the jitter this one is
        // depends on when it was started: good enough to spread them.
        let schedule = Schedule::parse(&self.schedule).ok();
        self.next_at = schedule.and_then(|schedule| schedule.next_spread(now, now.unsigned_abs()));
    }

    /// One turn of the worker's loop.
    pub fn turn(&mut self) {
        if process::reloads() != self.reloads {
            self.reloads = process::reloads();
            self.configure();
        }
        self.key.turn();
        self.take_outcome();
        self.install();
        if self.running.is_some() || self.installing.is_some() || self.key.is_coming() {
            return;
        }
        if let Some(job) = self.jobs().find(|job| job.state.load(Ordering::Acquire) == state::SUBMITTED) {
            if !self.key.is_looked_up() {
                return;
            }
            job.state.store(state::RUNNING, Ordering::Release);
            let forced = job.sources.load(Ordering::Relaxed) & shared::sources::ANEW != 0;
            if let Err(why) = self.start(forced) {
                finish(job, outcome::FAILED, Some(why));
            }
            return;
        }
        // A job of a worker that ended in the middle: its files are in place or removed.
        if let Some(job) = self.jobs().find(|job| job.state.load(Ordering::Acquire) == state::RUNNING) {
            finish(job, outcome::FAILED, Some("the worker ended in the middle of it".to_owned()));
        }
        if time::now_unix_us() < self.planned_at {
            self.plan();
        }
        if self.next_at.is_some_and(|at| time::now_unix_us() >= at) && self.key.is_looked_up() {
            self.plan();
            self.start_by_schedule();
        }
    }

    /// A job like any other, so that its result is where people look. A server without a key has nothing to do, and
    /// reports nothing.
    fn start_by_schedule(&mut self) {
        if self.key.is_not_wanted() {
            return;
        }
        let job = tx::run(|| Schema::hold().and_then(|schema| submit::own(&schema, kind::UPDATE, 0)));
        let keyless = self.key.is_missing();
        if let (Err(why), Ok(Some(job))) = (self.start(false), job) {
            finish(job, outcome::FAILED, Some(why));
        }
        // The server that holds the key may be back long before the schedule's next turn.
        self.keyless = if keyless { self.keyless.saturating_add(1) } else { 0 };
        if keyless {
            let pause = SOONEST.saturating_mul(1 << (self.keyless - 1).min(16)).min(LATEST);
            self.try_again(Some(time::now_unix_us() + pause.as_micros() as i64));
        }
    }

    /// How long there is nothing to do.
    pub fn patience(&self) -> Duration {
        let busy = self.running.is_some() || self.installing.is_some() || self.key.is_busy();
        if busy { Duration::from_millis(100) } else { Duration::MAX }
    }

    fn jobs(&self) -> impl Iterator<Item = &'static Job> + use<> {
        let database = self.database.to_u32();
        let jobs = shared::shared().map(|shared| &shared.jobs[..]).unwrap_or_default();
        jobs.iter().filter(move |job| {
            job.database.load(Ordering::Acquire) == database && job.kind.load(Ordering::Relaxed) == kind::UPDATE
        })
    }

    fn start(&mut self, forced: bool) -> Result<(), String> {
        let (maxmind, network, files) = (settings::downloads(), settings::network(), settings::snapshot());
        let key = self.key.spend()?;
        let manifest = maxmind::store().manifest().unwrap_or_default();
        let built = |edition: &Edition| {
            let info = manifest.editions.get(edition.name()).and_then(|of| of.current.as_ref());
            info.map(|info| info.build_epoch as i64 * 1_000_000)
        };
        let account_id = (!maxmind.account_id.is_empty()).then_some(maxmind.account_id);
        let update = Update {
            credentials: Fingerprint::of(&maxmind.url, account_id.as_deref(), &key),
            source: Source {
                base_url: maxmind.url,
                account_id,
                license_key: key,
                ca_file: network.tls_ca_file,
                limits: Default::default(),
            },
            editions: files.maxmind_editions.iter().map(|edition| (edition.clone(), built(edition))).collect(),
            to_dir: files.maxmind_dir,
            state_dir: settings::place::directory(),
            forced,
        };
        let (sender, receiver) = channel();
        let work = move || drop(sender.send(update.run(unix_now)));
        process::with_signals_blocked(|| std::thread::Builder::new().name("asn download".to_owned()).spawn(work))
            .map_err(|error| format!("a thread cannot be started: {error}"))?;
        self.running = Some((receiver, forced));
        Ok(())
    }

    fn take_outcome(&mut self) {
        let Some((receiver, forced)) = &self.running else { return };
        let (found, forced) = match receiver.try_recv() {
            Ok(found) => (Some(found), *forced),
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => (None, *forced),
        };
        self.running = None;
        let (told, fetched) = self.judge(found);
        if !fetched.is_empty() {
            shared::wake_launcher();
        }
        if forced && !fetched.is_empty() {
            self.installing = Some(Installing { fetched, told, until: Instant::now() + INSTALL });
        } else {
            self.tell(told);
        }
    }

    /// Installs files fetched by force, even older or much smaller ones: the user requested it. The launcher may be
    /// importing at this moment, and a file of this very second counts as unfinished: this waits for both.
    fn install(&mut self) {
        let Some(installing) = &mut self.installing else { return };
        let late = Instant::now() >= installing.until;
        let (store, settings) = (maxmind::store(), settings::snapshot());
        let news = |manifest: &_| store.has_news(&settings.maxmind_dir, &settings.maxmind_editions, manifest);
        let unfinished = match maxmind::import(&settings, true) {
            Ok(_) => store.manifest().is_ok_and(|manifest| news(&manifest)),
            Err(StoreError::Busy) => true,
            Err(error) => {
                pgrx::warning!("asn_inventory: could not import mmdb files: {error}");
                installing.fails(&format!("could not import mmdb files: {error}"));
                false
            }
        };
        if unfinished && !late {
            return;
        }
        if let Some(mut installing) = self.installing.take() {
            for edition in std::mem::take(&mut installing.fetched) {
                if let Some(why) = refusal(&edition) {
                    installing.fails(&format!("{}: refused: {why}", edition.name()));
                }
            }
            self.tell(installing.told);
        }
    }

    fn tell(&self, (how, detail): Told) {
        for job in self.jobs().filter(|job| job.state.load(Ordering::Acquire) == state::RUNNING) {
            finish(job, how, detail.clone());
        }
    }

    /// Returns the result, one line an edition, the text for a job, and the editions with a new file.
    fn judge(&mut self, found: Option<Outcome>) -> (Told, Vec<Edition>) {
        let editions = match found {
            Some(Ok(editions)) => editions,
            Some(Err(UpdateError::Busy)) => return ((outcome::DONE, Some(UpdateError::Busy.to_string())), Vec::new()),
            Some(Err(error)) => {
                pgrx::warning!("asn_inventory: MaxMind files cannot be updated: {error}");
                return ((outcome::FAILED, Some(error.to_string())), Vec::new());
            }
            None => {
                return (
                    (outcome::FAILED, Some("the download failed with an internal error (a panic)".to_owned())),
                    Vec::new(),
                );
            }
        };
        let (mut lines, mut failed, mut fetched) = (Vec::new(), false, Vec::new());
        for (edition, done) in &editions {
            let line = match done {
                Done::UpToDate => format!("{}: up to date", edition.name()),
                Done::Downloaded => {
                    fetched.push(edition.clone());
                    format!("{}: downloaded", edition.name())
                }
                Done::Arrived => {
                    let why = refusal(edition);
                    failed |= why.is_some();
                    let why = why.map_or_else(|| "not installed yet".to_owned(), |why| format!("refused: {why}"));
                    format!("{}: the newest was downloaded before, and {why}", edition.name())
                }
                Done::Waits(wait) => {
                    failed = true;
                    self.try_again(Some(wait.until));
                    let (name, at, why) = (edition.name(), time::text(wait.until), wait.why);
                    if why.is_refusal() {
                        format!("{name}: not asked for: {why}; tried again at {at}, or by update_maxmind(true)")
                    } else {
                        format!("{name}: not asked for until {at}: {why}")
                    }
                }
                Done::Foreign => format!("{}: not MaxMind's, and not asked for", edition.name()),
                Done::Failed(error, again) => {
                    failed = true;
                    if again.is_some() {
                        self.try_again(*again);
                    }
                    format!("{}: {error}", edition.name())
                }
            };
            match done {
                Done::UpToDate | Done::Foreign => {}
                Done::Failed(..) => pgrx::warning!("asn_inventory: download of {line}"),
                _ => pgrx::log!("asn_inventory: {line}"),
            }
            lines.push(line);
            // Said once: the others meet the same closed door.
            if matches!(done, Done::Failed(DownloadError::Unauthorized | DownloadError::DailyLimit { .. }, _)) {
                break;
            }
        }
        ((if failed { outcome::FAILED } else { outcome::DONE }, Some(lines.join("; "))), fetched)
    }

    /// Before the schedule's next turn, but no sooner than the ledger allows.
    fn try_again(&mut self, at: Option<i64>) {
        let at = at.unwrap_or(0).max(time::now_unix_us() + SOONEST.as_micros() as i64);
        if !self.schedule.is_empty() {
            self.next_at = Some(self.next_at.map_or(at, |next| next.min(at)));
        }
    }
}

/// Why the import did not take the file that lies there.
fn refusal(edition: &Edition) -> Option<String> {
    let manifest = maxmind::store().manifest().ok()?;
    Some(manifest.editions.get(edition.name())?.refused.as_ref()?.reason.clone())
}

/// The clock of the thread: PostgreSQL's is the main thread's alone.
fn unix_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
