//! New lists come, are refused, and go, while sessions look up.

use crate::lists_support::*;
use asn_inventory_tests::cluster::private_dir;
use asn_inventory_tests::prelude::*;
use std::fs;
use std::time::SystemTime;

fn cluster() -> Cluster {
    let cluster = Cluster::builder().start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster
}

fn finding(cluster: &Cluster, check: &str) -> String {
    cluster.value(
        DB,
        &format!(
            "SELECT level || ': ' || detail FROM enrichment_doctor() WHERE check_name = '{check}' AND level <> 'ok'"
        ),
    )
}

#[test]
fn an_open_session_sees_lists_come_change_and_go() {
    let cluster = cluster();
    let dir = default_dir(&cluster);
    let mut client = cluster.client();
    let mut wait = |ip: &str, wanted: Option<&str>| {
        let sql = format!("SELECT ip_lists('{ip}')::text");
        wait_for(
            "the lists",
            || client.query_one(&sql, &[]).expect("a row").get::<_, Option<String>>(0),
            |lists| lists.as_deref() == wanted,
        );
    };
    wait("81.2.69.142", None);
    put(&dir, "tor.txt", "81.2.69.142\n");
    wait("81.2.69.142", Some("{tor}"));
    put(&dir, "block.netset", "81.2.0.0/16\n");
    wait("81.2.69.142", Some("{block,tor}"));
    let name = |column: &str| cluster.value(DB, &format!("SELECT {column} FROM network_lists() WHERE list = 'tor'"));
    let before = name("generation");
    put(&dir, "tor.txt", "8.8.8.8\n");
    wait("81.2.69.142", Some("{block}"));
    wait("8.8.8.8", Some("{tor}"));
    assert_eq!(name("previous_generation"), before);
    fs::remove_file(dir.join("block.netset")).expect("removed");
    wait("81.2.69.142", Some("{}"));
    cluster.wait_log("removed list block: its file is gone");
    fs::remove_file(dir.join("tor.txt")).expect("removed");
    wait("8.8.8.8", None);
}

/// What a session cannot open at the moment when others get new lists, it opens later, without a further import.
#[test]
fn a_session_that_could_not_open_new_lists_opens_them_later() {
    let cluster = cluster();
    let dir = default_dir(&cluster);
    let mut client = cluster.client();
    let mut answer = || {
        let row = client.query_one("SELECT ip_lists('81.2.69.142')::text", &[]).expect("a row");
        row.get::<_, Option<String>>(0)
    };
    put(&dir, "one.txt", "81.2.69.142\n");
    wait_for("the first list", &mut answer, |lists| lists.as_deref() == Some("{one}"));
    put(&dir, "two.txt", "81.2.69.142\n");
    wait_lists(&cluster, "81.2.69.142", "{one,two}");
    let manifest = cluster.data_dir().join("asn_inventory/lists_imported/current.json");
    let sound = fs::read(&manifest).expect("a manifest");
    fs::write(&manifest, "{").expect("written");
    assert_eq!(answer().as_deref(), Some("{one}"), "the open lists answer");
    fs::write(&manifest, sound).expect("written");
    wait_for("the new list", &mut answer, |lists| lists.as_deref() == Some("{one,two}"));
}

