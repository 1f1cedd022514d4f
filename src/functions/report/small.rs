//! The values that others have prepared: the status views, and the counted networks.

use ::report::{Asn, Quota, Report, Source, Worker};

use super::{count, moment, text};
use crate::pg::catalog::Schema;
use crate::pg::sql::Sql;

/// Networks listed.
const TOP: i64 = 10;
/// The sources as `source_status` and as people call them, in the order of the passes.
const SOURCES: [(&str, &str); 3] = [("maxmind", "MaxMind"), ("cymru", "Team Cymru"), ("greynoise", "GreyNoise")];

/// The server, the worker, the sources. Texts of errors stay out: a page is passed on, and they may name hosts and files.
pub fn status(sql: &Sql, schema: &Schema, report: &mut Report) {
    let table = sql.query(
        &format!(
            "SELECT current_database()::text, current_setting('server_version'),
                 (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'asn_inventory'),
                 s.worker, s.enabled, s.queued, s.last_absorb_at,
                 (SELECT count(*) FROM {0}.ip_source t
                  WHERE EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = t.tbl))
             FROM {0}.enrichment_status s",
            schema.name
        ),
        &[],
    );
    if table.len() > 0 {
        report.database = text(&table, 0, 1);
        report.server_version = text(&table, 0, 2);
        report.extension_version = text(&table, 0, 3);
        report.worker = Worker {
            state: text(&table, 0, 4),
            enabled: table.get(0, 5).unwrap_or(false),
            queued: count(&table, 0, 6),
            last_absorb_at: moment(&table, 0, 7),
        };
        report.totals.tables = count(&table, 0, 8);
    }
    let table = sql.query(
        &format!(
            "SELECT source, state, last_success_at, oldest_build, quota, quota_used, quota_window, quota_reset_at
             FROM {}.source_status",
            schema.name
        ),
        &[],
    );
    let rows: Vec<(String, Source)> = (0..table.len())
        .map(|row| {
            let quota = table.get::<i64>(row, 5).map(|limit| Quota {
                limit: limit.max(0) as u64,
                used: count(&table, row, 6),
                window: text(&table, row, 7),
                reset_at: moment(&table, row, 8),
            });
            let source = Source {
                state: text(&table, row, 2),
                last_success_at: moment(&table, row, 3),
                oldest_build: moment(&table, row, 4),
                quota,
                ..Source::default()
            };
            (text(&table, row, 1), source)
        })
        .collect();
    report.sources = SOURCES
        .iter()
        .map(|(word, name)| {
            let known = rows.iter().find(|(source, _)| source == word).map(|(_, source)| source.clone());
            Source { name: (*name).to_owned(), ..known.unwrap_or_default() }
        })
        .collect();
}

/// The networks, as the worker counted them.
pub fn networks(sql: &Sql, schema: &Schema, report: &mut Report) {
    let table = sql.query(
        &format!(
            "SELECT asn_number, asn_org, ip_count, observation_count, count(*) OVER ()
             FROM {}.asn_inventory WHERE ip_count > 0 ORDER BY observation_count DESC, asn_number LIMIT {TOP}",
            schema.name
        ),
        &[],
    );
    report.totals.asns = if table.len() > 0 { count(&table, 0, 5) } else { 0 };
    report.asns = (0..table.len())
        .map(|row| Asn {
            number: table.get(row, 1).unwrap_or(0),
            org: text(&table, row, 2),
            addresses: count(&table, row, 3),
            observations: count(&table, row, 4),
        })
        .collect();
}
