//! Files of anybody, fetched by URL: every packing, unchanged ones, months, secrets that show nowhere, refusals.

use crate::download_support::*;
use crate::secret_support::{Vault, assert_secret_is_hidden};
use asn_inventory_tests::cluster::private_dir;
use asn_inventory_tests::fakes::archives::{EntryType, gz, pack, zip};
use asn_inventory_tests::fakes::files::Files;
use asn_inventory_tests::mmdb::MmdbWriter;
use std::fs;

const EDITIONS: &str = "asn_inventory.maxmind_editions";
const SOURCES: &str = "asn_inventory.mmdb_sources";
/// In no other place than those that a test puts it.
const CANARY: &str = "canary-5d81be/04+c2";
const ESCAPED: &str = "canary-5d81be%2F04%2Bc2";

/// A cluster that has these sources in mind, and MaxMind's key nowhere.
struct Bench {
    site: Site,
    files: Files,
}

impl Bench {
    fn start(editions: &str, sources: impl Fn(&Files) -> String, env: &[(&str, &str)]) -> Bench {
        let files = Files::start(&private_dir());
        let (sources, ca) = (sources(&files), files.ca_file().display().to_string());
        let settings = [
            (EDITIONS, editions),
            (SOURCES, &sources),
            ("asn_inventory.tls_ca_file", &ca),
            ("asn_inventory.maxmind_license_key", "env:MAXMIND_LICENSE_KEY"),
            ("log_statement", "all"),
        ];
        Bench { site: Site::start_in(&settings, env), files }
    }

    /// Waits for the answer from an edition's file.
    fn wait_country(&self, country: &str) {
        self.site.cluster.wait_value(DB, "SELECT ip_country('81.2.69.142')", country);
    }
}

/// A file that gives that country.
fn database(days_ago: u64, country: &str) -> Vec<u8> {
    let writer: MmdbWriter = fixtures::small_city(fixtures::days_ago(days_ago));
    let file = private_dir().join("draft.mmdb");
    writer.insert("81.2.69.142/31", json!({ "country": { "iso_code": country } })).write(&file).expect("a fixture");
    fs::read(file).expect("a fixture")
}

#[test]
fn every_packing_is_unpacked_and_unchanged_files_cost_a_question() {
    let sources = |files: &Files| {
        let (url, plain) = (files.url(), files.plain_url());
        format!("bare={url}/a, gz={url}/b.mmdb.gz, zip={url}/c?file=C, tgz={url}/d#every=7d, here={plain}/e")
    };
    let bench = Bench::start("bare,gz,zip,tgz,here", sources, &[]);
    let bytes = database(10, "GB");
    bench.files.offer("/a", &bytes);
    bench.files.offer("/b.mmdb.gz", &gz(&bytes));
    bench.files.offer("/c?file=C", &zip("x/y.mmdb", &bytes));
    bench.files.offer("/d", &pack(&[("x/y.mmdb", EntryType::Regular, &bytes)]));
    bench.files.offer("/e", &bytes);
    let told = |word: &str| {
        format!("done|{}", ["bare", "gz", "zip", "tgz", "here"].map(|name| format!("{name}: {word}")).join("; "))
    };
    assert_eq!(bench.site.update(), told("downloaded"));
    let installed = "SELECT count(*) FROM mmdb_editions() WHERE generation IS NOT NULL";
    bench.site.cluster.wait_value(DB, installed, "5");
    bench.wait_country("GB");
    assert_eq!(bench.site.files(), ["bare.mmdb", "gz.mmdb", "here.mmdb", "tgz.mmdb", "zip.mmdb"]);
    assert_eq!(bench.site.update(), told("up to date"));
    assert_eq!(bench.files.statuses(), [200, 200, 200, 200, 200, 304, 304, 304, 304, 304]);
    assert!(bench.site.maxmind.asked().is_empty());
    // A newer one answers by itself.
    bench.files.offer("/a", &database(3, "FR"));
    assert!(bench.site.update().starts_with("done|bare: downloaded; gz: up to date; "));
    bench.wait_country("FR");
}

