//! Absorbing: the queue into the inventory, in one transaction.
//!
//! Read and delete queue rows, fold them by address, sort, look up, upsert. The worker does this every second and
//! anyone with the right can do it by hand ([`absorb_observations`]); a lock on the extension lets only one at a time.
//! If another session holds a row of the inventory, this waits a bounded time and puts that address back for later; it
//! does the same with a row that cannot be written at all. An error without a guilty row, such as a full disk, fails
//! the round: all of it stays in the queue.
use std::collections::HashMap;
use std::net::IpAddr;

use pgrx::IntoDatum;
use pgrx::pg_sys;

use super::queue;
use super::queue::{Queue, wake_at_commit};
use super::queued::Retry;
use super::taken::{COUNT_ALONE, MAX_ADDRESSES, Pending, take};
use crate::files::maxmind;
use crate::inventory::batch::{Halving, Outcome};
use crate::inventory::heap;
use crate::inventory::places::TABLES;
use crate::inventory::seen::Seen;
use crate::inventory::seen_by;
use crate::inventory::sighting;
use crate::inventory::source_count;
use crate::inventory::source_count::{Counted, Unreadable};
use crate::inventory::store::Writer;
use crate::pg::call::Call;
use crate::pg::catalog::{Schema, Turn};
use crate::pg::citus;
use crate::pg::inet::Inet;
use crate::pg::tx;
use crate::pg::tx::{Failure, Settings};
use crate::pg::{errors, time};
use crate::shared::watched;
use crate::sql_function;

/// Most queue rows of one transaction.
pub const MAX_ROWS: usize = MAX_ADDRESSES;
/// Addresses of one write.
const BATCH: usize = 10_000;
/// Tries of an address that a lock kept from being written, after which that shows: it has waited for a minute then.
const HELD: i32 = 5;
/// Writes of one round that fail on a lock, after which the rest of a batch is put back unwritten: each has waited.
const PATIENCE: u32 = 64;

/// The result of one round.
#[derive(Clone, Debug, Default)]
pub struct Absorbed {
    /// Queue rows taken.
    pub rows: u64,
    /// Addresses that stood in them, with repetitions.
    pub addresses: u64,
    /// More may wait: the round ended at its limit.
    pub more: bool,
    /// Why an address could not be written, where one could not: it went back to the queue.
    pub refused: Option<Failure>,
    /// Why an address could not be written that a lock of another session has kept from it for a minute.
    pub held: Option<Failure>,
    /// Rows that were put back earlier may still wait: the round ended before the end of the queue.
    pub some_wait: bool,
    /// Addresses that a session asked about: stale answers are requested again.
    pub asked: Vec<IpAddr>,
}

sql_function!(
    /// `absorb_observations(max_rows int) → bigint`: queue rows absorbed.
    absorb_observations,
    pg_finfo_absorb_observations,
    |call: Call| {
        let max_rows = match call.get::<i32>(0) {
            Some(n) if n < 0 => errors::bad_value("max_rows cannot be negative", "", "Null absorbs everything."),
            Some(n) => n as usize,
            None => usize::MAX,
        };
        errors::refuse_read_only(c"absorb_observations()");
        let schema = Schema::of(call);
        lock(true);
        let quiet = Settings::without_triggers();
        let rows = absorb_all(&schema, max_rows);
        drop(quiet);
        // The worker gets the network's answers for these.
        wake_at_commit();
        call.give((rows as i64).into_datum())
    }
);

/// Everything that is queued, `max_rows` rows of it at most. The caller holds [`lock`].
pub fn absorb_all(schema: &Schema, max_rows: usize) -> usize {
    let mut total = 0;
    while total < max_rows {
        let done = absorb(schema, MAX_ROWS.min(max_rows - total));
        total += done.rows as usize;
        if !done.more {
            break;
        }
        // The next round must see the writes of this one.
        tx::next_command();
    }
    total
}

/// Lets only one transaction absorb at a time. Without `wait`, tells whether it is this one.
pub fn lock(wait: bool) -> bool {
    if wait { Turn::Absorb.wait() } else { Turn::Absorb.take() }
}

