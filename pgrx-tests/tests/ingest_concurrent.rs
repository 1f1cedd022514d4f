//! Loaders at the same time, a worker that absorbs all the time, and users who lock or damage rows of the inventory:
//! counts stay exact, no loader waits, nothing deadlocks.

use crate::ingest_support::{Db, run, value};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const EVENTS: u32 = 4_000;
const ADDRESSES: u32 = 499;

/// The address of the n-th event: every address comes up 8 or 9 times, in an order that differs from address order.
fn address(n: u32) -> String {
    let n = (n * 173) % ADDRESSES;
    format!("45.155.{}.{}", n / 200, n % 200 + 1)
}

/// An event file as COPY reads it; each session takes it from another place on, so that no two agree on an order.
fn event_file(start: u32) -> String {
    let mut file = String::new();
    for n in 0..EVENTS {
        let n = (start + n) % EVENTS;
        let _ = writeln!(file, "{n}\t2024-01-01 00:00:{:02}+00\t{{\"src_ip\":\"{}\"}}", n % 60, address(n));
    }
    file
}

fn events_table(db: &Db) {
    db.sql(
        "CREATE TABLE events (id int, at timestamptz, payload jsonb); CREATE INDEX ON events (id);
         SELECT attach_ip_source('events', '{payload->>src_ip}', 'at');",
    );
}

/// `address|count|first|last`: what `loads` of the whole file make.
fn exact(db: &Db, loads: u32) {
    db.settle();
    let differ = "SELECT coalesce(i.ip_address, e.ip), i.observation_count, e.n, i.first_seen_at, i.last_seen_at
         FROM (SELECT (payload->>'src_ip')::inet AS ip, count(*) AS n, min(at) AS first, max(at) AS last
               FROM events GROUP BY 1) e
         FULL JOIN ip_inventory i ON i.ip_address = e.ip
         WHERE (i.observation_count, i.first_seen_at, i.last_seen_at) IS DISTINCT FROM (e.n, e.first, e.last)";
    assert_eq!(db.lines(differ), [""; 0]);
    assert_eq!(db.value("SELECT count(*) FROM ip_inventory"), ADDRESSES.to_string());
    assert_eq!(db.value("SELECT sum(observation_count) FROM ip_inventory"), (loads * EVENTS).to_string());
    assert_eq!(db.sources(), [format!("events|{}|0", loads * EVENTS)]);
}

#[test]
fn four_loaders_of_the_same_file_count_exactly_and_do_not_wait() {
    let db = Db::new();
    events_table(&db);
    let over = AtomicBool::new(false);
    let waits = thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            // Sessions that wait for a lock on our tables, their rows, or a transaction that wrote them; the extension
            // of a file ("extend") takes microseconds for every table.
            let mut session = db.connect();
            let mut seen = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let waits = asn_inventory_tests::cluster::query(
                    &mut session,
                    "SELECT a.backend_type, l.locktype, l.mode, l.relation::regclass, a.query
                     FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                     WHERE NOT l.granted AND l.locktype <> 'extend' AND a.application_name = 'loader'
                         AND a.datname = current_database()",
                );
                seen.extend(waits.expect("the watcher goes on"));
            }
            seen
        });
        let loaders: Vec<_> = (0..4u32)
            .map(|number| {
                let db = &db;
                scope.spawn(move || {
                    let mut session = db.connect();
                    run(&mut session, "SET application_name = loader; SET lock_timeout = '5s'");
                    let file = event_file(number * 1_001);
                    // In batches of odd sizes, some in one transaction: like a real loader.
                    let lines: Vec<&str> = file.lines().collect();
                    for (batch, chunk) in lines.chunks(131).enumerate() {
                        if batch % 5 == 0 {
                            run(&mut session, "BEGIN");
                        }
                        let mut copy = session.copy_in("COPY events FROM STDIN").expect("COPY starts");
                        copy.write_all(chunk.join("\n").as_bytes()).expect("COPY goes on");
                        assert_eq!(copy.finish().expect("COPY ends"), chunk.len() as u64);
                        if batch % 5 == 3 {
                            run(&mut session, "COMMIT");
                        }
                    }
                    run(&mut session, "COMMIT");
                })
            })
            .collect();
        for loader in loaders {
            loader.join().expect("a loader");
        }
        over.store(true, Ordering::Relaxed);
        watcher.join().expect("the watcher")
    });
    assert!(waits.is_empty(), "{waits:?}");
    exact(&db, 4);
    assert_eq!(db.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"), "0");
    assert!(!db.cluster.log().contains("deadlock detected"));
    // It was absorbed while it was loaded, not at the end.
    assert_eq!(db.value("SELECT absorbed > 0 FROM enrichment_status"), "t");
}

