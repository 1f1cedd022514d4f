//! Downloads of editions: from MaxMind's server to one verified `.mmdb` in a directory.
//!
//! Everything here blocks, and belongs on a thread that may wait. Data passes
//!
//! ```text
//! Attempts::may → head → (newer?) → Attempts::began → download → Attempts::succeeded / failed
//!                                   └ sha256, archive → draft, compared, the one .mmdb in it → draft → renamed
//! ```
//!
//! What arrives is hostile until its hash was compared, and limited even then: the hash comes from the same server.
//! Whether the file is a database at all is judged by the import, as for every file that an operator brings.
//!
//! | file | what |
//! |---|---|
//! | [`error`] | what can go wrong |
//! | `http` | requests and redirects: who gets to see the key |
//! | `archive` | the one database in an archive |
//! | `draft` | files that are not finished, and the sweeping of those that never will be |
//! | [`attempts`] | how often we may ask, kept on disk |

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, NaiveDate};
use sha2::{Digest, Sha256};
use ureq::Body;
use ureq::http::Response;

use self::draft::Draft;
use self::http::{Client, Method};
use super::edition::Edition;
use crate::secrets::Secret;
use crate::time::Micros;

mod archive;
pub mod attempts;
mod draft;
pub mod error;
mod http;

pub use attempts::{Attempts, Fingerprint, Wait};
pub use draft::{check, sweep};
pub use error::DownloadError;

/// For the fuzz target of archives: how long the database in there says it is, and how many bytes came out.
#[cfg(fuzzing)]
pub fn fuzz_extract(bytes: &[u8], most: u64) -> (Option<u64>, u64) {
    let limits = Limits { expanded: most, ..Limits::default() };
    let mut out = Vec::new();
    let said = archive::extract(bytes, bytes.len() as u64, &limits, &mut out);
    (said.ok(), out.len() as u64)
}

/// A file that holds one hash and a name.
const MAX_SUM: u64 = 1 << 10;

/// Where editions come from, and what opens the door. `{:?}` does not show the key.
#[derive(Clone, Debug)]
pub struct Source {
    /// `https://host[:port][/prefix]`.
    pub base_url: String,
    /// With an account the key goes into a header; without one, into the URL of the older service.
    pub account_id: Option<String>,
    /// The account's licence key.
    pub license_key: Secret,
    /// Further trusted certificates (PEM).
    pub ca_file: Option<PathBuf>,
    /// How much, and how long.
    pub limits: Limits,
}

/// What one download may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the archive.
    pub compressed: u64,
    /// Bytes of everything in it.
    pub expanded: u64,
    /// Expanded to compressed; a database's archive stays below 5. Small archives may always expand to 1 MB.
    pub ratio: u64,
    /// Until a connection stands.
    pub connect: Duration,
    /// Without a byte.
    pub idle: Duration,
    /// For everything that one edition needs.
    pub total: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            compressed: 200_000_000,
            expanded: 1_000_000_000,
            ratio: 100,
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            total: Duration::from_secs(15 * 60),
        }
    }
}

/// What the server has, without fetching it. Either may be unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remote {
    /// When the archive changed last.
    pub last_modified: Option<Micros>,
    /// The day in the archive's name.
    pub build_date: Option<NaiveDate>,
}

impl Remote {
    fn of(answer: &Response<Body>) -> Remote {
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        Remote {
            last_modified: header("last-modified")
                .and_then(|text| DateTime::parse_from_rfc2822(text).ok())
                .map(|at| at.timestamp_micros()),
            build_date: header("content-disposition").and_then(build_date),
        }
    }
}

/// What is asked for an edition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suffix {
    Archive,
    Sum,
}

impl Suffix {
    const fn as_str(self) -> &'static str {
        match self {
            Suffix::Archive => "tar.gz",
            Suffix::Sum => "tar.gz.sha256",
        }
    }
}

impl Source {
    /// How fresh the server's archive is. Does not count against the account's downloads.
    ///
    /// # Errors
    /// [`DownloadError`].
    pub fn head(&self, edition: &Edition) -> Result<Remote, DownloadError> {
        let answer = Client::new(self)?.ask(Method::Head, edition, Suffix::Archive)?;
        not_a_page(&answer)?;
        Ok(Remote::of(&answer))
    }

