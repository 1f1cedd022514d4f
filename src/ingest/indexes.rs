//! The indexes that observe a table: finding them, making one, taking it off.
#![allow(unsafe_code, reason = "reads the relation cache")]

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;

use enrich::condition::Condition;
use enrich::selector::{EventTime, Selector};
use pgrx::{PgSqlErrorCode, pg_sys};

use super::arguments::Arguments;
use super::extract::column;
use super::install;
use super::observer::options;
use crate::pg::argument;
use crate::pg::catalog::{Schema, c_string, plain_name, quote_identifier, quote_literal, relation_name};
use crate::pg::citus;
use crate::pg::encoding::from_server;
use crate::pg::errors::{not_ready, raise};
use crate::pg::inherits;
use crate::pg::shape;
use crate::pg::sql::Sql;
use crate::pg::tx;

/// The access method's name.
pub const METHOD: &CStr = c"ip_observer";
/// What COMMENT ON INDEX says.
const COMMENT: &str = "asn_inventory: observes the addresses of new rows; stores nothing and is never scanned, so do not drop it as unused";

/// An index that observes.
pub struct Observer {
    /// Its OID.
    pub index: pg_sys::Oid,
    /// What it reads of a row.
    pub arguments: Arguments,
    /// It observes rows that a subscription brings.
    pub replica: bool,
    /// It belongs to an index of the partitioned table above, with which it goes.
    pub is_inherited: bool,
    /// PostgreSQL uses it.
    pub is_valid: bool,
    /// It reads an expression: a value that is no column.
    pub has_expression: bool,
    /// It observes only rows that its WHERE accepts.
    pub is_partial: bool,
    /// A column of it was renamed since: another one may have its name now.
    pub is_renamed: bool,
}

/// The access method; `None`: an older version of the extension has none.
pub fn method() -> Option<pg_sys::Oid> {
    // SAFETY: a catalog look-up that tolerates absence.
    let method = unsafe { pg_sys::get_index_am_oid(METHOD.as_ptr(), true) };
    (method != pg_sys::InvalidOid).then_some(method)
}

/// Those of a table. It must be locked.
pub fn of(table: pg_sys::Oid) -> Vec<Observer> {
    // SAFETY: `each` hands over open indexes of this access method.
    each(table, |index| unsafe { read(index) })
}

/// Those of a table by their OIDs, and whether each belongs to an index of the partitioned table above. It must be locked.
/// Nothing more is read of them: for callers that have rights which the table's owner does not have.
pub fn oids(table: pg_sys::Oid) -> Vec<(pg_sys::Oid, bool)> {
    // SAFETY: an open relation has its row of pg_class.
    each(table, |index| (index.rd_id, unsafe { (*index.rd_rel).relispartition }))
}

/// Calls `f` with each of a table's, while it is open.
fn each<T>(table: pg_sys::Oid, f: impl Fn(&pg_sys::RelationData) -> T) -> Vec<T> {
    let Some(method) = method() else { return Vec::new() };
    let mut found = Vec::new();
    // SAFETY: table and indexes are open while they are read.
    unsafe {
        let relation = pg_sys::try_relation_open(table, pg_sys::NoLock as i32);
        if relation.is_null() {
            return found;
        }
        if (*(*relation).rd_rel).relhasindex {
            let list = pg_sys::RelationGetIndexList(relation);
            let count = if list.is_null() { 0 } else { (*list).length as usize };
            for i in 0..count {
                let oid = (*(*list).elements.add(i)).oid_value;
                let index = pg_sys::try_relation_open(oid, pg_sys::AccessShareLock as i32);
                if index.is_null() {
                    continue;
                }
                if (*(*index).rd_rel).relam == method {
                    found.push(f(&*index));
                }
                pg_sys::relation_close(index, pg_sys::NoLock as i32);
            }
        }
        pg_sys::relation_close(relation, pg_sys::NoLock as i32);
    }
    found
}

/// The same of an open index.
///
/// # Safety
/// `index` must be open, and one of this access method.
pub unsafe fn read(index: &pg_sys::RelationData) -> Observer {
    // SAFETY: see above.
    unsafe {
        let form = &*index.rd_index;
        let attribute = |at: usize| *form.indkey.values.as_ptr().add(at);
        let has_expression = (0..form.indnatts as usize).any(|at| attribute(at) == 0);
        let options = options::of(index);
        Observer {
            index: index.rd_id,
            arguments: options.arguments,
            replica: options.replica,
            is_inherited: (*index.rd_rel).relispartition,
            is_valid: form.indisvalid,
            has_expression,
            is_partial: shape::has_predicate(index),
            is_renamed: columns(index).iter().any(|(was, now)| was != now),
        }
    }
}

