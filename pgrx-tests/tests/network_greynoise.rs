//! All failures of GreyNoise: the row, the source and the log report them, and all other work goes on.

use crate::network_support::*;

const STATUS: &str = "greynoise_status";
const VERDICT: &str = "greynoise_status, scanner_noise, scanner_riot, scanner_classification, scanner_name";

/// A world with a table whose events are observed.
fn world(options: Options) -> World {
    let world = options.start();
    world.sql("CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')");
    world
}

fn insert(world: &World, ips: &[&str]) {
    let rows: Vec<String> = ips.iter().map(|ip| format!("('{ip}')")).collect();
    world.sql(&format!("INSERT INTO events VALUES {}", rows.join(", ")));
}

fn status(status: u16, retry_after: Option<&str>) -> GreyNoiseFault {
    GreyNoiseFault::Status { status, body: None, retry_after: retry_after.map(str::to_owned) }
}

fn log_lines(world: &World, text: &str) -> usize {
    world.cluster.log().lines().filter(|line| line.contains(text)).count()
}

/// Each address meets its own fault, and all of them at once; one more meets none. Fewer than open the breaker.
fn transient(faults: &[(&str, GreyNoiseFault, &str)]) {
    let world = world(World::options().conf("greynoise_timeout", "5s"));
    let mut all = vec!["8.8.8.200"];
    for (ip, fault, _) in faults {
        world.fakes.fault(Fault::from(fault.clone()).within(&format!("{ip}/32")));
        all.push(ip);
    }
    insert(&world, &all);
    for (ip, _, reason) in faults {
        world.wait_row(ip, STATUS, "failed");
        let detail = world.row(ip, "greynoise_detail");
        assert!(detail.contains(reason), "{ip}: {detail}");
        assert_eq!(
            world.row(ip, "greynoise_attempts, greynoise_retry_at > now(), scanner_ts IS NULL, scanner_noise IS NULL"),
            "1|t|t|t",
            "{ip}"
        );
        assert_eq!(world.row(ip, "asn_number, maxmind_status, cymru_status"), "15169|found|skipped", "{ip}");
        // Each question costs quota: the next is asked when the row is due again, and not before.
        assert_eq!(world.fakes.times(Service::Greynoise, ip), 1, "{ip}");
    }
    world.wait_row("8.8.8.200", VERDICT, "not_found|f|f||");
    let failures = faults.len().to_string();
    world.wait_source(
        "greynoise",
        "errors, last_error IS NOT NULL, last_error_at IS NOT NULL",
        &format!("{failures}|t|t"),
    );
    assert_eq!(world.source("greynoise", "quota_used"), (faults.len() + 1).to_string());

    world.fakes.clear_faults();
    world.sql("UPDATE ip_inventory SET greynoise_retry_at = now() WHERE greynoise_status = 'failed'");
    for (ip, ..) in faults {
        world.wait_row(
            ip,
            "greynoise_status, greynoise_attempts, greynoise_detail, greynoise_retry_at",
            "not_found|0||",
        );
    }
    assert_eq!(world.source("greynoise", "state"), "ok");
}

#[test]
fn an_invalid_answer_is_a_failure_and_is_asked_for_again() {
    transient(&[
        ("8.8.8.1", GreyNoiseFault::Html200, "without the documented body"),
        ("8.8.8.2", status(404, None), "404 without the documented body"),
        ("8.8.8.3", status(500, None), "HTTP 500"),
        ("8.8.8.4", GreyNoiseFault::Body2Mb, "without the documented body"),
    ]);
}

#[test]
fn a_connection_that_breaks_or_stalls_is_a_failure_and_is_asked_for_again() {
    transient(&[
        ("8.8.8.1", GreyNoiseFault::SlowLoris(100), "time"),
        ("8.8.8.2", GreyNoiseFault::Hang, "time"),
        ("8.8.8.3", GreyNoiseFault::Reset(40), ""),
    ]);
}

