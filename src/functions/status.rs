//! The operator's first question: is it running? `_worker_status`, behind the view `enrichment_status`,
//! `_network_sources`, `_quota_ledger` and `_mmdb_import`, behind `source_status`, `worker_errors`, and `secret_references`, with [`references`] for `enrichment_doctor`.

pub mod queue;
pub mod updates;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use enrich::latency::{BUCKETS, quantile};
use enrich::source::Source;
use pgrx::pg_sys::Datum;

use crate::pg::call;
use crate::pg::call::{Call, Rows};
use crate::pg::process;
use crate::pg::time;
use crate::shared::checks;
use crate::shared::checks::found;
use crate::shared::latency;
use crate::shared::source;
use crate::shared::trouble::{Failing, WORKS};
use crate::{settings, shared, sql_function};

/// How long the worker may take to look references up: programs that resolve them have a limit of ten seconds each.
const LOOK_UP: Duration = Duration::from_secs(25);

sql_function!(
    /// `_worker_status() → (enabled, worker, worker_pid, last_absorb_at, absorbed, waiting_since, lookups, cache_hits,
    /// cache_misses)`.
    worker_status,
    pg_finfo_worker_status,
    |call: Call| {
        let worker = shared::my_worker();
        let slot = shared::here();
        let absorbed_at = slot.map_or(0, |slot| slot.absorbed_at.load(Ordering::Relaxed));
        let word = match (worker, shared::shared(), process::in_recovery()) {
            (_, None, _) => "not preloaded",
            (_, _, true) => "standby",
            (Some(_), ..) => "running",
            _ => "not running",
        };
        let count = |of: fn(&shared::Database) -> &AtomicU64| {
            Datum::from(slot.map_or(0, |slot| of(slot).load(Ordering::Relaxed)) as i64)
        };
        let waiting_since = slot.map_or(0, |slot| slot.waiting_since.load(Ordering::Relaxed));
        let mut values = [
            // Off on the server the worker rests, whatever is observed.
            Datum::from(settings::enabled() && settings::enabled_on_server()),
            call::text(word),
            Datum::from(worker.unwrap_or(0)),
            Datum::from(absorbed_at),
            count(|slot| &slot.absorbed),
            Datum::from(waiting_since),
            count(|slot| &slot.lookups),
            count(|slot| &slot.cache_hits),
            count(|slot| &slot.cache_misses),
        ];
        let mut nulls =
            [false, false, worker.is_none(), absorbed_at == 0, false, waiting_since == 0, false, false, false];
        call.row(&mut values, &mut nulls)
    }
);

sql_function!(
    /// `_network_sources() → setof (source, state, …)`: how Team Cymru and GreyNoise stand, by this database's worker.
    network_sources,
    pg_finfo_network_sources,
    |call: Call| {
        let mut rows = Rows::begin(call);
        let slot = shared::here();
        // What a worker showed that has ended says nothing of now; what it counted stays.
        let is_served = slot.is_some_and(|slot| slot.living_worker().is_some());
        let network = settings::network();
        let limits = [
            (network.cymru_rate, None, None),
            (network.greynoise_rate, Some(network.greynoise_quota), Some(network.greynoise_window.as_str())),
        ];
        for (of, (rate, quota, window)) in Source::NETWORK.into_iter().zip(limits) {
            let shown = slot.and_then(|slot| source::of(&slot.sources, of));
            let standing = shown.filter(|_| is_served);
            let state = standing.map_or(source::state::UNKNOWN, |shown| shown.state.load(Ordering::Relaxed));
            let retry_at = standing.map_or(0, |shown| shown.retry_at.load(Ordering::Relaxed));
            let in_flight = standing.map_or(0, |shown| shown.in_flight.load(Ordering::Relaxed));
            let moment = |of: fn(&source::Shown) -> i64| shown.map(of).filter(|at| *at != 0).map(Datum::from);
            let number = |of: fn(&source::Shown) -> i64| Some(Datum::from(shown.map_or(0, of)));
            let elsewhere = standing.map_or(0, |shown| shown.elsewhere.load(Ordering::Relaxed));
            // Where another node asks, this one may spend nothing.
            let spends = state != source::state::ELSEWHERE;
            rows.row(|| vec![
                Some(call::text(of.as_str())),
                Some(call::text(source::state::name(state))),
                moment(|shown| shown.succeeded_at.load(Ordering::Relaxed)),
                moment(|shown| shown.failed_at.load(Ordering::Relaxed)),
                shown.and_then(source::Shown::error).map(|error| call::text(&error)),
                (retry_at != 0).then(|| Datum::from(retry_at)),
                Some(Datum::from(i64::from(in_flight))),
                number(|shown| shown.requests.load(Ordering::Relaxed) as i64),
                number(|shown| shown.errors.load(Ordering::Relaxed) as i64),
                Some(Datum::from(i64::from(rate))),
                quota.filter(|_| spends).map(|quota| Datum::from(quota.saturating_sub(elsewhere) as i64)),
                window.filter(|_| spends).map(call::text),
            ]);
        }
        call.null()
    }
);

