//! Obstacles of a job that asks network sources: its worker ends, its rows cannot be read, its list is not whole. No
//! address is asked about twice, and none counts as done that was not.

use crate::network_support::*;
use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

const COUNTS: &str = "processed, enriched, cymru_asn, greynoise_scanners, not_found, skipped, errors";
const MANY: u64 = 60;
const RANGE: &str = "218.92.0.0/24";
/// GreyNoise takes its time with this one.
const SLOW: &str = "218.92.0.7";

/// Sixty addresses that MaxMind does not know. Team Cymru knows all of them, GreyNoise the first twenty; all are answered.
fn answered() -> World {
    let world = World::options().conf("greynoise_timeout", "10min").conf("greynoise_rate", "1000").start();
    world.fakes.announce("218.92.0.0/17", &[4134], "CN");
    world.fakes.name(4134, "CHINANET");
    for n in 1..=20 {
        world.fakes.scanner(Scanner::noise(format!("218.92.0.{n}").parse().unwrap(), "malicious", "unknown"));
    }
    let many: Vec<String> = (1..=MANY).map(|n| format!("218.92.0.{n}")).collect();
    world.observe(&many.iter().map(|ip| (ip.as_str(), 1)).collect::<Vec<_>>());
    world.wait(
        "SELECT count(*) FROM ip_inventory WHERE cymru_status = 'found' AND greynoise_status IN ('found', 'not_found')",
        &MANY.to_string(),
    );
    world
}

/// Questions to Team Cymru.
fn asked_cymru(world: &World) -> u64 {
    world.fakes.count(Service::Dns) + world.fakes.count(Service::Whois)
}

/// Runs a refresh, and ends the worker once all addresses but the slow one are through. Returns the summary that the next
/// worker comes to.
fn taken_over(world: &World, call: &str) -> String {
    world.fakes.clear_log();
    world.fakes.fault(Fault::from(GreyNoiseFault::Hang).within(&format!("{SLOW}/32")).next(1));
    thread::scope(|scope| {
        let caller = scope.spawn(|| world.lines(&format!("SELECT {COUNTS} FROM {call}")).join("\n"));
        world.wait("SELECT state || processed FROM enrichment_progress", &format!("running{}", MANY - 1));
        let cymru = asked_cymru(world);
        world.sql("SELECT pg_terminate_backend(worker_pid) FROM enrichment_status");
        let summary = caller.join().expect("no panic");
        assert_eq!(asked_cymru(world), cymru, "{call}: Team Cymru was asked again");
        summary
    })
}

#[test]
fn a_job_that_another_worker_takes_over_asks_only_about_the_rest_and_counts_all() {
    let world = answered();
    let stale = "UPDATE ip_inventory SET scanner_ts = now() - interval '8 days'";
    for (before, call, summary) in [
        ("SELECT", format!("refresh_range('{RANGE}', 'greynoise')"), "60|20|0|20|40|0|0"),
        (stale, "refresh_stale('greynoise')".to_owned(), "60|20|0|20|40|0|0"),
        // Of the slow address, the first worker has had Team Cymru's answer, and the second one gets GreyNoise's.
        ("SELECT", format!("refresh_range('{RANGE}')"), "60|60|60|20|0|0|0"),
    ] {
        world.sql(before);
        assert_eq!(taken_over(&world, &call), summary, "{call}");
        for n in 1..=MANY {
            let ip = format!("218.92.0.{n}");
            let times = if ip == SLOW { 2 } else { 1 };
            assert_eq!(world.fakes.times(Service::Greynoise, &ip), times, "{call}: {ip}");
        }
        assert_eq!(
            world.lines(&format!("SELECT outcome, {COUNTS} FROM enrichment_run ORDER BY job_id DESC LIMIT 1")),
            [format!("done|{summary}")]
        );
    }
}

#[test]
fn an_address_that_maxmind_knows_is_not_unknown_to_all() {
    let world = World::start();
    world.observe(&[("8.8.8.8", 1)]);
    world.wait_row("8.8.8.8", "asn_source, greynoise_status", "maxmind|not_found");
    assert_eq!(world.lines(&format!("SELECT {COUNTS} FROM refresh_range('8.8.8.8')")), ["1|1|0|0|0|0|0"]);
    world.fakes.fault(GreyNoiseFault::Html200);
    assert_eq!(world.lines(&format!("SELECT {COUNTS} FROM refresh_range('8.8.8.8')")), ["1|0|0|0|0|0|1"]);
}

#[test]
fn a_job_waits_while_the_inventory_is_locked_and_skips_nothing() {
    let world = answered();
    let worker = world.value("SELECT worker_pid FROM enrichment_status");
    let mut holder = world.cluster.connect(DB);
    let submit = format!(
        "BEGIN; LOCK TABLE ip_inventory IN ACCESS EXCLUSIVE MODE; SELECT job_id FROM refresh_range('{RANGE}', 'cymru', false)"
    );
    query(&mut holder, &submit).expect("a job");
    let waits = format!(
        "SELECT waitstart FROM pg_locks WHERE NOT granted AND relation = 'ip_inventory'::regclass AND pid = {worker}"
    );
    // The campaign's own attempts are among them.
    let mut attempts = BTreeSet::new();
    wait_until("several attempts, or an end", || {
        if world.lines("SELECT state FROM enrichment_progress") == ["running"] {
            attempts.extend(world.lines(&waits));
        }
        attempts.len() >= 10 || world.value("SELECT count(*) FROM enrichment_run") != "0"
    });
    assert_eq!(world.lines("SELECT state, processed FROM enrichment_progress"), ["running|0"]);
    query(&mut holder, "COMMIT").expect("committed");
    world.wait("SELECT outcome FROM enrichment_run", "done");
    assert_eq!(world.lines(&format!("SELECT {COUNTS} FROM enrichment_run")), ["60|60|60|0|0|0|0"]);
}

