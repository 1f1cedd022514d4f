//! What a downloaded file is to be: what is looked for in an archive, and where it goes.

use std::io::{Read, Seek, SeekFrom};

use super::error::DownloadError;

/// What a downloaded file is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A database in MaxMind's format, for the directory of such files.
    Database,
    /// A list of networks, for the directory of lists. Whether its lines are a list is for the import to say.
    List,
}

/// Why the content of an archive is not what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// There is none of its kind.
    Missing,
    /// There is more than one: the choice would be the archive's.
    Many,
    /// A link, a directory, or some such.
    Special,
    /// It wants a password.
    Encrypted,
    /// By some method that is not known.
    Packing,
}

/// The mark before the metadata, which stand in the last 128 KiB of the format.
const METADATA: &[u8] = b"\xab\xcd\xefMaxMind.com";
const METADATA_WITHIN: u64 = 128 << 10;

impl Kind {
    /// The file of that name, in its directory.
    pub fn file_name(self, name: &str) -> String {
        match self {
            Kind::Database => format!("{name}.mmdb"),
            Kind::List => format!("{name}.list"),
        }
    }

    /// Whether an entry of an archive, by its path, is one. A list may have any name, so it must be the only file beside
    /// those that archives have about themselves.
    pub(super) fn is_named(self, path: &[u8]) -> bool {
        let is_database = |end: &[u8; 5]| end.eq_ignore_ascii_case(b".mmdb");
        match self {
            Kind::Database => path.last_chunk().is_some_and(is_database) && !is_beside_a_file(path),
            Kind::List => !path.ends_with(b"/") && !is_beside_a_file(path) && !is_about_the_archive(path),
        }
    }

    pub(super) fn refused(self, why: Unfit) -> DownloadError {
        DownloadError::Contents(match (self, why) {
            (Kind::Database, Unfit::Missing) => "it holds no database",
            (Kind::Database, Unfit::Many) => "it holds more than one database",
            (Kind::Database, Unfit::Special) => "its database is not a regular file",
            (Kind::Database, Unfit::Encrypted) => "its database is encrypted",
            (Kind::Database, Unfit::Packing) => "its database is packed in a way that is not known",
            (Kind::List, Unfit::Missing) => "it holds no file",
            (Kind::List, Unfit::Many) => "it holds more than one file",
            (Kind::List, Unfit::Special) => "its list is not a regular file",
            (Kind::List, Unfit::Encrypted) => "its list is encrypted",
            (Kind::List, Unfit::Packing) => "its list is packed in a way that is not known",
        })
    }

    /// A look at an unpacked file, `length` bytes long, before it takes the place of another.
    ///
    /// # Errors
    /// [`DownloadError::NotADatabase`], [`DownloadError::EmptyList`], and those of reading it.
    pub(super) fn check(self, file: &mut (impl Read + Seek), length: u64) -> Result<(), DownloadError> {
        match self {
            Kind::Database if !is_database(file, length)? => Err(DownloadError::NotADatabase),
            Kind::List if length == 0 => Err(DownloadError::EmptyList),
            _ => Ok(()),
        }
    }
}

/// What macOS packs beside each file, under its name (`._x.mmdb`, `__MACOSX/x/._x.mmdb`).
fn is_beside_a_file(path: &[u8]) -> bool {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    path.starts_with(b"__MACOSX/") || file_name(path).starts_with(b"._")
}

/// `README`, `LICENSE.txt` and the like, and hidden files.
fn is_about_the_archive(path: &[u8]) -> bool {
    let name = file_name(path);
    if name.starts_with(b".") {
        return true;
    }
    let stem = name.split(|byte| *byte == b'.').next().unwrap_or(name).to_ascii_lowercase();
    [&b"readme"[..], b"license", b"licence", b"copying", b"copyright", b"notice", b"changelog"].contains(&&stem[..])
}

fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

fn is_database(file: &mut (impl Read + Seek), length: u64) -> std::io::Result<bool> {
    file.seek(SeekFrom::Start(length.saturating_sub(METADATA_WITHIN)))?;
    let mut end = Vec::new();
    file.take(METADATA_WITHIN).read_to_end(&mut end)?;
    Ok(end.windows(METADATA.len()).any(|bytes| bytes == METADATA))
}
