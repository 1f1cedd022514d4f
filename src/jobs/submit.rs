//! The caller's side of jobs: `backfill_inventory`, `refresh_stale`, `refresh_range`, `update_maxmind`, and the jobs that
//! the worker gives itself.

use std::ffi::CStr;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use pgrx::prelude::*;

use super::claim::{Held, claim, fill};
use super::end::release;
use super::everywhere;
use super::list;
use super::progress::running;
use super::request::{Ips, Request, wanted};
use super::summary::summary;
use super::wait::wait;
use crate::files::maxmind;
use crate::inventory::{fold, known, runs};
use crate::pg::call::Call;
use crate::pg::catalog;
use crate::pg::catalog::{Schema, Turn, quote_literal};
use crate::pg::errors::{bad_value, not_ready, raise};
use crate::pg::glance::glance;
use crate::pg::inet::Inet;
use crate::pg::patience;
use crate::pg::session;
use crate::pg::time;
use crate::shared;
use crate::shared::{Job, kind, outcome, sources, state};
use crate::sql_function;

sql_function!(
    /// `backfill_inventory(batch_size, commit_interval, max_ips, workers, ips, wait) → enrichment_summary`.
    backfill_inventory,
    pg_finfo_backfill_inventory,
    |call: Call| {
        let number = |index: usize, name: &str, default: i32, max: i32| {
            let value = call.get::<i32>(index).unwrap_or(default);
            if !(1..=max).contains(&value) {
                bad_value(format!("{name} cannot be {value}"), &format!("It is a number from 1 to {max}."), "");
            }
            value as u32
        };
        let max_ips = call.get::<i64>(2);
        if max_ips.is_some_and(|n| n < 1) {
            bad_value("max_ips must be positive", "", "Null is no limit.");
        }
        let request = Request {
            batch_size: number(0, "batch_size", 1000, 100_000),
            commit_interval: number(1, "commit_interval", 5000, 1_000_000),
            max_ips: max_ips.unwrap_or(0) as u64,
            workers: number(3, "workers", 4, shared::HELPERS as i32),
            ips: call
                .inets(4)
                .map(|ips| Ips::Named(hosts(ips))),
            wait: call.get::<bool>(5).unwrap_or(true),
            kind: kind::BACKFILL,
            adds: true,
            stale_before: i64::MIN,
            sources: sources::MAXMIND,
        };
        let [size, interval, workers] = [request.batch_size, request.commit_interval, request.workers];
        let wait = request.wait;
        spread(call, request, || format!("_backfill_here({size}, {interval}, {workers}, {wait})"))
    }
);

sql_function!(
    /// `_backfill_here(batch_size, commit_interval, workers, wait) → enrichment_summary`: what
    /// `backfill_inventory` has each node of a cluster do.
    backfill_here,
    pg_finfo_backfill_here,
    |call: Call| {
        let number = |index: usize, max: i32| call.get::<i32>(index).unwrap_or(1).clamp(1, max) as u32;
        let request = Request {
            batch_size: number(0, 100_000),
            commit_interval: number(1, 1_000_000),
            workers: number(2, shared::HELPERS as i32),
            wait: call.get::<bool>(3).unwrap_or(true),
            kind: kind::BACKFILL,
            adds: true,
            ..Request::refresh()
        };
        refuse_own_locks(&Schema::of(call), &request);
        submit(call, request)
    }
);

sql_function!(
    /// `refresh_stale(source, n, wait) → enrichment_summary`.
    refresh_stale,
    pg_finfo_refresh_stale,
    |call: Call| {
        let sources = wanted(&Schema::of(call), call.text(0));
        let n = call.get::<i32>(1).unwrap_or(1000);
        if n < 1 {
            bad_value(format!("n cannot be {n}"), "It is how many addresses to refresh at most: 1 or more.", "");
        }
        let request = Request {
            max_ips: n as u64,
            wait: call.get::<bool>(2).unwrap_or(true),
            stale_before: maxmind::with(maxmind::stale_before),
            sources,
            ..Request::refresh()
        };
        let (name, wait) = (quote_literal(&call.text(0).unwrap_or_default()), request.wait);
        spread(call, request, || format!("refresh_stale({name}, {n}, {wait})"))
    }
);

