//! Why a reference did not become a value.

use super::Reference;

/// A reference that did not become a value. Shows the reference and a reason, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reference}: {why}")]
pub struct SecretError {
    pub(super) reference: Reference,
    pub(super) why: Why,
}

/// The three kinds of trouble.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Why {
    /// There is nothing there: it is not configured.
    #[error("{0}")]
    Unset(&'static str),
    /// It will not work without a change.
    #[error("{0}")]
    Refused(String),
    /// It may work later.
    #[error("{0}")]
    Failed(String),
}

impl SecretError {
    /// For a look that never came back.
    pub fn broken_off(reference: &Reference) -> SecretError {
        let why = Why::Failed("the look-up failed with an internal error (a panic)".to_owned());
        SecretError { reference: reference.clone(), why }
    }

    /// The reference that could not be resolved.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The place exists in no form: the variable is absent or empty, the file is absent. That is how a server
    /// without a key looks, and no reason to complain.
    pub fn is_unset(&self) -> bool {
        matches!(self.why, Why::Unset(_))
    }

    /// The same reference may be resolved later as things are set now.
    pub fn is_transient(&self) -> bool {
        matches!(self.why, Why::Failed(_))
    }
}
