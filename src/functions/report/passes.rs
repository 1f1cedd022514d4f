//! The passes over `ip_inventory`.

use std::collections::HashMap;

use pgrx::IntoDatum;
use pgrx::pg_sys;

use ::report::{
    AGE_CLASSES, AGES, Activity, City, Country, Coverage, Named, Place, Report, Scanners, Timeline, figures,
};

use super::{count, moment, text};
use crate::inventory::places;
use crate::pg::argument;
use crate::pg::argument::Argument;
use crate::pg::catalog::Schema;
use crate::pg::shape;
use crate::pg::sql::Sql;

const DAY: i64 = 86_400;
/// Times further back, or further ahead, are left out of the timeline: events bring times of their own, and one from
/// 1970 would leave no room for the others.
const YEARS_BACK: i64 = 10;
/// Degrees of a cell of the map.
const CELL: f64 = 2.0;
/// Most places of the map: more than there are cells with land and countries in them.
const PLACES: usize = 20_000;
/// The observations of a group: counts written by hand may be as large as the type allows.
const SEEN: &str = "least(coalesce(sum(observation_count), 0), 9223372036854775807)::bigint";
/// Most flags, and most lists.
const NAMED: usize = 50;
/// Rows of a short table.
const TOP: i64 = 10;

/// The times between which addresses were observed, in Unix seconds.
pub type Span = Option<(i64, i64)>;

/// The statuses that are counted one by one; all others are counted as `unavailable`.
const STATUSES: [&str; 6] = ["found", "not_found", "pending", "failed", "quota", "skipped"];
/// The columns of the status and of the time of the answer, in the order of the sources.
const COLUMNS: [(&str, &str); 3] =
    [("maxmind_status", "maxmind_ts"), ("cymru_status", "cymru_ts"), ("greynoise_status", "scanner_ts")];

/// Totals, statuses, ages and scanners. Without a GROUP BY: the planner takes the groups for many, and would sort.
pub fn totals(sql: &Sql, schema: &Schema, now: i64, report: &mut Report) -> Span {
    // Times come in as parameters: a subtraction would be repeated for every row.
    let mut times = Vec::new();
    let mut parameter = |time: Argument| {
        times.push(time);
        format!("${}", times.len())
    };
    let [first, last] = window(now).map(&mut parameter);
    let window = format!("BETWEEN {first} AND {last}");
    let seen = |of: &str, end: &str| {
        let time = |at| format!("{end}({at}) FILTER (WHERE observation_count > 0 AND {at} {window})");
        format!("{of}({}, {})", time("first_seen_at"), time("last_seen_at"))
    };
    let ages = AGES.map(|(days, _)| days.map(|days| parameter(days_ago(now, i64::from(days)))));
    let mut columns = vec![
        "count(*)".to_owned(),
        SEEN.to_owned(),
        "count(*) FILTER (WHERE coalesce(ip_class = 'public', true))".to_owned(),
        "count(*) FILTER (WHERE maxmind_status = 'found' OR cymru_status = 'found')".to_owned(),
        "count(asn_number)".to_owned(),
        // Either time of an address may be the only one of it that can be shown.
        seen("least", "min"),
        seen("greatest", "max"),
    ];
    let filtered = |condition: String| format!("count(*) FILTER (WHERE {condition})");
    let scanners = columns.len() + 1;
    columns.extend(
        [
            "scanner_noise AND scanner_classification = 'malicious'",
            "scanner_noise AND scanner_classification = 'benign'",
            "scanner_noise",
            "scanner_riot AND scanner_noise IS NOT TRUE",
            "scanner_noise IS NOT NULL OR scanner_riot IS NOT NULL OR scanner_ts IS NOT NULL",
        ]
        .map(|condition| filtered(condition.to_owned())),
    );
    let sources = columns.len() + 1;
    for (status, at) in COLUMNS {
        columns.extend(STATUSES.map(|word| filtered(format!("{status} = '{word}'"))));
        // Ages are counted as "younger than", which is a comparison each; the differences are the classes.
        columns.extend(ages.iter().map(|since| match since {
            Some(since) => filtered(format!("{at} > {since}")),
            None => format!("count({at})"),
        }));
    }
    let table = sql.query(&format!("SELECT {} FROM {}.ip_inventory", columns.join(", "), schema.name), &times);
    let value = |column| count(&table, 0, column);
    let totals = &mut report.totals;
    totals.addresses = value(1);
    totals.observations = value(2);
    totals.public = value(3);
    totals.enriched = value(4);
    totals.with_asn = value(5);
    let (scanning, asked) = (value(scanners + 2), value(scanners + 4));
    report.scanners = Scanners {
        malicious: value(scanners),
        benign: value(scanners + 1),
        unknown: scanning.saturating_sub(value(scanners) + value(scanners + 1)),
        riot: value(scanners + 3),
        not_seen: asked.saturating_sub(scanning + value(scanners + 3)),
    };
    for (nth, source) in report.sources.iter_mut().take(COLUMNS.len()).enumerate() {
        let first = sources + nth * (STATUSES.len() + AGE_CLASSES);
        let [found, not_found, pending, failed, quota, skipped] = [0, 1, 2, 3, 4, 5].map(|at| value(first + at));
        let others = totals.addresses.saturating_sub(found + not_found + pending + failed + quota + skipped);
        source.coverage = Coverage { found, not_found, pending, failed, quota, skipped, unavailable: others };
        let mut younger = 0;
        for (class, age) in source.ages.iter_mut().enumerate() {
            let up_to = value(first + STATUSES.len() + class);
            *age = up_to.saturating_sub(younger);
            younger = up_to;
        }
    }
    moment(&table, 0, 6).zip(moment(&table, 0, 7))
}

