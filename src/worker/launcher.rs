//! The launcher: imports mmdb files and lists of networks for the whole server, and keeps a worker in every database that
//! wants one.
//!
//! Which databases have the extension stands only inside each of them. So each one gets a worker that looks, once; one
//! without the extension ends at once and is not looked at again until `CREATE EXTENSION` (or a commit that queued
//! something) says so.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use enrich::maxmind::store::StoreError;
use pgrx::pg_sys;
use std::sync::atomic::Ordering;

use crate::background_process;
use crate::files::{lists, maxmind};
use crate::pg::catalog;
use crate::pg::process;
use crate::pg::process::{Handle, Registration};
use crate::pg::tx;
use crate::settings;
use crate::settings::Settings;
use crate::shared;
use crate::shared::Database;

/// How often the operator's directory is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often the list of databases is read.
const LIST: Duration = Duration::from_secs(5);
/// How often a database of a standby is looked into that had no extension: its primary may have created it since.
const PROBE: Duration = Duration::from_secs(60);
/// Longest pause before a database is looked into again that no process can connect to.
const PROBE_AGAIN: Duration = Duration::from_secs(300);
/// Longest pause before repeated failures are tried again.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Registers the launcher with the postmaster.
pub fn register() {
    Registration {
        kind: c"asn_inventory launcher",
        function: c"asn_inventory_launcher_main",
        argument: pg_sys::Datum::null(),
        in_recovery: true,
        restart: Some(1),
        notify: 0,
    }
    .register();
}

/// The launcher's state of one database.
#[derive(Default)]
struct Known {
    name: String,
    handle: Option<Handle>,
    started: Option<Instant>,
    next_try: Option<Instant>,
    pause: Duration,
    probed: bool,
    /// No process was to be had, and the log says so.
    refused: bool,
}

background_process!(asn_inventory_launcher_main, run);

fn run(_argument: pg_sys::Datum) {
    process::take_signals();
    process::connect_to_server();
    shared::set_launcher(process::my_pid());
    if let Some(value) = settings::bad_environment() {
        pgrx::warning!("ENABLE_ASN_INVENTORY is \"{value}\", which is neither on nor off, and is ignored");
    }
    let mut launcher = Launcher::default();
    loop {
        if let Some(shared) = shared::shared() {
            shared.launcher.beat();
        }
        let settings = settings::snapshot();
        launcher.import(&settings);
        launcher.import_lists();
        launcher.keep_workers(&settings);
        process::wait(LOOK);
    }
}

#[derive(Default)]
struct Launcher {
    known: HashMap<u32, Known>,
    listed: Option<Instant>,
    trouble: String,
    next_import: Option<Instant>,
    trouble_with_lists: String,
    next_import_of_lists: Option<Instant>,
    prepared: bool,
    in_recovery: bool,
}

impl Launcher {
    /// Imports new files. A problem is logged once, not every second.
    fn import(&mut self, settings: &Settings) {
        if !self.prepared {
            // So that an operator finds the place where files belong. A directory that is set is the operator's: to make
            // one would hide that a file system is not mounted, or that the name is wrong.
            self.prepared = true;
            for directory in [settings::default_maxmind_dir(), settings::default_lists_dir()] {
                let _ = std::fs::DirBuilder::new().recursive(true).create(directory);
            }
        }
        // Another process may have mended it meanwhile.
        let fails = shared::shared().is_some_and(|shared| shared.launcher.import.is_failing());
        if fails && self.next_import.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let store = maxmind::store();
        let trouble = match store.manifest() {
            Ok(manifest) if !store.has_news(&settings.maxmind_dir, &settings.maxmind_editions, &manifest) => {
                // Also after a new file that could not be imported was taken away.
                maxmind::note(None);
                String::new()
            }
            Ok(_) => {
                process::busy("importing mmdb files");
                is_importing(true);
                let result = maxmind::import(settings, false);
                is_importing(false);
                process::idle();
                let is_held = || shared::shared().is_some_and(|shared| shared.launcher.import.is_failing());
                match result {
                    Ok(_) => String::new(),
                    Err(StoreError::Busy) if !is_held() => String::new(),
                    Err(error) => error.to_string(),
                }
            }
            Err(error) => {
                maxmind::note(Some(&error));
                error.to_string()
            }
        };
        // A full disk must not be filled again every second.
        self.next_import = (!trouble.is_empty()).then(|| Instant::now() + MAX_PAUSE);
        if !trouble.is_empty() && trouble != self.trouble {
            pgrx::warning!("asn_inventory: could not import mmdb files: {trouble}");
        }
        self.trouble = trouble;
    }

