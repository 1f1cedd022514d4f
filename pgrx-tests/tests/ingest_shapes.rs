//! For all shapes of columns, statements and transactions: every committed address is counted exactly.

use crate::ingest_support::{Db, run, value};
use std::io::Write;

/// A column's type, its selector, the inserted values (one row each), and the expected `address|count` lines.
struct Kind(&'static str, &'static str, &'static [&'static str], &'static [&'static str]);

#[rustfmt::skip]
const KINDS: &[Kind] = &[
    Kind("inet", "v", &["'20.64.1.1'", "'20.64.1.1'", "NULL", "'2606:4700::1:1'", "'20.64.1.2/24'"],
         &["20.64.1.1|2", "20.64.1.2|1", "2606:4700::1:1|1"]),
    Kind("cidr", "v", &["'20.64.2.1/32'", "'2606:4700::2:1/128'"], &["20.64.2.1|1", "2606:4700::2:1|1"]),
    Kind("text", "v", &["' 20.64.3.1 '", "'20.64.3.1:22'", "'20.64.3.2/32'", "'[2606:4700::3:1]:443'", "NULL", "''"],
         &["20.64.3.1|2", "20.64.3.2|1", "2606:4700::3:1|1"]),
    Kind("varchar(64)", "v", &["'20.64.4.1'", "'2606:4700::4:1'"], &["20.64.4.1|1", "2606:4700::4:1|1"]),
    Kind("char(40)", "v", &["'20.64.5.1'", "'2606:4700::5:1'"], &["20.64.5.1|1", "2606:4700::5:1|1"]),
    Kind("client", "v", &["'20.64.6.1'"], &["20.64.6.1|1"]),
    Kind("inet[]", "v", &["'{20.64.7.1,20.64.7.2,NULL,20.64.7.1}'", "'{}'", "NULL", "'{{20.64.7.3},{2606:4700::7:1}}'"],
         &["20.64.7.1|2", "20.64.7.2|1", "20.64.7.3|1", "2606:4700::7:1|1"]),
    Kind("cidr[]", "v", &["'{20.64.8.1/32,2606:4700::8:1/128}'"], &["20.64.8.1|1", "2606:4700::8:1|1"]),
    Kind("text[]", "v", &["'{20.64.9.1,http://20.64.9.2/x,NULL,\"\"}'"], &["20.64.9.1|1", "20.64.9.2|1"]),
    Kind("varchar(60)[]", "v", &["'{20.64.10.1,2606:4700::10:1}'"], &["20.64.10.1|1", "2606:4700::10:1|1"]),
    Kind("jsonb", "v->>src_ip", &[r#"'{"src_ip":"20.64.11.1"}'"#, r#"'{"src_ip":null}'"#, r#"'{"other":"20.64.11.9"}'"#, "'[1]'", "'7'"],
         &["20.64.11.1|1"]),
    Kind("jsonb", "v->peer->>'the ip'", &[r#"'{"peer":{"the ip":"20.64.12.1:80"}}'"#, r#"'{"peer":"20.64.12.9"}'"#],
         &["20.64.12.1|1"]),
    Kind("jsonb", "v->>ips", &[r#"'{"ips":["20.64.13.1","20.64.13.2",null,"20.64.13.1"]}'"#, r#"'{"ips":[]}'"#, r#"'{"ips":"[2606:4700::13:1]"}'"#],
         &["20.64.13.1|2", "20.64.13.2|1", "2606:4700::13:1|1"]),
    Kind("jsonb", "v->hops->0->>ip", &[r#"'{"hops":[{"ip":"20.64.14.1"},{"ip":"20.64.14.2"}]}'"#], &["20.64.14.1|1"]),
    Kind("json", "v->>src_ip", &[r#"'{"src_ip":"20.64.15.1"}'"#, r#"'{ "a":1, "src_ip" : "20.64.15.\u0031" }'"#, r#"'{"src_ip":null}'"#],
         &["20.64.15.1|2"]),
    Kind("json", "v->peer->ips", &[r#"'{"peer":{"ips":["20.64.16.1", "20.64.16.2"]}}'"#], &["20.64.16.1|1", "20.64.16.2|1"]),
    Kind("text", "v", &["'http://20.64.17.1:8080/a?b=c'", "'ldap://u:p@20.64.17.1/x'", "'https://[2606:4700::17:1]/'", "'jndi:ldap://20.64.17.2/a'"],
         &["20.64.17.1|2", "20.64.17.2|1", "2606:4700::17:1|1"]),
];

#[test]
fn every_kind_of_column_is_read() {
    let db = Db::new();
    db.sql("CREATE DOMAIN client AS inet CHECK (VALUE IS NOT NULL)");
    for (number, Kind(sql_type, selector, values, _)) in KINDS.iter().enumerate() {
        let rows: Vec<String> = values.iter().map(|value| format!("({value})")).collect();
        db.sql(&format!(
            "CREATE TABLE kind_{number} (filler int DEFAULT 1, v {sql_type});
             SELECT attach_ip_source('kind_{number}', ARRAY['{}']);
             INSERT INTO kind_{number} (v) VALUES {}",
            selector.replace('\'', "''"),
            rows.join(", ")
        ));
    }
    let counted = db.counts();
    for (number, Kind(sql_type, selector, _, expected)) in KINDS.iter().enumerate() {
        let group = number + 1;
        let own: Vec<&String> = counted
            .iter()
            .filter(|line| {
                line.starts_with(&format!("20.64.{group}.")) || line.starts_with(&format!("2606:4700::{group}:"))
            })
            .collect();
        assert_eq!(own, *expected, "{sql_type} by {selector}");
        let observations: u32 = expected
            .iter()
            .map(|line| line.rsplit('|').next().unwrap_or_default().parse::<u32>().expect("a count"))
            .sum();
        let source =
            format!("SELECT observations || '|' || unparsable FROM ip_source WHERE tbl = 'kind_{number}'::regclass");
        assert_eq!(db.value(&source), format!("{observations}|0"), "{sql_type} by {selector}");
    }
    let all: usize = KINDS.iter().map(|kind| kind.3.len()).sum();
    assert_eq!(counted.len(), all, "nothing else was observed: {counted:?}");
}

#[test]
fn columns_of_one_table_are_observed_together_and_tables_add_up() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE flows (src inet, dst text, payload jsonb);
         CREATE TABLE logins (ip inet);
         SELECT attach_ip_source('flows', ARRAY['src', 'dst', 'payload->>via']);
         SELECT attach_ip_source('logins', '{ip}');
         INSERT INTO flows VALUES ('8.8.8.8', '8.8.8.8', '{\"via\":\"1.1.1.1\"}'), ('8.8.8.8', '10.0.0.1', '{}');
         INSERT INTO logins VALUES ('8.8.8.8'), ('1.1.1.1');",
    );
    assert_eq!(db.counts(), ["1.1.1.1|2", "8.8.8.8|4", "10.0.0.1|1"]);
    assert_eq!(db.sources(), ["flows|5|0", "logins|2|0"]);
    assert_eq!(db.value("SELECT observations || '|' || unparsable FROM enrichment_status"), "7|0");
}

#[test]
fn a_new_address_is_born_enriched_and_wrapped_ones_are_answered_as_their_ipv4() {
    let db = Db::new();
    // The files are in use before the first address comes.
    db.wait("SELECT ip_country('81.2.69.142')", "GB");
    db.sql(
        "CREATE TABLE events (ip inet);
         SELECT attach_ip_source('events', '{ip}');
         INSERT INTO events VALUES ('81.2.69.142'), ('8.8.8.8'), ('::ffff:8.8.8.8'), ('2002:808:808::'), ('10.1.2.3'),
                                   ('198.51.99.1');",
    );
    db.settle();
    assert_eq!(
        db.lines(
            "SELECT host(ip_address), ip_class, asn_number, country_code, city, maxmind_status, cymru_status, greynoise_status
             FROM ip_inventory ORDER BY ip_address"
        ),
        [
            "8.8.8.8|public|15169|US||found|skipped|pending",
            "10.1.2.3|private||||skipped|skipped|skipped",
            "81.2.69.142|public||GB|London|found|skipped|pending",
            "198.51.99.1|public||||not_found|skipped|pending",
            "2002:808:808::|public|15169|US||found|skipped|pending",
        ]
    );
}

#[test]
fn the_time_of_the_event_is_taken_from_its_column() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE tz (ip inet, at timestamptz); SELECT attach_ip_source('tz', '{ip}', 'at');
         CREATE TABLE local (ip inet, at timestamp); SELECT attach_ip_source('local', '{ip}', 'at');
         CREATE TABLE day (ip inet, at date); SELECT attach_ip_source('day', '{ip}', 'at');",
    );
    let mut session = db.connect();
    run(&mut session, "SET TimeZone = 'Europe/Berlin'");
    run(
        &mut session,
        "INSERT INTO tz VALUES ('1.1.1.1', '2024-03-01 12:00:00.000001+00'), ('1.1.1.1', '2024-01-01 00:00:00+00'),
                               ('1.1.1.1', '2024-02-01 00:00:00+00')",
    );
    run(&mut session, "INSERT INTO local VALUES ('1.1.1.2', '2024-07-01 12:00:00')");
    run(&mut session, "INSERT INTO day VALUES ('1.1.1.3', '2024-01-15'), ('1.1.1.3', '2024-01-17')");
    run(&mut session, "INSERT INTO tz VALUES ('1.1.1.1', '2023-06-01 00:00:00+00')");
    run(&mut session, "INSERT INTO tz VALUES ('1.1.1.1', '2023-09-01 00:00:00+00')");
    db.settle();
    assert_eq!(
        db.lines(
            "SELECT host(ip_address), observation_count, first_seen_at, last_seen_at FROM ip_inventory ORDER BY ip_address"
        ),
        [
            "1.1.1.1|5|2023-06-01 00:00:00+00|2024-03-01 12:00:00.000001+00",
            "1.1.1.2|1|2024-07-01 10:00:00+00|2024-07-01 10:00:00+00",
            "1.1.1.3|2|2024-01-14 23:00:00+00|2024-01-16 23:00:00+00",
        ]
    );
    assert_eq!(
        db.lines("SELECT tbl, last_observed_at FROM ip_source ORDER BY tbl::text"),
        ["day|2024-01-16 23:00:00+00", "local|2024-07-01 10:00:00+00", "tz|2024-03-01 12:00:00.000001+00"]
    );
}

#[test]
fn an_event_without_a_usable_time_gets_the_time_of_its_insert() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE plain (ip inet, inserted timestamptz DEFAULT statement_timestamp()); SELECT attach_ip_source('plain', '{ip}');
         CREATE TABLE tz (LIKE plain INCLUDING DEFAULTS, at timestamptz); SELECT attach_ip_source('tz', '{ip}', 'at');
         CREATE TABLE local (LIKE plain INCLUDING DEFAULTS, at timestamp); SELECT attach_ip_source('local', '{ip}', 'at');
         CREATE TABLE day (LIKE plain INCLUDING DEFAULTS, at date); SELECT attach_ip_source('day', '{ip}', 'at');",
    );
    for statement in [
        "INSERT INTO plain VALUES ('1.1.2.1')",
        "INSERT INTO tz (ip, at) VALUES ('1.1.2.2', NULL)",
        "INSERT INTO tz (ip, at) VALUES ('1.1.2.3', 'infinity')",
        "INSERT INTO tz (ip, at) VALUES ('1.1.2.4', '-infinity')",
        "INSERT INTO local (ip, at) VALUES ('1.1.2.5', 'infinity')",
        "INSERT INTO local (ip, at) VALUES ('1.1.2.6', NULL)",
        "INSERT INTO day (ip, at) VALUES ('1.1.2.7', '-infinity')",
        "INSERT INTO day (ip, at) VALUES ('1.1.2.8', '5874897-12-31')",
    ] {
        db.sql(statement);
    }
    db.settle();
    let exact = "SELECT count(*) FROM ip_inventory i
         JOIN (SELECT ip, inserted FROM plain UNION ALL SELECT ip, inserted FROM tz
               UNION ALL SELECT ip, inserted FROM local UNION ALL SELECT ip, inserted FROM day) e ON i.ip_address = e.ip
         WHERE i.first_seen_at = e.inserted AND i.last_seen_at = e.inserted AND i.observation_count = 1";
    assert_eq!(db.value(exact), "8", "{:?}", db.lines("SELECT * FROM ip_inventory"));
}

#[test]
fn only_inserting_statements_are_counted() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (id int PRIMARY KEY, ip inet, note text);
         CREATE TABLE other (id int, ip inet);
         INSERT INTO other SELECT n, '2.0.3.1' FROM generate_series(31, 35) n;
         SELECT attach_ip_source('events', '{ip}');",
    );
    let mut session = db.connect();
    let mut copy = session.copy_in("COPY events FROM STDIN").expect("COPY starts");
    copy.write_all(b"1\t2.0.1.1\t\\N\n2\t2.0.1.1\tx\n3\t\\N\tx\n").expect("COPY goes on");
    assert_eq!(copy.finish().expect("COPY ends"), 3);
    run(&mut session, "INSERT INTO events VALUES (21, '2.0.2.1'), (22, '2.0.2.1'), (23, '2.0.2.2')");
    run(&mut session, "INSERT INTO events SELECT * FROM other");
    run(
        &mut session,
        "INSERT INTO events VALUES (21, '2.0.4.9'), (41, '2.0.4.1'), (41, '2.0.4.8') ON CONFLICT DO NOTHING",
    );
    run(
        &mut session,
        "INSERT INTO events VALUES (21, '2.0.5.9'), (51, '2.0.5.1') ON CONFLICT (id) DO UPDATE SET ip = EXCLUDED.ip",
    );
    run(
        &mut session,
        "WITH first AS (INSERT INTO events VALUES (61, '2.0.6.1') RETURNING ip)
         INSERT INTO events SELECT 62, ip FROM first RETURNING *",
    );
    run(&mut session, "UPDATE events SET ip = '2.0.7.9' WHERE id = 22");
    run(&mut session, "DELETE FROM events WHERE id = 23");
    run(&mut session, "INSERT INTO events SELECT 1, '2.0.8.9' WHERE false");
    run(
        &mut session,
        "CREATE FUNCTION load() RETURNS void LANGUAGE sql AS $$ INSERT INTO events VALUES (91, '2.0.9.1') $$",
    );
    run(&mut session, "SELECT load()");
    let mut expected =
        vec!["2.0.1.1|2", "2.0.2.1|2", "2.0.2.2|1", "2.0.3.1|5", "2.0.4.1|1", "2.0.5.1|1", "2.0.6.1|2", "2.0.9.1|1"];
    if db.value("SELECT current_setting('server_version_num')::int >= 150000") == "t" {
        run(
            &mut session,
            "MERGE INTO events e USING (VALUES (21, inet '2.0.10.9'), (101, '2.0.10.1'), (102, '2.0.10.1')) AS n(id, ip)
                 ON e.id = n.id
             WHEN MATCHED THEN UPDATE SET ip = n.ip
             WHEN NOT MATCHED THEN INSERT VALUES (n.id, n.ip)",
        );
        expected.push("2.0.10.1|2");
    }
    assert_eq!(db.counts(), expected);
    // A statement that fails half-way counts nothing of itself.
    let failure = db.fails("INSERT INTO events VALUES (111, '2.0.11.1'), (111, '2.0.11.1')");
    assert_eq!(failure.code, "23505");
    assert_eq!(db.counts(), expected);
}

