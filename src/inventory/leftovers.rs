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
use crate::pg::catalog;
use crate::pg::catalog::Schema;
use crate::pg::shape;
use crate::pg::sql::Sql;
use crate::pg::tx::Settings;

/// Rows of one transaction.
const BATCH: usize = 5000;

/// The tables whose rows are merged. What the coordinator counts is its own, and so are its mmdb files: such rows of others are only deleted.
const MERGED: [&CStr; 2] = [c"ip_inventory", c"ip_asn_history"];
const DELETED: [&CStr; 4] = [c"asn_inventory", c"inventory_count", c"mmdb_shared", c"mmdb_shared_part"];

/// One batch. False: nothing is left. In a transaction, and nobody else does the same meanwhile.
pub fn merge(schema: &Schema) -> bool {
    MERGED.into_iter().chain(DELETED).any(|name| {
        let table = schema.relation(name);
        let is_shell = crate::pg::citus::kept(table).is_some_and(|kept| kept != crate::pg::citus::Kept::Local);
        is_shell && catalog::blocks(table) > 0 && take(schema, name, table) > 0
    })
}

/// Takes rows out of a node's own table, and merges them where that is wanted; how many.
fn take(schema: &Schema, name: &CStr, table: pg_sys::Oid) -> usize {
    // SAFETY: a heap scan under a registered snapshot; rows are copied before the scan moves on, and the lock on the table
    // is kept. After an error, the transaction's abort ends the scan.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::RowExclusiveLock as i32);
        if !shape::is_plain_table(relation) {
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
            return 0;
        }
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
        let flags = pg_sys::ScanOptions::SO_TYPE_SEQSCAN | pg_sys::ScanOptions::SO_ALLOW_PAGEMODE;
        let none = std::ptr::null_mut();
        let scan = pg_sys::heap_beginscan(relation, snapshot, 0, none, none.cast(), flags);
        let (mut places, mut rows) = (Vec::new(), Vec::new());
        while places.len() < BATCH {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            places.push((*tuple).t_self);
            if MERGED.contains(&name) {
                rows.push(pg_sys::heap_copy_tuple_as_datum(tuple, (*relation).rd_att));
            }
        }
        pg_sys::heap_endscan(scan);
        pg_sys::UnregisterSnapshot(snapshot);
        for place in &mut places {
            pg_sys::simple_heap_delete(relation, place);
        }
        let names = live_columns((*relation).rd_att);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        if !rows.is_empty() {
            let element = pg_sys::get_rel_type_id(table);
            let array = pg_sys::construct_array(rows.as_mut_ptr(), rows.len() as i32, element, -1, false, b'd' as _);
            let _fetched = Settings::rows_are_fetched();
            let statement = statement(schema, name, &names);
            let argument = (pg_sys::get_array_type(element), Some(Datum::from(array)));
            Sql::on(schema, name).run(&statement, &[argument]);
        }
        places.len()
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
