//! What waits in `ip_observation`: asked about, taken away, or handed to another table before it is absorbed. Whoever changes
//! its rows holds the turn to absorb until the transaction ends ([`Turn::Absorb`](crate::pg::catalog::Turn)).
#![allow(unsafe_code, reason = "reads and writes the queue below SQL")]

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use enrich::pack::unpack;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use pgrx::prelude::*;

use super::queue::{Closed, lock, patience_now};
use super::queued::{Stored, is_queue, source_column};
use crate::pg::argument;
use crate::pg::catalog::{Schema, Turn};
use crate::pg::errors::raise;
use crate::pg::patience;
use crate::pg::snapshot::with_latest_snapshot;
use crate::pg::sql::Sql;
use crate::pg::tx;

/// Removes from a list the addresses with an observation in the queue, as of the active snapshot. A question about an
/// address is not an observation. Reads the table itself, so that no other object of that name can be used.
pub fn forget_queued(schema: pg_sys::Oid, addresses: &mut HashSet<IpAddr>) -> Result<(), Closed> {
    // SAFETY: a heap scan under the active snapshot; values of a row are copied before the scan moves on.
    unsafe {
        let oid = pg_sys::get_relname_relid(c"ip_observation".as_ptr(), schema);
        if oid == pg_sys::InvalidOid {
            return Err(Closed::Missing);
        }
        if !patience::lock(oid, pg_sys::AccessShareLock, patience_now()) {
            return Err(Closed::Busy);
        }
        let relation = pg_sys::try_table_open(oid, pg_sys::NoLock as i32);
        if relation.is_null() {
            return Err(Closed::Missing);
        }
        if !is_queue(relation) {
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
            return Err(Closed::Missing);
        }
        let flags = pg_sys::ScanOptions::SO_TYPE_SEQSCAN
            | pg_sys::ScanOptions::SO_ALLOW_PAGEMODE
            | pg_sys::ScanOptions::SO_ALLOW_STRAT;
        let none = std::ptr::null_mut();
        let scan = pg_sys::heap_beginscan(relation, pg_sys::GetActiveSnapshot(), 0, none, none.cast(), flags);
        let desc = (*relation).rd_att;
        let mut stored = Stored::of(desc);
        let mut rows = 0u32;
        while !addresses.is_empty() {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            stored.read(tuple, desc);
            if let Some(packed) = stored.packed() {
                for entry in unpack(packed).filter(|entry| entry.count > 0) {
                    addresses.remove(&entry.ip);
                }
            } else if stored.seen().count > 0 {
                // 0.0.0.0/0 stands for no address.
                if let Some(inet) = stored.inet().filter(|inet| !inet.is_network()) {
                    addresses.remove(&inet.ip);
                }
            }
            rows += 1;
            if rows.is_multiple_of(1024) {
                pgrx::check_for_interrupts!();
            }
        }
        pg_sys::heap_endscan(scan);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
    }
    Ok(())
}

/// Whether observations wait for their address to be written, which could not be before.
pub fn has_leftovers(schema: &Schema) -> bool {
    let sql = Sql::on(schema, c"ip_observation");
    let left = format!(
        "SELECT EXISTS (SELECT FROM {}.ip_observation
                        WHERE retry_at IS NOT NULL AND seen > 0 AND pg_catalog.masklen(address) > 0)",
        schema.name
    );
    sql.returning(&left, &[]).get::<bool>(0, 1) == Some(true)
}

/// Whether rows of some tables, which are locked, wait to be absorbed.
pub fn has_rows_of(schema: &Schema, tables: &[pg_sys::Oid]) -> bool {
    let sql = Sql::on(schema, c"ip_observation");
    let query = format!("SELECT EXISTS (SELECT FROM {}.ip_observation WHERE source::oid = ANY ($1))", schema.name);
    with_latest_snapshot(|| sql.returning(&query, &[argument::oids(tables)]).get::<bool>(0, 1)) == Some(true)
}

/// Counts that wait only for the table are removed with it. They are deleted below SQL, as in absorbing: if the queue
/// is in a publication, SQL refuses. Returns how many observations these were.
pub fn drop_counts(schema: &Schema, members: &[pg_sys::Oid]) -> i64 {
    let waiting: Vec<(pg_sys::ItemPointerData, i64)> = {
        let sql = Sql::on(schema, c"ip_observation");
        let query = format!(
            "SELECT ctid, CASE WHEN address IS NOT NULL THEN seen ELSE 0 END
             FROM {}.ip_observation WHERE source::oid = ANY ($1)",
            schema.name
        );
        let found = sql.returning(&query, &[argument::oids(members)]);
        (0..found.len()).filter_map(|row| Some((found.get(row, 1)?, found.get(row, 2)?))).collect()
    };
    // SAFETY: places of rows of this table, which absorbing has found as it should be; the lock that lets one absorb at a
    // time is held, and the lock on the table is kept.
    unsafe {
        let relation = pg_sys::table_open(schema.relation(c"ip_observation"), pg_sys::RowExclusiveLock as i32);
        for (mut place, _) in waiting.iter().copied() {
            pg_sys::simple_heap_delete(relation, &mut place);
        }
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
    }
    waiting.iter().fold(0i64, |sum, (_, seen)| sum.saturating_add(*seen))
}

/// Lets rows of some tables count for `root`. Done below SQL, for the reason of [`drop_counts`]; the rows are there as the
/// present command sees them.
pub fn hand_over(schema: &Schema, tables: &[pg_sys::Oid], root: pg_sys::Oid) {
    if hand_over_rows(schema, tables, root, Whose::Anybodys) == Err(Closed::Busy) {
        raise(
            PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
            "ip_observation is locked, and nothing was attached",
            "Somebody holds a lock on it, or waits for one.",
            "enrichment_doctor() names who does.",
        );
    }
}

