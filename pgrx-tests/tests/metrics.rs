//! `prometheus_metrics()`: Prometheus's own parser takes the page without a word, its values are those of the views,
//! unknown values are omitted, and names in labels stay labels.

use crate::network_support::*;
use crate::promtool_support::*;
use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;

#[test]
fn the_values_are_those_of_the_views() {
    let world = World::start();
    world.attach_events();
    world.ingest(&["8.8.8.8", "8.8.8.8", "81.2.69.142", "10.0.0.1"]);
    world.sql("CREATE TABLE texts (ip text); SELECT attach_ip_source('texts', '{ip}'); INSERT INTO texts VALUES ('no address')");
    world.wait("SELECT count(*) FROM ip_inventory WHERE greynoise_status IN ('found', 'not_found')", "2");
    world.wait("SELECT queued FROM enrichment_status", "0");
    world.sql("SELECT enrich_ip('8.8.8.8'), enrich_ip('1.1.1.1')");
    world.wait("SELECT addresses FROM inventory_count", "4");
    world.wait("SELECT greynoise_due FROM inventory_count", "0");
    let page = Page::of(&world.cluster, DB);
    let one = |name: &str, sql: &str| {
        let wanted = world.value(&format!("SELECT ({sql})::float8"));
        assert_eq!(page.value(name, &[]), wanted.parse().ok(), "{name} is not {sql}: {wanted}");
    };
    one("up", "SELECT 1");
    one("standby", "SELECT 0");
    one("enabled", "SELECT 1");
    one("queue_addresses", "SELECT queued FROM enrichment_status");
    one("absorbed_addresses_total", "SELECT absorbed FROM enrichment_status");
    one("cache_hits_total", "SELECT cache_hits FROM enrichment_status");
    one("cache_misses_total", "SELECT cache_misses FROM enrichment_status");
    one("addresses", "SELECT addresses FROM enrichment_status");
    one("addresses_public", "SELECT public_addresses FROM inventory_count");
    one("addresses_enriched", "SELECT enriched FROM enrichment_status");
    one("addresses_missing_asn", "SELECT missing_asn FROM enrichment_status");
    one("addresses_scanners", "SELECT scanners FROM inventory_count");
    one("counted_timestamp_seconds", "SELECT extract(epoch FROM counted_at) FROM enrichment_status");
    one("tables_attached", "SELECT count(*) FROM ip_source");
    // Of a table each: the sum would fall when one is detached.
    let of =
        |page: &Page, name: &str| ["public.events", "public.texts"].map(|table| page.value(name, &[("table", table)]));
    assert_eq!(of(&page, "observations_total"), [Some(4.0), Some(0.0)]);
    assert_eq!(of(&page, "unparsable_total"), [Some(0.0), Some(1.0)]);
    assert_eq!(page.value("addresses", &[]), Some(4.0));
    assert_eq!([page.value("cache_hits_total", &[]), page.value("cache_misses_total", &[])], [Some(1.0), Some(1.0)]);
    assert_eq!(page.value("queue_age_seconds", &[]), None, "nothing waits");
    assert!(page.value("last_absorb_timestamp_seconds", &[]).is_some_and(|at| at > 1.7e9));

    for source in ["maxmind", "cymru", "greynoise"] {
        for (name, column) in [
            ("source_requests_total", "requests"),
            ("source_last_success_timestamp_seconds", "extract(epoch FROM last_success_at)"),
            ("source_retry_timestamp_seconds", "extract(epoch FROM retry_at)"),
            ("quota_limit", "quota"),
            ("quota_used", "quota_used"),
            ("quota_left", "quota_left"),
            ("quota_reset_timestamp_seconds", "extract(epoch FROM quota_reset_at)"),
        ] {
            let wanted = world.source(source, &format!("({column})::float8"));
            assert_eq!(page.value(name, &[("source", source)]), wanted.parse().ok(), "{name} of {source}: {wanted}");
        }
        let state = world.source(source, "state");
        assert_eq!(state, "ok");
        assert_eq!(page.value("source_up", &[("source", source)]), Some(1.0), "{source}");
        assert_eq!(page.value("source_state", &[("source", source), ("state", "ok")]), Some(1.0), "{source}");
        assert_eq!(page.states(source), 1.0, "{source} is in one state");
        let answered = world.value(&format!("SELECT {source}_answered FROM inventory_count"));
        assert_eq!(page.value("source_answered", &[("source", source)]), answered.parse().ok(), "{source}");
    }
    assert_eq!(page.value("quota_used", &[("source", "greynoise")]), Some(3.0), "1.1.1.1 was asked about, too");
    assert_eq!(page.value("source_due", &[("source", "greynoise")]), Some(0.0));
    assert_eq!(page.value("source_errors_total", &[("source", "greynoise")]), Some(0.0));
    assert_eq!(page.value("source_errors_total", &[("source", "maxmind")]), None, "look-ups do not fail");
    for (edition, build, size) in world
        .cluster
        .sql(DB, "SELECT edition, extract(epoch FROM build_time)::bigint, size FROM _mmdb_files()")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone(), row[2].clone()))
    {
        let (edition, number) =
            (edition.expect("a name"), |text: Option<String>| text.and_then(|text| text.parse().ok()));
        let labels = [("edition", edition.as_str())];
        assert_eq!(page.value("mmdb_build_timestamp_seconds", &labels), number(build));
        assert_eq!(page.value("mmdb_size_bytes", &labels), number(size));
        assert_eq!(page.value("mmdb_refused", &labels), Some(0.0));
    }
}

