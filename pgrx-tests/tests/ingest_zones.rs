//! Times without a zone: read in the inserting session's, or in the one that was named.

use crate::ingest_support::{Db, run};

fn seen(db: &Db) -> Vec<String> {
    db.settle();
    db.lines("SELECT host(ip_address), first_seen_at, last_seen_at FROM ip_inventory ORDER BY ip_address")
}

#[test]
fn a_named_zone_overrides_the_sessions_zone() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE local (ip inet, at timestamp); SELECT attach_ip_source('local', '{ip}', 'at@Europe/Berlin');
         CREATE TABLE day (ip inet, at date); SELECT attach_ip_source('day', '{ip}', 'at@America/New_York');
         CREATE TABLE plain (ip inet, at timestamp); SELECT attach_ip_source('plain', '{ip}', 'at')",
    );
    assert_eq!(
        db.lines("SELECT tbl, observed_at, observed_zone FROM ip_source ORDER BY tbl::text"),
        ["day|at|America/New_York", "local|at|Europe/Berlin", "plain|at|"]
    );
    for zone in ["Asia/Tokyo", "Pacific/Auckland"] {
        let mut session = db.connect();
        run(&mut session, &format!("SET TimeZone = '{zone}'"));
        run(&mut session, "INSERT INTO local VALUES ('1.1.1.1', '2024-07-01 12:00'), ('1.1.1.2', '2024-01-01 12:00')");
        run(&mut session, "INSERT INTO day VALUES ('1.1.1.3', '2024-07-01')");
        run(&mut session, "INSERT INTO plain VALUES ('1.1.1.4', '2024-07-01 12:00')");
    }
    assert_eq!(
        seen(&db),
        [
            "1.1.1.1|2024-07-01 10:00:00+00|2024-07-01 10:00:00+00",
            "1.1.1.2|2024-01-01 11:00:00+00|2024-01-01 11:00:00+00",
            "1.1.1.3|2024-07-01 04:00:00+00|2024-07-01 04:00:00+00",
            "1.1.1.4|2024-07-01 00:00:00+00|2024-07-01 03:00:00+00",
        ]
    );
}

#[test]
fn earlier_rows_and_partitions_use_the_named_zone_too() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE root (ip inet, at timestamp) PARTITION BY RANGE (at);
         CREATE TABLE p1 PARTITION OF root FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
         INSERT INTO root VALUES ('1.1.1.1', '2024-01-05 12:00');
         SELECT attach_ip_source('root', '{ip}', 'at@Asia/Kolkata'); SELECT populate_ip_inventory('root');
         CREATE TABLE p2 PARTITION OF root FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
         INSERT INTO root VALUES ('1.1.1.1', '2024-02-05 12:00')",
    );
    assert_eq!(seen(&db), ["1.1.1.1|2024-01-05 06:30:00+00|2024-02-05 06:30:00+00"]);
    // The doctor's command names it again.
    db.sql("DROP TRIGGER asn_inventory_observe ON root");
    let remedy = db.value("SELECT remedy FROM enrichment_doctor() WHERE check_name = 'triggers'");
    assert!(remedy.contains("'at@Asia/Kolkata'"), "{remedy}");
    db.sql(&remedy);
    db.sql("INSERT INTO root VALUES ('1.1.1.1', '2024-02-06 12:00')");
    assert_eq!(seen(&db), ["1.1.1.1|2024-01-05 06:30:00+00|2024-02-06 06:30:00+00"]);
}

#[test]
fn repeated_and_skipped_hours_are_read_as_postgresql_does() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE local (ip inet, at timestamp); SELECT attach_ip_source('local', '{ip}', 'at@Europe/Berlin');
         INSERT INTO local SELECT inet '34.64.0.0' + i, timestamp '2024-03-31 00:10' + i * interval '7 min' FROM generate_series(0, 40) i;
         INSERT INTO local SELECT inet '34.64.1.0' + i, timestamp '2024-10-27 00:10' + i * interval '7 min' FROM generate_series(0, 40) i;
         INSERT INTO local VALUES ('34.64.2.0', '1893-03-31 12:00'), ('34.64.2.1', 'infinity'), ('34.64.2.2', NULL)",
    );
    db.settle();
    let wrong = "SELECT count(*) FROM local JOIN ip_inventory ON ip_address = ip
                 WHERE first_seen_at <> at AT TIME ZONE 'Europe/Berlin' AND at > '2000-01-01' AND at < 'infinity'";
    assert_eq!(db.value(wrong), "0");
    assert_eq!(db.value("SELECT count(*) FROM ip_inventory WHERE first_seen_at > now() - interval '1 hour'"), "3");
}

#[test]
fn unknown_zones_are_refused() {
    let db = Db::new();
    db.sql(r#"CREATE TABLE t (ip inet, at timestamp, tz timestamptz, "at@UTC" timestamp)"#);
    for (observed_at, code, message) in [
        ("at@Europe/Nowhere", "22023", "time zone \"Europe/Nowhere\" not recognized"),
        ("at@", "22023", "time zone \"\" not recognized"),
        ("tz@UTC", "42804", "column \"tz\" of \"t\" cannot be used as observed_at"),
        ("no@UTC", "42703", "column \"no\" of relation \"t\" does not exist"),
        ("ip@UTC", "42804", "column \"ip\" of \"t\" cannot be used as observed_at"),
    ] {
        let refused = db.fails(&format!("SELECT attach_ip_source('t', '{{ip}}', '{observed_at}')"));
        assert_eq!((refused.code.as_str(), refused.message.as_str()), (code, message));
    }
    // A column that is called like that is that column.
    db.sql("SELECT attach_ip_source('t', '{ip}', 'at@UTC')");
    assert_eq!(db.lines("SELECT observed_at, observed_zone FROM ip_source"), ["at@UTC|"]);
}
