//! Partitions and children that come after their parent was attached: each gets the trigger once, no statement fails or
//! gets slow because of it, and tables of other extensions are left alone.

use crate::ingest_support::{Db, run, value};
use asn_inventory_tests::needs;
use postgres::Client;
use std::time::{Duration, Instant};

const TRIGGERS: &str = "SELECT tgrelid::regclass FROM pg_trigger WHERE tgfoid = 'observe_addresses'::regproc
                        ORDER BY tgrelid::regclass::text COLLATE \"C\"";

/// `n` levels of diamonds below `top0`: `a1` and `b1` inherit from it, `top1` from both, and so on.
fn diamonds(n: u32) -> String {
    let level = |i: u32| {
        let above = i - 1;
        format!(
            "CREATE TABLE a{i} () INHERITS (top{above}); CREATE TABLE b{i} () INHERITS (top{above});
             CREATE TABLE top{i} () INHERITS (a{i}, b{i});"
        )
    };
    (1..=n).map(level).collect()
}

/// The shortest of several runs.
fn shortest(session: &mut Client, sql: &str) -> Duration {
    let once = |session: &mut Client| {
        let started = Instant::now();
        run(session, sql);
        started.elapsed()
    };
    (0..15).map(|_| once(session)).min().expect("a run")
}

#[test]
fn a_diamond_of_inheritance_gets_each_trigger_once() {
    let db = Db::new();
    db.sql("SET client_min_messages = error; CREATE TABLE top0 (ip inet); SELECT attach_ip_source('top0', '{ip}')");
    db.sql(&format!("SET client_min_messages = error; {}", diamonds(2)));
    assert_eq!(db.lines(TRIGGERS), ["a1", "a2", "b1", "b2", "top0", "top1", "top2"]);
    db.sql("INSERT INTO top2 VALUES ('36.80.0.1'); INSERT INTO a1 VALUES ('36.80.0.1')");
    assert_eq!(db.counts(), ["36.80.0.1|2"]);
}

#[test]
fn unrelated_table_families_do_not_slow_create_table() {
    let db = Db::new();
    db.sql(&format!("SET client_min_messages = error; CREATE TABLE top0 (ip inet); {}", diamonds(18)));
    db.sql(
        "SELECT attach_ip_source('top0', '{ip}');
         CREATE TABLE events (id int, ip inet) PARTITION BY LIST (id);
         DO $$ BEGIN FOR i IN 1..300 LOOP EXECUTE format('CREATE TABLE part_%s PARTITION OF events FOR VALUES IN (%s)', i, i); END LOOP; END $$;
         SELECT attach_ip_source('events', '{ip}')",
    );
    let mut session = db.connect();
    for statement in ["CREATE TEMP TABLE t (i int)", "CREATE TABLE t (i int)"] {
        let sql = format!("{statement}; DROP TABLE t");
        let with = shortest(&mut session, &sql);
        run(&mut session, "ALTER EVENT TRIGGER asn_inventory_new_partition DISABLE");
        let without = shortest(&mut session, &sql);
        run(&mut session, "ALTER EVENT TRIGGER asn_inventory_new_partition ENABLE");
        println!("{statement}: {with:?} with, {without:?} without");
        assert!(with < without * 2 + Duration::from_millis(2), "{statement}: {with:?} with, {without:?} without");
    }
    // Below all of it, a table still gets its trigger, once.
    db.sql("SET client_min_messages = error; CREATE TABLE bottom () INHERITS (a18, b18)");
    db.sql("INSERT INTO bottom VALUES ('36.81.0.1')");
    assert_eq!(db.counts(), ["36.81.0.1|1"]);
}

#[test]
fn a_partition_made_with_its_schema_is_observed() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (id int, ip inet) PARTITION BY LIST (id);
         SELECT attach_ip_source('events', '{ip}');
         CREATE SCHEMA s CREATE TABLE p PARTITION OF public.events FOR VALUES IN (1)
                         CREATE TABLE q PARTITION OF public.events FOR VALUES IN (2) CREATE TABLE other (i int);
         INSERT INTO s.p VALUES (1, '36.82.0.1'); INSERT INTO s.q VALUES (2, '36.82.0.2')",
    );
    assert_eq!(db.counts(), ["36.82.0.1|1", "36.82.0.2|1"]);
}

