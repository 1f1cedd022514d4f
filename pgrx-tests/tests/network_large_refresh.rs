//! Refreshes of more addresses than the worker holds at a time: none is left out, none counted twice, and the quota
//! still goes to the most observed ones.

use crate::network_support::*;

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
