//! Partitions that leave an attached table and are attached by themselves, move to another one, or are away while what it has
//! counted is taken back: each row counts once.

use crate::ingest_support::{Db, run};

const METHODS: [&str; 3] = ["trigger", "row", "index"];
const LEAVE: &str = "ALTER TABLE r DETACH PARTITION p1";
const COME: &str = "ALTER TABLE r ATTACH PARTITION p1 FOR VALUES IN (1)";
const ROW: &str = "INSERT INTO p1 VALUES (1, '9.9.9.9')";

/// Two partitions, and five rows in the first that are counted. All have one address, so that a row that is not counted does not hide
/// behind a new one.
fn with_five(method: &str) -> Db {
    let db = Db::new();
    db.sql(&format!(
        "CREATE TABLE r (k int, ip inet) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF r FOR VALUES IN (1);
         CREATE TABLE p2 PARTITION OF r FOR VALUES IN (2); SELECT attach_ip_source('r', '{{ip}}', method => '{method}');
         INSERT INTO r SELECT 1, '9.9.9.9' FROM generate_series(1, 5)"
    ));
    assert_eq!(db.counts(), ["9.9.9.9|5"], "{method}");
    db
}

fn populate(db: &Db, table: &str) -> String {
    db.value(&format!("SELECT populate_ip_inventory('{table}')"))
}

#[test]
fn a_partition_that_is_attached_by_itself_while_it_is_away_counts_each_row_once() {
    for method in METHODS {
        for (end, taken) in [("detach", ""), ("forget", "2")] {
            let what = format!("{method}, {end}");
            let db = with_five(method);
            db.sql(LEAVE);
            db.sql(ROW);
            db.settle();
            db.sql(&format!("SELECT attach_ip_source('p1', '{{ip}}', method => '{method}')"));
            // Its own trigger has seen the row that came in between.
            assert_eq!(populate(&db, "p1"), if method == "trigger" { "0" } else { "1" }, "{what}");
            db.sql(ROW);
            db.sql(ROW);
            assert_eq!(db.counts(), ["9.9.9.9|8"], "{what}");
            let added: i64 =
                db.value("SELECT observations FROM ip_source WHERE tbl = 'p1'::regclass").parse().expect("a count");
            let ended = db.value(&format!("SELECT {end}_ip_source('p1')"));
            assert_eq!(ended, if taken.is_empty() { String::new() } else { added.to_string() }, "{what}");
            db.sql(ROW);
            db.sql(COME);
            db.sql(ROW);
            populate(&db, "p1");
            assert_eq!(db.counts(), ["9.9.9.9|10"], "{what}");
            assert_eq!((populate(&db, "p1"), populate(&db, "r")), ("0".to_owned(), "0".to_owned()), "{what}");
        }
    }
}

/// By other columns, all its rows are to be counted.
#[test]
fn a_partition_that_is_attached_by_another_column_counts_all_its_rows() {
    for method in METHODS {
        let db = Db::new();
        db.sql(&format!(
            "CREATE TABLE r (k int, ip inet, other inet) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF r FOR VALUES IN (1);
             SELECT attach_ip_source('r', '{{ip}}', method => '{method}'); INSERT INTO r VALUES (1, '9.9.9.9', '8.8.8.8')"
        ));
        db.settle();
        db.sql(LEAVE);
        db.sql(&format!("SELECT attach_ip_source('p1', '{{other}}', method => '{method}')"));
        assert_eq!(populate(&db, "p1"), "1", "{method}");
        assert_eq!(db.counts(), ["8.8.8.8|1", "9.9.9.9|1"], "{method}");
    }
}

#[test]
fn what_is_taken_back_while_a_partition_is_away_is_counted_when_it_is_back() {
    for method in METHODS {
        let db = with_five(method);
        db.sql("INSERT INTO r SELECT 2, '9.9.9.9' FROM generate_series(1, 2)");
        db.settle();
        db.sql(LEAVE);
        db.sql(ROW);
        let (taken, stays) = (db.value("SELECT forget_ip_source('r')"), db.counts());
        assert_eq!(taken, "7", "{method}");
        assert_eq!(stays.len(), usize::from(method == "trigger"), "{method}: {stays:?}");
        db.sql(&format!("SELECT attach_ip_source('r', '{{ip}}', method => '{method}')"));
        assert_eq!(populate(&db, "r"), "2", "{method}");
        db.sql(COME);
        db.sql(ROW);
        populate(&db, "p1");
        assert_eq!(db.counts(), ["9.9.9.9|9"], "{method}");
        assert_eq!((populate(&db, "p1"), populate(&db, "r")), ("0".to_owned(), "0".to_owned()), "{method}");
    }
}