sql_function!(
    /// `refresh_range(range, source, wait) → enrichment_summary`.
    refresh_range,
    pg_finfo_refresh_range,
    |call: Call| {
        let sources = wanted(&Schema::of(call), call.text(1)) | sources::ANEW;
        let Some(range) = call.get::<Inet>(0).map(fold::kept_range) else { bad_value("refresh_range needs a range", "range is null.", "Write 203.0.113.0/24.") };
        let request = Request {
            ips: Some(Ips::Within(range)),
            wait: call.get::<bool>(2).unwrap_or(true),
            // Fresh or not: all rows answered before this moment.
            stale_before: time::now(),
            sources,
            ..Request::refresh()
        };
        let (name, wait) = (quote_literal(&call.text(1).unwrap_or_default()), request.wait);
        spread(call, request, || format!("refresh_range('{}/{}', {name}, {wait})", range.ip, range.bits))
    }
);

sql_function!(
    /// `update_maxmind(force) → bigint`: the number of the job.
    update_maxmind,
    pg_finfo_update_maxmind,
    |call: Call| {
        let anew = if call.get::<bool>(0).unwrap_or(false) { sources::ANEW } else { 0 };
        let request = Request { kind: kind::UPDATE, sources: anew, wait: false, ..Request::refresh() };
        call.give(start(call, request).map(Datum::from))
    }
);

fn hosts(ips: Vec<Inet>) -> Vec<IpAddr> {
    ips.into_iter()
        .map(|inet| {
            if inet.is_network() {
                bad_value(
                    format!("\"{}/{}\" is a network, not a host address", inet.ip, inet.bits),
                    "ips is a list of host addresses.",
                    "Leave the networks out, or name their addresses.",
                );
            }
            inet.ip
        })
        .collect()
}

/// Submits a job where it belongs: `elsewhere` is the call by which another node does it.
fn spread(call: Call, request: Request, elsewhere: impl FnOnce() -> String) -> Datum {
    let schema = Schema::of(call);
    refuse_own_locks(&schema, &request);
    match everywhere::place(&schema, &request) {
        Some(which) => everywhere::run(call, &schema, which, &elsewhere()),
        None => submit(call, request),
    }
}

/// Modes of locks that keep others from writing to a table.
const WHOLE: [u32; 4] =
    [pg_sys::ShareLock, pg_sys::ShareRowExclusiveLock, pg_sys::ExclusiveLock, pg_sys::AccessExclusiveLock];
/// Modes of those who have locked or written rows.
const ROWS: [u32; 2] = [pg_sys::RowShareLock, pg_sys::RowExclusiveLock];

/// Refuses a job whose caller waits for it and keeps it from what it writes: it would wait for the caller without end, and no
/// deadlock would be seen. Answers of network sources wait for rows, too.
fn refuse_own_locks(schema: &Schema, request: &Request) {
    if !request.wait {
        return;
    }
    let asks = |bits: u32| request.sources & bits != 0;
    let network = asks(sources::CYMRU | sources::GREYNOISE);
    let tables = [
        (true, c"ip_inventory", "ip_inventory"),
        (true, c"ip_asn_history", "ip_asn_history"),
        (true, c"enrichment_run", "enrichment_run"),
        (asks(sources::CYMRU), c"cymru_prefix", "cymru_prefix"),
        (asks(sources::GREYNOISE), c"source_quota", "source_quota"),
    ];
    let holds = |table: &CStr, modes: &[u32]| patience::has_locked(schema.relation(table), modes);
    let held = tables.into_iter().find(|&(needed, table, _)| needed && holds(table, &WHOLE)).map(|(.., name)| name);
    let has_rows = || network && session::transaction_if_any().is_some() && holds(c"ip_inventory", &ROWS);
    if let Some(table) = held.or_else(|| has_rows().then_some("ip_inventory")) {
        not_ready(
            format!("this transaction holds a lock on {table} that the job needs"),
            "Each would wait for the other.",
            "Commit first, or call it with wait => false.",
        );
    }
}

fn submit(call: Call, request: Request) -> Datum {
    let waits = request.wait;
    let Some(id) = start(call, request) else { return call.null() };
    let Some(job) = running().find(|job| waits && job.id.load(Ordering::Acquire) == id) else {
        return summary(call, id, None);
    };
    let held = Held::new(job);
    let schema = Schema::of(call);
    wait(job);
    let result = summary(call, id, Some(job));
    let outcome = job.outcome.load(Ordering::Acquire);
    held.let_go();
    release(job);
    if outcome == outcome::CANCELLED && Schema::is_being_dropped() {
        not_ready(format!("job {id} was cancelled"), "The extension is being dropped.", "");
    }
    if outcome == outcome::FAILED {
        raise(
            PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION,
            format!("job {id} failed"),
            "",
            &format!("SELECT detail FROM {}.enrichment_run WHERE job_id = {id} says why.", schema.name),
        );
    }
    result
}

