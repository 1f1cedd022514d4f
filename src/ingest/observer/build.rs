//! Making an index: that its columns can be read is checked, and nothing is stored. The rows that are there already were not
//! inserted now: `populate_ip_inventory()` counts them.
#![allow(unsafe_code, reason = "called by PostgreSQL to fill an index")]

use std::collections::HashSet;

use enrich::selector::Selector;
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::options;
use crate::ingest::attachable;
use crate::ingest::indexes;
use crate::ingest::install;
use crate::pg::catalog::{plain_name, relation_name};
use crate::pg::citus;
use crate::pg::errors::{bad_value, raise};
use crate::pg::session;

/// For PostgreSQL: the index is to be filled.
#[pg_guard]
pub unsafe extern "C-unwind" fn build(
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
) -> *mut pg_sys::IndexBuildResult {
    // SAFETY: PostgreSQL's own arguments, valid for this call.
    unsafe {
        // An index that is filled again, by TRUNCATE or REINDEX, is not judged: that must not fail. Nor is one in the middle of
        // an upgrade of the server, which was valid before. Zero is no subtransaction.
        if (*index).rd_createSubid != 0 && !session::is_of_pg_upgrade() {
            check(&*table, &*index);
        }
        if (*info).ii_Concurrent {
            check_concurrent(&*table, &*index);
        }
        if citus::kept((*table).rd_id).is_none() && citus::shard_of((*table).rd_id).is_none() {
            install::goes_with_extension(pg_sys::RelationRelationId, (*index).rd_id);
        }
        let size = size_of::<pg_sys::IndexBuildResult>();
        let result = pg_sys::palloc0(size).cast::<pg_sys::IndexBuildResult>();
        // The table was not read: its estimate stays.
        (*result).heap_tuples = -1.0;
        result
    }
}

/// For PostgreSQL: the empty form of an unlogged table's index, which an empty file is.
#[pg_guard]
pub unsafe extern "C-unwind" fn build_empty(_index: pg_sys::Relation) {}

/// Refuses an index that cannot observe.
///
/// # Safety
/// Both must be open, and `index` an index of `table` with this access method.
pub unsafe fn check(table: &pg_sys::RelationData, index: &pg_sys::RelationData) {
    attachable::check_table(table.rd_id);
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

/// Rows of transactions that run while the first index of a table is made concurrently could not be told from those that it
/// sees. One that replaces another (REINDEX) takes its place between two rows.
fn check_concurrent(table: &pg_sys::RelationData, index: &pg_sys::RelationData) {
    if indexes::of(table.rd_id).iter().all(|other| other.index == index.rd_id) {
        raise(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            format!("\"{}\" cannot be observed by an index that is created concurrently", plain_name(table.rd_id)),
            "Rows that are inserted meanwhile could not be told from those that it sees.",
            &format!(
                "Run DROP INDEX {}, and CREATE INDEX without CONCURRENTLY: it stores nothing, and takes a moment.",
                relation_name(index.rd_id).unwrap_or_default()
            ),
        );
    }
}
