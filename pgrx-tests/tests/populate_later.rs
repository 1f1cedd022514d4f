//! Rows that no trigger saw: those of loaders with the flag off, and rows that were updated. populate_ip_inventory adds
//! unknown addresses, once; and a question is not an observation.

use crate::ingest_support::{Db, run, value};
use postgres::Client;
use std::thread;

const EVENTS: &str = "CREATE TABLE events (ip inet, at timestamptz); SELECT attach_ip_source('events', '{ip}', 'at');";
const POPULATE: &str = "SELECT populate_ip_inventory('events')";

/// A session of a role that loads fast: the flag is off for it.
fn loader(db: &Db) -> Client {
    let role = format!("loader_of_{}", db.name);
    db.sql(&format!(
        "CREATE ROLE {role} LOGIN; ALTER ROLE {role} SET asn_inventory.enabled = off; GRANT ALL ON events TO {role}"
    ));
    db.connect_as(&role)
}

/// `address|count|first|last` of the inventory, once everything is absorbed; dates as days of January 2026.
fn seen(db: &Db) -> Vec<String> {
    db.settle();
    db.lines(
        "SELECT host(ip_address), observation_count, extract(day FROM first_seen_at - timestamptz '2025-12-31Z'),
             extract(day FROM last_seen_at - timestamptz '2025-12-31Z')
         FROM ip_inventory ORDER BY ip_address",
    )
}

/// Inserts addresses, each as of a day of January 2026.
fn insert(session: &mut Client, rows: &[(&str, u32)]) {
    let rows: Vec<String> = rows.iter().map(|(ip, day)| format!("('{ip}', '2026-01-{day:02}Z')")).collect();
    run(session, &format!("INSERT INTO events VALUES {}", rows.join(", ")));
}

#[test]
fn rows_inserted_with_the_flag_off_are_added_exactly_once() {
    let db = Db::new();
    db.sql(EVENTS);
    let mut loader = loader(&db);
    insert(&mut loader, &[("8.8.8.1", 5), ("8.8.8.2", 7), ("8.8.8.1", 3), ("8.8.8.1", 9), ("2001:4860::1", 4)]);
    run(&mut loader, "INSERT INTO events VALUES (NULL, now())");
    assert_eq!(db.counts(), [""; 0], "off is off");
    // Twice before anything is absorbed, which is not before the commit.
    let mut session = db.connect();
    run(&mut session, "BEGIN");
    assert_eq!(value(&mut session, POPULATE), "5");
    assert_eq!(value(&mut session, POPULATE), "0", "the queue knows them");
    run(&mut session, "COMMIT");
    let all = ["8.8.8.1|3|3|9", "8.8.8.2|1|7|7", "2001:4860::1|1|4|4"];
    assert_eq!(seen(&db), all);
    assert_eq!(db.value(POPULATE), "0", "the inventory knows them");
    assert_eq!(seen(&db), all);
    assert_eq!(db.sources(), ["events|5|0"]);

    // The next load: a known address is not counted again, since this cannot be known.
    insert(&mut loader, &[("8.8.8.1", 20), ("8.8.8.3", 11), ("8.8.8.3", 12)]);
    assert_eq!(db.value(POPULATE), "2");
    assert_eq!(seen(&db), ["8.8.8.1|3|3|9", "8.8.8.2|1|7|7", "8.8.8.3|2|11|12", "2001:4860::1|1|4|4"]);
    assert_eq!(db.value("SELECT count(*) FROM ip_inventory WHERE asn_number <> 15169"), "0", "born enriched");
}

#[test]
fn a_load_of_more_addresses_than_fit_in_memory_is_exact() {
    let db = Db::new();
    db.sql(EVENTS);
    let mut loader = loader(&db);
    // Every address three times, far from each other: more than is held in memory at a time.
    run(
        &mut loader,
        "INSERT INTO events SELECT inet '34.64.0.0' + i, timestamptz '2026-01-01Z' + day * interval '1 day'
         FROM generate_series(0, 2) AS day, generate_series(0, 119999) AS i",
    );
    assert_eq!(db.value(POPULATE), "360000");
    db.settle();
    let spread = "SELECT observation_count, first_seen_at::date, last_seen_at::date, count(*) FROM ip_inventory GROUP BY 1, 2, 3";
    assert_eq!(db.lines(spread), ["3|2026-01-01|2026-01-03|120000"]);
    assert_eq!(db.value(POPULATE), "0");
    assert_eq!(db.lines(spread), ["3|2026-01-01|2026-01-03|120000"]);
}

