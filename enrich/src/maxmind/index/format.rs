//! The numbers of the format, and how a record stands in the blob.

use crate::maxmind::record::{Flags, Record};
use crate::maxmind::role::Fields;

/// The version of the index built here.
pub const VERSION: u32 = 4;
/// Version 4 holds places, origins and traits of one file together, by the layouts of all vendors, in one language.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"asn_idx4");
/// Either a place or an origin; version 2 recognizes placeholders, version 1 does not. Such an index answers until a new
/// one is built. (Version 3 was never released.)
pub(super) const MAGICS_BEFORE: [u64; 2] = [u64::from_le_bytes(*b"asn_idx2"), u64::from_le_bytes(*b"asn_idx1")];
/// Bytes before the buckets.
pub(super) const HEADER: usize = 128;
pub(super) const HEADER_BEFORE: usize = 64;
pub(in crate::maxmind) const BUCKETS: usize = 1 << 16;
pub(in crate::maxmind) const UNIT: usize = 8;
/// The part of a range's word that is left beside six bits of prefix length.
pub(in crate::maxmind) const MAX_POSITION: usize = (1 << 26) - 1;

/// Where a record stands in the blob, in units of `UNIT` bytes, counted from 1; 0 is "says nothing".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position(pub(in crate::maxmind) u32);

/// A place inside a mapped index.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PlaceRef<'a> {
    /// ISO 3166-1 alpha-2.
    pub country_code: Option<&'a str>,
    /// ISO 3166-1 alpha-2.
    pub registered_country_code: Option<&'a str>,
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

/// Traits inside a mapped index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraitsRef<'a> {
    /// The flags that are true.
    pub flags: Flags,
    /// In the vendor's words.
    pub connection_type: Option<&'a str>,
}

/// A record inside a mapped index: each part where it has one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RecordRef<'a> {
    /// Where.
    pub place: Option<PlaceRef<'a>>,
    /// Whose.
    pub origin: Option<OriginRef<'a>>,
    /// Of what kind.
    pub traits: Option<TraitsRef<'a>>,
}

impl RecordRef<'_> {
    /// The parts of it that these fields speak of.
    pub fn only(self, fields: Fields) -> Self {
        RecordRef {
            place: self.place.filter(|_| fields.meets(Fields::PLACE)),
            origin: self.origin.filter(|_| fields.meets(Fields::ORIGIN)),
            traits: self.traits.filter(|_| fields.meets(Fields::TRAITS)),
        }
    }
}

// The head of a record: what most questions ask for stands in its first bytes, so that one line of the cache answers.
const ASN: usize = 0;
const COUNTRY: usize = 4;
const REGISTERED: usize = 6;
const FLAGS: usize = 8;
const RADIUS: usize = 10;
/// The lengths of five texts: organization, region, city, time zone, kind of connection.
const LENGTHS: usize = 12;
const PARTS: usize = 17;
const HEAD: usize = 18;
/// What [`PARTS`] says: the record has a place; and a latitude, a longitude, which then follow the head.
const HAS_PLACE: u8 = 1;
const HAS_LATITUDE: u8 = 2;
const HAS_LONGITUDE: u8 = 4;
const NO_RADIUS: u16 = u16::MAX;

/// A record of this version as it stands in the blob.
#[derive(Clone, Copy)]
pub(in crate::maxmind) struct Bytes<'a> {
    head: &'a [u8; HEAD],
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    /// The record at a position of a blob; `None` where it says nothing, or the blob is cut short.
    #[inline]
    pub fn at(blob: &'a [u8], position: Position) -> Option<Bytes<'a>> {
        let start = (position.0 as usize).checked_sub(1)? * UNIT;
        let (head, rest) = blob.get(start..)?.split_first_chunk::<HEAD>()?;
        Some(Bytes { head, rest })
    }

    #[inline]
    fn u16_at(self, at: usize) -> u16 {
        u16::from_le_bytes([self.head[at], self.head[at + 1]])
    }

    #[inline]
    fn code(self, at: usize) -> Option<&'a str> {
        let code = self.head.get(at..at + 2)?;
        if code[0] == 0 { None } else { std::str::from_utf8(code).ok() }
    }

    /// The five texts.
    #[inline]
    fn texts(self) -> Texts<'a> {
        let lengths = [0, 1, 2, 3, 4].map(|which| usize::from(self.head[LENGTHS + which]));
        let numbers =
            usize::from(self.head[PARTS] & HAS_LATITUDE != 0) + usize::from(self.head[PARTS] & HAS_LONGITUDE != 0);
        let all = self.rest.get(8 * numbers..8 * numbers + lengths.iter().sum::<usize>());
        Texts { all: all.and_then(|all| std::str::from_utf8(all).ok()).unwrap_or_default(), lengths }
    }

    #[inline]
    fn degrees(self, at: usize) -> Option<f64> {
        self.rest.get(at..at + 8).and_then(|bytes| Some(f64::from_le_bytes(bytes.try_into().ok()?)))
    }

    /// Only the number of the AS.
    #[inline]
    pub fn asn(self) -> Option<u32> {
        let asn = u32::from_le_bytes([self.head[ASN], self.head[ASN + 1], self.head[ASN + 2], self.head[ASN + 3]]);
        (asn != 0).then_some(asn)
    }

    /// Only the country.
    #[inline]
    pub fn country_code(self) -> Option<&'a str> {
        self.code(COUNTRY)
    }

    /// Whose; `None`: it has no origin.
    #[inline]
    fn origin(self, texts: &Texts<'a>) -> Option<OriginRef<'a>> {
        let origin = OriginRef { asn: self.asn(), org: texts.get(0) };
        (origin.asn.is_some() || origin.org.is_some()).then_some(origin)
    }

    /// Where; `None`: it has no place.
    #[inline]
    fn place(self, texts: &Texts<'a>) -> Option<PlaceRef<'a>> {
        let parts = self.head[PARTS];
        if parts & HAS_PLACE == 0 {
            return None;
        }
        let (north, east) = (parts & HAS_LATITUDE != 0, parts & HAS_LONGITUDE != 0);
        let radius = self.u16_at(RADIUS);
        Some(PlaceRef {
            country_code: self.code(COUNTRY),
            registered_country_code: self.code(REGISTERED),
            region: texts.get(1),
            city: texts.get(2),
            latitude: if north { self.degrees(0) } else { None },
            longitude: if east { self.degrees(8 * usize::from(north)) } else { None },
            accuracy_radius_km: (radius != NO_RADIUS).then_some(radius),
            time_zone: texts.get(3),
        })
    }

    /// Of what kind; `None`: it has no traits.
    #[inline]
    fn traits(self, texts: &Texts<'a>) -> Option<TraitsRef<'a>> {
        let traits = TraitsRef { flags: Flags::of_bits(self.u16_at(FLAGS)), connection_type: texts.get(4) };
        (!traits.flags.is_empty() || traits.connection_type.is_some()).then_some(traits)
    }

    /// All of it.
    #[inline]
    pub fn record(self) -> RecordRef<'a> {
        let texts = self.texts();
        RecordRef { place: self.place(&texts), origin: self.origin(&texts), traits: self.traits(&texts) }
    }
}

/// The texts of a record, one behind the other: looked at once, since a file on a broken disk may hold anything.
struct Texts<'a> {
    all: &'a str,
    lengths: [usize; 5],
}

