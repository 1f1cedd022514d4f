//! What the worker adds to the counts of attached tables, in `ip_source`.

use pgrx::pg_sys;

use super::source::{adopt, has_column, root, whole};
use crate::pg::argument;
use crate::pg::catalog::Schema;
use crate::pg::sql::Sql;

/// One table's additions to its counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    /// Addresses that were observed.
    pub observed: i64,
    /// Values that are not an address.
    pub unparsable: i64,
    /// Statements whose rows were not observed.
    pub unobserved: i64,
    /// Rows that were read.
    pub rows: i64,
    /// Those of statements with an address, or with a value that is none, that held no time which could be read, where they should.
    pub untimed: i64,
    /// Those of the others.
    pub timed: i64,
    /// The latest event (timestamptz).
    pub last: i64,
}

impl Counted {
    /// Adds another table's, which count for the same one.
    pub fn add(&mut self, other: &Counted) {
        self.observed = self.observed.saturating_add(other.observed);
        self.unparsable = self.unparsable.saturating_add(other.unparsable);
        self.unobserved = self.unobserved.saturating_add(other.unobserved);
        self.rows = self.rows.saturating_add(other.rows);
        self.untimed = self.untimed.saturating_add(other.untimed);
        self.timed = self.timed.saturating_add(other.timed);
        self.last = self.last.max(other.last);
    }
}

/// The last value of a table that could not be read.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// How it begins, where that is known.
    pub sample: Option<String>,
    /// Why it could not.
    pub reason: String,
    /// When that was (timestamptz).
    pub at: i64,
}

/// Adds to the counts of the attached table that `table` is, or stands below: see [`root`](super::source::root). False: another session
/// holds that row. A table that is no longer attached is not counted.
pub fn count(schema: &Schema, table: pg_sys::Oid, counted: &Counted, unreadable: Option<&Unreadable>) -> bool {
    let table = whole(table);
    let Some(root) = root(schema, table).or_else(|| adopt(schema, table).then_some(table)) else { return true };
    // Before the extension is updated there are no such columns.
    let times = match has_column(schema, c"rows_since_time") {
        true => {
            ", rows_since_time = CASE WHEN $11
                 THEN rows_since_time + least(greatest($10, 0), 9223372036854775807 - greatest(rows_since_time, 0)) ELSE 0 END"
        }
        false => "",
    };
    let more = match has_column(schema, c"unreadable_at") {
        true => {
            ", unobserved = unobserved + least(greatest($5, 0), 9223372036854775807 - greatest(unobserved, 0)),
                 rows_seen = rows_seen + least(greatest($6, 0), 9223372036854775807 - greatest(rows_seen, 0)),
                 rows_since_address = CASE WHEN $2 > 0 THEN 0
                     ELSE rows_since_address + least(greatest($6, 0), 9223372036854775807 - greatest(rows_since_address, 0)) END,
                 unreadable_sample = CASE WHEN $8 IS NULL THEN unreadable_sample ELSE $7 END,
                 unreadable_reason = coalesce($8, unreadable_reason), unreadable_at = coalesce($9, unreadable_at)"
        }
        false => "",
    };
    Sql::on(schema, c"ip_source").run(
        &format!(
            "UPDATE {0}.ip_source s
             SET observations = observations + least(greatest($2, 0), 9223372036854775807 - greatest(observations, 0)),
                 unparsable = unparsable + least(greatest($3, 0), 9223372036854775807 - greatest(unparsable, 0)){more}{times},
                 last_observed_at = greatest(last_observed_at, $4)
             FROM (SELECT tbl FROM {0}.ip_source WHERE tbl = $1 FOR NO KEY UPDATE SKIP LOCKED) free
             WHERE s.tbl = free.tbl",
            schema.name
        ),
        &[
            argument::oid(root),
            argument::bigint(counted.observed),
            argument::bigint(counted.unparsable),
            argument::maybe_moment((counted.observed.saturating_add(counted.unparsable) > 0).then_some(counted.last)),
            argument::bigint(counted.unobserved),
            argument::bigint(counted.rows),
            argument::maybe_text(unreadable.and_then(|unreadable| unreadable.sample.as_deref())),
            argument::maybe_text(unreadable.map(|unreadable| unreadable.reason.as_str())),
            argument::maybe_moment(unreadable.map(|unreadable| unreadable.at)),
            argument::bigint(counted.untimed),
            // A few that another loader wrote are no cure.
            argument::boolean(counted.timed <= counted.untimed / 9),
        ],
    ) > 0
}
