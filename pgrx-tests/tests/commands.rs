//! The commands for people, where no clone of a developer is: an archive, a path with a space, a machine after a reboot, root
//! without a compiler; and the first start of the image. The scripts check themselves; each is a test here.

use asn_inventory_tests::cluster::program;
use asn_inventory_tests::prelude::*;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout").to_owned()
}

/// Where the programs of the PostgreSQL under test are.
fn bin() -> PathBuf {
    Path::new(program("postgres").get_program()).parent().expect("a directory").to_owned()
}

/// A script, with that PostgreSQL.
fn script(name: &str) -> Command {
    let mut command = Command::new(root().join("scripts").join(name));
    command.current_dir(root()).env("PG_BIN", bin()).env_remove("PG_CONFIG").env_remove("MAKEFLAGS");
    command
}

fn succeeds(command: &mut Command) -> String {
    let output = command.output().expect("the script runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

fn passes(test: &str) {
    succeeds(script("test-scripts.sh").arg(test));
}

#[test]
fn the_demo_ends_after_a_reboot_and_signals_no_other_process() {
    passes("demo_after_reboot");
}

#[test]
fn the_demo_stops_its_server_before_it_removes_the_files() {
    passes("demo_ends_its_server");
}

#[test]
fn clean_leaves_nothing_that_was_built() {
    passes("clean_leaves_tools_only");
}

#[test]
fn the_client_of_pgxn_finds_its_targets_and_a_script() {
    passes("targets_of_pgxn");
}

#[test]
fn a_build_is_installed_without_a_compiler_and_removed_again() {
    passes("install_of_a_build");
}

#[test]
fn missing_headers_are_named() {
    passes("headers_are_named");
}

#[test]
fn a_space_in_the_path_splits_no_option() {
    passes("spaces_in_the_path");
}

#[test]
fn licences_are_found_where_two_registries_are() {
    passes("licences_with_two_registries");
}

/// `make installcheck`, beside a worker and without one.
#[test]
fn an_installation_is_checked_in_a_running_server() {
    for preload in [true, false] {
        let cluster = Cluster::builder().preload(preload).start();
        let path = format!("{}:{}", bin().display(), std::env::var("PATH").expect("a path"));
        let mut check = script("installcheck.sh");
        check.env("PGHOST", cluster.socket_dir()).env("PGUSER", "postgres").env("PATH", path).env_remove("PGPORT");
        let said = succeeds(&mut check);
        assert!(said.contains("ok: its trigger counts"), "{said}");
        let left = "SELECT count(*) FROM pg_database WHERE datname LIKE '%installcheck%'";
        assert_eq!(cluster.value("postgres", left), "0");
    }
}

/// Of `docker/entrypoint.sh`, without a Docker engine.
#[test]
fn an_interrupted_first_start_of_the_image_begins_again() {
    let said = succeeds(&mut script("test-entrypoint.sh"));
    assert!(said.contains("after a stop in the first start, the next one makes the whole cluster"), "{said}");
}
