//! `forget_ip_source`: a table that was attached the wrong way is subtracted, and read again.

use crate::ingest_support::{Db, run, value};
use asn_inventory_tests::prelude::*;

pub const FLOWS: &str = "CREATE TABLE flows (src inet, dst inet, at timestamptz);
     CREATE TABLE others (ip inet); SELECT attach_ip_source('others', '{ip}');
     INSERT INTO others VALUES ('8.8.8.8'), ('8.8.8.8'), ('9.9.9.9');";

#[test]
fn a_wrong_column_without_its_time_is_taken_back_and_read_again() {
    let db = Db::new();
    db.sql(FLOWS);
    db.sql(
        "INSERT INTO flows VALUES ('8.8.8.8', '10.0.0.1', '2026-01-01Z'), ('1.1.1.1', '10.0.0.1', '2026-01-02Z');
         SELECT attach_ip_source('flows', '{dst}'); SELECT populate_ip_inventory('flows');
         INSERT INTO flows VALUES ('1.1.1.1', '8.8.8.8', '2026-01-03Z'), (NULL, '10.0.0.2', '2026-01-04Z')",
    );
    assert_eq!(db.counts(), ["8.8.8.8|3", "9.9.9.9|1", "10.0.0.1|2", "10.0.0.2|1"]);
    assert_eq!(db.value("SELECT forget_ip_source('flows')"), "4");
    assert_eq!(db.counts(), ["8.8.8.8|2", "9.9.9.9|1"], "the others' share stays");
    assert_eq!(db.sources(), ["others|3|0"]);
    db.sql("INSERT INTO flows VALUES ('1.1.1.1', '10.0.0.3', '2026-01-05Z')");
    db.sql("SELECT attach_ip_source('flows', '{src}', 'at')");
    assert_eq!(db.value("SELECT populate_ip_inventory('flows')"), "4");
    assert_eq!(db.counts(), ["1.1.1.1|3", "8.8.8.8|3", "9.9.9.9|1"]);
    assert_eq!(
        db.lines("SELECT first_seen_at::date, last_seen_at::date FROM ip_inventory WHERE ip_address = '1.1.1.1'"),
        ["2026-01-02|2026-01-05"]
    );
    assert_eq!(db.value("SELECT asn_org IS NOT NULL FROM ip_inventory WHERE ip_address = '1.1.1.1'"), "t");
}

/// The counts of networks remember first and last times; those of a wrong column must not stay.
#[test]
fn times_of_networks_are_taken_back_with_those_of_addresses() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE flows (src inet, born timestamptz); CREATE TABLE others (ip inet, at timestamptz);
         SELECT attach_ip_source('flows', '{src}', 'born'); SELECT attach_ip_source('others', '{ip}', 'at');
         INSERT INTO others VALUES ('8.8.8.8', '2025-03-01Z'), ('178.128.0.1', '2025-03-02Z'), ('34.64.0.1', '2025-03-03Z');
         INSERT INTO flows VALUES ('8.8.8.8', '2025-01-01Z'), ('8.8.8.9', '2025-01-02Z'), ('1.1.1.1', '2025-01-03Z'),
                                  ('178.128.0.1', '2025-06-01Z'), ('34.64.0.2', '2025-07-01Z')",
    );
    let times = "SELECT asn_number, first_seen_at::date, last_seen_at::date FROM asn_inventory ORDER BY 1";
    let counted = [
        "13335|2025-01-03|2025-01-03",
        "14061|2025-03-02|2025-06-01",
        "15169|2025-01-01|2025-03-01",
        "396982|2025-03-03|2025-07-01",
    ];
    wait_for("the counts", || db.lines(times), |found| found == &counted);
    // From an address that left the AS, or was deleted: nothing else knows of it.
    db.sql("UPDATE asn_inventory SET first_seen_at = '2019-01-01Z' WHERE asn_number = 396982");
    assert_eq!(db.value("SELECT forget_ip_source('flows')"), "5");
    let left =
        ["13335||", "14061|2025-03-02|2025-03-02", "15169|2025-03-01|2025-03-01", "396982|2019-01-01|2025-03-03"];
    assert_eq!(db.lines(times), left);
    // No count brings them back.
    db.sql("INSERT INTO others VALUES ('8.8.8.8', '2025-03-01Z')");
    db.wait("SELECT observation_count FROM asn_inventory WHERE asn_number = 15169", "2");
    assert_eq!(db.lines(times), left);
    assert_eq!(db.lines("SELECT asn_number FROM top_networks ORDER BY 1"), ["14061", "15169", "396982"]);
}

