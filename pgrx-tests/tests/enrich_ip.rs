//! `enrich_ip`: first the inventory, then MaxMind, the worker does the rest. It must not write in a read-only
//! transaction, outlive a rollback, hang without a worker, or leave a question behind.

use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster =
            Cluster::builder().conf("asn_inventory.absorb_interval", "50ms").conf("max_worker_processes", "64").start();
        fixtures::small(&cluster.maxmind_dir());
        cluster
    })
}

/// A database of the test's own, with a worker.
fn database(cluster: &Cluster, name: &'static str) -> &'static str {
    cluster.sql("postgres", &format!("CREATE DATABASE {name}"));
    cluster.sql(name, "CREATE EXTENSION asn_inventory");
    cluster.wait_walked(name);
    name
}

/// The main fields of an answer.
fn asked(call: &str) -> String {
    format!(
        "SELECT e.ip, e.ip_class, e.asn_number, e.country_code, e.city, e.maxmind_status, e.cymru_status,
                e.greynoise_status FROM {call} e"
    )
}

/// The same of a row of the inventory.
fn stored(ip: &str) -> String {
    format!(
        "SELECT ip_address, ip_class, asn_number, country_code, city, maxmind_status, cymru_status,
                greynoise_status FROM ip_inventory WHERE ip_address = '{ip}'"
    )
}

fn row_of(ip: &str) -> String {
    format!("SELECT observation_count FROM ip_inventory WHERE ip_address = '{ip}'")
}

/// Waits until the worker has absorbed everything that was committed before: `marker` is committed after it.
fn absorbed(cluster: &Cluster, db: &str, marker: &str) {
    cluster.sql(db, &format!("SELECT enrich_ip('{marker}')"));
    cluster.wait_value(db, &row_of(marker), "0");
}

#[test]
fn an_unknown_address_is_answered_at_once_and_becomes_a_row_seen_0_times() {
    let (cluster, db) = (cluster(), database(cluster(), "unknown_address"));
    for (ip, answer) in [
        ("8.8.8.8", "public|15169|US||found|skipped|pending"),
        ("81.2.69.142", "public||GB|London|found|skipped|pending"),
        ("198.51.99.1", "public||||not_found|skipped|pending"),
        ("2001:4860:4860::8888", "public|15169|US||found|skipped|skipped"),
        ("2002:101:101::", "public|13335|AU||found|skipped|pending"),
        ("10.0.0.1", "private||||skipped|skipped|skipped"),
        ("fe80::1", "link_local||||skipped|skipped|skipped"),
        ("45.155.205.86", "public|4200000001|RU|Moscow|found|skipped|pending"),
    ] {
        let answer = format!("{ip}|{answer}");
        let first = cluster.lines(db, &asked(&format!("enrich_ip('{ip}')")));
        assert_eq!(first.join("\n"), answer);
        cluster.wait_value(db, &row_of(ip), "0");
        assert_eq!(cluster.lines(db, &stored(ip)).join("\n"), answer);
        assert_eq!(cluster.lines(db, &asked(&format!("enrich_ip('{ip}')"))), [answer]);
    }
    assert_eq!(cluster.value(db, "SELECT count(*) FROM ip_inventory"), "8");
    assert_eq!(cluster.value(db, "SELECT sum(observation_count) FROM ip_inventory"), "0");
}

#[test]
fn the_answer_equals_lookup_ip_before_and_after_it_is_stored() {
    let (cluster, db) = (cluster(), database(cluster(), "whole_answer"));
    let different = "SELECT e FROM enrich_ip('81.2.69.142') e, lookup_ip('81.2.69.142') l
        WHERE to_jsonb(e) - '{enrichment_ts,cymru_status,greynoise_status}'::text[]
              IS DISTINCT FROM to_jsonb(l) - '{enrichment_ts,cymru_status,greynoise_status}'::text[]
           OR abs(extract(epoch FROM now() - e.enrichment_ts)) > 60";
    assert_eq!(cluster.lines(db, different), [""; 0]);
    cluster.wait_value(db, &row_of("81.2.69.142"), "0");
    assert_eq!(cluster.lines(db, different), [""; 0]);
}

#[test]
fn a_fresh_row_is_returned_unchanged() {
    let (cluster, db) = (cluster(), database(cluster(), "fresh_row"));
    cluster.sql(db, "SELECT enrich_ip('8.8.8.8')");
    cluster.wait_value(db, &row_of("8.8.8.8"), "0");
    cluster.sql(
        db,
        "UPDATE ip_inventory SET city = 'By hand', asn_org = NULL, scanner_riot = true, scanner_name = 'Resolver',
             greynoise_status = 'found', scanner_ts = '2026-01-02 03:04:05Z', scanner_last_seen = '2026-01-01Z'",
    );
    let ctid = "SELECT ctid, xmin FROM ip_inventory";
    let before = cluster.lines(db, ctid);
    let answer = "SELECT e.city, e.asn_org, e.asn_number, e.scanner_noise, e.scanner_riot, e.scanner_name,
        e.greynoise_status, e.scanner_ts, e.scanner_last_seen, e.enrichment_ts = i.enrichment_ts
        FROM enrich_ip('8.8.8.8') e, ip_inventory i";
    let expected = "By hand||15169||t|Resolver|found|2026-01-02 03:04:05+00|2026-01-01 00:00:00+00|t";
    assert_eq!(cluster.lines(db, answer), [expected]);
    assert_eq!(cluster.lines(db, &answer.replace("('8.8.8.8')", "('8.8.8.8', '5s')")), [expected]);
    assert_eq!(cluster.lines(db, &answer.replace("8.8.8.8", "8.8.8.8/24")), [expected]);
    // A question about a known address queues nothing and writes nothing.
    absorbed(cluster, db, "1.1.1.1");
    assert_eq!(cluster.lines(db, &format!("{ctid} WHERE ip_address = '8.8.8.8'")), before);
}

#[test]
fn a_bare_row_is_enriched_when_it_is_asked_about() {
    let (cluster, db) = (cluster(), database(cluster(), "bare_row"));
    cluster.sql(
        db,
        "INSERT INTO ip_inventory (ip_address, first_seen_at, observation_count)
         VALUES ('81.2.69.142', '2020-02-02Z', 17), ('8.8.8.8', '2020-02-02Z', 3)",
    );
    let answer = "81.2.69.142|public||GB|London|found|skipped|pending";
    assert_eq!(cluster.lines(db, &asked("enrich_ip('81.2.69.142')")), [answer]);
    cluster.wait_value(db, "SELECT city FROM ip_inventory WHERE ip_address = '81.2.69.142'", "London");
    assert_eq!(cluster.lines(db, &stored("81.2.69.142")), [answer]);
    let kept =
        "SELECT observation_count, first_seen_at, maxmind_ts IS NOT NULL FROM ip_inventory ORDER BY ip_address DESC";
    assert_eq!(
        cluster.lines(db, kept),
        ["17|2020-02-02 00:00:00+00|t", "3|2020-02-02 00:00:00+00|f"],
        "the other bare row was nobody's question"
    );
}

#[test]
fn with_wait_the_row_is_written_before_the_answer_returns() {
    let (cluster, db) = (cluster(), database(cluster(), "with_wait"));
    let mut client = cluster.connect(db);
    // Also inside of a transaction, where queued rows would reach the worker only afterwards.
    query(&mut client, "BEGIN").expect("begun");
    let answer = query(&mut client, &asked("enrich_ip('8.8.8.8', '30s')")).expect("an answer");
    assert_eq!(answer[0][2].as_deref(), Some("15169"));
    assert_eq!(query(&mut client, &row_of("8.8.8.8")).expect("a row"), [[Some("0".into())]]);
    query(&mut client, "ROLLBACK").expect("rolled back");
    assert_eq!(cluster.value(db, &row_of("8.8.8.8")), "0");
    // A bare row, a special-purpose one, one that no file knows, and one in a network's clothes.
    cluster.sql(
        db,
        "INSERT INTO ip_inventory (ip_address, first_seen_at, observation_count) VALUES ('1.1.1.1', now(), 5)",
    );
    for (ip, host, count, status) in [
        ("1.1.1.1", "1.1.1.1", "5", "found"),
        ("10.9.8.7", "10.9.8.7", "0", "skipped"),
        ("198.51.99.1", "198.51.99.1", "0", "not_found"),
        ("81.2.69.142/24", "81.2.69.142", "0", "found"),
    ] {
        cluster.sql(db, &format!("SELECT enrich_ip('{ip}', '178000000 years')"));
        let stored = format!("SELECT observation_count, maxmind_status FROM ip_inventory WHERE ip_address = '{host}'");
        assert_eq!(cluster.lines(db, &stored), [format!("{count}|{status}")], "{ip}");
    }
}

#[test]
fn many_sessions_that_wait_all_get_their_answers() {
    let (cluster, db) = (cluster(), database(cluster(), "many_waiters"));
    std::thread::scope(|scope| {
        for session in 0..8 {
            scope.spawn(move || {
                let mut client = cluster.connect(db);
                for n in 0..20 {
                    let ip = format!("8.8.8.{}", (session * 7 + n * 3) % 100);
                    let rows =
                        query(&mut client, &format!("SELECT (enrich_ip('{ip}', '60s')).asn_number; {}", row_of(&ip)));
                    let rows = rows.unwrap_or_else(|failure| panic!("{ip}: {failure:?}"));
                    assert_eq!(rows, [[Some("15169".to_string())], [Some("0".to_string())]], "{ip}");
                }
            });
        }
    });
}

#[test]
fn a_negative_wait_does_not_wait() {
    let (cluster, db) = (cluster(), database(cluster(), "negative_wait"));
    for wait in ["-5 s", "-1 month", "0"] {
        let answer = cluster.lines(db, &asked(&format!("enrich_ip('8.8.8.8', '{wait}')")));
        assert_eq!(answer, ["8.8.8.8|public|15169|US||found|skipped|pending"], "{wait}");
    }
    cluster.wait_value(db, &row_of("8.8.8.8"), "0");
}

#[test]
fn null_gives_null_and_a_network_is_refused() {
    let (cluster, db) = (cluster(), database(cluster(), "refusals"));
    assert_eq!(cluster.value(db, "SELECT enrich_ip(NULL) IS NULL AND enrich_ip('8.8.8.8', NULL) IS NULL"), "t");
    for network in ["8.8.8.0/24", "10.0.0.0/8", "0.0.0.0/0", "2001:4860::/32", "::/0"] {
        let refused = cluster.fails(db, &format!("SELECT enrich_ip('{network}')"));
        assert_eq!(refused.code, "22023", "{refused:?}");
        assert_eq!(refused.message, format!("\"{network}\" is a network, not a host address"));
        assert!(!refused.detail.is_empty() && refused.hint.contains("host(ip)"), "{refused:?}");
    }
    let cidr = cluster.value(db, "SELECT (enrich_ip('8.8.8.8'::cidr)).country_code");
    assert_eq!(cidr, "US", "a cidr of one address is a host");
}

#[test]
fn a_read_only_transaction_gets_the_answer_and_queues_nothing() {
    let (cluster, db) = (cluster(), database(cluster(), "read_only"));
    let mut client = cluster.connect(db);
    for (ip, call) in [("8.8.8.8", "enrich_ip('8.8.8.8')"), ("8.8.8.9", "enrich_ip('8.8.8.9', '5s')")] {
        let script = format!("BEGIN; SET TRANSACTION READ ONLY; {}; COMMIT", asked(call));
        let rows = query(&mut client, &script).expect("an answer");
        let row: Vec<String> = rows[0].iter().map(|field| field.clone().unwrap_or_default()).collect();
        assert_eq!(row.join("|"), format!("{ip}|public|15169|US||found|skipped|pending"));
    }
    absorbed(cluster, db, "1.1.1.1");
    assert_eq!(cluster.lines(db, "SELECT ip_address FROM ip_inventory"), ["1.1.1.1"]);
    // A row that is there is found there, too.
    let known = format!("BEGIN READ ONLY; {}; COMMIT", asked("enrich_ip('1.1.1.1')"));
    assert_eq!(query(&mut client, &known).expect("an answer")[0][2].as_deref(), Some("13335"));
}

#[test]
fn a_rollback_removes_the_question() {
    let (cluster, db) = (cluster(), database(cluster(), "rolled_back"));
    cluster.sql(db, "BEGIN; SELECT enrich_ip('8.8.8.8'); ROLLBACK");
    cluster.sql(
        db,
        "BEGIN; SELECT enrich_ip('8.8.8.10'); SAVEPOINT s; SELECT enrich_ip('8.8.8.11'); ROLLBACK TO s; COMMIT",
    );
    absorbed(cluster, db, "1.1.1.1");
    assert_eq!(cluster.lines(db, "SELECT ip_address FROM ip_inventory ORDER BY 1"), ["1.1.1.1", "8.8.8.10"]);
}

#[test]
fn observing_and_asking_do_not_disturb_each_others_counts() {
    let (cluster, db) = (cluster(), database(cluster(), "counts"));
    cluster.sql(
        db,
        "CREATE TABLE event (src inet, at timestamptz); SELECT attach_ip_source('event', '{src}', 'at');
         SELECT enrich_ip('8.8.8.8')",
    );
    cluster.wait_value(db, &row_of("8.8.8.8"), "0");
    cluster.sql(db, "INSERT INTO event SELECT '8.8.8.8', '2025-01-02Z' FROM generate_series(1, 3)");
    cluster.wait_value(db, &row_of("8.8.8.8"), "3");
    let last = "SELECT last_seen_at FROM ip_inventory WHERE ip_address = '8.8.8.8'";
    assert_eq!(cluster.value(db, last), "2025-01-02 00:00:00+00");
    // Asked again, alone and in the same statement as an observation; due again, so that it really is asked.
    cluster.sql(db, "UPDATE ip_inventory SET maxmind_ts = NULL, maxmind_status = 'pending'");
    cluster.sql(db, "BEGIN; INSERT INTO event VALUES ('8.8.8.8', '2025-01-01Z'); SELECT enrich_ip('8.8.8.8'); COMMIT");
    cluster.wait_value(db, &row_of("8.8.8.8"), "4");
    cluster.wait_value(db, "SELECT maxmind_status FROM ip_inventory WHERE ip_address = '8.8.8.8'", "found");
    absorbed(cluster, db, "1.1.1.1");
    assert_eq!(cluster.value(db, &row_of("8.8.8.8")), "4");
    assert_eq!(cluster.value(db, last), "2025-01-02 00:00:00+00");
}

/// SIGSTOP and SIGCONT for a worker of this file's cluster.
fn signal(pid: u32, signal: i32) {
    let pid = i32::try_from(pid).expect("a process id");
    // SAFETY: two integers; the process is the worker of a private cluster.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

#[test]
fn a_cancelled_wait_ends_at_once_and_leaves_no_question_behind() {
    let (cluster, db) = (cluster(), database(cluster(), "cancelled_wait"));
    let worker: u32 = cluster.value(db, "SELECT worker_pid FROM enrichment_status").parse().expect("a worker");
    let mut client = cluster.connect(db);
    signal(worker, libc::SIGSTOP);
    // More often than questions fit into shared memory: each must give its place back.
    query(&mut client, "SET statement_timeout = '5ms'").expect("set");
    let started = Instant::now();
    for n in 0..200 {
        let failure = query(&mut client, &format!("SELECT enrich_ip('8.8.8.{n}', '60s')")).expect_err("a time-out");
        assert_eq!(failure.code, "57014", "{failure:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(300));
    // Without an answer in time, the offline answer is returned, and the address is queued.
    query(&mut client, "SET statement_timeout = 0").expect("set");
    let late = query(&mut client, "SELECT (enrich_ip('1.1.1.1', '50ms')).asn_number").expect("an answer");
    assert_eq!(late, [[Some("13335".to_string())]]);
    signal(worker, libc::SIGCONT);
    cluster.wait_value(db, &row_of("1.1.1.1"), "0");
    assert_eq!(cluster.lines(db, "SELECT ip_address FROM ip_inventory"), ["1.1.1.1"]);
    query(&mut client, "SELECT enrich_ip('8.8.8.8', '30s')").expect("an answer");
    assert_eq!(cluster.value(db, &row_of("8.8.8.8")), "0");
}

#[test]
fn without_a_worker_only_calls_with_wait_are_refused() {
    let cluster = Cluster::builder().preload(false).start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql("postgres", "CREATE EXTENSION asn_inventory");
    let refused = cluster.fails("postgres", "SELECT enrich_ip('8.8.8.8', '1s')");
    assert_eq!(refused.code, "55000", "{refused:?}");
    assert_eq!(refused.message, "the asn_inventory worker is not running");
    assert!(refused.hint.contains("shared_preload_libraries = 'asn_inventory'"), "{refused:?}");
    let answer = cluster.lines("postgres", &asked("enrich_ip('8.8.8.8')"));
    assert_eq!(answer, ["8.8.8.8|public|15169|US||found|skipped|pending"]);
    assert_eq!(cluster.lines("postgres", "SELECT address, seen FROM ip_observation"), ["8.8.8.8|0"]);
    cluster.sql("postgres", "SELECT absorb_observations()");
    assert_eq!(cluster.value("postgres", &row_of("8.8.8.8")), "0");
}

#[test]
fn an_unserved_database_reports_it() {
    let cluster = Cluster::builder().conf("asn_inventory.databases", "elsewhere").start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql("postgres", "CREATE EXTENSION asn_inventory");
    let refused = cluster.fails("postgres", "SELECT enrich_ip('8.8.8.8', '1s')");
    assert_eq!((refused.code.as_str(), refused.detail.as_str()), ("55000", "No worker serves this database."));
    assert!(refused.hint.contains("asn_inventory.databases"), "{refused:?}");
    assert_eq!(cluster.value("postgres", "SELECT (enrich_ip('8.8.8.8')).country_code"), "US");
}

#[test]
fn a_row_from_before_a_newer_build_is_answered_from_the_build_at_once_and_refreshed() {
    let cluster = Cluster::builder()
        .conf("asn_inventory.absorb_interval", "50ms")
        .conf("asn_inventory.maxmind_walk", "off")
        .start();
    fixtures::small_built_at(&cluster.maxmind_dir(), fixtures::days_ago(8));
    let db = "postgres";
    cluster.sql(db, "CREATE EXTENSION asn_inventory");
    cluster.wait_value(db, "SELECT worker FROM enrichment_status", "running");
    cluster.sql(db, "SELECT enrich_ip('81.2.69.142', '30s'), enrich_ip('8.8.8.8', '30s')");
    cluster.sql(
        db,
        "UPDATE ip_inventory SET observation_count = 5, city = 'By hand';
         UPDATE ip_inventory SET asn_number = 64500, asn_org = 'EXAMPLE', asn_source = 'cymru', cymru_status = 'found',
             cymru_ts = now(), greynoise_status = 'found', scanner_riot = true, scanner_name = 'Resolver', scanner_ts = now()
             WHERE ip_address = '81.2.69.142'",
    );
    let newer = MmdbWriter::new("GeoLite2-City", fixtures::days_ago(1));
    let record = json!({ "country": { "iso_code": "IE" }, "city": { "names": { "en": "Dublin" } } });
    // As large as the old one: a file that shrinks to less than half is not believed.
    let mut newer = newer.insert("81.2.69.142/31", record);
    for n in 0..255 {
        newer.add(&format!("9.{n}.0.0/24"), json!({ "country": { "iso_code": "US" } }));
    }
    let file = cluster.data_dir().join("newer.mmdb");
    newer.write(&file).expect("a file");
    cluster.install_mmdb_as(&file, "GeoLite2-City.mmdb");
    cluster.wait_value(db, "SELECT ip_city('81.2.69.142')", "Dublin");

    // At once: in a transaction that can queue nothing, the row is unchanged and the answer is new.
    let mut client = cluster.connect(db);
    query(&mut client, "BEGIN READ ONLY").expect("begun");
    let answer = "SELECT concat_ws('|', city, asn_number, asn_org, cymru_status, greynoise_status, scanner_name)
                  FROM enrich_ip('81.2.69.142')";
    let answer = query(&mut client, answer).expect("an answer");
    // What the other sources said is not lost with the old build.
    assert_eq!(answer, [[Some("Dublin|64500|EXAMPLE|found|found|Resolver".to_string())]]);
    query(&mut client, "COMMIT").expect("ended");
    assert_eq!(
        cluster.lines(db, "SELECT city, country_code FROM ip_inventory WHERE ip_address = '81.2.69.142'"),
        ["By hand|GB"]
    );

    assert_eq!(cluster.value(db, "SELECT (enrich_ip('81.2.69.142')).city"), "Dublin");
    let refreshed =
        "SELECT country_code, city, region, observation_count FROM ip_inventory WHERE ip_address = '81.2.69.142'";
    let rows = wait_for("a refreshed row", || cluster.lines(db, refreshed), |rows| rows[0].contains("Dublin"));
    assert_eq!(rows, ["IE|Dublin||5"]);
    // And with a wait, the other one is refreshed when the answer comes.
    assert_eq!(cluster.value(db, "SELECT (enrich_ip('8.8.8.8', '30s')).city IS NULL"), "t");
    assert_eq!(
        cluster.lines(
            db,
            "SELECT country_code, city, asn_number, observation_count FROM ip_inventory WHERE ip_address = '8.8.8.8'"
        ),
        ["||15169|5"]
    );
}

#[test]
fn the_primary_key_is_found_by_its_properties_not_by_its_name() {
    let (cluster, db) = (cluster(), database(cluster(), "another_key"));
    cluster.sql(db, "SELECT enrich_ip('81.2.69.142')");
    cluster.wait_value(db, &row_of("81.2.69.142"), "0");
    cluster.sql(db, "UPDATE ip_inventory SET city = 'of the row'");
    let city = "SELECT (enrich_ip('81.2.69.142')).city";
    for (change, answer) in [
        ("ALTER INDEX ip_inventory_pkey RENAME TO ip_inventory_key", "of the row"),
        ("CREATE INDEX ip_inventory_pkey ON ip_inventory USING hash (ip_address)", "of the row"),
        (
            "DROP INDEX ip_inventory_pkey; CREATE INDEX ip_inventory_pkey ON ip_inventory (observation_count)",
            "of the row",
        ),
        // Without a key, the whole table is not read for one address: the files answer.
        ("ALTER TABLE ip_inventory DROP CONSTRAINT ip_inventory_key", "London"),
        ("ALTER TABLE ip_inventory ADD CONSTRAINT new_key PRIMARY KEY (observation_count, ip_address)", "London"),
        (
            "ALTER TABLE ip_inventory DROP CONSTRAINT new_key; ALTER TABLE ip_inventory ADD PRIMARY KEY (ip_address)",
            "of the row",
        ),
    ] {
        cluster.sql(db, change);
        assert_eq!(cluster.value(db, city), answer, "{change}");
    }
}