/// One round: at most `max_rows` queue rows. The caller holds [`lock`].
pub fn absorb(schema: &Schema, max_rows: usize) -> Absorbed {
    tx::commit_for_good();
    if seen_by::is_kept(schema) {
        // Now, and not behind the work: a round that fails has written everything in vain.
        for table in TABLES {
            if !queue::lock(schema.relation(table)) {
                errors::raise(
                    pgrx::PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
                    format!("{} is locked, and nothing was absorbed", table.to_string_lossy()),
                    "Somebody holds a lock on it, or waits for one.",
                    "enrichment_doctor() names who does.",
                );
            }
        }
    }
    let Some(mut taken) = take(schema, max_rows) else { return Absorbed::default() };
    if taken.rows == 0 {
        return Absorbed { some_wait: taken.passed_over > 0, ..Absorbed::default() };
    }
    if taken.keeps_sightings {
        // Not before there is something to write: it asks other nodes.
        sighting::measure(schema);
    }
    // The next steps must see the deletions.
    tx::next_command();
    let mut addresses: Vec<(IpAddr, Pending)> = std::mem::take(&mut taken.addresses).into_iter().collect();
    addresses.sort_unstable_by_key(|(ip, _)| *ip);

    let settings = Settings::begin();
    let is_everywhere = heap::is_everywhere(schema);
    if is_everywhere {
        // The nodes wait for each other's rounds.
        citus::bound_waits(&settings, c"10s");
    }
    settings.set(c"lock_timeout", c"500ms");
    taken.gather(schema);
    let halving = Halving::new("asn_inventory absorb", PATIENCE);
    let mut round = Round {
        schema,
        settings: &settings,
        is_everywhere,
        born: Vec::new(),
        back: Vec::new(),
        refused: Vec::new(),
        held: None,
        halving,
        now: time::now(),
    };
    for batch in addresses.chunks(BATCH) {
        pgrx::check_for_interrupts!();
        round.write(batch);
    }
    let asked: Vec<IpAddr> = addresses.iter().filter(|(_, p)| p.asked).map(|(ip, _)| *ip).collect();
    round.refresh(&asked);
    round.put_back();
    seen_by::keep(schema, std::mem::take(&mut taken.sighted), &round.born);
    let uncounted = count_sources(schema, &taken.sources, &taken.unread);
    round.put_back_counts(&uncounted);
    if is_everywhere {
        citus::commit_in_two_phases();
        citus::unbind_waits(&settings);
    }
    let (refused, held) = (round.report(), round.held.take());
    drop(settings);
    let more = taken.rows as usize >= max_rows || taken.addresses_taken >= MAX_ADDRESSES as u64;
    let some_wait = taken.passed_over > 0 || more;
    Absorbed { rows: taken.rows, addresses: taken.addresses_taken, more, refused, held, some_wait, asked }
}

/// One round of writing.
struct Round<'a> {
    schema: &'a Schema,
    settings: &'a Settings,
    /// The nodes of a cluster share the inventory.
    is_everywhere: bool,
    /// Addresses that had no row before, in order; some may be missing.
    born: Vec<IpAddr>,
    back: Vec<(IpAddr, Pending)>,
    /// Those of them that are not locked but cannot be written.
    refused: Vec<(IpAddr, Pending, Failure)>,
    /// One of those that have been locked for long.
    held: Option<Failure>,
    halving: Halving,
    now: i64,
}

