//! An answer of Team Cymru is used for the asked address's own /24 (IPv6: /48) and no wider, for any prefix that it
//! names: inside a prefix, others announce longer ones. Wider answers of version 0.1.0 are asked about again.

use crate::network_support::*;
use asn_inventory_tests::prelude::*;

/// 22.0.0.0/16 of AS65001, in which every other /24 is announced by AS65002; the same with 2b00:1::/32 and its /48s.
fn world(options: Options) -> World {
    let world = options.conf("greynoise", "off").start();
    world.fakes.announce("22.0.0.0/16", &[65001], "US");
    world.fakes.announce("2b00:1::/32", &[65001], "US");
    for n in (1..41).step_by(2) {
        world.fakes.announce(&format!("22.0.{n}.0/24"), &[65002], "DE");
        world.fakes.announce(&format!("2b00:1:{n:x}::/48"), &[65002], "DE");
    }
    world.fakes.name(65001, "WIDE");
    world.fakes.name(65002, "NARROW");
    world
}

const ORIGINS: &str =
    "SELECT asn_number, count(*) FROM ip_inventory WHERE cymru_status = 'found' GROUP BY 1 ORDER BY 1";

#[test]
fn case_29_every_address_gets_the_origin_of_its_own_route() {
    for bulk_min in ["1", "1000"] {
        let world = world(World::options().conf("cymru_bulk_min", bulk_min));
        let addresses: Vec<(String, i64)> = (0..41).map(|n| (format!("22.0.{n}.9"), 1 + (n * 7) % 41)).collect();
        world.observe(&addresses.iter().map(|(ip, seen)| (ip.as_str(), *seen)).collect::<Vec<_>>());
        world.wait("SELECT count(*) FROM ip_inventory WHERE cymru_status = 'found'", "41");
        assert_eq!(world.lines(ORIGINS), ["65001|21", "65002|20"]);
        // Shown is the prefix that was told.
        assert_eq!(world.row("22.0.4.9", "asn_number, network"), "65001|22.0.0.0/16");
        assert_eq!(world.row("22.0.5.9", "asn_number, network"), "65002|22.0.5.0/24");
        assert_eq!(
            world.lines("SELECT DISTINCT masklen(prefix), masklen(announced) FROM cymru_prefix ORDER BY 2"),
            ["24|16", "24|24"]
        );
        // One by one, each with the answers known so far.
        let six: Vec<(String, i64)> = (0..41).map(|n| (format!("2b00:1:{n:x}::9"), 1)).collect();
        for (ip, seen) in &six {
            world.observe(&[(ip, *seen)]);
        }
        world.wait("SELECT count(*) FROM ip_inventory WHERE cymru_status = 'found'", "82");
        assert_eq!(world.lines(ORIGINS), ["65001|42", "65002|40"]);
        // Addresses in the same /24 or /48 are not asked about.
        let asked = world.fakes.count(Service::Dns) + world.fakes.count(Service::Whois);
        world.observe(&[("22.0.4.77", 1), ("22.0.5.77", 1), ("2b00:1:5:77::1", 1)]);
        world.wait("SELECT count(*) FROM ip_inventory WHERE cymru_status = 'found'", "85");
        assert_eq!(world.fakes.count(Service::Dns) + world.fakes.count(Service::Whois), asked);
    }
}

#[test]
fn a_route_longer_than_a_24_counts_only_for_itself() {
    let world = world(World::options());
    world.fakes.announce("22.0.6.0/25", &[65003], "FR");
    world.fakes.name(65003, "LONG");
    world.observe(&[("22.0.6.1", 9), ("22.0.6.2", 8), ("22.0.6.200", 1)]);
    world.wait("SELECT count(*) FROM ip_inventory WHERE cymru_status = 'found'", "3");
    assert_eq!(world.row("22.0.6.2", "asn_number, network"), "65003|22.0.6.0/25");
    assert_eq!(world.row("22.0.6.200", "asn_number, network"), "65001|22.0.0.0/16");
    assert_eq!(
        world.lines("SELECT prefix, announced FROM cymru_prefix ORDER BY prefix"),
        ["22.0.6.0/24|22.0.0.0/16", "22.0.6.0/25|22.0.6.0/25"]
    );
}

