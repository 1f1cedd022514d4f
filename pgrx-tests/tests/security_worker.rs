//! Code on a table never runs with more rights than the table's owner has, in any process of the extension and in any
//! function that writes for a caller.

use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The tables that the extension's processes and functions write.
pub const TABLES: [&str; 14] = [
    "ip_inventory",
    "ip_observation",
    "ip_source",
    "enrichment_run",
    "asn_inventory",
    "ip_asn_history",
    "inventory_count",
    "maxmind_walk",
    "cymru_prefix",
    "source_quota",
    "ip_sighting",
    "ip_sighting_source",
    "ip_activity",
    "ip_activity_count",
];

/// What ran with other rights than those of webapp, where the tables are webapp's.
pub const OTHERS: &str = "SELECT DISTINCT what, who FROM ran WHERE who <> 'webapp'";

pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster =
            Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").conf("max_worker_processes", "40").start();
        fixtures::small(&cluster.maxmind_dir());
        cluster.sql("postgres", "CREATE ROLE webapp LOGIN; CREATE ROLE reader LOGIN");
        cluster
    })
}

/// A database with the extension, and `evil(what)`: it notes who it runs as, and makes webapp a superuser where it can.
pub fn database() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let name = format!("worker_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let cluster = cluster();
    cluster.sql("postgres", &format!("CREATE DATABASE {name}"));
    cluster.sql(
        &name,
        "CREATE EXTENSION asn_inventory; GRANT CREATE ON SCHEMA public TO webapp;
         CREATE TABLE public.ran (what text, who name); GRANT ALL ON public.ran TO PUBLIC;
         CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')",
    );
    cluster.wait_value(&name, "SELECT worker FROM enrichment_status", "running");
    as_webapp(
        &name,
        "CREATE FUNCTION public.evil(what text) RETURNS boolean LANGUAGE plpgsql AS $$
         BEGIN
             INSERT INTO public.ran VALUES (what, current_user);
             BEGIN EXECUTE 'ALTER ROLE webapp SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
             RETURN true;
         END $$;
         CREATE FUNCTION public.evil_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN PERFORM public.evil('trigger ' || tg_name || ' on ' || tg_table_name); RETURN coalesce(NEW, OLD); END $$",
    );
    name
}

pub fn as_webapp(db: &str, sql: &str) {
    let mut session = cluster().connect_as("webapp", db);
    query(&mut session, sql).unwrap_or_else(|failure| panic!("{sql}\nfailed: {failure:?}"));
}

/// Has every process and every function of the extension write all that it writes.
fn make_them_write(db: &str) {
    let cluster = cluster();
    cluster.sql(db, "INSERT INTO events VALUES ('8.8.8.8'), ('1.1.1.1'), ('81.2.69.142')");
    cluster.wait_value(
        db,
        "SELECT count(*) FROM ip_inventory WHERE ip_address <<= '8.8.8.8' AND observation_count > 0",
        "1",
    );
    cluster.wait_value(db, "SELECT count(*) FROM ip_observation", "0");
    for sql in [
        "SELECT populate_ip_inventory('events')",
        "SELECT enrich_ip('81.2.69.143')",
        "SELECT enrich_ip('81.2.69.144', '20s')",
        "INSERT INTO events VALUES ('8.8.8.8'); SELECT absorb_observations()",
        "SELECT backfill_inventory(ips => '{51.68.1.1, 51.68.1.2}')",
        "SELECT refresh_range('0.0.0.0/0', 'maxmind')",
        "CREATE TABLE IF NOT EXISTS more (ip inet); SELECT attach_ip_source('more', '{ip}'); SELECT detach_ip_source('more')",
        "SELECT inventory_report()",
        "SELECT prometheus_metrics()",
        "SELECT * FROM enrichment_status, source_status",
    ] {
        // If owners differ, functions that read several tables say so, or may not call another owner's function.
        if let Err(failure) = cluster.try_sql(db, sql) {
            assert!(["55000", "42501"].contains(&failure.code.as_str()), "{sql}: {failure:?}");
        }
    }
}

