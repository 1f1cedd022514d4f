//! Why a source did not answer.

use std::time::Duration;

/// Why a source could not be asked or did not answer. Never an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What to do about it.
    pub kind: FailureKind,
    /// Short and clean, for logs and status views; never a secret.
    pub reason: String,
}

/// What a failure asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Try again later.
    Transient,
    /// The credentials are refused.
    Unauthorized,
    /// The quota is used up.
    Quota {
        /// How long the service asks to wait.
        retry_after: Option<Duration>,
    },
    /// Trying again changes nothing.
    Permanent,
}
