//! Counting activity: of each hour with something new, and of its day, distinct addresses and observations, in all and by
//! country, AS, flag and list. In the process that counts the inventory, so that no absorb waits for it.
//!
//! Distinct addresses of a day are those of the union of its hours, so events that come late, or out of order, count
//! right. What an address is (its country, say) is what it was at the end of the hour or day, by the inventory and the history of
//! changes; a day is counted once more an hour after its end, when the sources have answered, and one that is over already as
//! long as answers are awaited. Of old days the hours are merged, and then they are dropped.

use std::collections::{BTreeSet, HashMap};

use enrich::activity::{DAY, HOUR, Observed, beginning, groups};
use pgrx::{IntoDatum, pg_sys};

use super::activity;
use super::activity::Awaited;
use super::activity_traits::Known;
use super::fold;
use super::places;
use crate::pg::argument;
use crate::pg::argument::Argument;
use crate::pg::catalog::{Schema, Turn};
use crate::pg::errors;
use crate::pg::memory;
use crate::pg::sql::Sql;
use crate::pg::time;

/// Hours or days of one call; more are left for the next.
const MOMENTS: usize = 500;
/// Addresses of one question to the inventory.
const BATCH: usize = 10_000;
/// Of the memory that a time takes, for those who look for memory that was not given back.
const MEMORY: &str = "asn_inventory activity";
/// Addresses, with repetitions, of places whose hours are merged at a time.
const MERGED: i64 = 4_000_000;
/// Rows of counts of one statement.
const COUNTS: usize = 20_000;
/// Counts of any kind. The key begins with whether they are of a day, and this.
const OF_ANY_KIND: &str = "kind IN ('all', 'country', 'asn', 'flag', 'list')";

/// Counts anew what has changed. Whether more is left.
pub fn recount(schema: &Schema) -> bool {
    if !places::is_there(schema) {
        return false;
    }
    if !Turn::Activity.take() {
        errors::raise(
            pgrx::PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
            "another session counts activity, or takes back that of a table",
            "",
            "",
        );
    }
    let [oldest_day, first_hour] = activity::limits().map(activity::first_day);
    // Without hours, those of today are kept until it is over, not counted: each count would write all of the day anew.
    let counted_hour = first_hour.max(oldest_day);
    let oldest_hour = if first_hour == i64::MAX { beginning(time::now(), DAY) } else { first_hour }.max(oldest_day);
    let open = activity::open(schema);
    let counting = &mut Counting { schema, known: Known::new(schema), awaits: Awaited::default() };
    // Days before this one are over for an hour.
    let ended = beginning(time::now() - HOUR, DAY);
    let new = counting.moments("NOT counted AND (source_id >= 0 OR source_id = $2 AND bucket < $1)", ended);
    let mut more = new.len() >= MOMENTS;
    let mut days: BTreeSet<i64> = new.iter().map(|moment| beginning(*moment, DAY)).collect();
    let late = activity::take_late(schema, open);
    more |= late.len() >= activity::LATE_DAYS;
    let ended_since = counting.moments("NOT counted AND source_id = $2 AND bucket < $1", ended);
    // What has come, and the marks, are in these. The others are counted anew, and their rows are left alone.
    let changed: BTreeSet<i64> = new.into_iter().chain(ended_since.iter().copied()).collect();
    let mut hours = changed.clone();
    for day in ended_since.into_iter().chain(late.keys().copied()) {
        hours.extend((0..24).map(|hour| day + hour * HOUR));
        days.insert(day);
    }
    let parted: BTreeSet<i64> =
        days.iter().copied().filter(|day| *day >= counted_hour && counting.has_lost_hours(*day)).collect();
    for hour in hours.into_iter().filter(|hour| *hour >= oldest_hour) {
        pgrx::check_for_interrupts!();
        let all = counting.all(hour, HOUR, |places| {
            if !changed.contains(&hour) {
                return union(&counting.read(hour, HOUR, places));
            }
            let merged = counting.take(hour, HOUR, places);
            let all = union(&merged);
            activity::insert(schema, merged.into_iter().map(|(place, observed)| (hour, place, observed)), false, true);
            all
        });
        if hour >= counted_hour && !parted.contains(&beginning(hour, DAY)) {
            memory::within(MEMORY, || counting.count(hour, false, &all));
        }
    }
    parted.into_iter().for_each(|day| counting.forget_hours(day));
    // Those that have become too old to keep their hours.
    let old = counting.moments("NOT by_day AND bucket < $1 AND source_id IS DISTINCT FROM $2", oldest_hour);
    more |= old.len() >= MOMENTS;
    days.extend(old.iter().map(|hour| beginning(*hour, DAY)));
    for day in days.into_iter().filter(|day| *day >= oldest_day) {
        pgrx::check_for_interrupts!();
        counting.awaits = Awaited::default();
        memory::within(MEMORY, || counting.day(day, oldest_hour, ended));
        if day < ended {
            activity::note_late(schema, day, late.get(&day).map_or(0, |tries| tries + 1), counting.awaits.now(open));
        }
    }
    expire(schema, oldest_day, counted_hour);
    more
}

