//! Indexes that observe, by table: partitions, children, beside triggers, what the doctor says, dumps.

use asn_inventory_tests::needs;
use asn_inventory_tests::prelude::*;

use crate::ingest_support::{Db, INDEXES, run};

#[test]
fn partitions_have_it_from_postgresql() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE root (n int, ip inet, at timestamptz) PARTITION BY RANGE (n);
         CREATE TABLE p1 PARTITION OF root FOR VALUES FROM (0) TO (10);
         SELECT attach_ip_source('root', '{ip}', 'at', method => 'index');
         CREATE TABLE p2 PARTITION OF root FOR VALUES FROM (10) TO (20) PARTITION BY LIST (n);
         CREATE TABLE p2a PARTITION OF p2 DEFAULT;
         CREATE TABLE p3 (n int, ip inet, at timestamptz); INSERT INTO p3 VALUES (25, '3.120.4.1');
         ALTER TABLE root ATTACH PARTITION p3 FOR VALUES FROM (20) TO (30)",
    );
    db.sql("INSERT INTO root VALUES (1, '3.120.4.1', now()), (11, '3.120.4.2', now()), (21, '3.120.4.2', now()); INSERT INTO p2a VALUES (12, '3.120.4.2')");
    assert_eq!(db.counts(), ["3.120.4.1|1", "3.120.4.2|3"]);
    assert_eq!(db.sources(), ["root|4|0"]);
    // A row that moves is no new row.
    db.sql("UPDATE root SET n = n + 10 WHERE n < 10; UPDATE root SET n = 1 WHERE n = 11 AND ip = '3.120.4.1'");
    assert_eq!(db.counts(), ["3.120.4.1|1", "3.120.4.2|3"]);
    assert_eq!(db.value("SELECT populate_ip_inventory('root')"), "1", "what p3 had");
    assert_eq!(db.value("SELECT populate_ip_inventory('root')"), "0");
    assert_eq!(db.complaints(&INDEXES), [""; 0]);
    let refused = db.fails("SELECT detach_ip_source('p1')");
    assert_eq!(refused.message, "\"p1\" is observed with the table above it");
    // Other methods, and back: nothing is left of the one before.
    db.sql("SELECT attach_ip_source('root', '{ip}', 'at'); INSERT INTO root VALUES (1, '3.120.4.1')");
    db.sql("SELECT attach_ip_source('root', '{ip}', 'at', method => 'row'); INSERT INTO p1 VALUES (1, '3.120.4.1')");
    db.sql("SELECT attach_ip_source('root', '{ip}', 'at', method => 'index'); INSERT INTO p1 VALUES (1, '3.120.4.1')");
    assert_eq!(db.counts(), ["3.120.4.1|5", "3.120.4.2|3"]);
    assert_eq!(db.value("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'asn_inventory_observe%'"), "0");
    db.sql("SELECT detach_ip_source('root')");
    assert_eq!(
        db.value("SELECT count(*) FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE amname = 'ip_observer'"),
        "0"
    );
}

#[test]
fn children_by_inheritance_have_their_own() {
    let db = Db::new();
    db.sql("CREATE TABLE parent (ip inet); CREATE TABLE child () INHERITS (parent); SELECT attach_ip_source('parent', '{ip}', method => 'index')");
    db.sql("INSERT INTO child VALUES ('3.120.6.1'); INSERT INTO parent VALUES ('3.120.6.1')");
    assert_eq!(db.sources(), ["parent|2|0"]);
    db.sql("CREATE TABLE later () INHERITS (parent)");
    assert_eq!(
        db.complaints(&INDEXES),
        ["error: Rows inserted into public.later, below public.parent, are not observed: the index there is gone."]
    );
    db.sql(&db.remedies(&INDEXES));
    db.sql("INSERT INTO later VALUES ('3.120.6.1')");
    assert_eq!(db.sources(), ["parent|3|0"]);
    assert_eq!(db.complaints(&[INDEXES[0], "partitions"]), [""; 0]);
}

