//! Notes on tables below attached ones, in `ip_source_part`: which rows they had when they came there, or left.

use pgrx::pg_sys;

use super::source::among;
use crate::pg::argument;
use crate::pg::argument::Argument;
use crate::pg::catalog::{Schema, database_identity};
use crate::pg::citus;
use crate::pg::sql::{Sql, Table};

/// The table of notes; it is not there until the extension is updated.
const PARTS: &std::ffi::CStr = c"ip_source_part";

/// A note on a table below an attached one: its number, the snapshot of the moment when it came there, and whether its rows
/// of then are counted.
pub type Part = (pg_sys::Oid, Option<String>, bool);

/// The notes on these tables, of this database.
pub fn parts(schema: &Schema, tables: &[pg_sys::Oid]) -> Vec<Part> {
    if !are_parts_kept(schema) {
        return Vec::new();
    }
    let sql = Sql::on(schema, PARTS);
    let found = sql.returning(
        &format!(
            "SELECT tbl::oid, attached_snapshot, populated_at IS NULL FROM {}.ip_source_part
             WHERE tbl = ANY ($1) AND attached_on = $2",
            schema.name
        ),
        &[among(tables)[0], argument::text(&database_identity())],
    );
    let part = |found: &Table<'_>, row| Some((found.get(row, 1)?, found.text(row, 2), found.get(row, 3) != Some(true)));
    (0..found.len()).filter_map(|row| part(&found, row)).collect()
}

/// For which attached table, and by which columns, rows were observed.
pub struct Origin {
    /// That table; 0: several, or one that is not attached any more.
    pub root: pg_sys::Oid,
    /// Its columns and paths.
    pub columns: Vec<String>,
    /// The condition that a row had to meet.
    pub only_where: Option<String>,
}

/// A note with all that stands in it.
pub struct Note {
    /// The table.
    pub table: pg_sys::Oid,
    /// The moments at which it came and left, as they are written; `None`: some of its rows were observed.
    pub moments: Option<String>,
    /// Whether the rows are counted that it had when it came.
    pub is_counted: bool,
    /// `None`: it has left no attached table, or it is not known which.
    pub origin: Option<Origin>,
}

/// The notes on these tables, of this database, whole.
pub fn notes(schema: &Schema, tables: &[pg_sys::Oid]) -> Vec<Note> {
    read(schema, "tbl = ANY ($1)", among(tables)[0])
}

/// Those on tables whose rows were observed for `root`, and for no other one, before they left it.
pub fn notes_of(schema: &Schema, root: pg_sys::Oid) -> Vec<Note> {
    if has_origins(schema) { read(schema, "left_tbl = $1", argument::oid(root)) } else { Vec::new() }
}

fn read(schema: &Schema, which: &str, argument: Argument) -> Vec<Note> {
    if !are_parts_kept(schema) {
        return Vec::new();
    }
    let origin =
        if has_origins(schema) { "left_tbl, ip_columns, only_where" } else { "NULL::oid, NULL::text[], NULL::text" };
    let sql = Sql::on(schema, PARTS);
    let found = sql.returning(
        &format!(
            "SELECT tbl::oid, attached_snapshot, populated_at IS NULL, {origin} FROM {}.ip_source_part
             WHERE {which} AND attached_on = $2",
            schema.name
        ),
        &[argument, argument::text(&database_identity())],
    );
    let origin = |row| {
        let (root, columns) = (found.get(row, 4)?, found.texts(row, 5)?);
        Some(Origin { root, columns, only_where: found.text(row, 6) })
    };
    let note = |row| {
        let is_counted = found.get(row, 3) != Some(true);
        Some(Note { table: found.get(row, 1)?, moments: found.text(row, 2), is_counted, origin: origin(row) })
    };
    (0..found.len()).filter_map(note).collect()
}

/// Writes the moments of tables, and whether the rows are counted that they had when they came, in place of what was noted.
pub fn write(schema: &Schema, notes: &[(pg_sys::Oid, String, bool)]) {
    if notes.is_empty() || !are_parts_kept(schema) {
        return;
    }
    let tables: Vec<pg_sys::Oid> = notes.iter().map(|(table, ..)| *table).collect();
    let moments: Vec<String> = notes.iter().map(|(_, moments, _)| moments.clone()).collect();
    let counted: Vec<pg_sys::Oid> =
        notes.iter().filter(|(.., is_counted)| *is_counted).map(|(table, ..)| *table).collect();
    let sql = Sql::on(schema, PARTS);
    forget_gone(&sql, schema);
    sql.run(
        &format!(
            "INSERT INTO {}.ip_source_part (tbl, attached_snapshot, attached_on, populated_at)
             SELECT p.tbl, p.moments, $3, CASE WHEN p.tbl = ANY ($4) THEN pg_catalog.now() END
             FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS p(tbl, moments)
             ON CONFLICT (tbl) DO UPDATE SET attached_at = EXCLUDED.attached_at, attached_on = EXCLUDED.attached_on,
                 attached_snapshot = EXCLUDED.attached_snapshot, populated_at = EXCLUDED.populated_at",
            schema.name
        ),
        &[among(&tables)[0], argument::texts(&moments), argument::text(&database_identity()), among(&counted)[0]],
    );
}

