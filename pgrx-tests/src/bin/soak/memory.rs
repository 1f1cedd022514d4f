//! Memory and open files of the worker and the launcher, while they run.

use std::fs;
use std::time::Duration;

use crate::Soak;

/// A look at one process: its private memory in kB, and its open files. Those of tables are PostgreSQL's, which keeps up to
/// `max_files_per_process` of them open.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub anonymous: u64,
    pub files: u64,
}

/// Every second or so.
pub fn run(soak: &Soak) -> Vec<Sample> {
    let mut samples = Vec::new();
    while !soak.is_over() {
        for kind in ["asn_inventory worker", "asn_inventory launcher"] {
            samples.extend(soak.cluster.pids_of(kind).into_iter().filter_map(look));
        }
        soak.pause(Duration::from_secs(1));
    }
    samples
}

fn look(pid: u32) -> Option<Sample> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let anonymous = line.trim().trim_end_matches(" kB").trim().parse().ok()?;
    let names =
        fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    let is_ours = |name: &std::path::PathBuf| {
        let name = name.to_string_lossy();
        !["/base/", "/global/", "/pg_wal/", "/pg_xact/"].iter().any(|part| name.contains(part))
    };
    Some(Sample { anonymous, files: names.filter(is_ours).count() as u64 })
}

/// The median of a part of the run.
pub fn median(samples: &[Sample], of: fn(&Sample) -> u64) -> u64 {
    let mut values: Vec<u64> = samples.iter().map(of).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}
