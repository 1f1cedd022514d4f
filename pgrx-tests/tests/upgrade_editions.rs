//! `mmdb_editions()` has more columns from 0.3.0 on: grants, and what others have built on it, outlive the update.

use crate::ingest_support::Db;
use crate::upgrade_support;

/// A database that 0.2.0 made.
fn before() -> Db {
    let db = Db::bare(upgrade_support::cluster());
    db.sql("CREATE EXTENSION asn_inventory VERSION '0.2.0'");
    db
}

const MEMBERS: &str = "SELECT count(*) FROM pg_depend WHERE deptype = 'e' AND classid = 'pg_proc'::regclass
                       AND objid IN (SELECT oid FROM pg_proc WHERE proname ~ '^mmdb_editions')";

#[test]
fn a_view_on_mmdb_editions_is_kept_as_it_was() {
    let db = before();
    db.sql(
        "CREATE ROLE editions_reader; GRANT EXECUTE ON FUNCTION mmdb_editions TO editions_reader WITH GRANT OPTION;
         CREATE VIEW ages AS SELECT * FROM mmdb_editions()",
    );
    db.sql("ALTER EXTENSION asn_inventory UPDATE");
    db.wait("SELECT count(*) FROM ages WHERE build_time IS NOT NULL", "2");
    db.wait("SELECT string_agg(fields[1], ' ' ORDER BY edition) FROM mmdb_editions()", "asn_number country_code");
    let rights = "SELECT concat_ws(' ', has_function_privilege('editions_reader', 'mmdb_editions()', 'EXECUTE WITH GRANT OPTION'),
                         (SELECT bool_or(a.grantee = 0) FROM pg_proc p, aclexplode(p.proacl) a
                          WHERE p.oid = 'mmdb_editions()'::regprocedure))";
    assert_eq!(db.value(rights), "t f");
    // The old function is its users' now.
    assert_eq!(db.value(MEMBERS), "1");
    db.sql("DROP VIEW ages; DROP FUNCTION mmdb_editions_of_0_2_0()");
    db.sql("DROP OWNED BY editions_reader; DROP ROLE editions_reader; DROP EXTENSION asn_inventory");
}

#[test]
fn without_users_of_its_own_the_old_function_is_gone() {
    let db = before();
    db.sql("ALTER EXTENSION asn_inventory UPDATE");
    assert_eq!(db.value(MEMBERS), "1");
    assert_eq!(db.value("SELECT count(*) FROM pg_proc WHERE proname ~ '^mmdb_editions|carry_grants'"), "1");
}
