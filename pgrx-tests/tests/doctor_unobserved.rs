//! `enrichment_doctor()` of statements that met a locked queue: what is missing stays named until it is brought in.

use crate::doctor_support::*;
use postgres::Client;

/// Runs what must not fail.
fn run(client: &mut Client, sql: &str) {
    client.batch_execute(sql).unwrap_or_else(|failure| panic!("{sql}: {failure}"));
}

/// A patient with a table whose queue somebody holds.
fn held() -> (Patient, Client, Client) {
    let patient = Patient::new();
    patient.sql("CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}')");
    let [mut holder, loader] = [(); 2].map(|()| patient.cluster.connect(&patient.db));
    run(&mut holder, "BEGIN; LOCK TABLE ip_observation");
    (patient, holder, loader)
}

#[test]
fn rows_of_a_transaction_that_is_open_while_their_table_is_read_stay_missing() {
    let (patient, mut holder, mut loader) = held();
    run(&mut loader, "BEGIN; INSERT INTO e VALUES ('8.8.4.1')");
    run(&mut holder, "ROLLBACK");
    patient.sql("SELECT populate_ip_inventory('e')");
    run(&mut loader, "COMMIT");
    assert!(patient.said("unobserved").starts_with("warning|1 statements were not observed"));
    patient.take_remedy("unobserved");
    assert_eq!(patient.said("unobserved"), "");
    patient.wait("SELECT count(*) FROM ip_inventory WHERE ip_address = '8.8.4.1'", "1");
}

#[test]
fn a_reading_that_is_taken_back_brings_nothing_in() {
    let (patient, mut holder, mut loader) = held();
    run(&mut loader, "INSERT INTO e VALUES ('8.8.4.2')");
    run(&mut holder, "ROLLBACK");
    let named = || assert!(patient.said("unobserved").starts_with("warning|1 statements were not observed"));
    for read in ["populate_ip_inventory", "detach_ip_source"] {
        run(&mut loader, &format!("BEGIN; SAVEPOINT a; SELECT {read}('e'); ROLLBACK TO a; COMMIT"));
        named();
        run(
            &mut loader,
            &format!("BEGIN; SAVEPOINT a; SAVEPOINT b; SELECT {read}('e'); RELEASE b; ROLLBACK TO a; COMMIT"),
        );
        named();
    }
    let prepared = format!("read in {}", patient.db);
    run(&mut loader, &format!("BEGIN; SELECT populate_ip_inventory('e'); PREPARE TRANSACTION '{prepared}'"));
    run(&mut loader, &format!("ROLLBACK PREPARED '{prepared}'"));
    named();
    run(&mut loader, "BEGIN; SAVEPOINT a; SELECT populate_ip_inventory('e'); RELEASE a; COMMIT");
    assert_eq!(patient.said("unobserved"), "");
}

#[test]
fn of_many_tables_each_is_read_before_all_is_well() {
    let (patient, mut holder, mut loader) = held();
    run(&mut holder, "ROLLBACK");
    for n in 1..=9 {
        patient.sql(&format!("CREATE TABLE t{n} (ip inet); SELECT attach_ip_source('t{n}', '{{ip}}')"));
    }
    run(&mut holder, "BEGIN; LOCK TABLE ip_observation");
    for n in 1..=9 {
        run(&mut loader, &format!("INSERT INTO t{n} VALUES ('8.8.3.{n}')"));
    }
    let said = |statements: u32, table: &str| {
        let said = patient.said("unobserved");
        assert!(said.starts_with(&format!("warning|{statements} statements were not observed, ")), "{said}");
        assert!(said.contains(&format!(" into {table}: ip_observation or ip_source was locked")), "{said}");
    };
    said(9, "one of many tables");
    // The place of one that is gone is given to the next one without a place.
    run(&mut holder, "ROLLBACK");
    patient.sql("DROP TABLE t1");
    run(&mut holder, "BEGIN; LOCK TABLE ip_observation");
    run(&mut loader, "INSERT INTO t9 VALUES ('8.8.3.10')");
    said(9, "public.t9");
    run(&mut holder, "ROLLBACK");
    // One by one, nobody knows whose the others were.
    for n in 2..=9 {
        patient.sql(&format!("SELECT populate_ip_inventory('t{n}')"));
    }
    said(1, "one of many tables");
    patient.take_remedy("unobserved");
    assert_eq!(patient.said("unobserved"), "");
}
