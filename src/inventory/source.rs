//! Attached tables: the rows of `ip_source`, and of `ip_source_part` for the tables below them.
//!
//! Statements do not run under the snapshot of the one that calls: the table may have been attached since it began.

use std::collections::{HashMap, HashSet};

use enrich::selector::EventTime;
use pgrx::{IntoDatum, pg_sys};

use super::meant;
use crate::pg::argument;
use crate::pg::argument::Argument;
use crate::pg::catalog::{Schema, database_identity, relation_name};
use crate::pg::citus;
use crate::pg::citus::Kept;
use crate::pg::errors::not_ready;
use crate::pg::inherits;
use crate::pg::sql::Sql;
use crate::pg::tx;

/// A table, as the note on it says how to read it.
pub struct Attached {
    /// The columns and paths that hold addresses.
    pub columns: Vec<String>,
    /// Where the event's time stands.
    pub observed_at: Option<EventTime>,
    /// The condition that a row must meet to be read.
    pub only_where: Option<String>,
    /// Where the sensor stands.
    pub sensor: Option<String>,
    /// The snapshot of the moment when it was attached, as a text.
    pub snapshot: Option<String>,
    /// Whether that was in this database.
    pub is_from_here: bool,
    /// The rows that were there before are counted.
    pub populated: bool,
    /// Its rows are observed by an index.
    pub is_by_index: bool,
}

/// The note on a table, locked until the transaction ends.
pub fn lock(schema: &Schema, table: pg_sys::Oid) -> Option<Attached> {
    let zone = if has_column(schema, c"observed_zone") { "observed_zone" } else { "NULL::text" };
    let sql = Sql::on(schema, c"ip_source");
    let found = sql.returning(
        &format!(
            "SELECT s.ip_columns, s.observed_at::text, s.attached_snapshot, s.attached_on, s.populated_at IS NULL, {zone},
                    pg_catalog.to_jsonb(s)->>'observed_path', pg_catalog.to_jsonb(s)->>'only_where', pg_catalog.to_jsonb(s)->>'sensor',
                    pg_catalog.to_jsonb(s)->>'method'
             FROM {}.ip_source s WHERE s.tbl = $1 FOR UPDATE",
            schema.name
        ),
        &of(table),
    );
    (found.len() > 0).then(|| Attached {
        columns: found.texts(0, 1).unwrap_or_default(),
        observed_at: found.text(0, 2).map(|column| EventTime {
            column,
            path: found.text(0, 7),
            zone: found.text(0, 6),
        }),
        only_where: found.text(0, 8),
        sensor: found.text(0, 9),
        snapshot: found.text(0, 3),
        is_from_here: found.text(0, 4).as_deref() == Some(&*database_identity()),
        populated: found.get::<bool>(0, 5) != Some(true),
        is_by_index: found.text(0, 10).as_deref() == Some("index"),
    })
}

/// The table itself, where it is attached, or the nearest above it that is.
pub fn root(schema: &Schema, table: pg_sys::Oid) -> Option<pg_sys::Oid> {
    roots(schema, &[table]).remove(&table)
}

/// The same of many tables, by table, in one statement: a tree of partitions has thousands.
pub fn roots(schema: &Schema, tables: &[pg_sys::Oid]) -> HashMap<pg_sys::Oid, pg_sys::Oid> {
    if tables.is_empty() {
        return HashMap::new();
    }
    let sql = Sql::on(schema, c"ip_source");
    let found = sql.returning(
        &format!(
            "WITH RECURSIVE line(leaf, tbl, far) AS (
                 SELECT u.tbl, u.tbl, 0 FROM pg_catalog.unnest($1) AS u(tbl)
                 UNION
                 SELECT l.leaf, i.inhparent, l.far + 1 FROM line l JOIN pg_catalog.pg_inherits i ON i.inhrelid = l.tbl)
             SELECT DISTINCT ON (l.leaf) l.leaf, a.tbl::oid FROM {}.ip_source a JOIN line l ON a.tbl = l.tbl
             ORDER BY l.leaf, l.far, l.tbl",
            schema.name
        ),
        &[argument::oids(tables)],
    );
    (0..found.len()).filter_map(|row| Some((found.get(row, 1)?, found.get(row, 2)?))).collect()
}

