//! Repeated questions to Team Cymru and GreyNoise: stale rows, by each source's own times, and ranges.

use crate::network_support::*;
use std::thread;

const COUNTS: &str = "processed, enriched, cymru_asn, greynoise_scanners, not_found, skipped, errors";
const NOTHING: &str = "0|0|0|0|0|0|0";

/// A world with some addresses of which both sources know something, all of them answered.
///
/// | address | observed | Team Cymru | GreyNoise |
/// |---|---|---|---|
/// | 218.92.0.1 | 5 | 4134 | a scanner |
/// | 218.92.0.2 | 3 | 4134 | not listed |
/// | 45.10.0.1 | 4 | 64500 | not listed |
/// | 198.51.99.1 | 2 | no route | not listed |
/// | 8.8.8.8 | 1 | not asked | a scanner |
fn answered(options: Options) -> World {
    let world = options.start();
    world.fakes.announce("218.92.0.0/17", &[4134], "CN");
    world.fakes.announce("45.10.0.0/16", &[64500], "DE");
    world.fakes.name(4134, "CHINANET");
    world.fakes.name(64500, "EXAMPLE");
    world.fakes.scanner(Scanner::noise("218.92.0.1".parse().unwrap(), "malicious", "unknown"));
    world.fakes.scanner(Scanner::noise("8.8.8.8".parse().unwrap(), "benign", "a crawler"));
    world.observe(&[("218.92.0.1", 5), ("45.10.0.1", 4), ("218.92.0.2", 3), ("198.51.99.1", 2), ("8.8.8.8", 1)]);
    let open = "SELECT count(*) FROM ip_inventory WHERE cymru_status NOT IN ('found', 'not_found', 'skipped')
        OR greynoise_status NOT IN ('found', 'not_found') OR maxmind_status = 'pending'";
    world.wait("SELECT count(*) FROM ip_inventory", "5");
    world.wait(open, "0");
    world
}

fn refresh(world: &World, call: &str) -> String {
    world.lines(&format!("SELECT {COUNTS} FROM {call}")).join("\n")
}

/// The addresses that a source was asked about again, by their own clock of it.
fn again(world: &World, clock: &str, since: &str) -> Vec<String> {
    world.lines(&format!("SELECT host(ip_address) FROM ip_inventory WHERE {clock} > '{since}' ORDER BY ip_address"))
}

fn now(world: &World) -> String {
    world.value("SELECT clock_timestamp()")
}

#[test]
fn each_source_is_stale_by_its_own_clock() {
    let world = answered(World::options());
    for source in ["cymru", "greynoise"] {
        assert_eq!(refresh(&world, &format!("refresh_stale('{source}')")), NOTHING, "{source}");
    }
    world.sql(
        "UPDATE ip_inventory SET cymru_ts = now() - interval '91 days', scanner_ts = now() - interval '6 days'
             WHERE ip_address = '218.92.0.1';
         UPDATE ip_inventory SET cymru_ts = now() - interval '89 days', scanner_ts = now() - interval '8 days'
             WHERE ip_address IN ('218.92.0.2', '8.8.8.8');
         UPDATE ip_inventory SET cymru_ts = now() - interval '2 days' WHERE ip_address = '198.51.99.1'",
    );
    // A negative answer lasts a day. The network's answer lasts as long as the address's.
    world.sql("UPDATE cymru_prefix SET expires_at = now()");
    let since = now(&world);
    assert_eq!(refresh(&world, "refresh_stale('cymru')"), "2|1|1|0|1|0|0");
    assert_eq!(again(&world, "cymru_ts", &since), ["198.51.99.1", "218.92.0.1"]);
    assert_eq!(again(&world, "scanner_ts", &since), [""; 0], "nothing looks fresh because another source was asked");
    assert_eq!(refresh(&world, "refresh_stale('greynoise')"), "2|1|0|1|1|0|0");
    assert_eq!(again(&world, "scanner_ts", &since), ["8.8.8.8", "218.92.0.2"]);
    assert_eq!(again(&world, "cymru_ts", &since), ["198.51.99.1", "218.92.0.1"]);
    assert_eq!(refresh(&world, "refresh_stale('all')"), NOTHING);
}

