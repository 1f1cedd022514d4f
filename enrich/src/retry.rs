//! When to ask a source again that does not answer: its circuit breaker. The retry time of a single row is computed where
//! the row is written, in SQL.
//!
//! It is our own, although libraries exist: those read the clock themselves, and keep their state to themselves. Here
//! time comes in as a value, so a test spans hours in no time, and the state of a breaker is shown in `source_status`.
//!
//! A clock that jumps back must not leave a breaker open until it catches up: what began in the future is over.

use std::fmt;

use crate::time::Micros;

#[cfg(test)]
mod tests;

/// Transient failures in a row that open a breaker.
const TOLERATED: u32 = 5;
const FIRST_PAUSE: Micros = 30_000_000;
const LONGEST_PAUSE: Micros = 15 * 60_000_000;

/// After this, a probe without a reported outcome counts as lost, and another may start.
const PROBE_LOST: Micros = 60_000_000;

/// How a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// The source is asked.
    Closed,
    /// It is left alone.
    Open,
    /// One request may find out whether it is back.
    HalfOpen,
}

impl BreakerState {
    /// The word that stands in the views.
    pub const fn as_str(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        }
    }
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Leaves a source alone that does not answer, and looks from time to time whether it is back: after 30 seconds, then
/// after twice as long each time, at most 15 minutes.
///
/// Only transient failures are its business: a refused key or a used-up quota is an answer of a source that works.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    failures: u32,
    pause: Option<Pause>,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    since: Micros,
    length: Micros,
    /// When the request went out that is to find out whether the source is back.
    probe: Option<Micros>,
}

impl Breaker {
    /// A request goes out. In the half-open state the first one is the probe: report its outcome by
    /// [`success`](Self::success) or [`failure`](Self::failure).
    pub fn sent(&mut self, now: Micros) {
        let admitted = self.admits(now);
        if let (true, Some(pause)) = (admitted, &mut self.pause) {
            pause.probe = Some(now);
        }
    }

    /// Whether a request may go out; if one does, say that it was [`sent`](Self::sent).
    pub fn admits(&self, now: Micros) -> bool {
        match (self.state(now), self.pause) {
            (BreakerState::HalfOpen, Some(pause)) => !pause.probe.is_some_and(|sent| within(now, sent, PROBE_LOST)),
            (state, _) => state == BreakerState::Closed,
        }
    }

    /// The source answered.
    pub fn success(&mut self) {
        *self = Breaker::default();
    }

    /// A request failed, and trying again may help.
    pub fn failure(&mut self, now: Micros) {
        self.failures = self.failures.saturating_add(1);
        let length = match (self.state(now), self.pause) {
            // Requests that were under way when the breaker opened: no news.
            (BreakerState::Open, _) => return,
            (BreakerState::HalfOpen, Some(pause)) => (pause.length * 2).min(LONGEST_PAUSE),
            _ if self.failures >= TOLERATED => FIRST_PAUSE,
            _ => return,
        };
        self.pause = Some(Pause { since: now, length, probe: None });
    }

    /// How the breaker stands at `now`.
    pub fn state(&self, now: Micros) -> BreakerState {
        match self.pause {
            None => BreakerState::Closed,
            Some(pause) if within(now, pause.since, pause.length) => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// When the source may be tried again; `None` if the breaker is closed.
    pub fn retry_at(&self) -> Option<Micros> {
        self.pause.map(|pause| pause.since.saturating_add(pause.length))
    }
}

/// Whether `now` lies in the time of `length` from `since` on. Before `since` it does not.
fn within(now: Micros, since: Micros, length: Micros) -> bool {
    (since..since.saturating_add(length)).contains(&now)
}
