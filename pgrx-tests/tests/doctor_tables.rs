//! `enrichment_doctor()` of attached tables: each reason why their rows are not observed is named, and its command
//! fixes it.

use crate::doctor_support::*;
use crate::promtool_support::Page;
use asn_inventory_tests::cluster::{private_dir, query};
use asn_inventory_tests::wait::wait_for;

/// Attached: a plain table, a partitioned one and a parent with a child.
const TABLES: &str = "
    CREATE TABLE e (at timestamptz, ip inet);
    CREATE TABLE r (at timestamptz, ip inet) PARTITION BY RANGE (at);
    CREATE TABLE r_1 PARTITION OF r FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
    CREATE TABLE r_2 PARTITION OF r DEFAULT;
    CREATE TABLE p (at timestamptz, ip inet); CREATE TABLE c () INHERITS (p);
    SELECT attach_ip_source('e', '{ip}', 'at'); SELECT attach_ip_source('r', '{ip}'); SELECT attach_ip_source('p', '{ip}', 'at')";

#[test]
fn a_broken_trigger_is_named_with_its_table_and_repaired() {
    let patient = Patient::new();
    patient.sql(TABLES);
    patient.sql("CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'");
    let below = "Rows inserted into public.r_2 by name, below public.r, are not observed: the trigger there";
    let again = |table: &str, rest: &str, arguments: &str| {
        format!(
            "CREATE OR REPLACE TRIGGER asn_inventory_observe AFTER INSERT ON {table} REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT {rest}
             EXECUTE FUNCTION observe_addresses({arguments})"
        )
    };
    for (n, (table, fault, said)) in [
        ("r_2", "ALTER TABLE r_2 DISABLE TRIGGER asn_inventory_observe".to_owned(), format!("error|{below} is disabled.")),
        ("r_2", "ALTER TABLE r_2 DISABLE TRIGGER ALL".into(), format!("{below} is disabled.")),
        ("r_2", "ALTER TABLE r_2 ENABLE REPLICA TRIGGER asn_inventory_observe".into(), format!("{below} fires only for replication.")),
        ("r_2", "DROP TRIGGER asn_inventory_observe ON r_2".into(), format!("{below} is gone.")),
        ("r", "ALTER TABLE ONLY r DISABLE TRIGGER asn_inventory_observe".into(), "Rows inserted into public.r are not observed: its trigger is disabled.".into()),
        ("c", "DROP TRIGGER asn_inventory_observe ON c".into(), "Rows inserted into public.c by name, below public.p, are not observed: the trigger there is gone.".into()),
        ("c", again("c", "WHEN (false)", "'at', 'ip'"), "the trigger there has a WHEN condition.".into()),
        ("e", again("e", "WHEN (current_user = 'nobody')", "'at', 'ip'"), "its trigger has a WHEN condition.".into()),
        ("e", again("e", "", "'at', 'another'"), "its trigger reads other columns than ip_source lists.".into()),
        ("r_2", again("r_2", "", "'at', 'ip'"), "the trigger there reads other columns than ip_source lists.".into()),
        ("e", "CREATE OR REPLACE TRIGGER asn_inventory_observe AFTER INSERT ON e EXECUTE FUNCTION observe_addresses('at', 'ip')".into(), "its trigger reads no rows.".into()),
        ("e", "CREATE OR REPLACE TRIGGER asn_inventory_observe BEFORE INSERT ON e EXECUTE FUNCTION observe_addresses('at', 'ip')".into(), "its trigger was altered.".into()),
        ("e", "CREATE OR REPLACE TRIGGER asn_inventory_observe AFTER INSERT ON e EXECUTE FUNCTION other()".into(), "its trigger is missing, and another trigger has its name.".into()),
        ("e", again("e", "", "'at', 'ip'").replace("OR REPLACE TRIGGER asn_inventory_observe", "TRIGGER zz_by_hand"), "Rows inserted into public.e are counted 2 times".into()),
    ]
    .into_iter()
    .enumerate()
    {
        patient.suffer(&fault, "triggers", &said);
        patient.sees(table, &format!("8.8.1.{n}"));
    }
    // Under another name it observes as well; the fault is made and fixed with that name.
    patient.sql("ALTER TRIGGER asn_inventory_observe ON e RENAME TO mine");
    assert_eq!(patient.trouble(), [""; 0]);
    patient.sees("e", "8.8.2.1");
    patient.suffer("ALTER TABLE e DISABLE TRIGGER mine", "triggers", "its trigger is disabled.");
    patient.suffer("DROP TRIGGER mine ON e", "triggers", "its trigger is gone.");
    patient.sees("e", "8.8.2.2");
}

