//! The rights of roles: only offline look-ups for all, a loader needs no right of ours, an owner attaches with two
//! grants, and functions, operators or tables of other roles do not interfere.

use crate::ingest_support::{Db, cluster, refused, run, value};

/// A role of this test's own.
fn role(db: &Db, name: &str) -> String {
    let role = format!("{}_{name}", db.name);
    db.sql(&format!("CREATE ROLE {role} LOGIN"));
    role
}

#[test]
fn a_role_without_rights_gets_a_clear_refusal() {
    let db = Db::new();
    let nobody = role(&db, "nobody");
    db.sql(&format!("CREATE SCHEMA own AUTHORIZATION {nobody}; CREATE TABLE other (ip inet); SELECT attach_ip_source('other', '{{ip}}')"));
    let mut session = db.connect_as(&nobody);
    run(&mut session, "CREATE TABLE own.events (ip inet)");
    // Every function of the extension that PUBLIC has no use for. (A null that is known beforehand would spare a strict
    // one the call, and so the check.)
    let closed = db.lines(
        "SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'
         WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'asn_inventory')
           AND d.classid = 'pg_proc'::regclass AND p.prokind = 'f' AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'index_am_handler'::regtype)
           AND p.proname NOT IN ('ip_class', 'lookup_ip', 'ip_asn', 'ip_asn_org', 'ip_country', 'ip_city', 'ip_lists', 'mmdb_record',
               'ip_parse', 'ip_extract', 'ip_extract_array', '_is_replicated')
         ORDER BY 1",
    );
    assert!(closed.len() >= 11, "{closed:?}");
    for function in &closed {
        let (name, arguments) = function.trim_end_matches(')').split_once('(').expect("a signature");
        let nulls: Vec<String> =
            arguments.split(',').filter(|a| !a.is_empty()).map(|a| format!("(SELECT NULL::{a})")).collect();
        let call = format!("SELECT {name}({})", nulls.join(", "));
        let failure = refused(&mut session, &call);
        assert_eq!(failure.code, "42501", "{call}: {failure:?}");
        assert_eq!(failure.message, format!("permission denied for function {name}"), "{call}");
    }
    for call in [
        "SELECT attach_ip_source('own.events', '{ip}')",
        "SELECT detach_ip_source('other')",
        "SELECT populate_ip_inventory('other')",
        "SELECT absorb_observations()",
        "SELECT enrich_ip('8.8.8.8')",
        "SELECT backfill_inventory()",
        "CALL wait_for_job(1)",
        "CREATE TRIGGER mine AFTER INSERT ON own.events REFERENCING NEW TABLE AS t FOR EACH STATEMENT EXECUTE FUNCTION observe_addresses('', 'ip')",
        "CREATE INDEX ON own.events USING ip_observer (ip)",
    ] {
        assert_eq!(refused(&mut session, call).code, "42501", "{call}");
    }
    // Every table, view and sequence of the extension: not to be read, not to be written.
    let relations = db.lines(
        "SELECT c.oid::regclass, c.relkind FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.deptype = 'e'
         WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'asn_inventory') AND c.relkind IN ('r', 'v', 'S')",
    );
    assert!(relations.len() >= 7, "{relations:?}");
    for line in &relations {
        let (relation, _) = line.split_once('|').expect("two fields");
        let failure = refused(&mut session, &format!("SELECT * FROM {relation}"));
        assert_eq!(failure.code, "42501", "{relation}: {failure:?}");
        assert!(failure.message.contains(relation), "{failure:?}");
    }
    for statement in [
        "INSERT INTO ip_inventory (ip_address) VALUES ('8.8.8.8')",
        "UPDATE ip_inventory SET city = 'x'",
        "DELETE FROM ip_observation",
        "TRUNCATE ip_inventory",
        "UPDATE ip_source SET observations = 0",
        "INSERT INTO ip_observation VALUES ('8.8.8.8', 1, now(), now())",
    ] {
        assert_eq!(refused(&mut session, statement).code, "42501", "{statement}");
    }
}

#[test]
fn offline_lookups_are_granted_to_public() {
    let db = Db::new();
    db.wait("SELECT ip_country('81.2.69.142')", "GB");
    let mut session = db.connect_as(&role(&db, "reader"));
    for (call, expected) in [
        ("ip_class('10.0.0.1')", "private"),
        ("ip_country('81.2.69.142')", "GB"),
        ("ip_city('81.2.69.142')", "London"),
        ("ip_asn('8.8.8.8')", "15169"),
        ("ip_asn_org('8.8.8.8')", "Google LLC"),
        ("(lookup_ip('8.8.8.8')).maxmind_status", "found"),
        ("mmdb_record('GeoLite2-ASN', '8.8.8.8')->>'autonomous_system_number'", "15169"),
    ] {
        assert_eq!(value(&mut session, &format!("SELECT {call}")), expected, "{call}");
    }
}

