//! Two indexes that observe one table: a row counts once for those that read the same of it, and for each of those that do not, whatever
//! their columns are called.

use crate::ingest_support::{Db, INDEXES};

/// PostgreSQL gives the column of each the same name.
#[test]
fn indexes_on_different_expressions_count_each() {
    let db = Db::new();
    let both = |id: i32| {
        db.sql(&format!("INSERT INTO j VALUES ({id}, '{{\"a\": \"3.135.0.1\", \"b\": \"3.135.0.2\"}}')"));
        db.counts()
    };
    db.sql(
        "CREATE TABLE j (id int, payload jsonb);
         CREATE INDEX one ON j USING ip_observer (((payload->>'a')::inet));
         CREATE INDEX two ON j USING ip_observer (((payload->>'b')::inet)) WHERE id > 0",
    );
    assert_eq!(both(1), ["3.135.0.1|1", "3.135.0.2|1"]);
    assert_eq!(both(0), ["3.135.0.1|2", "3.135.0.2|1"], "the second is partial");
    // One name is all that ip_source has of both.
    assert_eq!(db.value("SELECT ip_columns FROM ip_source"), "{inet}");
    let alike = |one: &str, other: &str| {
        format!(
            "warning: public.{one} and public.{other} read different values by one name, which ip_source lists once: inet. Both are counted; no check says when one of them is gone."
        )
    };
    assert_eq!(db.complaints(&INDEXES), [alike("one", "two")]);
    // The same expression is the same, in another statement and in a copy of the index as well.
    db.sql("CREATE  INDEX  three  ON  j  USING  ip_observer  (((payload->>'a')::inet)); REINDEX INDEX one");
    db.sql("REINDEX INDEX CONCURRENTLY two");
    assert_eq!(both(2), ["3.135.0.1|3", "3.135.0.2|2"]);
    // Rebuilt like that, the second is the youngest.
    assert_eq!(db.complaints(&INDEXES), [alike("one", "two"), alike("three", "two")]);
    // As the remedy says: one that reads both.
    db.sql(
        "BEGIN; CREATE INDEX pair ON j USING ip_observer (((payload->>'a')::inet), ((payload->>'b')::inet));
         DROP INDEX one, two, three; COMMIT",
    );
    assert_eq!(both(0), ["3.135.0.1|4", "3.135.0.2|3"]);
    assert_eq!(db.value("SELECT ip_columns FROM ip_source"), "{inet,inet1}");
    assert_eq!(db.complaints(&INDEXES), [""; 0]);
    // One of these in another: no name says so.
    db.sql("CREATE INDEX twice ON j USING ip_observer (((payload->>'b')::inet))");
    let said = db.complaints(&INDEXES);
    assert!(said[0].starts_with("error: public.pair and public.twice read the same, each for itself"), "{said:?}");
}

#[test]
fn a_column_with_the_name_that_another_one_had_counts_for_itself() {
    let db = Db::new();
    let row = || {
        db.sql("INSERT INTO e VALUES ('3.135.1.1', '3.135.1.2')");
        db.counts()
    };
    db.sql(
        "CREATE TABLE e (a inet); CREATE INDEX one ON e USING ip_observer (a); ALTER TABLE e RENAME a TO a_old;
         ALTER TABLE e ADD a inet; CREATE INDEX two ON e USING ip_observer (a)",
    );
    assert_eq!(row(), ["3.135.1.1|1", "3.135.1.2|1"]);
    // By another name, the same column.
    db.sql("CREATE INDEX three ON e USING ip_observer (a_old)");
    assert_eq!(row(), ["3.135.1.1|2", "3.135.1.2|2"]);
    // Attached by a name, the table keeps no index that reads what had this name before.
    db.sql("SELECT attach_ip_source('e', '{a}', method => 'index')");
    assert_eq!(row(), ["3.135.1.1|2", "3.135.1.2|3"]);
    assert_eq!(db.complaints(&INDEXES), [""; 0]);
}

