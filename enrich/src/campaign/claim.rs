//! Looking for rows to ask about: for which waiter, and the result.

use std::net::IpAddr;
use std::rc::Rc;

use crate::cymru::answer::Answer;
use crate::source::Source;
use crate::time::Micros;

/// An address to ask about, as the inventory has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The row.
    pub ip: IpAddr,
    /// How often it was observed.
    pub seen: u64,
}

/// Which rows to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Those never answered, or whose last attempt failed, most observed first.
    Due,
    /// Those whose answer is older than its life, most observed first.
    Stale,
    /// Of these addresses, those that are due or stale.
    DueOf(Rc<[IpAddr]>),
    /// Of these addresses, those without an answer, or with an old one.
    OutdatedOf(Rc<[IpAddr]>),
    /// These addresses, fresh or not, but for those that were answered since that moment.
    All(Rc<[IpAddr]>, Micros),
}

impl Rows {
    /// The addresses that it is about, where it says so.
    pub fn ips(&self) -> &[IpAddr] {
        match self {
            Rows::Due | Rows::Stale => &[],
            Rows::DueOf(ips) | Rows::OutdatedOf(ips) | Rows::All(ips, _) => ips,
        }
    }
}

/// Its waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The campaign itself, as it has nothing to do.
    Campaign,
    /// A session that does not wait.
    Passer,
    /// Sessions that wait.
    Sessions,
    /// The job of this slot.
    Job(usize),
}

impl Asker {
    /// The job, if it is one.
    pub fn job(self) -> Option<usize> {
        match self {
            Asker::Job(slot) => Some(slot),
            _ => None,
        }
    }
}

/// One look into the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The source to ask.
    pub source: Source,
    /// About what.
    pub rows: Rows,
    /// Rows at most.
    pub limit: usize,
    /// Whether to look also for known answers of their networks.
    pub known: bool,
    /// For whom.
    pub asker: Asker,
}

/// The rows found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The rows, most observed first.
    pub rows: Vec<Target>,
    /// Answers that were given before for their (effective) addresses' networks.
    pub known: Vec<(IpAddr, Answer)>,
}
