//! Attached tables of every build: partitioned, inherited, oddly named, changed since, attached again, detached.

use crate::ingest_support::{Db, run};

const TRIGGERS: &str = "SELECT tgrelid::regclass FROM pg_trigger WHERE tgfoid = 'observe_addresses'::regproc
                        ORDER BY tgrelid::regclass::text COLLATE \"C\"";

#[test]
fn partitions_count_once_for_the_root_on_every_path_of_insert() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (id int, ip inet) PARTITION BY RANGE (id);
         CREATE TABLE first PARTITION OF events FOR VALUES FROM (0) TO (100);
         CREATE TABLE second PARTITION OF events FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (id);
         CREATE TABLE second_a PARTITION OF second FOR VALUES FROM (100) TO (150);
         SELECT attach_ip_source('events', '{ip}');",
    );
    // Through the root, into two partitions; directly into a partition, a partitioned partition, and its own.
    db.sql("INSERT INTO events VALUES (1, '36.64.0.1'), (101, '36.64.0.1'), (102, '36.64.0.2')");
    db.sql("INSERT INTO first VALUES (2, '36.64.1.1'), (3, '36.64.0.1')");
    db.sql("INSERT INTO second VALUES (103, '36.64.2.1')");
    db.sql("INSERT INTO second_a VALUES (104, '36.64.3.1')");
    // Made after attach_ip_source, at both levels.
    db.sql(
        "CREATE TABLE third PARTITION OF events FOR VALUES FROM (200) TO (300);
         CREATE TABLE second_b PARTITION OF second FOR VALUES FROM (150) TO (200);
         INSERT INTO third VALUES (201, '36.64.4.1');
         INSERT INTO second_b VALUES (151, '36.64.5.1');
         INSERT INTO events VALUES (202, '36.64.4.2'), (152, '36.64.5.1');",
    );
    // Attached as a partition after attach_ip_source, with its columns in another order and one more that is gone.
    db.sql(
        "CREATE TABLE fourth (gone int, ip inet, id int); ALTER TABLE fourth DROP COLUMN gone;
         INSERT INTO fourth VALUES ('36.64.6.9', 301);
         ALTER TABLE events ATTACH PARTITION fourth FOR VALUES FROM (300) TO (400);
         INSERT INTO fourth VALUES ('36.64.6.1', 302);
         INSERT INTO events VALUES (303, '36.64.6.1');",
    );
    // A whole tree attached at once.
    db.sql(
        "CREATE TABLE fifth (id int, ip inet) PARTITION BY RANGE (id);
         CREATE TABLE fifth_a PARTITION OF fifth FOR VALUES FROM (400) TO (450);
         ALTER TABLE events ATTACH PARTITION fifth FOR VALUES FROM (400) TO (500);
         INSERT INTO fifth_a VALUES (401, '36.64.7.1');
         INSERT INTO fifth VALUES (402, '36.64.7.1');",
    );
    // A row that an update moves to another partition is not a new event.
    db.sql("UPDATE events SET id = 250 WHERE id = 1");
    assert_eq!(
        db.counts(),
        [
            "36.64.0.1|3",
            "36.64.0.2|1",
            "36.64.1.1|1",
            "36.64.2.1|1",
            "36.64.3.1|1",
            "36.64.4.1|1",
            "36.64.4.2|1",
            "36.64.5.1|2",
            "36.64.6.1|2",
            "36.64.7.1|2",
        ]
    );
    assert_eq!(db.sources(), ["events|15|0"]);
    assert_eq!(
        db.lines(TRIGGERS),
        ["events", "fifth", "fifth_a", "first", "fourth", "second", "second_a", "second_b", "third"]
    );

    db.sql("SELECT detach_ip_source('events')");
    assert_eq!(db.lines(TRIGGERS), [""; 0]);
    db.sql(
        "INSERT INTO events VALUES (2, '36.64.8.1'); INSERT INTO third VALUES (203, '36.64.8.1');
         CREATE TABLE sixth PARTITION OF events FOR VALUES FROM (500) TO (600); INSERT INTO sixth VALUES (501, '36.64.8.1');",
    );
    assert_eq!(db.value("SELECT count(*) FROM ip_observation"), "0");
    assert_eq!(db.counts().len(), 10);
    assert_eq!(db.sources(), [""; 0]);
}

