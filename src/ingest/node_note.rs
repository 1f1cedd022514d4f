//! `_note_source`: what the coordinator of a Citus cluster has its workers note of a distributed table that is attached or
//! detached there. It does there what `attach_ip_source` and `detach_ip_source` do with the note here: the caller must own the
//! table, and the note is written as the extension's owner.
//!
//! It opens no user's table: the transaction that attaches holds locks on this node's part of it, and waits for this call.

use enrich::selector::EventTime;
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::before::Before;
use super::method::Method;
use super::owner::check_owner;
use crate::inventory::source::Attaching;
use crate::inventory::{places, source, source_part};
use crate::pg::argument;
use crate::pg::call::Call;
use crate::pg::catalog::{Schema, plain_name, relation_name};
use crate::pg::citus;
use crate::pg::citus::Kept;
use crate::pg::errors::{not_ready, raise, refuse_read_only};
use crate::pg::inherits;
use crate::pg::session;
use crate::pg::sql::Sql;
use crate::pg::tx::Settings;
use crate::sql_function;

sql_function!(
    /// `_note_source(tbl text, ip_columns text[], observed_at text, observed_path text, observed_zone text, only_where text,
    /// sensor text, method text)`: the columns of `ip_source`, and the table's qualified name. Without `ip_columns` it was
    /// detached.
    note_source,
    pg_finfo_note_source,
    |call: Call| {
        refuse_read_only(c"_note_source()");
        let schema = Schema::of(call);
        let table = find(&call.text(0).unwrap_or_default());
        match call.texts(1) {
            Some(columns) => attached(&schema, table, &columns.into_iter().flatten().collect::<Vec<_>>(), call),
            None => detached(&schema, table),
        }
        call.null()
    }
);

/// The distributed table of that name, which the caller owns.
fn find(name: &str) -> pg_sys::Oid {
    let sql = Sql::as_caller();
    let text = "SELECT pg_catalog.to_regclass($1)::oid";
    let Some(table) = sql.query(text, &[argument::text(name)]).get::<pg_sys::Oid>(0, 1) else {
        raise(PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"), "", "")
    };
    check_owner(table, "The note on a table is its owner's.");
    if citus::kept(table) != Some(Kept::Distributed) || citus::is_coordinator() {
        not_ready(
            format!("table \"{}\" cannot be noted here", plain_name(table)),
            "_note_source() is for distributed tables, on the workers of a Citus cluster.",
            "Call attach_ip_source() on the coordinator, which calls it on the workers.",
        );
    }
    table
}

fn attached(schema: &Schema, table: pg_sys::Oid, columns: &[String], call: Call) {
    let time = call.text(2).map(|column| EventTime { column, path: call.text(3), zone: call.text(4) });
    let (only_where, sensor) = (call.text(5), call.text(6));
    let method = Method::parse(call.text(7).as_deref().unwrap_or("trigger"));
    // That of the coordinator would say nothing here.
    let before = Before::now(session::command()).to_string();
    let name = relation_name(table);
    let how = Attaching {
        columns,
        observed_at: time.as_ref(),
        only_where: only_where.as_deref(),
        sensor: sensor.as_deref(),
        snapshot: &before,
        name: name.as_deref(),
        // Other nodes may have rows.
        is_empty: false,
        method: method.as_str(),
    };
    let _quiet = Settings::without_triggers();
    let own = source::own(schema, table, &inherits::below(table));
    if source::attach(schema, table, &how) {
        places::retire_own(schema, table);
        source_part::forget_parts(schema, &own);
    }
}

fn detached(schema: &Schema, table: pg_sys::Oid) {
    let _quiet = Settings::without_triggers();
    let own = source::own(schema, table, &inherits::below(table));
    source::detach(schema, table);
    // What it has added here stays: attached again, it is another place. Where the nodes share the places, the coordinator
    // says it for all. A node that was added later has places without a note.
    places::retire_own(schema, table);
    source_part::forget_parts(schema, &own);
}
