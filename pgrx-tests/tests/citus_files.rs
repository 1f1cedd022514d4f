//! The mmdb files of a Citus cluster: those of the coordinator reach every node, and a node with others is named.

use crate::citus_support::{DB, Nodes, distributed, node};
use crate::lists_support;
use asn_inventory_tests::cluster::query;
use asn_inventory_tests::needs;
use asn_inventory_tests::prelude::*;

/// A City file whose answer for one address is this name.
fn install(node: &Cluster, days: u64, city: &str) {
    let newer = node.maxmind_dir().join("new");
    std::fs::create_dir_all(&newer).expect("a directory");
    fixtures::small_city(fixtures::days_ago(days))
        .insert("81.2.69.142/32", json!({"city": {"names": {"en": city}}, "country": {"iso_code": "GB"}}))
        .write(&newer.join("GeoLite2-City.mmdb"))
        .expect("a file");
    node.install_mmdb(&newer);
}

const CITY: &str = "SELECT ip_city('81.2.69.142')";
const ELSEWHERE: &str =
    "SELECT string_agg(level || ' ' || coalesce(split_part(detail, ' ', 1), ''), ',' ORDER BY detail)
    FROM enrichment_doctor() WHERE check_name = 'mmdb elsewhere'";

#[test]
fn files_of_the_coordinator_reach_every_node_and_one_that_is_added() {
    if !needs::has("citus", "files_of_the_coordinator_reach_every_node_and_one_that_is_added") {
        return;
    }
    let nodes = Nodes::start();
    nodes.sql("SELECT asn_inventory_distribute()");
    install(nodes.first(), 0, "Shared");
    for node in &nodes.0 {
        node.wait_value(DB, CITY, "Shared");
    }
    let another = node(&[]);
    nodes.add(&another);
    another.wait_value(DB, CITY, "Shared");
    for node in nodes.0.iter().chain([&another]) {
        assert_eq!(node.value(DB, ELSEWHERE), "ok ");
    }
    // Each for itself again.
    nodes.sql(&format!("SELECT citus_remove_node('{}', 5432)", another.socket_dir().display()));
    nodes.sql("SELECT asn_inventory_undistribute()");
    install(nodes.first(), 0, "Not shared");
    nodes.first().wait_value(DB, CITY, "Not shared");
    assert_eq!(nodes.0[1].value(DB, CITY), "Shared");
}

#[test]
fn a_node_with_other_files_is_named_by_every_node() {
    if !needs::has("citus", "a_node_with_other_files_is_named_by_every_node") {
        return;
    }
    let nodes = Nodes::start();
    nodes.sql("SELECT asn_inventory_distribute()");
    nodes.first().wait_value(DB, "SELECT count(*) FROM mmdb_shared", "2");
    install(&nodes.0[1], 0, "Its own");
    nodes.0[1].wait_value(DB, CITY, "Its own");
    nodes.sql("UPDATE mmdb_shared SET shared_at = '2020-01-01'");
    // By the node itself: what it has beside what is shared. By all of them: what it has beside their own.
    nodes.first().wait_value(DB, ELSEWHERE, "warning Node");
    nodes.0[2].wait_value(DB, ELSEWHERE, "warning Node");
    nodes.0[1].wait_value(DB, ELSEWHERE, "warning GeoLite2-City:,warning Node,warning Node");
    let named = "SELECT detail FROM enrichment_doctor() WHERE check_name = 'mmdb elsewhere'";
    let name = format!("Node {}:5432 answers GeoLite2-City from ", nodes.0[1].socket_dir().display());
    assert!(nodes.first().value(DB, named).starts_with(&name), "{}", nodes.first().value(DB, named));
    // The newer file on the coordinator ends it, as the remedy says.
    install(nodes.first(), 0, "Its own");
    for node in &nodes.0 {
        node.wait_value(DB, ELSEWHERE, "ok ");
    }
    // Lists do not travel: a node that lacks one is named.
    let lists = |node: &Cluster| node.data_dir().join("asn_inventory").join("lists");
    let put_network = |node: &Cluster, network: &str| {
        let home = lists(node);
        wait_until("the directory of lists", || home.is_dir());
        lists_support::put(&home, "bad.txt", format!("{network}\n"));
        node.wait_value(DB, &format!("SELECT ip_lists('{network}')::text"), "{bad}");
    };
    let put = |node: &Cluster| put_network(node, "34.64.0.0/16");
    put(nodes.first());
    nodes.first().wait_value(DB, ELSEWHERE, "warning Node,warning Node");
    let missing = nodes.first().lines(DB, named);
    assert!(missing.iter().all(|said| said.ends_with("other lists of networks: bad is missing there.")), "{missing:?}");
    nodes.0[1].wait_value(DB, ELSEWHERE, "warning Node");
    nodes.0[1..].iter().for_each(put);
    for node in &nodes.0 {
        node.wait_value(DB, ELSEWHERE, "ok ");
    }
    // Another version has a day to arrive.
    put_network(&nodes.0[1], "34.65.0.0/16");
    for node in &nodes.0 {
        assert_eq!(node.value(DB, ELSEWHERE), "ok ");
    }
    for node in &nodes.0[..2] {
        node.stop_fast();
        let manifest = node.data_dir().join("asn_inventory/lists_imported/current.json");
        let text = std::fs::read(&manifest).expect("a manifest");
        let mut state: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        let since = &mut state["lists"]["bad"]["current"]["installed_at"];
        *since = json!(since.as_i64().expect("a time") - 2 * 86_400_000_000);
        std::fs::write(&manifest, state.to_string()).expect("written");
        node.start();
    }
    nodes.first().wait_value(DB, ELSEWHERE, "warning Node");
    let other = nodes.first().value(DB, named);
    assert!(other.starts_with(&format!("Node {}:5432", nodes.0[1].socket_dir().display())), "{other}");
    assert!(other.contains("lists of networks: bad is another one there since "), "{other}");
    put(&nodes.0[1]);
    nodes.first().wait_value(DB, ELSEWHERE, "ok ");
    // A node that is down is named as well.
    nodes.0[2].stop_fast();
    nodes.first().wait_value(DB, ELSEWHERE, "warning Node");
    nodes.0[2].start();
    nodes.first().wait_value(DB, ELSEWHERE, "ok ");
}

