//! Whether a table is attached, asked while a row is inserted: `ip_source` is read below SQL, with its rows as they are now.
//! A statement would read it under the snapshot of the insert, which may be older than the attachment, and a serializable
//! transaction would fail for having read what the worker counts.
#![allow(unsafe_code, reason = "scans a table below SQL")]

use pgrx::pg_sys;

use crate::pg::catalog::Schema;

/// Whether one of these tables is attached. `ip_source` must be locked.
pub fn is_any_attached(schema: &Schema, tables: &[pg_sys::Oid]) -> bool {
    // A row that was updated, and moved behind the scan, between its two versions is found by the next one.
    (0..3).any(|_| is_found(schema, tables))
}

fn is_found(schema: &Schema, tables: &[pg_sys::Oid]) -> bool {
    // SAFETY: the table is open, its column of type regclass or oid; the snapshot lives as long as the scan. It shows rows
    // that others have not committed as well, and until then both versions of one that is updated.
    unsafe {
        let oid = schema.relation(c"ip_source");
        if oid == pg_sys::InvalidOid {
            return false;
        }
        let relation = pg_sys::try_table_open(oid, pg_sys::NoLock as i32);
        if relation.is_null() {
            return false;
        }
        let column = pg_sys::SPI_fnumber((*relation).rd_att, c"tbl".as_ptr());
        let mut snapshot =
            pg_sys::SnapshotData { snapshot_type: pg_sys::SnapshotType::SNAPSHOT_DIRTY, ..Default::default() };
        let none = std::ptr::null_mut();
        let scan = pg_sys::systable_beginscan(relation, pg_sys::InvalidOid, false, &mut snapshot, 0, none);
        let mut found = false;
        while !found {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() || column <= 0 {
                break;
            }
            let mut null = false;
            let datum = pg_sys::heap_getattr(tuple, column, (*relation).rd_att, &mut null);
            found = !null && tables.contains(&pg_sys::Oid::from(datum.value() as u32));
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        found
    }
}
