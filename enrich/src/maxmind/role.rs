//! What the records of a file hold, and which of it may answer: fields as a set, their counts, and the role that an
//! operator gives to a file.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign};

use serde::{Deserialize, Serialize};

/// A set of fields of a record, named like the columns of the inventory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<String>", from = "Vec<String>")]
pub struct Fields(u16);

/// In the order in which they are shown.
const NAMES: [(Fields, &str); 12] = [
    (Fields::ASN, "asn_number"),
    (Fields::ORG, "asn_org"),
    (Fields::COUNTRY, "country_code"),
    (Fields::REGION, "region"),
    (Fields::CITY, "city"),
    (Fields::LATITUDE, "latitude"),
    (Fields::LONGITUDE, "longitude"),
    (Fields::RADIUS, "accuracy_radius_km"),
    (Fields::TIME_ZONE, "time_zone"),
    (Fields::REGISTERED, "registered_country_code"),
    (Fields::FLAGS, "flags"),
    (Fields::CONNECTION, "connection_type"),
];

impl Fields {
    /// No field.
    pub const NONE: Fields = Fields(0);
    /// The number of the autonomous system.
    pub const ASN: Fields = Fields(1);
    /// Its organization.
    pub const ORG: Fields = Fields(1 << 1);
    /// The country.
    pub const COUNTRY: Fields = Fields(1 << 2);
    /// The first subdivision.
    pub const REGION: Fields = Fields(1 << 3);
    /// The city.
    pub const CITY: Fields = Fields(1 << 4);
    /// Degrees north.
    pub const LATITUDE: Fields = Fields(1 << 5);
    /// Degrees east.
    pub const LONGITUDE: Fields = Fields(1 << 6);
    /// Around the point.
    pub const RADIUS: Fields = Fields(1 << 7);
    /// The time zone.
    pub const TIME_ZONE: Fields = Fields(1 << 8);
    /// The country of the registration.
    pub const REGISTERED: Fields = Fields(1 << 9);
    /// What the address is: a VPN, a hosting provider's and so on.
    pub const FLAGS: Fields = Fields(1 << 10);
    /// How it is connected.
    pub const CONNECTION: Fields = Fields(1 << 11);
    /// Whose.
    pub const ORIGIN: Fields = Fields(Fields::ASN.0 | Fields::ORG.0);
    /// A point on the map.
    pub const POINT: Fields = Fields(Fields::LATITUDE.0 | Fields::LONGITUDE.0);
    /// Where.
    pub const PLACE: Fields = Fields(Fields::ALL.0 & !Fields::ORIGIN.0 & !Fields::TRAITS.0);
    /// Of what kind.
    pub const TRAITS: Fields = Fields(Fields::FLAGS.0 | Fields::CONNECTION.0);
    /// Every field.
    pub const ALL: Fields = Fields((1 << NAMES.len()) - 1);

    /// Their names.
    pub fn names(self) -> Vec<&'static str> {
        NAMES.iter().filter(|(field, _)| self.meets(*field)).map(|(_, name)| *name).collect()
    }

    /// Whether the two sets have a field in common.
    pub fn meets(self, other: Fields) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether it has no field.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// These where `there`, else none.
    pub fn when(self, there: bool) -> Fields {
        if there { self } else { Fields::NONE }
    }

    /// As an index keeps them.
    pub(super) fn bits(self) -> u64 {
        self.0.into()
    }

    /// Of what an index keeps; unknown fields are left out.
    pub(super) fn of_bits(bits: u64) -> Fields {
        Fields(bits as u16) & Fields::ALL
    }
}

impl BitOr for Fields {
    type Output = Fields;
    fn bitor(self, other: Fields) -> Fields {
        Fields(self.0 | other.0)
    }
}

impl BitOrAssign for Fields {
    fn bitor_assign(&mut self, other: Fields) {
        self.0 |= other.0;
    }
}

impl BitAnd for Fields {
    type Output = Fields;
    fn bitand(self, other: Fields) -> Fields {
        Fields(self.0 & other.0)
    }
}

impl From<Fields> for Vec<String> {
    fn from(fields: Fields) -> Vec<String> {
        fields.names().into_iter().map(str::to_owned).collect()
    }
}

