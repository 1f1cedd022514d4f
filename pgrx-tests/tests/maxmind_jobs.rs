//! Updates as jobs: cancelled in every state, while the server is switched off, and after a worker that ended in the middle.

use crate::download_support::*;

const ENABLED: &str = "asn_inventory.enabled";

/// A site of which a job is in the middle of a download, and the number of that job.
fn held(settings: &[(&str, &str)]) -> (Site, String) {
    let site = Site::start_with(settings);
    site.maxmind.offer(10);
    site.maxmind.trouble(Trouble::Hold);
    let job = site.submit(DB, false);
    wait_until("a download in its middle", || site.maxmind.downloads() == 1);
    (site, job)
}

fn state(site: &Site, job: &str) -> String {
    site.cluster.value(DB, &format!("SELECT state FROM enrichment_progress WHERE job_id = {job}"))
}

fn cancel(site: &Site, job: &str) {
    assert_eq!(site.cluster.value(DB, &format!("SELECT cancel_enrichment_job({job})")), "t");
}

#[test]
fn who_asks_is_answered_while_the_server_is_switched_off() {
    let site = Site::start_with(&[(ENABLED, "off")]);
    site.maxmind.offer(10);
    assert_eq!(site.update(), BOTH_DOWNLOADED);
    site.wait_build(10);
    assert_eq!(site.update_forced(), BOTH_DOWNLOADED);
    // And where it is switched off in the middle.
    site.cluster.set(ENABLED, "on");
    site.maxmind.offer(5);
    site.maxmind.trouble(Trouble::Hold);
    let job = site.submit(DB, false);
    wait_until("a download in its middle", || site.maxmind.downloads() == 5);
    site.cluster.set(ENABLED, "off");
    site.maxmind.trouble(None);
    assert_eq!(site.outcome(DB, &job), BOTH_DOWNLOADED);
    site.wait_build(5);
}

#[test]
fn a_job_is_cancelled_before_it_begins_and_while_it_runs() {
    for enabled in ["on", "off"] {
        let (site, first) = held(&[(ENABLED, enabled)]);
        let second = site.submit(DB, true);
        assert_eq!((state(&site, &first), state(&site, &second)), ("running".to_owned(), "submitted".to_owned()));
        // What it is at, and what all others of the server wait for.
        let under_way = "SELECT level || ' ' || detail FROM enrichment_doctor() WHERE check_name = 'mmdb sources'";
        let told = site.cluster.value(DB, under_way);
        assert!(told.starts_with("ok GeoLite2-City is being fetched from "), "{enabled}: {told}");
        cancel(&site, &second);
        assert_eq!(site.outcome(DB, &second), "cancelled|", "{enabled}");
        cancel(&site, &first);
        // The server is silent still, and is not waited for.
        let said = "cancelled|GeoLite2-City: cancelled; GeoLite2-ASN: cancelled";
        assert_eq!(site.outcome(DB, &first), said, "{enabled}");
        site.cluster.wait_value(DB, "SELECT count(*) FROM enrichment_progress", "0");
        // That was no failure: nothing is put off.
        site.maxmind.trouble(None);
        assert_eq!(site.update(), BOTH_DOWNLOADED, "{enabled}");
        site.wait_build(10);
    }
}

#[test]
fn an_update_whose_worker_ended_does_not_take_the_result_of_the_next() {
    let (site, first) = held(&[]);
    let second = site.submit(DB, false);
    let worker = || site.cluster.value(DB, "SELECT worker_pid FROM enrichment_status");
    let before = worker();
    site.cluster.sql(DB, &format!("SELECT pg_terminate_backend({before})"));
    wait_for("another worker", worker, |pid| !pid.is_empty() && *pid != before);
    site.maxmind.trouble(None);
    assert_eq!(site.outcome(DB, &first), "failed|the worker ended in the middle of it");
    assert_eq!(site.outcome(DB, &second), BOTH_DOWNLOADED);
    site.wait_build(10);
    site.assert_tidy();
}
