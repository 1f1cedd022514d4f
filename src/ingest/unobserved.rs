//! Statements that succeeded although their rows were not observed: counted by table, so that a gap shows.
//!
//! If the queue is available, one of its rows says so (no address, not seen, count 0), and absorbing adds it to the
//! table's count. If the queue is locked, that lock is the reason: then shared memory counts, until `populate_ip_inventory`
//! has brought the table's rows in.
#![allow(unsafe_code, reason = "reads which table a trigger stands on")]

use std::cell::{Cell, RefCell};

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::queue::Queue;
use crate::pg::call;
use crate::pg::call::Call;
use crate::pg::catalog::plain_name;
use crate::pg::errors::warn;
use crate::pg::{inherits, tx};
use crate::{shared, sql_function};

thread_local! {
    /// Tables whose rows this transaction brings in, and as of when.
    static MENDED: RefCell<Vec<(u32, i64)>> = const { RefCell::new(Vec::new()) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// Notes a statement of a session for which observing is switched off, or of a table that cannot be read.
///
/// # Safety
/// `data` must be that of a running trigger.
pub unsafe fn note(data: &pg_sys::TriggerData, schema: pg_sys::Oid) {
    // SAFETY: the relation of a running trigger.
    let source = unsafe { (*data.tg_relation).rd_id };
    note_table(source, schema, call::statement_start());
}

/// The same for a table, at a time (timestamptz).
pub fn note_table(source: pg_sys::Oid, schema: pg_sys::Oid, now: i64) {
    match Queue::open_at_once(schema) {
        Ok(queue) => queue.append_unobserved(source, now),
        Err(_) => count(source, now),
    }
}

/// Notes a statement that could not have the queue in time, and tells the session.
pub fn busy(source: pg_sys::Oid, now: i64) {
    count(source, now);
    warn(
        format!("the addresses of rows inserted into \"{}\" are not observed", plain_name(source)),
        "Somebody holds a lock on ip_observation, or waits for one, and an insert does not wait for that.",
        "Look for it: SELECT pid, mode, granted FROM pg_locks WHERE relation = 'ip_observation'::regclass. Afterwards populate_ip_inventory() brings in the addresses that are not known yet.",
    );
}

/// Counts in shared memory a statement whose rows were not observed.
pub fn count(source: pg_sys::Oid, now: i64) {
    let Some(slot) = shared::shared().and_then(|shared| shared.database_or_new(shared::my_database())) else { return };
    slot.unobserved.count(source.to_u32(), now);
}

/// Once this transaction commits, nothing is missing any more of what these tables had at a time (timestamptz).
pub fn mend_at_commit(tables: &[pg_sys::Oid], at: i64) {
    if shared::shared().is_none() {
        return;
    }
    MENDED.with_borrow_mut(|mended| mended.extend(tables.iter().map(|table| (table.to_u32(), at))));
    if !REGISTERED.replace(true) {
        tx::at_events(at_transaction_end);
    }
}

fn at_transaction_end(event: pg_sys::XactEvent::Type) {
    if !tx::ends(event) {
        return;
    }
    let mended = MENDED.take();
    if !tx::is_abort(event)
        && let Some(slot) = shared::here().filter(|_| !mended.is_empty())
    {
        mended.iter().for_each(|(table, at)| slot.unobserved.mend(*table, *at));
    }
}

sql_function!(
    /// `_unobserved_statements(OUT statements bigint, OUT tbl oid, OUT last_at timestamptz)`: those that could not have the
    /// queue and whose rows were not brought in since, and the last of them; nulls where there is none.
    unobserved_statements,
    pg_finfo_unobserved_statements,
    |call: Call| {
        let is_there = |table: u32| inherits::kind(table.into()) != 0;
        let missing = shared::here().map(|slot| slot.unobserved.missing(is_there)).unwrap_or_default();
        let none = missing.statements == 0;
        let mut values =
            [Datum::from(missing.statements as i64), Datum::from(missing.table as usize), Datum::from(missing.at)];
        call.row(&mut values, &mut [false, none, none])
    }
);
