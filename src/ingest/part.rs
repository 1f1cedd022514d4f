//! The notes on an attached table and the partitions below it: the columns with addresses, and which rows were there
//! before.
//!
//! A partition or child that has rows when it comes below an attached table gets a note with the snapshot of that
//! moment, as the table itself has one: otherwise its rows could not be distinguished from those that its trigger sees
//! from then on.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use enrich::selector::EventTime;
use pgrx::{PgSqlErrorCode, pg_sys};

use super::before::{Before, Stays, and_then, is_away, last};
use super::indexes;
use super::install;
use super::reading::{Earlier, Reading, Scope};
use super::relatives;
use super::sensor::Sensor;
use crate::inventory::source;
use crate::inventory::source::{Attached, Two};
use crate::inventory::source_part;
use crate::pg::catalog;
use crate::pg::catalog::{Schema, plain_name};
use crate::pg::citus;
use crate::pg::errors::{not_ready, raise};
use crate::pg::glance::unless_in_vain;
use crate::pg::inherits;
use crate::pg::patience;
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
    /// It, and the tables below it that count for it.
    own: Vec<pg_sys::Oid>,
}

/// What is locked before the notes are read.
struct Held {
    root: pg_sys::Oid,
    attached: Option<Attached>,
    /// The table and all below it.
    members: Vec<pg_sys::Oid>,
}

/// Why a table could not be locked.
enum Obstacle {
    /// Another session holds this one.
    Busy(pg_sys::Oid),
    /// It counts for another one by now.
    Moved,
}

impl Source {
    /// The notes on a table, locked until the transaction ends, as are it and all below it against a change of what stands below
    /// what; an error if neither it nor a table above it is attached.
    pub fn lock(schema: &Schema, table: pg_sys::Oid) -> Source {
        let Held { root, attached, members } = hold(schema, table);
        let Some(attached) = attached else {
            not_ready(format!("table \"{}\" is no longer attached", plain_name(root)), "", "");
        };
        // Others count for themselves, by their own calls.
        let mut own = source::own(schema, root, &members);
        // Counted now, those that come before something observes them would count once more.
        let unobserved = unobserved(schema, &own);
        if unobserved.contains(&table) {
            not_ready(
                format!("rows of \"{}\" are not observed", plain_name(table)),
                &format!("It came below \"{}\" when that was attached already.", plain_name(root)),
                "Attach the table above again with attach_ip_source(), as enrichment_doctor() says: then its rows can be counted.",
            );
        }
        own.retain(|table| !unobserved.contains(table));
        // Only now: the previous holder of the row may have counted some of them, and a table that has left or come meanwhile has
        // another note.
        let parts = parts(schema, &own);
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
        Source { table, root, selectors, observed_at, only_where, sensor, is_by_index, scope, parts, own }
    }

    /// Whether this is the attached table itself.
    pub fn is_root(&self) -> bool {
        self.table == self.root
    }

    /// Notes that the rows that were there before are counted, but for those of partitions that are leaving: see
    /// [`inherits::leaving`]. A reading under the active snapshot does not show these. They are left out, and what is not counted of
    /// them is noted, for when they are back.
    pub fn mark_populated(&mut self, schema: &Schema) {
        let is_uncounted = self.is_root() && self.scope.earlier == Earlier::Uncounted;
        let leaving = inherits::all(&inherits::leaving(&self.own), inherits::PARENT);
        if !leaving.is_empty() {
            let (left, own): (Vec<_>, Vec<_>) = self.own.iter().copied().partition(|member| leaving.contains(member));
            self.own = own;
            self.parts.retain(|part, _| !left.iter().any(|member| member.to_u32() == *part));
            if is_uncounted && let Some(uncounted) = source::uncounted(schema, self.root) {
                source_part::note_parts(schema, &inherits::plain(&left), &uncounted);
            }
        }
        if is_uncounted {
            source::mark_populated(schema, self.table);
        }
        let parts: Vec<pg_sys::Oid> = self.parts.keys().map(|oid| (*oid).into()).collect();
        source_part::mark_parts_populated(schema, &parts);
    }

