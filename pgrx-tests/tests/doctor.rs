//! `enrichment_doctor()`: only ok if all is well, each fault by its name, and a remedy that fixes it.

use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;

const DB: &str = "postgres";
const TROUBLE: &str = "SELECT check_name, level FROM enrichment_doctor() WHERE level <> 'ok' ORDER BY 1";

fn cluster() -> Cluster {
    // Autovacuum would mend the dead rows before the doctor sees them.
    let cluster =
        Cluster::builder().conf("asn_inventory.absorb_interval", "50ms").conf("autovacuum_naptime", "1h").start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql(
        DB,
        "CREATE EXTENSION asn_inventory; CREATE TABLE event (at timestamptz, ip inet);
         SELECT attach_ip_source('event', '{ip}', 'at')",
    );
    cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    cluster.wait_value(DB, "SELECT count(*) FROM mmdb_editions() WHERE generation IS NOT NULL", "2");
    cluster
}

/// The doctor's finding of a check that is not ok: level and detail.
fn said(cluster: &Cluster, check: &str) -> String {
    let sql = format!("SELECT level, detail FROM enrichment_doctor() WHERE check_name = '{check}' AND level <> 'ok'");
    cluster.lines(DB, &sql).join("\n")
}

fn remedy(cluster: &Cluster, check: &str) -> String {
    cluster.value(DB, &format!("SELECT remedy FROM enrichment_doctor() WHERE check_name = '{check}' AND level <> 'ok'"))
}

/// Runs the doctor's remedy as psql does: a statement at a time, and without the comment.
fn take_remedy(cluster: &Cluster, check: &str) {
    let remedy = remedy(cluster, check);
    let commands = remedy.split("--").next().unwrap_or_default();
    for command in commands.split(';').filter(|command| !command.trim().is_empty()) {
        cluster.sql(DB, command);
    }
}

/// No finding remains: at once, or soon after a reload or new statistics.
fn wait_healthy(cluster: &Cluster, after: &str) {
    wait_for(&format!("health after {after}"), || cluster.lines(DB, TROUBLE), Vec::is_empty);
}

#[test]
fn on_a_healthy_server_each_check_has_one_row_with_ok() {
    let cluster = cluster();
    assert_eq!(cluster.lines(DB, TROUBLE), [""; 0]);
    assert_eq!(
        cluster.value(DB, "SELECT count(*) = count(DISTINCT check_name) AND count(*) >= 20 FROM enrichment_doctor()"),
        "t"
    );
    assert_eq!(
        cluster.value(DB, "SELECT count(*) FROM enrichment_doctor() WHERE (detail IS NOT NULL AND check_name NOT LIKE 'key %') OR remedy IS NOT NULL"),
        "0"
    );
}

/// Makes a table look as large as those whose missing index matters.
const LARGE: &str = "UPDATE pg_class SET reltuples = 2000000 WHERE relname IN ('event', 'parted')";

