//! Team Cymru: who is asked about, how, and what becomes of the answers.
//!
//! One campaign at a time: rows are claimed, those in a known network are answered from that, and the rest goes through
//! [`Rounds`](crate::cymru::rounds::Rounds), which asks about few and settles many. Many questions at once are one bulk
//! session, few are DNS queries. Where bulk does not work, DNS does its work at its own pace; where DNS does not answer,
//! what is due is gathered into one small session a minute at most. Single whois queries are never sent.
//!
//! | file | what |
//! |---|---|
//! | `state` | what is known, and what may be asked of it |
//! | `claims` | who is to be asked about |
//! | `questions` | what is asked now, and which way |
//! | `outcomes` | what becomes of a question |
//! | `names` | names of AS |
//! | `written` | what is written, and what becomes of that |
//! | `standing` | how it stands, for people |

mod claims;
mod names;
mod outcomes;
mod questions;
mod standing;
mod state;
#[cfg(test)]
mod tests;
mod written;

pub use self::outcomes::Session;
pub use self::state::Cymru;
