//! What one round takes from the queue: its rows, read and deleted, and folded by address and by table.
#![allow(unsafe_code, reason = "reads and deletes the queue below SQL")]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use enrich::pack::{Entry, unpack};
use pgrx::pg_sys;

use super::queue;
use super::queued::{Stored, is_queue};
use super::unread::OF_TIME;
use crate::inventory::fold;
use crate::inventory::seen::Seen;
use crate::inventory::seen_by;
use crate::inventory::seen_by::Sighted;
use crate::inventory::source;
use crate::inventory::source_count::{Counted, Unreadable};
use crate::pg::catalog::Schema;
use crate::pg::inet::Inet;
use crate::pg::{errors, time, tx};

/// Most queued addresses of one transaction, so that each ends soon and memory stays bounded.
pub const MAX_ADDRESSES: usize = 200_000;
/// How long an address that could not be written is left alone at most, and a little more (microseconds).
const LONGEST_PAUSE: i64 = 15 * 60 * 1_000_000;

/// Stands for an address in queue rows that only count for their table: its addresses were absorbed before.
pub const COUNT_ALONE: Inet = Inet { ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED), bits: 0 };

/// One address of the queue.
#[derive(Clone, Copy)]
pub struct Pending {
    /// How often, first and last.
    pub seen: Seen,
    /// How often writing it has failed.
    pub attempts: i32,
    /// A session asked about it (`enrich_ip`): a known row that is due gets its answer now.
    pub asked: bool,
}

/// Rows of the queue, which are deleted from it.
#[derive(Default)]
pub struct Taken {
    /// How many.
    pub rows: u64,
    /// With repetitions, and with the counts that are only for its table.
    pub addresses_taken: u64,
    /// Rows that are to be left alone for now.
    pub passed_over: u64,
    /// Each address once.
    pub addresses: HashMap<IpAddr, Pending>,
    /// What is added to the counts of each table.
    pub sources: HashMap<u32, Counted>,
    /// Of each table, the last value that could not be read.
    pub unread: HashMap<u32, Unreadable>,
    /// Who saw what, where that is kept.
    pub sighted: Sighted,
    /// Whether it is.
    pub keeps_sightings: bool,
}

/// Reads and deletes queue rows. `None` when there is no queue.
pub fn take(schema: &Schema, max_rows: usize) -> Option<Taken> {
    let mut taken = Taken { keeps_sightings: seen_by::is_kept(schema), ..Taken::default() };
    let now = time::now();
    // SAFETY: a heap scan under a registered snapshot taken after the lock, so that rows deleted by another round are
    // not seen; tuples are copied out of before the scan moves on.
    unsafe {
        let oid = schema.relation(c"ip_observation");
        if oid == pg_sys::InvalidOid {
            return None;
        }
        if !queue::lock(oid) {
            errors::raise(
                pgrx::PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
                "ip_observation is locked, and nothing was absorbed",
                "Somebody holds a lock on it, or waits for one.",
                "enrichment_doctor() names who does.",
            );
        }
        let relation = pg_sys::table_open(oid, pg_sys::NoLock as i32);
        if !is_queue(relation) {
            errors::not_ready(
                "table \"ip_observation\" was altered",
                "Queued observations stay in the table.",
                "Undo the change. A dropped column cannot be put back in its place: save ip_inventory, run DROP EXTENSION and CREATE EXTENSION, and attach the tables again.",
            );
        }
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
        let flags = pg_sys::ScanOptions::SO_TYPE_SEQSCAN
            | pg_sys::ScanOptions::SO_ALLOW_PAGEMODE
            | pg_sys::ScanOptions::SO_ALLOW_STRAT;
        let scan = pg_sys::heap_beginscan(relation, snapshot, 0, std::ptr::null_mut(), std::ptr::null_mut(), flags);
        let desc = (*relation).rd_att;
        let mut places = Vec::new();
        let mut stored = Stored::of(desc);
        while places.len() < max_rows && taken.addresses_taken < MAX_ADDRESSES as u64 {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            stored.read(tuple, desc);
            // A longer pause than any that is set here was dated by a wrong clock.
            if stored.retry_at().is_some_and(|at| at > now && at <= now.saturating_add(LONGEST_PAUSE)) {
                taken.passed_over += 1;
                continue;
            }
            taken.addresses_taken += stored.addresses();
            taken.add(&stored);
            places.push((*tuple).t_self);
            if places.len().is_multiple_of(4096) {
                pgrx::check_for_interrupts!();
            }
        }
        pg_sys::heap_endscan(scan);
        for place in &mut places {
            pg_sys::simple_heap_delete(relation, place);
        }
        pg_sys::UnregisterSnapshot(snapshot);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        taken.rows = places.len() as u64;
    }
    Some(taken)
}

