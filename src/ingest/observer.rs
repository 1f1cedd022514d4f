//! The index access method `ip_observer`: an index that stores nothing. PostgreSQL hands it each new row, wherever the row
//! comes from: a COPY's batch, a partition, a chunk, a shard, a subscription. The row's addresses are counted in memory, and
//! go to the queue when its transaction commits.
//!
//! | file | what |
//! |---|---|
//! | [`options`] | what WITH says |
//! | [`build`] | making the index, which stays empty |
//! | [`check`] | whether it can observe |
//! | [`insert`] | a new row |
//! | [`watch`] | whether and how rows are observed, kept by the session |
//! | [`pending`] | rows that a conflict may take back |
#![allow(unsafe_code, reason = "fills the table of functions that PostgreSQL calls")]

mod build;
pub mod check;
mod insert;
pub mod options;
mod pending;
mod watch;

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use pgrx::prelude::*;

use crate::pg::call::Call;
use crate::sql_function;

sql_function!(
    /// `ip_observer(internal) → index_am_handler`.
    ip_observer,
    pg_finfo_ip_observer,
    |_call: Call| {
        // SAFETY: a node of zeroes, filled in below.
        unsafe {
            let size = size_of::<pg_sys::IndexAmRoutine>();
            let node = pg_sys::palloc0(size).cast::<pg_sys::IndexAmRoutine>();
            (*node).type_ = pg_sys::NodeTag::T_IndexAmRoutine;
            (*node).amcanmulticol = true;
            (*node).amcaninclude = true;
            (*node).amsearchnulls = true;
            // What it makes of an updated row does not depend on where the row stands: the update stays HOT.
            #[cfg(not(feature = "pg15"))]
            {
                (*node).amsummarizing = true;
            }
            (*node).ambuild = Some(build::build);
            (*node).ambuildempty = Some(build::build_empty);
            (*node).aminsert = Some(insert::insert);
            (*node).ambulkdelete = Some(bulk_delete);
            (*node).amvacuumcleanup = Some(vacuum_cleanup);
            (*node).amcostestimate = Some(estimate_cost);
            (*node).amoptions = Some(options::parse);
            (*node).amvalidate = Some(validate);
            Datum::from(node)
        }
    }
);

/// VACUUM, or the check of an index made concurrently: there is nothing to remove, and nothing was.
#[pg_guard]
unsafe extern "C-unwind" fn bulk_delete(
    _info: *mut pg_sys::IndexVacuumInfo,
    stats: *mut pg_sys::IndexBulkDeleteResult,
    _callback: pg_sys::IndexBulkDeleteCallback,
    _state: *mut std::ffi::c_void,
) -> *mut pg_sys::IndexBulkDeleteResult {
    if !stats.is_null() {
        return stats;
    }
    // SAFETY: zeroes are a valid result.
    unsafe { pg_sys::palloc0(size_of::<pg_sys::IndexBulkDeleteResult>()).cast() }
}

/// VACUUM is done with the index.
#[pg_guard]
unsafe extern "C-unwind" fn vacuum_cleanup(
    _info: *mut pg_sys::IndexVacuumInfo,
    stats: *mut pg_sys::IndexBulkDeleteResult,
) -> *mut pg_sys::IndexBulkDeleteResult {
    stats
}

/// No query can be answered from it: it has no operators, and no way to read it. Only for the planner's form.
#[pg_guard]
#[allow(clippy::too_many_arguments)]
unsafe extern "C-unwind" fn estimate_cost(
    _root: *mut pg_sys::PlannerInfo,
    _path: *mut pg_sys::IndexPath,
    _loops: f64,
    startup: *mut pg_sys::Cost,
    total: *mut pg_sys::Cost,
    selectivity: *mut pg_sys::Selectivity,
    correlation: *mut f64,
    pages: *mut f64,
) {
    // SAFETY: PostgreSQL's own places for the results.
    unsafe {
        (*startup, *total) = (f64::INFINITY, f64::INFINITY);
        (*selectivity, *correlation, *pages) = (1.0, 0.0, 0.0);
    }
}

/// Its operator classes have nothing to check.
#[pg_guard]
unsafe extern "C-unwind" fn validate(_class: pg_sys::Oid) -> bool {
    true
}
