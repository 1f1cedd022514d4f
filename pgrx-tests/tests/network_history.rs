//! The history of an address's ASN, and the stored data of the autonomous systems.

use crate::network_support::*;
use asn_inventory_tests::prelude::*;

const HISTORY: &str = "SELECT host(ip_address), old_asn, old_source, new_asn, new_source FROM ip_asn_history
    ORDER BY changed_at, ip_address";

/// A newer ASN file in which a network belongs to another AS; waits until it is installed.
fn install_newer(world: &World, network: &str, number: u32) {
    let installed = "SELECT installed_at FROM mmdb_editions() WHERE edition = 'GeoLite2-ASN'";
    let before = world.value(installed);
    let record =
        json!({ "autonomous_system_number": number, "autonomous_system_organization": format!("Heir {number}") });
    fixtures::small_asn(fixtures::days_ago(1) + u64::from(number))
        .insert(network, record)
        .install(&world.cluster.maxmind_dir().join("GeoLite2-ASN.mmdb"));
    wait_until("the newer file to be installed", || world.value(installed) != before);
}

/// Three addresses: two of Team Cymru's 4134, one of MaxMind's 15169.
fn answered() -> World {
    let world = World::options().conf("greynoise", "off").start();
    world.fakes.announce("218.92.0.0/17", &[4134, 4812], "CN");
    for (asn, name) in [(4134, "CHINANET-BACKBONE, CN"), (4812, "CHINANET-SH, CN"), (64500, "EXAMPLE, DE")] {
        world.fakes.name(asn, name);
    }
    world.observe(&[("218.92.0.1", 5), ("218.92.0.2", 3), ("8.8.8.8", 2)]);
    world.wait("SELECT count(*) FROM ip_inventory WHERE asn_number IS NOT NULL", "3");
    world
}

fn change(world: &World, prefix: &str, origins: &[u32]) {
    world.fakes.withdraw("218.92.0.0/17");
    world.fakes.announce(prefix, origins, "CN");
}

#[test]
fn a_change_of_the_asn_is_recorded_from_every_source() {
    let world = answered();
    // Here each change is a call by hand.
    world.cluster.set("asn_inventory.maxmind_walk", "off");
    world.sql("SELECT refresh_range('0.0.0.0/0')");
    assert_eq!(world.lines(HISTORY), [""; 0], "neither a first answer nor the same one again is a change");

    change(&world, "218.92.0.0/17", &[4812]);
    let before = world.value("SELECT clock_timestamp()");
    world.sql("SELECT refresh_range('218.92.0.1', 'cymru')");
    assert_eq!(world.lines(HISTORY), ["218.92.0.1|4134|cymru|4812|cymru"]);
    assert_eq!(
        world.lines(&format!("SELECT changed_at BETWEEN '{before}' AND clock_timestamp() FROM ip_asn_history")),
        ["t"]
    );
    // It is no longer announced.
    world.fakes.withdraw("218.92.0.0/17");
    world.sql("SELECT refresh_range('218.92.0.2', 'cymru')");
    install_newer(&world, "8.8.8.0/24", 64501);
    world.sql("SELECT refresh_stale('maxmind')");
    // A file that knows what only Team Cymru knew.
    install_newer(&world, "218.92.0.0/24", 64502);
    world.sql("SELECT refresh_range('218.92.0.1', 'maxmind')");
    world.sql("UPDATE ip_inventory SET asn_number = 64503, asn_source = NULL WHERE ip_address = '8.8.8.8'");
    world.sql("UPDATE ip_inventory SET asn_org = 'the same under another name'");
    assert_eq!(
        world.lines(HISTORY),
        [
            "218.92.0.1|4134|cymru|4812|cymru",
            "218.92.0.2|4134|cymru||",
            "8.8.8.8|15169|maxmind|64501|maxmind",
            "218.92.0.1|4812|cymru|64502|maxmind",
            "8.8.8.8|64501|maxmind|64503|",
        ]
    );
}

#[test]
fn the_asn_at_a_time_is_what_was_stored_then() {
    let world = answered();
    let now = || world.value("SELECT clock_timestamp()");
    let at = |time: &str| world.value(&format!("SELECT ip_asn_at('218.92.0.1', '{time}')"));
    let first = now();
    change(&world, "218.92.0.0/17", &[4812]);
    world.sql("SELECT refresh_range('218.92.0.1', 'cymru')");
    let second = now();
    change(&world, "218.92.0.0/17", &[64500]);
    world.sql("SELECT refresh_range('218.92.0.1', 'cymru')");
    let third = now();
    world.fakes.withdraw("218.92.0.0/17");
    world.sql("SELECT refresh_range('218.92.0.1', 'cymru')");
    assert_eq!([at("2001-01-01"), at(&first), at(&second), at(&third)], ["4134", "4134", "4812", "64500"]);
    assert_eq!(at("2999-01-01"), "", "no AS any more");
    assert_eq!(world.value("SELECT ip_asn_at('218.92.0.2', '2001-01-01')"), "4134", "one that never changed");
    assert_eq!(world.value("SELECT ip_asn_at('9.9.9.9', now()) IS NULL"), "t", "one that is not known");
}

