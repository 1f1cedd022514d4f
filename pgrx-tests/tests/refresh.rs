//! Repeated look-ups: rows that a newer build makes stale, most observed first, and whole ranges.

use crate::backfill_support::*;
use asn_inventory_tests::prelude::*;
use std::sync::OnceLock;

/// The cluster of the tests that install nothing.
fn shared() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(cluster_of_many)
}

const ASN: &str = "GeoLite2-ASN";

/// A newer ASN file in which 8.8.8.0/24 and 2001:4860::/32 belong to `number`; waits until it is installed.
fn install_newer(cluster: &Cluster, db: &str, number: u32) {
    let installed = format!("SELECT installed_at FROM mmdb_editions() WHERE edition = '{ASN}'");
    let before = cluster.value(db, &installed);
    let record =
        || json!({ "autonomous_system_number": number, "autonomous_system_organization": format!("Heir {number}") });
    fixtures::small_asn(fixtures::days_ago(1) + u64::from(number))
        .insert("8.8.8.0/24", record())
        .insert("2001:4860::/32", record())
        .install(&cluster.maxmind_dir().join(format!("{ASN}.mmdb")));
    wait_until("the newer file to be installed", || cluster.value(db, &installed) != before);
}

fn refresh(call: &str) -> String {
    format!("SELECT {NUMBERS} FROM {call}")
}

/// The addresses that the newer file's AS is stored for, most observed first.
fn heirs(cluster: &Cluster, db: &str, number: u32) -> Vec<String> {
    cluster.lines(
        db,
        &format!(
            "SELECT host(ip_address) FROM ip_inventory WHERE asn_number = {number} AND asn_org = 'Heir {number}'
             ORDER BY observation_count DESC, ip_address"
        ),
    )
}

const SEEN: &str =
    "SELECT ip_address, observation_count, first_seen_at, last_seen_at FROM ip_inventory ORDER BY ip_address";
const NOTHING: &str = "0|0|0|0|0|0|0|0|0";

#[test]
fn a_newer_build_makes_rows_stale_and_they_are_refreshed_most_observed_first() {
    let cluster = cluster_of_many();
    let db = database(&cluster, "stale");
    // Otherwise the worker would be done before the call.
    cluster.set("asn_inventory.maxmind_walk", "off");
    assert_eq!(cluster.lines(db, &refresh("refresh_stale('maxmind')")), [NOTHING], "an empty inventory");
    bare(&cluster, db, "8.8.8.1", 5);
    cluster.sql(
        db,
        "INSERT INTO ip_inventory (ip_address, observation_count) VALUES ('2001:4860:4860::8888', 50), ('10.0.0.1', 40),
             ('198.51.99.1', 30)",
    );
    cluster.sql(db, "SELECT backfill_inventory()");
    let seen = cluster.lines(db, SEEN);
    for source in ["maxmind", "all"] {
        assert_eq!(cluster.lines(db, &refresh(&format!("refresh_stale('{source}')"))), [NOTHING], "all is fresh");
    }

    install_newer(&cluster, db, 64500);
    assert_eq!(heirs(&cluster, db, 64500), [""; 0], "nothing is refreshed before it is asked for");
    // The most observed three: one of the new AS, one special-purpose, one that no file knows.
    assert_eq!(cluster.lines(db, &refresh("refresh_stale('maxmind', 3)")), ["3|1|0|1|0|0|1|1|0"]);
    assert_eq!(heirs(&cluster, db, 64500), ["2001:4860:4860::8888"]);
    assert_eq!(cluster.lines(db, &refresh("refresh_stale('all', 2)")), ["2|2|0|2|0|0|0|0|0"]);
    assert_eq!(heirs(&cluster, db, 64500), ["2001:4860:4860::8888", "8.8.8.5", "8.8.8.4"]);
    assert_eq!(cluster.value(db, "SELECT asn_number FROM ip_inventory WHERE ip_address = '8.8.8.3'"), "15169");
    assert_eq!(cluster.lines(db, SEEN), seen, "a refresh is no observation");

    // A row that was never answered is stale, too, and takes its place by how often it was observed.
    cluster.sql(db, "INSERT INTO ip_inventory (ip_address, observation_count) VALUES ('8.8.8.100', 1000)");
    assert_eq!(cluster.lines(db, &refresh("refresh_stale('maxmind', 2)")), ["2|2|0|2|0|0|0|0|0"]);
    assert_eq!(heirs(&cluster, db, 64500), ["8.8.8.100", "2001:4860:4860::8888", "8.8.8.5", "8.8.8.4", "8.8.8.3"]);
    assert_eq!(cluster.lines(db, &refresh("refresh_stale('maxmind', 1000)")), ["2|2|0|2|0|0|0|0|0"]);
    assert_eq!(cluster.lines(db, &refresh("refresh_stale('maxmind')")), [NOTHING]);
    assert_eq!(cluster.lines(db, WRONG), [""; 0]);

    // Many pieces, and a limit that is none; the next build makes all of them stale again.
    bare(&cluster, db, "34.64.0.0", 20_000);
    install_newer(&cluster, db, 64501);
    assert_eq!(cluster.value(db, "SELECT processed || ' ' || errors FROM refresh_stale('all', 2147483647)"), "20009 0");
    assert_eq!(cluster.lines(db, WRONG), [""; 0]);
    assert_eq!(heirs(&cluster, db, 64501).len(), 7);
    assert_eq!(
        cluster.lines(db, "SELECT DISTINCT kind, outcome FROM enrichment_run WHERE kind <> 'backfill'"),
        ["refresh|done"]
    );
    assert_eq!(
        cluster.value(db, "SELECT sum(processed) FROM enrichment_run WHERE kind = 'refresh'"),
        (3 + 2 + 2 + 2 + 20_009).to_string()
    );
}

