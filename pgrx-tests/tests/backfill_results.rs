//! The results of a backfill: every row enriched, other data unchanged, and consistent numbers.

use crate::backfill_support::*;
use asn_inventory_tests::prelude::*;
use std::sync::OnceLock;

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(cluster_of_many)
}

fn backfill(arguments: &str) -> String {
    format!("SELECT {NUMBERS} FROM backfill_inventory({arguments})")
}

#[test]
fn every_bare_row_is_enriched_and_the_numbers_are_exact() {
    let (cluster, db) = (cluster(), database(cluster(), "exact"));
    bare(cluster, db, "8.8.8.0", 256); // with an ASN
    bare(cluster, db, "218.92.0.1", 1000); // a place and no ASN
    bare(cluster, db, "179.43.140.0", 30); // an ASN and no place
    bare(cluster, db, "198.51.99.0", 50); // in no file
    bare(cluster, db, "192.168.0.0", 20); // special-purpose
    bare(cluster, db, "2001:4860:4860::8888", 10);
    bare(cluster, db, "fe80::1", 5);
    bare(cluster, db, "2002:808:800::", 4);
    let counts = "SELECT sum(observation_count), min(first_seen_at), max(first_seen_at), count(*) FROM ip_inventory";
    let before = cluster.lines(db, counts);
    let started = cluster.value(db, "SELECT clock_timestamp()");

    let job = cluster.lines(db, "SELECT * FROM backfill_inventory()").join("");
    let fields: Vec<&str> = job.split('|').collect();
    // job_id, processed, enriched, cache_hits, maxmind_asn, cymru_asn, greynoise_scanners, not_found, skipped, errors
    assert_eq!(fields[..10], ["1", "1375", "1300", "0", "300", "0", "0", "50", "25", "0"], "{job}");
    assert!(fields[10] > "00:00:00" && fields[11].parse::<f64>().is_ok_and(|rate| rate > 1.0), "{job}");

    assert_eq!(cluster.lines(db, WRONG), [""; 0]);
    assert_eq!(cluster.lines(db, counts), before);
    let statuses = "SELECT maxmind_status, cymru_status, greynoise_status, count(*) FROM ip_inventory
                    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";
    assert_eq!(
        cluster.lines(db, statuses),
        [
            "found|skipped|pending|1290",
            "found|skipped|skipped|10",
            "not_found|skipped|pending|50",
            "skipped|skipped|skipped|25",
        ]
    );
    let run = format!(
        "SELECT job_id, kind, requested_by, outcome, detail, {NUMBERS}, started_at BETWEEN '{started}' AND ended_at,
                ended_at <= clock_timestamp(), parameters = '{{\"batch_size\": 1000, \"commit_interval\": 5000,
                    \"max_ips\": null, \"workers\": 4, \"sources\": [\"maxmind\"]}}' FROM enrichment_run"
    );
    assert_eq!(cluster.lines(db, &run), ["1|backfill|postgres|done||1375|1300|0|300|0|0|50|25|0|t|t|t"]);

    // A second run finds nothing to do and touches nothing.
    let places = "SELECT md5(string_agg(ctid::text || xmin || maxmind_ts, ',' ORDER BY ctid)) FROM ip_inventory";
    let untouched = cluster.value(db, places);
    assert_eq!(cluster.lines(db, &backfill("")), ["0|0|0|0|0|0|0|0|0"]);
    assert_eq!(cluster.value(db, places), untouched);
    assert_eq!(cluster.lines(db, "SELECT job_id, outcome FROM enrichment_run ORDER BY 1"), ["1|done", "2|done"]);
}

#[test]
fn only_rows_without_an_answer_are_written() {
    let (cluster, db) = (cluster(), database(cluster(), "only_due"));
    bare(cluster, db, "8.8.8.0", 10);
    cluster.sql(db, "SELECT backfill_inventory()");
    cluster.sql(db, "UPDATE ip_inventory SET city = 'By hand', maxmind_ts = '2020-01-01Z'");
    bare(cluster, db, "81.2.69.142", 2);
    cluster.sql(db, "UPDATE ip_inventory SET maxmind_status = 'unavailable' WHERE ip_address = '81.2.69.143'");
    assert_eq!(cluster.lines(db, &backfill("")), ["2|2|0|0|0|0|0|0|0"]);
    assert_eq!(
        cluster.lines(
            db,
            "SELECT city, count(*), min(maxmind_ts) < '2020-01-02Z' FROM ip_inventory GROUP BY 1 ORDER BY 1"
        ),
        ["By hand|10|t", "London|2|f"]
    );
}