#[test]
fn two_concurrent_populates_count_once() {
    let db = Db::new();
    db.sql(EVENTS);
    let mut loader = loader(&db);
    for round in 1..=5 {
        run(
            &mut loader,
            &format!(
                "INSERT INTO events SELECT inet '34.64.{round}.0' + i % 200, '2026-01-02Z' FROM generate_series(0, 1999) i"
            ),
        );
        let handed: i64 = thread::scope(|scope| {
            let callers: Vec<_> =
                (0..3).map(|_| scope.spawn(|| db.value(POPULATE).parse::<i64>().expect("a number"))).collect();
            callers.into_iter().map(|caller| caller.join().expect("a caller")).sum()
        });
        assert_eq!(handed, 2000, "round {round}");
    }
    let counts = db.counts();
    assert_eq!(counts.len(), 1000);
    assert!(counts.iter().all(|line| line.ends_with("|10")), "{counts:?}");
}

#[test]
fn concurrent_loads_of_others_are_not_counted_twice() {
    let db = Db::new();
    db.sql(EVENTS);
    let mut off = loader(&db);
    run(
        &mut off,
        "INSERT INTO events SELECT inet '34.65.0.0' + i % 500, '2026-01-02Z' FROM generate_series(0, 4999) i",
    );
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut session = db.connect();
            for _ in 0..30 {
                run(
                    &mut session,
                    "INSERT INTO events SELECT inet '34.64.0.0' + i, '2026-01-03Z' FROM generate_series(0, 499) i",
                );
            }
        });
        for _ in 0..5 {
            db.value(POPULATE);
        }
    });
    db.value(POPULATE);
    db.settle();
    assert_eq!(
        db.lines("SELECT network(set_masklen(ip_address, 16)), observation_count, count(*) FROM ip_inventory GROUP BY 1, 2 ORDER BY 1"),
        ["34.64.0.0/16|30|500", "34.65.0.0/16|10|500"]
    );
}

#[test]
fn earlier_rows_are_exact_though_some_were_updated_since() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (ip inet, at timestamptz);
         INSERT INTO events VALUES ('8.8.8.1', '2026-01-01Z'), ('8.8.8.1', '2026-01-02Z'), ('8.8.8.1', '2026-01-03Z'),
             ('8.8.8.2', '2026-01-04Z'), ('8.8.8.3', '2026-01-05Z'), ('8.8.8.4', '2026-01-06Z');
         SELECT attach_ip_source('events', '{ip}', 'at');
         UPDATE events SET at = at WHERE at IN ('2026-01-02Z', '2026-01-03Z', '2026-01-04Z')",
    );
    // One that was updated and is known by now, from a later row.
    db.sql("INSERT INTO events VALUES ('8.8.8.5', '2026-01-20Z')");
    db.settle();
    db.sql("UPDATE events SET at = at WHERE ip = '8.8.8.5'");
    assert_eq!(db.value(POPULATE), "6");
    let all = ["8.8.8.1|3|1|3", "8.8.8.2|1|4|4", "8.8.8.3|1|5|5", "8.8.8.4|1|6|6", "8.8.8.5|1|20|20"];
    assert_eq!(seen(&db), all);
    db.sql("UPDATE events SET at = at");
    assert_eq!(db.value(POPULATE), "0");
    assert_eq!(seen(&db), all);
    assert_eq!(db.sources(), ["events|7|0"]);
}

#[test]
fn the_ordinary_cases_beside_a_loader_with_the_flag_off() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (ip inet, at timestamptz);
         INSERT INTO events VALUES ('8.8.8.1', '2026-01-02Z'), ('8.8.8.1', '2026-01-03Z'), ('8.8.8.2', '2026-01-04Z');
         SELECT attach_ip_source('events', '{ip}', 'at');
         INSERT INTO events VALUES ('8.8.8.1', '2026-01-10Z'), ('8.8.8.3', '2026-01-11Z')",
    );
    insert(&mut loader(&db), &[("8.8.8.4", 8), ("8.8.8.4", 6)]);
    db.settle();
    assert_eq!(db.value(POPULATE), "5", "three from before, two that nobody saw");
    let all = ["8.8.8.1|3|2|10", "8.8.8.2|1|4|4", "8.8.8.3|1|11|11", "8.8.8.4|2|6|8"];
    assert_eq!(seen(&db), all);
    assert_eq!(db.value(POPULATE), "0");
    assert_eq!(seen(&db), all);
}

