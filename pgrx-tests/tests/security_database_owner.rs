//! A role that owns the database and is no superuser becomes none by the extension: it changes nothing of it, the worker runs
//! none of its code, and other databases notice nothing.

use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;
use postgres::{Client, NoTls};

const DB: &str = "owned";
const OTHER: &str = "another";

/// Code that notes who it runs as, and makes its owner a superuser where it can.
const EVIL: &str = "CREATE SCHEMA planted;
    CREATE TABLE public.ran (what text, who name);
    GRANT ALL ON public.ran TO PUBLIC;
    CREATE FUNCTION public.evil(what text) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        INSERT INTO public.ran VALUES (what, current_user);
        BEGIN EXECUTE 'ALTER ROLE webowner SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
        RETURN true;
    END $$;
    CREATE FUNCTION public.evil_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM public.evil('trigger on ' || tg_table_name); RETURN NEW; END $$;
    CREATE FUNCTION public.evil_event() RETURNS event_trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM public.evil('event trigger'); END $$";

/// Objects with the names of PostgreSQL's and of ours, in a schema of the owner's and in that of the extension.
const PLANTED: &str = "DO $do$
    DECLARE place text; kind text; what text;
    BEGIN
        FOREACH place IN ARRAY '{planted,public}'::text[] LOOP
            FOREACH kind IN ARRAY '{inet,text,name,bigint,integer,boolean,timestamptz,oid,regclass,bytea}'::text[] LOOP
                EXECUTE format('CREATE FUNCTION %I.planted(%s, %2$s) RETURNS boolean LANGUAGE plpgsql AS
                    $f$ BEGIN RETURN public.evil(%3$L); END $f$', place, kind, 'operator of ' || kind);
                FOREACH what IN ARRAY '{=,<>,<,<=,>,>=,||,+,-,<<=}'::text[] LOOP
                    EXECUTE format('CREATE OPERATOR %I.%s (LEFTARG = %s, RIGHTARG = %3$s, FUNCTION = %1$I.planted)', place, what, kind);
                END LOOP;
            END LOOP;
            FOREACH what IN ARRAY '{now(),clock_timestamp(),current_setting(text),host(inet),family(inet),lower(text),length(text),
                    quote_ident(text),to_regclass(text),pg_backend_pid(),pg_relation_size(regclass)}'::text[] LOOP
                EXECUTE format('CREATE FUNCTION %I.%s RETURNS text LANGUAGE plpgsql AS
                    $f$ BEGIN PERFORM public.evil(%L); RETURN NULL; END $f$', place, what, what);
            END LOOP;
            FOREACH what IN ARRAY '{pg_class,pg_extension,pg_namespace,pg_database,pg_stat_activity,pg_inherits}'::text[] LOOP
                EXECUTE format('CREATE VIEW %I.%I AS SELECT * FROM pg_catalog.%2$I WHERE public.evil(%2$L)', place, what);
            END LOOP;
        END LOOP;
        FOREACH what IN ARRAY '{ip_inventory,ip_observation,ip_source,asn_inventory,enrichment_run}'::text[] LOOP
            EXECUTE format('CREATE TABLE planted.%I (ip_address inet)', what);
            EXECUTE format('CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON planted.%I
                FOR EACH STATEMENT EXECUTE FUNCTION public.evil_trigger()', what);
        END LOOP;
        FOREACH place IN ARRAY '{planted,public}'::text[] LOOP
            FOREACH what IN ARRAY '{inet,text,timestamptz,int8,jsonb}'::text[] LOOP
                EXECUTE format('CREATE DOMAIN %I.%I AS pg_catalog.%2$I CHECK (public.evil(%3$L))', place, what, 'type ' || what);
            END LOOP;
        END LOOP;
    END $do$";

/// What PostgreSQL and the extension refuse to the owner, with the SQLSTATE.
const REFUSED: [(&str, &str); 22] = [
    ("42501", "ALTER ROLE webowner SUPERUSER"),
    ("42501", "GRANT pg_execute_server_program TO webowner"),
    ("42501", "ALTER SYSTEM SET asn_inventory.cymru = off"),
    ("42501", "SELECT pg_reload_conf()"),
    ("42501", "SHOW asn_inventory.greynoise_api_key"),
    ("42501", "CREATE EVENT TRIGGER evil ON ddl_command_start EXECUTE FUNCTION public.evil_event()"),
    ("42501", "CREATE FUNCTION public.evil_c() RETURNS integer LANGUAGE c AS 'asn_inventory', 'ip_class'"),
    ("42501", "ALTER EXTENSION asn_inventory UPDATE"),
    ("42501", "ALTER EXTENSION asn_inventory ADD FUNCTION public.evil(text)"),
    ("42501", "DROP EXTENSION asn_inventory"),
    // The owner of a database has the schema `public`, and may drop what is in it, but no part of an extension.
    ("2BP01", "DROP TABLE public.ip_inventory"),
    ("42501", "ALTER TABLE public.ip_inventory ADD CHECK (public.evil('a check'))"),
    ("42501", "ALTER TABLE public.ip_observation DISABLE TRIGGER ALL"),
    (
        "42501",
        "CREATE TRIGGER t BEFORE INSERT ON public.ip_inventory FOR EACH ROW EXECUTE FUNCTION public.evil_trigger()",
    ),
    ("42501", "CREATE RULE r AS ON INSERT TO public.ip_observation DO ALSO SELECT public.evil('a rule')"),
    ("42501", "CREATE INDEX ON public.ip_inventory (ip_address) WHERE public.evil('an index')"),
    ("42501", "CREATE POLICY p ON public.ip_source USING (public.evil('a policy'))"),
    ("42501", "CREATE TABLE public.child () INHERITS (public.ip_inventory)"),
    ("42501", "INSERT INTO public.ip_source (tbl, ip_columns) VALUES ('public.ran', '{what}')"),
    ("42501", "SELECT public.attach_ip_source('public.ran', '{what}')"),
    ("42501", "SELECT public.enrichment_doctor()"),
    ("42501", "SELECT packed FROM public.ip_observation"),
];

/// Two databases with the extension and an attached table each; one of them is webowner's.
fn start() -> Cluster {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql("postgres", "CREATE ROLE webowner LOGIN");
    cluster.sql("postgres", &format!("CREATE DATABASE {DB} OWNER webowner"));
    cluster.sql("postgres", &format!("CREATE DATABASE {OTHER}"));
    for db in [DB, OTHER] {
        cluster.sql(
            db,
            "CREATE EXTENSION asn_inventory; CREATE TABLE events (ip inet); GRANT INSERT ON events TO PUBLIC;
             SELECT attach_ip_source('events', '{ip}')",
        );
        cluster.wait_value(db, "SELECT worker FROM enrichment_status", "running");
    }
    cluster
}

/// A session of a superuser that the settings of the database do not reach.
fn plain(cluster: &Cluster) -> Client {
    cluster.config(DB).options("-c role=none -c search_path=public").connect(NoTls).expect("a session")
}

fn value(session: &mut Client, sql: &str) -> String {
    let rows = query(session, sql).unwrap_or_else(|failure| panic!("{sql}\nfailed: {failure:?}"));
    rows.into_iter().flatten().next().flatten().unwrap_or_default()
}

fn nobody_became_superuser(cluster: &Cluster) {
    let supers = "SELECT string_agg(rolname, ',') FROM pg_roles WHERE rolsuper";
    assert_eq!(cluster.value("postgres", supers), "postgres");
}

#[test]
fn an_owner_of_the_database_changes_nothing_of_the_extension() {
    let cluster = start();
    let mut owner = cluster.connect_as("webowner", DB);
    value(&mut owner, EVIL);
    for (code, sql) in REFUSED {
        let failure = query(&mut owner, sql).err().unwrap_or_else(|| panic!("{sql}\nis not refused"));
        assert_eq!(failure.code, code, "{sql}: {failure:?}");
    }
    // A function in place of ours.
    let replace = "CREATE OR REPLACE FUNCTION public.note_new_observer() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$";
    assert_eq!(query(&mut owner, replace).expect_err("refused").code, "42501");
    // Of the settings, the switch alone is the owner's, in this database.
    let mut his = Vec::new();
    for setting in cluster.lines(DB, "SELECT name, setting FROM pg_settings WHERE name LIKE 'asn\\_inventory.%'") {
        let (name, now) = setting.split_once('|').expect("two columns");
        if query(&mut owner, &format!("ALTER DATABASE {DB} SET {name} = '{now}'")).is_ok() {
            his.push(name.to_owned());
        }
    }
    assert_eq!(his, ["asn_inventory.enabled"]);
    assert_eq!(cluster.lines(DB, "SELECT what, who FROM ran"), [""; 0]);
    nobody_became_superuser(&cluster);
    // To make the extension is a superuser's.
    let mut before = cluster.connect_as("webowner", DB);
    cluster.sql(DB, "DROP EXTENSION asn_inventory");
    assert_eq!(query(&mut before, "CREATE EXTENSION asn_inventory").expect_err("refused").code, "42501");
}

#[test]
fn objects_and_settings_of_a_databases_owner_do_not_reach_the_worker() {
    let cluster = start();
    let mut owner = cluster.connect_as("webowner", DB);
    value(&mut owner, EVIL);
    value(&mut owner, PLANTED);
    cluster.stop_worker(DB);
    for setting in ["search_path = planted, public, pg_catalog", "role = webowner"] {
        value(&mut owner, &format!("ALTER DATABASE {DB} SET {setting}"));
    }
    cluster.set("asn_inventory.databases", "");
    let mut session = plain(&cluster);
    wait_until("a worker that the settings are for", || {
        value(&mut session, "SELECT worker FROM enrichment_status") == "running"
    });
    // Absorbing, a wait for an answer, jobs with helpers, the history, the counts.
    value(&mut session, "INSERT INTO events VALUES ('8.8.8.8'), ('81.2.69.142'), ('10.0.0.1')");
    wait_until("the events", || {
        value(&mut session, "SELECT sum(observation_count) FROM ip_inventory WHERE maxmind_status <> 'pending'") == "3"
    });
    assert_eq!(value(&mut session, "SELECT country_code FROM enrich_ip('1.1.1.1', '20s')"), "AU");
    assert_eq!(
        value(&mut session, "SELECT format('%s/%s', processed, errors) FROM backfill_inventory(ips => '{51.68.0.1}')"),
        "1/0"
    );
    value(&mut session, "UPDATE ip_inventory SET asn_number = 1 WHERE ip_address = '8.8.8.8'");
    assert_eq!(value(&mut session, "SELECT errors FROM refresh_range('8.8.8.8', 'maxmind')"), "0");
    wait_until("the counts", || {
        value(&mut session, "SELECT addresses = (SELECT count(*) FROM ip_inventory) FROM inventory_count") == "t"
    });
    wait_until("the hours", || {
        value(&mut session, "SELECT count(*) FROM ip_activity WHERE NOT counted AND source_id >= 0") == "0"
    });
    value(&mut session, "SELECT * FROM enrichment_status, source_status");
    for call in
        ["populate_ip_inventory('events')", "absorb_observations()", "enrichment_doctor()", "prometheus_metrics()"]
    {
        value(&mut session, &format!("SELECT {call}"));
    }
    assert_eq!(value(&mut session, "SELECT string_agg(DISTINCT format('%s as %s', what, who), ', ') FROM ran"), "");
    nobody_became_superuser(&cluster);
    // It would have been seen: a session of the owner's finds what was planted.
    let mut owner = cluster.connect_as("webowner", DB);
    value(&mut owner, "SELECT 1::pg_catalog.int8 = 2::pg_catalog.int8");
    assert_eq!(
        value(&mut session, "SELECT string_agg(DISTINCT format('%s as %s', what, who), ', ') FROM ran"),
        "operator of bigint as webowner"
    );
}

#[test]
fn an_owner_switches_off_and_drops_a_database_of_his_own_alone() {
    let cluster = start();
    let mut owner = cluster.connect_as("webowner", "postgres");
    value(&mut owner, &format!("ALTER DATABASE {DB} SET asn_inventory.enabled = off"));
    let mut his = cluster.connect_as("webowner", DB);
    value(&mut his, "INSERT INTO public.events VALUES ('8.8.8.8')");
    drop(his);
    cluster.sql(OTHER, "INSERT INTO events VALUES ('8.8.8.8')");
    cluster.wait_value(OTHER, "SELECT count(*) FROM ip_inventory", "1");
    assert_eq!(
        cluster.value(
            DB,
            "SELECT (SELECT count(*) FROM ip_observation WHERE seen > 0) + (SELECT count(*) FROM ip_inventory)"
        ),
        "0"
    );
    let failure = query(&mut owner, &format!("DROP DATABASE {OTHER}")).expect_err("refused");
    assert_eq!(failure.code, "42501", "{failure:?}");
    // The session that asked last may not have ended yet.
    wait_until("the database to be gone", || query(&mut owner, &format!("DROP DATABASE IF EXISTS {DB}")).is_ok());
    cluster.sql(OTHER, "INSERT INTO events VALUES ('81.2.69.142')");
    cluster.wait_value(OTHER, "SELECT count(*) FROM ip_inventory", "2");
    nobody_became_superuser(&cluster);
}
