//! Whether the worker does anything: one that is stopped, or waits for a file system that does not answer, is still among the
//! server's processes.

use super::finding::Finding;
use crate::pg::time;
use crate::shared;

/// The check `worker` of one that runs. That none does is told by SQL.
pub fn look() -> Option<Finding> {
    let slot = shared::here()?;
    let (pid, since) = (slot.living_worker()?, slot.worker_hangs_since()?);
    let since = time::text(time::to_unix_us(since));
    Some(Finding::new(
        "worker",
        "error",
        format!(
            "The worker (process {pid}) has done nothing since {since}: observations wait, and nothing is enriched."
        ),
        Some(format!(
            "SELECT pg_terminate_backend({pid});  -- it is started again. If it stays: ps -o stat,wchan {pid} on the server; T: kill -CONT {pid}; D: the file system of the data directory, or of asn_inventory.maxmind_dir, does not answer"
        )),
    ))
}