#[test]
fn an_address_that_was_asked_about_first_has_the_times_of_its_observations() {
    let db = Db::new();
    db.sql(EVENTS);
    let ask = "SELECT enrich_ip('8.8.8.8')";
    let observe = "INSERT INTO events VALUES ('8.8.8.8', '2026-01-07Z'), ('8.8.8.8', '2026-01-04Z')";
    // In one batch, whichever comes first, and in two.
    for batch in [format!("BEGIN; {ask}; {observe}; COMMIT"), format!("BEGIN; {observe}; {ask}; COMMIT")] {
        db.sql(&batch);
        assert_eq!(seen(&db), ["8.8.8.8|2|4|7"], "{batch}");
        db.sql("TRUNCATE ip_inventory");
    }
    db.sql(ask);
    assert_eq!(db.counts(), ["8.8.8.8|0"]);
    db.sql(observe);
    assert_eq!(seen(&db), ["8.8.8.8|2|4|7"]);
    // Later questions and observations change the right columns.
    db.sql(ask);
    assert_eq!(seen(&db), ["8.8.8.8|2|4|7"]);
    db.sql("INSERT INTO events VALUES ('8.8.8.8', '2026-01-20Z'), ('8.8.8.8', '2026-01-02Z')");
    assert_eq!(seen(&db), ["8.8.8.8|4|2|20"]);
}

#[test]
fn an_address_that_was_only_asked_about_is_not_known_as_observed() {
    let db = Db::new();
    db.sql(EVENTS);
    db.sql("SELECT enrich_ip('8.8.8.1')");
    assert_eq!(db.counts(), ["8.8.8.1|0"]);
    insert(&mut loader(&db), &[("8.8.8.1", 5), ("8.8.8.1", 3), ("8.8.8.2", 6)]);
    let mut session = db.connect();
    run(&mut session, "BEGIN; SELECT enrich_ip('8.8.8.2')");
    assert_eq!(value(&mut session, POPULATE), "3");
    assert_eq!(value(&mut session, POPULATE), "0");
    run(&mut session, "COMMIT");
    assert_eq!(seen(&db), ["8.8.8.1|2|3|5", "8.8.8.2|1|6|6"]);
    assert_eq!(db.value(POPULATE), "0");
}

/// PostgreSQL writes the command of an UPDATE or DELETE where that of the row's INSERT was, and a rollback leaves it there.
#[test]
fn rows_of_the_attaching_transaction_count_once_after_a_change_that_was_rolled_back() {
    let db = Db::new();
    let attach = |table: &str, ips: [&str; 2], then: &str| {
        db.sql(&format!(
            "BEGIN; CREATE TABLE {table} (ip inet); INSERT INTO {table} VALUES ('{}'); SELECT attach_ip_source('{table}', '{{ip}}');
             INSERT INTO {table} VALUES ('{}'); {then} COMMIT",
            ips[0], ips[1]
        ));
    };
    attach("own", ["8.8.9.1", "8.8.9.2"], "SAVEPOINT s; UPDATE own SET ip = '8.8.9.9'; ROLLBACK TO s;");
    attach("other", ["8.8.9.3", "8.8.9.4"], "");
    db.sql("BEGIN; DELETE FROM other; ROLLBACK");
    // Untouched rows are told by their commands.
    attach("none", ["8.8.9.5", "8.8.9.5"], "");
    for table in ["own", "other", "none"] {
        assert_eq!(db.value(&format!("SELECT populate_ip_inventory('{table}')")), "1", "{table}");
        assert_eq!(db.value(&format!("SELECT populate_ip_inventory('{table}')")), "0", "{table}");
    }
    assert_eq!(db.counts(), ["8.8.9.1|1", "8.8.9.2|1", "8.8.9.3|1", "8.8.9.4|1", "8.8.9.5|2"]);
}
