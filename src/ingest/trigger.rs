//! The trigger function: reads the transition table of one statement and appends its addresses to the queue. The
//! row-by-row part is [`rows`].
#![allow(unsafe_code, reason = "reads a transition table, with one guard around the loop")]

use std::cell::Cell;

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use pgrx::prelude::*;

use super::install::TRIGGER;
use super::outlet::Outlet;
use super::plan::{Left, Plan, of_slot};
use super::rows;
use super::tally;
use super::tally::Tally;
use super::unobserved;
use crate::pg::call::Call;
use crate::pg::citus;
use crate::pg::errors::raise;
use crate::pg::raw;
use crate::{settings, sql_function};

/// Distinct addresses of a statement that are held in memory before they go to the queue.
const FLUSH: usize = 100_000;
/// Rows after which the memory that reading values took is given back.
const RESET: u32 = 256;
/// Rows that are read between two looks at interrupts.
const TURN: u32 = 2048;

thread_local! {
    static TALLY: Cell<Tally> = Cell::default();
}

sql_function!(
    /// `observe_addresses() → trigger`: AFTER INSERT, FOR EACH STATEMENT or FOR EACH ROW, arguments `observed_at` and selectors.
    observe_addresses,
    pg_finfo_observe_addresses,
    |call: Call| {
        let schema = call.schema();
        // SAFETY: that of a running trigger.
        let is_ours = |data: &&pg_sys::TriggerData| is_of_a_row(data) || reads(data) || unsafe { counts(data) };
        let Some(data) = call.trigger().filter(is_ours) else {
            raise(
                PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                "function \"observe_addresses\" was not called by trigger manager",
                "It is an AFTER INSERT trigger, FOR EACH STATEMENT with a transition table or FOR EACH ROW.",
                "Call attach_ip_source(table, columns).",
            );
        };
        if is_of_a_row(data) {
            // SAFETY: that of a running row trigger, whose slot was just seen.
            unsafe { rows::observe(data, schema) };
        } else if settings::enabled() && reads(data) {
            // SAFETY: that of a running statement trigger, whose transition table was just seen.
            unsafe { observe(data, schema) };
        } else if settings::enabled_on_server() {
            // Switched off for this session, or the table routes rows to a foreign one.
            // SAFETY: that of a running trigger.
            unsafe { unobserved::note(data, schema) };
        }
        Datum::from(0)
    }
);

/// It is called for one row.
fn is_of_a_row(data: &pg_sys::TriggerData) -> bool {
    let kind = pg_sys::TRIGGER_EVENT_ROW | pg_sys::TRIGGER_EVENT_TIMINGMASK | pg_sys::TRIGGER_EVENT_OPMASK;
    data.tg_event & kind == pg_sys::TRIGGER_EVENT_ROW | pg_sys::TRIGGER_EVENT_INSERT && !data.tg_trigslot.is_null()
}

/// It is handed the new rows.
fn reads(data: &pg_sys::TriggerData) -> bool {
    !data.tg_newtable.is_null()
}

/// It is the trigger of ours that reads no rows, and says that they are not observed: see [`super::install::Reads`].
///
/// # Safety
/// `data` must be that of a running trigger.
unsafe fn counts(data: &pg_sys::TriggerData) -> bool {
    // SAFETY: the trigger's name is NUL-terminated, in the relation cache.
    let name = unsafe { std::ffi::CStr::from_ptr((*data.tg_trigger).tgname) };
    let level = pg_sys::TRIGGER_EVENT_ROW | pg_sys::TRIGGER_EVENT_TIMINGMASK | pg_sys::TRIGGER_EVENT_OPMASK;
    name.to_bytes() == TRIGGER.as_bytes() && data.tg_event & level == pg_sys::TRIGGER_EVENT_INSERT
}

