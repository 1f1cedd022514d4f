//! The fields we read of a record, whatever else stands there.
//!
//! Files come from several vendors and are hostile until proven otherwise: a field may be absent or of an
//! unexpected type. Then that field is null and the rest of the record is kept, so every level here takes
//! anything and keeps what fits.

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

/// Who announces an address, as an ASN-like edition says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Autonomous system number; 0 is no AS (RFC 7607) and counts as absent.
    pub asn: Option<u32>,
    /// Its organization, cleaned, at most [`MAX_TEXT`] bytes.
    pub org: Option<String>,
}

impl Place {
    /// Reads a place out of any record.
    ///
    /// The country is `country.iso_code`, else `registered_country.iso_code`, else the continent's code, but the
    /// last only where it can't be mistaken for a country's: `EU`, `OC` and `AN` stand for no country of today,
    /// while `AS`, `NA`, `SA` and `AF` would silently read American Samoa, Namibia, Saudi Arabia and Afghanistan.
    pub fn decode<'de, D: Deserializer<'de>>(record: D) -> Result<Place, D::Error> {
        let Any(raw) = Any::<RawPlace>::deserialize(record)?;
        let raw = raw.unwrap_or_default();
        let code = |c: Option<RawCountry>| c.and_then(|c| c.iso_code.0).and_then(|code| country_code(&code));
        let continent = raw.continent.0.and_then(|c| c.code.0).and_then(|code| country_code(&code));
        let location = raw.location.0.unwrap_or_default();
        Ok(Place {
            country_code: code(raw.country.0)
                .or(code(raw.registered_country.0))
                .or(continent.filter(|code| [*b"EU", *b"OC", *b"AN"].contains(code))),
            region: raw.subdivisions.0.and_then(|First(first)| first.0).and_then(|s| name(s.names)),
            city: raw.city.0.and_then(|c| name(c.names)),
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
        let asn = raw.autonomous_system_number.0.filter(|n| n.fract() == 0.0 && (1.0..=4_294_967_295.0).contains(n));
        Ok(Origin { asn: asn.map(|n| n as u32), org: raw.autonomous_system_organization.0.and_then(|org| tidy(&org)) })
    }

    /// Nothing that anyone could use.
    pub fn is_empty(&self) -> bool {
        *self == Origin::default()
    }
}

fn country_code(text: &str) -> Option<[u8; 2]> {
    match text.as_bytes() {
        [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
            Some([a.to_ascii_uppercase(), b.to_ascii_uppercase()])
        }
        _ => None,
    }
}

fn name(names: Any<RawNames>) -> Option<String> {
    names.0.and_then(|names| names.en.0).and_then(|name| tidy(&name))
}

fn tidy(text: &str) -> Option<String> {
    let text = clean(text, MAX_TEXT);
    if text.is_empty() { None } else { Some(text.into_owned()) }
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
    autonomous_system_number: Any<f64>,
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

/// What a wanted shape makes of each kind of value; what it does not mention is "not that".
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
    fn visit_u128<E>(self, _: u128) -> Result<Self::Value, E> {
        Ok(None)
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
mod tests {
    use super::*;

    fn place(json: &str) -> Place {
        Place::decode(&mut serde_json::Deserializer::from_str(json)).unwrap()
    }

    fn origin(json: &str) -> Origin {
        Origin::decode(&mut serde_json::Deserializer::from_str(json)).unwrap()
    }

    #[test]
    fn a_whole_record_is_read() {
        let place = place(
            r#"{"city":{"geoname_id":2643743,"names":{"de":"London","en":"London"}},
                "continent":{"code":"EU"},"country":{"iso_code":"GB","names":{"en":"United Kingdom"}},
                "location":{"accuracy_radius":10,"latitude":51.5142,"longitude":-0.0931,"time_zone":"Europe/London"},
                "subdivisions":[{"iso_code":"ENG","names":{"en":"England"}},{"names":{"en":"second"}}]}"#,
        );
        assert_eq!(place.country_code, Some(*b"GB"));
        assert_eq!(place.city.as_deref(), Some("London"));
        assert_eq!(place.region.as_deref(), Some("England"));
        assert_eq!((place.latitude, place.longitude), (Some(51.5142), Some(-0.0931)));
        assert_eq!(place.accuracy_radius_km, Some(10));
        assert_eq!(place.time_zone.as_deref(), Some("Europe/London"));
    }

    #[test]
    fn a_field_of_a_wrong_type_is_null_and_the_rest_is_kept() {
        let place = place(
            r#"{"city":{"names":["London"]},"country":"GB","registered_country":{"iso_code":"gb"},
                "location":{"latitude":"51","longitude":-0.09,"accuracy_radius":-4,"time_zone":7},
                "subdivisions":{"names":1}}"#,
        );
        assert_eq!(place, Place { country_code: Some(*b"GB"), longitude: Some(-0.09), ..Place::default() },);
    }

    #[test]
    fn a_continent_never_reads_as_a_country() {
        assert_eq!(place(r#"{"continent":{"code":"EU"}}"#).country_code, Some(*b"EU"));
        for not_a_country in ["AS", "NA", "SA", "AF"] {
            assert_eq!(place(&format!(r#"{{"continent":{{"code":"{not_a_country}"}}}}"#)).country_code, None);
        }
    }

    #[test]
    fn coordinates_outside_the_globe_are_null() {
        assert!(place(r#"{"location":{"latitude":91,"longitude":-181}}"#).is_empty());
    }

    #[test]
    fn an_asn_is_an_unsigned_32_bit_number() {
        let of = |n: &str| origin(&format!(r#"{{"autonomous_system_number":{n}}}"#)).asn;
        assert_eq!(of("4200000001"), Some(4_200_000_001));
        for none in ["0", "-1", "4294967296", "1.5", "\"1\"", "null"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn a_record_that_is_no_map_is_empty() {
        for other in ["[1,2]", "\"text\"", "7", "true", "null"] {
            assert!(place(other).is_empty() && origin(other).is_empty(), "{other}");
        }
    }
}
