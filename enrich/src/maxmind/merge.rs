//! How files of one kind stand in for each other: their records about one address, folded in the order of the list.

use super::index::{OriginRef, PlaceRef, RecordRef, TraitsRef};
use super::record::is_country;
use super::role::Fields;

/// What the files looked at so far say, and the length of the network that each part is of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Merged<'a> {
    place: Option<(PlaceRef<'a>, u8)>,
    origin: Option<(OriginRef<'a>, u8)>,
    traits: Option<(TraitsRef<'a>, u8)>,
}

impl<'a> Merged<'a> {
    /// The fields that a next file may still give. A first file's flags hide nothing of the next one's: what a file
    /// does not say is not denied.
    pub fn missing(&self) -> Fields {
        let place = self.place.as_ref().map_or(Fields::PLACE, |(place, _)| missing(place));
        let origin = self.origin.as_ref().map(|(origin, _)| *origin).unwrap_or_default();
        let has_connection = self.traits.as_ref().is_some_and(|(traits, _)| traits.connection_type.is_some());
        let origin = Fields::ASN.when(origin.asn.is_none()) | Fields::ORG.when(origin.org.is_none());
        place | origin | Fields::FLAGS | Fields::CONNECTION.when(!has_connection)
    }

    /// Adds what the next file says of a network of `prefix` bits.
    ///
    /// Of places each field is the first one's that has it; a country's code stands above a continent's. The ASN is the first
    /// one's, and its name that file's. Where it has none: the name of a file before it, which knew no ASN; else of the next one
    /// with the same ASN. A later name without an ASN may be a customer's inside that AS.
    pub fn add(&mut self, record: &RecordRef<'a>, prefix: u8) {
        if let Some(next) = record.place {
            match &mut self.place {
                None => self.place = Some((next, prefix)),
                Some((place, _)) => fill(place, &next),
            }
        }
        if let Some(next) = record.origin {
            match &mut self.origin {
                None => self.origin = Some((next, prefix)),
                Some(origin) if origin.0.asn.is_none() && next.asn.is_some() => {
                    *origin = (OriginRef { org: next.org.or(origin.0.org), ..next }, prefix);
                }
                Some((origin, _)) if origin.asn == next.asn => origin.org = origin.org.or(next.org),
                Some(_) => {}
            }
        }
        if let Some(next) = record.traits {
            match &mut self.traits {
                None => self.traits = Some((next, prefix)),
                Some((traits, _)) => {
                    traits.flags = traits.flags | next.flags;
                    traits.connection_type = traits.connection_type.or(next.connection_type);
                }
            }
        }
    }

    /// The record of them all.
    pub fn record(&self) -> RecordRef<'a> {
        RecordRef {
            place: self.place.map(|(place, _)| place),
            origin: self.origin.map(|(origin, _)| origin),
            traits: self.traits.map(|(traits, _)| traits),
        }
    }

    /// The length of the network that it stands for: of the file that gave the origin; without one, of the first with a
    /// place; without one, of the first with traits.
    pub fn prefix(&self) -> Option<u8> {
        let origin = self.origin.as_ref().map(|(_, prefix)| prefix);
        let place = self.place.as_ref().map(|(_, prefix)| prefix);
        origin.or(place).or(self.traits.as_ref().map(|(_, prefix)| prefix)).copied()
    }
}

/// A point counts as one field, and with both of its numbers; its radius belongs to it.
fn has_point(place: &PlaceRef<'_>) -> bool {
    place.latitude.is_some() && place.longitude.is_some()
}

/// Its country, where its code is one's.
fn country<'a>(place: &PlaceRef<'a>) -> Option<&'a str> {
    place.country_code.filter(|code| is_country(code))
}

fn missing(place: &PlaceRef<'_>) -> Fields {
    Fields::COUNTRY.when(country(place).is_none())
        | Fields::REGISTERED.when(place.registered_country_code.is_none())
        | Fields::REGION.when(place.region.is_none())
        | Fields::CITY.when(place.city.is_none())
        | Fields::POINT.when(!has_point(place))
        | Fields::TIME_ZONE.when(place.time_zone.is_none())
}

