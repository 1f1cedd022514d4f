//! What happens to indexes that observe: built concurrently, put below another one, made anew for another type, dropped with the
//! extension; and what is no new row.

use asn_inventory_tests::cluster::query;
use asn_inventory_tests::needs;
use asn_inventory_tests::prelude::*;

use crate::citus_support::{DB, node};
use crate::ingest_support::{Db, INDEXES, cluster, refused, run};

/// Rows that come while an index is made concurrently are seen by nobody. A refused attempt leaves nothing; what a failed one has
/// left must not help the next.
#[test]
fn no_first_index_of_a_table_is_made_concurrently_not_at_the_second_try_either() {
    let db = Db::new();
    db.sql("CREATE TABLE e (src inet)");
    let create = "CREATE INDEX CONCURRENTLY ON e USING ip_observer (src)";
    let refused_with = |statement: &str, hint: &str| {
        let failure = db.fails(statement);
        assert_eq!(failure.message, "\"e\" cannot be observed by an index that is created concurrently");
        assert!(failure.hint.starts_with(hint), "{statement}: {failure:?}");
    };
    refused_with(create, "Run CREATE INDEX without CONCURRENTLY");
    assert_eq!(db.value("SELECT count(*) FROM pg_index WHERE indrelid = 'e'::regclass"), "0");
    // One that failed beside a valid one, which is gone.
    db.sql("CREATE INDEX valid ON e USING ip_observer (src)");
    let (mut holder, mut session) = (db.connect(), db.connect());
    run(&mut holder, "BEGIN; LOCK e IN ROW EXCLUSIVE MODE");
    run(&mut session, "SET lock_timeout = '50ms'");
    refused(&mut session, create);
    run(&mut holder, "COMMIT");
    db.sql("DROP INDEX valid; DELETE FROM ip_source");
    refused_with(create, "Run DROP INDEX public.e_src_idx, and CREATE INDEX");
    let left = "DROP INDEX public.e_src_idx, public.e_src_idx_ccnew";
    refused_with("REINDEX INDEX CONCURRENTLY e_src_idx", &format!("Run {left}, and"));
    db.sql(left);
    assert_eq!(db.value("SELECT count(*) FROM ip_source"), "0");
    // Beside one that is valid, rows are seen.
    db.sql("CREATE INDEX ON e USING ip_observer (src); INSERT INTO e VALUES ('3.133.0.1')");
    db.sql("REINDEX INDEX CONCURRENTLY e_src_idx");
    db.sql("INSERT INTO e VALUES ('3.133.0.1')");
    assert_eq!(db.counts(), ["3.133.0.1|2"]);
    assert_eq!(db.value("SELECT count(*) FROM pg_index WHERE indrelid = 'e'::regclass AND indisvalid"), "1");
}

#[test]
fn without_the_extension_there_is_no_such_access_method() {
    let db = Db::bare(cluster());
    db.sql("CREATE TABLE e (ip inet)");
    for how in ["", "CONCURRENTLY"] {
        let failure = db.fails(&format!("CREATE INDEX {how} ON e USING ip_observer (ip)"));
        assert_eq!(failure.message, "access method \"ip_observer\" does not exist", "{how}");
    }
}

