//! Who saw an address: `ip_sighting`, a row for each address and place that saw it. When the table has reached its limit,
//! what it holds goes on counting and what it lacks is counted as left out.
#![allow(unsafe_code, reason = "makes arrays of composites")]

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use pgrx::pg_sys::Datum;
use pgrx::{IntoDatum, PgSqlErrorCode, pg_sys};

use super::heap;
use super::places::{Place, are_everywhere, is_there};
use super::seen::Seen;
use crate::pg::argument;
use crate::pg::argument::Argument;
use crate::pg::catalog;
use crate::pg::catalog::Schema;
use crate::pg::citus;
use crate::pg::errors::not_ready;
use crate::pg::inet::Inet;
use crate::pg::memory;
use crate::pg::scratch::Scratch;
use crate::pg::shape;
use crate::pg::sql::Sql;
use crate::pg::tx;
use crate::pg::tx::Settings;
use crate::settings;

/// Rows of one statement.
const BATCH: usize = 10_000;
/// Rows of a place that are worth a statement of their own.
const LARGE: usize = 1_000;
const BLOCKS_OF_A_MB: u32 = (1 << 20) / pg_sys::BLCKSZ;
/// One address, the number of the place that saw it, and how.
type Row = (IpAddr, i32, Seen);

/// What becomes of a row `s` to which another is added.
pub const ADDED: &str = "first_seen_at = least(s.first_seen_at, EXCLUDED.first_seen_at),
     last_seen_at = greatest(s.last_seen_at, EXCLUDED.last_seen_at),
     observation_count = s.observation_count + least(EXCLUDED.observation_count, 9223372036854775807 - s.observation_count)";

/// The size of the table on all nodes, in blocks, for a node of a cluster without shards of it: see [`measure`].
static SAID_BY_CITUS: AtomicU32 = AtomicU32::new(0);

/// Asks Citus for the size of the table, where this node has no shards to estimate it from. Before a round writes: later Citus
/// does not say it. Without an answer, the last one stands.
pub fn measure(schema: &Schema) {
    let table = schema.relation(c"ip_sighting");
    if settings::sightings_max_size() == 0 || !are_everywhere(schema) || !citus::shards_here(table).is_empty() {
        return;
    }
    let short = Settings::begin();
    citus::be_impatient(&short);
    if let Ok(bytes) = tx::attempt(|| citus::bytes(table)) {
        let blocks = u32::try_from(bytes / i64::from(pg_sys::BLCKSZ)).unwrap_or(u32::MAX);
        SAID_BY_CITUS.store(blocks, Relaxed);
    }
}

/// Adds what places saw: of each place, each address once. `born`: addresses, in order, that had no row in the inventory before
/// this transaction, and so have no sighting as a rule.
pub fn add(schema: &Schema, places: &[Place], born: &[IpAddr]) {
    let everywhere = are_everywhere(schema);
    let table = schema.relation(c"ip_sighting");
    let blocks = || match everywhere {
        true => citus::estimated_blocks(table).unwrap_or_else(|| SAID_BY_CITUS.load(Relaxed)),
        false => schema.blocks(c"ip_sighting"),
    };
    let (large, small): (Vec<&Place>, Vec<&Place>) =
        places.iter().partition(|place| !everywhere && place.seen.len() >= LARGE);
    let alone = large.into_iter().map(|place| (Some(place.number), vec![place]));
    let mut left_out: HashMap<i32, i64> = HashMap::new();
    for (number, places) in alone.chain([(None, small)]) {
        let mut rows: Vec<Row> =
            places.iter().flat_map(|place| place.seen.iter().map(|(ip, seen)| (*ip, place.number, *seen))).collect();
        // In the order of the key.
        rows.sort_unstable_by_key(|(ip, place, _)| (*ip, *place));
        for batch in rows.chunks(BATCH) {
            pgrx::check_for_interrupts!();
            memory::within("asn_inventory sightings", || {
                let has_room = blocks() < settings::sightings_max_size().saturating_mul(BLOCKS_OF_A_MB);
                match number {
                    _ if !has_room => update(schema, batch, &mut left_out),
                    Some(number) => write(schema, batch, number, born),
                    None => upsert(schema, batch),
                }
            });
        }
    }
    note(schema, places, &left_out, everywhere);
}

