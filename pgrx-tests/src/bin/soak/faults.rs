//! What goes wrong: one fault after the other, until the time is over.

use std::collections::BTreeMap;
use std::time::Duration;

use asn_inventory_tests::fakes::{DnsFault, Fault, GreyNoiseFault, WhoisFault};
use asn_inventory_tests::mmdb::fixtures;
use serde_json::json;

use crate::Soak;
use crate::rng::Rng;

/// How often each happened.
pub type Faults = BTreeMap<&'static str, u64>;

/// PostgreSQL's own processes take some of them for requests; none may lose or double anything.
const SIGNALS: [i32; 9] = [
    libc::SIGKILL,
    libc::SIGKILL,
    libc::SIGTERM,
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGHUP,
    libc::SIGABRT,
    libc::SIGSEGV,
];

const RELOADS: [(&str, &str); 8] = [
    ("asn_inventory.absorb_interval", "20ms"),
    ("asn_inventory.absorb_interval", "1s"),
    ("asn_inventory.maxmind_editions", "GeoLite2-ASN,GeoLite2-City"),
    ("asn_inventory.maxmind_editions", "GeoLite2-City,GeoLite2-ASN"),
    ("asn_inventory.never_ask", "45.0.7.0/24"),
    ("asn_inventory.cymru", "off"),
    ("asn_inventory.cymru", "on"),
    ("asn_inventory.enabled", "on"),
];

/// Runs them. Returns early only by a panic: then the server did not come back.
pub fn run(soak: &Soak) -> Faults {
    let mut rng = Rng::of(100);
    let mut done = Faults::new();
    let mut build = 400;
    while !soak.is_over() {
        soak.pause(Duration::from_millis(500 + rng.below(4000)));
        let what = match rng.below(28) {
            0..=9 => signal(soak, &mut rng),
            10 => {
                // PostgreSQL 15 never ends when it is told to before the recovery after a crash has begun to read the WAL.
                soak.cluster.wait_ready();
                soak.cluster.stop_fast();
                "server stopped (fast)"
            }
            11 => {
                soak.cluster.stop_immediate();
                "server stopped (immediate)"
            }
            12 => {
                soak.cluster.kill9_postmaster();
                "postmaster killed"
            }
            13 => {
                soak.cluster.kill9_all();
                "all processes killed"
            }
            14..=15 => {
                build -= 1;
                new_file(soak, build);
                "new mmdb file"
            }
            16 => {
                let path = soak.cluster.maxmind_dir().join("GeoLite2-ASN.mmdb");
                std::fs::write(path, [7; 5000]).expect("a file");
                "damaged mmdb file"
            }
            17..=19 => {
                soak.fakes.clear_faults();
                source(soak, &mut rng);
                "fault of a source"
            }
            20 => freeze(soak, &mut rng),
            21 => full_disk(soak),
            22 => full_disk_for_all(soak),
            23..=25 if soak.clock.jumps() => {
                soak.clock.jump(&mut rng);
                "jump of the clock"
            }
            _ => {
                let (name, value) = rng.one(&RELOADS);
                // The server may have been hit by the fault before: then the setting is read when it is back.
                soak.cluster.wait_ready();
                soak.cluster.set(name, value);
                "reload"
            }
        };
        if !soak.cluster.is_started() {
            soak.cluster.start();
        }
        *done.entry(what).or_default() += 1;
    }
    done
}

fn signal(soak: &Soak, rng: &mut Rng) -> &'static str {
    // A server whose recovery is killed ends, as it should: that is not what this is about.
    let title = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let children = soak.cluster.children();
    let children: Vec<u32> = children.into_iter().filter(|pid| !title(*pid).contains("startup")).collect();
    if !children.is_empty() {
        let signal = *rng.one(&SIGNALS);
        soak.cluster.signal(*rng.one(&children), signal);
    }
    "signal to a process"
}

fn new_file(soak: &Soak, days: u64) {
    let dir = soak.cluster.maxmind_dir().join("new");
    std::fs::create_dir_all(&dir).expect("a directory");
    let city = json!({"city": {"names": {"en": format!("Build {days}")}}, "country": {"iso_code": "KR"}});
    let city = fixtures::small_city(fixtures::days_ago(days)).insert("34.64.0.0/16", city);
    city.write(&dir.join("GeoLite2-City.mmdb")).expect("a file");
    fixtures::small_asn(fixtures::days_ago(days)).write(&dir.join("GeoLite2-ASN.mmdb")).expect("a file");
    soak.cluster.install_mmdb(&dir);
}

fn source(soak: &Soak, rng: &mut Rng) {
    let dns = [DnsFault::Drop, DnsFault::Delay(300), DnsFault::Servfail, DnsFault::Garbage, DnsFault::Truncate];
    let whois = [WhoisFault::Refuse, WhoisFault::Cut(3), WhoisFault::Garbage, WhoisFault::Silent, WhoisFault::NulNames];
    let greynoise =
        [GreyNoiseFault::Refuse, GreyNoiseFault::Reset(20), GreyNoiseFault::Html200, GreyNoiseFault::Delay(400)];
    match rng.below(4) {
        0 => soak.fakes.fault(Fault::from(rng.one(&dns).clone())),
        1 => soak.fakes.fault(Fault::from(rng.one(&whois).clone())),
        2 => soak.fakes.fault(Fault::from(rng.one(&greynoise).clone())),
        _ => {}
    }
}

/// A disk that does not answer: the processes that write wait.
fn freeze(soak: &Soak, rng: &mut Rng) -> &'static str {
    let writers: Vec<u32> = ["checkpointer", "walwriter", "background writer", "asn_inventory worker"]
        .iter()
        .flat_map(|kind| soak.cluster.pids_of(kind))
        .collect();
    let all = |signal| writers.iter().filter(|pid| soak.cluster.signal(**pid, signal)).count();
    all(libc::SIGSTOP);
    soak.pause(Duration::from_millis(rng.below(3000)));
    all(libc::SIGCONT);
    "frozen disk"
}

/// No room for what the worker writes.
fn full_disk(soak: &Soak) -> &'static str {
    for pid in soak.cluster.pids_of("asn_inventory worker") {
        soak.cluster.limit_file_size(pid, Some(0));
    }
    soak.pause(Duration::from_secs(2));
    for pid in soak.cluster.pids_of("asn_inventory worker") {
        soak.cluster.limit_file_size(pid, None);
    }
    "full disk for the worker"
}

/// No room for what anybody writes, the WAL's next pages too: the server ends its processes and recovers.
fn full_disk_for_all(soak: &Soak) -> &'static str {
    let children = soak.cluster.children();
    children.iter().for_each(|pid| soak.cluster.limit_file_size(*pid, Some(0)));
    soak.pause(Duration::from_secs(1));
    children.iter().for_each(|pid| soak.cluster.limit_file_size(*pid, None));
    "full disk for all"
}
