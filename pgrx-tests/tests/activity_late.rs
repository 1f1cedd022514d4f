//! A day that was over when it was counted, and of whose addresses answers were still to come.

use crate::network_support::*;

#[test]
fn an_old_day_is_counted_once_more_when_answers_have_come() {
    let world = World::options().conf("greynoise", "off").conf("cymru_rate", "1").start();
    world.fakes.fault(DnsFault::Drop);
    world.fakes.announce("218.92.0.0/17", &[4134], "CN");
    world.sql("CREATE TABLE late (ip inet, at timestamptz); SELECT attach_ip_source('late', '{ip}', 'at')");
    world.sql("INSERT INTO late VALUES ('218.92.0.7', now() - interval '5 days')");
    let marks = "SELECT string_agg(source_id::text, ' ') FROM ip_activity WHERE source_id < -1 AND NOT counted";
    world.wait(marks, "-2");
    let networks =
        "SELECT string_agg(coalesce(asn_number::text, '-') || ':' || observations, ' ') FROM networks_by_day";
    assert_eq!(world.value(networks), "-:1");
    // It is not counted all the time meanwhile.
    world.sql("INSERT INTO late VALUES ('10.0.0.1', now() - interval '5 days')");
    world.wait(networks, "-:2");
    assert_eq!(world.value(marks), "-2");
    world.fakes.clear_faults();
    world.retry_now();
    world.wait_row("218.92.0.7", "cymru_status, asn_number", "found|4134");
    // The hour has passed.
    world.sql("UPDATE ip_activity SET addresses = 0 WHERE source_id < -1; INSERT INTO late VALUES ('10.0.0.1', now())");
    world.wait("SELECT observations FROM networks_by_day WHERE asn_number = 4134", "1");
    assert_eq!(world.value(marks), "");
}
