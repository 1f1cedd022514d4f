//! The mmdb files: which generations this process has open ([`maxmind`]), what passes between servers ([`received`]), and
//! look-ups in them, counted and timed ([`counters`]). The lists of networks: [`lists`].

mod breath;
pub mod counters;
mod failure;
pub mod lists;
pub mod maxmind;
pub mod received;
mod retry;
