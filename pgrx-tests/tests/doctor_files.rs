//! `enrichment_doctor()` of mmdb files: whether each edition of the list answers, whether the worker and the sessions
//! use the same ones, and whether the server may read its files.

use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const DB: &str = "postgres";
const TROUBLE: &str = "SELECT check_name, level FROM enrichment_doctor() WHERE level <> 'ok' ORDER BY 1, 2";

fn cluster(editions: &str) -> Cluster {
    let cluster = Cluster::builder()
        .conf("asn_inventory.absorb_interval", "50ms")
        .conf("asn_inventory.maxmind_editions", editions)
        .start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    cluster.wait_value(DB, "SELECT count(*) >= 2 FROM mmdb_editions() WHERE generation IS NOT NULL", "t");
    cluster
}

fn wait_trouble(cluster: &Cluster, wanted: &[&str]) {
    wait_for("what the doctor finds", || cluster.lines(DB, TROUBLE), |found| found == wanted);
}

fn said(cluster: &Cluster, check: &str) -> String {
    let sql =
        format!("SELECT level, detail FROM enrichment_doctor() WHERE check_name = '{check}' AND detail IS NOT NULL");
    cluster.lines(DB, &sql).join("\n")
}

fn remedy(cluster: &Cluster, check: &str) -> String {
    cluster.value(DB, &format!("SELECT remedy FROM enrichment_doctor() WHERE check_name = '{check}' AND level <> 'ok'"))
}

fn take_remedy(cluster: &Cluster, check: &str) {
    let remedy = remedy(cluster, check);
    for command in remedy.split(" -- ").next().unwrap_or_default().split(';').filter(|c| !c.trim().is_empty()) {
        cluster.sql(DB, command);
    }
}

#[test]
fn a_listed_edition_without_a_file_or_without_answers_is_named() {
    let cluster = cluster("GeoLite2-City,Absent-ASN,GeoLite2-ASN,Custom-Thing=other");
    MmdbWriter::new("Custom-Thing", fixtures::days_ago(1))
        .insert("8.0.0.0/8", json!({ "tag": "x" }))
        .write(&cluster.maxmind_dir().join("Custom-Thing.mmdb"))
        .expect("a file");
    cluster.wait_value(DB, "SELECT count(*) FROM mmdb_editions() WHERE generation IS NOT NULL", "3");
    assert_eq!(cluster.lines(DB, TROUBLE), ["mmdb editions|warning"]);
    assert_eq!(
        said(&cluster, "mmdb editions"),
        "warning|Absent-ASN is in asn_inventory.maxmind_editions, but has no file."
    );
    assert_eq!(
        said(&cluster, "mmdb answers"),
        "ok|Custom-Thing is listed as other: only mmdb_record() and mmdb_networks() read it."
    );
    take_remedy(&cluster, "mmdb editions");
    wait_trouble(&cluster, &[]);
    assert_eq!(
        cluster.value(DB, "SHOW asn_inventory.maxmind_editions"),
        "GeoLite2-City,GeoLite2-ASN,Custom-Thing=other"
    );
}

