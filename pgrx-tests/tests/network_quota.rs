//! GreyNoise's quota: never more questions than it allows, the most observed addresses first, through restarts and kills.

use crate::network_support::*;
use asn_inventory_tests::prelude::*;
use asn_inventory_tests::wait::wait_out_midnight;

const STATUS: &str = "greynoise_status";
const LEDGER: &str = "quota_used, quota_left";

/// A world with a quota, and a table whose events are observed. At midnight there would be a new quota.
fn world(options: Options, quota: u64) -> World {
    wait_out_midnight();
    let world = options.conf("greynoise_quota", &quota.to_string()).start();
    world.sql("CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')");
    world
}

/// One statement that observes 8.8.8.`first` once, the next address twice, and so on.
fn insert(world: &World, first: u32, addresses: u32) {
    world.sql(&format!(
        "INSERT INTO events SELECT '8.8.8.0'::inet + {first} + n FROM generate_series(0, {addresses} - 1) n,
             generate_series(0, n)"
    ));
}

/// The addresses that GreyNoise was asked about, in order.
fn asked(world: &World) -> Vec<String> {
    let asked = world.fakes.asked(Service::Greynoise);
    asked.iter().filter_map(|asked| asked.what.rsplit('/').next().map(str::to_owned)).collect()
}

/// How many rows have an answer.
fn answered(world: &World, wanted: &str) {
    world.wait("SELECT count(*) FROM ip_inventory WHERE greynoise_status = 'not_found'", wanted);
}

/// Does something to the tables while no worker has the ledger in its memory.
fn without_worker(world: &World, sql: &str) {
    world.cluster.stop_worker(DB);
    world.sql(sql);
    world.cluster.set("asn_inventory.databases", "");
    world.wait("SELECT worker FROM enrichment_status", "running");
}

/// The same, and what the file of all databases knows of it is gone: what the table says then counts.
fn without_worker_and_file(world: &World, sql: &str) {
    world.cluster.stop_worker(DB);
    std::fs::remove_file(world.cluster.data_dir().join("asn_inventory/quota.json"))
        .or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        .expect("removed");
    without_worker(world, sql);
}

/// The worker looks for due rows once more: it asked about none, although rows are due.
fn looks_in_vain(world: &World) {
    let before = world.fakes.count(Service::Greynoise);
    // An address that has no answer yet, each time another one.
    let last = "SELECT coalesce(max(ip_address), '9.9.9.8') FROM ip_inventory WHERE ip_address << '9.9.9.0/24'";
    let ip = world.value(&format!("SELECT host(({last}) + 1)"));
    world.sql(&format!("INSERT INTO events VALUES ('{ip}')"));
    world.wait_row(&ip, "maxmind_status, cymru_status", "not_found|not_found");
    assert_eq!(world.fakes.count(Service::Greynoise), before);
}

#[test]
fn the_most_observed_are_asked_about_and_no_more_than_the_quota() {
    let world = world(World::options(), 3);
    insert(&world, 1, 6);
    answered(&world, "3");
    world.wait_source("greynoise", &format!("state, quota, {LEDGER}, quota_window"), "quota|3|3|0|day");
    assert_eq!(
        world.lines("SELECT quota_reset_at > now(), quota_reset_at = date_trunc('day', quota_reset_at), retry_at = quota_reset_at FROM source_status WHERE source = 'greynoise'"),
        ["t|t|t"]
    );
    let mut first = asked(&world);
    assert_eq!(first.remove(0), "8.8.8.6", "one question until the key is known to be good");
    first.sort();
    assert_eq!(first, ["8.8.8.4", "8.8.8.5"]);
    assert_eq!(
        world.lines("SELECT host(ip_address), greynoise_status FROM ip_inventory WHERE scanner_ts IS NULL ORDER BY 1"),
        ["8.8.8.1|pending", "8.8.8.2|pending", "8.8.8.3|pending"]
    );
    looks_in_vain(&world);

    world.cluster.set("asn_inventory.greynoise_quota", "4");
    world.wait_row("8.8.8.3", STATUS, "not_found");
    world.wait_source("greynoise", &format!("state, {LEDGER}"), "quota|4|0");
    assert_eq!(asked(&world).last().map(String::as_str), Some("8.8.8.3"));
    // A quota that was lowered is overdrawn, and nothing worse.
    world.cluster.set("asn_inventory.greynoise_quota", "2");
    world.wait_source("greynoise", &format!("quota, state, {LEDGER}"), "2|quota|4|0");
    looks_in_vain(&world);
}