#[test]
fn wide_answers_of_version_0_1_0_are_asked_about_again() {
    let world = world(World::options());
    // As it left them: one answer used for a /16, some right, some wrong; and no route where there is one.
    world.sql(
        "INSERT INTO ip_inventory (ip_address, observation_count, ip_class, maxmind_status, maxmind_ts, asn_number,
             asn_org, asn_source, network, country_code, country_source, cymru_status, cymru_ts, greynoise_status)
         SELECT ('22.0.' || n || '.9')::inet, n + 1, 'public', 'not_found', now(), 65001, 'WIDE', 'cymru', '22.0.0.0/16', 'US', 'cymru',
             'found', now() - interval '1 hour', 'skipped' FROM generate_series(0, 40) n;
         INSERT INTO ip_inventory (ip_address, observation_count, ip_class, maxmind_status, maxmind_ts, cymru_status, cymru_ts, greynoise_status)
         VALUES ('22.0.50.9', 1, 'public', 'not_found', now(), 'not_found', now() - interval '1 hour', 'skipped');
         INSERT INTO cymru_prefix VALUES
             ('22.0.0.0/16', '22.0.0.0/16', '{65001}', 'US', 'arin', NULL, now() - interval '1 hour', now() + interval '1 day'),
             ('22.0.50.0/24', NULL, '{}', NULL, NULL, NULL, now() - interval '1 hour', now() + interval '1 hour'),
             ('22.0.7.0/24', '22.0.7.0/24', '{65002}', 'DE', 'arin', NULL, now() - interval '1 hour', now() + interval '1 day')",
    );
    // A wide answer is not used, also while it stands there.
    world.observe(&[("22.0.60.9", 1), ("22.0.9.10", 1)]);
    world.wait(
        "SELECT count(*) FROM ip_inventory WHERE ip_address IN ('22.0.60.9', '22.0.9.10') AND cymru_status = 'found'",
        "2",
    );
    assert_eq!(world.row("22.0.9.10", "asn_number"), "65002");
    world.sql("DELETE FROM ip_inventory WHERE ip_address IN ('22.0.60.9', '22.0.9.10')");

    // The service does not answer at first: known answers stay until it does.
    world.fakes.fault(DnsFault::Servfail);
    world.fakes.fault(WhoisFault::Refuse);
    world.cluster.restart();
    let open = "SELECT count(*) FROM ip_inventory WHERE cymru_status NOT IN ('found', 'not_found')";
    world.wait(open, "40");
    // Two have an answer of their own /24 already.
    let kept = "SELECT count(*) FROM ip_inventory WHERE asn_number = 65001 AND network = '22.0.0.0/16'";
    assert_eq!(world.value(kept), "39");
    assert_eq!(world.row("22.0.7.9", "asn_number") + &world.row("22.0.9.9", "asn_number"), "6500265002");
    world.fakes.clear_faults();
    let again = || {
        world.retry_now();
        world.lines(ORIGINS)
    };
    wait_for("every origin", again, |origins| *origins == ["65001|22", "65002|20"]);
    // Narrow answers go on, wide ones are gone.
    world.wait("SELECT count(*) FROM cymru_prefix WHERE masklen(prefix) < 24", "0");
    assert_eq!(world.fakes.times(Service::Dns, "22.0.7.9") + world.fakes.times(Service::Whois, "22.0.7.9"), 0);
    // And it is done with: the next start asks about nothing.
    world.cluster.restart();
    world.wait("SELECT worker FROM enrichment_status", "running");
    assert_eq!(world.value("SELECT count(*) FROM ip_inventory WHERE cymru_status = 'pending'"), "0");
}

#[test]
fn ten_thousand_24s_use_a_few_sessions() {
    let world = World::options().conf("greynoise", "off").start();
    world.fakes.rule("45.0.0.0/8", 16, 64500, "DE");
    world.fakes.fault(WhoisFault::Delay(100));
    world.sql(
        "INSERT INTO ip_observation (address, seen, first_seen, last_seen)
         SELECT '45.0.0.1'::inet + n * 256, 1, now(), now() FROM generate_series(1, 10000) n",
    );
    let began = std::time::Instant::now();
    world.sql("SELECT absorb_observations()");
    world.wait("SELECT count(*) FROM ip_inventory WHERE cymru_status = 'found'", "10000");
    println!("10,000 /24s took {:?}", began.elapsed());
    let asked = world.fakes.counts(Service::Whois);
    assert!(asked.addresses == 10_000 && asked.requests <= 4, "{asked:?}");
}

