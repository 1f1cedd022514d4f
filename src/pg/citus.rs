//! Tables that a Citus cluster keeps on several nodes. Without Citus, no table is one.

use std::collections::BTreeMap;

use enrich::text::clean;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::argument;
use super::catalog;
use super::catalog::{plain_name, schema_of};
use super::inherits;
use super::raw;
use super::session;
use super::sql::Sql;
use super::tx::Settings;

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
    // SAFETY: the catalog is scanned by its index on the relation, if there is one; the row's values are read before
    // the scan ends.
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

/// All tables that Citus keeps, and how.
pub fn all_kept() -> Vec<(pg_sys::Oid, Kept)> {
    if !is_here() {
        return Vec::new();
    }
    let sql = Sql::as_caller();
    let found = sql.query("SELECT logicalrelid::oid FROM pg_catalog.pg_dist_partition", &[]);
    let tables = (0..found.len()).filter_map(|row| found.get::<pg_sys::Oid>(row, 1));
    tables.filter_map(|table| Some((table, kept(table)?))).collect()
}

/// A shard of a distributed table that lies on this node.
#[derive(Clone, Copy, Debug)]
pub struct Shard {
    /// Citus's number of it.
    pub id: i64,
    /// The table that holds its rows.
    pub table: pg_sys::Oid,
}

/// The shards of a distributed table that lie on this node, in the order of their numbers.
pub fn shards_here(table: pg_sys::Oid) -> Vec<Shard> {
    let sql = Sql::as_caller();
    let found = sql.query(
        "SELECT s.shardid, pg_catalog.to_regclass(pg_catalog.format('%I.%I', n.nspname, c.relname || '_' || s.shardid))::oid
         FROM pg_catalog.pg_dist_shard s JOIN pg_catalog.pg_dist_placement p ON p.shardid = s.shardid
             JOIN pg_catalog.pg_dist_local_group l ON l.groupid = p.groupid
             JOIN pg_catalog.pg_class c ON c.oid = s.logicalrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE s.logicalrelid = $1 ORDER BY s.shardid",
        &[argument::oid(table)],
    );
    let shard = |row| Some(Shard { id: found.get(row, 1)?, table: found.get(row, 2)? });
    (0..found.len()).filter_map(shard).collect()
}

/// The shard of `other` that lies beside a shard of `table`, given by its number: both are distributed alike.
pub fn sibling(table: pg_sys::Oid, shard: i64, other: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let sql = Sql::as_caller();
    let found = sql.query(
        "SELECT pg_catalog.to_regclass(pg_catalog.format('%I.%I', n.nspname, c.relname || '_' || o.shardid))::oid
         FROM pg_catalog.pg_dist_shard s JOIN pg_catalog.pg_dist_shard o
             ON o.logicalrelid = $3 AND o.shardminvalue = s.shardminvalue
             JOIN pg_catalog.pg_class c ON c.oid = o.logicalrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE s.logicalrelid = $1 AND s.shardid = $2",
        &[argument::oid(table), argument::bigint(shard), argument::oid(other)],
    );
    if found.len() == 0 { None } else { found.get(0, 1) }
}

/// The table that a shard belongs to, and the shard's number, by the shard's name; `None` for what is not a shard.
pub fn shard_of(table: pg_sys::Oid) -> Option<(pg_sys::Oid, i64)> {
    let name = plain_name(table);
    let id: i64 = name.rsplit_once('_')?.1.parse().ok()?;
    if !is_here() {
        return None;
    }
    let sql = Sql::as_caller();
    // The shard may be newer than the snapshot of the statement that asks.
    let found = sql.returning(
        "SELECT s.logicalrelid::oid FROM pg_catalog.pg_dist_shard s JOIN pg_catalog.pg_class c ON c.oid = s.logicalrelid
         WHERE s.shardid = $1 AND c.relname || '_' || s.shardid = $2 AND c.relnamespace = $3",
        &[argument::bigint(id), argument::text(&name), argument::oid(schema_of(table))],
    );
    if found.len() == 0 { None } else { found.get(0, 1).map(|table| (table, id)) }
}

