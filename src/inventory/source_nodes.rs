//! The rows of `ip_source` on the workers of a Citus cluster, where the shards of a distributed table are observed. Each worker
//! writes its own, by the extension's `_note_source()`: so who attaches needs no more rights there than here.

use std::collections::BTreeMap;

use pgrx::pg_sys;

use super::source::Attaching;
use crate::pg::argument;
use crate::pg::catalog::{Schema, quote_literal, relation_name};
use crate::pg::citus;
use crate::pg::citus::Where;
use crate::pg::errors::warn;
use crate::pg::session;
use crate::pg::sql::Sql;
use crate::pg::tx::Settings;

/// What writes the note on a worker.
const FUNCTION: &str = "_note_source";

/// What the workers are told of a table.
#[derive(Clone, Copy)]
enum What {
    Attached,
    Detached,
}

/// Whether a worker can be told.
enum State {
    Ready,
    /// The caller may not call the function there.
    Closed,
    /// There is no such function: the extension was not updated there.
    Old,
    /// One of that name is somebody else's.
    Foreign,
    /// It does not answer, for this reason.
    Silent(String),
}

/// Tells the workers of a cluster of a table that was attached on the coordinator, so that each counts what it observes. In
/// transactions of their own: where this one fails, such notes count nothing.
pub fn attach(schema: &Schema, table: pg_sys::Oid, how: &Attaching<'_>) {
    let Some(name) = relation_name(table) else { return };
    let columns: Vec<String> = how.columns.iter().map(|column| quote_literal(column)).collect();
    let time = how.observed_at;
    let texts = [
        time.map(|time| &*time.column),
        time.and_then(|time| time.path.as_deref()),
        time.and_then(|time| time.zone.as_deref()),
        how.only_where,
        how.sensor,
        Some(how.method),
    ];
    let command = command(schema, &name, &format!("ARRAY[{}]", columns.join(", ")), texts);
    tell(schema, &name, What::Attached, &command);
}

/// Tells them that it was detached.
pub fn detach(schema: &Schema, table: pg_sys::Oid) {
    let Some(name) = relation_name(table) else { return };
    tell(schema, &name, What::Detached, &command(schema, &name, "NULL", [None; 6]));
}

/// The call of the function. Each argument has its type, so that no other function of that name fits better.
fn command(schema: &Schema, name: &str, columns: &str, texts: [Option<&str>; 6]) -> String {
    let text = |text: Option<&str>| format!(", {}::pg_catalog.text", text.map_or("NULL".to_owned(), quote_literal));
    format!(
        "SELECT {}.{FUNCTION}({}::pg_catalog.text, {columns}::pg_catalog.text[]{})",
        schema.name,
        quote_literal(name),
        texts.map(text).concat()
    )
}

fn tell(schema: &Schema, name: &str, what: What, command: &str) {
    let states = states(schema);
    // Who made that function would have it run with the caller's rights.
    let is_safe = !states.values().any(|state| matches!(state, State::Foreign));
    let mut told = BTreeMap::new();
    if is_safe && states.values().any(|state| matches!(state, State::Ready)) {
        told.extend(citus::run_on(Where::Workers, command).into_iter().map(|reply| (reply.node, reply.result)));
    }
    let names = citus::node_names();
    for (node, state) in states {
        let failure = match told.remove(&node) {
            Some(Ok(_)) => continue,
            Some(Err(why)) => Some(why),
            // It left the cluster meanwhile.
            None if is_safe && matches!(state, State::Ready) => continue,
            None => None,
        };
        let (detail, cure) = reason(schema, &state, failure.as_deref());
        let again = match what {
            What::Attached => "attach the table again",
            What::Detached => "attach the table and detach it again",
        };
        let hint = format!("{cure}, and {again}.");
        let node = citus::node_name(&names, node);
        match what {
            What::Attached => {
                let hint = format!("The inventory counts them. {hint}");
                warn(format!("node {node} does not count the rows of {name} in its ip_source"), &detail, &hint);
            }
            What::Detached => warn(format!("node {node} still has {name} in its ip_source"), &detail, &hint),
        }
    }
}

