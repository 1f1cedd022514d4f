//! Users of the inventory: jobs, questions, reports, the doctor.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::rng::Rng;
use crate::{DB, Soak};

const CALLS: [&str; 12] = [
    "SELECT backfill_inventory()",
    "SELECT backfill_inventory(workers => 3, force => true)",
    "SELECT refresh_stale('maxmind', 5000)",
    "SELECT refresh_stale('all', 500)",
    "SELECT refresh_range('45.0.0.0/16', 'all')",
    "SELECT cancel_enrichment_job(max(job_id)) FROM enrichment_progress",
    "SELECT import_mmdb_files(true)",
    "SELECT enrich_ip('45.0.7.1', '2s')",
    "SELECT length(inventory_report())",
    "SELECT prometheus_metrics()",
    "SELECT * FROM enrichment_doctor()",
    "DELETE FROM ip_asn_history WHERE changed_at < now() - interval '1 min'",
];

/// Calls one after the other; an error is an answer, too.
pub fn run(soak: &Soak) {
    let mut rng = Rng::of(101);
    while !soak.is_over() {
        if soak.cluster.try_sql(DB, rng.one::<&str>(&CALLS)).is_ok() {
            soak.jobs.fetch_add(1, Ordering::Relaxed);
        }
        soak.pause(Duration::from_millis(200 + rng.below(2000)));
    }
}
