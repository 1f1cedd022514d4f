//! Stepping aside for DROP DATABASE and its like, which fail while any process is connected, including our worker.
//!
//! A hook on utility statements: before one that needs a database for itself, its worker is banned from it and ended;
//! after it, with or without success, the ban is lifted. Only for statements that PostgreSQL will execute: see
//! [`allowed`](super::allowed). While others are connected there it refuses, after it has waited five seconds for them
//! to go; so the worker stays as long as they do, and ends right after them. A COPY passes the same hook, and gets room
//! for its rows there: see [`copy`]. So does COMMIT PREPARED, after which there may be an extension that the launcher
//! does not know. A DROP EXTENSION that would leave shards behind is refused: see [`dropped`]; and an index that observes a table
//! and is made concurrently: see [`concurrent`].
#![allow(unsafe_code, reason = "a hook on utility statements, which calls on without a guard")]

use std::cell::Cell;
use std::ffi::CStr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::allowed;
use super::allowed::Wanted;
use super::dropped;
use crate::ingest::{concurrent, copy, queue};
use crate::pg::{catalog, raw, time};
use crate::shared;
use crate::shared::Database;

/// How long a ban lasts if it is not lifted: the session may die in between.
const BAN: i64 = 60_000_000;
/// How long the statement waits for our processes to end.
const PATIENCE: Duration = Duration::from_secs(5);

static mut NEXT: pg_sys::ProcessUtility_hook_type = None;

thread_local! {
    /// The database that this session's statement has banned our processes from.
    static BANNED: Cell<Option<pg_sys::Oid>> = const { Cell::new(None) };
}

/// Installs the hook, while libraries are being preloaded.
pub fn install() {
    // SAFETY: chained as every extension does, before the server takes connections.
    unsafe {
        NEXT = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(on_utility);
        pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut());
    }
}

