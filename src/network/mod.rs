//! The worker and the network: carries out the decisions of [`enrich::campaign`]. Due rows are claimed, asked about,
//! and written, and no transaction is open in between.
//!
//! ```text
//! claim (a transaction) → campaign (memory) → fetcher (its own thread) → outcomes → campaign → write (a transaction)
//! ```
//!
//! Nothing is decided here: events go in, and each effect that comes out is done before the next, its result told at once.
//!
//! | file | what |
//! |---|---|
//! | [`share`] | this database's share of a quota
//! | [`side`] | settings, the network thread, the campaign: the worker turns it |
//! | [`effects`] | carries out effects |
//! | [`tables`] | transactions: rows that are looked for, rows that are written |
//! | [`say`] | messages in the log |
//! | [`key`] | keys that settings refer to |
//! | [`recheck`] | answers that are in doubt, made due again |

pub mod ask;
mod effects;
pub mod key;
pub mod recheck;
mod say;
pub mod secrets;
pub mod share;
mod side;
mod tables;

pub use side::Network;