#[test]
fn beside_a_trigger_each_row_counts_once() {
    let db = Db::new();
    db.sql("CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}')");
    let (mut session, notices) = db.connect_with_notices();
    run(&mut session, "CREATE INDEX ON e USING ip_observer (ip); INSERT INTO e VALUES ('3.128.3.1')");
    assert!(notices.all().iter().any(|notice| notice.contains("is observed by its trigger")), "{:?}", notices.all());
    assert_eq!(db.counts(), ["3.128.3.1|1"]);
    assert_eq!(
        db.complaints(&INDEXES),
        ["warning: public.e has a trigger and the index public.e_ip_idx: its rows are counted once, by the trigger."]
    );
    db.sql("ALTER TABLE e DISABLE TRIGGER USER; INSERT INTO e VALUES ('3.128.3.1')");
    assert_eq!(db.counts(), ["3.128.3.1|2"], "by the index now");
    db.sql("ALTER TABLE e ENABLE TRIGGER USER; SELECT attach_ip_source('e', '{ip}', method => 'index'); INSERT INTO e VALUES ('3.128.3.1')");
    assert_eq!(db.counts(), ["3.128.3.1|3"]);
    db.sql("CREATE INDEX twice ON e USING ip_observer (ip) WITH (selectors = '{\"ip\"}')");
    db.sql("INSERT INTO e VALUES ('3.128.3.1')");
    assert_eq!(db.counts(), ["3.128.3.1|4"]);
}

#[test]
fn it_is_switched_off_with_the_rest_and_says_so() {
    let db = Db::new();
    db.sql("CREATE TABLE e (ip inet, note text); SELECT attach_ip_source('e', '{ip,note}', method => 'index')");
    db.sql("SET asn_inventory.enabled = off; INSERT INTO e VALUES ('3.128.4.1'), ('3.128.4.2')");
    db.sql("SET session_replication_role = replica; INSERT INTO e VALUES ('3.128.4.3')");
    db.sql("INSERT INTO e VALUES ('3.128.4.4', 'nonsense'), ('10.0.0.0/8', NULL), (NULL, NULL)");
    assert_eq!(db.counts(), ["3.128.4.4|1"]);
    assert_eq!(db.lines("SELECT observations, unparsable, unobserved, rows_seen FROM ip_source"), ["1|2|1|3"]);
    db.sql("ALTER INDEX e_ip_note_idx SET (replica = true)");
    db.sql("SET session_replication_role = replica; INSERT INTO e VALUES ('3.128.4.3')");
    assert_eq!(db.counts(), ["3.128.4.3|1", "3.128.4.4|1"]);
    // Rows without any address say why.
    db.sql("CREATE TABLE j (payload jsonb); SELECT attach_ip_source('j', '{payload->>ip}', method => 'index'); INSERT INTO j VALUES ('{\"src\": \"8.8.8.8\"}')");
    db.settle();
    assert_eq!(db.value("SELECT unreadable_reason IS NOT NULL FROM ip_source WHERE tbl = 'j'::regclass"), "t");
}

