//! What roles without rights of ours, and owners of databases, try with the tables that they observe.

use crate::ingest_support::{Db, run};
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
