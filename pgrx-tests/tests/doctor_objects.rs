//! `enrichment_doctor()` of the extension's own tables and of the database around them: keys, indexes, publications,
//! settings. Each of its commands is run, and fixes its problem.

use crate::doctor_support::*;
use crate::promtool_support::Page;
use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;
use std::collections::BTreeSet;
use std::sync::OnceLock;

#[test]
fn an_inventory_without_its_key_is_an_error_until_it_has_one() {
    let patient = Patient::new();
    patient.sql("CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}')");
    for (n, (fault, said)) in [
        ("ALTER TABLE ip_inventory DROP CONSTRAINT ip_inventory_pkey", "error|ip_inventory has no primary key: nothing can be absorbed"),
        ("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ip_inventory_pkey'::regclass", "primary key, public.ip_inventory_pkey, is not valid"),
        ("ALTER TABLE ip_inventory DROP CONSTRAINT ip_inventory_pkey; ALTER TABLE ip_inventory ADD CONSTRAINT mine PRIMARY KEY (ip_address, first_seen_at)", "The primary key of ip_inventory, mine, must be on ip_address alone and not deferrable"),
        ("ALTER TABLE ip_inventory DROP CONSTRAINT ip_inventory_pkey; ALTER TABLE ip_inventory ADD PRIMARY KEY (ip_address) DEFERRABLE INITIALLY DEFERRED", "must be on ip_address alone and not deferrable"),
        ("ALTER TABLE ip_inventory DROP CONSTRAINT ip_inventory_pkey; CREATE UNIQUE INDEX other ON ip_inventory (ip_address) WHERE ip_address > '9.0.0.0'", "ip_inventory has no primary key"),
    ]
    .into_iter()
    .enumerate()
    {
        patient.suffer(fault, "inventory key", said);
        patient.sees("e", &format!("8.9.1.{n}"));
    }
    // Another name and another index for the same do as well.
    patient.sql("ALTER TABLE ip_inventory RENAME CONSTRAINT ip_inventory_pkey TO mine; CREATE INDEX also ON ip_inventory (ip_address)");
    assert_eq!(patient.trouble(), [""; 0]);
}

#[test]
fn an_index_on_the_queue_is_an_error_and_no_row_is_lost_by_it() {
    let patient = Patient::new();
    patient.sql("CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}')");
    let said = "on ip_observation does not contain observed rows";
    patient.sql("CREATE INDEX mine ON ip_observation (address)");
    assert_eq!(patient.trouble(), ["queue index|error"]);
    assert!(
        patient
            .said("queue index")
            .starts_with("error|Index public.mine on ip_observation does not contain observed rows")
    );
    patient.sees("e", "8.9.2.1");
    patient.sql("INSERT INTO e SELECT '8.9.3.0'::inet + n FROM generate_series(1, 200) n");
    patient.wait("SELECT count(*) FROM ip_inventory WHERE ip_address << '8.9.3.0/24'", "200");
    patient.take_remedy("queue index");
    assert_eq!(patient.trouble(), [""; 0]);
    patient.suffer("ALTER TABLE ip_observation ADD CONSTRAINT mine UNIQUE (address)", "queue index", said);
    patient.suffer("CREATE INDEX ON ip_observation ((seen + 1))", "queue index", said);
}

#[test]
fn a_table_of_the_extension_under_another_name_or_in_another_schema_is_named() {
    let patient = Patient::new();
    // While it is missing, its readers name it, and raise no error.
    patient.sql("ALTER TABLE ip_source RENAME TO attached");
    assert!(patient.said("own tables").starts_with("error|ip_source is missing: it is public.attached now"));
    for check in ["triggers", "swapped tables", "columns", "index", "unobserved"] {
        assert!(patient.said(check).starts_with("warning|Could not look: "), "{check}: {}", patient.said(check));
    }
    patient.take_remedy("own tables");
    assert_eq!(patient.trouble(), [""; 0]);
    for table in ["ip_inventory", "ip_observation", "source_quota", "enrichment_run", "maxmind_walk", "cymru_prefix"] {
        for fault in [
            format!("ALTER TABLE {table} RENAME TO elsewhere"),
            format!("CREATE SCHEMA IF NOT EXISTS attic; ALTER TABLE {table} SET SCHEMA attic"),
        ] {
            patient.sql(&fault);
            assert!(patient.said("own tables").contains(&format!("error|{table} is missing: it is ")), "{fault}");
            patient.take_remedy("own tables");
            assert_eq!(patient.said("own tables"), "", "after {fault}");
        }
    }
}

