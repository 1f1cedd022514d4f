//! One inventory for a Citus cluster: every node's rows are in it, every node works on the rows that lie there and answers
//! for all, and one node asks the network sources.

use crate::citus_support::{DB, Nodes, node};
use crate::network_support::*;
use asn_inventory_tests::needs;
use asn_inventory_tests::prelude::*;

/// Events whose rows lie on both workers, observed there.
fn events(nodes: &Nodes) {
    nodes.sql("CREATE TABLE e (src inet, n int); SELECT create_distributed_table('e', 'src')");
    nodes.sql("SELECT attach_ip_source('e', '{src}')");
}

/// Inserts an event of each of `count` addresses from a network on.
fn insert(node: &Cluster, from: &str, count: u32) {
    node.sql(DB, &format!("INSERT INTO e SELECT '{from}'::inet + g, g FROM generate_series(1, {count}) g"));
}

/// Waits until each node sees so many addresses, observed so often.
fn each_sees(nodes: &Nodes, addresses: u32, observations: u32) {
    for node in &nodes.0 {
        let all = "SELECT count(*) || '/' || coalesce(sum(observation_count), 0) FROM ip_inventory";
        node.wait_value(DB, all, &format!("{addresses}/{observations}"));
    }
}

#[test]
fn without_citus_an_inventory_cannot_be_distributed() {
    let cluster = Cluster::builder().start();
    cluster.sql("postgres", "CREATE EXTENSION asn_inventory");
    for call in ["asn_inventory_distribute()", "asn_inventory_undistribute()"] {
        let refused = cluster.fails("postgres", &format!("SELECT {call}"));
        assert_eq!((refused.code.as_str(), refused.message), ("0A000", format!("{call} needs Citus")));
    }
    cluster.sql("postgres", "CREATE ROLE someone");
    let may = "SELECT bool_or(has_function_privilege('someone', oid, 'EXECUTE')) FROM pg_proc
               WHERE proname IN ('asn_inventory_distribute', 'asn_inventory_undistribute', '_backfill_here')";
    assert_eq!(cluster.value("postgres", may), "f");
}

#[test]
fn a_coordinator_that_other_nodes_do_not_know_distributes_nothing() {
    if !needs::has("citus", "a_coordinator_that_other_nodes_do_not_know_distributes_nothing") {
        return;
    }
    let [coordinator, worker] = [node(&[]), node(&[])];
    let call = |function: &str, node: &Cluster| {
        coordinator.sql(DB, &format!("SELECT {function}('{}', 5432)", node.socket_dir().display()));
    };
    call("citus_add_node", &worker);
    coordinator.sql(DB, "CREATE EXTENSION asn_inventory");
    let refused = coordinator.fails(DB, "SELECT asn_inventory_distribute()");
    let message = "the other nodes of the cluster do not know the coordinator";
    assert_eq!((refused.code.as_str(), refused.message.as_str()), ("55000", message));
    call("citus_set_coordinator_host", &coordinator);
    coordinator.sql(DB, "SELECT asn_inventory_distribute()");
    worker.wait_value(DB, "SELECT count(*) FROM cluster_status WHERE failure IS NULL", "2");
}