/// Citus's refuses the index itself, but for one that PostgreSQL makes for a partition.
#[test]
fn a_partition_that_is_not_stored_as_a_heap_is_refused_an_index_and_observed_by_a_trigger() {
    let name = "a_partition_that_is_not_stored_as_a_heap_is_refused_an_index_and_observed_by_a_trigger";
    if !needs::has("citus_columnar", name) {
        return;
    }
    let node = node(&[]);
    node.sql(
        DB,
        "CREATE EXTENSION asn_inventory; CREATE EXTENSION citus_columnar; CREATE TABLE r (ip inet, k int) PARTITION BY LIST (k);
         CREATE TABLE p PARTITION OF r FOR VALUES IN (1) USING columnar",
    );
    for statement in
        ["SELECT attach_ip_source('r', '{ip}', method => 'index')", "CREATE INDEX ON r USING ip_observer (ip)"]
    {
        let failure = node.fails(DB, statement);
        let message = "\"p\" cannot be observed by an index: it is not stored as a heap";
        assert_eq!((failure.code.as_str(), failure.message.as_str()), ("0A000", message), "{statement}");
        assert_eq!(failure.hint, "Attach it with method => 'trigger'.", "{statement}");
    }
    node.sql(DB, "SELECT attach_ip_source('r', '{ip}', method => 'trigger'); INSERT INTO r VALUES ('3.134.8.1', 1)");
    node.wait_value(DB, "SELECT coalesce(sum(observation_count), 0) FROM ip_inventory", "1");
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

/// Beside a trigger an index counts nothing, and one that is not valid sees no row: their WHERE says nothing about earlier rows.
#[test]
fn an_index_that_counts_nothing_keeps_no_row_from_populate() {
    let db = Db::new();
    let rows = "(kind text, ip inet); INSERT INTO e VALUES ('login', '3.134.0.1'), ('other', '3.134.0.2'), (NULL, '3.134.0.3')";
    db.sql(&format!("CREATE TABLE e {rows}; SELECT attach_ip_source('e', '{{ip}}')"));
    db.sql("CREATE INDEX ON e USING ip_observer (ip) WHERE kind = 'login'");
    assert_eq!(db.value("SELECT populate_ip_inventory('e')"), "3", "beside a trigger");
    db.sql("SELECT detach_ip_source('e'); DROP TABLE e");
    db.sql(&format!("CREATE TABLE e {rows}; SELECT attach_ip_source('e', '{{ip}}')"));
    db.fails("CREATE INDEX CONCURRENTLY ON e USING ip_observer (ip) WHERE kind = 'login'");
    assert_eq!(db.value("SELECT populate_ip_inventory('e')"), "3", "beside one that was refused");
    assert_eq!(db.counts(), ["3.134.0.1|2", "3.134.0.2|2", "3.134.0.3|2"]);
    db.sql("SELECT detach_ip_source('e'); DROP TABLE e");
    db.sql(&format!("CREATE TABLE e {rows}; CREATE INDEX ON e USING ip_observer (ip) WHERE kind = 'login'"));
    assert_eq!(db.value("SELECT populate_ip_inventory('e')"), "1", "one that counts");
}

#[test]
fn what_a_failed_rebuilding_leaves_is_named_and_hides_no_row() {
    let db = Db::new();
    db.sql("CREATE TABLE e (ip inet); INSERT INTO e VALUES ('3.134.1.1'); SELECT attach_ip_source('e', '{ip}', method => 'index')");
    let (mut holder, mut session) = (db.connect(), db.connect());
    run(&mut holder, "BEGIN; LOCK e IN ROW EXCLUSIVE MODE");
    run(&mut session, "SET lock_timeout = '50ms'");
    refused(&mut session, "REINDEX INDEX CONCURRENTLY e_ip_idx");
    let left =
        "warning: public.e_ip_idx_ccnew is not valid: left by a CREATE INDEX or REINDEX CONCURRENTLY that failed.";
    assert_eq!(db.complaints(&INDEXES), [left]);
    let remedy = db.remedies(&INDEXES);
    assert_eq!(remedy, "DROP INDEX public.e_ip_idx_ccnew;");
    assert_eq!(db.value("SELECT populate_ip_inventory('e')"), "1");
    run(&mut holder, "COMMIT");
    db.sql(&remedy);
    run(&mut holder, "BEGIN; LOCK e IN ROW EXCLUSIVE MODE");
    // While one is at work, nothing is left over.
    let rebuilding = std::thread::spawn(move || {
        query(&mut session, "SET lock_timeout = 0")?;
        query(&mut session, "REINDEX INDEX CONCURRENTLY e_ip_idx")
    });
    db.wait("SELECT count(*) FROM pg_index WHERE indrelid = 'e'::regclass AND NOT indisvalid", "1");
    let during = db.complaints(&INDEXES);
    run(&mut holder, "COMMIT");
    rebuilding.join().expect("a session").expect("rebuilt");
    assert_eq!(during, [""; 0]);
    db.sql("INSERT INTO e VALUES ('3.134.1.1')");
    assert_eq!(db.counts(), ["3.134.1.1|2"]);
    assert_eq!(db.complaints(&INDEXES), [""; 0]);
}

#[test]
fn a_heap_by_another_name_is_a_heap() {
    let db = Db::new();
    db.sql(
        "CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler;
         CREATE TABLE e (id int PRIMARY KEY, ip inet) USING heap2; SELECT attach_ip_source('e', '{ip}', method => 'index');
         INSERT INTO e VALUES (1, '3.134.2.1');
         INSERT INTO e VALUES (1, '3.134.2.2'), (2, '3.134.2.1') ON CONFLICT (id) DO UPDATE SET ip = EXCLUDED.ip",
    );
    assert_eq!(db.counts(), ["3.134.2.1|2"]);
    assert_eq!(db.complaints(&INDEXES), [""; 0]);
}

/// A statement that inserts somewhere else as well.
#[test]
fn a_row_that_moves_is_not_new_beside_rows_of_another_table() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE m (id int, ip inet) PARTITION BY RANGE (id);
         CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (0) TO (10); CREATE TABLE m2 PARTITION OF m FOR VALUES FROM (10) TO (20);
         CREATE TABLE log (id int, ip inet); CREATE TABLE unseen (id int);
         SELECT attach_ip_source('m', '{ip}', method => 'index'), attach_ip_source('log', '{ip}', method => 'index');
         INSERT INTO m VALUES (1, '3.134.3.1'), (2, '3.134.3.2'), (3, '3.134.3.3')",
    );
    db.sql(
        "WITH u AS (UPDATE m SET id = 11 WHERE id = 1 RETURNING id) INSERT INTO log SELECT id, '3.134.3.9' FROM u;
         WITH put AS (INSERT INTO log VALUES (2, '3.134.3.9') RETURNING id) UPDATE m SET id = 12 FROM put WHERE m.id = put.id;
         WITH u AS (UPDATE m SET id = 13 WHERE id = 3 RETURNING id), put AS (INSERT INTO unseen SELECT id FROM u) SELECT 1;",
    );
    let wanted = ["3.134.3.1|1", "3.134.3.2|1", "3.134.3.3|1", "3.134.3.9|2"];
    assert_eq!(db.counts(), wanted);
    assert_eq!(db.value("SELECT count(*) FROM m2"), "3");
    // Rows that the statement inserts into the same family are new.
    db.sql("WITH u AS (UPDATE m SET ip = ip WHERE id = 11 RETURNING id) INSERT INTO m SELECT 4, '3.134.3.10' FROM u");
    db.sql("WITH u AS (UPDATE m SET ip = ip WHERE id = 11 RETURNING id) INSERT INTO m1 SELECT 5, '3.134.3.10' FROM u");
    assert_eq!(db.counts(), [&wanted[..], &["3.134.3.10|2"][..]].concat());
}

