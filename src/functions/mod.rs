//! The SQL face: functions that answer. Those that attach tables are in [`ingest`](crate::ingest), those that submit jobs
//! in [`jobs`](crate::jobs).
//!
//! | file | what |
//! |---|---|
//! | [`lookup`] | `lookup_ip`, `ip_asn` and their like: offline |
//! | [`parse`] | `ip_parse`, `ip_extract`: from text to address |
//! | [`lists`] | `ip_lists`, `network_lists`: lists of networks |
//! | [`enrich_ip`] | the inventory first, then the files, then the worker |
//! | [`mmdb`] | whole records, installed editions, importing by hand |
//! | [`status`] | the parts of shared memory that `enrichment_status`, `source_status` and the doctor read |
//! | [`nodes`] | what the `cluster_` views read: each node of a Citus cluster about itself |
//! | [`metrics`] | `prometheus_metrics()` |
//! | [`doctor`] | `enrichment_doctor()` |
//! | [`report`] | `inventory_report()` |
//! | [`secure`] | the last step of the extension's scripts |
//! | [`update`] | the first step of the scripts of updates |

pub mod cluster;
pub mod doctor;
pub mod enrich_ip;
pub mod lists;
pub mod lookup;
pub mod metrics;
pub mod mmdb;
pub mod nodes;
pub mod parse;
pub mod report;
pub mod secure;
pub mod status;
pub mod update;
