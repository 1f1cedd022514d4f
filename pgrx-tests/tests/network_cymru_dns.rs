//! Team Cymru over DNS, answering and failing in every way: the row, the view of the sources and the log report it, and
//! ingest goes on meanwhile.

use crate::network_support::*;
use asn_inventory_tests::prelude::*;

/// Few addresses, so DNS; Team Cymru alone.
fn options() -> Options {
    World::options().conf("greynoise", "off")
}

/// The same, for a service that says nothing: what is waited for in vain, in every attempt.
fn silent(time: &str) -> Options {
    options().conf("cymru_timeout", time)
}

fn start(options: Options) -> World {
    let world = options.start();
    world.attach_events();
    // A prefix, and an AS, for every 45.x.
    world.fakes.rule("45.0.0.0/8", 16, 64500, "DE");
    world
}

const ANSWER: &str = "cymru_status, asn_number, asn_source, cymru_attempts, cymru_detail, cymru_retry_at";

#[test]
fn an_invalid_answer_is_a_failure_with_a_reason_and_is_asked_again() {
    let world = start(options());
    let faults = [
        ("45.1.0.1", DnsFault::Servfail, "the DNS server answered Server Failure"),
        ("45.2.0.1", DnsFault::Refused, "the DNS server answered Query Refused"),
        ("45.3.0.1", DnsFault::ForeignTxt, "the DNS answer is not from this service"),
        ("45.4.0.1", DnsFault::Garbage, "DNS: protocol error"),
    ];
    for (ip, fault, _) in &faults {
        world.fakes.fault(Fault::from(fault.clone()).within(ip));
    }
    world.ingest(&faults.clone().map(|(ip, ..)| ip));
    world.ingest_goes_on();
    for (ip, _, reason) in &faults {
        let said = format!("cymru_status, cymru_attempts, left(cymru_detail, {})", reason.len());
        world.wait_row(ip, &said, &format!("failed|1|{reason}"));
        let rest = "maxmind_status, asn_number, network, cymru_ts, cymru_retry_at BETWEEN now() AND now() + '2 min'";
        assert_eq!(world.row(ip, rest), "not_found||||t");
        assert_eq!(world.fakes.times(Service::Dns, ip), 4, "{ip}: asked, and again after 1, 2 and 4 s");
    }
    assert_eq!(world.source("cymru", "errors, last_error_at IS NOT NULL"), "4|t");
    let last = world.source("cymru", "last_error");
    assert!(faults.iter().any(|(_, _, reason)| last.starts_with(reason)), "{last}");
    assert_eq!(world.value("SELECT count(*) FROM cymru_prefix"), "0");
    // However often it failed, it is tried again within six hours, give or take a fifth.
    world.sql("UPDATE ip_inventory SET cymru_attempts = 40, cymru_retry_at = now() WHERE ip_address = '45.1.0.1'");
    let longest = "cymru_attempts, cymru_retry_at BETWEEN now() + '4.7 hours' AND now() + '7.2 hours'";
    world.wait_row("45.1.0.1", longest, "41|t");

    world.fakes.clear_faults();
    world.retry_now();
    for (ip, asn) in [("45.1.0.1", 64501), ("45.2.0.1", 64502), ("45.3.0.1", 64503), ("45.4.0.1", 64504)] {
        world.wait_row(ip, ANSWER, &format!("found|{asn}|cymru|0||"));
    }
    assert_eq!(world.source("cymru", "state, retry_at"), "ok|");
}

#[test]
fn a_silent_source_is_paused_and_resumes() {
    let world = start(silent("500ms"));
    world.fakes.fault(DnsFault::Drop);
    let ips: Vec<String> = (1..=6).map(|n| format!("45.{n}.0.1")).collect();
    world.ingest(&ips);
    for ip in &ips {
        world.wait_row(ip, "cymru_status, cymru_detail", "failed|the DNS server did not answer in time");
    }
    world.wait_source(
        "cymru",
        "state, retry_at > now(), last_error",
        "failing|t|the DNS server did not answer in time",
    );
    let complaint = "Team Cymru does not answer: the DNS server did not answer in time";
    let complaints = || world.cluster.log().matches(complaint).count();
    wait_for("the log's complaint", complaints, |count| *count == 1);

    let asked = world.fakes.count(Service::Dns);
    world.ingest(&["45.9.0.1"]);
    world.ingest_goes_on();
    world.wait_row("45.9.0.1", ANSWER, "pending|||0||");
    assert_eq!(world.fakes.count(Service::Dns), asked, "it is not asked while it is left alone");

    world.fakes.clear_faults();
    world.wait_row("45.9.0.1", ANSWER, "found|64509|cymru|0||");
    world.wait_source("cymru", "state, retry_at", "ok|");
    world.retry_now();
    world.wait("SELECT count(*) FROM ip_inventory WHERE cymru_status = 'found'", "7");
    assert_eq!(complaints(), 1);
    assert!(world.cluster.log().contains("Team Cymru answers again"));
}

