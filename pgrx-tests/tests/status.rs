//! `enrichment_status`: figures that are right after changes by all writers, without a read of the whole inventory.

use crate::network_support::*;
use asn_inventory_tests::prelude::*;

fn cluster() -> Cluster {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "50ms").start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql(
        DB,
        "CREATE EXTENSION asn_inventory; CREATE TABLE event (ip inet); SELECT attach_ip_source('event', '{ip}')",
    );
    cluster.wait_walked(DB);
    cluster
}

fn number(cluster: &Cluster, column: &str) -> u64 {
    cluster.value(DB, &format!("SELECT {column} FROM enrichment_status")).parse().expect("a number")
}

#[test]
fn the_worker_counts_the_inventory() {
    let cluster = cluster();
    let counts =
        "SELECT addresses, enriched, missing_asn, coverage_percent, counted_at IS NOT NULL FROM enrichment_status";
    cluster.wait_value(DB, "SELECT counted_at IS NOT NULL FROM enrichment_status", "t");
    assert_eq!(cluster.lines(DB, counts), ["0|0|0||t"]);
    // An ASN; a place and no ASN; nothing at all; two that no source can know.
    cluster.sql(
        DB,
        "INSERT INTO event VALUES ('8.8.8.8'), ('81.2.69.142'), ('45.1.0.1'), ('10.0.0.1'), ('127.0.0.1'), ('8.8.8.8')",
    );
    cluster.wait_value(DB, "SELECT addresses FROM enrichment_status", "5");
    let exact = "SELECT count(*), count(*) FILTER (WHERE asn_number IS NOT NULL OR country_code IS NOT NULL),
            count(*) FILTER (WHERE ip_class = 'public' AND asn_number IS NULL),
            trunc(100.0 * count(*) FILTER (WHERE asn_number IS NOT NULL OR country_code IS NOT NULL)
                / count(*) FILTER (WHERE ip_class = 'public'), 1), true
        FROM ip_inventory";
    let found = cluster.lines(DB, exact);
    assert_eq!(cluster.lines(DB, counts), found);
    assert!(found[0].starts_with("5|2|") && found[0].ends_with("|66.6|t"), "{found:?}");
    // The rest of the public ones is exactly the missing number.
    let asn = "SELECT missing_asn, asn_coverage_percent FROM enrichment_status";
    assert_eq!(cluster.lines(DB, asn), ["2|33.3"]);
    let rest = "SELECT public_addresses, observations, maxmind_answered, cymru_answered, greynoise_answered, scanners FROM inventory_count";
    assert_eq!(cluster.lines(DB, rest), ["3|6|5|0|0|0"]);

    // Rows removed by hand are counted with the next change.
    cluster.sql(DB, "DELETE FROM ip_inventory WHERE ip_class <> 'public'; INSERT INTO event VALUES ('8.8.8.8')");
    cluster.wait_value(DB, "SELECT addresses || '|' || observations FROM inventory_count", "3|5");
    assert_eq!(cluster.value(DB, "SELECT count(*) FROM inventory_count"), "1");
}

#[test]
fn coverage_is_100_only_if_nothing_is_missing() {
    let cluster = cluster();
    cluster.sql(
        DB,
        "INSERT INTO ip_inventory (ip_address, ip_class, asn_number, country_code, maxmind_status, maxmind_ts)
         SELECT '12.0.0.0'::inet + n, 'public', CASE WHEN n > 1 THEN 64500 END, 'DE', 'found', now() FROM generate_series(1, 5000) n",
    );
    let shown = "SELECT addresses, missing_asn, coverage_percent, asn_coverage_percent FROM enrichment_status";
    let lines = |wanted: &str| wait_until(wanted, || cluster.lines(DB, shown) == [wanted]);
    // One of five thousand is less than a tenth of a percent, and all the same not all.
    lines("5000|1|100.0|99.9");
    cluster.sql(DB, "UPDATE ip_inventory SET country_code = NULL WHERE asn_number IS NULL");
    lines("5000|1|99.9|99.9");
    cluster.sql(DB, "UPDATE ip_inventory SET asn_number = 64501 WHERE asn_number IS NULL");
    lines("5000|0|100.0|100.0");
}

