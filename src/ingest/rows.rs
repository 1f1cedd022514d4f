//! Observing row by row, for replicated rows: a subscription's worker writes them below SQL, and fires only row
//! triggers.
//!
//! A row is counted in memory, and the queue is written once, before the transaction commits or is prepared. The counts
//! of a subtransaction are separate until it ends: then they go to the transaction around it, or are dropped.
#![allow(unsafe_code, reason = "reads the row of a trigger, and hears of subtransactions")]

use std::cell::Cell;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::outlet::Outlet;
use super::plan::Plan;
use super::tally;
use super::tally::Tally;
use super::unobserved;
use super::unread::Unread;
use crate::pg::call;
use crate::pg::citus;
use crate::pg::tx;
use crate::settings;

/// Distinct addresses of a table and subtransaction that are held in memory before they go to the queue.
const FLUSH: usize = 100_000;

/// The counts of one table's rows.
struct Counted {
    table: pg_sys::Oid,
    /// The extension's schema.
    schema: pg_sys::Oid,
    tally: Tally,
    /// Rows that were read and are not in the queue yet.
    rows: i64,
    /// One of them, or of those before, held an address or a value that is none.
    found: bool,
    /// Why the first row without an address had none.
    unread: Option<Unread>,
    /// Rows came while observing was switched off.
    unobserved: bool,
    /// Citus copies earlier rows here; `None`: not known yet.
    is_filling: Option<bool>,
}

/// The counts of a subtransaction.
struct Level {
    subtransaction: pg_sys::SubTransactionId,
    tables: Vec<Counted>,
}

