//! `detach_ip_source`, and `forget_ip_source` of a table that was detached before: what it had added is taken back where that is sure.

use crate::ingest_support::{Db, run};
use crate::take_back::FLOWS;

#[test]
fn rows_that_were_queued_when_their_table_was_detached_are_not_taken_back_later() {
    let db = Db::new();
    db.sql("CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}')");
    for before in ["BEGIN", "INSERT INTO e VALUES ('8.8.8.8'); BEGIN"] {
        db.sql(&format!(
            "{before}; INSERT INTO e VALUES ('8.8.8.8'), ('8.8.8.8'); SELECT detach_ip_source('e'); COMMIT"
        ));
        db.settle();
        db.sql("SELECT attach_ip_source('e', '{ip}')");
    }
    db.sql("INSERT INTO e VALUES ('8.8.8.8')");
    assert_eq!(db.counts(), ["8.8.8.8|6"]);
    db.sql("DELETE FROM e");
    assert_eq!(db.value("SELECT forget_ip_source('e')"), "1", "what its own sightings hold");
    assert_eq!(db.counts(), ["8.8.8.8|5"]);
    assert_eq!(db.lines("SELECT sum(observations) FROM ip_sightings"), ["5"]);
    assert_eq!(db.lines("SELECT DISTINCT tbl IS NULL, attached FROM ip_sighting_source"), ["t|f"]);
    db.wait("SELECT sum(observations) FROM activity_by_day WHERE kind = 'all'", "5");
}

/// Detached first, a wrong attach would be for good.
#[test]
fn what_a_table_had_added_before_it_was_detached_is_taken_back() {
    const ATTACH: &str = "SELECT attach_ip_source('flows', '{dst}')";
    const POPULATE: &str = "SELECT populate_ip_inventory('flows')";
    const DETACH: &str = "SELECT detach_ip_source('flows')";
    const ABSORB: &str = "";
    let cases: [(&[&str], &[&str]); 4] = [
        (&[ATTACH, POPULATE, ABSORB, DETACH], &["3"]),
        (&[ATTACH, POPULATE, ABSORB, DETACH, ATTACH, POPULATE, ABSORB, DETACH], &["6"]),
        // Attached again, each call takes back a share.
        (&[ATTACH, POPULATE, ABSORB, DETACH, ATTACH], &["0", "3"]),
        (&[ATTACH, POPULATE, ABSORB, DETACH, ATTACH, POPULATE], &["3", "3"]),
    ];
    for (steps, shares) in cases {
        let db = Db::new();
        db.sql(FLOWS);
        db.sql(
            "INSERT INTO flows VALUES ('8.8.8.8', '10.0.0.1', '2026-01-01Z'), ('1.1.1.1', '10.0.0.1', '2026-01-02Z'),
                                      ('1.1.1.1', '8.8.8.8', '2026-01-02Z')",
        );
        for step in steps {
            if *step == ABSORB { db.settle() } else { db.sql(step) }
        }
        for share in shares {
            assert_eq!(db.value("SELECT forget_ip_source('flows')"), *share, "{steps:?}");
        }
        assert_eq!(db.counts(), ["8.8.8.8|2", "9.9.9.9|1"], "{steps:?}");
        let refused = db.fails("SELECT forget_ip_source('flows')");
        assert_eq!(refused.message, "table \"flows\" is not attached", "{steps:?}");
        assert_eq!(db.lines("SELECT DISTINCT tbl FROM ip_sightings"), ["others"], "{steps:?}");
        db.sql("SELECT attach_ip_source('flows', '{src}', 'at')");
        assert_eq!(db.value("SELECT populate_ip_inventory('flows')"), "3", "{steps:?}");
        assert_eq!(db.counts(), ["1.1.1.1|2", "8.8.8.8|3", "9.9.9.9|1"], "{steps:?}");
    }
}

/// Another table of that name has not added it.
#[test]
fn what_a_dropped_table_had_added_is_not_taken_back_by_one_of_its_name() {
    let db = Db::new();
    let steps = "CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}'); INSERT INTO e VALUES ('8.8.8.8')";
    db.sql(steps);
    db.settle();
    db.sql("SELECT detach_ip_source('e')");
    db.sql("DROP TABLE e");
    db.sql(steps);
    db.settle();
    db.sql("SELECT detach_ip_source('e')");
    assert_eq!(db.value("SELECT forget_ip_source('e')"), "1");
    assert_eq!(db.counts(), ["8.8.8.8|1"]);
    assert_eq!(db.fails("SELECT forget_ip_source('e')").code, "55000");
    assert_eq!(db.counts(), ["8.8.8.8|1"]);
}

