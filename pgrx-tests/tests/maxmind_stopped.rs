//! A process that imports a large file ends when it is told to.

use asn_inventory_tests::prelude::*;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

const DB: &str = "postgres";
const EDITION: &str = "Large-Thing";

/// Sparse, of 1.9 GB, with the metadata of a sound file at its end: copying it takes many seconds.
fn sparse(file: &Path) {
    let ready = file.with_extension("ready");
    MmdbWriter::new(EDITION, 1).insert("8.8.8.0/24", json!({ "a": 1 })).write(&ready).expect("written");
    let whole = fs::read(&ready).expect("a file");
    let metadata = whole.windows(14).rposition(|at| at == b"\xab\xcd\xefMaxMind.com").expect("metadata");
    let metadata = &whole[metadata..];
    let size = 1_900_000_000;
    let large = File::create(&ready).expect("a file");
    large.set_len(size).expect("a sparse file");
    large.write_all_at(metadata, size - metadata.len() as u64).expect("written");
    fs::rename(ready, file).expect("renamed");
}

#[test]
fn a_launcher_or_a_session_in_the_middle_of_an_import_ends_at_once() {
    let cluster = Cluster::builder().conf("asn_inventory.maxmind_editions", EDITION).start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    let generations = cluster.data_dir().join("asn_inventory/generations");
    let copied = || -> u64 {
        let entries = fs::read_dir(&generations).into_iter().flatten().flatten();
        let drafts = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("tmp-"));
        drafts.filter_map(|draft| fs::metadata(draft.path().join("database.mmdb")).ok()).map(|file| file.len()).sum()
    };
    let file = cluster.maxmind_dir().join(format!("{EDITION}.mmdb"));
    sparse(&file);
    let launcher = cluster.pid_of("asn_inventory launcher").expect("a launcher");
    wait_until("the launcher copies", || copied() > 0);
    cluster.sql(DB, &format!("SELECT pg_terminate_backend({launcher})"));
    wait_until("the launcher ends", || cluster.pid_of("asn_inventory launcher") != Some(launcher));
    assert!(copied() < 1_900_000_000);
    // Who comes to the end of a file has something to say about it.
    let told = || ["installed", "refused"].iter().any(|how| cluster.log().contains(&format!("{how} {EDITION}")));
    assert!(!told(), "the launcher went on: {}", cluster.log_tail());
    // The next one is in the middle as well.
    cluster.stop_fast();
    assert!(!told(), "the server went on: {}", cluster.log_tail());
    fs::remove_file(file).expect("removed");
}