#[test]
fn a_lifetime_that_becomes_shorter_holds_for_networks_that_were_answered_before() {
    // Only this test asks for old answers.
    let world = answered(World::options().conf("refresh_schedule", ""));
    world.sql(
        "UPDATE cymru_prefix SET answered_at = now() - interval '30 days', expires_at = now() + interval '60 days'
             WHERE announced IS NOT NULL;
         UPDATE ip_inventory SET cymru_ts = now() - interval '30 days' WHERE cymru_status = 'found'",
    );
    world.fakes.announce("218.92.0.0/17", &[64999], "FR");
    world.fakes.name(64999, "NEW HANDS");
    assert_eq!(refresh(&world, "refresh_stale('cymru')"), NOTHING);
    world.cluster.set("asn_inventory.cymru_ttl", "7d");
    // So that the worker has it as well.
    world.cluster.restart();
    world.wait("SELECT worker FROM enrichment_status", "running");
    assert_eq!(refresh(&world, "refresh_stale('cymru')"), "3|3|3|0|0|0|0");
    for ip in ["218.92.0.1", "218.92.0.2"] {
        let columns = "asn_number, asn_org, cymru_ts > now() - interval '1 hour'";
        assert_eq!(world.row(ip, columns), "64999|NEW HANDS|t", "{ip}");
    }
}

#[test]
fn all_takes_rows_stale_at_any_source_most_observed_first() {
    let world = answered(World::options());
    world.sql(
        "UPDATE ip_inventory SET cymru_ts = now() - interval '91 days' WHERE ip_address IN ('45.10.0.1', '218.92.0.1');
         UPDATE ip_inventory SET scanner_ts = now() - interval '8 days' WHERE ip_address IN ('8.8.8.8', '218.92.0.2');
         UPDATE cymru_prefix SET expires_at = now()",
    );
    let since = now(&world);
    assert_eq!(refresh(&world, "refresh_stale('all', 1)"), "1|1|1|0|0|0|0");
    assert_eq!(again(&world, "cymru_ts", &since), ["218.92.0.1"]);
    // GreyNoise does not know the other one, and MaxMind does.
    assert_eq!(refresh(&world, "refresh_stale('all', 2)"), "2|2|1|0|0|0|0");
    assert_eq!(again(&world, "cymru_ts", &since), ["45.10.0.1", "218.92.0.1"]);
    assert_eq!(again(&world, "scanner_ts", &since), ["218.92.0.2"]);
    assert_eq!(refresh(&world, "refresh_stale('all')"), "1|1|0|1|0|0|0");
    assert_eq!(
        world.lines(
            "SELECT kind, outcome, processed, cymru_asn, greynoise_scanners, parameters -> 'sources' FROM enrichment_run
             ORDER BY job_id"
        ),
        [
            r#"refresh|done|1|1|0|["maxmind", "cymru", "greynoise"]"#,
            r#"refresh|done|2|1|0|["maxmind", "cymru", "greynoise"]"#,
            r#"refresh|done|1|0|1|["maxmind", "cymru", "greynoise"]"#,
        ]
    );
}

