//! This database's share of a quota that all databases of the server have together: see [`enrich::quota::shared`].

use std::time::{Duration, Instant, SystemTime};

use enrich::campaign::batch::Refusal;
use enrich::quota::shared::{Account, NotSpent, SharedQuota};
use enrich::quota::{Ledger, Window};
use enrich::secrets::Mark;
use enrich::time::Micros;
use pgrx::pg_sys;

use crate::pg::time;
use crate::settings::place;

/// How often it is looked whether others have spent.
const LOOK: Duration = Duration::from_secs(1);

/// The part that the others have left.
pub struct Share {
    quota: SharedQuota,
    database: u32,
    account: Account,
    window: Window,
    /// The others' spending at the last look.
    others: u64,
    looked: Option<(Instant, Micros)>,
    /// The account is known.
    pointed: bool,
    /// The file as it was then.
    seen: Option<(SystemTime, u64)>,
}

impl Share {
    /// Of the worker of a database.
    pub fn new(database: pg_sys::Oid) -> Share {
        Share {
            quota: SharedQuota::new(&place::directory()),
            database: database.to_u32(),
            account: Account::of("", None),
            window: Window::Day,
            others: 0,
            looked: None,
            pointed: false,
            seen: None,
        }
    }

    /// The key may be another one now, and so the account; the window of its quota, too.
    pub fn point(&mut self, url: &str, key: Option<&Mark>, window: Window) {
        let account = Account::of(url, key);
        (self.pointed, self.window) = (true, window);
        if account != self.account {
            self.account = account;
            self.forget();
        }
    }

    /// The others' spending since the window of `now` began. If the file cannot be read, the last known value counts:
    /// nothing is paid without the file.
    pub fn by_others(&mut self, now: Micros) -> u64 {
        let window_start = self.window.start(now);
        let fresh = |(at, window): &(Instant, Micros)| *window == window_start && at.elapsed() < LOOK;
        if self.looked.as_ref().is_some_and(fresh) {
            return self.others;
        }
        let other_window = self.looked.is_none_or(|(_, window)| window != window_start);
        self.looked = Some((Instant::now(), window_start));
        let file = std::fs::metadata(self.quota.path()).ok();
        let state = file.and_then(|file| Some((file.modified().ok()?, file.len())));
        if (other_window || state != self.seen)
            && let Ok(others) = self.quota.by_others(&self.account, self.database, now, self.window)
        {
            (self.others, self.seen) = (others, state);
        }
        self.others
    }

    /// Pays for questions: the ledger's amount is spent, unless it is more than `limit` less the others' spending.
    pub fn pay(&mut self, ledger: &Ledger, limit: u64) -> Result<(), Refusal> {
        self.write(ledger, Some(limit))
    }

    /// The ledger was read: the others learn of the spending from before this file. If it cannot be written now, it is
    /// written with the next question.
    pub fn tell(&mut self, ledger: &Ledger) {
        if self.pointed && ledger.used > 0 {
            let _ = self.write(ledger, None);
        }
    }

    /// The ledger changed in another way: returned quota is available to the others.
    pub fn note(&mut self, ledger: &Ledger) -> Result<(), Refusal> {
        self.write(ledger, None)
    }

    fn write(&mut self, ledger: &Ledger, limit: Option<u64>) -> Result<(), Refusal> {
        let now = time::now_unix_us();
        let written = self.quota.spend(&self.account, self.database, ledger, limit, now, self.window);
        written.map_err(|reason| {
            self.forget();
            Refusal { lock: matches!(reason, NotSpent::Busy(_) | NotSpent::Others), message: reason.to_string() }
        })
    }

    fn forget(&mut self) {
        (self.looked, self.seen) = (None, None);
    }
}