#[test]
fn many_partitions_without_a_trigger_are_one_row_and_one_command() {
    let patient = Patient::new();
    patient.sql(
        "CREATE TABLE r (n int, ip inet) PARTITION BY LIST (n); SELECT attach_ip_source('r', '{ip}');
         ALTER EVENT TRIGGER asn_inventory_new_partition DISABLE;
         DO $$ BEGIN FOR i IN 1..30 LOOP EXECUTE format('CREATE TABLE r_%s PARTITION OF r FOR VALUES IN (%1$s)', i); END LOOP; END $$",
    );
    assert_eq!(patient.trouble(), ["event trigger|warning", "triggers|error"]);
    assert_eq!(
        patient.said("event trigger"),
        "warning|The event trigger asn_inventory_new_partition is disabled: new partitions and children of attached tables are not observed."
    );
    let found = patient.said("triggers");
    assert!(found.contains("public.r_1, public.r_2, public.r_3 and 27 others by name, below public.r,"), "{found}");
    patient.take_remedy("event trigger");
    patient.take_remedy("triggers");
    assert_eq!(patient.trouble(), [""; 0]);
    // New ones have it from the start.
    patient.sql("CREATE TABLE r_31 PARTITION OF r FOR VALUES IN (31); INSERT INTO r_31 VALUES (31, '8.8.8.8'); INSERT INTO r_7 VALUES (7, '8.8.4.4')");
    patient.wait("SELECT count(*) FROM ip_inventory", "2");
    patient.suffer(
        "DO $$ BEGIN FOR i IN 1..30 LOOP EXECUTE format('ALTER TABLE r_%s DISABLE TRIGGER asn_inventory_observe', i); END LOOP; END $$",
        "triggers",
        "the trigger there is disabled.",
    );
}

#[test]
fn a_missing_or_foreign_event_trigger_is_created_again() {
    let patient = Patient::new();
    let gone = "The extension's event trigger is gone";
    let dropped = "ALTER EXTENSION asn_inventory DROP EVENT TRIGGER asn_inventory_new_partition; DROP EVENT TRIGGER asn_inventory_new_partition";
    patient.suffer(dropped, "event trigger", gone);
    let replaced = "CREATE FUNCTION other() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
         CREATE EVENT TRIGGER asn_inventory_new_partition ON ddl_command_end EXECUTE FUNCTION other()";
    patient.suffer(&format!("{dropped}; {replaced}"), "event trigger", gone);
    patient.suffer(
        "ALTER EVENT TRIGGER asn_inventory_new_partition ENABLE REPLICA",
        "event trigger",
        "fires only for replication",
    );
    patient.sql(
        "CREATE TABLE r (n int, ip inet) PARTITION BY LIST (n); SELECT attach_ip_source('r', '{ip}');
         CREATE TABLE r_1 PARTITION OF r DEFAULT; INSERT INTO r_1 VALUES (1, '8.8.8.8')",
    );
    patient.wait("SELECT count(*) FROM ip_inventory", "1");
    // The extension has it, so it goes with it.
    patient.sql("DROP EXTENSION asn_inventory");
    assert_eq!(patient.value("SELECT count(*) FROM pg_event_trigger WHERE evtname LIKE 'asn_inventory%'"), "0");
}

