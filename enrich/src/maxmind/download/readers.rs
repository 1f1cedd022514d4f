//! Readers below those of archives, which wrap every error in their own: what failed is told apart here.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};

use super::error::DownloadError;

/// Like [`io::copy`], but tells which side failed.
pub(super) fn copy(from: &mut impl Read, to: &mut impl Write) -> Result<u64, DownloadError> {
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
pub(super) struct Trouble {
    disk: RefCell<Option<io::Error>>,
    too_large: Cell<bool>,
}

impl Trouble {
    pub(super) fn explain(&self, error: DownloadError) -> DownloadError {
        match self.disk.take() {
            Some(disk) => DownloadError::Disk(disk),
            None if self.too_large.get() => DownloadError::TooLarge("the content of the archive"),
            None => error,
        }
    }
}

/// Remembers the error of the file itself.
pub(super) struct Noted<'a, R> {
    pub(super) inner: R,
    pub(super) trouble: &'a Trouble,
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
pub(super) struct Capped<'a, R> {
    pub(super) inner: R,
    pub(super) left: u64,
    pub(super) trouble: &'a Trouble,
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
