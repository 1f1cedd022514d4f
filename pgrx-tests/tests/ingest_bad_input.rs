//! Bad input: unsuitable tables and columns are refused by name, and no value of an event fails its insert.

use crate::ingest_support::{Db, refused, run, value};
use asn_inventory_tests::prelude::*;
use std::io::Write;

/// That it was refused with this SQLSTATE, by a message that names each of `names`, and with a hint.
fn check(what: &str, failure: &SqlFailure, code: &str, names: &[&str]) {
    assert_eq!(failure.code, code, "{what}: {failure:?}");
    for name in names {
        assert!(failure.message.contains(name), "{what}: {failure:?}");
    }
    assert!(!failure.hint.is_empty(), "no hint. {what}: {failure:?}");
    let first = failure.message.chars().next().unwrap_or('X');
    assert!(!first.is_uppercase(), "errors are lower case. {what}: {failure:?}");
}

#[test]
fn a_wrong_column_is_refused_by_name() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (ip inet, n int, u uuid, m macaddr, payload jsonb, doc json, note text, tags int[],
                              moment time, gone inet, at timestamptz);
         ALTER TABLE events DROP COLUMN gone;",
    );
    let before = db.value("SELECT count(*) FROM pg_trigger");
    let (no_column, wrong_type, bad) = ("42703", "42804", "22023");
    for (arguments, code, names) in [
        ("'{src_ip}'", no_column, &["src_ip", "events"][..]),
        ("'{IP}'", no_column, &["IP", "events"]),
        ("'{gone}'", no_column, &["gone", "events"]),
        ("'{ctid}'", no_column, &["ctid", "events"]),
        ("'{ip,src_ip}'", no_column, &["src_ip"]),
        ("'{paiload->>ip}'", no_column, &["paiload"]),
        ("'{n}'", wrong_type, &["\"n\"", "events"]),
        ("'{u}'", wrong_type, &["\"u\"", "events"]),
        ("'{m}'", wrong_type, &["\"m\"", "events"]),
        ("'{tags}'", wrong_type, &["\"tags\"", "events"]),
        ("'{payload}'", wrong_type, &["payload", "events"]),
        ("'{doc}'", wrong_type, &["doc", "events"]),
        ("'{note->>ip}'", wrong_type, &["note", "events"]),
        ("'{ip->>x}'", wrong_type, &["ip", "events"]),
        ("'{payload->>}'", bad, &["payload->>"]),
        ("'{\"\"}'", bad, &["neither a column nor a path"]),
        ("'{}'", bad, &["column"]),
        ("NULL", bad, &["column"]),
        ("'{ip}', 'when'", no_column, &["when", "events"]),
        ("'{ip}', 'At'", no_column, &["At", "events"]),
        ("'{ip}', 'payload'", wrong_type, &["payload", "events"]),
        ("'{ip}', 'moment'", wrong_type, &["moment", "events"]),
        ("'{ip}', 'u'", wrong_type, &["\"u\"", "events"]),
    ] {
        let call = format!("SELECT attach_ip_source('events', {arguments})");
        check(&call, &db.fails(&call), code, names);
    }
    // A null among the columns is a mistake, not a column to be passed over.
    let failure = db.fails("SELECT attach_ip_source('events', ARRAY['ip', NULL])");
    check("a null column", &failure, bad, &["null"]);
    // The detail names the type.
    let failure = db.fails("SELECT attach_ip_source('events', '{m}')");
    assert!(failure.detail.contains("macaddr"), "{failure:?}");
    // Nothing is left of any attempt, and a table that was attached stays as it was.
    assert_eq!(db.value("SELECT count(*) FROM pg_trigger"), before);
    assert_eq!(db.value("SELECT count(*) FROM ip_source"), "0");
    db.sql("SELECT attach_ip_source('events', '{ip}')");
    check("again", &db.fails("SELECT attach_ip_source('events', '{n}')"), wrong_type, &["\"n\""]);
    db.sql("INSERT INTO events (ip) VALUES ('5.160.0.1')");
    assert_eq!(db.counts(), ["5.160.0.1|1"]);
}