#[test]
fn a_row_that_is_held_or_cannot_be_written_keeps_no_other_from_being_asked_about_again() {
    let world = world(World::options());
    world.cluster.stop_worker(DB);
    world.sql(
        "INSERT INTO ip_inventory (ip_address, observation_count, ip_class, maxmind_status, maxmind_ts, asn_number,
             asn_org, asn_source, network, country_code, country_source, cymru_status, cymru_ts, greynoise_status)
         SELECT ('22.0.' || n || '.9')::inet, n + 1, 'public', 'not_found', now(), 65001, 'WIDE', 'cymru', '22.0.0.0/16', 'US', 'cymru',
             'found', now() - interval '1 hour', 'skipped' FROM generate_series(0, 40) n;
         INSERT INTO cymru_prefix VALUES
             ('22.0.0.0/16', '22.0.0.0/16', '{65001}', 'US', 'arin', NULL, now() - interval '1 hour', now() + interval '1 day');
         ALTER TABLE ip_inventory ADD CONSTRAINT poisoned CHECK (ip_address <> '22.0.3.9' OR cymru_status <> 'pending')",
    );
    let mut holder = world.cluster.client();
    holder.batch_execute("BEGIN; SELECT 1 FROM ip_inventory WHERE ip_address = '22.0.5.9' FOR UPDATE").unwrap();
    world.cluster.set("asn_inventory.databases", "");
    let renewed =
        "SELECT count(*) FROM ip_inventory WHERE cymru_status = 'found' AND cymru_ts > now() - interval '30 minutes'";
    world.wait(renewed, "39");
    assert_eq!(world.row("22.0.5.9", "asn_number") + &world.row("22.0.3.9", "asn_number"), "6500165001");
    holder.batch_execute("ROLLBACK").unwrap();
    world.wait(renewed, "40");
    assert_eq!(world.row("22.0.5.9", "asn_number"), "65002");
    // The other one is named, and shown for as long as it is not done; the mark of the old answers stays.
    let named = "SELECT count(*) FROM worker_errors()
                 WHERE work = 'making answers in doubt due again' AND last_error LIKE '22.0.3.9: new row for relation %'";
    world.wait(named, "1");
    assert!(world.cluster.log().contains("22.0.3.9 cannot be written to ip_inventory"));
    let mark = "SELECT count(*) FROM cymru_prefix WHERE masklen(prefix) < 24";
    assert_eq!(world.value(mark), "1");
    // A worker that starts begins again.
    world.sql("ALTER TABLE ip_inventory DROP CONSTRAINT poisoned");
    world.sql("SELECT pg_terminate_backend(worker_pid) FROM enrichment_status");
    world.wait(renewed, "41");
    world.wait(mark, "0");
    world.wait("SELECT count(*) FROM worker_errors()", "0");
    assert_eq!(world.lines(ORIGINS), ["65001|21", "65002|20"]);
}

/// As long as a row is held, its piece alone is read again. What somebody moved meanwhile is found by the pass after that.
#[test]
fn a_row_that_is_held_does_not_have_the_whole_inventory_read_again() {
    let world = World::options().conf("greynoise", "off").start();
    world.fakes.rule("45.0.0.0/8", 16, 64500, "DE");
    world.cluster.stop_worker(DB);
    // Four take a block, so that there are several pieces.
    let old = |ip: &str, from: &str| {
        format!(
            "INSERT INTO ip_inventory (ip_address, observation_count, ip_class, maxmind_status, maxmind_ts, city, asn_number,
                 asn_source, network, cymru_status, cymru_ts, greynoise_status)
             SELECT inet {ip}, 1, 'public', 'not_found', now(),
                 (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 50)), 1, 'cymru', '45.0.0.0/8', 'found',
                 now() - interval '1 hour', 'skipped' FROM {from}"
        )
    };
    world.sql("ALTER TABLE ip_inventory SET (autovacuum_enabled = off)");
    world.sql(&old("'45.1.0.0' + g", "generate_series(1, 2600) g"));
    world.sql(
        "INSERT INTO cymru_prefix VALUES
             ('45.0.0.0/8', '45.0.0.0/8', '{1}', 'US', 'arin', NULL, now() - interval '1 hour', now() + interval '1 day')",
    );
    let mut holders = ["45.1.0.1", "45.1.0.2"].map(|ip| {
        let mut holder = world.cluster.client();
        let held = format!("BEGIN; SELECT 1 FROM ip_inventory WHERE ip_address = '{ip}' FOR UPDATE");
        holder.batch_execute(&held).expect("held");
        holder
    });
    world.cluster.set("asn_inventory.databases", "");
    let renewed = "SELECT count(*) FROM ip_inventory WHERE asn_number = 64501 AND cymru_status = 'found'";
    world.wait(renewed, "2598");
    // Behind all that was passed.
    world.sql(&old("'45.1.200.1'", "(SELECT) one"));
    let block = "SELECT (ctid::text::point)[0] > 1024 FROM ip_inventory WHERE ip_address = '45.1.200.1'";
    assert_eq!(world.value(block), "t");
    holders[0].batch_execute("ROLLBACK").expect("released");
    world.wait(renewed, "2599");
    assert_eq!(world.row("45.1.0.1", "asn_number") + &world.row("45.1.200.1", "asn_number"), "645011");
    holders[1].batch_execute("ROLLBACK").expect("released");
    world.wait(renewed, "2601");
    world.wait("SELECT count(*) FROM cymru_prefix WHERE masklen(prefix) < 24", "0");
    world.wait("SELECT count(*) FROM worker_errors()", "0");
}
