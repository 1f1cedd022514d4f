//! Observing row by row, by a row trigger: for rows that a subscription brings. Its worker writes them below SQL, and fires
//! only row triggers. What the rows add is kept in memory until they commit: see [`counted`].
#![allow(unsafe_code, reason = "reads the row of a trigger")]

use pgrx::pg_sys;

use super::counted;
use super::counted::Counted;
use super::plan::{Plan, of_slot};
use crate::pg::call;
use crate::pg::citus;
use crate::pg::raw;
use crate::settings;

/// Counts the addresses of the row that a trigger is called for.
///
/// # Safety
/// `data` must be that of a running AFTER INSERT row trigger; `schema` is the extension's.
pub unsafe fn observe(data: &pg_sys::TriggerData, schema: pg_sys::Oid) {
    // SAFETY: the relation of a running trigger.
    let relation = unsafe { &*data.tg_relation };
    let now = call::statement_start();
    let mut counted = counted::take(relation.rd_id, schema);
    if !*counted.is_filling.get_or_insert_with(|| citus::is_moving_shards() || citus::is_filling(relation)) {
        // SAFETY: see above.
        unsafe { read(data, &mut counted, now) };
    }
    counted.put(now);
}

/// # Safety
/// As [`observe`].
unsafe fn read(data: &pg_sys::TriggerData, counted: &mut Counted, now: i64) {
    if !settings::enabled() {
        counted.unobserved |= settings::enabled_on_server();
        return;
    }
    // SAFETY: the relation and the row of a running trigger. Nothing is owned inside of the guard.
    unsafe {
        let slot = data.tg_trigslot;
        let plan = Plan::of(data, (*data.tg_relation).rd_att);
        if plan.counts_elsewhere() {
            return;
        }
        plan.warn();
        counted.rows += 1;
        let tally = &mut counted.tally;
        let read = pg_sys::ffi::pg_guard_ffi_boundary(|| {
            plan.row_in_guard(|attribute| raw::attribute(slot, attribute), now, tally)
        });
        let value = |attribute| of_slot(slot, attribute);
        if let Err(left) = read {
            plan.rest_of_row(value, left, now, tally);
        }
        counted.note_nothing(|| plan.why_nothing_in(value, now));
    }
}