#[test]
fn a_table_that_took_the_place_of_an_attached_one_is_named() {
    let patient = Patient::new();
    for (n, (after, which)) in [
        ("", "public.e_old now"),
        ("DROP TABLE e_old", "gone"),
        ("ALTER TABLE e_old SET SCHEMA attic", "attic.e_old now"),
    ]
    .into_iter()
    .enumerate()
    {
        patient.sql(
            "DROP SCHEMA IF EXISTS attic CASCADE; DROP TABLE IF EXISTS e, e_old; CREATE SCHEMA attic; CREATE TABLE e (at timestamptz, ip inet);
             SELECT attach_ip_source('e', '{ip}', 'at')",
        );
        patient.suffer(
            &format!("CREATE TABLE n (LIKE e INCLUDING ALL); ALTER TABLE e RENAME TO e_old; ALTER TABLE n RENAME TO e; {after}"),
            "swapped tables",
            &format!("error|Rows inserted into public.e are not observed: it is not the table that was attached under that name, which is {which}."),
        );
        patient.sees("e", &format!("8.8.3.{n}"));
        assert_eq!(
            patient.lines("SELECT ip_columns, observed_at FROM ip_source WHERE tbl = 'e'::regclass"),
            ["{ip}|at"]
        );
    }
    // A table becomes a partition of one that takes its name.
    patient.sql("CREATE TABLE \"Odd.name\" (at timestamptz, ip inet); SELECT attach_ip_source('\"Odd.name\"', '{ip}')");
    patient.suffer(
        "ALTER TABLE \"Odd.name\" RENAME TO odd_1; CREATE TABLE \"Odd.name\" (LIKE odd_1) PARTITION BY LIST (at);
         ALTER TABLE \"Odd.name\" ATTACH PARTITION odd_1 DEFAULT",
        "swapped tables",
        "Rows inserted into public.\"Odd.name\" are not observed",
    );
    patient.sees("\"Odd.name\"", "8.8.3.9");
    // Only a new name is not a fault, and a view in the old one's place is not either.
    patient.sql("CREATE TABLE f (ip inet); SELECT attach_ip_source('f', '{ip}'); ALTER TABLE f RENAME TO g; CREATE VIEW f AS SELECT * FROM g");
    assert_eq!(patient.trouble(), [""; 0]);
    patient.sees("f", "8.8.3.10");
    patient.sql("DROP TABLE g CASCADE");
    assert_eq!(patient.trouble(), [""; 0]);
}

#[test]
fn a_column_that_can_no_longer_be_read_is_named() {
    let patient = Patient::new();
    patient.sql(
        "CREATE TABLE e (at timestamptz, ip inet); SELECT attach_ip_source('e', '{ip}', 'at');
         CREATE TABLE j (payload jsonb, peer text); SELECT attach_ip_source('j', '{payload->a->>src ip,peer}')",
    );
    let said = |why: &str| format!("is observed are missing or changed type, and are skipped: {why}.");
    patient.suffer("ALTER TABLE e RENAME ip TO src", "columns", &said("ip: there is no such column"));
    assert_eq!(patient.value("SELECT ip_columns FROM ip_source WHERE tbl = 'e'::regclass"), "{src}");
    patient.suffer("ALTER TABLE e RENAME src TO \"ip->1\"", "columns", &said("src: there is no such column"));
    patient.sql("INSERT INTO e VALUES (now(), '8.8.4.1')");
    patient.wait("SELECT count(*) FROM ip_inventory WHERE ip_address = '8.8.4.1'", "1");
    patient.suffer("ALTER TABLE e RENAME \"ip->1\" TO ip", "columns", &said("\"ip->1\": there is no such column"));
    patient.suffer(
        "ALTER TABLE e RENAME at TO seen",
        "columns",
        &said("at: the table has no such column that holds a time"),
    );
    assert_eq!(patient.value("SELECT observed_at FROM ip_source WHERE tbl = 'e'::regclass"), "seen");
    patient.suffer(
        "ALTER TABLE e ALTER seen TYPE boolean USING true",
        "columns",
        "seen: the table has no such column that holds a time",
    );
    patient.suffer(
        "ALTER TABLE j RENAME payload TO body",
        "columns",
        &said("payload->a->>src ip: there is no such column"),
    );
    patient.sql("INSERT INTO j VALUES ('{\"a\": {\"src ip\": \"8.8.4.2\"}}', '8.8.4.3')");
    patient.wait("SELECT count(*) FROM ip_inventory WHERE ip_address IN ('8.8.4.2', '8.8.4.3')", "2");
    // Readable columns are still observed, without the missing one.
    patient.suffer("ALTER TABLE j ALTER body TYPE text", "columns", "its type is text now, not JSON");
    assert_eq!(patient.value("SELECT ip_columns FROM ip_source WHERE tbl = 'j'::regclass"), "{peer}");
    patient.suffer("ALTER TABLE j ALTER peer TYPE int USING 0", "columns", &said("peer: its type is integer now"));
    assert_eq!(
        patient.value("SELECT count(*) FROM ip_source WHERE tbl = 'j'::regclass"),
        "0",
        "nothing was left to observe"
    );
    patient.suffer("ALTER TABLE e DROP ip", "columns", &said("ip: there is no such column"));
    // It does not wait for a session with an exclusive lock on the table.
    patient.sql("CREATE TABLE k (ip inet); SELECT attach_ip_source('k', '{ip}')");
    let mut holder = patient.cluster.connect(&patient.db);
    holder.batch_execute("BEGIN; ALTER TABLE k RENAME ip TO src").expect("held");
    assert_eq!(patient.trouble(), [""; 0]);
}