#[test]
fn a_tables_owner_makes_partitions_under_any_owner_of_the_extension() {
    let db = Db::new();
    let (owner, low) = (format!("{}_owner", db.name), format!("{}_low", db.name));
    db.sql(&format!(
        "CREATE ROLE {owner} LOGIN; CREATE ROLE {low}; GRANT EXECUTE ON FUNCTION attach_ip_source, observe_addresses TO {owner};
         CREATE SCHEMA own AUTHORIZATION {owner}; GRANT CREATE ON SCHEMA public TO {low};
         ALTER FUNCTION attach_new_partitions() OWNER TO {low}"
    ));
    let mut session = db.connect_as(&owner);
    run(
        &mut session,
        "CREATE TABLE own.events (id int, ip inet) PARTITION BY LIST (id);
         SELECT attach_ip_source('own.events', '{ip}');
         CREATE TABLE own.one PARTITION OF own.events FOR VALUES IN (1);
         CREATE TABLE own.two (id int, ip inet); ALTER TABLE own.events ATTACH PARTITION own.two FOR VALUES IN (2);
         INSERT INTO own.one VALUES (1, '36.83.0.1'); INSERT INTO own.two VALUES (2, '36.83.0.2')",
    );
    assert_eq!(db.counts(), ["36.83.0.1|1", "36.83.0.2|1"]);
    // Nor is the table's owner anything else by it afterwards.
    assert_eq!(value(&mut session, "SELECT current_user"), owner);
}

#[test]
fn a_foreign_trigger_of_the_same_name_is_never_dropped() {
    let db = Db::new();
    let theirs = "CREATE TRIGGER asn_inventory_observe BEFORE INSERT ON %t FOR EACH ROW EXECUTE FUNCTION theirs()";
    db.sql(&format!(
        "CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TABLE events (id int, ip inet); CREATE TABLE child (id int, ip inet); CREATE TABLE parent (id int, ip inet);
         {}; {}",
        theirs.replace("%t", "events"),
        theirs.replace("%t", "child")
    ));
    let failure = db.fails("SELECT attach_ip_source('events', '{ip}')");
    assert_eq!(failure.code, "42710", "{failure:?}");
    assert!(
        failure.message.contains("trigger \"asn_inventory_observe\" for table \"events\" already exists"),
        "{failure:?}"
    );
    assert!(failure.hint.contains("ALTER TRIGGER"), "{failure:?}");
    // Below an attached table: the statement goes through, with a word.
    db.sql("SELECT attach_ip_source('parent', '{ip}')");
    let (mut session, notices) = db.connect_with_notices();
    run(&mut session, "ALTER TABLE child INHERIT parent");
    assert!(
        notices.all().iter().any(|n| n.starts_with("WARNING: table \"child\" is not observed")),
        "{:?}",
        notices.all()
    );
    db.sql("SELECT detach_ip_source('parent')");
    let left = "SELECT tgrelid::regclass FROM pg_trigger WHERE tgname = 'asn_inventory_observe' ORDER BY 1";
    assert_eq!(db.lines(left), ["events", "child"]);
}

#[test]
fn a_trigger_that_cannot_be_created_fails_no_statement() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (id int, ip inet); SELECT attach_ip_source('events', '{ip}');
         CREATE TABLE child (id int, ip inet); CREATE TABLE grandchild () INHERITS (child)",
    );
    let mut writer = db.connect();
    run(&mut writer, "BEGIN; INSERT INTO grandchild VALUES (1, '36.84.0.1'), (1, '36.84.0.2')");
    let (mut session, notices) = db.connect_with_notices();
    run(&mut session, "BEGIN; CREATE TABLE kept (i int); ALTER TABLE child INHERIT events; COMMIT");
    assert_eq!(value(&mut session, "SELECT count(*) FROM kept"), "0");
    let heard = notices.all();
    assert!(
        heard.contains(&"WARNING: table \"grandchild\" is not observed: its trigger could not be created".to_owned()),
        "{heard:?}"
    );
    run(&mut writer, "COMMIT");
    // The command that the hint names mends it.
    run(&mut session, "SELECT public.attach_ip_source('public.events', ARRAY['ip'])");
    run(&mut session, "INSERT INTO grandchild VALUES (1, '36.84.0.2'); INSERT INTO child VALUES (1, '36.84.0.3')");
    assert_eq!(db.counts(), ["36.84.0.2|1", "36.84.0.3|1"]);
    // What came until then is counted, once.
    assert_eq!(value(&mut session, "SELECT populate_ip_inventory('events')"), "2");
    assert_eq!(value(&mut session, "SELECT populate_ip_inventory('events')"), "0");
    assert_eq!(db.counts(), ["36.84.0.1|1", "36.84.0.2|2", "36.84.0.3|1"]);
}