thread_local! {
    /// The innermost last.
    static LEVELS: Cell<Vec<Level>> = const { Cell::new(Vec::new()) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// The counts, taken out of their cell while PostgreSQL is called: a session that is ended there does not return, and
/// its abort must not find the cell in use. After an error they are put back.
struct Held(Vec<Level>);

impl Held {
    fn take() -> Held {
        Held(LEVELS.take())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        LEVELS.set(std::mem::take(&mut self.0));
    }
}

/// Writes the counts of this transaction so far to the queue, for a caller that reads rows and queue. The counts of a
/// transaction around a savepoint cannot be written: a rollback to the savepoint would remove them. False: there are
/// such counts.
pub fn hand_in() -> bool {
    let mut held = Held::take();
    // SAFETY: reads variables of the running transaction.
    let (current, now) = unsafe { (pg_sys::GetCurrentSubTransactionId(), pg_sys::GetCurrentStatementStartTimestamp()) };
    for level in held.0.iter_mut().filter(|level| level.subtransaction == current) {
        level.tables.iter_mut().for_each(|counted| flush(counted, now));
    }
    held.0.retain(|level| level.subtransaction != current);
    held.0.iter().all(|level| level.tables.is_empty())
}

/// Counts the addresses of the row that a trigger is called for.
///
/// # Safety
/// `data` must be that of a running AFTER INSERT row trigger; `schema` is the extension's.
pub unsafe fn observe(data: &pg_sys::TriggerData, schema: pg_sys::Oid) {
    register();
    // SAFETY: the relation and the row of a running trigger. Nothing is owned inside of the guard.
    unsafe {
        let (table, slot) = ((*data.tg_relation).rd_id, data.tg_trigslot);
        let now = call::statement_start();
        let subtransaction = pg_sys::GetCurrentSubTransactionId();
        let mut held = Held::take();
        {
            let counted = counted(&mut held.0, subtransaction, table, schema);
            if *counted.is_filling.get_or_insert_with(|| citus::is_filling(&*data.tg_relation)) {
                return;
            }
            if !settings::enabled() {
                counted.unobserved |= settings::enabled_on_server();
                return;
            }
            let plan = Plan::of(data, (*data.tg_relation).rd_att);
            if plan.counts_elsewhere {
                return;
            }
            plan.warn();
            counted.rows += 1;
            let tally = &mut counted.tally;
            let before = (tally.addresses.len(), tally.unparsable);
            let read = pg_sys::ffi::pg_guard_ffi_boundary(|| plan.row_in_guard(slot, now, tally));
            if let Err(left) = read {
                plan.rest_of_row(slot, left, now, tally);
            }
            if tally.is_empty() && before == (0, 0) && !counted.found && counted.unread.is_none() {
                counted.unread = plan.why_nothing_in(slot, now);
            }
            if tally.is_full(FLUSH) {
                flush(counted, now);
            }
        }
    }
}

/// The place of a table in the running subtransaction.
fn counted(
    levels: &mut Vec<Level>,
    subtransaction: pg_sys::SubTransactionId,
    table: pg_sys::Oid,
    schema: pg_sys::Oid,
) -> &mut Counted {
    if levels.last().is_none_or(|level| level.subtransaction != subtransaction) {
        levels.push(Level { subtransaction, tables: Vec::new() });
    }
    let at = levels.len() - 1;
    let tables = &mut levels[at].tables;
    let place = tables.iter().position(|counted| counted.table == table).unwrap_or(tables.len());
    if place == tables.len() {
        tables.push(Counted {
            table,
            schema,
            tally: Tally::default(),
            rows: 0,
            found: false,
            unread: None,
            unobserved: false,
            is_filling: None,
        });
    }
    &mut tables[place]
}

/// Writes the counts to the queue.
fn flush(counted: &mut Counted, now: i64) {
    let mut outlet = Outlet::new(counted.schema, counted.table, now);
    outlet.rows = std::mem::take(&mut counted.rows);
    outlet.flush(&mut counted.tally);
    counted.found |= outlet.found;
    if outlet.rows > 0 {
        outlet.say_nothing(counted.unread.take().filter(|_| !counted.found).as_ref());
    }
    if outlet.large {
        tally::give_back_at_end();
    }
    if std::mem::take(&mut counted.unobserved) {
        unobserved::note_table(counted.table, counted.schema, now);
    }
}

impl Counted {
    /// Adds a subtransaction's counts of the same table.
    fn add(&mut self, other: Counted) {
        self.tally.add(other.tally);
        self.rows += other.rows;
        self.found |= other.found;
        self.unobserved |= other.unobserved;
        self.unread = self.unread.take().or(other.unread);
    }
}

fn register() {
    if !REGISTERED.replace(true) {
        tx::at_events(at_transaction);
        // SAFETY: a static function, registered once a backend.
        unsafe { pg_sys::RegisterSubXactCallback(Some(at_subtransaction), std::ptr::null_mut()) };
    }
}

fn at_transaction(event: pg_sys::XactEvent::Type) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT | pg_sys::XactEvent::XACT_EVENT_PRE_PREPARE => {
            let now = call::statement_start();
            for level in LEVELS.take() {
                level.tables.into_iter().for_each(|mut counted| flush(&mut counted, now));
            }
        }
        _ if tx::ends(event) => {
            let left = LEVELS.take();
            // A row was inserted after our callback: it cannot be written any more, but it can be reported.
            if !tx::is_abort(event) {
                left.iter().flat_map(|level| &level.tables).for_each(|counted| unobserved::count(counted.table, 0));
            }
        }
        _ => {}
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_subtransaction(
    event: pg_sys::SubXactEvent::Type,
    ended: pg_sys::SubTransactionId,
    around: pg_sys::SubTransactionId,
    _argument: *mut std::ffi::c_void,
) {
    let mut held = Held::take();
    let levels = &mut held.0;
    match event {
        // Numbers grow: those inside of it are higher.
        pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => levels.retain(|level| level.subtransaction < ended),
        pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => {
            let Some(level) = levels.pop_if(|level| level.subtransaction == ended) else { return };
            for from in level.tables {
                let schema = from.schema;
                counted(levels, around, from.table, schema).add(from);
            }
        }
        _ => {}
    }
}
