//! Whether the launcher works: without it no file is imported, and no worker is started.

use std::sync::atomic::Ordering;

use enrich::heartbeat::Standing;

use super::finding::Finding;
use crate::pg::{process, time};
use crate::shared;

/// The check `launcher`. Without preload another check says so.
pub fn look() -> Option<Finding> {
    let launcher = &shared::shared()?.launcher;
    let finding = |detail: String, remedy: String| Some(Finding::new("launcher", "error", detail, Some(remedy)));
    match (launcher.standing(), launcher.running()) {
        (Standing::Works, _) => None,
        (Standing::Hangs, Some(pid)) => {
            let since = time::text(time::to_unix_us(launcher.beat_at.load(Ordering::Relaxed)));
            let doing = match launcher.importing.load(Ordering::Relaxed) {
                true => ", in an import of mmdb files",
                false => "",
            };
            finding(
                format!(
                    "The launcher (process {pid}) has done nothing since {since}{doing}: new mmdb files are not imported, and workers are not started."
                ),
                format!(
                    "SELECT pg_terminate_backend({pid});  -- it is started again. If it stays: ps -o stat,wchan {pid} on the server; T: kill -CONT {pid}; D: the file system of asn_inventory.maxmind_dir, or of the data directory, does not answer"
                ),
            )
        }
        _ => finding(
            "No launcher runs: new mmdb files are not imported, and workers are not started.".to_owned(),
            format!(
                "ALTER SYSTEM SET max_worker_processes = {};  -- then restart the server; other reasons are in its log",
                process::max_workers() + 8
            ),
        ),
    }
}

/// Whether there is a launcher that does nothing: it may wait for a file system that does not answer.
pub fn hangs() -> bool {
    shared::shared().is_some_and(|shared| shared.launcher.standing() == Standing::Hangs)
}
