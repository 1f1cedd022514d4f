//! Indexes that observe, under load: contention, rebuilding, kills, and a server without preload. Every committed new row
//! counts once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;

use crate::crash_support::{assert_counted_once, load, wait_for_worker};
use crate::ingest_support::{Db, run};

/// Addresses whose count is not that of the rows of `e`, of which none was deleted or updated.
const DIFFER: &str = "SELECT coalesce(i.ip_address, e.ip), i.observation_count, e.n
    FROM (SELECT ip, count(*) AS n FROM e GROUP BY 1) e FULL JOIN ip_inventory i ON i.ip_address = e.ip
    WHERE i.observation_count IS DISTINCT FROM e.n LIMIT 10";

/// Eight sessions that all want to insert the same keys.
fn contend(db: &Db, statement: impl Fn(u32, u32) -> String + Sync) {
    thread::scope(|scope| {
        for session in 0..8 {
            let statement = &statement;
            scope.spawn(move || {
                let mut client = db.connect();
                for round in 0..300 {
                    // Whoever loses a deadlock or a conflict goes on.
                    let _ = query(&mut client, &statement(session, round));
                    if session == 0 {
                        let _ = query(&mut client, &format!("COMMIT PREPARED 'put_{round}'"));
                    }
                }
            });
        }
    });
    db.settle();
}

#[test]
fn rows_that_a_conflict_takes_back_do_not_count() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (id int PRIMARY KEY, other int UNIQUE, ip inet); SELECT attach_ip_source('e', '{ip}', method => 'index')",
    );
    contend(&db, |session, round| {
        let rows = format!(
            "SELECT {round} * 5 + i, {round} * 5 + i, '3.124.0.0'::inet + (i + {session}) FROM generate_series(1, 5) i ORDER BY i"
        );
        match session % 3 {
            0 => format!("INSERT INTO e {rows} ON CONFLICT DO NOTHING"),
            1 => format!("INSERT INTO e {rows} ON CONFLICT (id) DO NOTHING"),
            _ => format!("INSERT INTO e {rows} ON CONFLICT (id) DO UPDATE SET other = EXCLUDED.other"),
        }
    });
    let rows = db.value("SELECT count(*) FROM e");
    assert_eq!(rows, "1500");
    assert_eq!(db.lines(DIFFER), [""; 0]);
    assert_eq!(db.value("SELECT sum(observation_count) FROM ip_inventory"), rows);
}

/// A conflict takes a row back, a VACUUM clears its place, and the second attempt is given that: all while an index on an expression
/// is computed, which waits at the second and third time for whoever holds the lock of that number.
#[test]
fn a_row_that_comes_again_to_the_place_where_it_was_taken_back_counts_once() {
    for index in ["SELECT", "CREATE INDEX ON e USING ip_observer (ip) WITH (selectors = '{ip}')"] {
        let db = Db::new();
        db.sql(
            "CREATE TABLE e (id int, ip inet); SELECT attach_ip_source('e', '{ip}', method => 'index'); CREATE SEQUENCE turn;
             CREATE FUNCTION waits(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
             DECLARE turn bigint; said int;
             BEGIN
                 IF current_setting('test.waits', true) = 'on' THEN
                     turn := nextval('turn');
                     said := length(pg_advisory_lock_shared(turn)::text) + length(pg_advisory_unlock_shared(turn)::text);
                 END IF;
                 RETURN n;
             END $$",
        );
        db.sql(index);
        db.sql("CREATE UNIQUE INDEX once ON e (waits(id))");
        let mut holder = db.connect();
        run(&mut holder, "SELECT pg_advisory_lock(2), pg_advisory_lock(3)");
        let mut loader = db.connect();
        let loading = thread::spawn(move || {
            query(&mut loader, "SET test.waits = 'on'")?;
            query(&mut loader, "INSERT INTO e VALUES (1, '3.125.9.1') ON CONFLICT DO NOTHING")
        });
        let waits = "SELECT string_agg(objid::text, ',') FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                     WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted";
        db.wait(waits, "2");
        db.sql("INSERT INTO e VALUES (1, '3.125.9.2')");
        run(&mut holder, "SELECT pg_advisory_unlock(2)");
        db.wait(waits, "3");
        db.sql("DELETE FROM e");
        db.sql("VACUUM (INDEX_CLEANUP ON) e");
        run(&mut holder, "SELECT pg_advisory_unlock(3)");
        loading.join().expect("a session").expect("inserted");
        assert_eq!(db.lines("SELECT ctid, host(ip) FROM e"), ["(0,1)|3.125.9.1"], "where it was before");
        assert_eq!(db.counts(), ["3.125.9.1|1", "3.125.9.2|1"], "{index}");
    }
}

#[test]
fn contended_rows_count_once_in_subtransactions_and_prepared_transactions() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (id int PRIMARY KEY, ip inet); SELECT attach_ip_source('e', '{ip}', method => 'index');
         CREATE FUNCTION put(n int, a inet) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
             FOR i IN 1..4 LOOP
                 BEGIN
                     INSERT INTO e VALUES (n * 4 + i, a);
                     IF i = 2 THEN RAISE EXCEPTION 'no'; END IF;
                 EXCEPTION WHEN raise_exception OR unique_violation THEN
                     INSERT INTO e VALUES (n * 4 + i, a + 1) ON CONFLICT DO NOTHING;
                 END;
             END LOOP;
         END $$",
    );
    contend(&db, |session, round| {
        let call = format!("SELECT put({round}, '3.125.{session}.0')");
        match session {
            0 => format!("BEGIN; {call}; PREPARE TRANSACTION 'put_{round}'"),
            1 => format!("BEGIN; {call}; ROLLBACK"),
            _ => call,
        }
    });
    // What a session lost with its transaction is no row either.
    for prepared in db.lines("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()") {
        db.sql(&format!("COMMIT PREPARED '{prepared}'"));
    }
    db.settle();
    assert_eq!(db.value("SELECT count(*) FROM e"), "1200");
    assert_eq!(db.lines(DIFFER), [""; 0]);
}

