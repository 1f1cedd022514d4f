//! The roles of docs/roles.md: its SQL runs unchanged, and each role has exactly the rights of the page.

use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;
use std::path::Path;

const DB: &str = "postgres";

/// The SQL blocks of the page, in its order.
pub fn blocks() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/roles.md");
    let page = std::fs::read_to_string(page).expect("the page");
    page.split("```sql\n").skip(1).map(|rest| rest.split("```").next().expect("a block").to_owned()).collect()
}

/// A reader's calls and tables.
const READS: [&str; 29] = [
    "SELECT * FROM lookup_ip('8.8.8.8')",
    "SELECT * FROM ip_inventory",
    "SELECT * FROM asn_inventory",
    "SELECT * FROM ip_asn_history",
    "SELECT * FROM cymru_prefix",
    "SELECT * FROM ip_source",
    "SELECT * FROM source_quota",
    "SELECT * FROM enrichment_run",
    "SELECT * FROM enrichment_status",
    "SELECT * FROM source_status",
    "SELECT * FROM enrichment_progress",
    "SELECT * FROM cluster_status",
    "SELECT * FROM cluster_source_status",
    "SELECT * FROM cluster_progress",
    "SELECT * FROM cluster_run",
    "SELECT * FROM cluster_ip_source",
    "SELECT * FROM mmdb_editions()",
    "SELECT prometheus_metrics()",
    "SELECT ip_asn_at('8.8.8.8', now())",
    "SELECT * FROM ip_story('8.8.8.8')",
    "SELECT * FROM top_networks",
    "SELECT * FROM new_networks",
    "SELECT * FROM new_addresses",
    "SELECT * FROM asn_changes",
    "SELECT * FROM new_addresses_by_day",
    "SELECT * FROM known_scanners",
    "SELECT * FROM benign_services",
    "SELECT * FROM scanner_networks",
    // The owner's table of the page.
    "SELECT * FROM events",
];

/// An operator's further rights: `own_events` is its table.
const OPERATES: [&str; 9] = [
    "SELECT attach_ip_source('own_events', '{ip}')",
    "SELECT populate_ip_inventory('own_events')",
    "SELECT absorb_observations()",
    "SELECT enrich_ip('1.1.1.1')",
    "SELECT * FROM backfill_inventory()",
    "SELECT * FROM refresh_stale('maxmind')",
    "SELECT * FROM refresh_range('8.8.8.0/24', 'maxmind')",
    "SELECT cancel_enrichment_job(999)",
    "SELECT detach_ip_source('own_events')",
];

/// An admin's further rights.
const ADMINISTERS: [&str; 7] = [
    "SELECT update_maxmind()",
    "SELECT import_mmdb_files()",
    "INSERT INTO ip_inventory (ip_address) VALUES ('9.9.9.9')",
    "UPDATE ip_inventory SET city = 'By hand' WHERE ip_address = '9.9.9.9'",
    "DELETE FROM ip_inventory WHERE ip_address = '9.9.9.9'",
    "DELETE FROM ip_asn_history",
    "DELETE FROM enrichment_run WHERE job_id < 0",
];

/// Forbidden for all three.
const NOBODY: [&str; 9] = [
    "TRUNCATE ip_inventory",
    "SELECT * FROM ip_observation",
    "INSERT INTO ip_observation VALUES ('8.8.8.8', 1, now(), now())",
    "UPDATE ip_source SET observations = 0",
    "UPDATE source_quota SET used = 0",
    "INSERT INTO enrichment_run SELECT * FROM enrichment_run",
    "SELECT _announce_extension()",
    "SELECT attach_ip_source('others_events', '{ip}')",
    "ALTER SYSTEM SET asn_inventory.cymru = off",
];

fn with_roles() -> Cluster {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "50ms").start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    cluster.sql(DB, "CREATE TABLE events (ip inet)");
    let blocks = blocks();
    assert_eq!(blocks.len(), 5, "reader, operator, admin, monitor, and giving them to people: {blocks:#?}");
    for block in &blocks {
        cluster.sql(DB, block);
    }
    cluster.sql(
        DB,
        "CREATE ROLE otto LOGIN IN ROLE soc_operator; CREATE ROLE ada LOGIN IN ROLE soc_admin;
         CREATE TABLE others_events (ip inet); CREATE TABLE own_events (ip inet);
         INSERT INTO own_events VALUES ('8.8.8.8')",
    );
    cluster
}