#[test]
fn rows_absorbed_before_a_restart_are_counted_after_it() {
    let cluster = cluster();
    cluster.wait_value(DB, "SELECT addresses FROM enrichment_status", "0");
    // A session blocks the write of the count, until the server stops.
    let mut holder = cluster.connect(DB);
    holder.batch_execute("BEGIN; LOCK TABLE inventory_count IN SHARE MODE").expect("a lock");
    cluster.sql(DB, "INSERT INTO event VALUES ('8.8.8.8'), ('81.2.69.142')");
    cluster.wait_value(DB, "SELECT count(*) FROM ip_inventory", "2");
    assert_eq!(cluster.value(DB, "SELECT addresses FROM enrichment_status"), "0");
    cluster.restart();
    cluster.wait_value(DB, "SELECT addresses FROM enrichment_status", "2");
    // Nothing has changed since: a start alone does not read the whole inventory.
    let told = "SELECT (SELECT changes FROM inventory_count) = pg_stat_get_tuples_inserted(t) + pg_stat_get_tuples_updated(t)
             + pg_stat_get_tuples_deleted(t) + pg_relation_filenode(t)::bigint FROM (SELECT 'ip_inventory'::regclass AS t) i";
    cluster.wait_value(DB, told, "t");
    let at = cluster.value(DB, "SELECT counted_at FROM enrichment_status");
    cluster.restart();
    cluster.wait_value(DB, "SELECT last_absorb_at IS NOT NULL FROM enrichment_status", "t");
    cluster.sql("postgres", "CREATE DATABASE other");
    cluster.sql("other", "CREATE EXTENSION asn_inventory");
    cluster.wait_value("other", "SELECT counted_at IS NOT NULL FROM enrichment_status", "t");
    assert_eq!(cluster.value(DB, "SELECT counted_at FROM enrichment_status"), at);
    // After a crash the changes are unknown: it is counted once.
    let mut holder = cluster.connect(DB);
    holder.batch_execute("BEGIN; LOCK TABLE inventory_count IN SHARE MODE").expect("a lock");
    cluster.sql(DB, "INSERT INTO event VALUES ('1.1.1.1')");
    cluster.wait_value(DB, "SELECT count(*) FROM ip_inventory", "3");
    cluster.stop_immediate();
    cluster.start();
    cluster.wait_value(DB, "SELECT count(*) FROM ip_inventory", "3");
    cluster.wait_value(DB, "SELECT addresses FROM enrichment_status", "3");
}

#[test]
fn look_ups_of_many_sessions_are_all_counted() {
    let cluster = cluster();
    let before = number(&cluster, "maxmind_lookups");
    std::thread::scope(|scope| {
        for session in 0..8 {
            let mut client = cluster.connect(DB);
            scope.spawn(move || {
                for round in 0..5 {
                    let end = if (session + round) % 2 == 0 { "COMMIT" } else { "ROLLBACK" };
                    client
                        .batch_execute(&format!(
                            "BEGIN; SELECT count(lookup_ip('8.8.8.0'::inet + (g % 256)::int)) FROM generate_series(1, 333) g;
                             SELECT count(ip_asn('8.8.8.8')) FROM generate_series(1, 7); {end}"
                        ))
                        .expect("look-ups");
                }
            });
        }
    });
    assert_eq!(number(&cluster, "maxmind_lookups") - before, 8 * 5 * (333 + 7));
    let ordered = "SELECT maxmind_p50_ms > 0 AND maxmind_p50_ms <= maxmind_p95_ms AND maxmind_p95_ms <= maxmind_p99_ms FROM enrichment_status";
    assert_eq!(cluster.value(DB, ordered), "t");
    // A parallel worker counts for itself.
    let before = number(&cluster, "maxmind_lookups");
    cluster
        .sql(DB, "CREATE TABLE many AS SELECT '8.8.8.0'::inet + (g % 256)::int AS ip FROM generate_series(1, 20000) g");
    let mut session = cluster.connect(DB);
    session
        .batch_execute(
            "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
             SET max_parallel_workers_per_gather = 2",
        )
        .expect("settings");
    session.query_one("SELECT count(ip_asn(ip)) FROM many", &[]).expect("a count");
    assert_eq!(number(&cluster, "maxmind_lookups") - before, 20_000);
}

