//! The fields that we read of a record; others are ignored.
//!
//! Files come from several vendors and are hostile until proven otherwise: a field may be absent or of an unexpected
//! type. Then that field is null and the rest of the record is kept, so every level here accepts any value and keeps
//! the ones that fit.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::text::{MAX_TEXT, clean};

/// Where an address is, as a City-like edition says it. Text is cleaned and at most [`MAX_TEXT`] bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    /// ISO 3166-1 alpha-2 in capitals; `EU` and the like where only the continent is known (see [`Place::decode`]).
    pub country_code: Option<[u8; 2]>,
    /// First subdivision, English name.
    pub region: Option<String>,
    /// English name.
    pub city: Option<String>,
    /// Degrees, −90 to 90.
    pub latitude: Option<f64>,
    /// Degrees, −180 to 180.
    pub longitude: Option<f64>,
    /// Kilometres.
    pub accuracy_radius_km: Option<u16>,
    /// IANA time zone name.
    pub time_zone: Option<String>,
}

/// The origin of an address, from an ASN-like edition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Autonomous system number; 0 is not an AS (RFC 7607): then the organization is absent, too.
    pub asn: Option<u32>,
    /// Its organization, cleaned, at most [`MAX_TEXT`] bytes.
    pub org: Option<String>,
}

impl Place {
    /// Reads a place out of any record.
    ///
    /// The country is `country.iso_code`, else `registered_country.iso_code`, else the continent's code, but the
    /// last only where it cannot be mistaken for a country's: `EU`, `OC` and `AN` stand for no country of today,
    /// while `AS`, `NA`, `SA` and `AF` would silently read American Samoa, Namibia, Saudi Arabia and Afghanistan.
    pub fn decode<'de, D: Deserializer<'de>>(record: D) -> Result<Place, D::Error> {
        let Any(raw) = Any::<RawPlace>::deserialize(record)?;
        let raw = raw.unwrap_or_default();
        let code = |c: Option<RawCountry>| c.and_then(|c| c.iso_code.0).and_then(|code| country_code(&code));
        let continent = raw.continent.0.and_then(|c| c.code.0).and_then(|code| country_code(&code));
        let mut location = raw.location.0.unwrap_or_default();
        let region = raw.subdivisions.0.and_then(|First(first)| first.0).and_then(|s| name(s.names));
        let city = raw.city.0.and_then(|c| name(c.names));
        // The point at 0° N 0° E is in the sea: files without a place say 0 and 0.
        let nowhere = location.latitude.0 == Some(0.0) && location.longitude.0 == Some(0.0);
        if nowhere && region.is_none() && city.is_none() {
            (location.latitude, location.longitude, location.accuracy_radius) = Default::default();
        }
        Ok(Place {
            country_code: code(raw.country.0)
                .or(code(raw.registered_country.0))
                .or(continent.filter(|code| [*b"EU", *b"OC", *b"AN"].contains(code))),
            region,
            city,
            latitude: location.latitude.0.filter(|d| d.abs() <= 90.0),
            longitude: location.longitude.0.filter(|d| d.abs() <= 180.0),
            accuracy_radius_km: location.accuracy_radius.0.filter(|r| (0.0..=65_535.0).contains(r)).map(|r| r as u16),
            time_zone: location.time_zone.0.and_then(|zone| tidy(&zone)),
        })
    }

    /// Nothing that anyone could use.
    pub fn is_empty(&self) -> bool {
        *self == Place::default()
    }
}

impl Origin {
    /// Reads an origin out of any record.
    pub fn decode<'de, D: Deserializer<'de>>(record: D) -> Result<Origin, D::Error> {
        let Any(raw) = Any::<RawOrigin>::deserialize(record)?;
        let raw = raw.unwrap_or_default();
        let asn = raw.autonomous_system_number.0.and_then(|Number(asn)| asn);
        // With AS0 the name does not count ("Not routed"): the address is not announced.
        if asn == Some(0) {
            return Ok(Origin::default());
        }
        Ok(Origin { asn, org: raw.autonomous_system_organization.0.and_then(|org| tidy(&org)) })
    }

    /// Nothing that anyone could use.
    pub fn is_empty(&self) -> bool {
        *self == Origin::default()
    }
}

/// Two letters in capitals. Codes that ISO 3166 leaves to its users are not countries (`XX`, `ZZ`), except `XK`, the
/// common code of Kosovo. `EU` and `AP` stay: they are all that is known.
fn country_code(text: &str) -> Option<[u8; 2]> {
    let code = match text.trim().as_bytes() {
        [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
            [a.to_ascii_uppercase(), b.to_ascii_uppercase()]
        }
        _ => return None,
    };
    match code {
        [b'X', b'K'] => Some(code),
        [b'A', b'A'] | [b'Q', b'M'..=b'Z'] | [b'X', _] | [b'Z', b'Z'] => None,
        _ => Some(code),
    }
}