#[test]
fn a_partition_that_moves_to_another_table_counts_each_row_once() {
    for method in METHODS {
        for attached_before in [false, true] {
            let what = format!("{method}, {attached_before}");
            let attach = format!("SELECT attach_ip_source('r2', '{{ip}}', method => '{method}')");
            let db = with_five(method);
            db.sql(
                "CREATE TABLE r2 (k int, ip inet) PARTITION BY LIST (k); CREATE TABLE q2 PARTITION OF r2 FOR VALUES IN (2);
                 INSERT INTO r2 VALUES (2, '9.9.9.9')",
            );
            if attached_before {
                db.sql(&attach);
            }
            db.sql(LEAVE);
            db.sql("ALTER TABLE r2 ATTACH PARTITION p1 FOR VALUES IN (1)");
            if !attached_before {
                db.sql(&attach);
            }
            db.sql("INSERT INTO r2 VALUES (1, '9.9.9.9')");
            assert_eq!(populate(&db, "r2"), "1", "{what}");
            assert_eq!(db.counts(), ["9.9.9.9|7"], "{what}");
            assert_eq!((populate(&db, "p1"), populate(&db, "r2")), ("0".to_owned(), "0".to_owned()), "{what}");
        }
    }
}

#[test]
fn what_is_queued_when_its_partition_leaves_counts_for_the_table_that_it_left() {
    for method in METHODS {
        let db = with_five(method);
        let mut holder = db.connect();
        run(&mut holder, "BEGIN; SELECT absorb_observations()");
        db.sql("INSERT INTO p1 SELECT 1, '9.9.9.9' FROM generate_series(1, 3)");
        run(&mut holder, LEAVE);
        run(&mut holder, "COMMIT");
        assert_eq!(db.counts(), ["9.9.9.9|8"], "{method}");
        assert_eq!(db.sources(), ["r|8|0"], "{method}");
        assert_eq!(db.value("SELECT forget_ip_source('r')"), "8", "{method}");
        db.sql(&format!("SELECT attach_ip_source('r', '{{ip}}', method => '{method}')"));
        db.sql(COME);
        populate(&db, "r");
        assert_eq!(db.counts(), ["9.9.9.9|8"], "{method}");
    }
}

#[test]
fn rows_of_a_partition_that_is_not_observed_any_more_are_counted_when_it_is_back() {
    for method in METHODS {
        let db = Db::new();
        db.sql(&format!(
            "CREATE TABLE r (k int, ip inet) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF r FOR VALUES IN (1);
             CREATE TABLE p2 PARTITION OF r FOR VALUES IN (2); SELECT attach_ip_source('r', '{{ip}}', method => '{method}');
             INSERT INTO r VALUES (2, '9.9.9.9')"
        ));
        db.sql(LEAVE);
        db.sql("INSERT INTO p1 SELECT 1, '9.9.9.9' FROM generate_series(1, 3)");
        if method != "row" {
            db.sql("SELECT detach_ip_source('p1')");
        }
        db.sql("INSERT INTO p1 SELECT 1, '9.9.9.9' FROM generate_series(1, 4)");
        db.sql(COME);
        assert_eq!(populate(&db, "p1"), if method == "trigger" { "4" } else { "7" }, "{method}");
        assert_eq!(db.counts(), ["9.9.9.9|8"], "{method}");
        assert_eq!((populate(&db, "p1"), populate(&db, "r")), ("0".to_owned(), "0".to_owned()), "{method}");
    }
}

/// The table above has observed some of its rows, and has not, or has, counted those from before.
#[test]
fn a_partition_that_is_attached_below_an_attached_table_counts_no_row_of_that() {
    for (populated, counted) in [(false, "3"), (true, "0")] {
        for end in ["detach", "forget"] {
            let what = format!("{populated}, {end}");
            let db = Db::new();
            db.sql(
                "CREATE TABLE r (k int, ip inet) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF r FOR VALUES IN (1);
                 INSERT INTO p1 SELECT 1, '9.9.9.9' FROM generate_series(1, 3); SELECT attach_ip_source('r', '{ip}')",
            );
            if populated {
                assert_eq!(populate(&db, "r"), "3", "{what}");
            }
            db.sql(ROW);
            db.settle();
            db.sql("SELECT attach_ip_source('p1', '{ip}')");
            db.sql(ROW);
            db.settle();
            assert_eq!(populate(&db, "p1"), counted, "{what}");
            assert_eq!(db.counts(), ["9.9.9.9|5"], "{what}");
            db.sql(&format!("SELECT {end}_ip_source('p1')"));
            db.sql(ROW);
            populate(&db, "r");
            assert_eq!(db.counts(), ["9.9.9.9|6"], "{what}");
            assert_eq!((populate(&db, "p1"), populate(&db, "r")), ("0".to_owned(), "0".to_owned()), "{what}");
        }
    }
}