#[test]
fn histograms_are_cumulative_and_agree_with_the_counters() {
    let world = World::start();
    world.attach_events();
    world.ingest(&["8.8.8.8", "81.2.69.142"]);
    world.wait("SELECT count(*) FROM ip_inventory WHERE greynoise_status IN ('found', 'not_found')", "2");
    let page = Page::of(&world.cluster, DB);
    for source in ["maxmind", "cymru", "greynoise"] {
        let buckets = page.buckets("source_answer_duration_seconds", source);
        assert_eq!(buckets.len(), 29, "1, 2.5 and 5 of nine decades, 100 s, and infinity: {buckets:?}");
        assert!(buckets.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1), "{buckets:?}");
        let last = buckets.last().copied().expect("a bucket");
        assert!(last.0.is_infinite());
        assert_eq!(page.value("source_answer_duration_seconds_count", &[("source", source)]), Some(last.1));
    }
    let greynoise = [("source", "greynoise")];
    let count = page.value("source_answer_duration_seconds_count", &greynoise).expect("a count");
    assert_eq!(count, 2.0);
    assert_eq!(page.value("source_requests_total", &greynoise), Some(count));
    // The fakes answer within a minute, and no answer takes no time.
    let sum = page.value("source_answer_duration_seconds_sum", &greynoise).expect("a sum");
    assert!(sum > 0.0 && sum < 60.0 * count, "{sum}");
    let half: f64 = world.source("greynoise", "p50_ms").parse().expect("a figure");
    let within: Vec<(f64, f64)> = page.buckets("source_answer_duration_seconds", "greynoise");
    let reached = within.iter().find(|(bound, _)| *bound >= half / 1e3).expect("a bucket");
    assert!(reached.1 >= count / 2.0, "half of all took no longer than {half} ms: {within:?}");
}

