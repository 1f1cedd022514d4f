//! Transactions of our own: a whole one for the worker, a subtransaction for a batch that may fail.
//!
//! pgrx's `BackgroundWorker::transaction` commits when its closure returns an error and leaves the transaction open
//! after one that was raised; these do neither.

use std::cell::Cell;
use std::ffi::CStr;
use std::panic::AssertUnwindSafe;

use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;

use super::deadlock;
use super::pulse;
use super::session;

/// Bytes that are kept of an error's message.
const LONGEST: usize = 1000;

/// An error that was caught, and whose (sub)transaction is rolled back.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its SQLSTATE.
    pub code: PgSqlErrorCode,
    /// Its message.
    pub message: String,
}

thread_local! {
    static AT_BLOCKS: Cell<Option<fn()>> = const { Cell::new(None) };
}

impl Failure {
    fn of(error: CaughtError) -> Failure {
        let (CaughtError::PostgresError(report)
        | CaughtError::ErrorReport(report)
        | CaughtError::RustPanic { ereport: report, .. }) = error;
        // It goes into the log and into views, and code on a table may raise any text.
        let message = enrich::text::clean(report.message(), LONGEST).into_owned();
        let code = report.sql_error_code();
        // A lock conflict, and nobody's wish.
        if code == PgSqlErrorCode::ERRCODE_QUERY_CANCELED && deadlock::was_canceled() {
            return Failure {
                code: PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED,
                message: "canceled: involved in a distributed deadlock".to_owned(),
            };
        }
        Failure { code, message }
    }

    /// A lock conflict: retry later.
    pub fn is_lock(&self) -> bool {
        matches!(
            self.code,
            PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE
                | PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED
                | PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE
        )
    }

    /// Whether one row of many may be the cause, so that the others succeed without it: its values, code on its table,
    /// or a lock on it. A full disk, too little memory, a disk that fails, a server that stops or takes no writes
    /// affect every row: to try rows one by one would blame each, and take very long.
    pub fn may_be_of_a_row(&self) -> bool {
        // Of a SQLSTATE, the first two characters are its class, six bits each.
        let code = self.code as isize;
        let class = [code & 0x3F, code >> 6 & 0x3F].map(|bits| bits as u8 + b'0');
        !matches!(&class, b"08" | b"25" | b"53" | b"57" | b"58" | b"F0")
    }

    /// Raises it again, for the outer caller.
    pub fn raise(self) -> ! {
        crate::pg::errors::raise(self.code, self.message, "", "")
    }

    /// The user or the server wants it to stop: not to be swallowed.
    fn is_cancel(&self) -> bool {
        matches!(self.code, PgSqlErrorCode::ERRCODE_QUERY_CANCELED | PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN)
    }
}

/// What a crash takes back here, it must take back everywhere: Citus commits on other nodes what this one has committed. So
/// the commit waits for this server's disk, where it would not wait for any, and for those of its synchronous standbys, which
/// may stand in for it.
pub fn commit_for_good() {
    // SAFETY: reads a variable of this backend.
    let waits = unsafe { pg_sys::synchronous_commit } != pg_sys::SyncCommitLevel::SYNCHRONOUS_COMMIT_OFF as i32;
    if !waits && session::has_citus() {
        set_local(c"synchronous_commit", c"on");
    }
}

/// Makes the running transaction a block, as BEGIN does. Outside of a block, Citus commits a statement on a single shard by
/// itself, whatever becomes of the transaction. Whether it is one.
///
/// # Safety
/// In a transaction of a background worker that has done nothing yet.
unsafe fn begin_block() -> bool {
    let wanted = session::has_citus();
    if wanted {
        // SAFETY: see above; the second command begins where the first ended.
        unsafe {
            pg_sys::BeginTransactionBlock();
            pg_sys::CommitTransactionCommand();
            pg_sys::StartTransactionCommand();
        }
    }
    wanted
}

/// Runs `f` in a transaction of its own and commits; after an error, rolls back and returns it.
pub fn run<T>(f: impl FnOnce() -> T) -> Result<T, Failure> {
    in_transaction(true, f)
}

/// The same for what reads and writes no table, and takes long: no VACUUM has to leave dead rows for it, and no standby stops
/// following.
pub fn run_without_snapshot<T>(f: impl FnOnce() -> T) -> Result<T, Failure> {
    in_transaction(false, f)
}

/// Has `f` called at the beginning of each transaction that is a block, where there is Citus.
pub fn at_blocks(f: fn()) {
    AT_BLOCKS.set(Some(f));
}