#[test]
fn triggers_left_by_a_schema_only_restore_or_a_detached_partition_are_named() {
    let patient = Patient::new();
    patient.sql(TABLES);
    patient.sql("CREATE TABLE \"Ö\" (\"ï\" inet, b text); SELECT attach_ip_source('\"Ö\"', '{ï,b}')");
    let dump = |arguments: &[&str]| {
        let output = patient.cluster.tool("pg_dump").args(arguments).arg(&patient.db).output().expect("pg_dump");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let restore = |name: &str, parts: &[&[&str]]| {
        let db = format!("{}_{name}", patient.db);
        patient.cluster.sql("postgres", &format!("CREATE DATABASE {db}"));
        for part in parts {
            let file = private_dir().join("dump.sql");
            std::fs::write(&file, dump(part)).expect("a file");
            let psql = patient
                .cluster
                .tool("psql")
                .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &db, "-f"])
                .arg(&file)
                .output();
            let restored = psql.expect("psql");
            assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
        }
        Patient { cluster: patient.cluster, db }
    };
    let copy = restore("copy", &[&["-s"]]);
    copy.wait("SELECT worker FROM enrichment_status", "running");
    assert_eq!(copy.value("SELECT count(*) FROM ip_source"), "0");
    assert_eq!(copy.trouble(), ["triggers|warning"; 4], "a root each, and no partition");
    let said = "public.r has the trigger but is not attached: its addresses are observed, but counted for no table.";
    assert!(copy.said("triggers").contains(said), "{}", copy.said("triggers"));
    copy.take_remedy("triggers");
    assert_eq!(copy.trouble(), [""; 0]);
    let attached = "SELECT tbl, ip_columns, observed_at FROM ip_source ORDER BY tbl::text";
    assert_eq!(copy.lines(attached), patient.lines(attached));
    copy.sees("r_2", "8.8.5.1");

    // Without its triggers, the rows of ip_source tell which tables are attached.
    let bare = restore("bare", &[&["--section=pre-data"], &["--section=data"]]);
    bare.wait("SELECT worker FROM enrichment_status", "running");
    assert!(bare.trouble().iter().all(|trouble| trouble == "triggers|error"), "{:?}", bare.trouble());
    bare.take_remedy("triggers");
    assert_eq!(bare.trouble(), [""; 0]);
    bare.sees("r_2", "8.8.5.2");

    patient.suffer("ALTER TABLE r DETACH PARTITION r_1", "triggers", "public.r_1 has the trigger but is not attached");
    patient.sees("r_1", "8.8.5.3");
}

