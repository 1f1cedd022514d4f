//! Whether the columns that attached tables are observed by can still be read. It reads only the catalog and opens no
//! table, so that it does not wait for a session with an exclusive lock. And how each is to be attached for that: checks that find
//! fault with what observes a table have it attached again, too.
#![allow(unsafe_code, reason = "makes the descriptor of one column for what reads rows")]

use std::collections::HashMap;

use enrich::condition::Condition;
use enrich::selector::{EventTime, Selector};
use pgrx::pg_sys;

use super::finding::{Finding, select};
use crate::ingest::extract::{Extractor, Misfit};
use crate::ingest::generated;
use crate::ingest::generated::Unread;
use crate::ingest::moment::Moment;
use crate::ingest::only::{Only, Unfit};
use crate::ingest::sensor::Sensor;
use crate::pg::argument;
use crate::pg::argument::Argument;
use crate::pg::catalog::{Schema, quote_literal};
use crate::pg::encoding;
use crate::pg::sql::Sql;

/// An attached table, as `ip_source` and the catalog have it.
#[derive(Clone)]
struct Source {
    table: pg_sys::Oid,
    name: String,
    /// An index observes it.
    has_index: bool,
    /// An index that observes it reads an expression, which has a name in `ip_source` that is no column's.
    has_expression: bool,
    /// Columns that this reads were renamed since. They have their present names here, and others in `ip_source`.
    is_renamed: bool,
    selectors: Vec<String>,
    observed_at: Option<EventTime>,
    /// The condition that a row must meet to be read.
    only_where: Option<String>,
    /// Where the sensor stands.
    sensor: Option<String>,
    /// How its rows are observed.
    method: String,
    columns: Vec<Column>,
}

#[derive(Clone)]
struct Column {
    name: String,
    kind: pg_sys::Oid,
    modifier: i32,
    /// It is generated when it is read: triggers find null there.
    is_virtual: bool,
    /// It is generated, and stored.
    is_stored: bool,
}

/// Why such a column is not observed.
const VIRTUAL: &str = "it is a virtual generated column, which new rows do not hold";

/// Said where no call makes an index as the others of the table are.
const BY_HAND: &str =
    "-- make the index that is missing or wrong as the one that reads: CREATE INDEX ON … USING ip_observer (…)";

/// How a table can be observed.
struct Mended {
    /// What cannot be read any more, and why.
    told: Vec<String>,
    /// The statement that attaches it by what can be, or detaches it where nothing can.
    call: String,
    is_any_left: bool,
}

/// The check `columns`.
pub fn look(schema: &Schema) -> Vec<Finding> {
    // An index reads its columns whatever they are called now: the check of indexes names those that were renamed.
    let sources = sources(schema);
    let missing = sources.iter().filter(|source| !source.has_index).filter_map(|source| source.finding(schema));
    missing.chain(sources.iter().filter_map(|source| source.unread(schema))).collect()
}

/// For other checks: the tables that cannot be attached again as `ip_source` has them, and the statement that attaches each.
pub fn calls(schema: &Schema) -> [Argument; 2] {
    let (mut tables, mut calls) = (Vec::new(), Vec::new());
    for source in sources(schema) {
        let mended = source.mended(schema);
        if source.is_renamed || !mended.told.is_empty() {
            tables.push(source.table);
            // To attach by the columns alone would take the index off.
            calls.push(if source.has_expression { BY_HAND.to_owned() } else { mended.call });
        }
    }
    [argument::oids(&tables), argument::texts(&calls)]
}

