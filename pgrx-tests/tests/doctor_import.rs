//! `enrichment_doctor()` of the import of mmdb files: the launcher, the directory that files come from, a store that
//! cannot be written or read. Each of its commands is run, and fixes its problem.

use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const DB: &str = "postgres";
const TROUBLE: &str = "SELECT check_name, level FROM enrichment_doctor() WHERE level <> 'ok' ORDER BY 1, 2";
const INSTALLED: &str = "SELECT count(*) FROM mmdb_editions() WHERE generation IS NOT NULL";
const MAXMIND: &str = "SELECT last_error FROM source_status WHERE source = 'maxmind'";

fn cluster() -> Cluster {
    let cluster = Cluster::builder().conf("asn_inventory.absorb_interval", "50ms").start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    cluster.wait_value(DB, INSTALLED, "2");
    cluster
}

fn wait_trouble(cluster: &Cluster, wanted: &[&str]) {
    wait_for("what the doctor finds", || cluster.lines(DB, TROUBLE), |found| found == wanted);
}

fn of(cluster: &Cluster, check: &str, column: &str) -> String {
    cluster
        .value(DB, &format!("SELECT {column} FROM enrichment_doctor() WHERE check_name = '{check}' AND level <> 'ok'"))
}

fn take_remedy(cluster: &Cluster, check: &str) {
    let remedy = of(cluster, check, "remedy");
    for command in remedy.split(" -- ").next().unwrap_or_default().split(';').filter(|c| !c.trim().is_empty()) {
        // The launcher may be importing at that moment.
        let busy = |result: &Result<_, SqlFailure>| result.as_ref().is_err_and(|failure| failure.code == "55006");
        let done = wait_for(command, || cluster.try_sql(DB, command), |result| !busy(result));
        done.unwrap_or_else(|failure| panic!("{command}: {failure:?}"));
    }
}

fn metric(cluster: &Cluster, name: &str) -> f64 {
    let page = cluster.value(DB, "SELECT prometheus_metrics()");
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("asn_inventory_{name}{{database=\"{DB}\"}} ")));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no metric {name} in {page}"))
}

fn run_in_shell(command: &str) {
    let command = command.split("  # ").next().unwrap_or_default();
    let output = Command::new("sh").args(["-c", command]).output().expect("a shell");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
}

/// A newer ASN file than the installed one, with another AS for 8.8.8.0/24.
fn put_newer(cluster: &Cluster, number: u32) {
    fixtures::small_asn(fixtures::days_ago(1) + u64::from(number))
        .insert("8.8.8.0/24", json!({ "autonomous_system_number": number }))
        .install(&cluster.maxmind_dir().join("GeoLite2-ASN.mmdb"));
}

#[test]
fn a_store_that_cannot_be_written_is_an_error_until_it_can() {
    let cluster = cluster();
    assert_eq!(cluster.lines(DB, TROUBLE), [""; 0], "{:?}", cluster.lines(DB, "SELECT * FROM worker_errors()"));
    let generations = cluster.data_dir().join("asn_inventory/generations");
    mode(&generations, 0o500);
    put_newer(&cluster, 64500);
    wait_trouble(&cluster, &["mmdb import|error"]);
    let detail = of(&cluster, "mmdb import", "detail");
    assert!(detail.starts_with("New mmdb files cannot be imported since 2"), "{detail}");
    assert!(detail.contains(": \"asn_inventory/generations/tmp-") && detail.contains("Permission denied"), "{detail}");
    assert!(cluster.value(DB, MAXMIND).starts_with("import: \"asn_inventory/generations/tmp-"));
    assert_eq!(
        cluster.value(
            DB,
            "SELECT last_error_at > now() - interval '1 minute' FROM source_status WHERE source = 'maxmind'"
        ),
        "t"
    );
    assert_eq!(metric(&cluster, "mmdb_import_failing"), 1.0);
    // A role that may not see paths gets none.
    cluster.sql(DB, "CREATE ROLE reader LOGIN; GRANT EXECUTE ON FUNCTION enrichment_doctor TO reader");
    let rows = query(
        &mut cluster.connect_as("reader", DB),
        "SELECT detail, remedy FROM enrichment_doctor() WHERE check_name = 'mmdb import'",
    );
    let told: Vec<String> = rows.expect("rows").into_iter().flatten().flatten().collect();
    let data = cluster.data_dir().to_string_lossy().into_owned();
    assert!(told.iter().all(|text| !text.contains(&data)), "{told:?}");
    // The old file answers.
    assert_eq!(cluster.value(DB, "SELECT ip_asn('8.8.8.8')"), "15169");
    run_in_shell(&of(&cluster, "mmdb import", "remedy"));
    // The rights are back, and it need not wait for the launcher's next attempt.
    let remedy = of(&cluster, "mmdb import", "remedy");
    if !remedy.is_empty() {
        assert_eq!(remedy, "SELECT public.import_mmdb_files();");
        take_remedy(&cluster, "mmdb import");
    }
    wait_trouble(&cluster, &[]);
    assert_eq!(cluster.value(DB, "SELECT ip_asn('8.8.8.8')"), "64500");
    assert_eq!(cluster.value(DB, MAXMIND), "");
    assert_eq!(metric(&cluster, "mmdb_import_failing"), 0.0);
}

