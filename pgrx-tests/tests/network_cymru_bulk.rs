//! Team Cymru by bulk whois sessions, failing in every way: complete lines count, everything else is asked again, and no
//! address is ever asked about by a session of its own.

use crate::network_support::*;
use asn_inventory_tests::prelude::*;

/// Team Cymru alone, bulk from three addresses on.
fn options() -> Options {
    World::options().conf("greynoise", "off").conf("cymru_bulk_min", "3")
}

/// The same, quick to give up.
fn start() -> World {
    let world = options().conf("cymru_timeout", "2s").start();
    world.attach_events();
    // A prefix, and an AS, for every 45.x.
    world.fakes.rule("45.0.0.0/8", 16, 64500, "DE");
    world
}

/// Ten addresses that no earlier answer covers, the `n`-th time.
fn ten(n: usize) -> Vec<String> {
    (1..=10).map(|i| format!("45.{}.0.1", n * 10 + i)).collect()
}

fn wait_found(world: &World, ips: &[String]) {
    let list = ips.join("', '");
    let right = "cymru_status = 'found' AND cymru_attempts = 0 AND cymru_retry_at IS NULL AND cymru_detail IS NULL
        AND asn_number = 64500 + split_part(host(ip_address), '.', 2)::int";
    let found = format!("SELECT count(*) FROM ip_inventory WHERE ip_address IN ('{list}') AND {right}");
    world.wait(&found, &ips.len().to_string());
}

fn only_bulk(world: &World) {
    let asked = world.fakes.asked(Service::Whois);
    assert!(asked.iter().all(|asked| asked.what == "bulk" && !asked.malformed), "{asked:?}");
}

#[test]
fn unanswered_addresses_of_a_broken_session_are_asked_again_in_the_next() {
    let world = start();
    let faults = [
        (WhoisFault::Reset(0), Some("whois: ")),
        (WhoisFault::Reset(300), Some("whois: ")),
        (WhoisFault::Cut(0), Some("whois: the reply was cut")),
        (WhoisFault::Garbage, Some("whois: ")),
        (WhoisFault::Silent, Some("whois: the server stopped responding")),
        (WhoisFault::SlowLoris(3000), Some("whois: the server stopped responding")),
        (WhoisFault::Invalid, Some("whois: the reply has no row for any address asked")),
        (WhoisFault::Delay(100), None),
    ];
    let mut errors = 0;
    for (n, (fault, reason)) in faults.iter().enumerate() {
        world.fakes.clear_log();
        world.fakes.fault(Fault::from(fault.clone()).next(1));
        let ips = ten(n);
        world.ingest(&ips);
        world.ingest_goes_on();
        wait_found(&world, &ips);
        let sessions = world.fakes.count(Service::Whois);
        assert_eq!(sessions, if reason.is_some() { 2 } else { 1 }, "{fault:?}");
        only_bulk(&world);
        assert_eq!(ips.iter().map(|ip| world.fakes.times(Service::Dns, ip)).sum::<u64>(), 0, "{fault:?}");
        errors += u64::from(reason.is_some());
        assert_eq!(world.source("cymru", "state, errors"), format!("ok|{errors}"), "{fault:?}");
        let last = world.source("cymru", "last_error");
        assert!(last.starts_with(reason.unwrap_or("whois: ")), "{fault:?}: {last}");
    }
}

#[test]
fn complete_rows_of_a_reply_that_was_cut_count() {
    let world = start();
    world.fakes.fault(Fault::from(WhoisFault::Cut(6)).next(1));
    let ips = ten(0);
    world.ingest(&ips);
    wait_found(&world, &ips);
    let addresses: Vec<usize> = world.fakes.asked(Service::Whois).iter().map(|asked| asked.addresses).collect();
    assert_eq!(addresses, [10, 4]);
    only_bulk(&world);
}

#[test]
fn an_address_whose_rows_were_cut_is_asked_about_again() {
    let world = start();
    world.fakes.announce("46.1.0.0/16", &[65001], "US");
    world.fakes.announce("46.1.3.0/24", &[65003, 65004], "FR");
    // Of the rows of the last address only the first one comes: it would seem to be all.
    world.fakes.fault(Fault::from(WhoisFault::Cut(3)).next(1));
    world.ingest(&["46.1.1.1", "46.1.2.1", "46.1.3.1"]);
    world.wait_row("46.1.2.1", "asn_number, network", "65001|46.1.0.0/16");
    world.wait_row("46.1.3.1", "asn_number, network", "65003|46.1.3.0/24");
    world.wait("SELECT origins FROM cymru_prefix WHERE prefix = '46.1.3.0/24'", "{65003,65004}");
    assert_eq!(world.fakes.times(Service::Whois, "46.1.3.1") + world.fakes.times(Service::Dns, "46.1.3.1"), 2);
    only_bulk(&world);
}

