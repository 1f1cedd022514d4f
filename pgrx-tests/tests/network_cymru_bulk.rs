//! Team Cymru's bulk sessions when things go wrong: whole rows count, the rest is asked again, nothing is lost, and
//! nobody is ever asked by single whois queries.

mod network_support;

use asn_inventory_tests::prelude::*;
use network_support::*;

/// Sixty /16s of a /8 that the small files know nothing about, an address each: one round, and one bulk session.
const MANY: i64 = 60;

fn world() -> World {
    let world = World::options().conf("cymru_timeout", "300ms").conf("greynoise", "off").start();
    world.fakes.rule("45.0.0.0/8", 16, 64500, "DE");
    world.sql("CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')");
    world
}

fn load(world: &World, addresses: i64) {
    world
        .sql(&format!("INSERT INTO events SELECT '45.0.0.7'::inet + n * 65536 FROM generate_series(1, {addresses}) n"));
}

fn wait_found(world: &World, addresses: i64) {
    world.wait("SELECT count(*) FROM ip_inventory WHERE cymru_status = 'found'", &addresses.to_string());
    let origins = "SELECT count(DISTINCT asn_number) FROM ip_inventory WHERE asn_source = 'cymru'";
    assert_eq!(world.value(origins), addresses.to_string());
}

fn only_bulk(world: &World) {
    let asked = world.fakes.asked(Service::Whois);
    assert!(asked.iter().all(|asked| asked.what == "bulk" && asked.addresses <= 5000), "{asked:?}");
}

#[test]
fn a_session_that_breaks_off_counts_as_far_as_it_came_and_the_rest_is_asked_again() {
    for fault in [WhoisFault::Cut(20), WhoisFault::Reset(1500), WhoisFault::Garbage, WhoisFault::Silent] {
        let world = world();
        let what = format!("{fault:?}");
        world.fakes.fault(Fault::from(fault).next(1));
        load(&world, MANY);
        wait_found(&world, MANY);
        only_bulk(&world);
        // The rest goes in another session, or over DNS where it is few.
        assert!(world.fakes.count(Service::Whois) + world.fakes.count(Service::Dns) >= 2, "{what}");
        assert_eq!(world.source("cymru", "errors > 0, last_error <> ''"), "t|t", "{what}");
        assert_eq!(world.value("SELECT count(*) FROM ip_inventory WHERE cymru_attempts > 0"), "0", "{what}");
    }
}

#[test]
fn where_the_port_is_closed_dns_does_it_and_ingest_goes_on() {
    let world = world();
    world.fakes.fault(Fault::from(WhoisFault::Refuse));
    load(&world, MANY);
    world.sql("INSERT INTO events VALUES ('8.8.8.8')");
    world.wait_row("8.8.8.8", "observation_count", "1");
    wait_found(&world, MANY);
    assert!(world.fakes.count(Service::Dns) >= MANY as u64);
    only_bulk(&world);
}

#[test]
fn a_reply_that_says_nothing_leaves_the_rows_due() {
    let world = world();
    world.fakes.fault(Fault::from(WhoisFault::Invalid));
    load(&world, MANY);
    wait_until("a session", || world.fakes.count(Service::Whois) > 0);
    world.wait_source("cymru", "errors > 0", "t");
    assert_eq!(world.value("SELECT count(*) FROM ip_inventory WHERE cymru_status IN ('found', 'not_found')"), "0");
    world.fakes.clear_faults();
    wait_found(&world, MANY);
}

#[test]
fn rows_that_nobody_asked_for_are_nobodys() {
    let world = world();
    world.fakes.fault(Fault::from(WhoisFault::Unasked));
    load(&world, MANY);
    wait_found(&world, MANY);
    assert_eq!(world.value("SELECT count(*) FROM cymru_prefix WHERE NOT prefix <<= '45.0.0.0/8'"), "0");
    assert_eq!(world.value("SELECT count(*) FROM ip_inventory"), MANY.to_string());
}

#[test]
fn hostile_names_are_stored_cleaned_and_cost_no_other_row_its_answer() {
    for fault in [WhoisFault::LongNames, WhoisFault::ControlNames, WhoisFault::NulNames] {
        let world = world();
        let what = format!("{fault:?}");
        world.fakes.fault(Fault::from(fault).within("45.5.0.0/16"));
        load(&world, MANY);
        wait_found(&world, MANY);
        let bad = "asn_org ~ '[[:cntrl:]]' OR octet_length(asn_org) > 255 OR asn_org IS NULL";
        assert_eq!(
            world.lines(&format!("SELECT ip_address, asn_org FROM ip_inventory WHERE {bad}")),
            [""; 0],
            "{what}"
        );
        assert_eq!(world.lines(&format!("SELECT asn_number FROM asn_inventory WHERE {bad}")), [""; 0], "{what}");
    }
}

#[test]
fn a_slow_reply_does_not_hold_up_what_needs_no_network() {
    let world = world();
    world.fakes.fault(Fault::from(WhoisFault::SlowLoris(200)));
    load(&world, MANY);
    wait_until("a session", || world.fakes.count(Service::Whois) > 0);
    world.sql("INSERT INTO events VALUES ('8.8.8.8')");
    world.wait_row("8.8.8.8", "asn_number, observation_count", "15169|1");
    assert_eq!(world.lines("SELECT (e).asn_number FROM enrich_ip('1.1.1.1', '5 s') e"), ["13335"]);
    world.fakes.clear_faults();
    // Nothing is written down of what is in flight: a reload or the end of the server loses nothing.
    world.cluster.restart();
    wait_found(&world, MANY);
}

#[test]
fn case_8_twelve_thousand_prefixes_go_in_sessions_of_bounded_size() {
    let world = World::options().conf("greynoise", "off").start();
    world.fakes.rule("45.0.0.0/8", 24, 64500, "DE");
    world.sql(
        "INSERT INTO ip_observation (address, seen, first_seen, last_seen)
         SELECT '45.0.0.7'::inet + n * 1024, n, now(), now() FROM generate_series(1, 12000) n;
         SELECT absorb_observations()",
    );
    wait_found(&world, 12_000);
    only_bulk(&world);
    assert!(world.fakes.counts(Service::Whois).requests <= 20, "{:?}", world.fakes.counts(Service::Whois));
}

#[test]
fn a_row_that_cannot_be_written_stands_alone() {
    let world = world();
    world.sql(
        "ALTER TABLE ip_inventory ADD CONSTRAINT poison CHECK (ip_address <> '45.7.0.7' OR cymru_status <> 'found')",
    );
    load(&world, MANY);
    world.wait("SELECT count(*) FROM ip_inventory WHERE cymru_status = 'found'", &(MANY - 1).to_string());
    world.cluster.wait_log("45.7.0.7 can't be written to ip_inventory");
    assert_eq!(world.row("45.7.0.7", "cymru_status, asn_number IS NULL"), "pending|t");
    // Its answer is known by its network, so nobody is asked about it over and over.
    assert_eq!(world.value("SELECT count(*) FROM cymru_prefix WHERE prefix >>= '45.7.0.7'"), "1");
    world.sql("ALTER TABLE ip_inventory DROP CONSTRAINT poison");
    assert_eq!(world.value("SELECT cymru_asn FROM refresh_range('45.7.0.7', 'cymru')"), "1");
    assert_eq!(world.row("45.7.0.7", "cymru_status"), "found");
}
