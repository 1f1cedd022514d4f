//! Partitions that come with rows in them, and partitions that go.

use crate::ingest_support::{Db, run};

const ROOT: &str = "CREATE TABLE root (id int, ip inet, at timestamptz) PARTITION BY RANGE (id);
     CREATE TABLE p0 PARTITION OF root FOR VALUES FROM (0) TO (100);
     SELECT attach_ip_source('root', '{ip}', 'at');
     INSERT INTO root VALUES (1, '8.8.8.8', '2026-01-01Z');";
const LOADED: &str = "CREATE TABLE p1 (LIKE root);
     INSERT INTO p1 VALUES (101, '8.8.8.8', '2026-01-02Z'), (102, '8.8.8.8', '2026-01-03Z'), (103, '1.1.1.1', '2026-01-04Z');";
const ATTACH: &str = "ALTER TABLE root ATTACH PARTITION p1 FOR VALUES FROM (100) TO (200);";
const PARTITIONS: &str =
    "SELECT level, detail, remedy FROM enrichment_doctor() WHERE check_name = 'partitions' ORDER BY detail";
const UNCOUNTED: &str = "warning|public.p1 had rows when it was put below an attached table; they are not counted.|SELECT public.populate_ip_inventory('public.p1');";

#[test]
fn rows_of_an_attached_partition_are_counted_once_by_the_doctors_command() {
    let db = Db::new();
    db.sql(ROOT);
    assert_eq!(db.value("SELECT populate_ip_inventory('root')"), "0");
    db.sql(LOADED);
    db.sql(ATTACH);
    db.sql("INSERT INTO root VALUES (110, '1.1.1.1', '2026-01-05Z')");
    assert_eq!(db.counts(), ["1.1.1.1|1", "8.8.8.8|1"]);
    assert_eq!(db.lines(PARTITIONS), [UNCOUNTED]);
    assert_eq!(db.value("SELECT populate_ip_inventory('p1')"), "3");
    assert_eq!(db.counts(), ["1.1.1.1|2", "8.8.8.8|3"]);
    assert_eq!(db.lines(PARTITIONS), ["ok||"]);
    assert_eq!(db.value("SELECT populate_ip_inventory('p1')"), "0", "once");
    assert_eq!(db.value("SELECT populate_ip_inventory('root')"), "0", "once");
    assert_eq!(db.counts(), ["1.1.1.1|2", "8.8.8.8|3"]);
    assert_eq!(db.sources(), ["root|5|0"]);
    assert_eq!(db.value("SELECT last_seen_at::date FROM ip_inventory WHERE ip_address = '8.8.8.8'"), "2026-01-03");
}

#[test]
fn populating_the_whole_table_counts_them_too_and_not_twice() {
    for populated_before in [false, true] {
        let db = Db::new();
        // The table had rows of its own before it was attached.
        db.sql(
            "CREATE TABLE root (id int, ip inet, at timestamptz) PARTITION BY RANGE (id);
                CREATE TABLE p0 PARTITION OF root FOR VALUES FROM (0) TO (100); INSERT INTO root VALUES (2, '9.9.9.9')",
        );
        // One partition was filled before the table was attached, and the other after.
        db.sql("CREATE TABLE early (LIKE root); INSERT INTO early VALUES (301, '9.9.9.9')");
        db.sql("SELECT attach_ip_source('root', '{ip}', 'at')");
        if populated_before {
            db.sql("SELECT populate_ip_inventory('root')");
        }
        db.sql(LOADED);
        // All in one transaction, with rows that follow.
        let mut session = db.connect();
        run(&mut session, "BEGIN; INSERT INTO p1 VALUES (104, '1.1.1.1', '2026-01-04Z')");
        run(&mut session, ATTACH);
        run(
            &mut session,
            "ALTER TABLE root ATTACH PARTITION early FOR VALUES FROM (300) TO (400); INSERT INTO root VALUES (105, '1.1.1.1')",
        );
        run(&mut session, "COMMIT");
        db.sql("SELECT populate_ip_inventory('root')");
        assert_eq!(db.counts(), ["1.1.1.1|3", "8.8.8.8|2", "9.9.9.9|2"], "{populated_before}");
        for table in ["p1", "early", "root", "p0"] {
            assert_eq!(db.value(&format!("SELECT populate_ip_inventory('{table}')")), "0", "{table}");
        }
        assert_eq!(db.lines(PARTITIONS), ["ok||"]);
        // And all of it can be taken back.
        assert_eq!(db.value("SELECT forget_ip_source('root')"), "7");
        assert_eq!(db.counts(), [""; 0]);
    }
}