/// A count of the rows of before would bring the times back.
#[test]
fn no_count_of_networks_goes_on_beside_an_open_forget() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (ip inet, at timestamptz); SELECT attach_ip_source('e', '{ip}', 'at');
         INSERT INTO e VALUES ('8.8.8.8', '2025-01-01Z')",
    );
    db.wait("SELECT ip_count FROM asn_inventory", "1");
    let mut session = db.connect();
    run(&mut session, "BEGIN; SELECT forget_ip_source('e')");
    db.sql("INSERT INTO ip_inventory (ip_address, observation_count) VALUES ('8.8.8.9', 1)");
    // There are other databases in this cluster.
    let waits = "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'object' AND objsubid = 4 AND NOT granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    db.wait(waits, "t");
    assert_eq!(db.value("SELECT addresses FROM inventory_count"), "1");
    run(&mut session, "COMMIT");
    db.wait("SELECT addresses || ' ' || ip_count FROM inventory_count, asn_inventory", "1 0");
    assert_eq!(db.lines("SELECT first_seen_at FROM asn_inventory"), [""]);
}

#[test]
fn only_counted_rows_are_taken_back() {
    let db = Db::new();
    db.sql(FLOWS);
    // These were there before, and were not counted.
    db.sql("INSERT INTO flows VALUES ('8.8.8.8'), ('8.8.8.8'); SELECT attach_ip_source('flows', '{src}')");
    db.sql("INSERT INTO flows VALUES ('8.8.8.8'), ('1.1.1.1')");
    // Only asked about.
    db.sql("SELECT enrich_ip('9.9.9.10')");
    assert_eq!(db.counts(), ["1.1.1.1|1", "8.8.8.8|3", "9.9.9.9|1", "9.9.9.10|0"]);
    assert_eq!(db.value("SELECT forget_ip_source('flows')"), "2");
    assert_eq!(db.counts(), ["8.8.8.8|2", "9.9.9.9|1", "9.9.9.10|0"]);
    let refused = db.fails("SELECT forget_ip_source('flows')");
    assert_eq!((refused.code.as_str(), refused.message.as_str()), ("55000", "table \"flows\" is not attached"));
    // Without its sightings, deleted rows can no longer be read: their count stays, and no count gets too low.
    db.sql("DELETE FROM ip_sighting; DELETE FROM others WHERE ip = '9.9.9.9'; UPDATE ip_inventory SET observation_count = 1 WHERE ip_address = '8.8.8.8'");
    assert_eq!(db.value("SELECT forget_ip_source('others')"), "1");
    assert_eq!(db.counts(), ["9.9.9.9|1", "9.9.9.10|0"]);
}

#[test]
fn queued_rows_are_taken_back_too_and_a_rollback_undoes_it() {
    let db = Db::new();
    db.sql(FLOWS);
    db.sql("SELECT attach_ip_source('flows', '{src}'); INSERT INTO flows VALUES ('1.1.1.1')");
    let mut session = db.connect();
    run(&mut session, "BEGIN; INSERT INTO flows SELECT inet '34.64.0.0' + i % 3000 FROM generate_series(1, 250000) i");
    assert_eq!(value(&mut session, "SELECT forget_ip_source('flows')"), "250001");
    run(&mut session, "ROLLBACK");
    assert_eq!(db.counts(), ["1.1.1.1|1", "8.8.8.8|2", "9.9.9.9|1"]);
    assert_eq!(db.sources(), ["flows|1|0", "others|3|0"]);
    run(&mut session, "BEGIN; INSERT INTO flows SELECT inet '34.64.0.0' + i % 3000 FROM generate_series(1, 250000) i");
    assert_eq!(value(&mut session, "SELECT forget_ip_source('flows')"), "250001");
    run(&mut session, "COMMIT");
    assert_eq!(db.counts(), ["8.8.8.8|2", "9.9.9.9|1"]);
    db.sql("INSERT INTO flows VALUES ('1.1.1.1')");
    assert_eq!(db.counts(), ["8.8.8.8|2", "9.9.9.9|1"], "it is detached");
}

