//! One immutable copy of one edition, mapped: the database and the index derived from it.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use maxminddb::{Metadata, Reader};
use memmap2::Mmap;

use super::edition::{Edition, Kind};
use super::index::{Index, Position, RecordRef};
use super::json::Json;
use super::language::Language;
use super::map::map;
use super::role::Fields;

/// Names of the files inside a generation's directory.
pub(super) const DATABASE: &str = "database.mmdb";
/// With its version: a library of before, that still runs in some session, finds its own beside it.
pub(super) const INDEX: &str = "flat-6.idx";
const INDEXES_BEFORE: [&str; 2] = ["flat-2.idx", "flat.idx"];

/// A mapped generation. Dropping it unmaps the files; that they were unlinked meanwhile does no harm.
pub struct Generation {
    name: String,
    label: String,
    edition: Edition,
    fields: Fields,
    reader: Reader<Mmap>,
    index: Option<(Index, Mmap)>,
}

/// Why a generation cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file is missing or unreadable.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The database is broken.
    #[error("{0}")]
    Database(#[from] maxminddb::MaxMindDbError),
    /// The index is missing, broken, of another version or of another file; the database is whole.
    #[error("the index is missing or does not belong to the database")]
    Index,
}

impl Generation {
    /// Maps the generation in `dir`.
    ///
    /// # Errors
    /// [`OpenError`] when a file is missing, broken, or the two do not belong together.
    pub fn open(dir: &Path, edition: Edition) -> Result<Generation, OpenError> {
        let database = map(&dir.join(DATABASE))?;
        let bytes = database.len() as u64;
        let reader = Reader::from_source(database)?;
        let open = |name: &str| {
            let file = map(&dir.join(name)).ok()?;
            Some((Index::open(&file, bytes)?, file))
        };
        let index = open(INDEX).or_else(|| INDEXES_BEFORE.into_iter().find_map(open));
        // Earlier versions built none for files that answer nothing by their names.
        if index.is_none() && Kind::of(&reader.metadata().database_type) != Kind::Other {
            return Err(OpenError::Index);
        }
        let holds = index.as_ref().map_or(Fields::NONE, |(index, _)| index.holds().fields);
        let fields = holds & edition.role().unwrap_or_default().fields();
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Generation { label: name.clone(), name, edition, fields, reader, index })
    }

    /// The same, made anew so many times after it was damaged.
    #[must_use]
    pub(super) fn mended(mut self, mends: u32) -> Generation {
        if mends > 0 {
            self.label = format!("{}+{mends}", self.name);
        }
        self
    }

    /// What tells it from every other, and from itself as it was while it was damaged.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Its directory's name, which tells it from every other: made of edition and content.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The edition it is a copy of.
    pub fn edition(&self) -> &Edition {
        &self.edition
    }

    /// The fields that it may answer: those that its records hold, as far as its role goes.
    pub fn fields(&self) -> Fields {
        self.fields
    }

    /// Whether its index was built by an earlier version: it answers until a new one is built.
    pub fn is_outdated(&self) -> bool {
        self.index.as_ref().is_none_or(|(index, _)| index.is_outdated())
    }

    /// The language of its names; `None`: its index is of an earlier version.
    pub fn language(&self) -> Option<&Language> {
        self.index.as_ref().and_then(|(index, _)| index.language())
    }

    /// The database's own metadata (build time, node count, type).
    pub fn metadata(&self) -> &Metadata {
        self.reader.metadata()
    }

    /// What it may say of `ip`, and the length of the network that this is of. `ip` is an effective address.
    #[inline]
    pub fn record_of(&self, ip: IpAddr) -> Option<(RecordRef<'_>, u8)> {
        let (index, bytes) = self.index.as_ref()?;
        let (position, prefix) = self.find(index, bytes, ip)?;
        Some((index.record(bytes, position)?.only(self.fields), prefix))
    }

    /// Asks for the memory of the record that a word of the overlay stands for.
    #[inline]
    pub(super) fn fetch(&self, word: [u8; 4]) {
        if let Some((index, bytes)) = &self.index {
            index.fetch(bytes, Position(u32::from_le_bytes(word) >> 6));
        }
    }

    /// What it may say by a word of the overlay, and the length of the network that this is of.
    #[inline]
    pub(super) fn record_at(&self, word: [u8; 4]) -> Option<(RecordRef<'_>, u8)> {
        let (index, bytes) = self.index.as_ref()?;
        let word = u32::from_le_bytes(word);
        Some((index.record(bytes, Position(word >> 6))?.only(self.fields), (word & 63) as u8))
    }

    /// Only the AS of `ip`. `ip` is an effective address.
    #[inline]
    pub fn asn_of(&self, ip: IpAddr) -> Option<u32> {
        let (index, bytes) = self.index.as_ref()?;
        let (position, _) = self.find(index, bytes, ip)?;
        index.asn(bytes, position)
    }

    /// Only the country of `ip`. `ip` is an effective address.
    #[inline]
    pub fn country_of(&self, ip: IpAddr) -> Option<&str> {
        let (index, bytes) = self.index.as_ref()?;
        let (position, _) = self.find(index, bytes, ip)?;
        index.country_code(bytes, position)
    }

    /// The index, with the bytes that it stands in.
    pub(super) fn index(&self) -> Option<(&Index, &[u8])> {
        self.index.as_ref().map(|(index, bytes)| (index, &bytes[..]))
    }

    #[inline]
    fn find(&self, index: &Index, bytes: &[u8], ip: IpAddr) -> Option<(Position, u8)> {
        match ip {
            IpAddr::V4(v4) => index.find_v4(bytes, v4.into()),
            IpAddr::V6(_) => {
                let found = self.reader.lookup(ip).ok()?;
                let position = index.find_offset(bytes, u32::try_from(found.offset()?).ok()?)?;
                Some((position, found.network().ok()?.prefix()))
            }
        }
    }

    /// The whole record of `ip`, as JSON.
    ///
    /// # Errors
    /// The decoder's error for a broken record.
    pub fn record(&self, ip: IpAddr) -> Result<Option<serde_json::Value>, maxminddb::MaxMindDbError> {
        if ip.is_ipv6() && self.metadata().ip_version == 4 {
            return Ok(None);
        }
        Ok(self.reader.lookup(ip)?.decode::<Json>()?.map(|Json(record)| record))
    }

    pub(super) fn reader(&self) -> &Reader<Mmap> {
        &self.reader
    }
}