/// What an index has by the one of the table above, and what it has of its own, are compared by the partition's own columns.
#[test]
fn a_partition_whose_columns_stand_elsewhere_counts_each_row_once() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE r (k int, gone int, a inet, p jsonb) PARTITION BY LIST (k); ALTER TABLE r DROP gone;
         CREATE INDEX r_a ON r USING ip_observer (a); CREATE INDEX r_x ON r USING ip_observer (((p->>'x')::inet));
         CREATE INDEX r_y ON r USING ip_observer (((p->>'y')::inet));
         CREATE TABLE r1 (p jsonb, a inet, k int); ALTER TABLE r ATTACH PARTITION r1 FOR VALUES IN (1);
         CREATE INDEX r1_own ON r1 USING ip_observer (a); CREATE INDEX r1_own_x ON r1 USING ip_observer (((p->>'x')::inet));
         INSERT INTO r VALUES (1, '3.135.2.1', '{\"x\": \"3.135.2.2\", \"y\": \"3.135.2.3\"}')",
    );
    assert_eq!(db.counts(), ["3.135.2.1|1", "3.135.2.2|1", "3.135.2.3|1"]);
    let twice = |said: &String| said.contains("counted twice");
    assert!(!db.complaints(&INDEXES).iter().any(twice), "{:?}", db.complaints(&INDEXES));
}

/// Of two that read one column, the second for some rows only, the rows of both count for each.
#[test]
fn the_doctor_compares_more_than_names() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (ip inet, kind text); CREATE INDEX one ON e USING ip_observer (ip);
         CREATE INDEX two ON e USING ip_observer (ip) INCLUDE (kind) WITH (only_where = 'kind = x');
         INSERT INTO e VALUES ('3.135.3.1', 'x'), ('3.135.3.1', 'y')",
    );
    assert_eq!(db.counts(), ["3.135.3.1|3"]);
    let said = db.complaints(&INDEXES);
    let twice =
        "error: public.one and public.two read the same, each for itself: rows that both observe are counted twice.";
    assert!(said.iter().any(|said| said == twice), "{said:?}");
}

/// Of two that read the same, the one that reads no more than the other is to be dropped.
#[test]
fn the_doctor_drops_nothing_that_no_other_index_reads() {
    let db = Db::new();
    db.sql("CREATE TABLE e (src text, b inet, kind text)");
    for (one, two, remedy) in [
        ("(lower(src))", "(lower(src), b)", "DROP INDEX public.one;  -- or let one read what both do"),
        ("(lower(src), b)", "(lower(src))", "DROP INDEX public.two;  -- or let one read what both do"),
        (
            "(src) INCLUDE (kind) WITH (only_where = 'kind = x')",
            "(src) INCLUDE (kind) WITH (only_where = 'kind = y')",
            "-- let one read what both do: CREATE INDEX ON public.e USING ip_observer (…), and drop public.one and public.two",
        ),
    ] {
        db.sql(&format!(
            "CREATE INDEX one ON e USING ip_observer {one}; CREATE INDEX two ON e USING ip_observer {two}"
        ));
        let said = "SELECT remedy FROM enrichment_doctor() WHERE check_name = 'observer indexes' AND detail LIKE '%counted twice.'";
        assert_eq!(db.lines(said), [remedy], "{one} {two}");
        db.sql("DROP INDEX one, two; SELECT detach_ip_source('e')");
    }
}

/// A partition that is attached by itself reads something else than the table above, and so do those below it.
#[test]
fn indexes_below_a_partition_that_is_attached_by_itself_are_its_own() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE r (k int, payload jsonb) PARTITION BY LIST (k); CREATE TABLE r2 PARTITION OF r FOR VALUES IN (2);
         CREATE TABLE p (k int, payload jsonb) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF p DEFAULT;
         SELECT attach_ip_source('r', '{payload->>a}', method => 'index'), attach_ip_source('p', '{payload->>b}', method => 'index')",
    );
    db.sql("ALTER TABLE r ATTACH PARTITION p FOR VALUES IN (1)");
    db.sql("INSERT INTO r SELECT k, '{\"a\": \"3.135.4.1\", \"b\": \"3.135.4.2\"}' FROM generate_series(1, 2) k");
    assert_eq!(db.counts(), ["3.135.4.1|1", "3.135.4.2|1"]);
    assert_eq!(db.complaints(&INDEXES), [""; 0]);
}
