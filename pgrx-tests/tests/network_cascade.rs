//! The whole cascade over real sockets: MaxMind's gaps closed by Team Cymru, scanners named by GreyNoise, each with its
//! own status and time.

use crate::network_support::*;
use asn_inventory_tests::cluster::query;

#[test]
fn an_event_becomes_a_row_with_the_answers_of_all_three_sources() {
    let world = World::start();
    world.fakes.announce("218.92.0.0/17", &[4134, 4812], "CN");
    world.fakes.name(4134, "CHINANET-BACKBONE - No.31, Jin-rong Street, CN");
    world.fakes.scanner(Scanner::noise("218.92.0.67".parse().unwrap(), "malicious", "unknown"));
    world.sql(
        "CREATE TABLE events (ip inet);
         SELECT attach_ip_source('events', '{ip}');
         INSERT INTO events VALUES ('218.92.0.67'), ('8.8.8.8'), ('10.0.0.1'), ('198.51.99.1')",
    );
    let statuses = "cymru_status, greynoise_status";
    world.wait_row("218.92.0.67", statuses, "found|found");
    assert_eq!(
        world.row("218.92.0.67", "asn_number, asn_org, asn_source, network, country_code, country_source, scanner_noise, scanner_classification"),
        "4134|CHINANET-BACKBONE - No.31, Jin-rong Street, CN|cymru|218.92.0.0/17|CN|maxmind|t|malicious"
    );
    assert_eq!(
        world.row("218.92.0.67", "cymru_ts IS NOT NULL, scanner_ts IS NOT NULL, cymru_attempts, greynoise_attempts"),
        "t|t|0|0"
    );
    // MaxMind knows this one's ASN: Team Cymru is not asked, GreyNoise is.
    world.wait_row("8.8.8.8", statuses, "skipped|not_found");
    assert_eq!(world.row("8.8.8.8", "asn_source, scanner_noise, scanner_riot"), "maxmind|f|f");
    assert_eq!(world.row("10.0.0.1", statuses), "skipped|skipped");
    // It is not announced.
    world.wait_row("198.51.99.1", statuses, "not_found|not_found");

    assert_eq!(world.fakes.times(Service::Dns, "8.8.8.8"), 0);
    assert_eq!(world.fakes.times(Service::Greynoise, "10.0.0.1"), 0);
    assert_eq!(
        world.lines("SELECT prefix, announced, origins FROM cymru_prefix ORDER BY prefix"),
        ["198.51.99.0/24||{}", "218.92.0.0/24|218.92.0.0/17|{4134,4812}"]
    );
    world.wait("SELECT asn_org, country_code IS NOT NULL, ip_count, observation_count FROM asn_inventory WHERE asn_number = 4134 AND ip_count > 0", "CHINANET-BACKBONE - No.31, Jin-rong Street, CN");
    assert_eq!(world.value("SELECT state FROM source_status WHERE source = 'cymru'"), "ok");
    assert_eq!(world.value("SELECT quota_used FROM source_status WHERE source = 'greynoise'"), "3");

    // Another address of the same /24 is answered without a question.
    let asked = world.fakes.count(Service::Dns);
    world.sql("INSERT INTO events VALUES ('218.92.0.4')");
    world.wait_row("218.92.0.4", "asn_number, cymru_status", "4134|found");
    assert_eq!(world.fakes.count(Service::Dns), asked);
}

#[test]
fn a_session_that_waits_gets_the_whole_answer() {
    let world = World::start();
    world.fakes.announce("218.92.0.0/17", &[4134], "CN");
    world.fakes.name(4134, "CHINANET");
    world.fakes.scanner(Scanner::noise("218.92.0.67".parse().unwrap(), "malicious", "unknown"));
    assert_eq!(
        world.lines("SELECT asn_number, asn_org, asn_source, country_code, scanner_noise, maxmind_status, cymru_status, greynoise_status FROM enrich_ip('218.92.0.67', '20s')"),
        ["4134|CHINANET|cymru|CN|t|found|found|found"]
    );
    assert_eq!(world.lines("SELECT cymru_status, greynoise_status FROM enrich_ip('218.92.0.67')"), ["found|found"]);
}

