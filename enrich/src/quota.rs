//! The ledger of a source's quota: how much of a day or a week is used, and until when the source is closed.
//!
//! Pure: the time and the limit come in with every call, and the result is one row of `source_quota`, so the ledger
//! survives restarts and a changed limit holds at once. Windows are UTC; weeks begin on Monday 00:00.
//!
//! Clocks jump. Of a ledger whose window lies ahead of the clock one of two things is true:
//! - The clock was set back a little. The used part stays used until the clock reaches the window again: to begin the
//!   old window again, and then this one, would spend it twice.
//! - The clock had been far ahead. The ledger comes back to the present, but keeps the used part until the window ends;
//!   to wait until the clock reaches that far window would close the source for good.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Micros;

pub mod shared;
#[cfg(test)]
mod tests;

const DAY: Micros = 86_400_000_000;

/// The longest a source may close us: more than a month is a mistake of one of the two clocks.
pub const MAX_CLOSED: Duration = Duration::from_secs(32 * 86_400);

/// The shortest: `Retry-After: 0` on every answer must not become a busy loop.
const MIN_CLOSED: Duration = Duration::from_secs(1);

/// The first closure by a source that does not say for how long.
const FIRST_STEP: Duration = Duration::from_secs(60);

/// The window of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    /// From midnight UTC.
    Day,
    /// From Monday, midnight UTC.
    Week,
}

impl Window {
    /// The word that stands in settings and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Window::Day => "day",
            Window::Week => "week",
        }
    }

    const fn length(self) -> Micros {
        match self {
            Window::Day => DAY,
            Window::Week => 7 * DAY,
        }
    }

    /// When the window that holds `now` began.
    pub fn start(self, now: Micros) -> Micros {
        let since = match self {
            Window::Day => now.rem_euclid(DAY),
            // The epoch was a Thursday: three days after a Monday.
            Window::Week => (now.rem_euclid(7 * DAY) + 3 * DAY).rem_euclid(7 * DAY),
        };
        now.saturating_sub(since)
    }

    /// When the window that holds `now` ends, and the next begins.
    pub fn end(self, now: Micros) -> Micros {
        self.start(now).saturating_add(self.length())
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Not the name of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a quota window is \"day\" or \"week\"")]
pub struct UnknownWindow;

impl FromStr for Window {
    type Err = UnknownWindow;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "day" => Ok(Window::Day),
            "week" => Ok(Window::Week),
            _ => Err(UnknownWindow),
        }
    }
}

/// The questions to a source in its window, and whether it refuses more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// When the window of `used` began. The default, the epoch, is a window long past.
    pub window_start: Micros,
    /// Asked, or reserved to be asked, in that window. May exceed a limit that was lowered.
    pub used: u64,
    /// Not asked before this, even if quota is left.
    pub closed_until: Option<Micros>,
}

impl Ledger {
    /// Brings the ledger to `now`: a past window is over, a past closure is removed, and times in the future from a
    /// wrong clock are brought within reach.
    pub fn roll(&mut self, now: Micros, window: Window) {
        let start = window.start(now);
        if start > self.window_start {
            self.window_start = start;
            self.used = 0;
        } else if self.window_start > window.end(now) {
            self.window_start = start;
        }
        if let Some(until) = self.closed_until {
            if until <= now {
                self.closed_until = None;
            } else if until > after(now, MAX_CLOSED) {
                self.closed_until = Some(window.end(now));
            }
        }
    }

    /// How many questions may still be asked at `now`. None while closed.
    pub fn left(&self, limit: u64, now: Micros, window: Window) -> u64 {
        let rolled = self.rolled(now, window);
        if rolled.closed_until.is_some() { 0 } else { limit.saturating_sub(rolled.used) }
    }

    /// Reserves up to `n` questions and says how many: store the ledger before they are asked, so that a crash loses
    /// some of the quota and never overspends it.
    pub fn take(&mut self, n: u64, limit: u64, now: Micros, window: Window) -> u64 {
        self.roll(now, window);
        let granted = n.min(self.left(limit, now, window));
        self.used = self.used.saturating_add(granted);
        granted
    }

    /// Takes back the reserved questions, from the window that began at `paid_in`, that were never asked. A window that
    /// has ended since does not need them, and the present one was not charged.
    pub fn give_back(&mut self, n: u64, paid_in: Micros, now: Micros, window: Window) {
        self.roll(now, window);
        if self.window_start == paid_in {
            self.used = self.used.saturating_sub(n);
        }
    }

    /// The source says that the quota is used up: closed for as long as it asks (a second to [`MAX_CLOSED`]). Where it
    /// does not say, it may be a limit of a minute as well as one of a day, so it is asked again after a minute, and for
    /// each of the `before` times in a row that it said so before, after twice as long; at the window's end at the
    /// latest. Of several such answers the latest end counts; those without one that arrive while it is closed are
    /// about the same closure.
    pub fn close(&mut self, retry_after: Option<Duration>, before: u32, now: Micros, window: Window) {
        self.roll(now, window);
        let until = match retry_after {
            Some(wait) => after(now, wait.clamp(MIN_CLOSED, MAX_CLOSED)),
            None if self.closed_until.is_some() => return,
            None => {
                let step = FIRST_STEP.saturating_mul(1 << before.min(16)).min(MAX_CLOSED);
                after(now, step).min(self.reset_at(now, window).max(after(now, MIN_CLOSED)))
            }
        };
        self.closed_until = self.closed_until.max(Some(until));
    }

    /// It should be asked again now, in spite of its own answer. True: it was closed.
    pub fn reopen(&mut self) -> bool {
        self.closed_until.take().is_some()
    }

    /// When counting starts again.
    pub fn reset_at(&self, now: Micros, window: Window) -> Micros {
        window.end(self.rolled(now, window).window_start)
    }

    /// From when on something may be asked: `now` if it may be now.
    pub fn open_at(&self, limit: u64, now: Micros, window: Window) -> Micros {
        let rolled = self.rolled(now, window);
        let refilled = if rolled.used < limit { now } else { rolled.reset_at(now, window) };
        refilled.max(rolled.closed_until.unwrap_or(now))
    }

    fn rolled(mut self, now: Micros, window: Window) -> Ledger {
        self.roll(now, window);
        self
    }
}

fn after(now: Micros, wait: Duration) -> Micros {
    now.saturating_add(Micros::try_from(wait.as_micros()).unwrap_or(Micros::MAX))
}
