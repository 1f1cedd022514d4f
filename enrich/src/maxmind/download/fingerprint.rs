//! Telling credentials and URLs apart without holding them.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::secrets::Secret;

/// Distinguishes sets of credentials without holding the key: a hash of the server, the account and the key. The key
/// itself counts, not its place: a key replaced in the same place is another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Of the credentials.
    pub fn of(base_url: &str, account_id: Option<&str>, license_key: &Secret) -> Fingerprint {
        Fingerprint::over(&[base_url.as_bytes(), account_id.unwrap_or("").as_bytes(), license_key.mark().bytes()])
    }

    /// Of no credentials: where nobody asks whose they were.
    pub fn of_nobody() -> Fingerprint {
        Fingerprint::over(&[])
    }

    /// Of a server, for all accounts.
    pub fn of_server(base_url: &str) -> Fingerprint {
        Fingerprint::over(&[base_url.as_bytes()])
    }

    pub(super) fn over(parts: &[&[u8]]) -> Fingerprint {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Fingerprint(hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }
}