fn name(names: Any<RawNames>) -> Option<String> {
    names.0.and_then(|names| names.en.0).and_then(|name| tidy(&name))
}

fn tidy(text: &str) -> Option<String> {
    let text = clean(text, MAX_TEXT);
    if is_placeholder(&text) { None } else { Some(text.into_owned()) }
}

/// The placeholders of files for an unknown name: without letters and digits (`-`, `?`), or a word for unknown, with or
/// without brackets.
fn is_placeholder(text: &str) -> bool {
    const WORDS: [&str; 12] = [
        "n/a",
        "n.a.",
        "n.a",
        "#n/a",
        "not available",
        "not applicable",
        "not set",
        "unknown",
        "unassigned",
        "undefined",
        "unspecified",
        "null",
    ];
    if !text.chars().any(char::is_alphanumeric) {
        return true;
    }
    let bare = text.trim_matches(|c: char| c.is_whitespace() || "<>()[]{}\"'*_-".contains(c));
    WORDS.iter().any(|word| bare.eq_ignore_ascii_case(word))
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawPlace {
    city: Any<RawNamed>,
    continent: Any<RawContinent>,
    country: Any<RawCountry>,
    location: Any<RawLocation>,
    registered_country: Any<RawCountry>,
    subdivisions: Any<First<Any<RawNamed>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawNamed {
    names: Any<RawNames>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawNames {
    en: Any<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawCountry {
    iso_code: Any<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawContinent {
    code: Any<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawLocation {
    accuracy_radius: Any<f64>,
    latitude: Any<f64>,
    longitude: Any<f64>,
    time_zone: Any<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawOrigin {
    autonomous_system_number: Any<Number>,
    autonomous_system_organization: Any<String>,
}

/// A value of the wanted shape, or nothing: never an error for a wrong type.
#[derive(Default)]
struct Any<T>(Option<T>);

/// The first element of an array.
#[derive(Default)]
struct First<T>(T);

impl<'de, T: Shape<'de>> Deserialize<'de> for Any<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(AnyVisitor(PhantomData)).map(Any)
    }
}

/// How a shape converts each kind of value; kinds that it does not mention do not fit.
trait Shape<'de>: Sized {
    fn text(_: &str) -> Option<Self> {
        None
    }
    fn number(_: f64) -> Option<Self> {
        None
    }
    fn map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
    fn seq<A: SeqAccess<'de>>(seq: A) -> Result<Option<Self>, A::Error> {
        IgnoredAny::deserialize(SeqAccessDeserializer::new(seq)).map(|_| None)
    }
}

impl<'de> Shape<'de> for String {
    fn text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl<'de> Shape<'de> for f64 {
    fn number(number: f64) -> Option<Self> {
        number.is_finite().then_some(number)
    }
}

/// An AS number, as a number or as text (`AS15169`, `15169`); `None` where it is none.
#[derive(Default)]
struct Number(Option<u32>);

impl<'de> Shape<'de> for Number {
    fn text(text: &str) -> Option<Self> {
        let text = text.trim();
        let prefixes = ["ASN", "AS"].into_iter();
        let named = prefixes.filter_map(|prefix| {
            text.split_at_checked(prefix.len()).filter(|(head, _)| head.eq_ignore_ascii_case(prefix))
        });
        let digits = named.map(|(_, rest)| rest.trim_start()).next().unwrap_or(text);
        // No sign: `parse` would take one.
        let digits = digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)?;
        digits.parse().ok().map(|asn| Number(Some(asn)))
    }
    fn number(number: f64) -> Option<Self> {
        let fits = number.fract() == 0.0 && (0.0..=4_294_967_295.0).contains(&number);
        fits.then_some(Number(Some(number as u32)))
    }
}

impl<'de, T: Deserialize<'de> + Default> Shape<'de> for First<T> {
    fn seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let first = seq.next_element::<T>()?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first.map(First))
    }
}

macro_rules! shape_of_map {
    ($($t:ident),*) => {$(
        impl<'de> Shape<'de> for $t {
            fn map<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
                $t::deserialize(MapAccessDeserializer::new(map)).map(Some)
            }
        }
    )*};
}
shape_of_map!(RawPlace, RawNamed, RawNames, RawCountry, RawContinent, RawLocation, RawOrigin);

struct AnyVisitor<T>(PhantomData<T>);

impl<'de, T: Shape<'de>> Visitor<'de> for AnyVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
        Ok(T::text(v))
    }
    fn visit_bytes<E>(self, _: &[u8]) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_f32<E>(self, v: f32) -> Result<Self::Value, E> {
        Ok(T::number(v.into()))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Self::Value, E> {
        Ok(T::number(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Self::Value, E> {
        Ok(T::number(v as f64))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Self::Value, E> {
        Ok(T::number(v as f64))
    }
    fn visit_u128<E>(self, v: u128) -> Result<Self::Value, E> {
        Ok(T::number(v as f64))
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::map(map)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        T::seq(seq)
    }
}

#[cfg(test)]
mod tests;
