//! Keeping editions fresh: which of them the server has a newer build of, and fetching those.
//!
//! Blocks, for minutes at worst: it belongs on a thread that may wait. One update at a time for a whole server, however
//! many processes want one: they meet at a lock file, and the ledger of [`Attempts`] lies beside it. A new file only
//! lands in the directory where the operator would have put it: whether it is taken into use is the import's business.

mod sites;
pub mod turns;

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use chrono::DateTime;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::maxmind::download::{
    Attempts, Cancel, DownloadError, Fingerprint, Kind, Remote, Site, Source, UnderWay, Wait, check, sweep,
};
use crate::maxmind::edition::Edition;
use crate::maxmind::manifest::Signature;
use crate::secrets::{Accept, Resolver};
use crate::time::Micros;
use crate::url;

/// An update that is wanted.
#[derive(Debug)]
pub struct Update {
    /// MaxMind's server, with the key.
    pub maxmind: MaxMind,
    /// Where other editions, and lists of networks, come from: all that are set. An edition that stands here is not asked of
    /// MaxMind.
    pub sites: Vec<Site>,
    /// The lists of networks to ask for.
    pub lists: Vec<Site>,
    /// Looks up the references of those, and of the proxy.
    pub resolver: Resolver,
    /// The editions in use, and the build time of each installed one, as far as it can be true.
    pub editions: Vec<(Edition, Option<Micros>)>,
    /// Further trusted certificates (PEM), for the other sources.
    pub ca_file: Option<PathBuf>,
    /// Where `<edition>.mmdb` goes.
    pub to_dir: PathBuf,
    /// Where `<name>.list` goes.
    pub lists_dir: PathBuf,
    /// A private directory, for the ledger and the lock.
    pub state_dir: PathBuf,
    /// Independent of installed files and earlier failures; but the daily limit and a 429 still hold.
    pub forced: bool,
    /// Nobody asked for it: sources with a schedule of their own are passed over until they are due.
    pub scheduled: bool,
    /// A setting may have been corrected that kept sources from being asked: these are due.
    pub corrected: bool,
    /// Ends it: what is under way, and what would follow.
    pub cancel: Arc<Cancel>,
}

/// MaxMind's server.
#[derive(Debug)]
pub enum MaxMind {
    /// With the key, and a mark of the key and its account that does not show them.
    Asked(Box<Source>, Fingerprint),
    /// There is no key, and why.
    Keyless(String),
    /// There is no key, and none was set.
    Unwanted,
}

/// What came of one edition, or of one list.
#[derive(Debug)]
pub struct Told {
    /// Which of the two.
    pub kind: Kind,
    /// Its name.
    pub name: Edition,
    /// The result.
    pub done: Done,
}

/// The result of one edition or list.
#[derive(Debug)]
pub enum Done {
    /// The installed one is the newest.
    UpToDate,
    /// A newer one lies in the directory.
    Downloaded,
    /// The newest one was downloaded before and is still there, but is not installed.
    Arrived,
    /// Not asked for now.
    Waits(Wait),
    /// Never asked for: it is not MaxMind's, no source is set for it, and its file comes from elsewhere.
    Foreign,
    /// Not asked for: there is no key for MaxMind's server, for this reason.
    Keyless(String),
    /// Not asked for: there is no key, and none was set.
    Unwanted,
    /// The file of last time is the source's present one.
    Unchanged,
    /// Not due by the schedule of its source.
    NotDue,
    /// It was not fetched, or not to its end: the update was cancelled.
    Cancelled,
    /// It could not be had, and when it is to be asked for again.
    Failed(DownloadError, Option<Micros>),
}

/// Why nothing was done at all.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// Another process of this server is at it.
    #[error("another update is running")]
    Busy,
    /// The ledger cannot be kept, and without it nothing is fetched.
    #[error("{0}: {1}")]
    Disk(String, std::io::Error),
}

/// When a failed edition or source is requested again, from the ledger in `state_dir`: the next update after a restart is
/// planned by it. `None`: no wait.
pub fn again_at(state_dir: &Path, editions: &[Edition], sites: &[Site], now: Micros) -> Option<Micros> {
    Attempts::load(&state_dir.join(LEDGER), now).again_at(now, editions, sites)
}

