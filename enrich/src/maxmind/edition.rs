//! Names of editions (`GeoLite2-City`), and which question each one answers.

use std::fmt;

use crate::text::clean;

/// Which question a database answers, judged by its `database_type` or by an edition's name.
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

/// An edition's name as the settings give it: the file is `<name>.mmdb`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Edition(String);

/// A name that cannot be an edition's: empty, over 64 bytes, or one that could leave its directory.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{0}\" is not an edition's name: letters, digits, '-', '_' and '.' only, 64 at most")]
pub struct BadEdition(String);

impl Edition {
    /// Checks one name. Names become paths, so the alphabet is small and a leading dot is refused.
    ///
    /// # Errors
    /// [`BadEdition`] when the name holds anything but `A-Z a-z 0-9 - _ .`, starts with a dot or is too long.
    pub fn new(name: &str) -> Result<Edition, BadEdition> {
        let fits = !name.is_empty()
            && name.len() <= 64
            && !name.starts_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if fits { Ok(Edition(name.to_owned())) } else { Err(BadEdition(clean(name, 64).into_owned())) }
    }

    /// A comma-separated list, in the order in which editions of one kind are preferred; blanks around names are
    /// dropped, and so are repetitions.
    ///
    /// # Errors
    /// [`BadEdition`] for the first name that is none.
    pub fn list(text: &str) -> Result<Vec<Edition>, BadEdition> {
        let mut editions = Vec::new();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let edition = Edition::new(name)?;
            if !editions.contains(&edition) {
                editions.push(edition);
            }
        }
        Ok(editions)
    }

    /// The name itself.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Whether MaxMind has it. Editions with other names are files of other vendors, brought by other means.
    pub fn is_maxminds(&self) -> bool {
        let name = self.0.to_ascii_lowercase();
        ["geolite2-", "geoip2-", "geoip-"].iter().any(|start| name.starts_with(start))
    }

    /// The file's name in the operator's directory.
    pub fn file_name(&self) -> String {
        format!("{}.mmdb", self.0)
    }
}

impl fmt::Display for Edition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
}