/// Whether anything waits to be counted but days that are not over.
pub fn is_due(schema: &Schema) -> bool {
    if !places::is_there(schema) {
        return false;
    }
    let sql = Sql::on(schema, c"ip_activity");
    let text = format!(
        "SELECT 1 FROM {}.ip_activity WHERE NOT counted AND (source_id >= 0 OR {}) LIMIT 1",
        schema.name,
        activity::IS_LATE
    );
    sql.returning(&text, &activity::late_now(activity::open(schema))).len() > 0
}

fn union(all: &[(i32, Observed)]) -> Observed {
    Observed::union(all.iter().map(|(_, observed)| observed))
}

fn expire(schema: &Schema, oldest_day: i64, counted_hour: i64) {
    let run = |table: &std::ffi::CStr, condition: &str, limit: i64| {
        let text = format!("DELETE FROM {}.{} WHERE {condition} AND bucket < $1", schema.name, table.to_string_lossy());
        Sql::on(schema, table).run(&text, &[argument::moment(limit)]);
    };
    run(c"ip_activity", "true", oldest_day);
    run(c"ip_activity_count", &format!("by_day AND {OF_ANY_KIND}"), oldest_day);
    run(c"ip_activity_count", &format!("NOT by_day AND {OF_ANY_KIND}"), counted_hour);
}

/// One call.
struct Counting<'a> {
    schema: &'a Schema,
    known: Known<'a>,
    /// What answers are still to come of addresses of the day that is counted.
    awaits: Awaited,
}