/// Between which times an event is shown.
fn window(now: i64) -> [Argument; 2] {
    [YEARS_BACK * 365, -1].map(|days| days_ago(now, days))
}

fn days_ago(now: i64, days: i64) -> Argument {
    argument::moment(now.saturating_sub(days * DAY * 1_000_000))
}

/// Both series of the timeline: a group for every pair of buckets. An address that was only asked about has no time of
/// an event. Observations are those of their own days or hours, where these are counted; the rest of them is a figure.
pub fn timeline(sql: &Sql, schema: &Schema, now: i64, span: Span, report: &mut Report) {
    let counted = activity(schema, now);
    let Some(mut line) = Timeline::over(span, &counted, report.totals.observations) else { return };
    let bounds: Vec<String> = line.bounds().map(|bound| figures::time(bound, "\"%Y-%m-%d %H:%M:%S+00\"")).collect();
    // width_bucket answers for every time, infinite ones as well: 0 before the first bound, and so on.
    let table = sql.query(
        &format!(
            "SELECT width_bucket(first_seen_at, b.bounds), width_bucket(last_seen_at, b.bounds),
                 count(*), {SEEN}
             FROM {}.ip_inventory, (VALUES ('{{{}}}'::timestamptz[])) b(bounds)
             WHERE observation_count > 0 GROUP BY 1, 2",
            schema.name,
            bounds.join(",")
        ),
        &[],
    );
    let is_exact = line.is_exact;
    for row in 0..table.len() {
        let bucket = |column| table.get::<i32>(row, column).and_then(|n| (n as usize).checked_sub(1));
        let (addresses, observations) = (count(&table, row, 3), count(&table, row, 4));
        let new = bucket(1).and_then(|bucket| line.new.get_mut(bucket)).map(|n| *n += addresses);
        let last_seen = bucket(2).and_then(|bucket| line.observed.get_mut(bucket)).map(|n| {
            if !is_exact {
                *n = n.saturating_add(observations);
            }
        });
        if new.is_none() || last_seen.is_none() {
            line.outside += addresses;
        }
    }
    report.timeline = line;
}

/// Observations by the time of the events, as far as they are counted and may be read. The table may be another role's than
/// those of the rest, whose code is to run with its rights alone.
fn activity(schema: &Schema, now: i64) -> Activity {
    let mut activity = Activity::default();
    if !places::is_there(schema) {
        return activity;
    }
    let sql = Sql::on(schema, c"ip_activity_count");
    let may_read = format!("SELECT pg_catalog.has_table_privilege({}, 'SELECT')", schema.regclass("ip_activity_count"));
    if sql.query(&may_read, &[]).get::<bool>(0, 1) != Some(true) {
        return activity;
    }
    // The key begins with these.
    let counts = |by_day: &str| {
        format!(
            "SELECT by_day, bucket, observations FROM {}.ip_activity_count
             WHERE {by_day} AND kind = 'all' AND bucket BETWEEN $1 AND $2",
            schema.name
        )
    };
    let table = sql.query(&format!("{} UNION ALL {}", counts("by_day"), counts("NOT by_day")), &window(now));
    for row in 0..table.len() {
        let Some(at) = moment(&table, row, 2) else { continue };
        let of = if table.get::<bool>(row, 1) == Some(true) { &mut activity.days } else { &mut activity.hours };
        of.push((at, count(&table, row, 3)));
    }
    activity
}

