//! The offline look-ups through SQL: every known answer of the small files, every shape of argument, and the
//! places where PostgreSQL calls functions: parallel workers, prepared statements, indexes.

use asn_inventory_tests::prelude::*;
use std::sync::OnceLock;

const DB: &str = "postgres";

/// One cluster for all tests of this file: none writes what another reads.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster = Cluster::builder().start();
        fixtures::small(&cluster.maxmind_dir());
        cluster.sql(DB, "CREATE EXTENSION asn_inventory");
        cluster
    })
}

fn value(sql: &str) -> String {
    cluster().value(DB, sql)
}

/// All fields of `lookup_ip`, without the time of the answer, as one line.
fn said(ip: &str) -> String {
    let sql = format!(
        "SELECT l.ip, l.ip_class, l.network, l.asn_number, l.asn_org, l.asn_source, l.country_code,
                l.country_source, l.region, l.city, l.latitude, l.longitude, l.accuracy_radius_km, l.time_zone,
                l.scanner_noise, l.scanner_riot, l.scanner_classification, l.scanner_name, l.scanner_last_seen,
                l.maxmind_status, l.cymru_status, l.greynoise_status, l.scanner_ts
         FROM lookup_ip('{ip}') l"
    );
    cluster().lines(DB, &sql).join("\n")
}

/// The columns of [`said`] after the time zone, where only MaxMind has been asked.
const FOUND: &str = "||||||found|||";
const NOTHING_BUT: &str = "|||||||||||||||||";

#[test]
fn every_known_answer_of_the_small_files_is_complete() {
    let long = format!("{}…", "A".repeat(252));
    #[rustfmt::skip]
    let cases = [
        (fixtures::LONDON, "public|81.2.69.142/31||||GB|maxmind|England|London|51.5142|-0.0931|10|Europe/London"),
        (fixtures::GOOGLE_DNS, "public|8.8.8.0/24|15169|Google LLC|maxmind|US|maxmind|||37.751|-97.822|1000|America/Chicago"),
        (fixtures::CHINA_WITHOUT_ASN, "public|218.92.0.0/16||||CN|maxmind|Jiangsu|Nanjing|32.0617|118.7778|50|Asia/Shanghai"),
        (fixtures::LARGE_ASN, "public|45.155.205.0/24|4200000001|Private Range Hosting|maxmind|RU|maxmind|Moscow|Moscow|55.7522|37.6156|200|Europe/Moscow"),
        (fixtures::ASN_WITHOUT_ORG, "public|103.145.12.0/24|64496||maxmind|HK|maxmind||Hong Kong|22.2908|114.1501|20|Asia/Hong_Kong"),
        (fixtures::REGISTERED_ONLY, "public|80.94.92.0/24|47890|Carpathia Unmanaged Ltd|maxmind|RO|maxmind||||||"),
        (fixtures::CONTINENT_ONLY, "public|94.102.48.0/20|202425|Polder Volume inc|maxmind|EU|maxmind||||||"),
        (fixtures::WRONG_TYPES, "public|89.248.160.0/20|202425|Polder Volume inc|maxmind|NL|maxmind||||4.8995||"),
        (fixtures::CONTROL_ORG, "public|141.98.10.0/24|209605|EvilCorp [31mRed|maxmind|LT|maxmind|Vilnius|Vilnius|54.6892|25.2798|20|Europe/Vilnius"),
        (fixtures::LONG_ORG, &format!("public|179.43.128.0/18|51852|{long}|maxmind||||||||")),
        (fixtures::GOOGLE_IPV6, "public|2001:4860::/32|15169|Google LLC|maxmind|US|maxmind|||37.751|-97.822|100|America/Chicago"),
        ("177.54.144.7", "public|177.54.144.0/20|28220|Bandeirante Fibra Ltda|maxmind|BR|maxmind|Sao Paulo|São Paulo|-23.5475|-46.6361|20|America/Sao_Paulo"),
    ];
    for (ip, answer) in cases {
        assert_eq!(said(ip), format!("{ip}|{answer}{FOUND}"), "{ip}");
    }
}

#[test]
fn unknown_and_special_purpose_addresses_have_only_a_status() {
    let unknown = fixtures::UNKNOWN;
    assert_eq!(said(unknown), format!("{unknown}|public{NOTHING_BUT}|not_found|||"));
    for (ip, class) in [
        ("10.0.0.1", "private"),
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("100.64.0.1", "cgnat"),
        ("224.0.0.1", "multicast"),
        ("192.0.2.1", "documentation"),
        ("fe80::1", "link_local"),
        ("fc00::1", "private"),
        ("2001:db8::1", "documentation"),
    ] {
        assert_eq!(said(ip), format!("{ip}|{class}{NOTHING_BUT}|skipped|||"));
        let fields = format!("SELECT ip_asn('{ip}'), ip_asn_org('{ip}'), ip_country('{ip}')");
        assert_eq!(cluster().lines(DB, &fields), ["||"], "{ip}");
    }
}