#[test]
fn concurrent_loaders_of_other_tables_lose_nothing() {
    let db = Db::new();
    db.sql("CREATE TABLE flows (src inet); SELECT attach_ip_source('flows', '{src}'); CREATE TABLE others (ip inet); SELECT attach_ip_source('others', '{ip}')");
    db.sql("INSERT INTO flows SELECT inet '34.64.0.0' + i % 500 FROM generate_series(0, 99999) i");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut session = db.connect();
                for _ in 0..40 {
                    run(&mut session, "INSERT INTO others SELECT inet '34.64.0.0' + i FROM generate_series(0, 499) i");
                }
            });
        }
        // A row may be held by the absorber in between: then it says so, and nothing was done.
        wait_until("the table to be forgotten", || {
            db.cluster.try_sql(&db.name, "SELECT forget_ip_source('flows')").is_ok()
        });
    });
    let counts = db.counts();
    assert_eq!(counts.len(), 500);
    assert!(counts.iter().all(|line| line.ends_with("|80")), "{counts:?}");
}

#[test]
fn pending_counts_of_the_table_are_removed_with_it() {
    let db = Db::new();
    db.sql(FLOWS);
    db.sql("SELECT attach_ip_source('flows', '{src}'); INSERT INTO flows VALUES ('8.8.8.8')");
    assert_eq!(db.counts(), ["8.8.8.8|3", "9.9.9.9|1"]);
    // A session locks the table's row of ip_source while more rows come: addresses are absorbed, and the table's counts
    // wait.
    let mut holder = db.connect();
    run(&mut holder, "BEGIN; SELECT FROM ip_source WHERE tbl = 'flows'::regclass FOR UPDATE");
    db.sql("INSERT INTO flows VALUES ('8.8.8.8'), ('10.0.0.0/8')");
    db.wait("SELECT observation_count FROM ip_inventory WHERE ip_address = '8.8.8.8'", "4");
    db.wait("SELECT count(*) > 0 FROM ip_observation WHERE retry_at IS NOT NULL", "t");
    run(&mut holder, "COMMIT");
    assert_eq!(db.value("SELECT forget_ip_source('flows')"), "2");
    db.sql("SELECT attach_ip_source('flows', '{src}'); SELECT populate_ip_inventory('flows')");
    assert_eq!(db.counts(), ["8.8.8.8|4", "9.9.9.9|1"]);
    assert_eq!(db.sources(), ["flows|2|1", "others|3|0"]);
}

#[test]
fn pending_counts_of_a_partition_attached_by_itself_stay() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE root (k int, ip inet) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF root FOR VALUES IN (1);
         CREATE TABLE p0 PARTITION OF root FOR VALUES IN (0);
         SELECT attach_ip_source('root', '{ip}'), attach_ip_source('p1', '{ip}'); INSERT INTO root VALUES (0, '8.8.8.8')",
    );
    db.settle();
    let mut holder = db.connect();
    run(&mut holder, "BEGIN; SELECT FROM ip_source WHERE tbl = 'p1'::regclass FOR UPDATE");
    db.sql("INSERT INTO p1 VALUES (1, '8.8.8.8'), (1, '8.8.8.8')");
    db.wait("SELECT observation_count FROM ip_inventory WHERE ip_address = '8.8.8.8'", "3");
    db.wait("SELECT count(*) > 0 FROM ip_observation WHERE retry_at IS NOT NULL", "t");
    assert_eq!(db.value("SELECT forget_ip_source('root')"), "1");
    run(&mut holder, "COMMIT");
    assert_eq!(db.counts(), ["8.8.8.8|2"]);
    assert_eq!(db.sources(), ["p1|2|0"]);
}

/// A partition keeps its trigger while it is detached, and what it adds then is its own.
#[test]
fn what_a_partition_added_while_it_was_detached_is_taken_back_with_its_table() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE root (k int, ip inet) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF root FOR VALUES IN (1);
         SELECT attach_ip_source('root', '{ip}'); INSERT INTO root VALUES (1, '8.8.8.8');
         ALTER TABLE root DETACH PARTITION p1; INSERT INTO p1 VALUES (1, '8.8.8.8')",
    );
    db.settle();
    db.sql("ALTER TABLE root ATTACH PARTITION p1 FOR VALUES IN (1); INSERT INTO p1 VALUES (1, '8.8.8.8')");
    assert_eq!(db.counts(), ["8.8.8.8|3"]);
    assert_eq!(db.value("SELECT forget_ip_source('root')"), "3");
    assert_eq!(db.counts(), [""; 0]);
    assert_eq!(db.value("SELECT count(*) FROM ip_sighting"), "0");
    db.sql("SELECT attach_ip_source('root', '{ip}')");
    assert_eq!(db.value("SELECT populate_ip_inventory('root')"), "3");
    assert_eq!(db.counts(), ["8.8.8.8|3"]);
}

