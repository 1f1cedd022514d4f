//! The caller's side of jobs: `backfill_inventory`, `refresh_stale`, `refresh_range`, `cancel_enrichment_job`, `enrichment_jobs` (for the view
//! `enrichment_progress`), progress lines, the summary.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pgrx::pg_sys::Datum;
use pgrx::prelude::*;
use pgrx::{IntoDatum, pg_sys};

use super::list;
use super::run::release;
use crate::files::maxmind;
use crate::pg::call;
use crate::pg::call::{Call, Rows};
use crate::pg::catalog::Schema;
use crate::pg::errors::{bad_value, not_ready, raise};
use crate::pg::inet::Inet;
use crate::pg::sql::Sql;
use crate::pg::time;
use crate::shared;
use crate::shared::source;
use crate::shared::{Job, kind, outcome, sources, state};
use crate::{settings, sql_function};

/// How long a caller goes on waiting while no worker is there: it may be on its way back.
const WORKER_GONE: Duration = Duration::from_secs(15);

/// What a caller asks for.
struct Request {
    batch_size: u32,
    commit_interval: u32,
    max_ips: u64,
    workers: u32,
    ips: Option<Vec<IpAddr>>,
    wait: bool,
    kind: u32,
    /// Listed addresses that the inventory does not know are added to it.
    adds: bool,
    /// Answers from before this (timestamptz) are due again.
    stale_before: i64,
    /// See [`sources`].
    sources: u32,
}

sql_function!(
    /// `backfill_inventory(batch_size, commit_interval, max_ips, workers, ips, wait) → enrichment_summary`.
    backfill_inventory,
    pg_finfo_backfill_inventory,
    |call: Call| {
        let number = |index: usize, name: &str, default: i32, max: i32| {
            let value = call.get::<i32>(index).unwrap_or(default);
            if !(1..=max).contains(&value) {
                bad_value(format!("{name} can't be {value}"), &format!("It is a number from 1 to {max}."), "");
            }
            value as u32
        };
        let max_ips = call.get::<i64>(2);
        if max_ips.is_some_and(|n| n < 1) {
            bad_value("max_ips is a positive number", "", "Null is no limit.");
        }
        let request = Request {
            batch_size: number(0, "batch_size", 1000, 100_000),
            commit_interval: number(1, "commit_interval", 5000, 1_000_000),
            max_ips: max_ips.unwrap_or(0) as u64,
            workers: number(3, "workers", 4, shared::HELPERS as i32),
            ips: call
                .arg(4)
                // SAFETY: declared as inet[].
                .map(|datum| hosts(unsafe { Inet::read_array(datum) })),
            wait: call.get::<bool>(5).unwrap_or(true),
            kind: kind::BACKFILL,
            adds: true,
            stale_before: i64::MIN,
            sources: sources::MAXMIND,
        };
        submit(call, request)
    }
);

sql_function!(
    /// `refresh_stale(source, n, wait) → enrichment_summary`.
    refresh_stale,
    pg_finfo_refresh_stale,
    |call: Call| {
        let sources = wanted(call.text(0));
        let n = call.get::<i32>(1).unwrap_or(1000);
        if n < 1 {
            bad_value(format!("n can't be {n}"), "It is how many addresses to refresh at most: 1 or more.", "");
        }
        let request = Request {
            max_ips: n as u64,
            wait: call.get::<bool>(2).unwrap_or(true),
            stale_before: maxmind::with(maxmind::stale_before),
            sources,
            ..Request::refresh()
        };
        submit(call, request)
    }
);

