//! One edition of MaxMind's, from the question to the file; and the steps of it that all downloads have.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use ureq::Body;
use ureq::http::Response;

use super::draft::Draft;
use super::error::DownloadError;
use super::http::{Client, Method, is_page};
use super::kind::Kind;
use super::limits::Limits;
use super::source::{Remote, Source, Suffix};
use super::{draft, unpack};
use crate::maxmind::edition::Edition;
use crate::maxmind::manifest::Signature;

/// A file that holds one hash and a name.
const MAX_SUM: u64 = 1 << 10;

impl Source {
    /// How fresh the server's archive is. Does not count against the account's downloads.
    ///
    /// # Errors
    /// [`DownloadError`].
    pub fn head(&self, edition: &Edition) -> Result<Remote, DownloadError> {
        let answer = self.client()?.ask(Method::Head, self.url(edition, Suffix::Archive)?, &[])?;
        not_a_page(&answer)?;
        Ok(Remote::of(&answer))
    }

    /// Fetches an edition. The result is `to_dir/<edition>.mmdb`, complete and on disk, and the server's data about its
    /// archive; a file of that name is replaced in one step, and only by a complete one, which takes over its mode. A
    /// link of that name is not replaced: that is an error. No other file is left in `to_dir`, even after an error.
    ///
    /// # Errors
    /// [`DownloadError`].
    pub fn download(&self, edition: &Edition, to_dir: &Path) -> Result<(PathBuf, Remote), DownloadError> {
        let client = self.client()?;
        draft::check(&to_dir.join(edition.file_name()))?;
        // First, because it is small: wrong credentials show before a download is spent.
        let expected = self.sum(&client, edition)?;
        let mut archive = Draft::create_in(to_dir, edition)?;
        let answer = client.ask(Method::Get, self.url(edition, Suffix::Archive)?, &[])?;
        not_a_page(&answer)?;
        let remote = Remote::of(&answer);
        let (found, bytes) = store(answer, &self.limits, &mut archive)?;
        if found != expected {
            return Err(DownloadError::HashMismatch);
        }
        let place = Place { dir: to_dir, name: edition, kind: Kind::Database };
        let (path, _) = unpacked(archive, bytes, &self.limits, &place, false)?;
        Ok((path, remote))
    }

    /// The SHA-256 that the archive should have.
    fn sum(&self, client: &Client, edition: &Edition) -> Result<[u8; 32], DownloadError> {
        let answer = client.ask(Method::Get, self.url(edition, Suffix::Sum)?, &[])?;
        not_a_page(&answer)?;
        read_sum_of(answer)
    }
}

/// The one file in what was downloaded, in its place; and its signature there. Where it `may_be_plain` (not in an
/// archive), it is checked before it takes the place of another.
pub(super) fn unpacked(
    mut packed: Draft,
    bytes: u64,
    limits: &Limits,
    place: &Place,
    may_be_plain: bool,
) -> Result<(PathBuf, Signature), DownloadError> {
    let mut file = Draft::create_in(place.dir, place.name)?;
    let length = unpack::extract(packed.reread()?, bytes, limits, place.kind, may_be_plain, file.file())?;
    drop(packed);
    if may_be_plain {
        place.kind.check(file.file(), length)?;
    }
    let path = file.publish(&place.path())?;
    let gone = || std::io::Error::new(std::io::ErrorKind::NotFound, "the file was removed at once");
    let signature = Signature::of(&path)?.ok_or_else(gone)?;
    Ok((path, signature))
}

/// Where a file goes.
pub(super) struct Place<'a> {
    pub(super) dir: &'a Path,
    pub(super) name: &'a Edition,
    pub(super) kind: Kind,
}

impl Place<'_> {
    pub(super) fn path(&self) -> PathBuf {
        self.dir.join(self.kind.file_name(self.name.name()))
    }
}

/// The sum in an answer.
pub(super) fn read_sum_of(mut answer: Response<Body>) -> Result<[u8; 32], DownloadError> {
    let text = answer.body_mut().with_config().limit(MAX_SUM).read_to_vec().map_err(|e| DownloadError::of(&e))?;
    read_sum(&text).ok_or(DownloadError::NotAnArchive("the answer is not a SHA-256 sum"))
}

/// `<64 hexadecimal digits>`, and after blanks a name, which is ignored.
pub(super) fn read_sum(text: &[u8]) -> Option<[u8; 32]> {
    let word = text.split(u8::is_ascii_whitespace).next().filter(|word| word.len() == 64)?;
    let mut sum = [0; 32];
    for (byte, pair) in sum.iter_mut().zip(word.chunks_exact(2)) {
        let digit = |c: u8| char::from(c).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(sum)
}

/// In hexadecimal.
pub(super) fn hex(sum: &[u8; 32]) -> String {
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A portal's page in place of the server's answer, with status 200. As the answer to HEAD it would mean "nothing
/// newer".
fn not_a_page(answer: &Response<Body>) -> Result<(), DownloadError> {
    if is_page(answer) { Err(DownloadError::NotAnArchive("the answer is a web page")) } else { Ok(()) }
}

/// Streams the answer into `draft`; returns its hash and its length.
pub(super) fn store(
    answer: Response<Body>,
    limits: &Limits,
    draft: &mut Draft,
) -> Result<([u8; 32], u64), DownloadError> {
    let max = limits.compressed;
    if answer.body().content_length().is_some_and(|length| length > max) {
        return Err(DownloadError::TooLarge("the archive"));
    }
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
    Ok((hash.finalize().into(), total))
}
