//! Fakes of the network sources: Team Cymru by DNS and by bulk whois, GreyNoise by HTTPS. They speak the real protocols
//! on loopback ports, answer from data that a test sets, log their requests, and fail in every requested way, while
//! they run.
//!
//! They run in their own process (`fake-sources`), so that a test can kill or outlive them:
//!
//! - [`data`]: announced prefixes, names of ASNs, scanners; [`prefixes`] finds the prefixes of an address;
//! - [`fault`]: the faults, for which addresses and how often;
//! - [`log`]: the requests, in order and counted;
//! - [`state`]: the three together, shared by the services;
//! - [`dns`], [`whois`], [`greynoise`]: the services, the last behind certificates of [`tls`];
//!   [`door`] is the port of the two that use TCP;
//! - [`control`]: commands, one JSON object a line, on a port of its own;
//! - [`server`]: everything put together; [`client`]: the handle that tests hold.
//!
//! [`maxmind`], [`files`], [`vault`] and [`proxy`] are apart: servers of downloads, a store of secrets and the way out, on
//! threads of the test itself, held by the handles that a test has; [`archives`] is what the first ones serve.
//!
//! ```no_run
//! use asn_inventory_tests::fakes::{DnsFault, Fakes, Service};
//!
//! let fakes = Fakes::start(std::path::Path::new("/tmp/fakes"));
//! fakes.announce("203.0.113.0/24", &[64500], "US");
//! fakes.fault(DnsFault::Servfail);
//! // … what is under test asks fakes.dns() …
//! assert_eq!(fakes.count(Service::Dns), 3);
//! ```

pub mod archives;
pub mod client;
pub mod control;
pub mod data;
pub mod dns;
pub mod door;
pub mod fault;
pub mod files;
pub mod greynoise;
mod http;
pub mod log;
pub mod maxmind;
mod pair;
pub mod prefixes;
pub mod proxy;
pub mod server;
pub mod state;
pub mod tls;
pub mod vault;
pub mod whois;

pub use client::{Fakes, Options};
pub use data::{Announcement, Data, Rule, Scanner};
pub use fault::{DnsFault, Fault, GreyNoiseFault, WhoisFault};
pub use log::{Asked, Counts, Service, Via};