/// Waits until the worker has counted the last writes.
fn counted(db: &str) {
    let cluster = cluster();
    cluster.sql(db, "INSERT INTO events VALUES ('8.8.4.4')");
    cluster.wait_value(db, "SELECT count(*) FROM ip_inventory WHERE ip_address = '8.8.4.4'", "1");
    cluster.wait_value(db, "SELECT addresses = (SELECT count(*) FROM ip_inventory) FROM inventory_count", "t");
}

pub fn nobody_is_superuser(db: &str) {
    let supers = "SELECT string_agg(rolname, ',' ORDER BY rolname) FROM pg_roles WHERE rolsuper";
    assert_eq!(cluster().value(db, supers), "postgres");
}

#[test]
fn a_foreign_trigger_on_our_tables_does_not_fire() {
    let db = database();
    let cluster = cluster();
    for table in TABLES {
        cluster.sql(&db, &format!("GRANT ALL ON {table} TO webapp"));
        as_webapp(
            &db,
            &format!(
                "CREATE TRIGGER r BEFORE INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION public.evil_trigger();
                 CREATE TRIGGER s AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION public.evil_trigger();
                 CREATE CONSTRAINT TRIGGER d AFTER INSERT OR UPDATE OR DELETE ON {table} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.evil_trigger()"
            ),
        );
    }
    make_them_write(&db);
    // Changes by hand go into the history, and no trigger there belongs to that user.
    cluster.sql(
        &db,
        "ALTER TABLE ip_inventory DISABLE TRIGGER r, DISABLE TRIGGER s, DISABLE TRIGGER d;
                      UPDATE ip_inventory SET asn_number = 64500 WHERE ip_address = '8.8.8.8'",
    );
    cluster.sql(&db, "SELECT refresh_range('8.8.8.8', 'maxmind')");
    assert_eq!(cluster.value(&db, "SELECT count(*) FROM ip_asn_history"), "2");
    cluster.sql(&db, "ALTER TABLE inventory_count DISABLE TRIGGER r, DISABLE TRIGGER s, DISABLE TRIGGER d");
    counted(&db);
    assert_eq!(cluster.lines(&db, "SELECT DISTINCT what, who FROM ran ORDER BY 1"), [""; 0]);
    nobody_is_superuser(&db);
    // Each is named by the doctor, with the right that it took.
    let named = "SELECT count(DISTINCT detail) FROM enrichment_doctor() WHERE check_name = 'foreign code' AND detail LIKE 'Trigger %'";
    assert_eq!(cluster.value(&db, named), "42");
    let right = "SELECT remedy FROM enrichment_doctor() WHERE check_name = 'grants' AND detail = 'webapp may trigger public.ip_inventory.'";
    assert_eq!(cluster.value(&db, right), "REVOKE TRIGGER ON public.ip_inventory FROM webapp;");
}

/// Code that an owner may put on its table. It runs as that owner, or not at all.
fn plant_as_owner(db: &str, table: &str, column: &str, kind: &str) {
    as_webapp(
        db,
        &format!(
            "CREATE TRIGGER r BEFORE INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION public.evil_trigger();
             CREATE TRIGGER always BEFORE INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION public.evil_trigger();
             ALTER TABLE {table} ENABLE ALWAYS TRIGGER always;
             ALTER TABLE {table} ADD CONSTRAINT checked CHECK (public.evil('constraint on {table}'));
             ALTER TABLE {table} ADD COLUMN planted boolean DEFAULT public.evil('default on {table}');
             CREATE FUNCTION public.key_{table}(k {kind}) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
                 $$ BEGIN RETURN public.evil('index on {table}'); END $$;
             CREATE INDEX ON {table} (public.key_{table}({column}));
             ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
             CREATE POLICY p ON {table} USING (public.evil('policy on {table}')) WITH CHECK (public.evil('policy on {table}'))"
        ),
    );
}

const KEYS: [(&str, &str, &str); 9] = [
    ("ip_inventory", "ip_address", "inet"),
    ("ip_source", "tbl", "regclass"),
    ("enrichment_run", "job_id", "bigint"),
    ("asn_inventory", "asn_number", "bigint"),
    ("ip_asn_history", "old_asn", "bigint"),
    ("inventory_count", "addresses", "bigint"),
    ("maxmind_walk", "walked_at", "timestamptz"),
    ("cymru_prefix", "prefix", "cidr"),
    ("source_quota", "source", "text"),
];

