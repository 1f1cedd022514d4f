//! Transactions of the network side: rows that are looked for, rows that are written.

use std::net::IpAddr;

use enrich::address::effective;
use enrich::campaign::batch::{CymruBatch, GreyNoiseBatch, Reasons, Refusal, Unwritten, Written, by_reason};
use enrich::campaign::claim::{Claim, Found, Rows};
use enrich::cymru::answer::Answer;
use enrich::greynoise::Verdict;
use enrich::quota::Ledger;
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
const BATCH: usize = 5_000;

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
        let known = if claim.known && !ips.is_empty() { cymru::known(schema, &ips) } else { Vec::new() };
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
    let (mut refused, mut nameless) = (Refused::default(), 0);
    let written = part_in_schema(Work::CymruWrite, |schema| {
        for part in batch.prefixes.chunks(BATCH) {
            cymru::keep_prefixes(schema, part, &lifetimes);
        }
        write_or_halve(&batch.details, &mut |part| asn::keep_details(schema, part), &mut |about, failure| {
            nameless += 1;
            if nameless == 1 {
                pgrx::log!("asn_inventory: AS{} cannot be written: {}", about.asn, failure.message);
            }
        });
        for part in batch.names.chunks(BATCH) {
            asn::keep_names(schema, part);
        }
        for part in batch.ready.chunks(BATCH) {
            pgrx::check_for_interrupts!();
            write_answers(part, &mut refused, |rows| cymru::write(schema, rows));
        }
        write_notes(schema, Source::Cymru, &batch.failed, &batch.skipped, &mut refused);
    });
    told(Work::CymruWrite, written, refused)
}

/// Writes what GreyNoise said.
pub fn write_greynoise(batch: &GreyNoiseBatch) -> Written<Verdict> {
    let mut refused = Refused::default();
    let written = part_in_schema(Work::GreynoiseWrite, |schema| {
        write_answers(&batch.ready, &mut refused, |rows| greynoise::write(schema, rows));
        write_notes(schema, Source::GreyNoise, &batch.failed, &batch.skipped, &mut refused);
        let until = time::from_unix_us(batch.until);
        let mut write = |part: &[IpAddr]| greynoise::out_of_quota(schema, part, until);
        // Where a lock keeps a row from it, it stays due, and the source is closed.
        write_or_halve(&batch.spent, &mut write, &mut |ip, failure| {
            if !failure.is_lock() {
                refused.broken.push((*ip, failure));
            }
        });
    });
    told(Work::GreynoiseWrite, written, refused)
}

/// Writes the ledger down and makes rows due that wait for the quota. If a reload ends this worker, it should not cost
/// a question: then nothing is written.
pub fn reopen(ledger: &Ledger, waiting: &[IpAddr]) -> Result<(), tx::Failure> {
    in_schema(Work::Ledger, |schema| {
        if is_served() {
            greynoise::keep_ledger(schema, ledger);
            greynoise::reopen(schema, waiting);
        }
    })
}

/// Whether the launcher keeps a worker for this database, as things are set. In a transaction.
fn is_served() -> bool {
    let named = settings::snapshot().databases;
    named.is_empty()
        || catalog::database_name().is_some_and(|name| named.iter().any(|of| of.as_bytes() == name.to_bytes()))
}

/// Rows of a batch that could not be written, and why.
struct Refused<A> {
    unwritten: Unwritten<A>,
    /// One of the locks that others hold.
    lock: Option<tx::Failure>,
    /// Those that are at fault themselves.
    broken: Vec<(IpAddr, tx::Failure)>,
}

impl<A> Default for Refused<A> {
    fn default() -> Refused<A> {
        Refused { unwritten: Unwritten::default(), lock: None, broken: Vec::new() }
    }
}

/// The result of a batch. Reports rows that cannot be written, in one line, and locks once they have lasted.
fn told<A>(work: Work, written: Result<(), tx::Failure>, refused: Refused<A>) -> Written<A> {
    written.map_err(refusal)?;
    let Refused { mut unwritten, lock, broken } = refused;
    if let Some((ip, failure)) = broken.first() {
        let why = watched::why(failure, broken.len() - 1);
        pgrx::log!("asn_inventory: {ip} cannot be written to ip_inventory; the rest of its batch was written: {why}");
        watched::failed(work, &tx::Failure { message: format!("{ip}: {why}"), ..failure.clone() });
    }
    if let Some(lock) = lock {
        watched::failed(work, &lock);
    }
    unwritten.broken.extend(broken.into_iter().map(|(ip, _)| ip));
    Ok(unwritten)
}

/// Writes answers, and notes those that cannot be.
fn write_answers<A: Clone>(rows: &[(IpAddr, A)], refused: &mut Refused<A>, write: impl Fn(&[(IpAddr, A)]) -> u64) {
    let mut write = |rows: &[(IpAddr, A)]| {
        let _ = write(rows);
    };
    write_or_halve(rows, &mut write, &mut |(ip, answer), failure| {
        if failure.is_lock() {
            refused.unwritten.locked.push((*ip, answer.clone()));
            refused.lock = Some(failure);
        } else {
            refused.broken.push((*ip, failure));
        }
    });
}

/// Writes why rows have no answer. Not noted, each would be asked about again at once.
fn write_notes<A>(schema: &Schema, source: Source, failed: &Reasons, skipped: &Reasons, refused: &mut Refused<A>) {
    type Note = fn(&Schema, Source, &[IpAddr], &str);
    for (rows, note) in [(failed, due::fail as Note), (skipped, due::skip as Note)] {
        for (reason, ips) in by_reason(rows) {
            write_or_halve(&ips, &mut |part| note(schema, source, part, reason), &mut |ip, failure| {
                if failure.is_lock() {
                    refused.unwritten.unnoted.insert(*ip);
                    refused.lock = Some(failure);
                } else {
                    refused.broken.push((*ip, failure));
                }
            });
        }
    }
}

/// Writes a batch within the transaction, and hands those rows that cannot be written, and why, to `refused`.
fn write_or_halve<T>(rows: &[T], write: &mut impl FnMut(&[T]), refused: &mut impl FnMut(&T, tx::Failure)) {
    // Every answer is either written or told of: it has been paid for.
    Halving::new("asn_inventory network", u32::MAX).write(rows, &batch::hurry, write, &mut |outcome| {
        if let Outcome::Refused(row, failure) = outcome {
            refused(row, failure);
        }
    });
}

/// An error in the words of the campaign.
pub fn refusal(failure: tx::Failure) -> Refusal {
    Refusal { lock: failure.is_lock(), message: failure.message }
}
