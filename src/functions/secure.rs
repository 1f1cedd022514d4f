//! The last step of the extension's scripts, at an install and at every update: no object of the extension may be bound
//! to an object of another role, and only its owner and explicit grants give rights on it.

use pgrx::{IntoDatum, pg_sys};

use crate::pg::argument::Argument;
use crate::pg::call::Call;
use crate::pg::catalog;
use crate::pg::errors::not_ready;
use crate::pg::sql::Sql;
use crate::sql_function;

sql_function!(
    /// `_secure_extension(made text[], for_readers text[])`: `made` are the names of the relations and functions (with `()`, of functions alone) that the
    /// script made; null: all of the extension's. `for_readers` are those of the functions that the views and older functions call.
    secure_extension,
    pg_finfo_secure_extension,
    |call: Call| {
        let [made, for_readers] =
            [0, 1].map(|at| call.texts(at).map(|names| names.into_iter().flatten().collect::<Vec<String>>()));
        let Some(extension) = catalog::extension() else { return call.null() };
        let sql = Sql::as_caller();
        refuse_foreign_bindings(&sql, extension);
        run_all(&sql, REVOCATIONS, extension, made.as_deref());
        crate::ingest::attach::note_names(&catalog::Schema::of(call));
        if let Some(functions) = for_readers {
            catalog::outside_of_script(|| run_all(&sql, GRANTS, extension, Some(&functions)));
        }
        call.null()
    }
);

sql_function!(
    /// `carry_grants(old regprocedure, new regprocedure)`: gives a function the rights of the one that it replaces, and takes
    /// what default privileges gave. With the same function twice, takes PUBLIC's right and leaves the others as users'
    /// grants, which a REVOKE in a script would make the extension's own. For upgrade scripts.
    carry_grants,
    pg_finfo_carry_grants,
    |call: Call| {
        let [old, new] = [0, 1].map(|at| (pg_sys::OIDOID, call.arg(at)));
        let sql = Sql::as_caller();
        let carried = statements(&sql, CARRIED, &[old, new]);
        run_found(&sql, TAKEN, &[new]);
        catalog::outside_of_script(|| {
            for statement in &carried {
                sql.run(statement, &[]);
            }
        });
        call.null()
    }
);

/// REVOKE statements for all rights of other roles than the owner on the function `$1`.
const TAKEN: &str = "
    SELECT DISTINCT pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM %s', p.oid::regprocedure,
               CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END)
    FROM pg_catalog.pg_proc p, pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) a
    WHERE p.oid = $1 AND a.grantee <> p.proowner";

/// GRANT statements that let the roles that may call `$1` call `$2`: not PUBLIC, where both are the same.
const CARRIED: &str = "
    SELECT pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO %s%s', $2::regprocedure,
               CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END,
               CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END)
    FROM pg_catalog.pg_proc p, pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) a
    WHERE p.oid = $1 AND a.grantee <> p.proowner AND NOT (a.grantee = 0 AND $1 = $2)";

/// Functions and views of the extension that use a function, an operator, a type or a relation that is neither the
/// system's nor the extension's: `(object, object that it uses)`. `$1` is the extension.
const FOREIGN_BINDINGS: &str = "
    WITH member AS MATERIALIZED (
             SELECT d.classid, d.objid FROM pg_catalog.pg_depend d
             WHERE d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.refobjid = $1 AND d.deptype = 'e'),
         part AS (
             SELECT m.classid, m.objid FROM member m WHERE m.classid = 'pg_catalog.pg_proc'::regclass
             UNION ALL
             SELECT 'pg_catalog.pg_rewrite'::regclass, r.oid
             FROM pg_catalog.pg_rewrite r JOIN member m ON m.classid = 'pg_catalog.pg_class'::regclass AND m.objid = r.ev_class
             WHERE r.rulename = '_RETURN')
    SELECT pg_catalog.pg_describe_object(p.classid, p.objid, 0), pg_catalog.pg_describe_object(d.refclassid, d.refobjid, 0)
    FROM part p JOIN pg_catalog.pg_depend d ON d.classid = p.classid AND d.objid = p.objid
    WHERE d.refclassid IN ('pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_operator'::regclass,
                           'pg_catalog.pg_type'::regclass, 'pg_catalog.pg_class'::regclass)
      AND d.deptype = 'n' AND d.refobjid >= 16384
      AND NOT EXISTS (SELECT FROM member m WHERE m.classid = d.refclassid AND m.objid = d.refobjid)
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend i JOIN member m ON m.classid = i.refclassid AND m.objid = i.refobjid
                      WHERE i.classid = d.refclassid AND i.objid = d.refobjid AND i.deptype = 'i')
    ORDER BY 1, 2 LIMIT 1";