#[test]
fn a_range_is_refreshed_completely_and_nothing_outside_it() {
    let cluster = shared();
    let db = database(cluster, "ranges");
    cluster.sql(
        db,
        "INSERT INTO ip_inventory (ip_address) VALUES ('8.8.8.0'), ('8.8.8.255'), ('8.8.9.0'), ('8.8.7.255'),
             ('2001:4860::1'), ('2001:4860:ffff:ffff:ffff:ffff:ffff:ffff'), ('2001:4861::'), ('198.51.99.1'), ('10.0.0.1')",
    );
    // In a transaction of its own: it sees what is committed.
    cluster.sql(db, "SELECT backfill_inventory()");
    assert_eq!(cluster.value(db, DUE), "0");
    cluster.sql(db, "INSERT INTO ip_inventory (ip_address) VALUES ('8.8.8.77')");
    // A moment to compare with; the rows that a call answered are those with a later one.
    let again = |call: &str| {
        let before = cluster.value(db, "SELECT clock_timestamp()");
        let numbers = cluster.lines(db, &refresh(call));
        let answered = cluster.lines(
            db,
            &format!("SELECT host(ip_address) FROM ip_inventory WHERE maxmind_ts > '{before}' ORDER BY ip_address"),
        );
        (numbers.concat(), answered)
    };
    let rows = |ips: &[&str]| ips.iter().map(|ip| (*ip).to_owned()).collect::<Vec<_>>();
    let three = rows(&["8.8.8.0", "8.8.8.77", "8.8.8.255"]);
    // The first time, one of them was never answered; then all are fresh, and are asked for again.
    for call in
        ["refresh_range('8.8.8.0/24')", "refresh_range('8.8.8.0/24', 'maxmind')", "refresh_range('8.8.8.99/24')"]
    {
        assert_eq!(again(call), ("3|3|0|3|0|0|0|0|0".to_owned(), three.clone()), "{call}");
    }
    let two = rows(&["2001:4860::1", "2001:4860:ffff:ffff:ffff:ffff:ffff:ffff"]);
    for call in ["refresh_range('2001:4860::/32')", "refresh_range('2001:4860:1:2:3:4:5:6/32', 'all')"] {
        assert_eq!(again(call), ("2|2|0|2|0|0|0|0|0".to_owned(), two.clone()), "{call}");
    }
    assert_eq!(again("refresh_range('8.8.8.77')"), ("1|1|0|1|0|0|0|0|0".to_owned(), rows(&["8.8.8.77"])));
    assert_eq!(again("refresh_range('198.51.99.1/32')").0, "1|0|0|0|0|0|1|0|0");
    assert_eq!(again("refresh_range('10.0.0.0/8')").0, "1|0|0|0|0|0|0|1|0");
    for unknown in ["8.8.8.1", "8.8.4.0/24", "2a02:4780::/32", "2001:4860::2"] {
        assert_eq!(again(&format!("refresh_range('{unknown}')")), (NOTHING.to_owned(), vec![]), "{unknown}");
    }
    assert_eq!(again("refresh_range('0.0.0.0/0')").1.len(), 7, "the other family is another range");
    assert_eq!(again("refresh_range('::/0')").1.len(), 3);
    assert_eq!(cluster.value(db, "SELECT count(*) FROM ip_inventory"), "10", "unknown addresses are not added");
    assert_eq!(cluster.lines(db, WRONG), [""; 0]);
    assert_eq!(cluster.value(db, "SELECT count(*) FROM enrichment_run WHERE kind = 'refresh'"), "14");
}