/// The same where any wait; without those that this transaction has written, where `is_own_done`. The turn to absorb is waited for that
/// long at most; false: it could not be had.
pub fn hand_over_within(
    schema: &Schema,
    tables: &[pg_sys::Oid],
    root: pg_sys::Oid,
    is_own_done: bool,
    longest: Duration,
) -> bool {
    let whose = if is_own_done { Whose::Others } else { Whose::Anybodys };
    // SAFETY: the copies are the scan's own.
    let is_any = with_queue(schema, |relation| unsafe { !rows_of(relation, tables, whose, 1).is_empty() });
    match is_any {
        Ok(false) | Err(Closed::Missing) => return true,
        Err(Closed::Busy) => return false,
        Ok(true) => {}
    }
    if !patience::take_turn(Turn::Absorb, longest) {
        return false;
    }
    tx::next_command();
    hand_over_rows(schema, tables, root, whose).is_ok()
}

/// The same with the rows that this transaction has written, which nobody else takes away. False: the queue cannot be had.
pub fn hand_over_own(schema: &Schema, tables: &[pg_sys::Oid], root: pg_sys::Oid) -> bool {
    hand_over_rows(schema, tables, root, Whose::Own) != Err(Closed::Busy)
}

/// Whether no rows of some tables wait that others have written. False: there may be.
pub fn has_none_of_others(schema: &Schema, tables: &[pg_sys::Oid]) -> bool {
    // SAFETY: the copies are the scan's own.
    let is_any = with_queue(schema, |relation| unsafe { !rows_of(relation, tables, Whose::Others, 1).is_empty() });
    matches!(is_any, Ok(false) | Err(Closed::Missing))
}

/// No other transaction takes these rows away meanwhile.
fn hand_over_rows(schema: &Schema, tables: &[pg_sys::Oid], root: pg_sys::Oid, whose: Whose) -> Result<(), Closed> {
    // SAFETY: rows are changed after the scan, in copies.
    with_queue(schema, |relation| unsafe {
        let rows = rows_of(relation, tables, whose, usize::MAX);
        rows.into_iter().for_each(|tuple| replace_source(relation, tuple, root));
    })
}

/// Who has written rows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Anybodys,
    /// This transaction.
    Own,
    Others,
}

/// Replaces a row of the queue by one that counts for `root`.
///
/// # Safety
/// `relation` must be open and [`is_queue`], `tuple` a copy of its row which nobody else takes away.
unsafe fn replace_source(relation: pg_sys::Relation, tuple: pg_sys::HeapTuple, root: pg_sys::Oid) {
    let (mut column, mut value, mut is_null) = (source_column(), Datum::from(root), false);
    // SAFETY: see above.
    unsafe {
        let (desc, value) = ((*relation).rd_att, &raw mut value);
        let handed = pg_sys::heap_modify_tuple_by_cols(tuple, desc, 1, &raw mut column, value, &raw mut is_null);
        pg_sys::simple_heap_delete(relation, &raw mut (*tuple).t_self);
        pg_sys::simple_heap_insert(relation, handed);
        pg_sys::heap_freetuple(handed);
        pg_sys::heap_freetuple(tuple);
    }
}

/// Calls `f` with the queue, which is locked as an INSERT does.
fn with_queue<T>(schema: &Schema, f: impl FnOnce(pg_sys::Relation) -> T) -> Result<T, Closed> {
    let oid = schema.relation(c"ip_observation");
    if oid == pg_sys::InvalidOid {
        return Err(Closed::Missing);
    }
    if !lock(oid) {
        return Err(Closed::Busy);
    }
    // SAFETY: opened and closed here; the lock stays until the transaction ends.
    unsafe {
        let relation = pg_sys::try_table_open(oid, pg_sys::NoLock as i32);
        if relation.is_null() {
            return Err(Closed::Missing);
        }
        let done = if is_queue(relation) { Ok(f(relation)) } else { Err(Closed::Missing) };
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        done
    }
}

/// Copies of the first rows of some tables.
///
/// # Safety
/// `relation` must be open, and [`is_queue`].
unsafe fn rows_of(
    relation: pg_sys::Relation,
    tables: &[pg_sys::Oid],
    whose: Whose,
    most: usize,
) -> Vec<pg_sys::HeapTuple> {
    let tables: HashSet<u32> = tables.iter().map(|table| table.to_u32()).collect();
    let mut found = Vec::new();
    // SAFETY: a heap scan under a registered snapshot; a row is copied before the scan moves on.
    unsafe {
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
        let flags = pg_sys::ScanOptions::SO_TYPE_SEQSCAN
            | pg_sys::ScanOptions::SO_ALLOW_PAGEMODE
            | pg_sys::ScanOptions::SO_ALLOW_STRAT;
        let none = std::ptr::null_mut();
        let scan = pg_sys::heap_beginscan(relation, snapshot, 0, none, none.cast(), flags);
        let desc = (*relation).rd_att;
        let mut stored = Stored::of(desc);
        while found.len() < most {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            stored.read(tuple, desc);
            let is_meant = || {
                let writer = (*(*tuple).t_data).t_choice.t_heap.t_xmin;
                whose == Whose::Anybodys || pg_sys::TransactionIdIsCurrentTransactionId(writer) == (whose == Whose::Own)
            };
            if stored.source().is_some_and(|source| tables.contains(&source)) && is_meant() {
                found.push(pg_sys::heap_copytuple(tuple));
            }
            pgrx::check_for_interrupts!();
        }
        pg_sys::heap_endscan(scan);
        pg_sys::UnregisterSnapshot(snapshot);
    }
    found
}
