//! Entries of the list of editions (`GeoLite2-City`, `my-file=origin`), and what a file must hold to be taken for one.

use std::fmt;

use super::role::{Fields, Role};
use crate::text::clean;

/// Which question MaxMind's names speak of, in a `database_type` or an edition's name. What a file answers is told by its
/// records; the name only guards against one of MaxMind's files under the name of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Where: City, Country and Enterprise layouts.
    Place,
    /// Whose: ASN and ISP layouts.
    Asn,
    /// Anything else: readable whole through `mmdb_record`, not part of the cascade.
    Other,
}

impl Kind {
    /// The kind that a name speaks of. `GeoLite2-City`, `GeoIP2-City`, `DBIP-City-Lite`,
    /// `DBIP-ASN-Lite (compat=GeoLite2-ASN)` and the like; upper and lower case alike.
    pub fn of(name: &str) -> Kind {
        let name = name.to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| name.contains(word));
        if says(&["asn", "isp"]) {
            Kind::Asn
        } else if says(&["city", "country", "enterprise", "location"]) {
            Kind::Place
        } else {
            Kind::Other
        }
    }
}

/// An edition as the settings give it: its name, and the role of its file where one is given. The file is
/// `<name>.mmdb`. Two of one name are the same edition.
#[derive(Clone, Debug)]
pub struct Edition {
    name: String,
    role: Option<Role>,
}

/// A text that cannot be an entry of the list of editions.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadEdition {
    /// Empty, over 64 bytes, or one that could leave its directory.
    #[error("\"{0}\" is not an edition's name: letters, digits, '-', '_' and '.' only, 64 at most")]
    Name(String),
    /// An unknown role.
    #[error("\"{0}\" is not the role of a file: place, origin, flags, any (or both) or other")]
    Role(String),
    /// Twice in one list, with two roles.
    #[error("\"{0}\" is in the list twice, with different roles")]
    Twice(String),
}

impl Edition {
    /// Checks one name. Names become paths, so the alphabet is small and a leading dot is refused.
    ///
    /// # Errors
    /// [`BadEdition::Name`] when the name holds anything but `A-Z a-z 0-9 - _ .`, starts with a dot or is too long.
    pub fn new(name: &str) -> Result<Edition, BadEdition> {
        let fits = !name.is_empty()
            && name.len() <= 64
            && !name.starts_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        match fits {
            true => Ok(Edition { name: name.to_owned(), role: None }),
            false => Err(BadEdition::Name(clean(name, 64).into_owned())),
        }
    }

    /// One entry of the list: `<name>` or `<name>=<role>`.
    ///
    /// # Errors
    /// [`BadEdition`] when one of the two is none.
    pub fn entry(text: &str) -> Result<Edition, BadEdition> {
        let Some((name, role)) = text.split_once('=') else { return Edition::new(text.trim()) };
        let edition = Edition::new(name.trim())?;
        let role = role.trim();
        let known = Role::parse(role).ok_or_else(|| BadEdition::Role(clean(role, 64).into_owned()))?;
        Ok(Edition { role: Some(known), ..edition })
    }

    /// A comma-separated list, in the order in which files stand in for each other; blanks around names are dropped, and
    /// so are repetitions.
    ///
    /// # Errors
    /// [`BadEdition`] for the first entry that is none.
    pub fn list(text: &str) -> Result<Vec<Edition>, BadEdition> {
        let mut editions: Vec<Edition> = Vec::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let edition = Edition::entry(entry)?;
            match editions.iter().find(|other| **other == edition) {
                None => editions.push(edition),
                Some(other) if other.role == edition.role => {}
                Some(_) => return Err(BadEdition::Twice(edition.name)),
            }
        }
        Ok(editions)
    }

    /// The name itself.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The role that the list gives to its file; `None`: what its records hold.
    pub fn role(&self) -> Option<Role> {
        self.role
    }

    /// As an entry of the list.
    pub fn spelled(&self) -> String {
        self.role.map_or_else(|| self.name.clone(), |role| format!("{}={role}", self.name))
    }

    /// Whether MaxMind has it. Editions with other names are files of other vendors, brought by other means.
    pub fn is_maxminds(&self) -> bool {
        is_maxminds(&self.name)
    }

    /// The file's name in the operator's directory.
    pub fn file_name(&self) -> String {
        format!("{}.mmdb", self.name)
    }

    /// Whether a file of this type must be something else than its name says: one of MaxMind's own under the name of
    /// another. A role from the list stands above the name.
    pub fn is_anothers(&self, database_type: &str) -> bool {
        let wanted = Kind::of(&self.name);
        self.role.is_none()
            && self.is_maxminds()
            && is_maxminds(database_type)
            && wanted != Kind::Other
            && Kind::of(database_type) != wanted
    }

    /// The fields of which a file must hold at least one, to be taken: those of its role, or of its name where that is
    /// MaxMind's. None where whole records are all that is wanted of it.
    pub fn wants(&self, database_type: &str) -> Fields {
        match (self.role, Kind::of(&self.name)) {
            (Some(role), _) => role.fields(),
            (None, Kind::Place) if self.is_maxminds() => Fields::PLACE,
            (None, Kind::Asn) if self.is_maxminds() => Fields::ORIGIN,
            (None, _) if serves_whole_records(&self.name) || serves_whole_records(database_type) => Fields::NONE,
            (None, _) => Fields::ALL,
        }
    }
}