#[test]
fn uncounted_rows_are_not_taken_back() {
    let db = Db::new();
    db.sql(ROOT);
    db.sql("SELECT populate_ip_inventory('root')");
    db.sql("CREATE TABLE others (ip inet); SELECT attach_ip_source('others', '{ip}'); INSERT INTO others VALUES ('1.1.1.1')");
    db.sql(LOADED);
    db.sql(ATTACH);
    assert_eq!(db.counts(), ["1.1.1.1|1", "8.8.8.8|1"]);
    assert_eq!(db.value("SELECT forget_ip_source('root')"), "1");
    assert_eq!(db.counts(), ["1.1.1.1|1"]);
    assert_eq!(db.value("SELECT count(*) FROM ip_source_part"), "0");
}

#[test]
fn a_detached_partition_is_not_observed_by_index_or_by_row() {
    for (method, named) in [("index", 1), ("row", 0)] {
        let db = Db::new();
        db.sql(&format!(
            "CREATE TABLE root (k int, ip inet) PARTITION BY LIST (k); CREATE TABLE p0 PARTITION OF root DEFAULT;
             SELECT attach_ip_source('root', '{{ip}}', method => '{method}'); INSERT INTO root VALUES (1, '8.8.8.8')"
        ));
        db.sql("ALTER TABLE root DETACH PARTITION p0");
        db.sql("INSERT INTO p0 VALUES (2, '8.8.8.8')");
        assert_eq!(db.counts(), ["8.8.8.8|1"], "{method}");
        // The index stays, and the doctor names it; PostgreSQL takes the trigger along.
        let left = db.complaints(&["observer indexes", "triggers"]);
        assert_eq!(left.len(), named, "{method}: {left:?}");
        assert!(left.iter().all(|detail| detail.ends_with("observes nothing: public.p0 is not attached.")), "{left:?}");
    }
}

#[test]
fn a_detached_partition_is_observed_until_the_doctors_command() {
    let db = Db::new();
    db.sql(ROOT);
    db.sql("ALTER TABLE root DETACH PARTITION p0; INSERT INTO p0 VALUES (2, '8.8.8.8')");
    assert_eq!(db.counts(), ["8.8.8.8|2"]);
    let triggers = "SELECT level, detail, remedy FROM enrichment_doctor() WHERE check_name = 'triggers'";
    assert_eq!(
        db.lines(triggers),
        [
            "warning|public.p0 has the trigger but is not attached: its addresses are observed, but counted for no table.|SELECT public.attach_ip_source('public.p0', '{ip}', 'at');  -- or detach_ip_source(), if it is not to be observed"
        ]
    );
    db.sql("SELECT detach_ip_source('p0'); INSERT INTO p0 VALUES (3, '8.8.8.8')");
    assert_eq!(db.counts(), ["8.8.8.8|2"]);
    assert_eq!(db.lines(PARTITIONS), ["ok||"]);
    // Back again: some of its rows were observed, and some not.
    db.sql("INSERT INTO p0 VALUES (4, '1.1.1.1'); ALTER TABLE root ATTACH PARTITION p0 FOR VALUES FROM (0) TO (100)");
    assert_eq!(db.value("SELECT populate_ip_inventory('p0')"), "2");
    assert_eq!(db.counts(), ["1.1.1.1|1", "8.8.8.8|3"]);
}