#[test]
fn a_wrong_table_is_refused_by_name() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (ip inet);
         CREATE VIEW seen AS SELECT ip FROM events;
         CREATE MATERIALIZED VIEW kept AS SELECT ip FROM events;
         CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER away FOREIGN DATA WRAPPER nowhere;
         CREATE FOREIGN TABLE remote (ip inet) SERVER away;
         CREATE INDEX by_ip ON events (ip); CREATE SEQUENCE counter; CREATE TYPE pair AS (ip inet);",
    );
    let wrong_object = "42809";
    for (table, name) in [
        ("seen", "seen"),
        ("kept", "kept"),
        ("remote", "remote"),
        ("by_ip", "by_ip"),
        ("counter", "counter"),
        ("pair", "pair"),
        ("ip_inventory", "ip_inventory"),
        ("ip_observation", "ip_observation"),
        ("ip_source", "ip_source"),
        ("enrichment_run", "enrichment_run"),
        ("enrichment_status", "enrichment_status"),
    ] {
        let call = format!("SELECT attach_ip_source('{table}', '{{ip}}')");
        check(&call, &db.fails(&call), wrong_object, &[name]);
    }
    let call = "SELECT attach_ip_source('pg_catalog.pg_class', '{relname}')";
    check(call, &db.fails(call), wrong_object, &["pg_class"]);
    let call = "SELECT attach_ip_source(4294967295::oid::regclass, '{ip}')";
    check(call, &db.fails(call), "42P01", &["4294967295"]);
    let call = "SELECT attach_ip_source(NULL, '{ip}')";
    check(call, &db.fails(call), "22023", &["table"]);
    assert_eq!(db.fails("SELECT attach_ip_source('no_such_table', '{ip}')").code, "42P01");
}

#[test]
fn functions_that_need_an_attached_table_refuse_others() {
    let db = Db::new();
    db.sql("CREATE TABLE events (ip inet)");
    for call in ["SELECT detach_ip_source('events')", "SELECT populate_ip_inventory('events')"] {
        let failure = db.fails(call);
        assert!(failure.message.contains("\"events\" is not attached"), "{failure:?}");
        assert!(["42704", "55000"].contains(&failure.code.as_str()) && !failure.hint.is_empty(), "{failure:?}");
    }
    let failure = db.fails("SELECT absorb_observations(-1)");
    check("negative", &failure, "22023", &["max_rows"]);
    // Called as a function, or made a trigger of another kind by hand.
    assert!(!db.fails("SELECT observe_addresses()").message.is_empty());
    db.sql("CREATE TRIGGER mine BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION observe_addresses('', 'ip')");
    check(
        "trigger before the row",
        &db.fails("INSERT INTO events VALUES ('5.160.1.1')"),
        "39P01",
        &["observe_addresses"],
    );
}

#[test]
fn a_hand_made_trigger_with_odd_arguments_does_no_harm() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (ip inet);
         CREATE TRIGGER bare AFTER INSERT ON events REFERENCING NEW TABLE AS t FOR EACH STATEMENT EXECUTE FUNCTION observe_addresses();
         CREATE TRIGGER odd AFTER INSERT ON events REFERENCING NEW TABLE AS t FOR EACH STATEMENT
             EXECUTE FUNCTION observe_addresses('ip', '->>', 'ip->>x', 'nothing', '');
         INSERT INTO events VALUES ('5.160.2.1');",
    );
    assert_eq!(db.value("SELECT count(*) FROM events"), "1");
    assert_eq!(db.counts(), [""; 0]);
}

/// Values of one row each; the number that are not a host address; the observed ones.
struct Bad(&'static str, &'static str, &'static [&'static str], u32, &'static [&'static str]);