#[test]
fn a_serializable_transaction_does_not_fail_for_it() {
    let db = Db::new();
    db.sql("CREATE TABLE e (ip inet); SELECT attach_ip_source('e', '{ip}', method => 'index')");
    let mut session = db.connect();
    run(&mut session, "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT 1; INSERT INTO e VALUES ('3.128.5.1')");
    db.sql("INSERT INTO e VALUES ('3.128.5.2')");
    db.settle();
    run(&mut session, "INSERT INTO e VALUES ('3.128.5.1'); COMMIT");
    // A session whose snapshot is older than the attachment observes all the same.
    run(&mut session, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    db.sql("CREATE TABLE late (ip inet); SELECT attach_ip_source('late', '{ip}', method => 'index')");
    run(&mut session, "INSERT INTO late VALUES ('3.128.5.3'); COMMIT");
    assert_eq!(db.counts(), ["3.128.5.1|2", "3.128.5.2|1", "3.128.5.3|1"]);
}

#[test]
fn a_table_is_observed_in_one_way() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE r (ip inet, k int) PARTITION BY LIST (k); CREATE TABLE r1 PARTITION OF r FOR VALUES IN (1);
         SELECT attach_ip_source('r', '{ip}', method => 'index');
         CREATE TABLE r2 (ip inet, k int); SELECT attach_ip_source('r2', '{ip}'); ALTER TABLE r ATTACH PARTITION r2 FOR VALUES IN (2)",
    );
    assert_eq!(db.fails("SELECT attach_ip_source('r1', '{ip}')").message, "\"r1\" is observed with the table above it");
    // The trigger of the one that came sees only what is inserted by name.
    db.sql("INSERT INTO r VALUES ('3.129.0.1', 1), ('3.129.0.2', 2); INSERT INTO r2 VALUES ('3.129.0.2', 2)");
    assert_eq!(db.counts(), ["3.129.0.1|1", "3.129.0.2|2"]);
    assert_eq!(
        db.complaints(&INDEXES),
        [
            "warning: public.r2 has a trigger below the index of a partitioned table: its rows are counted once, by the index."
        ]
    );
    db.sql(&db.remedies(&INDEXES));
    assert_eq!(db.complaints(&INDEXES), [""; 0]);
    // The other way round, the index would see what the trigger reads.
    db.sql("CREATE TABLE t (ip inet, k int) PARTITION BY LIST (k); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1); SELECT attach_ip_source('t', '{ip}')");
    assert_eq!(
        db.fails("SELECT attach_ip_source('t1', '{ip}', method => 'index')").message,
        "\"t1\" is observed with the table above it"
    );
    db.sql("CREATE INDEX ON t1 USING ip_observer (ip); CREATE INDEX ON t USING ip_observer (ip)");
    db.sql("INSERT INTO t VALUES ('3.129.0.3', 1); INSERT INTO t1 VALUES ('3.129.0.3', 1)");
    assert_eq!(db.counts()[2], "3.129.0.3|2");
    // A trigger of another name counts as well.
    db.sql("CREATE TABLE e (ip inet); CREATE INDEX ON e USING ip_observer (ip);
            CREATE TRIGGER mine AFTER INSERT ON e REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION observe_addresses('', 'ip')");
    db.sql("INSERT INTO e VALUES ('3.129.0.4')");
    assert_eq!(db.counts()[3], "3.129.0.4|1");
}

#[test]
fn two_indexes_of_a_table_read_what_they_say() {
    let db = Db::new();
    db.sql("CREATE TABLE e (src inet, dst inet); CREATE INDEX one ON e USING ip_observer (src); CREATE INDEX two ON e USING ip_observer (dst)");
    db.sql("INSERT INTO e VALUES ('3.129.1.1', '3.129.1.2')");
    assert_eq!(db.counts(), ["3.129.1.1|1", "3.129.1.2|1"]);
    assert_eq!(db.complaints(&INDEXES), [""; 0]);
    assert_eq!(
        db.fails("SELECT populate_ip_inventory('e')").message,
        "rows of \"e\" cannot be read as they were observed"
    );
    db.sql("CREATE INDEX three ON e USING ip_observer (src, dst)");
    assert!(
        db.complaints(&INDEXES)[0].contains("rows that both observe are counted twice"),
        "{:?}",
        db.complaints(&INDEXES)
    );
    db.sql("SELECT attach_ip_source('e', '{src,dst}', method => 'index')");
    assert_eq!(db.complaints(&INDEXES), [""; 0]);
    assert_eq!(db.value("SELECT count(*) FROM pg_index WHERE indrelid = 'e'::regclass"), "1");
}

#[test]
fn an_index_without_a_sensor_leaves_that_of_another_alone() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (src inet, dst inet, hp text);
         CREATE INDEX one ON e USING ip_observer (src) INCLUDE (hp) WITH (sensor = 'hp'); CREATE INDEX two ON e USING ip_observer (dst);
         INSERT INTO e VALUES ('3.129.1.1', '3.129.1.2', 'hp1'), ('3.129.1.1', '3.129.1.2', 'hp2'), ('3.129.1.1', '3.129.1.2', NULL)",
    );
    db.settle();
    let seen = "SELECT concat_ws(' ', host(ip_address), sensor, observations) FROM ip_sightings ORDER BY 1";
    assert_eq!(db.lines(seen), ["3.129.1.1  1", "3.129.1.1 hp1 1", "3.129.1.1 hp2 1", "3.129.1.2  3"]);
}