fn sources(schema: &Schema) -> Vec<Source> {
    let sql = Sql::as_caller();
    let found = sql.query(
        &format!(
            "WITH observer AS (
                 SELECT x.indexrelid, x.indrelid, x.indkey, x.indisvalid, x.indisvalid OR c.relkind = 'I' AS is_used
                 FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid JOIN pg_catalog.pg_am m ON m.oid = c.relam
                 WHERE m.amname = 'ip_observer'),
             -- It keeps the names that its columns had when it was made.
             renamed AS (
                 SELECT o.indrelid, pg_catalog.array_agg(n.attname::pg_catalog.text ORDER BY n.attname, a.attname) AS was,
                        pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY n.attname, a.attname) AS now
                 FROM observer o JOIN pg_catalog.pg_attribute n ON n.attrelid = o.indexrelid
                      JOIN pg_catalog.pg_attribute a ON a.attrelid = o.indrelid AND a.attnum = o.indkey[n.attnum - 1]
                 WHERE o.is_used AND a.attnum > 0 AND a.attname <> n.attname
                 GROUP BY o.indrelid)
             SELECT s.tbl::pg_catalog.text, s.ip_columns, s.observed_at::pg_catalog.text,
                    pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY a.attnum),
                    pg_catalog.array_agg(a.atttypid::pg_catalog.text ORDER BY a.attnum),
                    pg_catalog.array_agg(a.atttypmod::pg_catalog.text ORDER BY a.attnum), s.observed_zone,
                    pg_catalog.max(s.method),
                    pg_catalog.max(pg_catalog.to_jsonb(s)->>'observed_path'), pg_catalog.max(pg_catalog.to_jsonb(s)->>'only_where'),
                    pg_catalog.max(pg_catalog.to_jsonb(s)->>'sensor'),
                    pg_catalog.array_agg(a.attgenerated::pg_catalog.text ORDER BY a.attnum), s.tbl::pg_catalog.oid,
                    pg_catalog.max(s.method) = 'index' AND EXISTS (SELECT FROM observer o WHERE o.indrelid = s.tbl AND o.indisvalid),
                    r.was, r.now, EXISTS (SELECT FROM observer o WHERE o.indrelid = s.tbl AND 0 = ANY (o.indkey))
             FROM {}.ip_source s JOIN pg_catalog.pg_attribute a ON a.attrelid = s.tbl AND a.attnum > 0 AND NOT a.attisdropped
                  LEFT JOIN renamed r ON r.indrelid = s.tbl AND s.method = 'index'
             GROUP BY s.tbl, s.ip_columns, s.observed_at, s.observed_zone, r.was, r.now",
            schema.name
        ),
        &[],
    );
    (0..found.len())
        .map(|row| {
            let texts = |column| found.texts(row, column).unwrap_or_default();
            let types = texts(5).into_iter().zip(texts(6)).zip(texts(12));
            let columns = texts(4).into_iter().zip(types).map(|(name, ((kind, modifier), generated))| Column {
                name,
                kind: kind.parse::<u32>().unwrap_or_default().into(),
                modifier: modifier.parse().unwrap_or(-1),
                is_virtual: generated == "v",
                is_stored: generated == "s",
            });
            let source = Source {
                table: found.get(row, 13).unwrap_or(pg_sys::InvalidOid),
                name: found.text(row, 1).unwrap_or_default(),
                has_index: found.get(row, 14) == Some(true),
                has_expression: found.get(row, 17) == Some(true),
                is_renamed: false,
                selectors: texts(2),
                observed_at: found.text(row, 3).map(|column| EventTime {
                    column,
                    path: found.text(row, 9),
                    zone: found.text(row, 7),
                }),
                only_where: found.text(row, 10),
                sensor: found.text(row, 11),
                method: found.text(row, 8).unwrap_or_default(),
                columns: columns.collect(),
            };
            source.renamed(&texts(15).into_iter().zip(texts(16)).collect())
        })
        .collect()
}

/// A column or path by the present name of its column; `None`: it was not renamed.
fn by_present_name(text: &str, names: &HashMap<String, String>) -> Option<String> {
    let selector = Selector::parse(text).ok()?;
    let column = names.get(&selector.column)?.clone();
    Some(Selector { column, ..selector }.to_string())
}

impl Column {
    /// A row's description with this column alone.
    fn desc(&self) -> pg_sys::TupleDesc {
        // In the encoding of the server, as the catalog has the names that are looked for.
        let name = std::ffi::CString::new(encoding::server_text(&self.name)).unwrap_or_default();
        // SAFETY: one attribute, of a type that the catalog knows; it lives in the current context.
        unsafe {
            let desc = pg_sys::CreateTemplateTupleDesc(1);
            pg_sys::TupleDescInitEntry(desc, 1, name.as_ptr(), self.kind, self.modifier, 0);
            desc
        }
    }

    fn misfit(&self, selector: &Selector) -> Option<Misfit> {
        // SAFETY: the descriptor was just made.
        unsafe { Extractor::new(selector, self.desc()) }.err()
    }

    fn is_moment(&self, time: &EventTime) -> bool {
        // SAFETY: the descriptor was just made.
        !self.is_virtual && unsafe { Moment::new(self.desc(), time) }.is_ok()
    }

    /// This column as the time, in a zone.
    fn as_time(&self, zone: Option<&str>) -> EventTime {
        EventTime { column: self.name.clone(), path: None, zone: zone.map(str::to_owned) }
    }
}

