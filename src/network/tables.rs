//! Transactions of the network side: rows that are looked for, rows that are written.

use std::net::IpAddr;

use enrich::address::effective;
use enrich::campaign::batch::{CymruBatch, GreyNoiseBatch, NotDue, Reasons, Refusal, Unwritten, Written, by_reason};
use enrich::campaign::claim::{Claim, Found, Rows};
use enrich::campaign::effect::Skipped;
use enrich::cymru::AsName;
use enrich::cymru::answer::{Answer, Prefix};
use enrich::greynoise::Verdict;
use enrich::quota::Ledger;
use enrich::quota::shared::Account;
use enrich::source::Source;

use crate::inventory::batch::{Halving, Outcome};
use crate::inventory::due::Which;
use crate::inventory::{asn, batch, cymru, due, greynoise};
use crate::pg::catalog;
use crate::pg::catalog::Schema;
use crate::pg::{time, tx};
use crate::settings;
use crate::shared::trouble::Work;
use crate::shared::watched;

/// Rows of one statement.
pub(super) const BATCH: usize = 5_000;
/// Writes of one transaction that fail on a lock, after which the rest is left for later: each has waited.
const PATIENCE: u32 = 64;

/// Runs `f` on the extension's schema in a transaction of its own, and shows how it went. Nothing, where the extension is
/// gone.
pub fn in_schema<T: Default>(work: Work, f: impl FnOnce(&Schema) -> T) -> Result<T, tx::Failure> {
    watched::run(work, || Schema::hold().map(|schema| f(&schema)).unwrap_or_default())
}

/// The same for a part of a work: see [`watched::part`].
pub fn part_in_schema<T: Default>(work: Work, f: impl FnOnce(&Schema) -> T) -> Result<T, tx::Failure> {
    watched::part(work, || Schema::hold().map(|schema| f(&schema)).unwrap_or_default())
}

/// Writing the answers of a source, as a work.
pub fn write_of(source: Source) -> Work {
    if source == Source::GreyNoise { Work::GreynoiseWrite } else { Work::CymruWrite }
}

/// A source may not be asked any more, as things are set: what failed there is not wanted any more. Answers that still wait
/// to be written say so again when they cannot be.
pub fn give_up(source: Source) {
    let works: &[Work] = match source {
        Source::GreyNoise => &[Work::GreynoiseClaim, Work::GreynoiseWrite, Work::Ledger, Work::Reopen],
        _ => &[Work::CymruClaim, Work::CymruWrite],
    };
    works.iter().for_each(|work| watched::succeeded(*work));
}

/// This node asks no source any more: which rows are due is another one's concern.
pub fn give_up_rows() {
    [Work::Recheck, Work::Unskip].into_iter().for_each(watched::succeeded);
}

/// Rows to ask about, and the known answers of their networks.
///
/// # Errors
/// Why they could not be read.
pub fn find(claim: &Claim) -> Result<Found, tx::Failure> {
    let never_ask = settings::policy().never_ask;
    let which = match &claim.rows {
        Rows::Due => Which::Due,
        Rows::Stale => Which::Stale(&never_ask),
        Rows::DueOf(ips) => Which::DueOf(ips),
        Rows::OutdatedOf(ips) => Which::OutdatedOf(ips),
        Rows::All(ips, since) => Which::All(ips, time::from_unix_us(*since)),
    };
    let lifetimes = settings::lifetimes();
    let (work, name) = match claim.source {
        Source::GreyNoise => (Work::GreynoiseClaim, "GreyNoise"),
        _ => (Work::CymruClaim, "Team Cymru"),
    };
    let found = in_schema(work, |schema| {
        let rows = due::claim(schema, claim.source, which, &lifetimes, claim.limit);
        let ips: Vec<IpAddr> = rows.iter().map(|row| effective(row.ip)).collect();
        let known = if claim.known && !ips.is_empty() { cymru::known(schema, &ips, &lifetimes) } else { Vec::new() };
        // Rows that are due for the first time have no answer.
        let known = if claim.rows == Rows::Due {
            known
        } else {
            let rows: Vec<IpAddr> = rows.iter().map(|row| row.ip).collect();
            cymru::newer(schema, &rows, known)
        };
        Found { rows, known }
    });
    if let Err(failure) = &found
        && watched::is_news(work, failure)
    {
        pgrx::log!("asn_inventory: the addresses due for {name} could not be read, trying again: {}", failure.message);
    }
    found
}

