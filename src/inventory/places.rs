//! The places that see addresses: an attached table, and in it the sensor that a row names. Each has a number in
//! `ip_sighting_source`.
//!
//! Where the inventory is distributed, the nodes share the numbers. A table has another OID on each of them, so a place is
//! known by the table's name there; and each node gives out numbers of its own.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use pgrx::{IntoDatum, PgSqlErrorCode, pg_sys};

use super::heap;
use super::seen::Seen;
use super::source;
use super::source_part;
use crate::pg::argument;
use crate::pg::catalog::{Schema, relation_name};
use crate::pg::citus;
use crate::pg::errors::{not_ready, raise};
use crate::pg::sql::Sql;
use crate::pg::tx;

/// Sensors of one table; further ones are counted together.
pub const MOST_SENSORS: usize = 1_000;
/// The name under which those are.
pub const OTHER_SENSORS: &str = "(others)";
/// The name of the place of tables that are gone or temporary: a number of theirs says nothing elsewhere.
pub const NO_TABLE: &str = "(no table)";
/// Bytes of a sensor's name.
pub const LONGEST: usize = 100;
/// How many numbers one node of a cluster gives out: from so many times its group's number on.
const NUMBERS_OF_A_NODE: i32 = 1 << 20;
/// Groups with numbers of their own; further ones share them.
const GROUPS: i32 = i32::MAX / NUMBERS_OF_A_NODE;

/// A table's sensor, by its number.
pub struct Place {
    /// In `ip_sighting_source`.
    pub number: i32,
    /// What it saw.
    pub seen: Vec<(IpAddr, Seen)>,
}

/// The table of a place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// A table of this server, by its OID; 0: one that is gone or temporary.
    Here(u32),
    /// A table of the cluster, by its qualified name.
    Named(String),
}

/// Whether there may be such data. Where the inventory is distributed: only once these tables are, too. Before the update to
/// 0.3.0, a table of that name is somebody else's.
pub fn is_there(schema: &Schema) -> bool {
    let is_there = |name| schema.is_of_extension(name);
    TABLES.into_iter().all(is_there) && (!heap::is_everywhere(schema) || are_everywhere(schema))
}

/// Whether the nodes of a cluster share it.
pub fn are_everywhere(schema: &Schema) -> bool {
    heap::is_distributed(schema, c"ip_sighting")
}

/// The tables in which it is, each with the column of the place's number.
pub const TABLES: [&std::ffi::CStr; 3] = [c"ip_sighting", c"ip_activity", c"ip_sighting_source"];

/// Finds the numbers of places, and gives one to those that have none. Only one transaction of a node absorbs at a time.
pub fn numbered(schema: &Schema, places: HashMap<(u32, String), Vec<(IpAddr, Seen)>>) -> Vec<Place> {
    let mut numbers = Numbers::of(schema);
    // Sorted, so that the same come in when there are too many.
    let mut places: Vec<_> = places.into_iter().collect();
    places.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let mut numbered: HashMap<i32, Vec<(IpAddr, Seen)>> = HashMap::new();
    for ((table, sensor), seen) in places {
        let table = numbers.table(table);
        numbered.entry(numbers.number(&table, sensor)).or_default().extend(seen);
    }
    numbered.into_iter().map(|(number, seen)| Place { number, seen }).collect()
}

/// The numbers that are given out.
pub struct Numbers<'a> {
    schema: &'a Schema,
    everywhere: bool,
    known: HashMap<(Table, String), i32>,
    sensors: HashMap<Table, usize>,
    /// The last number given out, once there is one.
    last: Option<i32>,
}