#[test]
fn a_full_disk_is_named_and_a_file_that_is_taken_away_again_is_no_trouble() {
    let cluster = cluster();
    let launcher = cluster.pid_of("asn_inventory launcher").expect("a launcher");
    let file = cluster.maxmind_dir().join("GeoLite2-ASN.mmdb");
    let sound = fs::read(&file).expect("a file");
    cluster.limit_file_size(launcher, Some(4096));
    put_newer(&cluster, 64500);
    wait_trouble(&cluster, &["mmdb import|error"]);
    assert!(of(&cluster, "mmdb import", "detail").contains("File too large"));
    assert!(of(&cluster, "mmdb import", "remedy").contains("  -- after making room"));
    cluster.limit_file_size(launcher, None);
    fs::write(&file, sound).expect("written");
    fs::remove_file(&file).expect("removed");
    take_remedy(&cluster, "mmdb import");
    wait_trouble(&cluster, &[]);
    assert_eq!(cluster.value(DB, "SELECT ip_asn('8.8.8.8')"), "15169");
}

#[test]
fn a_damaged_manifest_is_set_aside_by_the_remedy() {
    let cluster = cluster();
    let home = cluster.data_dir().join("asn_inventory");
    let (manifest, broken) = (home.join("current.json"), home.join("current.json.broken"));
    let sound = fs::read(&manifest).expect("a manifest");
    // Of one edition, the generation is the only copy.
    fs::remove_file(cluster.maxmind_dir().join("GeoLite2-City.mmdb")).expect("removed");
    for damaged in [&sound[..sound.len() / 2], b"", b"[]"] {
        fs::write(&manifest, damaged).expect("written");
        wait_for("an error", || of(&cluster, "mmdb import", "level"), |level| level == "error");
        let detail = of(&cluster, "mmdb import", "detail");
        assert!(detail.contains("\"asn_inventory/current.json\": damaged: "), "{detail}");
        let remedy = "SELECT public.import_mmdb_files(true);  -- keeps the damaged file as current.json.broken";
        assert_eq!(of(&cluster, "mmdb import", "remedy"), remedy);
        assert_eq!(of(&cluster, "mmdb answers", "remedy"), remedy);
        // Without force it stays as it is.
        let failed = cluster.fails(DB, "SELECT import_mmdb_files()");
        assert_eq!(failed.code, "58030");
        assert!(failed.hint.contains("import_mmdb_files(true)"), "{failed:?}");
        take_remedy(&cluster, "mmdb import");
        // What failed by it in the worker fails until its next turn.
        wait_trouble(&cluster, &[]);
        assert_eq!(fs::read(&broken).expect("kept"), damaged);
        let answers = "SELECT ip_asn('8.8.8.8'), ip_country('81.2.69.142')";
        assert_eq!(cluster.lines(DB, answers), ["15169|GB"]);
        assert_eq!(cluster.value(DB, INSTALLED), "2");
    }
    // The launcher goes on from there.
    put_newer(&cluster, 64500);
    cluster.wait_value(DB, "SELECT ip_asn('8.8.8.8')", "64500");
}

#[test]
fn a_manifest_that_the_server_may_not_read_needs_rights_and_not_a_call() {
    let cluster = cluster();
    let manifest = cluster.data_dir().join("asn_inventory/current.json");
    let sound = fs::read(&manifest).expect("a manifest");
    mode(&manifest, 0o000);
    wait_trouble(&cluster, &["file rights|warning", "mmdb answers|error", "mmdb files|error", "mmdb import|error"]);
    let failed =
        wait_for("a failure", || cluster.fails(DB, "SELECT import_mmdb_files(true)"), |failed| failed.code != "55006");
    assert!(failed.detail.contains("Permission denied"), "{failed:?}");
    assert_eq!(fs::read(&manifest).expect("a manifest"), sound, "force sets a manifest aside only if it is damaged");
    for check in ["mmdb answers", "mmdb import"] {
        let remedy = of(&cluster, check, "remedy");
        assert!(remedy.starts_with("chmod u+rw '") && remedy.contains("current.json'"), "{check}: {remedy}");
    }
    run_in_shell(&of(&cluster, "mmdb import", "remedy"));
    if !of(&cluster, "mmdb import", "remedy").is_empty() {
        take_remedy(&cluster, "mmdb import");
    }
    wait_trouble(&cluster, &[]);
}