impl Round<'_> {
    /// Writes a batch, and puts back the rows that cannot be written. If no row is the cause, the whole round fails and
    /// is tried again later.
    fn write(&mut self, batch: &[(IpAddr, Pending)]) {
        let Round { schema, settings, is_everywhere, born, back, refused, held, halving, now } = self;
        let hurry = || {
            if *is_everywhere {
                citus::bound_waits(settings, c"200ms");
            }
            settings.set(c"lock_timeout", c"20ms");
        };
        let mut write = |batch: &[(IpAddr, Pending)]| {
            let rows: Vec<(IpAddr, Seen)> = batch.iter().map(|(ip, pending)| (*ip, pending.seen)).collect();
            maxmind::with(|databases| Writer::new(schema).absorb_telling(databases, &rows, *now))
        };
        halving.write(batch, &hurry, &mut write, &mut |outcome| match outcome {
            Outcome::Written(rows, are_new) => {
                born.extend(rows.iter().zip(are_new).filter(|(_, is_new)| *is_new).map(|((ip, _), _)| *ip));
            }
            Outcome::Refused((ip, pending), failure) => {
                hurry();
                back.push((*ip, *pending));
                if failure.is_lock() {
                    pgrx::debug1!("asn_inventory: {ip} is held by another transaction and is absorbed later");
                    if pending.attempts >= HELD {
                        let message = format!("{ip}: {}", failure.message);
                        held.get_or_insert_with(|| Failure { message, ..failure });
                    }
                } else {
                    refused.push((*ip, *pending, failure));
                }
            }
            Outcome::Left(rest) => back.extend_from_slice(rest),
        });
    }

    /// Gives known rows their answer if a session asked about them and they are due.
    fn refresh(&mut self, asked: &[IpAddr]) {
        if asked.is_empty() {
            return;
        }
        let (schema, now) = (self.schema, self.now);
        // A locked row stays due: the next question brings it back.
        let result = tx::attempt(|| {
            maxmind::with(|databases| {
                let stale_before = maxmind::stale_before(databases);
                Writer::new(schema).update(databases, asked, stale_before, now)
            })
        });
        if let Err(failure) = result
            && !failure.may_be_of_a_row()
        {
            failure.raise();
        }
    }

    /// Reports the rows that cannot be written: one line a round. Returns the reason.
    fn report(&mut self) -> Option<Failure> {
        let more = self.refused.len().saturating_sub(1);
        let (ip, pending, failure) = self.refused.drain(..).next()?;
        let why = watched::why(&failure, more);
        pgrx::log!(
            "asn_inventory: {ip} cannot be written to ip_inventory (attempt {}); the rest of its batch was written: {why}",
            pending.attempts + 1
        );
        Some(Failure { message: format!("{ip}: {why}"), ..failure })
    }

    /// Rows that could not be written go back to the queue, with a growing pause.
    fn put_back(&mut self) {
        let Some(queue) = (!self.back.is_empty()).then(|| Queue::open(self.schema.oid)).flatten() else { return };
        for (ip, pending) in &self.back {
            let attempts = pending.attempts.saturating_add(1);
            let delay = 1_000_000i64 << attempts.min(9);
            let retry = Retry { attempts, at: self.now.saturating_add(delay) };
            queue.append_rows(&[(Some(Inet::host(*ip)), pending.seen)], None, Some(retry));
        }
    }

    /// So do the counts of tables whose row another session holds.
    fn put_back_counts(&self, held: &[(u32, Counted)]) {
        let Some(queue) = (!held.is_empty()).then(|| Queue::open(self.schema.oid)).flatten() else { return };
        let retry = Retry { attempts: 1, at: self.now.saturating_add(2_000_000) };
        for (table, source) in held {
            let seen = |count| Seen { count, first: source.last, last: source.last };
            let rows = [(Some(COUNT_ALONE), seen(source.observed)), (None, seen(source.unparsable))];
            let mut rows: Vec<_> = rows.into_iter().filter(|(_, seen)| seen.count > 0).collect();
            rows.extend((0..source.unobserved).map(|_| (None, seen(0))));
            let table = pg_sys::Oid::from(*table);
            queue.append_rows(&rows, Some(table), Some(retry));
            queue.append_silent(source.rows, None, table, source.last, Some(retry));
        }
    }
}

/// Adds to the counts of the attached tables; a partition counts for the table that was attached. Returns the counts
/// that could not be added because another session holds that row, such as `populate_ip_inventory` in a long
/// transaction.
fn count_sources(
    schema: &Schema,
    sources: &HashMap<u32, Counted>,
    unread: &HashMap<u32, Unreadable>,
) -> Vec<(u32, Counted)> {
    let mut held = Vec::new();
    let result = tx::attempt(|| {
        for (table, counted) in sources {
            if !source_count::count(schema, pg_sys::Oid::from(*table), counted, unread.get(table)) {
                held.push((*table, *counted));
            }
        }
    });
    match result {
        Ok(()) => held,
        Err(failure) if !failure.may_be_of_a_row() => failure.raise(),
        Err(failure) => {
            pgrx::log!("asn_inventory: the counts of attached tables could not be updated: {}", failure.message);
            sources.iter().map(|(table, counted)| (*table, *counted)).collect()
        }
    }
}
