//! Every SQL text that writes the inventory, and the batches it is fed with.
//!
//! Here are observations and MaxMind's answers: a batch goes in as arrays, one of `ip_enrichment`, others beside it.
//! Plans are kept for the session. The answers of the network sources are in [`cymru`](super::cymru),
//! [`greynoise`](super::greynoise) and [`asn`](super::asn).
#![allow(unsafe_code, reason = "keeps plans, and makes arrays of composites")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;

use enrich::campaign::batch::{IPV4_ONLY, NEVER_ASK, SWITCHED_OFF};
use enrich::campaign::secret;
use enrich::cascade::{self, Policy};
use enrich::maxmind::Databases;
use enrich::record::Status;
use enrich::source::Source;
use pgrx::pg_sys::Datum;
use pgrx::{IntoDatum, pg_sys};

use super::asker;
use super::columns;
use super::due;
use super::due::Place;
use super::heap;
use super::row;
use super::same::UNANSWERED;
use super::seen::Seen;
use crate::pg::argument;
use crate::pg::catalog::Schema;
use crate::pg::composite::Kind;
use crate::pg::errors::raise;
use crate::pg::inet::Inet;
use crate::pg::sql::Sql;
use crate::pg::tx::Settings;

/// New addresses are born enriched; known ones only count. An address that was only asked about never changes a known
/// row, and its first observation replaces the time of the question.
fn absorb_sql(schema: &Schema, policy: &Policy, count: usize) -> String {
    let [cymru, greynoise] = details(policy);
    format!(
        "INSERT INTO {s}.ip_inventory AS i (ip_address, first_seen_at, last_seen_at, observation_count,
             {born}, maxmind_ts, cymru_detail, greynoise_detail)
         SELECT r.ip, r.first_seen, r.last_seen, r.seen, {values}, r.enrichment_ts, {cymru}, {greynoise}
         FROM ROWS FROM (unnest($1::{s}.ip_enrichment[]), unnest($2::timestamptz[]), unnest($3::timestamptz[]),
                         unnest($4::bigint[])) AS r({names}, first_seen, last_seen, seen)
         ON CONFLICT (ip_address) DO UPDATE SET
             observation_count = greatest(i.observation_count, 0)
                 + least(EXCLUDED.observation_count, 9223372036854775807 - greatest(i.observation_count, 0)),
             first_seen_at = CASE WHEN i.observation_count > 0 THEN least(i.first_seen_at, EXCLUDED.first_seen_at)
                                  ELSE EXCLUDED.first_seen_at END,
             last_seen_at = CASE WHEN i.observation_count > 0 THEN greatest(i.last_seen_at, EXCLUDED.last_seen_at)
                                 ELSE EXCLUDED.last_seen_at END
         WHERE EXCLUDED.observation_count > 0",
        s = schema.name,
        born = columns::born(count, str::to_owned),
        values = columns::born(count, |name| format!("r.{name}")),
        names = columns::names(count),
    )
}

/// Why a new row is skipped by a network source, where neither its class nor MaxMind's answer says so.
fn details(policy: &Policy) -> [String; 2] {
    [(Source::Cymru, policy.cymru), (Source::GreyNoise, policy.greynoise)].map(|(source, on)| {
        let reason = match (on, source) {
            // Of an address whose ASN is known nothing is asked anyway.
            (false, Source::Cymru) => format!("CASE WHEN r.asn_number IS NULL THEN '{SWITCHED_OFF}' END"),
            (false, _) => format!("'{SWITCHED_OFF}'"),
            (true, Source::Cymru) => format!("CASE WHEN r.asn_number IS NULL THEN '{NEVER_ASK}' END"),
            (true, _) => {
                // An IPv6 address that stands for an IPv4 address could be asked about.
                let wrapped = secret::WRAPPED;
                format!(
                    "CASE WHEN family(r.ip) = 4 OR r.ip <<= ANY ('{wrapped}'::inet[]) THEN '{NEVER_ASK}' ELSE '{IPV4_ONLY}' END"
                )
            }
        };
        format!("CASE WHEN r.{source}_status = 'skipped' AND r.ip_class = 'public' THEN {reason} END")
    })
}

/// The assignments of a MaxMind answer to a known row. A network source's own state changes only where this answer
/// decides whether it is asked at all.
fn assignments(policy: &Policy, count: usize) -> String {
    let [cymru_detail, greynoise_detail] = details(policy);
    let cymru =
        "i.cymru_status = ANY ('{pending,skipped}') OR i.cymru_status = 'failed' AND r.cymru_status = 'skipped'";
    let greynoise = "i.greynoise_status = ANY ('{pending,skipped}')";
    format!(
        "{answer}, maxmind_ts = r.enrichment_ts, enrichment_ts = coalesce(r.enrichment_ts, i.enrichment_ts),
     cymru_status = CASE WHEN {cymru} THEN r.cymru_status ELSE i.cymru_status END,
     cymru_detail = CASE WHEN {cymru} THEN {cymru_detail} ELSE i.cymru_detail END,
     greynoise_status = CASE WHEN {greynoise} THEN r.greynoise_status ELSE i.greynoise_status END,
     greynoise_detail = CASE WHEN {greynoise} THEN {greynoise_detail} ELSE i.greynoise_detail END",
        answer = columns::assignments(count),
    )
}