#[test]
fn a_certificate_for_another_host_is_refused() {
    let world = world(World::options());
    world.fakes.fault(GreyNoiseFault::WrongName);
    insert(&world, &["8.8.8.1"]);
    world.wait_row("8.8.8.1", STATUS, "failed");
    let detail = world.row("8.8.8.1", "greynoise_detail");
    assert!(detail.contains("certificate"), "{detail}");
    assert_eq!(world.source("greynoise", "last_error"), detail);
    // It never got the question or the key, and the quota pays for neither.
    assert_eq!(world.fakes.count(Service::Greynoise), 0);
    world.wait_source("greynoise", "quota_used", "0");
    world.fakes.clear_faults();
    world.sql("UPDATE ip_inventory SET greynoise_retry_at = now()");
    world.wait_row("8.8.8.1", STATUS, "not_found");
}

#[test]
fn missing_fields_of_an_answer_are_null_or_false() {
    let world = world(World::options());
    world.fakes.fault(Fault::from(GreyNoiseFault::BadLastSeen).within("8.8.8.1/32"));
    world.fakes.fault(Fault::from(GreyNoiseFault::OnlyIp).within("8.8.8.2/32"));
    world.fakes.scanner(Scanner::noise("8.8.8.3".parse().unwrap(), "malicious", "unknown"));
    world.fakes.scanner(Scanner::riot("8.8.8.8".parse().unwrap(), "Google Public DNS"));
    insert(&world, &["8.8.8.1", "8.8.8.2", "8.8.8.3", "8.8.8.4", "8.8.8.8", "2001:4860:4860::8888", "10.0.0.1"]);
    let columns = &format!("{VERDICT}, scanner_last_seen IS NULL");
    world.wait_row("8.8.8.1", columns, "found|t|f|malicious|unknown|t");
    world.wait_row("8.8.8.2", columns, "found|f|f|||t");
    world.wait_row("8.8.8.3", columns, "found|t|f|malicious|unknown|f");
    world.wait_row("8.8.8.4", columns, "not_found|f|f|||t");
    world.wait_row("8.8.8.8", columns, "found|f|t|benign|Google Public DNS|f");
    world.wait_row("2001:4860:4860::8888", "greynoise_status, greynoise_detail", "skipped|it knows IPv4 only");
    world.wait_row("10.0.0.1", STATUS, "skipped");
    // All five are fresh, the one that is not listed too: no question is left for the next seven days.
    assert_eq!(world.fakes.count(Service::Greynoise), 5);
    world.sql("UPDATE ip_inventory SET scanner_ts = now() - interval '6 days 23 hours'");
    assert_eq!(world.value("SELECT processed FROM refresh_stale('greynoise')"), "0");
    assert_eq!(world.source("greynoise", "quota_used, errors"), "5|0");
}

#[test]
fn a_refused_key_is_tried_once_and_a_new_one_brings_the_source_back() {
    let world = world(World::options());
    world.fakes.announce("218.92.0.0/17", &[4134], "CN");
    world.fakes.name(4134, "CHINANET");
    world.fakes.expect_key(Some("a-key-of-tomorrow"));
    insert(&world, &["8.8.8.1", "8.8.8.2", "218.92.0.67"]);
    world.wait_source("greynoise", "state, last_error", "refused|HTTP 401: the key is refused");
    world.wait_row("218.92.0.67", "asn_number, cymru_status, greynoise_status", "4134|found|pending");
    insert(&world, &["8.8.8.3", "218.92.0.68"]);
    world.wait_row("218.92.0.68", "asn_number, cymru_status, greynoise_status", "4134|found|pending");
    assert_eq!(
        world.lines("SELECT maxmind_status, greynoise_status FROM enrich_ip('8.8.8.4', '10 min')"),
        ["found|pending"],
        "who waits is not kept waiting"
    );
    let refused = world.cluster.fails(DB, "SELECT refresh_stale('greynoise')");
    assert_eq!((refused.code.as_str(), refused.hint.is_empty()), ("55000", false), "{refused:?}");
    assert_eq!(world.fakes.count(Service::Greynoise), 1);
    assert_eq!(log_lines(&world, "GreyNoise refuses the key"), 1);
    assert_eq!(world.value("SELECT count(*) FROM ip_inventory WHERE greynoise_status <> 'pending'"), "0");
    assert_eq!(world.source("cymru", "state"), "ok");

    std::fs::write(world.fakes.key_file(), "a-key-of-tomorrow\n").unwrap();
    world.cluster.reload();
    world.wait("SELECT count(*) FROM ip_inventory WHERE greynoise_status = 'not_found'", "6");
    world.wait_source("greynoise", "state", "ok");
    assert_eq!(world.fakes.count(Service::Greynoise), 1 + 6);
}