const ROWS: &str = "ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5))
    AS r(ip, place, first, last, n)";

fn arguments(batch: &[Row]) -> [Argument; 5] {
    [
        argument::addresses(batch.iter().map(|(ip, ..)| ip)),
        argument::integers(batch.iter().map(|(_, place, _)| *place).collect()),
        argument::moments(batch.iter().map(|(.., seen)| seen.first)),
        argument::moments(batch.iter().map(|(.., seen)| seen.last)),
        argument::bigints(batch.iter().map(|(.., seen)| seen.count).collect()),
    ]
}

/// Columns of `ip_sighting`.
const COLUMNS: [shape::Column; 5] = [
    (c"ip_address", pg_sys::INETOID),
    (c"source_id", pg_sys::INT4OID),
    (c"first_seen_at", pg_sys::TIMESTAMPTZOID),
    (c"last_seen_at", pg_sys::TIMESTAMPTZOID),
    (c"observation_count", pg_sys::INT8OID),
];

/// Adds to the rows of a place that are there, and inserts the others. Nobody else inserts as a rule: then this costs two
/// thirds of an upsert, which looks for each row before, and locks it or inserts it on trial. Not for several places at once: of
/// an address, the sightings of all would be read. Those of `born` are not looked for.
fn write(schema: &Schema, batch: &[Row], place: i32, born: &[IpAddr]) {
    let (mut new, known): (Vec<Row>, Vec<Row>) = batch.iter().partition(|(ip, ..)| born.binary_search(ip).is_ok());
    if !known.is_empty() {
        new.extend(add_to_known(schema, &known, place));
        new.sort_unstable_by_key(|(ip, ..)| *ip);
    }
    if new.is_empty() {
        return;
    }
    match tx::attempt(|| insert(schema, &new)) {
        Ok(()) => {}
        Err(failure) if failure.code == PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION => upsert(schema, &new),
        Err(failure) => failure.raise(),
    }
}

/// Adds to the rows of a place that are there; returns the others.
fn add_to_known(schema: &Schema, batch: &[Row], place: i32) -> Vec<Row> {
    let sql = Sql::on(schema, c"ip_sighting");
    let mut is_there = vec![false; batch.len()];
    let fetched = Settings::rows_are_fetched();
    let found = sql.returning(
        &format!(
            "UPDATE {0}.ip_sighting s SET {ADDED}
             FROM pg_catalog.unnest($1::{0}.ip_sighting[]) WITH ORDINALITY AS excluded
             WHERE s.ip_address = ANY ($2) AND s.source_id = $3 AND s.ip_address = excluded.ip_address
             RETURNING excluded.ordinality",
            schema.name
        ),
        &[
            rows(schema, batch),
            argument::addresses(batch.iter().map(|(ip, ..)| ip)),
            (pg_sys::INT4OID, place.into_datum()),
        ],
    );
    drop(fetched);
    for row in 0..found.len() {
        if let Some(number) = found.get::<i64>(row, 1) {
            is_there[number as usize - 1] = true;
        }
    }
    batch.iter().zip(&is_there).filter(|(_, is_there)| !**is_there).map(|(row, _)| *row).collect()
}

fn insert(schema: &Schema, batch: &[Row]) {
    Sql::on(schema, c"ip_sighting").run(&insert_sql(schema), &[rows(schema, batch)]);
}

fn upsert(schema: &Schema, batch: &[Row]) {
    let _fetched = Settings::rows_are_fetched();
    let text = format!("{} ON CONFLICT (ip_address, source_id) DO UPDATE SET {ADDED}", insert_sql(schema));
    Sql::on(schema, c"ip_sighting").run(&text, &[rows(schema, batch)]);
}

const COLUMNS_OF_A_ROW: &str = "ip_address, source_id, first_seen_at, last_seen_at, observation_count";

