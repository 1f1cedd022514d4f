//! The numbers of the format, and how a record stands in the blob.

use std::collections::HashMap;

use crate::maxmind::record::{Flags, Record};
use crate::maxmind::role::Fields;

/// The version of the index built here.
pub const VERSION: u32 = 6;
/// Version 6 holds places, origins and traits of one file together, by the layouts of all vendors, in one language.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"asn_idx6");
/// Either a place or an origin; version 2 recognizes placeholders, version 1 does not. Such an index answers until a new
/// one is built. (Versions 3 to 5 were never released.)
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
/// What [`PARTS`] says: the record has a place; and a latitude, a longitude, which then follow the head; its region and time
/// zone stand among the shared texts, and behind the degrees follows where.
const HAS_PLACE: u8 = 1;
const HAS_LATITUDE: u8 = 2;
const HAS_LONGITUDE: u8 = 4;
const SHARES_REGION: u8 = 8;
const SHARES_ZONE: u8 = 16;
/// Bytes of such a place: that of a length and a text among the shared ones.
const SHARED: usize = 3;
/// Of so many texts of 256 bytes each place fits into [`SHARED`] bytes.
const MAX_SHARED: usize = 1 << 16;
const NO_RADIUS: u16 = u16::MAX;

/// A record of this version as it stands in the blob.
#[derive(Clone, Copy)]
pub(in crate::maxmind) struct Bytes<'a> {
    shared: &'a [u8],
    head: &'a [u8; HEAD],
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    /// The record at a position of a blob; `None` where it says nothing, or the blob is cut short.
    #[inline]
    pub fn at(blob: &'a [u8], shared: &'a [u8], position: Position) -> Option<Bytes<'a>> {
        let start = (position.0 as usize).checked_sub(1)? * UNIT;
        let (head, rest) = blob.get(start..)?.split_first_chunk::<HEAD>()?;
        Some(Bytes { shared, head, rest })
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

    fn has(self, part: u8) -> usize {
        usize::from(self.head[PARTS] & part != 0)
    }

    /// Where the positions of shared texts stand, and where the texts of its own.
    #[inline]
    fn behind(self) -> (usize, usize) {
        let shared = 8 * (self.has(HAS_LATITUDE) + self.has(HAS_LONGITUDE));
        (shared, shared + SHARED * (self.has(SHARES_REGION) + self.has(SHARES_ZONE)))
    }

    /// The five texts, without those that are shared.
    #[inline]
    fn texts(self) -> Texts<'a> {
        let lengths = [0, 1, 2, 3, 4].map(|which| usize::from(self.head[LENGTHS + which]));
        let (_, start) = self.behind();
        let all = self.rest.get(start..start + lengths.iter().sum::<usize>());
        Texts { all: all.and_then(|all| std::str::from_utf8(all).ok()).unwrap_or_default(), lengths }
    }

    /// A text that other records have as well. `part` says that there is one.
    #[inline]
    fn shared(self, part: u8) -> Option<&'a str> {
        if self.has(part) == 0 {
            return None;
        }
        let at = self.behind().0 + SHARED * if part == SHARES_ZONE { self.has(SHARES_REGION) } else { 0 };
        let place = self.rest.get(at..at + SHARED)?;
        let start = u32::from_le_bytes([place[0], place[1], place[2], 0]) as usize;
        let (&len, text) = self.shared.get(start..)?.split_first()?;
        std::str::from_utf8(text.get(..len.into())?).ok().filter(|text| !text.is_empty())
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
            region: self.shared(SHARES_REGION).or_else(|| texts.get(1)),
            city: texts.get(2),
            latitude: if north { self.degrees(0) } else { None },
            longitude: if east { self.degrees(8 * usize::from(north)) } else { None },
            accuracy_radius_km: (radius != NO_RADIUS).then_some(radius),
            time_zone: self.shared(SHARES_ZONE).or_else(|| texts.get(3)),
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

/// A blob under construction.
#[derive(Default)]
pub(super) struct Blob {
    /// Records.
    pub bytes: Vec<u8>,
    /// Texts that many of them have, apart, so that they are at hand: each behind its length.
    pub shared: Vec<u8>,
    places: HashMap<Box<str>, [u8; SHARED]>,
}

