//! Waiting for a lock, with a limit.
//!
//! A session that requests a strong lock is in the queue before all later requests for a weak one, and PostgreSQL
//! queues a request before it checks further rights. A loader, or a statement that makes a partition, must not wait
//! behind it without bound. Nor may it be waiting that fails it: where the statement or the transaction has a time limit of
//! PostgreSQL's, half of what is left of that is the most: at a commit, too, where the statement's own limit does not hold any more.
//!
//! So a lock is tried again and again, and nobody is seen waiting for it. One holder looks for those who wait, and holds on as
//! long as it sees none: a VACUUM that cuts the empty end off a table reads that end backwards under ACCESS EXCLUSIVE, which
//! takes ten seconds where it is a gigabyte on a cold disk. It looks every 20 ms, and then lets everybody pass. Behind a VACUUM,
//! and only there, a weak lock is waited for in its queue, a short time at a stretch. A VACUUM waits for no lock meanwhile, so
//! no deadlock comes of it; behind anybody else one could, and PostgreSQL might end the other session for it.
//!
//! (`vacuum_truncate = off` for the queue is no way out: absorbing reads the table from end to end, and would read for ever
//! what one long stop of the worker has left empty.)

use std::ffi::c_int;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::prelude::*;

use super::call;
use super::catalog::Turn;
use super::time;

/// The first pause between two attempts; it doubles up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_micros(200);
const LONGEST: Duration = Duration::from_millis(10);

/// How long a VACUUM is waited for before somebody looks again whether it is one that holds the lock. Less than
/// `deadlock_timeout` as a rule: after that time PostgreSQL cancels the autovacuum, and all that it did was in vain.
const STRETCH: Duration = Duration::from_millis(200);

/// PostgreSQL's numbers of time limits, the same in all its versions. pgrx has no bindings of them.
const STATEMENT_TIMEOUT: c_int = 3;
/// There is `transaction_timeout` from PostgreSQL 17 on.
#[cfg(not(any(feature = "pg15", feature = "pg16")))]
const TRANSACTION_TIMEOUT: c_int = 8;
#[cfg(any(feature = "pg15", feature = "pg16"))]
const LIMITS: [c_int; 1] = [STATEMENT_TIMEOUT];
#[cfg(not(any(feature = "pg15", feature = "pg16")))]
const LIMITS: [c_int; 2] = [STATEMENT_TIMEOUT, TRANSACTION_TIMEOUT];

unsafe extern "C" {
    // They read an array of this backend, and cannot raise: no guard.
    fn get_timeout_active(limit: c_int) -> bool;
    fn get_timeout_finish_time(limit: c_int) -> pg_sys::TimestampTz;
    // Null for a number that is none. Looks under a lightweight lock, and cannot raise.
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    fn BackendIdGetProc(backend: c_int) -> *mut std::ffi::c_void;
}

/// Locks a relation until the transaction ends; false when that takes longer than `patience`, or than a time limit leaves
/// room for. Interruptible.
pub fn lock(relation: pg_sys::Oid, mode: u32, patience: Duration) -> bool {
    if is_covered(relation, mode) {
        // SAFETY: nobody has a lock that excludes this one, and it is given at once, before those who wait. To try would fail
        // where somebody waits.
        unsafe { pg_sys::LockRelationOid(relation, mode as i32) };
        return true;
    }
    // SAFETY: asks for the lock and comes back at once.
    let attempt = || unsafe { pg_sys::ConditionalLockRelationOid(relation, mode as i32) };
    // A strong request in the queue would hold up all who come after it.
    let is_weak = mode <= pg_sys::RowExclusiveLock;
    until(|| bounded(patience), attempt, |left| is_weak && waited_for_vacuum(relation, mode as i32, left))
}

/// The same for the extension: a holder keeps it from being dropped.
pub fn hold_extension(patience: Duration) -> bool {
    let Some(extension) = crate::pg::catalog::extension() else { return false };
    let (class, mode) = (pg_sys::ExtensionRelationId, pg_sys::AccessShareLock as i32);
    // SAFETY: as above.
    let attempt = || unsafe { pg_sys::ConditionalLockDatabaseObject(class, extension, 0, mode) };
    until(|| bounded(patience), attempt, |_| false)
}

