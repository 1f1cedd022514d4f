//! Answers of Team Cymru that are in doubt, found a range of blocks at a time.

use super::cymru::TOO_WIDE;
use crate::pg::argument;
use crate::pg::catalog::Schema;
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
            Doubt::OlderVersion => "asked again: the answer was that of a wider network",
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

/// Makes rows due whose answer is in doubt and older than `before` (timestamptz), in a range of blocks. They keep what
/// they say. Returns how many there were.
pub fn make_due(schema: &Schema, doubt: Doubt, before: i64, first: u32, count: u32) -> u64 {
    Sql::on(schema, c"ip_inventory").run(
        &format!(
            "UPDATE {}.ip_inventory i SET cymru_status = 'pending', cymru_attempts = 0, cymru_retry_at = NULL, cymru_detail = '{}'
             WHERE {} AND i.cymru_ts < $1 AND {}",
            schema.name,
            doubt.detail(),
            range("i", first, count),
            doubt.rows()
        ),
        &[argument::moment(before)],
    )
}

/// Forgets answers by network that are older than `before`, in a range of blocks: those for wide networks, or those that
/// say that there is no route.
pub fn forget_networks(schema: &Schema, wide: bool, before: i64, first: u32, count: u32) {
    Sql::on(schema, c"cymru_prefix").run(
        &format!(
            "DELETE FROM {}.cymru_prefix c WHERE {} AND c.answered_at < $1 AND {}",
            schema.name,
            range("c", first, count),
            if wide { TOO_WIDE } else { "c.announced IS NULL" }
        ),
        &[argument::moment(before)],
    );
}

/// Rows in a range of blocks.
fn range(table: &str, first: u32, count: u32) -> String {
    let end = first.saturating_add(count);
    format!("{table}.ctid >= '({first},0)'::tid AND {table}.ctid < '({end},0)'::tid")
}
