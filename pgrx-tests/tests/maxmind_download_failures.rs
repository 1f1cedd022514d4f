//! Downloads that fail: the previous files stay in use, no file is left behind, the job has the reason, and there are
//! no extra retries.

use crate::download_support::*;

/// A download that fails in this way.
#[track_caller]
fn fails(site: &Site, trouble: Trouble, why: &str) {
    site.maxmind.trouble(trouble);
    // Without earlier failures: each failure is tested separately.
    let said = site.update_forced();
    assert!(said.starts_with("failed|GeoLite2-City: ") && said.contains(why), "{trouble:?}: {said}");
    site.assert_answers();
    site.assert_tidy();
    site.maxmind.trouble(None);
}

#[test]
fn after_each_failure_the_old_files_answer() {
    let site = Site::start();
    site.maxmind.offer(5);
    fails(&site, Trouble::WrongSum, "does not match its SHA-256 sum");
    fails(&site, Trouble::PageForArchive, "the answer is a web page");
    fails(&site, Trouble::Page, "not an archive");
    fails(&site, Trouble::Cut, "cut short");
    fails(&site, Trouble::Status(500), "status 500");
    fails(&site, Trouble::TwoDatabases, "the archive is refused");
    fails(&site, Trouble::Downgrade, "redirects to an address that is not plain https://");
    // Nothing of it came into use, and once all is well, all goes well.
    site.wait_build(10);
    assert_eq!(site.update_forced(), BOTH_DOWNLOADED);
    site.wait_build(5);
    site.assert_tidy();
}

#[test]
fn a_web_page_does_not_count_as_not_modified() {
    let site = Site::start();
    site.maxmind.trouble(Trouble::Page);
    let said = site.update();
    assert!(said.starts_with("failed|GeoLite2-City: ") && said.contains("web page"), "{said}");
}

#[test]
fn after_a_failure_there_is_a_pause_that_force_skips() {
    let site = Site::start();
    site.maxmind.offer(5);
    site.maxmind.trouble(Trouble::Status(503));
    let said = site.update();
    let why = format!("the server answers with status 503 ({})", site.maxmind.host());
    let both = format!("failed|GeoLite2-City: {why}; GeoLite2-ASN: {why}");
    assert_eq!(said, both);
    site.maxmind.trouble(None);
    let before = site.requests();
    let said = site.update();
    assert!(
        said.starts_with("failed|GeoLite2-City: not asked for until ") && said.contains("the last download failed"),
        "{said}"
    );
    assert_eq!(site.requests(), before);
    assert_eq!(site.update_forced(), BOTH_DOWNLOADED);
    site.wait_build(5);
}

#[test]
fn a_refused_key_is_reported_once_and_not_retried_without_a_change() {
    let site = Site::start();
    site.maxmind.offer(5);
    site.maxmind.trouble(Trouble::Status(401));
    let why = format!("the server does not accept the account or its licence key (401) ({})", site.maxmind.host());
    assert_eq!(site.update(), format!("failed|GeoLite2-City: {why}"));
    let before = site.requests();
    let said = site.update();
    assert!(said.contains("the account or its licence key was refused"), "{said}");
    assert_eq!(site.requests(), before);
    assert_eq!(site.warnings("(401)"), 1);
    site.assert_answers();

    // Neither a restart nor a reload that changes nothing of it.
    site.maxmind.trouble(None);
    site.cluster.restart();
    site.cluster.set("asn_inventory.absorb_interval", "100ms");
    let said = site.update();
    assert!(said.contains("the account or its licence key was refused"), "{said}");
    assert_eq!(site.requests(), before);

    // Other credentials are tried.
    site.cluster.set("asn_inventory.maxmind_account_id", "");
    assert_eq!(site.update(), BOTH_DOWNLOADED);
    site.wait_build(5);
}

