//! The number of waiting addresses is right for every size and content of the queue, also right after a load, or the
//! view has the margin of error; and its time does not grow with the queue.

use crate::network_support::DB;
use crate::promtool_support::Page;
use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;
use std::time::Instant;

/// An idle worker, so that the queue stays; vacuum does not run either.
fn cluster() -> Cluster {
    let cluster = Cluster::builder().conf("asn_inventory.enabled", "off").conf("autovacuum", "off").start();
    cluster.sql(
        DB,
        "CREATE EXTENSION asn_inventory; CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')",
    );
    cluster
}

/// The view's number, and the real one.
fn told(cluster: &Cluster) -> (i64, i64, i64) {
    let line = cluster
        .lines(DB, "SELECT queued, queued_off_by, (SELECT sum(addresses) FROM ip_observation) FROM enrichment_status");
    let numbers: Vec<i64> = line[0].split('|').map(|number| number.parse().unwrap_or(0)).collect();
    (numbers[0], numbers[1], numbers[2])
}

/// Within two percent, and the margin of error must be small, too.
fn assert_right(cluster: &Cluster, what: &str) {
    let (queued, off_by, exact) = told(cluster);
    assert!((queued - exact).abs() * 50 <= exact, "{what}: {queued} ± {off_by} is no estimate of {exact}");
    assert!(off_by * 10 <= exact, "{what}: {queued} ± {off_by} says nothing of {exact}");
    assert_eq!(told(cluster), (queued, off_by, exact), "{what}: two looks, two numbers");
}

/// Rows as single statements leave them.
fn plain(cluster: &Cluster, count: u32) {
    cluster.sql(
        DB,
        &format!(
            "INSERT INTO ip_observation (address, seen, first_seen, last_seen)
             SELECT '12.0.0.0'::inet + g, 1, now(), now() FROM generate_series(1, {count}) g"
        ),
    );
}

/// Rows as large statements leave them: packed by the hundred.
fn packed(cluster: &Cluster, count: u32) {
    let mut loader = cluster.connect(DB);
    let sql = format!("INSERT INTO events SELECT '11.0.0.0'::inet + g FROM generate_series(1, {count}) g");
    query(&mut loader, &format!("SET asn_inventory.enabled = on; {sql}")).expect("rows");
}

#[test]
fn the_length_is_right_at_every_size() {
    let cluster = cluster();
    assert_eq!(told(&cluster), (0, 0, 0));
    for count in [1, 100, 20_000] {
        cluster.sql(DB, "TRUNCATE ip_observation");
        plain(&cluster, count);
        assert_eq!(told(&cluster), (count.into(), 0, count.into()), "it is counted while it is short");
    }
    for count in [30_000, 100_000, 500_000] {
        cluster.sql(DB, "TRUNCATE ip_observation");
        plain(&cluster, count);
        assert_right(&cluster, &format!("{count} rows"));
    }
    // It takes no longer the more there is: not even a look at a fiftieth of all rows.
    let shortest = |sql: &str| {
        let time = |_| {
            let started = Instant::now();
            cluster.sql(DB, sql);
            started.elapsed()
        };
        (0..10).map(time).min().expect("ten")
    };
    let look = shortest("SELECT addresses FROM _queue_length()");
    let all = shortest("SELECT count(packed) FROM ip_observation");
    assert!(look < all, "{look:?} for a look, {all:?} for all rows");
}

#[test]
fn the_length_is_right_with_half_absorbed_and_with_mixed_rows() {
    let cluster = cluster();
    plain(&cluster, 200_000);
    // The first half is gone, and its rows are dead: the file is as long as before.
    cluster.sql(DB, "DELETE FROM ip_observation WHERE address < '12.1.134.160'");
    assert_right(&cluster, "the second half");
    cluster.sql(DB, "VACUUM ip_observation");
    assert_right(&cluster, "the second half, vacuumed");
    // New rows go where there is room.
    plain(&cluster, 50_000);
    assert_right(&cluster, "room filled again");
    cluster.sql(DB, "DELETE FROM ip_observation");
    assert_eq!(told(&cluster).0, 0, "all of them dead");

    // Packed rows beside single ones: a page of the first holds more than ten times as much.
    cluster.sql(DB, "TRUNCATE ip_observation");
    packed(&cluster, 60_000);
    plain(&cluster, 60_000);
    let (queued, off_by, exact) = told(&cluster);
    assert_eq!(exact, 120_000);
    assert!((queued - exact).abs() <= off_by, "{queued} ± {off_by} is no estimate of {exact}");
    assert!((90_000..=150_000).contains(&queued), "{queued} ± {off_by}");
    // Loads of both kinds, one after the other.
    cluster.sql(DB, "TRUNCATE ip_observation");
    for _ in 0..20 {
        plain(&cluster, 10_000);
        packed(&cluster, 50_000);
    }
    let (queued, off_by, exact) = told(&cluster);
    assert_eq!(exact, 1_200_000);
    assert!((queued - exact).abs() <= off_by, "{queued} ± {off_by} is no estimate of {exact}");
    assert!(off_by < exact / 2, "{queued} ± {off_by} says nothing of {exact}");
}

#[test]
fn few_rows_behind_many_absorbed_ones_are_seen_and_an_estimate_never_says_that_none_waits() {
    let cluster = cluster();
    let waits = || cluster.lines(DB, "SELECT queued, queued_off_by > 0, queue_age IS NOT NULL FROM enrichment_status");
    let has_age = || Page::of(&cluster, DB).value("queue_age_seconds", &[]).is_some();
    plain(&cluster, 100_000);
    // Absorbed, and not vacuumed: what comes next stands at the end of the file.
    cluster.sql(DB, "DELETE FROM ip_observation");
    let mut loader = cluster.connect(DB);
    let sql = "SET asn_inventory.enabled = on; INSERT INTO events VALUES ('8.8.8.8'), ('8.8.4.4'), ('1.1.1.1')";
    query(&mut loader, sql).expect("rows");
    assert_eq!(waits(), ["3|t|t"]);
    // They keep VACUUM from truncating the file.
    cluster.sql(DB, "VACUUM ip_observation");
    assert_eq!(waits(), ["3|t|t"]);
    assert!(has_age());
    // None is seen, but they were not counted.
    cluster.sql(DB, "DELETE FROM ip_observation");
    assert_eq!(waits(), ["0|t|t"]);
    assert!(has_age());
    // Counted, and empty.
    cluster.sql(DB, "TRUNCATE ip_observation");
    assert_eq!(waits(), ["0|f|f"]);
    assert!(!has_age());
}
