//! What roles without rights of ours, and owners of databases, try with the tables that they observe.

use crate::ingest_support::{Db, refused, run};
use asn_inventory_tests::needs;

/// The extension citext is a trusted one: who made it may add types of his own to it, whose values are no texts.
#[test]
fn types_that_were_added_to_citext_are_no_texts() {
    if !needs::has("citext", "types_that_were_added_to_citext_are_no_texts") {
        return;
    }
    let db = Db::new();
    db.sql(
        "CREATE EXTENSION citext; CREATE TYPE made AS ENUM ('a'); CREATE TYPE pair AS (a int, b int);
         CREATE TYPE span AS RANGE (subtype = int4);
         ALTER EXTENSION citext ADD TYPE made; ALTER EXTENSION citext ADD TYPE pair; ALTER EXTENSION citext ADD TYPE span;
         CREATE TABLE e (ip inet, text text, fine citext)",
    );
    for (number, kind) in ["made", "made[]", "pair", "pair[]", "span", "span[]", "span_multirange"].iter().enumerate() {
        db.sql(&format!("ALTER TABLE e ADD c{number} {kind}"));
        for method in ["trigger", "row", "index"] {
            for arguments in [
                format!("'{{c{number}}}'"),
                format!("'{{text(c{number})}}'"),
                format!("'{{ip}}', 'c{number}'"),
                format!("'{{ip}}', only_where => 'c{number} = a'"),
                format!("'{{ip}}', sensor => 'c{number}'"),
            ] {
                // The label of an enum, whoever made it, is a value to compare with: it is looked up, not read as a text.
                if *kind == "made" && (arguments.contains("only_where") || arguments.contains("sensor")) {
                    db.sql(&format!(
                        "SELECT attach_ip_source('e', {arguments}, method => '{method}');
                         INSERT INTO e (c{number}) VALUES ('a'), (NULL); SELECT detach_ip_source('e')"
                    ));
                    continue;
                }
                let failure = db.fails(&format!("SELECT attach_ip_source('e', {arguments}, method => '{method}')"));
                assert!(
                    ["42804", "0A000", "22023"].contains(&failure.code.as_str()),
                    "{kind} {arguments}: {} {}",
                    failure.code,
                    failure.message
                );
            }
        }
    }
    // citext itself is read as before.
    db.sql("SELECT attach_ip_source('e', '{fine}', method => 'index'); INSERT INTO e (fine) VALUES ('36.94.0.1')");
    assert_eq!(db.counts(), ["36.94.0.1|1"]);
    // One that takes the place of an observed column is not read.
    db.sql(
        "ALTER TABLE e ADD v citext; SELECT detach_ip_source('e'); SELECT attach_ip_source('e', '{v}');
         ALTER TABLE e DROP v; ALTER TABLE e ADD v made; INSERT INTO e (v) VALUES ('a')",
    );
    assert_eq!(db.counts(), ["36.94.0.1|1"]);
}

