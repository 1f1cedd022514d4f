//! The places that see addresses: an attached table, and in it the sensor that a row names. Each has a number in
//! `ip_sighting_source`.

use std::collections::HashMap;
use std::net::IpAddr;

use pgrx::{IntoDatum, pg_sys};

use super::heap;
use super::seen::Seen;
use crate::pg::argument;
use crate::pg::catalog::{Schema, relation_name};
use crate::pg::sql::Sql;

/// Sensors of one table; further ones are counted together.
pub const MOST_SENSORS: usize = 1_000;
/// The name under which those are.
pub const OTHER_SENSORS: &str = "(others)";
/// The name of the place of tables that are gone or temporary: a number of theirs says nothing elsewhere.
const NO_TABLE: &str = "(no table)";
/// Bytes of a sensor's name.
pub const LONGEST: usize = 100;

/// A table's sensor, by its number.
pub struct Place {
    /// In `ip_sighting_source`.
    pub number: i32,
    /// What it saw.
    pub seen: Vec<(IpAddr, Seen)>,
}

/// Whether there may be such data.
pub fn is_there(schema: &Schema) -> bool {
    let is_there = |name| schema.relation(name) != pg_sys::InvalidOid;
    TABLES.into_iter().all(is_there) && !heap::is_everywhere(schema)
}

/// The tables in which it is, each with the column of the place's number.
pub const TABLES: [&std::ffi::CStr; 3] = [c"ip_sighting", c"ip_activity", c"ip_sighting_source"];

/// Finds the numbers of places, and gives one to those that have none. Only one transaction absorbs at a time.
pub fn numbered(schema: &Schema, mut places: HashMap<(u32, String), Vec<(IpAddr, Seen)>>) -> Vec<Place> {
    let sql = Sql::on(schema, c"ip_sighting_source");
    let mut known: HashMap<(u32, String), i32> = HashMap::new();
    let mut sensors: HashMap<u32, usize> = HashMap::new();
    // The highest number in use, once one is to be given out.
    let mut last = None;
    for (number, table, sensor) in all(&sql, schema) {
        known.insert((table, sensor), number);
        *sensors.entry(table).or_default() += 1;
    }
    let mut numbered: HashMap<i32, Vec<(IpAddr, Seen)>> = HashMap::new();
    // Sorted, so that the same come in when there are too many.
    let mut keys: Vec<(u32, String)> = places.keys().cloned().collect();
    keys.sort_unstable();
    for key in keys {
        let seen = places.remove(&key).unwrap_or_default();
        let (table, sensor) = key;
        let count = sensors.entry(table).or_default();
        let is_too_many = *count >= MOST_SENSORS && !known.contains_key(&(table, sensor.clone()));
        let sensor = if is_too_many { OTHER_SENSORS.to_owned() } else { sensor };
        let number = *known.entry((table, sensor.clone())).or_insert_with(|| {
            *count += 1;
            let number = last.unwrap_or_else(|| highest(schema)) + 1;
            last = Some(number);
            create(&sql, schema, number, table, &sensor);
            number
        });
        numbered.entry(number).or_default().extend(seen);
    }
    numbered.into_iter().map(|(number, seen)| Place { number, seen }).collect()
}

