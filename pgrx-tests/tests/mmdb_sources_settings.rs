//! Sources with schedules of their own that a setting, a secret or the disk keeps from being asked: the doctor tells it,
//! nothing is tried each minute, and once it is corrected they are asked soon.

use crate::download_support::*;
use asn_inventory_tests::cluster::private_dir;
use asn_inventory_tests::fakes::files::Files;
use asn_inventory_tests::wait::wait_within;
use std::fs;
use std::time::Duration;

const CA_FILE: &str = "asn_inventory.tls_ca_file";
const RUNS: &str = "SELECT outcome, detail FROM enrichment_run WHERE kind = 'update' ORDER BY job_id";
const FOUND: &str = "SELECT detail FROM enrichment_doctor() WHERE check_name = 'mmdb sources' AND level <> 'ok' ORDER BY detail COLLATE \"C\"";

/// A turn comes a minute after it is planned, at the earliest.
const TURN: Duration = Duration::from_secs(150);

/// A cluster without MaxMind's key and without a schedule for all, and a list that is on offer.
fn start(ca_file: &str) -> (Site, Files) {
    let files = Files::start(&private_dir());
    files.offer("/exits", b"81.2.69.142\n");
    let site =
        Site::start_with(&[(CA_FILE, ca_file), ("asn_inventory.maxmind_license_key", "env:MAXMIND_LICENSE_KEY")]);
    (site, files)
}

/// The source of that list, which is asked once a day.
fn source(files: &Files) -> String {
    format!("exits={}/exits#list&every=1d", files.url())
}

/// Waits for the first turn, which fails; what the job says.
fn first_failure(site: &Site) -> String {
    let runs = wait_within(TURN, || site.cluster.lines(DB, RUNS), |runs| runs.len() == 1 && !runs[0].is_empty());
    let run = runs.expect("a turn of its own").remove(0);
    run.strip_prefix("failed|").expect("a failure").to_owned()
}

/// Waits until the list is there, and until the doctor has nothing left to say.
fn wait_mended(site: &Site) {
    let lists = || site.cluster.value(DB, "SELECT ip_lists('81.2.69.142')::text");
    wait_within(TURN, lists, |lists| lists == "{exits}").expect("the list");
    wait_for("a doctor without a finding", || site.cluster.lines(DB, FOUND), |found| *found == [""; 0]);
}

#[test]
fn a_file_of_certificates_that_is_corrected_does_not_wait_for_the_next_day() {
    let (site, files) = start("/nowhere/ca.pem");
    site.cluster.set("asn_inventory.mmdb_sources", &source(&files));
    let said = first_failure(&site);
    assert!(said.starts_with("list exits: tls_ca_file /nowhere/ca.pem: "), "{said}");
    let found = site.cluster.lines(DB, FOUND);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0], format!("The last turn of sources with schedules of their own failed: {said}"));
    let waits =
        format!("list exits from {}: the settings do not allow a request: tls_ca_file /nowhere/ca.pem: ", files.host());
    assert!(found[1].starts_with(&waits), "{found:?}");
    // Who asks is told the reason again, and not that it waits.
    let told = site.update();
    assert!(told.starts_with("failed|") && told.contains(&said), "{told}");
    assert!(files.asked().is_empty());
    site.cluster.set(CA_FILE, &files.ca_file().display().to_string());
    wait_mended(&site);
    assert_eq!(files.statuses(), [200]);
}

#[test]
fn a_secret_that_is_there_at_a_reload_does_not_wait_for_the_next_try() {
    let (site, files) = start("");
    site.cluster.set(CA_FILE, &files.ca_file().display().to_string());
    files.offer("/exits?t=hunter2", b"81.2.69.142\n");
    let token = private_dir().join("token");
    let reference = format!("file:{}", token.display());
    let url = format!("exits={}/exits?t={{secret:{reference}}}#list&every=1d", files.url());
    site.cluster.set("asn_inventory.mmdb_sources", &url);
    // No host has a part in it.
    let hosted = format!("({})", files.host());
    // Nobody was asked, so nobody wants to be left alone: who asks again is told the reason again. The next try by itself is
    // minutes away.
    let said = format!("list exits: {reference}: ");
    for _ in 0..2 {
        let told = site.update();
        assert!(told.starts_with("failed|") && told.contains(&said) && !told.contains(&hosted), "{told}");
    }
    let waits =
        format!("list exits from {}: a secret in the URL of this source cannot be read: {reference}: ", files.host());
    let found = site.cluster.lines(DB, FOUND);
    assert!(found.iter().any(|found| found.starts_with(&waits)), "{found:?}");
    fs::write(&token, "hunter2\n").expect("a file");
    site.cluster.reload();
    wait_mended(&site);
    assert_eq!(files.statuses(), [200]);
}

#[test]
fn a_ledger_that_cannot_be_written_is_told_and_a_reload_tries_again() {
    let (site, files) = start("");
    site.cluster.set(CA_FILE, &files.ca_file().display().to_string());
    let draft = site.cluster.data_dir().join("asn_inventory/downloads.tmp");
    // A directory in place of its draft stops all users, root too.
    fs::create_dir(&draft).expect("a directory");
    site.cluster.set("asn_inventory.mmdb_sources", &source(&files));
    let said = first_failure(&site);
    assert!(said.contains("downloads.json"), "{said}");
    let found = site.cluster.lines(DB, FOUND);
    let wanted = format!("The last turn of sources with schedules of their own failed: {said}");
    assert!(found.contains(&wanted), "{found:?}");
    assert!(files.asked().is_empty());
    // A reload says that something may be better now.
    fs::remove_dir(&draft).expect("no directory");
    site.cluster.reload();
    wait_mended(&site);
}
