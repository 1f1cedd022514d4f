//! `enrichment_doctor()` of sessions that block the worker: by name, also if only rows are locked, and the doctor
//! itself never waits.

use crate::doctor_support::*;
use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;
use postgres::Client;
use std::time::{Duration, Instant};

/// An attached table, and a worker that rests until there is something in the queue to be held.
fn attached() -> Patient {
    let patient = Patient::new();
    patient.sql("CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}')");
    patient
}

fn pid(session: &mut Client) -> String {
    query(session, "SELECT pg_backend_pid()").expect("a pid")[0][0].clone().expect("a pid")
}

/// Waits until the lock's holder is named with `remedy`, takes it, and sees what waited absorbed.
fn named_and_ended(patient: &Patient, remedy: &str, addresses: &str) {
    let named = "SELECT string_agg(remedy, ' ') FROM enrichment_doctor() WHERE check_name = 'locks' AND level <> 'ok'";
    patient.wait(named, remedy);
    assert_eq!(patient.trouble(), ["locks|warning"]);
    patient.take_remedy("locks");
    patient.wait("SELECT count(*) FROM ip_inventory", addresses);
    patient.wait("SELECT level FROM enrichment_doctor() WHERE check_name = 'locks'", "ok");
}

/// Something in the queue that the worker has not taken yet, locked by `sql` of a session whose transaction stays open.
fn hold(patient: &Patient, address: &str, sql: &str) -> Client {
    let mut holder = patient.cluster.connect(&patient.db);
    // A lock that absorbing needs keeps the worker off until the row is held.
    query(&mut holder, "BEGIN; SELECT absorb_observations(0)").expect("held off");
    patient.sql(&format!("INSERT INTO e VALUES ('{address}')"));
    let mut second = patient.cluster.connect(&patient.db);
    query(&mut second, &format!("BEGIN; {sql}")).expect("locked");
    query(&mut holder, "COMMIT").expect("let go");
    second
}

#[test]
fn a_locked_row_of_the_queue_is_named_with_the_process() {
    let patient = attached();
    for (n, sql) in [
        "SELECT * FROM ip_observation FOR UPDATE",
        "DELETE FROM ip_observation",
        "UPDATE ip_observation SET seen = seen",
        "SAVEPOINT s; DELETE FROM ip_observation",
    ]
    .into_iter()
    .enumerate()
    {
        let mut holder = hold(&patient, &format!("8.10.1.{n}"), sql);
        let pid = pid(&mut holder);
        named_and_ended(&patient, &format!("SELECT pg_terminate_backend({pid});"), &(n + 1).to_string());
    }
}

#[test]
fn a_prepared_transaction_that_locks_a_row_is_named() {
    let patient = attached();
    for (n, sql) in
        ["SELECT absorb_observations(0)", "SELECT * FROM ip_observation FOR UPDATE", "DELETE FROM ip_observation"]
            .into_iter()
            .enumerate()
    {
        let gid = format!("{} it's {n}", patient.db);
        let mut holder = hold(&patient, &format!("8.10.2.{n}"), "SELECT 1");
        query(&mut holder, &format!("ROLLBACK; BEGIN; {sql}; PREPARE TRANSACTION '{}'", gid.replace('\'', "''")))
            .expect("prepared");
        // The worker may have been quicker.
        patient.sql(&format!("INSERT INTO e VALUES ('8.10.3.{n}')"));
        let held = patient.value("SELECT count(*) FROM ip_observation");
        assert!(["1", "2"].contains(&held.as_str()), "{held}");
        patient.wait("SELECT count(*) FROM enrichment_doctor() WHERE check_name = 'locks' AND level <> 'ok'", "1");
        assert!(patient.remedy("locks").starts_with("ROLLBACK PREPARED '"), "{}", patient.said("locks"));
        patient.take_remedy("locks");
        patient.wait("SELECT count(*) FROM ip_observation", "0");
        patient.wait("SELECT level FROM enrichment_doctor() WHERE check_name = 'locks'", "ok");
    }
}

