//! `forget_ip_source`: subtracts the observations of a table's rows from the inventory, and detaches it. For a table
//! that was attached with the wrong column, or without the column of its time: after a new attach, it is read again.
//!
//! If its sightings hold all that it has added, that is what is subtracted, and the first and last times of remaining
//! addresses become those of their other sightings, and those of their AS the ones of its addresses. Otherwise, as for a
//! table that was attached before there were sightings, its present rows are read again, by its attached columns: rows that
//! were deleted or changed since stay counted, and the times stay. The table is locked against writers, and its queued rows are absorbed first, in the same
//! transaction. At most the table's own total is subtracted; only their transactions distinguish rows that no trigger saw
//! from others.

use std::net::IpAddr;

use pgrx::prelude::*;
use pgrx::{IntoDatum, pg_sys};

use super::absorb;
use super::attach;
use super::owner::check_owner;
use super::part::{Counts, Source};
use super::reading::{Chunk, Earlier};
use super::stays;
use super::tally::Tally;
use super::waiting;
use crate::inventory::{asn, fold, heap, places, seen, seen_by, sighting, source};
use crate::pg::call;
use crate::pg::call::Call;
use crate::pg::catalog::{Schema, Turn, plain_name, relation_name};
use crate::pg::errors::{not_ready, raise, refuse_read_only};
use crate::pg::snapshot::with_latest_snapshot;
use crate::pg::sql::Sql;
use crate::pg::tx;
use crate::pg::tx::Settings;
use crate::sql_function;

/// Addresses of one statement.
const BATCH: usize = 10_000;

sql_function!(
    /// `forget_ip_source(tbl regclass) → bigint`: how many observations were taken back.
    forget_ip_source,
    pg_finfo_forget_ip_source,
    |call: Call| {
        refuse_read_only(c"forget_ip_source()");
        let Some(table) = call.get::<pg_sys::Oid>(0) else { return call.null() };
        call.give(forget(&Schema::of(call), table).into_datum())
    }
);

fn forget(schema: &Schema, table: pg_sys::Oid) -> i64 {
    if relation_name(table).is_none() {
        not_ready(
            format!("relation with OID {} does not exist", table.to_u32()),
            "Its rows are gone, and with them what they have added.",
            "detach_ip_source() forgets a table that was dropped.",
        );
    }
    check_owner(table, "Its rows are read with its owner's rights, whatever policies say.");
    attach::refuse_distributed(table, "forget_ip_source()");
    if heap::is_everywhere(schema) {
        raise(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            "forget_ip_source() does not work where the inventory is distributed",
            "Citus takes none of the statements that subtract.",
            "Call asn_inventory_undistribute() before, or detach_ip_source(), which leaves the counts as they are.",
        );
    }
    attach::hand_in_rows();
    // First: a count of many hours may take a while, and what is locked below keeps loaders waiting.
    Turn::Activity.wait();
    Turn::Count.wait();
    let members = attach::lock_family(table);
    // Before the note is locked: a round of the worker that is under way would put this table's counts back.
    absorb::lock(true);
    let quiet = Settings::without_triggers();
    let source = Source::lock(schema, table);
    if !source.is_root() {
        not_ready(
            format!("table \"{}\" is attached with the table above it", plain_name(table)),
            "",
            "Call forget_ip_source() for that one.",
        );
    }
    absorb::absorb_all(schema, usize::MAX);
    refuse_leftovers(schema);
    let own = source::own(schema, table, &members);
    let waiting = waiting::drop_counts(schema, &own);
    let added = source::added(schema, table).saturating_add(waiting);
    if sighting::are_complete(schema, table, added) {
        let taken = take_back(schema, &own);
        stays::take_back(schema, table, &own);
        drop(quiet);
        attach::detach(schema, table, Counts::TakenBack);
        return taken;
    }
    if source::columns_changed(schema, table) {
        raise(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!(
                "table \"{}\" was attached with other columns before, and nothing was taken back",
                plain_name(table)
            ),
            "What it has added by those cannot be told from what it has added since.",
            "Call detach_ip_source(), which leaves the counts as they are.",
        );
    }
    drop(quiet);
    let sql = Sql::as_caller();
    let now = call::statement_start();
    let reading = source.reading(&sql, schema, Earlier::Counted, now);
    let mut taken = 0;
    with_latest_snapshot(|| reading.run(|chunk| taken += subtract_chunk(schema, chunk)));
    drop(sql);
    let quiet = Settings::without_triggers();
    let away = sighting::sum(schema, &places::numbers_of(schema, &own[1..]));
    drop(quiet);
    let added = added.saturating_add(away);
    if taken > added {
        raise(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("table \"{}\" has added less than its rows hold, and nothing was taken back", plain_name(table)),
            &format!(
                "It has added {added} observations, and its rows would take back {taken}: some were never observed."
            ),
            "Call detach_ip_source(), which leaves the counts as they are.",
        );
    }
    let quiet = Settings::without_triggers();
    seen_by::forget(schema, &places::numbers_of(schema, &own));
    drop(quiet);
    attach::detach(schema, table, Counts::TakenBack);
    taken
}

/// Subtracts what stands in the sightings of a table, and removes them: also of those below it, which have some of their own
/// where they were observed before they came there.
fn take_back(schema: &Schema, own: &[pg_sys::Oid]) -> i64 {
    let mut taken = 0;
    let places = places::numbers_of(schema, own);
    // What was absorbed just now is to be seen.
    tx::next_command();
    with_latest_snapshot(|| {
        let networks = asn::seen_by(schema, &places);
        sighting::each_of(schema, &places, |batch| {
            taken += subtract(schema, batch);
            sighting::set_times(schema, batch, &places);
        });
        asn::set_times(schema, &networks);
    });
    seen_by::forget(schema, &places);
    taken
}

/// Refuses while observations wait for their address to be written: they would come after they were taken back.
fn refuse_leftovers(schema: &Schema) {
    if waiting::has_leftovers(schema) {
        raise(
            PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
            "some observations cannot be absorbed yet, and nothing was taken back",
            "Their rows of ip_inventory are locked, or cannot be written.",
            "Find the holder in pg_locks, and call forget_ip_source() again when ip_observation is empty.",
        );
    }
}

fn subtract_chunk(schema: &Schema, chunk: Chunk) -> i64 {
    let Chunk { earlier, later, .. } = chunk;
    let mut all: Vec<(IpAddr, i64)> = counts(earlier).chain(counts(later)).collect();
    // In the order in which the worker locks rows, each once: a statement subtracts an address only once.
    all.sort_unstable();
    all.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        kept.1 += if same { next.1 } else { 0 };
        same
    });
    let _quiet = Settings::without_triggers();
    all.chunks(BATCH).map(|batch| subtract(schema, batch)).sum()
}

fn subtract(schema: &Schema, batch: &[(IpAddr, i64)]) -> i64 {
    tx::attempt(|| seen::subtract(schema, batch)).unwrap_or_else(|failure| {
        if failure.is_lock() {
            raise(
                failure.code,
                "rows of ip_inventory are locked, and nothing was taken back",
                &failure.message,
                "Find the holder in pg_locks, and call forget_ip_source() again.",
            );
        }
        raise(failure.code, failure.message, "", "");
    })
}

fn counts(mut tally: Tally) -> impl Iterator<Item = (IpAddr, i64)> {
    std::mem::take(tally.addresses()).into_iter().map(|(key, seen)| (fold::kept(key.ip), seen.count))
}