#[test]
fn a_running_refresh_is_shown_and_can_be_left_running_or_cancelled() {
    let cluster = shared();
    let db = database(cluster, "watched");
    bare(cluster, db, "34.64.0.0", 2000);
    let gate = Gate::shut(cluster, db, "NEW.ip_address = '34.64.1.1'");
    let call = Call::start(cluster, db, &refresh("refresh_stale('maxmind', 2000)"));
    let job = running_job(cluster, db);
    assert_eq!(
        cluster.value(db, "SELECT kind || ' ' || requested_by || ' ' || total FROM enrichment_progress"),
        "refresh postgres 2000"
    );
    let title = format!(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = '{db}' AND backend_type LIKE 'asn_inventory%'
             AND query = 'refresh: job {job}'"
    );
    cluster.wait_value(db, &title, "t");
    wait_until("a progress line", || {
        call.notices.all().iter().any(|line| line.starts_with("INFO: refresh ") && line.contains("/2000 "))
    });
    assert_eq!(cluster.value(db, &format!("SELECT cancel_enrichment_job({job})")), "t");
    gate.open();
    call.end().expect("the summary of what was done");
    let run = "SELECT kind || ' ' || outcome || ' ' || (parameters ->> 'max_ips') FROM enrichment_run WHERE job_id = ";
    assert_eq!(cluster.value(db, &format!("{run}{job}")), "refresh cancelled 2000");

    // Without waiting: only the number is returned.
    for call in ["refresh_stale('all', 5000, false)", "refresh_range('34.64.0.0/16', 'all', false)"] {
        let given = cluster.lines(db, &format!("SELECT job_id > {job}, processed, errors, elapsed FROM {call}"));
        assert_eq!(given, ["t|||"], "{call}");
        assert_eq!(ended_job(cluster, db), "done", "{call}");
    }
    assert_eq!(cluster.value(db, "SELECT processed FROM enrichment_run ORDER BY job_id DESC LIMIT 1"), "2000");
    assert_eq!(cluster.lines(db, WRONG), [""; 0]);
}

