//! The harness keeps its own promises: clusters are private, come back, and leave nothing behind.

use asn_inventory_tests::prelude::*;
use std::path::PathBuf;
use std::process::Command;

/// Without the extension: these tests are about the clusters.
fn plain() -> Cluster {
    Cluster::builder().preload(false).start()
}

fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_cluster_answers_restarts_and_keeps_its_data() {
    let cluster = plain();
    cluster.sql("postgres", "CREATE TABLE kept AS SELECT 1 AS one");
    let first = cluster.pid();
    cluster.restart();
    assert_ne!(cluster.pid(), first);
    assert_eq!(cluster.value("postgres", "SELECT one FROM kept"), "1");
    cluster.stop_immediate();
    assert!(cluster.try_connect("postgres").is_err());
    cluster.start();
    assert_eq!(cluster.value("postgres", "SELECT one FROM kept"), "1");
    assert!(cluster.log().contains("was not properly shut down"));
}

#[test]
fn two_clusters_run_side_by_side() {
    let (one, two) = (plain(), plain());
    one.sql("postgres", "CREATE DATABASE only_here");
    assert!(one.try_connect("only_here").is_ok());
    assert!(two.try_connect("only_here").is_err());
    assert_ne!(one.data_dir(), two.data_dir());
    assert_eq!(one.value("postgres", "SHOW listen_addresses"), "");
}

#[test]
fn settings_come_from_the_builder_and_change_by_reload() {
    let cluster =
        Cluster::builder().preload(false).conf("work_mem", "7MB").conf("asn_inventory.note", "it's quoted").start();
    let show = |name: &str| cluster.value("postgres", &format!("SHOW {name}"));
    assert_eq!(show("work_mem"), "7MB");
    assert_eq!(show("asn_inventory.note"), "it's quoted");
    cluster.set("work_mem", "9MB");
    assert_eq!(show("work_mem"), "9MB");
}

#[test]
fn a_dropped_cluster_leaves_no_server_and_no_directory() {
    let cluster = plain();
    let (pid, data) = (cluster.pid(), cluster.data_dir());
    drop(cluster);
    assert!(!alive(pid));
    assert!(!data.parent().expect("a parent").exists());
}

#[test]
fn a_cluster_in_a_panicking_thread_is_removed_too() {
    let cluster = plain();
    let (pid, data) = (cluster.pid(), cluster.data_dir());
    let outcome = std::thread::spawn(move || {
        let _owned = cluster;
        panic!("on purpose");
    })
    .join();
    assert!(outcome.is_err());
    assert!(!alive(pid));
    assert!(!data.exists());
}

#[test]
fn a_cluster_outlives_the_thread_that_started_it() {
    let cluster = std::thread::spawn(plain).join().expect("a cluster");
    assert_eq!(cluster.value("postgres", "SELECT 1"), "1");
}

/// No test of its own: the process that the next test starts and kills.
#[test]
fn child_that_is_killed() {
    let Ok(note) = std::env::var("CHILD_NOTE") else {
        return;
    };
    let cluster = plain();
    std::fs::write(&note, cluster.pid().to_string()).expect("the note is written");
    std::thread::sleep(std::time::Duration::from_secs(120));
}

#[test]
fn a_killed_run_leaves_no_server() {
    let note: PathBuf = std::env::temp_dir().join(format!("note.{}", std::process::id()));
    let _ = std::fs::remove_file(&note);
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "harness_cluster::child_that_is_killed"])
        .env("CHILD_NOTE", &note)
        .spawn()
        .expect("a child");
    let read_pid = || std::fs::read_to_string(&note).ok()?.parse::<u32>().ok();
    let server = wait_for("the child's server", read_pid, Option::is_some).expect("a pid");
    assert!(alive(server));
    child.kill().expect("the child is killed");
    child.wait().expect("the child is gone");
    let _ = std::fs::remove_file(&note);
    wait_until("the server to end with its run", || !alive(server));
}

#[test]
fn processes_of_the_cluster_are_found_and_killed_and_others_are_not() {
    let cluster = plain();
    let before = cluster.pid_of("walwriter").expect("a walwriter");
    cluster.kill9(before);
    wait_until("a new walwriter", || cluster.pid_of("walwriter").is_some_and(|now| now != before));
    let own = std::panic::AssertUnwindSafe(|| cluster.kill9(std::process::id()));
    assert!(std::panic::catch_unwind(own).is_err());
}

#[test]
fn a_standby_follows_answers_and_is_promoted() {
    let primary = plain();
    primary.sql("postgres", "CREATE TABLE followed (n int); INSERT INTO followed VALUES (7)");
    primary.set("work_mem", "9MB");
    let standby = primary.standby();
    standby.wait_replay(&primary);
    assert_eq!(standby.value("postgres", "SELECT n FROM followed"), "7");
    assert_eq!(standby.value("postgres", "SHOW work_mem"), "9MB");
    let refused = standby.fails("postgres", "INSERT INTO followed VALUES (8)");
    assert_eq!(refused.code, "25006");
    standby.promote();
    standby.sql("postgres", "INSERT INTO followed VALUES (8)");
    assert_eq!(primary.value("postgres", "SELECT count(*) FROM followed"), "1");
}

#[test]
fn results_errors_notices_and_programs_are_readable() {
    let cluster = plain();
    assert_eq!(cluster.lines("postgres", "SELECT 1, null, 'x' UNION ALL SELECT 2, 'y', null"), ["1||x", "2|y|"]);
    let refused = cluster.fails("postgres", "SELECT 1/0");
    assert_eq!((refused.code.as_str(), refused.message.as_str()), ("22012", "division by zero"));
    let (mut client, notices) = cluster.connect_with_notices("postgres");
    client.batch_execute("DO $$ BEGIN RAISE WARNING 'careful'; END $$").expect("a warning is no error");
    assert_eq!(notices.all(), ["WARNING: careful"]);
    let output = cluster.psql("postgres", "SELECT 'by psql'");
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "by psql");
    assert!(!cluster.psql("postgres", "SELECT nothing").status.success());
}

#[test]
fn the_servers_environment_comes_only_from_the_builder() {
    let cluster = Cluster::builder().preload(false).env("ENABLE_ASN_INVENTORY", "off").start();
    let environ = std::fs::read(format!("/proc/{}/environ", cluster.pid())).expect("readable");
    let environ = String::from_utf8_lossy(&environ).into_owned();
    assert!(environ.contains("ENABLE_ASN_INVENTORY=off"));
}