/// Takes a turn until the transaction ends; false when that takes longer.
pub fn take_turn(turn: Turn, patience: Duration) -> bool {
    until(|| bounded(patience), || turn.take(), |_| false)
}

/// Leaves the way to others for so long. Interruptible.
pub fn rest(time: Duration) {
    until(|| time, || false, |_| false);
}

/// No longer than half of what is left until a time limit ends the statement.
fn bounded(patience: Duration) -> Duration {
    LIMITS.into_iter().filter_map(end).fold(patience, |patience, end| {
        let left = u64::try_from(end.saturating_sub(time::now())).unwrap_or(0);
        patience.min(Duration::from_micros(left / 2))
    })
}

/// When a time limit of PostgreSQL's is over (timestamptz); `None`: there is none.
fn end(limit: c_int) -> Option<i64> {
    // SAFETY: see above; and a variable of this backend.
    let (is_active, end, setting) =
        unsafe { (get_timeout_active(limit), get_timeout_finish_time(limit), pg_sys::StatementTimeout) };
    // PostgreSQL switches the statement's limit off before it commits, and leaves the time where it was. That of an earlier
    // statement is over; so it is in a process that has no such limit, whatever the setting says.
    let was_active = limit == STATEMENT_TIMEOUT && setting > 0 && end > call::statement_start();
    (is_active || was_active).then_some(end)
}

/// Tries until it succeeds; false when that takes too long. `patience` is asked only if the first attempt fails. `waited` may
/// wait by itself for some of the time that is left; where it did not, there is a pause before the next attempt.
fn until(patience: impl Fn() -> Duration, attempt: impl Fn() -> bool, waited: impl Fn(Duration) -> bool) -> bool {
    let mut end = None;
    let mut pause = SHORTEST;
    while !attempt() {
        let end = *end.get_or_insert_with(|| Instant::now() + patience());
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        pgrx::check_for_interrupts!();
        if waited(left) {
            continue;
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST);
    }
    true
}

/// Waits in the lock's queue if a VACUUM holds the relation, for a [`STRETCH`] of the time that is left at most. Whether it
/// did. The next attempt tells whether the lock was given.
fn waited_for_vacuum(relation: pg_sys::Oid, mode: pg_sys::LOCKMODE, left: Duration) -> bool {
    // SAFETY: reads variables of this backend.
    let is_interruptible = unsafe {
        pg_sys::InterruptHoldoffCount == 0 && pg_sys::QueryCancelHoldoffCount == 0 && pg_sys::CritSectionCount == 0
    };
    // Otherwise the time limit of the wait would not end it.
    if !is_interruptible {
        return false;
    }
    let tag = tag(relation);
    if !is_held_by_vacuum(&tag, mode) {
        return false;
    }
    // SAFETY: see above.
    let is_limited = || unsafe { get_timeout_active(STATEMENT_TIMEOUT) };
    let was_limited = is_limited();
    let limit = LockTimeout::set(left.min(STRETCH));
    // Nothing but the wait itself runs here, and what it raises it raises when it is out of the queue and has cleaned up: no
    // subtransaction is needed to go on. One would be heard by other extensions, at a commit, too: Citus makes a savepoint on
    // each node, which fails in the middle of a COPY. All other errors are those of the first attempt, or a cancellation, and
    // go on.
    let waited = PgTryBuilder::new(AssertUnwindSafe(|| {
        // SAFETY: a relation's tag; the lock is released when the transaction ends, as that of the next attempt is.
        unsafe { pg_sys::LockAcquire(&tag, mode, false, false) };
        true
    }))
    .catch_when(PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE, |_| true)
    .catch_when(PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED, |_| false)
    .execute();
    drop(limit);
    // On a machine that stood still both limits may be over. PostgreSQL reports the earlier one, and forgets the other.
    if was_limited && !is_limited() {
        // SAFETY: what the handler of a cancellation does; the next look at interrupts ends the statement.
        unsafe {
            pg_sys::QueryCancelPending = 1;
            pg_sys::InterruptPending = 1;
        }
    }
    waited
}