#[test]
fn every_node_brings_its_rows_into_one_inventory_and_sees_all_of_it() {
    if !needs::has("citus", "every_node_brings_its_rows_into_one_inventory_and_sees_all_of_it") {
        return;
    }
    let nodes = Nodes::start();
    events(&nodes);
    // Some addresses are observed on the coordinator as well, by a table that lies there alone.
    nodes.sql("CREATE TABLE mine (src inet); SELECT attach_ip_source('mine', '{src}')");
    insert(nodes.first(), "34.64.0.0", 3000);
    nodes.sql("INSERT INTO mine SELECT '34.64.0.0'::inet + g FROM generate_series(1, 100) g");
    nodes.counted(3100);
    // Who asked GreyNoise last knows best; a column of the user's own comes along.
    for node in &nodes.0 {
        node.sql(DB, "ALTER TABLE ip_inventory ADD COLUMN note text");
    }
    nodes.sql("UPDATE ip_inventory SET note = 'kept', scanner_ts = now(), scanner_noise = true, greynoise_status = 'found' WHERE ip_address = '34.64.0.7'");
    nodes.sql("SELECT asn_inventory_distribute()");
    each_sees(&nodes, 3000, 3100);
    // Again, it does nothing.
    nodes.sql("SELECT asn_inventory_distribute()");
    each_sees(&nodes, 3000, 3100);
    let row = "SELECT note, scanner_noise, greynoise_status, observation_count FROM ip_inventory WHERE ip_address = '34.64.0.7'";
    for node in &nodes.0 {
        assert_eq!(node.lines(DB, row), ["kept|t|found|2"]);
        // What is counted is the cluster's, wherever it is asked for.
        node.wait_value(DB, "SELECT addresses || '/' || observations FROM inventory_count", "3000/3100");
        node.wait_value(DB, "SELECT addresses FROM enrichment_status", "3000");
        assert_eq!(
            node.value(DB, "SELECT sum(ip_count) = (SELECT count(asn_number) FROM ip_inventory) FROM asn_inventory"),
            "t"
        );
        let bad = "SELECT check_name || ': ' || detail FROM enrichment_doctor() WHERE level = 'error'";
        assert_eq!(node.lines(DB, bad), [""; 0]);
    }
    // Every node writes, and a worker that is killed loses and doubles nothing.
    for (n, node) in nodes.0.iter().enumerate() {
        insert(node, "34.64.0.0", 1000);
        let pid = node.pid_of("asn_inventory worker");
        insert(node, "34.65.0.0", 500);
        if let Some(pid) = pid.filter(|_| n > 0) {
            node.kill9(pid);
            let again = || node.try_connect(DB).ok().and_then(|_| node.pid_of("asn_inventory worker"));
            wait_for("another worker", again, |now| now.is_some_and(|now| now != pid));
        }
    }
    each_sees(&nodes, 3500, 7600);
    // And back: all rows are on the coordinator, and the others begin with none.
    nodes.sql("SELECT asn_inventory_undistribute()");
    let all = "SELECT count(*) || '/' || coalesce(sum(observation_count), 0) FROM ip_inventory";
    assert_eq!(nodes.first().value(DB, all), "3500/7600");
    assert_eq!(nodes.first().lines(DB, row), ["kept|t|found|5"]);
    assert_eq!(nodes.0[1].value(DB, all), "0/0");
    nodes.sql("BEGIN; TRUNCATE ip_inventory; ROLLBACK");
    insert(nodes.first(), "34.64.0.0", 100);
    nodes.counted(7700);
    nodes.sql("SELECT asn_inventory_distribute()");
    each_sees(&nodes, 3500, 7700);
}

#[test]
fn a_failure_half_way_leaves_the_inventory_as_it_was() {
    if !needs::has("citus", "a_failure_half_way_leaves_the_inventory_as_it_was") {
        return;
    }
    let nodes = Nodes::start();
    events(&nodes);
    insert(nodes.first(), "34.64.0.0", 300);
    nodes.sql(
        "CREATE TABLE mine (src inet); SELECT attach_ip_source('mine', '{src}'); INSERT INTO mine VALUES ('8.8.8.8')",
    );
    nodes.counted(301);
    let all = "SELECT count(*) || '/' || coalesce(sum(observation_count), 0) FROM ip_inventory";
    let refused = nodes.first().try_sql(DB, "BEGIN; SELECT asn_inventory_distribute(); SELECT 1/0");
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(nodes.first().value(DB, all), "1/1");
    nodes.counted(301);
    nodes.sql("SELECT asn_inventory_distribute()");
    each_sees(&nodes, 301, 301);
    let refused = nodes.first().try_sql(DB, "BEGIN; SELECT asn_inventory_undistribute(); SELECT 1/0");
    assert!(refused.is_err(), "{refused:?}");
    each_sees(&nodes, 301, 301);
}

