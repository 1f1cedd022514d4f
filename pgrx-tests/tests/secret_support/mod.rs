//! GreyNoise's key in every place that a reference can name, and the search for it in every place where it must not be.
use asn_inventory_tests::cluster::private_dir;
pub use asn_inventory_tests::fakes::*;
pub use asn_inventory_tests::prelude::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub const DB: &str = "postgres";
/// In no other file than those that a test writes it to.
pub const CANARY: &str = "canary-7f3a9c1e5b";

/// Fakes that require [`CANARY`], and a directory for referenced files.
pub struct Vault {
    pub fakes: Fakes,
    pub dir: PathBuf,
}

impl Vault {
    pub fn new() -> Vault {
        let fakes = Fakes::start(&private_dir().join("fakes"));
        fakes.expect_key(Some(CANARY));
        fakes.scanner(Scanner::noise("218.92.0.67".parse().unwrap(), "malicious", "unknown"));
        Vault { fakes, dir: private_dir() }
    }

    /// A file with the key.
    pub fn key_file(&self, mode: u32) -> PathBuf {
        let file = self.dir.join("greynoise.key");
        fs::write(&file, format!("{CANARY}\n")).unwrap();
        chmod(&file, mode);
        file
    }

    /// A program that is a shell script; the setting that names it.
    pub fn program(&self, name: &str, script: &str) -> String {
        let file = self.dir.join(name);
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        chmod(&file, 0o755);
        format!("{name}={}", file.display())
    }

    /// A cluster that asks the fakes, with the key where `reference` says, and all that it does in its log.
    pub fn cluster(&self, reference: &str, settings: &[(&str, &str)], env: &[(&str, &str)]) -> Cluster {
        let mut builder = Cluster::builder().conf("log_statement", "all");
        for (name, value) in self.fakes.settings() {
            builder = builder.conf(&name, &value);
        }
        builder = builder
            .conf("asn_inventory.cymru", "off")
            .conf("asn_inventory.absorb_interval", "50ms")
            .conf("asn_inventory.greynoise_api_key", reference);
        for (name, value) in settings {
            builder = builder.conf(name, value);
        }
        for (name, value) in env {
            builder = builder.env(name, value);
        }
        let cluster = builder.start();
        // Before that, at debug3 and below, PostgreSQL itself writes its whole environment into the log.
        cluster.set("log_min_messages", "debug5");
        cluster.sql(DB, "CREATE EXTENSION asn_inventory; CREATE ROLE alice LOGIN");
        cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
        cluster
    }

    /// The key works: GreyNoise, which wants it, has answered.
    pub fn assert_answers(&self, cluster: &Cluster) {
        observe(cluster, "218.92.0.67");
        let row = "SELECT greynoise_status || '|' || scanner_classification FROM ip_inventory WHERE ip_address = '218.92.0.67'";
        cluster.wait_value(DB, row, "found|malicious");
    }

    /// There is no key, and the log says once which reference failed, and why.
    pub fn assert_refused(&self, cluster: &Cluster, why: &str) {
        cluster.wait_value(DB, "SELECT state FROM source_status WHERE source = 'greynoise'", "no key");
        let said = format!("asn_inventory.greynoise_api_key cannot be resolved: {why}");
        cluster.wait_log(&said);
        assert_eq!(cluster.log().lines().filter(|line| line.contains(&said)).count(), 1);
        assert_eq!(self.fakes.count(Service::Greynoise), 0);
    }
}

/// A cluster with MaxMind's key where `reference` says, which downloads nothing by itself; its worker runs.
pub fn with_maxmind_key(reference: &str, settings: &[(&str, &str)]) -> Cluster {
    let mut builder = Cluster::builder()
        .conf("asn_inventory.maxmind_license_key", reference)
        .conf("asn_inventory.maxmind_update_schedule", "");
    for (name, value) in settings {
        builder = builder.conf(name, value);
    }
    let cluster = builder.start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory; CREATE ROLE alice LOGIN");
    cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    cluster
}