#[test]
fn autonomous_systems_are_named_and_counted_and_counts_move_with_the_addresses() {
    let world = answered();
    let counted = "SELECT asn_number, ip_count, observation_count FROM asn_inventory WHERE first_seen_at IS NOT NULL
        ORDER BY asn_number";
    let lines = |wanted: &[&str]| {
        wait_for("the counts", || world.lines(counted), |found| found == wanted);
    };
    lines(&["4134|2|8", "15169|1|2"]);
    assert_eq!(
        world.lines("SELECT asn_org, country_code, registry, allocated, details_ts IS NOT NULL FROM asn_inventory WHERE asn_number = 4134"),
        ["CHINANET-BACKBONE, CN|CN|arin|2001-01-01|t"]
    );
    assert_eq!(
        world.lines("SELECT asn_org, registry, details_ts FROM asn_inventory WHERE asn_number = 15169"),
        ["Google LLC||"],
        "MaxMind's name; Team Cymru was not asked"
    );
    let seen = "SELECT bool_and((a.first_seen_at, a.last_seen_at) = (i.first, i.last)) FROM asn_inventory a JOIN
        (SELECT asn_number, min(first_seen_at) AS first, max(last_seen_at) AS last FROM ip_inventory GROUP BY 1) i
        USING (asn_number)";
    assert_eq!(world.value(seen), "t");

    // Runs that find nothing new change nothing; one more observation afterwards shows that the worker counted since.
    world.sql("SELECT refresh_range('0.0.0.0/0'); SELECT refresh_stale('all')");
    world.observe(&[("8.8.8.8", 1)]);
    lines(&["4134|2|8", "15169|1|3"]);
    assert_eq!(world.value(seen), "t");

    change(&world, "218.92.0.0/17", &[64500]);
    world.sql("SELECT refresh_range('218.92.0.1', 'cymru')");
    lines(&["4134|1|3", "15169|1|3", "64500|1|5"]);
    world.sql("SELECT refresh_range('218.92.0.2', 'cymru')");
    lines(&["4134|0|0", "15169|1|3", "64500|2|8"]);
    assert_eq!(world.value("SELECT asn_org FROM asn_inventory WHERE asn_number = 64500"), "EXAMPLE, DE");
}

#[test]
fn the_name_of_an_as_follows_the_files_unless_team_cymru_was_asked_about_it() {
    let world = answered();
    let name = |asn: u32| format!("SELECT asn_org FROM asn_inventory WHERE asn_number = {asn}");
    world.wait(&name(15169), "Google LLC");
    // The same AS as before, under another name, of which Team Cymru has told its own.
    install_newer(&world, "218.92.0.0/24", 4134);
    world.wait("SELECT DISTINCT asn_org FROM ip_inventory WHERE asn_number = 4134", "Heir 4134");
    world.observe(&[("218.92.0.1", 1)]);
    world.wait("SELECT observation_count FROM asn_inventory WHERE asn_number = 4134", "9");
    assert_eq!(world.value(&name(4134)), "CHINANET-BACKBONE, CN");

    install_newer(&world, "8.8.8.0/24", 15169);
    world.wait(&name(15169), "Heir 15169");
    assert_eq!(world.value("SELECT asn_org FROM top_networks WHERE asn_number = 15169"), "Heir 15169");
}

/// The trigger writes below SQL, where nothing waits for a commit.
#[test]
fn a_deferrable_constraint_on_the_history_holds_at_once() {
    let world = answered();
    world.cluster.set("asn_inventory.maxmind_walk", "off");
    world.sql(
        "ALTER TABLE ip_asn_history ADD CONSTRAINT once UNIQUE (ip_address, new_asn) DEFERRABLE INITIALLY DEFERRED",
    );
    let to = |asn: u32| format!("UPDATE ip_inventory SET asn_number = {asn} WHERE ip_address = '218.92.0.1'");
    world.sql(&to(64500));
    world.sql(&to(64501));
    let refused = world.cluster.fails(DB, &to(64500));
    assert_eq!(refused.code, "23505", "{refused:?}");
    assert_eq!(
        world.lines("SELECT new_asn FROM ip_asn_history ORDER BY changed_at"),
        ["64500", "64501"],
        "what was refused is not recorded"
    );
    world.sql(&to(64502));
}