#[test]
fn questions_that_never_left_spend_no_quota_and_show_as_failing() {
    let world = world(World::options(), 2);
    world.fakes.fault(GreyNoiseFault::Refuse);
    insert(&world, 1, 6);
    world.wait_source("greynoise", &format!("state, {LEDGER}"), "failing|0|2");
    assert_eq!(world.value("SELECT count(*) FROM ip_inventory WHERE greynoise_status = 'quota'"), "0");
    assert_eq!(asked(&world), [""; 0]);
}

#[test]
fn a_waiting_session_is_told_that_the_quota_is_spent() {
    let world = world(World::options(), 1);
    insert(&world, 1, 1);
    answered(&world, "1");
    // Both would run into the timeout if they waited for the quota.
    insert(&world, 2, 1);
    world.wait_row("8.8.8.2", "maxmind_status, greynoise_status", "found|pending");
    world.sql(
        "SET statement_timeout = '50s';
         CREATE TABLE told AS SELECT * FROM enrich_ip('8.8.8.2', '10 min')",
    );
    assert_eq!(world.lines("SELECT asn_number, maxmind_status, greynoise_status FROM told"), ["15169|found|quota"]);
    assert_eq!(
        world.row("8.8.8.2", "greynoise_status, greynoise_attempts, greynoise_detail"),
        "quota|0|the quota is spent"
    );
    assert_eq!(
        world.row("8.8.8.2", "greynoise_retry_at = date_trunc('day', now()) + interval '1 day'"),
        "t",
        "due again with the next window"
    );
    let counts = "processed, enriched, not_found, skipped, errors";
    assert_eq!(
        world.lines(&format!(
            "SET statement_timeout = '50s'; SELECT {counts} FROM refresh_range('8.8.8.0/24', 'greynoise')"
        )),
        ["2|0|0|2|0"]
    );
    assert_eq!(world.row("8.8.8.1", "greynoise_status, scanner_noise"), "not_found|f", "an answer stays one");
    assert_eq!(world.fakes.count(Service::Greynoise), 1);

    // More quota: what waits for the next window waits no longer.
    world.cluster.set("asn_inventory.greynoise_quota", "2");
    world.wait_row("8.8.8.2", STATUS, "not_found");
}

#[test]
fn spent_quota_survives_a_restart_and_a_killed_worker() {
    let world = world(World::options(), 6);
    insert(&world, 1, 2);
    answered(&world, "2");
    world.cluster.restart();
    world.wait("SELECT worker FROM enrichment_status", "running");
    assert_eq!(world.source("greynoise", LEDGER), "2|4");

    // Killed with questions in flight: they are paid for, and their rows are due still.
    world.fakes.fault(GreyNoiseFault::Hang);
    insert(&world, 11, 5);
    wait_until("a question in flight", || world.fakes.count(Service::Greynoise) > 2);
    let paid: u64 = world.source("greynoise", "quota_used").parse().unwrap();
    assert!(paid >= world.fakes.count(Service::Greynoise), "paid before it was sent");
    let worker: u32 = world.value("SELECT worker_pid FROM enrichment_status").parse().unwrap();
    world.cluster.kill9(worker);
    wait_until("another worker", || {
        let pid = world.cluster.try_sql(DB, "SELECT worker_pid FROM enrichment_status WHERE worker = 'running'");
        pid.is_ok_and(|rows| rows.iter().flatten().flatten().any(|pid| *pid != worker.to_string()))
    });
    let kept: u64 = world.source("greynoise", "quota_used").parse().unwrap();
    assert!((paid..=6).contains(&kept), "{paid}, then {kept}");
    world.fakes.clear_faults();
    world.wait_source("greynoise", &format!("state, {LEDGER}"), "quota|6|0");
    world.wait_source("greynoise", "in_flight", "0");
    assert!(world.fakes.count(Service::Greynoise) <= 6);
    assert_eq!(world.value("SELECT count(*) FROM ip_inventory"), "7");

    world.cluster.restart();
    world.wait("SELECT worker FROM enrichment_status", "running");
    let before = world.fakes.count(Service::Greynoise);
    insert(&world, 21, 1);
    world.wait_row("8.8.8.21", "maxmind_status, greynoise_status", "found|pending");
    looks_in_vain(&world);
    assert_eq!(world.fakes.count(Service::Greynoise), before);
    // All that was not reached is reached in the next window. The worker that came may have asked before the fault was
    // cleared: such a row has a retry time of its own.
    world.cluster.set("asn_inventory.greynoise_quota", "100");
    world.sql("UPDATE ip_inventory SET greynoise_retry_at = now() WHERE greynoise_status = 'failed'");
    answered(&world, "9");
}

