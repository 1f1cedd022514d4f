//! Rows that an INSERT … ON CONFLICT has inserted on trial: a conflict with another session may still take such a row back,
//! after the index has seen it. Whether it did is known when the next row comes, or the statement ends: only then the row is
//! counted.
#![allow(unsafe_code, reason = "reads what became of a row in its table")]

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::ingest::counted;
use crate::ingest::running;
use crate::ingest::tally::Tally;
use crate::ingest::unread::Unread;
use crate::pg::call;
use crate::pg::tuple;
use crate::pg::tuple::Written;
use crate::pg::tx;

/// A row on trial, read already.
pub struct Pending {
    /// The subtransaction that wrote it.
    pub subtransaction: pg_sys::SubTransactionId,
    /// Its table.
    pub table: pg_sys::Oid,
    /// Where it stands there.
    pub place: pg_sys::ItemPointerData,
    /// The number of the attempt to insert it.
    pub token: u32,
    /// The extension's schema.
    pub schema: pg_sys::Oid,
    /// Its addresses.
    pub row: Tally,
    /// Why it has none.
    pub unread: Option<Unread>,
}

/// Asked for every row: see [`running`].
static ARE_SOME: AtomicBool = AtomicBool::new(false);

thread_local! {
    static PENDING: Cell<Vec<Pending>> = const { Cell::new(Vec::new()) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// Keeps a row until it is decided.
pub fn keep(pending: Pending) {
    if !REGISTERED.replace(true) {
        // PostgreSQL calls the youngest first: rows are decided before counts are written.
        counted::register();
        tx::at_events(at_transaction);
        // SAFETY: a static function, registered once a backend.
        unsafe { pg_sys::RegisterSubXactCallback(Some(at_subtransaction), std::ptr::null_mut()) };
    }
    let mut all = PENDING.take();
    all.push(pending);
    PENDING.set(all);
    ARE_SOME.store(true, Ordering::Relaxed);
    running::at_end(settle);
}

impl Pending {
    fn stands_at(&self, table: pg_sys::Oid, place: &pg_sys::ItemPointerData) -> bool {
        let number = |place: &pg_sys::ItemPointerData| (place.ip_blkid.bi_hi, place.ip_blkid.bi_lo, place.ip_posid);
        self.table == table && number(&self.place) == number(place)
    }
}

/// Counts the rows that stay, and forgets those that were taken back, or rolled back with a subtransaction.
pub fn settle() {
    if ARE_SOME.load(Ordering::Relaxed) {
        decide(None);
    }
}

/// The same before the row at `place` of a table is observed.
#[inline]
pub fn settle_before(table: pg_sys::Oid, place: &pg_sys::ItemPointerData) {
    if ARE_SOME.load(Ordering::Relaxed) {
        decide(Some((table, place)));
    }
}

#[cold]
fn decide(coming: Option<(pg_sys::Oid, &pg_sys::ItemPointerData)>) {
    let now = call::statement_start();
    let mut undecided = Vec::new();
    for pending in PENDING.take() {
        let became = became(&pending);
        let is_the_same = became == Written::OnTrial(pending.token);
        // A row comes to the place of one that was taken back and vacuumed away since. The same row, which comes to a second
        // index, is still the same attempt.
        if !is_the_same && coming.is_some_and(|(table, place)| pending.stands_at(table, place)) {
            continue;
        }
        match became {
            Written::Inserted => {
                let mut counted = counted::take_of(pending.subtransaction, pending.table, pending.schema);
                counted.add_row(pending.row, pending.unread);
                counted.put(now);
            }
            Written::OnTrial(_) if is_the_same => undecided.push(pending),
            Written::OnTrial(_) | Written::Updated | Written::Nothing => {}
        }
    }
    ARE_SOME.store(!undecided.is_empty(), Ordering::Relaxed);
    if !undecided.is_empty() {
        PENDING.set(undecided);
        running::at_end(settle);
    }
}

/// What became of a row.
fn became(pending: &Pending) -> Written {
    // SAFETY: the transaction that wrote the row holds a lock on the table; a table that is gone has no entry.
    unsafe {
        let relation = pg_sys::RelationIdGetRelation(pending.table);
        if relation.is_null() {
            return Written::Nothing;
        }
        let written = pg_sys::ffi::pg_guard_ffi_boundary(|| tuple::written(relation, &pending.place));
        pg_sys::RelationClose(relation);
        written
    }
}

fn at_transaction(event: pg_sys::XactEvent::Type) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT | pg_sys::XactEvent::XACT_EVENT_PRE_PREPARE => settle(),
        _ if tx::ends(event) => {
            PENDING.take();
            ARE_SOME.store(false, Ordering::Relaxed);
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
    if !ARE_SOME.load(Ordering::Relaxed) {
        return;
    }
    let mut all = PENDING.take();
    // A row of an aborted one must not be looked for: its table may be gone, or shorter, by then.
    tx::hand_on(&mut all, |pending| &mut pending.subtransaction, event, ended, around);
    ARE_SOME.store(!all.is_empty(), Ordering::Relaxed);
    PENDING.set(all);
}