/// Those of a table and of others below it that count for it, in their order: neither they nor tables between are attached by
/// themselves.
pub fn own(schema: &Schema, table: pg_sys::Oid, members: &[pg_sys::Oid]) -> Vec<pg_sys::Oid> {
    let attached: Vec<pg_sys::Oid> = {
        let sql = Sql::on(schema, c"ip_source");
        let query = format!("SELECT tbl::oid FROM {}.ip_source WHERE tbl = ANY ($1) AND tbl <> $2", schema.name);
        let found = sql.returning(&query, &[among(members)[0], of(table)[0]]);
        (0..found.len()).filter_map(|row| found.get(row, 1)).collect()
    };
    let below = inherits::all(&attached, inherits::PARENT);
    let roots = roots(schema, &below);
    let others: HashSet<pg_sys::Oid> = below.into_iter().filter(|member| roots.get(member) != Some(&table)).collect();
    members.iter().copied().filter(|member| !others.contains(member)).collect()
}

/// The snapshot that tells which rows were there when a table was attached, as long as they are not counted; `None`: they
/// are, or nothing tells them.
pub fn uncounted(schema: &Schema, table: pg_sys::Oid) -> Option<String> {
    let sql = Sql::on(schema, c"ip_source");
    let query = format!(
        "SELECT attached_snapshot FROM {}.ip_source WHERE tbl = $1 AND populated_at IS NULL AND attached_on = $2",
        schema.name
    );
    let found = sql.returning(&query, &[of(table)[0], argument::text(&database_identity())]);
    (found.len() > 0).then(|| found.text(0, 1)).flatten()
}

/// The snapshot of the moment when a table was attached; `None`: it is not, or in another database.
pub fn since(schema: &Schema, table: pg_sys::Oid) -> Option<String> {
    let sql = Sql::on(schema, c"ip_source");
    let query = format!("SELECT attached_snapshot FROM {}.ip_source WHERE tbl = $1 AND attached_on = $2", schema.name);
    let found = sql.returning(&query, &[of(table)[0], argument::text(&database_identity())]);
    (found.len() > 0).then(|| found.text(0, 1)).flatten()
}

/// The columns and paths by which the rows of an attached table are observed, and the condition that they must meet.
pub fn observed_by(schema: &Schema, table: pg_sys::Oid) -> Option<(Vec<String>, Option<String>)> {
    let sql = Sql::on(schema, c"ip_source");
    let query = format!(
        "SELECT s.ip_columns, pg_catalog.to_jsonb(s)->>'only_where' FROM {}.ip_source s WHERE s.tbl = $1",
        schema.name
    );
    let found = sql.returning(&query, &of(table));
    (found.len() > 0).then(|| Some((found.texts(0, 1)?, found.text(0, 2)))).flatten()
}

/// Those of these tables that are attached by themselves, by an index: each with the columns and paths by which its rows are observed.
pub fn by_index(schema: &Schema, tables: &[pg_sys::Oid]) -> HashMap<pg_sys::Oid, Vec<String>> {
    if tables.is_empty() {
        return HashMap::new();
    }
    let sql = Sql::on(schema, c"ip_source");
    let query = format!(
        "SELECT s.tbl::oid, s.ip_columns FROM {}.ip_source s
         WHERE s.tbl = ANY ($1) AND pg_catalog.to_jsonb(s)->>'method' = 'index'",
        schema.name
    );
    let found = sql.returning(&query, &among(tables));
    (0..found.len()).filter_map(|row| Some((found.get(row, 1)?, found.texts(row, 2)?))).collect()
}

/// A table that is attached by itself, and the nearest attached one above it.
pub struct Two {
    /// The snapshot that tells which rows were there when it was attached.
    pub here: String,
    /// That of the one above.
    pub above: String,
    /// Its rows of before are counted.
    pub is_counted: bool,
    /// The one above had counted those of before when this one was attached. Later, it has left this one's out.
    pub is_counted_above: bool,
}

