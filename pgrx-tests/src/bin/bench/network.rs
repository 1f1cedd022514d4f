//! The network sources, against fakes on the loopback: how fast answers are written, how few questions are asked, how
//! well a rate is used, the cost of dead sources for ingest, and the memory of a large refresh. Each has its own
//! cluster, whose files know none of the addresses.

use asn_inventory_tests::cluster::{Cluster, private_dir};
use asn_inventory_tests::fakes::{Announcement, Data, DnsFault, Fakes, Fault, GreyNoiseFault, Service, WhoisFault};
use asn_inventory_tests::mmdb::fixtures;
use postgres::Client;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::ingest;
use crate::stage::{DB, Outcome, Stage, execute, number, timed, value};
use crate::table::{Row, thousands};

/// The answer time of a bulk session.
const BULK_DELAY_MS: u64 = 100;
const ADDRESSES: u64 = 10_000;
const MAX_SECONDS: f64 = 5.0;
const PREFIXES: u64 = 500;
/// One a /24, of which each prefix has sixteen.
const MAX_ASKED: f64 = 8000.0;

const RATE: f64 = 200.0;
const DNS_DELAY_MS: u64 = 20;
const MAX_OFF_RATE_PERCENT: f64 = 10.0;

const REFRESHED: u64 = 1_000_000;
const MAX_MEMORY_MB: f64 = 100.0;

/// More than anything here takes, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(300);

pub fn run(stage: &Stage) -> Outcome<Vec<Row>> {
    let mut rows = vec![many_prefixes(stage)?, few_prefixes(stage)?, rate(stage)?];
    rows.extend(ingest::beside_dead_sources(stage)?);
    rows.extend(memory(stage)?);
    Ok(rows)
}

/// A cluster that asks the fakes, as a stage without addresses.
pub struct Site {
    pub stage: Stage,
    pub fakes: Fakes,
}

impl Site {
    /// Starts both; `conf` in the settings beside those that make the cluster ask the fakes.
    pub fn start(name: &str, quick: bool, conf: &[(&str, &str)]) -> Outcome<Site> {
        let fakes = Fakes::start(&private_dir().join(format!("fakes-{name}")));
        let mut builder = Cluster::builder().durable(true).conf("shared_buffers", "1GB").conf("max_wal_size", "8GB");
        for (setting, value) in fakes.settings() {
            builder = builder.conf(&setting, &value);
        }
        for (setting, value) in [("cymru", "on"), ("greynoise", "off")].iter().chain(conf) {
            builder = builder.conf(&format!("asn_inventory.{setting}"), value);
        }
        let cluster = builder.start();
        fixtures::small(&cluster.maxmind_dir());
        execute(&mut cluster.client(), &format!("CREATE DATABASE {DB}"))?;
        let stage = Stage { cluster, files: PathBuf::new(), addresses: Vec::new(), quick };
        let mut client = stage.session(&format!("network, {name}"));
        execute(&mut client, "CREATE EXTENSION asn_inventory")?;
        reaches(
            &mut client,
            "SELECT (SELECT worker FROM enrichment_status) = 'running' AND ip_country('81.2.69.142') = 'GB'",
            "t",
        )?;
        Ok(Site { stage, fakes })
    }

    /// Observes the addresses that a query gives; they are due at Team Cymru from then on.
    fn observe(&self, client: &mut Client, addresses: &str) -> Outcome<()> {
        execute(
            client,
            &format!(
                "INSERT INTO ip_observation (address, seen, first_seen, last_seen) SELECT ip, 1, now(), now() FROM ({addresses}) a(ip);
                 SELECT absorb_observations()"
            ),
        )
    }
}

