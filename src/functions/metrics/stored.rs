//! The metrics from tables, in a few statements and a look at the queue: a new figure is a new line in one of the
//! lists. `enrichment_status` is not used: planning it takes as long as all of this, mostly for columns that are not
//! needed here.
//!
//! Each part stands for itself: behind a lock of another session it is left out, and the others go on. Who asks every
//! minute must not become one more session a minute that waits.

use std::panic::AssertUnwindSafe;

use pgrx::PgTryBuilder;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;

use super::live::truth;
use super::page::{Page, Sample};
use crate::functions::status::queue;
use crate::functions::status::queue::Length;
use crate::functions::status::updates;
use crate::pg::catalog::Schema;
use crate::pg::glance::glance;
use crate::pg::sql::{Sql, Table};
use crate::pg::tx::Settings;
use crate::settings;
use crate::settings::Switch;

/// A figure: its name, its description, and its SQL.
struct Figure {
    name: &'static str,
    help: &'static str,
    sql: &'static str,
    counts: bool,
}

const fn gauge(name: &'static str, sql: &'static str, help: &'static str) -> Figure {
    Figure { name, help, sql, counts: false }
}

const fn counter(name: &'static str, sql: &'static str, help: &'static str) -> Figure {
    Figure { name, help, sql, counts: true }
}

/// Of the whole inventory: `c` is the worker's count.
const COUNTED: [Figure; 6] = [
    gauge(
        "counted_timestamp_seconds",
        "extract(epoch FROM c.counted_at)",
        "When the worker last counted the inventory.",
    ),
    gauge("addresses", "c.addresses", "Addresses in the inventory."),
    gauge("addresses_public", "c.public_addresses", "Of these, of class public: those that sources can know."),
    gauge("addresses_enriched", "c.enriched", "Addresses with an ASN or a country."),
    gauge("addresses_missing_asn", "c.missing_asn", "Public addresses without an ASN."),
    gauge("addresses_scanners", "c.scanners", "Addresses that GreyNoise has seen scanning."),
];

/// Of the looks for newer files: `u` is the last one.
const UPDATES: [Figure; 3] = [
    gauge(
        "mmdb_update_timestamp_seconds",
        "extract(epoch FROM u.ended_at)",
        "When the last look for newer MaxMind files ended.",
    ),
    gauge(
        "mmdb_update_failed",
        "(u.outcome = 'failed')::int",
        "Whether that look failed, and there is still anybody to ask; absent for a failure where no worker runs, which alone knows that.",
    ),
    gauge(
        "mmdb_sources_update_failed",
        concat!("(", include_str!("own_schedules.sql"), ")"),
        "Whether the last turn of sources with schedules of their own failed, and no update went well since.",
    ),
];

/// Of an attached table, `t`. Not summed up: a sum would fall when one is detached, which Prometheus treats as a
/// counter that restarted.
const TABLE: [Figure; 2] = [
    counter("observations_total", "t.observations", "Addresses observed in the table, repetitions included."),
    counter("unparsable_total", "t.unparsable", "Values in the table that are not a host address."),
];

/// Of a source: `s` is `source_status`, `c` the worker's count.
const SOURCE: [Figure; 9] = [
    gauge(
        "source_due",
        "CASE s.source WHEN 'cymru' THEN c.cymru_due WHEN 'greynoise' THEN c.greynoise_due END",
        "Addresses that wait for an answer, as last counted.",
    ),
    gauge(
        "source_answered",
        "CASE s.source WHEN 'maxmind' THEN c.maxmind_answered WHEN 'cymru' THEN c.cymru_answered ELSE c.greynoise_answered END",
        "Addresses with an answer, also that nothing is known, as last counted.",
    ),
    gauge(
        "source_last_success_timestamp_seconds",
        "extract(epoch FROM s.last_success_at)",
        "When it last answered; for maxmind, when a file was last installed.",
    ),
    gauge(
        "source_last_error_timestamp_seconds",
        "extract(epoch FROM s.last_error_at)",
        "When it last failed; for maxmind, a file that was refused or a look for newer ones.",
    ),
    gauge(
        "source_retry_timestamp_seconds",
        "extract(epoch FROM s.retry_at)",
        "The source is not asked before this time.",
    ),
    gauge("quota_limit", "s.quota", "Maximum number of requests in a window."),
    gauge("quota_used", "s.quota_used", "Requests spent in the present window."),
    gauge("quota_left", "s.quota_left", "Requests left in the present window."),
    gauge(
        "quota_reset_timestamp_seconds",
        "extract(epoch FROM s.quota_reset_at)",
        "When the quota is available again.",
    ),
];

