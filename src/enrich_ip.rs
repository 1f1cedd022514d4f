//! `enrich_ip`: the inventory first, then what can be said now; the rest is the worker's.
//!
//! A fresh row is returned as it is, by one index probe below SQL. Else MaxMind answers at once, what only the network
//! knows is `pending`, and the address goes into the queue as seen 0 times: this session writes no row of the inventory
//! and so holds no lock that ingest could meet. For a call that waits, a row is fresh only if the answers of the network
//! are, too.

use std::cell::UnsafeCell;
use std::time::Duration;

use enrich::cascade;
use pgrx::pg_sys::Datum;
use pgrx::{FromDatum, pg_sys};

use crate::call::Call;
use crate::errors::bad_value;
use crate::inet::Inet;
use crate::observe::queue::Queue;
use crate::observe::tally::Seen;
use crate::row::{self, Row};
use crate::{ask, maxmind, settings, shared, sql_function, time};

thread_local! {
    static ROW: UnsafeCell<Row> = const { UnsafeCell::new(Row::new()) };
}

sql_function!(
    /// `enrich_ip(ip inet, wait interval) → ip_enrichment`.
    enrich_ip,
    pg_finfo_enrich_ip,
    |call: Call| {
        let (Some(inet), Some(wait)) = (call.get::<Inet>(0), call.arg(1)) else { return call.null() };
        if inet.is_network() {
            bad_value(
                format!("{}/{} is a network", inet.ip, inet.bits),
                "enrich_ip takes one host address.",
                "Use host(ip)::inet for the address part, or mmdb_networks() for what lies inside.",
            );
        }
        enrich(call, Inet::host(inet.ip), duration(wait))
    }
);

/// A negative interval is no wait.
fn duration(interval: Datum) -> Duration {
    // SAFETY: declared as interval, which is passed by reference.
    let interval = unsafe { &*interval.cast_mut_ptr::<pg_sys::Interval>() };
    let days = i64::from(interval.day) + 30 * i64::from(interval.month);
    let us = days.saturating_mul(86_400_000_000).saturating_add(interval.time);
    Duration::from_micros(u64::try_from(us).unwrap_or(0))
}

fn enrich(call: Call, inet: Inet, wait: Duration) -> Datum {
    // SAFETY: the namespace of the function being called.
    let schema = unsafe { pg_sys::get_func_namespace(call.function()) };
    let stale_before = maxmind::with(|databases| databases.installed_at().map_or(i64::MIN, time::from_unix_us));
    // SAFETY: declared to return ip_enrichment.
    let desc = unsafe { kept_desc(call) };
    let lifetimes = (!wait.is_zero()).then(settings::lifetimes);
    let found = cached(schema, inet, stale_before, lifetimes, desc);
    if let Some((row, whole)) = found
        && (whole || !may_write() || shared::my_worker().is_none())
    {
        return row;
    }
    if may_write() {
        let answered = !wait.is_zero() && ask::ask(inet.ip, wait);
        // The row came, or changed, in another transaction: a snapshot of now sees it. So does what came too late.
        if let Some((row, _)) =
            (answered || found.is_some()).then(|| cached(schema, inet, stale_before, None, desc)).flatten()
        {
            return row;
        }
        hand_over(schema, inet);
    }
    let policy = settings::policy();
    maxmind::with(|databases| {
        let record = cascade::first_record(inet.ip, databases, &policy);
        // SAFETY: one thread, and nothing below calls back into this function; the descriptor is ip_enrichment's.
        unsafe {
            let row = ROW.with(|row| &mut *row.get());
            row.fill(&record, time::now());
            row.form(desc)
        }
    })
}

/// # Safety
/// The function must be declared to return a composite type.
unsafe fn kept_desc(call: Call) -> pg_sys::TupleDesc {
    // SAFETY: as in `lookup_ip`.
    unsafe { crate::lookup::kept_desc(call) }
}

/// Columns of `ip_inventory` in the order of `ip_enrichment`.
const SOURCE: [&std::ffi::CStr; row::COLUMNS] = [
    c"ip_address",
    c"ip_class",
    c"network",
    c"asn_number",
    c"asn_org",
    c"asn_source",
    c"country_code",
    c"country_source",
    c"region",
    c"city",
    c"latitude",
    c"longitude",
    c"accuracy_radius_km",
    c"time_zone",
    c"scanner_noise",
    c"scanner_riot",
    c"scanner_classification",
    c"scanner_name",
    c"scanner_last_seen",
    c"maxmind_status",
    c"cymru_status",
    c"greynoise_status",
    c"enrichment_ts",
    c"scanner_ts",
];

/// How long answers of Team Cymru (found, not found) and GreyNoise are fresh, in microseconds.
type Lifetimes = (i64, i64, i64);