#[test]
fn answers_of_team_cymru_and_greynoise_stay() {
    let (cluster, db) = (cluster(), database(cluster(), "others_stay"));
    bare(cluster, db, "218.92.0.30", 1);
    cluster.sql(
        db,
        "UPDATE ip_inventory SET asn_number = 4134, asn_org = 'CHINANET', asn_source = 'cymru', cymru_status = 'found',
             cymru_ts = '2026-01-01Z', network = '218.92.0.0/17', greynoise_status = 'found', scanner_noise = true,
             scanner_ts = '2026-01-01Z'",
    );
    assert_eq!(cluster.lines(db, &backfill("")), ["1|1|0|0|0|0|0|0|0"]);
    let stayed =
        "SELECT asn_number, asn_org, asn_source, cymru_status, cymru_ts, network, greynoise_status, scanner_noise,
        scanner_ts, city, country_source, maxmind_status FROM ip_inventory";
    assert_eq!(
        cluster.lines(db, stayed),
        [
            "4134|CHINANET|cymru|found|2026-01-01 00:00:00+00|218.92.0.0/17|found|t|2026-01-01 00:00:00+00|Nanjing|maxmind|found"
        ]
    );
}

#[test]
fn max_ips_takes_the_most_observed() {
    let (cluster, db) = (cluster(), database(cluster(), "most_observed"));
    cluster.sql(
        db,
        "INSERT INTO ip_inventory (ip_address, first_seen_at, observation_count)
         SELECT '8.8.8.0'::inet + n, now(), n * 37 % 100 FROM generate_series(0, 99) AS n",
    );
    assert_eq!(cluster.lines(db, &backfill("max_ips => 7")), ["7|7|0|7|0|0|0|0|0"]);
    let enriched = "SELECT array_agg(observation_count ORDER BY observation_count DESC) FROM ip_inventory WHERE maxmind_ts IS NOT NULL";
    assert_eq!(cluster.value(db, enriched), "{99,98,97,96,95,94,93}");
    assert_eq!(
        cluster.lines(db, &backfill("max_ips => 3, batch_size => 1, commit_interval => 1")),
        ["3|3|0|3|0|0|0|0|0"]
    );
    assert_eq!(cluster.value(db, enriched), "{99,98,97,96,95,94,93,92,91,90}");
    assert_eq!(cluster.lines(db, &backfill("max_ips => 9000000000")), ["90|90|0|90|0|0|0|0|0"]);
    assert_eq!(cluster.value(db, DUE), "0");
    assert_eq!(
        cluster.lines(db, "SELECT parameters -> 'max_ips' FROM enrichment_run ORDER BY job_id"),
        ["7", "3", "9000000000"]
    );
}

#[test]
fn a_list_enriches_only_its_own_addresses() {
    let (cluster, db) = (cluster(), database(cluster(), "list"));
    bare(cluster, db, "8.8.8.0", 6);
    cluster.sql(db, &backfill("ips => '{8.8.8.0,8.8.8.1}'"));
    bare(cluster, db, "10.0.0.1", 1);
    // Two fresh, two due, unknown ones of every kind; some twice, one in a network's clothes, and nulls.
    let ips = "{8.8.8.0,8.8.8.1,NULL,8.8.8.2,8.8.8.3,8.8.8.3/24,81.2.69.142,81.2.69.142,198.51.99.1,10.0.0.1,10.0.0.2,
                2001:4860:4860::8888,fe80::1,::ffff:1.1.1.1,NULL}";
    assert_eq!(cluster.lines(db, &backfill(&format!("ips => '{ips}'"))), ["11|5|2|4|0|0|1|3|0"]);
    let rows = "SELECT ip_address, observation_count, maxmind_status FROM ip_inventory ORDER BY ip_address";
    assert_eq!(
        cluster.lines(db, rows),
        [
            "1.1.1.1|0|found",
            "8.8.8.0|1|found",
            "8.8.8.1|2|found",
            "8.8.8.2|3|found",
            "8.8.8.3|4|found",
            "8.8.8.4|5|pending",
            "8.8.8.5|6|pending",
            "10.0.0.1|1|skipped",
            "10.0.0.2|0|skipped",
            "81.2.69.142|0|found",
            "198.51.99.1|0|not_found",
            "2001:4860:4860::8888|0|found",
            "fe80::1|0|skipped",
        ]
    );
    let again = cluster.lines(db, &backfill(&format!("ips => '{ips}'")));
    assert_eq!(again, ["11|0|11|0|0|0|0|0|0"], "all of it is fresh now");
}

