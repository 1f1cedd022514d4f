//! Notes on tables below attached ones, in `ip_source_part`: which rows they had when they came there, or left.

use pgrx::pg_sys;

use super::source::among;
use crate::pg::argument;
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
    // Numbers of tables that are gone are given out again.
    sql.run(
        &format!(
            "DELETE FROM {}.ip_source_part p WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = p.tbl)",
            schema.name
        ),
        &[],
    );
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