/// Whether rows that come to a table of this node are counted on another one: a reference table has all of its rows on each
/// node, and the first of the nodes that have it counts them.
pub fn counts_elsewhere(table: pg_sys::Oid) -> bool {
    let Some((_, shard)) = shard_of(table).filter(|(whole, _)| kept(*whole) == Some(Kept::Reference)) else {
        return false;
    };
    let sql = Sql::as_caller();
    // The shard may be newer than the snapshot of the statement that asks.
    let found = sql.returning(
        "SELECT min(p.groupid) < min(l.groupid) FROM pg_catalog.pg_dist_placement p, pg_catalog.pg_dist_local_group l
         WHERE p.shardid = $1",
        &[argument::bigint(shard)],
    );
    found.len() > 0 && found.get::<bool>(0, 1) == Some(true)
}

/// Whether Citus is filling a shard with the rows that its table had before it was distributed: it makes the shard with the
/// table's triggers, and copies in the same transaction. No other row finds a trigger on a shard of this transaction: a table
/// cannot be attached in the transaction that distributes it.
pub fn is_filling(relation: &pg_sys::RelationData) -> bool {
    if !is_new(relation) || !is_here() {
        return false;
    }
    let shard = relation.rd_id;
    // SAFETY: the relation is open.
    let is_partition = unsafe { (*relation.rd_rel).relispartition };
    // A partition that is made for a distributed table has no earlier rows.
    if is_partition && !inherits::links(shard, inherits::CHILD).iter().any(|link| is_new_table(link.parent)) {
        return false;
    }
    // In a session for another node, what Citus knows of the shard may not be seen yet.
    is_part_of_a_query() || shard_of(shard).is_some()
}

/// Whether this transaction distributed a table.
pub fn is_newly_kept(table: pg_sys::Oid) -> bool {
    if kept(table).is_none() {
        return false;
    }
    let sql = Sql::as_caller();
    let text = "SELECT xmin::text::bigint FROM pg_catalog.pg_dist_partition WHERE logicalrelid = $1";
    let found = sql.returning(text, &[argument::oid(table)]);
    found.len() > 0 && found.get::<i64>(0, 1).is_some_and(|id| session::is_own_transaction(id as u64))
}

/// Whether this transaction made a table.
pub fn is_new(relation: &pg_sys::RelationData) -> bool {
    // Zero is no subtransaction.
    relation.rd_createSubid != 0
}

/// The same of a table that need not be open; its partition is.
fn is_new_table(table: pg_sys::Oid) -> bool {
    // SAFETY: an entry of the relation cache, released again.
    unsafe {
        let relation = pg_sys::RelationIdGetRelation(table);
        if relation.is_null() {
            return false;
        }
        let new = is_new(&*relation);
        pg_sys::RelationClose(relation);
        new
    }
}

/// Whether this database has Citus.
pub fn is_here() -> bool {
    session::has_citus()
}

/// Whether this node is the cluster's coordinator. Citus must be here.
pub fn is_coordinator() -> bool {
    let sql = Sql::as_caller();
    let found = sql.query("SELECT groupid FROM pg_catalog.pg_dist_local_group", &[]);
    found.len() > 0 && found.get::<i32>(0, 1) == Some(0)
}

/// Whether there are other nodes, and Citus was not told how they reach this one, the coordinator. A server that is alone
/// becomes a node with its first distributed table.
pub fn is_unknown_coordinator() -> bool {
    let sql = Sql::as_caller();
    let text = "SELECT count(*) > 0 AND NOT coalesce(bool_or(groupid = 0), false) FROM pg_catalog.pg_dist_node";
    sql.query(text, &[]).get::<bool>(0, 1) == Some(true)
}

/// Whether this session does a part of a query for another node: it may not query distributed tables.
pub fn is_part_of_a_query() -> bool {
    // SAFETY: a setting of this backend, NUL-terminated where there is one.
    let name = unsafe { pg_sys::GetConfigOption(c"application_name".as_ptr(), true, false) };
    // SAFETY: see above.
    !name.is_null() && unsafe { std::ffi::CStr::from_ptr(name) }.to_bytes().starts_with(b"citus_internal")
}

