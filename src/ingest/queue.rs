//! Appending to `ip_observation`, below SQL, and waking the worker once the transaction has committed.
//!
//! The queue has no index, constraint or trigger, so a heap insert is enough. Doing it here and not through SPI saves
//! the planner, and needs no change of role: only the trigger's own values are written.
#![allow(unsafe_code, reason = "appends to the queue below SQL")]

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::Duration;

use enrich::pack::{Entry, Packer};
use pgrx::pg_sys;

use super::addresses::Key;
use super::queued::{OLD_COLUMNS, Retry, Row, form, is_queue, sensor_column};
use super::tally::Tally;
use super::unread::Unread;
use crate::inventory::seen::Seen;
use crate::pg::inet::Inet;
use crate::pg::scratch::Scratch;
use crate::pg::tx;
use crate::pg::{patience, raw};
use crate::shared;

/// Tuples of one multi-insert: about a page of them, which is also what one record of the WAL holds.
const BATCH: usize = 120;
/// From so many addresses of one statement on, they are packed: fewer bytes of heap and WAL, fewer tuples to form.
const PACKED_FROM: usize = 32;
/// Bytes of one packed row: four rows a page, and nothing that PostgreSQL would compress or store apart.
const PACKED_BYTES: usize = 1900;

/// How long a statement waits for the queue. Only a session that alters the table should hold such a lock, and a VACUUM that
/// shortens it, which lets pass who waits: see [`patience`].
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the next ones of the session do, after one that waited in vain.
const LESS: Duration = Duration::from_millis(50);

/// The queue's table, opened for appending.
pub struct Queue {
    relation: pg_sys::Relation,
}

/// Why the queue cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It is not there, or not as the extension made it.
    Missing,
    /// Another session holds a lock on it, or waits for one.
    Busy,
}

impl Queue {
    /// Opens `ip_observation` in `schema`; `None` when it cannot be had, or is not as the extension made it.
    pub fn open(schema: pg_sys::Oid) -> Option<Queue> {
        Queue::open_within(schema, patience_now()).ok()
    }

    /// The same, and says why not.
    pub fn try_open(schema: pg_sys::Oid) -> Result<Queue, Closed> {
        Queue::open_within(schema, patience_now())
    }

    /// The same without a wait.
    pub fn open_at_once(schema: pg_sys::Oid) -> Result<Queue, Closed> {
        Queue::open_within(schema, Duration::ZERO)
    }

    fn open_within(schema: pg_sys::Oid, patience: Duration) -> Result<Queue, Closed> {
        // SAFETY: catalog look-ups; the lock is the one any INSERT takes and is kept to the end of the transaction.
        unsafe {
            let oid = pg_sys::get_relname_relid(c"ip_observation".as_ptr(), schema);
            if oid == pg_sys::InvalidOid {
                return Err(Closed::Missing);
            }
            if !lock_within(oid, patience) {
                return Err(Closed::Busy);
            }
            // It may be gone since.
            let relation = pg_sys::try_table_open(oid, pg_sys::NoLock as i32);
            if relation.is_null() {
                return Err(Closed::Missing);
            }
            if is_queue(relation) {
                Ok(Queue { relation })
            } else {
                pg_sys::table_close(relation, pg_sys::NoLock as i32);
                Err(Closed::Missing)
            }
        }
    }

    /// Notes that a statement's rows were not observed: no address, not seen, count 0.
    pub fn append_unobserved(&self, source: pg_sys::Oid, now: i64) {
        self.append_all(std::iter::once(Row::silent(now)), Some(source), None);
    }