#[test]
fn empty_lists_end_at_once() {
    let (cluster, db) = (cluster(), database(cluster(), "empty_lists"));
    bare(cluster, db, "8.8.8.0", 3);
    for ips in ["'{}'", "'{NULL,NULL}'", "ARRAY[]::inet[]"] {
        assert_eq!(cluster.lines(db, &backfill(&format!("ips => {ips}"))), ["0|0|0|0|0|0|0|0|0"], "{ips}");
    }
    assert_eq!(cluster.value(db, DUE), "3");
    assert_eq!(cluster.lines(db, "SELECT DISTINCT outcome FROM enrichment_run"), ["done"]);
    assert_eq!(cluster.lines(db, &backfill("ips => NULL")), ["3|3|0|3|0|0|0|0|0"], "null is no list");
}

#[test]
fn a_long_list_may_be_unsorted_and_many_dimensional() {
    let (cluster, db) = (cluster(), database(cluster(), "long_list"));
    bare(cluster, db, "171.224.0.0", 15_000);
    let list =
        "ips => (SELECT array_agg('171.224.0.0'::inet + n ORDER BY md5(n::text)) FROM generate_series(0, 29999) AS n),
                batch_size => 700, commit_interval => 1100";
    assert_eq!(cluster.lines(db, &backfill(list)), ["30000|30000|0|30000|0|0|0|0|0"]);
    assert_eq!(cluster.value(db, "SELECT count(*) FILTER (WHERE observation_count = 0) FROM ip_inventory"), "15000");
    assert_eq!(cluster.lines(db, WRONG), [""; 0]);
    let square = "ips => ARRAY[ARRAY['8.8.8.8', '8.8.4.4'], ARRAY['1.1.1.1', '1.0.0.1']]::inet[]";
    assert_eq!(cluster.lines(db, &backfill(square)), ["4|2|0|2|0|0|2|0|0"]);
}

#[test]
fn invalid_arguments_are_refused_by_name() {
    let (cluster, db) = (cluster(), database(cluster(), "bad_values"));
    bare(cluster, db, "8.8.8.0", 3);
    for (name, values) in [
        ("batch_size", ["0", "-1", "100001", "2147483647"].as_slice()),
        ("commit_interval", &["0", "-5", "1000001", "2147483647"]),
        ("max_ips", &["0", "-1", "-9223372036854775808"]),
        ("workers", &["0", "-1", "65", "2147483647"]),
    ] {
        for value in values {
            let refused = cluster.fails(db, &backfill(&format!("{name} => {value}")));
            assert_eq!(refused.code, "22023", "{refused:?}");
            assert!(refused.message.contains(name), "{refused:?}");
            assert!(!refused.detail.is_empty() || !refused.hint.is_empty(), "{refused:?}");
        }
    }
    for network in ["8.8.8.0/24", "2001:4860::/32", "0.0.0.0/0"] {
        let refused = cluster.fails(db, &backfill(&format!("ips => '{{1.1.1.1,{network}}}'")));
        assert_eq!(
            (refused.code.as_str(), refused.message),
            ("22023", format!("\"{network}\" is a network, not a host address"))
        );
        assert!(!refused.hint.is_empty());
    }
    assert_eq!(cluster.value(db, "SELECT count(*) FROM enrichment_run"), "0");
    assert_eq!(cluster.value(db, "SELECT count(*) FROM enrichment_progress"), "0");
    assert_eq!(cluster.value(db, DUE), "3");
    let defaults =
        "batch_size => NULL, commit_interval => NULL, max_ips => NULL, workers => NULL, ips => NULL, wait => NULL";
    assert_eq!(cluster.lines(db, &backfill(defaults)), ["3|3|0|3|0|0|0|0|0"]);
}

