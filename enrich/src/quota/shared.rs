//! The spending of one quota by all databases of a server, in a file that outlives the server: an account counts all of
//! them together.
//!
//! Each database keeps its own [`Ledger`]; this file has a copy of each, by account. The others' spending in a window
//! is subtracted from the limit. A dropped database leaves its copy until the window ends: its spending still counts.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Ledger;
use crate::durable;
use crate::secrets::Mark;
use crate::time::Micros;

/// How long one database waits for another that writes.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(5);
/// A file of 64 databases and a dozen accounts has some 10 kB.
const MOST_BYTES: u64 = 1 << 20;
/// Older than any window.
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
    /// The other databases' spending since `window_start`.
    fn by_others(&self, account: &Account, database: u32, window_start: Micros) -> u64 {
        let others = self.0.get(account).into_iter().flatten().filter(|(other, _)| **other != database);
        let now = others.filter(|(_, spent)| spent.window_start >= window_start);
        now.fold(0u64, |sum, (_, spent)| sum.saturating_add(spent.used))
    }

    fn put(&mut self, account: &Account, database: u32, ledger: &Ledger) {
        let Ledger { window_start, used, .. } = *ledger;
        for databases in self.0.values_mut() {
            databases.retain(|_, spent| spent.window_start > window_start.saturating_sub(OLD));
        }
        self.0.retain(|_, databases| !databases.is_empty());
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

    /// The other databases' spending of an account since `window_start`.
    ///
    /// # Errors
    /// [`NotSpent::Io`].
    pub fn by_others(&self, account: &Account, database: u32, window_start: Micros) -> Result<u64, NotSpent> {
        Ok(self.load()?.by_others(account, database, window_start))
    }

    /// Writes down a database's spending, on disk, unless it is more than the others have left of `limit`. Giving back
    /// is always allowed: `limit` is `None` then.
    ///
    /// # Errors
    /// [`NotSpent`]; nothing is written then.
    pub fn spend(&self, account: &Account, database: u32, ledger: &Ledger, limit: Option<u64>) -> Result<(), NotSpent> {
        let _lock = self.lock()?;
        let mut books = self.load()?;
        let others = books.by_others(account, database, ledger.window_start);
        if limit.is_some_and(|limit| ledger.used.saturating_add(others) > limit) {
            return Err(NotSpent::Others);
        }
        books.put(account, database, ledger);
        self.save(&books).map_err(|error| self.failed(error))
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
mod tests {
    use super::*;

    const DAY: Micros = 86_400_000_000;

    fn ledger(window_start: Micros, used: u64) -> Ledger {
        Ledger { window_start, used, closed_until: None }
    }

    fn shared() -> (tempfile::TempDir, SharedQuota, Account) {
        let dir = tempfile::tempdir().expect("a directory");
        let shared = SharedQuota::new(&dir.path().join("below"));
        (dir, shared, Account::of("https://api.example", None))
    }

    #[test]
    fn three_databases_spend_one_limit() {
        let (_dir, shared, account) = shared();
        assert_eq!(shared.by_others(&account, 1, DAY).expect("read"), 0);
        shared.spend(&account, 1, &ledger(DAY, 4), Some(10)).expect("4 of 10");
        shared.spend(&account, 2, &ledger(DAY, 5), Some(10)).expect("9 of 10");
        assert!(matches!(shared.spend(&account, 3, &ledger(DAY, 2), Some(10)), Err(NotSpent::Others)));
        shared.spend(&account, 3, &ledger(DAY, 1), Some(10)).expect("10 of 10");
        assert!(matches!(shared.spend(&account, 1, &ledger(DAY, 5), Some(10)), Err(NotSpent::Others)));
        assert_eq!(shared.by_others(&account, 1, DAY).expect("read"), 6);
        // Given back, it is there for the others.
        shared.spend(&account, 2, &ledger(DAY, 3), None).expect("given back");
        shared.spend(&account, 1, &ledger(DAY, 6), Some(10)).expect("10 of 10");
        // A limit that was lowered stops all, and giving back goes on.
        assert!(matches!(shared.spend(&account, 1, &ledger(DAY, 7), Some(5)), Err(NotSpent::Others)));
        shared.spend(&account, 1, &ledger(DAY, 5), None).expect("given back");
    }

    #[test]
    fn windows_and_accounts_are_told_apart() {
        let (_dir, shared, account) = shared();
        let other = Account::of("https://other.example", None);
        shared.spend(&account, 1, &ledger(DAY, 10), Some(10)).expect("all of it");
        shared.spend(&other, 2, &ledger(DAY, 10), Some(10)).expect("of another account");
        shared.spend(&account, 2, &ledger(2 * DAY, 10), Some(10)).expect("the next day");
        assert_eq!(shared.by_others(&account, 1, 2 * DAY).expect("read"), 10);
        // Old entries are removed.
        shared.spend(&account, 2, &ledger(90 * DAY, 1), Some(10)).expect("months later");
        assert_eq!(shared.by_others(&account, 1, 0).expect("read"), 1);
        assert_eq!(shared.by_others(&other, 1, 0).expect("read"), 0);
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_empty() {
        let (_dir, shared, account) = shared();
        shared.spend(&account, 1, &ledger(DAY, 10), Some(10)).expect("written");
        fs::write(shared.path(), b"{\"cut").expect("broken");
        assert!(matches!(shared.spend(&account, 2, &ledger(DAY, 1), Some(10)), Err(NotSpent::Io(..))));
        assert!(shared.by_others(&account, 2, DAY).is_err());
    }

    #[test]
    fn databases_that_spend_at_once_never_spend_more_than_there_is() {
        let (_dir, shared, account) = shared();
        let spend = |database: u32| {
            let mut used = 0;
            for _ in 0..50 {
                if shared.spend(&account, database, &ledger(DAY, used + 1), Some(40)).is_ok() {
                    used += 1;
                }
            }
            used
        };
        let all: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..=4).map(|database| scope.spawn(move || spend(database))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(all, 40);
    }
}
