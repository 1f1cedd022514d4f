//! A file's networks through SQL, a row at a time: in constant memory, and cheap after an early stop.

use asn_inventory_tests::prelude::*;

const DB: &str = "postgres";

/// A file of so many /24s from 11.0.0.0 on.
fn large(cluster: &Cluster, networks: u32) {
    let mut writer = MmdbWriter::new("Large-Thing", 1);
    for index in 0..networks {
        let network = format!("{}.{}.{}.0/24", 11 + (index >> 16), index >> 8 & 255, index & 255);
        writer.add(&network, json!({ "number": index, "text": "some words that take a little room" }));
    }
    let file = cluster.maxmind_dir().join("Large-Thing.mmdb");
    writer.write(&file).expect("written");
}

/// A cluster with that file, and the function that gives rows one by one under the name `by_row`.
fn with_large(networks: u32) -> Cluster {
    let cluster = Cluster::builder().conf("asn_inventory.maxmind_editions", "Large-Thing=other").start();
    large(&cluster, networks);
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.sql(
        DB,
        "CREATE FUNCTION by_row(edition text, within inet DEFAULT NULL, OUT network cidr, OUT record jsonb)
             RETURNS SETOF record LANGUAGE c STABLE AS '$libdir/asn_inventory', 'mmdb_network_rows';
         CREATE FUNCTION networks(edition text, within inet DEFAULT NULL)
             RETURNS TABLE (network cidr, record jsonb) LANGUAGE sql STABLE ROWS 1000000
             AS $$ SELECT (n.r).network, (n.r).record FROM (SELECT by_row($1, $2) AS r) n $$",
    );
    wait_until("the large file is installed", || {
        cluster.value(DB, "SELECT count(*) FROM mmdb_editions() WHERE generation IS NOT NULL") == "1"
    });
    cluster
}

#[test]
fn networks_take_the_memory_of_one_row() {
    let cluster = with_large(200_000);
    let mut client = cluster.connect(DB);
    let used = "SELECT sum(used_bytes)::bigint FROM pg_backend_memory_contexts";
    for from in ["mmdb_networks('Large-Thing')", "by_row('Large-Thing')", "networks('Large-Thing')"] {
        // Measured in the middle of it, while its memory is still there.
        let peak = format!(
            "SELECT max(used), count(*) FROM (
                 SELECT CASE WHEN (n.record ->> 'number')::int % 50000 = 49999 THEN ({used} WHERE n.record IS NOT NULL) END AS used
                 FROM {from} n) s"
        );
        let row = client.query_one(&peak, &[]).expect("an answer");
        let (used, count): (i64, i64) = (row.get(0), row.get(1));
        assert_eq!(count, 200_000);
        assert!(used < 30_000_000, "{from}: {used} bytes");
    }
}

#[test]
fn an_early_stop_costs_no_more() {
    let cluster = with_large(200_000);
    let explain = |from: &str| {
        let plan = cluster.lines(DB, &format!("EXPLAIN (ANALYZE, TIMING off, COSTS off) SELECT * FROM {from} LIMIT 3"));
        plan.join("\n")
    };
    let plan = explain("networks('Large-Thing')");
    assert!(plan.contains("ProjectSet (actual rows=3") || plan.contains("ProjectSet (actual rows=3.00"), "{plan}");
    assert!(!plan.contains("Function Scan"), "{plan}");
    assert_eq!(
        cluster.lines(DB, "SELECT network, record -> 'number' FROM networks('Large-Thing', '11.0.0.0/8') LIMIT 2"),
        ["11.0.0.0/24|0", "11.0.1.0/24|1"]
    );
    assert_eq!(cluster.lines(DB, "SELECT by_row(NULL), by_row('Large-Thing', NULL) LIMIT 0"), [""; 0]);
    assert_eq!(cluster.value(DB, "SELECT count(*) FROM networks(NULL)"), "0");
    let refused = cluster.fails(DB, "SELECT * FROM networks('Not-There')");
    assert_eq!(refused.code, "22023", "{refused:?}");
}

#[test]
fn an_open_cursor_keeps_its_file() {
    let cluster = with_large(3000);
    let mut client = cluster.connect(DB);
    let mut transaction = client.transaction().expect("a transaction");
    let open = "DECLARE c CURSOR FOR SELECT (record ->> 'number')::int FROM networks('Large-Thing')";
    transaction.batch_execute(open).expect("a cursor");
    let mut fetched: Vec<i32> = Vec::new();
    let mut fetch = |transaction: &mut postgres::Transaction<'_>, count: u32| {
        let rows = transaction.query(&format!("FETCH {count} FROM c"), &[]).expect("rows");
        fetched.extend(rows.iter().map(|row| row.get::<_, i32>(0)));
        rows.len()
    };
    assert_eq!(fetch(&mut transaction, 10), 10);
    let generation = || cluster.value(DB, "SELECT generation FROM mmdb_editions()");
    let first = generation();
    for number in [1000, 900] {
        // Twice: the one before is kept, the one before that is removed.
        let before = generation();
        large(&cluster, number);
        wait_until("a new file answers", || {
            let _ = cluster.try_sql(DB, "SELECT import_mmdb_files(force => true)");
            generation() != before
        });
    }
    assert_ne!(generation(), first);
    while fetch(&mut transaction, 500) > 0 {}
    transaction.commit().expect("committed");
    assert_eq!(fetched, (0..3000).collect::<Vec<i32>>());
    // Left in the middle by an error, it leaves nothing open.
    let mut client = cluster.connect(DB);
    let _ = client
        .query("SELECT 1 / (899 - (record ->> 'number')::int) FROM networks('Large-Thing')", &[])
        .expect_err("division");
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
    large(&cluster, 800);
    wait_until("nobody holds what was left", || {
        let _ = cluster.try_sql(DB, "SELECT import_mmdb_files(force => true)");
        client.query_one("SELECT mmdb_record('Large-Thing', '11.0.0.1') IS NULL", &[]).expect("an answer");
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let current = generation();
        maps.lines().filter(|line| line.contains("Large-Thing-")).all(|line| line.contains(&current))
    });
}
