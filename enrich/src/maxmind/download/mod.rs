//! Downloads of editions: from MaxMind's server to one verified `.mmdb` in a directory.
//!
//! Everything here blocks, and belongs on a thread that may wait. Data passes
//!
//! ```text
//! Attempts::may → head → (newer?) → Attempts::began → download → Attempts::succeeded / failed
//!                                   └ sha256, archive → draft, compared, the one .mmdb in it → draft → renamed
//! ```
//!
//! Downloads are hostile until the hash was compared, and limited even then: the hash comes from the same server. The
//! import decides whether the file is a database at all, as for every file of an operator.
//!
//! | file | what |
//! |---|---|
//! | [`error`] | the errors |
//! | `source` | the origin of editions, and the limits of one download |
//! | `fetch` | one edition, from the question to the file |
//! | `http` | requests and redirects: which host gets the key |
//! | `archive` | the one database in an archive |
//! | `draft` | files that are not finished, and the sweeping of those that never will be |
//! | [`attempts`] | how often we may ask, kept on disk |

mod archive;
pub mod attempts;
mod draft;
pub mod error;
mod fetch;
mod http;
mod source;

pub use attempts::{Attempts, Fingerprint, Wait};
pub use draft::{check, sweep};
pub use error::DownloadError;
pub use source::{Limits, Remote, Source};

/// For the fuzz target of archives: how long the database in there says it is, and how many bytes came out.
#[cfg(fuzzing)]
pub fn fuzz_extract(bytes: &[u8], most: u64) -> (Option<u64>, u64) {
    let limits = Limits { expanded: most, ..Limits::default() };
    let mut out = Vec::new();
    let said = archive::extract(bytes, bytes.len() as u64, &limits, &mut out);
    (said.ok(), out.len() as u64)
}

#[cfg(test)]
mod tests;
