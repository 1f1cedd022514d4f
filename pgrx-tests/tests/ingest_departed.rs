//! Rows of partitions and children that were away, or not observed, when the table above was populated.

use crate::ingest_support::{Db, INDEXES};

const PARTITIONS: [&str; 1] = ["partitions"];

/// Its own trigger goes on meanwhile, and has not seen what is older.
#[test]
fn rows_from_before_the_attach_are_counted_when_their_table_was_away_at_the_first_populate() {
    let tables = "CREATE TABLE ev (ip inet, a int)";
    let partition = (
        format!(
            "{tables} PARTITION BY LIST (a); CREATE TABLE ev1 PARTITION OF ev FOR VALUES IN (1); CREATE TABLE ev2 PARTITION OF ev FOR VALUES IN (2)"
        ),
        "ALTER TABLE ev DETACH PARTITION ev1",
        "ALTER TABLE ev ATTACH PARTITION ev1 FOR VALUES IN (1)",
    );
    let child = (
        format!("{tables}; CREATE TABLE ev1 () INHERITS (ev); CREATE TABLE ev2 () INHERITS (ev)"),
        "ALTER TABLE ev1 NO INHERIT ev",
        "ALTER TABLE ev1 INHERIT ev",
    );
    for ((tables, leave, come), method) in
        [(&partition, "trigger"), (&partition, "row"), (&child, "trigger"), (&child, "row"), (&child, "index")]
    {
        for populated_before in [false, true] {
            let what = format!("{come}, {method}, {populated_before}");
            let db = Db::new();
            db.sql(&format!(
                "{tables}; INSERT INTO ev1 VALUES ('6.0.0.1', 1), ('6.0.0.1', 1); INSERT INTO ev2 VALUES ('6.0.0.1', 2);
                 SELECT attach_ip_source('ev', '{{ip}}', method => '{method}'); INSERT INTO ev1 VALUES ('6.0.0.1', 1)"
            ));
            let all = "SELECT populate_ip_inventory('ev')";
            if populated_before {
                assert_eq!(db.value(all), "3", "{what}");
            }
            db.sql(leave);
            db.sql("INSERT INTO ev1 VALUES ('6.0.0.1', 1)");
            db.sql(all);
            db.sql(come);
            db.sql("INSERT INTO ev1 VALUES ('6.0.0.1', 1)");
            db.sql(all);
            assert_eq!(db.counts(), ["6.0.0.1|6"], "{what}");
            // And once more, with nothing left.
            db.sql(leave);
            db.sql(come);
            for table in ["ev", "ev1"] {
                assert_eq!(db.value(&format!("SELECT populate_ip_inventory('{table}')")), "0", "{what}: {table}");
            }
            assert_eq!(db.complaints(&PARTITIONS), [""; 0], "{what}");
        }
    }
}

#[test]
fn rows_that_came_while_an_empty_child_with_its_index_was_away_are_counted_once() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE r (ip inet); CREATE TABLE c () INHERITS (r); INSERT INTO r VALUES ('6.0.0.1');
         SELECT attach_ip_source('r', '{ip}', method => 'index'), populate_ip_inventory('r')",
    );
    db.sql("ALTER TABLE c NO INHERIT r");
    db.sql("INSERT INTO c VALUES ('6.0.0.1'), ('6.0.0.1')");
    db.sql("ALTER TABLE c INHERIT r");
    db.sql("INSERT INTO c VALUES ('6.0.0.1')");
    assert_eq!(db.value("SELECT populate_ip_inventory('r')"), "2");
    assert_eq!(db.value("SELECT populate_ip_inventory('c')"), "0");
    assert_eq!(db.counts(), ["6.0.0.1|4"]);
    // Below another one, it is observed as before.
    db.sql("CREATE TABLE other (ip inet); ALTER TABLE c INHERIT other");
    assert_eq!(db.value("SELECT populate_ip_inventory('r')"), "0");
    assert_eq!(db.counts(), ["6.0.0.1|4"]);
}

#[test]
fn rows_of_a_child_without_an_index_are_counted_once_after_the_doctors_command() {
    for populated_before in [false, true] {
        let db = Db::new();
        db.sql(
            "CREATE TABLE r (ip inet); INSERT INTO r VALUES ('6.0.0.1');
             SELECT attach_ip_source('r', '{ip}', method => 'index'), populate_ip_inventory('r');
             CREATE TABLE c (ip inet); INSERT INTO c VALUES ('6.0.0.1'), ('6.0.0.1')",
        );
        db.sql("ALTER TABLE c INHERIT r");
        db.sql("INSERT INTO c VALUES ('6.0.0.1'), ('6.0.0.2')");
        // It may leave and come back meanwhile.
        db.sql("ALTER TABLE c NO INHERIT r");
        db.sql("ALTER TABLE c INHERIT r");
        assert_eq!(db.complaints(&PARTITIONS), [""; 0]);
        if populated_before {
            assert_eq!(db.value("SELECT populate_ip_inventory('r')"), "0");
            assert_eq!(db.fails("SELECT populate_ip_inventory('c')").message, "rows of \"c\" are not observed");
        }
        assert_eq!(db.complaints(&INDEXES).len(), 1);
        db.sql(&db.remedies(&INDEXES));
        db.sql("INSERT INTO c VALUES ('6.0.0.1')");
        assert_eq!(db.value("SELECT populate_ip_inventory('r')"), "4", "{populated_before}");
        assert_eq!(db.value("SELECT populate_ip_inventory('c')"), "0", "{populated_before}");
        assert_eq!(db.counts(), ["6.0.0.1|5", "6.0.0.2|1"], "{populated_before}");
        assert_eq!(db.complaints(&[INDEXES[0], PARTITIONS[0]]), [""; 0], "{populated_before}");
    }
}

