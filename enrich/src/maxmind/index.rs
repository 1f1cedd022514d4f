//! The flat index: what import derives from a database so that a look-up need not walk and decode.
//!
//! A tree walk costs 0.3–0.5 µs on random addresses and decoding a City record 1.5–2 µs more; every backend would
//! pay the decodes again in a cache of its own. The index does both once, at import, into a file that all backends
//! map: IPv4 space as sorted ranges, 65,536 buckets (one a /16) of 16-bit starts, and every distinct record
//! already reduced to the fields we serve. IPv6 still walks the tree and finds its record by data offset.
//!
//! Layout, little-endian, sections in this order:
//!
//! | section | element | count |
//! |---|---|---|
//! | header | 8 × u64: magic, kind, ranges, records, blob bytes, database bytes, 0, 0 | 1 |
//! | buckets | u32: first range of this /16 | 65,537 |
//! | records' data offsets in the database, ascending | u32 | records |
//! | those records' positions in the blob | u32, [`Position`] | records |
//! | ranges' record and prefix length | u32: position << 6 \| prefix; 0: no data | ranges |
//! | ranges' start | u16: low 16 bits | ranges |
//! | blob | records, each at a multiple of 8 bytes | |
//!
//! A look-up on random addresses is a handful of cache misses and little else, so a range carries its record's
//! position itself instead of an ordinal into another table.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::IpAddr;
use std::ops::Range;

use ipnetwork::IpNetwork;
use maxminddb::{Reader, WithinOptions};

use super::edition::Kind;
use super::record::{Origin, Place};

/// The version of the index built here.
pub const VERSION: u32 = 2;
/// Version 2 recognizes placeholders (`-`, `XX`, AS0) and reads ASNs that are texts.
const MAGIC: u64 = u64::from_le_bytes(*b"asn_idx2");
/// The same layout; such an index answers until a new one is built.
const MAGIC_BEFORE: u64 = u64::from_le_bytes(*b"asn_idx1");
/// Networks between two looks at `breathe`.
const BREATH: usize = 4096;
const HEADER: usize = 64;
const BUCKETS: usize = 1 << 16;

/// Why a database cannot be indexed.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The database itself is broken.
    #[error("{0}")]
    Database(#[from] maxminddb::MaxMindDbError),
    /// More than the format holds: 4 GiB of records or 2³² ranges.
    #[error("the database is too large to index")]
    TooLarge,
    /// The index file could not be written.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Builds the index of `reader` into `out`. `kind` says which fields to keep; [`Kind::Other`] has no index. Returns how
/// many records say something. `breathe` is called now and then.
///
/// # Errors
/// [`IndexError`]; nothing of `out` may be used then.
pub fn build<S: AsRef<[u8]>>(
    reader: &Reader<S>,
    kind: Kind,
    database_bytes: u64,
    out: &mut impl Write,
    breathe: &dyn Fn(),
) -> Result<usize, IndexError> {
    let mut ranges = Ranges::default();
    let mut records = Records::default();
    for (at, network) in reader.networks(WithinOptions::default())?.enumerate() {
        if at.is_multiple_of(BREATH) {
            breathe();
        }
        let network = network?;
        let Some(offset) = network.offset() else { continue };
        let offset = u32::try_from(offset).map_err(|_| IndexError::TooLarge)?;
        let record = records.position_of(offset, kind, &network)?;
        match network.network()? {
            IpNetwork::V4(v4) => ranges.push(u32::from(v4.network()), v4.prefix(), record),
            // A tree without an IPv4 subtree answers IPv4 from an IPv6 record above it: that record is the
            // answer for all of IPv4, and the walk is the same for both families.
            IpNetwork::V6(v6) if v6.contains(std::net::Ipv6Addr::UNSPECIFIED) && v6.prefix() <= 96 => {
                ranges.push(0, 0, record);
            }
            IpNetwork::V6(_) => {}
        }
    }
    ranges.finish();
    records.finish();
    let count = u32::try_from(ranges.start.len()).map_err(|_| IndexError::TooLarge)?;
    let kind_code = if kind == Kind::Place { 1u64 } else { 2 };
    let (records_len, blob_len) = (records.by_offset.len() as u64, records.blob.len() as u64);
    for word in [MAGIC, kind_code, count.into(), records_len, blob_len, database_bytes, 0, 0] {
        out.write_all(&word.to_le_bytes())?;
    }
    write_u32(out, ranges.bucket.iter().copied())?;
    write_u32(out, records.by_offset.iter().map(|&(offset, _)| offset))?;
    write_u32(out, records.by_offset.iter().map(|&(_, position)| position.0))?;
    write_u32(out, ranges.word.iter().copied())?;
    let starts: Vec<u8> = ranges.start.iter().flat_map(|s| s.to_le_bytes()).collect();
    out.write_all(&starts)?;
    out.write_all(&records.blob)?;
    Ok(records.by_offset.iter().filter(|(_, position)| position.0 != 0).count())
}

fn write_u32(out: &mut impl Write, words: impl Iterator<Item = u32>) -> io::Result<()> {
    let bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
    out.write_all(&bytes)
}

/// Where a record stands in the blob, in units of `UNIT` bytes, counted from 1; 0 is "says nothing".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position(u32);

const UNIT: usize = 8;
/// The part of a range's word that is left beside six bits of prefix length.
const MAX_POSITION: usize = (1 << 26) - 1;

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
            self.start.push(low);
            self.word.push(word);
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
    seen: HashMap<u32, Position>,
    by_offset: Vec<(u32, Position)>,
    blob: Vec<u8>,
}