#[test]
fn an_inventory_of_before_is_gathered_for_an_update() {
    if !needs::has("citus", "an_inventory_of_before_is_gathered_for_an_update") {
        return;
    }
    let nodes = Nodes::start();
    nodes.sql("DROP EXTENSION asn_inventory");
    nodes.sql("CREATE EXTENSION asn_inventory VERSION '0.2.0'");
    events(&nodes);
    nodes.sql("SELECT asn_inventory_distribute()");
    insert(nodes.first(), "34.64.0.0", 300);
    each_sees(&nodes, 300, 300);
    let refused = nodes.first().fails(DB, "ALTER EXTENSION asn_inventory UPDATE");
    assert_eq!(refused.message, "cannot update asn_inventory: its inventory is distributed");
    insert(nodes.first(), "34.64.0.0", 100);
    each_sees(&nodes, 300, 400);
    nodes.sql("SELECT asn_inventory_undistribute()");
    nodes.sql("ALTER EXTENSION asn_inventory UPDATE");
    insert(nodes.first(), "34.64.0.0", 100);
    nodes.counted(500);
    nodes.sql("SELECT asn_inventory_distribute()");
    each_sees(&nodes, 300, 500);
    insert(nodes.first(), "34.64.0.0", 100);
    each_sees(&nodes, 300, 600);
    for node in &nodes.0 {
        let all = "SELECT (SELECT extversion FROM pg_extension WHERE extname = 'asn_inventory') = installed_version
                   FROM pg_available_extensions WHERE name = 'asn_inventory'";
        assert_eq!(node.value(DB, all), "t");
        assert_eq!(node.value(DB, "SELECT sum(observations) FROM ip_sightings WHERE tbl = 'public.e'"), "200");
    }
}

#[test]
fn a_node_that_is_down_delays_absorbing_and_fills_no_log() {
    if !needs::has("citus", "a_node_that_is_down_delays_absorbing_and_fills_no_log") {
        return;
    }
    let nodes = Nodes::start();
    nodes.sql("SELECT asn_inventory_distribute()");
    nodes.sql("CREATE TABLE mine (src inet); SELECT attach_ip_source('mine', '{src}')");
    nodes.0[2].stop_fast();
    nodes.sql("INSERT INTO mine SELECT '34.64.0.0'::inet + g FROM generate_series(1, 500) g");
    let failing =
        "SELECT count(*) FROM worker_errors() WHERE work = 'absorbing observations' AND last_error IS NOT NULL";
    nodes.first().wait_value(DB, failing, "1");
    nodes.first().wait_value(
        DB,
        "SELECT queued = 500 AND queue_age > interval '3 seconds' FROM enrichment_status",
        "t",
    );
    let lines = nodes.first().log().lines().filter(|line| line.contains("34.64.")).count();
    assert_eq!(lines, 0, "no address is to blame");
    assert!(nodes.first().log().matches("could not be absorbed, trying again").count() < 10);
    nodes.0[2].start();
    each_sees(&nodes, 500, 500);
}

