//! Why and how long no download is allowed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::DownloadError;
use super::fingerprint::Fingerprint;
use crate::text::{MAX_TEXT, clean};
use crate::time::Micros;

/// Downloads a UTC day: what MaxMind grants to the whole account.
pub const DAILY: u32 = 30;

pub(super) const SECOND: Micros = 1_000_000;
pub(super) const DAY: Micros = 86_400 * SECOND;

/// After the first failure; each further one in a row doubles it.
pub(super) const BACK_OFF: Duration = Duration::from_secs(10 * 60);
const MAX_BACK_OFF: Duration = Duration::from_secs(6 * 3600);

/// After a no: the account may have been changed, or the server may have been wrong.
pub(super) const REFUSED: Duration = Duration::from_secs(24 * 3600);

/// After a ledger that could not be read: wait, since its content is unknown.
pub(super) const AFTER_LOSS: Duration = Duration::from_secs(3600);

/// No wait here is longer. A longer one was written under a wrong clock.
const MAX_WAIT: Micros = 2 * DAY;

/// A file that could not be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failed {
    /// In a row.
    pub(super) times: u32,
    pub(super) until: Micros,
    pub(super) why: Closed,
    /// With whose credentials.
    pub(super) by: Fingerprint,
    /// When the first one in a row was; older versions did not write that down.
    #[serde(default)]
    pub(super) since: Option<Micros>,
    /// The last one in words, as for `since`.
    #[serde(default)]
    pub(super) cause: Option<Cause>,
}

/// A failure in words, for as long as it lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// As the log has it: without a secret, and of 255 bytes at most.
    pub text: String,
    /// Whether the host that was asked has a part in it.
    pub is_of_host: bool,
}

impl Failed {
    /// One more, after `last`.
    pub(super) fn after(
        last: Option<&Failed>,
        now: Micros,
        wait: impl FnOnce(u32) -> (Micros, Closed),
        error: &DownloadError,
        by: Fingerprint,
    ) -> Failed {
        let times = last.map_or(0, |last| last.times).saturating_add(1);
        let (until, why) = wait(times);
        let text = clean(&error.to_string(), MAX_TEXT).into_owned();
        let cause = Some(Cause { text, is_of_host: error.is_of_host() });
        Failed { times, until, why, by, since: last.map_or(Some(now), |last| last.since), cause }
    }

    pub(super) fn wait(&self) -> Wait {
        Wait { until: self.until, why: self.why, since: self.since, cause: self.cause.clone() }
    }
}

/// Why no download is allowed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Closed {
    /// Our own count.
    #[error("this server has begun {DAILY} downloads today")]
    Daily,
    /// 429.
    #[error("the account's daily download limit is reached")]
    Limit,
    /// The last attempt failed.
    #[error("the last download failed")]
    BackOff,
    /// The ledger could not be read.
    #[error("the record of earlier downloads was lost")]
    Lost,
    /// 401.
    #[error("the account or its licence key was refused")]
    Unauthorized,
    /// 403.
    #[error("the account may not download this edition")]
    Forbidden,
    /// 404.
    #[error("the server has no such edition")]
    Absent,
    /// 401 of a source beside MaxMind's.
    #[error("the credentials of this source were refused")]
    Credentials,
    /// 403 of one.
    #[error("the server refuses this file")]
    Denied,
    /// 404 of one.
    #[error("the server has no such file")]
    NoFile,
    /// 404 of the sum beside one.
    #[error("the server has no SHA-256 sum beside the file")]
    NoSum,
    /// 429 of one.
    #[error("the server wants to be left alone")]
    Busy,
    /// A setting kept one from being asked at all.
    #[error("the settings do not allow a request")]
    Setting,
    /// A reference in its URL did.
    #[error("a secret in the URL of this source cannot be read")]
    Secret,
}

impl Closed {
    /// A refusal, which time alone rarely changes.
    pub fn is_refusal(self) -> bool {
        matches!(
            self,
            Closed::Unauthorized
                | Closed::Forbidden
                | Closed::Absent
                | Closed::Credentials
                | Closed::Denied
                | Closed::NoFile
                | Closed::NoSum
        )
    }

    /// It says nothing of what happened.
    fn is_general(self) -> bool {
        matches!(self, Closed::BackOff | Closed::Setting | Closed::Secret)
    }

    /// Nobody was asked, so nobody wants to be left alone: it is tried again as soon as the cause may be gone.
    pub(super) fn is_before_asking(self) -> bool {
        matches!(self, Closed::Setting | Closed::Secret)
    }
}

/// The refusal of [`Attempts::may`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// When to ask again.
    pub until: Micros,
    /// Why.
    pub why: Closed,
    /// Since when it fails, where that is known.
    pub since: Option<Micros>,
    /// What happened, where that is known.
    pub cause: Option<Cause>,
}

impl Wait {
    /// Of a door that is closed for all, without a failure of its own.
    pub(super) fn new(until: Micros, why: Closed) -> Wait {
        Wait { until, why, since: None, cause: None }
    }

    /// Why, and what happened where that does not say it. `host` is named if it has a part in it.
    pub fn reason(&self, host: Option<&str>) -> String {
        let why = self.why;
        let Some(cause) = self.cause.as_ref().filter(|_| why.is_general()) else { return why.to_string() };
        match host.filter(|_| cause.is_of_host) {
            Some(host) => format!("{why}: {} ({host})", cause.text),
            None => format!("{why}: {}", cause.text),
        }
    }
}

/// The pause after so many failures in a row.
pub(super) fn back_off(times: u32) -> Duration {
    BACK_OFF.saturating_mul(1 << times.saturating_sub(1).min(16)).min(MAX_BACK_OFF)
}

/// Whether a wait is not over; no wait is longer than [`MAX_WAIT`]: it was dated by another clock.
pub(super) fn is_ahead(until: Micros, now: Micros) -> bool {
    (1..=MAX_WAIT).contains(&until.saturating_sub(now))
}

pub(super) fn after(at: Micros, wait: Duration) -> Micros {
    at.saturating_add(Micros::try_from(wait.as_micros()).unwrap_or(Micros::MAX))
}