/// The inventory's row, if MaxMind's answer in it is fresh, and whether the network's answers are within `lifetimes`, too
/// (always, where there are none).
fn cached(
    schema: pg_sys::Oid,
    inet: Inet,
    stale_before: i64,
    lifetimes: Option<Lifetimes>,
    desc: pg_sys::TupleDesc,
) -> Option<(Datum, bool)> {
    // SAFETY: the table and its primary key, found by name in the extension's schema, are read by an index scan under
    // the latest snapshot; the row is copied into a tuple of our own before the scan ends.
    unsafe {
        let table = pg_sys::get_relname_relid(c"ip_inventory".as_ptr(), schema);
        let index = pg_sys::get_relname_relid(c"ip_inventory_pkey".as_ptr(), schema);
        if table == pg_sys::InvalidOid || index == pg_sys::InvalidOid {
            return None;
        }
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let mut bytes = [0; crate::inet::MAX_BYTES];
        inet.write_short(&mut bytes);
        let source = (*relation).rd_att;
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &mut key,
            attribute(source, SOURCE[0]) as i16,
            pg_sys::BTEqualStrategyNumber as u16,
            pg_sys::F_NETWORK_EQ.into(),
            Datum::from(bytes.as_ptr()),
        );
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
        let scan = pg_sys::systable_beginscan(relation, index, true, snapshot, 1, &mut key);
        let tuple = pg_sys::systable_getnext(scan);
        let row = if tuple.is_null() { None } else { copy_if_fresh(tuple, source, stale_before, lifetimes, desc) };
        pg_sys::systable_endscan(scan);
        pg_sys::UnregisterSnapshot(snapshot);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
        row
    }
}

/// # Safety
/// `tuple` must be a row of `ip_inventory`, described by `source`, and `desc` that of `ip_enrichment`.
unsafe fn copy_if_fresh(
    tuple: pg_sys::HeapTuple,
    source: pg_sys::TupleDesc,
    stale_before: i64,
    lifetimes: Option<Lifetimes>,
    desc: pg_sys::TupleDesc,
) -> Option<(Datum, bool)> {
    // SAFETY: see above; values are read by the columns' names, so that columns added later do no harm.
    unsafe {
        let natts = (*source).natts as usize;
        let (mut all, mut missing) = (vec![Datum::null(); natts], vec![true; natts]);
        pg_sys::heap_deform_tuple(tuple, source, all.as_mut_ptr(), missing.as_mut_ptr());
        let column = |name| usize::try_from(attribute(source, name) - 1).ok().filter(|at| *at < natts);
        let value = |name| column(name).filter(|at| !missing[*at]).map(|at| all[at]);
        let answered = value(c"maxmind_ts").is_some_and(|ts| ts.value() as i64 >= stale_before);
        if !answered {
            return None;
        }
        let mut values = [Datum::null(); row::COLUMNS];
        let mut nulls = [true; row::COLUMNS];
        for (i, name) in SOURCE.into_iter().enumerate() {
            if let Some(datum) = value(name) {
                values[i] = datum;
                nulls[i] = false;
            }
        }
        let formed = pg_sys::heap_form_tuple(desc, values.as_mut_ptr(), nulls.as_mut_ptr());
        let text = |name| value(name).and_then(|datum| String::from_datum(datum, false));
        let young = |name, life: i64| value(name).is_some_and(|ts| time::now() - (ts.value() as i64) <= life);
        let fresh = |status, ts, found: i64, not_found: i64| match text(status).as_deref() {
            Some("found") => young(ts, found),
            Some("not_found") => young(ts, not_found),
            Some("skipped") => true,
            _ => false,
        };
        let whole = lifetimes.is_none_or(|(cymru, negative, greynoise)| {
            fresh(c"cymru_status", c"cymru_ts", cymru, negative)
                && fresh(c"greynoise_status", c"scanner_ts", greynoise, greynoise)
        });
        Some((Datum::from((*formed).t_data), whole))
    }
}

/// # Safety
/// `desc` must be a valid descriptor.
unsafe fn attribute(desc: pg_sys::TupleDesc, name: &std::ffi::CStr) -> i32 {
    // SAFETY: see above.
    unsafe { pg_sys::SPI_fnumber(desc, name.as_ptr()) }
}

fn may_write() -> bool {
    // SAFETY: reads variables of this backend.
    unsafe { !pg_sys::RecoveryInProgress() && !pg_sys::XactReadOnly && !pg_sys::IsInParallelMode() }
}

/// Puts the address into the queue, as seen 0 times.
fn hand_over(schema: pg_sys::Oid, inet: Inet) {
    let now = time::now();
    if let Some(queue) = Queue::open(schema) {
        queue.append_rows(&[(Some(inet), Seen { count: 0, first: now, last: now })], None, None);
    }
}
