//! Whose table it is: attaching, detaching and populating are for its owner.

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::pg::catalog;
use crate::pg::catalog::plain_name;
use crate::pg::errors::raise;

/// Creating the trigger checks the same right, but only after the table is locked: a role without the right must not be
/// able to make its writers wait.
pub(super) fn check_owner(table: pg_sys::Oid, why: &str) {
    if !catalog::owns(table) {
        raise(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("must be owner of table \"{}\"", plain_name(table)),
            why,
            "Call it as the table's owner.",
        );
    }
}
