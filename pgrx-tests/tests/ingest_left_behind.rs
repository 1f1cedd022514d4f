//! What a partition that leaves an attached table takes along: rows that this transaction has inserted, and an index that observes.

use crate::ingest_support::Db;

/// A partitioned table with one partition, attached.
fn with_partition(method: &str) -> Db {
    let db = Db::new();
    db.sql(&format!(
        "CREATE TABLE e (id int, src inet, peer inet) PARTITION BY LIST (id); CREATE TABLE e1 PARTITION OF e FOR VALUES IN (1);
         SELECT attach_ip_source('e', '{{src}}', method => '{method}')"
    ));
    db
}

#[test]
fn rows_of_the_transaction_that_detaches_their_partition_count_for_the_table_that_it_leaves() {
    for method in ["trigger", "row", "index"] {
        for (end, commit) in [("COMMIT", ""), ("PREPARE TRANSACTION 'leaves'", "COMMIT PREPARED 'leaves'")] {
            let db = with_partition(method);
            db.sql(&format!(
                "BEGIN; INSERT INTO e VALUES (1, '6.0.0.1'); INSERT INTO e1 VALUES (1, '6.0.0.1'); ALTER TABLE e DETACH PARTITION e1; {end}"
            ));
            if !commit.is_empty() {
                db.sql(commit);
            }
            assert_eq!(db.counts(), ["6.0.0.1|2"], "{method}, {end}");
            assert_eq!(
                db.value("SELECT observations FROM ip_source WHERE tbl = 'e'::regclass"),
                "2",
                "{method}, {end}"
            );
            assert_eq!(db.value("SELECT forget_ip_source('e')"), "2", "{method}, {end}");
            db.sql(&format!("SELECT attach_ip_source('e', '{{src}}', method => '{method}')"));
            db.sql("ALTER TABLE e ATTACH PARTITION e1 FOR VALUES IN (1)");
            db.sql("SELECT populate_ip_inventory('e')");
            assert_eq!(db.counts(), ["6.0.0.1|2"], "{method}, {end}");
        }
    }
}

#[test]
fn rows_that_a_transaction_inserts_after_it_has_detached_their_partition_do_not_count_for_the_table() {
    let partition = (
        "CREATE TABLE e (id int, src inet) PARTITION BY LIST (id); CREATE TABLE e1 PARTITION OF e FOR VALUES IN (1)",
        "ALTER TABLE e DETACH PARTITION e1",
    );
    let child = ("CREATE TABLE e (id int, src inet); CREATE TABLE e1 () INHERITS (e)", "ALTER TABLE e1 NO INHERIT e");
    for (tables, leave) in [partition, child] {
        for (begin, end) in
            [("", "COMMIT"), ("SAVEPOINT s;", "COMMIT"), ("", "PREPARE TRANSACTION 'left'; COMMIT PREPARED 'left'")]
        {
            let db = Db::new();
            let what = format!("{leave}, {begin} {end}");
            let insert = "INSERT INTO e1 VALUES (1, '6.0.0.1'), (1, '6.0.0.1')";
            db.sql(&format!("{tables}; SELECT attach_ip_source('e', '{{src}}')"));
            let mut session = db.connect();
            for statement in ["BEGIN", begin, insert, leave, insert].into_iter().chain(end.split("; ")) {
                session.batch_execute(statement).unwrap_or_else(|error| panic!("{what}: {statement}: {error}"));
            }
            db.sql(insert);
            assert_eq!(db.counts(), ["6.0.0.1|6"], "{what}");
            assert_eq!(db.value("SELECT observations FROM ip_source WHERE tbl = 'e'::regclass"), "2", "{what}");
            assert_eq!(db.value("SELECT forget_ip_source('e')"), "2", "{what}");
            db.sql("SELECT attach_ip_source('e1', '{src}')");
            db.sql("SELECT populate_ip_inventory('e1')");
            assert_eq!(db.counts(), ["6.0.0.1|6"], "{what}");
        }
    }
}

