//! Downloads by schedule: the newer build answers without a call; once for all databases of a server.

use crate::download_support::*;
use asn_inventory_tests::wait::wait_within;
use std::fs::File;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Until the turn of the minute, with the jitter of such a schedule, and for the download.
const TURN: Duration = Duration::from_secs(150);

/// In seconds.
const MINUTE: u64 = 60;
/// How late within the minute a worker may come: a tenth of it.
const JITTER: u64 = 6;

fn clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}

const SECOND: &str = "second";
const COUNTRY: &str = "SELECT ip_country('81.2.69.142')";

#[test]
fn a_newer_build_comes_by_itself_and_once_for_two_databases() {
    let site = Site::start();
    site.cluster.sql(DB, &format!("CREATE DATABASE {SECOND}"));
    site.cluster.sql(SECOND, "CREATE EXTENSION asn_inventory");
    site.cluster.wait_value(SECOND, "SELECT worker FROM enrichment_status", "running");
    let downloads = site.maxmind.downloads();
    let mut open = site.cluster.connect(SECOND);
    let mut country = || open.query_one(COUNTRY, &[]).unwrap().get::<_, String>(0);
    assert_eq!(country(), "GB");

    let offer = |days_ago: u64, country: &str| {
        site.maxmind.offer(days_ago);
        let city = fixtures::small_city(fixtures::days_ago(days_ago));
        let city = city.insert("81.2.69.142/31", json!({ "country": { "iso_code": country } }));
        site.maxmind.offer_file(city, "GeoLite2-City", days_ago);
    };
    offer(5, "FR");
    // Both workers want it at the same time: each download takes as long as it needs to be seen beside another.
    site.maxmind.trouble(Trouble::Hold);
    site.cluster.set("asn_inventory.maxmind_update_schedule", "* * * * *");
    let begun = wait_within(TURN, || site.maxmind.downloads(), |count| *count > downloads);
    begun.expect("a download by schedule");
    let turn = clock() / MINUTE;
    // Both have had their turn then.
    wait_until("the end of the jitter", || clock() > turn * MINUTE + JITTER + 2);
    assert_eq!((site.maxmind.downloads(), site.maxmind.most_at_once()), (downloads + 1, 1));
    site.maxmind.trouble(None);
    wait_for("the newer answer in the other database", country, |country| country == "FR");
    site.cluster.wait_value(DB, COUNTRY, "FR");
    let built = fixtures::days_ago(5);
    let both = format!("SELECT count(*) FROM mmdb_editions() WHERE build_time = to_timestamp({built})");
    site.cluster.wait_value(SECOND, &both, "2");
    // Scheduled downloads are among the jobs, once an edition, from either of the two databases.
    let jobs = "SELECT detail FROM enrichment_run WHERE kind = 'update' AND outcome = 'done'";
    let fetched = || {
        let details = [DB, SECOND].map(|db| site.cluster.lines(db, jobs).join("; ")).join("; ");
        details.matches(": downloaded").count()
    };
    wait_for("both editions, by hand and by schedule, among the jobs", fetched, |count| *count == 4);
    // The next turn finds nothing newer: it asks, and fetches nothing. Two databases, two editions.
    let asked = site.requests();
    let looks = || site.maxmind.asked().split_off(asked).iter().filter(|asked| asked.method == "HEAD").count();
    wait_within(TURN, looks, |looks| *looks >= 4).expect("another look by schedule");
    assert!(clock() / MINUTE > turn, "it looks again and again within a minute");
    assert_eq!(site.maxmind.downloads(), downloads + 2);
    assert_eq!(site.maxmind.most_at_once(), 1);
    site.assert_tidy();
    site.assert_state_tidy();

    // Without a schedule it ends; who asks is answered.
    site.cluster.set("asn_inventory.maxmind_update_schedule", "");
    offer(3, "NL");
    assert_eq!(site.update(), BOTH_DOWNLOADED);
    site.cluster.wait_value(SECOND, COUNTRY, "NL");
}

#[test]
fn a_failed_scheduled_update_is_shown_in_status_and_jobs() {
    let site = Site::start();
    let failed =
        "SELECT requested_by = current_user, detail FROM enrichment_run WHERE kind = 'update' AND outcome = 'failed'";
    assert_eq!(site.cluster.lines(DB, failed), [""; 0]);
    site.maxmind.trouble(Trouble::Status(401));
    site.cluster.set("asn_inventory.maxmind_update_schedule", "* * * * *");
    let rows = wait_within(TURN, || site.cluster.lines(DB, failed), |rows| !rows.is_empty()).expect("a failed update");
    assert!(rows[0].starts_with("t|GeoLite2-City: "), "{}", rows[0]);
    let said = rows[0].strip_prefix("t|").expect("a reason");
    let source = "SELECT last_error_at > last_success_at, last_error FROM source_status WHERE source = 'maxmind'";
    assert_eq!(site.cluster.lines(DB, source), [format!("t|update: {said}")]);
    let doctor = "SELECT level, detail FROM enrichment_doctor() WHERE check_name = 'maxmind downloads'";
    assert_eq!(site.cluster.lines(DB, doctor), [format!("warning|{said}")]);
    site.assert_answers();
    // The next one that works takes it away. It is asked for by force: after a refused key, the ledger waits.
    site.maxmind.trouble(None);
    assert_eq!(site.update_forced(), BOTH_DOWNLOADED);
    assert_eq!(site.cluster.lines(DB, source), ["|"]);
    assert_eq!(site.cluster.lines(DB, doctor), ["ok|"]);
}

#[test]
fn a_turn_that_meets_another_update_hides_no_failure() {
    let site = Site::start();
    site.maxmind.trouble(Trouble::Status(401));
    let said = site.update();
    let said = said.strip_prefix("failed|").expect("a failure");
    // As another server's process holds it, or one that hangs.
    let lock = File::open(site.cluster.data_dir().join("asn_inventory/download.lock")).expect("the lock's file");
    lock.lock().expect("the lock");
    let number =
        || site.cluster.value(DB, "SELECT last_value FROM enrichment_job_id").parse::<u64>().expect("a number");
    let before = number();
    site.cluster.set("asn_inventory.maxmind_update_schedule", "* * * * *");
    // The first turn is over when the second one has its number.
    wait_within(2 * TURN, number, |number| *number >= before + 2).expect("two turns");
    let last = "SELECT detail FROM enrichment_run WHERE kind = 'update' ORDER BY job_id DESC LIMIT 1";
    assert_eq!(site.cluster.value(DB, last), said);
    let doctor = "SELECT level, detail FROM enrichment_doctor() WHERE check_name = 'maxmind downloads'";
    assert_eq!(site.cluster.lines(DB, doctor), [format!("warning|{said}")]);
    site.cluster.wait_value(DB, "SELECT count(*) FROM enrichment_progress", "0");
    // Who asks is answered, and that hides none, either.
    assert_eq!(site.update(), "cancelled|another update is running");
    assert_eq!(site.cluster.lines(DB, doctor), [format!("warning|{said}")]);
    let source = "SELECT last_error FROM source_status WHERE source = 'maxmind'";
    assert_eq!(site.cluster.value(DB, source), format!("update: {said}"));
    let failed = "SELECT count(*) FROM regexp_split_to_table(prometheus_metrics(), '\\n') l WHERE l ~ '^asn_inventory_mmdb_update_failed.* 1$'";
    assert_eq!(site.cluster.value(DB, failed), "1");
    drop(lock);
    site.maxmind.trouble(None);
    assert_eq!(site.update_forced(), BOTH_DOWNLOADED);
}