#[test]
fn children_and_nested_partitions_work_the_same() {
    let db = Db::new();
    db.sql(ROOT);
    db.sql(
        "SELECT populate_ip_inventory('root');
         CREATE TABLE sub (LIKE root) PARTITION BY RANGE (id); CREATE TABLE sub_1 PARTITION OF sub FOR VALUES FROM (500) TO (600);
         INSERT INTO sub VALUES (501, '1.1.1.1'), (502, '1.1.1.1');
         ALTER TABLE root ATTACH PARTITION sub FOR VALUES FROM (500) TO (700);
         CREATE TABLE parent (ip inet); SELECT attach_ip_source('parent', '{ip}'); SELECT populate_ip_inventory('parent');
         CREATE TABLE child (ip inet); INSERT INTO child VALUES ('9.9.9.9'); ALTER TABLE child INHERIT parent;
         CREATE TABLE empty (ip inet); ALTER TABLE empty INHERIT parent",
    );
    assert_eq!(
        db.value("SELECT count(*) FROM enrichment_doctor() WHERE check_name = 'partitions' AND level = 'warning'"),
        "2"
    );
    assert_eq!(db.value("SELECT populate_ip_inventory('sub')"), "2");
    assert_eq!(db.value("SELECT populate_ip_inventory('child')"), "1");
    assert_eq!(db.counts(), ["1.1.1.1|2", "8.8.8.8|1", "9.9.9.9|1"]);
    assert_eq!(db.sources(), ["parent|1|0", "root|3|0"]);
    assert_eq!(db.lines(PARTITIONS), ["ok||"]);
}

/// What is noted of a table below another one says which of its rows that one has not seen.
#[test]
fn an_index_made_by_hand_leaves_the_notes_below_tables_that_are_attached_by_themselves() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE parent (ip inet); CREATE TABLE child () INHERITS (parent); CREATE TABLE below (ip inet);
         INSERT INTO below VALUES ('3.120.7.1')",
    );
    db.sql("SELECT attach_ip_source('child', '{ip}'); INSERT INTO child VALUES ('3.120.7.1')");
    db.sql("ALTER TABLE below INHERIT child");
    db.sql("CREATE INDEX ON parent USING ip_observer (ip)");
    assert_eq!(db.lines("SELECT tbl FROM ip_source_part"), ["below"]);
    assert_eq!(db.value("SELECT populate_ip_inventory('child')"), "1");
    assert_eq!(db.counts(), ["3.120.7.1|2"]);
}

#[test]
fn two_concurrent_populates_count_a_partitions_rows_once() {
    let db = Db::new();
    db.sql(ROOT);
    db.sql("SELECT populate_ip_inventory('root')");
    db.sql(LOADED);
    db.sql(ATTACH);
    let mut first = db.connect();
    run(&mut first, "BEGIN; SELECT populate_ip_inventory('root')");
    let (cluster, name) = (db.cluster, db.name.clone());
    let second = std::thread::spawn(move || cluster.value(&name, "SELECT populate_ip_inventory('root')"));
    db.wait("SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE 'SELECT populate%' AND wait_event_type = 'Lock' AND datname = current_database()", "t");
    run(&mut first, "COMMIT");
    assert_eq!(second.join().expect("the second"), "0");
    assert_eq!(db.counts(), ["1.1.1.1|1", "8.8.8.8|3"]);
}

#[test]
fn a_partition_counts_for_the_nearest_attached_table() {
    let db = Db::new();
    for order in [["m", "r"], ["r", "m"]] {
        // The partition is older than the table above it, and what PostgreSQL makes there by itself comes last.
        db.sql(
            "CREATE TABLE p (id int, ip inet); CREATE TABLE r (id int, ip inet) PARTITION BY RANGE (id);
             CREATE TABLE m PARTITION OF r FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id);
             ALTER TABLE m ATTACH PARTITION p FOR VALUES FROM (0) TO (100)",
        );
        for table in order {
            db.sql(&format!("SELECT attach_ip_source('{table}', '{{ip}}')"));
        }
        db.sql("INSERT INTO p VALUES (1, '36.98.0.1'); INSERT INTO m VALUES (2, '36.98.0.1'); INSERT INTO r VALUES (3, '36.98.0.1')");
        assert_eq!(db.sources(), ["m|2|0", "r|1|0"], "{order:?}");
        db.sql(
            "SELECT detach_ip_source('r'), detach_ip_source('m'); INSERT INTO p VALUES (1, '36.98.0.2'); DROP TABLE r",
        );
        db.settle();
        assert_eq!(
            db.value("SELECT count(*) FROM ip_inventory WHERE ip_address = '36.98.0.2'"),
            "0",
            "nothing is left"
        );
    }
}

