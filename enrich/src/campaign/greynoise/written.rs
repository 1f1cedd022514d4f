//! The writes of GreyNoise's answers, and their results.

use std::collections::HashSet;
use std::mem::take;
use std::net::IpAddr;
use std::time::Duration;

use super::super::batch::{GreyNoiseBatch, Unwritten, Written};
use super::super::effect::{Effect, News};
use super::super::given::Given;
use super::super::interest::{End, Interests};
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
        let idle = self.ready.is_empty() && self.failed.is_empty() && self.skipped.is_empty() && self.spent.is_empty();
        if idle || self.writing || self.write_at.is_some_and(|at| given.now.steady < at) {
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
        let Unwritten { locked, broken } = match written {
            Ok(unwritten) => unwritten,
            Err(refusal) => {
                if !refusal.lock {
                    out.push(Effect::Say(News::Unwritten(Source::GreyNoise, refusal.message)));
                }
                self.write_at = Some(given.now.steady + AGAIN);
                self.ready.extend(ready);
                self.failed.extend(failed);
                self.skipped.extend(skipped);
                self.spent.extend(spent);
                return;
            }
        };
        let unwritten: HashSet<IpAddr> = locked.iter().map(|(ip, _)| *ip).chain(broken.iter().copied()).collect();
        for (ip, verdict) in ready.iter().filter(|(ip, _)| !unwritten.contains(ip)) {
            let end = match verdict {
                Verdict::Seen(scanner) => End::Found(scanner.noise),
                Verdict::NotSeen => End::NotFound,
            };
            interests.settle(*ip, Source::GreyNoise, end);
        }
        for ip in broken {
            self.held.insert(ip, given.now.steady + HELD);
            interests.settle(ip, Source::GreyNoise, End::Failed);
        }
        failed.iter().for_each(|(ip, _)| interests.settle(*ip, Source::GreyNoise, End::Failed));
        skipped.iter().for_each(|(ip, _)| interests.settle(*ip, Source::GreyNoise, End::Skipped));
        spent.iter().for_each(|ip| interests.settle(*ip, Source::GreyNoise, End::Skipped));
        self.closure.note_waiting(&spent);
        if self.held.is_empty() {
            out.push(Effect::AllWritten(Source::GreyNoise));
        }
        if !locked.is_empty() {
            self.write_at = Some(given.now.steady + AGAIN);
            self.ready.extend(locked);
        }
    }
}