#[test]
fn expired_answers_are_told_by_the_builds_and_walks_of_all_nodes() {
    if !needs::has("citus", "expired_answers_are_told_by_the_builds_and_walks_of_all_nodes") {
        return;
    }
    let nodes = Nodes::start();
    let [first, second, third] = &nodes.0;
    nodes.sql("SELECT asn_inventory_distribute()");
    nodes.0.iter().for_each(|node| node.wait_walked(DB));
    nodes.sql("INSERT INTO ip_inventory (ip_address) VALUES ('8.8.8.8'), ('34.64.0.1')");
    assert_eq!(first.value(DB, "SELECT errors FROM backfill_inventory()"), "0");
    let named = "SELECT string_agg(asn_number || ' ' || asn_org, ', ' ORDER BY asn_number) FROM asn_inventory";
    first.wait_value(DB, named, "15169 Google LLC, 396982 Google LLC");
    nodes.sql("UPDATE ip_inventory SET maxmind_ts = now() - interval '31 days' WHERE ip_address = '8.8.8.8'");
    let purge = |node: &Cluster, age: &str| {
        let (mut session, notices) = node.connect_with_notices(DB);
        let rows = query(&mut session, &format!("SELECT purge_expired_maxmind('{age}')")).expect("a purge");
        let warned = notices.all().iter().any(|notice| notice.contains("answers of older builds may stay"));
        (rows[0][0].clone().unwrap_or_default(), warned)
    };
    let (cleared, warned) = (|rows: &str| (rows.to_owned(), false), |rows: &str| (rows.to_owned(), true));
    assert_eq!(purge(third, "30 days"), cleared("0"));
    // The coordinator has no rows, and has walked all of its own: that confirms none.
    nodes.0.iter().for_each(|node| node.set("asn_inventory.maxmind_walk", "off"));
    second.sql(DB, "DELETE FROM maxmind_walk");
    assert_eq!(purge(first, "30 days"), cleared("1"));
    // Of a node with a newer build nobody clears what it said, and it tells nobody that all is new.
    let newer = second.maxmind_dir().join("new");
    std::fs::create_dir_all(&newer).expect("a directory");
    fixtures::small_built_at(&newer, fixtures::days_ago(0));
    second.install_mmdb(&newer);
    second.wait_value(DB, "SELECT count(*) FROM mmdb_editions() WHERE build_time > now() - interval '1 day'", "2");
    for node in &nodes.0 {
        assert_eq!(purge(node, "1 day"), warned("0"));
    }
    // All are older than this.
    let open = "SELECT count(*) FROM ip_inventory WHERE maxmind_status = 'found'";
    let left = first.value(DB, open);
    assert_ne!(left, "0");
    assert_eq!(purge(third, "0"), cleared(&left));
    for node in &nodes.0 {
        assert_eq!((node.value(DB, open), node.value(DB, named)), ("0".to_owned(), String::new()));
    }
}

/// Addresses lie on all nodes, and so does what is known of an AS.
#[test]
fn what_files_say_of_addresses_is_counted_by_network_over_all_nodes() {
    if !needs::has("citus", "what_files_say_of_addresses_is_counted_by_network_over_all_nodes") {
        return;
    }
    let nodes = Nodes::start();
    distributed(&nodes, "e");
    nodes.sql("SELECT asn_inventory_distribute()");
    // Of 8.8.8.1 to 9, seven and two, then three and six. Both newer than the files that all nodes have.
    let install_kinds = |built: u64, some: &str, others: [&str; 2], kind: &str| {
        let newer = nodes.first().maxmind_dir().join("new");
        std::fs::create_dir_all(&newer).expect("a directory");
        let record = |kind: &str| json!({"country": {"iso_code": "US"}, "traits": {"user_type": kind}});
        let file = fixtures::small_city(built).insert(some, record("hosting"));
        let file = others.into_iter().fold(file, |file, network| file.insert(network, record(kind)));
        file.write(&newer.join("GeoLite2-City.mmdb")).expect("a file");
        nodes.first().install_mmdb(&newer);
        for node in &nodes.0 {
            let last = format!("{{{kind}}}");
            node.wait_value(DB, "SELECT coalesce(flags::text, '') FROM lookup_ip('8.8.8.9')", &last);
        }
    };
    install_kinds(fixtures::days_ago(1) + 60, "8.8.8.0/29", ["8.8.8.8/32", "8.8.8.9/32"], "business");
    nodes.sql("INSERT INTO e SELECT '8.8.8.0'::inet + g FROM generate_series(1, 9) g");
    let flags = "SELECT ip_count || ' ' || coalesce(flags::text, '-') FROM asn_inventory WHERE asn_number = 15169";
    for node in &nodes.0 {
        node.wait_value(DB, flags, "9 {hosting}");
    }
    install_kinds(fixtures::days_ago(0), "8.8.8.0/30", ["8.8.8.4/30", "8.8.8.8/31"], "education");
    for node in &nodes.0 {
        node.wait_value(DB, flags, "9 {education}");
    }
    nodes.sql("DELETE FROM ip_inventory");
    nodes.first().wait_value(DB, flags, "0 -");
}
