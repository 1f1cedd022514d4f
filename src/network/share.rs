//! This database's share of a quota that all databases of the server have together: see [`enrich::quota::shared`].

use std::time::Instant;

use enrich::quota::shared::look::Look;
use enrich::quota::shared::{Account, Kept, NotSpent, SharedQuota};
use enrich::quota::{Ledger, Window};
use enrich::secrets::Mark;
use enrich::time::Micros;
use pgrx::pg_sys;

use crate::pg::time;
use crate::settings::place;

/// The part that the others have left.
pub struct Share {
    quota: SharedQuota,
    database: u32,
    account: Account,
    window: Window,
    look: Look,
}

impl Share {
    /// Of the worker of a database.
    pub fn new(database: pg_sys::Oid) -> Share {
        Share {
            quota: SharedQuota::new(&place::directory()),
            database: database.to_u32(),
            account: Account::of("", None),
            window: Window::Day,
            look: Look::default(),
        }
    }

    /// The key may be another one now, and so the account; the window of its quota, too.
    pub fn point(&mut self, url: &str, key: Option<&Mark>, window: Window) {
        let account = Account::of(url, key);
        self.window = window;
        if account != self.account {
            self.account = account;
            self.look.forget();
        }
    }

    /// The others' spending since the window of `now` began: see [`Look::by_others`].
    pub fn by_others(&mut self, now: Micros) -> u64 {
        self.look.by_others(&self.quota, &self.account, self.database, (now, Instant::now()), self.window)
    }

    /// Pays for questions: the ledger's amount is spent, unless it is more than `limit` less the others' spending.
    pub fn pay(&mut self, account: &Account, ledger: &Ledger, limit: u64) -> Result<(), NotSpent> {
        self.write(account, ledger, Some(limit))
    }

    /// The ledger of an account, where this database's table has `kept`: see [`SharedQuota::ledger_of`].
    pub fn ledger_of(&self, account: &Account, kept: Option<&Kept>) -> Result<Ledger, NotSpent> {
        self.quota.ledger_of(account, self.database, kept, time::now_unix_us(), self.window)
    }

    /// The ledger was read: the others learn of the spending from before this file. If it cannot be written now, it is
    /// written with the next question.
    pub fn tell(&mut self, account: &Account, ledger: &Ledger) {
        if ledger.used > 0 {
            let _ = self.write(account, ledger, None);
        }
    }

    /// The ledger changed in another way: returned quota is available to the others.
    pub fn note(&mut self, account: &Account, ledger: &Ledger) -> Result<(), NotSpent> {
        self.write(account, ledger, None)
    }

    fn write(&mut self, account: &Account, ledger: &Ledger, limit: Option<u64>) -> Result<(), NotSpent> {
        let now = time::now_unix_us();
        let written = self.quota.spend(account, self.database, ledger, limit, now, self.window);
        written.inspect_err(|_| self.look.forget())
    }
}
