//! `attach_ip_source(…, method => 'index')` and indexes made by hand: every new row counts once, and nothing else does.

use crate::ingest_support::{Db, INDEXES, refused, run, value};

const ATTACHED: &str =
    "CREATE TABLE e (id int PRIMARY KEY, ip inet); SELECT attach_ip_source('e', '{ip}', method => 'index')";

/// The doctor's checks of tables and indexes.
const CHECKS: [&str; 2] = ["triggers", "observer indexes"];

#[test]
fn rows_count_when_their_transaction_commits() {
    let db = Db::new();
    db.sql(ATTACHED);
    assert_eq!(db.value("SELECT method || ' ' || ip_columns::text FROM ip_source"), "index {ip}");
    let mut session = db.connect();
    run(
        &mut session,
        "BEGIN; INSERT INTO e VALUES (1, '8.8.8.8'), (2, '8.8.8.8'), (3, NULL); INSERT INTO e VALUES (4, '1.1.1.1')",
    );
    assert_eq!(value(&mut session, "SELECT count(*) FROM ip_observation"), "0", "one append, at the commit");
    run(&mut session, "COMMIT; BEGIN; INSERT INTO e VALUES (5, '9.9.9.9'); ROLLBACK");
    db.sql("COPY e FROM PROGRAM 'printf \"10\\t2001:db8::1\\n11\\t8.8.8.8\\n\"'");
    assert_eq!(db.counts(), ["1.1.1.1|1", "8.8.8.8|3", "2001:db8::1|1"]);
    assert_eq!(db.sources(), ["e|5|0"]);
    assert_eq!(db.value("SELECT rows_seen FROM ip_source"), "6");
    assert_eq!(db.complaints(&CHECKS), [""; 0]);
}

#[test]
fn only_new_rows_count() {
    let db = Db::new();
    db.sql(ATTACHED);
    db.sql("INSERT INTO e VALUES (1, '3.121.0.1'), (2, '3.121.0.2')");
    db.sql(
        "UPDATE e SET ip = '3.121.0.3' WHERE id = 1; UPDATE e SET id = 9 WHERE id = 2; DELETE FROM e WHERE id = 9;
         INSERT INTO e VALUES (1, '3.121.0.4'), (3, '3.121.0.5') ON CONFLICT DO NOTHING;
         INSERT INTO e VALUES (1, '3.121.0.6'), (4, '3.121.0.7') ON CONFLICT (id) DO UPDATE SET ip = EXCLUDED.ip;
         INSERT INTO e VALUES (1, '3.121.0.6'), (5, '3.121.0.8') ON CONFLICT (id) DO UPDATE SET id = EXCLUDED.id;
         MERGE INTO e USING (VALUES (1, '3.121.1.1'::inet), (6, '3.121.1.2')) v(id, ip) ON e.id = v.id
         WHEN MATCHED THEN UPDATE SET ip = v.ip WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.ip);
         WITH moved AS (DELETE FROM e WHERE id = 6 RETURNING ip) INSERT INTO e SELECT 7, ip FROM moved;
         WITH put AS (INSERT INTO e VALUES (8, '3.121.1.3') RETURNING ip) UPDATE e SET ip = put.ip FROM put WHERE e.id = 1;
         CREATE FUNCTION put(n int, a inet) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO e VALUES (n, a); RETURN n; END $$;
         SELECT put(20, '3.121.1.4'); UPDATE e SET ip = ip WHERE id = (SELECT put(21, '3.121.1.5'));",
    );
    let wanted = [
        "3.121.0.1|1",
        "3.121.0.2|1",
        "3.121.0.5|1",
        "3.121.0.7|1",
        "3.121.0.8|1",
        "3.121.1.2|2",
        "3.121.1.3|1",
        "3.121.1.4|1",
        "3.121.1.5|1",
    ];
    assert_eq!(db.counts(), wanted);
}

