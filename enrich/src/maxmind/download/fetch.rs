//! One edition, from the question to the file.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use ureq::Body;
use ureq::http::Response;

use super::draft::Draft;
use super::error::DownloadError;
use super::http::{Client, Method};
use super::source::{Remote, Source, Suffix, is_page};
use super::{archive, draft};
use crate::maxmind::edition::Edition;

/// A file that holds one hash and a name.
const MAX_SUM: u64 = 1 << 10;

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

    /// Fetches an edition. The result is `to_dir/<edition>.mmdb`, complete and on disk, and the server's data about its
    /// archive; a file of that name is replaced in one step, and only by a complete one, which takes over its mode. A
    /// link of that name is not replaced: that is an error. No other file is left in `to_dir`, even after an error.
    ///
    /// # Errors
    /// [`DownloadError`].
    pub fn download(&self, edition: &Edition, to_dir: &Path) -> Result<(PathBuf, Remote), DownloadError> {
        let client = Client::new(self)?;
        let place = to_dir.join(edition.file_name());
        draft::check(&place)?;
        // The operator has to correct errors of the directory.
        let draft = || {
            let made = Draft::create(to_dir, edition);
            made.map_err(|e| std::io::Error::new(e.kind(), format!("{}: {e}", to_dir.display())))
        };
        // First, because it is small: wrong credentials show before a download is spent.
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

/// The SHA-256 that the archive should have.
fn sum(client: &Client, edition: &Edition) -> Result<[u8; 32], DownloadError> {
    let mut answer = client.ask(Method::Get, edition, Suffix::Sum)?;
    not_a_page(&answer)?;
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

/// A portal's page in place of the server's answer, with status 200. As the answer to HEAD it would mean "nothing
/// newer".
fn not_a_page(answer: &Response<Body>) -> Result<(), DownloadError> {
    if is_page(answer) { Err(DownloadError::NotAnArchive("the answer is a web page")) } else { Ok(()) }
}

/// Streams the archive into `draft`; returns the server's data about it, its hash and its length.
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