sql_function!(
    /// `refresh_range(range, source, wait) → enrichment_summary`.
    refresh_range,
    pg_finfo_refresh_range,
    |call: Call| {
        let sources = wanted(call.text(1)) | sources::ANEW;
        let Some(range) = call.arg(0) else { bad_value("refresh_range needs a range", "range is null.", "Write 203.0.113.0/24.") };
        let request = Request {
            ips: Some(known_in(&Schema::of(call), range)),
            wait: call.get::<bool>(2).unwrap_or(true),
            // Fresh or not: whatever was answered before this moment.
            stale_before: time::now(),
            sources,
            ..Request::refresh()
        };
        submit(call, request)
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

impl Request {
    fn refresh() -> Request {
        Request {
            batch_size: 1000,
            commit_interval: 5000,
            max_ips: 0,
            workers: 4,
            ips: None,
            wait: true,
            kind: kind::REFRESH,
            adds: false,
            stale_before: i64::MIN,
            sources: sources::MAXMIND,
        }
    }
}

/// The sources that a name stands for. A network source that is off can't be named; `all` are those that are on.
fn wanted(source: Option<String>) -> u32 {
    const SOURCES: &str = "Sources are: maxmind, cymru, greynoise, all.";
    let Some(source) = source else { bad_value("null can't be refreshed", SOURCES, "") };
    let open = |at: usize| {
        let slot = shared::shared().and_then(|shared| shared.database(shared::my_database()));
        let state = slot.map_or(source::state::UNKNOWN, |slot| slot.sources[at].state.load(Ordering::Relaxed));
        !matches!(state, source::state::OFF | source::state::NO_KEY | source::state::REFUSED)
    };
    let policy = settings::policy();
    let (cymru, greynoise) = (policy.cymru && open(0), policy.greynoise && open(1));
    match source.as_str() {
        "maxmind" => sources::MAXMIND,
        "cymru" if cymru => sources::CYMRU,
        "greynoise" if greynoise => sources::GREYNOISE,
        "cymru" => not_ready(
            "Team Cymru is switched off",
            "asn_inventory.cymru is off.",
            "Set asn_inventory.cymru = on and reload.",
        ),
        "greynoise" => not_ready(
            "GreyNoise is not asked",
            "It is switched off, has no key, or refuses the key: source_status says which.",
            "Look at asn_inventory.greynoise and asn_inventory.greynoise_api_key, and reload.",
        ),
        "all" => {
            let maxmind = maxmind::with(|databases| !databases.is_empty()) || !(cymru || greynoise);
            let bit = |on: bool, bit: u32| if on { bit } else { 0 };
            bit(maxmind, sources::MAXMIND) | bit(cymru, sources::CYMRU) | bit(greynoise, sources::GREYNOISE)
        }
        _ => bad_value(format!("\"{source}\" can't be refreshed"), SOURCES, ""),
    }
}

/// The known addresses of a range, in which a netmask's host bits do not count.
fn known_in(schema: &Schema, range: Datum) -> Vec<IpAddr> {
    let sql = Sql::on(schema, c"ip_inventory");
    let found = sql.query(
        &format!("SELECT ip_address FROM {}.ip_inventory WHERE ip_address <<= pg_catalog.network($1)", schema.name),
        &[(pg_sys::INETOID, Some(range))],
    );
    (0..found.len()).filter_map(|row| Some(found.get::<Inet>(row, 1)?.ip)).collect()
}

sql_function!(
    /// `cancel_enrichment_job(job_id bigint) → bool`: whether there was such a job.
    cancel_enrichment_job,
    pg_finfo_cancel_enrichment_job,
    |call: Call| {
        let id = call.get::<i64>(0);
        let job = running().find(|job| Some(job.id.load(Ordering::Acquire)) == id);
        if let Some(job) = job {
            job.cancel.store(true, Ordering::Release);
            if let Some(worker) = shared::my_worker() {
                shared::wake(worker);
            }
        }
        call.give(job.is_some().into_datum())
    }
);

sql_function!(
    /// `enrichment_jobs() → setof (…)`: the rows of `enrichment_progress`.
    enrichment_jobs,
    pg_finfo_enrichment_jobs,
    |call: Call| {
        let mut rows = Rows::begin(call);
        for job in running() {
            let load = |counter: &AtomicU64| (counter.load(Ordering::Relaxed) as i64).into_datum();
            let started = job.started_at.load(Ordering::Relaxed);
            let word = match job.state.load(Ordering::Acquire) {
                state::SUBMITTED => "submitted",
                state::RUNNING if job.cancel.load(Ordering::Relaxed) => "cancelling",
                state::RUNNING => "running",
                _ => "ended",
            };
            let helpers = job.helpers.iter().filter(|pid| pid.load(Ordering::Relaxed) != 0).count() as i32;
            rows.row(|| vec![
                job.id.load(Ordering::Relaxed).into_datum(),
                Some(call::text(kind::name(job.kind.load(Ordering::Relaxed)))),
                Some(call::text(word)),
                pg_sys::Oid::from(job.role.load(Ordering::Relaxed)).into_datum(),
                Some(Datum::from(started)),
                helpers.into_datum(),
                load(&job.total),
                load(&job.counts.processed),
                load(&job.counts.enriched),
                load(&job.counts.errors),
                (time::now() - started).into_datum(),
            ]);
        }
        call.null()
    }
);

/// The jobs of this database.
fn running() -> impl Iterator<Item = &'static Job> {
    let database = shared::my_database().to_u32();
    let jobs = shared::shared().map(|shared| &shared.jobs[..]).unwrap_or_default();
    jobs.iter().filter(move |job| {
        job.database.load(Ordering::Acquire) == database && job.state.load(Ordering::Acquire) >= state::SUBMITTED
    })
}

fn hosts(ips: Vec<Inet>) -> Vec<IpAddr> {
    ips.into_iter()
        .map(|inet| {
            if inet.is_network() {
                bad_value(
                    format!("{}/{} is a network", inet.ip, inet.bits),
                    "ips is a list of host addresses.",
                    "Leave the networks out, or name their addresses.",
                );
            }
            inet.ip
        })
        .collect()
}

fn submit(call: Call, request: Request) -> Datum {
    let waits = request.wait;
    let Some(id) = start(call, request) else { return call.null() };
    let Some(job) = running().find(|job| waits && job.id.load(Ordering::Acquire) == id) else {
        return summary(call, id, None);
    };
    let held = Held { job };
    let schema = Schema::of(call);
    wait(job);
    let result = summary(call, id, Some(job));
    let outcome = job.outcome.load(Ordering::Acquire);
    std::mem::forget(held);
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
        not_ready(
            "there is nothing to enrich from",
            "No mmdb file is installed.",
            "Put GeoLite2-City.mmdb and GeoLite2-ASN.mmdb into the directory that asn_inventory.maxmind_dir names.",
        );
    }
    let schema = Schema::of(call);
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
    let held = Held { job };
    fill(job, id, &request);
    if let Some(ips) = request.ips {
        if let Err(error) = list::write(id, ips) {
            raise(PgSqlErrorCode::ERRCODE_IO_ERROR, format!("the list of addresses can't be written: {error}"), "", "");
        }
        job.listed.store(true, Ordering::Relaxed);
        job.adds.store(request.adds, Ordering::Relaxed);
    }
    job.state.store(state::SUBMITTED, Ordering::Release);
    shared::wake(worker);
    std::mem::forget(held);
    Some(id)
}

