//! The one database in a tar archive.
//!
//! The archive's paths are read only to see which entry is meant. Nothing is created by them: the bytes go where the
//! caller says. Extensions that rename the next entry or change its size (GNU long names, PAX, sparse files) are not
//! obeyed: an entry is what its own header says. A database's name fits into that.

use std::io::{Read, Write};

use tar::{Archive, EntryType};

use super::error::DownloadError;
use super::readers::copy;

/// Beside the database an archive holds some texts.
pub(super) const MAX_ENTRIES: usize = 1000;

/// Copies the database in the archive into `out`, and tells its length. It goes on behind the database: a second one would
/// make the choice the archive's.
///
/// # Errors
/// [`DownloadError::NotAnArchive`], [`DownloadError::Contents`] where there is not exactly one regular file `*.mmdb`,
/// and [`DownloadError::Disk`] where `out` cannot be written.
pub(super) fn find(expanded: impl Read, out: &mut impl Write) -> Result<u64, DownloadError> {
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