#[test]
fn an_answer_has_the_time_of_its_statement() {
    let sql = format!(
        "SELECT count(*) FILTER (WHERE (lookup_ip(ip)).enrichment_ts = statement_timestamp())
         FROM (VALUES ('{}'::inet), ('{}'), ('10.0.0.1')) AS asked(ip)",
        fixtures::LONDON,
        fixtures::UNKNOWN
    );
    assert_eq!(value(&sql), "3");
}

#[test]
fn lookup_ip_has_the_columns_of_the_design_in_their_order() {
    let columns = "SELECT attname, format_type(atttypid, atttypmod)
        FROM pg_attribute a JOIN pg_type t ON t.typrelid = a.attrelid
        WHERE t.oid = 'ip_enrichment'::regtype AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
    assert_eq!(
        cluster().lines(DB, columns),
        [
            "ip|inet",
            "ip_class|text",
            "network|cidr",
            "asn_number|bigint",
            "asn_org|text",
            "asn_source|text",
            "country_code|text",
            "country_source|text",
            "region|text",
            "city|text",
            "latitude|double precision",
            "longitude|double precision",
            "accuracy_radius_km|integer",
            "time_zone|text",
            "scanner_noise|boolean",
            "scanner_riot|boolean",
            "scanner_classification|text",
            "scanner_name|text",
            "scanner_last_seen|timestamp with time zone",
            "maxmind_status|text",
            "cymru_status|text",
            "greynoise_status|text",
            "enrichment_ts|timestamp with time zone",
            "scanner_ts|timestamp with time zone",
            "registered_country_code|text",
            "flags|text[]",
            "connection_type|text",
            "lists|text[]"
        ]
    );
}

#[test]
fn one_field_functions_agree_with_lookup_ip() {
    let all = [
        fixtures::LONDON,
        fixtures::GOOGLE_DNS,
        fixtures::CHINA_WITHOUT_ASN,
        fixtures::LARGE_ASN,
        fixtures::ASN_WITHOUT_ORG,
        fixtures::REGISTERED_ONLY,
        fixtures::CONTINENT_ONLY,
        fixtures::WRONG_TYPES,
        fixtures::CONTROL_ORG,
        fixtures::LONG_ORG,
        fixtures::UNKNOWN,
        fixtures::GOOGLE_IPV6,
        "::ffff:8.8.8.8",
        "10.1.2.3",
    ]
    .join(",");
    let different = format!(
        "SELECT asked.ip FROM unnest('{{{all}}}'::inet[]) AS asked(ip), lookup_ip(asked.ip) l
         WHERE (ip_class(asked.ip), ip_asn(asked.ip), ip_asn_org(asked.ip), ip_country(asked.ip), ip_city(asked.ip))
            IS DISTINCT FROM (l.ip_class, l.asn_number, l.asn_org, l.country_code, l.city)"
    );
    assert_eq!(cluster().lines(DB, &different), [""; 0]);
    assert_eq!(value("SELECT ip_asn('45.155.205.86')"), "4200000001");
    assert_eq!(value("SELECT ip_asn_org('8.8.8.8')"), "Google LLC");
    assert_eq!(value("SELECT ip_country('81.2.69.142')"), "GB");
    assert_eq!(value("SELECT ip_city('81.2.69.142')"), "London");
    assert_eq!(value("SELECT ip_class('81.2.69.142')"), "public");
}

#[test]
fn null_gives_null() {
    for function in ["lookup_ip", "ip_asn", "ip_asn_org", "ip_country", "ip_city", "ip_class"] {
        let null = format!("SELECT ({function}(NULL)) IS NULL");
        assert_eq!(value(&null), "t", "{function}");
    }
    // A row of nulls would be something else than no row.
    assert_eq!(value("SELECT lookup_ip(NULL) IS NOT DISTINCT FROM NULL"), "t");
}

#[test]
fn an_address_with_a_netmask_is_answered_as_the_host() {
    assert_eq!(said("81.2.69.142/24"), said("81.2.69.142"));
    assert_eq!(said("2001:4860:4860::8888/48"), said("2001:4860:4860::8888"));
    assert_eq!(value("SELECT ip_city('81.2.69.142/8')"), "London");
    assert_eq!(value("SELECT ip_country('8.8.8.8'::cidr)"), "US");
}

#[test]
fn ipv6_forms_of_ipv4_addresses_are_answered_as_ipv4() {
    let plain = said("8.8.8.8");
    for ip in [
        "::ffff:8.8.8.8",
        "2002:808:808::",
        "2002:808:808:1:2:3:4:5",
        "64:ff9b::808:808",
        "2001:0:4136:e378:8000:63bf:f7f7:f7f7",
    ] {
        let answer = said(ip);
        let (shown, rest) = answer.split_once('|').expect("columns");
        let shown_as_asked = format!("SELECT inet '{shown}' = inet '{ip}'");
        assert_eq!(value(&shown_as_asked), "t", "{ip} is shown as {shown}");
        assert_eq!(rest, plain.split_once('|').expect("columns").1, "{ip}");
    }
    assert_eq!(value("SELECT ip_class('2002:a00:1::')"), "private");
    assert_eq!(value("SELECT ip_class('::ffff:127.0.0.1')"), "loopback");
}