/// The doctor's finding of a check: level, detail, remedy.
pub fn said(cluster: &Cluster, check: &str) -> String {
    let sql = format!("SELECT level, detail, remedy FROM enrichment_doctor() WHERE check_name = '{check}'");
    cluster.lines(DB, &sql).join("\n")
}

/// Puts an address into the inventory.
pub fn observe(cluster: &Cluster, ip: &str) {
    cluster.sql(
        DB,
        &format!(
            "INSERT INTO ip_observation (address, seen, first_seen, last_seen) VALUES ('{ip}', 1, now(), now());
             SELECT absorb_observations()"
        ),
    );
}

/// Looks for the key in all places where it must not be readable.
pub fn assert_hidden(cluster: &Cluster) {
    assert_secret_is_hidden(cluster, CANARY);
    // An ordinary role does not even learn where the key stands.
    let mut alice = cluster.connect_as("alice", DB);
    assert!(alice.simple_query("SHOW asn_inventory.greynoise_api_key").is_err());
}

/// As [`assert_hidden`], for any secret.
pub fn assert_secret_is_hidden(cluster: &Cluster, secret: &str) {
    // The view of roles that monitor a server, or may read all data.
    cluster.sql(
        DB,
        "DO $$ BEGIN
            IF to_regrole('watcher') IS NULL THEN
                CREATE ROLE watcher LOGIN IN ROLE pg_monitor, pg_read_all_settings, pg_read_all_stats, pg_read_all_data;
            END IF;
         END $$",
    );
    let everything = [
        "SELECT s::text FROM pg_settings s",
        "SHOW ALL",
        "SELECT f::text FROM pg_file_settings f",
        "SELECT a::text FROM pg_stat_activity a",
        "SELECT s::text FROM source_status s",
        "SELECT s::text FROM enrichment_status s",
        "SELECT s::text FROM secret_references() s",
        "SELECT d::text FROM enrichment_doctor() d",
        "SELECT 'row', r::text FROM enrichment_run r UNION ALL SELECT 'row', 'of everybody'",
    ];
    let mut shown = 0;
    for role in ["postgres", "watcher", "alice"] {
        for sql in everything {
            let mut session = cluster.connect_as(role, DB);
            if let Ok(rows) = asn_inventory_tests::cluster::query(&mut session, sql) {
                let found = rows.iter().flatten().flatten().find(|text| text.contains(secret));
                assert_eq!(found, None, "{sql} as {role}");
                assert!(!rows.is_empty(), "{sql} as {role} shows nothing at all");
                shown += 1;
            }
        }
    }
    assert!(shown >= everything.len() + 3, "only {shown} of them could be read");

    assert!(!cluster.log().contains(secret), "the key is in the log");
    for (pid, line) in command_lines() {
        assert!(!line.contains(secret), "the key is in the command line of process {pid}");
    }
    // Nothing stays only in memory: the server writes all pending data.
    cluster.sql(DB, "CHECKPOINT");
    let mut files = 0;
    search(&cluster.data_dir(), secret, &mut files);
    assert!(files > 500, "only {files} files were searched");
}

/// Of all processes that run.
fn command_lines() -> Vec<(String, String)> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let lines = entries.filter_map(|entry| {
        let bytes = fs::read(entry.path().join("cmdline")).ok()?;
        Some((entry.file_name().to_string_lossy().into_owned(), String::from_utf8_lossy(&bytes).into_owned()))
    });
    lines.collect()
}

fn search(dir: &Path, secret: &str, files: &mut usize) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => search(&path, secret, files),
            Ok(kind) if kind.is_file() => {
                // A file that the server has removed since is gone with all that was in it.
                let bytes = fs::read(&path).unwrap_or_default();
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "the key is in {}", path.display());
                *files += 1;
            }
            _ => {}
        }
    }
}

/// Sets the file's permissions.
pub fn chmod(file: &Path, mode: u32) {
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
}