/// Each row counts once, however often its partition leaves and comes back, and whoever counts it.
#[test]
fn a_partition_that_left_and_came_back_counts_each_row_once() {
    for method in ["trigger", "row", "index"] {
        let db = Db::new();
        db.sql(&format!(
            "CREATE TABLE root (k int, ip inet) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF root FOR VALUES IN (1);
             INSERT INTO root VALUES (1, '9.9.9.9');
             SELECT attach_ip_source('root', '{{ip}}', method => '{method}');
             INSERT INTO root SELECT 1, '9.9.9.9' FROM generate_series(1, 10)"
        ));
        assert_eq!(db.counts(), ["9.9.9.9|10"], "{method}");
        for turn in 1..4 {
            // Twice, and the second time with rows that come meanwhile.
            db.sql("ALTER TABLE root DETACH PARTITION p1; ALTER TABLE root ATTACH PARTITION p1 FOR VALUES IN (1)");
            db.sql("ALTER TABLE root DETACH PARTITION p1; INSERT INTO p1 VALUES (1, '9.9.9.9'), (1, '8.8.8.8')");
            db.sql("BEGIN; INSERT INTO p1 VALUES (1, '9.9.9.9'); ALTER TABLE root ATTACH PARTITION p1 FOR VALUES IN (1); COMMIT");
            db.sql("INSERT INTO root VALUES (1, '9.9.9.9')");
            db.sql("SELECT populate_ip_inventory('root')");
            let counts = [format!("8.8.8.8|{turn}"), format!("9.9.9.9|{}", 11 + 3 * turn)];
            assert_eq!(db.counts(), counts, "{method}, turn {turn}");
            assert_eq!(db.value("SELECT populate_ip_inventory('root')"), "0", "{method}, turn {turn}");
            assert_eq!(db.lines(PARTITIONS), ["ok||"], "{method}, turn {turn}");
        }
    }
}

/// All leaves of a tree are noted at once: there may be thousands.
#[test]
fn a_tree_that_left_and_came_back_counts_each_row_once() {
    for (method, noted) in [("trigger", "3|1"), ("row", "3|1"), ("index", "3|1")] {
        let db = Db::new();
        db.sql(&format!(
            "CREATE TABLE root (k int, ip inet) PARTITION BY LIST (k);
             CREATE TABLE sub PARTITION OF root FOR VALUES IN (1, 2, 3) PARTITION BY LIST (k);
             CREATE TABLE p1 PARTITION OF sub FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF sub FOR VALUES IN (2);
             CREATE TABLE p3 PARTITION OF sub FOR VALUES IN (3);
             SELECT attach_ip_source('root', '{{ip}}', method => '{method}');
             INSERT INTO root VALUES (1, '9.9.9.9'), (2, '9.9.9.9'); ALTER TABLE root DETACH PARTITION sub"
        ));
        let notes = "SELECT count(*), count(DISTINCT attached_snapshot) FROM ip_source_part";
        assert_eq!(db.lines(notes), [noted], "{method}");
        db.sql("INSERT INTO sub VALUES (1, '9.9.9.9'), (2, '9.9.9.9'), (3, '9.9.9.9')");
        db.sql("ALTER TABLE root ATTACH PARTITION sub FOR VALUES IN (1, 2, 3); INSERT INTO root VALUES (3, '9.9.9.9')");
        db.sql("SELECT populate_ip_inventory('root')");
        assert_eq!(db.counts(), ["9.9.9.9|6"], "{method}");
        assert_eq!(db.value("SELECT populate_ip_inventory('root')"), "0", "{method}");
        assert_eq!(db.lines(PARTITIONS), ["ok||"], "{method}");
    }
}