/// Why a worker has not done it, and the beginning of a sentence that says what to do. `failure` is its answer, where it was
/// told.
fn reason(schema: &Schema, state: &State, failure: Option<&str>) -> (String, String) {
    match (state, failure) {
        (State::Closed, _) => (
            format!("The caller may not call {FUNCTION}() there."),
            format!("Run GRANT EXECUTE ON FUNCTION {}.{FUNCTION} TO {} there", schema.name, caller()),
        ),
        (State::Old, _) => (
            "The extension's objects there are older than version 0.3.0.".to_owned(),
            "Run ALTER EXTENSION asn_inventory UPDATE there".to_owned(),
        ),
        (State::Foreign, _) => (
            format!("A function {FUNCTION}() there does not belong to the extension, and no node was told."),
            "Find out who created it, drop it".to_owned(),
        ),
        (State::Silent(first), later) => {
            (later.unwrap_or(first).to_owned(), "Wait until that node can be reached".to_owned())
        }
        (State::Ready, Some(why)) => (why.to_owned(), "Remove the cause".to_owned()),
        (State::Ready, None) => (
            format!("A function {FUNCTION}() of another node does not belong to the extension, and no node was told."),
            "Find out who created it, drop it".to_owned(),
        ),
    }
}

/// The role whose rights the workers look at, as SQL writes it.
fn caller() -> String {
    let sql = Sql::as_caller();
    let text = "SELECT pg_catalog.quote_ident(pg_catalog.pg_get_userbyid($1))";
    sql.query(text, &[argument::oid(session::user())]).text(0, 1).unwrap_or_default()
}

/// Which of the workers can be told, by Citus's numbers of them.
fn states(schema: &Schema) -> BTreeMap<i32, State> {
    // In a session with the database's own search_path: see `citus::run_on`.
    let question = format!(
        "SELECT CASE WHEN pg_catalog.bool_or(NOT f.is_ours) THEN 'foreign' WHEN pg_catalog.bool_or(f.is_open) THEN 'ready'
                     WHEN pg_catalog.bool_or(f.is_ours) THEN 'closed' ELSE 'old' END
         FROM (SELECT EXISTS (SELECT FROM pg_catalog.pg_depend d
                                  JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid
                              WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid
                                  AND d.objid OPERATOR(pg_catalog.=) p.oid AND d.deptype OPERATOR(pg_catalog.=) 'e'
                                  AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass::pg_catalog.oid
                                  AND e.extname OPERATOR(pg_catalog.=) 'asn_inventory') AS is_ours,
                      pg_catalog.has_function_privilege(p.oid, 'EXECUTE'::pg_catalog.text)
                          AND pg_catalog.has_schema_privilege(n.oid, 'USAGE'::pg_catalog.text) AS is_open
               FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
               WHERE p.proname OPERATOR(pg_catalog.=) '{FUNCTION}'
                   AND (p.pronargs::int OPERATOR(pg_catalog.>=) 8 OR p.provariadic OPERATOR(pg_catalog.<>) 0::pg_catalog.oid)
                   AND pg_catalog.format('%I', n.nspname) OPERATOR(pg_catalog.=) {}) f",
        quote_literal(&schema.name)
    );
    let short = Settings::begin();
    citus::be_impatient(&short);
    let mut states = BTreeMap::new();
    for reply in citus::run_on(Where::Workers, &question) {
        let state = match reply.result.as_ref().map(Option::as_deref) {
            Ok(Some("ready")) => State::Ready,
            Ok(Some("closed")) => State::Closed,
            Ok(Some("foreign")) => State::Foreign,
            Ok(_) => State::Old,
            Err(why) => State::Silent(why.clone()),
        };
        states.insert(reply.node, state);
    }
    states
}