impl From<Vec<String>> for Fields {
    /// Names of a later version are left out.
    fn from(names: Vec<String>) -> Fields {
        let known = NAMES.iter().filter(|(_, name)| names.iter().any(|other| other == name));
        known.fold(Fields::NONE, |all, (field, _)| all | *field)
    }
}

/// What the records of one file hold, counted while it is indexed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    /// Fields that some record gives.
    pub fields: Fields,
    /// Networks whose record gives a field.
    pub networks: u64,
    /// Networks whose record gives a field of a place.
    pub places: u64,
    /// Networks whose record gives a field of an origin.
    pub origins: u64,
    /// Networks whose record gives a flag or a kind of connection.
    #[serde(default)]
    pub traits: u64,
}

impl Holds {
    /// The same, seen by a file of this role.
    #[must_use]
    pub fn by(self, role: Role) -> Holds {
        let networks = match role {
            Role::Any => self.networks,
            Role::Place => self.places,
            Role::Origin => self.origins,
            Role::Flags => self.traits,
            Role::Other => 0,
        };
        Holds { fields: self.fields & role.fields(), networks, ..self }
    }
}

/// What a file is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// Where, whose and of what kind: whatever its records hold.
    #[default]
    Any,
    /// Only where.
    Place,
    /// Only whose.
    Origin,
    /// Only flags and the kind of connection.
    Flags,
    /// Only its whole records, by `mmdb_record` and `mmdb_networks`.
    Other,
}

impl Role {
    /// As the list of editions has it; upper and lower case alike. `both` is another word for `any`.
    pub fn parse(word: &str) -> Option<Role> {
        const WORDS: [(&str, Role); 6] = [
            ("place", Role::Place),
            ("origin", Role::Origin),
            ("flags", Role::Flags),
            ("any", Role::Any),
            ("both", Role::Any),
            ("other", Role::Other),
        ];
        WORDS.iter().find(|(known, _)| word.eq_ignore_ascii_case(known)).map(|(_, role)| *role)
    }

    /// The fields that it may answer.
    pub fn fields(self) -> Fields {
        match self {
            Role::Any => Fields::ALL,
            Role::Place => Fields::PLACE,
            Role::Origin => Fields::ORIGIN,
            Role::Flags => Fields::TRAITS,
            Role::Other => Fields::NONE,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Any => "any",
            Role::Place => "place",
            Role::Origin => "origin",
            Role::Flags => "flags",
            Role::Other => "other",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_of_one_kind() {
        assert_eq!(Fields::PLACE | Fields::ORIGIN | Fields::TRAITS, Fields::ALL);
        assert!(!Fields::PLACE.meets(Fields::ORIGIN | Fields::TRAITS) && !Fields::ORIGIN.meets(Fields::TRAITS));
        assert_eq!(Fields::ALL.names().len(), NAMES.len());
        assert_eq!(Fields::ORIGIN.names(), ["asn_number", "asn_org"]);
        assert_eq!(Fields::of_bits(u64::MAX), Fields::ALL);
    }

    #[test]
    fn a_role_counts_only_what_it_may_answer() {
        let all = Holds { fields: Fields::ALL, networks: 9, places: 7, origins: 5, traits: 3 };
        for (word, fields, networks) in [
            ("any", Fields::ALL, 9),
            ("Both", Fields::ALL, 9),
            ("PLACE", Fields::PLACE, 7),
            ("origin", Fields::ORIGIN, 5),
            ("flags", Fields::TRAITS, 3),
            ("other", Fields::NONE, 0),
        ] {
            let seen = all.by(Role::parse(word).unwrap());
            assert_eq!((seen.fields, seen.networks), (fields, networks), "{word}");
        }
        for word in ["", "asn", "place ", "flag", "origins"] {
            assert_eq!(Role::parse(word), None, "{word:?}");
        }
    }

    #[test]
    fn sets_are_kept_as_names() {
        let text = serde_json::to_string(&(Fields::COUNTRY | Fields::ASN)).unwrap();
        assert_eq!(text, r#"["asn_number","country_code"]"#);
        let read: Fields = serde_json::from_str(r#"["country_code","of a later version"]"#).unwrap();
        assert_eq!(read, Fields::COUNTRY);
    }
}