#[test]
fn a_windows_end_gives_a_new_quota() {
    let world = world(World::options(), 2);
    insert(&world, 1, 5);
    answered(&world, "2");
    assert_eq!(
        world.lines("SELECT source, window_start = date_trunc('day', now()), used, closed_until FROM source_quota"),
        ["greynoise|t|2|"]
    );
    // One of the others was asked for, and waits for the next window.
    assert_eq!(world.lines("SELECT greynoise_status FROM enrich_ip('8.8.8.1', '50s')"), ["quota"]);
    let a_day_later = "UPDATE source_quota SET window_start = window_start - interval '1 day';
        UPDATE ip_inventory SET greynoise_retry_at = greynoise_retry_at - interval '1 day'";
    without_worker_and_file(&world, a_day_later);
    answered(&world, "4");
    world.wait_source("greynoise", &format!("state, {LEDGER}"), "quota|2|0");
    assert_eq!(world.row("8.8.8.1", STATUS), "quota", "the least observed is the last, though it was asked for");
    without_worker_and_file(&world, a_day_later);
    answered(&world, "5");
    world.wait_source("greynoise", &format!("state, {LEDGER}"), "ok|1|1");
    assert_eq!(world.fakes.count(Service::Greynoise), 5);
}

#[test]
fn a_week_is_one_window_from_monday_on() {
    let world = world(World::options().conf("greynoise_quota_window", "week"), 2);
    insert(&world, 1, 3);
    answered(&world, "2");
    assert_eq!(world.value("SELECT window_start = date_trunc('week', now()) FROM source_quota"), "t");
    assert_eq!(
        world.source("greynoise", "quota_window, quota_reset_at = date_trunc('week', now()) + interval '7 days'"),
        "week|t"
    );
    without_worker_and_file(&world, "UPDATE source_quota SET window_start = window_start - interval '7 days'");
    answered(&world, "3");
    world.wait_source("greynoise", LEDGER, "1|1");
}

#[test]
fn todays_use_counts_and_yesterdays_does_not() {
    let world = world(World::options(), 10_000);
    let with_ledger = |start: &str| {
        without_worker_and_file(
            &world,
            &format!(
                "INSERT INTO source_quota (source, window_start, used) VALUES ('greynoise', {start}, 10000)
                 ON CONFLICT (source) DO UPDATE SET window_start = EXCLUDED.window_start, used = EXCLUDED.used"
            ),
        );
    };
    with_ledger("date_trunc('day', now())");
    assert_eq!(world.source("greynoise", LEDGER), "10000|0");
    insert(&world, 1, 1);
    world.wait_row("8.8.8.1", "maxmind_status", "found");
    looks_in_vain(&world);
    world.wait_source("greynoise", "state", "quota");
    with_ledger("date_trunc('day', now()) - interval '1 day'");
    answered(&world, "2");
    assert_eq!(world.source("greynoise", LEDGER), "2|9998");
    assert_eq!(world.source("greynoise", "state"), "ok");
}

