//! DROP EXTENSION asn_inventory, refused while Citus distributes the inventory: of a table that belongs to an extension, Citus would
//! leave the shards on the nodes, with all addresses, in tables that nobody sees.
#![allow(unsafe_code, reason = "reads parse trees for a hook")]

use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::inventory::everywhere;
use crate::pg::catalog::Schema;
use crate::pg::citus;
use crate::pg::errors::raise;

/// Raises where a statement would leave shards behind. Not on a worker: there, it is a part of what the coordinator does, or of
/// a server that was taken out of the cluster.
///
/// # Safety
/// `statement` must be a valid planned statement.
pub unsafe fn refuse(statement: *mut pg_sys::PlannedStmt) {
    // SAFETY: see above.
    if !unsafe { drops_extension(statement) } || !citus::is_here() || !citus::is_coordinator() {
        return;
    }
    let Some(schema) = Schema::find() else { return };
    let is_kept = |table: &CStr| citus::kept(schema.relation(table)).is_some();
    if everywhere::there(&schema).into_iter().any(is_kept) {
        raise(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "cannot drop asn_inventory: its inventory is distributed",
            "Citus would leave its shards, with the addresses, on all nodes.",
            &format!(
                "Detach your distributed tables, run SELECT {}.asn_inventory_undistribute(); and drop it then.",
                schema.name
            ),
        );
    }
}

/// Whether it is a DROP EXTENSION, of this extension among others.
///
/// # Safety
/// See [`refuse`].
unsafe fn drops_extension(statement: *mut pg_sys::PlannedStmt) -> bool {
    // SAFETY: nodes are cast to the types of their tags; the names of extensions are strings.
    unsafe {
        let node = (*statement).utilityStmt;
        if node.is_null() || (*node).type_ != pg_sys::NodeTag::T_DropStmt {
            return false;
        }
        let drop = &*node.cast::<pg_sys::DropStmt>();
        if drop.removeType != pg_sys::ObjectType::OBJECT_EXTENSION || drop.objects.is_null() {
            return false;
        }
        (0..(*drop.objects).length as usize).any(|i| {
            let name = (*(*drop.objects).elements.add(i)).ptr_value.cast::<pg_sys::String>();
            CStr::from_ptr((*name).sval) == c"asn_inventory"
        })
    }
}
