//! A day that was over when it was counted, and of whose addresses answers were still to come.

use crate::network_support::*;
use asn_inventory_tests::prelude::*;
use asn_inventory_tests::wait::wait_out_midnight;

/// The hour passes that late days wait for: at the next event they are counted again.
fn an_hour_passes(world: &World) {
    world.sql(
        "UPDATE ip_activity SET source_id = -16 WHERE source_id <= -16; INSERT INTO late VALUES ('10.0.0.1', now())",
    );
}

#[test]
fn an_old_day_is_counted_once_more_when_answers_have_come() {
    let world = World::options().conf("greynoise", "off").conf("cymru_rate", "1").start();
    world.fakes.fault(DnsFault::Drop);
    world.fakes.announce("218.92.0.0/17", &[4134], "CN");
    world.sql("CREATE TABLE late (ip inet, at timestamptz); SELECT attach_ip_source('late', '{ip}', 'at')");
    world.sql("INSERT INTO late VALUES ('218.92.0.7', now() - interval '5 days')");
    // Never tried.
    let marks =
        "SELECT string_agg(((-16 - source_id) % 8)::text, ' ') FROM ip_activity WHERE source_id < -1 AND NOT counted";
    world.wait(marks, "0");
    // A mark is no address to who sums them up, and holds none.
    let addresses =
        "SELECT sum(addresses), (SELECT count(*) FROM ip_activity a, unpack_observations(a.packed) u) FROM ip_activity";
    assert_eq!(world.lines(addresses), ["1|1"]);
    let networks =
        "SELECT string_agg(coalesce(asn_number::text, '-') || ':' || observations, ' ') FROM networks_by_day";
    assert_eq!(world.value(networks), "-:1");
    // It is not counted all the time meanwhile.
    world.sql("INSERT INTO late VALUES ('10.0.0.1', now() - interval '5 days')");
    world.wait(networks, "-:2");
    assert_eq!(world.value(marks), "0");
    world.fakes.clear_faults();
    world.retry_now();
    world.wait_row("218.92.0.7", "cymru_status, asn_number", "found|4134");
    an_hour_passes(&world);
    world.wait("SELECT observations FROM networks_by_day WHERE asn_number = 4134", "1");
    assert_eq!(world.value(marks), "");
}

/// After a load of an archive, years are late at the same time.
#[test]
fn late_days_are_counted_some_at_a_time_and_their_rows_stay() {
    wait_out_midnight();
    let cluster = Cluster::builder()
        .conf("asn_inventory.absorb_interval", "20ms")
        .conf("asn_inventory.cymru", "off")
        .conf("asn_inventory.activity_hours", "4d")
        .start();
    let db = "postgres";
    // One day has its hours still, the others have not.
    cluster.sql(
        db,
        "CREATE EXTENSION asn_inventory; CREATE TABLE e (ip inet, at timestamptz); SELECT attach_ip_source('e', '{ip}', 'at');
         INSERT INTO e SELECT '8.8.8.8', date_trunc('day', now(), 'UTC') - d * interval '24 hours' FROM generate_series(6, 65) d;
         INSERT INTO e SELECT '8.8.8.8', date_trunc('day', now(), 'UTC') - interval '72 hours'",
    );
    let rows =
        "SELECT count(*) FILTER (WHERE counted AND by_day), count(*) FILTER (WHERE counted AND NOT by_day), count(*)
                FROM ip_activity WHERE source_id >= 0";
    wait_for("counts", || cluster.lines(db, rows), |counted| counted == &["60|1|61"]);
    let versions = "SELECT xmin, ctid, bucket FROM ip_activity WHERE source_id > 0 ORDER BY bucket, ctid";
    let before = cluster.lines(db, versions);
    // What all of them wait for has come. Somebody holds a count of the latest of them, for longer than the worker waits.
    let mut holder = cluster.connect(db);
    let hold = "BEGIN; SELECT FROM ip_activity_count WHERE by_day AND kind = 'all'
                    AND bucket = (SELECT max(bucket) FROM ip_activity_count WHERE by_day) FOR UPDATE";
    holder.batch_execute(hold).expect("the lock");
    cluster.sql(
        db,
        "BEGIN; DELETE FROM ip_activity WHERE source_id < 0;
         INSERT INTO ip_activity (bucket, by_day, source_id, addresses, packed)
             SELECT DISTINCT date_trunc('day', bucket, 'UTC'), true, -16, 0, ''::bytea FROM ip_activity WHERE source_id > 0;
         UPDATE ip_inventory SET asn_number = 64501, asn_org = 'AS 64501', asn_source = 'maxmind', maxmind_status = 'found', maxmind_ts = now();
         COMMIT",
    );
    // The latest come last, so the others do not wait for them.
    let counted = |wanted: &str| {
        let known = format!("SELECT count(*) {wanted} FROM networks_by_day WHERE asn_number = 64501");
        cluster.wait_value(db, &known, "t");
    };
    counted("BETWEEN 1 AND 60");
    holder.batch_execute("ROLLBACK").expect("released");
    counted("= 61");
    cluster.wait_value(db, "SELECT count(*) FROM ip_activity WHERE NOT counted", "0");
    assert_eq!(cluster.lines(db, versions), before, "nothing has come, and nothing was written anew");
    let hours =
        "SELECT string_agg(value || ':' || observations, ' ') FROM ip_activity_count WHERE NOT by_day AND kind = 'asn'";
    assert_eq!(cluster.value(db, hours), "64501:1");
}

