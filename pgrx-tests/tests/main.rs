//! All tests that need a server, in one program: it links once, and no core idles at the end of a file.

// Common code of several files.
mod backfill_support;
mod citus_support;
mod crash_support;
mod doctor_support;
mod download_support;
mod ingest_support;
mod maxmind_support;
mod network_support;
mod promtool_support;
mod secret_support;
mod upgrade_support;

// A file is about one thing.
mod analysis;
mod backfill_control;
mod backfill_obstacles;
mod backfill_results;
mod backtraces;
mod citus;
mod citus_changes;
mod citus_failover;
mod citus_files;
mod citus_inventory;
mod citus_status;
mod counter;
mod crash_absorb;
mod crash_backfill;
mod docs;
mod doctor;
mod doctor_files;
mod doctor_import;
mod doctor_keys;
mod doctor_locks;
mod doctor_objects;
mod doctor_rights;
mod doctor_sources;
mod doctor_tables;
mod dump;
mod enrich_ip;
mod fakes_self;
mod floors;
mod gauges;
mod harness_cluster;
mod harness_mmdb;
mod import_by_hand;
mod ingest_bad_input;
mod ingest_by_hand;
mod ingest_concurrent;
mod ingest_enabled;
mod ingest_family;
mod ingest_forbidden;
mod ingest_json_times;
mod ingest_mapped;
mod ingest_others;
mod ingest_packed;
mod ingest_partitions;
mod ingest_privileges;
mod ingest_rows;
mod ingest_selectors;
mod ingest_shapes;
mod ingest_tables;
mod ingest_unread;
mod ingest_zones;
mod lifecycle_database;
mod lifecycle_extension;
mod lifecycle_prepared;
mod lifecycle_setups;
mod lifecycle_template;
mod lookup_functions;
mod lookup_iana;
mod lookup_mmdb;
mod lookup_networks;
mod maxmind_cascade;
mod maxmind_disk;
mod maxmind_download;
mod maxmind_download_archives;
mod maxmind_download_failures;
mod maxmind_expiry;
mod maxmind_generation;
mod maxmind_hostile;
mod maxmind_import_killed;
mod maxmind_interrupted;
mod maxmind_list;
mod maxmind_lookup;
mod maxmind_networks;
mod maxmind_older;
mod maxmind_overlay;
mod maxmind_receive;
mod maxmind_refusal;
mod maxmind_roles;
mod maxmind_schedule;
mod maxmind_stopped;
mod maxmind_store;
mod metrics;
mod mmdb_roles;
mod monitoring;
mod network_cascade;
mod network_crash;
mod network_cymru_bulk;
mod network_cymru_dns;
mod network_cymru_routes;
mod network_greynoise;
mod network_history;
mod network_large_refresh;
mod network_leave;
mod network_promises;
mod network_quota;
mod network_refresh;
mod populate_later;
mod populate_rights;
mod queue_columns;
mod queue_length;
mod refresh;
mod reload;
mod replication;
mod report;
mod roles;
mod runbook;
mod secrets;
mod secrets_maxmind;
mod secrets_vault;
mod security_bindings;
mod security_worker;
mod settings;
mod smoke;
mod sql_objects;
mod standby;
mod status;
mod take_back;
mod timescaledb;
mod upgrade;
mod upgrade_dump;
mod upgrade_editions;
mod upgrade_held;
mod upgrade_load;
mod upgrade_major;
mod upgrade_waiting;
mod walk;

/// A file that is not named above would never run.
#[test]
fn every_file_of_tests_is_part_of_this_program() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let named = include_str!("main.rs");
    for entry in std::fs::read_dir(here).expect("the directory of the tests") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        let module = name.trim_end_matches(".rs");
        assert!(
            ["main", "fakes_self"].contains(&module) || named.contains(&format!("\nmod {module};\n")),
            "{name} is in no `mod` of tests/main.rs"
        );
    }
}
mod worker_errors;
