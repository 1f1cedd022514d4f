//! Keeping editions fresh: which of them the server has a newer build of, and fetching those.
//!
//! Blocks, for minutes at worst: it belongs on a thread that may wait. One update at a time for a whole server, however
//! many processes want one: they meet at a lock file, and the ledger of [`Attempts`] lies beside it. A new file only
//! lands in the directory where the operator would have put it: whether it is taken into use is the import's business.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chrono::DateTime;
use nix::fcntl::{Flock, FlockArg};

use super::download::{Attempts, DownloadError, Fingerprint, Remote, Source, Wait, sweep};
use super::edition::Edition;
use super::manifest::Signature;
use crate::time::Micros;

/// An update that is wanted.
#[derive(Debug)]
pub struct Update {
    /// Where editions come from, with the key.
    pub source: Source,
    /// What the key and its account are known by, without showing them.
    pub credentials: Fingerprint,
    /// The editions in use, and when what is installed of each was built.
    pub editions: Vec<(Edition, Option<Micros>)>,
    /// Where `<edition>.mmdb` goes.
    pub to_dir: PathBuf,
    /// A private directory, for the ledger and the lock.
    pub state_dir: PathBuf,
    /// Whatever is installed, and whatever failed before; neither the daily limit nor a 429 yields to it.
    pub forced: bool,
}

/// What became of one edition.
#[derive(Debug)]
pub enum Done {
    /// What is installed is the newest there is.
    UpToDate,
    /// A newer one lies in the directory.
    Downloaded,
    /// The newest one was downloaded before and still lies there, whatever keeps it from being installed.
    Arrived,
    /// Not asked for now.
    Waits(Wait),
    /// It could not be had.
    Failed(DownloadError),
}

/// Why nothing was done at all.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// Another process of this server is at it.
    #[error("another update is under way")]
    Busy,
    /// The ledger can't be kept, and without it nothing is fetched.
    #[error("{0}: {1}")]
    Disk(String, std::io::Error),
}

impl Update {
    /// Does it. `now` is the clock.
    ///
    /// # Errors
    /// [`UpdateError`]; what happens to a single edition is in the result.
    pub fn run(&self, now: impl Fn() -> Micros) -> Result<Vec<(Edition, Done)>, UpdateError> {
        let _lock = self.lock()?;
        let ledger = self.state_dir.join("downloads.json");
        let keep = |attempts: &Attempts| attempts.save(&ledger).map_err(|error| disk(&ledger, error));
        let mut attempts = Attempts::load(&ledger, now());
        // What an earlier one left when it was killed.
        let _ = sweep(&self.to_dir);
        let mut results = Vec::new();
        for (edition, installed) in &self.editions {
            let mut arrival = None;
            let mut done = self.one(edition, *installed, &attempts, &now);
            if let Ok(()) = done {
                attempts.began(now());
                keep(&attempts)?;
                done = match self.source.download(edition, &self.to_dir) {
                    Ok((file, remote)) => {
                        arrival = Signature::of(&file).ok().flatten().map(|file| (remote, file));
                        Err(Done::Downloaded)
                    }
                    Err(error) => Err(Done::Failed(error)),
                };
            }
            let Err(done) = done else { continue };
            match &done {
                Done::Downloaded | Done::UpToDate | Done::Arrived => attempts.succeeded(),
                Done::Failed(error) => attempts.failed(now(), &self.credentials, error),
                Done::Waits(_) => {}
            }
            if let Some((remote, file)) = arrival {
                attempts.arrived(edition, &self.credentials, &remote, file);
            }
            keep(&attempts)?;
            results.push((edition.clone(), done));
        }
        Ok(results)
    }

    /// Whether an edition is to be fetched; `Err`: it is not, and what that means.
    fn one(
        &self,
        edition: &Edition,
        installed: Option<Micros>,
        attempts: &Attempts,
        now: &impl Fn() -> Micros,
    ) -> Result<(), Done> {
        attempts.may(now(), &self.credentials, self.forced).map_err(Done::Waits)?;
        if self.forced {
            return Ok(());
        }
        match self.source.head(edition) {
            Ok(remote) if is_newer(&remote, installed) => match Signature::of(&self.to_dir.join(edition.file_name())) {
                Ok(Some(file)) if attempts.has_arrived(edition, &self.credentials, &remote, &file) => {
                    Err(Done::Arrived)
                }
                _ => Ok(()),
            },
            Ok(_) | Err(DownloadError::NotModified) => Err(Done::UpToDate),
            Err(error) => Err(Done::Failed(error)),
        }
    }

    fn lock(&self) -> Result<Flock<File>, UpdateError> {
        // A server that never had a file has no directory for what is known of files.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.state_dir);
        made.map_err(|error| disk(&self.state_dir, error))?;
        let path = self.state_dir.join("download.lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(|error| disk(&path, error))?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| UpdateError::Busy)
    }
}

fn disk(path: &Path, error: std::io::Error) -> UpdateError {
    UpdateError::Disk(path.display().to_string(), error)
}

/// Whether what the server has was built on a later day than what is installed. The day in the archive's name counts;
/// where there is none, an archive that changed more than a day after the build: archives are made some hours after
/// what is in them. Where nothing is known, nothing is newer.
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
mod tests {
    use super::*;
    use crate::time::{DAY, midnight};
    use chrono::NaiveDate;

    #[test]
    fn a_later_day_is_newer_and_the_same_is_not() {
        let day = NaiveDate::from_ymd_opt(2026, 3, 4).unwrap();
        let built = midnight(day) + 7 * 3600 * 1_000_000;
        let named = |date| Remote { build_date: Some(date), last_modified: Some(built + 30 * DAY) };
        assert!(is_newer(&named(day.succ_opt().unwrap()), Some(built)));
        assert!(!is_newer(&named(day), Some(built)));
        assert!(!is_newer(&named(day.pred_opt().unwrap()), Some(built)));
        assert!(is_newer(&named(day), None), "nothing is installed");
        let changed = |at| Remote { build_date: None, last_modified: Some(at) };
        assert!(!is_newer(&changed(built + DAY / 2), Some(built)), "the archive of what is installed");
        assert!(is_newer(&changed(built + 2 * DAY), Some(built)));
        assert!(!is_newer(&Remote::default(), Some(built)));
    }
}
