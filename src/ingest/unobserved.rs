//! Statements that succeeded although their rows were not observed: counted by table, so that a gap shows.
//!
//! If the queue is available, one of its rows says so (no address, not seen, count 0), and absorbing adds it to the
//! table's count. If the queue is locked, that lock is the reason: then shared memory counts, and names the last table.
#![allow(unsafe_code, reason = "reads which table a trigger stands on")]

use std::sync::atomic::Ordering;

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::queue::Queue;
use crate::pg::call;
use crate::pg::call::Call;
use crate::pg::catalog::plain_name;
use crate::pg::errors::warn;
use crate::{shared, sql_function};

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
    slot.unobserved.fetch_add(1, Ordering::Relaxed);
    slot.unobserved_table.store(source.to_u32(), Ordering::Relaxed);
    slot.unobserved_at.store(now, Ordering::Relaxed);
}

sql_function!(
    /// `_unobserved_statements(OUT statements bigint, OUT tbl oid, OUT last_at timestamptz)`: those that could not have the
    /// queue since the server started, and the last of them; nulls where there was none.
    unobserved_statements,
    pg_finfo_unobserved_statements,
    |call: Call| {
        let slot = shared::here();
        let statements = slot.map_or(0, |slot| slot.unobserved.load(Ordering::Relaxed));
        let (table, at) = slot.map_or((0, 0), |slot| {
            (slot.unobserved_table.load(Ordering::Relaxed), slot.unobserved_at.load(Ordering::Relaxed))
        });
        let none = statements == 0;
        let mut values = [Datum::from(statements as i64), Datum::from(table as usize), Datum::from(at)];
        call.row(&mut values, &mut [false, none, none])
    }
);