#[test]
fn a_locked_row_of_a_table_that_only_the_worker_writes_is_named() {
    let patient = attached();
    patient.sql("INSERT INTO source_quota VALUES ('greynoise', now(), 0, NULL)");
    for sql in [
        "SELECT * FROM source_quota FOR UPDATE",
        "UPDATE source_quota SET used = used",
        "SELECT * FROM enrichment_run FOR SHARE",
    ] {
        let mut holder = patient.cluster.connect(&patient.db);
        query(&mut holder, &format!("BEGIN; {sql}")).expect("locked");
        let pid = pid(&mut holder);
        patient.wait(
            "SELECT string_agg(remedy, ' ') FROM enrichment_doctor() WHERE check_name = 'locks' AND level <> 'ok'",
            &format!("SELECT pg_terminate_backend({pid});"),
        );
        patient.take_remedy("locks");
        patient.wait("SELECT level FROM enrichment_doctor() WHERE check_name = 'locks'", "ok");
    }
}

#[test]
fn a_loader_in_a_long_transaction_is_not_reported() {
    let patient = attached();
    let mut loader = patient.cluster.connect(&patient.db);
    query(&mut loader, "BEGIN; INSERT INTO e VALUES ('8.10.4.1')").expect("loaded");
    let mut holder = hold(&patient, "8.10.4.2", "SELECT * FROM ip_observation WHERE address = '8.10.4.2' FOR UPDATE");
    let holding = pid(&mut holder);
    named_and_ended(&patient, &format!("SELECT pg_terminate_backend({holding});"), "1");
    let alone = "SELECT clock_timestamp() - xact_start > interval '6 seconds' FROM pg_stat_activity WHERE pid = ";
    patient.wait(&format!("{alone}{}", pid(&mut loader)), "t");
    assert_eq!(patient.trouble(), [""; 0]);
    query(&mut loader, "COMMIT").expect("loaded");
    patient.wait("SELECT count(*) FROM ip_inventory", "2");
}

#[test]
fn the_doctor_waits_for_no_lock_and_names_its_holder() {
    let patient = attached();
    for table in ["ip_observation", "ip_source", "enrichment_run", "ip_inventory"] {
        let mut holder = patient.cluster.connect(&patient.db);
        query(&mut holder, &format!("BEGIN; LOCK TABLE {table}")).expect("locked");
        let pid = pid(&mut holder);
        let started = Instant::now();
        let found = patient.trouble();
        let took = started.elapsed();
        assert!(took < Duration::from_secs(100), "{table}: {took:?}");
        match table {
            "ip_observation" => assert!(found.contains(&"queue|warning".to_owned()), "{table}: {found:?}"),
            "ip_source" => assert!(found.contains(&"triggers|warning".to_owned()), "{table}: {found:?}"),
            "enrichment_run" => assert!(found.contains(&"maxmind downloads|warning".to_owned()), "{table}: {found:?}"),
            _ => {}
        }
        for check in found.iter().filter_map(|line| line.strip_suffix("|warning")).filter(|check| *check != "locks") {
            assert!(patient.said(check).starts_with("warning|Could not look: "), "{}", patient.said(check));
        }
        patient.wait(
            "SELECT remedy FROM enrichment_doctor() WHERE check_name = 'locks' AND level <> 'ok'",
            &format!("SELECT pg_terminate_backend({pid});"),
        );
        patient.take_remedy("locks");
        patient.wait("SELECT count(*) FROM enrichment_doctor() WHERE level <> 'ok'", "0");
    }
}

#[test]
fn without_pg_read_all_stats_the_holder_is_named_only_while_nothing_is_absorbed() {
    let patient = attached();
    let role = format!("{}_reader", patient.db);
    patient.sql(&format!(
        "CREATE ROLE {role} LOGIN; GRANT EXECUTE ON FUNCTION enrichment_doctor, _worker_status TO {role}"
    ));
    let mut reader = patient.cluster.connect_as(&role, &patient.db);
    let mut named = || {
        let sql = "SELECT remedy FROM enrichment_doctor() WHERE check_name = 'locks' AND level <> 'ok'";
        query(&mut reader, sql).expect("an answer").into_iter().flatten().flatten().collect::<Vec<String>>()
    };
    // Busy as it is, the worker itself is none.
    patient.sql("INSERT INTO e SELECT '8.11.0.0'::inet + n FROM generate_series(1, 20000) n");
    while patient.value("SELECT count(*) FROM ip_observation") != "0" {
        assert_eq!(named(), [""; 0]);
    }
    let mut holder = hold(&patient, "8.10.5.1", "DELETE FROM ip_observation");
    let remedy = format!("SELECT pg_terminate_backend({});", pid(&mut holder));
    wait_for("the holder's process", named, |found| found == std::slice::from_ref(&remedy));
}
