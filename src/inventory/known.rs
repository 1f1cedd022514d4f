//! Which addresses the inventory knows, and how they stand.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use enrich::campaign::interest::End;
use enrich::source::{Source, SourceSet};

use super::due::answered_since;
use crate::pg::argument;
use crate::pg::argument::Argument;
use crate::pg::catalog::Schema;
use crate::pg::inet::Inet;
use crate::pg::sql::{Sql, Table};

/// Rows that are read at a time.
const FETCHED: usize = 10_000;

/// Those of these addresses that have a row.
pub fn of(schema: &Schema, ips: &[IpAddr]) -> HashSet<IpAddr> {
    find(schema, "i.ip_address = ANY ($1)", argument::addresses(ips))
}

/// Those of these addresses that were observed. A question about one is not an observation.
pub fn observed<'a>(schema: &Schema, ips: impl Iterator<Item = &'a IpAddr>) -> HashSet<IpAddr> {
    find(schema, "i.ip_address = ANY ($1) AND i.observation_count > 0", argument::addresses(ips))
}

/// Tells those in a range, in which a netmask's host bits do not count, in any order, until `tell` fails. They may be all that
/// the inventory has.
pub fn within<E>(schema: &Schema, range: Inet, mut tell: impl FnMut(IpAddr) -> Result<(), E>) -> Result<(), E> {
    let sql = Sql::on(schema, c"ip_inventory");
    let text = format!(
        "SELECT i.ip_address FROM {}.ip_inventory i WHERE i.ip_address <<= pg_catalog.network($1)",
        schema.name
    );
    let mut cursor = sql.cursor(&text, &[argument::inet(range)]);
    loop {
        let found = cursor.fetch(FETCHED);
        if found.len() == 0 {
            return Ok(());
        }
        (0..found.len()).filter_map(|row| found.get::<Inet>(row, 1)).try_for_each(|inet| tell(inet.ip))?;
    }
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

/// The answers that a row has, each with its source.
pub type Answers = Vec<(Source, End)>;

/// What these addresses have of some sources: MaxMind's answer, and those of network sources since a moment (timestamptz).
/// An address without a row is not among them.
pub fn answers(schema: &Schema, ips: &[IpAddr], sources: SourceSet, since: i64) -> HashMap<IpAddr, Answers> {
    let sql = Sql::on(schema, c"ip_inventory");
    let text = format!(
        "SELECT i.ip_address,
             CASE i.maxmind_status WHEN 'found' THEN true WHEN 'not_found' THEN false END,
             CASE WHEN {} THEN i.cymru_status = 'found' END,
             CASE WHEN {} THEN i.greynoise_status = 'found' END,
             i.scanner_noise IS TRUE
         FROM {}.ip_inventory i WHERE i.ip_address = ANY ($1)",
        answered_since(Source::Cymru, 2),
        answered_since(Source::GreyNoise, 2),
        schema.name
    );
    let mut all = HashMap::with_capacity(ips.len());
    for part in ips.chunks(FETCHED) {
        let found = sql.query(&text, &[argument::addresses(part), argument::moment(since)]);
        all.extend(
            (0..found.len()).filter_map(|row| Some((found.get::<Inet>(row, 1)?.ip, row_answers(&found, row, sources)))),
        );
    }
    all
}

fn row_answers(found: &Table<'_>, row: usize, sources: SourceSet) -> Answers {
    let is_noise = found.get::<bool>(row, 5).unwrap_or(false);
    let end = |source: Source| {
        let knows: bool = found.get(row, 2 + source.index())?;
        let says = source != Source::GreyNoise || is_noise;
        Some((source, if knows { End::Found(says) } else { End::NotFound }))
    };
    sources.iter().filter_map(end).collect()
}

fn addresses<C: FromIterator<IpAddr>>(found: &Table<'_>) -> C {
    (0..found.len()).filter_map(|row| Some(found.get::<Inet>(row, 1)?.ip)).collect()
}