/// What is noted of a table and of the nearest attached one above it; `None`: one is not attached, or not in this database.
pub fn two(schema: &Schema, table: pg_sys::Oid) -> Option<Two> {
    let sql = Sql::on(schema, c"ip_source");
    let query = format!(
        "WITH RECURSIVE line(tbl, far) AS (
             SELECT $1::oid, 0
             UNION
             SELECT i.inhparent, l.far + 1 FROM line l JOIN pg_catalog.pg_inherits i ON i.inhrelid = l.tbl)
         SELECT s.attached_snapshot, a.attached_snapshot, s.populated_at IS NOT NULL,
                coalesce(a.populated_at <= s.attached_at, false)
         FROM {0}.ip_source s CROSS JOIN LATERAL (
             SELECT above.* FROM {0}.ip_source above JOIN line l ON above.tbl = l.tbl
             WHERE l.far > 0 ORDER BY l.far, l.tbl LIMIT 1) a
         WHERE s.tbl = $1 AND s.attached_on = $2 AND a.attached_on = $2",
        schema.name
    );
    let found = sql.returning(&query, &[argument::oid(table), argument::text(&database_identity())]);
    if found.len() == 0 {
        return None;
    }
    Some(Two {
        here: found.text(0, 1)?,
        above: found.text(0, 2)?,
        is_counted: found.get::<bool>(0, 3) == Some(true),
        is_counted_above: found.get::<bool>(0, 4) == Some(true),
    })
}

/// Notes that the rows that were there before are counted.
pub fn mark_populated(schema: &Schema, table: pg_sys::Oid) {
    Sql::on(schema, c"ip_source").run(
        &format!("UPDATE {}.ip_source SET populated_at = pg_catalog.now() WHERE tbl = $1", schema.name),
        &of(table),
    );
}

/// The notes made when a table is attached.
pub struct Attaching<'a> {
    /// See [`Attached`].
    pub columns: &'a [String],
    /// Where the event's time stands.
    pub observed_at: Option<&'a EventTime>,
    /// The condition that a row must meet to be read.
    pub only_where: Option<&'a str>,
    /// Where the sensor stands.
    pub sensor: Option<&'a str>,
    /// The snapshot of this moment, as a text.
    pub snapshot: &'a str,
    /// The table's qualified name.
    pub name: Option<&'a str>,
    /// There was no row before the trigger, so none is left to count: that stays true after a restore of a dump.
    pub is_empty: bool,
    /// How rows are observed.
    pub method: &'a str,
}

