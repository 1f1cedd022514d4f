//! Whether a table can be attached as `attach_ip_source` is asked to: of its kind, with columns that can be read. What
//! cannot is refused, with the reason.
#![allow(unsafe_code, reason = "reads the descriptor of the table")]

use enrich::condition::Condition;
use enrich::selector::{EventTime, Selector, mistake};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::arguments::{self, Arguments};
use super::extract::{Extractor, Misfit, column};
use super::family;
use super::generated;
use super::install;
use super::install::TRIGGER;
use super::moment::{Moment, NoMoment};
use super::only::{Only, Unfit};
use super::scalar::NoScalar;
use super::sensor::Sensor;
use crate::pg::catalog;
use crate::pg::catalog::{Schema, plain_name, quote_identifier, relation_name};
use crate::pg::errors::{bad_value, raise};
use crate::pg::inherits;
use crate::pg::shape;

/// Refuses what is no table that rows are inserted into.
pub fn check_table(table: pg_sys::Oid) {
    let wrong = |what: &str, hint: &str| {
        raise(
            PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            format!("\"{}\" cannot be attached", plain_name(table)),
            what,
            hint,
        )
    };
    if catalog::schema_of(table) == pg_sys::Oid::from(pg_sys::PG_CATALOG_NAMESPACE) {
        wrong("It is a system catalog.", "Attach the table that your events are inserted into.");
    }
    let of = catalog::extension_of(pg_sys::RelationRelationId, table);
    if of.is_some() && of == catalog::extension() {
        wrong("It is one of asn_inventory's own tables.", "Attach the table that your events are inserted into.");
    }
    match inherits::kind(table) {
        pg_sys::RELKIND_RELATION | pg_sys::RELKIND_PARTITIONED_TABLE => {}
        pg_sys::RELKIND_VIEW | pg_sys::RELKIND_MATVIEW => {
            wrong("It is a view.", "Attach the table that its rows are inserted into.")
        }
        pg_sys::RELKIND_FOREIGN_TABLE => {
            wrong("It is a foreign table, which cannot have transition tables.", "Attach the table on its own server.")
        }
        _ => wrong("It is not a table.", "Attach a table."),
    }
}

/// Refuses columns that cannot be read. Returns where the time stands.
pub fn check_columns(table: pg_sys::Oid, arguments: &Arguments) -> Option<EventTime> {
    // SAFETY: the relation is open for as long as its descriptor is read.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let time = check_arguments(table, (*relation).rd_att, arguments);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        time
    }
}

/// The same for columns of a table that an index has.
///
/// # Safety
/// `desc` must be a valid descriptor.
pub unsafe fn check_arguments(table: pg_sys::Oid, desc: pg_sys::TupleDesc, arguments: &Arguments) -> Option<EventTime> {
    // SAFETY: see above.
    unsafe {
        arguments.selectors.iter().for_each(|text| check_selector(table, desc, text));
        let time =
            arguments.observed_at.as_deref().map(|text| EventTime::parse(text, |name| column(desc, name).is_some()));
        if let Some(time) = &time
            && let Err(why) = Moment::new(desc, time)
        {
            no_moment(table, time, why);
        }
        if let Some(text) = &arguments.only_where {
            check_condition(table, desc, text);
        }
        if let Some(text) = &arguments.sensor {
            check_sensor(table, desc, text);
        }
        check_stored(table, desc, arguments, time.as_ref());
        time
    }
}

/// Refuses virtual generated columns, whose values nobody sees who is handed a new row.
///
/// # Safety
/// `desc` must be the descriptor of `table`, or of an index of it.
unsafe fn check_stored(table: pg_sys::Oid, desc: pg_sys::TupleDesc, arguments: &Arguments, time: Option<&EventTime>) {
    for name in generated::columns_of(arguments, time) {
        // SAFETY: see above.
        if column(desc, &name).is_some_and(|attribute| unsafe { shape::is_virtual(desc, attribute) }) {
            raise(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                format!("column \"{name}\" of \"{}\" cannot be observed: it is virtual", plain_name(table)),
                "A virtual generated column is computed when it is read, and a new row does not hold it.",
                "Make it STORED, or name what it is computed from: a path into JSON reads payload->>src_ip.",
            );
        }
    }
}

