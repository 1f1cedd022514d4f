//! After a newer build is installed, the worker walks the inventory by itself: what changed is written, with history,
//! and nothing else is.

use crate::backfill_support::*;
use crate::lists_support::{default_dir, put};
use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;

const DB: &str = "postgres";
const ASN: &str = "GeoLite2-ASN";
/// Rows as they lie: one that was not written has the place and the writer that it had.
const PLACES: &str =
    "SELECT count(*), md5(string_agg(format('%s %s %s', ip_address, ctid, xmin), ' ' ORDER BY ip_address))
    FROM ip_inventory WHERE NOT ip_address <<= '8.8.8.0/24'";
const WALKED: &str = "SELECT count(*) FROM enrichment_run WHERE kind = 'walk' AND outcome = 'done'";

fn cluster() -> Cluster {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "50ms").start();
    fixtures::small_built_at(&cluster.maxmind_dir(), fixtures::days_ago(9));
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.wait_walked(DB);
    cluster
}

/// A newer ASN file, in which `network` belongs to `number` if anything changed at all.
fn install(cluster: &Cluster, days_ago: u64, change: Option<(&str, u32)>) {
    let build = fixtures::days_ago(days_ago);
    let mut file = fixtures::small_asn(build);
    if let Some((network, number)) = change {
        let record = json!({ "autonomous_system_number": number, "autonomous_system_organization": "Heir" });
        file = file.insert(network, record);
    }
    file.install(&cluster.maxmind_dir().join(format!("{ASN}.mmdb")));
    let built = format!("SELECT extract(epoch FROM build_time)::bigint FROM mmdb_editions() WHERE edition = '{ASN}'");
    cluster.wait_value(DB, &built, &build.to_string());
}

#[test]
fn rows_follow_a_newer_build_and_only_those_that_changed_are_written() {
    let cluster = cluster();
    bare(&cluster, DB, "8.8.8.0", 3);
    bare(&cluster, DB, "34.64.0.0", 20_000);
    cluster.sql(DB, "INSERT INTO ip_inventory (ip_address) VALUES ('10.0.0.1'), ('198.51.99.1'), ('2001:4860::1')");
    cluster.sql(DB, "SELECT backfill_inventory()");
    let places = cluster.lines(DB, PLACES);
    let before = cluster.value(DB, WALKED);

    install(&cluster, 2, Some(("8.8.8.0/24", 64500)));
    cluster.wait_value(DB, "SELECT asn_number FROM ip_inventory WHERE ip_address = '8.8.8.1'", "64500");
    wait_until("the walk to be written down", || cluster.value(DB, WALKED) != before);
    assert_eq!(cluster.lines(DB, PLACES), places, "who says the same is not written");
    assert_eq!(
        cluster.lines(DB, "SELECT ip_address, old_asn, new_asn, new_source FROM ip_asn_history ORDER BY 1"),
        ["8.8.8.0|15169|64500|maxmind", "8.8.8.1|15169|64500|maxmind", "8.8.8.2|15169|64500|maxmind"]
    );
    assert_eq!(
        cluster.lines(
            DB,
            "SELECT processed, enriched, cache_hits, maxmind_asn, errors FROM enrichment_run WHERE kind = 'walk'
             ORDER BY job_id DESC LIMIT 1"
        ),
        ["20006|3|20003|3|0"]
    );
    // They still count as fresh: they are not written because of their age.
    assert_eq!(cluster.value(DB, "SELECT processed FROM refresh_stale('maxmind', 100000)"), "0");
    assert_eq!(cluster.value(DB, "SELECT (enrich_ip('34.64.0.7', '30s')).asn_number"), "396982");
    assert_eq!(cluster.lines(DB, PLACES), places);

    // A build without changes writes nothing, and the walk survives a restart.
    install(&cluster, 1, None);
    cluster.wait_value(DB, "SELECT asn_number FROM ip_inventory WHERE ip_address = '8.8.8.1'", "15169");
    wait_until("the second walk", || {
        cluster.value(DB, WALKED).parse::<i64>().ok() > before.parse::<i64>().ok().map(|n| n + 1)
    });
    let runs = cluster.value(DB, WALKED);
    cluster.restart();
    cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    assert_eq!(cluster.value(DB, "SELECT processed FROM refresh_stale('maxmind', 100000)"), "0");
    assert_eq!(cluster.value(DB, WALKED), runs);
}