/// VACUUM FULL would wait for the session, the job for VACUUM FULL, and the session for the job.
#[test]
fn a_session_that_waits_for_a_range_keeps_nobody_from_the_inventory() {
    let cluster = shared();
    let db = database(cluster, "in_nobodys_way");
    // Each of six pieces stops at one row, and there are four helpers at most: others are left to do after VACUUM FULL.
    bare(cluster, db, "34.64.0.0", 30_000);
    let gate = Gate::shut(cluster, db, "NEW.observation_count % 5000 = 1");
    let refresh = "SET statement_timeout = '90s'; SELECT processed, errors FROM refresh_range('34.64.0.0/16')";
    let call = Call::start(cluster, db, refresh);
    running_job(cluster, db);
    let writes = format!(
        "SELECT count(*) > 0 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.backend_type = '{HELPER}'
             AND l.mode = 'RowExclusiveLock' AND l.relation = 'ip_inventory'::regclass AND l.granted"
    );
    cluster.wait_value(db, &writes, "t");
    let vacuum = Call::start(cluster, db, "VACUUM FULL ip_inventory");
    let waits = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted
        AND relation = 'ip_inventory'::regclass";
    cluster.wait_value(db, waits, "1");
    gate.open();
    assert_eq!(vacuum.end(), Ok(Vec::new()));
    assert_eq!(call.line(), "30000|0");
    assert_eq!(cluster.lines(db, WRONG), [""; 0]);
}

#[test]
fn an_unknown_source_is_refused() {
    let cluster = shared();
    let db = database(cluster, "refused");
    for source in ["'whois'", "'MaxMind'", "''", "NULL", "'maxmind,all'"] {
        for call in [format!("refresh_stale({source})"), format!("refresh_range('8.8.8.0/24', {source})")] {
            let refused = cluster.fails(db, &format!("SELECT {call}"));
            assert_eq!(refused.code, "22023", "{call}");
            // Null is called by its name, and not by an empty one.
            let named = if source == "NULL" { "null".to_owned() } else { source.replace('\'', "\"") };
            assert_eq!(refused.message, format!("{named} cannot be refreshed"), "{call}");
            assert!(refused.detail.contains("maxmind, cymru, greynoise, all"), "{call}: {refused:?}");
        }
    }
    for n in ["0", "-1", "-2147483648"] {
        let refused = cluster.fails(db, &format!("SELECT refresh_stale('all', {n})"));
        assert_eq!((refused.code.as_str(), refused.message), ("22023", format!("n cannot be {n}")));
    }
    let refused = cluster.fails(db, "SELECT refresh_range(NULL)");
    assert_eq!(refused.code, "22023");
    assert!(refused.message.contains("range") && !refused.hint.is_empty(), "{refused:?}");
    assert_eq!(cluster.value(db, "SELECT count(*) FROM enrichment_run"), "0");
}

#[test]
fn execute_is_the_only_right_that_a_role_needs() {
    let cluster = shared();
    let db = database(cluster, "granted");
    bare(cluster, db, "8.8.8.1", 3);
    cluster.sql(
        db,
        "CREATE ROLE refresher LOGIN; CREATE ROLE bystander LOGIN;
         GRANT EXECUTE ON FUNCTION refresh_stale, refresh_range TO refresher",
    );
    let ask = |role: &str, sql: &str| {
        let mut session = cluster.connect_as(role, db);
        asn_inventory_tests::cluster::query(&mut session, sql).map(|rows| rows[0][0].clone().unwrap_or_default())
    };
    for call in ["refresh_stale('all')", "refresh_range('8.8.8.0/24')"] {
        let sql = format!("SELECT processed FROM {call}");
        assert_eq!(ask("bystander", &sql).expect_err("refused").code, "42501", "{call}");
        assert_eq!(ask("refresher", &sql).expect("processed"), "3", "{call}");
    }
    let direct = ask("refresher", "SELECT count(*) FROM ip_inventory").expect_err("refused");
    assert_eq!(direct.code, "42501");
    assert_eq!(
        cluster.lines(db, "SELECT kind, requested_by FROM enrichment_run ORDER BY job_id"),
        ["refresh|refresher", "refresh|refresher"]
    );
}