/// The rows go in as one array of the table's own type: five arrays beside each other would be read five times.
fn insert_sql(schema: &Schema) -> String {
    format!(
        "INSERT INTO {0}.ip_sighting AS s ({COLUMNS_OF_A_ROW})
         SELECT {COLUMNS_OF_A_ROW} FROM pg_catalog.unnest($1::{0}.ip_sighting[]) AS r",
        schema.name
    )
}

fn rows(schema: &Schema, batch: &[Row]) -> Argument {
    as_rows(schema, batch).unwrap_or_else(|| {
        not_ready(
            "table \"ip_sighting\" was altered",
            "Queued observations stay in the table.",
            "Undo the change, or set asn_inventory.sightings_max_size to 0.",
        )
    })
}

/// An array of the table's type; `None`: it does not begin with the columns that the extension made.
fn as_rows(schema: &Schema, batch: &[Row]) -> Option<Argument> {
    // SAFETY: catalog look-ups; the descriptor is a copy in the current context, and describes as many values as are given.
    unsafe {
        let element = pg_sys::get_rel_type_id(schema.relation(c"ip_sighting"));
        let desc = pg_sys::BlessTupleDesc(pg_sys::lookup_rowtype_tupdesc_copy(element, -1));
        let columns = (*desc).natts as usize;
        if !shape::describes(desc, &COLUMNS) {
            return None;
        }
        let mut scratch = Scratch::new();
        let (mut values, mut nulls) = (vec![Datum::null(); columns], vec![true; columns]);
        nulls[..COLUMNS.len()].fill(false);
        let mut datums: Vec<Datum> = Vec::with_capacity(batch.len());
        for (ip, place, seen) in batch {
            scratch.clear();
            values[0] = scratch.inet(Inet::host(*ip));
            values[1] = Datum::from(*place);
            (values[2], values[3], values[4]) =
                (Datum::from(seen.first), Datum::from(seen.last), Datum::from(seen.count));
            let tuple = pg_sys::heap_form_tuple(desc, values.as_mut_ptr(), nulls.as_mut_ptr());
            datums.push(Datum::from((*tuple).t_data));
        }
        // Elements of a composite type, which is variable-length and aligned to 8.
        let align = b'd' as std::ffi::c_char;
        let array = pg_sys::construct_array(datums.as_mut_ptr(), datums.len() as i32, element, -1, false, align);
        Some((pg_sys::get_array_type(element), Some(Datum::from(array))))
    }
}

/// Adds to the rows that are there, and sums up what has none.
fn update(schema: &Schema, batch: &[Row], left_out: &mut HashMap<i32, i64>) {
    let _fetched = Settings::rows_are_fetched();
    let sql = Sql::on(schema, c"ip_sighting");
    let found = sql.returning(
        &format!(
            "WITH added AS (UPDATE {0}.ip_sighting s SET first_seen_at = least(s.first_seen_at, r.first),
                                last_seen_at = greatest(s.last_seen_at, r.last),
                                observation_count = s.observation_count + least(r.n, 9223372036854775807 - s.observation_count)
                            FROM {ROWS}
                            WHERE s.ip_address = ANY ($1) AND s.ip_address = r.ip AND s.source_id = r.place RETURNING r.place, r.n)
             SELECT place, sum(n)::bigint FROM added GROUP BY place",
            schema.name
        ),
        &arguments(batch),
    );
    for (_, place, seen) in batch {
        let left = left_out.entry(*place).or_default();
        *left = left.saturating_add(seen.count);
    }
    for row in 0..found.len() {
        if let (Some(place), Some(added)) = (found.get::<i32>(row, 1), found.get::<i64>(row, 2)) {
            let left = left_out.entry(place).or_default();
            *left = left.saturating_sub(added);
        }
    }
}

