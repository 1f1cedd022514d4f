//! Which tables stand below others, by the catalog's indexes.

use std::collections::HashSet;

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

/// `pg_inherits` and its indexes: PostgreSQL has no other names for them in its headers than macros.
const INHERITS: u32 = 2611;
const BY_CHILD: u32 = 2680;
const BY_PARENT: u32 = 2187;
/// The column that says that a DETACH … CONCURRENTLY of the link has begun, and not ended.
const IS_LEAVING: i16 = 4;
/// The column of the table below, and that of the one above: from which end links are followed.
pub const CHILD: i16 = 1;
/// See above.
pub const PARENT: i16 = 2;

/// A row of `pg_inherits`.
pub struct Link {
    /// The table below.
    pub child: pg_sys::Oid,
    /// The table above.
    pub parent: pg_sys::Oid,
    /// This transaction made it.
    pub new: bool,
}

/// The links up from a table, or down from it.
pub fn links(table: pg_sys::Oid, from: i16) -> Vec<Link> {
    let mut links = Vec::new();
    scan(table, from, std::ptr::null_mut(), |header, child, parent, _| {
        // A row known to be committed does not belong to a running transaction.
        let committed = u32::from(header.t_infomask) & pg_sys::HEAP_XMIN_COMMITTED != 0;
        // SAFETY: a look at this backend's own state; a row has the transaction that wrote it.
        let new = !committed && unsafe { pg_sys::TransactionIdIsCurrentTransactionId(header.t_choice.t_heap.t_xmin) };
        links.push(Link { child, parent, new });
    });
    links
}

/// The tables that this transaction has taken from below one, and that are not below it again, each with the number of the
/// command that took it.
pub fn taken(parent: pg_sys::Oid) -> Vec<(pg_sys::Oid, u32)> {
    let mut taken = Vec::new();
    let unless = pg_sys::HEAP_XMAX_INVALID | pg_sys::HEAP_XMAX_IS_MULTI | pg_sys::HEAP_XMAX_LOCK_ONLY;
    // Deleted rows are in no snapshot of the catalogs.
    let every_row = &raw mut pg_sys::SnapshotAnyData;
    scan(parent, PARENT, every_row, |header, child, _, _| {
        // SAFETY: a look at this backend's own state, and at a row that stays where it is meanwhile; who has deleted it is
        // asked first.
        unsafe {
            if u32::from(header.t_infomask) & unless == 0
                && pg_sys::TransactionIdIsCurrentTransactionId(header.t_choice.t_heap.t_xmax)
            {
                let command = pg_sys::HeapTupleHeaderGetCmax(std::ptr::from_ref(header).cast_mut());
                taken.push((child, command));
            }
        }
    });
    if !taken.is_empty() {
        let below: HashSet<pg_sys::Oid> = links(parent, PARENT).iter().map(|link| link.child).collect();
        taken.retain(|(child, _)| !below.contains(child));
    }
    taken
}

/// Those of these tables that have rows of their own.
pub fn plain(tables: &[pg_sys::Oid]) -> Vec<pg_sys::Oid> {
    tables.iter().copied().filter(|table| kind(*table) == pg_sys::RELKIND_RELATION).collect()
}

/// The partitions of these tables that are leaving them: a DETACH … CONCURRENTLY has begun, and has not ended, or was interrupted. As
/// the active snapshot shows it: under that one, a reading of the table above does not show their rows.
pub fn leaving(parents: &[pg_sys::Oid]) -> Vec<pg_sys::Oid> {
    // SAFETY: looks at this backend's own state; the active snapshot stays while it is read with here.
    let snapshot =
        unsafe { if pg_sys::ActiveSnapshotSet() { pg_sys::GetActiveSnapshot() } else { std::ptr::null_mut() } };
    let mut leaving = Vec::new();
    for parent in parents.iter().filter(|parent| kind(**parent) == pg_sys::RELKIND_PARTITIONED_TABLE) {
        scan(*parent, PARENT, snapshot, |_, child, _, is_leaving| {
            if is_leaving {
                leaving.push(child);
            }
        });
    }
    leaving
}

/// Hands over the rows of `pg_inherits` of one table, as a snapshot shows them, or, without one, as they are now: each with the
/// tables below and above, and whether the one is leaving the other.
fn scan(
    table: pg_sys::Oid,
    from: i16,
    snapshot: pg_sys::Snapshot,
    mut hand_over: impl FnMut(&pg_sys::HeapTupleHeaderData, pg_sys::Oid, pg_sys::Oid, bool),
) {
    // SAFETY: `pg_inherits` is scanned by an index; rows are read before the scan moves on.
    unsafe {
        let relation = pg_sys::table_open(INHERITS.into(), pg_sys::AccessShareLock as i32);
        let mut key = pg_sys::ScanKeyData::default();
        let equal = pg_sys::BTEqualStrategyNumber as u16;
        pg_sys::ScanKeyInit(&mut key, from, equal, pg_sys::F_OIDEQ.into(), Datum::from(table));
        let index = if from == CHILD { BY_CHILD } else { BY_PARENT };
        let scan = pg_sys::systable_beginscan(relation, index.into(), true, snapshot, 1, &mut key);
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let value = |column: i16| {
                let mut null = false;
                pg_sys::heap_getattr(tuple, column.into(), (*relation).rd_att, &mut null).value()
            };
            let oid = |column| pg_sys::Oid::from(value(column) as u32);
            hand_over(&*(*tuple).t_data, oid(CHILD), oid(PARENT), value(IS_LEAVING) as u8 != 0);
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
    }
}

/// Everything above tables, or below them, themselves first, nearest first, each once.
pub fn all(start: &[pg_sys::Oid], from: i16) -> Vec<pg_sys::Oid> {
    let mut known: HashSet<pg_sys::Oid> = HashSet::new();
    let mut found: Vec<pg_sys::Oid> = start.iter().copied().filter(|table| known.insert(*table)).collect();
    let mut at = 0;
    while at < found.len() {
        pgrx::check_for_interrupts!();
        for link in links(found[at], from) {
            let next = if from == CHILD { link.parent } else { link.child };
            if known.insert(next) {
                found.push(next);
            }
        }
        at += 1;
    }
    found
}

/// A table and all below it, itself first, each once: a table in a diamond of inheritance counts once.
pub fn below(table: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    all(&[table], PARENT)
}

/// The relation's kind; 0 for one that is gone.
pub fn kind(table: pg_sys::Oid) -> u8 {
    // SAFETY: a catalog look-up that tolerates absence.
    unsafe { pg_sys::get_rel_relkind(table) as u8 }
}