#[test]
fn each_role_can_do_what_the_page_says_and_no_more() {
    let cluster = with_roles();
    // In order: the role, its allowed and its forbidden statements.
    for (role, allowed, refused) in [
        ("anna", READS.to_vec(), [&OPERATES[..], &ADMINISTERS, &NOBODY].concat()),
        ("otto", [&READS[..], &OPERATES].concat(), [&ADMINISTERS[..], &NOBODY].concat()),
        ("ada", [&READS[..], &OPERATES, &ADMINISTERS].concat(), NOBODY.to_vec()),
    ] {
        cluster.sql(DB, &format!("ALTER TABLE own_events OWNER TO {role}"));
        let mut session = cluster.connect_as(role, DB);
        for statement in allowed {
            query(&mut session, statement).unwrap_or_else(|failure| panic!("{role}: {statement}: {failure:?}"));
        }
        for statement in refused {
            let failure = query(&mut session, statement).expect_err(statement);
            assert_eq!(failure.code, "42501", "{role}: {statement}: {failure:?}");
        }
    }
    // Prometheus has its figures, and no address.
    let mut session = cluster.connect_as("monitor", DB);
    for statement in [&READS[..], &OPERATES, &ADMINISTERS, &NOBODY].concat() {
        let outcome = query(&mut session, statement);
        match statement {
            // The rights of all roles.
            "SELECT * FROM lookup_ip('8.8.8.8')" | "SELECT prometheus_metrics()" => {
                assert!(outcome.is_ok(), "{outcome:?}")
            }
            _ => assert_eq!(outcome.expect_err(statement).code, "42501", "monitor: {statement}"),
        }
    }
    // What attaching calls on the other nodes of a cluster does nothing here.
    let may = "SELECT r, has_function_privilege(r, p.oid, 'EXECUTE') FROM pg_proc p, unnest('{anna,otto,ada,monitor}'::text[]) r
               WHERE p.proname = '_note_source' ORDER BY r";
    assert_eq!(cluster.lines(DB, may), ["ada|t", "anna|f", "monitor|f", "otto|t"]);
    let refused =
        cluster.fails(DB, "SELECT _note_source('public.own_events', '{ip}', NULL, NULL, NULL, NULL, NULL, 'trigger')");
    assert_eq!(
        (refused.code.as_str(), refused.message.as_str()),
        ("55000", "table \"own_events\" cannot be noted here")
    );
    // The operator's and the admin's calls had effects.
    assert_eq!(cluster.value(DB, "SELECT maxmind_status FROM ip_inventory WHERE ip_address = '8.8.8.8'"), "found");
    assert_eq!(
        cluster.lines(DB, "SELECT DISTINCT requested_by FROM enrichment_run WHERE kind = 'backfill' ORDER BY 1"),
        ["ada", "otto"]
    );
}

#[test]
fn the_doctor_has_nothing_to_say_against_the_roles_of_the_page() {
    let cluster = with_roles();
    let grants =
        "SELECT detail || ' ' || remedy FROM enrichment_doctor() WHERE check_name = 'grants' AND level <> 'ok'";
    assert_eq!(cluster.lines(DB, grants), [""; 0]);
    // More than they say is named, and taken away alone.
    cluster.sql(DB, "GRANT UPDATE (country_code) ON asn_inventory TO soc_admin");
    let more = "soc_admin may update country_code of public.asn_inventory. REVOKE UPDATE (country_code) ON public.asn_inventory FROM soc_admin;";
    assert_eq!(cluster.lines(DB, grants), [more]);
    cluster.sql(DB, "REVOKE UPDATE (country_code) ON public.asn_inventory FROM soc_admin");
    let may = "SELECT has_column_privilege('soc_admin', 'asn_inventory', 'asn_org', 'UPDATE')";
    assert_eq!((cluster.lines(DB, grants), cluster.value(DB, may)), (vec![], "t".to_owned()));
    cluster.sql(DB, "GRANT UPDATE ON asn_inventory TO soc_admin");
    assert_eq!(
        cluster.lines(DB, grants),
        ["soc_admin may update public.asn_inventory. REVOKE UPDATE ON public.asn_inventory FROM soc_admin;"]
    );
}

#[test]
fn an_admin_clears_everything_that_the_files_said() {
    let cluster = with_roles();
    for (revoked, warnings) in [
        ("SELECT", vec![]),
        (
            "REVOKE UPDATE (asn_org) ON asn_inventory FROM soc_admin",
            vec!["WARNING: organizations stay in asn_inventory"],
        ),
    ] {
        cluster.sql(DB, revoked);
        let (mut session, notices) = cluster.connect_with_notices(DB);
        query(&mut session, "SET ROLE ada; SELECT purge_expired_maxmind('0')").expect("a purge");
        assert_eq!(notices.all(), warnings);
    }
}

#[test]
fn readers_have_every_view_and_table_except_the_queue_and_bytes_of_files() {
    let cluster = with_roles();
    let closed = "SELECT c.relname FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.deptype = 'e'
         WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'asn_inventory') AND c.relkind IN ('r', 'v')
           AND NOT has_table_privilege('soc_reader', c.oid, 'SELECT') ORDER BY 1";
    assert_eq!(cluster.lines(DB, closed), ["ip_observation", "mmdb_shared_part"]);
    let writes = "SELECT c.relname FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.deptype = 'e'
         WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'asn_inventory') AND c.relkind IN ('r', 'v')
           AND has_table_privilege('soc_operator', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')";
    assert_eq!(cluster.lines(DB, writes), [""; 0], "an operator writes by functions alone");
}