#[test]
fn the_first_files_answer_unanswered_rows_but_not_bare_ones() {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "50ms").start();
    cluster.sql(
        DB,
        "CREATE EXTENSION asn_inventory; CREATE TABLE event (ip inet); SELECT attach_ip_source('event', '{ip}')",
    );
    cluster.sql(DB, "INSERT INTO event VALUES ('8.8.8.8'); INSERT INTO ip_inventory (ip_address) VALUES ('8.8.8.9')");
    cluster.wait_value(DB, "SELECT maxmind_status FROM ip_inventory WHERE ip_address = '8.8.8.8'", "unavailable");
    fixtures::small(&cluster.maxmind_dir());
    cluster.wait_value(DB, "SELECT asn_number FROM ip_inventory WHERE ip_address = '8.8.8.8'", "15169");
    cluster.wait_value(DB, WALKED, "1");
    assert_eq!(cluster.value(DB, "SELECT maxmind_status FROM ip_inventory WHERE ip_address = '8.8.8.9'"), "pending");
}

#[test]
fn locked_rows_keep_no_others_back_are_written_when_unlocked_and_the_walk_ends_only_then() {
    let cluster = cluster();
    bare(&cluster, DB, "8.8.8.0", 250);
    cluster.sql(DB, "SELECT backfill_inventory()");
    let before = cluster.value(DB, WALKED);
    let mut client = cluster.connect(DB);
    // They come first, and are more than one transaction waits for.
    query(&mut client, "BEGIN; UPDATE ip_inventory SET region = 'Held' WHERE ip_address < '8.8.8.40'").expect("held");
    install(&cluster, 2, Some(("8.8.8.0/24", 64500)));
    cluster.wait_value(DB, "SELECT count(*) FROM ip_inventory WHERE asn_number = 64500", "210");
    assert_eq!(cluster.value(DB, "SELECT kind FROM enrichment_progress"), "walk");
    assert_eq!(cluster.value(DB, WALKED), before);
    query(&mut client, "COMMIT").expect("let go");
    cluster.wait_value(DB, "SELECT count(*) FROM ip_inventory WHERE asn_number = 64500", "250");
    wait_until("the walk to be written down", || cluster.value(DB, WALKED) != before);
}

