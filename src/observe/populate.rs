//! `populate_ip_inventory`: the rows of an attached table that its trigger did not see, through the queue.
//!
//! Rows that the trigger saw must not be counted again. Attaching locks the table against writers and notes its
//! snapshot ([`Before`]): a row whose transaction that snapshot sees was there before, and is counted once, by the first
//! call. Of the rows that came later most met the trigger, but those of a session with `asn_inventory.enabled = off` did
//! not, and nothing tells them apart; nor does it a row from before that was updated since. So of those only addresses
//! count of which neither the inventory nor the queue has an observation: then no trigger saw any of their rows.

use std::fmt;
use std::net::IpAddr;

use enrich::selector::Selector;
use pgrx::IntoDatum;
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::attach::with_latest_snapshot;
use super::extract::Extractor;
use super::plan::Moment;
use super::queue::Queue;
use super::tally::Tally;
use crate::call::Call;
use crate::catalog::{Schema, database_identity, plain_name, quote_identifier, relation_name};
use crate::errors::{not_ready, raise, refuse_read_only};
use crate::inet::Inet;
use crate::sql::Sql;
use crate::sql_function;
use crate::tx::Settings;

const FETCH: usize = 5_000;
const FLUSH: usize = 100_000;

sql_function!(
    /// `populate_ip_inventory(tbl regclass) → bigint`: how many addresses were handed over, repetitions included.
    populate_ip_inventory,
    pg_finfo_populate_ip_inventory,
    |call: Call| {
        refuse_read_only(c"populate_ip_inventory()");
        let Some(table) = call.get::<pg_sys::Oid>(0) else { return call.null() };
        call.give(populate(&Schema::of(call), table).into_datum())
    }
);

fn populate(schema: &Schema, table: pg_sys::Oid) -> i64 {
    let argument = [(pg_sys::REGCLASSOID, table.into_datum())];
    // One call at a time; a second one waits, and finds what the first has done.
    let quiet = Settings::without_triggers();
    let note = Sql::on(schema, c"ip_source");
    let source = note.returning(
        &format!(
            "SELECT ip_columns, observed_at::text, attached_snapshot, attached_on, populated_at IS NULL
             FROM {}.ip_source WHERE tbl = $1 FOR UPDATE",
            schema.name
        ),
        &argument,
    );
    if source.len() == 0 {
        not_ready(
            format!("table \"{}\" is not attached", plain_name(table)),
            "",
            "Call attach_ip_source(table, columns) first.",
        );
    }
    let first = source.get::<bool>(0, 5) == Some(true);
    if first && source.text(0, 4).as_deref() != Some(database_identity().as_str()) {
        not_ready(
            format!("which rows of \"{}\" were there before it was attached is not known any more", plain_name(table)),
            "The table was restored into this database from a dump.",
            "Count them by hand: INSERT INTO ip_inventory … SELECT … GROUP BY the address, then backfill_inventory().",
        );
    }
    let before = source.text(0, 3).as_deref().and_then(Before::parse);
    let Some(before) = before else {
        raise(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, "ip_source.attached_snapshot can't be read", "", "");
    };
    if first {
        let done = format!("UPDATE {}.ip_source SET populated_at = pg_catalog.now() WHERE tbl = $1", schema.name);
        note.run(&done, &argument);
    }
    let (selectors, observed_at) = (source.texts(0, 1).unwrap_or_default(), source.text(0, 2));
    drop(source);
    drop(note);
    drop(quiet);
    let sql = Sql::as_caller();
    let reading = Reading {
        sql: &sql,
        schema,
        table,
        selectors,
        observed_at,
        before,
        first,
        // SAFETY: reads the clock of the running statement.
        now: unsafe { pg_sys::GetCurrentStatementStartTimestamp() },
    };
    // Rows, queue and inventory as of one moment, after the wait: the statement's snapshot may be older.
    with_latest_snapshot(|| reading.run())
}

