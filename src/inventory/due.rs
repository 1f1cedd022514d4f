//! Which rows are due, source by source, and when they are due again: the one place that says so in SQL. The rules for an
//! answer in hand are those of [`enrich::freshness`].
//!
//! Conditions are about `ip_inventory i`; statements elsewhere are put together from them.

use std::collections::HashSet;
use std::net::IpAddr;

use enrich::activity::{DAY, HOUR};
use enrich::campaign::batch::{IPV4_ONLY, NEVER_ASK, SWITCHED_OFF};
use enrich::campaign::claim::Target;
use enrich::campaign::secret;
use enrich::cascade::is_secret;
use enrich::freshness::Lifetimes;
use enrich::source::Source;
use ipnetwork::IpNetwork;
use pgrx::{IntoDatum, pg_sys};

use super::heap;
use super::heap::Heap;
use crate::pg::argument;
use crate::pg::argument::Argument;
use crate::pg::catalog::Schema;
use crate::pg::inet::Inet;
use crate::pg::sql::Sql;
use crate::pg::time;

/// An address and where its row lies.
pub type Place = (IpAddr, pg_sys::ItemPointerData);

/// Rows that MaxMind never answered.
const NEVER_ANSWERED: &str = "i.maxmind_status = ANY ('{pending,unavailable}')";

/// Rows that are due at MaxMind: never answered, or answered before the time that the parameter of this number is.
pub(super) fn at_maxmind(stale_before: usize) -> String {
    format!("({NEVER_ANSWERED} OR i.maxmind_ts < ${stale_before})")
}

/// Rows that wait for a first answer of a network source, or for another attempt. The partial indexes of `ip_inventory` are
/// about just these.
pub(super) fn waiting(source: Source) -> &'static str {
    match source {
        Source::GreyNoise => "i.greynoise_status IN ('pending', 'failed', 'quota')",
        _ => "i.cymru_status IN ('pending', 'failed')",
    }
}

/// Rows that a network source may be asked about at all.
fn open(source: Source) -> &'static str {
    match source {
        // It does not depend on the other sources.
        Source::GreyNoise => {
            "i.greynoise_status <> 'skipped' AND i.ip_class = 'public' AND i.maxmind_status <> 'pending'"
        }
        // MaxMind was asked, and knows no ASN.
        _ => {
            "i.maxmind_status <> 'pending' AND i.asn_source IS DISTINCT FROM 'maxmind'
                 AND i.cymru_status <> 'skipped' AND i.ip_class = 'public'"
        }
    }
}

/// Rows whose answer is older than its life, which is `$1`; that of "no route" is `$2`. One from the future was dated by a
/// wrong clock.
fn old(source: Source) -> &'static str {
    match source {
        Source::GreyNoise => {
            "((i.scanner_ts < now() - $1 OR i.scanner_ts > now() + interval '1 day')
                 AND i.greynoise_status IN ('found', 'not_found'))"
        }
        _ => {
            "((i.cymru_status = 'found' AND i.cymru_ts < now() - $1 OR i.cymru_status = 'not_found' AND i.cymru_ts < now() - $2)
                 AND i.cymru_ts < now() - least($1, $2)
              OR i.cymru_ts > now() + interval '1 day' AND i.cymru_status IN ('found', 'not_found'))"
        }
    }
}

/// Rows that a network source answered since the moment that the parameter of this number is. An answer from the future was
/// dated by a wrong clock.
pub(super) fn answered_since(source: Source, since: usize) -> String {
    let clock = match source {
        Source::GreyNoise => "scanner_ts",
        _ => "cymru_ts",
    };
    format!("(i.{clock} BETWEEN ${since} AND now() AND i.{source}_status IN ('found', 'not_found'))")
}

/// Rows that are not to be left alone because of a failure, or of the quota. A longer pause than any that is set here was
/// dated by a wrong clock: see [`fail`]; the quota of a week ends within one.
fn now(source: Source) -> String {
    let (_, longest) = pauses(source);
    format!(
        "(i.{source}_retry_at IS NULL OR i.{source}_retry_at <= now() OR i.{source}_retry_at > now() + interval '{longest}')"
    )
}

