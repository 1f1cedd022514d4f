//! The SQL objects as the catalog has them: described, labelled by the design, safe from a caller's search_path, and
//! closed to PUBLIC except for the offline look-ups.

use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;
use std::sync::OnceLock;

const DB: &str = "postgres";

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "50ms").start();
        fixtures::small(&cluster.maxmind_dir());
        // The extension's objects, by kind: `made(class, object)`.
        cluster.sql(
            DB,
            "CREATE EXTENSION asn_inventory;
             CREATE VIEW made AS SELECT classid AS class, objid AS object FROM pg_depend
                 WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
                   AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'asn_inventory');
             CREATE VIEW function AS SELECT p.* FROM pg_proc p JOIN made ON class = 'pg_proc'::regclass AND object = p.oid;
             CREATE VIEW relation AS SELECT c.* FROM pg_class c JOIN made ON class = 'pg_class'::regclass AND object = c.oid;
             CREATE ROLE nobody_special LOGIN",
        );
        cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
        cluster
    })
}

fn lines(sql: &str) -> Vec<String> {
    cluster().lines(DB, sql)
}

#[test]
fn every_object_has_a_description() {
    let functions = "SELECT oid::regprocedure FROM function WHERE coalesce(obj_description(oid, 'pg_proc'), '') = ''";
    assert_eq!(lines(functions), [""; 0]);
    let relations = "SELECT oid::regclass FROM relation WHERE relkind <> 'c'
                     AND coalesce(obj_description(oid, 'pg_class'), '') = ''";
    assert_eq!(lines(relations), [""; 0]);
    // Row types of tables are the tables; array types are their elements.
    let types = "SELECT oid::regtype FROM pg_type JOIN made ON class = 'pg_type'::regclass AND object = oid
                 WHERE typrelid IN (SELECT oid FROM pg_class WHERE relkind = 'c')
                   AND coalesce(obj_description(oid, 'pg_type'), '') = ''";
    assert_eq!(lines(types), [""; 0]);
    let columns = "SELECT r.oid::regclass || '.' || attname FROM relation r JOIN pg_attribute ON attrelid = r.oid
                   WHERE relkind IN ('r', 'p', 'v') AND attnum > 0 AND NOT attisdropped
                     AND coalesce(col_description(r.oid, attnum), '') = '' ORDER BY r.oid::regclass::text, attnum";
    assert_eq!(lines(columns), [""; 0]);
    let triggers =
        "SELECT evtname FROM pg_event_trigger JOIN made ON class = 'pg_event_trigger'::regclass AND object = oid
                    WHERE coalesce(obj_description(oid, 'pg_event_trigger'), '') = ''";
    assert_eq!(lines(triggers), [""; 0]);
    let kinds = "SELECT DISTINCT class::regclass::text FROM made ORDER BY 1";
    let wanted = ["pg_am", "pg_class", "pg_event_trigger", "pg_opclass", "pg_opfamily", "pg_proc", "pg_type"];
    assert_eq!(lines(kinds), wanted, "kinds that are looked at here");
    // A family of operators is made with its only class.
    let methods = "SELECT a.amname FROM pg_am a JOIN made ON class = 'pg_am'::regclass AND object = a.oid WHERE obj_description(a.oid, 'pg_am') IS NULL
                   UNION ALL SELECT c.opcname FROM pg_opclass c JOIN made ON class = 'pg_opclass'::regclass AND object = c.oid WHERE obj_description(c.oid, 'pg_opclass') IS NULL";
    assert_eq!(lines(methods), [""; 0]);
    let counted = "SELECT (SELECT count(*) FROM function) >= 18, (SELECT count(*) FROM relation) >= 7";
    assert_eq!(lines(counted), ["t|t"]);
}

