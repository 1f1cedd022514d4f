//! The worker's data of Team Cymru: answers by network, answers by address.
//!
//! Batches go in as one JSON text: answers are few next to observations, and a row is read back by its fields' names.

use std::collections::HashMap;
use std::net::IpAddr;

use enrich::address::effective;
use enrich::cymru::answer::{Answer, Prefix};
use enrich::freshness::Lifetimes;
use enrich::time::iso;
use ipnetwork::IpNetwork;
use serde_json::{Value, json};

use crate::pg::argument;
use crate::pg::catalog::Schema;
use crate::pg::inet::Inet;
use crate::pg::sql::{Sql, Table};
use crate::pg::time;

/// Wider than an answer may be used for: see [`enrich::cymru::rounds`]. Version 0.1.0 wrote such rows.
pub(super) const TOO_WIDE: &str = "masklen(c.prefix) < CASE family(c.prefix) WHEN 4 THEN 24 ELSE 48 END";

/// What a row says that is made due again since version 0.1.0 used the answer of a wider network for it.
pub(super) const OF_WIDER: &str = "asked again: the answer was that of a wider network";

/// Answers that were given before, for effective addresses inside of them; the longest prefix that holds still, by the
/// settings of now: they may have become shorter since the answer was written. A name that is too old is left out, so that the AS
/// is asked about again.
pub fn known(schema: &Schema, ips: &[IpAddr], lives: &Lifetimes) -> Vec<(IpAddr, Answer)> {
    let sql = Sql::on_all(schema, &[c"cymru_prefix", c"asn_inventory"]);
    let found = sql.query(
        &format!(
            "SELECT a.ip, p.announced, p.origins[1], p.country_code, n.asn_org, p.answered_at
             FROM pg_catalog.unnest($1) AS a(ip)
             CROSS JOIN LATERAL (SELECT c.* FROM {0}.cymru_prefix c
                                 WHERE c.prefix >>= a.ip AND c.expires_at > now() AND c.answered_at < now() + interval '1 day'
                                     AND (c.announced IS NOT NULL AND c.answered_at >= now() - $2
                                          OR c.announced IS NULL AND c.answered_at >= now() - $3)
                                     AND NOT {TOO_WIDE}
                                 ORDER BY masklen(c.prefix) DESC LIMIT 1) p
             LEFT JOIN {0}.asn_inventory n ON n.asn_number = p.origins[1]
                 AND (n.details_ts IS NULL OR n.details_ts BETWEEN now() - $2 AND now() + interval '1 day')",
            schema.name
        ),
        &[argument::addresses(ips), argument::interval(lives.cymru), argument::interval(lives.cymru_negative)],
    );
    (0..found.len()).filter_map(|row| known_row(&found, row)).collect()
}

/// Leaves out known answers that are not newer than what one of these rows has itself: it is no answer to a question about
/// whether that is still so. Where two rows stand for one effective address, for both.
pub fn newer(schema: &Schema, rows: &[IpAddr], known: Vec<(IpAddr, Answer)>) -> Vec<(IpAddr, Answer)> {
    if known.is_empty() {
        return known;
    }
    let sql = Sql::on(schema, c"ip_inventory");
    let found = sql.query(
        &format!(
            "SELECT i.ip_address, i.cymru_ts FROM {}.ip_inventory i
             WHERE i.ip_address = ANY ($1) AND i.cymru_status IN ('found', 'not_found') AND i.cymru_ts IS NOT NULL",
            schema.name
        ),
        &[argument::addresses(rows)],
    );
    let mut answered = HashMap::new();
    for row in 0..found.len() {
        if let (Some(inet), Some(at)) = (found.get::<Inet>(row, 1), moment_us(&found, row, 2)) {
            let latest = answered.entry(effective(inet.ip)).or_insert(at);
            *latest = at.max(*latest);
        }
    }
    known.into_iter().filter(|(ip, answer)| answered.get(ip).is_none_or(|at| answer.answered_at > Some(*at))).collect()
}

/// A moment, in Unix microseconds.
fn moment_us(found: &Table<'_>, row: usize, column: usize) -> Option<i64> {
    found.moment(row, column).map(time::to_unix_us)
}

fn known_row(found: &Table<'_>, row: usize) -> Option<(IpAddr, Answer)> {
    let network = found.get::<Inet>(row, 2).and_then(|inet| IpNetwork::new(inet.ip, inet.bits).ok());
    let answer = Answer {
        asn: found.get::<i64>(row, 3).and_then(|asn| u32::try_from(asn).ok()),
        network,
        country: found.text(row, 4),
        org: found.text(row, 5),
        answered_at: moment_us(found, row, 6),
    };
    Some((found.get::<Inet>(row, 1)?.ip, answer))
}

