//! Which addresses were observed in each hour of the events' own times: appended packed, as the queue is absorbed, and
//! counted later ([`super::activity_count`]).

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use enrich::activity::{DAY, HOUR, Observed, beginning};
use pgrx::{IntoDatum, pg_sys};

use super::asker;
use super::places::Place;
use crate::files::maxmind;
use crate::pg::argument;
use crate::pg::argument::Argument;
use crate::pg::catalog::Schema;
use crate::pg::sql::Sql;
use crate::pg::time;
use crate::settings;

/// The place of a row that marks a day that is not over: it is counted once more after its end.
pub const OPEN_DAY: i32 = -1;
/// The places below that one mark a day that was over when it was counted, and of whose addresses answers are awaited. This one
/// says that no file can give them, as none is installed: it is counted once more when there is one. Until then every try would read
/// all of it for nothing.
const NO_FILES: i32 = -2;
/// The same where Team Cymru is switched off, until it is switched on.
const SWITCHED_OFF: i32 = -3;
/// The ones from this one downwards say from which hour on it is counted once more, and how often that was tried: see [`late`]. In
/// the place, since `addresses` are addresses to who sums them up.
const LATE_UNTIL: i32 = -16;
/// Numbers of tries that a place has room for.
const TRIES: i32 = 8;
/// Each try comes after twice the time, up to so many doublings of an hour.
const MOST_TRIES: i32 = 5;
/// Late days of one call, as many as some hundred hours have: a file that is installed later makes all of them late at once, years
/// are due at the same time after a load of an archive, and a call that fails begins again.
pub const LATE_DAYS: usize = 20;
/// The place of a row that says that its hour or day is to be counted again.
const COUNT_AGAIN: i32 = 0;
/// Bytes of one packed row: four rows a page, and nothing that PostgreSQL would compress or store apart.
const PACKED_BYTES: usize = 1900;

/// Whether it is kept.
pub fn is_kept() -> bool {
    !settings::activity()[0].is_zero()
}

/// Events from before this (timestamptz) are not kept: the first for days, the second for hours. `i64::MAX`, infinity: none is.
pub fn limits() -> [i64; 2] {
    let now = time::now();
    settings::activity().map(|kept| match i64::try_from(kept.as_micros()) {
        Ok(0) => i64::MAX,
        kept => now.saturating_sub(kept.unwrap_or(i64::MAX)),
    })
}

/// The beginning of the day of a limit; of infinity, that.
pub fn first_day(limit: i64) -> i64 {
    if limit == i64::MAX { limit } else { beginning(limit, DAY) }
}

/// What answers are still to come of addresses without an AS, and what they wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Awaited {
    /// A source that is asked.
    pub source: bool,
    /// A file: none is installed.
    pub files: bool,
    /// Team Cymru to be switched on.
    pub switch: bool,
}

impl Awaited {
    /// Also that of another address.
    pub fn add(&mut self, other: Awaited) {
        self.source |= other.source;
        self.files |= other.files;
        self.switch |= other.switch;
    }

    /// With what may answer now: what waited for a file that is there by now, waits for a source as any other.
    pub fn now(self, open: Open) -> Awaited {
        Awaited {
            source: self.source || self.files && open.files || self.switch && open.cymru,
            files: self.files && !open.files,
            switch: self.switch && !open.cymru,
        }
    }
}

/// What may answer now.
#[derive(Clone, Copy)]
pub struct Open {
    files: bool,
    cymru: bool,
}

/// What may answer now.
pub fn open(schema: &Schema) -> Open {
    Open { files: maxmind::with_quietly(|databases| !databases.is_empty()), cymru: asker::policy(schema).cymru }
}