#[test]
fn a_closed_quota_loses_nothing() {
    let world = world(World::options());
    world.fakes.fault(Fault::from(status(429, Some("60"))).next(1));
    insert(&world, &["8.8.8.1", "8.8.8.1", "8.8.8.2"]);
    world.wait_row("8.8.8.1", "greynoise_status, greynoise_detail", "quota|the quota is spent");
    let a_minute = "BETWEEN now() + interval '1 s' AND now() + interval '60 s'";
    assert_eq!(world.row("8.8.8.1", &format!("greynoise_retry_at {a_minute}, greynoise_attempts")), "t|0");
    world.wait_source("greynoise", &format!("state, retry_at {a_minute}, quota_left"), "quota|t|0");
    assert_eq!(world.value(&format!("SELECT closed_until {a_minute} FROM source_quota")), "t");
    insert(&world, &["8.8.8.3"]);
    world.wait_row("8.8.8.3", "maxmind_status, greynoise_status", "found|pending");
    assert_eq!(world.row("8.8.8.2", STATUS), "pending");
    assert_eq!(world.fakes.count(Service::Greynoise), 1);
    assert_eq!(log_lines(&world, "GreyNoise says that its quota is spent"), 1);

    // As if the minute were over, for a worker that reads the ledger again.
    world.cluster.stop_worker(DB);
    world.sql("UPDATE source_quota SET closed_until = now(); UPDATE ip_inventory SET greynoise_retry_at = now()");
    world.cluster.set("asn_inventory.databases", "");
    world.wait("SELECT count(*) FROM ip_inventory WHERE greynoise_status = 'not_found'", "3");
    assert_eq!(world.source("greynoise", "state, quota_used"), "ok|4");
}

#[test]
fn a_short_closure_ends_by_itself_and_one_without_an_end_begins_with_a_minute() {
    let world = world(World::options());
    world.fakes.fault(Fault::from(status(429, Some("1"))).next(1));
    insert(&world, &["8.8.8.1", "8.8.8.2"]);
    world.wait("SELECT count(*) FROM ip_inventory WHERE greynoise_status = 'not_found'", "2");
    assert_eq!(world.fakes.count(Service::Greynoise), 3);
    world.fakes.fault(status(429, None));
    insert(&world, &["8.8.8.3"]);
    world.wait_row("8.8.8.3", STATUS, "quota");
    insert(&world, &["8.8.8.4", "8.8.8.5"]);
    world.wait("SELECT count(*) FROM ip_inventory WHERE maxmind_status = 'found'", "5");
    let closed = "SELECT closed_until BETWEEN now() + interval '1 s' AND now() + interval '60 s' FROM source_quota";
    world.wait("SELECT count(*) FROM source_quota WHERE closed_until > now()", "1");
    assert_eq!(world.value(closed), "t");
    let waits = "SELECT i.greynoise_retry_at <= q.closed_until FROM ip_inventory i, source_quota q WHERE greynoise_status = 'quota'";
    assert_eq!(world.value(waits), "t");
    assert_eq!(world.fakes.count(Service::Greynoise), 4);
}

#[test]
fn a_reload_asks_a_source_again_that_is_closed_for_its_quota() {
    let world = world(World::options());
    world.fakes.fault(Fault::from(status(429, Some("86400"))).next(1));
    insert(&world, &["8.8.8.1", "8.8.8.2"]);
    world.wait("SELECT count(*) FROM ip_inventory WHERE greynoise_status = 'quota'", "1");
    world.wait_source("greynoise", "state", "quota");
    world.cluster.reload();
    world.wait("SELECT count(*) FROM ip_inventory WHERE greynoise_status = 'not_found'", "2");
    assert_eq!(world.source("greynoise", "state, quota_used"), "ok|3");
    // Still closed, it says so again, to one question.
    world.fakes.fault(Fault::from(status(429, Some("86400"))).next(1));
    insert(&world, &["8.8.8.3"]);
    world.wait_row("8.8.8.3", STATUS, "quota");
    world.fakes.fault(status(429, Some("86400")));
    insert(&world, &["8.8.8.4", "8.8.8.5", "8.8.8.6"]);
    world.wait("SELECT count(*) FROM ip_inventory WHERE maxmind_status = 'found'", "6");
    let before = world.fakes.count(Service::Greynoise);
    world.cluster.reload();
    asn_inventory_tests::wait::wait_until("one more question", || world.fakes.count(Service::Greynoise) == before + 1);
    world.wait_source("greynoise", "state, in_flight", "quota|0");
    assert_eq!(world.fakes.count(Service::Greynoise), before + 1);
}

