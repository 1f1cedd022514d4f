//! How often we may ask: a ledger that outlives the server.
//!
//! An account has some 30 downloads a day, for all its servers together, and a loop without a memory uses them up in a
//! minute. So every attempt is written down before it begins, for all databases of this server in one file. The caller
//! holds the lock that makes it the only one that downloads.
//!
//! Editions are independent: one that the account may not have, or whose archive is broken today, does not stop the
//! others. Only limits of the whole account stop everything: its daily limit, and a key that is not accepted.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::closed::{AFTER_LOSS, BACK_OFF, Closed, DAILY, DAY, Failed, REFUSED, Wait, after, back_off, is_ahead};
use super::error::DownloadError;
use super::fingerprint::Fingerprint;
use super::kind::Kind;
use super::lines::Line;
use super::pull::Known;
use super::site::Site;
use super::source::Remote;
use crate::durable;
use crate::maxmind::edition::Edition;
use crate::maxmind::manifest::Signature;
use crate::time::Micros;
use crate::time::midnight;

/// A ledger is some hundred bytes, and up to two thousand more for each source, of which there may be a thousand.
const MAX_LEDGER: u64 = 8 << 20;
/// Most sources in it that are not set any more.
const MOST_UNSET: usize = 1000;

/// The attempts, and the times of the next ones. Fields of an older version that are not here are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// The UTC day, counted from the epoch, that `downloads` belongs to.
    day: i64,
    /// Begun on that day.
    downloads: u32,
    /// Nothing at all before.
    closed_until: Option<(Micros, Closed)>,
    /// Whose credentials were refused; tried again then.
    #[serde(default)]
    unauthorized: Option<(Fingerprint, Micros)>,
    /// By edition, the failures since the last success.
    #[serde(default)]
    failed: BTreeMap<String, Failed>,
    /// By edition, the last arrival.
    #[serde(default)]
    arrived: BTreeMap<String, Arrival>,
    /// By edition or list, the sources beside MaxMind's.
    #[serde(default)]
    sites: BTreeMap<String, Line>,
    /// What is asked for and has not come yet.
    #[serde(default)]
    under_way: Option<UnderWay>,
}

/// A download without a result so far: all others of the server wait for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderWay {
    /// The edition, or `list` and the name of a list.
    pub what: String,
    /// Who is asked.
    pub host: String,
    /// When it began.
    pub since: Micros,
}

/// A download that arrived. As long as the server has no other build and the file is still there, another download
/// would give the same: a download does not help to install it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Arrival {
    from: Fingerprint,
    last_modified: Option<Micros>,
    build_day: Option<Micros>,
    file: Signature,
}

impl Attempts {
    /// Whether a download of `edition` may begin at `now`. `forced`, by an operator who has changed something, passes
    /// over refusals and over the pause after a failure; not over the limits of the account.
    ///
    /// # Errors
    /// [`Wait`].
    pub fn may(&self, now: Micros, edition: &Edition, credentials: &Fingerprint, forced: bool) -> Result<(), Wait> {
        let ahead = |until: Micros| is_ahead(until, now);
        // An older version closed everything after one edition's failure.
        if let Some((until, why @ (Closed::Limit | Closed::Lost))) = self.closed_until
            && (!forced || why == Closed::Limit)
            && ahead(until)
        {
            return Err(Wait::new(until, why));
        }
        if self.begun_today(now) >= DAILY {
            return Err(Wait::new(midnight_after(now), Closed::Daily));
        }
        if forced {
            return Ok(());
        }
        match &self.unauthorized {
            Some((whose, until)) if whose == credentials && ahead(*until) => {
                return Err(Wait::new(*until, Closed::Unauthorized));
            }
            _ => {}
        }
        match self.failed.get(edition.name()) {
            Some(failed) if ahead(failed.until) && (!failed.why.is_refusal() || failed.by == *credentials) => {
                Err(failed.wait())
            }
            _ => Ok(()),
        }
    }