fn refuse_foreign_bindings(sql: &Sql, extension: pg_sys::Oid) {
    let found = sql.returning(FOREIGN_BINDINGS, &[(pg_sys::OIDOID, extension.into_datum())]);
    if found.len() > 0 {
        let (ours, theirs) = (found.text(0, 1).unwrap_or_default(), found.text(0, 2).unwrap_or_default());
        not_ready(
            format!("{ours} of asn_inventory depends on {theirs}, which is not part of the extension"),
            "Its owner could run code with the rights of everyone who uses the object.",
            "Find out who created it, drop it, and run the command again.",
        );
    }
}

/// REVOKE statements for all that default privileges gave on the extension's objects. `$1` is the extension, `$2` names.
const REVOCATIONS: &str = "
    WITH member AS MATERIALIZED (
             SELECT d.classid, d.objid FROM pg_catalog.pg_depend d
             WHERE d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.refobjid = $1 AND d.deptype = 'e'),
         granted (kind, name, plain, acl, owner, keeps_public) AS (
             SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass::text, c.relname, c.relacl, c.relowner, false
             FROM pg_catalog.pg_class c JOIN member m ON m.classid = 'pg_catalog.pg_class'::regclass AND m.objid = c.oid
             WHERE c.relkind IN ('r', 'v', 'S')
             UNION ALL
             SELECT 'ROUTINE', p.oid::regprocedure::text, p.proname, p.proacl, p.proowner, true
             FROM pg_catalog.pg_proc p JOIN member m ON m.classid = 'pg_catalog.pg_proc'::regclass AND m.objid = p.oid
             UNION ALL
             SELECT 'TYPE', t.oid::regtype::text, t.typname, t.typacl, t.typowner, true
             FROM pg_catalog.pg_type t JOIN member m ON m.classid = 'pg_catalog.pg_type'::regclass AND m.objid = t.oid)
    SELECT DISTINCT pg_catalog.format('REVOKE ALL ON %s %s FROM %s', g.kind, g.name,
               CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END)
    FROM granted g, pg_catalog.aclexplode(g.acl) a
    WHERE a.grantee <> g.owner AND NOT (a.grantee = 0 AND g.keeps_public) AND ($2 IS NULL OR g.plain = ANY ($2) OR g.kind = 'ROUTINE' AND g.plain || '()' = ANY ($2))
    ORDER BY 1";

/// GRANT statements for functions that 0.1.0 did not have and that its readers' functions and views call now. Who may call
/// `mmdb_networks()` may call what returns its rows; who may attach tables, what notes them on the other nodes of a cluster; who
/// may call `_worker_status()`, which the status views call (0.1.0 names it without the underscore), may call the others. `$1`
/// is the extension, `$2` the names of the new functions.
const GRANTS: &str = "
    WITH member AS MATERIALIZED (
             SELECT p.oid, p.proname, p.proacl, p.proowner FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_proc p ON p.oid = d.objid
             WHERE d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.refobjid = $1 AND d.deptype = 'e'
               AND d.classid = 'pg_catalog.pg_proc'::regclass)
    SELECT pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO %s', n.oid::regprocedure,
               CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END)
    FROM member w, pg_catalog.aclexplode(w.proacl) a, member n
    WHERE w.proname = ANY (CASE n.proname WHEN '_mmdb_network_rows' THEN ARRAY['mmdb_networks']
                                          WHEN '_note_source' THEN ARRAY['attach_ip_source']
                                          ELSE ARRAY['_worker_status', 'worker_status'] END)
      AND a.grantee <> w.proowner AND a.privilege_type = 'EXECUTE' AND n.proname = ANY ($2)
    ORDER BY 1";

/// Runs the statements that a query makes.
fn run_all(sql: &Sql, query: &str, extension: pg_sys::Oid, names: Option<&[String]>) {
    let arguments =
        [(pg_sys::OIDOID, extension.into_datum()), (pg_sys::TEXTARRAYOID, names.map(crate::pg::call::texts))];
    run_found(sql, query, &arguments);
}

/// The same with any arguments.
fn run_found(sql: &Sql, query: &str, arguments: &[Argument]) {
    for statement in statements(sql, query, arguments) {
        sql.run(&statement, &[]);
    }
}

/// The statements that a query makes.
fn statements(sql: &Sql, query: &str, arguments: &[Argument]) -> Vec<String> {
    let found = sql.returning(query, arguments);
    (0..found.len()).filter_map(|row| found.text(row, 1)).collect()
}
