//! The spending of one quota by all databases of a server, in a file that outlives the server: an account counts all of
//! them together.
//!
//! Each database keeps its own [`Ledger`]; this file has a copy of each, by account. The others' spending in a window
//! is subtracted from the limit. A dropped database leaves its copy until the window ends: its spending still counts.
//! A database's table has the ledger of one account, the last that it asked with: those of keys from before are only
//! here, and count again if such a key is put back.
//!
//! Of the table and the file the one counts that has more: a restored dump brings an old row, and gives nothing back. A row that came
//! with a copy of another database of this server counts there.
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

pub mod look;

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
        let url = server(url);
        let mut hash = Sha256::new();
        hash.update((url.len() as u64).to_le_bytes());
        hash.update(&url);
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

/// One text for all spellings of an address: another slash at the end or another case of the host is no other account.
fn server(url: &str) -> String {
    let url = url.trim().trim_end_matches('/');
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
    let host = if scheme == "https" { host.strip_suffix(":443").unwrap_or(&host) } else { &host };
    format!("{scheme}://{host}{path}")
}

/// Which database wrote a row of `source_quota`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The one that reads it.
    Own,
    /// Another one of this server: the row came with a copy.
    Other(u32),
    /// One of another server, or the row does not say.
    Unknown,
}

/// The row of `source_quota`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Whose quota it is; `None`: from before there was that column, and of whoever asks first.
    pub account: Option<Account>,
    /// How much of it is used.
    pub ledger: Ledger,
    /// Who wrote it.
    pub writer: Writer,
}

/// The spending of one database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Spent {
    /// When its window began.
    window_start: Micros,
    used: u64,
    /// How long that is; 0.2.0 does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    window: Option<Window>,
}

impl Spent {
    /// Has it count in a window of another length, if its own is not over: a day may have all of what was spent in its
    /// week, and too much is the safe side. True: it has changed.
    fn adopt(&mut self, now: Micros, window: Window) -> bool {
        let Some(of) = self.window.filter(|of| *of != window) else { return false };
        if of.end(self.window_start) > now {
            self.window_start = self.window_start.max(window.start(now));
        }
        self.window = Some(window);
        true
    }
}

/// All of them, by account and database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Books(BTreeMap<Account, BTreeMap<u32, Spent>>);

impl Books {
    /// Brings all of them to `now`. True: one was from beyond the next window, or from a window of another length.
    fn roll(&mut self, now: Micros, window: Window) -> bool {
        let (start, end) = (window.start(now), window.end(now));
        let mut changed = false;
        for databases in self.0.values_mut() {
            for spent in databases.values_mut() {
                if spent.window_start > end {
                    (spent.window_start, changed) = (start, true);
                }
                changed |= spent.adopt(now, window);
            }
            // By the clock of now: the window of one ledger may lie ahead of it.
            databases.retain(|_, spent| spent.window_start > start.saturating_sub(OLD));
        }
        self.0.retain(|_, databases| !databases.is_empty());
        changed
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
        spent.map_or_else(Ledger::default, |Spent { window_start, used, .. }| Ledger {
            window_start: *window_start,
            used: *used,
            closed_until: None,
        })
    }

    /// Whether a database has an entry of an account: then that counts.
    fn has(&self, account: &Account, database: u32) -> bool {
        self.0.get(account).is_some_and(|databases| databases.contains_key(&database))
    }

    fn put(&mut self, account: &Account, database: u32, ledger: &Ledger, window: Window) {
        let Ledger { window_start, used, .. } = *ledger;
        let spent = Spent { window_start, used, window: Some(window) };
        self.0.entry(account.clone()).or_default().insert(database, spent);
    }
}

/// Of two ledgers of the same spending the one that has more of it at `now`. As it is: to begin the window of `now` is for who
/// spends in it, since the clock may be wrong.
fn more(one: Ledger, other: Ledger, now: Micros, window: Window) -> Ledger {
    let counts = |ledger: &Ledger| {
        let mut rolled = *ledger;
        rolled.roll(now, window);
        (rolled.used, ledger.window_start, ledger.used)
    };
    if counts(&other) > counts(&one) { other } else { one }
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
    /// [`NotSpent::Io`]; [`NotSpent::Busy`] where something from a clock that was ahead, or from a window of another length, has
    /// to be written anew.
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
        books.put(account, database, ledger, window);
        self.save(&books).map_err(|error| self.failed(error))
    }

    /// The ledger of an account in a database whose table has this row, `kept`. Another account's is put away here, on
    /// disk, before it may be overwritten in the table: with its key it comes back. How long that was closed is not kept,
    /// but learned again.
    ///
    /// The table alone lowers nothing: a dump that was restored has a row from before. A row that another database of this
    /// server wrote is not this one's spending, where the file has it as that one's.
    ///
    /// # Errors
    /// [`NotSpent::Io`] and [`NotSpent::Busy`]: the ledger is not known then.
    pub fn ledger_of(
        &self,
        account: &Account,
        database: u32,
        kept: Option<&Kept>,
        now: Micros,
        window: Window,
    ) -> Result<Ledger, NotSpent> {
        let mut books = self.load()?;
        books.roll(now, window);
        let own = books.own(account, database);
        let Some(Kept { account: of, ledger, writer }) = kept else { return Ok(own) };
        let of = of.as_ref().unwrap_or(account);
        let is_counted = matches!(writer, Writer::Other(other) if books.has(of, *other));
        if of == account {
            let most = if is_counted { own } else { more(*ledger, own, now, window) };
            return Ok(Ledger { closed_until: ledger.closed_until, ..most });
        }
        let away = books.own(of, database);
        let most = more(away, *ledger, now, window);
        if !is_counted && most != away {
            self.spend(of, database, &most, None, now, window)?;
        }
        Ok(own)
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
        durable::replace(&self.path, &serde_json::to_vec_pretty(books)?, None)
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
