//! Secrets are references: a setting says where a key is, never the key (`env:NAME`, `file:/…`).
//!
//! Data passes setting → [`Reference::parse`] → [`Resolver::resolve`] → [`Secret`], and ends at the one place that
//! sends it. Nothing on the way shows the value: errors and logs name the reference, and a setting that is not a
//! reference is not repeated either, because it may be a pasted key.
//!
//! Resolving may open a file, ask a Vault server or run a program, for as long as [`TIME_LIMIT`]: it belongs on a
//! thread that may wait, never in a user's session.
//!
//! | file | what |
//! |---|---|
//! | [`mod@reference`] | the grammar of references |
//! | [`resolver`] | the allowed references, and the reasons of failures |
//! | `local` | `env:` and `file:` |
//! | `vault` | `vault://`: HashiCorp Vault, both versions of KV, over HTTPS or by an agent on this machine |
//! | `vendor` | `op://`, `aws-sm://`, `sops://`: the commands of their programs, and the parsing of the answers |
//! | `program` | runs such a program within limits |
//! | [`recent`] | recent output of programs |
//! | [`keeper`] | when a key's reference is read, and read again |
//! | `value` | from bytes to a value that may be a secret |

use std::fmt;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub mod allowed;
pub mod error;
pub mod keeper;
mod local;
mod program;
pub mod recent;
pub mod reference;
mod resolve;
pub mod resolver;
mod value;
mod vault;
mod vendor;

pub use allowed::{BadSetting, Commands, Environment, Owners, Patterns};
pub use error::SecretError;
pub use keeper::Keeper;
pub use recent::{Accept, Recent};
pub use reference::{Reference, ReferenceError};
pub use resolver::Resolver;
pub use vendor::{end_orphans, end_programs};

/// How long a program or a Vault server may take to hand out one secret.
pub const TIME_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

/// How long a secret may be, in bytes, and with it everything that is read to find one.
pub const MAX_SECRET: usize = 64 << 10;

/// A secret text: wiped when it is dropped, never shown. It has no `Display`, so it cannot get into a message by
/// mistake.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the value over.
    pub fn new(value: String) -> Secret {
        Secret(Zeroizing::new(value))
    }

    /// The value, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A mark that distinguishes it from another one.
    pub fn mark(&self) -> Mark {
        let mut hash = Sha256::new();
        hash.update(b"asn_inventory secret\0");
        hash.update(self.0.as_bytes());
        Mark(hash.finalize().into())
    }
}

/// Tells one secret from another without holding it: a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark([u8; 32]);

impl Mark {
    /// For a hash over more than the secret.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Secret {
        Secret::new(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
pub(crate) mod tests;