/// Of a source, counted only in shared memory: unknown if no worker has a slot there.
const LIVE: [Figure; 3] = [
    counter("source_requests_total", "s.requests", "Requests that came to an end; for maxmind, addresses looked up."),
    counter("source_errors_total", "CASE WHEN s.source <> 'maxmind' THEN s.errors END", "Of these, failures."),
    gauge(
        "source_in_flight",
        "CASE WHEN s.source <> 'maxmind' THEN s.in_flight END",
        "Requests without an outcome yet.",
    ),
];

/// The states of each source. MaxMind's are those of the installed files.
const STATES: [(&str, &[&str]); 3] = [
    ("maxmind", &["ok", "outdated", "unavailable"]),
    ("cymru", &["ok", "off", "failing", "elsewhere", "unknown"]),
    ("greynoise", &["ok", "off", "no key", "refused", "quota", "failing", "elsewhere", "unknown"]),
];

/// The values that were read.
pub struct Stored {
    /// The database's name.
    pub database: String,
    extension: String,
    server: String,
    queued: Option<Length>,
    counted: Vec<Option<f64>>,
    updates: Vec<Option<f64>>,
    /// Those that are there; `None` where it is not known.
    tables: Option<Vec<(String, Vec<Option<f64>>)>>,
    sources: Vec<Source>,
}

struct Source {
    name: String,
    state: String,
    figures: Vec<Option<f64>>,
}

/// The figures as columns.
fn columns<'a>(figures: impl IntoIterator<Item = &'a Figure>) -> String {
    figures.into_iter().map(|figure| format!(", ({})::float8", figure.sql)).collect()
}

fn figures(table: &Table, row: usize, after: usize, count: usize) -> Vec<Option<f64>> {
    (after + 1..=after + count).map(|column| table.get(row, column)).collect()
}

/// A text. Labels must differ where names do: node_exporter refuses a page on which a sample stands twice.
fn text(table: &Table, row: usize, column: usize) -> String {
    table.get::<Vec<u8>>(row, column).map_or_else(String::new, |bytes| crate::pg::encoding::shown(&bytes))
}

/// Runs as the extension's owner: EXECUTE is enough.
const READ: [&std::ffi::CStr; 7] = [
    c"source_status",
    c"ip_observation",
    c"inventory_count",
    c"enrichment_run",
    c"ip_source",
    c"source_quota",
    c"ip_inventory",
];

/// The longest wait for a lock, for each part. Less than `deadlock_timeout`: after that time PostgreSQL cancels an autovacuum
/// that is waited for.
const PATIENCE: &std::ffi::CStr = c"500ms";

/// Reads all of it.
pub fn read(schema: &Schema) -> Stored {
    let (database, server, extension) = versions(schema);
    Stored {
        database,
        server,
        extension,
        queued: part(|| queue::length(schema)).flatten(),
        counted: part(|| counted(schema)).unwrap_or_default(),
        updates: part(|| looks(schema)).unwrap_or_default(),
        tables: part(|| tables(schema)),
        sources: part(|| sources(schema)).unwrap_or_default(),
    }
}

/// Reads a part; `None` where another session's lock is in the way. Its own locks are given back at once: they must not wait
/// for those that the next part waits for.
fn part<T>(f: impl FnOnce() -> T) -> Option<T> {
    PgTryBuilder::new(AssertUnwindSafe(|| {
        let value = glance(|| {
            let settings = Settings::begin();
            settings.set(c"lock_timeout", PATIENCE);
            f()
        });
        Some(value)
    }))
    .catch_when(PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE, |_| None)
    .execute()
}