#[test]
fn this_months_file_or_last_months() {
    let sources = |files: &Files| format!("lite={}/lite-{{year}}-{{month}}.mmdb.gz", files.url());
    let bench = Bench::start("lite", sources, &[]);
    let (this, before) = {
        let month = |back: &str| {
            bench.site.cluster.value(
                DB,
                &format!(
                    "SELECT to_char(date_trunc('month', now() AT TIME ZONE 'UTC') - interval '{back} month', 'YYYY-MM')"
                ),
            )
        };
        (month("0"), month("1"))
    };
    assert!(bench.site.update().contains("lite: the server answers with status 404 (localhost:"));
    bench.files.offer(&format!("/lite-{before}.mmdb.gz"), &gz(&database(40, "GB")));
    // Not insisted on, but by force.
    assert!(bench.site.update().contains("lite: not asked for: the server has no such file; tried again at "));
    assert_eq!(bench.site.update_forced(), "done|lite: downloaded");
    bench.wait_country("GB");
    assert_eq!(bench.site.update(), "done|lite: up to date");
    bench.files.offer(&format!("/lite-{this}.mmdb.gz"), &gz(&database(3, "FR")));
    assert_eq!(bench.site.update(), "done|lite: downloaded");
    bench.wait_country("FR");
}

#[test]
fn secrets_in_a_url_are_sent_and_shown_nowhere() {
    let dir = private_dir();
    let file = dir.join("pair");
    fs::write(&file, format!("reader:{CANARY}\n")).unwrap();
    let pair = file.display().to_string();
    let sources = |files: &Files| {
        let (url, host) = (files.url(), files.host());
        format!(
            "token={url}/lite.mmdb?token={{secret:env:IPINFO_TOKEN}}, login=https://{{secret:file:{pair}}}@{host}/login"
        )
    };
    let bench = Bench::start("token,login", sources, &[("IPINFO_TOKEN", CANARY)]);
    bench.site.cluster.sql(DB, "CREATE ROLE alice LOGIN");
    // Only variables that are named may be read.
    let said = bench.site.update();
    assert!(said.starts_with("failed|token: env:IPINFO_TOKEN: this variable may not be read; "), "{said}");
    bench.site.cluster.set("asn_inventory.secret_environment", "IPINFO_*");
    bench.site.cluster.set("log_min_messages", "debug5");
    let bytes = database(10, "GB");
    let with_token = format!("/lite.mmdb?token={ESCAPED}");
    bench.files.offer(&with_token, &bytes);
    bench.files.offer_to("Basic cmVhZGVyOmNhbmFyeS01ZDgxYmUvMDQrYzI=", "/login", &bytes);
    assert_eq!(bench.site.update_forced(), "done|token: downloaded; login: downloaded");
    bench.wait_country("GB");
    assert!(bench.files.asked().iter().any(|asked| asked.target == with_token && asked.status == 200));
    // Also when it fails.
    bench.files.page(&with_token, 500);
    bench.files.offer_to("another", "/login", &bytes);
    let said = bench.site.update_forced();
    assert!(said.contains("token: the server answers with status 500 (localhost:"), "{said}");
    assert!(
        said.contains("login: the server does not accept the credentials of this source (401) (localhost:"),
        "{said}"
    );
    let log = bench.site.cluster.log();
    for secret in [CANARY, ESCAPED, "canary-5d81be", "cmVhZGVy", "token=canary"] {
        assert!(!log.contains(secret), "{secret} is in the log");
        let ledger = fs::read_to_string(bench.site.cluster.data_dir().join("asn_inventory/downloads.json")).unwrap();
        assert!(!ledger.contains(secret), "{secret} is in the ledger");
    }
    assert_secret_is_hidden(&bench.site.cluster, CANARY);
    let sources = bench.site.cluster.connect_as("alice", DB).query_one(&format!("SHOW {SOURCES}"), &[]);
    assert_eq!(sources.unwrap_err().code().unwrap().code(), "42501");
}

