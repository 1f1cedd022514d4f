//! Writes MaxMind DB files (format 2.0) of any content: small ones by hand for tests and the demo
//! ([`MmdbWriter`], [`fixtures`]), full-size random ones for benchmarks ([`synthetic`]).
//!
//! A file is a binary search tree over address bits, a section of values that the tree's leaves point into,
//! and metadata. Format: <https://maxmind.github.io/MaxMind-DB/>.

mod encode;
pub mod fixtures;
mod places;
pub mod random;
pub mod synthetic;
mod tree;
mod value;
mod writer;

pub use value::Value;
pub use writer::{MmdbWriter, age};