/// A partition with five rows of a known address, and its table, each attached by itself, in the order of `attached`. After
/// each of the two comes one more row.
fn attach_both(db: &Db, attached: [&str; 2]) {
    db.sql(
        "CREATE TABLE others (ip inet); SELECT attach_ip_source('others', '{ip}'); INSERT INTO others VALUES ('9.9.9.9');
         CREATE TABLE t (k int, ip inet) PARTITION BY LIST (k); CREATE TABLE c PARTITION OF t FOR VALUES IN (1);
         INSERT INTO t SELECT 1, '9.9.9.9' FROM generate_series(1, 5)",
    );
    for table in attached {
        db.sql(&format!("SELECT attach_ip_source('{table}', '{{ip}}')"));
        db.sql("INSERT INTO c VALUES (1, '9.9.9.9')");
    }
    assert_eq!(db.counts(), ["9.9.9.9|3"], "{attached:?}");
}

#[test]
fn rows_of_a_detached_partition_count_once_for_the_table_above() {
    for attached in [["t", "c"], ["c", "t"]] {
        let db = Db::new();
        attach_both(&db, attached);
        db.sql("SELECT detach_ip_source('c')");
        db.sql("INSERT INTO c VALUES (1, '9.9.9.9')");
        assert_eq!(db.counts(), ["9.9.9.9|4"], "{attached:?}");
        assert_eq!(db.value("SELECT populate_ip_inventory('t')"), "5", "{attached:?}");
        assert_eq!(db.counts(), ["9.9.9.9|9"], "{attached:?}");
        for table in ["t", "c"] {
            assert_eq!(db.value(&format!("SELECT populate_ip_inventory('{table}')")), "0", "{attached:?}, {table}");
        }
    }
}

#[test]
fn rows_taken_back_from_a_partition_count_for_the_table_above() {
    // What the table above had observed before the partition was attached stays counted, as its own.
    for (attached, seen, taken) in [(["t", "c"], 1, 1), (["c", "t"], 0, 2)] {
        let db = Db::new();
        attach_both(&db, attached);
        assert_eq!(db.value("SELECT forget_ip_source('c')"), taken.to_string(), "{attached:?}");
        db.sql("INSERT INTO c VALUES (1, '9.9.9.9')");
        assert_eq!(db.counts(), [format!("9.9.9.9|{}", 2 + seen)], "{attached:?}");
        assert_eq!(db.value("SELECT populate_ip_inventory('t')"), (7 - seen).to_string(), "{attached:?}");
        assert_eq!(db.counts(), ["9.9.9.9|9"], "{attached:?}");
        assert_eq!(db.value("SELECT populate_ip_inventory('t')"), "0", "{attached:?}");
    }
    // Also what still waits in the queue when the partition is attached.
    let db = Db::new();
    db.sql(
        "CREATE TABLE t (k int, ip inet) PARTITION BY LIST (k); CREATE TABLE c PARTITION OF t FOR VALUES IN (1);
         SELECT attach_ip_source('t', '{ip}')",
    );
    db.settle();
    let mut holder = db.connect();
    run(&mut holder, "BEGIN; SELECT absorb_observations()");
    db.sql("INSERT INTO t VALUES (1, '9.9.9.9'); INSERT INTO c VALUES (1, '9.9.9.9'), (1, 'fe80::1')");
    run(&mut holder, "INSERT INTO c VALUES (1, '9.9.9.9'); SELECT attach_ip_source('c', '{ip}'); COMMIT");
    db.sql("INSERT INTO c VALUES (1, '9.9.9.9')");
    assert_eq!(db.counts(), ["9.9.9.9|4", "fe80::1|1"]);
    assert_eq!(db.sources(), ["c|1|0", "t|4|0"]);
    assert_eq!(db.value("SELECT forget_ip_source('c')"), "1");
    assert_eq!(db.counts(), ["9.9.9.9|3", "fe80::1|1"]);
    assert_eq!(db.value("SELECT populate_ip_inventory('t')"), "1");
    assert_eq!(db.counts(), ["9.9.9.9|4", "fe80::1|1"]);
    // Also those of before that it had counted.
    let db = Db::new();
    db.sql(
        "CREATE TABLE others (ip inet); SELECT attach_ip_source('others', '{ip}'); INSERT INTO others VALUES ('9.9.9.9');
         CREATE TABLE t (k int, ip inet) PARTITION BY LIST (k); CREATE TABLE c PARTITION OF t FOR VALUES IN (1);
         INSERT INTO t SELECT 1, '9.9.9.9' FROM generate_series(1, 5)",
    );
    db.sql("SELECT attach_ip_source('t', '{ip}')");
    db.sql("SELECT attach_ip_source('c', '{ip}')");
    assert_eq!(db.value("SELECT populate_ip_inventory('c')"), "5");
    assert_eq!(db.counts(), ["9.9.9.9|6"]);
    assert_eq!(db.value("SELECT forget_ip_source('c')"), "5");
    assert_eq!(db.value("SELECT populate_ip_inventory('t')"), "5");
    assert_eq!(db.counts(), ["9.9.9.9|6"]);
}

