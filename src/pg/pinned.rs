//! Settings that our processes fix, against values of the database, the role or both: `ALTER DATABASE … SET` reaches
//! background workers too, and one careless line must not stop or slow them.
//!
//! The server's own settings of logging, statistics and messages stay.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::tx;
use super::tx::Failure;

/// Names and values. Those that this version of PostgreSQL does not know are passed over.
const PINNED: [(&CStr, &CStr); 76] = [
    // Its role, and the objects that it sees.
    (c"role", c"none"),
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"row_security", c"off"),
    // No trigger or rule fires but our own: see `tx::Settings::without_triggers`.
    (c"session_replication_role", c"replica"),
    // An error ends its transaction, not the process.
    (c"exit_on_error", c"off"),
    // How long a statement, a transaction or a lock may take. Each batch bounds itself.
    (c"statement_timeout", c"0"),
    (c"transaction_timeout", c"0"),
    (c"idle_in_transaction_session_timeout", c"0"),
    (c"idle_session_timeout", c"0"),
    (c"lock_timeout", c"500ms"),
    (c"deadlock_timeout", c"1s"),
    // The properties of transactions.
    (c"default_transaction_isolation", c"read committed"),
    (c"default_transaction_read_only", c"off"),
    (c"default_transaction_deferrable", c"off"),
    // Work that is not flushed at a crash is done again: queue and inventory change together. But see `tx::commit_for_good`.
    (c"synchronous_commit", c"off"),
    // Rows are fetched by their place or address and joined with a batch by hash. A query that reads a whole table says
    // so (`tx::read_everything`); no other does, even under old statistics.
    (c"enable_seqscan", c"off"),
    (c"enable_hashjoin", c"on"),
    (c"enable_mergejoin", c"off"),
    (c"enable_nestloop", c"on"),
    (c"enable_indexscan", c"on"),
    (c"enable_indexonlyscan", c"on"),
    (c"enable_bitmapscan", c"on"),
    (c"enable_tidscan", c"on"),
    (c"enable_sort", c"on"),
    (c"enable_incremental_sort", c"on"),
    (c"enable_hashagg", c"on"),
    (c"enable_material", c"on"),
    (c"enable_memoize", c"on"),
    (c"seq_page_cost", c"1"),
    (c"random_page_cost", c"4"),
    (c"cpu_tuple_cost", c"0.01"),
    (c"cpu_index_tuple_cost", c"0.005"),
    (c"cpu_operator_cost", c"0.0025"),
    (c"parallel_setup_cost", c"1000"),
    (c"parallel_tuple_cost", c"0.1"),
    (c"min_parallel_table_scan_size", c"8MB"),
    (c"min_parallel_index_scan_size", c"512kB"),
    (c"effective_cache_size", c"4GB"),
    (c"cursor_tuple_fraction", c"0.1"),
    (c"from_collapse_limit", c"8"),
    (c"join_collapse_limit", c"8"),
    (c"constraint_exclusion", c"partition"),
    (c"plan_cache_mode", c"auto"),
    (c"recursive_worktable_factor", c"10"),
    (c"geqo", c"on"),
    (c"geqo_threshold", c"12"),
    (c"jit", c"off"),
    (c"force_parallel_mode", c"off"),
    (c"debug_parallel_query", c"off"),
    (c"parallel_leader_participation", c"on"),
    (c"max_parallel_workers_per_gather", c"2"),
    // Memory and disk.
    (c"work_mem", c"16MB"),
    (c"hash_mem_multiplier", c"2"),
    (c"temp_file_limit", c"-1"),
    (c"temp_tablespaces", c""),
    (c"default_tablespace", c""),
    // How values are read and written as text.
    (c"DateStyle", c"ISO, MDY"),
    (c"IntervalStyle", c"postgres"),
    (c"extra_float_digits", c"1"),
    (c"bytea_output", c"hex"),
    (c"array_nulls", c"on"),
    (c"quote_all_identifiers", c"off"),
    (c"standard_conforming_strings", c"on"),
    (c"backslash_quote", c"safe_encoding"),
    (c"transform_null_equals", c"off"),
    (c"lc_numeric", c"C"),
    (c"lc_time", c"C"),
    // Checks that must stay on.
    (c"zero_damaged_pages", c"off"),
    (c"ignore_checksum_failure", c"off"),
    (c"allow_system_table_mods", c"off"),
    (c"check_function_bodies", c"on"),
    (c"event_triggers", c"on"),
    // Autovacuum needs the counts, an operator needs the reports.
    (c"track_counts", c"on"),
    (c"track_activities", c"on"),
    (c"vacuum_cost_delay", c"0"),
    (c"client_min_messages", c"notice"),
];

/// The depth of the stack: the largest of these that the server's `ulimit -s` leaves room for. The first is PostgreSQL's default.
const STACK: (&CStr, [&CStr; 5]) = (c"max_stack_depth", [c"2MB", c"1536kB", c"1MB", c"512kB", c"256kB"]);

/// Pins them. Outside of any transaction, right after connecting. One that is refused leaves the others pinned.
pub fn pin() {
    // These first: a transaction that is serializable, read-only and deferrable waits at its begin for all others.
    for (name, value) in PINNED.iter().filter(|(name, _)| name.to_bytes().starts_with(b"default_transaction_")) {
        set(name, value);
    }
    let result = tx::run(|| {
        let mut refused = Vec::new();
        refused.extend(tx::attempt(be_ourselves).err().map(|failure| of(c"session_authorization", &failure)));
        for (name, value) in PINNED.iter().filter(|(name, _)| is_known(name)) {
            refused.extend(tx::attempt(|| set(name, value)).err().map(|failure| of(name, &failure)));
        }
        let (name, values) = STACK;
        let mut deepest = Ok(());
        for value in values {
            deepest = tx::attempt(|| set(name, value));
            if deepest.is_ok() {
                break;
            }
        }
        refused.extend(deepest.err().map(|failure| of(name, &failure)));
        refused
    });
    let refused = result.unwrap_or_else(|failure| vec![failure.message]);
    if !refused.is_empty() {
        pgrx::warning!("asn_inventory: a setting of this process cannot be pinned: {}", refused.join("; "));
    }
}

fn of(name: &CStr, failure: &Failure) -> String {
    format!("{}: {}", name.to_string_lossy(), failure.message)
}

/// The superuser that the process connected as, even if the database sets `session_authorization`.
fn be_ourselves() {
    // SAFETY: reads who the session is and is authenticated as; the name is copied by the setting.
    unsafe {
        if pg_sys::GetSessionUserId() != pg_sys::GetAuthenticatedUserId() {
            let name = pg_sys::GetUserNameFromId(pg_sys::GetAuthenticatedUserId(), false);
            set(c"session_authorization", CStr::from_ptr(name));
        }
    }
}

fn is_known(name: &CStr) -> bool {
    // SAFETY: a NUL-terminated name; an unknown one is not an error here.
    unsafe { !pg_sys::GetConfigOption(name.as_ptr(), true, false).is_null() }
}

fn set(name: &CStr, value: &CStr) {
    // SAFETY: NUL-terminated; the value is copied.
    unsafe {
        pg_sys::SetConfigOption(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_OVERRIDE,
        );
    }
}
