//! The language of scripts: one JSON value a command, the same in a data file (an array of them) and on the
//! control port (one a line, each answered by a line).

use super::faults::Fault;
use super::log::{Asked, Counts, Service};
use super::scanners::Scanner;
use super::table::{Announcement, AsName, Rule};
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};

/// What the services are told: `{"announce":{"prefix":"45.155.204.0/23","origins":[64500]}}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// A prefix is announced.
    Announce(Announcement),
    /// A prefix is announced no longer.
    Withdraw {
        /// The prefix.
        prefix: IpNetwork,
    },
    /// Every prefix of a range is announced.
    Rule(Rule),
    /// An ASN has a name.
    Name(AsName),
    /// GreyNoise lists an address.
    Scanner(Scanner),
    /// GreyNoise lists an address no longer.
    ForgetScanner {
        /// The address.
        ip: Ipv4Addr,
    },
    /// GreyNoise wants this key; without one, it answers to everybody.
    ExpectKey {
        /// The key.
        #[serde(default)]
        key: Option<String>,
    },
    /// GreyNoise gives so many more answers, then 429; without a limit, any number.
    Quota {
        /// How many.
        #[serde(default)]
        limit: Option<u64>,
        /// What comes with the 429.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// Something goes wrong from now on.
    Fault(Fault),
    /// All is well again.
    ClearFaults {
        /// With this service; without one, with all.
        #[serde(default)]
        service: Option<Service>,
    },
    /// What was asked: [`Reply::Log`].
    Log {
        /// Of whom.
        service: Service,
    },
    /// How much was asked: [`Reply::Counts`].
    Counts {
        /// Of whom.
        service: Service,
    },
    /// How often an address was asked about: [`Reply::Times`].
    Times {
        /// Of whom.
        service: Service,
        /// The address.
        ip: IpAddr,
    },
    /// Log and counts begin anew.
    ClearLog {},
}

/// What they say to it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done, and in force.
    Done {},
    /// To [`Command::Log`].
    Log(Vec<Asked>),
    /// To [`Command::Counts`].
    Counts(Counts),
    /// To [`Command::Times`].
    Times(u64),
    /// Not done, and why.
    Error(String),
}
