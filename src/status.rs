//! What an operator asks first: does it run? `worker_status`, behind the view `enrichment_status`, and
//! `network_sources`, behind `source_status`.

use std::sync::atomic::Ordering;

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use crate::call::{self, Call, Rows};
use crate::worker::network::health;
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

sql_function!(
    /// `network_sources() → setof (source, state, …)`: how Team Cymru and GreyNoise stand, by this database's worker.
    network_sources,
    pg_finfo_network_sources,
    |call: Call| {
        let mut rows = Rows::begin(call);
        let slot = shared::shared().and_then(|shared| shared.database(shared::my_database()));
        let network = settings::network();
        let limits = [
            (network.cymru_rate, None, None),
            (network.greynoise_rate, Some(network.greynoise_quota), Some(network.greynoise_window.as_str())),
        ];
        for (at, (name, (rate, quota, window))) in ["cymru", "greynoise"].into_iter().zip(limits).enumerate() {
            let shown = slot.map(|slot| &slot.sources[at]);
            let state = shown.map_or(health::state::UNKNOWN, |shown| shown.state.load(Ordering::Relaxed));
            let moment = |of: fn(&health::Shown) -> i64| shown.map(of).filter(|at| *at != 0).map(Datum::from);
            let number = |of: fn(&health::Shown) -> i64| Some(Datum::from(shown.map_or(0, of)));
            rows.push(vec![
                Some(call::text(name)),
                Some(call::text(health::state::name(state))),
                moment(|shown| shown.succeeded_at.load(Ordering::Relaxed)),
                moment(|shown| shown.failed_at.load(Ordering::Relaxed)),
                shown.and_then(health::Shown::error).map(|error| call::text(&error)),
                moment(|shown| shown.retry_at.load(Ordering::Relaxed)),
                number(|shown| i64::from(shown.in_flight.load(Ordering::Relaxed))),
                number(|shown| shown.requests.load(Ordering::Relaxed) as i64),
                number(|shown| shown.errors.load(Ordering::Relaxed) as i64),
                Some(Datum::from(i64::from(rate))),
                quota.map(|quota| Datum::from(quota as i64)),
                window.map(call::text),
            ]);
        }
        call.null()
    }
);
