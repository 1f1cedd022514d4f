//! The extension's scripts bind nothing to an object that another role put into its schema, at an install and at an
//! update.

use asn_inventory_tests::prelude::*;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster = Cluster::builder().conf("max_worker_processes", "40").start();
        fixtures::small(&cluster.maxmind_dir());
        cluster.sql("postgres", "CREATE ROLE mallory LOGIN");
        cluster
    })
}

/// Every word of the scripts that may be a function's name.
fn words() -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let sql = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql");
    // The doctor's queries are parsed at the call.
    let doctor = sql.join("../src/functions/doctor");
    for dir in [sql.clone(), sql.join("install"), sql.join("upgrade"), doctor] {
        for entry in
            std::fs::read_dir(dir).expect("sql").flatten().filter(|e| e.path().extension().is_some_and(|x| x == "sql"))
        {
            let text = std::fs::read_to_string(entry.path()).expect("a script");
            for (at, _) in text.match_indices('(') {
                let before = text[..at].trim_end_matches(' ');
                let start = before
                    .rfind(|c: char| !c.is_ascii_lowercase() && c != '_' && !c.is_ascii_digit())
                    .map_or(0, |i| i + 1);
                words.insert(before[start..].to_owned());
            }
        }
    }
    words
}

/// Plants, as mallory in the extension's schema: for every function of the system that the scripts name, overloads that
/// fit better than `VARIADIC "any"` and polymorphic ones; for every operator they use, one for types that the system has
/// none for. Each one that runs makes mallory a superuser.
fn plant(db: &str) {
    let cluster = cluster();
    cluster.sql("postgres", &format!("CREATE DATABASE {db}"));
    cluster.sql(db, "GRANT CREATE ON SCHEMA public TO mallory");
    let mut mallory = cluster.connect_as("mallory", db);
    let mut planted = 0;
    let names: Vec<String> = words().into_iter().map(|word| format!("'{word}'")).collect();
    let known = cluster.lines(
        db,
        &format!(
            "SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f'
                  AND proname IN ({}) ORDER BY 1",
            names.join(",")
        ),
    );
    assert!(known.len() > 30, "{known:?}");
    let kinds =
        ["text", "bigint", "integer", "numeric", "inet", "cidr", "timestamptz", "boolean", "name", "double precision"];
    let body = "RETURNS text LANGUAGE plpgsql AS $$ BEGIN ALTER ROLE mallory SUPERUSER; RETURN 'hijacked'; END $$";
    let mut signatures: Vec<String> = vec![String::new()];
    for a in kinds {
        signatures.push(a.into());
        signatures.extend(kinds.iter().map(|b| format!("{a}, {b}")));
    }
    signatures.extend(
        [
            "text, text, text",
            "text, text, text, text",
            "text, text, numeric",
            "text, text, bigint",
            "text, name",
            "text, regclass, name",
            "text, regclass, text",
            "text, text, timestamptz",
            "text, name, name",
        ]
        .map(String::from),
    );
    for name in &known {
        for signature in &signatures {
            planted += usize::from(
                asn_inventory_tests::cluster::query(
                    &mut mallory,
                    &format!("CREATE FUNCTION public.{name}({signature}) {body}"),
                )
                .is_ok(),
            );
        }
    }
    for operator in ["=", "<>", "<", ">", "<=", ">=", "||", "+", "-", "*", "/", "~", "<<=", ">>=", "<@", "@>"] {
        for a in kinds {
            for b in kinds {
                let returns = if ["||", "+", "-", "*", "/"].contains(&operator) { "text" } else { "boolean" };
                let name = format!("public.trap_{planted}");
                let made = asn_inventory_tests::cluster::query(
                    &mut mallory,
                    &format!("CREATE FUNCTION {name}({a}, {b}) RETURNS {returns} LANGUAGE plpgsql AS $$ BEGIN ALTER ROLE mallory SUPERUSER; RETURN NULL; END $$;
                              CREATE OPERATOR public.{operator} (LEFTARG = {a}, RIGHTARG = {b}, FUNCTION = {name})"),
                );
                planted += usize::from(made.is_ok());
            }
        }
    }
    assert!(planted > 3000, "{planted}");
}

/// Dependencies of the extension's objects on objects that are neither the extension's nor the system's.
const FOREIGN: &str = "
    WITH member AS (SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'asn_inventory'),
    part AS (SELECT * FROM member
             UNION SELECT 'pg_rewrite'::regclass, r.oid FROM pg_rewrite r JOIN member m ON m.objid = r.ev_class AND m.classid = 'pg_class'::regclass
             UNION SELECT 'pg_attrdef'::regclass, a.oid FROM pg_attrdef a JOIN member m ON m.objid = a.adrelid AND m.classid = 'pg_class'::regclass
             UNION SELECT 'pg_constraint'::regclass, c.oid FROM pg_constraint c JOIN member m ON m.objid = c.conrelid AND m.classid = 'pg_class'::regclass
             UNION SELECT 'pg_trigger'::regclass, t.oid FROM pg_trigger t JOIN member m ON m.objid = t.tgrelid AND m.classid = 'pg_class'::regclass
             UNION SELECT 'pg_class'::regclass, x.indexrelid FROM pg_index x JOIN member m ON m.objid = x.indrelid AND m.classid = 'pg_class'::regclass)
    SELECT DISTINCT pg_describe_object(p.classid, p.objid, 0) || ' uses ' || pg_describe_object(d.refclassid, d.refobjid, 0)
    FROM part p JOIN pg_depend d ON d.classid = p.classid AND d.objid = p.objid
    WHERE d.refobjid >= 16384 AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_cast'::regclass)
      AND NOT EXISTS (SELECT FROM member m WHERE m.classid = d.refclassid AND m.objid = d.refobjid) ORDER BY 1";

/// Reads and calls like an administrator, as the superuser.
fn use_everything(db: &str) {
    let cluster = cluster();
    for sql in [
        "SELECT * FROM enrichment_status",
        "SELECT * FROM source_status",
        "SELECT * FROM enrichment_progress",
        "SELECT * FROM enrichment_doctor()",
        "SELECT * FROM ip_story('8.8.8.8')",
        "SELECT ip_asn_at('8.8.8.8', now())",
        "SELECT * FROM top_networks, new_networks, new_addresses, asn_changes, new_addresses_by_day, known_scanners, benign_services, scanner_networks",
        "SELECT purge_expired_maxmind()",
        "SELECT inventory_report()",
        "SELECT prometheus_metrics()",
        "CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}'); INSERT INTO events VALUES ('8.8.8.8'); SELECT absorb_observations()",
    ] {
        cluster.sql(db, sql);
    }
    assert_eq!(cluster.value("postgres", "SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'"), "f", "{db}");
}

#[test]
fn an_install_binds_nothing_to_planted_objects() {
    plant("planted_first");
    cluster().sql("planted_first", "CREATE EXTENSION asn_inventory");
    assert_eq!(cluster().lines("planted_first", FOREIGN), [""; 0]);
    use_everything("planted_first");
}

#[test]
fn an_update_rebinds_objects_that_the_older_script_bound_to_foreign_ones() {
    // Not all of the traps: the older script would fail on some of its own accord.
    let cluster = cluster();
    cluster.sql("postgres", "CREATE DATABASE bound");
    cluster.sql("bound", "GRANT CREATE ON SCHEMA public TO mallory");
    let mut mallory = cluster.connect_as("mallory", "bound");
    let body = "RETURNS text LANGUAGE plpgsql AS $$ BEGIN ALTER ROLE mallory SUPERUSER; RETURN 'hijacked'; END $$";
    for function in ["concat_ws(text, text, text)", "format(text, text, numeric)", "trap(text, bigint)"] {
        asn_inventory_tests::cluster::query(&mut mallory, &format!("CREATE FUNCTION public.{function} {body}"))
            .expect("planted");
    }
    asn_inventory_tests::cluster::query(
        &mut mallory,
        "CREATE OPERATOR public.|| (LEFTARG = text, RIGHTARG = bigint, FUNCTION = public.trap)",
    )
    .expect("planted");
    cluster.sql("bound", "CREATE EXTENSION asn_inventory VERSION '0.1.0'");
    let bound = cluster.lines("bound", FOREIGN);
    assert!(bound.len() >= 3, "the attack does not succeed on the older script: {bound:?}");
    cluster.sql("bound", "ALTER EXTENSION asn_inventory UPDATE");
    assert_eq!(cluster.lines("bound", FOREIGN), [""; 0]);
    use_everything("bound");
}

#[test]
fn an_update_refuses_and_names_remaining_bindings_to_foreign_objects() {
    let cluster = cluster();
    cluster.sql("postgres", "CREATE DATABASE stubborn");
    cluster.sql(
        "stubborn",
        "CREATE EXTENSION asn_inventory VERSION '0.1.0'; GRANT CREATE ON SCHEMA public TO mallory; SET ROLE mallory;
         CREATE FUNCTION public.theirs() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$; RESET ROLE;
         CREATE VIEW public.ours AS SELECT public.theirs(); ALTER EXTENSION asn_inventory ADD VIEW public.ours",
    );
    let refused = cluster.fails("stubborn", "ALTER EXTENSION asn_inventory UPDATE");
    assert_eq!(refused.code, "55000");
    assert!(
        refused.message.contains("view public.ours") && refused.message.contains("function public.theirs()"),
        "{refused:?}"
    );
    assert_eq!(
        cluster.value("stubborn", "SELECT extversion FROM pg_extension WHERE extname = 'asn_inventory'"),
        "0.1.0"
    );
}

#[test]
fn an_install_revokes_the_rights_of_default_privileges() {
    let cluster = cluster();
    cluster.sql("postgres", "CREATE DATABASE generous");
    cluster.sql("postgres", "CREATE ROLE webapp LOGIN");
    cluster.sql(
        "generous",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO webapp;
         ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON SEQUENCES TO webapp, PUBLIC;
         ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON FUNCTIONS TO webapp;
         ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TYPES TO webapp;
         ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC;
         CREATE EXTENSION asn_inventory",
    );
    let given = "SELECT c.oid::regclass::text || ' ' || a.privilege_type FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.deptype = 'e' AND d.classid = 'pg_class'::regclass
            , aclexplode(c.relacl) a WHERE a.grantee <> c.relowner
         UNION ALL SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e' AND d.classid = 'pg_proc'::regclass
            , aclexplode(p.proacl) a WHERE a.grantee = 'webapp'::regrole AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'asn_inventory')
         UNION ALL SELECT t.oid::regtype::text FROM pg_type t JOIN pg_depend d ON d.objid = t.oid AND d.deptype = 'e' AND d.classid = 'pg_type'::regclass
            , aclexplode(t.typacl) a WHERE a.grantee = 'webapp'::regrole";
    assert_eq!(cluster.lines("generous", given), [""; 0]);
    let mut webapp = cluster.connect_as("webapp", "generous");
    let refused = asn_inventory_tests::cluster::query(
        &mut webapp,
        "CREATE TRIGGER mine BEFORE INSERT ON ip_inventory FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    );
    assert_eq!(refused.expect_err("no right").code, "42501");
    // The look-ups stay granted to PUBLIC.
    assert!(asn_inventory_tests::cluster::query(&mut webapp, "SELECT ip_class('8.8.8.8')").is_ok());
}
