//! This session: its role, and its present rights.

use pgrx::pg_sys;

/// The role whose rights apply now.
pub fn user() -> pg_sys::Oid {
    // SAFETY: reads a variable of this backend.
    unsafe { pg_sys::GetUserId() }
}

/// Whether this transaction may write: not on a standby, nor where it is read-only, nor in a parallel part of a query.
pub fn may_write() -> bool {
    // SAFETY: reads variables of this backend.
    unsafe { !pg_sys::RecoveryInProgress() && !pg_sys::XactReadOnly && !pg_sys::IsInParallelMode() }
}

/// Whether this process does a part of a query for another session.
pub fn is_parallel_worker() -> bool {
    // SAFETY: reads a variable of this backend.
    unsafe { pg_sys::ParallelWorkerNumber >= 0 }
}

/// Whether this database has Citus, so that a transaction may write on other servers. The launcher is in no database.
pub fn has_citus() -> bool {
    // SAFETY: a catalog look-up that tolerates absence.
    unsafe {
        let catalog = pg_sys::Oid::from(pg_sys::PG_CATALOG_NAMESPACE);
        pg_sys::MyDatabaseId != pg_sys::InvalidOid
            && pg_sys::get_relname_relid(c"pg_dist_partition".as_ptr(), catalog) != pg_sys::InvalidOid
    }
}

unsafe extern "C" {
    // It cannot raise, and is asked for every row: no guard.
    fn GetCurrentSubTransactionId() -> pg_sys::SubTransactionId;
    fn GetCurrentCommandId(used: bool) -> pg_sys::CommandId;
}

/// The number of the running subtransaction, or of the transaction where there is none.
#[inline]
pub fn subtransaction() -> pg_sys::SubTransactionId {
    // SAFETY: reads a variable of this backend.
    unsafe { GetCurrentSubTransactionId() }
}

/// Whether only replicated rows are written here: `session_replication_role = replica`, as in a subscription's worker.
pub fn is_replica() -> bool {
    // SAFETY: reads a variable of this backend.
    unsafe { pg_sys::SessionReplicationRole == pg_sys::SESSION_REPLICATION_ROLE_REPLICA as i32 }
}

/// The number of the running command.
#[inline]
pub fn command() -> pg_sys::CommandId {
    // SAFETY: reads a variable of this backend; not to be used, it cannot raise.
    unsafe { GetCurrentCommandId(false) }
}

/// Whether the running transaction, or a subtransaction of it, has this id.
pub fn is_own_transaction(id: u64) -> bool {
    // SAFETY: looks at this backend's own stack of transactions.
    unsafe { pg_sys::TransactionIdIsCurrentTransactionId((id as u32).into()) }
}

/// The id of the running transaction; one is assigned where it has none.
pub fn transaction() -> u64 {
    // SAFETY: in a transaction; an error is raised where none may be assigned.
    unsafe { pg_sys::GetTopFullTransactionId().value }
}

/// The same; `None` where it has none yet.
pub fn transaction_if_any() -> Option<u64> {
    // SAFETY: reads a variable of this backend.
    let id = unsafe { pg_sys::GetTopFullTransactionIdIfAny().value };
    (id != 0).then_some(id)
}

/// The id that the next transaction gets.
pub fn next_transaction() -> u64 {
    // SAFETY: reads a counter in shared memory.
    unsafe { pg_sys::ReadNextFullTransactionId().value }
}

/// Whether bodies of functions are looked at when they are created: a dump being restored has it off.
pub fn checks_function_bodies() -> bool {
    // SAFETY: reads a variable of this backend.
    unsafe { pg_sys::check_function_bodies }
}

/// Whether PostgreSQL's statistics count the rows that this session writes (`track_counts`).
pub fn counts_rows() -> bool {
    // SAFETY: reads a variable of this backend.
    unsafe { pg_sys::pgstat_track_counts }
}

/// Whether pg_upgrade runs this server. It has noted the next transaction number before it starts the old one, and copies the
/// files afterwards: what anybody writes there meanwhile would be of a transaction that the new server gives out again.
pub fn is_of_pg_upgrade() -> bool {
    // SAFETY: reads a variable that the postmaster sets at its start.
    unsafe { pg_sys::IsBinaryUpgrade }
}