/// Whether a name or type is one of MaxMind's own.
fn is_maxminds(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["geolite2-", "geoip2-", "geoip-"].iter().any(|start| name.starts_with(start))
}

/// MaxMind's types without places and ASNs (`GeoIP2-Anonymous-IP`, `GeoIP2-Connection-Type`), and those of its own
/// tests of the format.
fn serves_whole_records(name: &str) -> bool {
    is_maxminds(name) && Kind::of(name) == Kind::Other || name.starts_with("MaxMind DB ")
}

impl PartialEq for Edition {
    fn eq(&self, other: &Edition) -> bool {
        self.name == other.name
    }
}

impl Eq for Edition {}

impl fmt::Display for Edition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_judged_by_name() {
        for (name, kind) in [
            ("GeoLite2-City", Kind::Place),
            ("GeoIP2-Country", Kind::Place),
            ("DBIP-City-Lite", Kind::Place),
            ("GeoLite2-ASN", Kind::Asn),
            ("DBIP-ASN-Lite (compat=GeoLite2-ASN)", Kind::Asn),
            ("GeoIP2-ISP", Kind::Asn),
            ("GeoIP2-Anonymous-IP", Kind::Other),
        ] {
            assert_eq!(Kind::of(name), kind, "{name}");
        }
    }

    #[test]
    fn a_list_keeps_its_order_and_drops_repetitions() {
        let names = Edition::list(" GeoLite2-City, GeoLite2-ASN,,GeoLite2-City ").unwrap();
        assert_eq!(names.iter().map(Edition::name).collect::<Vec<_>>(), ["GeoLite2-City", "GeoLite2-ASN"]);
    }

    #[test]
    fn maxminds_editions_are_known_by_their_names() {
        for (name, maxminds) in [
            ("GeoLite2-City", true),
            ("GeoIP2-Anonymous-IP", true),
            ("geoip2-isp", true),
            ("GeoIP-Anonymous-Plus", true),
            ("dbip-city-lite", false),
            ("standard_asn", false),
            ("My-GeoLite2-City", false),
        ] {
            assert_eq!(Edition::new(name).unwrap().is_maxminds(), maxminds, "{name}");
        }
    }

    #[test]
    fn a_name_cannot_leave_its_directory() {
        for name in ["../etc", "a/b", ".hidden", "", "x y", "nul\0"] {
            assert!(Edition::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn an_entry_may_give_a_role() {
        let list = Edition::list("GeoLite2-City, my-file = origin ,a=Other,b=both,my-file=origin").unwrap();
        let roles = [None, Some(Role::Origin), Some(Role::Other), Some(Role::Any)];
        assert_eq!(list.iter().map(Edition::role).collect::<Vec<_>>(), roles);
        assert_eq!(
            list.iter().map(Edition::spelled).collect::<Vec<_>>(),
            ["GeoLite2-City", "my-file=origin", "a=other", "b=any"]
        );
        assert_eq!(list[1].file_name(), "my-file.mmdb");
        assert_eq!((list[1].to_string().as_str(), list[1] == Edition::new("my-file").unwrap()), ("my-file", true));
        for (text, why) in [
            ("a=", BadEdition::Role(String::new())),
            ("a=asn", BadEdition::Role("asn".to_owned())),
            ("a=origin=place", BadEdition::Role("origin=place".to_owned())),
            ("=origin", BadEdition::Name(String::new())),
            ("../a=origin", BadEdition::Name("../a".to_owned())),
            ("a=origin,a=place", BadEdition::Twice("a".to_owned())),
            ("a,a=place", BadEdition::Twice("a".to_owned())),
        ] {
            assert_eq!(Edition::list(text).unwrap_err(), why, "{text}");
        }
    }

    #[test]
    fn a_file_is_taken_by_its_role_then_by_maxminds_name_then_by_any_field() {
        for (entry, database_type, anothers, wants) in [
            ("GeoLite2-ASN", "GeoLite2-City", true, Fields::ORIGIN),
            ("GeoLite2-ASN", "GeoIP2-ISP", false, Fields::ORIGIN),
            ("GeoLite2-ASN", "GeoIP2-Anonymous-IP", true, Fields::ORIGIN),
            ("GeoLite2-ASN", "ipinfo standard_asn.mmdb", false, Fields::ORIGIN),
            ("GeoLite2-City", "DBIP-Location-ISP (compat=Enterprise)", false, Fields::PLACE),
            ("GeoLite2-ASN=any", "GeoLite2-City", false, Fields::ALL),
            ("GeoLite2-ASN=place", "GeoLite2-City", false, Fields::PLACE),
            ("dbip-asn", "GeoLite2-City", false, Fields::ALL),
            ("my-file", "Custom-Thing", false, Fields::ALL),
            ("my-file=origin", "Custom-Thing", false, Fields::ORIGIN),
            ("my-file=other", "Custom-Thing", false, Fields::NONE),
            ("GeoIP2-Anonymous-IP", "GeoIP2-Anonymous-IP", false, Fields::NONE),
            ("my-file", "GeoIP2-Connection-Type", false, Fields::NONE),
        ] {
            let edition = Edition::entry(entry).unwrap();
            let told = (edition.is_anothers(database_type), edition.wants(database_type));
            assert_eq!(told, (anothers, wants), "{entry} {database_type}");
        }
    }
}