/// When each place saw something, and how much of it was left out. The nodes of a cluster wait for each other here: there,
/// a later time alone is written once a minute.
fn note(schema: &Schema, places: &[Place], left_out: &HashMap<i32, i64>, everywhere: bool) {
    let number_left_out = |place: &Place| left_out.get(&place.number).copied().unwrap_or(0);
    let arguments_of = |places: &[&Place]| {
        let moments =
            |of: fn(&Place) -> Option<i64>| argument::moments(places.iter().map(|place| of(place).unwrap_or(0)));
        [
            argument::integers(places.iter().map(|place| place.number).collect()),
            moments(|place| place.seen.iter().map(|(_, seen)| seen.first).min()),
            moments(|place| place.seen.iter().map(|(_, seen)| seen.last).max()),
            argument::bigints(places.iter().map(|place| number_left_out(place)).collect()),
        ]
    };
    let (full, free): (Vec<&Place>, Vec<&Place>) =
        places.iter().partition(|place| everywhere || number_left_out(place) > 0);
    if !free.is_empty() {
        add_to_free_places(schema, &arguments_of(&free));
    }
    if full.is_empty() {
        return;
    }
    let arguments = arguments_of(&full);
    if everywhere {
        let sql = Sql::on(schema, c"ip_sighting_source");
        let late = "r.last - interval '1 minute'";
        let text = format!("SELECT 1 FROM {}.ip_sighting_source l, {} LIMIT 1", schema.name, news(late));
        if sql.returning(&text, &arguments).len() == 0 {
            return;
        }
    }
    add_to_places(schema, &arguments);
}

/// What `ip_sighting_source l` does not say yet, where `late` is what its last time is earlier than.
fn news(late: &str) -> String {
    format!(
        "ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) AS r(id, first, last, n)
         WHERE l.id = r.id AND (r.n > 0 OR l.first_seen_at IS NULL OR l.first_seen_at > r.first OR l.last_seen_at < {late})"
    )
}

/// Adds first and last times to places that nobody else holds: a detach or an attach in an open transaction holds those of its
/// table, and must not keep the rows of all tables from being absorbed. What is later still is added with the next ones.
fn add_to_free_places(schema: &Schema, arguments: &[Argument; 4]) {
    let sql = Sql::on(schema, c"ip_sighting_source");
    sql.run(
        &format!(
            "UPDATE {0}.ip_sighting_source l SET first_seen_at = least(l.first_seen_at, f.first),
                 last_seen_at = greatest(l.last_seen_at, f.last)
             FROM (SELECT l.id, r.first, r.last FROM {0}.ip_sighting_source l, {1}
                   FOR NO KEY UPDATE OF l SKIP LOCKED) f
             WHERE l.id = f.id",
            schema.name,
            news("r.last")
        ),
        arguments,
    );
}

/// Adds to places, by their numbers: the first and last times, and how much was left out.
pub fn add_to_places(schema: &Schema, arguments: &[Argument; 4]) {
    Sql::on(schema, c"ip_sighting_source").run(
        &format!(
            "UPDATE {}.ip_sighting_source l SET first_seen_at = least(l.first_seen_at, r.first),
                 last_seen_at = greatest(l.last_seen_at, r.last), left_out = l.left_out + least(r.n, 9223372036854775807 - l.left_out)
             FROM {}",
            schema.name,
            news("r.last")
        ),
        arguments,
    );
}

/// Whether all that a table has added stands in its sightings: then its share can be taken back without its rows. `added`
/// is how much that is.
pub fn are_complete(schema: &Schema, table: pg_sys::Oid, added: i64) -> bool {
    if !is_there(schema) {
        return false;
    }
    let sql = Sql::on_all(schema, &[c"ip_sighting", c"ip_sighting_source"]);
    let found = sql.returning(
        &format!(
            "SELECT coalesce(sum(s.observation_count), 0) = $2 AND NOT EXISTS (
                        SELECT FROM {0}.ip_sighting_source l WHERE l.tbl = $1 AND l.left_out > 0)
             FROM {0}.ip_sighting s WHERE s.source_id IN (SELECT l.id FROM {0}.ip_sighting_source l WHERE l.tbl = $1)",
            schema.name
        ),
        &[(pg_sys::REGCLASSOID, table.into_datum()), argument::bigint(added)],
    );
    found.get::<bool>(0, 1) == Some(true)
}

/// How many observations some places hold, given by their numbers.
pub fn sum(schema: &Schema, places: &[i32]) -> i64 {
    if places.is_empty() {
        return 0;
    }
    let sql = Sql::on(schema, c"ip_sighting");
    let query = format!(
        "SELECT coalesce(sum(s.observation_count), 0)::bigint FROM {}.ip_sighting s WHERE s.source_id = ANY ($1)",
        schema.name
    );
    sql.returning(&query, &[argument::integers(places.to_vec())]).get::<i64>(0, 1).unwrap_or(0)
}

