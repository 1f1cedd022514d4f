//! Indexes that observe, by definition: made by hand, what they may read, who may make one, columns that are renamed or dropped.

use crate::ingest_support::{Db, INDEXES, refused, run};

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
