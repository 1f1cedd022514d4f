//! Tables that a Citus cluster keeps on several nodes. Citus need not be there: then nothing is one.

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

/// Columns of Citus's `pg_dist_partition`, from 1, in every version from 10 on.
const METHOD: i32 = 2;
const COLOCATION: i32 = 4;
const REPLICATION: i32 = 5;

/// How a cluster keeps a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In shards, each on one node or on a few. Also a table with a single shard.
    Distributed,
    /// Whole on every node.
    Reference,
    /// On this node alone: a table that Citus knows because of a foreign key.
    Local,
}

/// How the cluster keeps a table; `None`: Citus knows nothing of it.
pub fn kept(table: pg_sys::Oid) -> Option<Kept> {
    // SAFETY: the catalog is scanned by its index on the relation, if there is one; what the row holds is read before the
    // scan ends.
    unsafe {
        let catalog = pg_sys::Oid::from(pg_sys::PG_CATALOG_NAMESPACE);
        let oid = pg_sys::get_relname_relid(c"pg_dist_partition".as_ptr(), catalog);
        let index = pg_sys::get_relname_relid(c"pg_dist_partition_logical_relid_index".as_ptr(), catalog);
        if oid == pg_sys::InvalidOid {
            return None;
        }
        let relation = pg_sys::table_open(oid, pg_sys::AccessShareLock as i32);
        let mut key = pg_sys::ScanKeyData::default();
        let equal = pg_sys::BTEqualStrategyNumber as u16;
        pg_sys::ScanKeyInit(&mut key, 1, equal, pg_sys::F_OIDEQ.into(), Datum::from(table));
        let by_index = index != pg_sys::InvalidOid;
        let scan = pg_sys::systable_beginscan(relation, index, by_index, std::ptr::null_mut(), 1, &mut key);
        let tuple = pg_sys::systable_getnext(scan);
        let found = (!tuple.is_null()).then(|| {
            let value = |column: i32| {
                let mut null = false;
                let datum = pg_sys::heap_getattr(tuple, column, (*relation).rd_att, &mut null);
                if null { 0 } else { datum.value() }
            };
            match (value(METHOD) as u8, value(REPLICATION) as u8, value(COLOCATION) as u32) {
                (b'n', b't', _) => Kept::Reference,
                (b'n', b's', 0) => Kept::Local,
                _ => Kept::Distributed,
            }
        });
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
        found
    }
}
