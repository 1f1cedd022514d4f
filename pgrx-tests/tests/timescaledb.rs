//! Hypertables of TimescaleDB: attached as any table, and their chunks are left to TimescaleDB.

use asn_inventory_tests::needs;
use asn_inventory_tests::prelude::*;

const DB: &str = "series";

fn cluster() -> Cluster {
    let cluster = Cluster::builder()
        .conf("shared_preload_libraries", "timescaledb,asn_inventory")
        .conf("timescaledb.telemetry_level", "off")
        .conf("max_worker_processes", "30")
        .conf("asn_inventory.absorb_interval", "20ms")
        .start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql("postgres", &format!("CREATE DATABASE {DB}"));
    cluster.sql(DB, "CREATE EXTENSION timescaledb; CREATE EXTENSION asn_inventory");
    cluster
}

fn rows(table: &str, first: &str) -> String {
    format!(
        "INSERT INTO {table} SELECT '2026-01-01Z'::timestamptz + i * interval '1 hour', '{first}'::inet + i % 10
         FROM generate_series(1, 500) i"
    )
}

/// A row that needs a new chunk has TimescaleDB make a child of the hypertable, in the middle of the insert.
#[test]
fn new_chunks_of_an_attached_hypertable_are_made_and_their_rows_counted() {
    if !needs::has("timescaledb", "new_chunks_of_an_attached_hypertable_are_made_and_their_rows_counted") {
        return;
    }
    let cluster = cluster();
    for (table, before) in [("first", true), ("later", false)] {
        let attach = format!("SELECT attach_ip_source('{table}', '{{src}}', 'at')");
        let hypertable = format!("SELECT create_hypertable('{table}', 'at', chunk_time_interval => interval '1 day')");
        cluster.sql(DB, &format!("CREATE TABLE {table} (at timestamptz NOT NULL, src inet, PRIMARY KEY (at, src))"));
        let steps = if before { [&attach, &hypertable] } else { [&hypertable, &attach] };
        for step in steps {
            cluster.sql(DB, step);
        }
        cluster.sql(DB, &rows(table, "34.64.0.0"));
        assert_eq!(cluster.value(DB, &format!("SELECT count(*) > 10 FROM show_chunks('{table}')")), "t");
        cluster.wait_value(DB, &format!("SELECT observations FROM ip_source WHERE tbl = '{table}'::regclass"), "500");
    }
    cluster.wait_value(DB, "SELECT sum(observation_count) FROM ip_inventory", "1000");
    let on_chunks = "SELECT count(*) FROM pg_trigger WHERE tgname = 'asn_inventory_observe' AND tgrelid NOT IN ('first'::regclass, 'later'::regclass)";
    assert_eq!(cluster.value(DB, on_chunks), "0");
    assert_eq!(cluster.value(DB, "SELECT populate_ip_inventory('first')"), "0");
    assert_eq!(
        cluster.lines(DB, "SELECT detail FROM enrichment_doctor() WHERE check_name = 'triggers' AND level <> 'ok'"),
        [""; 0]
    );
    cluster.sql(DB, "SELECT detach_ip_source('first'), detach_ip_source('later')");
    cluster.sql(DB, "INSERT INTO first VALUES ('2027-01-01Z', '34.64.9.9')");
}

#[test]
fn chunks_have_the_index_that_observes_from_timescaledb() {
    if !needs::has("timescaledb", "chunks_have_the_index_that_observes_from_timescaledb") {
        return;
    }
    let cluster = cluster();
    for (table, before) in [("first", true), ("later", false)] {
        let attach = format!("SELECT attach_ip_source('{table}', '{{src}}', 'at', method => 'index')");
        let hypertable = format!("SELECT create_hypertable('{table}', 'at', chunk_time_interval => interval '1 day')");
        cluster.sql(DB, &format!("CREATE TABLE {table} (at timestamptz NOT NULL, src inet, PRIMARY KEY (at, src))"));
        let steps = if before { [&attach, &hypertable] } else { [&hypertable, &attach] };
        for step in steps {
            cluster.sql(DB, step);
        }
        cluster.sql(DB, &rows(table, "34.64.0.0"));
        assert_eq!(cluster.value(DB, &format!("SELECT count(*) > 10 FROM show_chunks('{table}')")), "t");
        // Conflicts and updates, chunk by chunk.
        cluster.sql(
            DB,
            &format!(
                "{} ON CONFLICT DO NOTHING; UPDATE {table} SET src = src + 1000 WHERE at < '2026-01-03Z'",
                rows(table, "34.64.0.0")
            ),
        );
        cluster.wait_value(DB, &format!("SELECT observations FROM ip_source WHERE tbl = '{table}'::regclass"), "500");
    }
    cluster.wait_value(DB, "SELECT sum(observation_count) FROM ip_inventory", "1000");
    assert_eq!(
        cluster.value(DB, "SELECT populate_ip_inventory('first')"),
        "47",
        "the rows whose addresses an update brought"
    );
    assert_eq!(
        cluster.lines(DB, "SELECT detail FROM enrichment_doctor() WHERE check_name IN ('triggers', 'observer indexes') AND level <> 'ok'"),
        [""; 0]
    );
    // By hand on a hypertable: TimescaleDB runs the command itself.
    cluster.sql(DB, "SELECT detach_ip_source('later'); CREATE INDEX ON later USING ip_observer (src) INCLUDE (at) WITH (observed_at = 'at')");
    cluster.sql(DB, "INSERT INTO later VALUES ('2027-01-01Z', '34.64.9.9'), ('2026-01-02Z', '34.64.9.9')");
    cluster.wait_value(DB, "SELECT observation_count FROM ip_inventory WHERE ip_address = '34.64.9.9'", "2");
}