/// Countries and the map: a group for every cell of a country.
pub fn places(sql: &Sql, schema: &Schema, report: &mut Report) {
    let located = "latitude BETWEEN -90 AND 90 AND longitude BETWEEN -180 AND 180";
    let table = sql.query(
        &format!(
            "SELECT country_code, avg(latitude) FILTER (WHERE {located}), avg(longitude) FILTER (WHERE {located}),
                 count(*), {SEEN}, count(*) FILTER (WHERE {located})
             FROM {}.ip_inventory
             WHERE country_code IS NOT NULL OR {located}
             GROUP BY country_code, CASE WHEN {located} THEN floor(latitude / {CELL}) END,
                 CASE WHEN {located} THEN floor(longitude / {CELL}) END",
            schema.name
        ),
        &[],
    );
    let mut countries: HashMap<String, Country> = HashMap::new();
    for row in 0..table.len() {
        let code = text(&table, row, 1);
        if !code.is_empty() {
            let country = countries.entry(code.clone()).or_insert_with(|| Country { code, ..Country::default() });
            country.addresses += count(&table, row, 4);
            country.observations = country.observations.saturating_add(count(&table, row, 5));
        }
        if let (Some(latitude), Some(longitude)) = (table.get::<f64>(row, 2), table.get::<f64>(row, 3)) {
            report.places.push(Place { latitude, longitude, addresses: count(&table, row, 6) });
        }
    }
    report.places.sort_by_key(|place| std::cmp::Reverse(place.addresses));
    report.located = report.places.iter().map(|place| place.addresses).sum();
    report.places.truncate(PLACES);
    report.totals.countries = countries.len() as u64;
    report.countries = countries.into_values().collect();
    report.countries.sort_by(|a, b| b.observations.cmp(&a.observations).then_with(|| a.code.cmp(&b.code)));
}

/// The cities with the most addresses.
pub fn cities(sql: &Sql, schema: &Schema, report: &mut Report) {
    let table = sql.query(
        &format!(
            "SELECT city, country_code, count(*), {SEEN}
             FROM {}.ip_inventory WHERE city IS NOT NULL GROUP BY 1, 2 ORDER BY 3 DESC, 4 DESC, 1, 2 LIMIT $1",
            schema.name
        ),
        &[(pg_sys::INT8OID, TOP.into_datum())],
    );
    report.cities = (0..table.len())
        .map(|row| City {
            name: text(&table, row, 1),
            country: text(&table, row, 2),
            addresses: count(&table, row, 3),
            observations: count(&table, row, 4),
        })
        .collect();
}

/// Flags and lists: a group for each. Rows with neither, mostly all of them, are passed over.
pub fn flags_and_lists(sql: &Sql, schema: &Schema, report: &mut Report) {
    let columns = shape::readable(schema.relation(c"ip_inventory"));
    // An inventory of the version before has neither, until it is updated.
    if !columns.iter().any(|known| known == "lists") {
        return;
    }
    let table = sql.query(
        &format!(
            "SELECT named.at > coalesce(cardinality(i.flags), 0), named.name, count(*), {SEEN}
             FROM {}.ip_inventory i, unnest(i.flags || i.lists) WITH ORDINALITY AS named(name, at)
             WHERE i.flags IS NOT NULL OR i.lists IS NOT NULL GROUP BY 1, 2 ORDER BY 3 DESC, 4 DESC, 2",
            schema.name
        ),
        &[],
    );
    for row in 0..table.len() {
        let all = if table.get::<bool>(row, 1) == Some(true) { &mut report.lists } else { &mut report.flags };
        if all.len() < NAMED {
            all.push(Named {
                name: text(&table, row, 2),
                addresses: count(&table, row, 3),
                observations: count(&table, row, 4),
            });
        }
    }
}