#[test]
fn only_the_owner_of_the_table_may_forget_it() {
    let db = Db::new();
    let role = format!("forgetter_of_{}", db.name);
    db.sql(FLOWS);
    db.sql(&format!(
        "CREATE ROLE {role} LOGIN; GRANT EXECUTE ON FUNCTION forget_ip_source, attach_ip_source, observe_addresses TO {role};
         CREATE TABLE mine (ip inet); ALTER TABLE mine OWNER TO {role}"
    ));
    let mut session = db.connect_as(&role);
    assert_eq!(crate::ingest_support::refused(&mut session, "SELECT forget_ip_source('others')").code, "42501");
    run(&mut session, "SELECT attach_ip_source('mine', '{ip}')");
    run(&mut session, "INSERT INTO mine VALUES ('1.1.1.1'), ('8.8.8.8')");
    assert_eq!(value(&mut session, "SELECT forget_ip_source('mine')"), "2");
    assert_eq!(db.counts(), ["8.8.8.8|2", "9.9.9.9|1"]);
}

/// Rows that no trigger saw look like others once they are changed: observations of other tables stay.
#[test]
fn a_table_cannot_take_back_more_than_it_added() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE f (ip inet); SELECT attach_ip_source('f', '{ip}'); INSERT INTO f SELECT '8.8.8.8' FROM generate_series(1, 5);
         CREATE TABLE e (ip inet, note text); INSERT INTO e SELECT '8.8.8.8' FROM generate_series(1, 5);
         SELECT attach_ip_source('e', '{ip}')",
    );
    db.settle();
    // Nothing but its rows says what it has added.
    db.sql("UPDATE e SET note = 'x'; INSERT INTO e VALUES ('8.8.8.8')");
    db.settle();
    db.sql("DELETE FROM ip_sighting");
    let refused = db.fails("SELECT forget_ip_source('e')");
    assert_eq!(refused.code, "55000", "{refused:?}");
    assert_eq!(db.counts(), ["8.8.8.8|6"]);
    assert_eq!(db.value("SELECT count(*) FROM ip_source"), "2");
}

/// SQL refuses to delete from a table without a key that is in a publication.
#[test]
fn a_publication_of_all_tables_does_not_keep_a_table() {
    let db = Db::new();
    db.sql("CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}'); INSERT INTO e VALUES ('8.8.8.8')");
    db.settle();
    db.sql("CREATE PUBLICATION everything FOR ALL TABLES");
    assert_eq!(db.value("SELECT forget_ip_source('e')"), "1");
    assert_eq!(db.counts(), [""; 0]);
}

/// Foreign keys are not checked if no trigger fires: a referenced row must stay.
#[test]
fn an_address_referenced_by_a_foreign_key_stays_with_count_0() {
    let db = Db::new();
    db.sql("CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}'); INSERT INTO e VALUES ('8.8.8.8')");
    db.settle();
    db.sql("CREATE TABLE notes (ip inet REFERENCES ip_inventory (ip_address)); INSERT INTO notes VALUES ('8.8.8.8')");
    assert_eq!(db.value("SELECT forget_ip_source('e')"), "1");
    assert_eq!(db.counts(), ["8.8.8.8|0"]);
    db.sql(
        "ALTER TABLE notes DROP CONSTRAINT notes_ip_fkey, ADD FOREIGN KEY (ip) REFERENCES ip_inventory (ip_address)",
    );
}

