//! Tests that need an extension which is not everywhere: Citus, TimescaleDB, postgres_fdw, citext, amcheck, or what only
//! newer versions of PostgreSQL have. They run where the one under test has it. Where it has not, that is written down, and
//! `make test` says at its end how many ran and how many did not.

use crate::cluster::target_dir;
use std::fs::OpenOptions;
use std::io::Write;
use std::process::Command;

/// Whether the PostgreSQL under test has an extension. Writes down which test asked.
///
/// # Panics
/// When the installation cannot say where its files are.
#[must_use]
pub fn has(extension: &str, test: &str) -> bool {
    let control = share_dir().join("extension").join(format!("{extension}.control"));
    note(extension, test, control.exists())
}

/// Writes down whether `test` runs: the PostgreSQL under test `has` what it is about, or has not.
///
/// # Panics
/// When it cannot be written.
#[must_use]
pub fn note(what: &str, test: &str, has: bool) -> bool {
    let line = format!("{what} {} {test}\n", if has { "ran" } else { "not-run" });
    let log = OpenOptions::new().create(true).append(true).open(target_dir().join("needs.log"));
    if let Err(error) = log.and_then(|mut log| log.write_all(line.as_bytes())) {
        panic!("needs.log: {error}");
    }
    if !has {
        eprintln!("not run: {test}: this PostgreSQL has no {what}");
    }
    has
}

fn share_dir() -> std::path::PathBuf {
    let mut command = crate::cluster::program("pg_config");
    let output: std::process::Output = Command::output(command.arg("--sharedir")).expect("pg_config starts");
    assert!(output.status.success(), "pg_config: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().into()
}
