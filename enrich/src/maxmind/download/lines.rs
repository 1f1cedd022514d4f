//! What the ledger keeps of each source beside MaxMind's: none of them closes another one, and none spends an account.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::closed::{BACK_OFF, Closed, Failed, REFUSED, Wait, after, back_off, is_ahead};
use super::error::DownloadError;
use super::fingerprint::Fingerprint;
use super::pull::Known;
use super::site::Site;
use crate::time::Micros;

/// How often it is looked whether a source that was refused has other keys, at most; and whether a setting or a secret that
/// keeps one from being asked was corrected, at least.
const LOOK: Duration = Duration::from_secs(3600);

/// One source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    /// For people who read the file.
    host: String,
    /// Of the setting's entry: another one is another source.
    entry: String,
    /// When it was last asked.
    asked: Micros,
    #[serde(default)]
    failed: Option<Failed>,
    #[serde(default)]
    known: Option<Known>,
}

impl Line {
    pub(super) fn of(site: &Site) -> Line {
        Line { host: site.host().to_owned(), entry: site.mark().to_owned(), asked: 0, failed: None, known: None }
    }

    pub(super) fn is_of(&self, site: &Site) -> bool {
        self.entry == site.mark()
    }

    pub(super) fn known(&self) -> Option<&Known> {
        self.known.as_ref()
    }

    pub(super) fn asked(self, now: Micros) -> Line {
        Line { asked: now, ..self }
    }

    pub(super) fn trouble(&self) -> Option<Wait> {
        self.failed.as_ref().map(Failed::wait)
    }

    /// When it is to be asked again after a failure.
    pub(super) fn again_at(&self) -> Option<Micros> {
        self.failed.as_ref().map(|failed| failed.until)
    }

    /// Whether it is to be left alone still.
    pub(super) fn waits(&self, now: Micros) -> bool {
        self.again_at().is_some_and(|until| is_ahead(until, now))
    }

    pub(super) fn may(&self, now: Micros, forced: bool, by: impl FnOnce() -> Fingerprint) -> Result<(), Wait> {
        let Some(failed) = self.failed.as_ref().filter(|_| !forced) else { return Ok(()) };
        let ahead = is_ahead(failed.until, now) && !failed.why.is_before_asking();
        // Another key in the same place is worth a try.
        if ahead && (!failed.why.is_refusal() || failed.by == by()) {
            return Err(failed.wait());
        }
        Ok(())
    }

    /// When it is worth a look: by its own schedule; after a failure, when it may be asked again. What was refused may have
    /// other keys by then, which only a look tells.
    pub(super) fn due_at(&self, now: Micros, site: &Site) -> Micros {
        let every = site.every().unwrap_or_default();
        // Asked under a clock that was ahead: now. But a wait that counts still is one.
        let due = if self.asked > now { 0 } else { after(self.asked, every) };
        match &self.failed {
            None => due,
            Some(failed) if !is_ahead(failed.until, now) => due.min(failed.until),
            Some(failed) if failed.why.is_refusal() => {
                let asked = self.asked.min(now);
                let look = i64::try_from(every.max(LOOK).as_micros()).unwrap_or(i64::MAX);
                let looks = now.saturating_sub(asked) / look;
                asked.saturating_add(look.saturating_mul(looks.saturating_add(1))).min(failed.until)
            }
            Some(failed) => failed.until,
        }
    }

    /// By its own schedule, or sooner after a failure. `corrected`: a setting or a secret may have been that kept it from
    /// being asked.
    pub(super) fn is_due(&self, now: Micros, site: &Site, corrected: bool) -> bool {
        if corrected && self.failed.as_ref().is_some_and(|failed| failed.why.is_before_asking()) {
            return true;
        }
        let due = site.every().map_or(0, |every| after(self.asked, every));
        // Or asked under a clock that was ahead.
        now >= self.again_at().map_or(due, |again| again.min(due)) || self.asked > now
    }

    pub(super) fn succeeded(&mut self, known: Known) {
        self.failed = None;
        self.known = Some(known);
    }

    pub(super) fn failed(&mut self, now: Micros, error: &DownloadError, by: Fingerprint) {
        let wait = |times| match error {
            DownloadError::Setting(_) => (back_off(times).min(LOOK), Closed::Setting),
            // Whoever holds it, an agent or a program, may be back at any time.
            DownloadError::Secret(_) => (back_off(times).min(LOOK), Closed::Secret),
            DownloadError::Credentials => (REFUSED, Closed::Credentials),
            DownloadError::Denied => (REFUSED, Closed::Denied),
            DownloadError::Http(404 | 410) => (REFUSED, Closed::NoFile),
            DownloadError::NoSum(_) => (REFUSED, Closed::NoSum),
            DownloadError::Busy { retry_after } => {
                (retry_after.map_or(back_off(times), |wait| wait.max(BACK_OFF)), Closed::Busy)
            }
            _ => (back_off(times), Closed::BackOff),
        };
        let until = |times| {
            let (wait, why) = wait(times);
            (after(now, wait), why)
        };
        self.failed = Some(Failed::after(self.failed.as_ref(), now, until, error, by));
    }
}

#[cfg(test)]
mod tests;
