//! How a source stands, for people.

use crate::time::Micros;

/// States of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Asked when anything is due.
    Ok = 1,
    /// Switched off.
    Off = 2,
    /// Waits for a key.
    NoKey = 3,
    /// Out of quota.
    Quota = 4,
    /// The circuit breaker is open, or half open.
    Failing = 5,
    /// The key was refused.
    Refused = 6,
}

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// In one word.
    pub state: State,
    /// Questions without an outcome yet.
    pub in_flight: usize,
    /// Not asked before this.
    pub retry_at: Option<Micros>,
}

/// The ways to Team Cymru.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Questions over DNS.
    Dns,
    /// Bulk whois sessions.
    Bulk,
}

impl Way {
    /// Both, in the order of their numbers.
    pub const ALL: [Way; 2] = [Way::Dns, Way::Bulk];

    /// Its number, from 0.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word that stands in the views.
    pub const fn as_str(self) -> &'static str {
        match self {
            Way::Dns => "dns",
            Way::Bulk => "bulk",
        }
    }
}

/// How a way stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WayStanding {
    /// Nothing goes this way until it is tried again.
    pub failing: bool,
    /// When that is.
    pub retry_at: Option<Micros>,
}
