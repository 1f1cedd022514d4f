//! The others' spending, which is read again when the file changes, or a window begins.

use std::time::{Duration, Instant, SystemTime};

use super::{Account, SharedQuota};
use crate::quota::Window;
use crate::time::Micros;

/// How often it is looked whether others have spent.
const LOOK: Duration = Duration::from_secs(1);

/// What was seen.
#[derive(Debug, Default)]
pub struct Look {
    /// The others' spending, when it could last be read.
    others: u64,
    /// The window that this is of; `None`: it is to be read.
    read_in: Option<Micros>,
    /// The file as it was then.
    seen: Option<(SystemTime, u64)>,
    /// The last look, and the window of it.
    looked: Option<(Instant, Micros)>,
}

impl Look {
    /// The others' spending since the window of `now` began; `at`: the steady clock. If the file cannot be read, the last
    /// known value counts until the next look: nothing is paid without the file.
    pub fn by_others(
        &mut self,
        quota: &SharedQuota,
        account: &Account,
        database: u32,
        (now, at): (Micros, Instant),
        window: Window,
    ) -> u64 {
        let start = window.start(now);
        let is_fresh = |(looked, of): &(Instant, Micros)| *of == start && at.saturating_duration_since(*looked) < LOOK;
        if self.looked.as_ref().is_some_and(is_fresh) {
            return self.others;
        }
        self.looked = Some((at, start));
        let file = std::fs::metadata(quota.path()).ok();
        let state = file.and_then(|file| Some((file.modified().ok()?, file.len())));
        if self.read_in != Some(start) || state != self.seen {
            match quota.by_others(account, database, now, window) {
                Ok(others) => (self.others, self.read_in, self.seen) = (others, Some(start), state),
                // Those of the window before do not count in this one: it is read at the next look, also if the file stays as it is.
                Err(_) => self.read_in = None,
            }
        }
        self.others
    }

    /// It is read at the next look.
    pub fn forget(&mut self) {
        (self.looked, self.read_in) = (None, None);
    }
}
