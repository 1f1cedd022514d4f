//! The index of the history by time, which 0.3.0 brings: an update builds it in a moment, or asks for it beforehand.

use crate::ingest_support::{Db, refused, run, value};
use crate::upgrade_support::catalog::assert_as_fresh;
use crate::upgrade_support::{VERSIONS, assert_counted_exactly, old_database, unobserved, version};
use std::thread;

/// Wide rows, four to a block: more than 32 MB in a moment.
const LARGE: &str = "INSERT INTO ip_asn_history (ip_address, changed_at, old_asn, old_source)
    SELECT '51.15.0.0'::inet + i, now() - i * interval '1 minute', 64500, repeat('x', 1900) FROM generate_series(1, 18000) i";

const SMALL: &str = "INSERT INTO ip_asn_history (ip_address, changed_at, old_asn, old_source)
    SELECT '51.15.0.0'::inet + i, now(), 64500, 'maxmind' FROM generate_series(1, 100) i";

const INDEX: &str = "SELECT indexrelid, indisvalid FROM pg_index WHERE indexrelid = to_regclass('ip_asn_history_time')";

/// What is left where `CREATE INDEX CONCURRENTLY` fails: an index that is not valid.
fn leave_remains(db: &Db) {
    let failed = db.fails("CREATE UNIQUE INDEX CONCURRENTLY ip_asn_history_time ON ip_asn_history (old_asn)");
    assert_eq!(failed.code, "23505", "{failed:?}");
    assert_eq!(db.lines(INDEX)[0].rsplit('|').next(), Some("f"));
}

/// Has the update refused, and returns the hint.
fn refusal_hint(db: &Db) -> String {
    let before = version(db);
    let told = refused(&mut db.connect(), "ALTER EXTENSION asn_inventory UPDATE");
    assert_eq!(told.code, "55000", "{told:?}");
    assert_eq!(told.message, "cannot update asn_inventory: its history is large and has no index by time");
    assert!(told.detail.contains("ip_asn_history") && told.detail.contains("32 MB"), "{told:?}");
    assert_eq!(version(db), before);
    told.hint
}

/// Has the update refused, and returns the commands of the hint before the update itself.
fn refusal(db: &Db) -> Vec<String> {
    let hint = refusal_hint(db);
    let commands =
        hint.strip_prefix("Nothing was changed. Run ").and_then(|hint| hint.split_once("; and the command again."));
    commands.expect("commands").0.split("; ").map(str::to_owned).collect()
}

#[test]
fn a_large_history_needs_its_index_before_the_update() {
    for before in VERSIONS {
        let db = old_database(before);
        db.sql(LARGE);
        let commands = refusal(&db);
        assert_eq!(commands, ["CREATE INDEX CONCURRENTLY ip_asn_history_time ON public.ip_asn_history (changed_at)"]);
        db.sql(&commands[0]);
        let made = db.lines(INDEX);
        db.sql("INSERT INTO events VALUES (1, '8.8.8.8')");
        db.sql("ALTER EXTENSION asn_inventory UPDATE");
        assert_eq!(db.lines(INDEX), made, "it is not built a second time");
        assert_as_fresh(db.cluster, &db.name);
        db.sql("INSERT INTO events VALUES (1, '8.8.8.8')");
        assert_counted_exactly(&db);
        assert_eq!(unobserved(&db), "0");
    }
}

/// An index that is not valid answers nothing, and counts as none.
#[test]
fn an_index_that_failed_is_made_again() {
    let db = old_database("0.2.0");
    db.sql(LARGE);
    leave_remains(&db);
    let commands = refusal(&db);
    assert_eq!(commands.len(), 2, "{commands:?}");
    commands.iter().for_each(|command| db.sql(command));
    db.sql("ALTER EXTENSION asn_inventory UPDATE");
    assert_as_fresh(db.cluster, &db.name);

    let db = old_database("0.2.0");
    db.sql(SMALL);
    leave_remains(&db);
    db.sql("ALTER EXTENSION asn_inventory UPDATE");
    assert_as_fresh(db.cluster, &db.name);
}

/// An index that is being built is not valid yet. To drop it would throw the work of hours away.
#[test]
fn an_index_that_is_being_built_is_waited_for() {
    let db = old_database("0.2.0");
    db.sql(LARGE);
    // CREATE INDEX CONCURRENTLY waits for the end of who has written.
    let mut writer = db.connect();
    let write =
        "BEGIN; INSERT INTO ip_asn_history (ip_address, changed_at, old_asn) VALUES ('51.15.0.1', now(), 64500)";
    run(&mut writer, write);
    let mut session = db.connect();
    let pid = value(&mut session, "SELECT pg_backend_pid()");
    let builder = thread::spawn(move || {
        session.batch_execute("CREATE INDEX CONCURRENTLY ip_asn_history_time ON ip_asn_history (changed_at)")
    });
    let building = format!(
        "SELECT index_relid = to_regclass('ip_asn_history_time') FROM pg_stat_progress_create_index WHERE pid = {pid}"
    );
    db.wait(&building, "t");
    assert_eq!(
        refusal_hint(&db),
        format!(
            "Nothing was changed. Process {pid} is building an index of ip_asn_history: wait for its end, and run the command again."
        )
    );
    run(&mut writer, "ROLLBACK");
    builder.join().expect("a thread that ends").expect("an index");
    db.sql("ALTER EXTENSION asn_inventory UPDATE");
    assert_as_fresh(db.cluster, &db.name);
}