#[test]
fn dropping_the_extension_blocks_no_new_partition() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (id int, ip inet) PARTITION BY LIST (id); SELECT attach_ip_source('events', '{ip}');
         CREATE TABLE other (ip inet)",
    );
    let mut open = db.connect();
    run(&mut open, "BEGIN; SELECT attach_ip_source('other', '{ip}')");
    let mut dropping = db.connect();
    let dropper = std::thread::spawn(move || run(&mut dropping, "BEGIN; DROP EXTENSION asn_inventory; ROLLBACK"));
    db.wait(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'object' AND mode = 'AccessExclusiveLock'
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        "1",
    );
    let (mut session, notices) = db.connect_with_notices();
    run(&mut session, "CREATE TABLE one PARTITION OF events FOR VALUES IN (1)");
    let heard = notices.all();
    assert!(
        heard.contains(&"WARNING: table \"one\" is not observed: its trigger could not be created".to_owned()),
        "{heard:?}"
    );
    run(&mut open, "COMMIT");
    dropper.join().expect("the one who drops");
}

#[test]
fn giving_a_partition_its_trigger_runs_no_code_with_more_rights() {
    let db = Db::new();
    let owner = format!("{}_owner", db.name);
    db.sql(&format!(
        "CREATE ROLE {owner} LOGIN; GRANT EXECUTE ON FUNCTION attach_ip_source, observe_addresses TO {owner};
         CREATE SCHEMA own AUTHORIZATION {owner}; CREATE TABLE ran (who text); GRANT INSERT ON ran TO PUBLIC;
         CREATE FUNCTION audit() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.ran VALUES (current_user); END $$;
         CREATE EVENT TRIGGER audit ON ddl_command_end WHEN TAG IN ('CREATE TRIGGER', 'CREATE TABLE') EXECUTE FUNCTION audit()"
    ));
    let mut session = db.connect_as(&owner);
    run(
        &mut session,
        "CREATE TABLE own.events (id int, ip inet) PARTITION BY LIST (id); SELECT attach_ip_source('own.events', '{ip}');
         CREATE TABLE own.one PARTITION OF own.events FOR VALUES IN (1); INSERT INTO own.one VALUES (1, '36.88.0.1')",
    );
    assert_eq!(db.lines("SELECT DISTINCT who FROM ran"), [owner]);
    assert_eq!(db.counts(), ["36.88.0.1|1"]);
    // DROP EXTENSION takes such a trigger along as it does the others.
    db.sql("DROP EXTENSION asn_inventory; DROP EVENT TRIGGER audit");
    db.sql("INSERT INTO own.one VALUES (1, '36.88.0.2')");
}

#[test]
fn tables_that_another_extension_manages_are_left_alone() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE events (id int, ip inet); SELECT attach_ip_source('events', '{ip}');
         CREATE SCHEMA chunks; ALTER EXTENSION plpgsql ADD SCHEMA chunks;
         CREATE TABLE chunks.one () INHERITS (events);
         CREATE TABLE theirs (id int, ip inet); ALTER EXTENSION plpgsql ADD TABLE theirs; ALTER TABLE theirs INHERIT events;
         CREATE TABLE below () INHERITS (theirs); CREATE TABLE ours () INHERITS (events)",
    );
    assert_eq!(db.lines(TRIGGERS), ["events", "ours"]);
    db.sql("SELECT attach_ip_source('events', '{ip}')");
    assert_eq!(db.value(&format!("SELECT count(*) FROM ({TRIGGERS}) t WHERE tgrelid::text ~ 'chunks|theirs'")), "0");
}

/// A partition `far` in another database of the same server.
fn with_foreign(db: &Db, partition: &str) -> String {
    let socket = db.cluster.socket_dir().display();
    db.sql(&format!(
        "CREATE EXTENSION postgres_fdw; CREATE SCHEMA remote; CREATE TABLE remote.far (id int, ip inet);
         CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{socket}', port '5432', dbname '{}');
         CREATE USER MAPPING FOR postgres SERVER other OPTIONS (user 'postgres', password_required 'false')",
        db.name
    ));
    format!("{partition} SERVER other OPTIONS (schema_name 'remote', table_name 'far')")
}

