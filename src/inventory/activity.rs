//! Which addresses were observed in each hour of the events' own times: appended packed, as the queue is absorbed, and
//! counted later ([`super::activity_count`]).

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use enrich::activity::{DAY, HOUR, Observed, beginning};
use pgrx::{IntoDatum, pg_sys};

use super::places::Place;
use crate::pg::argument;
use crate::pg::argument::Argument;
use crate::pg::catalog::Schema;
use crate::pg::sql::Sql;
use crate::pg::time;
use crate::settings;

/// The place of a row that marks a day that is not over: it is counted once more after its end.
pub const OPEN_DAY: i32 = -1;
/// The places from this one downwards mark a day that was over when it was counted, and of whose addresses answers are awaited;
/// `addresses` is the hour from which on it is counted once more.
const LATE_DAY: i32 = -2;
/// Each try comes after twice the time, up to so many doublings of an hour.
const MOST_TRIES: i32 = 5;
/// The place of a row that says that its hour or day is to be counted again.
const COUNT_AGAIN: i32 = 0;
/// Bytes of one packed row: four rows a page, and nothing that PostgreSQL would compress or store apart.
const PACKED_BYTES: usize = 1900;

/// Whether it is kept.
pub fn is_kept() -> bool {
    !settings::activity()[0].is_zero()
}

/// Events from before this (timestamptz) are not kept: the first for days, the second for hours.
pub fn limits() -> [i64; 2] {
    let now = time::now();
    settings::activity().map(|kept| now.saturating_sub(i64::try_from(kept.as_micros()).unwrap_or(i64::MAX)))
}

/// Appends what places saw, in any order, each entry within one hour.
pub fn append(schema: &Schema, places: &[Place]) {
    let oldest = beginning(limits()[0], DAY);
    let mut hours: BTreeMap<(i64, i32), Vec<(IpAddr, i64)>> = BTreeMap::new();
    for place in places {
        for (ip, seen) in &place.seen {
            let hour = beginning(seen.first, HOUR);
            if hour >= oldest {
                hours.entry((hour, place.number)).or_default().push((*ip, seen.count));
            }
        }
    }
    let hours = hours.into_iter().map(|((hour, place), entries)| (hour, place, Observed::of(entries)));
    insert(schema, hours, false, false);
}

/// Inserts rows of hours or days.
pub fn insert(schema: &Schema, buckets: impl Iterator<Item = (i64, i32, Observed)>, by_day: bool, counted: bool) {
    let (mut starts, mut places, mut counts, mut packed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (start, place, observed) in buckets {
        for (count, bytes) in observed.packed(PACKED_BYTES) {
            starts.push(start);
            places.push(place);
            counts.push(i32::try_from(count).unwrap_or(i32::MAX));
            packed.push(bytes);
        }
    }
    if starts.is_empty() {
        return;
    }
    Sql::on(schema, c"ip_activity").run(
        &format!(
            "INSERT INTO {}.ip_activity (bucket, by_day, source_id, addresses, packed, counted)
             SELECT r.bucket, $5, r.place, r.n, r.packed, $6
             FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) AS r(bucket, place, n, packed)",
            schema.name
        ),
        &[
            argument::moments(starts.into_iter()),
            argument::integers(places),
            argument::integers(counts),
            argument::byteas(packed),
            (pg_sys::BOOLOID, by_day.into_datum()),
            (pg_sys::BOOLOID, counted.into_datum()),
        ],
    );
}

/// Marks a day as not over.
pub fn note_open(schema: &Schema, day: i64) {
    let sql = Sql::on(schema, c"ip_activity");
    let mark = [argument::moment(day), (pg_sys::INT4OID, OPEN_DAY.into_datum())];
    let known = format!("SELECT 1 FROM {}.ip_activity a WHERE a.bucket = $1 AND a.source_id = $2 LIMIT 1", schema.name);
    if sql.returning(&known, &mark).len() == 0 {
        let insert = format!(
            "INSERT INTO {}.ip_activity (bucket, source_id, addresses, packed) VALUES ($1, $2, 0, ''::bytea)",
            schema.name
        );
        sql.run(&insert, &mark);
    }
}