/// The table that an index was made for: where it belongs to the index of a partitioned table, the topmost one.
pub fn made_for(index: pg_sys::Oid) -> pg_sys::Oid {
    let top = inherits::all(&[index], inherits::CHILD).pop().unwrap_or(index);
    // SAFETY: a catalog look-up that tolerates absence.
    unsafe { pg_sys::IndexGetRelation(top, true) }
}

/// What an index of a partitioned table above does with the rows of a partition that has a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Above {
    /// Leaves them to triggers: the table above has one as well.
    LeavesAll,
    /// Counts them, but not those that a subscription brings.
    CountsOwn,
    /// Counts them all.
    CountsAll,
}

/// The same of a table; `None`: no index above sees its rows.
pub fn above(table: &pg_sys::RelationData) -> Option<Above> {
    // SAFETY: the table is open.
    if !unsafe { (*table.rd_rel).relispartition } {
        return None;
    }
    let schema = Schema::find()?;
    let is_free = |index: &Observer| {
        let modes = install::modes(&schema, made_for(index.index));
        modes.into_iter().all(|mode| mode == pg_sys::TRIGGER_DISABLED)
    };
    let above: Vec<Observer> =
        of(table.rd_id).into_iter().filter(|index| index.is_valid && index.is_inherited).collect();
    let counts = |index: &Observer| if index.replica { Above::CountsAll } else { Above::CountsOwn };
    let none = (!above.is_empty()).then_some(Above::LeavesAll);
    above.iter().find(|index| is_free(index)).map(counts).or(none)
}

/// Whether the rows that come to an index are left to a trigger of ours, on the table that it was made for or above.
fn leaves_rows_to_triggers(schema: &Schema, index: &Observer) -> bool {
    let line = inherits::all(&[made_for(index.index)], inherits::CHILD);
    line.iter().any(|table| install::modes(schema, *table).into_iter().any(|mode| install::fires(mode, false)))
}

/// Whether the rows that come to an index count by way of it.
fn counts(schema: &Schema, index: &Observer) -> bool {
    // One that is not valid sees no row, but for that of a partitioned table: then a partition has none yet.
    let is_used = index.is_valid || inherits::kind(index.index) == pg_sys::RELKIND_PARTITIONED_INDEX;
    is_used && !leaves_rows_to_triggers(schema, index)
}

/// The condition, in SQL, on the rows of a table attached by index that this observes; `None`: it observes all, or there is none. An
/// error where rows of the table cannot be read as they were observed. The table must be locked.
pub fn condition(sql: &Sql, schema: &Schema, table: pg_sys::Oid) -> Option<String> {
    let observers: Vec<Observer> = of(table).into_iter().filter(|index| counts(schema, index)).collect();
    match &observers[..] {
        [] => None,
        [one] if !one.has_expression => {
            let text =
                "SELECT pg_catalog.pg_get_expr(indpred, indrelid) FROM pg_catalog.pg_index WHERE indexrelid = $1";
            // The statement that made the index may call this, too.
            sql.returning(text, &[argument::oid(one.index)]).text(0, 1)
        }
        _ => not_ready(
            format!("rows of \"{}\" cannot be read as they were observed", plain_name(table)),
            "It has more than one index that observes, or one on an expression.",
            "New rows are observed. detach_ip_source() leaves the counts as they are.",
        ),
    }
}

/// How the columns of a table are called now that were renamed since an index was made that observes it, by the names that this has
/// for them, and that `ip_source` lists: it reads them whatever they are called. The table must be locked.
pub fn renamed(schema: &Schema, table: pg_sys::Oid) -> HashMap<String, String> {
    let columns = each(table, |index| {
        // SAFETY: an open index of this access method.
        let (observer, columns) = unsafe { (read(index), columns(index)) };
        if counts(schema, &observer) { columns } else { Vec::new() }
    });
    columns.into_iter().flatten().filter(|(was, now)| was != now).collect()
}

/// The columns of an index that are columns of its table: the name of each here, and there.
///
/// # Safety
/// `index` must be open.
unsafe fn columns(index: &pg_sys::RelationData) -> Vec<(String, String)> {
    // SAFETY: see above; names are NUL-terminated. An expression has no column, and no name there.
    unsafe {
        let form = &*index.rd_index;
        let name = |at: i16| {
            let there = pg_sys::get_attname(form.indrelid, *form.indkey.values.as_ptr().add(at as usize), true);
            let there = (!there.is_null()).then(|| from_server(CStr::from_ptr(there).to_bytes()))?;
            Some((options::name(index, at + 1), there))
        };
        (0..form.indnatts).filter_map(name).collect()
    }
}