/// TimescaleDB puts a node of its own above what changes rows of a hypertable.
#[test]
fn with_queries_that_change_hypertables_count_new_rows_alone() {
    if !needs::has("timescaledb", "with_queries_that_change_hypertables_count_new_rows_alone") {
        return;
    }
    let cluster = cluster();
    cluster.sql(
        DB,
        "CREATE TABLE h (at timestamptz NOT NULL, src inet); SELECT create_hypertable('h', 'at');
         CREATE TABLE plain (at timestamptz, src inet, taken bool DEFAULT false)",
    );
    cluster.sql(DB, "SELECT attach_ip_source('h', '{src}', 'at', method => 'index')");
    cluster.sql(
        DB,
        "INSERT INTO plain SELECT '2026-01-01Z', inet '34.64.0.0' + i FROM generate_series(1, 7) i;
         WITH u AS (UPDATE plain SET taken = true RETURNING at, src) INSERT INTO h SELECT * FROM u",
    );
    let counted = "SELECT observations FROM ip_source WHERE tbl = 'h'::regclass";
    cluster.wait_value(DB, counted, "7");
    cluster.sql(DB, "WITH i AS (INSERT INTO h SELECT at, src FROM plain RETURNING src) DELETE FROM plain USING i WHERE plain.src = i.src");
    cluster.wait_value(DB, counted, "14");
    cluster.sql(DB, "WITH u AS (UPDATE h SET src = src + 100 RETURNING at, src) INSERT INTO plain SELECT * FROM u");
    cluster.sql(DB, "INSERT INTO h VALUES ('2026-01-01Z', '34.64.9.9')");
    cluster.wait_value(DB, counted, "15");
}

#[test]
fn operators_of_who_makes_an_index_run_with_no_other_rights() {
    if !needs::has("timescaledb", "operators_of_who_makes_an_index_run_with_no_other_rights") {
        return;
    }
    let cluster = cluster();
    cluster.sql(
        DB,
        "CREATE ROLE maker LOGIN; CREATE SCHEMA own AUTHORIZATION maker; CREATE SCHEMA trap AUTHORIZATION maker",
    );
    let mut session = cluster.connect_as("maker", DB);
    let mut run = |text: &str| session.batch_execute(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    run(
        "CREATE TABLE own.h (at timestamptz NOT NULL, src inet); SELECT create_hypertable('own.h', 'at'); CREATE TABLE trap.ran (by text)",
    );
    for kind in ["text", "oid", "name", "regclass"] {
        run(&format!(
            "CREATE FUNCTION trap.same(a {kind}, b {kind}) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
                 IF current_user OPERATOR(pg_catalog.<>) session_user THEN RAISE 'trapped as %', current_user; END IF; RETURN true; END $$;
             CREATE OPERATOR trap.= (LEFTARG = {kind}, RIGHTARG = {kind}, FUNCTION = trap.same)"
        ));
    }
    // The right to attach a table is asked for as well, and not by these.
    run("SET search_path = trap, pg_catalog, public; CREATE INDEX ON own.h USING ip_observer (src)");
    assert_eq!(cluster.value(DB, "SELECT count(*) FROM ip_source"), "0");
    cluster.sql(DB, "GRANT EXECUTE ON FUNCTION attach_ip_source TO maker");
    run("DROP INDEX own.h_src_idx; CREATE INDEX ON own.h USING ip_observer (src)");
    assert_eq!(cluster.value(DB, "SELECT count(*) FROM ip_source"), "1");
}