#[test]
fn a_table_with_a_foreign_partition_is_refused_with_the_reason() {
    if !needs::has("postgres_fdw", "a_table_with_a_foreign_partition_is_refused_with_the_reason") {
        return;
    }
    let db = Db::new();
    let far = with_foreign(&db, "CREATE FOREIGN TABLE far PARTITION OF sub FOR VALUES IN (9)");
    db.sql(&format!(
        "CREATE TABLE events (id int, ip inet) PARTITION BY LIST (id);
         CREATE TABLE near PARTITION OF events FOR VALUES IN (1);
         CREATE TABLE sub PARTITION OF events FOR VALUES IN (9) PARTITION BY LIST (id); {far}"
    ));
    for table in ["events", "sub"] {
        let failure = db.fails(&format!("SELECT attach_ip_source('{table}', '{{ip}}')"));
        assert_eq!(failure.code, "0A000", "{failure:?}");
        assert!(
            failure.message.contains("has a foreign partition") && failure.detail.contains("\"far\""),
            "{failure:?}"
        );
        assert!(failure.hint.contains("one by one"), "{failure:?}");
    }
    db.sql("SELECT attach_ip_source('near', '{ip}'); INSERT INTO near VALUES (1, '36.85.0.1')");
    db.sql("INSERT INTO events VALUES (9, '36.85.0.9')");
    assert_eq!(db.counts(), ["36.85.0.1|1"]);
}

#[test]
fn a_later_foreign_partition_breaks_no_insert() {
    if !needs::has("postgres_fdw", "a_later_foreign_partition_breaks_no_insert") {
        return;
    }
    let db = Db::new();
    let far = with_foreign(&db, "CREATE FOREIGN TABLE far PARTITION OF sub FOR VALUES IN (9)");
    db.sql(
        "CREATE TABLE events (id int, ip inet) PARTITION BY LIST (id);
         CREATE TABLE near PARTITION OF events FOR VALUES IN (1);
         CREATE TABLE sub PARTITION OF events FOR VALUES IN (8, 9) PARTITION BY LIST (id);
         CREATE TABLE sub_near PARTITION OF sub FOR VALUES IN (8);
         SELECT attach_ip_source('events', '{ip}');
         INSERT INTO events VALUES (1, '36.86.0.1')",
    );
    let (mut session, notices) = db.connect_with_notices();
    run(&mut session, &far);
    let heard = notices.all();
    for table in ["events", "sub"] {
        let warning = format!("WARNING: rows inserted through \"{table}\" are no longer observed");
        assert!(heard.contains(&warning), "{heard:?}");
    }
    // Through root and sub-root, to the foreign partition and to the local ones: all go in; by name, they are observed.
    run(
        &mut session,
        "INSERT INTO events VALUES (9, '36.86.0.2'), (1, '36.86.0.3'); INSERT INTO sub VALUES (9, '36.86.0.4')",
    );
    run(&mut session, "INSERT INTO near VALUES (1, '36.86.0.5'); INSERT INTO sub_near VALUES (8, '36.86.0.6')");
    // One that comes after it still gets the trigger.
    run(
        &mut session,
        "CREATE TABLE later PARTITION OF events FOR VALUES IN (2); INSERT INTO later VALUES (2, '36.86.0.7')",
    );
    assert_eq!(value(&mut session, "SELECT count(*) FROM remote.far"), "2");
    assert_eq!(db.counts(), ["36.86.0.1|1", "36.86.0.5|1", "36.86.0.6|1", "36.86.0.7|1"]);
    assert_eq!(db.value("SELECT unobserved FROM ip_source"), "2", "each statement through a table above it counts");
    // Without it, attaching again brings everything back.
    run(&mut session, "ALTER TABLE sub DETACH PARTITION far; SELECT attach_ip_source('events', '{ip}')");
    run(&mut session, "INSERT INTO events VALUES (1, '36.86.0.8')");
    assert_eq!(db.counts().last().map(String::as_str), Some("36.86.0.8|1"));
}

#[test]
fn a_tree_with_a_foreign_leaf_can_be_attached_as_a_partition() {
    if !needs::has("postgres_fdw", "a_tree_with_a_foreign_leaf_can_be_attached_as_a_partition") {
        return;
    }
    let db = Db::new();
    let far = with_foreign(&db, "CREATE FOREIGN TABLE far PARTITION OF sub FOR VALUES IN (9)");
    db.sql(&format!(
        "CREATE TABLE events (id int, ip inet) PARTITION BY LIST (id); SELECT attach_ip_source('events', '{{ip}}');
         CREATE TABLE sub (id int, ip inet) PARTITION BY LIST (id); CREATE TABLE near PARTITION OF sub FOR VALUES IN (8); {far};
         ALTER TABLE events ATTACH PARTITION sub FOR VALUES IN (8, 9);
         INSERT INTO events VALUES (9, '36.87.0.9'); INSERT INTO sub VALUES (9, '36.87.0.9'); INSERT INTO near VALUES (8, '36.87.0.8')"
    ));
    assert_eq!(db.value("SELECT count(*) FROM remote.far"), "2");
    assert_eq!(db.counts(), ["36.87.0.8|1"]);
}
