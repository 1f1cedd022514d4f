//! Team Cymru over DNS when things go wrong: what the row, the view and the log say, and that everything else goes on.

mod network_support;

use network_support::*;

/// China's address without an ASN in the small files; DNS only, and quick to give up.
const IP: &str = "218.92.0.67";
const ANSWER: &str = "asn_number, cymru_status, cymru_attempts, cymru_detail, cymru_retry_at";

fn world() -> World {
    let world = World::options().conf("cymru_timeout", "200ms").conf("greynoise", "off").start();
    world.fakes.announce("218.92.0.0/17", &[4134], "CN");
    world.fakes.name(4134, "CHINANET");
    world.sql("CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')");
    world
}

fn event(world: &World, ip: &str) {
    world.sql(&format!("INSERT INTO events VALUES ('{ip}')"));
}

#[test]
fn a_failure_is_no_answer_and_keeps_nobody_from_inserting() {
    let world = world();
    for (fault, reason) in [
        (DnsFault::Drop, "(?i)time"),
        (DnsFault::Servfail, "(?i)serv"),
        (DnsFault::Refused, "(?i)refused"),
        (DnsFault::ForeignTxt, "."),
        (DnsFault::Garbage, "."),
    ] {
        let what = format!("{fault:?}");
        world.sql("TRUNCATE ip_inventory, cymru_prefix");
        world.fakes.fault(Fault::from(fault).within("218.92.0.0/16"));
        event(&world, IP);
        world.wait_row(IP, "cymru_status, cymru_attempts, asn_number IS NULL, cymru_ts IS NULL", "failed|1|t|t");
        let later = "cymru_retry_at > now() + interval '30 s' AND cymru_retry_at < now() + interval '2 min'";
        assert_eq!(world.row(IP, later), "t", "{what}");
        assert_eq!(
            world.row(IP, &format!("cymru_detail ~ '{reason}'")),
            "t",
            "{what}: {}",
            world.row(IP, "cymru_detail")
        );
        assert_eq!(
            world.source("cymru", "errors > 0 AND last_error <> '' AND last_error_at IS NOT NULL"),
            "t",
            "{what}"
        );
        // MaxMind's answer stands, and ingest goes on while the fault lasts.
        assert_eq!(world.row(IP, "country_code, maxmind_status"), "CN|found", "{what}");
        event(&world, IP);
        world.wait_row(IP, "observation_count", "2");
        assert_eq!(world.value("SELECT count(*) FROM cymru_prefix"), "0", "{what}");

        // Who waits asks at once, whatever the retry time says.
        world.fakes.clear_faults();
        world.lines(&format!("SELECT * FROM enrich_ip('{IP}', '30 s')"));
        assert_eq!(world.row(IP, ANSWER), "4134|found|0||", "{what}");
    }
}

#[test]
fn case_9_two_queries_without_an_answer_and_then_one_is_success() {
    let world = world();
    world.fakes.fault(Fault::from(DnsFault::Drop).next(2));
    event(&world, IP);
    world.wait_row(IP, ANSWER, "4134|found|0||");
}

#[test]
fn a_long_answer_comes_over_tcp_and_a_slow_one_in_time() {
    let world = world();
    world.fakes.fault(Fault::from(DnsFault::Truncate));
    event(&world, IP);
    world.wait_row(IP, ANSWER, "4134|found|0||");
    assert!(world.fakes.asked(Service::Dns).iter().any(|asked| asked.via == Via::Tcp));
    world.fakes.clear_faults();
    world.fakes.fault(Fault::from(DnsFault::Delay(100)));
    world.fakes.announce("198.51.99.0/24", &[64500], "US");
    event(&world, "198.51.99.1");
    world.wait_row("198.51.99.1", "asn_number, cymru_status", "64500|found");
}

#[test]
fn no_route_is_an_answer_that_is_kept_for_its_surroundings_and_asked_again_later() {
    let world = world();
    world.fakes.fault(Fault::from(DnsFault::Nxdomain).within("218.92.0.0/16"));
    event(&world, IP);
    world.wait_row(IP, "cymru_status, asn_number IS NULL, cymru_attempts, cymru_ts IS NOT NULL", "not_found|t|0|t");
    assert_eq!(
        world.lines("SELECT prefix, announced IS NULL, expires_at < now() + interval '25 h' FROM cymru_prefix"),
        ["218.92.0.0/24|t|t"]
    );
    let asked = world.fakes.count(Service::Dns);
    event(&world, "218.92.0.68");
    world.wait_row("218.92.0.68", "cymru_status", "not_found");
    assert_eq!(world.fakes.count(Service::Dns), asked, "the /24 has its answer");

    // A day later it is stale, and by then the prefix is announced.
    world.fakes.clear_faults();
    world.sql("UPDATE ip_inventory SET cymru_ts = now() - interval '25 h'; UPDATE cymru_prefix SET expires_at = now()");
    assert_eq!(world.value("SELECT cymru_asn FROM refresh_stale('cymru')"), "2");
    assert_eq!(world.row(IP, ANSWER), "4134|found|0||");
}

#[test]
fn a_failure_never_overwrites_an_older_answer() {
    let world = world();
    event(&world, IP);
    world.wait_row(IP, "cymru_status", "found");
    world.sql("UPDATE ip_inventory SET cymru_ts = '2026-01-01Z'; UPDATE cymru_prefix SET expires_at = now()");
    world.fakes.fault(Fault::from(DnsFault::Servfail));
    assert_eq!(world.value("SELECT processed || ' ' || errors FROM refresh_stale('cymru')"), "1 1");
    let kept = "asn_number, asn_org, cymru_status, cymru_attempts, cymru_ts, cymru_retry_at > now()";
    assert_eq!(world.row(IP, kept), "4134|CHINANET|found|1|2026-01-01 00:00:00+00|t");
    assert_eq!(world.value("SELECT processed || ' ' || errors FROM refresh_stale('cymru')"), "1 1");
    assert_eq!(world.row(IP, "asn_number, cymru_status, cymru_attempts"), "4134|found|2");
    world.fakes.clear_faults();
    assert_eq!(world.value("SELECT processed || ' ' || cymru_asn FROM refresh_stale('cymru')"), "1 1");
    assert_eq!(world.row(IP, ANSWER), "4134|found|0||");
}

