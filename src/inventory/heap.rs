//! Where the rows of the inventory lie. On a plain server that is `ip_inventory` itself. Where Citus distributes it, it is
//! an empty shell, and the rows lie in shards, some of them on this node: what goes through all rows in the order of the
//! disk, as a walk and a backfill do, does so on each node over its own shards. What knows its addresses, and whatever
//! writes, goes through `ip_inventory` and so through Citus, which keeps a shard that moves from losing a write.

#![allow(unsafe_code, reason = "asks an open table for its file")]

use pgrx::pg_sys;

use crate::pg::catalog;
use crate::pg::catalog::Schema;
use crate::pg::citus;
use crate::pg::citus::Kept;

/// A table with rows of the inventory, on this node.
pub struct Heap {
    /// The table.
    pub table: pg_sys::Oid,
    /// Its name in SQL, with the schema.
    pub name: String,
}

impl Heap {
    /// How many blocks it has.
    pub fn blocks(&self) -> u32 {
        catalog::blocks(self.table)
    }
}

/// Whether a table of the extension is distributed over the nodes of a Citus cluster.
pub fn is_distributed(schema: &Schema, table: &std::ffi::CStr) -> bool {
    citus::kept(schema.relation(table)) == Some(Kept::Distributed)
}

/// Whether the inventory is distributed.
pub fn is_everywhere(schema: &Schema) -> bool {
    is_distributed(schema, c"ip_inventory")
}

/// The tables of this node in which rows of the inventory lie.
pub fn heaps(schema: &Schema) -> Vec<Heap> {
    let table = schema.relation(c"ip_inventory");
    if citus::kept(table) != Some(Kept::Distributed) {
        // Where somebody dropped it, whoever reads it says so.
        catalog::hold(table);
        return vec![Heap { table, name: format!("{}.ip_inventory", schema.name) }];
    }
    let heap =
        |shard: citus::Shard| Heap { table: shard.table, name: format!("{}.ip_inventory_{}", schema.name, shard.id) };
    // One that has just moved away is about to be dropped.
    let held = |heap: &Heap| catalog::hold(heap.table);
    citus::shards_here(table).into_iter().map(heap).filter(held).collect()
}

/// The numbers of the shards of this node; empty on a plain server.
pub fn shards(schema: &Schema) -> Vec<i64> {
    let table = schema.relation(c"ip_inventory");
    if citus::kept(table) != Some(Kept::Distributed) {
        return Vec::new();
    }
    citus::shards_here(table).into_iter().map(|shard| shard.id).collect()
}

/// The number of the file in which an open table's rows lie: another one after CLUSTER, VACUUM FULL or TRUNCATE.
///
/// # Safety
/// `relation` must be open.
pub unsafe fn file(relation: pg_sys::Relation) -> u32 {
    // SAFETY: see above.
    unsafe { (*(*relation).rd_rel).relfilenode.to_u32() }
}

/// The files of all of them.
pub fn files(schema: &Schema) -> Vec<u32> {
    let of = |heap: Heap| {
        // SAFETY: the table is held by `heaps`, and open for the time of one question.
        unsafe {
            let relation = pg_sys::relation_open(heap.table, pg_sys::NoLock as i32);
            let file = file(relation);
            pg_sys::relation_close(relation, pg_sys::NoLock as i32);
            file
        }
    };
    heaps(schema).into_iter().map(of).collect()
}

/// How many blocks the largest of them has: who counts blocks from 0 to here, in each of them, meets every row.
pub fn blocks(schema: &Schema) -> u32 {
    heaps(schema).iter().map(Heap::blocks).max().unwrap_or(0)
}
