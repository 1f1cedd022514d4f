//! Indexes that observe, by table: partitions, indexes made by hand, what the doctor says, dumps.

use asn_inventory_tests::needs;
use asn_inventory_tests::prelude::*;

use crate::ingest_support::{Db, INDEXES, refused, run};

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
fn an_index_made_by_hand_attaches_its_table() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (id int, kind text, src inet, hops text[], payload jsonb, at timestamptz);
         INSERT INTO e VALUES (0, 'login', '3.128.0.1'), (0, 'other', '3.128.0.1');
         CREATE INDEX watch ON e USING ip_observer (src, hops, payload) INCLUDE (at, kind)
             WITH (selectors = '{src,hops,payload->>peer,\"text(payload->>''input text'')\"}', observed_at = 'at', sensor = 'payload->>sensor')
             WHERE kind = 'login'",
    );
    assert_eq!(
        db.lines("SELECT tbl, method, ip_columns, observed_at, sensor FROM ip_source"),
        ["e|index|{src,hops,payload->>peer,\"text(payload->>'input text')\"}|at|payload->>sensor"]
    );
    db.sql(
        "INSERT INTO e VALUES (1, 'login', '3.128.0.1', '{3.128.0.2,nonsense}', '{\"peer\": \"3.128.0.3\", \"input text\": \"wget http://3.128.0.4/\", \"sensor\": \"a\"}', '2026-01-02Z'),
                              (2, 'other', '3.128.0.1', NULL, NULL, now())",
    );
    assert_eq!(db.counts(), ["3.128.0.1|1", "3.128.0.2|1", "3.128.0.3|1", "3.128.0.4|1"]);
    assert_eq!(db.sources(), ["e|4|1"]);
    assert_eq!(db.value("SELECT DISTINCT sensor || ' ' || first_seen_at::date FROM ip_sightings"), "a 2026-01-02");
    assert_eq!(db.value("SELECT populate_ip_inventory('e')"), "1", "the rows that the index's WHERE accepts");
    assert_eq!(db.counts()[0], "3.128.0.1|2");
    // A renamed column is read on; a dump would have the new name in one place only.
    db.sql("ALTER TABLE e RENAME src TO source; INSERT INTO e VALUES (3, 'login', '3.128.0.5')");
    assert_eq!(db.counts()[4], "3.128.0.5|1");
    assert_eq!(
        db.complaints(&INDEXES),
        ["warning: Column source of public.e was renamed: its index reads it, but a dump of that cannot be restored."]
    );
    assert_eq!(db.value("SELECT level FROM enrichment_doctor() WHERE check_name = 'columns'"), "ok");
    assert_eq!(
        db.remedies(&INDEXES),
        "ALTER TABLE public.e RENAME source TO src;  -- or attach it again, with the new names"
    );
    db.sql(&db.remedies(&INDEXES));
    // Without WITH, the key is what is read.
    db.sql("CREATE TABLE plain (\"Odd->Name\" inet, c cidr, v varchar(40)); CREATE INDEX ON plain USING ip_observer (\"Odd->Name\", c, v)");
    db.sql("INSERT INTO plain VALUES ('3.128.1.1', '3.128.1.2/32', '3.128.1.3')");
    assert_eq!(db.sources(), ["e|6|1", "plain|3|0"]);
    assert_eq!(db.complaints(&INDEXES), [""; 0]);
    db.sql("DROP INDEX watch");
    assert_eq!(db.complaints(&INDEXES), ["error: Rows inserted into public.e are not observed: its index is gone."]);
    db.sql(&db.remedies(&INDEXES));
    assert_eq!(db.complaints(&INDEXES), [""; 0]);
    db.sql("DROP EXTENSION asn_inventory; INSERT INTO e VALUES (9, 'login', '3.128.0.1')");
    assert_eq!(db.value("SELECT count(*) FROM pg_index WHERE indrelid IN ('e'::regclass, 'plain'::regclass)"), "0");
}