#[test]
fn a_directory_that_does_not_exist_is_named() {
    let cluster = cluster();
    let absent = cluster.maxmind_dir().join("mounted/it's here");
    let text = absent.to_string_lossy().into_owned();
    cluster.set("asn_inventory.maxmind_dir", &text);
    wait_trouble(&cluster, &["mmdb directory|warning"]);
    assert_eq!(
        of(&cluster, "mmdb directory", "detail"),
        format!(
            "asn_inventory.maxmind_dir is \"{text}\", which cannot be used (No such file or directory (os error 2)): no new mmdb file is found."
        )
    );
    cluster.sql(DB, "CREATE ROLE reader LOGIN; GRANT EXECUTE ON FUNCTION enrichment_doctor TO reader");
    let rows = query(
        &mut cluster.connect_as("reader", DB),
        "SELECT detail, remedy FROM enrichment_doctor() WHERE check_name = 'mmdb directory'",
    );
    let told: Vec<String> = rows.expect("rows").into_iter().flatten().flatten().collect();
    assert!(told[0].starts_with("The directory that asn_inventory.maxmind_dir names cannot be used"), "{told:?}");
    assert!(told.iter().all(|text| !text.contains('/')), "{told:?}");
    // A start does not make it: a file system that is not mounted would be hidden.
    cluster.restart();
    cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    wait_trouble(&cluster, &["mmdb directory|warning"]);
    run_in_shell(&of(&cluster, "mmdb directory", "remedy"));
    wait_trouble(&cluster, &[]);
    fs::remove_dir(&absent).expect("removed");
    fs::write(&absent, "a file").expect("a file");
    wait_trouble(&cluster, &["mmdb directory|warning"]);
    assert!(of(&cluster, "mmdb directory", "detail").contains("(it is not a directory)"));
    // The default one is made at a start, and no trouble before.
    cluster.set("asn_inventory.maxmind_dir", "");
    wait_trouble(&cluster, &[]);
}

#[test]
fn without_a_launcher_the_doctor_says_so() {
    let cluster = Cluster::builder().conf("max_worker_processes", "0").start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    wait_for("an error", || of(&cluster, "launcher", "level"), |level| level == "error");
    assert!(of(&cluster, "launcher", "detail").starts_with("No launcher runs: "));
    let remedy = of(&cluster, "launcher", "remedy");
    assert!(remedy.starts_with("ALTER SYSTEM SET max_worker_processes = 8;"), "{remedy}");
    take_remedy(&cluster, "launcher");
    cluster.restart();
    cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    assert_eq!(of(&cluster, "launcher", "level"), "");
}

#[test]
fn a_launcher_that_stands_still_shows_no_more_turns() {
    let cluster = cluster();
    let launcher = cluster.pid_of("asn_inventory launcher").expect("a launcher");
    let turn = || metric(&cluster, "launcher_timestamp_seconds");
    let before = turn();
    wait_until("two turns", || turn() > before + 1.0);
    let signal = |signal| {
        // SAFETY: a process of this test's own server.
        assert_eq!(unsafe { libc::kill(launcher as i32, signal) }, 0);
    };
    signal(libc::SIGSTOP);
    let stat = format!("/proc/{launcher}/stat");
    wait_until("it to stand still", || fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T ")));
    // The clock goes on, and its last turn stays where it was: after a minute the doctor says that it hangs, as the tests
    // of enrich::heartbeat have it.
    let last = turn();
    wait_until("more time than a turn takes", || metric(&cluster, "scrape_timestamp_seconds") > last + 2.5);
    assert_eq!(turn(), last);
    signal(libc::SIGCONT);
    wait_until("another turn", || turn() > last);
    assert_eq!(cluster.lines(DB, TROUBLE), [""; 0], "{:?}", cluster.lines(DB, "SELECT * FROM worker_errors()"));
}

#[test]
fn an_empty_list_of_editions_is_named_by_its_setting() {
    let cluster = cluster();
    for list in ["", " , "] {
        cluster.set("asn_inventory.maxmind_editions", list);
        wait_trouble(&cluster, &["mmdb files|error"]);
        assert_eq!(
            of(&cluster, "mmdb files", "detail"),
            "No mmdb file is in use: asn_inventory.maxmind_editions is empty."
        );
        let (mut session, notices) = cluster.connect_with_notices(DB);
        query(&mut session, "SELECT ip_asn('8.8.8.8')").expect("no answer");
        let told = notices.all().join("\n");
        assert!(!told.contains("Put  into"), "{told}");
        let failed = cluster.fails(DB, "SELECT backfill_inventory()");
        assert_eq!(failed.message, "there is nothing to enrich from");
        assert_eq!(failed.hint, "Name editions in asn_inventory.maxmind_editions: it is empty.");
    }
    take_remedy(&cluster, "mmdb files");
    wait_trouble(&cluster, &[]);
}
