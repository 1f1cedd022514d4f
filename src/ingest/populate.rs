//! `populate_ip_inventory`: the rows of an attached table that its trigger did not see, through the queue.
//!
//! Rows that the trigger saw must not be counted again. Attaching locks the table against writers and notes its
//! snapshot ([`Before`]): a row whose transaction that snapshot sees was there before, and is counted once, by the first
//! call. Of the rows that came later most met the trigger, but those of a session with `asn_inventory.enabled = off` did
//! not, and nothing tells them apart; nor does it a row from before that was updated since. So of those only addresses
//! count of which neither the inventory nor the queue has an observation: then no trigger saw any of their rows.
//!
//! The rows are read with the rights of the table's owner, and all of them or none: a policy that hid some would use up
//! the one time without them.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;

use enrich::selector::Selector;
use pgrx::IntoDatum;
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::extract::Extractor;
use super::owner::check_owner;
use super::plan::Moment;
use super::queue;
use super::queue::{Closed, Queue};
use crate::inventory::tally::Tally;
use crate::pg::call::Call;
use crate::pg::catalog::{Schema, database_identity, plain_name, quote_identifier, relation_name};
use crate::pg::errors::{not_ready, raise, refuse_read_only};
use crate::pg::inet::Inet;
use crate::pg::snapshot::with_latest_snapshot;
use crate::pg::sql::Sql;
use crate::pg::tx::Settings;
use crate::sql_function;

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
    if relation_name(table).is_some() {
        check_owner(table, "Its rows are read with its owner's rights, whatever policies say.");
    }
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
        // Read as the owner: who calls this is one, or may act as one. What the reading might run of the owner's (a
        // generated column's function, say) has no more rights than the owner, and can't come by any.
        let whole = WholeTable::begin(self.table);
        let mut cursor = self.sql.cursor(&format!("SELECT {} FROM {name}", names.join(", ")), &[]);
        whole.pause();
        let mut plan: Option<(Vec<Extractor>, Option<Moment>)> = None;
        let (mut earlier, mut later) = (Tally::default(), Tally::default());
        let mut handed = 0;
        loop {
            whole.resume();
            let rows = cursor.fetch(FETCH);
            whole.pause();
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
                    let at = moment.as_ref().and_then(|m| m.read(rows.datum(row, m.attribute() as usize)?, self.now));
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
        let mut later = std::mem::take(later);
        if !later.addresses.is_empty() {
            queue::forget_queued(self.schema.oid, &mut later).unwrap_or_else(|closed| refuse(closed));
        }
        for ip in self.unknown(&later) {
            if let Some(seen) = later.addresses.get(&ip) {
                tally.addresses.entry(ip).and_modify(|known| known.add(*seen)).or_insert(*seen);
            }
        }
        let handed = tally.addresses.values().map(|seen| seen.count).sum();
        if !tally.is_empty() {
            let queue = Queue::try_open(self.schema.oid).unwrap_or_else(|closed| refuse(closed));
            queue.append(&tally, self.table, self.now);
        }
        handed
    }

    /// Those addresses of which the inventory has no observation. That somebody asked about one is none.
    fn unknown(&self, tally: &Tally) -> Vec<IpAddr> {
        if tally.addresses.is_empty() {
            return Vec::new();
        }
        let ips: Vec<Inet> = tally.addresses.keys().map(|ip| Inet::host(*ip)).collect();
        let _fetched = Settings::rows_are_fetched();
        let sql = Sql::on(self.schema, c"ip_inventory");
        let found = sql.query(
            &format!(
                "SELECT i.ip_address FROM {}.ip_inventory i WHERE i.ip_address = ANY ($1) AND i.observation_count > 0",
                self.schema.name
            ),
            &[(pg_sys::INETARRAYOID, ips.into_datum())],
        );
        let known: HashSet<IpAddr> = (0..found.len()).filter_map(|row| Some(found.get::<Inet>(row, 1)?.ip)).collect();
        tally.addresses.keys().copied().filter(|ip| !known.contains(ip)).collect()
    }
}

/// Without the queue nothing may be taken for done.
fn refuse(closed: Closed) -> ! {
    match closed {
        Closed::Busy => raise(
            PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
            "ip_observation is locked, and nothing was counted",
            "Somebody holds a lock on it, or waits for one.",
            "Call populate_ip_inventory() again once pg_locks shows no such lock.",
        ),
        Closed::Missing => not_ready(
            "ip_observation is missing or not as asn_inventory made it",
            "",
            "Run DROP EXTENSION asn_inventory CASCADE, CREATE EXTENSION asn_inventory, and attach the tables again.",
        ),
    }
}

/// Reading a table as its owner, restricted as a view's owner is while it is refreshed, and without row security: rows
/// that a policy hides from the owner himself are an error. Only while rows are fetched; an error ends it as well.
struct WholeTable {
    owner: pg_sys::Oid,
    user: pg_sys::Oid,
    context: std::ffi::c_int,
    level: std::ffi::c_int,
}

impl WholeTable {
    fn begin(table: pg_sys::Oid) -> WholeTable {
        let (mut user, mut context) = (pg_sys::InvalidOid, 0);
        // SAFETY: the relation is opened for the time of one read; the level of settings ends with the value.
        let (owner, level) = unsafe {
            let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
            let owner = (*(*relation).rd_rel).relowner;
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
            pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
            (owner, pg_sys::NewGUCNestLevel())
        };
        crate::pg::tx::save_and_set(c"row_security", c"off");
        let whole = WholeTable { owner, user, context, level };
        whole.resume();
        whole
    }

    fn resume(&self) {
        let context = self.context | pg_sys::SECURITY_RESTRICTED_OPERATION as i32;
        // SAFETY: put back by `pause`; after an error, by the (sub)transaction's abort.
        unsafe { pg_sys::SetUserIdAndSecContext(self.owner, context) };
    }

    fn pause(&self) {
        // SAFETY: what was found at the beginning.
        unsafe { pg_sys::SetUserIdAndSecContext(self.user, self.context) };
    }
}

impl Drop for WholeTable {
    fn drop(&mut self) {
        // After an error the transaction's abort does it.
        if !std::thread::panicking() {
            self.pause();
            // SAFETY: begun by `begin`.
            unsafe { pg_sys::AtEOXact_GUC(false, self.level) };
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
