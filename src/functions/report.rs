//! `inventory_report()`: the inventory as one HTML page. Gathers figures; the crate `report` makes the page of them.
//!
//! Five passes over `ip_inventory`: one for all that needs no groups, and one GROUP BY each for the timeline, the map with
//! the countries, the cities, and the flags with the lists. GROUPING SETS would be one pass less or two, but never a parallel
//! one. Nothing is written, so a standby answers, too.

mod passes;
mod small;

use ::report::Report;

use crate::pg::call;
use crate::pg::call::Call;
use crate::pg::catalog::Schema;
use crate::pg::sql::{Sql, Table};
use crate::pg::time;
use crate::sql_function;

sql_function!(
    /// `inventory_report() → text`.
    inventory_report,
    pg_finfo_inventory_report,
    |call: Call| {
        let schema = Schema::of(call);
        let report = gather(&schema, call::statement_start());
        call.give(Some(call::text(&report.page())))
    }
);

/// Runs as the extension's owner: EXECUTE is enough.
const READ: [&std::ffi::CStr; 9] = [
    c"ip_inventory",
    c"asn_inventory",
    c"enrichment_status",
    c"source_status",
    c"ip_observation",
    c"inventory_count",
    c"enrichment_run",
    c"ip_source",
    c"source_quota",
];

/// All figures, as of `now`.
fn gather(schema: &Schema, now: i64) -> Report {
    let sql = Sql::on_all(schema, &READ);
    let mut report = Report { made_at: unix(now), ..Report::default() };
    small::status(&sql, schema, &mut report);
    let span = passes::totals(&sql, schema, now, &mut report);
    passes::timeline(&sql, schema, now, span, &mut report);
    passes::places(&sql, schema, &mut report);
    passes::cities(&sql, schema, &mut report);
    passes::flags_and_lists(&sql, schema, &mut report);
    small::networks(&sql, schema, &mut report);
    report
}

/// Unix seconds of a timestamptz datum's value.
const fn unix(timestamp: i64) -> i64 {
    time::to_unix_us(timestamp).div_euclid(1_000_000)
}

/// A count; null and invalid counts are 0.
fn count(table: &Table, row: usize, column: usize) -> u64 {
    table.get::<i64>(row, column).map_or(0, |n| n.max(0) as u64)
}

/// A timestamptz as Unix seconds; `None` for null and for no moment.
fn moment(table: &Table, row: usize, column: usize) -> Option<i64> {
    let value = table.datum(row, column)?.value() as i64;
    time::is_moment(value).then(|| unix(value))
}

/// A text; empty for null. All characters of the database's encoding can be shown.
fn text(table: &Table, row: usize, column: usize) -> String {
    table.get::<Vec<u8>>(row, column).map_or_else(String::new, |bytes| crate::pg::encoding::from_server(&bytes))
}
