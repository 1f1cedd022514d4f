//! GreyNoise Community: a stand-in, until the client is here.

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
pub struct Client {
    agent: ureq::Agent,
    url: String,
}

impl Client {
    /// A client for one address of the service.
    pub fn new(
        url: &str,
        _key: Option<&Secret>,
        timeout: Duration,
        _ca_file: Option<&Path>,
    ) -> Result<Client, Failure> {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(timeout)).build();
        Ok(Client { agent: config.new_agent(), url: url.to_owned() })
    }

    /// One question. Blocks.
    pub fn ask(&self, ip: Ipv4Addr) -> Result<Verdict, Failure> {
        let response = self.agent.get(format!("{}/v3/community/{ip}", self.url)).call();
        match response.map_err(|error| Failure::transient(error.to_string()))?.status().as_u16() {
            404 => Ok(Verdict::NotSeen),
            401 => Err(Failure::new(crate::failure::FailureKind::Unauthorized, "the key is not accepted")),
            429 => Err(Failure::new(crate::failure::FailureKind::Quota { retry_after: None }, "out of quota")),
            400 => Err(Failure::permanent("not a routable address")),
            other => Err(Failure::transient(format!("status {other}"))),
        }
    }
}