#[test]
fn an_open_loader_blocks_no_other() {
    let db = Db::new();
    events_table(&db);
    let mut first = db.connect();
    let mut second = db.connect();
    let insert = r#"INSERT INTO events VALUES (1, '2024-01-01', '{"src_ip":"45.155.9.1"}'), (2, '2024-01-02', '{"src_ip":"45.155.9.2"}')"#;
    run(&mut first, &format!("BEGIN; {insert}"));
    // Waiting for the other's end would be an error here.
    run(&mut second, "SET lock_timeout = '50ms'");
    run(&mut second, insert);
    run(&mut second, &format!("BEGIN; {insert}"));
    // Committed rows are absorbed meanwhile.
    assert_eq!(db.counts(), ["45.155.9.1|1", "45.155.9.2|1"]);
    run(&mut first, "COMMIT");
    run(&mut second, "COMMIT");
    assert_eq!(db.counts(), ["45.155.9.1|3", "45.155.9.2|3"]);
}

#[test]
fn an_idle_transaction_that_locks_a_row_delays_only_its_address() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}');
         INSERT INTO events VALUES ('45.155.10.1'), ('45.155.10.2');",
    );
    assert_eq!(db.counts(), ["45.155.10.1|1", "45.155.10.2|1"]);
    let mut holder = db.connect();
    run(&mut holder, "BEGIN; UPDATE ip_inventory SET city = 'held' WHERE ip_address = '45.155.10.1'");
    let mut loader = db.connect();
    run(&mut loader, "SET lock_timeout = '100ms'");
    for n in 0..2 {
        run(&mut loader, &format!("INSERT INTO events VALUES ('45.155.10.1'), ('45.155.10.2'), ('45.155.10.10{n}')"));
    }
    db.wait("SELECT count(*) FROM ip_inventory", "4");
    db.wait("SELECT observation_count FROM ip_inventory WHERE ip_address = '45.155.10.2'", "3");
    assert_eq!(db.value("SELECT observation_count FROM ip_inventory WHERE ip_address = '45.155.10.1'"), "1");
    // Only its observations wait in the queue.
    db.wait("SELECT string_agg(DISTINCT host(address), ',') FROM ip_observation", "45.155.10.1");
    run(&mut holder, "COMMIT");
    let counts = db.counts();
    assert_eq!(counts[..2], ["45.155.10.1|3", "45.155.10.2|3"]);
    assert_eq!(db.value("SELECT city FROM ip_inventory WHERE ip_address = '45.155.10.1'"), "held");
    assert_eq!(db.sources(), ["events|8|0"]);
}

#[test]
fn an_uncommitted_insert_by_hand_delays_only_its_address() {
    for (end, by_hand) in [("COMMIT", 40), ("ROLLBACK", 0)] {
        let db = Db::new();
        db.sql("CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')");
        let mut holder = db.connect();
        run(&mut holder, "BEGIN; INSERT INTO ip_inventory (ip_address, observation_count) VALUES ('45.155.11.1', 40)");
        db.sql("INSERT INTO events VALUES ('45.155.11.1'), ('45.155.11.2')");
        db.wait("SELECT count(*) FROM ip_inventory WHERE ip_address = '45.155.11.2'", "1");
        run(&mut holder, end);
        // Without waiting for the time of the next attempt: another observation wakes the worker.
        db.sql("UPDATE ip_observation SET retry_at = NULL; INSERT INTO events VALUES (NULL), ('45.155.11.2')");
        assert_eq!(db.counts(), [format!("45.155.11.1|{}", by_hand + 1), "45.155.11.2|2".into()], "{end}");
    }
}

