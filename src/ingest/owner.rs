//! Whose table it is: attaching, detaching and populating are for its owner.

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::pg::catalog::plain_name;
use crate::pg::errors::raise;

/// Making the trigger asks for the same right, but only once the table is locked: whoever may not do it must not be
/// able to make its writers wait.
pub(super) fn check_owner(table: pg_sys::Oid, why: &str) {
    // SAFETY: catalog look-ups.
    let owns = unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        let owns = pg_sys::pg_class_ownercheck(table, pg_sys::GetUserId());
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        let owns = pg_sys::object_ownercheck(pg_sys::RelationRelationId, table, pg_sys::GetUserId());
        owns
    };
    if !owns {
        raise(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("must be owner of table \"{}\"", plain_name(table)),
            why,
            "Call it as the table's owner.",
        );
    }
}