/// The nodes of the cluster, by Citus's numbers: their names and ports.
pub fn node_names() -> BTreeMap<i32, String> {
    let sql = Sql::as_caller();
    let found = sql.query("SELECT nodeid, nodename || ':' || nodeport FROM pg_catalog.pg_dist_node", &[]);
    (0..found.len()).filter_map(|row| Some((found.get(row, 1)?, found.text(row, 2)?))).collect()
}

/// One of them; of a node that has left the cluster, its number.
pub fn node_name(names: &BTreeMap<i32, String>, node: i32) -> String {
    names.get(&node).cloned().unwrap_or_else(|| node.to_string())
}

/// Citus's number of the group that this node is in; 0: it is the coordinator. Citus must be here.
pub fn my_group() -> i32 {
    let sql = Sql::as_caller();
    sql.query("SELECT groupid FROM pg_catalog.pg_dist_local_group", &[]).get::<i32>(0, 1).unwrap_or(0)
}

/// The size of a distributed table on all nodes, in blocks, without its indexes: estimated from the shards of this node.
/// `None` where it has none. Citus does not say it in a transaction that writes to several shards.
pub fn estimated_blocks(table: pg_sys::Oid) -> Option<u32> {
    let here = shards_here(table);
    let count = here.len() as u64;
    if count == 0 {
        return None;
    }
    let blocks: u64 = here.iter().map(|shard| u64::from(catalog::blocks(shard.table))).sum();
    let sql = Sql::as_caller();
    let text = "SELECT count(*) FROM pg_catalog.pg_dist_shard WHERE logicalrelid = $1";
    let all = sql.query(text, &[argument::oid(table)]).get::<i64>(0, 1).unwrap_or(0);
    Some(u32::try_from(blocks / count * u64::try_from(all).unwrap_or(0)).unwrap_or(u32::MAX))
}

/// The same as it is: not in a transaction that writes to several shards.
pub fn bytes(table: pg_sys::Oid) -> i64 {
    let sql = Sql::as_caller();
    let found = sql.returning("SELECT pg_catalog.citus_relation_size($1::regclass)", &[argument::oid(table)]);
    found.get::<i64>(0, 1).unwrap_or(0)
}

/// Has Citus commit this transaction in two phases, after its first write elsewhere. Left alone, it commits a write on a
/// single other node before this one commits, and a crash in between undoes only what was done here.
pub fn commit_in_two_phases() {
    // SAFETY: a function of the library that is loaded here, without arguments and result; it sets a variable of this
    // backend. Where there is none of that name, Citus decides alone.
    unsafe {
        let function = pg_sys::load_external_function(
            c"citus".as_ptr(),
            c"Use2PCForCoordinatedTransaction".as_ptr(),
            false,
            std::ptr::null_mut(),
        );
        if !function.is_null() {
            let function: unsafe extern "C" fn() = std::mem::transmute(function);
            function();
        }
    }
}

/// Citus's number of this node. Citus must be here.
pub fn my_node() -> Option<i32> {
    let sql = Sql::as_caller();
    let found = sql.query(
        "SELECT n.nodeid FROM pg_catalog.pg_dist_node n JOIN pg_catalog.pg_dist_local_group l ON l.groupid = n.groupid
         WHERE n.noderole = 'primary'",
        &[],
    );
    if found.len() == 0 { None } else { found.get(0, 1) }
}

/// Where a command is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// On every node, the coordinator among them, side by side.
    Everywhere,
    /// On the coordinator.
    Coordinator,
    /// On every node but the coordinator.
    Workers,
}

/// What a node answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Citus's number of the node; 0: it has none.
    pub node: i32,
    /// The value of the command's only column and row; an error is its message, on one line.
    pub result: Result<Option<String>, String>,
}

/// A node that is not there must not hold up whoever only asks, until `settings` end.
pub fn be_impatient(settings: &Settings) {
    settings.set(c"citus.node_connection_timeout", c"3s");
}