#[test]
fn a_partition_follows_the_triggers_of_the_table_above() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE r (ip inet, k int) PARTITION BY LIST (k); CREATE TABLE r1 PARTITION OF r FOR VALUES IN (1);
         SELECT attach_ip_source('r', '{ip}'); CREATE INDEX ON r USING ip_observer (ip)",
    );
    let mut session = db.connect();
    let mut insert = |how: &str| {
        db.sql(how);
        run(&mut session, "INSERT INTO r1 VALUES ('3.129.1.1', 1)");
        db.counts()
    };
    assert_eq!(insert("SELECT"), ["3.129.1.1|1"]);
    assert_eq!(insert("ALTER TABLE r DISABLE TRIGGER asn_inventory_observe"), ["3.129.1.1|2"]);
    assert_eq!(insert("ALTER TABLE r ENABLE TRIGGER asn_inventory_observe"), ["3.129.1.1|3"]);
}

#[test]
fn a_dump_brings_tables_and_indexes_back_as_they_were() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE plain (ip inet, at timestamptz); SELECT attach_ip_source('plain', '{ip}', 'at', method => 'index');
         CREATE TABLE r (ip inet, k int) PARTITION BY LIST (k); CREATE TABLE r1 PARTITION OF r FOR VALUES IN (1); CREATE TABLE r2 PARTITION OF r FOR VALUES IN (2);
         SELECT attach_ip_source('r', '{ip}', method => 'index');
         INSERT INTO plain VALUES ('3.129.2.1', '2026-01-01Z'); INSERT INTO r VALUES ('3.129.2.2', 1), ('3.129.2.2', 2)",
    );
    assert_eq!(db.counts(), ["3.129.2.1|1", "3.129.2.2|2"]);
    let shape = |db: &Db| {
        let mut lines = db.lines("SELECT tbl, ip_columns, observed_at, method FROM ip_source ORDER BY tbl::text");
        lines.extend(db.lines("SELECT pg_get_indexdef(indexrelid) || coalesce(obj_description(indexrelid), '') FROM pg_index WHERE indrelid IN ('plain'::regclass, 'r'::regclass, 'r1'::regclass, 'r2'::regclass) ORDER BY 1"));
        lines
    };
    let copy = Db::bare(db.cluster);
    let dump = db.cluster.tool("pg_dump").args(["-Fc", "-d", &db.name]).output().expect("pg_dump");
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let file = std::env::temp_dir().join(format!("{}_{}.dump", db.name, std::process::id()));
    std::fs::write(&file, &dump.stdout).expect("a dump");
    let restored = db
        .cluster
        .tool("pg_restore")
        .args(["-e", "-d", &copy.name])
        .stdin(std::fs::File::open(&file).expect("the dump"))
        .output();
    let restored = restored.expect("pg_restore");
    std::fs::remove_file(&file).expect("removed");
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    copy.wait("SELECT worker FROM enrichment_status", "running");
    assert_eq!(shape(&copy), shape(&db));
    assert_eq!(copy.counts(), db.counts(), "restoring counts nothing");
    copy.sql("INSERT INTO plain VALUES ('3.129.2.1', now()); INSERT INTO r VALUES ('3.129.2.2', 1)");
    assert_eq!(copy.counts(), ["3.129.2.1|2", "3.129.2.2|3"]);
    assert_eq!(copy.sources(), ["plain|2|0", "r|3|0"]);
    assert_eq!(copy.complaints(&INDEXES), [""; 0]);
    copy.sql("DROP EXTENSION asn_inventory");
}

