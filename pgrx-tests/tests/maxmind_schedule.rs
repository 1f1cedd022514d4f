//! Downloads by schedule: nobody calls anything, and the newer build answers; once for all databases of a server.

mod download_support;

use asn_inventory_tests::wait::wait_within;
use download_support::*;
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
    let (downloads, jobs) = (site.maxmind.downloads(), "SELECT count(*) FROM enrichment_run WHERE kind = 'update'");
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
    assert_eq!((site.cluster.value(DB, jobs), site.cluster.value(SECOND, jobs)), ("1".to_owned(), "0".to_owned()));

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
