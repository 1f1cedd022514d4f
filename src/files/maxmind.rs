//! The files that answer in this process: which generations are open, and when to look for newer ones.
//!
//! With a launcher, it imports and bumps a counter in shared memory; a backend compares it once a statement. Without
//! one (no preload), a backend looks at the manifest's date at most once a second, and imports new files
//! from the operator's directory itself. In both cases a statement reads one set of files, so its answers are not
//! mixed.
#![allow(
    unsafe_code,
    reason = "what is open is read on every look-up of one thread, and lent only while a closure runs"
)]

use std::cell::{Cell, UnsafeCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use enrich::maxmind::store::{EditionState, Imported, Outcome, Signature, StoreError};
use enrich::maxmind::{Databases, Edition, Manifest, Store};

use super::breath::breathe;
use super::failure;
use super::lists;
use super::retry::Retry;
use crate::pg::errors::warn;
use crate::pg::process;
use crate::pg::session;
use crate::settings;
use crate::settings::Settings;
use crate::shared;

/// How often a backend without a launcher looks at the disk.
const LOOK: Duration = Duration::from_secs(1);
/// How long the first look-up ever waits for another process's import of the first files.
const FIRST_IMPORT: Duration = Duration::from_secs(20);

/// The open files of a process.
#[derive(Default)]
struct Open {
    databases: Databases,
    manifest: Manifest,
    /// Counter in shared memory as of when this was opened.
    generation: u64,
    /// [`settings::answers_set`] as of then.
    editions: u64,
    /// Of the manifest's file, without a counter.
    signature: Option<Signature>,
    looked: Option<Instant>,
    /// This process has waited for another's import, in vain.
    waited: bool,
    retry: Retry,
    /// The last failures to open them that the session was warned of.
    troubles: Vec<String>,
}

thread_local! {
    // PostgreSQL runs a backend on one thread; "thread" is this process here.
    static OPEN: UnsafeCell<Open> = UnsafeCell::new(Open::default());
    static STATEMENT: Cell<i64> = const { Cell::new(i64::MIN) };
    static WARNED: Cell<bool> = const { Cell::new(false) };
    static TROUBLED: Cell<bool> = const { Cell::new(false) };
}

/// The store of this server.
pub fn store() -> Store {
    Store::new(settings::place::directory()).in_language(settings::mmdb_language())
}

/// Runs `f` on the files that answer now. `f` may run SQL that comes back here: within one statement nothing is
/// reopened.
#[inline]
pub fn with<R>(f: impl FnOnce(&Databases) -> R) -> R {
    refresh_once();
    OPEN.with(|open| {
        // SAFETY: one thread; the only writer is `refresh`, which is not called while `f` runs.
        let databases = unsafe { &(*open.get()).databases };
        if databases.is_empty() {
            warn_once(databases);
        }
        f(databases)
    })
}

/// The same without a warning if nothing is installed: it is not a look-up.
pub fn with_quietly<R>(f: impl FnOnce(&Databases) -> R) -> R {
    refresh_once();
    // SAFETY: as in `with`.
    OPEN.with(|open| f(unsafe { &(*open.get()).databases }))
}

/// Stored answers from before this (timestamptz) came from files that answer no more. After the worker has walked the
/// inventory, none does: rows whose answer is still the same were not written, and kept their time.
pub fn stale_before(databases: &Databases) -> i64 {
    // Nothing could give another answer, whatever lists there are.
    if databases.is_empty() {
        return i64::MIN;
    }
    let Some(installed_at) = databases.installed_at().map(crate::pg::time::from_unix_us) else { return i64::MIN };
    let slot = shared::here();
    let walked = slot.map_or(i64::MIN, |slot| slot.walked.load(std::sync::atomic::Ordering::Acquire));
    if installed_at <= walked { i64::MIN } else { installed_at }
}

/// Opens newer generations, once a statement.
#[inline]
fn refresh_once() {
    let statement = crate::pg::call::statement_start();
    if STATEMENT.get() != statement {
        STATEMENT.set(statement);
        refresh();
        hold_lists();
    }
}

/// Lets the lists of networks of this statement answer beside the files.
fn hold_lists() {
    let lists = lists::current();
    // SAFETY: as in `refresh`.
    let open = OPEN.with(|open| unsafe { &mut *open.get() });
    if !Arc::ptr_eq(open.databases.lists(), &lists) {
        open.databases.set_lists(lists);
    }
}

/// The data of the editions in use, in the order of the list.
pub fn in_use() -> Vec<(String, EditionState)> {
    let mut manifest = manifest();
    let editions = settings::snapshot().maxmind_editions;
    let known = editions.iter().filter_map(|edition| manifest.editions.remove_entry(edition.name()));
    known.collect()
}

/// The manifest of the open files. It is not a look-up, so it gives no warning if nothing is installed.
pub fn manifest() -> Manifest {
    refresh_once();
    // SAFETY: as in `with`.
    OPEN.with(|open| unsafe { (*open.get()).manifest.clone() })
}

/// Whether this process could not open all that is installed, mmdb files or lists, and will try again.
pub fn is_incomplete() -> bool {
    // SAFETY: as in `with`.
    lists::is_incomplete() || OPEN.with(|open| unsafe { (*open.get()).retry.is_failing() })
}

/// Opens newer generations, if there are any. After a failure, the open ones stay, and it is tried again.
fn refresh() {
    // SAFETY: one thread, and no reference exists: `with` hands them out only while its closure runs.
    let open = OPEN.with(|open| unsafe { &mut *open.get() });
    let first = open.looked.is_none();
    match shared::generation().filter(|_| shared::launcher_runs()) {
        Some(generation) => {
            if first || generation != open.generation || open.is_of_another_list() || open.retry.is_due() {
                reopen(open, &settings::snapshot());
                open.generation = generation;
            }
            // After a start of the server, the launcher may be at it right now.
            if first || (open.databases.is_empty() && due(open)) {
                let settings = settings::snapshot();
                if !first || missing(open, &settings) {
                    first_import(open, &settings);
                }
            }
        }
        None if due(open) || open.is_of_another_list() => look(open, &settings::snapshot()),
        None => {}
    }
}

impl Open {
    fn is_of_another_list(&self) -> bool {
        self.editions != settings::answers_set()
    }
}

fn due(open: &Open) -> bool {
    open.looked.is_none_or(|looked| looked.elapsed() >= LOOK)
}

/// Without a launcher: imports new files, and opens changed generations.
fn look(open: &mut Open, settings: &Settings) {
    if open.databases.is_empty() || store().has_news(&settings.maxmind_dir, &settings.maxmind_editions, &open.manifest)
    {
        first_import(open, settings);
    } else {
        note(None);
    }
    let signature = Signature::of(&store().manifest_path()).ok().flatten();
    let is_another = signature != open.signature || open.is_of_another_list();
    if is_another || open.looked.is_none() || open.retry.is_due() {
        reopen(open, settings);
        open.signature = signature;
    }
    open.looked = Some(Instant::now());
}

/// Whether an edition's file is there of which no generation ever answered: its import is under way, or due.
fn missing(open: &Open, settings: &Settings) -> bool {
    settings.maxmind_editions.iter().any(|edition| {
        let state = open.manifest.editions.get(edition.name());
        state.is_none_or(|state| state.current.is_none() && state.refused.is_none())
            && settings.maxmind_dir.join(edition.file_name()).exists()
    })
}

/// Imports in this process. If another process imports an edition that is not installed yet, this waits for it: the
/// first look-up after files were put there should find all of them.
fn first_import(open: &mut Open, settings: &Settings) {
    let store = store();
    let started = Instant::now();
    open.looked = Some(started);
    if !store.has_news(&settings.maxmind_dir, &settings.maxmind_editions, &open.manifest) {
        return;
    }
    // Once: who holds the lock for so long may hold it for ever.
    let patience = if !open.waited && missing(open, settings) { FIRST_IMPORT } else { Duration::ZERO };
    loop {
        let imported = import(settings, false);
        open.waited = matches!(imported, Err(StoreError::Busy));
        match imported {
            Err(StoreError::Busy) if started.elapsed() < patience => {
                pgrx::check_for_interrupts!();
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error @ (StoreError::Io { .. } | StoreError::Damaged { .. })) => {
                trouble(&error);
                break;
            }
            _ => break,
        }
    }
    reopen(open, settings);
}

/// Once a session: the store cannot be written, so files cannot be imported.
fn trouble(error: &StoreError) {
    if !TROUBLED.replace(true) {
        warn("could not import mmdb files", &error.to_string(), "The files imported before stay in use.");
    }
}

fn reopen(open: &mut Open, settings: &Settings) {
    open.looked = Some(Instant::now());
    open.editions = settings::answers_set();
    let failed: Vec<(String, String, &str)> = match store().open(&settings.maxmind_editions) {
        Ok((manifest, databases, troubles)) => {
            open.manifest = manifest;
            open.databases = databases;
            publish(&open.databases);
            let told = |(edition, trouble): (Edition, String)| {
                let what = format!("could not open a generation of {edition}");
                (what, trouble, "The generation before stays in use.")
            };
            troubles.into_iter().map(told).collect()
        }
        Err(error) => {
            vec![("could not read the mmdb generations".to_owned(), error.to_string(), "The open files stay in use.")]
        }
    };
    open.retry.note(failed.is_empty());
    // The same failure of a further attempt is no news.
    let troubles: Vec<String> = failed.iter().map(|(what, trouble, _)| format!("{what}: {trouble}")).collect();
    if open.troubles != troubles {
        open.troubles = troubles;
        for (what, trouble, hint) in failed {
            warn(what, &trouble, hint);
        }
    }
}

/// The worker publishes its files, for comparison with those of sessions.
fn publish(databases: &Databases) {
    let slot = shared::here();
    let me = process::my_pid();
    if let Some(slot) = slot.filter(|slot| slot.worker.load(std::sync::atomic::Ordering::Relaxed) == me) {
        slot.answering.write(&databases.answering());
    }
}

/// Imports new files from the operator's directory and tells the other backends. Reports to the log, and returns the
/// number of editions installed. `force` also imports a file that is older or has far fewer nodes.
///
/// # Errors
/// An error of the store while it reads or writes; the other editions are still installed.
pub fn import(settings: &Settings, force: bool) -> Result<usize, StoreError> {
    let result = import_files(settings, force);
    note(result.as_ref().err());
    result
}

/// Notes in shared memory how an import ended, for sessions that ask: with this error, or well. That there was nothing to
/// import is well, too.
pub fn note(error: Option<&StoreError>) {
    if let Some(shared) = shared::shared() {
        failure::note(&shared.launcher.import, error);
    }
}

fn import_files(settings: &Settings, force: bool) -> Result<usize, StoreError> {
    let mut installed = 0;
    let (dir, editions) = (&settings.maxmind_dir, &settings.maxmind_editions);
    let Imported { outcomes, failures, changed } = store().import(dir, editions, force, &breathe)?;
    if changed {
        shared::bump_generation();
    }
    for (edition, outcome) in outcomes {
        match outcome {
            Outcome::Unchanged | Outcome::Unsettled => continue,
            Outcome::Installed(info) => {
                installed += 1;
                pgrx::log!(
                    "asn_inventory: installed {edition}, build {}, {} nodes, generation {}",
                    crate::pg::time::text(info.built_us()),
                    info.node_count,
                    info.directory,
                );
                warn_of_age(&edition, info.built_us(), settings);
            }
            Outcome::Refused(refusal) => pgrx::log!("asn_inventory: refused {edition}: {}", refusal.reason),
        }
    }
    failures.into_iter().next().map_or(Ok(installed), Err)
}

/// An outdated build answers like any other, so a warning has to report it.
fn warn_of_age(edition: &Edition, built_us: i64, settings: &Settings) {
    let age = enrich::time::until(built_us, crate::pg::time::now_unix_us());
    if age > settings.maxmind_max_age {
        let days = age.as_secs() / 86_400;
        warn(format!("{edition} was built {days} days ago"), "", "Put a newer build into asn_inventory.maxmind_dir.");
    }
}

/// Once a session: answers will be null because nothing is installed, or nothing of it may answer.
fn warn_once(databases: &Databases) {
    // A parallel worker's leader warns for it.
    if WARNED.get() || session::is_parallel_worker() {
        return;
    }
    WARNED.set(true);
    if databases.generations().is_empty() {
        warn("no mmdb file is installed: look-ups answer null, with status \"unavailable\"", "", &how_to_install());
    } else {
        warn(
            "no installed mmdb file answers: look-ups answer null, with status \"unavailable\"",
            "Each of them is there for whole records only, or has nothing for its role. Rows keep the answers that they have.",
            "Give one in asn_inventory.maxmind_editions a role that its records have: place, origin, flags or any; or add a file.",
        );
    }
}

/// A hint, where no file is installed: what to put where.
pub fn how_to_install() -> String {
    let names: Vec<String> = settings::snapshot().maxmind_editions.iter().map(|e| e.file_name()).collect();
    match names.is_empty() {
        true => "Name editions in asn_inventory.maxmind_editions: it is empty.".to_owned(),
        false => format!("Put {} into the directory that asn_inventory.maxmind_dir names.", names.join(" or ")),
    }
}
