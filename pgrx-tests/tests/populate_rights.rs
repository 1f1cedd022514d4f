//! The rights for populate, and that all rows are read or none: rows that a policy hides could never be counted later.

use crate::ingest_support::{Db, refused, run, value};

/// Roles `owner` and `stranger`, both operators, and the owner's table of three rows, attached.
fn ready(db: &Db) -> (String, String) {
    let (owner, stranger) = (format!("{}_owner", db.name), format!("{}_stranger", db.name));
    db.sql(&format!(
        "CREATE ROLE {owner} LOGIN; CREATE ROLE {stranger} LOGIN; CREATE SCHEMA own AUTHORIZATION {owner};
         GRANT EXECUTE ON FUNCTION attach_ip_source, populate_ip_inventory, observe_addresses TO {owner}, {stranger};
         GRANT USAGE ON SCHEMA own TO {stranger};
         CREATE TABLE own.events (ip inet, who text); ALTER TABLE own.events OWNER TO {owner};
         INSERT INTO own.events VALUES ('36.99.0.1', 'a'), ('36.99.0.2', 'b'), ('36.99.0.3', 'b');
         SELECT attach_ip_source('own.events', '{{ip}}'); GRANT ALL ON own.events TO {stranger}"
    ));
    (owner, stranger)
}

const POPULATE: &str = "SELECT populate_ip_inventory('own.events')";

#[test]
fn only_an_owner_may_populate() {
    let db = Db::new();
    let (owner, stranger) = ready(&db);
    db.sql("ALTER TABLE own.events ENABLE ROW LEVEL SECURITY; CREATE POLICY part ON own.events USING (who = 'a')");
    let failure = refused(&mut db.connect_as(&stranger), POPULATE);
    assert_eq!(failure.code, "42501", "{failure:?}");
    assert_eq!(failure.message, "must be owner of table \"events\"");
    assert_eq!(value(&mut db.connect_as(&owner), POPULATE), "3");
    assert_eq!(db.counts(), ["36.99.0.1|1", "36.99.0.2|1", "36.99.0.3|1"]);
}

#[test]
fn a_member_of_the_owner_and_a_superuser_may() {
    let db = Db::new();
    let (owner, stranger) = ready(&db);
    db.sql(&format!("GRANT {owner} TO {stranger}"));
    assert_eq!(value(&mut db.connect_as(&stranger), POPULATE), "3");
    db.sql("INSERT INTO own.events VALUES ('36.99.0.4', 'b')");
    assert_eq!(db.value(POPULATE), "0");
}

#[test]
fn rows_that_a_policy_hides_from_the_owner_are_an_error() {
    let db = Db::new();
    let (owner, _) = ready(&db);
    db.sql("ALTER TABLE own.events ENABLE ROW LEVEL SECURITY; ALTER TABLE own.events FORCE ROW LEVEL SECURITY; CREATE POLICY part ON own.events USING (who = 'a')");
    let mut session = db.connect_as(&owner);
    let failure = refused(&mut session, POPULATE);
    assert_eq!(failure.code, "42501", "{failure:?}");
    assert!(failure.message.contains("row-level security policy"), "{failure:?}");
    assert_eq!(value(&mut session, "SHOW row_security"), "on", "the session's own is as it was");
    // Nothing was used up.
    run(&mut session, "ALTER TABLE own.events NO FORCE ROW LEVEL SECURITY");
    assert_eq!(value(&mut session, POPULATE), "3");
}

#[test]
fn a_superusers_populate_runs_with_the_owners_rights() {
    let db = Db::new();
    let (owner, _) = ready(&db);
    // A policy's function would run while the table is read; so would a type's output. The owner's own code must not run
    // as the superuser who calls.
    db.sql(&format!(
        "CREATE TABLE own.ran (who text); GRANT ALL ON own.ran TO {owner};
         CREATE FUNCTION own.spy(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO own.ran VALUES (current_user); RETURN true; END $$;
         ALTER TABLE own.events ENABLE ROW LEVEL SECURITY; CREATE POLICY spy ON own.events USING (own.spy(who))"
    ));
    assert_eq!(db.value(POPULATE), "3");
    assert_eq!(db.value(&format!("SELECT count(*) FROM own.ran WHERE who <> '{owner}'")), "0");
}

#[test]
fn packed_rows_of_the_queue_count_as_known() {
    let db = Db::new();
    db.sql("CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')");
    let mut session = db.connect();
    // Large enough to be packed, and not absorbed before the commit; the unpacking function belongs to another role
    // now.
    run(&mut session, "BEGIN; INSERT INTO events SELECT inet '36.99.1.0' + i FROM generate_series(1, 200) i");
    run(&mut session, "INSERT INTO events VALUES ('36.99.2.1')");
    run(
        &mut session,
        "CREATE OR REPLACE FUNCTION unpack_observations(packed bytea, OUT address inet, OUT seen bigint, OUT first_seen timestamptz, OUT last_seen timestamptz) RETURNS SETOF record LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'called'; END $$",
    );
    assert_eq!(value(&mut session, "SELECT populate_ip_inventory('events')"), "0");
    run(&mut session, "ROLLBACK");
}