/// An account counts all databases of a server together.
#[test]
fn three_databases_with_one_key_spend_one_quota_through_kills_and_restarts() {
    const OTHERS: [&str; 2] = ["second", "third"];
    const QUOTA: usize = 30;
    let world = world(World::options(), QUOTA as u64);
    for db in OTHERS {
        world.cluster.sql("postgres", &format!("CREATE DATABASE {db}"));
        world.cluster.sql(
            db,
            "CREATE EXTENSION asn_inventory; CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')",
        );
        world.cluster.wait_value(db, "SELECT worker FROM enrichment_status", "running");
    }
    let all = || OTHERS.into_iter().chain([DB]);
    let more = |part: u32| {
        for (at, db) in (0..).zip(all()) {
            let first = 60 * part + 20 * at;
            world.cluster.sql(
                db,
                &format!("INSERT INTO events SELECT '8.8.8.0'::inet + {first} + n FROM generate_series(0, 9) n"),
            );
        }
    };
    more(0);
    for pid in world.cluster.pids_of("asn_inventory worker") {
        world.cluster.sql("postgres", &format!("SELECT pg_terminate_backend({pid})"));
    }
    more(1);
    world.cluster.stop_immediate();
    world.cluster.start();
    more(2);
    // 90 addresses are due; the account pays for 30 of them. A kill costs questions that were paid and not asked.
    for db in all() {
        world.cluster.wait_value(db, "SELECT quota_left FROM source_status WHERE source = 'greynoise'", "0");
    }
    let used: usize = all()
        .map(|db| world.cluster.value(db, "SELECT used FROM source_quota").parse::<usize>().expect("a number"))
        .sum();
    let asked_first = asked(&world).len();
    assert!(asked_first <= QUOTA && used <= QUOTA, "{asked_first} asked, {used} paid of {QUOTA}");
    assert!(asked_first > 0);
    // The others' spending is subtracted from this one's limit.
    let left: Vec<String> = all()
        .map(|db| world.cluster.value(db, "SELECT quota - quota_used FROM source_status WHERE source = 'greynoise'"))
        .collect();
    assert_eq!(left, ["0", "0", "0"]);
    // A larger quota counts for all of them.
    world.cluster.set("asn_inventory.greynoise_quota", "60");
    for db in all() {
        world.cluster.wait_value(db, "SELECT quota_left FROM source_status WHERE source = 'greynoise'", "0");
    }
    let asked_now = asked(&world).len();
    assert!(asked_now > asked_first && asked_now <= 60, "{asked_now}");
}

/// An account is a key: a second one has a quota of its own, and the first one's spending is there when that comes back.
#[test]
fn another_key_has_a_quota_of_its_own_and_finds_it_again() {
    const ACCOUNT: &str = "SELECT account FROM source_quota";
    let world = world(World::options(), 2);
    let is_spent = || world.wait_source("greynoise", &format!("state, {LEDGER}"), "quota|2|0");
    let put = |key: &str| {
        world.fakes.expect_key(Some(key.trim()));
        // Whole, as an operator does it: half a key is another account.
        let (file, draft) = (world.fakes.key_file(), world.fakes.key_file().with_extension("draft"));
        std::fs::copy(&file, &draft).expect("a file with the same rights");
        std::fs::write(&draft, key).expect("a key");
        std::fs::rename(draft, file).expect("renamed");
    };
    let first = std::fs::read_to_string(world.fakes.key_file()).expect("a key");
    insert(&world, 1, 5);
    answered(&world, "2");
    is_spent();
    // As 0.2.0 wrote it: of the key that is there.
    without_worker(&world, "UPDATE source_quota SET account = NULL");
    world.wait("SELECT count(account) FROM source_quota", "1");
    is_spent();
    let account = world.value(ACCOUNT);
    assert_eq!(world.lines("SELECT greynoise_status FROM enrich_ip('8.8.8.1', '50s')"), ["quota"]);

    put("a-key-of-another-account\n");
    answered(&world, "4");
    is_spent();
    assert_ne!(world.value(ACCOUNT), account);
    // It waits for the first one's quota no longer.
    world.wait_row("8.8.8.1", STATUS, "pending");

    // Also one that finds the table made anew.
    put(&first);
    world.wait(ACCOUNT, &account);
    is_spent();
    looks_in_vain(&world);
    without_worker(&world, "DELETE FROM source_quota");
    world.wait(ACCOUNT, &account);
    is_spent();
    looks_in_vain(&world);
    assert_eq!(world.fakes.count(Service::Greynoise), 4);
}