/// How long a row is left alone that has an answer, and is not to be asked about again; and a pause that is longer than any.
fn pauses(source: Source) -> (i64, &'static str) {
    match source {
        Source::GreyNoise => (7 * DAY, "8 days"),
        _ => (6 * HOUR, "8 hours"),
    }
}

/// Which rows to look for.
#[derive(Clone, Copy)]
pub enum Which<'a> {
    /// Those never answered, or whose last attempt failed, most observed first.
    Due,
    /// Those whose answer is older than its life, most observed first, but for addresses in these networks.
    Stale(&'a [IpNetwork]),
    /// Those without an answer, or with an old one, whenever they were last tried, but for addresses in these networks.
    Outdated(&'a [IpNetwork]),
    /// Of these addresses, those that are due or stale.
    DueOf(&'a [IpAddr]),
    /// Of these addresses, those without an answer, or with an old one.
    OutdatedOf(&'a [IpAddr]),
    /// These addresses, fresh or not, but for those that were answered since a moment (timestamptz).
    All(&'a [IpAddr], i64),
}

/// Rows that are read at a time.
const FETCHED: usize = 10_000;

/// At most `limit` rows to ask a network source about.
pub fn claim(schema: &Schema, source: Source, which: Which<'_>, lives: &Lifetimes, limit: usize) -> Vec<Target> {
    let (missing, old, now) = (waiting(source), old(source), now(source));
    let condition = match which {
        Which::Due => format!("{missing} AND {now}"),
        Which::Stale(_) => format!("{old} AND {now} AND NOT i.ip_address <<= ANY ($3)"),
        Which::Outdated(_) => format!("({missing} OR {old}) AND NOT i.ip_address <<= ANY ($3)"),
        Which::DueOf(_) => format!("i.ip_address = ANY ($3) AND ({missing} OR {old}) AND {now}"),
        Which::OutdatedOf(_) => format!("i.ip_address = ANY ($3) AND ({missing} OR {old})"),
        Which::All(..) => format!("i.ip_address = ANY ($3) AND {} IS NOT TRUE", answered_since(source, 4)),
    };
    let (life, negative) = match source {
        Source::GreyNoise => (lives.greynoise, lives.greynoise),
        _ => (lives.cymru, lives.cymru_negative),
    };
    let mut arguments = vec![argument::interval(life), argument::interval(negative)];
    if let Which::DueOf(ips) | Which::OutdatedOf(ips) | Which::All(ips, _) = which {
        arguments.push(argument::addresses(ips));
    }
    if let Which::Stale(never_ask) | Which::Outdated(never_ask) = which {
        arguments.push(networks(&secret::forms(never_ask)));
    }
    if let Which::All(_, since) = which {
        arguments.push(argument::moment(since));
    }
    targets(schema, &format!("{condition} AND {}", open(source)), &arguments, Some(limit))
}

/// At most `limit` rows that are due at MaxMind: never answered, or answered before `stale_before` (timestamptz).
pub fn claim_at_maxmind(schema: &Schema, stale_before: i64, limit: usize) -> Vec<Target> {
    crate::pg::tx::read_everything();
    targets(schema, &at_maxmind(1), &[argument::moment(stale_before)], Some(limit))
}

/// Rows of this node that are due at MaxMind, and their places: in a range of blocks, from one to before another.
pub fn places_in_blocks(schema: &Schema, stale_before: i64, from: u64, to: u64) -> Vec<Place> {
    let range = format!("i.ctid >= '({from},0)'::tid AND i.ctid < '({to},0)'::tid");
    let of = |heap: &Heap| places(schema, &heap.name, &range, &[argument::moment(stale_before)]);
    heap::heaps(schema).iter().flat_map(of).collect()
}

/// The same of a list of addresses.
pub fn places_of(schema: &Schema, stale_before: i64, ips: &[IpAddr]) -> Vec<Place> {
    let table = format!("{}.ip_inventory", schema.name);
    places(schema, &table, "i.ip_address = ANY ($2)", &[argument::moment(stale_before), argument::addresses(ips)])
}

fn places(schema: &Schema, table: &str, condition: &str, arguments: &[Argument]) -> Vec<Place> {
    let sql = Sql::on(schema, c"ip_inventory");
    let due = at_maxmind(1);
    let text = format!("SELECT i.ip_address, i.ctid FROM {table} i WHERE {condition} AND {due}");
    let found = sql.query(&text, arguments);
    (0..found.len()).filter_map(|row| Some((found.get::<Inet>(row, 1)?.ip, found.place(row, 2)?))).collect()
}

/// How many rows of this node are due at MaxMind, and the blocks in which they lie.
pub fn count_at_maxmind(schema: &Schema, stale_before: i64) -> (u64, u64) {
    let sql = Sql::on(schema, c"ip_inventory");
    let count = |heap: &Heap| {
        let text = format!("SELECT count(*) FROM {} i WHERE {}", heap.name, at_maxmind(1));
        sql.query(&text, &[argument::moment(stale_before)]).get::<i64>(0, 1).unwrap_or(0) as u64
    };
    let due = heap::heaps(schema).iter().map(count).sum();
    (due, heap::blocks(schema).into())
}

/// Whether any row of this node is due at MaxMind.
pub fn any_at_maxmind(schema: &Schema, stale_before: i64) -> bool {
    crate::pg::tx::read_everything();
    let sql = Sql::on(schema, c"ip_inventory");
    heap::heaps(schema).iter().any(|heap| {
        let text = format!("SELECT 1 FROM {} i WHERE {} LIMIT 1", heap.name, at_maxmind(1));
        sql.query(&text, &[argument::moment(stale_before)]).len() > 0
    })
}

/// How often addresses were observed, of those that the inventory has, in any order.
pub fn observed(schema: &Schema, ips: &[IpAddr]) -> Vec<Target> {
    targets(schema, "i.ip_address = ANY ($1)", &[argument::addresses(ips)], None)
}

/// Rows of the inventory that meet a condition: so many at most, most observed first, or all in any order.
fn targets(schema: &Schema, condition: &str, arguments: &[Argument], limit: Option<usize>) -> Vec<Target> {
    let sql = Sql::on(schema, c"ip_inventory");
    let order = |limit: usize| format!("ORDER BY i.observation_count DESC, i.ip_address LIMIT {limit}");
    let mut cursor = sql.cursor(
        &format!(
            "SELECT i.ip_address, i.observation_count FROM {}.ip_inventory i WHERE {condition} {}",
            schema.name,
            limit.map(order).unwrap_or_default()
        ),
        arguments,
    );
    let mut targets = Vec::new();
    loop {
        // A refresh may find a million: as rows of a result they would fill the worker's memory.
        let found = cursor.fetch(FETCHED);
        if found.len() == 0 {
            return targets;
        }
        targets.extend((0..found.len()).filter_map(|row| {
            let seen = found.get::<i64>(row, 2)?.max(0) as u64;
            Some(Target { ip: found.get::<Inet>(row, 1)?.ip, seen })
        }));
    }
}

/// Notes that a source could not be asked about addresses: tried again after 1, 2, 4 … minutes, six hours at most, each row
/// at a time of its own. A row that has an answer keeps it. Citus takes no function in it that is volatile, nor a stable one of
/// a column: the time is counted in seconds, and the rows are spread by a hash.
pub fn fail(schema: &Schema, source: Source, ips: &[IpAddr], reason: &str) {
    let seconds = time::to_unix_us(time::now()) as f64 / 1e6;
    Sql::on(schema, c"ip_inventory").run(
        &format!(
            "UPDATE {s}.ip_inventory i SET {source}_attempts = i.{source}_attempts + 1, {source}_detail = $2,
                 {source}_retry_at = to_timestamp($3 + least(60 * power(2, least(i.{source}_attempts, 10)), 21600)
                     * (0.8 + (hashinet(i.ip_address) & 1023) * (0.4 / 1023)::float8)),
                 {source}_status = CASE WHEN i.{source}_status IN ('found', 'not_found') THEN i.{source}_status ELSE 'failed' END
             WHERE i.ip_address = ANY ($1) AND i.{source}_status <> 'skipped'",
            s = schema.name
        ),
        &[argument::addresses(ips), argument::text(reason), (pg_sys::FLOAT8OID, seconds.into_datum())],
    );
}

/// Notes that a source is not to be asked about addresses, and why. A row that has an answer keeps it and its status, and is
/// left alone for a while: it goes on being stale, and would be looked for without end. One that says so already is not
/// written again: sessions may ask about it all the time.
pub fn skip(schema: &Schema, source: Source, ips: &[IpAddr], reason: &str) {
    let (pause, _) = pauses(source);
    // Citus takes no function but immutable ones in a CASE.
    let until = time::now().saturating_add(pause);
    let has_answer = format!("i.{source}_status IN ('found', 'not_found')");
    Sql::on(schema, c"ip_inventory").run(
        &format!(
            "UPDATE {s}.ip_inventory i SET {source}_detail = $2,
                 {source}_status = CASE WHEN {has_answer} THEN i.{source}_status ELSE 'skipped' END,
                 {source}_retry_at = CASE WHEN {has_answer} THEN $3 END
             WHERE i.ip_address = ANY ($1) AND i.{source}_status <> 'skipped'
                 AND (NOT {has_answer} OR i.{source}_detail IS DISTINCT FROM $2 OR {now})",
            s = schema.name,
            now = now(source)
        ),
        &[argument::addresses(ips), argument::text(reason), argument::moment(until)],
    );
}

/// Makes rows due again that were skipped for a reason that a setting took away. Of those whose ASN MaxMind has learned
/// since, and of those that have an answer, only the reason goes.
pub fn unskip(schema: &Schema, source: Source, ips: &[IpAddr]) {
    let status = match source {
        Source::GreyNoise => "'pending'",
        _ => "CASE WHEN i.asn_source = 'maxmind' THEN 'skipped' ELSE 'pending' END",
    };
    Sql::on(schema, c"ip_inventory").run(
        &format!(
            "UPDATE {s}.ip_inventory i SET {source}_detail = NULL, {source}_retry_at = NULL,
                 {source}_status = CASE WHEN i.{source}_status = 'skipped' THEN {status} ELSE i.{source}_status END
             WHERE i.ip_address = ANY ($1) AND {}",
            by_setting(source),
            s = schema.name
        ),
        &[argument::addresses(ips)],
    );
}

/// Rows that a setting keeps from being asked about. Version 0.2.0 said of IPv6 addresses that stand for an IPv4 address, where
/// the setting hid them, that they are IPv6.
fn by_setting(source: Source) -> String {
    let named = format!("i.{source}_detail IN ('{SWITCHED_OFF}', '{NEVER_ASK}')");
    match source {
        Source::GreyNoise => {
            let wrapped = secret::WRAPPED;
            format!("({named} OR i.greynoise_detail = '{IPV4_ONLY}' AND i.ip_address <<= ANY ('{wrapped}'::inet[]))")
        }
        _ => named,
    }
}

/// Rows that a setting kept from being asked about, and that are not in `never_ask`, as they are written or as they are
/// meant; nor among `but`. `limit` at most.
pub fn skipped_by_setting(
    schema: &Schema,
    source: Source,
    limit: usize,
    never_ask: &[IpNetwork],
    but: &[IpAddr],
) -> Vec<IpAddr> {
    crate::pg::tx::read_everything();
    let but: HashSet<&IpAddr> = but.iter().collect();
    let sql = Sql::on(schema, c"ip_inventory");
    let mut cursor = sql.cursor(
        &format!(
            "SELECT i.ip_address FROM {}.ip_inventory i WHERE {} AND NOT i.ip_address <<= ANY ($1)",
            schema.name,
            by_setting(source)
        ),
        &[networks(&secret::forms(never_ask))],
    );
    let mut ips = Vec::new();
    while ips.len() < limit {
        let found = cursor.fetch(FETCHED);
        if found.len() == 0 {
            break;
        }
        let all = (0..found.len()).filter_map(|row| Some(found.get::<Inet>(row, 1)?.ip));
        // Not every form can be named as a network.
        ips.extend(all.filter(|ip| !is_secret(never_ask, *ip) && !but.contains(ip)));
    }
    ips.truncate(limit);
    ips
}

/// Networks, as inet[].
fn networks(of: &[IpNetwork]) -> Argument {
    let networks: Vec<Inet> = of.iter().map(|network| Inet::from(*network)).collect();
    (pg_sys::INETARRAYOID, networks.into_datum())
}