#[test]
fn an_owners_code_on_all_tables_runs_as_that_owner() {
    let db = database();
    let cluster = cluster();
    for table in TABLES {
        cluster.sql(&db, &format!("ALTER TABLE {table} OWNER TO webapp"));
    }
    // Not the views: a reader of a view runs the policies of its owner's tables, by PostgreSQL's rules.
    cluster.sql(&db, "ALTER SEQUENCE enrichment_job_id OWNER TO webapp");
    for (table, column, kind) in KEYS {
        plant_as_owner(&db, table, column, kind);
    }
    cluster.sql(&db, "TRUNCATE ran");
    make_them_write(&db);
    counted(&db);
    assert_eq!(cluster.lines(&db, OTHERS), [""; 0]);
    // A superuser who writes and reads by hand, as these tests do, runs code on a table; the extension's processes do
    // not.
    cluster.sql(&db, "TRUNCATE ran");
    cluster.sql(&db, "INSERT INTO events VALUES ('8.8.8.9'); SELECT attach_ip_source('events', '{ip}'); SELECT populate_ip_inventory('events')");
    cluster.wait_value(&db, "SELECT count(*) FROM ip_inventory WHERE ip_address = '8.8.8.9'", "1");
    cluster.sql(&db, "SELECT refresh_range('8.8.8.0/24', 'maxmind')");
    assert_eq!(cluster.lines(&db, OTHERS), [""; 0], "{:?}", cluster.lines(&db, "SELECT DISTINCT what, who FROM ran"));
    nobody_is_superuser(&db);
    let owners =
        "SELECT count(*) FROM enrichment_doctor() WHERE check_name = 'owners' AND detail LIKE '% belongs to webapp%'";
    assert_eq!(cluster.value(&db, owners), "15");
}

#[test]
fn one_table_with_another_owner_is_written_as_that_owner() {
    for (table, column, kind) in KEYS {
        let db = database();
        let cluster = cluster();
        cluster.sql(&db, &format!("ALTER TABLE {table} OWNER TO webapp"));
        plant_as_owner(&db, table, column, kind);
        cluster.sql(&db, "TRUNCATE ran");
        cluster.sql(&db, "INSERT INTO events VALUES ('8.8.8.8'), ('1.1.1.1')");
        cluster.wait_value(&db, "SELECT count(*) FROM ip_observation", "0");
        for sql in [
            "SELECT backfill_inventory(ips => '{51.68.1.1}')",
            "SELECT refresh_range('0.0.0.0/0', 'maxmind')",
            "CREATE TABLE IF NOT EXISTS more (ip inet); SELECT attach_ip_source('more', '{ip}'); SELECT populate_ip_inventory('more'); SELECT detach_ip_source('more')",
            "SELECT prometheus_metrics()",
            "SELECT inventory_report()",
        ] {
            if let Err(failure) = cluster.try_sql(&db, sql) {
                assert_eq!(failure.code, "55000", "{table}: {sql}: {failure:?}");
            }
        }
        cluster.wait_value(&db, "SELECT count(*) >= 3 FROM ip_inventory", "t");
        assert_eq!(cluster.lines(&db, OTHERS), [""; 0], "{table}");
        nobody_is_superuser(&db);
    }
}