/// The places that something may come to: number, table and sensor. Those of tables that were dropped or renamed are put
/// right before: the first keep their names alone, the others get the new one.
fn all(sql: &Sql, schema: &Schema) -> Vec<(i32, u32, String)> {
    let found = sql.returning(
        &format!(
            "SELECT l.id, coalesce(l.tbl::oid, 0), l.sensor, l.name FROM {}.ip_sighting_source l
             WHERE l.tbl IS NOT NULL OR l.name = $1",
            schema.name
        ),
        &[argument::text(NO_TABLE)],
    );
    // Not by a join with pg_class: Citus leaves the shards out of it.
    let mut names: HashMap<pg_sys::Oid, Option<String>> = HashMap::new();
    let (mut gone, mut renamed) = (Vec::new(), HashMap::new());
    let mut places = Vec::with_capacity(found.len());
    for row in 0..found.len() {
        let Some(number) = found.get::<i32>(row, 1) else { continue };
        let table = found.get::<pg_sys::Oid>(row, 2).unwrap_or(pg_sys::InvalidOid);
        if table != pg_sys::InvalidOid {
            let Some(name) = names.entry(table).or_insert_with(|| relation_name(table)) else {
                gone.push(table);
                continue;
            };
            if found.text(row, 4).as_ref() != Some(name) {
                renamed.insert(table, name.clone());
            }
        }
        places.push((number, table.to_u32(), found.text(row, 3).unwrap_or_default()));
    }
    if !gone.is_empty() {
        retire(sql, schema, &gone);
    }
    if !renamed.is_empty() {
        rename(sql, schema, renamed);
    }
    places
}

/// Places of tables that are gone keep their names alone.
fn retire(sql: &Sql, schema: &Schema, tables: &[pg_sys::Oid]) {
    let text = format!("UPDATE {}.ip_sighting_source SET tbl = NULL WHERE tbl = ANY ($1)", schema.name);
    sql.run(&text, &[argument::regclasses(tables)]);
}

fn rename(sql: &Sql, schema: &Schema, renamed: HashMap<pg_sys::Oid, String>) {
    let (tables, names): (Vec<pg_sys::Oid>, Vec<String>) = renamed.into_iter().unzip();
    sql.run(
        &format!(
            "UPDATE {}.ip_sighting_source l SET name = r.name
             FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS r(tbl, name) WHERE l.tbl = r.tbl",
            schema.name
        ),
        &[argument::regclasses(&tables), argument::texts(&names)],
    );
}

/// The highest number in use. A restore may have brought data of places whose own rows it could not load.
fn highest(schema: &Schema) -> i32 {
    let of = |table: &std::ffi::CStr, column: &str| {
        let sql = Sql::on(schema, table);
        let found = sql.returning(
            &format!("SELECT coalesce(max({column}), 0) FROM {}.{}", schema.name, table.to_string_lossy()),
            &[],
        );
        found.get::<i32>(0, 1).unwrap_or(0)
    };
    of(c"ip_sighting_source", "id").max(of(c"ip_sighting", "source_id")).max(of(c"ip_activity", "source_id")).max(0)
}

/// A table that is detached is another place when it is attached again: what it has added stays.
pub fn retire_table(schema: &Schema, table: pg_sys::Oid) {
    if is_there(schema) {
        retire(&Sql::on(schema, c"ip_sighting_source"), schema, &[table]);
    }
}

fn create(sql: &Sql, schema: &Schema, number: i32, table: u32, sensor: &str) {
    let oid = pg_sys::Oid::from(table);
    let name = relation_name(oid);
    sql.run(
        &format!("INSERT INTO {}.ip_sighting_source (id, tbl, name, sensor) VALUES ($1, $2, $3, $4)", schema.name),
        &[
            (pg_sys::INT4OID, number.into_datum()),
            (pg_sys::REGCLASSOID, name.as_ref().and_then(|_| oid.into_datum())),
            argument::text(name.as_deref().unwrap_or(NO_TABLE)),
            argument::text(sensor),
        ],
    );
}

/// The numbers of a table and its sensors.
pub fn numbers_of(schema: &Schema, table: pg_sys::Oid) -> Vec<i32> {
    let sql = Sql::on(schema, c"ip_sighting_source");
    let query = format!("SELECT id FROM {}.ip_sighting_source WHERE tbl = $1 ORDER BY 1", schema.name);
    let found = sql.returning(&query, &[(pg_sys::REGCLASSOID, table.into_datum())]);
    (0..found.len()).filter_map(|row| found.get::<i32>(row, 1)).collect()
}
