//! When newer files are looked for: at the times of the schedule for all, at those of sources with their own, and after
//! failures. The clock, and what the ledger says, come in as values.

use std::time::Duration;

use crate::schedule::Schedule;
use crate::time::{Micros, after};

/// How soon a failure is tried again at the earliest.
pub const SOONEST: Duration = Duration::from_secs(600);
/// How soon a source with its own schedule is asked at the earliest: after a start, and again.
const OWN_SOONEST: Duration = Duration::from_secs(60);

/// Who is to be asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Everybody: it is the schedule's time.
    All,
    /// Only sources with a schedule of their own.
    Own,
}

/// What the ledger says at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Due {
    /// When those that could not be had are to be asked again, but for sources with their own schedules.
    pub again: Option<Micros>,
    /// When the first source with its own schedule is due.
    pub own: Option<Micros>,
}

/// The times of the next turns.
#[derive(Debug, Default)]
pub struct Turns {
    schedule: Option<Schedule>,
    next_at: Option<Micros>,
    own_at: Option<Micros>,
    /// When each of the two was planned. A clock that was set back since would put it off for as long.
    planned_at: Micros,
    own_planned_at: Micros,
}

impl Turns {
    /// By this schedule from now on; `None`: there is none for all, and no failure is tried again by itself.
    pub fn follow(&mut self, schedule: Option<Schedule>, due: Due, now: Micros) {
        self.schedule = schedule;
        self.plan_anew(due, now);
    }

    /// The schedule's turn has come.
    pub fn plan(&mut self, own: Option<Micros>, now: Micros) {
        self.planned_at = now;
        // Servers all over the world must not come at the same second. Where in the span of the jitter this one is
        // depends on when it was started: good enough to spread them.
        self.next_at = self.schedule.as_ref().and_then(|schedule| schedule.next_spread(now, now.unsigned_abs()));
        self.plan_own(own, now);
    }

    /// As if the worker had just started: what failed before does not wait for the schedule.
    pub fn plan_anew(&mut self, due: Due, now: Micros) {
        self.plan(due.own, now);
        if let Some(at) = due.again {
            self.try_again(at, now);
        }
    }

    /// The sources with their own schedules were asked.
    pub fn plan_own(&mut self, own: Option<Micros>, now: Micros) {
        self.own_planned_at = now;
        self.own_at = own.map(|at| at.max(after(now, OWN_SOONEST)));
    }

    /// None of the sources with their own schedules can be asked before.
    pub fn put_off_own(&mut self, at: Micros) {
        self.own_at = self.own_at.map(|own| own.max(at));
    }

    /// Whose turns were planned by a clock that was set back since.
    pub fn set_back(&self, now: Micros) -> Option<Turn> {
        match (now < self.planned_at, now < self.own_planned_at) {
            (true, _) => Some(Turn::All),
            (_, true) => Some(Turn::Own),
            _ => None,
        }
    }

    /// Who is to be asked now, if anybody.
    pub fn due(&self, now: Micros) -> Option<Turn> {
        let due = |at: Option<Micros>| at.is_some_and(|at| now >= at);
        match (due(self.next_at), due(self.own_at)) {
            (true, _) => Some(Turn::All),
            (_, true) => Some(Turn::Own),
            _ => None,
        }
    }

    /// Before the schedule's next turn, but no sooner than the ledger allows. Sources with their own schedules have their
    /// times from it: they need no turn because of others.
    pub fn try_again(&mut self, at: Micros, now: Micros) {
        let at = at.max(after(now, SOONEST));
        if self.schedule.is_some() {
            self.planned_at = self.planned_at.max(now);
            self.next_at = Some(self.next_at.map_or(at, |next| next.min(at)));
        }
    }

    /// What failed before anybody was asked, as soon as after a start; `own`: the sources with their own schedules as well.
    pub fn try_soon(&mut self, own: bool, now: Micros) {
        let at = after(now, OWN_SOONEST);
        self.planned_at = self.planned_at.max(now);
        let sooner = |planned: Option<Micros>| planned.map(|next| next.min(at));
        self.next_at = sooner(self.next_at);
        if own {
            self.own_at = sooner(self.own_at);
        }
    }
}

#[cfg(test)]
mod tests;
