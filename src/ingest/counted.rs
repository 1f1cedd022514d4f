//! What rows that are observed one by one have added, until their transaction commits or is prepared: then the queue is
//! written, once. The counts of a subtransaction are separate until it ends: they go to the transaction around it, or are
//! dropped.
#![allow(unsafe_code, reason = "hears of subtransactions")]

use std::cell::Cell;
use std::collections::HashMap;

use foldhash::fast::RandomState;
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

/// Distinct addresses of a transaction that are held in memory before they go to the queue.
const FLUSH: usize = 100_000;

/// The last row, and what was read of it: another index that reads the same does not count it again.
#[derive(Default)]
pub struct Last {
    /// Where it stands, and the command that wrote it.
    row: (u64, pg_sys::CommandId),
    /// By index, a hash of what that reads.
    reads: Vec<(pg_sys::Oid, u64)>,
}

impl Last {
    /// Notes what an index reads of a row. Whether another index has read the same of it.
    #[inline]
    pub fn is_read(&mut self, row: (u64, pg_sys::CommandId), index: pg_sys::Oid, read: u64) -> bool {
        if self.row != row {
            self.row = row;
            self.reads.clear();
        }
        let is_read = self.reads.iter().any(|(other, what)| *other != index && *what == read);
        if !self.reads.contains(&(index, read)) {
            self.reads.push((index, read));
        }
        is_read
    }
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
    /// Its last row.
    pub last: Last,
}

/// The counts of a subtransaction, by table.
struct Level {
    subtransaction: pg_sys::SubTransactionId,
    /// Addresses in all of them; fewer after an error in the middle of writing them.
    addresses: usize,
    tables: HashMap<pg_sys::Oid, Box<Counted>, RandomState>,
}

/// The counts of a transaction, but for those in hand.
#[derive(Default)]
struct All {
    /// The innermost last.
    levels: Vec<Level>,
}