impl Numbers<'_> {
    /// Those of places that something may come to.
    pub fn of(schema: &Schema) -> Numbers<'_> {
        let everywhere = are_everywhere(schema);
        if !everywhere && has_names_alone(schema) {
            // A cluster had them, and this is a restored dump.
            find_tables(schema);
        }
        let all = if everywhere { shared(schema) } else { own(schema) };
        let mut sensors: HashMap<Table, usize> = HashMap::new();
        for (_, table, _) in &all {
            *sensors.entry(table.clone()).or_default() += 1;
        }
        let known = all.into_iter().map(|(number, table, sensor)| ((table, sensor), number)).collect();
        Numbers { schema, everywhere, known, sensors, last: None }
    }

    /// What tells a table of this server from others.
    fn table(&self, oid: u32) -> Table {
        match self.everywhere {
            true => Table::Named(shared_name(oid.into()).unwrap_or_else(|| NO_TABLE.to_owned())),
            false => Table::Here(oid),
        }
    }

    /// The number of a place, which may be a new one.
    pub fn number(&mut self, table: &Table, sensor: String) -> i32 {
        let count = self.sensors.entry(table.clone()).or_default();
        let mut key = (table.clone(), sensor);
        if *count >= MOST_SENSORS && !self.known.contains_key(&key) {
            key.1 = OTHER_SENSORS.to_owned();
        }
        if let Some(number) = self.known.get(&key) {
            return *number;
        }
        *count += 1;
        let number = self.next();
        let number = match table {
            Table::Here(oid) => create(self.schema, number, *oid, &key.1),
            Table::Named(name) => create_shared(self.schema, number, name, &key.1),
        };
        self.known.insert(key, number);
        number
    }

    /// A number that nobody has.
    pub fn next(&mut self) -> i32 {
        let last = self.last.unwrap_or_else(|| match self.everywhere {
            true => highest_of_node(self.schema),
            false => highest(self.schema),
        });
        if self.everywhere && (last + 1) % NUMBERS_OF_A_NODE == 0 {
            not_ready("this node has no number left for another sensor", "It has given out a million.", "");
        }
        self.last = Some(last + 1);
        last + 1
    }
}

/// The name under which the nodes of a cluster know a table; `None`: it is gone. To that of a table that lies on one worker
/// alone, its group's number is added: another node may have one of that name.
pub fn shared_name(table: pg_sys::Oid) -> Option<String> {
    let name = relation_name(table)?;
    match citus::my_group() {
        group @ 1.. if citus::kept(table).is_none() => Some(format!("{name} (node {group})")),
        _ => Some(name),
    }
}