/// What `pg_restore --data-only --disable-triggers` does to a table.
fn as_restored(table: &str) -> String {
    format!("ALTER TABLE {table} DISABLE TRIGGER ALL; ALTER TABLE {table} ENABLE TRIGGER ALL")
}

#[test]
fn a_trigger_of_the_extension_that_does_not_fire_is_an_error() {
    let patient = Patient::new();
    let modes = "SELECT string_agg(t.tgrelid::regclass || ' ' || t.tgname || ' ' || t.tgenabled::text, E'\\n' ORDER BY t.tgrelid::regclass::text, t.tgname)
        FROM pg_trigger t JOIN pg_depend d ON d.objid = t.tgrelid AND d.deptype = 'e' WHERE NOT t.tgisinternal";
    let as_installed = patient.value(modes);
    for table in as_installed.lines().filter_map(|line| line.split(' ').next()).collect::<BTreeSet<_>>() {
        // Also where nothing but the mode differs.
        let said =
            format!("error|Trigger asn_inventory_replicated on public.{table} fires in ordinary sessions only: ");
        patient.suffer(&as_restored(table), "own triggers", said.trim_start_matches("error|"));
        assert_eq!(patient.value(modes), as_installed, "{table}");
    }
    for (fault, said) in [
        (
            as_restored("ip_inventory").as_str(),
            "Trigger record_asn_change on public.ip_inventory fires in ordinary sessions only: changes of ASNs and countries are not recorded in ip_asn_history.",
        ),
        (
            "ALTER TABLE ip_inventory DISABLE TRIGGER asn_inventory_uncounted",
            "error|Trigger asn_inventory_uncounted on public.ip_inventory is disabled: the inventory is not counted again",
        ),
        (
            "DROP TRIGGER record_asn_change ON ip_inventory",
            "error|Trigger record_asn_change on public.ip_inventory is missing: changes of ASNs and countries",
        ),
        (
            "ALTER TABLE ip_source DISABLE TRIGGER asn_inventory_restore",
            "error|Trigger asn_inventory_restore on public.ip_source is disabled: the worker does not wait",
        ),
        (
            "ALTER TABLE ip_observation ENABLE ALWAYS TRIGGER asn_inventory_restore",
            "error|Trigger asn_inventory_restore on public.ip_observation fires for the worker as well: ",
        ),
        (
            "DROP TRIGGER asn_inventory_replicated ON source_quota; DROP TRIGGER asn_inventory_restore ON source_quota",
            "error|Trigger asn_inventory_replicated on public.source_quota is missing: rows that a subscription brings are added to this server's own. Trigger asn_inventory_restore on",
        ),
        (
            "DROP TRIGGER asn_inventory_replicated ON cymru_prefix",
            "error|Trigger asn_inventory_replicated on public.cymru_prefix is missing: ",
        ),
    ] {
        patient.suffer(fault, "own triggers", said);
        assert_eq!(patient.value(modes), as_installed, "{fault}");
    }
    // Under another name it does the same.
    patient.sql("ALTER TRIGGER record_asn_change ON ip_inventory RENAME TO mine");
    assert_eq!(patient.trouble(), [""; 0]);
    patient.suffer(
        "ALTER TABLE ip_inventory DISABLE TRIGGER mine",
        "own triggers",
        "Trigger mine on public.ip_inventory is disabled",
    );
    // What it is for.
    patient.sql(
        "INSERT INTO ip_inventory (ip_address, asn_number, first_seen_at, last_seen_at) VALUES ('8.9.5.1', 1, now(), now());
         SET session_replication_role = replica; UPDATE ip_inventory SET asn_number = 2 WHERE ip_address = '8.9.5.1'",
    );
    assert_eq!(patient.value("SELECT new_asn FROM ip_asn_history WHERE ip_address = '8.9.5.1'"), "2");
}

