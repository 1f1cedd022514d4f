//! The rows of the fake inventory, and what the statements do to them.

use std::collections::HashMap;

use super::super::batch::is_by_setting;
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
