//! Offline look-ups: `lookup_ip`, `ip_asn`, `ip_asn_org`, `ip_country`, `ip_city`, `ip_class`.
//!
//! They write nothing, run no SQL and open no socket: they work on a standby, in a parallel worker, without preload.
#![allow(unsafe_code, reason = "forms a row without a copy: a look-up costs less than one")]

use enrich::address::classify;
use enrich::cascade;
use enrich::maxmind::Databases;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use crate::files::{counters, maxmind};
use crate::inventory::row;
use crate::pg::call;
use crate::pg::call::Call;
use crate::pg::composite::Kind;
use crate::sql_function;

sql_function!(
    /// `ip_class(inet) → text`.
    ip_class,
    pg_finfo_ip_class,
    |call: Call| call.give(call.inet(0).map(|inet| call::text(classify(inet.ip).as_str())))
);

sql_function!(
    /// `lookup_ip(inet) → ip_enrichment`.
    lookup_ip,
    pg_finfo_lookup_ip,
    |call: Call| {
        let Some(inet) = call.inet(0) else { return call.null() };
        counters::lookup(|| {
            maxmind::with(|databases| {
                let record = cascade::offline(inet.ip, databases);
                // The time of the statement: an answer's time must not cost a look at the clock for each row.
                row::form(kept_kind(call), &record, call::statement_start())
            })
        })
    }
);

/// The result's type, `ip_enrichment`, looked up once a query and kept with the call site. An error where the function is
/// declared to return something else.
pub fn kept_kind<'a>(call: Call) -> &'a Kind {
    // SAFETY: `flinfo` of a call from SQL is set; `fn_extra` is ours and lives as long as `fn_mcxt`, longer than the call.
    unsafe {
        let flinfo = (*call.info()).flinfo;
        if (*flinfo).fn_extra.is_null() {
            let old = pg_sys::MemoryContextSwitchTo((*flinfo).fn_mcxt);
            let kind = row::kind(pg_sys::CreateTupleDescCopy(call.result_desc()));
            let kept = pg_sys::palloc(size_of::<Kind>()).cast::<Kind>();
            kept.write(kind);
            (*flinfo).fn_extra = kept.cast();
            pg_sys::MemoryContextSwitchTo(old);
        }
        &*(*flinfo).fn_extra.cast()
    }
}

fn field<T>(
    call: Call,
    read: impl FnOnce(&Databases, std::net::IpAddr) -> Option<T>,
    datum: impl FnOnce(T) -> Datum,
) -> Datum {
    let Some(inet) = call.inet(0) else { return call.null() };
    if !classify(inet.ip).is_public() {
        return call.null();
    }
    let found = counters::lookup(|| maxmind::with(|databases| read(databases, inet.ip).map(datum)));
    call.give(found)
}

sql_function!(
    /// `ip_asn(inet) → bigint`.
    ip_asn,
    pg_finfo_ip_asn,
    |call: Call| field(call, |db, ip| db.asn(ip), |asn| Datum::from(i64::from(asn)))
);

sql_function!(
    /// `ip_asn_org(inet) → text`.
    ip_asn_org,
    pg_finfo_ip_asn_org,
    |call: Call| field(call, |db, ip| db.origin(ip)?.org.map(call::text), |datum| datum)
);

sql_function!(
    /// `ip_country(inet) → text`.
    ip_country,
    pg_finfo_ip_country,
    |call: Call| field(call, |db, ip| db.country_code(ip).map(call::text), |datum| datum)
);

sql_function!(
    /// `ip_city(inet) → text`.
    ip_city,
    pg_finfo_ip_city,
    |call: Call| field(call, |db, ip| db.place(ip)?.city.map(call::text), |datum| datum)
);