/// Every utility statement of the server passes here, so an error must pass, too, just as it is: no guard, and nothing
/// that would have to be dropped when PostgreSQL jumps out of it.
#[allow(clippy::too_many_arguments)]
unsafe extern "C-unwind" fn on_utility(
    statement: *mut pg_sys::PlannedStmt,
    query: *const std::ffi::c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    destination: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: passes its arguments on; the statement is a parse tree that PostgreSQL owns.
    unsafe {
        make_way(statement, context);
        let commits_prepared = commits_prepared(statement);
        let level = copy::make_room(statement);
        let next = NEXT.unwrap_or(raw::standard_ProcessUtility);
        next(statement, query, read_only_tree, context, params, environment, destination, completion);
        copy::give_back(level);
        lift_ban();
        if commits_prepared {
            after_prepared();
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn make_way(
    statement: *mut pg_sys::PlannedStmt,
    context: pg_sys::ProcessUtilityContext::Type,
) {
    // SAFETY: a valid planned statement, by the hook's word.
    unsafe {
        dropped::refuse(statement);
        concurrent::refuse(statement);
    }
    let alone = context == pg_sys::ProcessUtilityContext::PROCESS_UTILITY_TOPLEVEL;
    // SAFETY: a valid planned statement, by the hook's word.
    if let Some(wanted) = unsafe { allowed::wanted(statement, alone) } {
        ban(&wanted);
    }
}

/// # Safety
/// The statement must be a planned one.
unsafe fn commits_prepared(statement: *mut pg_sys::PlannedStmt) -> bool {
    // SAFETY: a utility statement has a tree, whose tag says of which kind it is.
    unsafe {
        let tree = (*statement).utilityStmt;
        !tree.is_null()
            && (*tree).type_ == pg_sys::NodeTag::T_TransactionStmt
            && (*tree.cast::<pg_sys::TransactionStmt>()).kind == pg_sys::TransactionStmtKind::TRANS_STMT_COMMIT_PREPARED
    }
}

/// When a transaction was prepared, the announced change was not visible yet: the new extension, its removal, or queued
/// rows. Now it is.
#[pg_guard]
extern "C-unwind" fn after_prepared() {
    let Some(shared) = shared::shared() else { return };
    // SAFETY: reads a variable of this backend.
    if !unsafe { pg_sys::IsTransactionState() } {
        return;
    }
    match shared.database(shared::my_database()).filter(|slot| slot.living_worker().is_some()) {
        Some(slot) => {
            slot.pending.store(true, Ordering::Release);
            shared::wake(slot.worker.load(Ordering::Acquire));
        }
        None if catalog::extension().is_some() => queue::want_worker(),
        None => {}
    }
}

/// After an error, nothing of the statement's own runs any more: the transaction's end lifts the ban.
#[pg_guard]
unsafe extern "C-unwind" fn at_transaction_end(_event: pg_sys::XactEvent::Type, _arg: *mut std::ffi::c_void) {
    lift_ban();
}

/// Keeps our processes out of a database until [`lift_ban`], and waits a while for those inside to end. Where others are
/// connected and stay, nothing happens: the statement is refused for their sake.
fn ban(&Wanted { database, force, drops }: &Wanted) {
    let Some(shared) = shared::shared() else { return };
    let Some(slot) = shared.database(database) else { return };
    let started = Instant::now();
    while !force && others_in(database, &processes(database, slot), drops) {
        if started.elapsed() >= PATIENCE {
            return;
        }
        pgrx::check_for_interrupts!();
        std::thread::sleep(Duration::from_millis(20));
    }
    end_jobs(database);
    slot.banned_until.store(time::now() + BAN, Ordering::Release);
    BANNED.set(Some(database));
    let started = Instant::now();
    let mut told = Vec::new();
    while started.elapsed() < PATIENCE {
        let alive: Vec<i32> = processes(database, slot).into_iter().filter(|pid| lives(*pid)).collect();
        if alive.is_empty() {
            break;
        }
        for pid in alive {
            if !told.contains(&pid) {
                told.push(pid);
                // SAFETY: one of our own background processes, alive a moment ago: asks it to end.
                unsafe { libc::kill(pid, libc::SIGTERM) };
            }
        }
        pgrx::check_for_interrupts!();
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[pg_guard]
extern "C-unwind" fn lift_ban() {
    let Some(database) = BANNED.take() else { return };
    if let Some(slot) = shared::shared().and_then(|shared| shared.database(database)) {
        slot.banned_until.store(0, Ordering::Release);
    }
    shared::wake_launcher();
}

/// Whether a process is connected there besides us, `ours` and autovacuum, which PostgreSQL ends by itself. Citus ends its own
/// before a database is dropped, in a hook that is called after this one.
fn others_in(database: pg_sys::Oid, ours: &[i32], drops: bool) -> bool {
    // SAFETY: this backend's own copies, read again each time; entries live until the next reading.
    unsafe {
        pg_sys::pgstat_clear_backend_activity_snapshot();
        let me = pg_sys::MyProcPid;
        (1..=pg_sys::pgstat_fetch_stat_numbackends()).any(|number| {
            #[cfg(feature = "pg15")]
            let entry = pg_sys::pgstat_fetch_stat_local_beentry(number);
            #[cfg(not(feature = "pg15"))]
            let entry = pg_sys::pgstat_get_local_beentry_by_index(number);
            if entry.is_null() {
                return false;
            }
            let backend = &(*entry).backendStatus;
            backend.st_databaseid == database
                && backend.st_procpid != me
                && backend.st_backendType != pg_sys::BackendType::B_AUTOVAC_WORKER
                && !ours.contains(&backend.st_procpid)
                && !(drops && is_of_citus(backend.st_procpid))
        })
    }
}

/// Whether it is Citus's maintenance daemon.
fn is_of_citus(pid: i32) -> bool {
    // SAFETY: a string of this backend's, valid until the next call.
    unsafe {
        let kind = pg_sys::GetBackgroundWorkerTypeByPid(pid);
        !kind.is_null() && CStr::from_ptr(kind).to_bytes().starts_with(b"Citus ")
    }
}

/// Lets the jobs of a database end.
fn end_jobs(database: pg_sys::Oid) {
    for job in shared::shared().iter().flat_map(|shared| &shared.jobs) {
        if job.database.load(Ordering::Acquire) == database.to_u32() {
            job.cancel.store(true, Ordering::Release);
        }
    }
}

/// The worker of a database, its counter and its helpers.
fn processes(database: pg_sys::Oid, slot: &Database) -> Vec<i32> {
    let mut pids = vec![slot.worker.load(Ordering::Acquire), slot.counter.load(Ordering::Acquire)];
    if let Some(shared) = shared::shared() {
        for job in shared.jobs.iter().filter(|job| job.database.load(Ordering::Acquire) == database.to_u32()) {
            pids.extend(job.helpers.iter().map(|helper| helper.load(Ordering::Acquire)));
        }
    }
    pids.retain(|pid| *pid != 0);
    pids
}

fn lives(pid: i32) -> bool {
    // SAFETY: asks the process array.
    unsafe { !pg_sys::BackendPidGetProc(pid).is_null() }
}