// Rows are named twice: by a list, by which they are fetched, and by the join with their answers. Under old statistics
// the planner must not choose a join that reads the whole inventory for each batch: in any plan, the join has no more
// rows than the list. `fetched` is the column that the list is about.
fn update_sql(schema: &Schema, policy: &Policy, count: usize, fetched: &str) -> String {
    format!(
        "UPDATE {s}.ip_inventory i SET {set} FROM unnest($1::{s}.ip_enrichment[]) AS r({names})
         WHERE i.{fetched} = ANY ($3) AND i.ip_address = r.ip AND r.maxmind_status <> 'unavailable' AND {due}",
        s = schema.name,
        set = assignments(policy, count),
        names = columns::names(count),
        due = due::at_maxmind(2)
    )
}

/// The same where there is no file: nothing is known but which lists hold an address, and their flags. What files said that
/// are gone now, and what users wrote, stays.
fn update_lists_sql(schema: &Schema, count: usize, fetched: &str) -> String {
    let unanswered = UNANSWERED.map(|status| status.as_str()).join(",");
    let flags = format!("CASE WHEN i.maxmind_status = ANY ('{{{unanswered}}}') THEN r.flags ELSE i.flags END");
    format!(
        "UPDATE {s}.ip_inventory i SET lists = r.lists, flags = {flags}
         FROM unnest($1::{s}.ip_enrichment[]) AS r({names})
         WHERE i.{fetched} = ANY ($3) AND i.ip_address = r.ip
           AND (i.lists IS DISTINCT FROM r.lists OR i.flags IS DISTINCT FROM {flags})
           AND i.maxmind_status <> 'pending' AND $2 IS NOT NULL",
        s = schema.name,
        names = columns::names(count),
    )
}

thread_local! {
    // Plans of this session, by text, with the types of their parameters.
    static PLANS: RefCell<HashMap<String, (Vec<pg_sys::Oid>, pg_sys::SPIPlanPtr)>> = RefCell::new(HashMap::new());
}

/// An extension that was dropped and created again has the same names, and types of its own: the plan of before is
/// of no use then.
fn plan(text: String, types: &mut [pg_sys::Oid]) -> pg_sys::SPIPlanPtr {
    let kept = PLANS.with(|plans| plans.borrow().get(&text).filter(|(of, _)| of == types).map(|(_, plan)| *plan));
    kept.unwrap_or_else(|| {
        let statement = crate::pg::sql::statement(&text);
        // SAFETY: connected to SPI; a kept plan survives the connection and is replanned when its objects change.
        let plan = unsafe {
            let plan = pg_sys::SPI_prepare(statement.as_ptr(), types.len() as i32, types.as_mut_ptr());
            if plan.is_null() || pg_sys::SPI_keepplan(plan) != 0 {
                raise(pgrx::PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, "could not prepare a statement", &text, "");
            }
            plan
        };
        let replaced = PLANS.with(|plans| plans.borrow_mut().insert(text, (types.to_vec(), plan)));
        if let Some((_, useless)) = replaced {
            // SAFETY: kept above, and not in use.
            unsafe { pg_sys::SPI_freeplan(useless) };
        }
        plan
    })
}

/// Connected to SPI: returns the number of rows written.
fn execute<const N: usize>(text: String, mut types: [pg_sys::Oid; N], mut values: [Datum; N]) -> u64 {
    // SAFETY: a plan of these types, none of the values null.
    unsafe {
        let code = pg_sys::SPI_execute_plan(plan(text, &mut types), values.as_mut_ptr(), std::ptr::null(), false, 0);
        if code < 0 {
            raise(pgrx::PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, format!("SPI failed with code {code}"), "", "");
        }
        pg_sys::SPI_processed
    }
}

/// How a batch of answers came out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tallied {
    /// Rows written.
    pub written: u64,
    /// With an ASN.
    pub with_asn: u64,
    /// Known to no file.
    pub not_found: u64,
    /// Special-purpose.
    pub skipped: u64,
    /// Nothing installed that could answer.
    pub unavailable: u64,
}

impl Tallied {
    /// Adds another batch.
    pub fn add(&mut self, other: &Tallied) {
        self.written += other.written;
        self.with_asn += other.with_asn;
        self.not_found += other.not_found;
        self.skipped += other.skipped;
        self.unavailable += other.unavailable;
    }
}