#[test]
fn a_trigger_left_by_a_removed_foreign_partition_is_named() {
    let patient = Patient::new();
    patient.sql(TABLES);
    patient.sql(
        "CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER far FOREIGN DATA WRAPPER nowhere;
         CREATE FOREIGN TABLE r_far PARTITION OF r FOR VALUES FROM ('2030-01-01') TO ('2031-01-01') SERVER far",
    );
    // As it should be: rows that come through the root are counted as not observed.
    assert_eq!(patient.trouble(), [""; 0]);
    patient.suffer("DROP TRIGGER asn_inventory_observe ON r_1", "triggers", "public.r_1 by name, below public.r,");
    patient.suffer(
        "DROP FOREIGN TABLE r_far",
        "triggers",
        "Rows inserted into public.r are not observed: its trigger reads no rows.",
    );
    patient.sees("r", "8.8.6.1");
    // Tables of another extension are left alone, as in attaching.
    patient.sql(
        "DROP TRIGGER asn_inventory_observe ON c; CREATE EXTENSION IF NOT EXISTS plpgsql; ALTER EXTENSION plpgsql ADD TABLE c",
    );
    assert_eq!(patient.trouble(), [""; 0]);
}

#[test]
fn tables_that_were_attached_before_an_update_have_a_name_after_it() {
    let cluster = cluster();
    cluster.sql("postgres", "CREATE DATABASE before_names");
    cluster.sql(
        "before_names",
        "CREATE EXTENSION asn_inventory VERSION '0.1.0'; CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}');
         ALTER EXTENSION asn_inventory UPDATE",
    );
    let patient = Patient { cluster, db: "before_names".to_owned() };
    patient.wait("SELECT worker FROM enrichment_status", "running");
    patient.suffer(
        "CREATE TABLE n (LIKE e INCLUDING ALL); ALTER TABLE e RENAME TO e_old; ALTER TABLE n RENAME TO e",
        "swapped tables",
        "Rows inserted into public.e are not observed",
    );
}

#[test]
fn statements_that_were_not_observed_are_named_until_their_table_is_read_again() {
    let patient = Patient::new();
    patient.sql("CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}')");
    patient.sql("SET asn_inventory.enabled = off; INSERT INTO e VALUES ('8.8.7.1')");
    patient.wait("SELECT unobserved FROM ip_source", "1");
    assert_eq!(patient.trouble(), ["unobserved|warning"]);
    let said = "warning|1 statements inserted rows into public.e and were not observed: ";
    assert!(patient.said("unobserved").starts_with(said), "{}", patient.said("unobserved"));
    patient.take_remedy("unobserved");
    assert_eq!(patient.trouble(), [""; 0]);
    patient.wait("SELECT count(*) FROM ip_inventory WHERE ip_address = '8.8.7.1'", "1");
}

#[test]
fn statements_that_met_a_locked_queue_are_named_until_each_of_their_tables_is_read_again() {
    let patient = Patient::new();
    patient.sql(
        "CREATE TABLE e (ip inet); CREATE TABLE p (ip inet) PARTITION BY RANGE (ip); CREATE TABLE q PARTITION OF p DEFAULT;
         CREATE TABLE gone (ip inet); CREATE TABLE let_go (ip inet);
         SELECT attach_ip_source(t, '{ip}') FROM unnest('{e, p, gone, let_go}'::regclass[]) t",
    );
    let mut holder = patient.cluster.connect(&patient.db);
    holder.batch_execute("BEGIN; LOCK TABLE ip_observation").expect("the lock");
    let mut loader = patient.cluster.connect(&patient.db);
    for (n, table) in ["let_go", "gone", "e", "p", "q"].into_iter().enumerate() {
        loader.batch_execute(&format!("INSERT INTO {table} VALUES ('8.8.6.{n}')")).expect("inserted");
    }
    holder.batch_execute("ROLLBACK").expect("released");
    let said = |statements: u32, table: &str| {
        let said = patient.said("unobserved");
        let (start, end) =
            (format!("warning|{statements} statements were not observed, "), format!(" into public.{table}: "));
        assert!(said.starts_with(&start) && said.contains(&end), "{statements} of {table}: {said}");
    };
    said(5, "q");
    // Of a table that is gone, or that nobody observes any more, nothing is missing.
    patient.sql("SELECT detach_ip_source('let_go')");
    said(4, "q");
    patient.sql("DROP TABLE gone");
    said(3, "q");
    // One that is taken back has brought nothing in.
    let mut client = patient.cluster.connect(&patient.db);
    client.batch_execute("BEGIN; SELECT populate_ip_inventory('p'); ROLLBACK").expect("taken back");
    said(3, "q");
    // A table is read with its partitions, and leaves the others as they are.
    patient.sql("SELECT populate_ip_inventory('p')");
    said(1, "e");
    patient.take_remedy("unobserved");
    assert_eq!(patient.said("unobserved"), "");
    let observed = "SELECT string_agg(host(ip_address), ' ' ORDER BY ip_address) FROM ip_inventory";
    patient.wait(observed, "8.8.6.2 8.8.6.3 8.8.6.4");
    let page = Page::of(patient.cluster, &patient.db);
    assert_eq!(page.value("unobserved_statements_total", &[]), Some(5.0), "a counter goes on");
}

