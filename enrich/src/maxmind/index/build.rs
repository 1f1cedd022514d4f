//! Building an index: one walk over a database, each record decoded once.

use std::collections::HashMap;
use std::io::{self, Write};

use ipnetwork::IpNetwork;
use maxminddb::{Reader, WithinOptions};

use super::format::{BUCKETS, Blob, MAGIC, Position};
use crate::maxmind::language::Language;
use crate::maxmind::record::Raw;
use crate::maxmind::role::{Fields, Holds};
use crate::maxmind::tree::TreeError;

/// Networks between two looks at `breathe`.
const BREATH: usize = 4096;

/// Why a database cannot be indexed.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The database itself is broken.
    #[error("{0}")]
    Database(#[from] maxminddb::MaxMindDbError),
    /// A walk over it would not come to an end.
    #[error("{0}")]
    Tree(#[from] TreeError),
    /// More than the format holds: 512 MiB of records or 2³² ranges.
    #[error("the database is too large to index")]
    TooLarge,
    /// The index file could not be written.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Builds the index of `reader` into `out`, with names in `language`. Returns what the records hold; a file that holds
/// nothing has an index, too. The file has passed [`tree::check`](crate::maxmind::tree::check): a walk over it comes to an end.
/// `breathe` is called now and then.
///
/// # Errors
/// [`IndexError`]; nothing of `out` may be used then.
pub fn build<S: AsRef<[u8]>>(
    reader: &Reader<S>,
    language: &Language,
    database_bytes: u64,
    out: &mut impl Write,
    breathe: &dyn Fn(),
) -> Result<Holds, IndexError> {
    let mut ranges = Ranges::default();
    let mut records = Records::default();
    let mut holds = Holds::default();
    for (at, network) in reader.networks(WithinOptions::default())?.enumerate() {
        if at.is_multiple_of(BREATH) {
            breathe();
        }
        let network = network?;
        let Some(offset) = network.offset() else { continue };
        let offset = u32::try_from(offset).map_err(|_| IndexError::TooLarge)?;
        let Known { position, fields } = records.at(offset, language, &network)?;
        holds.fields |= fields;
        holds.networks += u64::from(!fields.is_empty());
        holds.places += u64::from(fields.meets(Fields::PLACE));
        holds.origins += u64::from(fields.meets(Fields::ORIGIN));
        holds.traits += u64::from(fields.meets(Fields::TRAITS));
        match network.network()? {
            IpNetwork::V4(v4) => ranges.push(u32::from(v4.network()), v4.prefix(), position),
            // A tree without an IPv4 subtree answers IPv4 from an IPv6 record above it: that record is the
            // answer for all of IPv4, and the walk is the same for both families.
            IpNetwork::V6(v6) if v6.contains(std::net::Ipv6Addr::UNSPECIFIED) && v6.prefix() <= 96 => {
                ranges.push(0, 0, position);
            }
            IpNetwork::V6(_) => {}
        }
    }
    ranges.finish();
    let by_offset = records.by_offset();
    let count = u32::try_from(ranges.start.len()).map_err(|_| IndexError::TooLarge)?;
    let (records_len, blob_len) = (by_offset.len() as u64, records.blob.bytes.len() as u64);
    for word in [MAGIC, holds.fields.bits(), count.into(), records_len, blob_len, database_bytes] {
        out.write_all(&word.to_le_bytes())?;
    }
    out.write_all(&language.bytes())?;
    let shared = records.blob.shared.len() as u64;
    for word in [holds.networks, holds.places, holds.origins, holds.traits, shared, 0, 0, 0] {
        out.write_all(&word.to_le_bytes())?;
    }
    write_u32(out, ranges.bucket.iter().copied())?;
    write_u32(out, by_offset.iter().map(|&(offset, _)| offset))?;
    write_u32(out, by_offset.iter().map(|&(_, position)| position.0))?;
    write_u32(out, ranges.word.iter().copied())?;
    let starts: Vec<u8> = ranges.start.iter().flat_map(|s| s.to_le_bytes()).collect();
    out.write_all(&starts)?;
    out.write_all(&records.blob.bytes)?;
    out.write_all(&records.blob.shared)?;
    Ok(holds)
}

fn write_u32(out: &mut impl Write, words: impl Iterator<Item = u32>) -> io::Result<()> {
    let bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
    out.write_all(&bytes)
}

/// IPv4 ranges, pushed in ascending order, as buckets of starts; gaps are filled with "no data".
#[derive(Default)]
struct Ranges {
    bucket: Vec<u32>,
    start: Vec<u16>,
    word: Vec<u32>,
    next: u64,
}

impl Ranges {
    fn push(&mut self, start: u32, prefix: u8, record: Position) {
        if u64::from(start) < self.next {
            return;
        }
        self.cover(u64::from(start), 0);
        let word = if record.0 == 0 { 0 } else { record.0 << 6 | u32::from(prefix) };
        self.cover(u64::from(start) + (1u64 << (32 - u32::from(prefix))), word);
    }

    /// Covers everything from where we are up to `end`, cut at bucket borders.
    fn cover(&mut self, end: u64, word: u32) {
        while self.next < end {
            let (bucket, low) = ((self.next >> 16) as usize, (self.next & 0xffff) as u16);
            while self.bucket.len() <= bucket {
                self.bucket.push(self.start.len() as u32);
            }
            // A file whose records say nothing must not have an index of its size.
            if low == 0 || word != 0 || self.word.last() != Some(&0) {
                self.start.push(low);
                self.word.push(word);
            }
            self.next = end.min((bucket as u64 + 1) << 16);
        }
    }

    fn finish(&mut self) {
        self.cover(1 << 32, 0);
        self.bucket.push(self.start.len() as u32);
        debug_assert_eq!(self.bucket.len(), BUCKETS + 1);
    }
}

/// The distinct records, by their offset in the database's data section.
#[derive(Default)]
struct Records {
    seen: HashMap<u32, Known>,
    blob: Blob,
}

/// A record that was read.
#[derive(Clone, Copy)]
struct Known {
    position: Position,
    fields: Fields,
}

impl Records {
    fn at<S: AsRef<[u8]>>(
        &mut self,
        offset: u32,
        language: &Language,
        network: &maxminddb::LookupResult<'_, S>,
    ) -> Result<Known, IndexError> {
        if let Some(&known) = self.seen.get(&offset) {
            return Ok(known);
        }
        let record = network.decode::<Raw<'_>>()?.map(|raw| raw.read(language)).unwrap_or_default();
        let position = self.blob.push(&record.as_ref()).ok_or(IndexError::TooLarge)?;
        let known = Known { position, fields: record.fields() };
        self.seen.insert(offset, known);
        Ok(known)
    }

    fn by_offset(&mut self) -> Vec<(u32, Position)> {
        let mut all: Vec<_> = self.seen.drain().map(|(offset, known)| (offset, known.position)).collect();
        all.sort_unstable_by_key(|&(offset, _)| offset);
        all
    }
}