sql_function!(
    /// `_quota_ledger() → setof (source, window_start, used, closed_until)`: the ledger of GreyNoise's quota as the worker has it.
    /// No row: none has read it yet, and the table says it.
    quota_ledger,
    pg_finfo_quota_ledger,
    |call: Call| {
        let mut rows = Rows::begin(call);
        let slot = shared::here().filter(|slot| slot.living_worker().is_some());
        let shown = slot.and_then(|slot| source::of(&slot.sources, Source::GreyNoise));
        if let Some((window_start, used, closed_until)) = shown.and_then(source::Shown::ledger) {
            rows.row(|| vec![
                Some(call::text(Source::GreyNoise.as_str())),
                Some(Datum::from(window_start)),
                Some(Datum::from(used as i64)),
                (closed_until != 0).then(|| Datum::from(closed_until)),
            ]);
        }
        call.null()
    }
);

sql_function!(
    /// `_cymru_ways() → setof (way, failing, retry_at, last_error)`: how the two ways to Team Cymru stand.
    cymru_ways,
    pg_finfo_cymru_ways,
    |call: Call| {
        let mut rows = Rows::begin(call);
        let slot = shared::here().filter(|slot| slot.living_worker().is_some());
        for (at, name) in source::way::NAMES.into_iter().enumerate() {
            let (failing, retry_at, error) = slot.map_or((false, 0, None), |slot| slot.ways[at].read());
            rows.row(|| vec![
                Some(call::text(name)),
                Some(Datum::from(failing)),
                (retry_at != 0).then(|| Datum::from(retry_at)),
                error.map(|error| call::text(&error)),
            ]);
        }
        call.null()
    }
);

sql_function!(
    /// `worker_errors() → setof (work, since, last_error_at, sqlstate, last_error)`: the failures of the database's
    /// processes, the latest first.
    worker_errors,
    pg_finfo_worker_errors,
    |call: Call| {
        let mut rows = Rows::begin(call);
        let slot = shared::here();
        let mut failing: Vec<(&str, Failing)> = slot
            .into_iter()
            .flat_map(|slot| WORKS.iter().filter_map(|(work, _, what)| Some((*what, slot.troubles.of(*work).failing()?))))
            .collect();
        failing.sort_by_key(|(_, failing)| std::cmp::Reverse(failing.at));
        for (what, failing) in failing {
            rows.row(|| vec![
                Some(call::text(what)),
                Some(Datum::from(failing.since)),
                Some(Datum::from(failing.at)),
                Some(call::text(&failing.sqlstate())),
                Some(call::text(&failing.message)),
            ]);
        }
        call.null()
    }
);

sql_function!(
    /// `_mmdb_import() → setof (since, last_error_at, sqlstate, last_error)`: the failure of the last import of mmdb files,
    /// if it failed.
    mmdb_import,
    pg_finfo_mmdb_import,
    |call: Call| {
        let mut rows = Rows::begin(call);
        if let Some(failing) = shared::shared().and_then(|shared| shared.launcher.import.failing()) {
            rows.row(|| vec![
                Some(Datum::from(failing.since)),
                Some(Datum::from(failing.at)),
                Some(call::text(&failing.sqlstate())),
                Some(call::text(&failing.message)),
            ]);
        }
        call.null()
    }
);