/// Keeps answers by network.
pub fn keep_prefixes(schema: &Schema, prefixes: &[Prefix], lifetimes: &Lifetimes) {
    let rows: Vec<Value> = prefixes
        .iter()
        .map(|p| {
            let a = p.announcement.as_ref();
            json!({
                "prefix": p.scope.to_string(),
                "announced": a.map(|a| a.prefix.to_string()),
                "origins": a.map(|a| a.origins.clone()).unwrap_or_default(),
                "country_code": a.and_then(|a| a.country.clone()),
                "registry": a.and_then(|a| a.registry.clone()),
                "allocated": a.and_then(|a| a.allocated).map(|date| date.to_string()),
            })
        })
        .collect();
    Sql::on(schema, c"cymru_prefix").run(
        &format!(
            "INSERT INTO {0}.cymru_prefix AS c (prefix, announced, origins, country_code, registry, allocated, answered_at, expires_at)
             SELECT DISTINCT ON (r.prefix) r.prefix, r.announced, r.origins, r.country_code, r.registry, r.allocated, now(),
                 now() + CASE WHEN r.announced IS NULL THEN $3 ELSE $2 END
             FROM pg_catalog.json_to_recordset($1::json)
                 AS r(prefix cidr, announced cidr, origins bigint[], country_code text, registry text, allocated date)
             ORDER BY r.prefix
             ON CONFLICT (prefix) DO UPDATE SET announced = EXCLUDED.announced, origins = EXCLUDED.origins,
                 country_code = EXCLUDED.country_code, registry = EXCLUDED.registry, allocated = EXCLUDED.allocated,
                 answered_at = EXCLUDED.answered_at, expires_at = EXCLUDED.expires_at",
            schema.name
        ),
        &[argument::json(&Value::Array(rows)), argument::interval(lifetimes.cymru), argument::interval(lifetimes.cymru_negative)],
    );
}

/// Writes answers to addresses. One that is kept by network is as old as it was: dated anew, it would be valid twice as long. But
/// not in a row whose answer of version 0.1.0 is in doubt, which would pass for that again. A row that MaxMind has an ASN for by
/// now is left as it is. Returns how many were written.
pub fn write(schema: &Schema, rows: &[(IpAddr, Answer)]) -> u64 {
    let ips: Vec<IpAddr> = rows.iter().map(|(ip, _)| *ip).collect();
    let rows: Vec<Value> = rows
        .iter()
        .map(|(ip, a)| {
            json!({
                "ip": ip.to_string(), "asn": a.asn, "org": a.org, "country": a.country,
                "answered": a.answered_at.and_then(iso),
                "network": a.network.map(|network| network.to_string()),
            })
        })
        .collect();
    Sql::on(schema, c"ip_inventory").run(
        &format!(
            "UPDATE {0}.ip_inventory i SET
                 asn_number = r.asn, asn_org = r.org, asn_source = CASE WHEN r.asn IS NOT NULL THEN 'cymru' END,
                 network = CASE WHEN r.network IS NOT NULL THEN r.network WHEN i.asn_source = 'cymru' THEN NULL ELSE i.network END,
                 country_code = CASE WHEN i.country_code IS NULL OR i.country_source = 'cymru' THEN r.country ELSE i.country_code END,
                 country_source = CASE WHEN i.country_code IS NULL OR i.country_source = 'cymru'
                                       THEN CASE WHEN r.country IS NOT NULL THEN 'cymru' END ELSE i.country_source END,
                 cymru_status = CASE WHEN r.asn IS NOT NULL THEN 'found' ELSE 'not_found' END,
                 cymru_ts = CASE WHEN r.answered IS NULL OR i.cymru_detail = '{OF_WIDER}' THEN $3 ELSE r.answered END,
                 cymru_attempts = 0, cymru_retry_at = NULL, cymru_detail = NULL, enrichment_ts = now()
             FROM pg_catalog.json_to_recordset($1::json) AS r(ip inet, asn bigint, org text, network cidr, country text, answered timestamptz)
             WHERE i.ip_address = ANY ($2) AND i.ip_address = r.ip AND i.asn_source IS DISTINCT FROM 'maxmind'",
            schema.name
        ),
        // Citus takes no function in a CASE that is not immutable, now() neither.
        &[argument::json(&Value::Array(rows)), argument::addresses(&ips), argument::moment(time::now())],
    )
}
