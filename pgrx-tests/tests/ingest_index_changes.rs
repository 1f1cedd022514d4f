//! What happens to indexes that observe: built concurrently, put below another one, made anew for another type, dropped with the
//! extension.

use crate::ingest_support::{Db, run};

/// Rows that come while an index is made concurrently are seen by nobody. What a refused attempt leaves must not help the next.
#[test]
fn no_first_index_of_a_table_is_made_concurrently_not_at_the_second_try_either() {
    let db = Db::new();
    db.sql("CREATE TABLE e (src inet)");
    let create = "CREATE INDEX CONCURRENTLY ON e USING ip_observer (src)";
    let left = "DROP INDEX public.e_src_idx, public.e_src_idx1, public.e_src_idx_ccnew";
    for (statement, remedy) in [
        (create, "DROP INDEX public.e_src_idx,"),
        (create, "DROP INDEX public.e_src_idx, public.e_src_idx1,"),
        ("REINDEX INDEX CONCURRENTLY e_src_idx", left),
    ] {
        let failure = db.fails(statement);
        assert_eq!(failure.message, "\"e\" cannot be observed by an index that is created concurrently");
        assert!(failure.hint.contains(remedy), "{statement}: {failure:?}");
    }
    db.sql(left);
    assert_eq!(db.value("SELECT count(*) FROM ip_source"), "0");
    // Beside one that is valid, rows are seen.
    db.sql("CREATE INDEX ON e USING ip_observer (src); INSERT INTO e VALUES ('3.133.0.1')");
    db.sql("REINDEX INDEX CONCURRENTLY e_src_idx");
    db.sql("INSERT INTO e VALUES ('3.133.0.1')");
    assert_eq!(db.counts(), ["3.133.0.1|2"]);
    assert_eq!(db.value("SELECT count(*) FROM pg_index WHERE indrelid = 'e'::regclass AND indisvalid"), "1");
}

/// Nothing of the partition itself changes then, so a session keeps what it knows of that.
#[test]
fn a_row_counts_once_when_its_index_comes_to_belong_to_one_above() {
    for method in ["trigger", "row"] {
        let db = Db::new();
        db.sql(&format!(
            "CREATE TABLE r (ip inet, k int) PARTITION BY LIST (k); CREATE TABLE p PARTITION OF r FOR VALUES IN (1);
             SELECT attach_ip_source('p', '{{ip}}', method => '{method}')"
        ));
        let mut session = db.connect();
        for (nth, step) in [
            "SELECT",
            "CREATE INDEX r_ip_idx ON ONLY r USING ip_observer (ip)",
            "CREATE INDEX p_ip_idx ON p USING ip_observer (ip)",
            "ALTER INDEX r_ip_idx ATTACH PARTITION p_ip_idx",
            "DROP INDEX r_ip_idx",
        ]
        .into_iter()
        .enumerate()
        {
            db.sql(step);
            run(&mut session, "INSERT INTO p VALUES ('3.133.1.1', 1)");
            assert_eq!(db.counts(), [format!("3.133.1.1|{}", nth + 1)], "{method}, {step}");
        }
    }
}

/// An index whose content may stay is not built when its column gets another type, but it is another index.
#[test]
fn drop_extension_takes_an_index_along_whose_column_got_another_type() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (src varchar(20)); SELECT attach_ip_source('e', '{src}', method => 'index');
         CREATE TABLE r (src varchar(20), k int) PARTITION BY LIST (k); CREATE TABLE p PARTITION OF r DEFAULT;
         SELECT attach_ip_source('r', '{src}', method => 'index')",
    );
    let indexes = || {
        db.lines(
            "SELECT indexrelid, EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = indexrelid AND deptype = 'x')
             FROM pg_index WHERE indrelid IN ('e'::regclass, 'r'::regclass, 'p'::regclass)",
        )
    };
    let before = indexes();
    assert_eq!(before.iter().filter(|index| index.ends_with("|t")).count(), 3, "{before:?}");
    db.sql("ALTER TABLE e ALTER src TYPE varchar(50), ADD note text; ALTER TABLE r ALTER src TYPE varchar(50)");
    let after = indexes();
    assert!(after.iter().all(|index| index.ends_with("|t") && !before.contains(index)), "{before:?}, {after:?}");
    db.sql("INSERT INTO e VALUES ('3.133.2.1'); INSERT INTO r VALUES ('3.133.2.1', 1)");
    assert_eq!(db.counts(), ["3.133.2.1|2"]);
    db.sql("DROP EXTENSION asn_inventory");
    db.sql("INSERT INTO e VALUES ('3.133.2.1'); INSERT INTO r VALUES ('3.133.2.1', 1)");
}

#[test]
fn rows_and_drop_extension_in_one_transaction_warn_of_nothing() {
    for method in ["trigger", "row", "index"] {
        let db = Db::new();
        db.sql(&format!("CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{{ip}}', method => '{method}')"));
        let (mut session, notices) = db.connect_with_notices();
        run(&mut session, "BEGIN; INSERT INTO e VALUES ('3.133.3.1'); DROP EXTENSION asn_inventory; COMMIT");
        assert_eq!(notices.all(), [""; 0], "{method}");
        assert_eq!(db.value("SELECT count(*) FROM e"), "1", "{method}");
    }
}
