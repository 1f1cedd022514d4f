//! When the reference of a key is read, and read again.
//!
//! Settings are read at a start and at a reload, but keys change and come at other times: a Vault server that starts
//! after the database, a file that is mounted late, a key that was replaced because it had leaked. So an unreadable key
//! is tried again with growing pauses, a file is read again when it changed, and the place of a refused key is read
//! from time to time for another one. Pure: the caller passes the time, and the result of a look.

use std::time::{Duration, Instant};

use super::{Mark, Reference, Secret, SecretError};
use crate::stamp::Stamp;

#[cfg(test)]
mod tests;

/// Before the first repeat of a look that may work at any moment; then twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Before the first repeat of a look that needs a fix.
const MENDING_PAUSE: Duration = Duration::from_secs(60);
/// No pause is longer. A program that is run may cost money.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A refused key's reference is read no sooner after it was last read.
const REFUSED_PAUSE: Duration = Duration::from_secs(300);
/// How often the file that a reference names is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// One key: its state, and the time of the next look.
#[derive(Debug, Default)]
pub struct Keeper {
    reference: Option<Reference>,
    key: Option<Secret>,
    trouble: Option<SecretError>,
    failures: u32,
    read_at: Option<Instant>,
    again_at: Option<Instant>,
    /// The key that the service refuses; without a key: that it refuses requests without one.
    refused: Option<Option<Mark>>,
    /// The file as it was when it was last read.
    file: Stamp,
    look_at: Option<Instant>,
}

impl Keeper {
    /// Settings were read: the key must be read from there now. The known key counts until that is done; without a
    /// reference there is no key. A refused key may be tried once more.
    pub fn point(&mut self, reference: Option<Reference>) {
        if reference.is_none() {
            *self = Keeper::default();
            return;
        }
        self.reference = reference;
        self.refused = None;
        self.failures = 0;
        self.again_at = None;
        self.look_at = None;
    }

    /// Where the key stands.
    pub fn reference(&self) -> Option<&Reference> {
        self.reference.as_ref()
    }

    /// A look begins: it reads the present file.
    pub fn begin(&mut self) {
        self.again_at = None;
        if let Some(Reference::File(path)) = &self.reference {
            self.file = Stamp::of(path);
        }
    }

    /// The result of a look. A key that cannot be read for the moment stays; a removed key is removed.
    pub fn took(&mut self, found: Result<Secret, SecretError>, now: Instant) {
        self.read_at = Some(now);
        match found {
            Ok(key) => {
                self.key = Some(key);
                self.trouble = None;
                self.failures = 0;
                self.again_at = self.is_refused().then(|| now + REFUSED_PAUSE);
            }
            Err(error) => {
                if !error.is_transient() {
                    self.key = None;
                }
                self.again_at = self.pause(&error).map(|pause| now + pause);
                self.failures = self.failures.saturating_add(1);
                self.trouble = Some(error);
            }
        }
    }

    /// How long to wait after a failure; `None`: nothing will change by waiting.
    fn pause(&self, error: &SecretError) -> Option<Duration> {
        let first = match error.reference() {
            // The environment of a process stays as at its start.
            Reference::Env(_) => return None,
            _ if error.is_transient() => FIRST_PAUSE,
            _ => MENDING_PAUSE,
        };
        Some(first.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE))
    }

    /// The service does not accept the key. Another one may already stand in its place.
    pub fn refuse(&mut self, now: Instant) {
        self.refused = Some(self.key.as_ref().map(Secret::mark));
        if self.reference.is_some() {
            let soonest = self.read_at.map_or(now, |at| at + REFUSED_PAUSE);
            self.again_at = Some(soonest.max(now));
        }
    }

    /// Whether the key that is known is the one that was refused.
    pub fn is_refused(&self) -> bool {
        self.refused.is_some() && self.refused == Some(self.key.as_ref().map(Secret::mark))
    }

    /// Whether the reference is to be read again now. Looks at the file that it names, if it names one, every few
    /// seconds.
    pub fn is_due(&mut self, now: Instant) -> bool {
        if let Some(Reference::File(path)) = &self.reference
            && self.read_at.is_some()
            && self.look_at.is_none_or(|at| now >= at)
        {
            self.look_at = Some(now + LOOK);
            if Stamp::of(path) != self.file {
                return true;
            }
        }
        self.again_at.is_some_and(|at| now >= at)
    }

    /// When it is next to be read, unless a file changes before.
    pub fn again_at(&self) -> Option<Instant> {
        self.again_at
    }

    /// The key.
    pub fn key(&self) -> Option<&Secret> {
        self.key.as_ref()
    }

    /// Why there is none, or no newer one.
    pub fn trouble(&self) -> Option<&SecretError> {
        self.trouble.as_ref()
    }
}