fn no_moment(table: pg_sys::Oid, time: &EventTime, why: NoMoment) -> ! {
    const TIMES: &str = "observed_at is a column of type timestamptz, timestamp, date, text, integer, bigint, numeric, real or double precision, or a path into JSON: 'payload->>timestamp'. Times without a zone may have it behind them: 'at@Europe/Berlin'.";
    let name = time.written();
    let mismatch = |reason: &str| {
        raise(
            PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
            format!("column \"{name}\" of \"{}\" cannot be used as observed_at", plain_name(table)),
            reason,
            TIMES,
        )
    };
    match why {
        NoMoment::NoColumn => no_column(table, &time.column, Part::Include),
        NoMoment::WrongType => mismatch("It holds no time."),
        NoMoment::HasZone => mismatch("Its values need no time zone."),
        NoMoment::NoPath => mismatch("It is JSON, and the path to the time is missing."),
        NoMoment::BadPath => mismatch("It is no path to one value in a JSON column."),
        NoMoment::NoZone => bad_value(
            format!("time zone \"{}\" not recognized", time.zone.as_deref().unwrap_or_default()),
            "observed_at ends in @ and a time zone. A key with an @ in it stands in quotes: payload->>'a@b'.",
            "SELECT name FROM pg_timezone_names lists them.",
        ),
    }
}

/// # Safety
/// `desc` must be the descriptor of `table`.
unsafe fn check_condition(table: pg_sys::Oid, desc: pg_sys::TupleDesc, text: &str) {
    const FORM: &str = "It reads: payload->>eventid = cowrie.login.failed and kind not in (a, 'b c').";
    let condition = match Condition::parse(text) {
        Ok(condition) => condition,
        Err(error) => bad_value("only_where is no condition", &format!("In only_where {error}."), FORM),
    };
    let mismatch = |name: &str, detail: &str| {
        raise(
            PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
            format!("column \"{name}\" of \"{}\" cannot be compared in only_where", plain_name(table)),
            detail,
            "A compared value is text, varchar, char, citext, name, boolean, smallint, integer, bigint, uuid, inet or an enum, or a path into JSON.",
        )
    };
    // SAFETY: the caller's descriptor.
    match unsafe { Only::new(&condition, desc) } {
        Ok(_) => {}
        Err(Unfit::Value(NoScalar::NoColumn(name))) => no_column(table, &name, Part::Include),
        Err(Unfit::Value(NoScalar::WrongType(name, kind))) => mismatch(&name, &format!("Its type is {kind}.")),
        Err(Unfit::Value(NoScalar::NoPath(name))) => {
            mismatch(&name, "It is JSON, and the path to the value is missing.")
        }
        Err(Unfit::NeverEqual(name, kind, literal)) => {
            mismatch(&name, &format!("No value of type {kind} is \"{literal}\"."));
        }
    }
}

/// # Safety
/// `desc` must be the descriptor of `table`.
unsafe fn check_sensor(table: pg_sys::Oid, desc: pg_sys::TupleDesc, text: &str) {
    const FORM: &str = "A sensor is a column of type text, varchar, char, citext, name, boolean, smallint, integer, bigint, uuid, inet or an enum, or a path into JSON: payload->>sensor.";
    let Some(selector) = Sensor::selector(text) else {
        let hint = mistake(text).unwrap_or(FORM);
        bad_value(format!("\"{text}\" is no sensor"), "It is no column and no path to one value in JSON.", hint);
    };
    let mismatch = |name: &str, detail: &str| {
        raise(
            PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
            format!("column \"{name}\" of \"{}\" cannot be used as sensor", plain_name(table)),
            detail,
            FORM,
        )
    };
    // SAFETY: the caller's descriptor.
    match unsafe { Sensor::new(&selector, desc) } {
        Ok(_) => {}
        Err(NoScalar::NoColumn(name)) => no_column(table, &name, Part::Include),
        Err(NoScalar::WrongType(name, kind)) => mismatch(&name, &format!("Its type is {kind}.")),
        Err(NoScalar::NoPath(name)) => mismatch(&name, "It is JSON, and the path to the sensor is missing."),
    }
}

