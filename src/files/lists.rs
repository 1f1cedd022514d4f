//! The lists of networks that answer in this process, and when to look for newer ones: as with mmdb files, the launcher
//! imports and bumps a counter in shared memory, which a backend compares once a statement. Without a launcher, a backend
//! looks at most once a second, and imports itself.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use enrich::lists::manifest::Manifest;
use enrich::lists::store::{Imported, Outcome};
use enrich::lists::{Holders, Lists, Store};
use enrich::maxmind::store::{Signature, StoreError};

use super::breath::breathe;
use super::failure;
use super::retry::Retry;
use crate::pg::errors::warn;
use crate::{settings, shared};

/// How often a backend without a launcher looks at the disk.
const LOOK: Duration = Duration::from_secs(1);
/// Most arrays that a process keeps.
const MOST_ARRAYS: usize = 10_000;

/// The open lists of a process.
#[derive(Default)]
struct Open {
    lists: Arc<Lists>,
    manifest: Manifest,
    /// Counter in shared memory as of when this was opened.
    generation: u64,
    /// [`settings::answers_set`] as of then.
    set: u64,
    /// Of the manifest's file, without a counter.
    signature: Option<Signature>,
    looked: Option<Instant>,
    retry: Retry,
    /// The last failure that the session was warned of.
    trouble: String,
}

impl Open {
    /// Whether what is open answers otherwise than it would now, though the lists are the same.
    fn must_reopen(&self) -> bool {
        self.retry.is_due() || self.set != settings::answers_set()
    }
}

thread_local! {
    // PostgreSQL runs a backend on one thread; "thread" is this process here.
    static OPEN: RefCell<Open> = RefCell::new(Open::default());
    static STATEMENT: Cell<i64> = const { Cell::new(i64::MIN) };
    /// The values of type text[] that were given out, as bytes. An array a row would cost more than the look-up.
    static ARRAYS: RefCell<HashMap<Holders, Box<[u8]>, foldhash::fast::RandomState>> = RefCell::default();
}

/// The store of this server.
pub fn store() -> Store {
    Store::new(settings::place::lists())
}

/// The lists that answer now: within one statement, the same.
pub fn current() -> Arc<Lists> {
    refresh_once();
    OPEN.with_borrow(|open| Arc::clone(&open.lists))
}

/// Which lists hold an address; `None`: none is installed.
#[inline]
pub fn find(ip: std::net::IpAddr) -> Option<Holders> {
    refresh_once();
    OPEN.with_borrow(|open| open.lists.find(ip))
}

/// A value for the lists that hold an address, kept by `make` from their names when it is wanted first; lent to `f`.
#[inline]
pub fn array<R>(holders: Holders, make: impl FnOnce(Vec<&str>) -> Box<[u8]>, f: impl FnOnce(&[u8]) -> R) -> R {
    ARRAYS.with_borrow_mut(|arrays| {
        if arrays.len() >= MOST_ARRAYS && !arrays.contains_key(&holders) {
            arrays.clear();
        }
        let array = arrays.entry(holders).or_insert_with(|| OPEN.with_borrow(|open| make(open.lists.names(holders))));
        f(array)
    })
}

/// Whether this process could not open what is installed, and will try again.
pub(super) fn is_incomplete() -> bool {
    OPEN.with_borrow(|open| open.retry.is_failing())
}

/// The manifest of the open lists.
pub fn manifest() -> Manifest {
    refresh_once();
    OPEN.with_borrow(|open| open.manifest.clone())
}

/// Opens newer lists, once a statement.
#[inline]
fn refresh_once() {
    let statement = crate::pg::call::statement_start();
    if STATEMENT.get() != statement {
        STATEMENT.set(statement);
        refresh();
    }
}

#[cold]
fn refresh() {
    let (generation, looked, again) = OPEN.with_borrow(|open| (open.generation, open.looked, open.must_reopen()));
    match shared::lists().filter(|_| shared::launcher_runs()) {
        Some(now) if looked.is_none() || now != generation || again => {
            reopen();
            OPEN.with_borrow_mut(|open| open.generation = now);
        }
        Some(_) => {}
        None if looked.is_none_or(|looked| looked.elapsed() >= LOOK) => look(),
        None => {}
    }
}

/// Without a launcher: imports new files, and opens what changed.
fn look() {
    let first = OPEN.with_borrow_mut(|open| open.looked.replace(Instant::now()).is_none());
    if first {
        reopen();
    }
    let manifest = OPEN.with_borrow(|open| open.manifest.clone());
    if store().has_news(&settings::lists_dir(), &manifest)
        && let Err(error) = import()
        && !matches!(error, StoreError::Busy)
    {
        trouble("could not import lists of networks", &error);
    }
    let signature = Signature::of(&store().manifest_path()).ok().flatten();
    if OPEN.with_borrow(|open| open.signature != signature || open.must_reopen()) {
        reopen();
        OPEN.with_borrow_mut(|open| open.signature = signature);
    }
}

/// Warns, once for the same failure.
fn trouble(what: &str, error: &StoreError) {
    let told = error.to_string();
    let is_news = OPEN.with_borrow_mut(|open| std::mem::replace(&mut open.trouble, told.clone()) != told);
    if is_news {
        warn(what, &told, "The lists imported before stay in use.");
    }
}

fn reopen() {
    let opened = store().open();
    OPEN.with_borrow_mut(|open| {
        open.looked = Some(Instant::now());
        open.set = settings::answers_set();
        open.retry.note(opened.is_ok());
    });
    match opened {
        Ok((manifest, lists)) => {
            let lists = lists.meaning(&settings::list_flags());
            ARRAYS.with_borrow_mut(HashMap::clear);
            OPEN.with_borrow_mut(|open| {
                open.manifest = manifest;
                open.lists = Arc::new(lists);
            });
        }
        Err(error) => trouble("could not read the lists of networks", &error),
    }
}

/// Imports new files from the operator's directory and tells the other backends. Reports to the log.
///
/// # Errors
/// An error of the store or of the directory; all lists stay in use.
pub fn import() -> Result<(), StoreError> {
    let result = import_files(settings::lists_dir());
    note(result.as_ref().err());
    result
}

fn import_files(dir: PathBuf) -> Result<(), StoreError> {
    let Imported { outcomes, failures, changed } = store().import(&dir, &breathe)?;
    if changed {
        shared::bump_lists();
    }
    for (name, outcome) in outcomes {
        match outcome {
            Outcome::Installed(info) => pgrx::log!(
                "asn_inventory: installed list {name}, {} entries{}",
                info.entries[0] + info.entries[1],
                info.warning.map(|warning| format!("; {warning}")).unwrap_or_default(),
            ),
            Outcome::Refused(refusal) => pgrx::log!("asn_inventory: refused list {name}: {}", refusal.reason),
            Outcome::Removed => pgrx::log!("asn_inventory: removed list {name}: its file is gone"),
            Outcome::Lost => pgrx::log!(
                "asn_inventory: list {name} has no entries any more: those of before cannot be read, and its file gave none"
            ),
        }
    }
    failures.into_iter().next().map_or(Ok(()), Err)
}

/// Notes in shared memory how an import ended, for sessions that ask.
pub fn note(error: Option<&StoreError>) {
    if let Some(shared) = shared::shared() {
        failure::note(&shared.launcher.lists, error);
    }
}