/// Of a partition that its own trigger goes on to observe, only what the table has counted is taken back: whoever it belongs to next.
#[test]
fn what_its_own_trigger_has_observed_stays_when_the_table_that_it_left_takes_its_counts_back() {
    for next in ["come", "attach"] {
        let db = with_five("trigger");
        db.sql(LEAVE);
        db.sql("INSERT INTO p1 SELECT 1, '9.9.9.9' FROM generate_series(1, 4)");
        db.settle();
        assert_eq!(db.value("SELECT forget_ip_source('r')"), "5", "{next}");
        let (first, second, populated) = match next {
            "come" => (COME, "SELECT attach_ip_source('r', '{ip}')", "r"),
            _ => ("SELECT", "SELECT attach_ip_source('p1', '{ip}')", "p1"),
        };
        db.sql(first);
        db.sql(second);
        assert_eq!(populate(&db, populated), "5", "{next}");
        assert_eq!(db.counts(), ["9.9.9.9|9"], "{next}");
    }
}

#[test]
fn a_table_that_is_attached_anew_takes_back_nothing_of_what_it_had_counted_before() {
    for method in METHODS {
        let db = with_five(method);
        let attach = format!("SELECT attach_ip_source('r', '{{ip}}', method => '{method}')");
        db.sql(LEAVE);
        db.sql("SELECT detach_ip_source('r')");
        db.sql(&attach);
        assert_eq!(db.value("SELECT forget_ip_source('r')"), "0", "{method}");
        db.sql(&attach);
        db.sql(COME);
        assert_eq!(populate(&db, "p1"), "0", "{method}");
        assert_eq!(db.counts(), ["9.9.9.9|5"], "{method}");
    }
}

#[test]
fn what_another_table_takes_back_of_a_partition_is_counted_by_the_next() {
    for method in METHODS {
        let db = with_five(method);
        db.sql(LEAVE);
        db.sql("INSERT INTO p1 SELECT 1, '9.9.9.9' FROM generate_series(1, 3)");
        db.settle();
        db.sql(&format!(
            "CREATE TABLE r2 (k int, ip inet) PARTITION BY LIST (k); SELECT attach_ip_source('r2', '{{ip}}', method => '{method}');
             ALTER TABLE r2 ATTACH PARTITION p1 FOR VALUES IN (1); INSERT INTO r2 VALUES (1, '9.9.9.9'), (1, '9.9.9.9')"
        ));
        db.settle();
        db.sql("SELECT forget_ip_source('r2')");
        assert_eq!(db.counts(), ["9.9.9.9|5"], "{method}");
        db.sql("ALTER TABLE r2 DETACH PARTITION p1");
        db.sql(COME);
        assert_eq!(populate(&db, "r"), "5", "{method}");
        assert_eq!(db.counts(), ["9.9.9.9|10"], "{method}");
    }
}

/// It may have left and come back before, empty or not.
#[test]
fn a_table_takes_back_all_of_its_partitions_and_counts_them_again() {
    for method in METHODS {
        let db = with_five(method);
        db.sql("CREATE TABLE p3 PARTITION OF r FOR VALUES IN (3)");
        for (table, key) in [("p1", 1), ("p3", 3)] {
            db.sql(&format!("ALTER TABLE r DETACH PARTITION {table}"));
            db.sql(&format!("INSERT INTO {table} VALUES ({key}, '9.9.9.9')"));
            db.sql(&format!("ALTER TABLE r ATTACH PARTITION {table} FOR VALUES IN ({key})"));
        }
        populate(&db, "r");
        assert_eq!(db.counts(), ["9.9.9.9|7"], "{method}");
        assert_eq!(db.value("SELECT forget_ip_source('r')"), "7", "{method}");
        assert_eq!(db.counts(), [""; 0], "{method}");
        db.sql(&format!("SELECT attach_ip_source('r', '{{ip}}', method => '{method}')"));
        assert_eq!(populate(&db, "r"), "7", "{method}");
        assert_eq!(db.counts(), ["9.9.9.9|7"], "{method}");
    }
}