    /// Appends a tally, with one more row for the values that were no address. Without order: absorbing sorts them, so
    /// that a loader need not. The first row says how many rows of the table were read for it, and is the one for such values where no time
    /// could be read of these.
    pub fn append(&self, tally: &mut Tally, source: pg_sys::Oid, now: i64, mut rows: i64) {
        let unparsable = Seen { count: tally.unparsable, first: now, last: now };
        let unread = tally.unread.as_ref().map(|(value, reason)| Unread::new(Some(value), reason));
        let unparsable = Row::plain(None, unparsable).with(unread.as_ref());
        let (mut first, mut last) = (None, (tally.unparsable > 0).then_some(unparsable));
        if tally.lacks_time() {
            first = last.take();
        } else if last.is_none() && rows > 0 {
            // With rows, it is no statement that was not observed.
            first = tally.nameless.take().map(|nameless| Row::silent(now).with(Some(&nameless)));
        }
        let counted = |mut row: Row| {
            row.rows = std::mem::take(&mut rows);
            row
        };
        let (addresses, groups) = tally.counted();
        if addresses.len() < PACKED_FROM {
            let row =
                |(key, seen): &(Key, Seen)| Row::plain(Some(Inet::host(key.ip)), *seen).by(groups.sensor_of(key.group));
            let rows = first.into_iter().chain(addresses.iter().map(row)).chain(last);
            self.append_all(rows.map(counted), Some(source), None);
        } else if groups.is_one_sensor() {
            let packed = Packed::new(addresses.iter(), groups.sensor_of(0), now);
            self.append_all(first.into_iter().chain(packed).chain(last).map(counted), Some(source), None);
        } else {
            // Rows of one sensor each.
            let mut entries: Vec<&(Key, Seen)> = addresses.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| groups.sensor_of(key.group));
            let of_one = entries.chunk_by(|(a, _), (b, _)| groups.sensor_of(a.group) == groups.sensor_of(b.group));
            let packed =
                of_one.flat_map(|of_one| Packed::new(of_one.iter().copied(), groups.sensor_of(of_one[0].0.group), now));
            self.append_all(first.into_iter().chain(packed).chain(last).map(counted), Some(source), None);
        }
    }

    /// Reports rows without an address, and the reason.
    pub fn append_silent(
        &self,
        rows: i64,
        unread: Option<&Unread>,
        source: pg_sys::Oid,
        now: i64,
        retry: Option<Retry>,
    ) {
        // Without the column for it, this would be read as a statement that was not observed.
        // SAFETY: the relation is open.
        if rows > 0 && unsafe { (*(*self.relation).rd_att).natts as usize } > OLD_COLUMNS {
            self.append_all(std::iter::once(Row { rows, ..Row::silent(now).with(unread) }), Some(source), retry);
        }
    }

    /// Appends rows as they are.
    pub fn append_rows(&self, rows: &[(Option<Inet>, Seen)], source: Option<pg_sys::Oid>, retry: Option<Retry>) {
        self.append_all(rows.iter().map(|(inet, seen)| Row::plain(*inet, *seen)), source, retry);
    }

    fn append_all(&self, mut rows: impl Iterator<Item = Row>, source: Option<pg_sys::Oid>, retry: Option<Retry>) {
        let mut scratch = Scratch::new();
        let mut batch: Vec<Row> = Vec::new();
        let mut slots: Vec<*mut pg_sys::TupleTableSlot> = Vec::new();
        // SAFETY: the relation is open; slots live in the current context and are dropped before returning.
        unsafe {
            let desc = (*self.relation).rd_att;
            let sensor_at = sensor_column(desc);
            loop {
                batch.clear();
                batch.extend(rows.by_ref().take(BATCH));
                if batch.is_empty() {
                    break;
                }
                if let ([row], true) = (&batch[..], slots.is_empty()) {
                    let tuple =
                        pg_sys::ffi::pg_guard_ffi_boundary(|| form(desc, &mut scratch, row, source, retry, sensor_at));
                    pg_sys::simple_heap_insert(self.relation, tuple);
                    pg_sys::heap_freetuple(tuple);
                    break;
                }
                while slots.len() < batch.len() {
                    slots.push(pg_sys::MakeSingleTupleTableSlot(desc, &raw const pg_sys::TTSOpsHeapTuple));
                }
                // Nothing is owned inside the guard: rows, slots and scratch are all outside of it.
                pg_sys::ffi::pg_guard_ffi_boundary(|| {
                    for (row, slot) in batch.iter().zip(&slots) {
                        let tuple = form(desc, &mut scratch, row, source, retry, sensor_at);
                        raw::ExecStoreHeapTuple(tuple, *slot, true);
                    }
                });
                let command = pg_sys::GetCurrentCommandId(true);
                let (tuples, count) = (slots.as_mut_ptr(), batch.len() as i32);
                pg_sys::heap_multi_insert(self.relation, tuples, count, command, 0, std::ptr::null_mut());
            }
            for slot in slots {
                pg_sys::ExecDropSingleTupleTableSlot(slot);
            }
        }
        wake_at_commit();
    }
}

