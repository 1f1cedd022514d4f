//! `populate_ip_inventory()` beside a DETACH PARTITION that is not committed, or that was interrupted: each row counts once.

use std::thread::scope;

use crate::ingest_support::{Db, refused, run, value};

const PARTITIONS: [&str; 1] = ["partitions"];
const POPULATE: &str = "SELECT populate_ip_inventory('ev')";
/// A table with two partitions, of which the first is to leave.
const TABLES: &str = "CREATE TABLE ev (ip inet, a int) PARTITION BY LIST (a);
     CREATE TABLE ev1 PARTITION OF ev FOR VALUES IN (1); CREATE TABLE ev2 PARTITION OF ev FOR VALUES IN (2)";
const DETACH: &str = "ALTER TABLE ev DETACH PARTITION ev1";
const ATTACH: &str = "ALTER TABLE ev ATTACH PARTITION ev1 FOR VALUES IN (1)";

/// Waits until a session whose statement begins like this waits for a lock.
fn wait_for_lock(db: &Db, statement: &str) {
    db.wait(
        &format!(
            "SELECT count(*) FROM pg_stat_activity
             WHERE query LIKE '{}%' AND wait_event_type = 'Lock' AND datname = current_database()",
            statement.replace('\'', "''")
        ),
        "1",
    );
}

/// Populates in another session while this one holds `before`, and comes back when `after` is through as well.
fn populate_between(db: &Db, before: &str, after: &str) -> String {
    let mut session = db.connect();
    run(&mut session, &format!("BEGIN; {before}"));
    scope(|scope| {
        // A failure here ends it, so that the other one does not wait for ever.
        let mut session = session;
        let populate = scope.spawn(|| value(&mut db.connect(), POPULATE));
        wait_for_lock(db, POPULATE);
        run(&mut session, after);
        run(&mut session, "COMMIT");
        populate.join().expect("the other session")
    })
}

#[test]
fn rows_of_a_partition_that_leaves_while_populate_waits_are_counted_when_it_is_back() {
    for method in ["trigger", "row"] {
        let db = Db::new();
        db.sql(&format!(
            "{TABLES}; SELECT attach_ip_source('ev', '{{ip}}', method => '{method}'); DROP TABLE ev1;
             CREATE TABLE ev1 (ip inet, a int); INSERT INTO ev1 VALUES ('6.0.0.1', 1), ('6.0.0.1', 1)"
        ));
        db.sql(ATTACH);
        assert_eq!(populate_between(&db, DETACH, "SELECT 1"), "0", "{method}");
        db.sql(ATTACH);
        assert_eq!(db.complaints(&PARTITIONS).len(), 1, "{method}");
        assert_eq!(db.value(POPULATE), "2", "{method}");
        assert_eq!(db.value(POPULATE), "0", "{method}");
        assert_eq!(db.counts(), ["6.0.0.1|2"], "{method}");
    }
}

#[test]
fn rows_of_a_partition_that_leaves_and_comes_back_while_populate_waits_are_counted_once() {
    for method in ["row", "index"] {
        let db = Db::new();
        db.sql(&format!(
            "{TABLES}; SELECT attach_ip_source('ev', '{{ip}}', method => '{method}'); INSERT INTO ev1 VALUES ('6.0.0.1', 1)"
        ));
        let and_back = format!("{DETACH}; INSERT INTO ev1 VALUES ('6.0.0.9', 1); {ATTACH}");
        assert_eq!(populate_between(&db, &and_back, "SELECT 1"), "1", "{method}");
        assert_eq!(db.value(POPULATE), "0", "{method}");
        assert_eq!(db.counts(), ["6.0.0.1|1", "6.0.0.9|1"], "{method}");
        assert_eq!(db.complaints(&PARTITIONS), [""; 0], "{method}");
    }
}