#[test]
fn rolled_back_inserts_are_not_counted() {
    let db = Db::new();
    db.sql("CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}');");
    let mut session = db.connect();
    run(&mut session, "BEGIN; INSERT INTO events VALUES ('3.120.0.1'), ('3.120.0.2'); ROLLBACK");
    assert_eq!(db.value("SELECT count(*) FROM ip_observation"), "0");
    run(
        &mut session,
        "BEGIN; INSERT INTO events VALUES ('3.120.1.1');
         SAVEPOINT s; INSERT INTO events VALUES ('3.120.1.1'), ('3.120.1.2'); ROLLBACK TO s;
         INSERT INTO events VALUES ('3.120.1.3');
         SAVEPOINT t; INSERT INTO events VALUES ('3.120.1.3'); RELEASE t; COMMIT",
    );
    run(
        &mut session,
        "DO $$ BEGIN
             BEGIN INSERT INTO events VALUES ('3.120.2.1'); RAISE EXCEPTION 'no'; EXCEPTION WHEN raise_exception THEN NULL; END;
             INSERT INTO events VALUES ('3.120.2.2');
         END $$",
    );
    assert_eq!(db.counts(), ["3.120.1.1|1", "3.120.1.3|2", "3.120.2.2|1"]);
    assert_eq!(db.sources(), ["events|4|0"]);
}

