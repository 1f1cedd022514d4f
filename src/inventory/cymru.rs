//! The worker's data of Team Cymru: answers by network, answers by address.
//!
//! Batches go in as one JSON text: answers are few next to observations, and a row is read back by its fields' names.

use std::net::IpAddr;

use enrich::cymru::answer::{Answer, Prefix};
use enrich::freshness::Lifetimes;
use ipnetwork::IpNetwork;
use serde_json::{Value, json};

use crate::pg::argument;
use crate::pg::catalog::Schema;
use crate::pg::inet::Inet;
use crate::pg::sql::{Sql, Table};

/// Wider than an answer may be used for: see [`enrich::cymru::rounds`]. Version 0.1.0 wrote such rows.
pub(super) const TOO_WIDE: &str = "masklen(c.prefix) < CASE family(c.prefix) WHEN 4 THEN 24 ELSE 48 END";

/// Answers that were given before, for effective addresses inside of them; the longest prefix that holds still.
pub fn known(schema: &Schema, ips: &[IpAddr]) -> Vec<(IpAddr, Answer)> {
    let sql = Sql::on_all(schema, &[c"cymru_prefix", c"asn_inventory"]);
    let found = sql.query(
        &format!(
            "SELECT a.ip, p.announced, p.origins[1], p.country_code, n.asn_org
             FROM pg_catalog.unnest($1) AS a(ip)
             CROSS JOIN LATERAL (SELECT c.* FROM {0}.cymru_prefix c
                                 WHERE c.prefix >>= a.ip AND c.expires_at > now() AND c.answered_at < now() + interval '1 day'
                                     AND NOT {TOO_WIDE}
                                 ORDER BY masklen(c.prefix) DESC LIMIT 1) p
             LEFT JOIN {0}.asn_inventory n ON n.asn_number = p.origins[1]",
            schema.name
        ),
        &[argument::addresses(ips)],
    );
    (0..found.len()).filter_map(|row| known_row(&found, row)).collect()
}

fn known_row(found: &Table<'_>, row: usize) -> Option<(IpAddr, Answer)> {
    let network = found.get::<Inet>(row, 2).and_then(|inet| IpNetwork::new(inet.ip, inet.bits).ok());
    let answer = Answer {
        asn: found.get::<i64>(row, 3).and_then(|asn| u32::try_from(asn).ok()),
        network,
        country: found.text(row, 4),
        org: found.text(row, 5),
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

/// Writes answers to addresses. A row that MaxMind has an ASN for by now is left as it is. Returns how many were written.
pub fn write(schema: &Schema, rows: &[(IpAddr, Answer)]) -> u64 {
    let ips: Vec<IpAddr> = rows.iter().map(|(ip, _)| *ip).collect();
    let rows: Vec<Value> = rows
        .iter()
        .map(|(ip, a)| {
            json!({
                "ip": ip.to_string(), "asn": a.asn, "org": a.org, "country": a.country,
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
                 cymru_ts = now(), cymru_attempts = 0, cymru_retry_at = NULL, cymru_detail = NULL, enrichment_ts = now()
             FROM pg_catalog.json_to_recordset($1::json) AS r(ip inet, asn bigint, org text, network cidr, country text)
             WHERE i.ip_address = ANY ($2) AND i.ip_address = r.ip AND i.asn_source IS DISTINCT FROM 'maxmind'",
            schema.name
        ),
        &[argument::json(&Value::Array(rows)), argument::addresses(&ips)],
    )
}