/// The other session waits for the table or for the row of `ip_source`, and holds neither of them meanwhile.
#[test]
fn a_populate_that_waits_keeps_nobody_from_what_it_needs_next() {
    let db = Db::new();
    db.sql(&format!(
        "{TABLES}; INSERT INTO ev VALUES ('6.0.0.1', 1), ('6.0.0.2', 2); SELECT attach_ip_source('ev', '{{ip}}')"
    ));
    // It comes last, and counts what the first has not: nothing.
    assert_eq!(populate_between(&db, POPULATE, &format!("{DETACH}; {ATTACH}")), "0");
    assert_eq!(populate_between(&db, DETACH, &format!("{POPULATE}; {ATTACH}")), "0");
    assert_eq!(populate_between(&db, POPULATE, "ALTER TABLE ev ADD COLUMN more int"), "0");
    assert_eq!(db.counts(), ["6.0.0.1|1", "6.0.0.2|1"]);
    // A forget locks the tables first, and takes the triggers off last.
    let mut session = db.connect();
    run(&mut session, "BEGIN; SELECT forget_ip_source('ev')");
    scope(|scope| {
        let mut session = session;
        let populate = scope.spawn(|| refused(&mut db.connect(), POPULATE));
        wait_for_lock(&db, POPULATE);
        run(&mut session, "COMMIT");
        assert_eq!(populate.join().expect("the other session").message, "table \"ev\" is no longer attached");
    });
    assert_eq!(db.counts(), [""; 0]);
}

/// Begins a DETACH … CONCURRENTLY, and ends it while it waits for a session that has read the table.
fn interrupt_detach(db: &Db) {
    let statement = format!("{DETACH} CONCURRENTLY");
    let mut reader = db.connect();
    run(&mut reader, "BEGIN; SELECT count(*) FROM ev");
    scope(|scope| {
        let mut reader = reader;
        let detach = scope.spawn(|| refused(&mut db.connect(), &statement));
        db.wait("SELECT count(*) FROM pg_inherits WHERE inhdetachpending", "1");
        wait_for_lock(db, &statement);
        db.sql(&format!(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query = '{statement}' AND datname = current_database()"
        ));
        assert_eq!(detach.join().expect("the other session").message, "canceling statement due to user request");
        run(&mut reader, "COMMIT");
    });
    assert_eq!(db.value("SELECT count(*) FROM pg_inherits WHERE inhdetachpending"), "1");
}

#[test]
fn rows_of_a_partition_whose_concurrent_detach_was_interrupted_are_counted_once() {
    for method in ["trigger", "row", "index"] {
        for by_the_doctor in [false, true] {
            let what = format!("{method}, {by_the_doctor}");
            let db = Db::new();
            db.sql(&format!(
                "{TABLES}; INSERT INTO ev VALUES ('6.0.0.1', 1), ('6.0.0.1', 1), ('6.0.0.1', 2);
                 SELECT attach_ip_source('ev', '{{ip}}', method => '{method}'); INSERT INTO ev VALUES ('6.0.0.1', 1)"
            ));
            interrupt_detach(&db);
            // PostgreSQL does not show its rows in the table any more, and what observes them is still there.
            assert_eq!(db.value(POPULATE), "1", "{what}");
            db.sql("INSERT INTO ev1 VALUES ('6.0.0.1', 1)");
            assert_eq!(db.value(POPULATE), "0", "{what}");
            assert_eq!(db.counts(), ["6.0.0.1|3"], "{what}");
            assert_eq!(
                db.complaints(&PARTITIONS),
                ["warning: public.ev1 had rows when it was put below an attached table; they are not counted."],
                "{what}"
            );
            if by_the_doctor {
                db.sql(&db.remedies(&PARTITIONS));
                assert_eq!(db.counts(), ["6.0.0.1|5"], "{what}");
                assert_eq!(db.complaints(&PARTITIONS), [""; 0], "{what}");
            }
            db.sql(&format!("{DETACH} FINALIZE"));
            db.sql("INSERT INTO ev1 VALUES ('6.0.0.1', 1)");
            db.sql(ATTACH);
            db.sql("INSERT INTO ev VALUES ('6.0.0.1', 1)");
            db.sql(POPULATE);
            assert_eq!(db.counts(), ["6.0.0.1|7"], "{what}");
            for table in ["ev1", "ev"] {
                assert_eq!(db.value(&format!("SELECT populate_ip_inventory('{table}')")), "0", "{what}: {table}");
            }
            assert_eq!(db.complaints(&PARTITIONS), [""; 0], "{what}");
        }
    }
}