#[test]
fn the_objects_of_the_design_are_there_with_their_types() {
    let signatures = "SELECT proname || '(' || pg_get_function_arguments(oid) || ') → ' || pg_get_function_result(oid)
        FROM function WHERE proname = ANY ('{lookup_ip,ip_asn,ip_asn_org,ip_country,ip_city,ip_class,ip_lists,enrich_ip,
            attach_ip_source,detach_ip_source,populate_ip_inventory,backfill_inventory,cancel_enrichment_job,
            absorb_observations,mmdb_record,mmdb_networks,inventory_report,
            prometheus_metrics}') ORDER BY proname";
    assert_eq!(
        lines(signatures),
        [
            "absorb_observations(max_rows integer DEFAULT NULL::integer) → bigint",
            "attach_ip_source(tbl regclass, ip_columns text[], observed_at text DEFAULT NULL::text, method text DEFAULT 'trigger'::text, only_where text DEFAULT NULL::text, sensor text DEFAULT NULL::text) → void",
            "backfill_inventory(batch_size integer DEFAULT 1000, commit_interval integer DEFAULT 5000, \
             max_ips bigint DEFAULT NULL::bigint, workers integer DEFAULT 4, ips inet[] DEFAULT NULL::inet[], \
             wait boolean DEFAULT true) → enrichment_summary",
            "cancel_enrichment_job(job_id bigint) → boolean",
            "detach_ip_source(tbl regclass) → void",
            "enrich_ip(ip inet, wait interval DEFAULT '00:00:00'::interval) → ip_enrichment",
            "inventory_report() → text",
            "ip_asn(inet) → bigint",
            "ip_asn_org(inet) → text",
            "ip_city(inet) → text",
            "ip_class(inet) → text",
            "ip_country(inet) → text",
            "ip_lists(inet) → text[]",
            "lookup_ip(inet) → ip_enrichment",
            "mmdb_networks(edition text, within inet DEFAULT NULL::inet, OUT network cidr, OUT record jsonb) → SETOF record",
            "mmdb_record(edition text, ip inet) → jsonb",
            "populate_ip_inventory(tbl regclass) → bigint",
            "prometheus_metrics() → text",
        ]
    );
    let summary =
        "SELECT string_agg(attname || ' ' || format_type(atttypid, NULL), ', ' ORDER BY attnum) FROM pg_attribute
                   WHERE attrelid = 'enrichment_summary'::regclass";
    assert_eq!(
        lines(summary),
        ["job_id bigint, processed bigint, enriched bigint, cache_hits bigint, maxmind_asn bigint, cymru_asn bigint, \
          greynoise_scanners bigint, not_found bigint, skipped bigint, errors bigint, elapsed interval, \
          ips_per_second double precision"]
    );
    let extension = "SELECT extrelocatable, superuser, trusted FROM pg_extension
                     JOIN pg_available_extension_versions ON name = extname AND installed WHERE extname = 'asn_inventory'";
    assert_eq!(lines(extension), ["f|t|f"]);
}

#[test]
fn volatility_parallel_safety_and_strictness_are_as_designed() {
    let labels = "SELECT proname || ' ' || provolatile::text || proparallel::text || CASE WHEN proisstrict THEN 's' ELSE '-' END
                  FROM function WHERE proname IN ('lookup_ip', 'ip_asn', 'ip_asn_org', 'ip_country', 'ip_city', 'ip_class',
                      'ip_lists', 'enrich_ip', 'backfill_inventory', 'mmdb_record', 'mmdb_networks', 'inventory_report') ORDER BY proname";
    assert_eq!(
        lines(labels),
        [
            "backfill_inventory vu-",
            "enrich_ip vus",
            "inventory_report su-",
            "ip_asn sss",
            "ip_asn_org sss",
            "ip_city sss",
            "ip_class iss",
            "ip_country sss",
            "ip_lists sss",
            "lookup_ip sss",
            "mmdb_networks ss-",
            "mmdb_record sss",
        ]
    );
    // Functions that write, wait or report on other processes are volatile and stay in the leader.
    let others = "SELECT proname FROM function WHERE (provolatile <> 'v' OR proparallel <> 'u') AND proname NOT IN
        ('lookup_ip', 'ip_asn', 'ip_asn_org', 'ip_country', 'ip_city', 'ip_class', 'ip_lists', 'mmdb_record', 'mmdb_networks', '_mmdb_network_rows',
         'ip_parse', 'ip_extract', 'ip_extract_array', '_is_replicated',
         '_database_identity', 'ip_asn_at', 'ip_story', 'inventory_report', 'top_networks', 'ip_last', 'ip_addresses_in', 'ip_network_at',
         'unpack_observations') ORDER BY 1";
    assert_eq!(lines(others), [""; 0]);
}