/// However many tables those are.
#[test]
fn a_row_that_moves_is_not_new_beside_rows_of_many_tables() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE m (id int, ip inet) PARTITION BY RANGE (id);
         CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (0) TO (10); CREATE TABLE m2 PARTITION OF m FOR VALUES FROM (10) TO (20);
         SELECT attach_ip_source('m', '{ip}', method => 'index'); INSERT INTO m VALUES (1, '3.134.7.1')",
    );
    let logs: Vec<String> = (0..6).map(|n| format!("log{n}")).collect();
    let made: String = logs.iter().map(|log| format!("CREATE TABLE {log} (id int);")).collect();
    let kept: String = logs.iter().map(|log| format!(", of_{log} AS (INSERT INTO {log} SELECT id FROM u)")).collect();
    db.sql(&made);
    db.sql(&format!("WITH u AS (UPDATE m SET id = 11 WHERE id = 1 RETURNING id){kept} SELECT 1"));
    assert_eq!(db.value("SELECT count(*) FROM m2"), "1");
    assert_eq!(db.counts(), ["3.134.7.1|1"]);
    // A row that the statement inserts into the same family is new.
    db.sql(&format!(
        "WITH u AS (UPDATE m SET ip = ip WHERE id = 11 RETURNING id){kept} INSERT INTO m SELECT 4, '3.134.7.2' FROM u"
    ));
    assert_eq!(db.counts(), ["3.134.7.1|1", "3.134.7.2|1"]);
}

/// The subscriber has the table in partitions, and the publisher does not: an UPDATE moves a row here alone.
#[test]
fn a_row_that_the_subscriber_moves_is_not_new() {
    let server = |table: &str| {
        let cluster = Cluster::builder()
            .conf("asn_inventory.absorb_interval", "20ms")
            .conf("wal_level", "logical")
            .conf("wal_retrieve_retry_interval", "100ms")
            .start();
        cluster.sql("postgres", &format!("CREATE TABLE e (id int PRIMARY KEY, ip inet) {table}"));
        cluster
    };
    let db = "postgres";
    let publisher = server("; CREATE PUBLICATION p FOR TABLE e; INSERT INTO e VALUES (1, '3.134.4.1')");
    let subscriber = server(
        "PARTITION BY RANGE (id); CREATE TABLE e1 PARTITION OF e FOR VALUES FROM (0) TO (10);
         CREATE TABLE e2 PARTITION OF e FOR VALUES FROM (10) TO (20); CREATE EXTENSION asn_inventory;
         CREATE INDEX ON e USING ip_observer (ip) WITH (replica = true)",
    );
    let host = publisher.socket_dir().to_string_lossy();
    subscriber.sql(
        db,
        &format!(
            "CREATE SUBSCRIPTION s CONNECTION 'host={host} port=5432 user=postgres dbname=postgres' PUBLICATION p"
        ),
    );
    let counts =
        "SELECT string_agg(host(ip_address) || ' ' || observation_count, ', ' ORDER BY ip_address) FROM ip_inventory";
    // What the first copy brings is new.
    subscriber.wait_value(db, counts, "3.134.4.1 1");
    publisher.sql(
        db,
        "INSERT INTO e VALUES (2, '3.134.4.2'); UPDATE e SET id = id + 10; UPDATE e SET ip = '3.134.4.3' WHERE id = 11",
    );
    publisher.sql(db, "INSERT INTO e VALUES (13, '3.134.4.4')");
    subscriber.wait_value(db, counts, "3.134.4.1 1, 3.134.4.2 1, 3.134.4.4 1");
    assert_eq!(subscriber.value(db, "SELECT count(*) FROM e2"), "3");
}

