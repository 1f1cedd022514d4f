//! The present rows of an attached table, distinguished by whether they were counted before.
//!
//! Attaching locks the table against writers and notes its snapshot ([`super::before`]): a row whose transaction that snapshot
//! sees was there before, and is counted once, by the first `populate_ip_inventory`. The same holds for a partition
//! that had rows when it came below an attached table ([`super::part`]). The trigger saw most later rows, but not those
//! of a session with `asn_inventory.enabled = off`, and nothing distinguishes these, or an earlier row that was updated
//! since. Nor, of the rows that the attaching transaction itself wrote, one that somebody has tried to update or delete,
//! or has locked, since.
//!
//! The rows are read with the rights of the table's owner, and all of them or none: if a policy hid some, they could
//! never be counted later.
#![allow(unsafe_code, reason = "reads values by the types of their columns")]

use std::collections::{HashMap, HashSet};

use enrich::condition::Condition;
use enrich::selector::{EventTime, Selector};
use pgrx::pg_sys;

use super::before::Stays;
use super::extract::Extractor;
use super::indexes;
use super::moment::Moment;
use super::only::Only;
use super::sensor::Sensor;
use super::tally::Tally;
use super::unread::Unread;
use crate::pg::catalog::{Schema, quote_identifier, relation_name};
use crate::pg::sql::Sql;

const FETCH: usize = 5_000;
const FLUSH: usize = 100_000;

/// Whether the rows that were there before are counted in the inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// `populate_ip_inventory` has counted them.
    Counted,
    /// It has not, or not yet.
    Uncounted,
}

/// Rows of one table, or of one partition.
pub struct Scope {
    /// Which were there before; `None`: that is not known of any.
    pub before: Option<Stays>,
    /// Whether those are counted.
    pub earlier: Earlier,
}

/// One reading of a table.
pub struct Reading<'a> {
    /// With the caller's rights: see above.
    pub sql: &'a Sql,
    /// The table, which all that is below it is read with.
    pub table: pg_sys::Oid,
    /// A condition on its rows, in SQL; `None`: all are read.
    pub rows: Option<String>,
    /// Where its addresses are.
    pub selectors: Vec<String>,
    /// Where the time of the event stands.
    pub observed_at: Option<EventTime>,
    /// The condition that a row must meet to be read.
    pub only_where: Option<String>,
    /// Where the sensor stands.
    pub sensor: Option<Selector>,
    /// The notes on its rows.
    pub scope: Scope,
    /// More exact notes on some of the tables below it.
    pub parts: HashMap<u32, Scope>,
    /// It, and the tables below it whose rows are wanted. Those of others count for another one; those of a table that has come below it
    /// since the notes were read are for the next call.
    pub own: HashSet<u32>,
    /// Its rows are in shards, whose numbers say nothing.
    pub is_in_shards: bool,
    /// Which of the rows that were there before are wanted.
    pub wanted: Earlier,
    /// The time of the statement (timestamptz).
    pub now: i64,
}

/// How to read the rows: the selectors that fit them, as they were written, the time, and the condition.
struct Plan<'a> {
    extractors: Vec<(Extractor, &'a str)>,
    moment: Option<Moment>,
    only: Option<Only>,
    sensor: Option<Sensor>,
}

/// The rows read so far.
#[derive(Default)]
pub struct Chunk {
    /// In rows that were there before.
    pub earlier: Tally,
    /// In rows that came later.
    pub later: Tally,
    /// How many rows were there before.
    pub rows: i64,
    /// Why one of those had no address.
    pub unread: Option<Unread>,
}

