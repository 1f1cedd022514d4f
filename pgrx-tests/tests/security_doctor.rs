//! What the doctor does not read with its caller's rights: tables of another role with code on them that its queries would run.

use crate::backfill_support::Call;
use crate::security_worker::{CONSTANT, OTHERS, TABLES, as_webapp, cluster, database, nobody_is_superuser};
use asn_inventory_tests::cluster::query;
use std::time::Instant;

/// Where it did not look.
const COULD_NOT: &str = "SELECT count(*) FROM enrichment_doctor() WHERE detail LIKE 'Could not look%'";
/// A function of PostgreSQL's own, which runs the text that is given to it.
const TEXT: &str =
    "ts_rewrite('a & b', 'SELECT ''a''::tsquery, ''c''::tsquery WHERE public.evil(''text'')') IS NOT NULL";

/// A database where `ip_source` is webapp's, and is read.
fn with_source_of_webapp() -> String {
    let db = database();
    cluster().sql(&db, "ALTER TABLE ip_source OWNER TO webapp");
    cluster().wait_value(&db, COULD_NOT, "0");
    as_webapp(&db, &format!("{CONSTANT}; TRUNCATE ran"));
    db
}

/// Why the doctor did not look at the triggers, for a session.
fn reason(session: &mut postgres::Client) -> String {
    let said = "SELECT detail FROM enrichment_doctor() WHERE check_name = 'triggers' AND detail LIKE 'Could not look%'";
    let rows = query(session, said).expect("the doctor");
    rows.into_iter().flatten().next().flatten().unwrap_or_default()
}

#[test]
fn a_table_is_not_read_whatever_part_of_it_calls_code_of_its_owner() {
    let db = with_source_of_webapp();
    let cluster = cluster();
    let mut superuser = cluster.connect(&db);
    for (code, why, removal) in [
        (
            "ALTER TABLE ip_source ADD CONSTRAINT planted CHECK (public.constant(1))",
            "constraint planted on public.ip_source calls code that is not the extension's, and would run it with the rights of postgres",
            "ALTER TABLE public.ip_source DROP CONSTRAINT planted",
        ),
        (
            "CREATE STATISTICS planted ON (public.constant(1)) FROM ip_source",
            "statistics public.planted on public.ip_source calls code that is not the extension's",
            "DROP STATISTICS public.planted",
        ),
        (
            "CREATE DOMAIN public.odd AS int CHECK (public.constant(value)); ALTER TABLE ip_source ADD COLUMN planted public.odd",
            "a column of public.ip_source calls code that is not the extension's",
            "ALTER TABLE public.ip_source DROP COLUMN planted",
        ),
        // What this function opens has the planner call the functions in another table's key.
        (
            "CREATE FUNCTION public.key(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM public.evil('key'); RETURN 1; END $$;
             CREATE TABLE public.hashed (a int) PARTITION BY HASH ((a + public.key(1)));
             CREATE INDEX planted ON ip_source ((satisfies_hash_partition('public.hashed'::regclass::oid, 1, 0, 1)))",
            "index public.planted on public.ip_source calls code that is not the extension's",
            "DROP INDEX public.planted",
        ),
        (
            "CREATE STATISTICS planted ON (satisfies_hash_partition('public.hashed'::regclass::oid, 1, 0, 1)) FROM ip_source",
            "statistics public.planted on public.ip_source calls code that is not the extension's",
            "DROP STATISTICS public.planted",
        ),
    ] {
        as_webapp(&db, &format!("{code}; TRUNCATE ran"));
        let said = reason(&mut superuser);
        assert!(said.starts_with(&format!("Could not look: {why}")), "{code}: {said:?}");
        assert_eq!(cluster.lines(&db, OTHERS), [""; 0], "{code}");
        cluster.sql(&db, removal);
        cluster.wait_value(&db, COULD_NOT, "0");
    }
    // One of the extension's is its owner's.
    cluster.sql(&db, "ALTER FUNCTION ip_class(inet) OWNER TO webapp");
    as_webapp(
        &db,
        "CREATE OR REPLACE FUNCTION ip_class(inet) RETURNS text IMMUTABLE LANGUAGE plpgsql AS
         $$ BEGIN PERFORM public.evil('class'); RETURN ''; END $$;
         CREATE INDEX planted ON ip_source ((ip_class('1.1.1.1'))); TRUNCATE ran",
    );
    let said = reason(&mut superuser);
    let why = "index public.planted on public.ip_source calls code that is not the extension's";
    assert!(said.starts_with(&format!("Could not look: {why}")), "{said:?}");
    assert_eq!(cluster.lines(&db, OTHERS), [""; 0]);
    cluster.sql(&db, "DROP INDEX public.planted");
    // All tables below are read with the extension's.
    cluster.sql(
        &db,
        "CREATE TABLE child () INHERITS (ip_source); CREATE TABLE below () INHERITS (child); ALTER TABLE below OWNER TO webapp",
    );
    let said = reason(&mut superuser);
    assert_eq!(said, "Could not look: the child table public.below of public.child belongs to webapp.");
    nobody_is_superuser(&db);
}

