//! No backtrace and no path of the build machine is shown, in every environment of the server.

use asn_inventory_tests::prelude::*;

const FOUND: [&str; 6] = ["stack backtrace", "   0: ", "__rustc", "rustc/", "/.cargo/", "core::panicking"];

#[test]
fn errors_and_panics_show_no_backtrace() {
    let cluster = Cluster::builder().env("RUST_BACKTRACE", "full").start();
    cluster.sql("postgres", "CREATE EXTENSION asn_inventory; CREATE TABLE events (ip inet)");
    // Declared with fewer columns than it has: a panic, as a bug would be.
    cluster.sql(
        "postgres",
        "CREATE FUNCTION broken(OUT a bigint, OUT b oid) LANGUAGE c AS '$libdir/asn_inventory', 'unobserved_statements'",
    );
    for (statement, code) in [
        ("SELECT attach_ip_source('events', '{no_such}')", "42703"),
        ("SELECT backfill_inventory(batch_size => 0)", "22023"),
        ("SELECT absorb_observations(-1)", "22023"),
        ("SELECT broken()", "XX000"),
    ] {
        let failure = cluster.fails("postgres", statement);
        assert_eq!(failure.code, code, "{failure:?}");
        let output = cluster.psql("postgres", &format!("\\set VERBOSITY verbose\n{statement}"));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        for found in FOUND {
            for told in [&failure.message, &failure.detail, &failure.hint, &text] {
                assert!(!told.contains(found), "{statement} tells {found:?}: {told}");
            }
        }
    }
    let log = cluster.log();
    for found in FOUND {
        assert!(!log.contains(found), "{found:?} in the log: {log}");
    }
    // The environment is unchanged, for other code in the process.
    cluster.wait_value("postgres", "SELECT worker FROM enrichment_status", "running");
    let pid = cluster.value("postgres", "SELECT worker_pid FROM enrichment_status");
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    assert!(!String::from_utf8_lossy(&environment).contains("RUST_LIB_BACKTRACE"));
}
