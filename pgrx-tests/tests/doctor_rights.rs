//! `enrichment_doctor()` raises no error: it names checks without access, with the needed grants; it also works on a
//! standby and without preload.

use crate::doctor_support::*;
use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;

#[test]
fn a_role_with_execute_only_gets_could_not_look() {
    let patient = Patient::new();
    let role = format!("{} caller", patient.db);
    patient.sql(&format!("CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{{ip}}'); CREATE ROLE \"{role}\" LOGIN; GRANT EXECUTE ON FUNCTION enrichment_doctor TO \"{role}\""));
    let mut caller = patient.cluster.connect_as(&role, &patient.db);
    let mut lines = |sql: &str| {
        let rows = query(&mut caller, sql).expect("the doctor raises nothing");
        rows.into_iter()
            .map(|row| row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|"))
            .collect::<Vec<_>>()
    };
    // All checks are there, whether they could be looked at or not.
    let names = "SELECT DISTINCT check_name FROM enrichment_doctor() ORDER BY 1";
    assert_eq!(lines(names), patient.lines(names));
    let blind = "SELECT check_name FROM enrichment_doctor() WHERE level = 'warning' AND detail LIKE 'Could not look: permission denied for %' ORDER BY 1";
    assert_eq!(
        lines(blind),
        [
            "addresses",
            "clock",
            "columns",
            "count",
            "dns",
            "enabled",
            "greynoise",
            "index",
            "key greynoise",
            "key maxmind",
            "maxmind downloads",
            "mmdb age",
            "mmdb answers",
            "mmdb editions",
            "mmdb files",
            "mmdb refused",
            "observer indexes",
            "partitions",
            "port 43",
            "preload",
            "queue",
            "sensors",
            "sightings",
            "swapped tables",
            "times",
            "triggers",
            "unobserved",
            "worker",
            "worker errors"
        ]
    );
    assert_eq!(
        lines("SELECT check_name FROM enrichment_doctor() WHERE level <> 'ok' AND detail NOT LIKE 'Could not look: %'"),
        [""; 0]
    );
    // Its remedy has the missing grants: a role with them sees all.
    let remedies = lines("SELECT DISTINCT remedy FROM enrichment_doctor() WHERE level <> 'ok'");
    assert!(
        remedies.contains(&format!(
            "GRANT SELECT ON public.enrichment_run TO \"{role}\";  -- or one of the sets in docs/roles.md"
        )),
        "{remedies:#?}"
    );
    for remedy in remedies {
        patient.sql(remedy.split(" -- ").next().unwrap_or_default());
    }
    assert_eq!(lines(TROUBLE), [""; 0]);
}

#[test]
fn the_documented_reader_can_run_every_check() {
    let patient = Patient::new();
    let page = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/roles.md"));
    let page = page.expect("the page");
    let reader = page.split("```sql\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block");
    let role = format!("{}_reader", patient.db);
    patient.sql(&reader.replace("soc_reader", &role));
    patient.sql(&format!("CREATE ROLE {role}_1 LOGIN IN ROLE {role}"));
    let mut session = patient.cluster.connect_as(&format!("{role}_1"), &patient.db);
    assert_eq!(query(&mut session, TROUBLE).expect("an answer"), Vec::<Vec<Option<String>>>::new());
}

#[test]
fn the_doctor_works_on_a_standby_and_without_preload() {
    let primary = Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").start();
    fixtures::small(&primary.maxmind_dir());
    primary.sql(
        "postgres",
        "CREATE EXTENSION asn_inventory; CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}')",
    );
    primary.wait_value("postgres", "SELECT count(*) FROM mmdb_editions() WHERE generation IS NOT NULL", "2");
    primary.wait_value("postgres", "SELECT count(*) FROM enrichment_doctor() WHERE level <> 'ok'", "0");
    let standby = primary.standby();
    standby.wait_replay(&primary);
    let trouble = |cluster: &Cluster| cluster.lines("postgres", TROUBLE);
    assert_eq!(trouble(&standby), [""; 0]);
    // Problems of the tables show there, too.
    primary.sql("postgres", "ALTER TABLE e DISABLE TRIGGER asn_inventory_observe; CREATE PUBLICATION p FOR ALL TABLES; ALTER TABLE e RENAME ip TO src; ALTER TABLE ip_inventory DROP CONSTRAINT ip_inventory_pkey");
    standby.wait_replay(&primary);
    assert_eq!(trouble(&standby), ["columns|error", "inventory key|error", "publication|warning", "triggers|error"]);

    let bare = Cluster::builder().preload(false).start();
    fixtures::small(&bare.maxmind_dir());
    bare.sql("postgres", "CREATE EXTENSION asn_inventory; CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}'); ALTER TABLE e RENAME ip TO src; CREATE PUBLICATION p FOR ALL TABLES");
    assert_eq!(trouble(&bare), ["columns|error", "preload|error", "publication|warning"]);
    // Nor does it raise in a session whose settings make others stumble.
    let odd = "SET quote_all_identifiers = on; SET standard_conforming_strings = off; SET transform_null_equals = on; SET escape_string_warning = off;
        SET array_nulls = off; SET DateStyle = 'German'; SET IntervalStyle = sql_standard; SET default_transaction_read_only = on; SET lc_messages = 'C';";
    assert_eq!(
        bare.lines("postgres", &format!("{odd} {TROUBLE}")),
        ["columns|error", "preload|error", "publication|warning"]
    );
}
