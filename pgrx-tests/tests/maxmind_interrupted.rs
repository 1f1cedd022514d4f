//! Downloads that drag on or are interrupted: the worker does its other work meanwhile, the old files answer, and the
//! next success removes the remains.

use crate::download_support::*;
use std::fs;

/// A download that has begun, of which half has come.
fn begin(site: &Site, trouble: Trouble) -> String {
    let before = site.maxmind.downloads();
    site.maxmind.offer(5);
    site.maxmind.trouble(trouble);
    let job = site.submit(DB, false);
    wait_until("a download in its middle", || site.maxmind.downloads() == before + 1);
    wait_until("a draft", || site.files().len() == 3);
    job
}

/// All is well again: the newer files come, and nothing is left.
fn recover(site: &Site) {
    site.maxmind.trouble(None);
    site.cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    assert_eq!(site.update(), BOTH_DOWNLOADED);
    site.wait_build(5);
    site.assert_tidy();
    site.assert_state_tidy();
}

#[test]
fn while_a_body_trickles_the_worker_absorbs_and_answers() {
    let site = Site::start_with(&[("asn_inventory.absorb_interval", "10ms")]);
    site.maxmind.offer(10);
    assert_eq!(site.update(), BOTH_DOWNLOADED);
    site.wait_build(10);
    site.cluster.sql(DB, "CREATE TABLE events (ip inet); SELECT attach_ip_source('events', ARRAY['ip'])");
    let job = begin(&site, Trouble::Trickle);
    for n in 1..=20 {
        site.cluster.sql(DB, &format!("INSERT INTO events VALUES ('81.2.69.142'), ('34.64.0.{n}')"));
        site.cluster.wait_value(DB, "SELECT sum(observation_count) FROM ip_inventory", &(2 * n).to_string());
    }
    assert_eq!(site.cluster.value(DB, "SELECT (enrich_ip('81.2.69.142')).country_code"), "GB");
    assert_eq!(site.files().len(), 3, "still under way");
    assert_eq!(site.cluster.value(DB, &format!("SELECT count(*) FROM enrichment_run WHERE job_id = {job}")), "0");
    // It ends as if nothing had been.
    site.maxmind.trouble(None);
    assert_eq!(site.outcome(DB, &job), BOTH_DOWNLOADED);
    site.wait_build(5);
    site.assert_tidy();
}

#[test]
fn a_shutdown_does_not_wait_for_a_download() {
    let site = Site::start();
    begin(&site, Trouble::Trickle);
    // Panics when the server does not stop in time: a trickle takes an hour.
    site.cluster.restart();
    site.assert_answers();
    recover(&site);
}

#[test]
fn a_killed_postmaster_leaves_the_old_files() {
    let site = Site::start();
    begin(&site, Trouble::Hold);
    let worker: u32 = site.cluster.value(DB, "SELECT worker_pid FROM enrichment_status").parse().unwrap();
    site.cluster.kill9_postmaster();
    wait_until("the end of the worker", || fs::read_to_string(format!("/proc/{worker}/stat")).is_err());
    site.cluster.start();
    site.assert_answers();
    recover(&site);
}

#[test]
fn a_restarted_launcher_imports_earlier_downloads() {
    let site = Site::start();
    site.maxmind.offer(5);
    // No process imports as long as this is locked, and then the launcher is gone.
    let lock = site.cluster.data_dir().join("asn_inventory/import.lock");
    let lock = fs::File::options().append(true).open(lock).expect("the lock's file");
    lock.lock().expect("the lock");
    assert_eq!(site.update(), BOTH_DOWNLOADED);
    // As a kill in the middle of an import leaves it.
    let half = site.cluster.data_dir().join("asn_inventory/generations/tmp-1");
    fs::rename(asn_inventory_tests::cluster::private_dir(), &half).expect("a directory");
    fs::write(half.join("database.mmdb"), "half").expect("a file");
    let launcher = site.cluster.pid_of("asn_inventory launcher").expect("a launcher");
    site.cluster.kill9(launcher);
    wait_until("the end of the launcher", || fs::read_to_string(format!("/proc/{launcher}/stat")).is_err());
    site.cluster.wait_ready();
    site.assert_answers();
    drop(lock);
    site.wait_build(5);
    site.assert_tidy();
    site.assert_state_tidy();
}
