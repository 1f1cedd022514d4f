//! What the places of a node's own inventory saw, under the numbers that the cluster has for them: see [`super::leftovers`]. Its
//! rows are read as their table's owner, who decides what the columns' casts and operators run.

use std::ffi::CStr;

use pgrx::{IntoDatum, pg_sys};

use super::places::{NO_TABLE, Numbers, Table, shared_name};
use super::sighting;
use crate::pg::argument;
use crate::pg::argument::Argument;
use crate::pg::catalog::Schema;
use crate::pg::sql::Sql;
use crate::pg::tx::Settings;

/// Merges rows of one of these tables. `sources` are the node's own rows of `ip_sighting_source`, which are the last to go.
pub fn merge(schema: &Schema, table: &CStr, rows: Argument, sources: Argument) {
    let (mut old, mut new) = renumbered(schema, sources);
    if table != c"ip_sighting_source" {
        let orphans = orphans(schema, table, rows, &old);
        if !orphans.is_empty() {
            let number = retired(schema, &mut Numbers::of(schema), NO_TABLE, "");
            new.extend(orphans.iter().map(|_| number));
            old.extend(orphans);
        }
    }
    let [old, new] = [argument::integers(old), argument::integers(new)];
    let s = &schema.name;
    let joined = format!(
        "pg_catalog.unnest($1::{s}.{table}[]) AS r
             JOIN ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS m(old, new) ON m.old = r.{column}",
        table = table.to_string_lossy(),
        column = if table == c"ip_sighting_source" { "id" } else { "source_id" },
    );
    let statement = match table.to_bytes() {
        b"ip_sighting" => format!(
            "INSERT INTO {s}.ip_sighting AS s (ip_address, source_id, first_seen_at, last_seen_at, observation_count)
             SELECT r.ip_address, m.new, min(r.first_seen_at), max(r.last_seen_at),
                 least(sum(r.observation_count), 9223372036854775807)::bigint FROM {joined} GROUP BY 1, 2 ORDER BY 1, 2
             ON CONFLICT (ip_address, source_id) DO UPDATE SET {}",
            sighting::ADDED
        ),
        // The coordinator counts these hours again.
        b"ip_activity" => format!(
            "INSERT INTO {s}.ip_activity (bucket, by_day, source_id, addresses, packed)
             SELECT r.bucket, r.by_day, m.new, r.addresses, r.packed FROM {joined} WHERE r.addresses > 0"
        ),
        _ => return add(schema, &joined, [rows, old, new]),
    };
    let _fetched = Settings::rows_are_fetched();
    Sql::on(schema, table).run(&statement, &[rows, old, new]);
}

/// Adds to places of the cluster what a node's own ones say of themselves. In two steps, with plain values for Citus: a
/// place's own row names a table that other nodes may not have.
fn add(schema: &Schema, joined: &str, of_node: [Argument; 3]) {
    let sql = Sql::on(schema, c"ip_sighting_source");
    let found = sql.returning(
        &format!(
            "SELECT array_agg(p.new), array_agg(p.first), array_agg(p.last), array_agg(p.n)
             FROM (SELECT m.new, min(r.first_seen_at), max(r.last_seen_at), least(sum(r.left_out), 9223372036854775807)::bigint
                   FROM {joined} GROUP BY 1) AS p(new, first, last, n)"
        ),
        &of_node,
    );
    let kinds = [pg_sys::INT4ARRAYOID, pg_sys::TIMESTAMPTZARRAYOID, pg_sys::TIMESTAMPTZARRAYOID, pg_sys::INT8ARRAYOID];
    let value = |(column, kind)| (kind, found.datum(0, column));
    let [places, first, last, left_out] = [1, 2, 3, 4].map(|column| value((column, kinds[column - 1])));
    if places.1.is_some() {
        sighting::add_to_places(schema, &[places, first, last, left_out]);
    }
}

/// Numbers in rows that no place has: a restore may have brought them.
fn orphans(schema: &Schema, table: &CStr, rows: Argument, known: &[i32]) -> Vec<i32> {
    let sql = Sql::on(schema, table);
    let text = format!(
        "SELECT DISTINCT r.source_id FROM pg_catalog.unnest($1::{}.{}[]) AS r WHERE r.source_id > 0 AND r.source_id <> ALL ($2)",
        schema.name,
        table.to_string_lossy()
    );
    let found = sql.returning(&text, &[rows, argument::integers(known.to_vec())]);
    (0..found.len()).filter_map(|row| found.get(row, 1)).collect()
}

/// The numbers of a node's own places, and the cluster's for the same.
fn renumbered(schema: &Schema, sources: Argument) -> (Vec<i32>, Vec<i32>) {
    let mut numbers = Numbers::of(schema);
    let places: Vec<(i32, pg_sys::Oid, String, String, bool)> = {
        let sql = Sql::on(schema, c"ip_sighting_source");
        let found = sql.returning(
            &format!(
                "SELECT r.id, coalesce(r.tbl::oid, 0), r.name, r.sensor, r.attached
                 FROM pg_catalog.unnest($1::{}.ip_sighting_source[]) AS r ORDER BY 1",
                schema.name
            ),
            &[sources],
        );
        let place = |row| {
            let is_attached = found.get::<bool>(row, 5) == Some(true);
            Some((found.get(row, 1)?, found.get(row, 2)?, found.text(row, 3)?, found.text(row, 4)?, is_attached))
        };
        (0..found.len()).filter_map(place).collect()
    };
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for (id, table, name, sensor, is_attached) in places {
        let present = if name == NO_TABLE { Some(name.clone()) } else { shared_name(table) };
        let number = match present.filter(|_| is_attached) {
            Some(name) => numbers.number(&Table::Named(name), sensor),
            None => retired(schema, &mut numbers, &name, &sensor),
        };
        old.push(id);
        new.push(number);
    }
    (old, new)
}

/// The number of a place that nothing comes to any more: all of one name are one.
fn retired(schema: &Schema, numbers: &mut Numbers<'_>, name: &str, sensor: &str) -> i32 {
    let sql = Sql::on(schema, c"ip_sighting_source");
    let place = [argument::text(name), argument::text(sensor)];
    let known = format!(
        "SELECT min(id) FROM {}.ip_sighting_source WHERE name = $1 AND sensor = $2 AND NOT attached",
        schema.name
    );
    if let Some(number) = sql.returning(&known, &place).get::<i32>(0, 1) {
        return number;
    }
    let number = numbers.next();
    let [name, sensor] = place;
    let insert = format!(
        "INSERT INTO {}.ip_sighting_source (id, name, sensor, attached) VALUES ($3, $1, $2, false)",
        schema.name
    );
    sql.run(&insert, &[name, sensor, (pg_sys::INT4OID, number.into_datum())]);
    number
}
