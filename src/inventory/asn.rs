//! The worker's data of autonomous systems: names and registrations, and the counts of their addresses.

use enrich::cymru::AsName;
use enrich::cymru::answer::StoredName;
use enrich::source::Source;
use serde_json::{Value, json};

use super::{due, uncounted};
use crate::pg::argument;
use crate::pg::catalog::{Schema, Turn};
use crate::pg::sql::Sql;
use crate::settings;

/// Names that Team Cymru gave before, of these AS, and whether they are as young as its answers must be; those it was never
/// asked about are left out.
pub fn names(schema: &Schema, asns: &[u32]) -> Vec<StoredName> {
    let asns: Vec<i64> = asns.iter().map(|asn| i64::from(*asn)).collect();
    let lives = settings::lifetimes();
    let sql = Sql::on(schema, c"asn_inventory");
    let found = sql.query(
        &format!(
            "SELECT asn_number, asn_org, details_ts < now() + interval '1 day'
                 AND (asn_org IS NOT NULL AND details_ts > now() - $2 OR asn_org IS NULL AND details_ts > now() - $3)
             FROM {}.asn_inventory WHERE asn_number = ANY ($1) AND details_ts IS NOT NULL",
            schema.name
        ),
        &[argument::bigints(asns), argument::interval(lives.cymru), argument::interval(lives.cymru_negative)],
    );
    let stored = |row| {
        let asn = u32::try_from(found.get::<i64>(row, 1)?).ok()?;
        Some(StoredName { asn, name: found.text(row, 2), is_fresh: found.get::<bool>(row, 3) == Some(true) })
    };
    (0..found.len()).filter_map(stored).collect()
}

/// Team Cymru's answers about AS. A name that it has not given goes: with its answer, it would pass for Team Cymru's, and
/// outlive the files that it came from.
pub fn keep_details(schema: &Schema, details: &[AsName]) {
    let rows: Vec<Value> = details
        .iter()
        .map(|d| {
            json!({
                "asn": d.asn, "org": d.name, "country": d.country, "registry": d.registry,
                "allocated": d.allocated.map(|date| date.to_string()),
            })
        })
        .collect();
    Sql::on(schema, c"asn_inventory").run(
        &format!(
            "INSERT INTO {0}.asn_inventory AS a (asn_number, asn_org, country_code, registry, allocated, details_ts)
             SELECT DISTINCT ON (r.asn) r.asn, r.org, r.country, r.registry, r.allocated, now()
             FROM pg_catalog.json_to_recordset($1::json) AS r(asn bigint, org text, country text, registry text, allocated date)
             ORDER BY r.asn
             ON CONFLICT (asn_number) DO UPDATE SET
                 asn_org = coalesce(EXCLUDED.asn_org, CASE WHEN a.details_ts IS NOT NULL THEN a.asn_org END),
                 country_code = coalesce(EXCLUDED.country_code, a.country_code),
                 registry = coalesce(EXCLUDED.registry, a.registry), allocated = coalesce(EXCLUDED.allocated, a.allocated),
                 details_ts = EXCLUDED.details_ts, details_retry_at = NULL",
            schema.name
        ),
        &[argument::json(&Value::Array(rows))],
    );
}

/// Names that came with the answers of a bulk session; the registration is not known from there. Until Team Cymru was asked
/// about the AS itself, a name that is there is the count's: with two that write it, it would change with each of them.
pub fn keep_names(schema: &Schema, names: &[(u32, String)]) {
    let rows: Vec<Value> = names.iter().map(|(asn, org)| json!({ "asn": asn, "org": org })).collect();
    Sql::on(schema, c"asn_inventory").run(
        &format!(
            "INSERT INTO {0}.asn_inventory AS a (asn_number, asn_org)
             SELECT DISTINCT ON (r.asn) r.asn, r.org FROM pg_catalog.json_to_recordset($1::json) AS r(asn bigint, org text)
             ORDER BY r.asn
             ON CONFLICT (asn_number) DO UPDATE SET asn_org = EXCLUDED.asn_org
                 WHERE a.asn_org IS NULL OR a.details_ts IS NOT NULL AND a.asn_org <> EXCLUDED.asn_org",
            schema.name
        ),
        &[argument::json(&Value::Array(rows))],
    );
}

