//! The walk's side of the inventory: reading blocks below SQL, and the row that names the walked generations.
#![allow(unsafe_code, reason = "reads the inventory below SQL")]

use std::collections::HashSet;
use std::net::IpAddr;

use enrich::cascade;
use enrich::maxmind::Databases;
use pgrx::pg_sys::Datum;
use pgrx::{IntoDatum, pg_sys};

use super::due::Place;
use super::heap;
use super::heap::Heap;
use super::same::Stored;
use crate::files::{counters, maxmind};
use crate::pg::argument;
use crate::pg::catalog;
use crate::pg::catalog::Schema;
use crate::pg::pulse;
use crate::pg::shape;
use crate::pg::sql::Sql;

/// Rows between two looks for an interrupt.
const BREATH: u64 = 4096;

/// Which rows of a scan are compared.
pub enum Which<'a> {
    /// Those in a range of blocks: the first, and how many.
    Blocks(u32, u32),
    /// All rows written by this transaction or a later one, and some others: these may have moved from blocks that were
    /// not read yet to blocks that were. Of a table whose file is not one of these, all rows: CLUSTER and VACUUM FULL move
    /// rows without writing them anew.
    Since(pg_sys::TransactionId, &'a HashSet<IpAddr>, &'a [u32]),
}

/// Compares rows of this node with what MaxMind says now, and hands those that differ to `differs`, in batches of about
/// `batch`. Returns how many were compared.
pub fn compare(schema: &Schema, which: &Which<'_>, batch: usize, mut differs: impl FnMut(&mut Vec<Place>)) -> u64 {
    heap::heaps(schema).iter().map(|heap| compare_in(heap, which, batch, &mut differs)).sum()
}

/// A scan sees each row once, however they move meanwhile: it has one snapshot.
fn compare_in(heap: &Heap, which: &Which<'_>, batch: usize, differs: &mut impl FnMut(&mut Vec<Place>)) -> u64 {
    if let Which::Blocks(first, _) = which
        && *first >= heap.blocks()
    {
        return 0;
    }
    let mut found: Vec<Place> = Vec::new();
    let (mut compared, mut read) = (0, 0u64);
    // SAFETY: a heap scan under a registered snapshot; kept values of a tuple are copied before the scan moves on.
    // After an error, the transaction's abort ends the scan.
    unsafe {
        let relation = pg_sys::table_open(heap.table, pg_sys::RowExclusiveLock as i32);
        let stored = Stored::new((*relation).rd_att).filter(|_| shape::is_plain_table(relation));
        let Some(mut stored) = stored else {
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
            return 0;
        };
        let file = heap::file(relation);
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
        // Not synchronized with other scans: it must begin where it is told to.
        let flags = pg_sys::ScanOptions::SO_TYPE_SEQSCAN
            | pg_sys::ScanOptions::SO_ALLOW_PAGEMODE
            | pg_sys::ScanOptions::SO_ALLOW_STRAT;
        let scan = pg_sys::heap_beginscan(relation, snapshot, 0, std::ptr::null_mut(), std::ptr::null_mut(), flags);
        if let Which::Blocks(first, count) = which {
            let blocks = pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM);
            pg_sys::heap_setscanlimits(scan, *first, (*count).min(blocks.saturating_sub(*first)));
        }
        loop {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            read += 1;
            if read.is_multiple_of(BREATH) {
                pgrx::check_for_interrupts!();
                pulse::beat();
            }
            stored.read(tuple);
            let Some(ip) = stored.address() else { continue };
            if let Which::Since(oldest, others, files) = which
                && files.contains(&file)
            {
                // As it was written, frozen since or not.
                let written = (*(*tuple).t_data).t_choice.t_heap.t_xmin;
                if precedes(written, *oldest) && !others.contains(&ip) {
                    continue;
                }
            }
            if stored.was_never_asked() {
                continue;
            }
            compared += 1;
            let same = maxmind::with(|databases| {
                let record = counters::lookup(|| cascade::offline(ip, databases));
                // Lists alone say nothing against what files said that are gone now, nor against what a user wrote.
                if databases.is_empty() { stored.has_lists_of(&record) } else { stored.says(&record) }
            });
            if !same {
                found.push((ip, (*tuple).t_self));
                if found.len() >= batch {
                    differs(&mut found);
                    found.clear();
                }
            }
        }
        pg_sys::heap_endscan(scan);
        pg_sys::UnregisterSnapshot(snapshot);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
    }
    if !found.is_empty() {
        differs(&mut found);
    }
    compared
}

