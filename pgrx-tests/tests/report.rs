//! `inventory_report()`: the page has the counts of SQL, data from the internet is only text there, and EXECUTE on the
//! function is enough.

use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;
use asn_inventory_tests::wait::wait_out_midnight;

const DB: &str = "postgres";

fn started() -> Cluster {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.wait_walked(DB);
    cluster
}

/// The page of a database.
fn page(cluster: &Cluster, db: &str) -> String {
    cluster.value(db, "SELECT replace(inventory_report(), E'\\n', ' ')")
}

/// The text of the element with an id, without markup.
fn element<'a>(page: &'a str, id: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!(" id=\"{id}\">")).unwrap_or_else(|| panic!("no {id} in {page}"));
    rest.split_once('<').map_or(rest, |(text, _)| text)
}

#[test]
fn the_figures_are_what_sql_counts() {
    let cluster = started();
    let sql = |sql: &str| cluster.value(DB, sql);
    // Observed addresses, and rows in every state that the network sources know.
    cluster.sql(
        DB,
        "CREATE TABLE events (at timestamptz, ip inet);
         SELECT attach_ip_source('events', '{ip}', 'at');
         INSERT INTO events SELECT timestamptz '2026-03-01 12:00+00' + i % 20 * interval '1 day', '34.64.0.0'::inet + i % 1300
             FROM generate_series(1, 5000) i;
         INSERT INTO events VALUES ('2026-03-05 00:00+00', '8.8.8.8'), ('2026-03-05 00:00+00', '81.2.69.142'),
             ('2026-03-06 00:00+00', '81.2.69.142'), ('2026-03-06 00:00+00', '10.0.0.1'), ('2026-03-02 00:00+00', '51.68.0.1')",
    );
    cluster.wait_value(DB, "SELECT sum(observation_count) FROM ip_inventory", "5005");
    // No event has such a time, but a hand may write it.
    cluster.sql(DB, "UPDATE ip_inventory SET first_seen_at = '1970-01-01Z', last_seen_at = '1970-01-01Z' WHERE ip_address = '51.68.0.1'");
    cluster.wait_value(
        DB,
        "SELECT sum(ip_count) FROM asn_inventory",
        &sql("SELECT count(asn_number) FROM ip_inventory"),
    );
    cluster.sql(
        DB,
        "UPDATE ip_inventory SET scanner_noise = true, scanner_riot = false, scanner_classification = 'malicious',
             greynoise_status = 'found', scanner_ts = now() - interval '3 days' WHERE ip_address << '34.64.0.0/24';
         UPDATE ip_inventory SET scanner_noise = false, scanner_riot = false, greynoise_status = 'not_found',
             scanner_ts = now() - interval '40 days' WHERE ip_address << '34.64.1.0/24';
         UPDATE ip_inventory SET greynoise_status = 'quota' WHERE ip_address << '34.64.2.0/24'",
    );
    let page = page(&cluster, DB);
    let grouped = |query: &str| sql(&format!("SELECT to_char(({query}), 'FM999,999,999')"));
    for (id, counted) in [
        ("addresses", "SELECT count(*) FROM ip_inventory"),
        ("observations", "SELECT sum(observation_count) FROM ip_inventory"),
        ("asns", "SELECT count(DISTINCT asn_number) FROM ip_inventory"),
        ("countries", "SELECT count(DISTINCT country_code) FROM ip_inventory"),
        ("queued", "SELECT coalesce(sum(addresses), 0) FROM ip_observation"),
    ] {
        assert_eq!(element(&page, id), grouped(counted), "{id}");
    }
    assert_eq!(element(&page, "addresses"), "1,304");
    assert_eq!(
        element(&page, "enriched"),
        sql("SELECT CASE WHEN every(maxmind_status = 'found') THEN '100 %' ELSE round(100.0 * count(*)
             FILTER (WHERE maxmind_status = 'found') / count(*), 1) || ' %' END FROM ip_inventory WHERE ip_class = 'public'")
    );
    let asked = "SELECT count(*) FILTER (WHERE scanner_noise), count(*) FILTER (WHERE scanner_ts IS NOT NULL) FROM ip_inventory";
    assert_eq!(cluster.lines(DB, asked), ["256|512"]);
    assert_eq!(element(&page, "scanners"), "50.0 %");
    assert_eq!(element(&page, "worker"), "running");

    // The plots have text descriptions.
    let greynoise = "GreyNoise: found 256 (19.6 %), not found 256 (19.6 %), pending 535 (41.0 %), out of quota 256 (19.6 %), skipped 1 (&lt; 0.1 %)";
    let statuses = "SELECT greynoise_status, count(*) FROM ip_inventory GROUP BY 1 ORDER BY 1";
    assert_eq!(cluster.lines(DB, statuses), ["found|256", "not_found|256", "pending|535", "quota|256", "skipped|1"]);
    assert!(element(&page, "coverage-plot-wide-d").contains(greynoise), "{}", element(&page, "coverage-plot-wide-d"));
    let ages = "GreyNoise: &lt; 1 d 0, &lt; 7 d 256, &lt; 30 d 0, &lt; 90 d 256, &lt; 1 y 0, older 0";
    assert!(element(&page, "freshness-plot-wide-d").contains(ages), "{}", element(&page, "freshness-plot-wide-d"));
    let top = sql("SELECT 'AS' || asn_number || ' ' || asn_org || ': ' || to_char(observation_count, 'FM999,999')
                   FROM asn_inventory ORDER BY observation_count DESC LIMIT 1");
    assert!(element(&page, "asns-plot-narrow-d").starts_with(&top), "{top}: {}", element(&page, "asns-plot-narrow-d"));
    // One time of 1970 does not press fifty years into the timeline; the note says that it is missing.
    let new = element(&page, "new-full-d");
    assert!(new.starts_with("20 buckets from 01 Mar 2026; 1,303 in all;"), "{new}");
    assert!(page.contains("1 address has a time outside of what is shown"), "{page}");
}

#[test]
fn the_timeline_shows_every_event_in_its_range() {
    let cluster = started();
    let days = |page: &str| ["new-full-d", "observed-full-d"].map(|id| element(page, id).to_owned());
    // Known for longer than the timeline reaches back, and still seen.
    cluster.sql(
        DB,
        "INSERT INTO ip_inventory (ip_address, first_seen_at, last_seen_at, observation_count)
         VALUES ('9.0.0.1', '2001-01-01Z', date_trunc('day', now(), 'UTC') - interval '20 days', 5)",
    );
    let [new, observed] = days(&page(&cluster, DB));
    assert!(new.contains("; 0 in all;") && observed.contains("; 5 in all;"), "{new} {observed}");
    // Another, new in the meantime, whose last event has a clock that is ahead; and one that was only asked about.
    cluster.sql(
        DB,
        "INSERT INTO ip_inventory (ip_address, first_seen_at, last_seen_at, observation_count)
         SELECT '9.0.0.2'::inet, last_seen_at + interval '9 days', now() + interval '90 days', 2 FROM ip_inventory
         UNION ALL SELECT '9.0.0.3', now() - interval '30 days', now() - interval '2 days', 0",
    );
    let page = page(&cluster, DB);
    let [new, observed] = days(&page);
    assert!(new.starts_with("10 buckets from ") && new.contains("; 1 in all;"), "{new}");
    assert!(observed.contains("; 5 in all;"), "{observed}");
    assert!(page.contains("2 addresses have a time outside of what is shown"), "{page}");
}

#[test]
fn observations_stay_in_their_days_whatever_the_days_lack() {
    wait_out_midnight();
    let cluster = started();
    cluster.sql(
        DB,
        "CREATE TABLE e (ip inet, at timestamptz); SELECT attach_ip_source('e', '{ip}', 'at');
         INSERT INTO e SELECT inet '81.2.69.0' + i % 20, date_trunc('day', now(), 'UTC') - i % 40 * interval '1 day' FROM generate_series(1, 400) i;
         INSERT INTO e SELECT inet '81.2.69.0' + i % 20, date_trunc('day', now(), 'UTC') - interval '30 days' FROM generate_series(1, 300) i",
    );
    cluster.wait_value(DB, "SELECT sum(observations) FROM activity_by_day WHERE kind = 'all'", "700");
    let drawn = || {
        let page = page(&cluster, DB);
        let note = page.split("<p class=\"note\">").find(|note| note.contains("drawn"));
        let note = note.map(|note| note.split('<').next().unwrap_or_default().to_owned());
        (page.contains("<h3>Observations</h3>"), element(&page, "observed-full-d").to_owned(), note.unwrap_or_default())
    };
    let (is_exact, by_day, note) = drawn();
    let night = cluster.value(DB, "SELECT to_char(now() AT TIME ZONE 'UTC' - interval '30 days', 'DD Mon YYYY')");
    assert!(is_exact && by_day.contains("; 700 in all; most in one: 310, at ") && by_day.ends_with(&night), "{by_day}");
    assert_eq!(note, "");
    // Fewer in the days: the worker is behind, a row was written by hand, a day was not kept.
    cluster.sql(DB, "UPDATE ip_inventory SET observation_count = observation_count + 1 WHERE ip_address = '81.2.69.1'");
    let lacks = |n: &str| format!("{n} not drawn");
    let (is_exact, after, note) = drawn();
    assert!(is_exact && after == by_day && note.starts_with(&lacks("1 of 701 observations is")), "{after} {note}");
    cluster.sql(
        DB,
        "DELETE FROM ip_activity_count WHERE by_day AND bucket = date_trunc('day', now(), 'UTC') - interval '5 days'",
    );
    let (is_exact, after, note) = drawn();
    assert!(is_exact && after.contains("; 690 in all; most in one: 310, at "), "{after}");
    assert!(note.starts_with(&lacks("11 of 701 observations are")), "{note}");
    // More than the inventory has.
    cluster.sql(DB, "DELETE FROM ip_inventory WHERE ip_address < '81.2.69.10'");
    let (is_exact, after, note) = drawn();
    assert!(is_exact && after.contains("; 690 in all; most in one: 310, at "), "{after}");
    assert_eq!(note, "340 observations are drawn that the inventory does not have any more.");
    // One of more than a year ago, of which no day is kept.
    cluster.sql(DB, "INSERT INTO e VALUES ('81.2.69.15', now() - interval '500 days')");
    cluster.wait_value(DB, "SELECT min(first_seen_at) < now() - interval '499 days' FROM ip_inventory", "t");
    let (is_exact, after, _) = drawn();
    assert!(is_exact && after.contains("; 690 in all; "), "{after}");
    assert!(after.starts_with("72 buckets ") || after.starts_with("73 buckets "), "{after}");
    // Where next to nothing is known by day, as after an update: when the addresses were last seen.
    cluster.sql(DB, "UPDATE ip_inventory SET observation_count = 100000");
    assert!(!drawn().0);
}

#[test]
fn text_from_the_internet_is_text_on_the_page() {
    let cluster = started();
    cluster.sql(
        DB,
        r#"INSERT INTO ip_inventory (ip_address, asn_number, asn_org, asn_source, country_code, city, latitude, longitude,
               ip_class, maxmind_status, scanner_noise, scanner_classification, scanner_ts)
           VALUES ('8.8.8.8', 15169, '<script>alert(1)</script>', 'maxmind', '"><img src=x onerror=alert(2)>',
                   '</title></svg><script>alert(3)</script>', 'NaN', 'Infinity', 'public', '<b>odd</b>', true, '<i>x</i>', now()),
                  ('8.8.4.4', 64500, E'evil\u202Egpj.exe\u0085\u0007', 'cymru', E'\u202E', repeat('x', 5000), 95, 200, 'public',
                   'found', true, 'malicious', 'infinity');
           UPDATE ip_inventory SET first_seen_at = '-infinity', last_seen_at = 'infinity';
           INSERT INTO asn_inventory (asn_number, asn_org, ip_count, observation_count)
           VALUES (15169, '<script>alert(1)</script>', 1, 1), (64500, E'evil\u202Egpj.exe\u0085\u0007', 1, 1)
           ON CONFLICT (asn_number) DO UPDATE SET asn_org = excluded.asn_org, ip_count = 1, observation_count = 1"#,
    );
    let page = page(&cluster, DB);
    assert_eq!(element(&page, "addresses"), "2");
    for tag in ["<script", "<img", "<b>", "<i>", "</title></svg>", "onerror=alert(2)>"] {
        assert!(!page.contains(tag), "{tag} in {page}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{page}");
    assert!(page.contains("evilgpj.exe"), "{page}");
    assert!(page.is_ascii(), "no encoding can change what is read");
    assert!(!page.contains(&"x".repeat(61)), "a long name is cut");
}

#[test]
fn an_empty_inventory_shows_the_next_steps() {
    let cluster = started();
    let page = page(&cluster, DB);
    assert_eq!(element(&page, "addresses"), "0");
    assert!(page.contains("Nothing yet") && page.contains("attach_ip_source("), "{page}");
    assert!(page.ends_with("</html>") || page.trim_end().ends_with("</html>"), "{page}");
}

#[test]
fn execute_gives_the_page_and_no_other_right() {
    let cluster = started();
    cluster.sql(
        DB,
        "INSERT INTO ip_inventory (ip_address) VALUES ('8.8.8.8'); CREATE ROLE reader LOGIN; CREATE ROLE nobody LOGIN;
         GRANT EXECUTE ON FUNCTION inventory_report() TO reader",
    );
    let mut reader = cluster.connect_as("reader", DB);
    let rows = query(&mut reader, "SELECT inventory_report(), current_user").expect("a page");
    let page = rows[0][0].clone().expect("not null");
    assert_eq!(element(&page, "addresses"), "1");
    assert_eq!(rows[0][1].as_deref(), Some("reader"), "the caller is who he was");
    assert_eq!(query(&mut reader, "SELECT count(*) FROM ip_inventory").expect_err("no right").code, "42501");
    let mut nobody = cluster.connect_as("nobody", DB);
    assert_eq!(query(&mut nobody, "SELECT inventory_report()").expect_err("no right").code, "42501");
}

#[test]
fn a_caller_cannot_make_the_owner_run_his_functions() {
    let cluster = started();
    cluster.sql(
        DB,
        "CREATE ROLE reader LOGIN; GRANT EXECUTE ON FUNCTION inventory_report() TO reader; CREATE SCHEMA trap AUTHORIZATION reader",
    );
    let mut reader = cluster.connect_as("reader", DB);
    query(
        &mut reader,
        "CREATE FUNCTION trap.lie(text, text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
         CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.lie);
         CREATE FUNCTION trap.count(bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
         CREATE TEMP TABLE ip_inventory (ip_address inet);
         SET search_path = trap, pg_temp, pg_catalog, public",
    )
    .expect("a trap");
    query(&mut reader, "SELECT public.inventory_report()").expect("a page");
}

#[test]
fn it_writes_nothing_and_works_on_a_standby() {
    let primary = started();
    primary.sql(DB, "INSERT INTO ip_inventory (ip_address) VALUES ('8.8.8.8')");
    let mut session = primary.connect(DB);
    query(&mut session, "BEGIN READ ONLY").expect("begin");
    query(&mut session, "SELECT inventory_report()").expect("a page in a read-only transaction");
    let id = query(&mut session, "SELECT pg_current_xact_id_if_assigned()").expect("an answer");
    assert_eq!(id[0][0], None, "no transaction id was spent");
    let standby = primary.standby();
    standby.wait_replay(&primary);
    let page = page(&standby, DB);
    assert_eq!((element(&page, "addresses"), element(&page, "worker")), ("1", "standby"));
}

#[test]
fn the_page_is_the_same_in_every_encoding() {
    let cluster = started();
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let db = encoding.to_lowercase();
        cluster.sql(
            DB,
            &format!("CREATE DATABASE {db} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"),
        );
        let name = if encoding == "LATIN1" { r"E'Z\374rich \337'" } else { r"E'Z\303\274rich \303\237\377'" };
        let mut client = cluster.connect(&db);
        query(&mut client, "SET client_encoding = 'SQL_ASCII'; CREATE EXTENSION asn_inventory").expect("an extension");
        query(
            &mut client,
            &format!(
                "INSERT INTO asn_inventory (asn_number, asn_org, ip_count) VALUES (64500, {name}, 1);
                 INSERT INTO ip_inventory (ip_address, asn_number) VALUES ('8.8.8.8', 64500)"
            ),
        )
        .expect("a row");
        let page = query(&mut client, "SELECT inventory_report()").expect("a page")[0][0].clone().expect("not null");
        assert!(page.contains("Z&#252;rich &#223;"), "{encoding}: {page}");
    }
}