    /// A reading of the table's rows: those that came later, and of those that were there before the `wanted` ones.
    pub fn reading<'a>(self, sql: &'a Sql, schema: &Schema, wanted: Earlier, now: i64) -> Reading<'a> {
        let Source { table, selectors, observed_at, only_where, sensor, is_by_index, scope, parts, own, .. } = self;
        let sensor = sensor.as_deref().and_then(Sensor::selector);
        // An index beside what observes the table counts nothing, and says nothing about its rows.
        let rows = is_by_index.then(|| indexes::condition(sql, schema, table)).flatten();
        let is_in_shards = citus::kept(table).is_some();
        let own = own.into_iter().map(|member| member.to_u32()).collect();
        Reading {
            sql,
            table,
            rows,
            selectors,
            observed_at,
            only_where,
            sensor,
            scope,
            parts,
            own,
            is_in_shards,
            wanted,
            now,
        }
    }
}

/// Locks the note on the attached table that a table counts for, and it and all below it; an error if there is none. It waits for no
/// lock while it has another one of these: who changes what stands below a table may be about to change the note, or the other way
/// round. So what it has is given back first, and then all is tried again.
fn hold(schema: &Schema, table: pg_sys::Oid) -> Held {
    loop {
        pgrx::check_for_interrupts!();
        let Some(root) = source::root(schema, table) else {
            not_ready(
                format!("table \"{}\" is not attached", plain_name(table)),
                "",
                "Call attach_ip_source(table, columns) first.",
            );
        };
        match unless_in_vain(|| try_hold(schema, table, root)) {
            Ok(held) => return held,
            Err(Obstacle::Moved) => {}
            Err(Obstacle::Busy(busy)) => {
                catalog::lock_relation(busy, pg_sys::AccessShareLock);
                catalog::unlock_relation(busy, pg_sys::AccessShareLock);
            }
        }
    }
}

/// The same, waiting for the note alone.
fn try_hold(schema: &Schema, table: pg_sys::Oid, root: pg_sys::Oid) -> Result<Held, Obstacle> {
    let attached = source::lock(schema, root);
    let mut locked = HashSet::new();
    let members = loop {
        // One between the two takes this one along when it leaves.
        let mut line = inherits::all(&[table], inherits::CHILD);
        line.truncate(line.iter().position(|above| *above == root).unwrap_or(line.len()));
        let members = inherits::below(table);
        let new: Vec<pg_sys::Oid> =
            line.into_iter().rev().chain(members.iter().copied()).filter(|table| locked.insert(*table)).collect();
        // What came while the others were locked is among them by now.
        if new.is_empty() {
            break members;
        }
        new.into_iter().try_for_each(try_lock)?;
    };
    if attached.is_some() && source::root(schema, table) != Some(root) {
        return Err(Obstacle::Moved);
    }
    Ok(Held { root, attached, members })
}

/// Locks a table against a change of what it stands below, without a wait.
fn try_lock(table: pg_sys::Oid) -> Result<(), Obstacle> {
    if patience::lock(table, pg_sys::AccessShareLock, Duration::ZERO) { Ok(()) } else { Err(Obstacle::Busy(table)) }
}

/// The notes on tables.
fn parts(schema: &Schema, tables: &[pg_sys::Oid]) -> HashMap<u32, Scope> {
    let scope = |snapshot: Option<String>, populated| Scope {
        before: snapshot.as_deref().and_then(Stays::parse),
        earlier: if populated { Earlier::Counted } else { Earlier::Uncounted },
    };
    let parts = source_part::parts(schema, tables);
    parts.into_iter().map(|(table, snapshot, populated)| (table.to_u32(), scope(snapshot, populated))).collect()
}