#[test]
fn unreadable_values_in_a_partition_count_for_the_root_too() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (id int, ip text) PARTITION BY RANGE (id);
         CREATE TABLE first PARTITION OF events FOR VALUES FROM (0) TO (100);
         SELECT attach_ip_source('events', '{ip}');
         INSERT INTO first VALUES (1, 'garbage'), (2, '36.65.0.1');
         INSERT INTO events VALUES (3, 'garbage'), (4, 'garbage'), (5, '36.65.0.1');",
    );
    assert_eq!(db.sources(), ["events|2|3"]);
}

#[test]
fn inherited_tables_count_for_their_parent() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (id int, ip inet);
         CREATE TABLE ssh (login text) INHERITS (events);
         CREATE TABLE web (ip inet, id int);
         SELECT attach_ip_source('events', '{ip}');
         INSERT INTO events VALUES (1, '36.66.0.1');
         INSERT INTO ssh VALUES (2, '36.66.0.1', 'root'), (3, '36.66.0.2', 'pi');
         INSERT INTO web VALUES ('36.66.0.9', 4);
         ALTER TABLE web INHERIT events;
         INSERT INTO web VALUES ('36.66.0.3', 5);
         CREATE TABLE ssh_keys () INHERITS (ssh);
         INSERT INTO ssh_keys VALUES (6, '36.66.0.4', 'x');",
    );
    assert_eq!(db.counts(), ["36.66.0.1|2", "36.66.0.2|1", "36.66.0.3|1", "36.66.0.4|1"]);
    assert_eq!(db.sources(), ["events|5|0"]);
    db.sql("SELECT detach_ip_source('events'); INSERT INTO ssh_keys VALUES (7, '36.66.0.5', 'x')");
    assert_eq!(db.lines(TRIGGERS), [""; 0]);
    assert_eq!(db.counts().len(), 4);
}

#[test]
fn odd_names_in_odd_schemas_work() {
    let db = Db::new();
    db.sql(
        r#"CREATE SCHEMA "Ev il";
           CREATE TABLE "Ev il"."My ""Table's" ("Src->IP" inet, "it's ""when""" timestamptz, "péload" jsonb, "a b" text)
               PARTITION BY LIST ("a b");
           SELECT attach_ip_source('"Ev il"."My ""Table''s"',
                                   ARRAY['"Src->IP"', 'péload->>''it''''s'''], 'it''s "when"');
           CREATE TABLE "Ev il"."Part;--" PARTITION OF "Ev il"."My ""Table's" DEFAULT;
           INSERT INTO "Ev il"."My ""Table's" VALUES ('36.67.0.1', '2024-01-01', '{"it''s": "36.67.0.2"}', 'x');
           INSERT INTO "Ev il"."Part;--" VALUES ('36.67.0.1', '2024-01-02', '{"it''s": "36.67.0.3"}', 'y');"#,
    );
    assert_eq!(db.counts(), ["36.67.0.1|2", "36.67.0.2|1", "36.67.0.3|1"]);
    assert_eq!(db.sources(), [r#""Ev il"."My ""Table's"|4|0"#]);
    assert_eq!(
        db.value("SELECT first_seen_at || ' ' || last_seen_at FROM ip_inventory WHERE ip_address = '36.67.0.1'"),
        "2024-01-01 00:00:00+00 2024-01-02 00:00:00+00"
    );
    db.sql(r#"SELECT detach_ip_source('"Ev il"."My ""Table''s"')"#);
    assert_eq!(db.lines(TRIGGERS), [""; 0]);
}

#[test]
fn a_changed_table_accepts_inserts_with_a_warning() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (a inet, b text, c inet, payload jsonb, at timestamptz, d inet);
         SELECT attach_ip_source('events', '{a,b,c,payload->>ip,d}', 'at');
         ALTER TABLE events DROP COLUMN a;
         ALTER TABLE events RENAME COLUMN b TO bee;
         ALTER TABLE events ALTER COLUMN c TYPE text;
         ALTER TABLE events ALTER COLUMN payload TYPE text;
         ALTER TABLE events ALTER COLUMN at TYPE boolean USING true;",
    );
    let (mut session, notices) = db.connect_with_notices();
    run(
        &mut session,
        r#"INSERT INTO events VALUES ('36.68.0.1', '36.68.0.2', '{"ip":"36.68.0.3"}', 'yes', '36.68.0.4')"#,
    );
    let heard = notices.all();
    for name in ["a", "b", "payload->>ip", "at"] {
        let warning = format!("WARNING: column \"{name}\" is missing or changed type and is no longer observed");
        assert!(heard.contains(&warning), "{warning}\n{heard:?}");
    }
    assert_eq!(heard.len(), 4, "{heard:?}");
    assert_eq!(db.counts(), ["36.68.0.2|1", "36.68.0.4|1"]);
    // The cure that the hint names.
    run(&mut session, "SELECT attach_ip_source('events', '{bee,c,d}')");
    run(&mut session, "INSERT INTO events VALUES ('36.68.1.1', '36.68.1.2', NULL, NULL, '36.68.1.4')");
    assert_eq!(notices.all().len(), 4, "{:?}", notices.all());
    assert_eq!(db.counts(), ["36.68.0.2|1", "36.68.0.4|1", "36.68.1.1|1", "36.68.1.2|1", "36.68.1.4|1"]);
}

#[test]
fn a_renamed_table_stays_observed_and_a_dropped_one_affects_no_other() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (ip inet); CREATE TABLE doomed (ip inet); CREATE SCHEMA archive;
         SELECT attach_ip_source('events', '{ip}'), attach_ip_source('doomed', '{ip}');
         ALTER TABLE events RENAME TO cases; ALTER TABLE cases SET SCHEMA archive;
         INSERT INTO archive.cases VALUES ('36.69.0.1');",
    );
    // Inserted rows count, even if their table is dropped before the worker looks.
    db.sql("BEGIN; INSERT INTO doomed VALUES ('36.69.0.2'); DROP TABLE doomed; COMMIT");
    db.sql("INSERT INTO archive.cases VALUES ('36.69.0.1')");
    assert_eq!(db.counts(), ["36.69.0.1|2", "36.69.0.2|1"]);
    assert_eq!(db.value("SELECT observations FROM ip_source WHERE tbl = 'archive.cases'::regclass"), "2");
}