/// There are more than one transaction tries.
#[test]
fn rows_that_cannot_be_written_keep_no_others_back_and_follow_once_they_can_be() {
    let cluster = cluster();
    bare(&cluster, DB, "34.64.0.0", 2500);
    cluster.sql(DB, "SELECT backfill_inventory()");
    // Those of the lowest addresses, which come first.
    cluster
        .sql(DB, "ALTER TABLE ip_inventory ADD CONSTRAINT refused CHECK (lists IS NULL OR ip_address >= '34.64.8.0')");
    let before = cluster.value(DB, WALKED);
    put(&default_dir(&cluster), "cloud.txt", "34.64.0.0/16\n");
    let followed = "SELECT count(*) FROM ip_inventory WHERE lists = '{cloud}'";
    cluster.wait_value(DB, followed, "452");
    wait_until("the end of the walk", || cluster.value(DB, WALKED) != before);
    assert_eq!(
        cluster.lines(
            DB,
            "SELECT processed, enriched, cache_hits, errors, detail FROM enrichment_run WHERE kind = 'walk'
             ORDER BY job_id DESC LIMIT 1"
        ),
        ["2500|452|0|2048|rows that cannot be written are tried again each hour, and at a reload"]
    );
    // They are shown, and nothing counts as compared.
    let last_error = "SELECT last_error FROM enrichment_status";
    let said = cluster.value(DB, last_error);
    assert!(
        said.starts_with("walking the inventory after a newer build: 34.64.")
            && said.contains(": new row for relation")
            && said.ends_with("violates check constraint \"refused\"; 2047 more cannot be either"),
        "{said}"
    );
    assert_eq!(cluster.value(DB, "SELECT count(*) FROM maxmind_walk"), "0");
    cluster.sql(DB, "UPDATE ip_inventory SET maxmind_ts = now() - interval '40 days' WHERE ip_address = '34.64.0.7'");
    assert_eq!(cluster.value(DB, "SELECT purge_expired_maxmind()"), "1");
    // Nobody waits for them.
    let refresh = "SET statement_timeout = '60s'; SELECT processed IS NOT NULL FROM refresh_stale('maxmind')";
    assert_eq!(Call::start(&cluster, DB, refresh).line(), "t");

    // One of them is only held now.
    cluster.sql(DB, "ALTER TABLE ip_inventory DROP CONSTRAINT refused");
    let mut holder = cluster.connect(DB);
    query(&mut holder, "BEGIN; UPDATE ip_inventory SET region = 'Held' WHERE ip_address = '34.64.0.9'").expect("held");
    cluster.reload();
    cluster.wait_value(DB, followed, "2499");
    cluster.wait_value(DB, last_error, "");
    assert_eq!(cluster.value(DB, "SELECT count(*) FROM maxmind_walk"), "0");
    query(&mut holder, "COMMIT").expect("let go");
    cluster.wait_value(DB, followed, "2500");
    cluster.wait_value(DB, "SELECT count(*) FROM maxmind_walk WHERE generations <> '{}'", "1");
    assert_eq!(cluster.value(DB, last_error), "");
}

/// A row's updates write it elsewhere: from blocks that the walk has yet to read, into such as it has read.
#[test]
fn a_row_that_moves_behind_the_walk_is_not_missed() {
    // Blocks of a piece.
    const PIECE: u32 = 512;
    let cluster = cluster();
    cluster.sql(DB, "ALTER TABLE ip_inventory SET (autovacuum_enabled = off)");
    let backfill = "SELECT backfill_inventory()";
    bare(&cluster, DB, "34.64.0.0", 40_000);
    bare(&cluster, DB, "8.8.8.1", 1);
    cluster.sql(DB, backfill);
    // The new versions are behind the replaced ones, where there is space from now on.
    cluster.sql(DB, "VACUUM ip_inventory");
    bare(&cluster, DB, "8.8.8.0", 1);
    cluster.sql(DB, backfill);
    let block = |ip: &str| {
        let sql = format!("SELECT (ctid::text::point)[0]::int FROM ip_inventory WHERE ip_address = '{ip}'");
        cluster.value(DB, &sql).parse::<u32>().expect("a block")
    };
    assert!(block("8.8.8.0") < PIECE && block("8.8.8.1") >= PIECE, "{}, {}", block("8.8.8.0"), block("8.8.8.1"));
    let before = cluster.value(DB, WALKED);

    // The walk is held in its first piece, in which it does not see new rows there.
    let gate = Gate::shut(&cluster, DB, "NEW.ip_address = '8.8.8.0'");
    install(&cluster, 2, Some(("8.8.8.0/24", 64500)));
    Gate::wait_for(&cluster, DB, WORKER);
    wait_until("the row to be where the walk was", || {
        cluster
            .sql(DB, "UPDATE ip_inventory SET observation_count = observation_count + 1 WHERE ip_address = '8.8.8.1'");
        block("8.8.8.1") < PIECE
    });
    gate.open();
    wait_until("the walk to be written down", || cluster.value(DB, WALKED) != before);
    let said = "SELECT ip_address, asn_number FROM ip_inventory WHERE ip_address <<= '8.8.8.0/24' ORDER BY 1";
    assert_eq!(cluster.lines(DB, said), ["8.8.8.0|64500", "8.8.8.1|64500"]);
}