#[test]
fn a_row_that_cannot_be_written_is_isolated_named_and_kept() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}');
         ALTER TABLE ip_inventory ADD CONSTRAINT poisoned CHECK (ip_address <> '45.155.12.66');
         INSERT INTO events SELECT inet '45.155.12.0' + n FROM generate_series(1, 200) n, generate_series(1, 2);",
    );
    db.wait("SELECT count(*) FROM ip_inventory", "199");
    db.wait(
        "SELECT string_agg(format('%s|%s|%s|%s', host(address), seen, attempts >= 1, retry_at > now() - interval '10 s'), ',')
         FROM ip_observation",
        "45.155.12.66|2|t|t",
    );
    assert_eq!(db.value("SELECT min(observation_count) || '|' || max(observation_count) FROM ip_inventory"), "2|2");
    // The batch that it came in counts once, here too.
    assert_eq!(db.value("SELECT observations FROM ip_source"), "400");
    db.cluster.wait_log(
        "45.155.12.66 cannot be written to ip_inventory (attempt 1); the rest of its batch was written: new row for relation \"ip_inventory\" violates check constraint \"poisoned\"",
    );
    // Failing again adds up attempts and changes no count; new observations of it are not lost either.
    db.sql("UPDATE ip_observation SET retry_at = now()");
    db.wait("SELECT max(attempts) >= 2 FROM ip_observation", "t");
    db.sql("INSERT INTO events VALUES ('45.155.12.66'), ('45.155.12.67')");
    db.wait("SELECT observation_count FROM ip_inventory WHERE ip_address = '45.155.12.67'", "3");
    db.sql("ALTER TABLE ip_inventory DROP CONSTRAINT poisoned; UPDATE ip_observation SET retry_at = now()");
    db.settle();
    assert_eq!(db.value("SELECT observation_count FROM ip_inventory WHERE ip_address = '45.155.12.66'"), "3");
    assert_eq!(db.value("SELECT sum(observation_count) FROM ip_inventory"), "402");
    assert_eq!(db.sources(), ["events|402|0"]);
}

#[test]
fn counts_of_tables_survive_a_lock_on_their_row() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (ip text); SELECT attach_ip_source('events', '{ip}');
         CREATE TABLE others (ip text); SELECT attach_ip_source('others', '{ip}');",
    );
    let mut holder = db.connect();
    // As populate_ip_inventory does for as long as its transaction lasts.
    run(&mut holder, "BEGIN; SELECT populate_ip_inventory('events')");
    db.sql("INSERT INTO events VALUES ('45.155.13.1'), ('garbage'); INSERT INTO others VALUES ('45.155.13.1'), ('garbage')");
    db.wait("SELECT observation_count FROM ip_inventory", "2");
    db.wait("SELECT observations || '|' || unparsable FROM ip_source WHERE tbl = 'others'::regclass", "1|1");
    run(&mut holder, "COMMIT");
    db.wait("SELECT observations || '|' || unparsable FROM ip_source WHERE tbl = 'events'::regclass", "1|1");
    assert_eq!(db.counts(), ["45.155.13.1|2"]);
    assert_eq!(db.sources(), ["events|1|1", "others|1|1"]);
}

#[test]
fn absorbing_by_hand_beside_the_worker_and_the_loaders_stays_exact() {
    let db = Db::new();
    events_table(&db);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let hands: Vec<_> = [1, 7, 1_000]
            .into_iter()
            .map(|max_rows| {
                let (db, over) = (&db, &over);
                scope.spawn(move || {
                    let mut session = db.connect();
                    while !over.load(Ordering::Relaxed) {
                        let absorbed = value(&mut session, &format!("SELECT absorb_observations({max_rows})"));
                        let absorbed: i64 = absorbed.parse().expect("a number");
                        assert!((0..=max_rows).contains(&absorbed), "{absorbed} of {max_rows}");
                    }
                })
            })
            .collect();
        let loaders: Vec<_> = (0..2u32)
            .map(|number| {
                let db = &db;
                scope.spawn(move || {
                    let mut session = db.connect();
                    for chunk in event_file(number * 777).lines().collect::<Vec<_>>().chunks(200) {
                        let mut copy = session.copy_in("COPY events FROM STDIN").expect("COPY starts");
                        copy.write_all(chunk.join("\n").as_bytes()).expect("COPY goes on");
                        copy.finish().expect("COPY ends");
                    }
                })
            })
            .collect();
        loaders.into_iter().for_each(|loader| loader.join().expect("a loader"));
        over.store(true, Ordering::Relaxed);
        hands.into_iter().for_each(|hand| hand.join().expect("a session that absorbs"));
    });
    exact(&db, 2);
}
