//! `enrich_ip`: first the inventory, then an answer from the files; the worker does the rest.
//!
//! A fresh row is returned as it is, by one index probe below SQL. Otherwise MaxMind answers at once, answers that only
//! the network can give are those of the row or `pending`, and the address goes into the queue as seen 0 times: this
//! session writes no row of the inventory and so holds no lock that ingest could meet.
#![allow(unsafe_code, reason = "reads a row of the inventory below SQL: the answer costs less than a statement would")]

use std::time::Duration;

use enrich::cascade;
use enrich::freshness::{Freshness, maxmind_is_fresh};
use enrich::record::Status;
use enrich::source::Source;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use crate::files::{counters, maxmind};
use crate::functions::lookup;
use crate::ingest::queue::Queue;
use crate::inventory::columns;
use crate::inventory::columns::{By, Column};
use crate::inventory::fold;
use crate::inventory::row;
use crate::inventory::seen::Seen;
use crate::network::ask;
use crate::pg::argument;
use crate::pg::call::Call;
use crate::pg::catalog::Schema;
use crate::pg::citus;
use crate::pg::citus::Kept;
use crate::pg::composite::Kind;
use crate::pg::errors::bad_value;
use crate::pg::inet::Inet;
use crate::pg::sql::Sql;
use crate::pg::{session, shape, time};
use crate::{settings, shared, sql_function};

sql_function!(
    /// `enrich_ip(ip inet, wait interval) → ip_enrichment`.
    enrich_ip,
    pg_finfo_enrich_ip,
    |call: Call| {
        let (Some(inet), Some(wait)) = (call.get::<Inet>(0), call.interval(1)) else { return call.null() };
        if inet.is_network() {
            bad_value(
                format!("\"{}/{}\" is a network, not a host address", inet.ip, inet.bits),
                "enrich_ip takes one host address.",
                "Use host(ip)::inet for the address part, or mmdb_networks() for what lies inside.",
            );
        }
        // A negative interval means no wait.
        enrich(call, Inet::host(fold::kept(inet.ip)), Duration::from_micros(u64::try_from(wait).unwrap_or(0)))
    }
);

fn enrich(call: Call, inet: Inet, wait: Duration) -> Datum {
    let schema = call.schema();
    let stale_before = maxmind::with(|files| (!files.is_empty()).then(|| maxmind::stale_before(files)));
    let asked = Asked { inet, stale_before, kind: lookup::kept_kind(call) };
    let mut known = cached(schema, &asked);
    let is_fresh = |found: &Found| found.is_current && found.network == Freshness::Fresh;
    counters::cache(known.as_ref().is_some_and(is_fresh));
    match &known {
        Some(found) if is_fresh(found) || found.is_current && !session::may_write() => return found.row,
        // An address without an answer is queued already; one with a stale answer is queued here. Without a worker
        // there is nothing to wait for, and a partial answer is better than an error.
        Some(found) if found.is_current && (wait.is_zero() || shared::my_worker().is_none()) => {
            if found.network == Freshness::Stale {
                hand_over(schema, inet);
            }
            return found.row;
        }
        _ => {}
    }
    if session::may_write() {
        if !wait.is_zero() {
            ask::ask(inet.ip, wait);
            // An answer that took too long may be there in part. The row came in another transaction: a snapshot of now
            // sees it.
            known = cached(schema, &asked);
            if let Some(found) = known.as_ref().filter(|found| found.is_current) {
                return found.row;
            }
        }
        hand_over(schema, inet);
    }
    known.map_or_else(|| by_files(&asked), |found| found.row)
}

/// What is asked about, and how the answer is to be.
struct Asked<'a> {
    inet: Inet,
    /// MaxMind's answers from before this (timestamptz) are old; `None`: there is no file.
    stale_before: Option<i64>,
    kind: &'a Kind,
}

/// The answer of the files, palloced; the sources that are due are `pending`.
fn by_files(asked: &Asked<'_>) -> Datum {
    let policy = settings::policy();
    maxmind::with(|databases| {
        let record = counters::lookup(|| cascade::first_record(asked.inet.ip, databases, &policy));
        row::form(asked.kind, &record, time::now())
    })
}

/// A row of the inventory.
struct Found {
    /// The answer: the row as it is, or, where MaxMind's answer in it is old, with what the files say now.
    row: Datum,
    /// The row says what the files of now say, as far as the worker is through with it.
    is_current: bool,
    /// How the network sources stand in it.
    network: Freshness,
}

/// The same where the row may be on another node. A part of another node's query may not ask any further.
fn cached_elsewhere(schema: pg_sys::Oid, asked: &Asked<'_>) -> Option<Found> {
    if session::is_parallel_worker() || citus::is_part_of_a_query() {
        return None;
    }
    // SAFETY: the caller's memory is current before and after, and the row is formed there.
    unsafe {
        let memory = pg_sys::CurrentMemoryContext;
        let schema = Schema::at(schema);
        let sql = Sql::on(&schema, c"ip_inventory");
        let text = format!("SELECT * FROM {}.ip_inventory WHERE ip_address = $1", schema.name);
        let found = sql.returning(&text, &[argument::inet(asked.inet)]);
        let tuple = found.tuple(0)?;
        let before = pg_sys::MemoryContextSwitchTo(memory);
        let row = copy(tuple, found.desc(), asked);
        pg_sys::MemoryContextSwitchTo(before);
        Some(row)
    }
}