/// Whether one transaction id is older than another, on the circle that they are.
fn precedes(id: pg_sys::TransactionId, than: pg_sys::TransactionId) -> bool {
    let (id, than) = (id.into_inner(), than.into_inner());
    (id.wrapping_sub(than) as i32) < 0
}

/// The oldest transaction that may still be writing: all later writes belong to it or to a later one.
pub fn oldest_writer() -> pg_sys::TransactionId {
    // SAFETY: a snapshot of this moment, read at once.
    unsafe { (*pg_sys::GetLatestSnapshot()).xmin }
}

/// The planner's estimate of rows of this node; 0 where it has none.
pub fn estimate(schema: &Schema) -> u64 {
    heap::heaps(schema).iter().map(|heap| catalog::estimated_rows(heap.table)).sum()
}

/// The names of the open generations, and last the edition that answers each question, with the version of the index and
/// the lists of networks.
/// `None` while a file answers by an index of an earlier version.
pub fn answering(databases: &Databases, schema: &Schema) -> Option<Vec<String>> {
    let open = databases.generations();
    if open.iter().any(|generation| generation.is_outdated()) {
        return None;
    }
    let mut names: Vec<String> = open.iter().map(|open| open.name().to_owned()).collect();
    // Without lists as it was before there were any: an update alone is no reason to walk.
    let lists = match databases.lists().name() {
        "" => String::new(),
        name => format!(", lists {name}"),
    };
    // A walk of before ALTER EXTENSION could not write all that it was told.
    let columns = if is_of_now(schema) { ", flags and lists" } else { "" };
    names.push(databases.answering() + &lists + columns);
    Some(names)
}

/// Whether the inventory has the columns of this version.
pub fn is_of_now(schema: &Schema) -> bool {
    schema.has_column(c"ip_inventory", c"lists")
}

/// The generations that the rows of this node were last compared with, as [`answering`] gives them. None where a shard
/// has come since, which another node may not have compared.
pub fn walked(schema: &Schema) -> Vec<String> {
    let known = schema.has_column(c"maxmind_walk", c"shards");
    let shards = if known { "shards" } else { "NULL::bigint[]" };
    let sql = Sql::on(schema, c"maxmind_walk");
    let found = sql.query(&format!("SELECT generations, {shards} FROM {}.maxmind_walk", schema.name), &[]);
    if found.len() == 0 {
        return Vec::new();
    }
    let walked: Vec<i64> = found.get(0, 2).unwrap_or_default();
    let all = heap::shards(schema).iter().all(|shard| walked.contains(shard));
    if all { found.get(0, 1).unwrap_or_default() } else { Vec::new() }
}

/// Whether rows were ever compared, or began to be.
pub fn was_ever_walked(schema: &Schema) -> bool {
    Sql::on(schema, c"maxmind_walk").query(&format!("SELECT FROM {}.maxmind_walk", schema.name), &[]).len() > 0
}

/// The lists of networks in the last name that [`answering`] gives.
pub fn lists_of(name: &str) -> &str {
    let rest = name.split_once(", lists ").map_or("", |(_, rest)| rest);
    rest.split_once(',').map_or(rest, |(lists, _)| lists)
}

/// From now on rows are written with other answers: if the previous files come back, they are compared again. Where lists
/// alone answer, it stays known that there was something: rows may have their names.
pub fn forget_walked(schema: &Schema, has_files: bool) {
    if has_files {
        Sql::on(schema, c"maxmind_walk").run(&format!("DELETE FROM {}.maxmind_walk", schema.name), &[]);
    } else {
        note_walked(schema, &[], 0, &[]);
    }
}

/// Writes down that the rows of this node, in these shards if it has some, were compared with these.
pub fn note_walked(schema: &Schema, generations: &[String], installed_at: i64, shards: &[i64]) {
    let known = schema.has_column(c"maxmind_walk", c"shards");
    let sql = Sql::on(schema, c"maxmind_walk");
    sql.run(&format!("DELETE FROM {}.maxmind_walk", schema.name), &[]);
    let shards_column = if known { ", NULLIF($3, '{}')" } else { "" };
    sql.run(
        &format!(
            "INSERT INTO {}.maxmind_walk SELECT $1, $2, pg_catalog.clock_timestamp(){shards_column}
             WHERE $3 IS NOT NULL",
            schema.name
        ),
        &[
            (pg_sys::TEXTARRAYOID, generations.to_vec().into_datum()),
            (pg_sys::TIMESTAMPTZOID, Some(Datum::from(installed_at))),
            argument::bigints(shards.to_vec()),
        ],
    );
}