/// The same of a tree that comes with rows.
#[test]
fn a_tree_that_comes_with_rows_is_noted_at_once() {
    for method in ["trigger", "row", "index"] {
        let db = Db::new();
        db.sql(&format!(
            "CREATE TABLE root (k int, ip inet) PARTITION BY LIST (k); SELECT attach_ip_source('root', '{{ip}}', method => '{method}');
             CREATE TABLE sub (k int, ip inet) PARTITION BY LIST (k);
             CREATE TABLE p1 PARTITION OF sub FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF sub FOR VALUES IN (2);
             CREATE TABLE p3 PARTITION OF sub FOR VALUES IN (3); INSERT INTO sub VALUES (1, '9.9.9.9'), (2, '9.9.9.9');
             ALTER TABLE root ATTACH PARTITION sub FOR VALUES IN (1, 2, 3); INSERT INTO root VALUES (1, '9.9.9.9')"
        ));
        let notes =
            "SELECT string_agg(tbl::text, ' ' ORDER BY tbl), count(DISTINCT attached_snapshot) FROM ip_source_part";
        assert_eq!(db.lines(notes), ["p1 p2|1"], "{method}");
        assert_eq!(db.value("SELECT populate_ip_inventory('root')"), "2", "{method}");
        assert_eq!(db.counts(), ["9.9.9.9|3"], "{method}");
    }
}

/// The statement goes through.
#[test]
fn rows_of_a_table_that_could_not_be_noted_when_it_left_are_named() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE parent (ip inet); CREATE TABLE child () INHERITS (parent); CREATE TABLE grandchild () INHERITS (child);
         SELECT attach_ip_source('parent', '{ip}', method => 'index'); CREATE TABLE other () INHERITS (parent);
         INSERT INTO child VALUES ('9.9.9.9'); INSERT INTO grandchild VALUES ('9.9.9.9')",
    );
    let mut writer = db.connect();
    run(&mut writer, "BEGIN; INSERT INTO grandchild VALUES ('9.9.9.9')");
    let (mut session, notices) = db.connect_with_notices();
    run(&mut session, "ALTER TABLE child NO INHERIT parent");
    assert_eq!(notices.all(), ["WARNING: the rows of \"grandchild\" could not be noted"]);
    run(&mut writer, "COMMIT");
    assert_eq!(db.lines("SELECT tbl FROM ip_source_part ORDER BY tbl::text"), ["child", "other"]);
    run(&mut writer, "BEGIN; LOCK ip_source");
    run(&mut session, "SET lock_timeout = '50ms'");
    run(&mut session, "ALTER TABLE other NO INHERIT parent");
    assert_eq!(notices.all()[1..], ["WARNING: tables that have left an attached one could not be noted"]);
    run(&mut writer, "COMMIT");
    assert_eq!(db.value("SELECT count(*) FROM pg_inherits WHERE inhparent = 'parent'::regclass"), "0");
}

/// PostgreSQL 15 does not say which partition it has detached.
#[test]
fn of_several_partitions_each_one_that_left_is_known() {
    for method in ["row", "index"] {
        let db = Db::new();
        db.sql(&format!(
            "CREATE TABLE root (k int, ip inet) PARTITION BY LIST (k); CREATE SCHEMA s;
             CREATE TABLE p1 PARTITION OF root FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF root FOR VALUES IN (2);
             CREATE TABLE s.p1 PARTITION OF root FOR VALUES IN (3);
             SELECT attach_ip_source('root', '{{ip}}', method => '{method}');
             INSERT INTO root SELECT k, '9.9.9.9' FROM generate_series(1, 3) k, generate_series(1, 5)"
        ));
        assert_eq!(db.counts(), ["9.9.9.9|15"], "{method}");
        db.sql(
            "BEGIN; ALTER TABLE root DETACH PARTITION p1; ALTER TABLE root ATTACH PARTITION p1 FOR VALUES IN (1);
             ALTER TABLE root DETACH PARTITION s.p1; ALTER TABLE root DETACH PARTITION p1; COMMIT",
        );
        db.sql("ALTER TABLE root DETACH PARTITION p2 CONCURRENTLY");
        db.sql("INSERT INTO p1 VALUES (1, '9.9.9.9'); INSERT INTO p2 VALUES (2, '9.9.9.9'); INSERT INTO s.p1 VALUES (3, '9.9.9.9')");
        for (partition, key) in [("p1", 1), ("p2", 2), ("s.p1", 3)] {
            db.sql(&format!("ALTER TABLE root ATTACH PARTITION {partition} FOR VALUES IN ({key})"));
        }
        db.sql("INSERT INTO root SELECT k, '9.9.9.9' FROM generate_series(1, 3) k");
        assert_eq!(db.counts(), ["9.9.9.9|18"], "{method}");
        assert_eq!(db.value("SELECT populate_ip_inventory('root')"), "3", "{method}");
        assert_eq!(db.counts(), ["9.9.9.9|21"], "{method}");
        assert_eq!(db.lines(PARTITIONS), ["ok||"], "{method}");
    }
}

