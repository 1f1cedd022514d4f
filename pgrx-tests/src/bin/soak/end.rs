//! After the faults: everything has to be counted exactly, answered, and tidy.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use asn_inventory_tests::fakes::Service;

use crate::faults::Faults;
use crate::memory::{Sample, median};
use crate::{DB, QUOTA, Soak, load};

/// How long everything may take to be done with.
const PATIENCE: Duration = Duration::from_secs(300);
/// Growth of private memory from the first third of the run to the last, in kB: what a first failure, a first report or
/// a first file needs once.
const GROWTH: u64 = 8 * 1024;

/// Prints what was found, a line each; how many are wrong.
pub fn check(soak: &Soak, faults: &Faults, memory: &[Sample], ran: Duration) -> usize {
    recover(soak);
    let mut report = Report::default();
    let value = |sql: &str| soak.cluster.value(DB, sql);
    report.said("seconds", ran.as_secs());
    report.said("faults", faults.values().sum::<u64>());
    faults.iter().for_each(|(what, times)| report.said(&format!("  {what}"), times));
    report.said("transactions committed", soak.committed.load(Ordering::Relaxed));
    report.said("connections lost", soak.lost_connections.load(Ordering::Relaxed));
    report.said("jobs and reports that succeeded", soak.jobs.load(Ordering::Relaxed));

    let done =
        "SELECT (SELECT count(*) FROM ip_observation) || ' ' || (SELECT count(*) FROM enrichment_progress) || ' '
        || (SELECT count(*) FROM ip_inventory WHERE cymru_status IN ('pending', 'failed'))";
    let waited = Instant::now();
    while value(done) != "0 0 0" && waited.elapsed() < PATIENCE {
        // What failed waits for its turn: up to hours, which this cannot.
        let _ = soak.cluster.try_sql(DB, "UPDATE ip_inventory SET cymru_retry_at = now() WHERE cymru_retry_at > now()");
        std::thread::sleep(Duration::from_secs(1));
    }
    report.is("queued rows, running jobs, addresses that wait for Team Cymru", &value(done), "0 0 0");
    report.said("seconds until then", waited.elapsed().as_secs());

    let all = load::TABLES.map(|table| format!("SELECT ip FROM {table}")).join(" UNION ALL ");
    report.said("rows", value(&format!("SELECT count(*) FROM ({all}) e")));
    let events = value(&format!("SELECT count(ip) FROM ({all}) e"));
    report.is("observations", &value("SELECT sum(observation_count) FROM ip_inventory"), &events);
    let wrong = format!(
        "SELECT count(*) FROM ip_inventory i FULL JOIN (SELECT ip, count(*) AS n FROM ({all}) a WHERE ip IS NOT NULL GROUP BY 1) e
         ON e.ip = i.ip_address WHERE e.n IS DISTINCT FROM i.observation_count"
    );
    report.is("addresses with a wrong count", &value(&wrong), "0");
    report.is("observations by table and sensor", &value("SELECT sum(observation_count) FROM ip_sighting"), &events);
    let by_hour = "SELECT sum(u.seen) FROM ip_activity a, unpack_observations(a.packed) u WHERE a.addresses > 0";
    report.is("observations by the hour", &value(by_hour), &events);
    for table in load::TABLES {
        let (what, rows) = (format!("observations of {table}"), value(&format!("SELECT count(ip) FROM {table}")));
        report.is(&what, &value(&format!("SELECT observations FROM ip_source WHERE tbl = '{table}'::regclass")), &rows);
    }
    report.is(
        "addresses without MaxMind's answer",
        &value("SELECT count(*) FROM ip_inventory WHERE maxmind_status NOT IN ('found', 'not_found', 'skipped')"),
        "0",
    );
    let sent = soak.fakes.count(Service::Greynoise);
    let used: u64 = value("SELECT coalesce(sum(used), 0) FROM source_quota").parse().unwrap_or(0);
    report.is(
        "questions to GreyNoise within the ledger and the quota",
        &(sent <= used && used <= QUOTA).to_string(),
        "true",
    );
    report.said("  sent, in the ledger", format!("{sent}, {used}"));

    report.is("files left over in the store", &left_over(soak).to_string(), "0");
    report.is(
        "prepared transactions, replication slots",
        &value("SELECT (SELECT count(*) FROM pg_prepared_xacts) + (SELECT count(*) FROM pg_replication_slots)"),
        "0",
    );
    report.is("errors of the doctor", &value("SELECT coalesce(string_agg(check_name || ': ' || detail, '; '), '') FROM enrichment_doctor() WHERE level = 'error'"), "");
    report.is("looks at memory and files are enough", &(memory.len() >= 30).to_string(), "true");
    let third = memory.len() / 3;
    let [first, last] = [&memory[..third], &memory[memory.len() - third..]];
    let kb = |samples: &[Sample]| median(samples, |sample| sample.anonymous);
    let files = |samples: &[Sample]| median(samples, |sample| sample.files);
    report.said("private memory of a process, first and last third (kB)", format!("{} {}", kb(first), kb(last)));
    report.is("memory is flat", &(kb(last) <= kb(first) + GROWTH).to_string(), "true");
    report
        .said("open files besides those of tables, first and last third", format!("{} {}", files(first), files(last)));
    report.is("open files are flat", &(files(last) <= files(first) + 5).to_string(), "true");
    report.wrong
}

/// Ends every fault.
fn recover(soak: &Soak) {
    soak.fakes.clear_faults();
    if !soak.cluster.is_started() {
        soak.cluster.start();
    }
    soak.cluster.wait_ready();
    soak.clock.set_right(&soak.cluster);
    let settings = [
        ("asn_inventory.never_ask", ""),
        ("asn_inventory.cymru", "on"),
        ("asn_inventory.absorb_interval", "20ms"),
        ("asn_inventory.maxmind_editions", "GeoLite2-City,GeoLite2-ASN"),
    ];
    settings.iter().for_each(|(name, value)| soak.cluster.set(name, value));
    let new = soak.cluster.maxmind_dir().join("new");
    if new.is_dir() {
        soak.cluster.install_mmdb(&new);
    }
    for name in soak.cluster.lines(DB, "SELECT gid FROM pg_prepared_xacts").iter().filter(|name| !name.is_empty()) {
        soak.cluster.sql(DB, &format!("COMMIT PREPARED '{name}'"));
    }
}

/// Entries of the store that nobody will use again.
fn left_over(soak: &Soak) -> usize {
    let store = soak.cluster.data_dir().join("asn_inventory");
    let names = |dir: &str| -> Vec<String> {
        let entries = fs::read_dir(store.join(dir)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let generations = names("generations");
    // One that answers and the one before it, of two editions.
    generations.len().saturating_sub(4) + generations.iter().filter(|name| name.starts_with("tmp-")).count()
}

#[derive(Default)]
struct Report {
    wrong: usize,
}

impl Report {
    fn said(&mut self, what: &str, value: impl std::fmt::Display) {
        println!("{what:<66} {value}");
    }

    fn is(&mut self, what: &str, found: &str, wanted: &str) {
        if found == wanted {
            println!("{what:<66} {found:<12} ok");
        } else {
            self.wrong += 1;
            println!("{what:<66} {found:<12} WRONG, not {wanted}");
        }
    }
}
