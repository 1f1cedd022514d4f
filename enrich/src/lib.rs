//! What enrichment *is*, without PostgreSQL: the classes of addresses, each source's answer about one, and the files of
//! answers on disk.
//!
//! Data flows one way: the extension hands in plain values (addresses, bytes, times, settings) and gets
//! plain values back. Nothing here knows a datum, a table or a setting by name, so everything here is
//! tested in milliseconds.
//!
//! ```
//! use enrich::address::{AddressClass, classify, effective, parse_host};
//! use enrich::selector::Selector;
//!
//! // What an event says, and whether anybody may be asked about it.
//! let ip = parse_host(b"https://[2002:5102:458e::1]:8443/login").unwrap().unwrap();
//! assert_eq!(classify(ip), AddressClass::Public);
//! // A 6to4 address is asked about as the IPv4 address that it stands for.
//! assert_eq!(effective(ip).to_string(), "81.2.69.142");
//! assert_eq!(classify("100.64.0.1".parse().unwrap()).as_str(), "cgnat");
//!
//! // Which value of a row is meant, and where it stands in the JSON.
//! assert!(Selector::parse("payload->>src_ip").is_ok());
//! let event = br#"{"src": {"ip": "8.8.8.8"}}"#;
//! assert_eq!(enrich::json::at_path(event, &["src", "ip"]), Some(&br#""8.8.8.8""#[..]));
//! ```
#![deny(unsafe_code)]

pub mod activity;
pub mod address;
mod blocks;
pub mod campaign;
pub mod cascade;
pub mod condition;
pub mod cymru;
mod durable;
pub mod failure;
pub mod fetcher;
pub mod freshness;
pub mod greynoise;
pub mod heartbeat;
pub mod json;
pub mod latency;
pub mod lists;
pub mod maxmind;
pub mod miss;
pub mod moment;
pub mod pack;
pub mod proxy;
pub mod quota;
pub mod record;
mod retry;
pub mod roster;
pub mod schedule;
pub mod secrets;
pub mod selector;
pub mod source;
mod stamp;
pub mod text;
pub mod time;
mod tls;
pub mod url;