/// The addresses of a tally that one sensor saw, as packed rows.
struct Packed<'a, I> {
    addresses: I,
    sensor: &'a [u8],
    packer: Packer,
}

impl<'a, I> Packed<'a, I> {
    fn new(addresses: I, sensor: &'a [u8], now: i64) -> Self {
        Packed { addresses, sensor, packer: Packer::new(now, PACKED_BYTES) }
    }
}

impl<'a, I: Iterator<Item = &'a (Key, Seen)>> Iterator for Packed<'a, I> {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        let mut all: Option<Seen> = None;
        self.packer.clear();
        while self.packer.has_room(PACKED_BYTES)
            && let Some((Key { ip, .. }, seen)) = self.addresses.next()
        {
            self.packer.push(&Entry { ip: *ip, count: seen.count, first: seen.first, last: seen.last });
            match &mut all {
                Some(all) => all.add(*seen),
                None => all = Some(*seen),
            }
        }
        let packed = self.packer.bytes().to_vec();
        all.map(|seen| Row { addresses: self.packer.entries(), packed, ..Row::plain(None, seen).by(self.sensor) })
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // An error on its way out lets the transaction's abort close relations; closing them here too would be once
        // too often.
        if !std::thread::panicking() {
            // SAFETY: opened by `open`; the lock stays until the transaction ends.
            unsafe { pg_sys::table_close(self.relation, pg_sys::NoLock as i32) };
        }
    }
}

thread_local! {
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    static WAKE: Cell<bool> = const { Cell::new(false) };
    /// The last one who wanted the queue in this session waited in vain.
    static IN_VAIN: Cell<bool> = const { Cell::new(false) };
}

/// How long this session waits for the queue at present.
pub fn patience_now() -> Duration {
    if IN_VAIN.get() { LESS } else { PATIENCE }
}

/// Locks the queue's table as an INSERT does, until the transaction ends. PostgreSQL would wait without limit behind a
/// session that requested a stronger lock, even one without the right to it: a loader, and the worker, wait two
/// seconds, or less where its statement would time out, and after that only briefly, until a lock succeeds again. False: it
/// took too long.
pub fn lock(table: pg_sys::Oid) -> bool {
    lock_within(table, patience_now())
}

fn lock_within(table: pg_sys::Oid, patience: Duration) -> bool {
    let was_in_vain = IN_VAIN.get();
    // Until the opposite is known: one that is cancelled does not come back here.
    IN_VAIN.set(was_in_vain || !patience.is_zero());
    let locked = patience::lock(table, pg_sys::RowExclusiveLock, patience);
    IN_VAIN.set(!locked && (was_in_vain || !patience.is_zero()));
    locked
}

/// Lets this transaction's commit wake the worker: once, however many statements it has.
pub fn wake_at_commit() {
    if shared::shared().is_none() {
        return;
    }
    WAKE.set(true);
    if !REGISTERED.replace(true) {
        tx::at_events(at_transaction_end);
    }
}

fn at_transaction_end(event: pg_sys::XactEvent::Type) {
    if tx::ends(event) && WAKE.replace(false) && !tx::is_abort(event) {
        wake_worker();
    }
}

/// Tells this database's worker that observations wait. Only the first to say so since it last began to absorb sets
/// its latch: a thousand small commits a second cost one wake-up.
fn wake_worker() {
    let Some(shared) = shared::shared() else { return };
    match shared.database(shared::my_database()) {
        Some(slot) => {
            slot.note_waiting();
            let worker = slot.worker.load(Ordering::Acquire);
            if worker == 0 {
                want_worker();
            } else if !slot.pending.swap(true, Ordering::AcqRel) {
                shared::wake(worker);
            }
        }
        None => want_worker(),
    }
}

/// Tells the launcher that this database has the extension.
pub fn want_worker() {
    let Some(shared) = shared::shared() else { return };
    if let Some(slot) = shared.database_or_new(shared::my_database()) {
        slot.pending.store(true, Ordering::Release);
        if !slot.wanted.swap(true, Ordering::AcqRel) {
            shared::wake_launcher();
        }
    }
}