#[test]
fn after_a_change_of_columns_taking_back_is_refused() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE f (src inet, dst inet); SELECT attach_ip_source('f', '{dst}');
         CREATE TABLE g (ip inet); SELECT attach_ip_source('g', '{ip}');
         INSERT INTO f SELECT '10.0.0.1', '10.0.0.2' FROM generate_series(1, 10); INSERT INTO g SELECT '10.0.0.1' FROM generate_series(1, 10)",
    );
    db.settle();
    db.sql("SELECT attach_ip_source('f', '{dst}'); SELECT attach_ip_source('f', '{src}'); DELETE FROM ip_sighting");
    let refused = db.fails("SELECT forget_ip_source('f')");
    assert_eq!((refused.code.as_str(), refused.message.contains("other columns")), ("55000", true), "{refused:?}");
    assert_eq!(db.counts(), ["10.0.0.1|10", "10.0.0.2|10"]);
    // One that never held an address has nothing to be mixed up with.
    db.sql("CREATE TABLE h (src inet, none inet); SELECT attach_ip_source('h', '{none}'); INSERT INTO h VALUES ('10.0.0.3')");
    db.settle();
    db.sql("SELECT attach_ip_source('h', '{src}'); INSERT INTO h VALUES ('10.0.0.4')");
    db.settle();
    assert_eq!(db.value("SELECT forget_ip_source('h')"), "1");
}

/// Temporary tables have one place together, which is not another one's.
#[test]
fn what_a_temporary_table_has_added_is_taken_back() {
    let db = Db::new();
    db.sql("CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}'); INSERT INTO e VALUES ('8.8.8.8')");
    let mut session = db.connect();
    let given = "CREATE TEMP TABLE tt (src inet, dst inet); SELECT attach_ip_source('tt', '{dst}');
         INSERT INTO tt VALUES ('1.1.1.1', '8.8.8.8'), ('1.1.1.1', '8.8.8.8')";
    run(&mut session, given);
    assert_eq!(db.counts(), ["8.8.8.8|3"]);
    run(&mut session, "SELECT forget_ip_source('tt')");
    assert_eq!(db.counts(), ["8.8.8.8|1"]);
}

/// The sightings of before say more than the inventory has of them.
#[test]
fn of_an_address_that_was_deleted_others_keep_what_they_saw_since() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE f (ip inet); SELECT attach_ip_source('f', '{ip}'); CREATE TABLE g (ip inet); SELECT attach_ip_source('g', '{ip}');
         INSERT INTO f SELECT '2a00::5' FROM generate_series(1, 10); INSERT INTO g SELECT '2a00::5' FROM generate_series(1, 4);
         INSERT INTO f VALUES ('2a00::6'); INSERT INTO g VALUES ('2a00::6'), ('2a00::6')",
    );
    assert_eq!(db.counts(), ["2a00::5|14", "2a00::6|3"]);
    db.sql("DELETE FROM ip_inventory; INSERT INTO g VALUES ('2a00::5'); INSERT INTO f VALUES ('2a00::6')");
    assert_eq!(db.counts(), ["2a00::5|1", "2a00::6|1"]);
    // What only this one saw since goes, and what another one saw stays.
    assert_eq!(db.value("SELECT forget_ip_source('f')"), "1");
    assert_eq!(db.counts(), ["2a00::5|1"]);
    db.sql("SELECT attach_ip_source('f', '{ip}')");
    assert_eq!(db.value("SELECT populate_ip_inventory('f')"), "12");
    assert_eq!(db.counts(), ["2a00::5|11", "2a00::6|2"]);
    // Without its own sightings, its rows say no more.
    db.sql("DELETE FROM ip_inventory WHERE ip_address = '2a00::5'; INSERT INTO g VALUES ('2a00::5')");
    assert_eq!(db.counts(), ["2a00::5|1", "2a00::6|2"]);
    db.sql("DELETE FROM ip_sighting WHERE source_id IN (SELECT id FROM ip_sighting_source WHERE tbl = 'f'::regclass)");
    assert_eq!(db.value("SELECT forget_ip_source('f')"), "2");
    assert_eq!(db.counts(), ["2a00::5|1"]);
}
