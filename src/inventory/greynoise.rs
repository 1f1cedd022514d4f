//! What the worker reads and writes for GreyNoise: who is due, verdicts, the ledger of its quota.

use std::net::IpAddr;

use enrich::campaign::claim::Target;
use enrich::greynoise::Verdict;
use enrich::quota::Ledger;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use serde_json::{Value, json};

use super::cymru::{Which, bigint, claims};
use super::store::Lifetimes;
use crate::pg::catalog::Schema;
use crate::pg::sql::Sql;
use crate::pg::time;

/// A row that GreyNoise may be asked about at all. It does not depend on what the other sources say.
const OPEN: &str = "i.greynoise_status <> 'skipped' AND i.ip_class = 'public' AND i.maxmind_status <> 'pending'";
const MISSING: &str = "i.greynoise_status IN ('pending', 'failed', 'quota')";
const OLD: &str = "(i.scanner_ts < now() - $1 AND i.greynoise_status IN ('found', 'not_found'))";
/// Not to be left alone because of a failure, or of the quota.
const NOW: &str = "(i.greynoise_retry_at IS NULL OR i.greynoise_retry_at <= now())";

/// At most `limit` rows to ask about.
pub fn claim(schema: &Schema, which: Which<'_>, lifetimes: &Lifetimes, limit: usize) -> Vec<Target> {
    let condition = match which {
        Which::Due => format!("{MISSING} AND {NOW} AND $1 IS NOT NULL"),
        Which::Stale => format!("{OLD} AND {NOW}"),
        Which::Outdated => format!("({MISSING} OR {OLD})"),
        Which::DueOf(_) => format!("i.ip_address = ANY ($2) AND ({MISSING} OR {OLD}) AND {NOW}"),
        Which::OutdatedOf(_) => format!("i.ip_address = ANY ($2) AND ({MISSING} OR {OLD})"),
        Which::All(_) => "i.ip_address = ANY ($2) AND $1 IS NOT NULL".to_owned(),
    };
    let mut arguments = vec![super::store::interval(lifetimes.greynoise)];
    if let Which::DueOf(ips) | Which::OutdatedOf(ips) | Which::All(ips) = which {
        arguments.push(super::store::addresses(ips));
    }
    claims(schema, &format!("{condition} AND {OPEN}"), &arguments, limit)
}

/// Writes verdicts. Returns how many rows were written.
pub fn write(schema: &Schema, rows: &[(IpAddr, Verdict)]) -> u64 {
    let ips: Vec<IpAddr> = rows.iter().map(|(ip, _)| *ip).collect();
    let rows: Vec<Value> = rows
        .iter()
        .map(|(ip, verdict)| match verdict {
            Verdict::NotSeen => json!({ "ip": ip.to_string(), "status": "not_found", "noise": false, "riot": false }),
            Verdict::Seen(s) => json!({
                "ip": ip.to_string(), "status": "found", "noise": s.noise, "riot": s.riot, "class": s.classification,
                "name": s.name, "last_seen_us": s.last_seen,
            }),
        })
        .collect();
    Sql::on(schema, c"ip_inventory").run(
        &format!(
            "UPDATE {0}.ip_inventory i SET
                 scanner_noise = r.noise, scanner_riot = r.riot, scanner_classification = r.class, scanner_name = r.name,
                 scanner_last_seen = to_timestamp(0) + r.last_seen_us * interval '1 microsecond', scanner_ts = now(),
                 greynoise_status = r.status, greynoise_attempts = 0, greynoise_retry_at = NULL, greynoise_detail = NULL
             FROM pg_catalog.json_to_recordset($1::json)
                 AS r(ip inet, status text, noise boolean, riot boolean, class text, name text, last_seen_us bigint)
             WHERE i.ip_address = ANY ($2) AND i.ip_address = r.ip",
            schema.name
        ),
        &[super::store::json(&Value::Array(rows)), super::store::addresses(&ips)],
    )
}

/// Notes that addresses could not be asked about. An older verdict stays, and is tried again later.
pub fn fail(schema: &Schema, ips: &[IpAddr], reason: &str) {
    super::store::note_failure(schema, "greynoise", ips, reason);
}

/// Notes that addresses are not asked about, and why.
pub fn skip(schema: &Schema, ips: &[IpAddr], reason: &str) {
    super::store::note_skipped(schema, "greynoise", ips, reason);
}

/// Notes that the quota did not reach these addresses; they are due again when it is open (timestamptz). An older
/// verdict keeps its status.
pub fn out_of_quota(schema: &Schema, ips: &[IpAddr], until: i64) {
    Sql::on(schema, c"ip_inventory").run(
        &format!(
            "UPDATE {0}.ip_inventory i SET greynoise_retry_at = $2, greynoise_detail = 'the quota is spent',
                 greynoise_status = CASE WHEN i.greynoise_status IN ('found', 'not_found') THEN i.greynoise_status ELSE 'quota' END
             WHERE i.ip_address = ANY ($1)",
            schema.name
        ),
        &[super::store::addresses(ips), (pg_sys::TIMESTAMPTZOID, Some(Datum::from(until)))],
    );
}

/// Those of these rows that still wait for the quota are due now.
pub fn reopen(schema: &Schema, ips: &[IpAddr]) {
    Sql::on(schema, c"ip_inventory").run(
        &format!(
            "UPDATE {0}.ip_inventory i SET greynoise_retry_at = NULL, greynoise_detail = NULL,
                 greynoise_status = CASE i.greynoise_status WHEN 'quota' THEN 'pending' ELSE i.greynoise_status END
             WHERE i.ip_address = ANY ($1) AND i.greynoise_detail = 'the quota is spent'",
            schema.name
        ),
        &[super::store::addresses(ips)],
    );
}

/// The ledger as it was last written down.
pub fn ledger(schema: &Schema) -> Ledger {
    let sql = Sql::on(schema, c"source_quota");
    let found = sql.query(
        &format!(
            "SELECT window_start, used, closed_until FROM {}.source_quota WHERE source = 'greynoise'",
            schema.name
        ),
        &[],
    );
    if found.len() == 0 {
        return Ledger::default();
    }
    let moment = |column| found.datum(0, column).map(|datum| time::to_unix_us(datum.value() as i64));
    Ledger {
        window_start: moment(1).unwrap_or_default(),
        used: found.get::<i64>(0, 2).unwrap_or(0).max(0) as u64,
        closed_until: moment(3),
    }
}

/// Writes the ledger down. What it says is spent is spent, also if the server dies right after: this transaction's
/// commit reaches the disk.
pub fn keep_ledger(schema: &Schema, ledger: &Ledger) {
    crate::pg::tx::set_local(c"synchronous_commit", c"on");
    let moment = |us: Option<i64>| (pg_sys::TIMESTAMPTZOID, us.map(|us| Datum::from(time::from_unix_us(us))));
    Sql::on(schema, c"source_quota").run(
        &format!(
            "INSERT INTO {}.source_quota AS q (source, window_start, used, closed_until) VALUES ('greynoise', $1, $2, $3)
             ON CONFLICT (source) DO UPDATE SET window_start = EXCLUDED.window_start, used = EXCLUDED.used,
                 closed_until = EXCLUDED.closed_until",
            schema.name
        ),
        &[moment(Some(ledger.window_start)), bigint(Some(ledger.used as i64)), moment(ledger.closed_until)],
    );
}
