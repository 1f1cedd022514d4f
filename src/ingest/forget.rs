//! `forget_ip_source`: subtracts the observations of a table's rows from the inventory, and detaches it. For a table
//! that was attached with the wrong column, or without the column of its time: after a new attach, it is read again.
//!
//! If its sightings hold all that it has added, that is what is subtracted, and the first and last times of remaining
//! addresses become those of their other sightings, and those of their AS the ones of its addresses. So it is with one that was
//! detached before ([`detached`](super::detached)). Otherwise, as for a
//! table that was attached before there were sightings, its present rows are read again, by its attached columns: rows that
//! were deleted or changed since stay counted, and the times stay. The table is locked against writers, and its queued rows are absorbed first, in the same
//! transaction. At most the table's own total is subtracted; only their transactions distinguish rows that no trigger saw
//! from others.

use pgrx::prelude::*;
use pgrx::{IntoDatum, pg_sys};

use super::absorb;
use super::attach;
use super::detached;
use super::owner::check_owner;
use super::part::{Counts, Source};
use super::reading::Earlier;
use super::stays;
use super::take_back::{refuse_leftovers, subtract_chunk, take_back};
use super::waiting;
use crate::inventory::{heap, places, seen_by, sighting, source};
use crate::pg::call;
use crate::pg::call::Call;
use crate::pg::catalog::{Schema, Turn, plain_name, relation_name};
use crate::pg::errors::{not_ready, raise, refuse_read_only};
use crate::pg::snapshot::with_latest_snapshot;
use crate::pg::sql::Sql;
use crate::pg::tx::Settings;
use crate::sql_function;

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
    if source::root(schema, table).is_none() {
        return detached::forget(schema, table);
    }
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
    let places = places::numbers_of(schema, &own);
    let waiting = waiting::drop_counts(schema, &own);
    let added = source::added(schema, table).saturating_add(waiting);
    if sighting::are_complete(schema, table, added) {
        let taken = take_back(schema, &places);
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
    with_latest_snapshot(|| reading.run(|chunk| taken += subtract_chunk(schema, chunk, &places)));
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
    seen_by::forget(schema, &places);
    drop(quiet);
    attach::detach(schema, table, Counts::TakenBack);
    taken
}