#[test]
fn a_failure_keeps_an_older_answer() {
    let world = start(options());
    world.ingest(&["45.1.0.1"]);
    world.wait_row("45.1.0.1", ANSWER, "found|64501|cymru|0||");
    world.sql(
        "UPDATE ip_inventory SET cymru_ts = '2020-01-01 00:00+00';
         UPDATE cymru_prefix SET expires_at = now()",
    );
    world.fakes.announce("45.1.0.0/16", &[64999], "FR");
    world.fakes.fault(DnsFault::Servfail);
    let refresh = "SELECT processed, enriched, errors FROM refresh_stale('cymru')";
    for attempts in ["1", "2"] {
        assert_eq!(world.value(&refresh.replace("processed, enriched, errors", "errors")), "1");
        assert_eq!(
            world.row(
                "45.1.0.1",
                "cymru_status, asn_number, asn_source, network, cymru_ts < '2020-01-02', cymru_detail"
            ),
            "found|64501|cymru|45.1.0.0/16|t|the DNS server answered Server Failure"
        );
        assert_eq!(world.row("45.1.0.1", "cymru_attempts, cymru_retry_at > now()"), format!("{attempts}|t"));
    }
    world.ingest_goes_on();
    world.fakes.clear_faults();
    assert_eq!(world.lines(refresh), ["1|1|0"]);
    world.wait_row("45.1.0.1", ANSWER, "found|64999|cymru|0||");
    assert_eq!(world.row("45.1.0.1", "cymru_ts > '2020-01-02', country_code"), "t|FR");
}

#[test]
fn late_repeated_and_truncated_answers_are_accepted() {
    let world = start(options());
    world.fakes.fault(Fault::from(DnsFault::Drop).within("45.1.0.0/16").next(2));
    world.fakes.fault(Fault::from(DnsFault::Delay(300)).within("45.2.0.0/16"));
    world.fakes.fault(Fault::from(DnsFault::Truncate).within("45.3.0.0/16"));
    world.fakes.fault(Fault::from(DnsFault::Nxdomain).within("45.4.0.0/16"));
    world.ingest(&["45.1.0.1", "45.2.0.1", "45.3.0.1", "45.4.0.1"]);
    world.ingest_goes_on();
    world.wait_row("45.1.0.1", ANSWER, "found|64501|cymru|0||");
    assert_eq!(world.fakes.times(Service::Dns, "45.1.0.1"), 3);
    world.wait_row("45.2.0.1", ANSWER, "found|64502|cymru|0||");
    world.wait_row("45.3.0.1", ANSWER, "found|64503|cymru|0||");
    let asked = world.fakes.asked(Service::Dns);
    let vias: Vec<Via> = asked.iter().filter(|a| a.what.starts_with("1.0.3.45.")).map(|a| a.via).collect();
    assert_eq!(vias, [Via::Udp, Via::Tcp]);
    // "No such name" is an answer.
    world.wait_row("45.4.0.1", ANSWER, "not_found|||0||");
    assert_eq!(
        world.lines("SELECT prefix, announced FROM cymru_prefix WHERE prefix <<= '45.4.0.0/16'"),
        ["45.4.0.0/24|"]
    );
    assert_eq!(world.source("cymru", "state, errors, last_error"), "ok|0|");
}

#[test]
fn the_longest_prefix_and_its_first_origin_are_stored_and_all_origins_kept() {
    let world = start(options());
    world.fakes.announce("46.1.0.0/16", &[65001], "US");
    world.fakes.announce("46.1.2.0/24", &[65003, 65002], "FR");
    world.fakes.name(65003, "NESTED - Inside, FR");
    world.fakes.announce("2a0b:1::/32", &[4_200_000_001], "NL");
    world.ingest(&["46.1.2.3", "2a0b:1::5"]);
    let columns = "asn_number, asn_org, network, country_code, country_source";
    world.wait_row("46.1.2.3", columns, "65003|NESTED - Inside, FR|46.1.2.0/24|FR|cymru");
    world.wait_row("2a0b:1::5", "asn_number, network, country_code", "4200000001|2a0b:1::/32|NL");
    // The answer's wider prefix is not used: others may be inside it.
    let kept = "SELECT prefix, announced, origins FROM cymru_prefix ORDER BY prefix";
    assert_eq!(world.lines(kept), ["46.1.2.0/24|46.1.2.0/24|{65003,65002}", "2a0b:1::/48|2a0b:1::/32|{4200000001}"]);
    world.ingest(&["46.1.2.99", "46.1.9.9"]);
    world.wait_row("46.1.2.99", "asn_number, network", "65003|46.1.2.0/24");
    world.wait_row("46.1.9.9", "asn_number, network", "65001|46.1.0.0/16");
    assert_eq!(world.fakes.times(Service::Dns, "46.1.2.99"), 0);
    assert_eq!(world.fakes.counts(Service::Dns).distinct, 3);
}