/// The inventory's row.
fn cached(schema: pg_sys::Oid, asked: &Asked<'_>) -> Option<Found> {
    // SAFETY: the table, found by name in the extension's schema, is read by a scan of its primary key under
    // the latest snapshot; the row is copied into a tuple of our own before the scan ends.
    unsafe {
        let table = pg_sys::get_relname_relid(c"ip_inventory".as_ptr(), schema);
        if table == pg_sys::InvalidOid {
            return None;
        }
        if citus::kept(table) == Some(Kept::Distributed) {
            return cached_elsewhere(schema, asked);
        }
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let source = (*relation).rd_att;
        let address =
            shape::find(source, Column::Ip.field().name, pg_sys::INETOID).filter(|_| shape::is_plain_table(relation));
        let key = address.and_then(|address| shape::primary_key(relation, address, pg_sys::NETWORK_BTREE_FAM_OID));
        let (Some(address), Some(index)) = (address, key) else {
            pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
            return None;
        };
        let mut bytes = [0; crate::pg::inet::MAX_BYTES];
        asked.inet.write_short(&mut bytes);
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &mut key,
            address as i16,
            pg_sys::BTEqualStrategyNumber as u16,
            pg_sys::F_NETWORK_EQ.into(),
            Datum::from(bytes.as_ptr()),
        );
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
        let scan = pg_sys::systable_beginscan(relation, index, true, snapshot, 1, &mut key);
        let tuple = pg_sys::systable_getnext(scan);
        let row = (!tuple.is_null()).then(|| copy(tuple, source, asked));
        pg_sys::systable_endscan(scan);
        pg_sys::UnregisterSnapshot(snapshot);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
        row
    }
}

/// The answer that a row gives.
///
/// # Safety
/// `tuple` must be a row of `ip_inventory`, described by `source`.
unsafe fn copy(tuple: pg_sys::HeapTuple, source: pg_sys::TupleDesc, asked: &Asked<'_>) -> Found {
    // SAFETY: see above; values are read by the columns' names, so that columns added later do no harm.
    unsafe {
        let natts = (*source).natts as usize;
        let (mut all, mut missing) = (vec![Datum::null(); natts], vec![true; natts]);
        pg_sys::heap_deform_tuple(tuple, source, all.as_mut_ptr(), missing.as_mut_ptr());
        // One that is of another type now is none that can be read.
        let column = |(name, kind)| shape::find(source, name, kind).map(|number| number - 1);
        let value = |of| column(of).filter(|at| !missing[*at]).map(|at| all[at]);
        let moment = |of| value(of).map(|ts| ts.value() as i64);
        let status = |of: Column| value(of.stored()).map_or(&[][..], |datum| crate::pg::datum::text_bytes(datum));
        let maxmind_ts = moment(columns::MAXMIND_TS);
        let is_current = maxmind_is_fresh(maxmind_ts, || status(Column::MaxMindStatus), asked.stale_before);
        let mut values = [Datum::null(); columns::COUNT];
        let mut nulls = [true; columns::COUNT];
        if !is_current {
            let of_files = by_files(asked).cast_mut_ptr::<pg_sys::HeapTupleHeaderData>();
            let mut formed = pg_sys::HeapTupleData {
                t_len: pgrx::varlena::varsize_any(of_files.cast()) as u32,
                t_data: of_files,
                ..pg_sys::HeapTupleData::default()
            };
            pg_sys::heap_deform_tuple(&mut formed, asked.kind.desc(), values.as_mut_ptr(), nulls.as_mut_ptr());
        }
        // Decided before the first of them is replaced.
        let is_missing = |column: Column| nulls[column as usize];
        let [asn, country, answered] = [Column::AsnNumber, Column::CountryCode, Column::EnrichmentTs].map(is_missing);
        let by_now = Column::CymruStatus as usize;
        let is_asked =
            !nulls[by_now] && crate::pg::datum::text_bytes(values[by_now]) == Status::Pending.as_str().as_bytes();
        let of_row = |column: Column| match column.field().by {
            _ if is_current => true,
            By::Nobody | By::MaxMind => false,
            By::Origin => asn && status(Column::AsnSource) == Source::Cymru.as_str().as_bytes(),
            By::Country => country && status(Column::CountrySource) == Source::Cymru.as_str().as_bytes(),
            By::Scanner => true,
            By::CymruStatus => stays(status(column), is_asked),
            By::GreyNoiseStatus => stays(status(column), true),
            By::Moment => answered,
        };
        for column in Column::ALL.into_iter().filter(|column| of_row(*column)) {
            let datum = value(column.stored());
            values[column as usize] = datum.unwrap_or(Datum::null());
            nulls[column as usize] = datum.is_none();
        }
        let lives = settings::lifetimes();
        let cymru = Freshness::of_cymru(status(Column::CymruStatus), || moment(columns::CYMRU_TS), time::now, &lives);
        let scanner_ts = || moment(Column::ScannerTs.stored());
        let greynoise = Freshness::of_greynoise(status(Column::GreyNoiseStatus), scanner_ts, time::now, &lives);
        let network = cymru.of_both(greynoise);
        let formed = pg_sys::heap_form_tuple(asked.kind.desc(), values.as_mut_ptr(), nulls.as_mut_ptr());
        Found { row: Datum::from((*formed).t_data), is_current, network }
    }
}

/// Whether the state of a network source in a row outlasts a new answer of MaxMind, by which the source is asked or is not: as
/// the worker writes that answer (`inventory::store`).
fn stays(status: &[u8], is_asked: bool) -> bool {
    let is = |word: Status| status == word.as_str().as_bytes();
    is(Status::Found) || is(Status::NotFound) || is(Status::Quota) || is(Status::Failed) && is_asked
}

/// Puts the address into the queue, as seen 0 times.
fn hand_over(schema: pg_sys::Oid, inet: Inet) {
    let now = time::now();
    if let Some(queue) = Queue::open(schema) {
        queue.append_rows(&[(Some(inet), Seen { count: 0, first: now, last: now })], None, None);
    }
}
