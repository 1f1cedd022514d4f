//! The addresses to ask about.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::super::batch::{NEVER_ASK, SWITCHED_OFF};
use super::super::claim::{Asker, Claim, Found, Rows, Target};
use super::super::effect::Effect;
use super::super::given::Given;
use super::super::interest::Interests;
use super::state::Cymru;
use crate::address::effective;
use crate::cymru::answer::Answer;
use crate::source::Source;

/// Rows of one claim.
pub(super) const CLAIM: usize = 50_000;

impl Cymru {
    /// Starts the next campaign, if none is under way and anything is due.
    pub fn claim(&mut self, looking: bool, given: &Given<'_>, out: &mut Vec<Effect>) {
        if self.is_busy() || self.locked.is_full() || !(looking || self.more) {
            return;
        }
        self.more = false;
        self.wrapped.clear();
        self.seen.clear();
        self.held.retain(|_, until| *until > given.now.steady);
        if given.settings.cymru && self.is_closed(given) {
            return;
        }
        self.look(Rows::Due, given.settings.cymru, out);
    }

    fn look(&mut self, rows: Rows, known: bool, out: &mut Vec<Effect>) {
        self.claiming = true;
        // Beyond the rows that are left alone: they may be the most observed ones.
        let limit = CLAIM + self.locked.len() + self.held.len();
        let asker = Asker::Campaign;
        out.push(Effect::Claim(Claim { source: Source::Cymru, rows, limit, known, asker }));
    }

    /// Takes out rows that are not asked about unless somebody waits for them: they do not say so themselves, since that
    /// is still to be written, or cannot be.
    fn leave_alone(&self, rows: &mut Vec<Target>) {
        let noted: HashSet<IpAddr> = self.failed.iter().chain(&self.skipped).map(|(ip, _)| *ip).collect();
        let is_left_alone = |ip| self.locked.contains(ip) || self.held.contains_key(&ip) || noted.contains(&ip);
        rows.retain(|row| !is_left_alone(row.ip));
    }

    /// Claims the addresses of a request, even while a campaign is running. With `anew`, known networks are ignored.
    pub fn claim_these(&mut self, rows: Rows, anew: bool, asker: Asker, out: &mut Vec<Effect>) {
        out.push(Effect::Claim(Claim { source: Source::Cymru, rows, limit: usize::MAX >> 1, known: !anew, asker }));
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
        let own = claim.asker == Asker::Campaign;
        self.claiming &= !own;
        let Some(Found { mut rows, known }) = found else { return };
        let cut = rows.len() >= claim.limit;
        if own || claim.asker == Asker::Passer {
            // Before anything is made of their number: one of them would keep the source from what comes after.
            self.leave_alone(&mut rows);
        }
        if own {
            if rows.is_empty() && claim.rows == Rows::Due && self.stale && given.settings.cymru {
                self.look(Rows::Stale, false, out);
                return;
            }
            self.stale &= !rows.is_empty();
            self.more = cut && !rows.is_empty();
        }
        let known: HashMap<IpAddr, Answer> = known.into_iter().collect();
        for row in rows {
            interests.expect(row.ip, Source::Cymru, claim.asker.job());
            if self.locked.has_answer(row.ip) {
                // It is settled once that is written.
            } else if !given.settings.cymru {
                self.skipped.push((row.ip, SWITCHED_OFF.to_owned()));
            } else if given.settings.is_secret(row.ip) {
                self.skipped.push((row.ip, NEVER_ASK.to_owned()));
            } else if let Some(answer) = known.get(&effective(row.ip)) {
                self.answered(row.ip, answer.clone());
            } else {
                self.add(row);
            }
        }
    }

    fn add(&mut self, row: Target) {
        let ip = effective(row.ip);
        if ip != row.ip {
            let rows = self.wrapped.entry(ip).or_default();
            if !rows.contains(&row.ip) {
                rows.push(row.ip);
            }
        }
        self.seen.insert(ip, row.seen);
        self.rounds.add([(ip, row.seen)]);
    }
}
