//! The sessions that block the worker.
//!
//! No view shows row locks: only a waiting session shows the holder, and the worker waits only half a second at a time,
//! so that it blocks no other session. If the worker cannot absorb, the doctor watches it long enough to see it wait.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pgrx::IntoDatum;
use pgrx::pg_sys;

use super::finding::{Finding, ask};
use crate::pg::argument;
use crate::pg::catalog::Schema;
use crate::pg::sql::Sql;
use crate::pg::time;
use crate::shared;

/// A session that blocks the worker is reported after this time (microseconds).
const HELD: i64 = 5_000_000;
/// How long it is watched: it tries once a second, and waits half of one.
const WATCH: Duration = Duration::from_millis(2500);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// The processes and prepared transactions that the worker waits for.
#[derive(Default)]
struct Seen {
    pids: Vec<i32>,
    gids: Vec<String>,
}

/// The check `locks`.
pub fn look(schema: &Schema) -> Vec<Finding> {
    let worker = shared::my_worker();
    let slot = shared::here();
    let held_since = slot.map(|slot| slot.held_since.load(Ordering::Relaxed)).filter(|since| *since != 0);
    let is_held = || slot.is_some_and(|slot| slot.held_since.load(Ordering::Relaxed) != 0);
    let seen = match (worker, held_since) {
        (Some(worker), Some(since)) if time::now() - since > HELD => watch(worker, is_held),
        _ => Seen::default(),
    };
    // The worker forgets who is through: without one, nothing says whose these processes are now.
    let restorers = slot.filter(|_| worker.is_some()).map(|slot| slot.restorers.all()).unwrap_or_default();
    let restoring = restorers.iter().map(|(pid, _)| *pid).collect();
    ask(
        schema,
        include_str!("locks.sql"),
        &[
            (pg_sys::INT4OID, worker.into_datum()),
            argument::maybe_moment(held_since),
            argument::integers(seen.pids),
            argument::texts(&seen.gids),
            argument::integers(restoring),
        ],
    )
}

/// Watches the worker until it is seen to wait, or goes on.
fn watch(worker: i32, is_held: impl Fn() -> bool) -> Seen {
    // A prepared transaction is not a process: `pg_blocking_pids` says 0 for it.
    const WAITS_FOR: &str = "
        SELECT b.pid, x.gid
        FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids($1)) b(pid)
        LEFT JOIN (SELECT p.gid FROM pg_catalog.pg_locks w JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = w.transactionid
                   WHERE w.pid = $1 AND NOT w.granted AND w.locktype = 'transactionid') x ON b.pid = 0
        WHERE b.pid <> 0 OR x.gid IS NOT NULL";
    let sql = Sql::as_caller();
    let started = Instant::now();
    let mut seen = Seen::default();
    while seen.pids.is_empty() && seen.gids.is_empty() && started.elapsed() < WATCH && is_held() {
        pgrx::check_for_interrupts!();
        let found = sql.query(WAITS_FOR, &[(pg_sys::INT4OID, worker.into_datum())]);
        for row in 0..found.len() {
            match found.text(row, 2) {
                Some(gid) => seen.gids.push(gid),
                None => seen.pids.extend(found.get::<i32>(row, 1)),
            }
        }
        drop(found);
        if seen.pids.is_empty() && seen.gids.is_empty() {
            std::thread::sleep(PAUSE);
        }
    }
    seen
}