/// Its index reads it by its number.
#[test]
fn a_renamed_column_is_read_by_all_where_another_has_its_name() {
    let db = Db::new();
    let checks = ["observer indexes", "columns"];
    db.sql(
        "CREATE TABLE e (a inet, kind text, at timestamptz); INSERT INTO e VALUES ('3.128.8.9', 'x', now()), ('3.128.8.8', 'y', now());
         SELECT attach_ip_source('e', '{a}', 'at', method => 'index', only_where => 'kind = x');
         ALTER TABLE e RENAME a TO b; ALTER TABLE e RENAME kind TO sort; INSERT INTO e VALUES ('3.128.8.1', 'x', now());
         ALTER TABLE e ADD a inet, ADD kind text;
         INSERT INTO e (b, sort, a, kind) VALUES ('3.128.8.2', 'x', '3.128.8.3', 'y'), ('3.128.8.4', 'y', '3.128.8.5', 'x')",
    );
    assert_eq!(db.counts(), ["3.128.8.1|1", "3.128.8.2|1"]);
    assert_eq!(db.value("SELECT populate_ip_inventory('e')"), "1", "what was there before");
    assert_eq!(db.value("SELECT populate_ip_inventory('e')"), "0");
    assert_eq!(db.counts(), ["3.128.8.1|1", "3.128.8.2|1", "3.128.8.9|1"]);
    // There is no way back to the old name.
    let told = db.complaints(&checks);
    assert!(matches!(&told[..], [one] if one.contains(" of public.e was renamed: ")), "{told:?}");
    let remedy = db.remedies(&checks);
    assert_eq!(
        remedy,
        "SELECT public.attach_ip_source('public.e', ARRAY['b'], 'at', 'index', only_where => 'sort = ''x''');"
    );
    db.sql(&remedy);
    assert_eq!(db.complaints(&checks), [""; 0]);
    db.sql("INSERT INTO e (b, sort, a, kind) VALUES ('3.128.8.2', 'x', '3.128.8.3', 'y'), ('3.128.8.4', 'y', '3.128.8.5', 'x')");
    assert_eq!(db.value("SELECT populate_ip_inventory('e')"), "0");
    assert_eq!(db.counts(), ["3.128.8.1|1", "3.128.8.2|2", "3.128.8.9|1"]);
    // Partitions that come later have it by the name that it had.
    db.sql(
        "CREATE TABLE r (a inet, k int) PARTITION BY LIST (k); CREATE TABLE r1 PARTITION OF r FOR VALUES IN (1);
         INSERT INTO r VALUES ('3.128.9.9', 1); SELECT attach_ip_source('r', '{a}', method => 'index');
         ALTER TABLE r RENAME a TO b; CREATE TABLE r2 PARTITION OF r FOR VALUES IN (2); ALTER TABLE r ADD a inet;
         INSERT INTO r (b, k, a) VALUES ('3.128.9.1', 1, '3.128.9.2'), ('3.128.9.3', 2, '3.128.9.4')",
    );
    assert_eq!(db.sources()[1], "r|2|0");
    assert_eq!(db.value("SELECT populate_ip_inventory('r')"), "1", "what was there before");
    assert_eq!(db.value("SELECT populate_ip_inventory('r2')"), "0");
    assert_eq!(db.counts()[3..], ["3.128.9.1|1", "3.128.9.3|1", "3.128.9.9|1"]);
    db.sql(&db.remedies(&checks));
    assert_eq!(db.complaints(&checks), [""; 0]);
}