/// One reading of a table.
struct Reading<'a> {
    sql: &'a Sql,
    schema: &'a Schema,
    table: pg_sys::Oid,
    selectors: Vec<String>,
    observed_at: Option<String>,
    before: Before,
    /// Rows from before the attachment are not counted yet.
    first: bool,
    now: i64,
}

impl Reading<'_> {
    /// Reads all rows and hands over what counts; returns how many addresses, repetitions included.
    fn run(&self) -> i64 {
        let selectors: Vec<Selector> = self.selectors.iter().filter_map(|text| Selector::parse(text).ok()).collect();
        let mut names = vec!["xmin".to_owned(), "cmin".to_owned()];
        names.extend(
            selectors.iter().map(|s| s.column.clone()).chain(self.observed_at.clone()).map(|n| quote_identifier(&n)),
        );
        let Some(name) = relation_name(self.table) else { return 0 };
        // Read with the caller's own rights: who may not see the rows may not have them counted.
        let mut cursor = self.sql.cursor(&format!("SELECT {} FROM {name}", names.join(", ")), &[]);
        let mut plan: Option<(Vec<Extractor>, Option<Moment>)> = None;
        let (mut earlier, mut later) = (Tally::default(), Tally::default());
        let mut handed = 0;
        loop {
            let rows = cursor.fetch(FETCH);
            if rows.len() == 0 {
                break;
            }
            pgrx::check_for_interrupts!();
            // SAFETY: the descriptor of the fetched rows, the same for every fetch.
            let (extractors, moment) = plan.get_or_insert_with(|| unsafe {
                (
                    selectors.iter().filter_map(|s| Extractor::new(s, rows.desc()).ok()).collect(),
                    self.observed_at.as_deref().and_then(|name| Moment::new(rows.desc(), name)),
                )
            });
            let context = pgrx::PgMemoryContexts::new("asn_inventory populate");
            // SAFETY: everything palloced in the closure is done with when the context goes.
            unsafe {
                let old = pg_sys::MemoryContextSwitchTo(context.value());
                for row in 0..rows.len() {
                    let number = |column| rows.datum(row, column).map_or(0, |d| d.value() as u32);
                    let tally = match self.before.has(number(1), number(2)) {
                        true if self.first => &mut earlier,
                        true => continue,
                        false => &mut later,
                    };
                    let at = moment.as_ref().and_then(|m| m.read(rows.datum(row, m.attribute() as usize)?));
                    for extractor in extractors.iter() {
                        if let Some(datum) = rows.datum(row, extractor.attribute as usize) {
                            extractor.tally(datum, at.unwrap_or(self.now), tally);
                        }
                    }
                }
                pg_sys::MemoryContextSwitchTo(old);
            }
            if earlier.addresses.len() + later.addresses.len() >= FLUSH {
                handed += self.hand_over(&mut earlier, &mut later);
            }
        }
        handed + self.hand_over(&mut earlier, &mut later)
    }

    fn hand_over(&self, earlier: &mut Tally, later: &mut Tally) -> i64 {
        let mut tally = std::mem::take(earlier);
        let later = std::mem::take(later);
        for ip in self.unknown(&later) {
            if let Some(seen) = later.addresses.get(&ip) {
                tally.addresses.entry(ip).and_modify(|known| known.add(*seen)).or_insert(*seen);
            }
        }
        let handed = tally.addresses.values().map(|seen| seen.count).sum();
        if !tally.is_empty()
            && let Some(queue) = Queue::open(self.schema.oid)
        {
            queue.append(&tally, self.table, self.now);
        }
        handed
    }

    /// Those addresses of which neither the inventory nor the queue has an observation. That somebody asked about one
    /// is none.
    fn unknown(&self, tally: &Tally) -> Vec<IpAddr> {
        if tally.addresses.is_empty() {
            return Vec::new();
        }
        let ips: Vec<Inet> = tally.addresses.keys().map(|ip| Inet::host(*ip)).collect();
        {
            let sql = Sql::on_all(self.schema, &[c"ip_inventory", c"ip_observation"]);
            let found = sql.query(
                &format!(
                    "WITH queued AS MATERIALIZED (
                         SELECT o.address FROM {0}.ip_observation o WHERE o.address IS NOT NULL AND o.seen > 0
                         UNION ALL
                         SELECT u.address FROM {0}.ip_observation o, {0}.unpack_observations(o.packed) u WHERE o.packed IS NOT NULL)
                     SELECT a.ip FROM pg_catalog.unnest($1) AS a(ip)
                     WHERE NOT EXISTS (SELECT FROM {0}.ip_inventory i WHERE i.ip_address = a.ip AND i.observation_count > 0)
                         AND NOT EXISTS (SELECT FROM queued q WHERE q.address = a.ip)",
                    self.schema.name
                ),
                &[(pg_sys::INETARRAYOID, ips.into_datum())],
            );
            (0..found.len()).filter_map(|row| Some(found.get::<Inet>(row, 1)?.ip)).collect()
        }
    }
}