/// Looks up and writes batches into one inventory.
pub struct Writer<'a> {
    schema: &'a Schema,
    element: pg_sys::Oid,
    array: pg_sys::Oid,
    kind: Kind,
    policy: Policy,
    /// Where there is no file, the lists of networks are written all the same.
    writes_lists: bool,
}

impl<'a> Writer<'a> {
    /// Prepares to write into `schema`'s inventory, within the current transaction and memory context.
    pub fn new(schema: &'a Schema) -> Writer<'a> {
        // SAFETY: catalog look-ups; the descriptor is a copy in the current context.
        unsafe {
            let element = pg_sys::get_rel_type_id(schema.relation(c"ip_enrichment"));
            let desc = pg_sys::BlessTupleDesc(pg_sys::lookup_rowtype_tupdesc_copy(element, -1));
            let kind = row::kind(desc);
            let array = pg_sys::get_array_type(element);
            Writer { schema, element, array, kind, policy: asker::policy(schema), writes_lists: false }
        }
    }

    /// For a walk: lists of networks are followed where there is no file as well.
    pub fn with_lists_alone(self) -> Writer<'a> {
        Writer { writes_lists: true, ..self }
    }

    /// Absorbs addresses, in the order given, which should be ascending: new ones are enriched and inserted, known
    /// ones count.
    pub fn absorb(&mut self, databases: &Databases, rows: &[(IpAddr, Seen)], now: i64) -> Tallied {
        let (types, values, mut tallied) = self.absorbed(databases, rows, now);
        let _fetched = Settings::rows_are_fetched();
        tallied.written = self.run(absorb_sql(self.schema, &self.policy, self.kind.columns()), types, values);
        tallied
    }

    /// The same; returns whether each of the rows is a new one. Empty where that is not known: a distributed inventory does not
    /// tell, and a row to which nothing is added says nothing.
    pub fn absorb_telling(&mut self, databases: &Databases, rows: &[(IpAddr, Seen)], now: i64) -> Vec<bool> {
        if heap::is_everywhere(self.schema) {
            self.absorb(databases, rows, now);
            return Vec::new();
        }
        let (types, values, _) = self.absorbed(databases, rows, now);
        let _fetched = Settings::rows_are_fetched();
        // This transaction has locked a row before it adds to it.
        let text = absorb_sql(self.schema, &self.policy, self.kind.columns()) + " RETURNING i.xmax = 0";
        let sql = Sql::on(self.schema, c"ip_inventory");
        execute(text, types, values);
        let told = sql.last();
        if told.len() != rows.len() {
            return Vec::new();
        }
        (0..told.len()).map(|row| told.get::<bool>(row, 1) == Some(true)).collect()
    }

    /// The arguments of [`absorb_sql`].
    fn absorbed(
        &self,
        databases: &Databases,
        rows: &[(IpAddr, Seen)],
        now: i64,
    ) -> ([pg_sys::Oid; 4], [Datum; 4], Tallied) {
        let (records, tallied) = self.records(databases, rows.iter().map(|(ip, _)| *ip), now);
        let column = |value: fn(&Seen) -> i64, kind| argument::words(rows.iter().map(|(_, seen)| value(seen)), kind);
        let values = [
            records,
            column(|s| s.first, pg_sys::TIMESTAMPTZOID),
            column(|s| s.last, pg_sys::TIMESTAMPTZOID),
            column(|s| s.count, pg_sys::INT8OID),
        ];
        let types = [self.array, pg_sys::TIMESTAMPTZARRAYOID, pg_sys::TIMESTAMPTZARRAYOID, pg_sys::INT8ARRAYOID];
        (types, values, tallied)
    }

    /// Gives MaxMind's answer to those of the known addresses that are due: never answered, or answered before
    /// `stale_before`. Where nothing is installed that could answer, a row stays as it is.
    pub fn update(&mut self, databases: &Databases, ips: &[IpAddr], stale_before: i64, now: i64) -> Tallied {
        let (records, mut tallied) = self.records(databases, ips.iter().copied(), now);
        tallied.written = self.update_by_address(databases, records, ips.iter().copied(), stale_before);
        tallied
    }

    /// The statement that writes answers to rows that are fetched by that column.
    fn statement(&self, databases: &Databases, fetched: &str) -> String {
        if self.writes_lists && databases.is_empty() && self.kind.columns() > columns::COUNT_BEFORE {
            update_lists_sql(self.schema, self.kind.columns(), fetched)
        } else {
            update_sql(self.schema, &self.policy, self.kind.columns(), fetched)
        }
    }

