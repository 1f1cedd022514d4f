//! A row that comes to an index: its addresses are counted, and nothing is stored.
//!
//! PostgreSQL calls this for each row and index, in the batches of a COPY as well. After an error, what the row's
//! subtransaction had counted is dropped with it.
#![allow(unsafe_code, reason = "called by PostgreSQL for each row")]

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use pgrx::prelude::*;

use super::pending;
use super::pending::Pending;
use super::watch;
use super::watch::Watch;
use crate::ingest::counted;
use crate::ingest::counted::Counted;
use crate::ingest::plan::{Left, Plan};
use crate::ingest::running;
use crate::ingest::running::Running;
use crate::ingest::tally::Tally;
use crate::pg::apply;
use crate::pg::call;
use crate::pg::citus;
use crate::pg::memory::Reused;
use crate::pg::session;
use crate::pg::tuple;
use crate::pg::tuple::Written;
use crate::settings;

/// For PostgreSQL: a row is to be put into the index. Always false: the row is no duplicate.
#[pg_guard]
#[allow(clippy::too_many_arguments)]
pub unsafe extern "C-unwind" fn insert(
    index: pg_sys::Relation,
    values: *mut Datum,
    nulls: *mut bool,
    place: pg_sys::ItemPointer,
    table: pg_sys::Relation,
    _unique: pg_sys::IndexUniqueCheck::Type,
    is_unchanged: bool,
    info: *mut pg_sys::IndexInfo,
) -> bool {
    // SAFETY: PostgreSQL's own arguments, valid for this call.
    unsafe {
        // An index that is being made is given every row that is there, and is not valid until it has them.
        let is_made = (*(*index).rd_index).indisvalid && !(*info).ii_Concurrent;
        if is_made && !is_unchanged && running::now() != Running::Updates {
            let value = |column: i16| {
                let at = column as usize - 1;
                (!*nulls.add(at)).then(|| *values.add(at))
            };
            observe(&*index, table, &*place, value);
        }
    }
    false
}

/// # Safety
/// `index` and `table` must be open, the row of `table` at `place` just written by this transaction, and `value` read the
/// columns of `index`.
unsafe fn observe(
    index: &pg_sys::RelationData,
    table: pg_sys::Relation,
    place: &pg_sys::ItemPointerData,
    value: impl Fn(i16) -> Option<Datum> + Copy,
) {
    // SAFETY: see above.
    unsafe {
        pending::settle_before((*table).rd_id, place);
        if !settings::enabled() && (!settings::enabled_on_server() || counted::is_unobserved((*table).rd_id)) {
            return;
        }
        let Some(watch) = watch::of(index, &*table).filter(|watch| watch.counts()) else { return };
        let written = match running::now() {
            Running::Inserts => Written::Inserted,
            now if is_moved(&watch, now) => return,
            _ if watch.is_heap => pg_sys::ffi::pg_guard_ffi_boundary(|| tuple::written(table, place)),
            _ => Written::Inserted,
        };
        let token = match written {
            Written::Updated | Written::Nothing => return,
            Written::OnTrial(token) => Some(token),
            Written::Inserted => None,
        };
        let now = call::statement_start();
        let table = &*table;
        let mut counted = counted::take(table.rd_id, watch.schema);
        if is_counted(&watch, &mut counted, place, token)
            || *counted.is_filling.get_or_insert_with(|| citus::is_filling(table))
        {
        } else if !settings::enabled() {
            counted.unobserved |= settings::enabled_on_server();
        } else if let Some(token) = token {
            let mut row = Tally::default();
            read(&watch, value, now, &mut row);
            let unread = row.is_empty().then(|| watch.plan.why_nothing_in(value, now)).flatten();
            let subtransaction = session::subtransaction();
            pending::keep(Pending {
                subtransaction,
                table: table.rd_id,
                place: *place,
                token,
                schema: watch.schema,
                row,
                unread,
            });
        } else {
            count(&watch, &mut counted, value, now);
        }
        counted.put(now);
    }
}

/// Whether a row that comes in a statement that may update rows as well was there before, in another partition: the new row bears
/// no mark of that.
#[inline]
fn is_moved(watch: &Watch, now: Running) -> bool {
    match now {
        Running::Either => running::only_moves(&watch.line),
        Running::Unknown => watch.line.len() > 1 && (apply::moves_rows() || running::only_moves_unseen(&watch.line)),
        Running::Inserts | Running::Updates => false,
    }
}

/// Whether the row at `place` came to another index that reads the same, just before. One that was inserted on trial is known by
/// its attempt as well: the next one may be given its place.
#[inline]
fn is_counted(watch: &Watch, counted: &mut Counted, place: &pg_sys::ItemPointerData, token: Option<u32>) -> bool {
    if watch.is_alone {
        return false;
    }
    let block = u64::from(place.ip_blkid.bi_hi) << 16 | u64::from(place.ip_blkid.bi_lo);
    let attempt = u64::from(token.unwrap_or_default()) << 48;
    let place = attempt | block << 16 | u64::from(place.ip_posid);
    counted.last.is_read((place, session::command()), watch.index, watch.read)
}

/// # Safety
/// As [`observe`].
#[inline]
unsafe fn count(watch: &Watch, counted: &mut Counted, value: impl Fn(i16) -> Option<Datum> + Copy, now: i64) {
    counted.rows += 1;
    // SAFETY: see above.
    unsafe { read(watch, value, now, &mut counted.tally) };
    // SAFETY: see above.
    counted.note_nothing(|| unsafe { watch.plan.why_nothing_in(value, now) });
}

/// Reads the addresses of a row. What PostgreSQL allocates for that is given back: the caller's memory may be that of a COPY
/// of a million rows.
///
/// # Safety
/// As [`observe`].
#[inline]
unsafe fn read(watch: &Watch, value: impl Fn(i16) -> Option<Datum> + Copy, now: i64, tally: &mut Tally) {
    let plan = &watch.plan;
    plan.warn();
    // SAFETY: see above.
    let bare = unsafe { plan.is_bare(value) }.then(|| unsafe { plan.row_in_guard(value, now, tally) });
    if !matches!(bare, Some(Ok(()))) {
        // SAFETY: see above.
        unsafe { read_on(plan, bare, value, now, tally) };
    }
}

/// The same of a row for which PostgreSQL is called; `left` says what was left by an attempt without.
///
/// # Safety
/// As [`observe`].
unsafe fn read_on(
    plan: &Plan,
    left: Option<Result<(), Left>>,
    value: impl Fn(i16) -> Option<Datum> + Copy,
    now: i64,
    tally: &mut Tally,
) {
    let memory = Reused::enter();
    // SAFETY: see above. Nothing is owned inside of the guard.
    unsafe {
        let read = left.unwrap_or_else(|| pg_sys::ffi::pg_guard_ffi_boundary(|| plan.row_in_guard(value, now, tally)));
        if let Err(left) = read {
            plan.rest_of_row(value, left, now, tally);
        }
    }
    memory.leave();
}