#[test]
fn an_index_that_is_rebuilt_under_writers_counts_each_row_once() {
    let db = Db::new();
    db.sql("CREATE TABLE e (id int, ip inet); SELECT attach_ip_source('e', '{ip}', method => 'index')");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for session in 0..3 {
            let (db, over) = (&db, &over);
            scope.spawn(move || {
                let mut client = db.connect();
                let mut round = 0;
                while !over.load(Ordering::Relaxed) || round < 50 {
                    round += 1;
                    run(&mut client, &format!("INSERT INTO e SELECT {round}, '3.126.{session}.0'::inet + i % 7 FROM generate_series(1, 40) i"));
                    run(&mut client, &format!("INSERT INTO e VALUES ({round}, '3.126.{session}.99')"));
                }
            });
        }
        for round in 0..8 {
            db.sql("REINDEX INDEX CONCURRENTLY e_ip_idx");
            db.sql(&format!("CREATE INDEX CONCURRENTLY more_{round} ON e (id)"));
        }
        over.store(true, Ordering::Relaxed);
    });
    db.settle();
    assert_eq!(db.lines(DIFFER), [""; 0]);
    assert_eq!(db.sources(), [format!("e|{}|0", db.value("SELECT count(*) FROM e"))]);
}

#[test]
fn a_server_that_is_killed_loses_and_repeats_nothing() {
    let cluster = crate::crash_support::cluster();
    cluster.sql("postgres", "SELECT attach_ip_source('events', '{src_ip}', method => 'index')");
    let (batches, rows) = (120, 400);
    thread::scope(|scope| {
        let cluster = &cluster;
        for loader in 0..2 {
            scope.spawn(move || load(cluster, loader * batches, (loader + 1) * batches, rows));
        }
        for round in 1..=4 {
            wait_for_worker(cluster);
            let before = cluster.value("postgres", "SELECT count(*) FROM batches").parse::<u32>().expect("a count");
            wait_until("some more batches, or the end", || {
                let now = cluster.try_sql("postgres", "SELECT count(*) FROM batches").ok();
                let now = now.and_then(|rows| rows[0][0].clone()?.parse::<u32>().ok());
                now.is_some_and(|now| now >= (before + 7).min(2 * batches))
            });
            match cluster.pid_of("client backend").filter(|_| round % 2 == 0) {
                // It may have ended meanwhile.
                Some(session) => drop(cluster.signal(session, libc::SIGKILL)),
                None => cluster.kill9(wait_for_worker(cluster)),
            }
            let mut looks = 0;
            wait_until("the crash to be noticed", || {
                looks += 1;
                let noticed = cluster.log().matches("all server processes terminated").count() >= round as usize;
                // A session may have ended by itself at that moment, and be the last one.
                if !noticed && looks % 100 == 0 && cluster.try_sql("postgres", "SELECT").is_ok() {
                    cluster.kill9(wait_for_worker(cluster));
                }
                noticed
            });
            cluster.wait_ready();
        }
    });
    assert_counted_once(&cluster, u64::from(2 * batches * rows));
}

