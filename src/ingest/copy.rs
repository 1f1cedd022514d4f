//! Room for a COPY's transition table.
//!
//! PostgreSQL keeps the new rows of a statement in memory up to `work_mem`, and on disk beyond. 10,000 events of 400
//! bytes are just more than its 4 MB, and writing them out and reading them back would cost as much as everything that
//! the trigger does. So a COPY into an attached table has `asn_inventory.copy_work_mem`, if it has not more already.
#![allow(unsafe_code, reason = "reads the parse tree of a COPY")]

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::pg::tx;
use crate::settings;

/// Raises `work_mem` if `statement` is a COPY into a table whose new rows a trigger reads. Returns the level of
/// settings to go back to afterwards; after an error, the transaction's end does that.
///
/// # Safety
/// `statement` must be a valid planned statement.
#[pg_guard]
pub unsafe extern "C-unwind" fn make_room(statement: *mut pg_sys::PlannedStmt) -> i32 {
    // SAFETY: see above; nodes are cast to the types of their tags.
    unsafe {
        let node = (*statement).utilityStmt;
        if (*node).type_ != pg_sys::NodeTag::T_CopyStmt {
            return 0;
        }
        let room = settings::copy_work_mem();
        if pg_sys::work_mem >= room || !settings::enabled() {
            return 0;
        }
        let copy = &*node.cast::<pg_sys::CopyStmt>();
        if !copy.is_from || copy.relation.is_null() || !has_reader(copy.relation) {
            return 0;
        }
        let level = pg_sys::NewGUCNestLevel();
        tx::save_and_set(c"work_mem", &crate::pg::catalog::c_string(&room.to_string()));
        level
    }
}

/// Restores the value that [`make_room`] found. Settings that the table's own triggers changed stay, as without us.
#[pg_guard]
pub extern "C-unwind" fn give_back(level: i32) {
    if level > 0 {
        // SAFETY: begun by `make_room` in this very statement.
        unsafe { pg_sys::AtEOXact_GUC(true, level) };
    }
}

/// Whether an insert trigger of the table reads a transition table. It never waits: without access the answer is no.
///
/// # Safety
/// `name` must be a valid range variable.
unsafe fn has_reader(name: *mut pg_sys::RangeVar) -> bool {
    // SAFETY: see above; the relation is closed and unlocked again, the COPY takes its own lock.
    unsafe {
        let lock = pg_sys::AccessShareLock as i32;
        let missing_ok = pg_sys::RVROption::RVR_MISSING_OK;
        let none = pg_sys::NoLock as i32;
        let oid = pg_sys::RangeVarGetRelidExtended(name, none, missing_ok, None, std::ptr::null_mut());
        if oid == pg_sys::InvalidOid || !pg_sys::ConditionalLockRelationOid(oid, lock) {
            return false;
        }
        let relation = pg_sys::RelationIdGetRelation(oid);
        let reads = !relation.is_null() && {
            let triggers = (*relation).trigdesc;
            let reads = !triggers.is_null() && (*triggers).trig_insert_new_table;
            pg_sys::RelationClose(relation);
            reads
        };
        pg_sys::UnlockRelationOid(oid, lock);
        reads
    }
}