/// Below a table that is not attached, nobody counts its rows.
#[test]
fn a_table_that_was_below_another_one_meanwhile_counts_each_row_once() {
    let partition = |method: &str| {
        let tables = "CREATE TABLE root (k int, ip inet) PARTITION BY LIST (k); CREATE TABLE part PARTITION OF root FOR VALUES IN (1);
             CREATE TABLE other (k int, ip inet) PARTITION BY LIST (k)";
        let (leave, come) = ("DETACH PARTITION part", "ATTACH PARTITION part FOR VALUES IN (1)");
        let alter = |table: &str, what: &str| format!("ALTER TABLE {table} {what}");
        let moves = [("root", leave), ("other", come), ("other", leave), ("root", come)]
            .map(|(table, what)| alter(table, what));
        (method.to_owned(), tables.to_owned(), moves)
    };
    let tables =
        "CREATE TABLE root (k int, ip inet); CREATE TABLE part () INHERITS (root); CREATE TABLE other (k int, ip inet)";
    let moves = ["NO INHERIT root", "INHERIT other", "NO INHERIT other", "INHERIT root"];
    let child = ("index".to_owned(), tables.to_owned(), moves.map(|what| format!("ALTER TABLE part {what}")));
    for (method, tables, moves) in [partition("row"), partition("index"), child] {
        let db = Db::new();
        db.sql(&format!(
            "{tables}; SELECT attach_ip_source('root', '{{ip}}', method => '{method}'); INSERT INTO part VALUES (1, '9.9.9.9')"
        ));
        assert_eq!(db.counts(), ["9.9.9.9|1"], "{method}: {tables}");
        let [leave, come, leave_other, come_back] = moves;
        db.sql(&leave);
        db.sql(&come);
        db.sql("INSERT INTO part VALUES (1, '9.9.9.9'), (1, '9.9.9.9')");
        db.sql(&leave_other);
        db.sql(&come_back);
        db.sql("INSERT INTO part VALUES (1, '9.9.9.9')");
        assert_eq!(db.counts(), ["9.9.9.9|2"], "{method}: {tables}");
        assert_eq!(db.value("SELECT populate_ip_inventory('root')"), "2", "{method}: {tables}");
        assert_eq!(db.counts(), ["9.9.9.9|4"], "{method}: {tables}");
    }
}

#[test]
fn a_child_that_left_and_came_back_counts_each_row_once() {
    for method in ["trigger", "row", "index"] {
        let db = Db::new();
        db.sql(&format!(
            "CREATE TABLE parent (ip inet); CREATE TABLE child () INHERITS (parent);
             SELECT attach_ip_source('parent', '{{ip}}', method => '{method}');
             INSERT INTO child SELECT '9.9.9.9' FROM generate_series(1, 5)"
        ));
        assert_eq!(db.counts(), ["9.9.9.9|5"], "{method}");
        db.sql("ALTER TABLE child NO INHERIT parent; INSERT INTO child VALUES ('9.9.9.9'); ALTER TABLE child INHERIT parent; INSERT INTO child VALUES ('9.9.9.9')");
        db.sql("SELECT populate_ip_inventory('parent')");
        assert_eq!(db.counts(), ["9.9.9.9|7"], "{method}");
    }
}

