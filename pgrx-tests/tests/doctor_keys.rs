//! `enrichment_doctor()` says of each reference to a key whether it resolves: looked up when it is asked, by the worker,
//! and never what the key is.

mod secret_support;

use asn_inventory_tests::cluster::private_dir;
use secret_support::*;
use std::fs;

/// What the doctor says of one key: level, detail, whether there is a remedy.
fn said(cluster: &Cluster, check: &str) -> String {
    let sql =
        format!("SELECT level, detail, remedy IS NOT NULL FROM enrichment_doctor() WHERE check_name = 'key {check}'");
    cluster.lines(DB, &sql).join("\n")
}

#[test]
fn a_reference_is_looked_up_when_the_doctor_is_asked() {
    let dir = private_dir();
    let file = dir.join("maxmind.key");
    let reference = format!("file:{}", file.display());
    let cluster = Cluster::builder()
        .conf("asn_inventory.maxmind_license_key", &reference)
        .conf("asn_inventory.maxmind_update_schedule", "")
        .start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory; CREATE ROLE alice LOGIN");
    cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");

    // Nobody set a key: that is no fault.
    let absent = said(&cluster, "maxmind");
    assert!(absent.starts_with(&format!("ok|asn_inventory.maxmind_license_key: {reference}: ")), "{absent}");
    assert!(absent.ends_with("no file is downloaded|f"), "{absent}");
    let unset = said(&cluster, "greynoise");
    assert!(unset.starts_with("ok|asn_inventory.greynoise_api_key: env:GREYNOISE_API_KEY: "), "{unset}");

    fs::write(&file, CANARY).expect("a key");
    chmod(&file, 0o644);
    assert_eq!(said(&cluster, "maxmind"), format!("ok|asn_inventory.maxmind_license_key: {reference} resolves|f"));

    // One that others may write is as good as theirs.
    chmod(&file, 0o666);
    let open = said(&cluster, "maxmind");
    assert!(open.starts_with(&format!("error|asn_inventory.maxmind_license_key: {reference}: ")), "{open}");
    assert!(open.ends_with("|t"), "{open}");

    // The remedy's first half, with a place of our own.
    let other = dir.join("other.key");
    fs::write(&other, CANARY).expect("a key");
    chmod(&other, 0o644);
    cluster.set("asn_inventory.maxmind_license_key", &format!("file:{}", other.display()));
    let mended = format!("ok|asn_inventory.maxmind_license_key: file:{} resolves|f", other.display());
    cluster.wait_value(
        DB,
        "SELECT level || '|' || detail || '|f' FROM enrichment_doctor() WHERE check_name = 'key maxmind'",
        &mended,
    );
    assert_hidden(&cluster);
}

#[test]
fn a_program_that_resolves_a_key_runs_when_the_doctor_is_asked_and_not_before() {
    let keys = Vault::new();
    let ran = keys.dir.join("ran");
    fs::write(&ran, "").expect("a file");
    chmod(&ran, 0o666);
    let commands = keys.program("op", &format!("echo >> {}\nprintf %s {CANARY}", ran.display()));
    let cluster = Cluster::builder()
        .conf("asn_inventory.maxmind_license_key", "op://ops/maxmind/key")
        .conf("asn_inventory.maxmind_update_schedule", "")
        .start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory; CREATE ROLE alice LOGIN");
    cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    // Programs are off until somebody names them.
    let off = said(&cluster, "maxmind");
    assert!(off.starts_with("error|asn_inventory.maxmind_license_key: op://ops/maxmind/key: "), "{off}");
    assert!(off.contains("secret_commands"), "{off}");
    cluster.set("asn_inventory.secret_commands", &commands);
    let runs = || fs::read(&ran).expect("the file").len();
    assert_eq!(runs(), 0);
    let sql = "SELECT detail FROM enrichment_doctor() WHERE check_name = 'key maxmind'";
    cluster.wait_value(DB, sql, "asn_inventory.maxmind_license_key: op://ops/maxmind/key resolves");
    let after = runs();
    assert!(after > 0);
    // Several at a time are answered alike, and each afresh.
    let askers: Vec<_> = (0..4).map(|_| cluster.connect(DB)).collect();
    std::thread::scope(|scope| {
        for mut asker in askers {
            scope.spawn(move || {
                let row = asker.query_one(sql, &[]).expect("an answer");
                assert!(row.get::<_, String>(0).ends_with(" resolves"));
            });
        }
    });
    assert!(runs() > after);

    // Who may not read the setting learns how it went, and neither what it says nor has the program run for it.
    let (before, mut alice) = (runs(), cluster.connect_as("alice", DB));
    let all = "SELECT setting, state, detail FROM secret_references()";
    assert!(alice.query(all, &[]).is_err());
    cluster.sql(DB, "GRANT EXECUTE ON FUNCTION secret_references() TO alice");
    let told = asn_inventory_tests::cluster::query(&mut alice, all).expect("an answer");
    let told: Vec<String> =
        told.into_iter().map(|row| row.into_iter().flatten().collect::<Vec<_>>().join("|")).collect();
    assert_eq!(
        told,
        [
            "maxmind_license_key|resolves|resolved when it was last looked up",
            "greynoise_api_key|unset|there was no key when it was last looked up"
        ]
    );
    assert_eq!(runs(), before);
    assert_hidden(&cluster);
}

#[test]
fn without_a_worker_the_doctor_does_not_wait_for_one() {
    let cluster = Cluster::builder().preload(false).start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    let states = "SELECT setting, state, detail FROM secret_references()";
    assert_eq!(
        cluster.lines(DB, states),
        [
            "maxmind_license_key|unknown|no worker is there to look it up",
            "greynoise_api_key|unknown|no worker is there to look it up"
        ]
    );
}
