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

use super::download::{Attempts, DownloadError, Fingerprint, Remote, Source, Wait, check, sweep};
use super::edition::Edition;
use super::manifest::Signature;
use crate::time::Micros;

/// An update that is wanted.
#[derive(Debug)]
pub struct Update {
    /// Where editions come from, with the key.
    pub source: Source,
    /// A mark of the key and its account, without showing them.
    pub credentials: Fingerprint,
    /// The editions in use, and the build time of each installed one.
    pub editions: Vec<(Edition, Option<Micros>)>,
    /// Where `<edition>.mmdb` goes.
    pub to_dir: PathBuf,
    /// A private directory, for the ledger and the lock.
    pub state_dir: PathBuf,
    /// Independent of installed files and earlier failures; but the daily limit and a 429 still hold.
    pub forced: bool,
}

/// The result of one edition.
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
    /// Never asked for: it is not MaxMind's, and its file comes from elsewhere.
    Foreign,
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

/// When a failed edition is requested again, from the ledger in `state_dir`: the next update after a restart is planned
/// by it. `None`: no wait.
pub fn again_at(state_dir: &Path, editions: &[Edition], now: Micros) -> Option<Micros> {
    Attempts::load(&state_dir.join(LEDGER), now).again_at(editions)
}

const LEDGER: &str = "downloads.json";