#[test]
fn failures_show_in_the_metrics() {
    let key = "env:MAXMIND_LICENSE_KEY";
    let world = World::options().conf("greynoise_quota", "5").conf("maxmind_license_key", key).start();
    world.attach_events();
    world.fakes.fault(Fault::from(GreyNoiseFault::Status { status: 401, body: None, retry_after: None }));
    std::fs::write(world.cluster.maxmind_dir().join("GeoLite2-ASN.mmdb"), "no database").expect("a file");
    world.wait("SELECT count(*) FROM _mmdb_files() WHERE refused IS NOT NULL", "1");
    world.ingest(&["8.8.8.8"]);
    world.wait_source("greynoise", "state", "refused");
    world.sql("SELECT update_maxmind()");
    world.wait("SELECT count(*) FROM enrichment_run WHERE kind = 'update'", "1");
    let page = Page::of(&world.cluster, DB);
    let greynoise = |state| page.value("source_state", &[("source", "greynoise"), ("state", state)]);
    assert_eq!([greynoise("refused"), greynoise("ok")], [Some(1.0), Some(0.0)]);
    assert_eq!(page.value("source_up", &[("source", "greynoise")]), Some(0.0));
    assert_eq!(page.value("source_errors_total", &[("source", "greynoise")]), Some(1.0));
    assert!(page.value("source_last_error_timestamp_seconds", &[("source", "greynoise")]).is_some());
    assert_eq!(page.value("mmdb_refused", &[("edition", "GeoLite2-ASN")]), Some(1.0));
    assert_eq!(page.value("mmdb_refused", &[("edition", "GeoLite2-City")]), Some(0.0));
    let failed = world.value("SELECT (outcome = 'failed')::int FROM enrichment_run WHERE kind = 'update'");
    assert_eq!(page.value("mmdb_update_failed", &[]), failed.parse().ok());
    assert_eq!(failed, "1");
    // One was named and is not there; the other can be read, and GreyNoise does not want it.
    let unreadable = ["maxmind", "greynoise"].map(|key| page.value("key_unreadable", &[("key", key)]));
    assert_eq!(unreadable, [Some(1.0), Some(0.0)]);

    // The queue waits for a worker that is in no hurry.
    world.cluster.set("asn_inventory.absorb_interval", "1h");
    world.ingest(&["9.9.9.9", "9.9.9.10"]);
    wait_for(
        "a queue that grows old",
        || Page::of(&world.cluster, DB),
        |page| {
            page.value("queue_age_seconds", &[]).is_some_and(|age| age > 0.0 && age < 3600.0)
                && page.value("queue_addresses", &[]) == Some(2.0)
        },
    );
    world.cluster.set("asn_inventory.cymru", "off");
    world.wait_source("cymru", "state", "off");
    assert_eq!(Page::of(&world.cluster, DB).value("source_up", &[("source", "cymru")]), None, "off is not down");
    world.cluster.stop_worker(DB);
    assert_eq!(Page::of(&world.cluster, DB).value("up", &[]), Some(0.0));
}

#[test]
fn unknown_values_are_omitted_without_preload_and_without_files() {
    let cluster = Cluster::builder().preload(false).start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    let page = Page::of(&cluster, DB);
    assert_eq!([page.value("up", &[]), page.value("queue_addresses", &[])], [Some(0.0), Some(0.0)]);
    assert_eq!(page.value("source_state", &[("source", "maxmind"), ("state", "unavailable")]), Some(1.0));
    assert_eq!(page.value("source_up", &[("source", "maxmind")]), Some(0.0));
    let names = page.names();
    for unknown in [
        "addresses",
        "counted_timestamp_seconds",
        "absorbed_addresses_total",
        "cache_hits_total",
        "source_requests_total",
        "source_in_flight",
        "source_answer_duration_seconds",
        "last_absorb_timestamp_seconds",
        "mmdb_refused",
        "jobs_running",
        "mmdb_update_failed",
        "source_last_success_timestamp_seconds",
    ] {
        assert!(!names.contains(&format!("asn_inventory_{unknown}")), "{unknown} is not known: {names:?}");
    }
    // A query of the state is not a look-up: the warning about unanswered look-ups is kept for look-ups.
    let (mut client, notices) = cluster.connect_with_notices(DB);
    query(&mut client, "SELECT prometheus_metrics(), inventory_report(); SELECT FROM enrichment_status")
        .expect("a page");
    assert_eq!(notices.all(), Vec::<String>::new());
    query(&mut client, "SELECT prometheus_metrics(), ip_asn('8.8.8.8')").expect("nothing");
    assert_eq!(notices.all().len(), 1, "{:?}", notices.all());
}