impl Blob {
    /// Adds a record, and says where; at 0 where it says nothing. `None`: the blob is full.
    pub fn push(&mut self, record: &RecordRef<'_>) -> Option<Position> {
        let RecordRef { place, origin, traits } = *record;
        if place.is_none() && origin.is_none() && traits.is_none() {
            return Some(Position(0));
        }
        let has_place = place.is_some();
        let (place, origin, traits) =
            (place.unwrap_or_default(), origin.unwrap_or_default(), traits.unwrap_or_default());
        let region = place.region.and_then(|region| self.share(region));
        let zone = place.time_zone.and_then(|zone| self.share(zone));
        let position = self.bytes.len() / UNIT + 1;
        if position > MAX_POSITION {
            return None;
        }
        let code =
            |code: Option<&str>| -> [u8; 2] { code.and_then(|code| code.as_bytes().try_into().ok()).unwrap_or([0; 2]) };
        let texts = [
            own(origin.org, false),
            own(place.region, region.is_some()),
            own(place.city, false),
            own(place.time_zone, zone.is_some()),
            own(traits.connection_type, false),
        ];
        let parts = [
            (HAS_PLACE, has_place),
            (HAS_LATITUDE, place.latitude.is_some()),
            (HAS_LONGITUDE, place.longitude.is_some()),
            (SHARES_REGION, region.is_some()),
            (SHARES_ZONE, zone.is_some()),
        ];
        let blob = &mut self.bytes;
        blob.extend(origin.asn.unwrap_or(0).to_le_bytes());
        blob.extend(code(place.country_code));
        blob.extend(code(place.registered_country_code));
        blob.extend(traits.flags.bits().to_le_bytes());
        blob.extend(place.accuracy_radius_km.unwrap_or(NO_RADIUS).to_le_bytes());
        blob.extend(texts.map(|text| u8::try_from(text.len()).unwrap_or(0)));
        blob.push(parts.into_iter().map(|(part, there)| part * u8::from(there)).sum());
        blob.extend(place.latitude.into_iter().chain(place.longitude).flat_map(f64::to_le_bytes));
        blob.extend(region.into_iter().chain(zone).flatten());
        for text in texts.into_iter().filter(|text| u8::try_from(text.len()).is_ok()) {
            blob.extend(text.as_bytes());
        }
        blob.resize(blob.len().next_multiple_of(UNIT), 0);
        Some(Position(position as u32))
    }

    /// Where a text stands that other records may have as well; `None`: it is to stand in its record.
    fn share(&mut self, text: &str) -> Option<[u8; SHARED]> {
        if let Some(known) = self.places.get(text) {
            return Some(*known);
        }
        let len = u8::try_from(text.len()).ok().filter(|_| text.len() > SHARED && self.places.len() < MAX_SHARED)?;
        let [a, b, c, 0] = u32::try_from(self.shared.len()).ok()?.to_le_bytes() else { return None };
        self.shared.push(len);
        self.shared.extend(text.as_bytes());
        self.places.insert(text.into(), [a, b, c]);
        Some([a, b, c])
    }
}

/// What stands in the record itself of a text.
fn own(text: Option<&str>, is_shared: bool) -> &str {
    if is_shared { "" } else { text.unwrap_or_default() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_share_regions_and_zones_and_are_read_as_they_were_written() {
        let place = |city: &'static str, region: &'static str, zone: &'static str| PlaceRef {
            country_code: Some("GB"),
            region: Some(region),
            city: Some(city),
            latitude: Some(51.5),
            time_zone: Some(zone),
            ..PlaceRef::default()
        };
        let long = "x".repeat(255);
        let origin = OriginRef { asn: Some(64_500), org: Some("Zo\u{eb} Net") };
        let records = [
            RecordRef { place: Some(place("London", "England", "Europe/London")), ..RecordRef::default() },
            RecordRef { place: Some(place("Leeds", "England", "Europe/London")), origin: Some(origin), traits: None },
            // Too short to be shared, and as long as a text may be.
            RecordRef { place: Some(place("Paris", "IdF", "UTC")), ..RecordRef::default() },
            RecordRef {
                place: Some(PlaceRef { region: Some(&long), time_zone: Some(&long), ..PlaceRef::default() }),
                ..RecordRef::default()
            },
        ];
        let mut blob = Blob::default();
        let positions = records.each_ref().map(|record| blob.push(record).expect("room"));
        for (record, position) in records.iter().zip(positions) {
            let read = Bytes::at(&blob.bytes, &blob.shared, position).expect("a record").record();
            assert_eq!(read, *record);
        }
        assert_eq!(blob.shared.len(), 1 + 7 + 1 + 13 + 1 + 255, "each once");
        for cut in 0..blob.shared.len() {
            let read = Bytes::at(&blob.bytes, &blob.shared[..cut], positions[1]).expect("a record").record();
            assert_eq!(read.origin, Some(origin), "{cut}");
        }
    }
}
