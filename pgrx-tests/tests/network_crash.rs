//! The worker may be killed at any time while sources are being asked: every address gets its answer, none is counted
//! wrongly, and no question is sent that the quota does not pay for.

use crate::network_support::*;
use asn_inventory_tests::prelude::*;
use std::hash::{BuildHasher, RandomState};

const MANY: u64 = 10_000;
/// GreyNoise is asked about these.
const FEW: u64 = 200;
const QUOTA: u64 = 300;
const KILLS: usize = 5;

/// From 1 to `most`.
fn random(most: u64) -> u64 {
    RandomState::new().hash_one(0) % most + 1
}

#[test]
fn a_worker_killed_at_random_moments_leaves_nothing_unasked_and_overspends_nothing() {
    let world = World::options()
        .conf("greynoise_rate", "100")
        .conf("greynoise_quota", &QUOTA.to_string())
        .conf("greynoise_quota_window", "week")
        .start();
    world.fakes.rule("2a00:1000::/32", 48, 64500, "DE");
    world.fakes.rule("45.0.0.0/8", 24, 164_500, "DE");
    // Slow enough for most kills to come while answers are outstanding.
    world.fakes.fault(WhoisFault::Delay(150));
    world.fakes.fault(GreyNoiseFault::Delay(50));
    world.sql("CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')");
    let insert = |share: u64| {
        format!(
            "INSERT INTO events SELECT ('2a00:1000:' || to_hex(n) || '::1')::inet FROM generate_series(1, {MANY}) n WHERE n % {share} = 0;
             INSERT INTO events SELECT '45.0.0.1'::inet + n * 256 FROM generate_series(1, {FEW}) n WHERE n % {share} = 0"
        )
    };
    world.sql(&insert(1));
    let asked = || world.fakes.count(Service::Whois) + world.fakes.count(Service::Greynoise);
    for round in 1..=KILLS {
        let until = asked() + random(FEW / KILLS as u64 - 10);
        wait_until("the sources to be asked", || asked() >= until);
        let worker = wait_for("a worker", || world.cluster.pid_of("asn_inventory worker"), Option::is_some);
        world.cluster.kill9(worker.expect("a worker"));
        wait_until("the crash to be noticed", || {
            world.cluster.log().matches("all server processes terminated").count() >= round
        });
        world.cluster.wait_ready();
        // Ingest goes on meanwhile.
        world.sql(&insert(round as u64 + 1));
    }
    let all = (MANY + FEW).to_string();
    world.wait("SELECT count(*) FROM ip_inventory WHERE cymru_status = 'found'", &all);
    world.wait("SELECT count(*) FROM ip_inventory WHERE greynoise_status = 'not_found'", &FEW.to_string());
    world.wait("SELECT count(*) FROM ip_inventory WHERE greynoise_status NOT IN ('not_found', 'skipped')", "0");
    world.wait("SELECT count(*) FROM ip_observation", "0");
    assert_eq!(world.value("SELECT count(*) FROM ip_inventory"), all);
    assert_eq!(
        world.lines(
            "SELECT e.ip, e.n, i.observation_count FROM ip_inventory i
             FULL JOIN (SELECT ip, count(*) AS n FROM events GROUP BY 1) e ON e.ip = i.ip_address
             WHERE e.n IS DISTINCT FROM i.observation_count LIMIT 10"
        ),
        [""; 0],
        "counted wrongly: address, events, counted"
    );
    // The answers are those of each address's own prefix.
    assert_eq!(world.row("45.0.7.1", "asn_number, network"), "164507|45.0.7.0/24");
    assert_eq!(world.row("2a00:1000:2000::1", "asn_number, network"), "72692|2a00:1000:2000::/48");
    let sent = world.fakes.count(Service::Greynoise);
    let used: u64 = world.value("SELECT used FROM source_quota WHERE source = 'greynoise'").parse().expect("a number");
    assert!(FEW <= sent && sent <= used && used <= QUOTA, "{sent} questions, {used} in the ledger, of {QUOTA}");
    assert_eq!(world.source("cymru", "state") + &world.source("greynoise", "state"), "okok");
}