#[test]
fn a_key_that_the_worker_needs_is_asked_for_when_it_is_gone() {
    let patient = Patient::new();
    for (table, key, columns) in [
        ("ip_sighting", "ip_sighting_pkey", "ip_address, source_id"),
        ("ip_sighting_source", "ip_sighting_source_tbl_sensor_key", "tbl, sensor"),
        ("ip_activity_count", "ip_activity_count_pkey", "by_day, kind, bucket, value"),
        ("cymru_prefix", "cymru_prefix_pkey", "prefix"),
    ] {
        let fault = format!("ALTER TABLE {table} DROP CONSTRAINT {key}");
        patient.suffer(&fault, "own keys", &format!("error|public.{table} has no usable key on ({columns}): "));
    }
    // A deferrable one is of no use.
    patient.suffer(
        "ALTER TABLE asn_inventory DROP CONSTRAINT asn_inventory_pkey; ALTER TABLE asn_inventory ADD UNIQUE (asn_number) DEFERRABLE",
        "own keys",
        "error|public.asn_inventory has no usable key on (asn_number): ",
    );
}

#[test]
fn autovacuum_that_is_off_for_one_of_the_tables_is_named() {
    let patient = Patient::new();
    for table in ["ip_observation", "ip_inventory", "asn_inventory"] {
        let off = format!("ALTER TABLE {table} SET (autovacuum_enabled = off)");
        patient.suffer(&off, "autovacuum", &format!("warning|Autovacuum is off for {table}."));
    }
}

#[test]
fn a_publication_of_the_extensions_tables_is_named_and_keeps_its_other_tables() {
    let patient = Patient::new();
    patient.sql("CREATE TABLE a (n int); CREATE TABLE b (n int) PARTITION BY LIST (n); CREATE TABLE b_1 PARTITION OF b DEFAULT; CREATE SCHEMA s; CREATE TABLE s.c (n int)");
    let published = "SELECT string_agg(schemaname || '.' || tablename, ' ' ORDER BY 1) FROM (SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = 'P 1') t";
    patient.suffer(
        "CREATE PUBLICATION \"P 1\" FOR ALL TABLES WITH (publish = 'insert, truncate')",
        "publication",
        "warning|Publication \"P 1\" publishes tables of the extension: public.asn_inventory, public.cymru_prefix, public.enrichment_run, ",
    );
    assert_eq!(patient.value(published), "public.a public.b_1 s.c");
    assert_eq!(
        patient.lines("SELECT pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot FROM pg_publication"),
        ["t|f|f|t|f"]
    );
    patient.suffer(
        "ALTER PUBLICATION \"P 1\" ADD TABLE ip_observation, ip_inventory",
        "publication",
        "publishes tables of the extension: public.ip_inventory, public.ip_observation. ",
    );
    assert_eq!(patient.value(published), "public.a public.b_1 s.c");
    if patient.value("SELECT current_setting('server_version_num')::int >= 150000") == "t" {
        let schema = "DROP PUBLICATION \"P 1\"; CREATE PUBLICATION \"P 1\" FOR TABLES IN SCHEMA public, s";
        patient.suffer(schema, "publication", "Publication \"P 1\" publishes tables of the extension: ");
        assert_eq!(patient.value(published), "public.a public.b_1 s.c");
        let both =
            "DROP PUBLICATION \"P 1\"; CREATE PUBLICATION \"P 1\" FOR TABLES IN SCHEMA public, TABLE ip_source, a";
        patient.suffer(both, "publication", "Publication \"P 1\" publishes tables of the extension: ");
        assert_eq!(patient.value(published), "public.a public.b_1");
    }
    patient.sql("DROP PUBLICATION \"P 1\"; DROP TABLE a, b, s.c");
    patient.suffer("CREATE PUBLICATION alone FOR ALL TABLES", "publication", "Publication alone publishes tables");
}