/// Also of one that is made there, and of one below that, in the same transaction as its first rows.
#[test]
fn rows_of_a_child_that_came_empty_are_counted_once_after_the_doctors_command() {
    for (come, populated_before) in [
        ("CREATE TABLE c () INHERITS (r)", false),
        ("CREATE TABLE c () INHERITS (r)", true),
        ("CREATE TABLE c (ip inet); ALTER TABLE c INHERIT r", true),
    ] {
        let what = format!("{come}, {populated_before}");
        let db = Db::new();
        db.sql(
            "CREATE TABLE r (ip inet); SELECT attach_ip_source('r', '{ip}', method => 'index'), populate_ip_inventory('r');
             INSERT INTO r VALUES ('6.0.0.1')",
        );
        db.sql(&format!("{come}; CREATE TABLE d () INHERITS (c); INSERT INTO d VALUES ('6.0.0.1'), ('6.0.0.2')"));
        db.sql("INSERT INTO c VALUES ('6.0.0.1'), ('6.0.0.1')");
        if populated_before {
            assert_eq!(db.value("SELECT populate_ip_inventory('r')"), "0", "{what}");
            assert_eq!(
                db.fails("SELECT populate_ip_inventory('c')").message,
                "rows of \"c\" are not observed",
                "{what}"
            );
        }
        assert_eq!(db.complaints(&[INDEXES[0], PARTITIONS[0]]).len(), 1, "{what}");
        db.sql(&db.remedies(&INDEXES));
        db.sql("INSERT INTO c VALUES ('6.0.0.1'); INSERT INTO d VALUES ('6.0.0.1')");
        assert_eq!(db.value("SELECT populate_ip_inventory('r')"), "4", "{what}");
        for table in ["r", "c", "d"] {
            assert_eq!(db.value(&format!("SELECT populate_ip_inventory('{table}')")), "0", "{what}: {table}");
        }
        assert_eq!(db.counts(), ["6.0.0.1|6", "6.0.0.2|1"], "{what}");
        assert_eq!(db.complaints(&[INDEXES[0], PARTITIONS[0]]), [""; 0], "{what}");
    }
}

#[test]
fn rows_of_a_child_without_its_trigger_are_counted_once_when_the_table_above_is_attached_again() {
    for method in ["trigger", "row"] {
        for filled in [false, true] {
            let what = format!("{method}, {filled}");
            let db = Db::new();
            let attach = format!("SELECT attach_ip_source('r', '{{ip}}', method => '{method}')");
            db.sql(&format!(
                "CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
                 CREATE TABLE r (ip inet); {attach}; SELECT populate_ip_inventory('r'); INSERT INTO r VALUES ('6.0.0.1');
                 CREATE TABLE c (ip inet); CREATE TRIGGER asn_inventory_observe BEFORE INSERT ON c FOR EACH ROW EXECUTE FUNCTION theirs()"
            ));
            let row = "INSERT INTO c VALUES ('6.0.0.1')";
            if filled {
                db.sql(row);
            }
            db.sql("ALTER TABLE c INHERIT r");
            db.sql(row);
            db.sql("ALTER TABLE c NO INHERIT r");
            db.sql("ALTER TABLE c INHERIT r");
            db.sql(row);
            assert_eq!(db.value("SELECT populate_ip_inventory('r')"), "0", "{what}");
            db.sql("ALTER TRIGGER asn_inventory_observe ON c RENAME TO theirs");
            db.sql(&attach);
            db.sql(row);
            assert_eq!(db.value("SELECT populate_ip_inventory('r')"), if filled { "3" } else { "2" }, "{what}");
            assert_eq!(db.value("SELECT populate_ip_inventory('r')"), "0", "{what}");
            assert_eq!(db.counts(), [format!("6.0.0.1|{}", if filled { 5 } else { 4 })], "{what}");
            assert_eq!(db.complaints(&[PARTITIONS[0], "triggers"]), [""; 0], "{what}");
        }
    }
}

/// PostgreSQL makes none for the child of a table.
#[test]
fn rows_of_a_child_below_an_index_made_by_hand_are_counted_once_it_has_its_own() {
    for mend in ["CREATE INDEX ON c USING ip_observer (ip)", "SELECT attach_ip_source('r', '{ip}', method => 'index')"]
    {
        let db = Db::new();
        let rows = "INSERT INTO r VALUES ('6.0.0.1'); INSERT INTO c VALUES ('6.0.0.1')";
        db.sql(&format!("CREATE TABLE r (ip inet); CREATE TABLE c () INHERITS (r); {rows}"));
        db.sql("CREATE INDEX ON r USING ip_observer (ip)");
        db.sql(rows);
        assert_eq!(db.value("SELECT populate_ip_inventory('r')"), "1", "{mend}");
        assert_eq!(db.counts(), ["6.0.0.1|2"], "{mend}");
        db.sql(mend);
        db.sql(rows);
        assert_eq!(db.value("SELECT populate_ip_inventory('r')"), "2", "{mend}");
        assert_eq!(db.value("SELECT populate_ip_inventory('r')"), "0", "{mend}");
        assert_eq!(db.counts(), ["6.0.0.1|6"], "{mend}");
        assert_eq!(db.complaints(&[INDEXES[0], PARTITIONS[0]]), [""; 0], "{mend}");
    }
}