impl Source {
    fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// With the present names of columns, of which `names` has those that were renamed.
    fn renamed(mut self, names: &HashMap<String, String>) -> Source {
        for text in self.selectors.iter_mut().chain(&mut self.sensor) {
            if let Some(now) = by_present_name(text, names) {
                (*text, self.is_renamed) = (now, true);
            }
        }
        if let Some(time) = &mut self.observed_at
            && let Some(now) = names.get(&time.column)
        {
            time.path = time.path.as_ref().map(|path| by_present_name(path, names).unwrap_or_else(|| path.clone()));
            (time.column, self.is_renamed) = (now.clone(), true);
        }
        if let Some(text) = &mut self.only_where
            && let Ok(mut condition) = Condition::parse(text)
            && condition.0.iter().any(|test| names.contains_key(&test.value.column))
        {
            for test in &mut condition.0 {
                if let Some(now) = names.get(&test.value.column) {
                    test.value.column.clone_from(now);
                }
            }
            (*text, self.is_renamed) = (condition.to_string(), true);
        }
        self
    }

    /// Why a selector reads nothing; `None`: it reads.
    fn trouble(&self, text: &str) -> Option<String> {
        let Ok(selector) = Selector::parse(text) else { return Some("it is neither a column nor a path".to_owned()) };
        let misfit = match self.column(&selector.column) {
            Some(column) if column.is_virtual => return Some(VIRTUAL.to_owned()),
            Some(column) => column.misfit(&selector)?,
            None => Misfit::NoColumn,
        };
        Some(match misfit {
            Misfit::NoColumn => "there is no such column".to_owned(),
            Misfit::WrongType(kind) => format!("its type is {kind} now"),
            Misfit::NotJson(kind) => format!("its type is {kind} now, not JSON"),
            Misfit::NoPath => "it is JSON now, and has no path to the address".to_owned(),
            Misfit::NotText(kind) => format!("its type is {kind} now, not a text"),
        })
    }

    /// A replacement for a missing column: the only suitable column that is not observed yet.
    fn instead(&self, text: &str) -> Option<String> {
        let selector = Selector::parse(text).ok()?;
        if self.column(&selector.column).is_some() {
            return None;
        }
        let used: Vec<String> =
            self.selectors.iter().filter_map(|text| Selector::parse(text).ok()).map(|used| used.column).collect();
        let fits = |column: &&Column| {
            let renamed = Selector { column: column.name.clone(), ..selector.clone() };
            let certain = [pg_sys::INETOID, pg_sys::CIDROID, pg_sys::INETARRAYOID, pg_sys::CIDRARRAYOID];
            (!selector.path.is_empty() || certain.contains(&column.kind))
                && !used.contains(&column.name)
                && !column.is_virtual
                && column.misfit(&renamed).is_none()
        };
        let mut fitting = self.columns.iter().filter(fits);
        let (Some(column), None) = (fitting.next(), fitting.next()) else { return None };
        Some(Selector { column: column.name.clone(), ..selector }.to_string())
    }

    /// Why the condition cannot be read any more; `None`: it can.
    fn unfit(&self) -> Option<String> {
        let Ok(condition) = Condition::parse(self.only_where.as_deref()?) else {
            return Some("it is no condition".to_owned());
        };
        condition.0.iter().find_map(|test| {
            let name = &test.value.column;
            let Some(column) = self.column(name) else { return Some(format!("there is no column {name}")) };
            if column.is_virtual {
                return Some(format!("column {name} is a virtual generated one"));
            }
            // SAFETY: the descriptor was just made.
            match unsafe { Only::new(&Condition(vec![test.clone()]), column.desc()) } {
                Ok(_) => None,
                // A label of an enum was renamed.
                Err(Unfit::NeverEqual(_, kind, literal)) => Some(format!("no value of type {kind} is \"{literal}\"")),
                Err(Unfit::Value(_)) => Some(format!("column {name} has another type now")),
            }
        })
    }

    /// Whether the sensor cannot be read any more.
    fn lacks_sensor(&self) -> bool {
        self.sensor.as_deref().is_some_and(|text| {
            let selector = Sensor::selector(text);
            let column = selector.as_ref().and_then(|selector| self.column(&selector.column));
            selector.zip(column).is_none_or(|(selector, column)| {
                // SAFETY: the descriptor was just made.
                column.is_virtual || unsafe { Sensor::new(&selector, column.desc()) }.is_err()
            })
        })
    }

    fn finding(&self, schema: &Schema) -> Option<Finding> {
        let Mended { told, call, is_any_left } = self.mended(schema);
        if told.is_empty() {
            return None;
        }
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        let names = enrich::text::clean(&names.join(", "), 500).into_owned();
        let others = if is_any_left { "name other columns" } else { "name the column that holds the addresses now" };
        let remedy = format!("{call}  -- or {others}; the table has {names}");
        let detail = format!(
            "Columns by which {} is observed are missing or changed type, and are skipped: {}.",
            self.name,
            told.join("; ")
        );
        // A column's name may contain any character.
        let detail = enrich::text::clean(&detail, 4000).into_owned();
        Some(Finding::new("columns", "error", detail, Some(remedy)))
    }