#[test]
fn a_refused_file_leaves_the_entries_of_before_and_is_reported() {
    let cluster = cluster();
    let dir = default_dir(&cluster);
    put(&dir, "tor.txt", "81.2.69.142\n");
    wait_lists(&cluster, "81.2.69.142", "{tor}");
    put(&dir, "tor.txt", "\n<!DOCTYPE html>\n<title>503</title>\n");
    put(&dir, "words.txt", "# x\n1.1.1.1\nfoo\nbar\n");
    put(&dir, "tor.json", "[\"9.9.9.9\"]");
    cluster.wait_value(DB, "SELECT count(refused) FROM network_lists()", "3");
    assert_eq!(
        cluster.lines(DB, "SELECT coalesce(list, '-'), file, refused, entries_ipv4 FROM network_lists() ORDER BY 1, 2"),
        [
            "-|tor.json|the list \"tor\" comes from the file tor.txt already|",
            "tor|tor.txt|HTML or XML in line 2: not a list of networks|1",
            "words|words.txt|2 of 3 lines are not an address, a network or a range; the first is line 3|",
        ]
    );
    assert_eq!(cluster.value(DB, "SELECT ip_lists('81.2.69.142')"), "{tor}");
    assert_eq!(cluster.value(DB, "SELECT ip_lists('1.1.1.1')"), "{}");
    let doctor =
        cluster.lines(DB, "SELECT level, detail FROM enrichment_doctor() WHERE check_name = 'list files' ORDER BY 2");
    assert_eq!(
        doctor,
        [
            "warning|tor was refused, and its entries of before stay in use: HTML or XML in line 2: not a list of networks.",
            "warning|tor.json is not a list: the list \"tor\" comes from the file tor.txt already.",
            "warning|words was refused, and it has no entries: 2 of 3 lines are not an address, a network or a range; the first is line 3.",
        ]
    );
    let remedy = cluster.value(DB, "SELECT remedy FROM enrichment_doctor() WHERE check_name = 'list files' LIMIT 1");
    assert_eq!(cluster.sql(DB, &remedy).len(), 3, "{remedy}");
    let status = cluster.value(DB, "SELECT lists || '; ' || lists_refused FROM enrichment_status");
    assert!(status.starts_with("1; ") && status.contains("tor: HTML or XML in line 2"), "{status}");
    let metrics = cluster.value(DB, "SELECT prometheus_metrics()");
    for line in
        ["list_refused{database=\"postgres\",list=\"tor\"} 1", "list_entries{database=\"postgres\",list=\"tor\"} 1"]
    {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    cluster.wait_log("asn_inventory: refused list words: 2 of 3 lines");
    // Another list comes: the entries of before are in the index still.
    put(&dir, "words.txt", "81.2.0.0/16\n");
    wait_lists(&cluster, "81.2.69.142", "{tor,words}");
    put(&dir, "tor.txt", "8.8.8.8\n");
    wait_lists(&cluster, "81.2.69.142", "{words}");
}

#[test]
fn a_list_that_is_lost_and_a_long_string_leave_the_other_lists_alone() {
    let cluster = cluster();
    let dir = default_dir(&cluster);
    put(&dir, "tor.txt", "81.2.69.142\n");
    wait_lists(&cluster, "81.2.69.142", "{tor}");
    let files = cluster.data_dir().join("asn_inventory/lists_imported/files");
    let ranges = fs::read_dir(files).expect("files").map(|entry| entry.expect("an entry").path());
    let ranges: Vec<_> =
        ranges.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("tor-"))).collect();
    assert_eq!(ranges.len(), 1);
    fs::remove_file(&ranges[0]).expect("removed");
    put(&dir, "tor.txt", "<html>");
    put(&dir, "long.json", format!("[\"1.1.1.1\", \"{}\"]", "x".repeat(1 << 20)));
    put(&dir, "block.netset", "81.2.0.0/16\n");
    wait_lists(&cluster, "81.2.69.142", "{block}");
    cluster.wait_log("asn_inventory: list tor has no entries any more");
    assert_eq!(
        cluster.lines(DB, "SELECT list, refused, entries_ipv4 FROM network_lists() ORDER BY 1"),
        [
            "block||1",
            "long|string 2 of this JSON is longer than 65536 bytes|",
            "tor|HTML or XML in line 1: not a list of networks|",
        ]
    );
    assert_eq!(finding(&cluster, "list import"), "");
    put(&dir, "tor.txt", "81.2.69.142\n");
    wait_lists(&cluster, "81.2.69.142", "{block,tor}");
}

#[test]
fn a_file_that_is_being_written_is_left_until_it_rests() {
    let cluster = cluster();
    let dir = default_dir(&cluster);
    // Written now, and again and again.
    put_dated(&dir, "growing.txt", "1.1.1.1\n", SystemTime::now());
    wait_lists(&cluster, "1.1.1.1", "{growing}");
    let between = cluster.value(DB, "SELECT extract(epoch FROM installed_at - file_time) >= 1 FROM network_lists()");
    assert_eq!(between, "t");
    for ignored in [".x.txt", "x.txt~", "x.txt.tmp", "x.txt.part", "x.txt.swp"] {
        fs::write(dir.join(ignored), "2.2.2.2\n").expect("a file");
    }
    put(&dir, "last.txt", "3.3.3.3\n");
    wait_lists(&cluster, "3.3.3.3", "{last}");
    assert_eq!(cluster.lines(DB, "SELECT list FROM network_lists()"), ["growing", "last"]);
}

