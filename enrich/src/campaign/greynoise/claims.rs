//! The addresses to ask about.

use std::collections::HashSet;
use std::net::IpAddr;

use super::super::batch::{IPV4_ONLY, NEVER_ASK, SWITCHED_OFF};
use super::super::claim::{Asker, Claim, Found, Rows, Target};
use super::super::effect::Effect;
use super::super::given::{Given, Switch};
use super::super::interest::Interests;
use super::state::GreyNoise;
use crate::address::effective;
use crate::retry::BreakerState;
use crate::source::Source;

/// Rows of one claim.
pub(super) const CLAIM: usize = 1_000;

impl GreyNoise {
    /// Claims due rows, as many as may be asked about.
    pub fn claim(&mut self, looking: bool, given: &Given<'_>, out: &mut Vec<Effect>) {
        if self.is_busy() || self.locked.is_full() || given.key.coming || !(looking || self.more) {
            return;
        }
        self.more = false;
        self.wrapped.clear();
        self.held.retain(|_, until| *until > given.now.steady);
        if given.settings.greynoise != Switch::Off {
            let closed = self.breaker.state(given.now.wall) == BreakerState::Open || self.left(given) == 0;
            if !self.is_on(given) || given.key.refused || closed {
                return;
            }
        }
        self.look(Rows::Due, out);
    }

    fn look(&mut self, rows: Rows, out: &mut Vec<Effect>) {
        self.claiming = true;
        // Beyond the rows that are left alone: they may be the most observed ones.
        let limit = CLAIM + self.locked.len() + self.held.len();
        let asker = Asker::Campaign;
        out.push(Effect::Claim(Claim { source: Source::GreyNoise, rows, limit, known: false, asker }));
    }

    /// Takes out rows that are not asked about unless somebody waits for them: they do not say so themselves, since that
    /// is still to be written, or cannot be.
    fn leave_alone(&self, rows: &mut Vec<Target>) {
        let noted = self.failed.iter().chain(&self.skipped).map(|(ip, _)| *ip);
        let noted: HashSet<IpAddr> = noted.chain(self.spent.iter().copied()).collect();
        let is_left_alone = |ip| self.locked.contains(ip) || self.held.contains_key(&ip) || noted.contains(&ip);
        rows.retain(|row| !is_left_alone(row.ip));
    }

    /// Claims the addresses of a request.
    pub fn claim_these(&mut self, rows: Rows, asker: Asker, out: &mut Vec<Effect>) {
        out.push(Effect::Claim(Claim { source: Source::GreyNoise, rows, limit: usize::MAX >> 1, known: false, asker }));
    }

    /// The result of a claim.
    pub fn claimed(
        &mut self,
        claim: &Claim,
        found: Option<Found>,
        given: &Given<'_>,
        interests: &mut Interests,
        out: &mut Vec<Effect>,
    ) {
        if claim.asker != Asker::Campaign {
            let in_hand: HashSet<IpAddr> = self.ready.iter().map(|(ip, _)| *ip).collect();
            let Found { mut rows, .. } = found.unwrap_or_default();
            if claim.asker == Asker::Passer {
                self.leave_alone(&mut rows);
            }
            // It goes before everything else: the most observed last, since each goes to the front.
            for row in rows.into_iter().rev() {
                interests.expect(row.ip, Source::GreyNoise, claim.asker.job());
                // An answer that waits to be written was paid for, and settles it.
                if !in_hand.contains(&row.ip) && !self.locked.has_answer(row.ip) {
                    self.add(row, true, given);
                }
            }
            return;
        }
        self.claiming = false;
        let Some(Found { mut rows, .. }) = found else { return };
        let off = given.settings.greynoise == Switch::Off;
        let cut = rows.len() >= claim.limit;
        // Before anything is made of their number: one of them would keep the source from what comes after.
        self.leave_alone(&mut rows);
        if claim.rows == Rows::Stale {
            self.stale = !rows.is_empty();
        } else if rows.is_empty() && self.stale && !off {
            self.look(Rows::Stale, out);
            return;
        }
        self.more = cut && !rows.is_empty();
        for row in rows {
            if off {
                self.skipped.push((row.ip, SWITCHED_OFF.to_owned()));
            } else {
                self.add(row, false, given);
            }
            interests.expect(row.ip, Source::GreyNoise, None);
        }
    }

    fn add(&mut self, row: Target, first: bool, given: &Given<'_>) {
        let settings = given.settings;
        if self.held.contains_key(&row.ip) {
            self.dropped.push(row.ip);
            return;
        }
        let IpAddr::V4(ip) = effective(row.ip) else {
            self.skipped.push((row.ip, IPV4_ONLY.to_owned()));
            return;
        };
        if settings.greynoise == Switch::Off {
            self.skipped.push((row.ip, SWITCHED_OFF.to_owned()));
            return;
        }
        if settings.is_secret(row.ip) {
            self.skipped.push((row.ip, NEVER_ASK.to_owned()));
            return;
        }
        if IpAddr::V4(ip) != row.ip {
            let rows = self.wrapped.entry(ip).or_default();
            if !rows.contains(&row.ip) {
                rows.push(row.ip);
            }
        }
        if !self.out.contains_key(&ip) && self.queued.insert(ip) {
            if first { self.queue.push_front(ip) } else { self.queue.push_back(ip) }
        }
    }
}