    /// A generated column that the trigger cannot read of some rows: attaching refuses it, and a partition came later.
    fn unread(&self, schema: &Schema) -> Option<Finding> {
        let is_by_trigger = matches!(&self.method[..], "trigger" | "");
        if !is_by_trigger || !self.columns.iter().any(|column| column.is_stored) {
            return None;
        }
        let (only_where, sensor) = (self.only_where.as_deref(), self.sensor.as_deref());
        let columns = generated::columns_read(&self.selectors, self.observed_at.as_ref(), only_where, sensor);
        let Unread { column, partition } = generated::unread(&Sql::as_caller(), self.table, &columns)?;
        let detail = format!(
            "Rows that are routed to {partition} are shown to the trigger of {} before its generated column {column} is computed: they are observed without it.",
            self.name
        );
        let by_index = Source { method: "index".to_owned(), ..self.clone() };
        let remedy = by_index.mended(schema).call;
        Some(Finding::new("columns", "error", enrich::text::clean(&detail, 4000).into_owned(), Some(remedy)))
    }

    /// How it can be observed with the columns that it has.
    fn mended(&self, schema: &Schema) -> Mended {
        let mut told: Vec<String> = Vec::new();
        let mut selectors: Vec<String> = Vec::new();
        for text in &self.selectors {
            match self.trouble(text) {
                None => selectors.push(text.clone()),
                Some(why) => {
                    told.push(format!("{text}: {why}"));
                    selectors.extend(self.instead(text));
                }
            }
        }
        let mut observed_at = self.observed_at.clone();
        if let Some(time) = self.observed_at.as_ref()
            && !self.column(&time.column).is_some_and(|column| column.is_moment(time))
        {
            let name = time.written();
            told.push(match &time.zone {
                _ if self.column(&time.column).is_some_and(|column| column.is_virtual) => format!("{name}: {VIRTUAL}"),
                Some(zone) => {
                    format!("{name}: the table has no such column of a time without a zone, to be read in {zone}")
                }
                None => format!("{name}: the table has no such column that holds a time"),
            });
            let is_time = |column: &&Column| {
                let times = [pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPOID, pg_sys::DATEOID];
                times.contains(&column.kind) && column.is_moment(&column.as_time(None))
            };
            let mut moments = self.columns.iter().filter(is_time);
            observed_at = match (moments.next(), moments.next(), self.column(&time.column)) {
                (Some(only), None, None) => {
                    let zoned = only.as_time(time.zone.as_deref());
                    Some(if only.is_moment(&zoned) { zoned } else { only.as_time(None) })
                }
                _ => None,
            };
        }
        let unfit = self.unfit();
        if let (Some(why), Some(only)) = (&unfit, &self.only_where) {
            told.push(format!("only_where {only}: {why}, and no row is counted"));
        }
        let lacks_sensor = self.lacks_sensor();
        if let (true, Some(sensor)) = (lacks_sensor, &self.sensor) {
            let column = Sensor::selector(sensor).and_then(|selector| self.column(&selector.column));
            let is_virtual = column.is_some_and(|column| column.is_virtual);
            let why = if is_virtual { VIRTUAL } else { "the table has no such column" };
            told.push(format!("sensor {sensor}: {why}, and rows count for no sensor"));
        }
        let table = quote_literal(&self.name);
        let is_any_left = !selectors.is_empty();
        let call = if selectors.is_empty() {
            select(schema, "detach_ip_source", &table)
        } else {
            let list: Vec<String> = selectors.iter().map(|text| quote_literal(text)).collect();
            let written = |time: &EventTime| quote_literal(&time.to_string());
            let method = match &self.method[..] {
                "trigger" | "" => String::new(),
                other => format!(", {}", quote_literal(other)),
            };
            let at = observed_at.as_ref().map_or_else(|| "NULL".to_owned(), written);
            // One that cannot be read stays in the call, which refuses it: without it all rows would count.
            let only = self
                .only_where
                .as_deref()
                .map(|only| format!(", only_where => {}", quote_literal(only)))
                .unwrap_or_default();
            let sensor = self.sensor.as_deref().filter(|_| !lacks_sensor);
            let sensor = sensor.map(|text| format!(", sensor => {}", quote_literal(text))).unwrap_or_default();
            let arguments = format!("{table}, ARRAY[{}], {at}{method}{only}{sensor}", list.join(", "));
            select(schema, "attach_ip_source", &arguments)
        };
        Mended { told, call, is_any_left }
    }
}
