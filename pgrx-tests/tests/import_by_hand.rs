//! import_mmdb_files: new files at once and their number, refused files, force, and rights.

use asn_inventory_tests::cluster::query;
use asn_inventory_tests::mmdb::MmdbWriter;
use asn_inventory_tests::prelude::*;
use std::fs;

const DB: &str = "postgres";
const ASN: &str = "GeoLite2-ASN";

/// The operator replaces the ASN file.
fn replace_asn(cluster: &Cluster, writer: MmdbWriter) {
    writer.install(&cluster.maxmind_dir().join(format!("{ASN}.mmdb")));
}

/// The small file, with another AS for 8.8.8.0/24.
fn sound(number: u32) -> MmdbWriter {
    fixtures::small_asn(fixtures::days_ago(1) + u64::from(number)).insert("8.8.8.0/24", record(number))
}

/// A file that lost nearly everything.
fn collapsed(number: u32) -> MmdbWriter {
    MmdbWriter::new(ASN, fixtures::days_ago(1)).insert("8.8.8.0/24", record(number))
}

fn record(number: u32) -> serde_json::Value {
    json!({ "autonomous_system_number": number })
}

/// Calls `import_mmdb_files`, again if another process is importing at that moment, as its hint says.
fn import(cluster: &Cluster, arguments: &str) -> String {
    let sql = format!("SELECT import_mmdb_files({arguments})");
    let busy = |result: &Result<Vec<Vec<Option<String>>>, SqlFailure>| {
        result.as_ref().is_err_and(|failure| failure.code == "55006")
    };
    let result = wait_for("an import", || cluster.try_sql(DB, &sql), |result| !busy(result));
    result.unwrap_or_else(|failure| panic!("{sql}: {failure:?}"))[0][0].clone().unwrap_or_default()
}

fn refused(cluster: &Cluster) -> String {
    cluster.value(DB, &format!("SELECT refused FROM mmdb_editions() WHERE edition = '{ASN}'"))
}

fn asn(cluster: &Cluster) -> String {
    cluster.value(DB, "SELECT ip_asn('8.8.8.8')")
}

#[test]
fn without_preload_files_are_installed_counted_refused_and_forced() {
    let cluster = Cluster::builder().preload(false).start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    assert_eq!(import(&cluster, ""), "0", "no file, nothing to install");
    fixtures::small(&cluster.maxmind_dir());
    assert_eq!(import(&cluster, ""), "2");
    assert_eq!(import(&cluster, ""), "0", "they are there already");
    assert_eq!(import(&cluster, "true"), "0", "force is for what was refused");
    assert_eq!(asn(&cluster), "15169");
    replace_asn(&cluster, sound(64500));
    assert_eq!(import(&cluster, "NULL"), "1");
    assert_eq!(asn(&cluster), "64500");

    let nodes = format!("SELECT nodes FROM mmdb_editions() WHERE edition = '{ASN}'");
    let before = cluster.value(DB, &nodes);
    replace_asn(&cluster, collapsed(64501));
    assert_eq!(import(&cluster, "false"), "0");
    let reason = refused(&cluster);
    assert!(reason.contains(&format!("the node count fell from {before} to ")), "{reason}");
    assert_eq!(asn(&cluster), "64500", "what was installed goes on answering");
    assert_eq!(import(&cluster, ""), "0", "it stays refused");
    assert_eq!(import(&cluster, "force => true"), "1");
    assert_eq!((refused(&cluster), asn(&cluster)), (String::new(), "64501".to_owned()));
    assert_ne!(cluster.value(DB, &nodes), before);

    // Force imports a smaller file, not a broken one.
    replace_asn(&cluster, fixtures::small_city(1));
    assert_eq!(import(&cluster, "true"), "0");
    assert!(refused(&cluster).contains("wrong edition"), "{}", refused(&cluster));
    assert_eq!(asn(&cluster), "64501");
}

