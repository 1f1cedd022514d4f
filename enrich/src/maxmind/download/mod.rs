//! Downloads of editions and lists: from a server to one verified file in a directory.
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
//! | `source`, `fetch` | MaxMind's server; one edition of it, from the question to the file |
//! | `site`, `template`, `pull` | sources of anybody: the setting, the URL, one file, unless it is that of last time |
//! | `http`, `limits`, `cancel` | requests and redirects: which host gets the key; how much, how long and how slowly; their end |
//! | `unpack`, `archive`, `zip`, `readers`, `kind` | the one file in what came, however it is packed; a database or a list of networks |
//! | `draft` | files that are not finished, and the sweeping of those that never will be |
//! | [`attempts`], `lines`, `closed`, `fingerprint` | how often we may ask, kept on disk: MaxMind, the other sources, the reasons; telling credentials apart without holding them |

mod archive;
pub mod attempts;
mod cancel;
mod closed;
mod draft;
pub mod error;
mod fetch;
mod fingerprint;
mod gzip;
mod http;
mod kind;
mod limits;
mod lines;
mod pull;
mod readers;
mod site;
mod source;
mod template;
mod unpack;
mod zip;

pub use attempts::{Attempts, UnderWay};
pub use cancel::Cancel;
pub use closed::{Closed, DAILY, Wait};
pub use draft::{check, sweep};
pub use error::DownloadError;
pub use fingerprint::Fingerprint;
pub use kind::Kind;
pub use limits::Limits;
pub use pull::{Known, Pulled, Reach};
pub use site::{BadSite, Site};
pub use source::{Remote, Source};

/// For the fuzz target of archives: how long the database in there says it is, and how many bytes came out.
#[cfg(fuzzing)]
pub fn fuzz_extract(bytes: &[u8], most: u64) -> (Option<u64>, u64) {
    let limits = Limits { expanded: most, ..Limits::default() };
    let mut out = Vec::new();
    let said =
        unpack::extract(std::io::Cursor::new(bytes), bytes.len() as u64, &limits, Kind::Database, true, &mut out);
    (said.ok(), out.len() as u64)
}

/// The tests' own writers of archives.
#[cfg(test)]
pub(super) mod for_tests {
    pub(crate) use super::unpack::tests::pack;
    pub(crate) use super::zip::tests::{entry, zip};
}

#[cfg(test)]
mod slow_tests;
#[cfg(test)]
mod tests;
