//! The notes on an attached table and the partitions below it: the columns with addresses, and which rows were there
//! before.
//!
//! A partition or child that has rows when it comes below an attached table gets a note with the snapshot of that
//! moment, as the table itself has one: otherwise its rows could not be distinguished from those that its trigger sees
//! from then on.

use std::collections::{HashMap, HashSet};

use enrich::selector::EventTime;
use pgrx::{PgSqlErrorCode, pg_sys};

use super::before::{Before, Stays, and_then};
use super::indexes;
use super::install;
use super::reading::{Earlier, Reading, Scope};
use super::sensor::Sensor;
use crate::inventory::source;
use crate::inventory::source::{Attached, Two};
use crate::inventory::source_part;
use crate::pg::catalog;
use crate::pg::catalog::{Schema, plain_name};
use crate::pg::errors::{not_ready, raise};
use crate::pg::inherits;
use crate::pg::session;
use crate::pg::sql::Sql;

/// What becomes of what a table has added, when it is detached.
#[derive(Clone, Copy, Debug)]
pub enum Counts {
    /// It stays in the inventory.
    Stay,
    /// It has been subtracted.
    TakenBack,
}

/// An attached table, or a table below one.
pub struct Source {
    table: pg_sys::Oid,
    /// The one that was attached.
    root: pg_sys::Oid,
    selectors: Vec<String>,
    observed_at: Option<EventTime>,
    only_where: Option<String>,
    sensor: Option<String>,
    is_by_index: bool,
    scope: Scope,
    parts: HashMap<u32, Scope>,
    left_out: HashSet<u32>,
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
        let mut parts = parts(schema, table);
        // Their own calls count these.
        let members = inherits::below(table);
        let mut left_out: HashSet<u32> = members.iter().map(|member| member.to_u32()).collect();
        let own = source::own(schema, root, &members);
        for own in &own {
            left_out.remove(&own.to_u32());
        }
        // Counted now, those that come before something observes them would count once more.
        let unobserved = unobserved(schema, &own);
        if unobserved.contains(&table) {
            not_ready(
                format!("rows of \"{}\" are not observed", plain_name(table)),
                &format!("It came below \"{}\" when that was attached already.", plain_name(root)),
                "Attach the table above again with attach_ip_source(), as enrichment_doctor() says: then its rows can be counted.",
            );
        }
        left_out.extend(unobserved.iter().map(|table| table.to_u32()));
        parts.retain(|part, _| !left_out.contains(part));
        let noted = parts.contains_key(&table.to_u32());
        let earlier = if attached.populated { Earlier::Counted } else { Earlier::Uncounted };
        if earlier == Earlier::Uncounted && !noted && !attached.is_from_here {
            not_ready(
                format!("cannot determine which rows of \"{}\" were there before it was attached", plain_name(root)),
                "The table was restored into this database from a dump.",
                "detach_ip_source() leaves the counts as they are. Rows that were never counted can be counted by hand: INSERT INTO ip_inventory … SELECT … GROUP BY the address, then backfill_inventory().",
            );
        }
        let Some(before) = attached.snapshot.as_deref().and_then(Stays::parse) else {
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
        let Attached { columns: selectors, observed_at, only_where, sensor, is_by_index, .. } = attached;
        Source { table, root, selectors, observed_at, only_where, sensor, is_by_index, scope, parts, left_out }
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
        source_part::mark_parts_populated(schema, &parts);
    }

    /// A reading of the table's rows: those that came later, and of those that were there before the `wanted` ones.
    pub fn reading<'a>(self, sql: &'a Sql, schema: &Schema, wanted: Earlier, now: i64) -> Reading<'a> {
        let Source { table, selectors, observed_at, only_where, sensor, is_by_index, scope, parts, left_out, .. } =
            self;
        let sensor = sensor.as_deref().and_then(Sensor::selector);
        // An index beside what observes the table counts nothing, and says nothing about its rows.
        let rows = is_by_index.then(|| indexes::condition(sql, schema, table)).flatten();
        Reading { sql, table, rows, selectors, observed_at, only_where, sensor, scope, parts, left_out, wanted, now }
    }
}

/// The notes on a table and on those below it.
fn parts(schema: &Schema, table: pg_sys::Oid) -> HashMap<u32, Scope> {
    let scope = |snapshot: Option<String>, populated| Scope {
        before: snapshot.as_deref().and_then(Stays::parse),
        earlier: if populated { Earlier::Counted } else { Earlier::Uncounted },
    };
    let parts = source_part::parts(schema, &inherits::below(table));
    parts.into_iter().map(|(table, snapshot, populated)| (table.to_u32(), scope(snapshot, populated))).collect()
}

/// Notes which rows tables have at this moment, when they have come below an attached one. Not for an empty table, nor for one
/// of which there is a note, unless that says that it had left before. All must be plain tables, and locked.
pub fn note(schema: &Schema, tables: &[pg_sys::Oid]) {
    let now = Before::now(session::command());
    let away = away(schema, tables);
    let (back, new): (Vec<pg_sys::Oid>, Vec<pg_sys::Oid>) =
        tables.iter().copied().partition(|table| away.contains_key(table));
    let stays: Vec<String> = back.iter().map(|table| and_then(&away[table], &now)).collect();
    source_part::note_stays(schema, &back, &stays);
    source_part::note_parts(schema, &new, &now.to_string());
}