#[test]
fn rollback_to_a_savepoint_removes_its_rows() {
    let db = Db::new();
    db.sql(ATTACHED);
    db.sql(
        "BEGIN; INSERT INTO e VALUES (1, '3.122.1.1');
         SAVEPOINT a; INSERT INTO e VALUES (2, '3.122.1.2'); SAVEPOINT b; INSERT INTO e VALUES (3, '3.122.1.3');
         RELEASE b; INSERT INTO e VALUES (4, '3.122.1.3'); SAVEPOINT c; INSERT INTO e VALUES (5, '3.122.1.4'); ROLLBACK TO c;
         INSERT INTO e VALUES (5, '3.122.1.5'); ROLLBACK TO a; INSERT INTO e VALUES (2, '3.122.1.6'); COMMIT",
    );
    assert_eq!(db.counts(), ["3.122.1.1|1", "3.122.1.6|1"]);
    db.sql(
        "DO $$ BEGIN
             FOR i IN 1..300 LOOP
                 BEGIN
                     INSERT INTO e VALUES (1000 + i, '3.122.2.1') ON CONFLICT DO NOTHING;
                     INSERT INTO e VALUES (2000 + i, '3.122.2.3');
                     IF i % 3 = 0 THEN RAISE EXCEPTION 'no'; END IF;
                 EXCEPTION WHEN raise_exception THEN INSERT INTO e VALUES (3000 + i, '3.122.2.2') ON CONFLICT (id) DO NOTHING;
                 END;
             END LOOP;
         END $$",
    );
    assert_eq!(db.counts(), ["3.122.1.1|1", "3.122.1.6|1", "3.122.2.1|200", "3.122.2.2|100", "3.122.2.3|200"]);
    // A statement that fails in the middle, and one that runs in it.
    db.sql(
        "CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             BEGIN UPDATE e SET id = 1 WHERE id = 2; EXCEPTION WHEN unique_violation THEN NULL; END;
             RETURN NEW; END $$;
         CREATE TRIGGER fails BEFORE INSERT ON e FOR EACH ROW EXECUTE FUNCTION fails();
         INSERT INTO e VALUES (5001, '3.122.3.1'), (5002, '3.122.3.1')",
    );
    db.settle();
    assert_eq!(db.value("SELECT observation_count FROM ip_inventory WHERE ip_address = '3.122.3.1'"), "2");
}

#[test]
fn a_prepared_transaction_counts_when_it_commits() {
    let db = Db::new();
    db.sql(ATTACHED);
    db.sql("BEGIN; INSERT INTO e VALUES (1, '3.122.4.1') ON CONFLICT DO NOTHING; PREPARE TRANSACTION 'index_kept'");
    db.sql("BEGIN; INSERT INTO e VALUES (2, '3.122.4.2'); PREPARE TRANSACTION 'index_dropped'");
    db.sql("INSERT INTO e VALUES (3, '3.122.4.3')");
    assert_eq!(db.counts(), ["3.122.4.3|1"]);
    db.sql("ROLLBACK PREPARED 'index_dropped'");
    db.sql("COMMIT PREPARED 'index_kept'");
    assert_eq!(db.counts(), ["3.122.4.1|1", "3.122.4.3|1"]);
}

#[test]
fn a_transaction_with_more_addresses_than_fit_in_memory_counts_each_once() {
    let db = Db::new();
    db.sql("CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}', method => 'index')");
    let many = |first: &str| format!("INSERT INTO e SELECT '{first}'::inet + i FROM generate_series(0, 149999) i");
    db.sql(&format!(
        "BEGIN; {}; SAVEPOINT a; {}; ROLLBACK TO a; {}; COMMIT",
        many("64.0.0.0"),
        many("65.0.0.0"),
        many("64.0.0.0")
    ));
    db.settle();
    let all =
        "SELECT count(*), sum(observation_count), min(observation_count), max(observation_count) FROM ip_inventory";
    assert_eq!(db.lines(all), ["150000|300000|2|2"]);
}