#[rustfmt::skip]
const BAD: &[Bad] = &[
    Bad("inet", "v", &["'5.161.1.0/24'", "'10.0.0.0/8'", "'0.0.0.0/0'", "'2606:4700::/32'", "NULL", "'5.161.1.1/24'"], 4, &["5.161.1.1|1"]),
    Bad("cidr", "v", &["'5.161.2.0/24'", "'5.161.2.1/32'", "NULL"], 1, &["5.161.2.1|1"]),
    Bad("inet[]", "v", &["'{5.161.3.0/24,NULL,5.161.3.1,5.161.3.0/25}'", "NULL", "'{}'"], 2, &["5.161.3.1|1"]),
    Bad("text", "v",
        &["''", "'   '", "E'\\t\\n'", "NULL",                                                   // empty: no value at all
          "'fe80::4%eth0'", "'[2606:4700::4:1%25wlan0]:80'",                                     // zones are dropped
          "'5.161.4.0/24'", "'example.com'", "'http://example.com/'", "'unknown'", "'-'", "'5.161.4'", "'5.161.4.999'",
          "'0005.161.4.1'", "'5.161.4.1.1'", "'5.161.4.1:99999'", "'::1::2'", "'5.161.4.1, 5.161.4.2'", "E'5.161.4.1\\x01'",
          "'☃'", "'５.161.4.1'", "'null'", "'{}'", "'[]'", "'[\"5.161.4.1\"]'", "'0x05a10401'", "'''; DROP TABLE bad; --'"],
        21, &["2606:4700::4:1|1", "fe80::4|1"]),
    Bad("text[]", "v", &["'{garbage,5.161.5.1,\"\",NULL,\"{\\\"a\\\": [\",\"[1,2\",\"\\\"\",\"\\\\u0000\"}'"], 5, &["5.161.5.1|1"]),
    Bad("jsonb", "v->>ip",
        &[r#"'{"ip":""}'"#, r#"'{"ip":null}'"#, "'{}'", "'[]'", "'null'", "NULL", r#"'{"IP":"5.161.6.9"}'"#, r#"'"ip"'"#,
          r#"'{"ip":7}'"#, r#"'{"ip":true}'"#, r#"'{"ip":{"ip":"5.161.6.9"}}'"#, r#"'{"ip":1e999}'"#,
          r#"'{"ip":["5.161.6.1",7,null,"",["5.161.6.9"],{},"garbage"]}'"#, r#"'{"ip":"[\"5.161.6"}'"#],
        9, &["5.161.6.1|1"]),
    Bad("json", "v->>ip",
        &[r#"'{"ip":""}'"#, r#"'{"ip":null}'"#, r#"'"x"'"#, r#"'{"ip":7}'"#, r#"'{"ip":["5.161.7.1",7,{}]}'"#,
          r#"'{"ip":"5.161.7.8","ip":"5.161.7.2"}'"#],
        3, &["5.161.7.1|1", "5.161.7.2|1"]),
];

#[test]
fn invalid_values_are_counted_and_raise_no_error() {
    let db = Db::new();
    let mut all = 0;
    for (number, Bad(sql_type, selector, values, ..)) in BAD.iter().enumerate() {
        let rows: Vec<String> = values.iter().map(|value| format!("({value})")).collect();
        db.sql(&format!(
            "CREATE TABLE bad_{number} (v {sql_type});
             SELECT attach_ip_source('bad_{number}', '{{{selector}}}');
             INSERT INTO bad_{number} VALUES {}",
            rows.join(", ")
        ));
    }
    let counted = db.counts();
    for (number, Bad(sql_type, selector, values, unparsable, expected)) in BAD.iter().enumerate() {
        assert_eq!(db.value(&format!("SELECT count(*) FROM bad_{number}")), values.len().to_string());
        let source =
            format!("SELECT observations || '|' || unparsable FROM ip_source WHERE tbl = 'bad_{number}'::regclass");
        assert_eq!(db.value(&source), format!("{}|{unparsable}", expected.len()), "{sql_type} by {selector}");
        for line in *expected {
            assert!(counted.iter().any(|counted| counted == line), "{line} of {sql_type} in {counted:?}");
        }
        all += expected.len();
    }
    assert_eq!(counted.len(), all, "{counted:?}");
    let sum: u32 = BAD.iter().map(|bad| bad.3).sum();
    assert_eq!(db.value("SELECT unparsable FROM enrichment_status"), sum.to_string());
}

#[test]
fn a_megabyte_of_garbage_is_one_unparsable_value() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (note text, doc jsonb, raw json, list text[]);
         SELECT attach_ip_source('events', '{note,doc->>ip,raw->>ip,list}');",
    );
    // One that compresses, one that does not, one that starts well; JSON around it, deep and wide JSON beside it.
    let noise = "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 33000) n)";
    for garbage in
        ["repeat('x', 1000000)", noise, "'5.162.0.9' || repeat(' x', 500000)", "'http://' || repeat('a', 1000000)"]
    {
        db.sql(&format!(
            "INSERT INTO events SELECT g, jsonb_build_object('ip', g), json_build_object('ip', g), ARRAY[g, '5.162.0.1']
             FROM (SELECT {garbage} AS g) s"
        ));
    }
    db.sql(
        "INSERT INTO events (doc, raw) SELECT d::jsonb, d::json FROM (SELECT
             '{\"deep\":' || repeat('[', 2000) || repeat(']', 2000) || ',\"ip\":\"5.162.0.2\",\"wide\":\"' || repeat('w', 1000000) || '\"}' AS d) s",
    );
    db.sql(
        "INSERT INTO events (doc) SELECT jsonb_build_object('ip', jsonb_agg('5.162.1.' || n % 200)) FROM generate_series(1, 20000) n",
    );
    assert_eq!(db.sources(), ["events|20006|16"]);
    let counts = db.counts();
    assert_eq!(counts[..2], ["5.162.0.1|4", "5.162.0.2|2"]);
    assert_eq!(counts.len(), 202);
    assert!(counts[2..].iter().all(|line| line.ends_with("|100")), "{counts:?}");
}