#[test]
fn a_row_that_cannot_be_made_due_is_reported_once_and_shows_until_the_next_opening() {
    let world = world(World::options());
    world.fakes.fault(Fault::from(status(429, Some("86400"))).next(1));
    insert(&world, &["8.8.8.1"]);
    world.wait_row("8.8.8.1", STATUS, "quota");
    world.sql(
        "ALTER TABLE ip_inventory ADD CONSTRAINT poisoned
             CHECK (ip_address <> '8.8.8.1' OR greynoise_status <> 'pending') NOT VALID",
    );
    world.cluster.reload();
    let complaint = "8.8.8.1 cannot be written to ip_inventory; the rest of its batch was written: ";
    world.cluster.wait_log(complaint);
    world.wait_source("greynoise", "state", "ok");
    let errors = "SELECT work FROM worker_errors() WHERE last_error LIKE '8.8.8.1: new row for relation %'";
    let failing = "making rows due again that waited for GreyNoise's quota";
    world.wait(errors, failing);
    // The source works, and looks at its rows again.
    insert(&world, &["8.8.8.2"]);
    world.wait_row("8.8.8.2", STATUS, "not_found");
    assert_eq!(log_lines(&world, complaint), 1);
    assert_eq!(world.value(errors), failing);
    // The next reload tries it once more.
    world.sql("ALTER TABLE ip_inventory DROP CONSTRAINT poisoned");
    world.cluster.reload();
    world.wait_row("8.8.8.1", STATUS, "not_found");
    world.wait("SELECT count(*) FROM worker_errors()", "0");
}

#[test]
fn a_firewalls_page_does_not_refuse_the_key() {
    let world = world(World::options());
    let page = "<html><h1>403 Forbidden</h1></html>";
    for (ip, status) in [("8.8.8.1", 403), ("8.8.8.2", 401)] {
        let fault = GreyNoiseFault::Status { status, body: Some(page.to_owned()), retry_after: None };
        world.fakes.fault(Fault::from(fault).within(&format!("{ip}/32")));
    }
    insert(&world, &["8.8.8.1", "8.8.8.2", "8.8.8.3"]);
    world.wait_row("8.8.8.1", STATUS, "failed");
    world.wait_row("8.8.8.2", STATUS, "failed");
    let detail = world.row("8.8.8.1", "greynoise_detail");
    assert!(detail.contains("HTTP 403") && detail.contains("probably from a proxy or firewall"), "{detail}");
    world.wait_row("8.8.8.3", STATUS, "not_found");
    assert_eq!(world.source("greynoise", "state"), "ok");
    assert_eq!(log_lines(&world, "GreyNoise refuses the key"), 0);
}

#[test]
fn a_greynoise_outage_removes_no_other_answer() {
    let world = world(World::options());
    world.fakes.announce("218.92.0.0/17", &[4134], "CN");
    world.fakes.name(4134, "CHINANET");
    world.fakes.scanner(Scanner::noise("218.92.0.67".parse().unwrap(), "malicious", "unknown"));
    insert(&world, &["8.8.8.8", "218.92.0.67"]);
    world.wait_row("218.92.0.67", "asn_number, greynoise_status", "4134|found");
    world.wait_row("8.8.8.8", STATUS, "not_found");

    world.fakes.fault(GreyNoiseFault::Refuse);
    let all =
        "asn_number, cymru_status, country_source, scanner_noise, scanner_classification, scanner_ts, greynoise_status";
    let before = world.row("218.92.0.67", all);
    assert_eq!(world.value("SELECT errors FROM refresh_range('218.92.0.67', 'greynoise')"), "1");
    assert_eq!(world.row("218.92.0.67", all), before, "an older verdict stays");
    assert_eq!(world.row("218.92.0.67", "greynoise_attempts, greynoise_detail IS NOT NULL"), "1|t");

    // Until the breaker opens, and then.
    let new: Vec<String> = (1..=12).map(|n| format!("218.92.1.{n}")).collect();
    insert(&world, &new.iter().map(String::as_str).collect::<Vec<_>>());
    world.wait_source("greynoise", "state, retry_at > now()", "failing|t");
    insert(&world, &["8.8.8.9", "218.92.2.1"]);
    world.wait("SELECT count(*) FROM ip_inventory WHERE asn_number = 4134 AND cymru_status = 'found'", "14");
    world.wait_row("8.8.8.9", "asn_number, maxmind_status, greynoise_status", "15169|found|pending");
    assert_eq!(
        world.value("SELECT count(*) FROM ip_inventory WHERE greynoise_status NOT IN ('pending', 'failed')"),
        "2"
    );
    assert_eq!(
        world.lines("SELECT asn_number, cymru_status, greynoise_status IN ('pending', 'failed') FROM enrich_ip('218.92.1.12', '10 min')"),
        ["4134|found|t"],
        "who waits is not kept waiting"
    );
    assert_eq!(world.source("cymru", "state"), "ok");
}