/// Runs a statement, in which `{schema}` stands for the extension's.
fn query<'a>(sql: &'a Sql, schema: &Schema, text: &str) -> Table<'a> {
    sql.query(&text.replace("{schema}", &schema.name), &[])
}

/// Of database, server and extension: from catalogs alone, which nobody locks.
fn versions(schema: &Schema) -> (String, String, String) {
    let sql = Sql::on_all(schema, &READ);
    let table = query(
        &sql,
        schema,
        "SELECT current_database()::text, current_setting('server_version'),
             (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'asn_inventory')",
    );
    let [database, server, extension] = [1, 2, 3].map(|column| text(&table, 0, column));
    (database, server, extension)
}

fn counted(schema: &Schema) -> Vec<Option<f64>> {
    let sql = Sql::on_all(schema, &READ);
    let statement = format!(
        "SELECT 1 {} FROM (SELECT) one LEFT JOIN (SELECT * FROM {{schema}}.inventory_count LIMIT 1) c ON true",
        columns(&COUNTED)
    );
    let table = query(&sql, schema, &statement);
    figures(&table, 0, 1, COUNTED.len())
}

fn looks(schema: &Schema) -> Vec<Option<f64>> {
    let sql = Sql::on_all(schema, &READ);
    let statement = format!(
        "SELECT 1 {} FROM (SELECT) one
         LEFT JOIN (SELECT outcome, ended_at FROM {{schema}}.enrichment_run
                    WHERE kind = 'update' AND outcome <> 'cancelled' AND NOT parameters @> '{{\"sources\": [\"own schedules\"]}}'
                    ORDER BY job_id DESC LIMIT 1) u ON true",
        columns(&UPDATES)
    );
    let table = query(&sql, schema, &statement);
    let mut values = figures(&table, 0, 1, UPDATES.len());
    let (are_any, with_schedules) = (updates::are_any(), updates::with_schedules());
    for (figure, value) in UPDATES.iter().zip(&mut values) {
        let is_wanted = match figure.name {
            "mmdb_update_failed" => are_any,
            "mmdb_sources_update_failed" => Some(with_schedules),
            _ => continue,
        };
        // As in `source_status`: what failed is no trouble where nothing could follow it that goes well.
        *value = match is_wanted {
            Some(true) => *value,
            Some(false) => value.map(|_| 0.0),
            None => value.filter(|failed| *failed == 0.0),
        };
    }
    values
}

/// The attached tables. One that was dropped keeps its row for what it saw, and is attached no more.
fn tables(schema: &Schema) -> Vec<(String, Vec<Option<f64>>)> {
    let sql = Sql::on_all(schema, &READ);
    let statement = format!(
        "SELECT format('%I.%I', n.nspname, c.relname) {} FROM {{schema}}.ip_source t
         JOIN pg_catalog.pg_class c ON c.oid = t.tbl JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace ORDER BY 1",
        columns(&TABLE)
    );
    let table = query(&sql, schema, &statement);
    (0..table.len()).map(|row| (text(&table, row, 1), figures(&table, row, 1, TABLE.len()))).collect()
}

fn sources(schema: &Schema) -> Vec<Source> {
    let sql = Sql::on_all(schema, &READ);
    let statement = format!(
        "SELECT s.source, s.state {}
         FROM {{schema}}.source_status s LEFT JOIN (SELECT * FROM {{schema}}.inventory_count LIMIT 1) c ON true",
        columns(SOURCE.iter().chain(&LIVE))
    );
    let table = query(&sql, schema, &statement);
    let source = |row| Source {
        name: text(&table, row, 1),
        state: text(&table, row, 2),
        figures: figures(&table, row, 2, SOURCE.len() + LIVE.len()),
    };
    (0..table.len()).map(source).collect()
}

