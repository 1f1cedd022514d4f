//! The notes on an attached table and the partitions below it: the columns with addresses, and which rows were there
//! before.
//!
//! A partition or child that has rows when it comes below an attached table gets a note with the snapshot of that
//! moment, as the table itself has one: otherwise its rows could not be distinguished from those that its trigger sees
//! from then on.

use std::collections::HashMap;

use enrich::selector::EventTime;
use pgrx::{PgSqlErrorCode, pg_sys};

use super::before::Before;
use super::indexes;
use super::reading::{Earlier, Reading, Scope};
use super::sensor::Sensor;
use crate::inventory::source;
use crate::inventory::source::Attached;
use crate::pg::catalog::{Schema, plain_name};
use crate::pg::errors::{not_ready, raise};
use crate::pg::inherits;
use crate::pg::session;
use crate::pg::sql::Sql;

/// An attached table, or a table below one.
pub struct Source {
    table: pg_sys::Oid,
    /// The one that was attached.
    root: pg_sys::Oid,
    selectors: Vec<String>,
    observed_at: Option<EventTime>,
    only_where: Option<String>,
    sensor: Option<String>,
    scope: Scope,
    parts: HashMap<u32, Scope>,
}

impl Source {
    /// The notes on a table, locked until the transaction ends; an error if neither it nor a table above it is
    /// attached.
    pub fn lock(schema: &Schema, table: pg_sys::Oid) -> Source {
        let Some(root) = source::root(schema, table) else {
            not_ready(
                format!("table \"{}\" is not attached", plain_name(table)),
                "",
                "Call attach_ip_source(table, columns) first.",
            );
        };
        let Some(attached) = source::lock(schema, root) else {
            not_ready(format!("table \"{}\" is no longer attached", plain_name(root)), "", "");
        };
        // Only now: the previous holder of the row may have counted some of them.
        let parts = parts(schema, table);
        let noted = parts.contains_key(&table.to_u32());
        let earlier = if attached.populated { Earlier::Counted } else { Earlier::Uncounted };
        if earlier == Earlier::Uncounted && !noted && !attached.is_from_here {
            not_ready(
                format!("cannot determine which rows of \"{}\" were there before it was attached", plain_name(root)),
                "The table was restored into this database from a dump.",
                "detach_ip_source() leaves the counts as they are. Rows that were never counted can be counted by hand: INSERT INTO ip_inventory … SELECT … GROUP BY the address, then backfill_inventory().",
            );
        }
        let Some(before) = attached.snapshot.as_deref().and_then(Before::parse) else {
            raise(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, "invalid snapshot in ip_source.attached_snapshot", "", "");
        };
        let scope = match (table == root, earlier) {
            // A snapshot of another server says nothing about these rows: they were all counted, there or by their triggers.
            (true, Earlier::Counted) if !attached.is_from_here => Scope { before: None, earlier },
            (true, _) => Scope { before: Some(before), earlier },
            // Earlier rows belong to the call that counts the whole table.
            (false, Earlier::Uncounted) => Scope { before: Some(before), earlier: Earlier::Counted },
            (false, Earlier::Counted) => Scope { before: None, earlier },
        };
        let Attached { columns: selectors, observed_at, only_where, sensor, .. } = attached;
        Source { table, root, selectors, observed_at, only_where, sensor, scope, parts }
    }

    /// Whether this is the attached table itself.
    pub fn is_root(&self) -> bool {
        self.table == self.root
    }

    /// Notes that the rows that were there before are counted.
    pub fn mark_populated(&self, schema: &Schema) {
        if self.is_root() && self.scope.earlier == Earlier::Uncounted {
            source::mark_populated(schema, self.table);
        }
        let parts: Vec<pg_sys::Oid> = self.parts.keys().map(|oid| (*oid).into()).collect();
        source::mark_parts_populated(schema, &parts);
    }

    /// A reading of the table's rows: those that came later, and of those that were there before the `wanted` ones.
    pub fn reading<'a>(self, sql: &'a Sql, wanted: Earlier, now: i64) -> Reading<'a> {
        let Source { table, selectors, observed_at, only_where, sensor, scope, parts, .. } = self;
        let sensor = sensor.as_deref().and_then(Sensor::selector);
        let rows = indexes::condition(sql, table);
        Reading { sql, table, rows, selectors, observed_at, only_where, sensor, scope, parts, wanted, now }
    }
}

/// The notes on a table and on those below it.
fn parts(schema: &Schema, table: pg_sys::Oid) -> HashMap<u32, Scope> {
    let scope = |snapshot: Option<String>, populated| Scope {
        before: snapshot.as_deref().and_then(Before::parse),
        earlier: if populated { Earlier::Counted } else { Earlier::Uncounted },
    };
    let parts = source::parts(schema, &inherits::below(table));
    parts.into_iter().map(|(table, snapshot, populated)| (table.to_u32(), scope(snapshot, populated))).collect()
}

/// Notes which rows a table has at this moment, when it has come below an attached one. Not for an empty table, nor for one
/// of which there is a note.
pub fn note(schema: &Schema, table: pg_sys::Oid) {
    if !source::are_parts_kept(schema) || inherits::kind(table) != pg_sys::RELKIND_RELATION {
        return;
    }
    let command = session::command();
    let before = Before::now(command).to_string();
    source::note_part(schema, table, &before);
}