impl Update {
    /// Does it. `now` is the clock.
    ///
    /// # Errors
    /// [`UpdateError`]; what happens to a single edition is in the result.
    pub fn run(&self, now: impl Fn() -> Micros) -> Result<Vec<(Edition, Done)>, UpdateError> {
        let _lock = self.lock()?;
        let ledger = self.state_dir.join(LEDGER);
        let keep = |attempts: &Attempts| attempts.save(&ledger).map_err(|error| disk(&ledger, error));
        let mut attempts = Attempts::load(&ledger, now());
        // Drafts of an earlier process that was killed.
        let _ = sweep(&self.to_dir);
        let mut results = Vec::new();
        for (edition, installed) in &self.editions {
            if !edition.is_maxminds() {
                results.push((edition.clone(), Done::Foreign));
                continue;
            }
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
                    Err(error) => Err(Done::Failed(error, None)),
                };
            }
            let Err(mut done) = done else { continue };
            match &mut done {
                Done::Downloaded | Done::UpToDate | Done::Arrived => attempts.succeeded(edition),
                Done::Failed(error, again) => {
                    attempts.failed(now(), edition, &self.credentials, error);
                    *again = attempts.may(now(), edition, &self.credentials, false).err().map(|wait| wait.until);
                }
                Done::Waits(_) | Done::Foreign => {}
            }
            if let Some((remote, file)) = arrival {
                attempts.arrived(edition, &self.server(), &remote, file);
            }
            keep(&attempts)?;
            results.push((edition.clone(), done));
        }
        Ok(results)
    }

    /// Whether to fetch an edition; `Err`: not, with the result.
    fn one(
        &self,
        edition: &Edition,
        installed: Option<Micros>,
        attempts: &Attempts,
        now: &impl Fn() -> Micros,
    ) -> Result<(), Done> {
        attempts.may(now(), edition, &self.credentials, self.forced).map_err(Done::Waits)?;
        let failed = |error| Done::Failed(error, None);
        let place = self.to_dir.join(edition.file_name());
        // Before a download is spent on a file that could not be put there.
        check(&place).map_err(|error| failed(error.into()))?;
        if self.forced {
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

    fn lock(&self) -> Result<Flock<File>, UpdateError> {
        // A server that never had a file has no directory for their state.
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
mod tests {
    use super::*;
    use crate::secrets::Secret;
    use crate::secrets::fake::{Directory, Fake, Reply};
    use crate::time::{DAY, midnight};
    use chrono::NaiveDate;

    /// Of these editions, none of which is installed.
    fn update(fake: &Fake, directory: &Directory, editions: &str, key: &str) -> Update {
        let license_key = Secret::new(key.to_owned());
        let base_url = fake.url("localhost");
        Update {
            credentials: Fingerprint::of(&base_url, Some("1"), &license_key),
            source: Source {
                base_url,
                account_id: Some("1".to_owned()),
                license_key,
                ca_file: Some(fake.ca_file()),
                limits: Default::default(),
            },
            editions: Edition::list(editions).unwrap().into_iter().map(|edition| (edition, None)).collect(),
            to_dir: directory.path().to_owned(),
            state_dir: directory.path().join("state"),
            forced: false,
        }
    }

    /// The result of each, in a word.
    fn told(update: &Update, now: Micros) -> Vec<String> {
        let word = |done: &Done| match done {
            Done::Failed(error, again) => {
                format!("{error}; again in {:?} min", again.map(|at| (at - now) / 60_000_000))
            }
            other => format!("{other:?}"),
        };
        update.run(|| now).unwrap().iter().map(|(edition, done)| format!("{edition}: {}", word(done))).collect()
    }

    #[test]
    fn each_edition_stands_for_itself_and_those_of_others_are_not_asked_for() {
        let fake = Fake::start(|seen| match &seen.target {
            target if target.contains("GeoIP2-City") => Reply::new(403, &[], "no"),
            target if target.contains("GeoLite2-Gone") => Reply::new(404, &[], "no"),
            _ => Reply::new(304, &[], ""),
        });
        let directory = Directory::new();
        let wanted = update(&fake, &directory, "GeoIP2-City,dbip-city-lite,GeoLite2-Gone,GeoLite2-ASN", "key");
        let first = [
            "GeoIP2-City: the account may not download this edition (403); again in Some(1440) min",
            "dbip-city-lite: Foreign",
            "GeoLite2-Gone: the server answers with status 404; again in Some(1440) min",
            "GeoLite2-ASN: UpToDate",
        ];
        assert_eq!(told(&wanted, 0), first);
        assert!(fake.seen().iter().all(|seen| !seen.target.contains("dbip")));
        let before = fake.seen().len();
        let second = told(&wanted, DAY / 2);
        assert!(second[0].contains("Forbidden") && second[2].contains("Absent"), "{second:?}");
        assert_eq!(second[3], "GeoLite2-ASN: UpToDate");
        assert_eq!(fake.seen().len(), before + 1, "a refusal is not insisted on");
        assert_eq!(told(&wanted, DAY)[0], first[0], "but asked about again the next day");
    }

    #[test]
    fn a_key_that_was_replaced_in_its_place_is_tried_and_the_same_is_not() {
        let fake = Fake::start(|seen| {
            let told = seen.header("authorization").unwrap_or_default();
            Reply::new(if told == "Basic MTpvbGQ=" { 401 } else { 304 }, &[], "")
        });
        let directory = Directory::new();
        let with = |key| update(&fake, &directory, "GeoLite2-City,GeoLite2-ASN", key);
        assert!(told(&with("old"), 0)[0].contains("(401)"));
        assert_eq!(fake.seen().len(), 1, "the other edition meets the same closed door");
        assert!(told(&with("old"), 1)[0].contains("Unauthorized"));
        assert_eq!(fake.seen().len(), 1);
        assert_eq!(told(&with("new"), 2), ["GeoLite2-City: UpToDate", "GeoLite2-ASN: UpToDate"]);
        let ledger = std::fs::read_to_string(directory.path().join("state/downloads.json")).unwrap();
        assert!(!ledger.contains("old") && !ledger.contains("new"), "{ledger}");
    }

    #[test]
    fn what_is_no_file_in_an_editions_place_costs_no_question() {
        let fake = Fake::start(|_| Reply::new(304, &[], ""));
        let directory = Directory::new();
        std::os::unix::fs::symlink("elsewhere", directory.path().join("GeoLite2-City.mmdb")).unwrap();
        let told = told(&update(&fake, &directory, "GeoLite2-City", "key"), 0);
        assert!(told[0].contains("symbolic link"), "{told:?}");
        assert!(fake.seen().is_empty());
    }

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