#[test]
fn a_generation_that_cannot_be_opened_is_named_although_open_sessions_still_have_it() {
    let cluster = cluster("GeoLite2-City,GeoLite2-ASN");
    let mut open = cluster.connect(DB);
    let mut found =
        |sql: &str| query(&mut open, sql).expect("an answer").into_iter().flatten().flatten().collect::<Vec<_>>();
    assert_eq!(found("SELECT ip_country('81.2.69.142')"), ["GB"]);
    // With the operator's file there, it would be fixed before the check.
    let kept = cluster.maxmind_dir().join("GeoLite2-City.mmdb");
    let away = cluster.maxmind_dir().join("away");
    fs::rename(&kept, &away).expect("moved");
    let generation = cluster.value(DB, "SELECT generation FROM mmdb_editions() WHERE edition = 'GeoLite2-City'");
    fs::remove_dir_all(cluster.data_dir().join("asn_inventory/generations").join(generation)).expect("removed");
    assert_eq!(found("SELECT ip_country('81.2.69.142')"), ["GB"]);
    let detail = found("SELECT detail FROM enrichment_doctor() WHERE check_name = 'mmdb answers' AND level = 'error'");
    assert!(detail[0].starts_with("GeoLite2-City cannot be opened, and no other file replaces it: "), "{detail:?}");
    assert_eq!(cluster.lines(DB, TROUBLE), ["mmdb answers|error", "mmdb editions|warning"]);
    fs::rename(&away, &kept).expect("back");
    if cluster.lines(DB, TROUBLE) != [""; 0] {
        // The launcher may be at it by itself.
        let _ = cluster.try_sql(DB, "SELECT import_mmdb_files(true)");
    }
    wait_trouble(&cluster, &[]);
    assert_eq!(cluster.value(DB, "SELECT ip_country('81.2.69.142')"), "GB");
}

#[test]
fn a_worker_that_answers_from_older_files_than_sessions_is_named() {
    let cluster = cluster("GeoLite2-City,GeoLite2-ASN");
    let worker = cluster.pid_of("asn_inventory worker").expect("a worker");
    let signal = |pid: u32, signal| {
        // SAFETY: a process of this test's own server.
        assert_eq!(unsafe { libc::kill(pid as i32, signal) }, 0);
    };
    // Its answer is out before it stands still.
    assert_eq!(cluster.lines(DB, TROUBLE), [""; 0]);
    signal(worker, libc::SIGSTOP);
    MmdbWriter::new("GeoLite2-ASN", fixtures::days_ago(0))
        .insert("8.0.0.0/8", json!({ "autonomous_system_number": 64500, "autonomous_system_organization": "New" }))
        .insert("9.0.0.0/8", json!({ "autonomous_system_number": 64501, "autonomous_system_organization": "New" }))
        .insert("11.0.0.0/8", json!({ "autonomous_system_number": 64502, "autonomous_system_organization": "New" }))
        .write(&cluster.maxmind_dir().join("GeoLite2-ASN.mmdb"))
        .expect("a file");
    // A file that was just written is left alone for a moment, and one that is so much smaller is not taken by itself.
    wait_until("the new file", || {
        let _ = cluster.try_sql(DB, "SELECT import_mmdb_files(true)");
        cluster.value(DB, "SELECT ip_asn('8.8.8.8')") == "64500"
    });
    // A role that may read all settings makes the worker look keys up, and would wait for it.
    cluster.sql(DB, "CREATE ROLE watcher LOGIN; GRANT EXECUTE ON FUNCTION enrichment_doctor, _mmdb_files TO watcher");
    let mut watcher = cluster.connect_as("watcher", DB);
    let mut found = |column: &str| {
        let sql =
            format!("SELECT {column} FROM enrichment_doctor() WHERE check_name = 'mmdb answers' AND level = 'error'");
        query(&mut watcher, &sql)
            .expect("an answer")
            .into_iter()
            .flatten()
            .flatten()
            .collect::<Vec<String>>()
            .join("\n")
    };
    let detail = wait_for("the worker's files to be told", || found("detail"), |detail| !detail.is_empty());
    assert!(detail.starts_with("The worker uses other files than this session: where GeoLite2-City-"), "{detail}");
    let remedy = found("remedy");
    assert_eq!(remedy.split(" -- ").next().map(str::trim), Some(&*format!("SELECT pg_terminate_backend({worker});")));
    cluster.sql(DB, remedy.split(" -- ").next().unwrap_or_default());
    signal(worker, libc::SIGCONT);
    wait_until("another worker with the new files", || {
        found("detail").is_empty() && cluster.pid_of("asn_inventory worker").is_some_and(|pid| pid != worker)
    });
    wait_trouble(&cluster, &[]);
}

