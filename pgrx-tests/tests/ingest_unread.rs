//! Tables whose new rows hold no address: this is reported, with the reason and the remedy.

use crate::ingest_support::{Db, run};

/// The doctor's findings of them.
const ADDRESSES: &str = "SELECT level, detail FROM enrichment_doctor() WHERE check_name = 'addresses' ORDER BY detail";

fn unread(db: &Db) -> Vec<String> {
    db.settle();
    db.lines(
        "SELECT rows_seen, rows_since_address, unreadable_sample, unreadable_reason FROM ip_source ORDER BY tbl::text",
    )
}

#[test]
fn a_missing_json_key_is_reported_and_its_remedy_fixes_it() {
    let db = Db::new();
    db.sql(
        r#"CREATE TABLE events (payload jsonb, at timestamptz);
         SELECT attach_ip_source('events', ARRAY['payload->>Src_IP'], 'at');
         INSERT INTO events VALUES ('{"src_ip":"8.8.8.8","port":22}', '2026-01-05Z'), ('{"src_ip":"1.1.1.1"}', '2026-01-06Z')"#,
    );
    db.settle();
    db.sql(r#"INSERT INTO events VALUES ('{"src_ip":"8.8.8.8","proto":"ssh"}', '2026-01-07Z')"#);
    db.settle();
    assert_eq!(
        db.lines(ADDRESSES),
        [
            "warning|public.events is attached, but none of its 3 rows held an address: payload->>Src_IP: no key \"Src_IP\"; the keys are: proto, src_ip."
        ]
    );
    assert_eq!(db.lines("SELECT rows_seen, observations, unparsable FROM ip_source"), ["3|0|0"]);
    assert_eq!(db.value("SELECT unreadable_sample FROM ip_source"), r#"{"proto": "ssh", "src_ip": "8.8.8.8"}"#);
    assert_eq!(db.value("SELECT unreadable_at > now() - interval '1 min' FROM ip_source"), "t");

    let remedy = db.value("SELECT remedy FROM enrichment_doctor() WHERE check_name = 'addresses'");
    db.sql(&remedy.replace("Src_IP", "src_ip"));
    assert_eq!(db.counts(), ["1.1.1.1|1", "8.8.8.8|2"], "{remedy}");
    assert_eq!(
        db.value("SELECT first_seen_at FROM ip_inventory WHERE ip_address = '8.8.8.8'"),
        "2026-01-05 00:00:00+00"
    );
    assert_eq!(db.lines(ADDRESSES), ["ok|"]);
    assert_eq!(db.lines("SELECT observed_at, observations, rows_seen FROM ip_source"), ["at|3|3"]);
}

#[test]
fn every_value_without_an_address_has_a_reason() {
    let db = Db::new();
    // The column, its selector, values of one statement; the sample and the reason that are kept.
    let cases: [(&str, &str, &str, &str); 11] = [
        (
            "jsonb",
            "v->>src_ip",
            r#"('[{"src_ip":"8.8.8.8"}]')"#,
            r#"[{"src_ip": "8.8.8.8"}]|v->>src_ip: an array, not an object with a key "src_ip": use ->*->>src_ip for each element"#,
        ),
        (
            "json",
            "v->>src_ip",
            r#"('[{"src_ip":"8.8.8.8"}]')"#,
            r#"[{"src_ip":"8.8.8.8"}]|v->>src_ip: an array, not an object with a key "src_ip": use ->*->>src_ip for each element"#,
        ),
        (
            "json",
            "v->peer->>ip",
            r#"('{"peer":{"addr":"8.8.8.8"}}')"#,
            r#"{"peer":{"addr":"8.8.8.8"}}|v->peer->>ip: no key "ip" in peer; the keys are: addr"#,
        ),
        ("jsonb", "v->>src", r#"('{"src":{"ip":"8.8.8.8"}}')"#, r#"{"ip": "8.8.8.8"}|not an address"#),
        ("jsonb", "v->>src", "('\"8.8.8.8\"')", r#""8.8.8.8"|v->>src: a single value, not an object with a key "src""#),
        ("jsonb", "v->>src", "(NULL), ('{\"src\":null}')", r#"{"src": null}|v->>src: null"#),
        ("text", "v", "(NULL), (NULL)", "|v: null"),
        ("text", "v", "('')", "|v: an empty text"),
        ("text", "v", "(E'\\x01evil\\x1b[31m\\nname.example')", "evil[31m name.example|not an address"),
        ("text[]", "v", "('{}')", "|v: an array without an address"),
        ("inet", "v", "('10.0.0.0/8')", "10.0.0.0/8|a network, not a host address"),
    ];
    for (nth, (kind, selector, values, _)) in cases.iter().enumerate() {
        db.sql(&format!(
            "CREATE TABLE t_{nth:02} (v {kind}); SELECT attach_ip_source('t_{nth:02}', ARRAY['{selector}']);
             INSERT INTO t_{nth:02} VALUES {values}"
        ));
    }
    db.settle();
    let kept = db.lines("SELECT unreadable_sample, unreadable_reason FROM ip_source ORDER BY tbl::text");
    let wanted: Vec<&str> = cases.iter().map(|case| case.3).collect();
    assert_eq!(kept, wanted);
    assert_eq!(
        db.value("SELECT count(*) FROM enrichment_doctor() WHERE check_name = 'addresses' AND level = 'warning'"),
        "11"
    );
}

#[test]
fn a_sample_is_short_and_never_more_than_one_a_statement() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (v text); SELECT attach_ip_source('events', '{v}');
         INSERT INTO events SELECT repeat('\u{e4}', 100000) FROM generate_series(1, 500);
         INSERT INTO events VALUES ('8.8.8.8')",
    );
    db.settle();
    let lengths = "SELECT rows_seen, unparsable, octet_length(unreadable_sample) <= 120, unreadable_sample ~ '^\u{e4}+\u{2026}$' FROM ip_source";
    assert_eq!(db.lines(lengths), ["501|500|t|t"]);
}

#[test]
fn every_row_is_counted_on_every_path() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}');
         INSERT INTO events SELECT CASE WHEN i % 2 = 0 THEN inet '34.64.0.0' + i END FROM generate_series(1, 300000) i;
         INSERT INTO events SELECT NULL FROM generate_series(1, 5000);
         INSERT INTO events SELECT NULL WHERE false",
    );
    let mut session = db.connect();
    run(&mut session, "BEGIN");
    run(&mut session, "INSERT INTO events VALUES (NULL), ('8.8.8.8')");
    run(&mut session, "ROLLBACK");
    run(&mut session, "INSERT INTO events VALUES ('8.8.8.8')");
    db.settle();
    assert_eq!(
        db.lines("SELECT rows_seen, observations, unparsable, unobserved FROM ip_source"),
        ["305001|150001|0|0"]
    );
    assert_eq!(db.lines(ADDRESSES), ["ok|"]);
}

