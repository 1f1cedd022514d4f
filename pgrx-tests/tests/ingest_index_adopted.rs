//! Indexes of partitions that are attached by themselves, which PostgreSQL has made parts of that of the table above.

use crate::ingest_support::{Db, INDEXES, run};

const OBSERVERS: &str =
    "SELECT x.indrelid::regclass FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_am a ON a.oid = c.relam
     WHERE amname = 'ip_observer' ORDER BY x.indrelid::regclass::text COLLATE \"C\"";

#[test]
fn a_partition_that_is_attached_by_itself_keeps_its_index() {
    for (attach, take_off) in [
        ("SELECT attach_ip_source('r', '{ip}', method => 'index')", "detach_ip_source"),
        ("SELECT attach_ip_source('r', '{ip}', method => 'index')", "forget_ip_source"),
        ("CREATE INDEX by_hand ON r USING ip_observer (ip)", "detach_ip_source"),
    ] {
        let db = Db::new();
        db.sql(
            "CREATE TABLE r (k int, ip inet) PARTITION BY LIST (k); CREATE TABLE r1 PARTITION OF r FOR VALUES IN (1);
             CREATE TABLE p (k int, ip inet); SELECT attach_ip_source('p', '{ip}', method => 'index')",
        );
        db.sql(attach);
        db.sql("ALTER TABLE r ATTACH PARTITION p FOR VALUES IN (2)");
        let mut session = db.connect();
        let rows = "INSERT INTO r VALUES (2, '3.134.0.1'); INSERT INTO p VALUES (2, '3.134.0.1')";
        run(&mut session, rows);
        assert_eq!(db.sources(), ["p|2|0", "r|0|0"], "{attach}, {take_off}");
        if take_off == "detach_ip_source" {
            // Before and after, in one transaction.
            run(&mut session, &format!("BEGIN; {rows}; SELECT detach_ip_source('r'); {rows}; COMMIT"));
        } else {
            db.sql("SELECT forget_ip_source('r')");
            run(&mut session, &format!("{rows}; {rows}"));
        }
        run(&mut session, rows);
        run(&mut session, "INSERT INTO r VALUES (1, '3.134.0.1')");
        assert_eq!(db.counts(), ["3.134.0.1|8"], "{attach}, {take_off}");
        assert_eq!(db.sources(), ["p|8|0"], "{attach}, {take_off}");
        assert_eq!(db.lines(OBSERVERS), ["p"], "{attach}, {take_off}");
        assert_eq!(db.complaints(&INDEXES), [""; 0], "{attach}, {take_off}");
        // It is the table's own again, and goes with the extension.
        if take_off == "detach_ip_source" {
            db.sql("SELECT detach_ip_source('p')");
        } else {
            db.sql("DROP EXTENSION asn_inventory");
        }
        assert_eq!(db.lines(OBSERVERS), [""; 0], "{attach}, {take_off}");
    }
}