#[test]
fn functions_that_run_sql_pin_their_search_path() {
    let open = "SELECT proname, l.lanname, CASE WHEN prosecdef THEN 'definer' ELSE 'invoker' END
        FROM function p JOIN pg_language l ON l.oid = prolang
        WHERE NOT EXISTS (SELECT FROM unnest(proconfig) AS c WHERE c ~ '^search_path=\"?pg_catalog\"?, \"?pg_temp\"?$')
        ORDER BY proname";
    // Each of these runs no SQL: look-ups, shared memory, an index probe, heap scans and inserts below SQL. A procedure that
    // ends its transaction can have no SET: it pins the path where it runs a statement.
    assert_eq!(
        lines(open),
        [
            "_announce_extension|c|invoker",
            "_cymru_ways|c|invoker",
            "_drop_replicated_row|c|invoker",
            "_enrichment_jobs|c|invoker",
            "_is_replicated|c|invoker",
            "_mmdb_files|c|invoker",
            "_mmdb_import|c|invoker",
            "_mmdb_network_rows|c|invoker",
            "_network_sources|c|invoker",
            "_note_restore|c|invoker",
            "_note_uncounted|c|invoker",
            "_queue_length|c|invoker",
            "_quota_ledger|c|invoker",
            "_source_latency|c|invoker",
            "_unobserved_statements|c|invoker",
            "_update_sources|c|invoker",
            "_worker_status|c|invoker",
            "cancel_enrichment_job|c|invoker",
            "enrich_ip|c|invoker",
            "import_mmdb_files|c|invoker",
            // These as mmdb_networks below.
            "ip_addresses_in|sql|invoker",
            "ip_asn|c|invoker",
            "ip_asn_org|c|invoker",
            "ip_city|c|invoker",
            "ip_class|c|invoker",
            "ip_country|c|invoker",
            "ip_extract|sql|invoker",
            "ip_extract_array|c|invoker",
            "ip_last|sql|invoker",
            "ip_lists|c|invoker",
            "ip_network_at|sql|invoker",
            "ip_observer|c|invoker",
            "ip_parse|c|invoker",
            "ip_parse|c|invoker",
            "lookup_ip|c|invoker",
            "mmdb_editions|c|invoker",
            // Parsed when it was made; a SET would keep it from standing in a query as a subquery.
            "mmdb_networks|sql|invoker",
            "mmdb_record|c|invoker",
            "network_lists|c|invoker",
            "observe_addresses|c|invoker",
            "secret_references|c|invoker",
            "unpack_observations|c|invoker",
            "wait_for_job|c|invoker",
            "worker_errors|c|invoker",
        ]
    );
    let definers = "SELECT proname FROM function WHERE prosecdef ORDER BY 1";
    assert_eq!(lines(definers), ["attach_new_partitions"]);
}

#[test]
fn only_the_offline_look_ups_are_granted_to_public() {
    let functions = "SELECT proname FROM function, aclexplode(coalesce(proacl, acldefault('f', proowner))) AS a
                     WHERE a.grantee = 0 ORDER BY 1";
    assert_eq!(
        lines(functions),
        [
            "_is_replicated",
            "ip_asn",
            "ip_asn_org",
            "ip_city",
            "ip_class",
            "ip_country",
            "ip_extract",
            "ip_extract_array",
            "ip_lists",
            "ip_parse",
            "ip_parse",
            "lookup_ip",
            "mmdb_record"
        ]
    );
    let relations = "SELECT relname FROM relation, aclexplode(coalesce(relacl, acldefault('r', relowner))) AS a
                     WHERE a.grantee <> relowner";
    assert_eq!(lines(relations), [""; 0]);
    let columns =
        "SELECT relname, attname FROM relation r JOIN pg_attribute ON attrelid = r.oid WHERE attacl IS NOT NULL";
    assert_eq!(lines(columns), [""; 0]);
}

