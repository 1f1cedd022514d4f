//! The writes of GreyNoise's answers, and their results.

use std::collections::HashSet;
use std::mem::take;
use std::net::IpAddr;
use std::time::Duration;

use super::super::batch::{GreyNoiseBatch, Unwritten, Written};
use super::super::effect::{Effect, News};
use super::super::given::Given;
use super::super::interest::{End, Interests};
use super::super::locked::{self, Rows};
use super::state::GreyNoise;
use crate::greynoise::Verdict;
use crate::source::Source;

/// How long a row that cannot be written is left alone.
const HELD: Duration = Duration::from_secs(3600);
/// How long until a failed write is tried again.
const AGAIN: Duration = Duration::from_secs(1);

impl GreyNoise {
    /// Writes what came.
    pub fn write(&mut self, given: &Given<'_>, out: &mut Vec<Effect>) {
        if self.writing || self.write_at.is_some_and(|at| given.now.steady < at) {
            return;
        }
        if let Some(Rows { ready, failed, skipped }) = self.locked.try_again(given.now.steady) {
            self.writing = true;
            out.push(Effect::WriteGreyNoise(GreyNoiseBatch { ready, failed, skipped, ..GreyNoiseBatch::default() }));
            return;
        }
        if self.ready.is_empty() && self.failed.is_empty() && self.skipped.is_empty() && self.spent.is_empty() {
            return;
        }
        self.write_at = None;
        self.writing = true;
        let (now, settings) = (given.now.wall, given.settings);
        let open_at =
            |ledger: crate::quota::Ledger| ledger.open_at(settings.greynoise_quota, now, settings.greynoise_window);
        out.push(Effect::WriteGreyNoise(GreyNoiseBatch {
            ready: take(&mut self.ready),
            failed: take(&mut self.failed),
            skipped: take(&mut self.skipped),
            spent: take(&mut self.spent),
            until: self.ledger.map_or(now, open_at),
        }));
    }

    /// It was written, or was not.
    pub fn written(
        &mut self,
        batch: GreyNoiseBatch,
        written: Written<Verdict>,
        given: &Given<'_>,
        interests: &mut Interests,
        out: &mut Vec<Effect>,
    ) {
        self.writing = false;
        let GreyNoiseBatch { ready, failed, skipped, spent, .. } = batch;
        let now = given.now.steady;
        let mut unwritten = match written {
            Ok(unwritten) => unwritten,
            Err(refusal) => {
                if !refusal.lock {
                    out.push(Effect::Say(News::Unwritten(Source::GreyNoise, refusal.message)));
                }
                self.write_at = Some(now + AGAIN);
                if self.locked.is_trying() {
                    self.locked.tried(Rows { ready, failed, skipped }, now);
                    return;
                }
                self.ready.extend(ready);
                self.failed.extend(failed);
                self.skipped.extend(skipped);
                self.spent.extend(spent);
                return;
            }
        };
        self.settle(&ready, &unwritten, interests);
        // The waiters of a note were told when it was first to be written: those of now wait for another question.
        let anew = self.locked.is_trying();
        for (notes, end) in [(&failed, End::Failed), (&skipped, End::Skipped)] {
            for (ip, _) in notes {
                self.locked.overtaken(*ip, false);
                if !anew {
                    interests.settle(*ip, Source::GreyNoise, end);
                }
            }
        }
        spent.iter().for_each(|ip| interests.settle(*ip, Source::GreyNoise, End::Skipped));
        self.closure.note_waiting(&spent);
        for ip in &unwritten.broken {
            self.held.insert(*ip, now + HELD);
            if !anew || ready.iter().any(|(of, _)| of == ip) {
                interests.settle(*ip, Source::GreyNoise, End::Failed);
            }
        }
        self.locked.tried(locked::held(&mut unwritten, &failed, &skipped), now);
        if self.held.is_empty() && self.locked.is_empty() {
            out.push(Effect::AllWritten(Source::GreyNoise));
        }
    }

    /// Tells the waiters of rows that were written.
    fn settle(&mut self, ready: &[(IpAddr, Verdict)], unwritten: &Unwritten<Verdict>, interests: &mut Interests) {
        let not: HashSet<IpAddr> =
            unwritten.locked.iter().map(|(ip, _)| *ip).chain(unwritten.broken.iter().copied()).collect();
        for (ip, verdict) in ready.iter().filter(|(ip, _)| !not.contains(ip)) {
            self.locked.overtaken(*ip, true);
            let end = match verdict {
                Verdict::Seen(scanner) => End::Found(scanner.noise),
                Verdict::NotSeen => End::NotFound,
            };
            interests.settle(*ip, Source::GreyNoise, end);
        }
    }
}
