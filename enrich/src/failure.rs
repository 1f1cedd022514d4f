//! The reason when a network source gives no answer.
//!
//! A failure is never an answer: it does not change the data of the address, and the address stays due. "Not known" is
//! an answer, and belongs to that source's own types.

use std::time::Duration;

use crate::text;

/// How long a reason may be, in bytes: it stands in one line of a log or a status view.
const MAX_REASON: usize = 200;

/// Why a source could not be asked, or did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// How to handle it.
    pub kind: FailureKind,
    /// Short and cleaned, for logs and status views. Never holds a secret.
    pub reason: String,
}

/// How to handle a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The network or the source is in trouble: the same question may be answered later.
    Transient,
    /// The same, and nothing of the question left this server: no name, no connection, a file or a secret that is missing.
    /// It costs no quota.
    Unsent,
    /// The source does not accept the credentials: no question will be answered until they change.
    Unauthorized,
    /// The source's quota is used up.
    Quota {
        /// How long the source asks to be left alone, where it says so.
        retry_after: Option<Duration>,
    },
    /// Asking again as things are set will fail again: a wrong setting, or a question the source refuses.
    Permanent,
    /// Nothing was sent: the settings of now forbid it. Not a failure of the source.
    Withheld,
}

impl Failure {
    /// A failure of any kind. `reason` may contain a server's text: it is cleaned and cut here.
    pub fn new(kind: FailureKind, reason: impl AsRef<str>) -> Failure {
        Failure { kind, reason: text::clean(reason.as_ref(), MAX_REASON).into_owned() }
    }

    /// See [`FailureKind::Transient`].
    pub fn transient(reason: impl AsRef<str>) -> Failure {
        Failure::new(FailureKind::Transient, reason)
    }

    /// See [`FailureKind::Unsent`].
    pub fn unsent(reason: impl AsRef<str>) -> Failure {
        Failure::new(FailureKind::Unsent, reason)
    }

    /// See [`FailureKind::Permanent`].
    pub fn permanent(reason: impl AsRef<str>) -> Failure {
        Failure::new(FailureKind::Permanent, reason)
    }

    /// See [`FailureKind::Withheld`].
    pub fn withheld() -> Failure {
        Failure::new(FailureKind::Withheld, "the settings no longer allow the question")
    }

    /// Whether the settings kept the question from being sent.
    pub fn is_withheld(&self) -> bool {
        self.kind == FailureKind::Withheld
    }

    /// Whether it is known that nothing of the question left this server.
    pub fn is_unsent(&self) -> bool {
        matches!(self.kind, FailureKind::Unsent | FailureKind::Withheld)
    }

    /// Whether the same question may be asked again soon.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, FailureKind::Transient | FailureKind::Unsent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_short_clean_line() {
        let failure = Failure::transient(format!("bad\0 reply:\n{}", "x".repeat(10_000)));
        assert!(failure.reason.starts_with("bad reply: xxx"));
        assert!(failure.reason.len() <= MAX_REASON);
        assert!(failure.is_transient());
        assert!(!Failure::permanent("no such file").is_transient());
    }
}
