//! Generated columns that a trigger cannot read everywhere. Rows that are routed to a partition whose columns stand in other places than
//! those of the table above are kept for its trigger as they were before they were routed, when PostgreSQL had not computed them yet.

use enrich::condition::Condition;
use enrich::selector::{EventTime, Selector};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::arguments::Arguments;
use super::sensor::Sensor;
use crate::pg::argument;
use crate::pg::catalog::plain_name;
use crate::pg::errors::raise;
use crate::pg::sql::Sql;

/// The columns that a table is observed by: those of addresses, of the time, of the condition and of the sensor.
pub fn columns_read(
    selectors: &[String],
    time: Option<&EventTime>,
    only_where: Option<&str>,
    sensor: Option<&str>,
) -> Vec<String> {
    let condition = only_where.and_then(|text| Condition::parse(text).ok());
    let selectors = selectors.iter().filter_map(|text| Some(Selector::parse(text).ok()?.column));
    selectors
        .chain(time.map(|time| time.column.clone()))
        .chain(condition.into_iter().flat_map(|condition| condition.0).map(|test| test.value.column))
        .chain(sensor.and_then(|text| Some(Sensor::selector(text)?.column)))
        .collect()
}

/// The same of a trigger's arguments, `time` where the time stands.
pub(super) fn columns_of(arguments: &Arguments, time: Option<&EventTime>) -> Vec<String> {
    columns_read(&arguments.selectors, time, arguments.only_where.as_deref(), arguments.sensor.as_deref())
}

/// A generated column that is read, and a partition for whose rows it is null.
pub struct Unread {
    /// The column.
    pub column: String,
    /// The partition's name, as it is written in SQL.
    pub partition: String,
}

/// The first such among these columns of a table that has a trigger.
pub fn unread(sql: &Sql, table: pg_sys::Oid, columns: &[String]) -> Option<Unread> {
    // Its columns in their places: as PostgreSQL compares them.
    let layout = |table: &str| {
        format!(
            "(SELECT pg_catalog.string_agg(CASE WHEN a.attisdropped THEN a.attlen::pg_catalog.text || a.attalign::pg_catalog.text
                                                ELSE pg_catalog.quote_ident(a.attname) END, ',' ORDER BY a.attnum)
              FROM pg_catalog.pg_attribute a WHERE a.attrelid = {table} AND a.attnum > 0)"
        )
    };
    let found = sql.query(
        &format!(
            "SELECT g.attname::pg_catalog.text, l.relid::pg_catalog.text
             FROM pg_catalog.pg_attribute g CROSS JOIN pg_catalog.pg_partition_tree($1::pg_catalog.oid::pg_catalog.regclass) l
             WHERE g.attrelid = $1 AND g.attgenerated = 's' AND NOT g.attisdropped AND g.attname::pg_catalog.text = ANY ($2) AND l.isleaf
               AND EXISTS (SELECT FROM pg_catalog.pg_partition_tree($1::pg_catalog.oid::pg_catalog.regclass) u
                           JOIN pg_catalog.pg_partition_ancestors(l.relid) above ON above.relid = u.relid
                           WHERE u.relid <> l.relid AND {} IS DISTINCT FROM {})
             ORDER BY g.attnum, l.relid::pg_catalog.oid LIMIT 1",
            layout("u.relid"),
            layout("l.relid")
        ),
        &[argument::oid(table), argument::texts(columns)],
    );
    let name = |column| (found.len() > 0).then(|| found.text(0, column)).flatten();
    Some(Unread { column: name(1)?, partition: name(2)? })
}

/// Refuses to observe a table by a trigger that would not read one of these columns.
pub fn check(sql: &Sql, table: pg_sys::Oid, columns: &[String]) {
    if let Some(Unread { column, partition }) = unread(sql, table, columns) {
        raise(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            format!("generated column \"{column}\" of \"{}\" cannot be observed by a trigger", plain_name(table)),
            &format!(
                "The columns of {partition} stand in other places, and rows that are routed there are shown to triggers before it is computed."
            ),
            "Attach the table with method => 'index'.",
        );
    }
}