/// # Safety
/// `data` must be that of a running statement trigger with a transition table of new rows.
unsafe fn observe(data: &pg_sys::TriggerData, schema: pg_sys::Oid) {
    // SAFETY: see above. Everything palloced here lives in a context of our own that is deleted at the end; after an
    // error PostgreSQL deletes it with its parent.
    unsafe {
        let desc = (*data.tg_relation).rd_att;
        let plan = Plan::of(data, desc);
        if plan.counts_elsewhere() || citus::is_filling(&*data.tg_relation) {
            return;
        }
        let context = pg_sys::AllocSetContextCreateInternal(
            pg_sys::CurrentMemoryContext,
            c"asn_inventory observe".as_ptr(),
            pg_sys::ALLOCSET_SMALL_MINSIZE as usize,
            pg_sys::ALLOCSET_SMALL_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        plan.warn();
        let now = pg_sys::GetCurrentStatementStartTimestamp();
        let source = (*data.tg_relation).rd_id;
        let slot = pg_sys::MakeSingleTupleTableSlot(desc, &raw const pg_sys::TTSOpsMinimalTuple);
        // Taken out of its cell: a trigger of the same session may run inside of this one.
        let mut tally = TALLY.take();
        let mut outlet = Outlet::new(schema, source, now);

        pg_sys::tuplestore_rescan(data.tg_newtable);
        loop {
            let (turn, rows) = read(data.tg_newtable, slot, context, &plan, now, &mut tally);
            outlet.rows += i64::from(rows);
            match turn {
                Turn::End => break,
                Turn::More => {}
                Turn::Left(left) => {
                    let old = pg_sys::MemoryContextSwitchTo(context);
                    plan.rest_of_row(|attribute| of_slot(slot, attribute), left, now, &mut tally);
                    pg_sys::MemoryContextSwitchTo(old);
                }
            }
            pg_sys::MemoryContextReset(context);
            pgrx::check_for_interrupts!();
            if tally.is_full(FLUSH) {
                outlet.flush(&mut tally);
            }
        }
        outlet.flush(&mut tally);
        if outlet.rows > 0 {
            let old = pg_sys::MemoryContextSwitchTo(context);
            let unread = (!outlet.found).then(|| plan.why_nothing(data.tg_newtable, slot, now)).flatten();
            pg_sys::MemoryContextSwitchTo(old);
            outlet.say_nothing(unread.as_ref());
        }
        if outlet.is_busy {
            unobserved::busy(&[source], now);
        }
        pg_sys::ExecDropSingleTupleTableSlot(slot);
        pg_sys::MemoryContextDelete(context);
        TALLY.set(tally);
        if outlet.large {
            tally::give_back_at_end();
        }
    }
}

/// How far [`read`] came.
enum Turn {
    /// There are no more rows.
    End,
    /// There may be more.
    More,
    /// A row is to be read outside of the guard.
    Left(Left),
}

/// Counts the addresses of the next [`TURN`] rows, inside one guard; with how many rows that were.
///
/// # Safety
/// `slot` must fit the rows of `store`, and `plan` be that of their table.
unsafe fn read(
    store: *mut pg_sys::Tuplestorestate,
    slot: *mut pg_sys::TupleTableSlot,
    context: pg_sys::MemoryContext,
    plan: &Plan,
    now: i64,
    tally: &mut Tally,
) -> (Turn, u32) {
    // SAFETY: see above. Nothing is owned inside the guard that an error would have to drop: the tally, the plan and
    // the context are the caller's.
    unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            // Rows that were spilled to disk are palloced as they are read, and the slot frees each when it takes the
            // next: they must not live in the context that is reset.
            let outer = pg_sys::CurrentMemoryContext;
            for row in 1..=TURN {
                if !raw::tuplestore_gettupleslot(store, true, false, slot) {
                    return (Turn::End, row - 1);
                }
                pg_sys::CurrentMemoryContext = context;
                let read = plan.row_in_guard(|attribute| raw::attribute(slot, attribute), now, tally);
                pg_sys::CurrentMemoryContext = outer;
                if let Err(left) = read {
                    return (Turn::Left(left), row);
                }
                if row.is_multiple_of(RESET) {
                    raw::MemoryContextReset(context);
                }
            }
            (Turn::More, TURN)
        })
    }
}