impl Records {
    fn position_of<S: AsRef<[u8]>>(
        &mut self,
        offset: u32,
        kind: Kind,
        network: &maxminddb::LookupResult<'_, S>,
    ) -> Result<Position, IndexError> {
        if let Some(&position) = self.seen.get(&offset) {
            return Ok(position);
        }
        let bytes = match kind {
            Kind::Place => network.decode::<PlaceRecord>()?.map(|p| encode_place(&p.0)).unwrap_or_default(),
            _ => network.decode::<OriginRecord>()?.map(|o| encode_origin(&o.0)).unwrap_or_default(),
        };
        let position = if bytes.is_empty() { 0 } else { self.blob.len() / UNIT + 1 };
        if position > MAX_POSITION {
            return Err(IndexError::TooLarge);
        }
        self.blob.extend(bytes);
        self.blob.resize(self.blob.len().next_multiple_of(UNIT), 0);
        let position = Position(position as u32);
        self.seen.insert(offset, position);
        Ok(position)
    }

    fn finish(&mut self) {
        self.by_offset = self.seen.drain().collect();
        self.by_offset.sort_unstable_by_key(|&(offset, _)| offset);
    }
}

struct PlaceRecord(Place);
impl<'de> serde::Deserialize<'de> for PlaceRecord {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Place::decode(d).map(PlaceRecord)
    }
}

struct OriginRecord(Origin);
impl<'de> serde::Deserialize<'de> for OriginRecord {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Origin::decode(d).map(OriginRecord)
    }
}

/// A record of a place is empty (says nothing), or: country (2 bytes, NUL: none), radius (u16, 0xffff: none),
/// latitude, longitude (f64, NaN: none), then region, city and zone, each a length byte and text (0: none).
fn encode_place(place: &Place) -> Vec<u8> {
    if place.is_empty() {
        return Vec::new();
    }
    let mut bytes = Vec::with_capacity(64);
    bytes.extend(place.country_code.unwrap_or_default());
    bytes.extend(place.accuracy_radius_km.unwrap_or(u16::MAX).to_le_bytes());
    bytes.extend(place.latitude.unwrap_or(f64::NAN).to_le_bytes());
    bytes.extend(place.longitude.unwrap_or(f64::NAN).to_le_bytes());
    for text in [&place.region, &place.city, &place.time_zone] {
        push_text(&mut bytes, text.as_deref());
    }
    bytes
}

