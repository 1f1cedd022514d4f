//! The events.

use std::net::IpAddr;

use super::batch::{CymruBatch, GreyNoiseBatch, NotDue, Refusal, Written};
use super::claim::{Claim, Found};
use super::given::Settings;
use super::ticket::Ticket;
use crate::cymru::answer::{Answer, StoredName};
use crate::fetcher::{Outcome, Request};
use crate::greynoise::Verdict;
use crate::quota::Ledger;
use crate::quota::shared::Account;
use crate::source::{Source, SourceSet};
use crate::time::Micros;

/// A turn of the worker's loop, step by step. Each is an event, and all that follows from it is done before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Answers are written.
    Write,
    /// Settings and the calendar are checked.
    Prepare,
    /// Due rows are claimed.
    Claim,
    /// Claimed rows are asked about.
    Ask,
}

impl Step {
    /// In their order.
    pub const ALL: [Step; 4] = [Step::Write, Step::Prepare, Step::Claim, Step::Ask];
}

/// An event.
#[derive(Debug)]
pub enum Event {
    /// The worker begins.
    Started,
    /// The worker does nothing for now: nothing may leave.
    Rested,
    /// A turn begins, also after a rest.
    Resumed,
    /// The settings were read again, whether they say something else or not.
    Reloaded {
        /// As they were.
        before: Box<Settings>,
    },
    /// A look for the key of GreyNoise is over.
    KeyRead {
        /// There is another one than before, or none now.
        other: bool,
    },
    /// A turn goes on.
    Turn(Step),
    /// Something new may be due.
    MadeDue,
    /// A session asked about these and does not wait: old ones are asked about again.
    AskedAbout(Vec<IpAddr>),
    /// Sessions wait for these.
    Questions(Vec<(IpAddr, Ticket)>),
    /// A job begins.
    JobStarted(usize),
    /// Further addresses of a job.
    JobAsks {
        /// Its slot.
        job: usize,
        /// The addresses.
        ips: Vec<IpAddr>,
        /// Whom it asks.
        sources: SourceSet,
        /// About all of them but those answered since that moment; `None`: only about those whose answer is missing or
        /// old.
        since: Option<Micros>,
    },
    /// A job is over: its addresses are asked about all the same, if they are due.
    JobEnded(usize),
    /// The result of a question.
    Outcome(Outcome),
    /// Questions that could not be handed to the network thread.
    Lost(Vec<Request>),
    /// The result of a [`Claim`]; `None`: it failed.
    Claimed(Claim, Option<Found>),
    /// The names that the table has of these AS; `None`: it could not be read.
    NamesFound(Vec<u32>, Option<Vec<StoredName>>),
    /// The result of a batch.
    CymruWritten(CymruBatch, Written<Answer>),
    /// The result of a batch.
    GreyNoiseWritten(GreyNoiseBatch, Written<Verdict>),
    /// The ledger of an account as it was last written down; `None`: it could not be read.
    LedgerRead(Account, Option<Ledger>),
    /// The ledger was written down, or could not be.
    LedgerKept {
        /// Questions that it pays for.
        pays: u64,
        /// Why it could not be.
        refused: Option<Refusal>,
    },
    /// The quota was opened by hand, but for these rows; or could not be.
    Reopened(Result<NotDue, Refusal>),
    /// So many rows of a source were found that had been skipped, and are due again but for these.
    Unskipped(Source, Result<(usize, NotDue), Refusal>),
}