/// Notes which rows tables have at this moment, when they have come below an attached one. Not for an empty table, nor for one
/// of which there is a note, unless that says that it had left before. All must be plain tables, and locked against writers.
pub fn note(schema: &Schema, tables: &[pg_sys::Oid]) {
    let now = Before::now(session::command());
    let away = away(schema, tables);
    let (back, new): (Vec<pg_sys::Oid>, Vec<pg_sys::Oid>) =
        tables.iter().copied().partition(|table| away.contains_key(table));
    // All that comes to an empty one is observed from now on.
    let (empty, filled): (Vec<pg_sys::Oid>, Vec<pg_sys::Oid>) =
        back.into_iter().partition(|table| relatives::is_empty(*table));
    source_part::forget_parts(schema, &empty);
    let stays: Vec<(pg_sys::Oid, String, bool)> =
        filled.iter().map(|table| (*table, and_then(&away[table], &now), false)).collect();
    source_part::write(schema, &stays);
    source_part::note_parts(schema, &new, &now.to_string());
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
pub fn is_bare(schema: &Schema, table: pg_sys::Oid) -> bool {
    install::ours(schema, table).is_none() && indexes::oids(table).is_empty()
}

/// Notes which rows tables have at this moment, when they have left a table that is attached as, or below, `root`, and are not
/// observed any more. When they come back, these are counted no second time, and those that came meanwhile are. All must be plain
/// tables, and locked. `by_row`: a row trigger that went with them may have observed them.
pub fn note_departure(schema: &Schema, tables: &[pg_sys::Oid], root: pg_sys::Oid, by_row: bool) {
    let (filled, empty): (Vec<pg_sys::Oid>, Vec<pg_sys::Oid>) =
        tables.iter().copied().partition(|table| catalog::blocks(*table) > 0);
    let now = Before::now(session::command());
    // What comes meanwhile is not observed.
    let empty: Vec<(pg_sys::Oid, String, bool)> =
        empty.into_iter().map(|table| (table, and_then("", &now), false)).collect();
    source_part::write(schema, &empty);
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
            Some((Some(moments), _)) if is_away(moments) && !by_row && is_bare(schema, table) => continue,
            // Nobody heard that it came back.
            Some((Some(moments), _)) if is_away(moments) => {
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
///
/// They were attached at the moment `since`.
pub fn note_left(schema: &Schema, tables: &[pg_sys::Oid], counts: Counts, unseen: Option<&str>, since: Option<&str>) {
    // What is noted of a table that has come below them, or has left, is more exact, and stays. What was observed of it since is
    // taken back.
    let notes = source_part::notes(schema, tables);
    let noted: HashSet<u32> = match counts {
        Counts::Stay => notes.iter().map(|note| note.table.to_u32()).collect(),
        Counts::TakenBack => {
            let now = Before::now(session::command());
            let taken = notes.into_iter().filter(|note| note.origin.is_some()).filter_map(|note| {
                let (moments, since) = (note.moments?, since?);
                // What it had observed until then stays; where it had come at that moment, that is in the place of this one.
                let (last, others) = last(&moments);
                let before = if last == since { others.to_owned() } else { and_then(&moments, since) };
                Some((note.table, and_then(&before, &now), false))
            });
            let taken: Vec<(pg_sys::Oid, String, bool)> = taken.collect();
            source_part::write(schema, &taken);
            taken.iter().map(|(table, ..)| table.to_u32()).collect()
        }
    };
    let others: Vec<pg_sys::Oid> = tables.iter().copied().filter(|table| !noted.contains(&table.to_u32())).collect();
    source_part::forget_parts(schema, &others);
    let plain = inherits::plain(&others);
    match (unseen, counts) {
        (Some(moments), _) => source_part::note_parts(schema, &plain, moments),
        (None, Counts::Stay) => source_part::note_parts_observed(schema, &plain),
        (None, Counts::TakenBack) => {}
    }
}

/// Those of these tables that have left an attached one, and have not come back, each with the moments that are noted.
pub fn away(schema: &Schema, tables: &[pg_sys::Oid]) -> HashMap<pg_sys::Oid, String> {
    let noted = source_part::parts(schema, tables).into_iter();
    noted.filter_map(|(table, stays, _)| Some((table, stays.filter(|stays| is_away(stays))?))).collect()
}
