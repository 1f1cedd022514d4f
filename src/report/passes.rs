//! The passes over `ip_inventory`.

use std::collections::HashMap;

use pgrx::IntoDatum;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use ::report::{AGE_CLASSES, AGES, City, Country, Coverage, Place, Report, Timeline, figures};

use super::{count, moment, text};
use crate::catalog::Schema;
use crate::sql::Sql;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// Times further back, or further ahead, are left out of the timeline: events bring times of their own, and one from
/// 1970 would leave no room for the others.
const YEARS_BACK: i64 = 10;
/// Lengths of a bucket, and up to which length of time it is used.
const STEPS: [(i64, i64); 4] = [(HOUR, 3 * DAY), (DAY, 120 * DAY), (7 * DAY, 830 * DAY), (30 * DAY, i64::MAX)];
/// Degrees of a cell of the map.
const CELL: f64 = 2.0;
/// Most dots of the map.
const PLACES: usize = 2_000;
/// Rows of a short table.
const TOP: i64 = 10;

/// The times between which addresses were observed, in Unix seconds.
pub type Span = Option<(i64, i64)>;

/// Totals, statuses, ages and scanners: a group for every combination of statuses.
pub fn statuses(sql: &Sql, schema: &Schema, now: i64, report: &mut Report) -> Span {
    // Ages are counted as "younger than", which is a comparison each; the differences are the classes.
    let ages: Vec<String> = ["maxmind_ts", "cymru_ts", "scanner_ts"]
        .iter()
        .flat_map(|column| {
            AGES.iter().map(move |(days, _)| match days {
                Some(days) => format!("count(*) FILTER (WHERE {column} > $1 - interval '{days} days')"),
                None => format!("count({column})"),
            })
        })
        .collect();
    let table = sql.query(
        &format!(
            "SELECT maxmind_status, cymru_status, greynoise_status, coalesce(ip_class = 'public', true),
                 CASE WHEN scanner_noise THEN CASE scanner_classification WHEN 'malicious' THEN 1 WHEN 'benign' THEN 2
                                                                          ELSE 3 END
                      WHEN scanner_riot THEN 4 WHEN scanner_noise IS NOT NULL OR scanner_ts IS NOT NULL THEN 5 ELSE 0 END,
                 count(*), sum(observation_count)::bigint, count(asn_number),
                 min(first_seen_at) FILTER (WHERE first_seen_at BETWEEN $1 - interval '{YEARS_BACK} years' AND $1 + interval '1 day'),
                 max(last_seen_at) FILTER (WHERE last_seen_at BETWEEN $1 - interval '{YEARS_BACK} years' AND $1 + interval '1 day'),
                 {}
             FROM {}.ip_inventory GROUP BY 1, 2, 3, 4, 5",
            ages.join(", "),
            schema.name
        ),
        &[(pg_sys::TIMESTAMPTZOID, Some(Datum::from(now)))],
    );
    let mut span: Span = None;
    for row in 0..table.len() {
        let words = [1, 2, 3].map(|column| text(&table, row, column));
        let addresses = count(&table, row, 6);
        let totals = &mut report.totals;
        totals.addresses += addresses;
        totals.observations += count(&table, row, 7);
        totals.with_asn += count(&table, row, 8);
        totals.public += if table.get::<bool>(row, 4) == Some(true) { addresses } else { 0 };
        totals.enriched += if words[0] == "found" || words[1] == "found" { addresses } else { 0 };
        let scanners = &mut report.scanners;
        match table.get::<i32>(row, 5) {
            Some(1) => scanners.malicious += addresses,
            Some(2) => scanners.benign += addresses,
            Some(3) => scanners.unknown += addresses,
            Some(4) => scanners.riot += addresses,
            Some(5) => scanners.not_seen += addresses,
            _ => {}
        }
        for (at, source) in report.sources.iter_mut().take(words.len()).enumerate() {
            add(&mut source.coverage, &words[at], addresses);
            let mut younger = 0;
            for class in 0..AGE_CLASSES {
                let up_to = count(&table, row, 11 + at * AGE_CLASSES + class);
                source.ages[class] += up_to.saturating_sub(younger);
                younger = up_to;
            }
        }
        for at in [moment(&table, row, 9), moment(&table, row, 10)].into_iter().flatten() {
            span = Some(span.map_or((at, at), |(from, to)| (from.min(at), to.max(at))));
        }
    }
    span
}

fn add(coverage: &mut Coverage, status: &str, addresses: u64) {
    let counter = match status {
        "found" => &mut coverage.found,
        "not_found" => &mut coverage.not_found,
        "pending" => &mut coverage.pending,
        "failed" => &mut coverage.failed,
        "quota" => &mut coverage.quota,
        "skipped" => &mut coverage.skipped,
        _ => &mut coverage.unavailable,
    };
    *counter += addresses;
}

/// Both series of the timeline: a group for every pair of buckets.
pub fn timeline(sql: &Sql, schema: &Schema, span: Span, report: &mut Report) {
    let Some((from, to)) = span else { return };
    let step = STEPS.iter().find(|(_, most)| to - from <= *most).map_or(DAY, |(step, _)| *step);
    let start = from.div_euclid(step) * step;
    let buckets = ((to - start) / step + 1) as usize;
    let bounds: Vec<String> = (0..=buckets as i64)
        .map(|i| figures::time(start + i * step, "%Y-%m-%d %H:%M:%S+00"))
        .map(|bound| format!("\"{bound}\""))
        .collect();
    // width_bucket answers for every time, infinite ones as well: 0 before the first bound, and so on.
    let table = sql.query(
        &format!(
            "SELECT width_bucket(first_seen_at, b.bounds), width_bucket(last_seen_at, b.bounds),
                 count(*), sum(observation_count)::bigint
             FROM {}.ip_inventory, (VALUES ('{{{}}}'::timestamptz[])) b(bounds) GROUP BY 1, 2",
            schema.name,
            bounds.join(",")
        ),
        &[],
    );
    let mut line = Timeline { start, step, new: vec![0; buckets], observed: vec![0; buckets], outside: 0 };
    for row in 0..table.len() {
        let bucket = |column| table.get::<i32>(row, column).and_then(|n| (n as usize).checked_sub(1));
        let (addresses, observations) = (count(&table, row, 3), count(&table, row, 4));
        let new = bucket(1).and_then(|bucket| line.new.get_mut(bucket)).map(|n| *n += addresses);
        let observed = bucket(2).and_then(|bucket| line.observed.get_mut(bucket)).map(|n| *n += observations);
        if new.is_none() || observed.is_none() {
            line.outside += addresses;
        }
    }
    report.timeline = line;
}

/// Countries and the map: a group for every cell of a country.
pub fn places(sql: &Sql, schema: &Schema, report: &mut Report) {
    let located = "latitude BETWEEN -90 AND 90 AND longitude BETWEEN -180 AND 180";
    let table = sql.query(
        &format!(
            "SELECT country_code, avg(latitude) FILTER (WHERE {located}), avg(longitude) FILTER (WHERE {located}),
                 count(*), sum(observation_count)::bigint, count(*) FILTER (WHERE {located})
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
            country.observations += count(&table, row, 5);
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
            "SELECT city, country_code, count(*), sum(observation_count)::bigint
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