#[test]
fn what_a_detached_table_had_added_stays_where_its_sightings_alone_do_not_tell_it() {
    const REFUSED: &str = "table \"root\" is not attached, and nothing was taken back";
    let db = Db::new();
    let root =
        "CREATE TABLE root (k int, ip inet) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF root FOR VALUES IN (1);
         SELECT attach_ip_source('root', '{ip}'); INSERT INTO root VALUES (1, '8.8.8.8')";
    // The note on the partition says that its row is counted.
    db.sql(root);
    db.settle();
    db.sql("ALTER TABLE root DETACH PARTITION p1");
    db.sql("SELECT detach_ip_source('root')");
    assert_eq!(db.fails("SELECT forget_ip_source('root')").message, REFUSED);
    assert_eq!(db.counts(), ["8.8.8.8|1"]);
    // As it is of a table that was attached before there were sightings.
    let db = Db::new();
    db.sql(root);
    db.settle();
    db.sql("DELETE FROM ip_sighting; INSERT INTO root VALUES (1, '8.8.8.8')");
    db.settle();
    db.sql("SELECT detach_ip_source('root')");
    assert_eq!(db.fails("SELECT forget_ip_source('root')").message, REFUSED);
    assert_eq!(db.counts(), ["8.8.8.8|2"]);
    // Rows wait in the queue, which get another place than those before, or none.
    for method in ["trigger", "row", "index"] {
        let db = Db::new();
        let insert = "INSERT INTO root VALUES ('8.8.8.8')";
        db.sql(&format!(
            "CREATE TABLE root (ip inet); SELECT attach_ip_source('root', '{{ip}}', method => '{method}'); {insert}"
        ));
        db.settle();
        db.sql(&format!("BEGIN; {insert}; SELECT detach_ip_source('root'); COMMIT"));
        assert_eq!(db.fails("SELECT forget_ip_source('root')").message, REFUSED, "{method}");
        assert_eq!(db.counts(), ["8.8.8.8|2"], "{method}");
    }
    // And a partition that has left and kept its trigger has no share of its own.
    let db = Db::new();
    db.sql(root);
    db.sql("ALTER TABLE root DETACH PARTITION p1; INSERT INTO p1 VALUES (1, '8.8.8.8')");
    db.settle();
    assert_eq!(db.fails("SELECT forget_ip_source('p1')").message, "table \"p1\" is not attached");
    assert_eq!(db.counts(), ["8.8.8.8|2"]);
}

#[test]
fn an_open_detach_keeps_no_row_from_being_absorbed() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}'); CREATE TABLE o (ip inet); SELECT attach_ip_source('o', '{ip}');
         INSERT INTO e VALUES ('8.8.8.8')",
    );
    db.settle();
    let (mut holder, mut detaching) = (db.connect(), db.connect());
    run(&mut holder, "BEGIN; LOCK ip_inventory IN SHARE MODE");
    db.sql("INSERT INTO e VALUES ('8.8.8.8'), ('9.9.9.9'); INSERT INTO o VALUES ('1.1.1.1')");
    run(&mut detaching, "BEGIN; SELECT detach_ip_source('e')");
    run(&mut holder, "COMMIT");
    // The counts of the table itself wait for the detach, and nothing else.
    let counts =
        "SELECT string_agg(host(ip_address) || ' ' || observation_count, ',' ORDER BY ip_address) FROM ip_inventory";
    db.wait(counts, "1.1.1.1 1,8.8.8.8 2,9.9.9.9 1");
    run(&mut detaching, "COMMIT");
    db.settle();
    let sightings = "SELECT host(ip_address), tbl, observations FROM ip_sightings ORDER BY ip_address";
    assert_eq!(db.lines(sightings), ["1.1.1.1|o|1", "8.8.8.8|public.e|2", "9.9.9.9|public.e|1"]);
    let late = "SELECT last_seen_at = (SELECT max(last_seen_at) FROM ip_sightings WHERE tbl = 'public.e') FROM ip_sensors WHERE tbl = 'public.e'";
    assert_eq!(db.value(late), "t");
}