#[test]
fn an_altered_table_crashes_no_process() {
    let cluster = cluster();
    for change in [
        "ALTER TABLE ip_observation ADD COLUMN more int",
        "ALTER TABLE ip_observation ALTER seen TYPE text",
        "ALTER TABLE ip_observation DROP COLUMN packed",
        "ALTER TABLE ip_observation RENAME TO elsewhere; CREATE VIEW ip_observation AS SELECT * FROM elsewhere",
        "ALTER TABLE ip_inventory ALTER city TYPE int USING NULL",
        "ALTER TABLE ip_inventory ALTER asn_org TYPE bigint USING NULL, ALTER maxmind_ts TYPE text",
        "ALTER TABLE ip_asn_history ALTER old_asn TYPE text",
        "ALTER TABLE ip_asn_history RENAME TO elsewhere",
        "ALTER TABLE ip_source ALTER ip_columns TYPE text USING 'x'",
        "ALTER TABLE maxmind_walk ALTER generations TYPE text USING 'x'",
        "ALTER TABLE cymru_prefix DROP COLUMN origins",
        "ALTER TABLE source_quota DROP COLUMN used",
        "ALTER TABLE ip_inventory RENAME ip_address TO old; ALTER TABLE ip_inventory ADD ip_address bigint NOT NULL DEFAULT 3",
        "ALTER TABLE ip_inventory RENAME city TO old; ALTER TABLE ip_inventory ADD city bigint DEFAULT 3",
        "ALTER TABLE ip_source RENAME attached_snapshot TO old; ALTER TABLE ip_source ADD attached_snapshot bigint DEFAULT 3",
        "ALTER TABLE asn_inventory RENAME asn_org TO old; ALTER TABLE asn_inventory ADD asn_org bigint DEFAULT 3",
        "ALTER TABLE enrichment_run RENAME detail TO old; ALTER TABLE enrichment_run ADD detail bigint DEFAULT 3",
    ] {
        let db = database();
        let started = cluster.value("postgres", "SELECT pg_postmaster_start_time()");
        let pid = cluster.value("postgres", "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'");
        // Views that stand on it may be in the way: then they go first.
        cluster.sql(
            &db,
            &format!(
                "SET client_min_messages = error; DO $$ BEGIN EXECUTE '{}'; EXCEPTION WHEN OTHERS THEN NULL; END $$",
                change.replace('\'', "''")
            ),
        );
        for sql in [
            "INSERT INTO events VALUES ('8.8.8.8')",
            "SELECT enrich_ip('8.8.8.8')",
            "SELECT enrich_ip('8.8.8.8', '1s')",
            "SELECT absorb_observations()",
            "UPDATE ip_inventory SET asn_number = 1",
            "SELECT refresh_range('8.8.8.8', 'maxmind')",
            "SELECT populate_ip_inventory('events')",
            "SELECT attach_ip_source('events', '{ip}')",
            "SELECT prometheus_metrics()",
            "SELECT inventory_report()",
            "SELECT * FROM enrichment_status",
        ] {
            let _ = cluster.try_sql(&db, sql);
        }
        assert_eq!(cluster.value("postgres", "SELECT pg_postmaster_start_time()"), started, "{change}");
        assert_eq!(
            cluster.value("postgres", "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"),
            pid,
            "{change}"
        );
        cluster.sql("postgres", &format!("DROP DATABASE {db}"));
    }
}

#[test]
fn settings_that_an_owners_code_makes_end_with_it() {
    let db = database();
    let cluster = cluster();
    cluster.sql(
        &db,
        "ALTER TABLE ip_source OWNER TO webapp; CREATE SCHEMA evil AUTHORIZATION webapp; GRANT USAGE ON SCHEMA evil TO PUBLIC",
    );
    as_webapp(
        &db,
        "CREATE FUNCTION evil.add(bigint, bigint) RETURNS bigint LANGUAGE plpgsql AS
             $$ BEGIN PERFORM public.evil('add'); RETURN pg_catalog.int8pl($1, $2); END $$;
         CREATE OPERATOR evil.+ (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.add);
         CREATE FUNCTION evil.chk() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
             PERFORM pg_catalog.set_config('search_path', 'evil, pg_catalog', false);
             PERFORM pg_catalog.set_config('default_transaction_read_only', 'on', false); RETURN true; END $$;
         ALTER TABLE ip_source ADD CHECK (evil.chk())",
    );
    for count in 1..=3 {
        cluster.sql(&db, "INSERT INTO events VALUES ('1.1.1.1')");
        let observed = "SELECT observation_count FROM ip_inventory WHERE ip_address = '1.1.1.1'";
        cluster.wait_value(&db, observed, &count.to_string());
        cluster.wait_value(&db, "SELECT observations FROM ip_source", &count.to_string());
    }
    let mut session = cluster.connect(&db);
    let after = "SELECT attach_ip_source('events', '{ip}'); SELECT populate_ip_inventory('events');
        SELECT absorb_observations(); SHOW search_path";
    let path = query(&mut session, after).expect("attached again").pop().expect("a row");
    assert_eq!(path, [Some("\"$user\", public".to_owned())]);
    assert_eq!(cluster.lines(&db, "SELECT DISTINCT who FROM ran WHERE who <> 'webapp'"), [""; 0]);
    nobody_is_superuser(&db);
}