fn fill<'a>(place: &mut PlaceRef<'a>, other: &PlaceRef<'a>) {
    // Where only the continent is known, the country is still missing: a next file's city would stand beside "EU".
    let known = country(place).or_else(|| country(other));
    place.country_code = known.or(place.country_code).or(other.country_code);
    place.registered_country_code = place.registered_country_code.or(other.registered_country_code);
    place.region = place.region.or(other.region);
    place.city = place.city.or(other.city);
    place.time_zone = place.time_zone.or(other.time_zone);
    let nothing = place.latitude.is_none() && place.longitude.is_none();
    if !has_point(place) && (has_point(other) || nothing && (other.latitude.is_some() || other.longitude.is_some())) {
        place.latitude = other.latitude;
        place.longitude = other.longitude;
        place.accuracy_radius_km = other.accuracy_radius_km;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place<'a>(country_code: Option<&'a str>, city: Option<&'a str>) -> RecordRef<'a> {
        RecordRef { place: Some(PlaceRef { country_code, city, ..PlaceRef::default() }), ..RecordRef::default() }
    }

    #[test]
    fn a_name_is_of_the_same_as_or_of_a_file_before_it() {
        let said = |files: &[(Option<u32>, Option<&'static str>)]| {
            let mut merged = Merged::default();
            for (at, (asn, org)) in files.iter().enumerate() {
                let origin = Some(OriginRef { asn: *asn, org: *org });
                merged.add(&RecordRef { origin, ..RecordRef::default() }, 24 - at as u8);
            }
            let origin = merged.record().origin.unwrap_or_default();
            (origin.asn, origin.org, merged.prefix(), merged.missing().meets(Fields::ORIGIN))
        };
        let (number, named, other) = ((Some(1), None), (Some(1), Some("One")), (Some(2), Some("Two")));
        let name = (None, Some("Customer"));
        for (files, wanted) in [
            (&[number][..], (Some(1), None, Some(24), true)),
            (&[number, named], (Some(1), Some("One"), Some(24), false)),
            (&[number, other], (Some(1), None, Some(24), true)),
            (&[number, name, other, named], (Some(1), Some("One"), Some(24), false)),
            (&[named, (Some(1), Some("Other"))], (Some(1), Some("One"), Some(24), false)),
            (&[name], (None, Some("Customer"), Some(24), true)),
            (&[name, number], (Some(1), Some("Customer"), Some(23), false)),
            (&[name, named], (Some(1), Some("One"), Some(23), false)),
            (&[name, (None, Some("Other"))], (None, Some("Customer"), Some(24), true)),
        ] {
            assert_eq!(said(files), wanted, "{files:?}");
        }
    }

    /// The country and the city of files that say so, one after the other.
    fn said<'a>(files: &[(Option<&'a str>, Option<&'a str>)]) -> (Option<&'a str>, Option<&'a str>) {
        let mut merged = Merged::default();
        for (country, city) in files {
            merged.add(&place(*country, *city), 24);
        }
        merged.record().place.map_or((None, None), |place| (place.country_code, place.city))
    }

    #[test]
    fn a_continents_code_gives_way_to_a_country_and_to_nothing_else() {
        let paris = (Some("FR"), Some("Paris"));
        for region in ["EU", "OC", "AN", "AP"] {
            let vague = (Some(region), None);
            let mut merged = Merged::default();
            merged.add(&place(Some(region), None), 16);
            assert!(merged.missing().meets(Fields::COUNTRY), "{region}");
            assert_eq!(said(&[vague, paris]), paris, "{region}");
            assert_eq!(said(&[paris, vague]), paris, "{region}");
            assert_eq!(said(&[vague, (None, Some("Paris"))]), (Some(region), Some("Paris")), "{region}");
            assert_eq!(said(&[(None, None), vague, vague, paris]), paris, "{region}");
            assert_eq!(said(&[vague, (Some("EU"), None), (Some("AP"), None)]), vague, "{region}");
        }
        // Continents' codes that are countries' as well are never read as continents.
        for country in ["AS", "NA", "SA", "AF", "DE", "AQ"] {
            let first = (Some(country), None);
            let mut merged = Merged::default();
            merged.add(&place(Some(country), None), 16);
            assert!(!merged.missing().meets(Fields::COUNTRY), "{country}");
            assert_eq!(said(&[first, paris]), (Some(country), Some("Paris")), "{country}");
        }
    }
}