#[test]
fn settings_of_databases_and_roles_are_reported_only_if_harmful() {
    // Settings of a role count in every database, so these use their own cluster.
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    let patient = Patient::in_cluster(CLUSTER.get_or_init(|| {
        let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").start();
        fixtures::small(&cluster.maxmind_dir());
        cluster
    }));
    let db = &patient.db;
    patient.sql("CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}')");
    patient.sql(&format!("CREATE ROLE {db}_app LOGIN; GRANT INSERT ON e TO {db}_app"));
    // The check's own session must be corrected: settings of a role or database hold for new ones.
    for (target, whom) in [
        (format!("DATABASE {db}"), "this database".to_owned()),
        (format!("ROLE {db}_app"), format!("role {db}_app")),
        (format!("ROLE {db}_app IN DATABASE {db}"), format!("role {db}_app in this database")),
    ] {
        for setting in
            ["asn_inventory.enabled = off", "asn_inventory.enabled = 'False'", "session_replication_role = replica"]
        {
            patient.sql(&format!("ALTER {target} SET {setting}"));
            let found = patient.said("settings");
            let name = setting.split(' ').next().unwrap_or_default();
            assert!(
                found.starts_with(&format!("warning|{name} = "))
                    && found.ends_with(&format!(" is set for {whom}: what its sessions insert is not observed.")),
                "{found}"
            );
            let app = patient.cluster.config(db).user(&format!("{db}_app")).connect(postgres::NoTls);
            query(&mut app.expect("a session"), "INSERT INTO e VALUES ('8.9.4.1')").expect("inserted");
            patient.take_remedy("settings");
            assert_eq!(patient.said("settings"), "");
        }
    }
    patient.sql("SET asn_inventory.enabled = on; SELECT absorb_observations()");
    assert_eq!(patient.value("SELECT count(*) FROM ip_inventory"), "0", "not one was observed");
    patient.sql("UPDATE ip_source SET unobserved = 0");

    // The worker has its own of these.
    for setting in [
        "role = pg_monitor",
        "statement_timeout = '1h'",
        "search_path = nowhere, public",
        "default_transaction_read_only = on",
    ] {
        patient.cluster.sql("postgres", &format!("ALTER DATABASE {db} SET {setting}"));
    }
    let options = "-c role=none -c search_path=public -c default_transaction_read_only=off";
    let mut session = patient.cluster.config(db).options(options).connect(postgres::NoTls).expect("a session");
    let mut lines = |sql: &str| {
        let rows = query(&mut session, sql).expect("an answer");
        rows.into_iter().map(|row| row.into_iter().flatten().collect::<Vec<_>>().join("|")).collect::<Vec<_>>()
    };
    assert_eq!(
        lines("SELECT level, detail, remedy FROM enrichment_doctor() WHERE check_name = 'settings'"),
        [
            "ok|Set for this database, but without effect on the worker, which has its own values: default_transaction_read_only, role, search_path, statement_timeout."
        ]
    );
    lines("SELECT pg_terminate_backend(worker_pid) FROM enrichment_status");
    lines("INSERT INTO e VALUES ('8.9.4.2')");
    wait_until("the address", || lines("SELECT count(*) FROM ip_inventory WHERE ip_address = '8.9.4.2'") == ["1"]);
    assert_eq!(lines(TROUBLE), [""; 0]);
}