#[test]
fn a_partition_that_comes_back_is_observed_by_the_index_of_the_table_alone() {
    for sub in [false, true] {
        let db = Db::new();
        db.sql("CREATE TABLE e (id int, src inet, peer inet) PARTITION BY LIST (id)");
        db.sql(match sub {
            false => "CREATE TABLE e1 PARTITION OF e FOR VALUES IN (1)",
            true => "CREATE TABLE e1 PARTITION OF e FOR VALUES IN (1) PARTITION BY LIST (id); CREATE TABLE e11 PARTITION OF e1 DEFAULT",
        });
        db.sql("SELECT attach_ip_source('e', '{src}', method => 'index')");
        db.sql("ALTER TABLE e DETACH PARTITION e1");
        db.sql("SELECT attach_ip_source('e', '{src,peer}', method => 'index')");
        db.sql("ALTER TABLE e ATTACH PARTITION e1 FOR VALUES IN (1)");
        db.sql("INSERT INTO e VALUES (1, '6.0.0.1', '6.0.0.2')");
        assert_eq!(db.counts(), ["6.0.0.1|1", "6.0.0.2|1"], "{sub}");
        assert_eq!(db.complaints(&["observer indexes", "triggers", "partitions"]), [""; 0], "{sub}");
        // One that the user has made there stays, and the doctor says which can be dropped.
        let leaf = if sub { "e11" } else { "e1" };
        db.sql(&format!("CREATE INDEX extra ON {leaf} USING ip_observer (peer)"));
        let remedy = "SELECT remedy FROM enrichment_doctor() WHERE check_name = 'observer indexes' AND level = 'error'";
        assert_eq!(db.value(remedy), "DROP INDEX public.extra;  -- or let one read what both do", "{sub}");
    }
}

#[test]
fn a_generated_column_is_not_read_by_a_trigger_where_postgresql_shows_it_too_early() {
    let db = Db::new();
    let other = "CREATE TABLE b (junk int, k int, src text, gen inet GENERATED ALWAYS AS (src::inet) STORED); ALTER TABLE b DROP COLUMN junk";
    db.sql(&format!(
        "CREATE TABLE p (k int, src text, gen inet GENERATED ALWAYS AS (src::inet) STORED) PARTITION BY LIST (k);
         CREATE TABLE a PARTITION OF p FOR VALUES IN (1); {other}; SELECT attach_ip_source('p', '{{gen}}')"
    ));
    db.sql("INSERT INTO p (k, src) VALUES (1, '6.0.0.1')");
    assert_eq!(db.counts(), ["6.0.0.1|1"], "with the same columns it is computed");
    // A partition that comes later is the doctor's to name.
    db.sql("ALTER TABLE p ATTACH PARTITION b FOR VALUES IN (2)");
    let said = "SELECT detail FROM enrichment_doctor() WHERE check_name = 'columns' AND level = 'error'";
    assert_eq!(
        db.value(said),
        "Rows that are routed to public.b are shown to the trigger of public.p before its generated column gen is computed: they are observed without it."
    );
    let refused = db.fails("SELECT attach_ip_source('p', '{src}', only_where => 'gen = 6.0.0.1')");
    assert_eq!(refused.message, "generated column \"gen\" of \"p\" cannot be observed by a trigger");
    assert_eq!(refused.code, "0A000");
    // Its command mends it.
    db.sql(&db.value("SELECT remedy FROM enrichment_doctor() WHERE check_name = 'columns' AND level = 'error'"));
    db.sql("INSERT INTO p (k, src) VALUES (2, '6.0.0.2'), (1, '6.0.0.1')");
    assert_eq!(db.counts(), ["6.0.0.1|2", "6.0.0.2|1"]);
    assert_eq!(db.complaints(&["columns"]), [""; 0]);
    // By what it is computed from, a trigger reads all.
    db.sql("SELECT attach_ip_source('p', '{src}')");
    db.sql("INSERT INTO p (k, src) VALUES (2, '6.0.0.2')");
    assert_eq!(db.counts(), ["6.0.0.1|2", "6.0.0.2|2"]);
}
