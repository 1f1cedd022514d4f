//! The fields that we read of a record; others are ignored.
//!
//! Files come from several vendors and are hostile until proven otherwise: a field may be absent or of an unexpected
//! type. Then that field is null and the rest of the record is kept, so every level here accepts any value and keeps
//! the ones that fit. What a record holds decides, not the file's name: a place and an origin are read from each, and
//! every field from the first of its paths (`docs/providers.md`) that gives a value.

mod flags;
mod layout;
mod shape;
mod traits;

use serde::Deserialize;
use serde::de::Deserializer;

pub use self::flags::Flags;
use self::layout::{Country, Layout, Named, NamedMap};
use self::shape::{Any, Number, Text, degrees};
use super::language::Language;
use super::role::Fields;
use crate::text::{MAX_TEXT, clean};

/// Codes of continents that are no country's of today.
const CONTINENTS: [[u8; 2]; 3] = [*b"EU", *b"OC", *b"AN"];

/// Where an address is. Text is cleaned and at most [`MAX_TEXT`] bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    /// ISO 3166-1 alpha-2 in capitals; `EU` and the like where only the continent is known (see [`Raw::read`]).
    pub country_code: Option<[u8; 2]>,
    /// Where the network is registered: ISO 3166-1 alpha-2 in capitals.
    pub registered_country_code: Option<[u8; 2]>,
    /// First subdivision, in the wanted language where the file has it.
    pub region: Option<String>,
    /// In the wanted language where the file has it.
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

/// The origin of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Autonomous system number; 0 is not an AS (RFC 7607): then the organization is absent, too.
    pub asn: Option<u32>,
    /// Its organization, cleaned, at most [`MAX_TEXT`] bytes.
    pub org: Option<String>,
}

/// What an address is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// The flags that are true.
    pub flags: Flags,
    /// In the vendor's words (`Cable/DSL`, `Cellular`), cleaned, at most [`MAX_TEXT`] bytes.
    pub connection_type: Option<String>,
}

/// All that is read of one record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Where.
    pub place: Place,
    /// Whose.
    pub origin: Origin,
    /// Of what kind.
    pub traits: Traits,
}

/// A record as it stands in the file.
pub struct Raw<'de>(Layout<'de>);

impl<'de> Deserialize<'de> for Raw<'de> {
    fn deserialize<D: Deserializer<'de>>(record: D) -> Result<Self, D::Error> {
        Any::<Layout<'de>>::deserialize(record).map(|Any(layout)| Raw(layout.unwrap_or_default()))
    }
}

impl Raw<'_> {
    /// Reads it. Names are in `language` where the file has it, else English, else the first by its language's code.
    ///
    /// The country falls back to the one of the registration, and then to the continent's code, but the last only where
    /// it cannot be mistaken for a country's: `EU`, `OC` and `AN` stand for no country of today, while `AS`, `NA`, `SA`
    /// and `AF` would silently read American Samoa, Namibia, Saudi Arabia and Afghanistan.
    pub fn read(self, language: &Language) -> Record {
        let Raw(mut raw) = self;
        let traits = traits::read(&mut raw);
        let origin = origin(&mut raw);
        Record { place: place(raw, language), origin, traits }
    }
}

impl Record {
    /// The fields that it gives.
    pub fn fields(&self) -> Fields {
        let Record { place, origin, traits } = self;
        [
            (Fields::ASN, origin.asn.is_some()),
            (Fields::ORG, origin.org.is_some()),
            (Fields::COUNTRY, place.country_code.is_some()),
            (Fields::REGION, place.region.is_some()),
            (Fields::CITY, place.city.is_some()),
            (Fields::LATITUDE, place.latitude.is_some()),
            (Fields::LONGITUDE, place.longitude.is_some()),
            (Fields::RADIUS, place.accuracy_radius_km.is_some()),
            (Fields::TIME_ZONE, place.time_zone.is_some()),
            (Fields::REGISTERED, place.registered_country_code.is_some()),
            (Fields::FLAGS, !traits.flags.is_empty()),
            (Fields::CONNECTION, traits.connection_type.is_some()),
        ]
        .into_iter()
        .fold(Fields::NONE, |all, (field, there)| all | field.when(there))
    }
}

impl Place {
    /// Nothing that anyone could use.
    pub fn is_empty(&self) -> bool {
        *self == Place::default()
    }
}

impl Origin {
    /// Nothing that anyone could use.
    pub fn is_empty(&self) -> bool {
        *self == Origin::default()
    }
}

impl Traits {
    /// Nothing that anyone could use.
    pub fn is_empty(&self) -> bool {
        *self == Traits::default()
    }
}