/// How long statements on other nodes wait for a lock there, from now on in this transaction: a setting of this session alone
/// says nothing to them, and they would wait without end. `settings` end it here; `lock_timeout` has to be set again for this
/// node. Opens no connection: nodes that take part already are told, and others at the begin of theirs.
pub fn bound_waits(settings: &Settings, longest: &std::ffi::CStr) {
    set_everywhere(settings, longest, &format!("'{}'", longest.to_string_lossy()));
}

/// The same for our processes' own transactions, at their beginning: a row that a session holds on another node is waited for as
/// long as one of this node.
pub fn bound_own_waits() {
    bound_waits(&Settings::begin(), c"500ms");
}

/// What follows in a session's own transaction waits on other nodes as it did before [`bound_waits`]: they do not learn that
/// the limit has ended here. This session's own `lock_timeout` they never had.
pub fn unbind_waits(settings: &Settings) {
    // SAFETY: reads a variable of this backend.
    if unsafe { pg_sys::MyBgworkerEntry.is_null() } {
        set_everywhere(settings, c"0", "DEFAULT");
    }
}

/// Sets `lock_timeout` in the transactions of other nodes, and here to any value, which `settings` end.
fn set_everywhere(settings: &Settings, here: &std::ffi::CStr, there: &str) {
    settings.set(c"citus.propagate_set_commands", c"local");
    // What is saved before SET LOCAL is put back with the rest.
    settings.set(c"lock_timeout", here);
    let set = format!("SET LOCAL lock_timeout TO {there}");
    // SAFETY: reads a variable of this backend.
    let text = match unsafe { pg_sys::IsTransactionBlock() } {
        true => set,
        // Citus passes on what is set within more than a statement.
        false => format!("DO $$ BEGIN {set}; END $$"),
    };
    Sql::as_caller().run(&text, &[]);
}

/// Whether this process brings rows of a shard that Citus moves or splits: they are in another shard already, and counted there.
pub fn is_moving_shards() -> bool {
    // SAFETY: the subscription that an apply worker works for, with a NUL-terminated name.
    unsafe {
        raw::IsLogicalWorker()
            && !raw::MySubscription.is_null()
            && std::ffi::CStr::from_ptr((*raw::MySubscription).name).to_bytes().starts_with(b"citus_shard_")
    }
}

/// Runs a command on other nodes, with the rights of the session's user, each in a transaction of its own. The sessions there
/// have the database's own `search_path`, whatever is pinned here: the command must name the schema of each function, operator
/// and type, so that an owner of the database cannot put others in their place.
pub fn run_on(which: Where, command: &str) -> Vec<Reply> {
    let function = match which {
        Where::Everywhere => "run_command_on_all_nodes",
        Where::Coordinator => "run_command_on_coordinator",
        Where::Workers => "run_command_on_workers",
    };
    // Of workers it gives names alone.
    let text = match which {
        Where::Workers => format!(
            "SELECT d.nodeid, r.success, r.result FROM pg_catalog.{function}($1) r
             LEFT JOIN pg_catalog.pg_dist_node d ON d.nodename = r.nodename AND d.nodeport = r.nodeport"
        ),
        Where::Everywhere | Where::Coordinator => {
            format!("SELECT nodeid, success, result FROM pg_catalog.{function}($1)")
        }
    };
    let short = Settings::begin();
    if which == Where::Everywhere {
        be_impatient(&short);
    }
    let sql = Sql::as_caller();
    let found = sql.returning(&text, &[argument::text(command)]);
    let why = |said: &str| clean(said.trim().trim_start_matches("ERROR:"), 300).into_owned();
    let reply = |row| {
        let text = found.text(row, 3);
        let good = found.get::<bool>(row, 2) == Some(true);
        let result = if good { Ok(text) } else { Err(why(&text.unwrap_or_default())) };
        Reply { node: found.get(row, 1).unwrap_or(0), result }
    };
    (0..found.len()).map(reply).collect()
}
