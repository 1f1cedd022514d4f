//! The worker's data of GreyNoise: verdicts, the ledger of its quota.

use std::net::IpAddr;

use enrich::greynoise::Verdict;
use enrich::quota::Ledger;
use enrich::quota::shared::{Account, Kept, Writer};
use serde_json::{Value, json};

use crate::pg::argument;
use crate::pg::catalog::{Schema, database_identity};
use crate::pg::sql::Sql;
use crate::pg::time;

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
        &[argument::json(&Value::Array(rows)), argument::addresses(&ips)],
    )
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
        &[argument::addresses(ips), argument::moment(until)],
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
        &[argument::addresses(ips)],
    );
}

/// The ledger as it was last written down, whose it is, and who wrote it. Until ALTER EXTENSION, a table of 0.2.0 says neither.
pub fn ledger(schema: &Schema) -> Option<Kept> {
    let more = if says_whose(schema) { "account, spent_by" } else { "NULL::text, NULL::text" };
    let sql = Sql::on(schema, c"source_quota");
    let found = sql.query(
        &format!(
            "SELECT window_start, used, closed_until, {more} FROM {}.source_quota WHERE source = 'greynoise'",
            schema.name
        ),
        &[],
    );
    if found.len() == 0 {
        return None;
    }
    let moment = |column| found.moment(0, column).map(time::to_unix_us);
    let ledger = Ledger {
        window_start: moment(1).unwrap_or_default(),
        used: found.get::<i64>(0, 2).unwrap_or(0).max(0) as u64,
        closed_until: moment(3),
    };
    let account = found.text(0, 4).and_then(|text| Account::parse(&text));
    let writer = found.text(0, 5).map_or(Writer::Unknown, |text| writer(&text, &database_identity()));
    Some(Kept { account, ledger, writer })
}

/// By what [`database_identity`] said when the row was written, and says now: `server/database`.
fn writer(then: &str, now: &str) -> Writer {
    if then == now {
        return Writer::Own;
    }
    match (then.rsplit_once('/'), now.rsplit_once('/')) {
        (Some((server, database)), Some((here, _))) if server == here => {
            database.parse().map_or(Writer::Unknown, Writer::Other)
        }
        _ => Writer::Unknown,
    }
}

fn says_whose(schema: &Schema) -> bool {
    schema.has_column(c"source_quota", c"account") && schema.has_column(c"source_quota", c"spent_by")
}

/// Writes the ledger of an account down. The spending is final, even if the server dies right after: this transaction's
/// commit reaches the disk.
pub fn keep_ledger(schema: &Schema, account: &Account, ledger: &Ledger) {
    crate::pg::tx::set_local(c"synchronous_commit", c"on");
    let moment = |us: Option<i64>| argument::maybe_moment(us.map(time::from_unix_us));
    let [column, value, set] = match says_whose(schema) {
        true => [", account, spent_by", ", $4, $5", ", account = EXCLUDED.account, spent_by = EXCLUDED.spent_by"],
        false => [""; 3],
    };
    let mut arguments =
        vec![moment(Some(ledger.window_start)), argument::bigint(ledger.used as i64), moment(ledger.closed_until)];
    if !column.is_empty() {
        arguments.push(argument::text(account.as_str()));
        arguments.push(argument::text(&database_identity()));
    }
    Sql::on(schema, c"source_quota").run(
        &format!(
            "INSERT INTO {}.source_quota AS q (source, window_start, used, closed_until{column})
             VALUES ('greynoise', $1, $2, $3{value})
             ON CONFLICT (source) DO UPDATE SET window_start = EXCLUDED.window_start, used = EXCLUDED.used,
                 closed_until = EXCLUDED.closed_until{set}",
            schema.name
        ),
        &arguments,
    );
}
