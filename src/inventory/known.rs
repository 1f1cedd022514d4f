//! Which addresses the inventory knows, and how they stand.

use std::collections::HashSet;
use std::net::IpAddr;

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use crate::pg::argument;
use crate::pg::argument::Argument;
use crate::pg::catalog::Schema;
use crate::pg::inet::Inet;
use crate::pg::sql::{Sql, Table};

/// Those of these addresses that have a row.
pub fn of(schema: &Schema, ips: &[IpAddr]) -> HashSet<IpAddr> {
    find(schema, "i.ip_address = ANY ($1)", argument::addresses(ips))
}

/// Those of these addresses that were observed. A question about one is not an observation.
pub fn observed<'a>(schema: &Schema, ips: impl Iterator<Item = &'a IpAddr>) -> HashSet<IpAddr> {
    find(schema, "i.ip_address = ANY ($1) AND i.observation_count > 0", argument::addresses(ips))
}

/// Those in a range (inet), in which a netmask's host bits do not count.
pub fn within(schema: &Schema, range: Datum) -> Vec<IpAddr> {
    find(schema, "i.ip_address <<= pg_catalog.network($1)", (pg_sys::INETOID, Some(range)))
}

fn find<C: FromIterator<IpAddr>>(schema: &Schema, condition: &str, argument: Argument) -> C {
    let sql = Sql::on(schema, c"ip_inventory");
    let text = format!("SELECT i.ip_address FROM {}.ip_inventory i WHERE {condition}", schema.name);
    addresses(&sql.query(&text, &[argument]))
}

/// Those of a list that were observed most, `most` of them; an unknown one was observed least.
pub fn most_observed(schema: &Schema, ips: &[IpAddr], most: u64) -> Vec<IpAddr> {
    let sql = Sql::on(schema, c"ip_inventory");
    addresses(&sql.query(
        &format!(
            "SELECT a.ip FROM pg_catalog.unnest($1) AS a(ip) LEFT JOIN {}.ip_inventory i ON i.ip_address = a.ip
             ORDER BY i.observation_count DESC NULLS LAST, a.ip LIMIT {most}",
            schema.name
        ),
        &[argument::addresses(ips)],
    ))
}

/// How MaxMind stands towards these addresses: how many it found, did not find, and did neither.
pub fn at_maxmind(schema: &Schema, ips: &[IpAddr]) -> [u64; 3] {
    let sql = Sql::on(schema, c"ip_inventory");
    let found = sql.query(
        &format!(
            "SELECT count(*) FILTER (WHERE maxmind_status = 'found'), count(*) FILTER (WHERE maxmind_status = 'not_found'),
                 count(*) FILTER (WHERE maxmind_status NOT IN ('found', 'not_found'))
             FROM {}.ip_inventory WHERE ip_address = ANY ($1)",
            schema.name
        ),
        &[argument::addresses(ips)],
    );
    [1, 2, 3].map(|column| found.get::<i64>(0, column).unwrap_or(0) as u64)
}

fn addresses<C: FromIterator<IpAddr>>(found: &Table<'_>) -> C {
    (0..found.len()).filter_map(|row| Some(found.get::<Inet>(row, 1)?.ip)).collect()
}