#[test]
fn a_loader_needs_no_rights_on_anything_of_ours() {
    let db = Db::new();
    let loader = role(&db, "loader");
    db.sql(&format!(
        "CREATE TABLE events (id int, payload jsonb, at timestamptz) PARTITION BY RANGE (id);
         CREATE TABLE part PARTITION OF events FOR VALUES FROM (0) TO (100);
         SELECT attach_ip_source('events', '{{payload->>ip}}', 'at');
         GRANT INSERT ON events, part TO {loader};"
    ));
    let mut session = db.connect_as(&loader);
    run(&mut session, r#"INSERT INTO events VALUES (1, '{"ip":"51.68.0.1"}', '2024-01-01')"#);
    run(
        &mut session,
        r#"INSERT INTO part VALUES (2, '{"ip":"51.68.0.1"}', '2024-01-02'), (3, '{"ip":"nonsense"}', NULL)"#,
    );
    assert_eq!(db.counts(), ["51.68.0.1|2"]);
    assert_eq!(db.sources(), ["events|2|1"]);
    for table in ["events", "ip_inventory", "ip_observation", "ip_source"] {
        assert_eq!(refused(&mut session, &format!("SELECT * FROM {table}")).code, "42501", "{table}");
    }
}

#[test]
fn an_owner_attaches_with_two_grants_and_only_its_own_tables() {
    let db = Db::new();
    let (owner, other) = (role(&db, "owner"), role(&db, "other"));
    db.sql(&format!(
        "GRANT EXECUTE ON FUNCTION attach_ip_source, detach_ip_source, populate_ip_inventory, observe_addresses TO {owner}, {other};
         CREATE SCHEMA own AUTHORIZATION {owner}; GRANT USAGE ON SCHEMA own TO {other};"
    ));
    let mut session = db.connect_as(&owner);
    run(
        &mut session,
        "CREATE TABLE own.events (id int, ip inet) PARTITION BY RANGE (id);
         CREATE TABLE own.part PARTITION OF own.events FOR VALUES FROM (0) TO (10);
         INSERT INTO own.events VALUES (1, '51.68.1.1');",
    );
    let mut stranger = db.connect_as(&other);
    for call in ["SELECT attach_ip_source('own.events', '{ip}')", "SELECT attach_ip_source('own.events', '{no_such}')"]
    {
        let failure = refused(&mut stranger, call);
        assert_eq!(
            (failure.code.as_str(), failure.message.as_str()),
            ("42501", "must be owner of table \"events\""),
            "{call}"
        );
        assert!(!failure.hint.is_empty(), "{failure:?}");
    }
    run(&mut session, "SELECT attach_ip_source('own.events', '{ip}')");
    assert_eq!(db.value("SELECT attached_by FROM ip_source"), owner);
    // A partition that comes later, made by a role that may not touch our tables.
    run(&mut session, "CREATE TABLE own.later PARTITION OF own.events FOR VALUES FROM (10) TO (20)");
    run(&mut session, "INSERT INTO own.later VALUES (11, '51.68.1.2'); INSERT INTO own.events VALUES (2, '51.68.1.1')");
    for call in ["SELECT detach_ip_source('own.events')", "SELECT populate_ip_inventory('own.events')"] {
        let failure = refused(&mut stranger, call);
        assert_eq!(failure.code, "42501", "{call}: {failure:?}");
    }
    assert_eq!(db.counts(), ["51.68.1.1|1", "51.68.1.2|1"]);
    // Neither did the refused call use up the one time, nor did it take anything away.
    assert_eq!(value(&mut session, "SELECT populate_ip_inventory('own.events')"), "1");
    assert_eq!(db.counts(), ["51.68.1.1|2", "51.68.1.2|1"]);
    assert_eq!(db.sources(), ["own.events|3|0"]);
    run(&mut session, "SELECT detach_ip_source('own.events'); INSERT INTO own.events VALUES (3, '51.68.1.3')");
    assert_eq!(db.counts(), ["51.68.1.1|2", "51.68.1.2|1"]);
}

#[test]
fn a_refused_attach_does_not_block_writers() {
    let db = Db::new();
    let stranger = role(&db, "stranger");
    db.sql(&format!(
        "GRANT EXECUTE ON FUNCTION attach_ip_source, detach_ip_source, observe_addresses TO {stranger}; CREATE TABLE events (ip inet)"
    ));
    let mut writer = db.connect();
    run(&mut writer, "BEGIN; INSERT INTO events VALUES ('51.68.2.1')");
    let mut session = db.connect_as(&stranger);
    run(&mut session, "SET lock_timeout = '200ms'");
    // Refused at once: it does not even request the lock, behind which all others would wait.
    for call in ["SELECT attach_ip_source('events', '{ip}')", "SELECT detach_ip_source('events')"] {
        assert_eq!(refused(&mut session, call).code, "42501", "{call}");
    }
    run(&mut writer, "ROLLBACK");
}

/// An attacker's objects, first on every search_path: tables, functions, operators, types and casts of our names. All
/// of them raise errors, so that any accidental use shows.
const HOSTILE: &str = r#"
    CREATE SCHEMA evil;
    CREATE FUNCTION evil.trap() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
    CREATE TABLE evil.ip_observation (LIKE public.ip_observation, CHECK (evil.trap()));
    CREATE TABLE evil.ip_inventory (LIKE public.ip_inventory, CHECK (evil.trap()));
    CREATE TABLE evil.ip_source (LIKE public.ip_source, CHECK (evil.trap()));
    CREATE TABLE evil.pg_inherits (inhparent oid, inhrelid oid); CREATE TABLE evil.pg_trigger (tgrelid oid, tgname name);
    CREATE TABLE evil.pg_class (oid oid, relkind "char"); CREATE TYPE evil.ip_enrichment AS (x int);
    CREATE FUNCTION evil.observe_addresses() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
    CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
    CREATE FUNCTION evil.unnest(anyarray) RETURNS SETOF anyelement LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
    CREATE FUNCTION evil.unnest(public.ip_enrichment[]) RETURNS SETOF public.ip_enrichment LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
    CREATE FUNCTION evil._database_identity() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
    CREATE FUNCTION evil.jsonb_extract_path_text(jsonb, VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
    CREATE FUNCTION evil.eq(oid, oid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
    CREATE FUNCTION evil.eq(inet, inet) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
    CREATE FUNCTION evil.plus(bigint, bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
    CREATE FUNCTION evil.cat(text, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
    CREATE OPERATOR evil.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = evil.eq);
    CREATE OPERATOR evil.= (LEFTARG = inet, RIGHTARG = inet, FUNCTION = evil.eq);
    CREATE OPERATOR evil.+ (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.plus);
    CREATE OPERATOR evil.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.cat);
    GRANT USAGE ON SCHEMA evil TO PUBLIC; GRANT ALL ON ALL TABLES IN SCHEMA evil TO PUBLIC;
"#;

#[test]
fn objects_on_the_search_path_do_not_interfere() {
    let db = Db::new();
    let owner = role(&db, "owner");
    db.sql(HOSTILE);
    db.sql(&format!(
        "CREATE SCHEMA own AUTHORIZATION {owner};
         GRANT EXECUTE ON FUNCTION attach_ip_source, detach_ip_source, populate_ip_inventory, absorb_observations, enrich_ip, observe_addresses TO {owner};
         ALTER DATABASE {} SET search_path = evil, pg_catalog, public;",
        db.name
    ));
    // The worker comes back with the database's setting.
    let before = db.value("SELECT worker_pid FROM public.enrichment_status");
    db.sql(&format!("SELECT pg_terminate_backend({before})"));
    db.wait(&format!("SELECT worker = 'running' AND worker_pid <> {before} FROM public.enrichment_status"), "t");

    let mut session = db.connect_as(&owner);
    assert_eq!(value(&mut session, "SHOW search_path"), "evil, pg_catalog, public");
    // Temporary objects come first by default.
    run(
        &mut session,
        "CREATE TEMP TABLE ip_observation (x int); CREATE TEMP TABLE ip_inventory (x int); CREATE TEMP TABLE ip_source (x int);
         CREATE TEMP TABLE pg_inherits (x int); CREATE TEMP TABLE pg_class (x int)",
    );
    run(
        &mut session,
        r#"CREATE TABLE own.events (id int, ip inet, payload jsonb, raw json) PARTITION BY RANGE (id);
           CREATE TABLE own.part PARTITION OF own.events FOR VALUES FROM (0) TO (10);
           INSERT INTO own.events VALUES (1, '51.68.3.1');
           SELECT public.attach_ip_source('own.events', '{ip,payload->>ip,raw->>ip}');
           CREATE TABLE own.later PARTITION OF own.events FOR VALUES FROM (10) TO (20);
           INSERT INTO own.part VALUES (2, '51.68.3.1', '{"ip":"51.68.3.2"}', '{"ip":"51.68.3.3"}');
           INSERT INTO own.later VALUES (12, '51.68.3.1');"#,
    );
    assert_eq!(value(&mut session, "SELECT public.populate_ip_inventory('own.events')"), "1");
    run(&mut session, "SELECT public.absorb_observations(); SELECT public.enrich_ip('51.68.3.9')");
    let inventory = "SELECT host(ip_address), observation_count FROM public.ip_inventory ORDER BY ip_address";
    db.wait("SELECT count(*) FROM public.ip_observation", "0");
    assert_eq!(db.lines(inventory), ["51.68.3.1|3", "51.68.3.2|1", "51.68.3.3|1", "51.68.3.9|0"]);
    assert_eq!(db.lines("SELECT observations FROM public.ip_source"), ["5"]);
    run(&mut session, "SELECT public.detach_ip_source('own.events'); INSERT INTO own.part VALUES (3, '51.68.3.1')");
    assert_eq!(db.value("SELECT count(*) FROM public.ip_observation"), "0");
    assert!(!cluster().log().contains("hijacked"));
}