/// The json type keeps escapes as they were written, so they first meet a reader here. Attackers choose them.
#[test]
fn escapes_that_no_text_can_hold_do_not_fail_the_insert() {
    let db = Db::new();
    db.sql("CREATE TABLE events (id int, raw json); SELECT attach_ip_source('events', '{raw->>ip}')");
    for (id, event) in [
        (1, r#"{"ip":"5.163.0.1","password":"\u0000"}"#),
        (2, r#"{"password":"\ud800","ip":"5.163.0.2"}"#),
        (3, r#"{"\u0000":1,"ip":"5.163.0.3"}"#),
        (4, r#"{"ip":"5.163.0.9\u0000"}"#),
        (5, r#"{"ip":"\ud800"}"#),
        (6, r#"{"ip":["\u0000","5.163.0.6"]}"#),
        (7, r#"{"ip":"5.163.0.7","nested":{"a":["\u0000"]}}"#),
    ] {
        db.sql(&format!("INSERT INTO events VALUES ({id}, '{event}')"));
    }
    let mut session = db.connect();
    let mut copy = session.copy_in("COPY events FROM STDIN").expect("COPY starts");
    copy.write_all(b"8\t{\"ip\":\"5.163.0.8\",\"input\":\"\\\\u0000\\\\udc00\"}\n").expect("COPY goes on");
    assert_eq!(copy.finish().expect("COPY ends"), 1);
    assert_eq!(db.value("SELECT count(*) FROM events"), "8");
    assert_eq!(db.counts(), ["5.163.0.1|1", "5.163.0.2|1", "5.163.0.3|1", "5.163.0.6|1", "5.163.0.7|1", "5.163.0.8|1"]);
    assert_eq!(db.sources(), ["events|6|3"]);
}

/// As deep as the json type takes it, so that reading it again, further down the stack, is the first to fail.
#[test]
fn the_deepest_json_that_can_be_stored_does_not_fail_the_insert() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE unattached (raw json); CREATE TABLE events (LIKE unattached);
         SELECT attach_ip_source('events', '{raw->>ip}');",
    );
    let mut session = db.connect();
    let nested = |depth: usize| format!("{{\"deep\":{}{},\"ip\":\"5.164.0.1\"}}", "[".repeat(depth), "]".repeat(depth));
    let fits = |session: &mut postgres::Client, table: &str, depth: usize| {
        let insert = format!("INSERT INTO {table} VALUES ('{}')", nested(depth));
        asn_inventory_tests::cluster::query(session, &insert).is_ok()
    };
    let (mut low, mut high) = (1_000, 1_000_000);
    while high - low > 1 {
        let middle = usize::midpoint(low, high);
        if fits(&mut session, "unattached", middle) { low = middle } else { high = middle }
    }
    for depth in [low, low - 1, low - 10, low - 100] {
        assert!(fits(&mut session, "events", depth), "depth {depth} of {low}");
    }
    assert_eq!(value(&mut session, "SELECT count(*) FROM events"), "4");
    assert_eq!(db.sources(), ["events|4|0"]);
    // Still the same session, in good order.
    assert_eq!(refused(&mut session, "SELECT 1/0").code, "22012");
    run(&mut session, "INSERT INTO events VALUES ('{\"ip\":\"5.164.0.1\"}')");
    assert_eq!(db.counts(), ["5.164.0.1|5"]);
}