/// Attached when the subscription is there, an index observes what it brings.
#[test]
fn a_table_of_a_subscription_is_observed_when_it_is_attached_later() {
    let server = |more: &str| {
        let cluster = Cluster::builder()
            .conf("asn_inventory.absorb_interval", "20ms")
            .conf("wal_level", "logical")
            .conf("wal_retrieve_retry_interval", "100ms")
            .start();
        cluster.sql("postgres", &format!("CREATE TABLE e (id int, ip inet, PRIMARY KEY (id)) PARTITION BY RANGE (id); CREATE TABLE e1 PARTITION OF e DEFAULT; {more}"));
        cluster
    };
    let publisher = server("INSERT INTO e VALUES (1, '3.130.0.1'); CREATE PUBLICATION p FOR TABLE e");
    let subscriber = server("CREATE EXTENSION asn_inventory; SELECT attach_ip_source('e', '{ip}', method => 'index')");
    let db = "postgres";
    let host = publisher.socket_dir().to_string_lossy();
    subscriber.sql(
        db,
        &format!(
            "CREATE SUBSCRIPTION s CONNECTION 'host={host} port=5432 user=postgres dbname=postgres' PUBLICATION p"
        ),
    );
    subscriber.wait_value(db, "SELECT count(*) FROM e", "1");
    let doctor = "FROM enrichment_doctor() WHERE check_name = 'observer indexes' AND level <> 'ok'";
    subscriber.wait_value(
        db,
        &format!("SELECT detail {doctor}"),
        "Rows that a subscription brings into public.e are not observed.",
    );
    let remedy = subscriber.value(db, &format!("SELECT remedy {doctor}"));
    subscriber.sql(db, &remedy);
    assert_eq!(subscriber.lines(db, &format!("SELECT detail {doctor}")), [""; 0]);
    publisher.sql(db, "INSERT INTO e VALUES (2, '3.130.0.1'); UPDATE e SET ip = '3.130.0.2' WHERE id = 1");
    subscriber.wait_value(db, "SELECT sum(observation_count) FROM ip_inventory", "2");
    subscriber.wait_value(db, "SELECT count(*) FROM e WHERE ip = '3.130.0.2'", "1");
    assert_eq!(subscriber.value(db, "SELECT sum(observation_count) FROM ip_inventory"), "2");
}