#[test]
fn a_child_of_one_of_the_tables_is_not_written_and_is_named() {
    let db = database();
    let cluster = cluster();
    cluster.sql(&db, "CREATE TABLE old_source () INHERITS (ip_source); ALTER TABLE old_source OWNER TO webapp");
    as_webapp(
        &db,
        "INSERT INTO old_source (tbl, ip_columns) VALUES ('events', '{ip}');
         CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON old_source FOR EACH ROW EXECUTE FUNCTION public.evil_trigger();
         ALTER TABLE old_source ENABLE ALWAYS TRIGGER t; TRUNCATE ran",
    );
    cluster.sql(&db, "INSERT INTO events VALUES ('1.1.1.1')");
    cluster.wait_value(&db, "SELECT count(*) FROM ip_inventory", "1");
    let refused = cluster.fails(&db, "SELECT attach_ip_source('events', '{ip}')");
    assert_eq!(refused.code, "55000", "{refused:?}");
    assert_eq!(cluster.lines(&db, "SELECT DISTINCT who FROM ran"), [""; 0]);
    nobody_is_superuser(&db);
    let named =
        "SELECT remedy FROM enrichment_doctor() WHERE check_name = 'foreign code' AND detail LIKE 'The child table%'";
    cluster.sql(&db, &cluster.value(&db, named));
    cluster.wait_value(&db, "SELECT observations FROM ip_source", "1");
}

#[test]
fn an_owners_code_does_not_bypass_foreign_keys_of_other_roles() {
    let db = database();
    let cluster = cluster();
    cluster.sql(
        &db,
        "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int REFERENCES parent);
         INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1); GRANT DELETE ON parent TO webapp;
         ALTER TABLE ip_inventory OWNER TO webapp",
    );
    as_webapp(
        &db,
        "CREATE FUNCTION public.chk() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
             DELETE FROM public.parent; PERFORM public.evil('deleted'); RETURN true;
         EXCEPTION WHEN foreign_key_violation THEN PERFORM public.evil('refused'); RETURN true; END $$;
         ALTER TABLE ip_inventory ADD CHECK (public.chk()); TRUNCATE ran",
    );
    make_them_write(&db);
    assert_eq!(cluster.lines(&db, "SELECT DISTINCT what FROM ran"), ["refused"]);
    assert_eq!(cluster.value(&db, "SELECT count(*) FROM parent"), "1");
    nobody_is_superuser(&db);
}

/// Whoever queries a table runs code of its owner's: the planner calls immutable functions of constants in its indexes.
pub const CONSTANT: &str = "CREATE FUNCTION public.constant(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS
    $$ BEGIN RETURN (SELECT public.evil('index')); END $$";

/// A third role plans a query of the table, and it runs as that role: so it would be noted if a superuser's query ran it.
fn read_by_reader(db: &str, table: &str) {
    cluster().sql(db, &format!("GRANT SELECT ON {table} TO reader"));
    let mut reader = cluster().connect_as("reader", db);
    query(&mut reader, &format!("EXPLAIN SELECT FROM {table}")).expect("a plan");
    assert_eq!(cluster().lines(db, OTHERS), ["index|reader"], "{table}");
}