#[test]
fn a_standby_answers_and_nothing_is_written() {
    let primary = Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").start();
    fixtures::small(&primary.maxmind_dir());
    primary.sql(
        DB,
        "CREATE EXTENSION asn_inventory; INSERT INTO ip_inventory (ip_address) VALUES ('8.8.8.8');
         INSERT INTO enrichment_run SELECT 0, 'update', '{}', 'somebody', now(), now(), 'failed', 'no network', 0, 0, 0, 0, 0, 0, 0, 0, 0",
    );
    primary.wait_value(DB, "SELECT addresses FROM inventory_count", "1");
    let mut session = primary.connect(DB);
    query(&mut session, "BEGIN READ ONLY; SELECT prometheus_metrics()").expect("a page in a read-only transaction");
    let id = query(&mut session, "SELECT pg_current_xact_id_if_assigned()").expect("an answer");
    assert_eq!(id[0][0], None, "no transaction id was spent");
    let standby = primary.standby();
    standby.wait_replay(&primary);
    let page = Page::of(&standby, DB);
    let values = ["up", "standby", "addresses"].map(|name| page.value(name, &[]));
    assert_eq!(values, [Some(0.0), Some(1.0), Some(1.0)]);
    // Whether there is a key to look with, the primary's worker knows: what failed there is told there, and nobody could end
    // it here.
    assert_eq!(page.value("mmdb_update_failed", &[]), None);
    assert!(page.value("mmdb_update_timestamp_seconds", &[]).is_some());
    assert_eq!(standby.value(DB, "SELECT last_error FROM source_status WHERE source = 'maxmind'"), "");
}

/// Who is asked every minute must answer: sessions that wait would add up to all that the server has.
#[test]
fn a_locked_table_costs_its_own_figures_alone() {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").start();
    cluster.sql(
        DB,
        "CREATE EXTENSION asn_inventory; CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}');
         INSERT INTO ip_inventory (ip_address) VALUES ('8.8.8.8')",
    );
    cluster.wait_value(DB, "SELECT addresses FROM inventory_count", "1");
    // Where it waits for the lock, it is the time limit that ends it.
    let page = || Page::read(&cluster.value(DB, "SET statement_timeout = '1min'; SELECT prometheus_metrics()"));
    let has = |page: &Page, name: &str| page.names().contains(&format!("asn_inventory_{name}"));
    let figures = ["queue_addresses", "addresses", "mmdb_sources_update_failed", "tables_attached", "source_state"];
    for (table, lost) in [
        ("ip_observation", &["queue_addresses"][..]),
        ("inventory_count", &["addresses", "source_state"][..]),
        ("enrichment_run", &["mmdb_sources_update_failed", "source_state"][..]),
        ("ip_source", &["tables_attached"][..]),
        ("source_quota", &["source_state"][..]),
    ] {
        let mut holder = cluster.connect(DB);
        query(&mut holder, &format!("BEGIN; LOCK TABLE {table}")).expect("the lock");
        let seen = page();
        assert_eq!([has(&seen, "up"), has(&seen, "info")], [true; 2], "{table}");
        for figure in figures {
            assert_eq!(has(&seen, figure), !lost.contains(&figure), "{figure}, with {table} locked");
        }
        query(&mut holder, "ROLLBACK").expect("an end");
        let seen = page();
        assert!(figures.iter().all(|figure| has(&seen, figure)), "{table} is free again");
    }
}

#[test]
fn a_dropped_table_is_attached_no_more() {
    let cluster = Cluster::builder().start();
    cluster.sql(
        DB,
        "CREATE EXTENSION asn_inventory; CREATE TABLE one (ip inet); CREATE TABLE two (ip inet);
         SELECT attach_ip_source('one', '{ip}'), attach_ip_source('two', '{ip}')",
    );
    let attached = || Page::of(&cluster, DB).value("tables_attached", &[]);
    assert_eq!(attached(), Some(2.0));
    cluster.sql(DB, "DROP TABLE one");
    assert_eq!(attached(), Some(1.0));
}