/// A number that changes when the inventory is written: the rows written until now, as PostgreSQL's statistics count
/// them, with the number of the file, which TRUNCATE changes, and with the time of the last write that they do not count.
pub fn changes(schema: &Schema) -> i64 {
    let table = schema.regclass("ip_inventory");
    let found = Sql::as_caller();
    let found = found.query(
        &format!(
            "SELECT pg_stat_get_tuples_inserted(t) + pg_stat_get_tuples_updated(t) + pg_stat_get_tuples_deleted(t)
                 + pg_relation_filenode(t)::bigint
             FROM (SELECT {table} AS t) inventory"
        ),
        &[],
    );
    found.get::<i64>(0, 1).unwrap_or(0).wrapping_add(uncounted::last())
}

/// The value of [`changes`] at the last count; `None` before the first one.
pub fn counted_changes(schema: &Schema) -> Option<i64> {
    if !schema.has_column(c"inventory_count", c"changes") {
        return None;
    }
    let sql = Sql::on(schema, c"inventory_count");
    let found = sql.query(&format!("SELECT changes FROM {}.inventory_count LIMIT 1", schema.name), &[]);
    (found.len() > 0).then(|| found.get::<i64>(0, 1)).flatten()
}

/// Whether flags are counted: their column comes with an update.
pub(super) fn has_flags(schema: &Schema) -> bool {
    schema.has_column(c"asn_inventory", c"flags")
}

/// What is counted of the addresses of each AS that have the same flags, and in rows without a number of those without an AS.
/// Grouped by the flags, the table is read once, and a flag costs the same whatever number of them there is. `more`: further
/// columns, each with a comma before it.
pub(super) fn by_flags(schema: &Schema, more: &str) -> String {
    let [flags, group] = if has_flags(schema) { ["i.flags", ", i.flags"] } else { ["NULL::text[]", ""] };
    format!(
        "SELECT i.asn_number, {flags} AS flags, max(i.asn_org) FILTER (WHERE i.asn_source = 'maxmind') AS of_files,
             max(i.asn_org) FILTER (WHERE i.asn_source IS DISTINCT FROM 'maxmind') AS of_others, count(*) AS ips,
             least(sum(i.observation_count), 9223372036854775807)::bigint AS seen,
             min(i.first_seen_at) FILTER (WHERE i.observation_count > 0) AS first,
             max(i.last_seen_at) FILTER (WHERE i.observation_count > 0) AS last,
             count(*) FILTER (WHERE i.ip_class = 'public') AS public,
             count(*) FILTER (WHERE i.asn_number IS NOT NULL OR i.country_code IS NOT NULL) AS enriched,
             count(i.maxmind_ts) AS maxmind, count(i.cymru_ts) AS cymru, count(i.scanner_ts) AS greynoise,
             count(*) FILTER (WHERE i.scanner_noise) AS scanners{more}
         FROM {}.ip_inventory i GROUP BY i.asn_number{group}",
        schema.name
    )
}

