//! GreyNoise: the most observed addresses first, as far as the quota goes.
//!
//! What a question may cost is written into the ledger, and is on disk, before it is sent: a server that is killed has
//! at worst counted a question that it never asked.
//!
//! | file | what |
//! |---|---|
//! | `state` | what is known, and what may be asked of it |
//! | `claims` | who is to be asked about |
//! | `quota` | the ledger: when it is read, what closes it, and what opens it again |
//! | `questions` | what is asked now, and what becomes of it |
//! | `written` | what is written, and what becomes of that |

mod claims;
mod closure;
mod questions;
mod quota;
mod state;
#[cfg(test)]
mod tests;
mod written;

pub use self::state::GreyNoise;
