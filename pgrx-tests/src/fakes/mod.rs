//! The services outside, as test doubles that speak their real protocols on loopback ports: Team Cymru's DNS
//! and bulk whois, and GreyNoise's HTTPS. What they know and how they fail is scripted while they run, and
//! everything that was asked of them can be read back.
//!
//! They are a process of their own (`fake-sources`, [`serve`]), so that a demo's outlive the program that
//! started them, and a killed test's do not. [`Fakes`] starts it and speaks with it:
//!
//! ```no_run
//! use asn_inventory_tests::fakes::{DnsFault, Fakes, Fault, Service};
//! use std::path::Path;
//!
//! let fakes = Fakes::start(Path::new("/tmp/example"));
//! fakes.announce("45.155.204.0/23", &[64500], "US");
//! fakes.name(64500, "EXAMPLE-AS - Example, US");
//! fakes.fault(Fault::from(DnsFault::Servfail).next(1));
//! // … a cluster with fakes.settings() asks …
//! assert_eq!(fakes.count(Service::Dns), 2);
//! ```
//!
//! A script is a list of [`Command`]s, the same in a file ([`serve::Options::data`]) and on the control port:
//! `table` and `scanners` keep what they teach, `faults` what goes wrong, `log` what was asked; `world` is all
//! of it behind one lock, which `dns`, `whois` and `greynoise` answer from.

mod client;
mod control;
mod dns;
mod faults;
mod greynoise;
mod http;
mod log;
mod scanners;
mod script;
pub mod serve;
mod table;
mod tls;
mod whois;
mod world;

pub use client::Fakes;
pub use faults::{DnsFault, Fault, FaultKind, GreyNoiseFault, Scope, WhoisFault};
pub use log::{Asked, Counts, Question, Service, Transport};
pub use scanners::Scanner;
pub use script::{Command, Reply};
pub use serve::Ports;
pub use table::{Announcement, AsName, Rule};