/// It takes the indexes along that read it.
#[test]
fn of_a_dropped_column_the_remedy_says_nothing() {
    let db = Db::new();
    let checks = ["observer indexes", "columns"];
    db.sql(
        "CREATE TABLE e (ip inet, ip2 inet, at timestamptz, n text); SELECT attach_ip_source('e', '{ip,ip2}', 'at', method => 'index', sensor => 'n');
         ALTER TABLE e DROP ip2, DROP n",
    );
    assert_eq!(db.complaints(&INDEXES), ["error: Rows inserted into public.e are not observed: its index is gone."]);
    assert_eq!(db.remedies(&INDEXES), "SELECT public.attach_ip_source('public.e', ARRAY['ip'], 'at', 'index');");
    db.sql(&db.remedies(&INDEXES));
    assert_eq!(db.complaints(&checks), [""; 0]);
    // One of two.
    db.sql(
        "CREATE TABLE two (ip inet, ip2 inet, n int); CREATE INDEX ON two USING ip_observer (ip); CREATE INDEX ON two USING ip_observer (ip2);
         ALTER TABLE two DROP ip2",
    );
    assert_eq!(
        db.complaints(&INDEXES),
        ["error: public.two_ip_idx does not read what ip_source lists for public.two."]
    );
    db.sql(&db.remedies(&INDEXES));
    assert_eq!(db.complaints(&checks), [""; 0]);
    db.sql("INSERT INTO e VALUES ('3.128.10.1', now()); INSERT INTO two VALUES ('3.128.10.1')");
    assert_eq!(db.counts(), ["3.128.10.1|2"]);
    // Nothing is left to read.
    db.sql("ALTER TABLE two DROP ip");
    assert_eq!(db.remedies(&INDEXES), "SELECT public.detach_ip_source('public.two');");
    // That of an index on an expression, which no call makes, takes none off.
    db.sql("CREATE TABLE x (p jsonb); CREATE INDEX ON x USING ip_observer ((ip_parse(p, 'a'))); CREATE TABLE x2 () INHERITS (x)");
    let said = db.remedies(&INDEXES);
    assert!(said.contains("-- make the index that is missing") && !said.contains("public.x'"), "{said}");
    db.sql("DROP TABLE x2, x");
    // Nor does that of a trigger that is gone as well.
    db.sql("CREATE TABLE t (ip inet, ip2 inet); SELECT attach_ip_source('t', '{ip,ip2}'); DROP TRIGGER asn_inventory_observe ON t; ALTER TABLE t DROP ip2");
    assert_eq!(db.remedies(&["triggers"]), "SELECT public.attach_ip_source('public.t', ARRAY['ip'], NULL);");
}

#[test]
fn an_index_that_cannot_observe_is_refused_with_the_reason() {
    let db = Db::new();
    db.sql("CREATE TABLE e (id int, src inet, payload jsonb, at timestamptz, note text)");
    let cases = [
        ("(id)", "column \"id\" of \"e\" holds no addresses", "Its type is integer."),
        ("(payload)", "column \"payload\" of \"e\" holds no addresses", "It is JSON, and no path says where in it."),
        ("(src) WITH (selectors = '{dst}')", "column \"dst\" of relation \"e\" does not exist", ""),
        ("(src, note) WITH (selectors = '{src}')", "column \"note\" of the index is not read", "No selector names it."),
        ("(src) WITH (selectors = '{}')", "an index that observes needs a column", "selectors is empty."),
        ("(src) WITH (selectors = '{src')", "malformed array literal: \"{src\"", "Unexpected end of input."),
        ("(src) WITH (selectors = '{src->}')", "\"src->\" is neither a column nor a path like payload->>src_ip", ""),
        ("(src) WITH (observed_at = 'time')", "column \"time\" of relation \"e\" does not exist", ""),
        (
            "(src) INCLUDE (note, at) WITH (observed_at = 'at@Nowhere')",
            "column \"at\" of \"e\" cannot be used as observed_at",
            "Its values need no time zone.",
        ),
        (
            "(src) WITH (only_where = 'kind')",
            "only_where is no condition",
            "In only_where there is no =, <>, in or not in behind kind.",
        ),
        (
            "(src) WITH (sensor = 'list(note)')",
            "\"list(note)\" is no sensor",
            "It is no column and no path to one value in JSON.",
        ),
        ("(src) WITH (replica = maybe)", "invalid value for boolean option \"replica\": maybe", ""),
        ("(src) WITH (other = 1)", "unrecognized parameter \"other\"", ""),
    ];
    for (rest, message, detail) in cases {
        let failure = db.fails(&format!("CREATE INDEX ON e USING ip_observer {rest}"));
        assert_eq!((failure.message.as_str(), failure.detail.as_str()), (message, detail), "{rest}");
    }
    // Columns that the table has, and the index has not.
    for (options, column, place) in [
        ("selectors = '{src,note}'", "note", "key: USING ip_observer (\u{2026}, note)."),
        ("selectors = '{payload->>peer}'", "payload", "key: USING ip_observer (\u{2026}, payload)."),
        ("observed_at = 'at'", "at", "index: INCLUDE (at)."),
        ("only_where = 'note = x'", "note", "index: INCLUDE (note)."),
        ("sensor = 'note'", "note", "index: INCLUDE (note)."),
    ] {
        let failure = db.fails(&format!("CREATE INDEX ON e USING ip_observer (src) WITH ({options})"));
        assert_eq!(failure.message, format!("column \"{column}\" of \"e\" is not in the index"), "{options}");
        assert_eq!(failure.hint, format!("Put it into the {place}"), "{options}");
    }
    for statement in [
        "CREATE UNIQUE INDEX ON e USING ip_observer (src)",
        "CREATE INDEX ON pg_class USING ip_observer (oid)",
        "CREATE INDEX ON ip_inventory USING ip_observer (ip_address)",
        "CREATE INDEX ON ip_observation USING ip_observer (address)",
        "ALTER TABLE e ADD EXCLUDE USING ip_observer (src WITH =)",
        "CREATE INDEX CONCURRENTLY again ON e USING ip_observer (src)",
    ] {
        db.fails(statement);
    }
    assert_eq!(db.value("SELECT count(*) FROM ip_source"), "0");
    assert_eq!(db.value("SELECT count(*) FROM pg_index WHERE indrelid = 'e'::regclass"), "0");
    // A partitioned table without partitions is judged as well.
    db.sql("CREATE TABLE root (id int, ip inet) PARTITION BY LIST (id)");
    assert_eq!(db.fails("CREATE INDEX ON root USING ip_observer (id)").detail, "Its type is integer.");
    db.sql("CREATE INDEX ON root USING ip_observer (ip); CREATE TABLE one PARTITION OF root DEFAULT; INSERT INTO root VALUES (1, '3.128.2.1')");
    assert_eq!(db.sources(), ["root|1|0"]);
}