#[test]
fn another_directory_counts_from_the_reload_on_and_a_missing_one_takes_nothing_away() {
    let cluster = cluster();
    put(&default_dir(&cluster), "here.txt", "1.1.1.1\n");
    wait_lists(&cluster, "1.1.1.1", "{here}");
    let other = private_dir();
    put(&other, "there.txt", "1.1.1.0/24\n");
    cluster.set("asn_inventory.lists_dir", &other.to_string_lossy());
    wait_lists(&cluster, "1.1.1.1", "{there}");
    let gone = other.join("gone");
    cluster.set("asn_inventory.lists_dir", &gone.to_string_lossy());
    let wanted = format!(
        "warning: asn_inventory.lists_dir is \"{}\", which cannot be used (No such file or directory (os error 2)): lists stay as they are.",
        gone.display()
    );
    wait_for("a finding", || finding(&cluster, "list directory"), |found| *found == wanted);
    assert_eq!(cluster.value(DB, "SELECT ip_lists('1.1.1.1')"), "{there}");
    cluster.set("asn_inventory.lists_dir", &cluster.data_dir().join("asn_inventory/lists_imported").to_string_lossy());
    wait_for(
        "a finding",
        || finding(&cluster, "list directory"),
        |found| found.contains("it is the one of the imported lists"),
    );
    assert_eq!(cluster.value(DB, "SELECT ip_lists('1.1.1.1')"), "{there}");
}

#[test]
fn without_preload_a_session_imports_and_reads_them() {
    let dir = private_dir();
    let lists_dir = dir.to_string_lossy().into_owned();
    let cluster = Cluster::builder().preload(false).conf("asn_inventory.lists_dir", &lists_dir).start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    put(&dir, "tor.txt", "81.2.69.142\n");
    assert_eq!(cluster.value(DB, "SELECT ip_lists('81.2.69.142')"), "{tor}", "the first look-up of a session");
    let mut client = cluster.client();
    let mut lists =
        || client.query_one("SELECT ip_lists('81.2.69.142')::text", &[]).expect("a row").get::<_, Option<String>>(0);
    assert_eq!(lists().as_deref(), Some("{tor}"));
    put(&dir, "b.txt", "81.2.0.0/16\n");
    wait_for("the newer lists", &mut lists, |found| found.as_deref() == Some("{b,tor}"));
    put(&dir, "b.txt", "<html>");
    cluster.wait_value(
        DB,
        "SELECT refused FROM network_lists() WHERE list = 'b'",
        "HTML or XML in line 1: not a list of networks",
    );
    assert_eq!(lists().as_deref(), Some("{b,tor}"));
}

#[test]
fn a_standby_has_lists_of_its_own() {
    let primary = cluster();
    put(&default_dir(&primary), "primary.txt", "1.1.1.1\n");
    wait_lists(&primary, "1.1.1.1", "{primary}");
    let standby = primary.standby();
    standby.wait_replay(&primary);
    put(&default_dir(&standby), "standby.txt", "1.1.1.0/24\n");
    wait_for("the list", || standby.value(DB, "SELECT ip_lists('1.1.1.1')"), |lists| lists.contains("standby"));
    assert_eq!(primary.value(DB, "SELECT ip_lists('1.1.1.1')"), "{primary}");
}

#[test]
fn an_import_that_cannot_be_written_is_reported_and_mended_by_its_remedy() {
    let cluster = cluster();
    let dir = default_dir(&cluster);
    put(&dir, "tor.txt", "1.1.1.1\n");
    wait_lists(&cluster, "1.1.1.1", "{tor}");
    let mut client = cluster.client();
    let mut lists =
        || client.query_one("SELECT ip_lists('1.1.1.1')::text", &[]).expect("a row").get::<_, Option<String>>(0);
    assert_eq!(lists().as_deref(), Some("{tor}"));
    let files = cluster.data_dir().join("asn_inventory/lists_imported/files");
    let away = files.with_file_name("away");
    fs::rename(&files, &away).expect("renamed");
    fs::write(&files, "").expect("a file");
    put(&dir, "tor.txt", "1.1.1.0/24\n");
    let found = wait_for("a finding", || finding(&cluster, "list import"), |found| !found.is_empty());
    assert!(found.starts_with("error: Lists of networks cannot be imported since "), "{found}");
    assert_eq!(lists().as_deref(), Some("{tor}"), "an open index stays");
    assert!(
        cluster
            .value(DB, "SELECT prometheus_metrics()")
            .contains("asn_inventory_list_import_failing{database=\"postgres\"} 1")
    );
    cluster.wait_log("could not import lists of networks");
    fs::remove_file(&files).expect("removed");
    fs::rename(&away, &files).expect("renamed");
    // It is tried again after a pause.
    wait_lists(&cluster, "1.1.1.2", "{tor}");
    assert_eq!(finding(&cluster, "list import"), "");
}
