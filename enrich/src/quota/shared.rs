//! The spending of one quota by all databases of a server, in a file that outlives the server: an account counts all of
//! them together.
//!
//! Each database keeps its own [`Ledger`]; this file has a copy of each, by account. The others' spending in a window
//! is subtracted from the limit. A dropped database leaves its copy until the window ends: its spending still counts.
//! A database's table has the ledger of one account, the last that it asked with: those of keys from before are only
//! here, and count again if such a key is put back.
//!
//! A copy from beyond the next window was written under a clock that was far ahead. As in a [`Ledger`], it comes back to the
//! present: it counts until the window of now ends, and not for as long as it takes the clock to get there.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Ledger, Window};
use crate::durable;
use crate::secrets::Mark;
use crate::time::Micros;

/// How long one database waits for another that writes.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(5);
/// A file of 64 databases and a dozen accounts has some 10 kB.
const MOST_BYTES: u64 = 1 << 20;
/// Longer ago than any window.
const OLD: Micros = 32 * 86_400_000_000;

/// An account: whom to ask, and with which key. A hash; the key cannot be had from it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Account(String);

impl Account {
    /// Of a server and a key; `None`: without one.
    pub fn of(url: &str, key: Option<&Mark>) -> Account {
        let mut hash = Sha256::new();
        hash.update((url.len() as u64).to_le_bytes());
        hash.update(url);
        hash.update(key.map_or(&[][..], Mark::bytes));
        Account(hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }

    /// As a table has it; `None`: this is none.
    pub fn parse(text: &str) -> Option<Account> {
        (text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| Account(text.to_owned()))
    }

    /// For a table.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The spending of one database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Spent {
    /// When its window began.
    window_start: Micros,
    used: u64,
}

/// All of them, by account and database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Books(BTreeMap<Account, BTreeMap<u32, Spent>>);

impl Books {
    /// Brings all of them to `now`. True: one was from beyond the next window.
    fn roll(&mut self, now: Micros, window: Window) -> bool {
        let (start, end) = (window.start(now), window.end(now));
        let mut was_ahead = false;
        for databases in self.0.values_mut() {
            for spent in databases.values_mut().filter(|spent| spent.window_start > end) {
                (spent.window_start, was_ahead) = (start, true);
            }
            // By the clock of now: the window of one ledger may lie ahead of it.
            databases.retain(|_, spent| spent.window_start > start.saturating_sub(OLD));
        }
        self.0.retain(|_, databases| !databases.is_empty());
        was_ahead
    }

    /// The other databases' spending since the window of `now` began.
    fn by_others(&self, account: &Account, database: u32, now: Micros, window: Window) -> u64 {
        let others = self.0.get(account).into_iter().flatten().filter(|(other, _)| **other != database);
        let now = others.filter(|(_, spent)| spent.window_start >= window.start(now));
        now.fold(0u64, |sum, (_, spent)| sum.saturating_add(spent.used))
    }

    /// What a database itself has spent of an account.
    fn own(&self, account: &Account, database: u32) -> Ledger {
        let spent = self.0.get(account).and_then(|databases| databases.get(&database));
        spent.map_or_else(Ledger::default, |Spent { window_start, used }| Ledger {
            window_start: *window_start,
            used: *used,
            closed_until: None,
        })
    }

    fn put(&mut self, account: &Account, database: u32, ledger: &Ledger) {
        let Ledger { window_start, used, .. } = *ledger;
        self.0.entry(account.clone()).or_default().insert(database, Spent { window_start, used });
    }
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum NotSpent {
    /// There is less left than was asked for.
    #[error("other databases of this server have used up the quota")]
    Others,
    /// Another database is writing.
    #[error("another database of this server is writing {0}")]
    Busy(String),
    /// The file cannot be read, understood or written.
    #[error("{0}: {1}")]
    Io(String, io::Error),
}

/// The file.
#[derive(Clone, Debug)]
pub struct SharedQuota {
    path: PathBuf,
}

impl SharedQuota {
    /// In a directory that only this server's databases write to.
    pub fn new(directory: &Path) -> SharedQuota {
        SharedQuota { path: directory.join("quota.json") }
    }