    /// When the first of these editions and sources that could not be had is to be asked for again; `None`: none is waited for.
    /// A wait that another clock dated is over, and now is the time.
    pub fn again_at(&self, now: Micros, editions: &[Edition], sites: &[Site]) -> Option<Micros> {
        let failed = editions.iter().filter_map(|edition| Some(self.failed.get(edition.name())?.until));
        let sites = sites.iter().filter_map(|site| self.line(site)?.again_at());
        let failed = failed.chain(sites);
        let all = self.closed_until.iter().map(|(until, _)| *until);
        let waits = failed.chain(all).chain(self.unauthorized.iter().map(|(_, until)| *until));
        waits.map(|until| if is_ahead(until, now) { until } else { until.min(now) }).min()
    }

    /// Downloads begun on the UTC day of `now`.
    pub fn begun_today(&self, now: Micros) -> u32 {
        if self.day == day(now) { self.downloads } else { 0 }
    }

    /// A download begins. To be [saved](Attempts::save) before it does, or a crash forgets it.
    pub fn began(&mut self, now: Micros) {
        self.downloads = self.begun_today(now).saturating_add(1);
        self.day = day(now);
    }

    /// A download from a server, and its file.
    pub fn arrived(&mut self, edition: &Edition, from: &Fingerprint, remote: &Remote, file: Signature) {
        let Remote { last_modified, build_date } = *remote;
        let arrival = Arrival { from: from.clone(), last_modified, build_day: build_date.map(midnight), file };
        self.arrived.insert(edition.name().to_owned(), arrival);
    }

    /// Whether `file`, in the directory of downloads, is the server's present build. A server without such information
    /// cannot be recognized.
    pub fn has_arrived(&self, edition: &Edition, from: &Fingerprint, remote: &Remote, file: &Signature) -> bool {
        *remote != Remote::default()
            && self.arrived.get(edition.name()).is_some_and(|arrival| {
                (&arrival.from, &arrival.file) == (from, file)
                    && arrival.last_modified == remote.last_modified
                    && arrival.build_day == remote.build_date.map(midnight)
            })
    }

    /// It has arrived, or there was nothing newer.
    pub fn succeeded(&mut self, edition: &Edition) {
        self.failed.remove(edition.name());
        self.closed_until = None;
        self.unauthorized = None;
    }

    /// It has not.
    pub fn failed(&mut self, now: Micros, edition: &Edition, credentials: &Fingerprint, error: &DownloadError) {
        match error {
            DownloadError::NotModified => return self.succeeded(edition),
            // Fixed by a setting, which is read again each time.
            DownloadError::Setting(_) => return,
            DownloadError::Unauthorized => {
                self.unauthorized = Some((credentials.clone(), after(now, REFUSED)));
                return;
            }
            DownloadError::DailyLimit { retry_after } => {
                let until = retry_after.map_or(midnight_after(now), |wait| after(now, wait.max(BACK_OFF)));
                self.closed_until = Some((until, Closed::Limit));
                return;
            }
            _ => {}
        }
        let wait = |times| match error {
            DownloadError::Forbidden => (after(now, REFUSED), Closed::Forbidden),
            DownloadError::Http(404 | 410) => (after(now, REFUSED), Closed::Absent),
            _ => (after(now, back_off(times)), Closed::BackOff),
        };
        let failed = Failed::after(self.failed.get(edition.name()), now, wait, error, credentials.clone());
        self.failed.insert(edition.name().to_owned(), failed);
    }

    /// Whether a source is to be asked at `now`; `by` marks its present credentials. As for [`Attempts::may`].
    ///
    /// # Errors
    /// [`Wait`].
    pub fn may_ask(
        &self,
        now: Micros,
        site: &Site,
        forced: bool,
        by: impl FnOnce() -> Fingerprint,
    ) -> Result<(), Wait> {
        self.line(site).map_or(Ok(()), |line| line.may(now, forced, by))
    }

