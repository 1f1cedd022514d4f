//! Databases made from one that has the extension, and the first moments of a new one: a worker that is there must not
//! be in the way, and one that is not there yet is waited for.

use crate::backfill_support::{NUMBERS, bare, cluster_of_many, database};
use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;
use postgres::Client;

const RUNNING: &str = "SELECT worker FROM enrichment_status";

/// The worker of `db`, once it runs.
fn worker(cluster: &Cluster, db: &str) -> String {
    let pid = "SELECT worker_pid FROM enrichment_status WHERE worker = 'running'";
    wait_for("a worker", || cluster.value(db, pid), |pid| !pid.is_empty())
}

fn value(client: &mut Client, sql: &str) -> Result<String, SqlFailure> {
    query(client, sql).map(|rows| rows.into_iter().flatten().next().flatten().unwrap_or_default())
}

/// That `db` observes, absorbs and enriches.
fn works(cluster: &Cluster, db: &str) {
    cluster.wait_value(db, RUNNING, "running");
    cluster.sql(
        db,
        "CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}');
         INSERT INTO events VALUES ('8.8.8.8')",
    );
    cluster.wait_value(db, "SELECT asn_number FROM ip_inventory WHERE ip_address = '8.8.8.8'", "15169");
}

#[test]
fn databases_are_created_while_template1_has_the_extension_and_a_worker() {
    let cluster = cluster_of_many();
    cluster.sql("template1", "CREATE EXTENSION asn_inventory");
    let mut session = cluster.connect("postgres");
    for name in ["first", "second", "third"] {
        worker(&cluster, "template1");
        // No session of ours in template1 is still on its way out.
        cluster.wait_value(
            "postgres",
            "SELECT count(*) FROM pg_stat_activity WHERE datname = 'template1' AND backend_type = 'client backend'",
            "0",
        );
        let template = if name == "third" { "TEMPLATE = template1" } else { "" };
        query(&mut session, &format!("CREATE DATABASE {name} {template}")).expect("a database");
    }
    for name in ["first", "second", "third"] {
        works(&cluster, name);
    }
    // The template's own worker is back; and one that does not have the extension is copied as ever.
    worker(&cluster, "template1");
    cluster.sql("postgres", "CREATE DATABASE plain TEMPLATE template0");
    assert_eq!(cluster.value("plain", "SELECT count(*) FROM pg_extension WHERE extname = 'asn_inventory'"), "0");
    cluster.sql("postgres", "DROP DATABASE first");
}

#[test]
fn a_role_with_createdb_may_copy_a_template_of_another_owner() {
    let cluster = cluster_of_many();
    database(&cluster, "model");
    bare(&cluster, "model", "8.8.8.1", 3);
    cluster.sql(
        "postgres",
        "ALTER DATABASE model WITH is_template true;
         CREATE ROLE creator LOGIN CREATEDB; CREATE ROLE no_creator LOGIN; GRANT CONNECT ON DATABASE model TO creator",
    );
    let pid = worker(&cluster, "model");
    let gone = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'model' AND backend_type = 'client backend'";

    // A role that may not copy it does not disturb it either.
    let mut no_creator = cluster.connect_as("no_creator", "postgres");
    cluster.wait_value("postgres", gone, "0");
    let refused = value(&mut no_creator, "CREATE DATABASE copied TEMPLATE model").expect_err("refused");
    assert_eq!(refused.code, "42501");
    assert_eq!(worker(&cluster, "model"), pid);

    let mut creator = cluster.connect_as("creator", "postgres");
    cluster.wait_value("postgres", gone, "0");
    value(&mut creator, "CREATE DATABASE copied TEMPLATE model").expect("a copy");
    assert_ne!(worker(&cluster, "model"), pid, "a worker of the template is back");
    assert_eq!(cluster.value("copied", "SELECT count(*) FROM ip_inventory"), "3", "with what it had");
    works(&cluster, "copied");
    // It stays the owner's: a role that may copy it cannot drop or rename it.
    let pid = worker(&cluster, "model");
    for statement in ["DROP DATABASE model", "ALTER DATABASE model RENAME TO mine"] {
        let refused = value(&mut creator, statement).expect_err("refused");
        assert_eq!(refused.code, "42501", "{statement}");
    }
    assert_eq!(worker(&cluster, "model"), pid);
}