#[test]
fn on_several_levels_each_table_keeps_what_is_its_own() {
    let db = Db::new();
    // Between the two stands one that is not attached. What is read of the same column is the partition's own, under a new name as well.
    db.sql(
        "CREATE TABLE r (k int, payload jsonb) PARTITION BY LIST (k);
         CREATE TABLE m (k int, payload jsonb) PARTITION BY LIST (k); CREATE TABLE m1 PARTITION OF m FOR VALUES IN (1);
         CREATE TABLE p (k int, payload jsonb);
         SELECT attach_ip_source('r', '{payload->>a}', method => 'index'), attach_ip_source('p', '{payload->>b}', method => 'index')",
    );
    db.sql("ALTER TABLE m ATTACH PARTITION p FOR VALUES IN (2); ALTER TABLE r ATTACH PARTITION m FOR VALUES IN (1, 2)");
    let rows = "INSERT INTO r SELECT k, '{\"a\": \"3.134.1.1\", \"b\": \"3.134.1.2\"}' FROM generate_series(1, 2) k";
    db.sql(rows);
    assert_eq!(db.counts(), ["3.134.1.1|1", "3.134.1.2|1"]);
    assert_eq!(db.lines(OBSERVERS), ["m", "m1", "p", "r"]);
    db.sql("ALTER TABLE r RENAME payload TO event");
    db.sql("SELECT detach_ip_source('r')");
    db.sql(rows);
    assert_eq!(db.counts(), ["3.134.1.1|1", "3.134.1.2|2"]);
    assert_eq!(db.lines(OBSERVERS), ["p"]);
    // One with partitions of its own has the index of these, and gives it to new ones.
    db.sql(
        "CREATE TABLE above (k int, ip inet) PARTITION BY LIST (k);
         CREATE TABLE own (k int, ip inet) PARTITION BY LIST (k); CREATE TABLE own1 PARTITION OF own FOR VALUES IN (1);
         SELECT attach_ip_source('above', '{ip}', method => 'index'), attach_ip_source('own', '{ip}', method => 'index')",
    );
    db.sql("ALTER TABLE above ATTACH PARTITION own FOR VALUES IN (1, 2); SELECT detach_ip_source('above'); CREATE TABLE own2 PARTITION OF own FOR VALUES IN (2)");
    db.sql("INSERT INTO above VALUES (1, '3.134.1.3'), (2, '3.134.1.3')");
    assert_eq!(db.counts()[2], "3.134.1.3|2");
    assert_eq!(db.lines(OBSERVERS), ["own", "own1", "own2", "p"]);
    assert_eq!(db.sources(), ["own|2|0", "p|2|0"]);
}

#[test]
fn what_postgresql_has_made_beside_the_index_of_a_partition_goes_with_the_table_above() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE r (k int, ip inet, src inet) PARTITION BY LIST (k); CREATE TABLE p (k int, ip inet, src inet); CREATE TABLE q (k int, ip inet, src inet);
         SELECT attach_ip_source('r', '{ip}', method => 'index'), attach_ip_source('p', '{src}', method => 'index'), attach_ip_source('q', '{ip}')",
    );
    db.sql("ALTER TABLE r ATTACH PARTITION p FOR VALUES IN (1); ALTER TABLE r ATTACH PARTITION q FOR VALUES IN (2)");
    assert_eq!(db.lines(OBSERVERS), ["p", "p", "q", "r"]);
    db.sql("SELECT detach_ip_source('r')");
    assert_eq!(db.lines(OBSERVERS), ["p"]);
    db.sql("INSERT INTO p VALUES (1, '3.134.2.1', '3.134.2.2'); INSERT INTO q VALUES (2, '3.134.2.3', '3.134.2.2')");
    assert_eq!(db.counts(), ["3.134.2.2|1", "3.134.2.3|1"]);
}

/// It belongs to the index of the table above, and reads something else of the same columns.
#[test]
fn attaching_again_exchanges_what_a_partition_has_brought() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE r (k int, payload jsonb) PARTITION BY LIST (k); CREATE TABLE p (k int, payload jsonb);
         SELECT attach_ip_source('r', '{payload->>a}', method => 'index'), attach_ip_source('p', '{payload->>b}', method => 'index')",
    );
    db.sql("ALTER TABLE r ATTACH PARTITION p FOR VALUES IN (1); SELECT detach_ip_source('p')");
    assert_eq!(db.complaints(&INDEXES).len(), 1);
    db.sql(&db.remedies(&INDEXES));
    assert_eq!(db.complaints(&INDEXES), [""; 0]);
    db.sql("INSERT INTO r VALUES (1, '{\"a\": \"3.134.3.1\", \"b\": \"3.134.3.2\"}')");
    assert_eq!(db.counts(), ["3.134.3.1|1"]);
    assert_eq!(db.sources(), ["r|1|0"]);
}
