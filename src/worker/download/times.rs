//! When newer files are looked for: the settings, the clock and the ledger, for [`Turns`].

use std::time::Duration;

use enrich::maxmind::download::{Kind, Site};
pub use enrich::maxmind::update::turns::Turn;
use enrich::maxmind::update::turns::{Due, SOONEST, Turns};
use enrich::maxmind::{Edition, update};
use enrich::schedule::Schedule;

use crate::pg::time;
use crate::settings;

/// The times. Unix microseconds.
#[derive(Default)]
pub struct Times {
    schedule: String,
    sites: Vec<Site>,
    turns: Turns,
}

impl Times {
    /// Settings were read.
    pub fn configure(&mut self) {
        let downloads = settings::downloads();
        let same = |sites: &[Site]| {
            sites.len() == self.sites.len() && sites.iter().zip(&self.sites).all(|(new, old)| new.is_as(old))
        };
        if self.schedule == downloads.schedule && same(&downloads.sites) {
            return;
        }
        (self.schedule, self.sites) = (downloads.schedule, downloads.sites);
        let now = time::now_unix_us();
        let schedule = Schedule::parse(&self.schedule).ok().filter(|_| !self.schedule.is_empty());
        self.turns.follow(schedule, self.due(now), now);
    }

    /// What the ledger says.
    fn due(&self, now: i64) -> Due {
        let (editions, mut sites) = (settings::snapshot().maxmind_editions, self.used());
        sites.retain(|site| site.every().is_none());
        let again = update::again_at(&settings::place::directory(), &editions, &sites, now);
        Due { again, own: self.own_due(now) }
    }

    fn own_due(&self, now: i64) -> Option<i64> {
        update::due_at(&settings::place::directory(), &self.used(), now)
    }

    /// Sources for editions that are not in the list are not asked.
    fn used(&self) -> Vec<Site> {
        let editions = settings::snapshot().maxmind_editions;
        let is_used = |site: &&Site| site.kind() == Kind::List || editions.contains(site.name());
        self.sites.iter().filter(is_used).cloned().collect()
    }

    /// Whether the clock was set back since the turns of all were planned. They are planned anew then, by the ledger; it does
    /// not know of what failed before anybody was asked.
    pub fn were_set_back(&mut self) -> bool {
        let now = time::now_unix_us();
        match self.turns.set_back(now) {
            Some(Turn::All) => {
                self.turns.plan_anew(self.due(now), now);
                return true;
            }
            Some(Turn::Own) => self.turns.plan_own(self.own_due(now), now),
            None => {}
        }
        false
    }

    /// Who is to be asked now, if anybody.
    pub fn turn(&self) -> Option<Turn> {
        self.turns.due(time::now_unix_us())
    }

    /// A turn has come. One of some sources is none of all: their next one stays.
    pub fn plan_after(&mut self, turn: Turn) {
        let now = time::now_unix_us();
        match turn {
            Turn::All => self.turns.plan(self.own_due(now), now),
            Turn::Own => self.plan_own(),
        }
    }

    /// The sources with their own schedules: they were asked.
    pub fn plan_own(&mut self) {
        let now = time::now_unix_us();
        self.turns.plan_own(self.own_due(now), now);
    }

    /// None of the sources with their own schedules can be asked before.
    pub fn put_off_own(&mut self, at: i64) {
        self.turns.put_off_own(at);
    }

    /// Before the schedule's next turn, but no sooner than the ledger allows.
    pub fn try_again(&mut self, at: i64) {
        self.turns.try_again(at, time::now_unix_us());
    }

    /// What failed before anybody was asked, as soon as after a start; `own`: the sources with their own schedules as well.
    pub fn try_soon(&mut self, own: bool) {
        self.turns.try_soon(own, time::now_unix_us());
    }
}

/// Unix microseconds of the next try after so many failures in a row, at the latest after `latest`.
pub fn later(failures: u32, latest: Duration) -> i64 {
    let pause = SOONEST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(latest);
    time::now_unix_us() + pause.as_micros() as i64
}

/// The editions and the lists to ask for at that turn.
pub fn wanted(turn: Option<Turn>, editions: Vec<Edition>, sites: &[Site]) -> (Vec<Edition>, Vec<Site>) {
    let is_wanted = |site: &Site| turn != Some(Turn::Own) || site.every().is_some();
    let own = |edition: &Edition| sites.iter().any(|site| site.is_of(edition) && site.every().is_some());
    let editions = editions.into_iter().filter(|edition| turn != Some(Turn::Own) || own(edition)).collect();
    let lists = sites.iter().filter(|site| site.kind() == Kind::List && is_wanted(site)).cloned().collect();
    (editions, lists)
}