#[test]
fn wrapped_addresses_are_asked_about_as_the_address_inside() {
    let world = start(options().conf("fold_ipv4_mapped", "off"));
    world.ingest(&["::ffff:45.2.0.1", "2002:2d02:1::", "::ffff:8.8.8.8", "2002:808:808::"]);
    for ip in ["::ffff:45.2.0.1", "2002:2d02:1::"] {
        world.wait_row(ip, ANSWER, "found|64502|cymru|0||");
    }
    for ip in ["::ffff:8.8.8.8", "2002:808:808::"] {
        world.wait_row(ip, "asn_number, asn_source, cymru_status", "15169|maxmind|skipped");
    }
    assert_eq!(world.fakes.times(Service::Dns, "45.2.0.1"), 1);
    assert_eq!(world.fakes.counts(Service::Dns).distinct, 1);
}

#[test]
fn forbidden_addresses_are_skipped_until_the_settings_change() {
    let world = start(options().conf("never_ask", "45.7.0.0/16").conf("fold_ipv4_mapped", "off"));
    let secret = ["45.7.0.1", "::ffff:45.7.0.2"];
    world.ingest(&secret);
    let skipped = "skipped|asn_inventory.never_ask|";
    secret.iter().for_each(|ip| world.wait_row(ip, "cymru_status, cymru_detail, asn_number", skipped));
    world.cluster.set("asn_inventory.cymru", "off");
    world.wait_source("cymru", "state", "off");
    world.ingest(&["45.8.0.1"]);
    let off = "skipped|the source is switched off";
    world.wait_row("45.8.0.1", "cymru_status, cymru_detail", off);
    let refused = world.cluster.fails(DB, "SELECT refresh_range('45.0.0.0/8', 'cymru')");
    assert_eq!(refused.message, "Team Cymru is switched off");
    assert_eq!(world.fakes.count(Service::Dns), 0);
    // One of which MaxMind learns the ASN meanwhile stays as such rows are.
    world.ingest(&["45.8.0.2"]);
    world.wait_row("45.8.0.2", "cymru_status, cymru_detail", off);
    world.sql("UPDATE ip_inventory SET asn_number = 64999, asn_source = 'maxmind' WHERE ip_address = '45.8.0.2'");

    world.cluster.set("asn_inventory.cymru", "on");
    world.wait_row("45.8.0.2", "cymru_status, cymru_detail, asn_number", "skipped||64999");
    world.wait_row("45.8.0.1", ANSWER, "found|64508|cymru|0||");
    secret.iter().for_each(|ip| world.wait_row(ip, "cymru_status, cymru_detail, asn_number", skipped));
    assert_eq!(world.fakes.times(Service::Dns, secret[0]), 0);
    world.cluster.set("asn_inventory.never_ask", "");
    secret.iter().for_each(|ip| world.wait_row(ip, ANSWER, "found|64507|cymru|0||"));
}

#[test]
fn times_of_a_clock_that_was_ahead_stop_no_question() {
    let world = start(options());
    world.ingest(&["45.1.0.1", "45.2.0.1"]);
    for (ip, asn) in [("45.1.0.1", 64501), ("45.2.0.1", 64502)] {
        world.wait_row(ip, ANSWER, &format!("found|{asn}|cymru|0||"));
    }
    world.sql(
        "UPDATE cymru_prefix SET answered_at = now() + '10 years', expires_at = now() + '11 years';
         UPDATE ip_inventory SET cymru_status = 'failed', cymru_retry_at = now() + '10 years', asn_number = NULL,
             asn_source = NULL WHERE ip_address = '45.1.0.1';
         UPDATE ip_inventory SET cymru_ts = now() + '10 years' WHERE ip_address = '45.2.0.1'",
    );
    world.ingest(&["8.8.8.8"]);
    world.wait_row("45.1.0.1", ANSWER, "found|64501|cymru|0||");
    assert_eq!(world.fakes.times(Service::Dns, "45.1.0.1"), 2);
    // The worker's own rounds may have been first.
    world.sql("SELECT refresh_stale('cymru')");
    world.wait_row("45.2.0.1", "cymru_status, cymru_ts < now()", "found|t");
}