sql_function!(
    /// `_source_latency() → setof (source, timed, p50_ms, p95_ms, p99_ms)`: how long the sources take to answer.
    source_latency,
    pg_finfo_source_latency,
    |call: Call| {
        let mut rows = Rows::begin(call);
        let slot = shared::here();
        for (at, source) in latency::SOURCES.into_iter().enumerate() {
            let counts = slot.map_or([0; BUCKETS], |slot| slot.latency[at].read().0);
            let ms = |q| quantile(&counts, q).map(|took| Datum::from((took.as_nanos() as f64 / 1e6).to_bits()));
            let timed: u64 = counts.iter().sum();
            rows.row(|| vec![
                Some(call::text(source)),
                Some(Datum::from(timed as i64)),
                ms(0.5),
                ms(0.95),
                ms(0.99),
            ]);
        }
        call.null()
    }
);

sql_function!(
    /// `secret_references() → setof (setting, state, detail)`: whether the references of keys resolve. For roles that
    /// may read the settings, the worker looks them up now; other roles see the result of the last look, see no
    /// reference, and start no program.
    secret_references,
    pg_finfo_secret_references,
    |call: Call| {
        let mut rows = Rows::begin(call);
        for Reference { setting, state, detail } in references(LOOK_UP) {
            rows.row(|| vec![
                Some(call::text(setting)),
                Some(call::text(found::name(state))),
                Some(call::text(&detail)),
            ]);
        }
        call.null()
    }
);

/// What is known of the reference of a key.
pub struct Reference {
    /// The setting that holds it.
    pub setting: &'static str,
    /// See [`found`].
    pub state: u32,
    /// For people; see [`secret_references`].
    pub detail: String,
}

/// Of each key. The worker's look is waited for that long, where the caller may have it; after that, what was known before is told.
pub fn references(patience: Duration) -> Vec<Reference> {
    let slot = shared::here();
    let slot = slot.filter(|slot| slot.living_worker().is_some());
    let may_know = settings::may_read_secret_settings();
    let answered = may_know && slot.is_some_and(|slot| look_up(slot, patience));
    let late = slot.filter(|_| !answered).and_then(late_since);
    let reference = |(at, setting): (usize, &'static str)| {
        let key = slot.map(|slot| &slot.checks.keys[at]);
        let state = key.map_or(found::UNKNOWN, |key| key.found.load(Ordering::Relaxed));
        let (state, detail) = match key {
            None => (state, "no worker is running to look it up".to_owned()),
            Some(key) if answered => (state, key.detail.read().unwrap_or_default()),
            Some(key) if may_know => {
                let known = key.detail.read().filter(|detail| !detail.is_empty());
                let known = known.unwrap_or_else(|| found::last_time(state).to_owned());
                match (late, state) {
                    (None, found::UNKNOWN) => (state, "the worker has not looked it up yet".to_owned()),
                    (None, _) => (state, format!("{known} (last known; the worker is looking it up)")),
                    (Some(since), found::UNKNOWN) => (found::LATE, not_since(since)),
                    (Some(since), _) => (found::LATE, format!("{}; last known: {known}", not_since(since))),
                }
            }
            Some(_) => (state, found::last_time(state).to_owned()),
        };
        Reference { setting, state, detail }
    };
    checks::SETTINGS.into_iter().enumerate().map(reference).collect()
}

/// Since when the worker owes an answer, where it has done so for longer than that takes, or does nothing at all.
fn late_since(slot: &shared::Database) -> Option<i64> {
    let asked_at = slot.checks.asked_at.load(Ordering::Relaxed);
    let is_late = Duration::from_micros(u64::try_from(time::now() - asked_at).unwrap_or(0)) >= LOOK_UP;
    (is_late || slot.worker_hangs_since().is_some()).then_some(asked_at)
}

fn not_since(asked_at: i64) -> String {
    format!("the worker has not looked it up since it was asked to at {}", time::text(time::to_unix_us(asked_at)))
}

/// Lets the worker look the references up, and waits for it, unless it stands still. False: it did not in time.
fn look_up(slot: &shared::Database, patience: Duration) -> bool {
    let number = slot.checks.ask(time::now());
    let started = Instant::now();
    shared::wake(slot.worker.load(Ordering::Acquire));
    while !slot.checks.answered(number) {
        if started.elapsed() > patience || slot.living_worker().is_none() || slot.worker_hangs_since().is_some() {
            return false;
        }
        pgrx::check_for_interrupts!();
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}
