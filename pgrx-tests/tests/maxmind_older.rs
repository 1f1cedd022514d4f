//! Builds that are older or much smaller than the installed one: refused with the reason, imported by force, and not
//! fetched again at each look while the server has no other.

use crate::download_support::*;
use asn_inventory_tests::mmdb::MmdbWriter;

const ASN: &str = "GeoLite2-ASN";
const COLLAPSED: &str = "the node count fell from ";

/// Puts a file into the operator's directory.
fn drop_in(cluster: &Cluster, writer: MmdbWriter) {
    let draft = asn_inventory_tests::cluster::private_dir().join("draft");
    writer.write(&draft).expect("a file");
    cluster.install_mmdb_as(&draft, "GeoLite2-ASN.mmdb");
}

/// The small file built at `epoch`, in which 8.8.8.0/24 is `number`'s.
fn asn_file(epoch: u64, number: u32) -> MmdbWriter {
    fixtures::small_asn(epoch).insert("8.8.8.0/24", json!({ "autonomous_system_number": number }))
}

/// A newer file that lost nearly everything.
fn collapsed(days_ago: u64) -> MmdbWriter {
    MmdbWriter::new(ASN, fixtures::days_ago(days_ago))
        .insert("8.8.8.0/24", json!({ "autonomous_system_number": 64501 }))
}

fn wait_refused(cluster: &Cluster, why: &str) {
    let sql = format!("SELECT refused FROM mmdb_editions() WHERE edition = '{ASN}'");
    wait_for("a refusal", || cluster.value(DB, &sql), |reason| reason.contains(why));
    let told = "SELECT last_error FROM source_status WHERE source = 'maxmind'";
    let told = cluster.value(DB, told);
    assert!(told.starts_with("GeoLite2-ASN: ") && told.contains(why), "{told}");
    cluster.wait_log("refused GeoLite2-ASN: ");
}

fn asn(cluster: &Cluster) -> String {
    cluster.value(DB, "SELECT ip_asn('8.8.8.8')")
}

/// Again where the launcher is importing at this moment, as the hint says.
fn import_by_force(cluster: &Cluster) {
    let call = || cluster.try_sql(DB, "SELECT import_mmdb_files(true)");
    let done = wait_for("an import", call, |done| !done.as_ref().is_err_and(|failure| failure.code == "55006"));
    assert_eq!(done.expect("an import")[0][0].as_deref(), Some("1"));
}

#[test]
fn an_older_file_of_the_operator_is_refused_unless_forced() {
    let cluster = Cluster::builder().start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    let built = fixtures::days_ago(10);
    drop_in(&cluster, asn_file(built, 64500));
    cluster.wait_value(DB, "SELECT ip_asn('8.8.8.8')", "64500");
    // A second older.
    drop_in(&cluster, asn_file(built - 1, 64499));
    let day = cluster.value(DB, &format!("SELECT to_timestamp({built})::timestamp"));
    let before = cluster.value(DB, &format!("SELECT to_timestamp({built} - 1)::timestamp"));
    wait_refused(
        &cluster,
        &format!("built {before}, before the installed database ({day}): not imported unless forced"),
    );
    assert_eq!(asn(&cluster), "64500");
    cluster.restart();
    assert_eq!(asn(&cluster), "64500", "nor after a restart");
    import_by_force(&cluster);
    assert_eq!(asn(&cluster), "64499");
    let refused = "SELECT count(*) FROM mmdb_editions() WHERE refused IS NOT NULL";
    assert_eq!(cluster.value(DB, refused), "0");
    // A file of the same second is not older; users may make their own files.
    drop_in(&cluster, asn_file(built - 1, 64498));
    cluster.wait_value(DB, "SELECT ip_asn('8.8.8.8')", "64498");
    assert_eq!(cluster.value(DB, refused), "0");
}

#[test]
fn a_file_from_the_future_does_not_block_later_builds() {
    let cluster = Cluster::builder().start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    drop_in(&cluster, asn_file(u64::from(u32::MAX), 64500));
    cluster.wait_value(DB, "SELECT ip_asn('8.8.8.8')", "64500");
    drop_in(&cluster, asn_file(fixtures::days_ago(1), 64501));
    cluster.wait_value(DB, "SELECT ip_asn('8.8.8.8')", "64501");
}

#[test]
fn a_file_from_the_future_keeps_no_download_out() {
    let site = Site::start();
    drop_in(&site.cluster, asn_file(u64::from(u32::MAX), 64500));
    site.cluster.wait_value(DB, "SELECT ip_asn('8.8.8.8')", "64500");
    site.maxmind.offer(5);
    assert_eq!(site.update(), BOTH_DOWNLOADED);
    site.wait_build(5);
}