/// A database in SQL_ASCII takes names in any bytes. Of two that are the same but for these, a page has both.
#[test]
fn names_that_are_no_text_stay_apart() {
    let cluster = Cluster::builder().start();
    let db = "bytes";
    cluster
        .sql(DB, &format!("CREATE DATABASE {db} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"));
    cluster.sql(
        db,
        "CREATE EXTENSION asn_inventory; CREATE TABLE one (ip inet); CREATE TABLE two (ip inet);
         SELECT attach_ip_source('one', '{ip}'), attach_ip_source('two', '{ip}');
         DO $$ BEGIN
             EXECUTE pg_catalog.format('ALTER TABLE one RENAME TO %I', E'caf\\350');
             EXECUTE pg_catalog.format('ALTER TABLE two RENAME TO %I', E'caf\\351');
         END $$",
    );
    let page = Page::of(&cluster, db);
    for name in ["public.\"caf\\xe8\"", "public.\"caf\\xe9\""] {
        assert_eq!(page.value("observations_total", &[("table", name)]), Some(0.0), "{name}");
    }
}

#[test]
fn a_hostile_name_of_a_database_stays_a_label() {
    let cluster = Cluster::builder().start();
    let name = "we\"ird\\\n} 1\nasn_inventory_up{database=\"x\"} 7\n#\u{e9}";
    cluster.sql(DB, &format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\"")));
    cluster.sql(name, "CREATE EXTENSION asn_inventory");
    let page = Page::of(&cluster, name);
    assert!(!page.samples.is_empty());
    for sample in &page.samples {
        assert_eq!(sample.labels.get("database").map(String::as_str), Some(name), "{}", sample.name);
    }
    assert_ne!(page.value("up", &[]), Some(7.0));
}