impl Stored {
    /// Which versions these figures are from.
    pub fn info(&self, page: &mut Page) {
        let labels = vec![("version", self.extension.clone()), ("server_version", self.server.clone())];
        page.gauge("info", "The versions of extension and server.", Sample::labelled(labels, Some(1.0)));
    }

    /// The queue. `age`: how long rows have waited that the worker has not absorbed, in seconds.
    pub fn queue(&self, page: &mut Page, age: Option<f64>) {
        page.gauge(
            "queue_addresses",
            "Addresses that wait for the worker; an estimate where there are many.",
            Sample::of(self.queued.map(|queued| queued.addresses as f64)),
        );
        page.gauge(
            "queue_addresses_off_by",
            "Margin of error of this estimate at 95 % confidence; 0: it was counted.",
            Sample::of(self.queued.map(|queued| queued.off_by as f64)),
        );
        page.gauge(
            "queue_age_seconds",
            "How long the oldest of them has waited for the worker; absent when none does. Those that were put back do not count.",
            Sample::of(age.filter(|_| self.queued.is_some_and(|queued| queued.may_wait()))),
        );
    }

    /// The inventory and the attached tables, and the last look for newer files.
    pub fn inventory(&self, page: &mut Page) {
        for (figure, value) in COUNTED.iter().zip(&self.counted).chain(UPDATES.iter().zip(&self.updates)) {
            add(page, figure, Sample::of(*value));
        }
        page.gauge(
            "tables_attached",
            "Tables whose inserted addresses are observed.",
            Sample::of(self.tables.as_ref().map(|tables| tables.len() as f64)),
        );
        for (at, figure) in TABLE.iter().enumerate() {
            let each = |(name, figures): &(String, Vec<Option<f64>>)| {
                Sample::labelled(vec![("table", name.clone())], figures[at])
            };
            add(page, figure, self.tables.iter().flatten().filter_map(each));
        }
    }

    /// The sources. `live`: there is a place in shared memory where a worker counts.
    pub fn sources(&self, page: &mut Page, live: bool) {
        let up = |source: &Source| Sample::of_source(&source.name, source.up());
        page.gauge(
            "source_up",
            "Whether the source answers; absent for a source that is off, that another node asks, or that no worker has checked.",
            self.sources.iter().filter_map(up),
        );
        page.gauge(
            "source_state",
            "1 for the present state of the source.",
            self.sources.iter().flat_map(Source::states),
        );
        let shown = if live { SOURCE.len() + LIVE.len() } else { SOURCE.len() };
        for (at, figure) in SOURCE.iter().chain(&LIVE).take(shown).enumerate() {
            let each = |source: &Source| Sample::of_source(&source.name, source.figures[at]);
            add(page, figure, self.sources.iter().filter_map(each));
        }
    }
}

fn add(page: &mut Page, figure: &Figure, samples: impl IntoIterator<Item = Sample>) {
    if figure.counts {
        page.counter(figure.name, figure.help, samples);
    } else {
        page.gauge(figure.name, figure.help, samples);
    }
}

impl Source {
    /// A source that is switched off is not down, and one without a key is so by choice unless it is switched on.
    fn up(&self) -> Option<f64> {
        match self.state.as_str() {
            "off" | "elsewhere" | "unknown" => None,
            "no key" if settings::network().greynoise != Switch::on => None,
            state => truth(matches!(state, "ok" | "outdated")),
        }
    }

    /// A sample for each state that it can be in, and for the one that it is in.
    fn states(&self) -> Vec<Sample> {
        let known = STATES.iter().find(|(source, _)| *source == self.name).map_or(&[][..], |(_, states)| states);
        let more = (!known.contains(&self.state.as_str())).then_some(self.state.as_str());
        let sample = |state: &str| {
            let labels = vec![("source", self.name.clone()), ("state", state.to_owned())];
            Sample::labelled(labels, truth(state == self.state))
        };
        known.iter().copied().chain(more).filter_map(sample).collect()
    }
}