#[test]
fn without_waiting_the_job_number_is_returned_at_once() {
    let (cluster, db) = (cluster(), database(cluster(), "no_wait"));
    bare(cluster, db, "8.8.8.0", 200);
    let gate = Gate::shut(cluster, db, "NEW.ip_address = '8.8.8.100'");
    let number = cluster.lines(db, "SELECT * FROM backfill_inventory(wait => false)");
    assert_eq!(number, ["1|||||||||||"]);
    assert_eq!(running_job(cluster, db), "1");
    gate.open();
    assert_eq!(ended_job(cluster, db), "done");
    assert_eq!(
        cluster.lines(db, &format!("SELECT job_id, {NUMBERS} FROM enrichment_run")),
        ["1|200|200|0|200|0|0|0|0|0"]
    );
    assert_eq!(cluster.lines(db, WRONG), [""; 0]);
}

#[test]
fn the_requesting_role_is_recorded() {
    let (cluster, db) = (cluster(), database(cluster(), "who_asked"));
    bare(cluster, db, "8.8.8.0", 3);
    cluster.sql(
        db,
        "CREATE ROLE \"Oper Ator\" LOGIN;
         GRANT EXECUTE ON FUNCTION backfill_inventory(integer, integer, bigint, integer, inet[], boolean) TO \"Oper Ator\"",
    );
    // The right to call it is all it takes: the worker writes.
    let mut client = cluster.connect_as("Oper Ator", db);
    let rows = asn_inventory_tests::cluster::query(&mut client, &backfill("")).expect("a summary");
    assert_eq!(rows[0][0].as_deref(), Some("3"));
    assert_eq!(cluster.value(db, "SELECT requested_by FROM enrichment_run"), "Oper Ator");
    let refused = asn_inventory_tests::cluster::query(&mut client, "SELECT cancel_enrichment_job(1)");
    assert_eq!(refused.expect_err("no right").code, "42501");
}

#[test]
fn ended_jobs_are_removed_after_the_retention_time() {
    let cluster = Cluster::builder().start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql("postgres", "CREATE EXTENSION asn_inventory");
    cluster.wait_value("postgres", "SELECT worker FROM enrichment_status", "running");
    // Each took three days: since it ended is what counts.
    let remember = |job: i64, days: u32| {
        cluster.sql(
            "postgres",
            &format!(
                "INSERT INTO enrichment_run SELECT {job}, 'backfill', '{{}}', 'somebody', at - interval '3 days', at, 'done', NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0
                 FROM (SELECT now() - interval '{days} days') AS t(at)"
            ),
        );
    };
    let kept = "SELECT job_id FROM enrichment_run WHERE requested_by = 'somebody' ORDER BY 1";
    let runs_a_job = || cluster.sql("postgres", "SELECT backfill_inventory()");
    remember(-1, 91);
    remember(-2, 89);
    runs_a_job();
    assert_eq!(cluster.lines("postgres", kept), ["-2"]);
    remember(-4, 0);
    cluster.set("asn_inventory.run_retention", "1d");
    let left = || {
        runs_a_job();
        cluster.lines("postgres", kept)
    };
    wait_for("the shorter memory", left, |left| left == &["-4"]);
    cluster.sql("postgres", "DELETE FROM enrichment_run WHERE job_id = -4");
    cluster.set("asn_inventory.run_retention", "0");
    // The worker has the new setting once it keeps rows that it would have removed.
    wait_for(
        "the endless memory",
        || {
            remember(-3, 5000);
            runs_a_job();
            let left = cluster.lines("postgres", kept);
            cluster.sql("postgres", "DELETE FROM enrichment_run WHERE job_id = -3");
            left
        },
        |left| left == &["-3"],
    );
}