/// Which rows were there when the table was attached: those of transactions that had committed, and of the attaching
/// transaction itself those of earlier commands.
pub struct Before {
    /// The attaching transaction and its subtransactions.
    own: Vec<u64>,
    /// The attaching command in it.
    command: u32,
    xmin: u64,
    xmax: u64,
    running: Vec<u64>,
}

impl Before {
    /// As of `snapshot`, a `pg_snapshot` as text taken while the table is locked, and `command` of this transaction.
    pub fn now(snapshot: &str, command: u32) -> Before {
        // SAFETY: asks for this transaction's id, which making a trigger has assigned, and for the next one.
        let (top, next) =
            unsafe { (pg_sys::GetTopFullTransactionId().value, pg_sys::ReadNextFullTransactionId().value) };
        // SAFETY: tells whether a transaction is this one or a subtransaction of it.
        let own = |xid: &u64| unsafe { pg_sys::TransactionIdIsCurrentTransactionId((*xid as u32).into()) };
        let text = format!("{}:{command}|{snapshot}", list((top..next).filter(own)));
        Before::parse(&text)
            .unwrap_or_else(|| raise(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, "a snapshot can't be read", &text, ""))
    }

    /// Reads `own,…:command|xmin:xmax:xip,…`.
    fn parse(text: &str) -> Option<Before> {
        let (own, snapshot) = text.split_once('|')?;
        let (own, command) = own.split_once(':')?;
        let numbers = |text: &str| {
            text.split(',').filter(|x| !x.is_empty()).map(|x| x.parse().ok()).collect::<Option<Vec<u64>>>()
        };
        let mut parts = snapshot.split(':');
        Some(Before {
            own: numbers(own)?,
            command: command.parse().ok()?,
            xmin: parts.next()?.parse().ok()?,
            xmax: parts.next()?.parse().ok()?,
            running: numbers(parts.next()?)?,
        })
    }

    /// Whether a row that this command of this transaction wrote was there.
    fn has(&self, xid: u32, command: u32) -> bool {
        if xid < pg_sys::FirstNormalTransactionId.into_inner() {
            return true;
        }
        // A row's transaction lies in the past, and less than two billion transactions back.
        // SAFETY: reads the next transaction id.
        let next = unsafe { pg_sys::ReadNextFullTransactionId().value };
        let full = (next & !0xffff_ffff) | u64::from(xid);
        let full = if full >= next { full.wrapping_sub(1 << 32) } else { full };
        if self.own.contains(&full) {
            return command < self.command;
        }
        full < self.xmin || (full < self.xmax && !self.running.contains(&full))
    }
}

impl fmt::Display for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Before { own, command, xmin, xmax, running } = self;
        write!(f, "{}:{command}|{xmin}:{xmax}:{}", list(own.iter().copied()), list(running.iter().copied()))
    }
}

fn list(numbers: impl Iterator<Item = u64>) -> String {
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(",")
}