#[test]
fn each_node_works_on_its_own_rows_and_answers_for_all() {
    if !needs::has("citus", "each_node_works_on_its_own_rows_and_answers_for_all") {
        return;
    }
    let nodes = Nodes::start();
    nodes.sql("SELECT asn_inventory_distribute()");
    // Bare rows, wherever they lie: one call, one summary.
    nodes.sql("INSERT INTO ip_inventory (ip_address) SELECT '8.8.0.0'::inet + g FROM generate_series(1, 4000) g");
    let done = "SELECT processed || '/' || errors FROM backfill_inventory()";
    assert_eq!(nodes.0[1].value(DB, done), "4000/0");
    assert_eq!(nodes.first().value(DB, done), "0/0");
    assert_eq!(nodes.first().value(DB, "SELECT count(*) FROM ip_inventory WHERE maxmind_status = 'pending'"), "0");
    // Lists, from any node, each address once.
    let listed = "SELECT processed || '/' || errors FROM backfill_inventory(ips => '{8.8.8.8, 1.1.1.1, 1.1.1.2}')";
    assert_eq!(nodes.0[2].value(DB, listed), "3/0");
    let story = "SELECT count(*) > 3 FROM ip_story('8.8.8.8')";
    for node in &nodes.0 {
        assert_eq!(node.value(DB, story), "t");
        assert_eq!(node.value(DB, "SELECT ip_asn_at('8.8.8.8', now())"), "15169");
        assert_eq!(node.value(DB, "SELECT (enrich_ip('8.8.8.8')).maxmind_status"), "found");
        assert_eq!(node.value(DB, "SELECT (enrich_ip('1.1.1.7', '5s')).asn_number"), "13335");
    }
    nodes.first().wait_value(DB, "SELECT observation_count FROM ip_inventory WHERE ip_address = '1.1.1.7'", "0");
    // A change of an ASN is in the history, wherever it was written, and a refresh is from any node.
    nodes.sql("UPDATE ip_inventory SET asn_number = 64500 WHERE ip_address IN ('8.8.8.8', '1.1.1.1')");
    assert_eq!(nodes.0[1].value(DB, "SELECT errors FROM refresh_range('0.0.0.0/0', 'maxmind')"), "0");
    for node in &nodes.0 {
        let changes = "SELECT count(*) || ' ' || count(*) FILTER (WHERE old_asn = 64500) FROM ip_asn_history";
        assert_eq!(node.value(DB, changes), "4 2");
        assert_eq!(node.value(DB, "SELECT count(*) FROM asn_changes"), "4");
    }
    // After a newer build each node walks its own shards, and writes what changed.
    for node in &nodes.0 {
        fixtures::small_asn(fixtures::days_ago(1))
            .insert(
                "8.8.8.0/24",
                json!({ "autonomous_system_number": 64501, "autonomous_system_organization": "Heir" }),
            )
            .write(&node.maxmind_dir().join("GeoLite2-ASN.mmdb"))
            .expect("a file");
    }
    let moved = "SELECT count(*) FROM ip_inventory WHERE asn_number = 64501";
    let of_it = nodes.first().value(DB, "SELECT count(*) FROM ip_inventory WHERE ip_address << '8.8.8.0/24'");
    nodes.first().wait_value(DB, moved, &of_it);
    for worker in &nodes.0[1..] {
        let walked = "SELECT cardinality(shards) FROM maxmind_walk";
        let here = "SELECT count(*) FROM pg_dist_shard s JOIN pg_dist_placement USING (shardid)
                    JOIN pg_dist_local_group USING (groupid) WHERE s.logicalrelid = 'ip_inventory'::regclass";
        worker.wait_value(DB, walked, &worker.value(DB, here));
    }
    // A shard that comes from a node without walking is walked where it is now.
    nodes.sql("UPDATE ip_inventory SET asn_number = 64502 WHERE ip_address = '8.8.8.8'");
    let place = "SELECT shardid || ' ' || nodename FROM pg_dist_shard_placement
                 WHERE shardid = get_shard_id_for_distribution_column('ip_inventory', '8.8.8.8'::inet)";
    let place = nodes.first().value(DB, place);
    let (shard, from) = place.split_once(' ').expect("a place");
    let to = nodes.0[1..].iter().map(|node| node.socket_dir().to_string_lossy().into_owned()).find(|host| host != from);
    nodes.sql(&format!(
        "SELECT citus_move_shard_placement({shard}, '{from}', 5432, '{}', 5432, 'block_writes')",
        to.expect("another node")
    ));
    nodes.first().wait_value(DB, "SELECT asn_number FROM ip_inventory WHERE ip_address = '8.8.8.8'", "64501");
    assert!(nodes.first().value(DB, "SELECT purge_expired_maxmind('-1 day')") == "0");
}