#[test]
fn a_range_is_asked_about_again_fresh_or_not_at_the_sources_that_are_named() {
    let world = answered(World::options());
    let since = now(&world);
    world.fakes.clear_log();
    // The network's answer is fresh, and is ignored: this is the purpose of refreshing a range.
    assert_eq!(refresh(&world, "refresh_range('218.92.0.0/16', 'cymru')"), "2|2|2|0|0|0|0");
    assert!(world.fakes.count(Service::Dns) > 0);
    assert_eq!(world.fakes.count(Service::Greynoise), 0);
    assert_eq!(again(&world, "cymru_ts", &since), ["218.92.0.1", "218.92.0.2"]);
    assert_eq!(again(&world, "scanner_ts", &since), [""; 0]);
    let since = now(&world);
    assert_eq!(refresh(&world, "refresh_range('218.92.0.2', 'greynoise')"), "1|0|0|0|1|0|0");
    assert_eq!(world.fakes.count(Service::Greynoise), 1);
    assert_eq!(again(&world, "scanner_ts", &since), ["218.92.0.2"]);
    assert_eq!(again(&world, "cymru_ts", &since), [""; 0]);
    // Team Cymru is not asked about what MaxMind knows.
    assert_eq!(refresh(&world, "refresh_range('8.8.8.0/24', 'cymru')"), "1|0|0|0|0|1|0");
    let since = now(&world);
    assert_eq!(refresh(&world, "refresh_range('0.0.0.0/0')"), "5|4|3|2|1|0|0");
    assert_eq!(again(&world, "scanner_ts", &since).len(), 5);
    assert_eq!(again(&world, "maxmind_ts", &since).len(), 5);
    assert_eq!(again(&world, "cymru_ts", &since).len(), 4);
    assert_eq!(refresh(&world, "refresh_range('203.0.112.0/24')"), NOTHING);
    assert_eq!(
        world.value("SELECT string_agg(observation_count::text, ' ' ORDER BY ip_address) FROM ip_inventory"),
        "1 4 2 5 3",
        "a refresh is no observation"
    );
}

#[test]
fn a_failing_source_is_an_error_and_keeps_its_answers() {
    let world = answered(World::options());
    let all = "SELECT ip_address, asn_number, cymru_status, cymru_ts, scanner_noise, greynoise_status, scanner_ts
        FROM ip_inventory ORDER BY ip_address";
    let before = world.lines(all);
    world.fakes.fault(DnsFault::Refused);
    world.fakes.fault(GreyNoiseFault::Html200);
    assert_eq!(refresh(&world, "refresh_range('218.92.0.0/16', 'cymru')"), "2|0|0|0|0|0|2");
    assert_eq!(refresh(&world, "refresh_range('218.92.0.0/16', 'greynoise')"), "2|0|0|0|0|0|2");
    assert_eq!(world.lines(all), before);
    assert_eq!(world.row("218.92.0.1", "cymru_attempts, greynoise_attempts"), "1|1");
    world.fakes.clear_faults();
    assert_eq!(refresh(&world, "refresh_range('218.92.0.0/16', 'greynoise')"), "2|1|0|1|1|0|0");
}

#[test]
fn wrong_arguments_are_refused_with_the_allowed_values() {
    let world = World::start();
    world.wait_source("greynoise", "state", "ok");
    for call in ["refresh_stale('teamcymru')", "refresh_range('8.8.8.0/24', 'GreyNoise')", "refresh_stale(NULL)"] {
        let refused = world.cluster.fails(DB, &format!("SELECT {call}"));
        assert_eq!(refused.code, "22023", "{call}");
        assert!(refused.detail.contains("maxmind, cymru, greynoise, all"), "{refused:?}");
    }
    for source in ["cymru", "greynoise", "all"] {
        for n in [0, -1, i32::MIN] {
            let refused = world.cluster.fails(DB, &format!("SELECT refresh_stale('{source}', {n})"));
            assert_eq!((refused.code.as_str(), refused.message), ("22023", format!("n cannot be {n}")));
            assert!(refused.detail.contains("1 or more"));
        }
    }
    for range in ["'8.8.8.0/33'", "'8.8.8'", "'somewhere'"] {
        let refused = world.cluster.fails(DB, &format!("SELECT refresh_range({range}, 'cymru')"));
        assert_eq!(refused.code, "22P02", "{range}: {refused:?}");
    }
    assert_eq!(world.value("SELECT count(*) FROM enrichment_run"), "0");
}