fn in_transaction<T>(with_snapshot: bool, f: impl FnOnce() -> T) -> Result<T, Failure> {
    pulse::beat();
    let mut slot = None;
    let result = PgTryBuilder::new(AssertUnwindSafe(|| {
        // SAFETY: a background worker outside of any transaction.
        unsafe {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::StartTransactionCommand();
            // A look into the catalog may keep a snapshot.
            let is_block = with_snapshot && begin_block();
            if with_snapshot {
                pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
                commit_for_good();
            }
            if is_block && let Some(begin) = AT_BLOCKS.get() {
                begin();
            }
            slot = Some(f());
            if with_snapshot {
                pg_sys::PopActiveSnapshot();
            }
            if is_block {
                pg_sys::EndTransactionBlock(false);
            }
            pg_sys::CommitTransactionCommand();
        }
        Ok(())
    }))
    .catch_others(|error| Err(Failure::of(error)))
    .execute();
    pulse::beat();
    match (result, slot) {
        (Ok(()), Some(value)) => Ok(value),
        (Err(failure), _) => {
            // SAFETY: rolls back the transactions that the error left open, a block too.
            unsafe { pg_sys::AbortOutOfAnyTransaction() };
            Err(failure)
        }
        (Ok(()), None) => unreachable!("a transaction that ended well has a value"),
    }
}

/// Runs `f` in a subtransaction; after an error, rolls back only that and returns it. A cancellation goes on.
pub fn attempt<T>(f: impl FnOnce() -> T) -> Result<T, Failure> {
    pulse::beat();
    // SAFETY: inside a transaction; context and resource owner are put back as subtransactions demand.
    let (context, owner) = unsafe {
        let kept = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(kept.0);
        kept
    };
    let restore = || {
        // SAFETY: see above.
        unsafe {
            pg_sys::MemoryContextSwitchTo(context);
            pg_sys::CurrentResourceOwner = owner;
        }
    };
    let mut slot = None;
    let result = PgTryBuilder::new(AssertUnwindSafe(|| {
        slot = Some(f());
        // SAFETY: ends the subtransaction begun above.
        unsafe { pg_sys::ReleaseCurrentSubTransaction() };
        Ok(())
    }))
    .catch_others(|error| {
        let failure = Failure::of(error);
        Err(failure)
    })
    .execute();
    match (result, slot) {
        (Ok(()), Some(value)) => {
            restore();
            Ok(value)
        }
        (Err(failure), _) => {
            restore();
            // SAFETY: ends the subtransaction begun above.
            unsafe { pg_sys::RollbackAndReleaseCurrentSubTransaction() };
            restore();
            if failure.is_cancel() {
                failure.raise();
            }
            Err(failure)
        }
        (Ok(()), None) => unreachable!("a subtransaction that ended well has a value"),
    }
}

/// Commits the transaction of a procedure, and goes on in a new one. False: the call may not end its transaction.
pub fn commit_procedure(call: super::call::Call) -> bool {
    if !call.may_commit() {
        return false;
    }
    // SAFETY: in a procedure that was called by itself. The transaction begun here is ended here.
    unsafe {
        pg_sys::SPI_connect_ext(pg_sys::SPI_OPT_NONATOMIC as i32);
        pg_sys::SPI_commit();
        pg_sys::SPI_finish();
    }
    true
}

/// Sets a setting until the transaction ends. For our processes only: in a session, another role's trigger may set it
/// too; use [`Settings`] there.
pub fn set_local(name: &CStr, value: &CStr) {
    set(name, value, pg_sys::GucAction::GUC_ACTION_LOCAL);
}

fn set(name: &CStr, value: &CStr, action: pg_sys::GucAction::Type) {
    // SAFETY: both are NUL-terminated; errors are raised as usual.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_SESSION,
            action,
            true,
            0,
            false,
        );
    }
}

/// Sets something as the SET clause of a function does: the end of the present level of settings restores it, and keeps
/// settings that others changed. (A local setting would have to be rolled back with theirs.)
pub fn save_and_set(name: &CStr, value: &CStr) {
    set(name, value, pg_sys::GucAction::GUC_ACTION_SAVE);
}

/// What functions of the extension have as their `search_path`.
const PINNED: &CStr = c"pg_catalog, pg_temp";

/// Names in SQL are those of the system alone, on the present level of settings. Setting it has all names found anew: most
/// callers are functions that have pinned it.
pub fn pin_search_path() {
    // SAFETY: a setting of this backend, NUL-terminated where there is one.
    let is_pinned = unsafe {
        let now = pg_sys::GetConfigOption(c"search_path".as_ptr(), true, false);
        !now.is_null() && CStr::from_ptr(now) == PINNED
    };
    if !is_pinned {
        save_and_set(c"search_path", PINNED);
    }
}

/// Lets the statements of this transaction read a whole table: those that have to. For processes of ours.
pub fn read_everything() {
    set_local(c"enable_seqscan", c"on");
}

/// Settings that hold for as long as this lives, as those of a function's SET do; after an error, until the
/// (sub)transaction's abort. Settings that others changed, such as triggers, stay.
pub struct Settings {
    level: i32,
}

impl Settings {
    /// None yet.
    pub fn begin() -> Settings {
        // SAFETY: ended on drop; after an error, by the (sub)transaction's abort.
        Settings { level: unsafe { pg_sys::NewGUCNestLevel() } }
    }

