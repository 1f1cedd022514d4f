//! How often an address was seen, first and last.

use std::net::IpAddr;

use crate::pg::argument;
use crate::pg::catalog::Schema;
use crate::pg::sql::Sql;
use crate::pg::tx::Settings;

/// One address, in a statement or in a batch.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// How often; 0: asked about, not observed.
    pub count: i64,
    /// Earliest event (timestamptz).
    pub first: i64,
    /// Latest event (timestamptz).
    pub last: i64,
}

impl Seen {
    /// Adds another observation, or many. A question is not an observation: its time does not count beside one.
    pub fn add(&mut self, other: Seen) {
        match (self.count, other.count) {
            (0, 1..) => *self = other,
            (1.., 0) => {}
            _ => {
                self.count = self.count.saturating_add(other.count);
                self.first = self.first.min(other.first);
                self.last = self.last.max(other.last);
            }
        }
    }
}

/// Subtracts from addresses what some places saw, and removes those that nothing is left of, unless a foreign key may name them;
/// returns how much that was. An address that was only asked about stays.
///
/// What others saw stays as well, but for temporary tables, which have one place together. Of an address that was deleted, and has come again, nothing tells who saw what since: it loses what
/// it has beyond the sightings of those that may have seen it since. `has_sightings`: there is a table of them.
pub fn subtract(schema: &Schema, batch: &[(IpAddr, i64)], places: &[i32], has_sightings: bool) -> i64 {
    pgrx::check_for_interrupts!();
    let settings = Settings::rows_are_fetched();
    settings.set(c"lock_timeout", c"5s");
    let sql = match has_sightings {
        true => Sql::on_all(schema, &[c"ip_inventory", c"ip_sighting", c"ip_sighting_source"]),
        false => Sql::on(schema, c"ip_inventory"),
    };
    let others = match has_sightings {
        true => format!(
            "SELECT s.ip_address AS ip, sum(s.observation_count) AS n
             FROM {0}.ip_sighting s JOIN {0}.ip_inventory k ON k.ip_address = s.ip_address
             WHERE s.ip_address = ANY ($1) AND k.ip_address = ANY ($1) AND s.source_id <> ALL ($3)
                 AND s.source_id NOT IN (SELECT l.id FROM {0}.ip_sighting_source l WHERE l.tbl IS NULL AND l.attached AND l.name = '(no table)')
                 AND s.last_seen_at >= k.first_seen_at GROUP BY 1",
            schema.name
        ),
        false => "SELECT NULL::inet AS ip, 0::numeric AS n WHERE false".to_owned(),
    };
    // Rows that a foreign key may reference stay, with a count of 0: foreign keys are not checked if no trigger fires.
    let free = format!(
        "NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k
                     WHERE k.contype = 'f' AND k.confrelid = {})",
        schema.regclass("ip_inventory")
    );
    let found = sql.returning(
        &format!(
            "WITH held AS MATERIALIZED (
                 SELECT i.ip_address AS ip, least(t.n, i.observation_count - coalesce(o.n, 0))::bigint AS n,
                        i.observation_count <= t.n AND coalesce(o.n, 0) = 0 AND {free} AS gone
                 FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS t(ip, n)
                 JOIN {0}.ip_inventory i ON i.ip_address = t.ip
                 LEFT JOIN ({others}) o ON o.ip = t.ip
                 WHERE i.ip_address = ANY ($1) AND i.observation_count > coalesce(o.n, 0) ORDER BY i.ip_address FOR UPDATE OF i),
             removed AS (DELETE FROM {0}.ip_inventory i USING held h
                         WHERE h.gone AND i.ip_address = h.ip AND i.ip_address = ANY ($1) RETURNING h.n),
             lowered AS (UPDATE {0}.ip_inventory i SET observation_count = i.observation_count - h.n
                         FROM held h WHERE NOT h.gone AND i.ip_address = h.ip AND i.ip_address = ANY ($1) RETURNING h.n)
             SELECT coalesce(sum(a.n), 0)::bigint FROM (SELECT n FROM removed UNION ALL SELECT n FROM lowered) a",
            schema.name
        ),
        &[
            argument::addresses(batch.iter().map(|(ip, _)| ip)),
            argument::bigints(batch.iter().map(|(_, count)| *count).collect()),
            argument::integers(places.to_vec()),
        ],
    );
    found.get::<i64>(0, 1).unwrap_or(0)
}