fn place(raw: Layout<'_>, language: &Language) -> Place {
    let tidy = |text: Any<Text<'_>>| text.0.and_then(|text| tidy(&text));
    let code = |code: Option<Text<'_>>| code.and_then(|code| country_code(&code));
    // A text is the last of the three: next to a code it is often the country's name.
    let (first, last) = match raw.country.0 {
        Some(Country::Map(map)) => (code(map.iso_code.0), None),
        Some(Country::Text(text)) => (None, country_code(&text)),
        None => (None, None),
    };
    let country = first.or_else(|| code(raw.country_code.0)).or(last);
    let continent = code(raw.continent.0.and_then(|continent| continent.code.0));
    let region = raw.subdivisions.0.and_then(|shape::First(first)| name(first.0?, language));
    let region = region.or_else(|| tidy(raw.state1)).or_else(|| tidy(raw.region));
    let city = match raw.city.0 {
        Some(Named::Map(map)) => name(map, language),
        Some(Named::Text(text)) => tidy(Any(Some(text))),
        None => None,
    };
    let location = raw.location.0.unwrap_or_default();
    let number = |degrees: Any<shape::Degrees>| degrees.0.map(|shape::Degrees(degrees)| degrees);
    let loc = raw.loc.0.as_deref().and_then(|loc| loc.split_once(','));
    let is_named = region.is_some() || city.is_some();
    let points = [
        (location.latitude.0, location.longitude.0),
        (number(raw.latitude), number(raw.longitude)),
        (number(raw.lat), number(raw.lng)),
        loc.map_or((None, None), |(north, east)| (degrees(north), degrees(east))),
    ]
    .map(|(north, east)| {
        // The point at 0° N 0° E is in the sea: files without a place say 0 and 0.
        if north == Some(0.0) && east == Some(0.0) && !is_named {
            return (None, None);
        }
        (north.filter(|d| d.abs() <= 90.0), east.filter(|d| d.abs() <= 180.0))
    });
    let whole = |point: &(Option<f64>, Option<f64>)| point.0.is_some() && point.1.is_some();
    let half = |point: &(Option<f64>, Option<f64>)| point.0.is_some() || point.1.is_some();
    let at = points.iter().position(whole).or_else(|| points.iter().position(half));
    let (latitude, longitude) = at.map_or((None, None), |at| points[at]);
    // The radius is around the point of its own layout.
    let nowhere = location.latitude.0 == Some(0.0) && location.longitude.0 == Some(0.0) && !is_named;
    let radius = location.accuracy_radius.0.filter(|_| !nowhere && at.is_none_or(|at| at == 0));
    let registered = code(raw.registered_country.0.and_then(|country| country.iso_code.0));
    Place {
        country_code: country.or(registered).or_else(|| continent.filter(|code| CONTINENTS.contains(code))),
        registered_country_code: registered,
        region,
        city,
        latitude,
        longitude,
        accuracy_radius_km: radius.filter(|r| (0.0..=65_535.0).contains(r)).map(|r| r as u16),
        time_zone: tidy(location.time_zone).or_else(|| tidy(raw.timezone)).or_else(|| tidy(raw.time_zone)),
    }
}

/// A layout's number of an AS, and the name that stands beside it. An AS0 takes its name along ("Not routed"): such an
/// address is not announced. A number that is none is only that.
fn origin(raw: &mut Layout<'_>) -> Origin {
    let traits = raw.traits.0.take().unwrap_or_default();
    let number = |number: &Any<Number>| number.0.as_ref().and_then(|Number(asn)| *asn);
    // It is the AS's name only beside its number: other files have names of other things.
    let name = raw.name.0.take().filter(|_| raw.asn.0.is_some());
    let asn = number(&raw.asn);
    let all = [
        (number(&raw.autonomous_system_number), raw.autonomous_system_organization.0.take()),
        (number(&traits.autonomous_system_number), traits.autonomous_system_organization.0),
        (asn, raw.as_name.0.take()),
        (asn, name),
        (number(&raw.as_number), raw.organization.0.take()),
    ];
    let asn = all.iter().filter_map(|(asn, _)| *asn).find(|asn| *asn != 0);
    if asn.is_none() && all.iter().any(|(asn, _)| *asn == Some(0)) {
        return Origin::default();
    }
    let mut names = all.into_iter().filter(|(asn, _)| *asn != Some(0)).filter_map(|(_, name)| name);
    Origin { asn, org: names.find_map(|name| tidy(&name)) }
}

/// The name in the wanted language, else in English, else in the first language by its code: of one file it is always
/// the same.
fn name(named: NamedMap<'_>, language: &Language) -> Option<String> {
    let names = named.names.0?.0;
    let by = |is: &dyn Fn(&str) -> bool| names.iter().find_map(|(code, name)| is(code).then(|| tidy(name)).flatten());
    by(&|code| language.is(code)).or_else(|| by(&|code| code == "en")).or_else(|| {
        let mut others: Vec<_> = names.iter().collect();
        others.sort();
        others.into_iter().find_map(|(_, name)| tidy(name))
    })
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

/// Whether a code that a record gives is a country's, and not that of a larger region: a continent, or `AP`, by which older
/// files mean Asia and the Pacific.
pub(super) fn is_country(code: &str) -> bool {
    code != "AP" && !CONTINENTS.iter().any(|continent| code.as_bytes() == continent)
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

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vendors;
