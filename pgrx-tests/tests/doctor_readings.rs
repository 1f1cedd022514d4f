//! `enrichment_doctor()` of what is read of a row beside its addresses: times and sensors that nothing says are named.

use crate::doctor_support::*;

#[test]
fn a_sensor_is_part_of_how_a_table_is_read() {
    let patient = Patient::new();
    patient.sql(
        "CREATE TABLE e (at timestamptz, ip inet, hp text, kind text);
         SELECT attach_ip_source('e', '{ip}', 'at', only_where => 'kind = login', sensor => 'hp')",
    );
    assert_eq!(patient.said("triggers"), "");
    let kept = "SELECT only_where, sensor FROM ip_source";
    for fault in ["DROP TRIGGER asn_inventory_observe ON e", "DELETE FROM ip_source", "ALTER TABLE e DROP COLUMN at"] {
        patient.sql(fault);
        let check = if fault.starts_with("ALTER") { "columns" } else { "triggers" };
        patient.take_remedy(check);
        assert_eq!(patient.lines(kept), ["kind = login|hp"], "{fault}");
        assert_eq!(patient.said(check), "", "{fault}");
    }
    // Without its column, rows count for no sensor: that is said, and the remedy gives it up.
    patient.sql("ALTER TABLE e DROP COLUMN hp");
    let said = patient.said("columns");
    assert!(said.ends_with("sensor hp: the table has no such column, and rows count for no sensor."), "{said}");
    patient.take_remedy("columns");
    assert_eq!(patient.lines(kept), ["kind = login|"]);
    assert_eq!(patient.said("columns"), "");
}

/// The finding's remedy, with one text in place of another.
fn take_changed(patient: &Patient, check: &str, from: &str, to: &str) {
    let remedy = patient.remedy(check);
    let commands = remedy.split("  -- ").next().expect("commands");
    assert!(commands.contains(from), "{remedy}");
    patient.sql(&commands.replace(from, to));
}

#[test]
fn times_that_cannot_be_read_are_named_until_the_path_is_right() {
    let patient = Patient::new();
    let insert = |table: &str, rows: u32, time: &str| {
        patient.sql(&format!(
            "INSERT INTO {table} SELECT jsonb_build_object('ip', '8.9.1.' || n % 50, 'timestamp', {time}) FROM generate_series(1, {rows}) n"
        ));
    };
    for method in ["trigger", "row", "index"] {
        let table = format!("by_{method}");
        patient.sql(&format!(
            "CREATE TABLE {table} (payload jsonb);
             SELECT attach_ip_source('{table}', ARRAY['payload->>ip'], 'payload->>Timestamp', '{method}')"
        ));
        insert(&table, 200, "'2026-01-05T12:00:00Z'");
        let since = format!("SELECT rows_since_time FROM ip_source WHERE tbl = '{table}'::regclass");
        patient.wait(&since, "200");
        assert_eq!(patient.trouble(), ["times|warning"], "{method}");
        assert_eq!(
            patient.said("times"),
            format!(
                "warning|Nearly none of the last 200 rows of public.{table} had a time that could be read, and the time of the insert stands in: no key \"Timestamp\"; the keys are: ip, timestamp."
            )
        );
        take_changed(&patient, "times", "Timestamp", "timestamp");
        patient.wait(&format!("SELECT observations FROM ip_source WHERE tbl = '{table}'::regclass"), "200");
        assert_eq!(patient.value("SELECT DISTINCT first_seen_at FROM ip_inventory"), "2026-01-05 12:00:00+00");
        assert_eq!(patient.trouble(), [""; 0], "{method}");
    }
    // However many rows had one before: what counts is how the table is read now.
    let (table, since) = ("by_trigger", "SELECT rows_since_time FROM ip_source WHERE tbl = 'by_trigger'::regclass");
    patient.sql("SELECT attach_ip_source('by_trigger', ARRAY['payload->>ip'], 'payload->>at')");
    insert(table, 120, "'2026-01-06'");
    patient.wait(since, "120");
    assert!(patient.said("times").contains("no key \"at\""), "{}", patient.said("times"));
    patient.sql("SELECT attach_ip_source('by_trigger', ARRAY['payload->>ip'], 'payload->>timestamp')");
    assert_eq!(patient.lines(&since.replace("rows_since_time", "rows_since_time, unreadable_reason")), ["0|"]);
    assert_eq!(patient.trouble(), [""; 0]);
    // Some among many are nothing, and those that are not believed have another cure.
    insert(table, 500, "CASE WHEN n % 3 = 0 THEN 'soon' ELSE '2026-01-06' END");
    patient.wait("SELECT unparsable FROM ip_source WHERE tbl = 'by_trigger'::regclass", "286");
    assert_eq!(patient.trouble(), [""; 0]);
    insert(table, 150, "'1999-01-06'");
    patient.wait(since, "150");
    assert!(
        patient.remedy("times").ends_with("set asn_inventory.event_time_back first"),
        "{}",
        patient.remedy("times")
    );
}

