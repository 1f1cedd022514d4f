//! A restore and the worker, side by side.
//!
//! A worker starts as soon as `CREATE EXTENSION` is committed, while `pg_restore` is still loading. If it absorbed the
//! restored queue, or counted the restored inventory, it would write rows that the dump brings as well, and the COPY of
//! those would fail with a duplicate key. So a trigger notes who loads the extension's tables, and the worker waits for
//! them. `pg_restore -j` loads with several processes, in any order: each of them is noted when it begins one of our
//! tables, and counts until it ends or has had nothing to do for a while.

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use pgrx::prelude::*;

use crate::pg::call::Call;
use crate::pg::errors::raise;
use crate::pg::process;
use crate::pg::session;
use crate::pg::sql::Sql;
use crate::pg::time;
use crate::shared;
use crate::shared::Database;
use crate::sql_function;

/// Whether a process that loaded a table is still loading: it runs a statement or is in a transaction, or was until
/// just now. A process without reports (`track_activities`) counts for a minute.
const BUSY: &str = "
    SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_get_activity($1) a
                   WHERE a.backend_start <= $2
                     AND CASE a.state WHEN 'idle' THEN a.state_change > pg_catalog.clock_timestamp() - interval '2 seconds'
                                      WHEN 'disabled' THEN $2 > pg_catalog.clock_timestamp() - interval '1 minute'
                                      ELSE true END)";

sql_function!(
    /// `_note_restore() → trigger`: BEFORE INSERT, FOR EACH STATEMENT.
    note_restore,
    pg_finfo_note_restore,
    |call: Call| {
        if call.trigger().is_none() {
            raise(
                PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                "function \"note_restore\" was not called by trigger manager",
                "It is a trigger of asn_inventory's own tables.",
                "",
            );
        }
        // Every dump sets this at its head, and other sessions rarely do: rows written by hand are not a restore.
        if !session::checks_function_bodies()
            && let Some(slot) = shared::shared().and_then(|shared| shared.database_or_new(shared::my_database()))
        {
            slot.restorers.note(process::my_pid(), time::now());
        }
        Datum::from(0)
    }
);

/// Whether a session restores a dump into the extension's tables. Forgets sessions that are done. In a transaction.
pub fn is_under_way(slot: &Database) -> bool {
    let mut some = false;
    for (pid, at) in slot.restorers.all() {
        let sql = Sql::as_caller();
        let found =
            sql.query(BUSY, &[(pg_sys::INT4OID, pid.into_datum()), (pg_sys::TIMESTAMPTZOID, Some(Datum::from(at)))]);
        if found.get::<bool>(0, 1) == Some(true) {
            some = true;
        } else {
            slot.restorers.forget(pid, at);
        }
    }
    some
}

/// Ends a transaction of the worker's that has read rows of a restore: it began after the worker looked for one, and brings
/// what the worker has just written as well. Whose rows were read began before they were there, so it is found now. The work
/// is done again when the restore is through, as after any lock of another session.
pub fn give_way() {
    if shared::here().is_some_and(is_under_way) {
        raise(PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE, "a dump is being restored", "", "");
    }
}
