//! The one file of a kind in a tar archive.
//!
//! The archive's paths are read only to see which entry is meant. Nothing is created by them: the bytes go where the
//! caller says. Extensions that rename the next entry or change its size (GNU long names, PAX, sparse files) are not
//! obeyed: an entry is what its own header says. A database's name fits into that.

use std::io::{Read, Write};

use tar::{Archive, EntryType};

use super::error::DownloadError;
use super::kind::{Kind, Unfit};
use super::readers::copy;

/// Beside a database an archive holds some texts.
pub(super) const MAX_ENTRIES: usize = 1000;

/// Copies the file of that kind in the archive into `out`, and tells its length. It goes on behind it: a second one would
/// make the choice the archive's.
///
/// # Errors
/// [`DownloadError::NotAnArchive`], [`DownloadError::Contents`] where there is not exactly one regular file of the kind,
/// and [`DownloadError::Disk`] where `out` cannot be written.
pub(super) fn find(expanded: impl Read, kind: Kind, out: &mut impl Write) -> Result<u64, DownloadError> {
    let broken = |_| DownloadError::NotAnArchive("it is broken");
    let mut archive = Archive::new(expanded);
    let mut found = None;
    for (count, entry) in archive.entries().map_err(broken)?.raw(true).enumerate() {
        let mut entry = entry.map_err(broken)?;
        if count == MAX_ENTRIES {
            return Err(DownloadError::Contents("it holds too many files"));
        }
        let header = entry.header();
        let what = header.entry_type();
        // The name of an extension is often that of the entry behind it. A directory named as a database is none.
        let is_no_file = is_extension(what) || (kind == Kind::List && what.is_dir());
        if is_no_file || !kind.is_named(&header.path_bytes()) {
            continue;
        }
        if what != EntryType::Regular {
            return Err(kind.refused(Unfit::Special));
        }
        if found.is_some() {
            return Err(kind.refused(Unfit::Many));
        }
        let length = header.entry_size().map_err(broken)?;
        if copy(&mut entry, out)? != length {
            return Err(DownloadError::NotAnArchive("it ends inside its file"));
        }
        found = Some(length);
    }
    found.ok_or_else(|| kind.refused(Unfit::Missing))
}

/// About another entry, or all of them: not a file itself.
fn is_extension(entry: EntryType) -> bool {
    entry.is_gnu_longname()
        || entry.is_gnu_longlink()
        || entry.is_pax_global_extensions()
        || entry.is_pax_local_extensions()
}
