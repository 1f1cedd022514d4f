//! `soak SECONDS`: loaders, jobs, new files, faults of the sources and reloads, while processes of the server get every
//! signal and the server is stopped and started; then everything is counted.
//!
//! One private cluster, and fakes of the network sources on loopback. It ends by itself.

mod clock;
mod end;
mod faults;
mod jobs;
mod load;
mod memory;
mod rng;

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use asn_inventory_tests::cluster::{Cluster, private_dir};
use asn_inventory_tests::fakes::Fakes;
use asn_inventory_tests::mmdb::fixtures;
use clock::Clock;

/// The database of everything.
pub const DB: &str = "postgres";
/// What GreyNoise may be asked.
pub const QUOTA: u64 = 5_000;
const LOADERS: u64 = 3;

/// What all threads have in common.
pub struct Soak {
    /// The server.
    pub cluster: Cluster,
    /// The network sources.
    pub fakes: Fakes,
    /// The server's clock.
    pub clock: Clock,
    stop: AtomicBool,
    /// Transactions of the loaders that were committed.
    pub committed: AtomicU64,
    /// Connections that a loader lost.
    pub lost_connections: AtomicU64,
    /// Calls of the user that succeeded.
    pub jobs: AtomicU64,
}

impl Soak {
    /// Whether the time is over.
    pub fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits so long, or until the time is over.
    pub fn pause(&self, most: Duration) {
        let until = Instant::now() + most;
        while !self.is_over() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// One table for each way to observe, and one with partitions: those of `load::TABLES`.
const SETUP: &str = "CREATE EXTENSION asn_inventory;
    CREATE TABLE events (ip inet, at timestamptz NOT NULL DEFAULT now());
    CREATE TABLE parted (ip inet, n int) PARTITION BY HASH (n);
    CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    CREATE TABLE by_index (ip inet, n bigint UNIQUE);
    CREATE TABLE by_row (ip inet);
    SELECT attach_ip_source('events', '{ip}', 'at'), attach_ip_source('parted', '{ip}'),
        attach_ip_source('by_index', '{ip}', method => 'index'), attach_ip_source('by_row', '{ip}', method => 'row')";

fn main() -> ExitCode {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse::<u64>().ok());
    let Some(seconds) = seconds.filter(|seconds| *seconds > 0) else {
        eprintln!("usage: soak SECONDS");
        return ExitCode::from(2);
    };
    let soak = start(&private_dir().join("fakes"));
    println!("==> {seconds} s of soak, seed {}", rng::seed());
    let began = Instant::now();
    let (faults, memory) = std::thread::scope(|scope| {
        let soak = &soak;
        for number in 0..LOADERS {
            scope.spawn(move || load::run(soak, number));
        }
        scope.spawn(move || jobs::run(soak));
        let memory = scope.spawn(move || memory::run(soak));
        let faults = scope.spawn(move || faults::run(soak));
        while began.elapsed() < Duration::from_secs(seconds) && !faults.is_finished() {
            std::thread::sleep(Duration::from_millis(100));
        }
        soak.stop.store(true, Ordering::Relaxed);
        (faults.join(), memory.join())
    });
    let (Ok(faults), Ok(memory)) = (faults, memory) else { return ExitCode::FAILURE };
    let wrong = end::check(&soak, &faults, &memory, began.elapsed());
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn start(dir: &Path) -> Soak {
    let fakes = Fakes::start(dir);
    fakes.rule("45.0.0.0/8", 24, 164_500, "DE");
    fakes.rule("2a00:1000::/32", 48, 64_500, "DE");
    let own = [
        ("asn_inventory.cymru", "on"),
        ("asn_inventory.cymru_rate", "1000"),
        ("asn_inventory.absorb_interval", "200ms"),
        ("asn_inventory.greynoise_rate", "50"),
        ("asn_inventory.greynoise_quota_window", "week"),
        ("max_prepared_transactions", "10"),
        ("max_worker_processes", "20"),
        ("log_min_messages", "warning"),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let quota = ("asn_inventory.greynoise_quota".to_owned(), QUOTA.to_string());
    let settings = fakes.settings().into_iter().chain(own).chain([quota]);
    let builder = settings.fold(Cluster::builder().durable(true), |builder, (name, value)| builder.conf(&name, &value));
    let (clock, builder) = Clock::of(builder, dir);
    let cluster = builder.start();
    clock.check(&cluster);
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql(DB, SETUP);
    cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    let [committed, lost_connections, jobs] = [(); 3].map(|()| AtomicU64::new(0));
    Soak { cluster, fakes, clock, stop: AtomicBool::new(false), committed, lost_connections, jobs }
}
