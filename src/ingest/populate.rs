//! `populate_ip_inventory`: the rows of an attached table that its trigger did not see, through the queue.
//!
//! Rows that the trigger saw must not be counted again. Those that were there before are counted once, by the first
//! call: [`super::reading`] tells them from those that came later. Of these only addresses count of which neither the
//! inventory nor the queue has an observation: then no trigger saw any of their rows.

use std::collections::HashSet;
use std::net::IpAddr;

use pgrx::IntoDatum;
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::attach;
use super::owner::check_owner;
use super::part::Source;
use super::queue::{Closed, Queue};
use super::reading::{Chunk, Earlier};
use super::unobserved;
use super::waiting;
use crate::inventory::{fold, known};
use crate::pg::call;
use crate::pg::call::Call;
use crate::pg::catalog::{Schema, relation_name};
use crate::pg::citus;
use crate::pg::errors::{not_ready, raise, refuse_read_only};
use crate::pg::snapshot::{Shown, with_latest_snapshot};
use crate::pg::sql::Sql;
use crate::pg::tx::Settings;
use crate::sql_function;

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
    attach::refuse_distributed(table, "populate_ip_inventory()");
    attach::hand_in_rows();
    // One call at a time; a second one waits, and sees the results of the first.
    let quiet = Settings::without_triggers();
    let mut source = Source::lock(schema, table);
    drop(quiet);
    let sql = Sql::as_caller();
    let now = call::statement_start();
    let handing = Handing { schema, table, now };
    let mut handed = 0;
    // Rows, queue and inventory as of one moment, after the wait: the statement's snapshot may be older. The same moment says which
    // partitions the reading shows.
    let (shown, own) = with_latest_snapshot(|| {
        let shown = Shown::now();
        let quiet = Settings::without_triggers();
        source.mark_populated(schema);
        drop(quiet);
        let reading = source.reading(&sql, schema, Earlier::Uncounted, now);
        reading.run(|chunk| handed += handing.hand_over(chunk));
        (shown, reading.own)
    });
    if shown.is_some() {
        let mut members: Vec<pg_sys::Oid> = own.into_iter().map(pg_sys::Oid::from).collect();
        if citus::kept(table).is_some() {
            // What was not observed was not observed there.
            members.extend(citus::shards_here(table).into_iter().map(|shard| shard.table));
        }
        unobserved::mend_at_commit(schema, &members, shown);
    }
    handed
}

/// The destination of the rows.
struct Handing<'a> {
    schema: &'a Schema,
    table: pg_sys::Oid,
    now: i64,
}

impl Handing<'_> {
    /// Hands over what counts; returns how many addresses, repetitions included.
    fn hand_over(&self, chunk: Chunk) -> i64 {
        let Chunk { earlier: mut tally, mut later, rows, unread } = chunk;
        let mut unknown: HashSet<IpAddr> = later.addresses().iter().map(|(key, _)| key.ip).collect();
        if !unknown.is_empty() {
            waiting::forget_queued(self.schema.oid, &mut unknown).unwrap_or_else(|closed| refuse(closed));
            self.forget_known(&mut unknown);
        }
        // What could not be read in later rows was counted by the trigger.
        tally.add(later.only(|ip| unknown.contains(ip)));
        let handed = tally.addresses().iter().map(|(_, seen)| seen.count).sum();
        if !tally.is_empty() || rows > 0 {
            let queue = Queue::try_open(self.schema.oid).unwrap_or_else(|closed| refuse(closed));
            if tally.is_empty() {
                queue.append_silent(rows, unread.as_ref(), self.table, self.now, None);
            } else {
                queue.append(&mut tally, self.table, self.now, rows);
            }
        }
        handed
    }

    /// Removes the addresses with an observation in the inventory. A question about an address is not an observation.
    fn forget_known(&self, addresses: &mut HashSet<IpAddr>) {
        if addresses.is_empty() {
            return;
        }
        let _fetched = Settings::rows_are_fetched();
        let kept: Vec<IpAddr> = addresses.iter().map(|ip| fold::kept(*ip)).collect();
        let known = known::observed(self.schema, kept.iter());
        addresses.retain(|ip| !known.contains(&fold::kept(*ip)));
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
            "table \"ip_observation\" is missing or was altered",
            "",
            "Run DROP EXTENSION asn_inventory CASCADE, CREATE EXTENSION asn_inventory, and attach the tables again.",
        ),
    }
}