/// # Safety
/// `desc` must be the descriptor of `table`.
unsafe fn check_selector(table: pg_sys::Oid, desc: pg_sys::TupleDesc, text: &str) {
    const TYPES: &str = "An address column is inet, cidr, text, varchar, citext, or an array of one of them; a JSON column takes a path: payload->>src_ip. Write list(…) for a list in one text and text(…) for free text.";
    if text.starts_with(arguments::CONDITION) {
        bad_value(
            format!("\"{text}\" begins like a condition"),
            "A condition is given as only_where.",
            "A column of that name stands in double quotes: \"where x\".",
        );
    }
    if text.starts_with(arguments::SENSOR) {
        bad_value(
            format!("\"{text}\" begins like a sensor"),
            "A sensor is given as sensor.",
            "A column of that name stands in double quotes: \"sensor: x\".",
        );
    }
    let selector = match Selector::parse(text) {
        Ok(selector) => selector,
        Err(error) => bad_value(error.to_string(), "", mistake(text).unwrap_or(TYPES)),
    };
    let mismatch = |detail: String| {
        raise(
            PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
            format!("column \"{}\" of \"{}\" holds no addresses", selector.column, plain_name(table)),
            &detail,
            TYPES,
        )
    };
    // SAFETY: the caller's descriptor.
    match unsafe { Extractor::new(&selector, desc) } {
        Ok(_) => {}
        Err(Misfit::NoColumn) => no_column(table, &selector.column, Part::Key),
        Err(Misfit::WrongType(name)) => mismatch(format!("Its type is {name}.")),
        Err(Misfit::NotText(name)) => mismatch(format!("list(…) and text(…) read text, and its type is {name}.")),
        Err(Misfit::NotJson(name)) => mismatch(format!("It has a path, but its type is {name}, not json or jsonb.")),
        Err(Misfit::NoPath) => mismatch("It is JSON, and no path says where in it.".to_owned()),
    }
}

/// Where a column stands in an index that reads it.
enum Part {
    Key,
    Include,
}

/// Refuses a column that is not there: in the table, or, where this has it, in an index of it.
fn no_column(table: pg_sys::Oid, name: &str, part: Part) -> ! {
    if catalog::has_column(table, name) {
        let column = quote_identifier(name);
        let hint = match part {
            Part::Key => format!("Put it into the key: USING ip_observer (\u{2026}, {column})."),
            Part::Include => format!("Put it into the index: INCLUDE ({column})."),
        };
        raise(
            PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
            format!("column \"{name}\" of \"{}\" is not in the index", plain_name(table)),
            "The table has it, and the index is handed no other columns than its own.",
            &hint,
        );
    }
    raise(
        PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
        format!("column \"{name}\" of relation \"{}\" does not exist", plain_name(table)),
        "",
        mistake(name).unwrap_or("Names are case-sensitive here: write them as the table has them."),
    )
}

/// Refuses a table that routes rows to a foreign one: PostgreSQL would refuse those rows.
pub fn check_routes(table: pg_sys::Oid, members: &[pg_sys::Oid]) {
    if let Some(foreign) = family::foreign_partitions(members).first() {
        raise(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            format!("\"{}\" cannot be attached: it has a foreign partition", plain_name(table)),
            &format!(
                "PostgreSQL refuses rows that are routed to \"{}\" while a trigger of the table reads the new rows.",
                plain_name(*foreign)
            ),
            "Attach it with method => 'row'. Or attach the local partitions one by one, and insert into them by name: rows that come through the partitioned table are not observed then.",
        );
    }
}

/// Refuses if another trigger has the name of ours.
pub fn check_names(schema: &Schema, members: &[pg_sys::Oid]) {
    let foreign = |member: &&pg_sys::Oid| install::find(**member).is_some_and(|found| !found.is_ours(schema));
    if let Some(member) = members.iter().find(foreign) {
        raise(
            PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
            format!("trigger \"{TRIGGER}\" for table \"{}\" already exists", plain_name(*member)),
            "It does not belong to asn_inventory, which needs this name.",
            &format!(
                "Give it another name: ALTER TRIGGER {TRIGGER} ON {} RENAME TO \u{2026}",
                relation_name(*member).unwrap_or_default()
            ),
        );
    }
}