    /// The same with lists of networks.
    fn import_lists(&mut self) {
        if self.next_import_of_lists.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let store = lists::store();
        let result = match store.manifest() {
            Ok(manifest) if !store.has_news(&settings::lists_dir(), &manifest) => {
                lists::note(None);
                Ok(())
            }
            Err(error @ StoreError::Io { .. }) => {
                lists::note(Some(&error));
                Err(error)
            }
            // A damaged manifest is made anew.
            _ => {
                process::busy("importing lists of networks");
                is_importing(true);
                let result = lists::import();
                is_importing(false);
                process::idle();
                result
            }
        };
        let is_held = || shared::shared().is_some_and(|shared| shared.launcher.lists.is_failing());
        let trouble = match result {
            Ok(()) => String::new(),
            Err(StoreError::Busy) if !is_held() => String::new(),
            Err(error) => error.to_string(),
        };
        self.next_import_of_lists = (!trouble.is_empty()).then(|| Instant::now() + MAX_PAUSE);
        if !trouble.is_empty() && trouble != self.trouble_with_lists {
            pgrx::warning!("asn_inventory: could not import lists of networks: {trouble}");
        }
        self.trouble_with_lists = trouble;
    }

    fn keep_workers(&mut self, settings: &Settings) {
        let Some(shared) = shared::shared() else { return };
        let promoted = std::mem::replace(&mut self.in_recovery, process::in_recovery()) && !self.in_recovery;
        if promoted {
            // What the primary created meanwhile did not announce itself here.
            self.known.values_mut().for_each(|known| (known.probed, known.next_try) = (false, None));
        }
        let asked = shared.databases.iter().any(|slot| slot.wanted.load(Ordering::Acquire));
        if asked || self.listed.is_none_or(|at| at.elapsed() >= LIST) {
            self.list(settings);
        }
        for (oid, known) in &mut self.known {
            let oid = pg_sys::Oid::from(*oid);
            known.reap(oid);
            if known.handle.is_none() {
                known.start(oid);
            }
        }
    }

    /// Learns of new databases and forgets dropped ones.
    fn list(&mut self, settings: &Settings) {
        let Some(shared) = shared::shared() else { return };
        let Ok(databases) = tx::run(catalog::databases) else { return };
        self.listed = Some(Instant::now());
        shared::drop_duplicate_databases();
        let served = |name: &str| settings.databases.is_empty() || settings.databases.iter().any(|d| d == name);
        for (oid, name) in &databases {
            if served(name) {
                self.known.entry(*oid).or_default().name.clone_from(name);
            }
        }
        self.known.retain(|oid, known| {
            let name = databases.iter().find(|(d, _)| d == oid).map(|(_, name)| name.as_str());
            let keep = name.is_some_and(served);
            if !keep {
                let slot = shared.database(pg_sys::Oid::from(*oid));
                match (&known.handle, slot.and_then(|slot| slot.living_worker().or(slot.living_receiver()))) {
                    (Some(handle), _) => handle.terminate(),
                    // It was started by a launcher before this one.
                    (None, Some(pid)) => process::ask_to_end(pid),
                    (None, None) => {}
                }
                if let Some(slot) = slot {
                    slot.release();
                }
            }
            keep
        });
    }
}