#[test]
fn a_restored_dump_gives_no_quota_back() {
    let world = world(World::options(), 5);
    insert(&world, 1, 1);
    answered(&world, "1");
    world.wait_source("greynoise", LEDGER, "1|4");
    world.sql("CREATE TABLE dumped AS SELECT * FROM source_quota");
    insert(&world, 2, 3);
    answered(&world, "4");
    without_worker(&world, "DELETE FROM source_quota; INSERT INTO source_quota SELECT * FROM dumped");
    world.wait_source("greynoise", LEDGER, "4|1");
    world.wait("SELECT used FROM source_quota", "4");
    insert(&world, 11, 5);
    answered(&world, "5");
    world.wait_source("greynoise", &format!("state, {LEDGER}"), "quota|5|0");
    looks_in_vain(&world);
    assert_eq!(world.fakes.count(Service::Greynoise), 5);
}

#[test]
fn a_copy_of_a_database_does_not_spend_what_the_original_has_spent_once_more() {
    let world = world(World::options(), 10);
    insert(&world, 1, 3);
    answered(&world, "3");
    world.cluster.sql("template1", &format!("CREATE DATABASE copied TEMPLATE {DB}"));
    let copied = |columns: &str| format!("SELECT ({columns})::text FROM source_status WHERE source = 'greynoise'");
    world.cluster.wait_value("copied", &copied("quota, quota_used, quota_left"), "(7,0,7)");
    // Both go on with what is left to them together.
    world.cluster.sql("copied", "INSERT INTO events SELECT '9.9.9.0'::inet + n FROM generate_series(1, 2) n");
    world.cluster.wait_value("copied", &copied("quota, quota_used, quota_left"), "(7,2,5)");
    world.wait_source("greynoise", "quota, quota_used, quota_left", "8|3|5");
    assert_eq!(world.value("SELECT used FROM source_quota"), "3");
}

#[test]
fn what_is_spent_shows_where_nothing_is_asked() {
    const OTHER: &str = "second";
    let world = world(World::options(), 10);
    insert(&world, 1, 3);
    answered(&world, "3");
    world.cluster.sql("postgres", &format!("CREATE DATABASE {OTHER}"));
    world.cluster.sql(
        OTHER,
        "CREATE EXTENSION asn_inventory; CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}');
         INSERT INTO events SELECT '9.9.9.0'::inet + n FROM generate_series(1, 2) n",
    );
    world.wait_source("greynoise", &format!("quota, {LEDGER}"), "8|3|5");
    // Made anew, its table is empty, and the worker has it in its memory.
    world.sql("DROP EXTENSION asn_inventory CASCADE; CREATE EXTENSION asn_inventory");
    world.wait_source("greynoise", &format!("quota, {LEDGER}"), "8|3|5");
    // It rests, and says what it may spend of today all the same.
    world.cluster.set("asn_inventory.enabled", "off");
    world.wait("SELECT enabled FROM enrichment_status", "f");
    world.wait_source("greynoise", &format!("quota, {LEDGER}"), "8|3|5");
    world.cluster.set("asn_inventory.enabled", "on");
    // Off it spends nothing, and what others spent is not looked at any more.
    world.cluster.set("asn_inventory.greynoise", "off");
    world.wait_source("greynoise", "state, quota", "off|10");
    world.cluster.set("asn_inventory.databases", OTHER);
    world.wait("SELECT worker FROM enrichment_status", "not running");
    world.wait_source("greynoise", "state, quota", "unknown|10");
}

#[test]
fn what_a_week_has_spent_counts_for_today_when_the_day_becomes_the_window() {
    let world = world(World::options().conf("greynoise_quota_window", "week"), 3);
    insert(&world, 1, 5);
    answered(&world, "3");
    world.wait_source("greynoise", &format!("state, quota_window, {LEDGER}"), "quota|week|3|0");
    world.cluster.set("asn_inventory.greynoise_quota_window", "day");
    world.wait_source("greynoise", &format!("state, quota_window, {LEDGER}"), "quota|day|3|0");
    looks_in_vain(&world);
    assert_eq!(world.fakes.count(Service::Greynoise), 3);
}
