//! What it means to be in a list: the flags that the operator says a list stands for, such as `hosting` for the ranges of a
//! cloud. A list has no place for them itself: those of vendors come as they are.

use std::collections::BTreeMap;
use std::fmt;

use crate::maxmind::{Edition, Flags};

/// Flags by the name of a list: `aws=hosting, tor-exits=tor`. A list with two flags stands there twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFlags(BTreeMap<String, Flags>);

/// Why a text is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadListFlags {
    /// An entry without `=`.
    NoFlag(String),
    /// Not the name of a list.
    NoList(String),
    /// Not a flag.
    Unknown(String),
}

impl fmt::Display for BadListFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadListFlags::NoFlag(entry) => write!(f, "\"{entry}\" is not <list>=<flag>."),
            BadListFlags::NoList(name) => {
                write!(
                    f,
                    "\"{name}\" is not the name of a list: it has letters, digits, '-', '_' and '.' only, 64 at most."
                )
            }
            BadListFlags::Unknown(flag) => {
                let known: Vec<&str> = Flags::all().names().collect();
                write!(f, "\"{flag}\" is not a flag. Flags are {}.", known.join(", "))
            }
        }
    }
}

impl std::error::Error for BadListFlags {}

impl ListFlags {
    /// Of the text of a setting.
    ///
    /// # Errors
    /// [`BadListFlags`] at the first entry that is none.
    pub fn parse(text: &str) -> Result<ListFlags, BadListFlags> {
        let mut all: BTreeMap<String, Flags> = BTreeMap::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (name, flag) = entry.split_once('=').ok_or_else(|| BadListFlags::NoFlag(entry.to_owned()))?;
            let (name, flag) = (name.trim(), flag.trim());
            let list = Edition::new(name).map_err(|_| BadListFlags::NoList(name.to_owned()))?;
            let flag = Flags::named(flag).ok_or_else(|| BadListFlags::Unknown(flag.to_owned()))?;
            let known = all.entry(list.name().to_owned()).or_default();
            *known = *known | flag;
        }
        Ok(ListFlags(all))
    }

    /// Those of a list.
    pub fn of(&self, list: &str) -> Flags {
        self.0.get(list).copied().unwrap_or_default()
    }

    /// The lists that stand for a flag.
    pub fn lists(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_stands_for_the_flags_that_are_named() {
        let flags = ListFlags::parse(" aws=hosting,, tor-exits = tor ,aws=ANYCAST").expect("parses");
        assert_eq!(flags.of("aws"), Flags::HOSTING | Flags::ANYCAST);
        assert_eq!(flags.of("tor-exits"), Flags::TOR);
        assert_eq!(flags.of("office"), Flags::NONE);
        assert_eq!(flags.lists().collect::<Vec<_>>(), ["aws", "tor-exits"]);
        assert_eq!(ListFlags::parse(" "), Ok(ListFlags::default()));
    }

    #[test]
    fn what_is_none_is_named() {
        let reason = |text| ListFlags::parse(text).expect_err("is refused").to_string();
        assert_eq!(reason("aws=hosting,cloud"), "\"cloud\" is not <list>=<flag>.");
        assert!(reason("a b=tor").starts_with("\"a b\" is not the name of a list"));
        assert_eq!(
            reason("aws=cloud"),
            "\"cloud\" is not a flag. Flags are anonymous, vpn, proxy, residential_proxy, tor, relay, hosting, anycast, \
             satellite, eyeball, business, education, government."
        );
    }
}