/// Adds to the notes on tables for which one, and how, their rows were observed.
pub fn name_origin(schema: &Schema, tables: &[pg_sys::Oid], origin: &Origin) {
    if tables.is_empty() || !has_origins(schema) {
        return;
    }
    Sql::on(schema, PARTS).run(
        &format!(
            "UPDATE {}.ip_source_part SET left_tbl = CASE WHEN left_tbl <> $2 THEN 0::oid ELSE $2 END,
                 ip_columns = CASE WHEN left_tbl IS NULL OR (ip_columns, only_where) IS NOT DISTINCT FROM ($3, $4) THEN $3 END,
                 only_where = $4
             WHERE tbl = ANY ($1)",
            schema.name
        ),
        &[
            among(tables)[0],
            argument::oid(origin.root),
            argument::texts(&origin.columns),
            argument::maybe_text(origin.only_where.as_deref()),
        ],
    );
}

/// No note is on `root` any more; by which columns rows were observed stays.
pub fn forget_root(schema: &Schema, root: pg_sys::Oid) {
    if has_origins(schema) {
        let text = format!("UPDATE {}.ip_source_part SET left_tbl = 0 WHERE left_tbl = $1", schema.name);
        Sql::on(schema, PARTS).run(&text, &[argument::oid(root)]);
    }
}

/// Whether notes have their origin: before the update to 0.3.0 they have none.
fn has_origins(schema: &Schema) -> bool {
    are_parts_kept(schema) && schema.has_column(PARTS, c"left_tbl")
}

/// Notes that the rows are counted that these tables had when they came below an attached one.
pub fn mark_parts_populated(schema: &Schema, tables: &[pg_sys::Oid]) {
    if !tables.is_empty() {
        Sql::on(schema, PARTS).run(
            &format!(
                "UPDATE {}.ip_source_part SET populated_at = pg_catalog.now() WHERE tbl = ANY ($1) AND populated_at IS NULL",
                schema.name
            ),
            &among(tables),
        );
    }
}

/// Notes which rows tables have at this moment, unless there is a note, or no row.
pub fn note_parts(schema: &Schema, tables: &[pg_sys::Oid], snapshot: &str) {
    write_parts(schema, tables, &vec![snapshot.to_owned(); tables.len()], "DO NOTHING");
}

/// Notes when tables came below an attached one and left it, each by its text, in place of what was noted.
pub fn note_stays(schema: &Schema, tables: &[pg_sys::Oid], stays: &[String]) {
    let known = "(tbl) DO UPDATE SET attached_at = EXCLUDED.attached_at, attached_on = EXCLUDED.attached_on,
                     attached_snapshot = EXCLUDED.attached_snapshot, populated_at = NULL";
    write_parts(schema, tables, stays, known);
}

/// Notes of tables that were observed for a time, so that their observed rows are unknown.
pub fn note_parts_observed(schema: &Schema, tables: &[pg_sys::Oid]) {
    let known = "(tbl) DO UPDATE SET attached_snapshot = NULL, attached_on = EXCLUDED.attached_on";
    write_parts(schema, tables, &[], known);
}

/// Writes notes on tables, each once: a tree of partitions has thousands. Where `snapshots` has no more texts, they are null.
fn write_parts(schema: &Schema, tables: &[pg_sys::Oid], snapshots: &[String], known: &str) {
    if tables.is_empty() || !are_parts_kept(schema) {
        return;
    }
    let kept: Vec<pg_sys::Oid> = tables.iter().copied().filter(|table| citus::kept(*table).is_some()).collect();
    let sql = Sql::on(schema, PARTS);
    forget_gone(&sql, schema);
    sql.run(
        &format!(
            "INSERT INTO {}.ip_source_part (tbl, attached_snapshot, attached_on)
             SELECT p.tbl, p.snapshot, $3 FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS p(tbl, snapshot)
             WHERE p.tbl = ANY ($4) OR pg_catalog.pg_relation_size(p.tbl) > 0 ON CONFLICT {known}",
            schema.name
        ),
        &[
            among(tables)[0],
            argument::texts(snapshots),
            argument::text(&database_identity()),
            // The rows of a table that Citus keeps are in its shards.
            among(&kept)[0],
        ],
    );
}

/// Numbers of tables that are gone are given out again.
fn forget_gone(sql: &Sql, schema: &Schema) {
    let text = format!(
        "DELETE FROM {}.ip_source_part p WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = p.tbl)",
        schema.name
    );
    sql.run(&text, &[]);
    if has_origins(schema) {
        let text = format!(
            "UPDATE {}.ip_source_part p SET left_tbl = 0
             WHERE p.left_tbl <> 0 AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = p.left_tbl)",
            schema.name
        );
        sql.run(&text, &[]);
    }
}

/// Forgets the notes on tables below attached ones.
pub fn forget_parts(schema: &Schema, tables: &[pg_sys::Oid]) {
    if !tables.is_empty() && are_parts_kept(schema) {
        Sql::on(schema, PARTS)
            .run(&format!("DELETE FROM {}.ip_source_part WHERE tbl = ANY ($1)", schema.name), &among(tables));
    }
}

/// Whether tables below attached ones have notes. Before the update from 0.1.0, a table of that
/// name is somebody else's.
fn are_parts_kept(schema: &Schema) -> bool {
    schema.is_of_extension(PARTS)
}