#[test]
fn statements_that_postgresql_refuses_leave_the_worker_alone() {
    let cluster = cluster_of_many();
    database(&cluster, "model");
    database(&cluster, "private");
    cluster.sql(
        "postgres",
        "ALTER DATABASE model WITH is_template true; CREATE ROLE creator LOGIN CREATEDB; CREATE ROLE keeper LOGIN;
         ALTER DATABASE private OWNER TO keeper",
    );
    let pids = (worker(&cluster, "model"), worker(&cluster, "private"));
    let gone = "SELECT count(*) FROM pg_stat_activity WHERE datname IN ('model', 'private') AND backend_type = 'client backend'";
    cluster.wait_value("postgres", gone, "0");
    for (role, statement) in [
        ("creator", "CREATE DATABASE x TEMPLATE private"),
        ("creator", "CREATE DATABASE postgres TEMPLATE model"),
        ("creator", "BEGIN; CREATE DATABASE x TEMPLATE model"),
        ("creator", "SELECT 1; CREATE DATABASE x TEMPLATE model"),
        ("creator", "DO $$ BEGIN CREATE DATABASE x TEMPLATE model; END $$"),
        ("creator", "CREATE DATABASE x TEMPLATE model OWNER nobody_of_that_name"),
        ("creator", "CREATE DATABASE x TEMPLATE model OWNER postgres"),
        ("creator", "CREATE DATABASE x TEMPLATE model TABLESPACE no_such"),
        ("creator", "CREATE DATABASE x TEMPLATE model TABLESPACE pg_global"),
        ("creator", "CREATE DATABASE x TEMPLATE model ENCODING 'LATIN1'"),
        ("creator", "CREATE DATABASE x TEMPLATE model LC_COLLATE 'POSIX'"),
        ("creator", "CREATE DATABASE x TEMPLATE model CONNECTION LIMIT -7"),
        ("creator", "CREATE DATABASE x TEMPLATE model no_such_option 1"),
        ("creator", "CREATE DATABASE x TEMPLATE model OWNER creator OWNER creator"),
        ("creator", "DROP DATABASE model"),
        ("creator", "ALTER DATABASE private RENAME TO mine"),
        ("keeper", "CREATE DATABASE x TEMPLATE model"),
        ("keeper", "ALTER DATABASE private RENAME TO mine"),
        ("keeper", "BEGIN; DROP DATABASE private"),
        ("keeper", "ALTER DATABASE private SET TABLESPACE no_such"),
        ("postgres", "DROP DATABASE model"),
        ("postgres", "ALTER DATABASE private RENAME TO model"),
    ] {
        for _ in 0..3 {
            value(&mut cluster.connect_as(role, "postgres"), statement).expect_err(statement);
        }
        assert_eq!((worker(&cluster, "model"), worker(&cluster, "private")), pids, "{role}: {statement}");
        cluster.wait_value("postgres", gone, "0");
    }
    // While another session is connected there, PostgreSQL refuses; the worker need not end.
    let mut guest = cluster.connect("private");
    let refused = cluster.fails("postgres", "ALTER DATABASE private RENAME TO mine");
    assert_eq!(refused.code, "55006", "{refused:?}");
    assert_eq!(value(&mut guest, "SELECT worker_pid FROM enrichment_status"), Ok(pids.1));
    // Once it goes, meanwhile, the statement gets through: as without us.
    let renaming = std::thread::spawn({
        let mut session = cluster.connect("postgres");
        move || value(&mut session, "ALTER DATABASE private RENAME TO mine")
    });
    cluster.wait_value(
        "postgres",
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'ALTER DATABASE private%' AND state = 'active'",
        "1",
    );
    drop(guest);
    renaming.join().expect("the session").expect("renamed");
    works(&cluster, "mine");
}