impl<'a> Texts<'a> {
    /// One of the five.
    #[inline]
    fn get(&self, which: usize) -> Option<&'a str> {
        let start: usize = self.lengths[..which].iter().sum();
        let text = self.all.get(start..start + self.lengths[which])?;
        if text.is_empty() { None } else { Some(text) }
    }
}

/// Adds a record to a blob, and says where; at 0 where it says nothing. `None`: the blob is full.
pub(in crate::maxmind) fn push(blob: &mut Vec<u8>, record: &RecordRef<'_>) -> Option<Position> {
    let RecordRef { place, origin, traits } = *record;
    if place.is_none() && origin.is_none() && traits.is_none() {
        return Some(Position(0));
    }
    let position = blob.len() / UNIT + 1;
    if position > MAX_POSITION {
        return None;
    }
    let parts = HAS_PLACE * u8::from(place.is_some());
    let (place, origin, traits) = (place.unwrap_or_default(), origin.unwrap_or_default(), traits.unwrap_or_default());
    let code =
        |code: Option<&str>| -> [u8; 2] { code.and_then(|code| code.as_bytes().try_into().ok()).unwrap_or([0; 2]) };
    let texts = [origin.org, place.region, place.city, place.time_zone, traits.connection_type];
    blob.extend(origin.asn.unwrap_or(0).to_le_bytes());
    blob.extend(code(place.country_code));
    blob.extend(code(place.registered_country_code));
    blob.extend(traits.flags.bits().to_le_bytes());
    blob.extend(place.accuracy_radius_km.unwrap_or(NO_RADIUS).to_le_bytes());
    blob.extend(texts.map(|text| u8::try_from(text.unwrap_or_default().len()).unwrap_or(0)));
    blob.push(
        parts
            | (HAS_LATITUDE * u8::from(place.latitude.is_some()))
            | (HAS_LONGITUDE * u8::from(place.longitude.is_some())),
    );
    blob.extend(place.latitude.into_iter().chain(place.longitude).flat_map(f64::to_le_bytes));
    for text in texts.into_iter().flatten().filter(|text| u8::try_from(text.len()).is_ok()) {
        blob.extend(text.as_bytes());
    }
    blob.resize(blob.len().next_multiple_of(UNIT), 0);
    Some(Position(position as u32))
}

impl Record {
    /// It as an index would give it.
    pub(in crate::maxmind) fn as_ref<'a>(&'a self) -> RecordRef<'a> {
        let Record { place, origin, traits } = self;
        let code = |code: &'a Option<[u8; 2]>| code.as_ref().and_then(|code| std::str::from_utf8(code).ok());
        let at = PlaceRef {
            country_code: code(&place.country_code),
            registered_country_code: code(&place.registered_country_code),
            region: place.region.as_deref(),
            city: place.city.as_deref(),
            latitude: place.latitude,
            longitude: place.longitude,
            accuracy_radius_km: place.accuracy_radius_km,
            time_zone: place.time_zone.as_deref(),
        };
        RecordRef {
            place: (!place.is_empty()).then_some(at),
            origin: (!origin.is_empty()).then_some(OriginRef { asn: origin.asn, org: origin.org.as_deref() }),
            traits: (!traits.is_empty())
                .then_some(TraitsRef { flags: traits.flags, connection_type: traits.connection_type.as_deref() }),
        }
    }
}