    /// Where it is: its change is what another database's spending shows by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The other databases' spending of an account since the window of `now` began.
    ///
    /// # Errors
    /// [`NotSpent::Io`]; [`NotSpent::Busy`] where something from a clock that was ahead has to be written anew.
    pub fn by_others(&self, account: &Account, database: u32, now: Micros, window: Window) -> Result<u64, NotSpent> {
        let mut books = self.load()?;
        if books.roll(now, window) {
            // Written down, as it must end with this window even if nobody can spend anything until then.
            let _lock = self.lock()?;
            books = self.load()?;
            books.roll(now, window);
            self.save(&books).map_err(|error| self.failed(error))?;
        }
        Ok(books.by_others(account, database, now, window))
    }

    /// Writes down a database's spending, on disk, unless it is more than the others have left of `limit`. Giving back
    /// is always allowed: `limit` is `None` then. `now`: the wall clock.
    ///
    /// # Errors
    /// [`NotSpent`]; nothing is written then.
    pub fn spend(
        &self,
        account: &Account,
        database: u32,
        ledger: &Ledger,
        limit: Option<u64>,
        now: Micros,
        window: Window,
    ) -> Result<(), NotSpent> {
        let _lock = self.lock()?;
        let mut books = self.load()?;
        books.roll(now, window);
        let others = books.by_others(account, database, now, window);
        if limit.is_some_and(|limit| ledger.used.saturating_add(others) > limit) {
            return Err(NotSpent::Others);
        }
        books.put(account, database, ledger);
        self.save(&books).map_err(|error| self.failed(error))
    }

    /// The ledger of an account in a database whose table has this one, `kept`, with its account. One without an account
    /// is from before there was that column, and belongs to whoever asks first. Another account's is put away here, on
    /// disk, before it may be overwritten in the table: with its key it comes back. How long that was closed is not kept,
    /// but learned again.
    ///
    /// # Errors
    /// [`NotSpent::Io`] and [`NotSpent::Busy`]: the ledger is not known then.
    pub fn ledger_of(
        &self,
        account: &Account,
        database: u32,
        kept: Option<&(Option<Account>, Ledger)>,
        now: Micros,
        window: Window,
    ) -> Result<Ledger, NotSpent> {
        match kept {
            Some((of, ledger)) if of.as_ref().is_none_or(|of| of == account) => return Ok(*ledger),
            Some((Some(of), ledger)) => self.spend(of, database, ledger, None, now, window)?,
            _ => {}
        }
        Ok(self.load()?.own(account, database))
    }

    fn load(&self) -> Result<Books, NotSpent> {
        let read = File::open(&self.path).and_then(|file| {
            let mut bytes = Vec::new();
            file.take(MOST_BYTES).read_to_end(&mut bytes)?;
            Ok(serde_json::from_slice(&bytes)?)
        });
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Books::default()),
            read => read.map_err(|error| self.failed(error)),
        }
    }

    /// Replaces the file in one step.
    fn save(&self, books: &Books) -> io::Result<()> {
        durable::replace(&self.path, &serde_json::to_vec_pretty(books)?)
    }

    /// One database at a time. The lock ends with the process that holds it.
    fn lock(&self) -> Result<File, NotSpent> {
        let path = self.path.with_extension("lock");
        let open = || {
            self.path.parent().map_or(Ok(()), fs::create_dir_all)?;
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path)
        };
        let file = open().map_err(|error| self.failed(error))?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => return Err(NotSpent::Busy(self.path.display().to_string())),
                Err(TryLockError::Error(error)) => return Err(self.failed(error)),
            }
        }
    }

    fn failed(&self, error: io::Error) -> NotSpent {
        NotSpent::Io(self.path.display().to_string(), error)
    }
}

#[cfg(test)]
mod tests;