#[test]
fn a_count_that_hangs_is_named_until_the_inventory_is_counted() {
    let patient = Patient::new();
    patient.sql(
        "CREATE TABLE e (ip inet, at timestamptz); SELECT attach_ip_source('e', '{ip}', 'at');
         INSERT INTO e VALUES ('8.8.5.1', now() - interval '300 days')",
    );
    patient.wait("SELECT addresses FROM inventory_count", "1");
    // While this session holds the counts, none is written.
    let mut holder = patient.cluster.connect(&patient.db);
    let mut hang = |what: &str, addresses: &str| {
        let old = || {
            holder.batch_execute("ROLLBACK").expect("released");
            patient.sql("UPDATE inventory_count SET counted_at = now() - interval '2 days'");
            holder.batch_execute("BEGIN; LOCK TABLE inventory_count IN SHARE MODE").expect("the lock");
            let is_old = patient.value("SELECT counted_at < now() - interval '1 day' FROM inventory_count");
            [is_old, patient.value("SELECT addresses FROM inventory_count"), patient.said("count")]
        };
        // Old as the count is, nothing is missing in it.
        wait_for(what, old, |found| found == &["t", addresses, ""]);
    };
    hang("an old count of old events", "1");
    // Events that are older than the count, as those of an archive. By hand, since the worker may be waiting for the counts.
    patient.sql("INSERT INTO ip_inventory (ip_address, ip_class, last_seen_at) VALUES ('10.0.0.2', 'private', now() - interval '299 days')");
    let said = wait_for("a finding", || patient.said("count"), |said| !said.is_empty());
    assert!(said.starts_with("warning|The inventory was last counted at "), "{said}");
    // The remedy can be run.
    patient.sql(patient.remedy("count").split("  --").next().expect("a query"));
    // An event of today is in a count that was made after it, whatever time the count has.
    patient.sql("INSERT INTO e VALUES ('8.8.5.3', now())");
    hang("an old count of a new event", "3");
    holder.batch_execute("ROLLBACK").expect("released");
    wait_for("a count", || patient.trouble(), Vec::is_empty);
}

#[test]
fn an_observed_table_that_another_access_method_stores_is_named_until_a_trigger_observes_it() {
    let patient = Patient::new();
    // A heap, which the catalogs do not tell.
    patient.sql(
        "CREATE FUNCTION stored(internal) RETURNS table_am_handler LANGUAGE internal AS 'heap_tableam_handler';
         CREATE ACCESS METHOD other TYPE TABLE HANDLER stored;
         CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}', method => 'index')",
    );
    let said = "warning|The rows of public.e are not stored as a heap: what INSERT ... ON CONFLICT and MERGE update";
    patient.suffer("ALTER TABLE e SET ACCESS METHOD other", "observer indexes", said);
}