/// When the first source with a schedule of its own is due, from the same ledger. `None`: there is none.
pub fn due_at(state_dir: &Path, sites: &[Site], now: Micros) -> Option<Micros> {
    Attempts::load(&state_dir.join(LEDGER), now).due_at(now, sites)
}

/// The sources that could not be had when they were last asked, from the same ledger: why, and when they are asked again.
pub fn troubles<'a>(state_dir: &Path, sites: &'a [Site], now: Micros) -> Vec<(&'a Site, Wait)> {
    let attempts = Attempts::load(&state_dir.join(LEDGER), now);
    sites.iter().filter_map(|site| Some((site, attempts.trouble(site)?))).collect()
}

/// What was asked for last without a result so far, from the same ledger. A server that was killed leaves it behind: it means
/// something only while an update runs.
pub fn under_way(state_dir: &Path, now: Micros) -> Option<UnderWay> {
    Attempts::load(&state_dir.join(LEDGER), now).under_way().cloned()
}

const LEDGER: &str = "downloads.json";

impl Update {
    /// Does it. `now` is the clock.
    ///
    /// # Errors
    /// [`UpdateError`]; what happens to a single edition or list is in the result.
    pub fn run(&self, now: impl Fn() -> Micros) -> Result<Vec<Told>, UpdateError> {
        let _lock = self.lock()?;
        let ledger = self.state_dir.join(LEDGER);
        let keep = |attempts: &Attempts| attempts.save(&ledger).map_err(|error| disk(&ledger, error));
        let mut attempts = Attempts::load(&ledger, now());
        // Drafts of an earlier process that was killed.
        let _ = sweep(&self.to_dir);
        if !self.lists.is_empty() {
            let _ = sweep(&self.lists_dir);
        }
        attempts.keep(&self.sites, now());
        // A program runs once for all of it, whatever it says: each run may be billed.
        let recent = self.resolver.recent.as_ref().map(|(recent, _)| Arc::clone(recent)).unwrap_or_default();
        let resolver = Resolver { recent: Some((recent, Accept::Since(Instant::now()))), ..self.resolver.clone() };
        let proxy = resolver.proxy();
        let mut results = Vec::new();
        for (edition, installed) in &self.editions {
            let site = self.sites.iter().find(|site| site.is_of(edition));
            let done = match (site, &self.maxmind, &proxy) {
                _ if self.cancel.is_cancelled() => Done::Cancelled,
                (None, ..) if !edition.is_maxminds() => Done::Foreign,
                (None, MaxMind::Keyless(why), _) => Done::Keyless(why.clone()),
                (None, MaxMind::Unwanted, _) => Done::Unwanted,
                (_, _, Err(why)) => no_way(why),
                (Some(site), _, Ok(proxy)) => {
                    let way = sites::Way { resolver: &resolver, proxy: proxy.as_ref() };
                    sites::update(self, site, &way, &mut attempts, &now, &keep)?
                }
                (None, MaxMind::Asked(source, credentials), Ok(proxy)) => {
                    let cancel = Arc::clone(&self.cancel);
                    let source = Source { proxy: proxy.clone(), cancel, ..Source::clone(source) };
                    let asked = Asked { update: self, source, credentials };
                    asked.edition(edition, *installed, &mut attempts, &now, &keep)?
                }
            };
            results.push(Told { kind: Kind::Database, name: edition.clone(), done });
        }
        for list in &self.lists {
            let done = match &proxy {
                _ if self.cancel.is_cancelled() => Done::Cancelled,
                Err(why) => no_way(why),
                Ok(proxy) => {
                    let way = sites::Way { resolver: &resolver, proxy: proxy.as_ref() };
                    sites::update(self, list, &way, &mut attempts, &now, &keep)?
                }
            };
            results.push(Told { kind: Kind::List, name: list.name().clone(), done });
        }
        Ok(results)
    }

    fn lock(&self) -> Result<Flock<File>, UpdateError> {
        // A server that never had a file has no directory for their state.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.state_dir);
        made.map_err(|error| disk(&self.state_dir, error))?;
        let path = self.state_dir.join("download.lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(|error| disk(&path, error))?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, why)| match why {
            Errno::EWOULDBLOCK => UpdateError::Busy,
            why => disk(&path, why.into()),
        })
    }
}

