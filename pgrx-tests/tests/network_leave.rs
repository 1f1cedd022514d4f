//! Data that leaves the server: from a reload on, no address that the present settings forbid, even if it was queued,
//! waits for its turn, or was to be repeated. The tests count the requests at the sources.

use crate::network_support::*;
use asn_inventory_tests::prelude::*;

/// Sixty addresses that only the network knows, at two questions a second.
fn queued(options: Options) -> World {
    let world = options.conf("greynoise_rate", "2").conf("cymru_rate", "2").conf("cymru_bulk_min", "1000").start();
    world.fakes.rule("71.0.0.0/8", 24, 64500, "DE");
    world.sql(
        "INSERT INTO ip_observation (address, seen, first_seen, last_seen)
         SELECT '71.0.0.1'::inet + n * 256, 1, now(), now() FROM generate_series(1, 60) n;
         SELECT absorb_observations()",
    );
    world
}

fn heard(world: &World) -> u64 {
    world.fakes.count(Service::Greynoise) + world.fakes.count(Service::Dns) + world.fakes.count(Service::Whois)
}

/// Waits until some were asked, changes the settings, waits until all is settled, and checks that the sources got few
/// requests meanwhile: those on the wire, and those sent before the worker read the settings.
fn nothing_more(world: &World, change: impl FnOnce(), settled: &str) {
    wait_until("some questions", || heard(world) >= 3);
    change();
    let at_reload = heard(world);
    world.wait(settled, "t");
    world.wait("SELECT bool_and(in_flight = 0) FROM source_status WHERE source IN ('cymru', 'greynoise')", "t");
    let after = heard(world);
    assert!(after <= at_reload + 3, "{after} after {at_reload}");
    // A waiting question would be asked within half a second: an event is absorbed, which takes longer.
    world.observe(&[("8.8.8.8", 1)]);
    world.wait_row("8.8.8.8", "asn_source", "maxmind");
    assert_eq!(world.fakes.times(Service::Dns, "8.8.8.8"), 0);
    assert!(heard(world) <= after + 1, "{} after {after}", heard(world));
}

#[test]
fn never_ask_holds_for_queued_addresses() {
    for (cymru, greynoise) in [("on", "off"), ("off", "on")] {
        let world = queued(World::options().conf("cymru", cymru).conf("greynoise", greynoise));
        let change = || world.cluster.set("asn_inventory.never_ask", "71.0.0.0/8");
        let source = if cymru == "on" { "cymru" } else { "greynoise" };
        let settled = format!(
            "SELECT count(*) FILTER (WHERE {source}_status IN ('pending', 'failed')) = 0
                AND count(*) FILTER (WHERE {source}_detail = 'asn_inventory.never_ask') > 50 FROM ip_inventory
             WHERE ip_address <<= '71.0.0.0/8'"
        );
        nothing_more(&world, change, &settled);
    }
}

#[test]
fn a_source_that_is_switched_off_gets_no_more_requests() {
    for source in ["cymru", "greynoise"] {
        let other = if source == "cymru" { "greynoise" } else { "cymru" };
        let world = queued(World::options().conf(source, "on").conf(other, "off"));
        let change = || world.cluster.set(&format!("asn_inventory.{source}"), "off");
        let settled = format!(
            "SELECT count(*) FILTER (WHERE {source}_status IN ('pending', 'failed')) = 0
                AND count(*) FILTER (WHERE {source}_detail = 'the source is switched off') > 50 FROM ip_inventory
             WHERE ip_address <<= '71.0.0.0/8'"
        );
        nothing_more(&world, change, &settled);
        // Nothing is lost: once it is on again, they are asked about.
        world.cluster.set(&format!("asn_inventory.{source}"), "on");
        world.cluster.set(&format!("asn_inventory.{source}_rate"), "1000");
        let all = format!(
            "SELECT count(*) FROM ip_inventory WHERE {source}_status IN ('found', 'not_found') AND ip_address <<= '71.0.0.0/8'"
        );
        world.wait(&all, "60");
    }
}

