//! Shared memory: the counter that says "reopen the files", one slot a served database, one slot a running job.
//!
//! Only there with `shared_preload_libraries`; every accessor is an `Option` and everything works without. Plain
//! atomics: nothing here is held across a call into PostgreSQL, so an error can leave nothing locked. Slots are
//! claimed by compare-and-swap and change owner only by the rules written at each field.
//!
//! | file | what |
//! |---|---|
//! | [`block`] | the block: its request and its contents |
//! | [`database`] | the slot of a database |
//! | [`job`] | a running job |
//! | [`launcher`] | the launcher: its last turn, and the failures of the last imports of files |
//! | [`question`] | a session that waits for an address |
//! | [`source`] | the states of the network sources |
//! | [`trouble`], [`watched`] | failures, visible to all sessions |
//! | [`checks`] | whether the references of keys resolve |
//! | [`latency`] | how long sources take |
//! | [`restorers`] | sessions that load a dump |
//! | [`unobserved`] | statements whose rows were not observed |
//! | [`words`] | short texts |

mod block;
pub mod checks;
mod database;
mod job;
pub mod latency;
mod launcher;
pub mod question;
pub mod restorers;
pub mod source;
pub mod trouble;
pub mod unobserved;
pub mod watched;
pub mod words;

use std::ffi::c_int;

use pgrx::prelude::*;

pub use self::block::{
    bump_generation, bump_lists, drop_duplicate_databases, generation, here, launcher_runs, lists, request,
    set_launcher, share, shared, wake_launcher,
};
pub use self::database::{DATABASES, Database};
pub use self::job::{Done, HELPERS, JOBS, Job, kind, outcome, sources, state};
use crate::pg::process::in_recovery;
pub use crate::pg::process::{my_database, wake};

/// How long a worker may take to start.
const STARTING: std::time::Duration = std::time::Duration::from_secs(3);

/// The process id of this database's worker; `None` when there is none.
pub fn my_worker() -> Option<c_int> {
    here()?.living_worker()
}

/// The worker, for a function that can do nothing without it; raises the error that says so. One that is just being
/// started, after `CREATE EXTENSION` or a start of the server, is waited for a moment.
pub fn require_worker() -> c_int {
    let started = std::time::Instant::now();
    while launcher_runs() && my_worker().is_none() && started.elapsed() < STARTING {
        pgrx::check_for_interrupts!();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    my_worker().unwrap_or_else(|| {
        if shared().is_none() {
            crate::pg::errors::not_ready(
                "the asn_inventory worker is not running",
                "asn_inventory is not in shared_preload_libraries.",
                "Set shared_preload_libraries = 'asn_inventory' in postgresql.conf, beside what is there already, and restart the server.",
            );
        }
        if in_recovery() {
            crate::pg::errors::raise(
                PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
                "the asn_inventory worker does not run during recovery",
                "This server is a standby.",
                "Run this on the primary.",
            );
        }
        crate::pg::errors::not_ready(
            "the asn_inventory worker is not running",
            "No worker serves this database.",
            "Look at asn_inventory.databases, at max_worker_processes (one for the launcher, one a database, and asn_inventory.workers), and at the server's log.",
        )
    })
}
