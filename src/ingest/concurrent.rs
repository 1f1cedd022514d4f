//! CREATE INDEX CONCURRENTLY of the first index that observes a table, refused before PostgreSQL begins: it commits the index
//! before the access method hears of it, and one that is refused then stays behind, not valid, with all that its maker wrote into
//! it. For REINDEX, and where the library was not preloaded, [`refuse_beside`] is asked when the index is built.
#![allow(unsafe_code, reason = "reads parse trees for a hook")]

use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::indexes;
use super::indexes::Observer;
use crate::pg::catalog;
use crate::pg::catalog::{plain_name, relation_name};
use crate::pg::errors::raise;
use crate::pg::inherits;

/// Raises where a statement would make such an index.
///
/// # Safety
/// `statement` must be a valid planned statement.
pub unsafe fn refuse(statement: *mut pg_sys::PlannedStmt) {
    // SAFETY: nodes are cast to the types of their tags; names are NUL-terminated. The table is unlocked again: the statement
    // takes its own lock, of a stronger kind.
    unsafe {
        let node = (*statement).utilityStmt;
        if node.is_null() || (*node).type_ != pg_sys::NodeTag::T_IndexStmt {
            return;
        }
        let index = &*node.cast::<pg_sys::IndexStmt>();
        let observes = !index.accessMethod.is_null() && CStr::from_ptr(index.accessMethod) == indexes::METHOD;
        // Without the extension there is no such access method, which PostgreSQL says.
        if !index.concurrent || !observes || index.relation.is_null() || indexes::method().is_none() {
            return;
        }
        let (none, missing_ok) = (pg_sys::NoLock as i32, pg_sys::RVROption::RVR_MISSING_OK);
        let table = pg_sys::RangeVarGetRelidExtended(index.relation, none, missing_ok, None, std::ptr::null_mut());
        // PostgreSQL refuses all others, and who does not own the table must not wait for it.
        if table == pg_sys::InvalidOid || inherits::kind(table) != pg_sys::RELKIND_RELATION || !catalog::owns(table) {
            return;
        }
        let lock = pg_sys::AccessShareLock as i32;
        let relation = pg_sys::try_relation_open(table, lock);
        if relation.is_null() {
            return;
        }
        let others = indexes::of(table);
        pg_sys::relation_close(relation, lock);
        refuse_beside(table, &others, None);
    }
}

/// Rows of transactions that run while the first index of a table is made concurrently could not be told from those that it
/// sees. One that replaces another (REINDEX) takes its place between two rows. An attempt that was refused leaves an index that
/// is not valid, and sees no row: a second attempt beside it, or a REINDEX of it, is a first one still. `others` are those that
/// the table has beside the new one, which is `made` where it is there already.
pub fn refuse_beside(table: pg_sys::Oid, others: &[Observer], made: Option<pg_sys::Oid>) {
    if others.iter().any(|other| other.is_valid) {
        return;
    }
    let left = others.iter().map(|other| other.index).chain(made);
    let left: Vec<String> = left.filter_map(relation_name).collect();
    let drop = if left.is_empty() { String::new() } else { format!("DROP INDEX {}, and ", left.join(", ")) };
    raise(
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        format!("\"{}\" cannot be observed by an index that is created concurrently", plain_name(table)),
        "Rows that are inserted meanwhile could not be told from those that it sees.",
        &format!("Run {drop}CREATE INDEX without CONCURRENTLY: it stores nothing, and takes a moment."),
    );
}