/// Waits until a query gives `wanted`.
fn reaches(client: &mut Client, sql: &str, wanted: &str) -> Outcome<()> {
    let start = Instant::now();
    while value(client, sql)? != wanted {
        if start.elapsed() > PATIENCE {
            return Err(format!("{sql} is not {wanted} after {} s", PATIENCE.as_secs()).into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

const FOUND: &str = "SELECT count(*) FROM ip_inventory WHERE cymru_status = 'found'";

/// Every address in a prefix of its own: as many answers as addresses.
fn many_prefixes(stage: &Stage) -> Outcome<Row> {
    let site = Site::start("many", stage.quick, &[])?;
    site.fakes.rule("45.0.0.0/8", 24, 64500, "DE");
    site.fakes.fault(WhoisFault::Delay(BULK_DELAY_MS));
    let mut client = site.stage.session("network, many prefixes");
    let (took, ()) = timed(|| {
        site.observe(
            &mut client,
            &format!("SELECT '45.0.0.1'::inet + n * 256 FROM generate_series(0, {ADDRESSES} - 1) n"),
        )?;
        reaches(&mut client, FOUND, &ADDRESSES.to_string())
    })?;
    let asked = site.fakes.counts(Service::Whois);
    let seconds = took.as_secs_f64();
    Ok(Row::new(
        format!("network: {0} addresses of {0} prefixes, answers after {BULK_DELAY_MS} ms", thousands(ADDRESSES)),
        format!("{seconds:.2} s"),
    )
    .against(format!("{} bulk sessions, {} questions", asked.requests, thousands(asked.addresses)))
    .at_most(seconds, MAX_SECONDS, " s"))
}

/// Many addresses of few prefixes: few questions.
fn few_prefixes(stage: &Stage) -> Outcome<Row> {
    let site = Site::start("few", stage.quick, &[])?;
    site.fakes.rule("45.0.0.0/8", 20, 64500, "DE");
    let mut client = site.stage.session("network, few prefixes");
    let addresses = format!(
        "SELECT '45.0.0.1'::inet + (n % {PREFIXES}) * 4096 + n / {PREFIXES} * 200 FROM generate_series(0, {ADDRESSES} - 1) n"
    );
    let (took, ()) = timed(|| {
        site.observe(&mut client, &addresses)?;
        reaches(&mut client, FOUND, &ADDRESSES.to_string())
    })?;
    let asked = site.fakes.counts(Service::Whois).addresses + origins_asked(&site);
    Ok(Row::new(
        format!("network: {} addresses of {PREFIXES} prefixes, addresses asked about", thousands(ADDRESSES)),
        thousands(asked),
    )
    .against(format!("all written after {:.2} s", took.as_secs_f64()))
    .at_most(asked as f64, MAX_ASKED, ""))
}

/// Addresses that DNS was asked about, without the names of AS.
fn origins_asked(site: &Site) -> u64 {
    site.fakes.counts(Service::Dns).addresses
}

/// DNS alone, where its rate is what limits.
fn rate(stage: &Stage) -> Outcome<Row> {
    let conf = [("cymru_bulk_min", "2147483647"), ("cymru_rate", "200")];
    let site = Site::start("rate", stage.quick, &conf)?;
    let count: u64 = if stage.quick { 1000 } else { 3000 };
    let prefix =
        |n: u64| -> Ipv4Addr { Ipv4Addr::from_bits(0x2d00_0000 + (((n % 250) << 16) | ((n / 250) << 12)) as u32) };
    let announce = (0..count).map(|n| Announcement {
        prefix: ipnetwork::IpNetwork::new(prefix(n).into(), 24).unwrap_or_else(|e| panic!("{e}")),
        origins: vec![64500],
        country: "DE".into(),
        registry: "ripencc".into(),
        allocated: "2001-01-01".into(),
    });
    site.fakes.add(Data { announce: announce.collect(), ..Data::default() });
    site.fakes.fault(DnsFault::Delay(DNS_DELAY_MS));
    let mut client = site.stage.session("network, rate");
    site.observe(
        &mut client,
        &format!("SELECT '45.0.0.1'::inet + (n % 250) * 65536 + n / 250 * 4096 FROM generate_series(0, {count} - 1) n"),
    )?;
    // The ends are left out: a full bucket at first, the last answers at last.
    let reach = |wanted: u64| -> Outcome<(Instant, u64)> {
        let start = Instant::now();
        loop {
            let asked = site.fakes.count(Service::Dns);
            if asked >= wanted {
                return Ok((Instant::now(), asked));
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("{asked} questions instead of {wanted}").into());
            }
            thread::sleep(Duration::from_millis(5));
        }
    };
    let (from, first) = reach(count / 10)?;
    let (until, last) = reach(count * 9 / 10)?;
    reaches(&mut client, FOUND, &count.to_string())?;
    let rate = (last - first) as f64 / (until - from).as_secs_f64();
    Ok(Row::new(format!("network: DNS, answers after {DNS_DELAY_MS} ms"), format!("{rate:.0} /s"))
        .against(format!("{RATE:.0} /s  cymru_rate"))
        .ratio(rate / RATE)
        .at_most(((rate / RATE - 1.0) * 100.0).abs(), MAX_OFF_RATE_PERCENT, " % off"))
}

/// Makes a site's sources dead: connections open, and nothing comes.
pub fn kill_sources(fakes: &Fakes) {
    let faults: [Fault; 3] = [DnsFault::Drop.into(), WhoisFault::Silent.into(), GreyNoiseFault::Hang.into()];
    faults.into_iter().for_each(|fault| fakes.fault(fault));
}

/// The worker's own memory through refreshes of everything: of stale rows, and of a range.
fn memory(stage: &Stage) -> Outcome<Vec<Row>> {
    let site = Site::start("memory", stage.quick, &[])?;
    site.fakes.rule("45.0.0.0/8", 22, 64500, "DE");
    let count = if stage.quick { REFRESHED / 10 } else { REFRESHED };
    let mut client = site.stage.session("network, memory");
    // Answered once, and old: only a refresh asks about them.
    execute(
        &mut client,
        &format!(
            "INSERT INTO ip_inventory (ip_address, ip_class, maxmind_status, maxmind_ts, cymru_status, cymru_ts, greynoise_status)
             SELECT '45.0.0.0'::inet + n * 8, 'public', 'not_found', now(), 'not_found', now() - interval '1 year', 'skipped'
             FROM generate_series(0, {count} - 1) n"
        ),
    )?;
    execute(&mut client, "VACUUM ANALYZE ip_inventory")?;
    let worker = number(&mut client, "SELECT worker_pid FROM _worker_status()")?;
    let mut rows = Vec::new();
    for refresh in [&format!("refresh_stale('cymru', {count})"), "refresh_range('45.0.0.0/8', 'cymru')"] {
        let before = anonymous(worker)?;
        let (peak, (took, enriched)) =
            peak_of(worker, before, || timed(|| number(&mut client, &format!("SELECT enriched FROM {refresh}"))))?;
        let (seconds, enriched) = (took.as_secs_f64(), enriched as u64);
        if enriched != count {
            return Err(format!("{refresh}: {enriched} addresses instead of {count}").into());
        }
        let name = refresh.split_once('(').map_or("", |(name, _)| name);
        rows.push(
            Row::new(
                format!("network: memory of the worker, {name} of {} addresses", thousands(count)),
                format!("{peak:.0} MB"),
            )
            .against(format!("{before:.0} MB  before; {seconds:.1} s"))
            .at_most(peak, MAX_MEMORY_MB, " MB"),
        );
    }
    Ok(rows)
}

/// The most memory of a process during `work`, and the result of `work`.
fn peak_of<T>(pid: f64, before: f64, work: impl FnOnce() -> Outcome<T>) -> Outcome<(f64, T)> {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let looker = scope.spawn(|| {
            let mut peak = before;
            while !ended.load(Ordering::Acquire) {
                peak = peak.max(anonymous(pid).unwrap_or(0.0));
                thread::sleep(Duration::from_millis(10));
            }
            peak
        });
        let done = work();
        ended.store(true, Ordering::Release);
        let peak = looker.join().map_err(|_| "nobody looked at the memory")?;
        Ok((peak, done?))
    })
}

/// A process's memory without files and the server's shared memory, in MB.
fn anonymous(pid: f64) -> Outcome<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB"));
    Ok(line.ok_or("no RssAnon")?.parse::<f64>()? / 1024.0)
}
