//! Servers that are set up otherwise: without preload, with databases in other encodings.

use crate::crash_support::wait_for_worker_in;
use asn_inventory_tests::prelude::*;

const EVENTS: &str = "CREATE EXTENSION asn_inventory; CREATE TABLE events (ip text, payload jsonb, note text);
    SELECT attach_ip_source('events', ARRAY['ip', 'payload->>src'])";

#[test]
fn without_preload_all_but_the_worker_works() {
    let cluster = Cluster::builder().preload(false).start();
    fixtures::small(&cluster.maxmind_dir());
    let db = "postgres";
    cluster.sql(db, EVENTS);
    assert_eq!(cluster.value(db, "SELECT ip_country('81.2.69.142') || ip_asn('8.8.8.8')"), "GB15169");
    assert_eq!(cluster.value(db, "SELECT (lookup_ip('81.2.69.142')).city"), "London");
    assert_eq!(cluster.value(db, "SELECT (enrich_ip('51.68.0.1')).city"), "Roubaix");
    cluster.sql(db, "INSERT INTO events VALUES ('8.8.8.8', '{\"src\": \"1.1.1.1\"}', null), ('8.8.8.8', null, null)");
    assert_eq!(cluster.value(db, "SELECT worker || queued FROM enrichment_status"), "not preloaded3");
    assert_eq!(cluster.value(db, "SELECT absorb_observations()"), "3");
    assert_eq!(
        cluster.lines(db, "SELECT host(ip_address), observation_count, asn_org FROM ip_inventory ORDER BY ip_address"),
        ["1.1.1.1|1|Cloudflare, Inc.", "8.8.8.8|2|Google LLC", "51.68.0.1|0|Nord Hebergement SAS"]
    );
    assert_eq!(
        cluster.value(db, "SELECT (enrich_ip('8.8.8.8', '5 s')).asn_number"),
        "15169",
        "a fresh row needs nobody"
    );
    for needs_the_worker in [
        "SELECT backfill_inventory()",
        "SELECT backfill_inventory(wait => false)",
        "SELECT enrich_ip('3.120.0.1', '5 s')",
    ] {
        let refused = cluster.fails(db, needs_the_worker);
        assert_eq!(refused.code, "55000", "{needs_the_worker}");
        assert_eq!(refused.message, "the asn_inventory worker is not running");
        assert!(refused.hint.contains("shared_preload_libraries"), "{refused:?}");
        // Copying the setting unchanged would remove other libraries.
        assert!(refused.hint.contains("beside what is there already"), "{refused:?}");
    }
    assert_eq!(cluster.value(db, "SELECT count(*) FROM enrichment_progress"), "0");
    assert_eq!(cluster.value(db, "SELECT cancel_enrichment_job(1)"), "f");
    cluster.sql(db, "DROP EXTENSION asn_inventory; INSERT INTO events VALUES ('8.8.8.8')");
    assert!(!cluster.log().contains("asn_inventory launcher"));
}

#[test]
fn without_preload_two_sessions_may_absorb_by_hand() {
    let cluster = Cluster::builder().preload(false).start();
    fixtures::small(&cluster.maxmind_dir());
    let db = "postgres";
    cluster.sql(db, EVENTS);
    cluster.sql(db, "INSERT INTO events SELECT '8.8.8.' || i % 50 FROM generate_series(1, 1000) i");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..20 {
                    cluster.sql(db, "INSERT INTO events SELECT '8.8.8.' || i % 50 FROM generate_series(1, 100) i");
                    cluster.sql(db, "SELECT absorb_observations()");
                }
            });
        }
    });
    cluster.sql(db, "SELECT absorb_observations()");
    assert_eq!(cluster.value(db, "SELECT sum(observation_count) || ' ' || count(*) FROM ip_inventory"), "7000 50");
}

