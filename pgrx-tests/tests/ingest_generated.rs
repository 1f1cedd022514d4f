//! Generated columns: a new row holds those that are stored. Virtual ones, which PostgreSQL has from 18 on, are computed when
//! they are read.

use crate::ingest_support::{Db, run};
use asn_inventory_tests::needs;

#[test]
fn a_stored_generated_column_is_observed_by_every_method() {
    let db = Db::new();
    for method in ["trigger", "row", "index"] {
        db.sql(&format!(
            "CREATE TABLE {method}_events (payload jsonb, ip text GENERATED ALWAYS AS (payload->>'ip') STORED,
                 kind text GENERATED ALWAYS AS (payload->>'kind') STORED, hp text GENERATED ALWAYS AS (payload->>'hp') STORED);
             SELECT attach_ip_source('{method}_events', '{{ip}}', method => '{method}', only_where => 'kind = login', sensor => 'hp');
             INSERT INTO {method}_events VALUES ('{{\"ip\": \"36.99.0.1\", \"kind\": \"login\", \"hp\": \"a\"}}'), ('{{\"ip\": \"36.99.0.2\"}}')"
        ));
    }
    assert_eq!(db.counts(), ["36.99.0.1|3"]);
    assert_eq!(db.value("SELECT string_agg(DISTINCT sensor, ',') FROM ip_sightings"), "a");
}

#[test]
fn a_virtual_generated_column_is_refused_and_one_that_is_attached_is_named() {
    let db = Db::new();
    let has = db.value("SELECT current_setting('server_version_num')::int >= 180000") == "t";
    if !needs::note("virtual_columns", "a_virtual_generated_column_is_refused_and_one_that_is_attached_is_named", has) {
        return;
    }
    db.sql(
        "CREATE TABLE events (payload jsonb, ip text GENERATED ALWAYS AS (payload->>'ip') VIRTUAL,
             at text GENERATED ALWAYS AS (payload->>'at') VIRTUAL, kind text GENERATED ALWAYS AS (payload->>'kind') VIRTUAL)",
    );
    for (column, arguments) in [
        ("ip", "'{ip}'"),
        ("ip", "'{ip}', method => 'row'"),
        ("ip", "'{ip}', method => 'index'"),
        ("ip", "'{payload->>ip,text(ip)}'"),
        ("at", "'{payload->>ip}', 'at'"),
        ("kind", "'{payload->>ip}', only_where => 'kind = login'"),
        ("kind", "'{payload->>ip}', sensor => 'kind'"),
    ] {
        let failure = db.fails(&format!("SELECT attach_ip_source('events', {arguments})"));
        let message = format!("column \"{column}\" of \"events\" cannot be observed: it is virtual");
        assert_eq!((failure.code.as_str(), failure.message), ("0A000", message), "{arguments}");
    }
    // As its HINT says.
    db.sql("SELECT attach_ip_source('events', '{payload->>ip}')");
    db.sql("INSERT INTO events VALUES ('{\"ip\": \"36.99.1.1\"}')");
    assert_eq!(db.counts(), ["36.99.1.1|1"]);
    // One that was stored when its table was attached.
    db.sql(
        "CREATE TABLE later (payload jsonb, ip text GENERATED ALWAYS AS (payload->>'ip') STORED); SELECT attach_ip_source('later', '{ip}');
         ALTER TABLE later DROP ip, ADD ip text GENERATED ALWAYS AS (payload->>'ip') VIRTUAL",
    );
    let (mut session, notices) = db.connect_with_notices();
    run(&mut session, "INSERT INTO later VALUES ('{\"ip\": \"36.99.1.2\"}')");
    assert_eq!(notices.all(), ["WARNING: column \"ip\" is missing or changed type and is no longer observed"]);
    assert_eq!(
        db.value("SELECT detail FROM enrichment_doctor() WHERE check_name = 'columns'"),
        "Columns by which public.later is observed are missing or changed type, and are skipped: ip: it is a virtual generated column, which new rows do not hold."
    );
    assert_eq!(db.value("SELECT populate_ip_inventory('later')"), "1", "a query computes it");
}
