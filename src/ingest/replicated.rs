//! Rows that a subscription brings into the extension's own tables.
//!
//! Each server's worker fills these tables itself. Under `CREATE PUBLICATION … FOR ALL TABLES` a subscriber gets the
//! publisher's rows as well: queued observations would be counted a second time, and a row that both have would stop
//! the subscription for good. So a trigger that is enabled for replicas drops these rows. It drops no other rows: the
//! worker, too, writes with `session_replication_role = replica`.
#![allow(unsafe_code, reason = "compares rows below SQL")]

use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use crate::pg::call::Call;
use crate::pg::catalog;
use crate::pg::errors::raise;
use crate::sql_function;

sql_function!(
    /// `_drop_replicated_row() → trigger`: BEFORE INSERT, UPDATE or DELETE, FOR EACH ROW. With the argument `known`, an
    /// inserted row is dropped only where there is one of that key.
    drop_replicated_row,
    pg_finfo_drop_replicated_row,
    |call: Call| {
        let Some(data) = call.trigger() else {
            raise(
                pgrx::PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                "function \"drop_replicated_row\" was not called by trigger manager",
                "It is a trigger of asn_inventory's own tables.",
                "",
            );
        };
        // SAFETY: that of a running row trigger.
        let is_dropped = unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| IsLogicalWorker()) && is_dropped(data) };
        let kept = if is_dropped {
            std::ptr::null_mut()
        } else if data.tg_event & pg_sys::TRIGGER_EVENT_OPMASK == pg_sys::TRIGGER_EVENT_UPDATE {
            data.tg_newtuple
        } else {
            data.tg_trigtuple
        };
        Datum::from(kept)
    }
);

sql_function!(
    /// `_is_replicated() → boolean`.
    is_replicated,
    pg_finfo_is_replicated,
    // SAFETY: only reads a variable.
    |_call: Call| Datum::from(unsafe { IsLogicalWorker() })
);

unsafe extern "C-unwind" {
    // Whether this process applies a subscription. It only reads a variable.
    fn IsLogicalWorker() -> bool;
}

/// # Safety
/// `data` must be that of a running row trigger.
unsafe fn is_dropped(data: &pg_sys::TriggerData) -> bool {
    // SAFETY: arguments are NUL-terminated; the relation of a running trigger.
    unsafe {
        // A shard has the triggers of its table, and is moved by a subscription.
        if catalog::extension_of(pg_sys::RelationRelationId, (*data.tg_relation).rd_id).is_none() {
            return false;
        }
        let trigger = &*data.tg_trigger;
        let only_known = trigger.tgnargs > 0 && CStr::from_ptr(*trigger.tgargs) == c"known";
        !only_known || is_known(data)
    }
}

/// Whether the table has a row with the key of the one that comes.
///
/// # Safety
/// As `is_dropped`.
unsafe fn is_known(data: &pg_sys::TriggerData) -> bool {
    // SAFETY: the slot of the new row is filled; the slot for the found row is dropped again.
    unsafe {
        let relation = data.tg_relation;
        let index = pg_sys::RelationGetReplicaIndex(relation);
        if index == pg_sys::InvalidOid || data.tg_trigslot.is_null() {
            return false;
        }
        let found = pg_sys::table_slot_create(relation, std::ptr::null_mut());
        let lock = pg_sys::LockTupleMode::LockTupleNoKeyExclusive;
        let known = pg_sys::RelationFindReplTupleByIndex(relation, index, lock, data.tg_trigslot, found);
        pg_sys::ExecDropSingleTupleTableSlot(found);
        known
    }
}