/// As in a Citus cluster, where statistics of one node say too little.
#[test]
fn an_old_count_is_named_by_its_age_where_changes_are_not_known() {
    let patient = Patient::new();
    // Nothing is observed.
    patient.wait("SELECT addresses FROM inventory_count", "0");
    let mut holder = patient.cluster.connect(&patient.db);
    let old = || {
        holder.batch_execute("ROLLBACK").expect("released");
        patient.sql("UPDATE inventory_count SET counted_at = now() - interval '2 days', changes = NULL");
        holder.batch_execute("BEGIN; LOCK TABLE inventory_count IN SHARE MODE").expect("the lock");
        patient.said("count")
    };
    wait_for("a finding", old, |said| said.starts_with("warning|The inventory was last counted at "));
    holder.batch_execute("ROLLBACK").expect("released");
    wait_for("a count", || patient.trouble(), Vec::is_empty);
}

#[test]
fn a_check_of_many_partitions_takes_no_more_for_each() {
    let patient = Patient::new();
    patient.sql("CREATE TABLE r (n int, ip inet) PARTITION BY LIST (n); SELECT attach_ip_source('r', '{ip}')");
    let mut session = patient.cluster.connect(&patient.db);
    let rows = query(&mut session, "SELECT pg_backend_pid()").expect("a pid");
    let pid = rows[0][0].clone().expect("a pid");
    // Its processor time: this machine has other load, too.
    let spent = || {
        let told = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("Linux");
        told.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).expect("nanoseconds")
    };
    let mut least = |hundreds: std::ops::Range<u32>| {
        for hundred in hundreds {
            patient.sql(&format!(
                "DO $$ BEGIN FOR i IN 1..100 LOOP EXECUTE format('CREATE TABLE r_%s PARTITION OF r FOR VALUES IN (%1$s)', {hundred} * 100 + i); END LOOP; END $$"
            ));
        }
        patient.sql("ANALYZE pg_class; ANALYZE pg_trigger; ANALYZE pg_inherits");
        let mut took = || {
            let before = spent();
            query(&mut session, "SELECT * FROM enrichment_doctor()").expect("an answer");
            (spent() - before) as f64 / 1e6
        };
        (0..10).map(|_| took()).fold(f64::INFINITY, f64::min)
    };
    let (few, many) = (least(0..3), least(3..15));
    eprintln!("the doctor with 300 partitions: {few} ms, with 1,500: {many} ms");
    assert!(many < 8.0 * few, "{few} ms, {many} ms");
}

/// A remedy is pasted by superusers: what owners name their tables and columns must not become a statement of its own.
#[test]
fn no_remedy_executes_text_from_a_name() {
    let patient = Patient::new();
    let evil = "k\nCREATE TABLE public.broken_out (); --";
    patient.sql(&format!(
        "CREATE TABLE mine (payload jsonb); SELECT attach_ip_source('mine', ARRAY['payload->>''{evil}''']); INSERT INTO mine VALUES ('{{}}');
         CREATE TABLE root (ip inet, n int) PARTITION BY LIST (n); SELECT attach_ip_source('root', '{{ip}}');
         CREATE TABLE \"{evil}\" PARTITION OF root FOR VALUES IN (1); ALTER TABLE root DETACH PARTITION \"{evil}\""
    ));
    let named = "SELECT count(DISTINCT check_name) FROM enrichment_doctor() WHERE level <> 'ok' AND check_name IN ('addresses', 'triggers')";
    asn_inventory_tests::wait::wait_until("both to be named", || patient.lines(named) == ["2"]);
    let remedies = "SELECT remedy FROM enrichment_doctor() WHERE remedy IS NOT NULL AND check_name IN ('addresses', 'triggers', 'columns')";
    for row in patient.cluster.sql(&patient.db, remedies) {
        // As psql sends it: a failure does no harm, but text after a comment would run.
        let remedy = row[0].clone().unwrap_or_default();
        let _ = patient.cluster.psql(&patient.db, &remedy);
    }
    assert_eq!(patient.lines("SELECT count(*) FROM pg_class WHERE relname = 'broken_out'"), ["0"]);
}