#[test]
fn an_index_of_a_role_that_may_not_attach_counts_nothing_whatever_is_locked() {
    let db = Db::new();
    let role = format!("{}_nobody", db.name);
    db.sql(&format!("CREATE ROLE {role} LOGIN; CREATE SCHEMA own AUTHORIZATION {role}"));
    let mut session = db.connect_as(&role);
    run(
        &mut session,
        "SET check_function_bodies = off; CREATE TABLE own.e (ip inet); CREATE INDEX ON own.e USING ip_observer (ip)",
    );
    // Nor does it keep a lock that others would have to wait behind.
    run(&mut session, "BEGIN; CREATE TABLE own.e2 (ip inet); CREATE INDEX ON own.e2 USING ip_observer (ip)");
    let locks = "SELECT count(*) FROM pg_locks WHERE relation = 'ip_source'::regclass AND pid <> pg_backend_pid()
                     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(db.value(locks), "0");
    run(&mut session, "ROLLBACK");
    let mut holder = db.connect();
    run(&mut holder, "BEGIN; LOCK ip_source IN ACCESS EXCLUSIVE MODE");
    let mut loader = db.connect_as(&role);
    run(&mut loader, "INSERT INTO own.e VALUES ('36.94.1.1')");
    run(&mut session, "INSERT INTO own.e VALUES ('36.94.1.2')");
    // Somebody else might have attached it; nobody can say now.
    assert_eq!(db.value("SELECT statements >= 2 FROM _unobserved_statements()"), "t");
    run(&mut holder, "ROLLBACK");
    assert_eq!(db.counts(), [""; 0]);
    assert_eq!(db.value("SELECT statements FROM _unobserved_statements()"), "0", "nobody has");
    run(&mut loader, "INSERT INTO own.e VALUES ('36.94.1.3')");
    assert_eq!(db.counts(), [""; 0]);
    // One that somebody else has attached.
    run(&mut session, "CREATE TABLE own.g (ip inet)");
    db.sql("SELECT attach_ip_source('own.g', '{ip}', method => 'index')");
    run(&mut holder, "BEGIN; LOCK ip_source IN ACCESS EXCLUSIVE MODE");
    run(&mut db.connect_as(&role), "INSERT INTO own.g VALUES ('36.94.1.4')");
    run(&mut holder, "ROLLBACK");
    assert_eq!(db.value("SELECT statements || ' ' || tbl::regclass FROM _unobserved_statements()"), "1 own.g");
    db.sql("SELECT detach_ip_source('own.g')");
    drop((session, loader));
    db.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

/// PostgreSQL calls immutable functions of constants where it simplifies the condition of an index, with the rights of whoever
/// asks for that condition.
#[test]
fn a_function_in_the_condition_of_an_index_runs_as_the_tables_owner_alone() {
    let db = Db::new();
    let role = format!("{}_nobody", db.name);
    db.sql(&format!("CREATE ROLE {role} LOGIN; CREATE SCHEMA own AUTHORIZATION {role}"));
    run(
        &mut db.connect_as(&role),
        &format!(
            "GRANT USAGE ON SCHEMA own TO PUBLIC; CREATE TABLE own.ran (who name); GRANT ALL ON own.ran TO PUBLIC;
             CREATE FUNCTION own.run() RETURNS boolean VOLATILE LANGUAGE plpgsql AS $$ BEGIN
                 INSERT INTO own.ran VALUES (current_user);
                 BEGIN EXECUTE 'ALTER ROLE {role} SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
                 RETURN true; END $$;
             CREATE FUNCTION own.evil(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT own.run()); END $$;
             CREATE TABLE own.kid (ip inet, v varchar(10)); CREATE TABLE own.par (ip inet, v varchar(20));
             CREATE TABLE own.root (ip inet, k int) PARTITION BY LIST (k); CREATE TABLE own.part (ip inet, k int);
             CREATE TABLE own.keyed (ip inet, k int) PARTITION BY LIST ((k + own.evil(1)::int));
             CREATE TABLE own.hashed (k int) PARTITION BY HASH ((k + own.evil(1)::int));
             CREATE TABLE own.hidden (ip inet, k int) PARTITION BY LIST ((k + satisfies_hash_partition('own.hashed'::regclass::oid, 1, 0, 1)::int))"
        ),
    );
    // It would leave an index that is not valid, and is opened all the same.
    let concurrently = "CREATE INDEX CONCURRENTLY left_over ON own.kid USING ip_observer (ip) WHERE own.evil(1)";
    let failure = refused(&mut db.connect_as(&role), concurrently);
    assert_eq!(failure.code, "0A000", "{failure:?}");
    assert_eq!(db.value("SELECT count(*) FROM pg_class WHERE relname = 'left_over'"), "0");
    // As a dump makes them, they take no right.
    run(
        &mut db.connect_as(&role),
        "SET check_function_bodies = off; CREATE INDEX ON own.kid USING ip_observer (ip) WHERE own.evil(1);
         CREATE INDEX ON own.kid (v) WHERE own.evil(1); CREATE INDEX ON own.root USING ip_observer (ip) WHERE own.evil(1);
         INSERT INTO own.kid VALUES ('36.94.2.1', 'a')",
    );
    // Each in a session that has opened none of them yet: the event trigger has a superuser's rights.
    for statement in [
        "ALTER TABLE own.kid ALTER v TYPE varchar(20)",
        "ALTER TABLE own.kid INHERIT own.par",
        "ALTER TABLE own.root ATTACH PARTITION own.part FOR VALUES IN (1)",
    ] {
        run(&mut db.connect_as(&role), statement);
    }
    // And so has a superuser.
    db.sql("SELECT attach_ip_source('own.par', '{ip}')");
    assert_eq!(db.value("SELECT populate_ip_inventory('own.par')"), "1");
    assert_eq!(db.counts(), ["36.94.2.1|1"]);
    assert_eq!(db.value("SELECT forget_ip_source('own.par')"), "1");
    // A partition key is simplified as well.
    for table in ["keyed", "hidden"] {
        let failure = db.fails(&format!("SELECT attach_ip_source('own.{table}', '{{ip}}', method => 'row')"));
        assert_eq!(failure.message, format!("\"{table}\" is partitioned by an expression of another role"));
    }
    assert_eq!(db.lines("SELECT DISTINCT who FROM own.ran"), std::slice::from_ref(&role));
    assert_eq!(db.value(&format!("SELECT rolsuper FROM pg_roles WHERE rolname = '{role}'")), "f");
    db.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

/// A function of the same name in the extension's schema gives no right, and hides nothing from the doctor.
#[test]
fn a_function_with_the_name_of_one_of_ours_gives_no_right_and_is_named() {
    let db = Db::new();
    let role = format!("{}_nobody", db.name);
    db.sql(&format!(
        "CREATE ROLE {role} LOGIN; CREATE SCHEMA own AUTHORIZATION {role}; GRANT CREATE ON SCHEMA public TO {role}"
    ));
    let mut session = db.connect_as(&role);
    run(
        &mut session,
        "CREATE FUNCTION public.attach_ip_source(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
         CREATE FUNCTION public._record_asn_change(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
         CREATE FUNCTION public._note_uncounted(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TABLE own.e (ip inet)",
    );
    let failure = refused(&mut session, "CREATE INDEX ON own.e USING ip_observer (ip)");
    assert_eq!(failure.message, "permission denied for function attach_ip_source");
    let trouble = "SELECT check_name, remedy FROM enrichment_doctor() WHERE check_name IN ('own triggers', 'foreign code') AND level <> 'ok' ORDER BY remedy COLLATE \"C\"";
    let named = ["_note_uncounted", "_record_asn_change", "attach_ip_source"]
        .map(|name| format!("foreign code|DROP ROUTINE public.{name}(integer);"));
    assert_eq!(db.lines(trouble), named);
    // Of the triggers, it still sees which one is missing.
    db.sql("ALTER TABLE ip_inventory DISABLE TRIGGER record_asn_change");
    let found = "SELECT count(*) FROM enrichment_doctor() WHERE check_name = 'own triggers' AND detail LIKE 'Trigger record_asn_change % is disabled%'";
    assert_eq!(db.value(found), "1");
    drop(session);
    db.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}
