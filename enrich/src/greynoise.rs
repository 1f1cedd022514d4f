//! GreyNoise Community: types only, until the client is here.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use crate::failure::Failure;
use crate::secrets::Secret;
use crate::time::Micros;

/// What GreyNoise says of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in one of the data sets.
    Seen(Scanner),
    /// It is in none: an answer too.
    NotSeen,
}

/// An address that GreyNoise knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanner {
    /// Scans the Internet.
    pub noise: bool,
    /// A known service.
    pub riot: bool,
    /// benign, malicious or unknown.
    pub classification: Option<String>,
    /// Its operator.
    pub name: Option<String>,
    /// When it was last seen.
    pub last_seen: Option<Micros>,
}

/// Asks GreyNoise.
pub struct Client;

impl Client {
    /// A client for one address of the service.
    pub fn new(
        _url: &str,
        _key: Option<&Secret>,
        _timeout: Duration,
        _ca_file: Option<&Path>,
    ) -> Result<Client, Failure> {
        Ok(Client)
    }

    /// One question. Blocks.
    pub fn ask(&self, _ip: Ipv4Addr) -> Result<Verdict, Failure> {
        Err(Failure::permanent("not here yet"))
    }
}
