//! What the nodes of a Citus cluster say of themselves, for the `cluster_…` views: all are asked at the same time, each
//! answers with its own views, and one that does not answer has a row that says why. A plain server is the only node.

use pgrx::pg_sys::Datum;

use crate::pg::argument;
use crate::pg::call;
use crate::pg::call::{Call, Rows};
use crate::pg::catalog::Schema;
use crate::pg::citus;
use crate::pg::citus::Where;
use crate::pg::errors::bad_value;
use crate::pg::sql::Sql;
use crate::sql_function;

sql_function!(
    /// `_every_node(what text) → setof (node, is_coordinator, is_here, answer, failure)`.
    every_node,
    pg_finfo_every_node,
    |call: Call| {
        let schema = Schema::of(call);
        let what = call.text(0).unwrap_or_default();
        let Some(rows) = view(&what, &schema.name) else {
            bad_value(
                format!("nodes cannot be asked for \"{what}\""),
                "They can be asked for: status, sources, progress, runs, tables, builds.",
                "Read one of the cluster_ views.",
            )
        };
        let mut found = Rows::begin(call);
        // No rows are an empty list: Citus makes an empty text of a null.
        for answer in ask(&format!("SELECT coalesce(pg_catalog.json_agg(v), '[]') FROM {rows} v")) {
            found.row(|| {
                let (rows, failure) = match answer.rows {
                    Ok(rows) => (rows.as_deref().and_then(call::jsonb), None),
                    Err(why) => (None, Some(call::text(&why))),
                };
                vec![
                    Some(call::text(&answer.node)),
                    Some(Datum::from(answer.is_coordinator)),
                    Some(Datum::from(answer.is_here)),
                    rows,
                    failure,
                ]
            });
        }
        call.null()
    }
);

/// What is read on each node, with the caller's rights there.
fn view(what: &str, schema: &str) -> Option<String> {
    Some(match what {
        "status" => format!("{schema}.enrichment_status"),
        "sources" => format!("{schema}.source_status"),
        "progress" => format!("{schema}.enrichment_progress"),
        "runs" => format!("(SELECT * FROM {schema}.enrichment_run ORDER BY job_id DESC LIMIT 100)"),
        // By its name: a distributed table has another number on each node. That of a table that is gone is the one that
        // it had.
        "tables" => format!(
            "(SELECT CASE WHEN c.oid IS NULL THEN s.attached_as ELSE pg_catalog.format('%I.%I', n.nspname, c.relname) END AS name, s.ip_columns,
                  s.observations, s.unparsable, s.unobserved, s.rows_seen, s.last_observed_at
              FROM {schema}.ip_source s LEFT JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) s.tbl::pg_catalog.oid
                  LEFT JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace)"
        ),
        // For purge_expired_maxmind(): the oldest of MaxMind's builds, of whatever is there without one, and whether what is
        // there was walked.
        "builds" => format!(
            "(SELECT f.oldest, EXISTS (SELECT FROM {schema}.maxmind_walk w
                                       WHERE f.installed OPERATOR(pg_catalog.<@) w.generations) AS is_walked
              FROM (SELECT coalesce(pg_catalog.min(m.build_time) FILTER (WHERE m.is_maxminds), pg_catalog.min(m.build_time)) AS oldest,
                           coalesce(pg_catalog.array_agg(m.generation) FILTER (WHERE m.is_maxminds), pg_catalog.array_agg(m.generation)) AS installed
                    FROM (SELECT g.build_time, g.generation, g.database_type OPERATOR(pg_catalog.~*) '^(geolite2|geoip2?)-' AS is_maxminds
                          FROM {schema}._mmdb_files() g WHERE g.generation IS NOT NULL) m) f)"
        ),
        _ => return None,
    })
}

/// What one node says.
struct Answer {
    node: String,
    is_coordinator: bool,
    is_here: bool,
    /// A JSON array; an error is its message.
    rows: Result<Option<String>, String>,
}

/// Asks all nodes, each in a transaction of its own. In the order of their names, the coordinator first.
fn ask(query: &str) -> Vec<Answer> {
    if !citus::is_here() {
        let sql = Sql::as_caller();
        // As a text: a json value is one in memory.
        let rows = sql.returning(&format!("SELECT ({query})::text"), &[]).text(0, 1);
        return vec![Answer { node: "local".to_owned(), is_coordinator: true, is_here: true, rows: Ok(rows) }];
    }
    let mut answers: Vec<Answer> = citus::run_on(Where::Everywhere, query)
        .into_iter()
        .map(|reply| {
            let (node, is_coordinator, is_here) = name(reply.node);
            Answer { node, is_coordinator, is_here, rows: reply.result }
        })
        .collect();
    answers.sort_by(|a, b| (!a.is_coordinator, &a.node).cmp(&(!b.is_coordinator, &b.node)));
    answers
}

/// The name of a node by Citus's number of it, whether it is the coordinator, and whether it is this one. Citus gives a
/// coordinator that it was not told of the number 0.
fn name(number: i32) -> (String, bool, bool) {
    let sql = Sql::as_caller();
    let found = sql.query(
        "SELECT d.nodename || ':' || d.nodeport, d.groupid = 0, d.groupid = l.groupid
         FROM pg_catalog.pg_dist_node d, pg_catalog.pg_dist_local_group l WHERE d.nodeid = $1",
        &[argument::bigint(i64::from(number))],
    );
    if found.len() == 0 {
        return ("local".to_owned(), citus::is_coordinator(), true);
    }
    (found.text(0, 1).unwrap_or_default(), found.get(0, 2) == Some(true), found.get(0, 3) == Some(true))
}
