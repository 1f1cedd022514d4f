//! The effects of an event.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::batch::{CymruBatch, GreyNoiseBatch};
use super::claim::Claim;
use super::standing::Way;
use super::ticket::Ticket;
use crate::failure::Failure;
use crate::fetcher::Request;
use crate::quota::Ledger;
use crate::quota::shared::Account;
use crate::source::Source;
use crate::time::Micros;

/// Which rows to make due again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// Those that are found in the table.
    Any {
        /// So many at most.
        limit: usize,
        /// But not addresses in these networks.
        never_ask: Vec<IpNetwork>,
        /// Nor these rows.
        but: Vec<IpAddr>,
    },
    /// These, if they are still skipped for that reason.
    These(Vec<IpAddr>),
}

/// The effects of an event. They are carried out in order; an effect that returns an event returns exactly one.
#[derive(Debug)]
pub enum Effect {
    /// Look for rows to ask about. Comes back as [`Claimed`](super::event::Event::Claimed).
    Claim(Claim),
    /// Hand questions to the network thread. Each comes back as an [`Outcome`](super::event::Event::Outcome), or is
    /// [`Lost`](super::event::Event::Lost).
    Ask(Vec<Request>),
    /// Look whether the table knows names of AS. Comes back as [`NamesFound`](super::event::Event::NamesFound).
    FindNames(Vec<u32>),
    /// Write, in one transaction. Comes back as [`CymruWritten`](super::event::Event::CymruWritten).
    WriteCymru(CymruBatch),
    /// As above. Comes back as [`GreyNoiseWritten`](super::event::Event::GreyNoiseWritten).
    WriteGreyNoise(GreyNoiseBatch),
    /// Read the ledger of an account. Where the table has that of another one, that is put away, and this one takes its
    /// place. Comes back as [`LedgerRead`](super::event::Event::LedgerRead).
    ReadLedger(Account),
    /// Write it down, so that it is on disk. Comes back as [`LedgerKept`](super::event::Event::LedgerKept).
    KeepLedger {
        /// Whose it is.
        account: Account,
        /// As it is now.
        ledger: Ledger,
        /// Questions that it pays for, which are not asked before.
        pays: u64,
    },
    /// If this database is served: write the ledger down, and make those of these rows due that wait for the quota and that
    /// nobody holds. Comes back as [`Reopened`](super::event::Event::Reopened).
    Reopen {
        /// Whose ledger it is.
        account: Account,
        /// As it is then.
        ledger: Ledger,
        /// The rows.
        waiting: Vec<IpAddr>,
    },
    /// No row is left that waits for the quota and is to be made due now.
    AllReopened,
    /// Make rows due again that were skipped for a setting's sake. Comes back as
    /// [`Unskipped`](super::event::Event::Unskipped).
    Unskip(Source, Skipped),
    /// A session's address is settled.
    Wake(Ticket),
    /// Begin to read the key that the settings refer to.
    ReadKey,
    /// No key is wanted any more.
    ForgetKey,
    /// The service does not accept the key.
    RefuseKey,
    /// The rules for sending have changed: the network thread is told.
    Reconfigure,
    /// Answers of a resolver that does not know the service are in doubt: its "no route" is asked about again.
    Doubt,
    /// Rows were written: the counts by AS are another matter now.
    RowsChanged,
    /// No answer of a source is left that could not be written.
    AllWritten(Source),
    /// No row of any source is left that a setting kept from being asked about, and that could not be made due again.
    AllUnskipped,
    /// Count an outcome, for people.
    Count {
        /// Whose.
        source: Source,
        /// Why it is none, if it is none.
        failure: Option<Failure>,
    },
    /// Keep why a way to Team Cymru failed, for people.
    NoteWay(Way, String),
    /// Write into the log.
    Say(News),
}

/// Messages for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A way to Team Cymru works again.
    WayWorks(Way),
    /// It fails so often that it is left alone until then.
    WayFails(Way, String, Micros),
    /// Bulk sessions do the work of DNS.
    OnlyBulkWorks,
    /// A bulk session failed; for a detailed log.
    BulkFailed(String),
    /// GreyNoise does not accept the key.
    KeyRefused(String),
    /// GreyNoise says that its quota is spent. Asked again then.
    QuotaSpent(Micros),
    /// The ledger cannot be written, so nothing is asked.
    LedgerUnwritable(String),
    /// Answers could not be written; tried again.
    Unwritten(Source, String),
    /// Rows that wait for the quota could not be made due.
    NotReopened(String),
    /// Rows that were skipped could not be made due.
    NotUnskipped(String),
}