/// What else meets indexes: a standby and its promotion, pg_repack's copies, a session that is lost.
#[test]
fn others_get_along_with_it() {
    let primary =
        Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").conf("max_prepared_transactions", "2").start();
    fixtures::small(&primary.maxmind_dir());
    let db = "postgres";
    primary.sql(
        db,
        "CREATE EXTENSION asn_inventory; CREATE TABLE e (id int, ip inet, UNIQUE (id) DEFERRABLE INITIALLY DEFERRED);
         SELECT attach_ip_source('e', '{ip}', method => 'index'); INSERT INTO e SELECT i, '3.130.1.1' FROM generate_series(1, 100) i;
         CREATE SCHEMA repack; CREATE TABLE repack.table_1 (LIKE e); CREATE INDEX ON repack.table_1 USING ip_observer (ip); INSERT INTO repack.table_1 SELECT * FROM e",
    );
    primary.sql(db, "BEGIN; UPDATE e SET id = id + 1; INSERT INTO e VALUES (1, '3.130.1.1'); COMMIT");
    let failed = primary.fails(db, "BEGIN; INSERT INTO e VALUES (1, '3.130.1.2'); COMMIT");
    assert_eq!(failed.code, "23505");
    // A prepared transaction of a session that is gone.
    primary.sql(db, "BEGIN; INSERT INTO e VALUES (1000, '3.130.1.1'); PREPARE TRANSACTION 'lost'");
    primary.sql(db, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()");
    primary.sql(db, "COMMIT PREPARED 'lost'");
    primary.wait_value(db, "SELECT string_agg(observation_count::text, ',') FROM ip_inventory", "102");
    let standby = primary.standby();
    standby.wait_replay(&primary);
    assert_eq!(standby.value(db, "SET enable_seqscan = off; SELECT count(*) FROM e WHERE ip = '3.130.1.1'"), "102");
    drop(primary);
    standby.promote();
    standby.sql(db, "INSERT INTO e VALUES (2000, '3.130.1.1')");
    standby.wait_value(db, "SELECT string_agg(observation_count::text, ',') FROM ip_inventory", "103");
}

/// What a table has counted before it comes below an index is not noted as missing, and what changes a column counts nothing.
#[test]
fn a_partition_that_was_observed_keeps_its_counts() {
    let db = Db::new();
    db.sql("CREATE TABLE r (ip inet, k int) PARTITION BY LIST (k); SELECT attach_ip_source('r', '{ip}', method => 'index')");
    for (name, method, k) in [("a", "trigger", 1), ("b", "index", 2)] {
        db.sql(&format!("CREATE TABLE {name} (ip inet, k int); SELECT attach_ip_source('{name}', '{{ip}}', method => '{method}'); INSERT INTO {name} VALUES ('3.131.0.1', {k})"));
        db.sql(&format!("ALTER TABLE r ATTACH PARTITION {name} FOR VALUES IN ({k})"));
    }
    assert_eq!(db.counts(), ["3.131.0.1|2"]);
    assert_eq!(db.value("SELECT count(*) FROM ip_source_part"), "0");
    db.sql("INSERT INTO r VALUES ('3.131.0.1', 1), ('3.131.0.1', 2); INSERT INTO a VALUES ('3.131.0.1', 1); INSERT INTO b VALUES ('3.131.0.1', 2)");
    assert_eq!(db.counts(), ["3.131.0.1|6"]);
    let refused = db.fails("SELECT attach_ip_source('r', '{ip}', method => 'index')");
    assert_eq!(refused.message, "\"a\" is attached by itself, and stands below \"r\"");
    // A column of another type makes the index anew: no note is written, and DROP EXTENSION still takes all along.
    db.sql("SELECT detach_ip_source('a'), detach_ip_source('b')");
    db.sql("CREATE TABLE copy (LIKE a INCLUDING ALL)");
    db.sql("ALTER TABLE r ALTER ip TYPE text; ALTER TABLE copy ALTER ip TYPE text; INSERT INTO r VALUES ('3.131.0.1', 1); INSERT INTO copy VALUES ('3.131.0.1', 1)");
    assert_eq!(db.counts(), ["3.131.0.1|7"]);
    assert_eq!(db.sources(), ["r|1|0"]);
    db.sql("CREATE TEMP TABLE t (LIKE r INCLUDING ALL)");
    assert_eq!(db.complaints(&INDEXES), ["warning: public.copy_ip_idx observes nothing: public.copy is not attached."]);
    db.sql("DROP EXTENSION asn_inventory");
}

#[test]
fn three_indexes_that_read_the_same_count_once_and_a_swapped_table_is_an_error() {
    let db = Db::new();
    db.sql("CREATE TABLE e (src inet, dst inet); CREATE INDEX one ON e USING ip_observer (src); CREATE INDEX two ON e USING ip_observer (dst); CREATE INDEX three ON e USING ip_observer (src) WITH (selectors = '{src}')");
    db.sql("INSERT INTO e VALUES ('3.131.1.1', '3.131.1.2'), ('3.131.1.1', '3.131.1.2')");
    assert_eq!(db.counts(), ["3.131.1.1|2", "3.131.1.2|2"]);
    db.sql("ALTER TABLE e RENAME TO old; CREATE TABLE e (LIKE old INCLUDING ALL)");
    assert_eq!(db.value("SELECT level FROM enrichment_doctor() WHERE check_name = 'swapped tables'"), "error");
}

#[test]
fn amcheck_finds_nothing_wrong() {
    if !needs::has("amcheck", "amcheck_finds_nothing_wrong") {
        return;
    }
    let db = Db::new();
    db.sql("CREATE EXTENSION amcheck; CREATE TABLE e (id int PRIMARY KEY, ip inet); SELECT attach_ip_source('e', '{ip}', method => 'index'); INSERT INTO e SELECT i, '3.132.0.1' FROM generate_series(1, 100) i");
    let checked =
        db.cluster.tool("pg_amcheck").args(["-d", &db.name, "--heapallindexed"]).output().expect("pg_amcheck");
    let said = [checked.stdout, checked.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(checked.status.success(), "{said:?}");
}
