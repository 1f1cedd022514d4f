//! The one database in an archive (`.tar.gz`).
//!
//! The archive's paths are read only to see which entry is meant. Nothing is created by them: the bytes go where the
//! caller says. Extensions that rename the next entry or change its size (GNU long names, PAX, sparse files) are not
//! obeyed: an entry is what its own header says. A database's name fits into that.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};

use flate2::read::GzDecoder;
use tar::{Archive, EntryType};

use super::{DownloadError, Limits};

/// Beside the database an archive holds two texts.
const MAX_ENTRIES: usize = 1000;

/// An archive may always expand to this size: an empty one is mostly zeros.
const SMALL: u64 = 1 << 20;

/// Copies the database in `archive`, which is `compressed` bytes long, into `out`, and tells its length.
///
/// # Errors
/// [`DownloadError::NotAnArchive`], [`DownloadError::Contents`] where there is not exactly one regular file `*.mmdb`,
/// [`DownloadError::TooLarge`], and [`DownloadError::Disk`] where either side cannot be read or written. `out` holds
/// something unfinished then.
pub(super) fn extract(
    archive: impl Read,
    compressed: u64,
    limits: &Limits,
    out: &mut impl Write,
) -> Result<u64, DownloadError> {
    let trouble = Trouble::default();
    let from_disk = Noted { inner: archive, trouble: &trouble };
    let most = limits.expanded.min(limits.ratio.saturating_mul(compressed).max(SMALL));
    let expanded = Capped { inner: GzDecoder::new(from_disk), left: most, trouble: &trouble };
    find(expanded, out).map_err(|error| trouble.explain(error))
}

/// The walk over the entries. It goes on behind the database: a second one would make the choice the archive's.
fn find(expanded: impl Read, out: &mut impl Write) -> Result<u64, DownloadError> {
    let broken = |_| DownloadError::NotAnArchive("it is broken");
    let mut archive = Archive::new(expanded);
    let mut found = None;
    for (count, entry) in archive.entries().map_err(broken)?.raw(true).enumerate() {
        let mut entry = entry.map_err(broken)?;
        if count == MAX_ENTRIES {
            return Err(DownloadError::Contents("it holds too many files"));
        }
        let header = entry.header();
        if !header.path_bytes().ends_with(b".mmdb") {
            continue;
        }
        if header.entry_type() != EntryType::Regular {
            return Err(DownloadError::Contents("its database is not a regular file"));
        }
        if found.is_some() {
            return Err(DownloadError::Contents("it holds more than one database"));
        }
        let length = header.entry_size().map_err(broken)?;
        if copy(&mut entry, out)? != length {
            return Err(DownloadError::NotAnArchive("it ends inside the database"));
        }
        found = Some(length);
    }
    found.ok_or(DownloadError::Contents("it holds no database"))
}

/// Like [`io::copy`], but tells which side failed.
fn copy(from: &mut impl Read, to: &mut impl Write) -> Result<u64, DownloadError> {
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(n) => {
                to.write_all(&buffer[..n])?;
                total += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(DownloadError::NotAnArchive("it is broken")),
        }
    }
}

/// Errors below the archive's reader, which wraps every error in its own.
#[derive(Default)]
struct Trouble {
    disk: RefCell<Option<io::Error>>,
    too_large: Cell<bool>,
}

impl Trouble {
    fn explain(&self, error: DownloadError) -> DownloadError {
        match self.disk.take() {
            Some(disk) => DownloadError::Disk(disk),
            None if self.too_large.get() => DownloadError::TooLarge("the content of the archive"),
            None => error,
        }
    }
}

/// Remembers the error of the file itself.
struct Noted<'a, R> {
    inner: R,
    trouble: &'a Trouble,
}

impl<R: Read> Read for Noted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|e| {
            let kind = e.kind();
            if kind != io::ErrorKind::Interrupted {
                self.trouble.disk.replace(Some(e));
            }
            kind.into()
        })
    }
}

/// Ends in an error where there is more than allowed.
struct Capped<'a, R> {
    inner: R,
    left: u64,
    trouble: &'a Trouble,
}

impl<R: Read> Read for Capped<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        match self.left.checked_sub(n as u64) {
            Some(left) => self.left = left,
            None => {
                self.trouble.too_large.set(true);
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
        Ok(n)
    }
}

#[cfg(test)]
pub(super) mod tests;
