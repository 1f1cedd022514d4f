//! The index of `ip_asn_history` by time, which 0.3.0 brings. To build it reads all of the history while loaders wait for
//! the queue, and they wait two seconds. So where the history is large, the index has to be there before: it can be made
//! without a lock that anybody waits for.

use pgrx::{PgSqlErrorCode, pg_sys};

use crate::pg::argument;
use crate::pg::catalog;
use crate::pg::errors::raise;
use crate::pg::sql::Sql;

/// The version whose script builds the index where it is missing. Later ones need none: somebody may have dropped it.
const BRINGS_INDEX: [u32; 3] = [0, 3, 0];

/// Megabytes of the history that are read within the locks: some 450,000 changes, and a quarter of a second (3,000,000 took
/// 1.6 s, from memory).
const LARGEST: u32 = 32;

/// Blocks of a megabyte.
const BLOCKS: u32 = (1 << 20) / pg_sys::BLCKSZ;

/// A history without the index.
pub struct Unindexed {
    /// The table.
    pub table: pg_sys::Oid,
    schema: String,
    /// There is an index of that name which is not valid: `CREATE INDEX CONCURRENTLY` has failed, and left it behind, or is still
    /// at work.
    has_remains: bool,
}

impl Unindexed {
    /// Whether a script for `version` would build the index.
    pub fn find(extension: pg_sys::Oid, version: &[u32]) -> Option<Unindexed> {
        const HISTORY: &str = "
            SELECT t.oid, pg_catalog.format('%I', n.nspname), i.indexrelid IS NOT NULL
            FROM pg_catalog.pg_extension e
            JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
            JOIN pg_catalog.pg_class t ON t.relnamespace = n.oid AND t.relname = 'ip_asn_history' AND t.relkind = 'r'
            LEFT JOIN (pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid AND x.relname = 'ip_asn_history_time')
                ON i.indrelid = t.oid
            WHERE e.oid = $1 AND i.indisvalid IS NOT TRUE";
        if version > BRINGS_INDEX.as_slice() {
            return None;
        }
        let sql = Sql::as_caller();
        let found = sql.query(HISTORY, &[argument::oid(extension)]);
        if found.len() == 0 {
            return None;
        }
        Some(Unindexed {
            table: found.get(0, 1)?,
            schema: found.text(0, 2)?,
            has_remains: found.get(0, 3) == Some(true),
        })
    }

    /// Whether that would take too long. Waits for who has locked the history.
    pub fn is_large(&self) -> bool {
        catalog::blocks(self.table) > LARGEST * BLOCKS
    }

    /// Ends the update.
    pub fn refuse(&self) -> ! {
        let schema = &self.schema;
        let drop = if self.has_remains { format!("DROP INDEX {schema}.ip_asn_history_time; ") } else { String::new() };
        let cure = match self.builder() {
            Some(process) => {
                format!(
                    "Process {process} is building an index of ip_asn_history: wait for its end, and run the command again."
                )
            }
            None => format!(
                "Run {drop}CREATE INDEX CONCURRENTLY ip_asn_history_time ON {schema}.ip_asn_history (changed_at); and the command again."
            ),
        };
        raise(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "cannot update asn_inventory: its history is large and has no index by time",
            &format!("Inserts would wait for as long as ip_asn_history is read, which has more than {LARGEST} MB."),
            &format!("Nothing was changed. {cure}"),
        )
    }

    /// The process that builds an index of the history, of any name: what is not valid yet must not be dropped under it.
    fn builder(&self) -> Option<i32> {
        const BUILDER: &str = "
            SELECT p.pid FROM pg_catalog.pg_stat_progress_create_index p
            WHERE p.relid = $1 AND p.datname = pg_catalog.current_database() LIMIT 1";
        let sql = Sql::as_caller();
        let found = sql.query(BUILDER, &[argument::oid(self.table)]);
        if found.len() == 0 { None } else { found.get(0, 1) }
    }
}
