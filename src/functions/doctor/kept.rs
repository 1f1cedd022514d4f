//! The tables that Citus keeps on several nodes, for checks whose remedies are other ones there.

use pgrx::pg_sys;

use crate::pg::argument;
use crate::pg::argument::Argument;
use crate::pg::citus;
use crate::pg::citus::Kept;
use crate::pg::sql::Sql;

/// The distributed tables; on a node that is not the coordinator, the reference tables and those of one node; whether this is such
/// a node. Without Citus, no table and false.
pub fn tables() -> [Argument; 3] {
    let (distributed, others): (Vec<_>, Vec<_>) =
        citus::all_kept().into_iter().partition(|(_, kept)| *kept == Kept::Distributed);
    let oids = |tables: Vec<(pg_sys::Oid, Kept)>| tables.into_iter().map(|(table, _)| table).collect::<Vec<_>>();
    let is_worker = citus::is_here() && !citus::is_coordinator();
    // The coordinator notes them, and counts them for all.
    let others = if is_worker { oids(others) } else { Vec::new() };
    [argument::oids(&oids(distributed)), argument::oids(&others), argument::boolean(is_worker)]
}

/// The shards of this node, and the table of each.
pub fn shards() -> [Argument; 2] {
    const SHARDS: &str = "
        SELECT f.shard, f.whole
        FROM (SELECT pg_catalog.to_regclass(pg_catalog.format('%I.%I', n.nspname, c.relname || '_' || s.shardid))::oid AS shard,
                     c.oid AS whole
              FROM pg_catalog.pg_dist_shard s JOIN pg_catalog.pg_class c ON c.oid = s.logicalrelid
                  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace) f
        WHERE f.shard IS NOT NULL";
    let (mut shards, mut wholes) = (Vec::new(), Vec::new());
    if citus::is_here() {
        let sql = Sql::as_caller();
        let found = sql.query(SHARDS, &[]);
        for row in 0..found.len() {
            if let (Some(shard), Some(whole)) = (found.get::<pg_sys::Oid>(row, 1), found.get::<pg_sys::Oid>(row, 2)) {
                shards.push(shard);
                wholes.push(whole);
            }
        }
    }
    [argument::oids(&shards), argument::oids(&wholes)]
}