/// Makes an index that reads a table like that, with the rights of the caller. `replica`: also what a subscription brings.
pub fn create(sql: &Sql, table: pg_sys::Oid, arguments: &Arguments, replica: bool) {
    let Some(name) = relation_name(table) else { return };
    let selectors = arguments.selectors.iter().filter_map(|text| Some(Selector::parse(text).ok()?.column));
    let keys = distinct(selectors, &HashSet::new());
    let condition = arguments.only_where.as_deref().and_then(|text| Condition::parse(text).ok());
    let tests = condition.iter().flat_map(|condition| &condition.0).map(|test| test.value.column.clone());
    let sensor = arguments.sensor.as_deref().and_then(|text| Some(Selector::parse(text).ok()?.column));
    let more = distinct(
        event_time(table, arguments).map(|time| time.column).into_iter().chain(tests).chain(sensor),
        &keys.iter().cloned().collect(),
    );
    check_count(table, keys.len() + more.len());
    let columns = |names: &[String]| names.iter().map(|name| quote_identifier(name)).collect::<Vec<_>>().join(", ");
    let include = if more.is_empty() { String::new() } else { format!(" INCLUDE ({})", columns(&more)) };
    let list: Vec<String> = arguments.selectors.iter().map(|text| quote_element(text)).collect();
    let option = |name: &str, value: &Option<String>| {
        value.as_ref().map(|value| format!(", {name} = {}", quote_literal(value))).unwrap_or_default()
    };
    sql.run(
        &format!(
            "CREATE INDEX ON {name} USING {} ({}){include} WITH (selectors = {}{}{}{}{})",
            METHOD.to_string_lossy(),
            columns(&keys),
            quote_literal(&format!("{{{}}}", list.join(","))),
            option("observed_at", &arguments.observed_at),
            option("only_where", &arguments.only_where),
            option("sensor", &arguments.sensor),
            if replica { ", replica = true" } else { "" },
        ),
        &[],
    );
    for made in of(table).into_iter().filter(|made| !made.is_inherited) {
        explain(made.index);
        if citus::kept(table).is_none() {
            install::goes_with_extension(pg_sys::RelationRelationId, made.index);
        }
    }
}

/// Refuses more columns than an index can have.
fn check_count(table: pg_sys::Oid, count: usize) {
    const MOST: usize = pg_sys::INDEX_MAX_KEYS as usize;
    if count > MOST {
        raise(
            PgSqlErrorCode::ERRCODE_TOO_MANY_COLUMNS,
            format!("\"{}\" cannot be observed by an index: more than {MOST} columns are read", plain_name(table)),
            &format!("Addresses, time, condition and sensor stand in {count} columns of the table."),
            "Attach it with method => 'trigger', or by fewer columns.",
        );
    }
}

/// Has an index say what it is, where it says nothing. Below SQL: it may be one of thousands, and no event trigger is to hear of it.
/// The index must have been made by this transaction, or its table be locked.
pub fn explain(index: pg_sys::Oid) {
    // SAFETY: the index exists; the text is copied.
    unsafe {
        if pg_sys::GetComment(index, pg_sys::RelationRelationId, 0).is_null() {
            pg_sys::CreateComments(index, pg_sys::RelationRelationId, 0, c_string(COMMENT).as_ptr());
        }
    }
}

/// Takes an index off.
pub fn drop(sql: &Sql, index: pg_sys::Oid) {
    if let Some(name) = relation_name(index) {
        sql.run(&format!("DROP INDEX {name}"), &[]);
    }
}

/// The same for the event trigger, below SQL: a DROP INDEX would run other event triggers, with a superuser's rights.
pub fn drop_quietly(index: pg_sys::Oid) {
    let object = pg_sys::ObjectAddress { classId: pg_sys::RelationRelationId, objectId: index, objectSubId: 0 };
    let flags = pg_sys::PERFORM_DELETION_INTERNAL | pg_sys::PERFORM_DELETION_QUIETLY;
    // SAFETY: an index that is there; nothing that depends on it is dropped along.
    unsafe { pg_sys::performDeletion(&raw const object, pg_sys::DropBehavior::DROP_RESTRICT, flags as i32) };
    tx::next_command();
}

/// Where the time of an event stands in a table.
fn event_time(table: pg_sys::Oid, arguments: &Arguments) -> Option<EventTime> {
    let text = arguments.observed_at.as_deref()?;
    // SAFETY: the relation is open for as long as its descriptor is read.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let time = EventTime::parse(text, |name| column((*relation).rd_att, name).is_some());
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        Some(time)
    }
}

/// Each once, without those that are there.
fn distinct(names: impl Iterator<Item = String>, there: &HashSet<String>) -> Vec<String> {
    let mut seen = there.clone();
    names.filter(|name| seen.insert(name.clone())).collect()
}

/// An element of an array in its written form.
fn quote_element(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
