//! Refreshes of more addresses than the worker holds at a time: none is left out, none counted twice, and the quota
//! still goes to the most observed ones.

use crate::backfill_support::Gate;
use crate::network_support::*;
use asn_inventory_tests::prelude::*;
use std::collections::BTreeSet;
use std::thread;

const MANY: u64 = 120_000;
const QUOTA: u64 = 20;
const SUMMARY: &str = "SELECT processed, enriched, cymru_asn, not_found, skipped, errors FROM";

/// Addresses that were answered once, and long ago; the higher, the more often observed.
fn world(conf: &[(&str, &str)]) -> World {
    let world = conf.iter().fold(World::options(), |options, (name, value)| options.conf(name, value)).start();
    world.fakes.rule("45.0.0.0/8", 20, 64500, "DE");
    world.sql(&format!(
        "INSERT INTO ip_inventory (ip_address, observation_count, ip_class, maxmind_status, maxmind_ts, cymru_status, cymru_ts, greynoise_status, scanner_ts)
         SELECT '45.0.0.0'::inet + n, n, 'public', 'not_found', now(), 'not_found', now() - interval '1 year', 'not_found', now() - interval '1 year'
         FROM generate_series(1, {MANY}) n"
    ));
    world
}

#[test]
fn every_address_is_asked_about_and_counted_once() {
    let world = world(&[("greynoise", "off")]);
    let all = format!("{MANY}|{MANY}|{MANY}|0|0|0");
    assert_eq!(world.lines(&format!("{SUMMARY} refresh_range('45.0.0.0/8', 'cymru')")), [all.as_str()]);
    assert_eq!(
        world.value(
            "SELECT count(*) FROM ip_inventory WHERE cymru_status = 'found' AND cymru_ts > now() - interval '1 day'"
        ),
        MANY.to_string()
    );
    assert_eq!(world.lines(&format!("{SUMMARY} refresh_stale('cymru', {MANY})")), ["0|0|0|0|0|0"]);
}

#[test]
fn the_quota_goes_to_the_most_observed() {
    let world = world(&[("cymru", "off"), ("greynoise_quota", &QUOTA.to_string()), ("greynoise_rate", "100")]);
    let summary = format!("{MANY}|0|0|{QUOTA}|{}|0", MANY - QUOTA);
    assert_eq!(world.lines(&format!("{SUMMARY} refresh_stale('greynoise', {MANY})")), [summary.as_str()]);
    assert_eq!(
        world.lines(
            "SELECT min(observation_count), count(*) FROM ip_inventory WHERE scanner_ts > now() - interval '1 day'"
        ),
        [format!("{}|{QUOTA}", MANY - QUOTA + 1)]
    );
    assert_eq!(world.fakes.count(Service::Greynoise), QUOTA);
}

/// The list is sorted when MaxMind is through. By then another session holds the table.
#[test]
fn a_lock_delays_the_job_and_does_not_give_the_quota_to_others() {
    let world = world(&[("cymru", "off"), ("greynoise_quota", &QUOTA.to_string()), ("greynoise_rate", "100")]);
    let worker = world.value("SELECT worker_pid FROM enrichment_status");
    let gate = Gate::shut(&world.cluster, DB, &format!("NEW.observation_count = {MANY}"));
    // A session that waits for the job would hold the table itself.
    let job = world.value("SELECT job_id FROM refresh_range('45.0.0.0/8', 'all', wait => false)");
    // But for the transaction of the row that is held.
    let written = "SELECT count(*) FROM ip_inventory WHERE maxmind_ts > (SELECT started_at FROM enrichment_progress)";
    world.wait(written, &(MANY - 5000).to_string());
    let mut holder = world.cluster.connect(DB);
    let lock = thread::spawn(move || {
        holder.batch_execute("BEGIN; LOCK TABLE ip_inventory").expect("the lock");
        holder
    });
    world.wait("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted", "1");
    gate.open();
    let mut holder = lock.join().expect("no panic");
    // The job waits for it as the worker's other work does: one of so many attempts is its own.
    let attempt = format!("SELECT waitstart FROM pg_locks WHERE pid = {worker} AND NOT granted");
    let mut seen = BTreeSet::new();
    wait_until("attempts of the worker", || {
        seen.extend(world.lines(&attempt).into_iter().filter(|since| !since.is_empty()));
        seen.len() >= 10
    });
    assert_eq!(world.value("SELECT state FROM enrichment_progress"), "running");
    holder.batch_execute("ROLLBACK").expect("no lock");
    let ended = format!("SELECT outcome || '|' || processed || '|' || errors FROM enrichment_run WHERE job_id = {job}");
    world.wait(&ended, &format!("done|{MANY}|0"));
    assert_eq!(
        world.lines(
            "SELECT min(observation_count), count(*) FROM ip_inventory WHERE scanner_ts > now() - interval '1 day'"
        ),
        [format!("{}|{QUOTA}", MANY - QUOTA + 1)]
    );
}