#[test]
fn one_node_asks_about_an_address_that_several_observe() {
    if !needs::has("citus", "one_node_asks_about_an_address_that_several_observe") {
        return;
    }
    let fakes = Fakes::start(&asn_inventory_tests::cluster::private_dir());
    fakes.rule("45.0.0.0/8", 16, 64500, "DE");
    let mut conf: Vec<(String, String)> = fakes.settings();
    conf.push(("asn_inventory.greynoise".into(), "off".into()));
    conf.push(("asn_inventory.cymru".into(), "on".into()));
    conf.push(("asn_inventory.cymru_bulk_min".into(), "1000".into()));
    let nodes = Nodes::with(&conf);
    // Off on the workers is off there, and no reason for rows to be skipped.
    nodes.0[1].set("asn_inventory.cymru", "off");
    nodes.sql("SELECT asn_inventory_distribute()");
    events(&nodes);
    for node in &nodes.0 {
        // One in each /24: a question each.
        node.sql(DB, "INSERT INTO e SELECT '45.1.0.1'::inet + 256 * g, g FROM generate_series(1, 40) g");
    }
    let stands = "SELECT cymru_status || ' ' || coalesce(cymru_detail, '') || count(*) || count(asn_number)
                  FROM ip_inventory GROUP BY cymru_status, cymru_detail ORDER BY 1";
    wait_for("answers", || nodes.first().lines(DB, stands), |found| *found == ["found 4040"]);
    nodes.first().wait_value(DB, "SELECT sum(observation_count) FROM ip_inventory", "120");
    let asked: std::collections::HashMap<String, u64> =
        (1..=40).map(|g| format!("45.1.{g}.1")).map(|ip| (ip.clone(), fakes.times(Service::Dns, &ip))).collect();
    assert!(asked.values().all(|times| *times == 1), "{asked:?}");
    // Whoever is asked for it where nobody asks says what is there; a refresh is the coordinator's.
    assert_eq!(nodes.0[2].value(DB, "SELECT (enrich_ip('45.1.1.1', '5s')).asn_number"), "64501");
    assert_eq!(nodes.0[2].value(DB, "SELECT errors FROM refresh_range('45.1.1.1', 'cymru')"), "0");
    assert_eq!(fakes.times(Service::Dns, "45.1.1.1"), 2);
    // A node that is told to asks for itself.
    nodes.first().set("asn_inventory.network_node", "coordinator");
    nodes.sql("UPDATE ip_inventory SET cymru_status = 'pending', asn_number = NULL, asn_source = NULL WHERE ip_address = '45.1.2.1'; DELETE FROM cymru_prefix");
    nodes.first().wait_value(DB, "SELECT cymru_status FROM ip_inventory WHERE ip_address = '45.1.2.1'", "found");
}

#[test]
fn an_operator_of_the_caller_does_not_run_with_the_owners_rights() {
    if !needs::has("citus", "an_operator_of_the_caller_does_not_run_with_the_owners_rights") {
        return;
    }
    let nodes = Nodes::start();
    nodes.sql("SELECT asn_inventory_distribute()");
    nodes.sql(
        "CREATE SCHEMA trap;
         CREATE FUNCTION trap.lie(inet, inet) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
         CREATE OPERATOR trap.= (LEFTARG = inet, RIGHTARG = inet, FUNCTION = trap.lie)",
    );
    let asked = "SET search_path = trap, pg_catalog; SELECT (public.enrich_ip('8.8.8.8')).asn_number";
    assert_eq!(nodes.first().value(DB, asked), "15169");
}