#[test]
fn an_answer_of_a_known_network_is_as_old_as_it_was_given() {
    let world = start(options());
    world.ingest(&["45.1.0.1"]);
    world.wait_row("45.1.0.1", ANSWER, "found|64501|cymru|0||");
    world
        .sql("UPDATE cymru_prefix SET answered_at = now() - interval '89 days', expires_at = now() + interval '1 day'");
    world.ingest(&["45.1.0.2"]);
    world.wait_row("45.1.0.2", ANSWER, "found|64501|cymru|0||");
    assert_eq!(world.fakes.times(Service::Dns, "45.1.0.2"), 0);
    // So it ends with the network's, and not 90 days from now.
    assert_eq!(world.row("45.1.0.2", "cymru_ts = (SELECT answered_at FROM cymru_prefix)"), "t");
}

#[test]
fn an_as_is_asked_about_again_once_its_name_is_old() {
    let world = start(options());
    world.fakes.name(64501, "FORMER NAME");
    world.ingest(&["45.1.0.1"]);
    world.wait_row("45.1.0.1", "asn_number, asn_org", "64501|FORMER NAME");
    world.fakes.name(64501, "PRESENT NAME");
    world.sql("UPDATE asn_inventory SET details_ts = now() - interval '91 days' WHERE asn_number = 64501");
    // What the worker has in its memory is forgotten after an hour.
    world.cluster.restart();
    // In a network that is known, and in another one.
    world.ingest(&["45.1.0.2", "45.1.9.1"]);
    for ip in ["45.1.0.2", "45.1.9.1"] {
        world.wait_row(ip, "asn_number, asn_org", "64501|PRESENT NAME");
    }
    assert_eq!(world.fakes.times(Service::Dns, "45.1.0.2"), 0);
    let stored = "SELECT asn_org, details_ts > now() - interval '1 hour' FROM asn_inventory WHERE asn_number = 64501";
    assert_eq!(world.lines(stored), ["PRESENT NAME|t"]);
}

#[test]
fn maxmind_takes_precedence_in_its_own_answers() {
    let world = start(options());
    world.fakes.announce("8.8.8.0/24", &[65000], "FR");
    world.fakes.announce("218.92.0.0/16", &[4134], "FR");
    world.ingest(&["8.8.8.8", "218.92.0.30"]);
    // Place from MaxMind, ASN from Team Cymru.
    world.wait_row("218.92.0.30", "country_code, country_source, asn_number, asn_source", "CN|maxmind|4134|cymru");
    let known = "asn_number, asn_source, country_code, cymru_status";
    world.wait_row("8.8.8.8", known, "15169|maxmind|US|skipped");
    world.sql("SELECT refresh_range('8.8.8.0/24', 'cymru')");
    assert_eq!(world.row("8.8.8.8", known), "15169|maxmind|US|skipped");
    assert_eq!(world.fakes.times(Service::Dns, "8.8.8.8"), 0);
}

#[test]
fn a_stored_name_is_read_in_the_databases_encoding() {
    let world = start(options());
    let db = "encoded";
    world.sql(&format!("CREATE DATABASE {db} TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"));
    world.cluster.sql(
        db,
        "CREATE EXTENSION asn_inventory; CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}');
         INSERT INTO asn_inventory (asn_number, asn_org, details_ts) VALUES (64501, 'Zürcher Netz', now());
         INSERT INTO events VALUES ('45.1.0.1')",
    );
    world.cluster.wait_value(db, "SELECT cymru_status FROM ip_inventory", "found");
    assert_eq!(world.cluster.value(db, "SELECT asn_number || ' ' || asn_org FROM ip_inventory"), "64501 Zürcher Netz");
}