    /// The path of the extension's functions, where none of them has set it.
    pub fn with_pinned_path() -> Settings {
        let settings = Settings::begin();
        pin_search_path();
        settings
    }

    /// One more.
    pub fn set(&self, name: &CStr, value: &CStr) {
        save_and_set(name, value);
    }

    /// Rows are fetched by their place or address, and joined with a batch by hash: no plan reads a whole table for a
    /// batch, for any statistics.
    pub fn rows_are_fetched() -> Settings {
        let settings = Settings::begin();
        settings.set(c"enable_seqscan", c"off");
        settings.set(c"enable_hashjoin", c"on");
        // Told of one row, the planner would compare each with the whole batch.
        settings.set(c"enable_nestloop", c"off");
        settings
    }

    /// The same for rows of which the places are known: told of a small table, the planner would rather read a whole index
    /// for each batch than go to each place.
    pub fn rows_are_fetched_by_place() -> Settings {
        let settings = Settings::rows_are_fetched();
        settings.set(c"enable_indexscan", c"off");
        settings.set(c"enable_bitmapscan", c"off");
        settings
    }

    /// Only triggers and rules that are enabled for replicas or always fire, as the extension's own are. A role that
    /// may make a trigger on one of its tables must not have it run by the roles that write there.
    pub fn without_triggers() -> Settings {
        let settings = Settings::begin();
        // Setting it throws all kept plans of the session away.
        if !super::session::is_replica() {
            settings.set(c"session_replication_role", c"replica");
        }
        settings
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: begun above.
            unsafe { pg_sys::AtEOXact_GUC(true, self.level) };
        }
    }
}

/// Calls `f` at each event in the life of this process's transactions from now on. Once a process and function.
pub fn at_events(f: fn(pg_sys::XactEvent::Type)) {
    // SAFETY: the callback gets the function back.
    unsafe { pg_sys::RegisterXactCallback(Some(at_event), f as *mut std::ffi::c_void) };
}

#[pg_guard]
unsafe extern "C-unwind" fn at_event(event: pg_sys::XactEvent::Type, function: *mut std::ffi::c_void) {
    // SAFETY: what `at_events` was given.
    let f = unsafe { std::mem::transmute::<*mut std::ffi::c_void, fn(pg_sys::XactEvent::Type)>(function) };
    f(event);
}

/// Calls `f` at each event in the life of a subtransaction, with its number and that of the one around it. Once a process and
/// function.
pub fn at_subtransactions(f: AtSubtransaction) {
    // SAFETY: the callback gets the function back.
    unsafe { pg_sys::RegisterSubXactCallback(Some(at_subtransaction), f as *mut std::ffi::c_void) };
}

/// See [`at_subtransactions`].
pub type AtSubtransaction = fn(pg_sys::SubXactEvent::Type, pg_sys::SubTransactionId, pg_sys::SubTransactionId);

#[pg_guard]
unsafe extern "C-unwind" fn at_subtransaction(
    event: pg_sys::SubXactEvent::Type,
    ended: pg_sys::SubTransactionId,
    around: pg_sys::SubTransactionId,
    function: *mut std::ffi::c_void,
) {
    // SAFETY: what `at_subtransactions` was given.
    let f = unsafe { std::mem::transmute::<*mut std::ffi::c_void, AtSubtransaction>(function) };
    f(event, ended, around);
}

/// Makes what this transaction has written visible to its next command.
pub fn next_command() {
    // SAFETY: in a transaction, between two commands.
    unsafe { pg_sys::CommandCounterIncrement() };
}

/// What a subtransaction's end does to values that are kept for the transaction: those of an aborted one are dropped, those of
/// a committed one are its parent's. `of` is the subtransaction of a value; those inside of one have higher numbers.
pub fn hand_on<T>(
    all: &mut Vec<T>,
    of: impl Fn(&mut T) -> &mut pg_sys::SubTransactionId,
    event: pg_sys::SubXactEvent::Type,
    ended: pg_sys::SubTransactionId,
    around: pg_sys::SubTransactionId,
) {
    match event {
        pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => all.retain_mut(|one| *of(one) < ended),
        pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => {
            all.iter_mut().map(of).filter(|own| **own >= ended).for_each(|own| *own = around);
        }
        _ => {}
    }
}

/// Whether a transaction, or a parallel worker's part of one, is over with this event.
pub fn ends(event: pg_sys::XactEvent::Type) -> bool {
    use pg_sys::XactEvent::*;
    let committed = matches!(event, XACT_EVENT_COMMIT | XACT_EVENT_PREPARE | XACT_EVENT_PARALLEL_COMMIT);
    committed || is_abort(event)
}

/// Whether it ends in an abort.
pub fn is_abort(event: pg_sys::XactEvent::Type) -> bool {
    matches!(event, pg_sys::XactEvent::XACT_EVENT_ABORT | pg_sys::XactEvent::XACT_EVENT_PARALLEL_ABORT)
}