#[test]
fn what_is_no_database_is_refused_once_and_the_old_file_goes_on() {
    let sources = |files: &Files| format!("a={}/a, b={}/b", files.url(), files.url());
    let bench = Bench::start("a,b", sources, &[]);
    bench.files.offer("/a", &gz(&database(10, "GB")));
    bench.files.offer("/b", &database(10, "GB"));
    assert_eq!(bench.site.update(), "done|a: downloaded; b: downloaded");
    bench.wait_country("GB");
    let host = bench.files.host();
    let failing_since = |found: &str| {
        let (_, since) = found.split_once("; failing since ").expect("the time of the first failure");
        since.trim_end_matches('.').to_owned()
    };
    let mut since = None;
    for (bytes, why) in [
        (gz(&vec![b'x'; 20 << 20]), "the content of the archive is too large"),
        (zip("x.mmdb", &vec![b'x'; 20 << 20]), "the content of the archive is too large"),
        (b"<!DOCTYPE html><html>sign in</html>".to_vec(), "the answer is a web page, not a file"),
        (b"some text".to_vec(), "the downloaded file is not an mmdb file"),
        (zip("README", b"text"), "the archive is refused: it holds no database"),
    ] {
        bench.files.offer("/a", &bytes);
        assert_eq!(bench.site.update_forced(), format!("failed|a: {why} ({host}); b: downloaded"));
        bench.site.cluster.wait_log(&format!("WARNING:  asn_inventory: download of a: {why} ({host})"));
        let found = bench
            .site
            .cluster
            .value(DB, "SELECT level || detail FROM enrichment_doctor() WHERE check_name = 'mmdb sources'");
        assert!(found.starts_with(&format!("warninga from {host}: the last download failed: {why}; tried")), "{found}");
        let first = since.get_or_insert_with(|| failing_since(&found)).clone();
        assert_eq!(failing_since(&found), first, "since the first failure");
        // Who asks in the meantime is told the reason again.
        let waits = bench.site.update();
        let reason = format!(": the last download failed: {why} ({host}); failing since {first}; b: up to date");
        assert!(waits.starts_with("failed|a: not asked for until ") && waits.ends_with(&reason), "{waits}");
    }
    bench.files.page("/a", 200);
    assert_eq!(
        bench.site.update_forced(),
        format!("failed|a: the answer is a web page, not a file ({host}); b: downloaded")
    );
    // A database that the import does not take.
    bench.files.offer("/a", b"\xab\xcd\xefMaxMind.com and nothing behind it");
    let said = bench.site.update_forced();
    assert!(said.starts_with("failed|a: downloaded; b: downloaded; a: refused: "), "{said}");
    assert!(bench.site.update().starts_with("failed|a: the newest was downloaded before, and refused: "));
    bench.wait_country("GB");
    assert_eq!(bench.site.files(), ["a.mmdb", "b.mmdb"]);
}

#[test]
fn a_source_with_its_own_schedule_needs_no_other() {
    let sources = |files: &Files| format!("own={}/own#every=10min, usual={}/usual", files.url(), files.url());
    let bench = Bench::start("own,usual", sources, &[]);
    bench.files.offer("/own", &database(10, "GB"));
    // A program holds MaxMind's key, and each run of it may be billed.
    let (programs, ran) = (Vault::new(), private_dir().join("ran"));
    let program = programs.program("op", &format!("touch '{}'; exit 1", ran.display()));
    bench.site.cluster.set("asn_inventory.secret_commands", &program);
    bench.site.cluster.set("asn_inventory.maxmind_license_key", "op://Servers/MaxMind/key");
    // The first time some seconds after the start, with no schedule for all.
    let fetched = || bench.files.asked().len();
    asn_inventory_tests::wait::wait_within(std::time::Duration::from_secs(120), fetched, |count| *count > 0)
        .expect("a download by its own schedule");
    bench.wait_country("GB");
    bench.site.cluster.wait_value(DB, "SELECT detail FROM enrichment_run WHERE kind = 'update'", "own: downloaded");
    assert!(bench.files.asked().iter().all(|asked| asked.target == "/own"), "{:?}", bench.files.asked());
    assert!(!ran.exists(), "it was asked for a key that no turn of such sources needs");
    // That it went well hides no failure of the others before.
    let cluster = &bench.site.cluster;
    let sources = "SELECT parameters ->> 'sources' FROM enrichment_run WHERE kind = 'update'";
    assert_eq!(cluster.value(DB, sources), "[\"own schedules\"]");
    cluster.sql(
        DB,
        "INSERT INTO enrichment_run SELECT 0, 'update', '{}', 'somebody', now(), now(), 'failed', 'no network', 0, 0, 0, 0, 0, 0, 0, 0, 0",
    );
    let said = "SELECT detail FROM enrichment_doctor() WHERE check_name = 'maxmind downloads' AND level <> 'ok'";
    assert_eq!(cluster.value(DB, said), "no network");
    assert_eq!(
        cluster.value(DB, "SELECT last_error FROM source_status WHERE source = 'maxmind'"),
        "update: no network"
    );
    let failed = "SELECT count(*) FROM regexp_split_to_table(prometheus_metrics(), '\\n') l WHERE l ~ '^asn_inventory_mmdb_update_failed.* 1$'";
    assert_eq!(cluster.value(DB, failed), "1");
    // An update of all needs the key.
    bench.site.update();
    assert!(ran.exists());
}