#[test]
fn the_doctor_and_a_purge_by_a_superuser_run_no_code_of_an_owner() {
    let db = database();
    let cluster = cluster();
    let could_not = "SELECT count(*) FROM enrichment_doctor() WHERE detail LIKE 'Could not look%'";
    cluster.sql(&db, "ALTER TABLE ip_source OWNER TO webapp");
    // A table of another role without such code is read, once no VACUUM is at it.
    cluster.wait_value(&db, could_not, "0");
    as_webapp(&db, &format!("{CONSTANT}; CREATE INDEX planted ON ip_source ((public.constant(1))); TRUNCATE ran"));
    read_by_reader(&db, "ip_source");
    let left_out = "SELECT check_name, remedy FROM enrichment_doctor() WHERE detail LIKE 'Could not look: index public.planted on public.ip_source calls code%'";
    let found = cluster.lines(&db, left_out);
    for check in ["triggers", "columns", "observer indexes", "partitions", "unobserved"] {
        assert!(found.contains(&format!("{check}|DROP INDEX public.planted;")), "{check}: {found:?}");
    }
    // The others look, and name it.
    let named = "SELECT detail FROM enrichment_doctor() WHERE check_name = 'foreign code'";
    let detail = cluster.value(&db, named);
    assert!(
        detail.starts_with("Index planted on public.ip_source") && detail.contains("queries the table"),
        "{detail}"
    );
    assert_eq!(cluster.lines(&db, OTHERS), ["index|reader"]);
    // The lock that keeps more code from being made meanwhile is given back.
    let mut session = cluster.connect(&db);
    let held = "BEGIN; SELECT count(*) FROM enrichment_doctor();
        SELECT count(*) FROM pg_locks WHERE relation = 'ip_source'::regclass AND mode = 'ShareUpdateExclusiveLock' AND pid = pg_backend_pid()";
    let rows = query(&mut session, held).expect("the doctor");
    assert_eq!(rows.last(), Some(&vec![Some("0".to_owned())]));
    query(&mut session, "ROLLBACK").expect("a rollback");
    cluster.sql(&db, &cluster.value(&db, "SELECT remedy FROM enrichment_doctor() WHERE check_name = 'foreign code'"));
    cluster.wait_value(&db, could_not, "0");
    // A purge writes, so no table of such a role is read at all.
    cluster.sql(&db, "ALTER TABLE ip_asn_history OWNER TO webapp");
    as_webapp(&db, "CREATE INDEX ON ip_asn_history ((public.constant(1)))");
    let refused = cluster.fails(&db, "SELECT purge_expired_maxmind()");
    assert_eq!(refused.message, "tables of asn_inventory belong to a role that is not a superuser", "{refused:?}");
    assert_eq!(cluster.lines(&db, OTHERS), ["index|reader"]);
    nobody_is_superuser(&db);
}

#[test]
fn a_condition_of_an_index_of_the_history_does_not_run_as_who_corrects_the_inventory() {
    let db = database();
    let cluster = cluster();
    cluster.sql(&db, "ALTER TABLE ip_asn_history OWNER TO webapp");
    // The index by which the trigger looks for the last change.
    as_webapp(
        &db,
        &format!(
            "{CONSTANT}; DROP INDEX ip_asn_history_lookup;
             CREATE INDEX ON ip_asn_history (ip_address, changed_at) WHERE public.constant(1); TRUNCATE ran"
        ),
    );
    read_by_reader(&db, "ip_asn_history");
    cluster.sql(&db, "INSERT INTO events VALUES ('220.1.2.3')");
    let unknown = "SELECT count(*) FROM ip_inventory WHERE ip_address = '220.1.2.3' AND asn_number IS NULL AND maxmind_status <> 'pending'";
    cluster.wait_value(&db, unknown, "1");
    cluster.sql(&db, "UPDATE ip_inventory SET asn_number = 64500 WHERE ip_address = '220.1.2.3'");
    assert_eq!(cluster.lines(&db, OTHERS), ["index|reader"]);
    nobody_is_superuser(&db);
}

#[test]
fn errors_of_an_owners_code_do_not_fill_the_log() {
    let db = database();
    let cluster = cluster();
    cluster.sql(&db, "ALTER TABLE ip_inventory OWNER TO webapp");
    as_webapp(
        &db,
        "CREATE FUNCTION public.loud() RETURNS boolean LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'loud %', repeat(E'line\\n\\x1b[31m', 500000); END $$;
         ALTER TABLE ip_inventory ADD CHECK (public.loud()) NOT VALID",
    );
    let before = cluster.log().len();
    cluster.sql(&db, "INSERT INTO events SELECT '46.148.1.0'::inet + n FROM generate_series(1, 200) n");
    wait_until("the failure to be in the log", || cluster.log()[before..].contains("loud line"));
    cluster.sql(&db, "ALTER TABLE ip_inventory DROP CONSTRAINT ip_inventory_check");
    cluster.wait_value(&db, "SELECT count(*) FROM ip_inventory WHERE ip_address <<= '46.148.1.0/24'", "200");
    let log = cluster.log();
    assert!(log[before..].len() < 2_000_000, "{} bytes", log[before..].len());
    assert!(log[before..].lines().filter(|line| line.contains("loud")).all(|line| line.len() < 1_500));
    assert!(!log[before..].contains('\x1b'), "raw control characters in the log");
}