#[test]
fn attaching_again_replaces_the_columns_and_detaching_leaves_no_trace() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (a inet, b inet, at date);
         SELECT attach_ip_source('events', '{a}');
         INSERT INTO events VALUES ('36.70.0.1', '36.70.0.2');
         SELECT attach_ip_source('events', '{b}', 'at');
         INSERT INTO events VALUES ('36.70.0.1', '36.70.0.2', '2024-01-01');
         SELECT attach_ip_source('events', '{a,b}');
         INSERT INTO events VALUES ('36.70.0.1', '36.70.0.2', '2023-06-01');",
    );
    assert_eq!(db.counts(), ["36.70.0.1|2", "36.70.0.2|2"]);
    assert_eq!(
        db.value("SELECT first_seen_at FROM ip_inventory WHERE ip_address = '36.70.0.2'"),
        "2024-01-01 00:00:00+00"
    );
    assert_eq!(db.sources(), ["events|4|0"]);
    assert_eq!(db.lines("SELECT ip_columns, observed_at, attached_by FROM ip_source"), ["{a,b}||postgres"]);

    db.sql("SELECT detach_ip_source('events')");
    db.sql("INSERT INTO events VALUES ('36.70.0.1', '36.70.0.2')");
    assert_eq!(db.value("SELECT count(*) FROM ip_observation"), "0");
    assert_eq!(db.counts(), ["36.70.0.1|2", "36.70.0.2|2"]);
    assert_eq!(
        db.value(
            "SELECT (SELECT count(*) FROM ip_source) + (SELECT count(*) FROM pg_trigger WHERE tgrelid = 'events'::regclass)
                  + (SELECT count(*) FROM pg_depend WHERE refobjid = 'events'::regclass AND deptype = 'x')"
        ),
        "0"
    );

    db.sql("SELECT attach_ip_source('events', '{a}'); INSERT INTO events VALUES ('36.70.0.1', '36.70.0.2')");
    assert_eq!(db.counts(), ["36.70.0.1|3", "36.70.0.2|2"]);
    assert_eq!(db.sources(), ["events|1|0"]);
}

#[test]
fn attaching_is_undone_with_its_transaction() {
    let db = Db::new();
    db.sql("CREATE TABLE events (ip inet)");
    db.sql("BEGIN; SELECT attach_ip_source('events', '{ip}'); INSERT INTO events VALUES ('36.71.0.1'); ROLLBACK");
    db.sql("INSERT INTO events VALUES ('36.71.0.2')");
    assert_eq!(db.lines(TRIGGERS), [""; 0]);
    db.sql("BEGIN; SELECT attach_ip_source('events', '{ip}'); INSERT INTO events VALUES ('36.71.0.3'); COMMIT");
    db.sql("BEGIN; SELECT detach_ip_source('events'); INSERT INTO events VALUES ('36.71.0.4'); ROLLBACK");
    db.sql("INSERT INTO events VALUES ('36.71.0.5')");
    assert_eq!(db.counts(), ["36.71.0.3|1", "36.71.0.5|1"]);
}