impl Reading<'_> {
    /// Reads all rows, and hands over their addresses in chunks.
    pub fn run(&self, mut hand_over: impl FnMut(Chunk)) {
        let texts = self.selectors.iter().map(String::as_str);
        let selectors: Vec<(Selector, &str)> =
            texts.filter_map(|text| Some((Selector::parse(text).ok()?, text))).collect();
        let condition = self.only_where.as_deref().map(Condition::parse);
        let tests = condition.iter().flatten().flat_map(|condition| &condition.0);
        let mut columns: Vec<&str> = selectors.iter().map(|(selector, _)| &*selector.column).collect();
        columns.extend(self.sensor.iter().map(|sensor| &*sensor.column));
        columns.extend(self.observed_at.iter().map(|time| &*time.column).chain(tests.map(|test| &*test.value.column)));
        let mut names = ["xmin", "cmin", "xmax", "tableoid"].map(str::to_owned).to_vec();
        // A column that is gone is passed over, as by the trigger. One that was renamed is read as an index reads it, and not another
        // one that has its name now.
        let there = crate::pg::shape::readable(self.table);
        let renamed = Schema::find().map(|schema| indexes::renamed(&schema, self.table)).unwrap_or_default();
        names.extend(columns.into_iter().filter_map(|name| {
            let now = there.iter().find(|there| *there == renamed.get(name).map_or(name, String::as_str))?;
            Some(format!("{} AS {}", quote_identifier(now), quote_identifier(name)))
        }));
        let Some(name) = relation_name(self.table) else { return };
        // Read as the owner: the caller is the owner, or may act as the owner. The owner's code that this reading may
        // run (such as the function of a generated column) has only the owner's rights, and cannot get more.
        let whole = WholeTable::begin(self.table);
        let rows = self.rows.as_ref().map(|rows| format!(" WHERE {rows}")).unwrap_or_default();
        let mut cursor = self.sql.cursor(&format!("SELECT {} FROM {name}{rows}", names.join(", ")), &[]);
        whole.pause();
        let mut plan: Option<Plan<'_>> = None;
        let mut chunk = Chunk::default();
        loop {
            whole.resume();
            let rows = cursor.fetch(FETCH);
            whole.pause();
            if rows.len() == 0 {
                break;
            }
            pgrx::check_for_interrupts!();
            // SAFETY: the descriptor of the fetched rows, the same for every fetch.
            let Plan { extractors, moment, only, sensor } = plan.get_or_insert_with(|| unsafe {
                let fitting =
                    selectors.iter().filter_map(|(s, text)| Some((Extractor::new(s, rows.desc()).ok()?, *text)));
                Plan {
                    extractors: fitting.collect(),
                    moment: self.observed_at.as_ref().and_then(|time| Moment::new(rows.desc(), time).ok()),
                    only: condition.as_ref().map(|condition| {
                        let only = condition.as_ref().ok().and_then(|only| Only::new(only, rows.desc()).ok());
                        only.unwrap_or_else(Only::nothing)
                    }),
                    sensor: self.sensor.as_ref().and_then(|sensor| Sensor::new(sensor, rows.desc()).ok()),
                }
            });
            let context = pgrx::PgMemoryContexts::new("asn_inventory reading");
            // SAFETY: everything palloced in the closure is done with when the context goes.
            unsafe {
                let old = pg_sys::MemoryContextSwitchTo(context.value());
                for row in 0..rows.len() {
                    let number = |column| rows.datum(row, column).map_or(0, |d| d.value() as u32);
                    let Some(earlier) = self.is_earlier(number(1), number(2), number(3), number(4)) else { continue };
                    let value = |column: i16| rows.datum(row, column as usize);
                    if !only.as_ref().is_none_or(|only| only.is_met(value)) {
                        chunk.rows += i64::from(earlier);
                        continue;
                    }
                    let tally = if earlier { &mut chunk.earlier } else { &mut chunk.later };
                    if let Some(sensor) = sensor {
                        sensor.turn(value, tally);
                    }
                    let at = moment.as_ref().and_then(|m| Some(m.read(value(m.attribute())?, self.now, tally)));
                    for (extractor, selector) in extractors.iter() {
                        let Some(datum) = value(extractor.attribute) else { continue };
                        extractor.tally(datum, at.unwrap_or(self.now), tally);
                        if earlier && tally.is_empty() && chunk.unread.is_none() {
                            chunk.unread = Some(extractor.why_nothing(datum).of(selector));
                        }
                    }
                    chunk.rows += i64::from(earlier);
                }
                pg_sys::MemoryContextSwitchTo(old);
            }
            if chunk.earlier.is_full(FLUSH) || chunk.later.is_full(FLUSH) {
                hand_over(std::mem::take(&mut chunk));
            }
        }
        hand_over(chunk);
    }

    /// Whether a row was there before; `None`: it is not wanted.
    fn is_earlier(&self, xid: u32, command: u32, xmax: u32, table: u32) -> Option<bool> {
        if !self.is_in_shards && !self.own.contains(&table) {
            return None;
        }
        let scope = self.parts.get(&table).unwrap_or(&self.scope);
        let before = scope.before.as_ref().is_some_and(|before| before.has(xid, command, xmax));
        (!before || scope.earlier == self.wanted).then_some(before)
    }
}

/// Reading a table as its owner, restricted as a view's owner is while it is refreshed, and without row security: rows
/// that a policy hides from the owner himself are an error. Only while rows are fetched; an error ends it as well.
struct WholeTable {
    owner: pg_sys::Oid,
    user: pg_sys::Oid,
    context: std::ffi::c_int,
    level: std::ffi::c_int,
}

impl WholeTable {
    fn begin(table: pg_sys::Oid) -> WholeTable {
        let (mut user, mut context) = (pg_sys::InvalidOid, 0);
        // SAFETY: the relation is opened for the time of one read; the level of settings ends with the value.
        let (owner, level) = unsafe {
            let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
            let owner = (*(*relation).rd_rel).relowner;
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
            pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
            (owner, pg_sys::NewGUCNestLevel())
        };
        crate::pg::tx::save_and_set(c"row_security", c"off");
        let whole = WholeTable { owner, user, context, level };
        whole.resume();
        whole
    }

    fn resume(&self) {
        let context = self.context | pg_sys::SECURITY_RESTRICTED_OPERATION as i32;
        // SAFETY: put back by `pause`; after an error, by the (sub)transaction's abort.
        unsafe { pg_sys::SetUserIdAndSecContext(self.owner, context) };
    }

    fn pause(&self) {
        // SAFETY: as found at the beginning.
        unsafe { pg_sys::SetUserIdAndSecContext(self.user, self.context) };
    }
}

impl Drop for WholeTable {
    fn drop(&mut self) {
        // After an error the transaction's abort does it.
        if !std::thread::panicking() {
            self.pause();
            // SAFETY: begun by `begin`.
            unsafe { pg_sys::AtEOXact_GUC(false, self.level) };
        }
    }
}