#[test]
fn more_columns_than_an_index_can_have_are_refused() {
    let db = Db::new();
    let names: Vec<String> = (1..=32).map(|n| format!("a{n}")).collect();
    db.sql(&format!("CREATE TABLE e (at timestamptz, {} inet)", names.join(" inet, ")));
    let attach = |rest: &str| format!("SELECT attach_ip_source('e', '{{{}}}'{rest})", names.join(","));
    let failure = db.fails(&attach(", 'at', method => 'index'"));
    assert_eq!(
        (failure.code.as_str(), failure.message.as_str()),
        ("54011", "\"e\" cannot be observed by an index: more than 32 columns are read")
    );
    assert_eq!(failure.detail, "Addresses, time, condition and sensor stand in 33 columns of the table.");
    assert!(failure.hint.contains("method => 'trigger'"), "{failure:?}");
    db.sql(&attach(", method => 'index'"));
    db.sql(&attach(", 'at'"));
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
fn a_role_may_make_one_only_if_it_may_attach() {
    let db = Db::new();
    let role = format!("{}_indexer", db.name);
    db.sql(&format!("CREATE ROLE {role} LOGIN; CREATE SCHEMA own AUTHORIZATION {role}; CREATE TABLE own.e (ip inet); ALTER TABLE own.e OWNER TO {role}"));
    let mut session = db.connect_as(&role);
    let failure = refused(&mut session, "CREATE INDEX ON own.e USING ip_observer (ip)");
    assert_eq!(
        (failure.code.as_str(), failure.message.as_str()),
        ("42501", "permission denied for function attach_ip_source")
    );
    let signature = db.value("SELECT oid::regprocedure FROM pg_proc WHERE proname = 'attach_ip_source'");
    db.sql(&format!("GRANT EXECUTE ON FUNCTION {signature} TO {role}"));
    run(&mut session, "CREATE INDEX ON own.e USING ip_observer (ip); INSERT INTO own.e VALUES ('3.128.6.1')");
    assert_eq!(db.counts(), ["3.128.6.1|1"]);
    // Others have no right on it, and need none.
    db.sql(&format!("REVOKE EXECUTE ON FUNCTION {signature} FROM {role}"));
    run(&mut session, "INSERT INTO own.e VALUES ('3.128.6.1')");
    assert_eq!(db.counts(), ["3.128.6.1|2"]);
    drop(session);
    db.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
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