/// PostgreSQL gives a lock that is tried for to nobody while somebody waits for another one.
#[test]
fn a_loader_that_waits_for_a_partition_keeps_nothing_from_being_noted() {
    for method in ["row", "index"] {
        let db = with_five(method);
        for statement in [LEAVE, COME] {
            let mut reader = db.connect();
            run(&mut reader, "BEGIN; SELECT count(*) FROM p1");
            std::thread::scope(|scope| {
                let mut reader = reader;
                let ddl = scope.spawn(|| db.sql(statement));
                wait_for_lock(&db, statement);
                let loader = scope.spawn(|| db.sql(ROW));
                wait_for_lock(&db, ROW);
                run(&mut reader, "COMMIT");
                ddl.join().expect("the statement");
                loader.join().expect("the loader");
            });
        }
        populate(&db, "r");
        assert_eq!(db.counts(), ["9.9.9.9|7"], "{method}");
        assert_eq!(db.complaints(&["partitions"]), [""; 0], "{method}");
    }
}

fn wait_for_lock(db: &Db, statement: &str) {
    db.wait(
        &format!(
            "SELECT count(*) FROM pg_stat_activity WHERE query = '{}' AND wait_event_type = 'Lock' AND datname = current_database()",
            statement.replace('\'', "''")
        ),
        "1",
    );
}

#[test]
fn a_partition_that_leaves_empty_and_later_with_rows_counts_each_row_once() {
    for method in METHODS {
        let db = with_five(method);
        db.sql("ALTER TABLE r DETACH PARTITION p2; ALTER TABLE r ATTACH PARTITION p2 FOR VALUES IN (2)");
        db.sql("INSERT INTO r VALUES (2, '9.9.9.9')");
        db.sql("ALTER TABLE r DETACH PARTITION p2; INSERT INTO p2 VALUES (2, '9.9.9.9')");
        db.sql("ALTER TABLE r ATTACH PARTITION p2 FOR VALUES IN (2)");
        populate(&db, "r");
        assert_eq!(db.counts(), ["9.9.9.9|7"], "{method}");
    }
}

/// Of a table that another one above counts as well, only what it has counted itself is taken back, wherever it is by then.
#[test]
fn a_child_counts_each_row_once_whichever_table_takes_its_counts_back() {
    let tables = "CREATE TABLE r (ip inet); CREATE TABLE r2 (ip inet); CREATE TABLE c () INHERITS (r)";
    let five = "INSERT INTO c SELECT '9.9.9.9' FROM generate_series(1, 5)";
    for method in METHODS {
        let attach = |table: &str| format!("SELECT attach_ip_source('{table}', '{{ip}}', method => '{method}')");
        let sequences = [
            vec![
                five.to_owned(),
                attach("c"),
                "ALTER TABLE c NO INHERIT r".to_owned(),
                "SELECT forget_ip_source('c')".to_owned(),
            ],
            vec![
                five.to_owned(),
                attach("r2"),
                "ALTER TABLE c NO INHERIT r; ALTER TABLE c INHERIT r2".to_owned(),
                "SELECT forget_ip_source('r2'); ALTER TABLE c NO INHERIT r2".to_owned(),
            ],
            vec![
                attach("c"),
                "SELECT forget_ip_source('c')".to_owned(),
                "ALTER TABLE c NO INHERIT r".to_owned(),
                five.to_owned(),
            ],
            vec![
                attach("c"),
                "SELECT forget_ip_source('c')".to_owned(),
                five.to_owned(),
                "ALTER TABLE c NO INHERIT r".to_owned(),
            ],
        ];
        for steps in sequences {
            let db = Db::new();
            db.sql(&format!("{tables}; {}", attach("r")));
            for step in &steps {
                // Below a table with a row trigger, none is attached by itself.
                if method == "row" && step == &attach("c") {
                    continue;
                }
                if method == "row" && step.contains("forget_ip_source('c')") {
                    continue;
                }
                db.sql(step);
                db.settle();
            }
            db.sql("ALTER TABLE c INHERIT r");
            db.sql(&attach("r"));
            populate(&db, "r");
            assert_eq!(db.counts(), ["9.9.9.9|5"], "{method}: {steps:?}");
            assert_eq!(populate(&db, "r"), "0", "{method}: {steps:?}");
        }
    }
}