/// Lookups, ingest and jobs with names that are not ASCII; `place` is what São Paulo is in this encoding.
fn works_encoded(encoding: &str, place: &str, country: &str) {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").start();
    fixtures::small(&cluster.maxmind_dir());
    let db = "encoded";
    cluster.sql(
        "postgres",
        &format!("CREATE DATABASE {db} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"),
    );
    cluster.sql(db, EVENTS);
    wait_for_worker_in(&cluster, db);
    let bytes =
        |sql: &str| cluster.value(db, &format!("SELECT encode(convert_to(({sql})::text, '{encoding}'), 'escape')"));
    assert_eq!(bytes("SELECT ip_city('177.54.144.1')"), place);
    assert_eq!(bytes("SELECT (lookup_ip('177.54.144.1')).city"), place);
    assert_eq!(bytes("SELECT (enrich_ip('177.54.144.1', '10 s')).city"), place);
    assert_eq!(bytes("SELECT mmdb_record('GeoLite2-City', '177.54.144.1') #>> '{city,names,en}'"), place);
    assert_eq!(bytes("SELECT mmdb_record('GeoLite2-City', '85.105.0.1') #>> '{country,names,en}'"), country);
    assert_eq!(cluster.value(db, "SELECT count(record) > 10 FROM mmdb_networks('GeoLite2-City')"), "t");
    // Events with letters of the encoding, and with bytes that are not text in any encoding.
    cluster.sql(
        db,
        "SET client_encoding TO 'SQL_ASCII';
         INSERT INTO events VALUES (E'177.54.144.2', '{\"src\": \"190.144.0.1\", \"who\": \"x\"}', E'caf\\351'),
             (E'\\351\\350.1.2.3', '{\"src\": \"1.2.3\"}', null)",
    );
    cluster.wait_value(db, "SELECT count(*) FROM ip_inventory", "3");
    cluster.wait_value(db, "SELECT unparsable FROM ip_source", "2");
    assert_eq!(bytes("SELECT city FROM ip_inventory WHERE ip_address = '177.54.144.2'"), place);
    cluster.sql(db, "INSERT INTO ip_inventory (ip_address) VALUES ('177.54.144.3')");
    assert_eq!(cluster.value(db, "SELECT processed FROM backfill_inventory()"), "1");
    assert_eq!(bytes("SELECT city FROM ip_inventory WHERE ip_address = '177.54.144.3'"), place);
}

#[test]
fn a_latin1_database_gets_the_letters_of_its_encoding() {
    works_encoded("LATIN1", "S\\343o Paulo", "T\\374rkiye");
}

#[test]
fn a_latin2_database_gets_question_marks_for_missing_letters() {
    works_encoded("LATIN2", "S?o Paulo", "T\\374rkiye");
}

#[test]
fn a_database_without_encoding_gets_utf8() {
    works_encoded("SQL_ASCII", "S\\303\\243o Paulo", "T\\303\\274rkiye");
}

/// A database that is not UTF-8, with the extension in a schema of its own.
fn latin1(cluster: &Cluster) -> &'static str {
    cluster.sql("postgres", "CREATE DATABASE encoded TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'");
    cluster.sql("encoded", "CREATE SCHEMA größe; CREATE EXTENSION asn_inventory SCHEMA größe");
    "encoded"
}

#[test]
fn schemas_and_tables_may_have_names_in_the_letters_of_the_encoding() {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").start();
    fixtures::small(&cluster.maxmind_dir());
    let db = latin1(&cluster);
    // The event trigger looks at every table that is made from here on.
    cluster.sql(
        db,
        "CREATE TABLE größe.ereignis_für_alle (ip inet) PARTITION BY LIST (ip);
         SELECT größe.attach_ip_source('größe.ereignis_für_alle', '{ip}');
         CREATE TABLE größe.übrige PARTITION OF größe.ereignis_für_alle DEFAULT",
    );
    cluster
        .sql(db, "INSERT INTO größe.ereignis_für_alle VALUES ('8.8.8.8'); INSERT INTO größe.übrige VALUES ('8.8.8.8')");
    cluster.wait_value(db, "SELECT sum(observation_count) FROM größe.ip_inventory", "2");
    assert_eq!(cluster.value(db, "SELECT processed FROM größe.backfill_inventory()"), "0");
    cluster.wait_value(db, "SELECT größe.prometheus_metrics() ~ 'asn_inventory_addresses{[^}]*} 1\\M'", "t");
    assert_eq!(cluster.value(db, "SELECT größe.inventory_report() LIKE '%id=\"addresses\">1<%'"), "t");
}