    /// The same for rows whose place in the table is known: no index is asked, unless the place is in a shard.
    pub fn update_at(&mut self, databases: &Databases, rows: &[Place], stale_before: i64, now: i64) -> Tallied {
        if heap::is_everywhere(self.schema) {
            let ips: Vec<IpAddr> = rows.iter().map(|(ip, _)| *ip).collect();
            let tallied = self.update(databases, &ips, stale_before, now);
            return if tallied.written < rows.len() as u64 {
                self.recount(rows, now, tallied.written)
            } else {
                tallied
            };
        }
        let (records, mut tallied) = self.records(databases, rows.iter().map(|(ip, _)| *ip), now);
        let places = places(rows.iter().map(|(_, place)| *place));
        let types = [self.array, pg_sys::TIMESTAMPTZOID, pg_sys::TIDARRAYOID];
        let values = [records, Datum::from(stale_before), places];
        let fetched = Settings::rows_are_fetched_by_place();
        tallied.written = self.run(self.statement(databases, "ctid"), types, values);
        drop(fetched);
        if tallied.written < rows.len() as u64 {
            // Rows that ingest counts all the time move all the time: those are found by their address.
            tallied.written += self.update_by_address(databases, records, rows.iter().map(|(ip, _)| *ip), stale_before);
        }
        if tallied.written < rows.len() as u64 {
            tallied = self.recount(rows, now, tallied.written);
        }
        tallied
    }

    fn update_by_address(
        &self,
        databases: &Databases,
        records: Datum,
        ips: impl Iterator<Item = IpAddr>,
        stale_before: i64,
    ) -> u64 {
        let ips: Vec<Inet> = ips.map(Inet::host).collect();
        let types = [self.array, pg_sys::TIMESTAMPTZOID, pg_sys::INETARRAYOID];
        let values = [records, Datum::from(stale_before), ips.into_datum().unwrap_or(Datum::null())];
        let _fetched = Settings::rows_are_fetched();
        self.run(self.statement(databases, "ip_address"), types, values)
    }

    /// The result of the batch of `now` if it did not write all of `rows`: rows that moved or were answered in the
    /// meantime are counted by their writer, or by the next pass.
    fn recount(&self, rows: &[Place], now: i64, written: u64) -> Tallied {
        let sql = Sql::on(self.schema, c"ip_inventory");
        // Not as a read-only query: that would not see the writes of this transaction.
        let found = sql.returning(
            &format!(
                "SELECT count(*) FILTER (WHERE asn_source = 'maxmind'), count(*) FILTER (WHERE maxmind_status = 'not_found'),
                     count(*) FILTER (WHERE maxmind_status = 'skipped')
                 FROM {}.ip_inventory WHERE ip_address = ANY ($1) AND maxmind_ts = $2",
                self.schema.name
            ),
            &[argument::addresses(rows.iter().map(|(ip, _)| ip)), argument::moment(now)],
        );
        let count = |column| found.get::<i64>(0, column).unwrap_or(0) as u64;
        Tallied { written, with_asn: count(1), not_found: count(2), skipped: count(3), unavailable: 0 }
    }

    fn run<const N: usize>(&self, text: String, types: [pg_sys::Oid; N], values: [Datum; N]) -> u64 {
        let _sql = Sql::on(self.schema, c"ip_inventory");
        execute(text, types, values)
    }

    /// The answers for `ips` as an array of `ip_enrichment`.
    fn records(&self, databases: &Databases, ips: impl Iterator<Item = IpAddr>, now: i64) -> (Datum, Tallied) {
        let mut tallied = Tallied::default();
        let mut datums: Vec<Datum> = ips
            .map(|ip| {
                let record = crate::files::counters::lookup(|| cascade::first_record(ip, databases, &self.policy));
                match record.maxmind_status {
                    Status::NotFound => tallied.not_found += 1,
                    Status::Skipped => tallied.skipped += 1,
                    Status::Unavailable => tallied.unavailable += 1,
                    _ => {}
                }
                tallied.with_asn += u64::from(record.asn_number.is_some());
                row::form(&self.kind, &record, now)
            })
            .collect();
        // SAFETY: elements of a composite type, which is variable-length and aligned to 8.
        let array = unsafe {
            pg_sys::construct_array(datums.as_mut_ptr(), datums.len() as i32, self.element, -1, false, b'd' as _)
        };
        (Datum::from(array), tallied)
    }
}

fn places(values: impl Iterator<Item = pg_sys::ItemPointerData>) -> Datum {
    let mut places: Vec<pg_sys::ItemPointerData> = values.collect();
    let mut datums: Vec<Datum> = places.iter_mut().map(|place| Datum::from(std::ptr::from_mut(place))).collect();
    let size = size_of::<pg_sys::ItemPointerData>() as i32;
    // SAFETY: fixed-size values passed by reference and copied; tid is 6 bytes, aligned to 2.
    Datum::from(unsafe {
        pg_sys::construct_array(datums.as_mut_ptr(), datums.len() as i32, pg_sys::TIDOID, size, false, b's' as _)
    })
}