/// Holds every walk at its first write, for as long as the session that this returns lives.
fn hold_walks_up(cluster: &Cluster) -> postgres::Client {
    cluster.hold_up(DB, "AFTER UPDATE", "ip_inventory", "FOR EACH STATEMENT")
}

#[test]
fn rows_that_a_rewrite_of_the_table_moves_during_a_walk_are_compared() {
    let cluster = cluster();
    // Few rows and many blocks, so that a walk takes several pieces; the last addresses lie first.
    cluster.sql(
        DB,
        "ALTER TABLE ip_inventory SET (fillfactor = 10);
         INSERT INTO ip_inventory (ip_address) SELECT '8.8.0.0'::inet + g FROM generate_series(12000, 1, -1) g",
    );
    cluster.sql(DB, "SELECT backfill_inventory()");
    cluster.sql(
        DB,
        "CREATE TABLE moved AS TABLE ip_inventory; TRUNCATE ip_inventory; INSERT INTO ip_inventory SELECT * FROM moved",
    );
    assert_eq!(cluster.value(DB, "SELECT pg_relation_size('ip_inventory') / 8192 > 1500"), "t");
    // The walk is held at its first write, and goes on only when somebody waits to rewrite the table.
    let holder = hold_walks_up(&cluster);
    let before = cluster.value(DB, WALKED);
    install(&cluster, 2, Some(("8.8.0.0/16", 64500)));
    Gate::wait_for(&cluster, DB, WORKER);
    let mut rewriter = cluster.connect(DB);
    let rewriting = std::thread::spawn(move || {
        query(&mut rewriter, "CLUSTER ip_inventory USING ip_inventory_pkey").expect("rewritten");
    });
    cluster.wait_value(DB, LOCKERS, "1");
    drop(holder);
    rewriting.join().expect("rewritten");
    wait_until("the walk to be written down", || cluster.value(DB, WALKED) != before);
    let wrong = "SELECT count(*) FROM ip_inventory i, lookup_ip(i.ip_address) l WHERE i.asn_number IS DISTINCT FROM l.asn_number";
    assert_eq!(cluster.value(DB, wrong), "0");
    assert_eq!(cluster.value(DB, "SELECT count(*) > 11000 FROM ip_inventory WHERE asn_number = 64500"), "t");
}

#[test]
fn a_table_that_shrinks_during_a_walk_does_not_stop_it() {
    let cluster = cluster();
    cluster.sql(
        DB,
        "ALTER TABLE ip_inventory SET (fillfactor = 10);
         INSERT INTO ip_inventory (ip_address) SELECT '8.8.0.0'::inet + g FROM generate_series(1, 12000) g",
    );
    cluster.sql(DB, "SELECT backfill_inventory()");
    let holder = hold_walks_up(&cluster);
    let before = cluster.value(DB, WALKED);
    install(&cluster, 2, Some(("8.8.0.0/16", 64500)));
    Gate::wait_for(&cluster, DB, WORKER);
    let mut shrinker = cluster.connect(DB);
    let shrinking = std::thread::spawn(move || {
        let all = "BEGIN; LOCK TABLE ip_inventory; ALTER TABLE ip_inventory DISABLE TRIGGER hold_up;
                   DELETE FROM ip_inventory WHERE ip_address > '8.8.0.100'; CLUSTER ip_inventory USING ip_inventory_pkey; COMMIT";
        shrinker.batch_execute(all).expect("shrunk");
    });
    cluster.wait_value(DB, LOCKERS, "1");
    drop(holder);
    shrinking.join().expect("shrunk");
    wait_until("the walk to be written down", || cluster.value(DB, WALKED) != before);
    assert_eq!(cluster.value(DB, "SELECT count(*) FROM ip_inventory WHERE asn_number = 64500"), "100");
    assert_eq!(cluster.value(DB, "SELECT count(*) FROM worker_errors() WHERE last_error IS NOT NULL"), "0");
}