#[test]
fn a_row_that_a_session_holds_on_another_node_keeps_no_other_from_being_absorbed() {
    if !needs::has("citus", "a_row_that_a_session_holds_on_another_node_keeps_no_other_from_being_absorbed") {
        return;
    }
    let nodes = Nodes::start();
    events(&nodes);
    nodes.sql("SELECT asn_inventory_distribute()");
    insert(nodes.first(), "34.64.0.0", 300);
    each_sees(&nodes, 300, 300);
    let mut holder = nodes.first().connect(DB);
    // Wherever it lies, two of the nodes are others.
    holder.batch_execute("BEGIN; UPDATE ip_inventory SET city = 'Held' WHERE ip_address = '34.64.0.7'").expect("held");
    for node in &nodes.0 {
        insert(node, "34.64.0.0", 310);
    }
    let others = "SELECT count(*) FROM ip_inventory WHERE ip_address <> '34.64.0.7' AND observation_count >= 3";
    nodes.first().wait_value(DB, others, "309");
    assert_eq!(
        nodes.first().value(DB, "SELECT observation_count FROM ip_inventory WHERE ip_address = '34.64.0.7'"),
        "1"
    );
    holder.batch_execute("COMMIT").expect("released");
    each_sees(&nodes, 310, 1230);
    // The limit on waits ends with the absorbing, on the other nodes too: what a session does next is its own.
    nodes.first().sql(DB, "CREATE TABLE local (src inet); SELECT attach_ip_source('local', '{src}')");
    let mut session = nodes.first().connect(DB);
    session.batch_execute("BEGIN; SET LOCAL lock_timeout = '7s'").expect("begun");
    let events = "INSERT INTO local SELECT inet '34.64.0.0' + g FROM generate_series(1, 310) g";
    let absorbed = session.batch_execute(&format!("{events}; SELECT absorb_observations()"));
    absorbed.expect("absorbed");
    let waits = "SELECT string_agg(DISTINCT w, ' ')
                 FROM (SELECT current_setting('lock_timeout') || left(city, 0) AS w FROM ip_inventory) s";
    let there: String = session.query_one(waits, &[]).expect("asked").get(0);
    let here: String = session.query_one("SELECT current_setting('lock_timeout')", &[]).expect("asked").get(0);
    assert_eq!((there.as_str(), here.as_str()), ("0", "7s"));
    session.batch_execute("COMMIT").expect("committed");
    each_sees(&nodes, 310, 1540);
    // In a block of code as well.
    let alike = format!("IF ({waits}) <> '0' THEN RAISE 'bounded'; END IF");
    let block = format!("DO $$ BEGIN {events}; PERFORM absorb_observations(); {alike}; END $$");
    session.batch_execute(&block).expect("absorbed");
    each_sees(&nodes, 310, 1850);
}

#[test]
fn answers_in_doubt_are_found_in_all_shards_whatever_sessions_hold() {
    if !needs::has("citus", "answers_in_doubt_are_found_in_all_shards_whatever_sessions_hold") {
        return;
    }
    let fakes = Fakes::start(&asn_inventory_tests::cluster::private_dir());
    fakes.rule("45.0.0.0/8", 16, 64500, "DE");
    let mut conf: Vec<(String, String)> = fakes.settings();
    conf.push(("asn_inventory.greynoise".into(), "off".into()));
    conf.push(("asn_inventory.cymru".into(), "on".into()));
    let nodes = Nodes::with(&conf);
    nodes.sql("SELECT asn_inventory_distribute()");
    let first = nodes.first();
    first.stop_worker(DB);
    // As version 0.1.0 left them. Four take a block, so that each shard has more than a piece.
    nodes.sql(
        "INSERT INTO ip_inventory (ip_address, observation_count, ip_class, maxmind_status, maxmind_ts, city, asn_number,
             asn_source, network, cymru_status, cymru_ts, greynoise_status)
         SELECT inet '45.1.0.1' + g, 1, 'public', 'not_found', now(),
             (SELECT string_agg(md5(g || '/' || n), '') FROM generate_series(1, 50) n), 1, 'cymru', '45.0.0.0/8', 'found',
             now() - interval '1 hour', 'skipped' FROM generate_series(0, 699) g;
         INSERT INTO cymru_prefix VALUES
             ('45.0.0.0/8', '45.0.0.0/8', '{1}', 'US', 'arin', NULL, now() - interval '1 hour', now() + interval '1 day')",
    );
    let mut holder = first.connect(DB);
    let held = "BEGIN; UPDATE ip_inventory SET city = 'Held' WHERE ip_address <= '45.1.0.2'";
    holder.batch_execute(held).expect("held");
    first.set("asn_inventory.databases", "");
    let renewed = "SELECT count(*) FROM ip_inventory WHERE asn_number = 64501 AND cymru_status = 'found'";
    first.wait_value(DB, renewed, "698");
    holder.batch_execute("COMMIT").expect("released");
    first.wait_value(DB, renewed, "700");
    first.wait_value(DB, "SELECT count(*) FROM cymru_prefix WHERE masklen(prefix) < 24", "0");
    let errors = "SELECT coalesce(string_agg(work || ': ' || last_error, '; '), '') FROM worker_errors()";
    first.wait_value(DB, errors, "");
}