/// Each that `pg_stat_user_indexes` lists, as never scanned.
#[test]
fn each_index_says_what_it_is() {
    let db = Db::new();
    let silent = || {
        db.lines(
            "SELECT s.indexrelname FROM pg_stat_user_indexes s JOIN pg_class c ON c.oid = s.indexrelid JOIN pg_am a ON a.oid = c.relam
             WHERE amname = 'ip_observer' AND obj_description(c.oid, 'pg_class') IS NULL ORDER BY 1",
        )
    };
    db.sql(
        "CREATE TABLE r (ip varchar(20), k int) PARTITION BY LIST (k); CREATE TABLE r1 PARTITION OF r FOR VALUES IN (1);
         CREATE TABLE r2 PARTITION OF r FOR VALUES IN (2) PARTITION BY LIST (k); CREATE TABLE r2a PARTITION OF r2 DEFAULT;
         CREATE INDEX ON r USING ip_observer (ip); CREATE TABLE r3 PARTITION OF r FOR VALUES IN (3);
         CREATE TABLE e (ip inet); CREATE INDEX own ON e USING ip_observer (ip); CREATE TABLE copy (LIKE e INCLUDING ALL);
         CREATE TABLE f (ip inet); SELECT attach_ip_source('f', '{ip}', method => 'index')",
    );
    assert_eq!(silent(), [""; 0]);
    // What somebody else says stays.
    db.sql("COMMENT ON INDEX own IS 'mine'; CREATE TABLE again (LIKE e INCLUDING ALL)");
    for statement in
        ["REINDEX INDEX CONCURRENTLY own", "REINDEX TABLE e", "ALTER TABLE e ALTER ip TYPE text", "TRUNCATE e"]
    {
        db.sql(statement);
        assert_eq!(db.value("SELECT obj_description('own'::regclass)"), "mine", "{statement}");
    }
    assert_eq!(db.value("SELECT obj_description('again_ip_idx'::regclass)"), "mine");
    db.sql("ALTER TABLE r ALTER ip TYPE varchar(40); ALTER TABLE r ALTER ip TYPE inet USING ip::inet");
    assert_eq!(silent(), [""; 0]);
}

/// As under a trigger, rows go on.
#[test]
fn a_column_that_can_no_longer_be_read_gets_its_new_type() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (ip text); SELECT attach_ip_source('e', '{ip}', method => 'index'); INSERT INTO e VALUES ('3.134.5.1');
         CREATE TABLE r (ip text, k int) PARTITION BY LIST (k); CREATE TABLE p PARTITION OF r DEFAULT;
         SELECT attach_ip_source('r', '{ip}', method => 'index'); INSERT INTO r VALUES ('3.134.5.1', 1)",
    );
    let (mut session, notices) = db.connect_with_notices();
    for table in ["e", "r"] {
        run(&mut session, &format!("ALTER TABLE {table} ALTER ip TYPE int USING 1; INSERT INTO {table} VALUES (2)"));
    }
    let warnings = notices.all().iter().filter(|notice| notice.contains("is no longer observed")).count();
    assert_eq!(warnings, 2, "{:?}", notices.all());
    for table in ["e", "r"] {
        db.sql(&format!(
            "ALTER TABLE {table} ALTER ip TYPE inet USING '3.134.5.2'; INSERT INTO {table} VALUES ('3.134.5.3')"
        ));
    }
    assert_eq!(db.counts(), ["3.134.5.1|2", "3.134.5.3|2"]);
    // One that is made by hand is judged.
    assert_eq!(
        db.fails("CREATE TABLE n (i int); CREATE INDEX ON n USING ip_observer (i)").detail,
        "Its type is integer."
    );
}

#[test]
fn an_index_that_is_made_with_its_schema_attaches_its_table() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (ip inet); CREATE INDEX ON e USING ip_observer (ip);
         CREATE SCHEMA made CREATE TABLE e (ip inet) CREATE TABLE copy (LIKE public.e INCLUDING ALL) CREATE INDEX ON e USING ip_observer (ip);
         INSERT INTO made.e VALUES ('3.134.6.1'); INSERT INTO made.copy VALUES ('3.134.6.1')",
    );
    assert_eq!(db.lines("SELECT tbl FROM ip_source ORDER BY tbl::text"), ["e", "made.e"]);
    assert_eq!(db.counts(), ["3.134.6.1|1"]);
}