#[test]
fn columns_may_have_names_in_the_letters_of_the_encoding() {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").start();
    fixtures::small(&cluster.maxmind_dir());
    let db = latin1(&cluster);
    cluster.sql(
        db,
        "CREATE TABLE meldung (quelle_für inet, täter text[], inhalt_ü jsonb, wann_ä timestamptz) PARTITION BY RANGE (wann_ä);
         CREATE TABLE meldung_früher PARTITION OF meldung FOR VALUES FROM (MINVALUE) TO ('2026-01-01Z');
         INSERT INTO meldung VALUES ('8.8.8.8', '{8.8.4.4}', '{\"ä\": \"1.1.1.1\"}', '2025-05-01Z');
         SELECT größe.attach_ip_source('meldung', '{quelle_für,täter,inhalt_ü->>ä}', 'wann_ä');
         CREATE TABLE meldung_später PARTITION OF meldung DEFAULT",
    );
    cluster
        .sql(db, "INSERT INTO meldung_später VALUES ('8.8.8.8', '{8.8.4.4}', '{\"ä\": \"1.1.1.1\"}', '2026-05-01Z')");
    assert_eq!(cluster.value(db, "SELECT ip_columns FROM größe.ip_source"), "{quelle_für,täter,inhalt_ü->>ä}");
    let seen = "SELECT string_agg(concat_ws(' ', host(ip_address), observation_count, first_seen_at AT TIME ZONE 'UTC'), ',' ORDER BY ip_address)
        FROM größe.ip_inventory";
    let one = |seen| ["1.1.1.1", "8.8.4.4", "8.8.8.8"].map(|ip| format!("{ip} {seen}")).join(",");
    cluster.wait_value(db, seen, &one("1 2026-05-01 00:00:00"));
    assert_eq!(cluster.value(db, "SELECT größe.populate_ip_inventory('meldung')"), "3");
    cluster.wait_value(db, seen, &one("2 2025-05-01 00:00:00"));
    let doctor =
        "SELECT detail FROM größe.enrichment_doctor() WHERE check_name IN ('columns', 'triggers') AND level <> 'ok'";
    assert_eq!(cluster.lines(db, doctor), [""; 0]);
    // The message names the real error, not an unreadable text.
    let refused = cluster.fails(db, "SELECT größe.attach_ip_source('meldung', '{größe}')");
    assert_eq!(refused.code, "42703");
    assert_eq!(cluster.fails(db, "SELECT größe.refresh_stale('größe')").code, "22023");
    assert_eq!(cluster.fails(db, "SELECT größe.mmdb_record('größe', '8.8.8.8')").code, "22023");
}

#[test]
fn a_database_with_a_multibyte_encoding_gets_its_letters() {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").start();
    fixtures::small(&cluster.maxmind_dir());
    let db = "encoded";
    cluster.sql(
        "postgres",
        &format!("CREATE DATABASE {db} TEMPLATE template0 ENCODING 'EUC_JP' LC_COLLATE 'C' LC_CTYPE 'C'"),
    );
    cluster.sql(db, "CREATE EXTENSION asn_inventory; CREATE TABLE 記録 (番地 inet, 内容 jsonb, 文書 json)");
    // Longer than what is converted at once, and its letters do not end where that does.
    for odd in ["", "x"] {
        let selectors = format!("ARRAY['番地', '内容->>{odd}' || repeat('鍵', 3000)]");
        cluster.sql(db, &format!("SELECT attach_ip_source('記録', {selectors})"));
        assert_eq!(cluster.value(db, &format!("SELECT ip_columns = {selectors} FROM ip_source")), "t");
    }
    cluster.sql(
        db,
        "SELECT attach_ip_source('記録', '{番地,内容->鍵->>址,文書->鍵->>址}');
         INSERT INTO 記録 VALUES ('8.8.8.8', '{\"鍵\": {\"址\": \"8.8.8.9\"}}', '{\"鍵\": {\"址\": \"8.8.8.10\"}}')",
    );
    cluster.wait_value(db, "SELECT count(*) FROM ip_inventory", "3");
    // The first walk would put the files' answer back.
    cluster.wait_walked(db);
    cluster.sql(db, "UPDATE ip_inventory SET city = '東京の網'");
    assert!(cluster.value(db, "SELECT inventory_report()").contains("&#26481;&#20140;&#12398;&#32178;"));
}