#[test]
fn an_open_session_uses_files_imported_by_another() {
    let cluster = Cluster::builder().preload(false).start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    fixtures::small(&cluster.maxmind_dir());
    let mut session = cluster.connect(DB);
    let mut answer = move || {
        let rows = query(&mut session, "SELECT ip_asn('8.8.8.8')").expect("an answer");
        rows[0][0].clone().unwrap_or_default()
    };
    assert_eq!(answer(), "15169");
    replace_asn(&cluster, collapsed(64502));
    assert_eq!(import(&cluster, "true"), "1");
    wait_for("the open session to follow", &mut answer, |asn| asn == "64502");
}

#[test]
fn with_a_launcher_a_much_smaller_file_needs_force_too() {
    let cluster = Cluster::builder().start();
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    // After the launcher's or this call's import, they are there.
    import(&cluster, "");
    assert_eq!(cluster.value(DB, "SELECT count(*) FROM mmdb_editions() WHERE generation IS NOT NULL"), "2");
    assert_eq!(asn(&cluster), "15169");
    replace_asn(&cluster, sound(64500));
    import(&cluster, "");
    assert_eq!(asn(&cluster), "64500", "at once, after either import");

    replace_asn(&cluster, collapsed(64501));
    wait_until("the file to be refused", || refused(&cluster).contains("node count fell"));
    assert_eq!((import(&cluster, "").as_str(), asn(&cluster).as_str()), ("0", "64500"));
    assert_eq!(
        cluster.value(DB, "SELECT refused LIKE '%GeoLite2-ASN: %node count fell%' FROM enrichment_status"),
        "t",
        "and the status says so"
    );
    let mut session = cluster.connect(DB);
    query(&mut session, "SELECT ip_asn('8.8.8.8')").expect("the old answer");
    assert_eq!(import(&cluster, "true"), "1");
    let rows = query(&mut session, "SELECT ip_asn('8.8.8.8')").expect("an answer");
    assert_eq!(rows[0][0].as_deref(), Some("64501"), "open sessions are told");
    assert_eq!(refused(&cluster), "");
}

#[test]
fn import_mmdb_files_needs_a_grant() {
    let cluster = Cluster::builder().preload(false).start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory; CREATE ROLE operator LOGIN; CREATE ROLE nobody_special LOGIN");
    fixtures::small(&cluster.maxmind_dir());
    cluster.sql(DB, "GRANT EXECUTE ON FUNCTION import_mmdb_files TO operator");
    for call in ["import_mmdb_files()", "import_mmdb_files(true)"] {
        let mut session = cluster.connect_as("nobody_special", DB);
        let refused = query(&mut session, &format!("SELECT {call}")).expect_err("refused");
        assert_eq!(refused.code, "42501", "{call}");
    }
    let rows = query(&mut cluster.connect_as("operator", DB), "SELECT import_mmdb_files()").expect("imported");
    assert_eq!(rows[0][0].as_deref(), Some("2"));
}

#[test]
fn an_unwritable_store_is_named() {
    let cluster = Cluster::builder().preload(false).start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    fixtures::small(&cluster.maxmind_dir());
    // A file in place of the store's directory stops all users, root too.
    let store = cluster.data_dir().join("asn_inventory");
    assert!(!store.exists());
    fs::write(&store, "in the way").expect("a file");
    let failed = cluster.fails(DB, "SELECT import_mmdb_files()");
    assert_eq!((failed.code.as_str(), failed.message.as_str()), ("58030", "could not import mmdb files"));
    assert!(failed.detail.contains("asn_inventory"), "{failed:?}");
    assert!(!failed.hint.is_empty(), "{failed:?}");
    assert_eq!(asn(&cluster), "", "look-ups go on without");
    fs::remove_file(&store).expect("removed");
    assert_eq!(import(&cluster, ""), "2");
    assert_eq!(asn(&cluster), "15169");
}