#[test]
fn the_report_reads_days_with_the_rights_of_their_tables_owner() {
    let db = database();
    let cluster = cluster();
    cluster.sql(&db, "INSERT INTO events VALUES ('8.8.8.8')");
    cluster.wait_value(&db, "SELECT sum(observations) FROM ip_activity_count WHERE kind = 'all' AND by_day", "1");
    cluster.sql(&db, "ALTER TABLE ip_activity_count OWNER TO webapp");
    let planted = "CREATE INDEX planted ON ip_activity_count (bucket) WHERE public.constant(1)";
    as_webapp(&db, &format!("{CONSTANT}; {planted}; TRUNCATE ran"));
    let mut superuser = cluster.connect(&db);
    let rows = query(&mut superuser, "SELECT inventory_report() LIKE '<!DOCTYPE html>%'").expect("a report");
    assert_eq!(rows[0][0].as_deref(), Some("t"));
    assert_eq!(cluster.lines(&db, "SELECT DISTINCT what, who FROM ran"), ["index|webapp"]);
    nobody_is_superuser(&db);
}

#[test]
fn a_function_that_runs_a_text_is_run_by_no_caller_of_the_doctor() {
    let db = with_source_of_webapp();
    let cluster = cluster();
    let reader = format!("{db}_reader");
    cluster.sql(
        &db,
        &format!(
            "CREATE ROLE {reader} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader};
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {reader}"
        ),
    );
    let mut superuser = cluster.connect(&db);
    let mut other = cluster.connect_as(&reader, &db);
    // The planner evaluates what is immutable in a constraint, and this is not.
    as_webapp(&db, &format!("ALTER TABLE ip_source ADD CHECK ({TEXT}); TRUNCATE ran"));
    query(&mut superuser, "SET constraint_exclusion = on").expect("a setting");
    assert_eq!(reason(&mut superuser), "");
    // A policy holds for all but superusers.
    as_webapp(
        &db,
        &format!("CREATE POLICY planted ON ip_source USING ({TEXT}); ALTER TABLE ip_source ENABLE ROW LEVEL SECURITY"),
    );
    assert_eq!(reason(&mut superuser), "");
    assert_eq!(
        reason(&mut other),
        format!(
            "Could not look: policy planted on public.ip_source may call any code, and would run it with the rights of {reader}."
        )
    );
    assert_eq!(cluster.lines(&db, OTHERS), [""; 0]);
    nobody_is_superuser(&db);
    drop(other);
    cluster.sql(&db, &format!("DROP OWNED BY {reader}; DROP ROLE {reader}"));
}

#[test]
fn the_doctor_says_that_a_vacuum_is_at_work_and_waits_once_for_all_tables() {
    let db = with_source_of_webapp();
    let cluster = cluster();
    let mut superuser = cluster.connect(&db);
    // A VACUUM that freezes a row waits until nobody is at its page.
    let mut holder = cluster.connect(&db);
    query(&mut holder, "BEGIN; DECLARE c CURSOR FOR SELECT * FROM ip_source; FETCH c").expect("a row");
    let vacuum = Call::start(cluster, &db, "VACUUM (FREEZE) ip_source");
    let waits = format!("SELECT wait_event FROM pg_stat_activity WHERE pid = {}", vacuum.pid);
    cluster.wait_value(&db, &waits, "BufferPin");
    assert_eq!(
        reason(&mut superuser),
        "Could not look: public.ip_source belongs to webapp, and a VACUUM is at work on it, behind which it may be changed."
    );
    query(&mut holder, "ROLLBACK").expect("a rollback");
    vacuum.end().expect("a VACUUM");
    cluster.wait_value(&db, COULD_NOT, "0");

    // Not the queue, which the worker locks for itself at times.
    let tables: Vec<&str> = TABLES.into_iter().filter(|table| *table != "ip_observation").collect();
    for table in &tables {
        cluster.sql(&db, &format!("ALTER TABLE {table} OWNER TO webapp"));
    }
    let mut took = || {
        let started = Instant::now();
        let said = reason(&mut superuser);
        (said, started.elapsed().as_secs_f64())
    };
    let (_, before) = took();
    query(&mut holder, &format!("BEGIN; LOCK TABLE {} IN SHARE UPDATE EXCLUSIVE MODE", tables.join(", ")))
        .expect("locks");
    let (said, behind) = took();
    assert_eq!(said, "Could not look: public.ip_source belongs to webapp, and may be changed at this moment.");
    // 0.3 s for each would be 3.9 s.
    assert!(behind < before + 3.0, "{behind} s behind locks, {before} s without");
}