/// A record of an origin is empty (says nothing), or: ASN (u32, 0: none), then the organization as a length byte and text.
fn encode_origin(origin: &Origin) -> Vec<u8> {
    if origin.is_empty() {
        return Vec::new();
    }
    let mut bytes = Vec::with_capacity(48);
    bytes.extend(origin.asn.unwrap_or(0).to_le_bytes());
    push_text(&mut bytes, origin.org.as_deref());
    bytes
}

fn push_text(bytes: &mut Vec<u8>, text: Option<&str>) {
    let text = text.unwrap_or("");
    debug_assert!(text.len() <= crate::text::MAX_TEXT);
    bytes.push(text.len() as u8);
    bytes.extend(text.as_bytes());
}

/// A place, borrowed from the index. The same fields as [`Place`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PlaceRef<'a> {
    /// ISO 3166-1 alpha-2.
    pub country_code: Option<&'a str>,
    /// First subdivision.
    pub region: Option<&'a str>,
    /// City.
    pub city: Option<&'a str>,
    /// Degrees.
    pub latitude: Option<f64>,
    /// Degrees.
    pub longitude: Option<f64>,
    /// Kilometres.
    pub accuracy_radius_km: Option<u16>,
    /// IANA time zone name.
    pub time_zone: Option<&'a str>,
}

/// An origin, borrowed from the index. The same fields as [`Origin`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OriginRef<'a> {
    /// Autonomous system number.
    pub asn: Option<u32>,
    /// Its organization.
    pub org: Option<&'a str>,
}

impl<'a> PlaceRef<'a> {
    fn decode(record: &'a [u8]) -> Option<PlaceRef<'a>> {
        let (head, mut rest) = record.split_at_checked(20)?;
        let radius = u16::from_le_bytes([head[2], head[3]]);
        let degrees = |at: usize| f64::from_le_bytes(head[at..at + 8].try_into().unwrap_or([0xff; 8]));
        let real = |d: f64| (!d.is_nan()).then_some(d);
        Some(PlaceRef {
            country_code: if head[0] == 0 { None } else { std::str::from_utf8(&head[..2]).ok() },
            accuracy_radius_km: (radius != u16::MAX).then_some(radius),
            latitude: real(degrees(4)),
            longitude: real(degrees(12)),
            region: take_text(&mut rest),
            city: take_text(&mut rest),
            time_zone: take_text(&mut rest),
        })
    }
}

impl<'a> OriginRef<'a> {
    fn decode(record: &'a [u8]) -> Option<OriginRef<'a>> {
        let (head, mut rest) = record.split_at_checked(4)?;
        let asn = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        Some(OriginRef { asn: (asn != 0).then_some(asn), org: take_text(&mut rest) })
    }
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let (&len, tail) = rest.split_first()?;
    let (text, tail) = tail.split_at_checked(len.into())?;
    *rest = tail;
    if text.is_empty() { None } else { std::str::from_utf8(text).ok() }
}

/// Where the sections of an index stand; the bytes stay with their owner (the mapping).
#[derive(Debug)]
pub struct Index {
    buckets: Range<usize>,
    offsets: Range<usize>,
    positions: Range<usize>,
    words: Range<usize>,
    starts: Range<usize>,
    blob: Range<usize>,
    outdated: bool,
}

impl Index {
    /// Reads the header of `bytes` and checks that every section lies inside.
    ///
    /// `None` if this is not an index of that database: of a version that it cannot read, cut short, or of a file of
    /// another size.
    pub fn open(bytes: &[u8], kind: Kind, database_bytes: u64) -> Option<Index> {
        let word =
            |i: usize| -> Option<u64> { Some(u64::from_le_bytes(bytes.get(i * 8..i * 8 + 8)?.try_into().ok()?)) };
        let kind_code = if kind == Kind::Place { 1 } else { 2 };
        let outdated = word(0)? == MAGIC_BEFORE;
        if word(0)? != MAGIC && !outdated || word(1)? != kind_code || word(5)? != database_bytes {
            return None;
        }
        let (ranges, records, blob) = (word(2)? as usize, word(3)? as usize, word(4)? as usize);
        let mut at = HEADER;
        let mut section = |len: Option<usize>| -> Option<Range<usize>> {
            let start = at;
            at = start.checked_add(len?)?;
            (at <= bytes.len()).then_some(start..at)
        };
        Some(Index {
            buckets: section(Some((BUCKETS + 1) * 4))?,
            offsets: section(records.checked_mul(4))?,
            positions: section(records.checked_mul(4))?,
            words: section(ranges.checked_mul(4))?,
            starts: section(ranges.checked_mul(2))?,
            blob: section(Some(blob))?,
            outdated,
        })
    }