impl Counting<'_> {
    /// Counts a day. Of one before `oldest_hour`, nothing is kept of its hours; one from `ended` on is counted once more.
    fn day(&mut self, day: i64, oldest_hour: i64, ended: i64) {
        let schema = self.schema;
        if day < oldest_hour && self.is_merged(day) {
            // Its rows stay as they are: written anew, those of years would be, for the sake of some answers.
            let all = self.all(day, DAY, |places| union(&self.read(day, DAY, places)));
            self.count(day, true, &all);
        } else if day < oldest_hour {
            self.merge(day);
        } else {
            activity::forget_marks(schema, day);
            // Hour by hour: so memory follows the distinct addresses of the day.
            let mut all = Observed::default();
            for hour in (0..24).map(|hour| day + hour * HOUR) {
                let of_hour = self.all(hour, HOUR, |places| union(&self.read(hour, HOUR, places)));
                all = Observed::union([&all, &of_hour]);
            }
            // Before it is read: what comes in between is counted once more, and not passed over.
            activity::note_counted(schema, day);
            let alone = union(&self.read_day_alone(day));
            self.count(day, true, &Observed::union([&all, &alone]));
        }
        if day >= ended {
            activity::note_open(schema, day);
        }
    }

    /// Whether of a day there is only what is counted, and without its hours.
    fn is_merged(&self, day: i64) -> bool {
        let sql = Sql::on(self.schema, c"ip_activity");
        let text = format!(
            "SELECT 1 FROM {}.ip_activity WHERE bucket >= $1 AND bucket < $2 AND source_id >= $3 AND NOT (by_day AND counted) LIMIT 1",
            self.schema.name
        );
        let mark = (pg_sys::INT4OID, activity::OPEN_DAY.into_datum());
        sql.returning(&text, &[argument::moment(day), argument::moment(day + DAY), mark]).len() == 0
    }

    /// Whether hours of a day were merged, when fewer were kept than now: what has come since is not all of its hour.
    fn has_lost_hours(&self, day: i64) -> bool {
        let sql = Sql::on(self.schema, c"ip_activity");
        let text = format!(
            "SELECT 1 FROM {}.ip_activity WHERE bucket = $1 AND by_day AND source_id > 0 LIMIT 1",
            self.schema.name
        );
        sql.returning(&text, &[argument::moment(day)]).len() > 0
    }

    /// Removes the counts of a day's hours.
    fn forget_hours(&self, day: i64) {
        Sql::on(self.schema, c"ip_activity_count").run(
            &format!(
                "DELETE FROM {}.ip_activity_count WHERE NOT by_day AND {OF_ANY_KIND} AND bucket >= $1 AND bucket < $2",
                self.schema.name
            ),
            &[argument::moment(day), argument::moment(day + DAY)],
        );
    }

    /// The addresses of an hour or a day, of some places at a time: `part` gives those of these places.
    fn all(&self, start: i64, width: i64, part: impl Fn(&[i32]) -> Observed) -> Observed {
        let mut all = Observed::default();
        for (places, _) in groups(&self.sizes(start, width), MERGED) {
            pgrx::check_for_interrupts!();
            memory::within(MEMORY, || all = Observed::union([&all, &part(&places)]));
        }
        all
    }

    /// Merges the hours of a day, of some places at a time. Of a place with more addresses than that, hour by hour: so memory
    /// follows its distinct addresses.
    fn merge(&mut self, day: i64) {
        let mut all = Observed::default();
        for (places, size) in groups(&self.sizes(day, DAY), MERGED) {
            let mut merged: HashMap<i32, Observed> = HashMap::new();
            let hours = if size > MERGED { 24 } else { 0 };
            // The whole day has what is left after its hours: what was kept by day, and what came meanwhile.
            for (start, width) in (0..hours).map(|hour| (day + hour * HOUR, HOUR)).chain([(day, DAY)]) {
                pgrx::check_for_interrupts!();
                memory::within(MEMORY, || {
                    for (place, observed) in self.take(start, width, &places) {
                        let known = merged.entry(place).or_default();
                        *known = Observed::union([&*known, &observed]);
                    }
                });
            }
            memory::within(MEMORY, || {
                all = Observed::union(std::iter::once(&all).chain(merged.values()));
                let days = merged.into_iter().map(|(place, observed)| (day, place, observed));
                activity::insert(self.schema, days, true, true);
            });
        }
        self.count(day, true, &all);
    }

    /// Which places have rows of an hour or a day, and for how many addresses, with repetitions. Not those that mark a day as
    /// late, which go when they are due.
    fn sizes(&self, start: i64, width: i64) -> Vec<(i32, i64)> {
        let sql = Sql::on(self.schema, c"ip_activity");
        let found = sql.returning(
            &format!(
                "SELECT source_id, sum(addresses)::bigint FROM {}.ip_activity WHERE {} bucket >= $1 AND bucket < $2 AND source_id >= $3 GROUP BY 1 ORDER BY 1",
                self.schema.name,
                of_one_shard(width)
            ),
            &[
                argument::moment(start),
                argument::moment(start + width),
                (pg_sys::INT4OID, activity::OPEN_DAY.into_datum()),
            ],
        );
        (0..found.len()).filter_map(|row| Some((found.get(row, 1)?, found.get(row, 2)?))).collect()
    }

    /// The hours or days of rows that meet a condition, in which `$1` is a limit and `$2` the place that marks a day.
    fn moments(&self, condition: &str, limit: i64) -> Vec<i64> {
        let sql = Sql::on(self.schema, c"ip_activity");
        let found = sql.returning(
            &format!(
                "SELECT DISTINCT bucket FROM {}.ip_activity WHERE {condition} ORDER BY 1 LIMIT {MOMENTS}",
                self.schema.name
            ),
            &[argument::moment(limit), (pg_sys::INT4OID, activity::OPEN_DAY.into_datum())],
        );
        (0..found.len()).filter_map(|row| found.moment(row, 1)).collect()
    }

    /// What some places saw in an hour or a day.
    fn read(&self, start: i64, width: i64, places: &[i32]) -> Vec<(i32, Observed)> {
        self.parts(start, width, Some(places), "SELECT source_id, packed FROM", "")
    }

    /// What is kept of a day without its hours.
    fn read_day_alone(&self, day: i64) -> Vec<(i32, Observed)> {
        self.parts(day, DAY, None, "SELECT source_id, packed FROM", "AND by_day")
    }

    /// What some places saw in an hour or a day, and removes the rows. In one statement: others may come at any moment.
    fn take(&self, start: i64, width: i64, places: &[i32]) -> Vec<(i32, Observed)> {
        self.parts(start, width, Some(places), "DELETE FROM", "RETURNING source_id, packed")
    }

    fn parts(
        &self,
        start: i64,
        width: i64,
        places: Option<&[i32]>,
        from: &str,
        returning: &str,
    ) -> Vec<(i32, Observed)> {
        let sql = Sql::on(self.schema, c"ip_activity");
        // Of a day, what is kept by day is a part of it.
        let hour = of_one_shard(width);
        let of = if places.is_some() { "AND source_id = ANY ($4)" } else { "" };
        let mut arguments = vec![
            argument::moment(start),
            argument::moment(start + width),
            (pg_sys::BOOLOID, (width == DAY).into_datum()),
        ];
        arguments.extend(places.map(|places| argument::integers(places.to_vec())));
        let found = sql.returning(
            &format!(
                "{from} {}.ip_activity WHERE {hour} bucket >= $1 AND bucket < $2 AND (NOT by_day OR $3) {of} {returning}",
                self.schema.name
            ),
            &arguments,
        );
        let mut parts: HashMap<i32, Vec<Vec<u8>>> = HashMap::new();
        for row in 0..found.len() {
            if let (Some(place), Some(packed)) = (found.get::<i32>(row, 1), found.get::<Vec<u8>>(row, 2))
                && !packed.is_empty()
            {
                parts.entry(place).or_default().push(packed);
            }
        }
        parts
            .into_iter()
            .map(|(place, parts)| {
                let (observed, whole) = Observed::unpacked(parts.iter().map(|part| &part[..]), fold::kept);
                if !whole {
                    pgrx::warning!("asn_inventory: a packed row of ip_activity is damaged");
                }
                (place, observed)
            })
            .collect()
    }

    /// Writes the counts of a time.
    fn count(&mut self, start: i64, by_day: bool, observed: &Observed) {
        let mut sums: HashMap<u32, (i64, i64)> = HashMap::new();
        for batch in observed.entries().chunks(BATCH) {
            pgrx::check_for_interrupts!();
            let numbers = self.known.at(batch, start + if by_day { DAY } else { HOUR });
            for (number, (_, count)) in numbers.into_iter().zip(batch) {
                let sum = sums.entry(number).or_default();
                *sum = (sum.0 + 1, sum.1.saturating_add(*count));
            }
        }
        let mut counts: HashMap<(&str, String), (i64, i64)> = HashMap::new();
        let mut add = |kind, value: String, (addresses, observations): (i64, i64)| {
            let sum = counts.entry((kind, value)).or_default();
            *sum = (sum.0 + addresses, sum.1.saturating_add(observations));
        };
        for (number, sum) in sums {
            let traits = self.known.traits(number);
            if by_day {
                self.awaits.add(traits.awaited);
            }
            add("all", String::new(), sum);
            add("country", traits.country.clone(), sum);
            add("asn", traits.asn.map(|asn| asn.to_string()).unwrap_or_default(), sum);
            traits.flags.iter().for_each(|flag| add("flag", flag.clone(), sum));
            traits.lists.iter().for_each(|list| add("list", list.clone(), sum));
        }
        self.write(start, by_day, counts);
    }

    /// Writes the counts of a time in the place of earlier ones.
    fn write(&self, start: i64, by_day: bool, counts: HashMap<(&str, String), (i64, i64)>) {
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_unstable();
        let sql = Sql::on(self.schema, c"ip_activity_count");
        let time = [argument::moment(start), (pg_sys::BOOLOID, by_day.into_datum())];
        let [moment, is_day] = time;
        sql.run(
            &format!(
                "DELETE FROM {}.ip_activity_count c WHERE c.by_day = $2 AND c.kind IN ('all', 'country', 'asn', 'flag', 'list') AND c.bucket = $1
                     AND NOT EXISTS (SELECT FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4)) AS r(kind, value)
                                     WHERE (r.kind, r.value) = (c.kind, c.value))",
                self.schema.name
            ),
            &[moment, is_day, kinds(&counts), values(&counts)],
        );
        for batch in counts.chunks(COUNTS) {
            sql.run(
                &format!(
                    "INSERT INTO {}.ip_activity_count AS c (bucket, by_day, kind, value, addresses, observations)
                     SELECT $1, $2, r.* FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6)) AS r
                     ON CONFLICT (by_day, kind, bucket, value) DO UPDATE SET addresses = EXCLUDED.addresses, observations = EXCLUDED.observations
                     WHERE (c.addresses, c.observations) IS DISTINCT FROM (EXCLUDED.addresses, EXCLUDED.observations)",
                    self.schema.name
                ),
                &[
                    moment,
                    is_day,
                    kinds(batch),
                    values(batch),
                    argument::bigints(batch.iter().map(|(_, (addresses, _))| *addresses).collect()),
                    argument::bigints(batch.iter().map(|(_, (_, observations))| *observations).collect()),
                ],
            );
        }
    }
}

/// An hour is named itself, so that Citus asks one shard.
fn of_one_shard(width: i64) -> &'static str {
    if width == HOUR { "bucket = $1 AND" } else { "" }
}

/// Counts by what they are of.
type Counts<'a> = [((&'a str, String), (i64, i64))];

fn kinds(counts: &Counts<'_>) -> Argument {
    argument::texts(&counts.iter().map(|((kind, _), _)| (*kind).to_owned()).collect::<Vec<_>>())
}

fn values(counts: &Counts<'_>) -> Argument {
    argument::texts(&counts.iter().map(|((_, value), _)| value.clone()).collect::<Vec<_>>())
}
