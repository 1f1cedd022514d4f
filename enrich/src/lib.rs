//! What enrichment *is*, without PostgreSQL: the classes of addresses, what each source says about one,
//! and where the answers are kept on disk.
//!
//! Data flows one way: the extension hands in plain values (addresses, bytes, times, settings) and gets
//! plain values back. Nothing here knows a datum, a table or a setting by name, so everything here is
//! tested in milliseconds.
#![deny(unsafe_code)]

pub mod address;
pub mod cascade;
pub mod cymru;
pub mod failure;
pub mod fetcher;
pub mod greynoise;
pub mod json;
pub mod latency;
pub mod maxmind;
pub mod moment;
pub mod pack;
pub mod quota;
pub mod record;
pub mod retry;
pub mod schedule;
pub mod secrets;
pub mod selector;
pub mod stamp;
pub mod text;
pub mod time;
pub mod tls;
pub mod url;
