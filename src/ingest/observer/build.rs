//! Making an index: that its columns can be read is checked, and nothing is stored. The rows that are there already were not
//! inserted now: `populate_ip_inventory()` counts them.
#![allow(unsafe_code, reason = "called by PostgreSQL to fill an index")]

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::check;
use crate::ingest::concurrent;
use crate::ingest::indexes;
use crate::ingest::indexes::Observer;
use crate::ingest::install;
use crate::ingest::noted;
use crate::pg::citus;
use crate::pg::inherits;
use crate::pg::session;
use crate::pg::tx::Settings;

/// For PostgreSQL: the index is to be filled.
#[pg_guard]
pub unsafe extern "C-unwind" fn build(
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
) -> *mut pg_sys::IndexBuildResult {
    // SAFETY: PostgreSQL's own arguments, valid for this call.
    unsafe {
        // An index that is filled again, by TRUNCATE or REINDEX, is not judged: that must not fail. Nor is one that ALTER TABLE
        // has made anew for a column of another type, and fills together with the rewritten table: what it cannot read any more
        // is passed over with a warning, as by a trigger. Nor is one in the middle of an upgrade of the server, which was valid
        // before. Zero is no subtransaction.
        let is_of_now = (*index).rd_createSubid != 0 && !session::is_of_pg_upgrade();
        let is_new = is_of_now && refilled_in(&*index) == 0;
        if is_new {
            check::index(&*table, &*index);
        }
        if (*info).ii_Concurrent {
            check_concurrent(&*table, &*index);
        }
        if citus::kept((*table).rd_id).is_none() && citus::shard_of((*table).rd_id).is_none() {
            // Those above, which are not built, may have been made anew as well.
            for index in inherits::all(&[(*index).rd_id], inherits::CHILD) {
                install::goes_with_extension(pg_sys::RelationRelationId, index);
            }
        }
        // REINDEX CONCURRENTLY brings the comment of the one that it replaces, and a dump its own.
        if is_of_now && !(*info).ii_Concurrent && session::checks_function_bodies() {
            indexes::explain((*index).rd_id);
        }
        // What is made together with its table is a copy, or the event trigger's.
        if is_new && (*table).rd_createSubid == 0 && !(*info).ii_Concurrent {
            // Whoever makes the index has their own path here, and must not answer by it what they may.
            let pinned = Settings::with_pinned_path();
            noted::note_built(&*table, &*index);
            drop(pinned);
        }
        let size = size_of::<pg_sys::IndexBuildResult>();
        let result = pg_sys::palloc0(size).cast::<pg_sys::IndexBuildResult>();
        // The table was not read: its estimate stays.
        (*result).heap_tuples = -1.0;
        result
    }
}

/// The subtransaction that has given an index new files; 0: none of this transaction.
fn refilled_in(index: &pg_sys::RelationData) -> pg_sys::SubTransactionId {
    #[cfg(feature = "pg15")]
    let number = index.rd_newRelfilenodeSubid;
    #[cfg(not(feature = "pg15"))]
    let number = index.rd_newRelfilelocatorSubid;
    number
}

/// For PostgreSQL: the empty form of an unlogged table's index, which an empty file is.
#[pg_guard]
pub unsafe extern "C-unwind" fn build_empty(_index: pg_sys::Relation) {}

/// Refuses one that is made concurrently beside none that observes.
fn check_concurrent(table: &pg_sys::RelationData, index: &pg_sys::RelationData) {
    let others: Vec<Observer> =
        indexes::of(table.rd_id).into_iter().filter(|other| other.index != index.rd_id).collect();
    concurrent::refuse_beside(table.rd_id, &others, Some(index.rd_id));
}