#[test]
fn a_backfill_right_after_create_extension_waits_for_the_worker() {
    let cluster = cluster_of_many();
    for round in 0..3 {
        let name = format!("new_{round}");
        cluster.sql("postgres", &format!("CREATE DATABASE {name}"));
        let mut session = cluster.connect(&name);
        query(&mut session, "CREATE EXTENSION asn_inventory").expect("created");
        query(&mut session, "INSERT INTO ip_inventory (ip_address) VALUES ('8.8.8.8'), ('1.1.1.1')").expect("rows");
        assert_eq!(value(&mut session, "SELECT enriched FROM backfill_inventory()"), Ok("2".to_owned()), "{name}");
    }
    // Dropped and created again in one session, where a worker of before may be on its way out.
    let mut session = cluster.connect("new_0");
    query(&mut session, "DROP EXTENSION asn_inventory").expect("dropped");
    query(&mut session, "CREATE EXTENSION asn_inventory").expect("created");
    query(&mut session, "INSERT INTO ip_inventory (ip_address) VALUES ('8.8.8.8')").expect("a row");
    assert_eq!(value(&mut session, "SELECT enriched FROM backfill_inventory()"), Ok("1".to_owned()));
    // And right after a start of the server.
    cluster.sql("new_1", "INSERT INTO ip_inventory (ip_address) VALUES ('8.8.4.4'), ('8.8.8.9')");
    cluster.restart();
    assert_eq!(cluster.value("new_1", "SELECT processed FROM backfill_inventory()"), "2");
    // Where none will come, the error still does, and names what to look at.
    cluster.sql("postgres", "CREATE DATABASE unserved");
    cluster.set("asn_inventory.databases", "new_1");
    cluster.sql("unserved", "CREATE EXTENSION asn_inventory");
    let refused = cluster.fails("unserved", "SELECT backfill_inventory()");
    assert_eq!(refused.code, "55000");
    assert!(refused.hint.contains("asn_inventory.databases"), "{refused:?}");
}

#[test]
fn max_ips_takes_the_most_observed_of_a_list() {
    let cluster = cluster_of_many();
    let db = database(&cluster, "listed");
    cluster.sql(
        db,
        "INSERT INTO ip_inventory (ip_address, observation_count) VALUES ('8.8.8.1', 5), ('8.8.8.2', 50), ('8.8.8.3', 7),
             ('8.8.8.4', 500), ('8.8.8.5', 6)",
    );
    let list =
        |max: u32, ips: &str| format!("SELECT {NUMBERS} FROM backfill_inventory(max_ips => {max}, ips => '{{{ips}}}')");
    let done =
        "SELECT string_agg(host(ip_address), ' ' ORDER BY ip_address) FROM ip_inventory WHERE maxmind_ts IS NOT NULL";
    // 8.8.8.4 is observed more and not listed; 8.8.8.9 is listed and unknown.
    let ips = "8.8.8.9,8.8.8.1,8.8.8.5,8.8.8.3,8.8.8.2";
    assert_eq!(cluster.lines(db, &list(2, ips)), ["2|2|0|2|0|0|0|0|0"]);
    assert_eq!(cluster.value(db, done), "8.8.8.2 8.8.8.3");
    assert_eq!(cluster.lines(db, &list(4, ips)), ["4|2|2|2|0|0|0|0|0"], "the fresh ones are of the four");
    assert_eq!(cluster.value(db, done), "8.8.8.1 8.8.8.2 8.8.8.3 8.8.8.5");
    assert_eq!(cluster.value(db, "SELECT count(*) FROM ip_inventory"), "5", "the unknown one comes last");
    assert_eq!(cluster.lines(db, &list(100, ips)), ["5|1|4|1|0|0|0|0|0"], "and is added where there is room");
    assert_eq!(
        cluster.value(db, "SELECT observation_count FROM ip_inventory WHERE ip_address = '8.8.8.9'"),
        "0",
        "as not observed"
    );
    assert_eq!(cluster.value(db, "SELECT maxmind_status FROM ip_inventory WHERE ip_address = '8.8.8.4'"), "pending");
}