#[test]
fn dns_replaces_a_failing_bulk_service() {
    let world = start();
    world.fakes.fault(WhoisFault::Refuse);
    let ips = ten(0);
    world.ingest(&ips);
    world.ingest_goes_on();
    wait_found(&world, &ips);
    assert!(ips.iter().all(|ip| world.fakes.times(Service::Dns, ip) == 1));
    assert_eq!(world.fakes.count(Service::Whois), 0);
    // It can be asked, if not by bulk: it does not count as failing.
    assert_eq!(world.source("cymru", "state, errors"), "ok|5");
    let complaint = "Team Cymru's bulk sessions fail, its DNS is asked instead: whois: ";
    assert_eq!(world.cluster.log().matches(complaint).count(), 1);
}

#[test]
fn a_reply_without_answers_leaves_rows_due() {
    let world = start();
    world.fakes.fault(WhoisFault::Invalid);
    world.fakes.fault(DnsFault::Drop);
    world.ingest(&ten(0));
    wait_until("a second session", || world.fakes.count(Service::Whois) >= 2);
    world.ingest_goes_on();
    let states =
        "SELECT DISTINCT cymru_status, asn_number, cymru_attempts FROM ip_inventory WHERE ip_address <<= '45.0.0.0/8'";
    assert_eq!(world.lines(states), ["pending||0"]);
    assert_eq!(world.value("SELECT count(*) FROM cymru_prefix"), "0");
    world.fakes.clear_faults();
    wait_found(&world, &ten(0));
    only_bulk(&world);
}

#[test]
fn rows_without_a_question_are_ignored() {
    let world = start();
    world.fakes.fault(WhoisFault::Unasked);
    world.ingest(&ten(0));
    wait_found(&world, &ten(0));
    assert_eq!(world.value("SELECT count(*) FROM ip_inventory"), "10");
    assert_eq!(world.value("SELECT count(*) FROM cymru_prefix WHERE NOT prefix <<= '45.0.0.0/8'"), "0");
    assert_eq!(world.value("SELECT count(*) FROM asn_inventory WHERE asn_number = 64666"), "0");
}

#[test]
fn names_are_stored_clean_and_affect_no_other_row() {
    let world = start();
    // The one address whose AS has a name of its own; no two answers have their names from one session.
    world.fakes.name(64505, "REAL - Name, DE");
    world.fakes.name(64515, "REAL - Name, DE");
    world.fakes.name(64525, "REAL - Name, DE");
    let long = format!("{}…", "A".repeat(252));
    let names = [
        (WhoisFault::LongNames, long.as_str()),
        (WhoisFault::ControlNames, "EVIL[31m - \u{fffd}\u{fffd} REAL - Name, DE \u{fffd}"),
        (WhoisFault::NulNames, "EVILREAL - Name, DE"),
    ];
    for (n, (fault, stored)) in names.into_iter().enumerate() {
        let ips = ten(n);
        world.fakes.fault(Fault::from(fault.clone()).within(&format!("{}/32", ips[4])).next(1));
        world.ingest(&ips);
        wait_found(&world, &ips);
        assert_eq!(world.row(&ips[4], "asn_org"), stored, "{fault:?}");
    }
    assert_eq!(world.source("cymru", "errors"), "0");
}

#[test]
fn a_row_that_cannot_be_written_is_set_aside_and_its_batch_is_kept() {
    let world = start();
    world.sql(
        "ALTER TABLE ip_inventory ADD CONSTRAINT poison CHECK (NOT (ip_address = '45.4.0.1' AND cymru_status = 'found'))",
    );
    let ips = ten(0);
    world.ingest(&ips);
    let others: Vec<String> = ips.iter().filter(|ip| *ip != "45.4.0.1").cloned().collect();
    wait_found(&world, &others);
    assert_eq!(world.row("45.4.0.1", "cymru_status, asn_number, asn_source"), "pending||");
    let said = || world.cluster.log();
    let complaint = "45.4.0.1 cannot be written to ip_inventory; the rest of its batch was written: ";
    let log = wait_for("the log's complaint", said, |log| log.contains(complaint));
    assert!(log.contains("violates check constraint \"poison\""));

    // It delays no other row, and is not asked about repeatedly.
    world.ingest(&ten(1));
    wait_found(&world, &ten(1));
    let asked = world.fakes.times(Service::Whois, "45.4.0.1") + world.fakes.times(Service::Dns, "45.4.0.1");
    assert_eq!(asked, 1);
    assert_eq!(world.cluster.log().matches(complaint).count(), 1);

    world.sql("ALTER TABLE ip_inventory DROP CONSTRAINT poison");
    assert_eq!(world.lines("SELECT enriched, errors FROM refresh_range('45.4.0.1/32', 'cymru')"), ["1|0"]);
    wait_found(&world, &["45.4.0.1".to_owned()]);
}