/// Notes the same of tables that nothing observes there yet: as if they had left at once.
pub fn note_unobserved(schema: &Schema, tables: &[pg_sys::Oid]) {
    let now = Before::now(session::command());
    source_part::note_parts(schema, tables, &and_then(&now.to_string(), &now));
}

/// Those of these tables below an attached one that are noted as away, since nothing observes them. Locks them.
pub fn unobserved(schema: &Schema, tables: &[pg_sys::Oid]) -> Vec<pg_sys::Oid> {
    let is_unobserved = |table: &pg_sys::Oid| {
        catalog::lock_relation(*table, pg_sys::AccessShareLock);
        is_bare(schema, *table)
    };
    away(schema, tables).into_keys().filter(is_unobserved).collect()
}

/// Whether a table, which is locked, has neither a trigger nor an index that observes.
fn is_bare(schema: &Schema, table: pg_sys::Oid) -> bool {
    install::ours(schema, table).is_none() && indexes::oids(table).is_empty()
}

/// Notes which rows tables have at this moment, when they have left a table that is attached as, or below, `root`, and are not
/// observed any more. When they come back, these are counted no second time, and those that came meanwhile are. All must be plain
/// tables, and locked. `by_row`: a row trigger that went with them may have observed them.
pub fn note_departure(schema: &Schema, tables: &[pg_sys::Oid], root: pg_sys::Oid, by_row: bool) {
    let (filled, empty): (Vec<pg_sys::Oid>, Vec<pg_sys::Oid>) =
        tables.iter().copied().partition(|table| catalog::blocks(*table) > 0);
    source_part::forget_parts(schema, &empty);
    let now = Before::now(session::command());
    let noted: HashMap<pg_sys::Oid, (Option<String>, bool)> = source_part::parts(schema, &filled)
        .into_iter()
        .map(|(table, stays, counted)| (table, (stays, counted)))
        .collect();
    let uncounted = source::uncounted(schema, root).unwrap_or_default();
    let (mut left, mut stays, mut unheard) = (Vec::new(), Vec::new(), Vec::new());
    for table in filled {
        let moments = match noted.get(&table) {
            // Which of its rows were observed before is unknown, and stays so.
            Some((None, _)) => continue,
            // Nothing has observed it since, and it is as it was.
            Some((Some(moments), _)) if is_away_by(moments) && !by_row && is_bare(schema, table) => continue,
            // Nobody heard that it came back.
            Some((Some(moments), _)) if is_away_by(moments) => {
                unheard.push(table);
                continue;
            }
            Some((Some(moments), false)) => moments.as_str(),
            Some((Some(_), true)) => "",
            None => uncounted.as_str(),
        };
        left.push(table);
        stays.push(and_then(moments, &now));
    }
    source_part::note_parts_observed(schema, &unheard);
    source_part::note_stays(schema, &left, &stays);
}

/// Which rows are in no count when a table that is attached by itself below another one is detached, as it is noted; `None`:
/// none are, or nothing tells them.
pub fn unseen(schema: &Schema, table: pg_sys::Oid, counts: Counts) -> Option<String> {
    let Two { here, above, is_counted, is_counted_above } = source::two(schema, table)?;
    let (own, other) = (Before::parse(&here)?, Before::parse(&above)?);
    let is_first = own.is_before(&other);
    match counts {
        // Those that were there before both.
        Counts::Stay if is_counted || is_counted_above => None,
        Counts::Stay => Some(if is_first { here } else { above }),
        // All, but for those that the one above had seen before this one was attached.
        Counts::TakenBack => {
            let now = Before::now(session::command());
            let seen_above = if is_counted_above { String::new() } else { above };
            Some(if is_first { now.to_string() } else { and_then(&and_then(&seen_above, &own), &now) })
        }
    }
}

/// Notes which rows are in no count of tables that were attached by themselves, and are parts of the one above from now on:
/// see [`unseen`].
pub fn note_left(schema: &Schema, tables: &[pg_sys::Oid], counts: Counts, unseen: Option<&str>) {
    // What is noted of a table that has come below them is more exact, and stays.
    let noted: HashSet<u32> = match counts {
        Counts::Stay => source_part::parts(schema, tables).iter().map(|(table, ..)| table.to_u32()).collect(),
        Counts::TakenBack => HashSet::new(),
    };
    let others: Vec<pg_sys::Oid> = tables.iter().copied().filter(|table| !noted.contains(&table.to_u32())).collect();
    source_part::forget_parts(schema, &others);
    let plain: Vec<pg_sys::Oid> =
        others.into_iter().filter(|table| inherits::kind(*table) == pg_sys::RELKIND_RELATION).collect();
    match (unseen, counts) {
        (Some(moments), _) => source_part::note_parts(schema, &plain, moments),
        (None, Counts::Stay) => source_part::note_parts_observed(schema, &plain),
        (None, Counts::TakenBack) => {}
    }
}

/// Those of these tables that have left an attached one, and have not come back, each with the moments that are noted.
pub fn away(schema: &Schema, tables: &[pg_sys::Oid]) -> HashMap<pg_sys::Oid, String> {
    let noted = source_part::parts(schema, tables).into_iter();
    noted.filter_map(|(table, stays, _)| Some((table, stays.filter(|stays| is_away_by(stays))?))).collect()
}

fn is_away_by(stays: &str) -> bool {
    Stays::parse(stays).is_some_and(|stays| stays.is_away())
}