/// Writes the note on a table. Whether there was none before.
pub fn attach(schema: &Schema, table: pg_sys::Oid, how: &Attaching<'_>) -> bool {
    adopt(schema, table);
    // Of a distributed table, the coordinator has looked.
    if citus::kept(table) != Some(Kept::Distributed) || citus::is_coordinator() {
        let time = how.observed_at.and_then(|time| time.path.as_deref());
        meant::check(schema, how.columns.iter().map(String::as_str).chain(time).chain(how.sensor), how.only_where);
    }
    let sql = Sql::on(schema, c"ip_source");
    sql.run(
        &format!(
            "DELETE FROM {0}.ip_source s WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = s.tbl)",
            schema.name
        ),
        &[],
    );
    let time = how.observed_at;
    let has_path = has_column(schema, c"observed_path");
    if !has_path && (how.only_where.is_some() || how.sensor.is_some() || time.is_some_and(|time| time.path.is_some())) {
        not_ready(
            "a time in JSON, a condition and a sensor need version 0.3.0 of the extension's objects",
            "The library is newer than they are.",
            "Run ALTER EXTENSION asn_inventory UPDATE.",
        );
    }
    // What the version before does not know.
    let (names, values, set, ours, theirs, sensor) = match has_path {
        true => (
            ", observed_path, only_where, sensor",
            ", $9, $10, $11",
            "observed_path = EXCLUDED.observed_path, only_where = EXCLUDED.only_where, sensor = EXCLUDED.sensor,",
            ", s.observed_path, s.only_where",
            ", EXCLUDED.observed_path, EXCLUDED.only_where",
            "s.sensor IS NOT DISTINCT FROM EXCLUDED.sensor AND ",
        ),
        false => ("", "", "", "", "", ""),
    };
    // Earlier results of other columns do not apply to these.
    let is_same = format!(
        "{sensor}(s.ip_columns, s.observed_at, s.observed_zone{ours})
             IS NOT DISTINCT FROM (EXCLUDED.ip_columns, EXCLUDED.observed_at, EXCLUDED.observed_zone{theirs})"
    );
    let times = match has_column(schema, c"rows_since_time") {
        true => format!(", rows_since_time = CASE WHEN {is_same} THEN s.rows_since_time ELSE 0 END"),
        false => String::new(),
    };
    let (column, value, set) = match has_column(schema, c"observed_zone") {
        true => (
            format!(", observed_zone, attached_as, method{names}"),
            format!(", $6, $7, $8{values}"),
            format!(
                ", columns_changed = s.columns_changed OR NOT (s.observations = 0 AND s.rows_seen > 0)
                     AND (s.ip_columns, s.observed_at, s.observed_zone{ours})
                         IS DISTINCT FROM (EXCLUDED.ip_columns, EXCLUDED.observed_at, EXCLUDED.observed_zone{theirs}),
                 observed_zone = EXCLUDED.observed_zone, method = EXCLUDED.method, attached_as = EXCLUDED.attached_as, {set}
                 rows_since_address = CASE WHEN s.ip_columns = EXCLUDED.ip_columns THEN s.rows_since_address ELSE 0 END,
                 unreadable_sample = CASE WHEN {is_same} THEN s.unreadable_sample END,
                 unreadable_reason = CASE WHEN {is_same} THEN s.unreadable_reason END,
                 unreadable_at = CASE WHEN {is_same} THEN s.unreadable_at END{times}"
            ),
        ),
        false => Default::default(),
    };
    let populated_at = if how.is_empty { "pg_catalog.now()" } else { "NULL" };
    let mut arguments = vec![
        of(table)[0],
        argument::texts(how.columns),
        argument::maybe_text(time.map(|time| &*time.column)),
        argument::text(how.snapshot),
        argument::text(&database_identity()),
        argument::maybe_text(time.and_then(|time| time.zone.as_deref())),
        argument::maybe_text(how.name),
        argument::text(how.method),
    ];
    if has_path {
        arguments.push(argument::maybe_text(time.and_then(|time| time.path.as_deref())));
        arguments.push(argument::maybe_text(how.only_where));
        arguments.push(argument::maybe_text(how.sensor));
    }
    let written = sql.returning(
        &format!(
            "INSERT INTO {0}.ip_source AS s (tbl, ip_columns, observed_at, attached_by, attached_snapshot, attached_on, populated_at{column})
             VALUES ($1, $2, $3, session_user, $4, $5, {populated_at}{value})
             ON CONFLICT (tbl) DO UPDATE SET ip_columns = EXCLUDED.ip_columns, observed_at = EXCLUDED.observed_at{set}
             RETURNING attached_snapshot = $4",
            schema.name
        ),
        &arguments,
    );
    written.get::<bool>(0, 1) == Some(true)
}

/// Whether a table has observations by other columns than those that it is attached with now.
pub fn columns_changed(schema: &Schema, table: pg_sys::Oid) -> bool {
    if !has_column(schema, c"columns_changed") {
        return false;
    }
    let sql = Sql::on(schema, c"ip_source");
    let query = format!("SELECT columns_changed FROM {}.ip_source WHERE tbl = $1", schema.name);
    sql.returning(&query, &of(table)).get::<bool>(0, 1) == Some(true)
}

/// For an update of the extension: tables that were attached before names were noted get their present name.
pub fn note_names(schema: &Schema) {
    if !has_column(schema, c"attached_as") {
        return;
    }
    Sql::on(schema, c"ip_source").run(
        &format!(
            "UPDATE {}.ip_source s SET attached_as = pg_catalog.format('%I.%I', n.nspname, c.relname)
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE c.oid = s.tbl AND s.attached_as IS NULL",
            schema.name
        ),
        &[],
    );
}

/// Gives a table the note on the one that it replaced, which had its name and is gone: Citus makes a table anew, with its
/// triggers, when it is undistributed or altered. Whether there was such a note.
pub fn adopt(schema: &Schema, table: pg_sys::Oid) -> bool {
    if !citus::is_here() || !has_column(schema, c"attached_as") {
        return false;
    }
    let Some(name) = relation_name(table) else { return false };
    Sql::on(schema, c"ip_source").run(
        &format!(
            "UPDATE {0}.ip_source s SET tbl = $1
             WHERE s.tbl = (SELECT l.tbl FROM {0}.ip_source l WHERE l.attached_as = $2
                                AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = l.tbl)
                            ORDER BY l.attached_at DESC LIMIT 1)
                 AND NOT EXISTS (SELECT FROM {0}.ip_source other WHERE other.tbl = $1)",
            schema.name
        ),
        &[of(table)[0], argument::text(&name)],
    ) > 0
}