#[test]
fn parallel_workers_answer_as_the_leader_does() {
    cluster().sql(
        DB,
        "CREATE TABLE scanned AS
             SELECT ('8.8.' || (n % 16) || '.' || (n / 16 % 256))::inet AS ip FROM generate_series(0, 59999) AS n;
         ANALYZE scanned",
    );
    let mut client = cluster().connect(DB);
    let serial = "SET max_parallel_workers_per_gather = 0";
    let parallel = "SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0;
                    SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0";
    let query = "SELECT count(*) FILTER (WHERE (l).maxmind_status = 'found'), count((l).asn_number),
                        count(ip_country(ip)), sum(ip_asn(ip)), count(*) FILTER (WHERE ip_class(ip) = 'public')
                 FROM (SELECT ip, lookup_ip(ip) AS l FROM scanned) AS s";
    let mut run = |sql: &str| -> Vec<String> {
        asn_inventory_tests::cluster::query(&mut client, sql)
            .unwrap_or_else(|failure| panic!("{sql}: {failure:?}"))
            .into_iter()
            .map(|row| row.into_iter().flatten().collect::<Vec<_>>().join("|"))
            .collect()
    };
    run(serial);
    let alone = run(query);
    assert_eq!(alone, [format!("3750|3750|3750|{}|60000", 3750 * 15169)]);
    run(parallel);
    let plan = run(&format!("EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) {query}"));
    assert!(plan.iter().any(|line| line.contains("Workers Launched: 2")), "{plan:#?}");
    assert_eq!(run(query), alone);
}

#[test]
fn a_prepared_statement_answers_again_and_again() {
    let mut client = cluster().connect(DB);
    client
        .batch_execute("PREPARE asked(inet) AS SELECT (lookup_ip($1)).country_code || ip_asn($1) || ip_class($1)")
        .expect("a statement");
    // From the sixth execution on, the plan is a generic one.
    for round in 0..12 {
        for (ip, answer) in [("8.8.8.8", "US15169public"), ("61.177.172.9", "CN4134public")] {
            let rows = asn_inventory_tests::cluster::query(&mut client, &format!("EXECUTE asked('{ip}')"));
            assert_eq!(rows.expect("an answer"), [[Some(answer.into())]], "round {round}");
        }
    }
    let typed = client.prepare("SELECT ip_city($1::inet)").expect("a statement");
    let ip: std::net::IpAddr = "81.2.69.142".parse().expect("an address");
    for _ in 0..8 {
        let city: Option<String> = client.query_one(&typed, &[&ip]).expect("a row").get(0);
        assert_eq!(city.as_deref(), Some("London"));
    }
}

#[test]
fn only_ip_class_is_allowed_in_indexes_and_generated_columns() {
    cluster().sql(
        DB,
        "CREATE TABLE classed (ip inet, class text GENERATED ALWAYS AS (ip_class(ip)) STORED);
         CREATE INDEX classed_ip_class ON classed (ip_class(ip));
         INSERT INTO classed SELECT ('8.0.0.0'::inet + n) FROM generate_series(1, 20000) AS n;
         INSERT INTO classed VALUES ('10.0.0.1'), ('fe80::1'), (NULL);
         ANALYZE classed",
    );
    assert_eq!(
        cluster()
            .lines(DB, "SELECT ip, class FROM classed WHERE ip_class(ip) IN ('private', 'link_local') ORDER BY ip"),
        ["10.0.0.1|private", "fe80::1|link_local"]
    );
    let plan = cluster().lines(DB, "EXPLAIN (COSTS off) SELECT ip FROM classed WHERE ip_class(ip) = 'link_local'");
    assert!(plan.iter().any(|line| line.contains("classed_ip_class")), "{plan:#?}");
    // A new build changes their results: an index on them would be wrong.
    for function in ["ip_asn", "ip_country", "ip_city", "ip_asn_org"] {
        let refused = cluster().fails(DB, &format!("CREATE INDEX ON classed ({function}(ip))"));
        assert_eq!(refused.code, "42P17", "{function}");
    }
}

#[test]
fn many_look_ups_of_one_session_leak_no_memory() {
    let mut client = cluster().connect(DB);
    let mut number = |sql: &str| -> i64 {
        let rows = asn_inventory_tests::cluster::query(&mut client, sql).expect("an answer");
        let first = rows.into_iter().flatten().next().flatten();
        first.expect("a value").parse().unwrap_or_else(|_| panic!("{sql}"))
    };
    let looked_up =
        |rows: u32| format!("SELECT count(lookup_ip('8.8.0.0'::inet + n)) FROM generate_series(1, {rows}) AS n");
    let in_use = "SELECT sum(used_bytes)::bigint FROM pg_backend_memory_contexts";
    assert_eq!(number(&looked_up(1000)), 1000);
    let before = number(in_use);
    assert_eq!(number(&looked_up(300_000)), 300_000);
    let grown = number(in_use) - before;
    assert!(grown < 1_000_000, "{grown} bytes more are in use");
}