/// Writes what Team Cymru said.
pub fn write_cymru(batch: &CymruBatch) -> Written<Answer> {
    let lifetimes = settings::lifetimes();
    let mut refused = Refused::default();
    let written = part_in_schema(Work::CymruWrite, |schema| {
        let mut halving = halving();
        let network = |prefix: &Prefix| prefix.scope.to_string();
        write_along(&mut halving, &batch.prefixes, network, |part| cymru::keep_prefixes(schema, part, &lifetimes));
        let number = |about: &AsName| format!("AS{}", about.asn);
        write_along(&mut halving, &batch.details, number, |part| asn::keep_details(schema, part));
        let number = |name: &(u32, String)| format!("AS{}", name.0);
        write_along(&mut halving, &batch.names, number, |part| asn::keep_names(schema, part));
        for part in batch.ready.chunks(BATCH) {
            pgrx::check_for_interrupts!();
            write_answers(schema, part, &mut refused, |rows| cymru::write(schema, rows));
        }
        write_notes(schema, Source::Cymru, &batch.failed, &batch.skipped, &mut refused);
    });
    told(Work::CymruWrite, written, refused)
}

/// Writes what was learned along with answers. What others hold, or cannot be written, is left out: it is learned again, and
/// must not keep answers back.
fn write_along<T>(halving: &mut Halving, rows: &[T], name: impl Fn(&T) -> String, mut write: impl FnMut(&[T])) {
    for part in rows.chunks(BATCH) {
        pgrx::check_for_interrupts!();
        write_or_halve(halving, part, &mut write, &mut |part, failure| {
            if let ([row], Some(failure)) = (part, failure)
                && watched::is_news(Work::CymruWrite, &failure)
            {
                pgrx::log!("asn_inventory: {} cannot be written: {}", name(row), failure.message);
            }
        });
    }
}

/// Writes what GreyNoise said.
pub fn write_greynoise(batch: &GreyNoiseBatch) -> Written<Verdict> {
    let mut refused = Refused::default();
    let written = part_in_schema(Work::GreynoiseWrite, |schema| {
        write_answers(schema, &batch.ready, &mut refused, |rows| greynoise::write(schema, rows));
        write_notes(schema, Source::GreyNoise, &batch.failed, &batch.skipped, &mut refused);
        let until = time::from_unix_us(batch.until);
        let mut write = |part: &[IpAddr]| greynoise::out_of_quota(schema, part, until);
        let Refused { halving, faults, .. } = &mut refused;
        // Where a lock keeps a row from it, it stays due, and the source is closed.
        write_rows(schema, |ip| *ip, halving, &batch.spent, &mut write, &mut |part, failure| {
            if let ([ip], Some(failure)) = (part, failure.filter(|failure| !failure.is_lock())) {
                faults.broken.push((*ip, failure));
            }
        });
    });
    told(Work::GreynoiseWrite, written, refused)
}

/// Writes the ledger of an account down.
///
/// # Errors
/// Why it could not be written.
pub fn keep_ledger(account: &Account, ledger: &Ledger) -> Result<(), tx::Failure> {
    in_schema(Work::Ledger, |schema| greynoise::keep_ledger(schema, account, ledger))
}

