//! What is noted of an attached table and of the partitions below it: where addresses are, and which rows were there
//! before.
//!
//! A partition or child that has rows when it comes below an attached table gets a note with the snapshot of that moment,
//! as the table itself has one: else nobody could tell its rows from those that its trigger sees from then on.

use std::collections::HashMap;

use pgrx::pg_sys::{self, Datum};
use pgrx::{IntoDatum, PgSqlErrorCode};

use super::before::Before;
use super::reading::{Earlier, Reading, Scope};
use crate::pg::argument::Argument;
use crate::pg::catalog::{Schema, database_identity, plain_name};
use crate::pg::errors::{not_ready, raise};
use crate::pg::inherits;
use crate::pg::snapshot::with_latest_snapshot;
use crate::pg::sql::Sql;

/// The table of notes; it is not there until the extension is updated.
const NOTES: &std::ffi::CStr = c"ip_source_part";

/// An attached table, or a table below one.
pub struct Source {
    table: pg_sys::Oid,
    /// The one that was attached.
    root: pg_sys::Oid,
    selectors: Vec<String>,
    observed_at: Option<(String, Option<String>)>,
    scope: Scope,
    parts: HashMap<u32, Scope>,
}

impl Source {
    /// What is noted of a table, locked until the transaction ends; an error where neither it nor one above it is attached.
    pub fn lock(schema: &Schema, table: pg_sys::Oid) -> Source {
        let sql = Sql::on(schema, c"ip_source");
        let Some(root) = root(&sql, schema, table) else {
            not_ready(
                format!("table \"{}\" is not attached", plain_name(table)),
                "",
                "Call attach_ip_source(table, columns) first.",
            );
        };
        let zone = if has_column(schema, c"observed_zone") { "observed_zone" } else { "NULL::text" };
        let source = sql.returning(
            &format!(
                "SELECT ip_columns, observed_at::text, attached_snapshot, attached_on, populated_at IS NULL, {zone}
                 FROM {}.ip_source WHERE tbl = $1 FOR UPDATE",
                schema.name
            ),
            &of(root),
        );
        if source.len() == 0 {
            not_ready(format!("table \"{}\" is not attached any more", plain_name(root)), "", "");
        }
        // Only now: whoever held the row may have counted some of them.
        let parts = parts(schema, table);
        let noted = parts.contains_key(&table.to_u32());
        let earlier = if source.get::<bool>(0, 5) == Some(true) { Earlier::Uncounted } else { Earlier::Counted };
        if earlier == Earlier::Uncounted && !noted && source.text(0, 4).as_deref() != Some(&*database_identity()) {
            not_ready(
                format!(
                    "which rows of \"{}\" were there before it was attached is not known any more",
                    plain_name(root)
                ),
                "The table was restored into this database from a dump.",
                "detach_ip_source() leaves the counts as they are. Rows that were never counted can be counted by hand: INSERT INTO ip_inventory … SELECT … GROUP BY the address, then backfill_inventory().",
            );
        }
        let Some(before) = source.text(0, 3).as_deref().and_then(Before::parse) else {
            raise(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, "ip_source.attached_snapshot cannot be read", "", "");
        };
        let scope = match (table == root, earlier) {
            (true, _) => Scope { before: Some(before), earlier },
            // What was there before is for who counts the whole table.
            (false, Earlier::Uncounted) => Scope { before: Some(before), earlier: Earlier::Counted },
            (false, Earlier::Counted) => Scope { before: None, earlier },
        };
        Source {
            table,
            root,
            selectors: source.texts(0, 1).unwrap_or_default(),
            observed_at: source.text(0, 2).map(|name| (name, source.text(0, 6))),
            scope,
            parts,
        }
    }

    /// Whether this is the attached table itself.
    pub fn is_root(&self) -> bool {
        self.table == self.root
    }

    /// Notes that the rows that were there before are counted.
    pub fn mark_populated(&self, schema: &Schema) {
        if self.is_root() && self.scope.earlier == Earlier::Uncounted {
            Sql::on(schema, c"ip_source").run(
                &format!("UPDATE {}.ip_source SET populated_at = pg_catalog.now() WHERE tbl = $1", schema.name),
                &of(self.table),
            );
        }
        let parts: Vec<pg_sys::Oid> = self.parts.keys().map(|oid| (*oid).into()).collect();
        if !parts.is_empty() {
            Sql::on(schema, NOTES).run(
                &format!(
                    "UPDATE {}.ip_source_part SET populated_at = pg_catalog.now() WHERE tbl = ANY ($1) AND populated_at IS NULL",
                    schema.name
                ),
                &among(&parts),
            );
        }
    }

    /// A reading of the table's rows: those that came later, and of those that were there before the `wanted` ones.
    pub fn reading<'a>(self, sql: &'a Sql, wanted: Earlier, now: i64) -> Reading<'a> {
        let Source { table, selectors, observed_at, scope, parts, .. } = self;
        Reading { sql, table, selectors, observed_at, scope, parts, wanted, now }
    }
}