    /// Fetches an edition. The result is `to_dir/<edition>.mmdb`, complete and on disk, and what the server said of
    /// its archive; a file of that name is replaced in one step, and only by a whole one, which takes over its mode. A
    /// link of that name is left alone: that is an error. Nothing else is left in `to_dir`, whatever goes wrong.
    ///
    /// # Errors
    /// [`DownloadError`].
    pub fn download(&self, edition: &Edition, to_dir: &Path) -> Result<(PathBuf, Remote), DownloadError> {
        let client = Client::new(self)?;
        let place = to_dir.join(edition.file_name());
        draft::check(&place)?;
        // What is wrong with the directory, the operator has to put right.
        let draft = || {
            let made = Draft::create(to_dir, edition);
            made.map_err(|e| std::io::Error::new(e.kind(), format!("{}: {e}", to_dir.display())))
        };
        // First, because it is small: what is wrong with the credentials shows before a download is spent.
        let expected = sum(&client, edition)?;
        let mut archive = draft()?;
        let (remote, found, bytes) = store(&client, edition, &mut archive)?;
        if found != expected {
            return Err(DownloadError::HashMismatch);
        }
        let mut database = draft()?;
        archive::extract(archive.reread()?, bytes, &self.limits, database.file())?;
        drop(archive);
        Ok((database.publish(&place)?, remote))
    }
}

/// The day in `attachment; filename=GeoLite2-City_20240102.tar.gz`.
fn build_date(disposition: &str) -> Option<NaiveDate> {
    disposition.split('_').skip(1).find_map(|rest| NaiveDate::parse_from_str(rest.get(..8)?, "%Y%m%d").ok())
}

/// The SHA-256 that the archive should have.
fn sum(client: &Client, edition: &Edition) -> Result<[u8; 32], DownloadError> {
    let mut answer = client.ask(Method::Get, edition, Suffix::Sum)?;
    not_a_page(&answer)?;
    let text = answer.body_mut().with_config().limit(MAX_SUM).read_to_vec().map_err(|e| DownloadError::of(&e))?;
    read_sum(&text).ok_or(DownloadError::NotAnArchive("the answer is no SHA-256 sum"))
}

/// `<64 hexadecimal digits>`, and after blanks a name that is nobody's business.
fn read_sum(text: &[u8]) -> Option<[u8; 32]> {
    let word = text.split(u8::is_ascii_whitespace).next().filter(|word| word.len() == 64)?;
    let mut sum = [0; 32];
    for (byte, pair) in sum.iter_mut().zip(word.chunks_exact(2)) {
        let digit = |c: u8| char::from(c).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(sum)
}

/// What a portal says in place of the server, with status 200. As the answer to HEAD it would mean "nothing newer".
fn not_a_page(answer: &Response<Body>) -> Result<(), DownloadError> {
    if is_page(answer) { Err(DownloadError::NotAnArchive("the answer is a web page")) } else { Ok(()) }
}

fn is_page(answer: &Response<Body>) -> bool {
    answer.body().mime_type().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"))
}

/// Streams the archive into `draft`; tells what the server says of it, its hash and its length.
fn store(client: &Client, edition: &Edition, draft: &mut Draft) -> Result<(Remote, [u8; 32], u64), DownloadError> {
    let max = client.limits().compressed;
    let answer = client.ask(Method::Get, edition, Suffix::Archive)?;
    if answer.body().content_length().is_some_and(|length| length > max) {
        return Err(DownloadError::TooLarge("the archive"));
    }
    not_a_page(&answer)?;
    let remote = Remote::of(&answer);
    let mut body = answer.into_body().into_reader();
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        let n = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(DownloadError::of(&ureq::Error::from(e))),
        };
        total += n as u64;
        if total > max {
            return Err(DownloadError::TooLarge("the archive"));
        }
        hash.update(&buffer[..n]);
        draft.file().write_all(&buffer[..n])?;
    }
    Ok((remote, hash.finalize().into(), total))
}

#[cfg(test)]
mod tests;