#[test]
fn without_a_key_nothing_is_asked_until_there_is_one_or_greynoise_is_on() {
    let world = world(World::options().conf("greynoise_api_key", "file:/nonexistent/key"));
    insert(&world, &["8.8.8.8", "2001:4860:4860::8888"]);
    world.wait_row("8.8.8.8", "maxmind_status, greynoise_status", "found|pending");
    world.wait_source("greynoise", "state", "no key");
    assert_eq!(
        world.lines("SELECT maxmind_status, greynoise_status FROM enrich_ip('8.8.4.4', '10 min')"),
        ["not_found|pending"]
    );
    let refused = world.cluster.fails(DB, "SELECT refresh_stale('greynoise')");
    assert_eq!((refused.code.as_str(), refused.hint.is_empty()), ("55000", false), "{refused:?}");
    assert_eq!(world.fakes.count(Service::Greynoise), 0);

    world.fakes.expect_key(None);
    world.cluster.set("asn_inventory.greynoise", "on");
    world.wait_row("8.8.8.8", STATUS, "not_found");
    assert!(world.fakes.asked(Service::Greynoise).iter().all(|asked| !asked.key));
    let reference = format!("file:{}", std::fs::canonicalize(world.fakes.key_file()).unwrap().display());
    world.cluster.set("asn_inventory.greynoise_api_key", &reference);
    insert(&world, &["8.8.8.9"]);
    world.wait_row("8.8.8.9", STATUS, "not_found");
    assert!(world.fakes.asked(Service::Greynoise).last().is_some_and(|asked| asked.key));
}

#[test]
fn the_key_is_shown_nowhere() {
    let world = world(World::options());
    world.cluster.set("log_min_messages", "debug5");
    let file = std::fs::read_to_string(world.fakes.key_file()).unwrap();
    let key = file.trim();
    assert!(key.len() > 7, "a key that could stand somewhere by chance proves nothing");
    // An answer, a failure, and a refusal.
    insert(&world, &["8.8.8.1"]);
    world.wait_row("8.8.8.1", STATUS, "not_found");
    world.fakes.fault(Fault::from(GreyNoiseFault::Html200).next(1));
    insert(&world, &["8.8.8.2"]);
    world.wait_row("8.8.8.2", STATUS, "failed");
    let pid = world.value("SELECT worker_pid FROM enrichment_status");
    world.fakes.expect_key(Some("another"));
    insert(&world, &["8.8.8.3"]);
    world.wait_source("greynoise", "state", "refused");

    assert_eq!(
        world.value("SELECT setting LIKE 'file:/%' FROM pg_settings WHERE name = 'asn_inventory.greynoise_api_key'"),
        "t"
    );
    let relations = [
        "pg_settings",
        "pg_file_settings",
        "pg_stat_activity",
        "source_status",
        "enrichment_status",
        "ip_inventory",
        "source_quota",
        "enrichment_run",
    ];
    for relation in relations {
        let rows = world.lines(&format!("SELECT r::text FROM {relation} r"));
        assert!(!rows.iter().any(|row| row.contains(key)), "{relation}");
    }
    for file in ["cmdline", "environ"] {
        let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap();
        assert!(!bytes.is_empty() && !String::from_utf8_lossy(&bytes).contains(key), "{file}");
    }
    let log = world.cluster.log();
    assert!(log.contains("DEBUG") && !log.contains(key));
}