/// A file that the server may not read: root's own, or without any right.
fn unreadable(path: &Path) {
    fs::write(path, "x").expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o000)).expect("its mode");
}

fn run_in_shell(command: &str) {
    let command = command.split("  # ").next().unwrap_or_default();
    let output = Command::new("sh").args(["-c", command]).output().expect("a shell");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_file_that_the_server_cannot_read_is_named_before_a_backup_fails() {
    let cluster = cluster("GeoLite2-City,GeoLite2-ASN");
    let backup = |name: &str| {
        let target = asn_inventory_tests::cluster::private_dir().join(name);
        let output =
            cluster.tool("pg_basebackup").args(["-X", "none", "-c", "fast", "--no-sync", "-D"]).arg(&target).output();
        output.expect("pg_basebackup").status.success()
    };
    let home = cluster.data_dir().join("asn_inventory");
    let dir = home.join("maxmind");
    if !dir.exists() {
        fs::create_dir(&dir).expect("a directory");
    }
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("its mode");
    assert_eq!(cluster.lines(DB, TROUBLE), [""; 0]);
    assert!(backup("before"));
    for path in [dir.join("GeoLite2-City.mmdb"), dir.join("It's a note.txt"), home.join("generations/other")] {
        unreadable(&path);
        assert_eq!(cluster.lines(DB, TROUBLE), ["file rights|warning"], "{}", path.display());
        let name = path.to_string_lossy().into_owned();
        let told = format!(
            "warning|The server cannot read {name} (permission denied): pg_basebackup fails on it, and so does every base backup."
        );
        assert_eq!(said(&cluster, "file rights"), told);
        assert!(!backup("meanwhile"), "{name}");
        run_in_shell(&remedy(&cluster, "file rights"));
        assert_eq!(cluster.lines(DB, TROUBLE), [""; 0], "{name}");
        fs::remove_file(&path).expect("removed");
    }
    assert!(backup("after"));
    // In another directory a backup does not matter, but it is not installed.
    let file = cluster.maxmind_dir().join("GeoLite2-City.mmdb");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).expect("its mode");
    wait_for(
        "a warning",
        || said(&cluster, "file rights"),
        |said| said.ends_with("(permission denied): it is not installed."),
    );
    // A role that may not see paths gets the names of files.
    cluster.sql(DB, "CREATE ROLE reader LOGIN; GRANT EXECUTE ON FUNCTION enrichment_doctor TO reader");
    let mut reader = cluster.connect_as("reader", DB);
    let rows = query(&mut reader, "SELECT detail, remedy FROM enrichment_doctor() WHERE check_name = 'file rights'")
        .expect("rows");
    let told: Vec<String> = rows.into_iter().flatten().flatten().collect();
    assert_eq!(told[0], "The server cannot read GeoLite2-City.mmdb (permission denied): it is not installed.");
    assert!(!told[1].contains('/'), "{told:?}");
    run_in_shell(&remedy(&cluster, "file rights"));
    wait_trouble(&cluster, &[]);
    // A directory is treated like a file.
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o000)).expect("its mode");
    assert_eq!(cluster.lines(DB, TROUBLE), ["file rights|warning"]);
    run_in_shell(&remedy(&cluster, "file rights"));
    wait_trouble(&cluster, &[]);
    // One of somebody else's, outside of the data directory, is not given away.
    let foreign = asn_inventory_tests::cluster::private_dir().join("foreign");
    fs::create_dir(&foreign).expect("a directory");
    fs::set_permissions(&foreign, fs::Permissions::from_mode(0o700)).expect("its mode");
    cluster.set("asn_inventory.maxmind_dir", &foreign.to_string_lossy());
    // SAFETY: reads this process's user.
    if unsafe { libc::geteuid() } == 0 {
        wait_trouble(&cluster, &["file rights|warning"]);
        let remedy = remedy(&cluster, "file rights");
        assert!(remedy.starts_with("setfacl -m u:") && !remedy.contains("chown"), "{remedy}");
    }
}
