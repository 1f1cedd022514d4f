//! The queue goes on when somebody adds a column to its table, and drops it again: PostgreSQL keeps its place.

use asn_inventory_tests::prelude::*;

#[test]
fn a_column_added_to_the_queue_stops_nothing_whether_it_stays_or_goes() {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "50ms").start();
    fixtures::small(&cluster.maxmind_dir());
    let db = "columns";
    cluster.sql("postgres", "CREATE DATABASE columns");
    cluster.sql(
        db,
        "CREATE EXTENSION asn_inventory; CREATE TABLE event (ip inet); SELECT attach_ip_source('event', '{ip}')",
    );
    let mut rows = 0;
    let mut arrive = |change: &str, alone: i64| {
        // What is queued when the table changes is absorbed after it.
        let mut session = cluster.connect(db);
        let all =
            format!("BEGIN; INSERT INTO event SELECT '1.1.1.1' FROM generate_series(1, {alone}); {change}; COMMIT");
        session.batch_execute(&all).expect(change);
        // One address, which is a row of its own, and many, which are packed.
        let some = "INSERT INTO event VALUES ('8.8.8.8'); INSERT INTO event SELECT '9.9.0.0'::inet + g FROM generate_series(1, 500) g";
        session.batch_execute(some).expect("rows");
        rows += 501 + alone;
        cluster.wait_value(db, "SELECT observations - unobserved FROM ip_source", &rows.to_string());
        assert_eq!(cluster.value(db, "SELECT sum(observation_count) FROM ip_inventory"), rows.to_string(), "{change}");
        assert_eq!(cluster.value(db, "SELECT queued FROM enrichment_status"), "0", "{change}");
        let bad = "SELECT check_name || ': ' || detail FROM enrichment_doctor() WHERE level = 'error'";
        assert_eq!(cluster.lines(db, bad), [""; 0], "{change}");
    };
    arrive("SELECT", 0);
    arrive("ALTER TABLE ip_observation ADD COLUMN note text", 3);
    arrive("ALTER TABLE ip_observation DROP COLUMN note, ADD COLUMN other int DEFAULT 7", 2);
    arrive("ALTER TABLE ip_observation DROP COLUMN other", 1);
}