#[test]
fn a_fault_is_named_and_its_remedy_fixes_it() {
    let cluster = cluster();
    for (check, found, fault) in [
        (
            "triggers",
            "error|Rows inserted into public.event are not observed: its trigger is disabled.",
            "ALTER TABLE event DISABLE TRIGGER asn_inventory_observe",
        ),
        (
            "triggers",
            "error|Rows inserted into public.event are not observed: its trigger fires only for replication.",
            "ALTER TABLE event ENABLE REPLICA TRIGGER asn_inventory_observe",
        ),
        (
            "triggers",
            "error|Rows inserted into public.event are not observed: its trigger is gone.",
            "DROP TRIGGER asn_inventory_observe ON event",
        ),
        (
            "autovacuum",
            "warning|Autovacuum is off for ip_inventory.",
            "ALTER TABLE ip_inventory SET (autovacuum_enabled = off)",
        ),
        (
            "autovacuum",
            "warning|Autovacuum is off for ip_inventory.",
            "ALTER TABLE ip_inventory SET (autovacuum_enabled = false)",
        ),
        (
            "autovacuum",
            "warning|Autovacuum is off for ip_inventory.",
            "ALTER TABLE ip_inventory SET (autovacuum_enabled = no)",
        ),
        ("grants", "warning|Everybody may insert public.ip_inventory.", "GRANT INSERT ON ip_inventory TO PUBLIC"),
        ("grants", "warning|Everybody may delete public.ip_observation.", "GRANT DELETE ON ip_observation TO PUBLIC"),
        ("grants", "warning|Everybody may update public.ip_source.", "GRANT UPDATE ON ip_source TO PUBLIC"),
        ("grants", "warning|Everybody may truncate public.source_quota.", "GRANT TRUNCATE ON source_quota TO PUBLIC"),
    ] {
        cluster.sql(DB, fault);
        let level = found.split('|').next().expect("a level");
        assert_eq!(cluster.lines(DB, TROUBLE), [format!("{check}|{level}")], "after {fault}");
        assert_eq!(said(&cluster, check), found);
        take_remedy(&cluster, check);
        assert_eq!(cluster.lines(DB, TROUBLE), [""; 0], "after the remedy for {fault}");
    }
    // The remedy attached the table again, as before.
    assert_eq!(cluster.lines(DB, "SELECT tbl, ip_columns, observed_at FROM ip_source"), ["event|{ip}|at"]);
    // The trigger of a table that is gone, too, is not missed.
    cluster.sql(DB, "DROP TABLE event");
    assert_eq!(cluster.lines(DB, TROUBLE), [""; 0]);
}

#[test]
fn a_large_table_without_a_useful_index_is_named_until_it_has_one() {
    let cluster = cluster();
    // Neither of these finds the events of an address.
    cluster.sql(
        DB,
        "CREATE INDEX event_at_ip ON event (at, ip); CREATE INDEX event_broken ON event (ip);
         CREATE INDEX event_v6 ON event (ip) WHERE family(ip) = 6;
         UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'event_broken'::regclass",
    );
    cluster.sql(DB, LARGE);
    assert_eq!(cluster.lines(DB, TROUBLE), ["index|warning"]);
    let found = "warning|public.event has no index on ip: finding the events of an address reads the whole table.";
    assert_eq!(said(&cluster, "index"), found);
    take_remedy(&cluster, "index");
    // Creating an index counts the rows again.
    cluster.sql(DB, LARGE);
    assert_eq!(cluster.lines(DB, TROUBLE), [""; 0]);

    // No index is made concurrently on a partitioned table.
    cluster.sql(
        DB,
        "CREATE TABLE parted (at timestamptz, ip inet) PARTITION BY RANGE (at);
         CREATE TABLE part PARTITION OF parted DEFAULT;
         SELECT attach_ip_source('parted', '{ip}')",
    );
    cluster.sql(DB, LARGE);
    assert_eq!(said(&cluster, "index"), found.replace("event has", "parted has"));
    take_remedy(&cluster, "index");
    cluster.sql(DB, LARGE);
    assert_eq!(cluster.lines(DB, TROUBLE), [""; 0]);
}

#[test]
fn harmful_settings_are_named_and_corrected_by_the_remedy() {
    let cluster = cluster();
    for (check, setting, found) in [
        (
            "enabled",
            "asn_inventory.enabled",
            "asn_inventory.enabled is off: nothing is observed, and the worker is idle.",
        ),
        ("autovacuum", "autovacuum", "Autovacuum is off: dead rows stay."),
    ] {
        cluster.set(setting, "off");
        assert_eq!(cluster.lines(DB, TROUBLE), [format!("{check}|warning")]);
        assert_eq!(said(&cluster, check), format!("warning|{found}"));
        take_remedy(&cluster, check);
        wait_healthy(&cluster, setting);
    }
    cluster.set("asn_inventory.databases", "elsewhere");
    wait_for("no worker", || cluster.lines(DB, TROUBLE), |found| found == &["worker|error"]);
    assert!(said(&cluster, "worker").contains("asn_inventory.databases"));
    assert!(remedy(&cluster, "worker").contains("SHOW asn_inventory.databases;"));
    // No process can look keys up.
    let keys = "SELECT check_name, level, detail FROM enrichment_doctor() WHERE check_name LIKE 'key %'";
    assert_eq!(cluster.lines(DB, keys), ["key maxmind|ok|", "key greynoise|ok|"]);
    cluster.set("asn_inventory.databases", "");
    wait_healthy(&cluster, "asn_inventory.databases");
}