/// The relation's entry in PostgreSQL's table of locks.
fn tag(relation: pg_sys::Oid) -> pg_sys::LOCKTAG {
    // SAFETY: compares numbers, and reads a variable of this backend.
    let (is_shared, database) = unsafe { (pg_sys::IsSharedRelation(relation), pg_sys::MyDatabaseId) };
    pg_sys::LOCKTAG {
        locktag_field1: if is_shared { 0 } else { database.to_u32() },
        locktag_field2: relation.to_u32(),
        locktag_field3: 0,
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_RELATION as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    }
}

/// Whether this session holds a lock on a relation in one of these modes. Early releases of 15 and 16 have no function that
/// takes a relation.
pub fn has_locked(relation: pg_sys::Oid, modes: &[u32]) -> bool {
    let tag = tag(relation);
    // SAFETY: looks into the locks of this process.
    modes.iter().any(|mode| unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        let is_held = pg_sys::LockHeldByMe(&tag, *mode as i32);
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        let is_held = pg_sys::LockHeldByMe(&tag, *mode as i32, false);
        is_held
    })
}

/// Whether this session holds a lock on a relation that keeps out whoever a lock in this mode would have to wait for.
fn is_covered(relation: pg_sys::Oid, mode: u32) -> bool {
    // Several may hold SHARE, and each keeps the others from what these two allow.
    let is_enough =
        |held: &u32| *held != pg_sys::ShareLock || !(pg_sys::RowExclusiveLock..pg_sys::ShareLock).contains(&mode);
    let modes: Vec<u32> = (mode..=pg_sys::AccessExclusiveLock).filter(is_enough).collect();
    has_locked(relation, &modes)
}

/// Whether a VACUUM works on a relation.
pub fn is_vacuumed(relation: pg_sys::Oid) -> bool {
    is_held_by_vacuum(&tag(relation), pg_sys::ShareUpdateExclusiveLock as i32)
}

/// Whether a VACUUM, of a session or of autovacuum, holds a lock that is in the way of this one. (VACUUM FULL is not meant: it
/// lets nobody pass, and does not say that it is one.)
fn is_held_by_vacuum(tag: &pg_sys::LOCKTAG, mode: pg_sys::LOCKMODE) -> bool {
    let mut count = 0;
    // SAFETY: the array is palloced, and has `count` entries. A process's entry stays where it is for as long as the server
    // runs; by now it may be another's, whose flag is then only a reason to wait a little.
    unsafe {
        let holders = pg_sys::GetLockConflicts(tag, mode, &mut count);
        let is_vacuum = |at: usize| {
            let process = process(&*holders.add(at));
            !process.is_null() && u32::from((*process).statusFlags) & pg_sys::PROC_IN_VACUUM != 0
        };
        let found = (0..count as usize).any(is_vacuum);
        pg_sys::pfree(holders.cast());
        found
    }
}

/// The process that runs a transaction; null for a prepared one, and where it has ended.
fn process(transaction: &pg_sys::VirtualTransactionId) -> *mut pg_sys::PGPROC {
    // SAFETY: any number may be asked for.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        let process = BackendIdGetProc(transaction.backendId).cast();
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        let process = pg_sys::ProcNumberGetProc(transaction.procNumber);
        process
    }
}

/// `lock_timeout`, for as long as this lives. Not through the settings' own functions: these can raise, and a wait at a commit
/// must not.
struct LockTimeout {
    before: c_int,
}

impl LockTimeout {
    fn set(time: Duration) -> LockTimeout {
        let milliseconds = c_int::try_from(time.as_millis()).unwrap_or(c_int::MAX).max(1);
        // SAFETY: a variable of this backend, put back on drop, after an error, too.
        unsafe {
            let before = pg_sys::LockTimeout;
            pg_sys::LockTimeout = milliseconds;
            LockTimeout { before }
        }
    }
}

impl Drop for LockTimeout {
    fn drop(&mut self) {
        // SAFETY: see above.
        unsafe { pg_sys::LockTimeout = self.before };
    }
}
