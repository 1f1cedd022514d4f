//! The base of the end-to-end tests: private clusters ([`cluster`]), waiting without blind sleeps ([`wait`]), MaxMind
//! files of any content ([`mmdb`]), and the services outside ([`fakes`]).
//!
//! ```no_run
//! use asn_inventory_tests::prelude::*;
//!
//! let cluster = Cluster::builder()
//!     .conf("asn_inventory.absorb_interval", "100ms")
//!     .start();
//! fixtures::small(&cluster.maxmind_dir());
//! cluster.sql("postgres", "CREATE EXTENSION asn_inventory");
//! assert_eq!(cluster.value("postgres", "SELECT ip_country('81.2.69.142')"), "GB");
//! ```

pub mod cluster;
pub mod fakes;
pub mod mmdb;
pub mod needs;
pub mod queries;
pub mod wait;

/// The imports of a test file.
pub mod prelude {
    pub use crate::cluster::{Cluster, SqlFailure};
    pub use crate::mmdb::{MmdbWriter, age, fixtures};
    pub use crate::wait::{wait_for, wait_until};
    pub use serde_json::json;
}