/// Hands over how often some places observed each address, in batches and in order.
pub fn each_of(schema: &Schema, places: &[i32], mut hand_over: impl FnMut(&[(IpAddr, i64)])) {
    let numbers = argument::integers(places.to_vec());
    let sql = Sql::on(schema, c"ip_sighting");
    let mut cursor = sql.cursor(
        &format!(
            "SELECT s.ip_address, sum(s.observation_count)::bigint FROM {}.ip_sighting s WHERE s.source_id = ANY ($1)
             GROUP BY s.ip_address ORDER BY s.ip_address",
            schema.name
        ),
        &[numbers],
    );
    loop {
        let found = cursor.fetch(BATCH);
        if found.len() == 0 {
            return;
        }
        let rows: Vec<(IpAddr, i64)> = (0..found.len())
            .filter_map(|row| Some((found.get::<Inet>(row, 1)?.ip, found.get::<i64>(row, 2)?)))
            .collect();
        hand_over(&rows);
    }
}

/// Sets first and last times of addresses to those of their sightings, where these are all that was observed of them. For
/// addresses of which the share of some places was taken back.
pub fn set_times(schema: &Schema, batch: &[(IpAddr, i64)], without: &[i32]) {
    let _fetched = Settings::rows_are_fetched();
    let sql = Sql::on_all(schema, &[c"ip_inventory", c"ip_sighting"]);
    sql.run(
        &format!(
            "UPDATE {0}.ip_inventory i SET first_seen_at = r.first, last_seen_at = r.last
             FROM (SELECT s.ip_address AS ip, min(s.first_seen_at) AS first, max(s.last_seen_at) AS last,
                          sum(s.observation_count) AS n
                   FROM {0}.ip_sighting s WHERE s.ip_address = ANY ($1) AND s.source_id <> ALL ($2) GROUP BY 1) r
             WHERE i.ip_address = ANY ($1) AND i.ip_address = r.ip AND i.observation_count = r.n
                 AND (i.first_seen_at, i.last_seen_at) IS DISTINCT FROM (r.first, r.last)",
            schema.name
        ),
        &[argument::addresses(batch.iter().map(|(ip, _)| ip)), argument::integers(without.to_vec())],
    );
}

/// Moves sightings of IPv4-mapped addresses to the IPv4 addresses, `most` of them. `mapped` and `plain` are SQL: a condition
/// on a row `m`, and the IPv4 address of a row `r`.
pub fn fold_mapped(schema: &Schema, mapped: &str, plain: &str, most: i64) -> i64 {
    if !is_there(schema) {
        return 0;
    }
    // As in `fold::merge`: it may have been distributed since that was asked.
    catalog::lock_relation(schema.relation(c"ip_sighting"), pg_sys::RowExclusiveLock);
    if heap::is_distributed(schema, c"ip_sighting") {
        return 0;
    }
    let sql = Sql::on(schema, c"ip_sighting");
    let moved = sql.returning(
        &format!(
            "WITH gone AS (DELETE FROM {0}.ip_sighting r WHERE r.ctid = ANY (ARRAY(
                     SELECT m.ctid FROM {0}.ip_sighting m WHERE {mapped} ORDER BY m.ip_address LIMIT {most})) RETURNING r.*),
             folded AS (SELECT {plain} AS ip, r.source_id, min(r.first_seen_at) AS first, max(r.last_seen_at) AS last,
                               least(sum(r.observation_count), 9223372036854775807)::bigint AS n FROM gone r GROUP BY 1, 2),
             put AS (INSERT INTO {0}.ip_sighting AS s (ip_address, source_id, first_seen_at, last_seen_at, observation_count)
                     SELECT ip, source_id, first, last, n FROM folded
                     ON CONFLICT (ip_address, source_id) DO UPDATE SET {ADDED})
             SELECT count(*) FROM gone",
            schema.name
        ),
        &[],
    );
    moved.get::<i64>(0, 1).unwrap_or(0)
}