#[test]
fn a_table_that_no_longer_has_addresses_is_reported() {
    let db = Db::new();
    db.sql(
        r#"CREATE TABLE events (payload jsonb); SELECT attach_ip_source('events', ARRAY['payload->>ip']);
         INSERT INTO events SELECT jsonb_build_object('ip', '8.8.8.8') FROM generate_series(1, 100)"#,
    );
    db.settle();
    db.sql("INSERT INTO events SELECT jsonb_build_object('addr', '8.8.8.8') FROM generate_series(1, 900)");
    db.settle();
    assert_eq!(db.lines(ADDRESSES), ["ok|"], "a while without one is nothing");
    db.sql("INSERT INTO events SELECT jsonb_build_object('addr', '8.8.8.8') FROM generate_series(1, 2000)");
    db.settle();
    assert_eq!(
        db.lines(ADDRESSES),
        [
            "warning|public.events is attached, and its last 2900 rows held no address: payload->>ip: no key \"ip\"; the keys are: addr."
        ]
    );
    db.sql("SELECT attach_ip_source('events', ARRAY['payload->>addr'])");
    assert_eq!(db.lines(ADDRESSES), ["ok|"]);
    assert_eq!(unread(&db), ["3000|0||"], "what was read by another path says nothing about this one");
}

#[test]
fn populate_reports_earlier_rows_without_addresses() {
    let db = Db::new();
    db.sql(
        r#"CREATE TABLE events (payload json); INSERT INTO events SELECT '{"a":1}' FROM generate_series(1, 7);
         SELECT attach_ip_source('events', ARRAY['payload->>ip'])"#,
    );
    assert_eq!(db.lines(ADDRESSES), ["ok|"]);
    assert_eq!(db.value("SELECT populate_ip_inventory('events')"), "0");
    assert_eq!(unread(&db), [r#"7|7|{"a":1}|payload->>ip: no key "ip"; the keys are: a"#]);
    assert_eq!(
        db.value("SELECT detail FROM enrichment_doctor() WHERE check_name = 'addresses'"),
        "public.events is attached, but none of its 7 rows held an address: payload->>ip: no key \"ip\"; the keys are: a."
    );
}

#[test]
fn a_missing_column_is_named() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}'); ALTER TABLE events RENAME ip TO src",
    );
    db.sql("INSERT INTO events VALUES ('8.8.8.8')");
    assert_eq!(unread(&db), ["1|1||ip: cannot be read any more"]);
}