#[test]
fn times_of_rows_that_are_events_are_what_counts() {
    let patient = Patient::new();
    patient.sql(
        "CREATE TABLE j (payload jsonb);
         SELECT attach_ip_source('j', ARRAY['payload->>ip'], 'payload->>at', only_where => 'payload->>kind = login')",
    );
    let insert = |kind: &str, rows: u32| {
        patient.sql(&format!(
            "INSERT INTO j SELECT jsonb_build_object('ip', '8.9.1.1', 'kind', '{kind}') FROM generate_series(1, {rows})"
        ));
    };
    insert("login", 9);
    insert("other", 500);
    patient.wait("SELECT rows_seen FROM ip_source", "509");
    assert_eq!(patient.value("SELECT rows_since_time FROM ip_source"), "9");
    assert_eq!(patient.trouble(), [""; 0], "a few rows are nothing");
    insert("login", 1);
    patient.wait("SELECT rows_since_time FROM ip_source", "10");
    assert_eq!(patient.trouble(), ["times|warning"]);
    patient.sql(r#"INSERT INTO j VALUES ('{"ip":"8.9.1.1","kind":"login","at":"2026-01-05"}')"#);
    patient.wait("SELECT rows_since_time FROM ip_source", "0");
    insert("login", 50);
    patient.wait("SELECT rows_since_time FROM ip_source", "50");
    assert_eq!(patient.trouble(), [""; 0], "where some events have a time, others follow each other");
}

#[test]
fn a_sensor_that_no_row_has_is_named_until_the_path_is_right() {
    let patient = Patient::new();
    for method in ["trigger", "row", "index"] {
        for kind in ["jsonb", "json"] {
            let table = format!("{kind}_{method}");
            patient.sql(&format!(
                "CREATE TABLE {table} (payload {kind});
                 SELECT attach_ip_source('{table}', ARRAY['payload->>ip'], sensor => 'payload->>sensr', method => '{method}');
                 INSERT INTO {table} SELECT jsonb_build_object('ip', '8.9.2.' || n % 50, 'sensor', 'a') FROM generate_series(1, 200) n"
            ));
            let counted = format!("SELECT observations, unparsable FROM ip_source WHERE tbl = '{table}'::regclass");
            patient.wait(&counted.replace(", unparsable", ""), "200");
            assert_eq!(patient.trouble(), ["sensors|warning"], "{table}");
            assert_eq!(
                patient.said("sensors"),
                format!(
                    "warning|None of the 200 observations of public.{table} names a sensor: no key \"sensr\"; the keys are: ip, sensor."
                )
            );
            assert_eq!(patient.lines(&counted), ["200|0"]);
            take_changed(&patient, "sensors", "sensr", "sensor");
            let sensors = format!(
                "SELECT sensor || ' ' || observations FROM ip_sensors WHERE tbl = '{table}' AND observations > 0"
            );
            patient.wait(&sensors, "a 200");
            assert_eq!(patient.trouble(), [""; 0], "{table}");
        }
    }
    // A column, and a name now and then. What came before the column was named says nothing.
    patient.sql(
        "CREATE TABLE e (ip inet, hp text); SELECT attach_ip_source('e', '{ip}');
         INSERT INTO e SELECT '8.9.4.0'::inet + n, 'a' FROM generate_series(1, 110) n",
    );
    patient.wait("SELECT observations FROM ip_source WHERE tbl = 'e'::regclass", "110");
    patient.sql("SELECT attach_ip_source('e', '{ip}', sensor => 'hp')");
    assert_eq!(patient.trouble(), [""; 0]);
    patient.sql(
        "INSERT INTO e SELECT '8.9.3.0'::inet + n, CASE WHEN n % 2 = 0 THEN '' END FROM generate_series(1, 130) n",
    );
    patient.wait("SELECT observations FROM ip_source WHERE tbl = 'e'::regclass", "240");
    let said = patient.said("sensors");
    assert_eq!(said, "warning|None of the 240 observations of public.e names a sensor: an empty text.");
    patient.sql("INSERT INTO e VALUES ('8.9.3.1', 'a')");
    patient.wait("SELECT observations FROM ip_source WHERE tbl = 'e'::regclass", "241");
    assert_eq!(patient.trouble(), [""; 0]);
}

/// No call makes such an index again: forgotten and attached by name, the table would lose its counts or its condition.
#[test]
fn what_an_index_made_by_hand_reads_is_not_to_be_attached_by_a_call() {
    let patient = Patient::new();
    for (table, definition) in [
        ("expression", "((p->>'ip')) INCLUDE (h) WITH (sensor = 'h')"),
        ("partial", "(a) INCLUDE (h) WITH (sensor = 'h') WHERE kind = 'login'"),
    ] {
        patient.sql(&format!(
            "CREATE TABLE {table} (p jsonb, a text, kind text, h text); CREATE INDEX ON {table} USING ip_observer {definition};
             INSERT INTO {table} SELECT jsonb_build_object('ip', '8.9.5.1'), '8.9.5.1', 'login' FROM generate_series(1, 200)"
        ));
        patient.wait(&format!("SELECT observations FROM ip_source WHERE tbl = '{table}'::regclass"), "200");
        let remedy = format!(
            "-- make the index that observes public.{table} anew: replace sensor by the column or JSON path that names it, or leave it out"
        );
        assert_eq!(patient.remedy("sensors"), remedy);
        patient.sql(&format!("DROP TABLE {table}"));
    }
    patient.sql(
        "CREATE TABLE silent (p jsonb); CREATE INDEX ON silent USING ip_observer ((p->>'ip')); INSERT INTO silent VALUES ('{}')",
    );
    patient.wait("SELECT rows_since_address FROM ip_source WHERE tbl = to_regclass('silent')", "1");
    assert_eq!(
        patient.remedy("addresses"),
        "-- make the index that observes public.silent anew: replace these by the columns or JSON paths that hold addresses"
    );
}
