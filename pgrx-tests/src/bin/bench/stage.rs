//! Common code of all parts: a durable cluster with a server's settings, full-size files, the addresses.

use asn_inventory_tests::cluster::{Cluster, query, target_dir};
use asn_inventory_tests::mmdb::fixtures::days_ago;
use asn_inventory_tests::mmdb::synthetic::Plan;
use postgres::Client;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::data;

pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// The database that everything happens in.
pub const DB: &str = "bench";
pub const CITY: &str = "GeoLite2-City.mmdb";
pub const ASN: &str = "GeoLite2-ASN.mmdb";
const SEED: u64 = 1;

/// The cluster, the files and the addresses.
pub struct Stage {
    pub cluster: Cluster,
    /// The files' directory.
    pub files: PathBuf,
    /// Distinct public addresses in random order; the table `addresses` holds the same.
    pub addresses: Vec<Ipv4Addr>,
    /// A tenth of everything.
    pub quick: bool,
}

impl Stage {
    /// Starts the server; no file is installed yet.
    pub fn new(quick: bool) -> Outcome<Stage> {
        let files = files(quick)?;
        let cluster = Cluster::builder()
            .durable(true)
            .conf("shared_buffers", "1GB")
            .conf("max_wal_size", "8GB")
            .conf("checkpoint_timeout", "30min")
            .start();
        execute(&mut cluster.client(), &format!("CREATE DATABASE {DB}"))?;
        let addresses = data::addresses(if quick { 100_000 } else { 1_000_000 });
        let stage = Stage { cluster, files, addresses, quick };
        let mut client = stage.session("setup");
        execute(&mut client, "CREATE EXTENSION asn_inventory; CREATE TABLE addresses (ip inet NOT NULL)")?;
        data::copy_addresses(&mut client, "addresses", &stage.addresses)?;
        execute(&mut client, "VACUUM (FREEZE, ANALYZE) addresses")?;
        Ok(stage)
    }

    /// A session that names its server process, for use with a profiler.
    pub fn session(&self, what: &str) -> Client {
        let mut client = self.cluster.connect(DB);
        let pid = value(&mut client, "SELECT pg_backend_pid()").unwrap_or_default();
        eprintln!("    {what}: backend {pid}");
        client
    }

    /// How many addresses.
    pub fn count(&self) -> u64 {
        self.addresses.len() as u64
    }

    /// Waits for the queue to be empty; how long that took.
    pub fn drained(&self, client: &mut Client) -> Outcome<Duration> {
        let start = Instant::now();
        while value(client, "SELECT EXISTS (SELECT FROM ip_observation)")? == "t" {
            if start.elapsed() > Duration::from_secs(300) {
                return Err("the queue is not empty after 300 s".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(start.elapsed())
    }

    /// One line about where this was measured.
    pub fn machine(&self) -> String {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or("unknown processor", |(_, name)| name.trim());
        let version = self.cluster.value(DB, "SHOW server_version");
        format!(
            "{cores} cores ({model}), PostgreSQL {version}, synthetic data{}",
            if self.quick { ", a tenth of everything (--quick)" } else { "" }
        )
    }
}

/// The files, made once and kept under the target directory.
fn files(quick: bool) -> Outcome<PathBuf> {
    let dir = target_dir().join("bench").join(if quick { "tenth" } else { "full" });
    fs::create_dir_all(&dir)?;
    let plans = [(CITY, Plan::full_city(SEED, days_ago(1))), (ASN, Plan::full_asn(SEED, days_ago(1)))];
    for (name, plan) in plans {
        let path = dir.join(name);
        if path.exists() {
            continue;
        }
        eprintln!("==> writing a synthetic {name}");
        let part = dir.join(format!("{name}.part"));
        plan.smaller(if quick { 10 } else { 1 }).write(&part)?;
        fs::rename(part, path)?;
    }
    Ok(dir)
}

/// A file's size in MB, for people.
pub fn megabytes(path: &Path) -> f64 {
    fs::metadata(path).map_or(0.0, |file| file.len() as f64 / 1e6)
}

/// Runs statements.
pub fn execute(client: &mut Client, sql: &str) -> Outcome<()> {
    query(client, sql).map_err(|failure| format!("{sql}: {failure:?}"))?;
    Ok(())
}

/// The first column of the first row, as text.
pub fn value(client: &mut Client, sql: &str) -> Outcome<String> {
    let rows = query(client, sql).map_err(|failure| format!("{sql}: {failure:?}"))?;
    Ok(rows.into_iter().flatten().next().flatten().unwrap_or_default())
}

/// The first column of the first row, as a number.
pub fn number(client: &mut Client, sql: &str) -> Outcome<f64> {
    let text = value(client, sql)?;
    text.parse().map_err(|_| format!("{sql}: {text:?} is no number").into())
}

/// Seconds that a running process has spent on a processor: steadier than a clock where cores are shared.
pub fn processor_time(pid: f64) -> Outcome<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let nanoseconds: f64 = text.split(' ').next().unwrap_or_default().parse()?;
    Ok(nanoseconds / 1e9)
}

/// The same of all processes of the cluster that ended, and of the worker.
pub fn server_time(stage: &Stage, client: &mut Client) -> Outcome<f64> {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", stage.cluster.pid()))?;
    let fields = text.rsplit_once(") ").map_or("", |(_, fields)| fields);
    // From the state on: cutime and cstime are the 14th and 15th, in hundredths of a second.
    let ticks: f64 = fields.split(' ').skip(13).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    let worker = number(client, "SELECT worker_pid FROM _worker_status()")?;
    Ok(ticks / 100.0 + processor_time(worker)?)
}

/// How long `work` takes.
pub fn timed<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<(Duration, T)> {
    let start = Instant::now();
    let made = work()?;
    Ok((start.elapsed(), made))
}

/// The least: for pure computation, any time above it comes from other load on the machine.
pub fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// The middle one; of an even number, the mean of the two in the middle.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { (sorted[middle - 1] + sorted[middle]) / 2.0 } else { sorted[middle] }
}