#[test]
fn a_prepared_transaction_counts_when_it_commits() {
    let db = Db::new();
    db.sql("CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}');");
    db.sql("BEGIN; INSERT INTO events VALUES ('3.120.3.1'); PREPARE TRANSACTION 'kept'");
    db.sql("BEGIN; INSERT INTO events VALUES ('3.120.3.2'); PREPARE TRANSACTION 'dropped'");
    db.sql("INSERT INTO events VALUES ('3.120.3.3')");
    assert_eq!(db.counts(), ["3.120.3.3|1"]);
    db.sql("ROLLBACK PREPARED 'dropped'");
    db.sql("COMMIT PREPARED 'kept'");
    assert_eq!(db.counts(), ["3.120.3.1|1", "3.120.3.3|1"]);
}

#[test]
fn a_temporary_table_is_observed_while_it_lives() {
    let db = Db::new();
    let mut session = db.connect();
    run(
        &mut session,
        "CREATE TEMP TABLE staged (ip text); SELECT attach_ip_source('staged', '{ip}');
         INSERT INTO staged VALUES ('3.120.4.1'), ('3.120.4.1'), ('garbage')",
    );
    assert_eq!(db.counts(), ["3.120.4.1|2"]);
    assert_eq!(
        value(&mut session, "SELECT observations || '|' || unparsable FROM ip_source WHERE tbl = 'staged'::regclass"),
        "2|1"
    );
    run(
        &mut session,
        "BEGIN; CREATE TEMP TABLE brief (ip inet) ON COMMIT DROP; SELECT attach_ip_source('brief', '{ip}');
         INSERT INTO brief VALUES ('3.120.4.2'); COMMIT",
    );
    assert_eq!(db.counts(), ["3.120.4.1|2", "3.120.4.2|1"]);
    drop(session);
    // The next attach removes notes of dropped tables.
    db.wait("SELECT count(*) FROM pg_class WHERE relname = 'staged'", "0");
    db.sql("CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}'); INSERT INTO events VALUES ('3.120.4.2')");
    assert_eq!(db.counts(), ["3.120.4.1|2", "3.120.4.2|2"]);
    assert_eq!(db.sources(), ["events|1|0"]);
}