#[test]
fn a_source_that_is_off_is_refused_by_name_and_left_out_of_all() {
    let world = World::options().conf("cymru", "off").conf("greynoise", "off").start();
    world.observe(&[("8.8.8.8", 1), ("218.92.0.1", 1)]);
    let (cymru, greynoise) = ("asn_inventory.cymru", "asn_inventory.greynoise");
    for (source, setting) in [("cymru", cymru), ("greynoise", greynoise)] {
        world.wait_source(source, "state", "off");
        for call in [format!("refresh_stale('{source}')"), format!("refresh_range('8.8.8.0/24', '{source}')")] {
            let refused = world.cluster.fails(DB, &format!("SELECT {call}"));
            assert_eq!(refused.code, "55000", "{call}");
            assert!(refused.hint.contains(setting), "{call}: {refused:?}");
        }
    }
    assert_eq!(world.value("SELECT processed || ' ' || errors FROM refresh_range('0.0.0.0/0')"), "2 0");
    assert_eq!(world.fakes.count(Service::Dns) + world.fakes.count(Service::Greynoise), 0);
    assert_eq!(world.value("SELECT parameters -> 'sources' FROM enrichment_run"), r#"["maxmind"]"#);

    world.cluster.set(greynoise, "auto");
    world.wait_row("8.8.8.8", "greynoise_status, cymru_status", "not_found|skipped");
    assert_eq!(refresh(&world, "refresh_range('8.8.8.0/24', 'greynoise')"), "1|0|0|0|1|0|0");
}

#[test]
fn a_network_job_shows_its_progress_and_can_be_cancelled() {
    let world = World::options().conf("greynoise_timeout", "10min").start();
    let many: Vec<String> = (1..=60).map(|n| format!("8.8.8.{n}")).collect();
    world.observe(&many.iter().map(|ip| (ip.as_str(), 1)).collect::<Vec<_>>());
    world.wait("SELECT count(*) FROM ip_inventory WHERE greynoise_status = 'not_found'", "60");
    // One hangs, and keeps the job from ending; the others are answered.
    world.fakes.fault(Fault::from(GreyNoiseFault::Hang).within("8.8.8.7/32"));
    let config = world.cluster.config(DB);
    let job = thread::spawn(move || {
        let mut session = config.connect(postgres::NoTls).expect("a session");
        let row = session
            .query_one("SELECT (r).processed, (r).not_found FROM refresh_range('8.8.8.0/24', 'greynoise') r", &[]);
        row.map(|row| (row.get::<_, i64>(0), row.get::<_, i64>(1)))
    });
    world.wait(
        "SELECT kind || state || total || ' ' || processed || ' ' || errors || ' ' || percent FROM enrichment_progress",
        "refreshrunning60 59 0 98.3",
    );
    assert_eq!(world.value("SELECT cancel_enrichment_job(job_id + 1) FROM enrichment_progress"), "f");
    assert_eq!(world.value("SELECT cancel_enrichment_job(job_id) FROM enrichment_progress"), "t");
    assert_eq!(job.join().unwrap().expect("what was done until then"), (59, 59));
    world.wait("SELECT count(*) FROM enrichment_progress", "0");
    assert_eq!(
        world.lines("SELECT kind, outcome, processed, not_found, errors, parameters -> 'sources' FROM enrichment_run"),
        [r#"refresh|cancelled|59|59|0|["greynoise"]"#]
    );
    // The source goes on, and so does the worker.
    assert_eq!(refresh(&world, "refresh_range('8.8.8.8', 'greynoise')"), "1|0|0|0|1|0|0");
    // A caller that gives up takes its job along.
    let refused =
        world.cluster.fails(DB, "SET statement_timeout = '500ms'; SELECT refresh_range('8.8.8.7', 'greynoise')");
    assert_eq!(refused.code, "57014");
    world.wait("SELECT count(*) FROM enrichment_progress", "0");
    assert_eq!(world.value("SELECT outcome FROM enrichment_run ORDER BY job_id DESC LIMIT 1"), "cancelled");
}

#[test]
fn a_network_job_can_run_without_a_waiting_caller() {
    let world = answered(World::options());
    world.fakes.fault(GreyNoiseFault::Delay(300));
    assert_eq!(world.lines("SELECT job_id, processed FROM refresh_range('0.0.0.0/0', 'greynoise', false)"), ["1|"]);
    world.wait("SELECT outcome || processed || greynoise_scanners FROM enrichment_run", "done52");
}

#[test]
fn an_answer_that_cannot_be_renewed_is_kept_and_left_alone_for_a_while() {
    let world = answered(World::options());
    let make_old =
        || world.sql("UPDATE ip_inventory SET scanner_ts = now() - interval '8 days' WHERE ip_address = '218.92.0.2'");
    let left_alone = "greynoise_status, greynoise_detail, greynoise_retry_at > now() + interval '6 days'";
    make_old();
    let body = Some(r#"{"message": "Request is not a valid routable IPv4 address"}"#.to_owned());
    world.fakes.fault(GreyNoiseFault::Status { status: 400, body, retry_after: None });
    assert_eq!(refresh(&world, "refresh_stale('greynoise')"), "1|0|0|0|0|1|0");
    assert_eq!(world.row("218.92.0.2", left_alone), "not_found|HTTP 400: the address is not accepted|t");
    // A job asks all the same.
    world.fakes.clear_faults();
    assert_eq!(refresh(&world, "refresh_stale('greynoise')"), "1|0|0|0|1|0|0");
    let none = "greynoise_status, greynoise_detail, greynoise_retry_at";
    assert_eq!(world.row("218.92.0.2", none), "not_found||");

    // The same where a setting forbids the question, until it no longer does.
    world.cluster.set("asn_inventory.never_ask", "218.92.0.2/32");
    world.cluster.set("asn_inventory.cymru", "off");
    world.wait_source("cymru", "state", "off");
    make_old();
    let before = world.fakes.count(Service::Greynoise);
    assert_eq!(refresh(&world, "refresh_range('218.92.0.2', 'greynoise')"), "1|0|0|0|0|1|0");
    assert_eq!(world.row("218.92.0.2", left_alone), "not_found|asn_inventory.never_ask|t");
    // Who waits for it has it written once.
    let until = world.row("218.92.0.2", "greynoise_retry_at");
    world.sql("SELECT enrich_ip('218.92.0.2', '60s')");
    assert_eq!(world.row("218.92.0.2", "greynoise_retry_at"), until);
    assert_eq!(world.fakes.count(Service::Greynoise), before);
    world.cluster.set("asn_inventory.never_ask", "");
    world.wait_row("218.92.0.2", none, "not_found||");
    assert_eq!(refresh(&world, "refresh_stale('greynoise')"), "1|0|0|0|1|0|0");
}

#[test]
fn addresses_that_must_not_be_asked_about_take_no_place_in_a_refresh() {
    let world = answered(World::options());
    world.cluster.set("asn_inventory.never_ask", "218.92.0.1/32");
    world.cluster.set("asn_inventory.cymru", "off");
    world.wait_source("cymru", "state", "off");
    world.sql(
        "UPDATE ip_inventory SET scanner_ts = now() - interval '8 days', cymru_ts = now() - interval '91 days'
             WHERE ip_address IN ('218.92.0.1', '45.10.0.1');
         UPDATE cymru_prefix SET expires_at = now()",
    );
    let since = now(&world);
    // The most observed one is hidden.
    assert_eq!(refresh(&world, "refresh_stale('greynoise', 1)"), "1|0|0|0|1|0|0");
    assert_eq!(again(&world, "scanner_ts", &since), ["45.10.0.1"]);
    assert_eq!(refresh(&world, "refresh_stale('greynoise', 1)"), NOTHING);
    world.cluster.set("asn_inventory.cymru", "on");
    world.wait_source("cymru", "state", "ok");
    assert_eq!(refresh(&world, "refresh_stale('cymru', 1)"), "1|1|1|0|0|0|0");
    assert_eq!(again(&world, "cymru_ts", &since), ["45.10.0.1"]);
}