#[test]
fn many_addresses_go_by_bulk_and_a_refresh_asks_again() {
    let world = World::start();
    world.fakes.rule("45.0.0.0/8", 24, 64500, "DE");
    world.sql(
        "INSERT INTO ip_observation (address, seen, first_seen, last_seen)
         SELECT '45.0.0.0'::inet + n * 256, n, now(), now() FROM generate_series(1, 3000) n;
         SELECT absorb_observations()",
    );
    world.wait("SELECT count(*) FROM ip_inventory WHERE cymru_status = 'found'", "3000");
    assert_eq!(world.value("SELECT count(DISTINCT asn_number) FROM ip_inventory"), "3000");
    let asked = world.fakes.counts(Service::Whois);
    assert!(asked.requests > 0 && asked.requests < 40, "{asked:?}");
    assert!(world.fakes.asked(Service::Whois).iter().all(|asked| asked.what == "bulk"));
    let summary = "SELECT processed, enriched, cymru_asn, not_found, skipped, errors FROM";
    assert_eq!(world.lines(&format!("{summary} refresh_stale('cymru')")), ["0|0|0|0|0|0"]);
    assert_eq!(world.lines(&format!("{summary} refresh_range('45.0.1.0/24', 'cymru')")), ["1|1|1|0|0|0"]);
    world.sql("UPDATE ip_inventory SET cymru_ts = now() - interval '91 days'");
    assert_eq!(world.lines(&format!("{summary} refresh_stale('cymru', 100)")), ["100|100|100|0|0|0"]);
    assert_eq!(world.value("SELECT count(*) FROM ip_inventory WHERE cymru_ts > now() - interval '1 day'"), "100");
}

#[test]
fn without_any_file_a_question_is_answered_by_the_network_and_asked_once() {
    let world = World::options().without_files().start();
    world.fakes.announce("218.92.0.0/17", &[4134], "CN");
    world.fakes.name(4134, "CHINANET");
    world.fakes.scanner(Scanner::noise("218.92.0.67".parse().unwrap(), "malicious", "unknown"));
    let columns = "asn_number, asn_org, scanner_classification, maxmind_status, cymru_status, greynoise_status";
    let whole = "4134|CHINANET|malicious|unavailable|found|found";
    assert_eq!(world.lines(&format!("SELECT {columns} FROM enrich_ip('218.92.0.67', '60s')")), [whole]);
    // Nor is it queued by those who ask later.
    let mut client = world.cluster.connect(DB);
    let script =
        format!("BEGIN; SELECT {columns} FROM enrich_ip('218.92.0.67'); SELECT count(*) FROM ip_observation; COMMIT");
    let told = query(&mut client, &script).expect("an answer");
    let told: Vec<String> =
        told.into_iter().map(|row| row.into_iter().flatten().collect::<Vec<_>>().join("|")).collect();
    assert_eq!(told, [whole, "0"]);
}

#[test]
fn a_missing_answer_is_waited_for_and_a_stale_one_is_requested_again() {
    let world = World::start();
    world.fakes.announce("218.92.0.0/17", &[4134], "CN");
    world.fakes.fault(Fault::from(DnsFault::Servfail));
    world.observe(&[("218.92.0.67", 1)]);
    world.wait_row("218.92.0.67", "cymru_status", "failed");
    // The row is known and fresh at MaxMind, and still: who waits gets the whole answer.
    world.fakes.clear_faults();
    let whole = "SELECT asn_number, cymru_status, greynoise_status FROM enrich_ip('218.92.0.67', '20s')";
    assert_eq!(world.lines(whole), ["4134|found|not_found"]);

    // An old verdict is returned at once, and requested again afterwards.
    world.fakes.scanner(Scanner::noise("218.92.0.67".parse().unwrap(), "malicious", "unknown"));
    world.sql("UPDATE ip_inventory SET scanner_ts = now() - interval '8 days'");
    assert_eq!(world.lines("SELECT greynoise_status FROM enrich_ip('218.92.0.67')"), ["not_found"]);
    world.wait_row("218.92.0.67", "greynoise_status, scanner_classification", "found|malicious");
    assert_eq!(world.row("218.92.0.67", "observation_count"), "1", "a question is no observation");
}
