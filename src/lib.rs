//! `asn_inventory`: where enrichment lives. The PostgreSQL shell around the `enrich` crate.
//!
//! This file wires modules together: what happens when the library is loaded, and the order of the SQL files.

use pgrx::prelude::*;

mod absorb;
mod ask;
mod call;
mod catalog;
mod counters;
mod datum;
mod enrich_ip;
mod errors;
mod history;
mod inet;
mod jobs;
mod lookup;
mod maxmind;
mod metrics;
mod mmdb;
mod observe;
mod report;
mod row;
mod secure;
mod settings;
mod shape;
mod shared;
mod sql;
mod status;
mod store;
mod time;
mod tx;
mod worker;

::pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/01_types.sql", name = "types", bootstrap);
extension_sql_file!("../sql/02_tables.sql", name = "tables", requires = ["types"]);
extension_sql_file!("../sql/03_sources.sql", name = "sources", requires = ["tables"]);
extension_sql_file!("../sql/04_lookup.sql", name = "lookup", requires = ["sources"]);
extension_sql_file!("../sql/05_ingest.sql", name = "ingest", requires = ["lookup"]);
extension_sql_file!("../sql/06_enrich.sql", name = "enrich", requires = ["ingest"]);
extension_sql_file!("../sql/07_jobs.sql", name = "jobs", requires = ["enrich"]);
extension_sql_file!("../sql/08_status.sql", name = "status", requires = ["jobs"]);
extension_sql_file!("../sql/10_report.sql", name = "report", requires = ["status"]);
extension_sql_file!("../sql/11_analysis.sql", name = "analysis", requires = ["report"]);
extension_sql_file!("../sql/12_doctor.sql", name = "doctor", requires = ["analysis"]);
extension_sql_file!("../sql/13_metrics.sql", name = "metrics", requires = ["doctor"]);
extension_sql_file!("../sql/09_privileges.sql", name = "privileges", requires = ["metrics"], finalize);

/// Runs when the library is loaded: by the postmaster, with preload, or by the first call in a session.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    errors::without_backtraces();
    settings::define();
    // SAFETY: reads a variable of the server.
    if unsafe { pg_sys::process_shared_preload_libraries_in_progress } {
        shared::request();
        worker::launcher::register();
        worker::ddl::install();
    }
}