impl Taken {
    /// Counts partitions for the tables that were attached, all at once: a round may have rows of thousands of them. Where
    /// nothing of `ip_source` can be read, they stay as they are.
    pub fn gather(&mut self, schema: &Schema) {
        if self.sources.len() < 2 {
            return;
        }
        let tables: Vec<pg_sys::Oid> = self.sources.keys().map(|table| (*table).into()).collect();
        let Ok(roots) = tx::attempt(|| source::all_attached_as(schema, &tables)) else { return };
        let root = |table: u32| roots.get(&table.into()).map_or(table, |root| root.to_u32());
        for (table, counted) in std::mem::take(&mut self.sources) {
            self.sources.entry(root(table)).or_default().add(&counted);
        }
        for (table, unread) in std::mem::take(&mut self.unread) {
            let kept = self.unread.entry(root(table)).or_insert_with(|| unread.clone());
            if kept.at < unread.at {
                *kept = unread;
            }
        }
        for ((table, sensor), mut seen) in std::mem::take(&mut self.sighted) {
            self.sighted.entry((root(table), sensor)).or_default().append(&mut seen);
        }
    }

    fn add(&mut self, row: &Stored) {
        let (seen, attempts, inet) = (row.seen(), row.attempts(), row.inet());
        if let Some(table) = row.source() {
            let source = self.sources.entry(table).or_default();
            let rows = row.rows();
            source.rows = source.rows.saturating_add(rows);
            let unread = row.unread();
            // See `Queue::append`.
            let lacks_time = unread.as_ref().is_some_and(|(_, reason)| reason.starts_with(OF_TIME));
            if let Some((sample, reason)) = unread {
                self.unread.insert(table, Unreadable { sample, reason, at: seen.last });
            }
            // No address and seen 0 times: a statement that was not observed, or one whose rows hold none.
            let is_none = inet.is_none() && !row.is_packed();
            if is_none && seen.count == 0 {
                source.unobserved += i64::from(rows == 0);
                return;
            }
            if is_none {
                source.unparsable = source.unparsable.saturating_add(seen.count);
            } else {
                source.observed = source.observed.saturating_add(seen.count);
            }
            source.last = source.last.max(seen.last);
            let counted = if lacks_time { &mut source.untimed } else { &mut source.timed };
            *counted = counted.saturating_add(rows);
        }
        let mut none = Vec::new();
        let place = row.source().filter(|_| self.keeps_sightings);
        // Taken out while the rest of this is used.
        let mut sighted =
            place.map(|table| std::mem::take(self.sighted.entry((table, row.sensor().to_vec())).or_default()));
        let by = sighted.as_mut().unwrap_or(&mut none);
        if let Some(packed) = row.packed() {
            let mut entries = unpack(packed);
            for Entry { ip, count, first, last } in entries.by_ref() {
                self.count(ip, Seen { count, first, last }, attempts, by);
            }
            if entries.is_broken() {
                pgrx::warning!("asn_inventory: a packed row of ip_observation is damaged");
            }
        } else if let Some(Inet { ip, .. }) = inet.filter(|inet| *inet != COUNT_ALONE) {
            self.count(ip, seen, attempts, by);
        }
        if let (Some(table), Some(sighted)) = (place, sighted) {
            self.sighted.insert((table, row.sensor().to_vec()), sighted);
        }
    }

    fn count(&mut self, ip: IpAddr, seen: Seen, attempts: i32, by: &mut Vec<(IpAddr, Seen)>) {
        let asked = seen.count == 0;
        let ip = fold::kept(ip);
        if !asked {
            by.push((ip, seen));
        }
        self.addresses
            .entry(ip)
            .and_modify(|p| {
                p.seen.add(seen);
                p.attempts = p.attempts.max(attempts);
                p.asked |= asked;
            })
            .or_insert(Pending { seen, attempts, asked });
    }
}