#[test]
fn a_disabled_flag_is_reported_with_its_origin() {
    let patient = Patient::new();
    let mut session = patient.cluster.connect(&patient.db);
    let mut said = |sql: &str| {
        let rows = query(&mut session, sql).expect("an answer");
        rows.into_iter().flatten().next().flatten().unwrap_or_default()
    };
    said("SET asn_inventory.enabled = off");
    let of = |column: &str| format!("SELECT {column} FROM enrichment_doctor() WHERE check_name = 'enabled'");
    assert_eq!(said(&of("detail")), "asn_inventory.enabled is off in this session: what it inserts is not observed.");
    let remedy = said(&of("remedy"));
    said(remedy.split(" -- ").next().unwrap_or_default());
    assert_eq!(said(&of("level")), "ok");
    said("SET session_replication_role = replica");
    let settings = "SELECT detail FROM enrichment_doctor() WHERE check_name = 'settings'";
    assert_eq!(
        said(settings),
        "session_replication_role is replica, in this session at least: what is inserted is not observed."
    );
    said("RESET session_replication_role");
    assert_eq!(said(settings), "");

    let cluster = Cluster::builder().env("ENABLE_ASN_INVENTORY", "off").start();
    cluster.sql("postgres", "CREATE EXTENSION asn_inventory");
    let found = cluster.lines("postgres", "SELECT level, detail FROM enrichment_doctor() WHERE check_name = 'enabled'");
    assert_eq!(
        found,
        [
            "warning|ENABLE_ASN_INVENTORY switches it off in the server's environment: nothing is observed, and the worker is idle."
        ]
    );
    // A database that has it on observes, and the worker is idle all the same.
    cluster.sql("postgres", "ALTER DATABASE postgres SET asn_inventory.enabled = on");
    let found = cluster.lines("postgres", "SELECT level, detail FROM enrichment_doctor() WHERE check_name = 'enabled'");
    assert_eq!(
        found,
        [
            "warning|ENABLE_ASN_INVENTORY switches it off in the server's environment, and this session has it on: what it inserts waits, and the worker is idle."
        ]
    );
    assert_eq!(cluster.value("postgres", "SELECT enabled FROM enrichment_status"), "f");
    assert_eq!(Page::of(&cluster, "postgres").value("enabled", &[]), Some(0.0));
}

#[test]
fn the_doctor_looks_in_a_schema_with_quotes_in_its_name() {
    let patient = Patient::new();
    let odd = r#""it's \ $odd ""schema"" 100%""#;
    patient.sql(&format!(
        "DROP EXTENSION asn_inventory; CREATE SCHEMA mine; CREATE EXTENSION asn_inventory SCHEMA mine;
         ALTER SCHEMA mine RENAME TO {odd}; CREATE TABLE e (ip inet, n int); SELECT {odd}.attach_ip_source('e', '{{ip}}')"
    ));
    let doctor = format!("{odd}.enrichment_doctor()");
    let trouble = format!("SELECT check_name || ': ' || detail FROM {doctor} WHERE level <> 'ok'");
    // No dump of it could be restored; and that is all.
    let found = patient.lines(&trouble);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("own tables: The schema of the extension is called")
            && found[0].ends_with("cannot be restored."),
        "{found:?}"
    );
    let trouble = format!("{trouble} AND check_name <> 'own tables'");
    // Each remedy that names the schema can be run.
    patient.sql("ALTER TABLE e RENAME ip TO address");
    let remedy = patient.value(&format!("SELECT remedy FROM {doctor} WHERE check_name = 'columns'"));
    assert!(remedy.contains(odd), "{remedy}");
    patient.sql(&remedy);
    assert_eq!(patient.lines(&trouble), [""; 0]);
    patient.sql("INSERT INTO e VALUES ('8.9.7.1')");
    patient.wait(&format!("SELECT count(*) FROM {odd}.ip_inventory"), "1");
    patient.sql(&patient.value(&format!("SELECT remedy FROM {doctor} WHERE check_name = 'own tables'")));
    let schema = patient.value("SELECT format('%I', n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'asn_inventory'");
    assert!(!schema.trim_matches('"').contains(['"', '\'', '$', '\\']), "{schema}");
    let left =
        format!("SELECT count(*) FROM {schema}.enrichment_doctor() WHERE check_name = 'own tables' AND level <> 'ok'");
    assert_eq!(patient.value(&left), "0");
}
