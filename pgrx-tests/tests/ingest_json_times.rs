//! The time of an event from JSON, text and numbers: by the trigger, row by row, and afterwards.

use crate::ingest_support::{Db, run};

fn seen(db: &Db) -> Vec<String> {
    db.settle();
    db.lines("SELECT host(ip_address), first_seen_at FROM ip_inventory ORDER BY ip_address")
}

/// The time as JSON, and how it is read.
const TIMES: [(&str, &str); 10] = [
    (r#""2024-01-05T12:00:00.345678Z""#, "2024-01-05 12:00:00.345678+00"),
    (r#""2024-01-05T12:00:00.345678+0100""#, "2024-01-05 11:00:00.345678+00"),
    (r#""2024-01-05 12:00:00""#, "2024-01-05 12:00:00+00"),
    ("1704456000.345678", "2024-01-05 12:00:00.345678+00"),
    (r#""1704456000""#, "2024-01-05 12:00:00+00"),
    ("1704456000345", "2024-01-05 12:00:00.345+00"),
    ("1704456000345678", "2024-01-05 12:00:00.345678+00"),
    (r#""2024-01-05""#, "2024-01-05 00:00:00+00"),
    (r#""20240105T120000.345678Z""#, "2024-01-05 12:00:00.345678+00"),
    (r#""20240105T120000+0100""#, "2024-01-05 11:00:00+00"),
];

#[test]
fn json_times_are_read_by_every_method() {
    for (kind, method) in [("jsonb", "trigger"), ("json", "trigger"), ("jsonb", "row"), ("jsonb", "populate")] {
        let db = Db::new();
        db.sql(&format!("CREATE TABLE e (payload {kind})"));
        let attach = |method: &str| {
            db.sql(&format!(
                "SELECT attach_ip_source('e', '{{payload->>ip}}', observed_at => 'payload->>@timestamp', method => '{method}')"
            ));
        };
        if method != "populate" {
            attach(method);
        }
        let mut session = db.connect();
        run(&mut session, "SET TimeZone = 'Asia/Tokyo'");
        for (number, (time, _)) in TIMES.iter().enumerate() {
            run(
                &mut session,
                &format!("INSERT INTO e VALUES ('{{\"ip\":\"20.66.1.{number}\",\"@timestamp\":{time}}}')"),
            );
        }
        if method == "populate" {
            attach("trigger");
            db.sql("SELECT populate_ip_inventory('e')");
        }
        let wanted: Vec<String> =
            TIMES.iter().enumerate().map(|(number, (_, time))| format!("20.66.1.{number}|{time}")).collect();
        assert_eq!(seen(&db), wanted, "{kind} {method}");
        assert_eq!(db.value("SELECT unparsable FROM ip_source"), "0");
        assert_eq!(
            db.lines("SELECT observed_at, observed_path, observed_zone FROM ip_source"),
            ["payload|payload->>@timestamp|"]
        );
    }
}

#[test]
fn columns_of_text_and_numbers_are_read_and_a_zone_counts_for_times_without_one() {
    let db = Db::new();
    db.sql(
        "CREATE TABLE texts (ip inet, at text); SELECT attach_ip_source('texts', '{ip}', 'at@Europe/Berlin');
         CREATE TABLE whole (ip inet, at bigint); SELECT attach_ip_source('whole', '{ip}', 'at');
         CREATE TABLE small (ip inet, at int); SELECT attach_ip_source('small', '{ip}', 'at');
         CREATE TABLE zeek (ip inet, at float8); SELECT attach_ip_source('zeek', '{ip}', 'at');
         CREATE TABLE exact (ip inet, at numeric); SELECT attach_ip_source('exact', '{ip}', 'at');
         CREATE TABLE rough (ip inet, at real); SELECT attach_ip_source('rough', '{ip}', 'at');
         CREATE TABLE json (p jsonb); SELECT attach_ip_source('json', '{p->>ip}', 'p->>at@Europe/Berlin');
         INSERT INTO texts VALUES ('20.66.1.1', '2024-01-05 12:00:00'), ('20.66.1.2', '2024-01-05T12:00:00Z');
         INSERT INTO whole VALUES ('20.66.1.3', 1704456000000);
         INSERT INTO small VALUES ('20.66.1.4', 1704456000);
         INSERT INTO zeek VALUES ('20.66.1.5', 1704456000.5);
         INSERT INTO exact VALUES ('20.66.1.7', 1704456000.123456), ('20.66.1.8', 1704456000123), ('20.66.1.9', 1704456000);
         INSERT INTO rough VALUES ('20.66.1.10', 1704456000);
         INSERT INTO json VALUES ('{\"ip\":\"20.66.1.6\",\"at\":\"2024-07-05 12:00:00\"}')",
    );
    assert_eq!(
        seen(&db),
        [
            "20.66.1.1|2024-01-05 11:00:00+00",
            "20.66.1.2|2024-01-05 12:00:00+00",
            "20.66.1.3|2024-01-05 12:00:00+00",
            "20.66.1.4|2024-01-05 12:00:00+00",
            "20.66.1.5|2024-01-05 12:00:00.5+00",
            "20.66.1.6|2024-07-05 10:00:00+00",
            "20.66.1.7|2024-01-05 12:00:00.123456+00",
            "20.66.1.8|2024-01-05 12:00:00.123+00",
            "20.66.1.9|2024-01-05 12:00:00+00",
            // The nearest that a real holds.
            "20.66.1.10|2024-01-05 11:58:56+00",
        ]
    );
}

#[test]
fn an_unreadable_time_is_counted_once_and_the_statements_time_stands_in() {
    for method in ["trigger", "row"] {
        let db = Db::new();
        db.sql(&format!(
            "CREATE TABLE e (payload jsonb, tags text[]);
             SELECT attach_ip_source('e', '{{payload->>ip,tags}}', observed_at => 'payload->>time', method => '{method}');
             INSERT INTO e VALUES ('{{\"ip\":\"20.66.1.1\",\"time\":\"soon\"}}', '{{20.66.1.2}}'),
                 ('{{\"ip\":\"20.66.1.3\"}}', '{{20.66.1.4}}'), ('{{\"ip\":\"20.66.1.5\",\"time\":{{}}}}', NULL), (NULL, '{{20.66.1.6}}')"
        ));
        db.settle();
        assert_eq!(
            db.value("SELECT count(*) FROM ip_inventory WHERE first_seen_at > now() - interval '5 min'"),
            "6",
            "{method}"
        );
        // A null in the column is no time, and no mistake.
        assert_eq!(db.lines("SELECT observations, unparsable FROM ip_source"), ["6|3"], "{method}");
        assert_eq!(
            db.lines("SELECT unreadable_sample, unreadable_reason FROM ip_source"),
            ["soon|observed_at: no time"],
            "{method}"
        );
    }
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (ip inet, at numeric); SELECT attach_ip_source('e', '{ip}', observed_at => 'at');
         INSERT INTO e VALUES ('20.66.1.1', 'NaN'), ('20.66.1.2', 'Infinity'), ('20.66.1.3', 1e100), ('20.66.1.4', -1), ('20.66.1.5', NULL)",
    );
    db.settle();
    assert_eq!(
        db.lines("SELECT observations, unparsable, unreadable_reason FROM ip_source"),
        ["5|4|observed_at: no time"]
    );
    let db = Db::new();
    db.sql(
        "CREATE TABLE e (payload json); SELECT attach_ip_source('e', '{payload->>ip}', observed_at => 'payload->>Time');
         INSERT INTO e VALUES ('{\"ip\":\"20.66.1.1\",\"time\":\"2024-01-05\"}')",
    );
    db.settle();
    assert_eq!(
        db.value("SELECT unreadable_reason FROM ip_source"),
        "observed_at: no key \"Time\"; the keys are: ip, time"
    );
}

#[test]
fn what_is_no_time_is_refused_with_a_hint() {
    let db = Db::new();
    db.sql("CREATE TABLE e (ip inet, at timestamptz, p jsonb, n bigint)");
    for (time, code, message, detail) in [
        (
            "p",
            "42804",
            "column \"p\" of \"e\" cannot be used as observed_at",
            "It is JSON, and the path to the time is missing.",
        ),
        ("ip", "42804", "column \"ip\" of \"e\" cannot be used as observed_at", "It holds no time."),
        (
            "at->>x",
            "42804",
            "column \"at->>x\" of \"e\" cannot be used as observed_at",
            "It is no path to one value in a JSON column.",
        ),
        (
            "p->*->>x",
            "42804",
            "column \"p->*->>x\" of \"e\" cannot be used as observed_at",
            "It is no path to one value in a JSON column.",
        ),
        ("n@UTC", "42804", "column \"n\" of \"e\" cannot be used as observed_at", "Its values need no time zone."),
        ("at@UTC", "42804", "column \"at\" of \"e\" cannot be used as observed_at", "Its values need no time zone."),
        ("q->>x", "42703", "column \"q\" of relation \"e\" does not exist", ""),
    ] {
        let failure = db.fails(&format!("SELECT attach_ip_source('e', '{{ip}}', '{time}')"));
        assert_eq!((&*failure.code, &*failure.message, &*failure.detail), (code, message, detail), "{time}");
        assert!(!failure.hint.is_empty(), "{time}");
    }
    let failure = db.fails("SELECT attach_ip_source('e', '{ip}', 'p->>x@Mars/Olympus')");
    assert_eq!((&*failure.code, &*failure.message), ("22023", "time zone \"Mars/Olympus\" not recognized"));
}
