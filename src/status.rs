//! What an operator asks first: does it run? `worker_status`, behind the view `enrichment_status`.

use std::sync::atomic::Ordering;

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use crate::call::{self, Call};
use crate::{settings, shared, sql_function};

sql_function!(
    /// `worker_status() → (enabled, worker, worker_pid, last_absorb_at, absorbed)`.
    worker_status,
    pg_finfo_worker_status,
    |call: Call| {
        let worker = shared::my_worker();
        let slot = shared::shared().and_then(|shared| shared.database(shared::my_database()));
        let absorbed_at = slot.map_or(0, |slot| slot.absorbed_at.load(Ordering::Relaxed));
        // SAFETY: reads a variable of the server.
        let word = match (worker, shared::shared(), unsafe { pg_sys::RecoveryInProgress() }) {
            (_, None, _) => "not preloaded",
            (_, _, true) => "standby",
            (Some(_), ..) => "running",
            _ => "not running",
        };
        let absorbed = slot.map_or(0, |slot| slot.absorbed.load(Ordering::Relaxed));
        let mut values = [
            Datum::from(settings::enabled()),
            call::text(word),
            Datum::from(worker.unwrap_or(0)),
            Datum::from(absorbed_at),
            Datum::from(absorbed as i64),
        ];
        let mut nulls = [false, false, worker.is_none(), absorbed_at == 0, false];
        call.row(&mut values, &mut nulls)
    }
);