#[test]
fn a_removed_key_stops_questions_at_once() {
    let world = queued(World::options().conf("cymru", "off").conf("greynoise", "auto"));
    let change = || {
        std::fs::remove_file(world.fakes.key_file()).expect("removed");
        world.cluster.reload();
    };
    nothing_more(&world, change, "SELECT state = 'no key' FROM source_status WHERE source = 'greynoise'");
    // Addresses that were not asked about are still due, and cost no quota.
    let asked = world.fakes.count(Service::Greynoise);
    let due = "SELECT count(*) FROM ip_inventory WHERE greynoise_status = 'pending' AND ip_address <<= '71.0.0.0/8'";
    world.wait(due, &(60 - asked).to_string());
    // What was paid for questions that were not sent is given back with the next look at the ledger.
    world.wait("SELECT used FROM source_quota WHERE source = 'greynoise'", &asked.to_string());
}

#[test]
fn a_reload_counts_for_a_hundred_thousand_rows_at_once() {
    let world =
        World::options().conf("greynoise", "off").conf("cymru_rate", "1").conf("cymru_bulk_min", "2000000000").start();
    world.fakes.rule("71.0.0.0/8", 24, 64500, "DE");
    world.sql(
        "INSERT INTO ip_inventory (ip_address, observation_count, ip_class, maxmind_status, maxmind_ts, cymru_status, greynoise_status)
         SELECT '71.0.0.1'::inet + n * 40, 1, 'public', 'not_found', now(), 'pending', 'skipped' FROM generate_series(1, 100000) n",
    );
    wait_until("the first questions", || world.fakes.count(Service::Dns) >= 2);
    world.cluster.set("asn_inventory.never_ask", "71.0.0.0/8");
    let at_reload = world.fakes.count(Service::Dns);
    world.wait("SELECT count(*) FROM ip_inventory WHERE cymru_status = 'pending'", "0");
    // Names of AS are not addresses.
    let addresses = world.fakes.asked(Service::Dns).iter().filter(|asked| !asked.what.starts_with("AS")).count() as u64;
    assert!(addresses <= at_reload + 2, "{addresses} after {at_reload}");
    let left = "SELECT count(*) FROM ip_inventory WHERE cymru_detail = 'asn_inventory.never_ask'";
    assert!(world.value(left).parse::<u64>().expect("a number") >= 100_000 - 20 * addresses);
}

#[test]
fn a_waiting_session_does_not_cause_forbidden_questions() {
    let world = queued(World::options().conf("greynoise", "off"));
    let answers = std::thread::scope(|scope| {
        let session = || world.lines("SELECT cymru_status FROM enrich_ip('72.0.0.1', '60s')");
        let waiting = scope.spawn(session);
        world.wait("SELECT count(*) FROM ip_inventory WHERE ip_address = '72.0.0.1'", "1");
        world.cluster.set("asn_inventory.cymru", "off");
        waiting.join().expect("an answer")
    });
    // It was asked before, or is not asked at all; either way the session is told.
    assert!(["found", "not_found", "skipped"].contains(&answers[0].as_str()), "{answers:?}");
}

#[test]
fn a_late_answer_wakes_no_other_session() {
    let world = World::options().conf("greynoise", "off").conf("cymru_timeout", "30s").start();
    world.fakes.rule("45.0.0.0/8", 16, 64500, "DE");
    world.fakes.fault(Fault::from(DnsFault::Delay(2000)).within("45.1.0.0/16"));
    world.fakes.fault(Fault::from(DnsFault::Delay(6000)).within("45.2.0.0/16"));
    world.sql("CREATE DATABASE other");
    world.cluster.sql("other", "CREATE EXTENSION asn_inventory");
    world.cluster.wait_value("other", "SELECT worker FROM enrichment_status", "running");
    world.cluster.wait_walked("other");
    let ask = |ip: &str, wait: &str| format!("SELECT cymru_status FROM enrich_ip('{ip}', '{wait}')");
    for (n, db) in [(1, DB), (2, "other")] {
        // It gives up, and gives its place back; the next one gets it, and the answer to the first comes while it waits.
        assert_eq!(world.value(&ask(&format!("45.1.{n}.1"), "300ms")), "pending");
        assert_eq!(world.cluster.value(db, &ask(&format!("45.2.{n}.1"), "60s")), "found", "{db}");
    }
}

#[test]
fn without_a_worker_it_is_unknown_how_the_sources_stand() {
    let world = World::start();
    world.wait_source("cymru", "state", "ok");
    world.cluster.stop_worker(DB);
    for source in ["cymru", "greynoise"] {
        assert_eq!(world.source(source, "state, in_flight, retry_at"), "unknown|0|", "{source}");
    }
}

#[test]
fn a_worker_that_rests_shows_how_the_sources_stand() {
    let world = World::options().without_files().conf("enabled", "off").start();
    world.wait_source("cymru", "state", "ok");
}
