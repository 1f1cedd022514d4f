//! From text to address in a query: `ip_parse`, `ip_extract`.

use asn_inventory_tests::prelude::*;
use std::sync::OnceLock;

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        // Without preload: nothing of this needs the worker.
        let cluster = Cluster::builder().preload(false).start();
        cluster.sql("postgres", "CREATE EXTENSION asn_inventory");
        cluster
    })
}

fn value(sql: &str) -> String {
    cluster().value("postgres", sql)
}

#[test]
fn a_text_is_read_as_the_triggers_read_it() {
    for (text, address) in [
        ("203.0.113.9", "203.0.113.9"),
        (" 203.0.113.9:22 ", "203.0.113.9"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("http://user@203.0.113.9/x", "203.0.113.9"),
        ("http://2001:db8::1/x", "2001:db8::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("203.000.113.009", "203.0.113.9"),
        ("sip:100@010.1.1.1", "10.1.1.1"),
        ("http://086.035.071.014/x", "86.35.71.14"),
        ("http://%32%303.0.113%2e9/", "203.0.113.9"),
        ("[203.0.113.9]", "203.0.113.9"),
        ("[IPv6:2001:db8::1]", "2001:db8::1"),
        ("sip:2125551212", ""),
        ("10.0.0.0/8", ""),
        ("localhost", ""),
        ("", ""),
        ("n/a", ""),
    ] {
        assert_eq!(value(&format!("SELECT host(ip_parse('{text}'))")), address, "{text:?}");
    }
    assert_eq!(value("SELECT ip_parse(NULL) IS NULL AND ip_parse(repeat('1.', 5000000)) IS NULL"), "t");
}

#[test]
fn json_is_read_at_a_path_and_nothing_in_it_raises() {
    let payload = r#"{"src":"fe80::1%eth0","peer":{"ip":"9.9.9.9"},"hops":["x",7,"8.8.8.8","1.1.1.1"],"odd key":"1.1.1.1","n":16909060,"o":{},"z":null}"#;
    for (path, address) in [
        ("src", "fe80::1"),
        ("->>src", "fe80::1"),
        ("peer->>ip", "9.9.9.9"),
        ("->peer->ip", "9.9.9.9"),
        ("hops", "8.8.8.8"),
        ("hops->3", "1.1.1.1"),
        ("'odd key'", "1.1.1.1"),
        ("n", ""),
        ("o", ""),
        ("z", ""),
        ("none", ""),
        ("peer->none->deeper", ""),
    ] {
        let read = format!("SELECT host(ip_parse('{payload}'::jsonb, $p${path}$p$))");
        assert_eq!(value(&read), address, "{path}");
    }
    for (path, code) in [("hops->*", "22023"), ("", "22023"), ("a->>", "22023"), ("'a", "22023")] {
        let refused = cluster().fails("postgres", &format!("SELECT ip_parse('{payload}'::jsonb, $p${path}$p$)"));
        assert_eq!(refused.code, code, "{path:?} {refused:?}");
        assert!(!refused.hint.is_empty());
    }
    // Of any other shape.
    for json in ["[]", "7", "null", "\"8.8.8.8\"", "[{\"src\":\"8.8.8.8\"}]"] {
        assert_eq!(value(&format!("SELECT ip_parse('{json}'::jsonb, 'src') IS NULL")), "t", "{json}");
    }
    // More paths than a session keeps, in one query.
    assert_eq!(
        value(
            "SELECT count(*) FROM generate_series(1, 60) i, generate_series(1, 3) r
             WHERE ip_parse(jsonb_build_object('k' || i, '10.0.0.' || i), 'k' || i) = ('10.0.0.' || i)::inet"
        ),
        "180"
    );
}

#[test]
fn every_address_of_a_text_is_a_row_once_and_in_order() {
    let lines = |sql: &str| cluster().lines("postgres", sql);
    assert_eq!(
        lines(
            "SELECT host(ip) FROM ip_extract('wget http://81.2.69.142/x || curl 81[.]2[.]69[.]142; ping ::ffff:9.9.9.9 2001:db8::1 v1.2.3.4; wget http://2606:4700::1111/x%202606:4700::2222') ip"
        ),
        ["81.2.69.142", "9.9.9.9", "2001:db8::1", "2606:4700::1111", "2606:4700::2222"]
    );
    assert_eq!(lines("SELECT ip FROM ip_extract(NULL) ip"), [""; 0]);
    assert_eq!(
        lines(
            "SELECT n, count(ip) FROM (VALUES (1, 'a 1.1.1.1 b 8.8.8.8'), (2, 'none'), (3, NULL)) v(n, t) LEFT JOIN LATERAL ip_extract(t) ip ON true GROUP BY 1 ORDER BY 1"
        ),
        ["1|2", "2|0", "3|0"]
    );
    assert_eq!(
        value(
            "SELECT count(*) FROM ip_extract((SELECT string_agg(host(inet '10.0.0.0' + i), ' ') FROM generate_series(1, 100000) i))"
        ),
        "1000",
        "bounded"
    );
}

#[test]
fn an_encoded_address_or_a_name_gives_no_other_address() {
    for (text, addresses) in [
        ("wget http://%38%31.2.69.142/x", "81.2.69.142"),
        ("x=%31%39%32.168.1.1", ""),
        ("81.2.69.1%34%32", ""),
        (r#"{"ip":"81.2.69.14\u0032"}"#, ""),
        ("ip LIKE ''%192.168.1.1%''", "192.168.1.1"),
        ("ip LIKE ''%203.0.113.9%''", "203.0.113.9"),
        ("curl http://81.2.69.142-static.example.com/", ""),
        ("81.2.69.142-81.2.69.150", "81.2.69.142,81.2.69.150"),
        ("INVITE sip:100@010.1.1.1 SIP/2.0", "10.1.1.1"),
        (r"81 [.] 2 [.] 69 [.] 142 81\.2\.69\.143", "81.2.69.142,81.2.69.143"),
        (r"http:\\2130706433\x http:8080", "127.0.0.1"),
    ] {
        let read = format!("SELECT coalesce(string_agg(host(ip), ','), '') FROM ip_extract('{text}') ip");
        assert_eq!(value(&read), addresses, "{text}");
    }
}

#[test]
fn indexes_generated_columns_and_parallel_queries_use_them() {
    let cluster = cluster();
    cluster.sql(
        "postgres",
        "CREATE TABLE e (p jsonb, input text, src inet GENERATED ALWAYS AS (ip_parse(p, 'src')) STORED);
         CREATE INDEX e_src ON e (ip_parse(p, 'src')); CREATE INDEX e_input ON e USING gin (ip_extract_array(input));
         INSERT INTO e SELECT jsonb_build_object('src', host(inet '10.0.0.0' + i) || CASE WHEN i % 2 = 0 THEN ':22' ELSE '' END),
             'get ' || host(inet '10.0.0.0' + i) || ' now' FROM generate_series(1, 50000) i;
         ANALYZE e",
    );
    assert_eq!(value("SELECT count(*) FROM e WHERE src <> ip_parse(p->>'src')"), "0");
    let plan = |query: &str| cluster.lines("postgres", &format!("EXPLAIN (COSTS off) {query}")).join("\n");
    let by_path = "SELECT input FROM e WHERE ip_parse(p, 'src') = '10.0.0.7'";
    assert!(plan(by_path).contains("e_src"), "{}", plan(by_path));
    assert_eq!(value(by_path), "get 10.0.0.7 now");
    let by_text = "SELECT p->>'src' FROM e WHERE ip_extract_array(input) @> ARRAY['10.0.0.8'::inet]";
    assert!(plan(by_text).contains("e_input"), "{}", plan(by_text));
    assert_eq!(value(by_text), "10.0.0.8:22");
    let all = "SELECT count(ip_parse(p, 'src')), count(ip_parse(input)) FROM e";
    let parallel = "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;";
    assert!(cluster.lines("postgres", &format!("{parallel} EXPLAIN (COSTS off) {all}")).join(" ").contains("Gather"));
    assert_eq!(cluster.lines("postgres", &format!("{parallel} {all}")), ["50000|0"]);
}

#[test]
fn every_role_may_use_them_and_a_standby_too() {
    let cluster = cluster();
    cluster.sql("postgres", "CREATE ROLE nobody LOGIN");
    let asked = "SET ROLE nobody; SET default_transaction_read_only = on; SELECT ip_parse('8.8.8.8:1'), ip_parse('{\"a\":\"1.1.1.1\"}', 'a'), (SELECT count(*) FROM ip_extract('9.9.9.9'))";
    assert_eq!(cluster.lines("postgres", asked), ["8.8.8.8|1.1.1.1|1"]);
}

#[test]
fn other_encodings_are_read_as_they_are() {
    let cluster = cluster();
    cluster.sql("postgres", "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'");
    cluster.sql("latin", "CREATE EXTENSION asn_inventory");
    assert_eq!(
        cluster.lines("latin", "SELECT host(ip_parse(chr(233) || '8.8.8.8')), host(ip_parse(jsonb_build_object(chr(233), '8.8.8.8'), chr(233))), (SELECT count(*) FROM ip_extract(chr(233) || ' 9.9.9.9'))"),
        ["|8.8.8.8|1"]
    );
}
