//! GreyNoise: the most observed addresses first, as far as the quota goes.
//!
//! The cost of a question is written into the ledger, and is on disk, before it is sent: a server that is killed has at
//! worst counted a question that it never asked.
//!
//! | file | what |
//! |---|---|
//! | `state` | the campaign's state, and questions about it |
//! | `claims` | the addresses to ask about |
//! | `quota` | the ledger: reading it, closing and opening the source |
//! | `questions` | the next questions, and their results |
//! | `written` | writes, and their results |

mod claims;
mod closure;
mod questions;
mod quota;
mod state;
#[cfg(test)]
mod tests;
mod written;

pub use self::state::GreyNoise;
