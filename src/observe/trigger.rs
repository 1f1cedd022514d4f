//! The trigger function: reads the transition table of one statement and appends what it saw to the queue.

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use pgrx::prelude::*;

use super::plan::Plan;
use super::queue::Queue;
use super::tally::Tally;
use crate::call::Call;
use crate::errors::{raise, warn};
use crate::{settings, sql_function};

/// Distinct addresses of a statement that are held in memory before they go to the queue.
const FLUSH: usize = 100_000;
/// Rows after which the memory that reading values took is given back.
const RESET: u32 = 256;

sql_function!(
    /// `observe_addresses() → trigger`: AFTER INSERT, FOR EACH STATEMENT, arguments `observed_at` and selectors.
    observe_addresses,
    pg_finfo_observe_addresses,
    |call: Call| {
        // SAFETY: the context is checked to be a trigger's.
        unsafe {
            let data = (*call.0).context.cast::<pg_sys::TriggerData>();
            if data.is_null() || (*data).type_ != pg_sys::NodeTag::T_TriggerData || (*data).tg_newtable.is_null() {
                raise(
                    PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                    "observe_addresses() is no ordinary function",
                    "It is an AFTER INSERT … FOR EACH STATEMENT trigger with a transition table.",
                    "Call attach_ip_source(table, columns).",
                );
            }
            if settings::enabled() {
                observe(&*data, pg_sys::get_func_namespace(call.function()));
            }
        }
        Datum::from(0)
    }
);

/// # Safety
/// `data` must be that of a running statement trigger with a transition table of new rows.
unsafe fn observe(data: &pg_sys::TriggerData, schema: pg_sys::Oid) {
    // SAFETY: see above. Everything palloced here lives in a context of our own that is deleted at the end; after an
    // error PostgreSQL deletes it with its parent.
    unsafe {
        let desc = (*data.tg_relation).rd_att;
        let context = pg_sys::AllocSetContextCreateInternal(
            pg_sys::CurrentMemoryContext,
            c"asn_inventory observe".as_ptr(),
            pg_sys::ALLOCSET_SMALL_MINSIZE as usize,
            pg_sys::ALLOCSET_SMALL_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        let plan = Plan::of(data, desc);
        plan.warn();
        let now = pg_sys::GetCurrentStatementStartTimestamp();
        let source = (*data.tg_relation).rd_id;
        let slot = pg_sys::MakeSingleTupleTableSlot(desc, &raw const pg_sys::TTSOpsMinimalTuple);
        let mut tally = Tally::default();
        let mut queue = None;
        let mut rows = 0u32;

        pg_sys::tuplestore_rescan(data.tg_newtable);
        // Rows that were spilled to disk are palloced as they are read, and the slot frees each when it takes the
        // next: they must not live in the context that is reset.
        while pg_sys::tuplestore_gettupleslot(data.tg_newtable, true, false, slot) {
            let old = pg_sys::MemoryContextSwitchTo(context);
            plan.row(slot, now, &mut tally);
            pg_sys::MemoryContextSwitchTo(old);
            rows += 1;
            if rows.is_multiple_of(RESET) {
                pg_sys::MemoryContextReset(context);
                pgrx::check_for_interrupts!();
                if tally.addresses.len() >= FLUSH {
                    flush(&mut queue, schema, &mut tally, source, now);
                }
            }
        }
        pg_sys::ExecDropSingleTupleTableSlot(slot);
        flush(&mut queue, schema, &mut tally, source, now);
        pg_sys::MemoryContextDelete(context);
    }
}

fn flush(queue: &mut Option<Queue>, schema: pg_sys::Oid, tally: &mut Tally, source: pg_sys::Oid, now: i64) {
    if tally.is_empty() {
        return;
    }
    if queue.is_none() {
        *queue = Queue::open(schema);
    }
    match queue {
        Some(queue) => queue.append(tally, source, now),
        None => warn(
            "observations are lost: ip_observation is missing or not as asn_inventory made it",
            "",
            "Run DROP EXTENSION asn_inventory CASCADE, CREATE EXTENSION asn_inventory, and attach the tables again.",
        ),
    }
    *tally = Tally::default();
}