    /// Whether a source with a schedule of its own is due by it. `corrected`: so is one that a setting kept from being asked.
    pub fn is_due(&self, now: Micros, site: &Site, corrected: bool) -> bool {
        self.line(site).is_none_or(|line| line.is_due(now, site, corrected))
    }

    /// When the first source with a schedule of its own is due; `None`: there is none.
    pub fn due_at(&self, now: Micros, sites: &[Site]) -> Option<Micros> {
        let own = sites.iter().filter(|site| site.every().is_some());
        own.map(|site| self.line(site).map_or(0, |line| line.due_at(now, site))).min()
    }

    /// The last failure of a source, unless it gave something since.
    pub fn trouble(&self, site: &Site) -> Option<Wait> {
        self.line(site)?.trouble()
    }

    /// What is known of the file that a source gave last.
    pub fn known(&self, site: &Site) -> Option<&Known> {
        self.line(site)?.known()
    }

    /// A source is asked. To be [saved](Attempts::save) before.
    pub fn asks(&mut self, now: Micros, site: &Site) {
        let line = self.line(site).cloned().unwrap_or_else(|| Line::of(site));
        self.sites.insert(site.key(), line.asked(now));
        let name = site.name().name();
        match site.kind() {
            Kind::Database => self.is_at(name, site.host(), now),
            Kind::List => self.is_at(&format!("list {name}"), site.host(), now),
        }
    }

    /// A download begins, for those who wonder what takes so long.
    pub fn is_at(&mut self, what: &str, host: &str, now: Micros) {
        self.under_way = Some(UnderWay { what: what.to_owned(), host: host.to_owned(), since: now });
    }

    /// It has ended.
    pub fn is_done(&mut self) {
        self.under_way = None;
    }

    /// The download that has not ended, or whose process did not see its end.
    pub fn under_way(&self) -> Option<&UnderWay> {
        self.under_way.as_ref()
    }

    /// Forgets sources that are not set any more, unless they are to be left alone still: a setting may have been empty for
    /// a moment. Of those, a thousand.
    pub fn keep(&mut self, sites: &[Site], now: Micros) {
        let keys: Vec<String> = sites.iter().map(Site::key).collect();
        let mut room = MOST_UNSET;
        self.sites.retain(|key, line| {
            if keys.contains(key) {
                return true;
            }
            let kept = room > 0 && line.waits(now);
            room -= usize::from(kept);
            kept
        });
    }

    /// The outcome of that; an error with the mark of the credentials that it was for.
    pub fn told(&mut self, now: Micros, site: &Site, result: Result<Known, (&DownloadError, Fingerprint)>) {
        if let Some(line) = self.sites.get_mut(&site.key()) {
            match result {
                Ok(known) => line.succeeded(known),
                Err((error, by)) => line.failed(now, error, by),
            }
        }
    }

    /// Of the source as it is set now.
    fn line(&self, site: &Site) -> Option<&Line> {
        self.sites.get(&site.key()).filter(|line| line.is_of(site))
    }

    /// The content of the file. Without a file, nothing was tried. A file that cannot be read or parsed does not count
    /// as empty: the first attempt waits an hour.
    pub fn load(path: &Path, now: Micros) -> Attempts {
        let read = File::open(path).and_then(|file| {
            let mut bytes = Vec::new();
            file.take(MAX_LEDGER).read_to_end(&mut bytes)?;
            Ok(serde_json::from_slice(&bytes)?)
        });
        match read {
            Ok(attempts) => attempts,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Attempts::default(),
            Err(_) => Attempts { closed_until: Some((after(now, AFTER_LOSS), Closed::Lost)), ..Attempts::default() },
        }
    }

    /// Replaces the file in one step.
    ///
    /// # Errors
    /// When the directory cannot be written. No download should begin then: it would not be recorded.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        durable::replace(path, &serde_json::to_vec_pretty(self)?, None)
    }
}

fn day(at: Micros) -> i64 {
    at.div_euclid(DAY)
}

fn midnight_after(at: Micros) -> Micros {
    (day(at) + 1).saturating_mul(DAY)
}

#[cfg(test)]
mod tests;
