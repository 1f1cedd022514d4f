//! Jobs that ended: the rows of `enrichment_run`.

use pgrx::pg_sys;
use serde_json::Value;

use crate::pg::argument;
use crate::pg::catalog::Schema;
use crate::pg::sql::Sql;
use crate::shared::Done;

/// A job that has ended.
pub struct Ended<'a> {
    /// Its number.
    pub id: i64,
    /// Its kind.
    pub kind: &'a str,
    /// The caller's parameters.
    pub parameters: &'a Value,
    /// The role that asked.
    pub role: pg_sys::Oid,
    /// Timestamptz.
    pub started_at: i64,
    /// Timestamptz.
    pub ended_at: i64,
    /// How it ended.
    pub outcome: &'a str,
    /// Why, where it did not end well.
    pub detail: Option<&'a str>,
    /// Its result.
    pub done: Done,
}

/// Writes a job down. Those that ended before `oldest` (timestamptz) are forgotten.
pub fn record(schema: &Schema, job: &Ended<'_>, oldest: Option<i64>) {
    let mut arguments = vec![
        argument::bigint(job.id),
        argument::text(job.kind),
        argument::json(job.parameters),
        argument::oid(job.role),
        argument::moment(job.started_at),
        argument::moment(job.ended_at),
        argument::text(job.outcome),
        argument::maybe_text(job.detail),
    ];
    arguments.extend(job.done.in_order().map(|number| argument::bigint(number as i64)));
    let sql = Sql::on(schema, c"enrichment_run");
    sql.run(
        &format!(
            "INSERT INTO {}.enrichment_run (job_id, kind, parameters, requested_by, started_at, ended_at, outcome, detail,
                 processed, enriched, cache_hits, maxmind_asn, cymru_asn, greynoise_scanners, not_found, skipped, errors)
             VALUES ($1, $2, $3::jsonb, coalesce((SELECT rolname FROM pg_catalog.pg_roles WHERE oid = $4), $4::text),
                     $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
            schema.name
        ),
        &arguments,
    );
    if let Some(oldest) = oldest {
        let text = format!("DELETE FROM {}.enrichment_run WHERE ended_at < $1", schema.name);
        sql.run(&text, &[argument::moment(oldest)]);
    }
}

/// How a job ended, and why: its outcome and detail. `None` where no such job has ended.
pub fn outcome(schema: &Schema, id: i64) -> Option<(Option<String>, Option<String>)> {
    let sql = Sql::on(schema, c"enrichment_run");
    // Not under the snapshot of the statement's start: the job ended since.
    let found = sql.returning(
        &format!("SELECT outcome, detail FROM {}.enrichment_run WHERE job_id = $1", schema.name),
        &[argument::bigint(id)],
    );
    (found.len() > 0).then(|| (found.text(0, 1), found.text(0, 2)))
}

/// The highest number from `id` on of a job that has ended.
pub fn highest(schema: &Schema, id: i64) -> Option<i64> {
    let sql = Sql::on(schema, c"enrichment_run");
    sql.query(
        &format!("SELECT pg_catalog.max(job_id) FROM {}.enrichment_run WHERE job_id >= $1", schema.name),
        &[argument::bigint(id)],
    )
    .get::<i64>(0, 1)
}

/// The next number of the sequence of jobs.
pub fn next_number(schema: &Schema) -> i64 {
    number(schema, &format!("SELECT pg_catalog.nextval({})", schema.regclass("enrichment_job_id")))
}

/// Has the sequence go on behind `last`.
pub fn go_on_behind(schema: &Schema, last: i64) {
    number(schema, &format!("SELECT pg_catalog.setval({}, {last})", schema.regclass("enrichment_job_id")));
}

fn number(schema: &Schema, text: &str) -> i64 {
    let sql = Sql::on(schema, c"enrichment_job_id");
    sql.returning(text, &[]).get::<i64>(0, 1).unwrap_or(0)
}
