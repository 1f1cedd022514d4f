//! Stepping aside for DROP DATABASE and its like, which fail while anybody is connected, our worker included.
//!
//! A hook on utility statements: before one that needs a database for itself, its worker is banned from it and ended;
//! after it, whatever came of it, the ban is lifted. Only for who may do what the statement asks. A COPY passes the
//! same hook, and gets room for its rows there: see [`copy`].

use std::cell::Cell;
use std::ffi::CStr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::observe::copy;
use crate::shared::{self, Database};
use crate::time;

/// How long a ban lasts if nobody lifts it: the session may die in between.
const BAN: i64 = 60_000_000;
/// How long the statement waits for our processes to end.
const PATIENCE: Duration = Duration::from_secs(5);

static mut NEXT: pg_sys::ProcessUtility_hook_type = None;

unsafe extern "C-unwind" {
    // PostgreSQL's own, unwrapped: pgrx's version catches every error and raises it anew, and what it raises has lost
    // its context (the line of a COPY), its constraint's name and its position, and shows a backtrace to the user.
    fn standard_ProcessUtility(
        statement: *mut pg_sys::PlannedStmt,
        query: *const std::ffi::c_char,
        read_only_tree: bool,
        context: pg_sys::ProcessUtilityContext::Type,
        params: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        destination: *mut pg_sys::DestReceiver,
        completion: *mut pg_sys::QueryCompletion,
    );
}

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
    // SAFETY: passes on what it was given; the statement is a parse tree that PostgreSQL owns.
    unsafe {
        make_way(statement);
        let level = copy::make_room(statement);
        match NEXT {
            Some(next) => next(statement, query, read_only_tree, context, params, environment, destination, completion),
            None => standard_ProcessUtility(
                statement,
                query,
                read_only_tree,
                context,
                params,
                environment,
                destination,
                completion,
            ),
        }
        copy::give_back(level);
        lift_ban();
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn make_way(statement: *mut pg_sys::PlannedStmt) {
    // SAFETY: a valid planned statement, by the hook's word.
    if let Some(database) = unsafe { database_of(statement) } {
        ban(database);
    }
}

/// After an error, nothing of the statement's own runs any more: the transaction's end lifts the ban.
#[pg_guard]
unsafe extern "C-unwind" fn at_transaction_end(_event: pg_sys::XactEvent::Type, _arg: *mut std::ffi::c_void) {
    lift_ban();
}

/// The database that a statement needs for itself, if it is one of those and the user may do that.
///
/// # Safety
/// `statement` must be a valid planned statement.
unsafe fn database_of(statement: *mut pg_sys::PlannedStmt) -> Option<pg_sys::Oid> {
    // SAFETY: nodes are cast to what their tags say.
    unsafe {
        let node = (*statement).utilityStmt;
        let name = match (*node).type_ {
            pg_sys::NodeTag::T_DropdbStmt => (*node.cast::<pg_sys::DropdbStmt>()).dbname,
            pg_sys::NodeTag::T_RenameStmt => {
                let rename = &*node.cast::<pg_sys::RenameStmt>();
                if rename.renameType != pg_sys::ObjectType::OBJECT_DATABASE {
                    return None;
                }
                rename.subname
            }
            pg_sys::NodeTag::T_AlterDatabaseStmt => {
                let alter = &*node.cast::<pg_sys::AlterDatabaseStmt>();
                option(alter.options, c"tablespace")?;
                alter.dbname
            }
            pg_sys::NodeTag::T_CreatedbStmt => {
                let create = &*node.cast::<pg_sys::CreatedbStmt>();
                let name = option(create.options, c"template").unwrap_or(c"template1".as_ptr().cast_mut());
                let template = pg_sys::get_database_oid(name, true);
                return (template != pg_sys::InvalidOid && (owns(template) || may_create_databases()))
                    .then_some(template);
            }
            _ => return None,
        };
        if name.is_null() {
            return None;
        }
        let database = pg_sys::get_database_oid(name, true);
        (database != pg_sys::InvalidOid && owns(database)).then_some(database)
    }
}

/// The text of an option of CREATE or ALTER DATABASE.
///
/// # Safety
/// `options` must be a list of DefElem, or null.
unsafe fn option(options: *mut pg_sys::List, name: &CStr) -> Option<*mut std::ffi::c_char> {
    if options.is_null() {
        return None;
    }
    // SAFETY: see above.
    unsafe {
        (0..(*options).length as usize)
            .map(|i| (*(*options).elements.add(i)).ptr_value.cast::<pg_sys::DefElem>())
            .find(|element| CStr::from_ptr((**element).defname) == name && !(**element).arg.is_null())
            .map(|element| pg_sys::defGetString(element))
    }
}

fn owns(database: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-ups.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        return pg_sys::pg_database_ownercheck(database, pg_sys::GetUserId());
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        return pg_sys::object_ownercheck(pg_sys::DatabaseRelationId, database, pg_sys::GetUserId());
    }
}

/// Who may create databases may copy templates that they do not own.
fn may_create_databases() -> bool {
    // SAFETY: a catalog look-up; the tuple is released after one read.
    unsafe {
        let user = pg_sys::Datum::from(pg_sys::GetUserId());
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::AUTHOID as i32, user);
        if tuple.is_null() {
            return false;
        }
        let may = (*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_authid>(tuple)).rolcreatedb;
        pg_sys::ReleaseSysCache(tuple);
        may
    }
}

/// Keeps our processes out of a database until [`lift_ban`], and waits a while for those inside to end.
fn ban(database: pg_sys::Oid) {
    let Some(shared) = shared::shared() else { return };
    let Some(slot) = shared.database(database) else { return };
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

/// The worker of a database, its counter and its helpers.
fn processes(database: pg_sys::Oid, slot: &Database) -> Vec<i32> {
    let mut pids = vec![slot.worker.load(Ordering::Acquire), slot.counter.load(Ordering::Acquire)];
    if let Some(shared) = shared::shared() {
        for job in shared.jobs.iter().filter(|job| job.database.load(Ordering::Acquire) == database.to_u32()) {
            job.cancel.store(true, Ordering::Release);
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