/// Writes the ledger down and makes rows due that wait for the quota; returns those that others hold. If a reload ends
/// this worker, it should not cost a question: then nothing is written.
///
/// # Errors
/// Why the ledger could not be written.
pub fn reopen(account: &Account, ledger: &Ledger, waiting: &[IpAddr]) -> Result<NotDue, tx::Failure> {
    let mut kept = Kept::default();
    part_in_schema(Work::Reopen, |schema| {
        if is_served() {
            greynoise::keep_ledger(schema, account, ledger);
            kept.make_due(schema, waiting, |part| greynoise::reopen(schema, part));
        }
    })?;
    // Whether rows are left that are to be made due, the campaign says.
    watched::succeeded(Work::Ledger);
    Ok(kept.told(Work::Reopen))
}

/// Makes rows due again that a setting kept from being asked about. Returns how many it found, and those of them that
/// could not be.
///
/// # Errors
/// Why they could not be looked for.
pub fn unskip(source: Source, which: &Skipped) -> Result<(usize, NotDue), tx::Failure> {
    let mut kept = Kept::default();
    let found = part_in_schema(Work::Unskip, |schema| {
        let found;
        let ips = match which {
            Skipped::These(ips) => ips,
            Skipped::Any { limit, never_ask, but } => {
                found = due::skipped_by_setting(schema, source, *limit, never_ask, but);
                &found
            }
        };
        for part in ips.chunks(BATCH) {
            pgrx::check_for_interrupts!();
            kept.make_due(schema, part, |part| due::unskip(schema, source, part));
        }
        ips.len()
    })?;
    Ok((found, kept.told(Work::Unskip)))
}

/// Whether the launcher keeps a worker for this database, as things are set. In a transaction.
fn is_served() -> bool {
    let named = settings::snapshot().databases;
    named.is_empty()
        || catalog::database_name().is_some_and(|name| named.iter().any(|of| of.as_bytes() == name.to_bytes()))
}

/// Rows that could not be made due, and why.
pub(super) struct Kept {
    halving: Halving,
    pub(super) not_due: NotDue,
    faults: Faults,
}

impl Default for Kept {
    fn default() -> Kept {
        Kept { halving: halving(), not_due: NotDue::default(), faults: Faults::default() }
    }
}

impl Kept {
    pub(super) fn make_due(&mut self, schema: &Schema, ips: &[IpAddr], mut write: impl FnMut(&[IpAddr])) {
        let Kept { halving, not_due, faults } = self;
        write_rows(schema, |ip| *ip, halving, ips, &mut write, &mut |part, failure| match (part, failure) {
            ([ip], Some(failure)) if !failure.is_lock() => {
                not_due.broken.push(*ip);
                faults.broken.push((*ip, failure));
            }
            (part, Some(lock)) => {
                not_due.locked.extend_from_slice(part);
                faults.lock = Some(lock);
            }
            (part, None) => not_due.left.extend_from_slice(part),
        });
    }

    /// The rows. Their faults are reported.
    pub(super) fn told(self, work: Work) -> NotDue {
        self.faults.told(work);
        self.not_due
    }
}

/// Why rows of a transaction were not written.
#[derive(Default)]
struct Faults {
    /// One of the locks that others hold.
    lock: Option<tx::Failure>,
    /// Rows that are at fault themselves.
    broken: Vec<(IpAddr, tx::Failure)>,
}

impl Faults {
    /// Reports rows that cannot be written, in one line, and locks once they have lasted.
    fn told(&self, work: Work) {
        if let Some((ip, failure)) = self.broken.first() {
            let why = watched::why(failure, self.broken.len() - 1);
            let message = format!("{ip}: {why}");
            if watched::is_new(work, &message) {
                pgrx::log!(
                    "asn_inventory: {ip} cannot be written to ip_inventory; the rest of its batch was written: {why}"
                );
            }
            watched::failed(work, &tx::Failure { message, ..failure.clone() });
        }
        if let Some(lock) = &self.lock {
            watched::failed(work, lock);
        }
    }
}

/// Rows of a batch that could not be written, and why.
struct Refused<A> {
    halving: Halving,
    unwritten: Unwritten<A>,
    faults: Faults,
}

impl<A> Default for Refused<A> {
    fn default() -> Refused<A> {
        Refused { halving: halving(), unwritten: Unwritten::default(), faults: Faults::default() }
    }
}