/// The greatest number of the places that mark a day as late, and this hour: `$1` and `$2` of who looks for those that are due.
pub fn late_now() -> [Argument; 2] {
    [(pg_sys::INT4OID, LATE_DAY.into_datum()), (pg_sys::INT4OID, this_hour().into_datum())]
}

/// Hours since PostgreSQL's epoch.
fn this_hour() -> i32 {
    i32::try_from(time::now() / HOUR).unwrap_or(i32::MAX)
}

/// Takes away the marks of days that are to be counted once more now. The days, and how often that was tried.
pub fn take_late(schema: &Schema) -> HashMap<i64, i32> {
    let text = format!(
        "DELETE FROM {}.ip_activity WHERE NOT counted AND source_id <= $1 AND addresses <= $2 RETURNING bucket, source_id",
        schema.name
    );
    let sql = Sql::on(schema, c"ip_activity");
    let found = sql.returning(&text, &late_now());
    let tries = |row| found.get::<i32>(row, 2).map(|place| LATE_DAY.saturating_sub(place));
    (0..found.len()).filter_map(|row| Some((found.datum(row, 1)?.value() as i64, tries(row)?))).collect()
}

/// Marks a day that is over as one that answers are awaited for, unless it is marked.
pub fn note_late(schema: &Schema, day: i64, tries: i32) {
    let tries = tries.clamp(0, MOST_TRIES);
    let sql = Sql::on(schema, c"ip_activity");
    let known =
        format!("SELECT 1 FROM {}.ip_activity a WHERE a.bucket = $1 AND a.source_id <= $2 LIMIT 1", schema.name);
    let day = argument::moment(day);
    if sql.returning(&known, &[day, (pg_sys::INT4OID, LATE_DAY.into_datum())]).len() == 0 {
        let insert = format!(
            "INSERT INTO {}.ip_activity (bucket, by_day, source_id, addresses, packed) VALUES ($1, true, $2, $3, ''::bytea)",
            schema.name
        );
        let due = this_hour().saturating_add(1 << tries);
        let place = (pg_sys::INT4OID, (LATE_DAY - tries).into_datum());
        sql.run(&insert, &[day, place, (pg_sys::INT4OID, due.into_datum())]);
    }
}

/// Notes that what is kept of a day without its hours is counted.
pub fn note_counted(schema: &Schema, day: i64) {
    Sql::on(schema, c"ip_activity").run(
        &format!(
            "UPDATE {}.ip_activity SET counted = true WHERE bucket = $1 AND by_day AND NOT counted AND source_id >= 0",
            schema.name
        ),
        &[argument::moment(day)],
    );
}

/// Removes the rows of a day that say that it is to be counted again: see [`uncount`].
pub fn forget_marks(schema: &Schema, day: i64) {
    Sql::on(schema, c"ip_activity").run(
        &format!(
            "DELETE FROM {}.ip_activity WHERE bucket >= $1 AND bucket < $2 AND by_day AND source_id = $3",
            schema.name
        ),
        &[argument::moment(day), argument::moment(day + DAY), (pg_sys::INT4OID, COUNT_AGAIN.into_datum())],
    );
}

/// Has the hours and days counted again in which some places saw anything, whose rows are removed next. The caller has
/// [`Turn::Activity`](crate::pg::catalog::Turn::Activity).
pub fn uncount(schema: &Schema, places: &[i32]) {
    // A row without an address, of a place that is nobody's.
    Sql::on(schema, c"ip_activity").run(
        &format!(
            "INSERT INTO {0}.ip_activity (bucket, by_day, source_id, addresses, packed)
             SELECT DISTINCT a.bucket, a.by_day, $2, 0, ''::bytea FROM {0}.ip_activity a WHERE a.source_id = ANY ($1)",
            schema.name
        ),
        &[argument::integers(places.to_vec()), (pg_sys::INT4OID, COUNT_AGAIN.into_datum())],
    );
}