thread_local! {
    static ALL: Cell<All> = const { Cell::new(All { levels: Vec::new() }) };
    /// The counts that were used last, apart: the next row is most likely one for them.
    static HAND: Cell<Option<Box<Counted>>> = const { Cell::new(None) };
    /// A tally of an earlier transaction, for its memory.
    static SPARE: Cell<Option<Tally>> = const { Cell::new(None) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// The counts, taken out of their cell while PostgreSQL is called: a session that is ended there does not return, and
/// its abort must not find the cell in use. After an error they are put back.
struct Held(All);

impl Held {
    fn take() -> Held {
        let mut held = Held(ALL.take());
        if let Some(hand) = HAND.take() {
            held.0.put(hand);
        }
        held
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        ALL.set(std::mem::take(&mut self.0));
    }
}

impl All {
    fn put(&mut self, mut counted: Box<Counted>) {
        counted.tally.put_aside();
        let at = self.levels.partition_point(|level| level.subtransaction < counted.subtransaction);
        if self.levels.get(at).is_none_or(|level| level.subtransaction != counted.subtransaction) {
            let level = Level { subtransaction: counted.subtransaction, addresses: 0, tables: HashMap::default() };
            self.levels.insert(at, level);
        }
        let level = &mut self.levels[at];
        level.addresses += counted.tally.size();
        // There is no other of that table: it was taken out for this one.
        level.tables.insert(counted.table, counted);
    }

    fn take(&mut self, subtransaction: pg_sys::SubTransactionId, table: pg_sys::Oid) -> Option<Box<Counted>> {
        let level = self.levels.iter_mut().rfind(|level| level.subtransaction == subtransaction)?;
        let counted = level.tables.remove(&table)?;
        level.addresses = level.addresses.saturating_sub(counted.tally.size());
        Some(counted)
    }

    /// Takes the levels from a subtransaction on, which are inside of it.
    fn take_from(&mut self, subtransaction: pg_sys::SubTransactionId) -> Vec<Level> {
        self.levels.split_off(self.levels.partition_point(|level| level.subtransaction < subtransaction))
    }

    /// How many addresses a subtransaction has.
    fn size(&self, subtransaction: pg_sys::SubTransactionId) -> usize {
        self.levels.iter().rfind(|level| level.subtransaction == subtransaction).map_or(0, |level| level.addresses)
    }

    /// Writes the counts of a subtransaction to the queue.
    fn flush(&mut self, subtransaction: pg_sys::SubTransactionId, now: i64) {
        let mut lost = Vec::new();
        for level in self.levels.iter_mut().filter(|level| level.subtransaction == subtransaction) {
            for counted in level.tables.values_mut() {
                level.addresses = level.addresses.saturating_sub(counted.tally.size());
                if counted.flush(now, !lost.is_empty()) {
                    lost.push(counted.table);
                }
                // Of a load into a thousand partitions, most get nothing more.
                counted.tally = Tally::default();
            }
        }
        unobserved::busy(&lost, now);
    }
}

/// The counts of a table, by its OID, in the running subtransaction. Whoever takes them gives them back with
/// [`Counted::put`]; after an error, their subtransaction is aborted. `schema` is the extension's.
#[inline]
pub fn take(table: pg_sys::Oid, schema: pg_sys::Oid) -> Box<Counted> {
    take_of(session::subtransaction(), table, schema)
}

/// The same of any subtransaction that is not over.
#[inline]
pub fn take_of(subtransaction: pg_sys::SubTransactionId, table: pg_sys::Oid, schema: pg_sys::Oid) -> Box<Counted> {
    match HAND.take() {
        Some(hand) if hand.table == table && hand.subtransaction == subtransaction => hand,
        other => find(other, subtransaction, table, schema),
    }
}

/// Whether it is noted already that rows of a table come to the running subtransaction while observing is switched off.
#[inline]
pub fn is_unobserved(table: pg_sys::Oid) -> bool {
    let hand = HAND.take();
    let is_noted = hand
        .as_ref()
        .is_some_and(|hand| hand.table == table && hand.subtransaction == session::subtransaction() && hand.unobserved);
    HAND.set(hand);
    is_noted
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
    let current = session::subtransaction();
    if held.0.size(current) > FLUSH {
        // Those of a transaction around cannot be written: a rollback of this one would remove them.
        held.0.flush(current, call::statement_start());
    }
    held.0.take(subtransaction, table).unwrap_or_else(|| {
        Box::new(Counted {
            subtransaction,
            table,
            schema,
            tally: SPARE.take().unwrap_or_default(),
            rows: 0,
            found: false,
            unread: None,
            unobserved: false,
            is_filling: None,
            last: Last::default(),
        })
    })
}

impl Counted {
    /// Gives them back.
    #[inline]
    pub fn put(mut self: Box<Self>, now: i64) {
        if self.tally.is_full(FLUSH) && self.subtransaction == session::subtransaction() && self.flush(now, false) {
            unobserved::busy(&[self.table], now);
        }
        if let Some(other) = HAND.replace(Some(self)) {
            let mut all = ALL.take();
            all.put(other);
            ALL.set(all);
        }
    }

    /// Notes that a row held no address, as long as none did. `why` finds the reason.
    #[inline]
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

    /// Writes the counts to the queue, without a wait for it if `is_hasty`. Whether addresses are lost, since it could not be had:
    /// that is to be said.
    fn flush(&mut self, now: i64, is_hasty: bool) -> bool {
        let mut outlet = Outlet::new(self.schema, self.table, now);
        outlet.is_hasty = is_hasty;
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
        outlet.is_busy
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
    let current = session::subtransaction();
    held.0.flush(current, call::statement_start());
    held.0.take_from(current);
    held.0.levels.iter().all(|level| level.tables.is_empty())
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
            let mut lost = Vec::new();
            // Not held while they are written.
            let levels = Held::take().0.take_from(0);
            for level in levels {
                for mut counted in level.tables.into_values() {
                    if counted.flush(now, !lost.is_empty()) {
                        lost.push(counted.table);
                    }
                    SPARE.set(Some(counted.tally));
                }
            }
            unobserved::busy(&lost, now);
        }
        _ if tx::ends(event) => {
            // A row was inserted after our callback: it cannot be written any more, but it can be reported.
            let left = Held::take().0.take_from(0);
            if !tx::is_abort(event) {
                let now = call::statement_start();
                left.iter().flat_map(|level| level.tables.keys()).for_each(|table| unobserved::count(*table, now));
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
        pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => drop(Held::take().0.take_from(ended)),
        pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => {
            let mut held = Held::take();
            for level in held.0.take_from(ended) {
                for (table, mut from) in level.tables {
                    match held.0.take(around, table) {
                        Some(mut to) => {
                            to.add(*from);
                            held.0.put(to);
                        }
                        None => {
                            from.subtransaction = around;
                            held.0.put(from);
                        }
                    }
                }
            }
        }
        _ => {}
    }
}
