//! `ip_lists` and `network_lists`: the forms that lists come in, and what is said of an address.

use crate::lists_support::*;
use asn_inventory_tests::prelude::*;
use std::sync::OnceLock;

const FILES: [(&str, &str); 9] = [
    ("spamhaus_drop.txt", "; Spamhaus DROP List\n1.10.16.0/20 ; SBL256894\n1.19.0.0/16 ; SBL434604\n"),
    ("firehol_level1.netset", "\u{feff}#\r\n# firehol_level1\r\n0.0.0.0/8\r\n10.0.0.0/8\r\n1.10.16.0/20\r\n"),
    (
        "tor-exits.txt",
        "ExitNode 0011BD\nPublished 2026-01-01 01:02:03\nLastStatus 2026-01-01 02:00:00\nExitAddress 162.247.74.201 2026-01-01 02:11:02\n",
    ),
    (
        "aws.json",
        r#"{"prefixes": [{"ip_prefix": "3.4.12.0/24", "region": "eu-west-1"}], "ipv6_prefixes": [{"ipv6_prefix": "2600:1ff2:4000::/40"}]}"#,
    ),
    ("google.json", r#"{"prefixes": [{"ipv4Prefix": "34.1.208.0/20"}, {"ipv6Prefix": "2600:1900:8000::/44"}]}"#),
    (
        "azure.json",
        r#"{"values": [{"name": "AzureCloud", "properties": {"addressPrefixes": ["4.150.0.0/18", "2603:1030::/45"]}}]}"#,
    ),
    ("cloudflare.json", r#"{"result": {"ipv4_cidrs": ["173.245.48.0/20"], "ipv6_cidrs": ["2400:cb00::/32"]}}"#),
    ("office", "192.0.2.10 - 192.0.2.20\n198.51.100.7/24\nnonsense\n2002::/16\n"),
    ("columns.csv", "network,provider\n\"203.0.113.0/25\",\"x\"\n"),
];

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster = Cluster::builder().start();
        cluster.sql(DB, "CREATE EXTENSION asn_inventory");
        let dir = default_dir(&cluster);
        assert_eq!(cluster.value(DB, "SELECT ip_lists('1.10.16.1') IS NULL"), "t", "no list is installed");
        for (name, content) in FILES {
            put(&dir, name, content);
        }
        cluster.wait_value(DB, "SELECT lists FROM enrichment_status", "9");
        cluster
    })
}

#[test]
fn every_form_of_a_list_is_read() {
    for (ip, lists) in [
        ("1.10.31.255", "{firehol_level1,spamhaus_drop}"),
        ("1.10.32.0", "{}"),
        ("1.19.200.1", "{spamhaus_drop}"),
        ("10.1.2.3", "{firehol_level1}"),
        ("162.247.74.201", "{tor-exits}"),
        ("162.247.74.202", "{}"),
        ("3.4.12.255", "{aws}"),
        ("2600:1ff2:40ff::1", "{aws}"),
        ("34.1.223.1", "{google}"),
        ("2600:1900:800f::", "{google}"),
        ("4.150.63.255", "{azure}"),
        ("2603:1030::1", "{azure}"),
        ("173.245.48.1", "{cloudflare}"),
        ("2400:cb00:1::1", "{cloudflare}"),
        ("192.0.2.10", "{office}"),
        ("192.0.2.21", "{}"),
        ("198.51.100.200", "{office}"),
        ("203.0.113.127", "{columns}"),
        ("203.0.113.128", "{}"),
        // What stands for an IPv4 address.
        ("::ffff:162.247.74.201", "{tor-exits}"),
        ("2002:a2f7:4ac9::1", "{office,tor-exits}"),
        ("64:ff9b::a2f7:4ac9", "{tor-exits}"),
    ] {
        assert_eq!(cluster().value(DB, &format!("SELECT ip_lists('{ip}')")), lists, "{ip}");
    }
    assert_eq!(cluster().value(DB, "SELECT ip_lists(NULL) IS NULL"), "t");
    assert_eq!(
        cluster().value(DB, "SELECT ip_lists('1.10.16.1/20')"),
        "{firehol_level1,spamhaus_drop}",
        "the host's part"
    );
}

#[test]
fn network_lists_says_what_is_installed_and_what_was_wrong() {
    let lines = |sql: &str| cluster().lines(DB, sql);
    assert_eq!(
        lines(
            "SELECT list, file, entries_ipv4, entries_ipv6, addresses_ipv4, size > 0, file_time < now() - interval '50 min', installed_at > file_time, warning, refused, generation ~ '^office-[0-9a-f]+$', previous_generation FROM network_lists() WHERE list = 'office'"
        ),
        [
            "office|office|2|1|267|t|t|t|1 line is not an address, a network or a range (the first is line 3); 1 network has host bits, taken as the whole network (the first is in line 2)||t|"
        ]
    );
    assert_eq!(
        lines("SELECT count(*), count(warning), count(refused), sum(entries_ipv4) FROM network_lists()"),
        ["9|1|0|13"]
    );
    assert_eq!(
        lines("SELECT level, detail FROM enrichment_doctor() WHERE check_name = 'list files'"),
        [
            "ok|office: 1 line is not an address, a network or a range (the first is line 3); 1 network has host bits, taken as the whole network (the first is in line 2)."
        ]
    );
    cluster().wait_log("asn_inventory: installed list tor-exits, 1 entries");
}

#[test]
fn anybody_may_look_up_and_readers_may_see_the_lists() {
    cluster().sql(DB, "DROP ROLE IF EXISTS lists_guest; CREATE ROLE lists_guest");
    let guest = |sql: &str| cluster().try_sql(DB, &format!("SET ROLE lists_guest; {sql}"));
    assert!(guest("SELECT ip_lists('1.10.16.1')").is_ok());
    assert_eq!(guest("SELECT * FROM network_lists()").expect_err("refused").code, "42501");
}

#[test]
fn parallel_workers_look_up_the_same() {
    let mut client = cluster().client();
    let sql = |client: &mut postgres::Client, sql: &str| client.batch_execute(sql).expect(sql);
    sql(
        &mut client,
        "CREATE TABLE parallel_addresses AS SELECT '1.10.0.0'::inet + n AS ip FROM generate_series(0, 99999) n; ANALYZE parallel_addresses",
    );
    sql(&mut client, "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0");
    let count = "SELECT count(*) FROM parallel_addresses WHERE ip_lists(ip) = '{firehol_level1,spamhaus_drop}'";
    let found: i64 = client.query_one(count, &[]).expect("a row").get(0);
    assert_eq!(found, 4096);
    let plan: Vec<String> =
        client.query(&format!("EXPLAIN {count}"), &[]).expect("a plan").iter().map(|row| row.get(0)).collect();
    assert!(plan.iter().any(|line| line.contains("Workers Planned")), "{plan:#?}");
    sql(&mut client, "DROP TABLE parallel_addresses");
}