#[test]
fn an_answer_from_the_inventory_is_a_cache_hit() {
    let world = World::options().conf("cymru", "off").conf("greynoise", "off").start();
    let counts = "SELECT cache_hits, cache_misses, cache_hit_percent FROM enrichment_status";
    assert_eq!(world.lines(counts), ["0|0|"]);
    world.sql("SELECT enrich_ip('8.8.8.8')");
    assert_eq!(world.lines(counts), ["0|1|0.0"]);
    world.wait("SELECT count(*) FROM ip_inventory", "1");
    for _ in 0..3 {
        world.sql("SELECT enrich_ip('8.8.8.8')");
    }
    assert_eq!(world.lines(counts), ["3|1|75.0"]);
}

#[test]
fn waiting_addresses_are_counted_and_have_an_age() {
    let cluster = cluster();
    let waits = "SELECT queued, queue_age IS NOT NULL FROM enrichment_status";
    cluster.wait_value(DB, "SELECT queued FROM enrichment_status", "0");
    assert_eq!(cluster.lines(DB, waits), ["0|f"]);
    // The worker rests; sessions observe all the same.
    cluster.set("asn_inventory.enabled", "off");
    let mut loader = cluster.connect(DB);
    loader.batch_execute("SET asn_inventory.enabled = on; INSERT INTO event VALUES ('8.8.8.8')").expect("a row");
    assert_eq!(cluster.lines(DB, waits), ["1|t"]);
    let age = || {
        cluster.value(DB, "SELECT extract(epoch FROM queue_age) FROM enrichment_status").parse::<f64>().expect("an age")
    };
    let first = age();
    loader.batch_execute("INSERT INTO event VALUES ('8.8.4.4')").expect("a row");
    wait_for("a growing age", age, |later| *later >= first + 0.5);
    // Packed by the hundred, and exact.
    loader
        .batch_execute("INSERT INTO event SELECT '11.0.0.0'::inet + g FROM generate_series(1, 60000) g")
        .expect("rows");
    assert_eq!(number(&cluster, "queued"), 60_002);
    // More than is worth counting: rows as small statements leave them.
    cluster.sql(
        DB,
        "INSERT INTO ip_observation (address, seen, first_seen, last_seen)
         SELECT '12.0.0.0'::inet + g, 1, now(), now() FROM generate_series(1, 60000) g",
    );
    let queued = number(&cluster, "queued");
    assert!(number(&cluster, "queued_off_by") > 0, "it is no count");
    assert!((90_000..=150_000).contains(&queued), "{queued} is no estimate of 120,002");
    let in_file = "SELECT pg_relation_size('ip_observation') > 2097152";
    assert_eq!(cluster.value(DB, in_file), "t");

    cluster.set("asn_inventory.enabled", "on");
    cluster.wait_value(DB, "SELECT count(*) FROM ip_observation", "0");
    wait_for("an empty queue", || cluster.lines(DB, waits), |lines| lines == &["0|f"]);
}

#[test]
fn each_network_source_has_its_own_figures() {
    let world = World::options().conf("greynoise_quota", "100").start();
    world.attach_events();
    world.fakes.announce("45.0.0.0/8", &[64500], "FR");
    world.fakes.name(64500, "EXAMPLE");
    world.ingest(&["45.1.0.1"]);
    world.wait_row("45.1.0.1", "cymru_status, greynoise_status", "found|not_found");
    let requests = "SELECT cymru_requests, cymru_errors, greynoise_requests, greynoise_errors, greynoise_quota_left,
            greynoise_quota_reset_at > now() FROM enrichment_status";
    // The origin and the name of its AS; one verdict.
    assert_eq!(world.lines(requests), ["2|0|1|0|99|t"]);
    let timed = "SELECT cymru_p50_ms > 0, cymru_p99_ms >= cymru_p50_ms, greynoise_p50_ms > 0, greynoise_p99_ms >= greynoise_p50_ms FROM enrichment_status";
    assert_eq!(world.lines(timed), ["t|t|t|t"]);
    assert_eq!(
        world.lines("SELECT source, timed FROM _source_latency() WHERE source <> 'maxmind'"),
        ["cymru|2", "greynoise|1"]
    );
    let ages = world.value("SELECT mmdb_ages FROM enrichment_status");
    assert!(ages.starts_with("GeoLite2-ASN ") && ages.contains(", GeoLite2-City "), "{ages}");
}