/// Whichever was attached first, and however the one came below the other.
#[test]
fn a_partition_attached_by_itself_counts_its_rows_itself() {
    for later in [false, true] {
        let db = Db::new();
        db.sql(
            "CREATE TABLE root (k int, ip inet) PARTITION BY LIST (k); CREATE TABLE p0 PARTITION OF root FOR VALUES IN (0);
             INSERT INTO root VALUES (0, '8.8.8.8'); CREATE TABLE p1 (k int, ip inet)",
        );
        let below = "ALTER TABLE root ATTACH PARTITION p1 FOR VALUES IN (1)";
        let attach = "SELECT attach_ip_source('root', '{ip}')";
        if !later {
            db.sql(below);
        }
        db.sql("SELECT attach_ip_source('p1', '{ip}'); INSERT INTO p1 SELECT 1, '8.8.8.8' FROM generate_series(1, 10)");
        db.sql(attach);
        if later {
            db.sql(below);
        }
        assert_eq!(db.value("SELECT populate_ip_inventory('root')"), "1", "{later}");
        assert_eq!(db.counts(), ["8.8.8.8|11"], "{later}");
        assert_eq!(db.sources(), ["p1|10|0", "root|1|0"], "{later}");
        assert_eq!(db.lines(PARTITIONS), ["ok||"], "{later}");
        // Of the table above, only its own is taken back: also where its rows alone say what that is.
        for complete in [true, false] {
            if !complete {
                db.sql("SELECT attach_ip_source('root', '{ip}'); SELECT populate_ip_inventory('root')");
                db.settle();
                db.sql("DELETE FROM ip_sighting");
            }
            assert_eq!(db.value("SELECT forget_ip_source('root')"), "1", "{later}, {complete}");
            assert_eq!(db.counts(), ["8.8.8.8|10"], "{later}, {complete}");
        }
    }
}

#[test]
fn a_partition_attached_by_itself_keeps_its_trigger() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE root (k int, ip inet, src inet) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF root FOR VALUES IN (1);
         SELECT attach_ip_source('p1', '{src}'); SELECT attach_ip_source('root', '{ip}')",
    );
    let row = "INSERT INTO p1 VALUES (1, '8.8.8.8', '1.1.1.1')";
    db.sql(row);
    assert_eq!(db.counts(), ["1.1.1.1|1"], "its own column");
    db.sql("SELECT detach_ip_source('root')");
    db.sql(row);
    assert_eq!(db.counts(), ["1.1.1.1|2"]);
    db.sql("SELECT attach_ip_source('root', '{ip}'); SELECT forget_ip_source('root')");
    db.sql(row);
    assert_eq!(db.counts(), ["1.1.1.1|3"]);
    // Detached, it is a partition as any other, and what it had is not counted again.
    db.sql("SELECT attach_ip_source('root', '{src}'); SELECT detach_ip_source('p1')");
    db.sql(row);
    assert_eq!(db.value("SELECT populate_ip_inventory('root')"), "0");
    assert_eq!(db.counts(), ["1.1.1.1|4"]);
    assert_eq!(db.sources(), ["root|1|0"]);
    assert_eq!(db.complaints(&["triggers"]), [""; 0]);
}

#[test]
fn a_row_trigger_is_alone_in_its_family() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE root (k int, ip inet) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF root FOR VALUES IN (1);
         SELECT attach_ip_source('root', '{ip}', method => 'row')",
    );
    let above = "\"p1\" is observed with the table above it";
    for call in
        ["attach_ip_source('p1', '{ip}')", "attach_ip_source('p1', '{ip}', method => 'row')", "detach_ip_source('p1')"]
    {
        let refused = db.fails(&format!("SELECT {call}"));
        assert_eq!((refused.code.as_str(), refused.message.as_str()), ("55000", above), "{call}");
    }
    db.sql("INSERT INTO root VALUES (1, '8.8.8.8')");
    assert_eq!(db.counts(), ["8.8.8.8|1"]);
    // Below a trigger that reads statements, each row that is routed would count for both.
    db.sql("SELECT attach_ip_source('root', '{ip}')");
    assert_eq!(db.fails("SELECT attach_ip_source('p1', '{ip}', method => 'row')").message, above);
    // The other way round.
    db.sql("SELECT detach_ip_source('root'); SELECT attach_ip_source('p1', '{ip}', method => 'row')");
    for method in ["trigger", "row", "index"] {
        let refused = db.fails(&format!("SELECT attach_ip_source('root', '{{ip}}', method => '{method}')"));
        assert_eq!(refused.message, "\"p1\" is attached by itself, and stands below \"root\"", "{method}");
    }
    db.sql("INSERT INTO root VALUES (1, '8.8.8.8')");
    assert_eq!(db.counts(), ["8.8.8.8|2"]);
    db.sql("SELECT detach_ip_source('p1')");
    assert_eq!(db.value("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'asn_inventory_observe%'"), "0");
}