#[test]
fn lists_of_networks_come_by_url_as_well() {
    let sources = |files: &Files| {
        let (url, plain) = (files.url(), files.plain_url());
        format!("tor={url}/exits#list, a={url}/a, office={plain}/office.zip?x=1#every=10min&list")
    };
    let bench = Bench::start("a", sources, &[]);
    let cluster = &bench.site.cluster;
    bench.files.offer("/a", &database(10, "GB"));
    bench.files.offer("/exits", b"# exits\n81.2.69.142\n");
    bench.files.offer("/office.zip?x=1", &zip("any name.csv", b"81.2.0.0/16\n"));
    // A job that was forced ends when they answer.
    assert_eq!(bench.site.update_forced(), "done|a: downloaded; list tor: downloaded; list office: downloaded");
    assert_eq!(cluster.value(DB, "SELECT ip_lists('81.2.69.142')"), "{office,tor}");
    assert_eq!(cluster.lines(DB, "SELECT list, file FROM network_lists()"), ["office|office.list", "tor|tor.list"]);
    assert_eq!(bench.site.update(), "done|a: up to date; list tor: up to date; list office: up to date");
    // A newer one is imported by itself; one that is no list leaves the one of before.
    bench.files.offer("/exits", b"81.2.69.143\n");
    bench.files.page("/office.zip?x=1", 200);
    let told = bench.site.update();
    assert!(
        told.starts_with("failed|a: up to date; list tor: downloaded; list office: the answer is a web page"),
        "{told}"
    );
    let lists = "SELECT ip_lists('81.2.69.142')::text || ip_lists('81.2.69.143')::text";
    cluster.wait_value(DB, lists, "{office}{office,tor}");
    let doctor = "SELECT detail FROM enrichment_doctor() WHERE check_name = 'mmdb sources'";
    let found = cluster.value(DB, doctor);
    assert!(found.starts_with("list office from 127.0.0.1:"), "{found}");
    bench.files.offer("/exits", b"words\nand more words\nand no network\n");
    let told = bench.site.update_forced();
    assert!(told.contains("list tor: downloaded; ") && told.contains("; list tor: refused: "), "{told}");
    assert_eq!(cluster.value(DB, lists), "{office}{office,tor}");
    // Sources that are not set any more are forgotten, unless they are to be left alone still.
    let ledger = || fs::read_to_string(cluster.data_dir().join("asn_inventory/downloads.json")).unwrap();
    assert!(ledger().contains("\"list:tor\""));
    bench.files.offer("/new", b"81.2.69.142\n");
    cluster.set(SOURCES, &format!("new={}/new#list&every=10min", bench.files.url()));
    cluster.wait_value(DB, doctor, "list new has a source, and was not fetched and imported yet.");
    // By its own schedule, with none for all.
    let fetched = || bench.files.asked().iter().filter(|asked| asked.target == "/new" && asked.status == 200).count();
    asn_inventory_tests::wait::wait_within(std::time::Duration::from_secs(120), fetched, |count| *count > 0)
        .expect("a download by its own schedule");
    cluster.wait_value(DB, "SELECT ip_lists('81.2.69.142')::text", "{new,office}");
    cluster.wait_value(DB, &format!("SELECT coalesce(string_agg(detail, '; '), 'none') FROM ({doctor}) d"), "none");
    assert!(!ledger().contains("\"list:tor\"") && ledger().contains("\"list:office\""), "{}", ledger());
}

#[test]
fn a_bad_setting_is_refused_and_not_repeated() {
    let bench = Bench::start("a", |_| String::new(), &[]);
    let mut session = bench.site.cluster.connect(DB);
    for (text, why) in [
        ("a=http://files.example/x", "The source of a: http:// is for this machine alone"),
        ("a=https://me:hunter2@files.example/x", "Before the @"),
        ("a=https://files.example/x?token=hunter2", "A key itself does not belong in a setting"),
        ("hunter2", "entry 1 is not edition=https://…"),
    ] {
        let refused = session.simple_query(&format!("ALTER SYSTEM SET {SOURCES} = '{text}'")).unwrap_err();
        let refused = refused.as_db_error().unwrap();
        let told = format!("{} {:?} {:?}", refused.message(), refused.detail(), refused.hint());
        assert!(told.to_lowercase().contains(&why.to_lowercase()) && !told.contains("hunter2"), "{told}");
    }
    // For an edition that nobody reads: the doctor says so.
    let url = bench.files.url();
    bench.site.cluster.set(SOURCES, &format!("b={url}/b"));
    let found = "SELECT level || '|' || detail FROM enrichment_doctor() WHERE check_name = 'mmdb sources'";
    bench.site.cluster.wait_value(
        DB,
        found,
        "warning|b has a source and is not in asn_inventory.maxmind_editions: it is not downloaded.",
    );
    assert_eq!(bench.files.asked().len(), 0);
}