#[test]
fn a_source_in_trouble_is_left_alone_and_says_so_until_it_answers() {
    let world = world();
    world.fakes.fault(Fault::from(DnsFault::Servfail));
    // In different prefixes, so that each is asked about.
    for nth in 0..8 {
        event(&world, &format!("218.{}.0.1", 80 + nth));
    }
    world.wait_source("cymru", "state, retry_at > now()", "failing|t");
    world.fakes.clear_faults();
    world.fakes.announce("218.0.0.0/8", &[64501], "CN");
    // After the pause one question is let through; its answer opens the source again.
    world.sql("UPDATE ip_inventory SET cymru_retry_at = NULL");
    world.wait_source("cymru", "state", "ok");
    assert_ne!(world.value("SELECT count(*) FROM ip_inventory WHERE cymru_status = 'found'"), "0");
}

#[test]
fn the_longest_prefix_wins_and_every_origin_is_kept() {
    let world = world();
    world.fakes.announce("198.51.96.0/20", &[64510], "US");
    world.fakes.announce("198.51.99.0/24", &[64511, 64512], "US");
    world.fakes.announce("2001:db9::/32", &[64513], "DE");
    for ip in ["198.51.99.1", "2001:db9::1", "::ffff:198.51.99.7", "2002:c633:6308::1"] {
        event(&world, ip);
    }
    world.wait_row("198.51.99.1", "asn_number, network", "64511|198.51.99.0/24");
    world.wait_row("2001:db9::1", "asn_number, network", "64513|2001:db9::/32");
    // Written otherwise, and asked about as the IPv4 addresses that they stand for.
    world.wait_row("::ffff:198.51.99.7", "asn_number", "64511");
    world.wait_row("2002:c633:6308::1", "asn_number", "64511");
    assert_eq!(
        world.lines("SELECT prefix, origins FROM cymru_prefix WHERE prefix <<= '198.51.96.0/20' ORDER BY prefix"),
        ["198.51.96.0/20|{64510}", "198.51.99.0/24|{64511,64512}"]
    );
    assert!(world.fakes.asked(Service::Dns).iter().all(|asked| !asked.malformed));
}

#[test]
fn what_must_not_leave_the_server_does_not_and_is_asked_once_it_may() {
    let world =
        World::options().conf("cymru_timeout", "200ms").conf("never_ask", "218.92.0.0/24, 2001:db9::/32").start();
    world.fakes.announce("218.92.0.0/17", &[4134], "CN");
    world.sql("CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')");
    for ip in [IP, "::ffff:218.92.0.68", "2001:db9::1"] {
        event(&world, ip);
    }
    let skipped = "cymru_status, greynoise_status, cymru_detail";
    world.wait_row(IP, skipped, "skipped|skipped|asn_inventory.never_ask");
    world.wait_row("::ffff:218.92.0.68", skipped, "skipped|skipped|asn_inventory.never_ask");
    world.wait_row("2001:db9::1", skipped, "skipped|skipped|asn_inventory.never_ask");
    assert_eq!(world.row(IP, "greynoise_detail, country_code"), "asn_inventory.never_ask|CN");
    world.lines(&format!("SELECT enrich_ip('{IP}', '2 s')"));
    world.lines("SELECT refresh_range('218.92.0.0/16', 'cymru')");
    assert_eq!((world.fakes.count(Service::Dns), world.fakes.count(Service::Greynoise)), (0, 0));

    world.cluster.set("asn_inventory.never_ask", "");
    world.wait_row(IP, "asn_number, cymru_status, cymru_detail, greynoise_status", "4134|found||not_found");
    world.wait_row("::ffff:218.92.0.68", "asn_number, cymru_status", "4134|found");
}

#[test]
fn a_source_that_is_off_is_asked_nothing_and_asked_once_it_is_on() {
    let world = World::options().conf("cymru", "off").start();
    world.fakes.announce("218.92.0.0/17", &[4134], "CN");
    world.sql("CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')");
    event(&world, IP);
    world.wait_row(IP, "cymru_status, cymru_detail, greynoise_status", "skipped|the source is switched off|not_found");
    assert_eq!(world.source("cymru", "state"), "off");
    assert_eq!(world.fakes.count(Service::Dns), 0);
    world.cluster.set("asn_inventory.cymru", "on");
    world.wait_row(IP, "asn_number, cymru_status, cymru_detail", "4134|found|");
    // Off again: what was answered stays.
    world.cluster.set("asn_inventory.cymru", "off");
    world.wait_source("cymru", "state", "off");
    assert_eq!(world.row(IP, "asn_number, cymru_status"), "4134|found");
}

#[test]
fn maxmind_goes_before_cymru_whatever_that_said() {
    let world = world();
    event(&world, "8.8.8.8");
    world.wait_row("8.8.8.8", "asn_number, asn_source, cymru_status", "15169|maxmind|skipped");
    assert_eq!(world.fakes.count(Service::Dns), 0);
    event(&world, IP);
    world.wait_row(IP, "country_code, country_source, asn_number, asn_source", "CN|maxmind|4134|cymru");
}