#[test]
fn a_row_that_a_session_holds_stops_no_other_and_is_asked_about_once() {
    let world = world(World::options().conf("greynoise_api_key", "file:/nonexistent/key"));
    insert(&world, &["8.8.8.1"]);
    world.wait_row("8.8.8.1", "maxmind_status, greynoise_status", "found|pending");
    let mut holder = world.cluster.client();
    holder.batch_execute("BEGIN; SELECT 1 FROM ip_inventory WHERE ip_address = '8.8.8.1' FOR UPDATE").unwrap();
    let reference = format!("file:{}", std::fs::canonicalize(world.fakes.key_file()).unwrap().display());
    world.cluster.set("asn_inventory.greynoise_api_key", &reference);
    let asked = || world.fakes.times(Service::Greynoise, "8.8.8.1");
    asn_inventory_tests::wait::wait_until("the question", || asked() == 1);
    insert(&world, &["8.8.8.2", "8.8.8.3"]);
    ["8.8.8.2", "8.8.8.3"].iter().for_each(|ip| world.wait_row(ip, STATUS, "not_found"));
    assert_eq!(world.row("8.8.8.1", STATUS), "pending");
    holder.batch_execute("ROLLBACK").unwrap();
    world.wait_row("8.8.8.1", STATUS, "not_found");
    assert_eq!((asked(), world.source("greynoise", "quota_used")), (1, "3".to_owned()));
}

#[test]
fn a_wrapped_address_that_must_not_be_sent_is_due_once_it_may() {
    let world = world(World::options().conf("never_ask", "8.8.8.0/24").conf("fold_ipv4_mapped", "off"));
    let wrapped = ["::ffff:8.8.8.1", "2002:808:802::1"];
    insert(&world, &wrapped);
    for ip in wrapped {
        world.wait_row(ip, "greynoise_status, greynoise_detail", "skipped|asn_inventory.never_ask");
    }
    // As version 0.2.0 wrote it.
    world.sql("UPDATE ip_inventory SET greynoise_detail = 'it knows IPv4 only' WHERE ip_address = '2002:808:802::1'");
    world.cluster.set("asn_inventory.never_ask", "");
    wrapped.iter().for_each(|ip| world.wait_row(ip, STATUS, "not_found"));
}

#[test]
fn a_row_that_a_session_holds_keeps_no_other_from_being_due_again() {
    let world = world(World::options().conf("never_ask", "8.8.8.0/24"));
    let ips = ["8.8.8.1", "8.8.8.2", "8.8.8.3"];
    insert(&world, &ips);
    ips.iter().for_each(|ip| world.wait_row(ip, STATUS, "skipped"));
    let mut holder = world.cluster.client();
    let hold = "BEGIN; SELECT 1 FROM ip_inventory WHERE ip_address = '8.8.8.1' FOR UPDATE";
    holder.batch_execute(hold).unwrap();
    world.cluster.set("asn_inventory.never_ask", "");
    ips[1..].iter().for_each(|ip| world.wait_row(ip, STATUS, "not_found"));
    assert_eq!(world.row(ips[0], STATUS), "skipped");
    holder.batch_execute("ROLLBACK").unwrap();
    world.wait_row(ips[0], STATUS, "not_found");

    // The same of rows that wait for the quota, once it opens.
    world.fakes.fault(status(429, Some("3600")));
    world.sql("UPDATE ip_inventory SET greynoise_status = 'pending'");
    insert(&world, &["8.8.8.4"]);
    world.wait_source("greynoise", "state", "quota");
    world.wait("SELECT count(*) > 0 FROM ip_inventory WHERE greynoise_status = 'quota'", "t");
    let waits = world.value("SELECT host(ip_address) FROM ip_inventory WHERE greynoise_status = 'quota' LIMIT 1");
    holder.batch_execute(&hold.replace(ips[0], &waits)).unwrap();
    world.fakes.clear_faults();
    world.cluster.reload();
    world.wait("SELECT count(*) FROM ip_inventory WHERE greynoise_status = 'not_found'", "3");
    assert_eq!(world.row(&waits, STATUS), "quota");
    holder.batch_execute("ROLLBACK").unwrap();
    world.wait_row(&waits, STATUS, "not_found");
}
