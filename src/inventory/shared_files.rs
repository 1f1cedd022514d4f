//! The `.mmdb` files that this server has in use, as rows, for the servers that copy its tables: standbys, and the nodes of
//! a cluster. `mmdb_shared` names a file of each edition, `mmdb_shared_part` has its bytes.

use enrich::maxmind::receive::Offer;
use pgrx::{IntoDatum, pg_sys};

use crate::pg::argument;
use crate::pg::catalog;
use crate::pg::catalog::Schema;
use crate::pg::sql::Sql;
use crate::pg::time;

/// The latest build time that is told, in the year 9999: PostgreSQL has no date for whatever stands in a file.
const LATEST: i64 = 253_370_764_800;
/// Bytes of a row: few rows, and little memory.
pub const PART: usize = 1 << 20;

/// A file, as it is told to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// The name of its edition.
    pub edition: String,
    /// What it is, and since when it is offered.
    pub offer: Offer,
    /// Its size.
    pub bytes: i64,
}

/// Whether the tables are there, and a superuser's: the files of a whole server come from them.
pub fn are_trusted(schema: &Schema) -> bool {
    [c"mmdb_shared", c"mmdb_shared_part"].into_iter().all(|name| {
        let table = schema.relation(name);
        table != pg_sys::InvalidOid && catalog::is_superuser(catalog::owner_of(table))
    })
}

/// The files that are shared.
pub fn all(schema: &Schema) -> Vec<Shared> {
    let sql = Sql::on(schema, c"mmdb_shared");
    let text = "SELECT edition, sha256, extract(epoch FROM built_at)::bigint, bytes, (extract(epoch FROM shared_at) * 1000000)::bigint FROM";
    let found = sql.query(&format!("{text} {}.mmdb_shared ORDER BY edition", schema.name), &[]);
    let shared = |row| {
        Some(Shared {
            edition: found.text(row, 1)?,
            offer: Offer {
                sha256: found.text(row, 2)?,
                build_epoch: found.get(row, 3)?,
                offered_at: found.get(row, 5)?,
            },
            bytes: found.get(row, 4)?,
        })
    };
    (0..found.len()).filter_map(shared).collect()
}

/// One part of a file, from 0; `None`: there is none of that number.
pub fn part(schema: &Schema, edition: &str, number: i64) -> Option<Vec<u8>> {
    let sql = Sql::on(schema, c"mmdb_shared_part");
    let found = sql.query(
        &format!("SELECT data FROM {}.mmdb_shared_part WHERE edition = $1 AND part = $2", schema.name),
        &[argument::text(edition), argument::bigint(number)],
    );
    if found.len() == 0 { None } else { found.get(0, 1) }
}

/// Begins to share a file in place of the edition's one before: its parts follow, in the same transaction. The time of the
/// offer is of this moment, and later than that of the one before, whatever the clock says: servers take the latest.
pub fn begin(schema: &Schema, edition: &str, sha256: &str, build_epoch: i64, bytes: i64) {
    let before = all(schema).into_iter().find(|shared| shared.edition == edition).map(|shared| shared.offer.offered_at);
    withdraw(schema, edition);
    Sql::on(schema, c"mmdb_shared").run(
        &format!(
            "INSERT INTO {}.mmdb_shared (edition, sha256, built_at, bytes, shared_at)
             VALUES ($1, $2, pg_catalog.to_timestamp($3), $4, pg_catalog.to_timestamp($5 / 1000000.0))",
            schema.name
        ),
        &[
            argument::text(edition),
            argument::text(sha256),
            argument::bigint(build_epoch.clamp(0, LATEST)),
            argument::bigint(bytes),
            argument::bigint(time::now_unix_us().max(before.map_or(0, |at| at + 1))),
        ],
    );
}

/// Adds a part.
pub fn add(schema: &Schema, edition: &str, number: i64, bytes: &[u8]) {
    Sql::on(schema, c"mmdb_shared_part").run(
        &format!("INSERT INTO {}.mmdb_shared_part (edition, part, data) VALUES ($1, $2, $3)", schema.name),
        &[argument::text(edition), argument::bigint(number), (pg_sys::BYTEAOID, bytes.into_datum())],
    );
}

/// Shares an edition no more.
pub fn withdraw(schema: &Schema, edition: &str) {
    for table in [c"mmdb_shared", c"mmdb_shared_part"] {
        let text = format!("DELETE FROM {}.{} WHERE edition = $1", schema.name, table.to_string_lossy());
        Sql::on(schema, table).run(&text, &[argument::text(edition)]);
    }
}

/// Whether a standby is connected, or may come back to the WAL that is kept for it. A base backup reads the WAL like one.
pub fn has_standby() -> bool {
    let sql = Sql::as_caller();
    let found = sql.query(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_replication w
                        LEFT JOIN pg_catalog.pg_replication_slots s ON s.active_pid = w.pid
                        WHERE w.state IN ('streaming', 'catchup') AND w.application_name <> 'pg_basebackup'
                          AND s.slot_type IS DISTINCT FROM 'logical')
             OR EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary)",
        &[],
    );
    found.get(0, 1) == Some(true)
}
