//! Team Cymru: the addresses to ask about, the way, and the handling of answers.
//!
//! One campaign at a time: rows are claimed, those in a known network are answered from that, and the rest goes through
//! [`Rounds`](crate::cymru::rounds::Rounds), which asks about few and settles many. Many questions at once are one bulk
//! session, few are DNS queries. If bulk fails, DNS replaces it at its own pace; if DNS does not answer, the due
//! addresses are collected into at most one small session a minute. Single whois queries are never sent.
//!
//! | file | what |
//! |---|---|
//! | `state` | the campaign's state, and questions about it |
//! | `claims` | the addresses to ask about |
//! | `questions` | the next questions, and their way |
//! | `outcomes` | the result of a question |
//! | `names` | names of AS |
//! | `written` | writes, and their results |
//! | `standing` | its state, for people |

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