#[test]
fn a_day_waits_as_long_as_the_service_is_down() {
    let world = World::options().conf("greynoise", "off").start();
    world.fakes.fault(Fault::from(DnsFault::Servfail).within("218.92.0.7"));
    world.fakes.announce("218.92.0.0/17", &[4134], "CN");
    world.sql("CREATE TABLE late (ip inet, at timestamptz); SELECT attach_ip_source('late', '{ip}', 'at')");
    world.sql("INSERT INTO late VALUES ('218.92.0.7', now() - interval '5 days')");
    world.wait_row("218.92.0.7", "cymru_status", "failed");
    // The hour passes, and it is still down: an event of that day has it counted as well.
    world.sql(
        "DELETE FROM ip_activity WHERE source_id < -1; INSERT INTO late VALUES ('218.92.0.7', now() - interval '5 days')",
    );
    let tries =
        "SELECT string_agg(((-16 - source_id) % 8)::text, ' ') FROM ip_activity WHERE source_id < -1 AND NOT counted";
    world.wait(tries, "0");
    an_hour_passes(&world);
    world.wait(tries, "1");
    world.fakes.clear_faults();
    world.retry_now();
    world.wait_row("218.92.0.7", "cymru_status, asn_number", "found|4134");
    an_hour_passes(&world);
    world.wait("SELECT observations FROM networks_by_day WHERE asn_number = 4134", "2");
    world.wait("SELECT count(*) FROM ip_activity WHERE source_id < -1", "0");
}

#[test]
fn a_file_that_is_installed_later_names_the_networks_of_the_days_before() {
    let world = World::options().conf("greynoise", "off").conf("cymru", "off").without_files().start();
    world.sql("CREATE TABLE late (ip inet, at timestamptz); SELECT attach_ip_source('late', '{ip}', 'at')");
    world.sql("INSERT INTO late SELECT '8.8.8.8', now() - d * interval '1 day' FROM generate_series(2, 40) d");
    // They wait for no hour: to read them again and again would be for nothing.
    let waiting =
        "SELECT count(*) || ' ' || count(DISTINCT bucket) FROM ip_activity WHERE source_id BETWEEN -15 AND -2";
    world.wait(waiting, "78 39");
    assert_eq!(world.value("SELECT count(*) FROM ip_activity WHERE source_id <= -16"), "0");
    fixtures::small(&world.cluster.maxmind_dir());
    world.wait_row("8.8.8.8", "asn_number", "15169");
    // A count during the walk has them wait an hour.
    let known = "SELECT count(*) FROM networks_by_day WHERE asn_number = 15169";
    wait_until("the days", || {
        an_hour_passes(&world);
        world.value(known) == "39"
    });
}

#[test]
fn days_from_when_team_cymru_was_off_are_counted_when_it_is_on() {
    let world = World::options().conf("greynoise", "off").conf("cymru", "off").start();
    world.fakes.announce("218.92.0.0/17", &[4134], "CN");
    world.sql("CREATE TABLE late (ip inet, at timestamptz); SELECT attach_ip_source('late', '{ip}', 'at')");
    world.sql("INSERT INTO late VALUES ('218.92.0.7', now() - interval '5 days')");
    world.wait("SELECT count(*) FROM ip_activity WHERE source_id BETWEEN -15 AND -2", "1");
    world.cluster.set("asn_inventory.cymru", "on");
    world.wait_row("218.92.0.7", "cymru_status, asn_number", "found|4134");
    wait_until("the day", || {
        an_hour_passes(&world);
        world.value("SELECT count(*) FROM networks_by_day WHERE asn_number = 4134") == "1"
    });
}