/// The groups of [`by_flags`], called `kinds`, summed up by AS; and the flags of at least half of the addresses of an AS about
/// which the files were asked. A name in the files goes before those of other answers.
const BY_ASN: &str = "counted AS MATERIALIZED (
        SELECT k.asn_number, coalesce(max(k.of_files), max(k.of_others)) AS asn_org, sum(k.ips)::bigint AS ips,
            least(sum(k.seen), 9223372036854775807)::bigint AS seen, min(k.first) AS first, max(k.last) AS last,
            sum(k.public)::bigint AS public, sum(k.enriched)::bigint AS enriched, sum(k.maxmind)::bigint AS maxmind,
            sum(k.cymru)::bigint AS cymru, sum(k.greynoise)::bigint AS greynoise, sum(k.scanners)::bigint AS scanners
        FROM kinds k GROUP BY k.asn_number),
    flagged AS MATERIALIZED (
        SELECT h.asn_number, array_agg(h.flag ORDER BY h.flag COLLATE \"C\") AS flags
        FROM (SELECT k.asn_number, named.flag, sum(k.maxmind) AS held FROM kinds k, unnest(k.flags) AS named(flag)
              WHERE k.asn_number IS NOT NULL AND named.flag IS NOT NULL GROUP BY k.asn_number, named.flag) h
            JOIN counted c ON c.asn_number = h.asn_number
        WHERE h.held > 0 AND 2 * h.held >= c.maxmind GROUP BY h.asn_number)";

/// The name of an AS after a count: the one that was counted, unless Team Cymru was asked about the AS; then its name, or
/// none. `known` is its row.
fn named(known: &str, counted: &str) -> String {
    format!(
        "CASE WHEN {known}.details_ts IS NULL THEN coalesce({counted}.asn_org, {known}.asn_org)
             ELSE {known}.asn_org END"
    )
}

/// How new counts of an AS come into its row, called `a`. What is known of its first and last address stays known.
const COUNTS_MERGED: &str = "ON CONFLICT (asn_number) DO UPDATE SET ip_count = EXCLUDED.ip_count,
    observation_count = EXCLUDED.observation_count, counted_at = EXCLUDED.counted_at,
    first_seen_at = least(a.first_seen_at, EXCLUDED.first_seen_at),
    last_seen_at = greatest(a.last_seen_at, EXCLUDED.last_seen_at)";

/// The columns of a count of an AS, the values of those behind the time of the count, and how it comes into its row.
/// `known_since` and `flags` come with an update; `now` and `counted` are their values. A change of an address that is counted
/// began before `now`, by which `new_networks` tells those that made an AS known: the transaction may be older than that.
pub(super) fn counts_merged(schema: &Schema, now: &str, counted: &str) -> [String; 3] {
    let columns = "asn_number, asn_org, first_seen_at, last_seen_at, ip_count, observation_count, counted_at";
    let merged = format!("{COUNTS_MERGED}, asn_org = {}", named("a", "EXCLUDED"));
    let mut all = [columns.to_owned(), String::new(), merged];
    let mut add = |texts: [&str; 3]| all.iter_mut().zip(texts).for_each(|(all, text)| all.push_str(text));
    if schema.has_column(c"asn_inventory", c"known_since") {
        // A row that was counted before there was this column is not new.
        let known =
            ", known_since = coalesce(a.known_since, CASE WHEN a.counted_at IS NULL THEN EXCLUDED.known_since END)";
        add([", known_since", &format!(", {now}"), known]);
    }
    if has_flags(schema) {
        add([", flags", &format!(", {counted}"), ", flags = EXCLUDED.flags"]);
    }
    all
}

/// Counts the inventory and the addresses of every AS again, in one pass, and writes only the changed AS. Reads the
/// whole inventory: the caller leaves time between two calls.
pub fn recount(schema: &Schema) -> u64 {
    // What is taken back meanwhile would come back with a count of the rows of before.
    Turn::Count.wait();
    // Before the rows are read: later writes are another change.
    let changes = changes(schema);
    let sql = Sql::on_all(schema, &[c"inventory_count", c"asn_inventory", c"ip_inventory"]);
    crate::pg::tx::read_everything();
    let [column, value] =
        if schema.has_column(c"inventory_count", c"changes") { [", changes", ", $1"] } else { [""; 2] };
    // Once for all, when the rows are being read.
    let [columns, values, merged] = counts_merged(schema, "(SELECT clock_timestamp())", "f.flags");
    let [flags_gone, flags_changed] =
        if has_flags(schema) { [", flags = NULL", " OR k.flags IS DISTINCT FROM f.flags"] } else { [""; 2] };
    sql.run(&format!("DELETE FROM {}.inventory_count", schema.name), &[]);
    sql.run(
        &format!(
            "WITH kinds AS MATERIALIZED ({kinds}),
             {BY_ASN},
             everything AS (
                 INSERT INTO {0}.inventory_count
                     (counted_at, addresses, public_addresses, enriched, missing_asn, observations, maxmind_answered,
                      cymru_answered, greynoise_answered, scanners, cymru_due, greynoise_due{column})
                 SELECT now(), coalesce(sum(ips), 0), coalesce(sum(public), 0), coalesce(sum(enriched), 0),
                     coalesce(sum(public) FILTER (WHERE asn_number IS NULL), 0), least(coalesce(sum(seen), 0), 9223372036854775807),
                     coalesce(sum(maxmind), 0), coalesce(sum(cymru), 0), coalesce(sum(greynoise), 0),
                     coalesce(sum(scanners), 0),
                     (SELECT count(*) FROM {0}.ip_inventory i WHERE {cymru_due}),
                     (SELECT count(*) FROM {0}.ip_inventory i WHERE {greynoise_due}){value}
                 FROM counted),
             gone AS (
                 UPDATE {0}.asn_inventory a SET ip_count = 0, observation_count = 0, counted_at = now(){flags_gone}
                 WHERE a.ip_count > 0 AND NOT EXISTS (SELECT FROM counted c WHERE c.asn_number = a.asn_number))
             INSERT INTO {0}.asn_inventory AS a ({columns})
             SELECT c.asn_number, c.asn_org, c.first, c.last, c.ips, c.seen, now(){values} FROM counted c
             LEFT JOIN {0}.asn_inventory k ON k.asn_number = c.asn_number
             LEFT JOIN flagged f ON f.asn_number = c.asn_number
             WHERE c.asn_number IS NOT NULL AND (k.asn_number IS NULL
                 OR (k.ip_count, k.observation_count) IS DISTINCT FROM (c.ips, c.seen)
                 OR k.last_seen_at IS DISTINCT FROM greatest(k.last_seen_at, c.last)
                 OR k.first_seen_at IS DISTINCT FROM least(k.first_seen_at, c.first) OR k.asn_org IS DISTINCT FROM {named}{flags_changed})
             ORDER BY c.asn_number
             {merged}",
            schema.name,
            kinds = by_flags(schema, ""),
            named = named("k", "c"),
            cymru_due = due::waiting(Source::Cymru),
            greynoise_due = due::waiting(Source::GreyNoise),
        ),
        &[argument::bigint(changes)],
    )
}

/// An AS, and when some places saw its addresses first and last (timestamptz).
pub type Reach = (i64, i64, i64);

/// The AS to which the addresses belong that some places saw, by the numbers of the places.
pub fn seen_by(schema: &Schema, places: &[i32]) -> Vec<Reach> {
    let sql = Sql::on_all(schema, &[c"ip_sighting", c"ip_inventory"]);
    let found = sql.query(
        &format!(
            "SELECT i.asn_number, min(s.first_seen_at), max(s.last_seen_at)
             FROM {0}.ip_sighting s JOIN {0}.ip_inventory i ON i.ip_address = s.ip_address
             WHERE s.source_id = ANY ($1) AND i.asn_number IS NOT NULL GROUP BY 1",
            schema.name
        ),
        &[argument::integers(places.to_vec())],
    );
    let reach = |row| Some((found.get(row, 1)?, found.moment(row, 2)?, found.moment(row, 3)?));
    (0..found.len()).filter_map(reach).collect()
}

/// Sets first and last times that some places may have brought, and which no longer count, to those of the present addresses;
/// to null where there are none. An earlier first time and a later last one came from elsewhere, and stay.
pub fn set_times(schema: &Schema, taken_back: &[Reach]) {
    let sql = Sql::on_all(schema, &[c"asn_inventory", c"ip_inventory"]);
    sql.run(
        &format!(
            "UPDATE {0}.asn_inventory a
             SET first_seen_at = CASE WHEN a.first_seen_at < t.first THEN a.first_seen_at ELSE p.first END,
                 last_seen_at = CASE WHEN a.last_seen_at > t.last THEN a.last_seen_at ELSE p.last END
             FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS t(asn, first, last)
             LEFT JOIN (SELECT i.asn_number, min(i.first_seen_at) AS first, max(i.last_seen_at) AS last
                        FROM {0}.ip_inventory i WHERE i.asn_number = ANY ($1) AND i.observation_count > 0
                        GROUP BY 1) p ON p.asn_number = t.asn
             WHERE a.asn_number = t.asn AND (a.first_seen_at >= t.first OR a.last_seen_at <= t.last)",
            schema.name
        ),
        &[
            argument::bigints(taken_back.iter().map(|(asn, ..)| *asn).collect()),
            argument::moments(taken_back.iter().map(|(_, first, _)| *first)),
            argument::moments(taken_back.iter().map(|(.., last)| *last)),
        ],
    );
}