/// Appends what places saw, in any order, each entry within one hour.
pub fn append(schema: &Schema, places: &[Place]) {
    let oldest = first_day(limits()[0]);
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

/// The place that marks a day as late: until an hour, and after so many tries.
fn late(due: i32, tries: i32) -> i32 {
    LATE_UNTIL - (due.clamp(0, i32::MAX / TRIES - 4) * TRIES + tries)
}

/// Rows that mark a day as late which is due now, by the parameters that [`late_now`] gives.
pub const IS_LATE: &str = "(source_id BETWEEN $2 AND $1 OR source_id = ANY ($3))";

/// The greatest and the least of the places that mark a day as late that is due now, and those of days that waited for what is
/// there now: `$1` to `$3` of who looks for these.
pub fn late_now(open: Open) -> [Argument; 3] {
    let [greatest, least] =
        [LATE_UNTIL, late(this_hour(), TRIES - 1)].map(|place| (pg_sys::INT4OID, place.into_datum()));
    let waited = [(NO_FILES, open.files), (SWITCHED_OFF, open.cymru)];
    let waited = waited.into_iter().filter(|(_, is_there)| *is_there).map(|(place, _)| place).collect();
    [greatest, least, argument::integers(waited)]
}

/// Hours since PostgreSQL's epoch.
fn this_hour() -> i32 {
    i32::try_from(time::now() / HOUR).unwrap_or(i32::MAX)
}

/// Takes away the marks of days that are to be counted once more now, of [`LATE_DAYS`] of them. The days, and how often that was
/// tried.
pub fn take_late(schema: &Schema, open: Open) -> HashMap<i64, i32> {
    let sql = Sql::on(schema, c"ip_activity");
    let [greatest, least, waited] = late_now(open);
    // In two steps: Citus takes no DELETE with a limit.
    let text = format!(
        "SELECT DISTINCT bucket FROM {}.ip_activity WHERE NOT counted AND {IS_LATE} ORDER BY 1 LIMIT {LATE_DAYS}",
        schema.name
    );
    let found = sql.returning(&text, &[greatest, least, waited]);
    let days: Vec<i64> = (0..found.len()).filter_map(|row| found.moment(row, 1)).collect();
    if days.is_empty() {
        return HashMap::new();
    }
    let text = format!(
        "DELETE FROM {}.ip_activity WHERE NOT counted AND {IS_LATE} AND bucket = ANY ($4) RETURNING bucket, source_id",
        schema.name
    );
    let found = sql.returning(&text, &[greatest, least, waited, argument::moments(days.into_iter())]);
    // A day that waited for something else begins anew: its first try is yet to come.
    let tries = |place: i32| if place > LATE_UNTIL { -1 } else { LATE_UNTIL.saturating_sub(place) % TRIES };
    let tries = |row| found.get::<i32>(row, 2).map(tries);
    (0..found.len()).filter_map(|row| Some((found.moment(row, 1)?, tries(row)?))).collect()
}

/// Marks a day that is over as one that answers are awaited for, unless it is marked.
pub fn note_late(schema: &Schema, day: i64, tries: i32, awaited: Awaited) {
    let tries = tries.clamp(0, MOST_TRIES);
    if awaited.source {
        mark(schema, day, late(this_hour().saturating_add(1 << tries), tries), [i32::MIN, LATE_UNTIL]);
    }
    if awaited.files {
        mark(schema, day, NO_FILES, [NO_FILES; 2]);
    }
    if awaited.switch {
        mark(schema, day, SWITCHED_OFF, [SWITCHED_OFF; 2]);
    }
}

/// Marks a day with a place, unless it has a mark from one of these to another.
fn mark(schema: &Schema, day: i64, place: i32, [from, to]: [i32; 2]) {
    let sql = Sql::on(schema, c"ip_activity");
    let known = format!(
        "SELECT 1 FROM {}.ip_activity a WHERE a.bucket = $1 AND a.source_id BETWEEN $2 AND $3 LIMIT 1",
        schema.name
    );
    let day = argument::moment(day);
    let [place, from, to] = [place, from, to].map(|place| (pg_sys::INT4OID, place.into_datum()));
    if sql.returning(&known, &[day, from, to]).len() == 0 {
        let insert = format!(
            "INSERT INTO {}.ip_activity (bucket, by_day, source_id, addresses, packed) VALUES ($1, true, $2, 0, ''::bytea)",
            schema.name
        );
        sql.run(&insert, &[day, place]);
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