/// Keeps the ledger.
type Keep<'a> = &'a dyn Fn(&Attempts) -> Result<(), UpdateError>;

/// MaxMind's server, and the update that asks it.
struct Asked<'a> {
    update: &'a Update,
    source: Source,
    credentials: &'a Fingerprint,
}

impl Asked<'_> {
    /// One edition, wherever that leads.
    fn edition(
        &self,
        edition: &Edition,
        installed: Option<Micros>,
        attempts: &mut Attempts,
        now: &impl Fn() -> Micros,
        keep: Keep,
    ) -> Result<Done, UpdateError> {
        let mut arrival = None;
        let mut done = match self.one(edition, installed, attempts, now) {
            Err(done) => done,
            Ok(()) => {
                attempts.began(now());
                attempts.is_at(edition.name(), url::host_of(&self.source.base_url), now());
                keep(attempts)?;
                match self.source.download(edition, &self.update.to_dir) {
                    Ok((file, remote)) => {
                        arrival = Signature::of(&file).ok().flatten().map(|file| (remote, file));
                        Done::Downloaded
                    }
                    Err(error) => Done::Failed(error, None),
                }
            }
        };
        attempts.is_done();
        // Whatever failed then.
        if matches!(done, Done::Failed(..)) && self.update.cancel.is_cancelled() {
            done = Done::Cancelled;
        }
        match &mut done {
            Done::Downloaded | Done::UpToDate | Done::Arrived => attempts.succeeded(edition),
            Done::Failed(error, again) => {
                attempts.failed(now(), edition, self.credentials, error);
                *again = attempts.may(now(), edition, self.credentials, false).err().map(|wait| wait.until);
            }
            _ => {}
        }
        if let Some((remote, file)) = arrival {
            attempts.arrived(edition, &self.server(), &remote, file);
        }
        keep(attempts)?;
        Ok(done)
    }

    /// Whether to fetch an edition; `Err`: not, with the result.
    fn one(
        &self,
        edition: &Edition,
        installed: Option<Micros>,
        attempts: &Attempts,
        now: &impl Fn() -> Micros,
    ) -> Result<(), Done> {
        attempts.may(now(), edition, self.credentials, self.update.forced).map_err(Done::Waits)?;
        let failed = |error| Done::Failed(error, None);
        let place = self.update.to_dir.join(edition.file_name());
        // Before a download is spent on a file that could not be put there.
        check(&place).map_err(|error| failed(error.into()))?;
        if self.update.forced {
            return Ok(());
        }
        match self.source.head(edition) {
            Ok(remote) if is_newer(&remote, installed) => match Signature::of(&place) {
                Ok(Some(file)) if attempts.has_arrived(edition, &self.server(), &remote, &file) => Err(Done::Arrived),
                _ => Ok(()),
            },
            Ok(_) | Err(DownloadError::NotModified) => Err(Done::UpToDate),
            Err(error) => Err(failed(error)),
        }
    }

    fn server(&self) -> Fingerprint {
        Fingerprint::of_server(&self.source.base_url)
    }
}

/// The settings of the proxy cannot be read.
fn no_way(why: &impl std::fmt::Display) -> Done {
    Done::Failed(DownloadError::Setting(why.to_string()), None)
}

fn disk(path: &Path, error: std::io::Error) -> UpdateError {
    UpdateError::Disk(path.display().to_string(), error)
}

/// Whether the server's build is of a later day than the installed one. The day in the archive's name counts; without
/// one, an archive that changed more than a day after the build is newer: archives are made some hours after their
/// content. Without any data, it is not newer.
fn is_newer(remote: &Remote, installed: Option<Micros>) -> bool {
    let Some(installed) = installed else { return true };
    let day = DateTime::from_timestamp_micros(installed).map(|at| at.date_naive());
    match (remote.build_date, remote.last_modified) {
        (Some(build), _) => day.is_none_or(|day| build > day),
        (None, Some(changed)) => changed.saturating_sub(installed) > crate::time::DAY,
        (None, None) => false,
    }
}

#[cfg(test)]
mod site_tests;
#[cfg(test)]
mod tests;