#[test]
fn without_preload_each_row_counts_once_from_the_first_statement_on() {
    let cluster = Cluster::builder().preload(false).conf("max_prepared_transactions", "2").start();
    let db = "postgres";
    cluster.sql(db, "CREATE EXTENSION asn_inventory; CREATE TABLE e (id int PRIMARY KEY, ip inet); SELECT attach_ip_source('e', '{ip}', method => 'index')");
    // Each statement is the first of its session.
    for statement in [
        "INSERT INTO e VALUES (1, '3.127.0.1'), (2, '3.127.0.1') ON CONFLICT DO NOTHING",
        "INSERT INTO e VALUES (2, '3.127.0.9'), (3, '3.127.0.2') ON CONFLICT (id) DO UPDATE SET ip = EXCLUDED.ip",
        "UPDATE e SET ip = '3.127.0.8' WHERE id = 1",
        "COPY e FROM PROGRAM 'echo 4,3.127.0.3' (FORMAT csv)",
        "BEGIN; INSERT INTO e VALUES (5, '3.127.0.4') ON CONFLICT DO NOTHING; SAVEPOINT a; INSERT INTO e VALUES (6, '3.127.0.4') ON CONFLICT DO NOTHING; ROLLBACK TO a; COMMIT",
        "BEGIN; INSERT INTO e VALUES (7, '3.127.0.5') ON CONFLICT DO NOTHING; PREPARE TRANSACTION 'first'",
        "COMMIT PREPARED 'first'",
        "INSERT INTO e VALUES (8, '3.127.0.6')",
    ] {
        cluster.sql(db, statement);
    }
    cluster.sql(db, "SELECT absorb_observations()");
    assert_eq!(
        cluster.lines(db, "SELECT host(ip_address), observation_count FROM ip_inventory ORDER BY 1"),
        ["3.127.0.1|2", "3.127.0.2|1", "3.127.0.3|1", "3.127.0.4|1", "3.127.0.5|1", "3.127.0.6|1"]
    );
}

/// Where only the partition that a row comes to has an index, that has the library loaded in the middle of the statement.
#[test]
fn without_preload_a_row_that_the_first_statement_moves_is_not_new() {
    let cluster = Cluster::builder().preload(false).start();
    let db = "postgres";
    cluster.sql(
        db,
        "CREATE EXTENSION asn_inventory; CREATE TABLE m (k int, ip inet) PARTITION BY LIST (k);
         CREATE TABLE m1 PARTITION OF m FOR VALUES IN (1); CREATE TABLE m2 PARTITION OF m FOR VALUES IN (2);
         CREATE TABLE log (ip inet); SELECT attach_ip_source('m2', '{ip}', method => 'index');
         INSERT INTO m SELECT 1, '3.127.1.0'::inet + i FROM generate_series(1, 6) i",
    );
    let moves = |ip: &str| format!("UPDATE m SET k = 2 WHERE k = 1 AND ip = {ip}");
    for statement in [
        moves("'3.127.1.1'"),
        format!("PREPARE moves AS {}; EXECUTE moves", moves("'3.127.1.2'")),
        format!("WITH u AS ({} RETURNING ip) SELECT * FROM u", moves("'3.127.1.3'")),
        format!("WITH u AS ({} RETURNING ip) INSERT INTO log SELECT ip FROM u", moves("'3.127.1.4'")),
    ] {
        cluster.sql(db, &statement);
    }
    let moved = cluster.connect(db).execute(&moves("$1::text::inet"), &[&"3.127.1.5"]);
    assert_eq!(moved.expect("moved"), 1);
    assert_eq!(cluster.value(db, "SELECT count(*) FROM m2"), "5");
    // New rows are new, in whatever statement.
    for statement in [
        "INSERT INTO m VALUES (2, '3.127.2.1')",
        "WITH u AS (UPDATE m SET ip = ip WHERE k = 1 RETURNING k) INSERT INTO m SELECT 2, '3.127.2.2' FROM u",
        "CREATE FUNCTION puts() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO m VALUES (2, '3.127.2.3'); RETURN NEW; END $$;
         CREATE TRIGGER puts BEFORE UPDATE ON m1 FOR EACH ROW EXECUTE FUNCTION puts()",
        "UPDATE m SET ip = ip WHERE k = 1",
    ] {
        cluster.sql(db, statement);
    }
    cluster.sql(db, "SELECT absorb_observations()");
    assert_eq!(
        cluster.lines(db, "SELECT host(ip_address), observation_count FROM ip_inventory ORDER BY 1"),
        ["3.127.2.1|1", "3.127.2.2|1", "3.127.2.3|1"]
    );
}