/// The table itself, where it is attached, or the nearest above it that is.
fn root(sql: &Sql, schema: &Schema, table: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let found = sql.returning(
        &format!(
            "WITH RECURSIVE line(tbl, far) AS (
                 SELECT $1::oid, 0
                 UNION
                 SELECT i.inhparent, l.far + 1 FROM line l JOIN pg_catalog.pg_inherits i ON i.inhrelid = l.tbl)
             SELECT a.tbl::oid FROM {}.ip_source a JOIN line l ON a.tbl = l.tbl ORDER BY l.far LIMIT 1",
            schema.name
        ),
        &[(pg_sys::OIDOID, table.into_datum())],
    );
    (found.len() > 0).then(|| found.get(0, 1)).flatten()
}

/// The notes on a table and on those below it.
fn parts(schema: &Schema, table: pg_sys::Oid) -> HashMap<u32, Scope> {
    if !are_kept(schema) {
        return HashMap::new();
    }
    let sql = Sql::on(schema, NOTES);
    let found = sql.returning(
        &format!(
            "SELECT tbl::oid, attached_snapshot, populated_at IS NULL FROM {}.ip_source_part
             WHERE tbl = ANY ($1) AND attached_on = $2",
            schema.name
        ),
        &[among(&inherits::below(table))[0], (pg_sys::TEXTOID, Some(crate::pg::call::text(&database_identity())))],
    );
    let scope = |row| Scope {
        before: found.text(row, 2).as_deref().and_then(Before::parse),
        earlier: if found.get::<bool>(row, 3) == Some(true) { Earlier::Uncounted } else { Earlier::Counted },
    };
    (0..found.len()).filter_map(|row| Some((found.get::<pg_sys::Oid>(row, 1)?.to_u32(), scope(row)))).collect()
}

/// Notes which rows a table has at this moment, when it has come below an attached one. Not for an empty table, nor for one
/// of which there is a note.
pub fn note(schema: &Schema, table: pg_sys::Oid) {
    if !are_kept(schema) || inherits::kind(table) != pg_sys::RELKIND_RELATION {
        return;
    }
    // SAFETY: reads the number of the running command.
    let command = unsafe { pg_sys::GetCurrentCommandId(false) };
    let snapshot = with_latest_snapshot(|| {
        let sql = Sql::as_caller();
        sql.query("SELECT pg_catalog.pg_current_snapshot()::text", &[]).text(0, 1).unwrap_or_default()
    });
    let before = Before::now(&snapshot, command).to_string();
    write(schema, table, Some(&before), "DO NOTHING");
}

/// Notes of a table that it was observed for a time, before somebody stopped that: which of its rows were is not known.
pub fn note_observed(schema: &Schema, table: pg_sys::Oid) {
    if are_kept(schema) {
        write(schema, table, None, "(tbl) DO UPDATE SET attached_snapshot = NULL, attached_on = EXCLUDED.attached_on");
    }
}

fn write(schema: &Schema, table: pg_sys::Oid, before: Option<&str>, known: &str) {
    let sql = Sql::on(schema, NOTES);
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
             SELECT $1, $2, $3 WHERE pg_catalog.pg_relation_size($1) > 0 ON CONFLICT {known}",
            schema.name
        ),
        &[
            of(table)[0],
            (pg_sys::TEXTOID, before.map(crate::pg::call::text)),
            (pg_sys::TEXTOID, Some(crate::pg::call::text(&database_identity()))),
        ],
    );
}

/// Forgets the notes on tables.
pub fn forget(schema: &Schema, tables: &[pg_sys::Oid]) {
    if are_kept(schema) {
        Sql::on(schema, NOTES)
            .run(&format!("DELETE FROM {}.ip_source_part WHERE tbl = ANY ($1)", schema.name), &among(tables));
    }
}

fn are_kept(schema: &Schema) -> bool {
    schema.relation(NOTES) != pg_sys::InvalidOid
}

/// Whether `ip_source` has a column: those of 0.2.0 come with an update.
pub fn has_column(schema: &Schema, name: &std::ffi::CStr) -> bool {
    // SAFETY: a catalog look-up that tolerates absence.
    unsafe { pg_sys::get_attnum(schema.relation(c"ip_source"), name.as_ptr()) != pg_sys::InvalidAttrNumber as i16 }
}

fn of(table: pg_sys::Oid) -> [Argument; 1] {
    [(pg_sys::REGCLASSOID, table.into_datum())]
}

/// Tables as a `regclass[]`.
fn among(tables: &[pg_sys::Oid]) -> [Argument; 1] {
    let mut elements: Vec<Datum> = tables.iter().map(|table| Datum::from(*table)).collect();
    // SAFETY: copies the elements, which are passed by value, four bytes each.
    let array = unsafe {
        let align = b'i' as std::ffi::c_char;
        pg_sys::construct_array(elements.as_mut_ptr(), elements.len() as i32, pg_sys::REGCLASSOID, 4, true, align)
    };
    [(pg_sys::REGCLASSARRAYOID, Some(Datum::from(array)))]
}
