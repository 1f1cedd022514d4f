//! What a table has added, subtracted from the inventory: for `forget_ip_source`, and for what was detached before.

use std::net::IpAddr;

use pgrx::prelude::*;

use super::reading::Chunk;
use super::tally::Tally;
use super::waiting;
use crate::inventory::places::is_there;
use crate::inventory::{asn, fold, seen, seen_by, sighting};
use crate::pg::catalog::Schema;
use crate::pg::errors::raise;
use crate::pg::snapshot::with_latest_snapshot;
use crate::pg::tx;
use crate::pg::tx::Settings;

/// Addresses of one statement.
const BATCH: usize = 10_000;

/// Subtracts what stands in the sightings of a table's places, and removes them: also of those below it, which have some of their
/// own where they were observed before they came there.
pub fn take_back(schema: &Schema, places: &[i32]) -> i64 {
    let mut taken = 0;
    // What was absorbed just now is to be seen.
    tx::next_command();
    with_latest_snapshot(|| {
        let networks = asn::seen_by(schema, places);
        sighting::each_of(schema, places, |batch| {
            taken += subtract(schema, batch, places);
            sighting::set_times(schema, batch, places);
        });
        asn::set_times(schema, &networks);
    });
    seen_by::forget(schema, places);
    taken
}

/// Refuses while observations wait for their address to be written: they would come after they were taken back.
pub fn refuse_leftovers(schema: &Schema) {
    if waiting::has_leftovers(schema) {
        raise(
            PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
            "some observations cannot be absorbed yet, and nothing was taken back",
            "Their rows of ip_inventory are locked, or cannot be written.",
            "Find the holder in pg_locks, and call forget_ip_source() again when ip_observation is empty.",
        );
    }
}

/// Subtracts what a pass over the rows has read.
pub fn subtract_chunk(schema: &Schema, chunk: Chunk, places: &[i32]) -> i64 {
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
    all.chunks(BATCH).map(|batch| subtract(schema, batch, places)).sum()
}

fn subtract(schema: &Schema, batch: &[(IpAddr, i64)], places: &[i32]) -> i64 {
    let has_sightings = is_there(schema);
    tx::attempt(|| seen::subtract(schema, batch, places, has_sightings)).unwrap_or_else(|failure| {
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
