//! What each place of [`places`](super::places) saw: how often and when each saw an address ([`sighting`]), and which ones in
//! each hour ([`activity`]). Kept by the same rounds as the inventory, in the same transaction, so that a table's share can
//! be taken back exactly.

use std::collections::HashMap;
use std::net::IpAddr;

use enrich::text::clean;

use super::activity;
use super::places::{LONGEST, Place, TABLES, are_everywhere, is_there, numbered};
use super::seen::Seen;
use super::sighting;
use super::source;
use crate::pg::argument;
use crate::pg::catalog;
use crate::pg::catalog::Schema;
use crate::pg::citus;
use crate::pg::encoding::from_server;
use crate::pg::errors;
use crate::pg::sql::Sql;
use crate::pg::tx;
use crate::pg::tx::Settings;
use crate::settings;

/// What the rows of a queue say of who saw what: by table, and the sensor as it is written there, in the server's encoding.
pub type Sighted = HashMap<(u32, Vec<u8>), Vec<(IpAddr, Seen)>>;

/// Whether this is kept in this inventory. Not before the extension is updated.
pub fn is_kept(schema: &Schema) -> bool {
    (settings::sightings_max_size() > 0 || activity::is_kept()) && is_there(schema)
}

/// Keeps what was seen: who saw it, and when. `born`: see [`sighting::add`].
pub fn keep(schema: &Schema, sighted: Sighted, born: &[IpAddr]) {
    if sighted.is_empty() {
        return;
    }
    let mut places: HashMap<(u32, String), Vec<(IpAddr, Seen)>> = HashMap::new();
    let mut roots: HashMap<u32, u32> = HashMap::new();
    // Counts of values that are no address leave empty ones.
    for ((table, sensor), seen) in sighted.into_iter().filter(|(_, seen)| !seen.is_empty()) {
        // Where nothing of ip_source can be read, a table stands for itself: see count_sources in the ingest path.
        let attached_as = || tx::attempt(|| source::attached_as(schema, table.into()).to_u32()).unwrap_or(table);
        // Tables that are gone, and temporary ones, are one place.
        let there = |table: u32| if catalog::is_lasting(table.into()) { table } else { 0 };
        let root = *roots.entry(table).or_insert_with(|| there(attached_as()));
        let sensor = clean(&from_server(&sensor), LONGEST).into_owned();
        places.entry((root, sensor)).or_default().extend(seen);
    }
    if places.is_empty() {
        return;
    }
    let everywhere = are_everywhere(schema);
    let settings = Settings::begin();
    if everywhere {
        // For another node that makes a new place: it may have much to write before its end.
        citus::bound_waits(&settings, c"10s");
        settings.set(c"lock_timeout", c"10s");
    }
    let mut places: Vec<Place> = numbered(schema, places);
    if activity::is_kept() {
        activity::append(schema, &places);
    }
    if settings::sightings_max_size() > 0 {
        places.iter_mut().for_each(|place| fold(&mut place.seen));
        sighting::add(schema, &places, born);
    }
    drop(settings);
    // A worker node learns of it at any moment; the numbers are this node's own until then.
    if everywhere != are_everywhere(schema) {
        errors::raise(
            pgrx::PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
            "the inventory was distributed meanwhile, and nothing was absorbed",
            "",
            "",
        );
    }
}

/// Each address once, in order.
fn fold(seen: &mut Vec<(IpAddr, Seen)>) {
    seen.sort_unstable_by_key(|(ip, _)| *ip);
    seen.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1.add(next.1);
        }
        same
    });
}

/// Forgets what some places saw, given by their numbers.
pub fn forget(schema: &Schema, numbers: &[i32]) {
    if !is_there(schema) {
        return;
    }
    activity::uncount(schema, numbers);
    for table in TABLES {
        let column = if table == c"ip_sighting_source" { "id" } else { "source_id" };
        let text = format!("DELETE FROM {}.{} WHERE {column} = ANY ($1)", schema.name, table.to_string_lossy());
        Sql::on(schema, table).run(&text, &[argument::integers(numbers.to_vec())]);
    }
}