/// Any number may stand in a file: in seconds beyond all dates, and as microseconds beyond an int8.
#[test]
fn a_build_time_beyond_all_dates_breaks_no_view() {
    let cluster = Cluster::builder().start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    for (built, number) in [(10_000_000_000_000, "64500"), (1 << 62, "64501"), (i64::MAX as u64, "64502")] {
        drop_in(&cluster, asn_file(built, number.parse().expect("a number")));
        cluster.wait_value(DB, "SELECT ip_asn('8.8.8.8')", number);
        let year = "SELECT extract(year FROM build_time AT TIME ZONE 'UTC') FROM mmdb_editions() WHERE edition = 'GeoLite2-ASN'";
        assert_eq!(cluster.value(DB, year), "9999", "{built}");
        for view in ["enrichment_status", "source_status", "enrichment_doctor()", "prometheus_metrics()"] {
            let rows = format!("SELECT count(*) > 0 FROM (SELECT to_json(v)::text FROM {view} v OFFSET 0) rows");
            assert_eq!(cluster.value(DB, &rows), "t", "{view}, {built}");
        }
        // And the worker answers from it.
        cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    }
    drop_in(&cluster, asn_file(fixtures::days_ago(1), 64503));
    cluster.wait_value(DB, "SELECT ip_asn('8.8.8.8')", "64503");
}

#[test]
fn a_refused_download_is_not_downloaded_again() {
    let site = Site::start();
    let downloads = site.maxmind.downloads();
    site.maxmind.offer(5);
    site.maxmind.offer_file(collapsed(5), ASN, 5);
    // The update's result is in its job; the import's result is in its usual place.
    assert_eq!(site.update(), BOTH_DOWNLOADED);
    wait_refused(&site.cluster, COLLAPSED);
    site.assert_answers();
    site.assert_state_tidy();
    let again = |said: String| {
        let known = "failed|GeoLite2-City: up to date; GeoLite2-ASN: the newest was downloaded before, and refused: ";
        assert!(said.starts_with(known) && said.contains(COLLAPSED), "{said}");
        assert_eq!(site.maxmind.downloads(), downloads + 2);
    };
    again(site.update());
    site.cluster.restart();
    again(site.update());
    // Until there is another one,
    site.maxmind.offer_file(collapsed(4), ASN, 4);
    assert_eq!(site.update(), "done|GeoLite2-City: up to date; GeoLite2-ASN: downloaded");
    assert_eq!(site.maxmind.downloads(), downloads + 3);
    wait_refused(&site.cluster, COLLAPSED);
    site.assert_answers();
    // or the file went away,
    std::fs::remove_file(site.cluster.maxmind_dir().join("GeoLite2-ASN.mmdb")).unwrap();
    assert_eq!(site.update(), "done|GeoLite2-City: up to date; GeoLite2-ASN: downloaded");
    assert_eq!(site.maxmind.downloads(), downloads + 4);
    site.assert_answers();
    // or a sound one comes, which is taken as ever.
    site.maxmind.offer(3);
    assert_eq!(site.update(), BOTH_DOWNLOADED);
    site.wait_build(3);
    assert_eq!(site.update(), BOTH_UP_TO_DATE);
    site.assert_tidy();
    site.assert_state_tidy();
}

#[test]
fn both_functions_import_a_much_smaller_file_by_force() {
    let site = Site::start();
    site.maxmind.offer_file(collapsed(5), ASN, 5);
    assert_eq!(site.update(), "done|GeoLite2-City: up to date; GeoLite2-ASN: downloaded");
    wait_refused(&site.cluster, COLLAPSED);
    site.assert_answers();
    import_by_force(&site.cluster);
    assert_eq!(asn(&site.cluster), "64501");
    // Back to the old build, which is larger, and older; its job ends when it answers.
    site.maxmind.offer(10);
    assert_eq!(site.update_forced(), BOTH_DOWNLOADED);
    site.wait_build(10);
    site.maxmind.offer_file(collapsed(5), ASN, 5);
    assert_eq!(site.update_forced(), BOTH_DOWNLOADED);
    assert_eq!(asn(&site.cluster), "64501");
    assert_eq!(site.cluster.value(DB, "SELECT count(*) FROM mmdb_editions() WHERE refused IS NOT NULL"), "0");
    site.assert_tidy();
    site.assert_state_tidy();
}

#[test]
fn force_imports_no_broken_file_and_its_job_says_so() {
    let site = Site::start();
    site.maxmind.offer_file(fixtures::small_city(fixtures::days_ago(5)), ASN, 5);
    let said = site.update_forced();
    let known = "failed|GeoLite2-City: downloaded; GeoLite2-ASN: downloaded; GeoLite2-ASN: refused: wrong edition: ";
    assert!(said.starts_with(known), "{said}");
    site.assert_answers();
    site.assert_state_tidy();
}

#[test]
fn force_waits_for_another_importer() {
    let site = Site::start();
    site.maxmind.offer(20);
    let lock = site.cluster.data_dir().join("asn_inventory/import.lock");
    let lock = std::fs::File::options().append(true).open(lock).expect("the lock's file");
    lock.lock().expect("the lock");
    let job = site.submit(DB, true);
    wait_until("the end of the download", || site.logged("asn_inventory: GeoLite2-ASN: downloaded") == 2);
    site.assert_answers();
    drop(lock);
    assert_eq!(site.outcome(DB, &job), BOTH_DOWNLOADED);
    site.wait_build(20);
}