/// Hands a job to the worker; its number.
fn start(call: Call, request: Request) -> Option<i64> {
    let worker = shared::require_worker();
    let network = request.sources & (sources::CYMRU | sources::GREYNOISE) != 0;
    if !network && request.kind != kind::UPDATE && maxmind::with(|databases| databases.is_empty()) {
        not_ready("there is nothing to enrich from", "No mmdb file is installed.", &maxmind::how_to_install());
    }
    let schema = Schema::of(call);
    if let Some(Ips::Within(_)) = request.ips {
        // Who waits for the table holds no slot that others need meanwhile.
        glance(|| catalog::hold(schema.relation(c"ip_inventory")));
    }
    let id = next_id(&schema);
    let Some(job) = claim() else {
        raise(
            PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
            "too many jobs are running",
            &format!(
                "{} can run at a time in the server, {} in one database.",
                shared::JOBS,
                shared::share(shared::JOBS)
            ),
            "Wait for one to end: see enrichment_progress.",
        );
    };
    // From here on an error gives the slot back, or cancels the job once the worker has it.
    let held = Held::new(job);
    fill(job, id, &request);
    if let Some(ips) = request.ips {
        let total = write_list(&schema, id, ips).unwrap_or_else(|error| {
            raise(PgSqlErrorCode::ERRCODE_IO_ERROR, format!("could not write the list of addresses: {error}"), "", "")
        });
        job.total.store(total, Ordering::Relaxed);
        job.listed.store(true, Ordering::Relaxed);
        job.adds.store(request.adds, Ordering::Relaxed);
    }
    job.state.store(state::SUBMITTED, Ordering::Release);
    shared::wake(worker);
    held.let_go();
    Some(id)
}

/// Writes the list of a job. The session may wait for the job, and must not hold the table meanwhile: another one that waits
/// for the whole of it would have the job wait behind itself, and for ever.
fn write_list(schema: &Schema, id: i64, ips: Ips) -> io::Result<u64> {
    match ips {
        Ips::Named(ips) => list::write(id, &ips),
        Ips::Within(range) => glance(|| {
            let mut draft = list::Draft::new(id)?;
            known::within(schema, range, |ip| draft.add(ip))?;
            draft.finish()
        }),
    }
}

/// A number that no job has or had. The sequence's owner may set it back: then it continues after the highest, one
/// session after the other, so that each sees the value of the previous one.
fn next_id(schema: &Schema) -> i64 {
    let id = runs::next_number(schema);
    if id > highest(schema, id) {
        return id;
    }
    Turn::Number.wait();
    let mut id = runs::next_number(schema);
    let highest = highest(schema, id);
    if id <= highest {
        runs::go_on_behind(schema, highest);
        id = runs::next_number(schema);
    }
    Turn::Number.pass();
    id
}

/// The highest number from `id` on that a job of this database has or had; 0 where none has.
fn highest(schema: &Schema, id: i64) -> i64 {
    let ended = glance(|| runs::highest(schema, id));
    let database = shared::my_database().to_u32();
    let running = shared::shared()
        .iter()
        .flat_map(|shared| &shared.jobs)
        .filter(|job| {
            job.database.load(Ordering::Acquire) == database && job.state.load(Ordering::Acquire) != state::FREE
        })
        .map(|job| job.id.load(Ordering::Relaxed))
        .filter(|running| *running >= id)
        .max();
    ended.max(running).unwrap_or(0)
}

/// A job that the worker gives itself, running from the start; the worker ends it. `None` when no slot is free: it is
/// done all the same, and only not shown.
pub fn own(schema: &Schema, kind: u32, total: u64) -> Option<&'static Job> {
    let id = next_id(schema);
    let job = claim()?;
    fill(job, id, &Request { kind, wait: false, workers: 0, ..Request::refresh() });
    job.total.store(total, Ordering::Relaxed);
    job.state.store(state::RUNNING, Ordering::Release);
    Some(job)
}
