//! An operator who puts lists of networks into the server's directory.

use asn_inventory_tests::prelude::*;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

pub const DB: &str = "postgres";

/// The default directory, once the launcher has made it.
pub fn default_dir(cluster: &Cluster) -> PathBuf {
    let dir = cluster.data_dir().join("asn_inventory").join("lists");
    wait_until("the directory of lists", || dir.is_dir());
    dir
}

/// Puts a file there in one step, dated an hour ago: a fresh file is given time to grow.
pub fn put(dir: &Path, name: &str, content: impl AsRef<[u8]>) {
    put_dated(dir, name, content, SystemTime::now() - Duration::from_secs(3600));
}

pub fn put_dated(dir: &Path, name: &str, content: impl AsRef<[u8]>, date: SystemTime) {
    let ready = dir.join(format!(".{name}"));
    fs::write(&ready, content).expect("a file");
    File::options().append(true).open(&ready).expect("a file").set_modified(date).expect("a date");
    fs::rename(ready, dir.join(name)).expect("renamed");
}

/// The lists of an address, once they are these.
pub fn wait_lists(cluster: &Cluster, ip: &str, wanted: &str) {
    cluster.wait_value(DB, &format!("SELECT ip_lists('{ip}')::text"), wanted);
}