#[test]
fn answers_of_a_resolver_that_does_not_know_the_service_do_not_count() {
    let world = start(options());
    world.fakes.fault(WhoisFault::Refuse);
    // An earlier version accepted such an answer.
    world.sql(
        "INSERT INTO ip_inventory (ip_address, observation_count, ip_class, maxmind_status, maxmind_ts, cymru_status, cymru_ts, greynoise_status)
         VALUES ('45.6.0.1', 9, 'public', 'not_found', now(), 'not_found', now() - interval '1 hour', 'skipped');
         INSERT INTO cymru_prefix VALUES
             ('45.6.0.0/24', NULL, '{}', NULL, NULL, NULL, now() - interval '1 hour', now() + interval '1 hour')",
    );
    world.fakes.fault(DnsFault::Sinkhole);
    world.ingest(&["45.1.0.1", "198.51.99.1"]);
    let unknown = "failed|1|the resolver does not know origin.asn.cymru.com";
    world.wait_row("45.1.0.1", "cymru_status, cymru_attempts, cymru_detail", unknown);
    world.wait_row("198.51.99.1", "cymru_status, cymru_attempts, cymru_detail", unknown);
    world.wait_source("cymru", "state, last_error", "failing|the resolver does not know origin.asn.cymru.com");
    world.wait("SELECT count(*) FROM cymru_prefix", "0");
    world.wait("SELECT count(*) FROM ip_inventory WHERE cymru_status IN ('found', 'not_found')", "0");

    // It knows the service again, and leaves out whose word a negative answer is.
    world.fakes.clear_faults();
    world.fakes.announce("8.8.8.0/24", &[15169], "US");
    world.fakes.fault(DnsFault::NoSoa);
    let again = |ip: &str| {
        world.retry_now();
        world.row(ip, "cymru_status, asn_number")
    };
    wait_for("an answer", || again("45.1.0.1"), |row| row == "found|64501");
    wait_for("what was not to be believed", || again("45.6.0.1"), |row| row == "found|64506");
    wait_for("a negative answer", || again("198.51.99.1"), |row| row == "not_found|");
    world.wait_source("cymru", "state, retry_at", "ok|");
}

#[test]
fn if_only_port_43_answers_a_few_addresses_go_in_one_small_session() {
    let world = start(silent("2s"));
    world.fakes.fault(DnsFault::Drop);
    let ips = ["45.1.0.1", "45.2.0.1", "45.3.0.1"];
    world.ingest(&ips);
    world.ingest_goes_on();
    for (n, ip) in ips.iter().enumerate() {
        world.wait_row(ip, "cymru_status, asn_number", &format!("found|{}", 64501 + n));
    }
    let asked = world.fakes.asked(Service::Whois);
    let sessions: Vec<(&str, usize)> = asked.iter().map(|asked| (asked.what.as_str(), asked.addresses)).collect();
    assert_eq!(sessions, [("bulk", 3)]);
    // An answer came: it does not fail. The doctor knows which way does not work.
    assert_eq!(world.source("cymru", "state"), "ok");
}

#[test]
fn if_udp_is_lost_the_resolver_is_asked_over_tcp() {
    let world = start(silent("2s"));
    world.fakes.fault(WhoisFault::Refuse);
    world.fakes.fault(DnsFault::DropUdp);
    let ips: Vec<String> = (1..=9).map(|n| format!("45.{n}.0.1")).collect();
    world.ingest(&ips);
    world.wait("SELECT count(*) FROM ip_inventory WHERE cymru_status = 'found'", "9");
    assert_eq!(world.source("cymru", "state"), "ok");
}

#[test]
fn an_as_or_a_network_that_a_session_holds_keeps_no_answer_back() {
    // Names come with the answers of a session, or by a question of their own.
    for bulk_min in ["1", "1000"] {
        let world = World::options().conf("greynoise", "off").conf("cymru_bulk_min", bulk_min).start();
        world.attach_events();
        world.fakes.announce("45.0.0.0/8", &[64500], "FR");
        world.fakes.name(64500, "EXAMPLE");
        world.sql(
            "INSERT INTO asn_inventory (asn_number, asn_org) VALUES (64500, 'OLD');
             INSERT INTO cymru_prefix VALUES
                 ('45.1.0.0/24', NULL, '{}', NULL, NULL, NULL, now() - interval '2 days', now() - interval '1 day')",
        );
        let mut holder = world.cluster.client();
        let hold = "BEGIN; SELECT 1 FROM asn_inventory FOR UPDATE; SELECT 1 FROM cymru_prefix FOR UPDATE";
        holder.batch_execute(hold).unwrap();
        let ips = ["45.1.0.1", "45.2.0.1"];
        world.ingest(&ips);
        ips.iter().for_each(|ip| world.wait_row(ip, "cymru_status, asn_number", "found|64500"));
        // The other network is kept.
        assert_eq!(world.value("SELECT count(*) FROM cymru_prefix WHERE prefix = '45.2.0.0/24'"), "1");
        assert!(!world.cluster.log().contains("cannot be written"), "{}", world.cluster.log_tail());
        holder.batch_execute("ROLLBACK").unwrap();
        // What could not be written for the lock was an error until the next one went well.
        world.wait("SELECT count(*) FROM worker_errors()", "0");
    }
}
