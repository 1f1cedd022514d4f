//! Statements that succeeded although their rows were not observed: counted by table, so that a gap shows.
//!
//! If the queue is available, one of its rows says so (no address, not seen, count 0), and absorbing adds it to the
//! table's count. If the queue is locked, that lock is the reason: then shared memory counts, until `populate_ip_inventory`
//! has brought the table's rows in.
#![allow(unsafe_code, reason = "reads which table a trigger stands on")]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::queue::Queue;
use crate::inventory::{attached, source};
use crate::pg::call;
use crate::pg::call::Call;
use crate::pg::catalog::{Schema, plain_name};
use crate::pg::citus::Kept;
use crate::pg::errors::warn;
use crate::pg::snapshot::{Shown, with_latest_snapshot};
use crate::pg::{citus, inherits, patience, session, tx};
use crate::shared::unobserved::OTHERS;
use crate::{shared, sql_function};

/// A table whose rows are brought in, or not wanted any more.
struct Mended {
    subtransaction: pg_sys::SubTransactionId,
    table: u32,
    /// What the reading of its rows saw; `None`: nobody wants them.
    shown: Option<Rc<Shown>>,
}

thread_local! {
    /// Those of this transaction.
    static MENDED: RefCell<Vec<Mended>> = const { RefCell::new(Vec::new()) };
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

/// Tables that a warning names.
const NAMED: usize = 10;

/// Notes a statement that could not have the queue in time, by the tables whose addresses are lost, and tells the session: of a
/// server without the library's shared memory, nobody else hears of it.
pub fn busy(tables: &[pg_sys::Oid], now: i64) {
    if tables.is_empty() {
        return;
    }
    tables.iter().for_each(|table| count(*table, now));
    warn(
        format!("the addresses of rows inserted into {} are not observed", names(tables)),
        "Somebody holds a lock on ip_observation, or waits for one, and an insert does not wait for that.",
        "Look for it: SELECT pid, mode, granted FROM pg_locks WHERE relation = 'ip_observation'::regclass. Afterwards populate_ip_inventory() brings in the addresses that are not known yet.",
    );
}

/// The names of tables; of many, those of the first ones. Rows of one statement may have gone to a thousand partitions.
fn names(tables: &[pg_sys::Oid]) -> String {
    let mut tables = tables.to_vec();
    tables.sort_unstable_by_key(|table| table.to_u32());
    let named: Vec<String> = tables.iter().take(NAMED).map(|table| format!("\"{}\"", plain_name(*table))).collect();
    let others = match tables.len() - named.len() {
        0 => String::new(),
        others => format!(" and {others} others"),
    };
    named.join(", ") + &others
}

/// Counts in shared memory a statement whose rows were not observed.
pub fn count(source: pg_sys::Oid, now: i64) {
    let Some(slot) = shared::shared().and_then(|shared| shared.database_or_new(shared::my_database())) else { return };
    // SAFETY: reads variables of this backend. While a transaction ends, nobody may look into the catalog.
    let may_look = unsafe { pg_sys::IsTransactionState() && !pg_sys::IsInParallelMode() };
    if may_look && slot.unobserved.has_no_place(source.to_u32()) {
        // Of a table that another transaction is making, nothing is shown, and its place stays.
        let shown = with_latest_snapshot(Shown::now);
        if shown.is_some() {
            slot.unobserved.mend(|table| inherits::kind(table.into()) == 0, shown.as_ref());
        }
    }
    let transaction = session::transaction_if_any().unwrap_or_else(session::next_transaction);
    slot.unobserved.count(source.to_u32(), transaction, now);
}

/// Once this transaction commits, nothing is missing any more of what a snapshot shows of these tables; without one, nothing
/// at all.
pub fn mend_at_commit(schema: &Schema, tables: &[pg_sys::Oid], shown: Option<Shown>) {
    let Some(slot) = shared::here() else { return };
    if !REGISTERED.replace(true) {
        tx::at_events(at_transaction_end);
        tx::at_subtransactions(|event, ended, around| {
            MENDED.with_borrow_mut(|all| tx::hand_on(all, |one| &mut one.subtransaction, event, ended, around));
        });
    }
    let (subtransaction, shown) = (session::subtransaction(), shown.map(Rc::new));
    let mended = |table: u32| Mended { subtransaction, table, shown: shown.clone() };
    MENDED.with_borrow_mut(|all| all.extend(tables.iter().map(|table| mended(table.to_u32()))));
    // The further tables, whose names are not known, are among those that are attached.
    if shown.is_some() && slot.unobserved.has_others() {
        let attached = source::attached(schema).into_iter().map(|(_, table)| table);
        let mut here = attached.filter(|table| citus::kept(*table) != Some(Kept::Distributed));
        let is_mended = |table: pg_sys::Oid| {
            MENDED.with_borrow(|all| all.iter().any(|one| one.table == table.to_u32() && one.shown.is_some()))
        };
        if here.all(is_mended) {
            MENDED.with_borrow_mut(|all| all.push(mended(OTHERS)));
        }
    }
}

fn at_transaction_end(event: pg_sys::XactEvent::Type) {
    if !tx::ends(event) {
        return;
    }
    let mended = MENDED.take();
    // Whether a prepared transaction commits, this backend does not hear.
    if event != pg_sys::XactEvent::XACT_EVENT_COMMIT {
        return;
    }
    let Some(slot) = shared::here().filter(|_| !mended.is_empty()) else { return };
    for one in &mended {
        if one.table != OTHERS {
            slot.unobserved.mend(|table| table == one.table, one.shown.as_deref());
        } else if let Some(oldest) = mended.iter().find_map(|one| one.shown.as_deref()) {
            // The table that was read first shows the least.
            slot.unobserved.mend_others(oldest);
        }
    }
}

/// Whether anybody wants the rows of a table: it is there, and attached itself or below one that is.
fn is_wanted(table: u32) -> bool {
    let table = pg_sys::Oid::from(table);
    if inherits::kind(table) == 0 {
        return false;
    }
    let Some(schema) = Schema::find() else { return false };
    // That a shard's table is attached may be noted on other nodes only. While ip_source is locked, nobody can say.
    citus::shard_of(table).is_some()
        || !patience::lock(schema.relation(c"ip_source"), pg_sys::AccessShareLock, Duration::ZERO)
        || attached::is_any_attached(&schema, &inherits::all(&[table], inherits::CHILD))
}

sql_function!(
    /// `_unobserved_statements(OUT statements bigint, OUT tbl oid, OUT last_at timestamptz)`: those that could not have the
    /// queue and whose rows were not brought in since, and the last of them; nulls where there is none. Its table is null,
    /// too, where there were so many tables that it has no name.
    unobserved_statements,
    pg_finfo_unobserved_statements,
    |call: Call| {
        let missing = shared::here().map(|slot| slot.unobserved.missing(is_wanted)).unwrap_or_default();
        let none = missing.statements == 0;
        let mut values =
            [Datum::from(missing.statements as i64), Datum::from(missing.table as usize), Datum::from(missing.at)];
        call.row(&mut values, &mut [false, none || missing.table == OTHERS, none])
    }
);
