//! What the catalog has of an updated extension, beside a fresh one.

use asn_inventory_tests::prelude::*;
use std::sync::atomic::{AtomicU32, Ordering};

/// Everything that the catalog knows of the extension's objects, a line a fact. Roles and databases are not named in it.
const CATALOG: &str = r#"
    WITH member AS (
        SELECT d.classid AS class, d.objid AS object FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
        WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'asn_inventory'),
    -- Of a type with columns, the type is the member.
    relation AS (
        SELECT c.* FROM pg_class c WHERE EXISTS (
            SELECT FROM member m WHERE m.class = 'pg_class'::regclass AND m.object = c.oid
                OR m.class = 'pg_type'::regclass AND m.object = c.reltype AND c.relkind = 'c')),
    function AS (SELECT p.* FROM pg_proc p JOIN member m ON m.class = 'pg_proc'::regclass AND m.object = p.oid)
    SELECT fact FROM (
        SELECT pg_describe_object(class, object, 0) FROM member
        UNION ALL SELECT 'comment ' || pg_describe_object(class, object, 0) || ': ' || d.description
            FROM member JOIN pg_description d ON d.classoid = class AND d.objoid = object AND d.objsubid = 0
        UNION ALL SELECT 'function ' || oid::regprocedure || ' ' || pg_get_functiondef(oid) || ' acl ' || coalesce(proacl::text, '-')
            || ' owner ' || pg_get_userbyid(proowner) FROM function
        UNION ALL SELECT 'relation ' || oid::regclass || ' ' || relkind::text || ' ' || coalesce(reloptions::text, '-') || ' '
            || coalesce(relacl::text, '-') || ' ' || relreplident::text || ' owner ' || pg_get_userbyid(relowner) FROM relation
        UNION ALL SELECT 'type ' || t.oid::regtype || ' ' || coalesce(t.typacl::text, '-') || ' owner ' || pg_get_userbyid(t.typowner)
            FROM pg_type t JOIN member ON class = 'pg_type'::regclass AND object = t.oid
        UNION ALL SELECT 'view ' || oid::regclass || ' ' || pg_get_viewdef(oid) FROM relation WHERE relkind = 'v'
        UNION ALL SELECT 'column ' || r.oid::regclass || '.' || a.attnum || ' ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
            || ' ' || a.attnotnull || ' ' || a.attstorage::text || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '-')
            || ' ' || coalesce(a.attacl::text, '-') || ' ' || coalesce(col_description(r.oid, a.attnum), '-')
            FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
            LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum
        UNION ALL SELECT 'constraint ' || r.oid::regclass || ' ' || c.conname || ' ' || pg_get_constraintdef(c.oid)
            FROM relation r JOIN pg_constraint c ON c.conrelid = r.oid
        UNION ALL SELECT 'index ' || pg_get_indexdef(x.indexrelid) || ' ' || x.indisvalid || ' ' || coalesce(obj_description(x.indexrelid, 'pg_class'), '-')
            FROM relation r JOIN pg_index x ON x.indrelid = r.oid
        UNION ALL SELECT 'trigger ' || pg_get_triggerdef(t.oid) || ' ' || t.tgenabled::text || ' ' || coalesce(obj_description(t.oid, 'pg_trigger'), '-')
            FROM relation r JOIN pg_trigger t ON t.tgrelid = r.oid
        UNION ALL SELECT 'event trigger ' || evtname || ' ' || evtevent || ' ' || evtfoid::regproc || ' ' || evtenabled::text || ' '
            || coalesce(evttags::text, '-') || ' owner ' || pg_get_userbyid(evtowner)
            FROM pg_event_trigger JOIN member ON class = 'pg_event_trigger'::regclass AND object = oid
        UNION ALL SELECT 'dumped ' || t.tbl::regclass || ' ' || coalesce(t.condition, '-')
            FROM pg_extension e, unnest(e.extconfig, e.extcondition) AS t(tbl, condition) WHERE e.extname = 'asn_inventory'
        UNION ALL SELECT 'initial ' || pg_describe_object(p.classoid, p.objoid, p.objsubid) || ' ' || p.initprivs::text
            FROM pg_init_privs p JOIN member ON class = p.classoid AND object = p.objoid
        UNION ALL SELECT 'version ' || extversion || ' ' || extrelocatable FROM pg_extension WHERE extname = 'asn_inventory') AS facts(fact)
    ORDER BY fact COLLATE "C""#;

/// The extension of database `name` is as `CREATE EXTENSION` makes it in a database beside it.
pub fn assert_as_fresh(cluster: &Cluster, name: &str) {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let beside = format!("fresh_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    cluster.sql("postgres", &format!("CREATE DATABASE {beside}"));
    cluster.sql(&beside, "CREATE EXTENSION asn_inventory");
    let (fresh, updated) = (cluster.lines(&beside, CATALOG), cluster.lines(name, CATALOG));
    // A worker that takes its time keeps it for some seconds; nothing depends on it.
    let _ = cluster.try_sql("postgres", &format!("DROP DATABASE {beside} WITH (FORCE)"));
    let missing: Vec<&String> = fresh.iter().filter(|fact| !updated.contains(fact)).collect();
    let more: Vec<&String> = updated.iter().filter(|fact| !fresh.contains(fact)).collect();
    assert!(missing.is_empty() && more.is_empty(), "only fresh: {missing:#?}\nonly updated: {more:#?}");
    assert!(fresh.len() > 400, "{}", fresh.len());
    let columns = fresh.iter().filter(|fact| fact.starts_with("column ip_enrichment.")).count();
    assert!(columns > 20, "columns of types are not compared: {columns}");
}