/// Notes that an import begins or has ended: a turn may take long meanwhile.
fn is_importing(now: bool) {
    if let Some(shared) = shared::shared() {
        shared.launcher.importing.store(now, Ordering::Relaxed);
    }
}

impl Known {
    /// Takes note of a worker that ended.
    fn reap(&mut self, oid: pg_sys::Oid) {
        if !self.handle.as_ref().is_some_and(Handle::stopped) {
            return;
        }
        self.handle = None;
        let mut longest = MAX_PAUSE;
        if let Some(slot) = shared::shared().and_then(|shared| shared.database(oid)) {
            if slot.living_worker().is_none() {
                slot.worker.store(0, Ordering::Release);
            }
            // One that could not even connect has seen nothing.
            let looked = slot.looked.load(Ordering::Acquire);
            self.probed &= looked;
            if !looked && !slot.is_wanted() {
                longest = PROBE_AGAIN;
            }
        }
        // One that ran for a while may come back at once; one that cannot even start must not spin.
        let lived = self.started.is_some_and(|at| at.elapsed() > Duration::from_secs(10));
        self.pause = if lived { Duration::ZERO } else { (self.pause * 2).clamp(Duration::from_millis(250), longest) };
        self.next_try = Some(Instant::now() + self.pause);
    }

    /// Starts a worker where one is requested, or where none has looked yet.
    fn start(&mut self, oid: pg_sys::Oid) {
        let Some(shared) = shared::shared() else { return };
        let wanted = shared.database(oid).is_some_and(Database::is_wanted);
        let is_known = !process::in_recovery() || self.started.is_some_and(|at| at.elapsed() < PROBE);
        if !wanted && self.probed && is_known {
            // Seen to be without the extension.
            if shared.database(oid).is_some_and(Database::release)
                && let Some(slot) = shared.database_or_new(oid)
            {
                slot.wanted.store(true, Ordering::Release);
            }
            return;
        }
        let Some(slot) = shared.database_or_new(oid) else {
            if !self.refused {
                pgrx::log!(
                    "asn_inventory: database \"{}\" gets no worker: {} are served, which is the maximum; asn_inventory.databases selects them",
                    self.name,
                    shared::DATABASES
                );
            }
            self.refused = true;
            return;
        };
        // A worker that is there already was started by a launcher before this one.
        if slot.is_banned() || slot.living_worker().or(slot.living_receiver()).is_some() {
            return;
        }
        // A long pause is for databases that nobody has asked for.
        let is_news = wanted && self.pause > MAX_PAUSE;
        if !is_news && self.next_try.is_some_and(|at| Instant::now() < at) {
            return;
        }
        slot.looked.store(false, Ordering::Release);
        self.handle = Registration {
            kind: c"asn_inventory worker",
            function: c"asn_inventory_worker_main",
            argument: pg_sys::Datum::from(oid),
            in_recovery: true,
            restart: None,
            notify: process::my_pid(),
        }
        .start();
        self.probed = true;
        self.started = Some(Instant::now());
        let refused = self.handle.is_none();
        if refused {
            if !self.refused {
                pgrx::log!(
                    "asn_inventory: no free slot in max_worker_processes for the worker of database \"{}\", trying again later",
                    self.name
                );
            }
            self.probed = false;
            self.next_try = Some(Instant::now() + LIST);
        }
        self.refused = refused;
    }
}

/// Makes `CREATE EXTENSION` known at its commit: called by the extension's script.
pub mod announce {
    use crate::ingest::queue::wake_at_commit;
    use crate::pg::call::Call;
    use crate::sql_function;

    sql_function!(
        /// `_announce_extension()`: wakes the launcher when the transaction commits.
        announce_extension,
        pg_finfo_announce_extension,
        |call: Call| {
            wake_at_commit();
            call.null()
        }
    );
}