#[test]
fn a_long_queue_and_many_dead_rows_are_named_and_the_remedy_clears_them() {
    let cluster = cluster();
    // A worker that rests does not absorb them meanwhile.
    cluster.set("asn_inventory.enabled", "off");
    let queue = |addresses: u32| {
        cluster.sql(
            DB,
            &format!(
                "INSERT INTO ip_observation (address, seen, first_seen, last_seen, addresses) VALUES ('8.8.8.8', 1, now(), now(), {addresses})"
            ),
        );
        cluster.lines(DB, TROUBLE)
    };
    assert_eq!(queue(1_000_000), ["enabled|warning"]);
    assert_eq!(queue(1), ["enabled|warning", "queue|warning"]);
    assert!(said(&cluster, "queue").starts_with("warning|1000001 addresses wait"), "{}", said(&cluster, "queue"));
    take_remedy(&cluster, "queue");
    assert_eq!(cluster.lines(DB, TROUBLE), ["enabled|warning"]);
    cluster.set("asn_inventory.enabled", "on");
    assert_eq!(cluster.lines(DB, TROUBLE), [""; 0]);

    let dead = "SELECT n_dead_tup FROM pg_stat_all_tables WHERE relid = 'ip_inventory'::regclass";
    let mut client = cluster.connect(DB);
    for (rows, trouble) in [("60000", &[][..]), ("120000", &["autovacuum|warning"])] {
        let rolled_back = "BEGIN;
            INSERT INTO ip_inventory (ip_address, first_seen_at, last_seen_at)
                SELECT '10.0.0.0'::inet + n, now(), now() FROM generate_series(1, 60000) n;
            ROLLBACK";
        client.batch_execute(rolled_back).expect("rows");
        cluster.wait_value(DB, dead, rows);
        assert_eq!(cluster.lines(DB, TROUBLE), trouble, "with {rows} dead rows");
    }
    let found = said(&cluster, "autovacuum");
    assert!(found.starts_with("warning|120000 dead rows and ") && found.ends_with(" in ip_inventory."), "{found}");
    take_remedy(&cluster, "autovacuum");
    wait_healthy(&cluster, "VACUUM");
}

#[test]
fn a_version_mismatch_of_extension_and_library_is_named() {
    let cluster = cluster();
    let version = cluster.value(DB, "SELECT extversion FROM pg_extension WHERE extname = 'asn_inventory'");
    cluster.sql(DB, "UPDATE pg_extension SET extversion = '0.0.9' WHERE extname = 'asn_inventory'");
    assert_eq!(cluster.lines(DB, TROUBLE), ["version|error"]);
    assert_eq!(said(&cluster, "version"), format!("error|The extension is 0.0.9, the library {version}."));
    assert_eq!(remedy(&cluster, "version"), "ALTER EXTENSION asn_inventory UPDATE;");
}