/// The result of a batch. Its faults are reported.
fn told<A>(work: Work, written: Result<(), tx::Failure>, refused: Refused<A>) -> Written<A> {
    written.map_err(refusal)?;
    let Refused { mut unwritten, faults, .. } = refused;
    faults.told(work);
    unwritten.broken.extend(faults.broken.into_iter().map(|(ip, _)| ip));
    Ok(unwritten)
}

/// Writes answers, and notes those that cannot be.
fn write_answers<A: Clone>(
    schema: &Schema,
    rows: &[(IpAddr, A)],
    refused: &mut Refused<A>,
    write: impl Fn(&[(IpAddr, A)]) -> u64,
) {
    let mut write = |rows: &[(IpAddr, A)]| {
        let _ = write(rows);
    };
    let Refused { halving, unwritten, faults } = refused;
    write_rows(schema, |(ip, _)| *ip, halving, rows, &mut write, &mut |part, failure| match (part, failure) {
        ([(ip, _)], Some(failure)) if !failure.is_lock() => faults.broken.push((*ip, failure)),
        (part, failure) => {
            unwritten.locked.extend_from_slice(part);
            faults.lock = failure.or_else(|| faults.lock.take());
        }
    });
}

/// Writes why rows have no answer. Not noted, each would be asked about again at once.
fn write_notes<A>(schema: &Schema, source: Source, failed: &Reasons, skipped: &Reasons, refused: &mut Refused<A>) {
    type Note = fn(&Schema, Source, &[IpAddr], &str);
    let Refused { halving, unwritten, faults } = refused;
    for (rows, note) in [(failed, due::fail as Note), (skipped, due::skip as Note)] {
        for (reason, ips) in by_reason(rows) {
            let mut write = |part: &[IpAddr]| note(schema, source, part, reason);
            write_rows(schema, |ip| *ip, halving, &ips, &mut write, &mut |part, failure| match (part, failure) {
                ([ip], Some(failure)) if !failure.is_lock() => faults.broken.push((*ip, failure)),
                (part, failure) => {
                    unwritten.unnoted.extend(part);
                    faults.lock = failure.or_else(|| faults.lock.take());
                }
            });
        }
    }
}

fn halving() -> Halving {
    Halving::new("asn_inventory network", PATIENCE)
}

/// Writes a batch within the transaction. Hands rows that are not written to `refused`: one that cannot be written, and
/// why; or, without a reason, several that were left after too many of those. Each row is either written or told of: an
/// answer has been paid for.
fn write_or_halve<T>(
    halving: &mut Halving,
    rows: &[T],
    write: &mut impl FnMut(&[T]),
    refused: &mut impl FnMut(&[T], Option<tx::Failure>),
) {
    halving.write(rows, &batch::hurry, write, &mut |outcome| tell(outcome, refused));
}

/// The same for rows of the inventory, which may lie in shards, and the addresses of which are these.
fn write_rows<T: Clone>(
    schema: &Schema,
    ip: fn(&T) -> IpAddr,
    halving: &mut Halving,
    rows: &[T],
    write: &mut impl FnMut(&[T]),
    refused: &mut impl FnMut(&[T], Option<tx::Failure>),
) {
    let apart = |rows: &[T]| batch::by_shard(schema, rows, ip);
    halving.write_apart(rows, &apart, &batch::hurry, write, &mut |outcome| tell(outcome, refused));
}

fn tell<T>(outcome: Outcome<'_, T, ()>, refused: &mut impl FnMut(&[T], Option<tx::Failure>)) {
    match outcome {
        Outcome::Written(..) => {}
        Outcome::Refused(row, failure) => refused(std::slice::from_ref(row), Some(failure)),
        Outcome::Left(rows) => refused(rows, None),
    }
}

/// An error in the words of the campaign.
pub fn refusal(failure: tx::Failure) -> Refusal {
    Refusal { lock: failure.is_lock(), message: failure.message }
}