/// Two that write the name of one AS would change it in turn.
#[test]
fn a_name_of_a_session_does_not_replace_that_of_the_files() {
    let world = options().start();
    world.attach_events();
    world.ingest(&["8.8.8.8"]);
    let name = "SELECT asn_org, ip_count FROM asn_inventory WHERE asn_number = 15169";
    wait_for("the first count", || world.lines(name), |found| found == &["Google LLC|1"]);
    // A count would set the name of the files again: it waits.
    let mut holder = world.cluster.client();
    holder.batch_execute("BEGIN; LOCK TABLE inventory_count IN SHARE MODE").unwrap();
    // Nobody answers what is asked about the AS itself.
    world.fakes.fault(DnsFault::Drop);
    world.fakes.announce("46.0.0.0/16", &[15169], "US");
    world.fakes.name(15169, "GOOGLE, US");
    world.ingest(&["46.0.1.1", "46.0.2.1", "46.0.3.1"]);
    world.wait("SELECT count(*) FROM ip_inventory WHERE asn_source = 'cymru' AND asn_org = 'GOOGLE, US'", "3");
    assert_eq!(world.lines(name), ["Google LLC|1"], "after the session");
    holder.batch_execute("ROLLBACK").unwrap();
    wait_for("the next count", || world.lines(name), |found| found[0].ends_with("|4"));
    assert_eq!(world.lines(name), ["Google LLC|4"]);
}

#[test]
fn thousands_of_networks_use_sessions_of_bounded_size() {
    let world = World::options().conf("greynoise", "off").without_files().start();
    world.fakes.rule("2b00::/16", 32, 100_000, "DE");
    world.sql(
        "INSERT INTO ip_observation (address, seen, first_seen, last_seen)
         SELECT ('2b00:' || to_hex(n) || '::1')::inet, 1, now(), now() FROM generate_series(1, 12000) n;
         SELECT absorb_observations()",
    );
    world.wait("SELECT count(*) FROM ip_inventory WHERE cymru_status = 'found'", "12000");
    assert_eq!(world.value("SELECT count(DISTINCT asn_number) FROM ip_inventory"), "12000");
    let asked = world.fakes.asked(Service::Whois);
    assert!(asked.iter().all(|asked| asked.what == "bulk" && asked.addresses <= 5000), "{asked:?}");
    assert_eq!(world.fakes.counts(Service::Whois).addresses, 12_000, "each once");
    assert_eq!(world.fakes.counts(Service::Dns).addresses, 0, "DNS is for names only");
}

#[test]
fn rows_that_a_session_holds_by_the_thousand_stop_no_other() {
    let world = start();
    world.cluster.set("asn_inventory.cymru", "off");
    world.wait_source("cymru", "state", "off");
    world.sql(
        "INSERT INTO ip_observation (address, seen, first_seen, last_seen)
             SELECT '45.0.0.1'::inet + 256 * n, 1, now(), now() FROM generate_series(0, 4999) n;
         SELECT absorb_observations()",
    );
    world.wait("SELECT count(*) FROM ip_inventory WHERE cymru_status = 'skipped'", "5000");
    // They are due, and held, when the next worker comes to them.
    world.cluster.stop_worker(DB);
    world.sql("UPDATE ip_inventory SET cymru_status = 'pending', cymru_detail = NULL");
    let mut holder = world.cluster.client();
    holder.batch_execute("BEGIN; SELECT 1 FROM ip_inventory FOR UPDATE").unwrap();
    world.cluster.set("asn_inventory.cymru", "on");
    world.cluster.set("asn_inventory.databases", "");
    wait_until("the session", || world.fakes.count(Service::Whois) > 0);
    // To look for each of them whether it is held would take minutes.
    world.ingest(&["45.200.0.1"]);
    world.wait_row("45.200.0.1", "cymru_status", "found");
    let found = "SELECT count(*) FROM ip_inventory WHERE cymru_status = 'found'";
    assert_eq!(world.value(found), "1");
    holder.batch_execute("ROLLBACK").unwrap();
    world.wait(found, "5001");
    only_bulk(&world);
}