#[test]
fn generated_columns_and_unlogged_tables_are_observed() {
    let db = Db::new();
    db.sql(
        r#"CREATE UNLOGGED TABLE events (payload jsonb, ip text GENERATED ALWAYS AS (payload->>'src') STORED);
           SELECT attach_ip_source('events', '{ip}');
           INSERT INTO events VALUES ('{"src":"36.72.0.1"}'), ('{"src":"36.72.0.1"}'), ('{}');"#,
    );
    assert_eq!(db.counts(), ["36.72.0.1|2"]);
    assert_eq!(db.sources(), ["events|2|0"]);
}

#[test]
fn a_session_notices_every_change_between_its_inserts() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (id int, a inet, b text, at date);
         SELECT attach_ip_source('events', '{a}', 'at');
         CREATE TABLE twin (id int, a inet, b text, at date);
         SELECT attach_ip_source('twin', '{b}');",
    );
    let mut session = db.connect();
    let mut other = db.connect();
    run(&mut session, "INSERT INTO events VALUES (1, '36.73.1.1', '36.73.1.2', '2024-01-01')");
    run(&mut session, "INSERT INTO twin VALUES (1, '36.73.1.3', '36.73.1.4', '2024-01-01')");
    // Columns move, by another session and by this one.
    run(&mut other, "ALTER TABLE events DROP COLUMN id; ALTER TABLE events ADD COLUMN more text");
    run(&mut session, "INSERT INTO events VALUES ('36.73.2.1', '36.73.2.2', '2024-01-02', '36.73.2.3')");
    run(&mut session, "ALTER TABLE events ALTER COLUMN a TYPE text");
    run(&mut session, "INSERT INTO events VALUES ('http://36.73.3.1/', '36.73.3.2', '2024-01-03')");
    run(&mut other, "ALTER TABLE events RENAME COLUMN b TO c; ALTER TABLE events RENAME COLUMN a TO b");
    run(&mut other, "ALTER TABLE events RENAME COLUMN c TO a");
    run(&mut session, "INSERT INTO events VALUES ('36.73.4.9', '36.73.4.2', '2024-01-04')");
    run(&mut other, "SELECT attach_ip_source('events', '{b}')");
    run(&mut session, "INSERT INTO events VALUES ('36.73.5.1', '36.73.5.9', '2024-01-05')");
    // A change that is rolled back, in the session's own transaction.
    run(
        &mut session,
        "BEGIN; SELECT attach_ip_source('events', '{a}'); INSERT INTO events VALUES ('36.73.6.9', '36.73.6.8')",
    );
    run(&mut session, "ROLLBACK; BEGIN; INSERT INTO events VALUES ('36.73.6.1', '36.73.6.9'); COMMIT");
    // The same name, another table.
    run(&mut other, "DROP TABLE twin; CREATE TABLE twin (b inet, a inet); SELECT attach_ip_source('twin', '{a,b}')");
    run(&mut session, "INSERT INTO twin VALUES ('36.73.7.1', '36.73.7.2')");
    run(&mut other, "SELECT detach_ip_source('twin')");
    run(&mut session, "INSERT INTO twin VALUES ('36.73.7.9', '36.73.7.9')");
    assert_eq!(
        db.counts(),
        [
            "36.73.1.1|1",
            "36.73.1.4|1",
            "36.73.2.1|1",
            "36.73.3.1|1",
            "36.73.4.2|1",
            "36.73.5.1|1",
            "36.73.6.1|1",
            "36.73.7.1|1",
            "36.73.7.2|1",
        ]
    );
    let times = "SELECT string_agg(first_seen_at::date::text, ',' ORDER BY ip_address) FROM ip_inventory
                 WHERE ip_address IN ('36.73.1.1', '36.73.2.1', '36.73.3.1', '36.73.4.2')";
    assert_eq!(db.value(times), "2024-01-01,2024-01-02,2024-01-03,2024-01-04");
}

#[test]
fn triggers_of_one_table_each_read_their_own_columns() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (a inet, b inet);
         SELECT attach_ip_source('events', '{a}');
         CREATE TRIGGER by_hand AFTER INSERT ON events REFERENCING NEW TABLE AS t
             FOR EACH STATEMENT EXECUTE FUNCTION observe_addresses('', 'b');
         INSERT INTO events VALUES ('36.74.0.1', '36.74.0.2');",
    );
    assert_eq!(db.counts(), ["36.74.0.1|1", "36.74.0.2|1"]);
}
