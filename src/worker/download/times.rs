//! When newer files are looked for: by the schedule of all, by the schedules of sources that have their own, and after
//! failures.

use std::time::Duration;

use enrich::maxmind::download::{Kind, Site};
use enrich::maxmind::{Edition, update};
use enrich::schedule::Schedule;

use crate::pg::time;
use crate::settings;

/// How soon a failure is tried again at the earliest.
pub const SOONEST: Duration = Duration::from_secs(600);
/// How soon a source with its own schedule is asked at the earliest: after a start, and again. In microseconds.
const OWN_SOONEST: i64 = 60_000_000;

/// The times. Unix microseconds.
#[derive(Default)]
pub struct Times {
    schedule: String,
    sites: Vec<Site>,
    next_at: Option<i64>,
    own_at: Option<i64>,
    /// When each of the two was planned. A clock that was set back since would put it off for as long.
    planned_at: i64,
    own_planned_at: i64,
}

/// Who is to be asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Everybody: it is the schedule's time.
    All,
    /// Only sources with a schedule of their own.
    Own,
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
        self.plan();
        // A failure before this worker started does not wait for the schedule, either.
        let (editions, mut sites) = (settings::snapshot().maxmind_editions, self.used());
        sites.retain(|site| site.every().is_none());
        if let Some(at) = update::again_at(&settings::place::directory(), &editions, &sites, time::now_unix_us()) {
            self.try_again(at);
        }
    }

    /// Anew from now on.
    pub fn plan(&mut self) {
        let now = time::now_unix_us();
        self.planned_at = now;
        // Servers all over the world must not come at the same second. Where in the span of the jitter this one is
        // depends on when it was started: good enough to spread them.
        let schedule = Schedule::parse(&self.schedule).ok();
        self.next_at = schedule.and_then(|schedule| schedule.next_spread(now, now.unsigned_abs()));
        self.plan_own();
    }

    /// A turn has come. One of some sources is none of all: their next one stays.
    pub fn plan_after(&mut self, turn: Turn) {
        match turn {
            Turn::All => self.plan(),
            Turn::Own => self.plan_own(),
        }
    }

    /// None of the sources with their own schedules can be asked before.
    pub fn put_off_own(&mut self, at: i64) {
        self.own_at = self.own_at.map(|own| own.max(at));
    }

    /// The sources with their own schedules: they were asked.
    pub fn plan_own(&mut self) {
        let now = time::now_unix_us();
        self.own_planned_at = now;
        let used = self.used();
        let due = update::due_at(&settings::place::directory(), &used, now);
        self.own_at = due.map(|at| at.max(now + OWN_SOONEST));
    }

    /// Sources for editions that are not in the list are not asked.
    fn used(&self) -> Vec<Site> {
        let editions = settings::snapshot().maxmind_editions;
        let is_used = |site: &&Site| site.kind() == Kind::List || editions.contains(site.name());
        self.sites.iter().filter(is_used).cloned().collect()
    }

    /// Who is to be asked now, if anybody.
    pub fn turn(&mut self) -> Option<Turn> {
        let now = time::now_unix_us();
        if now < self.planned_at {
            self.plan();
        } else if now < self.own_planned_at {
            self.plan_own();
        }
        let due = |at: Option<i64>| at.is_some_and(|at| now >= at);
        match (due(self.next_at), due(self.own_at)) {
            (true, _) => Some(Turn::All),
            (_, true) => Some(Turn::Own),
            _ => None,
        }
    }

    /// Before the schedule's next turn, but no sooner than the ledger allows. Sources with their own schedules have their
    /// times from it: they need no turn because of others.
    pub fn try_again(&mut self, at: i64) {
        let at = at.max(time::now_unix_us() + SOONEST.as_micros() as i64);
        if !self.schedule.is_empty() {
            self.next_at = Some(self.next_at.map_or(at, |next| next.min(at)));
        }
    }

    /// What failed before anybody was asked, as soon as after a start; `own`: the sources with their own schedules as well.
    pub fn try_soon(&mut self, own: bool) {
        let at = time::now_unix_us() + OWN_SOONEST;
        let sooner = |planned: Option<i64>| planned.map(|next| next.min(at));
        self.next_at = sooner(self.next_at);
        if own {
            self.own_at = sooner(self.own_at);
        }
    }
}

/// The editions and the lists to ask for at that turn.
pub fn wanted(turn: Option<Turn>, editions: Vec<Edition>, sites: &[Site]) -> (Vec<Edition>, Vec<Site>) {
    let is_wanted = |site: &Site| turn != Some(Turn::Own) || site.every().is_some();
    let own = |edition: &Edition| sites.iter().any(|site| site.is_of(edition) && site.every().is_some());
    let editions = editions.into_iter().filter(|edition| turn != Some(Turn::Own) || own(edition)).collect();
    let lists = sites.iter().filter(|site| site.kind() == Kind::List && is_wanted(site)).cloned().collect();
    (editions, lists)
}
