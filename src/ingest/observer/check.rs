//! Whether an index can observe what it says. What cannot is refused, with the reason.
#![allow(unsafe_code, reason = "reads the relation cache")]

use std::collections::HashSet;

use enrich::selector::Selector;
use pgrx::{PgSqlErrorCode, pg_sys};

use super::options;
use crate::ingest::attachable;
use crate::pg::catalog::plain_name;
use crate::pg::errors::{bad_value, raise};
use crate::pg::session;
use crate::pg::shape;

/// Refuses an index that cannot observe.
///
/// # Safety
/// Both must be open, and `index` an index of `table` with this access method.
pub unsafe fn index(table: &pg_sys::RelationData, index: &pg_sys::RelationData) {
    attachable::check_table(table.rd_id);
    check_heap(table);
    // SAFETY: see above.
    unsafe {
        let arguments = options::of(index).arguments;
        attachable::check_arguments(table.rd_id, index.rd_att, &arguments);
        let read: HashSet<String> =
            arguments.selectors.iter().filter_map(|text| Some(Selector::parse(text).ok()?.column)).collect();
        let unread =
            (1..=(*index.rd_index).indnkeyatts).map(|i| options::name(index, i)).find(|key| !read.contains(key));
        if let Some(key) = unread {
            bad_value(
                format!("column \"{key}\" of the index is not read"),
                "No selector names it.",
                "Columns for the time, the condition and the sensor stand in INCLUDE.",
            );
        }
    }
}

/// Refuses a table that another access method stores: where a statement may update as well as insert, only the header of a row in a
/// heap says which it was. A dump of a table that was given another one since is restored all the same.
fn check_heap(table: &pg_sys::RelationData) {
    // SAFETY: the table is open.
    let is_stored_otherwise =
        unsafe { (*table.rd_rel).relkind as u8 == pg_sys::RELKIND_RELATION && !shape::is_heap(table) };
    if is_stored_otherwise && session::checks_function_bodies() {
        raise(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            format!("\"{}\" cannot be observed by an index: it is not stored as a heap", plain_name(table.rd_id)),
            "New versions of its rows could not be told from new rows.",
            "Attach it with method => 'trigger'.",
        );
    }
}
