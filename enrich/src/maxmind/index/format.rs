//! The numbers of the format, and how a record stands in the blob.

use crate::maxmind::record::{Origin, Place, Record};
use crate::maxmind::role::Fields;

/// The version of the index built here.
pub const VERSION: u32 = 3;
/// Version 3 holds places and origins of one file together, by the layouts of all vendors, in one language.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"asn_idx3");
/// Either a place or an origin; version 2 recognizes placeholders, version 1 does not. Such an index answers until a new
/// one is built.
pub(super) const MAGICS_BEFORE: [u64; 2] = [u64::from_le_bytes(*b"asn_idx2"), u64::from_le_bytes(*b"asn_idx1")];
/// Bytes before the buckets.
pub(super) const HEADER: usize = 128;
pub(super) const HEADER_BEFORE: usize = 64;
pub(super) const BUCKETS: usize = 1 << 16;
pub(super) const UNIT: usize = 8;
/// The part of a range's word that is left beside six bits of prefix length.
pub(super) const MAX_POSITION: usize = (1 << 26) - 1;

/// Where a record stands in the blob, in units of `UNIT` bytes, counted from 1; 0 is "says nothing".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position(pub(super) u32);

/// A place inside a mapped index.
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

/// An origin inside a mapped index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OriginRef<'a> {
    /// Autonomous system number.
    pub asn: Option<u32>,
    /// Its organization.
    pub org: Option<&'a str>,
}

/// What the records of an index consist of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entries {
    /// An origin, a byte that says whether a place follows, and the place. The origin comes first, as if it were alone.
    Both,
    /// Versions 1 and 2: one place.
    Place,
    /// Versions 1 and 2: one origin.
    Origin,
}

impl Entries {
    /// The place of a record; `None`: it has none.
    #[inline]
    pub fn place<'a>(self, record: &'a [u8]) -> Option<PlaceRef<'a>> {
        match self {
            Entries::Both => {
                let place = ORG + usize::from(*record.get(ORG - 1)?);
                let (&is_there, place) = record.get(place..)?.split_first()?;
                if is_there == 0 { None } else { PlaceRef::decode(place) }
            }
            Entries::Place => PlaceRef::decode(record),
            Entries::Origin => None,
        }
    }

    /// The origin of a record; `None`: it has none.
    #[inline]
    pub fn origin<'a>(self, record: &'a [u8]) -> Option<OriginRef<'a>> {
        match self {
            Entries::Both | Entries::Origin => {
                OriginRef::decode(record).filter(|origin| origin.asn.is_some() || origin.org.is_some())
            }
            Entries::Place => None,
        }
    }

    /// What versions 1 and 2 hold, where nothing was counted.
    pub fn fields(self) -> Fields {
        match self {
            Entries::Both => Fields::ALL,
            Entries::Place => Fields::PLACE,
            Entries::Origin => Fields::ORIGIN,
        }
    }
}

/// Where the organization's name begins, after the ASN and the length of the name.
const ORG: usize = 5;

impl<'a> PlaceRef<'a> {
    #[inline]
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
    #[inline]
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

/// A record as it stands in the blob; empty: it says nothing.
pub(super) fn encode(Record { place, origin }: &Record) -> Vec<u8> {
    if place.is_empty() && origin.is_empty() {
        return Vec::new();
    }
    let mut bytes = Vec::with_capacity(96);
    encode_origin(origin, &mut bytes);
    bytes.push(u8::from(!place.is_empty()));
    if !place.is_empty() {
        encode_place(place, &mut bytes);
    }
    bytes
}

/// A place: country (2 bytes, NUL: none), radius (u16, 0xffff: none), latitude, longitude (f64, NaN: none), then region,
/// city and zone, each a length byte and text (0: none).
fn encode_place(place: &Place, bytes: &mut Vec<u8>) {
    bytes.extend(place.country_code.unwrap_or_default());
    bytes.extend(place.accuracy_radius_km.unwrap_or(u16::MAX).to_le_bytes());
    bytes.extend(place.latitude.unwrap_or(f64::NAN).to_le_bytes());
    bytes.extend(place.longitude.unwrap_or(f64::NAN).to_le_bytes());
    for text in [&place.region, &place.city, &place.time_zone] {
        push_text(bytes, text.as_deref());
    }
}

/// An origin: ASN (u32, 0: none), then the organization as a length byte and text (0: none).
fn encode_origin(origin: &Origin, bytes: &mut Vec<u8>) {
    bytes.extend(origin.asn.unwrap_or(0).to_le_bytes());
    push_text(bytes, origin.org.as_deref());
}

fn push_text(bytes: &mut Vec<u8>, text: Option<&str>) {
    let text = text.unwrap_or("");
    debug_assert!(text.len() <= crate::text::MAX_TEXT);
    bytes.push(text.len() as u8);
    bytes.extend(text.as_bytes());
}