#[test]
fn a_job_whose_rows_cannot_be_read_fails_with_the_reason() {
    let world = answered();
    // The one column is read for the answers that there are, the other for what is due.
    for (n, column) in ["scanner_noise", "observation_count"].into_iter().enumerate() {
        world.sql(&format!("ALTER TABLE ip_inventory RENAME COLUMN {column} TO moved"));
        let failed = world.cluster.fails(DB, &format!("SELECT refresh_range('{RANGE}', 'greynoise')"));
        assert_eq!((failed.code.as_str(), failed.message), ("38000", format!("job {} failed", n + 1)));
        assert_eq!(
            world.lines("SELECT outcome, processed, skipped, detail FROM enrichment_run ORDER BY job_id DESC LIMIT 1"),
            [format!("failed|0|0|could not read the rows to ask about: column i.{column} does not exist")]
        );
        assert_eq!(world.value("SELECT count(*) FROM enrichment_progress"), "0");
        world.sql(&format!("ALTER TABLE ip_inventory RENAME COLUMN moved TO {column}"));
    }
    let jobs = world.cluster.data_dir().join("asn_inventory/jobs");
    assert_eq!(fs::read_dir(jobs).expect("the directory").count(), 0, "a list was left behind");
    let call = format!("SELECT {COUNTS} FROM refresh_range('{RANGE}', 'greynoise')");
    assert_eq!(world.lines(&call), ["60|20|0|20|40|0|0"]);
}

#[test]
fn a_job_whose_list_is_not_whole_fails_and_skips_nothing() {
    let world = answered();
    let database = world.value("SELECT oid FROM pg_database WHERE datname = current_database()");
    let worker = world.value("SELECT worker_pid FROM enrichment_status");
    let signal = |name: &str| assert!(Command::new("kill").args([name, &worker]).status().expect("kill").success());
    let submit = || -> (String, PathBuf) {
        let job = world.value(&format!("SELECT job_id FROM refresh_range('{RANGE}', 'cymru', false)"));
        let list = world.cluster.data_dir().join(format!("asn_inventory/jobs/{database}-{job}.ips"));
        (job, list)
    };
    // It reads the lists once it goes on.
    signal("-STOP");
    let [(gone, no_list), (short, cut_list), (odd, odd_list)] = [submit(), submit(), submit()];
    fs::remove_file(no_list).expect("removed");
    let mut list = fs::read(&cut_list).expect("a list");
    let one = list.len() / MANY as usize;
    fs::write(cut_list, &list[..list.len() - one]).expect("written");
    // What an address begins with.
    list[8 * one] = 0;
    fs::write(odd_list, list).expect("written");
    signal("-CONT");
    world.wait("SELECT count(*) FROM enrichment_run", "3");
    let why = |job: &str| {
        let sql = format!("SELECT outcome, processed, skipped, detail FROM enrichment_run WHERE job_id = {job}");
        world.lines(&sql).join("\n")
    };
    let failed = |job: &str, why: &str| format!("failed|0|0|could not read the list of job {job}: {why}");
    assert_eq!(why(&gone), failed(&gone, "No such file or directory (os error 2)"));
    assert_eq!(why(&short), failed(&short, "it has 59 of 60 addresses"));
    assert_eq!(why(&odd), failed(&odd, "entry 9 is not an address"));
}

/// The job would wait for the transaction of its caller, and the caller for the job.
#[test]
fn a_caller_that_keeps_the_job_from_its_rows_is_refused() {
    let world = answered();
    let refused = |before: &str, call: &str, table: &str| {
        let sql = format!("SET statement_timeout = '30s'; BEGIN; {before}; SELECT {call}");
        let failure = world.cluster.fails(DB, &sql);
        let message = format!("this transaction holds a lock on {table} that the job needs");
        assert_eq!((failure.code.as_str(), failure.message), ("55000", message), "{before}: {call}");
        assert_eq!(failure.hint, "Commit first, or call it with wait => false.");
    };
    let alter = "ALTER TABLE ip_inventory ADD COLUMN note text";
    for call in ["refresh_range('218.92.0.0/30', 'cymru')", "refresh_stale('maxmind')", "backfill_inventory()"] {
        refused(alter, call, "ip_inventory");
        refused("LOCK TABLE ip_inventory IN SHARE MODE", call, "ip_inventory");
        refused("LOCK TABLE ip_asn_history IN EXCLUSIVE MODE", call, "ip_asn_history");
    }
    refused("LOCK TABLE source_quota IN SHARE MODE", "refresh_stale('greynoise')", "source_quota");
    for rows in ["UPDATE ip_inventory SET observation_count = 7", "SELECT 1 FROM ip_inventory FOR UPDATE"] {
        refused(rows, &format!("refresh_range('{RANGE}', 'cymru')"), "ip_inventory");
    }
    // Nobody waits, or nobody is kept from anything.
    let share = "LOCK TABLE ip_inventory IN SHARE MODE";
    world.sql(&format!("BEGIN; {share}; SELECT refresh_range('218.92.0.0/30', 'cymru', wait => false); COMMIT"));
    world.wait("SELECT outcome || processed FROM enrichment_run", "done3");
    world.sql(&format!("BEGIN; SELECT count(*) FROM ip_inventory; SELECT refresh_range('{RANGE}', 'cymru'); COMMIT"));
    assert_eq!(world.lines("SELECT outcome, processed FROM enrichment_run ORDER BY job_id"), ["done|3", "done|60"]);
}
