//! `asn_inventory`: where enrichment lives. The PostgreSQL shell around the `enrich` crate.
//!
//! This file wires modules together: what happens when the library is loaded, and the order of the SQL files.

// Pointers from PostgreSQL are made safe in `pg/`. A file above that needs unsafe code says why at its top.
#![deny(unsafe_code)]

use pgrx::prelude::*;

mod files;
mod functions;
mod ingest;
mod inventory;
mod jobs;
mod network;
#[allow(unsafe_code, reason = "this is where it belongs")]
mod pg;
mod settings;
mod shared;
mod worker;

::pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/types.sql", name = "types", bootstrap);
extension_sql_file!("../sql/tables.sql", name = "tables", requires = ["types"]);
extension_sql_file!("../sql/sources.sql", name = "sources", requires = ["tables"]);
extension_sql_file!("../sql/sightings.sql", name = "sightings", requires = ["sources"]);
extension_sql_file!("../sql/lookup.sql", name = "lookup", requires = ["sightings"]);
extension_sql_file!("../sql/ingest.sql", name = "ingest", requires = ["lookup"]);
extension_sql_file!("../sql/enrich.sql", name = "enrich", requires = ["ingest"]);
extension_sql_file!("../sql/jobs.sql", name = "jobs", requires = ["enrich"]);
extension_sql_file!("../sql/status.sql", name = "status", requires = ["jobs"]);
extension_sql_file!("../sql/report.sql", name = "report", requires = ["status"]);
extension_sql_file!("../sql/analysis.sql", name = "analysis", requires = ["report"]);
extension_sql_file!("../sql/doctor.sql", name = "doctor", requires = ["analysis"]);
extension_sql_file!("../sql/metrics.sql", name = "metrics", requires = ["doctor"]);
extension_sql_file!("../sql/cluster.sql", name = "cluster", requires = ["metrics"]);
extension_sql_file!("../sql/privileges.sql", name = "privileges", requires = ["cluster"], finalize);

/// Runs when the library is loaded: by the postmaster, with preload, or by the first call in a session.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    pg::errors::without_backtraces();
    settings::define();
    ingest::running::install();
    if pg::process::is_preloading() {
        shared::request();
        if !pg::session::is_of_pg_upgrade() {
            worker::launcher::register();
        }
        worker::ddl::install();
    }
}
