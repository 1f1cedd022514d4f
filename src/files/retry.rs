//! When files are tried again that could not be opened: a process may have no descriptor left, or no memory, for a moment.

use std::time::{Duration, Instant};

/// The first pause; each further failure in a row doubles it, up to a minute: what is damaged for good costs little.
const FIRST: Duration = Duration::from_secs(1);

/// The failures in a row.
#[derive(Default)]
pub struct Retry {
    at: Option<Instant>,
    failures: u32,
}

impl Retry {
    /// Whether the last attempt failed, and it is time for another one.
    pub fn is_due(&self) -> bool {
        self.at.is_some_and(|at| at <= Instant::now())
    }

    /// Whether the last attempt failed.
    pub fn is_failing(&self) -> bool {
        self.at.is_some()
    }

    /// After an attempt: whether all was opened.
    pub fn note(&mut self, all: bool) {
        if all {
            *self = Retry::default();
            return;
        }
        self.at = Some(Instant::now() + FIRST.saturating_mul(1 << self.failures.min(6)));
        self.failures = self.failures.saturating_add(1);
    }
}
