//! The writes of Team Cymru's answers, and their results.

use std::collections::HashSet;
use std::mem::take;
use std::net::IpAddr;
use std::time::Duration;

use super::super::batch::{CymruBatch, Unwritten, Written};
use super::super::effect::{Effect, News};
use super::super::given::Given;
use super::super::interest::{End, Interests};
use super::super::locked::{self, Rows};
use super::state::Cymru;
use crate::cymru::answer::{Answer, StoredName};
use crate::source::Source;

/// Rows of one transaction.
const TRANSACTION: usize = 20_000;
/// How long a row that cannot be written is left alone.
const HELD: Duration = Duration::from_secs(600);
/// How long until a failed write is tried again.
const AGAIN: Duration = Duration::from_secs(1);

impl Cymru {
    /// Writes what came, a transaction's worth of it, once it is known which names the table has.
    pub fn write(&mut self, given: &Given<'_>, out: &mut Vec<Effect>) {
        let early = self.write_at.is_some_and(|at| given.now.steady < at);
        if self.writing || early {
            return;
        }
        self.write_at = None;
        self.names.age(given.now.steady);
        if let Some(Rows { ready, failed, skipped }) = self.locked.try_again(given.now.steady) {
            self.writing = true;
            out.push(Effect::WriteCymru(CymruBatch { ready, failed, skipped, ..CymruBatch::default() }));
            return;
        }
        let unknown: Vec<u32> = self.names.unknown().collect();
        let idle = !self.is_unwritten() && self.prefixes.is_empty() && self.names.learned.is_empty();
        if idle && unknown.is_empty() {
            return;
        }
        self.writing = true;
        if unknown.is_empty() { self.hand_over(out) } else { out.push(Effect::FindNames(unknown)) }
    }

    /// The names that the table has of these AS. `None`: it could not be read, and will be again. Answers that wait for a name
    /// wait on: one that is only unread must not be overwritten.
    pub fn names_found(
        &mut self,
        asked: &[u32],
        found: Option<Vec<StoredName>>,
        given: &Given<'_>,
        out: &mut Vec<Effect>,
    ) {
        match found {
            Some(found) => self.ready.extend(self.names.found(asked, found)),
            None => self.write_at = Some(given.now.steady + AGAIN),
        }
        self.hand_over(out);
    }

    fn hand_over(&mut self, out: &mut Vec<Effect>) {
        let batch = CymruBatch {
            ready: first(&mut self.ready),
            prefixes: take(&mut self.prefixes),
            details: take(&mut self.names.learned),
            names: take(&mut self.bulk_names),
            failed: first(&mut self.failed),
            skipped: first(&mut self.skipped),
        };
        self.writing = !batch.is_empty();
        if self.writing {
            out.push(Effect::WriteCymru(batch));
        } else {
            self.note_success(out);
        }
    }

    /// Says that nothing is left that failed, if so.
    fn note_success(&self, out: &mut Vec<Effect>) {
        if self.held.is_empty() && self.locked.is_empty() && self.write_at.is_none() {
            out.push(Effect::AllWritten(Source::Cymru));
        }
    }

    /// It was written, or was not.
    pub fn written(
        &mut self,
        batch: CymruBatch,
        written: Written<Answer>,
        given: &Given<'_>,
        interests: &mut Interests,
        out: &mut Vec<Effect>,
    ) {
        self.writing = false;
        let CymruBatch { ready, prefixes, details, names, failed, skipped } = batch;
        let now = given.now.steady;
        let mut unwritten = match written {
            Ok(unwritten) => unwritten,
            Err(refusal) => {
                if !refusal.lock {
                    out.push(Effect::Say(News::Unwritten(Source::Cymru, refusal.message)));
                }
                self.write_at = Some(now + AGAIN);
                if self.locked.is_trying() {
                    self.locked.tried(Rows { ready, failed, skipped }, now);
                    return;
                }
                self.prefixes.extend(prefixes);
                self.names.learned.extend(details);
                self.bulk_names.extend(names);
                self.ready.extend(ready);
                self.failed.extend(failed);
                self.skipped.extend(skipped);
                return;
            }
        };
        if !ready.is_empty() {
            out.push(Effect::RowsChanged);
        }
        self.settle(&ready, &unwritten, interests);
        // The waiters of a note were told when it was first to be written: those of now wait for another question.
        let anew = self.locked.is_trying();
        for (notes, end) in [(&failed, End::Failed), (&skipped, End::Skipped)] {
            for (ip, why) in notes {
                // Nothing is written for an empty one.
                if !why.is_empty() {
                    self.locked.overtaken(*ip, false);
                }
                if !anew {
                    interests.settle(*ip, Source::Cymru, end);
                }
            }
        }
        for ip in &unwritten.broken {
            self.held.insert(*ip, now + HELD);
            if !anew || ready.iter().any(|(of, _)| of == ip) {
                interests.settle(*ip, Source::Cymru, End::Failed);
            }
        }
        self.locked.tried(locked::held(&mut unwritten, &failed, &skipped), now);
        self.note_success(out);
    }

    /// Tells the waiters of rows that were written.
    fn settle(&mut self, ready: &[(IpAddr, Answer)], unwritten: &Unwritten<Answer>, interests: &mut Interests) {
        let not: HashSet<IpAddr> =
            unwritten.locked.iter().map(|(ip, _)| *ip).chain(unwritten.broken.iter().copied()).collect();
        for (ip, answer) in ready.iter().filter(|(ip, _)| !not.contains(ip)) {
            self.locked.overtaken(*ip, true);
            interests.settle(*ip, Source::Cymru, if answer.asn.is_some() { End::Found(true) } else { End::NotFound });
        }
    }
}

/// A transaction's worth of rows.
fn first<R>(rows: &mut Vec<R>) -> Vec<R> {
    let rest = rows.split_off(rows.len().min(TRANSACTION));
    std::mem::replace(rows, rest)
}
