//! Why and how long no download is allowed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;
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

    /// Nobody was asked, so nobody wants to be left alone: it is tried again as soon as the cause may be gone.
    pub(super) fn is_before_asking(self) -> bool {
        matches!(self, Closed::Setting | Closed::Secret)
    }
}

/// The refusal of [`Attempts::may`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// When to ask again.
    pub until: Micros,
    /// Why.
    pub why: Closed,
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