    /// Whether it was built by an earlier version, which read some fields otherwise.
    pub fn is_outdated(&self) -> bool {
        self.outdated
    }

    /// The record of an IPv4 address and the prefix length of the network it stands in.
    #[inline]
    pub fn find_v4(&self, bytes: &[u8], ip: u32) -> Option<(Position, u8)> {
        let buckets = bytes.get(self.buckets.clone())?;
        let bucket = (ip >> 16) as usize;
        let (from, to) = (u32_at(buckets, bucket)? as usize, u32_at(buckets, bucket + 1)? as usize);
        let starts = bytes.get(self.starts.clone())?.get(from * 2..to * 2)?;
        let low = (ip & 0xffff) as u16;
        // The last range that starts at or below the address; a bucket's first always starts at 0. Halving
        // without branches: the direction of each step on random addresses is a coin toss to the predictor.
        let mut base = 0usize;
        let mut size = starts.len() / 2;
        while size > 1 {
            let half = size / 2;
            let middle = u16::from_le_bytes([starts[(base + half) * 2], starts[(base + half) * 2 + 1]]);
            base = if middle <= low { base + half } else { base };
            size -= half;
        }
        let word = u32_at(bytes.get(self.words.clone())?, from + base)?;
        (word != 0).then_some((Position(word >> 6), (word & 63) as u8))
    }

    /// The record that stands at `offset` of the database's data section: how IPv6 gets from a walk to a record.
    pub fn find_offset(&self, bytes: &[u8], offset: u32) -> Option<Position> {
        let offsets = bytes.get(self.offsets.clone())?;
        let (mut low, mut high) = (0, offsets.len() / 4);
        while low < high {
            let middle = (low + high) / 2;
            match u32_at(offsets, middle)?.cmp(&offset) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return u32_at(bytes.get(self.positions.clone())?, middle).map(Position),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    #[inline]
    fn record<'a>(&self, bytes: &'a [u8], position: Position) -> Option<&'a [u8]> {
        let blob = bytes.get(self.blob.clone())?;
        blob.get((position.0 as usize).checked_sub(1)? * UNIT..)
    }

    /// The place of a record; `None` where the record says nothing.
    #[inline]
    pub fn place<'a>(&self, bytes: &'a [u8], position: Position) -> Option<PlaceRef<'a>> {
        PlaceRef::decode(self.record(bytes, position)?)
    }

    /// The origin of a record; `None` where the record says nothing.
    #[inline]
    pub fn origin<'a>(&self, bytes: &'a [u8], position: Position) -> Option<OriginRef<'a>> {
        OriginRef::decode(self.record(bytes, position)?)
    }
}

#[inline]
fn u32_at(words: &[u8], at: usize) -> Option<u32> {
    let bytes = words.get(at * 4..at * 4 + 4)?;
    Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// The network of `prefix` bits around an address.
pub(super) fn network_of(ip: IpAddr, prefix: u8) -> Option<IpNetwork> {
    let network = IpNetwork::new(ip, prefix).ok()?;
    IpNetwork::new(network.network(), prefix).ok()
}
