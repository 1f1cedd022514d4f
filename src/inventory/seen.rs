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

/// Subtracts from addresses, and removes those that nothing is left of, unless a foreign key may name them; returns how much that was. An address that was
/// only asked about stays.
pub fn subtract(schema: &Schema, batch: &[(IpAddr, i64)]) -> i64 {
    pgrx::check_for_interrupts!();
    let settings = Settings::rows_are_fetched();
    settings.set(c"lock_timeout", c"5s");
    let sql = Sql::on(schema, c"ip_inventory");
    // Rows that a foreign key may reference stay, with a count of 0: foreign keys are not checked if no trigger fires.
    let free = format!(
        "NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k
                     WHERE k.contype = 'f' AND k.confrelid = {})",
        schema.regclass("ip_inventory")
    );
    let found = sql.returning(
        &format!(
            "WITH held AS MATERIALIZED (
                 SELECT i.ip_address AS ip, least(t.n, i.observation_count) AS n, i.observation_count <= t.n AND {free} AS gone
                 FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS t(ip, n)
                 JOIN {0}.ip_inventory i ON i.ip_address = t.ip
                 WHERE i.ip_address = ANY ($1) AND i.observation_count > 0 ORDER BY i.ip_address FOR UPDATE OF i),
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
        ],
    );
    found.get::<i64>(0, 1).unwrap_or(0)
}