#[test]
fn the_page_is_utf8_for_a_utf8_client_of_any_database() {
    let cluster = Cluster::builder().start();
    cluster.sql(DB, "CREATE DATABASE \"z\u{fc}rich\" ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    let mut client = cluster.connect("z\u{fc}rich");
    query(&mut client, "CREATE EXTENSION asn_inventory").expect("an extension");
    let rows = query(&mut client, "SELECT prometheus_metrics(), current_database()").expect("a page");
    let page = Page::read(rows[0][0].as_deref().expect("not null"));
    assert_eq!(page.samples[0].labels.get("database"), rows[0][1].as_ref());
    assert!(!page.samples[0].labels["database"].is_ascii());
}

#[test]
fn a_database_with_an_unreadable_name_has_a_page() {
    let cluster = Cluster::builder().start();
    // A name keeps the bytes that it was given in; 0x81, in UTF-8 half of this letter, is nothing in WIN1252.
    let name = "\u{c1}rea";
    cluster.sql(
        DB,
        &format!("CREATE DATABASE \"{name}\" ENCODING 'WIN1252' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"),
    );
    cluster.sql(name, "CREATE EXTENSION asn_inventory; INSERT INTO ip_inventory (ip_address) VALUES ('8.8.8.8')");
    let page = Page::of(&cluster, name);
    assert_eq!(page.value("tables_attached", &[]), Some(0.0));
    assert_eq!(page.samples[0].labels["database"], "\u{c3}\\x81rea");
    assert!(cluster.value(name, "SELECT inventory_report()").contains("&#195;&#65533;rea"));
}

#[test]
fn the_extensions_schema_may_have_any_name_that_postgresql_allows() {
    let cluster = Cluster::builder().start();
    // PostgreSQL itself refuses a schema with quotes for every extension whose script names its objects by their schema.
    let refused = cluster.fails(DB, "CREATE SCHEMA \"we'ird\"; CREATE EXTENSION asn_inventory SCHEMA \"we'ird\"");
    assert!(refused.message.contains("invalid character in extension"), "{refused:?}");
    for schema in ["{schema} {queue}", "we ird {}", "%s"] {
        let quoted = format!("\"{schema}\"");
        cluster.sql(DB, &format!("CREATE SCHEMA {quoted}; CREATE EXTENSION asn_inventory SCHEMA {quoted}"));
        let page = cluster.value(DB, &format!("SELECT {quoted}.prometheus_metrics()"));
        assert_eq!(Page::read(&page).value("queue_addresses", &[]), Some(0.0), "{schema}");
        cluster.sql(DB, &format!("DROP EXTENSION asn_inventory; DROP SCHEMA {quoted}"));
    }
}

#[test]
fn execute_is_needed_and_enough_for_the_page() {
    let cluster = Cluster::builder().start();
    cluster.sql(
        DB,
        "CREATE EXTENSION asn_inventory; CREATE ROLE reader LOGIN; CREATE ROLE nobody LOGIN;
         GRANT EXECUTE ON FUNCTION prometheus_metrics() TO reader; CREATE SCHEMA trap AUTHORIZATION reader",
    );
    let mut reader = cluster.connect_as("reader", DB);
    query(
        &mut reader,
        "CREATE FUNCTION trap.count(bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
         CREATE FUNCTION trap.lie(text, text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
         CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.lie);
         CREATE TEMP TABLE ip_observation (address inet);
         SET search_path = trap, pg_temp, pg_catalog, public",
    )
    .expect("a trap");
    let text =
        query(&mut reader, "SELECT public.prometheus_metrics()").expect("a page")[0][0].clone().expect("not null");
    accepted(&text);
    let refused = query(&mut reader, "SELECT count(*) FROM public.ip_inventory").expect_err("no right");
    assert_eq!(refused.code, "42501");
    let mut nobody = cluster.connect_as("nobody", DB);
    assert_eq!(query(&mut nobody, "SELECT prometheus_metrics()").expect_err("no right").code, "42501");
}

/// A look for MaxMind's own files is another gauge; one that goes well has asked all sources.
#[test]
fn a_failed_turn_of_sources_with_their_own_schedules_shows_until_an_update_works() {
    let sources = "tor=https://example.com/exits#list&every=6h";
    let cluster = Cluster::builder().preload(false).conf("asn_inventory.mmdb_sources", sources).start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    let mut job = 0;
    let mut ended = |sources: &str, outcome: &str, detail: &str| {
        job += 1;
        cluster.sql(
            DB,
            &format!(
                "INSERT INTO enrichment_run SELECT {job}, 'update', jsonb_build_object('sources', '{sources}'::text[]), 'postgres', now(), now(),
                     '{outcome}', '{detail}', 0, 0, 0, 0, 0, 0, 0, 0, 0"
            ),
        );
        let page = Page::of(&cluster, DB);
        let told = cluster.value(DB, "SELECT last_error FROM source_status WHERE source = 'maxmind'");
        (page.value("mmdb_sources_update_failed", &[]), page.value("mmdb_update_failed", &[]), told)
    };
    assert_eq!(ended("{maxmind}", "done", ""), (Some(0.0), Some(0.0), String::new()));
    let failed = "own schedules: tor: timed out".to_owned();
    let own = "{own schedules}";
    assert_eq!(ended(own, "failed", "tor: timed out"), (Some(1.0), Some(0.0), failed.clone()));
    // Nobody was asked.
    let met = "another update is running";
    assert_eq!(ended(own, "cancelled", met), (Some(1.0), Some(0.0), failed.clone()));
    assert_eq!(ended("{maxmind}", "cancelled", met).0, Some(1.0));
    for sources in [own, "{maxmind}"] {
        assert_eq!(ended(sources, "cancelled", ""), (Some(1.0), Some(0.0), failed.clone()));
    }
    assert_eq!(ended("{maxmind}", "done", ""), (Some(0.0), Some(0.0), String::new()));
    assert_eq!(ended(own, "failed", "tor: timed out").2, failed);
    assert_eq!(ended(own, "done", ""), (Some(0.0), Some(0.0), String::new()));
    // Of sources that are gone no turn follows that could go well: the doctor, the view and the metric say the same.
    assert_eq!(ended(own, "failed", "tor: timed out").2, failed);
    let last = "SELECT (SELECT last_error FROM source_status WHERE source = 'maxmind'), count(*)
                FROM enrichment_doctor() WHERE check_name = 'mmdb sources' AND level <> 'ok' AND detail LIKE 'The last turn of sources %'";
    assert_eq!(cluster.lines(DB, last), [format!("{failed}|1")]);
    for without in ["tor=https://example.com/exits#list", ""] {
        cluster.set("asn_inventory.mmdb_sources", without);
        cluster.wait_value(DB, last, "");
        assert_eq!(cluster.lines(DB, last), ["|0"], "{without}");
        let page = Page::of(&cluster, DB);
        assert_eq!(page.value("mmdb_sources_update_failed", &[]), Some(0.0), "{without}");
    }
}
