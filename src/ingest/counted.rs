//! What rows that are observed one by one have added, until their transaction commits or is prepared: then the queue is
//! written, once. The counts of a subtransaction are separate until it ends: they go to the transaction around it, or are
//! dropped.
#![allow(unsafe_code, reason = "hears of subtransactions")]
// A row takes its table's counts out and puts them back: by their address alone.
#![allow(clippy::vec_box)]

use std::cell::Cell;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::outlet::Outlet;
use super::tally;
use super::tally::Tally;
use super::unobserved;
use super::unread::Unread;
use crate::pg::call;
use crate::pg::session;
use crate::pg::tx;

/// Distinct addresses of a table and subtransaction that are held in memory before they go to the queue.
const FLUSH: usize = 100_000;

/// A row that was counted, and how: another index that reads the same does not count it again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Where it stands.
    pub place: u64,
    /// The command that wrote it.
    pub command: pg_sys::CommandId,
    /// What was read of it: a hash.
    pub read: u64,
}

/// The counts of one table's rows in one subtransaction.
pub struct Counted {
    subtransaction: pg_sys::SubTransactionId,
    table: pg_sys::Oid,
    /// The extension's schema.
    schema: pg_sys::Oid,
    /// Their addresses.
    pub tally: Tally,
    /// Rows that were read and are not in the queue yet.
    pub rows: i64,
    /// One of them, or of those before, held an address or a value that is none.
    found: bool,
    /// Why the first row without an address had none.
    unread: Option<Unread>,
    /// Rows came while observing was switched off.
    pub unobserved: bool,
    /// Citus copies earlier rows here; `None`: not known yet.
    pub is_filling: Option<bool>,
    /// The last row, and the index that it came to.
    pub last: Option<(Row, pg_sys::Oid)>,
}

thread_local! {
    /// Those of inner subtransactions last.
    static ALL: Cell<Vec<Box<Counted>>> = const { Cell::new(Vec::new()) };
    /// The one that was used last, apart: the next row is most likely one for it.
    static HAND: Cell<Option<Box<Counted>>> = const { Cell::new(None) };
    /// A tally of an earlier transaction, for its memory.
    static SPARE: Cell<Option<Tally>> = const { Cell::new(None) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// The counts, taken out of their cell while PostgreSQL is called: a session that is ended there does not return, and
/// its abort must not find the cell in use. After an error they are put back.
struct Held(Vec<Box<Counted>>);

impl Held {
    fn take() -> Held {
        let mut all = ALL.take();
        all.extend(HAND.take());
        // Numbers of subtransactions grow.
        all.sort_by_key(|counted| counted.subtransaction);
        Held(all)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        ALL.set(std::mem::take(&mut self.0));
    }
}

/// The counts of a table, by its OID, in the running subtransaction. Whoever takes them gives them back with
/// [`Counted::put`]; after an error, their subtransaction is aborted. `schema` is the extension's.
#[inline]
pub fn take(table: pg_sys::Oid, schema: pg_sys::Oid) -> Box<Counted> {
    let subtransaction = session::subtransaction();
    match HAND.take() {
        Some(hand) if hand.table == table && hand.subtransaction == subtransaction => hand,
        other => find(other, subtransaction, table, schema),
    }
}

#[cold]
fn find(
    other: Option<Box<Counted>>,
    subtransaction: pg_sys::SubTransactionId,
    table: pg_sys::Oid,
    schema: pg_sys::Oid,
) -> Box<Counted> {
    register();
    HAND.set(other);
    let mut held = Held::take();
    match held.0.iter().position(|counted| counted.table == table && counted.subtransaction == subtransaction) {
        Some(at) => held.0.remove(at),
        None => Box::new(Counted {
            subtransaction,
            table,
            schema,
            tally: SPARE.take().unwrap_or_default(),
            rows: 0,
            found: false,
            unread: None,
            unobserved: false,
            is_filling: None,
            last: None,
        }),
    }
}

impl Counted {
    /// Gives them back.
    #[inline]
    pub fn put(mut self: Box<Self>, now: i64) {
        if self.tally.is_full(FLUSH) {
            self.flush(now);
        }
        if let Some(other) = HAND.replace(Some(self)) {
            let mut all = ALL.take();
            all.push(other);
            ALL.set(all);
        }
    }

    /// Notes that a row held no address, as long as none did. `why` finds the reason.
    pub fn note_nothing(&mut self, why: impl FnOnce() -> Option<Unread>) {
        if self.tally.is_empty() && !self.found && self.unread.is_none() {
            self.unread = why();
        }
    }

    /// Adds the addresses of one row.
    pub fn add_row(&mut self, row: Tally, unread: Option<Unread>) {
        self.rows += 1;
        if row.is_empty() {
            self.note_nothing(|| unread);
        }
        self.tally.add(row);
    }

    /// Writes the counts to the queue.
    fn flush(&mut self, now: i64) {
        let mut outlet = Outlet::new(self.schema, self.table, now);
        outlet.rows = std::mem::take(&mut self.rows);
        outlet.flush(&mut self.tally);
        self.found |= outlet.found;
        if outlet.rows > 0 {
            outlet.say_nothing(self.unread.take().filter(|_| !self.found).as_ref());
        }
        if outlet.large {
            tally::give_back_at_end();
        }
        if std::mem::take(&mut self.unobserved) {
            unobserved::note_table(self.table, self.schema, now);
        }
    }

    /// Adds a subtransaction's counts of the same table.
    fn add(&mut self, other: Counted) {
        self.tally.add(other.tally);
        self.rows += other.rows;
        self.found |= other.found;
        self.unobserved |= other.unobserved;
        self.unread = self.unread.take().or(other.unread);
    }
}

/// Writes the counts of this transaction so far to the queue, for a caller that reads rows and queue. The counts of a
/// transaction around a savepoint cannot be written: a rollback to the savepoint would remove them. False: there are
/// such counts.
pub fn hand_in() -> bool {
    let mut held = Held::take();
    let (current, now) = (session::subtransaction(), call::statement_start());
    for counted in held.0.iter_mut().filter(|counted| counted.subtransaction == current) {
        counted.flush(now);
    }
    held.0.retain(|counted| counted.subtransaction != current);
    held.0.is_empty()
}

/// Has the counts written when transactions end. PostgreSQL calls what registers later, earlier.
pub fn register() {
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
            let all = std::mem::take(&mut Held::take().0);
            for mut counted in all {
                counted.flush(now);
                SPARE.set(Some(counted.tally));
            }
        }
        _ if tx::ends(event) => {
            let left = std::mem::take(&mut Held::take().0);
            // A row was inserted after our callback: it cannot be written any more, but it can be reported.
            if !tx::is_abort(event) {
                left.iter().for_each(|counted| unobserved::count(counted.table, 0));
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
    match event {
        // Those inside of it have higher numbers.
        pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => {
            Held::take().0.retain(|counted| counted.subtransaction < ended);
        }
        pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => {
            let mut held = Held::take();
            let all = &mut held.0;
            for mut from in all.split_off(all.partition_point(|counted| counted.subtransaction < ended)) {
                match all.iter_mut().find(|to| to.subtransaction == around && to.table == from.table) {
                    Some(to) => to.add(*from),
                    None => {
                        from.subtransaction = around;
                        all.push(from);
                    }
                }
            }
        }
        _ => {}
    }
}