fn next_id(schema: &Schema) -> i64 {
    let sql = Sql::on(schema, c"enrichment_job_id");
    let found = sql.returning(&format!("SELECT pg_catalog.nextval({})", schema.regclass("enrichment_job_id")), &[]);
    found.get::<i64>(0, 1).unwrap_or(0)
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

/// A free slot, if this database does not hold its share of them. Counted again once the slot is taken: of two who take
/// the last one at once, both may be refused, and neither is let through.
fn claim() -> Option<&'static Job> {
    let database = shared::my_database().to_u32();
    let jobs = &shared::shared()?.jobs;
    let held = || {
        let mine = |job: &&Job| job.database.load(Ordering::Acquire) == database;
        jobs.iter().filter(mine).filter(|job| job.state.load(Ordering::Acquire) != state::FREE).count()
    };
    if held() >= shared::share(shared::JOBS) {
        return None;
    }
    let job = jobs.iter().find(|job| {
        job.state.compare_exchange(state::FREE, state::FILLING, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    })?;
    job.database.store(database, Ordering::Release);
    if held() > shared::share(shared::JOBS) {
        job.database.store(0, Ordering::Release);
        job.state.store(state::FREE, Ordering::Release);
        return None;
    }
    Some(job)
}

fn fill(job: &Job, id: i64, request: &Request) {
    let relaxed = Ordering::Relaxed;
    job.id.store(id, relaxed);
    // SAFETY: reads who calls and from where.
    let (role, pid) = unsafe { (pg_sys::GetUserId(), pg_sys::MyProcPid) };
    job.role.store(role.to_u32(), relaxed);
    job.batch_size.store(request.batch_size, relaxed);
    job.commit_interval.store(request.commit_interval, relaxed);
    job.max_ips.store(request.max_ips, relaxed);
    job.workers.store(request.workers, relaxed);
    job.listed.store(false, relaxed);
    job.adds.store(false, relaxed);
    job.kind.store(request.kind, relaxed);
    job.stale_before.store(request.stale_before, relaxed);
    job.sources.store(request.sources, relaxed);
    job.waiter.store(if request.wait { pid } else { 0 }, relaxed);
    job.cancel.store(false, relaxed);
    job.started_at.store(time::now(), relaxed);
    job.ended_at.store(0, relaxed);
    job.outcome.store(outcome::DONE, relaxed);
    let counts = &job.counts;
    for counter in [
        &job.total,
        &job.cursor,
        &job.end,
        &job.locked,
        &counts.processed,
        &counts.enriched,
        &counts.cache_hits,
        &counts.maxmind_asn,
        &counts.cymru_asn,
        &counts.greynoise_scanners,
        &counts.not_found,
        &counts.skipped,
        &counts.errors,
    ] {
        counter.store(0, relaxed);
    }
    job.passes.store(0, relaxed);
    job.helpers.iter().for_each(|helper| helper.store(0, relaxed));
    job.database.store(shared::my_database().to_u32(), Ordering::Release);
}

/// A claimed slot, while an error may still come.
struct Held {
    job: &'static Job,
}

impl Drop for Held {
    fn drop(&mut self) {
        let job = self.job;
        job.cancel.store(true, Ordering::Release);
        job.waiter.store(0, Ordering::Release);
        if job.state.compare_exchange(state::FILLING, state::FREE, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            job.database.store(0, Ordering::Release);
        }
    }
}

/// Waits for the end, interruptibly, and says once a second how far it is.
fn wait(job: &Job) {
    let mut said = Instant::now();
    let mut gone: Option<Instant> = None;
    while job.state.load(Ordering::Acquire) != state::ENDED {
        let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
        // SAFETY: this session's own latch.
        unsafe {
            pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, 100, pg_sys::PG_WAIT_EXTENSION);
            pg_sys::ResetLatch(pg_sys::MyLatch);
        }
        pgrx::check_for_interrupts!();
        if said.elapsed() >= Duration::from_secs(1) {
            said = Instant::now();
            pgrx::info!("{}", progress(job));
        }
        if shared::my_worker().is_some() {
            gone = None;
        } else if gone.get_or_insert_with(Instant::now).elapsed() > WORKER_GONE {
            shared::require_worker();
        }
    }
}