#[test]
fn a_role_without_grants_may_look_up_and_is_refused_the_rest() {
    let mut client = cluster().connect_as("nobody_special", DB);
    let allowed =
        "SELECT ip_class('8.8.8.8') || ip_asn('8.8.8.8') || ip_country('8.8.8.8') || (lookup_ip('81.2.69.142')).city
                       || (mmdb_record('GeoLite2-ASN', '8.8.8.8') ->> 'autonomous_system_number')";
    assert_eq!(query(&mut client, allowed).expect("allowed"), [[Some("public15169USLondon15169".to_string())]]);
    for statement in [
        "SELECT enrich_ip('8.8.8.8')",
        "SELECT * FROM mmdb_networks('GeoLite2-ASN')",
        "SELECT _mmdb_network_rows('GeoLite2-ASN')",
        "SELECT backfill_inventory()",
        "SELECT cancel_enrichment_job(1)",
        "SELECT absorb_observations()",
        "SELECT attach_ip_source('pg_class', '{relname}')",
        "SELECT detach_ip_source('pg_class')",
        "SELECT populate_ip_inventory('pg_class')",
        "SELECT * FROM mmdb_editions()",
        "SELECT import_mmdb_files()",
        "SELECT * FROM _worker_status()",
        "SELECT * FROM _mmdb_import()",
        "SELECT * FROM _update_sources()",
        "SELECT * FROM _quota_ledger()",
        "SELECT * FROM _enrichment_jobs()",
        "SELECT _database_identity()",
        "SELECT _announce_extension()",
        "SELECT inventory_report()",
        "SELECT prometheus_metrics()",
        "SELECT * FROM ip_inventory",
        "INSERT INTO ip_inventory (ip_address) VALUES ('8.8.8.8')",
        "SELECT * FROM ip_observation",
        "INSERT INTO ip_observation VALUES ('8.8.8.8', 1, now(), now())",
        "SELECT * FROM ip_source",
        "SELECT * FROM enrichment_run",
        "SELECT * FROM enrichment_status",
        "SELECT * FROM enrichment_progress",
        "SELECT * FROM cluster_status",
        "SELECT * FROM _every_node('status')",
        "SELECT _note_source('public.e', '{src}', NULL, NULL, NULL, NULL, NULL, 'trigger')",
        "SELECT asn_inventory_distribute()",
        "SELECT * FROM ip_story('8.8.8.8')",
        "SELECT * FROM top_networks",
        "SELECT * FROM new_networks",
        "SELECT * FROM new_addresses",
        "SELECT * FROM asn_changes",
        "SELECT * FROM new_addresses_by_day",
        "SELECT * FROM known_scanners",
        "SELECT * FROM benign_services",
        "SELECT * FROM scanner_networks",
        "SELECT nextval('enrichment_job_id')",
    ] {
        let refused = query(&mut client, statement).expect_err(statement);
        assert_eq!(refused.code, "42501", "{statement}: {refused:?}");
    }
}

#[test]
fn a_callers_search_path_and_operators_have_no_effect() {
    let mut client = cluster().connect(DB);
    // A schema that answers before pg_catalog, with lies for operators and functions that our SQL uses.
    query(
        &mut client,
        "CREATE SCHEMA trap;
         CREATE FUNCTION trap.lie(inet, inet) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
         CREATE OPERATOR trap.= (LEFTARG = inet, RIGHTARG = inet, FUNCTION = trap.lie);
         CREATE FUNCTION trap.lie(text, text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
         CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.lie);
         CREATE OPERATOR trap.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.lie);
         CREATE FUNCTION trap.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
         CREATE TABLE trap.ip_inventory (ip_address inet); CREATE TABLE trap.ip_source (tbl regclass);
         CREATE TABLE seen_here (src inet)",
    )
    .expect("a trap");
    for path in ["''", "trap, pg_catalog, public", "pg_temp, trap, public"] {
        query(&mut client, &format!("SET search_path = {path}")).expect("set");
        let run = "INSERT INTO public.seen_here SELECT '8.8.8.8';
             SELECT public.attach_ip_source('public.seen_here', '{src}');
             SELECT public.populate_ip_inventory('public.seen_here');
             INSERT INTO public.seen_here SELECT '8.8.8.9';
             SELECT public.enrich_ip('8.8.8.10', '30s');
             SELECT public.absorb_observations();
             SELECT public.backfill_inventory(ips => '{81.2.69.142}');
             SELECT public.detach_ip_source('public.seen_here');
             SELECT * FROM public.enrichment_status, public.enrichment_progress;
             SELECT public.inventory_report()";
        query(&mut client, run).unwrap_or_else(|failure| panic!("{path}: {failure:?}"));
    }
    let rows = wait_for(
        "all four rows",
        || lines("SELECT ip_address, maxmind_status FROM public.ip_inventory ORDER BY 1"),
        |rows| rows.len() == 4,
    );
    assert_eq!(rows, ["8.8.8.8|found", "8.8.8.9|found", "8.8.8.10|found", "81.2.69.142|found"]);
    assert_eq!(lines("SELECT count(*) FROM trap.ip_inventory"), ["0"]);
}
