//! Indexes of partitions that are attached by themselves, which PostgreSQL has made parts of an index of the table above that has the
//! same columns: when the partition came, or that index. It drops them together with that one, so they are let go before. Citus has
//! the other nodes do the same with those of shards, and no word for that: there they are made again after.
#![allow(unsafe_code, reason = "lets go of a part of an index, which SQL cannot")]

use pgrx::pg_sys;

use super::indexes;
use super::indexes::Observer;
use super::noted;
use crate::inventory::source;
use crate::pg::argument;
use crate::pg::catalog;
use crate::pg::catalog::Schema;
use crate::pg::citus;
use crate::pg::inherits;
use crate::pg::sql::Sql;

/// A part of an index, and the table that is observed by it.
struct Part {
    index: pg_sys::Oid,
    table: pg_sys::Oid,
}

/// Takes an index off a table and all below it, but for what is that of others. The tables must be locked.
pub fn drop_above(sql: &Sql, schema: &Schema, index: pg_sys::Oid) {
    let of_others = of_others(schema, index);
    let (elsewhere, here): (Vec<Part>, Vec<Part>) =
        of_others.into_iter().partition(|part| citus::kept(part.table).is_some());
    let again: Vec<String> = elsewhere.iter().filter_map(|part| definition(sql, part.index)).collect();
    let_go(table_of(index), &here);
    indexes::drop(sql, index);
    noted::by_itself(|| {
        for index in again {
            sql.run(&index, &[]);
        }
    });
}

/// The parts of an index that belong to tables attached by themselves, without those below such a part.
fn of_others(schema: &Schema, index: pg_sys::Oid) -> Vec<Part> {
    let below = inherits::all(&[index], inherits::PARENT);
    let tables: Vec<pg_sys::Oid> = below[1..].iter().map(|index| table_of(*index)).collect();
    let attached = source::by_index(schema, &tables);
    let mut found = Vec::new();
    let mut pending = if attached.is_empty() { Vec::new() } else { vec![index] };
    while let Some(above) = pending.pop() {
        for link in inherits::links(above, inherits::PARENT) {
            let part = Part { index: link.child, table: table_of(link.child) };
            if attached.get(&part.table).is_some_and(|columns| is_needed(&part, columns)) {
                found.push(part);
            } else {
                pending.push(part.index);
            }
        }
    }
    // As PostgreSQL locks tables.
    found.sort_unstable_by_key(|part| part.table.to_u32());
    found
}

/// Whether a part reads one of the columns by which its table is attached, and no index of the table alone does. Where the table has one
/// of its own that differs from that above, PostgreSQL has made the part, for the table above.
fn is_needed(part: &Part, columns: &[String]) -> bool {
    let (given, own): (Vec<Observer>, Vec<Observer>) =
        indexes::of(part.table).into_iter().partition(|index| index.is_inherited);
    let reads = |index: &Observer, column: &String| index.arguments.selectors.contains(column);
    let is_used = |index: &Observer| index.is_valid || inherits::kind(index.index) == pg_sys::RELKIND_PARTITIONED_INDEX;
    let is_read = |column: &String| own.iter().any(|index| is_used(index) && reads(index, column));
    let given = given.iter().find(|index| index.index == part.index);
    given.is_some_and(|given| columns.iter().any(|column| reads(given, column) && !is_read(column)))
}

/// Has parts of an index of a table be indexes of their own, as DETACH PARTITION does.
fn let_go(above: pg_sys::Oid, parts: &[Part]) {
    if parts.is_empty() {
        return;
    }
    // In the order of DROP INDEX, which locks these tables, and others: a reader locks a table before its indexes.
    let strongest = pg_sys::AccessExclusiveLock;
    catalog::lock_relation(above, strongest);
    parts.iter().for_each(|part| catalog::lock_relation(part.table, strongest));
    for part in parts {
        // SAFETY: the index is there, since its table is locked against a change of its indexes; it is open while it is changed.
        unsafe {
            let index = pg_sys::index_open(part.index, strongest as i32);
            pg_sys::IndexSetParentIndex(index, pg_sys::InvalidOid);
            pg_sys::index_close(index, pg_sys::NoLock as i32);
        }
    }
}

/// The table of an index.
fn table_of(index: pg_sys::Oid) -> pg_sys::Oid {
    // SAFETY: a catalog look-up that tolerates absence.
    unsafe { pg_sys::IndexGetRelation(index, true) }
}

/// The statement that makes an index.
fn definition(sql: &Sql, index: pg_sys::Oid) -> Option<String> {
    sql.query("SELECT pg_catalog.pg_get_indexdef($1)", &[argument::oid(index)]).text(0, 1)
}