/// The attached tables, each with its name. Of one that Citus has made anew, the table that has its name now.
pub fn attached(schema: &Schema) -> Vec<(String, pg_sys::Oid)> {
    let rows: Vec<(Option<pg_sys::Oid>, Option<String>)> = {
        let sql = Sql::on(schema, c"ip_source");
        let found = sql.returning(&format!("SELECT tbl::oid, attached_as FROM {}.ip_source", schema.name), &[]);
        (0..found.len()).map(|row| (found.get(row, 1), found.text(row, 2))).collect()
    };
    let present = |name: &str| {
        let text = "SELECT pg_catalog.to_regclass($1)::oid";
        // Its schema may be closed to this role.
        let look = || Sql::as_caller().query(text, &[argument::text(name)]).get::<pg_sys::Oid>(0, 1);
        tx::attempt(look).ok().flatten()
    };
    rows.into_iter()
        .filter_map(|(table, attached_as)| match table.and_then(relation_name) {
            Some(name) => Some((name, table?)),
            None => attached_as.and_then(|name| present(&name).map(|table| (name, table))),
        })
        .collect()
}

/// Forgets a table. False: it was not attached.
pub fn detach(schema: &Schema, table: pg_sys::Oid) -> bool {
    adopt(schema, table);
    let sql = Sql::on(schema, c"ip_source");
    let query = format!(
        "DELETE FROM {}.ip_source s WHERE s.tbl = $1
         RETURNING s.ip_columns, pg_catalog.to_jsonb(s)->>'observed_path', pg_catalog.to_jsonb(s)->>'sensor',
                   pg_catalog.to_jsonb(s)->>'only_where'",
        schema.name
    );
    let found = sql.returning(&query, &of(table));
    if found.len() == 0 {
        return false;
    }
    let paths = found.texts(0, 1).unwrap_or_default().into_iter();
    meant::remember(paths.chain(found.text(0, 2)).chain(found.text(0, 3)), found.text(0, 4).as_deref());
    true
}

/// Observations that a table has added.
pub fn added(schema: &Schema, table: pg_sys::Oid) -> i64 {
    let sql = Sql::on(schema, c"ip_source");
    let query = format!("SELECT observations FROM {}.ip_source WHERE tbl = $1", schema.name);
    sql.returning(&query, &of(table)).get::<i64>(0, 1).unwrap_or(0)
}

/// A shard counts for the table that it is a part of.
pub(super) fn whole(table: pg_sys::Oid) -> pg_sys::Oid {
    citus::shard_of(table).map_or(table, |(whole, _)| whole)
}

/// The attached table that `table` counts for, see [`root`]; where there is none, itself.
pub fn attached_as(schema: &Schema, table: pg_sys::Oid) -> pg_sys::Oid {
    let table = whole(table);
    root(schema, table).unwrap_or(table)
}

/// The same of many tables, in one statement: those that count for another one, each with that.
pub fn all_attached_as(schema: &Schema, tables: &[pg_sys::Oid]) -> HashMap<pg_sys::Oid, pg_sys::Oid> {
    let wholes: Vec<pg_sys::Oid> = tables.iter().copied().map(whole).collect();
    let roots = roots(schema, &wholes);
    let own = tables.iter().zip(&wholes).map(|(table, whole)| (*table, roots.get(whole).copied().unwrap_or(*whole)));
    own.filter(|(table, root)| table != root).collect()
}

/// Whether `ip_source` has a column: those of 0.2.0 come with an update.
pub fn has_column(schema: &Schema, name: &std::ffi::CStr) -> bool {
    schema.has_column(c"ip_source", name)
}

fn of(table: pg_sys::Oid) -> [Argument; 1] {
    [(pg_sys::REGCLASSOID, table.into_datum())]
}

/// Tables as a `regclass[]`.
pub(super) fn among(tables: &[pg_sys::Oid]) -> [Argument; 1] {
    [argument::regclasses(tables)]
}