#[test]
fn a_forbidden_edition_is_not_requested_again_and_304_means_unchanged() {
    let site = Site::start();
    site.maxmind.offer(5);
    site.maxmind.trouble(Trouble::Status(304));
    assert_eq!(site.update(), BOTH_UP_TO_DATE);
    assert_eq!(site.maxmind.downloads(), 2);
    site.maxmind.trouble(Trouble::Status(403));
    let said = site.update();
    assert!(said.starts_with("failed|GeoLite2-City: the account may not download this edition (403)"), "{said}");
    site.assert_answers();
    site.assert_tidy();
    let before = site.requests();
    assert!(site.update().contains("not asked for: the account may not download this edition"));
    assert_eq!(site.requests(), before);
    site.maxmind.trouble(None);
    assert_eq!(site.update_forced(), BOTH_DOWNLOADED);
    site.wait_build(5);
}

#[test]
fn at_the_accounts_limit_no_request_is_sent_even_by_force_or_after_a_restart() {
    let site = Site::start();
    site.maxmind.offer(5);
    site.maxmind.trouble(Trouble::Status(429));
    let said = site.update();
    assert!(said.starts_with("failed|GeoLite2-City: the account's daily download limit is reached (429)"), "{said}");
    assert_eq!(site.warnings("(429)"), 1);
    site.maxmind.trouble(None);
    let before = site.requests();
    let reached = |said: String| {
        assert!(said.starts_with("failed|GeoLite2-City: not asked for until "), "{said}");
        assert!(said.contains("the account's daily download limit is reached"), "{said}");
    };
    reached(site.update());
    reached(site.update_forced());
    site.cluster.restart();
    reached(site.update_forced());
    assert_eq!(site.requests(), before);
    site.assert_answers();
    site.assert_tidy();
}

#[test]
fn at_most_thirty_downloads_a_day_across_restarts() {
    let site = Site::start();
    // The test may run at midnight (UTC), and then the count starts again: at most twice thirty.
    let mut said = String::new();
    for round in 1..=30 {
        said = site.update_forced();
        if said != BOTH_DOWNLOADED {
            break;
        }
        if round == 7 {
            site.cluster.restart();
        }
    }
    assert!(said.contains("this server has begun 30 downloads today"), "{said}");
    let downloads = site.maxmind.downloads();
    assert!((30..=60).contains(&downloads), "{downloads}");
    site.assert_answers();
}

#[test]
fn a_worker_killed_during_a_download_leaves_the_old_files_and_its_draft_is_removed() {
    let site = Site::start();
    site.maxmind.offer(5);
    site.maxmind.trouble(Trouble::Hold);
    site.submit(DB, false);
    wait_until("a download in its middle", || site.maxmind.downloads() == 3);
    wait_until("a draft", || site.files().len() == 3);
    let worker: u32 = site.cluster.value(DB, "SELECT worker_pid FROM enrichment_status").parse().unwrap();
    site.cluster.kill9(worker);
    wait_until("the end of the worker", || std::fs::read_to_string(format!("/proc/{worker}/stat")).is_err());
    site.cluster.wait_ready();
    site.assert_answers();
    site.maxmind.trouble(None);
    site.cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    assert_eq!(site.update(), BOTH_DOWNLOADED);
    site.wait_build(5);
    site.assert_tidy();
}

#[test]
fn only_one_of_two_databases_downloads() {
    let site = Site::start();
    site.cluster.sql(DB, "CREATE DATABASE second");
    site.cluster.sql("second", "CREATE EXTENSION asn_inventory");
    site.cluster.wait_value("second", "SELECT worker FROM enrichment_status", "running");
    site.maxmind.offer(5);
    site.maxmind.trouble(Trouble::Hold);
    let first = site.submit(DB, false);
    wait_until("a download in its middle", || site.maxmind.downloads() == 3);
    let second = site.submit("second", true);
    assert_eq!(site.outcome("second", &second), "cancelled|another update is running");
    site.maxmind.trouble(None);
    assert_eq!(site.outcome(DB, &first), BOTH_DOWNLOADED);
    assert_eq!(site.maxmind.downloads(), 4);
    site.wait_build(5);
    // Installed for all of them.
    assert_eq!(site.cluster.value("second", "SELECT ip_country('81.2.69.142')"), "GB");
    let second = site.submit("second", false);
    assert_eq!(site.outcome("second", &second), BOTH_UP_TO_DATE);
    assert_eq!(site.maxmind.downloads(), 4);
}
