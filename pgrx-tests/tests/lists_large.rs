//! A million entries in twenty lists, ten million lines in one, and a kill in the middle.

use crate::lists_support::*;
use asn_inventory_tests::prelude::*;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

const LISTS: u32 = 20;
const ENTRIES: u32 = 50_000;

/// Every list holds a stretch of its own, address by address with gaps, and 100.64.0.0/10 together.
fn list(number: u32) -> String {
    let mut text = String::from("100.64.0.0/10\n");
    for n in 1..ENTRIES {
        let _ = writeln!(text, "{}", Ipv4Addr::from(((20 + number) << 24) | (n * 300)));
    }
    text
}

#[test]
fn a_million_entries_in_twenty_lists_answer_and_a_kill_leaves_the_lists_of_before() {
    let cluster = Cluster::builder().start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    let dir = default_dir(&cluster);
    put(&dir, "small.txt", "20.0.1.44\n");
    wait_lists(&cluster, "20.0.1.44", "{small}");
    for number in 0..LISTS {
        put(&dir, &format!("large{number:02}.netset"), list(number));
    }
    // Killed somewhere in it, or before or after: what answers is either state.
    for _ in 0..3 {
        let launcher = wait_for("the launcher", || cluster.pid_of("asn_inventory launcher"), Option::is_some);
        cluster.kill9(launcher.expect("a process"));
        let answer = wait_for("the server", || cluster.try_sql(DB, "SELECT ip_lists('20.0.1.44')"), Result::is_ok);
        let answer = answer.expect("an answer")[0][0].clone().unwrap_or_default();
        assert!(["{small}", "{large00,small}"].contains(&answer.as_str()), "{answer}");
    }
    cluster.wait_value(DB, "SELECT lists FROM enrichment_status", "21");
    wait_lists(&cluster, "20.0.1.44", "{large00,small}");
    assert_eq!(cluster.value(DB, "SELECT cardinality(ip_lists('100.64.1.1'))"), "20");
    let held = "SELECT count(*) FILTER (WHERE ip_lists(ip) <> '{}') FROM (SELECT '20.0.0.0'::inet + n AS ip FROM generate_series(0, 299999) n) a";
    assert_eq!(cluster.value(DB, held), "999");
    let imported = cluster.data_dir().join("asn_inventory/lists_imported/files");
    let left = std::fs::read_dir(imported).expect("a directory").count();
    assert_eq!(left, 22, "21 lists and an index, nothing of what was interrupted");
}

#[test]
fn ten_million_lines_are_a_list_and_more_than_the_limit_are_refused() {
    let cluster = Cluster::builder().start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    let dir = default_dir(&cluster);
    let mut text = String::with_capacity(160 << 20);
    for n in 0..10_000_000_u32 {
        let _ = writeln!(text, "{}", Ipv4Addr::from(0x1400_0000 + n * 2));
    }
    put(&dir, "a.txt", &text);
    wait_lists(&cluster, "20.0.0.2", "{a}");
    assert_eq!(cluster.value(DB, "SELECT entries_ipv4, ip_lists('20.0.0.3') FROM network_lists()"), "10000000");
    text.push_str("1.1.1.1\n");
    put(&dir, "b.txt", &text);
    let reason = "more than 10000000 entries, which is what other lists leave of 20000000 in all";
    cluster.wait_value(DB, "SELECT refused FROM network_lists() WHERE list = 'b'", reason);
    assert_eq!(cluster.value(DB, "SELECT ip_lists('20.0.0.2')"), "{a}");
}