/// The places of a server's own inventory: number, table and sensor. Those of tables that were dropped or renamed are put
/// right before: the first keep their names alone, the others get the new one.
fn own(schema: &Schema) -> Vec<(i32, Table, String)> {
    let sql = Sql::on(schema, c"ip_sighting_source");
    let found = sql.returning(
        &format!(
            "SELECT l.id, coalesce(l.tbl::oid, 0), l.sensor, l.name FROM {}.ip_sighting_source l
             WHERE l.tbl <> 0 OR l.attached AND l.name = $1",
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
        places.push((number, Table::Here(table.to_u32()), found.text(row, 3).unwrap_or_default()));
    }
    if !gone.is_empty() {
        retire(&sql, schema, &gone);
    }
    if !renamed.is_empty() {
        rename(&sql, schema, renamed);
    }
    places
}

/// Whether there are places that are known by the name of a table alone.
fn has_names_alone(schema: &Schema) -> bool {
    let sql = Sql::on(schema, c"ip_sighting_source");
    let text = format!(
        "SELECT 1 FROM {}.ip_sighting_source l WHERE l.attached AND l.tbl IS NULL AND l.name <> $1 LIMIT 1",
        schema.name
    );
    sql.returning(&text, &[argument::text(NO_TABLE)]).len() > 0
}

/// The places of a cluster.
fn shared(schema: &Schema) -> Vec<(i32, Table, String)> {
    let sql = Sql::on(schema, c"ip_sighting_source");
    let text = format!(
        "SELECT l.id, l.name, l.sensor FROM {}.ip_sighting_source l WHERE l.tbl IS NULL AND l.attached",
        schema.name
    );
    let found = sql.returning(&text, &[]);
    let place = |row| Some((found.get(row, 1)?, Table::Named(found.text(row, 2)?), found.text(row, 3)?));
    (0..found.len()).filter_map(place).collect()
}

/// Places of tables that are gone keep their names alone.
fn retire(sql: &Sql, schema: &Schema, tables: &[pg_sys::Oid]) {
    let text =
        format!("UPDATE {}.ip_sighting_source SET tbl = NULL, attached = false WHERE tbl = ANY ($1)", schema.name);
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

/// The highest number that this node has given out.
fn highest_of_node(schema: &Schema) -> i32 {
    let before = citus::my_group() % GROUPS * NUMBERS_OF_A_NODE;
    let sql = Sql::on(schema, c"ip_sighting_source");
    let text =
        format!("SELECT coalesce(max(id), $1) FROM {}.ip_sighting_source WHERE id > $1 AND id <= $2", schema.name);
    let last = before.saturating_add(NUMBERS_OF_A_NODE - 1);
    let limits = [(pg_sys::INT4OID, before.into_datum()), (pg_sys::INT4OID, last.into_datum())];
    sql.returning(&text, &limits).get::<i32>(0, 1).unwrap_or(before)
}

/// A table that is detached is another place when it is attached again: what it has added stays. `is_whole`: it can be taken back
/// later, see [`detached`](super::detached); if not, neither can what it had added before.
pub fn retire_table(schema: &Schema, table: pg_sys::Oid, is_whole: bool) {
    if !is_there(schema) {
        return;
    }
    let sql = Sql::on(schema, c"ip_sighting_source");
    if !are_everywhere(schema) {
        retire_as(&sql, schema, table, is_whole);
        if !is_whole {
            let text = format!(
                "UPDATE {}.ip_sighting_source SET detached_tbl = NULL WHERE detached_tbl = $1 AND NOT attached",
                schema.name
            );
            sql.run(&text, &[argument::oid(table)]);
        }
    } else if let Some(name) = shared_name(table) {
        let text =
            format!("UPDATE {}.ip_sighting_source SET attached = false WHERE name = $1 AND attached", schema.name);
        sql.run(&text, &[argument::text(&name)]);
    }
}

/// The same of a table that is attached now. In a cluster it goes on as the place that has its name.
pub fn retire_own(schema: &Schema, table: pg_sys::Oid) {
    if is_there(schema) && !are_everywhere(schema) {
        // A note may say that what came then is counted, and is to stay so.
        let is_whole = source_part::parts(schema, &[table]).is_empty();
        retire_as(&Sql::on(schema, c"ip_sighting_source"), schema, table, is_whole);
    }
}

/// A table's places keep its name and, if they are `is_whole`, its number.
fn retire_as(sql: &Sql, schema: &Schema, table: pg_sys::Oid, is_whole: bool) {
    sql.run(
        &format!(
            "UPDATE {}.ip_sighting_source SET tbl = NULL, attached = false, name = coalesce($2, name),
                 detached_tbl = CASE WHEN $3 THEN $1::oid END
             WHERE tbl = $1",
            schema.name
        ),
        &[
            (pg_sys::REGCLASSOID, table.into_datum()),
            argument::maybe_text(relation_name(table).as_deref()),
            argument::boolean(is_whole),
        ],
    );
}

fn create(schema: &Schema, number: i32, table: u32, sensor: &str) -> i32 {
    let oid = pg_sys::Oid::from(table);
    let name = relation_name(oid);
    // Where nothing of ip_source can be read, the place is a new one.
    let is_detached = || tx::attempt(|| source::root(schema, oid)).is_ok_and(|root| root.is_none());
    if let Some(name) = &name
        && is_detached()
        && let Some(last) = last_of(schema, oid, name, sensor)
    {
        // What waited in the queue when the table was detached.
        return last;
    }
    Sql::on(schema, c"ip_sighting_source").run(
        &format!("INSERT INTO {}.ip_sighting_source (id, tbl, name, sensor) VALUES ($1, $2, $3, $4)", schema.name),
        &[
            (pg_sys::INT4OID, number.into_datum()),
            (pg_sys::REGCLASSOID, name.as_ref().and_then(|_| oid.into_datum())),
            argument::text(name.as_deref().unwrap_or(NO_TABLE)),
            argument::text(sensor),
        ],
    );
    number
}

/// The last place that a table and sensor had before the table was detached.
fn last_of(schema: &Schema, table: pg_sys::Oid, name: &str, sensor: &str) -> Option<i32> {
    let text = format!(
        "SELECT max(id) FROM {}.ip_sighting_source
         WHERE name = $1 AND sensor = $2 AND tbl IS NULL AND NOT attached AND coalesce(detached_tbl = $3, true)",
        schema.name
    );
    let sql = Sql::on(schema, c"ip_sighting_source");
    sql.returning(&text, &[argument::text(name), argument::text(sensor), argument::oid(table)]).get::<i32>(0, 1)
}

/// The same for the nodes of a cluster. Another node may do so at this moment: this waits for it, and takes its number.
fn create_shared(schema: &Schema, number: i32, name: &str, sensor: &str) -> i32 {
    let sql = Sql::on(schema, c"ip_sighting_source");
    let place = [argument::text(name), argument::text(sensor), (pg_sys::INT4OID, number.into_datum())];
    let insert = format!(
        "INSERT INTO {}.ip_sighting_source (id, name, sensor) VALUES ($3, $1, $2)
         ON CONFLICT (name, sensor) WHERE tbl IS NULL AND attached DO NOTHING",
        schema.name
    );
    sql.run(&insert, &place);
    let known = format!(
        "SELECT id FROM {}.ip_sighting_source WHERE name = $1 AND sensor = $2 AND tbl IS NULL AND attached",
        schema.name
    );
    sql.returning(&known, &place[..2]).get::<i32>(0, 1).unwrap_or_else(|| {
        raise(
            PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
            format!("table {name} was detached meanwhile, and nothing was absorbed"),
            "",
            "",
        )
    })
}

/// The numbers of tables and their sensors.
pub fn numbers_of(schema: &Schema, tables: &[pg_sys::Oid]) -> Vec<i32> {
    if !is_there(schema) {
        return Vec::new();
    }
    let everywhere = are_everywhere(schema);
    let sql = Sql::on(schema, c"ip_sighting_source");
    let names = || tables.iter().filter_map(|table| shared_name(*table)).collect::<Vec<String>>();
    let (whose, argument) = match everywhere {
        true => ("name = ANY ($1) AND attached", argument::texts(&names())),
        false => ("tbl = ANY ($1)", argument::regclasses(tables)),
    };
    let query = format!("SELECT id FROM {}.ip_sighting_source WHERE {whose} ORDER BY 1", schema.name);
    let found = sql.returning(&query, &[argument]);
    (0..found.len()).filter_map(|row| found.get::<i32>(row, 1)).collect()
}

/// Before the nodes share the places: each is known by the name of its table from then on. Numbers without a place, which a
/// restore may have brought, get one, so that nobody else gets them.
pub fn name_alone(schema: &Schema) {
    find_tables(schema);
    own(schema);
    for seen in [c"ip_sighting", c"ip_activity"] {
        Sql::on_all(schema, &[c"ip_sighting_source", seen]).run(
            &format!(
                "INSERT INTO {0}.ip_sighting_source (id, name, attached)
                 SELECT DISTINCT s.source_id, $1, false FROM {0}.{1} s
                 WHERE s.source_id > 0 AND NOT EXISTS (SELECT FROM {0}.ip_sighting_source l WHERE l.id = s.source_id)",
                schema.name,
                seen.to_string_lossy()
            ),
            &[argument::text(NO_TABLE)],
        );
    }
    let text = format!(
        "UPDATE {}.ip_sighting_source SET tbl = NULL, detached_tbl = NULL WHERE tbl IS NOT NULL OR detached_tbl IS NOT NULL",
        schema.name
    );
    Sql::on(schema, c"ip_sighting_source").run(&text, &[]);
}

/// When the places are this server's alone again: those of its attached tables are found by their names.
pub fn find_tables(schema: &Schema) {
    let tables: HashMap<String, pg_sys::Oid> = source::attached(schema).into_iter().collect();
    let sql = Sql::on(schema, c"ip_sighting_source");
    let query = |which: &str| {
        format!(
            "SELECT l.id, l.name, l.sensor, coalesce(l.tbl::oid, 0) FROM {}.ip_sighting_source l WHERE {which}",
            schema.name
        )
    };
    let mut taken: HashSet<(u32, String)> = HashSet::new();
    let found = sql.returning(&query("l.tbl <> 0"), &[]);
    for row in 0..found.len() {
        taken.insert((
            found.get::<pg_sys::Oid>(row, 4).map_or(0, |table| table.to_u32()),
            found.text(row, 3).unwrap_or_default(),
        ));
    }
    let found = sql.returning(&query("l.attached AND l.tbl IS NULL AND l.name <> $1"), &[argument::text(NO_TABLE)]);
    let (mut ids, mut oids, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..found.len() {
        let Some(id) = found.get::<i32>(row, 1) else { continue };
        let table = found.text(row, 2).and_then(|name| tables.get(&name)).copied();
        // One place of a table and sensor.
        match table.filter(|table| taken.insert((table.to_u32(), found.text(row, 3).unwrap_or_default()))) {
            Some(table) => {
                ids.push(id);
                oids.push(table);
            }
            None => gone.push(id),
        }
    }
    sql.run(
        &format!(
            "UPDATE {}.ip_sighting_source l SET tbl = r.tbl
             FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS r(id, tbl) WHERE l.id = r.id",
            schema.name
        ),
        &[argument::integers(ids), argument::regclasses(&oids)],
    );
    let text = format!("UPDATE {}.ip_sighting_source SET attached = false WHERE id = ANY ($1)", schema.name);
    sql.run(&text, &[argument::integers(gone)]);
}
