//! Rows that a node had for itself when the inventory was distributed. Citus reads and writes the shards from then on, and
//! what lies in the node's own table is seen by nobody. The node's worker takes it from there, batch by batch, as it takes
//! the queue: each row is merged into the distributed inventory and deleted from the node's own table in one transaction,
//! so that a kill loses and doubles nothing.
#![allow(unsafe_code, reason = "reads and deletes below SQL, where Citus does not look")]

use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::columns;
use super::heap;
use super::merged_places;
use crate::pg::argument::Argument;
use crate::pg::catalog;
use crate::pg::catalog::Schema;
use crate::pg::citus;
use crate::pg::citus::Kept;
use crate::pg::shape;
use crate::pg::sql::Sql;
use crate::pg::tx::Settings;

/// Rows of one transaction.
const BATCH: usize = 5000;

/// The tables whose rows are merged; the places come after what they saw.
const MERGED: [&CStr; 5] = [c"ip_inventory", c"ip_asn_history", c"ip_sighting", c"ip_activity", c"ip_sighting_source"];
/// What the coordinator counts is its own, and so are its mmdb files: such rows of others are only deleted.
const DELETED: [&CStr; 5] =
    [c"ip_activity_count", c"asn_inventory", c"inventory_count", c"mmdb_shared", c"mmdb_shared_part"];

/// One batch. False: nothing is left. In a transaction, and nobody else does the same meanwhile.
pub fn merge(schema: &Schema) -> bool {
    MERGED.into_iter().chain(DELETED).any(|name| {
        let table = schema.relation(name);
        let is_shell = citus::kept(table).is_some_and(|kept| kept != Kept::Local);
        is_shell && catalog::blocks(table) > 0 && take(schema, name, table) > 0
    })
}

/// Takes rows out of a node's own table, and merges them where that is wanted; how many.
fn take(schema: &Schema, name: &CStr, table: pg_sys::Oid) -> usize {
    let Some(Rows { mut places, columns, rows }) = read(table, BATCH) else { return 0 };
    // As a round of absorbing waits for those of other nodes.
    citus::bound_waits(&Settings::begin(), c"10s");
    // Before they are deleted, in case these are the places themselves.
    let sources = match name.to_bytes() {
        b"ip_sighting" | b"ip_activity" => read(schema.relation(c"ip_sighting_source"), usize::MAX).map(|all| all.rows),
        b"ip_sighting_source" => Some(rows),
        _ => None,
    };
    // SAFETY: places of rows of this table, which is locked since they were read.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::NoLock as i32);
        for place in &mut places {
            pg_sys::simple_heap_delete(relation, place);
        }
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
    }
    if let Some(sources) = sources {
        merged_places::merge(schema, name, rows, sources);
    } else if MERGED.contains(&name) && !places.is_empty() {
        let _fetched = Settings::rows_are_fetched();
        Sql::on(schema, name).run(&statement(schema, name, &columns), &[rows]);
    }
    citus::commit_in_two_phases();
    places.len()
}

/// Rows of a node's own table.
struct Rows {
    places: Vec<pg_sys::ItemPointerData>,
    /// Names of the columns, quoted.
    columns: Vec<String>,
    /// An array of the table's type.
    rows: Argument,
}

/// Reads that many rows, below SQL. `None`: it is not a table that can be read so.
fn read(table: pg_sys::Oid, most: usize) -> Option<Rows> {
    // SAFETY: a heap scan under a registered snapshot; rows are copied before the scan moves on, and the lock on the table
    // is kept. After an error, the transaction's abort ends the scan.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::RowExclusiveLock as i32);
        if !shape::is_plain_table(relation) {
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
            return None;
        }
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
        let flags = pg_sys::ScanOptions::SO_TYPE_SEQSCAN | pg_sys::ScanOptions::SO_ALLOW_PAGEMODE;
        let none = std::ptr::null_mut();
        let scan = pg_sys::heap_beginscan(relation, snapshot, 0, none, none.cast(), flags);
        let (mut places, mut rows) = (Vec::new(), Vec::new());
        while places.len() < most {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            places.push((*tuple).t_self);
            rows.push(pg_sys::heap_copy_tuple_as_datum(tuple, (*relation).rd_att));
        }
        pg_sys::heap_endscan(scan);
        pg_sys::UnregisterSnapshot(snapshot);
        let columns = live_columns((*relation).rd_att);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        let element = pg_sys::get_rel_type_id(table);
        let array = pg_sys::construct_array(rows.as_mut_ptr(), rows.len() as i32, element, -1, false, b'd' as _);
        Some(Rows { places, columns, rows: (pg_sys::get_array_type(element), Some(Datum::from(array))) })
    }
}

/// # Safety
/// `desc` must be a valid descriptor.
unsafe fn live_columns(desc: pg_sys::TupleDesc) -> Vec<String> {
    // SAFETY: see above.
    unsafe { shape::live_names(desc) }.iter().map(|name| catalog::quote_identifier(name)).collect()
}

fn statement(schema: &Schema, name: &CStr, names: &[String]) -> String {
    let table = format!("{}.{}", schema.name, name.to_string_lossy());
    let list = names.join(", ");
    let values: Vec<String> = names.iter().map(|name| format!("r.{name}")).collect();
    let insert = format!(
        "INSERT INTO {table} AS i ({list}) SELECT {} FROM pg_catalog.unnest($1::{table}[]) AS r",
        values.join(", ")
    );
    if name != c"ip_inventory" {
        return insert;
    }
    format!("{insert} ON CONFLICT (ip_address) DO UPDATE SET {}", columns::merged(names))
}

/// Whether anything is distributed, so that there may be leftovers.
pub fn may_be(schema: &Schema) -> bool {
    heap::is_everywhere(schema)
}