#[test]
fn files_that_are_missing_outdated_refused_or_of_one_kind_are_named() {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "50ms").start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    assert_eq!(cluster.lines(DB, TROUBLE), ["mmdb files|error"]);
    assert!(remedy(&cluster, "mmdb files").starts_with("SELECT public.update_maxmind();"));
    let old = fixtures::days_ago(40);
    fixtures::small_asn(old).write(&cluster.maxmind_dir().join("GeoLite2-ASN.mmdb")).expect("a file");
    cluster.wait_value(DB, "SELECT count(*) FROM mmdb_editions() WHERE generation IS NOT NULL", "1");
    assert_eq!(cluster.lines(DB, TROUBLE), ["mmdb age|warning", "mmdb editions|warning"]);
    assert_eq!(said(&cluster, "mmdb age"), "warning|GeoLite2-ASN was built 40 days ago.");
    assert!(
        said(&cluster, "mmdb editions").starts_with("warning|An ASN file is installed, but no City or Country file")
    );
    std::fs::write(cluster.maxmind_dir().join("GeoLite2-City.mmdb"), "no database").expect("a file");
    cluster.wait_value(DB, "SELECT count(*) FROM mmdb_editions() WHERE refused IS NOT NULL", "1");
    assert_eq!(cluster.lines(DB, TROUBLE), ["mmdb age|warning", "mmdb editions|warning", "mmdb refused|warning"]);
    let why = cluster.value(DB, "SELECT refused FROM mmdb_editions() WHERE refused IS NOT NULL");
    assert_eq!(said(&cluster, "mmdb refused"), format!("warning|GeoLite2-City: {why}"));
    // Without a key, there is nothing to update from: the job's reason stands here, too.
    take_remedy(&cluster, "mmdb refused");
    cluster.wait_value(DB, "SELECT outcome FROM enrichment_run WHERE kind = 'update'", "failed");
    let failed = said(&cluster, "maxmind downloads");
    assert!(failed.starts_with("warning|") && failed.contains("asn_inventory.maxmind_license_key"), "{failed}");
    // With one, the result of the last look counts.
    cluster.set("asn_inventory.maxmind_license_key", "file:/nonexistent/key");
    for (job, outcome, found) in [(1001, "done", ""), (1002, "failed", "warning|no network")] {
        cluster.sql(
            DB,
            &format!(
                "INSERT INTO enrichment_run SELECT {job}, 'update', '{{}}', 'somebody', now(), now(), '{outcome}', 'no network', 0, 0, 0, 0, 0, 0, 0, 0, 0"
            ),
        );
        // The worker has read by then that there should be one.
        wait_for("the result of the last look", || said(&cluster, "maxmind downloads"), |said| said == found);
    }
}

#[test]
fn a_file_from_the_future_means_a_clock_that_is_wrong() {
    const DAY: u64 = 86_400;
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "50ms").start();
    let file = cluster.maxmind_dir().join("GeoLite2-City.mmdb");
    // The next midnight is not further away than the clocks of two places may be.
    fixtures::small_city(fixtures::days_ago(0) + DAY).write(&file).expect("a file");
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.wait_value(DB, "SELECT count(*) FROM mmdb_editions() WHERE generation IS NOT NULL", "1");
    cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    assert_eq!(cluster.lines(DB, TROUBLE), ["mmdb editions|warning"]);
    assert!(
        said(&cluster, "mmdb editions").starts_with("warning|A City or Country file is installed, but no ASN file")
    );
    fixtures::small_city(fixtures::days_ago(0) + 3 * DAY).write(&file).expect("a file");
    wait_for("a doubt", || cluster.lines(DB, TROUBLE), |found| found == &["clock|warning", "mmdb editions|warning"]);
    let built = cluster.value(DB, "SELECT build_time FROM mmdb_editions() WHERE edition = 'GeoLite2-City'");
    assert_eq!(
        said(&cluster, "clock"),
        format!("warning|GeoLite2-City was built at {built}, which is in the future by this server's clock.")
    );
}

#[test]
fn missing_preload_is_named_and_the_remedy_keeps_other_libraries() {
    let cluster = Cluster::builder().preload(false).conf("shared_preload_libraries", "plpgsql").start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    let found = cluster.lines(DB, "SELECT ip_asn('8.8.8.8') IS NOT NULL");
    assert_eq!(found, ["t"]);
    assert_eq!(cluster.lines(DB, TROUBLE), ["preload|error"]);
    // A role that may not see the list is told as well.
    cluster.sql(
        DB,
        "CREATE ROLE reader LOGIN; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
    );
    let mut reader = cluster.connect_as("reader", DB);
    let text = "SELECT level, remedy FROM enrichment_doctor() WHERE check_name = 'preload'";
    let told: Vec<String> = query(&mut reader, text).expect("rows").into_iter().flatten().flatten().collect();
    assert_eq!(told[0], "error");
    assert!(told[1].starts_with("SHOW shared_preload_libraries;  -- as a superuser"), "{told:?}");
    drop(reader);
    cluster.sql(DB, "DROP OWNED BY reader; DROP ROLE reader");
    take_remedy(&cluster, "preload");
    cluster.restart();
    wait_healthy(&cluster, "a restart");
    assert_eq!(cluster.value(DB, "SHOW shared_preload_libraries"), "plpgsql, asn_inventory");
}
