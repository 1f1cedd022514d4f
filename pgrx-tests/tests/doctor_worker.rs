//! `enrichment_doctor()` of a worker whose process is there and stands still: it is named, the metrics have its last sign of
//! life, and the other checks are told in time.

use crate::promtool_support::Page;
use crate::secret_support::*;
use asn_inventory_tests::cluster::{private_dir, query};
use std::fs;

#[test]
fn a_worker_that_stands_still_is_named_and_the_doctor_does_not_wait_for_it() {
    let file = private_dir().join("maxmind.key");
    fs::write(&file, CANARY).expect("a key");
    chmod(&file, 0o644);
    let reference = format!("file:{}", file.display());
    let cluster = with_maxmind_key(&reference, &[]);
    let resolves = format!("ok|asn_inventory.maxmind_license_key: {reference} resolves|");
    wait_for("a look at the key", || said(&cluster, "key maxmind"), |said| *said == resolves);
    let figure = |name: &str| Page::of(&cluster, DB).value(name, &[]).expect("a figure");
    let beat = || figure("worker_timestamp_seconds");
    let before = beat();
    wait_until("another sign of life", || beat() > before);
    assert!(said(&cluster, "worker").starts_with("ok|"), "{}", said(&cluster, "worker"));

    let worker = cluster.pid_of("asn_inventory worker").expect("a worker");
    let signal = |signal| {
        // SAFETY: a process of this test's own server.
        assert_eq!(unsafe { libc::kill(worker as i32, signal) }, 0);
    };
    let stat = format!("/proc/{worker}/stat");
    let state = format!("SELECT state, wait_event_type FROM pg_stat_activity WHERE pid = {worker}");
    // Within a step of its work it would be given more time.
    wait_until("it to stand still while it waits", || {
        signal(libc::SIGSTOP);
        wait_until("it to be stopped", || fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T ")));
        let waits = cluster.lines(DB, &state) == ["idle|Extension"];
        if !waits {
            signal(libc::SIGCONT);
        }
        waits
    });
    let last = beat();
    // A usual time-out, and each check has its row.
    let mut session = cluster.connect(DB);
    let sql = "SET statement_timeout = '20s'; SELECT count(*) > 20 FROM enrichment_doctor()";
    let rows = query(&mut session, sql).expect("an answer in time");
    assert_eq!(rows.last().and_then(|row| row[0].clone()).as_deref(), Some("t"));
    // What was known of the key, and that it is not looked up.
    let late = "warning|asn_inventory.maxmind_license_key: the worker has not looked it up since it was asked to at ";
    let told = wait_for("a key that is not looked up", || said(&cluster, "key maxmind"), |said| said.starts_with(late));
    assert!(told.contains(&format!("; last known: {reference} resolves|")), "{told}");
    let found = wait_for("the worker to be named", || said(&cluster, "worker"), |said| said.starts_with("error|"));
    assert!(found.starts_with(&format!("error|The worker (process {worker}) has done nothing since ")), "{found}");
    assert!(found.contains(&format!("SELECT pg_terminate_backend({worker});")), "{found}");
    assert_eq!(beat(), last);
    assert!(figure("scrape_timestamp_seconds") - last > 60.0);
    // Both alerts that go by its process keep still.
    assert_eq!([figure("up"), figure("enabled")], [1.0, 1.0]);

    signal(libc::SIGCONT);
    wait_for("the worker", || said(&cluster, "worker"), |said| said.starts_with("ok|"));
    wait_for("another look at the key", || said(&cluster, "key maxmind"), |said| *said == resolves);
    assert_secret_is_hidden(&cluster, CANARY);
}
