//! The rows of the fake inventory, and what the statements do to them.

use std::collections::HashMap;
use std::net::IpAddr;

use super::super::batch::{NotDue, Reasons, Refusal, Unwritten, Written, by_reason, is_by_setting};
use super::super::effect::Skipped;
use super::World;
use crate::cascade::is_secret;
use crate::source::Source;
use crate::time::{DAY, Micros};

/// Why a row with an older answer waits for the quota.
const SPENT: &str = "the quota is spent";
const MINUTE: Micros = 60_000_000;

/// How one row stands at one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    Due,
    Old,
    Answered,
    Failed(String),
    Skipped(String),
    Quota(Micros),
}

/// A row of the inventory.
#[derive(Clone, Debug, Default)]
pub struct FakeRow {
    pub seen: u64,
    pub at: HashMap<Source, Status>,
    pub(super) retry_at: HashMap<Source, Micros>,
    /// Why it is left alone, where it keeps an older answer.
    pub(super) why: HashMap<Source, String>,
    pub(super) answered_at: HashMap<Source, Micros>,
}

impl FakeRow {
    /// As the statements do it: an older answer outlives a failure, and what is not to be asked about again is left alone.
    pub(super) fn set(&mut self, source: Source, status: Status, now: Micros) {
        let has_answer = matches!(self.at[&source], Status::Old | Status::Answered);
        let is_skipped = matches!(self.at[&source], Status::Skipped(_));
        let (why, retry_at) = match &status {
            Status::Failed(_) | Status::Skipped(_) if is_skipped => return,
            Status::Failed(why) => (why.as_str(), now + MINUTE),
            Status::Quota(until) => (SPENT, *until),
            Status::Skipped(why) if has_answer => (why.as_str(), now + DAY),
            _ => ("", 0),
        };
        let keeps = has_answer && !why.is_empty();
        self.retry_at.insert(source, retry_at);
        self.why.insert(source, if keeps { why.to_owned() } else { String::new() });
        if status == Status::Answered {
            self.answered_at.insert(source, now);
        }
        if !keeps {
            self.at.insert(source, status);
        }
    }

    /// It waits for the quota no longer.
    pub(super) fn reopen(&mut self) {
        let source = Source::GreyNoise;
        if matches!(self.at[&source], Status::Quota(_)) {
            self.at.insert(source, Status::Due);
        } else if self.why.get(&source).is_none_or(|why| why != SPENT) {
            return;
        }
        self.retry_at.remove(&source);
        self.why.remove(&source);
    }

    /// It is skipped for a setting's sake no longer. False: it was not.
    pub(super) fn unskip(&mut self, source: Source) -> bool {
        if matches!(&self.at[&source], Status::Skipped(why) if is_by_setting(why)) {
            self.at.insert(source, Status::Due);
        } else if !self.why.get(&source).is_some_and(|why| is_by_setting(why)) {
            return false;
        }
        self.retry_at.remove(&source);
        self.why.remove(&source);
        true
    }
}

impl World {
    fn is_locked(&self, ip: IpAddr) -> bool {
        self.faults.locked == Some(ip) || self.faults.locked_network.is_some_and(|network| network.contains(ip))
    }

    /// These rows, but for locked ones, wait for the quota no longer.
    pub(super) fn reopen(&mut self, waiting: Vec<IpAddr>) -> NotDue {
        let (locked, free): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|ip| self.is_locked(*ip));
        let (broken, free): (Vec<_>, Vec<_>) = free.into_iter().partition(|ip| self.faults.broken == Some(*ip));
        for ip in free {
            if let Some(row) = self.rows.get_mut(&ip) {
                row.reopen();
            }
        }
        NotDue { locked, broken, ..NotDue::default() }
    }

    /// Skipped rows are due again, but for locked ones.
    pub(super) fn unskip(&mut self, source: Source, which: Skipped) -> (usize, NotDue) {
        let is_skipped = |(ip, row): (&IpAddr, &FakeRow)| row.clone().unskip(source).then_some(*ip);
        let ips: Vec<IpAddr> = match which {
            Skipped::These(ips) => ips,
            Skipped::Any { limit, never_ask, but } => {
                let skipped = self.rows.iter().filter_map(is_skipped);
                skipped.filter(|ip| !is_secret(&never_ask, *ip) && !but.contains(ip)).take(limit).collect()
            }
        };
        let found = ips.len();
        let (locked, free): (Vec<_>, Vec<_>) = ips.into_iter().partition(|ip| self.is_locked(*ip));
        for ip in free {
            if let Some(row) = self.rows.get_mut(&ip) {
                row.unskip(source);
            }
        }
        (found, NotDue { locked, ..NotDue::default() })
    }

    pub(super) fn write<A: Clone>(
        &mut self,
        source: Source,
        ready: &[(IpAddr, A)],
        failed: &Reasons,
        skipped: &Reasons,
    ) -> Written<A> {
        if self.faults.writes {
            return Err(Refusal { lock: true, message: "locked".to_owned() });
        }
        let mut unwritten = Unwritten::default();
        for (ip, answer) in ready {
            if self.is_locked(*ip) {
                unwritten.locked.push((*ip, answer.clone()));
            } else if self.faults.broken == Some(*ip) {
                unwritten.broken.push(*ip);
            } else {
                self.set(*ip, source, Status::Answered);
            }
        }
        let notes =
            [(failed, Status::Failed as fn(String) -> Status), (skipped, Status::Skipped as fn(String) -> Status)];
        for (rows, status) in notes {
            for (reason, ips) in by_reason(rows) {
                for ip in ips {
                    if self.is_locked(ip) {
                        unwritten.unnoted.insert(ip);
                    } else if self.faults.broken == Some(ip) {
                        unwritten.broken.push(ip);
                    } else {
                        self.set(ip, source, status(reason.to_owned()));
                    }
                }
            }
        }
        Ok(unwritten)
    }

    /// Addresses that are not in the inventory are not written.
    pub(super) fn set(&mut self, ip: IpAddr, source: Source, status: Status) {
        let now = self.now.wall;
        if let Some(row) = self.rows.get_mut(&ip) {
            row.set(source, status, now);
        }
    }
}
