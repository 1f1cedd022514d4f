//! Answers of Team Cymru that are in doubt, found a range of blocks at a time.

use std::net::IpAddr;
use std::ops::Range;

use super::cymru::{OF_WIDER, TOO_WIDE};
use crate::pg::argument;
use crate::pg::catalog::Schema;
use crate::pg::inet::Inet;
use crate::pg::sql::Sql;

/// Why answers are in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Version 0.1.0 used an answer for a whole announced prefix, in which others may announce longer ones, and believed
    /// any resolver that there is no route.
    OlderVersion,
    /// The resolver does not know the service: addresses without a route according to it may have one.
    NoRoute,
}

impl Doubt {
    /// The answers, in words.
    pub fn what(self) -> &'static str {
        match self {
            Doubt::OlderVersion => "addresses that version 0.1.0 answered for whole networks",
            Doubt::NoRoute => "addresses without a route according to a resolver that does not know the service",
        }
    }

    /// The state of a row until it is asked about again.
    fn detail(self) -> &'static str {
        match self {
            Doubt::OlderVersion => OF_WIDER,
            Doubt::NoRoute => "asked again: the resolver did not know the service",
        }
    }

    fn rows(self) -> &'static str {
        match self {
            Doubt::OlderVersion => {
                "(i.cymru_status = 'not_found' OR i.cymru_status = 'found' AND i.asn_source = 'cymru'
                     AND masklen(i.network) < CASE family(i.network) WHEN 4 THEN 24 ELSE 48 END)"
            }
            Doubt::NoRoute => "i.cymru_status = 'not_found'",
        }
    }
}

/// Whether there are answers that only version 0.1.0 wrote.
pub fn is_from_older_version(schema: &Schema) -> bool {
    let sql = Sql::on(schema, c"cymru_prefix");
    sql.query(&format!("SELECT 1 FROM {}.cymru_prefix c WHERE {TOO_WIDE} LIMIT 1", schema.name), &[]).len() > 0
}

/// Addresses whose answer is in doubt and older than `before` (timestamptz), in a range of blocks; of shards, in that of
/// each. With `free`, those that nobody holds, which are held until the transaction ends: Citus refuses that for several
/// shards.
pub fn doubtful(schema: &Schema, doubt: Doubt, before: i64, blocks: &Range<u32>, free: bool) -> Vec<IpAddr> {
    let sql = Sql::on(schema, c"ip_inventory");
    let text = format!(
        "SELECT i.ip_address FROM {}.ip_inventory i WHERE {} AND i.cymru_ts < $1 AND {}{}",
        schema.name,
        range("i", blocks),
        doubt.rows(),
        if free { " FOR NO KEY UPDATE SKIP LOCKED" } else { "" }
    );
    // Not by the snapshot of before: it would find what was just written.
    let found = sql.returning(&text, &[argument::moment(before)]);
    (0..found.len()).filter_map(|row| Some(found.get::<Inet>(row, 1)?.ip)).collect()
}

/// Makes those of these rows due whose answer is in doubt and older than `before` (timestamptz). They keep what they say.
/// Returns how many there were.
pub fn make_due(schema: &Schema, doubt: Doubt, before: i64, ips: &[IpAddr]) -> u64 {
    Sql::on(schema, c"ip_inventory").run(
        &format!(
            "UPDATE {}.ip_inventory i SET cymru_status = 'pending', cymru_attempts = 0, cymru_retry_at = NULL, cymru_detail = '{}'
             WHERE i.ip_address = ANY ($2) AND i.cymru_ts < $1 AND {}",
            schema.name,
            doubt.detail(),
            doubt.rows()
        ),
        &[argument::moment(before), argument::addresses(ips)],
    )
}

/// Whether the inventory has rows at this block or behind it, in any of its shards.
pub fn goes_on_at(schema: &Schema, block: u32) -> bool {
    let sql = Sql::on(schema, c"ip_inventory");
    let text = format!("SELECT 1 FROM {}.ip_inventory i WHERE i.ctid >= '({block},0)'::tid LIMIT 1", schema.name);
    sql.query(&text, &[]).len() > 0
}

/// Forgets answers by network that are older than `before`, in a range of blocks: those for wide networks, or those that
/// say that there is no route. False: others hold some.
pub fn forget_networks(schema: &Schema, wide: bool, before: i64, blocks: &Range<u32>) -> bool {
    let sql = Sql::on(schema, c"cymru_prefix");
    let meant = format!(
        "FROM {}.cymru_prefix c WHERE {} AND c.answered_at < $1 AND {}",
        schema.name,
        range("c", blocks),
        if wide { TOO_WIDE } else { "c.announced IS NULL" }
    );
    let text = format!(
        "DELETE FROM {}.cymru_prefix k USING (SELECT c.prefix {meant} FOR UPDATE SKIP LOCKED) f WHERE k.prefix = f.prefix",
        schema.name
    );
    sql.run(&text, &[argument::moment(before)]);
    // By a snapshot that knows of that.
    sql.returning(&format!("SELECT 1 {meant} LIMIT 1"), &[argument::moment(before)]).len() == 0
}

/// Rows in a range of blocks.
fn range(table: &str, blocks: &Range<u32>) -> String {
    let Range { start, end } = blocks;
    format!("{table}.ctid >= '({start},0)'::tid AND {table}.ctid < '({end},0)'::tid")
}