#[test]
fn rows_that_are_there_are_not_counted_again() {
    let db = Db::new();
    db.sql("CREATE TABLE e (id int PRIMARY KEY, ip inet); INSERT INTO e SELECT i, '3.123.0.1' FROM generate_series(1, 1000) i");
    db.sql("SELECT attach_ip_source('e', '{ip}', method => 'index'); INSERT INTO e VALUES (0, '3.123.0.1')");
    let index =
        db.value("SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'e'::regclass AND NOT indisprimary");
    for statement in [
        format!("REINDEX INDEX {index}"),
        format!("REINDEX INDEX CONCURRENTLY {index}"),
        "REINDEX TABLE CONCURRENTLY e".to_owned(),
        "VACUUM FULL e".to_owned(),
        "CLUSTER e USING e_pkey".to_owned(),
        "DELETE FROM e WHERE id > 900".to_owned(),
        "VACUUM (ANALYZE, INDEX_CLEANUP ON) e".to_owned(),
        // Rewritten rows cannot be told from later ones any more.
        "SELECT populate_ip_inventory('e')".to_owned(),
        "ALTER TABLE e ADD more int DEFAULT random() * 10".to_owned(),
        "ALTER TABLE e SET UNLOGGED".to_owned(),
        "ALTER TABLE e ALTER more TYPE bigint".to_owned(),
    ] {
        db.sql(&statement);
    }
    assert_eq!(db.counts(), ["3.123.0.1|901"], "one, and what was there before and is there still");
    db.sql("INSERT INTO e VALUES (-1, '3.123.0.1')");
    assert_eq!(db.counts(), ["3.123.0.1|902"], "it still observes");
    assert_eq!(
        db.value(
            "SELECT pg_relation_size(indexrelid) FROM pg_index WHERE indrelid = 'e'::regclass AND NOT indisprimary"
        ),
        "0"
    );
    assert_eq!(db.complaints(&CHECKS), [""; 0]);
    // A table like it is another table.
    db.sql("CREATE TABLE other (LIKE e INCLUDING ALL); INSERT INTO other VALUES (1, '3.123.0.9')");
    assert_eq!(db.counts(), ["3.123.0.1|902"]);
    assert_eq!(
        db.complaints(&CHECKS),
        ["warning: public.other_ip_idx observes nothing: public.other is not attached."]
    );
}

#[test]
fn the_remedy_for_an_index_of_a_copied_table_keeps_how_it_reads() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (at timestamptz, ip inet, hp text, kind text);
         SELECT attach_ip_source('e', '{ip}', 'at', 'index', only_where => 'kind = login', sensor => 'hp');
         CREATE TABLE other (LIKE e INCLUDING ALL)",
    );
    let remedy = db.remedies(&INDEXES);
    db.sql(remedy.split("  -- ").next().expect("a command"));
    assert_eq!(db.complaints(&CHECKS), [""; 0]);
    assert_eq!(
        db.lines("SELECT tbl, ip_columns, observed_at, method, only_where, sensor FROM ip_source ORDER BY 1"),
        ["e|{ip}|at|index|kind = login|hp", "other|{ip}|at|index|kind = login|hp"]
    );
}

#[test]
fn plans_and_estimates_are_those_without_it() {
    let db = Db::new();
    db.sql("CREATE TABLE e (ip inet, payload jsonb); INSERT INTO e SELECT '10.0.0.0'::inet + i, '{}' FROM generate_series(1, 20000) i");
    db.sql("VACUUM ANALYZE e");
    let plans = || {
        let mut lines = db.lines("EXPLAIN SELECT * FROM e WHERE ip = '10.0.0.5'");
        lines.extend(db.lines("EXPLAIN SELECT ip FROM e ORDER BY ip"));
        lines.extend(db.lines("EXPLAIN SELECT count(*) FROM e WHERE payload IS NOT NULL"));
        lines
    };
    let (before, rows) = (plans(), db.value("SELECT reltuples FROM pg_class WHERE oid = 'e'::regclass"));
    db.sql("SELECT attach_ip_source('e', '{ip}', method => 'index', only_where => 'payload->>kind = a'); CREATE INDEX ON e USING ip_observer (ip) WHERE payload IS NOT NULL");
    assert_eq!(db.value("SELECT reltuples FROM pg_class WHERE oid = 'e'::regclass"), rows);
    assert_eq!(plans(), before);
    db.sql("SET enable_seqscan = off; SELECT count(*) FROM e WHERE payload IS NOT NULL");
    assert_eq!(plans(), before);
}