/// `backfill  45%  450000/1000000  [00:12<00:15, 36,204 IPs/s]`
fn progress(job: &Job) -> String {
    let (done, total) = (job.counts.processed.load(Ordering::Relaxed), job.total.load(Ordering::Relaxed));
    let seconds = (time::now() - job.started_at.load(Ordering::Relaxed)) as f64 / 1e6;
    let rate = if seconds > 0.0 { done as f64 / seconds } else { 0.0 };
    let percent = (done * 100).checked_div(total).unwrap_or(0).min(100);
    let left = if rate > 0.0 { clock(total.saturating_sub(done) as f64 / rate) } else { "--:--".to_owned() };
    let kind = kind::name(job.kind.load(Ordering::Relaxed));
    format!("{kind} {percent:>3}%  {done}/{total}  [{}<{left}, {} IPs/s]", clock(seconds), thousands(rate as u64))
}

fn clock(seconds: f64) -> String {
    let seconds = seconds as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes:02}:{seconds:02}") }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The `enrichment_summary` of a job; of one that nobody waited for, only its number.
fn summary(call: Call, id: i64, job: Option<&Job>) -> Datum {
    let mut values = [Datum::null(); 12];
    let mut nulls = [job.is_none(); 12];
    values[0] = Datum::from(id);
    nulls[0] = false;
    if let Some(job) = job {
        let counts = &job.counts;
        let numbers = [
            counts.processed.load(Ordering::Relaxed),
            counts.enriched.load(Ordering::Relaxed),
            counts.cache_hits.load(Ordering::Relaxed),
            counts.maxmind_asn.load(Ordering::Relaxed),
            counts.cymru_asn.load(Ordering::Relaxed),
            counts.greynoise_scanners.load(Ordering::Relaxed),
            counts.not_found.load(Ordering::Relaxed),
            counts.skipped.load(Ordering::Relaxed),
            counts.errors.load(Ordering::Relaxed),
        ];
        for (value, number) in values[1..10].iter_mut().zip(numbers) {
            *value = Datum::from(number as i64);
        }
        let elapsed = (job.ended_at.load(Ordering::Relaxed) - job.started_at.load(Ordering::Relaxed)).max(1);
        let mut interval = pg_sys::Interval { time: elapsed, day: 0, month: 0 };
        values[10] = Datum::from(&raw mut interval);
        values[11] = Datum::from((numbers[0] as f64 * 1e6 / elapsed as f64).to_bits());
        return call.row(&mut values, &mut nulls);
    }
    call.row(&mut values, &mut nulls)
}