/// Subtransactions between the rows of one statement, and after one that failed.
#[test]
fn rows_on_trial_belong_to_the_subtransaction_that_wrote_them() {
    let db = Db::new();
    db.sql(ATTACHED);
    db.sql(
        "CREATE FUNCTION f(i int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
             BEGIN PERFORM 1 FROM pg_class LIMIT 1; RAISE EXCEPTION 'x'; EXCEPTION WHEN raise_exception THEN NULL; END;
             RETURN i; END $$;
         INSERT INTO e SELECT f(i), '3.122.5.1' FROM generate_series(1, 100) i ON CONFLICT DO NOTHING",
    );
    assert_eq!(db.counts(), ["3.122.5.1|100"]);
    let mut session = db.connect();
    run(&mut session, "BEGIN; SAVEPOINT a");
    refused(&mut session, "INSERT INTO e VALUES (200, '3.122.5.2'), (NULL, '3.122.5.2') ON CONFLICT DO NOTHING");
    run(
        &mut session,
        "ROLLBACK TO a; TRUNCATE e; SELECT 1; INSERT INTO e VALUES (1, '3.122.5.3') ON CONFLICT DO NOTHING; COMMIT",
    );
    assert_eq!(db.counts(), ["3.122.5.1|100", "3.122.5.3|1"]);
}

#[test]
fn a_copy_inside_of_another_statement_counts() {
    let db = Db::new();
    db.sql(ATTACHED);
    let copy = "CREATE TABLE other (n int); INSERT INTO other VALUES (1);
         CREATE FUNCTION copies(line text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE format('COPY e FROM PROGRAM %L (FORMAT csv)', 'echo ' || line); RETURN 1; END $$;
         UPDATE other SET n = copies('1,3.122.6.1'); SELECT copies('2,3.122.6.2'); DELETE FROM other WHERE copies('3,3.122.6.3') = 1";
    db.sql(copy);
    assert_eq!(db.counts(), ["3.122.6.1|1", "3.122.6.2|1", "3.122.6.3|1"]);
}

/// A statement that waits for nobody, and a session that learns of what others attach.
#[test]
fn nobody_waits_for_a_lock_and_nobody_misses_that_a_table_was_attached() {
    let db = Db::new();
    db.sql(ATTACHED);
    db.sql("CREATE TABLE other (LIKE e INCLUDING ALL)");
    let mut session = db.connect();
    run(&mut session, "INSERT INTO other VALUES (1, '3.122.7.1')");
    db.sql("SELECT attach_ip_source('other', '{ip}', method => 'index')");
    run(&mut session, "INSERT INTO other VALUES (2, '3.122.7.2')");
    assert_eq!(db.counts(), ["3.122.7.2|1"]);
    run(&mut session, "SELECT detach_ip_source('other'); INSERT INTO other VALUES (3, '3.122.7.2')");
    assert_eq!(db.counts(), ["3.122.7.2|1"]);
    let mut locker = db.connect();
    run(&mut locker, "BEGIN; LOCK ip_source IN ACCESS EXCLUSIVE MODE");
    run(
        &mut session,
        "ANALYZE e; SET statement_timeout = '20s'; INSERT INTO e SELECT i, '3.122.7.4' FROM generate_series(1, 20000) i",
    );
    run(&mut locker, "COMMIT");
    assert_eq!(db.counts(), ["3.122.7.2|1", "3.122.7.4|20000"]);
}

#[test]
fn maintenance_does_not_fail_on_an_index_that_was_altered_or_copied() {
    let db = Db::new();
    db.sql(ATTACHED);
    db.sql("ALTER INDEX e_ip_idx SET (selectors = '{nope}'); INSERT INTO e VALUES (1, '3.122.8.1'); TRUNCATE e; INSERT INTO e VALUES (1, '3.122.8.1')");
    for statement in ["VACUUM FULL e", "REINDEX TABLE CONCURRENTLY e", "CLUSTER e USING e_pkey"] {
        db.sql(statement);
    }
    assert_eq!(db.complaints(&CHECKS), ["error: public.e_ip_idx does not read what ip_source lists for public.e."]);
    db.sql("SELECT attach_ip_source('e', '{ip}', method => 'index'); INSERT INTO e VALUES (2, '3.122.8.1'); CREATE TABLE other (LIKE e INCLUDING ALL)");
    db.sql("REINDEX TABLE CONCURRENTLY other");
    assert_eq!(db.counts(), ["3.122.8.1|1"]);
}
